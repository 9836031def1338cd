#include "engine/poller.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

enum { EVENTS_AT_ONCE = 32, SLOTS_MIN = 16 };

/* An id is a slot's number and how often it was used: an event that was under way when its watch was
 * removed finds another generation, and is dropped. */
typedef struct slot {
    int fd; /* -1: free */
    uint32_t generation;
    watch_ready ready;
    void *context;
} slot;

struct poller {
    int epoll, wakes;
    pthread_rwlock_t lock; /* read: events are told; write: slots change */
    slot *slots;
    uint32_t n, capacity;
};

static watch_id id_of(const poller *p, uint32_t i) { return (uint64_t)p->slots[i].generation << 32 | (i + 1); }

static slot *slot_of(poller *p, watch_id id) {
    uint32_t i = (uint32_t)id - 1;
    return i < p->n && p->slots[i].fd >= 0 && id_of(p, i) == id ? &p->slots[i] : NULL;
}

tw_status poller_create(poller **out, tw_error *err) {
    poller *p = calloc(1, sizeof *p);
    if (!p) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->wakes = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    struct epoll_event wake = {.events = EPOLLIN};
    if (p->epoll < 0 || p->wakes < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->wakes, &wake) != 0) {
        tw_status status = error_io(err, errno, "cannot wait for events");
        if (p->epoll >= 0) close(p->epoll);
        if (p->wakes >= 0) close(p->wakes);
        free(p);
        return status;
    }
    pthread_rwlock_init(&p->lock, NULL);
    *out = p;
    return TW_OK;
}

void poller_free(poller *p) {
    if (!p) return;
    close(p->epoll);
    close(p->wakes);
    pthread_rwlock_destroy(&p->lock);
    free(p->slots);
    free(p);
}

/* With the lock for writing. */
static slot *free_slot(poller *p) {
    for (uint32_t i = 0; i < p->n; i++)
        if (p->slots[i].fd < 0) return &p->slots[i];
    if (p->n == p->capacity) {
        uint32_t capacity = p->capacity ? 2 * p->capacity : SLOTS_MIN;
        slot *bigger = realloc(p->slots, capacity * sizeof *bigger);
        if (!bigger) return NULL;
        p->slots = bigger;
        p->capacity = capacity;
    }
    p->slots[p->n] = (slot){.fd = -1};
    return &p->slots[p->n++];
}

tw_status poller_add(poller *p, int fd, uint32_t events, watch_ready ready, void *context, watch_id *out, tw_error *err) {
    *out = 0;
    pthread_rwlock_wrlock(&p->lock);
    slot *s = free_slot(p);
    tw_status status = s ? TW_OK : error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    if (s) {
        *s = (slot){.fd = fd, .generation = s->generation + 1, .ready = ready, .context = context};
        watch_id id = id_of(p, (uint32_t)(s - p->slots));
        struct epoll_event e = {.events = events | EPOLLONESHOT, .data.u64 = id};
        *out = id; /* before events come */
        if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &e) != 0) {
            status = error_io(err, errno, "cannot watch a descriptor");
            s->fd = -1;
            *out = 0;
        }
    }
    pthread_rwlock_unlock(&p->lock);
    return status;
}

tw_status poller_rearm(poller *p, watch_id id, uint32_t events, tw_error *err) {
    pthread_rwlock_rdlock(&p->lock);
    slot *s = slot_of(p, id);
    struct epoll_event e = {.events = events | EPOLLONESHOT, .data.u64 = id};
    int failed = s && epoll_ctl(p->epoll, EPOLL_CTL_MOD, s->fd, &e) != 0 ? errno : 0;
    pthread_rwlock_unlock(&p->lock);
    return failed ? error_io(err, failed, "cannot watch a descriptor") : TW_OK;
}

void poller_remove(poller *p, watch_id id) {
    if (!id) return;
    pthread_rwlock_wrlock(&p->lock);
    slot *s = slot_of(p, id);
    if (s) {
        epoll_ctl(p->epoll, EPOLL_CTL_DEL, s->fd, NULL);
        s->fd = -1;
    }
    pthread_rwlock_unlock(&p->lock);
}

void poller_wake(poller *p, unsigned n) {
    uint64_t value = n;
    ssize_t written;
    do written = write(p->wakes, &value, sizeof value);
    while (written < 0 && errno == EINTR);
}

static bool take_wake(poller *p) {
    uint64_t value;
    return read(p->wakes, &value, sizeof value) == sizeof value;
}

static void tell(poller *p, const struct epoll_event *e) {
    pthread_rwlock_rdlock(&p->lock);
    slot *found = slot_of(p, e->data.u64);
    slot s = found ? *found : (slot){.fd = -1};
    if (s.fd >= 0) s.ready(s.context, e->events);
    pthread_rwlock_unlock(&p->lock);
}

bool poller_wait(poller *p, uint64_t until_ns) {
    struct epoll_event events[EVENTS_AT_ONCE];
    struct timespec left = {0}, *timeout = &left;
    uint64_t now = until_ns && until_ns != UINT64_MAX ? clock_ns() : 0;
    if (until_ns == UINT64_MAX) timeout = NULL;
    else if (until_ns > now)
        left = (struct timespec){(time_t)((until_ns - now) / 1000000000u), (long)((until_ns - now) % 1000000000u)};
    int n = epoll_pwait2(p->epoll, events, EVENTS_AT_ONCE, timeout, NULL);
    bool woken = false;
    for (int i = 0; i < n; i++) {
        if (events[i].data.u64) tell(p, &events[i]);
        else if (until_ns) woken |= take_wake(p);
    }
    return woken;
}
