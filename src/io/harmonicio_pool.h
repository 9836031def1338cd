/* harmonicio_pool.h: PEs under a HarmonicIO master: polls for messages, registers, comes back.
 *
 * A thread asks the master; what it brings goes to the live source as a connection. As many PEs as are neither registered
 * nor at work poll at once. A master may tell a sender to queue just when the last of us registers (the message would lie
 * there while we wait): so while we are registered, the length of the queue is looked at, and fetched if there is
 * something. When the run ends our registrations are taken back, as the master would send to them for ever. */
#ifndef IO_HARMONICIO_POOL_H
#define IO_HARMONICIO_POOL_H

#include "io/harmonicio_client.h"
#include "io/live_source.h"

enum { POOL_REPLY_PORT = LISTENERS_MAX }; /* of connections with a message from the queue */

typedef struct pool pool;

typedef struct pool_options {
    endpoint *master; /* outlives it; not resolved yet */
    const char *name, *host; /* its own; outlive it */
    uint32_t workers;
    uint64_t retry_ns; /* how long a master that does not answer is asked again */
} pool_options;

/* `set_up` makes a connection of the source from a reply. */
tw_status pool_start(const pool_options *o, live_source *s, unsigned port, void (*set_up)(connection *c, void *reply), pool **out,
                     tw_error *err);
void pool_quit(pool *p); /* the thread ends */
void pool_free(pool *p); /* after pool_quit; NULL is allowed */
/* A PE that was registered has a connection; one is through with its message, from wherever it came. */
void pool_begins(pool *p);
void pool_ends(pool *p);
/* As connection_class.look. */
tw_status pool_look(pool *p, bool stopping, tw_error *err);

#endif
