/* stream_sink.c: the sinks `tcp` and `unix`: rows as messages on a stream of bytes. */
#include "io/connectors.h"
#include "io/socket_sink.h"
#include "io/stream_source.h"

static tw_status read_options(error_list *errors, const args *a, socket_sink_options *o) {
    o->framing = (stream_framing)args_enum(a, "framing");
    format_kind usual = o->framing == STREAM_NEWLINE ? FORMAT_LINES : FORMAT_BINARY;
    TRY(socket_sink_read_format(errors, a, usual, &o->encode));
    bool bytes = o->encode.kind == FORMAT_BINARY || o->encode.kind == FORMAT_RECORDS;
    if (o->framing == STREAM_NEWLINE && bytes)
        return args_error(a, "format", errors, "%s may hold line feeds: set framing to length or connection",
                          format_names[o->encode.kind]);
    if (o->framing == STREAM_CONNECTION && o->sender.listens)
        return args_error(a, "framing", errors, "connection makes one for each message: it needs connect");
    o->sender.connection_each = o->framing == STREAM_CONNECTION;
    o->sender.retry_ns = (uint64_t)args_int(a, "retry") * 1000;
    if (o->sender.listens) o->sender.timeout_ns = (uint64_t)args_int(a, "timeout") * 1000;
    return TW_OK;
}

static tw_status build(plan_builder *b, const args *a, bool tcp, schema *s, sink **out, tw_error *err) {
    socket_sink_options o = {.sender.kind = tcp ? "tcp" : "unix"};
    TRY(live_endpoint_read(plan_errors(b), a, tcp, &o.endpoint, &o.sender.listens, err));
    tw_status status = read_options(plan_errors(b), a, &o);
    if (status == TW_OK) return socket_sink_new(b, a, s, &o, out, err);
    endpoint_free(&o.endpoint);
    return status;
}

static tw_status tcp_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    return build(b, a, true, s, out, err);
}
static tw_status unix_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    return build(b, a, false, s, out, err);
}

#define SENDING_OPTIONS                                                                                \
    FRAMING_OPTION,                                                                                    \
    SINK_FORMAT_OPTIONS,                                                                               \
    RETRY_OPTION,                                                                                      \
    {"timeout", OPTION_DURATION, .default_text = "60s", .max = INT64_C(86400000000),                   \
     .help = "with listen: who takes nothing for so long is let go; 0s: nobody is"}

#define SENDING_DETAILS                                                                                \
    "Rows are sent in row order, each batch as soon as it is there. With connect the peer is called again when it is " \
    "lost: a message that was cut is sent again whole, what the system had taken may be gone with the connection. " \
    "With listen everybody who connects gets all rows from then on; without anybody they wait, and so does the " \
    "job.\n\nWhat is not taken makes the whole job wait: nothing is dropped."

static const option tcp_options[] = {
    {"connect", OPTION_STRING, .help = "HOST:PORT of the peer to send to"},
    {"listen", OPTION_STRING, .help = "HOST:PORT to listen on; without a host on loopback; IPv6 in [...]"},
    SENDING_OPTIONS,
};

static const option unix_options[] = {
    {"connect", OPTION_PATH, .help = "the path of the socket to send to"},
    {"listen", OPTION_PATH, .help = "the path of a socket to make, for its owner only"},
    SENDING_OPTIONS,
};

const sink_descriptor sink_tcp = {
    .descriptor = {.name = "tcp", .summary = "messages over TCP",
                   .options = tcp_options, .n_options = COUNT_OF(tcp_options),
                   .details = SENDING_DETAILS,
                   .example = "sink: { tcp: { connect: \"10.0.0.7:7000\", format: json } }"},
    .build = tcp_build,
};

const sink_descriptor sink_unix = {
    .descriptor = {.name = "unix", .summary = "messages over a Unix socket",
                   .options = unix_options, .n_options = COUNT_OF(unix_options),
                   .details = SENDING_DETAILS,
                   .example = "sink: { unix: { connect: /run/user/1000/rows.sock, format: csv } }"},
    .build = unix_build,
};
