/* poller.h: where idle workers wait: for work, for a time, and for descriptors. Every idle worker waits
 * in the same epoll, so that whoever sleeps takes the next message itself: no thread stands between a
 * socket and a step. All functions may be called from any thread. */
#ifndef ENGINE_POLLER_H
#define ENGINE_POLLER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct poller poller;

/* A watched descriptor; 0 is none. Never used again after its removal. */
typedef uint64_t watch_id;

/* `events` as of epoll_wait. Runs on a waiting worker, without locks: must be quick, may call
 * poller_rearm and run_wake, and never poller_remove. */
typedef void (*watch_ready)(void *context, uint32_t events);

tw_status poller_create(poller **out, tw_error *err);
void poller_free(poller *p); /* NULL is allowed; nobody waits any more */

/* Calls `ready` once when one of `events` (EPOLLIN, EPOLLOUT, ...) holds; then it sleeps until it is
 * armed again. events 0: not armed yet. */
tw_status poller_add(poller *p, int fd, uint32_t events, watch_ready ready, void *context, watch_id *out,
                     tw_error *err);
tw_status poller_rearm(poller *p, watch_id id, uint32_t events, tw_error *err);
/* No call of `ready` is running or will come when it returns. The descriptor is closed after it, by its
 * owner. 0 is allowed. Not from within `ready`. */
void poller_remove(poller *p, watch_id id);

/* Lets `n` of those return who wait, or will. */
void poller_wake(poller *p, unsigned n);
/* Until poller_wake (then true), a descriptor was ready, or `until_ns` of clock_ns() has come (0: looks
 * only for descriptors and takes no wake; UINT64_MAX: no such time). */
bool poller_wait(poller *p, uint64_t until_ns);

#endif
