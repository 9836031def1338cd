/* expr.h: the expression language: text -> typed program -> vector kernels over batches.
 * A compiled expression is immutable and shared; each thread evaluates through a scratch of its own. */
#ifndef EXPR_EXPR_H
#define EXPR_EXPR_H

#include "data/batch.h"

typedef struct expr expr;
typedef struct expr_scratch expr_scratch;

/* Parses and types `text` against the columns of `s`. On an error `err->column` is the byte (from 1)
 * in `text`, and the message names the nearest known column or function. Depth and size are bounded.
 * A literal null has the type it is used as; alone it is TYPE_STRING. */
tw_status expr_compile(const char *text, const schema *s, expr **out, tw_error *err);
void expr_free(expr *e);
const type *expr_type(const expr *e);
/* Calls f(column index) for each column that is read, once each; for pruning. */
void expr_columns(const expr *e, void (*f)(void *context, uint32_t column), void *context);
/* The index when the expression is just a column, else -1: then sharing it is enough. */
int expr_is_column(const expr *e);
/* Whether some row could be bad: it has arithmetic that can overflow, a division, a cast that can fail. */
bool expr_may_fail(const expr *e);

tw_status expr_scratch_new(const expr *e, memory *m, expr_scratch **out, tw_error *err);
void expr_scratch_free(expr_scratch *s);

/* Rows that could not be computed (overflow, division by zero, a cast of text that is no number): the
 * row's number in the batch and a reason with static storage. Rows ascending. */
typedef struct expr_bad_row {
    uint32_t row;
    const char *reason;
} expr_bad_row;
typedef struct expr_bad {
    expr_bad_row *rows; /* owned by the scratch, valid until its next evaluation */
    uint32_t n;
} expr_bad;

/* Evaluates all rows of `in` into `out` (batch->rows values; may share buffers with `in`). Bad rows
 * get null and are listed. Only branches and rows that are evaluated can be bad. */
tw_status expr_evaluate(const expr *e, expr_scratch *s, const batch *in, column *out, expr_bad *bad,
                        tw_error *err);
/* A condition (TYPE_BOOL): the rows where it is true, ascending, into rows[] (room for in->rows). */
tw_status expr_select(const expr *e, expr_scratch *s, const batch *in, uint32_t *rows, uint32_t *n,
                      expr_bad *bad, tw_error *err);

#endif
