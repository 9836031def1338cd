/* steps.h: all steps, each one file. A step is added by a descriptor here and one line in
 * api/registry.c. */
#ifndef STEP_STEPS_H
#define STEP_STEPS_H

#include "engine/plan.h"

/* The column that a session window adds in endless flows: the watermark that stood before a row, where it was behind it. */
#define WINDOW_WATERMARK "window_watermark"

/* Brings a stream to the columns of `to`, found by name, in its order, cast to its types (step/project.c).
 * Does nothing when they are equal already. */
tw_status stream_convert(stream *s, schema *to, tw_error *err);

extern const step_descriptor step_select, step_derive, step_rename, step_drop, step_filter;
extern const step_descriptor step_split_words, step_explode;
extern const step_descriptor step_group, step_distinct, step_sort, step_limit, step_sample, step_window;
extern const step_descriptor step_join, step_union, step_busy, step_dedupe;

#endif
