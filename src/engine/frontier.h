/* frontier.h: what is in flight in a pipeline of an endless flow, counted exactly: which splits are open,
 * and what is promised once all before a point have ended (Murray et al., "Naiad: A Timely Dataflow System",
 * 2013, for a single loop). Under the run's lock. */
#ifndef ENGINE_FRONTIER_H
#define ENGINE_FRONTIER_H

#include "engine/pipeline.h"

typedef struct frontier {
    struct frontier_split *splits; /* a ring: the open ones, and ended ones behind an open one */
    uint64_t first;                /* the lowest split in it */
    uint32_t n, capacity;
    mark now;                      /* what holds by now */
    uint32_t next_epoch;           /* of splits to be opened, as far as is known */
} frontier;

void frontier_init(frontier *f);
void frontier_free(frontier *f);
/* Splits are opened in order, from 0 on. `after` holds when it and all before have ended, and never falls; its
 * epoch is that of the split. */
tw_status frontier_open(frontier *f, uint64_t split, mark after, tw_error *err);
/* Splits opened from now on belong to `epoch`, those before to earlier ones. */
void frontier_cut(frontier *f, uint32_t epoch);
void frontier_end(frontier *f, uint64_t split);

#endif
