/* infer.c: what all inference shares, and that of edges. */
#include <stdlib.h>

#include "data/number_text.h"
#include "data/scan.h"
#include "data/time_text.h"
#include "io/infer_internal.h"

unsigned value_types(const uint8_t *text, size_t size) {
    const char *p = (const char *)text;
    union {
        bool truth;
        int64_t integer;
        double number;
        int32_t days;
    } value;
    parse_status status = parse_int64(p, size, &value.integer);
    if (status == PARSE_OK) return IS_INT | IS_FLOAT;
    if (parse_float64(p, size, &value.number) == PARSE_OK) return IS_FLOAT;
    if (parse_bool(p, size, &value.truth) == PARSE_OK) return IS_BOOL;
    if (parse_date(p, size, &value.days) == PARSE_OK) return IS_DATE | IS_TIMESTAMP;
    if (parse_timestamp(p, size, &value.integer) == PARSE_OK) return IS_TIMESTAMP;
    return 0;
}

const type *type_of_values(unsigned types, bool any) {
    if (!any) return type_of(TYPE_STRING);
    if (types & IS_BOOL) return type_of(TYPE_BOOL);
    if (types & IS_INT) return type_of(TYPE_INT64);
    if (types & IS_FLOAT) return type_of(TYPE_FLOAT64);
    if (types & IS_DATE) return type_of(TYPE_DATE);
    return type_of(types & IS_TIMESTAMP ? TYPE_TIMESTAMP : TYPE_STRING);
}

tw_status inference_allocate(size_t bytes, const inference_class *class, format *f, memory *m, inference **out,
                             tw_error *err) {
    inference *n = calloc(1, bytes);
    *out = n;
    if (!n) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    n->class = class;
    n->format = f;
    n->memory = m;
    return TW_OK;
}

tw_status inference_set_schema(inference *n, const char *const *names, const type *const *types,
                               const bool *inferred, uint32_t count, tw_error *err) {
    format *f = n->format;
    f->inferred = malloc(count + 1);
    if (!f->inferred) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    for (uint32_t i = 0; i < count; i++) f->inferred[i] = inferred ? inferred[i] : true;
    f->sampled_rows = n->rows;
    return schema_new(names, types, count, &f->schema, err);
}

/* ---- edges: integers or text, with a weight if any line has one ---- */

typedef struct edges_inference {
    inference base;
    bool text, weights;
} edges_inference;

static bool is_space(uint8_t c) { return c == ' ' || (uint8_t)(c - '\t') < 5; }

static void look_at_line(edges_inference *n, const uint8_t *p, const uint8_t *end) {
    for (unsigned fields = 0;; fields++) {
        while (p < end && is_space(*p)) p++;
        if (p == end || (fields == 0 && *p == '#')) break;
        const uint8_t *begin = p;
        while (p < end && !is_space(*p)) p++;
        int64_t value;
        if (fields == 0) n->base.rows++;
        if (fields < 2) n->text |= parse_int64((const char *)begin, (size_t)(p - begin), &value) != PARSE_OK;
        else n->weights = true;
    }
}

static tw_status edges_add(inference *base, const span *s, const char *file, bool file_start, tw_error *err) {
    for (size_t at = 0; at < s->size && base->rows < INFER_ROWS;) {
        size_t end = at + find_byte(s->bytes + at, s->size - at, '\n');
        look_at_line((edges_inference *)base, s->bytes + at, s->bytes + end);
        at = end + 1;
    }
    return TW_OK;
}

static tw_status edges_finish(inference *base, tw_error *err) {
    const edges_inference *n = (const edges_inference *)base;
    const char *const names[] = {"from", "to", "weight"};
    const type *vertex = type_of(n->text ? TYPE_STRING : TYPE_INT64);
    const type *const types[] = {vertex, vertex, type_of(TYPE_FLOAT64)};
    return inference_set_schema(base, names, types, NULL, n->weights ? 3 : 2, err);
}

static const inference_class edges_class = {edges_add, edges_finish, NULL};

tw_status inference_new(format *f, memory *m, inference **out, tw_error *err) {
    if (f->kind == FORMAT_CSV) return csv_inference_new(f, m, out, err);
    if (f->kind == FORMAT_JSON) return json_inference_new(f, m, out, err);
    return inference_allocate(sizeof(edges_inference), &edges_class, f, m, out, err);
}

tw_status inference_add(inference *n, const span *s, const char *file, bool file_start, bool *enough,
                        tw_error *err) {
    TRY(n->class->add(n, s, file, file_start, err));
    n->bytes += s->size;
    *enough = n->enough || n->rows >= INFER_ROWS || n->bytes >= INFER_BYTES;
    return TW_OK;
}

tw_status inference_finish(inference *n, tw_error *err) { return n->class->finish(n, err); }

void inference_free(inference *n) {
    if (!n) return;
    if (n->class->free) n->class->free(n);
    free(n);
}
