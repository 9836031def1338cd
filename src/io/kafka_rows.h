/* kafka_rows.h: messages of one partition as batches. */
#ifndef IO_KAFKA_ROWS_H
#define IO_KAFKA_ROWS_H

#include "io/format.h"
#include "io/kafka_client.h"

/* What all readers of a source share. */
typedef struct kafka_rows_plan {
    format format;   /* FORMAT_BINARY: `content` and `key` */
    const bool *needed; /* NULL: all */
    run_context *run;
    kafka_client *client;
} kafka_rows_plan;

typedef struct kafka_rows {
    const kafka_rows_plan *plan;
    const char *name;        /* "orders/3" */
    rd_kafka_message_t **messages; /* NULL: done with. Room for as many as may come, kept */
    size_t n, at;            /* from `at` on they are still to be read */
    decoder *decoder;        /* NULL for binary */
    bool fed;
    char place[320];         /* of what the decoder was fed: the name, and perhaps an offset */
    uint64_t position;       /* of the next row */
} kafka_rows;

/* The next batch of what was put in; TW_END when all is used up. As reader_class.next. */
tw_status kafka_rows_next(kafka_rows *r, batch **out, tw_error *err);
/* Destroys the messages that are left. */
void kafka_rows_drop(kafka_rows *r);

#endif
