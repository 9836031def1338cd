/* harmonicio_outbox.h: messages on their way to PEs: put in by workers, taken by threads that wait for the other side, given
 * back when it did not work. Thread-safe. */
#ifndef IO_HARMONICIO_OUTBOX_H
#define IO_HARMONICIO_OUTBOX_H

#include <pthread.h>

#include "engine/pipeline.h"
#include "io/parcel.h"
#include "io/socket.h"

typedef struct outbox {
    run_context *run;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t more;
    int bell;             /* readable when something was put in */
    parcel *first, **last;
    size_t bytes, bytes_max, n;
    uint32_t taken;       /* and neither done nor given back */
    bool refused;         /* somebody was told to wait for room */
    tw_error error;       /* for good */
} outbox;

tw_status outbox_start(outbox *o, run_context *run, tw_error *err);
void outbox_clear(outbox *o); /* drops what is in it */
bool outbox_ready(outbox *o); /* whether there is room; run_wake is called when there is again */
void outbox_put(outbox *o, parcel *list);
/* The first; waits up to `wait_ms`. NULL: none. */
parcel *outbox_take(outbox *o, unsigned wait_ms);
void outbox_done(outbox *o, parcel *p); /* frees it */
void outbox_give_back(outbox *o, parcel *p); /* to the front */
size_t outbox_waiting(outbox *o);
void outbox_fail(outbox *o, const tw_error *why);
tw_status outbox_check(outbox *o, tw_error *err); /* its error */
bool outbox_empty(outbox *o);

/* ---- who takes them ---- */

/* PEs that poll us: a listener and a thread. `name` and `e` outlive it. */
typedef struct pe_server pe_server;
tw_status pe_server_start(outbox *o, endpoint *e, const char *name, uint64_t timeout_ns, pe_server **out, tw_error *err);
void pe_server_free(pe_server *s); /* NULL is allowed */

#endif
