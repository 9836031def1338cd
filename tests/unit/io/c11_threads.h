/* c11_threads.h: librdkafka makes its threads and locks by the C library's thrd_create, mtx_lock and so on, which
 * the thread sanitizer of gcc 12 does not know: it crashes in such a thread. Here they are, as the pthread
 * functions that they are in glibc, for the one program that includes this. */
#ifndef TESTS_UNIT_IO_C11_THREADS_H
#define TESTS_UNIT_IO_C11_THREADS_H

#if defined(__SANITIZE_THREAD__)
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t) && sizeof(cnd_t) == sizeof(pthread_cond_t), "as in glibc");

#pragma GCC visibility push(default) /* found before the C library's */

typedef struct c11_start {
    thrd_start_t function;
    void *argument;
} c11_start;

static void *c11_run(void *context) {
    c11_start s = *(c11_start *)context;
    free(context);
    return (void *)(intptr_t)s.function(s.argument);
}

static int c11_result(int e) {
    return e == 0 ? thrd_success : e == ETIMEDOUT ? thrd_timedout : e == EBUSY ? thrd_busy : e == ENOMEM ? thrd_nomem : thrd_error;
}

int thrd_create(thrd_t *out, thrd_start_t function, void *argument) {
    c11_start *s = malloc(sizeof *s);
    if (!s) return thrd_nomem;
    *s = (c11_start){function, argument};
    return c11_result(pthread_create(out, NULL, c11_run, s));
}
int thrd_join(thrd_t t, int *out) {
    void *result;
    int e = pthread_join(t, &result);
    if (e == 0 && out) *out = (int)(intptr_t)result;
    return c11_result(e);
}
int thrd_detach(thrd_t t) { return c11_result(pthread_detach(t)); }

int mtx_init(mtx_t *m, int kind) {
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    if (kind & mtx_recursive) pthread_mutexattr_settype(&how, PTHREAD_MUTEX_RECURSIVE);
    int e = pthread_mutex_init((pthread_mutex_t *)m, &how);
    pthread_mutexattr_destroy(&how);
    return c11_result(e);
}
void mtx_destroy(mtx_t *m) { pthread_mutex_destroy((pthread_mutex_t *)m); }
int mtx_lock(mtx_t *m) { return c11_result(pthread_mutex_lock((pthread_mutex_t *)m)); }
int mtx_trylock(mtx_t *m) { return c11_result(pthread_mutex_trylock((pthread_mutex_t *)m)); }
int mtx_unlock(mtx_t *m) { return c11_result(pthread_mutex_unlock((pthread_mutex_t *)m)); }

int cnd_init(cnd_t *c) { return c11_result(pthread_cond_init((pthread_cond_t *)c, NULL)); }
void cnd_destroy(cnd_t *c) { pthread_cond_destroy((pthread_cond_t *)c); }
int cnd_signal(cnd_t *c) { return c11_result(pthread_cond_signal((pthread_cond_t *)c)); }
int cnd_broadcast(cnd_t *c) { return c11_result(pthread_cond_broadcast((pthread_cond_t *)c)); }
int cnd_wait(cnd_t *c, mtx_t *m) { return c11_result(pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m)); }
int cnd_timedwait(cnd_t *c, mtx_t *m, const struct timespec *until) {
    return c11_result(pthread_cond_timedwait((pthread_cond_t *)c, (pthread_mutex_t *)m, until));
}
/* librdkafka counts references by atomics that the sanitizer does not see: what the last holder frees seems to race
 * with those who let go before. Whatever has a frame of it is left out; races among our own frames are told. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) { return "race:librdkafka.so.1\n"; }

#pragma GCC visibility pop
#endif

#endif
