/* decode_records.c: `records`: fixed length, columns as views into the block. */
#include "io/decode_internal.h"

#include <stdio.h>

typedef struct records_decoder {
    decoder base;
    size_t at;
} records_decoder;

static void records_begin(decoder *base) { ((records_decoder *)base)->at = 0; }

static tw_status fill(const records_decoder *d, uint32_t index, uint32_t rows, column *out, tw_error *err) {
    const format *f = d->base.format;
    const format_column *where = &f->columns[index];
    TRY(column_new(d->base.run->memory, f->schema->fields[index].type, rows, out, err));
    const uint8_t *from = d->base.span.bytes + d->at + where->offset;
    view *to = out->values;
    for (uint32_t i = 0; i < rows; i++, from += f->record_bytes) to[i] = view_of(from, where->length);
    if (where->length > VIEW_SMALL_MAX) out->heap = buffer_ref(d->base.span.owner);
    return TW_OK;
}

static tw_status place_rows(records_decoder *d, batch *b, tw_error *err) {
    row_places places = {.first = d->base.records, .n_records = b->rows};
    if (!d->base.keep_raw) return decoder_place(&d->base, &places, b, err);
    buffer *ends;
    TRY(buffer_new(d->base.run->memory, MEMORY_FLOW, (size_t)b->rows * 8, &ends, err));
    uint32_t *begin = (uint32_t *)(void *)ends->data, *end = begin + b->rows;
    uint32_t size = d->base.format->record_bytes;
    for (uint32_t i = 0; i < b->rows; i++) {
        begin[i] = (uint32_t)d->at + i * size;
        end[i] = begin[i] + size;
    }
    places.raw_begin = begin;
    places.raw_end = end;
    tw_status status = decoder_place(&d->base, &places, b, err);
    buffer_unref(ends);
    return status;
}

static tw_status records_next(decoder *base, batch **out, tw_error *err) {
    records_decoder *d = (records_decoder *)base;
    const format *f = base->format;
    size_t left = base->span.size - d->at, size = f->record_bytes;
    if (left == 0) return TW_END;
    if (left < size) {
        char reason[128];
        snprintf(reason, sizeof reason, "the last record is torn: it has %zu of %zu bytes", left, size);
        TRY(decoder_bad(base, base->records, base->span.bytes + d->at, left, reason, err));
        d->at = base->span.size;
        base->records++;
        return TW_END;
    }
    size_t rows = left / size, most = base->run->batch_bytes / size;
    if (rows > most) rows = most ? most : 1;
    if (rows > base->run->batch_rows) rows = base->run->batch_rows;
    batch *b;
    TRY(batch_new(f->schema, (uint32_t)rows, &b, err));
    tw_status status = TW_OK;
    for (uint32_t c = 0; c < f->schema->n && status == TW_OK; c++)
        if (decoder_needs(base, c)) status = fill(d, c, (uint32_t)rows, &b->columns[c], err);
    if (status == TW_OK) status = place_rows(d, b, err);
    if (status != TW_OK) {
        batch_unref(b);
        return status;
    }
    d->at += rows * size;
    base->records += rows;
    base->rows += rows;
    *out = b;
    return TW_OK;
}

static const decoder_class records_class = {records_begin, records_next, NULL};

tw_status records_decoder_new(decoder **out, tw_error *err) {
    return decoder_allocate(sizeof(records_decoder), &records_class, out, err);
}
