#include "engine/dead_letters.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/hidden_file.h"
#include "data/utf8.h"

struct dead_letters {
    pthread_mutex_t lock;
    char *path, *target; /* as given; with links followed */
    hidden_file hidden;
    FILE *file;
    int appended_to;     /* -1: not yet */
    int64_t bytes;       /* of that */
};

static tw_status failed(const dead_letters *d, int e, tw_error *err) {
    if (e == EBUSY) return error_set(err, TW_ERR_IO, "cannot write the dead letters '%s': another run is writing there", d->path);
    return error_io(err, e, "cannot write the dead letters '%s'", d->path);
}

/* Directly into a device; everything else gets its name in the end. */
static tw_status open_file(dead_letters *d, const char *path, tw_error *err) {
    struct stat info;
    bool there = stat(path, &info) == 0, device = there && S_ISCHR(info.st_mode);
    d->path = strdup(path);
    d->target = there ? realpath(path, NULL) : strdup(path);
    if (!d->path || !d->target) return error_set(err, TW_ERR_MEMORY, "out of memory");
    int e = 0;
    if (there && !device && !S_ISREG(info.st_mode)) e = S_ISDIR(info.st_mode) ? EISDIR : EINVAL;
    else if (!device) e = hidden_file_open(d->target, false, &d->hidden);
    int fd = e ? -1 : device ? open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY) : fcntl(d->hidden.fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0 && (d->file = fdopen(fd, "w"))) return TW_OK;
    if (!e) e = errno;
    if (fd >= 0) close(fd);
    return failed(d, e, err);
}

tw_status dead_letters_open(const char *path, dead_letters **out, tw_error *err) {
    dead_letters *d = calloc(1, sizeof *d);
    if (!d) return error_set(err, TW_ERR_MEMORY, "out of memory");
    d->hidden.fd = d->appended_to = -1;
    pthread_mutex_init(&d->lock, NULL);
    tw_status status = open_file(d, path, err);
    if (status == TW_OK) *out = d;
    else dead_letters_free(d);
    return status;
}

void dead_letters_free(dead_letters *d) {
    if (!d) return;
    if (d->file) fclose(d->file);
    if (d->appended_to >= 0) close(d->appended_to);
    hidden_file_close(&d->hidden);
    free(d->path);
    free(d->target);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

tw_status dead_letters_commit(dead_letters *d, tw_error *err) {
    bool whole = d->hidden.fd >= 0; /* a device has nothing to sync or to publish */
    int e = ferror(d->file) || fflush(d->file) != 0 || (whole && fsync(d->hidden.fd) != 0) ? errno ? errno : EIO : 0;
    if (fclose(d->file) != 0 && !e) e = errno;
    d->file = NULL;
    if (!e && whole) e = hidden_file_publish(&d->hidden, d->target, true);
    return e ? failed(d, e, err) : TW_OK;
}

/* Straight into the file: a record may be as long as memory. With the lock held. */

static void put_text(FILE *f, const char *text) { fputs(text, f); }

static void put_json_byte(FILE *f, uint8_t c) {
    if (c == '"' || c == '\\') fprintf(f, "\\%c", c);
    else if (c == '\n') put_text(f, "\\n");
    else if (c == '\r') put_text(f, "\\r");
    else if (c == '\t') put_text(f, "\\t");
    else if (c < 0x20) fprintf(f, "\\u%04x", c);
    else putc_unlocked(c, f);
}

static void put_json_string(FILE *f, const uint8_t *bytes, size_t n) {
    putc_unlocked('"', f);
    for (size_t i = 0; i < n; i++) put_json_byte(f, bytes[i]);
    putc_unlocked('"', f);
}

/* Words of which nobody knows that they are UTF-8: file names, messages about data. */
static void put_json_words(FILE *f, const char *words) {
    size_t n = strlen(words);
    bool valid = utf8_valid(words, n);
    putc_unlocked('"', f);
    for (size_t i = 0; i < n; i++) {
        if (valid || (uint8_t)words[i] < 0x80) put_json_byte(f, (uint8_t)words[i]);
        else put_text(f, "\\ufffd");
    }
    putc_unlocked('"', f);
}

static void put_base64(FILE *f, const uint8_t *bytes, size_t n) {
    enum { AT_ONCE = 768 };
    uint8_t text[AT_ONCE / 3 * 4];
    putc_unlocked('"', f);
    for (size_t i = 0; i < n; i += AT_ONCE) {
        const uint8_t *end = base64_encode(bytes + i, n - i < AT_ONCE ? n - i : AT_ONCE, text);
        fwrite(text, 1, (size_t)(end - text), f);
    }
    putc_unlocked('"', f);
}

tw_status dead_letters_put(dead_letters *d, const char *file, uint64_t record, const uint8_t *raw, size_t raw_bytes,
                           const char *reason, tw_error *err) {
    bool text = !raw || utf8_valid((const char *)raw, raw_bytes);
    pthread_mutex_lock(&d->lock);
    FILE *f = d->file;
    put_text(f, "{\"file\": ");
    if (file) put_json_words(f, file);
    else put_text(f, "null");
    fprintf(f, ", \"record\": %llu, \"reason\": ", (unsigned long long)record);
    put_json_words(f, reason);
    put_text(f, text ? ", \"data\": " : ", \"data_base64\": ");
    if (!raw) put_text(f, "null");
    else if (text) put_json_string(f, raw, raw_bytes);
    else put_base64(f, raw, raw_bytes);
    put_text(f, "}\n");
    int e = errno;
    bool wrong = ferror(f) != 0;
    pthread_mutex_unlock(&d->lock);
    return wrong ? failed(d, e, err) : TW_OK;
}

const uint8_t *row_as_it_came(const batch *b, uint32_t row, tw_error *place, size_t *bytes) {
    batch_place(b, row, place);
    *bytes = 0;
    if (!b->origin || !b->origin->raw_buffer) return NULL;
    uint32_t record = b->origin_rows ? ((const uint32_t *)(const void *)b->origin_rows->data)[row] : row;
    if (record == UINT32_MAX) return NULL; /* no record of this file gave the row */
    const view *v = (const view *)(const void *)b->origin->raw_buffer->data + record;
    *bytes = v->size;
    return view_data(v);
}

tw_status dead_letters_put_row(dead_letters *d, const batch *b, uint32_t row, const char *reason, tw_error *err) {
    tw_error place = {0};
    size_t bytes;
    const uint8_t *raw = row_as_it_came(b, row, &place, &bytes);
    return dead_letters_put(d, place.file[0] ? place.file : NULL, place.record, raw, bytes, reason, err);
}

/* ---- of endless flows ---- */

void dead_letters_resume(dead_letters *d, int64_t bytes) { d->bytes = bytes; }

/* The file itself; what a killed run wrote behind what was saved is cut off. */
static int open_target(dead_letters *d) {
    struct stat info;
    d->appended_to = open(d->target, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (d->appended_to < 0) return errno;
    if (flock(d->appended_to, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK ? EBUSY : errno;
    if (fstat(d->appended_to, &info) != 0) return errno;
    if (info.st_size < d->bytes) d->bytes = info.st_size; /* somebody has taken them away */
    if (ftruncate(d->appended_to, d->bytes) != 0) return errno;
    char *folder = path_folder(d->target);
    int e = folder ? folder_sync(folder) : ENOMEM;
    free(folder);
    return e;
}

static int copy_hidden(dead_letters *d) {
    uint8_t some[16384];
    off_t from = 0;
    for (ssize_t n; (n = pread(d->hidden.fd, some, sizeof some, from)) != 0; from += n < 0 ? 0 : n) {
        if (n < 0 && errno != EINTR) return errno;
        for (ssize_t done = 0, wrote; done < n; done += wrote, d->bytes += wrote) {
            wrote = pwrite(d->appended_to, some + done, (size_t)(n - done), d->bytes);
            if (wrote < 0 && errno != EINTR) return errno;
            if (wrote < 0) wrote = 0;
        }
    }
    return 0;
}

tw_status dead_letters_append(dead_letters *d, int64_t *bytes, tw_error *err) {
    int e = fflush(d->file) == 0 ? 0 : errno;
    bool none = d->appended_to >= 0 && ftell(d->file) == 0; /* since the last time */
    if (d->hidden.fd >= 0 && !none) { /* else a device */
        if (!e && d->appended_to < 0) e = open_target(d);
        if (!e) e = copy_hidden(d);
        if (!e && fsync(d->appended_to) != 0) e = errno;
        if (!e && (ftruncate(d->hidden.fd, 0) != 0 || fseek(d->file, 0, SEEK_SET) != 0)) e = errno;
    }
    *bytes = d->bytes;
    return e ? failed(d, e, err) : TW_OK;
}
