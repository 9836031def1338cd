#include "step/seen_rows.h"

#include <stdlib.h>

#include "data/hash.h"
#include "step/arena_rows.h"
#include "step/join_table.h"

enum {
    n_shards = 16,        /* each forgets alone, so none takes long and little is held twice */
    together = 64,        /* rows whose slots are on their way at a time */
    spans_of_within = 4,  /* the longer a span, the seldomer the one beside it is looked at */
    rows_at_first = 64,
};

typedef struct shard {
    arena_rows rows;
    buffer *slots;
    row_table table;
    uint64_t forget_at; /* rows: then it is worth looking for old ones */
} shard;

struct seen_rows {
    row_layout *layout; /* keys, then in extra the time */
    bool needs_heap;    /* some keys cannot be encoded in place: lists, wide vectors */
    int64_t within, span;
    int64_t forgotten;  /* until when */
    memory *memory;
    uint8_t *scratch;   /* `together` rows */
    shard shards[n_shards];
};

/* ---- times and hashes ---- */

static int64_t time_of(const row_layout *l, const uint8_t *row) {
    int64_t time;
    memcpy(&time, row + l->extra_offset, sizeof time);
    return time;
}

static uint64_t apart(int64_t a, int64_t b) { return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a; }

static int64_t span_number(const seen_rows *s, int64_t time) {
    int64_t over = time % s->span;
    return time / s->span - (over < 0);
}

static uint64_t hash_in_span(uint64_t hash, int64_t span) { return hash_finish(hash_add(hash, (uint64_t)span)); }

static shard *shard_of(seen_rows *s, uint64_t hash) { return &s->shards[hash >> 60]; }

/* The hashes under which a repeat may be remembered: of its own span, and of one or both beside it. */
static uint32_t places(const seen_rows *s, uint64_t hash, int64_t time, uint64_t *out) {
    if (s->within == SEEN_FOREVER) {
        out[0] = hash;
        return 1;
    }
    int64_t span = span_number(s, time);
    uint64_t into = (uint64_t)time - (uint64_t)span * (uint64_t)s->span;
    uint32_t n = 0;
    out[n++] = hash_in_span(hash, span);
    if (into < (uint64_t)s->within) out[n++] = hash_in_span(hash, span - 1);
    if ((uint64_t)s->span - into < (uint64_t)s->within) out[n++] = hash_in_span(hash, span + 1);
    return n;
}

/* ---- tables ---- */

static tw_status refused(const seen_rows *s, const arena_rows *a, tw_error *err) {
    if (a->refusal && a->refusal != TW_ERR_MEMORY) return a->refusal;
    return error_set(err, TW_ERR_MEMORY, "dedupe remembers %llu rows, and run.memory has no room for more: 'within' is too long for it",
                     (unsigned long long)seen_rows_count(s));
}

static void put_row(shard *h, uint8_t *row) {
    uint64_t hash = row_header(row), *slot = row_table_slot(&h->table, hash);
    while (*slot) slot = row_table_next_slot(&h->table, slot);
    *slot = row_tag(hash) | (uint64_t)(uintptr_t)row;
}

/* Slots for twice the rows there are and `more`. */
static tw_status rebuild_slots(const seen_rows *s, shard *h, uint64_t more, tw_error *err) {
    uint64_t rows = (h->rows.n + more) * 2 < rows_at_first ? rows_at_first : (h->rows.n + more) * 2;
    uint64_t capacity = row_table_capacity(rows, rows * n_shards);
    if (rows > ROW_TABLE_ROWS_MAX) return refused(s, &h->rows, err);
    buffer_unref(h->slots);
    h->slots = NULL;
    h->table = (row_table){0};
    h->slots = arena_rows_buffer(&h->rows, capacity * sizeof *h->table.slots);
    if (!h->slots) return refused(s, &h->rows, err);
    row_table_init(&h->table, (uint64_t *)(void *)h->slots->data, (uint32_t)capacity);
    for (uint32_t c = 0; c < h->rows.n_chunks; c++) {
        uint8_t *row;
        uint32_t n = arena_rows_chunk(&h->rows, c, &row);
        for (uint32_t i = 0; i < n; i++, row += s->layout->stride) put_row(h, row);
    }
    return TW_OK;
}

/* Rows that still count move to memory of their own, if many do not. */
static tw_status forget_old(seen_rows *s, shard *h, tw_error *err) {
    const row_layout *l = s->layout;
    uint64_t old = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        arena_rows fresh;
        arena_rows_init(&fresh, s->memory, l, memory_limit(s->memory) / n_shards);
        for (uint32_t c = 0; c < h->rows.n_chunks; c++) {
            uint8_t *row;
            uint32_t n = arena_rows_chunk(&h->rows, c, &row);
            for (uint32_t i = 0; i < n; i++, row += l->stride) {
                bool is_old = time_of(l, row) <= s->forgotten;
                old += pass == 0 && is_old;
                if (pass == 0 || is_old || arena_rows_copy(&fresh, row)) continue;
                tw_status status = refused(s, &fresh, err);
                arena_rows_clear(&fresh);
                return status;
            }
        }
        if (pass == 1) {
            arena_rows_clear(&h->rows);
            h->rows = fresh;
        } else if (old * 4 < h->rows.n) {
            break;
        }
    }
    h->forget_at = 2 * h->rows.n < rows_at_first ? rows_at_first : 2 * h->rows.n;
    return TW_OK;
}

static tw_status insert(seen_rows *s, const uint8_t *row, tw_error *err) {
    shard *h = shard_of(s, row_header(row));
    if (h->rows.n * 2 >= h->table.capacity) {
        if (h->rows.n >= h->forget_at) TRY(forget_old(s, h, err));
        TRY(rebuild_slots(s, h, 1, err));
    }
    uint8_t *copy = arena_rows_copy(&h->rows, row);
    if (!copy) { /* perhaps what is out of date has its place */
        TRY(forget_old(s, h, err));
        TRY(rebuild_slots(s, h, 1, err));
        copy = arena_rows_copy(&h->rows, row);
    }
    if (!copy) return refused(s, &h->rows, err);
    put_row(h, copy);
    return TW_OK;
}

static bool is_there(const seen_rows *s, const shard *h, uint64_t hash, const uint8_t *key) {
    const row_layout *l = s->layout;
    int64_t time = time_of(l, key);
    if (!h->table.capacity) return false;
    for (uint64_t *slot = row_table_slot(&h->table, hash);; slot = row_table_next_slot(&h->table, slot)) {
        slot = row_table_candidate(&h->table, slot, hash);
        const uint8_t *row = slot_row(*slot);
        if (!row) return false;
        bool near = s->within == SEEN_FOREVER || apart(time_of(l, row), time) < (uint64_t)s->within;
        if (near && rows_keys_equal(l, row, key)) return true;
    }
}

/* ---- rows that come ---- */

/* Up to `together` rows. */
static tw_status encode(seen_rows *s, const column *keys, const uint32_t *rows, uint32_t n, buffer **heap, tw_error *err) {
    uint8_t *to[together], *bytes = NULL;
    *heap = NULL;
    for (uint32_t i = 0; i < n; i++) to[i] = s->scratch + (size_t)i * s->layout->stride;
    if (s->needs_heap) {
        TRY(buffer_new(s->memory, MEMORY_FLOW, rows_heap_bytes(s->layout, keys, rows, n, NULL), heap, err));
        bytes = (*heap)->data;
    }
    rows_encode(s->layout, keys, rows, n, to, s->needs_heap ? &bytes : NULL);
    return TW_OK;
}

static tw_status keep_some(seen_rows *s, const column *keys, const uint64_t *hashes, const int64_t *times, int64_t time,
                           const uint32_t *rows, uint32_t n, uint32_t *kept, uint32_t *n_kept, tw_error *err) {
    uint64_t at[together][3];
    uint32_t n_at[together];
    buffer *heap;
    TRY(encode(s, keys, rows, n, &heap, err));
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *key = s->scratch + (size_t)i * s->layout->stride;
        int64_t when = times ? times[rows[i]] : time;
        n_at[i] = places(s, hashes[rows[i]], when, at[i]);
        row_set_header(key, at[i][0]);
        memcpy(key + s->layout->extra_offset, &when, sizeof when);
        for (uint32_t k = 0; k < n_at[i]; k++) {
            const shard *h = shard_of(s, at[i][k]);
            if (h->table.capacity) __builtin_prefetch(row_table_slot(&h->table, at[i][k]));
        }
    }
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < n && status == TW_OK; i++) {
        const uint8_t *key = s->scratch + (size_t)i * s->layout->stride;
        bool repeat = false;
        for (uint32_t k = 0; k < n_at[i] && !repeat; k++) repeat = is_there(s, shard_of(s, at[i][k]), at[i][k], key);
        if (repeat) continue;
        status = insert(s, key, err);
        kept[(*n_kept)++] = rows[i];
    }
    buffer_unref(heap);
    return status;
}

tw_status seen_rows_keep(seen_rows *s, const column *keys, const uint64_t *hashes, const int64_t *times, int64_t time,
                         uint32_t *rows, uint32_t *n, tw_error *err) {
    uint32_t kept = 0;
    for (uint32_t done = 0, some; done < *n; done += some) {
        some = *n - done < together ? *n - done : together;
        TRY(keep_some(s, keys, hashes, times, time, rows + done, some, rows, &kept, err));
    }
    *n = kept;
    return TW_OK;
}

void seen_rows_forget(seen_rows *s, int64_t until) {
    if (until > s->forgotten) s->forgotten = until;
}

uint64_t seen_rows_count(const seen_rows *s) {
    uint64_t n = 0;
    for (unsigned i = 0; i < n_shards; i++) n += s->shards[i].rows.n;
    return n;
}

/* ---- going on after a stop ---- */

tw_status seen_rows_save(const seen_rows *s, saved_part *to, tw_error *err) {
    for (unsigned i = 0; i < n_shards && s->memory; i++) TRY(arena_rows_save(&s->shards[i].rows, to, 0, err));
    return TW_OK;
}

tw_status seen_rows_load(seen_rows *s, const saved_part *from, tw_error *err) {
    for (uint32_t i = 0; i < part_frames(from); i++) {
        row_block *b;
        TRY(part_read_rows(from, i, s->memory, s->layout, &b, err));
        tw_status status = TW_OK;
        for (uint32_t k = 0; k < b->n && status == TW_OK; k++)
            status = insert(s, b->rows->data + (size_t)k * s->layout->stride, err);
        row_block_free(b);
        TRY(status);
    }
    return TW_OK;
}

/* ---- */

tw_status seen_rows_new(const type *const *keys, uint32_t n_keys, int64_t within, seen_rows **out, tw_error *err) {
    seen_rows *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    tw_status status = row_layout_new(keys, n_keys, n_keys, sizeof(int64_t), &s->layout, err);
    if (status == TW_OK) {
        s->scratch = calloc(together, s->layout->stride);
        if (!s->scratch) status = error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    }
    if (status != TW_OK) {
        seen_rows_free(s);
        return status;
    }
    for (uint32_t i = 0; i < n_keys; i++) {
        row_form form = s->layout->fields[i].form;
        s->needs_heap |= form == ROW_NESTED || form == ROW_WIDE;
    }
    s->within = within;
    s->span = within > INT64_MAX / spans_of_within ? INT64_MAX : within * spans_of_within;
    s->forgotten = INT64_MIN;
    *out = s;
    return TW_OK;
}

void seen_rows_start(seen_rows *s, memory *m) {
    if (s->memory) return;
    s->memory = m;
    for (unsigned i = 0; i < n_shards; i++) arena_rows_init(&s->shards[i].rows, m, s->layout, memory_limit(m) / n_shards);
}

void seen_rows_free(seen_rows *s) {
    if (!s) return;
    for (unsigned i = 0; i < n_shards; i++) {
        if (s->memory) arena_rows_clear(&s->shards[i].rows);
        buffer_unref(s->shards[i].slots);
    }
    row_layout_free(s->layout);
    free(s->scratch);
    free(s);
}
