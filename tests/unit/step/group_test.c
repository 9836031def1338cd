#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <time.h>

#include "data/nested.h"
#include "engine/pipeline.h"
#include "step/group_state.h"
#include "unit/data/random_columns.h"

/* Drives the sinks and sources of a group as the engine does, over random columns, and compares with groups
 * made by sorting: every aggregate is computed again from its rows. Values are compared as bytes. */
enum { columns_max = 12, threads_max = 4, quantile_exact = 65536 };

typedef struct world {
    uint64_t seed;
    memory *of_input;
    uint32_t n_keys, n_aggregates, n_rows, batch_rows, out_rows, n_threads;
    const type *types[columns_max]; /* of keys, then of the aggregates' inputs */
    aggregate aggregates[columns_max];
    column input[columns_max];
    size_t memory_bytes;
    atomic_uint_fast64_t *order; /* shuffled batch numbers */
    uint32_t n_batches;

    atomic_bool cancelled;
    run_context run;
    group_ends ends;
    schema *out;
    atomic_uint next;
    sink *pushed_to;
    source *read_from;
    bool to_pairs; /* reads pairs, and pushes them */
    uint64_t n_splits;
    pthread_mutex_t lock;
    batch **results;
    uint32_t n_results;
    tw_status failed;
    tw_error error;
    uint64_t spilled;
} world;

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s (seed %llu)\n", __FILE__, __LINE__, #condition,             \
                    (unsigned long long)now_seed);                                                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)
static uint64_t now_seed;

/* ---- values as bytes ---- */

typedef struct bytes {
    uint8_t *data;
    size_t n, room;
} bytes;

static void bytes_put(bytes *b, const void *data, size_t n) {
    if (b->n + n > b->room) {
        b->room = 2 * (b->n + n) + 64;
        b->data = realloc(b->data, b->room);
    }
    if (n) memcpy(b->data + b->n, data, n);
    b->n += n;
}

/* Size and bytes; as a key -0.0 is 0.0 and NaNs are one. */
static void put_value(bytes *b, const column *c, uint32_t row, bool as_key) {
    uint8_t local[64];
    if (!column_is_valid(c, row)) {
        uint64_t none = UINT64_MAX;
        bytes_put(b, &none, 8);
        return;
    }
    uint64_t n = type_is_view(c->type) ? ((const view *)c->values)[row].size
                 : type_is_nested(c->type) ? nested_bytes(c, row) : type_bytes(c->type);
    bytes_put(b, &n, 8);
    uint8_t *data = n <= sizeof local ? local : malloc(n);
    if (type_is_view(c->type)) {
        memcpy(data, view_data(&((const view *)c->values)[row]), n);
    } else if (type_is_nested(c->type)) {
        nested_encode(c, row, as_key, data);
    } else {
        memcpy(data, (const uint8_t *)c->values + row * n, n);
        bool narrow = c->type->kind == TYPE_FLOAT32 || c->type->kind == TYPE_VECTOR;
        for (uint64_t at = 0; as_key && narrow && at < n; at += 4) {
            uint32_t word;
            memcpy(&word, data + at, 4);
            word = float32_normal_bits(word);
            memcpy(data + at, &word, 4);
        }
        if (as_key && c->type->kind == TYPE_FLOAT64) {
            uint64_t word;
            memcpy(&word, data, 8);
            word = float64_normal_bits(word);
            memcpy(data, &word, 8);
        }
    }
    bytes_put(b, data, n);
    if (data != local) free(data);
}

static int bytes_compare(const bytes *a, const bytes *b) {
    size_t n = a->n < b->n ? a->n : b->n;
    int order = n ? memcmp(a->data, b->data, n) : 0;
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

static double number(const column *c, uint32_t row) {
    switch (c->type->kind) {
    case TYPE_INT32: return ((const int32_t *)c->values)[row];
    case TYPE_INT64: return (double)((const int64_t *)c->values)[row];
    case TYPE_FLOAT32: return ((const float *)c->values)[row];
    default: return ((const double *)c->values)[row];
    }
}

/* ---- what is right: the rows of one group, in row order ---- */

static bool near(double a, double b) {
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    return a == b || fabs(a - b) <= 1e-12 * fmax(fabs(a), fabs(b));
}

static int by_number(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    if (isnan(a) || isnan(b)) return isnan(a) - isnan(b);
    return (a > b) - (a < b);
}
static int by_bytes(const void *x, const void *y) { return bytes_compare(x, y); }

static void check_quantile(double *values, size_t n, double fraction, double result) {
    qsort(values, n, sizeof *values, by_number);
    double rank = fraction * (double)(n - 1);
    size_t k = (size_t)rank;
    if (n > quantile_exact) { /* within 1 % in rank */
        size_t below = 0, not_above = 0;
        for (size_t i = 0; i < n; i++) {
            below += values[i] < result;
            not_above += !(values[i] > result);
        }
        HOLDS((double)below <= rank + 0.01 * (double)n && (double)not_above >= rank - 0.01 * (double)n);
        return;
    }
    double rest = rank - (double)k, low = values[k];
    if (rest > 0 && values[k + 1] != low) low = low * (1 - rest) + values[k + 1] * rest;
    HOLDS(near(low, result));
}

#ifdef __SIZEOF_FLOAT128__
typedef __float128 wide_float;
#else
typedef long double wide_float;
#endif

static void check_numbers(const world *w, const aggregate *a, const column *in, const uint32_t *rows, uint32_t n_rows,
                          const column *out, uint32_t at) {
    double *values = malloc((n_rows + 1) * sizeof *values);
    uint32_t n = 0;
    __int128 whole = 0;
    wide_float sum = 0, squares = 0;
    for (uint32_t i = 0; i < n_rows; i++) {
        if (!column_is_valid(in, rows[i])) continue;
        values[n++] = number(in, rows[i]);
        if (in->type->kind == TYPE_INT64) whole += ((const int64_t *)in->values)[rows[i]];
        if (in->type->kind == TYPE_INT32) whole += ((const int32_t *)in->values)[rows[i]];
        sum += values[n - 1];
    }
    for (uint32_t i = 0; i < n; i++) squares += (values[i] - sum / n) * (values[i] - sum / n);
    bool variance = a->kind == AGGREGATE_VARIANCE || a->kind == AGGREGATE_STDDEV;
    HOLDS(column_is_valid(out, at) == (n >= (variance ? 2u : 1u)));
    double result = column_is_valid(out, at) ? ((const double *)out->values)[at] : 0;
    if (!column_is_valid(out, at)) {
    } else if (a->kind == AGGREGATE_SUM && type_is_integer(in->type)) {
        HOLDS(((const int64_t *)out->values)[at] == (int64_t)whole);
    } else if (a->kind == AGGREGATE_SUM) {
        HOLDS(near(result, (double)sum));
    } else if (a->kind == AGGREGATE_MEAN) {
        HOLDS(near(result, (double)(sum / n)));
    } else if (a->kind == AGGREGATE_VARIANCE) {
        HOLDS(near(result, (double)(squares / (n - 1))));
    } else if (a->kind == AGGREGATE_STDDEV) {
        HOLDS(near(result, sqrt((double)(squares / (n - 1)))));
    } else {
        check_quantile(values, n, a->fraction, result);
    }
    free(values);
}

static void check_order(const aggregate *a, const column *in, const uint32_t *rows, uint32_t n_rows, bytes *want) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < n_rows; i++) {
        uint32_t r = rows[i];
        if (!column_is_valid(in, r)) continue;
        if (best == UINT32_MAX) {
            best = r;
            continue;
        }
        int order;
        if (type_is_view(in->type)) {
            order = view_compare(&((const view *)in->values)[r], &((const view *)in->values)[best]);
        } else if (in->type->kind == TYPE_FLOAT32 || in->type->kind == TYPE_FLOAT64) {
            double x = number(in, r), y = number(in, best);
            order = by_number(&x, &y);
        } else {
            size_t n = type_bytes(in->type);
            int64_t x = 0, y = 0;
            if (n == 1) x = ((const uint8_t *)in->values)[r], y = ((const uint8_t *)in->values)[best];
            if (n == 4) x = ((const int32_t *)in->values)[r], y = ((const int32_t *)in->values)[best];
            if (n == 8) x = ((const int64_t *)in->values)[r], y = ((const int64_t *)in->values)[best];
            order = (x > y) - (x < y);
        }
        if (a->kind == AGGREGATE_MIN ? order < 0 : order > 0) best = r;
    }
    uint64_t none = UINT64_MAX;
    if (best == UINT32_MAX) bytes_put(want, &none, 8);
    else put_value(want, in, best, true);
}

static void check_place(const aggregate *a, const column *in, const uint32_t *rows, uint32_t n_rows, bytes *want) {
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; i < n_rows; i++) {
        if (a->kind != AGGREGATE_FIRST_ROW && !column_is_valid(in, rows[i])) continue;
        if (a->kind == AGGREGATE_LAST || found == UINT32_MAX) found = rows[i];
    }
    uint64_t none = UINT64_MAX;
    if (found == UINT32_MAX) bytes_put(want, &none, 8);
    else put_value(want, in, found, false);
}

static int64_t count_values(const column *in, const uint32_t *rows, uint32_t n_rows, bool distinct) {
    bytes *values = calloc(n_rows + 1, sizeof *values);
    int64_t n = 0, different = 0;
    for (uint32_t i = 0; i < n_rows; i++)
        if (column_is_valid(in, rows[i])) put_value(&values[n++], in, rows[i], true);
    qsort(values, (size_t)n, sizeof *values, by_bytes);
    for (int64_t i = 0; i < n; i++) different += i == 0 || bytes_compare(&values[i - 1], &values[i]) != 0;
    for (int64_t i = 0; i < n; i++) free(values[i].data);
    free(values);
    return distinct ? different : n;
}

static void check_aggregate(const world *w, uint32_t index, const uint32_t *rows, uint32_t n, const column *out, uint32_t at) {
    const aggregate *a = &w->aggregates[index];
    const column *in = &w->input[w->n_keys + index];
    bytes want = {0}, got = {0};
    switch (a->kind) {
    case AGGREGATE_COUNT_ROWS: HOLDS(((const int64_t *)out->values)[at] == n); return;
    case AGGREGATE_COUNT:
    case AGGREGATE_COUNT_DISTINCT:
    case AGGREGATE_COUNT_SET:
        HOLDS(column_is_valid(out, at));
        HOLDS(((const int64_t *)out->values)[at] == count_values(in, rows, n, a->kind != AGGREGATE_COUNT));
        return;
    case AGGREGATE_SUM:
    case AGGREGATE_MEAN:
    case AGGREGATE_VARIANCE:
    case AGGREGATE_STDDEV:
    case AGGREGATE_QUANTILE: check_numbers(w, a, in, rows, n, out, at); return;
    case AGGREGATE_MIN:
    case AGGREGATE_MAX:
        check_order(a, in, rows, n, &want);
        put_value(&got, out, at, true);
        break;
    case AGGREGATE_FIRST:
    case AGGREGATE_LAST:
    case AGGREGATE_FIRST_ROW:
        check_place(a, in, rows, n, &want);
        put_value(&got, out, at, false);
        break;
    case AGGREGATE_COLLECT: {
        const uint32_t *offsets = out->values;
        HOLDS(column_is_valid(out, at));
        for (uint32_t i = 0; i < n; i++)
            if (column_is_valid(in, rows[i])) put_value(&want, in, rows[i], false);
        for (uint32_t i = offsets[at]; i < offsets[at + 1]; i++) put_value(&got, &out->children[0], i, false);
        break;
    }
    }
    HOLDS(bytes_compare(&want, &got) == 0);
    free(want.data);
    free(got.data);
}

typedef struct keyed {
    bytes key;
    uint32_t row;
} keyed;
static int by_key(const void *x, const void *y) {
    const keyed *a = x, *b = y;
    int order = bytes_compare(&a->key, &b->key);
    return order ? order : (a->row > b->row) - (a->row < b->row);
}

static keyed *sorted(const column *keys, uint32_t n_keys, uint32_t n, keyed *rows, uint32_t first) {
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = (keyed){.row = first + i};
        bytes_put(&rows[i].key, "", 1);
        for (uint32_t k = 0; k < n_keys; k++) put_value(&rows[i].key, &keys[k], i, true);
    }
    return rows;
}

static void free_keyed(keyed *rows, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) free(rows[i].key.data);
    free(rows);
}

static void check_results(const world *w) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n_results; i++) n += w->results[i]->rows;
    keyed *want = sorted(w->input, w->n_keys, w->n_rows, malloc((w->n_rows + 1) * sizeof *want), 0);
    keyed *got = malloc((n + 1) * sizeof *got);
    uint32_t at = 0;
    for (uint32_t i = 0; i < w->n_results; at += w->results[i++]->rows) {
        HOLDS(w->results[i]->rows <= w->out_rows);
        sorted(w->results[i]->columns, w->n_keys, w->results[i]->rows, got + at, i << 16);
        for (uint32_t r = 0; r < w->results[i]->rows; r++) got[at + r].row = at + r;
    }
    struct { uint32_t batch, row; } *places = malloc((n + 1) * sizeof *places);
    at = 0;
    for (uint32_t i = 0; i < w->n_results; i++)
        for (uint32_t r = 0; r < w->results[i]->rows; r++) places[at].batch = i, places[at++].row = r;
    qsort(want, w->n_rows, sizeof *want, by_key);
    qsort(got, n, sizeof *got, by_key);
    uint32_t *rows = malloc((w->n_rows + 1) * sizeof *rows), groups = 0;
    for (uint32_t first = 0, end; first < w->n_rows || (w->n_rows == 0 && w->n_keys == 0 && groups == 0); first = end) {
        for (end = first; end < w->n_rows && bytes_compare(&want[end].key, &want[first].key) == 0; end++)
            rows[end - first] = want[end].row;
        HOLDS(groups < n);
        if (end > first) HOLDS(bytes_compare(&want[first].key, &got[groups].key) == 0);
        const batch *b = w->results[places[got[groups].row].batch];
        for (uint32_t i = 0; i < w->n_aggregates; i++)
            check_aggregate(w, i, rows, end - first, &b->columns[w->n_keys + i], places[got[groups].row].row);
        groups++;
    }
    HOLDS(groups == n);
    free_keyed(want, w->n_rows);
    free_keyed(got, n);
    free(places);
    free(rows);
}

/* ---- the engine's part ---- */

static batch *input_batch(world *w, uint32_t first, uint32_t n) {
    const char *names[columns_max];
    schema *s;
    batch *b;
    for (uint32_t i = 0; i < w->n_keys + w->n_aggregates; i++) names[i] = "";
    MUST(schema_new(names, w->types, w->n_keys + w->n_aggregates, &s, NULL));
    MUST(batch_new(s, n, &b, NULL));
    for (uint32_t i = 0; i < s->n; i++) MUST(column_slice(w->of_input, &w->input[i], first, n, &b->columns[i], NULL));
    b->position = first;
    schema_unref(s);
    return b;
}

static void note_failure(world *w, tw_status status, const tw_error *err) {
    pthread_mutex_lock(&w->lock);
    if (w->failed == TW_OK) w->error = *err;
    w->failed = status;
    pthread_mutex_unlock(&w->lock);
}

static void *push_some(void *context) {
    world *w = context;
    sink_writer *k;
    tw_error err = {0};
    tw_status status = w->pushed_to->class->open(w->pushed_to, &k, &err);
    if (status != TW_OK) {
        note_failure(w, status, &err);
        return NULL;
    }
    uint32_t i;
    while (status == TW_OK && (i = atomic_fetch_add(&w->next, 1)) < w->n_batches) {
        uint32_t first = (uint32_t)w->order[i] * w->batch_rows;
        uint32_t n = w->n_rows - first < w->batch_rows ? w->n_rows - first : w->batch_rows;
        batch *b = input_batch(w, first, n);
        status = w->pushed_to->class->push(k, &(batch_order){.position = first}, b, &err);
        batch_unref(b);
    }
    if (status == TW_OK) status = w->pushed_to->class->close(k, &err);
    if (status != TW_OK) {
        note_failure(w, status, &err);
        w->pushed_to->class->drop(k);
    }
    return NULL;
}

/* A copy outside of the run's memory. */
static batch *copy_batch(world *w, const batch *b) {
    const type *types[columns_max];
    row_layout *l;
    for (uint32_t i = 0; i < b->schema->n; i++) types[i] = b->schema->fields[i].type;
    MUST(row_layout_new(types, b->schema->n, 0, 0, &l, NULL));
    buffer *rows, *heap;
    MUST(buffer_new(w->of_input, MEMORY_FLOW, (size_t)b->rows * l->stride, &rows, NULL));
    MUST(buffer_new(w->of_input, MEMORY_FLOW, rows_heap_bytes(l, b->columns, NULL, b->rows, NULL), &heap, NULL));
    uint8_t **to = malloc(b->rows * sizeof *to), *end = heap->data;
    for (uint32_t i = 0; i < b->rows; i++) to[i] = rows->data + (size_t)i * l->stride;
    rows_encode(l, b->columns, NULL, b->rows, to, &end);
    batch *copy;
    MUST(batch_new(b->schema, b->rows, &copy, NULL));
    MUST(rows_decode(w->of_input, l, (const uint8_t *const *)to, b->rows, 0, l->n, heap, copy->columns, NULL));
    buffer_unref(rows);
    buffer_unref(heap);
    free(to);
    row_layout_free(l);
    return copy;
}

/* As the engine does: what failed for a passing reason is tried again. */
static tw_status next_batch(reader *r, batch **b, tw_error *err) {
    tw_status status;
    unsigned tries = 0;
    while ((status = r->class->next(r, b, err)) == TW_ERR_MEMORY && tries++ < 200)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return status;
}

static tw_status read_split(world *w, uint64_t split, sink_writer *k, tw_error *err) {
    reader *r;
    TRY(w->read_from->class->open(w->read_from, split, &r, err));
    tw_status status;
    batch *b;
    while ((status = next_batch(r, &b, err)) == TW_OK) {
        if (k) {
            status = w->pushed_to->class->push(k, &(batch_order){.split = split}, b, err);
            batch_unref(b);
            if (status != TW_OK) break;
            continue;
        }
        pthread_mutex_lock(&w->lock);
        w->results = realloc(w->results, (w->n_results + 1) * sizeof *w->results);
        w->results[w->n_results++] = copy_batch(w, b);
        pthread_mutex_unlock(&w->lock);
        batch_unref(b);
    }
    r->class->free(r);
    return status == TW_END ? TW_OK : status;
}

static void *read_some(void *context) {
    world *w = context;
    sink_writer *k = NULL;
    tw_error err = {0};
    tw_status status = TW_OK;
    if (w->to_pairs) status = w->pushed_to->class->open(w->pushed_to, &k, &err);
    uint32_t split;
    while (status == TW_OK && (split = atomic_fetch_add(&w->next, 1)) < w->n_splits) status = read_split(w, split, k, &err);
    if (k && status == TW_OK) {
        status = w->pushed_to->class->close(k, &err);
        if (status == TW_OK) k = NULL;
    }
    if (k) w->pushed_to->class->drop(k);
    if (status != TW_OK) note_failure(w, status, &err);
    return NULL;
}

static void in_threads(world *w, void *(*f)(void *)) {
    pthread_t threads[threads_max];
    atomic_store(&w->next, 0);
    for (uint32_t i = 1; i < w->n_threads; i++) HOLDS(pthread_create(&threads[i], NULL, f, w) == 0);
    f(w);
    for (uint32_t i = 1; i < w->n_threads; i++) pthread_join(threads[i], NULL);
}

static void drive_ends(world *w) {
    group_ends *e = &w->ends;
    w->failed = e->sink->class->start(e->sink, &w->run, 1, NULL);
    if (w->failed == TW_OK && e->pair_sink) w->failed = e->pair_sink->class->start(e->pair_sink, &w->run, 1, NULL);
    if (w->failed != TW_OK) return;
    w->pushed_to = e->sink;
    w->to_pairs = false;
    in_threads(w, push_some);
    if (w->failed == TW_OK) w->failed = e->sink->class->finish(e->sink, NULL);
    if (w->failed == TW_OK && e->pair_sink) {
        w->pushed_to = e->pair_sink;
        w->read_from = e->pair_source;
        w->to_pairs = true;
        MUST(w->read_from->class->start(w->read_from, &w->run, &w->n_splits, NULL));
        in_threads(w, read_some);
        if (w->failed == TW_OK) w->failed = e->pair_sink->class->finish(e->pair_sink, NULL);
    }
    if (w->failed != TW_OK) return;
    w->to_pairs = false;
    w->read_from = e->source;
    MUST(w->read_from->class->start(w->read_from, &w->run, &w->n_splits, NULL));
    in_threads(w, read_some);
}

static void free_ends(group_ends *e) {
    e->sink->class->free(e->sink);
    if (e->pair_sink) e->pair_sink->class->free(e->pair_sink);
    if (e->pair_source) e->pair_source->class->free(e->pair_source);
    e->source->class->free(e->source);
    schema_unref(e->pairs);
}

static void shuffle_batches(world *w) {
    w->n_batches = (w->n_rows + w->batch_rows - 1) / w->batch_rows;
    w->order = malloc((w->n_batches + 1) * sizeof *w->order);
    for (uint32_t i = 0; i < w->n_batches; i++) {
        uint32_t k = draw_below(&w->seed, i + 1);
        w->order[i] = w->order[k];
        w->order[k] = i;
    }
}

static tw_status make_ends(world *w, tw_error *err) {
    const char *names[columns_max];
    const type *types[columns_max];
    char text[columns_max][12];
    for (uint32_t i = 0; i < w->n_keys + w->n_aggregates; i++) {
        snprintf(text[i], sizeof text[i], "c%u", i);
        names[i] = text[i];
        types[i] = i < w->n_keys ? w->types[i] : w->aggregates[i - w->n_keys].output;
    }
    MUST(schema_new(names, types, w->n_keys + w->n_aggregates, &w->out, NULL));
    aggregate *copy = malloc((w->n_aggregates + 1) * sizeof *copy);
    memcpy(copy, w->aggregates, w->n_aggregates * sizeof *copy);
    return group_state_create("group", w->n_keys, copy, w->n_aggregates, NULL, w->out, &w->ends, err);
}

/* Runs the group; the results stay in w until let_go. */
static tw_status drive(world *w) {
    w->n_results = 0;
    w->results = NULL;
    pthread_mutex_init(&w->lock, NULL);
    shuffle_batches(w);
    w->run = (run_context){.cancelled = &w->cancelled, .parallelism = w->n_threads, .batch_rows = w->out_rows, .batch_bytes = 1 << 20};
    MUST(memory_create(w->memory_bytes, &w->run.memory, NULL));
    MUST(spill_create(NULL, &w->run.spill, NULL));
    MUST(make_ends(w, NULL));
    drive_ends(w);
    free_ends(&w->ends);
    w->spilled = spill_bytes(w->run.spill);
    return w->failed;
}
static void let_go(world *w) {
    for (uint32_t i = 0; i < w->n_results; i++) batch_unref(w->results[i]);
    free(w->results);
    free(w->order);
    schema_unref(w->out);
    spill_free(w->run.spill);
    memory_destroy(w->run.memory);
    pthread_mutex_destroy(&w->lock);
}

/* ---- worlds ---- */

static const aggregate_kind all_kinds[] = {
    AGGREGATE_COUNT_ROWS, AGGREGATE_COUNT, AGGREGATE_COUNT_DISTINCT, AGGREGATE_SUM, AGGREGATE_MEAN,
    AGGREGATE_VARIANCE, AGGREGATE_STDDEV, AGGREGATE_MIN, AGGREGATE_MAX, AGGREGATE_FIRST, AGGREGATE_LAST,
    AGGREGATE_FIRST_ROW, AGGREGATE_QUANTILE, AGGREGATE_COLLECT, AGGREGATE_COUNT_SET};

/* Sums of random int64 would not fit. */
static void smaller(column *c) {
    if (c->type->kind != TYPE_INT64) return;
    for (uint32_t i = 0; i < c->rows; i++) ((int64_t *)c->values)[i] >>= 20;
}

static void add_random_aggregate(world *w, aggregate_kind kind) {
    aggregate *a = &w->aggregates[w->n_aggregates];
    tw_status status;
    do {
        *a = (aggregate){.column = w->n_keys + w->n_aggregates, .fraction = draw_below(&w->seed, 101) / 100.0};
        status = aggregate_init(a, kind, kind == AGGREGATE_COUNT_ROWS ? NULL : random_type(&w->seed), NULL);
    } while (status != TW_OK);
    const type *t = a->input ? a->input : type_of(TYPE_BOOL);
    w->types[w->n_keys + w->n_aggregates] = t;
    random_column(w->of_input, &w->seed, t, w->n_rows, &w->input[w->n_keys + w->n_aggregates]);
    smaller(&w->input[w->n_keys + w->n_aggregates++]);
}

static void begin(world *w, uint64_t seed) {
    now_seed = seed;
    *w = (world){.seed = seed, .out_rows = 1000, .n_threads = 1, .batch_rows = 1000, .memory_bytes = 64 << 20};
    MUST(memory_create((size_t)4 << 30, &w->of_input, NULL));
}
static void end(world *w) {
    for (uint32_t i = 0; i < w->n_keys + w->n_aggregates; i++) column_clear(&w->input[i]);
    memory_destroy(w->of_input);
}

static uint32_t some_of(uint64_t *seed, const uint32_t *choices, uint32_t n) { return choices[draw_below(seed, n)]; }

static void random_world(world *w, uint64_t seed) {
    static const uint32_t rows[] = {0, 1, 2, 100, 300, 3000, 3000, 10000}, sizes[] = {1, 7, 63, 64, 100, 1000, 4096, 65536};
    begin(w, seed);
    w->n_rows = some_of(&w->seed, rows, COUNT_OF(rows));
    w->batch_rows = some_of(&w->seed, sizes, COUNT_OF(sizes));
    w->out_rows = some_of(&w->seed, sizes, COUNT_OF(sizes));
    w->n_threads = 1 + draw_below(&w->seed, threads_max);
    w->memory_bytes = (size_t)(8 + draw_below(&w->seed, 64)) << 20;
    uint32_t n_keys = draw_below(&w->seed, 4);
    for (; w->n_keys < n_keys; w->n_keys++) {
        w->types[w->n_keys] = random_type(&w->seed);
        random_column(w->of_input, &w->seed, w->types[w->n_keys], w->n_rows, &w->input[w->n_keys]);
    }
    uint32_t n = draw_below(&w->seed, 6) + (n_keys == 0);
    for (uint32_t i = 0; i < n; i++) add_random_aggregate(w, all_kinds[draw_below(&w->seed, COUNT_OF(all_kinds))]);
}

static void test_random(void **state) {
    (void)state;
    const char *many = getenv("GROUP_TEST_WORLDS");
    uint64_t n = many ? strtoull(many, NULL, 10) : 60, first = getenv("GROUP_TEST_SEED") ? strtoull(getenv("GROUP_TEST_SEED"), NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + n; seed++) {
        world w;
        random_world(&w, seed);
        HOLDS(drive(&w) == TW_OK);
        check_results(&w);
        let_go(&w);
        end(&w);
    }
}

/* int64 keys of which there are `n_groups`. */
static void add_int_key(world *w, uint32_t n_groups) {
    column *c = &w->input[w->n_keys];
    MUST(column_new(w->of_input, type_of(TYPE_INT64), w->n_rows, c, NULL));
    for (uint32_t i = 0; i < w->n_rows; i++) ((int64_t *)c->values)[i] = (int64_t)draw_below(&w->seed, n_groups) * 1000003;
    w->types[w->n_keys++] = c->type;
}

static void test_short_of_memory(void **state) {
    (void)state;
    static const uint32_t groups[] = {1000, 20000, 200000};
    for (uint64_t seed = 1; seed <= 9; seed++) {
        world w;
        begin(&w, seed);
        w.n_rows = 200000;
        w.n_threads = 1 + seed % 3;
        w.memory_bytes = (size_t)(seed % 2 ? 10 : 14) << 20;
        add_int_key(&w, groups[seed % 3]);
        add_random_aggregate(&w, AGGREGATE_COUNT_ROWS);
        add_random_aggregate(&w, AGGREGATE_SUM);
        add_random_aggregate(&w, all_kinds[draw_below(&w.seed, COUNT_OF(all_kinds))]);
        add_random_aggregate(&w, AGGREGATE_COLLECT);
        w.memory_bytes += (size_t)type_bytes(w.types[w.n_keys + 3]) * 1024 * 4;
        if (drive(&w) != TW_OK) fprintf(stderr, "%s\n", w.error.message);
        HOLDS(w.failed == TW_OK);
        HOLDS(w.spilled > 0 || groups[seed % 3] < 200000);
        check_results(&w);
        let_go(&w);
        end(&w);
    }
}

/* ---- single promises ---- */

/* `n` rows of one group, or of `n_groups`; the caller fills input[1]. */
static void begin_with(world *w, uint64_t seed, uint32_t n_rows, uint32_t n_groups, aggregate_kind kind, const type *t) {
    begin(w, seed);
    w->n_rows = n_rows;
    w->n_threads = 1 + (uint32_t)(seed % 3);
    add_int_key(w, n_groups);
    w->aggregates[0] = (aggregate){.column = 1, .fraction = 0.37};
    MUST(aggregate_init(&w->aggregates[0], kind, t, NULL));
    w->types[1] = t;
    w->n_aggregates = 1;
    MUST(column_new(w->of_input, t, n_rows, &w->input[1], NULL));
}

static void test_sum_of_integers(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        world w;
        bool fits = seed % 2;
        begin_with(&w, seed, 10000, 1, AGGREGATE_SUM, type_of(TYPE_INT64));
        int64_t *values = w.input[1].values;
        /* Far beyond int64 on the way, at its very end at last. */
        for (uint32_t i = 0; i < w.n_rows; i++) values[i] = i % 2 ? INT64_MAX - i : -INT64_MAX + i - 1;
        __int128 sum = 0;
        for (uint32_t i = 0; i < w.n_rows; i++) sum += values[i];
        if (seed < 3) values[0] = (int64_t)(values[0] - sum + INT64_MAX);
        if (!fits) values[1] = seed < 3 ? values[1] + 1 : INT64_MAX;
        if (!fits && seed >= 3) values[0] = values[2] = INT64_MAX;
        tw_status status = drive(&w);
        HOLDS(status == (fits ? TW_OK : TW_ERR_DATA));
        if (fits) check_results(&w);
        else HOLDS(strstr(w.error.message, "int64"));
        let_go(&w);
        end(&w);
    }
}

/* Sums whose parts are 1e16 times as large as they are, in any order. */
static void test_cancellation(void **state) {
    (void)state;
    static const aggregate_kind kinds[] = {AGGREGATE_SUM, AGGREGATE_MEAN, AGGREGATE_VARIANCE};
    for (uint64_t seed = 1; seed <= 9; seed++) {
        world w;
        begin_with(&w, seed, 20000, 1 + seed % 2 * 100, kinds[seed % 3], type_of(TYPE_FLOAT64));
        double *values = w.input[1].values;
        bool variance = kinds[seed % 3] == AGGREGATE_VARIANCE;
        for (uint32_t i = 0; i < w.n_rows; i++) {
            double small = (double)draw_below(&w.seed, 1000) / 7;
            values[i] = variance ? 1e7 + small : small;
        }
        for (uint32_t i = 0; !variance && i + 1 < w.n_rows; i++) { /* pairs of one group that cancel */
            int64_t *keys = w.input[0].values;
            keys[i] = keys[i / 4 * 4];
            if (i % 4 < 2) values[i] = i % 4 ? -values[i - 1] : values[i] * 1e16;
        }
        HOLDS(drive(&w) == TW_OK);
        check_results(&w);
        let_go(&w);
        end(&w);
    }
}

static void test_large_quantile(void **state) {
    (void)state;
    double first_result = 0;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        world w;
        begin_with(&w, seed, 600000, 1, AGGREGATE_QUANTILE, type_of(TYPE_FLOAT64));
        w.batch_rows = (uint32_t)(777 * seed);
        w.memory_bytes = (size_t)(seed == 2 ? 16 : 64) << 20;
        uint64_t same = 99;
        for (uint32_t i = 0; i < w.n_rows; i++) ((double *)w.input[1].values)[i] = (double)(draw(&same) >> 40);
        HOLDS(drive(&w) == TW_OK);
        check_results(&w);
        double result = ((const double *)w.results[0]->columns[1].values)[0];
        if (seed > 1) HOLDS(result == first_result);
        first_result = result;
        let_go(&w);
        end(&w);
    }
}

/* One group's values are many times the memory. */
static void test_skewed_count_distinct(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        world w;
        begin_with(&w, seed, 500000, 1 + (uint32_t)seed % 2, AGGREGATE_COUNT_DISTINCT, type_of(TYPE_INT64));
        for (uint32_t i = 0; i < w.n_rows; i++) ((int64_t *)w.input[1].values)[i] = (int64_t)draw_below(&w.seed, 400000);
        w.memory_bytes = 8 << 20;
        if (drive(&w) != TW_OK) fprintf(stderr, "%s\n", w.error.message);
        HOLDS(w.failed == TW_OK);
        HOLDS(w.spilled > 0);
        check_results(&w);
        let_go(&w);
        end(&w);
    }
}

/* What one group collects must fit: a clear message, not a crash. */
static void test_too_much_to_collect(void **state) {
    (void)state;
    world w;
    begin_with(&w, 5, 800000, 1, AGGREGATE_COLLECT, type_of(TYPE_INT64));
    for (uint32_t i = 0; i < w.n_rows; i++) ((int64_t *)w.input[1].values)[i] = i;
    w.memory_bytes = 8 << 20;
    HOLDS(drive(&w) == TW_ERR_MEMORY);
    HOLDS(strstr(w.error.message, "run.memory"));
    let_go(&w);
    end(&w);
}

static void test_parsing(void **state) {
    (void)state;
    static const struct {
        const char *text;
        aggregate_kind kind;
        const char *argument;
        double fraction;
    } good[] = {
        {"count", AGGREGATE_COUNT_ROWS, "", 0},        {" count ( ) ", AGGREGATE_COUNT_ROWS, "", 0},
        {"count(*)", AGGREGATE_COUNT_ROWS, "", 0},     {"count(x)", AGGREGATE_COUNT, "x", 0},
        {"sum(a + b * 2)", AGGREGATE_SUM, "a + b * 2", 0}, {"quantile(x, 0.99)", AGGREGATE_QUANTILE, "x", 0.99},
        {"quantile(if(a, ',', `o,d`) , 1)", AGGREGATE_QUANTILE, "if(a, ',', `o,d`) ", 1},
        {"first(concat(a, ')'))", AGGREGATE_FIRST, "concat(a, ')')", 0},
    };
    static const char *const bad[] = {"", "sum", "cout(x)", "sum()", "sum(x", "quantile(x)", "quantile(x, 2)", "quantile(x, )",
                                      "quantile(x, 0.5x)", "count_distinct", "mean()x", "first_row(x)", "quantile(, 0.5)"};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        aggregate_kind kind;
        char *argument;
        uint32_t at;
        double fraction;
        assert_int_equal(aggregate_parse(good[i].text, &kind, &argument, &at, &fraction, NULL), TW_OK);
        assert_int_equal(kind, good[i].kind);
        assert_string_equal(argument, good[i].argument);
        assert_true(fraction == good[i].fraction);
        if (argument[0]) assert_memory_equal(good[i].text + at, argument, strlen(argument));
        free(argument);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        aggregate_kind kind;
        char *argument;
        uint32_t at;
        double fraction;
        tw_error err = {0};
        assert_int_equal(aggregate_parse(bad[i], &kind, &argument, &at, &fraction, &err), TW_ERR_JOB);
        assert_true(err.column >= 1 && err.column <= strlen(bad[i]) + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_short_of_memory),
        cmocka_unit_test(test_sum_of_integers),
        cmocka_unit_test(test_cancellation),
        cmocka_unit_test(test_large_quantile),
        cmocka_unit_test(test_skewed_count_distinct),
        cmocka_unit_test(test_too_much_to_collect),
        cmocka_unit_test(test_parsing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
