/* http_sink.c: the sink `http`: rows as bodies of POST requests, one at a time, each answered before the next. */
#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "io/connectors.h"
#include "io/socket_sink.h"
#include "io/stream_source.h"

enum { PATH_MAX_BYTES = 256, PEER_MAX_BYTES = 160 };
#define AGAIN_NS 1000000000u /* without Retry-After */

typedef struct http_target {
    char path[PATH_MAX_BYTES + 1], host[PEER_MAX_BYTES + 1];
    const char *content_type;
} http_target;

static size_t request_head(void *context, size_t n, uint8_t out[PARCEL_HEAD_MAX]) {
    const http_target *t = context;
    int bytes = snprintf((char *)out, PARCEL_HEAD_MAX, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
                         t->path, t->host, t->content_type, n);
    return (size_t)bytes;
}

/* ---- answers ---- */

typedef struct answer_state {
    http_parser parser;
    bool begun, whole;
    bool in_retry_after;
    unsigned retry_after_s;
} answer_state;

static int on_field(http_parser *p, const char *at, size_t n) {
    ((answer_state *)p->data)->in_retry_after = n == 11 && strncasecmp(at, "Retry-After", n) == 0;
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t n) {
    answer_state *s = p->data;
    for (size_t i = 0; s->in_retry_after && i < n && at[i] >= '0' && at[i] <= '9' && s->retry_after_s < 3600; i++)
        s->retry_after_s = s->retry_after_s * 10 + (unsigned)(at[i] - '0');
    return 0;
}

static int on_complete(http_parser *p) {
    ((answer_state *)p->data)->whole = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_header_field = on_field, .on_header_value = on_value, .on_message_complete = on_complete};

static answer judge(answer_state *s, uint64_t *again_ns, tw_error *err) {
    unsigned code = s->parser.status_code;
    if (code / 100 == 1) return ANSWER_NONE;
    if (code / 100 == 2) return ANSWER_TAKEN;
    if (code == 408 || code == 429 || code / 100 == 5) {
        *again_ns = s->retry_after_s ? s->retry_after_s * UINT64_C(1000000000) : AGAIN_NS;
        return ANSWER_LATER;
    }
    error_set(err, TW_ERR_IO, "http: the answer is %u %s", code, http_status_str((enum http_status)code));
    return ANSWER_REFUSED;
}

static answer read_answer(void *state, const uint8_t *bytes, size_t n, uint64_t *again_ns, tw_error *err) {
    answer_state *s = state;
    answer result = ANSWER_NONE;
    while (n && result == ANSWER_NONE) {
        if (!s->begun) {
            http_parser_init(&s->parser, HTTP_RESPONSE);
            s->parser.data = s;
            s->begun = true;
            s->retry_after_s = 0;
        }
        size_t done = http_parser_execute(&s->parser, &settings, (const char *)bytes, n);
        enum http_errno wrong = HTTP_PARSER_ERRNO(&s->parser);
        if (wrong != HPE_OK && wrong != HPE_PAUSED) return ANSWER_BROKEN;
        bytes += done;
        n -= done;
        if (!s->whole) return ANSWER_NONE;
        result = judge(s, again_ns, err);
        s->begun = s->whole = false;
    }
    return n ? ANSWER_BROKEN : result; /* more than one answer */
}

/* ---- options ---- */

static const char *content_type_of(format_kind kind) {
    switch (kind) {
    case FORMAT_JSON: return "application/x-ndjson";
    case FORMAT_CSV: return "text/csv";
    case FORMAT_LINES: return "text/plain; charset=utf-8";
    default: return "application/octet-stream";
    }
}

static tw_status read_options(error_list *errors, const args *a, socket_sink_options *o, tw_error *err) {
    const char *path = args_string(a, "path");
    if (path[0] != '/' || strlen(path) > PATH_MAX_BYTES || strpbrk(path, " \r\n\t"))
        return args_error(a, "path", errors, "must begin with '/', without blanks, at most %d bytes", PATH_MAX_BYTES);
    if (strlen(o->endpoint.text) > PEER_MAX_BYTES) return args_error(a, "connect", errors, "is too long");
    TRY(socket_sink_read_format(errors, a, FORMAT_LINES, &o->encode));
    o->framing = o->encode.kind == FORMAT_BINARY ? STREAM_CONNECTION : STREAM_NEWLINE;
    o->sender.retry_ns = (uint64_t)args_int(a, "retry") * 1000;
    o->sender.timeout_ns = (uint64_t)args_int(a, "timeout") * 1000;
    o->sender.read_answer = read_answer;
    o->sender.state_bytes = sizeof(answer_state);
    http_target *t = calloc(1, sizeof *t);
    if (!t) return error_set(err, TW_ERR_MEMORY, "out of memory for a sink");
    strcpy(t->path, path);
    strcpy(t->host, o->endpoint.text);
    t->content_type = content_type_of(o->encode.kind);
    o->head = request_head;
    o->context = t;
    return TW_OK;
}

static tw_status http_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    socket_sink_options o = {.sender.kind = "http"};
    tw_error wrong = {0};
    tw_status status = endpoint_of_tcp(args_string(a, "connect"), &o.endpoint, &wrong);
    if (status == TW_ERR_JOB) return args_error(a, "connect", plan_errors(b), "%s", wrong.message);
    if (status == TW_OK) status = read_options(plan_errors(b), a, &o, err);
    if (status == TW_OK) return socket_sink_new(b, a, s, &o, out, err);
    endpoint_free(&o.endpoint);
    return status;
}

static const option http_options[] = {
    {"connect", OPTION_STRING, OPTION_REQUIRED, "HOST:PORT of the server"},
    {"path", OPTION_STRING, .default_text = "/", .help = "what is asked for"},
    SINK_FORMAT_OPTIONS,
    RETRY_OPTION,
    {"timeout", OPTION_DURATION, .default_text = "60s", .max = INT64_C(86400000000),
     .help = "a request without an answer for so long is sent again"},
};

const sink_descriptor sink_http = {
    .descriptor = {.name = "http", .summary = "rows as bodies of POST requests",
                   .options = http_options, .n_options = COUNT_OF(http_options),
                   .details = "Each batch is a request, with format binary each row; csv has its header in each. They are sent "
                              "one after the other, in row order. 2xx: taken; 408, 429 and 5xx: sent again after "
                              "Retry-After or a second; other answers end the run. A request whose answer was lost is sent "
                              "again: rows arrive at least once.",
                   .example = "sink: { http: { connect: \"10.0.0.7:8080\", path: /events, format: json } }"},
    .build = http_build,
};
