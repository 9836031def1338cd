/* encode_edges.c: `from to` or `from to weight` a line, a blank between. */
#include <string.h>

#include "io/encode_internal.h"

static tw_status edges_plan(encoder *e, tw_error *err) {
    static const char *const names[] = {"from", "to", "weight"};
    const schema *s = e->schema;
    uint32_t n = schema_find(s, "weight") >= 0 ? 3 : 2;
    TRY(encoder_set_fields(e, n, err));
    for (uint32_t i = 0; i < n; i++) {
        int at = schema_find(s, names[i]);
        if (at < 0) return error_set(err, TW_ERR_JOB, "format 'edges' writes 'from', 'to' and perhaps 'weight', and "
                                     "there is no column '%s'", names[i]);
        encode_field *f = &e->fields[i];
        const type *t = s->fields[at].type;
        char name[200];
        f->column = (uint32_t)at;
        f->put = type_is_view(t) ? encode_put_raw : encode_plain_put(t);
        f->text_growth = type_is_view(t);
        if (!f->put || t->kind == TYPE_BINARY || (i == 2 && !type_is_number(t)))
            return error_set(err, TW_ERR_JOB, "format 'edges' cannot write %s",
                             encode_column_name(e, (uint32_t)at, name, sizeof name));
        f->bytes_max = (type_is_view(t) ? 0 : encode_plain_bytes_max(t)) + 1;
    }
    return TW_OK;
}

/* What would be read back as something else. */
static const char *fault(const column *c, uint32_t row, bool first) {
    if (!column_is_valid(c, row)) return "a null";
    if (!type_is_view(c->type)) return NULL;
    const view *v = (const view *)c->values + row;
    const uint8_t *p = view_data(v);
    if (v->size == 0) return "an empty name";
    if (first && p[0] == '#') return "a name that begins with '#'";
    for (uint32_t i = 0; i < v->size; i++)
        if (p[i] == ' ' || (p[i] >= '\t' && p[i] <= '\r')) return "a name with white space";
    return NULL;
}

static tw_status edges_rows(const encoder *e, const batch *b, uint32_t first, uint32_t n, uint8_t **to, tw_error *err) {
    for (uint32_t i = 0; i < e->n_fields; i++) {
        const column *c = &b->columns[e->fields[i].column];
        for (uint32_t row = first; row < first + n && (c->valid || type_is_view(c->type)); row++) {
            const char *what = fault(c, row, i == 0);
            if (what) return encode_row_error(b, row, err, "%s in column '%.100s' cannot be written as an edge", what,
                                              e->schema->fields[e->fields[i].column].name);
        }
    }
    uint8_t *at = *to;
    for (uint32_t row = first; row < first + n; row++) {
        for (uint32_t i = 0; i < e->n_fields; i++) {
            const encode_field *f = &e->fields[i];
            at = f->put(f, &b->columns[f->column], row, at);
            *at++ = ' ';
        }
        at[-1] = '\n';
    }
    *to = at;
    return TW_OK;
}

const encode_class encode_edges = {.plan = edges_plan, .rows = edges_rows, .lines = true, .ending = ".edges"};
