/* pipeline.h: what a plan is made of: sources, operators, sinks, and the pipelines that join them.
 *
 *   source --split--> reader --batch--> operator, operator, ... --batch--> sink
 *
 * A pipeline is one loop: a worker takes a split from the source, pulls batches from its reader,
 * pushes each through the fused operators and into the sink. A step that must see all of its input
 * (group, sort, the build side of a join) is a sink for what comes before and a source for what comes
 * after, around one shared state. A lane is one worker's private instance of a pipeline's operators and
 * its sink writer; it runs one split at a time, can stop between any two batches and be resumed by
 * another worker.
 *
 * Order. A source numbers its splits; rows of split s stand before those of s + 1. A row's position is
 * a 64-bit number that grows in row order; a sink gets the position of each batch's first row.
 *
 * Time and epochs. In endless flows a split carries a mark: what is promised once it and all before it have
 * ended. Its watermark says that no event before that time is to come; its epoch, that nothing of an
 * earlier one is (epochs are what lies between two checkpoints). Sinks are told by `advance` when such a
 * promise holds for all that feeds them, and hand it on in the splits of their source. Batches of a later
 * epoch wait at a sink's door until it was told.
 *
 * Failure. `next`, `process` and `push` either do all of their work or nothing, so the engine retries
 * one that failed for a passing reason, without redoing anything that came before: `next` after
 * TW_ERR_IO, all three after TW_ERR_MEMORY once room was made. A sink that has taken the batch and then
 * fails answers with another code. `open` of all kinds is retried likewise. Meanwhile the worker runs
 * other lanes: who waits within a call must not wait for a call that comes later. A failure for good takes
 * its place in row order as far as sinks go on in row order: a `limit` that has its rows before never
 * sees it. The rows of its batch that stand before it are given first. */
#ifndef ENGINE_PIPELINE_H
#define ENGINE_PIPELINE_H

#include "data/batch.h"
#include "engine/spill.h"

struct saved_part; /* engine/checkpoint.h */
struct text;       /* base/text.h */

/* Nothing now: the engine parks the lane until run_wake is called. Only where a contract allows it. */
#define STATUS_WAIT ((tw_status)100)

/* ---- what a running job offers to its parts ---- */

typedef struct bad_records bad_records; /* engine/bad_records.h: on_bad_record */
typedef struct poller poller;           /* engine/poller.h: descriptors that wake lanes */

typedef struct run_context {
    memory *memory;
    spill *spill;
    const atomic_bool *cancelled;  /* look at it at least every 10 ms of work */
    uint32_t parallelism;          /* worker threads */
    uint32_t batch_rows;           /* aim for this many rows in a batch; never more */
    uint64_t latency_ns;           /* the goal for a row's way through; 0: none */
    size_t batch_bytes;            /* and about this many bytes of payload */
    bad_records *bad;
    poller *poller;                /* where live sources and sinks watch their descriptors */
    atomic_uint_fast64_t rows_in, rows_out, bytes_in, bytes_out; /* connectors add to these */
    atomic_uint_fast64_t late_records; /* the window step does */
    void (*arrived)(void *engine, uint64_t rows, uint64_t ns); /* with a goal: rows are through so long after they came */
    void (*log)(void *engine, tw_log_level level, const char *message); /* see run_log; NULL: nobody listens */
    void (*wake)(void *engine);    /* call when a parked lane may go on: credit came back, input came */
    void *engine;
} run_context;

static inline bool run_cancelled(const run_context *run) {
    return atomic_load_explicit(run->cancelled, memory_order_relaxed);
}
static inline void run_wake(run_context *run) { run->wake(run->engine); }
/* What somebody should know though the run goes on: one line, no secrets in it. From any thread; never with a lock that
 * the run waits for. */
void run_log(run_context *run, tw_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define WATERMARK_NONE INT64_MIN
#define WATERMARK_END INT64_MAX /* no events any more */

typedef struct mark {
    int64_t watermark; /* microseconds since 1970 UTC */
    uint32_t epoch;
} mark;

/* In which order rows must leave: all inputs one behind the other, each input for itself (those that never end), or as
 * they come: then nobody waits for a slow one before him. */
typedef enum row_order { ROW_ORDER_ALL, ROW_ORDER_INPUTS, ROW_ORDER_NONE } row_order;

typedef struct source source;

/* An epoch whose effects are to become durable, for those who commit it. */
typedef struct epoch_end {
    uint64_t epoch;         /* as sources were told when they were cut */
    const char *note;       /* the checkpoint's number, all of one length; "" without checkpoints */
    source *const *sources; /* the endless ones from outside */
    uint32_t n_sources;
    bool transacted;        /* sinks commit the sources' positions together with their output */
} epoch_end;

/* ---- sources ---- */

typedef struct reader reader;

typedef struct reader_class {
    /* The next batch, at most run->batch_rows rows; TW_END after the last. With STATUS_WAIT nothing is
     * there now (queues, live sources). After TW_ERR_IO it may be called again and goes on where it was. */
    tw_status (*next)(reader *self, batch **out, tw_error *err);
    void (*free)(reader *self);
} reader_class;

/* For sources that number rows without gaps, so that the numbers do not depend on how they were cut: a
 * row may become 2^24 before those of the next one come too early. */
#define POSITION_SPREAD 24

struct reader {
    const reader_class *class;
    uint64_t position; /* of the split's first row; split << 32 unless the source knows better */
    unsigned spread;   /* POSITION_SPREAD if positions count rows without gaps, else 0 */
    mark after;         /* of an endless flow, see above: what it promises when it has ended */
    int64_t own, others; /* for the window step: watermarks before it, of its partition and the least of the others */
    uint64_t arrived_ns; /* when its rows came; 0: when they are read, if they come from outside, else not known */
    uint32_t partition; /* of an endless source: rows of one partition (a connection, a topic's partition) are
                         * in order among themselves */
};

typedef struct source_class {
    /* Once, before the first open, when everything the pipeline depends on has finished; not at all when
     * nobody wants its rows by then. n_splits: how many there are, UINT64_MAX if unknown (then opened
     * one after the other until TW_END). */
    tw_status (*start)(source *self, run_context *run, uint64_t *n_splits, tw_error *err);
    /* From any worker, several at once, each split once. TW_END past the last split; STATUS_WAIT when
     * the next split is not there yet (only with n_splits unknown). */
    tw_status (*open)(source *self, uint64_t split, reader **out, tw_error *err);
    /* Optional. needed[i]: whether anyone downstream reads column i. The source may leave the others
     * absent: `values` NULL in its batches. Called once after planning, before start. */
    void (*prune)(source *self, const bool *needed);
    /* Endless sources: it is to end. From now on `open` gives what has come already (whole messages, not
     * their beginnings), then TW_END. Called once, perhaps before start; only notes it: takes no long lock,
     * does not call run_wake (the engine does). */
    void (*stop)(source *self);
    /* Optional, endless sources: epoch `epoch` ends with the splits opened so far (no `open` is running). `save` says
     * how to go on from there; `load`, before start, does so. `committed`: all effects of what was before that
     * cut are out, at the end of an epoch or of the run; such a source is freed with the run, not before.
     * `note`, before start: that of the last epoch it knows to be committed, as text; there is none as long as `save`
     * has put nothing: it has no position yet. */
    tw_status (*cut)(source *self, uint64_t epoch, tw_error *err);
    void (*shape)(const source *self, char *out, size_t capacity); /* what the state depends on, as text */
    tw_status (*save)(source *self, uint64_t epoch, struct saved_part *to, tw_error *err);
    tw_status (*load)(source *self, const struct saved_part *from, tw_error *err);
    tw_status (*committed)(source *self, const epoch_end *e, tw_error *err);
    tw_status (*note)(source *self, struct text *out, tw_error *err);
    /* Optional: one line for explain, and bytes that the source alone may hold per open reader. */
    void (*describe)(const source *self, char *out, size_t capacity);
    void (*free)(source *self);
} source_class;

struct source {
    const source_class *class;
    const char *name;       /* "file", "group": static or owned by the plan */
    size_t reader_bytes;    /* worst memory of an open reader, for explain */
    uint64_t bytes_total;   /* known after start, for progress; 0 if unknown */
    bool endless;           /* gives rows until it is stopped; has `stop`, and n_splits UINT64_MAX */
    bool ordered;           /* endless: its rows are to stay in order */
    bool replays;           /* endless: after a stop it gives again what was not committed */
    bool ends;              /* live: after a number of rows, though what feeds it may not */
    bool live;              /* runs beside the sink that feeds it, not after it (queues) */
    int step;               /* index for statistics; set by the builder */
    bool inner;             /* as in operator_plan: its rows are not the step's output */
};

/* ---- operators: stateless from row to row ---- */

typedef struct operator_plan operator_plan; /* shared, immutable after planning */
typedef struct operator operator;           /* one lane's instance */

typedef struct operator_class {
    tw_status (*open)(operator_plan *plan, run_context *run, operator **out, tw_error *err);
    /* One bounded step: at most run->batch_rows rows into *out (a new reference; NULL: none). `in` is
     * borrowed. With *more it is called again with the same `in`. After an error nothing was taken. */
    tw_status (*process)(operator *self, batch *in, batch **out, bool *more, tw_error *err);
    /* Optional: a new split begins; for operators that number rows, or look at times. */
    void (*begin_split)(operator *self, const reader *split);
    void (*close)(operator *self); /* frees the instance */
    /* Optional (else all): sets needed_in[i] for the inputs that the needed outputs take. */
    void (*needs)(operator_plan *plan, const bool *needed_out, bool *needed_in);
    void (*describe)(const operator_plan *plan, char *out, size_t capacity); /* optional */
    void (*free)(operator_plan *plan);
} operator_class;

struct operator_plan {
    const operator_class *class;
    const char *name;        /* the step's name */
    int step;                /* index into the plan's steps, for statistics; set by the builder */
    schema *in, *out;        /* references held by the builder */
    unsigned references;     /* pipelines that have it; the builder's */
    bool rejects;            /* may call bad_row, so rows should know their origin; never answers *more */
    bool origin_wanted;      /* some later operator of the pipeline rejects; set by the builder */
    bool inner;              /* a part of a step whose rows others count */
    bool costly;             /* worth handing single batches to idle workers instead of whole splits */
    uint32_t rows_max;       /* costly: rows a batch should have; 0: no wish */
};

struct operator {
    const operator_class *class;
    operator_plan *plan;
};

/* ---- sinks ---- */

typedef struct sink sink;
typedef struct sink_writer sink_writer; /* one lane's side of a sink */

/* Where a batch stands among all that come to the sink. */
typedef struct batch_order {
    uint32_t input;    /* which of the pipelines that feed the sink: 0, 1, ... in row order */
    uint64_t split;    /* of that pipeline's source */
    uint64_t position; /* of row 0; grows over all inputs */
    uint32_t epoch;    /* endless flows */
    uint32_t partition; /* see reader */
    uint64_t arrived_ns; /* with a goal for latency: when they came; 0: not known */
} batch_order;

typedef struct sink_class {
    /* Once, before any open. n_inputs pipelines feed it. */
    tw_status (*start)(sink *self, run_context *run, uint32_t n_inputs, tw_error *err);
    tw_status (*open)(sink *self, sink_writer **out, tw_error *err);
    /* All or nothing. `b` is borrowed: take a reference to keep it. */
    tw_status (*push)(sink_writer *w, const batch_order *order, batch *b, tw_error *err);
    /* Optional: in row order, what comes after the rows of this split that were pushed is this failure of
     * a reader or an operator. The sink hands it on in its place, or forgets it when no row so late is
     * wanted; nothing but end_split follows for the split. Without it a failure ends the run at once. */
    tw_status (*push_failure)(sink_writer *w, const batch_order *order, const tw_error *failure);
    /* Optional: no more batches of this split will come. */
    tw_status (*end_split)(sink_writer *w, const batch_order *order, tw_error *err);
    /* Optional: whether a push of this split may come now; false parks the lane. The lowest open
     * split of the lowest open input must always be let through. */
    bool (*ready)(sink *self, const batch_order *order);
    /* Optional: whether it wants no more rows at all (limit). Answers at once, and takes no lock. */
    bool (*satisfied)(sink *self);
    /* Optional, endless flows: what `to` says holds now: all rows before are pushed, none of a later epoch is.
     * Rows of later times may be pushed meanwhile. Called once at a time, to[i] never falls. */
    tw_status (*advance)(sink *self, mark to, tw_error *err);
    /* Optional, endless flows, after an `advance` to a new epoch: what must not be forgotten of the epochs before.
     * `load` comes after start and before any open. */
    tw_status (*save)(sink *self, struct saved_part *to, tw_error *err);
    tw_status (*load)(sink *self, const struct saved_part *from, tw_error *err);
    /* Optional: what the saved state depends on, as text: another one can't be loaded. */
    void (*shape)(const sink *self, char *out, size_t capacity);
    /* Optional, external sinks of endless flows: what was saved last is durable: make visible what belongs to it. */
    tw_status (*publish)(sink *self, const epoch_end *e, tw_error *err);
    /* Optional, before start: writes in transactions under this id, which `publish` commits together with the positions
     * of the sources. */
    tw_status (*transact)(sink *self, const char *id, tw_error *err);
    /* The lane is done: flush what the writer holds. Several writers are closed at once. Frees it
     * when it returns TW_OK. Writers are dropped instead, and end_input and finish not called, when all
     * that would read from the sink have ended before. */
    tw_status (*close)(sink_writer *w, tw_error *err);
    void (*drop)(sink_writer *w); /* frees it without flushing: the run has failed */
    /* Optional: input `input` has no more splits; it had n_splits. */
    tw_status (*end_input)(sink *self, uint32_t input, uint64_t n_splits, tw_error *err);
    /* Once, when all inputs have ended and all writers are closed. For an external sink: makes the
     * output complete but not yet visible. */
    tw_status (*finish)(sink *self, tw_error *err);
    /* Optional, external sinks: after every sink of the run has finished: make it visible (rename). */
    tw_status (*commit)(sink *self, tw_error *err);
    /* Optional (else all): which columns of its input it reads. */
    void (*needs)(sink *self, bool *needed);
    void (*needs_of)(sink *self, uint32_t input, bool *needed); /* instead, when inputs have schemas of their own */
    void (*describe)(const sink *self, char *out, size_t capacity); /* optional */
    void (*free)(sink *self); /* an external sink that was not committed removes what it wrote */
} sink_class;

struct sink {
    const sink_class *class;
    const char *name;
    int step;            /* index for statistics; set by the builder */
    bool endless;        /* what feeds it never ends; set by the builder */
    bool publishes;      /* endless: rows appear once, when their epoch is durable */
    bool keeps_state;    /* it remembers rows; in endless flows those of earlier epochs */
    row_order order;     /* of what it is given; set by the builder */
    const char *endless_wrong; /* why that cannot be; NULL: it can */
    bool wants_shuffled; /* splits may come in any order, and a shuffled one is better (sort samples) */
    size_t state_bytes_min; /* memory it cannot do without, for explain */
    bool may_spill;
    bool inner;          /* its rows are not the step's input */
    bool absorbs;        /* takes what comes though no step has time for it: who feeds it gets a worker more */
};

struct sink_writer {
    sink *sink;
};

#endif
