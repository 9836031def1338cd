/* The lexer and a Pratt parser: text to tree. Knows no types and no columns. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/number_text.h"
#include "expr/expr_internal.h"

/* ---- errors ---- */
tw_status expr_error(tw_error *err, uint32_t at, const char *format, ...) {
    char message[sizeof err->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    error_set(err, TW_ERR_JOB, "%s", message);
    error_in_job(err, NULL, 0, (uint64_t)at + 1);
    return TW_ERR_JOB;
}

tw_status expr_no_memory(tw_error *err) {
    return error_set(err, TW_ERR_MEMORY, "out of memory for an expression");
}

const char *operator_name(operator_kind o) {
    static const char *const names[] = {"==", "!=", "<", "<=", ">", ">=", "+",
                                        "-",  "*",  "/", "//", "%", "like"};
    return names[o];
}

/* ---- tokens ---- */
typedef enum token_kind {
    TOKEN_END,
    TOKEN_NAME,
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_TEXT,
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_COMMA,
    TOKEN_OPERATOR, /* a binary one, and minus */
    TOKEN_AND,
    TOKEN_OR,
    TOKEN_NOT,
    TOKEN_IN,
    TOKEN_IS,
    TOKEN_LIKE,
    TOKEN_NULL,
    TOKEN_TRUE,
    TOKEN_FALSE,
} token_kind;

typedef struct token {
    token_kind kind;
    operator_kind operator;
    uint32_t at, end;
    bool quoted;        /* a name in backticks: never a function */
    bool too_large;     /* an integer beyond 64 bits */
    uint64_t magnitude; /* of an integer, without sign */
    double number;
    char *text; /* of names and texts, quotes undone */
    uint32_t text_size;
} token;

typedef struct parser {
    arena *memory;
    const char *text;
    uint32_t size, at;
    uint32_t nesting, nodes;
    token now;
    tw_error *err;
} parser;

static const struct {
    const char *word;
    token_kind kind;
} keywords[] = {
    {"and", TOKEN_AND}, {"or", TOKEN_OR},     {"not", TOKEN_NOT},   {"in", TOKEN_IN},
    {"is", TOKEN_IS},   {"like", TOKEN_LIKE}, {"null", TOKEN_NULL}, {"true", TOKEN_TRUE},
    {"false", TOKEN_FALSE},
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool starts_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}
static bool continues_name(char c) { return starts_name(c) || is_digit(c) || c == '.'; }

/* Byte `i` of the text; 0 at its end. */
static char byte_at(const parser *p, uint32_t i) { return i < p->size ? p->text[i] : 0; }

static tw_status lex_quoted(parser *p, token *t, char quote) {
    uint32_t i = p->at + 1;
    for (;; i++) {
        if (i >= p->size) {
            return expr_error(p->err, t->at,
                              quote == '\'' ? "this text has no closing quote ' (a quote inside is '')"
                                            : "this column name has no closing backtick");
        }
        if (p->text[i] == quote) {
            if (byte_at(p, i + 1) != quote) break;
            i++;
        }
    }
    t->end = i + 1;
    char *to = t->text = arena_new(p->memory, t->end - p->at);
    if (!to) return expr_no_memory(p->err);
    for (uint32_t k = p->at + 1; k < i; k++) {
        *to++ = p->text[k];
        if (p->text[k] == quote) k++; /* doubled */
    }
    t->text_size = (uint32_t)(to - t->text);
    return TW_OK;
}

static tw_status lex_number(parser *p, token *t) {
    uint32_t i = p->at;
    bool is_float = false;
    while (is_digit(byte_at(p, i))) i++;
    if (byte_at(p, i) == '.') {
        is_float = true;
        i++;
        while (is_digit(byte_at(p, i))) i++;
    }
    if (byte_at(p, i) == 'e' || byte_at(p, i) == 'E') {
        uint32_t exponent = i + 1;
        if (byte_at(p, exponent) == '+' || byte_at(p, exponent) == '-') exponent++;
        if (is_digit(byte_at(p, exponent))) {
            is_float = true;
            i = exponent;
            while (is_digit(byte_at(p, i))) i++;
        }
    }
    if (continues_name(byte_at(p, i))) {
        return expr_error(p->err, i, "'%.*s' is no number", (int)(i + 1 - p->at < 60 ? i + 1 - p->at : 60),
                          p->text + p->at);
    }
    t->end = i;
    if (is_float) {
        t->kind = TOKEN_FLOAT;
        if (parse_float64(p->text + p->at, i - p->at, &t->number) != PARSE_OK) {
            return expr_error(p->err, t->at, "this number does not fit float64");
        }
        return TW_OK;
    }
    t->kind = TOKEN_INTEGER;
    for (uint32_t k = p->at; k < i; k++) {
        if (__builtin_mul_overflow(t->magnitude, 10u, &t->magnitude) ||
            __builtin_add_overflow(t->magnitude, (uint64_t)(p->text[k] - '0'), &t->magnitude)) {
            t->too_large = true;
        }
    }
    return TW_OK;
}

static tw_status lex_name(parser *p, token *t) {
    uint32_t i = p->at;
    while (continues_name(byte_at(p, i))) i++;
    t->end = i;
    t->kind = TOKEN_NAME;
    t->text_size = i - p->at;
    t->text = arena_new(p->memory, t->text_size + 1);
    if (!t->text) return expr_no_memory(p->err);
    memcpy(t->text, p->text + p->at, t->text_size);
    for (size_t k = 0; k < sizeof keywords / sizeof *keywords; k++) {
        if (strcmp(t->text, keywords[k].word) == 0) t->kind = keywords[k].kind;
    }
    t->operator = OPERATOR_LIKE; /* of TOKEN_LIKE */
    return TW_OK;
}

/* Signs of other languages, with what is meant here. The longer before the shorter. */
static const struct {
    const char *sign, *hint;
} foreign[] = {
    {"&&", "write 'and'"},
    {"||", "write 'or', or concat(a, b) to join texts"},
    {"<>", "write '!='"},
    {"**", "write pow(x, y)"},
    {"^", "write pow(x, y)"},
    {"=", "write '==' to compare"},
    {"!", "write 'not'"},
    {"\"", "write text in single quotes, 'text', and odd column names in backticks"},
    {"&", "write 'and'"},
    {"|", "write 'or'"},
};

static const struct {
    const char *sign;
    token_kind kind;
    operator_kind operator;
} signs[] = {
    {"==", TOKEN_OPERATOR, OPERATOR_EQUAL},
    {"!=", TOKEN_OPERATOR, OPERATOR_NOT_EQUAL},
    {"<=", TOKEN_OPERATOR, OPERATOR_LESS_EQUAL},
    {">=", TOKEN_OPERATOR, OPERATOR_GREATER_EQUAL},
    {"//", TOKEN_OPERATOR, OPERATOR_DIVIDE_WHOLE},
    {"<", TOKEN_OPERATOR, OPERATOR_LESS},
    {">", TOKEN_OPERATOR, OPERATOR_GREATER},
    {"+", TOKEN_OPERATOR, OPERATOR_ADD},
    {"-", TOKEN_OPERATOR, OPERATOR_SUBTRACT},
    {"*", TOKEN_OPERATOR, OPERATOR_MULTIPLY},
    {"/", TOKEN_OPERATOR, OPERATOR_DIVIDE},
    {"%", TOKEN_OPERATOR, OPERATOR_REMAINDER},
    {"(", TOKEN_OPEN, 0},
    {")", TOKEN_CLOSE, 0},
    {",", TOKEN_COMMA, 0},
};

static bool sign_here(const parser *p, const char *sign) {
    size_t n = strlen(sign);
    return p->size - p->at >= n && memcmp(p->text + p->at, sign, n) == 0;
}

static tw_status lex_sign(parser *p, token *t) {
    bool is_equal = sign_here(p, "=="), is_unequal = sign_here(p, "!=");
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign && !is_equal && !is_unequal; i++) {
        if (sign_here(p, foreign[i].sign)) {
            return expr_error(p->err, p->at, "unexpected '%s'; %s", foreign[i].sign, foreign[i].hint);
        }
    }
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        if (!sign_here(p, signs[i].sign)) continue;
        t->kind = signs[i].kind;
        t->operator = signs[i].operator;
        t->end = p->at + (uint32_t)strlen(signs[i].sign);
        return TW_OK;
    }
    unsigned char c = (unsigned char)p->text[p->at];
    if (c < 0x20 || c == 0x7f) {
        return expr_error(p->err, p->at, "unexpected character with code %u", c);
    }
    return expr_error(p->err, p->at, "unexpected '%c'", c);
}

static tw_status next_token(parser *p) {
    while (p->at < p->size && strchr(" \t\r\n", p->text[p->at])) p->at++;
    token t = {.at = p->at, .end = p->at};
    if (p->at < p->size) {
        char c = p->text[p->at];
        if (is_digit(c) || (c == '.' && is_digit(byte_at(p, p->at + 1)))) {
            TRY(lex_number(p, &t));
        } else if (starts_name(c)) {
            TRY(lex_name(p, &t));
        } else if (c == '\'') {
            t.kind = TOKEN_TEXT;
            TRY(lex_quoted(p, &t, c));
        } else if (c == '`') {
            t.kind = TOKEN_NAME;
            t.quoted = true;
            TRY(lex_quoted(p, &t, c));
        } else {
            TRY(lex_sign(p, &t));
        }
    }
    p->now = t;
    p->at = t.end;
    return TW_OK;
}

static tw_status unexpected(parser *p, const char *wanted) {
    const token *t = &p->now;
    if (t->kind == TOKEN_END) return expr_error(p->err, t->at, "the expression ends where %s should be", wanted);
    int shown = (int)(t->end - t->at < 40 ? t->end - t->at : 40);
    if (t->kind == TOKEN_NAME && !t->quoted) {
        for (size_t k = 0; k < sizeof keywords / sizeof *keywords; k++) {
            if (strcasecmp(t->text, keywords[k].word) == 0) {
                return expr_error(p->err, t->at, "unexpected '%.*s'; write '%s'", shown,
                                  p->text + t->at, keywords[k].word);
            }
        }
    }
    return expr_error(p->err, t->at, "unexpected '%.*s' where %s should be", shown, p->text + t->at,
                      wanted);
}

/* ---- the tree ---- */
static tw_status ast_new(parser *p, ast_kind kind, uint32_t at, ast **out) {
    if (++p->nodes > EXPR_NODES_MAX) {
        return expr_error(p->err, at, "the expression has more than %u parts", EXPR_NODES_MAX);
    }
    *out = arena_new(p->memory, sizeof **out);
    if (!*out) return expr_no_memory(p->err);
    (*out)->kind = kind;
    (*out)->at = at;
    (*out)->depth = 1;
    return TW_OK;
}

static tw_status ast_add(parser *p, ast *parent, ast *child) {
    if (parent->n == parent->capacity) {
        uint32_t capacity = parent->capacity ? parent->capacity * 2 : 4;
        ast **grown = arena_new(p->memory, capacity * sizeof *grown);
        if (!grown) return expr_no_memory(p->err);
        if (parent->n) memcpy(grown, parent->children, parent->n * sizeof *grown);
        parent->children = grown;
        parent->capacity = capacity;
    }
    parent->children[parent->n++] = child;
    if (child->depth >= parent->depth) parent->depth = child->depth + 1;
    if (parent->depth > EXPR_DEPTH_MAX) {
        return expr_error(p->err, parent->at, "the expression is more than %u operators deep",
                          EXPR_DEPTH_MAX);
    }
    return TW_OK;
}

/* How tightly operators bind, from loose to tight. */
enum { BIND_ANY, BIND_OR, BIND_AND, BIND_NOT, BIND_COMPARE, BIND_ADD, BIND_MULTIPLY, BIND_MINUS };

static tw_status parse_binding(parser *p, int least, ast **out);

/* "(" has been read: expressions with commas between, up to ")". */
static tw_status parse_list(parser *p, ast *parent, uint32_t open_at) {
    if (p->now.kind == TOKEN_CLOSE) return next_token(p);
    for (;;) {
        ast *item;
        TRY(parse_binding(p, BIND_ANY, &item));
        TRY(ast_add(p, parent, item));
        if (p->now.kind == TOKEN_CLOSE) return next_token(p);
        if (p->now.kind == TOKEN_END) {
            return expr_error(p->err, open_at, "this '(' is never closed");
        }
        if (p->now.kind != TOKEN_COMMA) return unexpected(p, "',' or ')'");
        TRY(next_token(p));
    }
}

static tw_status parse_integer(parser *p, bool negative, ast **out) {
    uint64_t limit = (uint64_t)INT64_MAX + negative;
    if (p->now.too_large || p->now.magnitude > limit) {
        return expr_error(p->err, p->now.at, "this number does not fit int64; write it with a point to get a float");
    }
    TRY(ast_new(p, AST_INTEGER, p->now.at, out));
    (*out)->integer = (int64_t)(negative ? 0 - p->now.magnitude : p->now.magnitude);
    return next_token(p);
}

static tw_status parse_name(parser *p, ast **out) {
    token name = p->now;
    TRY(next_token(p));
    bool is_call = p->now.kind == TOKEN_OPEN && !name.quoted;
    TRY(ast_new(p, is_call ? AST_CALL : AST_COLUMN, name.at, out));
    (*out)->text = name.text;
    (*out)->text_size = name.text_size;
    if (!is_call) return TW_OK;
    uint32_t open_at = p->now.at;
    TRY(next_token(p));
    return parse_list(p, *out, open_at);
}

static tw_status parse_prefix(parser *p, int least, ast **out) {
    token t = p->now;
    switch (t.kind) {
    case TOKEN_NAME: return parse_name(p, out);
    case TOKEN_INTEGER: return parse_integer(p, false, out);
    case TOKEN_FLOAT:
        TRY(ast_new(p, AST_FLOAT, t.at, out));
        (*out)->number = t.number;
        return next_token(p);
    case TOKEN_TEXT:
        TRY(ast_new(p, AST_TEXT, t.at, out));
        (*out)->text = t.text;
        (*out)->text_size = t.text_size;
        return next_token(p);
    case TOKEN_NULL:
        TRY(ast_new(p, AST_NULL, t.at, out));
        return next_token(p);
    case TOKEN_TRUE:
    case TOKEN_FALSE:
        TRY(ast_new(p, AST_BOOL, t.at, out));
        (*out)->integer = t.kind == TOKEN_TRUE;
        return next_token(p);
    case TOKEN_OPEN:
        TRY(next_token(p));
        TRY(parse_binding(p, BIND_ANY, out));
        if (p->now.kind == TOKEN_END) {
            return expr_error(p->err, t.at, "this '(' is never closed");
        }
        if (p->now.kind != TOKEN_CLOSE) return unexpected(p, "an operator or ')'");
        return next_token(p);
    case TOKEN_NOT: {
        if (least > BIND_NOT) return expr_error(p->err, t.at, "put parentheses around 'not ...' here");
        ast *inner;
        TRY(next_token(p));
        TRY(parse_binding(p, BIND_NOT, &inner));
        TRY(ast_new(p, AST_NOT, t.at, out));
        return ast_add(p, *out, inner);
    }
    case TOKEN_OPERATOR:
        if (t.operator == OPERATOR_SUBTRACT) {
            ast *inner;
            TRY(next_token(p));
            if (p->now.kind == TOKEN_INTEGER) {
                TRY(parse_integer(p, true, out));
                (*out)->at = t.at;
                return TW_OK;
            }
            TRY(parse_binding(p, BIND_MINUS, &inner));
            TRY(ast_new(p, AST_NEGATE, t.at, out));
            return ast_add(p, *out, inner);
        }
        break;
    default: break;
    }
    return unexpected(p, "a value");
}

static int binding_of(const token *t) {
    switch (t->kind) {
    case TOKEN_OR: return BIND_OR;
    case TOKEN_AND: return BIND_AND;
    case TOKEN_IN:
    case TOKEN_IS:
    case TOKEN_LIKE:
    case TOKEN_NOT: return BIND_COMPARE; /* as in `x not in (...)` */
    case TOKEN_OPERATOR:
        if (t->operator <= OPERATOR_GREATER_EQUAL) return BIND_COMPARE;
        return t->operator <= OPERATOR_SUBTRACT ? BIND_ADD : BIND_MULTIPLY;
    default: return BIND_ANY;
    }
}

static tw_status negate_if(parser *p, bool negated, uint32_t at, ast **x) {
    if (!negated) return TW_OK;
    ast *inner = *x;
    TRY(ast_new(p, AST_NOT, at, x));
    return ast_add(p, *x, inner);
}

/* in, is, like, and the comparisons; the operator is p->now. */
static tw_status parse_comparison(parser *p, ast *left, ast **out) {
    token t = p->now;
    bool negated = t.kind == TOKEN_NOT;
    if (negated) {
        TRY(next_token(p));
        if (p->now.kind != TOKEN_IN && p->now.kind != TOKEN_LIKE) return unexpected(p, "'in' or 'like'");
    }
    token what = p->now;
    TRY(next_token(p));
    if (what.kind == TOKEN_IS) {
        negated = p->now.kind == TOKEN_NOT;
        if (negated) TRY(next_token(p));
        if (p->now.kind != TOKEN_NULL) return unexpected(p, "'null'");
        TRY(next_token(p));
        TRY(ast_new(p, AST_IS_NULL, what.at, out));
        TRY(ast_add(p, *out, left));
    } else if (what.kind == TOKEN_IN) {
        uint32_t open_at = p->now.at;
        if (p->now.kind != TOKEN_OPEN) return unexpected(p, "'(' after 'in'");
        TRY(next_token(p));
        TRY(ast_new(p, AST_IN, what.at, out));
        TRY(ast_add(p, *out, left));
        if (p->now.kind == TOKEN_CLOSE) return expr_error(p->err, open_at, "the list after 'in' is empty");
        TRY(parse_list(p, *out, open_at));
    } else {
        ast *right;
        TRY(parse_binding(p, BIND_COMPARE + 1, &right));
        TRY(ast_new(p, AST_BINARY, what.at, out));
        (*out)->operator = what.operator;
        TRY(ast_add(p, *out, left));
        TRY(ast_add(p, *out, right));
    }
    TRY(negate_if(p, negated, t.at, out));
    if (binding_of(&p->now) == BIND_COMPARE) {
        return expr_error(p->err, p->now.at,
                          "comparisons do not chain; write 'a < b and b < c', or put parentheses");
    }
    return TW_OK;
}

static tw_status parse_infix(parser *p, ast *left, int binding, ast **out) {
    if (binding == BIND_COMPARE) return parse_comparison(p, left, out);
    token t = p->now;
    ast *right;
    TRY(next_token(p));
    TRY(parse_binding(p, binding + 1, &right));
    ast_kind kind = binding == BIND_AND ? AST_AND : binding == BIND_OR ? AST_OR : AST_BINARY;
    if (kind != AST_BINARY && left->kind == kind) { /* a and b and c: one node, however long */
        *out = left;
        return ast_add(p, left, right);
    }
    TRY(ast_new(p, kind, t.at, out));
    (*out)->operator = t.operator;
    TRY(ast_add(p, *out, left));
    return ast_add(p, *out, right);
}

static tw_status parse_binding(parser *p, int least, ast **out) {
    if (++p->nesting > EXPR_NESTING_MAX) {
        return expr_error(p->err, p->now.at, "the expression is nested more than %u deep",
                          EXPR_NESTING_MAX);
    }
    ast *left;
    TRY(parse_prefix(p, least, &left));
    for (;;) {
        int binding = binding_of(&p->now);
        if (binding == BIND_ANY || binding < least) break;
        TRY(parse_infix(p, left, binding, &left));
    }
    p->nesting--;
    *out = left;
    return TW_OK;
}

tw_status expr_parse(arena *a, const char *text, ast **out, tw_error *err) {
    size_t size = strnlen(text, EXPR_TEXT_MAX + 1);
    if (size > EXPR_TEXT_MAX) {
        return expr_error(err, 0, "an expression has at most %u bytes", EXPR_TEXT_MAX);
    }
    parser p = {.memory = a, .text = text, .size = (uint32_t)size, .err = err};
    TRY(next_token(&p));
    if (p.now.kind == TOKEN_END) return expr_error(err, 0, "the expression is empty");
    TRY(parse_binding(&p, BIND_ANY, out));
    if (p.now.kind != TOKEN_END) return unexpected(&p, "an operator or the end");
    return TW_OK;
}
