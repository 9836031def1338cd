#include "io/line_rows.h"

#include "data/scan.h"

void line_rows_begin(decoder *d, line_rows *l) {
    l->at = d->place.file_start ? byte_order_mark(d->span.bytes, d->span.size) : 0;
}

void line_rows_free(line_rows *l) { buffer_unref(l->log); }

static tw_status make_room(decoder *d, line_rows *l, tw_error *err) {
    if (l->log) return TW_OK;
    size_t rows = d->run->batch_rows;
    l->capacity = (uint32_t)(rows * 2 + 64); /* bad records and blank lines among the rows */
    TRY(buffer_new(d->run->memory, MEMORY_FLOW, (rows + 2 * (size_t)l->capacity) * sizeof(uint32_t), &l->log, err));
    l->record = (uint32_t *)(void *)l->log->data;
    l->begin = l->record + rows;
    l->end = l->begin + l->capacity;
    return TW_OK;
}

/* Takes lines from *at on until a batch is full. */
static tw_status take_lines(decoder *d, line_rows *l, const line_rows_class *class, size_t *at, tw_error *err) {
    const uint8_t *text = d->span.bytes;
    size_t size = d->span.size;
    l->n = l->n_records = 0;
    char reason[REASON_MAX];
    while (*at < size && l->n < d->run->batch_rows && l->n_records < l->capacity) {
        size_t end = *at + find_byte(text + *at, size - *at, '\n'), n = end - *at;
        if (n && text[end - 1] == '\r') n--;
        if (l->n && end - l->at > d->run->batch_bytes) break;
        line_verdict verdict;
        TRY(class->line(d, text + *at, n, &verdict, reason, err));
        if (verdict == LINE_BAD) TRY(decoder_bad(d, d->records + l->n_records, text + *at, n, reason, err));
        if (verdict == LINE_TAKEN) l->record[l->n++] = l->n_records;
        l->begin[l->n_records] = (uint32_t)*at;
        l->end[l->n_records++] = (uint32_t)(*at + n);
        *at = end < size ? end + 1 : size;
    }
    return TW_OK;
}

static tw_status make_batch(decoder *d, line_rows *l, const line_rows_class *class, batch **out, tw_error *err) {
    batch *b;
    TRY(batch_new(d->format->schema, l->n, &b, err));
    row_places places = {.first = d->records, .n_records = l->n_records, .raw_begin = l->begin, .raw_end = l->end};
    if (l->n != l->n_records) places.record = l->record;
    tw_status status = decoder_place(d, &places, b, err);
    if (status == TW_OK) status = class->finish(d, b, err);
    if (status == TW_OK) *out = b;
    else batch_unref(b);
    return status;
}

tw_status line_rows_next(decoder *d, line_rows *l, const line_rows_class *class, batch **out, tw_error *err) {
    TRY(make_room(d, l, err));
    while (l->at < d->span.size) {
        size_t at = l->at;
        if (l->dirty) TRY(class->reset(d, err));
        l->dirty = true;
        TRY(take_lines(d, l, class, &at, err));
        if (l->n) TRY(make_batch(d, l, class, out, err));
        l->dirty = false;
        l->at = at;
        d->records += l->n_records;
        d->rows += l->n;
        if (l->n) return TW_OK;
    }
    return TW_END;
}
