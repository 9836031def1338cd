/* connection_fuzz.h: bytes sent to a connection of a live source over a pair of sockets, in pieces of one size. */
#ifndef TESTS_FUZZ_CONNECTION_FUZZ_H
#define TESTS_FUZZ_CONNECTION_FUZZ_H

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/run_internal.h"
#include "io/live_source.h"

enum { CALLS_MAX = 200000 };

typedef struct served {
    /* Each returns the new sum: of what was taken, whose references it gives back; of what was answered. */
    uint64_t (*take)(connection *c, piece *p, const uint32_t *ends, uint64_t sum);
    uint64_t (*hear)(int fd, uint64_t sum);
    uint32_t port;
    bool waits_to_answer; /* after the end, until answers are read */
} served;

static uint64_t serve(live_source *s, const served *how, const uint8_t *data, size_t size, size_t step) {
    static uint32_t ends[FRAMES_MAX];
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) abort();
    connection *c = calloc(1, s->class->bytes);
    c->source = s;
    c->fd = pair[0];
    c->port = how->port;
    uint64_t sum = 0;
    size_t at = 0;
    bool told = false;
    for (int calls = 0; calls < CALLS_MAX; calls++) {
        piece p = {0};
        tw_error err;
        tw_status status = s->class->receive(c, ends, &p, &err);
        if (status == TW_OK) {
            sum = how->take(c, &p, ends, sum);
            continue;
        }
        sum = how->hear(pair[1], sum);
        if (status != STATUS_WAIT) break;
        if (at < size) {
            size_t n = size - at < step ? size - at : step;
            ssize_t sent = send(pair[1], data + at, n, MSG_NOSIGNAL);
            at += sent > 0 ? (size_t)sent : size - at;
        } else if (!told) {
            told = true;
            shutdown(pair[1], SHUT_WR);
        } else if (!how->waits_to_answer || !(c->events & EPOLLOUT)) {
            abort(); /* after the end there is nothing to wait for */
        }
    }
    connection_let_go(c, c->held_bytes);
    s->class->free(c);
    close(pair[0]);
    close(pair[1]);
    free(c);
    return sum;
}

#endif
