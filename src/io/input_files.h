/* input_files.h: the files of a source as splits, in row order: parts of 1 MiB of a large plain file, one
 * for a large compressed one, many small files in one up to 1 MiB.
 *
 * All functions may be called from any thread once input_files_plan has returned. */
#ifndef IO_INPUT_FILES_H
#define IO_INPUT_FILES_H

#include <pthread.h>

#include "io/format.h"
#include "io/glob.h"

enum { PART_BYTES = 1 << 20 };

typedef struct file_parts file_parts;

typedef struct input_file {
    const char *path;   /* "-" is standard input */
    const char *name;   /* for messages */
    uint64_t bytes;     /* of a plain or compressed file, when the run began */
    uint64_t device, inode;
    bool is_file;       /* else a pipe or device, read as it comes */
    file_parts *parts;  /* of a file that is read in parts; else NULL */
    atomic_bool given_up; /* it was told as bad: the rest of it is passed over */
    struct input_files *all;
} input_file;

/* Splits [first_split, first_split + n_splits): either the parts of one file or, as one split, all of
 * some files. */
typedef struct split_group {
    uint64_t first_split, n_splits;
    uint64_t first_unit; /* rows of the group stand at positions from first_unit << 32 */
    size_t first_file, n_files;
} split_group;

/* Counted: batches refer to their file for the numbers of its records. */
typedef struct input_files {
    atomic_uint references;
    path_list paths;
    const format *format;
    struct format planned; /* as it was at input_files_plan, whose pointers must not be followed after the source has gone */
    const atomic_bool *cancelled;
    input_file *files;
    size_t n;
    split_group *groups;
    size_t n_groups;
    uint64_t n_splits, n_units, bytes;
} input_files;

/* Takes the paths over, on success. */
tw_status input_files_new(const format *f, path_list *paths, input_files **out, tw_error *err);
input_files *input_files_ref(input_files *all);
void input_files_unref(input_files *all); /* NULL is allowed */
/* Looks at every file's size, and makes the splits. */
tw_status input_files_plan(input_files *all, tw_error *err);

const split_group *input_files_group(const input_files *all, uint64_t split);
/* Fills in what stat says of a file. */
tw_status input_file_look(input_file *f, tw_error *err);
/* Opens it for reading; one that was replaced since input_file_look is TW_ERR_DATA. */
tw_status input_file_open(const input_file *f, int *fd, tw_error *err);

/* ---- parts ---- */

/* Says that this thread is about to read part `part` and will call input_file_inside or
 * input_file_give_up. */
void input_file_claim(input_file *f, uint64_t part);
void input_file_give_up(input_file *f, uint64_t part);
/* Whether part `part`, whose bytes are given, begins within quotes: from the quotes in all parts before
 * it, each counted by whoever reads it, or here if nobody does. */
tw_status input_file_inside(input_file *f, uint64_t part, const uint8_t *bytes, size_t size, bool *out,
                            tw_error *err);
/* Records that start before part `split` of the file in o->context: counted now, at most once each. */
uint64_t input_file_records_before(const origin *o);
/* For origins that refer to a file. */
void input_file_retain(const void *file);
void input_file_release(const void *file);
/* The layout of a CSV file that is read in parts. NULL in *out: as the schema. */
tw_status input_file_layout(input_file *f, const csv_layout **out, tw_error *err);

#endif
