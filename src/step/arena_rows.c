#include "step/arena_rows.h"

#include <stdlib.h>

#include "engine/checkpoint.h"

#define CHUNK_BYTES_MIN ((size_t)16 << 10)
#define CHUNK_BYTES_MAX ((size_t)2 << 20)

void arena_rows_init(arena_rows *a, memory *m, const row_layout *l, size_t bytes_max) {
    size_t part = bytes_max / 16;
    *a = (arena_rows){.memory = m, .layout = l};
    a->chunk_bytes_max = part < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : part > CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX : part;
}

void arena_rows_clear(arena_rows *a) {
    for (uint32_t i = 0; i < a->n_chunks + a->n_chunks_kept; i++) buffer_unref(a->chunks[i]);
    for (uint32_t i = 0; i < a->n_heaps; i++) buffer_unref(a->heaps[i]);
    free(a->chunks);
    free(a->chunk_counts);
    free(a->heaps);
    *a = (arena_rows){.memory = a->memory, .layout = a->layout, .chunk_bytes_max = a->chunk_bytes_max};
}

void arena_rows_rewind(arena_rows *a) {
    for (; a->n_heaps; a->n_heaps--) {
        a->bytes -= a->heaps[a->n_heaps - 1]->capacity;
        buffer_unref(a->heaps[a->n_heaps - 1]);
    }
    a->n_chunks_kept += a->n_chunks;
    a->n_chunks = a->chunk_rows = a->last_used = 0;
    a->heap_used = 0;
    a->n = 0;
}

/* Grows an array for one more item; powers of two. */
static bool grow(arena_rows *a, void *array, uint32_t n, size_t size) {
    void **p = array;
    if (n & (n - 1)) return true;
    void *bigger = realloc(*p, (n ? (size_t)n * 2 : 1) * size);
    if (bigger) *p = bigger;
    else a->refusal = TW_ERR_MEMORY;
    return bigger != NULL;
}

buffer *arena_rows_buffer(arena_rows *a, size_t bytes) {
    buffer *b = NULL;
    tw_status status = buffer_new(a->memory, MEMORY_STATE, bytes, &b, a->err);
    if (status != TW_OK) a->refusal = status;
    return b;
}

static buffer *get(arena_rows *a, size_t bytes) {
    buffer *b = arena_rows_buffer(a, bytes);
    if (b) a->bytes += b->capacity;
    return b;
}

/* Chunks double, so that a small table is small and a large one has few. */
static size_t next_bytes(const arena_rows *a, size_t so_far) {
    return so_far < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : so_far > a->chunk_bytes_max ? a->chunk_bytes_max : so_far;
}

/* The last chunk that is in use is the one behind. */
static void use_chunk(arena_rows *a) {
    if (a->n_chunks) a->chunk_counts[a->n_chunks - 1] = a->last_used;
    a->chunk_rows = (uint32_t)(a->chunks[a->n_chunks++]->size / a->layout->stride);
    a->last_used = 0;
}

static bool add_chunk(arena_rows *a, uint32_t rows_min) {
    size_t stride = a->layout->stride;
    size_t bytes = next_bytes(a, a->n * stride);
    if (bytes < rows_min * stride) bytes = rows_min * stride;
    for (; a->n_chunks_kept; a->n_chunks_kept--) {
        use_chunk(a);
        if (a->chunk_rows >= rows_min) {
            a->n_chunks_kept--;
            return true;
        }
    }
    if (!grow(a, &a->chunks, a->n_chunks, sizeof *a->chunks) ||
        !grow(a, &a->chunk_counts, a->n_chunks, sizeof *a->chunk_counts))
        return false;
    buffer *b = get(a, bytes);
    if (!b) return false;
    a->chunks[a->n_chunks] = b;
    use_chunk(a);
    return true;
}

static bool add_heap(arena_rows *a, size_t bytes) {
    size_t size = next_bytes(a, a->n_heaps ? a->heaps[a->n_heaps - 1]->size * 2 : 0);
    if (size < bytes) size = bytes;
    if (!grow(a, &a->heaps, a->n_heaps, sizeof *a->heaps)) return false;
    buffer *b = get(a, size);
    if (!b) return false;
    a->heaps[a->n_heaps++] = b;
    a->heap_used = 0;
    return true;
}

uint8_t *arena_rows_bytes(arena_rows *a, size_t bytes) {
    bytes = (bytes + 7) & ~(size_t)7;
    if (!a->n_heaps || a->heaps[a->n_heaps - 1]->size - a->heap_used < bytes)
        if (!add_heap(a, bytes)) return NULL;
    uint8_t *p = a->heaps[a->n_heaps - 1]->data + a->heap_used;
    a->heap_used += bytes;
    return p;
}

bool arena_rows_reserve(arena_rows *a, uint32_t rows) {
    return a->chunk_rows - a->last_used >= rows || add_chunk(a, rows);
}

uint8_t *arena_rows_copy(arena_rows *a, const uint8_t *row) {
    uint8_t *heap = NULL;
    size_t bytes = a->layout->has_heap ? rows_copy_heap_bytes(a->layout, row) : 0;
    if (!arena_rows_reserve(a, 1) || (bytes && !(heap = arena_rows_bytes(a, bytes)))) return NULL;
    uint8_t *copy = arena_rows_new(a);
    rows_copy(a->layout, row, copy, &heap);
    return copy;
}

tw_status arena_rows_heap(const arena_rows *a, buffer **out, tw_error *err) {
    return buffer_join(a->heaps, a->n_heaps, out, err);
}

enum { saved_rows = 8192 }; /* in a frame */

/* Rows that lie side by side, as a block of their own. */
static tw_status save_rows(const arena_rows *a, const uint8_t *rows, uint32_t n, saved_part *to, int64_t tag, tw_error *err) {
    const row_layout *l = a->layout;
    size_t heap_bytes = 0;
    for (uint32_t i = 0; i < n; i++) heap_bytes += rows_copy_heap_bytes(l, rows + (size_t)i * l->stride);
    row_block *b;
    TRY(row_block_new(a->memory, MEMORY_FLOW, l, n, heap_bytes, &b, err));
    uint8_t *heap = b->heap ? b->heap->data : NULL;
    for (uint32_t i = 0; i < n; i++) rows_copy(l, rows + (size_t)i * l->stride, b->rows->data + (size_t)i * l->stride, &heap);
    b->n = n;
    b->heap_used = heap_bytes;
    const row_block *one = b;
    tw_status status = part_put_rows(to, tag, l, &one, 1, err);
    row_block_free(b);
    return status;
}

tw_status arena_rows_save(const arena_rows *a, saved_part *to, int64_t tag, tw_error *err) {
    for (uint32_t c = 0; c < a->n_chunks; c++) {
        uint8_t *row;
        uint32_t n = arena_rows_chunk(a, c, &row);
        for (uint32_t done = 0, some; done < n; done += some) {
            some = n - done < saved_rows ? n - done : saved_rows;
            TRY(save_rows(a, row + (size_t)done * a->layout->stride, some, to, tag, err));
        }
    }
    return TW_OK;
}
