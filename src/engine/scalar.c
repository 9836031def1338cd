/* scalar.c: what one scalar means as the value of an option. */
#include <math.h>
#include <string.h>

#include "base/quantity.h"
#include "data/number_text.h"
#include "engine/descriptor_internal.h"

const option_kind option_kinds[OPTION_TYPES] = {
#define X(kind, what, name, shape, item) [kind] = {what, name, OPTION_IS_##shape, OPTION_##item},
    OPTION_TABLE(X)
#undef X
};

static bool has_max(const option *o) { return o->max != 0 && o->max != INT64_MAX; }

/* Writes bounds as people read them: a size or a time in its largest whole unit. */
static void append_bound(option_type as, int64_t bound, struct text *out) {
    static const struct {
        option_type as;
        const char *name;
        int64_t factor;
    } units[] = {
        {OPTION_SIZE, "GiB", INT64_C(1) << 30},
        {OPTION_SIZE, "MiB", 1 << 20},
        {OPTION_SIZE, "KiB", 1 << 10},
        {OPTION_DURATION, "h", INT64_C(3600000000)},
        {OPTION_DURATION, "s", 1000000},
        {OPTION_DURATION, "ms", 1000},
        {OPTION_DURATION, "us", 1},
    };
    for (size_t i = 0; bound != 0 && i < COUNT_OF(units); i++) {
        if (units[i].as != as || bound % units[i].factor != 0) continue;
        text_printf(out, "%lld%s", (long long)(bound / units[i].factor), units[i].name);
        return;
    }
    text_printf(out, "%lld%s", (long long)bound, as == OPTION_DURATION ? "s" : "");
}

static void append_range(const option *o, option_type as, struct text *out) {
    if (as == OPTION_FLOAT && (o->float_min != 0 || o->float_max != 0))
        text_printf(out, " from %g to %g", o->float_min, o->float_max);
    if (as != OPTION_INT && as != OPTION_SIZE && as != OPTION_DURATION) return;
    if (o->min == 0 && o->max == 0) return;
    text_append_string(out, has_max(o) ? " from " : " of at least ");
    append_bound(as, o->min, out);
    if (!has_max(o)) return;
    text_append_string(out, " to ");
    append_bound(as, o->max, out);
}

tw_status option_describe(const option *o, option_type as, struct text *out) {
    if (as == OPTION_ENUM) {
        text_append_string(out, "one of ");
        for (size_t i = 0; o->values[i]; i++) text_printf(out, "%s%s", i ? ", " : "", o->values[i]);
        if (o->section) text_printf(out, ", or a map with '%s'", o->section->options[0].name);
        return text_append(out, "", 0);
    }
    text_append_string(out, option_kinds[as].what);
    append_range(o, option_kinds[as].item, out);
    unsigned flags = as == o->type ? o->flags : 0;
    if (flags & OPTION_OR_ONE) text_append_string(out, ", or one of them");
    if (flags & OPTION_OR_MAP) text_append_string(out, ", or a map");
    if (flags & OPTION_OR_LIST) text_append_string(out, ", or a list");
    return text_append(out, "", 0);
}

static tw_status check_range(const option *o, int64_t value, tw_error *err) {
    if (o->min == 0 && o->max == 0) return TW_OK;
    if (value >= o->min && (!has_max(o) || value <= o->max)) return TW_OK;
    return error_set(err, TW_ERR_JOB, value < o->min ? "it is too small" : "it is too large");
}

static tw_status read_enum(const option *o, const char *string, scalar *out, tw_error *err) {
    struct nearest near = {string};
    for (int i = 0; o->values[i]; i++) {
        if (strcmp(o->values[i], string) == 0) {
            out->integer = i;
            return TW_OK;
        }
        nearest_try(&near, o->values[i]);
    }
    if (near.best) return error_set(err, TW_ERR_JOB, "did you mean '%s'?", near.best);
    return error_set(err, TW_ERR_JOB, "%s", "");
}

static tw_status read_type(const char *string, scalar *out, tw_error *err) {
    struct nearest near = {string};
    out->type = type_parse(string);
    if (out->type) return TW_OK;
#define X(kind, name, bytes) nearest_try(&near, name);
    TYPE_TABLE(X)
#undef X
    if (near.best) return error_set(err, TW_ERR_JOB, "did you mean '%s'?", near.best);
    return error_set(err, TW_ERR_JOB, "%s", "");
}

static tw_status check_not_blank(const char *string, tw_error *err) {
    if (string[strspn(string, " \t\r\n")]) return TW_OK;
    return error_set(err, TW_ERR_JOB, "it is empty");
}

static tw_status read_bool(const char *string, scalar *out, tw_error *err) {
    bool truth;
    if (parse_bool(string, strlen(string), &truth) != PARSE_OK)
        return error_set(err, TW_ERR_JOB, "%s", "");
    out->integer = truth;
    return TW_OK;
}

static tw_status read_int(const char *string, scalar *out, tw_error *err) {
    parse_status status = parse_int64(string, strlen(string), &out->integer);
    if (status == PARSE_OK) return TW_OK;
    return error_set(err, TW_ERR_JOB, "%s", status == PARSE_RANGE ? "it is out of range" : "");
}

static tw_status read_float(const option *o, const char *string, scalar *out, tw_error *err) {
    parse_status status = parse_float64(string, strlen(string), &out->number);
    if (status == PARSE_MALFORMED || isnan(out->number)) return error_set(err, TW_ERR_JOB, "%s", "");
    if (status == PARSE_RANGE || isinf(out->number))
        return error_set(err, TW_ERR_JOB, "it is out of range");
    if (o->float_min == 0 && o->float_max == 0) return TW_OK;
    if (out->number < o->float_min) return error_set(err, TW_ERR_JOB, "it is too small");
    if (out->number > o->float_max) return error_set(err, TW_ERR_JOB, "it is too large");
    return TW_OK;
}

tw_status scalar_read(const option *o, option_type as, const char *string, scalar *out,
                      tw_error *err) {
    *out = (scalar){0};
    switch (as) {
    case OPTION_BOOL: return read_bool(string, out, err);
    case OPTION_INT: TRY(read_int(string, out, err)); break;
    case OPTION_SIZE: TRY(parse_size_bytes(string, &out->integer, err)); break;
    case OPTION_DURATION: TRY(parse_duration_us(string, &out->integer, err)); break;
    case OPTION_FLOAT: return read_float(o, string, out, err);
    case OPTION_RATE: return parse_rate(string, &out->number, err);
    case OPTION_ENUM: return read_enum(o, string, out, err);
    case OPTION_TYPE: return read_type(string, out, err);
    case OPTION_PATH:
    case OPTION_EXPRESSION:
    case OPTION_COLUMN:
    case OPTION_FLOW: return check_not_blank(string, err);
    default: return TW_OK;
    }
    return check_range(o, out->integer, err);
}
