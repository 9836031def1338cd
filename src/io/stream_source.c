/* stream_source.c: messages of a stream of bytes, cut by newline, length or connection.
 *
 * What is received stays where it is: messages are views into the buffer that the socket was read into. The
 * beginning of one that is not whole is copied to the front of the next buffer. A long message with a length
 * gets a buffer of its own size, and what comes goes straight into it, with the next length besides. Such a
 * buffer is large at once only for who has sent as much before: announcing costs nothing. */
#include "io/incoming.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "data/scan.h"
#include "io/connectors.h"
#include "io/stream_source.h"

#define CHUNK_BYTES_MIN ((size_t)16 << 10)
#define CHUNK_BYTES_MAX ((size_t)LENGTH_BYTES * FRAMES_MAX) /* so that all frames have room in `ends` */
#define DIRECT_BYTES_MIN ((size_t)64 << 10)
#define LOW_WATER_MAX ((size_t)512 << 10)
#define TRUSTED_BYTES_MIN ((size_t)1 << 20)

static incoming *of(connection *c) { return (incoming *)c; }
static const live_options *options_of(const incoming *s) { return &s->base.source->options; }

static void drop_input(incoming *s) {
    if (!s->in) return;
    connection_let_go(&s->base, s->in->size);
    buffer_unref(s->in);
    s->in = NULL;
    s->filled = s->scanned = 0;
}

/* Room for `bytes` in all. */
static tw_status make_room(incoming *s, size_t bytes, tw_error *err) {
    size_t old = s->in ? s->in->size : 0;
    if (old >= bytes) return TW_OK;
    buffer *larger;
    TRY(connection_hold(&s->base, old, bytes, &larger, err));
    if (s->filled) memcpy(larger->data, s->in->data, s->filled);
    buffer_unref(s->in);
    s->in = larger;
    return TW_OK;
}

/* Takes the first `cut` bytes away from what is held; `owner` is their buffer, the rest moves to another one. */
static tw_status split_off(incoming *s, size_t cut, buffer **owner, tw_error *err) {
    size_t rest = s->filled - cut, bytes = s->in->size;
    buffer *next = NULL;
    if (rest) {
        size_t room = rest + CHUNK_BYTES_MIN > s->chunk_bytes ? rest + CHUNK_BYTES_MIN : s->chunk_bytes;
        TRY(buffer_new(s->base.source->run->memory, MEMORY_FLOW, room, &next, err));
        memcpy(next->data, s->in->data + cut, rest);
    }
    *owner = s->in;
    connection_let_go(&s->base, bytes);
    s->in = NULL;
    s->filled = s->scanned = 0;
    if (!next) return TW_OK;
    s->in = next;
    s->filled = rest;
    connection_take(&s->base, next->size);
    return TW_OK;
}

static void learn(incoming *s, size_t message) {
    size_t bytes = message * 4;
    if (bytes > s->trusted) s->trusted = bytes;
}

static tw_status text_piece(incoming *s, size_t cut, piece *out, tw_error *err) {
    buffer *owner;
    TRY(split_off(s, cut, &owner, err));
    s->scanned = s->filled; /* whole lines were taken up to the last line feed */
    *out = (piece){.owner = owner, .bytes = owner->data, .size = cut, .start = !s->begun};
    s->begun = true;
    return TW_OK;
}

/* The piece is not given. */
static tw_status take_back(piece *p, tw_status status) {
    buffer_unref(p->owner);
    *p = (piece){0};
    return status;
}

static tw_status read_header(incoming *s, piece *p, tw_error *err) {
    tw_status status = p->start ? connection_read_header(&s->base, p, err) : TW_OK;
    return status == TW_OK ? TW_OK : take_back(p, status);
}

/* ---- a bad end ---- */

/* What is there is no message; the connection is over. */
__attribute__((format(printf, 3, 4)))
static tw_status spoilt(incoming *s, tw_error *err, const char *words, ...) {
    char reason[256];
    va_list arguments;
    va_start(arguments, words);
    vsnprintf(reason, sizeof reason, words, arguments);
    va_end(arguments);
    const uint8_t *raw = s->in ? s->in->data : s->header;
    tw_status status = connection_bad(&s->base, raw, s->in ? s->filled : s->header_bytes, reason, err);
    drop_input(s);
    return status == TW_OK ? TW_END : status;
}

static tw_status too_long(incoming *s, size_t length, tw_error *err) {
    return spoilt(s, err, "the message is announced with %zu bytes, more than max_message (%zu)", length,
                  options_of(s)->message_max);
}

static bool within_message(const incoming *s) {
    return s->filled || s->header_bytes || s->mode == RECEIVE_DIRECT;
}

/* ---- newline ---- */

static tw_status cut_newline(incoming *s, piece *out, tw_error *err) {
    const format *f = &options_of(s)->format;
    uint8_t quote = f->kind == FORMAT_CSV ? f->quote : 0;
    bool quoted = s->quoted;
    size_t cut = s->in ? cut_lines(s->in->data, s->filled, s->scanned, quote, &quoted) : 0;
    if (!cut && s->ended && s->filled) cut = s->filled; /* a last line without its end, the peer said so */
    if (!cut) {
        s->scanned = s->filled;
        s->quoted = quoted;
        if (s->filled > options_of(s)->message_max)
            return spoilt(s, err, "a line of more than max_message (%zu bytes)", options_of(s)->message_max);
        return s->ended ? TW_END : STATUS_WAIT;
    }
    TRY(text_piece(s, cut, out, err));
    s->quoted = quoted;
    return read_header(s, out, err);
}

/* ---- length ---- */

static bool in_frames(const incoming *s) { return options_of(s)->messages; }

/* Which messages the format can take: those that would spoil others are reported. */
static tw_status check_messages(incoming *s, const uint8_t *p, const uint32_t *ends, uint32_t n, bool *keep, bool *all,
                                tw_error *err) {
    const format *f = &options_of(s)->format;
    uint32_t from = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *m = p + from + LENGTH_BYTES;
        uint32_t size = ends[i] - from - LENGTH_BYTES;
        from = ends[i];
        keep[i] = true;
        const char *why = NULL;
        if (f->kind == FORMAT_RECORDS && size % f->record_bytes) why = "the message is not of whole records";
        if (f->kind == FORMAT_CSV && f->quote && count_byte(m, size, f->quote) % 2) why = "a quote is not closed";
        if (!why) continue;
        TRY(connection_bad(&s->base, m, size, why, err));
        keep[i] = *all = false;
    }
    return TW_OK;
}

/* Frames of text: the messages become lines of one piece. */
static tw_status lines_of_messages(incoming *s, const length_cut *c, const uint32_t *ends, piece *out, tw_error *err) {
    const format *f = &options_of(s)->format;
    bool all = true, checked = f->kind == FORMAT_RECORDS || f->kind == FORMAT_CSV;
    bool *keep = checked ? malloc(c->n) : NULL;
    if (checked && !keep) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    tw_status status = text_piece(s, c->bytes, out, err);
    if (status == TW_OK && checked) {
        status = check_messages(s, out->bytes, ends, c->n, keep, &all, err);
        if (status != TW_OK) take_back(out, status);
    }
    if (status == TW_OK) {
        out->size = lines_of_frames(out->owner->data, ends, c->n, all ? NULL : keep, f->kind != FORMAT_RECORDS);
        status = read_header(s, out, err);
    }
    free(keep);
    return status;
}

static tw_status begin_direct(incoming *s, size_t length) {
    s->mode = RECEIVE_DIRECT;
    s->length = length;
    return STATUS_WAIT;
}

static tw_status cut_length(incoming *s, uint32_t *ends, piece *out, tw_error *err) {
    size_t most = options_of(s)->message_max;
    if (!s->in) return s->ended ? TW_END : STATUS_WAIT;
    length_cut c = cut_lengths(s->in->data, s->filled, most, ends, FRAMES_MAX);
    if (c.n && in_frames(s)) {
        buffer *owner;
        TRY(split_off(s, c.bytes, &owner, err));
        *out = (piece){.owner = owner, .bytes = owner->data, .size = c.bytes, .frames = true, .n = c.n,
                       .first = LENGTH_BYTES, .gap = LENGTH_BYTES, .start = !s->begun};
        s->begun = true;
        return TW_OK;
    }
    if (c.n) return lines_of_messages(s, &c, ends, out, err);
    if (c.announced && c.next > most) return too_long(s, c.next, err);
    if (s->ended && s->filled)
        return spoilt(s, err, "the peer went away within a message, after %zu bytes, its length among them", s->filled);
    if (!c.announced || c.next < DIRECT_BYTES_MIN) return s->ended ? TW_END : STATUS_WAIT;
    s->filled -= LENGTH_BYTES;
    memmove(s->in->data, s->in->data + LENGTH_BYTES, s->filled);
    return begin_direct(s, c.next);
}

/* A long message is whole, and perhaps the next length too. */
static tw_status end_direct(incoming *s, uint32_t *ends, piece *out, tw_error *err) {
    buffer *owner;
    const format *f = &options_of(s)->format;
    if (!in_frames(s) && f->kind == FORMAT_RECORDS && s->length % f->record_bytes) {
        TRY(connection_bad(&s->base, s->in->data, s->length, "the message is not of whole records", err));
        drop_input(s);
        s->mode = RECEIVE_LENGTH;
        return STATUS_WAIT;
    }
    learn(s, s->length);
    TRY(split_off(s, s->length, &owner, err));
    *out = (piece){.owner = owner, .bytes = owner->data, .size = s->length, .start = !s->begun};
    if (in_frames(s)) {
        ends[0] = (uint32_t)s->length;
        out->frames = true;
        out->n = 1;
    }
    s->begun = true;
    s->mode = RECEIVE_LENGTH;
    return in_frames(s) ? TW_OK : read_header(s, out, err);
}

/* Goes on from the length alone. */
static tw_status end_length(incoming *s, tw_error *err) {
    size_t length = length_read(s->header), most = options_of(s)->message_max;
    if (length > most) return too_long(s, length, err);
    if (length >= DIRECT_BYTES_MIN) {
        s->header_bytes = 0;
        return begin_direct(s, length);
    }
    TRY(make_room(s, CHUNK_BYTES_MIN, err));
    memcpy(s->in->data, s->header, LENGTH_BYTES);
    s->filled = LENGTH_BYTES;
    s->header_bytes = 0;
    s->mode = RECEIVE_CHUNK;
    return STATUS_WAIT;
}

/* ---- connection ---- */

static tw_status cut_connection(incoming *s, uint32_t *ends, piece *out, tw_error *err) {
    if (s->filled > options_of(s)->message_max)
        return spoilt(s, err, "a message of more than max_message (%zu bytes)", options_of(s)->message_max);
    if (!s->ended) return STATUS_WAIT;
    if (!s->filled) return TW_END;
    size_t size = s->filled;
    TRY(text_piece(s, size, out, err));
    if (!in_frames(s)) return read_header(s, out, err);
    ends[0] = (uint32_t)size;
    out->frames = true;
    out->n = 1;
    return TW_OK;
}

/* ---- receiving ---- */

/* Whole messages among what is there. STATUS_WAIT: more is needed. */
static tw_status cut(incoming *s, uint32_t *ends, piece *out, tw_error *err) {
    switch (options_of(s)->framing) {
    case STREAM_NEWLINE: return cut_newline(s, out, err);
    case STREAM_LENGTH:
        if (s->mode == RECEIVE_DIRECT && s->in && s->filled == s->length) return end_direct(s, ends, out, err);
        if (s->mode == RECEIVE_LENGTH && s->header_bytes == LENGTH_BYTES) return end_length(s, err);
        if (s->mode == RECEIVE_CHUNK) return cut_length(s, ends, out, err);
        if (!s->ended) return STATUS_WAIT;
        if (!within_message(s)) return TW_END;
        return spoilt(s, err, "the peer went away within a message, after %zu bytes", s->filled);
    default: return cut_connection(s, ends, out, err);
    }
}

/* A chunk is as large as what came last, doubled; a message that does not fit makes it grow. */
static tw_status chunk_room(incoming *s, tw_error *err) {
    size_t have = s->in ? s->in->size : 0, most = options_of(s)->message_max + 1;
    size_t grown = s->filled * 2 < most ? s->filled * 2 : most;
    bool cramped = have - s->filled < s->chunk_bytes / 2;
    size_t bytes = s->chunk_bytes;
    if (options_of(s)->framing == STREAM_LENGTH) bytes = CHUNK_BYTES_MAX < s->chunk_bytes ? CHUNK_BYTES_MAX : bytes;
    else if (cramped && s->filled >= bytes / 2) bytes = grown > s->filled + CHUNK_BYTES_MIN ? grown : s->filled + CHUNK_BYTES_MIN;
    if (bytes <= s->filled) bytes = s->filled + CHUNK_BYTES_MIN;
    return cramped ? make_room(s, bytes, err) : TW_OK;
}

static tw_status receive_chunk(incoming *s, size_t *got, tw_error *err) {
    TRY(chunk_room(s, err));
    size_t room = s->in->size - s->filled;
    TRY(connection_receive(&s->base, s->in->data + s->filled, room, NULL, 0, got));
    s->filled += *got;
    if (*got == room && s->chunk_bytes < CHUNK_BYTES_MAX) s->chunk_bytes *= 2;
    else if (*got < s->chunk_bytes / 4 && s->chunk_bytes > CHUNK_BYTES_MIN) s->chunk_bytes /= 2;
    return TW_OK;
}

static tw_status receive_direct(incoming *s, size_t *got, tw_error *err) {
    size_t have = s->in ? s->in->size : 0;
    if (have < s->length && have - s->filled < have / 8 + 1) {
        size_t most = s->filled * 4 > s->trusted ? s->filled * 4 : s->trusted;
        TRY(make_room(s, s->length < most ? s->length : most, err));
        have = s->in->size;
    }
    size_t left = (have < s->length ? have : s->length) - s->filled;
    bool last = s->filled + left == s->length;
    TRY(connection_receive(&s->base, s->in->data + s->filled, left, last ? s->header : NULL, LENGTH_BYTES, got));
    size_t into = *got < left ? *got : left;
    s->filled += into;
    s->header_bytes = *got - into;
    return TW_OK;
}

static tw_status receive_some(incoming *s, tw_error *err) {
    size_t got = 0;
    tw_status status;
    if (s->mode == RECEIVE_DIRECT) {
        status = receive_direct(s, &got, err);
    } else if (s->mode == RECEIVE_LENGTH) {
        status = connection_receive(&s->base, s->header + s->header_bytes, LENGTH_BYTES - s->header_bytes, NULL, 0, &got);
        s->header_bytes += got;
    } else {
        status = receive_chunk(s, &got, err);
    }
    if (status == TW_OK && !got) s->ended = true;
    if (status != TW_ERR_DATA) return status;
    return within_message(s) ? spoilt(s, err, "the connection broke within a message, after %zu bytes", s->filled)
                             : TW_END;
}

/* The rest of a long message is waited for in large pieces: a worker is not woken for each packet. */
static void choose_low_water(incoming *s) {
    size_t left = s->mode == RECEIVE_DIRECT ? s->length - s->filled : 1;
    int bytes = (int)(left < LOW_WATER_MAX ? left : LOW_WATER_MAX);
    if (bytes == s->low_water) return;
    s->low_water = bytes;
    setsockopt(s->base.fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes); /* refused by Unix sockets */
}

/* Nothing is held without need while the peer is silent. */
static void rest(incoming *s) {
    choose_low_water(s);
    if (s->in && !s->filled) drop_input(s);
    buffer *smaller;
    size_t have = s->in ? s->in->size : 0;
    bool roomy = have > 2 * CHUNK_BYTES_MIN && s->filled < have / 8 && s->mode == RECEIVE_CHUNK;
    if (roomy && connection_hold(&s->base, have, s->filled + CHUNK_BYTES_MIN, &smaller, NULL) == TW_OK) {
        memcpy(smaller->data, s->in->data, s->filled);
        buffer_unref(s->in);
        s->in = smaller;
    }
    s->base.since_ns = within_message(s) ? clock_ns() : 0;
}

static tw_status incoming_receive(connection *c, uint32_t *ends, piece *out, tw_error *err) {
    incoming *s = of(c);
    if (!s->chunk_bytes) {
        s->chunk_bytes = CHUNK_BYTES_MIN;
        s->trusted = TRUSTED_BYTES_MIN;
        s->low_water = 1;
    }
    if (c->expired) return spoilt(s, err, "the peer stands still within a message, after %zu bytes", s->filled);
    while (!run_cancelled(c->source->run)) {
        tw_status status = cut(s, ends, out, err);
        if (status != STATUS_WAIT) return status;
        if (s->mode == RECEIVE_LENGTH && s->header_bytes == LENGTH_BYTES) continue;
        status = receive_some(s, err);
        if (status == STATUS_WAIT) rest(s);
        if (status != TW_OK) return status;
    }
    return error_set(err, TW_ERR_CANCELLED, "interrupted");
}

static void incoming_free(connection *c) { buffer_unref(of(c)->in); }

const connection_class incoming_class = {
    .bytes = sizeof(incoming), .receive = incoming_receive, .free = incoming_free};

/* ---- options ---- */

tw_status live_endpoint_read(error_list *errors, const args *a, bool tcp, endpoint *out, bool *listens, tw_error *err) {
    bool listen = args_given(a, "listen"), call = args_given(a, "connect");
    const char *name = listen ? "listen" : "connect";
    if (listen == call)
        return args_error(a, name, errors, listen ? "stands beside listen: one of them" : "or listen must be given");
    tw_error wrong = {0};
    *listens = listen;
    const char *text = args_string(a, name);
    tw_status status = tcp ? endpoint_of_tcp(text, out, &wrong) : endpoint_of_unix(text, out, &wrong);
    if (status == TW_ERR_JOB) return args_error(a, name, errors, "%s", wrong.message);
    if (status != TW_OK && err) *err = wrong;
    return status;
}

/* The messages as they are. */
static tw_status message_format(format *f, tw_error *err) {
    const char *name = "content";
    const type *t = type_of(TYPE_BINARY);
    *f = (format){.kind = FORMAT_BINARY};
    return schema_new(&name, &t, 1, &f->schema, err);
}

static tw_status check_framing(error_list *errors, const args *a, const live_options *o) {
    bool lines = o->framing == STREAM_NEWLINE;
    if (lines && (o->format.kind == FORMAT_RECORDS || o->messages))
        return args_error(a, "format", errors, "%s may hold line feeds: set framing to length or connection",
                          format_names[o->format.kind]);
    return TW_OK;
}

tw_status live_options_read(plan_builder *b, const args *a, live_options *o, tw_error *err) {
    error_list *errors = plan_errors(b);
    int given = args_enum(a, "format");
    o->message_max = (size_t)args_int(a, "max_message");
    o->timeout_ns = (uint64_t)args_int(a, "timeout") * 1000;
    o->messages = given == FORMAT_BINARY || (given < 0 && o->framing != STREAM_NEWLINE);
    TRY(format_from_args(errors, a, NULL, 0, o->messages ? FORMAT_BINARY : FORMAT_LINES, &o->format, err));
    if (o->messages) {
        format_free(&o->format);
        TRY(message_format(&o->format, err));
    }
    if (!o->format.schema && o->format.n_columns) TRY(format_schema_of_columns(&o->format, err));
    if (!o->format.schema)
        return args_error(a, "format", errors, "%s needs `columns` here: rows that are yet to come cannot tell their types",
                          format_names[o->format.kind]);
    return check_framing(errors, a, o);
}

/* Takes over the endpoint. */
static tw_status build_stream(plan_builder *b, const args *a, live_options *o, source **out, schema **out_schema,
                              tw_error *err) {
    o->framing = (stream_framing)args_enum(a, "framing");
    if (args_given(a, "retry") && o->listens) {
        tw_status status = args_error(a, "retry", plan_errors(b), "is for connect");
        live_options_free(o);
        return status;
    }
    o->retry_ns = (uint64_t)args_int(a, "retry") * 1000;
    tw_status status = live_options_read(b, a, o, err);
    if (status != TW_OK) {
        live_options_free(o);
        return status;
    }
    return live_source_new(o, &incoming_class, out, out_schema, err);
}

/* ---- tcp and unix ---- */

static tw_status build(plan_builder *b, const args *a, bool tcp, source **out, schema **out_schema, tw_error *err) {
    live_options o = {.kind = tcp ? "tcp" : "unix"};
    TRY(live_endpoint_read(plan_errors(b), a, tcp, &o.endpoint, &o.listens, err));
    return build_stream(b, a, &o, out, out_schema, err);
}

static tw_status tcp_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    return build(b, a, true, out, out_schema, err);
}
static tw_status unix_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    return build(b, a, false, out, out_schema, err);
}

#define STREAM_OPTIONS FRAMING_OPTION, FORMAT_OPTIONS, LIVE_OPTIONS, ENDLESS_OPTIONS, RETRY_OPTION

#define STREAM_DETAILS                                                                                 \
    "Without `format` a message is a row: 'line' with framing newline, else 'content'. With a format a message holds " \
    "one or more records; csv and json need `columns`, and a csv header is the first record of each connection.\n\n" \
    "newline: a last line without its end counts if the peer closed orderly. length and connection: what is cut off " \
    "by the end of its connection is a bad record, as is what exceeds max_message; the connection is closed.\n\n" \
    "The source ends when the run is told to (SIGINT, SIGTERM): whole messages that have come are still taken."

static const option tcp_options[] = {
    {"listen", OPTION_STRING, .help = "HOST:PORT to listen on; without a host on loopback; IPv6 in [...]"},
    {"connect", OPTION_STRING, .help = "HOST:PORT of a peer to call, again when it is lost"},
    STREAM_OPTIONS,
};

const source_descriptor source_tcp = {
    .descriptor = {.name = "tcp",
                   .summary = "messages from TCP connections, without end",
                   .options = tcp_options,
                   .n_options = COUNT_OF(tcp_options),
                   .details = STREAM_DETAILS,
                   .example = "source: { tcp: { listen: \"0.0.0.0:7000\", framing: length } }"},
    .build = tcp_build,
};

static const option unix_options[] = {
    {"listen", OPTION_PATH, .help = "the path of the socket to make, for its owner only"},
    {"connect", OPTION_PATH, .help = "the path of a socket to call, again when it is lost"},
    STREAM_OPTIONS,
};

const source_descriptor source_unix = {
    .descriptor = {.name = "unix",
                   .summary = "messages from connections to a Unix socket, without end",
                   .options = unix_options,
                   .n_options = COUNT_OF(unix_options),
                   .details = STREAM_DETAILS,
                   .example = "source: { unix: { listen: /run/user/1000/events.sock, format: json, "
                              "columns: { id: int64 } } }"},
    .build = unix_build,
};
