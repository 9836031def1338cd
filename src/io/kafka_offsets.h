/* kafka_offsets.h: how far a source has come, epoch by epoch: lists of (topic, partition, next offset). */
#ifndef IO_KAFKA_OFFSETS_H
#define IO_KAFKA_OFFSETS_H

#include <librdkafka/rdkafka.h>

#include "base/text.h"

typedef struct kafka_mark {
    uint64_t epoch;
    rd_kafka_topic_partition_list_t *offsets;
} kafka_mark;

/* Start with {0}. Used by one thread at a time. */
typedef struct kafka_marks {
    kafka_mark *marks; /* the epochs that are not committed yet, growing */
    size_t n, capacity;
} kafka_marks;

/* Takes over `offsets`, also on failure. */
tw_status kafka_marks_add(kafka_marks *m, uint64_t epoch, rd_kafka_topic_partition_list_t *offsets, tw_error *err);
/* NULL: that epoch was not cut, or is forgotten. */
const rd_kafka_topic_partition_list_t *kafka_marks_find(const kafka_marks *m, uint64_t epoch);
/* A copy with `note` in each; the caller destroys it. TW_ERR_INTERNAL for an unknown epoch. */
tw_status kafka_marks_copy(const kafka_marks *m, uint64_t epoch, const char *note, rd_kafka_topic_partition_list_t **out,
                           tw_error *err);
void kafka_marks_forget(kafka_marks *m, uint64_t epoch); /* it and all before it */
void kafka_marks_free(kafka_marks *m);                   /* what it holds, not itself */

tw_status kafka_offsets_print(const rd_kafka_topic_partition_list_t *l, struct text *out, tw_error *err);
/* TW_ERR_DATA. */
tw_status kafka_offsets_parse(const char *bytes, size_t size, rd_kafka_topic_partition_list_t **out, tw_error *err);

#endif
