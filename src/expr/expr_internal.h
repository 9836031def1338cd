/* expr_internal.h: what the files of this house share: the tree as written (ast), the typed tree
 * (node), and what a kernel sees (call). */
#ifndef EXPR_EXPR_INTERNAL_H
#define EXPR_EXPR_INTERNAL_H

#include "base/arena.h"
#include "expr/expr.h"
#include "expr/kernel_set.h"

#define EXPR_TEXT_MAX 65536u
#define EXPR_NESTING_MAX 200u /* parentheses, calls, prefix operators inside each other */
#define EXPR_DEPTH_MAX 1000u  /* of the tree: also a chain such as a + b + c + ... */
#define EXPR_NODES_MAX 10000u
#define EXPR_ARGUMENTS_MAX 16u /* of one call of a kernel */
#define CHUNK_ROWS 2048u
#define CHUNK_WORDS (CHUNK_ROWS / 64)
#define TEXT_VALUE_MAX (256u << 20) /* bytes: what `replace` and `concat` may make of one row */

/* ---- the tree as written ---- */
typedef enum operator_kind {
    OPERATOR_EQUAL, /* the first six in the order of compare_kind */
    OPERATOR_NOT_EQUAL,
    OPERATOR_LESS,
    OPERATOR_LESS_EQUAL,
    OPERATOR_GREATER,
    OPERATOR_GREATER_EQUAL,
    OPERATOR_ADD, /* the next six in the order of arith_kind */
    OPERATOR_SUBTRACT,
    OPERATOR_MULTIPLY,
    OPERATOR_DIVIDE,
    OPERATOR_DIVIDE_WHOLE,
    OPERATOR_REMAINDER,
    OPERATOR_LIKE,
} operator_kind;
const char *operator_name(operator_kind o);

typedef enum ast_kind {
    AST_NULL,
    AST_BOOL,
    AST_INTEGER,
    AST_FLOAT,
    AST_TEXT,
    AST_COLUMN,
    AST_NEGATE,
    AST_NOT,
    AST_BINARY,
    AST_AND, /* two or more children */
    AST_OR,
    AST_IN, /* what is looked for, then the list */
    AST_IS_NULL,
    AST_CALL,
} ast_kind;

typedef struct ast {
    ast_kind kind;
    operator_kind operator;
    uint32_t at; /* byte in the text, from 0 */
    uint32_t depth;
    char *text; /* name of a column or function, or a text literal; ended by 0 */
    uint32_t text_size;
    int64_t integer; /* also of AST_BOOL */
    double number;
    struct ast **children;
    uint32_t n, capacity;
} ast;

tw_status expr_parse(arena *a, const char *text, ast **out, tw_error *err);
/* TW_ERR_JOB with the place `at` (from 0) and a message. */
tw_status expr_error(tw_error *err, uint32_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
tw_status expr_no_memory(tw_error *err);

/* ---- the typed tree ---- */
typedef enum node_kind {
    NODE_CONSTANT,
    NODE_COLUMN,
    NODE_FILL, /* the constant child as a run of values, for kernels with no other operand */
    NODE_CALL,
    NODE_AND,
    NODE_OR,
    NODE_NOT,
    NODE_IS_NULL,
    NODE_IF,
    NODE_COALESCE,
} node_kind;

typedef struct run run;
typedef struct call call;
typedef struct regex regex;

typedef union constant {
    uint8_t boolean;
    int32_t int32;
    int64_t int64;
    float float32;
    double float64;
    view text;
} constant;

typedef struct node {
    node_kind kind;
    const type *type; /* NULL: a literal null that has no type yet */
    uint32_t at;      /* in the text, for messages */
    uint32_t column;  /* NODE_COLUMN */
    bool is_null;     /* NODE_CONSTANT */
    bool from_text;   /* NODE_CONSTANT: written as text, may still become a date */
    bool literal;     /* NODE_CONSTANT: may still take the type of what is beside it */
    constant value;
    struct node **children;
    uint32_t n;

    /* NODE_CALL */
    tw_status (*kernel)(call *c);
    uint8_t operation;   /* of the kernel: arith_kind, compare_kind, ... */
    uint8_t number, from; /* number_kind that the kernel works on; that a cast comes from */
    bool shares_text;    /* the result's views may point to where an argument's point */
    bool keep_apart;     /* never folded or made one with an equal node */
    bool true_or_null;   /* what is not true is null (a list with a null in it) */
    const void *info;    /* a pattern, a set */
    kernel_entry fast;

    /* by expr_plan */
    bool planned, shared, escapes, own_values;
    uint32_t uses;
    size_t values_at, bits_at, valid_at, mask_at, memo_at; /* bytes into the scratch */
} node;

struct expr {
    arena memory;
    node *root;
    const kernel_set *kernels;
    uint32_t *columns;
    uint32_t n_columns;
    uint32_t *heap_columns; /* columns whose views may reach the result */
    uint32_t n_heap_columns;
    buffer *constant_text;  /* long constants that may reach the result; may be NULL */
    regex *regexes;
    uint32_t n_regexes;
    size_t scratch_bytes;
};

/* While compiling. */
typedef struct typer {
    expr *e;
    const schema *schema;
    tw_error *err;
    memory *folding; /* what folding computes with; made when first needed */
    node **table;    /* open addressing: equal nodes are one */
    uint32_t table_size, nodes;
} typer;

tw_status expr_type_tree(typer *t, const ast *a, node **out);
tw_status expr_plan(expr *e, tw_error *err);

/* expr_node.c. Each returns a finished node: folded, and one with its equals. */
node *node_constant(typer *t, const type *type, uint32_t at, constant value);
node *node_null(typer *t, const type *type, uint32_t at);
node *node_text(typer *t, const type *type, uint32_t at, const uint8_t *text, uint32_t size);
node *node_bool(typer *t, uint32_t at, bool value);
node *node_new(typer *t, node_kind kind, const type *type, uint32_t at, node *const *children,
               uint32_t n); /* not finished yet; NULL when out of memory */
tw_status node_finish(typer *t, node *x, node **out);
tw_status node_call(typer *t, tw_status (*kernel)(call *), const type *type, uint32_t at,
                    node *const *children, uint32_t n, node **out);
static inline bool node_is_constant(const node *x) { return x->kind == NODE_CONSTANT; }
static inline bool node_is_bool(const node *x) { return x->type && x->type->kind == TYPE_BOOL; }

/* expr_type.c */
const char *node_type_name(const node *x, char *out, size_t capacity);
number_kind number_of(const type *t); /* of numbers, dates and timestamps */
/* A literal null becomes one of type `want`. */
tw_status node_settle_null(typer *t, node **x, const type *want);
/* Implicit: numbers widen, strings become binary. TYPE_DATE to TYPE_TIMESTAMP too. */
tw_status node_widen(typer *t, node *x, const type *want, node **out);
/* The common type of if, coalesce, least and greatest; converts all. `what` is for the message. */
tw_status node_unify(typer *t, const char *what, uint32_t at, node **items, uint32_t n);
tw_status type_arith(typer *t, operator_kind o, uint32_t at, node *a, node *b, node **out);
tw_status type_compare(typer *t, operator_kind o, uint32_t at, node *a, node *b, node **out);
tw_status type_and_or(typer *t, node_kind kind, uint32_t at, node **items, uint32_t n, node **out);
tw_status type_if(typer *t, uint32_t at, node *condition, node *yes, node *no, node **out);
tw_status type_coalesce(typer *t, uint32_t at, node **items, uint32_t n, node **out);
tw_status type_arith_same(typer *t, arith_kind k, const type *type, uint32_t at, node *a, node *b,
                          node **out); /* both of `type`'s number kind already */

/* expr_function.c */
tw_status type_call(typer *t, const ast *a, node **arguments, uint32_t n, node **out);
tw_status type_like(typer *t, uint32_t at, node *text, node *pattern, node **out);
/* The cast to `want` as an expression names it; an error when there is none. */
tw_status node_cast(typer *t, node *x, const type *want, uint32_t at, node **out);

/* ---- running ---- */
/* The values of a node for a chunk. A bool's `values` is a bitmap and never `constant`. */
typedef struct vec {
    const void *values;
    const uint64_t *valid; /* NULL: none is null */
    bool constant;         /* one value stands for all rows */
} vec;

/* The last values of a node that several others read. */
typedef struct memo {
    uint64_t serial; /* of the chunk */
    vec values;
    uint64_t mask[CHUNK_WORDS]; /* the rows they are for */
} memo;

/* Where texts are written: blocks that never move. */
typedef struct text_store {
    buffer **blocks;
    uint32_t n, capacity;
    size_t used; /* of the last block */
    size_t block_bytes;
} text_store;

typedef struct expr_scratch {
    memory *memory;
    buffer *area;
    text_store kept, passing; /* texts that may reach the result; those that do not */
    buffer *bad_buffer;
    uint32_t n_bad;
    struct regex_state *regex_states; /* one per regex of the expression */
    uint32_t n_regexes;
    uint64_t serial; /* of the chunk */
} expr_scratch;

/* One chunk of one evaluation. */
struct run {
    const expr *e;
    expr_scratch *s;
    const batch *in;
    const kernel_set *kernels;
    uint32_t first, n, words; /* rows of the chunk: [first, first + n) */
    void *root_values;        /* where the root's values go, or NULL */
    tw_error *err;
    uint32_t bad_before; /* entries in the list before this chunk */
    bool any_bad;
    uint64_t bad[CHUNK_WORDS];
    uint64_t all[CHUNK_WORDS]; /* 1 for each row, 0 past the end */
};

struct call {
    run *r;
    const node *x;
    const vec *args;
    uint32_t n_args;
    uint32_t n, words;
    const uint64_t *active; /* rows that are evaluated and have no null argument; 0 past n */
    void *out;              /* values, or for a bool the bitmap */
};

tw_status expr_run(run *r, const node *x, const uint64_t *mask, vec *out);
/* Computes a call whose arguments are there. `valid` and `active`: room for CHUNK_WORDS each. */
tw_status expr_run_call(run *r, const node *x, const vec *args, const uint64_t *mask, void *values,
                        uint64_t *valid, uint64_t *active, vec *out);
/* Marks rows (bits of word `word` of the chunk) as bad, those in call->active only. */
tw_status call_bad(call *c, uint32_t word, uint64_t bits, const char *reason);
static inline tw_status call_bad_row(call *c, uint32_t row, const char *reason) {
    return call_bad(c, row >> 6, 1ull << (row & 63), reason);
}
/* Room for `bytes` of text, to be followed by call_text_done with what was used of it. */
tw_status call_text(call *c, size_t bytes, uint8_t **out);
void call_text_done(call *c, size_t bytes);
void text_store_rewind(text_store *s); /* keeps one block for the next chunk */
void text_store_clear(text_store *s);

static inline int64_t call_int64(const call *c, uint32_t arg, uint32_t row) {
    return ((const int64_t *)c->args[arg].values)[c->args[arg].constant ? 0 : row];
}
static inline const view *call_view(const call *c, uint32_t arg, uint32_t row) {
    return (const view *)c->args[arg].values + (c->args[arg].constant ? 0 : row);
}

/* Loops over the rows that a kernel must visit; `row` counts within the chunk. */
#define FOR_ACTIVE(c, row)                                                                         \
    for (uint32_t word_ = 0; word_ < (c)->words; word_++)                                          \
        for (uint64_t live_ = (c)->active[word_]; live_; live_ &= live_ - 1)                       \
            for (uint32_t row = word_ * 64 + (uint32_t)__builtin_ctzll(live_), once_ = 1; once_;   \
                 once_ = 0)

/* expr_call.c: numbers */
tw_status call_arith(call *c);
tw_status call_compare(call *c);
tw_status call_compare_bool(call *c);
tw_status call_least_bool(call *c);
tw_status call_unary(call *c);
tw_status call_convert(call *c);
tw_status call_function(call *c); /* exp, ln, ... of float64 */
tw_status call_power(call *c);
tw_status call_round_digits(call *c);
tw_status call_in_numbers(call *c);
tw_status call_number_to_bool(call *c);
tw_status call_bool_to_number(call *c);
tw_status call_hash(call *c);

/* kernel_text.c, kernel_case.c, kernel_like.c, kernel_regex.c */
tw_status call_compare_text(call *c);
tw_status call_equal_text(call *c); /* with a constant */
tw_status call_least_text(call *c);
tw_status call_in_texts(call *c);
tw_status call_length(call *c);
tw_status call_trim(call *c);
tw_status call_substr(call *c);
tw_status call_replace(call *c);
tw_status call_concat(call *c);
tw_status call_find(call *c); /* contains, starts_with, ends_with */
tw_status call_change_case(call *c);
tw_status call_like(call *c);
tw_status call_matches(call *c);

/* kernel_cast.c, kernel_time.c */
tw_status call_parse(call *c);    /* text to anything */
tw_status call_format(call *c);   /* anything to text */
tw_status call_to_string(call *c); /* binary to string: must be UTF-8 */
tw_status call_same(call *c);     /* string to binary */
tw_status call_time_part(call *c);
tw_status call_date_to_timestamp(call *c);
tw_status call_timestamp_to_date(call *c);

typedef enum find_kind { FIND_CONTAINS, FIND_START, FIND_END } find_kind;
typedef enum time_part { PART_YEAR, PART_MONTH, PART_DAY, PART_HOUR } time_part;
typedef enum function_kind { FUNCTION_EXP, FUNCTION_LN, FUNCTION_LOG10 } function_kind;

/* The constants of `in (...)`: a hash table of distinct values. */
typedef struct number_set {
    uint32_t mask;
    const uint64_t *values;
    const uint8_t *used;
} number_set;
typedef struct text_set {
    uint32_t mask;
    const view *values;
    const uint8_t *used;
} text_set;
const number_set *number_set_new(arena *a, number_kind k, node *const *items, uint32_t n);
const text_set *text_set_new(arena *a, node *const *items, uint32_t n);

/* Compiled `like`. NULL when out of memory. */
typedef struct like_pattern like_pattern;
const like_pattern *like_compile(arena *a, const uint8_t *pattern, uint32_t size);

/* Compiled `matches`; info of the node is the index. */
tw_status regex_compile(expr *e, const uint8_t *pattern, uint32_t size, bool utf8, uint32_t at,
                        uint32_t *index, tw_error *err);
void regex_free_all(expr *e);
tw_status regex_states_new(const expr *e, expr_scratch *s, tw_error *err);
void regex_states_free(expr_scratch *s);

#endif
