#include "io/folder_watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/clock.h"
#include "data/hash.h"
#include "io/path_map.h"
#include "io/path_pattern.h"

#define SECOND_NS 1000000000ull
#define LINK_NS 100000000ull  /* a file that was created by a link and not by an open is not opened for so long */
#define LIST_NS SECOND_NS     /* from one listing to the next, and ten times what one takes */
enum { EVENT_BYTES = 64 << 10, DONE_MAX = 2000000, ENTRY_BYTES = 16 };

#define WATCHED (IN_CREATE | IN_OPEN | IN_CLOSE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | \
                 IN_ONLYDIR | IN_EXCL_UNLINK)

/* Of a file: what is known of it. GONE: taken, and then removed. */
enum { UNKNOWN, SETTLING, READY, TAKEN, DONE, GONE };

typedef struct folder {
    char *path; /* with its slash, or "" */
    int watch;  /* of inotify; -1: none */
    bool root, remote;
    uint64_t states[]; /* of each pattern */
} folder;

/* A file that must not change until `due_ns`. */
typedef struct settling {
    struct settling *next, *before;
    uint64_t due_ns, quiet_ns;
    int64_t bytes, changed; /* as last seen */
    char path[];
} settling;

struct folder_watch {
    path_pattern *patterns;
    size_t n_patterns;
    uint64_t settle_ns;
    path_list *list; /* files are only listed, not followed */
    int events, timer;
    poller *poller;
    watch_id events_watch, timer_watch;
    path_map files;
    path_map folders;  /* item: the folder */
    path_map watches;  /* key: inotify's number; item: the folder */
    settling *first, *last; /* by due_ns */
    found_file *ready;
    size_t n_ready, next_ready, ready_room;
    bool unwatched;    /* some folder must be listed again */
    bool again;        /* all must be listed now: events were lost */
    uint64_t list_ns;  /* when the next listing is due */
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

/* ---- files ---- */

static int look_at(const char *path, int flags, struct statx *out) {
    return statx(AT_FDCWD, path, flags, STATX_BASIC_STATS | STATX_BTIME, out) == 0 ? 0 : errno;
}

static uint64_t identity_of(const struct statx *s) {
    bool born = s->stx_mask & STATX_BTIME;
    uint64_t words[3] = {s->stx_ino, born ? (uint64_t)s->stx_btime.tv_sec : 0, born ? s->stx_btime.tv_nsec : 0};
    uint64_t identity = hash_bytes((const uint8_t *)words, sizeof words);
    return identity ? identity : 1;
}

static int64_t changed_at(const struct statx *s) {
    return s->stx_mtime.tv_sec * (int64_t)SECOND_NS + s->stx_mtime.tv_nsec;
}

int folder_watch_identify(const char *path, uint64_t *identity, uint64_t *bytes) {
    struct statx s;
    int e = look_at(path, 0, &s);
    if (e) return e;
    *identity = identity_of(&s);
    *bytes = s.stx_size;
    return 0;
}

static tw_status make_ready(folder_watch *w, const char *path, path_entry *e, uint64_t identity, int error, tw_error *err) {
    if (w->n_ready == w->ready_room) {
        size_t room = w->ready_room ? 2 * w->ready_room : 64;
        found_file *more = realloc(w->ready, room * sizeof *more);
        if (!more) return no_memory(err);
        w->ready = more;
        w->ready_room = room;
    }
    char *copy = strdup(path);
    if (!copy) return no_memory(err);
    w->ready[w->n_ready++] = (found_file){copy, identity, error};
    e->identity = identity;
    e->state = READY;
    return TW_OK;
}

/* ---- files that settle ---- */

static void unlink_settling(folder_watch *w, settling *s) {
    *(s->before ? &s->before->next : &w->first) = s->next;
    *(s->next ? &s->next->before : &w->last) = s->before;
}

static void link_settling(folder_watch *w, settling *s, uint64_t quiet_ns) {
    s->quiet_ns = quiet_ns;
    s->due_ns = clock_ns() + quiet_ns;
    settling *before = w->last;
    while (before && before->due_ns > s->due_ns) before = before->before;
    s->before = before;
    s->next = before ? before->next : w->first;
    *(s->before ? &s->before->next : &w->first) = s;
    *(s->next ? &s->next->before : &w->last) = s;
}

static void drop_settling(folder_watch *w, path_entry *e) {
    if (e->state != SETTLING) return;
    unlink_settling(w, e->item);
    free(e->item);
    e->item = NULL;
    e->state = UNKNOWN;
}

static tw_status settle(folder_watch *w, const char *path, path_entry *e, const struct statx *s, uint64_t quiet_ns,
                        tw_error *err) {
    settling *t = e->item;
    if (t) {
        unlink_settling(w, t);
    } else {
        size_t n = strlen(path) + 1;
        t = malloc(sizeof *t + n);
        if (!t) return no_memory(err);
        memcpy(t->path, path, n);
    }
    t->bytes = (int64_t)s->stx_size;
    t->changed = changed_at(s);
    link_settling(w, t, quiet_ns);
    e->item = t;
    e->state = SETTLING;
    return TW_OK;
}

/* ---- what becomes of a file ---- */

/* How sure it is that the file is whole. */
typedef enum news { NEWS_WHOLE, NEWS_CLOSED, NEWS_CREATED, NEWS_LISTED } news;

static bool seen_already(const path_entry *e, uint64_t identity) { return e->state >= READY && e->identity == identity; }

/* Nothing is kept of a file that is nothing to us. */
static void forget_if_unknown(folder_watch *w, path_entry *e) {
    if (e->state == UNKNOWN) path_map_remove(&w->files, e->key);
}

/* Whether it came by a link, or is one: what is behind it was there before. */
static bool is_linked(const char *path, const struct statx *s) {
    struct statx own;
    return s->stx_nlink > 1 || (look_at(path, AT_SYMLINK_NOFOLLOW, &own) == 0 && S_ISLNK(own.stx_mode));
}

static bool is_old(const struct statx *s, uint64_t quiet_ns) {
    return changed_at(s) + (int64_t)quiet_ns <= (int64_t)clock_of(CLOCK_REALTIME);
}

static tw_status file_news(folder_watch *w, const char *path, news what, tw_error *err) {
    struct statx s;
    path_entry *e;
    int failed = look_at(path, 0, &s);
    if (!failed && !S_ISREG(s.stx_mode)) return TW_OK;
    if (failed && what != NEWS_WHOLE) return TW_OK; /* it was never whole */
    TRY(path_map_get(&w->files, path_key(path), &e, err));
    if (failed) {
        drop_settling(w, e);
        return make_ready(w, path, e, 1, failed, err);
    }
    e->marked = true;
    uint64_t identity = identity_of(&s), quiet = w->settle_ns;
    if (seen_already(e, identity)) {
        if (e->state == GONE) e->state = TAKEN; /* it is back */
        return TW_OK;
    }
    if (what == NEWS_LISTED && quiet < SECOND_NS) quiet = SECOND_NS;
    if (what == NEWS_CREATED && quiet < LINK_NS) quiet = LINK_NS;
    bool whole = what == NEWS_WHOLE || (what == NEWS_CLOSED && !quiet) || (what == NEWS_CREATED && is_linked(path, &s)) ||
                 (what == NEWS_LISTED && !w->unwatched && is_old(&s, quiet));
    if (!whole && what == NEWS_LISTED && e->state == SETTLING) return TW_OK;
    if (!whole) return settle(w, path, e, &s, quiet, err);
    drop_settling(w, e);
    return make_ready(w, path, e, identity, 0, err);
}

/* Its time has come: it is whole if it is as it was. */
static tw_status look_at_settled(folder_watch *w, settling *t, tw_error *err) {
    struct statx s;
    path_entry *e = path_map_find(&w->files, path_key(t->path));
    int failed = look_at(t->path, 0, &s);
    if (failed || !S_ISREG(s.stx_mode)) {
        drop_settling(w, e);
        path_map_remove(&w->files, e->key);
        return TW_OK;
    }
    if (t->bytes != (int64_t)s.stx_size || t->changed != changed_at(&s)) return settle(w, t->path, e, &s, t->quiet_ns, err);
    TRY(make_ready(w, t->path, e, identity_of(&s), 0, err));
    unlink_settling(w, t);
    free(t);
    e->item = NULL;
    return TW_OK;
}

/* Somebody opens it: if he writes, it closes in the end. */
static void file_opened(folder_watch *w, const char *path) {
    path_entry *e = path_map_find(&w->files, path_key(path));
    if (!e) return;
    drop_settling(w, e);
    forget_if_unknown(w, e);
}

static void file_gone(folder_watch *w, const char *path, bool moved) {
    path_entry *e = path_map_find(&w->files, path_key(path));
    if (!e) return;
    drop_settling(w, e);
    if (e->state == READY && !moved) return; /* told as one that vanished */
    if (e->state == TAKEN) e->state = GONE;
    else if (e->state != GONE) path_map_remove(&w->files, e->key);
}

bool folder_watch_take(folder_watch *w, found_file *out) {
    while (w->next_ready < w->n_ready) {
        found_file *f = &w->ready[w->next_ready++];
        path_entry *e = path_map_find(&w->files, path_key(f->path));
        if (e && e->state == READY && e->identity == f->identity) { /* else another file has come to its name */
            *out = *f;
            e->state = TAKEN;
            return true;
        }
        free(f->path);
    }
    w->next_ready = w->n_ready = 0;
    return false;
}

void folder_watch_is(folder_watch *w, const char *path, uint64_t identity) {
    path_entry *e = path_map_find(&w->files, path_key(path));
    if (e && e->state == TAKEN) e->identity = identity;
}

tw_status folder_watch_done(folder_watch *w, const char *path, uint64_t identity, tw_error *err) {
    path_entry *e = path_map_find(&w->files, path_key(path));
    if (!e) TRY(path_map_get(&w->files, path_key(path), &e, err));
    if (e->state == GONE) {
        path_map_remove(&w->files, e->key);
    } else if (e->state == UNKNOWN || (e->state == TAKEN && e->identity == identity)) {
        e->state = DONE;
        e->identity = identity;
    }
    return TW_OK;
}

/* ---- folders ---- */

static tw_status list_folder(folder_watch *w, folder *f, tw_error *err);

static bool is_remote(const char *path) {
    struct statfs s;
    if (statfs(path, &s) != 0) return false;
    switch ((uint32_t)s.f_type) {
    case 0x6969:     /* NFS */
    case 0x517b:     /* SMB */
    case 0xfe534d42: /* SMB 2 */
    case 0xff534d42: /* CIFS */
    case 0x65735546: /* FUSE */
    case 0x01021997: /* 9P */
    case 0x00c36400: /* Ceph */
    case 0x0bd00bd0: /* Lustre */
    case 0x47504653: /* GPFS */
    case 0x5346414f: /* AFS */
    case 0x7461636f: /* OCFS2 */
    case 0x01161970: /* GFS2 */
        return true;
    default: return false;
    }
}

static const char *shown(const folder *f) { return *f->path ? f->path : "."; }

static void unwatch(folder_watch *w, folder *f) {
    if (f->watch < 0) return;
    inotify_rm_watch(w->events, f->watch);
    path_map_remove(&w->watches, (uint64_t)f->watch + 1);
    f->watch = -1;
}

/* Where that cannot be, it is listed again and again. */
static tw_status watch_folder(folder_watch *w, folder *f, tw_error *err) {
    if (w->list) return TW_OK;
    if (f->watch >= 0) {
        w->unwatched |= f->remote;
        return TW_OK;
    }
    path_entry *e;
    int watch = w->events < 0 ? -1 : inotify_add_watch(w->events, shown(f), WATCHED);
    if (watch < 0) {
        w->unwatched |= f->root || (errno != ENOENT && errno != ENOTDIR);
        return TW_OK;
    }
    TRY(path_map_get(&w->watches, (uint64_t)watch + 1, &e, err));
    if (e->item) { /* the same folder under another name */
        w->unwatched = true;
        return TW_OK;
    }
    e->item = f;
    f->watch = watch;
    f->remote = is_remote(shown(f));
    w->unwatched |= f->remote;
    return TW_OK;
}

static tw_status get_folder(folder_watch *w, const char *path, folder **out, tw_error *err) {
    path_entry *e;
    TRY(path_map_get(&w->folders, path_key(path), &e, err));
    folder *f = e->item;
    if (!f) {
        f = calloc(1, sizeof *f + w->n_patterns * sizeof *f->states);
        if (f) f->path = strdup(path);
        if (!f || !f->path) {
            free(f);
            path_map_remove(&w->folders, e->key);
            return no_memory(err);
        }
        f->watch = -1;
        e->item = f;
    }
    *out = f;
    return TW_OK;
}

/* It and all below it have another name now, or none. Roots stay, to be found again. */
static void forget_folders(folder_watch *w, const char *path) {
    size_t n = strlen(path);
    folder *own = NULL; /* whose name `path` is: the last to go */
    for (uint32_t i = 0; i < w->folders.capacity;) {
        folder *f = w->folders.entries[i].key ? w->folders.entries[i].item : NULL;
        if (!f || strncmp(f->path, path, n) != 0) {
            i++;
            continue;
        }
        unwatch(w, f);
        if (f->root) {
            w->unwatched = true;
            i++;
            continue;
        }
        path_map_remove(&w->folders, w->folders.entries[i].key); /* another one may come to its place */
        if (f->path == path) {
            own = f;
            continue;
        }
        free(f->path);
        free(f);
    }
    if (own) free(own->path);
    free(own);
}

/* A folder in `parent`, if something may match there. */
static tw_status enter_folder(folder_watch *w, const folder *parent, const char *name, const char *path, bool real,
                              tw_error *err) {
    bool any = false;
    for (size_t i = 0; i < w->n_patterns; i++)
        any |= path_pattern_enter(&w->patterns[i], parent->states[i], name, real) != 0;
    if (!any || strlen(path) + 1 >= PATH_MAX) return TW_OK;
    folder *f;
    TRY(get_folder(w, path, &f, err));
    for (size_t i = 0; i < w->n_patterns; i++)
        f->states[i] |= path_pattern_enter(&w->patterns[i], parent->states[i], name, real);
    TRY(watch_folder(w, f, err));
    return list_folder(w, f, err);
}

static bool ends_in(const char *name, const char *ending) {
    size_t n = strlen(name), e = strlen(ending);
    return n >= e && strcmp(name + n - e, ending) == 0;
}

static bool takes(const folder_watch *w, const folder *f, const char *name) {
    if (name[0] == '.' || ends_in(name, ".tmp") || ends_in(name, ".part")) return false; /* not whole yet */
    for (size_t i = 0; i < w->n_patterns; i++)
        if (path_pattern_takes(&w->patterns[i], f->states[i], name)) return true;
    return false;
}

static tw_status add_listed(path_list *l, const char *path, tw_error *err) {
    if ((l->n & (l->n - 1)) == 0) {
        char **more = realloc(l->paths, (l->n ? 2 * l->n : 1) * sizeof *more);
        if (!more) return no_memory(err);
        l->paths = more;
    }
    l->paths[l->n] = strdup(path);
    return l->paths[l->n++] ? TW_OK : no_memory(err);
}

static tw_status join(const folder *f, const char *name, bool is_folder, char **out, tw_error *err) {
    size_t n = strlen(f->path), m = strlen(name);
    *out = malloc(n + m + 2);
    if (!*out) return no_memory(err);
    memcpy(*out, f->path, n);
    memcpy(*out + n, name, m + 1);
    if (is_folder) memcpy(*out + n + m, "/", 2);
    return TW_OK;
}

static tw_status see_name(folder_watch *w, folder *f, const struct dirent *d, tw_error *err) {
    bool deeper = d->d_type == DT_DIR || d->d_type == DT_LNK || d->d_type == DT_UNKNOWN;
    struct stat info;
    char *path;
    if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..")) return TW_OK;
    TRY(join(f, d->d_name, false, &path, err));
    tw_status status = TW_OK;
    if (deeper && stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        bool real = d->d_type == DT_DIR || (lstat(path, &info) == 0 && S_ISDIR(info.st_mode));
        free(path);
        TRY(join(f, d->d_name, true, &path, err));
        status = enter_folder(w, f, d->d_name, path, real, err);
    } else if (takes(w, f, d->d_name)) {
        status = !w->list ? file_news(w, path, NEWS_LISTED, err)
                 : stat(path, &info) == 0 && S_ISREG(info.st_mode) ? add_listed(w->list, path, err) : TW_OK;
    }
    free(path);
    return status;
}

/* A folder that cannot be read is told once, as a file would be. */
static tw_status folder_failed(folder_watch *w, const folder *f, int error, tw_error *err) {
    path_entry *e;
    if (error == ENOENT || error == ENOTDIR) return TW_OK;
    if (w->list && f->root) return error_io(err, error, "cannot follow '%s'", shown(f));
    if (w->list) return TW_OK;
    TRY(path_map_get(&w->files, path_key(shown(f)), &e, err));
    e->marked = true;
    return e->state == UNKNOWN ? make_ready(w, shown(f), e, 1, error, err) : TW_OK;
}

static tw_status list_folder(folder_watch *w, folder *f, tw_error *err) {
    DIR *d = opendir(shown(f));
    if (!d) return folder_failed(w, f, errno, err);
    tw_status status = TW_OK;
    for (struct dirent *e; status == TW_OK && (e = readdir(d));) status = see_name(w, f, e, err);
    closedir(d);
    return status;
}

static int compare_found(const void *a, const void *b) {
    return strcmp(((const found_file *)a)->path, ((const found_file *)b)->path);
}

/* What is done and not there any more need not be remembered; but if nothing is there of what was, a disk is missing
 * rather than all files. */
static void forget_missing(folder_watch *w) {
    bool any = false;
    for (uint32_t i = 0; i < w->files.capacity; i++) any |= w->files.entries[i].state == DONE && w->files.entries[i].marked;
    for (uint32_t i = 0; any && i < w->files.capacity;) {
        path_entry *e = &w->files.entries[i];
        if (e->key && e->state == DONE && !e->marked) path_map_remove(&w->files, e->key);
        else i++;
    }
}

static tw_status list_all(folder_watch *w, tw_error *err) {
    uint64_t begin = clock_ns();
    size_t known = w->n_ready;
    w->again = w->unwatched = false;
    for (uint32_t i = 0; i < w->files.capacity; i++) w->files.entries[i].marked = false;
    for (size_t i = 0; i < w->n_patterns; i++) {
        folder *f;
        TRY(get_folder(w, w->patterns[i].base, &f, err));
        f->root = true;
        f->states[i] |= path_pattern_begin(&w->patterns[i]);
        TRY(watch_folder(w, f, err));
        TRY(list_folder(w, f, err));
    }
    if (w->n_ready > known) qsort(w->ready + known, w->n_ready - known, sizeof *w->ready, compare_found);
    forget_missing(w);
    uint64_t took = 10 * (clock_ns() - begin);
    w->list_ns = clock_ns() + (took > LIST_NS ? took : LIST_NS);
    return TW_OK;
}

static int compare_paths(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

tw_status folder_watch_list(folder_watch *w, path_list *out, tw_error *err) {
    *out = (path_list){0};
    w->list = out;
    tw_status status = list_all(w, err);
    w->list = NULL;
    if (out->n > 1) qsort(out->paths, out->n, sizeof *out->paths, compare_paths);
    if (status != TW_OK) path_list_free(out);
    return status;
}

/* ---- events ---- */

static tw_status folder_event(folder_watch *w, folder *f, const struct inotify_event *e, tw_error *err) {
    char *path;
    TRY(join(f, e->name, true, &path, err));
    tw_status status = TW_OK;
    if (e->mask & (IN_MOVED_FROM | IN_DELETE)) forget_folders(w, path);
    else if (e->mask & (IN_CREATE | IN_MOVED_TO)) status = enter_folder(w, f, e->name, path, true, err);
    free(path);
    return status;
}

static tw_status file_event(folder_watch *w, folder *f, const struct inotify_event *e, tw_error *err) {
    char *path;
    struct stat info;
    bool comes = e->mask & (IN_MOVED_TO | IN_CREATE);
    if (!comes && !takes(w, f, e->name)) return TW_OK;
    TRY(join(f, e->name, false, &path, err));
    tw_status status = TW_OK;
    if (comes && stat(path, &info) == 0 && S_ISDIR(info.st_mode)) { /* a link to one */
        free(path);
        TRY(join(f, e->name, true, &path, err));
        status = enter_folder(w, f, e->name, path, false, err);
    } else if (!takes(w, f, e->name)) {
    } else if (e->mask & IN_MOVED_TO) {
        status = file_news(w, path, NEWS_WHOLE, err);
    } else if (e->mask & IN_CREATE) {
        status = file_news(w, path, NEWS_CREATED, err);
    } else if (e->mask & IN_CLOSE) {
        status = file_news(w, path, e->mask & IN_CLOSE_WRITE ? NEWS_CLOSED : NEWS_CREATED, err);
    } else if (e->mask & IN_OPEN) {
        file_opened(w, path);
    } else {
        file_gone(w, path, e->mask & IN_MOVED_FROM);
    }
    free(path);
    return status;
}

static tw_status take_event(folder_watch *w, const struct inotify_event *e, tw_error *err) {
    if (e->mask & IN_Q_OVERFLOW) w->again = true;
    path_entry *entry = path_map_find(&w->watches, (uint64_t)e->wd + 1);
    if (e->wd < 0 || !entry) return TW_OK;
    folder *f = entry->item;
    if (e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) {
        /* Of other folders their parents tell. */
        if (f->root || e->mask & (IN_IGNORED | IN_UNMOUNT)) forget_folders(w, f->path);
        return TW_OK;
    }
    if (!e->len) return TW_OK;
    return e->mask & IN_ISDIR ? folder_event(w, f, e, err) : file_event(w, f, e, err);
}

static tw_status take_events(folder_watch *w, tw_error *err) {
    char *room = w->events < 0 ? NULL : malloc(EVENT_BYTES);
    tw_status status = w->events >= 0 && !room ? no_memory(err) : TW_OK;
    for (ssize_t n; room && status == TW_OK && (n = read(w->events, room, EVENT_BYTES)) > 0;) {
        for (ssize_t at = 0; at < n && status == TW_OK;) {
            const struct inotify_event *e = (const struct inotify_event *)(const void *)(room + at);
            status = take_event(w, e, err);
            at += (ssize_t)(sizeof *e + e->len);
        }
    }
    free(room);
    if (status != TW_OK) w->again = true; /* the rest of them is lost */
    return status;
}

static tw_status set_timer(folder_watch *w, tw_error *err) {
    uint64_t due = w->first ? w->first->due_ns : UINT64_MAX;
    if (w->unwatched && w->list_ns < due) due = w->list_ns;
    if (due == UINT64_MAX) return TW_OK;
    struct itimerspec t = {.it_value = {(time_t)(due / SECOND_NS), (long)(due % SECOND_NS)}};
    if (timerfd_settime(w->timer, TFD_TIMER_ABSTIME, &t, NULL) != 0) return error_io(err, errno, "cannot set a timer");
    return poller_rearm(w->poller, w->timer_watch, EPOLLIN, err);
}

tw_status folder_watch_look(folder_watch *w, tw_error *err) {
    TRY(take_events(w, err));
    while (w->first && w->first->due_ns <= clock_ns()) TRY(look_at_settled(w, w->first, err));
    if (w->again || (w->unwatched && w->list_ns <= clock_ns())) TRY(list_all(w, err));
    if (w->next_ready < w->n_ready) return TW_OK;
    TRY(set_timer(w, err));
    return w->events < 0 ? TW_OK : poller_rearm(w->poller, w->events_watch, EPOLLIN, err);
}

tw_status folder_watch_start(folder_watch *w, poller *p, watch_ready ready, void *context, tw_error *err) {
    w->poller = p;
    w->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (w->timer < 0) return error_io(err, errno, "cannot make a timer");
    TRY(poller_add(p, w->timer, 0, ready, context, &w->timer_watch, err));
    w->events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK); /* without it folders are listed */
    if (w->events >= 0) TRY(poller_add(p, w->events, 0, ready, context, &w->events_watch, err));
    return list_all(w, err);
}

/* ---- what is done, as text ---- */

tw_status folder_watch_print(const folder_watch *w, struct text *out, tw_error *err) {
    uint64_t *words = malloc((size_t)w->files.n * ENTRY_BYTES + 1);
    size_t n = 0;
    if (!words) return no_memory(err);
    for (uint32_t i = 0; i < w->files.capacity; i++) {
        const path_entry *e = &w->files.entries[i];
        if (!e->key || e->state != DONE) continue;
        words[n++] = htole64(e->key);
        words[n++] = htole64(e->identity);
    }
    tw_status status = TW_OK;
    if (n > 2 * (size_t)DONE_MAX)
        status = error_set(err, TW_ERR_JOB, "more than %d files that were read are still in '%s': move some away", DONE_MAX,
                           w->patterns[0].base);
    uint8_t *text = status == TW_OK ? malloc(base64_size(n * 8) + 1) : NULL;
    if (text) text_append(out, text, (size_t)(base64_encode((const uint8_t *)words, n * 8, text) - text));
    if (status == TW_OK && (!text || out->failed)) status = no_memory(err);
    free(text);
    free(words);
    return status;
}

tw_status folder_watch_parse(folder_watch *w, const char *text, tw_error *err) {
    size_t n = strlen(text), bytes = 0;
    uint64_t *words = malloc(n + 8);
    if (!words) return no_memory(err);
    tw_status status = TW_OK;
    if (!base64_decode((const uint8_t *)text, n, (uint8_t *)words, &bytes) || bytes % ENTRY_BYTES)
        status = error_set(err, TW_ERR_DATA, "the checkpoint's list of files is damaged");
    for (size_t i = 0; i < bytes / 8 && status == TW_OK; i += 2) {
        path_entry *e;
        if (!words[i]) continue;
        status = path_map_get(&w->files, le64toh(words[i]), &e, err);
        if (status != TW_OK) break;
        e->identity = le64toh(words[i + 1]);
        e->state = DONE;
    }
    free(words);
    return status;
}

/* ---- life ---- */

/* A folder that is there stands for the files in it. */
static tw_status read_pattern(const char *text, path_pattern *out, tw_error *err) {
    struct stat info;
    if (!*text) return error_set(err, TW_ERR_JOB, "a path is empty");
    bool folder = stat(text, &info) == 0 && S_ISDIR(info.st_mode);
    if (!folder && !path_is_pattern(text))
        return error_set(err, TW_ERR_JOB, "cannot follow '%s': it is no folder and no pattern", text);
    TRY(path_pattern_read(text, folder ? strlen(text) : path_pattern_base(text), out, err));
    const char *base = out->base[0] ? out->base : ".";
    if (stat(base, &info) == 0 && S_ISDIR(info.st_mode)) return TW_OK;
    error_set(err, TW_ERR_JOB, "cannot follow '%s': there is no folder '%s'", text, base);
    path_pattern_free(out);
    return TW_ERR_JOB;
}

tw_status folder_watch_new(const char *const *patterns, size_t n, int64_t settle_us, folder_watch **out, size_t *wrong,
                           tw_error *err) {
    folder_watch *w = calloc(1, sizeof *w);
    if (!w) return no_memory(err);
    w->events = w->timer = -1;
    w->settle_ns = (uint64_t)settle_us * 1000;
    w->patterns = calloc(n, sizeof *w->patterns);
    tw_status status = w->patterns ? TW_OK : no_memory(err);
    for (size_t i = 0; i < n && status == TW_OK; i++) {
        status = read_pattern(patterns[i], &w->patterns[i], err);
        if (status == TW_OK) w->n_patterns++;
        else *wrong = i;
    }
    if (status == TW_OK) *out = w;
    else folder_watch_free(w);
    return status;
}

void folder_watch_free(folder_watch *w) {
    if (!w) return;
    if (w->poller) {
        poller_remove(w->poller, w->events_watch);
        poller_remove(w->poller, w->timer_watch);
    }
    if (w->events >= 0) close(w->events);
    if (w->timer >= 0) close(w->timer);
    for (settling *s = w->first, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    for (size_t i = w->next_ready; i < w->n_ready; i++) free(w->ready[i].path);
    for (uint32_t i = 0; i < w->folders.capacity; i++) {
        folder *f = w->folders.entries[i].item;
        if (f) free(f->path);
        free(f);
    }
    for (size_t i = 0; i < w->n_patterns; i++) path_pattern_free(&w->patterns[i]);
    path_map_free(&w->files);
    path_map_free(&w->folders);
    path_map_free(&w->watches);
    free(w->patterns);
    free(w->ready);
    free(w);
}
