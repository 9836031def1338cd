#include "bench/receiver.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/feed.h"
#include "bench/marks.h"
#include "io/framing.h"

enum { READ_BYTES = 256 << 10 };

typedef struct receiver {
    feed results;
    uint64_t cost_ns;
    uint8_t *bytes;
    size_t filled, skip; /* skip: of a long message, passed over as it comes */
    char heads[(READ_BYTES / MESSAGE_BYTES_MIN + 1) * (MESSAGE_HEAD + 1)];
    size_t n_heads;
} receiver;

/* A message whose first bytes, at least its head, are there. */
static void take(receiver *r, const uint8_t *m) {
    if (r->cost_ns) {
        uint64_t end = clock_of(CLOCK_THREAD_CPUTIME_ID) + r->cost_ns;
        while (clock_of(CLOCK_THREAD_CPUTIME_ID) < end) {}
    }
    if (m[MARK_AT] != 'M') return;
    memcpy(r->heads + r->n_heads, m, MESSAGE_HEAD);
    r->heads[r->n_heads + MESSAGE_HEAD] = '\n';
    r->n_heads += MESSAGE_HEAD + 1;
}

/* Frames in place; returns how much of what is filled is done with. */
static size_t cut(receiver *r) {
    size_t at = r->skip < r->filled ? r->skip : r->filled, head = MESSAGE_HEAD + LENGTH_BYTES;
    r->skip -= at;
    while (!r->skip && r->filled - at >= head) {
        size_t length = length_read(r->bytes + at), there = r->filled - at - LENGTH_BYTES;
        if (length < MESSAGE_BYTES_MIN) return r->filled; /* not ours */
        take(r, r->bytes + at + LENGTH_BYTES);
        at += LENGTH_BYTES + (length < there ? length : there);
        r->skip = length - (length < there ? length : there);
    }
    return at;
}

static tw_status serve(receiver *r, int fd, tw_error *err) {
    r->filled = r->skip = 0;
    for (;;) {
        size_t room = READ_BYTES - r->filled;
        ssize_t got = read(fd, r->bytes + r->filled, room);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            struct pollfd both[] = {{.fd = fd, .events = POLLIN}, {.fd = r->results.fd, .events = 0}};
            poll(both, 2, -1);
            if (both[1].revents) return TW_END;
            continue;
        }
        if (got <= 0) return TW_OK;
        r->filled += (size_t)got;
        size_t done = cut(r);
        if (r->n_heads) TRY(feed_send(&r->results, (const uint8_t *)r->heads, r->n_heads, UINT64_MAX, err));
        r->n_heads = 0;
        memmove(r->bytes, r->bytes + done, r->filled -= done);
    }
}

static tw_status receive(receiver *r, const char *feed, const char *results, tw_error *err) {
    connector kind = *results == '/' ? CONNECTOR_UNIX : CONNECTOR_TCP;
    TRY(feed_open(kind, results, 0, clock_ns() + 10000000000u, &r->results, err));
    endpoint e = {0};
    int listener = -1;
    tw_status status = *feed == '/' ? endpoint_of_unix(feed, &e, err) : endpoint_of_tcp(feed, &e, err);
    if (status == TW_OK) status = endpoint_resolve(&e, err);
    if (status == TW_OK) status = socket_listen(&e, &listener, err);
    char name[SOCKET_NAME_MAX];
    while (status == TW_OK) {
        struct pollfd both[] = {{.fd = listener, .events = POLLIN}, {.fd = r->results.fd, .events = 0}};
        poll(both, 2, -1);
        if (both[1].revents) break;
        int fd = socket_accept(listener, name);
        if (fd < 0) continue;
        status = serve(r, fd, err);
        close(fd);
    }
    if (listener >= 0) socket_close_listener(&e, listener);
    endpoint_free(&e);
    return status == TW_END ? TW_OK : status;
}

tw_status receiver_run(const char *feed, const char *results, uint64_t cost_ns, tw_error *err) {
    receiver *r = calloc(1, sizeof *r);
    if (!r) return error_set(err, TW_ERR_MEMORY, "out of memory");
    r->cost_ns = cost_ns;
    r->results.fd = -1;
    r->bytes = malloc(READ_BYTES);
    tw_status status = r->bytes ? receive(r, feed, results, err) : error_set(err, TW_ERR_MEMORY, "out of memory");
    feed_close(&r->results);
    free(r->bytes);
    free(r);
    return status;
}
