/* file_follow.h: the files that come to folders, as splits: what is there at a time makes a lot, which is planned as the
 * files of a bounded source are. From one thread at a time, but for file_follow_stop. */
#ifndef IO_FILE_FOLLOW_H
#define IO_FILE_FOLLOW_H

#include "engine/checkpoint.h"
#include "io/input_files.h"

typedef struct file_follow file_follow;

typedef struct followed_split {
    input_files *files;
    uint64_t split;      /* of these */
    uint64_t first_unit; /* where they begin, see split_group */
} followed_split;

/* TW_ERR_JOB: pattern *wrong is none. `f`, whose schema may come later, must outlive it. */
tw_status file_follow_new(const format *f, const char *const *patterns, size_t n, int64_t settle_us, file_follow **out,
                          size_t *wrong, tw_error *err);
void file_follow_free(file_follow *f); /* NULL is allowed */
/* All files that are there now, in order. */
tw_status file_follow_list(file_follow *f, path_list *out, tw_error *err);

tw_status file_follow_start(file_follow *f, run_context *run, tw_error *err);
/* The next split, without a reference; STATUS_WAIT, TW_END after a stop. */
tw_status file_follow_next(file_follow *f, followed_split *out, tw_error *err);
/* It has a reader. */
tw_status file_follow_took(file_follow *f, tw_error *err);
void file_follow_stop(file_follow *f); /* any thread */

/* As of a source. The list of files grows by 22 bytes for each that was read and is still there. */
tw_status file_follow_save(const file_follow *f, saved_part *to, tw_error *err);
tw_status file_follow_load(file_follow *f, const saved_part *from, tw_error *err);

#endif
