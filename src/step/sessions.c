#include "step/sessions.h"

#include <stdlib.h>

#include "data/hash.h"
#include "engine/pipeline.h"

int64_t session_end(const session_rule *r, int64_t last) { return last > INT64_MAX - r->gap_us ? INT64_MAX : last + r->gap_us; }

static int64_t piece_of(int64_t time, int64_t gap) { return time / gap - (time % gap < 0); }

void session_pieces(const session_rule *r, const int64_t *times, uint32_t n, int64_t *pieces) {
    int64_t piece = 0, low = 0;
    bool whole = false; /* the first piece of all time begins before it */
    for (uint32_t i = 0; i < n; i++) {
        if (!whole || times[i] < low || (uint64_t)times[i] - (uint64_t)low >= (uint64_t)r->gap_us) { /* neighbours mostly share theirs */
            piece = piece_of(times[i], r->gap_us);
            whole = !__builtin_mul_overflow(piece, r->gap_us, &low);
        }
        pieces[i] = piece;
    }
}

static uint64_t hash_of(uint64_t hash, int64_t piece, int64_t behind) {
    uint64_t upper = hash & ~(uint64_t)UINT32_MAX;
    return upper | (uint32_t)hash_finish(hash_add(hash_add(upper | 1, (uint64_t)piece), (uint64_t)behind));
}

void session_hashes(const int64_t *pieces, const int64_t *behind, uint32_t n, uint64_t *hashes) {
    for (uint32_t i = 0; i < n; i++) hashes[i] = hash_of(hashes[i], pieces[i], behind[i]);
}

/* ---- one key after the other ---- */

typedef struct chain {
    const session_rule *rule;
    group_table *table;
    int64_t watermark;
} chain;

static int64_t *key_field(const chain *c, uint8_t *row, uint32_t which) {
    return (int64_t *)(void *)(row + c->table->shape->layout->fields[c->rule->n_keys + which].offset);
}

/* By key, as far as hashes tell; then those that were in time, and others by their watermarks; then by time. */
static int by_key_and_time(const void *x, const void *y) {
    const session_row *a = x, *b = y;
    uint64_t p = a->hash >> 32, q = b->hash >> 32;
    if (p != q) return p < q ? -1 : 1;
    if (a->behind != b->behind) return a->behind < b->behind ? -1 : 1;
    return (a->first > b->first) - (a->first < b->first);
}

static bool same_key(const chain *c, const uint8_t *a, const uint8_t *b) {
    const row_layout *l = c->table->shape->layout;
    for (uint32_t k = 0; k < c->rule->n_keys; k++) {
        const row_field *f = &l->fields[k];
        bool is_view = f->form == ROW_VIEW || f->form == ROW_WIDE || f->form == ROW_NESTED;
        if (row_is_valid(l, a, k) != row_is_valid(l, b, k)) return false;
        if (is_view ? !view_equal((const view *)(const void *)(a + f->offset), (const view *)(const void *)(b + f->offset))
                    : memcmp(a + f->offset, b + f->offset, f->bytes) != 0)
            return false;
    }
    return true;
}

/* Brings those with the key of rows[0] to the front, in their order; returns how many they are. */
static uint32_t take_key(const chain *c, session_row *rows, uint32_t n) {
    uint32_t end = 1;
    for (uint32_t i = 1; i < n; i++) {
        if (!same_key(c, rows[0].row, rows[i].row)) continue;
        if (i > end) { /* two keys with half a hash in common */
            session_row found = rows[i];
            memmove(&rows[end + 1], &rows[end], (i - end) * sizeof *rows);
            rows[end] = found;
        }
        end++;
    }
    return end;
}

static bool near(const chain *c, const session_row *a, const session_row *b) {
    uint64_t gap = (uint64_t)c->rule->gap_us;
    if (a->last < b->first) return (uint64_t)b->first - (uint64_t)a->last < gap;
    return b->last >= a->first || (uint64_t)a->first - (uint64_t)b->last < gap;
}

static tw_status join(const chain *c, session_row *to, const session_row *from, tw_error *err) {
    const group_shape *s = c->table->shape;
    for (uint32_t i = 0; i < s->n_aggregates; i++) {
        const aggregate *a = &s->aggregates[i];
        tw_status status = a->merge(a, to->row, from->row, &c->table->rows, err);
        if (status == TW_ERR_MEMORY) return error_set(err, status, "run.memory is too small: what one session holds must fit in its share of it");
        TRY(status);
    }
    if (from->first < to->first) to->first = from->first;
    if (from->last > to->last) to->last = from->last;
    return TW_OK;
}

/* Those that were in time stand by time: a chain. */
static tw_status chain_in_time(const chain *c, session_row *rows, uint32_t n, uint32_t *sessions, uint32_t *done, tw_error *err) {
    uint32_t i = 0, s = 0;
    for (; i < n && rows[i].behind == WATERMARK_NONE; i++) {
        if (s > 0 && near(c, &rows[s - 1], &rows[i])) TRY(join(c, &rows[s - 1], &rows[i], err));
        else rows[s++] = rows[i];
    }
    *sessions = s;
    *done = i;
    return TW_OK;
}

/* One that came behind a watermark joins the sessions around it which that one had not passed. */
static tw_status join_behind(const chain *c, session_row *rows, uint32_t *n, session_row one, tw_error *err) {
    session_row *in = NULL;
    for (uint32_t i = 0; i < *n;) {
        session_row *s = &rows[i];
        if (s == in || session_end(c->rule, s->last) <= one.behind || !near(c, s, &one)) {
            i++;
            continue;
        }
        TRY(join(c, in ? in : s, in ? s : &one, err));
        if (in) *s = rows[--*n];
        else in = s, i++;
    }
    if (!in) rows[(*n)++] = one;
    return TW_OK;
}

static void relabel(const chain *c, session_row *s) {
    s->behind = WATERMARK_NONE;
    *key_field(c, s->row, 0) = piece_of(s->last, c->rule->gap_us);
    *key_field(c, s->row, 1) = WATERMARK_NONE;
    row_set_header(s->row, hash_of(s->hash, piece_of(s->last, c->rule->gap_us), WATERMARK_NONE));
}

/* The sessions of a key, and behind them what came behind a watermark that is still to come. */
static tw_status chain_key(const chain *c, session_row *rows, uint32_t *n, tw_error *err) {
    uint32_t sessions, i;
    TRY(chain_in_time(c, rows, *n, &sessions, &i, err));
    for (; i < *n && rows[i].behind <= c->watermark; i++) TRY(join_behind(c, rows, &sessions, rows[i], err));
    for (uint32_t s = 0; s < sessions; s++) relabel(c, &rows[s]);
    memmove(&rows[sessions], &rows[i], (*n - i) * sizeof *rows);
    *n = sessions + *n - i;
    return TW_OK;
}

/* ---- all of a table ---- */

static void load_rows(const chain *c, uint64_t n, session_row *rows) {
    const group_table *t = c->table;
    const aggregate *times = &t->shape->aggregates[t->shape->n_aggregates - SESSION_AGGREGATES];
    uint64_t done = 0;
    for (uint32_t chunk = 0; done < n; chunk++) {
        uint8_t *row;
        uint32_t count = arena_rows_chunk(&t->rows, chunk, &row);
        for (uint32_t i = 0; i < count && done < n; i++, row += t->shape->layout->stride)
            rows[done++] = (session_row){row, row_header(row), aggregate_extreme_time(&times[0], row),
                                         aggregate_extreme_time(&times[1], row), *key_field(c, row, 1)};
    }
    qsort(rows, n, sizeof *rows, by_key_and_time);
}

/* Keys are unique in what is given: a session that has ended is known by its first time. */
static void sort_out(const chain *c, session_list *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        session_row s = l->rows[i];
        if (s.behind != WATERMARK_NONE || session_end(c->rule, s.last) > c->watermark) continue;
        *key_field(c, s.row, 0) = s.first;
        row_set_header(s.row, hash_of(s.hash, s.first, WATERMARK_NONE));
        l->rows[i] = l->rows[l->n_closed];
        l->rows[l->n_closed++] = s;
    }
}

tw_status sessions_chain(const session_rule *r, group_table *t, uint64_t n, int64_t watermark, session_list *out, tw_error *err) {
    chain c = {r, t, watermark};
    *out = (session_list){0};
    out->buffer = n < UINT32_MAX ? arena_rows_buffer(&t->rows, n * sizeof(session_row)) : NULL;
    if (!out->buffer) return error_set(err, TW_ERR_MEMORY, "run.memory is too small for sessions");
    out->rows = (session_row *)(void *)out->buffer->data;
    t->rows.err = err;
    load_rows(&c, n, out->rows);
    for (uint32_t i = 0, count; i < n; i += count) {
        for (count = 1; i + count < n && out->rows[i + count].hash >> 32 == out->rows[i].hash >> 32;) count++;
        count = take_key(&c, &out->rows[i], count);
        uint32_t left = count;
        tw_status status = chain_key(&c, &out->rows[i], &left, err);
        if (status != TW_OK) {
            session_list_clear(out);
            return status;
        }
        memmove(&out->rows[out->n], &out->rows[i], left * sizeof *out->rows);
        out->n += left;
    }
    sort_out(&c, out);
    return TW_OK;
}

void session_list_clear(session_list *l) {
    buffer_unref(l->buffer);
    *l = (session_list){0};
}
