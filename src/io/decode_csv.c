/* decode_csv.c: `csv` (RFC 4180). Fields are found first (csv_rows.h), then read a column at a time
 * (text_columns.h); rows with a value that does not fit are taken out and the others read again. */
#include <stdio.h>
#include <stdlib.h>

#include "data/utf8.h"
#include "io/csv_rows.h"
#include "io/decode_internal.h"
#include "io/text_columns.h"

typedef struct csv_decoder {
    decoder base;
    csv_rows rows;
    bool opened;
    csv_layout *own_layout; /* from a header met on the way */
    bool at_start;          /* a byte order mark and a header may come */
    bool checked_text, valid_text;
    size_t skipped;         /* bytes of the span before the rows */
    misfits misfits;
} csv_decoder;

static void csv_begin(decoder *base) {
    csv_decoder *d = (csv_decoder *)base;
    d->at_start = true;
    d->checked_text = false;
}

static void csv_free(decoder *base) {
    csv_decoder *d = (csv_decoder *)base;
    csv_rows_close(&d->rows);
    free(d->own_layout);
    free(d->misfits.items);
}

static tw_status read_header(csv_decoder *d, const uint8_t *text, size_t size, tw_error *err) {
    csv_layout *layout;
    tw_status status = csv_layout_from_header(d->base.format, text, size, &layout, err);
    if (status != TW_OK) {
        error_in_data(err, d->base.place.file, 0);
        return status;
    }
    free(d->own_layout);
    d->own_layout = layout;
    d->base.layout = layout;
    return TW_OK;
}

/* What stands before the rows of a span. */
static tw_status start(csv_decoder *d, tw_error *err) {
    if (!d->opened) {
        csv_rows_close(&d->rows); /* what a call that failed has left */
        d->rows = (csv_rows){.memory = d->base.run->memory,
                             .n_fields = d->base.format->schema->n,
                             .rows_max = d->base.run->batch_rows,
                             .bytes_max = d->base.run->batch_bytes,
                             .delimiter = d->base.format->delimiter,
                             .quote = d->base.format->quote,
                             .keep_ends = d->base.keep_raw};
        TRY(csv_rows_open(&d->rows, err));
        d->opened = true;
    }
    const span *s = &d->base.span;
    d->skipped = 0;
    if (d->base.place.file_start && s->size) {
        d->skipped = byte_order_mark(s->bytes, s->size);
        if (d->base.format->header && s->size > d->skipped) {
            const uint8_t *text = s->bytes + d->skipped;
            TRY(read_header(d, text, s->size - d->skipped, err));
            d->skipped += csv_header_size(d->base.format, text, s->size - d->skipped);
        }
    }
    csv_rows_feed(&d->rows, s->bytes + d->skipped, s->size - d->skipped);
    d->at_start = false;
    return TW_OK;
}

static bool is_text(csv_decoder *d) {
    if (!d->checked_text) {
        d->valid_text = utf8_valid((const char *)d->base.span.bytes, d->base.span.size);
        d->checked_text = true;
    }
    return d->valid_text;
}

static tw_status read_columns(csv_decoder *d, column *columns, tw_error *err) {
    const format *f = d->base.format;
    const csv_layout *layout = d->base.layout;
    d->misfits.n = 0;
    for (uint32_t c = 0; c < f->schema->n; c++) {
        if (!decoder_needs(&d->base, c)) continue;
        uint32_t at = layout && !layout->same ? layout->field[c] : c;
        const type *t = f->schema->fields[c].type;
        text_column what = {.field = at, .column = c, .type = t, .last = at + 1 == f->schema->n,
                            .valid_text = t->kind == TYPE_STRING && is_text(d)};
        TRY(text_column_read(d->base.run->memory, &d->rows.rows, &what, d->base.span.owner, &columns[c],
                             &d->misfits, err));
    }
    return TW_OK;
}

/* ---- bad records ---- */

static int compare_misfits(const void *a, const void *b) {
    const misfit *x = a, *y = b;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return (x->column > y->column) - (x->column < y->column);
}

static void describe_misfit(const csv_decoder *d, const misfit *m, char *out, size_t capacity) {
    char shown[SHOWN_MAX];
    shown_text(d->rows.text + m->begin, m->end - m->begin, shown);
    if (m->broken)
        snprintf(out, capacity, "column '%.80s': '%s' is no valid UTF-8",
                 d->base.format->schema->fields[m->column].name, shown);
    else
        misfit_reason(d->base.format, m->column, shown, m->out_of_range, out, capacity);
}

static void describe_bad(const csv_decoder *d, const csv_bad *bad, char *out, size_t capacity) {
    uint32_t n = d->base.format->schema->n;
    switch (bad->fault) {
    case CSV_FIELDS:
        snprintf(out, capacity, "the row has %u field%s instead of %u", bad->fields,
                 bad->fields == 1 ? "" : "s", n);
        break;
    case CSV_QUOTE:
        snprintf(out, capacity,
                 "field %u: a quote inside an unquoted field, or text after a closing quote", bad->fields + 1);
        break;
    case CSV_UNCLOSED: snprintf(out, capacity, "a quote is never closed"); break;
    }
}

/* The text of the record that row `row` of this round was. */
static void row_extent(const csv_decoder *d, uint32_t row, uint32_t *begin, uint32_t *end) {
    const csv_rows *c = &d->rows;
    const uint32_t *ends = c->rows.ends + c->rows.first[row];
    *begin = ends[-1] + 1;
    *end = ends[c->n_fields - 1];
}

static tw_status report(csv_decoder *d, uint32_t record, uint32_t begin, uint32_t end, const char *reason,
                        tw_error *err) {
    const uint8_t *text = d->rows.text;
    if (end > begin && text[end - 1] == '\r') end--;
    return decoder_bad(&d->base, d->rows.record + record, text + begin, end - begin, reason, err);
}

/* All bad records of the round, in their order. */
static tw_status report_all(csv_decoder *d, const misfits *list, tw_error *err) {
    const csv_rows *c = &d->rows;
    char reason[400];
    uint32_t m = 0, b = 0;
    while (m < list->n || b < c->n_bad) {
        uint32_t begin, end;
        bool misfit_next = m < list->n &&
                           (b == c->n_bad || c->rows.record[list->items[m].row] < c->bad[b].record);
        if (misfit_next) {
            uint32_t row = list->items[m].row;
            describe_misfit(d, &list->items[m], reason, sizeof reason);
            row_extent(d, row, &begin, &end);
            TRY(report(d, c->rows.record[row], begin, end, reason, err));
            while (m < list->n && list->items[m].row == row) m++;
        } else {
            describe_bad(d, &c->bad[b], reason, sizeof reason);
            TRY(report(d, c->bad[b].record, c->bad[b].begin, c->bad[b].end, reason, err));
            b++;
        }
    }
    return TW_OK;
}

static void drop_rows(csv_decoder *d) {
    text_rows *rows = &d->rows.rows;
    uint32_t kept = 0, m = 0;
    for (uint32_t r = 0; r < rows->n; r++) {
        if (m < d->misfits.n && d->misfits.items[m].row == r) {
            while (m < d->misfits.n && d->misfits.items[m].row == r) m++;
            continue;
        }
        rows->first[kept] = rows->first[r];
        rows->record[kept++] = rows->record[r];
    }
    rows->n = kept;
    d->misfits.n = 0;
}

/* ---- batches ---- */

static tw_status place_rows(csv_decoder *d, batch *b, tw_error *err) {
    const csv_rows *c = &d->rows;
    row_places places = {.first = c->record, .n_records = c->next_record};
    if (c->rows.n != c->next_record) places.record = c->rows.record;
    if (c->keep_ends) {
        for (uint32_t i = 0; i < c->next_record; i++) {
            c->begin[i] += (uint32_t)d->skipped;
            c->end[i] += (uint32_t)d->skipped;
        }
        places.raw_begin = c->begin;
        places.raw_end = c->end;
    }
    return decoder_place(&d->base, &places, b, err);
}

/* A batch of the round's rows; NULL with TW_OK when none is left. */
static tw_status make_batch(csv_decoder *d, batch **out, tw_error *err) {
    *out = NULL;
    if (!d->rows.rows.n) return report_all(d, &d->misfits, err);
    batch *b;
    TRY(batch_new(d->base.format->schema, d->rows.rows.n, &b, err));
    tw_status status = read_columns(d, b->columns, err);
    if (status == TW_OK && d->misfits.n) {
        qsort(d->misfits.items, d->misfits.n, sizeof(misfit), compare_misfits);
        status = report_all(d, &d->misfits, err);
        batch_unref(b);
        if (status != TW_OK) return status;
        drop_rows(d);
        return make_batch(d, out, err);
    }
    if (status == TW_OK) status = report_all(d, &d->misfits, err);
    if (status == TW_OK) status = place_rows(d, b, err);
    if (status == TW_OK) *out = b;
    else batch_unref(b);
    return status;
}

static tw_status csv_next(decoder *base, batch **out, tw_error *err) {
    csv_decoder *d = (csv_decoder *)base;
    if (d->at_start) TRY(start(d, err));
    while (true) {
        d->misfits.n = 0;
        tw_status status = csv_rows_next(&d->rows, err);
        if (status != TW_OK) {
            base->records = d->rows.record;
            return status;
        }
        TRY(make_batch(d, out, err));
        base->rows += *out ? (*out)->rows : 0;
        csv_rows_take(&d->rows);
        base->records = d->rows.record;
        if (*out) return TW_OK;
    }
}

static const decoder_class csv_class = {csv_begin, csv_next, csv_free};

tw_status csv_decoder_new(const format *f, run_context *run, decoder **out, tw_error *err) {
    return decoder_allocate(sizeof(csv_decoder), &csv_class, out, err);
}
