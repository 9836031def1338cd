#include "fuzz/format_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    format f = {.kind = FORMAT_LINES};
    static const char *const names[] = {"line"};
    const type *const types[] = {type_of(data[0] & 1 ? TYPE_BINARY : TYPE_STRING)};
    if (schema_new(names, types, 1, &f.schema, NULL) != TW_OK) abort();
    try_format(&f, data + 1, size - 1);
    return 0;
}
