#include "fuzz/format_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    format f = {.kind = FORMAT_LIBSVM};
    static const char *const names[] = {"label", "features"};
    const type *const types[] = {type_of(TYPE_FLOAT64), type_of(TYPE_SPARSE)};
    if (schema_new(names, types, 2, &f.schema, NULL) != TW_OK) abort();
    try_format(&f, data, size);
    return 0;
}
