/* summary.h: the figures of a run, and what they say: which resource held it back, and how close it came
 * to what that resource allows. */
#ifndef API_SUMMARY_H
#define API_SUMMARY_H

#include "engine/plan_internal.h"
#include "engine/run.h"
#include "thalweg/thalweg.h"

typedef struct summary {
    tw_summary shown;
    tw_step_summary *steps;
    char *error;
} summary;

/* The plan's strings must outlive it. */
tw_status summary_make(summary *s, const plan *p, const run_figures *f, tw_status outcome, const tw_error *err);
void summary_free(summary *s);
/* One JSON object; NULL when out of memory. */
char *summary_json(const tw_summary *s);

#endif
