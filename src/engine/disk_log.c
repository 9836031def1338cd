#include "engine/disk_log.h"

#include <stdlib.h>
#include <string.h>

#include "engine/bad_records.h"

/* Behind the columns of the rows: where each came from. The row's header is its partition. */
enum { RECORD, FILE_NAME, RAW, HIDDEN };

struct disk_log {
    run_context *run;
    schema *schema;
    row_layout *layout;
    uint32_t n, *columns; /* those that are needed */
    uint32_t n_hidden;    /* without RAW unless dead letters are kept */
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a log on disk"); }

tw_status disk_log_create(schema *s, const bool *needed, run_context *run, disk_log **out, tw_error *err) {
    disk_log *l = calloc(1, sizeof *l);
    const type **types = malloc((s->n + HIDDEN) * sizeof *types);
    if (l) l->columns = malloc((s->n + 1) * sizeof *l->columns);
    tw_status status = l && types && l->columns ? TW_OK : no_memory(err);
    if (status == TW_OK) {
        l->run = run;
        l->schema = schema_ref(s);
        l->n_hidden = run->bad && bad_records_keep_raw(run->bad) ? HIDDEN : RAW;
        for (uint32_t i = 0; i < s->n; i++) {
            if (!needed[i]) continue;
            types[l->n] = s->fields[i].type;
            l->columns[l->n++] = i;
        }
        types[l->n + RECORD] = type_of(TYPE_INT64);
        types[l->n + FILE_NAME] = types[l->n + RAW] = type_of(TYPE_BINARY);
        status = row_layout_new(types, l->n + l->n_hidden, 0, 0, &l->layout, err);
    }
    free(types);
    if (status != TW_OK) {
        disk_log_free(l);
        return status;
    }
    *out = l;
    return TW_OK;
}

void disk_log_free(disk_log *l) {
    if (!l) return;
    row_layout_free(l->layout);
    schema_unref(l->schema);
    free(l->columns);
    free(l);
}

/* ---- in ---- */

typedef struct origins {
    int64_t *records;
    view *files, *raw;
} origins;

static void fill_origins(const disk_log *l, const batch *b, origins to) {
    const origin *o = b->origin;
    const uint32_t *index = o && b->origin_rows ? (const uint32_t *)(const void *)b->origin_rows->data : NULL;
    const view *raw = o && o->raw_buffer ? (const view *)(const void *)o->raw_buffer->data : NULL;
    view file = o && o->file ? view_make((const uint8_t *)o->file, (uint32_t)strlen(o->file)) : (view){0};
    int64_t first = o ? (int64_t)origin_record(o, 0) : 0;
    for (uint32_t i = 0; i < b->rows; i++) {
        uint32_t record = index ? index[i] : i;
        bool known = o && record != UINT32_MAX;
        to.records[i] = known ? first + record : 0;
        to.files[i] = known ? file : (view){0};
        if (l->n_hidden > RAW) to.raw[i] = known && raw ? raw[record] : (view){0};
    }
}

tw_status disk_log_encode(const disk_log *l, const batch *b, uint32_t partition, row_block **out, tw_error *err) {
    column *columns = calloc(l->n + HIDDEN, sizeof *columns);
    bool raw = l->n_hidden > RAW;
    origins o = {malloc(b->rows * sizeof *o.records), malloc(b->rows * sizeof *o.files), raw ? malloc(b->rows * sizeof *o.raw) : NULL};
    tw_status status = columns && o.records && o.files && (o.raw || !raw) ? TW_OK : no_memory(err);
    if (status == TW_OK) {
        void *values[HIDDEN] = {o.records, o.files, o.raw};
        fill_origins(l, b, o);
        for (uint32_t i = 0; i < l->n; i++) columns[i] = b->columns[l->columns[i]];
        for (uint32_t i = 0; i < l->n_hidden; i++)
            columns[l->n + i] = (column){.type = l->layout->fields[l->n + i].type, .rows = b->rows, .values = values[i]};
        status = row_block_encode(l->run->memory, MEMORY_FLOW, l->layout, columns, b->rows, out, err);
    }
    for (uint32_t i = 0; status == TW_OK && i < b->rows; i++) row_set_header((*out)->rows->data + (size_t)i * l->layout->stride, partition);
    free(columns);
    free(o.records);
    free(o.files);
    free(o.raw);
    return status;
}

/* ---- pieces ---- */

void log_piece_init(log_piece *p) {
    *p = (log_piece){0};
    p->last = &p->first;
}

void log_piece_add(log_piece *p, row_block *b) {
    b->next = NULL;
    *p->last = b;
    p->last = &b->next;
    p->n_blocks++;
    p->rows += b->n;
    p->bytes += row_block_bytes(b);
}

tw_status disk_log_write(const disk_log *l, const log_piece *p, frame_place *out, tw_error *err) {
    const row_block **blocks = malloc(p->n_blocks * sizeof *blocks);
    if (!blocks) return no_memory(err);
    uint32_t n = 0;
    for (const row_block *b = p->first; b; b = b->next) blocks[n++] = b;
    tw_status status = spill_write_blocks(l->run->spill, l->layout, blocks, n, out, err);
    free(blocks);
    return status;
}

row_block *log_piece_stored(log_piece *p, frame_place place) {
    row_block *list = p->first;
    p->first = NULL;
    p->last = &p->first;
    p->n_blocks = 0;
    p->bytes = 0;
    p->place = place;
    return list;
}

void row_blocks_free(row_block *list) {
    while (list) {
        row_block *next = list->next;
        row_block_free(list);
        list = next;
    }
}

void log_piece_clear(const disk_log *l, log_piece *p) {
    if (p->place.bytes) spill_forget(l->run->spill, p->place);
    row_blocks_free(p->first);
    log_piece_init(p);
}

/* ---- out ---- */

static const uint8_t *row_of(const disk_log *l, const row_block *b, uint32_t i) {
    return b->rows->data + (size_t)i * l->layout->stride;
}

static const void *hidden(const disk_log *l, const uint8_t *row, uint32_t which) {
    return row + l->layout->fields[l->n + which].offset;
}

/* Whether the row after `row` makes one batch with it. */
static bool follows(const disk_log *l, const uint8_t *row, const uint8_t *next) {
    const view *file = hidden(l, row, FILE_NAME);
    int64_t record, next_record;
    memcpy(&record, hidden(l, row, RECORD), sizeof record);
    memcpy(&next_record, hidden(l, next, RECORD), sizeof record);
    return row_header(row) == row_header(next) && view_equal(file, hidden(l, next, FILE_NAME)) &&
           (file->size == 0 || next_record == record + 1);
}

static tw_status give_origin(const disk_log *l, const uint8_t *row, const column *raw, buffer *heap, batch *b, tw_error *err) {
    const view *file = hidden(l, row, FILE_NAME);
    int64_t record;
    if (file->size == 0) return TW_OK;
    memcpy(&record, hidden(l, row, RECORD), sizeof record);
    char *name = strndup((const char *)view_data(file), file->size);
    tw_status status = name ? origin_new(name, (uint64_t)record, &b->origin, err) : no_memory(err);
    free(name);
    if (status == TW_OK && raw) {
        b->origin->raw_buffer = buffer_ref(raw->values_buffer);
        b->origin->raw_heap = buffer_ref(heap);
    }
    return status;
}

static tw_status decode(const disk_log *l, const row_block *block, uint32_t first, uint32_t n, batch **out, tw_error *err) {
    batch *b;
    TRY(batch_new(l->schema, n, &b, err));
    for (uint32_t i = 0; i < l->schema->n; i++) b->columns[i] = (column){.type = l->schema->fields[i].type, .rows = n}; /* absent */
    column *columns = calloc(l->layout->n, sizeof *columns);
    tw_status status = columns ? row_block_decode(l->run->memory, l->layout, block, first, n, columns, err) : no_memory(err);
    if (status == TW_OK) {
        for (uint32_t i = 0; i < l->n; i++) b->columns[l->columns[i]] = columns[i];
        const column *raw = l->n_hidden > RAW ? &columns[l->n + RAW] : NULL;
        status = give_origin(l, row_of(l, block, first), raw, block->heap, b, err);
        for (uint32_t i = 0; i < l->n_hidden; i++) column_clear(&columns[l->n + i]);
    }
    free(columns);
    if (status == TW_OK) *out = b;
    else batch_unref(b);
    return status;
}

static tw_status read_back(const disk_log *l, log_piece *p, tw_error *err) {
    row_block *b;
    TRY(spill_read_block(l->run->spill, l->run->memory, MEMORY_FLOW, l->layout, p->place, &b, err));
    spill_forget(l->run->spill, p->place);
    log_piece_init(p);
    log_piece_add(p, b);
    return TW_OK;
}

tw_status disk_log_next(const disk_log *l, log_piece *p, batch **out, uint32_t *partition, tw_error *err) {
    if (p->place.bytes) TRY(read_back(l, p, err));
    row_block *b = p->first;
    if (!b) return TW_END;
    uint32_t n = 1;
    while (p->at + n < b->n && n < l->run->batch_rows && follows(l, row_of(l, b, p->at + n - 1), row_of(l, b, p->at + n))) n++;
    *partition = (uint32_t)row_header(row_of(l, b, p->at));
    TRY(decode(l, b, p->at, n, out, err));
    p->at += n;
    if (p->at < b->n) return TW_OK;
    p->at = 0;
    p->first = b->next;
    if (!p->first) p->last = &p->first;
    row_block_free(b);
    return TW_OK;
}
