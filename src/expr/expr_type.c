/* Operators: which types they take, the casts between, and what is known without running. */
#include <math.h>
#include <string.h>

#include "base/text.h"
#include "data/time_text.h"
#include "expr/expr_internal.h"

const char *node_type_name(const node *x, char *out, size_t capacity) {
    if (x->type) return type_name(x->type, out, capacity);
    memcpy(out, "null", 5);
    return out;
}

number_kind number_of(const type *t) {
    switch (t->kind) {
    case TYPE_INT32:
    case TYPE_DATE: return NUMBER_I32;
    case TYPE_FLOAT32: return NUMBER_F32;
    case TYPE_FLOAT64: return NUMBER_F64;
    default: return NUMBER_I64;
    }
}

static bool is_time(const node *x) {
    return x->type && (x->type->kind == TYPE_DATE || x->type->kind == TYPE_TIMESTAMP);
}
static bool is_number(const node *x) { return x->type && type_is_number(x->type); }
static bool is_view(const node *x) { return x->type && type_is_view(x->type); }
static bool is_kind(const node *x, type_kind k) { return x->type && x->type->kind == k; }

/* ---- conversions ---- */
tw_status node_settle_null(typer *t, node **x, const type *want) {
    if ((*x)->type) return TW_OK;
    return node_finish(t, node_null(t, want, (*x)->at), x);
}

static tw_status convert_number(typer *t, node *x, const type *want, node **out) {
    node *made = node_new(t, NODE_CALL, want, x->at, &x, 1);
    if (!made) return expr_no_memory(t->err);
    made->from = (uint8_t)number_of(x->type);
    made->number = (uint8_t)number_of(want);
    made->kernel = made->from == made->number ? call_same : call_convert;
    made->fast.unary = t->e->kernels->convert[made->from][made->number];
    return node_finish(t, made, out);
}

tw_status node_widen(typer *t, node *x, const type *want, node **out) {
    *out = x;
    if (x->type == want) return TW_OK;
    if (!x->type) return node_settle_null(t, out, want);
    if (is_kind(x, TYPE_DATE) && want->kind == TYPE_TIMESTAMP) {
        return node_call(t, call_date_to_timestamp, want, x->at, &x, 1, out);
    }
    if (is_view(x)) {
        node *made = node_new(t, NODE_CALL, want, x->at, &x, 1);
        if (!made) return expr_no_memory(t->err);
        made->kernel = call_same;
        made->shares_text = true;
        return node_finish(t, made, out);
    }
    return convert_number(t, x, want, out);
}

/* A text literal beside a date or a timestamp is one. */
static tw_status settle_time_text(typer *t, node **x, const node *beside) {
    if (!(*x)->from_text || !is_time(beside)) return TW_OK;
    const char *text = (const char *)view_data(&(*x)->value.text);
    size_t size = (*x)->value.text.size;
    constant value;
    memset(&value, 0, sizeof value);
    if (is_kind(beside, TYPE_DATE) && parse_date(text, size, &value.int32) == PARSE_OK) {
        return node_finish(t, node_constant(t, beside->type, (*x)->at, value), x);
    }
    if (parse_timestamp(text, size, &value.int64) == PARSE_OK) {
        return node_finish(t, node_constant(t, type_of(TYPE_TIMESTAMP), (*x)->at, value), x);
    }
    return expr_error(t->err, (*x)->at, "'%.*s' is no %s; write it as 2026-01-31%s",
                      (int)(size < 60 ? size : 60), text,
                      is_kind(beside, TYPE_DATE) ? "date" : "timestamp",
                      is_kind(beside, TYPE_DATE) ? "" : " or 2026-01-31T05:00:00Z");
}

static tw_status settle_pair(typer *t, node **a, node **b) {
    TRY(settle_time_text(t, a, *b));
    return settle_time_text(t, b, *a);
}

/* Whether a literal can take the type without changing its value. */
static bool literal_fits(const node *x, const type *want) {
    if (!x->literal || x->is_null || !x->type) return false;
    if (type_is_integer(x->type)) {
        int64_t v = x->value.int64;
        switch (want->kind) {
        case TYPE_INT32: return v >= INT32_MIN && v <= INT32_MAX;
        case TYPE_INT64: return true;
        case TYPE_FLOAT32: return v >= -(1 << 24) && v <= 1 << 24;
        case TYPE_FLOAT64: return v >= -(INT64_C(1) << 53) && v <= INT64_C(1) << 53;
        default: return false;
        }
    }
    return want->kind == TYPE_FLOAT64 ||
           (want->kind == TYPE_FLOAT32 && fabs(x->value.float64) <= (double)__FLT_MAX__);
}

static tw_status unify_error(typer *t, const char *what, uint32_t at, const node *a, const node *b) {
    char x[128], y[128];
    return expr_error(t->err, at, "'%s' cannot put %s and %s together; cast one of them", what,
                      node_type_name(a, x, sizeof x), node_type_name(b, y, sizeof y));
}

tw_status node_unify(typer *t, const char *what, uint32_t at, node **items, uint32_t n) {
    const node *time = NULL;
    for (uint32_t i = 0; i < n && !time; i++) time = is_time(items[i]) ? items[i] : NULL;
    for (uint32_t i = 0; i < n && time; i++) TRY(settle_time_text(t, &items[i], time));
    /* What is not a literal decides; then each literal that does not fit widens. */
    const node *first = NULL;
    const type *common = NULL;
    for (int literals = 0; literals <= 1; literals++) {
        for (uint32_t i = 0; i < n; i++) {
            const node *x = items[i];
            if (!x->type || x->literal != (bool)literals) continue;
            if (type_is_nested(x->type) || x->type->kind == TYPE_VECTOR) {
                char name[128];
                return expr_error(t->err, at, "'%s' does not take %s", what,
                                  node_type_name(x, name, sizeof name));
            }
            if (!common) {
                common = x->type;
                first = x;
            } else if (x->type == common || (literals && literal_fits(x, common))) {
                continue;
            } else if (type_is_number(common) && is_number(x)) {
                common = type_meeting(common, x->type);
            } else if (type_is_view(common) && is_view(x)) {
                common = type_of(TYPE_BINARY);
            } else if (is_time(first) && is_time(x)) {
                common = type_of(TYPE_TIMESTAMP);
            } else {
                return unify_error(t, what, at, first, x);
            }
        }
    }
    if (!common) common = type_of(TYPE_STRING);
    for (uint32_t i = 0; i < n; i++) TRY(node_widen(t, items[i], common, &items[i]));
    return TW_OK;
}

/* ---- arithmetic ---- */
static tw_status operand_error(typer *t, operator_kind o, uint32_t at, const node *a, const node *b) {
    char x[128], y[128];
    const char *hint = "";
    if (o == OPERATOR_ADD && is_view(a) && is_view(b)) hint = "; use concat(a, b)";
    else if (is_view(a) != is_view(b)) hint = "; cast one of them, as in int64(x)";
    return expr_error(t->err, at, "operator '%s' does not take %s and %s%s", operator_name(o),
                      node_type_name(a, x, sizeof x), node_type_name(b, y, sizeof y), hint);
}

tw_status type_arith_same(typer *t, arith_kind k, const type *of, uint32_t at, node *a, node *b,
                          node **out) {
    node *made = node_new(t, NODE_CALL, of, at, (node *[]){a, b}, 2);
    if (!made) return expr_no_memory(t->err);
    made->kernel = call_arith;
    made->operation = (uint8_t)k;
    made->number = (uint8_t)number_of(of);
    memcpy(made->fast.arith, t->e->kernels->arith[k][made->number], sizeof made->fast.arith);
    return node_finish(t, made, out);
}

/* date - date, timestamp - timestamp, and times moved by a number. */
static tw_status time_arith(typer *t, operator_kind o, uint32_t at, node *a, node *b, node **out) {
    const type *int64 = type_of(TYPE_INT64);
    arith_kind k = o == OPERATOR_ADD ? ARITH_ADD : ARITH_SUBTRACT;
    if (is_time(a) && is_time(b)) {
        if (o != OPERATOR_SUBTRACT) return operand_error(t, o, at, a, b);
        if (a->type != b->type) {
            TRY(node_widen(t, a, type_of(TYPE_TIMESTAMP), &a));
            TRY(node_widen(t, b, type_of(TYPE_TIMESTAMP), &b));
        }
        TRY(convert_number(t, a, int64, &a));
        TRY(convert_number(t, b, int64, &b));
        return type_arith_same(t, k, int64, at, a, b, out);
    }
    bool moved = o == OPERATOR_ADD || (o == OPERATOR_SUBTRACT && is_time(a));
    const node *amount = is_time(a) ? b : a;
    if (!moved || (amount->type && !type_is_integer(amount->type))) return operand_error(t, o, at, a, b);
    const type *time = is_time(a) ? a->type : b->type;
    TRY(node_settle_null(t, &a, int64));
    TRY(node_settle_null(t, &b, int64));
    if (a->type != int64) TRY(convert_number(t, a, int64, &a));
    if (b->type != int64) TRY(convert_number(t, b, int64, &b));
    TRY(type_arith_same(t, k, int64, at, a, b, out));
    return convert_number(t, *out, time, out);
}

tw_status type_arith(typer *t, operator_kind o, uint32_t at, node *a, node *b, node **out) {
    TRY(settle_pair(t, &a, &b));
    if (is_time(a) || is_time(b)) return time_arith(t, o, at, a, b, out);
    TRY(node_settle_null(t, &a, b->type ? b->type : type_of(TYPE_INT64)));
    TRY(node_settle_null(t, &b, a->type));
    if (!is_number(a) || !is_number(b)) return operand_error(t, o, at, a, b);
    const type *of = type_meeting(a->type, b->type);
    if (o == OPERATOR_DIVIDE && type_is_integer(of)) of = type_of(TYPE_FLOAT64);
    TRY(node_widen(t, a, of, &a));
    TRY(node_widen(t, b, of, &b));
    return type_arith_same(t, (arith_kind)(o - OPERATOR_ADD), of, at, a, b, out);
}

/* ---- comparisons ---- */
static const uint8_t flipped[] = {COMPARE_EQUAL,   COMPARE_NOT_EQUAL, COMPARE_GREATER,
                                  COMPARE_GREATER_EQUAL, COMPARE_LESS,  COMPARE_LESS_EQUAL};

static tw_status finish_compare(typer *t, tw_status (*kernel)(call *), compare_kind k, uint32_t at,
                                node *a, node *b, node **out) {
    node *made = node_new(t, NODE_CALL, type_of(TYPE_BOOL), at, (node *[]){a, b}, 2);
    if (!made) return expr_no_memory(t->err);
    made->kernel = kernel;
    made->operation = (uint8_t)k;
    if (kernel == call_compare) {
        made->number = (uint8_t)number_of(a->type);
        memcpy(made->fast.compare, t->e->kernels->compare[k][made->number], sizeof made->fast.compare);
    }
    return node_finish(t, made, out);
}

/* Turns `x k c`, where x is an integer and c a float constant, into a comparison with an integer.
 * Exact for every c but NaN, which stays what it is. */
static bool whole_constant(compare_kind *k, double c, int64_t *out) {
    bool is_equality = *k == COMPARE_EQUAL || *k == COMPARE_NOT_EQUAL;
    if (isnan(c)) return false;
    double below = floor(c);
    if (c >= -0x1p63 && c < 0x1p63) {
        *out = (int64_t)below;
        if (below == c) return true;
        if (is_equality) return false; /* exact as floats: beyond 2^53 nothing has a fraction */
        *k = *k == COMPARE_LESS || *k == COMPARE_LESS_EQUAL ? COMPARE_LESS_EQUAL : COMPARE_GREATER;
        return true;
    }
    /* Past all integers: always or never. */
    bool above = c > 0;
    bool always = *k == COMPARE_NOT_EQUAL ||
                  (!is_equality && (*k == COMPARE_LESS || *k == COMPARE_LESS_EQUAL) == above);
    *out = INT64_MAX;
    *k = always ? COMPARE_LESS_EQUAL : COMPARE_GREATER;
    return true;
}

/* Gives a constant the type of the run beside it where that changes no result, so that the run need
 * not be converted. */
static tw_status narrow_constant(typer *t, compare_kind *k, const node *a, node **b) {
    constant value;
    memset(&value, 0, sizeof value);
    if (!node_is_constant(*b) || (*b)->is_null || node_is_constant(a)) return TW_OK;
    number_kind have = number_of((*b)->type), want = number_of(a->type);
    bool a_is_whole = type_is_integer(a->type);
    int64_t whole = have == NUMBER_I32 ? (*b)->value.int32 : (*b)->value.int64;
    if (have == NUMBER_F32 || have == NUMBER_F64) {
        double c = have == NUMBER_F32 ? (double)(*b)->value.float32 : (*b)->value.float64;
        if (!a_is_whole) {
            if (want != NUMBER_F32 || have == NUMBER_F32 || fabs(c) > (double)__FLT_MAX__ ||
                (double)(float)c != c) {
                return TW_OK;
            }
            value.float32 = (float)c;
            return node_finish(t, node_constant(t, a->type, (*b)->at, value), b);
        }
        if (!whole_constant(k, c, &whole)) return TW_OK;
    } else if (!a_is_whole) {
        if (want != NUMBER_F32 || whole < -(1 << 24) || whole > 1 << 24) return TW_OK;
        value.float32 = (float)whole;
        return node_finish(t, node_constant(t, a->type, (*b)->at, value), b);
    }
    const type *of = type_of(TYPE_INT64);
    value.int64 = whole;
    if (want == NUMBER_I32 && whole >= INT32_MIN && whole <= INT32_MAX) {
        memset(&value, 0, sizeof value);
        value.int32 = (int32_t)whole;
        of = a->type;
    }
    return node_finish(t, node_constant(t, of, (*b)->at, value), b);
}

static tw_status compare_numbers(typer *t, compare_kind k, uint32_t at, node *a, node *b, node **out) {
    TRY(narrow_constant(t, &k, a, &b));
    const type *of = type_meeting(a->type, b->type);
    TRY(node_widen(t, a, of, &a));
    TRY(node_widen(t, b, of, &b));
    return finish_compare(t, call_compare, k, at, a, b, out);
}

tw_status type_compare(typer *t, operator_kind o, uint32_t at, node *a, node *b, node **out) {
    compare_kind k = (compare_kind)o;
    TRY(settle_pair(t, &a, &b));
    TRY(node_settle_null(t, &a, b->type ? b->type : type_of(TYPE_STRING)));
    TRY(node_settle_null(t, &b, a->type));
    if (node_is_constant(a) && !node_is_constant(b)) {
        node *swapped = a;
        a = b;
        b = swapped;
        k = (compare_kind)flipped[k];
    }
    if (is_number(a) && is_number(b)) return compare_numbers(t, k, at, a, b, out);
    if (is_time(a) && is_time(b)) {
        if (a->type != b->type) {
            TRY(node_widen(t, a, type_of(TYPE_TIMESTAMP), &a));
            TRY(node_widen(t, b, type_of(TYPE_TIMESTAMP), &b));
        }
        return finish_compare(t, call_compare, k, at, a, b, out);
    }
    if (is_view(a) && is_view(b)) {
        bool equality = k == COMPARE_EQUAL || k == COMPARE_NOT_EQUAL;
        return finish_compare(t, equality && node_is_constant(b) ? call_equal_text : call_compare_text,
                              k, at, a, b, out);
    }
    if (node_is_bool(a) && node_is_bool(b)) return finish_compare(t, call_compare_bool, k, at, a, b, out);
    return operand_error(t, o, at, a, b);
}

/* ---- logic ---- */
tw_status type_and_or(typer *t, node_kind kind, uint32_t at, node **items, uint32_t n, node **out) {
    const bool is_and = kind == NODE_AND;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        char name[128];
        node *x = items[i];
        TRY(node_settle_null(t, &x, type_of(TYPE_BOOL)));
        if (!node_is_bool(x)) {
            return expr_error(t->err, at, "'%s' does not take %s, only bool", is_and ? "and" : "or",
                              node_type_name(x, name, sizeof name));
        }
        items[i] = x;
    }
    for (uint32_t i = 0; i < n; i++) {
        bool known = node_is_constant(items[i]) && !items[i]->is_null;
        if (known && (bool)items[i]->value.boolean == is_and) continue; /* changes nothing */
        items[kept++] = items[i];
        if (known) break; /* decides; what follows is never evaluated */
    }
    if (kept == 0) return node_finish(t, node_bool(t, at, is_and), out);
    if (kept == 1) {
        *out = items[0];
        return TW_OK;
    }
    return node_finish(t, node_new(t, kind, type_of(TYPE_BOOL), at, items, kept), out);
}

static tw_status type_not(typer *t, uint32_t at, node *x, node **out) {
    char name[128];
    TRY(node_settle_null(t, &x, type_of(TYPE_BOOL)));
    if (!node_is_bool(x)) {
        return expr_error(t->err, at, "'not' does not take %s, only bool",
                          node_type_name(x, name, sizeof name));
    }
    if (node_is_constant(x)) {
        if (x->is_null) *out = x;
        else return node_finish(t, node_bool(t, at, !x->value.boolean), out);
        return TW_OK;
    }
    if (x->kind == NODE_NOT) {
        *out = x->children[0];
        return TW_OK;
    }
    return node_finish(t, node_new(t, NODE_NOT, x->type, at, &x, 1), out);
}

tw_status type_if(typer *t, uint32_t at, node *condition, node *yes, node *no, node **out) {
    char name[128];
    node *branches[] = {yes, no};
    TRY(node_settle_null(t, &condition, type_of(TYPE_BOOL)));
    if (!node_is_bool(condition)) {
        return expr_error(t->err, at, "the condition of 'if' must be bool, not %s",
                          node_type_name(condition, name, sizeof name));
    }
    TRY(node_unify(t, "if", at, branches, 2));
    if (node_is_constant(condition)) {
        *out = branches[condition->is_null || !condition->value.boolean];
        return TW_OK;
    }
    node *children[] = {condition, branches[0], branches[1]};
    return node_finish(t, node_new(t, NODE_IF, branches[0]->type, at, children, 3), out);
}

tw_status type_coalesce(typer *t, uint32_t at, node **items, uint32_t n, node **out) {
    uint32_t kept = 0;
    TRY(node_unify(t, "coalesce", at, items, n));
    const type *of = items[0]->type;
    for (uint32_t i = 0; i < n; i++) {
        bool is_constant = node_is_constant(items[i]);
        if (is_constant && items[i]->is_null) continue;
        items[kept++] = items[i];
        if (is_constant) break; /* what follows is never evaluated */
    }
    if (kept == 0) return node_finish(t, node_null(t, of, at), out);
    if (kept == 1) {
        *out = items[0];
        return TW_OK;
    }
    return node_finish(t, node_new(t, NODE_COALESCE, of, at, items, kept), out);
}

static tw_status type_is_null(typer *t, uint32_t at, node *x, node **out) {
    if (node_is_constant(x)) return node_finish(t, node_bool(t, at, x->is_null), out);
    return node_finish(t, node_new(t, NODE_IS_NULL, type_of(TYPE_BOOL), at, &x, 1), out);
}

/* ---- in (...) ---- */
/* Up to so many constants each is compared with, which is faster than a set. */
#define IN_COMPARED_MAX 24u
#define IN_COMPARED_TEXTS_MAX 12u

/* A set of the constants, unless x or they are of other kinds than numbers, times and texts. */
static tw_status type_in_set(typer *t, uint32_t at, node *x, node **items, uint32_t n, node **out) {
    node **wanted = arena_new(&t->e->memory, n * sizeof *wanted);
    if (!wanted) return expr_no_memory(t->err);
    uint32_t kept = 0;
    bool any_null = false;
    const type *of = x->type;
    if (is_number(x)) of = type_of(type_is_integer(of) ? TYPE_INT64 : TYPE_FLOAT64);
    for (uint32_t i = 0; i < n; i++) {
        node *item = items[i];
        TRY(settle_time_text(t, &item, x));
        any_null |= item->is_null;
        if (item->is_null) continue;
        if (is_kind(item, TYPE_TIMESTAMP)) of = type_of(TYPE_TIMESTAMP);
        wanted[kept++] = item;
    }
    uint32_t n_wanted = 0;
    for (uint32_t i = 0; i < kept; i++) {
        node *item = wanted[i];
        compare_kind k = COMPARE_EQUAL;
        if (of->kind == TYPE_INT64 && !type_is_integer(item->type)) {
            constant value;
            memset(&value, 0, sizeof value);
            if (!whole_constant(&k, number_of(item->type) == NUMBER_F32 ? (double)item->value.float32 : item->value.float64,
                                &value.int64) ||
                k != COMPARE_EQUAL) {
                continue; /* no integer equals it */
            }
            TRY(node_finish(t, node_constant(t, of, item->at, value), &item));
        } else if (!type_is_view(of)) {
            TRY(node_widen(t, item, of, &item));
        }
        wanted[n_wanted++] = item;
    }
    if (!type_is_view(of)) TRY(node_widen(t, x, of, &x));
    node *made = node_new(t, NODE_CALL, type_of(TYPE_BOOL), at, &x, 1);
    if (!made) return expr_no_memory(t->err);
    made->kernel = type_is_view(of) ? call_in_texts : call_in_numbers;
    made->number = (uint8_t)number_of(of);
    made->true_or_null = any_null;
    made->keep_apart = true;
    made->info = type_is_view(of)
                     ? (const void *)text_set_new(&t->e->memory, wanted, n_wanted)
                     : (const void *)number_set_new(&t->e->memory, number_of(of), wanted, n_wanted);
    if (!made->info) return expr_no_memory(t->err);
    return node_finish(t, made, out);
}

static tw_status type_in(typer *t, uint32_t at, node *x, node **items, uint32_t n, node **out) {
    node **equal = arena_new(&t->e->memory, n * sizeof *equal);
    if (!equal) return expr_no_memory(t->err);
    bool all_constant = true;
    for (uint32_t i = 0; i < n; i++) {
        TRY(type_compare(t, OPERATOR_EQUAL, at, x, items[i], &equal[i]));
        all_constant &= node_is_constant(items[i]);
    }
    const uint32_t most = is_view(x) ? IN_COMPARED_TEXTS_MAX : IN_COMPARED_MAX;
    bool in_set = n > most && all_constant && !node_is_constant(x) && !node_is_bool(x);
    if (in_set) return type_in_set(t, at, x, items, n, out);
    return type_and_or(t, NODE_OR, at, equal, n, out);
}

/* ---- the tree ---- */
static tw_status type_column(typer *t, const ast *a, node **out) {
    int found = schema_find(t->schema, a->text);
    if (found < 0) {
        struct nearest near = {.name = a->text};
        for (uint32_t i = 0; i < t->schema->n; i++) nearest_try(&near, t->schema->fields[i].name);
        if (near.best) {
            return expr_error(t->err, a->at, "unknown column '%.200s'; did you mean '%.200s'?", a->text,
                              near.best);
        }
        return expr_error(t->err, a->at, "unknown column '%.200s'", a->text);
    }
    node *x = node_new(t, NODE_COLUMN, t->schema->fields[found].type, a->at, NULL, 0);
    if (!x) return expr_no_memory(t->err);
    x->column = (uint32_t)found;
    return node_finish(t, x, out);
}

static tw_status type_literal(typer *t, const ast *a, node **out) {
    constant value;
    memset(&value, 0, sizeof value);
    node *x = NULL;
    switch (a->kind) {
    case AST_NULL: x = node_null(t, NULL, a->at); break;
    case AST_BOOL: x = node_bool(t, a->at, a->integer != 0); break;
    case AST_INTEGER:
        value.int64 = a->integer;
        x = node_constant(t, type_of(TYPE_INT64), a->at, value);
        break;
    case AST_FLOAT:
        value.float64 = a->number;
        x = node_constant(t, type_of(TYPE_FLOAT64), a->at, value);
        break;
    default:
        x = node_text(t, type_of(TYPE_STRING), a->at, (const uint8_t *)a->text, a->text_size);
        break;
    }
    if (x) {
        x->literal = a->kind == AST_INTEGER || a->kind == AST_FLOAT;
        x->from_text = a->kind == AST_TEXT;
    }
    return node_finish(t, x, out);
}

static tw_status type_negate(typer *t, uint32_t at, node *x, node **out) {
    char name[128];
    TRY(node_settle_null(t, &x, type_of(TYPE_INT64)));
    if (!is_number(x)) {
        return expr_error(t->err, at, "operator '-' does not take %s", node_type_name(x, name, sizeof name));
    }
    if (x->literal && is_kind(x, TYPE_FLOAT64)) { /* still a literal */
        constant value = {.float64 = -x->value.float64};
        node *negated = node_new(t, NODE_CONSTANT, x->type, at, NULL, 0);
        if (!negated) return expr_no_memory(t->err);
        memcpy(&negated->value, &value, sizeof value.float64);
        negated->literal = true;
        return node_finish(t, negated, out);
    }
    node *made = node_new(t, NODE_CALL, x->type, at, &x, 1);
    if (!made) return expr_no_memory(t->err);
    made->kernel = call_unary;
    made->operation = UNARY_NEGATE;
    made->number = (uint8_t)number_of(x->type);
    made->fast.unary = t->e->kernels->unary[UNARY_NEGATE][made->number];
    return node_finish(t, made, out);
}

tw_status expr_type_tree(typer *t, const ast *a, node **out) {
    node *few[3] = {0}, **children = few;
    if (a->n > 3) {
        children = arena_new(&t->e->memory, a->n * sizeof *children);
        if (!children) return expr_no_memory(t->err);
    }
    for (uint32_t i = 0; i < a->n; i++) TRY(expr_type_tree(t, a->children[i], &children[i]));
    switch (a->kind) {
    case AST_COLUMN: return type_column(t, a, out);
    case AST_NEGATE: return type_negate(t, a->at, children[0], out);
    case AST_NOT: return type_not(t, a->at, children[0], out);
    case AST_AND: return type_and_or(t, NODE_AND, a->at, children, a->n, out);
    case AST_OR: return type_and_or(t, NODE_OR, a->at, children, a->n, out);
    case AST_IS_NULL: return type_is_null(t, a->at, children[0], out);
    case AST_IN: return type_in(t, a->at, children[0], children + 1, a->n - 1, out);
    case AST_CALL: return type_call(t, a, children, a->n, out);
    case AST_BINARY:
        if (a->operator == OPERATOR_LIKE) return type_like(t, a->at, children[0], children[1], out);
        if (a->operator >= OPERATOR_ADD) return type_arith(t, a->operator, a->at, children[0], children[1], out);
        return type_compare(t, a->operator, a->at, children[0], children[1], out);
    default: return type_literal(t, a, out);
    }
}
