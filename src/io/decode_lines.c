/* decode_lines.c: `lines`: one string a line, as views into the block. */
#include "data/scan.h"
#include "data/utf8.h"
#include "io/decode_internal.h"

enum { UTF8_UNKNOWN, UTF8_VALID, UTF8_BROKEN };

typedef struct lines_decoder {
    decoder base;
    buffer *ends_buffer, *rows_buffer;
    uint32_t *ends; /* line feeds found ahead */
    size_t used, count, scanned, at; /* `at`: where the next line begins */
    int utf8;
} lines_decoder;

static void lines_begin(decoder *base) {
    lines_decoder *d = (lines_decoder *)base;
    d->used = d->count = d->scanned = d->at = 0;
    d->utf8 = UTF8_UNKNOWN;
}

static tw_status make_room(lines_decoder *d, tw_error *err) {
    if (d->rows_buffer) return TW_OK;
    memory *m = d->base.run->memory;
    size_t rows = d->base.run->batch_rows;
    if (!d->ends_buffer) {
        TRY(buffer_new(m, MEMORY_FLOW, (rows + 2 * SCAN_CSV_SLACK) * sizeof(uint32_t), &d->ends_buffer, err));
        d->ends = (uint32_t *)(void *)d->ends_buffer->data;
    }
    return buffer_new(m, MEMORY_FLOW, rows * 3 * sizeof(uint32_t), &d->rows_buffer, err);
}

/* Line ends ahead, the end of an unended last line among them. */
static void find_ends(lines_decoder *d) {
    const span *s = &d->base.span;
    uint64_t in_quote = 0;
    size_t capacity = d->base.run->batch_rows + (size_t)2 * SCAN_CSV_SLACK;
    d->used = d->count = 0;
    size_t from = d->scanned;
    scan_csv_result found = scan_csv(s->bytes + from, s->size - from, '\n', 0, &in_quote, d->ends,
                                     capacity - 1, NULL);
    for (size_t i = 0; i < found.count; i++) d->ends[i] += (uint32_t)from;
    d->count = found.count;
    d->scanned += found.scanned;
    if (d->scanned == s->size && s->size > 0 && s->bytes[s->size - 1] != '\n') d->ends[d->count++] = (uint32_t)s->size;
}

/* The whole span at once, so that lines need a look of their own only where something is wrong. */
static bool span_is_text(lines_decoder *d) {
    if (d->utf8 == UTF8_UNKNOWN) {
        bool valid = utf8_valid((const char *)d->base.span.bytes, d->base.span.size);
        d->utf8 = valid ? UTF8_VALID : UTF8_BROKEN;
    }
    return d->utf8 == UTF8_VALID;
}

/* The lines of a batch: where they begin and end, and which records they are. */
typedef struct lines_found {
    uint32_t n, n_records;
    size_t end; /* where the line after them begins */
    uint32_t *begin, *record, *size;
} lines_found;

static void pick_lines(lines_decoder *d, lines_found *f) {
    const run_context *run = d->base.run;
    size_t limit = d->count - d->used, at = d->at;
    if (limit > run->batch_rows) limit = run->batch_rows;
    const uint8_t *text = d->base.span.bytes;
    uint32_t n = 0;
    for (; n < limit; n++) {
        uint32_t end = d->ends[d->used + n];
        if (n && end - d->at > run->batch_bytes) break;
        uint32_t size = end - (uint32_t)at;
        f->begin[n] = (uint32_t)at;
        f->size[n] = size - (size && text[end - 1] == '\r');
        at = (size_t)end + 1;
    }
    f->n = f->n_records = n;
    f->end = at;
}

/* Takes the lines out that are no text. */
static tw_status drop_broken(lines_decoder *d, lines_found *f, tw_error *err) {
    const uint8_t *text = d->base.span.bytes;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->n; i++) {
        if (!utf8_valid((const char *)text + f->begin[i], f->size[i])) {
            TRY(decoder_bad(&d->base, d->base.records + i, text + f->begin[i], f->size[i],
                            "the line is no valid UTF-8", err));
            continue;
        }
        f->begin[kept] = f->begin[i];
        f->size[kept] = f->size[i];
        f->record[kept++] = i;
    }
    f->n = kept;
    return TW_OK;
}

static tw_status fill(lines_decoder *d, const lines_found *f, batch *b, tw_error *err) {
    column *c = &b->columns[0];
    TRY(column_new(d->base.run->memory, d->base.format->schema->fields[0].type, f->n, c, err));
    const uint8_t *text = d->base.span.bytes;
    view *to = c->values;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < f->n; i++) {
        to[i] = view_of(text + f->begin[i], f->size[i]);
        longest = f->size[i] > longest ? f->size[i] : longest;
    }
    if (longest > VIEW_SMALL_MAX) c->heap = buffer_ref(d->base.span.owner);
    return TW_OK;
}

static tw_status make_batch(lines_decoder *d, const lines_found *f, batch **out, tw_error *err) {
    TRY(batch_new(d->base.format->schema, f->n, out, err));
    row_places places = {.first = d->base.records, .n_records = f->n_records};
    uint32_t *raw_end = NULL;
    buffer *ends = NULL;
    tw_status status = TW_OK;
    if (f->n != f->n_records) places.record = f->record;
    if (d->base.keep_raw) {
        /* Of every record, the broken ones too: those have been written already and are left empty. */
        status = buffer_new(d->base.run->memory, MEMORY_FLOW, (size_t)f->n_records * 8, &ends, err);
        if (status == TW_OK) {
            uint32_t *begin = (uint32_t *)(void *)ends->data;
            raw_end = begin + f->n_records;
            memset(begin, 0, (size_t)f->n_records * 8);
            for (uint32_t i = 0; i < f->n; i++) {
                uint32_t record = places.record ? f->record[i] : i;
                begin[record] = f->begin[i];
                raw_end[record] = f->begin[i] + f->size[i];
            }
            places.raw_begin = begin;
            places.raw_end = raw_end;
        }
    }
    if (status == TW_OK && decoder_needs(&d->base, 0)) status = fill(d, f, *out, err);
    if (status == TW_OK) status = decoder_place(&d->base, &places, *out, err);
    buffer_unref(ends);
    if (status == TW_OK) return TW_OK;
    batch_unref(*out);
    *out = NULL;
    return status;
}

static tw_status lines_next(decoder *base, batch **out, tw_error *err) {
    lines_decoder *d = (lines_decoder *)base;
    TRY(make_room(d, err));
    while (true) {
        if (d->used == d->count) {
            if (d->scanned == base->span.size) return TW_END;
            find_ends(d);
            continue;
        }
        uint32_t *room = (uint32_t *)(void *)d->rows_buffer->data;
        size_t rows = base->run->batch_rows;
        lines_found f = {.begin = room, .record = room + rows, .size = room + 2 * rows};
        pick_lines(d, &f);
        bool text = base->format->schema->fields[0].type->kind == TYPE_STRING;
        if (text && decoder_needs(base, 0) && !span_is_text(d)) TRY(drop_broken(d, &f, err));
        if (f.n) TRY(make_batch(d, &f, out, err));
        d->used += f.n_records;
        d->at = f.end;
        base->records += f.n_records;
        base->rows += f.n;
        if (f.n) return TW_OK;
    }
}

static void lines_free(decoder *base) {
    lines_decoder *d = (lines_decoder *)base;
    buffer_unref(d->ends_buffer);
    buffer_unref(d->rows_buffer);
}

static const decoder_class lines_class = {lines_begin, lines_next, lines_free};

tw_status lines_decoder_new(decoder **out, tw_error *err) {
    return decoder_allocate(sizeof(lines_decoder), &lines_class, out, err);
}
