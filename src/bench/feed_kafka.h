/* feed_kafka.h: a topic as what a feed sends to: made when it is opened, deleted when it is closed. */
#ifndef BENCH_FEED_KAFKA_H
#define BENCH_FEED_KAFKA_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct feed_kafka feed_kafka;

/* target: BROKERS/TOPIC/PARTITIONS. Waits until the brokers know the topic, but not beyond until_ns. */
tw_status feed_kafka_open(const char *target, uint64_t until_ns, feed_kafka **out, tw_error *err);
/* Messages with their lengths before them. Adds to *blocked_ns how long librdkafka took no more. TW_END: until_ns came. */
tw_status feed_kafka_send(feed_kafka *f, const uint8_t *bytes, size_t n, uint64_t until_ns, uint64_t *blocked_ns, tw_error *err);
void feed_kafka_close(feed_kafka *f); /* NULL is allowed */

#endif
