#include "engine/bad_records.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/hidden_file.h"
#include "base/text.h"
#include "data/utf8.h"

struct bad_records {
    bad_policy policy;
    atomic_uint_fast64_t count;
    pthread_mutex_t lock;
    char *path, *target; /* as given; with links followed */
    hidden_file hidden;
    FILE *file;
};

/* Directly into a device; everything else gets its name in the end. */
static tw_status dead_letter_open(bad_records *b, const char *path, tw_error *err) {
    struct stat info;
    bool there = stat(path, &info) == 0, device = there && S_ISCHR(info.st_mode);
    b->path = strdup(path);
    b->target = there ? realpath(path, NULL) : strdup(path);
    if (!b->path || !b->target) return error_set(err, TW_ERR_MEMORY, "out of memory");
    int e = 0;
    if (there && !device && !S_ISREG(info.st_mode)) e = S_ISDIR(info.st_mode) ? EISDIR : EINVAL;
    else if (!device) e = hidden_file_open(b->target, false, &b->hidden);
    int fd = e ? -1 : device ? open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY) : fcntl(b->hidden.fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0 && (b->file = fdopen(fd, "w"))) return TW_OK;
    if (!e) e = errno;
    if (fd >= 0) close(fd);
    return error_io(err, e, "cannot write the dead letters '%s'", path);
}

tw_status bad_records_create(bad_policy policy, const char *dead_letter_path, bad_records **out,
                             tw_error *err) {
    bad_records *b = calloc(1, sizeof *b);
    if (!b) return error_set(err, TW_ERR_MEMORY, "out of memory");
    b->policy = policy;
    b->hidden.fd = -1;
    pthread_mutex_init(&b->lock, NULL);
    tw_status status = policy == BAD_DEAD_LETTER ? dead_letter_open(b, dead_letter_path, err) : TW_OK;
    if (status != TW_OK) {
        bad_records_free(b);
        return status;
    }
    *out = b;
    return TW_OK;
}

void bad_records_free(bad_records *b) {
    if (!b) return;
    if (b->file) fclose(b->file);
    hidden_file_close(&b->hidden);
    free(b->path);
    free(b->target);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

uint64_t bad_records_count(const bad_records *b) { return b ? atomic_load(&b->count) : 0; }
bool bad_records_keep_raw(const bad_records *b) { return b->policy == BAD_DEAD_LETTER; }

tw_status bad_records_commit(bad_records *b, tw_error *err) {
    if (!b->file) return TW_OK;
    bool whole = b->hidden.fd >= 0; /* a device has nothing to sync or to publish */
    int e = ferror(b->file) || fflush(b->file) != 0 || (whole && fsync(b->hidden.fd) != 0) ? errno ? errno : EIO : 0;
    if (fclose(b->file) != 0 && !e) e = errno;
    b->file = NULL;
    if (!e && whole) e = hidden_file_publish(&b->hidden, b->target, true);
    return e ? error_io(err, e, "cannot write the dead letters '%s'", b->path) : TW_OK;
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

static tw_status dead_letter_write(bad_records *b, const char *file, uint64_t record, const uint8_t *raw,
                                   size_t raw_bytes, const char *reason, tw_error *err) {
    bool text = !raw || utf8_valid((const char *)raw, raw_bytes);
    pthread_mutex_lock(&b->lock);
    FILE *f = b->file;
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
    bool failed = ferror(f) != 0;
    pthread_mutex_unlock(&b->lock);
    return failed ? error_io(err, e, "cannot write the dead letters '%s'", b->path) : TW_OK;
}

tw_status bad_record(run_context *run, const char *file, uint64_t record, const uint8_t *raw,
                     size_t raw_bytes, const char *reason, tw_error *err) {
    bad_records *b = run->bad;
    if (b->policy == BAD_FAIL) {
        error_set(err, TW_ERR_DATA, "%s", reason);
        error_in_data(err, file, record);
        return TW_ERR_DATA;
    }
    atomic_fetch_add(&b->count, 1);
    if (b->policy == BAD_SKIP) return TW_OK;
    return dead_letter_write(b, file, record, raw, raw_bytes, reason, err);
}

tw_status bad_row(run_context *run, const batch *b, uint32_t row, const char *step, const char *reason,
                  tw_error *err) {
    tw_error place = {0};
    batch_place(b, row, &place);
    char message[600];
    snprintf(message, sizeof message, "%s: %s", step, reason);
    const uint8_t *raw = NULL;
    size_t raw_bytes = 0;
    if (b->origin && b->origin->raw_buffer) {
        uint32_t record = b->origin_rows ? ((const uint32_t *)(const void *)b->origin_rows->data)[row] : row;
        if (record != UINT32_MAX) { /* else no record of this file gave the row */
            const view *v = (const view *)(const void *)b->origin->raw_buffer->data + record;
            raw = view_data(v);
            raw_bytes = v->size;
        }
    }
    return bad_record(run, place.file[0] ? place.file : NULL, place.record, raw, raw_bytes, message, err);
}
