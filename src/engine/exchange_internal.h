/* exchange_internal.h: what exchange.c (partitions, blocks, spilling, taking) and exchange_append.c
 * (rows into blocks) share. */
#ifndef ENGINE_EXCHANGE_INTERNAL_H
#define ENGINE_EXCHANGE_INTERNAL_H

#include <pthread.h>

#include "engine/exchange.h"

typedef struct frame {
    frame_place place;
    uint64_t rows;
} frame;

/* One line or two of its own, so that threads in different partitions do not meet. */
typedef struct partition {
    _Alignas(64) pthread_mutex_t lock;
    pthread_cond_t spilled; /* `spilling` became 0 */
    row_block *open;        /* rows are reserved here */
    row_block *full;        /* rows may still be written here, see writers */
    frame *frames;          /* on disk */
    uint32_t n_frames, frames_capacity;
    uint32_t spilling; /* calls of the spiller with blocks of this partition */
    size_t next_bytes; /* of the next block: doubles */
    uint64_t rows, bytes, disk_bytes;
    atomic_size_t full_memory, memory; /* charged bytes of full blocks, of all blocks */
} partition;

struct exchange {
    memory *m;
    spill *s;
    const row_layout *l;
    uint32_t n;
    size_t block_bytes, frame_bytes, spill_bytes_min;
    atomic_bool sealed;
    atomic_uint_least64_t rows_seen, heap_seen; /* for the share of the heap in new blocks */
    memory_spiller spiller;
    partition partitions[];
};

/* With the partition's lock held. */
void partition_add_open(partition *p, row_block *b);
void partition_retire_open(partition *p);
void partition_add_full(partition *p, row_block *b);

#endif
