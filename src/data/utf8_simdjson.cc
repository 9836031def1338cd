// utf8_simdjson.cc: simdjson's UTF-8 check behind C. It chooses its kernel at the first call, and
// cannot bear to be out of memory then: so the first call is made when the library is loaded.
#include "data/utf8_internal.h"

#include <simdjson.h>

static const bool kernel_chosen = simdjson::validate_utf8("", 0);

bool utf8_valid_vectors(const char *p, size_t n) {
    return kernel_chosen && simdjson::validate_utf8(p, n);
}

bool utf8_valid_kernel(size_t index, const char *p, size_t n, bool *there) {
    size_t seen = 0;
    for (const simdjson::implementation *kernel : simdjson::get_available_implementations()) {
        if (kernel->supported_by_runtime_system() && seen++ == index) {
            *there = true;
            return kernel->validate_utf8(p, n);
        }
    }
    *there = false;
    return false;
}
