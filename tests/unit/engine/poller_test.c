/* poller: wakes are neither lost nor doubled, descriptors tell once, what is removed tells no more. */
#include <assert.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/poller.h"

#define MUST(call) assert_int_equal(call, TW_OK)

static void note(void *context, uint32_t events) { atomic_fetch_add((atomic_uint *)context, 1); }

static void test_a_descriptor_tells_once(void **state) {
    poller *p;
    int ends[2];
    watch_id id;
    atomic_uint told = 0;
    MUST(poller_create(&p, NULL));
    assert_int_equal(pipe(ends), 0);
    MUST(poller_add(p, ends[0], EPOLLIN, note, &told, &id, NULL));
    assert_false(poller_wait(p, 0));
    assert_int_equal(told, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_false(poller_wait(p, UINT64_MAX));
    assert_int_equal(told, 1);
    assert_false(poller_wait(p, 0));
    assert_int_equal(told, 1);
    MUST(poller_rearm(p, id, EPOLLIN, NULL)); /* it is ready still */
    assert_false(poller_wait(p, 0));
    assert_int_equal(told, 2);
    MUST(poller_rearm(p, id, EPOLLIN, NULL));
    poller_remove(p, id);
    assert_false(poller_wait(p, 0));
    assert_int_equal(told, 2);
    MUST(poller_rearm(p, id, EPOLLIN, NULL)); /* of no use, and no harm */
    close(ends[0]);
    close(ends[1]);
    poller_free(p);
}

/* A slot that is used again does not hear of its first owner. */
static void test_ids_are_not_used_again(void **state) {
    poller *p;
    int ends[2];
    watch_id first, second;
    atomic_uint told[2] = {0};
    MUST(poller_create(&p, NULL));
    assert_int_equal(pipe(ends), 0);
    MUST(poller_add(p, ends[0], 0, note, &told[0], &first, NULL));
    poller_remove(p, first);
    MUST(poller_add(p, ends[0], 0, note, &told[1], &second, NULL));
    assert_true(first != second);
    MUST(poller_rearm(p, first, EPOLLIN, NULL));
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_false(poller_wait(p, 0));
    MUST(poller_rearm(p, second, EPOLLIN, NULL));
    assert_false(poller_wait(p, 0));
    assert_int_equal(told[0], 0);
    assert_int_equal(told[1], 1);
    poller_remove(p, second);
    close(ends[0]);
    close(ends[1]);
    poller_free(p);
}

static void test_times(void **state) {
    poller *p;
    MUST(poller_create(&p, NULL));
    uint64_t begin = clock_ns();
    assert_false(poller_wait(p, begin + 3000000));
    assert_true(clock_ns() >= begin + 3000000);
    assert_false(poller_wait(p, 1)); /* long over */
    poller_wake(p, 1);
    assert_false(poller_wait(p, 0)); /* takes no wake */
    assert_true(poller_wait(p, UINT64_MAX));
    poller_free(p);
}

enum { waiters = 4, wakes = 2000 };

typedef struct sleepers {
    poller *poller;
    atomic_uint taken;
} sleepers;

static void *sleep_until_all(void *context) {
    sleepers *s = context;
    while (atomic_load(&s->taken) < wakes)
        if (poller_wait(s->poller, clock_ns() + 50000000)) atomic_fetch_add(&s->taken, 1);
    return NULL;
}

static void test_every_wake_is_taken_once(void **state) {
    sleepers s = {0};
    pthread_t threads[waiters];
    MUST(poller_create(&s.poller, NULL));
    for (int i = 0; i < waiters; i++) assert_int_equal(pthread_create(&threads[i], NULL, sleep_until_all, &s), 0);
    for (int i = 0; i < wakes; i += 2) poller_wake(s.poller, 2);
    for (int i = 0; i < waiters; i++) pthread_join(threads[i], NULL);
    assert_int_equal(s.taken, wakes);
    poller_free(s.poller);
}

typedef struct remover {
    poller *poller;
    atomic_bool stop;
} remover;

static void *wait_on(void *context) {
    remover *r = context;
    while (!atomic_load(&r->stop)) poller_wait(r->poller, clock_ns() + 1000000);
    return NULL;
}

static void must_live(void *context, uint32_t events) { assert(*(atomic_bool *)context); }

/* Descriptors come and go while others wait: nobody is told about what is gone. */
static void test_removal_while_others_wait(void **state) {
    remover r = {0};
    pthread_t threads[2];
    MUST(poller_create(&r.poller, NULL));
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, wait_on, &r), 0);
    for (int i = 0; i < 2000; i++) {
        atomic_bool lives = true;
        int ends[2];
        watch_id id;
        assert_int_equal(pipe(ends), 0);
        MUST(poller_add(r.poller, ends[0], EPOLLIN, must_live, &lives, &id, NULL));
        assert_int_equal(write(ends[1], "x", 1), 1);
        if (i % 3 == 0) usleep(50);
        poller_remove(r.poller, id);
        atomic_store(&lives, false);
        close(ends[0]);
        close(ends[1]);
    }
    atomic_store(&r.stop, true);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    poller_free(r.poller);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_descriptor_tells_once), cmocka_unit_test(test_ids_are_not_used_again), cmocka_unit_test(test_times),
        cmocka_unit_test(test_every_wake_is_taken_once), cmocka_unit_test(test_removal_while_others_wait)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
