/* csv_rows.c: finds delimiters and line ends for some thousand fields at a time, so that what was found
 * is still in cache when values are read, and cuts them into rows. */
#include "io/csv_rows.h"

#include <stdlib.h>

#include "data/scan.h"

enum { ENDS_MIN = 8192, ENDS_MAX = 65536 };

tw_status csv_rows_open(csv_rows *c, tw_error *err) {
    uint64_t wish = (uint64_t)c->rows_max * c->n_fields;
    size_t capacity = wish < ENDS_MIN ? ENDS_MIN : wish > ENDS_MAX ? ENDS_MAX : (size_t)wish;
    if (capacity < (size_t)c->n_fields * 2) capacity = (size_t)c->n_fields * 2;
    c->capacity = capacity + 2 * SCAN_CSV_SLACK;
    TRY(buffer_new(c->memory, MEMORY_FLOW, (c->capacity + 16) * sizeof(uint32_t), &c->ends_buffer, err));
    c->ends = (uint32_t *)(void *)c->ends_buffer->data + 16;
    TRY(buffer_new(c->memory, MEMORY_FLOW, (size_t)c->rows_max * sizeof(uint32_t), &c->rows_buffer, err));
    TRY(buffer_new(c->memory, MEMORY_FLOW, (size_t)c->rows_max * sizeof(uint32_t), &c->records_buffer, err));
    c->rows.first = (uint32_t *)(void *)c->rows_buffer->data;
    c->rows.record = (uint32_t *)(void *)c->records_buffer->data;
    c->rows.ends = c->ends;
    if (c->keep_ends) {
        /* Rows and bad records of one round: at most as many as there are ends. */
        TRY(buffer_new(c->memory, MEMORY_FLOW, c->capacity * 2 * sizeof(uint32_t), &c->extent_buffer, err));
        c->begin = (uint32_t *)(void *)c->extent_buffer->data;
        c->end = c->begin + c->capacity;
    }
    return TW_OK;
}

void csv_rows_close(csv_rows *c) {
    buffer_unref(c->ends_buffer);
    buffer_unref(c->rows_buffer);
    buffer_unref(c->records_buffer);
    buffer_unref(c->extent_buffer);
    free(c->bad);
}

void csv_rows_feed(csv_rows *c, const uint8_t *text, size_t size) {
    c->text = c->rows.text = text;
    c->size = size;
    c->scanned = c->used = c->count = 0;
    c->in_quote = 0;
    c->has_quotes = c->skipping = false;
    c->rows.n = c->n_bad = c->next_record = c->next_used = 0;
    c->next_skipping = false;
    c->record = 0;
    c->ends[-1] = UINT32_MAX;
}

/* Where the field that ends at ends[i] begins. */
static inline uint32_t begin_at(const csv_rows *c, size_t i) { return (c->ends + i)[-1] + 1; }

static bool ends_record(const csv_rows *c, uint32_t at) { return at == c->size || c->text[at] == '\n'; }

static tw_status add_bad(csv_rows *c, csv_fault fault, uint32_t begin, uint32_t end, uint32_t fields,
                         tw_error *err) {
    if (c->n_bad == c->bad_capacity) {
        uint32_t capacity = c->bad_capacity ? c->bad_capacity * 2 : 16;
        csv_bad *more = realloc(c->bad, capacity * sizeof *more);
        if (!more) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
        c->bad = more;
        c->bad_capacity = capacity;
    }
    c->bad[c->n_bad++] = (csv_bad){fault, c->next_record, begin, end, fields};
    return TW_OK;
}

static void end_record(csv_rows *c, uint32_t begin, uint32_t end) {
    if (c->keep_ends) {
        c->begin[c->next_record] = begin;
        c->end[c->next_record] = end > begin && c->text[end - 1] == '\r' ? end - 1 : end;
    }
    c->next_record++;
}

/* [begin, end) begins with a quote: whether the last byte closes it and all between stand twice. */
static bool quoted_well(const uint8_t *text, size_t begin, size_t end, uint8_t quote) {
    if (end - begin < 2 || text[end - 1] != quote) return false;
    for (size_t at = begin + 1; at < end - 1;) {
        size_t found = at + find_byte(text + at, end - 1 - at, quote);
        if (found == end - 1) return true;
        if (found + 1 == end - 1 || text[found + 1] != quote) return false;
        at = found + 2;
    }
    return true;
}

/* The first field that is quoted wrongly; n_fields if none is. */
static uint32_t misquoted(const csv_rows *c, size_t first) {
    for (uint32_t k = 0; k < c->n_fields; k++) {
        size_t begin = begin_at(c, first + k), end = c->ends[first + k];
        if (k + 1 == c->n_fields && end > begin && c->text[end - 1] == '\r') end--;
        if (begin == end) continue;
        bool well = c->text[begin] == c->quote ? quoted_well(c->text, begin, end, c->quote)
                                               : find_byte(c->text + begin, end - begin, c->quote) == end - begin;
        if (!well) return k;
    }
    return c->n_fields;
}

/* Whether the row at ends[i] has all its fields and no line end before the last. */
static inline bool is_regular(const csv_rows *c, size_t i) {
    const uint32_t *e = c->ends + i;
    bool broken = false;
    for (uint32_t k = 0; k + 1 < c->n_fields; k++) broken |= c->text[e[k]] == '\n';
    return !broken && ends_record(c, e[c->n_fields - 1]);
}

/* A record that is no regular row: nothing at all, or bad. i: its first end, j: its last. */
static tw_status irregular(csv_rows *c, size_t i, size_t j, bool skipping, tw_error *err) {
    uint32_t begin = begin_at(c, i), end = c->ends[j], fields = (uint32_t)(j - i + 1);
    bool empty = i == j && (begin == end || (begin + 1 == end && c->text[begin] == '\r'));
    if (skipping) fields += c->skip_fields;
    else if (empty) return TW_OK;
    return add_bad(c, CSV_FIELDS, begin, end, fields, err);
}

/* An unclosed quote makes all that follows one record. */
static bool is_unclosed(const csv_rows *c, uint32_t end) {
    return c->in_quote && c->scanned == c->size && end == c->size;
}

static tw_status find_rows(csv_rows *c, tw_error *err) {
    size_t i = c->used;
    uint32_t start = begin_at(c, i);
    bool skipping = c->skipping;
    while (i < c->count && c->rows.n < c->rows_max) {
        size_t j = i + c->n_fields - 1;
        bool regular = j < c->count && !skipping && is_regular(c, i);
        if (!regular) {
            for (j = i; j < c->count && !ends_record(c, c->ends[j]); j++) {}
            if (j == c->count) break; /* not all of it is here */
        }
        uint32_t begin = begin_at(c, i), end = c->ends[j];
        if (end - start > c->bytes_max && c->next_record) break;
        if (is_unclosed(c, end)) {
            TRY(add_bad(c, CSV_UNCLOSED, begin, end, 0, err));
        } else if (!regular) {
            TRY(irregular(c, i, j, skipping, err));
        } else {
            uint32_t wrong = c->has_quotes ? misquoted(c, i) : c->n_fields;
            if (wrong < c->n_fields) {
                TRY(add_bad(c, CSV_QUOTE, begin, end, wrong, err));
            } else {
                c->rows.first[c->rows.n] = (uint32_t)i;
                c->rows.record[c->rows.n++] = c->next_record;
            }
        }
        end_record(c, begin, end);
        skipping = false;
        i = j + 1;
    }
    c->next_used = (uint32_t)i;
    c->next_skipping = skipping;
    return TW_OK;
}

/* Moves what is left to the front and finds more behind it. */
static void find_ends(csv_rows *c) {
    size_t left = c->count - c->used;
    memmove(c->ends - 1, (c->ends + c->used) - 1, (left + 1) * sizeof *c->ends);
    c->used = 0;
    c->count = left;
    if (left + 2 * SCAN_CSV_SLACK > c->capacity) { /* one record has filled it: only count its fields */
        c->skip_fields = (c->skipping ? c->skip_fields : 0) + (uint32_t)left;
        c->skipping = true;
        c->count = 0;
    }
    size_t from = c->scanned;
    scan_csv_result found = scan_csv(c->text + from, c->size - from, c->delimiter, c->quote, &c->in_quote,
                                     c->ends + c->count, c->capacity - 1 - c->count, NULL);
    for (size_t i = 0; i < found.count; i++) c->ends[c->count + i] += (uint32_t)from;
    c->count += found.count;
    c->scanned += found.scanned;
    c->has_quotes |= found.quotes != 0;
    bool unended = c->scanned == c->size && (c->in_quote || c->text[c->size - 1] != '\n');
    if (unended) c->ends[c->count++] = (uint32_t)c->size;
}

tw_status csv_rows_next(csv_rows *c, tw_error *err) {
    while (true) {
        c->rows.n = c->n_bad = c->next_record = 0;
        TRY(find_rows(c, err));
        c->rows.quote = c->has_quotes ? c->quote : 0;
        if (c->rows.n || c->n_bad) return TW_OK;
        bool more = c->next_used != c->used; /* empty lines went by */
        csv_rows_take(c);
        if (more) continue;
        if (c->scanned == c->size) return TW_END;
        find_ends(c);
    }
}

void csv_rows_take(csv_rows *c) {
    c->used = c->next_used;
    c->skipping = c->next_skipping;
    c->record += c->next_record;
    c->rows.n = c->n_bad = c->next_record = 0;
}
