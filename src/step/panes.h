/* panes.h: a step that must see all of its input, once for each window of an endless flow: a window is a batch that
 * ends when the watermark passes it. Rows go to the sink of their window's own instance of the step; closed
 * windows are read from the source of theirs, in the order of their ends, by any number of workers. Sessions, whose ends nobody
 * knows before, are all in one pane; those that have ended are moved to one of their own. So are running results, of which those that changed are given now and then. */
#ifndef STEP_PANES_H
#define STEP_PANES_H

#include "engine/plan.h"
#include "step/group_state.h"

#define NO_END_COLUMN UINT32_MAX /* sessions, running results */

typedef struct panes_options {
    const char *name;
    uint32_t end_column;          /* of the input: window_end; its other columns are what instances see */
    uint32_t start_at, end_at;    /* where the output has window_start and window_end; the rest is the instances' */
    int64_t size_us;              /* of a window; the gap of sessions; */
    bool running;                 /* running results: end_at is where their number goes, size_us how often they are given */
    bool sessions;                /* then the instances give the window's columns, and all of the input is theirs */
    schema *out;                  /* a reference is taken */
    char *shape;                  /* what the instances' state depends on, for people; taken over (malloc) */
    /* Makes an instance; called by any worker, one at a time. */
    tw_status (*make)(void *context, group_ends *out, tw_error *err);
    void *context;
    void (*free)(void *context);
} panes_options;

/* Takes over the context, also on failure. */
tw_status panes_create(const panes_options *options, sink **out_sink, source **out_source, tw_error *err);

#endif
