/* store.h: the rows of a flow that several others read: collected once, in memory while the budget
 * lasts and on disk after, given to each reader in row order. */
#ifndef ENGINE_STORE_H
#define ENGINE_STORE_H

#include "engine/plan.h"

typedef struct store store;

/* The sink that fills it; the store lives until the sink and all its sources are freed. */
tw_status store_create(schema *s, sink **out, store **out_store, tw_error *err);
sink *store_sink(store *s);
/* One more reader. */
tw_status store_source(store *s, source **out, tw_error *err);

#endif
