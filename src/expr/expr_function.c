/* The functions: one table of names, numbers of arguments, how they are written, and what builds the
 * node of a call. */
#include <string.h>

#include "base/text.h"
#include "data/utf8.h"
#include "expr/expr_internal.h"

typedef struct function function;

/* A call that is being typed. */
typedef struct site {
    typer *t;
    const function *f;
    uint32_t at;
    const ast *written;
    node **args;
    uint32_t n;
} site;

struct function {
    const char *name;
    uint32_t least, most; /* arguments */
    const char *usage;
    tw_status (*build)(const site *s, node **out);
    uint8_t operation; /* what `build` makes of it */
};

#define MANY EXPR_NODES_MAX

/* ---- arguments ---- */
static uint32_t argument_at(const site *s, uint32_t i) { return s->written->children[i]->at; }

static tw_status argument_error(const site *s, uint32_t i, const char *wanted) {
    char name[128];
    return expr_error(s->t->err, argument_at(s, i), "'%s' does not take %s here, only %s; %s",
                      s->f->name, node_type_name(s->args[i], name, sizeof name), wanted, s->f->usage);
}

static bool is_kind(const node *x, type_kind k) { return x->type && x->type->kind == k; }
static bool is_string(const node *x) { return is_kind(x, TYPE_STRING); }
static bool is_view(const node *x) { return x->type && type_is_view(x->type); }

static tw_status want_text(const site *s, uint32_t i) { /* string or binary */
    TRY(node_settle_null(s->t, &s->args[i], type_of(TYPE_STRING)));
    return is_view(s->args[i]) ? TW_OK : argument_error(s, i, "string or binary");
}

static tw_status want_string(const site *s, uint32_t i) {
    TRY(node_settle_null(s->t, &s->args[i], type_of(TYPE_STRING)));
    return is_string(s->args[i]) ? TW_OK : argument_error(s, i, "string");
}

static tw_status want_number(const site *s, uint32_t i) {
    TRY(node_settle_null(s->t, &s->args[i], type_of(TYPE_INT64)));
    return type_is_number(s->args[i]->type) ? TW_OK : argument_error(s, i, "a number");
}

static tw_status want_int64(const site *s, uint32_t i) {
    TRY(node_settle_null(s->t, &s->args[i], type_of(TYPE_INT64)));
    if (!type_is_integer(s->args[i]->type)) return argument_error(s, i, "an integer");
    return node_widen(s->t, s->args[i], type_of(TYPE_INT64), &s->args[i]);
}

static tw_status want_float64(const site *s, uint32_t i) {
    TRY(want_number(s, i));
    return node_widen(s->t, s->args[i], type_of(TYPE_FLOAT64), &s->args[i]);
}

static tw_status site_node(const site *s, tw_status (*kernel)(call *), const type *of, node **out) {
    *out = node_new(s->t, NODE_CALL, of, s->at, s->args, s->n);
    if (!*out) return expr_no_memory(s->t->err);
    (*out)->kernel = kernel;
    (*out)->operation = s->f->operation;
    return TW_OK;
}

/* ---- choices ---- */
static tw_status build_if(const site *s, node **out) {
    return type_if(s->t, s->at, s->args[0], s->args[1], s->args[2], out);
}

static tw_status build_coalesce(const site *s, node **out) {
    return type_coalesce(s->t, s->at, s->args, s->n, out);
}

static tw_status build_least(const site *s, node **out) {
    TRY(node_unify(s->t, s->f->name, s->at, s->args, s->n));
    const type *of = s->args[0]->type;
    *out = s->args[0];
    for (uint32_t i = 1; i < s->n; i++) {
        if (type_is_view(of) || of->kind == TYPE_BOOL) {
            node *made = node_new(s->t, NODE_CALL, of, s->at, (node *[]){*out, s->args[i]}, 2);
            if (!made) return expr_no_memory(s->t->err);
            made->kernel = type_is_view(of) ? call_least_text : call_least_bool;
            made->shares_text = type_is_view(of);
            made->operation = s->f->operation;
            TRY(node_finish(s->t, made, out));
        } else {
            TRY(type_arith_same(s->t, (arith_kind)s->f->operation, of, s->at, *out, s->args[i], out));
        }
    }
    return TW_OK;
}

/* ---- text ---- */
static tw_status build_case(const site *s, node **out) {
    TRY(want_string(s, 0));
    node *made;
    TRY(site_node(s, call_change_case, type_of(TYPE_STRING), &made));
    made->shares_text = true; /* text without letters to change */
    return node_finish(s->t, made, out);
}

static tw_status build_trim(const site *s, node **out) {
    TRY(want_text(s, 0));
    node *made;
    TRY(site_node(s, call_trim, s->args[0]->type, &made));
    made->shares_text = true;
    return node_finish(s->t, made, out);
}

static tw_status build_length(const site *s, node **out) {
    TRY(want_text(s, 0));
    return node_call(s->t, call_length, type_of(TYPE_INT64), s->at, s->args, 1, out);
}

static tw_status build_substr(const site *s, node **out) {
    TRY(want_text(s, 0));
    for (uint32_t i = 1; i < s->n; i++) TRY(want_int64(s, i));
    node *made;
    TRY(site_node(s, call_substr, s->args[0]->type, &made));
    made->shares_text = true;
    return node_finish(s->t, made, out);
}

static tw_status build_replace(const site *s, node **out) {
    for (uint32_t i = 0; i < 3; i++) TRY(want_text(s, i));
    TRY(node_unify(s->t, s->f->name, s->at, s->args, 3));
    node *made;
    TRY(site_node(s, call_replace, s->args[0]->type, &made));
    made->shares_text = true;
    return node_finish(s->t, made, out);
}

static tw_status build_find(const site *s, node **out) {
    TRY(want_text(s, 0));
    TRY(want_text(s, 1));
    node *made;
    TRY(site_node(s, call_find, type_of(TYPE_BOOL), &made));
    return node_finish(s->t, made, out);
}

static tw_status build_concat(const site *s, node **out) {
    const type *of = type_of(TYPE_STRING);
    for (uint32_t i = 0; i < s->n; i++) {
        TRY(node_settle_null(s->t, &s->args[i], type_of(TYPE_STRING)));
        if (is_kind(s->args[i], TYPE_BINARY)) of = type_of(TYPE_BINARY);
    }
    for (uint32_t i = 0; i < s->n; i++) {
        if (!is_view(s->args[i])) {
            TRY(node_cast(s->t, s->args[i], type_of(TYPE_STRING), argument_at(s, i), &s->args[i]));
        }
        TRY(node_widen(s->t, s->args[i], of, &s->args[i]));
    }
    /* More than a kernel takes: the first sixteen become one, and so on. */
    uint32_t n = s->n;
    while (n > EXPR_ARGUMENTS_MAX) {
        uint32_t made = 0;
        for (uint32_t i = 0; i < n; i += EXPR_ARGUMENTS_MAX) {
            uint32_t part = n - i < EXPR_ARGUMENTS_MAX ? n - i : EXPR_ARGUMENTS_MAX;
            TRY(node_call(s->t, call_concat, of, s->at, s->args + i, part, &s->args[made++]));
        }
        n = made;
    }
    return node_call(s->t, call_concat, of, s->at, s->args, n, out);
}

tw_status type_like(typer *t, uint32_t at, node *text, node *pattern, node **out) {
    char x[128], y[128];
    TRY(node_settle_null(t, &text, type_of(TYPE_STRING)));
    TRY(node_settle_null(t, &pattern, type_of(TYPE_STRING)));
    if (!is_view(text) || !is_view(pattern)) {
        return expr_error(t->err, at, "operator 'like' does not take %s and %s",
                          node_type_name(text, x, sizeof x), node_type_name(pattern, y, sizeof y));
    }
    node *made = node_new(t, NODE_CALL, type_of(TYPE_BOOL), at, (node *[]){text, pattern}, 2);
    if (!made) return expr_no_memory(t->err);
    made->kernel = call_like;
    made->operation = is_string(text); /* `_` is a code point, not a byte */
    if (node_is_constant(pattern) && !pattern->is_null) {
        const view *v = &pattern->value.text;
        made->info = like_compile(&t->e->memory, view_data(v), v->size);
        if (!made->info) return expr_no_memory(t->err);
    }
    return node_finish(t, made, out);
}

static tw_status build_matches(const site *s, node **out) {
    TRY(want_text(s, 0));
    TRY(want_text(s, 1));
    const node *pattern = s->args[1];
    if (!node_is_constant(pattern) || pattern->is_null) {
        return expr_error(s->t->err, argument_at(s, 1), "the pattern of 'matches' must be a literal text");
    }
    const view *v = &pattern->value.text;
    uint32_t index;
    TRY(regex_compile(s->t->e, view_data(v), v->size, is_string(s->args[0]), argument_at(s, 1), &index,
                      s->t->err));
    node *made = node_new(s->t, NODE_CALL, type_of(TYPE_BOOL), s->at, s->args, 1);
    if (!made) return expr_no_memory(s->t->err);
    made->kernel = call_matches;
    made->keep_apart = true; /* needs a scratch with the state of this one pattern */
    made->column = index;
    return node_finish(s->t, made, out);
}

/* ---- numbers ---- */
static tw_status unary_node(const site *s, unary_kind k, node **out) {
    const type *of = s->args[0]->type;
    node *made = node_new(s->t, NODE_CALL, of, s->at, s->args, 1);
    if (!made) return expr_no_memory(s->t->err);
    made->kernel = call_unary;
    made->operation = (uint8_t)k;
    made->number = (uint8_t)number_of(of);
    made->fast.unary = s->t->e->kernels->unary[k][made->number];
    return node_finish(s->t, made, out);
}

static tw_status build_abs(const site *s, node **out) {
    TRY(want_number(s, 0));
    return unary_node(s, UNARY_ABS, out);
}

static tw_status build_floor(const site *s, node **out) { /* floor, ceil */
    TRY(want_number(s, 0));
    *out = s->args[0];
    return type_is_integer(s->args[0]->type) ? TW_OK : unary_node(s, (unary_kind)s->f->operation, out);
}

static tw_status build_round(const site *s, node **out) {
    if (s->n == 1) return build_floor(s, out);
    TRY(want_number(s, 0));
    TRY(want_int64(s, 1));
    node *made;
    TRY(site_node(s, call_round_digits, s->args[0]->type, &made));
    made->number = (uint8_t)number_of(made->type);
    return node_finish(s->t, made, out);
}

static tw_status build_sqrt(const site *s, node **out) {
    TRY(want_float64(s, 0));
    return unary_node(s, UNARY_SQRT, out);
}

static tw_status build_function(const site *s, node **out) {
    TRY(want_float64(s, 0));
    node *made;
    TRY(site_node(s, call_function, type_of(TYPE_FLOAT64), &made));
    return node_finish(s->t, made, out);
}

static tw_status build_power(const site *s, node **out) {
    TRY(want_float64(s, 0));
    TRY(want_float64(s, 1));
    return node_call(s->t, call_power, type_of(TYPE_FLOAT64), s->at, s->args, 2, out);
}

/* ---- time, hash ---- */
static tw_status build_time_part(const site *s, node **out) {
    TRY(node_settle_null(s->t, &s->args[0], type_of(TYPE_TIMESTAMP)));
    if (s->args[0]->from_text) {
        TRY(node_cast(s->t, s->args[0], type_of(TYPE_TIMESTAMP), argument_at(s, 0), &s->args[0]));
    }
    if (!is_kind(s->args[0], TYPE_DATE) && !is_kind(s->args[0], TYPE_TIMESTAMP)) {
        return argument_error(s, 0, "date or timestamp");
    }
    node *made;
    TRY(site_node(s, call_time_part, type_of(TYPE_INT64), &made));
    made->from = (uint8_t)number_of(s->args[0]->type);
    return node_finish(s->t, made, out);
}

static tw_status build_hash(const site *s, node **out) {
    for (uint32_t i = 0; i < s->n; i++) {
        TRY(node_settle_null(s->t, &s->args[i], type_of(TYPE_STRING)));
        const type *of = s->args[i]->type;
        if (type_is_nested(of) || of->kind == TYPE_VECTOR) return argument_error(s, i, "a plain value");
        if (!node_is_constant(s->args[i])) continue;
        node *fill = node_new(s->t, NODE_FILL, of, s->at, &s->args[i], 1);
        TRY(node_finish(s->t, fill, &s->args[i]));
    }
    return node_call(s->t, call_hash, type_of(TYPE_INT64), s->at, s->args, s->n, out);
}

/* ---- casts ---- */
static tw_status cast_error(typer *t, const node *x, const type *want, uint32_t at) {
    char from[128], to[128];
    return expr_error(t->err, at, "there is no cast from %s to %s", node_type_name(x, from, sizeof from),
                      type_name(want, to, sizeof to));
}

/* The kernel between two kinds, or NULL. */
static tw_status (*cast_kernel(const type *from, const type *to))(call *) {
    const type_kind a = from->kind, b = to->kind;
    const bool from_number = type_is_number(from), to_number = type_is_number(to);
    if (a == TYPE_STRING && b == TYPE_BINARY) return call_same;
    if (a == TYPE_BINARY && b == TYPE_STRING) return call_to_string;
    if (type_is_view(from)) return call_parse;
    if (type_is_view(to)) return call_format;
    if (a == TYPE_BOOL) return to_number ? call_bool_to_number : NULL;
    if (b == TYPE_BOOL) return from_number ? call_number_to_bool : NULL;
    if (a == TYPE_DATE && b == TYPE_TIMESTAMP) return call_date_to_timestamp;
    if (a == TYPE_TIMESTAMP && b == TYPE_DATE) return call_timestamp_to_date;
    /* A date is its number of days, a timestamp its microseconds. */
    const bool time_to_integer = !from_number && type_is_integer(to);
    const bool integer_to_time = !to_number && type_is_integer(from);
    if ((from_number && to_number) || time_to_integer || integer_to_time) {
        return number_of(from) == number_of(to) ? call_same : call_convert;
    }
    return NULL;
}

tw_status node_cast(typer *t, node *x, const type *want, uint32_t at, node **out) {
    *out = x;
    if (!x->type) return node_settle_null(t, out, want);
    if (x->type == want) {
        /* an explicit cast settles the type of a literal */
        if (!node_is_constant(x) || (!x->literal && !x->from_text)) return TW_OK;
        node *settled = node_new(t, NODE_CONSTANT, want, at, NULL, 0);
        if (!settled) return expr_no_memory(t->err);
        settled->value = x->value;
        return node_finish(t, settled, out);
    }
    if (type_is_nested(x->type) || x->type->kind == TYPE_VECTOR) return cast_error(t, x, want, at);
    tw_status (*kernel)(call *) = cast_kernel(x->type, want);
    if (!kernel) return cast_error(t, x, want, at);
    node *made = node_new(t, NODE_CALL, want, at, &x, 1);
    if (!made) return expr_no_memory(t->err);
    made->kernel = kernel;
    made->from = (uint8_t)number_of(x->type);
    made->number = (uint8_t)number_of(want);
    made->shares_text = type_is_view(x->type) && type_is_view(want);
    if (kernel == call_convert) made->fast.unary = t->e->kernels->convert[made->from][made->number];
    return node_finish(t, made, out);
}

static tw_status build_cast(const site *s, node **out) {
    return node_cast(s->t, s->args[0], type_of((type_kind)s->f->operation), s->at, out);
}

/* ---- the table ---- */
static const function functions[] = {
    {"if", 3, 3, "if(condition, then, else)", build_if, 0},
    {"coalesce", 1, MANY, "coalesce(a, b, ...)", build_coalesce, 0},
    {"lower", 1, 1, "lower(text)", build_case, 0},
    {"upper", 1, 1, "upper(text)", build_case, 1},
    {"trim", 1, 1, "trim(text)", build_trim, 0},
    {"length", 1, 1, "length(text)", build_length, 0},
    {"substr", 2, 3, "substr(text, from, length)", build_substr, 0},
    {"replace", 3, 3, "replace(text, what, by)", build_replace, 0},
    {"contains", 2, 2, "contains(text, part)", build_find, FIND_CONTAINS},
    {"starts_with", 2, 2, "starts_with(text, part)", build_find, FIND_START},
    {"ends_with", 2, 2, "ends_with(text, part)", build_find, FIND_END},
    {"matches", 2, 2, "matches(text, 'pattern')", build_matches, 0},
    {"concat", 1, MANY, "concat(a, b, ...)", build_concat, 0},
    {"abs", 1, 1, "abs(number)", build_abs, 0},
    {"round", 1, 2, "round(number, digits)", build_round, UNARY_ROUND},
    {"floor", 1, 1, "floor(number)", build_floor, UNARY_FLOOR},
    {"ceil", 1, 1, "ceil(number)", build_floor, UNARY_CEIL},
    {"sqrt", 1, 1, "sqrt(number)", build_sqrt, 0},
    {"exp", 1, 1, "exp(number)", build_function, FUNCTION_EXP},
    {"ln", 1, 1, "ln(number)", build_function, FUNCTION_LN},
    {"log10", 1, 1, "log10(number)", build_function, FUNCTION_LOG10},
    {"pow", 2, 2, "pow(base, exponent)", build_power, 0},
    {"least", 1, MANY, "least(a, b, ...)", build_least, ARITH_LEAST},
    {"greatest", 1, MANY, "greatest(a, b, ...)", build_least, ARITH_GREATEST},
    {"year", 1, 1, "year(time)", build_time_part, PART_YEAR},
    {"month", 1, 1, "month(time)", build_time_part, PART_MONTH},
    {"day", 1, 1, "day(time)", build_time_part, PART_DAY},
    {"hour", 1, 1, "hour(time)", build_time_part, PART_HOUR},
    {"hash", 1, EXPR_ARGUMENTS_MAX, "hash(a, b, ...)", build_hash, 0},
    {"bool", 1, 1, "bool(value)", build_cast, TYPE_BOOL},
    {"int32", 1, 1, "int32(value)", build_cast, TYPE_INT32},
    {"int64", 1, 1, "int64(value)", build_cast, TYPE_INT64},
    {"float32", 1, 1, "float32(value)", build_cast, TYPE_FLOAT32},
    {"float64", 1, 1, "float64(value)", build_cast, TYPE_FLOAT64},
    {"date", 1, 1, "date(value)", build_cast, TYPE_DATE},
    {"timestamp", 1, 1, "timestamp(value)", build_cast, TYPE_TIMESTAMP},
    {"string", 1, 1, "string(value)", build_cast, TYPE_STRING},
    {"binary", 1, 1, "binary(value)", build_cast, TYPE_BINARY},
};

/* Aggregates belong to `group`; whoever looks for them here is told. */
static const char *const aggregates[] = {"count", "count_distinct", "sum",      "min",  "max",
                                         "mean",  "stddev",         "variance", "first", "last",
                                         "quantile", "collect"};

static tw_status unknown_function(typer *t, const ast *a) {
    for (size_t i = 0; i < sizeof aggregates / sizeof *aggregates; i++) {
        if (strcmp(a->text, aggregates[i]) == 0) {
            return expr_error(t->err, a->at, "'%s' is an aggregate, known only to 'group'", a->text);
        }
    }
    struct nearest near = {.name = a->text};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) nearest_try(&near, functions[i].name);
    if (near.best) {
        return expr_error(t->err, a->at, "unknown function '%.200s'; did you mean '%s'?", a->text, near.best);
    }
    return expr_error(t->err, a->at, "unknown function '%.200s'", a->text);
}

tw_status type_call(typer *t, const ast *a, node **arguments, uint32_t n, node **out) {
    const function *f = NULL;
    for (size_t i = 0; i < sizeof functions / sizeof *functions && !f; i++) {
        if (strcmp(a->text, functions[i].name) == 0) f = &functions[i];
    }
    if (!f) return unknown_function(t, a);
    if (n < f->least || n > f->most) {
        return expr_error(t->err, a->at, "'%s' takes %s %u argument%s, not %u; write %s", f->name,
                          n < f->least ? (f->least == f->most ? "exactly" : "at least")
                                       : (f->least == f->most ? "exactly" : "at most"),
                          n < f->least ? f->least : f->most,
                          (n < f->least ? f->least : f->most) == 1 ? "" : "s", n, f->usage);
    }
    site s = {.t = t, .f = f, .at = a->at, .written = a, .args = arguments, .n = n};
    return f->build(&s, out);
}
