/* encode_lines.c: the column `line`, or the only one there is, a value a line; null is an empty line. */
#include "io/encode_internal.h"

static tw_status lines_plan(encoder *e, tw_error *err) {
    int chosen = encode_chosen_column(e->schema, "line");
    if (chosen < 0)
        return error_set(err, TW_ERR_JOB, "format 'lines' writes the column 'line' or the only one there is, and "
                         "here are %u others: select one, or write csv", e->schema->n);
    TRY(encoder_set_fields(e, 1, err));
    encode_field *f = e->fields;
    const type *t = e->schema->fields[chosen].type;
    f->column = (uint32_t)chosen;
    f->put = type_is_view(t) ? encode_put_raw : encode_plain_put(t);
    f->text_growth = type_is_view(t);
    f->bytes_max = type_is_view(t) ? 1 : encode_plain_bytes_max(t) + 1;
    char name[200];
    if (!f->put)
        return error_set(err, TW_ERR_JOB, "format 'lines' has no text for %s",
                         encode_column_name(e, (uint32_t)chosen, name, sizeof name));
    return TW_OK;
}

static tw_status lines_rows(const encoder *e, const batch *b, uint32_t first, uint32_t n, uint8_t **to, tw_error *err) {
    const encode_field *f = e->fields;
    const column *c = &b->columns[f->column];
    uint8_t *at = *to;
    for (uint32_t row = first; row < first + n; row++) {
        if (column_is_valid(c, row)) at = f->put(f, c, row, at);
        *at++ = '\n';
    }
    *to = at;
    return TW_OK;
}

const encode_class encode_lines = {.plan = lines_plan, .rows = lines_rows, .lines = true, .ending = ".txt"};
