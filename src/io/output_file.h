/* output_file.h: a file that appears whole or not at all.
 *
 * Bytes go to a file without a name (O_TMPFILE), which a crash or kill -9 leaves nothing of, and which gets
 * its name when it is published (base/hidden_file.h). A path that leads to a pipe or a device is written directly.
 *
 * Publishing is a rename: readers see the old file or the new one. Nothing is synced to the disk unless
 * asked for: a crash of the machine (not of the process) soon after may lose it, as with cp or sort -o. */
#ifndef IO_OUTPUT_FILE_H
#define IO_OUTPUT_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

typedef enum output_mode { OUTPUT_REPLACE, OUTPUT_APPEND, OUTPUT_FAIL } output_mode;
/* Added to a mode: as on a file system without nameless files. For tests. */
#define OUTPUT_NAMED 8u

typedef struct output_file output_file;

/* `mode` is an output_mode. Missing folders are made. TW_ERR_IO: it cannot be written, or is there and must not be (OUTPUT_FAIL). */
tw_status output_file_open(const char *path, unsigned mode, output_file **out, tw_error *err);
/* Removes what was not published, folders made for it too. NULL is allowed. */
void output_file_free(output_file *f);
/* Bytes that it begins with: those of the file that is appended to. */
uint64_t output_file_kept_bytes(const output_file *f);
/* Whether what is kept ends with LF, or is nothing. */
bool output_file_ends_line(const output_file *f);
/* A pipe or a device: only output_file_stream may write to it. */
bool output_file_is_stream(const output_file *f);
/* From any thread, several at once. */
tw_status output_file_write(output_file *f, const void *bytes, size_t n, uint64_t offset, tw_error *err);
/* Behind what was written before; gives up once *cancelled, TW_ERR_CANCELLED. */
tw_status output_file_stream(output_file *f, const void *bytes, size_t n, const atomic_bool *cancelled, tw_error *err);
/* All is written: copies what is kept and, with sync, waits until it is on the disk. */
tw_status output_file_finish(output_file *f, bool sync, const atomic_bool *cancelled, tw_error *err);
tw_status output_file_publish(output_file *f, bool sync, tw_error *err);

/* ---- below it ---- */

/* Writes all; the message is "cannot write 'PATH': ...". */
tw_status write_whole(int fd, const char *path, const void *bytes, size_t n, uint64_t offset, tw_error *err);
/* To a pipe, a socket or a device, without ever blocking for longer than a moment and without SIGPIPE. */
tw_status write_stream(int fd, const char *name, const void *bytes, size_t n, const atomic_bool *cancelled,
                       tw_error *err);
/* Folders that were made on the way to a path, to be undone in reverse. */
typedef struct made_folders {
    char *path;    /* the folder; NULL: none was made */
    size_t kept;   /* of its bytes, those of the last folder that was there before */
} made_folders;
/* mkdir -p. The message names the folder alone. */
tw_status folders_make(const char *folder, made_folders *made, tw_error *err);
/* Removes them again, those that are empty. */
void folders_undo(made_folders *made);
void folders_forget(made_folders *made);

#endif
