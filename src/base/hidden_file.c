#include "base/hidden_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

#define NAMES_MAX 1000

char *path_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

int folder_sync(const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int e = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0) close(fd);
    return e;
}

/* ".NAME.thalweg-": what hidden files for the target begin with, in its folder. NULL: no memory. */
static char *hidden_prefix(const char *target) {
    struct text t = {0};
    const char *slash = strrchr(target, '/');
    text_printf(&t, ".%.200s.thalweg-", slash ? slash + 1 : target);
    return text_take(&t);
}

static char *hidden_name(const char *target, unsigned i) {
    struct text t = {0};
    char *prefix = hidden_prefix(target);
    const char *slash = strrchr(target, '/');
    if (!prefix) return NULL;
    text_append(&t, target, slash ? (size_t)(slash + 1 - target) : 0);
    text_printf(&t, "%s%ld-%u", prefix, (long)getpid(), i);
    free(prefix);
    return text_take(&t);
}

/* ---- what killed processes left ---- */

static void remove_unlocked(int folder, const char *name) {
    struct stat info;
    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) return;
    int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) unlinkat(folder, name, 0);
    close(fd);
}

static void remove_leftovers(const char *target) {
    char *path = path_folder(target), *prefix = hidden_prefix(target);
    DIR *d = path && prefix ? opendir(path) : NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0) remove_unlocked(dirfd(d), e->d_name);
    if (d) closedir(d);
    free(path);
    free(prefix);
}

/* ---- opening ---- */

/* Whether the file is ours and nobody took it for a leftover before it was locked. Where there are no locks
 * nobody takes one. */
static bool lock(int fd) {
    struct stat info;
    while (flock(fd, LOCK_EX) != 0 && errno == EINTR) {}
    return fstat(fd, &info) == 0 && info.st_nlink > 0;
}

static int open_named(const char *target, hidden_file *out) {
    remove_leftovers(target);
    for (unsigned i = 0; i < NAMES_MAX; i++) {
        char *name = hidden_name(target, i);
        if (!name) return ENOMEM;
        int fd = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666), e = fd < 0 ? errno : 0;
        if (fd >= 0 && lock(fd)) {
            *out = (hidden_file){.fd = fd, .name = name};
            return 0;
        }
        free(name);
        if (fd >= 0) close(fd);
        else if (e != EEXIST) return e;
    }
    return EEXIST;
}

int hidden_file_open(const char *target, bool named, hidden_file *out) {
    *out = (hidden_file){.fd = -1};
    if (named || access("/proc/self/fd", X_OK) != 0) return open_named(target, out);
    char *folder = path_folder(target);
    if (!folder) return ENOMEM;
    out->fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    int e = out->fd < 0 ? errno : 0;
    free(folder);
    if (e == EOPNOTSUPP || e == EISDIR || e == EINVAL || e == ENOENT) return open_named(target, out);
    if (!e) (void)flock(out->fd, LOCK_EX); /* it may have a hidden name for a moment */
    return e;
}

/* ---- the end ---- */

static int link_as(const hidden_file *f, const char *name) {
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", f->fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

static void forget_name(hidden_file *f) {
    free(f->name);
    f->name = NULL;
}

/* What has no name cannot replace what has one. */
static int link_hidden(hidden_file *f, const char *target) {
    int e = EEXIST;
    remove_leftovers(target);
    for (unsigned i = 0; i < NAMES_MAX && e == EEXIST; i++) {
        free(f->name);
        f->name = hidden_name(target, i);
        e = f->name ? link_as(f, f->name) : ENOMEM;
    }
    if (e) forget_name(f); /* not ours */
    return e;
}

int hidden_file_publish(hidden_file *f, const char *target, bool replaces) {
    if (!f->name) {
        int e = link_as(f, target);
        if (e != EEXIST || !replaces) return e;
        e = link_hidden(f, target);
        if (e) return e;
    }
    if (replaces ? rename(f->name, target) != 0 : link(f->name, target) != 0) return errno;
    if (!replaces) unlink(f->name);
    forget_name(f);
    return 0;
}

void hidden_file_close(hidden_file *f) {
    if (f->name) unlink(f->name);
    forget_name(f);
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}
