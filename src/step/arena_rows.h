/* arena_rows.h: rows of one layout that never move, and an arena for what their views point to: the
 * body of a hash table. All of it is charged to MEMORY_STATE; whoever can spill is asked to before anything
 * is refused. Used by one thread at a time. */
#ifndef STEP_ARENA_ROWS_H
#define STEP_ARENA_ROWS_H

#include "data/rows.h"

struct saved_part; /* engine/checkpoint.h */

typedef struct arena_rows {
    memory *memory;
    const row_layout *layout;
    buffer **chunks;      /* of rows */
    uint32_t *chunk_counts; /* rows in each but the last that is in use */
    uint32_t n_chunks, n_chunks_kept; /* in use; and those behind, which are left from before */
    uint32_t chunk_rows;  /* places in the last chunk in use */
    uint32_t last_used;   /* of them */
    uint64_t n;           /* rows in all */
    buffer **heaps;
    uint32_t n_heaps;
    size_t heap_used;     /* of the last heap */
    size_t bytes;         /* charged */
    size_t chunk_bytes_max; /* of chunks and heaps that are not for one large thing */
    tw_status refusal;    /* why the last NULL or false was given: TW_ERR_MEMORY, or what a spill failed with */
    tw_error *err;        /* where the message of a failed spill goes; set by the user, may be NULL */
} arena_rows;

/* bytes_max: what the owner means to take at most; chunks are a small part of it. */
void arena_rows_init(arena_rows *a, memory *m, const row_layout *l, size_t bytes_max);
void arena_rows_clear(arena_rows *a); /* frees everything; may be used again */
void arena_rows_rewind(arena_rows *a); /* no rows and no bytes any more, but their memory is kept for the next */
/* Makes sure that so many rows can be had by arena_rows_new. False: refused. */
bool arena_rows_reserve(arena_rows *a, uint32_t rows);
/* One more row of those reserved, not cleared. */
static inline uint8_t *arena_rows_new(arena_rows *a) {
    uint8_t *row = a->chunks[a->n_chunks - 1]->data + (size_t)a->last_used++ * a->layout->stride;
    a->n++;
    return row;
}
static inline void arena_rows_drop_last(arena_rows *a) { /* the last row that was given: it is as if it never was */
    a->last_used--;
    a->n--;
}
/* `bytes` of heap, 8-byte aligned; NULL when refused. */
uint8_t *arena_rows_bytes(arena_rows *a, size_t bytes);
/* A copy of a row of this layout, header and extra included; NULL when refused. */
uint8_t *arena_rows_copy(arena_rows *a, const uint8_t *row);
/* A buffer beside the rows, charged to the owner of the result; NULL when refused. */
buffer *arena_rows_buffer(arena_rows *a, size_t bytes);
/* A run of rows, and how many it has. */
static inline uint32_t arena_rows_chunk(const arena_rows *a, uint32_t chunk, uint8_t **rows) {
    *rows = a->chunks[chunk]->data;
    return chunk + 1 == a->n_chunks ? a->last_used : a->chunk_counts[chunk];
}
/* One handle on all heaps, with a reference; NULL if there are none. */
tw_status arena_rows_heap(const arena_rows *a, buffer **out, tw_error *err);
/* All rows, headers and extra included, as frames with a tag; nothing changes. */
tw_status arena_rows_save(const arena_rows *a, struct saved_part *to, int64_t tag, tw_error *err);

#endif
