#include "step/aggregate.h"

#include <math.h>
#include <stdlib.h>

/* ---- state shapes ---- */

/* Of doubles: carry * CARRY_UNIT + high + low. While |high| is below the unit no addition overflows, so that
 * a sum is infinite if it is so in the end, not if it was on the way. */
typedef struct exact_sum {
    double high, low;
    int64_t carry;
} exact_sum;
#define CARRY_UNIT 0x1p1022

#ifdef __SIZEOF_FLOAT128__
typedef __float128 wide_float;
#else
typedef long double wide_float; /* 128 bits where there is no other */
#endif

typedef struct float_state {
    uint64_t n;
    exact_sum sum, squares;
} float_state;

typedef struct int_state {
    uint64_t n;
    uint64_t low;
    int64_t high; /* a 128-bit sum; two words, as rows are 8-byte aligned */
} int_state;

typedef struct extreme_state {
    uint64_t bits; /* the greatest; of min's values all bits are turned over */
    uint64_t has;
} extreme_state;

typedef struct place_state {
    uint64_t position;
    uint64_t bits;
    uint64_t has; /* 1: a value, 2: a null that counts */
} place_state;

static inline void exact_add_small(exact_sum *s, double x, double sum) {
    double part = sum - s->high;
    s->low += (s->high - (sum - part)) + (x - part);
    s->high = sum;
}
/* Takes whole units out of x; what is left is exact, for it is a multiple of x's last bit. */
static double carry_units(exact_sum *s, double x) {
    double units = trunc(x / CARRY_UNIT);
    s->carry += (int64_t)units;
    return x - units * CARRY_UNIT;
}
static __attribute__((noinline)) void exact_add_large(exact_sum *s, double x) {
    if (!isfinite(x) || !isfinite(s->high)) {
        s->high += x;
        return;
    }
    x = carry_units(s, x);
    exact_add_small(s, x, s->high + x);
    s->high = carry_units(s, s->high);
}
static inline void exact_add(exact_sum *s, double x) {
    double sum = s->high + x;
    if (__builtin_expect(fabs(sum) < CARRY_UNIT, 1)) exact_add_small(s, x, sum);
    else exact_add_large(s, x);
}
static wide_float exact_wide(const exact_sum *s) {
    return (wide_float)s->carry * CARRY_UNIT + (wide_float)s->high + (wide_float)s->low;
}
/* The sum over `parts`. */
static double exact_value(const exact_sum *s, uint64_t parts) {
    if (!isfinite(s->high)) return s->high;
    if (s->carry) return (double)(exact_wide(s) / (wide_float)parts);
    return (s->high + s->low) / (double)parts;
}
static void exact_merge(exact_sum *to, const exact_sum *from) {
    exact_add(to, from->high);
    to->low += from->low;
    to->carry += from->carry;
}
/* x * x as two doubles. */
static void exact_add_square(exact_sum *s, double x) {
    double square = x * x;
    if (!isfinite(square)) {
        exact_add(s, square);
        return;
    }
    exact_add(s, square);
    s->low += fma(x, x, -square);
}

#define STATE(type_, a, row) ((type_ *)(void *)((row) + (a)->offset))
#define STATE_CONST(type_, a, row) ((const type_ *)(const void *)((row) + (a)->offset))

/* Runs BODY with `row` (of the batch) and `group` for each valid row. */
#define EACH_VALID(in, BODY)                                                                       \
    do {                                                                                           \
        const column *c_ = (in)->column;                                                           \
        if (!c_->valid) {                                                                          \
            for (uint32_t i_ = 0; i_ < (in)->n; i_++) {                                            \
                uint32_t row = (in)->first + i_;                                                   \
                uint8_t *group = (in)->groups[i_];                                                 \
                BODY                                                                               \
            }                                                                                      \
        } else {                                                                                   \
            for (uint32_t i_ = 0; i_ < (in)->n; i_++) {                                            \
                uint32_t row = (in)->first + i_;                                                   \
                uint8_t *group = (in)->groups[i_];                                                 \
                if (column_is_valid(c_, row)) { BODY }                                             \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/* Runs EACH_VALID with `value` of the column's C type. */
#define EACH_NUMBER(in, BODY)                                                                      \
    switch ((in)->column->type->kind) {                                                            \
    case TYPE_BOOL: { const uint8_t *v_ = (in)->column->values; EACH_VALID(in, { uint8_t value = v_[row]; BODY }); break; } \
    case TYPE_INT32: case TYPE_DATE: { const int32_t *v_ = (in)->column->values; EACH_VALID(in, { int32_t value = v_[row]; BODY }); break; } \
    case TYPE_INT64: case TYPE_TIMESTAMP: { const int64_t *v_ = (in)->column->values; EACH_VALID(in, { int64_t value = v_[row]; BODY }); break; } \
    case TYPE_FLOAT32: { const float *v_ = (in)->column->values; EACH_VALID(in, { float value = v_[row]; BODY }); break; } \
    default: { const double *v_ = (in)->column->values; EACH_VALID(in, { double value = v_[row]; BODY }); break; } \
    }

/* ---- count ---- */

static tw_status count_rows_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    for (uint32_t i = 0; i < in->n; i++) ++*STATE(uint64_t, a, in->groups[i]);
    return TW_OK;
}
static tw_status count_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    EACH_VALID(in, { (void)row; ++*STATE(uint64_t, a, group); });
    return TW_OK;
}
/* The column tells for which count_distinct the row is a new value. */
static tw_status count_tagged_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    const int32_t *tags = in->column->values;
    EACH_VALID(in, { *STATE(uint64_t, a, group) += tags[row] == a->tag; });
    return TW_OK;
}
static tw_status count_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    *STATE(uint64_t, a, to) += *STATE_CONST(uint64_t, a, from);
    return TW_OK;
}
static tw_status count_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                              column *out, tw_error *err) {
    TRY(column_new(m, a->output, n, out, err));
    int64_t *v = out->values;
    for (uint32_t i = 0; i < n; i++) v[i] = (int64_t)*STATE_CONST(uint64_t, a, groups[i]);
    return TW_OK;
}

/* ---- sums of integers ---- */

static inline void int_state_add(int_state *s, uint64_t n, uint64_t low, int64_t high) {
    uint64_t sum = s->low + low;
    s->high += high + (sum < low);
    s->low = sum;
    s->n += n;
}
static tw_status int_sum_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    EACH_NUMBER(in, {
        int64_t wide = (int64_t)value;
        int_state_add(STATE(int_state, a, group), 1, (uint64_t)wide, wide >> 63);
    })
    return TW_OK;
}
static tw_status int_sum_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    const int_state *f = STATE_CONST(int_state, a, from);
    int_state_add(STATE(int_state, a, to), f->n, f->low, f->high);
    return TW_OK;
}
static __int128 int_state_sum(const int_state *s) {
    return (__int128)(((unsigned __int128)(uint64_t)s->high << 64) | s->low);
}

/* A result column whose groups without values are null. */
#define FINISH_NULLABLE(a, m, n, out, err, IS_NULL, BODY)                                          \
    do {                                                                                           \
        TRY(column_new(m, (a)->output, n, out, err));                                              \
        for (uint32_t i = 0; i < (n); i++) {                                                       \
            if (IS_NULL) {                                                                         \
                tw_status status_ = column_need_valid(m, out, err);                                \
                if (status_ != TW_OK) {                                                            \
                    column_clear(out);                                                             \
                    return status_;                                                                \
                }                                                                                  \
                column_set_null(out, i);                                                           \
                memset((uint8_t *)out->values + i * type_bytes((a)->output), 0, type_bytes((a)->output)); \
                continue;                                                                          \
            }                                                                                      \
            BODY                                                                                   \
        }                                                                                          \
    } while (0)

static tw_status int_sum_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                                column *out, tw_error *err) {
    FINISH_NULLABLE(a, m, n, out, err, STATE_CONST(int_state, a, groups[i])->n == 0, {
        __int128 sum = int_state_sum(STATE_CONST(int_state, a, groups[i]));
        if (sum > INT64_MAX || sum < INT64_MIN) {
            column_clear(out);
            return error_set(err, TW_ERR_DATA, "the sum '%s' does not fit int64", a->name);
        }
        ((int64_t *)out->values)[i] = (int64_t)sum;
    });
    return TW_OK;
}
static tw_status int_mean_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                                 column *out, tw_error *err) {
    FINISH_NULLABLE(a, m, n, out, err, STATE_CONST(int_state, a, groups[i])->n == 0, {
        const int_state *s = STATE_CONST(int_state, a, groups[i]);
        __int128 sum = int_state_sum(s);
        /* Whole part and rest apart, so that large sums keep their digits. */
        __int128 whole = sum / (__int128)s->n;
        __int128 rest = sum % (__int128)s->n;
        ((double *)out->values)[i] = (double)whole + (double)rest / (double)s->n;
    });
    return TW_OK;
}

/* ---- sums of floats, variance of anything ---- */

static tw_status float_sum_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    EACH_NUMBER(in, {
        float_state *s = STATE(float_state, a, group);
        s->n++;
        exact_add(&s->sum, (double)value);
    })
    return TW_OK;
}
static tw_status variance_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    EACH_NUMBER(in, {
        float_state *s = STATE(float_state, a, group);
        s->n++;
        exact_add(&s->sum, (double)value);
        exact_add_square(&s->squares, (double)value);
    })
    return TW_OK;
}
static tw_status float_sum_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    float_state *t = STATE(float_state, a, to);
    const float_state *f = STATE_CONST(float_state, a, from);
    t->n += f->n;
    exact_merge(&t->sum, &f->sum);
    return TW_OK;
}
static tw_status variance_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    exact_merge(&STATE(float_state, a, to)->squares, &STATE_CONST(float_state, a, from)->squares);
    return float_sum_merge(a, to, from, arena, err);
}
static tw_status float_sum_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                                  column *out, tw_error *err) {
    FINISH_NULLABLE(a, m, n, out, err, STATE_CONST(float_state, a, groups[i])->n == 0, {
        const float_state *s = STATE_CONST(float_state, a, groups[i]);
        ((double *)out->values)[i] = exact_value(&s->sum, a->kind == AGGREGATE_MEAN ? s->n : 1);
    });
    return TW_OK;
}
/* (squares - sum * sum / n) / (n - 1) in 128 bits over exact sums. */
static double variance_of(const float_state *s) {
    if (!isfinite(s->sum.high) || !isfinite(s->squares.high)) return NAN;
    wide_float sum = exact_wide(&s->sum), squares = exact_wide(&s->squares);
    wide_float v = (squares - sum * sum / (wide_float)s->n) / (wide_float)(s->n - 1);
    return v > 0 ? (double)v : 0;
}
static tw_status variance_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                                 column *out, tw_error *err) {
    FINISH_NULLABLE(a, m, n, out, err, STATE_CONST(float_state, a, groups[i])->n < 2, {
        double v = variance_of(STATE_CONST(float_state, a, groups[i]));
        ((double *)out->values)[i] = a->kind == AGGREGATE_STDDEV ? sqrt(v) : v;
    });
    return TW_OK;
}

/* ---- min and max of fixed types: values as integers that sort like them ---- */

/* NaN sorts after all numbers. */
static inline uint64_t ordered_float(double value) {
    if (isnan(value)) return UINT64_MAX;
    uint64_t bits;
    value += 0.0; /* -0.0 and 0.0 are one value */
    memcpy(&bits, &value, 8);
    return bits >> 63 ? ~bits : bits | 1ull << 63;
}
static inline double unordered_float(uint64_t order) {
    if (order == UINT64_MAX) return NAN;
    uint64_t bits = order >> 63 ? order & ~(1ull << 63) : ~order;
    double value;
    memcpy(&value, &bits, 8);
    return value;
}
static inline uint64_t ordered_int(int64_t value) { return (uint64_t)value ^ 1ull << 63; }

#define ORDERED(value) _Generic((value), float: ordered_float((double)(value)), double: ordered_float((double)(value)), default: ordered_int((int64_t)(value)))

static inline uint64_t extreme_turn(const aggregate *a) { return a->kind == AGGREGATE_MIN ? UINT64_MAX : 0; }

static tw_status extreme_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    const uint64_t turn = extreme_turn(a);
    EACH_NUMBER(in, {
        extreme_state *s = STATE(extreme_state, a, group);
        uint64_t bits = ORDERED(value) ^ turn;
        s->bits = bits > s->bits ? bits : s->bits;
        s->has = 1;
    })
    return TW_OK;
}
static tw_status extreme_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    const extreme_state *f = STATE_CONST(extreme_state, a, from);
    extreme_state *t = STATE(extreme_state, a, to);
    if (f->bits > t->bits) t->bits = f->bits;
    t->has |= f->has;
    return TW_OK;
}

int64_t aggregate_extreme_time(const aggregate *a, const uint8_t *group) {
    return (int64_t)(STATE_CONST(extreme_state, a, group)->bits ^ extreme_turn(a) ^ 1ull << 63);
}

static void put_ordered(column *out, uint32_t i, uint64_t order) {
    int64_t integer = (int64_t)(order ^ 1ull << 63);
    switch (out->type->kind) {
    case TYPE_BOOL: ((uint8_t *)out->values)[i] = (uint8_t)integer; break;
    case TYPE_INT32:
    case TYPE_DATE: ((int32_t *)out->values)[i] = (int32_t)integer; break;
    case TYPE_FLOAT32: ((float *)out->values)[i] = (float)unordered_float(order); break;
    case TYPE_FLOAT64: ((double *)out->values)[i] = unordered_float(order); break;
    default: ((int64_t *)out->values)[i] = integer; break;
    }
}
static tw_status extreme_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                                column *out, tw_error *err) {
    FINISH_NULLABLE(a, m, n, out, err, !STATE_CONST(extreme_state, a, groups[i])->has,
                    { put_ordered(out, i, STATE_CONST(extreme_state, a, groups[i])->bits ^ extreme_turn(a)); });
    return TW_OK;
}

/* ---- first and last of fixed types: the bits as they are ---- */

static inline bool place_wins(const aggregate *a, const place_state *s, uint64_t position) {
    if (!s->has) return true;
    return a->kind == AGGREGATE_LAST ? position >= s->position : position < s->position;
}
static tw_status place_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    size_t bytes = type_bytes(a->input);
    const uint8_t *values = in->column->values;
    for (uint32_t i = 0; i < in->n; i++) {
        uint32_t row = in->first + i;
        bool valid = column_is_valid(in->column, row);
        if (!valid && a->kind != AGGREGATE_FIRST_ROW) continue;
        place_state *s = STATE(place_state, a, in->groups[i]);
        if (!place_wins(a, s, in->position + row)) continue;
        *s = (place_state){.position = in->position + row, .has = valid ? 1 : 2};
        if (valid) memcpy(&s->bits, values + row * bytes, bytes);
    }
    return TW_OK;
}
static tw_status place_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    const place_state *f = STATE_CONST(place_state, a, from);
    place_state *t = STATE(place_state, a, to);
    if (f->has && place_wins(a, t, f->position)) *t = *f;
    return TW_OK;
}
static tw_status place_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                              column *out, tw_error *err) {
    size_t bytes = type_bytes(a->output);
    FINISH_NULLABLE(a, m, n, out, err, STATE_CONST(place_state, a, groups[i])->has != 1,
                    { memcpy((uint8_t *)out->values + i * bytes, &STATE_CONST(place_state, a, groups[i])->bits, bytes); });
    return TW_OK;
}

/* ---- the table ---- */

static tw_status unsuited(const aggregate *a, const char *function, tw_error *err) {
    char name[64];
    return error_set(err, TW_ERR_JOB, "%s takes %s, not %s", function,
                     a->kind == AGGREGATE_MIN || a->kind == AGGREGATE_MAX ? "values with an order" : "numbers",
                     type_name(a->input, name, sizeof name));
}

static void use(aggregate *a, const struct aggregate_functions *f, uint32_t bytes) {
    a->add = f->add;
    a->merge = f->merge;
    a->finish = f->finish;
    a->bytes = bytes;
    a->has_view = true;
}

#define USE(a, add_, merge_, finish_, bytes_) ((a)->add = (add_), (a)->merge = (merge_), (a)->finish = (finish_), (a)->bytes = (bytes_))

static bool fits_8_bytes(const type *t) { return t->kind <= TYPE_TIMESTAMP; }

tw_status aggregate_init(aggregate *a, aggregate_kind kind, const type *input, tw_error *err) {
    a->kind = kind;
    a->input = input;
    bool integer = input && (type_is_integer(input) || input->kind == TYPE_BOOL);
    bool number = input && type_is_number(input);
    switch (kind) {
    case AGGREGATE_COUNT_ROWS:
        a->output = type_of(TYPE_INT64);
        USE(a, count_rows_add, count_merge, count_finish, 8);
        return TW_OK;
    case AGGREGATE_COUNT:
        a->output = type_of(TYPE_INT64);
        USE(a, count_add, count_merge, count_finish, 8);
        return TW_OK;
    case AGGREGATE_COUNT_DISTINCT:
        a->output = type_of(TYPE_INT64);
        USE(a, count_tagged_add, count_merge, count_finish, 8);
        return TW_OK;
    case AGGREGATE_COUNT_SET:
        a->output = type_of(TYPE_INT64);
        use(a, &aggregate_set, 8);
        return TW_OK;
    case AGGREGATE_SUM:
        if (!number) return unsuited(a, "sum", err);
        a->output = type_of(integer ? TYPE_INT64 : TYPE_FLOAT64);
        if (integer) USE(a, int_sum_add, int_sum_merge, int_sum_finish, sizeof(int_state));
        else USE(a, float_sum_add, float_sum_merge, float_sum_finish, offsetof(float_state, squares));
        return TW_OK;
    case AGGREGATE_MEAN:
        if (!number) return unsuited(a, "mean", err);
        a->output = type_of(TYPE_FLOAT64);
        if (integer) USE(a, int_sum_add, int_sum_merge, int_mean_finish, sizeof(int_state));
        else USE(a, float_sum_add, float_sum_merge, float_sum_finish, offsetof(float_state, squares));
        return TW_OK;
    case AGGREGATE_VARIANCE:
    case AGGREGATE_STDDEV:
        if (!number) return unsuited(a, kind == AGGREGATE_STDDEV ? "stddev" : "variance", err);
        a->output = type_of(TYPE_FLOAT64);
        USE(a, variance_add, variance_merge, variance_finish, sizeof(float_state));
        return TW_OK;
    case AGGREGATE_MIN:
    case AGGREGATE_MAX:
        a->output = input;
        if (fits_8_bytes(input)) USE(a, extreme_add, extreme_merge, extreme_finish, sizeof(extreme_state));
        else if (type_is_view(input)) use(a, &aggregate_extreme_bytes, 8);
        else return unsuited(a, kind == AGGREGATE_MIN ? "min" : "max", err);
        return TW_OK;
    case AGGREGATE_FIRST:
    case AGGREGATE_LAST:
    case AGGREGATE_FIRST_ROW:
        a->output = input;
        if (fits_8_bytes(input)) USE(a, place_add, place_merge, place_finish, sizeof(place_state));
        else use(a, &aggregate_place_bytes, 16);
        return TW_OK;
    case AGGREGATE_QUANTILE:
        if (!number) return unsuited(a, "quantile", err);
        a->output = type_of(TYPE_FLOAT64);
        use(a, &aggregate_quantile, 8);
        return TW_OK;
    case AGGREGATE_COLLECT:
        a->output = type_list(input);
        if (!a->output) return error_set(err, TW_ERR_JOB, "collect cannot nest lists any deeper");
        use(a, &aggregate_collect, 8);
        return TW_OK;
    }
    return error_set(err, TW_ERR_INTERNAL, "no such aggregate");
}

/* ---- parsing ---- */

static const struct {
    const char *name;
    aggregate_kind kind;
} functions[] = {
    {"count", AGGREGATE_COUNT}, {"count_distinct", AGGREGATE_COUNT_DISTINCT}, {"sum", AGGREGATE_SUM},
    {"min", AGGREGATE_MIN},     {"max", AGGREGATE_MAX},                       {"mean", AGGREGATE_MEAN},
    {"stddev", AGGREGATE_STDDEV}, {"variance", AGGREGATE_VARIANCE},           {"first", AGGREGATE_FIRST},
    {"last", AGGREGATE_LAST},   {"quantile", AGGREGATE_QUANTILE},             {"collect", AGGREGATE_COLLECT},
};

const char *aggregate_name(aggregate_kind kind) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (functions[i].kind == kind) return functions[i].name;
    if (kind == AGGREGATE_COUNT_SET) return "count_distinct";
    return kind == AGGREGATE_COUNT_ROWS ? "count" : "first row";
}

static tw_status at_byte(tw_error *err, size_t at, tw_status status) {
    if (err) err->column = at + 1;
    return status;
}

static const char *skip_blanks(const char *p) {
    while (*p == ' ' || *p == '\t' || *p == '\n') p++;
    return p;
}

/* The last comma outside of brackets and quotes in [p, end), or NULL. */
static const char *last_comma(const char *p, const char *end) {
    const char *found = NULL;
    int depth = 0;
    for (char quote = 0; p < end; p++) {
        if (quote) quote = *p == quote ? 0 : quote;
        else if (*p == '\'' || *p == '`') quote = *p;
        else if (*p == '(') depth++;
        else if (*p == ')') depth--;
        else if (*p == ',' && depth == 0) found = p;
    }
    return found;
}

tw_status aggregate_parse(const char *text, aggregate_kind *kind, char **argument, uint32_t *argument_at,
                          double *fraction, tw_error *err) {
    const char *p = skip_blanks(text), *name = p;
    while ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_') p++;
    size_t length = (size_t)(p - name);
    char word[32] = "";
    if (length < sizeof word) memcpy(word, name, length);
    size_t which = COUNT_OF(functions);
    struct nearest near = {word};
    for (size_t i = 0; i < COUNT_OF(functions); i++) {
        if (strcmp(functions[i].name, word) == 0) which = i;
        nearest_try(&near, functions[i].name);
    }
    if (which == COUNT_OF(functions)) {
        error_set(err, TW_ERR_JOB, "unknown aggregate '%.40s'%s%s%s", word[0] ? word : text,
                  near.best ? "; did you mean '" : "", near.best ? near.best : "", near.best ? "'?" : "");
        return at_byte(err, (size_t)(name - text), TW_ERR_JOB);
    }
    *kind = functions[which].kind;
    *fraction = 0;
    p = skip_blanks(p);
    const char *end = p + strlen(p);
    while (end > p && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\n')) end--;
    if (p == end) {
        if (*kind != AGGREGATE_COUNT) {
            error_set(err, TW_ERR_JOB, "%s needs a column: %s(x)", word, word);
            return at_byte(err, (size_t)(name - text), TW_ERR_JOB);
        }
        *kind = AGGREGATE_COUNT_ROWS;
        *argument = strdup("");
        *argument_at = 0;
        return *argument ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    }
    if (*p != '(' || end[-1] != ')') {
        error_set(err, TW_ERR_JOB, "an aggregate is written as %s(x)", word);
        return at_byte(err, (size_t)(p - text), TW_ERR_JOB);
    }
    const char *begin = p + 1;
    end--;
    if (*kind == AGGREGATE_QUANTILE) {
        const char *comma = last_comma(begin, end);
        char *stop = NULL;
        if (comma) *fraction = strtod(comma + 1, &stop);
        if (!comma || stop == comma + 1 || skip_blanks(stop) != end || !(*fraction >= 0 && *fraction <= 1)) {
            error_set(err, TW_ERR_JOB, "a quantile is written as quantile(x, 0.5), with a fraction from 0 to 1");
            return at_byte(err, (size_t)((comma ? comma : begin) - text), TW_ERR_JOB);
        }
        end = comma;
    }
    begin = skip_blanks(begin);
    if (*kind == AGGREGATE_COUNT && (begin == end || (end - begin == 1 && *begin == '*'))) {
        *kind = AGGREGATE_COUNT_ROWS;
        begin = end;
    } else if (begin >= end) {
        error_set(err, TW_ERR_JOB, "%s needs a column: %s(x)", word, word);
        return at_byte(err, (size_t)(begin - text), TW_ERR_JOB);
    }
    *argument = strndup(begin, (size_t)(end - begin));
    *argument_at = (uint32_t)(begin - text);
    return *argument ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
}
