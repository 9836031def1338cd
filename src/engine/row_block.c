#include <stdlib.h>

#include "engine/spill.h"

static bool block_bytes(const row_layout *l, uint32_t capacity, size_t *out) {
    return capacity && !__builtin_mul_overflow((size_t)capacity, (size_t)l->stride, out);
}

tw_status row_block_new(memory *m, memory_use use, const row_layout *l, uint32_t capacity,
                        size_t heap_bytes, row_block **out, tw_error *err) {
    size_t bytes;
    *out = NULL;
    if (!block_bytes(l, capacity, &bytes)) {
        return error_set(err, TW_ERR_INTERNAL, "a block of %u rows", capacity);
    }
    row_block *b = calloc(1, sizeof *b);
    if (!b) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    b->capacity = capacity;
    tw_status status = buffer_new(m, use, bytes, &b->rows, err);
    if (status == TW_OK && heap_bytes) status = buffer_new(m, use, heap_bytes, &b->heap, err);
    if (status != TW_OK) {
        row_block_free(b);
        return status;
    }
    *out = b;
    return TW_OK;
}

row_block *row_block_try(memory *m, const row_layout *l, uint32_t capacity, size_t heap_bytes) {
    size_t bytes;
    row_block *b = block_bytes(l, capacity, &bytes) ? calloc(1, sizeof *b) : NULL;
    if (!b) return NULL;
    b->capacity = capacity;
    b->rows = buffer_try(m, bytes);
    if (b->rows && heap_bytes) b->heap = buffer_try(m, heap_bytes);
    if (b->rows && (b->heap || !heap_bytes)) return b;
    row_block_free(b);
    return NULL;
}

void row_block_free(row_block *b) {
    if (!b) return;
    buffer_unref(b->rows);
    buffer_unref(b->heap);
    free(b);
}

size_t row_block_bytes(const row_block *b) {
    return b->rows->capacity + (b->heap ? b->heap->capacity : 0);
}

tw_status row_block_encode(memory *m, memory_use use, const row_layout *l, const column *columns, uint32_t rows,
                           row_block **out, tw_error *err) {
    size_t heap = rows_heap_bytes(l, columns, NULL, rows, NULL);
    uint8_t **to = malloc(rows * sizeof *to);
    if (!to) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    tw_status status = row_block_new(m, use, l, rows, heap, out, err);
    if (status == TW_OK) {
        row_block *b = *out;
        for (uint32_t i = 0; i < rows; i++) {
            to[i] = b->rows->data + (size_t)i * l->stride;
            row_set_header(to[i], 0);
        }
        uint8_t *end = b->heap ? b->heap->data : NULL;
        rows_encode(l, columns, NULL, rows, to, &end);
        b->n = rows;
        b->heap_used = b->heap ? (size_t)(end - b->heap->data) : 0;
    }
    free(to);
    return status;
}

tw_status row_block_decode(memory *m, const row_layout *l, const row_block *b, uint32_t first, uint32_t n, column *out,
                           tw_error *err) {
    const uint8_t **from = malloc(n * sizeof *from);
    if (!from) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    for (uint32_t i = 0; i < n; i++) from[i] = b->rows->data + (size_t)(first + i) * l->stride;
    tw_status status = rows_decode(m, l, from, n, 0, l->n, b->heap, out, err);
    free(from);
    return status;
}
