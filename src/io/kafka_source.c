/* kafka_source.c: the source `kafka`: the partitions that a consumer group gives this run, each as a queue of
 * messages that librdkafka has fetched. A split is what is there now of one partition, at most a batch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "engine/checkpoint.h"
#include "io/connectors.h"
#include "io/kafka_internal.h"
#include "io/kafka_offsets.h"
#include "io/kafka_rows.h"

#define COMMIT_MS 10000
#define DOWN_MS 60000        /* without any broker for so long, the run fails */
#define FETCHED_BYTES_MIN ((size_t)1 << 20)
#define FETCHED_BYTES_MAX ((size_t)64 << 20)
#define MESSAGE_OVERHEAD 384 /* bytes, of librdkafka's for one that is fetched */
#define SPLIT_BYTES ((size_t)1 << 20)

/* A partition of a topic that was ours at some time. Its number stays the same all the run. */
typedef struct topic_partition {
    char name[272];          /* "orders/3" */
    char topic[250];
    int32_t id;
    uint32_t number;
    rd_kafka_queue_t *queue; /* NULL: not ours now */
    int64_t next;            /* offset after the last one handed out; -1: none was */
    size_t message_bytes;    /* about */
    atomic_uint readers;     /* open ones */
    bool filled;             /* the queue was full, so that librdkafka has ceased to fetch */
} topic_partition;

typedef enum order { ORDER_NONE, ORDER_KEY, ORDER_ALL } order;

typedef struct kafka_source {
    source base;
    /* as the job says */
    char *brokers, *group, *member;
    char **topics;
    size_t n_topics;
    rd_kafka_conf_t *conf;
    bool sized;              /* the job sets the queues' sizes itself */
    order order;
    bool *needed;
    kafka_rows_plan rows;
    char shown[200];
    /* while it runs */
    run_context *run;
    kafka_client *client;
    rd_kafka_queue_t *asides; /* answers that nobody waits for */
    bool pokes;              /* this librdkafka must be told to go on fetching */
    size_t fetched_max;      /* messages in a partition's queue at which it ceases to */
    size_t fetched_bytes_max;
    pthread_mutex_t lock;    /* of all below, and of what partitions have that is not atomic */
    topic_partition **partitions;
    size_t n_partitions, turn;
    struct kafka_reader *idle; /* with their buffers, for the next splits */
    kafka_marks marks;
    rd_kafka_topic_partition_list_t *resumed; /* where to go on, of a checkpoint; NULL: where the group stands */
    rd_kafka_resp_err_t failed;
    char failure[400];
    uint64_t down_ns;        /* since when no broker was there; 0: there is one */
    atomic_bool stopping;
    atomic_bool held_back;   /* a partition has messages, but enough readers */
    atomic_uint readers;     /* open ones */
} kafka_source;

typedef struct kafka_reader {
    reader base;
    kafka_source *source;
    topic_partition *from;
    kafka_rows rows;
    struct kafka_reader *next;
} kafka_reader;

static kafka_source *of(source *s) { return (kafka_source *)s; }
static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

/* ---- partitions ---- */

static topic_partition *find_partition(kafka_source *s, const char *topic, int32_t id) {
    for (size_t i = 0; i < s->n_partitions; i++)
        if (s->partitions[i]->id == id && strcmp(s->partitions[i]->topic, topic) == 0) return s->partitions[i];
    return NULL;
}

static topic_partition *add_partition(kafka_source *s, const char *topic, int32_t id) {
    topic_partition **more = realloc(s->partitions, (s->n_partitions + 1) * sizeof *more);
    topic_partition *p = more ? calloc(1, sizeof *p) : NULL;
    if (more) s->partitions = more;
    if (!p) return NULL;
    snprintf(p->topic, sizeof p->topic, "%s", topic);
    snprintf(p->name, sizeof p->name, "%s/%d", p->topic, id);
    p->id = id;
    p->number = (uint32_t)s->n_partitions;
    p->next = -1;
    s->partitions[s->n_partitions++] = p;
    return p;
}

/* A partition is ours: its messages come to a queue of its own. */
static bool gain(kafka_source *s, rd_kafka_topic_partition_t *assigned) {
    topic_partition *p = find_partition(s, assigned->topic, assigned->partition);
    if (!p) p = add_partition(s, assigned->topic, assigned->partition);
    if (!p) return false;
    rd_kafka_topic_partition_t *at =
        s->resumed ? rd_kafka_topic_partition_list_find(s->resumed, assigned->topic, assigned->partition) : NULL;
    if (at && at->offset >= 0) {
        assigned->offset = p->next = at->offset;
        at->offset = RD_KAFKA_OFFSET_INVALID; /* once: others may go on after us */
    }
    if (p->queue) return true;
    p->queue = rd_kafka_queue_get_partition(s->client->handle, p->topic, p->id);
    if (!p->queue) return false;
    rd_kafka_queue_forward(p->queue, NULL);
    kafka_client_watch(s->client, p->queue);
    return true;
}

static void lose(topic_partition *p) {
    if (!p || !p->queue) return;
    rd_kafka_queue_io_event_enable(p->queue, -1, NULL, 0);
    rd_kafka_queue_destroy(p->queue);
    p->queue = NULL;
    p->next = -1;
}

static void fail(kafka_source *s, rd_kafka_resp_err_t code, const char *words) {
    if (s->failed) return;
    s->failed = code;
    snprintf(s->failure, sizeof s->failure, "%s", words);
}

/* Within rd_kafka_consumer_poll and _close, with the lock. */
static void on_rebalance(rd_kafka_t *handle, rd_kafka_resp_err_t what, rd_kafka_topic_partition_list_t *l, void *opaque) {
    kafka_source *s = ((kafka_client *)opaque)->context;
    if (what != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        for (int i = 0; i < l->cnt; i++) lose(find_partition(s, l->elems[i].topic, l->elems[i].partition));
        rd_kafka_assign(handle, NULL);
        return;
    }
    bool room = true;
    for (int i = 0; i < l->cnt; i++) room &= gain(s, &l->elems[i]);
    if (!room) fail(s, RD_KAFKA_RESP_ERR__FAIL, "the system's memory is used up");
    rd_kafka_resp_err_t code = rd_kafka_assign(handle, l);
    if (code) fail(s, code, rd_kafka_err2str(code));
}

/* Within rd_kafka_consumer_poll, with the lock. What passes librdkafka sees to itself. */
static void on_error(rd_kafka_t *handle, int code, const char *words, void *opaque) {
    kafka_source *s = ((kafka_client *)opaque)->context;
    char fatal[300];
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        if (!s->down_ns) s->down_ns = clock_ns();
    } else if (code == RD_KAFKA_RESP_ERR__FATAL) {
        code = rd_kafka_fatal_error(handle, fatal, sizeof fatal);
        fail(s, (rd_kafka_resp_err_t)code, fatal);
    }
}

/* ---- what librdkafka says beside messages ---- */

static bool is_final(rd_kafka_resp_err_t code) {
    switch (code) {
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__INVALID_ARG: return true;
    default: return false;
    }
}

static void note_message_error(kafka_source *s, const rd_kafka_message_t *m) {
    if (is_final(m->err)) fail(s, m->err, rd_kafka_message_errstr(m));
}

/* Rebalances, errors. */
static void serve_events(kafka_source *s) {
    for (rd_kafka_message_t *m; (m = rd_kafka_consumer_poll(s->client->handle, 0));) {
        if (m->err) note_message_error(s, m);
        else fail(s, RD_KAFKA_RESP_ERR__FAIL, "a message came past its partition's queue");
        rd_kafka_message_destroy(m);
    }
    for (rd_kafka_event_t *e; (e = rd_kafka_queue_poll(s->asides, 0));) rd_kafka_event_destroy(e);
}

static tw_status tell_failure(kafka_source *s, tw_error *err) {
    if (s->failed == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
        return error_set(err, TW_ERR_IO, "kafka: another run took the place of this one in group '%s' (both are member '%s'; "
                         "set options.group.instance.id to run several)", s->group, s->member);
    kafka_error(s->client, err, "group '%s': %s", s->group, s->failure);
    return TW_ERR_IO;
}

/* All brokers are gone: is one back, or has it lasted too long? */
static tw_status check_down(kafka_source *s, tw_error *err) {
    if (!s->down_ns || (clock_ns() - s->down_ns) / 1000000 < DOWN_MS) return TW_OK;
    const struct rd_kafka_metadata *known;
    if (rd_kafka_metadata(s->client->handle, 0, NULL, &known, 500) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_metadata_destroy(known);
        s->down_ns = 0;
        return TW_OK;
    }
    return kafka_error(s->client, err, "no broker of %.200s was there for %d s", s->brokers, DOWN_MS / 1000);
}

/* librdkafka before 2.2 sleeps up to a second when a queue was full, however fast it is emptied: a request to
 * the brokers wakes their threads. Later ones have fetch.queue.backoff.ms. */
static void poke(kafka_source *s) {
    rd_kafka_AdminOptions_t *o = rd_kafka_AdminOptions_new(s->client->handle, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    if (!o) return;
    rd_kafka_ListConsumerGroups(s->client->handle, o, s->asides);
    rd_kafka_AdminOptions_destroy(o);
}

static void keep_fetching(kafka_source *s, topic_partition *p, size_t taken) {
    if (!s->pokes) return;
    size_t left = rd_kafka_queue_length(p->queue), most = s->fetched_bytes_max / (p->message_bytes + 1) + 1;
    if (most > s->fetched_max) most = s->fetched_max;
    p->filled |= left + taken >= most;
    if (!p->filled || left > most / 2) return;
    p->filled = false;
    poke(s);
}

/* ---- readers ---- */

static tw_status kafka_next(reader *self, batch **out, tw_error *err) {
    return kafka_rows_next(&((kafka_reader *)self)->rows, out, err);
}

static void reader_destroy(kafka_reader *r) {
    decoder_free(r->rows.decoder);
    free(r->rows.messages);
    free(r);
}

/* It is kept for the next split. */
static void kafka_reader_free(reader *self) {
    kafka_reader *r = (kafka_reader *)self;
    kafka_source *s = r->source;
    kafka_rows_drop(&r->rows);
    atomic_fetch_sub(&r->from->readers, 1);
    atomic_fetch_sub(&s->readers, 1);
    pthread_mutex_lock(&s->lock);
    r->next = s->idle;
    s->idle = r;
    pthread_mutex_unlock(&s->lock);
    if (atomic_exchange(&s->held_back, false)) run_wake(s->run);
}

static const reader_class kafka_reader_class = {.next = kafka_next, .free = kafka_reader_free};

static tw_status reader_get(kafka_source *s, kafka_reader **out, tw_error *err) {
    kafka_reader *r = s->idle;
    if (r) {
        s->idle = r->next;
        *out = r;
        return TW_OK;
    }
    r = calloc(1, sizeof *r);
    if (!r) return no_memory(err);
    r->base.class = &kafka_reader_class;
    r->source = s;
    r->rows.plan = &s->rows;
    r->rows.messages = malloc(s->run->batch_rows * sizeof *r->rows.messages);
    tw_status status = r->rows.messages ? TW_OK : no_memory(err);
    if (status == TW_OK && s->rows.format.kind != FORMAT_BINARY)
        status = decoder_new(&s->rows.format, s->run, s->needed, &r->rows.decoder, err);
    if (status == TW_OK) *out = r;
    else reader_destroy(r);
    return status;
}

static bool may_read(const kafka_source *s, const topic_partition *p) {
    if (!p->queue) return false;
    if (s->order == ORDER_KEY) return !atomic_load(&p->readers);
    return s->order == ORDER_NONE || !atomic_load(&s->readers);
}

/* Takes what is there of a partition; false: nothing. */
static bool take_messages(kafka_source *s, topic_partition *p, kafka_reader *r) {
    kafka_rows *rows = &r->rows;
    size_t most = p->message_bytes ? SPLIT_BYTES / p->message_bytes + 1 : 64;
    if (most > s->run->batch_rows) most = s->run->batch_rows;
    ssize_t came = rd_kafka_consume_batch_queue(p->queue, 0, rows->messages, most);
    rows->n = rows->at = 0;
    uint64_t bytes = 0;
    for (ssize_t i = 0; i < came; i++) {
        rd_kafka_message_t *m = rows->messages[i];
        if (m->err) {
            note_message_error(s, m);
            rd_kafka_message_destroy(m);
            continue;
        }
        bytes += m->len + m->key_len;
        rows->messages[rows->n++] = m;
    }
    if (!rows->n) return false;
    p->next = rows->messages[rows->n - 1]->offset + 1;
    p->message_bytes = (size_t)(bytes / rows->n) + 1;
    s->down_ns = 0;
    keep_fetching(s, p, rows->n);
    return true;
}

static tw_status open_locked(kafka_source *s, uint64_t split, reader **out, tw_error *err) {
    serve_events(s);
    if (s->failed) return tell_failure(s, err);
    TRY(check_down(s, err));
    kafka_reader *r = NULL;
    TRY(reader_get(s, &r, err));
    for (size_t i = 0; i < s->n_partitions; i++) {
        topic_partition *p = s->partitions[(s->turn + i) % s->n_partitions];
        if (!may_read(s, p)) {
            if (p->queue) atomic_store(&s->held_back, true);
            if (!may_read(s, p)) continue; /* its reader has not gone meanwhile */
        }
        if (!take_messages(s, p, r)) continue;
        s->turn = (s->turn + i + 1) % s->n_partitions;
        r->from = p;
        r->rows.name = p->name;
        r->rows.position = r->base.position = split << 32;
        r->base.partition = p->number;
        atomic_fetch_add(&p->readers, 1);
        atomic_fetch_add(&s->readers, 1);
        *out = &r->base;
        return TW_OK;
    }
    r->next = s->idle;
    s->idle = r;
    return s->failed ? tell_failure(s, err) : STATUS_WAIT;
}

static tw_status kafka_open(source *self, uint64_t split, reader **out, tw_error *err) {
    kafka_source *s = of(self);
    /* What was fetched and not handed out is the next run's. */
    if (atomic_load(&s->stopping)) return TW_END;
    pthread_mutex_lock(&s->lock);
    tw_status status = open_locked(s, split, out, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static void kafka_stop(source *self) { atomic_store(&of(self)->stopping, true); }

/* ---- start and end ---- */

static void on_ready(void *context) { run_wake(((kafka_source *)context)->run); }

/* So that what librdkafka has fetched stays a small part of the run's memory. */
static void size_queues(kafka_source *s, rd_kafka_conf_t *conf, size_t limit) {
    size_t share = limit / 8;
    if (share < FETCHED_BYTES_MIN) share = FETCHED_BYTES_MIN;
    if (share > FETCHED_BYTES_MAX) share = FETCHED_BYTES_MAX;
    kafka_set_number(conf, "queued.max.messages.kbytes", (long long)(share >> 10));
    kafka_set_number(conf, "queued.min.messages", (long long)(share / MESSAGE_OVERHEAD));
    kafka_set_number(conf, "fetch.message.max.bytes", (long long)(share / 4 < FETCHED_BYTES_MIN ? share / 4 : FETCHED_BYTES_MIN));
}

static long long number_of(const rd_kafka_conf_t *conf, const char *name, long long fallback) {
    char text[32];
    size_t size = sizeof text;
    return rd_kafka_conf_get(conf, name, text, &size) == RD_KAFKA_CONF_OK ? atoll(text) : fallback;
}

static tw_status subscribe(kafka_source *s, tw_error *err) {
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new((int)s->n_topics);
    for (size_t i = 0; i < s->n_topics; i++) rd_kafka_topic_partition_list_add(l, s->topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(s->client->handle, l);
    rd_kafka_topic_partition_list_destroy(l);
    return code ? kafka_error(s->client, err, "cannot subscribe: %s", rd_kafka_err2str(code)) : TW_OK;
}

static tw_status kafka_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    kafka_source *s = of(self);
    s->run = s->rows.run = run;
    s->rows.needed = s->needed;
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(s->conf);
    if (!s->sized) size_queues(s, conf, memory_limit(run->memory));
    s->pokes = !kafka_set(conf, "fetch.queue.backoff.ms", "10");
    s->fetched_max = (size_t)number_of(conf, "queued.min.messages", 100000);
    s->fetched_bytes_max = (size_t)number_of(conf, "queued.max.messages.kbytes", 65536) << 10;
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_error_cb(conf, on_error);
    TRY(kafka_client_new(conf, RD_KAFKA_CONSUMER, run, on_ready, s, &s->client, err));
    s->rows.client = s->client;
    s->asides = rd_kafka_queue_new(s->client->handle);
    rd_kafka_poll_set_consumer(s->client->handle);
    for (size_t i = 0; i < s->n_topics; i++) {
        int partitions;
        TRY(kafka_find_topic(s->client, s->topics[i], s->brokers, &partitions, err));
    }
    rd_kafka_queue_t *events = rd_kafka_queue_get_consumer(s->client->handle);
    kafka_client_watch(s->client, events);
    rd_kafka_queue_destroy(events);
    *n_splits = UINT64_MAX;
    return subscribe(s, err);
}

static void leave(kafka_source *s) {
    kafka_client_unwatch(s->client);
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_partitions; i++) lose(s->partitions[i]);
    pthread_mutex_unlock(&s->lock);
    /* A static member does not leave the group: the next run takes its place at once. */
    rd_kafka_consumer_close(s->client->handle);
    if (s->asides) rd_kafka_queue_destroy(s->asides);
    kafka_client_unref(s->client);
}

static void kafka_free(source *self) {
    kafka_source *s = of(self);
    for (kafka_reader *r = s->idle, *next; r; r = next) {
        next = r->next;
        reader_destroy(r);
    }
    if (s->client) leave(s);
    for (size_t i = 0; i < s->n_partitions; i++) free(s->partitions[i]);
    for (size_t i = 0; i < s->n_topics; i++) free(s->topics[i]);
    if (s->conf) rd_kafka_conf_destroy(s->conf);
    if (s->resumed) rd_kafka_topic_partition_list_destroy(s->resumed);
    kafka_marks_free(&s->marks);
    format_free(&s->rows.format);
    pthread_mutex_destroy(&s->lock);
    free(s->partitions);
    free(s->topics);
    free(s->needed);
    free(s->brokers);
    free(s->group);
    free(s->member);
    free(s);
}

/* ---- offsets ---- */

/* How far the splits have come that were handed out. */
static rd_kafka_topic_partition_list_t *next_offsets(const kafka_source *s) {
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new((int)s->n_partitions);
    for (size_t i = 0; i < s->n_partitions; i++) {
        const topic_partition *p = s->partitions[i];
        if (p->queue && p->next >= 0) rd_kafka_topic_partition_list_add(l, p->topic, p->id)->offset = p->next;
    }
    return l;
}

tw_status kafka_source_cut(source *self, uint64_t epoch, tw_error *err) {
    kafka_source *s = of(self);
    pthread_mutex_lock(&s->lock);
    tw_status status = kafka_marks_add(&s->marks, epoch, next_offsets(s), err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* Several tries at what passes: a coordinator that moves, a broker that starts again. */
static tw_status commit_offsets(kafka_source *s, rd_kafka_topic_partition_list_t *l, tw_error *err) {
    uint64_t begin = clock_ns();
    for (;;) {
        rd_kafka_resp_err_t code = l->cnt ? rd_kafka_commit(s->client->handle, l, 0) : RD_KAFKA_RESP_ERR_NO_ERROR;
        switch (code) {
        case RD_KAFKA_RESP_ERR_NO_ERROR:
        case RD_KAFKA_RESP_ERR__NO_OFFSET: return TW_OK;
        case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
        case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
        case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
        case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
        case RD_KAFKA_RESP_ERR__WAIT_COORD:
        case RD_KAFKA_RESP_ERR__TRANSPORT:
        case RD_KAFKA_RESP_ERR__TIMED_OUT: break;
        default:
            return kafka_error(s->client, err, "cannot commit the offsets of group '%s': %s", s->group, rd_kafka_err2str(code));
        }
        if ((clock_ns() - begin) / 1000000 > COMMIT_MS || run_cancelled(s->run))
            return kafka_error(s->client, err, "cannot commit the offsets of group '%s': %s", s->group, rd_kafka_err2str(code));
        struct timespec pause = {.tv_nsec = 50000000};
        nanosleep(&pause, NULL);
    }
}

tw_status kafka_source_commit(source *self, uint64_t epoch, const char *note, tw_error *err) {
    kafka_source *s = of(self);
    rd_kafka_topic_partition_list_t *l;
    pthread_mutex_lock(&s->lock);
    tw_status status = kafka_marks_copy(&s->marks, epoch, note, &l, err);
    for (int i = status == TW_OK ? l->cnt : 0; i-- > 0;) {
        const topic_partition *p = find_partition(s, l->elems[i].topic, l->elems[i].partition);
        if (!p->queue) rd_kafka_topic_partition_list_del_by_idx(l, i);
    }
    pthread_mutex_unlock(&s->lock);
    TRY(status);
    status = commit_offsets(s, l, err);
    rd_kafka_topic_partition_list_destroy(l);
    if (status == TW_OK) kafka_source_forget(self, epoch);
    return status;
}

void kafka_source_forget(source *self, uint64_t epoch) {
    kafka_source *s = of(self);
    pthread_mutex_lock(&s->lock);
    kafka_marks_forget(&s->marks, epoch);
    pthread_mutex_unlock(&s->lock);
}

tw_status kafka_source_offsets(source *self, uint64_t epoch, const char *note, rd_kafka_topic_partition_list_t **offsets,
                               rd_kafka_consumer_group_metadata_t **member, tw_error *err) {
    kafka_source *s = of(self);
    pthread_mutex_lock(&s->lock);
    tw_status status = kafka_marks_copy(&s->marks, epoch, note, offsets, err);
    pthread_mutex_unlock(&s->lock);
    TRY(status);
    *member = rd_kafka_consumer_group_metadata(s->client->handle);
    if (*member) return TW_OK;
    rd_kafka_topic_partition_list_destroy(*offsets);
    return no_memory(err);
}

tw_status kafka_source_save(source *self, uint64_t epoch, struct text *out, tw_error *err) {
    kafka_source *s = of(self);
    pthread_mutex_lock(&s->lock);
    const rd_kafka_topic_partition_list_t *l = kafka_marks_find(&s->marks, epoch);
    tw_status status = l ? kafka_offsets_print(l, out, err)
                         : error_set(err, TW_ERR_INTERNAL, "kafka: epoch %llu has no offsets", (unsigned long long)epoch);
    pthread_mutex_unlock(&s->lock);
    return status;
}

tw_status kafka_source_load(source *self, const char *bytes, size_t size, tw_error *err) {
    kafka_source *s = of(self);
    rd_kafka_topic_partition_list_t *l;
    TRY(kafka_offsets_parse(bytes, size, &l, err));
    if (s->resumed) rd_kafka_topic_partition_list_destroy(s->resumed);
    s->resumed = l;
    return TW_OK;
}

/* ---- for epochs.c ---- */

static tw_status kafka_save(source *self, uint64_t epoch, saved_part *to, tw_error *err) {
    struct text t = {0};
    tw_status status = kafka_source_save(self, epoch, &t, err);
    if (status == TW_OK && t.length) status = part_put(to, "offsets", text_string(&t), err);
    text_free(&t);
    return status;
}

static tw_status kafka_load(source *self, const saved_part *from, tw_error *err) {
    const char *offsets = part_get(from, "offsets");
    return offsets ? kafka_source_load(self, offsets, strlen(offsets), err) : TW_OK;
}

static tw_status kafka_committed(source *self, const epoch_end *e, tw_error *err) {
    if (e->transacted) return TW_OK; /* by the sink */
    return kafka_source_commit(self, e->epoch, e->note, err);
}

static void kafka_shape(const source *self, char *out, size_t capacity) {
    const kafka_source *s = (const kafka_source *)self;
    int n = snprintf(out, capacity, "group %s, topics", s->group);
    for (size_t i = 0; i < s->n_topics && n > 0 && (size_t)n < capacity; i++)
        n += snprintf(out + n, capacity - (size_t)n, " %s", s->topics[i]);
}

static void ignore_log(const rd_kafka_t *handle, int level, const char *facility, const char *words) {}

/* All partitions of the topics, without offsets; what cannot be found out is left out. */
static rd_kafka_topic_partition_list_t *all_partitions(const kafka_source *s, rd_kafka_t *handle) {
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(8);
    for (size_t i = 0; i < s->n_topics; i++) {
        rd_kafka_topic_t *topic = rd_kafka_topic_new(handle, s->topics[i], NULL);
        const struct rd_kafka_metadata *known;
        if (topic && rd_kafka_metadata(handle, 0, topic, &known, KAFKA_START_MS) == RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (known->topic_cnt == 1 && known->topics[0].partition_cnt)
                rd_kafka_topic_partition_list_add_range(l, s->topics[i], 0, known->topics[0].partition_cnt - 1);
            rd_kafka_metadata_destroy(known);
        }
        if (topic) rd_kafka_topic_destroy(topic);
    }
    return l;
}

tw_status kafka_source_note(source *self, struct text *out, tw_error *err) {
    kafka_source *s = of(self);
    char why[300];
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(s->conf);
    rd_kafka_conf_set_log_cb(conf, ignore_log);
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!handle) {
        rd_kafka_conf_destroy(conf);
        return error_set(err, TW_ERR_IO, "kafka: %s", why);
    }
    rd_kafka_topic_partition_list_t *l = all_partitions(s, handle);
    rd_kafka_resp_err_t code = l->cnt ? rd_kafka_committed(handle, l, KAFKA_START_MS) : RD_KAFKA_RESP_ERR__TRANSPORT;
    const rd_kafka_topic_partition_t *newest = NULL;
    for (int i = 0; i < l->cnt && !code; i++) {
        const rd_kafka_topic_partition_t *p = &l->elems[i];
        if (!p->metadata_size || p->offset < 0) continue;
        size_t shorter = newest && newest->metadata_size < p->metadata_size ? newest->metadata_size : p->metadata_size;
        int order = newest ? memcmp(newest->metadata, p->metadata, shorter) : -1;
        if (order < 0 || (order == 0 && newest->metadata_size < p->metadata_size)) newest = p;
    }
    tw_status status = TW_OK;
    if (code)
        status = error_set(err, TW_ERR_IO, "kafka: cannot learn what group '%s' has committed: %s", s->group, rd_kafka_err2str(code));
    else if (newest && text_append(out, newest->metadata, newest->metadata_size) != TW_OK)
        status = no_memory(err);
    rd_kafka_topic_partition_list_destroy(l);
    rd_kafka_destroy(handle);
    return status;
}

/* ---- building ---- */

static void kafka_prune(source *self, const bool *needed) {
    kafka_source *s = of(self);
    uint32_t n = s->rows.format.schema->n;
    if (!s->needed) s->needed = malloc(n + 1);
    if (s->needed) memcpy(s->needed, needed, n);
}

static void kafka_describe(const source *self, char *out, size_t capacity) {
    snprintf(out, capacity, "%s", ((const kafka_source *)self)->shown);
}

static const source_class kafka_class = {
    .start = kafka_start,
    .open = kafka_open,
    .prune = kafka_prune,
    .stop = kafka_stop,
    .cut = kafka_source_cut,
    .shape = kafka_shape,
    .save = kafka_save,
    .load = kafka_load,
    .committed = kafka_committed,
    .note = kafka_source_note,
    .describe = kafka_describe,
    .free = kafka_free,
};

bool kafka_is_source(const source *s) { return s->class == &kafka_class; }

static tw_status binary_schema(format *f, tw_error *err) {
    static const char *const names[] = {"content", "key"};
    const type *const types[] = {type_of(TYPE_BINARY), type_of(TYPE_BINARY)};
    schema_unref(f->schema);
    f->schema = NULL;
    return schema_new(names, types, 2, &f->schema, err);
}

static tw_status read_format(kafka_source *s, error_list *errors, const args *a, tw_error *err) {
    format *f = &s->rows.format;
    TRY(format_from_args(errors, a, NULL, 0, FORMAT_BINARY, f, err));
    if (f->kind == FORMAT_BINARY) return binary_schema(f, err);
    if (f->kind == FORMAT_CSV && f->header) return args_error(a, "header", errors, "a message has no header: name the columns");
    if (f->schema) return TW_OK;
    return args_error(a, "format", errors, "%s of a stream needs its columns: set columns: {name: type}", format_names[f->kind]);
}

static tw_status read_topics(kafka_source *s, error_list *errors, const args *a, tw_error *err) {
    size_t n;
    const arg_item *items = args_items(a, "topic", &n);
    if (!n) return args_error(a, "topic", errors, "names no topic");
    s->topics = calloc(n, sizeof *s->topics);
    if (!s->topics) return no_memory(err);
    bool good = true;
    for (size_t i = 0; i < n; i++) {
        good &= kafka_check_topic(errors, a, &items[i]);
        s->topics[i] = strdup(items[i].text);
        if (!s->topics[i]) return no_memory(err);
        s->n_topics++;
    }
    return good ? TW_OK : TW_ERR_JOB;
}

static const kafka_default defaults[] = {
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"isolation.level", "read_committed"},
    {"max.poll.interval.ms", "86400000"}, /* a slow sink is no reason to leave the group */
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "1000"},
    {NULL, NULL},
};

static const kafka_reserved reserved[] = {
    {"bootstrap.servers", "it is the option brokers"},
    {"metadata.broker.list", "it is the option brokers"},
    {"group.id", "it is the option group"},
    {"auto.offset.reset", "it is the option start"},
    {"enable.auto.commit", "offsets are committed when the effects of their rows are out"},
    {"auto.commit.enable", "offsets are committed when the effects of their rows are out"},
    {"enable.auto.offset.store", "offsets are committed when the effects of their rows are out"},
    {"partition.assignment.strategy", "it is range, roundrobin"},
    {NULL, NULL},
};

/* Restarted, a run is the same member of the group, so that it has its partitions again at once. */
static tw_status set_member(kafka_source *s, const args *a, const char *flow, tw_error *err) {
    struct text member = {0};
    if (!kafka_is_set(a, "group.instance.id")) {
        text_printf(&member, "%s-%s", s->group, flow);
        if (!kafka_set(s->conf, "group.instance.id", text_string(&member))) return no_memory(err);
        s->member = text_take(&member);
    } else {
        size_t n;
        const arg_item *items = args_items(a, "options", &n);
        for (size_t i = 0; i < n; i++)
            if (strcmp(items[i].name, "group.instance.id") == 0) s->member = strdup(items[i].text);
    }
    return s->member ? TW_OK : no_memory(err);
}

static tw_status build(kafka_source *s, plan_builder *b, const args *a, tw_error *err) {
    error_list *errors = plan_errors(b);
    s->brokers = kafka_join(a, "brokers");
    s->group = strdup(args_string(a, "group"));
    if (!s->brokers || !s->group) return no_memory(err);
    tw_status topics = read_topics(s, errors, a, err);
    if (topics != TW_OK && topics != TW_ERR_JOB) return topics;
    tw_status settings = kafka_settings(errors, a, s->brokers, defaults, reserved, &s->conf, err);
    if (settings != TW_OK && settings != TW_ERR_JOB) return settings;
    TRY(read_format(s, errors, a, err));
    TRY(topics);
    TRY(settings);
    if (!*s->group || !kafka_set(s->conf, "group.id", s->group)) return args_error(a, "group", errors, "must not be empty");
    kafka_set(s->conf, "auto.offset.reset", args_enum(a, "start") ? "latest" : "earliest");
    s->order = (order)args_enum(a, "ordered");
    s->sized = kafka_is_set(a, "queued.min.messages") || kafka_is_set(a, "queued.max.messages.kbytes") ||
               kafka_is_set(a, "max.partition.fetch.bytes") || kafka_is_set(a, "fetch.message.max.bytes");
    snprintf(s->shown, sizeof s->shown, "%.60s%s as %s, group %.60s", s->topics[0], s->n_topics > 1 ? ", ..." : "",
             format_names[s->rows.format.kind], s->group);
    return set_member(s, a, plan_flow_name(b), err);
}

static tw_status kafka_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    kafka_source *s = calloc(1, sizeof *s);
    if (!s) return no_memory(err);
    s->base = (source){.class = &kafka_class, .name = "kafka", .endless = true, .replays = true, .reader_bytes = SPLIT_BYTES};
    pthread_mutex_init(&s->lock, NULL);
    tw_status status = build(s, b, a, err);
    if (status != TW_OK) {
        kafka_free(&s->base);
        return status;
    }
    *out = &s->base;
    *out_schema = schema_ref(s->rows.format.schema);
    return TW_OK;
}

static const char *const start_names[] = {"earliest", "latest", NULL};

static const option kafka_options[] = {
    {"brokers", OPTION_STRINGS, OPTION_REQUIRED | OPTION_OR_ONE, "HOST:PORT of some brokers of the cluster"},
    {"topic", OPTION_STRINGS, OPTION_REQUIRED | OPTION_OR_ONE, "the topic, or a list of them"},
    {"group", OPTION_STRING, OPTION_REQUIRED, "the consumer group, whose offsets tell where the next run goes on"},
    {"start", OPTION_ENUM, .values = start_names, .default_text = "earliest",
     .help = "where a partition begins of which the group has no offset"},
    ENDLESS_OPTIONS,
    {"format", OPTION_ENUM, .values = format_names, .default_note = "binary", .help = "how a message makes records"},
    {"columns", OPTION_ANY, .help = "names and types; for records names and [offset, length]"},
    {"header", OPTION_BOOL, .default_text = "false", .help = "csv: must be false, a message has no header"},
    {"delimiter", OPTION_STRING, .default_note = "','", .help = "csv: one byte between fields"},
    {"quote", OPTION_STRING, .default_note = "'\"'", .help = "csv: one byte, or '' for none"},
    {"length", OPTION_SIZE, .min = 1, .max = 1 << 30, .help = "records: bytes in each"},
    KAFKA_OPTIONS_OPTION,
};

const source_descriptor source_kafka = {
    .descriptor = {.name = "kafka",
                   .summary = "reads topics of Kafka, as a member of a consumer group",
                   .options = kafka_options,
                   .n_options = COUNT_OF(kafka_options),
                   .details = "Without a format a message gives `content` and `key`, each null if the message has none. "
                              "With one it gives the records that its value holds, mostly one; a message without a value "
                              "gives none. In messages about bad records the record's number is the offset plus one.\n\n"
                              "The first SIGTERM ends the run when all that was handed out has left the sinks; then its "
                              "offsets are committed, and the next run goes on there. A run that fails commits nothing: "
                              "the next one begins where the last one ended (at least once).\n\n"
                              "A run is a static member of its group (group.instance.id: GROUP-FLOW), so that it has its "
                              "partitions again at once when it is restarted. Several runs that share a topic's "
                              "partitions each need an id of their own in `options`, or none (''). If no broker is there for a minute, "
                              "the run fails.",
                   .example = "source: { kafka: { brokers: \"localhost:9092\", topic: clicks, group: g1, format: json,\n"
                              "                   columns: { user: int64, url: string } } }"},
    .build = kafka_build,
};
