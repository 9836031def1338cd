/* harmonicio_sink.c: the sink `harmonicio`: rows as messages to HarmonicIO's PEs, through an unchanged master (as a stream
 * connector), or in its place.
 *
 * A few threads carry messages: asking the master, sending, waiting until the other side has read. With a PE that cannot
 * be reached the master is asked again. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/bad_records.h"
#include "io/backoff.h"
#include "io/connectors.h"
#include "io/harmonicio_client.h"
#include "io/harmonicio_outbox.h"
#include "io/socket_sink.h"

enum { COURIERS = 4, LOOK_MS = 100, FINISH_LOOK_NS = 5000000 };

typedef struct harmonicio_sink {
    sink sink;
    bool listens;
    endpoint endpoint;      /* of the master, or our own in its place */
    char *name;
    encode_options encode;
    parcel_format format;
    uint64_t retry_ns, timeout_ns;
    run_context *run;
    outbox outbox;
    pe_server *server;
    harmonicio_client client;
    atomic_bool quits;
    pthread_t couriers[COURIERS];
    unsigned n_couriers;
} harmonicio_sink;

static harmonicio_sink *of(sink *s) { return (harmonicio_sink *)s; }
static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a sink"); }

/* ---- couriers ---- */

/* A full queue (406) and troubles of its own pass. */
static tw_status refused(const harmonicio_sink *k, const client_reply *r, tw_error *err) {
    return error_set(err, r->code == 406 || r->code / 100 == 5 ? TW_ERR_IO : TW_ERR_DATA, "harmonicio: the master '%.120s' answers %d: %.100s",
                     k->endpoint.text, r->code, r->text);
}

/* The rest of a message that the master gave from its queue. */
static tw_status receive_rest(harmonicio_sink *k, int fd, const client_reply *r, buffer **out, tw_error *err) {
    if (!r->measured || r->bytes > r->length) return error_set(err, TW_ERR_IO, "harmonicio: the master does not say how long its message is");
    buffer *b;
    TRY(buffer_new(k->run->memory, MEMORY_FLOW, r->length, &b, err));
    memcpy(b->data, r->text, r->bytes);
    tw_status status = TW_OK;
    for (size_t at = r->bytes, got = 1; at < r->length && status == TW_OK; at += got) {
        status = client_receive(&k->client, fd, b->data + at, r->length - at, &got, err);
        if (status == TW_OK && !got) status = error_set(err, TW_ERR_IO, "harmonicio: the master's message was cut short");
    }
    if (status == TW_OK) *out = b;
    else buffer_unref(b);
    return status;
}

/* A master tells a sender to queue, a PE registers, then the message comes: it would lie there while the PE waits. So a PE
 * that is free after we have queued gets what is in the queue: we poll in its name, and bring it what comes; when nothing
 * does, the poll has registered it again. */
static tw_status carry(harmonicio_sink *k, const uint8_t *data, size_t bytes, bool wakes, client_reply *r, uint64_t *random, tw_error *err);

static void wake_idle(harmonicio_sink *k, const uint8_t *digest, client_reply *r, uint64_t *random) {
    harmonicio_place idle;
    tw_error err = {0};
    int fd;
    if (client_ask_place(&k->client, digest, r, &idle, &err) != TW_OK || r->code != 200 || idle.role != ROLE_WORKER) return;
    if (client_poll(&k->client, idle.host, idle.port, true, r, &fd, &err) != TW_OK) return;
    buffer *message = NULL;
    bool popped = r->code == 203;
    if (popped) receive_rest(k, fd, r, &message, &err);
    close(fd);
    if (popped && !message) run_log(k->run, TW_LOG_WARNING, "a message of the master's queue is lost: %s", err.message);
    if (!message) { /* nothing for the PE, which is not registered now */
        if (popped && client_poll(&k->client, idle.host, idle.port, false, r, &fd, &err) == TW_OK) close(fd);
        return;
    }
    tw_status status = client_deliver(&k->client, &idle, message->data, message->size, &err);
    /* It has gone: the message is one as any other now. */
    if (status != TW_OK) status = carry(k, message->data, message->size, false, r, random, &err);
    if (status != TW_OK && status != TW_ERR_CANCELLED) outbox_fail(&k->outbox, &err);
    buffer_unref(message);
}

static tw_status deliver(harmonicio_sink *k, const uint8_t *data, size_t bytes, bool wakes, client_reply *r, uint64_t *random, tw_error *err) {
    uint8_t digest[MD5_BYTES];
    harmonicio_place to;
    md5(data, bytes, digest);
    TRY(client_ask_place(&k->client, digest, r, &to, err));
    if (r->code != 200) return refused(k, r, err);
    TRY(client_deliver(&k->client, &to, data, bytes, err));
    if (to.role == ROLE_QUEUE && wakes) wake_idle(k, digest, r, random);
    return TW_OK;
}

static void rest(harmonicio_sink *k, uint64_t ns) {
    for (uint64_t until = clock_ns() + ns; clock_ns() < until && !atomic_load(&k->quits) && !run_cancelled(k->run);)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

/* One message, until it is there; `wakes` a PE that has become free if it went to the queue. */
static tw_status carry(harmonicio_sink *k, const uint8_t *data, size_t bytes, bool wakes, client_reply *r, uint64_t *random, tw_error *err) {
    uint64_t failed_ns = 0;
    for (unsigned attempt = 0;; attempt++) {
        tw_status status = deliver(k, data, bytes, wakes, r, random, err);
        if (status != TW_ERR_IO) return status;
        uint64_t now = clock_ns();
        if (!failed_ns || r->code == 406) failed_ns = now; /* a full queue is only slow */
        if (now - failed_ns > k->retry_ns) return status;
        rest(k, backoff_ns(attempt, random));
    }
}

static void *courier(void *argument) {
    harmonicio_sink *k = argument;
    tw_error err = {0};
    client_reply *r = malloc(sizeof *r);
    if (!r) {
        no_memory(&err);
        outbox_fail(&k->outbox, &err);
        return NULL;
    }
    uint64_t random = clock_ns() | 1;
    while (!atomic_load(&k->quits)) {
        parcel *p = outbox_take(&k->outbox, LOOK_MS);
        if (!p) continue;
        tw_status status = carry(k, p->data, p->data_bytes, true, r, &random, &err);
        if (status == TW_OK) {
            outbox_done(&k->outbox, p);
            continue;
        }
        outbox_give_back(&k->outbox, p);
        if (status != TW_ERR_CANCELLED) outbox_fail(&k->outbox, &err);
        break;
    }
    free(r);
    return NULL;
}

/* ---- the sink ---- */

static tw_status harmonicio_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    harmonicio_sink *k = of(self);
    k->run = run;
    TRY(outbox_start(&k->outbox, run, err));
    TRY(endpoint_resolve(&k->endpoint, err));
    if (k->listens) return pe_server_start(&k->outbox, &k->endpoint, k->name, k->timeout_ns, &k->server, err);
    k->client = (harmonicio_client){.master = &k->endpoint, .name = k->name, .timeout_ns = k->timeout_ns, .run = run, .quits = &k->quits};
    for (; k->n_couriers < COURIERS; k->n_couriers++) {
        int failed = pthread_create(&k->couriers[k->n_couriers], NULL, courier, k);
        if (failed) return error_io(err, failed, "harmonicio: cannot start a thread");
    }
    return TW_OK;
}

static tw_status harmonicio_open(sink *self, sink_writer **out, tw_error *err) {
    sink_writer *w = calloc(1, sizeof *w);
    if (!w) return no_memory(err);
    w->sink = self;
    *out = w;
    return TW_OK;
}

/* A PE that polls and gets an empty message would take it for none and never poll again. */
static tw_status drop_empty(harmonicio_sink *k, batch *b, parcel **list, tw_error *err) {
    uint32_t row = 0;
    for (parcel **link = list; *link; row++) {
        parcel *p = *link;
        if (p->data_bytes) {
            link = &p->next;
            continue;
        }
        TRY(bad_row(k->run, b, row, "harmonicio", "an empty message cannot be handed to a PE", err));
        *link = p->next;
        parcel_unref(p);
    }
    return TW_OK;
}

static tw_status harmonicio_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    harmonicio_sink *k = of(w->sink);
    parcel *list;
    TRY(outbox_check(&k->outbox, err));
    TRY(parcels_of_batch(&k->format, k->run->memory, b, &list, err));
    tw_status status = drop_empty(k, b, &list, err);
    if (status == TW_OK) outbox_put(&k->outbox, list);
    else parcels_free(list);
    return status;
}

static bool harmonicio_ready(sink *self, const batch_order *order) { return outbox_ready(&of(self)->outbox); }
static void harmonicio_drop(sink_writer *w) { free(w); }
static tw_status harmonicio_close(sink_writer *w, tw_error *err) {
    free(w);
    return TW_OK;
}

static tw_status harmonicio_finish(sink *self, tw_error *err) {
    harmonicio_sink *k = of(self);
    while (!outbox_empty(&k->outbox)) {
        if (run_cancelled(k->run)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        TRY(outbox_check(&k->outbox, err));
        nanosleep(&(struct timespec){.tv_nsec = FINISH_LOOK_NS}, NULL);
    }
    return outbox_check(&k->outbox, err);
}

static void harmonicio_needs(sink *self, bool *needed) { encoder_needs(of(self)->format.encoder, needed); }

static void harmonicio_describe(const sink *self, char *out, size_t capacity) {
    const harmonicio_sink *k = (const harmonicio_sink *)self;
    snprintf(out, capacity, "messages for '%.200s' %s %s, in no order", k->name, k->listens ? "to PEs that poll" : "through the master",
             k->endpoint.text);
}

static void harmonicio_free(sink *self) {
    harmonicio_sink *k = of(self);
    atomic_store(&k->quits, true);
    for (unsigned i = 0; i < k->n_couriers; i++) pthread_join(k->couriers[i], NULL);
    pe_server_free(k->server);
    outbox_clear(&k->outbox);
    encoder_free(k->format.encoder);
    endpoint_free(&k->endpoint);
    free(k->name);
    free(k);
}

static const sink_class harmonicio_sink_class = {
    .start = harmonicio_start,
    .open = harmonicio_open,
    .push = harmonicio_push,
    .ready = harmonicio_ready,
    .close = harmonicio_close,
    .drop = harmonicio_drop,
    .finish = harmonicio_finish,
    .needs = harmonicio_needs,
    .describe = harmonicio_describe,
    .free = harmonicio_free,
};

/* ---- options ---- */

static tw_status read_options(error_list *errors, const args *a, harmonicio_sink *k, tw_error *err) {
    k->listens = args_given(a, "listen");
    if (k->listens == args_given(a, "master"))
        return args_error(a, "master", errors, k->listens ? "stands beside listen: one of them" : "or listen must be given");
    const args *from = k->listens ? args_section(a, "listen") : a;
    const char *option = k->listens ? "rest" : "master", *name = args_string(a, "name"), *bad = harmonicio_name_check(name);
    if (bad) return args_error(a, "name", errors, "%s", bad);
    if (k->listens && args_given(a, "retry")) return args_error(a, "retry", errors, "is for a master that is called");
    tw_error wrong = {0};
    tw_status status = endpoint_of_tcp(args_string(from, option), &k->endpoint, &wrong);
    if (status == TW_ERR_JOB) return args_error(from, option, errors, "%s", wrong.message);
    if (status != TW_OK && err) *err = wrong;
    if (status != TW_OK) return status;
    k->retry_ns = (uint64_t)args_int(a, "retry") * 1000;
    k->timeout_ns = (uint64_t)args_int(a, "timeout") * 1000;
    k->name = strdup(name);
    return k->name ? socket_sink_read_format(errors, a, FORMAT_BINARY, &k->encode) : no_memory(err);
}

static tw_status harmonicio_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    harmonicio_sink *k = calloc(1, sizeof *k);
    if (!k) return no_memory(err);
    k->sink = (sink){.class = &harmonicio_sink_class, .name = "harmonicio"};
    tw_error wrong = {0};
    encoder *e = NULL;
    tw_status status = read_options(plan_errors(b), a, k, err);
    if (status == TW_OK) {
        status = encoder_new(&k->encode, s, &e, &wrong);
        if (status == TW_ERR_JOB) status = args_error(a, "format", plan_errors(b), "%s", wrong.message);
        else if (status != TW_OK && err) *err = wrong;
    }
    if (status != TW_OK) {
        harmonicio_free(&k->sink);
        return status;
    }
    k->format = (parcel_format){.encoder = e, .encode = k->encode, .framing = STREAM_CONNECTION, .one_each = true,
                                .raw_column = parcel_raw_column(&k->encode, STREAM_CONNECTION, e, s)};
    *out = &k->sink;
    return TW_OK;
}

static const option listen_options[] = {
    {"rest", OPTION_STRING, OPTION_REQUIRED, "HOST:PORT where PEs poll, as at the master; without a host on loopback"},
};
static const descriptor listen_section = {
    .name = "listen", .summary = "the port in a master's place", .options = listen_options, .n_options = COUNT_OF(listen_options)};

static const option harmonicio_options[] = {
    {"master", OPTION_STRING, .help = "HOST:PORT of a master: be a stream connector"},
    {"listen", OPTION_SECTION, .section = &listen_section, .help = "be the master: PEs poll here"},
    {"name", OPTION_STRING, OPTION_REQUIRED, "the image that the messages are for"},
    SINK_FORMAT_OPTIONS,
    {"retry", OPTION_DURATION, .default_text = "30s", .max = INT64_C(86400000000),
     .help = "with master: how long a message is tried again that nobody takes"},
    {"timeout", OPTION_DURATION, .default_text = "60s", .max = INT64_C(86400000000),
     .help = "who takes nothing, or does not answer, for so long is let go; 0s: nobody is"},
};

const sink_descriptor sink_harmonicio = {
    .descriptor = {.name = "harmonicio", .summary = "messages to HarmonicIO's PEs",
                   .options = harmonicio_options, .n_options = COUNT_OF(harmonicio_options),
                   .details = "Each row is a message, of no order among each other; without `format` the bytes of the one "
                              "text or binary column. An empty message is a bad record, as a PE would take it for "
                              "none.\n\nWith master it is a stream connector: the master names a PE that is free, or its queue. "
                              "A message is sent when the other side has closed the connection in order, as it does when it "
                              "has read everything; else the master is asked again. So messages arrive at least once, as "
                              "far as the system's word goes. After queueing it looks for a PE that has become free "
                              "meanwhile, and brings it what is in the queue.\n\nWith listen unchanged PEs of that name work for "
                              "the job: they poll, and a poll is answered when there is a message. A message whose PE goes "
                              "away before it has read it is another's.",
                   .example = "sink: { harmonicio: { master: \"10.0.0.7:8080\", name: \"haste/bench:latest\" } }"},
    .build = harmonicio_build,
};
