/* compress.h: bytes as gzip members, zstd frames or lz4 frames, each of which stands for itself: put one
 * after the other they are a valid file, so many threads can make one file. */
#ifndef IO_COMPRESS_H
#define IO_COMPRESS_H

#include "io/decompress.h"

/* What a path's ending asks for: .gz, .zst, .lz4. */
compression compression_of_path(const char *path);

/* One thread at a time. Not for COMPRESSION_NONE. */
typedef struct compressor compressor;

tw_status compressor_new(compression c, compressor **out, tw_error *err);
void compressor_free(compressor *c); /* NULL is allowed */
/* Bytes that compressing `size` bytes may take. */
size_t compressor_bound(const compressor *c, size_t size);
/* One member or frame of `in`, which may be empty. `room` is at least compressor_bound. */
tw_status compressor_run(compressor *c, const uint8_t *in, size_t size, uint8_t *out, size_t room, size_t *made,
                         tw_error *err);

#endif
