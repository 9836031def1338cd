/* seeds.h: what a simulation draws from its seed, and the test over many of them. FAULT_SEED=N runs one again, FAULT_SEEDS=N
 * so many. */
#ifndef TESTS_SIM_SEEDS_H
#define TESTS_SIM_SEEDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "unit/sim/faults.h"

static uint64_t seed_state;

static void seed_begin(uint64_t seed) { seed_state = seed * 0x2545f4914f6cdd1dull; }

/* One of 0 to n - 1. */
static uint32_t pick(uint32_t n) { return (uint32_t)(fault_mix(seed_state += 0x9e3779b97f4a7c15ull) % n); }

/* `try_one` says on standard error what went wrong, and returns false; the fifth failure is the last. */
static void try_seeds(bool (*try_one)(uint64_t seed), uint64_t usual) {
    const char *one = getenv("FAULT_SEED"), *many = getenv("FAULT_SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1, n = one ? 1 : many ? strtoull(many, NULL, 10) : usual;
    unsigned failed = 0;
    for (uint64_t seed = first; seed < first + n && failed < 5; seed++) failed += !try_one(seed);
    assert_int_equal(failed, 0);
}

#endif
