#include "io/harmonicio_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { LOOK_MS = 100 };

/* ---- waiting ---- */

static tw_status await(const harmonicio_client *c, int fd, short events, tw_error *err) {
    uint64_t until = clock_ns() + c->timeout_ns;
    for (;;) {
        if (run_cancelled(c->run) || atomic_load(c->quits)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        struct pollfd w = {.fd = fd, .events = events};
        if (poll(&w, 1, LOOK_MS) > 0) return TW_OK;
        if (c->timeout_ns && clock_ns() >= until) return error_io(err, ETIMEDOUT, "harmonicio: the other side stands still");
    }
}

static tw_status failed(int code, const char *what, const endpoint *e, tw_error *err) {
    return error_io(err, code, "harmonicio: %s '%.120s'", what, e->text);
}

/* Whose fault it was. */
static tw_status at_place(tw_status status, const endpoint *e, tw_error *err) {
    if (status != TW_ERR_IO || !err) return status;
    tw_error why = *err;
    return error_set(err, TW_ERR_IO, "%.300s, at '%.120s'", why.message, e->text);
}

static tw_status dial(const harmonicio_client *c, const endpoint *e, int *out, tw_error *err) {
    int code = ECONNREFUSED;
    for (unsigned i = 0; i < e->n; i++) {
        int fd = socket_connect(e, i);
        if (fd < 0) {
            code = errno;
            continue;
        }
        tw_status status = await(c, fd, POLLOUT, err);
        code = status == TW_OK ? socket_result(fd) : ETIMEDOUT;
        if (status == TW_OK && !code) {
            *out = fd;
            return TW_OK;
        }
        close(fd);
        if (status == TW_ERR_CANCELLED) return status;
    }
    return failed(code, "no connection to", e, err);
}

static tw_status send_all(const harmonicio_client *c, int fd, const void *bytes, size_t n, tw_error *err) {
    const uint8_t *at = bytes;
    while (n) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return error_io(err, errno, "harmonicio: cannot send");
        if (sent < 0) {
            TRY(await(c, fd, POLLOUT, err));
            continue;
        }
        atomic_fetch_add(&c->run->bytes_out, (uint64_t)sent);
        at += sent;
        n -= (size_t)sent;
    }
    return TW_OK;
}

tw_status client_receive(const harmonicio_client *c, int fd, void *to, size_t n, size_t *got, tw_error *err) {
    for (;;) {
        ssize_t r = recv(fd, to, n, MSG_DONTWAIT);
        if (r >= 0) {
            *got = (size_t)r;
            return TW_OK;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) TRY(await(c, fd, POLLIN, err));
        else if (errno != EINTR) return error_io(err, errno, "harmonicio: the connection broke");
    }
}

/* ---- requests ---- */

static int on_headers(http_parser *p) {
    client_reply *r = p->data;
    r->code = p->status_code;
    r->measured = p->flags & F_CONTENTLENGTH;
    r->length = r->measured ? (size_t)p->content_length : 0;
    http_parser_pause(p, 1);
    return 0;
}

/* The head of the answer; what came of the body with it is at the front of out->text. */
static tw_status read_head(const harmonicio_client *c, int fd, client_reply *out, tw_error *err) {
    static const http_parser_settings settings = {.on_headers_complete = on_headers};
    http_parser p;
    http_parser_init(&p, HTTP_RESPONSE);
    p.data = out;
    for (;;) {
        size_t got = 0;
        TRY(client_receive(c, fd, out->text, 4096, &got, err));
        size_t done = http_parser_execute(&p, &settings, out->text, got);
        enum http_errno wrong = HTTP_PARSER_ERRNO(&p);
        if (wrong == HPE_PAUSED) {
            if (p.flags & F_CHUNKED) return failed(EPROTO, "an answer in chunks from", c->master, err);
            /* The parser stops before the last line feed of the head. */
            if (done < got && out->text[done] == '\n') done++;
            out->bytes = got - done;
            memmove(out->text, out->text + done, out->bytes);
            return TW_OK;
        }
        if (wrong != HPE_OK || !got) return failed(EPROTO, "no answer of HTTP from", c->master, err);
    }
}

static tw_status read_body(const harmonicio_client *c, int fd, client_reply *out, tw_error *err) {
    while (out->bytes < CLIENT_REPLY_MAX && (!out->measured || out->bytes < out->length)) {
        size_t got = 0;
        TRY(client_receive(c, fd, out->text + out->bytes, CLIENT_REPLY_MAX - out->bytes, &got, err));
        if (!got) break;
        out->bytes += got;
    }
    if (out->measured && out->bytes < out->length) return failed(EPROTO, "an answer that was cut, or is too long, from", c->master, err);
    out->text[out->bytes] = 0;
    return TW_OK;
}

tw_status client_ask(const harmonicio_client *c, const char *method, const char *target, client_reply *out, int *fd, tw_error *err) {
    char head[HARMONICIO_TARGET_MAX + 512];
    int s, n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: %.160s\r\nAccept-Encoding: identity\r\n%sUser-Agent: thalweg\r\n\r\n",
                        method, target, c->master->text, strcmp(method, "GET") == 0 ? "" : "Content-Length: 0\r\n");
    out->code = 0;
    out->bytes = 0;
    TRY(dial(c, c->master, &s, err));
    tw_status status = send_all(c, s, head, (size_t)n, err);
    if (status == TW_OK) status = read_head(c, s, out, err);
    if (status != TW_OK) status = at_place(status, c->master, err);
    if (status == TW_OK && fd) {
        *fd = s;
        return TW_OK;
    }
    if (status == TW_OK) status = read_body(c, s, out, err);
    close(s);
    return status;
}

tw_status client_ask_place(const harmonicio_client *c, const uint8_t digest[MD5_BYTES], client_reply *reply, harmonicio_place *out,
                           tw_error *err) {
    char target[HARMONICIO_TARGET_MAX];
    if (!harmonicio_target_send(c->name, digest, target)) return error_set(err, TW_ERR_INTERNAL, "harmonicio: a name that is none");
    TRY(client_ask(c, "GET", target, reply, NULL, err));
    if (reply->code != 200 || harmonicio_place_read(reply->text, reply->bytes, out)) return TW_OK;
    return failed(EPROTO, "an answer that names no place from", c->master, err);
}

tw_status client_poll(const harmonicio_client *c, const char *host, unsigned port, bool available, client_reply *out, int *fd,
                      tw_error *err) {
    char target[HARMONICIO_TARGET_MAX];
    if (!harmonicio_target_poll(c->name, host, port, available, target))
        return error_set(err, TW_ERR_INTERNAL, "harmonicio: a name that is none");
    return client_ask(c, "POST", target, out, fd, err);
}

/* ---- messages ---- */

static tw_status send_message(const harmonicio_client *c, int fd, harmonicio_role role, const void *bytes, size_t n, tw_error *err) {
    if (role == ROLE_QUEUE) {
        char header[HARMONICIO_HEADER_BYTES + HARMONICIO_NAME_MAX + 1];
        int size = snprintf(header, sizeof header, "%03zu%s", strlen(c->name), c->name);
        TRY(send_all(c, fd, header, (size_t)size, err));
    }
    TRY(send_all(c, fd, bytes, n, err));
    if (shutdown(fd, SHUT_WR) != 0) return error_io(err, errno, "harmonicio: the connection broke");
    char rest[256];
    size_t got = 0;
    do {
        TRY(client_receive(c, fd, rest, sizeof rest, &got, err));
    } while (got);
    return TW_OK;
}

tw_status client_deliver(const harmonicio_client *c, const harmonicio_place *to, const void *bytes, size_t n, tw_error *err) {
    char text[HARMONICIO_HOST_MAX + 16];
    snprintf(text, sizeof text, strchr(to->host, ':') ? "[%s]:%u" : "%s:%u", to->host, to->port);
    endpoint e = {0};
    int fd = -1;
    tw_status status = endpoint_of_tcp(text, &e, err);
    if (status == TW_ERR_JOB) return error_set(err, TW_ERR_IO, "harmonicio: the master names '%.200s', no place to send to", text);
    if (status == TW_OK) status = endpoint_resolve(&e, err);
    if (status == TW_OK) status = dial(c, &e, &fd, err);
    if (status == TW_OK) {
        status = at_place(send_message(c, fd, to->role, bytes, n, err), &e, err);
        close(fd);
    }
    endpoint_free(&e);
    return status;
}
