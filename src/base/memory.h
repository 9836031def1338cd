/* memory.h: the one memory budget of a run, and the reference-counted buffers that live in it.
 *
 * Everything whose size follows the data (blocks of files, columns, tables, row blocks) is a buffer.
 * Small fixed things (plans, schemas, lane structs) use malloc and live in the slack beside the budget.
 * All functions may be called from any thread. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct memory memory;

/* Where the bytes come from: up to 64 KiB from slabs of one size class, more from a mapping of their own
 * (from 2 MiB on with huge pages, aligned to them). What a state maps gets its pages at once. What is
 * freed stays mapped for the next request of its class, up to a quarter of the limit. All that is mapped
 * is charged, so the resident size stays below the limit; when a request does not fit, free memory goes
 * back to the system first. Under AddressSanitizer every buffer is a malloc of its exact size, and a
 * write past `size` aborts when the buffer is freed. */

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
    size_t capacity;       /* bytes charged to the budget, not all of them at `data` */
    memory_use use;
    memory *owner;
    struct buffer **parts; /* a joined buffer holds references to these and no bytes of its own; its
                            * size is the sum of theirs */
    size_t n_parts;
    void (*release)(void *context); /* for bytes that belong to someone else */
    void *context;                  /* of `release`; else private to memory.c */
} buffer;

#define BUFFER_PADDING 64

tw_status memory_create(size_t limit_bytes, memory **out, tw_error *err);
/* Every buffer must have been released: asserted under sanitizers, else what is left stays mapped and
 * its late release is safe. NULL is allowed. */
void memory_destroy(memory *m);
size_t memory_limit(const memory *m);
size_t memory_used(const memory *m);      /* bytes charged now, the cache of free buffers included */
size_t memory_peak(const memory *m);
size_t memory_state_left(const memory *m); /* what MEMORY_STATE could still get without a spill */

/* A new buffer with one reference, never zeroed; `bytes` may be 0. TW_ERR_MEMORY when the share of
 * `use` is used up even after the free cache and the registered spillers have given back what they
 * can: the caller must hold no lock that a spiller waits for. */
tw_status buffer_new(memory *m, memory_use use, size_t bytes, buffer **out, tw_error *err);
/* As buffer_new with MEMORY_STATE, but nobody spills for it, and a refusal is a plain NULL. */
buffer *buffer_try(memory *m, size_t bytes);
buffer *buffer_ref(buffer *b); /* NULL gives NULL */
void buffer_unref(buffer *b);  /* NULL is allowed */
/* Wraps bytes owned elsewhere; release(context), unless NULL, is called with the last reference. Not
 * charged; padding is the owner's affair. */
tw_status buffer_wrap(void *data, size_t size, void (*release)(void *), void *context, buffer **out,
                      tw_error *err);
/* One handle that keeps several buffers alive; takes references of its own, drops NULLs and
 * repeats; may return one of them with a new reference, or NULL for none. */
tw_status buffer_join(buffer *const *parts, size_t n, buffer **out, tw_error *err);

/* Something that can give memory back by writing it to disk. The first three are the owner's, the
 * rest is set by memory_register. */
typedef struct memory_spiller {
    size_t (*spillable_bytes)(void *self);
    /* Frees about `bytes`; called from any thread, without locks of `memory` held, once at a time.
     * What it allocates meanwhile never makes spillers run. */
    tw_status (*spill)(void *self, size_t bytes, tw_error *err);
    void *self;
    struct memory_spiller *next, *previous;
    unsigned calls;
    bool leaving, spilling;
    pthread_t thread;
} memory_spiller;
void memory_register(memory *m, memory_spiller *s);
/* Waits until no call into `s` is running: the caller must hold no lock that `s` takes, and is not in
 * a call of `s`. */
void memory_unregister(memory *m, memory_spiller *s);
/* Asks the spiller with most to give, until buffer_try(m, bytes) has room (others may be faster: ask
 * again). TW_ERR_MEMORY when nothing spillable remains, or what a spiller failed with. The caller
 * must hold no lock that a spiller takes. */
tw_status memory_make_room(memory *m, size_t bytes, tw_error *err);

#endif
