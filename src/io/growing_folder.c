#include "io/growing_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define NAME_BYTES_MAX 64

struct growing_folder {
    char *path;
    int fd; /* of the folder; locked as long as this process lives */
    output_mode mode;
    made_folders made;
    bool begun;        /* what `mode` says was done */
    uint32_t prepared; /* parts below it are complete */
    uint32_t next;     /* the number of the next part */
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for an output"); }
static tw_status cannot(const growing_folder *f, int e, tw_error *err) { return error_io(err, e, "cannot write '%s'", f->path); }

/* ".part-00012.csv.tmp" and "part-00012.csv": 12; -1 for other names. */
static long number_of(const char *name, bool hidden) {
    if (hidden && *name++ != '.') return -1;
    if (strncmp(name, "part-", 5) != 0 || name[5] < '0' || name[5] > '9') return -1;
    char *end;
    long n = strtol(name + 5, &end, 10);
    size_t rest = strlen(end);
    bool temporary = rest >= 4 && strcmp(end + rest - 4, ".tmp") == 0;
    return n < INT32_MAX && (!*end || *end == '.') && temporary == hidden ? n : -1;
}

/* One pass over the folder's parts; `each` gives 0, or an errno that ends it. */
typedef int (*visit)(growing_folder *f, const char *name, long number);

static int each_part(growing_folder *f, bool hidden, visit each) {
    int copy = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d) {
        int e = errno;
        if (copy >= 0) close(copy);
        return e;
    }
    int e = 0;
    for (struct dirent *entry; e == 0 && (entry = readdir(d));) {
        long n = number_of(entry->d_name, hidden);
        if (n >= 0) e = each(f, entry->d_name, n);
    }
    closedir(d);
    return e;
}

static int remove_part(growing_folder *f, const char *name, long number) { return unlinkat(f->fd, name, 0) == 0 || errno == ENOENT ? 0 : errno; }
static int remove_unprepared(growing_folder *f, const char *name, long number) {
    return number >= (long)f->prepared ? remove_part(f, name, number) : 0;
}
static int refuse_part(growing_folder *f, const char *name, long number) { return ENOTEMPTY; }
static int count_part(growing_folder *f, const char *name, long number) {
    if (number >= (long)f->next) f->next = (uint32_t)number + 1;
    return 0;
}
static int publish_part(growing_folder *f, const char *name, long number) {
    char shown[NAME_BYTES_MAX];
    if (number >= (long)f->prepared) return 0;
    snprintf(shown, sizeof shown, "%.*s", (int)(strlen(name) - 5), name + 1);
    return renameat(f->fd, name, f->fd, shown) == 0 ? 0 : errno;
}
static int sync_part(growing_folder *f, const char *name, long number) {
    int fd = openat(f->fd, name, O_RDONLY | O_CLOEXEC);
    int e = fd < 0 || fdatasync(fd) != 0 ? errno : 0;
    if (fd >= 0) close(fd);
    return e;
}

tw_status growing_folder_open(const char *path, output_mode mode, growing_folder **out, tw_error *err) {
    growing_folder *f = calloc(1, sizeof *f);
    if (!f) return no_memory(err);
    f->fd = -1;
    f->mode = mode;
    f->path = strdup(path);
    tw_status status = f->path ? folders_make(path, &f->made, err) : no_memory(err);
    if (status == TW_ERR_IO) error_prefix(err, "cannot write '%s'", path);
    if (status == TW_OK) {
        f->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (f->fd < 0) status = cannot(f, errno, err);
        else if (flock(f->fd, LOCK_EX | LOCK_NB) != 0)
            status = error_set(err, TW_ERR_IO, "cannot write '%s': another run is writing there", path);
    }
    if (status != TW_OK) {
        if (f->fd >= 0) close(f->fd), f->fd = -1;
        growing_folder_free(f);
        return status;
    }
    *out = f;
    return TW_OK;
}

void growing_folder_free(growing_folder *f) {
    if (!f) return;
    if (f->fd >= 0) {
        if (f->begun) each_part(f, true, remove_unprepared);
        close(f->fd);
    }
    folders_undo(&f->made);
    free(f->path);
    free(f);
}

tw_status growing_folder_resume(growing_folder *f, uint32_t prepared, tw_error *err) {
    f->begun = true;
    f->prepared = f->next = prepared;
    int e = each_part(f, true, remove_unprepared);
    return e ? cannot(f, e, err) : TW_OK;
}

static tw_status begin(growing_folder *f, tw_error *err) {
    int e = each_part(f, true, remove_part);
    if (e == 0 && f->mode == OUTPUT_REPLACE) e = each_part(f, false, remove_part);
    if (e == 0 && f->mode == OUTPUT_FAIL) e = each_part(f, false, refuse_part);
    if (e == 0 && f->mode == OUTPUT_APPEND) e = each_part(f, false, count_part);
    if (e) return cannot(f, e, err);
    f->begun = true;
    f->prepared = f->next;
    return TW_OK;
}

tw_status growing_folder_add(growing_folder *f, const char *ending, int *fd, tw_error *err) {
    char name[NAME_BYTES_MAX];
    if (!f->begun) TRY(begin(f, err));
    snprintf(name, sizeof name, ".part-%05u%s.tmp", f->next, ending);
    *fd = openat(f->fd, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
    if (*fd < 0) return cannot(f, errno, err);
    f->next++;
    return TW_OK;
}

tw_status growing_folder_prepare(growing_folder *f, bool sync, uint32_t *prepared, tw_error *err) {
    if (!f->begun) TRY(begin(f, err));
    int e = sync && f->prepared < f->next ? each_part(f, true, sync_part) : 0;
    if (e == 0 && sync && fsync(f->fd) != 0) e = errno;
    if (e) return cannot(f, e, err);
    *prepared = f->prepared = f->next;
    return TW_OK;
}

tw_status growing_folder_publish(growing_folder *f, tw_error *err) {
    int e = f->begun ? each_part(f, true, publish_part) : 0;
    if (e) return cannot(f, e, err);
    folders_forget(&f->made);
    return TW_OK;
}
