#include "io/kafka_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

#define LOG_WARNING_LEVEL 4 /* of syslog */
#define TOPIC_MAX 249
#define ASK_MS 500
#define UNKNOWN_MS 2000 /* a topic that was just made is not known everywhere at once */

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

/* ---- settings ---- */

bool kafka_set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char why[256];
    return rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK;
}

bool kafka_set_number(rd_kafka_conf_t *conf, const char *name, long long value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", value);
    return kafka_set(conf, name, text);
}

bool kafka_is_set(const args *a, const char *name) {
    size_t n;
    const arg_item *items = args_items(a, "options", &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i].name, name) == 0) return true;
    return false;
}

static tw_status unknown_property(error_list *errors, const arg_item *item) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    size_t n;
    const char **all = rd_kafka_conf_dump(conf, &n);
    struct nearest near = {item->name};
    for (size_t i = 0; i + 1 < n; i += 2) nearest_try(&near, all[i]);
    tw_status status =
        error_list_add(errors, item->name_at, "librdkafka has no property '%.80s'%s%s%s", item->name,
                       near.best ? "; did you mean '" : "", near.best ? near.best : "", near.best ? "'?" : "");
    rd_kafka_conf_dump_free(all, n);
    rd_kafka_conf_destroy(conf);
    return status;
}

static tw_status set_option(error_list *errors, rd_kafka_conf_t *conf, const arg_item *item,
                            const kafka_reserved *reserved) {
    for (; reserved->name; reserved++)
        if (strcmp(reserved->name, item->name) == 0)
            return error_list_add(errors, item->name_at, "'%s' cannot be set here: %s", item->name, reserved->instead);
    if (strcmp(item->name, "group.instance.id") == 0 && !*item->text) return TW_OK; /* no static member */
    char why[256];
    switch (rd_kafka_conf_set(conf, item->name, item->text, why, sizeof why)) {
    case RD_KAFKA_CONF_OK: return TW_OK;
    case RD_KAFKA_CONF_UNKNOWN: return unknown_property(errors, item);
    /* What librdkafka says may show the value, which may be a secret. */
    default: return error_list_add(errors, item->at, "librdkafka does not take this value for '%s'", item->name);
    }
}

tw_status kafka_settings(error_list *errors, const args *a, const char *brokers, const kafka_default *defaults,
                         const kafka_reserved *reserved, rd_kafka_conf_t **out, tw_error *err) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    tw_status status = TW_OK;
    kafka_set(conf, "client.id", "thalweg");
    for (; defaults->name; defaults++)
        if (!kafka_set(conf, defaults->name, defaults->value))
            status = error_set(err, TW_ERR_INTERNAL, "librdkafka refuses %s=%s", defaults->name, defaults->value);
    if (!kafka_set(conf, "bootstrap.servers", brokers))
        status = args_error(a, "brokers", errors, "must be HOST:PORT, or a list of them");
    size_t n;
    const arg_item *items = args_items(a, "options", &n);
    for (size_t i = 0; i < n; i++) {
        tw_status one = set_option(errors, conf, &items[i], reserved);
        if (one != TW_OK) status = one;
    }
    if (status == TW_OK) *out = conf;
    else rd_kafka_conf_destroy(conf);
    return status;
}

char *kafka_join(const args *a, const char *option) {
    struct text t = {0};
    size_t n;
    const arg_item *items = args_items(a, option, &n);
    for (size_t i = 0; i < n; i++) {
        if (i) text_append_char(&t, ',');
        text_append_string(&t, items[i].text);
    }
    text_append(&t, "", 0);
    return t.length ? text_take(&t) : strdup("");
}

bool kafka_check_topic(error_list *errors, const args *a, const arg_item *item) {
    size_t n = strlen(item->text);
    bool good = n > 0 && n <= TOPIC_MAX && strcmp(item->text, ".") != 0 && strcmp(item->text, "..") != 0;
    for (size_t i = 0; i < n; i++) {
        char c = item->text[i];
        good &= (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    }
    if (!good)
        error_list_add(errors, item->at, "a topic's name has 1 to %d of the characters a-z, A-Z, 0-9, '.', '_' and '-'", TOPIC_MAX);
    return good;
}

/* ---- a handle ---- */

static void note_trouble(kafka_client *c, const char *words) {
    pthread_mutex_lock(&c->lock);
    snprintf(c->trouble, sizeof c->trouble, "%s", words);
    pthread_mutex_unlock(&c->lock);
}

/* "[thrd:127.0.0.1:9092/bootstrap]: 127.0.0.1:9092/bootstrap: Connect to ..." without its first part. Called by
 * librdkafka's threads, perhaps before rd_kafka_new returns. */
static void on_log(const rd_kafka_t *handle, int level, const char *facility, const char *words) {
    kafka_client *c = rd_kafka_opaque(handle);
    if (level > LOG_WARNING_LEVEL || !c) return;
    const char *after = strncmp(words, "[thrd:", 6) == 0 ? strstr(words, "]: ") : NULL;
    note_trouble(c, after ? after + 3 : words);
    if (atomic_load(&c->up)) run_log(c->run, TW_LOG_WARNING, "kafka: %s", after ? after + 3 : words);
}

static void on_ready(void *context, uint32_t events) {
    kafka_client *c = context;
    uint64_t value;
    if (read(c->fd, &value, sizeof value) < 0) value = 0; /* somebody else took it */
    poller_rearm(c->run->poller, c->watch, EPOLLIN, NULL);
    c->ready(c->context);
}

tw_status kafka_client_new(rd_kafka_conf_t *conf, rd_kafka_type_t type, run_context *run, void (*ready)(void *context),
                           void *context, kafka_client **out, tw_error *err) {
    char why[512];
    kafka_client *c = calloc(1, sizeof *c);
    if (!c) {
        rd_kafka_conf_destroy(conf);
        return no_memory(err);
    }
    *c = (kafka_client){.run = run, .ready = ready, .context = context};
    atomic_init(&c->references, 1);
    pthread_mutex_init(&c->lock, NULL);
    c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    tw_status status = c->fd < 0 ? error_io(err, errno, "cannot watch for messages") : TW_OK;
    rd_kafka_conf_set_opaque(conf, c);
    rd_kafka_conf_set_log_cb(conf, on_log);
    if (status == TW_OK) c->handle = rd_kafka_new(type, conf, why, sizeof why);
    if (!c->handle) {
        rd_kafka_conf_destroy(conf);
        if (status == TW_OK) status = error_set(err, TW_ERR_IO, "kafka: %s", why);
    }
    if (status == TW_OK) status = poller_add(run->poller, c->fd, EPOLLIN, on_ready, c, &c->watch, err);
    if (status != TW_OK) {
        kafka_client_unref(c);
        return status;
    }
    *out = c;
    return TW_OK;
}

void kafka_client_unwatch(kafka_client *c) {
    if (c->watch) poller_remove(c->run->poller, c->watch);
    c->watch = 0;
}

kafka_client *kafka_client_ref(kafka_client *c) {
    atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
    return c;
}

void kafka_client_unref(kafka_client *c) {
    if (!c || atomic_fetch_sub(&c->references, 1) != 1) return;
    kafka_client_unwatch(c);
    if (c->handle) rd_kafka_destroy(c->handle);
    if (c->fd >= 0) close(c->fd);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void kafka_client_watch(kafka_client *c, rd_kafka_queue_t *queue) {
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(queue, c->fd, &one, sizeof one);
}

tw_status kafka_error(kafka_client *c, tw_error *err, const char *format, ...) {
    char words[600], trouble[sizeof c->trouble];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&c->lock);
    memcpy(trouble, c->trouble, sizeof trouble);
    pthread_mutex_unlock(&c->lock);
    return error_set(err, TW_ERR_IO, "kafka: %s%s%s%s", words, *trouble ? " (the last trouble: " : "", trouble,
                     *trouble ? ")" : "");
}

/* ---- topics ---- */

static void pause_ms(long ms) {
    struct timespec pause = {.tv_nsec = ms * 1000000};
    nanosleep(&pause, NULL);
}

/* What a broker says of it, now. */
static rd_kafka_resp_err_t ask(kafka_client *c, rd_kafka_topic_t *topic, int *partitions) {
    const struct rd_kafka_metadata *known;
    rd_kafka_resp_err_t code = rd_kafka_metadata(c->handle, 0, topic, &known, ASK_MS);
    if (code) return code;
    code = known->topic_cnt == 1 ? known->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    *partitions = known->topic_cnt == 1 ? known->topics[0].partition_cnt : 0;
    rd_kafka_metadata_destroy(known);
    return code;
}

static tw_status explain(kafka_client *c, rd_kafka_resp_err_t code, const char *name, const char *brokers, tw_error *err) {
    switch (code) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        return kafka_error(c, err, "no broker of %.200s answers within %d s", brokers, KAFKA_START_MS / 1000);
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return error_set(err, TW_ERR_IO, "kafka: the brokers (%.200s) have no topic '%s'", brokers, name);
    default: return kafka_error(c, err, "topic '%s': %s", name, rd_kafka_err2str(code));
    }
}

tw_status kafka_find_topic(kafka_client *c, const char *name, const char *brokers, int *partitions, tw_error *err) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(c->handle, name, NULL);
    if (!topic) return kafka_error(c, err, "topic '%s': %s", name, rd_kafka_err2str(rd_kafka_last_error()));
    uint64_t begin = clock_ns();
    rd_kafka_resp_err_t code;
    for (;;) {
        code = ask(c, topic, partitions);
        uint64_t waited_ms = (clock_ns() - begin) / 1000000;
        bool unknown = code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        bool passing = unknown || code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
                       code == RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE || code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
        if (!passing || run_cancelled(c->run) || waited_ms > (unknown ? UNKNOWN_MS : KAFKA_START_MS)) break;
        pause_ms(50);
    }
    rd_kafka_topic_destroy(topic);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        atomic_store(&c->up, true);
        return TW_OK;
    }
    if (run_cancelled(c->run)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
    return explain(c, code, name, brokers, err);
}
