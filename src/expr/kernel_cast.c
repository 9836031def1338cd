/* Casts between texts and everything else. */
#include <string.h>

#include "data/number_text.h"
#include "data/time_text.h"
#include "data/utf8.h"
#include "expr/expr_internal.h"

static const char *no_such(type_kind k) {
    switch (k) {
    case TYPE_BOOL: return "the text is no bool";
    case TYPE_INT32: return "the text is no int32";
    case TYPE_INT64: return "the text is no int64";
    case TYPE_FLOAT32: return "the text is no float32";
    case TYPE_FLOAT64: return "the text is no float64";
    case TYPE_DATE: return "the text is no date";
    default: return "the text is no timestamp";
    }
}

tw_status call_parse(call *c) {
    const type_kind want = c->x->type->kind;
    uint64_t *bits = c->out;
    if (want == TYPE_BOOL) memset(bits, 0, c->words * sizeof *bits);
    FOR_ACTIVE(c, row) {
        const view *v = call_view(c, 0, row);
        const char *p = (const char *)view_data(v);
        parse_status status = PARSE_MALFORMED;
        bool one = false;
        switch (want) {
        case TYPE_BOOL:
            status = parse_bool(p, v->size, &one);
            bits[row >> 6] |= (uint64_t)one << (row & 63);
            break;
        case TYPE_INT32: status = parse_int32(p, v->size, (int32_t *)c->out + row); break;
        case TYPE_INT64: status = parse_int64(p, v->size, (int64_t *)c->out + row); break;
        case TYPE_FLOAT32: status = parse_float32(p, v->size, (float *)c->out + row); break;
        case TYPE_FLOAT64: status = parse_float64(p, v->size, (double *)c->out + row); break;
        case TYPE_DATE: status = parse_date(p, v->size, (int32_t *)c->out + row); break;
        default: status = parse_timestamp(p, v->size, (int64_t *)c->out + row); break;
        }
        if (status != PARSE_OK) TRY(call_bad_row(c, row, no_such(want)));
    }
    return TW_OK;
}

static size_t format_value(const vec *a, type_kind k, uint32_t i, char *to) {
    switch (k) {
    case TYPE_INT32: return format_int64(((const int32_t *)a->values)[i], to);
    case TYPE_INT64: return format_int64(((const int64_t *)a->values)[i], to);
    case TYPE_FLOAT32: return format_float32(((const float *)a->values)[i], to);
    case TYPE_FLOAT64: return format_float64(((const double *)a->values)[i], to);
    case TYPE_DATE: return format_date(((const int32_t *)a->values)[i], to);
    case TYPE_TIMESTAMP: return format_timestamp(((const int64_t *)a->values)[i], to);
    default: {
        bool one = ((const uint64_t *)a->values)[i >> 6] >> (i & 63) & 1;
        memcpy(to, one ? "true" : "false", one ? 4 : 5);
        return one ? 4 : 5;
    }
    }
}

tw_status call_format(call *c) {
    const vec *a = &c->args[0];
    const type_kind from = c->x->children[0]->type->kind;
    FOR_ACTIVE(c, row) {
        char text[FORMAT_NUMBER_MAX + FORMAT_TIME_MAX];
        uint8_t *to = (uint8_t *)text;
        size_t size = format_value(a, from, a->constant ? 0 : row, text);
        if (size > VIEW_SMALL_MAX) {
            TRY(call_text(c, size, &to));
            memcpy(to, text, size);
            call_text_done(c, size);
        }
        ((view *)c->out)[row] = view_make(to, (uint32_t)size);
    }
    return TW_OK;
}

tw_status call_to_string(call *c) {
    view *out = c->out;
    FOR_ACTIVE(c, row) {
        const view *v = call_view(c, 0, row);
        out[row] = *v;
        if (utf8_valid((const char *)view_data(v), v->size)) continue;
        out[row] = (view){0};
        TRY(call_bad_row(c, row, "the bytes are not UTF-8"));
    }
    return TW_OK;
}
