/* encode_libsvm.c: `label index:value ...` a line. The label is the column `label` or the first one; the
 * features are one sparse or vector column, or all others, which must be numbers, numbered from 1. What
 * is null or zero is left out, but for zeros that a sparse value holds. */
#include "io/encode_internal.h"

#define FEATURE_BYTES_MAX 40 /* blank, index, colon, value */

static uint8_t *put_feature(int64_t index, float value, uint8_t *to) {
    *to++ = ' ';
    to += format_int64(index, (char *)to);
    *to++ = ':';
    return to + format_float32(value, (char *)to);
}

static uint8_t *put_sparse(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    const uint32_t *offsets = c->values;
    for (uint32_t i = offsets[row]; i < offsets[row + 1]; i++)
        to = put_feature(((const int32_t *)c->children[0].values)[i], ((const float *)c->children[1].values)[i], to);
    return to;
}

static uint8_t *put_vector(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    uint32_t width = c->type->width;
    const float *values = (const float *)c->values + (size_t)row * width;
    for (uint32_t i = 0; i < width; i++)
        if (values[i] != 0) to = put_feature((int64_t)i + 1, values[i], to);
    return to;
}

static bool is_zero(const column *c, uint32_t row) {
    switch (c->type->kind) {
    case TYPE_INT32: return ((const int32_t *)c->values)[row] == 0;
    case TYPE_INT64: return ((const int64_t *)c->values)[row] == 0;
    case TYPE_FLOAT32: return ((const float *)c->values)[row] == 0;
    default: return ((const double *)c->values)[row] == 0;
    }
}

/* `number` of the feature is where the field stands among the fields, the label being 0. */
static uint8_t *put_number(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    if (is_zero(c, row)) return to;
    *to++ = ' ';
    to += format_int64(f - f->encoder->fields, (char *)to);
    *to++ = ':';
    return encode_plain_put(c->type)(f, c, row, to);
}

static tw_status plan_feature(encoder *e, encode_field *f, uint32_t index, tw_error *err) {
    const type *t = e->schema->fields[index].type;
    char name[200];
    f->column = index;
    f->bytes_max = FEATURE_BYTES_MAX;
    if (type_is_number(t)) {
        f->put = put_number;
    } else if (t->kind == TYPE_VECTOR && e->schema->n == 2) {
        f->put = put_vector;
        f->bytes_max = (size_t)t->width * FEATURE_BYTES_MAX;
    } else if (t->kind == TYPE_SPARSE && e->schema->n == 2) {
        f->put = put_sparse;
        f->nested = true;
    } else {
        return error_set(err, TW_ERR_JOB, "format 'libsvm' writes a label and then one sparse or vector column, or "
                         "numbers, not %s", encode_column_name(e, index, name, sizeof name));
    }
    return TW_OK;
}

static tw_status libsvm_plan(encoder *e, tw_error *err) {
    const schema *s = e->schema;
    int found = schema_find(s, "label");
    uint32_t label = found < 0 ? 0 : (uint32_t)found, next = 0;
    char name[200];
    if (!type_is_number(s->fields[label].type))
        return error_set(err, TW_ERR_JOB, "format 'libsvm' needs a number as its label, not %s",
                         encode_column_name(e, label, name, sizeof name));
    TRY(encoder_set_fields(e, s->n, err));
    encode_field *f = &e->fields[next++];
    f->column = label;
    f->put = encode_plain_put(s->fields[label].type);
    f->bytes_max = encode_plain_bytes_max(s->fields[label].type) + 1;
    for (uint32_t i = 0; i < s->n; i++)
        if (i != label) TRY(plan_feature(e, &e->fields[next++], i, err));
    return TW_OK;
}

static tw_status libsvm_rows(const encoder *e, const batch *b, uint32_t first, uint32_t n, uint8_t **to,
                             tw_error *err) {
    const column *labels = &b->columns[e->fields[0].column];
    uint8_t *at = *to;
    for (uint32_t row = first; row < first + n; row++) {
        if (!column_is_valid(labels, row))
            return encode_row_error(b, row, err, "a null in column '%.100s' cannot be a label",
                                    e->schema->fields[e->fields[0].column].name);
        for (uint32_t i = 0; i < e->n_fields; i++) {
            const encode_field *f = &e->fields[i];
            const column *c = &b->columns[f->column];
            if (column_is_valid(c, row)) at = f->put(f, c, row, at);
        }
        *at++ = '\n';
    }
    *to = at;
    return TW_OK;
}

const encode_class encode_libsvm = {.plan = libsvm_plan, .rows = libsvm_rows, .lines = true, .ending = ".libsvm"};
