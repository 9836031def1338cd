/* decompress.h: gzip (several members), zstd (several frames) and lz4 frames as they come in pieces.
 * One thread at a time. */
#ifndef IO_DECOMPRESS_H
#define IO_DECOMPRESS_H

#include "base/memory.h"

typedef enum compression { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD, COMPRESSION_LZ4 } compression;

/* Told by the first bytes; COMPRESSION_MAGIC of them are enough. */
enum { COMPRESSION_MAGIC = 4 };
compression compression_of_bytes(const uint8_t *bytes, size_t size);
const char *compression_name(compression c); /* "gzip" */
/* Bytes of a path without its ending .gz, .zst or .lz4. */
size_t compression_strip(const char *path);

typedef struct decompressor decompressor;

/* Windows are charged to `m`. */
tw_status decompressor_new(compression c, memory *m, decompressor **out, tw_error *err);
void decompressor_free(decompressor *d); /* NULL is allowed */
/* Takes some of the input and gives some output: after it one of the two is used up, or all that could
 * be given has been. TW_ERR_DATA for what is corrupt. */
tw_status decompressor_run(decompressor *d, const uint8_t *in, size_t in_size, size_t *in_used, uint8_t *out,
                           size_t out_size, size_t *out_made, tw_error *err);
/* Whether the input may end here: no member or frame is open. */
bool decompressor_may_end(const decompressor *d);

#endif
