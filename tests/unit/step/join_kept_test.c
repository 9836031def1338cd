/* join_kept against lists: random keys and times, both sides in turn, the watermark behind them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

#include "data/hash.h"
#include "step/join_kept.h"
#include "unit/engine/fakes.h"

enum { rows_max = 4000, batch_max = 150 };

typedef struct list_row {
    int64_t key, time;
    bool null, matched, out; /* out: came out of the join for want of a partner */
} list_row;

static struct {
    run_context run;
    join j;
    list_row rows[2][rows_max];
    uint32_t n[2];
    uint64_t pairs, alone; /* that came out */
} test;

/* A side is one key, and a column with the row's number. */
static void set_up(join_kind kind, join_range range, join_kept *k) {
    static const type *types[2];
    static uint8_t null_row[64];
    memset(&test, 0, sizeof test);
    types[0] = types[1] = type_of(TYPE_INT64);
    MUST(memory_create(64 << 20, &test.run.memory, NULL));
    test.run.parallelism = 1;
    test.j.run = &test.run;
    test.j.kind = kind;
    test.j.n_keys = 1;
    for (unsigned side = 0; side < 2; side++) {
        MUST(row_layout_new(types, 2, 1, sizeof(row_when), &test.j.sides[side].layout, NULL));
        test.j.sides[side].null_row = null_row;
    }
    *k = (join_kept){0};
    MUST(join_kept_init(k, &test.j, range, NULL));
}

static void tear_down(join_kept *k) {
    join_kept_clear(k);
    for (unsigned side = 0; side < 2; side++) row_layout_free(test.j.sides[side].layout);
    memory_destroy(test.run.memory);
}

static int64_t number_of(unsigned side, const uint8_t *row) {
    int64_t number;
    memcpy(&number, row + test.j.sides[side].layout->fields[1].offset, sizeof number);
    return number;
}

static bool partners(const join_kept *k, const list_row *l, const list_row *r) {
    return !l->null && !r->null && l->key == r->key && l->time - k->range.before <= r->time && r->time <= l->time + k->range.after;
}

static void see_alone(unsigned side, const uint8_t *row) {
    list_row *r = &test.rows[side][number_of(side, row)];
    assert_true(!r->out);
    assert_int_equal(r->matched, test.j.kind == JOIN_SEMI);
    r->out = true;
    test.alone++;
}

static void see_hit(const join_kept *k, unsigned side, join_hit hit) {
    const row_layout *own = test.j.sides[side].layout, *other = test.j.sides[!side].layout;
    if (!hit.chain) {
        see_alone(side, hit.row);
        return;
    }
    time_range range = join_kept_range(k, side, row_when_of(own, hit.row).time);
    const list_row *mine = &test.rows[side][number_of(side, hit.row)];
    for (const uint8_t *at = hit.chain; at; at = row_chain_next(at)) {
        if (!is_within(other, at, range)) continue;
        const list_row *theirs = &test.rows[!side][number_of(!side, at)];
        assert_true(side == LEFT ? partners(k, mine, theirs) : partners(k, theirs, mine));
        test.pairs++;
    }
}

static void see(const join_kept *k, join_findings *found) {
    for (uint32_t i = 0; i < found->n; i++) {
        const join_finding *f = &found->items[i];
        for (uint32_t n = 0; n < f->n; n++) see_hit(k, f->side, ((join_hit *)(void *)found->hits->data)[f->first + n]);
        const arena_rows *rows = f->swept ? &f->sets[f->side]->rows : NULL;
        for (uint32_t c = 0; rows && c < rows->n_chunks; c++) {
            uint8_t *row;
            uint32_t n = arena_rows_chunk(rows, c, &row);
            for (; n; n--, row += rows->layout->stride)
                if (!row_is_matched(row) && (row_when_of(rows->layout, row).time < f->bound || f->bound == WATERMARK_END))
                    see_alone(f->side, row);
        }
    }
    join_findings_clear(found);
}

/* The lists' answer for rows that come now; returns how many pairs they make. */
static uint64_t pair_up(const join_kept *k, unsigned side, uint32_t first) {
    uint64_t pairs = 0;
    for (uint32_t i = first; i < test.n[side]; i++)
        for (uint32_t o = 0; o < test.n[!side]; o++) {
            list_row *mine = &test.rows[side][i], *theirs = &test.rows[!side][o];
            if (!(side == LEFT ? partners(k, mine, theirs) : partners(k, theirs, mine))) continue;
            mine->matched = theirs->matched = true;
            pairs++;
        }
    return pairs;
}

static uint64_t take(join_kept *k, unsigned side, uint32_t n, int64_t now, int64_t spread, uint64_t *random) {
    int64_t keys[batch_max], numbers[batch_max], times[batch_max];
    uint64_t hashes[batch_max], valid[(batch_max + 63) / 64];
    uint32_t rows[batch_max], first = test.n[side];
    memset(valid, 0xff, sizeof valid);
    for (uint32_t i = 0; i < n; i++) {
        list_row r = {.key = (int64_t)(draw(random) % 9), .time = now + (int64_t)(draw(random) % (uint64_t)spread)};
        r.null = draw(random) % 16 == 0;
        keys[i] = r.null ? 0 : r.key;
        if (r.null) valid[i >> 6] &= ~(1ull << (i & 63));
        times[i] = r.time;
        numbers[i] = test.n[side];
        test.rows[side][test.n[side]++] = r;
    }
    column columns[2] = {{.type = type_of(TYPE_INT64), .rows = n, .values = keys, .valid = valid},
                         {.type = type_of(TYPE_INT64), .rows = n, .values = numbers}};
    hash_columns(columns, 1, n, hashes);
    join_findings found = {0};
    for (uint32_t p = 0; p < k->n_parts; p++) {
        uint32_t some = 0, done = 0;
        for (uint32_t i = 0; i < n; i++)
            if (join_kept_part(k, hashes[i]) == p) rows[some++] = i;
        bool waits = p % 2 != 0; /* nobody else has it */
        kept_input in = {side, columns, hashes, times, rows, some};
        MUST(join_kept_take(k, p, &in, waits, &done, &found, NULL));
        assert_int_equal(done, some);
    }
    uint64_t pairs = pair_up(k, side, first);
    see(k, &found);
    return pairs;
}

static bool comes_alone(unsigned side, const list_row *r) {
    return test.j.kind == JOIN_SEMI ? side == LEFT && r->matched : join_gives_unmatched(&test.j, side) && !r->matched;
}

static uint64_t rows_kept(const join_kept *k) {
    uint64_t n = 0;
    for (uint32_t p = 0; p < k->n_parts; p++) n += k->parts[p].sets[LEFT]->rows.n + k->parts[p].sets[RIGHT]->rows.n;
    return n;
}

static void check(join_kind kind, join_range range, int64_t step, int64_t spread) {
    join_kept k;
    uint64_t random = (uint64_t)kind * 77 + (uint64_t)range.after, pairs = 0;
    int64_t now = -40 * step, out, told = WATERMARK_NONE;
    set_up(kind, range, &k);
    for (unsigned round = 0; round < 80; round++, now += step) {
        unsigned side = (unsigned)draw(&random) % 2;
        uint32_t n = (uint32_t)(draw(&random) % 40) + 1;
        pairs += take(&k, side, n, now, spread, &random);
        join_findings found = {0};
        MUST(join_kept_advance(&k, now, &found, &out, NULL));
        for (uint32_t i = 0; i < found.n; i++) assert_true(found.items[i].swept);
        assert_true(out >= told && out <= now);
        told = out;
        see(&k, &found);
    }
    assert_true(rows_kept(&k) < test.n[LEFT] + test.n[RIGHT] - 200);
    join_findings found = {0};
    MUST(join_kept_advance(&k, WATERMARK_END, &found, &out, NULL));
    see(&k, &found);
    if (!join_filters(&test.j)) assert_int_equal(test.pairs, pairs);
    for (unsigned s = 0; s < 2; s++)
        for (uint32_t i = 0; i < test.n[s]; i++) assert_int_equal(test.rows[s][i].out, comes_alone(s, &test.rows[s][i]));
    tear_down(&k);
}

static void all_kinds_as_lists_would(void **state) {
    for (int kind = JOIN_INNER; kind <= JOIN_ANTI; kind++) {
        check((join_kind)kind, (join_range){.before = 300, .after = 500}, 100, 700);
        check((join_kind)kind, (join_range){.before = 0, .after = 0}, 3, 8);
        check((join_kind)kind, (join_range){.before = 100000, .after = 0, .lateness = 100000}, 10000, 100000);
    }
}

/* A range as long as time itself, and times at its ends. */
static void extreme_times(void **state) {
    join_kept k;
    set_up(JOIN_LEFT, (join_range){.before = INT64_MAX / 8, .after = INT64_MAX / 8}, &k);
    assert_int_equal(join_kept_range(&k, LEFT, INT64_MIN + 5).low, INT64_MIN);
    assert_int_equal(join_kept_range(&k, RIGHT, INT64_MAX - 5).high, INT64_MAX);
    uint64_t random = 1;
    uint64_t pairs = take(&k, LEFT, 20, INT64_MAX - 8, 8, &random);
    pairs += take(&k, LEFT, 20, INT64_MIN, 8, &random);
    int64_t out;
    join_findings found = {0};
    MUST(join_kept_advance(&k, INT64_MAX - 1, &found, &out, NULL));
    see(&k, &found);
    MUST(join_kept_advance(&k, WATERMARK_END, &found, &out, NULL));
    see(&k, &found);
    assert_int_equal(test.alone, 40);
    assert_int_equal(pairs + test.pairs, 0);
    tear_down(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds_as_lists_would),
        cmocka_unit_test(extreme_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
