#include "io/output_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hidden_file.h"
#include "base/text.h"

#define NAMES_MAX 1000
#define PART_NAME_MAX 64

struct output_folder {
    char *path;     /* as given, for messages */
    char *target;   /* without a '/' at the end, links followed */
    char *hidden;   /* NULL: none */
    int hidden_fd;  /* locked as long as this process lives */
    output_mode mode;
    uint32_t first, n; /* parts are numbered first .. first + n - 1 */
    made_folders made;
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for an output"); }

static tw_status cannot(const output_folder *f, int e, tw_error *err) {
    return error_io(err, e, "cannot write '%s'", f->path);
}

/* "part-00012.csv": 12; -1 for other names. */
static long part_number(const char *name) {
    if (strncmp(name, "part-", 5) != 0) return -1;
    char *end;
    long n = name[5] >= '0' && name[5] <= '9' ? strtol(name + 5, &end, 10) : -1;
    return n >= 0 && n < INT32_MAX && (*end == 0 || *end == '.') ? n : -1;
}

/* ---- looking into a folder ---- */

typedef struct contents {
    uint32_t parts, others;
    long greatest; /* number of a part; -1 */
} contents;

static int look_into(const char *folder, contents *out) {
    *out = (contents){.greatest = -1};
    DIR *d = opendir(folder);
    if (!d) return errno;
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        long n = e->d_type == DT_REG || e->d_type == DT_UNKNOWN ? part_number(e->d_name) : -1;
        if (n < 0) out->others++;
        else out->parts++;
        if (n > out->greatest) out->greatest = n;
    }
    closedir(d);
    return 0;
}

/* Removes the parts in a folder, all or those outside [first, first + n). */
static void remove_parts(const char *folder, uint32_t first, uint32_t n) {
    DIR *d = opendir(folder);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        long number = part_number(e->d_name);
        if (number < 0 || (number >= (long)first && number < (long)first + (long)n)) continue;
        unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
}

static void remove_folder(const char *folder) {
    remove_parts(folder, 0, 0);
    rmdir(folder);
}

/* ---- the hidden folder ---- */

/* "FOLDER/.NAME.thalweg-": what the names of hidden folders begin with. */
static char *hidden_prefix(const output_folder *f) {
    struct text t = {0};
    const char *slash = strrchr(f->target, '/'), *name = slash ? slash + 1 : f->target;
    text_append(&t, f->target, (size_t)(name - f->target));
    text_printf(&t, ".%.200s.thalweg-", name);
    return text_take(&t);
}

/* Those whose owner is gone are not locked. */
static void remove_stale(const char *prefix) {
    char *folder = path_folder(prefix);
    DIR *d = folder ? opendir(folder) : NULL;
    const char *slash = strrchr(prefix, '/'), *begin = slash ? slash + 1 : prefix;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strncmp(e->d_name, begin, strlen(begin)) != 0) continue;
        int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) continue;
        struct text t = {0};
        text_printf(&t, "%s/%s", folder, e->d_name);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && !t.failed) remove_folder(text_string(&t));
        text_free(&t);
        close(fd);
    }
    if (d) closedir(d);
    free(folder);
}

/* Makes one and locks it. Another process may take it for a stale one between the two: then it is gone. */
static int try_hidden(output_folder *f, const char *prefix, unsigned i) {
    struct text t = {0};
    text_printf(&t, "%s%ld-%u", prefix, (long)getpid(), i);
    char *name = text_take(&t);
    if (!name) return ENOMEM;
    int e = mkdir(name, 0777) == 0 ? 0 : errno;
    if (e == 0) {
        struct stat info;
        f->hidden_fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        e = f->hidden_fd < 0 ? errno : flock(f->hidden_fd, LOCK_EX | LOCK_NB) != 0 ? EEXIST : 0;
        if (e == 0 && stat(name, &info) != 0) e = EEXIST;
        if (e && f->hidden_fd >= 0) close(f->hidden_fd), f->hidden_fd = -1;
        if (e && e != EEXIST) rmdir(name);
    }
    if (e) free(name);
    else f->hidden = name;
    return e;
}

static tw_status make_hidden(output_folder *f, tw_error *err) {
    char *prefix = hidden_prefix(f);
    if (!prefix) return no_memory(err);
    remove_stale(prefix);
    int e = EEXIST;
    for (unsigned i = 0; i < NAMES_MAX && e == EEXIST; i++) e = try_hidden(f, prefix, i);
    free(prefix);
    return e == 0 ? TW_OK : e == ENOMEM ? no_memory(err) : cannot(f, e, err);
}

/* ---- opening ---- */

static tw_status look(output_folder *f, tw_error *err) {
    struct stat info;
    if (stat(f->path, &info) != 0) {
        if (errno != ENOENT) return cannot(f, errno, err);
        f->target = strdup(f->path);
        if (!f->target) return no_memory(err);
        for (size_t n = strlen(f->target); n > 1 && f->target[n - 1] == '/'; n--) f->target[n - 1] = 0;
        return TW_OK;
    }
    if (!S_ISDIR(info.st_mode)) return cannot(f, ENOTDIR, err);
    f->target = realpath(f->path, NULL);
    if (!f->target || access(f->target, W_OK | X_OK) != 0) return cannot(f, errno, err);
    contents c;
    int e = look_into(f->target, &c);
    if (e) return cannot(f, e, err);
    if (f->mode == OUTPUT_FAIL && (c.parts || c.others)) return cannot(f, ENOTEMPTY, err);
    if (f->mode == OUTPUT_APPEND) f->first = (uint32_t)(c.greatest + 1);
    return TW_OK;
}

tw_status output_folder_open(const char *path, output_mode mode, output_folder **out, tw_error *err) {
    output_folder *f = calloc(1, sizeof *f);
    if (!f) return no_memory(err);
    f->hidden_fd = -1;
    f->mode = mode;
    f->path = strdup(path);
    tw_status status = f->path ? look(f, err) : no_memory(err);
    char *parent = status == TW_OK ? path_folder(f->target) : NULL;
    if (status == TW_OK && !parent) status = no_memory(err);
    if (status == TW_OK) status = folders_make(parent, &f->made, err);
    if (status == TW_ERR_IO && parent) error_prefix(err, "cannot write '%s'", f->path);
    if (status == TW_OK) status = make_hidden(f, err);
    free(parent);
    if (status != TW_OK) {
        output_folder_free(f);
        return status;
    }
    *out = f;
    return TW_OK;
}

void output_folder_free(output_folder *f) {
    if (!f) return;
    if (f->hidden) remove_folder(f->hidden);
    if (f->hidden_fd >= 0) close(f->hidden_fd);
    folders_undo(&f->made);
    free(f->hidden);
    free(f->target);
    free(f->path);
    free(f);
}

tw_status output_folder_add(output_folder *f, const char *ending, int *fd, tw_error *err) {
    char name[PART_NAME_MAX];
    snprintf(name, sizeof name, "part-%05u%s", f->first + f->n, ending);
    *fd = openat(f->hidden_fd, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
    if (*fd < 0) return cannot(f, errno, err);
    f->n++;
    return TW_OK;
}

uint32_t output_folder_parts(const output_folder *f) { return f->n; }

/* ---- the end ---- */

/* All parts into the folder that is there, over those of the same name. */
static int move_parts(const output_folder *f) {
    int to = open(f->target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = to < 0 ? NULL : opendir(f->hidden);
    int e = to < 0 || !d ? errno : 0;
    for (struct dirent *entry; d && e == 0 && (entry = readdir(d));)
        if (part_number(entry->d_name) >= 0 && renameat(dirfd(d), entry->d_name, to, entry->d_name) != 0) e = errno;
    if (d) closedir(d);
    if (to >= 0) close(to);
    return e;
}

static int publish(output_folder *f) {
    contents c;
    int e = look_into(f->target, &c); /* anew: others may have been at it since */
    if (e && e != ENOENT) return e;
    bool empty = c.parts == 0 && c.others == 0;
    if (f->mode == OUTPUT_FAIL && !empty) return ENOTEMPTY;
    if (empty) {
        if (rename(f->hidden, f->target) == 0) {
            free(f->hidden);
            f->hidden = NULL;
            return 0;
        }
        if (errno != EXDEV && errno != EBUSY) return errno;
    } else if (f->mode == OUTPUT_REPLACE && c.others == 0) {
        struct stat old;
        if (stat(f->target, &old) == 0) (void)!fchmod(f->hidden_fd, old.st_mode & 07777);
        if (renameat2(AT_FDCWD, f->hidden, AT_FDCWD, f->target, RENAME_EXCHANGE) == 0) return 0;
    }
    e = move_parts(f);
    if (e == 0 && f->mode == OUTPUT_REPLACE) remove_parts(f->target, f->first, f->n);
    return e;
}

static int sync_parts(const output_folder *f) {
    DIR *d = opendir(f->hidden);
    int e = d ? 0 : errno;
    for (struct dirent *entry; d && e == 0 && (entry = readdir(d));) {
        if (part_number(entry->d_name) < 0) continue;
        int fd = openat(dirfd(d), entry->d_name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) != 0) e = errno;
        if (fd >= 0) close(fd);
    }
    if (d) closedir(d);
    return e ? e : fsync(f->hidden_fd) != 0 ? errno : 0;
}

tw_status output_folder_publish(output_folder *f, bool sync, tw_error *err) {
    int e = sync ? sync_parts(f) : 0;
    if (e == 0) e = publish(f);
    if (e) return cannot(f, e, err);
    folders_forget(&f->made);
    return TW_OK;
}
