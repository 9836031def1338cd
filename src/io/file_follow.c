#include "io/file_follow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/folder_watch.h"

enum { LOT_FILES_MAX = 1024 };

struct file_follow {
    folder_watch *watch;
    const format *format;
    run_context *run;
    atomic_bool stopped;
    path_list paths;      /* of the next lot, until it is planned */
    uint64_t *identities; /* of the files of the lot at hand, or the next */
    input_files *lot;     /* NULL: none is planned */
    uint64_t next_split;  /* of the lot */
    uint64_t first_unit;  /* of the lot */
    /* A file of which an earlier run has read some parts. */
    char *resumed;
    uint64_t resumed_identity, resumed_bytes, resumed_part;
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

/* ---- lots ---- */

static tw_status report(const file_follow *f, const char *path, int error, tw_error *err) {
    char reason[160];
    size_t n = strlen(path);
    if (error == ENOENT) snprintf(reason, sizeof reason, "the file vanished before it was read");
    else snprintf(reason, sizeof reason, "cannot read the %s: %s", path[n - 1] == '/' ? "folder" : "file", strerror(error));
    return bad_record(f->run, path, 0, NULL, 0, reason, err);
}

static tw_status add_path(file_follow *f, char *path, uint64_t identity, tw_error *err) {
    if (!f->paths.paths) f->paths.paths = calloc(LOT_FILES_MAX, sizeof *f->paths.paths);
    if (!f->paths.paths) {
        free(path);
        return no_memory(err);
    }
    f->paths.paths[f->paths.n] = path;
    f->identities[f->paths.n++] = identity;
    return TW_OK;
}

static tw_status collect(file_follow *f, tw_error *err) {
    found_file found;
    while (f->paths.n < LOT_FILES_MAX && folder_watch_take(f->watch, &found)) {
        if (!found.error) {
            TRY(add_path(f, found.path, found.identity, err));
            continue;
        }
        tw_status status = report(f, found.path, found.error, err);
        free(found.path);
        TRY(status);
    }
    return TW_OK;
}

/* Leaves out what cannot be read (any more). */
static tw_status check_paths(file_follow *f, tw_error *err) {
    size_t kept = 0, n = f->paths.n;
    tw_status status = TW_OK;
    for (size_t i = 0; i < n; i++) {
        char *path = f->paths.paths[i];
        uint64_t identity = f->identities[i], bytes;
        int error = status == TW_OK ? folder_watch_identify(path, &identity, &bytes) : 0;
        if (status == TW_OK && !error && access(path, R_OK) != 0) error = errno;
        if (error) {
            status = report(f, path, error, err);
            free(path);
            continue;
        }
        if (identity != f->identities[i]) folder_watch_is(f->watch, path, identity);
        f->paths.paths[kept] = path;
        f->identities[kept++] = identity;
    }
    f->paths.n = kept;
    return status;
}

/* Whether the files that were planned are those that were checked. One that is gone shows when it is read. */
static bool is_as_checked(const file_follow *f, const input_files *lot) {
    for (size_t i = 0; i < lot->n; i++) {
        uint64_t identity, bytes;
        if (folder_watch_identify(lot->files[i].path, &identity, &bytes) == 0 && identity != f->identities[i]) return false;
    }
    return true;
}

/* Without a lot after it, when no file is left or one was replaced. */
static tw_status plan_lot(file_follow *f, tw_error *err) {
    input_files *lot;
    TRY(check_paths(f, err));
    if (!f->paths.n) return TW_OK;
    TRY(input_files_new(f->format, &f->paths, &lot, err));
    lot->cancelled = f->run->cancelled;
    tw_status status = input_files_plan(lot, err);
    if (status == TW_OK && is_as_checked(f, lot)) {
        f->lot = lot;
        f->next_split = 0;
        return TW_OK;
    }
    f->paths = lot->paths; /* once more */
    lot->paths = (path_list){0};
    input_files_unref(lot);
    return status;
}

static void end_lot(file_follow *f) {
    f->first_unit += f->lot->n_units;
    input_files_unref(f->lot);
    f->lot = NULL;
}

tw_status file_follow_next(file_follow *f, followed_split *out, tw_error *err) {
    bool stopped = atomic_load(&f->stopped);
    TRY(folder_watch_look(f->watch, err));
    if (f->lot && f->next_split == f->lot->n_splits) end_lot(f);
    while (!f->lot) {
        if (!f->paths.n) TRY(collect(f, err));
        if (f->paths.n) {
            TRY(plan_lot(f, err));
            continue;
        }
        if (stopped) return TW_END;
        /* What was passed over may have kept the watch from waiting. */
        TRY(folder_watch_look(f->watch, err));
        TRY(collect(f, err));
        if (!f->paths.n) return STATUS_WAIT;
    }
    *out = (followed_split){f->lot, f->next_split, f->first_unit};
    return TW_OK;
}

tw_status file_follow_took(file_follow *f, tw_error *err) {
    const split_group *g = input_files_group(f->lot, f->next_split);
    if (f->next_split + 1 == g->first_split + g->n_splits)
        for (size_t i = g->first_file; i < g->first_file + g->n_files; i++)
            TRY(folder_watch_done(f->watch, f->lot->files[i].path, f->identities[i], err));
    f->next_split++;
    return TW_OK;
}

void file_follow_stop(file_follow *f) { atomic_store(&f->stopped, true); }

/* ---- going on ---- */

tw_status file_follow_save(const file_follow *f, saved_part *to, tw_error *err) {
    struct text done = {0};
    tw_status status = folder_watch_print(f->watch, &done, err);
    if (status == TW_OK) status = part_put(to, "done", text_string(&done), err);
    text_free(&done);
    TRY(status);
    uint64_t unit = f->first_unit;
    const input_files *lot = f->lot;
    if (lot && f->next_split == lot->n_splits) unit += lot->n_units;
    if (lot && f->next_split < lot->n_splits) {
        const split_group *g = input_files_group(lot, f->next_split);
        uint64_t part = f->next_split - g->first_split;
        const input_file *file = &lot->files[g->first_file];
        unit += g->first_unit + part;
        if (part) {
            TRY(part_put(to, "file", file->path, err));
            TRY(part_put_int(to, "identity", (int64_t)f->identities[g->first_file], err));
            TRY(part_put_int(to, "bytes", (int64_t)file->bytes, err));
            TRY(part_put_int(to, "parts_done", (int64_t)part, err));
        }
    }
    return part_put_int(to, "unit", (int64_t)unit, err);
}

tw_status file_follow_load(file_follow *f, const saved_part *from, tw_error *err) {
    const char *done = part_get(from, "done"), *file = part_get(from, "file");
    if (done) TRY(folder_watch_parse(f->watch, done, err));
    f->first_unit = (uint64_t)part_get_int(from, "unit", 0);
    if (!file) return TW_OK;
    f->resumed = strdup(file);
    f->resumed_identity = (uint64_t)part_get_int(from, "identity", 0);
    f->resumed_bytes = (uint64_t)part_get_int(from, "bytes", 0);
    f->resumed_part = (uint64_t)part_get_int(from, "parts_done", 0);
    return f->resumed ? folder_watch_done(f->watch, file, f->resumed_identity, err) : no_memory(err);
}

/* The rest of the file that an earlier run has begun, as a lot of its own. */
static tw_status resume_file(file_follow *f, tw_error *err) {
    uint64_t identity = 0, bytes = 0;
    int error = folder_watch_identify(f->resumed, &identity, &bytes);
    if (!error && access(f->resumed, R_OK) != 0) error = errno;
    bool same = !error && identity == f->resumed_identity && bytes >= f->resumed_bytes;
    if (same) {
        char *path = strdup(f->resumed);
        TRY(path ? add_path(f, path, identity, err) : no_memory(err));
        TRY(plan_lot(f, err));
        same = f->lot && f->lot->n_splits > f->resumed_part && f->lot->files[0].parts;
    }
    if (same) {
        f->next_split = f->resumed_part;
        f->first_unit -= f->resumed_part;
        return TW_OK;
    }
    input_files_unref(f->lot);
    f->lot = NULL;
    path_list_free(&f->paths); /* it comes again, as another file */
    char reason[200];
    snprintf(reason, sizeof reason, "an earlier run has read %llu of the file's %llu bytes, and the rest is lost: it %s",
             (unsigned long long)f->resumed_part * PART_BYTES, (unsigned long long)f->resumed_bytes,
             error == ENOENT ? "is gone" : error ? strerror(error) : "has changed");
    return bad_record(f->run, f->resumed, 0, NULL, 0, reason, err);
}

/* ---- life ---- */

static void wake(void *context, uint32_t events) { run_wake(((file_follow *)context)->run); }

tw_status file_follow_start(file_follow *f, run_context *run, tw_error *err) {
    f->run = run;
    if (f->resumed) TRY(resume_file(f, err));
    return folder_watch_start(f->watch, run->poller, wake, f, err);
}

tw_status file_follow_list(file_follow *f, path_list *out, tw_error *err) { return folder_watch_list(f->watch, out, err); }

tw_status file_follow_new(const format *format, const char *const *patterns, size_t n, int64_t settle_us, file_follow **out,
                          size_t *wrong, tw_error *err) {
    file_follow *f = calloc(1, sizeof *f);
    if (!f) return no_memory(err);
    f->format = format;
    f->identities = malloc(LOT_FILES_MAX * sizeof *f->identities);
    tw_status status = f->identities ? folder_watch_new(patterns, n, settle_us, &f->watch, wrong, err) : no_memory(err);
    if (status == TW_OK) *out = f;
    else file_follow_free(f);
    return status;
}

void file_follow_free(file_follow *f) {
    if (!f) return;
    folder_watch_free(f->watch);
    input_files_unref(f->lot);
    path_list_free(&f->paths);
    free(f->identities);
    free(f->resumed);
    free(f);
}
