/* Random expressions over random batches, against an interpreter that takes one row at a time and
 * shares no code with the kernels. THALWEG_SEED picks another run. */
#include <math.h>
#include <time.h>

#include "expr_fixture.h"

/* ---- chance ---- */
static uint64_t random_state;
static uint64_t chance(uint64_t below) { /* xorshift64*: Vigna, 2016 */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dULL % below;
}

/* ---- values of the interpreter ---- */
typedef enum outcome { VALUE, IS_NULL, BAD, ANY } outcome; /* ANY: rounding may decide; not compared */
typedef struct value {
    outcome is;
    int64_t i; /* bool, integers, times */
    double f;
    const char *s;
    uint32_t size;
} value;

#define POOL_BYTES (8u << 20)
static char *pool;
static size_t pool_used;
static char *pool_new(size_t n) {
    assert_true(pool_used + n <= POOL_BYTES);
    pool_used += n;
    return pool + pool_used - n;
}

static value null_value(void) { return (value){.is = IS_NULL}; }
static value bad_value(void) { return (value){.is = BAD}; }
static value int_value(int64_t i) { return (value){.i = i}; }
static value float_value(double f) { return (value){.f = f}; }
static value text_value(const char *s, size_t n) { return (value){.s = s, .size = (uint32_t)n}; }

/* ---- trees ---- */
typedef struct tree {
    char op[16]; /* operator, function, "col", "lit", "null" */
    type_kind type;
    int n, column;
    value literal;
    struct tree *children[4];
} tree;

#define TREES_MAX 4000
static tree trees[TREES_MAX];
static int n_trees;

/* Two columns of each type. */
static const type_kind kinds[] = {TYPE_BOOL,    TYPE_INT32, TYPE_INT64,     TYPE_FLOAT32,
                                  TYPE_FLOAT64, TYPE_DATE,  TYPE_TIMESTAMP, TYPE_STRING};
enum { n_kinds = 8, n_columns = 16 };
static const fixture *now;

static tree *make(const char *op, type_kind t, int n, ...) {
    assert_true(n_trees < TREES_MAX);
    tree *x = &trees[n_trees++];
    memset(x, 0, sizeof *x);
    snprintf(x->op, sizeof x->op, "%s", op);
    x->type = t;
    x->n = n;
    va_list children;
    va_start(children, n);
    for (int i = 0; i < n; i++) x->children[i] = va_arg(children, tree *);
    va_end(children);
    return x;
}

static const int64_t odd_integers[] = {0, 1, -1, 2, 3, 7, 10, -10, 100, INT32_MAX, INT32_MIN, INT64_MAX,
                                       INT64_MIN, (INT64_C(1) << 53) + 1, 3037000500, -3037000500};
static const double odd_floats[] = {0, -0.0, 1, -1, 0.5, 2.5, -3.75, 1e10, 1e300, -1e300, 9.3e18, 1e-300};
static const char *const odd_texts[] = {"", "a", "ab", "Abc", " x ", "hello", "Hello World, hello", "%", "_",
                                        "\xc3\x89t\xc3\xa9", "a\nb", "12", "-7", "the quick brown fox", "xxxxxxxxxxxx",
                                        "xxxxxxxxxxxxx", "aXbXc", "\xe2\x82\xac\xe2\x82\xac", "h%o", "h_llo%", "%l%"};
#define PICK(list) list[chance(sizeof list / sizeof *list)]

static tree *literal(type_kind t) {
    tree *x = make("lit", t, 0);
    if (t == TYPE_BOOL) x->literal = int_value((int64_t)chance(2));
    else if (t == TYPE_INT64) x->literal = int_value(PICK(odd_integers));
    else if (t == TYPE_FLOAT64) x->literal = float_value(PICK(odd_floats));
    else {
        const char *s = PICK(odd_texts);
        x->literal = text_value(s, strlen(s));
    }
    return x;
}

static tree *leaf(type_kind t) {
    bool has_literal = t == TYPE_BOOL || t == TYPE_INT64 || t == TYPE_FLOAT64 || t == TYPE_STRING;
    if (has_literal && chance(3) == 0) return literal(t);
    tree *x = make("col", t, 0);
    for (int i = 0; i < n_kinds; i++) {
        if (kinds[i] == t) x->column = i * 2 + (int)chance(2);
    }
    return x;
}

static tree *grow(type_kind t, int depth);

static tree *grow_bool(int d) {
    static const char *const orders[] = {"==", "!=", "<", "<=", ">", ">="};
    static const type_kind pairs[][2] = {
        {TYPE_INT64, TYPE_INT64},   {TYPE_INT32, TYPE_INT64},   {TYPE_INT32, TYPE_INT32},
        {TYPE_INT64, TYPE_FLOAT64}, {TYPE_FLOAT64, TYPE_INT32}, {TYPE_FLOAT32, TYPE_FLOAT64},
        {TYPE_FLOAT32, TYPE_FLOAT32}, {TYPE_INT32, TYPE_FLOAT32}, {TYPE_STRING, TYPE_STRING},
        {TYPE_BOOL, TYPE_BOOL},     {TYPE_DATE, TYPE_DATE},     {TYPE_DATE, TYPE_TIMESTAMP},
        {TYPE_FLOAT32, TYPE_INT64}, {TYPE_FLOAT64, TYPE_FLOAT64}, {TYPE_STRING, TYPE_STRING}};
    const type_kind any = PICK(kinds);
    switch (chance(13)) {
    case 0: return make("and", TYPE_BOOL, 3, grow(TYPE_BOOL, d), grow(TYPE_BOOL, d), grow(TYPE_BOOL, d));
    case 1: return make("or", TYPE_BOOL, 3, grow(TYPE_BOOL, d), grow(TYPE_BOOL, d), grow(TYPE_BOOL, d));
    case 2: return make("not", TYPE_BOOL, 1, grow(TYPE_BOOL, d));
    case 3: return make("is null", TYPE_BOOL, 1, grow(any, d));
    case 4: return make("in", TYPE_BOOL, 4, grow(TYPE_INT64, d), grow(TYPE_INT64, d), leaf(TYPE_INT64), literal(TYPE_INT64));
    case 5: return make("in", TYPE_BOOL, 3, grow(TYPE_STRING, d), literal(TYPE_STRING), literal(TYPE_STRING));
    case 6: return make("like", TYPE_BOOL, 2, grow(TYPE_STRING, d), chance(2) ? literal(TYPE_STRING) : grow(TYPE_STRING, d));
    case 7: {
        static const char *const finds[] = {"contains", "starts_with", "ends_with"};
        return make(PICK(finds), TYPE_BOOL, 2, grow(TYPE_STRING, d), grow(TYPE_STRING, d));
    }
    default: {
        const type_kind *pair = PICK(pairs);
        int first = (int)chance(2);
        return make(PICK(orders), TYPE_BOOL, 2, grow(pair[first], d), grow(pair[!first], d));
    }
    }
}

static tree *grow_number(type_kind t, int d) {
    static const char *const signs[] = {"+", "-", "*", "//", "%"};
    switch (chance(10)) {
    case 0: return make("-x", t, 1, grow(t, d));
    case 1: return make("abs", t, 1, grow(t, d));
    case 2:
        if (t == TYPE_INT64) return make("length", t, 1, grow(TYPE_STRING, d));
        if (t == TYPE_FLOAT64) return make("/", t, 2, grow(TYPE_INT64, d), grow(TYPE_INT32, d));
        break;
    case 3: {
        static const char *const parts[] = {"year", "month", "day", "hour"};
        if (t == TYPE_INT64) return make(PICK(parts), t, 1, grow(chance(2) ? TYPE_DATE : TYPE_TIMESTAMP, d));
        if (t == TYPE_FLOAT64) return make("sqrt", t, 1, grow(TYPE_FLOAT64, d));
        break;
    }
    case 4: {
        static const char *const rounds[] = {"floor", "ceil", "round"};
        if (t == TYPE_INT64) return make("-", t, 2, grow(TYPE_DATE, d), grow(TYPE_DATE, d));
        if (t != TYPE_INT32) return make(PICK(rounds), t, 1, grow(t, d));
        break;
    }
    case 5: {
        static const type_kind from[] = {TYPE_BOOL, TYPE_INT32, TYPE_INT64, TYPE_FLOAT32, TYPE_FLOAT64, TYPE_STRING};
        char name[16];
        snprintf(name, sizeof name, "%s", type_of(t)->kind == TYPE_INT32 ? "int32" : t == TYPE_INT64 ? "int64"
                                           : t == TYPE_FLOAT32 ? "float32" : "float64");
        return make(name, t, 1, grow(PICK(from), d));
    }
    case 6:
        if (t == TYPE_INT64) return make(PICK(signs), t, 2, grow(TYPE_INT32, d), grow(TYPE_INT64, d));
        if (t == TYPE_FLOAT64) return make(PICK(signs), t, 2, grow(TYPE_INT64, d), grow(TYPE_FLOAT64, d));
        break;
    default: break;
    }
    return make(PICK(signs), t, 2, grow(t, d), grow(t, d));
}

static tree *grow_text(int d) {
    switch (chance(7)) {
    case 0: return make("lower", TYPE_STRING, 1, grow(TYPE_STRING, d));
    case 1: return make("upper", TYPE_STRING, 1, grow(TYPE_STRING, d));
    case 2: return make("trim", TYPE_STRING, 1, grow(TYPE_STRING, d));
    case 3: return make("substr", TYPE_STRING, 3, grow(TYPE_STRING, d), grow(TYPE_INT64, d), grow(TYPE_INT64, d));
    case 4: return make("concat", TYPE_STRING, 2, grow(TYPE_STRING, d), grow(TYPE_STRING, d));
    case 5: return make("replace", TYPE_STRING, 3, grow(TYPE_STRING, d), leaf(TYPE_STRING), leaf(TYPE_STRING));
    default: return make("string", TYPE_STRING, 1, grow(chance(2) ? TYPE_INT64 : TYPE_BOOL, d));
    }
}

static tree *grow(type_kind t, int depth) {
    if (depth <= 0 || chance(6) == 0) return leaf(t);
    int d = depth - 1;
    if (chance(5) == 0) {
        switch (chance(4)) {
        case 0: return make("if", t, 3, grow(TYPE_BOOL, d), grow(t, d), grow(t, d));
        case 1: return make("coalesce", t, 3, grow(t, d), grow(t, d), grow(t, d));
        case 2: return make("least", t, 2, grow(t, d), grow(t, d));
        default: return make("greatest", t, 2, grow(t, d), grow(t, d));
        }
    }
    switch (t) {
    case TYPE_BOOL: return grow_bool(d);
    case TYPE_STRING: return grow_text(d);
    case TYPE_DATE:
        if (chance(2)) return make("date", t, 1, grow(TYPE_TIMESTAMP, d));
        return make(chance(2) ? "+" : "-", t, 2, grow(TYPE_DATE, d), grow(TYPE_INT64, d));
    case TYPE_TIMESTAMP:
        if (chance(2)) return make("timestamp", t, 1, grow(TYPE_DATE, d));
        return make(chance(2) ? "+" : "-", t, 2, grow(TYPE_TIMESTAMP, d), grow(TYPE_INT64, d));
    default: return grow_number(t, d);
    }
}

/* ---- to text ---- */
static void print_literal(FILE *to, const tree *x) {
    if (x->type == TYPE_BOOL) fputs(x->literal.i ? "true" : "false", to);
    else if (x->type == TYPE_INT64) fprintf(to, "%lld", (long long)x->literal.i);
    else if (x->type == TYPE_FLOAT64) {
        char number[64];
        snprintf(number, sizeof number, "%.17g", x->literal.f);
        fputs(number, to);
        if (!strpbrk(number, ".e")) fputs(".0", to);
    } else {
        fputc('\'', to);
        fwrite(x->literal.s, 1, x->literal.size, to);
        fputc('\'', to);
    }
}

static void print(FILE *to, const tree *x) {
    if (strcmp(x->op, "lit") == 0) {
        print_literal(to, x);
    } else if (strcmp(x->op, "col") == 0) {
        fprintf(to, "c%d", x->column);
    } else if (strcmp(x->op, "is null") == 0) {
        fputc('(', to);
        print(to, x->children[0]);
        fputs(" is null)", to);
    } else if (strcmp(x->op, "-x") == 0 || strcmp(x->op, "not") == 0) {
        fprintf(to, "(%s ", x->op[0] == '-' ? "-" : "not");
        print(to, x->children[0]);
        fputc(')', to);
    } else if (strcmp(x->op, "in") == 0) {
        fputc('(', to);
        print(to, x->children[0]);
        for (int i = 1; i < x->n; i++) {
            fputs(i == 1 ? " in (" : ", ", to);
            print(to, x->children[i]);
        }
        fputs("))", to);
    } else {
        bool infix = strpbrk(x->op, "+-*/%=<>!") || strcmp(x->op, "and") == 0 || strcmp(x->op, "or") == 0 ||
                     strcmp(x->op, "like") == 0;
        fprintf(to, "%s(", infix ? "" : x->op);
        for (int i = 0; i < x->n; i++) {
            if (i) fprintf(to, infix ? " %s " : ", ", x->op);
            print(to, x->children[i]);
        }
        fputc(')', to);
    }
}

/* ---- the interpreter ---- */
static value from_column(const tree *x, uint32_t row) {
    const column *c = &now->batch->columns[x->column];
    if (!column_is_valid(c, row)) return null_value();
    switch (x->type) {
    case TYPE_BOOL: return int_value(((const uint8_t *)c->values)[row]);
    case TYPE_INT32:
    case TYPE_DATE: return int_value(((const int32_t *)c->values)[row]);
    case TYPE_FLOAT32: return float_value((double)((const float *)c->values)[row]);
    case TYPE_FLOAT64: return float_value(((const double *)c->values)[row]);
    case TYPE_STRING: {
        const view *v = (const view *)c->values + row;
        return text_value((const char *)view_data(v), v->size);
    }
    default: return int_value(((const int64_t *)c->values)[row]);
    }
}

static bool is_float(type_kind t) { return t == TYPE_FLOAT32 || t == TYPE_FLOAT64; }
static value whole(type_kind t, __int128 v) {
    bool narrow = t == TYPE_INT32 || t == TYPE_DATE;
    if (v < (narrow ? INT32_MIN : INT64_MIN) || v > (narrow ? INT32_MAX : INT64_MAX)) return bad_value();
    return int_value((int64_t)v);
}
static value real(type_kind t, double f) { return float_value(t == TYPE_FLOAT32 ? (double)(float)f : f); }
static double as_double(const tree *x, value v) { return is_float(x->type) ? v.f : (double)v.i; }

static int text_order(value a, value b) {
    for (uint32_t i = 0; i < a.size && i < b.size; i++) {
        if (a.s[i] != b.s[i]) return (unsigned char)a.s[i] < (unsigned char)b.s[i] ? -1 : 1;
    }
    return a.size < b.size ? -1 : a.size > b.size;
}

/* -1, 0, 1; 2 when a NaN takes part; 3 when only rounding says. */
static int order(const tree *x, value a, const tree *y, value b) {
    if (x->type == TYPE_STRING) return text_order(a, b);
    if (is_float(x->type) || is_float(y->type)) {
        double p = as_double(x, a), q = as_double(y, b);
        if (isnan(p) || isnan(q)) return 2;
        long double exact_p = is_float(x->type) ? (long double)a.f : (long double)a.i;
        long double exact_q = is_float(y->type) ? (long double)b.f : (long double)b.i;
        int rounded = p < q ? -1 : p > q, exact = exact_p < exact_q ? -1 : exact_p > exact_q;
        return rounded == exact ? exact : 3;
    }
    __int128 p = a.i, q = b.i;
    if (x->type == TYPE_DATE && y->type == TYPE_TIMESTAMP) p *= 86400000000LL;
    if (y->type == TYPE_DATE && x->type == TYPE_TIMESTAMP) q *= 86400000000LL;
    return p < q ? -1 : p > q;
}

static value compare(const char *op, int o) {
    if (o == 3) return (value){.is = ANY};
    if (o == 2) return int_value(strcmp(op, "!=") == 0);
    if (strcmp(op, "==") == 0) return int_value(o == 0);
    if (strcmp(op, "!=") == 0) return int_value(o != 0);
    if (strcmp(op, "<") == 0) return int_value(o < 0);
    if (strcmp(op, "<=") == 0) return int_value(o <= 0);
    if (strcmp(op, ">") == 0) return int_value(o > 0);
    return int_value(o >= 0);
}

static value arithmetic(const tree *x, value a, value b) {
    const tree *p = x->children[0], *q = x->children[1];
    char op = x->op[0];
    bool whole_division = strcmp(x->op, "//") == 0;
    if (is_float(x->type)) {
        double f = as_double(p, a), g = as_double(q, b);
        if ((op == '/' || op == '%') && g == 0) return bad_value();
        bool narrow = x->type == TYPE_FLOAT32;
        switch (op) {
        case '+': return real(x->type, f + g);
        case '-': return real(x->type, f - g);
        case '*': return real(x->type, f * g);
        case '%': return real(x->type, narrow ? (double)fmodf((float)f, (float)g) : fmod(f, g));
        default: f = narrow ? (double)((float)f / (float)g) : f / g; return real(x->type, whole_division ? trunc(f) : f);
        }
    }
    if (p->type == TYPE_DATE && q->type == TYPE_INT64) { /* in int64 first */
        value wide = whole(TYPE_INT64, op == '+' ? (__int128)a.i + b.i : (__int128)a.i - b.i);
        return wide.is == BAD ? wide : whole(x->type, wide.i);
    }
    if ((op == '/' || op == '%') && b.i == 0) return bad_value();
    switch (op) {
    case '+': return whole(x->type, (__int128)a.i + b.i);
    case '-': return whole(x->type, (__int128)a.i - b.i);
    case '*': return whole(x->type, (__int128)a.i * b.i);
    case '%': return whole(x->type, (__int128)a.i % b.i);
    default: return whole(x->type, (__int128)a.i / b.i);
    }
}

static value convert(const tree *x, value a) {
    type_kind from = x->children[0]->type;
    if (from == TYPE_STRING) {
        char copy[64], *end;
        if (a.size == 0 || a.size > 40) return bad_value();
        memcpy(copy, a.s, a.size);
        copy[a.size] = 0;
        if (strspn(copy, "+-0123456789.") != a.size) return bad_value();
        double f = strtod(copy, &end);
        if (*end || end == copy) return bad_value();
        if (is_float(x->type)) return real(x->type, f);
        if (strchr(copy, '.')) return bad_value();
        __int128 wide = 0; /* at most 40 digits: no overflow below 2^127 for 38 */
        if (a.size > 30) return (value){.is = ANY};
        for (const char *c = copy; *c; c++) if (*c >= '0') wide = wide * 10 + (*c - '0');
        return whole(x->type, copy[0] == '-' ? -wide : wide);
    }
    if (is_float(x->type)) {
        if (!is_float(from)) return float_value(x->type == TYPE_FLOAT32 ? (double)(float)a.i : (double)a.i);
        if (x->type == TYPE_FLOAT32 && isfinite(a.f) && isinf((float)a.f)) return bad_value();
        return real(x->type, a.f);
    }
    if (!is_float(from)) return whole(x->type, a.i);
    if (!(fabs(a.f) < 1e19)) return bad_value();
    return whole(x->type, (__int128)a.f);
}

/* Code points one after the other; at `n` the end. */
static uint32_t point_at(value v, uint32_t index) {
    uint32_t at = 0;
    while (at < v.size && index > 0) {
        at++;
        while (at < v.size && ((unsigned char)v.s[at] & 0xc0) == 0x80) at++;
        index--;
    }
    return at;
}
static uint32_t points(value v) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < v.size; i++) n += ((unsigned char)v.s[i] & 0xc0) != 0x80;
    return n;
}

static bool like(value t, value p) {
    if (p.size == 0) return t.size == 0;
    if (*p.s == '%') {
        value rest = text_value(p.s + 1, p.size - 1);
        for (uint32_t i = 0;; i = i + point_at(text_value(t.s + i, t.size - i), 1)) {
            if (like(text_value(t.s + i, t.size - i), rest)) return true;
            if (i >= t.size) return false;
        }
    }
    if (t.size == 0) return false;
    uint32_t step = *p.s == '_' ? point_at(t, 1) : 1;
    if (*p.s != '_' && *p.s != *t.s) return false;
    return like(text_value(t.s + step, t.size - step), text_value(p.s + 1, p.size - 1));
}

static int find_text(value t, value part, uint32_t from) {
    for (uint32_t i = from; i + part.size <= t.size; i++) {
        if (memcmp(t.s + i, part.s, part.size) == 0) return (int)i;
    }
    return -1;
}

static value text_function(const tree *x, const value *v) {
    char *to = pool_new((size_t)v[0].size * 20 + (x->n > 1 ? v[1].size : 0) + 64);
    size_t n = 0;
    const char *op = x->op;
    if (strcmp(op, "lower") == 0 || strcmp(op, "upper") == 0) { /* the only letters: ASCII, e acute */
        bool up = *op == 'u';
        for (uint32_t i = 0; i < v[0].size; i++) {
            char c = v[0].s[i];
            if (up && c >= 'a' && c <= 'z') c = (char)(c - 32);
            if (!up && c >= 'A' && c <= 'Z') c = (char)(c + 32);
            if ((unsigned char)c == (up ? 0xa9 : 0x89) && i && (unsigned char)v[0].s[i - 1] == 0xc3) c = (char)(c ^ 0x20);
            to[n++] = c;
        }
        return text_value(to, n);
    }
    if (strcmp(op, "trim") == 0) {
        value t = v[0];
        while (t.size && strchr(" \t\n\v\f\r", *t.s)) t.s++, t.size--;
        while (t.size && strchr(" \t\n\v\f\r", t.s[t.size - 1])) t.size--;
        return t;
    }
    if (strcmp(op, "substr") == 0) {
        __int128 length = points(v[0]), from = v[1].i, end = from + v[2].i;
        if (from < 1) from = 1;
        if (end > length + 1) end = length + 1;
        if (end <= from) return text_value("", 0);
        uint32_t a = point_at(v[0], (uint32_t)from - 1), b = point_at(v[0], (uint32_t)end - 1);
        return text_value(v[0].s + a, b - a);
    }
    if (strcmp(op, "concat") == 0) {
        memcpy(to, v[0].s, v[0].size);
        memcpy(to + v[0].size, v[1].s, v[1].size);
        return text_value(to, v[0].size + v[1].size);
    }
    if (strcmp(op, "replace") == 0) {
        uint32_t at = 0;
        for (int hit; v[1].size && (hit = find_text(v[0], v[1], at)) >= 0; at = (uint32_t)hit + v[1].size) {
            memcpy(to + n, v[0].s + at, (size_t)hit - at);
            n += (size_t)hit - at;
            memcpy(to + n, v[2].s, v[2].size);
            n += v[2].size;
        }
        memcpy(to + n, v[0].s + at, v[0].size - at);
        return text_value(to, n + v[0].size - at);
    }
    if (x->children[0]->type == TYPE_BOOL) return v[0].i ? text_value("true", 4) : text_value("false", 5);
    return text_value(to, (size_t)sprintf(to, "%lld", (long long)v[0].i));
}

static value time_part(const tree *x, value v) {
    int64_t us = x->children[0]->type == TYPE_DATE ? 0 : v.i;
    int64_t day = x->children[0]->type == TYPE_DATE ? v.i : (int64_t)floorl((long double)us / 86400000000.0L);
    if (x->children[0]->type != TYPE_DATE && day * (__int128)86400000000LL > us) day--;
    if (strcmp(x->op, "hour") == 0) {
        if (x->children[0]->type == TYPE_DATE) return int_value(0);
        return int_value((int64_t)((us - day * (__int128)86400000000LL) / 3600000000LL));
    }
    struct tm tm;
    time_t seconds = day * 86400;
    assert_non_null(gmtime_r(&seconds, &tm));
    return int_value(*x->op == 'y' ? tm.tm_year + 1900LL : *x->op == 'm' ? tm.tm_mon + 1 : tm.tm_mday);
}

static value strict(const tree *x, const value *v) {
    const char *op = x->op;
    const tree *p = x->children[0], *q = x->children[1];
    if (strchr("=!<>", *op)) {
        return compare(op, order(p, v[0], q, v[1]));
    }
    if (strcmp(op, "not") == 0) return int_value(!v[0].i);
    if (strcmp(op, "-x") == 0) return is_float(x->type) ? float_value(-v[0].f) : whole(x->type, -(__int128)v[0].i);
    if (strcmp(op, "abs") == 0) {
        return is_float(x->type) ? float_value(fabs(v[0].f)) : whole(x->type, v[0].i < 0 ? -(__int128)v[0].i : v[0].i);
    }
    if (strchr("+-*/%", *op)) return arithmetic(x, v[0], v[1]);
    if (strcmp(op, "least") == 0 || strcmp(op, "greatest") == 0) {
        int o = order(p, v[0], q, v[1]);
        if (o == 2) o = isnan(v[0].f) ? 1 : -1;
        return v[*op == 'l' ? o > 0 : o < 0];
    }
    if (strcmp(op, "length") == 0) return int_value(points(v[0]));
    if (strcmp(op, "like") == 0) return int_value(like(v[0], v[1]));
    if (strcmp(op, "contains") == 0) return int_value(find_text(v[0], v[1], 0) >= 0);
    if (strcmp(op, "starts_with") == 0) return int_value(v[0].size >= v[1].size && !memcmp(v[0].s, v[1].s, v[1].size));
    if (strcmp(op, "ends_with") == 0) {
        return int_value(v[0].size >= v[1].size && !memcmp(v[0].s + v[0].size - v[1].size, v[1].s, v[1].size));
    }
    if (strcmp(op, "sqrt") == 0) return float_value(sqrt(v[0].f));
    if (strcmp(op, "floor") == 0) return float_value(floor(v[0].f));
    if (strcmp(op, "ceil") == 0) return float_value(ceil(v[0].f));
    if (strcmp(op, "round") == 0) return float_value(round(v[0].f));
    if (strstr("year month day hour", op)) return time_part(x, v[0]);
    if (strcmp(op, "date") == 0) {
        int64_t day = v[0].i / 86400000000LL;
        return int_value(day - (v[0].i % 86400000000LL < 0));
    }
    if (strcmp(op, "timestamp") == 0) return whole(TYPE_TIMESTAMP, (__int128)v[0].i * 86400000000LL);
    if (x->type == TYPE_STRING) return text_function(x, v);
    return convert(x, v[0]);
}

static value interpret(const tree *x, uint32_t row);

static value interpret_logic(const tree *x, uint32_t row) {
    bool is_in = strcmp(x->op, "in") == 0, is_and = strcmp(x->op, "and") == 0, any_null = false;
    value found = is_in ? interpret(x->children[0], row) : int_value(0);
    if (found.is == BAD || found.is == ANY) return found;
    for (int i = is_in; i < x->n; i++) {
        value v = interpret(x->children[i], row);
        if (v.is == BAD || v.is == ANY) return v;
        if (v.is == IS_NULL || found.is == IS_NULL) {
            any_null = true;
        } else {
            bool hit = is_in ? order(x->children[0], found, x->children[i], v) == 0 : v.i != 0;
            if (hit != is_and) return int_value(!is_and);
        }
    }
    return any_null ? null_value() : int_value(is_and);
}

static value interpret(const tree *x, uint32_t row) {
    if (strcmp(x->op, "lit") == 0) return x->literal;
    if (strcmp(x->op, "col") == 0) return from_column(x, row);
    if (strcmp(x->op, "and") == 0 || strcmp(x->op, "or") == 0 || strcmp(x->op, "in") == 0) return interpret_logic(x, row);
    value v[4];
    if (strcmp(x->op, "coalesce") == 0) {
        for (int i = 0; i < x->n; i++) {
            v[0] = interpret(x->children[i], row);
            if (v[0].is != IS_NULL) return v[0];
        }
        return null_value();
    }
    if (strcmp(x->op, "if") == 0) {
        v[0] = interpret(x->children[0], row);
        if (v[0].is == BAD || v[0].is == ANY) return v[0];
        return interpret(x->children[v[0].is == VALUE && v[0].i ? 1 : 2], row);
    }
    bool any_null = false, any_bad = false, any = false;
    for (int i = 0; i < x->n; i++) {
        v[i] = interpret(x->children[i], row);
        any_null |= v[i].is == IS_NULL;
        any_bad |= v[i].is == BAD;
        any |= v[i].is == ANY;
    }
    if (x->n == 2 && x->children[0]->type != x->children[1]->type && strchr("=!<>", *x->op)) {
        for (int i = 0; i < 2; i++) { /* a date that meets a timestamp becomes one */
            any_bad |= x->children[i]->type == TYPE_DATE && v[i].is == VALUE && llabs(v[i].i) > 106751991;
        }
    }
    if (any) return (value){.is = ANY};
    if (any_bad) return bad_value();
    if (strcmp(x->op, "is null") == 0) return int_value(any_null);
    return any_null ? null_value() : strict(x, v);
}

/* ---- random batches ---- */
static void random_value(column_builder *b, type_kind t) {
    tw_error err;
    int64_t i = chance(3) == 0 ? PICK(odd_integers) : (int64_t)chance(40) - 20;
    double f = chance(3) == 0 ? PICK(odd_floats) : (double)((int64_t)chance(400) - 200) / 8;
    if (chance(40) == 0) f = chance(2) ? NAN : INFINITY;
    const char *s = PICK(odd_texts);
    if (t == TYPE_INT32 || t == TYPE_DATE) i = (int32_t)i;
    if (t == TYPE_DATE && chance(2)) i = (int64_t)chance(40000) - 20000;
    if (t == TYPE_TIMESTAMP && chance(2)) i = (int64_t)chance(4000000000000000) - 2000000000000000;
    if (t == TYPE_BOOL) i &= 1;
    if (t == TYPE_STRING) must(column_builder_bytes(b, s, (uint32_t)strlen(s), &err), &err);
    else if (is_float(t)) must(column_builder_float(b, t == TYPE_FLOAT32 ? (double)(float)f : f, &err), &err);
    else must(column_builder_int(b, i, &err), &err);
}

static void random_batch(fixture *f, uint32_t rows) {
    tw_error err;
    must(batch_new(f->schema, rows, &f->batch, &err), &err);
    for (int c = 0; c < n_columns; c++) {
        column_builder *b;
        uint64_t nulls = c % 2 ? 1 + chance(5) : 0; /* the second of a type may have some */
        must(column_builder_new(f->memory, type_of(kinds[c / 2]), &b, &err), &err);
        for (uint32_t i = 0; i < rows; i++) {
            if (nulls && chance(nulls + 1) == 0) must(column_builder_null(b, &err), &err);
            else random_value(b, kinds[c / 2]);
        }
        must(column_builder_finish(b, &f->batch->columns[c], &err), &err);
        column_builder_free(b);
    }
}

static bool agrees(const tree *x, value wanted, const column *c, uint32_t row, bool is_bad) {
    if (wanted.is == ANY) return true;
    if (is_bad != (wanted.is == BAD)) return false;
    if (column_is_valid(c, row) != (wanted.is == VALUE)) return false;
    if (wanted.is != VALUE) return true;
    tree like_column = {.op = "col", .type = x->type};
    switch (x->type) {
    case TYPE_STRING: {
        const view *v = (const view *)c->values + row;
        return v->size == wanted.size && memcmp(view_data(v), wanted.s, wanted.size) == 0;
    }
    case TYPE_FLOAT32: {
        float f = ((const float *)c->values)[row];
        return f == (float)wanted.f || (isnan(f) && isnan(wanted.f));
    }
    case TYPE_FLOAT64: {
        double f = ((const double *)c->values)[row];
        return f == wanted.f || (isnan(f) && isnan(wanted.f));
    }
    case TYPE_BOOL: return ((const uint8_t *)c->values)[row] == wanted.i;
    case TYPE_INT32:
    case TYPE_DATE: return ((const int32_t *)c->values)[row] == wanted.i;
    default: (void)like_column; return ((const int64_t *)c->values)[row] == wanted.i;
    }
}

static void check_tree(const fixture *f, const tree *x) {
    char *text;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    print(stream, x);
    fclose(stream);
    tw_error err;
    expr *e;
    expr_scratch *s;
    column c;
    expr_bad bad;
    if (expr_compile(text, f->schema, &e, &err) != TW_OK) fail_msg("%s\n%d: %s", text, (int)err.column, err.message);
    must(expr_scratch_new(e, f->memory, &s, &err), &err);
    for (int again = 0; again < 2; again++) { /* a scratch is used for many batches */
        must(expr_evaluate(e, s, f->batch, &c, &bad, &err), &err);
        uint32_t seen = 0;
        for (uint32_t row = 0; row < f->batch->rows; row++) {
            bool is_bad = seen < bad.n && bad.rows[seen].row == row;
            seen += is_bad;
            pool_used = 0;
            value wanted = interpret(x, row);
            if (agrees(x, wanted, &c, row, is_bad)) continue;
            char got[256];
            value_text(&c, row, got, sizeof got);
            fail_msg("%s\nrow %u of %u gives %s %s, wanted %d: %lld %g '%.*s'", text, row, f->batch->rows, got,
                     is_bad ? bad.rows[seen - 1].reason : "", (int)wanted.is, (long long)wanted.i, wanted.f,
                     (int)wanted.size, wanted.s ? wanted.s : "");
        }
        assert_int_equal(seen, bad.n);
        column_clear(&c);
    }
    expr_scratch_free(s);
    expr_free(e);
    free(text);
}

static void random_expressions(void **state) {
    static const uint32_t sizes[] = {1, 2, 63, 64, 65, 200, 2047, 2048, 2049, 4500};
    const char *given = getenv("THALWEG_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    int rounds = getenv("THALWEG_ROUNDS") ? atoi(getenv("THALWEG_ROUNDS")) : 40;
    print_message("THALWEG_SEED=%llu\n", (unsigned long long)seed);
    random_state = seed * 0x9e3779b97f4a7c15ULL + 1;
    fixture f;
    tw_error err;
    const char *names[n_columns];
    char name_bytes[n_columns][16];
    const type *types[n_columns];
    pool = malloc(POOL_BYTES);
    must(memory_create(256u << 20, &f.memory, &err), &err);
    for (int i = 0; i < n_columns; i++) {
        snprintf(name_bytes[i], sizeof name_bytes[i], "c%d", i);
        names[i] = name_bytes[i];
        types[i] = type_of(kinds[i / 2]);
    }
    must(schema_new(names, types, n_columns, &f.schema, &err), &err);
    now = &f;
    for (int round = 0; round < rounds; round++) {
        uint32_t rows = PICK(sizes);
        random_batch(&f, rows);
        for (int i = 0; i < (rows > 1000 ? 20 : 100); i++) {
            n_trees = 0;
            const tree *x = grow(PICK(kinds), 1 + (int)chance(5));
            if (strcmp(x->op, "col") != 0) check_tree(&f, x);
        }
        batch_unref(f.batch);
    }
    schema_unref(f.schema);
    memory_destroy(f.memory);
    free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_expressions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
