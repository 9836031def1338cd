#include "step/join_kept.h"

#include <stdlib.h>

#include "data/hash.h"
#include "engine/checkpoint.h"
#include "step/event_clock.h"

enum { bits_min = 4, bits_max = 8, steps_of_range = 8 };

/* ---- times and hashes ---- */

static uint64_t hash_in_span(const join_kept *k, uint64_t hash, int64_t time) {
    int64_t span = time / k->span - (time % k->span < 0);
    return hash_finish(hash_add(hash, (uint64_t)span));
}

static bool has_passed(int64_t time, int64_t bound) { return time < bound || bound == WATERMARK_END; }

/* Rows of the side before it find no partner at the watermark or after it. */
static int64_t bound_of(const join_kept *k, unsigned side, int64_t watermark) {
    return watermark == WATERMARK_END ? watermark : event_clock_less(watermark, side == LEFT ? k->range.after : k->range.before);
}

/* ---- row sets ---- */

static row_set *set_new(const join_kept *k, unsigned side) {
    memory *m = k->join->run->memory;
    row_set *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    atomic_init(&s->references, 1);
    arena_rows_init(&s->rows, m, k->join->sides[side].layout, memory_limit(m) / k->n_parts);
    row_table_init(&s->table, NULL, 0);
    s->oldest = INT64_MAX;
    return s;
}

static row_set *set_ref(row_set *s) {
    if (s) atomic_fetch_add(&s->references, 1);
    return s;
}

static void set_unref(row_set *s) {
    if (!s || atomic_fetch_sub(&s->references, 1) != 1) return;
    arena_rows_clear(&s->rows);
    buffer_unref(s->slots);
    free(s);
}

static tw_status refused(const row_set *s, tw_error *err) {
    tw_status status = s->rows.refusal && s->rows.refusal != TW_ERR_MEMORY ? s->rows.refusal : TW_ERR_MEMORY;
    return error_set(err, status, "run.memory has no room for more rows that wait for a partner in a join: a shorter 'within' or 'lateness' "
                     "makes fewer of them wait");
}

/* The slot of the chain of rows with this key, or an empty one. The row may be of the other side. */
static uint64_t *find_slot(const row_set *s, uint64_t hash, const uint8_t *row) {
    const row_layout *l = s->rows.layout;
    for (uint64_t *slot = row_table_slot(&s->table, hash);; slot = row_table_next_slot(&s->table, slot)) {
        slot = row_table_candidate(&s->table, slot, hash);
        const uint8_t *head = slot_row(*slot);
        if (!head || (row_when_of(l, head).hash == hash && rows_keys_equal(l, head, row))) return slot;
    }
}

/* For so many chains more. Those that are there keep their rows in place. */
static tw_status reserve_slots(row_set *s, uint64_t more, tw_error *err) {
    uint64_t chains = s->n_chains + more, capacity = row_table_capacity(chains < 16 ? 32 : 2 * chains, UINT64_MAX);
    if (chains * 2 <= s->table.capacity) return TW_OK;
    if (2 * chains > ROW_TABLE_ROWS_MAX) return refused(s, err);
    buffer *slots = arena_rows_buffer(&s->rows, capacity * sizeof(uint64_t));
    if (!slots) return refused(s, err);
    row_table old = s->table;
    row_table_init(&s->table, (uint64_t *)(void *)slots->data, (uint32_t)capacity);
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (!old.slots[i]) continue;
        uint64_t *slot = row_table_slot(&s->table, row_when_of(s->rows.layout, slot_row(old.slots[i])).hash);
        while (*slot) slot = row_table_next_slot(&s->table, slot);
        *slot = old.slots[i];
    }
    buffer_unref(s->slots);
    s->slots = slots;
    return TW_OK;
}

/* A row of the set, whose hash and time are there, becomes the head of its chain. */
static void link_row(row_set *s, uint8_t *row, bool matched) {
    uint64_t hash = row_when_of(s->rows.layout, row).hash, *slot = find_slot(s, hash, row);
    s->n_chains += *slot == 0;
    row_set_header(row, (uint64_t)(uintptr_t)slot_row(*slot) | (matched ? ROW_MATCHED : 0));
    *slot = row_tag(hash) | (uint64_t)(uintptr_t)row;
}

static bool has_null_key(const row_layout *l, const uint8_t *row) {
    for (uint32_t i = 0; i < l->n_keys; i++)
        if (!row_is_valid(l, row, i)) return true;
    return false;
}

/* It has come out, and no row needs it any more. */
static bool is_done(const join_kept *k, unsigned side, const uint8_t *row) {
    return side == LEFT && join_filters(k->join) && row_is_matched(row);
}

/* A copy of a row of another set. */
static tw_status copy_row(const join_kept *k, row_set *to, const uint8_t *row, tw_error *err) {
    const row_layout *l = to->rows.layout;
    TRY(reserve_slots(to, 1, err));
    uint8_t *copy = arena_rows_copy(&to->rows, row);
    if (!copy) return refused(to, err);
    bool matched = row_is_matched(row);
    row_when w = row_when_of(l, copy);
    if (w.time < to->oldest) to->oldest = w.time;
    row_set_header(copy, matched ? ROW_MATCHED : 0);
    if (!has_null_key(l, copy)) link_row(to, copy, matched);
    return TW_OK;
}

/* ---- findings ---- */

void join_findings_clear(join_findings *f) {
    for (uint32_t i = 0; i < f->n; i++)
        for (unsigned side = 0; side < 2; side++) set_unref(f->items[i].sets[side]);
    free(f->items);
    buffer_unref(f->hits);
    *f = (join_findings){0};
}

static join_hit *hits_of(const join_findings *f) { return (join_hit *)(void *)f->hits->data; }

static tw_status reserve_hits(const join_kept *k, join_findings *f, uint64_t more, tw_error *err) {
    uint64_t n = f->n_hits + more;
    buffer *bigger;
    if (f->hits && n * sizeof(join_hit) <= f->hits->size) return TW_OK;
    if (n > UINT32_MAX / 2) return error_set(err, TW_ERR_MEMORY, "a batch of a join finds too many partners at once");
    TRY(buffer_new(k->join->run->memory, MEMORY_FLOW, 2 * n * sizeof(join_hit), &bigger, err));
    if (f->n_hits) memcpy(bigger->data, f->hits->data, f->n_hits * sizeof(join_hit));
    buffer_unref(f->hits);
    f->hits = bigger;
    return TW_OK;
}

static void add_hit(join_findings *f, const uint8_t *row, const uint8_t *chain) { hits_of(f)[f->n_hits++] = (join_hit){row, chain}; }

static tw_status reserve_finding(join_findings *f, tw_error *err) {
    if (f->n < f->capacity) return TW_OK;
    uint32_t capacity = f->capacity ? 2 * f->capacity : 16;
    join_finding *bigger = realloc(f->items, capacity * sizeof *bigger);
    if (!bigger) return error_set(err, TW_ERR_MEMORY, "out of memory for a join");
    f->items = bigger;
    f->capacity = capacity;
    return TW_OK;
}

/* ---- rows that come ---- */

/* Up to KEPT_ROWS_TOGETHER of them, so that what they look for is on its way from memory at a time. */
typedef struct row_group {
    uint8_t *rows[KEPT_ROWS_TOGETHER];
    const uint8_t *chains[KEPT_ROWS_TOGETHER][KEPT_SPANS]; /* of the other side; NULL: none */
    uint64_t hashes[KEPT_ROWS_TOGETHER][KEPT_SPANS];
    bool nulls[KEPT_ROWS_TOGETHER];
    uint32_t n;
} row_group;

/* Into the set, not into its table. */
static tw_status encode(row_set *s, const kept_input *in, const uint32_t *rows, row_group *g, tw_error *err) {
    const row_layout *l = s->rows.layout;
    uint8_t *heap = NULL;
    size_t bytes = l->has_heap ? rows_heap_bytes(l, in->columns, rows, g->n, NULL) : 0;
    if (!arena_rows_reserve(&s->rows, g->n) || (l->has_heap && !(heap = arena_rows_bytes(&s->rows, bytes)))) return refused(s, err);
    for (uint32_t i = 0; i < g->n; i++) g->rows[i] = arena_rows_new(&s->rows);
    rows_encode(l, in->columns, rows, g->n, g->rows, l->has_heap ? &heap : NULL);
    return TW_OK;
}

static void find_chains(const join_kept *k, const kept_part *p, const kept_input *in, const uint32_t *rows, row_group *g) {
    const row_set *own = p->sets[in->side], *other = p->sets[!in->side];
    const row_layout *l = own->rows.layout;
    for (uint32_t i = 0; i < g->n; i++) {
        uint64_t hash = in->hashes[rows[i]];
        row_when w = {hash_in_span(k, hash, in->times[rows[i]]), in->times[rows[i]]};
        time_range r = join_kept_range(k, in->side, w.time);
        memcpy(g->rows[i] + l->extra_offset, &w, sizeof w);
        row_set_header(g->rows[i], 0);
        g->nulls[i] = has_null_key(l, g->rows[i]);
        g->hashes[i][0] = hash_in_span(k, hash, r.low);
        g->hashes[i][1] = hash_in_span(k, hash, r.high);
        for (unsigned at = 0; at < KEPT_SPANS; at++) __builtin_prefetch(row_table_slot(&other->table, g->hashes[i][at]));
        __builtin_prefetch(row_table_slot(&own->table, w.hash), 1);
    }
    for (uint32_t i = 0; i < g->n; i++)
        for (unsigned at = 0; at < KEPT_SPANS; at++) {
            const uint64_t *slot = row_table_candidate(&other->table, row_table_slot(&other->table, g->hashes[i][at]), g->hashes[i][at]);
            if (*slot) __builtin_prefetch(slot_row(*slot) + l->extra_offset);
        }
    for (uint32_t i = 0; i < g->n; i++)
        for (unsigned at = 0; at < KEPT_SPANS; at++) {
            bool looks = !g->nulls[i] && (at == 0 || g->hashes[i][1] != g->hashes[i][0]);
            g->chains[i][at] = looks ? slot_row(*find_slot(other, g->hashes[i][at], g->rows[i])) : NULL;
        }
}

/* Whether some row of the chain is in range; marks all that are, if asked to. */
static bool match_chain(const row_layout *l, const uint8_t *chain, time_range r, bool marks) {
    bool any = false;
    for (const uint8_t *at = chain; at && (marks || !any); at = row_chain_next(at)) {
        if (!is_within(l, at, r)) continue;
        any = true;
        if (marks) row_set_matched((uint8_t *)(uintptr_t)at);
    }
    return any;
}

/* Rows of the left side of a semi or anti join that have found their first partner; they leave the chain, but for its
 * head. Nobody else reads chains of such a join. */
static void match_left(const row_layout *l, const uint8_t *chain, time_range r, join_findings *found) {
    uint8_t *before = NULL, *next;
    for (uint8_t *at = (uint8_t *)(uintptr_t)chain; at; at = next) {
        next = slot_row(row_header(at) & ROW_ADDRESS);
        if (!row_is_matched(at) && is_within(l, at, r)) {
            row_set_matched(at);
            if (found) add_hit(found, at, NULL);
        }
        if (before && row_is_matched(at)) row_set_header(before, (row_header(before) & ROW_MATCHED) | (uint64_t)(uintptr_t)next);
        else before = at;
    }
}

static uint64_t count_unmatched(const row_layout *l, const uint8_t *chain, time_range r) {
    uint64_t n = 0;
    for (const uint8_t *at = chain; at; at = row_chain_next(at)) n += !row_is_matched(at) && is_within(l, at, r);
    return n;
}

/* What it finds and leaves behind. There is room for all of it. */
static void take_row(const join_kept *k, kept_part *p, unsigned side, uint8_t *row, const uint8_t *const *chains, bool null,
                     join_findings *found) {
    const join *j = k->join;
    const row_layout *other = j->sides[!side].layout;
    row_set *own = p->sets[side];
    row_when w = row_when_of(own->rows.layout, row);
    time_range r = join_kept_range(k, side, w.time);
    bool marks = join_gives_unmatched(j, !side), looks = marks || join_gives_unmatched(j, side), matched = false;
    if (w.time < own->oldest) own->oldest = w.time;
    for (unsigned at = 0; at < KEPT_SPANS; at++) {
        if (!chains[at]) continue;
        if (!join_filters(j)) {
            if (looks && !match_chain(other, chains[at], r, marks)) continue;
            matched = true;
            add_hit(found, row, chains[at]);
        } else if (side == LEFT) {
            matched = matched || match_chain(other, chains[at], r, false);
        } else {
            match_left(other, chains[at], r, j->kind == JOIN_SEMI ? found : NULL);
        }
    }
    bool done = matched && side == LEFT && join_filters(j);
    if (done) row_set_matched(row);
    if (done && j->kind == JOIN_SEMI) add_hit(found, row, NULL);
    if (!done && !null) link_row(own, row, matched);
}

static tw_status reserve_for(const join_kept *k, const kept_input *in, const row_group *g, join_findings *found, tw_error *err) {
    uint64_t hits = KEPT_SPANS * (uint64_t)g->n;
    if (k->join->kind == JOIN_SEMI && in->side == RIGHT) {
        const row_layout *l = k->join->sides[RIGHT].layout, *other = k->join->sides[LEFT].layout;
        for (uint32_t i = 0; i < g->n; i++) {
            time_range r = join_kept_range(k, RIGHT, row_when_of(l, g->rows[i]).time);
            for (unsigned at = 0; at < KEPT_SPANS; at++) hits += count_unmatched(other, g->chains[i][at], r);
        }
    }
    return reserve_hits(k, found, hits, err);
}

static tw_status take_group(const join_kept *k, kept_part *p, const kept_input *in, uint32_t first, uint32_t n, join_findings *found,
                            tw_error *err) {
    row_set *own = p->sets[in->side];
    row_group g = {.n = n};
    TRY(reserve_slots(own, n, err));
    TRY(encode(own, in, in->rows + first, &g, err));
    find_chains(k, p, in, in->rows + first, &g);
    tw_status status = reserve_for(k, in, &g, found, err);
    for (uint32_t i = 0; i < n; i++) {
        if (status == TW_OK) take_row(k, p, in->side, g.rows[i], g.chains[i], g.nulls[i], found);
        else arena_rows_drop_last(&own->rows);
    }
    return status;
}

tw_status join_kept_take(join_kept *k, uint32_t part, const kept_input *in, bool wait, uint32_t *done, join_findings *found,
                         tw_error *err) {
    kept_part *p = &k->parts[part];
    uint32_t first = found->n_hits;
    TRY(reserve_finding(found, err));
    if (!wait && pthread_mutex_trylock(&p->lock) != 0) return TW_OK;
    if (wait) pthread_mutex_lock(&p->lock);
    tw_status status = TW_OK;
    while (*done < in->n && status == TW_OK) {
        uint32_t n = in->n - *done < KEPT_ROWS_TOGETHER ? in->n - *done : KEPT_ROWS_TOGETHER;
        status = take_group(k, p, in, *done, n, found, err);
        if (status != TW_OK) break;
        *done += n;
        p->arrived[in->side] += n;
    }
    if (found->n_hits > first) {
        bool alone = join_filters(k->join);
        join_finding f = {.part = p, .side = alone ? LEFT : (uint8_t)in->side, .first = first, .n = found->n_hits - first};
        for (unsigned side = 0; side < 2; side++)
            if (!alone || side == LEFT) f.sets[side] = set_ref(p->sets[side]);
        found->items[found->n++] = f;
    }
    pthread_mutex_unlock(&p->lock);
    return status;
}

/* ---- forgetting ---- */

typedef struct sweep_count {
    uint64_t passed, done;
    int64_t oldest; /* of those that are not done */
} sweep_count;

static sweep_count count_rows(const join_kept *k, const row_set *s, unsigned side, int64_t bound) {
    const row_layout *l = s->rows.layout;
    sweep_count c = {.oldest = INT64_MAX};
    for (uint32_t i = 0; i < s->rows.n_chunks; i++) {
        uint8_t *row;
        uint32_t n = arena_rows_chunk(&s->rows, i, &row);
        for (; n; n--, row += l->stride) {
            int64_t time = row_when_of(l, row).time;
            bool done = is_done(k, side, row);
            c.done += done;
            c.passed += !done && has_passed(time, bound);
            if (!done && time < c.oldest) c.oldest = time;
        }
    }
    return c;
}

static tw_status copy_left(const join_kept *k, const row_set *from, unsigned side, int64_t bound, uint64_t n_left, row_set *to,
                           tw_error *err) {
    const row_layout *l = from->rows.layout;
    if (n_left) TRY(reserve_slots(to, n_left < from->n_chains ? n_left : from->n_chains, err));
    for (uint32_t i = 0; i < from->rows.n_chunks; i++) {
        uint8_t *row;
        uint32_t n = arena_rows_chunk(&from->rows, i, &row);
        for (; n; n--, row += l->stride)
            if (!is_done(k, side, row) && !has_passed(row_when_of(l, row).time, bound)) TRY(copy_row(k, to, row, err));
    }
    return TW_OK;
}

/* With the lock. Nothing changes when it fails. */
static tw_status sweep(const join_kept *k, kept_part *p, unsigned side, int64_t bound, join_findings *found, tw_error *err) {
    row_set *old = p->sets[side], *fresh;
    bool gives = join_gives_unmatched(k->join, side);
    sweep_count c = count_rows(k, old, side, bound);
    p->arrived[side] = 0;
    old->oldest = c.oldest;
    if (!(gives && c.passed) && (c.passed + c.done) * 4 < old->rows.n) return TW_OK;
    TRY(reserve_finding(found, err));
    fresh = set_new(k, side);
    if (!fresh) return refused(old, err);
    tw_status status = copy_left(k, old, side, bound, old->rows.n - c.passed - c.done, fresh, err);
    if (status != TW_OK) {
        set_unref(fresh);
        return status;
    }
    p->sets[side] = fresh;
    buffer_unref(old->slots);
    old->slots = NULL;
    if (gives && c.passed) {
        join_finding f = {.part = p, .side = (uint8_t)side, .swept = true, .bound = bound};
        f.sets[side] = old;
        found->items[found->n++] = f;
    } else {
        set_unref(old);
    }
    return TW_OK;
}

/* Looking costs as much as there are rows, so it waits for as many that come, or for a part of the range. */
static bool is_worth_it(const join_kept *k, const kept_part *p, unsigned side, int64_t bound) {
    const row_set *s = p->sets[side];
    if (!s->rows.n || !has_passed(s->oldest, bound)) return s->rows.n && bound == WATERMARK_END;
    return p->arrived[side] * 2 >= s->rows.n || (uint64_t)bound - (uint64_t)s->oldest >= (uint64_t)k->sweep_step || bound == WATERMARK_END;
}

tw_status join_kept_advance(join_kept *k, int64_t watermark, join_findings *found, int64_t *out, tw_error *err) {
    tw_status status = TW_OK;
    *out = event_clock_less(watermark, k->range.before > k->range.after ? k->range.before : k->range.after);
    for (uint32_t i = 0; i < k->n_parts && status == TW_OK; i++) {
        kept_part *p = &k->parts[i];
        pthread_mutex_lock(&p->lock);
        for (unsigned side = 0; side < 2 && status == TW_OK; side++) {
            int64_t bound = bound_of(k, side, watermark);
            if (is_worth_it(k, p, side, bound)) status = sweep(k, p, side, bound, found, err);
            /* Without room to move in they stay: the next time there may be some. */
            if (status == TW_ERR_MEMORY && watermark != WATERMARK_END) status = TW_OK;
            const row_set *s = p->sets[side];
            if (join_gives_unmatched(k->join, side) && s->rows.n && s->oldest < *out) *out = s->oldest;
        }
        pthread_mutex_unlock(&p->lock);
    }
    return status;
}

/* ---- going on after a stop ---- */

tw_status join_kept_save(const join_kept *k, saved_part *to, tw_error *err) {
    for (uint32_t i = 0; i < k->n_parts; i++)
        for (unsigned side = 0; side < 2; side++) TRY(arena_rows_save(&k->parts[i].sets[side]->rows, to, side, err));
    return TW_OK;
}

static tw_status load_block(join_kept *k, unsigned side, row_block *b, tw_error *err) {
    const row_layout *l = k->join->sides[side].layout;
    for (uint32_t i = 0; i < b->n; i++) {
        uint8_t *row = b->rows->data + (size_t)i * l->stride;
        if (is_done(k, side, row)) continue;
        uint64_t hash = hash_row_keys(l, row);
        row_when w = row_when_of(l, row);
        w.hash = hash_in_span(k, hash, w.time);
        memcpy(row + l->extra_offset, &w, sizeof w);
        TRY(copy_row(k, k->parts[join_kept_part(k, hash)].sets[side], row, err));
    }
    return TW_OK;
}

tw_status join_kept_load(join_kept *k, const saved_part *from, tw_error *err) {
    for (uint32_t i = 0; i < part_frames(from); i++) {
        unsigned side = part_frame_tag(from, i) == RIGHT ? RIGHT : LEFT;
        row_block *b;
        TRY(part_read_rows(from, i, k->join->run->memory, k->join->sides[side].layout, &b, err));
        tw_status status = load_block(k, side, b, err);
        row_block_free(b);
        TRY(status);
    }
    return TW_OK;
}

/* ---- life ---- */

tw_status join_kept_init(join_kept *k, const join *j, join_range range, tw_error *err) {
    uint32_t parallelism = j->run->parallelism;
    int64_t length = range.before + range.after, step = length > range.lateness ? length : range.lateness;
    k->join = j;
    k->range = range;
    k->span = 2 * length + 1;
    k->sweep_step = step / steps_of_range;
    for (k->bits = bits_min; k->bits < bits_max && 1u << k->bits < 2 * parallelism;) k->bits++;
    k->n_parts = 1u << k->bits;
    k->parts = calloc(k->n_parts, sizeof *k->parts);
    if (!k->parts) return error_set(err, TW_ERR_MEMORY, "out of memory for a join");
    for (uint32_t i = 0; i < k->n_parts; i++) pthread_mutex_init(&k->parts[i].lock, NULL);
    for (uint32_t i = 0; i < 2 * k->n_parts; i++)
        if (!(k->parts[i / 2].sets[i % 2] = set_new(k, i % 2))) return error_set(err, TW_ERR_MEMORY, "out of memory for a join");
    return TW_OK;
}

void join_kept_clear(join_kept *k) {
    for (uint32_t i = 0; k->parts && i < k->n_parts; i++) {
        for (unsigned side = 0; side < 2; side++) set_unref(k->parts[i].sets[side]);
        pthread_mutex_destroy(&k->parts[i].lock);
    }
    free(k->parts);
    *k = (join_kept){0};
}
