#include "io/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hidden_file.h"

#define COPY_BYTES ((size_t)16 << 20)
#define POLL_MS 100

struct output_file {
    char *path;      /* as given, for messages */
    char *target;    /* links followed */
    output_mode mode;
    bool named;      /* has a hidden name from the start */
    hidden_file file;
    int stream_fd;   /* not -1: a pipe or device, written directly */
    int kept_fd;     /* the file appended to; -1: none */
    uint64_t kept_bytes;
    bool kept_copied, ends_line;
    bool replaces;   /* a file was there at the start */
    struct stat old;
    made_folders made;
};

/* ---- folders ---- */

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for an output"); }

tw_status folders_make(const char *folder, made_folders *made, tw_error *err) {
    *made = (made_folders){0};
    struct stat info;
    if (stat(folder, &info) == 0) {
        if (S_ISDIR(info.st_mode)) return TW_OK;
        return error_io(err, ENOTDIR, "the folder '%s'", folder);
    }
    char *path = strdup(folder);
    if (!path) return no_memory(err);
    made->path = path;
    size_t n = strlen(path);
    bool first = true;
    for (size_t i = 1; i <= n; i++) {
        if (i < n && path[i] != '/') continue;
        char c = path[i];
        path[i] = 0;
        int e = mkdir(path, 0777) == 0 ? 0 : errno;
        bool there = e && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
        path[i] = c;
        if (e && !there) {
            tw_status status = error_io(err, e, "the folder '%s'", folder);
            if (first) made->kept = n;
            folders_undo(made);
            return status;
        }
        if (there && first) made->kept = i;
        else if (!there) first = false;
    }
    return TW_OK;
}

void folders_undo(made_folders *made) {
    if (!made->path) return;
    for (size_t n = strlen(made->path); n > made->kept; n--) {
        if (made->path[n] != 0 && made->path[n] != '/') continue;
        made->path[n] = 0;
        if (made->path[0]) rmdir(made->path);
    }
    folders_forget(made);
}

void folders_forget(made_folders *made) {
    free(made->path);
    *made = (made_folders){0};
}

/* ---- writing ---- */

tw_status write_whole(int fd, const char *path, const void *bytes, size_t n, uint64_t offset, tw_error *err) {
    const uint8_t *at = bytes;
    while (n) {
        ssize_t done = pwrite(fd, at, n, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return error_io(err, done < 0 ? errno : EIO, "cannot write '%s'", path);
        at += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return TW_OK;
}

/* One write without SIGPIPE: blocked in this thread, and taken away if it came. */
static ssize_t write_quietly(int fd, const void *bytes, size_t n) {
    sigset_t pipe_only, before, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    ssize_t done = write(fd, bytes, n);
    int e = errno;
    if (done < 0 && e == EPIPE && !sigismember(&before, SIGPIPE) && sigpending(&pending) == 0 &&
        sigismember(&pending, SIGPIPE)) {
        struct timespec now = {0};
        sigtimedwait(&pipe_only, NULL, &now);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = e;
    return done;
}

tw_status write_stream(int fd, const char *name, const void *bytes, size_t n, const atomic_bool *cancelled,
                       tw_error *err) {
    const uint8_t *at = bytes;
    struct stat info;
    bool blocks = !(fcntl(fd, F_GETFL) & O_NONBLOCK) && !(fstat(fd, &info) == 0 && S_ISREG(info.st_mode));
    while (n) {
        if (cancelled && atomic_load_explicit(cancelled, memory_order_relaxed))
            return error_set(err, TW_ERR_CANCELLED, "interrupted");
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        if (poll(&ready, 1, POLL_MS) == 0) continue;
        /* So much has room once poll says that there is some. */
        ssize_t done = write_quietly(fd, at, blocks && n > PIPE_BUF ? PIPE_BUF : n);
        if (done < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (done <= 0) return error_io(err, done < 0 ? errno : EIO, "cannot write %s", name);
        at += done;
        n -= (size_t)done;
    }
    return TW_OK;
}

tw_status output_file_write(output_file *f, const void *bytes, size_t n, uint64_t offset, tw_error *err) {
    return write_whole(f->file.fd, f->path, bytes, n, offset, err);
}

tw_status output_file_stream(output_file *f, const void *bytes, size_t n, const atomic_bool *cancelled,
                             tw_error *err) {
    char name[300];
    snprintf(name, sizeof name, "'%s'", f->path);
    return write_stream(f->stream_fd, name, bytes, n, cancelled, err);
}

/* ---- opening ---- */

static tw_status open_stream(output_file *f, tw_error *err) {
    f->stream_fd = open(f->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (f->stream_fd < 0) return error_io(err, errno, "cannot write '%s'", f->path);
    int flags = fcntl(f->stream_fd, F_GETFL);
    if (flags >= 0) fcntl(f->stream_fd, F_SETFL, flags | O_NONBLOCK);
    return TW_OK;
}

static tw_status open_kept(output_file *f, tw_error *err) {
    f->kept_fd = open(f->target, O_RDONLY | O_CLOEXEC);
    if (f->kept_fd < 0) return error_io(err, errno, "cannot append to '%s'", f->path);
    f->kept_bytes = (uint64_t)f->old.st_size;
    char last = '\n';
    if (f->kept_bytes && pread(f->kept_fd, &last, 1, f->old.st_size - 1) < 0)
        return error_io(err, errno, "cannot read '%s'", f->path);
    f->ends_line = last == '\n';
    return TW_OK;
}

/* What is at the path now. */
static tw_status look(output_file *f, tw_error *err) {
    if (stat(f->path, &f->old) != 0) {
        if (errno != ENOENT && errno != ENOTDIR) return error_io(err, errno, "cannot write '%s'", f->path);
        f->target = strdup(f->path);
        return f->target ? TW_OK : no_memory(err);
    }
    if (S_ISDIR(f->old.st_mode))
        return error_io(err, EISDIR, "cannot write '%s'", f->path);
    if (f->mode == OUTPUT_FAIL) return error_io(err, EEXIST, "cannot write '%s'", f->path);
    if (!S_ISREG(f->old.st_mode)) return open_stream(f, err);
    f->replaces = true;
    f->target = realpath(f->path, NULL);
    if (!f->target) return error_io(err, errno, "cannot write '%s'", f->path);
    if (access(f->target, W_OK) != 0) return error_io(err, errno, "cannot write '%s'", f->path);
    return f->mode == OUTPUT_APPEND ? open_kept(f, err) : TW_OK;
}

static tw_status open_new(output_file *f, tw_error *err) {
    char *folder = path_folder(f->target);
    if (!folder) return no_memory(err);
    tw_status status = folders_make(folder, &f->made, err);
    if (status == TW_ERR_IO) error_prefix(err, "cannot write '%s'", f->path);
    int e = status == TW_OK ? hidden_file_open(f->target, f->named, &f->file) : 0;
    if (e) status = error_io(err, e, "cannot write '%s'", f->path);
    free(folder);
    return status;
}

tw_status output_file_open(const char *path, unsigned mode, output_file **out, tw_error *err) {
    output_file *f = calloc(1, sizeof *f);
    if (!f) return no_memory(err);
    f->file.fd = f->stream_fd = f->kept_fd = -1;
    f->mode = (output_mode)(mode & ~OUTPUT_NAMED);
    f->named = mode & OUTPUT_NAMED;
    f->ends_line = true;
    f->path = strdup(path);
    tw_status status = f->path ? look(f, err) : no_memory(err);
    if (status == TW_OK && f->stream_fd < 0) status = open_new(f, err);
    /* A file system that shares blocks needs no copy at the end. */
    if (status == TW_OK && f->kept_fd >= 0) f->kept_copied = ioctl(f->file.fd, FICLONE, f->kept_fd) == 0;
    if (status != TW_OK) {
        output_file_free(f);
        return status;
    }
    *out = f;
    return TW_OK;
}

uint64_t output_file_kept_bytes(const output_file *f) { return f->kept_bytes; }
bool output_file_ends_line(const output_file *f) { return f->ends_line; }
bool output_file_is_stream(const output_file *f) { return f->stream_fd >= 0; }

void output_file_free(output_file *f) {
    if (!f) return;
    hidden_file_close(&f->file);
    if (f->kept_fd >= 0) close(f->kept_fd);
    if (f->stream_fd >= 0) close(f->stream_fd);
    folders_undo(&f->made);
    free(f->target);
    free(f->path);
    free(f);
}

/* ---- the end ---- */

static tw_status copy_by_hand(output_file *f, uint64_t at, size_t n, tw_error *err) {
    size_t room = (size_t)256 << 10;
    uint8_t *bytes = malloc(room);
    if (!bytes) return no_memory(err);
    tw_status status = TW_OK;
    while (n && status == TW_OK) {
        ssize_t done = pread(f->kept_fd, bytes, n < room ? n : room, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) status = error_io(err, errno, "cannot read '%s'", f->path);
        else if (done == 0) status = error_set(err, TW_ERR_IO, "'%s' became shorter during the run", f->path);
        else status = write_whole(f->file.fd, f->path, bytes, (size_t)done, at, err);
        if (done > 0) at += (uint64_t)done, n -= (size_t)done;
    }
    free(bytes);
    return status;
}

static tw_status copy_kept(output_file *f, const atomic_bool *cancelled, tw_error *err) {
    bool by_hand = false;
    for (uint64_t at = 0; at < f->kept_bytes;) {
        if (cancelled && atomic_load(cancelled)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        size_t n = f->kept_bytes - at < COPY_BYTES ? (size_t)(f->kept_bytes - at) : COPY_BYTES;
        loff_t from = (loff_t)at, to = (loff_t)at;
        ssize_t done = by_hand ? -1 : copy_file_range(f->kept_fd, &from, f->file.fd, &to, n, 0);
        if (done > 0) {
            at += (uint64_t)done;
            continue;
        }
        if (!by_hand && done < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO))
            return error_io(err, errno, "cannot write '%s'", f->path);
        by_hand = true;
        TRY(copy_by_hand(f, at, n, err));
        at += n;
    }
    return TW_OK;
}

tw_status output_file_finish(output_file *f, bool sync, const atomic_bool *cancelled, tw_error *err) {
    if (f->stream_fd >= 0) return TW_OK;
    if (f->kept_fd >= 0) {
        struct stat now;
        if (!f->kept_copied) TRY(copy_kept(f, cancelled, err));
        if (fstat(f->kept_fd, &now) == 0 && (uint64_t)now.st_size != f->kept_bytes)
            return error_set(err, TW_ERR_IO, "'%s' was changed during the run", f->path);
    }
    if (f->replaces) {
        (void)!fchown(f->file.fd, f->old.st_uid, f->old.st_gid); /* only root may, and need not */
        (void)!fchmod(f->file.fd, f->old.st_mode & 07777);
    }
    if (sync && fsync(f->file.fd) != 0) return error_io(err, errno, "cannot write '%s'", f->path);
    return TW_OK;
}

static void sync_folder(const output_file *f) {
    char *folder = path_folder(f->target);
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(folder);
}

tw_status output_file_publish(output_file *f, bool sync, tw_error *err) {
    if (f->stream_fd >= 0) return TW_OK;
    int e = hidden_file_publish(&f->file, f->target, f->mode != OUTPUT_FAIL);
    if (e) return error_io(err, e, "cannot write '%s'", f->path);
    folders_forget(&f->made);
    if (sync) sync_folder(f);
    e = close(f->file.fd) != 0 && errno != EINTR ? errno : 0; /* where a network file system tells */
    f->file.fd = -1;
    return e ? error_io(err, e, "cannot write '%s'", f->path) : TW_OK;
}
