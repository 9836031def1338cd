/* socket.h: addresses, listeners and connections of TCP and of Unix sockets. All sockets are non-blocking.
 * Thread-safe, but for one endpoint. */
#ifndef IO_SOCKET_H
#define IO_SOCKET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.h"

struct run_context; /* engine/pipeline.h */

enum { SOCKET_ADDRESSES_MAX = 8, SOCKET_NAME_MAX = 128 };

typedef struct socket_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    };
    socklen_t bytes;
} socket_address;

/* Where to listen or whom to call. */
typedef struct endpoint {
    char *text;       /* as the job has it */
    char *host, *port; /* NULL: a Unix socket, whose path is `text` */
    socket_address addresses[SOCKET_ADDRESSES_MAX];
    unsigned n;       /* 0: not resolved yet */
} endpoint;

/* "HOST:PORT", "[IPV6]:PORT", ":PORT" or "PORT". Without a host it is the loopback address. TW_ERR_JOB says
 * what is wrong with the text. */
tw_status endpoint_of_tcp(const char *text, endpoint *out, tw_error *err);
tw_status endpoint_of_unix(const char *path, endpoint *out, tw_error *err);
void endpoint_free(endpoint *e); /* what it holds */
/* Asks for the addresses of its name; may take seconds. TW_ERR_IO. */
tw_status endpoint_resolve(endpoint *e, tw_error *err);

/* Listens at the first address that can be had. A Unix socket is for its owner only (0600); a file that an
 * earlier run left there is removed, but not one where somebody listens. */
tw_status socket_listen(endpoint *e, int *fd, tw_error *err);
/* Removes what socket_listen has made besides, and closes. */
void socket_close_listener(const endpoint *e, int fd);
/* -1 and errno: EAGAIN when nobody waits. */
int socket_accept(int listener, char name[SOCKET_NAME_MAX]);
/* Begins to connect to address number `attempt` (of those there are, in turn); writable when done: see
 * socket_result. -1 and errno. */
int socket_connect(const endpoint *e, unsigned attempt);
int socket_result(int fd); /* 0, or the errno with which it failed */
/* A line for whoever listens to the run: the peer does not answer, and is called again; or (failed 0) it is back. */
void socket_tell_outage(struct run_context *run, const char *kind, const endpoint *e, int failed, uint64_t retry_ns);

#endif
