/* sequencer.h: puts what many lanes make back into row order: (input, split), then order of pushing.
 * Bounded: only the lowest open split may push past the bound. */
#ifndef ENGINE_SEQUENCER_H
#define ENGINE_SEQUENCER_H

#include "engine/pipeline.h"

typedef struct sequencer sequencer;

typedef struct sequencer_callbacks {
    /* In row order, one at a time, under the sequencer's lock: give the item its place; without `work`,
     * take it over. After an error it stays the sequencer's, and the run is over. */
    tw_status (*place)(void *context, void *item, tw_error *err);
    /* After place, outside the lock, several at a time: the work. Takes over the item. Optional. */
    tw_status (*work)(void *context, void *item, tw_error *err);
    /* Frees an item that was not taken over. */
    void (*drop)(void *context, void *item);
    void *context;
} sequencer_callbacks;

tw_status sequencer_create(run_context *run, uint32_t n_inputs, row_order order, size_t pending_bytes_max,
                           sequencer_callbacks callbacks, sequencer **out, tw_error *err);
void sequencer_free(sequencer *s); /* drops what is pending */
/* Whether sequencer_push for this split may come now; false: after run_wake ask again. */
bool sequencer_ready(sequencer *s, const batch_order *order);
/* Takes over the item, also on failure. */
tw_status sequencer_push(sequencer *s, const batch_order *order, void *item, size_t bytes, tw_error *err);
tw_status sequencer_end_split(sequencer *s, const batch_order *order, tw_error *err);
tw_status sequencer_end_input(sequencer *s, uint32_t input, uint64_t n_splits, tw_error *err);

#endif
