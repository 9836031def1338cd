/* discard_sink.c: counts rows and drops them. It asks for all columns, so that a source or a step can be
 * measured with nothing behind it. */
#include <stdlib.h>

#include "io/connectors.h"

typedef struct discard_sink {
    sink sink;
    run_context *run;
} discard_sink;

typedef struct discard_writer {
    sink_writer writer;
    uint64_t rows;
} discard_writer;

static tw_status discard_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    ((discard_sink *)self)->run = run;
    return TW_OK;
}

static tw_status discard_open(sink *self, sink_writer **out, tw_error *err) {
    discard_writer *w = calloc(1, sizeof *w);
    if (!w) return error_set(err, TW_ERR_MEMORY, "out of memory for a writer");
    w->writer.sink = self;
    *out = &w->writer;
    return TW_OK;
}

static tw_status discard_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    ((discard_writer *)w)->rows += b->rows;
    return TW_OK;
}

/* At the end of a split, so that progress can be seen. */
static tw_status discard_end_split(sink_writer *w, const batch_order *order, tw_error *err) {
    discard_writer *d = (discard_writer *)w;
    atomic_fetch_add(&((discard_sink *)w->sink)->run->rows_out, d->rows);
    d->rows = 0;
    return TW_OK;
}

static void discard_drop(sink_writer *w) { free(w); }
static tw_status discard_close(sink_writer *w, tw_error *err) {
    TRY(discard_end_split(w, NULL, err));
    free(w);
    return TW_OK;
}
static tw_status discard_finish(sink *self, tw_error *err) { return TW_OK; }
static tw_status discard_commit(sink *self, tw_error *err) { return TW_OK; }
static void discard_free(sink *self) { free(self); }

static const sink_class discard_class = {
    .start = discard_start,
    .open = discard_open,
    .push = discard_push,
    .end_split = discard_end_split,
    .close = discard_close,
    .drop = discard_drop,
    .finish = discard_finish,
    .commit = discard_commit,
    .free = discard_free,
};

static tw_status discard_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    discard_sink *d = calloc(1, sizeof *d);
    if (!d) return error_set(err, TW_ERR_MEMORY, "out of memory for a sink");
    d->sink = (sink){.class = &discard_class, .name = "discard"};
    *out = &d->sink;
    return TW_OK;
}

const sink_descriptor sink_discard = {
    .descriptor = {.name = "discard", .summary = "counts rows and drops them, for measuring",
                   .example = "sink: { discard: {} }"},
    .build = discard_build,
};
