/* Every allocation of a job's plan and run fails once: the run ends with TW_ERR_MEMORY or, where a call is
 * repeated, with all rows; nothing is left behind. Threads that cannot be started, too. The sanitizers bring
 * their own malloc, so this runs without them. */
#include "unit/failing_malloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#ifdef NO_FAILING_MALLOC
int main(void) { return 0; }
#else

#include <dlfcn.h>

#define FAKE_CALLOC __libc_calloc
#define FAKE_REALLOC __libc_realloc
#define FAKE_FREE __libc_free
#include "unit/engine/fakes.h"

static int threads_left = -1; /* that can be started; below 0: all */

typedef int create_thread(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
EVERYWHERE int pthread_create(pthread_t *out, const pthread_attr_t *attributes, void *(*work)(void *), void *context) {
    if (threads_left == 0) return EAGAIN;
    if (threads_left > 0) threads_left--;
    create_thread *real;
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(out, attributes, work, context);
}

static const char *const jobs[] = {
    "source: {numbers: {splits: 3, batches: 2, rows: 5}}\nsteps: [{alter: {times: 2}}]\nsink: {record: {all: true}}\n",
    "source: {numbers: {splits: 3, batches: 2, rows: 5}}\nsteps: [gather, {alter: {costly: true, rows_max: 2}}, {limit: 17}]\n"
    "sink: {record: {}}\n",
    "flows:\n  a: {source: {numbers: {splits: 3, batches: 2, rows: 5}}, steps: [{bound: {}}]}\n"
    "  b: {source: {flow: a}, steps: [{beside: {with: a, rest: 3}}, {union: [a]}], sink: {record: {all: true}}}\n"
    "run: {workers: {bound: 1}}\n",
};
static const size_t rows[] = {60, 17, 63};

static tw_status run_with_failure(const char *text, uint32_t parallelism, long at) {
    long blocks_before = live_blocks;
    int live_before = live;
    slots_clear();
    call_failed = false;
    calls_left = at;
    fake_run f;
    tw_status status = fake_plan(&f, text);
    if (status == TW_OK) {
        run_options o = {.parallelism = parallelism, .memory_bytes = (size_t)64 << 20, .batch_rows = 10};
        status = run_start(f.plan, &o, &f.run, &f.error);
        if (status != TW_OK) f.run = NULL;
        else status = fake_wait(&f, text);
    }
    fake_end(&f);
    calls_left = -1;
    HOLDS(live == live_before);
    /* What is made once in a process came with the first run; libc keeps what it needs for more threads. */
    if (parallelism == 1 && at >= 0) HOLDS(live_blocks == blocks_before);
    return status;
}

static void test_each_allocation_fails(void **state) {
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        MUST(run_with_failure(jobs[i], 1, -1));
        long at = 0, refused = 0;
        for (bool more = true; more; at++) {
            tw_status status = run_with_failure(jobs[i], 1, at);
            more = call_failed;
            if (status == TW_OK) HOLDS(slots[0].n == rows[i] && slots[0].committed == 1);
            else HOLDS(call_failed && slots[0].committed == 0 && (status == TW_ERR_MEMORY || status == TW_ERR_IO));
            refused += status != TW_OK;
        }
        assert_true(at > 100 && refused > 50);
    }
}

static void test_each_allocation_fails_among_threads(void **state) {
    for (long at = 0; at < 300; at++) {
        tw_status status = run_with_failure(jobs[at % 3], 3, at);
        if (status == TW_OK) HOLDS(slots[0].n == rows[at % 3]);
    }
}

static void test_threads_that_cannot_be_started(void **state) {
    for (int n = 0; n < 4; n++) {
        threads_left = n;
        tw_status status = run_with_failure(jobs[0], 4, -1);
        threads_left = -1;
        assert_int_equal(status, n ? TW_OK : TW_ERR_IO);
        assert_int_equal(slots[0].n, n ? rows[0] : 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_fails),
        cmocka_unit_test(test_each_allocation_fails_among_threads),
        cmocka_unit_test(test_threads_that_cannot_be_started),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
