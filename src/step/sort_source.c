#include <stdio.h>
#include <stdlib.h>

#include "step/sort_internal.h"
#include "step/sort_rows.h"

enum {
    cut_bytes = 2 << 20,         /* a range that was cut should have: what the caches hold */
    stage_bytes_uncut = 4 << 20, /* a stage of no more is one range */
    row_overhead = 40,           /* bytes of scratch */
    ranges_few = 8,              /* fewer are too few, if more were wanted */
    sampled_blocks = 16,
    sampled_rows = 16,           /* of a block */
};

typedef struct sort_reader {
    reader reader;
    sort_state *state;
    sort_cut *cut;       /* this reader only helps to cut a range; NULL when it is done */
    sort_range *range;   /* or this is what it reads */
    row_block **blocks;
    size_t n_blocks, capacity;
    buffer *scratch, *heap; /* heap: of all blocks, joined */
    const uint8_t *const *rows;
    uint64_t n_rows, next, wanted;
    bool taken, helper;
} sort_reader;

static sort_state *of_source(source *s) { return (sort_state *)((char *)s - offsetof(sort_state, source)); }

static tw_status out_of_memory(tw_error *err) {
    return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
}

/* ---- cutting what is too large ---- */

static bool is_too_large(const sort_state *s, const sort_range *r) {
    uint64_t bytes = r->bytes + r->rows * row_overhead;
    if (r->rows < 2) return false;
    if (r->level == s->stage && s->run->parallelism > 1 && bytes > stage_bytes_uncut) return true;
    return bytes > s->range_bytes_max || r->rows >= UINT32_MAX;
}

/* Splitters from a few rows of a few blocks. Two of them that differ in anything will cut the range. */
static tw_status split_by_blocks(sort_state *s, const sort_range *r, uint32_t n_ranges, sort_splitters **out,
                                 tw_error *err) {
    row_block *blocks[sampled_blocks];
    uint32_t n = 0, stride = s->layout->stride;
    uint64_t bytes = 0, n_rows = 0;
    sort_samples samples;
    sort_samples_init(&samples, &s->order, SIZE_MAX);
    samples.exact = true;
    tw_status status = TW_OK;
    while (n < sampled_blocks && (bytes < s->range_bytes_max / 2 || n_rows < 2) && status == TW_OK) {
        status = exchange_take(r->level->x, r->partition, &blocks[n], err);
        if (status != TW_OK) break;
        bytes += row_block_bytes(blocks[n]);
        n_rows += blocks[n++]->n;
    }
    if (status == TW_END) status = TW_OK;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rows = blocks[i]->n < sampled_rows ? blocks[i]->n : sampled_rows;
        for (uint32_t k = 0; k < rows && status == TW_OK; k++) {
            uint32_t row = (uint32_t)((uint64_t)k * blocks[i]->n / rows);
            status = sort_samples_add_row(&samples, blocks[i]->rows->data + (size_t)row * stride, err);
        }
        exchange_give_back(r->level->x, r->partition, blocks[i]);
    }
    if (status == TW_OK) status = sort_samples_split(&samples, NULL, NULL, n_ranges, out, err);
    sort_samples_free(&samples);
    return status;
}

/* From the samples, as long as there are enough between the range's bounds. Cut strings may all be on one
 * side of the rows; then the bounds close in, until there are not. */
static tw_status split(sort_state *s, const sort_range *r, sort_splitters **out, tw_error *err) {
    uint64_t bytes = r->bytes + r->rows * row_overhead;
    uint64_t piece = s->range_bytes_max / 2 < cut_bytes ? s->range_bytes_max / 2 : cut_bytes;
    uint64_t wanted = bytes / piece + 1;
    uint32_t n = wanted < s->ranges_max ? (uint32_t)wanted : s->ranges_max;
    TRY(sort_samples_split(&s->samples, r->from, r->to, n, out, err));
    uint32_t got = sort_splitters_ranges(*out);
    if (got == n || got >= ranges_few) return TW_OK;
    sort_splitters_free(*out);
    return split_by_blocks(s, r, n, out, err);
}

/* With the lock held. Workers then take part in it, see help_to_cut. */
static tw_status begin_cut(sort_state *s, sort_range *r, tw_error *err) {
    sort_splitters *splitters;
    sort_cut *c = calloc(1, sizeof *c);
    if (!c) return out_of_memory(err);
    tw_status status = split(s, r, &splitters, err);
    if (status == TW_OK) status = sort_level_new(s, splitters, &c->into, err);
    if (status != TW_OK) {
        free(c);
        return status;
    }
    pthread_mutex_init(&c->take, NULL);
    c->range = r;
    s->cut = c;
    return TW_OK;
}

static void cut_free(sort_cut *c) {
    if (!c) return;
    pthread_mutex_destroy(&c->take);
    free(c->range);
    free(c);
}

static void range_read(sort_level *level) {
    if (--level->unread) return;
    exchange_free(level->x);
    level->x = NULL;
}

/* With the lock held: the new ranges take the place of the one that was cut. */
static tw_status end_cut(sort_state *s, tw_error *err) {
    sort_cut *c = s->cut;
    exchange_seal(c->into->x);
    TRY(sort_list_ranges(c->into, c->range, &s->first, err));
    range_read(c->range->level);
    s->cut = NULL;
    cut_free(c);
    return TW_OK;
}

tw_status sort_list_ranges(sort_level *level, const sort_range *whole, sort_range **first, tw_error *err) {
    sort_range *all = NULL, **last = &all;
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < level->n_ranges && status == TW_OK; i++) {
        sort_range *r = calloc(1, sizeof *r);
        if (!r) {
            status = out_of_memory(err);
            break;
        }
        r->level = level;
        r->partition = i;
        r->rows = exchange_rows(level->x, i);
        r->bytes = exchange_partition_bytes(level->x, i);
        r->from = i ? sort_splitter(level->splitters, i - 1) : whole ? whole->from : NULL;
        r->to = i + 1 < level->n_ranges ? sort_splitter(level->splitters, i) : whole ? whole->to : NULL;
        *last = r;
        last = &r->next;
    }
    if (status == TW_OK) {
        level->unread = level->n_ranges;
        *last = *first;
        *first = all;
        return TW_OK;
    }
    while (all) {
        sort_range *r = all;
        all = r->next;
        free(r);
    }
    return status;
}

/* Moves block after block until none are left. */
static tw_status help_to_cut(sort_reader *r, tw_error *err) {
    sort_state *s = r->state;
    sort_cut *c = r->cut;
    for (;;) {
        row_block *b;
        pthread_mutex_lock(&c->take);
        tw_status status = exchange_take(c->range->level->x, c->range->partition, &b, err);
        pthread_mutex_unlock(&c->take);
        if (status == TW_END) break;
        TRY(status);
        status = sort_scatter_block(s, b, c->into, err);
        row_block_free(b);
        TRY(sort_final(status));
    }
    pthread_mutex_lock(&s->lock);
    c->drained = true;
    c->workers--;
    r->cut = NULL;
    pthread_mutex_unlock(&s->lock);
    run_wake(s->run);
    return TW_END;
}

/* ---- one range in memory ---- */

static tw_status take_blocks(sort_reader *r, tw_error *err) {
    for (;;) {
        if (r->n_blocks == r->capacity) {
            size_t capacity = r->capacity ? 2 * r->capacity : 32;
            row_block **blocks = realloc(r->blocks, capacity * sizeof *blocks);
            if (!blocks) return out_of_memory(err);
            r->blocks = blocks;
            r->capacity = capacity;
        }
        row_block *b;
        tw_status status = exchange_take(r->range->level->x, r->range->partition, &b, err);
        if (status == TW_END) return TW_OK;
        TRY(status);
        r->blocks[r->n_blocks++] = b;
        r->n_rows += b->n;
    }
}

static tw_status get_scratch(sort_reader *r, tw_error *err) {
    if (r->scratch) return TW_OK;
    return buffer_new(r->state->run->memory, MEMORY_STATE, sort_rows_scratch_bytes(r->n_rows), &r->scratch, err);
}

static tw_status join_heaps(sort_reader *r, tw_error *err) {
    buffer **heaps = malloc((r->n_blocks + 1) * sizeof *heaps);
    if (!heaps) return out_of_memory(err);
    for (size_t i = 0; i < r->n_blocks; i++) heaps[i] = r->blocks[i]->heap;
    tw_status status = buffer_join(heaps, r->n_blocks, &r->heap, err);
    free(heaps);
    return status;
}

/* Goes on where it was when it is called again after a failure. */
static tw_status load(sort_reader *r, tw_error *err) {
    sort_state *s = r->state;
    if (!r->taken) {
        TRY(take_blocks(r, err));
        r->taken = true;
        pthread_mutex_lock(&s->lock);
        range_read(r->range->level);
        pthread_mutex_unlock(&s->lock);
    }
    TRY(get_scratch(r, err));
    if (s->layout->has_heap && !r->heap) TRY(join_heaps(r, err));
    sort_rows(&s->order, r->blocks, r->n_blocks, r->scratch->data, s->run->cancelled, &r->rows);
    return run_cancelled(s->run) ? error_set(err, TW_ERR_CANCELLED, "interrupted") : TW_OK;
}

static void unload(sort_reader *r) {
    for (size_t i = 0; i < r->n_blocks; i++) row_block_free(r->blocks[i]);
    r->n_blocks = 0;
    buffer_unref(r->heap);
    buffer_unref(r->scratch);
    r->heap = r->scratch = NULL;
}

/* ---- batches ---- */

static uint32_t rows_for_batch(const sort_reader *r) {
    const run_context *run = r->state->run;
    uint64_t row_bytes = r->range->bytes / r->n_rows + 1, rows = run->batch_bytes / row_bytes;
    if (rows > run->batch_rows) rows = run->batch_rows;
    if (rows > r->wanted - r->next) rows = r->wanted - r->next;
    return rows ? (uint32_t)rows : 1;
}

static tw_status decode(sort_reader *r, uint32_t n, batch **out, tw_error *err) {
    sort_state *s = r->state;
    column *fields = calloc(s->n_output + 1, sizeof *fields);
    batch *b = NULL;
    tw_status status = fields ? batch_new(s->schema, n, &b, err) : out_of_memory(err);
    if (status == TW_OK)
        status = rows_decode(s->run->memory, s->layout, r->rows + r->next, n, 0, s->n_output, r->heap, fields, err);
    if (status == TW_OK) {
        for (uint32_t c = 0; c < s->schema->n; c++) { /* absent, unless somebody reads it */
            b->columns[c].type = s->schema->fields[c].type;
            b->columns[c].rows = n;
        }
        for (uint32_t f = 0; f < s->n_output; f++) b->columns[s->columns[f]] = fields[f];
        b->position = r->reader.position + r->next;
        *out = b;
    } else {
        batch_unref(b);
    }
    free(fields);
    return status;
}

static tw_status sort_next(reader *self, batch **out, tw_error *err) {
    sort_reader *r = (sort_reader *)self;
    if (r->helper) return r->cut ? help_to_cut(r, err) : TW_END;
    if (!r->rows) TRY(load(r, err));
    if (r->next == r->wanted) return TW_END;
    uint32_t n = rows_for_batch(r);
    TRY(decode(r, n, out, err));
    r->next += n;
    if (r->next == r->wanted) unload(r);
    return TW_OK;
}

static void sort_reader_free(reader *self) {
    sort_reader *r = (sort_reader *)self;
    unload(r);
    free(r->blocks);
    free(r->range);
    free(r);
}

static const reader_class sort_reader_class = {.next = sort_next, .free = sort_reader_free};

/* ---- the source ---- */

static tw_status sort_source_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    *n_splits = UINT64_MAX;
    return TW_OK;
}

/* With the lock held. */
static tw_status open_some(sort_state *s, sort_reader *r, tw_error *err) {
    for (;;) {
        if (s->cut) {
            if (!s->cut->drained) {
                s->cut->workers++;
                r->cut = s->cut;
                r->helper = true;
                return TW_OK;
            }
            if (s->cut->workers) return STATUS_WAIT;
            TRY(end_cut(s, err));
        }
        sort_range *first = s->first;
        if (!first || s->rank >= s->limit) return TW_END;
        if (first->rows && !is_too_large(s, first)) {
            r->range = first;
            r->wanted = first->rows < s->limit - s->rank ? first->rows : s->limit - s->rank;
            s->first = first->next;
            s->rank += first->rows;
            return TW_OK;
        }
        if (first->rows) TRY(begin_cut(s, first, err));
        s->first = first->next;
        if (first->rows) continue;
        range_read(first->level);
        free(first);
    }
}

static tw_status sort_source_open(source *self, uint64_t split_number, reader **out, tw_error *err) {
    sort_state *s = of_source(self);
    sort_reader *r = calloc(1, sizeof *r);
    if (!r) return out_of_memory(err);
    r->reader.class = &sort_reader_class;
    r->state = s;
    pthread_mutex_lock(&s->lock);
    r->reader.position = s->rank;
    r->reader.spread = POSITION_SPREAD;
    tw_status status = open_some(s, r, err);
    pthread_mutex_unlock(&s->lock);
    if (status == TW_OK) *out = &r->reader;
    else free(r);
    return status;
}

static void sort_prune(source *self, const bool *needed) {
    sort_state *s = of_source(self);
    memcpy(s->needed, needed, s->schema->n * sizeof *needed);
}

static void sort_source_describe(const source *self, char *out, size_t capacity) {
    snprintf(out, capacity, "the ranges in order, each sorted in memory");
}

/* The rows that were not read go early. */
static void free_ranges(sort_state *s) {
    while (s->first) {
        sort_range *r = s->first;
        s->first = r->next;
        free(r);
    }
    cut_free(s->cut);
    s->cut = NULL;
    for (sort_level *l = atomic_load(&s->levels); l; l = l->next) {
        exchange_free(l->x);
        l->x = NULL;
    }
}

static void sort_free_source(source *self) {
    sort_state *s = of_source(self);
    free_ranges(s);
    sort_state_release(s);
}

void sort_state_release(sort_state *s) {
    if (atomic_fetch_sub(&s->owners, 1) != 1) return;
    free_ranges(s);
    for (sort_level *l = atomic_load(&s->levels); l;) {
        sort_level *next = l->next;
        sort_splitters_free(l->splitters);
        free(l);
        l = next;
    }
    if (s->started) sort_samples_free(&s->samples);
    row_layout_free(s->layout);
    row_layout_free(s->sample_layout);
    free(s->fields);
    free(s->sample_fields);
    free(s->columns);
    free(s->needed);
    free(s->keys);
    schema_unref(s->schema);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const source_class sort_source_class = {
    .start = sort_source_start,
    .open = sort_source_open,
    .prune = sort_prune,
    .describe = sort_source_describe,
    .free = sort_free_source,
};
