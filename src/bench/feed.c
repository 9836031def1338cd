#include "bench/feed.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define CALL_AGAIN_NS 10000000u
#define BUSY_NS 5000000u /* before what was refused as too much is sent again */
#define ANSWER_MAX 4096

static void sleep_ns(uint64_t ns) {
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    nanosleep(&t, NULL);
}

/* Waits for a socket; false: until_ns came first. */
static bool wait_for(feed *f, short events, uint64_t until_ns) {
    struct pollfd p = {.fd = f->fd, .events = events};
    uint64_t begin = clock_ns(), now = begin;
    int n = 0;
    while (n <= 0 && now < until_ns) {
        uint64_t left = until_ns - now;
        struct timespec t = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
        n = ppoll(&p, 1, &t, NULL);
        now = clock_ns();
        if (n < 0 && errno != EINTR) break;
    }
    f->blocked_ns += now - begin;
    return n > 0;
}

static tw_status call(feed *f, const char *target, uint64_t until_ns, tw_error *err) {
    if (f->kind == CONNECTOR_UNIX) TRY(endpoint_of_unix(target, &f->endpoint, err));
    else TRY(endpoint_of_tcp(target, &f->endpoint, err));
    TRY(endpoint_resolve(&f->endpoint, err));
    int why = ETIMEDOUT;
    do {
        f->fd = socket_connect(&f->endpoint, 0);
        why = f->fd < 0 ? errno : 0;
        if (f->fd >= 0 && wait_for(f, POLLOUT, until_ns)) why = socket_result(f->fd);
        if (f->fd >= 0 && why == 0) {
            int one = 1;
            if (f->kind != CONNECTOR_UNIX) setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            return TW_OK;
        }
        if (f->fd >= 0) close(f->fd);
        f->fd = -1;
        sleep_ns(CALL_AGAIN_NS);
    } while (clock_ns() < until_ns);
    return error_io(err, why, "cannot connect to %s", target);
}

tw_status feed_open(connector kind, const char *target, unsigned number, uint64_t until_ns, feed *out, tw_error *err) {
    *out = (feed){.kind = kind, .fd = -1, .number = number};
    if (kind == CONNECTOR_KAFKA) return feed_kafka_open(target, until_ns, &out->kafka, err);
    if (kind != CONNECTOR_FOLLOW) {
        TRY(call(out, target, until_ns, err));
        out->blocked_ns = 0;
        return TW_OK;
    }
    out->folder = strdup(target);
    return out->folder ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory");
}

size_t feed_batch_bytes(connector kind) { return kind == CONNECTOR_FOLLOW ? (size_t)4 << 20 : (size_t)256 << 10; }

/* ---- sockets ---- */

static tw_status send_bytes(feed *f, const uint8_t *bytes, size_t n, uint64_t until_ns, tw_error *err) {
    while (n) {
        ssize_t sent = send(f->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            bytes += sent;
            n -= (size_t)sent;
        } else if (sent < 0 && errno == EAGAIN) {
            if (!wait_for(f, POLLOUT, until_ns)) return TW_END;
        } else if (sent == 0 || errno != EINTR) {
            return error_io(err, errno, "cannot send");
        }
    }
    return TW_OK;
}

/* ---- HTTP ---- */

/* The status of an answer; its body is passed over. */
static tw_status read_answer(feed *f, uint64_t until_ns, int *status, tw_error *err) {
    char answer[ANSWER_MAX + 1];
    size_t n = 0, whole = 0;
    for (;;) {
        ssize_t got = recv(f->fd, answer + n, ANSWER_MAX - n, MSG_DONTWAIT);
        if (got == 0) return error_set(err, TW_ERR_IO, "the engine closed the connection");
        if (got < 0 && errno == EAGAIN) {
            if (!wait_for(f, POLLIN, until_ns)) return TW_END;
            continue;
        }
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_io(err, errno, "cannot read an answer");
        n += (size_t)got;
        answer[n] = 0;
        const char *end = strstr(answer, "\r\n\r\n");
        if (end && !whole) {
            const char *length = strcasestr(answer, "\r\ncontent-length:");
            whole = (size_t)(end + 4 - answer) + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
        }
        if (whole && n >= whole) break;
        if (n == ANSWER_MAX) return error_set(err, TW_ERR_IO, "an answer is too long");
    }
    if (sscanf(answer, "HTTP/1.%*d %d", status) != 1) return error_set(err, TW_ERR_IO, "the answer is no HTTP");
    return TW_OK;
}

static tw_status post(feed *f, const uint8_t *bytes, size_t n, uint64_t until_ns, tw_error *err) {
    char head[128];
    int length = snprintf(head, sizeof head, "POST / HTTP/1.1\r\nHost: thalweg\r\nContent-Length: %zu\r\n\r\n", n), status = 0;
    for (;;) {
        TRY(send_bytes(f, (const uint8_t *)head, (size_t)length, until_ns, err));
        TRY(send_bytes(f, bytes, n, until_ns, err));
        TRY(read_answer(f, until_ns, &status, err));
        if (status / 100 == 2) return TW_OK;
        if (status != 429 && status != 503) return error_set(err, TW_ERR_IO, "the engine answered %d", status);
        if (clock_ns() + BUSY_NS > until_ns) return TW_END;
        sleep_ns(BUSY_NS);
        f->blocked_ns += BUSY_NS;
    }
}

/* ---- a folder ---- */

static void file_name(const feed *f, uint64_t i, bool hidden, char out[512]) {
    snprintf(out, 512, "%.400s/%s%02llu-%012llu", f->folder, hidden ? "." : "m", (unsigned long long)f->number, (unsigned long long)i);
}

static tw_status put_file(feed *f, const uint8_t *bytes, size_t n, tw_error *err) {
    char hidden[512], name[512];
    file_name(f, f->n_files, true, hidden);
    file_name(f, f->n_files, false, name);
    int fd = open(hidden, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return error_io(err, errno, "cannot write %s", hidden);
    for (size_t at = 0; at < n;) {
        ssize_t put = write(fd, bytes + at, n - at);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) {
            int e = errno;
            close(fd);
            return error_io(err, e, "cannot write %s", hidden);
        }
        at += (size_t)put;
    }
    close(fd);
    if (rename(hidden, name)) return error_io(err, errno, "cannot rename %s", hidden);
    f->n_files++;
    return TW_OK;
}

void feed_clean(feed *f, uint64_t kept) {
    char name[512];
    for (; f->folder && f->n_removed + kept < f->n_files; f->n_removed++) {
        file_name(f, f->n_removed, false, name);
        unlink(name);
    }
}

/* ---- ---- */

tw_status feed_send(feed *f, const uint8_t *bytes, size_t n, uint64_t until_ns, tw_error *err) {
    tw_status status = f->kind == CONNECTOR_FOLLOW ? put_file(f, bytes, n, err)
                       : f->kind == CONNECTOR_KAFKA ? feed_kafka_send(f->kafka, bytes, n, until_ns, &f->blocked_ns, err)
                       : f->kind == CONNECTOR_HTTP ? post(f, bytes, n, until_ns, err)
                                                   : send_bytes(f, bytes, n, until_ns, err);
    if (status != TW_OK) f->broken = true;
    return status;
}

void feed_close(feed *f) {
    feed_clean(f, 0);
    feed_kafka_close(f->kafka);
    if (f->fd >= 0) close(f->fd);
    endpoint_free(&f->endpoint);
    free(f->folder);
    *f = (feed){.fd = -1};
}
