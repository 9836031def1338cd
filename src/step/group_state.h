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

struct session_rule;

/* The sink's input has the keys first, then the aggregates' columns; the source gives keys, then results, as
 * `out` names them. Takes over `aggregates` (malloc), also on failure.
 * With `sessions` (step/sessions.h) the last two keys and the last two aggregates, min and max of the time,
 * which is the first column behind those of the input, are its own; where those keys would stand the input has the time, and
 * the watermark before it, or the time again. */
tw_status group_state_create(const char *name, uint32_t n_keys, aggregate *aggregates, uint32_t n_aggregates,
                             const struct session_rule *sessions, schema *out, group_ends *ends, tw_error *err);

/* Sessions of an endless flow. Whether one may have ended by this watermark; from any thread. */
bool group_sessions_due(const struct sink *k, int64_t watermark);
/* Moves those that have ended from the instance behind `k` to that behind `to`, which was started and has no rows. Writers of `k`
 * may push meanwhile, rows to which the watermark has come; one call at a time. How many were moved, and parts of such that
 * were not. An error is final. */
tw_status group_sessions_take(struct sink *k, int64_t watermark, struct sink *to, uint64_t *taken, uint64_t *left, tw_error *err);

/* Running results: groups that changed are taken again and again, and all of them kept, in memory. Before it is started. */
void group_state_keep(struct sink *k);
/* Gives the groups of `k` to which something was added since the last call, as they are now, to `to`, which was started and has no
 * rows. Writers may push meanwhile; one call at a time. *taken: how many. An error is final. */
tw_status group_updates_take(struct sink *k, struct sink *to, uint64_t *taken, tw_error *err);

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
