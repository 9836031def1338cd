/* grid.h: GRID.yaml, checked: which cells are measured, with which engines, how. */
#ifndef BENCH_GRID_H
#define BENCH_GRID_H

#include "bench/trial.h"
#include "engine/descriptor.h"

/* name, what feeds it */
#define CONNECTOR_TABLE(X)                                                                            \
    X(CONNECTOR_TCP, "tcp")                                                                           \
    X(CONNECTOR_UNIX, "unix")                                                                         \
    X(CONNECTOR_HTTP, "http")     /* POST, frames in the body */                                      \
    X(CONNECTOR_FOLLOW, "follow") /* files that come into a folder by rename, lines */                \
    X(CONNECTOR_KAFKA, "kafka")   /* a topic that is made for it */

typedef enum connector {
#define X(kind, name) kind,
    CONNECTOR_TABLE(X)
#undef X
        CONNECTORS
} connector;
extern const char *const connector_names[CONNECTORS + 1];
/* What is sent lies there until it is fetched: sending needs nobody who receives. */
bool connector_stores(connector c);

/* A message begins with HASTE's header (C and 6 digits of milliseconds) and a mark: MESSAGE_HEAD bytes that a result
 * repeats. */
enum { MESSAGE_BYTES_MIN = 32, MESSAGE_HEAD = 29 };

typedef struct grid_engine {
    const char *name;
    connector connector;
    bool raw;               /* the simplest receiver instead of an engine */
    const arg_item *command; /* its words; NULL: Thalweg */
    size_t n_command;
    const char *brokers;    /* kafka */
    const char *ready;      /* a text in its output; NULL: it takes connections */
    bool newline;           /* framing */
    uint64_t warmup_ns;     /* once after its start, at a low rate */
    args *options;
} grid_engine;

typedef struct grid {
    double *sizes;      /* bytes of a message */
    size_t n_sizes;
    double *costs;      /* seconds of CPU for each */
    size_t n_costs;
    grid_engine *engines;
    size_t n_engines;
    load_mode mode;
    uint32_t burst, in_flight, connections, parallelism;
    uint64_t warmup_ns, measured_ns, most_ns;
    uint32_t messages;  /* that a trial has at least */
    trial_limits limits; /* latency: without what the message itself costs */
    double precision;
    uint64_t work_ns;   /* of the generator for each message */
    const char *network_rate; /* for tc, such as "1.4Gbit"; NULL: loopback */
    uint64_t network_delay_us;
    args *options;
    document *document;
} grid;

/* `file` is its name in errors. TW_ERR_JOB: all that is wrong has been added to `errors`. */
tw_status grid_parse(const char *text, size_t length, const char *file, error_list *errors, grid **out);
void grid_free(grid *g); /* NULL is allowed */
/* What stands in the file: the whole, an engine; NULL past the last. */
const descriptor *grid_section(size_t i);
/* All of them, for `thalweg help capacity` and for the reference. */
tw_status grid_help(struct text *out);
tw_status grid_reference(struct text *out);

#endif
