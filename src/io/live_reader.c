#include "io/live_reader.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "data/scan.h"
#include "io/decode_internal.h"

/* A worker that steps keep busy for so long with a piece lets others read meanwhile. */
#define LONG_WORK_NS 100000u
/* So much at a time of one connection; then the others. */
#define SPLIT_BYTES ((size_t)8 << 20)

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

/* ---- rows of single messages ---- */

static tw_status frames_column(live_reader *r, uint32_t n, column *out, tw_error *err) {
    const piece *p = &r->piece;
    memory *m = r->source->run->memory;
    TRY(column_new(m, r->source->options.format.schema->fields[0].type, n, out, err));
    view *v = out->values;
    const uint32_t *ends = r->ends + r->done;
    uint32_t at = r->at;
    for (uint32_t i = 0; i < n; i++) {
        v[i] = view_of(p->bytes + at, ends[i] - at); /* a buffer's padding can be read */
        at = ends[i] + p->gap;
    }
    out->heap = buffer_ref(p->owner);
    return TW_OK;
}

/* Nulls where the connection tells no name. */
static tw_status names_column(live_reader *r, uint32_t n, column *out, tw_error *err) {
    const piece *p = &r->piece;
    memory *m = r->source->run->memory;
    TRY(column_new(m, r->source->options.format.schema->fields[1].type, n, out, err));
    view *v = out->values;
    for (uint32_t i = 0; i < n; i++) v[i] = p->named ? p->name : (view){0};
    if (p->named) {
        out->heap = buffer_ref(p->name_owner);
        return TW_OK;
    }
    TRY(column_need_valid(m, out, err));
    for (uint32_t i = 0; i < n; i++) column_set_null(out, i);
    return TW_OK;
}

static tw_status keep_raw(live_reader *r, const column *c, origin *o, tw_error *err) {
    size_t bytes = c->rows * sizeof(view);
    TRY(buffer_new(r->source->run->memory, MEMORY_FLOW, bytes, &o->raw_buffer, err));
    memcpy(o->raw_buffer->data, c->values, bytes);
    o->raw_heap = buffer_ref(r->piece.owner);
    return TW_OK;
}

static tw_status frames_batch(live_reader *r, uint32_t n, batch *b, tw_error *err) {
    live_source *s = r->source;
    bool raw = bad_records_keep_raw(s->run->bad);
    column *c = &b->columns[0];
    *c = (column){.type = s->options.format.schema->fields[0].type, .rows = n};
    if (raw || !s->needed || s->needed[0]) TRY(frames_column(r, n, c, err));
    if (s->options.format.schema->n > 1) {
        column *names = &b->columns[1];
        *names = (column){.type = s->options.format.schema->fields[1].type, .rows = n};
        if (!s->needed || s->needed[1]) TRY(names_column(r, n, names, err));
    }
    b->position = r->base.position + r->rows;
    TRY(origin_new(r->name, r->record + r->done + 1, &b->origin, err));
    return raw ? keep_raw(r, c, b->origin, err) : TW_OK;
}

static tw_status frames_next(live_reader *r, batch **out, tw_error *err) {
    const run_context *run = r->source->run;
    uint32_t left = r->piece.n - r->done, n = left < run->batch_rows ? left : run->batch_rows;
    if (!n) return TW_END;
    batch *b;
    TRY(batch_new(r->source->options.format.schema, n, &b, err));
    tw_status status = frames_batch(r, n, b, err);
    if (status != TW_OK) {
        batch_unref(b);
        return status;
    }
    r->done += n;
    r->at = r->ends[r->done - 1] + r->piece.gap;
    *out = b;
    return TW_OK;
}

/* ---- pieces ---- */

static void feed(live_reader *r) {
    const piece *p = &r->piece;
    span s = {.owner = p->owner, .bytes = p->bytes, .size = p->size};
    span_place place = {.file = r->name, .first_record = r->record + 1, .file_start = p->start,
                        .position = r->base.position + r->rows};
    decoder_set_layout(r->decoder, r->connection ? r->connection->layout : NULL);
    decoder_feed(r->decoder, &s, &place);
}

/* Records of a piece that is handed on before it is decoded: for the numbers in messages. */
static uint64_t records_in(const piece *p, const format *f) {
    if (p->frames) return p->n;
    if (f->kind == FORMAT_RECORDS) return p->size / f->record_bytes;
    return count_byte(p->bytes, p->size, '\n');
}

/* Whether the connection stays until the piece is through. */
static bool stays(const live_source *s) {
    return s->class->delivered || (s->options.format.kind == FORMAT_CSV && s->options.format.header) ||
           atomic_load_explicit(&s->work_ns, memory_order_relaxed) < LONG_WORK_NS;
}

static void begin_piece(live_reader *r) {
    live_source *s = r->source;
    r->working = true;
    r->done = 0;
    r->at = r->piece.first;
    r->record = r->connection->records;
    r->taken_bytes += r->piece.size;
    r->base.arrived_ns = r->given_ns = clock_ns();
    if (!r->piece.frames) feed(r);
    if (stays(s)) return;
    connection *c = r->connection;
    c->records += records_in(&r->piece, &s->options.format);
    r->connection = NULL;
    live_source_hand_back(s, c);
}

static void drop_piece(live_reader *r) {
    if (!r->piece.frames) decoder_drop(r->decoder);
    buffer_unref(r->piece.owner);
    buffer_unref(r->piece.name_owner);
    r->piece = (piece){0};
    r->working = false;
}

static void end_piece(live_reader *r) {
    live_source *s = r->source;
    connection *c = r->connection;
    uint64_t work = clock_ns() - r->given_ns, before = atomic_load_explicit(&s->work_ns, memory_order_relaxed);
    atomic_store_explicit(&s->work_ns, before + work / 8 - before / 8, memory_order_relaxed);
    if (c) c->records += r->piece.frames ? r->piece.n : decoder_records(r->decoder);
    drop_piece(r);
    if (c && s->class->delivered) s->class->delivered(c);
}

static tw_status piece_next(live_reader *r, batch **out, tw_error *err) {
    tw_status status = r->piece.frames ? frames_next(r, out, err) : decoder_next(r->decoder, out, err);
    if (status != TW_OK) return status;
    r->rows += (*out)->rows;
    atomic_fetch_add_explicit(&r->source->run->rows_in, (*out)->rows, memory_order_relaxed);
    return TW_OK;
}

/* ---- reading ---- */

/* Whether the peer has said that nothing more comes: then what it left without an end is whole. */
static bool peer_has_ended(const connection *c) {
    char next;
    return recv(c->fd, &next, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* The next piece of the connection, or TW_END when there is none now; then the connection is given up. */
static tw_status next_piece(live_reader *r, tw_error *err) {
    live_source *s = r->source;
    connection *c = r->connection;
    if (!c) return TW_END;
    if (r->taken_bytes >= SPLIT_BYTES) {
        r->connection = NULL;
        live_source_hand_back(s, c);
        return TW_END;
    }
    tw_status status = c->drained ? TW_END : s->class->receive(c, r->ends, &r->piece, err);
    c->drained = c->draining && c->drain_bytes == 0 && !peer_has_ended(c);
    if (status == TW_OK) {
        begin_piece(r);
        return TW_OK;
    }
    r->connection = NULL;
    if (status == STATUS_WAIT) live_source_watch(s, c);
    else if (status == TW_ERR_MEMORY) live_source_later(s, c);
    else live_source_close(s, c);
    return status == STATUS_WAIT || status == TW_ERR_MEMORY ? TW_END : status;
}

static tw_status live_next(reader *self, batch **out, tw_error *err) {
    live_reader *r = (live_reader *)self;
    for (;;) {
        if (!r->working) TRY(next_piece(r, err));
        tw_status status = piece_next(r, out, err);
        if (status != TW_END) return status;
        end_piece(r);
    }
}

static void live_reader_free(reader *self) {
    live_reader *r = (live_reader *)self;
    connection *c = r->connection;
    r->connection = NULL;
    if (r->working) drop_piece(r);
    if (c) live_source_close(r->source, c); /* the split was given up: the run ends */
    live_source_take_reader(r->source, r);
}

static const reader_class live_reader_class = {live_next, live_reader_free};

static tw_status reader_new(live_source *s, live_reader **out, tw_error *err) {
    live_reader *r = calloc(1, sizeof *r);
    if (!r) return no_memory(err);
    r->source = s;
    tw_status status = TW_OK;
    if (s->options.messages || s->options.framing == STREAM_LENGTH) {
        r->ends = malloc(FRAMES_MAX * sizeof *r->ends);
        if (!r->ends) status = no_memory(err);
    }
    if (status == TW_OK && !s->options.messages)
        status = decoder_new(&s->options.format, s->run, s->needed, &r->decoder, err);
    if (status != TW_OK) {
        live_reader_destroy(r);
        return status;
    }
    *out = r;
    return TW_OK;
}

void live_reader_destroy(live_reader *r) {
    if (!r) return;
    decoder_free(r->decoder);
    free(r->ends);
    free(r);
}

tw_status live_reader_open(live_source *s, connection *c, uint64_t split, live_reader **out, tw_error *err) {
    pthread_mutex_lock(&s->lock);
    live_reader *r = s->readers;
    if (r) s->readers = r->next;
    pthread_mutex_unlock(&s->lock);
    if (!r) TRY(reader_new(s, &r, err));
    r->connection = c;
    r->base = (reader){.class = &live_reader_class, .position = split << 32, .partition = c->partition,
                       .after.watermark = WATERMARK_NONE};
    r->taken_bytes = r->rows = 0;
    memcpy(r->name, c->name, sizeof r->name);
    *out = r;
    return TW_OK;
}
