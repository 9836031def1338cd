#include "fuzz/format_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    format f = {.kind = FORMAT_JSON};
    if (data[0] & 1) {
        static const char *const names[] = {"a", "b.c", "d", "e"};
        const type *const types[] = {type_of((type_kind)(data[0] >> 1 & 7)), type_of(TYPE_STRING),
                                     type_list(type_of((type_kind)(data[0] >> 4 & 7))), type_vector(2)};
        if (schema_new(names, types, 4, &f.schema, NULL) != TW_OK) abort();
    }
    try_format(&f, data + 1, size - 1);
    return 0;
}
