/* stream_source.h: sources of messages on a stream of bytes: tcp, unix. */
#ifndef IO_STREAM_SOURCE_H
#define IO_STREAM_SOURCE_H

#include "io/live_source.h"

#define MESSAGE_MAX_MAX (INT64_C(1) << 29)

/* What endless sources have in common. */
#define LIVE_OPTIONS                                                                                   \
    {"max_message", OPTION_SIZE, .default_text = "64MiB", .min = 1, .max = MESSAGE_MAX_MAX,            \
     .help = "a longer message is a bad record; at most a quarter of run.memory"},                     \
    {"timeout", OPTION_DURATION, .default_text = "60s", .max = INT64_C(86400000000),                   \
     .help = "a connection that stands still within a message is closed after it; 0s: never"}

#define RETRY_OPTION                                                                                   \
    {"retry", OPTION_DURATION, .default_text = "30s", .max = INT64_C(86400000000),                     \
     .help = "with connect: how long a peer that does not answer is called again"}

#define STREAM_DETAILS                                                                                 \
    "Without `format` a message is a row: 'line' with framing newline, else 'content'. With a format a message holds " \
    "one or more records; csv and json need `columns`, and a csv header is the first record of each connection.\n\n" \
    "newline: a last line without its end counts if the peer closed orderly. length and connection: what is cut off " \
    "by the end of its connection is a bad record, as is what exceeds max_message; the connection is closed.\n\n" \
    "The source ends when the run is told to (SIGINT, SIGTERM): whole messages that have come are still taken."

/* A source that reads `options->endpoint` as the other options say (FORMAT_OPTIONS, framing, LIVE_OPTIONS).
 * Takes over the endpoint. */
tw_status stream_source_build(plan_builder *b, const args *a, live_options *options, source **out,
                              schema **out_schema, tw_error *err);
/* Reads FORMAT_OPTIONS and LIVE_OPTIONS: the schema is known without a look at data. TW_ERR_JOB. */
tw_status live_options_read(plan_builder *b, const args *a, live_options *o, tw_error *err);
/* Either listen or connect, as HOST:PORT (or, of a Unix socket, a path). TW_ERR_JOB. */
tw_status live_endpoint_read(error_list *errors, const args *a, bool tcp, endpoint *out, bool *listens, tw_error *err);

#endif
