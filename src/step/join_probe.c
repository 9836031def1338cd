/* The left side of a join: each batch looks up its keys in the tables. */
#include <stdlib.h>

#include "data/hash.h"
#include "data/nested.h"
#include "step/join_internal.h"

enum { group_rows = 256 }; /* looked up together: their lines stay in the nearest cache */

/* How keys are compared. */
typedef enum key_form {
    KEY_WORD32, /* one column of 4 bytes that can be compared as they are */
    KEY_WORD64, /* of 8 */
    KEY_VIEW,   /* one string or binary */
    KEY_ROW,    /* anything: encoded as the key part of a row */
} key_form;

/* How far a batch has come. */
typedef struct cursor {
    uint32_t row;
    const uint8_t *next; /* in the chain of `row`; NULL: at its begin */
} cursor;

typedef struct join_probe {
    operator operator;
    join *join;
    run_context *run;
    join_scatter scatter;   /* of rows that are put aside */
    batch *in;              /* the batch that `at` belongs to; NULL between batches */
    cursor at;
    key_form form;
    column *keys;           /* n_keys: of `in` */
    row_layout *key_layout; /* KEY_ROW: keys stand where the tables' rows have them */
    buffer *key_rows, *key_heap;
    uint32_t capacity;      /* rows */
    uint64_t *hashes;
    uint8_t **heads;        /* the chain that a row matches; NULL: none; LATER: it was put aside */
    uint8_t **key_at;       /* KEY_ROW: where the encoded keys are */
    uint32_t *some, *others;
    uint32_t *rows;         /* join->batch_rows: the output's left and right */
    const uint8_t **right;
} join_probe;

static const uint8_t later_mark;
#define LATER ((uint8_t *)(uintptr_t)&later_mark)

static join *of_plan(const operator_plan *p) { return (join *)((char *)(uintptr_t)p - offsetof(join, plan)); }

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a join"); }

/* ---- looking up ---- */

typedef bool key_equal(const join_probe *s, uint32_t row, const uint8_t *candidate);

static inline bool word32_equal(const join_probe *s, uint32_t row, const uint8_t *candidate) {
    uint32_t key;
    memcpy(&key, candidate + 8, sizeof key);
    return key == ((const uint32_t *)s->keys->values)[row];
}
static inline bool word64_equal(const join_probe *s, uint32_t row, const uint8_t *candidate) {
    uint64_t key;
    memcpy(&key, candidate + 8, sizeof key);
    return key == ((const uint64_t *)s->keys->values)[row];
}
static inline bool view_key_equal(const join_probe *s, uint32_t row, const uint8_t *candidate) {
    view key;
    memcpy(&key, candidate + 8, sizeof key);
    return view_equal(&key, &((const view *)s->keys->values)[row]);
}
static inline bool row_key_equal(const join_probe *s, uint32_t row, const uint8_t *candidate) {
    return rows_keys_equal(s->key_layout, s->key_at[row], candidate);
}

/* After a candidate with the right tag and another key. */
static inline uint8_t *find_further(const join_probe *s, uint64_t *slot, uint32_t row, key_equal *equal) {
    uint64_t hash = s->hashes[row];
    const row_table *t = &s->join->tables[join_partition(s->join, hash)];
    for (;;) {
        slot = row_table_candidate(t, row_table_next_slot(t, slot), hash);
        if (!*slot || equal(s, row, slot_row(*slot))) return slot_row(*slot);
    }
}

/* Rows some[first..first + n) (NULL: the rows themselves), in three turns, so that the misses of one turn
 * overlap: slots, rows, keys. */
static inline __attribute__((always_inline)) void find_group(join_probe *s, const uint32_t *some, uint32_t first,
                                                             uint32_t n, key_equal *equal) {
    const row_table *tables = s->join->tables;
    unsigned shift = 64 - s->join->bits;
    uint32_t stride = s->join->sides[RIGHT].layout->stride;
    const uint8_t *null_row = s->join->sides[RIGHT].null_row; /* in place of none: no branch to predict */
    uint64_t *slots[group_rows];
    const uint64_t *hashes = s->hashes;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t hash = hashes[some ? some[first + i] : first + i];
        slots[i] = row_table_slot(&tables[hash >> shift], hash);
        __builtin_prefetch(slots[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t hash = hashes[some ? some[first + i] : first + i];
        slots[i] = row_table_candidate(&tables[hash >> shift], slots[i], hash);
        uintptr_t row = *slots[i] & ROW_ADDRESS; /* 0 does no harm */
        __builtin_prefetch((const void *)row);
        __builtin_prefetch((const void *)(row + stride - 1));
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = some ? some[first + i] : first + i;
        uint8_t *head = slot_row(*slots[i]);
        bool same = equal(s, row, head ? head : null_row);
        if (__builtin_expect((head != NULL) & !same, false)) head = find_further(s, slots[i], row, equal);
        s->heads[row] = head;
    }
}

static inline __attribute__((always_inline)) void find_all(join_probe *s, const uint32_t *some, uint32_t n,
                                                           key_equal *equal) {
    for (uint32_t first = 0; first < n; first += group_rows) {
        uint32_t count = n - first < group_rows ? n - first : group_rows;
        if (some) find_group(s, some, first, count, equal);
        else find_group(s, NULL, first, count, equal);
    }
}

static void find(join_probe *s, const uint32_t *some, uint32_t n) {
    switch (s->form) {
    case KEY_WORD32: find_all(s, some, n, word32_equal); break;
    case KEY_WORD64: find_all(s, some, n, word64_equal); break;
    case KEY_VIEW: find_all(s, some, n, view_key_equal); break;
    case KEY_ROW: find_all(s, some, n, row_key_equal); break;
    }
}

/* ---- the beginning of a batch ---- */

static key_form form_of(const row_layout *l) {
    if (l->n_keys > 1) return KEY_ROW;
    switch (l->fields[0].form) {
    case ROW_INT32: return KEY_WORD32;
    case ROW_INT64: return KEY_WORD64;
    case ROW_VIEW: return KEY_VIEW;
    default: return KEY_ROW;
    }
}

/* Keys of a long vector are copied, and so made equal where they are: -0.0, NaN. */
static bool keys_need_heap(const row_layout *l) {
    for (uint32_t i = 0; i < l->n_keys; i++)
        if (l->fields[i].form == ROW_WIDE || l->fields[i].form == ROW_NESTED) return true;
    return false;
}

static tw_status encode_keys(join_probe *s, uint32_t n, tw_error *err) {
    const row_layout *l = s->key_layout;
    memory *m = s->run->memory;
    bool heap = keys_need_heap(l);
    if (!s->key_rows || s->key_rows->size < (size_t)n * l->stride) {
        buffer_unref(s->key_rows);
        s->key_rows = NULL;
        TRY(buffer_new(m, MEMORY_FLOW, (size_t)s->capacity * l->stride, &s->key_rows, err));
    }
    buffer_unref(s->key_heap);
    s->key_heap = NULL;
    if (heap) TRY(buffer_new(m, MEMORY_FLOW, rows_heap_bytes(l, s->keys, NULL, n, NULL), &s->key_heap, err));
    for (uint32_t i = 0; i < n; i++) s->key_at[i] = s->key_rows->data + (size_t)i * l->stride;
    uint8_t *end = heap ? s->key_heap->data : NULL;
    rows_encode(l, s->keys, NULL, n, s->key_at, heap ? &end : NULL);
    return TW_OK;
}

static void release_arrays(join_probe *s) {
    free(s->hashes);
    free(s->heads);
    free(s->key_at);
    free(s->some);
    free(s->others);
    s->capacity = 0;
    s->hashes = NULL;
    s->heads = s->key_at = NULL;
    s->some = s->others = NULL;
}

static tw_status reserve(join_probe *s, uint32_t rows, tw_error *err) {
    if (rows <= s->capacity) return TW_OK;
    release_arrays(s);
    s->hashes = malloc(rows * sizeof *s->hashes);
    s->heads = malloc(rows * sizeof *s->heads);
    s->key_at = malloc(rows * sizeof *s->key_at);
    s->some = malloc(rows * sizeof *s->some);
    s->others = malloc(rows * sizeof *s->others);
    if (!s->hashes || !s->heads || !s->key_at || !s->some || !s->others) {
        release_arrays(s);
        return no_memory(err);
    }
    s->capacity = rows;
    return TW_OK;
}

/* Puts the rows aside whose partition is not in memory; what is left of some[0..n). */
static tw_status put_aside(join_probe *s, const uint32_t *some, uint32_t *n, tw_error *err) {
    const join *j = s->join;
    join_scatter *t = &s->scatter;
    uint32_t here = 0, later = 0;
    TRY(join_scatter_reserve(t, *n, err));
    for (uint32_t i = 0; i < *n; i++) {
        uint32_t row = some ? some[i] : i, p = join_partition(j, s->hashes[row]);
        bool put = j->later[p];
        s->others[later] = row;
        t->to[later] = p;
        t->hashes[later] = s->hashes[row];
        later += put;
        s->some[here] = row;
        here += !put;
    }
    bool all = later == s->in->rows;
    if (later) TRY(join_scatter_append(t, s->in, all ? NULL : s->others, later, err));
    for (uint32_t i = 0; i < later; i++) s->heads[s->others[i]] = LATER;
    *n = here;
    return TW_OK;
}

static void mark_matched(join_probe *s, const uint32_t *some, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *head = s->heads[some ? some[i] : i];
        if (head) row_set_matched(head);
    }
}

/* Finds the chains of all rows of s->in. Nothing that can fail comes after rows were put aside. */
static tw_status begin(join_probe *s, tw_error *err) {
    const join *j = s->join;
    batch *in = s->in;
    uint32_t n;
    TRY(reserve(s, in->rows, err));
    join_key_columns(j, LEFT, in, s->keys);
    bool nulls = join_valid_rows(s->keys, j->n_keys, in->rows, s->some, &n);
    const uint32_t *some = nulls ? s->some : NULL;
    if (nulls || !j->any_rows) memset(s->heads, 0, in->rows * sizeof *s->heads);
    if (n && (j->any_rows || j->any_later)) hash_columns(s->keys, j->n_keys, in->rows, s->hashes);
    if (n && j->any_rows && s->form == KEY_ROW) TRY(encode_keys(s, in->rows, err));
    if (n && j->any_later) {
        TRY(put_aside(s, some, &n, err));
        some = s->some;
    }
    if (!j->any_rows) return TW_OK;
    find(s, some, n);
    if (join_keeps_right(j)) mark_matched(s, some, n);
    return TW_OK;
}

/* ---- output ---- */

static uint32_t fill_filtered(join_probe *s, cursor *c, uint32_t room) {
    uint32_t n = 0, row = c->row, end = s->in->rows - row < room ? s->in->rows : row + room;
    bool semi = s->join->kind == JOIN_SEMI;
    for (; row < end; row++) {
        uint8_t *head = s->heads[row];
        s->rows[n] = row;
        n += semi ? head && head != LATER : !head;
    }
    c->row = row;
    return n;
}

/* Each row at most once. */
static uint32_t fill_single(join_probe *s, cursor *c, uint32_t room) {
    uint32_t n = 0, row = c->row, end = s->in->rows - row < room ? s->in->rows : row + room;
    uint8_t *null_row = join_keeps_left(s->join) ? s->join->sides[RIGHT].null_row : NULL;
    for (; row < end; row++) {
        uint8_t *head = s->heads[row];
        s->rows[n] = row;
        s->right[n] = head ? head : null_row;
        n += s->right[n] && head != LATER;
    }
    c->row = row;
    return n;
}

static uint32_t fill_chains(join_probe *s, cursor *c, uint32_t room) {
    uint32_t n = 0;
    const uint8_t *null_row = join_keeps_left(s->join) ? s->join->sides[RIGHT].null_row : NULL;
    while (n < room && c->row < s->in->rows) {
        const uint8_t *at = c->next ? c->next : s->heads[c->row];
        if (!at && null_row) {
            s->rows[n] = c->row;
            s->right[n++] = null_row;
        }
        if (at == LATER) at = NULL;
        for (; at && n < room; at = row_chain_next(at)) {
            s->rows[n] = c->row;
            s->right[n++] = at;
        }
        c->next = at;
        c->row += !at;
    }
    return n;
}

static bool is_whole(const join_probe *s, uint32_t n) {
    if (n != s->in->rows) return false;
    uint32_t difference = 0;
    for (uint32_t i = 0; i < n; i++) difference |= s->rows[i] ^ i;
    return !difference;
}

static tw_status make_column(join_probe *s, const join_column *c, const type *t, uint32_t n, bool whole, column *out,
                             tw_error *err) {
    const join *j = s->join;
    if (!c->needed) {
        *out = (column){.type = t, .rows = n};
        return TW_OK;
    }
    if (c->side == RIGHT)
        return rows_decode(s->run->memory, j->sides[RIGHT].layout, s->right, n, c->field, 1, j->heap, out, err);
    if (!whole) return column_pick(s->run->memory, &s->in->columns[c->from], s->rows, n, out, err);
    column_share(&s->in->columns[c->from], out);
    return TW_OK;
}

static tw_status make_batch(join_probe *s, uint32_t n, batch **out, tw_error *err) {
    const join *j = s->join;
    batch *b;
    TRY(batch_new(j->out, n, &b, err));
    bool whole = is_whole(s, n);
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < j->out->n && status == TW_OK; i++)
        status = make_column(s, &j->columns[i], j->out->fields[i].type, n, whole, &b->columns[i], err);
    if (status != TW_OK) {
        batch_unref(b);
        return status;
    }
    b->position = s->in->position;
    *out = b;
    return TW_OK;
}

static tw_status probe_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    join_probe *s = (join_probe *)self;
    join *j = s->join;
    if (atomic_load_explicit(&j->phase, memory_order_acquire) != JOIN_READY) TRY(join_load(j, err));
    if (s->in != in) {
        s->in = in;
        s->at = (cursor){0};
        s->form = form_of(j->sides[RIGHT].layout);
        tw_status status = begin(s, err);
        if (status != TW_OK) {
            s->in = NULL;
            return status;
        }
    }
    cursor at = s->at;
    uint32_t n = join_filters(j)     ? fill_filtered(s, &at, j->batch_rows)
                 : j->has_duplicates ? fill_chains(s, &at, j->batch_rows)
                                     : fill_single(s, &at, j->batch_rows);
    if (n) TRY(make_batch(s, n, out, err));
    s->at = at;
    *more = at.row < in->rows;
    if (!*more) s->in = NULL;
    return TW_OK;
}

/* ---- life ---- */

/* What is left of a batch that nobody wanted to the end is forgotten. */
static void probe_begin_split(operator *self, const reader *split) { ((join_probe *)self)->in = NULL; }

static void probe_close(operator *self) {
    join_probe *s = (join_probe *)self;
    join_scatter_clear(&s->scatter);
    release_arrays(s);
    buffer_unref(s->key_rows);
    buffer_unref(s->key_heap);
    row_layout_free(s->key_layout);
    free(s->keys);
    free(s->rows);
    free(s->right);
    free(s);
}

static tw_status make_key_layout(join_probe *s, tw_error *err) {
    const row_layout *l = s->join->sides[RIGHT].layout;
    const type **types = calloc(l->n_keys, sizeof *types);
    if (!types) return no_memory(err);
    for (uint32_t i = 0; i < l->n_keys; i++) types[i] = l->fields[i].type;
    tw_status status = row_layout_new(types, l->n_keys, l->n_keys, 0, &s->key_layout, err);
    free(types);
    return status;
}

static tw_status probe_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    join *j = of_plan(plan);
    join_probe *s = calloc(1, sizeof *s);
    if (!s) return no_memory(err);
    s->operator = (operator){.class = plan->class, .plan = plan};
    s->join = j;
    s->run = run;
    join_scatter_init(&s->scatter, j, LEFT);
    s->keys = calloc(j->n_keys, sizeof *s->keys);
    s->rows = malloc(j->batch_rows * sizeof *s->rows);
    s->right = malloc(j->batch_rows * sizeof *s->right);
    tw_status status = s->keys && s->rows && s->right ? make_key_layout(s, err) : no_memory(err);
    if (status == TW_OK) *out = &s->operator;
    else probe_close(&s->operator);
    return status;
}

static void probe_needs(operator_plan *plan, const bool *needed_out, bool *needed_in) {
    join *j = of_plan(plan);
    j->asked = true;
    for (uint32_t i = 0; i < j->out->n; i++) j->columns[i].needed |= needed_out[i];
    join_needs(j, LEFT, needed_in);
}

static void probe_describe(const operator_plan *plan, char *out, size_t capacity) {
    strncat(out, of_plan(plan)->words, capacity - 1);
}

static void probe_free(operator_plan *plan) { join_release(of_plan(plan)); }

const operator_class join_probe_class = {
    .open = probe_open,
    .process = probe_process,
    .begin_split = probe_begin_split,
    .close = probe_close,
    .needs = probe_needs,
    .describe = probe_describe,
    .free = probe_free,
};
