/* socket_sink.c: lanes make messages of their batches; the sequencer puts them in row order; whoever comes last
 * sends what has been put together. */
#include "io/socket_sink.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/sequencer.h"
#include "io/chunk_writer.h"
#include "io/csv_options.h"

typedef struct socket_sink {
    sink sink;
    socket_sink_options options;
    parcel_format format;
    run_context *run;
    sequencer *order;
    sender *sender;
} socket_sink;

/* What goes through the sequencer; `list` is the sender's once it has its place. */
typedef struct placed {
    parcel *list;
} placed;

static socket_sink *of(sink *s) { return (socket_sink *)s; }
static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a sink"); }

/* ---- the sequencer's callbacks ---- */

static tw_status place(void *context, void *item, tw_error *err) {
    placed *p = item;
    sender_put(((socket_sink *)context)->sender, p->list);
    p->list = NULL;
    return TW_OK;
}

static void drop(void *context, void *item) {
    parcels_free(((placed *)item)->list);
    free(item);
}

static tw_status work(void *context, void *item, tw_error *err) {
    drop(context, item);
    return sender_flush(((socket_sink *)context)->sender, err);
}

/* ---- the sink ---- */

static tw_status socket_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    socket_sink *k = of(self);
    k->run = run;
    sequencer_callbacks callbacks = {.place = place, .work = work, .drop = drop, .context = k};
    TRY(sequencer_create(run, n_inputs, self->order, chunk_pending_bytes_max(run), callbacks, &k->order, err));
    sender_options o = k->options.sender;
    o.endpoint = &k->options.endpoint;
    o.format = &k->format;
    return sender_start(&o, run, &k->sender, err);
}

static tw_status socket_open(sink *self, sink_writer **out, tw_error *err) {
    sink_writer *w = calloc(1, sizeof *w);
    if (!w) return no_memory(err);
    w->sink = self;
    *out = w;
    return TW_OK;
}

static tw_status socket_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    socket_sink *k = of(w->sink);
    placed *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    tw_status status = parcels_of_batch(&k->format, k->run->memory, b, &p->list, err);
    if (status != TW_OK) {
        free(p);
        return status;
    }
    size_t bytes = 0;
    for (const parcel *q = p->list; q; q = q->next) bytes += parcel_bytes(q);
    return sequencer_push(k->order, order, p, bytes, err);
}

static tw_status socket_end_split(sink_writer *w, const batch_order *order, tw_error *err) {
    return sequencer_end_split(of(w->sink)->order, order, err);
}

static bool socket_ready(sink *self, const batch_order *order) {
    return sender_ready(of(self)->sender) && sequencer_ready(of(self)->order, order);
}

static void socket_drop(sink_writer *w) { free(w); }
static tw_status socket_close(sink_writer *w, tw_error *err) {
    free(w);
    return TW_OK;
}

static tw_status socket_end_input(sink *self, uint32_t input, uint64_t n_splits, tw_error *err) {
    return sequencer_end_input(of(self)->order, input, n_splits, err);
}
static tw_status socket_finish(sink *self, tw_error *err) { return sender_finish(of(self)->sender, err); }
static void socket_needs(sink *self, bool *needed) { encoder_needs(of(self)->format.encoder, needed); }

static void socket_describe(const sink *self, char *out, size_t capacity) {
    const socket_sink_options *o = &((const socket_sink *)self)->options;
    snprintf(out, capacity, "%s by %s, %s %s, in row order", format_names[o->encode.kind],
             stream_framing_names[o->framing], o->sender.listens ? "to all who connect to" : "to", o->endpoint.text);
}

static void socket_free(sink *self) {
    socket_sink *k = of(self);
    sequencer_free(k->order);
    sender_free(k->sender);
    encoder_free(k->format.encoder);
    endpoint_free(&k->options.endpoint);
    free(k->options.context);
    free(k);
}

static const sink_class socket_class = {
    .start = socket_start,
    .open = socket_open,
    .push = socket_push,
    .end_split = socket_end_split,
    .ready = socket_ready,
    .close = socket_close,
    .drop = socket_drop,
    .end_input = socket_end_input,
    .finish = socket_finish,
    .needs = socket_needs,
    .describe = socket_describe,
    .free = socket_free,
};

/* ---- building ---- */

tw_status socket_sink_read_format(error_list *errors, const args *a, format_kind fallback, encode_options *out) {
    int given = args_enum(a, "format");
    *out = encode_options_default(given >= 0 ? (format_kind)given : fallback);
    return csv_options_read(errors, a, out);
}

tw_status socket_sink_new(plan_builder *b, const args *a, schema *s, socket_sink_options *o, sink **out, tw_error *err) {
    socket_sink *k = calloc(1, sizeof *k);
    if (!k) {
        endpoint_free(&o->endpoint);
        free(o->context);
        return no_memory(err);
    }
    k->sink = (sink){.class = &socket_class, .name = o->sender.kind};
    k->options = *o;
    tw_error wrong;
    encoder *e = NULL;
    tw_status status = encoder_new(&o->encode, s, &e, &wrong);
    if (status == TW_ERR_JOB) status = args_error(a, "format", plan_errors(b), "%s", wrong.message);
    else if (status != TW_OK && err) *err = wrong;
    if (status != TW_OK) {
        socket_free(&k->sink);
        return status;
    }
    k->format = (parcel_format){.encoder = e, .encode = o->encode, .framing = o->framing, .head = o->head,
                                .context = o->context, .raw_column = parcel_raw_column(&o->encode, o->framing, e, s),
                                .one_each = o->framing == STREAM_CONNECTION, .start_each = o->head != NULL};
    *out = &k->sink;
    return TW_OK;
}
