#include "engine/bad_records.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "data/utf8.h"

struct bad_records {
    bad_policy policy;
    atomic_uint_fast64_t count;
    pthread_mutex_t lock;
    char *path, *temporary;
    FILE *file;
    bool committed;
};

static tw_status dead_letter_open(bad_records *b, const char *path, tw_error *err) {
    struct text t = {0};
    text_printf(&t, "%s.thalweg-%ld-dead", path, (long)getpid());
    b->path = strdup(path);
    b->temporary = text_take(&t);
    if (!b->path || !b->temporary) return error_set(err, TW_ERR_MEMORY, "out of memory");
    int fd = open(b->temporary, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
    if (fd >= 0) b->file = fdopen(fd, "w");
    if (!b->file) {
        int e = errno;
        if (fd >= 0) close(fd);
        return error_io(err, e, "cannot write the dead letters '%s'", path);
    }
    return TW_OK;
}

tw_status bad_records_create(bad_policy policy, const char *dead_letter_path, bad_records **out,
                             tw_error *err) {
    bad_records *b = calloc(1, sizeof *b);
    if (!b) return error_set(err, TW_ERR_MEMORY, "out of memory");
    b->policy = policy;
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
    if (b->temporary && !b->committed) unlink(b->temporary);
    free(b->path);
    free(b->temporary);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

uint64_t bad_records_count(const bad_records *b) { return b ? atomic_load(&b->count) : 0; }
bool bad_records_keep_raw(const bad_records *b) { return b->policy == BAD_DEAD_LETTER; }

tw_status bad_records_commit(bad_records *b, tw_error *err) {
    if (!b->file) return TW_OK;
    bool failed = fflush(b->file) != 0 || fsync(fileno(b->file)) != 0;
    int e = errno;
    failed |= fclose(b->file) != 0;
    b->file = NULL;
    if (!failed && rename(b->temporary, b->path) == 0) {
        b->committed = true;
        return TW_OK;
    }
    return error_io(err, failed ? e : errno, "cannot write the dead letters '%s'", b->path);
}

static void append_json_string(struct text *t, const uint8_t *bytes, size_t n) {
    text_append_char(t, '"');
    for (size_t i = 0; i < n; i++) {
        uint8_t c = bytes[i];
        if (c == '"' || c == '\\') text_printf(t, "\\%c", c);
        else if (c == '\n') text_append_string(t, "\\n");
        else if (c == '\r') text_append_string(t, "\\r");
        else if (c == '\t') text_append_string(t, "\\t");
        else if (c < 0x20) text_printf(t, "\\u%04x", c);
        else text_append_char(t, (char)c);
    }
    text_append_char(t, '"');
}

static void append_base64(struct text *t, const uint8_t *bytes, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text_append_char(t, '"');
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t word = (uint32_t)bytes[i] << 16;
        if (left > 1) word |= (uint32_t)bytes[i + 1] << 8;
        if (left > 2) word |= bytes[i + 2];
        char four[4] = {digits[word >> 18], digits[word >> 12 & 63], '=', '='};
        if (left > 1) four[2] = digits[word >> 6 & 63];
        if (left > 2) four[3] = digits[word & 63];
        text_append(t, four, 4);
    }
    text_append_char(t, '"');
}

static tw_status dead_letter_write(bad_records *b, const char *file, uint64_t record, const uint8_t *raw,
                                   size_t raw_bytes, const char *reason, tw_error *err) {
    struct text t = {0};
    text_append_string(&t, "{\"file\": ");
    if (file) append_json_string(&t, (const uint8_t *)file, strlen(file));
    else text_append_string(&t, "null");
    text_printf(&t, ", \"record\": %llu, \"reason\": ", (unsigned long long)record);
    append_json_string(&t, (const uint8_t *)reason, strlen(reason));
    if (raw && !utf8_valid((const char *)raw, raw_bytes)) {
        text_append_string(&t, ", \"data_base64\": ");
        append_base64(&t, raw, raw_bytes);
    } else {
        text_append_string(&t, ", \"data\": ");
        if (raw) append_json_string(&t, raw, raw_bytes);
        else text_append_string(&t, "null");
    }
    text_append_string(&t, "}\n");
    tw_status status = t.failed ? error_set(err, TW_ERR_MEMORY, "out of memory for a dead letter") : TW_OK;
    if (status == TW_OK) {
        pthread_mutex_lock(&b->lock);
        if (fwrite(t.bytes, 1, t.length, b->file) != t.length)
            status = error_io(err, errno, "cannot write the dead letters '%s'", b->path);
        pthread_mutex_unlock(&b->lock);
    }
    text_free(&t);
    return status;
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
        const view *v = (const view *)(const void *)b->origin->raw_buffer->data + record;
        raw = view_data(v);
        raw_bytes = v->size;
    }
    return bad_record(run, place.file[0] ? place.file : NULL, place.record, raw, raw_bytes, message, err);
}
