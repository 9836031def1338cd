/* stream_source.h: what sources and sinks of messages share in their options: tcp, unix, http. */
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

#define FRAMING_OPTION                                                                                 \
    {"framing", OPTION_ENUM, .values = stream_framing_names, .default_text = "newline",                \
     .help = "how messages are told apart; length is 4 bytes big-endian before each"}

#define RETRY_OPTION                                                                                   \
    {"retry", OPTION_DURATION, .default_text = "30s", .max = INT64_C(86400000000),                     \
     .help = "with connect: how long a peer that does not answer is called again"}

/* Reads FORMAT_OPTIONS and LIVE_OPTIONS: the schema is known without a look at data. TW_ERR_JOB. */
tw_status live_options_read(plan_builder *b, const args *a, live_options *o, tw_error *err);
/* Either listen or connect, as HOST:PORT (or, of a Unix socket, a path). TW_ERR_JOB. */
tw_status live_endpoint_read(error_list *errors, const args *a, bool tcp, endpoint *out, bool *listens, tw_error *err);

#endif
