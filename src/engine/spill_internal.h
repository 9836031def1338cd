/* spill_internal.h: the frame's header, and the system calls that tests let fail. */
#ifndef ENGINE_SPILL_INTERNAL_H
#define ENGINE_SPILL_INTERNAL_H

#include <sys/types.h>

#include "engine/spill.h"

#define FRAME_MAGIC 0x656d617266776c74ull /* "tlwframe" */
#define FRAME_VERSION 1u

/* Then rows * stride bytes of rows, whose long views hold places in the heap, then the heap. */
typedef struct frame_header {
    uint64_t magic;
    uint32_t version;
    uint32_t stride;
    uint64_t rows;
    uint64_t heap_bytes;
    uint64_t layout;   /* fingerprint of the types */
    uint64_t checksum; /* XXH3 of the whole frame with 0 here */
    uint64_t reserved[2];
} frame_header;
_Static_assert(sizeof(frame_header) == 64, "the header of a frame is 64 bytes");

uint64_t frame_layout_fingerprint(const row_layout *l);
/* Whether a frame of `bytes` can begin like this. Trusts nothing. */
bool frame_header_is_valid(const frame_header *h, const row_layout *l, uint64_t bytes);

/* As in unistd.h: -1 and errno. */
typedef struct spill_calls {
    ssize_t (*pwrite)(int fd, const void *data, size_t bytes, off_t offset);
    ssize_t (*pread)(int fd, void *data, size_t bytes, off_t offset);
} spill_calls;
tw_status spill_create_with(const char *folder, const spill_calls *calls, spill **out, tw_error *err);

#endif
