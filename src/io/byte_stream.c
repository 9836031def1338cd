#include "io/byte_stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INPUT_BYTES = 128 << 10, POLL_MS = 50 };

struct byte_stream {
    byte_stream_options o;
    uint64_t offset; /* bytes read from the file */
    bool ended;
    bool told;       /* the first bytes have been looked at */
    buffer *input;   /* [begin, end) of it are not used yet */
    size_t begin, end;
    decompressor *decompressor; /* NULL: plain */
    compression kind;
};

tw_status file_read_at(int fd, const char *path, uint64_t offset, uint8_t *to, size_t size, tw_error *err) {
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(fd, to + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            error_io(err, errno, "cannot read '%s'", path);
            return TW_ERR_IO;
        }
        if (n == 0) {
            error_set(err, TW_ERR_DATA, "the file was cut while it was read: it ends at byte %llu",
                      (unsigned long long)(offset + done));
            error_in_data(err, path, 0);
            return TW_ERR_DATA;
        }
        done += (size_t)n;
    }
    return TW_OK;
}

tw_status byte_stream_open(const byte_stream_options *o, byte_stream **out, tw_error *err) {
    byte_stream *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    s->o = *o;
    *out = s;
    return TW_OK;
}

void byte_stream_close(byte_stream *s) {
    if (!s) return;
    decompressor_free(s->decompressor);
    buffer_unref(s->input);
    if (s->o.fd > STDIN_FILENO) close(s->o.fd);
    free(s);
}

void byte_stream_move(byte_stream *s, memory *m, const atomic_bool *cancelled, atomic_uint_fast64_t *counter) {
    s->o.memory = m;
    s->o.cancelled = cancelled;
    s->o.counter = counter;
}

static void count(byte_stream *s, size_t n) {
    s->offset += n;
    if (s->o.counter) atomic_fetch_add_explicit(s->o.counter, n, memory_order_relaxed);
}

/* Waits for a pipe without being deaf to an interrupt. */
static tw_status wait_readable(const byte_stream *s, tw_error *err) {
    struct pollfd p = {.fd = s->o.fd, .events = POLLIN};
    while (true) {
        if (s->o.cancelled && atomic_load(s->o.cancelled)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        int n = poll(&p, 1, POLL_MS);
        if (n > 0) return TW_OK;
        if (n < 0 && errno != EINTR) return error_io(err, errno, "cannot read '%s'", s->o.path);
    }
}

static tw_status read_pipe(byte_stream *s, uint8_t *to, size_t size, size_t *got, tw_error *err) {
    while (true) {
        TRY(wait_readable(s, err));
        ssize_t n = read(s->o.fd, to, size);
        if (n >= 0) {
            *got = (size_t)n;
            s->ended = n == 0;
            count(s, *got);
            return TW_OK;
        }
        if (errno != EINTR && errno != EAGAIN) return error_io(err, errno, "cannot read '%s'", s->o.path);
    }
}

/* Bytes as they stand in the file. */
static tw_status read_raw(byte_stream *s, uint8_t *to, size_t size, size_t *got, tw_error *err) {
    *got = 0;
    if (!s->o.is_file) return s->ended ? TW_OK : read_pipe(s, to, size, got, err);
    uint64_t left = s->o.bytes - s->offset;
    if (size > left) size = (size_t)left;
    TRY(file_read_at(s->o.fd, s->o.path, s->offset, to, size, err));
    count(s, size);
    s->ended = s->offset == s->o.bytes;
    *got = size;
    return TW_OK;
}

static tw_status refill(byte_stream *s, tw_error *err) {
    if (!s->input) TRY(buffer_new(s->o.memory, MEMORY_FLOW, INPUT_BYTES, &s->input, err));
    size_t kept = s->end - s->begin, got;
    if (kept == INPUT_BYTES)
        return error_set(err, TW_ERR_DATA, "the %s data is corrupt", compression_name(s->kind));
    memmove(s->input->data, s->input->data + s->begin, kept);
    s->begin = 0;
    s->end = kept;
    TRY(read_raw(s, s->input->data + kept, INPUT_BYTES - kept, &got, err));
    s->end += got;
    return TW_OK;
}

static tw_status tell(byte_stream *s, tw_error *err) {
    while (s->end - s->begin < COMPRESSION_MAGIC && !s->ended) {
        size_t before = s->end - s->begin;
        TRY(refill(s, err));
        if (s->end - s->begin == before && s->o.is_file) break;
    }
    const uint8_t *first = s->input ? s->input->data + s->begin : (const uint8_t *)"";
    s->kind = compression_of_bytes(first, s->end - s->begin);
    if (s->kind != COMPRESSION_NONE) TRY(decompressor_new(s->kind, s->o.memory, &s->decompressor, err));
    s->told = true;
    return TW_OK;
}

static tw_status read_plain(byte_stream *s, uint8_t *to, size_t size, size_t *got, tw_error *err) {
    size_t kept = s->end - s->begin;
    if (kept > size) kept = size;
    if (kept) {
        memcpy(to, s->input->data + s->begin, kept);
        s->begin += kept;
        *got = kept;
    }
    if (s->begin == s->end) {
        buffer_unref(s->input);
        s->input = NULL;
        s->begin = s->end = 0;
    }
    if (kept == size || (kept && !s->o.is_file) || s->ended) return TW_OK;
    size_t more;
    tw_status status = read_raw(s, to + kept, size - kept, &more, err);
    if (status == TW_OK) *got = kept + more;
    /* What was kept has been handed over: it counts, and the failure shows at the next call. */
    return kept && status != TW_OK && status != TW_ERR_DATA ? TW_OK : status;
}

static tw_status at_place(byte_stream *s, tw_status status, tw_error *err) {
    if (status != TW_ERR_DATA || !err) return status;
    if (err->file[0]) return status;
    char message[sizeof err->message];
    memcpy(message, err->message, sizeof message);
    error_set(err, TW_ERR_DATA, "%.900s (near byte %llu of the file)", message,
              (unsigned long long)(s->offset - (s->end - s->begin)));
    error_in_data(err, s->o.path, 0);
    return status;
}

static tw_status read_compressed(byte_stream *s, uint8_t *to, size_t size, size_t *got, tw_error *err) {
    while (*got < size) {
        size_t used, made;
        tw_status status = decompressor_run(s->decompressor, s->input->data + s->begin, s->end - s->begin, &used,
                                            to + *got, size - *got, &made, err);
        s->begin += used;
        *got += made;
        if (status != TW_OK) return *got && status != TW_ERR_DATA ? TW_OK : status;
        if (used || made || s->begin < s->end) {
            if (!s->o.is_file && *got) return TW_OK;
            if (used || made) continue;
        }
        if (s->ended) {
            if (decompressor_may_end(s->decompressor)) return TW_OK;
            return error_set(err, TW_ERR_DATA, "the %s data ends early: the file is torn", compression_name(s->kind));
        }
        status = refill(s, err);
        if (status != TW_OK) return *got && status != TW_ERR_DATA ? TW_OK : status;
    }
    return TW_OK;
}

tw_status byte_stream_read(byte_stream *s, uint8_t *to, size_t size, size_t *got, tw_error *err) {
    *got = 0;
    if (!s->told) TRY(at_place(s, tell(s, err), err));
    if (!s->decompressor) return at_place(s, read_plain(s, to, size, got, err), err);
    return at_place(s, read_compressed(s, to, size, got, err), err);
}

tw_status byte_stream_expect(byte_stream *s, uint64_t *out, tw_error *err) {
    enum { GUESS_MIN = 64 << 10, RATIO = 4 };
    *out = UINT64_MAX;
    if (!s->told) TRY(at_place(s, tell(s, err), err));
    if (!s->o.is_file) return TW_OK;
    uint64_t unread = s->o.bytes - s->offset + (s->end - s->begin);
    if (!s->decompressor) *out = unread;
    else if (unread == s->o.bytes && s->o.bytes < UINT64_MAX / RATIO) *out = s->o.bytes * RATIO + GUESS_MIN;
    return TW_OK;
}
