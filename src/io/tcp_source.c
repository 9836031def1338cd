/* tcp_source.c: the source `tcp`: messages of connections that are accepted or made. */
#include "io/connectors.h"
#include "io/stream_source.h"

static tw_status tcp_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    live_options o = {.kind = "tcp"};
    TRY(live_endpoint_read(plan_errors(b), a, true, &o.endpoint, &o.listens, err));
    return stream_source_build(b, a, &o, out, out_schema, err);
}

static const option tcp_options[] = {
    {"listen", OPTION_STRING, .help = "HOST:PORT to listen on; without a host on loopback; IPv6 in [...]"},
    {"connect", OPTION_STRING, .help = "HOST:PORT of a peer to call, again when it is lost"},
    {"framing", OPTION_ENUM, .values = stream_framing_names, .default_text = "newline",
     .help = "how messages are told apart; length is 4 bytes big-endian before each"},
    FORMAT_OPTIONS,
    LIVE_OPTIONS,
    ORDERED_OPTION,
    RETRY_OPTION,
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
