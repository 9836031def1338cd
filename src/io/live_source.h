/* live_source.h: what the endless sources over sockets share: a listener or a peer that is called, the
 * connections, who reads which, batches from what came, time limits, the end.
 *
 * A connection is in one place at a time: watched by the poller, on the list of those that have something,
 * or with a reader. Reading cuts off a piece: whole messages, in one buffer. When the steps behind take long the
 * connection goes back before the piece is worked on, so that another worker reads the next one; else the
 * reader goes on by itself as long as something comes. */
#ifndef IO_LIVE_SOURCE_H
#define IO_LIVE_SOURCE_H

#include <pthread.h>

#include "engine/plan.h"
#include "engine/poller.h"
#include "io/format.h"
#include "io/framing.h"
#include "io/socket.h"

typedef struct live_source live_source;
typedef struct connection connection;

/* Whole messages. */
typedef struct piece {
    buffer *owner;        /* a reference that goes with the piece */
    const uint8_t *bytes;
    size_t size;
    bool frames;          /* rows are single messages: n, first, gap, and live_reader's ends */
    uint32_t n;
    uint32_t first, gap;  /* where message 0 begins; bytes between the end of one and the next */
    bool named;           /* frames: the second column, if there is one, holds `name`; else nulls */
    view name;
    buffer *name_owner;   /* a reference that goes with the piece; NULL: the view is small */
    bool start;           /* the first of its connection or request: a header may stand here */
} piece;

enum { FRAMES_MAX = 1 << 16 }; /* in a piece */

typedef struct connection_class {
    size_t bytes; /* of the struct, which begins with a connection */
    bool times_idle; /* the time-out is also for who never sent anything */
    /* What came, as a piece; `ends` has room for FRAMES_MAX.
     * STATUS_WAIT: nothing whole now, and the socket is empty (c->events says what to wait for);
     * TW_END: over, close it; TW_ERR_MEMORY: later; others end the run. */
    tw_status (*receive)(connection *c, uint32_t *ends, piece *out, tw_error *err);
    /* Optional: the piece went through the steps. The connection stays with its reader until then. */
    void (*delivered)(connection *c);
    /* Optional: it has waited for a reader for long; says so to the peer, at once, and from any thread. */
    void (*turn_away)(connection *c);
    void (*free)(connection *c); /* what it holds; not itself, not the descriptor */
    /* Optional, for what belongs to the source as a whole (options.context). `begin` after everything listens. `look`
     * whenever a split is asked for, from any worker: an error ends the run; once `stopping`, STATUS_WAIT puts the end
     * off (run_wake when that is over). `end` before connections are freed: threads of its own end here. */
    tw_status (*begin)(live_source *s, tw_error *err);
    tw_status (*look)(live_source *s, bool stopping, tw_error *err);
    void (*end)(live_source *s);
} connection_class;

typedef enum connection_state {
    CONNECTION_WATCHED,
    CONNECTION_READY,   /* on the list */
    CONNECTION_HELD,    /* by a reader */
    CONNECTION_LATER,   /* until memory is there */
    CONNECTION_AWAY     /* turned away: what it sends still is passed over, so that it reads the answer */
} connection_state;

struct connection {
    live_source *source;
    int fd;
    watch_id watch;
    connection_state state;
    uint32_t number;          /* from 1, as they came */
    uint32_t partition;       /* from 0; those of connections that are gone are given again */
    uint32_t port;            /* which listener it came from, or what live_source_add was told */
    uint32_t events;          /* EPOLLIN, EPOLLOUT */
    connection *next;         /* of the ready ones */
    connection *all_next, **all_link;
    uint64_t records;         /* that came before the next piece */
    uint64_t since_ns;        /* when something came last, within a message; 0: between messages */
    size_t held_bytes;        /* of a message that is not whole, counted in the source */
    size_t drain_bytes;       /* when the source ends: how much is to be read still */
    bool calling;             /* being connected */
    uint64_t ready_ns;        /* since when it waits for a reader, with turn_away */
    size_t passed_over;       /* bytes, since it was turned away */
    bool gone;                /* turned away, and that is over */
    bool expired;             /* stood still for too long */
    bool draining, drained;   /* the source ends: drain_bytes are read still; were read */
    bool owed;                /* nobody would send it again: waited for when the source ends */
    csv_layout *layout;       /* csv with a header */
    char name[SOCKET_NAME_MAX]; /* for messages */
};

enum { LISTENERS_MAX = 3 };

typedef struct live_listener {
    live_source *source;
    endpoint *endpoint;       /* of the options */
    int fd;                   /* -1: closed */
    watch_id watch;
    bool ready;
    uint64_t ready_ns;        /* since when, with turn_away */
} live_listener;

typedef struct live_options {
    const char *kind;         /* "tcp" */
    bool listens;             /* else the endpoint is called */
    endpoint endpoint;
    endpoint more[LISTENERS_MAX - 1]; /* to listen at besides */
    uint32_t n_more;
    void *context;            /* of the class */
    void (*free_context)(void *context);
    stream_framing framing;
    format format;
    bool messages;            /* rows are the messages as they are: content */
    size_t message_max;
    uint64_t timeout_ns;      /* 0: none */
    uint64_t retry_ns;        /* how long a peer is called again */
    char *path;               /* http */
} live_options;

struct live_source {
    source base;
    const connection_class *class;
    live_options options;
    run_context *run;
    bool *needed;             /* NULL: all */
    size_t held_max;
    pthread_mutex_t lock;     /* of all below */
    live_listener listeners[LISTENERS_MAX];
    uint32_t n_listeners;
    int timer;
    watch_id timer_watch;
    atomic_bool ticked;
    uint64_t timer_at_ns;     /* when it rings; 0: it does not */
    connection *all;
    connection *ready, **ready_last;
    uint32_t n_ever, n_partitions;
    uint32_t *free_partitions; /* room for n_partitions */
    uint32_t n_free;
    struct live_reader *readers; /* idle ones */
    size_t held_bytes;
    atomic_bool stopping;
    bool draining;
    atomic_uint_fast64_t work_ns; /* what the steps take for a piece, about */
    /* A peer that is called. */
    bool calls;               /* there is to be a connection, and is none */
    unsigned attempts;
    uint64_t call_at_ns, lost_at_ns;
    uint64_t random;
    int last_errno;
    bool told;                /* that it does not answer */
};

/* Takes over what `o` holds, also on failure; the class's `bytes` says how large a connection is. */
tw_status live_source_new(const live_options *o, const connection_class *class, source **out, schema **out_schema,
                          tw_error *err);
void live_options_free(live_options *o);

/* ---- for connection classes; the connection is held ---- */

/* Receives up to n bytes, more into `spare` (may be NULL) when they are full. *got = 0 is the end.
 * STATUS_WAIT; TW_ERR_DATA when the peer broke it off (no error is set). */
tw_status connection_receive(connection *c, void *to, size_t n, void *spare, size_t spare_bytes, size_t *got);
/* A buffer for what is not a whole message yet, in place of one of `old` bytes (0: none). TW_ERR_MEMORY when
 * such messages have more than their share. */
tw_status connection_hold(connection *c, size_t old, size_t bytes, buffer **out, tw_error *err);
/* It has one of so many bytes more, or less. */
void connection_take(connection *c, size_t bytes);
void connection_let_go(connection *c, size_t bytes);
/* Takes over a descriptor from elsewhere as a connection: `set_up`, if any, is called before it is watched. `peer` is for
 * messages. Any thread; not once the source drains: see `look`. */
tw_status live_source_add(live_source *s, int fd, const char *peer, uint32_t port,
                          void (*set_up)(connection *c, void *context), void *context, tw_error *err);
/* A bad record on this connection, the one after those counted. TW_OK: go on without it. */
tw_status connection_bad(connection *c, const uint8_t *raw, size_t n, const char *reason, tw_error *err);
/* csv with a header: reads it from the front of the connection's first piece. TW_END: it was bad, the connection
 * is to be closed. */
tw_status connection_read_header(connection *c, const piece *p, tw_error *err);

#endif
