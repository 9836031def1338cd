/* A frame of rows that came back changed, past its checksum: the first byte chooses a layout, then
 * comes the frame. Nothing may crash, and what is accepted must be readable. */
#include <stdlib.h>

#include "engine/spill_internal.h"

enum { layouts = 8, memory_bytes = 64 << 20, rows_read_max = 500 };

static const row_layout *layout_of(unsigned which) {
    static row_layout *made[layouts];
    if (made[which]) return made[which];
    const type *text = type_of(TYPE_STRING), *number = type_of(TYPE_INT64);
    const type *lists[3] = {type_list(text), type_list(type_list(type_of(TYPE_FLOAT64))),
                            type_list(type_of(TYPE_SPARSE))};
    const type *types[layouts][3] = {
        {text},
        {number, type_of(TYPE_BOOL), type_of(TYPE_FLOAT32)},
        {type_of(TYPE_BINARY), text, number},
        {type_vector(20), type_vector(3), text},
        {lists[0], type_of(TYPE_SPARSE)},
        {lists[1], text},
        {lists[2]},
        {type_list(type_vector(5)), type_list(type_of(TYPE_BOOL)), type_list(type_list(text))},
    };
    uint32_t n = 0;
    while (n < 3 && types[which][n]) n++;
    if (row_layout_new(types[which], n, (n + 1) / 2, which & 1 ? 8 : 0, &made[which], NULL)) abort();
    return made[which];
}

static void read_rows(memory *m, const row_layout *l, const row_block *b) {
    uint32_t n = b->n < rows_read_max ? b->n : rows_read_max;
    const uint8_t *rows[rows_read_max];
    column columns[3];
    for (uint32_t i = 0; i < n; i++) rows[i] = b->rows->data + (size_t)i * l->stride;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *copy = malloc(l->stride), *heap = malloc(rows_copy_heap_bytes(l, rows[i]) + 1), *at = heap;
        rows_copy(l, rows[i], copy, &at);
        if (!rows_keys_equal(l, copy, rows[i])) abort();
        sum += hash_row_keys(l, copy) + rows_keys_equal(l, rows[i], rows[0]);
        free(copy);
        free(heap);
    }
    if (rows_decode(m, l, rows, n, 0, l->n, b->heap, columns, NULL) == TW_OK) {
        for (uint32_t k = 0; k < l->n; k++) {
            for (uint32_t i = 0; i < n; i++) sum += column_values_equal(&columns[k], i, &columns[k], 0);
            column_clear(&columns[k]);
        }
    }
    volatile uint64_t kept = sum;
    (void)kept;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    frame_header h;
    if (size < 1 + sizeof h) return 0;
    const row_layout *l = layout_of(data[0] % layouts);
    uint64_t bytes = size - 1;
    memcpy(&h, data + 1, sizeof h);
    (void)frame_header_is_valid(&h, l, bytes);
    /* Most inputs end there; with these fields right they go on to the rows. */
    h.magic = FRAME_MAGIC;
    h.version = FRAME_VERSION;
    h.stride = l->stride;
    h.layout = frame_layout_fingerprint(l);
    if (!frame_header_is_valid(&h, l, bytes)) {
        h.rows %= (bytes - sizeof h) / l->stride + 1;
        h.heap_bytes = bytes - sizeof h - h.rows * l->stride;
        if (!frame_header_is_valid(&h, l, bytes)) return 0;
    }
    memory *m;
    row_block *b;
    if (memory_create(memory_bytes, &m, NULL)) return 0;
    if (!row_block_new(m, MEMORY_STATE, l, (uint32_t)h.rows, h.heap_bytes, &b, NULL)) {
        const uint8_t *rows = data + 1 + sizeof h;
        memcpy(b->rows->data, rows, b->rows->size);
        if (b->heap) memcpy(b->heap->data, rows + b->rows->size, b->heap->size);
        b->n = b->capacity;
        uint8_t *heap = b->heap ? b->heap->data : NULL;
        if (rows_place(l, b->rows->data, b->n, heap, h.heap_bytes)) read_rows(m, l, b);
        row_block_free(b);
    }
    memory_destroy(m);
    return 0;
}
