/* harmonicio_client.h: requests to a HarmonicIO master and messages to a place it names, from threads that may wait. All
 * calls are bounded by the client's time-out and end within a tenth of a second once the run is cancelled or `quits` is set. */
#ifndef IO_HARMONICIO_CLIENT_H
#define IO_HARMONICIO_CLIENT_H

#include "engine/pipeline.h"
#include "io/harmonicio.h"

enum { CLIENT_REPLY_MAX = 1 << 16 };

typedef struct harmonicio_client {
    endpoint *master;          /* resolved; outlives it */
    const char *name;          /* of the messages */
    uint64_t timeout_ns;       /* without a byte moving */
    run_context *run;
    const atomic_bool *quits;
} harmonicio_client;

typedef struct client_reply {
    int code;
    bool measured;             /* it says how long its body is */
    size_t length;
    char text[CLIENT_REPLY_MAX + 1]; /* of the body what has come, with a 0 behind */
    size_t bytes;
} client_reply;

/* TW_ERR_IO: no answer, or none of HTTP; TW_ERR_CANCELLED. With `fd` the body is left on the connection behind the bytes
 * in the reply, and the connection is the caller's; without it the body is read, at most CLIENT_REPLY_MAX bytes. */
tw_status client_ask(const harmonicio_client *c, const char *method, const char *target, client_reply *out, int *fd, tw_error *err);
/* Where a message of this digest may go. *code: the answer; only with 200 there is a place. */
tw_status client_ask_place(const harmonicio_client *c, const uint8_t digest[MD5_BYTES], client_reply *reply, harmonicio_place *out,
                           tw_error *err);
/* As a PE (of another, perhaps) that is free. As client_ask with `fd`. */
tw_status client_poll(const harmonicio_client *c, const char *host, unsigned port, bool available, client_reply *out, int *fd,
                      tw_error *err);
/* Receives up to n bytes; *got = 0: the end. */
tw_status client_receive(const harmonicio_client *c, int fd, void *to, size_t n, size_t *got, tw_error *err);
/* Sends a message to a place as its role wants it, and waits until the other side closes, which it does when it has read
 * everything. TW_ERR_IO: it has not, as far as can be told. */
tw_status client_deliver(const harmonicio_client *c, const harmonicio_place *to, const void *bytes, size_t n, tw_error *err);

#endif
