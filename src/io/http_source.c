/* http_source.c: the source `http`: records in the bodies of POST requests, each answered once its records are
 * with the steps. The parser is http-parser's; what it gives of a body is gathered in one buffer, which the rows
 * then point into. A connection stays with its reader from a request to its answer. */
#include <errno.h>
#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/connectors.h"
#include "io/http_source.h"
#include "io/stream_source.h"

#define INPUT_BYTES ((size_t)64 << 10)
#define BODY_BYTES_MIN ((size_t)4 << 10)
#define REFUSED_BYTES_MAX ((size_t)4 << 20) /* read after an early answer, so that it arrives */
enum { URL_MAX = 1024, OUTPUT_MAX = 512 };

typedef struct http_connection {
    connection base;
    bool set_up;
    http_parser parser;
    buffer *in;            /* while it is held */
    size_t filled, at;     /* received, parsed */
    buffer *body;
    size_t body_bytes;
    char url[URL_MAX];
    size_t url_bytes;
    bool within;           /* a request has begun */
    bool whole;            /* and is complete */
    bool expects;          /* it waits for 100 Continue */
    int refusal;           /* the answer it gets instead; 0: none */
    char out[OUTPUT_MAX];  /* answers that the socket did not take yet */
    size_t out_bytes;
    bool last;             /* no request after this one */
    size_t passed_over;    /* after the last answer */
} http_connection;

static http_connection *of(connection *c) { return (http_connection *)c; }
static const live_options *options_of(const http_connection *h) { return &h->base.source->options; }

/* ---- answers ---- */

static const char *reason_of(int code) {
    switch (code) {
    case 100: return "Continue";
    case 202: return "Accepted";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Payload Too Large";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    default: return "Bad Request";
    }
}

/* Whether everything has left. */
static bool send_out(http_connection *h) {
    while (h->out_bytes) {
        ssize_t n = send(h->base.fd, h->out, h->out_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
        if (n < 0) n = (ssize_t)h->out_bytes; /* nobody there any more */
        h->out_bytes -= (size_t)n;
        memmove(h->out, h->out + n, h->out_bytes);
    }
    return true;
}

static void answer(http_connection *h, int code) {
    char text[OUTPUT_MAX];
    const char *extra = code == 429 ? "Retry-After: 1\r\n" : code == 405 ? "Allow: POST\r\n" : "";
    const char *end = code == 100 ? "" : h->last ? "Connection: close\r\nContent-Length: 0\r\n" : "Content-Length: 0\r\n";
    int n = snprintf(text, sizeof text, "HTTP/1.1 %d %s\r\n%s%s\r\n", code, reason_of(code), extra, end);
    if (h->out_bytes + (size_t)n > sizeof h->out) return; /* one answer at a time: never so many */
    memcpy(h->out + h->out_bytes, text, (size_t)n);
    h->out_bytes += (size_t)n;
    send_out(h);
}

/* ---- what the parser tells ---- */

static http_connection *of_parser(http_parser *p) { return p->data; }

static int refuse(http_connection *h, int code) {
    h->refusal = code;
    return -1; /* ends the parsing */
}

static int on_begin(http_parser *p) {
    http_connection *h = of_parser(p);
    h->within = true;
    h->url_bytes = 0;
    return 0;
}

static int on_url(http_parser *p, const char *at, size_t n) {
    http_connection *h = of_parser(p);
    size_t left = sizeof h->url - h->url_bytes;
    memcpy(h->url + h->url_bytes, at, n < left ? n : left);
    h->url_bytes += n < left ? n : left;
    return 0;
}

static int on_header_value(http_parser *p, const char *at, size_t n) {
    if (n == 12 && strncasecmp(at, "100-continue", n) == 0) of_parser(p)->expects = true;
    return 0;
}

static bool path_matches(const http_connection *h) {
    struct http_parser_url parts;
    http_parser_url_init(&parts);
    if (http_parser_parse_url(h->url, h->url_bytes, 0, &parts) != 0) return false;
    const char *path = options_of(h)->path;
    size_t n = parts.field_data[UF_PATH].len;
    return n == strlen(path) && memcmp(h->url + parts.field_data[UF_PATH].off, path, n) == 0;
}

static int on_headers(http_parser *p) {
    http_connection *h = of_parser(p);
    if (p->upgrade) return refuse(h, 400);
    if (!path_matches(h)) return refuse(h, 404);
    if (p->method != HTTP_POST) return refuse(h, 405);
    bool known = p->flags & F_CONTENTLENGTH;
    if (known && p->content_length > options_of(h)->message_max) return refuse(h, 413);
    if (h->expects) answer(h, 100);
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t n) {
    http_connection *h = of_parser(p);
    size_t need = h->body_bytes + n, have = h->body ? h->body->size : 0;
    if (need > options_of(h)->message_max) return refuse(h, 413);
    if (need > have) {
        size_t bytes = have * 2 > need ? have * 2 : need < BODY_BYTES_MIN ? BODY_BYTES_MIN : need;
        buffer *larger;
        if (connection_hold(&h->base, have, bytes, &larger, NULL) != TW_OK) return refuse(h, 429);
        if (h->body_bytes) memcpy(larger->data, h->body->data, h->body_bytes);
        buffer_unref(h->body);
        h->body = larger;
    }
    memcpy(h->body->data + h->body_bytes, at, n);
    h->body_bytes = need;
    return 0;
}

static int on_complete(http_parser *p) {
    http_connection *h = of_parser(p);
    h->whole = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_message_begin = on_begin,
    .on_url = on_url,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

/* ---- requests ---- */

static void drop_body(http_connection *h) {
    if (h->body) connection_let_go(&h->base, h->body->size);
    buffer_unref(h->body);
    h->body = NULL;
    h->body_bytes = 0;
}

static void end_request(http_connection *h) {
    h->within = h->whole = h->expects = false;
}

/* No request comes after it; what the client sends still is passed over, so that it reads the answer. */
static void refuse_request(http_connection *h, int code) {
    drop_body(h);
    end_request(h);
    h->last = true;
    h->refusal = 0;
    h->filled = h->at = 0;
    answer(h, code);
}

/* The records of the body. TW_END: it has none. TW_ERR_DATA: its framing is broken. */
static tw_status body_piece(http_connection *h, uint32_t *ends, piece *out, tw_error *err) {
    const live_options *o = options_of(h);
    size_t size = h->body_bytes;
    if (!size) return TW_END;
    *out = (piece){.owner = h->body, .bytes = h->body->data, .size = size, .start = true};
    if (o->framing == STREAM_CONNECTION && o->messages) {
        ends[0] = (uint32_t)size;
        out->frames = true;
        out->n = 1;
    } else if (o->framing == STREAM_LENGTH) {
        length_cut c = cut_lengths(h->body->data, size, o->message_max, ends, FRAMES_MAX);
        if (c.bytes != size) return TW_ERR_DATA;
        out->frames = o->messages;
        out->n = c.n;
        out->first = out->gap = LENGTH_BYTES;
        if (!o->messages) out->size = lines_of_frames(h->body->data, ends, c.n, NULL, o->format.kind != FORMAT_RECORDS);
    }
    return connection_read_header(&h->base, out, err);
}

/* A whole request has come. STATUS_WAIT: it is answered already. */
static tw_status take_request(http_connection *h, uint32_t *ends, piece *out, tw_error *err) {
    http_parser_pause(&h->parser, 0);
    h->last = !http_should_keep_alive(&h->parser) || h->base.draining;
    tw_error why = {0};
    tw_status status = body_piece(h, ends, out, &why);
    if (status == TW_OK) {
        connection_let_go(&h->base, h->body->size);
        h->body = NULL; /* the piece's */
        h->body_bytes = 0;
        return TW_OK;
    }
    bool empty = status == TW_END && !h->body_bytes;
    *out = (piece){0};
    if (status == TW_ERR_DATA && why.code) { /* bad_record says so */
        if (err) *err = why;
        return status;
    }
    if (empty) {
        answer(h, 202);
        end_request(h);
    } else {
        refuse_request(h, status == TW_ERR_MEMORY ? 429 : 400);
    }
    return STATUS_WAIT;
}

static void http_delivered(connection *c) {
    http_connection *h = of(c);
    answer(h, 202);
    end_request(h);
}

/* ---- receiving ---- */

static tw_status receive_more(http_connection *h, tw_error *err) {
    if (!h->in) TRY(buffer_new(h->base.source->run->memory, MEMORY_FLOW, INPUT_BYTES, &h->in, err));
    tw_status status = connection_receive(&h->base, h->in->data, h->in->size, NULL, 0, &h->filled);
    h->at = 0;
    if (status != TW_OK) h->filled = 0;
    if (status == TW_ERR_DATA || (status == TW_OK && !h->filled)) return TW_END; /* its client knows: no answer */
    if (status == TW_OK && !h->base.since_ns) h->base.since_ns = clock_ns();
    return status;
}

static void parse(http_connection *h) {
    size_t n = h->filled - h->at;
    size_t done = http_parser_execute(&h->parser, &settings, (const char *)h->in->data + h->at, n);
    h->at += done;
    enum http_errno wrong = HTTP_PARSER_ERRNO(&h->parser);
    if (wrong == HPE_OK || wrong == HPE_PAUSED || h->refusal) return;
    h->refusal = wrong == HPE_HEADER_OVERFLOW ? 431 : 400;
}

static void set_up(http_connection *h) {
    http_parser_init(&h->parser, HTTP_REQUEST);
    h->parser.data = h;
    h->set_up = true;
}

/* Nothing to do until the socket can be read (or written to) again. */
static tw_status wait(http_connection *h, uint32_t events) {
    h->base.events = events;
    if (h->at == h->filled) {
        buffer_unref(h->in);
        h->in = NULL;
        h->filled = h->at = 0;
    }
    return STATUS_WAIT;
}

static tw_status http_receive(connection *c, uint32_t *ends, piece *out, tw_error *err) {
    http_connection *h = of(c);
    if (!h->set_up) set_up(h);
    if (c->expired) {
        if (h->within && !h->last) h->last = true, answer(h, 408);
        return TW_END;
    }
    while (!run_cancelled(c->source->run)) {
        if (!send_out(h)) return wait(h, EPOLLOUT);
        if (h->whole) {
            tw_status status = take_request(h, ends, out, err);
            if (status != STATUS_WAIT) return status;
            continue;
        }
        if (h->refusal) {
            refuse_request(h, h->refusal);
            continue;
        }
        if (h->last && !h->within) {
            h->passed_over += h->filled;
            h->at = h->filled;
            shutdown(c->fd, SHUT_WR);
            if (h->passed_over > REFUSED_BYTES_MAX) return TW_END;
        }
        if (h->at == h->filled) {
            if (!h->within) c->since_ns = h->last ? c->since_ns : clock_ns(); /* idle from now on */
            tw_status status = receive_more(h, err);
            if (status == STATUS_WAIT) return wait(h, EPOLLIN);
            if (status != TW_OK) return status;
            if (!h->within && !h->last) c->since_ns = clock_ns();
        }
        if (!h->last || h->within) parse(h);
    }
    return error_set(err, TW_ERR_CANCELLED, "interrupted");
}

/* No worker has had time for it in a while. Without locks of its own; the connection is closed soon. */
static void http_turn_away(connection *c) {
    http_connection *h = of(c);
    h->last = true;
    answer(h, 429);
    shutdown(c->fd, SHUT_WR);
}

static void http_free(connection *c) {
    http_connection *h = of(c);
    buffer_unref(h->in);
    buffer_unref(h->body);
}

const connection_class http_connection_class = {.bytes = sizeof(http_connection),
                                            .times_idle = true,
                                            .receive = http_receive,
                                            .delivered = http_delivered,
                                            .turn_away = http_turn_away,
                                            .free = http_free};

/* ---- options ---- */

static tw_status http_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    error_list *errors = plan_errors(b);
    live_options o = {.kind = "http", .listens = true, };
    const char *path = args_string(a, "path");
    o.framing = (stream_framing)args_enum(a, "framing");
    if (args_enum(a, "format") == FORMAT_BINARY && !args_given(a, "framing")) o.framing = STREAM_CONNECTION;
    if (path[0] != '/') return args_error(a, "path", errors, "must begin with '/'");
    tw_error wrong = {0};
    tw_status status = endpoint_of_tcp(args_string(a, "listen"), &o.endpoint, &wrong);
    if (status == TW_ERR_JOB) return args_error(a, "listen", errors, "%s", wrong.message);
    if (status == TW_OK) status = live_options_read(b, a, &o, err);
    if (status == TW_OK && !(o.path = strdup(path))) status = error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    if (status == TW_OK) return live_source_new(&o, &http_connection_class, out, out_schema, err);
    live_options_free(&o);
    return status;
}

static const option http_options[] = {
    {"listen", OPTION_STRING, OPTION_REQUIRED, "HOST:PORT to listen on; without a host on loopback; IPv6 in [...]"},
    {"path", OPTION_STRING, .default_text = "/", .help = "what requests ask for; others get 404"},
    {"framing", OPTION_ENUM, .values = stream_framing_names, .default_text = "newline",
     .help = "how a body is cut into messages; connection takes it as one, as does format binary"},
    FORMAT_OPTIONS,
    LIVE_OPTIONS,
    ENDLESS_OPTIONS,
};

const source_descriptor source_http = {
    .descriptor = {.name = "http",
                   .summary = "records in the bodies of POST requests, without end",
                   .options = http_options,
                   .n_options = COUNT_OF(http_options),
                   .details = "A request is answered with 202 when its records are with the steps. 400: it is malformed; "
                              "404, 405: another path, another method; 408: it took longer than the time-out; 413: "
                              "longer than max_message; 429 with Retry-After: there is no memory for it, or nobody had "
                              "time for it within a second, as the steps or the sink are behind.\n\nRecords that cannot "
                              "be read are bad records of the run, and the request is taken.",
                   .example = "source: { http: { listen: \"0.0.0.0:8080\", path: /events, format: json, "
                              "columns: { id: int64 } } }"},
    .build = http_build,
};
