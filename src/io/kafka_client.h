/* kafka_client.h: what the source and the sink `kafka` share: settings for librdkafka, a handle that lives as
 * long as somebody holds its messages, a descriptor that tells of new events, and what librdkafka last
 * complained about. */
#ifndef IO_KAFKA_CLIENT_H
#define IO_KAFKA_CLIENT_H

#include <librdkafka/rdkafka.h>

#include "engine/plan.h"
#include "engine/poller.h"

/* How long a run waits at its start for a broker's answer. */
enum { KAFKA_START_MS = 10000 };

#define KAFKA_OPTIONS_OPTION                                                                           \
    {"options", OPTION_STRING_MAP,                                                                     \
     .help = "properties of librdkafka (security.protocol, sasl.password, ...), handed over as they are"}

/* ---- settings, checked while the job is ---- */

/* A property and what this connector sets it to, unless the job does. */
typedef struct kafka_default {
    const char *name, *value;
} kafka_default;

/* Those that a job may not set, and what to do instead; NULL at the end. */
typedef struct kafka_reserved {
    const char *name, *instead;
} kafka_reserved;

/* A configuration from the defaults, `brokers` (a list joined by commas) and the option `options`. An
 * unknown property or a value that librdkafka refuses is an error at its place, which never shows the value.
 * TW_ERR_JOB: told in `errors`. The caller destroys it. */
tw_status kafka_settings(error_list *errors, const args *a, const char *brokers, const kafka_default *defaults,
                         const kafka_reserved *reserved, rd_kafka_conf_t **out, tw_error *err);
/* Sets one more; false: librdkafka does not have or take it. */
bool kafka_set(rd_kafka_conf_t *conf, const char *name, const char *value);
bool kafka_set_number(rd_kafka_conf_t *conf, const char *name, long long value);
/* Whether the job set it in `options`. */
bool kafka_is_set(const args *a, const char *name);
/* The option's items joined by commas; NULL without memory. The caller frees it. */
char *kafka_join(const args *a, const char *option);
/* A name that Kafka takes for a topic. Else an error was added. */
bool kafka_check_topic(error_list *errors, const args *a, const arg_item *item);

/* ---- a handle ---- */

typedef struct kafka_client {
    rd_kafka_t *handle;
    atomic_uint references; /* of its owner, and of whoever holds messages */
    run_context *run;
    int fd;                 /* queues write to it when something came */
    watch_id watch;
    void (*ready)(void *context); /* on an idle worker: something came; may call run_wake */
    void *context;
    pthread_mutex_t lock;
    char trouble[300];      /* what librdkafka said last; "" */
    atomic_bool up;         /* brokers have answered: trouble from then on is an outage, and told */
} kafka_client;

/* Connects in the background. Uses up `conf` (a copy of the settings) in any case. */
tw_status kafka_client_new(rd_kafka_conf_t *conf, rd_kafka_type_t type, run_context *run, void (*ready)(void *context),
                           void *context, kafka_client **out, tw_error *err);
/* No call of `ready` runs or comes any more. Not from within it. */
void kafka_client_unwatch(kafka_client *c);
kafka_client *kafka_client_ref(kafka_client *c);
/* With the last reference the handle is destroyed: all its topics, queues and messages must be by then. */
void kafka_client_unref(kafka_client *c); /* NULL is allowed */
/* Events that come into the queue make `ready` be called. */
void kafka_client_watch(kafka_client *c, rd_kafka_queue_t *queue);
/* TW_ERR_IO: "MESSAGE: what librdkafka said last". */
tw_status kafka_error(kafka_client *c, tw_error *err, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Waits until the brokers know the topic; *partitions: how many it has. Looks for an interrupt. */
tw_status kafka_find_topic(kafka_client *c, const char *topic, const char *brokers, int *partitions, tw_error *err);

#endif
