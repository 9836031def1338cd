/* group_state.h: the state of group and distinct: tables of the lanes before an exchange, partitions merged
 * after it.
 *
 * count_distinct(x) takes a pass of its own before: the pairs (keys, x) are grouped, spread over partitions by
 * both, so that no group's values need to fit in memory; each pair that is left then counts once for its keys.
 *
 *   rows -> sink:  groups (all other aggregates) .......................... + -> source
 *            `-->  pairs  -> pair_source -> rows (keys, tag) -> pair_sink --'
 */
#ifndef STEP_GROUP_STATE_H
#define STEP_GROUP_STATE_H

#include "step/group_table.h"

/* Ends for stream_break: `sink` and `source`, or with some count_distinct `sink` and `pair_source`, then
 * `pair_sink` and `source`. */
typedef struct group_ends {
    struct sink *sink, *pair_sink;      /* pair_sink: NULL without count_distinct */
    struct source *source, *pair_source;
    schema *pairs;                      /* of pair_source; one reference, the caller's */
} group_ends;

/* The sink's input has the keys first, then the aggregates' columns; the source gives keys, then results, as
 * `out` names them. Takes over `aggregates` (malloc), also on failure. */
tw_status group_state_create(const char *name, uint32_t n_keys, aggregate *aggregates, uint32_t n_aggregates,
                             schema *out, group_ends *ends, tw_error *err);

/* ---- instances whose rows outlive a stop ---- */

struct sink_writer;
struct saved_part;
enum { GROUP_STORES_MAX = 1024 }; /* of an instance; more can't be saved */

/* What the instance behind a sink holds, and what one of its writers does: frames with tag * GROUP_STORES_MAX + the number of
 * the store. Nobody adds meanwhile. */
tw_status group_state_save(struct sink *k, struct saved_part *to, int64_t tag, tw_error *err);
tw_status group_writer_save(struct sink_writer *w, struct saved_part *to, int64_t tag, tw_error *err);
/* Adds one frame, of that number of store, to an instance that was started. */
tw_status group_state_load(struct sink *k, const struct saved_part *from, uint32_t frame, uint32_t store, tw_error *err);

#endif
