/* harmonicio.h: the words of HarmonicIO's protocol (master's REST, queue header), as the system of Torruangwatthana et
 * al. ("HarmonicIO: scalable data stream processing for scientific datasets", 2018) speaks them. Functions over bytes;
 * sockets are others'.
 *
 * A stream connector asks the master where to send (GET /streamRequest) and gets a PE (role 2) or the queue (role 4) as
 * the text of a Python dict; a message is a connection to there. A PE polls (POST /streamRequest): 203 brings a
 * message, 200 means that it is registered and waits for a connection. */
#ifndef IO_HARMONICIO_H
#define IO_HARMONICIO_H

#include <http_parser.h>
#include <stdbool.h>

#include "base/md5.h"
#include "io/socket.h"

enum {
    HARMONICIO_NAME_MAX = 999,     /* bytes: three digits say how many */
    HARMONICIO_HEADER_BYTES = 3,
    HARMONICIO_TARGET_MAX = 8192,
    HARMONICIO_HEAD_MAX = 512,     /* of an answer */
    HARMONICIO_HOST_MAX = 255
};

typedef enum harmonicio_role { ROLE_WORKER = 2, ROLE_QUEUE = 4 } harmonicio_role;

/* ---- what a master is asked ---- */

typedef enum master_action {
    MASTER_REFUSES, /* `code` and `words` are the answer */
    MASTER_STATUS,
    MASTER_HEARS,   /* of a worker's status */
    MASTER_SENDS,   /* a connector has a message of `name` and `digest` */
    MASTER_POLLED,  /* a PE of `name` asks for work */
    MASTER_LENGTHS, /* of the queues */
    MASTER_TELLS    /* everything */
} master_action;

typedef struct master_request {
    master_action action;
    int code;
    const char *words;
    char name[HARMONICIO_NAME_MAX + 1];
    size_t name_bytes;
    bool digested;  /* the digest is an MD5 */
    uint8_t digest[MD5_BYTES];
    bool available; /* the PE is */
} master_request;

/* One request of HTTP as it comes. Starts zeroed. */
typedef struct master_exchange {
    http_parser parser;
    bool begun, whole;
    int refusal; /* of HTTP itself; 0: none */
    char target[HARMONICIO_TARGET_MAX];
    size_t target_bytes, body_bytes;
} master_exchange;

/* Whether the request is whole, or beyond hope. */
bool master_exchange_feed(master_exchange *e, const void *bytes, size_t n);
void master_request_read(const master_exchange *e, master_request *out);
/* The head of an answer, as long as `bytes` of a body that follows; and one with its body. */
size_t master_answer_head(int code, const char *type, size_t bytes, char out[HARMONICIO_HEAD_MAX]);
size_t master_answer(int code, const char *body, char *out, size_t capacity);
/* Where a connector is to send. */
size_t master_answer_place(const char *host, unsigned port, harmonicio_role role, char *out, size_t capacity);
size_t master_answer_status(const char *host, char *out, size_t capacity);

/* ---- what a master answers ---- */

/* The dict that names a place. False: it is none. */
typedef struct harmonicio_place {
    char host[HARMONICIO_HOST_MAX + 1];
    unsigned port;
    harmonicio_role role;
} harmonicio_place;
bool harmonicio_place_read(const char *text, size_t n, harmonicio_place *out);
/* The length of the queue of `name` in the dict that tells of all; 0: none. */
unsigned long harmonicio_length_read(const char *text, size_t n, const char *name);

/* ---- messages on the queue ---- */

/* The name before the payload: its bytes begin at HARMONICIO_HEADER_BYTES. NULL, or what is wrong. */
const char *harmonicio_header_read(const uint8_t *p, size_t n, size_t *name_bytes);

/* ---- what is asked of a master ---- */

/* The targets of requests. False: the name does not fit. */
bool harmonicio_target_send(const char *name, const uint8_t digest[MD5_BYTES], char out[HARMONICIO_TARGET_MAX]);
bool harmonicio_target_poll(const char *name, const char *host, unsigned port, bool available, char out[HARMONICIO_TARGET_MAX]);
/* NULL, or why this cannot be a name. */
const char *harmonicio_name_check(const char *name);

#endif
