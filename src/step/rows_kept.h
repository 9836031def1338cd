/* rows_kept.h: leaving out the rows that an expression could not compute. */
#ifndef STEP_ROWS_KEPT_H
#define STEP_ROWS_KEPT_H

#include "expr/expr.h"
#include "step/steps.h"

/* Reports each bad row (run.on_bad_record), and marks it in `bad_bits` (a bitmap over the batch, zeroed
 * by the caller); a row already marked is not reported twice. */
tw_status report_bad_rows(run_context *run, const batch *in, const expr_bad *bad, const char *step,
                          uint64_t *bad_bits, uint32_t *n_bad, tw_error *err);
/* The rows of `b` that are not marked, as a new batch in *out (NULL if none are left). Takes over `b`. */
tw_status drop_bad_rows(memory *m, batch *b, const uint64_t *bad_bits, uint32_t n_bad, batch **out,
                        tw_error *err);

#endif
