/* Compressed input of all three kinds, in pieces of two sizes, which must agree. The first byte says the
 * kind if the data does not. */
#include <stdlib.h>
#include <string.h>

#include "io/decompress.h"

enum { OUTPUT_MAX = 1 << 20 };

static size_t expand(compression kind, memory *m, const uint8_t *data, size_t size, size_t in_step, size_t out_step,
                     uint8_t *out, tw_status *status) {
    decompressor *d;
    size_t at = 0, made = 0;
    if (decompressor_new(kind, m, &d, NULL) != TW_OK) abort();
    *status = TW_OK;
    while (*status == TW_OK && made < OUTPUT_MAX) {
        size_t in = size - at < in_step ? size - at : in_step, room = OUTPUT_MAX - made;
        size_t used, got;
        *status = decompressor_run(d, data + at, in, &used, out + made, room < out_step ? room : out_step, &got, NULL);
        if (used > in || got > out_step) abort();
        at += used;
        made += got;
        if (*status == TW_OK && !used && !got) {
            if (at + in < size) abort(); /* it must ask for more of what there is */
            if (!decompressor_may_end(d)) *status = TW_ERR_DATA;
            break;
        }
    }
    decompressor_free(d);
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t *a, *b;
    if (!a) a = malloc(OUTPUT_MAX);
    if (!b) b = malloc(OUTPUT_MAX);
    if (!a || !b) abort();
    compression kind = compression_of_bytes(data, size);
    if (kind == COMPRESSION_NONE) {
        if (!size) return 0;
        kind = (compression)(1 + *data++ % 3);
        size--;
    }
    memory *m;
    if (memory_create((size_t)128 << 20, &m, NULL) != TW_OK) abort();
    tw_status first, second;
    size_t whole = expand(kind, m, data, size, size + 1, OUTPUT_MAX, a, &first);
    size_t pieces = expand(kind, m, data, size, 64, 1000, b, &second);
    if (whole < OUTPUT_MAX && pieces < OUTPUT_MAX && (first != second || (first == TW_OK && whole != pieces))) abort();
    if (first == TW_OK && second == TW_OK && memcmp(a, b, whole < pieces ? whole : pieces) != 0) abort();
    memory_destroy(m);
    return 0;
}
