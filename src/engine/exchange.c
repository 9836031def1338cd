#include <assert.h>
#include <sched.h>
#include <stdlib.h>

#include "engine/exchange_internal.h"

enum {
    partitions_max = 4096,
    block_bytes_min = 4 << 10,
    block_bytes_max = 256 << 10,
    frame_bytes_min = 16 << 10,
    frame_bytes_max = 1 << 20,
    frame_blocks_max = 256,
    spill_at_once_max = 8 << 20,
};

static size_t clamp(size_t value, size_t least, size_t most) {
    return value < least ? least : value > most ? most : value;
}

/* ---- blocks in memory, with the partition's lock held ---- */

static size_t block_data_bytes(const exchange *x, const row_block *b) {
    return (size_t)b->n * x->l->stride + b->heap_used;
}

static void add_memory(atomic_size_t *to, size_t bytes) {
    atomic_fetch_add_explicit(to, bytes, memory_order_relaxed);
}

void partition_add_open(partition *p, row_block *b) {
    assert(!p->open);
    p->open = b;
    add_memory(&p->memory, row_block_bytes(b));
}

void partition_retire_open(partition *p) {
    row_block *b = p->open;
    p->open = NULL;
    b->next = p->full;
    p->full = b;
    add_memory(&p->full_memory, row_block_bytes(b));
}

void partition_add_full(partition *p, row_block *b) {
    b->next = p->full;
    p->full = b;
    add_memory(&p->full_memory, row_block_bytes(b));
    add_memory(&p->memory, row_block_bytes(b));
}

/* Nobody writes in it, and since reserving needs the lock nobody will. */
static bool block_is_quiet(const row_block *b) {
    return atomic_load_explicit(&b->writers, memory_order_acquire) == 0;
}

/* A quiet block out of the partition; NULL when there is none. */
static row_block *partition_pop(partition *p, bool from_open) {
    for (row_block **at = &p->full; *at; at = &(*at)->next) {
        row_block *b = *at;
        if (!block_is_quiet(b)) continue;
        *at = b->next;
        b->next = NULL;
        add_memory(&p->full_memory, -row_block_bytes(b));
        add_memory(&p->memory, -row_block_bytes(b));
        return b;
    }
    row_block *b = p->open;
    if (!from_open || !b || !block_is_quiet(b)) return NULL;
    p->open = NULL;
    add_memory(&p->memory, -row_block_bytes(b));
    return b;
}

/* ---- spilling ---- */

static size_t exchange_spillable(void *self) {
    exchange *x = self;
    size_t bytes = 0;
    for (uint32_t i = 0; i < x->n; i++) {
        bytes += atomic_load_explicit(&x->partitions[i].memory, memory_order_relaxed);
    }
    return bytes;
}

static bool reserve_frame(partition *p) {
    if (p->n_frames < p->frames_capacity) return true;
    uint32_t capacity = p->frames_capacity ? 2 * p->frames_capacity : 4;
    frame *frames = realloc(p->frames, capacity * sizeof *frames);
    if (!frames) return false;
    p->frames = frames;
    p->frames_capacity = capacity;
    return true;
}

static void push_frame(partition *p, frame f) {
    p->frames[p->n_frames++] = f;
    p->disk_bytes += f.place.bytes;
}

/* Writers never wait while they write. */
static void wait_for_writers(partition *p) {
    for (row_block *b = p->full; b; b = b->next) {
        while (!block_is_quiet(b)) sched_yield();
    }
    while (p->open && !block_is_quiet(p->open)) sched_yield();
}

/* What fits one frame, out of the partition; at least a block if there is one. */
static uint32_t detach_blocks(exchange *x, partition *p, bool all, row_block **blocks, frame *f) {
    uint32_t n = 0;
    size_t bytes = 0;
    if (all) wait_for_writers(p);
    while (n < frame_blocks_max && bytes < x->frame_bytes) {
        row_block *b = partition_pop(p, all);
        if (!b) break;
        if (!b->n) {
            row_block_free(b);
            continue;
        }
        blocks[n++] = b;
        bytes += block_data_bytes(x, b);
        f->rows += b->n;
    }
    return n;
}

/* Writes one frame of full blocks, or of all; adds to *freed. */
static tw_status spill_partition(exchange *x, partition *p, bool all, size_t *freed, tw_error *err) {
    row_block *blocks[frame_blocks_max];
    frame f = {0};
    pthread_mutex_lock(&p->lock);
    if (!reserve_frame(p)) {
        pthread_mutex_unlock(&p->lock);
        return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    }
    uint32_t n = detach_blocks(x, p, all, blocks, &f);
    p->spilling++;
    pthread_mutex_unlock(&p->lock);

    tw_status status = TW_OK;
    if (n) {
        const row_block *const *view_of = (const row_block *const *)blocks;
        status = spill_write_blocks(x->s, x->l, view_of, n, &f.place, err);
    }
    for (uint32_t i = 0; i < n && status == TW_OK; i++) {
        *freed += row_block_bytes(blocks[i]);
        row_block_free(blocks[i]);
    }

    pthread_mutex_lock(&p->lock);
    for (uint32_t i = 0; i < n && status != TW_OK; i++) partition_add_full(p, blocks[i]);
    if (n && status == TW_OK) push_frame(p, f);
    p->spilling--;
    pthread_cond_broadcast(&p->spilled);
    pthread_mutex_unlock(&p->lock);
    return status;
}

/* The partition with most to give that is not in `done`; NULL when none has anything. */
static partition *largest_partition(exchange *x, bool all, const uint8_t *done) {
    partition *best = NULL;
    size_t most = 0;
    for (uint32_t i = 0; i < x->n; i++) {
        partition *p = &x->partitions[i];
        size_t bytes = atomic_load_explicit(all ? &p->memory : &p->full_memory, memory_order_relaxed);
        if (bytes <= most || done[i >> 3] >> (i & 7) & 1) continue;
        best = p;
        most = bytes;
    }
    return best;
}

static tw_status spill_largest(exchange *x, bool all, size_t want, size_t *freed, tw_error *err) {
    uint8_t done[partitions_max / 8] = {0};
    while (*freed < want) {
        partition *p = largest_partition(x, all, done);
        if (!p) break;
        size_t before = *freed;
        TRY(spill_partition(x, p, all, freed, err));
        uint32_t i = (uint32_t)(p - x->partitions);
        if (*freed == before) done[i >> 3] |= (uint8_t)(1u << (i & 7));
    }
    return TW_OK;
}

/* Full blocks, rather more than was asked for; then open ones, no more than that. */
static tw_status exchange_spill(void *self, size_t bytes, tw_error *err) {
    exchange *x = self;
    size_t freed = 0;
    TRY(spill_largest(x, false, bytes > x->spill_bytes_min ? bytes : x->spill_bytes_min, &freed, err));
    return freed < bytes ? spill_largest(x, true, bytes, &freed, err) : TW_OK;
}

/* ---- life ---- */

tw_status exchange_create(memory *m, spill *s, const row_layout *l, uint32_t n_partitions,
                          size_t block_bytes, exchange **out, tw_error *err) {
    if (!n_partitions || n_partitions > partitions_max) {
        return error_set(err, TW_ERR_INTERNAL, "an exchange with %u partitions", n_partitions);
    }
    size_t bytes = sizeof(exchange) + n_partitions * sizeof(partition);
    exchange *x = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (!x) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    memset(x, 0, bytes);
    size_t share = memory_limit(m) / 4 * 3;
    x->m = m;
    x->s = s;
    x->l = l;
    x->n = n_partitions;
    /* All open blocks together take an eighth of what states may hold. */
    x->block_bytes = block_bytes ? block_bytes
                                 : clamp(share / 8 / n_partitions, block_bytes_min, block_bytes_max);
    x->frame_bytes = clamp(share / 128, frame_bytes_min, frame_bytes_max);
    x->spill_bytes_min = clamp(share / 32, 0, spill_at_once_max);
    for (uint32_t i = 0; i < n_partitions; i++) {
        partition *p = &x->partitions[i];
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->spilled, NULL);
        p->next_bytes = x->block_bytes < block_bytes_min ? x->block_bytes : block_bytes_min;
    }
    x->spiller = (memory_spiller){
        .spillable_bytes = exchange_spillable, .spill = exchange_spill, .self = x};
    memory_register(m, &x->spiller);
    *out = x;
    return TW_OK;
}

void exchange_free(exchange *x) {
    if (!x) return;
    memory_unregister(x->m, &x->spiller);
    for (uint32_t i = 0; i < x->n; i++) {
        partition *p = &x->partitions[i];
        row_block_free(p->open);
        while (p->full) {
            row_block *b = p->full;
            p->full = b->next;
            row_block_free(b);
        }
        for (uint32_t k = 0; k < p->n_frames; k++) spill_forget(x->s, p->frames[k].place);
        free(p->frames);
        pthread_cond_destroy(&p->spilled);
        pthread_mutex_destroy(&p->lock);
    }
    free(x);
}

void exchange_seal(exchange *x) { atomic_store(&x->sealed, true); }

/* ---- statistics ---- */

static uint64_t locked_read(partition *p, const uint64_t *value) {
    pthread_mutex_lock(&p->lock);
    uint64_t result = *value;
    pthread_mutex_unlock(&p->lock);
    return result;
}

uint64_t exchange_rows(exchange *x, uint32_t i) {
    return locked_read(&x->partitions[i], &x->partitions[i].rows);
}
uint64_t exchange_partition_bytes(exchange *x, uint32_t i) {
    return locked_read(&x->partitions[i], &x->partitions[i].bytes);
}
uint64_t exchange_partition_spilled(exchange *x, uint32_t i) {
    return locked_read(&x->partitions[i], &x->partitions[i].disk_bytes);
}

/* ---- taking ---- */

static uint64_t frame_data_bytes(const frame *f) { return f->place.bytes - 64; }

static tw_status take_frame(exchange *x, partition *p, frame f, row_block **out, tw_error *err) {
    tw_status status = spill_read_block(x->s, x->m, MEMORY_STATE, x->l, f.place, out, err);
    pthread_mutex_lock(&p->lock);
    if (status == TW_OK) {
        p->rows -= f.rows;
        p->bytes -= frame_data_bytes(&f);
    } else if (reserve_frame(p)) {
        push_frame(p, f);
    }
    pthread_mutex_unlock(&p->lock);
    if (status == TW_OK) spill_forget(x->s, f.place);
    return status;
}

tw_status exchange_take(exchange *x, uint32_t i, row_block **out, tw_error *err) {
    partition *p = &x->partitions[i];
    pthread_mutex_lock(&p->lock);
    for (;;) {
        row_block *b = partition_pop(p, true);
        if (b && !b->n) {
            row_block_free(b);
            continue;
        }
        if (b) {
            p->rows -= b->n;
            p->bytes -= block_data_bytes(x, b);
            pthread_mutex_unlock(&p->lock);
            *out = b;
            return TW_OK;
        }
        if (p->n_frames) {
            frame f = p->frames[--p->n_frames];
            p->disk_bytes -= f.place.bytes;
            pthread_mutex_unlock(&p->lock);
            return take_frame(x, p, f, out, err);
        }
        if (!p->spilling) break;
        pthread_cond_wait(&p->spilled, &p->lock); /* what is on its way to the disk comes back */
    }
    pthread_mutex_unlock(&p->lock);
    *out = NULL;
    return TW_END;
}

void exchange_give_back(exchange *x, uint32_t i, row_block *b) {
    partition *p = &x->partitions[i];
    pthread_mutex_lock(&p->lock);
    partition_add_full(p, b);
    p->rows += b->n;
    p->bytes += block_data_bytes(x, b);
    pthread_mutex_unlock(&p->lock);
}

/* ---- showing ---- */

/* What is in memory is shown under the lock, so that it is not moved to disk meanwhile; `frames` are those that were on
 * disk by then, for the caller to free. */
static tw_status show_blocks(partition *p, exchange_visit visit, void *context, frame **frames, uint32_t *n_frames, tw_error *err) {
    const row_block *some[frame_blocks_max];
    tw_status status = TW_OK;
    uint32_t n = 0;
    pthread_mutex_lock(&p->lock);
    while (p->spilling) pthread_cond_wait(&p->spilled, &p->lock);
    *n_frames = p->n_frames;
    *frames = malloc((p->n_frames + 1) * sizeof **frames);
    if (!*frames) status = error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    else if (p->n_frames) memcpy(*frames, p->frames, p->n_frames * sizeof **frames);
    if (p->open && p->open->n) some[n++] = p->open;
    for (const row_block *b = p->full; b && status == TW_OK; b = b->next) {
        if (b->n) some[n++] = b;
        if (n < frame_blocks_max) continue;
        status = visit(context, some, n, err);
        n = 0;
    }
    if (n && status == TW_OK) status = visit(context, some, n, err);
    pthread_mutex_unlock(&p->lock);
    return status;
}

tw_status exchange_each(exchange *x, exchange_visit visit, void *context, tw_error *err) {
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < x->n && status == TW_OK; i++) {
        frame *frames = NULL;
        uint32_t n = 0;
        status = show_blocks(&x->partitions[i], visit, context, &frames, &n, err);
        for (uint32_t k = 0; k < n && status == TW_OK; k++) {
            row_block *b;
            status = spill_read_block(x->s, x->m, MEMORY_STATE, x->l, frames[k].place, &b, err);
            if (status != TW_OK) break;
            const row_block *one = b;
            status = visit(context, &one, 1, err);
            row_block_free(b);
        }
        free(frames);
    }
    return status;
}

static tw_status repartition_block(exchange *into, const row_block *b, exchange_route route,
                                   void *context, tw_error *err) {
    enum { some_rows = 4096 };
    const uint8_t *rows[some_rows];
    uint32_t to[some_rows], stride = into->l->stride;
    for (uint32_t done = 0; done < b->n;) {
        uint32_t n = b->n - done < some_rows ? b->n - done : some_rows;
        for (uint32_t i = 0; i < n; i++) rows[i] = b->rows->data + (size_t)(done + i) * stride;
        route(context, rows, n, to);
        TRY(exchange_append_rows(into, rows, n, to, err));
        done += n;
    }
    return TW_OK;
}

tw_status exchange_repartition(exchange *from, uint32_t i, exchange *into, exchange_route route,
                               void *context, tw_error *err) {
    for (;;) {
        row_block *b;
        tw_status status = exchange_take(from, i, &b, err);
        if (status == TW_END) return TW_OK;
        TRY(status);
        status = repartition_block(into, b, route, context, err);
        row_block_free(b);
        TRY(status);
    }
}
