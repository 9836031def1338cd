/* folder_watch.h: which files of some folders are complete, each once: those that are there, in the order of their
 * paths, then those that come, as inotify tells.
 *
 * A file is complete when it gets its name by a rename or a link, or when it was written, closed and then left alone
 * for `settle`; one that is found by a listing, when it has not changed for that time, or a second. Folders that
 * inotify does not see into (network file systems, more than the system watches) are listed again and again.
 *
 * A file is known by its path, inode and time of birth: what takes its place by a rename is another file, what is
 * written to it later is not seen. All functions from one thread at a time. */
#ifndef IO_FOLDER_WATCH_H
#define IO_FOLDER_WATCH_H

#include "base/text.h"
#include "engine/poller.h"
#include "io/glob.h"

typedef struct folder_watch folder_watch;

typedef struct found_file {
    char *path;        /* the taker's */
    uint64_t identity;
    int error;         /* an errno: it, or the folder, cannot be looked at */
} found_file;

/* TW_ERR_JOB: pattern *wrong is none. */
tw_status folder_watch_new(const char *const *patterns, size_t n, int64_t settle_us, folder_watch **out, size_t *wrong,
                           tw_error *err);
void folder_watch_free(folder_watch *w); /* NULL is allowed */
/* All files that are there now, complete or not, in order. */
tw_status folder_watch_list(folder_watch *w, path_list *out, tw_error *err);

/* From now on news come, and `ready` is called from the poller when there are some. */
tw_status folder_watch_start(folder_watch *w, poller *p, watch_ready ready, void *context, tw_error *err);
/* Takes the news in. Then, if no file is ready, has `ready` called when there may be one. */
tw_status folder_watch_look(folder_watch *w, tw_error *err);
/* The next complete file; false: none is ready. */
bool folder_watch_take(folder_watch *w, found_file *out);

/* Which file has the path now: 0 or an errno. */
int folder_watch_identify(const char *path, uint64_t *identity, uint64_t *bytes);
/* A taken file is this one: it was replaced before it was begun. */
void folder_watch_is(folder_watch *w, const char *path, uint64_t identity);
/* A taken file need not come again after a stop. Before the start: it was read by an earlier run. */
tw_status folder_watch_done(folder_watch *w, const char *path, uint64_t identity, tw_error *err);
/* All of those that are still there, as text, and back. */
tw_status folder_watch_print(const folder_watch *w, struct text *out, tw_error *err);
tw_status folder_watch_parse(folder_watch *w, const char *text, tw_error *err);

#endif
