/* kafka_internal.h: what the sink's transactions ask of the source. */
#ifndef IO_KAFKA_INTERNAL_H
#define IO_KAFKA_INTERNAL_H

#include <librdkafka/rdkafka.h>

#include "io/kafka.h"

/* The offsets of an epoch with `note` in each, and the member of the group that has them; the caller destroys
 * both. */
tw_status kafka_source_offsets(source *s, uint64_t epoch, const char *note, rd_kafka_topic_partition_list_t **offsets,
                               rd_kafka_consumer_group_metadata_t **member, tw_error *err);
/* The offsets of the epoch and of earlier ones are committed. */
void kafka_source_forget(source *s, uint64_t epoch);

#endif
