/* socket_sink.h: sinks that send rows over sockets, in row order: tcp, unix, http. */
#ifndef IO_SOCKET_SINK_H
#define IO_SOCKET_SINK_H

#include "engine/plan.h"
#include "io/sender.h"

typedef struct socket_sink_options {
    sender_options sender;  /* endpoint and format are filled in */
    endpoint endpoint;
    encode_options encode;
    stream_framing framing;
    size_t (*head)(void *context, size_t n, uint8_t out[PARCEL_HEAD_MAX]); /* http */
    void *context;          /* of head; freed with the sink */
} socket_sink_options;

#define SINK_FORMAT_OPTIONS                                                                            \
    {"format", OPTION_ENUM, .values = format_names, .default_note = "lines with framing newline, else binary", \
     .help = "how a row becomes a message"},                                                           \
    {"header", OPTION_BOOL, .default_text = "true", .help = "csv: the first message of a connection names the columns"}, \
    {"delimiter", OPTION_STRING, .default_note = "','", .help = "csv: one byte between fields"},       \
    {"quote", OPTION_STRING, .default_note = "'\"'", .help = "csv: one byte, or '' for none"}

/* Reads SINK_FORMAT_OPTIONS. TW_ERR_JOB. */
tw_status socket_sink_read_format(error_list *errors, const args *a, format_kind fallback, encode_options *out);
/* Takes over the endpoint and context, also on failure. */
tw_status socket_sink_new(plan_builder *b, const args *a, schema *s, socket_sink_options *o, sink **out, tw_error *err);

#endif
