#include "base/memory.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
/* Under AddressSanitizer nothing is pooled: what is freed is uncharged at once. */
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define POOLED 0
#else
#define POOLED 1
#endif

#define MIB ((size_t)1 << 20)

static memory *memory_of(size_t bytes) {
    memory *m;
    assert_int_equal(memory_create(bytes, &m, NULL), TW_OK);
    return m;
}

static buffer *flow(memory *m, size_t bytes) {
    buffer *b;
    tw_error err;
    if (buffer_new(m, MEMORY_FLOW, bytes, &b, &err) != TW_OK) fail_msg("%zu: %s", bytes, err.message);
    return b;
}

static void sizes_are_aligned_apart_and_charged(void **state) {
    (void)state;
    memory *m = memory_of(1024 * MIB);
    enum { N = 600 };
    buffer *all[N];
    size_t sizes[N], n = 0, charged = 0;
    for (size_t bytes = 0; bytes < 24 * MIB && n + 3 <= N; bytes = bytes < 70 ? bytes + 1 : bytes + bytes / 16) {
        for (size_t d = 0; d < 3 && n < N; d++) {
            sizes[n] = bytes + d;
            all[n] = flow(m, sizes[n]);
            assert_int_equal((uintptr_t)all[n]->data % 64, 0);
            assert_int_equal(all[n]->size, sizes[n]);
            assert_true(all[n]->capacity >= sizes[n] + BUFFER_PADDING);
            if (sizes[n] > 65536) {
                assert_true(all[n]->capacity <= sizes[n] + sizes[n] / 8 + 8192);
                if (POOLED && sizes[n] >= 2 * MIB) assert_int_equal((uintptr_t)all[n]->data % (2 * MIB), 0);
            } else if (sizes[n] > 128) {
                assert_true(all[n]->capacity <= sizes[n] + sizes[n] / 2 + 256);
            }
            memset(all[n]->data, (int)(n * 7 & 255), sizes[n]);
            charged += all[n]->capacity;
            n++;
        }
    }
    assert_true(memory_used(m) >= charged);
    assert_true(memory_used(m) <= memory_limit(m));
    for (size_t i = 0; i < n; i++) {
        uint8_t sum = 0;
        for (size_t j = 0; j < sizes[i] + BUFFER_PADDING; j++) sum += all[i]->data[j]; /* readable */
        for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(all[i]->data[j], i * 7 & 255);
        all[i]->size += sum & 0;
    }
    assert_int_equal(memory_peak(m), memory_used(m));
    for (size_t i = 0; i < n; i++) buffer_unref(all[i]);
    memory_destroy(m);
}

/* Where nothing is pooled they are uncharged at once. */
static void freed_buffers_are_used_again(void **state) {
    (void)state;
    memory *m = memory_of(64 * MIB);
    static const size_t sizes[] = {1, 100, 8192, 65536, 131072, 1000000, 3 * MIB};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        buffer *a = flow(m, sizes[i]);
        size_t used = POOLED ? memory_used(m) : 0; /* the cache counts */
        buffer_unref(a);
        assert_int_equal(memory_used(m), used);
        for (int j = 0; j < 100; j++) {
            buffer *b = flow(m, sizes[i]), *c = sizes[i] < 60000 ? flow(m, sizes[i]) : NULL;
            assert_ptr_not_equal(b, c);
            buffer_unref(b);
            buffer_unref(c);
        }
        assert_int_equal(memory_used(m), used);
    }
    memory_destroy(m);
}

static void the_cache_goes_back_when_another_class_needs_it(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    /* Each size alone fills the limit: without giving back, the second would fail. */
    static const size_t sizes[] = {64, 3000, 60000, 200000, 3000000};
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t n = 12 * MIB / (sizes[i] + 320);
            buffer **all = malloc(n * sizeof *all);
            for (size_t j = 0; j < n; j++) all[j] = flow(m, sizes[i]);
            for (size_t j = 0; j < n; j++) buffer_unref(all[j]);
            free(all);
        }
    }
    assert_true(memory_peak(m) <= 16 * MIB);
    buffer *b = flow(m, 14 * MIB);
    buffer_unref(b);
    memory_destroy(m);
}

static void the_free_cache_is_bounded(void **state) {
    (void)state;
    memory *m = memory_of(64 * MIB);
    buffer *all[50];
    for (int i = 0; i < 50; i++) all[i] = flow(m, MIB);
    for (int i = 0; i < 50; i++) buffer_unref(all[i]);
    assert_true(memory_used(m) <= 64 * MIB / 4 + 4 * MIB);
    memory_destroy(m);
}

static void limits_hold(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    tw_error err;
    buffer *b, *all[64];
    size_t n = 0;
    assert_int_equal(buffer_new(m, MEMORY_FLOW, 16 * MIB, &b, &err), TW_ERR_MEMORY);
    assert_null(b);
    assert_non_null(strstr(err.message, "run.memory of 16 MiB is too small"));
    assert_int_equal(buffer_new(m, MEMORY_FLOW, SIZE_MAX, &b, &err), TW_ERR_MEMORY);
    assert_int_equal(buffer_new(m, MEMORY_FLOW, SIZE_MAX - 63, &b, NULL), TW_ERR_MEMORY);
    assert_null(buffer_try(m, SIZE_MAX));
    assert_null(buffer_try(m, 12 * MIB + 1));
    assert_int_equal(memory_state_left(m), 12 * MIB);

    while ((all[n] = buffer_try(m, 1000000))) n++;
    assert_int_equal(n, 12 * MIB / all[0]->capacity);
    assert_true(memory_state_left(m) < 1000000 + 2 * 65536 + 8192);
    assert_int_equal(buffer_new(m, MEMORY_STATE, 1000000, &b, NULL), TW_ERR_MEMORY);
    b = flow(m, 3 * MIB); /* flow may use the rest */
    assert_int_equal(buffer_new(m, MEMORY_FLOW, 2 * MIB, &all[n], NULL), TW_ERR_MEMORY);
    buffer_unref(all[--n]);
    assert_int_equal(buffer_new(m, MEMORY_STATE, 900000, &all[n], NULL), TW_OK);
    n++;
    while (n) buffer_unref(all[--n]);
    buffer_unref(b);
    assert_int_equal(memory_state_left(m), 12 * MIB);
    assert_true(memory_peak(m) <= 16 * MIB);
    memory_destroy(m);
}

static void state_is_bounded_by_what_flows(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    buffer *b = flow(m, 10 * MIB);
    assert_true(memory_state_left(m) <= 6 * MIB);
    assert_null(buffer_try(m, 7 * MIB));
    buffer *c = buffer_try(m, 5 * MIB);
    assert_non_null(c);
    buffer_unref(b);
    buffer_unref(c);
    memory_destroy(m);
}

static void count_release(void *context) { ++*(int *)context; }

static void wrapped_and_joined(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    int released = 0;
    static char bytes[] = "abc";
    buffer *w, *x, *j, *k;
    assert_int_equal(buffer_wrap(bytes, 3, count_release, &released, &w, NULL), TW_OK);
    assert_int_equal(memory_used(m), 0);
    assert_int_equal(buffer_join(NULL, 0, &j, NULL), TW_OK);
    assert_null(j);
    buffer *parts[] = {NULL, w, NULL, w};
    assert_int_equal(buffer_join(parts, 4, &j, NULL), TW_OK);
    assert_ptr_equal(j, w);
    assert_int_equal(atomic_load(&w->references), 2);
    buffer_unref(j);

    x = flow(m, 100);
    assert_int_equal(buffer_join((buffer *[]){x, w, x, NULL, w}, 5, &j, NULL), TW_OK);
    assert_int_equal(j->n_parts, 2);
    assert_int_equal(j->size, 103);
    assert_int_equal(buffer_join((buffer *[]){x, j, w}, 3, &k, NULL), TW_OK);
    assert_int_equal(k->n_parts, 2); /* taken apart */
    buffer_unref(x);
    buffer_unref(w);
    buffer_unref(j);
    assert_int_equal(released, 0);
    x->data[99] = 1; /* still alive */
    buffer_unref(k);
    assert_int_equal(released, 1);

    /* A long chain of joins: nested, and taken down without recursion. */
    assert_int_equal(buffer_wrap(bytes, 3, count_release, &released, &j, NULL), TW_OK);
    for (int i = 1; i < 50000; i++) {
        assert_int_equal(buffer_wrap(bytes, 3, count_release, &released, &w, NULL), TW_OK);
        assert_int_equal(buffer_join((buffer *[]){j, w}, 2, &k, NULL), TW_OK);
        buffer_unref(j);
        buffer_unref(w);
        j = k;
    }
    assert_int_equal(released, 1);
    buffer_unref(j);
    assert_int_equal(released, 50001);
    memory_destroy(m);
}

/* ---- spilling ---- */

typedef struct table {
    memory_spiller spiller;
    memory *memory;
    pthread_mutex_t lock;
    buffer *held[256];
    unsigned n, calls;
    bool stuck, broken;
} table;

static size_t table_spillable(void *self) {
    table *t = self;
    pthread_mutex_lock(&t->lock);
    size_t bytes = t->stuck || t->broken ? 1000 : 0;
    for (unsigned i = 0; i < t->n; i++) bytes += t->held[i]->capacity;
    pthread_mutex_unlock(&t->lock);
    return bytes;
}

static tw_status table_spill(void *self, size_t bytes, tw_error *err) {
    table *t = self;
    t->calls++;
    if (t->broken) return error_set(err, TW_ERR_IO, "no space left");
    if (t->stuck) return TW_OK;
    pthread_mutex_lock(&t->lock);
    for (size_t freed = 0; t->n && freed < bytes;) {
        freed += t->held[--t->n]->capacity;
        buffer_unref(t->held[t->n]);
    }
    pthread_mutex_unlock(&t->lock);
    return TW_OK;
}

static table *table_new(memory *m, unsigned n, size_t bytes) {
    table *t = calloc(1, sizeof *t);
    t->spiller = (memory_spiller){.spillable_bytes = table_spillable, .spill = table_spill, .self = t};
    t->memory = m;
    pthread_mutex_init(&t->lock, NULL);
    for (; t->n < n; t->n++) assert_non_null(t->held[t->n] = buffer_try(m, bytes));
    memory_register(m, &t->spiller);
    return t;
}

static void table_free(table *t) {
    memory_unregister(t->memory, &t->spiller);
    while (t->n) buffer_unref(t->held[--t->n]);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static void the_largest_spills_first(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    table *small = table_new(m, 2, MIB), *large = table_new(m, 8, MIB);
    assert_null(buffer_try(m, 3 * MIB));
    assert_int_equal(memory_make_room(m, 3 * MIB, NULL), TW_OK);
    assert_int_equal(small->n, 2);
    assert_true(large->n < 8 && large->n >= 4);
    buffer *b = buffer_try(m, 3 * MIB);
    assert_non_null(b);

    /* Flow makes them spill by itself, all if it must. */
    buffer *c = flow(m, 12 * MIB);
    assert_int_equal(small->n + large->n, 0);
    tw_error err;
    assert_int_equal(memory_make_room(m, 3 * MIB, &err), TW_ERR_MEMORY);
    assert_non_null(strstr(err.message, "run.memory of 16 MiB is too small"));
    buffer_unref(b);
    buffer_unref(c);
    assert_int_equal(memory_make_room(m, 13 * MIB, &err), TW_ERR_MEMORY); /* never */
    assert_int_equal(memory_make_room(m, SIZE_MAX, &err), TW_ERR_MEMORY);
    table_free(small);
    table_free(large);
    memory_destroy(m);
}

static void room_that_was_made_can_be_taken(void **state) {
    (void)state;
    memory *m = memory_of(8 * MIB);
    table *t = table_new(m, 0, 0);
    for (size_t bytes = 1; bytes < 5 * MIB; bytes += bytes / 2 + 1) {
        while (t->n < 256 && (t->held[t->n] = buffer_try(m, 30000))) t->n++;
        for (buffer *b = NULL; !b;) {
            assert_int_equal(memory_make_room(m, bytes, NULL), TW_OK);
            b = buffer_try(m, bytes);
            assert_non_null(b); /* nobody else is here */
            buffer_unref(b);
        }
    }
    table_free(t);
    memory_destroy(m);
}

static void spillers_that_do_not_help(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    table *t = table_new(m, 11, MIB);
    tw_error err;
    t->stuck = true;
    assert_int_equal(memory_make_room(m, 3 * MIB, &err), TW_ERR_MEMORY);
    assert_true(t->calls > 0 && t->calls < 10);
    t->broken = true;
    assert_int_equal(memory_make_room(m, 3 * MIB, &err), TW_ERR_IO);
    assert_string_equal(err.message, "no space left");
    table_free(t);
    memory_destroy(m);
}

/* What a spiller allocates never spills: it fails plainly, neither hangs nor calls itself. */
static tw_status greedy_spill(void *self, size_t bytes, tw_error *err) {
    table *t = self;
    buffer *b;
    t->calls++;
    assert_int_equal(buffer_new(t->memory, MEMORY_FLOW, 14 * MIB, &b, NULL), TW_ERR_MEMORY);
    assert_int_equal(memory_make_room(t->memory, 9 * MIB, NULL), TW_ERR_MEMORY);
    b = flow(t->memory, 2 * MIB); /* there is always some */
    buffer_unref(b);
    while (t->n) buffer_unref(t->held[--t->n]);
    return TW_OK;
}

static void no_spill_within_a_spill(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    table *t = table_new(m, 6, MIB), *other = table_new(m, 4, MIB);
    t->spiller.spill = greedy_spill;
    buffer *b = flow(m, 9 * MIB);
    assert_int_equal(t->calls, 1);
    assert_int_equal(other->calls, 0);
    buffer_unref(b);
    table_free(t);
    table_free(other);
    memory_destroy(m);
}

typedef struct slow_table {
    table table;
    atomic_int phase; /* 1: in spill, 2: may leave, 3: left */
} slow_table;

static size_t slow_spillable(void *self) { return atomic_load(&((slow_table *)self)->phase) ? 0 : 4 * MIB; }

static tw_status slow_spill(void *self, size_t bytes, tw_error *err) {
    slow_table *s = self;
    atomic_store(&s->phase, 1);
    while (atomic_load(&s->phase) != 2) usleep(1000);
    usleep(20000); /* long enough for a caller that does not wait to be seen */
    while (s->table.n) buffer_unref(s->table.held[--s->table.n]);
    atomic_store(&s->phase, 3);
    return TW_OK;
}

static void *make_room_for_4_mib(void *m) {
    return (void *)(uintptr_t)memory_make_room(m, 4 * MIB, NULL);
}

/* Who asks while another thread's spill runs waits for it, and so does who takes the spiller away. */
static void running_spills_are_waited_for(void **state) {
    (void)state;
    memory *m = memory_of(8 * MIB);
    slow_table s = {.table = {.memory = m}};
    s.table.spiller = (memory_spiller){.spillable_bytes = slow_spillable, .spill = slow_spill, .self = &s};
    for (; s.table.n < 5; s.table.n++) assert_non_null(s.table.held[s.table.n] = buffer_try(m, MIB));
    memory_register(m, &s.table.spiller);
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, make_room_for_4_mib, m);
    while (!atomic_load(&s.phase)) usleep(1000);
    pthread_create(&threads[1], NULL, make_room_for_4_mib, m);
    usleep(20000);
    assert_int_equal(atomic_load(&s.phase), 1);
    atomic_store(&s.phase, 2);
    memory_unregister(m, &s.table.spiller);
    assert_int_equal(atomic_load(&s.phase), 3);
    for (int i = 0; i < 2; i++) {
        void *status;
        pthread_join(threads[i], &status);
        assert_int_equal((uintptr_t)status, TW_OK);
    }
    memory_destroy(m);
}

/* ---- threads ---- */

enum { THREADS = 8, ROUNDS = 1500, HELD = 24 };

typedef struct worker {
    memory *memory;
    buffer *_Atomic *shared; /* slots through which buffers change threads */
    unsigned seed;
    size_t failures;
} worker;

static unsigned next_random(unsigned *seed) { return (*seed = *seed * 1664525u + 1013904223u) >> 8; }

static void *churn(void *argument) {
    worker *w = argument;
    buffer *held[HELD] = {0};
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned at = next_random(&w->seed) % HELD;
        if (held[at]) {
            uint8_t mark = held[at]->data[0];
            if (held[at]->data[held[at]->size - 1] != mark) w->failures++;
            held[at] = atomic_exchange(&w->shared[next_random(&w->seed) % 16], held[at]);
            buffer_unref(held[at]);
            held[at] = NULL;
        }
        size_t bytes = (size_t)1 << next_random(&w->seed) % 19;
        bytes += next_random(&w->seed) % bytes;
        buffer *b = NULL;
        if (next_random(&w->seed) % 4) {
            if (buffer_new(w->memory, MEMORY_FLOW, bytes, &b, NULL) != TW_OK) continue;
        } else if (!(b = buffer_try(w->memory, bytes))) {
            memory_make_room(w->memory, bytes, NULL);
            continue;
        }
        b->data[0] = b->data[bytes - 1] = (uint8_t)next_random(&w->seed);
        held[at] = b;
        buffer_unref(buffer_ref(b));
    }
    for (unsigned i = 0; i < HELD; i++) buffer_unref(held[i]);
    return NULL;
}

typedef struct owner {
    memory *memory;
    size_t failures;
} owner;

/* Fills a table of its own, spills with the others', and leaves, again and again. */
static void *own_table(void *argument) {
    owner *o = argument;
    for (int round = 0; round < 20; round++) {
        table *t = table_new(o->memory, 0, 0);
        for (int i = 0; i < 60; i++) {
            buffer *b = buffer_try(o->memory, 100000);
            if (!b) {
                tw_status s = memory_make_room(o->memory, 100000, NULL);
                if (s != TW_OK && s != TW_ERR_MEMORY) o->failures++;
                continue;
            }
            pthread_mutex_lock(&t->lock);
            t->held[t->n++] = b;
            pthread_mutex_unlock(&t->lock);
        }
        table_free(t);
    }
    return NULL;
}

static void threads_share_it(void **state) {
    (void)state;
    memory *m = memory_of(12 * MIB);
    buffer *_Atomic shared[16] = {NULL};
    worker workers[THREADS];
    owner owners[2] = {{.memory = m}, {.memory = m}};
    pthread_t threads[THREADS + 2];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (worker){.memory = m, .shared = shared, .seed = i + 1};
        pthread_create(&threads[i], NULL, churn, &workers[i]);
    }
    for (unsigned i = 0; i < 2; i++) pthread_create(&threads[THREADS + i], NULL, own_table, &owners[i]);
    for (unsigned i = 0; i < THREADS + 2; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < THREADS; i++) assert_int_equal(workers[i].failures, 0);
    assert_int_equal(owners[0].failures + owners[1].failures, 0);
    for (unsigned i = 0; i < 16; i++) buffer_unref(atomic_load(&shared[i]));
    assert_true(memory_peak(m) <= 12 * MIB);
    assert_int_equal(memory_state_left(m), 9 * MIB);
    buffer *b = flow(m, 10 * MIB); /* all of it comes back */
    buffer_unref(b);
    memory_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_aligned_apart_and_charged),
        cmocka_unit_test(freed_buffers_are_used_again),
        cmocka_unit_test(the_cache_goes_back_when_another_class_needs_it),
        cmocka_unit_test(the_free_cache_is_bounded),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(state_is_bounded_by_what_flows),
        cmocka_unit_test(wrapped_and_joined),
        cmocka_unit_test(the_largest_spills_first),
        cmocka_unit_test(room_that_was_made_can_be_taken),
        cmocka_unit_test(spillers_that_do_not_help),
        cmocka_unit_test(no_spill_within_a_spill),
        cmocka_unit_test(running_spills_are_waited_for),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
