/* kafka_sink.c: rows as messages of a topic, by an idempotent producer, and if asked in transactions. librdkafka
 * holds what is not acknowledged yet; when that is full, nobody is let in until reports of delivery come. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "engine/bad_records.h"
#include "io/connectors.h"
#include "io/encode.h"
#include "io/kafka_client.h"
#include "io/kafka_internal.h"

#define TRANSACTION_MS 30000
#define TRIES_MAX 20
#define MESSAGES_AT_ONCE 64
#define QUEUED_BYTES_MIN ((size_t)2 << 20)
#define QUEUED_BYTES_MAX ((size_t)128 << 20)
#define MESSAGE_OVERHEAD 256 /* bytes, of librdkafka's for one that is queued */

typedef struct kafka_sink {
    sink base;
    /* as the job says */
    char *brokers, *topic;
    schema *schema;
    encoder *encoder;  /* NULL: values go as they are */
    uint32_t content;  /* without encoder: the column */
    int key;           /* column; -1: none */
    rd_kafka_conf_t *conf;
    uint32_t epoch;        /* the one that it was told of last */
    char *transactional; /* the id; NULL: no transactions */
    char shown[160];
    /* while it runs */
    run_context *run;
    kafka_client *client;
    rd_kafka_topic_t *handle;
    int partitions;          /* of the topic */
    atomic_uint turn;        /* whose it is to get the next batch without keys */
    rd_kafka_queue_t *events;
    size_t queued_bytes_max; /* that librdkafka may hold, about */
    atomic_size_t message_bytes; /* of a message of the last batch */
    pthread_mutex_t serving; /* one thread at a time takes reports */
    atomic_bool awaited;     /* somebody was not let in */
    atomic_bool closed;      /* between prepare and commit */
    pthread_mutex_t lock;    /* of what follows */
    bool begun;              /* a transaction is open */
    rd_kafka_resp_err_t failed; /* the first message that could not be delivered */
    uint64_t lost;              /* such messages */
    char failure[200];
    atomic_bool has_failed;
} kafka_sink;

typedef struct kafka_writer {
    sink_writer writer;
    byte_buffer bytes; /* of the batch at hand */
    size_t *ends;      /* of its rows */
} kafka_writer;

static kafka_sink *of(sink *k) { return (kafka_sink *)k; }
static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

/* ---- reports ---- */

static void note_failure(kafka_sink *k, rd_kafka_resp_err_t code, const char *words, uint64_t lost) {
    pthread_mutex_lock(&k->lock);
    if (!k->failed) {
        k->failed = code;
        snprintf(k->failure, sizeof k->failure, "%s", words);
    }
    k->lost += lost;
    atomic_store(&k->has_failed, true);
    pthread_mutex_unlock(&k->lock);
}

static void note_event(kafka_sink *k, rd_kafka_event_t *e) {
    rd_kafka_resp_err_t code = rd_kafka_event_error(e);
    size_t n = rd_kafka_event_message_count(e);
    char fatal[200];
    switch (rd_kafka_event_type(e)) {
    case RD_KAFKA_EVENT_DR:
        if (code) note_failure(k, code, rd_kafka_err2str(code), n);
        else atomic_fetch_add_explicit(&k->run->rows_out, n, memory_order_relaxed);
        break;
    case RD_KAFKA_EVENT_ERROR: /* others pass, or end as reports */
        if (code == RD_KAFKA_RESP_ERR__FATAL) note_failure(k, rd_kafka_fatal_error(k->client->handle, fatal, sizeof fatal), fatal, 0);
        break;
    default: break;
    }
    rd_kafka_event_destroy(e);
}

/* Takes all reports that are there, waiting for the first. */
static void serve(kafka_sink *k, int wait_ms) {
    if (wait_ms) pthread_mutex_lock(&k->serving);
    else if (pthread_mutex_trylock(&k->serving) != 0) return;
    for (rd_kafka_event_t *e; (e = rd_kafka_queue_poll(k->events, wait_ms)); wait_ms = 0) note_event(k, e);
    pthread_mutex_unlock(&k->serving);
}

static void on_ready(void *context) {
    kafka_sink *k = context;
    serve(k, 0);
    if (atomic_exchange(&k->awaited, false)) run_wake(k->run);
}

static tw_status tell_failure(kafka_sink *k, tw_error *err) {
    pthread_mutex_lock(&k->lock);
    char words[400];
    const char *hint = k->failed == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
                           ? "; the topic's max.message.bytes is less than options.message.max.bytes" : "";
    if (k->lost)
        snprintf(words, sizeof words, "%llu message%s could not be delivered: %s%s", (unsigned long long)k->lost,
                 k->lost == 1 ? "" : "s", k->failure, hint);
    else
        snprintf(words, sizeof words, "%s", k->failure);
    pthread_mutex_unlock(&k->lock);
    return kafka_error(k->client, err, "topic '%s': %s", k->topic, words);
}

/* Until librdkafka holds no message any more: each is delivered or given up within message.timeout.ms. */
static tw_status drain(kafka_sink *k, tw_error *err) {
    while (rd_kafka_outq_len(k->client->handle) > 0 && !atomic_load(&k->has_failed)) {
        if (run_cancelled(k->run)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        serve(k, 20);
    }
    return atomic_load(&k->has_failed) ? tell_failure(k, err) : TW_OK;
}

/* ---- transactions ---- */

static tw_status transaction_error(kafka_sink *k, rd_kafka_error_t *e, const char *what, tw_error *err) {
    kafka_error(k->client, err, "topic '%s': cannot %s: %s", k->topic, what, rd_kafka_error_string(e));
    rd_kafka_error_destroy(e);
    return TW_ERR_IO;
}

/* Repeats what may pass. `step` is called with `context`. */
static tw_status persist(kafka_sink *k, rd_kafka_error_t *(*step)(void *context), void *context, const char *what, tw_error *err) {
    for (unsigned tries = 1;; tries++) {
        rd_kafka_error_t *e = step(context);
        if (!e) return TW_OK;
        if (!rd_kafka_error_is_retriable(e) || tries == TRIES_MAX || run_cancelled(k->run)) {
            bool abort = rd_kafka_error_txn_requires_abort(e);
            tw_status status = transaction_error(k, e, what, err);
            if (abort) {
                e = rd_kafka_abort_transaction(k->client->handle, TRANSACTION_MS);
                if (e) rd_kafka_error_destroy(e);
                k->begun = false;
            }
            return status;
        }
        rd_kafka_error_destroy(e);
        struct timespec pause = {.tv_nsec = 20000000};
        nanosleep(&pause, NULL);
    }
}

static rd_kafka_error_t *init_step(void *context) {
    return rd_kafka_init_transactions(((kafka_sink *)context)->client->handle, TRANSACTION_MS);
}
static rd_kafka_error_t *commit_step(void *context) {
    return rd_kafka_commit_transaction(((kafka_sink *)context)->client->handle, TRANSACTION_MS);
}
static rd_kafka_error_t *abort_step(void *context) {
    return rd_kafka_abort_transaction(((kafka_sink *)context)->client->handle, TRANSACTION_MS);
}

typedef struct offsets_step {
    rd_kafka_t *handle;
    rd_kafka_topic_partition_list_t *offsets;
    rd_kafka_consumer_group_metadata_t *member;
} offsets_step;

static rd_kafka_error_t *send_step(void *context) {
    offsets_step *o = context;
    return rd_kafka_send_offsets_to_transaction(o->handle, o->offsets, o->member, TRANSACTION_MS);
}

/* A transaction begins with its first row. */
static tw_status begin(kafka_sink *k, tw_error *err) {
    tw_status status = TW_OK;
    pthread_mutex_lock(&k->lock);
    if (!k->begun) {
        rd_kafka_error_t *e = rd_kafka_begin_transaction(k->client->handle);
        if (e) status = transaction_error(k, e, "begin a transaction", err);
        else k->begun = true;
    }
    pthread_mutex_unlock(&k->lock);
    return status;
}

static void open_door(kafka_sink *k) {
    atomic_store(&k->closed, false);
    atomic_store(&k->awaited, false);
    run_wake(k->run);
}

tw_status kafka_sink_transactional(sink *self, const char *id, tw_error *err) {
    kafka_sink *k = of(self);
    free(k->transactional);
    k->transactional = strdup(id);
    return k->transactional ? TW_OK : no_memory(err);
}

tw_status kafka_sink_prepare(sink *self, tw_error *err) {
    kafka_sink *k = of(self);
    atomic_store(&k->closed, k->transactional != NULL);
    return drain(k, err);
}

static tw_status send_offsets(kafka_sink *k, source *from, uint64_t epoch, const char *note, tw_error *err) {
    offsets_step o = {.handle = k->client->handle};
    TRY(kafka_source_offsets(from, epoch, note, &o.offsets, &o.member, err));
    tw_status status = o.offsets->cnt ? persist(k, send_step, &o, "add the offsets to a transaction", err) : TW_OK;
    rd_kafka_topic_partition_list_destroy(o.offsets);
    rd_kafka_consumer_group_metadata_destroy(o.member);
    return status;
}

tw_status kafka_sink_commit(sink *self, source *const *sources, uint32_t n, uint64_t epoch, const char *note,
                            tw_error *err) {
    kafka_sink *k = of(self);
    if (!k->transactional) return TW_OK;
    if (n) TRY(begin(k, err));
    for (uint32_t i = 0; i < n; i++) TRY(send_offsets(k, sources[i], epoch, note, err));
    if (k->begun) TRY(persist(k, commit_step, k, "commit a transaction", err));
    k->begun = false;
    for (uint32_t i = 0; i < n; i++) kafka_source_forget(sources[i], epoch);
    open_door(k);
    return TW_OK;
}

tw_status kafka_sink_abort(sink *self, tw_error *err) {
    kafka_sink *k = of(self);
    if (!k->transactional) return TW_OK;
    if (k->begun) {
        rd_kafka_purge(k->client->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        TRY(persist(k, abort_step, k, "take back a transaction", err));
    }
    k->begun = false;
    open_door(k);
    return TW_OK;
}

/* ---- rows ---- */

/* The bytes of a row; NULL: null. */
static const void *value_of(const column *c, uint32_t row, size_t *size) {
    *size = 0;
    if (!column_is_valid(c, row)) return NULL;
    const view *v = (const view *)c->values + row;
    *size = v->size;
    return view_data(v);
}

static const void *payload_of(const kafka_sink *k, const kafka_writer *w, const batch *b, uint32_t row, size_t *size) {
    if (!k->encoder) return value_of(&b->columns[k->content], row, size);
    size_t begin = row ? w->ends[row - 1] : 0;
    *size = w->ends[row] - begin;
    if (*size && encoder_writes_lines(k->encoder)) --*size; /* a message needs no line end */
    return w->bytes.bytes->data + begin;
}

static tw_status refuse(kafka_sink *k, const batch *b, uint32_t row, size_t size, tw_error *err) {
    char reason[160];
    snprintf(reason, sizeof reason, "a message of %zu bytes is longer than options.message.max.bytes allows", size);
    return bad_row(k->run, b, row, "kafka", reason, err);
}

/* Those of some messages, the first of which is of `row`, that librdkafka did not take. */
static tw_status tell_refused(kafka_sink *k, const rd_kafka_message_t *m, uint32_t n, const batch *b, uint32_t row, tw_error *err) {
    for (uint32_t i = 0; i < n; i++) {
        if (m[i].err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) TRY(refuse(k, b, row + i, m[i].len + m[i].key_len, err));
        else if (m[i].err) return kafka_error(k->client, err, "topic '%s': %s", k->topic, rd_kafka_err2str(m[i].err));
    }
    return TW_OK;
}

/* Without keys a batch goes to one partition, which spares librdkafka a choice for each message. */
static tw_status produce(kafka_sink *k, const kafka_writer *w, const batch *b, tw_error *err) {
    uint64_t bytes = 0;
    int32_t partition = RD_KAFKA_PARTITION_UA;
    if (k->key < 0) partition = (int32_t)(atomic_fetch_add(&k->turn, 1) % (unsigned)k->partitions);
    for (uint32_t row = 0, n; row < b->rows; row += n) {
        rd_kafka_message_t messages[MESSAGES_AT_ONCE];
        n = b->rows - row < MESSAGES_AT_ONCE ? b->rows - row : MESSAGES_AT_ONCE;
        for (uint32_t i = 0; i < n; i++) {
            rd_kafka_message_t *m = &messages[i];
            *m = (rd_kafka_message_t){0};
            m->payload = (void *)(uintptr_t)payload_of(k, w, b, row + i, &m->len);
            if (k->key >= 0) m->key = (void *)(uintptr_t)value_of(&b->columns[k->key], row + i, &m->key_len);
            bytes += m->len + m->key_len;
        }
        uint32_t taken = (uint32_t)rd_kafka_produce_batch(k->handle, partition, RD_KAFKA_MSG_F_COPY, messages, (int)n);
        if (taken != n) TRY(tell_refused(k, messages, n, b, row, err));
    }
    atomic_fetch_add_explicit(&k->run->bytes_out, bytes, memory_order_relaxed);
    atomic_store_explicit(&k->message_bytes, bytes / b->rows + MESSAGE_OVERHEAD, memory_order_relaxed);
    return TW_OK;
}

/* What librdkafka holds is bounded here and not by its own settings: when these refuse messages in the middle of
 * a batch, later ones may get in, and the order is lost. */
static bool has_room(const kafka_sink *k) {
    size_t n = (size_t)rd_kafka_outq_len(k->client->handle);
    return n * atomic_load_explicit(&k->message_bytes, memory_order_relaxed) < k->queued_bytes_max;
}

/* Whoever is not let in is woken by the next report; if it came just now, it is seen here. */
static bool kafka_ready(sink *self, const batch_order *order) {
    kafka_sink *k = of(self);
    if (atomic_load(&k->has_failed)) return true; /* push tells */
    if (atomic_load(&k->closed)) return false;
    if (has_room(k)) return true;
    atomic_store(&k->awaited, true);
    serve(k, 0);
    return has_room(k);
}

static tw_status encode(const kafka_sink *k, kafka_writer *w, const batch *b, tw_error *err) {
    w->bytes.size = 0;
    for (uint32_t row = 0; k->encoder && row < b->rows; row++) {
        TRY(encoder_append_row(k->encoder, b, row, &w->bytes, err));
        w->ends[row] = w->bytes.size;
    }
    return TW_OK;
}

static tw_status kafka_push(sink_writer *self, const batch_order *order, batch *b, tw_error *err) {
    kafka_writer *w = (kafka_writer *)self;
    kafka_sink *k = of(self->sink);
    if (atomic_load(&k->has_failed)) return tell_failure(k, err);
    if (k->transactional) TRY(begin(k, err));
    TRY(encode(k, w, b, err));
    TRY(produce(k, w, b, err));
    serve(k, 0);
    return TW_OK;
}

static void kafka_drop(sink_writer *self) {
    kafka_writer *w = (kafka_writer *)self;
    byte_buffer_clear(&w->bytes);
    free(w->ends);
    free(w);
}

static tw_status kafka_close(sink_writer *self, tw_error *err) {
    kafka_drop(self);
    return TW_OK;
}

static tw_status kafka_open(sink *self, sink_writer **out, tw_error *err) {
    kafka_sink *k = of(self);
    kafka_writer *w = calloc(1, sizeof *w);
    if (w && k->encoder) w->ends = malloc(BATCH_ROWS_MAX * sizeof *w->ends);
    if (!w || (k->encoder && !w->ends)) {
        free(w);
        return no_memory(err);
    }
    w->writer.sink = self;
    w->bytes.memory = k->run->memory;
    *out = &w->writer;
    return TW_OK;
}

/* ---- start and end ---- */

/* What waits for delivery stays a small part of the run's memory. */
static size_t queue_share(size_t limit) {
    size_t share = limit / 8;
    return share < QUEUED_BYTES_MIN ? QUEUED_BYTES_MIN : share > QUEUED_BYTES_MAX ? QUEUED_BYTES_MAX : share;
}

static tw_status kafka_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    kafka_sink *k = of(self);
    k->run = run;
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(k->conf);
    k->queued_bytes_max = queue_share(memory_limit(run->memory));
    if (k->transactional) {
        kafka_set(conf, "transactional.id", k->transactional);
        kafka_set(conf, "retry.backoff.ms", "1"); /* else each transaction waits 100 ms for it */
    }
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    TRY(kafka_client_new(conf, RD_KAFKA_PRODUCER, run, on_ready, k, &k->client, err));
    k->events = rd_kafka_queue_get_main(k->client->handle);
    kafka_client_watch(k->client, k->events);
    TRY(kafka_find_topic(k->client, k->topic, k->brokers, &k->partitions, err));
    if (k->partitions < 1) return kafka_error(k->client, err, "topic '%s' has no partitions", k->topic);
    k->handle = rd_kafka_topic_new(k->client->handle, k->topic, NULL);
    if (!k->handle) return kafka_error(k->client, err, "topic '%s'", k->topic);
    return k->transactional ? persist(k, init_step, k, "begin with transactions", err) : TW_OK;
}

static tw_status kafka_finish(sink *self, tw_error *err) { return drain(of(self), err); }

/* In transactions, what came after the last checkpoint. */
static tw_status kafka_commit(sink *self, tw_error *err) { return kafka_sink_commit(self, NULL, 0, 0, NULL, err); }

/* ---- for epochs.c ---- */

static tw_status kafka_advance(sink *self, mark to, tw_error *err) {
    kafka_sink *k = of(self);
    if (to.epoch == k->epoch) return TW_OK;
    k->epoch = to.epoch;
    return kafka_sink_prepare(self, err);
}

static tw_status kafka_publish(sink *self, const epoch_end *e, tw_error *err) {
    return kafka_sink_commit(self, e->sources, e->n_sources, e->epoch, e->note, err);
}

static void kafka_needs(sink *self, bool *needed) {
    kafka_sink *k = of(self);
    if (k->encoder) encoder_needs(k->encoder, needed);
    else needed[k->content] = true;
    if (k->key >= 0) needed[k->key] = true;
}

static void kafka_describe(const sink *self, char *out, size_t capacity) {
    snprintf(out, capacity, "%s", ((const kafka_sink *)self)->shown);
}

static void kafka_free(sink *self) {
    kafka_sink *k = of(self);
    if (k->client) {
        kafka_client_unwatch(k->client);
        if (k->client->handle) rd_kafka_purge(k->client->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
        if (k->events) rd_kafka_queue_destroy(k->events);
        if (k->handle) rd_kafka_topic_destroy(k->handle);
        kafka_client_unref(k->client);
    }
    if (k->conf) rd_kafka_conf_destroy(k->conf);
    encoder_free(k->encoder);
    schema_unref(k->schema);
    pthread_mutex_destroy(&k->serving);
    pthread_mutex_destroy(&k->lock);
    free(k->transactional);
    free(k->brokers);
    free(k->topic);
    free(k);
}

static const sink_class kafka_class = {
    .start = kafka_start,
    .open = kafka_open,
    .push = kafka_push,
    .ready = kafka_ready,
    .close = kafka_close,
    .drop = kafka_drop,
    .finish = kafka_finish,
    .commit = kafka_commit,
    .advance = kafka_advance,
    .publish = kafka_publish,
    .transact = kafka_sink_transactional,
    .needs = kafka_needs,
    .describe = kafka_describe,
    .free = kafka_free,
};

bool kafka_is_sink(const sink *k) { return k->class == &kafka_class; }

/* ---- options ---- */

/* The column whose bytes are the message: `content`, or the only one. */
static tw_status choose_content(kafka_sink *k, error_list *errors, const args *a) {
    const schema *s = k->schema;
    int found = schema_find(s, "content");
    if (found < 0 && s->n == 1) found = 0;
    if (found < 0)
        return args_error(a, "format", errors, "binary writes the column 'content' or the only one there is: set a format, or select one");
    if (!type_is_view(s->fields[found].type))
        return args_error(a, "format", errors, "binary writes bytes or text, not column '%.80s'", s->fields[found].name);
    k->content = (uint32_t)found;
    return TW_OK;
}

static tw_status choose_key(kafka_sink *k, error_list *errors, const args *a) {
    k->key = -1;
    if (!args_given(a, "key")) return TW_OK;
    const char *name = args_string(a, "key");
    k->key = schema_find(k->schema, name);
    if (k->key < 0) {
        struct nearest near = {name};
        for (uint32_t i = 0; i < k->schema->n; i++) nearest_try(&near, k->schema->fields[i].name);
        return args_error(a, "key", errors, "unknown column '%.80s'%s%.80s%s", name, near.best ? "; did you mean '" : "",
                          near.best ? near.best : "", near.best ? "'?" : "");
    }
    if (type_is_view(k->schema->fields[k->key].type)) return TW_OK;
    return args_error(a, "key", errors, "a key is a string or binary: derive one with string(%.80s)", name);
}

static tw_status choose_format(kafka_sink *k, error_list *errors, const args *a, tw_error *err) {
    int given = args_enum(a, "format");
    encode_options o = encode_options_default(given >= 0 ? (format_kind)given : FORMAT_BINARY);
    if (o.kind == FORMAT_BINARY) return choose_content(k, errors, a);
    o.header = false;
    tw_error wrong;
    tw_status status = encoder_new(&o, k->schema, &k->encoder, &wrong);
    if (status == TW_ERR_JOB) return args_error(a, "format", errors, "%s", wrong.message);
    if (status != TW_OK && err) *err = wrong;
    return status;
}

/* Those of the option, or of the first kafka source of the job. */
static tw_status choose_brokers(kafka_sink *k, plan_builder *b, const args *a, tw_error *err) {
    struct text t = {0};
    if (args_given(a, "brokers")) {
        k->brokers = kafka_join(a, "brokers");
        return k->brokers ? TW_OK : no_memory(err);
    }
    const job *j = plan_job(b);
    const node *n = NULL;
    for (uint32_t i = 0; i < j->n_flows && !n; i++)
        if (j->flows[i].source.name && strcmp(j->flows[i].source.name, "kafka") == 0)
            n = node_get(j->flows[i].source.arguments, "brokers");
    if (!n) return args_error(a, "brokers", plan_errors(b), "is missing, and no kafka source of the job has it");
    for (uint32_t i = 0; n->kind == NODE_LIST && i < n->n; i++)
        if (n->items[i]->kind == NODE_SCALAR) text_printf(&t, "%s%s", i ? "," : "", n->items[i]->text);
    if (n->kind == NODE_SCALAR) text_append_string(&t, n->text);
    k->brokers = strdup(text_string(&t));
    text_free(&t);
    return k->brokers ? TW_OK : no_memory(err);
}

static const kafka_default defaults[] = {
    {"enable.idempotence", "true"},
    {"linger.ms", "5"},
    {"message.timeout.ms", "60000"},
    {"queue.buffering.max.messages", "10000000"}, /* has_room is what bounds it */
    {"queue.buffering.max.kbytes", "2147483647"},
    {"partitioner", "murmur2_random"}, /* as Java's clients choose the partition of a key */
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "1000"},
    {NULL, NULL},
};

static const kafka_reserved reserved[] = {
    {"bootstrap.servers", "it is the option brokers"},
    {"metadata.broker.list", "it is the option brokers"},
    {"transactional.id", "run.guarantee decides about transactions"},
    {"delivery.report.only.error", "all reports are counted"},
    {"queue.buffering.max.messages", "it is a part of run.memory"},
    {"queue.buffering.max.kbytes", "it is a part of run.memory"},
    {NULL, NULL},
};

/* A goal for latency: librdkafka may wait for company a fourth of it, and the system not at all. */
static void hurry(kafka_sink *k, uint64_t goal_us, const args *a) {
    char linger[32];
    if (!goal_us) return;
    snprintf(linger, sizeof linger, "%.3f", goal_us < 20000 ? (double)goal_us / 4000 : 5.0);
    if (!kafka_is_set(a, "linger.ms") && !kafka_is_set(a, "queue.buffering.max.ms")) kafka_set(k->conf, "linger.ms", linger);
    if (!kafka_is_set(a, "socket.nagle.disable")) kafka_set(k->conf, "socket.nagle.disable", "true");
}

static tw_status build(kafka_sink *k, plan_builder *b, const args *a, tw_error *err) {
    error_list *errors = plan_errors(b);
    const arg_item topic = {.text = args_string(a, "topic"), .at = args_place(a, "topic")};
    k->topic = strdup(topic.text);
    if (!k->topic) return no_memory(err);
    tw_status status = kafka_check_topic(errors, a, &topic) ? TW_OK : TW_ERR_JOB;
    if (choose_key(k, errors, a) != TW_OK) status = TW_ERR_JOB;
    tw_status one = choose_format(k, errors, a, err);
    if (one != TW_OK && one != TW_ERR_JOB) return one;
    if (one != TW_OK) status = one;
    TRY(choose_brokers(k, b, a, err));
    TRY(kafka_settings(errors, a, k->brokers, defaults, reserved, &k->conf, err));
    hurry(k, plan_job(b)->run.latency_us, a);
    snprintf(k->shown, sizeof k->shown, "%s to %.100s", k->encoder ? args_string(a, "format") : "binary", k->topic);
    return status;
}

static tw_status kafka_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    kafka_sink *k = calloc(1, sizeof *k);
    if (!k) return no_memory(err);
    k->base = (sink){.class = &kafka_class, .name = "kafka"};
    k->schema = schema_ref(s);
    pthread_mutex_init(&k->serving, NULL);
    pthread_mutex_init(&k->lock, NULL);
    tw_status status = build(k, b, a, err);
    if (status != TW_OK) {
        kafka_free(&k->base);
        return status;
    }
    *out = &k->base;
    return TW_OK;
}

static const option kafka_options[] = {
    {"brokers", OPTION_STRINGS, OPTION_OR_ONE, "HOST:PORT of some brokers of the cluster",
     .default_note = "those of the job's kafka source"},
    {"topic", OPTION_STRING, OPTION_REQUIRED, "the topic"},
    {"key", OPTION_COLUMN, .default_note = "none", .help = "the column whose bytes are the message's key, and choose its partition"},
    {"format", OPTION_ENUM, .values = format_names, .default_note = "binary", .help = "how a row is written"},
    KAFKA_OPTIONS_OPTION,
};

const sink_descriptor sink_kafka = {
    .descriptor = {.name = "kafka",
                   .summary = "writes a topic of Kafka, a message a row",
                   .options = kafka_options,
                   .n_options = COUNT_OF(kafka_options),
                   .details = "binary writes the column `content`, or the only one; null makes a message without a value. A "
                              "key's partition is the one that Java's clients choose. Rows of a split keep their order; "
                              "several splits are written at once.\n\n"
                              "The producer is idempotent and waits for all replicas (acks=all). What is not delivered "
                              "within message.timeout.ms (60000) fails the run; a broker that comes back before is no "
                              "trouble. A row longer than message.max.bytes (1000000) is a bad record.",
                   .example = "sink: { kafka: { brokers: \"localhost:9092\", topic: by_country, key: country, format: json } }"},
    .build = kafka_build,
};
