#include <stdio.h>
#include <stdlib.h>

#include "step/sort_internal.h"

enum {
    ranges_most = 256,
    ranges_least = 8,
    block_bytes_min = 4 << 10, /* the exchange's */
    stage_bytes_most = 32 << 20,
    range_bytes_most = 128 << 20,
    samples_bytes_most = 4 << 20,
    scatter_rows = 2048,
    unclear_rows = 256,        /* whose keys are encoded at a time */
    check_rows = 32768,        /* between two looks at how many ranges a limit needs */
};

typedef struct sort_writer {
    sink_writer writer;
    uint32_t capacity;    /* rows */
    sort_number *numbers;
    uint64_t *headers;
    uint32_t *to, *unclear;
    column *fields;       /* of the batch, in the order of the layout */
    column *keys;
    sort_values *values;
    uint8_t *key_rows;    /* unclear_rows of the samples' layout */
} sort_writer;

static sort_state *of_sink(sink *s) { return (sort_state *)((char *)s - offsetof(sort_state, sink)); }

static tw_status out_of_memory(tw_error *err) {
    return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
}

tw_status sort_final(tw_status status) { return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status; }

/* ---- start ---- */

/* The fields: what is needed downstream, then keys that nobody else needs. */
static tw_status make_layouts(sort_state *s, tw_error *err) {
    uint32_t n = 0, n_columns = s->schema->n;
    const type **types = malloc((n_columns + s->n_keys) * sizeof *types);
    uint32_t *field_of = malloc((n_columns + 1) * sizeof *field_of);
    s->columns = malloc((n_columns + 1) * sizeof *s->columns);
    s->fields = malloc(s->n_keys * sizeof *s->fields);
    s->sample_fields = malloc(s->n_keys * sizeof *s->sample_fields);
    bool made = types && field_of && s->columns && s->fields && s->sample_fields;
    for (uint32_t i = 0; made && i < n_columns; i++) {
        field_of[i] = UINT32_MAX;
        if (s->needed[i]) s->columns[field_of[i] = n++] = i;
    }
    s->n_output = n;
    for (uint32_t k = 0; made && k < s->n_keys; k++) {
        uint32_t c = s->keys[k].column;
        if (field_of[c] == UINT32_MAX) s->columns[field_of[c] = n++] = c;
        s->fields[k] = field_of[c];
    }
    for (uint32_t f = 0; made && f < n; f++) types[f] = s->schema->fields[s->columns[f]].type;
    tw_status status = made ? row_layout_new(types, n, 0, 0, &s->layout, err) : out_of_memory(err);
    for (uint32_t k = 0; made && k < s->n_keys; k++) {
        types[k] = s->keys[k].type;
        s->sample_fields[k] = k;
    }
    if (status == TW_OK) status = row_layout_new(types, s->n_keys, 0, 0, &s->sample_layout, err);
    free(types);
    free(field_of);
    return status;
}

static size_t at_least(size_t value, size_t least) { return value < least ? least : value; }
static size_t at_most(size_t value, size_t most) { return value > most ? most : value; }

static tw_status sort_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    sort_state *s = of_sink(self);
    s->run = run;
    TRY(make_layouts(s, err));
    s->order = (sort_order){
        .keys = s->keys,
        .n_keys = s->n_keys,
        .rows = {s->layout, s->fields},
        .samples = {s->sample_layout, s->sample_fields},
    };
    sort_code_make(s->keys, s->n_keys, 0, 0, &s->order.code);
    size_t share = memory_limit(run->memory) / 4 * 3;
    s->stage_bytes_max = at_most(share / 8, stage_bytes_most);
    s->range_bytes_max = at_most(share / (2 * (size_t)run->parallelism), range_bytes_most);
    s->ranges_max = (uint32_t)at_least(at_most(share / 8 / block_bytes_min, ranges_most), ranges_least);
    sort_samples_init(&s->samples, &s->order, at_most(share / 16, samples_bytes_most));
    s->started = true;
    return sort_level_new(s, NULL, &s->stage, err);
}

tw_status sort_level_new(sort_state *s, sort_splitters *splitters, sort_level **out, tw_error *err) {
    sort_level *l = calloc(1, sizeof *l);
    tw_status status = l ? TW_OK : out_of_memory(err);
    uint32_t n = splitters ? sort_splitters_ranges(splitters) : 1;
    if (status == TW_OK) status = exchange_create(s->run->memory, s->run->spill, s->layout, n, 0, &l->x, err);
    if (status != TW_OK) {
        sort_splitters_free(splitters);
        free(l);
        return status;
    }
    l->splitters = splitters;
    l->n_ranges = n;
    l->next = atomic_load(&s->levels);
    while (!atomic_compare_exchange_weak(&s->levels, &l->next, l)) {}
    *out = l;
    return TW_OK;
}

/* ---- writers ---- */

static void writer_free(sort_writer *w) {
    free(w->numbers);
    free(w->headers);
    free(w->to);
    free(w->unclear);
    free(w->fields);
    free(w->keys);
    free(w->values);
    free(w->key_rows);
    free(w);
}

static tw_status sort_open(sink *self, sink_writer **out, tw_error *err) {
    sort_state *s = of_sink(self);
    sort_writer *w = calloc(1, sizeof *w);
    if (!w) return out_of_memory(err);
    w->writer.sink = self;
    w->fields = calloc(s->layout->n + 1, sizeof *w->fields);
    w->keys = calloc(s->n_keys, sizeof *w->keys);
    w->values = calloc(s->n_keys, sizeof *w->values);
    w->key_rows = malloc((size_t)unclear_rows * s->sample_layout->stride);
    if (!w->fields || !w->keys || !w->values || !w->key_rows) {
        writer_free(w);
        return out_of_memory(err);
    }
    *out = &w->writer;
    return TW_OK;
}

static tw_status reserve(sort_writer *w, uint32_t rows, tw_error *err) {
    if (rows <= w->capacity) return TW_OK;
    free(w->numbers);
    free(w->headers);
    free(w->to);
    free(w->unclear);
    w->numbers = aligned_alloc(64, (rows * sizeof *w->numbers + 63) & ~(size_t)63);
    w->headers = malloc(rows * sizeof *w->headers);
    w->to = malloc(rows * sizeof *w->to);
    w->unclear = malloc(rows * sizeof *w->unclear);
    bool made = w->numbers && w->headers && w->to && w->unclear;
    w->capacity = made ? rows : 0;
    return made ? TW_OK : out_of_memory(err);
}

static tw_status sort_close(sink_writer *w, tw_error *err) {
    writer_free((sort_writer *)w);
    return TW_OK;
}
static void sort_drop(sink_writer *w) { writer_free((sort_writer *)w); }

/* ---- rows to their ranges ---- */

tw_status sort_scatter_block(sort_state *s, const row_block *b, sort_level *into, tw_error *err) {
    const sort_order *o = &s->order;
    sort_values values[SORT_KEYS_MAX];
    sort_number numbers[scatter_rows];
    const uint8_t *rows[scatter_rows];
    uint32_t to[scatter_rows], unclear[scatter_rows], stride = s->layout->stride;
    for (uint32_t done = 0, n; done < b->n; done += n) {
        n = b->n - done < scatter_rows ? b->n - done : scatter_rows;
        for (uint32_t i = 0; i < n; i++) rows[i] = b->rows->data + (size_t)(done + i) * stride;
        sort_values_of_rows(&o->rows, o->n_keys, rows[0], values);
        sort_code_encode(&o->code, values, n, numbers);
        uint32_t n_unclear = sort_splitters_route(into->splitters, numbers, n, to, unclear);
        for (uint32_t k = 0; k < n_unclear; k++) {
            uint32_t i = unclear[k];
            const uint8_t *keys = sort_code_is_whole(&o->code, numbers[i]) ? NULL : rows[i];
            to[i] = sort_splitters_place(into->splitters, to[i], row_header(rows[i]), &o->rows, keys);
        }
        TRY(sort_final(exchange_append_rows(into->x, rows, n, to, err)));
        if (run_cancelled(s->run)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
    }
    return TW_OK;
}

/* Whole numbers need no keys; for the others, keys are encoded with views into the batch. */
static void place_unclear(sort_state *s, sort_writer *w, const sort_level *into, uint32_t n) {
    const sort_order *o = &s->order;
    size_t stride = s->sample_layout->stride;
    uint32_t picked[unclear_rows];
    uint8_t *rows[unclear_rows];
    for (uint32_t k = 0, n_picked = 0; k < n; k++) {
        uint32_t i = w->unclear[k];
        if (sort_code_is_whole(&o->code, w->numbers[i])) {
            w->to[i] = sort_splitters_place(into->splitters, w->to[i], w->headers[i], &o->samples, NULL);
        } else {
            rows[n_picked] = w->key_rows + n_picked * stride;
            picked[n_picked++] = i;
        }
        if (n_picked < unclear_rows && k + 1 < n) continue;
        rows_encode(s->sample_layout, w->keys, picked, n_picked, rows, NULL);
        for (uint32_t p = 0; p < n_picked; p++)
            w->to[picked[p]] = sort_splitters_place(into->splitters, w->to[picked[p]], w->headers[picked[p]],
                                                    &o->samples, rows[p]);
        n_picked = 0;
    }
}

/* With a limit: finds how many ranges hold that many rows. */
static void check_limit(sort_state *s, sort_level *into, uint64_t n) {
    if (s->limit == UINT64_MAX || atomic_fetch_add(&s->rows_unchecked, n) + n < check_rows) return;
    atomic_store(&s->rows_unchecked, 0);
    uint64_t rows = 0;
    for (uint32_t i = 0; i < into->n_ranges; i++) {
        rows += exchange_rows(into->x, i);
        if (rows < s->limit) continue;
        uint32_t now = atomic_load(&s->ranges_wanted);
        while (now > i + 1 && !atomic_compare_exchange_weak(&s->ranges_wanted, &now, i + 1)) {}
        return;
    }
}

static tw_status append_some(sort_state *s, sort_writer *w, sort_level *into, const uint32_t *rows, uint32_t n,
                             tw_error *err) {
    uint32_t n_fields = s->layout->n;
    column *picked = calloc(n_fields + 1, sizeof *picked);
    tw_status status = picked ? TW_OK : out_of_memory(err);
    for (uint32_t f = 0; f < n_fields && status == TW_OK; f++)
        status = column_pick(s->run->memory, &w->fields[f], rows, n, &picked[f], err);
    for (uint32_t i = 0; i < n && status == TW_OK; i++) {
        w->to[i] = w->to[rows[i]];
        w->headers[i] = w->headers[rows[i]];
    }
    if (status == TW_OK)
        status = sort_final(exchange_append(into->x, picked, n, w->to, w->headers, NULL, 0, err));
    for (uint32_t f = 0; picked && f < n_fields; f++) column_clear(&picked[f]);
    free(picked);
    return status;
}

static tw_status push_to_ranges(sort_state *s, sort_writer *w, sort_level *into, uint32_t n, tw_error *err) {
    uint32_t n_unclear = sort_splitters_route(into->splitters, w->numbers, n, w->to, w->unclear);
    if (n_unclear) place_unclear(s, w, into, n_unclear);
    uint32_t wanted = atomic_load_explicit(&s->ranges_wanted, memory_order_relaxed), kept = 0;
    if (wanted < into->n_ranges) {
        for (uint32_t i = 0; i < n; i++) {
            w->unclear[kept] = i;
            kept += w->to[i] < wanted;
        }
        if (!kept) return TW_OK;
        if (kept < n) {
            TRY(append_some(s, w, into, w->unclear, kept, err));
            check_limit(s, into, kept);
            return TW_OK;
        }
    }
    TRY(sort_final(exchange_append(into->x, w->fields, n, w->to, w->headers, NULL, 0, err)));
    check_limit(s, into, n);
    return TW_OK;
}

/* ---- the stage ---- */

static tw_status set_failed(sort_state *s, tw_status status) {
    pthread_mutex_lock(&s->lock);
    s->failed = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static tw_status move_stage(sort_state *s, sort_level *into, tw_error *err) {
    exchange_seal(s->stage->x);
    for (;;) {
        row_block *b;
        tw_status status = exchange_take(s->stage->x, 0, &b, err);
        if (status == TW_END) break;
        if (status == TW_OK) status = sort_scatter_block(s, b, into, err);
        row_block_free(b);
        TRY(sort_final(status));
    }
    exchange_free(s->stage->x);
    s->stage->x = NULL;
    check_limit(s, into, check_rows);
    return TW_OK;
}

/* By the one thread that set `cutting`. Others wait until there are ranges, not until the stage's rows
 * have moved there. */
static tw_status cut_stage(sort_state *s, tw_error *err) {
    pthread_mutex_lock(&s->lock);
    while (s->staging) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    sort_samples_choose_code(&s->samples, &s->order);
    sort_splitters *splitters;
    sort_level *ranges;
    tw_status status = sort_samples_split(&s->samples, NULL, NULL, s->ranges_max, &splitters, err);
    if (status == TW_OK) status = sort_level_new(s, splitters, &ranges, err);
    if (status != TW_OK) return set_failed(s, sort_final(status));
    atomic_store(&s->ranges_wanted, ranges->n_ranges);
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->ranges, ranges);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return move_stage(s, ranges, err);
}

/* *ranges: those there are by now; NULL: the caller may write to the stage, and calls leave_stage. */
static tw_status enter_stage(sort_state *s, sort_level **ranges, tw_error *err) {
    pthread_mutex_lock(&s->lock);
    while (s->cutting && !s->failed && !atomic_load(&s->ranges)) pthread_cond_wait(&s->changed, &s->lock);
    *ranges = atomic_load(&s->ranges);
    bool failed = s->failed;
    if (!*ranges && !failed) s->staging++;
    pthread_mutex_unlock(&s->lock);
    return failed ? error_set(err, TW_ERR_INTERNAL, "a sort that has failed goes on") : TW_OK;
}

static tw_status leave_stage(sort_state *s, bool full, tw_error *err) {
    pthread_mutex_lock(&s->lock);
    bool mine = full && !s->cutting;
    s->cutting |= mine;
    if (--s->staging == 0) pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return mine ? cut_stage(s, err) : TW_OK;
}

static tw_status number_rows(sort_state *s, sort_writer *w, uint64_t position, const batch *b, tw_error *err) {
    sort_values_of_columns(s->keys, s->n_keys, b->columns, w->values);
    sort_code_encode(&s->order.code, w->values, b->rows, w->numbers);
    return sort_samples_add(&s->samples, position, w->keys, w->numbers, b->rows, err);
}

static tw_status push_to_stage(sort_state *s, sort_writer *w, uint64_t position, const batch *b, tw_error *err) {
    tw_status status = number_rows(s, w, position, b, err);
    if (status != TW_OK) {
        leave_stage(s, false, err);
        return status;
    }
    memset(w->to, 0, b->rows * sizeof *w->to);
    status = exchange_append(s->stage->x, w->fields, b->rows, w->to, w->headers, NULL, 0, err);
    if (status != TW_OK) {
        leave_stage(s, false, err);
        return set_failed(s, sort_final(status));
    }
    return leave_stage(s, exchange_partition_bytes(s->stage->x, 0) >= s->stage_bytes_max, err);
}

static tw_status sort_push(sink_writer *writer, const batch_order *order, batch *b, tw_error *err) {
    sort_writer *w = (sort_writer *)writer;
    sort_state *s = of_sink(writer->sink);
    if (!s->limit) return TW_OK;
    TRY(reserve(w, b->rows, err));
    for (uint32_t f = 0; f < s->layout->n; f++) w->fields[f] = b->columns[s->columns[f]];
    for (uint32_t k = 0; k < s->n_keys; k++) w->keys[k] = b->columns[s->keys[k].column];
    for (uint32_t i = 0; i < b->rows; i++) w->headers[i] = order->position + i;
    sort_level *ranges = atomic_load_explicit(&s->ranges, memory_order_acquire);
    if (!ranges) TRY(enter_stage(s, &ranges, err));
    if (!ranges) return push_to_stage(s, w, order->position, b, err);
    TRY(number_rows(s, w, order->position, b, err));
    return push_to_ranges(s, w, ranges, b->rows, err);
}

/* ---- the end ---- */

static tw_status sort_finish(sink *self, tw_error *err) {
    sort_state *s = of_sink(self);
    sort_level *ranges = atomic_load(&s->ranges);
    if (!ranges) {
        sort_samples_choose_code(&s->samples, &s->order);
        ranges = s->stage;
    }
    exchange_seal(ranges->x);
    return sort_list_ranges(ranges, NULL, &s->first, err);
}

static void sort_needs(sink *self, bool *needed) {
    sort_state *s = of_sink(self);
    for (uint32_t i = 0; i < s->schema->n; i++) needed[i] = s->needed[i];
    for (uint32_t k = 0; k < s->n_keys; k++) needed[s->keys[k].column] = true;
}

static bool sort_satisfied(sink *self) { return of_sink(self)->limit == 0; }

static void sort_describe(const sink *self, char *out, size_t capacity) {
    const sort_state *s = of_sink((sink *)self);
    if (s->limit == UINT64_MAX) snprintf(out, capacity, "into ranges of the sorted order");
    else snprintf(out, capacity, "into ranges of the sorted order, those with the first %llu rows",
                  (unsigned long long)s->limit);
}

static void sort_free_sink(sink *self) { sort_state_release(of_sink(self)); }

const sink_class sort_sink_class = {
    .start = sort_start,
    .open = sort_open,
    .push = sort_push,
    .satisfied = sort_satisfied,
    .close = sort_close,
    .drop = sort_drop,
    .finish = sort_finish,
    .needs = sort_needs,
    .describe = sort_describe,
    .free = sort_free_sink,
};

tw_status sort_create(schema *s, sort_key *keys, uint32_t n_keys, uint64_t limit, sink **out_sink,
                      source **out_source, tw_error *err) {
    sort_state *t = calloc(1, sizeof *t);
    bool *needed = malloc(s->n + 1);
    if (!t || !needed) {
        free(t);
        free(needed);
        free(keys);
        return out_of_memory(err);
    }
    memset(needed, 1, s->n + 1);
    t->sink = (sink){.class = &sort_sink_class, .name = "sort", .wants_shuffled = true, .may_spill = true};
    t->source = (source){.class = &sort_source_class, .name = "sort"};
    t->schema = schema_ref(s);
    t->keys = keys;
    t->n_keys = n_keys;
    t->limit = limit;
    t->needed = needed;
    atomic_init(&t->owners, 2);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    *out_sink = &t->sink;
    *out_source = &t->source;
    return TW_OK;
}
