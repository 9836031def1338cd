/* harmonicio_source.c: the source `harmonicio`: in a HarmonicIO master's place, or as PEs under one.
 *
 * A message is a connection, and nothing in the protocol says how long it is. But a connector announces the MD5 of each
 * message when it asks where to send: what comes is taken as whole if it was announced so, and belongs to the name that it
 * was announced for; anything else is a bad record. As PEs we are told no digest: there an orderly end is all that
 * makes a message whole. */
#include "io/harmonicio_source.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/connectors.h"
#include "io/incoming.h"
#include "io/stream_source.h"

#define EXPECTED_BYTES_MAX ((size_t)8 << 20)
enum { ANSWER_MAX = 2048, PASSED_OVER_MAX = 1 << 20, WORKERS_MAX = 4096 };

typedef struct rest {
    master_exchange exchange;
    char out[ANSWER_MAX];
    size_t out_bytes, out_at, passed_over;
} rest;

typedef struct harmonicio_connection {
    incoming in;           /* a message */
    rest *rest;            /* a request */
    bool begun, given;
    bool reply, measured;  /* a message from the master's queue, which says how long it is */
    size_t length;
    char *early;           /* of it, what came with the head */
    size_t early_bytes;
} harmonicio_connection;

static harmonicio_connection *of(connection *c) { return (harmonicio_connection *)c; }
static harmonicio *shared(const connection *c) { return c->source->options.context; }

/* ---- requests ---- */

/* The address of a socket's own end: where whoever called can call again. False: it is no address of TCP. */
static bool local_address(int fd, char host[INET6_ADDRSTRLEN], unsigned *port, bool *any) {
    socket_address a = {.bytes = sizeof a.v6};
    if (getsockname(fd, &a.any, &a.bytes) != 0) return false;
    if (a.any.sa_family == AF_INET) {
        *port = ntohs(a.v4.sin_port);
        *any = a.v4.sin_addr.s_addr == INADDR_ANY;
        return inet_ntop(AF_INET, &a.v4.sin_addr, host, INET6_ADDRSTRLEN);
    }
    *port = ntohs(a.v6.sin6_port);
    *any = IN6_IS_ADDR_UNSPECIFIED(&a.v6.sin6_addr);
    return a.any.sa_family == AF_INET6 && inet_ntop(AF_INET6, &a.v6.sin6_addr, host, INET6_ADDRSTRLEN);
}

static const live_listener *listener_of(const live_source *s, port_kind kind) {
    const harmonicio *h = s->options.context;
    for (uint32_t i = 0; i < s->n_listeners; i++)
        if (h->kinds[i] == kind) return &s->listeners[i];
    return NULL;
}

/* To the data port as long as a worker is free for it; a queue for all others there is not, but the port of one. */
static size_t answer_place(connection *c, const master_request *r, char *out) {
    const live_source *s = c->source;
    const live_listener *data = listener_of(s, PORT_DATA), *queue = listener_of(s, PORT_QUEUE);
    bool idle = atomic_load(&shared(c)->direct) < s->run->parallelism;
    const live_listener *to = data && (idle || !queue) ? data : queue;
    char host[INET6_ADDRSTRLEN], own[INET6_ADDRSTRLEN];
    unsigned port, own_port;
    bool any, own_any;
    if (c->draining || !to || to->fd < 0 || !local_address(to->fd, host, &port, &any) || !local_address(c->fd, own, &own_port, &own_any))
        return master_answer(503, "The run ends.", out, ANSWER_MAX);
    expected *e = shared(c)->expected;
    if (e && !r->digested) return master_answer(401, "Data digest is required.", out, ANSWER_MAX);
    uint64_t patience_ns = s->options.timeout_ns ? s->options.timeout_ns : UINT64_C(60000000000);
    if (e && !expected_add(e, r->digest, r->name, r->name_bytes, patience_ns))
        return master_answer(406, "Too many messages are announced.", out, ANSWER_MAX);
    return master_answer_place(any ? own : host, port, to == data ? ROLE_WORKER : ROLE_QUEUE, out, ANSWER_MAX);
}

static size_t answer(connection *c, const master_request *r, char *out) {
    char host[INET6_ADDRSTRLEN] = "";
    unsigned port;
    bool any;
    switch (r->action) {
    case MASTER_SENDS: return answer_place(c, r, out);
    case MASTER_HEARS: return master_answer(200, "Okay", out, ANSWER_MAX);
    case MASTER_LENGTHS: return master_answer(200, "{}", out, ANSWER_MAX);
    case MASTER_TELLS: return master_answer(200, "{'WORKERS': {}, 'CONTAINERS': {}, 'TUPLES': {}, 'MSG': {}}", out, ANSWER_MAX);
    case MASTER_POLLED: return master_answer(406, "Messages go to this job alone: PEs work for a sink.", out, ANSWER_MAX);
    case MASTER_STATUS:
        (void)local_address(c->fd, host, &port, &any);
        return master_answer_status(host, out, ANSWER_MAX);
    default: return master_answer(r->code, r->words, out, ANSWER_MAX);
    }
}

/* Everything has left: the client closes when it has read it. What it sends still is passed over. */
static tw_status rest_end(connection *c, rest *r) {
    char bytes[4096];
    size_t got;
    for (;;) {
        tw_status status = connection_receive(c, bytes, sizeof bytes, NULL, 0, &got);
        c->events = EPOLLIN;
        if (status == STATUS_WAIT) return STATUS_WAIT;
        if (status != TW_OK || !got || (r->passed_over += got) > PASSED_OVER_MAX) return TW_END;
    }
}

static tw_status rest_send(connection *c, rest *r) {
    while (r->out_at < r->out_bytes) {
        ssize_t n = send(c->fd, r->out + r->out_at, r->out_bytes - r->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        c->events = EPOLLOUT;
        if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? STATUS_WAIT : TW_END;
        r->out_at += (size_t)n;
    }
    if (shutdown(c->fd, SHUT_WR) != 0) return TW_END;
    return TW_OK;
}

static tw_status rest_receive(connection *c, tw_error *err) {
    harmonicio_connection *h = of(c);
    if (c->expired) return TW_END;
    if (!h->rest && !(h->rest = calloc(1, sizeof *h->rest))) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    rest *r = h->rest;
    char bytes[4096];
    while (!r->out_bytes) {
        size_t got;
        tw_status status = connection_receive(c, bytes, sizeof bytes, NULL, 0, &got);
        if (status != TW_OK || !got) return status == STATUS_WAIT ? STATUS_WAIT : TW_END;
        if (!master_exchange_feed(&r->exchange, bytes, got)) continue;
        master_request request;
        master_request_read(&r->exchange, &request);
        r->out_bytes = answer(c, &request, r->out);
    }
    if (r->out_at < r->out_bytes) {
        tw_status status = rest_send(c, r);
        if (status != TW_OK) return status;
    }
    return rest_end(c, r);
}

/* ---- messages ---- */

/* It is no message, and the connection is over. */
static tw_status refuse(connection *c, piece *p, const char *reason, tw_error *err) {
    tw_status status = connection_bad(c, p->bytes, p->size, reason, err);
    buffer_unref(p->owner);
    *p = (piece){0};
    return status == TW_OK ? TW_END : status;
}

static void name_piece(piece *p, const void *name, size_t bytes, buffer *owner) {
    p->named = true;
    p->name = view_make(name, (uint32_t)bytes);
    p->name_owner = owner;
}

/* In the master's place. */
static tw_status check_announced(connection *c, port_kind kind, uint32_t *ends, piece *p, tw_error *err) {
    const uint8_t *name = NULL;
    size_t name_bytes = 0, first = 0;
    if (kind == PORT_QUEUE) {
        const char *wrong = harmonicio_header_read(p->bytes, p->size, &name_bytes);
        if (wrong) return refuse(c, p, wrong, err);
        name = p->bytes + HARMONICIO_HEADER_BYTES;
        first = HARMONICIO_HEADER_BYTES + name_bytes;
    }
    buffer *announced = NULL;
    expected *e = shared(c)->expected;
    if (e) {
        uint8_t digest[MD5_BYTES];
        md5(p->bytes + first, p->size - first, digest);
        announced = expected_take(e, digest, name, name_bytes);
        if (!announced) return refuse(c, p, "no message with this MD5 was announced: it is cut short, or was sent without asking", err);
    }
    if (name) name_piece(p, name, name_bytes, buffer_ref(p->owner));
    else if (announced) name_piece(p, announced->data, announced->size, buffer_ref(announced));
    buffer_unref(announced);
    p->first = (uint32_t)first;
    ends[0] = (uint32_t)p->size;
    return TW_OK;
}

/* Under a master: whole as far as can be told. */
static tw_status check_work(connection *c, piece *p, tw_error *err) {
    const harmonicio_connection *h = of(c);
    const char *name = shared(c)->name;
    if (h->reply && !h->measured) return refuse(c, p, "the master does not say how long its message is", err);
    if (h->reply && p->size != h->length) return refuse(c, p, "the master's message was cut short", err);
    buffer *owner; /* the name outlives all batches but those that are given away */
    char *copy = strdup(name);
    tw_status status = copy ? buffer_wrap(copy, strlen(copy), free, copy, &owner, err) : error_set(err, TW_ERR_MEMORY, "no memory");
    if (status != TW_OK) {
        free(copy);
        buffer_unref(p->owner);
        *p = (piece){0};
        return error_set(err, TW_ERR_INTERNAL, "the system's memory is used up");
    }
    name_piece(p, owner->data, owner->size, owner);
    return TW_OK;
}

/* A connection without a byte: an empty message if one was announced (or is in the master's answer); else somebody has
 * only looked whether we listen. */
static tw_status empty(connection *c, bool announced, uint32_t *ends, piece *out, tw_error *err) {
    if (!announced) return TW_END;
    TRY(buffer_new(c->source->run->memory, MEMORY_FLOW, 0, &out->owner, err));
    out->bytes = out->owner->data;
    out->frames = true;
    out->n = 1;
    ends[0] = 0;
    return TW_OK;
}

static tw_status empty_direct(connection *c, uint32_t *ends, piece *out, tw_error *err) {
    uint8_t digest[MD5_BYTES];
    expected *e = shared(c)->expected;
    md5("", 0, digest);
    buffer *name = e ? expected_take(e, digest, NULL, 0) : NULL;
    tw_status status = empty(c, name, ends, out, err);
    if (status == TW_OK) name_piece(out, name->data, name->size, buffer_ref(name));
    buffer_unref(name);
    return status;
}

/* What came with the head of the master's answer stands at the front. */
static tw_status take_early(harmonicio_connection *h, tw_error *err) {
    if (!h->early_bytes) return TW_OK;
    TRY(connection_hold(&h->in.base, 0, h->early_bytes, &h->in.in, err));
    memcpy(h->in.in->data, h->early, h->early_bytes);
    h->in.filled = h->early_bytes;
    h->early_bytes = 0;
    return TW_OK;
}

static tw_status message_receive(connection *c, port_kind kind, uint32_t *ends, piece *out, tw_error *err) {
    harmonicio_connection *h = of(c);
    harmonicio *s = shared(c);
    if (h->given) return TW_END;
    if (!h->begun && kind == PORT_DATA && !h->reply) {
        atomic_fetch_add(&s->direct, 1);
        if (s->pool) pool_begins(s->pool);
    }
    h->begun = true;
    TRY(take_early(h, err));
    if (c->expired && !h->in.filled) return TW_END; /* it came, and never said anything */
    uint64_t since_ns = c->since_ns;
    tw_status status = incoming_class.receive(c, ends, out, err);
    if (status == STATUS_WAIT && !c->since_ns) c->since_ns = since_ns ? since_ns : clock_ns();
    if (status == TW_END && h->in.ended && !h->in.filled && kind == PORT_DATA) {
        if (h->reply && h->length) return refuse(c, out, "the master's message was cut short", err);
        status = h->reply ? empty(c, h->measured, ends, out, err) : empty_direct(c, ends, out, err);
        if (status == TW_OK && s->pool) status = check_work(c, out, err);
    } else if (status == TW_OK) {
        status = s->pool ? check_work(c, out, err) : check_announced(c, kind, ends, out, err);
    }
    h->given = status == TW_OK;
    return status;
}

static tw_status harmonicio_receive(connection *c, uint32_t *ends, piece *out, tw_error *err) {
    port_kind kind = c->port < LISTENERS_MAX ? shared(c)->kinds[c->port] : PORT_DATA;
    return kind == PORT_REST ? rest_receive(c, err) : message_receive(c, kind, ends, out, err);
}

/* The connection stays with its reader: it is closed, which the sender may wait for, when the message is with the steps. */
static void harmonicio_delivered(connection *c) {}

static void harmonicio_free(connection *c) {
    harmonicio_connection *h = of(c);
    harmonicio *s = shared(c);
    incoming_class.free(c);
    bool direct = h->begun && !h->reply && c->port < LISTENERS_MAX && s->kinds[c->port] == PORT_DATA;
    if (direct) atomic_fetch_sub(&s->direct, 1);
    if (s->pool && (direct || h->reply)) pool_ends(s->pool);
    free(h->early);
    free(h->rest);
}

/* ---- the source as a whole ---- */

/* From the pool's thread. */
static void set_up_reply(connection *c, void *context) {
    harmonicio_connection *h = of(c);
    const client_reply *r = context;
    h->reply = true;
    h->measured = r->measured;
    h->length = r->length;
    h->early = malloc(r->bytes + 1);
    if (h->early) memcpy(h->early, r->text, h->early_bytes = r->bytes); /* else it is cut short */
    c->owed = true;
}

static tw_status harmonicio_begin(live_source *s, tw_error *err) {
    harmonicio *h = s->options.context;
    char host[INET6_ADDRSTRLEN];
    unsigned port = 0;
    bool any;
    if (!h->master.text) return TW_OK;
    if (!local_address(s->listeners[0].fd, host, &port, &any)) return error_io(err, errno, "harmonicio: no address of its own");
    pool_options o = {.master = &h->master, .name = h->name, .host = h->host, .workers = h->workers, .retry_ns = s->options.retry_ns};
    return pool_start(&o, s, port, set_up_reply, &h->pool, err);
}

static tw_status harmonicio_look(live_source *s, bool stopping, tw_error *err) {
    harmonicio *h = s->options.context;
    return h->pool ? pool_look(h->pool, stopping, err) : TW_OK;
}

/* Connections may still ask for it: only the thread ends here. */
static void harmonicio_end(live_source *s) {
    harmonicio *h = s->options.context;
    if (h->pool) pool_quit(h->pool);
}

const connection_class harmonicio_class = {.bytes = sizeof(harmonicio_connection),
                                           .times_idle = true,
                                           .receive = harmonicio_receive,
                                           .delivered = harmonicio_delivered,
                                           .free = harmonicio_free,
                                           .begin = harmonicio_begin,
                                           .look = harmonicio_look,
                                           .end = harmonicio_end};

/* ---- options ---- */

static void context_free(void *context) {
    harmonicio *h = context;
    pool_free(h->pool);
    expected_free(h->expected);
    endpoint_free(&h->master);
    free(h->name);
    free(h->host);
    free(h);
}

static tw_status read_endpoint(error_list *errors, const args *a, const char *option, endpoint *out, tw_error *err) {
    tw_error wrong = {0};
    tw_status status = endpoint_of_tcp(args_string(a, option), out, &wrong);
    if (status == TW_ERR_JOB) return args_error(a, option, errors, "%s", wrong.message);
    if (status != TW_OK && err) *err = wrong;
    return status;
}

static tw_status read_listen(error_list *errors, const args *a, live_options *o, tw_error *err) {
    static const char *const names[] = {[PORT_QUEUE] = "queue", [PORT_DATA] = "data"};
    const args *l = args_section(a, "listen");
    harmonicio *h = o->context;
    TRY(read_endpoint(errors, l, "rest", &o->endpoint, err));
    for (port_kind kind = PORT_QUEUE; kind <= PORT_DATA; kind++) {
        if (!args_given(l, names[kind])) continue;
        TRY(read_endpoint(errors, l, names[kind], &o->more[o->n_more], err));
        h->kinds[++o->n_more] = kind;
    }
    if (!o->n_more) return args_error(a, "listen", errors, "needs queue or data besides rest: messages come there");
    o->path = strdup("stream connectors");
    if (!o->path) return error_set(err, TW_ERR_MEMORY, "out of memory for a source");
    return args_bool(a, "verify") ? expected_create(EXPECTED_BYTES_MAX, &h->expected, err) : TW_OK;
}

/* "HOST" with the port of the option, which may be any that is free. */
static tw_status read_address(error_list *errors, const args *a, live_options *o, tw_error *err) {
    const char *host = args_string(a, "address");
    char text[HARMONICIO_HOST_MAX + 16];
    tw_error wrong = {0};
    int64_t port = args_int(a, "port");
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        return args_error(a, "address", errors, "must be the address that senders are to call");
    if (!*host || strlen(host) > HARMONICIO_HOST_MAX || strpbrk(host, "[]/ \t\r\n?&#%+'\"\\"))
        return args_error(a, "address", errors, "must be a host without its port");
    snprintf(text, sizeof text, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port ? (int)port : 1);
    tw_status status = endpoint_of_tcp(text, &o->endpoint, &wrong);
    if (status == TW_ERR_JOB) return args_error(a, "address", errors, "%s", wrong.message);
    if (status == TW_OK && !port) {
        strcpy(o->endpoint.port, "0");
        strcpy(o->endpoint.text, host);
    }
    if (status != TW_OK && err) *err = wrong;
    return status;
}

static tw_status read_master(error_list *errors, const args *a, live_options *o, tw_error *err) {
    harmonicio *h = o->context;
    if (!args_given(a, "name")) return args_error(a, "name", errors, "must be given: whose messages we work on");
    const char *wrong = harmonicio_name_check(args_string(a, "name"));
    if (wrong) return args_error(a, "name", errors, "%s", wrong);
    TRY(read_endpoint(errors, a, "master", &h->master, err));
    TRY(read_address(errors, a, o, err));
    char words[512];
    snprintf(words, sizeof words, "work of the master %.160s", h->master.text);
    h->kinds[0] = PORT_DATA;
    h->workers = (uint32_t)args_int(a, "workers");
    h->name = strdup(args_string(a, "name"));
    h->host = strdup(args_string(a, "address"));
    o->path = strdup(words);
    o->retry_ns = (uint64_t)args_int(a, "retry") * 1000;
    return h->name && h->host && o->path ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory for a source");
}

static tw_status check_options(error_list *errors, const args *a) {
    static const char *const of_master[] = {"name", "workers", "address", "port", "retry"};
    bool listens = args_given(a, "listen");
    if (listens == args_given(a, "master"))
        return args_error(a, "listen", errors, listens ? "stands beside master: one of them" : "or master must be given");
    for (size_t i = 0; listens && i < COUNT_OF(of_master); i++)
        if (args_given(a, of_master[i])) return args_error(a, of_master[i], errors, "is for PEs under a master");
    if (!listens && args_given(a, "verify")) return args_error(a, "verify", errors, "is for listen: PEs are told no digests");
    return TW_OK;
}

static tw_status message_schema(schema **out, tw_error *err) {
    const char *names[] = {"content", "name"};
    const type *types[] = {type_of(TYPE_BINARY), type_of(TYPE_STRING)};
    return schema_new(names, types, 2, out, err);
}

static tw_status harmonicio_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    error_list *errors = plan_errors(b);
    TRY(check_options(errors, a));
    harmonicio *h = calloc(1, sizeof *h);
    if (!h) return error_set(err, TW_ERR_MEMORY, "out of memory for a source");
    live_options o = {.kind = "harmonicio", .listens = true, .framing = STREAM_CONNECTION, .messages = true,
                      .context = h, .free_context = context_free, .format.kind = FORMAT_BINARY};
    o.message_max = (size_t)args_int(a, "max_message");
    o.timeout_ns = (uint64_t)args_int(a, "timeout") * 1000;
    tw_status status = message_schema(&o.format.schema, err);
    if (status == TW_OK)
        status = args_given(a, "listen") ? read_listen(errors, a, &o, err) : read_master(errors, a, &o, err);
    if (status == TW_OK) return live_source_new(&o, &harmonicio_class, out, out_schema, err);
    live_options_free(&o);
    return status;
}

static const option listen_options[] = {
    {"rest", OPTION_STRING, OPTION_REQUIRED, "HOST:PORT for requests, as of the master; without a host on loopback"},
    {"queue", OPTION_STRING, .help = "HOST:PORT for messages with a name before them, as of the master's queue"},
    {"data", OPTION_STRING, .help = "HOST:PORT for messages as they are, as of a worker"},
};
static const descriptor listen_section = {
    .name = "listen", .summary = "the ports in a master's place", .options = listen_options, .n_options = COUNT_OF(listen_options)};

static const option harmonicio_options[] = {
    {"listen", OPTION_SECTION, .section = &listen_section, .help = "be the master: stream connectors send here"},
    {"master", OPTION_STRING, .help = "HOST:PORT of a master to work under, as PEs"},
    {"name", OPTION_STRING, .help = "with master: the image whose messages we work on"},
    {"workers", OPTION_INT, .default_text = "1", .min = 1, .max = WORKERS_MAX, .help = "with master: how many PEs we are"},
    {"address", OPTION_STRING, .default_text = "127.0.0.1", .help = "with master: the host to listen on, and that senders are told"},
    {"port", OPTION_INT, .default_text = "0", .max = 65535, .help = "with master: the port of all PEs; 0: any that is free"},
    {"verify", OPTION_BOOL, .default_text = "true",
     .help = "with listen: a message must have the MD5 that was announced; false takes all, cut ones too"},
    {"retry", OPTION_DURATION, .default_text = "30s", .max = INT64_C(86400000000),
     .help = "with master: how long one that does not answer is asked again"},
    LIVE_OPTIONS,
    ENDLESS_OPTIONS,
};

const source_descriptor source_harmonicio = {
    .descriptor = {.name = "harmonicio",
                   .summary = "messages of HarmonicIO's stream connectors, without end",
                   .options = harmonicio_options,
                   .n_options = COUNT_OF(harmonicio_options),
                   .details = "Gives `content` and `name`, the image that a message is for.\n\nWith listen it is the master: "
                              "unchanged connectors ask `rest` and are told to send to `data` as long as a worker is free "
                              "there, else to `queue`. A connector announces the MD5 of each message; what does not match one "
                              "that was announced is a bad record: the beginning of a message is never taken for all of "
                              "it.\n\nWith master it is PEs under an unchanged one. It looks into the queue while it waits, as "
                              "the master may queue a message while all PEs are idle, and takes its registrations back when "
                              "the run ends. A message that the queue gave is checked by its length; one that a connector "
                              "sends is whole if the connection ends in order, which is all that the protocol says.\n\nA "
                              "connection without a byte is no message, unless an empty one was announced.",
                   .example = "source: { harmonicio: { listen: { rest: \":8080\", queue: \":8090\", data: \":9000\" } } }"},
    .build = harmonicio_build,
};
