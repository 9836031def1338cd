#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "unit/engine/fakes.h"

/* Items know where they belong: input, split, number within the split. */
typedef struct item {
    uint32_t input, number;
    uint64_t split;
    bool placed;
} item;

typedef struct world {
    run_context run;
    sequencer *s;
    atomic_uint wakes, placed, worked, dropped, alive;
    item last;
    bool placing;
    unsigned fail_at; /* this many items are placed before it fails; UINT32_MAX: all */
    tw_status failure;
    bool takes_over;  /* place takes the items over: there is no work */
    unsigned slow_us;
} world;

static void woken(void *engine) { atomic_fetch_add(&((world *)engine)->wakes, 1); }

static bool before(const item *a, const item *b) {
    if (a->input != b->input) return a->input < b->input;
    if (a->split != b->split) return a->split < b->split;
    return a->number < b->number;
}

static void item_free(world *w, item *i) {
    atomic_fetch_sub(&w->alive, 1);
    free(i);
}

static tw_status place(void *context, void *it, tw_error *err) {
    world *w = context;
    item *i = it;
    HOLDS(!w->placing && !i->placed);
    w->placing = true;
    if (w->placed == w->fail_at) {
        w->placing = false;
        return error_set(err, w->failure, "no place");
    }
    if (w->placed) HOLDS(before(&w->last, i));
    w->last = *i;
    i->placed = true;
    atomic_fetch_add(&w->placed, 1);
    w->placing = false;
    if (w->takes_over) item_free(w, i);
    return TW_OK;
}
static tw_status work(void *context, void *it, tw_error *err) {
    world *w = context;
    HOLDS(((item *)it)->placed);
    if (w->slow_us) sleep_us(w->slow_us);
    atomic_fetch_add(&w->worked, 1);
    item_free(w, it);
    return TW_OK;
}
static void drop(void *context, void *it) {
    world *w = context;
    atomic_fetch_add(&w->dropped, 1);
    item_free(w, it);
}

static void set_up(world *w, uint32_t n_inputs, size_t bytes_max) {
    bool takes_over = w->takes_over;
    *w = (world){.fail_at = UINT32_MAX, .takes_over = takes_over};
    w->run.wake = woken;
    w->run.engine = w;
    sequencer_callbacks c = {.place = place, .work = takes_over ? NULL : work, .drop = drop, .context = w};
    MUST(sequencer_create(&w->run, n_inputs, ROW_ORDER_ALL, bytes_max, c, &w->s, NULL));
}

static tw_status push(world *w, uint32_t input, uint64_t split, uint32_t number, size_t bytes) {
    item *i = malloc(sizeof *i);
    *i = (item){input, number, split, false};
    atomic_fetch_add(&w->alive, 1);
    return sequencer_push(w->s, &(batch_order){input, split, 0}, i, bytes, NULL);
}
static tw_status end_split(world *w, uint32_t input, uint64_t split) {
    return sequencer_end_split(w->s, &(batch_order){input, split, 0}, NULL);
}

static void test_rows_come_in_order(void **state) {
    world w = {0};
    set_up(&w, 2, 1000);
    MUST(push(&w, 1, 0, 0, 10));
    MUST(push(&w, 0, 1, 0, 10));
    MUST(end_split(&w, 0, 1));
    assert_int_equal(w.placed, 0);
    MUST(push(&w, 0, 0, 0, 10));
    assert_int_equal(w.worked, 1); /* the head needs not wait for its end */
    MUST(push(&w, 0, 0, 1, 10));
    MUST(end_split(&w, 0, 0));
    assert_int_equal(w.worked, 3);
    MUST(push(&w, 0, 2, 0, 10));
    MUST(end_split(&w, 0, 2));
    assert_int_equal(w.worked, 4);
    MUST(sequencer_end_input(w.s, 0, 3, NULL));
    assert_int_equal(w.worked, 5);
    MUST(end_split(&w, 1, 0));
    MUST(sequencer_end_input(w.s, 1, 1, NULL));
    sequencer_free(w.s);
    assert_int_equal(w.alive, 0);
    assert_int_equal(w.dropped, 0);
}

static void test_empty_inputs_are_passed(void **state) {
    world w = {0};
    set_up(&w, 4, 1000);
    MUST(push(&w, 3, 0, 0, 1));
    MUST(sequencer_end_input(w.s, 1, 0, NULL));
    MUST(sequencer_end_input(w.s, 2, 0, NULL));
    assert_int_equal(w.placed, 0);
    MUST(end_split(&w, 0, 0));
    MUST(sequencer_end_input(w.s, 0, 1, NULL));
    assert_int_equal(w.placed, 1);
    sequencer_free(w.s);
    assert_int_equal(w.alive, 0);
}

static void test_what_is_pending_is_bounded(void **state) {
    world w = {0};
    set_up(&w, 1, 100);
    assert_true(sequencer_ready(w.s, &(batch_order){0, 5, 0}));
    MUST(push(&w, 0, 5, 0, 60));
    assert_true(sequencer_ready(w.s, &(batch_order){0, 5, 0}));
    MUST(push(&w, 0, 5, 1, 60));
    unsigned wakes = w.wakes;
    assert_false(sequencer_ready(w.s, &(batch_order){0, 5, 0}));
    assert_false(sequencer_ready(w.s, &(batch_order){0, 6, 0}));
    assert_true(sequencer_ready(w.s, &(batch_order){0, 0, 0})); /* the head always may */
    MUST(push(&w, 0, 0, 0, 1000));
    assert_int_equal(w.wakes, wakes); /* nothing has changed for who was refused */
    MUST(end_split(&w, 0, 0));
    assert_true(w.wakes > wakes); /* split 1 may now: whoever has it was refused */
    assert_true(sequencer_ready(w.s, &(batch_order){0, 1, 0}));
    for (uint64_t i = 1; i < 5; i++) MUST(end_split(&w, 0, i));
    assert_int_equal(w.worked, 3);
    assert_true(sequencer_ready(w.s, &(batch_order){0, 9, 0}));
    sequencer_free(w.s);
    assert_int_equal(w.alive, 0);
}

static void test_what_is_left_is_dropped(void **state) {
    for (int takes = 0; takes < 2; takes++) {
        world w = {.takes_over = takes};
        set_up(&w, 2, 1 << 20);
        for (uint64_t i = 1; i < 500; i++) MUST(push(&w, (uint32_t)(i & 1), i, 0, 1));
        sequencer_free(w.s);
        assert_int_equal(w.dropped, 499);
        assert_int_equal(w.alive, 0);
    }
    sequencer_free(NULL);
}

/* Whoever owns an item after a failure, it is freed once. */
static void test_a_place_that_fails(void **state) {
    for (int takes = 0; takes < 2; takes++)
        for (unsigned at = 0; at < 4; at++) {
            world w = {.takes_over = takes};
            set_up(&w, 1, 1 << 20);
            w.fail_at = at;
            w.failure = at & 1 ? TW_ERR_MEMORY : TW_ERR_IO;
            for (uint32_t i = 0; i < 3; i++) MUST(push(&w, 0, 1, i, 1));
            MUST(end_split(&w, 0, 1));
            tw_status status = push(&w, 0, 0, 0, 1);
            if (status == TW_OK) status = end_split(&w, 0, 0);
            /* never TW_ERR_MEMORY: the caller would push again what was taken */
            assert_int_equal(status, at & 1 ? TW_ERR_INTERNAL : TW_ERR_IO);
            sequencer_free(w.s);
            assert_int_equal(w.alive, 0);
        }
}

/* ---- threads, each with a split of every input, which turn to another when they are refused ---- */

enum { THREADS = 6, INPUTS_MAX = 4 };

typedef struct shared {
    world w;
    uint64_t seed;
    uint32_t n_inputs;
    uint64_t n_splits[INPUTS_MAX];
    atomic_ullong next[INPUTS_MAX];
    atomic_uint splits_left[INPUTS_MAX];
    atomic_uint pushed;
    pthread_mutex_t lock;
} shared;

typedef struct holding {
    uint64_t split;
    uint32_t number, n;
    bool open, over;
} holding;

static void turn(shared *h, uint32_t input, holding *o, uint64_t *seed) {
    if (!o->open) {
        *o = (holding){.split = atomic_fetch_add(&h->next[input], 1), .n = draw_below(seed, 6), .open = true};
        o->over = o->split >= h->n_splits[input];
        return;
    }
    batch_order order = {input, o->split, 0};
    if (o->number < o->n) {
        if (!sequencer_ready(h->w.s, &order)) return;
        atomic_fetch_add(&h->pushed, 1);
        MUST(push(&h->w, input, o->split, o->number++, draw_below(seed, 300)));
        return;
    }
    MUST(sequencer_end_split(h->w.s, &order, NULL));
    o->open = false;
    if (atomic_fetch_sub(&h->splits_left[input], 1) == 1) MUST(sequencer_end_input(h->w.s, input, h->n_splits[input], NULL));
}

static void *pusher(void *context) {
    shared *h = context;
    pthread_mutex_lock(&h->lock);
    uint64_t seed = draw(&h->seed);
    pthread_mutex_unlock(&h->lock);
    holding held[INPUTS_MAX] = {0};
    for (uint32_t left = h->n_inputs; left;) {
        left = 0;
        for (uint32_t i = 0; i < h->n_inputs; i++) {
            for (uint32_t n = draw_below(&seed, 9); n && !held[i].over; n--) turn(h, i, &held[i], &seed);
            left += !held[i].over;
        }
    }
    return NULL;
}

static void test_many_threads(void **state) {
    for (uint64_t seed = 1; seed <= 30; seed++) {
        shared h = {.seed = seed, .lock = PTHREAD_MUTEX_INITIALIZER};
        h.w.takes_over = seed & 1;
        h.n_inputs = 1 + draw_below(&h.seed, INPUTS_MAX);
        set_up(&h.w, h.n_inputs, draw_below(&h.seed, 2000));
        h.w.slow_us = draw_below(&h.seed, 2) * 5;
        for (uint32_t i = 0; i < h.n_inputs; i++) {
            h.n_splits[i] = draw_below(&h.seed, 200);
            h.splits_left[i] = (unsigned)h.n_splits[i];
            if (!h.n_splits[i]) MUST(sequencer_end_input(h.w.s, i, 0, NULL));
        }
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, pusher, &h), 0);
        for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
        if (h.w.placed != h.pushed || h.w.alive) fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        assert_int_equal(h.w.placed, h.pushed);
        assert_int_equal(h.w.alive, 0);
        assert_int_equal(h.w.worked, h.w.takes_over ? 0 : h.pushed);
        sequencer_free(h.w.s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_come_in_order),
        cmocka_unit_test(test_empty_inputs_are_passed),
        cmocka_unit_test(test_what_is_pending_is_bounded),
        cmocka_unit_test(test_what_is_left_is_dropped),
        cmocka_unit_test(test_a_place_that_fails),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
