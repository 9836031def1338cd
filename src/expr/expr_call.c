/* Calls of number kernels: the fast loop over all rows, and where it reports a failure, the exact code
 * for the rows that count. */
#include <math.h>
#include <string.h>

#include "data/rows.h"
#include "expr/expr_internal.h"

static const char overflow[] = "integer overflow";
static const char division_by_zero[] = "division by zero";

/* ---- arithmetic ---- */
static operand_shape shape_of(const call *c) {
    if (c->args[0].constant) return SHAPE_CONSTANT_RUN;
    return c->args[1].constant ? SHAPE_RUN_CONSTANT : SHAPE_RUNS;
}

static const char *exact_int64(arith_kind k, int64_t a, int64_t b, int64_t *out) {
    bool failed = false;
    switch (k) {
    case ARITH_ADD: failed = __builtin_add_overflow(a, b, out); break;
    case ARITH_SUBTRACT: failed = __builtin_sub_overflow(a, b, out); break;
    case ARITH_MULTIPLY: failed = __builtin_mul_overflow(a, b, out); break;
    case ARITH_DIVIDE_WHOLE:
        if (b == 0) return division_by_zero;
        if (b == -1) failed = __builtin_sub_overflow((int64_t)0, a, out);
        else *out = a / b;
        break;
    case ARITH_REMAINDER:
        if (b == 0) return division_by_zero;
        *out = b == -1 ? 0 : a % b;
        break;
    default: break;
    }
    return failed ? overflow : NULL;
}

static tw_status exact_integers(call *c) {
    const bool wide = c->x->number == NUMBER_I64;
    const vec *a = &c->args[0], *b = &c->args[1];
    FOR_ACTIVE(c, row) {
        const uint32_t i = a->constant ? 0 : row, j = b->constant ? 0 : row;
        int64_t x = wide ? ((const int64_t *)a->values)[i] : ((const int32_t *)a->values)[i];
        int64_t y = wide ? ((const int64_t *)b->values)[j] : ((const int32_t *)b->values)[j];
        int64_t result = 0;
        const char *reason = exact_int64((arith_kind)c->x->operation, x, y, &result);
        if (!reason && !wide && (result < INT32_MIN || result > INT32_MAX)) reason = overflow;
        if (reason) {
            result = 0;
            TRY(call_bad_row(c, row, reason));
        }
        if (wide) ((int64_t *)c->out)[row] = result;
        else ((int32_t *)c->out)[row] = (int32_t)result;
    }
    return TW_OK;
}

/* Floats fail only by a divisor that is zero. */
static tw_status exact_floats(call *c) {
    const vec *b = &c->args[1];
    FOR_ACTIVE(c, row) {
        const uint32_t j = b->constant ? 0 : row;
        bool zero = c->x->number == NUMBER_F64 ? ((const double *)b->values)[j] == 0
                                               : ((const float *)b->values)[j] == 0;
        if (zero) TRY(call_bad_row(c, row, division_by_zero));
    }
    return TW_OK;
}

tw_status call_arith(call *c) {
    arith_function fast = c->x->fast.arith[shape_of(c)];
    if (!fast(c->args[0].values, c->args[1].values, c->out, c->n)) return TW_OK;
    bool whole = c->x->number == NUMBER_I32 || c->x->number == NUMBER_I64;
    return whole ? exact_integers(c) : exact_floats(c);
}

tw_status call_unary(call *c) {
    const vec *a = &c->args[0];
    if (!c->x->fast.unary(a->values, c->out, c->n)) return TW_OK;
    FOR_ACTIVE(c, row) { /* only the least integer fails */
        bool least = c->x->number == NUMBER_I64 ? ((const int64_t *)a->values)[row] == INT64_MIN
                                                : ((const int32_t *)a->values)[row] == INT32_MIN;
        if (least) TRY(call_bad_row(c, row, overflow));
    }
    return TW_OK;
}

/* ---- comparisons ---- */
tw_status call_compare(call *c) {
    const vec *a = &c->args[0], *b = &c->args[1];
    c->x->fast.compare[b->constant](a->values, b->values, c->out, c->n);
    return TW_OK;
}

tw_status call_compare_bool(call *c) {
    const uint64_t *a = c->args[0].values, *b = c->args[1].values;
    uint64_t *out = c->out;
    for (uint32_t w = 0; w < c->words; w++) {
        switch ((compare_kind)c->x->operation) {
        case COMPARE_EQUAL: out[w] = ~(a[w] ^ b[w]); break;
        case COMPARE_NOT_EQUAL: out[w] = a[w] ^ b[w]; break;
        case COMPARE_LESS: out[w] = ~a[w] & b[w]; break;
        case COMPARE_LESS_EQUAL: out[w] = ~a[w] | b[w]; break;
        case COMPARE_GREATER: out[w] = a[w] & ~b[w]; break;
        case COMPARE_GREATER_EQUAL: out[w] = a[w] | ~b[w]; break;
        }
    }
    return TW_OK;
}

tw_status call_least_bool(call *c) {
    const uint64_t *a = c->args[0].values, *b = c->args[1].values;
    uint64_t *out = c->out;
    const bool least = c->x->operation == ARITH_LEAST;
    for (uint32_t w = 0; w < c->words; w++) out[w] = least ? a[w] & b[w] : a[w] | b[w];
    return TW_OK;
}

/* ---- conversions ---- */
static bool converts(const call *c, uint32_t row) {
    const void *a = c->args[0].values;
    const number_kind to = (number_kind)c->x->number;
    double f;
    switch ((number_kind)c->x->from) {
    case NUMBER_I32: return true;
    case NUMBER_I64: {
        int64_t v = ((const int64_t *)a)[row];
        return to != NUMBER_I32 || (v >= INT32_MIN && v <= INT32_MAX);
    }
    case NUMBER_F32: f = (double)((const float *)a)[row]; break;
    default: f = ((const double *)a)[row]; break;
    }
    if (to == NUMBER_I32) return f > -2147483649.0 && f < 2147483648.0;
    if (to == NUMBER_I64) return f >= -0x1p63 && f < 0x1p63;
    return isinf(f) || !isinf((float)f);
}

static const char *misfit(const type *t) {
    switch (t->kind) {
    case TYPE_INT32: return "the value does not fit int32";
    case TYPE_INT64: return "the value does not fit int64";
    case TYPE_FLOAT32: return "the value does not fit float32";
    case TYPE_DATE: return "the value does not fit date";
    default: return "the value does not fit timestamp";
    }
}

tw_status call_convert(call *c) {
    if (!c->x->fast.unary(c->args[0].values, c->out, c->n)) return TW_OK;
    FOR_ACTIVE(c, row) {
        if (!converts(c, row)) TRY(call_bad_row(c, row, misfit(c->x->type)));
    }
    return TW_OK;
}

/* Never called: expr_run_call passes the argument on. */
tw_status call_same(call *c) { return TW_OK; }

tw_status call_number_to_bool(call *c) {
    const void *a = c->args[0].values;
    uint64_t *out = c->out;
    memset(out, 0, c->words * sizeof *out);
    FOR_ACTIVE(c, row) {
        bool one = false;
        switch ((number_kind)c->x->from) {
        case NUMBER_I32: one = ((const int32_t *)a)[row] != 0; break;
        case NUMBER_I64: one = ((const int64_t *)a)[row] != 0; break;
        case NUMBER_F32: one = ((const float *)a)[row] != 0; break;
        case NUMBER_F64: one = ((const double *)a)[row] != 0; break;
        }
        out[row >> 6] |= (uint64_t)one << (row & 63);
    }
    return TW_OK;
}

tw_status call_bool_to_number(call *c) {
    const uint64_t *bits = c->args[0].values;
    for (uint32_t i = 0; i < c->n; i++) {
        const int bit = (int)(bits[i >> 6] >> (i & 63) & 1);
        switch ((number_kind)c->x->number) {
        case NUMBER_I32: ((int32_t *)c->out)[i] = bit; break;
        case NUMBER_I64: ((int64_t *)c->out)[i] = bit; break;
        case NUMBER_F32: ((float *)c->out)[i] = (float)bit; break;
        case NUMBER_F64: ((double *)c->out)[i] = bit; break;
        }
    }
    return TW_OK;
}

/* ---- functions ---- */
tw_status call_function(call *c) {
    const double *a = c->args[0].values;
    double *out = c->out;
    FOR_ACTIVE(c, row) {
        switch ((function_kind)c->x->operation) {
        case FUNCTION_EXP: out[row] = exp(a[row]); break;
        case FUNCTION_LN: out[row] = log(a[row]); break;
        case FUNCTION_LOG10: out[row] = log10(a[row]); break;
        }
    }
    return TW_OK;
}

tw_status call_power(call *c) {
    const vec *a = &c->args[0], *b = &c->args[1];
    double *out = c->out;
    FOR_ACTIVE(c, row) {
        double x = ((const double *)a->values)[a->constant ? 0 : row];
        double y = ((const double *)b->values)[b->constant ? 0 : row];
        out[row] = y == 2 ? x * x : pow(x, y);
    }
    return TW_OK;
}

/* 10^n; exact up to 22. */
static double power_of_ten(int64_t n) {
    static const double exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    return n <= 22 ? exact[n] : pow(10, (double)n);
}

static double round_float(double x, int64_t digits) {
    if (!isfinite(x) || digits > 330) return x;
    if (digits < -330) return copysign(0, x);
    if (digits >= 0) {
        double scale = power_of_ten(digits), scaled = x * scale;
        return fabs(scaled) < 0x1p52 ? round(scaled) / scale : x; /* beyond: nothing after the point */
    }
    double scale = power_of_ten(-digits);
    return isinf(scale) ? copysign(0, x) : round(x / scale) * scale;
}

static const char *round_integer(int64_t x, int64_t digits, int64_t *out) {
    *out = x;
    if (digits >= 0) return NULL;
    *out = 0;
    if (digits < -19) return NULL;
    __int128 scale = 1, wide = x;
    for (; digits < 0; digits++) scale *= 10;
    wide = (wide + (x < 0 ? -scale / 2 : scale / 2)) / scale * scale; /* half away from zero */
    if (wide < INT64_MIN || wide > INT64_MAX) return overflow;
    *out = (int64_t)wide;
    return NULL;
}

tw_status call_round_digits(call *c) {
    const vec *a = &c->args[0];
    FOR_ACTIVE(c, row) {
        const uint32_t i = a->constant ? 0 : row;
        const int64_t digits = call_int64(c, 1, row);
        int64_t whole = 0;
        const char *reason = NULL;
        switch ((number_kind)c->x->number) {
        case NUMBER_F32:
            ((float *)c->out)[row] = (float)round_float((double)((const float *)a->values)[i], digits);
            break;
        case NUMBER_F64:
            ((double *)c->out)[row] = round_float(((const double *)a->values)[i], digits);
            break;
        case NUMBER_I32:
            reason = round_integer(((const int32_t *)a->values)[i], digits, &whole);
            if (whole < INT32_MIN || whole > INT32_MAX) reason = overflow;
            ((int32_t *)c->out)[row] = reason ? 0 : (int32_t)whole;
            break;
        case NUMBER_I64:
            reason = round_integer(((const int64_t *)a->values)[i], digits, &whole);
            ((int64_t *)c->out)[row] = whole;
            break;
        }
        if (reason) TRY(call_bad_row(c, row, reason));
    }
    return TW_OK;
}

/* ---- in (...) ---- */
static uint64_t spread(uint64_t x) {
    x *= UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 32;
}

/* -0 is 0. */
static uint64_t float_word(double x) {
    uint64_t word;
    x += 0.0;
    memcpy(&word, &x, sizeof word);
    return word;
}

static uint64_t constant_word(number_kind k, const node *x) {
    switch (k) {
    case NUMBER_I32: return (uint64_t)(int64_t)x->value.int32;
    case NUMBER_I64: return (uint64_t)x->value.int64;
    case NUMBER_F32: return float_word((double)x->value.float32);
    default: return float_word(x->value.float64);
    }
}

const number_set *number_set_new(arena *a, number_kind k, node *const *items, uint32_t n) {
    uint32_t size = 16;
    while (size < n * 2) size *= 2;
    number_set *set = arena_new(a, sizeof *set);
    uint64_t *values = arena_new(a, size * sizeof *values);
    uint8_t *used = arena_new(a, size);
    if (!set || !values || !used) return NULL;
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t word = constant_word(k, items[i]);
        uint32_t at = (uint32_t)spread(word) & (size - 1);
        while (used[at] && values[at] != word) at = (at + 1) & (size - 1);
        used[at] = 1;
        values[at] = word;
    }
    *set = (number_set){size - 1, values, used};
    return set;
}

static bool set_has(const number_set *set, uint64_t word) {
    uint32_t at = (uint32_t)spread(word) & set->mask;
    for (; set->used[at]; at = (at + 1) & set->mask) {
        if (set->values[at] == word) return true;
    }
    return false;
}

tw_status call_in_numbers(call *c) {
    const number_set *set = c->x->info;
    const void *a = c->args[0].values;
    uint64_t *out = c->out;
    memset(out, 0, c->words * sizeof *out);
    FOR_ACTIVE(c, row) {
        bool found;
        if (c->x->number == NUMBER_F64) {
            double x = ((const double *)a)[row];
            found = x == x && set_has(set, float_word(x));
        } else {
            int64_t x = c->x->number == NUMBER_I64 ? ((const int64_t *)a)[row] : ((const int32_t *)a)[row];
            found = set_has(set, (uint64_t)x);
        }
        out[row >> 6] |= (uint64_t)found << (row & 63);
    }
    return TW_OK;
}

/* ---- hash ---- */
tw_status call_hash(call *c) {
    column columns[EXPR_ARGUMENTS_MAX];
    uint8_t bytes[EXPR_ARGUMENTS_MAX][CHUNK_ROWS];
    memset(columns, 0, sizeof columns);
    for (uint32_t i = 0; i < c->n_args; i++) {
        column *to = &columns[i];
        to->type = c->x->children[i]->type;
        to->rows = c->n;
        to->values = (void *)(uintptr_t)c->args[i].values;
        to->valid = (uint64_t *)(uintptr_t)c->active; /* hash_columns only reads */
        if (to->type->kind != TYPE_BOOL) continue;
        c->r->kernels->bytes_from_bits(c->args[i].values, bytes[i], c->n);
        to->values = bytes[i];
    }
    uint64_t *out = c->out;
    hash_columns(columns, c->n_args, c->n, out);
    for (uint32_t i = 0; i < c->n; i++) out[i] &= INT64_MAX;
    return TW_OK;
}
