/* byte_stream.h: the bytes of a file or pipe from front to back, decompressed when its first bytes say
 * that it is compressed. One thread at a time. */
#ifndef IO_BYTE_STREAM_H
#define IO_BYTE_STREAM_H

#include "base/memory.h"
#include "io/decompress.h"

typedef struct byte_stream byte_stream;

typedef struct byte_stream_options {
    memory *memory;
    const char *path;   /* for messages; must outlive the stream */
    int fd;             /* taken over, but for standard input */
    bool is_file;       /* read by position; else a pipe, read as it comes */
    uint64_t bytes;     /* of a file, as it was when the run began */
    const atomic_bool *cancelled; /* NULL: never; looked at while a pipe is empty */
    atomic_uint_fast64_t *counter; /* NULL, or what read bytes are added to */
} byte_stream_options;

tw_status byte_stream_open(const byte_stream_options *o, byte_stream **out, tw_error *err);
void byte_stream_close(byte_stream *s); /* NULL is allowed */
/* Gives up to `size` bytes, none only at the end. After TW_ERR_IO and TW_ERR_MEMORY it can be called
 * again: nothing is lost. A torn or corrupt file is TW_ERR_DATA with the place. */
tw_status byte_stream_read(byte_stream *s, uint8_t *to, size_t size, size_t *got, tw_error *err);
/* How many bytes to expect at least, for the size of a first block: of a plain file what is left, of a
 * compressed one a guess while it is at its start, else UINT64_MAX. */
tw_status byte_stream_expect(byte_stream *s, uint64_t *out, tw_error *err);
/* From now on another budget and cancellation. */
void byte_stream_move(byte_stream *s, memory *m, const atomic_bool *cancelled, atomic_uint_fast64_t *counter);

/* Reads exactly [offset, offset + size) of a file; one that has become shorter is TW_ERR_DATA. */
tw_status file_read_at(int fd, const char *path, uint64_t offset, uint8_t *to, size_t size, tw_error *err);

#endif
