#include "io/harmonicio_outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

#define BYTES_MAX ((size_t)4 << 20)

tw_status outbox_start(outbox *o, run_context *run, tw_error *err) {
    *o = (outbox){.run = run, .last = &o->first};
    size_t most = memory_limit(run->memory) / 16;
    o->bytes_max = most < BYTES_MAX ? most : BYTES_MAX;
    pthread_mutex_init(&o->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&o->more, &monotonic);
    pthread_condattr_destroy(&monotonic);
    o->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return o->bell < 0 ? error_io(err, errno, "harmonicio: cannot make a descriptor") : TW_OK;
}

void outbox_clear(outbox *o) {
    if (!o->run) return;
    parcels_free(o->first);
    if (o->bell >= 0) close(o->bell);
    pthread_cond_destroy(&o->more);
    pthread_mutex_destroy(&o->lock);
    o->run = NULL;
}

bool outbox_ready(outbox *o) {
    pthread_mutex_lock(&o->lock);
    bool ready = o->bytes < o->bytes_max || o->error.code;
    o->refused |= !ready;
    pthread_mutex_unlock(&o->lock);
    return ready;
}

void outbox_put(outbox *o, parcel *list) {
    if (!list) return;
    uint64_t one = 1;
    pthread_mutex_lock(&o->lock);
    *o->last = list;
    for (parcel *p = list; p; p = p->next) {
        o->bytes += parcel_bytes(p);
        o->n++;
        o->last = &p->next;
    }
    pthread_cond_broadcast(&o->more);
    pthread_mutex_unlock(&o->lock);
    if (write(o->bell, &one, sizeof one) < 0) { /* it rings already */
    }
}

parcel *outbox_take(outbox *o, unsigned wait_ms) {
    uint64_t until = clock_ns() + wait_ms * UINT64_C(1000000);
    struct timespec t = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    pthread_mutex_lock(&o->lock);
    while (!o->first && wait_ms && pthread_cond_timedwait(&o->more, &o->lock, &t) == 0) {}
    parcel *p = o->first;
    if (p) {
        o->first = p->next;
        if (!o->first) o->last = &o->first;
        p->next = NULL;
        o->n--;
        o->taken++;
    }
    pthread_mutex_unlock(&o->lock);
    return p;
}

void outbox_done(outbox *o, parcel *p) {
    pthread_mutex_lock(&o->lock);
    o->bytes -= parcel_bytes(p);
    o->taken--;
    bool wake = o->refused && o->bytes < o->bytes_max;
    if (wake) o->refused = false;
    pthread_mutex_unlock(&o->lock);
    atomic_fetch_add(&o->run->rows_out, p->rows);
    parcel_unref(p);
    if (wake) run_wake(o->run);
}

void outbox_give_back(outbox *o, parcel *p) {
    pthread_mutex_lock(&o->lock);
    p->next = o->first;
    if (!o->first) o->last = &p->next;
    o->first = p;
    o->n++;
    o->taken--;
    pthread_cond_signal(&o->more);
    pthread_mutex_unlock(&o->lock);
}

size_t outbox_waiting(outbox *o) {
    pthread_mutex_lock(&o->lock);
    size_t n = o->n;
    pthread_mutex_unlock(&o->lock);
    return n;
}

void outbox_fail(outbox *o, const tw_error *why) {
    pthread_mutex_lock(&o->lock);
    if (!o->error.code) o->error = *why;
    pthread_mutex_unlock(&o->lock);
    run_wake(o->run);
}

tw_status outbox_check(outbox *o, tw_error *err) {
    pthread_mutex_lock(&o->lock);
    tw_status status = o->error.code;
    if (status != TW_OK && err) *err = o->error;
    pthread_mutex_unlock(&o->lock);
    return status;
}

bool outbox_empty(outbox *o) {
    pthread_mutex_lock(&o->lock);
    bool empty = !o->first && !o->taken;
    pthread_mutex_unlock(&o->lock);
    return empty;
}
