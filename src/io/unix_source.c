/* unix_source.c: the source `unix`: as tcp, over a socket in the file system. */
#include "io/connectors.h"
#include "io/stream_source.h"

static tw_status unix_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    live_options o = {.kind = "unix"};
    TRY(live_endpoint_read(plan_errors(b), a, false, &o.endpoint, &o.listens, err));
    return stream_source_build(b, a, &o, out, out_schema, err);
}

static const option unix_options[] = {
    {"listen", OPTION_PATH, .help = "the path of the socket to make, for its owner only"},
    {"connect", OPTION_PATH, .help = "the path of a socket to call, again when it is lost"},
    {"framing", OPTION_ENUM, .values = stream_framing_names, .default_text = "newline",
     .help = "how messages are told apart; length is 4 bytes big-endian before each"},
    FORMAT_OPTIONS,
    LIVE_OPTIONS,
    ORDERED_OPTION,
    RETRY_OPTION,
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
