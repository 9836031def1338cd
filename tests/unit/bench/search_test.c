/* The search and the judgement together, against engines of a known capacity. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bench/search.h"
#include "bench/trial.h"

typedef struct engine {
    double capacity, generator; /* what the generator can send by itself */
    double noise;               /* seconds of lateness that come and go */
    uint64_t random;
    bool tells;                 /* how much it delivered */
} engine;

static double uniform(engine *e) {
    e->random ^= e->random << 13, e->random ^= e->random >> 7, e->random ^= e->random << 17;
    return (double)(e->random >> 11) * 0x1p-53;
}

/* What a trial of `seconds` at a rate shows: what exceeds the capacity waits, and waits longer and longer. */
static trial_report try_rate(engine *e, double rate, double seconds) {
    double taken = rate < e->generator ? rate : e->generator, noise = e->noise * uniform(e);
    double late = taken > e->capacity ? (taken / e->capacity - 1) * seconds : 0;
    double own = rate > e->generator ? (rate / e->generator - 1) * seconds : 0;
    return (trial_report){.measured = seconds, .offered = rate, .delivered = e->tells ? fmin(taken, e->capacity) : 0, .marks = 1000, .p50 = 0.001 + late / 2, .p99 = 0.002 + late + noise,
                          .growth = late + noise, .lag = own, .lag_growth = own, .busy = own > 0 ? 1 : 0.2, .drained = 1};
}

static double find(engine *e, double from, double precision, unsigned *trials, verdict *last_failed) {
    const trial_limits limits = {.latency = 1, .keep = 0.98};
    search s = search_from(from, precision);
    *last_failed = VERDICT_SUSTAINED;
    for (bool more = true; more;) {
        char why[128];
        trial_report r = try_rate(e, s.rate, 2);
        verdict v = trial_judge(&r, &limits, why);
        assert_true(strlen(why) > 0);
        if (v != VERDICT_SUSTAINED) *last_failed = v;
        more = search_tell(&s, v == VERDICT_SUSTAINED ? SEARCH_SUSTAINED : v == VERDICT_ENGINE ? SEARCH_FAILED : SEARCH_FAILED_NARROWLY, r.delivered);
    }
    *trials = s.trials;
    return s.sustained;
}

static void finds_the_capacity(void **state) {
    const double capacities[] = {1.7, 980, 31e3, 12.3e6}, starts[] = {0.01, 0.5, 1, 3, 40, 900};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 6; k++) {
            engine e = {.capacity = capacities[i], .generator = 1e12, .random = 7, .tells = k > 3};
            unsigned trials;
            verdict last;
            double found = find(&e, capacities[i] * starts[k], 0.03, &trials, &last);
            /* Two in a hundred more than it can do is not told from keeping up. */
            assert_true(found > capacities[i] * 0.96 && found < capacities[i] * 1.0201);
            assert_true(trials < 25);
        }
}

static void noise_seldom_decides(void **state) {
    enum { SEEDS = 400 };
    unsigned right = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        /* Beyond the limit in one trial of nine, and so twice running in one of eighty. */
        engine e = {.capacity = 1000, .generator = 1e12, .noise = 0.045, .random = seed * 2654435761u};
        unsigned trials;
        verdict last;
        double found = find(&e, 500, 0.05, &trials, &last);
        assert_true(found < 1021);
        right += found > 930;
    }
    assert_true(right > SEEDS * 85 / 100);
}

static void a_slow_generator_is_told(void **state) {
    engine e = {.capacity = 1e6, .generator = 5000, .random = 7};
    unsigned trials;
    verdict last;
    double found = find(&e, 1000, 0.03, &trials, &last);
    assert_int_equal(last, VERDICT_GENERATOR);
    assert_true(found > 4800 && found < 5101);
}

static void lag_is_whose_it_is(void **state) {
    const trial_limits limits = {.latency = 1, .keep = 0.98};
    char why[128];
    trial_report r = {.measured = 2, .marks = 100, .lag = 0.5, .lag_growth = 0.4, .blocked = 0.6, .busy = 0.3};
    assert_int_equal(trial_judge(&r, &limits, why), VERDICT_ENGINE); /* its peer took nothing */
    r.blocked = 0.1;
    assert_int_equal(trial_judge(&r, &limits, why), VERDICT_GENERATOR);
    r.blocked = 0.6, r.busy = 0.99;
    assert_int_equal(trial_judge(&r, &limits, why), VERDICT_GENERATOR);
    r = (trial_report){.measured = 2, .marks = 100, .p99 = 1.1};
    assert_int_equal(trial_judge(&r, &limits, why), VERDICT_ENGINE_NARROW);
    r = (trial_report){.measured = 2, .marks = 100, .missing = 50};
    assert_int_equal(trial_judge(&r, &limits, why), VERDICT_ENGINE);
    r = (trial_report){.measured = 2, .marks = 100, .growth = 0.039};
    assert_int_equal(trial_judge(&r, &limits, why), VERDICT_SUSTAINED);
}

static void nothing_is_found_where_nothing_works(void **state) {
    engine e = {.capacity = 1e-9, .generator = 1e12, .random = 7};
    unsigned trials;
    verdict last;
    assert_true(find(&e, 1000, 0.05, &trials, &last) == 0);
    assert_true(trials < SEARCH_TRIALS_MAX);
}

static void lines_hold_what_was_written(void **state) {
    trial t = {.mode = LOAD_BURST, .rate = 12345.678, .burst = 9, .in_flight = 3, .warmup_ns = 1, .measured_ns = 2, .give_up_ns = 3, .work_ns = 4}, back;
    trial_report r = {.wall = 1.5, .most = 3e-9, .drained = 1, .delivered = 1.25e7}, read;
    struct text text = {0}, again = {0};
    trial_write(&t, &text);
    assert_true(trial_read(text_string(&text), &back));
    trial_write(&back, &again);
    assert_string_equal(text_string(&text), text_string(&again));
    assert_int_equal(back.work_ns, 4);
    text_truncate(&text, 0);
    trial_report_write(&r, &text);
    assert_true(trial_report_read(text_string(&text), &read));
    assert_true(read.wall == r.wall && read.most == r.most && read.drained == 1 && read.delivered == r.delivered);
    const char *const wrong[] = {"", "0 0 1 1 1 1 1 1", "9 5 1 1 1 1 1 1", "0 5 1 1 1 0 1 1", "1 5 0 1 1 1 1 1", "2 5 1 0 1 1 1 1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(trial_read(wrong[i], &back));
    assert_false(trial_report_read("1 2 3", &read));
    text_free(&text);
    text_free(&again);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_capacity),       cmocka_unit_test(noise_seldom_decides),
        cmocka_unit_test(a_slow_generator_is_told), cmocka_unit_test(lag_is_whose_it_is),
        cmocka_unit_test(nothing_is_found_where_nothing_works), cmocka_unit_test(lines_hold_what_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
