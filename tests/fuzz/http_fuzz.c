/* Bytes of an HTTP client, over a pair of sockets: the first byte chooses the framing of bodies, the second the size of
 * the pieces in which the rest comes. Nothing may crash or hang, every piece must be readable, and the same requests
 * are taken whatever the pieces. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/run_internal.h"
#include "io/http_source.h"

enum { BYTES_MAX = 16384, MESSAGE_MAX = 4096, CALLS_MAX = 200000 };

static memory *all;

static void pass_over_answers(int fd) {
    char bytes[4096];
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {}
}

/* A sum over the bodies that were taken. */
static uint64_t serve(live_source *s, const uint8_t *data, size_t size, size_t step) {
    static uint32_t ends[FRAMES_MAX];
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) abort();
    connection *c = calloc(1, s->class->bytes);
    c->source = s;
    c->fd = pair[0];
    uint64_t sum = 0;
    size_t at = 0;
    bool told = false;
    for (int calls = 0; calls < CALLS_MAX; calls++) {
        piece p;
        tw_error err;
        tw_status status = s->class->receive(c, ends, &p, &err);
        if (status == TW_OK) {
            for (size_t i = 0; i < p.size; i++) sum = sum * 31 + p.bytes[i] + 1;
            for (uint32_t i = 0; p.frames && i < p.n; i++)
                if (ends[i] > p.size) abort();
            buffer_unref(p.owner);
            s->class->delivered(c);
            sum = sum * 31 + 7;
            continue;
        }
        if (status != STATUS_WAIT) break;
        pass_over_answers(pair[1]);
        if (at < size) {
            size_t n = size - at < step ? size - at : step;
            ssize_t sent = send(pair[1], data + at, n, MSG_NOSIGNAL);
            at += sent > 0 ? (size_t)sent : size - at;
        } else if (!told) {
            told = true;
            shutdown(pair[1], SHUT_WR);
        } else if (c->events & 4) { /* EPOLLOUT: the answers were read */
            continue;
        } else {
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > BYTES_MAX) return 0;
    if (!all && memory_create((size_t)64 << 20, &all, NULL) != TW_OK) abort();
    static atomic_bool never;
    run_context run = {.memory = all, .cancelled = &never, .batch_rows = 1024};
    if (bad_records_create(BAD_SKIP, NULL, &run.bad, NULL) != TW_OK) abort();
    live_source s = {.class = &http_connection_class, .run = &run, .held_max = (size_t)16 << 20};
    s.options = (live_options){.kind = "http", .listens = true, .framing = data[0] % STREAM_FRAMINGS,
                               .messages = data[0] & 8, .message_max = MESSAGE_MAX, .path = "/"};
    s.options.format.kind = FORMAT_LINES;
    pthread_mutex_init(&s.lock, NULL);
    uint64_t whole = serve(&s, data + 2, size - 2, size), pieces = serve(&s, data + 2, size - 2, data[1] % 100 + 1);
    if (whole != pieces) abort();
    if (s.held_bytes) abort();
    pthread_mutex_destroy(&s.lock);
    bad_records_free(run.bad);
    return 0;
}
