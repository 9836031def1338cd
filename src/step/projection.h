/* projection.h: an operator whose output columns are input columns or expressions over them; what select,
 * derive, rename, drop, union and the input of group are made of. Columns are shared, not copied. */
#ifndef STEP_PROJECTION_H
#define STEP_PROJECTION_H

#include "step/steps.h"

/* Being planned. Names must outlive projection_finish. */
typedef struct projection {
    struct project_plan *plan;
    const char **names;
    const type **types;
    uint32_t capacity;
} projection;

tw_status projection_new(const char *step, uint32_t columns_max, projection *out, tw_error *err);
void projection_free(projection *p); /* after a failure; allowed after projection_finish too */
uint32_t projection_columns(const projection *p);
/* A column called `name`, or in place of the one that has the name: a copy of the input's `from`, or
 * with `e` (taken over) its value. */
void projection_put(projection *p, const char *name, const type *t, uint32_t from, expr *e);
/* Nameless ones, for sinks that go by index; return their index. */
uint32_t projection_column(projection *p, const schema *s, uint32_t from);
uint32_t projection_expression(projection *p, expr *e);
/* Appends the operator to the stream, whose schema becomes the projection's. Nothing is appended when
 * it would change nothing. */
tw_status projection_finish(projection *p, stream *s, tw_error *err);
/* The same for a projection that only prepares rows for a step, or completes them. */
tw_status projection_finish_inner(projection *p, stream *s, tw_error *err);

#endif
