/* memory.h: the one memory budget of a run, and the reference-counted buffers that live in it.
 *
 * Everything whose size follows the data (blocks of files, columns, tables, row blocks) is a buffer.
 * Small fixed things (plans, schemas, lane structs) use malloc and live in the slack beside the budget.
 * All functions may be called from any thread. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct memory memory;

/* Who asks. States (tables, collected rows) may use three quarters of the budget, and can answer a
 * refusal by spilling; what flows between steps may use all of it, and can only fail. */
typedef enum memory_use { MEMORY_FLOW, MEMORY_STATE } memory_use;

/* 64-byte aligned bytes; BUFFER_PADDING readable (not meaningful) bytes follow `size`.
 * Immutable once shared. `size` may be lowered by the only owner. */
typedef struct buffer {
    uint8_t *data;
    size_t size;
    atomic_uint references;
    unsigned size_class;
    size_t capacity;       /* bytes charged to the budget */
    memory_use use;
    memory *owner;
    struct buffer **parts; /* a joined buffer holds references to these, and no bytes of its own */
    size_t n_parts;
    void (*release)(void *context); /* for bytes that belong to someone else */
    void *context;
} buffer;

#define BUFFER_PADDING 64

tw_status memory_create(size_t limit_bytes, memory **out, tw_error *err);
/* Every buffer must have been released. NULL is allowed. */
void memory_destroy(memory *m);
size_t memory_limit(const memory *m);
size_t memory_used(const memory *m);      /* bytes charged now, the cache of free buffers included */
size_t memory_peak(const memory *m);
size_t memory_state_left(const memory *m); /* what MEMORY_STATE could still get without a spill */

/* A new buffer with one reference. TW_ERR_MEMORY when the share of `use` is used up even after the
 * registered spillers (not run for MEMORY_STATE unless `memory_make_room` is called) and the free
 * cache have given back what they can. Never zeroed. */
tw_status buffer_new(memory *m, memory_use use, size_t bytes, buffer **out, tw_error *err);
/* As buffer_new with MEMORY_STATE, but a refusal is a plain NULL: the caller spills and asks again. */
buffer *buffer_try(memory *m, size_t bytes);
buffer *buffer_ref(buffer *b); /* NULL gives NULL */
void buffer_unref(buffer *b);  /* NULL is allowed */
/* Wraps bytes owned elsewhere; release(context) is called with the last reference. Not charged. */
tw_status buffer_wrap(void *data, size_t size, void (*release)(void *), void *context, buffer **out,
                      tw_error *err);
/* One handle that keeps several buffers alive; takes references of its own, drops NULLs and
 * repeats; may return one of them with a new reference, or NULL for none. */
tw_status buffer_join(buffer *const *parts, size_t n, buffer **out, tw_error *err);

/* Something that can give memory back by writing it to disk. */
typedef struct memory_spiller {
    size_t (*spillable_bytes)(void *self);
    /* Frees about `bytes`; called from any thread, without locks of `memory` held. */
    tw_status (*spill)(void *self, size_t bytes, tw_error *err);
    void *self;
    struct memory_spiller *next, *previous;
} memory_spiller;
void memory_register(memory *m, memory_spiller *s);
void memory_unregister(memory *m, memory_spiller *s); /* waits until no call into `s` is running */
/* Asks the spiller with most to give, until MEMORY_STATE has `bytes` left. TW_ERR_MEMORY when nothing
 * spillable remains. The caller must hold no lock that a spiller takes. */
tw_status memory_make_room(memory *m, size_t bytes, tw_error *err);

#endif
