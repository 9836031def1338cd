/* A join within a time range, of flows that may both be endless: rows of both sides come to one sink, and what they find
 * (step/join_kept.h) waits in a list for the source, which makes the pairs. Marks stand in that list in their order. */
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "engine/checkpoint.h"
#include "step/join_kept.h"
#include "step/join_pair.h"

#define WAITING_BYTES_MAX ((size_t)4 << 20)

/* What one push or one advance has found; nothing: a mark alone. */
typedef struct finding_list {
    join_findings found;
    mark after;
    struct finding_list *next;
} finding_list;

typedef struct spare_rows {
    pair_rows rows;
    struct spare_rows *next;
} spare_rows;

struct range_join {
    join_kept kept;
    join_range range;
    uint32_t n_left;   /* inputs of the left side; those of the right come after */
    uint32_t times[2]; /* columns */
    pthread_mutex_t lock;
    finding_list *first, **last;
    size_t bytes, bytes_max;
    mark told;         /* the last mark in the list */
    int64_t watermark; /* of what comes */
    bool ended, refused;
    spare_rows *spare;
};

static join *of_sink(sink *s) { return (join *)((char *)s - offsetof(join, sink)); }
static join *of_source(source *s) { return (join *)((char *)s - offsetof(join, source)); }

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a join"); }

/* ---- the list ---- */

/* What only waits to be given. */
static size_t bytes_of(const finding_list *f) {
    size_t bytes = f->found.hits ? f->found.hits->capacity : 0;
    for (uint32_t i = 0; i < f->found.n; i++)
        if (f->found.items[i].swept) bytes += f->found.items[i].sets[f->found.items[i].side]->rows.bytes;
    return bytes;
}

static void list_free(finding_list *f) {
    if (!f) return;
    join_findings_clear(&f->found);
    free(f);
}

/* Takes it over. */
static void append(join *j, finding_list *f) {
    range_join *r = j->range;
    size_t bytes = bytes_of(f);
    pthread_mutex_lock(&r->lock);
    f->after = r->told;
    f->next = NULL;
    *r->last = f;
    r->last = &f->next;
    r->bytes += bytes;
    pthread_mutex_unlock(&r->lock);
    run_wake(j->run);
}

/* ---- the sink ---- */

typedef struct range_writer {
    sink_writer writer;
    /* The batch at hand, by partition; it stays while memory is refused. */
    bool begun;
    uint32_t *rows, *ends; /* those of partition p end at ends[p], */
    uint32_t *done;        /* and so many of them are taken */
    uint64_t *hashes;
    uint32_t capacity;
    column *columns;
    finding_list *found;
} range_writer;

static void writer_free(range_writer *w) {
    list_free(w->found);
    free(w->rows);
    free(w->ends);
    free(w->done);
    free(w->hashes);
    free(w->columns);
    free(w);
}

static tw_status range_open(sink *self, sink_writer **out, tw_error *err) {
    const join *j = of_sink(self);
    range_writer *w = calloc(1, sizeof *w);
    if (!w) return no_memory(err);
    w->writer.sink = self;
    w->ends = calloc(j->range->kept.n_parts + 1, sizeof *w->ends);
    w->done = calloc(j->range->kept.n_parts, sizeof *w->done);
    w->columns = calloc(j->n_keys + j->out->n, sizeof *w->columns);
    if (!w->ends || !w->done || !w->columns) {
        writer_free(w);
        return no_memory(err);
    }
    *out = &w->writer;
    return TW_OK;
}

static tw_status writer_reserve(range_writer *w, uint32_t rows, tw_error *err) {
    if (!w->found) w->found = calloc(1, sizeof *w->found);
    if (!w->found) return no_memory(err);
    if (rows <= w->capacity) return TW_OK;
    w->capacity = 0;
    free(w->rows);
    free(w->hashes);
    w->rows = malloc(2 * rows * sizeof *w->rows);
    w->hashes = malloc(rows * sizeof *w->hashes);
    if (!w->rows || !w->hashes) return no_memory(err);
    w->capacity = rows;
    return TW_OK;
}

/* The rows of each partition, side by side. Those with a null key match nothing: where they do not come out alone they
 * are left out. */
static void scatter(range_writer *w, const join *j, unsigned side, const batch *b) {
    const join_kept *k = &j->range->kept;
    uint32_t *some = w->rows + w->capacity, n = b->rows;
    join_key_columns(j, side, b, w->columns);
    hash_columns(w->columns, j->n_keys, b->rows, w->hashes);
    bool nulls = join_valid_rows(w->columns, j->n_keys, b->rows, some, &n) && !join_gives_unmatched(j, side);
    if (!nulls) n = b->rows;
    memset(w->ends, 0, (k->n_parts + 1) * sizeof *w->ends);
    for (uint32_t i = 0; i < n; i++) w->ends[join_kept_part(k, w->hashes[nulls ? some[i] : i]) + 1]++;
    for (uint32_t p = 1; p <= k->n_parts; p++) w->ends[p] += w->ends[p - 1];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = nulls ? some[i] : i;
        w->rows[w->ends[join_kept_part(k, w->hashes[row])]++] = row;
    }
    for (uint32_t i = 0; i < j->sides[side].layout->n; i++) w->columns[i] = b->columns[j->sides[side].columns[i]];
    memset(w->done, 0, k->n_parts * sizeof *w->done);
    w->begun = true;
}

static tw_status range_push(sink_writer *writer, const batch_order *order, batch *b, tw_error *err) {
    range_writer *w = (range_writer *)writer;
    join *j = of_sink(writer->sink);
    range_join *r = j->range;
    unsigned side = order->input < r->n_left ? LEFT : RIGHT;
    if (!w->begun) {
        TRY(writer_reserve(w, b->rows, err));
        scatter(w, j, side, b);
    }
    for (unsigned wait = 0; wait < 2; wait++) /* partitions that others have come last */
        for (uint32_t p = 0; p < r->kept.n_parts; p++) {
            uint32_t begin = p ? w->ends[p - 1] : 0;
            kept_input in = {side, w->columns, w->hashes, b->columns[r->times[side]].values, w->rows + begin, w->ends[p] - begin};
            if (w->done[p] < in.n) TRY(join_kept_take(&r->kept, p, &in, wait, &w->done[p], &w->found->found, err));
        }
    w->begun = false;
    if (!w->found->found.n) return TW_OK;
    append(j, w->found);
    w->found = NULL;
    return TW_OK;
}

static tw_status range_close(sink_writer *writer, tw_error *err) {
    writer_free((range_writer *)writer);
    return TW_OK;
}
static void range_drop(sink_writer *writer) { writer_free((range_writer *)writer); }

static bool range_ready(sink *self, const batch_order *order) {
    range_join *r = of_sink(self)->range;
    pthread_mutex_lock(&r->lock);
    bool room = r->bytes < r->bytes_max;
    if (!room) r->refused = true;
    pthread_mutex_unlock(&r->lock);
    return room;
}

/* What is found by now belongs to what was before the mark. */
static tw_status advance_to(join *j, int64_t watermark, int64_t *out, tw_error *err) {
    finding_list *f = calloc(1, sizeof *f);
    if (!f) return no_memory(err);
    tw_status status = join_kept_advance(&j->range->kept, watermark, &f->found, out, err);
    if (status == TW_OK && f->found.n) append(j, f);
    else list_free(f);
    return status;
}

static tw_status range_advance(sink *self, mark to, tw_error *err) {
    join *j = of_sink(self);
    range_join *r = j->range;
    int64_t out = WATERMARK_NONE;
    finding_list *f;
    if (to.watermark > r->watermark) TRY(advance_to(j, to.watermark, &out, err));
    r->watermark = to.watermark;
    if (out <= r->told.watermark && to.epoch == r->told.epoch) return TW_OK;
    f = calloc(1, sizeof *f);
    if (!f) return no_memory(err);
    pthread_mutex_lock(&r->lock);
    if (out > r->told.watermark) r->told.watermark = out;
    r->told.epoch = to.epoch;
    pthread_mutex_unlock(&r->lock);
    append(j, f);
    return TW_OK;
}

/* Nothing more comes: who has no partner by now has none. */
static tw_status range_finish(sink *self, tw_error *err) {
    join *j = of_sink(self);
    range_join *r = j->range;
    int64_t out;
    TRY(advance_to(j, WATERMARK_END, &out, err));
    pthread_mutex_lock(&r->lock);
    r->ended = true;
    pthread_mutex_unlock(&r->lock);
    run_wake(j->run);
    return TW_OK;
}

static tw_status range_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    join *j = of_sink(self);
    range_join *r = j->range;
    size_t bytes_max = memory_limit(run->memory) / 32;
    TRY(join_start(j, run, sizeof(row_when), err));
    r->bytes_max = bytes_max < WAITING_BYTES_MAX ? bytes_max : WAITING_BYTES_MAX;
    return join_kept_init(&r->kept, j, r->range, err);
}

/* ---- going on after a stop ---- */

static tw_status range_save(sink *self, saved_part *to, tw_error *err) {
    const range_join *r = of_sink(self)->range;
    TRY(part_put_int(to, "watermark", r->watermark, err));
    TRY(part_put_int(to, "out", r->told.watermark, err));
    return join_kept_save(&r->kept, to, err);
}

static tw_status range_load(sink *self, const saved_part *from, tw_error *err) {
    range_join *r = of_sink(self)->range;
    r->watermark = part_get_int(from, "watermark", WATERMARK_NONE);
    r->told.watermark = part_get_int(from, "out", WATERMARK_NONE);
    return join_kept_load(&r->kept, from, err);
}

static void shape_side(struct text *t, const join *j, unsigned which) {
    const join_side *s = &j->sides[which];
    for (uint32_t i = 0; i < s->layout->n; i++) {
        const field *f = &s->schema->fields[s->columns[i]];
        char type[64];
        text_printf(t, "%s%s %s", i ? ", " : "", f->name, type_name(f->type, type, sizeof type));
    }
}

/* "inner, with views on id; within 10 s before and 0 s after of ts and at, lateness 0 s; left: ...; right: ..." */
static void range_shape(const sink *self, char *out, size_t capacity) {
    const join *j = of_sink((sink *)self);
    const range_join *r = j->range;
    struct text t = {0};
    text_printf(&t, "%s; %s and %s; left: ", j->words, j->sides[LEFT].schema->fields[r->times[LEFT]].name,
                j->sides[RIGHT].schema->fields[r->times[RIGHT]].name);
    shape_side(&t, j, LEFT);
    text_append_string(&t, "; right: ");
    shape_side(&t, j, RIGHT);
    snprintf(out, capacity, "%s", t.failed ? "" : text_string(&t));
    text_free(&t);
}

static void range_describe(const sink *self, char *out, size_t capacity) {
    snprintf(out, capacity, "%s, both sides by hash, until the watermark has passed them", of_sink((sink *)self)->words);
}

static void range_needs(sink *self, uint32_t input, bool *needed) {
    const join *j = of_sink(self);
    unsigned side = input < j->range->n_left ? LEFT : RIGHT;
    join_needs(j, side, needed);
    needed[j->range->times[side]] = true;
}

static void range_free_sink(sink *self) { join_release(of_sink(self)); }

static const sink_class range_sink_class = {
    .start = range_start,
    .open = range_open,
    .push = range_push,
    .ready = range_ready,
    .advance = range_advance,
    .save = range_save,
    .load = range_load,
    .shape = range_shape,
    .close = range_close,
    .drop = range_drop,
    .finish = range_finish,
    .needs_of = range_needs,
    .describe = range_describe,
    .free = range_free_sink,
};

/* ---- the source ---- */

typedef struct range_reader {
    reader reader;
    join *join;
    finding_list *list;
    spare_rows *output;
    buffer **heaps[2];       /* of the findings that the rows in `output` are from */
    uint32_t n_heaps;
    /* Where it is. */
    uint32_t finding, hit;   /* swept: chunk */
    uint32_t row;            /* swept: of the chunk */
    const uint8_t *chain;    /* of the hit, what is left; NULL: not begun */
    bool entered;            /* the finding's heaps are among `heaps` */
} range_reader;

static tw_status take_spare(join *j, spare_rows **out, tw_error *err) {
    range_join *r = j->range;
    pthread_mutex_lock(&r->lock);
    spare_rows *s = r->spare;
    if (s) r->spare = s->next;
    pthread_mutex_unlock(&r->lock);
    if (!s) {
        s = calloc(1, sizeof *s);
        tw_status status = s ? pair_rows_init(&s->rows, j, err) : no_memory(err);
        if (status != TW_OK) {
            if (s) pair_rows_clear(&s->rows);
            free(s);
            return status;
        }
    }
    *out = s;
    return TW_OK;
}

static void forget_heaps(range_reader *r) {
    for (; r->n_heaps; r->n_heaps--)
        for (unsigned side = 0; side < 2; side++) buffer_unref(r->heaps[side][r->n_heaps - 1]);
    r->entered = false;
}

/* What the rows of the finding point into stays for the batch. */
static tw_status enter(range_reader *r, const join_finding *f, tw_error *err) {
    if (r->entered) return TW_OK;
    buffer *heaps[2] = {NULL, NULL};
    pthread_mutex_lock(&f->part->lock);
    tw_status status = f->sets[LEFT] ? arena_rows_heap(&f->sets[LEFT]->rows, &heaps[LEFT], err) : TW_OK;
    if (status == TW_OK && f->sets[RIGHT]) status = arena_rows_heap(&f->sets[RIGHT]->rows, &heaps[RIGHT], err);
    pthread_mutex_unlock(&f->part->lock);
    if (status != TW_OK) {
        buffer_unref(heaps[LEFT]);
        return status;
    }
    for (unsigned side = 0; side < 2; side++) r->heaps[side][r->n_heaps] = heaps[side];
    r->n_heaps++;
    r->entered = true;
    return TW_OK;
}

/* Each adds rows until there is no room or the finding is at its end: true. */

static bool add_hits(range_reader *r, const join_finding *f) {
    const join *j = r->join;
    const join_hit *hits = (join_hit *)(void *)r->list->found.hits->data + f->first;
    const row_layout *own = j->sides[f->side].layout, *other = j->sides[!f->side].layout;
    pair_rows *o = &r->output->rows;
    for (; r->hit < f->n; r->hit++, r->chain = NULL) {
        const join_hit *h = &hits[r->hit];
        if (o->n == j->batch_rows) return false;
        if (!h->chain) {
            pair_rows_add(o, j, f->side, h->row, NULL);
            continue;
        }
        time_range range = join_kept_range(&j->range->kept, f->side, row_when_of(own, h->row).time);
        for (const uint8_t *at = r->chain ? r->chain : h->chain; at; at = row_chain_next(at)) {
            if (!is_within(other, at, range)) continue;
            if (o->n == j->batch_rows) {
                r->chain = at;
                return false;
            }
            pair_rows_add(o, j, f->side, h->row, at);
        }
    }
    return true;
}

static bool add_swept(range_reader *r, const join_finding *f) {
    const join *j = r->join;
    const row_layout *l = j->sides[f->side].layout;
    const arena_rows *rows = &f->sets[f->side]->rows;
    pair_rows *o = &r->output->rows;
    for (; r->hit < rows->n_chunks; r->hit++, r->row = 0) {
        uint8_t *first;
        uint32_t n = arena_rows_chunk(rows, r->hit, &first);
        for (; r->row < n; r->row++) {
            const uint8_t *row = first + (size_t)r->row * l->stride;
            int64_t time = row_when_of(l, row).time;
            if (row_is_matched(row) || !(time < f->bound || f->bound == WATERMARK_END)) continue;
            if (o->n == j->batch_rows) return false;
            pair_rows_add(o, j, f->side, row, NULL);
        }
    }
    return true;
}

static tw_status fill(range_reader *r, tw_error *err) {
    const join_findings *all = &r->list->found;
    while (r->finding < all->n && r->output->rows.n < r->join->batch_rows) {
        const join_finding *f = &all->items[r->finding];
        if (run_cancelled(r->join->run)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        TRY(enter(r, f, err));
        if (!(f->swept ? add_swept(r, f) : add_hits(r, f))) return TW_OK;
        r->finding++;
        r->hit = r->row = 0;
        r->entered = false;
    }
    return TW_OK;
}

static tw_status make_batch(range_reader *r, batch **out, tw_error *err) {
    pair_rows *o = &r->output->rows;
    for (unsigned side = 0; side < 2; side++) o->heap[side] = NULL;
    tw_status status = buffer_join(r->heaps[LEFT], r->n_heaps, &o->heap[LEFT], err);
    if (status == TW_OK) status = buffer_join(r->heaps[RIGHT], r->n_heaps, &o->heap[RIGHT], err);
    if (status == TW_OK) status = pair_rows_batch(o, r->join, out, err);
    buffer_unref(o->heap[LEFT]);
    buffer_unref(o->heap[RIGHT]);
    return status;
}

/* What was put together stays when the batch cannot be made now. */
static tw_status range_next(reader *self, batch **out, tw_error *err) {
    range_reader *r = (range_reader *)self;
    TRY(fill(r, err));
    if (!r->output || !r->output->rows.n) return TW_END;
    TRY(make_batch(r, out, err));
    forget_heaps(r);
    return TW_OK;
}

static void range_reader_free(reader *self) {
    range_reader *r = (range_reader *)self;
    range_join *join = r->join->range;
    if (r->output) {
        r->output->rows.n = r->output->rows.n_absent[LEFT] = r->output->rows.n_absent[RIGHT] = 0;
        pthread_mutex_lock(&join->lock);
        r->output->next = join->spare;
        join->spare = r->output;
        pthread_mutex_unlock(&join->lock);
    }
    forget_heaps(r);
    list_free(r->list);
    free(r->heaps[LEFT]);
    free(r);
}

static const reader_class range_reader_class = {.next = range_next, .free = range_reader_free};

static tw_status range_source_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    *n_splits = UINT64_MAX;
    return TW_OK;
}

static tw_status reader_new(join *j, range_reader **out, tw_error *err) {
    range_reader *r = calloc(1, sizeof *r);
    if (!r) return no_memory(err);
    r->reader.class = &range_reader_class;
    r->join = j;
    *out = r;
    return TW_OK;
}

/* Once the list is its own. */
static tw_status reader_prepare(range_reader *r, tw_error *err) {
    uint32_t n = r->list->found.n;
    if (!n) return TW_OK;
    r->heaps[LEFT] = calloc(2 * (size_t)n, sizeof *r->heaps[LEFT]);
    if (!r->heaps[LEFT]) return no_memory(err);
    r->heaps[RIGHT] = r->heaps[LEFT] + n;
    return take_spare(r->join, &r->output, err);
}

static finding_list *take_first(range_join *r, bool *ended, bool *room) {
    pthread_mutex_lock(&r->lock);
    finding_list *f = r->first;
    if (f) {
        r->first = f->next;
        if (!r->first) r->last = &r->first;
        r->bytes -= bytes_of(f);
    }
    *ended = r->ended;
    *room = r->refused && r->bytes <= r->bytes_max / 2; /* so that it pays to come back */
    if (*room) r->refused = false;
    pthread_mutex_unlock(&r->lock);
    return f;
}

static void give_back(range_join *r, finding_list *f) {
    pthread_mutex_lock(&r->lock);
    f->next = r->first;
    r->first = f;
    if (!f->next) r->last = &f->next;
    r->bytes += bytes_of(f);
    pthread_mutex_unlock(&r->lock);
}

static tw_status range_source_open(source *self, uint64_t split, reader **out, tw_error *err) {
    join *j = of_source(self);
    range_reader *r = NULL;
    bool ended, room;
    TRY(reader_new(j, &r, err));
    r->list = take_first(j->range, &ended, &room);
    if (room) run_wake(j->run);
    tw_status status = r->list ? reader_prepare(r, err) : ended ? TW_END : STATUS_WAIT;
    if (status == TW_OK) {
        r->reader.position = split << 32;
        r->reader.after = r->list->after;
        *out = &r->reader;
        return TW_OK;
    }
    if (r->list) give_back(j->range, r->list);
    r->list = NULL;
    range_reader_free(&r->reader);
    return status;
}

static void range_prune(source *self, const bool *needed) {
    join *j = of_source(self);
    j->asked = true;
    for (uint32_t i = 0; i < j->out->n; i++) j->columns[i].needed |= needed[i];
}

static void range_free_source(source *self) { join_release(of_source(self)); }

static const source_class range_source_class = {
    .start = range_source_start,
    .open = range_source_open,
    .prune = range_prune,
    .free = range_free_source,
};

/* ---- life ---- */

tw_status range_join_new(join *j, const join_range *range, const uint32_t times[2], uint32_t n_left, tw_error *err) {
    range_join *r = calloc(1, sizeof *r);
    if (!r) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    r->range = *range;
    memcpy(r->times, times, sizeof r->times);
    r->n_left = n_left;
    r->last = &r->first;
    r->watermark = r->told.watermark = WATERMARK_NONE;
    pthread_mutex_init(&r->lock, NULL);
    j->range = r;
    j->sink = (sink){.class = &range_sink_class, .name = "join", .keeps_state = true};
    j->source = (source){.class = &range_source_class, .name = "join", .live = true};
    return TW_OK;
}

void range_join_free(range_join *r) {
    if (!r) return;
    while (r->first) {
        finding_list *f = r->first;
        r->first = f->next;
        list_free(f);
    }
    while (r->spare) {
        spare_rows *s = r->spare;
        r->spare = s->next;
        pair_rows_clear(&s->rows);
        free(s);
    }
    join_kept_clear(&r->kept);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
