#include "fuzz/format_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    format f = {.kind = FORMAT_CSV, .header = data[0] & 1, .delimiter = data[0] & 2 ? '\t' : ',',
                .quote = data[0] & 4 ? 0 : data[0] & 8 ? '\'' : '"'};
    if (data[0] & 16) { /* types that do not fit */
        static const char *const names[] = {"a", "b"};
        const type *const types[] = {type_of((type_kind)(data[0] >> 5)), type_of(TYPE_STRING)};
        if (schema_new(names, types, 2, &f.schema, NULL) != TW_OK) abort();
    }
    try_format(&f, data + 1, size - 1);
    return 0;
}
