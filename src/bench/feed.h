/* feed.h: one connection of the generator to the engine: whole messages go in, and it is counted how long the other side did
 * not take them. Used by one thread. */
#ifndef BENCH_FEED_H
#define BENCH_FEED_H

#include "bench/feed_kafka.h"
#include "bench/grid.h"
#include "io/socket.h"

typedef struct feed {
    connector kind;
    uint64_t blocked_ns; /* so far, in feed_send; the caller may set it back */
    bool broken;         /* left within a message: nothing more can be sent */
    int fd;
    feed_kafka *kafka;
    char *folder;        /* follow */
    uint64_t n_files, n_removed;
    uint64_t number;     /* tells the files of feeds apart */
    endpoint endpoint;
} feed;

/* Calls again until `until_ns` (clock_ns). `target` is HOST:PORT, a path, a folder or BROKERS/TOPIC/PARTITIONS. TW_ERR_IO. */
tw_status feed_open(connector kind, const char *target, unsigned number, uint64_t until_ns, feed *out, tw_error *err);
/* How many bytes of messages are best sent at once. */
size_t feed_batch_bytes(connector kind);
/* Sends whole messages, framed. TW_END: until_ns came first, the feed is broken. TW_ERR_IO. */
tw_status feed_send(feed *f, const uint8_t *bytes, size_t n, uint64_t until_ns, tw_error *err);
/* follow: removes files but for the newest `kept`. */
void feed_clean(feed *f, uint64_t kept);
void feed_close(feed *f);

#endif
