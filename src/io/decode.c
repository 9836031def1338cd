/* decode.c: what all decoders share: places, bad records, the dispatch by format. */
#include "io/decode_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "data/utf8.h"

tw_status decoder_allocate(size_t bytes, const decoder_class *class, decoder **out, tw_error *err) {
    decoder *d = calloc(1, bytes);
    *out = d;
    if (!d) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    d->class = class;
    return TW_OK;
}

tw_status decoder_new(const format *f, run_context *run, const bool *needed, decoder **out, tw_error *err) {
    decoder *d = NULL;
    tw_status status;
    *out = NULL;
    switch (f->kind) {
    case FORMAT_LINES: status = lines_decoder_new(&d, err); break;
    case FORMAT_CSV: status = csv_decoder_new(f, run, &d, err); break;
    case FORMAT_JSON: status = json_decoder_new(f, run, &d, err); break;
    case FORMAT_RECORDS: status = records_decoder_new(&d, err); break;
    case FORMAT_BINARY: status = binary_decoder_new(&d, err); break;
    case FORMAT_LIBSVM: status = libsvm_decoder_new(f, run, &d, err); break;
    case FORMAT_EDGES: status = edges_decoder_new(f, run, &d, err); break;
    default: return error_set(err, TW_ERR_INTERNAL, "no decoder for this format");
    }
    if (status != TW_OK) return status;
    d->format = f;
    d->run = run;
    d->needed = needed;
    d->keep_raw = bad_records_keep_raw(run->bad);
    *out = d;
    return TW_OK;
}

void decoder_free(decoder *d) {
    if (!d) return;
    decoder_drop(d);
    if (d->class->free) d->class->free(d);
    free(d);
}

void decoder_set_layout(decoder *d, const csv_layout *layout) { d->layout = layout; }

void decoder_feed(decoder *d, const span *s, const span_place *place) {
    buffer *owner = buffer_ref(s->owner);
    decoder_drop(d);
    d->span = *s;
    d->span.owner = owner;
    d->place = *place;
    d->records = d->rows = d->reported = 0;
    d->failed = d->stopped = false;
    d->class->begin(d);
}

/* How many rows of the last batch stand before the record that ends the run. */
static uint32_t rows_before_failure(const decoder *d) {
    const batch *b = d->last;
    const uint32_t *record = b->origin_rows ? (const uint32_t *)(const void *)b->origin_rows->data : NULL;
    uint64_t first = b->origin->first_record - d->place.first_record;
    uint32_t n = 0;
    while (n < b->rows && first + (record ? record[n] : n) < d->failed_record) n++;
    return n;
}

tw_status decoder_next(decoder *d, batch **out, tw_error *err) {
    *out = NULL;
    if (!d->stopped) {
        tw_status status = d->class->next(d, out, err);
        if (!d->failed || (status != TW_OK && status != TW_END)) return status;
        d->stopped = true;
        d->last = *out;
        *out = NULL;
    }
    if (d->last) {
        uint32_t n = rows_before_failure(d);
        if (n) TRY(batch_slice(d->run->memory, d->last, 0, n, out, err));
        batch_unref(d->last);
        d->last = NULL;
        if (n) return TW_OK;
    }
    if (err) *err = d->failure;
    return TW_ERR_DATA;
}

void decoder_drop(decoder *d) {
    batch_unref(d->last);
    d->last = NULL;
    buffer_unref(d->span.owner);
    d->span = (span){0};
}

uint64_t decoder_records(const decoder *d) { return d->records; }
uint64_t decoder_rows(const decoder *d) { return d->rows; }

static uint64_t record_number(const decoder *d, uint64_t record) {
    origin at = {.first_record = d->place.first_record, .records_before = d->place.records_before,
                 .context = d->place.context, .split = d->place.split};
    return origin_record(&at, record);
}

tw_status decoder_bad(decoder *d, uint64_t record, const uint8_t *raw, size_t size, const char *reason,
                      tw_error *err) {
    if (record < d->reported) return TW_OK;
    tw_error why = {0};
    tw_status status = bad_record(d->run, d->place.file, record_number(d, record), raw, size, reason, &why);
    if (status == TW_ERR_DATA && (!d->failed || record < d->failed_record)) {
        d->failed = true;
        d->failed_record = record;
        d->failure = why;
    } else if (status != TW_OK && status != TW_ERR_DATA) {
        if (err) *err = why;
        return status;
    }
    d->reported = record + 1;
    return TW_OK;
}

/* Every record of the batch as it came, for steps that find fault with its rows later. */
static tw_status keep_raw(decoder *d, const row_places *places, origin *o, tw_error *err) {
    TRY(buffer_new(d->run->memory, MEMORY_FLOW, (size_t)places->n_records * sizeof(view), &o->raw_buffer, err));
    view *views = (view *)(void *)o->raw_buffer->data;
    for (uint32_t i = 0; i < places->n_records; i++)
        views[i] = view_make(d->span.bytes + places->raw_begin[i], places->raw_end[i] - places->raw_begin[i]);
    o->raw_heap = buffer_ref(d->span.owner);
    return TW_OK;
}

tw_status decoder_place(decoder *d, const row_places *places, batch *b, tw_error *err) {
    b->position = d->place.position + d->rows;
    origin *o;
    TRY(origin_new(d->place.file, d->place.first_record + places->first, &o, err));
    b->origin = o;
    o->records_before = d->place.records_before;
    o->context = d->place.context;
    o->split = d->place.split;
    if (d->place.retain) {
        d->place.retain(o->context);
        o->release = d->place.release;
    }
    if (places->record) {
        TRY(buffer_new(d->run->memory, MEMORY_FLOW, b->rows * sizeof(uint32_t), &b->origin_rows, err));
        memcpy(b->origin_rows->data, places->record, b->rows * sizeof(uint32_t));
    }
    return d->keep_raw ? keep_raw(d, places, o, err) : TW_OK;
}

const char *shown_text(const uint8_t *text, size_t size, char out[SHOWN_MAX]) {
    size_t n = size;
    if (n > 40) {
        for (n = 40; n > 36 && (text[n] & 0xc0) == 0x80; n--) {} /* not within a character */
    }
    bool valid = utf8_valid((const char *)text, n);
    for (size_t i = 0; i < n; i++) {
        bool plain = text[i] >= 0x20 && text[i] != 0x7f && (text[i] < 0x80 || valid);
        out[i] = plain ? (char)text[i] : '?';
    }
    memcpy(out + n, "...", 4);
    if (n == size) out[n] = 0;
    return out;
}

void misfit_reason(const format *f, uint32_t index, const char *shown, bool out_of_range, char *out,
                   size_t capacity) {
    char name[64], note[96] = "";
    type_name(f->schema->fields[index].type, name, sizeof name);
    if (f->inferred && f->inferred[index])
        snprintf(note, sizeof note, " (inferred from the first %llu rows: set columns)",
                 (unsigned long long)f->sampled_rows);
    snprintf(out, capacity, "column '%.80s': '%s' %s %s%s", f->schema->fields[index].name, shown,
             out_of_range ? "is out of the range of" : "is no", name, note);
}
