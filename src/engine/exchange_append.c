/* Rows into blocks. The rows are put in order of their partitions; then, partition by partition, places
 * are reserved under its lock; then, without locks, the rows are written column by column. A reader or
 * the spiller keeps away from a block while its `writers` is not 0.
 *
 * When memory is refused, the rows that have places are written first and room is made after: so a
 * thread never waits with places that are reserved but not written, the spiller may wait for writers,
 * and no work is done twice. */
#include <assert.h>
#include <stdlib.h>

#include "engine/exchange_internal.h"

enum {
    piece_rows = 8192,  /* at a time: its columns stay in the second-level cache */
    segments_max = 512,
    chunk_rows = 256,   /* written at a time */
};

/* Places reserved in one block for rows that follow each other in `order`. */
typedef struct segment {
    row_block *block;
    uint8_t *rows, *heap;
    uint32_t n;
} segment;

/* One append. Rows come as columns or encoded. */
typedef struct appending {
    exchange *x;
    const column *columns;
    const uint8_t *const *rows;
    const uint64_t *headers;
    const uint8_t *extra;
    size_t extra_stride;

    uint32_t n;        /* of this piece */
    uint32_t *order;   /* rows of the piece, partition by partition */
    uint32_t *sizes;   /* bytes of heap, in that order */
    uint32_t *begins;  /* n_partitions + 1: where a partition's rows begin in `order` */
    uint32_t written;  /* rows of `order` */
    uint32_t n_segments; /* with places for the rows from `written` on */
    row_block *spare;
    segment segments[segments_max];
} appending;

/* ---- the order ---- */

/* Counting sort; stable. */
static void order_rows(appending *a, const uint32_t *to, uint32_t first) {
    uint32_t n_partitions = a->x->n, *begins = a->begins;
    memset(begins, 0, (n_partitions + 1) * sizeof *begins);
    for (uint32_t i = 0; i < a->n; i++) {
        assert(to[i] < n_partitions);
        begins[to[i] + 1]++;
    }
    for (uint32_t p = 0; p < n_partitions; p++) begins[p + 1] += begins[p];
    for (uint32_t i = 0; i < a->n; i++) a->order[begins[to[i]]++] = first + i;
    for (uint32_t p = n_partitions; p > 0; p--) begins[p] = begins[p - 1];
    begins[0] = 0;
}

static size_t measure_encoded(appending *a) {
    size_t total = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        size_t bytes = rows_copy_heap_bytes(a->x->l, a->rows[a->order[i]]);
        a->sizes[i] = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
        total += bytes;
    }
    return total;
}

static tw_status measure_rows(appending *a, tw_error *err) {
    exchange *x = a->x;
    if (!x->l->has_heap) return TW_OK;
    size_t total = a->rows ? measure_encoded(a)
                           : rows_heap_bytes(x->l, a->columns, a->order, a->n, a->sizes);
    if (total >= UINT32_MAX) {
        for (uint32_t i = 0; i < a->n; i++) {
            if (a->sizes[i] == UINT32_MAX) return error_set(err, TW_ERR_DATA, "a row of 4 GiB or more");
        }
    }
    atomic_fetch_add_explicit(&x->rows_seen, a->n, memory_order_relaxed);
    atomic_fetch_add_explicit(&x->heap_seen, total, memory_order_relaxed);
    return TW_OK;
}

/* ---- writing ---- */

/* Rows without a heap. `stride` is a constant at each call. */
static inline __attribute__((always_inline)) void write_plain(const appending *a, const uint32_t *order, uint32_t n,
                                                              uint8_t *const *to, size_t stride) {
    for (uint32_t i = 0; i < n; i++) {
        if (i + 4 < n) __builtin_prefetch(a->rows[order[i + 4]]);
        memcpy(to[i], a->rows[order[i]], stride);
    }
}

static void write_encoded(const appending *a, const uint32_t *order, uint32_t n, uint8_t *const *to,
                          uint8_t **heaps) {
    if (!a->x->l->has_heap) {
        switch (a->x->l->stride) {
        case 24: write_plain(a, order, n, to, 24); return;
        case 32: write_plain(a, order, n, to, 32); return;
        case 40: write_plain(a, order, n, to, 40); return;
        case 48: write_plain(a, order, n, to, 48); return;
        default: write_plain(a, order, n, to, a->x->l->stride); return;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (i + 4 < n) __builtin_prefetch(a->rows[order[i + 4]]);
        rows_copy(a->x->l, a->rows[order[i]], to[i], &heaps[i]);
    }
}

static void write_columns(const appending *a, const uint32_t *order, uint32_t n, uint8_t *const *to,
                          uint8_t **heaps) {
    const row_layout *l = a->x->l;
    rows_encode_apart(l, a->columns, order, n, to, heaps);
    for (uint32_t i = 0; i < n; i++) row_set_header(to[i], a->headers ? a->headers[order[i]] : 0);
    if (!l->extra_bytes) return;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *extra = to[i] + l->extra_offset;
        if (a->extra) memcpy(extra, a->extra + order[i] * a->extra_stride, l->extra_bytes);
        else memset(extra, 0, l->extra_bytes);
    }
}

static void write_chunk(appending *a, uint32_t n, uint8_t *const *to, uint8_t **heaps) {
    if (a->rows) write_encoded(a, a->order + a->written, n, to, heaps);
    else write_columns(a, a->order + a->written, n, to, heaps);
    a->written += n;
}

/* Writes the rows that have places, and lets go of their blocks. */
static void write_reserved(appending *a) {
    uint8_t *to[chunk_rows], *heaps[chunk_rows];
    uint32_t n = 0, stride = a->x->l->stride;
    bool has_heap = a->x->l->has_heap;
    for (uint32_t k = 0; k < a->n_segments; k++) {
        segment *s = &a->segments[k];
        uint8_t *heap = s->heap;
        for (uint32_t i = 0; i < s->n; i++) {
            to[n] = s->rows + (size_t)i * stride;
            heaps[n] = heap;
            /* The places lie in many blocks: their lines are fetched all at once, not one by one. */
            for (uint32_t at = 0; at < stride; at += 64) __builtin_prefetch(to[n] + at, 1);
            if (has_heap) {
                __builtin_prefetch(heap, 1);
                __builtin_prefetch(heap + 64, 1);
                heap += a->sizes[a->written + n];
            }
            if (++n < chunk_rows) continue;
            write_chunk(a, n, to, heaps);
            n = 0;
        }
    }
    if (n) write_chunk(a, n, to, heaps);
    for (uint32_t k = 0; k < a->n_segments; k++) {
        atomic_fetch_sub_explicit(&a->segments[k].block->writers, 1, memory_order_release);
    }
    a->n_segments = 0;
}

/* ---- places ---- */

/* How many of the rows [at, end) fit the block, and their bytes of heap. */
static uint32_t rows_that_fit(const appending *a, const row_block *b, uint32_t at, uint32_t end,
                              size_t *heap_bytes) {
    uint32_t n = b->capacity - b->n < end - at ? b->capacity - b->n : end - at, fit = 0;
    *heap_bytes = 0;
    if (!a->x->l->has_heap) return n;
    size_t left = b->heap ? b->heap->size - b->heap_used : 0, used = 0;
    for (; fit < n && a->sizes[at + fit] <= left - used; fit++) used += a->sizes[at + fit];
    *heap_bytes = used;
    return fit;
}

static void reserve_in(appending *a, partition *p, row_block *b, uint32_t n, size_t heap_bytes) {
    uint32_t stride = a->x->l->stride;
    a->segments[a->n_segments++] = (segment){
        .block = b,
        .rows = b->rows->data + (size_t)b->n * stride,
        .heap = b->heap ? b->heap->data + b->heap_used : b->rows->data, /* then nothing goes there */
        .n = n,
    };
    b->n += n;
    b->heap_used += heap_bytes;
    atomic_fetch_add_explicit(&b->writers, 1, memory_order_relaxed);
    p->rows += n;
    p->bytes += (uint64_t)n * stride + heap_bytes;
}

/* Down to 2^k or 1.5 * 2^k, sizes of which `memory` wastes little. */
static size_t round_size(size_t bytes) {
    if (bytes < 128) return 64;
    size_t power = (size_t)1 << (63 - __builtin_clzll(bytes));
    return bytes >= power + power / 2 ? power + power / 2 : power;
}

typedef struct shape {
    uint32_t rows;
    size_t heap_bytes;
    bool own; /* for one large row alone */
} shape;

/* The next block of a partition: the heap gets the share it has had of all rows so far. */
static shape next_shape(const exchange *x, const partition *p, uint32_t row_heap) {
    size_t stride = x->l->stride;
    if (stride + row_heap > x->block_bytes) return (shape){1, row_heap, true};
    size_t bytes = p->next_bytes > stride + row_heap ? p->next_bytes : stride + row_heap;
    uint64_t seen = atomic_load_explicit(&x->rows_seen, memory_order_relaxed);
    uint64_t heap = atomic_load_explicit(&x->heap_seen, memory_order_relaxed);
    size_t row_average = seen ? (size_t)((heap + seen - 1) / seen) : 0;
    size_t for_rows = round_size((size_t)((double)bytes * stride / (double)(stride + row_average)));
    size_t rows = for_rows / stride ? for_rows / stride : 1;
    size_t for_heap = row_average ? round_size(rows * row_average * 5 / 4) : 0;
    return (shape){(uint32_t)rows, for_heap > row_heap ? for_heap : row_heap, false};
}

/* The spare, if it has room for the row. */
static row_block *take_spare(appending *a, uint32_t row_heap) {
    row_block *b = a->spare;
    if (!b || (b->heap ? b->heap->size : 0) < row_heap) return NULL;
    a->spare = NULL;
    return b;
}

typedef enum reserving { RESERVED, NO_SEGMENT, NO_BLOCK } reserving;

/* With the partition's lock held: places for rows [*at, end) until something is missing. */
static reserving reserve_some(appending *a, partition *p, uint32_t *at, uint32_t end, shape *missing) {
    exchange *x = a->x;
    while (*at < end) {
        if (a->n_segments == segments_max) return NO_SEGMENT;
        size_t heap_bytes;
        uint32_t fit = p->open ? rows_that_fit(a, p->open, *at, end, &heap_bytes) : 0;
        if (fit) {
            reserve_in(a, p, p->open, fit, heap_bytes);
            *at += fit;
            continue;
        }
        uint32_t row_heap = x->l->has_heap ? a->sizes[*at] : 0;
        *missing = next_shape(x, p, row_heap);
        row_block *b = take_spare(a, row_heap);
        if (!b) return NO_BLOCK;
        if (missing->own) {
            partition_add_full(p, b);
            reserve_in(a, p, b, 1, row_heap);
            ++*at;
            continue;
        }
        if (p->open) partition_retire_open(p);
        partition_add_open(p, b);
        if (p->next_bytes < x->block_bytes) {
            p->next_bytes = 2 * p->next_bytes < x->block_bytes ? 2 * p->next_bytes : x->block_bytes;
        }
    }
    return RESERVED;
}

static tw_status append_partition(appending *a, uint32_t i, tw_error *err) {
    partition *p = &a->x->partitions[i];
    uint32_t at = a->begins[i], end = a->begins[i + 1];
    while (at < end) {
        shape missing;
        pthread_mutex_lock(&p->lock);
        reserving result = reserve_some(a, p, &at, end, &missing);
        pthread_mutex_unlock(&p->lock);
        if (result == RESERVED) break;
        if (result == NO_BLOCK) {
            row_block_free(a->spare);
            a->spare = row_block_try(a->x->m, a->x->l, missing.rows, missing.heap_bytes);
            if (a->spare) continue;
        }
        write_reserved(a);
        if (result == NO_SEGMENT) continue;
        TRY(row_block_new(a->x->m, MEMORY_STATE, a->x->l, missing.rows, missing.heap_bytes, &a->spare, err));
    }
    return TW_OK;
}

static tw_status append_piece(appending *a, const uint32_t *to, uint32_t first, tw_error *err) {
    order_rows(a, to, first);
    a->written = 0;
    TRY(measure_rows(a, err));
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < a->x->n && status == TW_OK; i++) {
        if (a->begins[i] < a->begins[i + 1]) status = append_partition(a, i, err);
    }
    write_reserved(a);
    return status;
}

static tw_status append(appending *a, uint32_t n, const uint32_t *to, tw_error *err) {
    assert(!atomic_load_explicit(&a->x->sealed, memory_order_relaxed));
    uint32_t some = n < piece_rows ? n : piece_rows;
    a->order = malloc((2 * (size_t)some + a->x->n + 1) * sizeof *a->order);
    if (!a->order) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    a->sizes = a->order + some;
    a->begins = a->sizes + some;
    tw_status status = TW_OK;
    for (uint32_t first = 0; first < n && status == TW_OK; first += some) {
        a->n = n - first < some ? n - first : some;
        status = append_piece(a, to + first, first, err);
    }
    row_block_free(a->spare);
    free(a->order);
    return status;
}

tw_status exchange_append(exchange *x, const column *columns, uint32_t n, const uint32_t *to,
                          const uint64_t *headers, const uint8_t *extra, size_t extra_stride,
                          tw_error *err) {
    appending a;
    memset(&a, 0, offsetof(appending, segments));
    a.x = x;
    a.columns = columns;
    a.headers = headers;
    a.extra = extra;
    a.extra_stride = extra_stride;
    return append(&a, n, to, err);
}

tw_status exchange_append_rows(exchange *x, const uint8_t *const *rows, uint32_t n, const uint32_t *to,
                               tw_error *err) {
    appending a;
    memset(&a, 0, offsetof(appending, segments));
    a.x = x;
    a.rows = rows;
    return append(&a, n, to, err);
}
