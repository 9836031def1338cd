#include "fuzz/format_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    format f = {.kind = FORMAT_EDGES};
    if (data[0] & 1) {
        static const char *const names[] = {"from", "to", "weight"};
        const type *vertex = type_of(data[0] & 2 ? TYPE_INT32 : data[0] & 4 ? TYPE_STRING : TYPE_INT64);
        const type *const types[] = {vertex, vertex, type_of(data[0] & 8 ? TYPE_FLOAT32 : TYPE_FLOAT64)};
        if (schema_new(names, types, data[0] & 16 ? 3 : 2, &f.schema, NULL) != TW_OK) abort();
    }
    try_format(&f, data + 1, size - 1);
    return 0;
}
