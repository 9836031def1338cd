#include "bench/feed_kafka.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "io/framing.h"

enum { LOOK_MS = 100, ADMIN_MS = 5000 };

struct feed_kafka {
    rd_kafka_t *handle;
    rd_kafka_topic_t *topic;
    char name[256];
};

static void say_nothing(const rd_kafka_t *handle, int level, const char *facility, const char *words) {}

/* Large batches soon sent: what a producer of many messages is advised to do; what waits is bounded. */
static rd_kafka_conf_t *settings(const char *brokers) {
    static const char *const all[][2] = {{"linger.ms", "5"}, {"batch.size", "1000000"}, {"acks", "1"}, {"message.max.bytes", "100000000"},
                                         {"queue.buffering.max.kbytes", "65536"}, {"queue.buffering.max.messages", "1000000"}};
    char why[128];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof why);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) rd_kafka_conf_set(conf, all[i][0], all[i][1], why, sizeof why);
    rd_kafka_conf_set_log_cb(conf, say_nothing);
    return conf;
}

static void make_topic(feed_kafka *f, int partitions) {
    char why[128];
    rd_kafka_NewTopic_t *one = rd_kafka_NewTopic_new(f->name, partitions, -1, why, sizeof why);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(f->handle);
    if (one) rd_kafka_CreateTopics(f->handle, &one, 1, NULL, queue);
    rd_kafka_event_t *event = one ? rd_kafka_queue_poll(queue, ADMIN_MS) : NULL;
    if (event) rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    if (one) rd_kafka_NewTopic_destroy(one);
}

static tw_status find_topic(feed_kafka *f, uint64_t until_ns, tw_error *err) {
    while (clock_ns() < until_ns) {
        const struct rd_kafka_metadata *m;
        if (rd_kafka_metadata(f->handle, 0, f->topic, &m, LOOK_MS) != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
        bool known = m->topic_cnt == 1 && m->topics[0].partition_cnt > 0 && m->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR;
        rd_kafka_metadata_destroy(m);
        if (known) return TW_OK;
        rd_kafka_poll(f->handle, LOOK_MS);
    }
    return error_set(err, TW_ERR_IO, "the brokers do not make topic %s", f->name);
}

static tw_status start(feed_kafka *f, const char *target, uint64_t until_ns, tw_error *err) {
    char brokers[512], why[256];
    int partitions;
    if (sscanf(target, "%511[^/]/%255[^/]/%d", brokers, f->name, &partitions) != 3)
        return error_set(err, TW_ERR_JOB, "'%.100s' is not BROKERS/TOPIC/PARTITIONS", target);
    rd_kafka_conf_t *conf = settings(brokers);
    f->handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!f->handle) {
        rd_kafka_conf_destroy(conf);
        return error_set(err, TW_ERR_IO, "no producer: %s", why);
    }
    make_topic(f, partitions);
    f->topic = rd_kafka_topic_new(f->handle, f->name, NULL);
    return f->topic ? find_topic(f, until_ns, err) : error_set(err, TW_ERR_IO, "no topic %s", f->name);
}

tw_status feed_kafka_open(const char *target, uint64_t until_ns, feed_kafka **out, tw_error *err) {
    feed_kafka *f = calloc(1, sizeof *f);
    if (!f) return error_set(err, TW_ERR_MEMORY, "out of memory");
    tw_status status = start(f, target, until_ns, err);
    if (status == TW_OK) *out = f;
    else feed_kafka_close(f);
    return status;
}

tw_status feed_kafka_send(feed_kafka *f, const uint8_t *bytes, size_t n, uint64_t until_ns, uint64_t *blocked_ns, tw_error *err) {
    for (size_t at = 0; at < n;) {
        size_t length = length_read(bytes + at);
        void *message = (void *)(bytes + at + LENGTH_BYTES); /* copied */
        if (rd_kafka_produce(f->topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, message, length, NULL, 0, NULL) == 0) {
            at += LENGTH_BYTES + length;
            continue;
        }
        rd_kafka_resp_err_t why = rd_kafka_last_error();
        if (why != RD_KAFKA_RESP_ERR__QUEUE_FULL) return error_set(err, TW_ERR_IO, "cannot send: %s", rd_kafka_err2str(why));
        uint64_t begin = clock_ns();
        if (begin >= until_ns) return TW_END;
        rd_kafka_poll(f->handle, 1);
        *blocked_ns += clock_ns() - begin;
    }
    rd_kafka_poll(f->handle, 0);
    return TW_OK;
}

static void delete_topic(feed_kafka *f) {
    rd_kafka_DeleteTopic_t *one = rd_kafka_DeleteTopic_new(f->name);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(f->handle);
    rd_kafka_DeleteTopics(f->handle, &one, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_MS);
    if (event) rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy(one);
}

void feed_kafka_close(feed_kafka *f) {
    if (!f) return;
    if (f->handle) rd_kafka_purge(f->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    if (f->topic) {
        delete_topic(f);
        rd_kafka_topic_destroy(f->topic);
    }
    if (f->handle) rd_kafka_destroy(f->handle);
    free(f);
}
