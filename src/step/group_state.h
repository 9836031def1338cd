/* group_state.h: the state of group and distinct: tables of the lanes before the exchange, partitions
 * merged after it. */
#ifndef STEP_GROUP_STATE_H
#define STEP_GROUP_STATE_H

#include "step/group_table.h"

/* Both ends, for stream_break. The sink's input has the keys first, then the aggregates' columns; the
 * source gives keys, then results, as `out` names them. Takes over `shape`, also on failure. */
tw_status group_state_create(const char *name, group_shape *shape, schema *out, sink **out_sink,
                             source **out_source, tw_error *err);

#endif
