/* sender.h: the sending side of sinks over sockets: peers, their queues, what happens when one is lost.
 *
 * Workers send by themselves, as far as the socket takes it at once; the rest waits in the peer's queue until
 * the poller says that there is room. What seldom happens (accepting, calling a peer, giving one up) is done by a
 * thread of the sender's own.
 *
 * With `listens` every peer gets everything from when it connects; while there is none, rows wait. Without, one
 * peer is called, again when it is lost; what the system had taken for it may be gone with it, but a message of
 * which it took a part is sent again whole, and nothing twice. */
#ifndef IO_SENDER_H
#define IO_SENDER_H

#include "engine/pipeline.h"
#include "io/parcel.h"
#include "io/socket.h"

typedef struct sender sender;

/* What an answer to a parcel is (http). */
typedef enum answer { ANSWER_NONE, ANSWER_TAKEN, ANSWER_LATER, ANSWER_REFUSED, ANSWER_BROKEN } answer;

typedef struct sender_options {
    const char *kind;
    bool listens;
    endpoint *endpoint;         /* outlives it */
    const parcel_format *format; /* outlives it */
    bool connection_each;       /* a connection for each parcel */
    uint64_t retry_ns;          /* how long a lost peer is called again */
    uint64_t timeout_ns;        /* a peer that takes nothing for so long is given up; 0: never */
    /* Optional: each parcel is answered before the next is sent, else it is sent again. What came from the peer
     * goes through this, under a lock; `state` is zeroed for each connection. ANSWER_REFUSED: sets err.
     * ANSWER_LATER: *again_ns after now. */
    answer (*read_answer)(void *state, const uint8_t *bytes, size_t n, uint64_t *again_ns, tw_error *err);
    size_t state_bytes;
} sender_options;

tw_status sender_start(const sender_options *o, run_context *run, sender **out, tw_error *err);
void sender_free(sender *s); /* NULL is allowed */

/* Whether there is room for more. False: run_wake is called when there is. */
bool sender_ready(sender *s);
/* Takes over a list of parcels. In the order of the calls. */
void sender_put(sender *s, parcel *p);
/* Sends what can be sent now. Fails when the peer was given up. */
tw_status sender_flush(sender *s, tw_error *err);
/* Until everything is sent. */
tw_status sender_finish(sender *s, tw_error *err);

#endif
