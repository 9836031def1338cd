/* encode_records.c: the bytes of the columns one after the other, nothing between. */
#include "io/encode_internal.h"

static tw_status records_plan(encoder *e, tw_error *err) {
    TRY(encoder_set_fields(e, e->schema->n, err));
    for (uint32_t i = 0; i < e->n_fields; i++) {
        char name[200];
        if (!type_is_view(e->schema->fields[i].type))
            return error_set(err, TW_ERR_JOB, "format 'records' writes binary and string columns, not %s",
                             encode_column_name(e, i, name, sizeof name));
        e->fields[i].column = i;
        e->fields[i].put = encode_put_raw;
        e->fields[i].text_growth = 1;
    }
    return TW_OK;
}

/* A null has no bytes: what follows it would move up. */
static tw_status refuse_nulls(const encoder *e, const batch *b, uint32_t first, uint32_t n, tw_error *err) {
    for (uint32_t i = 0; i < e->n_fields; i++) {
        const column *c = &b->columns[e->fields[i].column];
        for (uint32_t row = first; row < first + n && c->valid; row++)
            if (!column_is_valid(c, row))
                return encode_row_error(b, row, err, "a null in column '%.100s' cannot be written as bytes",
                                        e->schema->fields[e->fields[i].column].name);
    }
    return TW_OK;
}

/* After a sort the bytes lie anywhere: they are fetched some rows ahead. */
static inline void fetch(const view *v) {
    if (v->size <= VIEW_SMALL_MAX) return;
    __builtin_prefetch(v->data);
    if (v->size > 64) __builtin_prefetch(v->data + 64);
    __builtin_prefetch(v->data + v->size - 1);
}

static tw_status records_rows(const encoder *e, const batch *b, uint32_t first, uint32_t n, uint8_t **to,
                              tw_error *err) {
    enum { rows_ahead = 16 };
    TRY(refuse_nulls(e, b, first, n, err));
    uint8_t *at = *to;
    for (uint32_t row = first; row < first + n; row++) {
        for (uint32_t i = 0; i < e->n_fields; i++) {
            const view *v = (const view *)b->columns[e->fields[i].column].values + row;
            if (row + rows_ahead < b->rows) fetch(v + rows_ahead);
            at = put_raw(v, at);
        }
    }
    *to = at;
    return TW_OK;
}

const encode_class encode_records = {.plan = records_plan, .rows = records_rows, .ending = ".dat"};

/* `binary`: the column `content`, or the only one there is. */
static tw_status binary_plan(encoder *e, tw_error *err) {
    int chosen = encode_chosen_column(e->schema, "content");
    if (chosen < 0)
        return error_set(err, TW_ERR_JOB, "format 'binary' writes the column 'content' or the only one there is, "
                         "and here are %u others", e->schema->n);
    char name[200];
    if (!type_is_view(e->schema->fields[chosen].type))
        return error_set(err, TW_ERR_JOB, "format 'binary' writes a binary or string column, not %s",
                         encode_column_name(e, (uint32_t)chosen, name, sizeof name));
    TRY(encoder_set_fields(e, 1, err));
    e->fields[0].column = (uint32_t)chosen;
    e->fields[0].put = encode_put_raw;
    e->fields[0].text_growth = 1;
    return TW_OK;
}

const encode_class encode_binary = {.plan = binary_plan, .rows = records_rows, .ending = ".bin"};
