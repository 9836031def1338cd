#include "engine/spill_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "data/hash.h"

enum {
    page_bytes = 4096,          /* frames begin on a page, so that holes can be punched */
    scratch_bytes = 256 << 10,  /* written at a time */
    errors_in_a_row_max = 3,    /* of EIO */
    call_bytes_max = 1 << 30,
};

struct spill {
    char *folder; /* or the name of the file */
    bool named;
    const spill_calls *calls;
    pthread_mutex_t lock; /* for opening */
    atomic_int file;      /* -1 before the first append */
    atomic_uint_least64_t end, written;
};

/* ---- life ---- */

static const spill_calls system_calls = {.pwrite = pwrite, .pread = pread};

tw_status spill_create(const char *folder, spill **out, tw_error *err) {
    return spill_create_with(folder, &system_calls, out, err);
}

tw_status spill_create_with(const char *folder, const spill_calls *calls, spill **out, tw_error *err) {
    if (!folder || !*folder) folder = getenv("TMPDIR");
    if (!folder || !*folder) folder = P_tmpdir;
    spill *s = calloc(1, sizeof *s);
    char *copy = strdup(folder);
    if (!s || !copy) {
        free(s);
        free(copy);
        return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    }
    s->folder = copy;
    s->calls = calls;
    atomic_init(&s->file, -1);
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return TW_OK;
}

void spill_free(spill *s) {
    if (!s) return;
    int file = atomic_load(&s->file);
    if (file >= 0) close(file);
    pthread_mutex_destroy(&s->lock);
    free(s->folder);
    free(s);
}

uint64_t spill_bytes(const spill *s) { return atomic_load(&s->written); }

static tw_status folder_error(const spill *s, int error, tw_error *err) {
    return error_io(err, error, "%s %s", s->named ? "checkpoint file" : "spill folder", s->folder);
}

/* A file without a name, or one whose name is gone before anything is in it. */
static int open_unnamed(const char *folder) {
    int file = -1;
#ifdef O_TMPFILE
    file = open(folder, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return file;
#endif
    char *path = NULL;
    if (asprintf(&path, "%s/thalweg-XXXXXX", folder) < 0) return -1;
    file = mkostemp(path, O_CLOEXEC);
    if (file >= 0) unlink(path);
    int error = errno;
    free(path);
    errno = error;
    return file;
}

static tw_status spill_open(spill *s, tw_error *err) {
    if (atomic_load_explicit(&s->file, memory_order_acquire) >= 0) return TW_OK;
    tw_status status = TW_OK;
    pthread_mutex_lock(&s->lock);
    if (atomic_load(&s->file) < 0) {
        int file = open_unnamed(s->folder);
        if (file < 0) status = folder_error(s, errno, err);
        else atomic_store_explicit(&s->file, file, memory_order_release);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

tw_status spill_create_named(const char *path, bool exists, spill **out, tw_error *err) {
    spill *s;
    TRY(spill_create(path, &s, err));
    s->named = true;
    int file = open(path, exists ? O_RDONLY | O_CLOEXEC : O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0) {
        tw_status status = folder_error(s, errno, err);
        spill_free(s);
        return status;
    }
    atomic_store(&s->file, file);
    *out = s;
    return TW_OK;
}

tw_status spill_sync(spill *s, tw_error *err) {
    return fdatasync(atomic_load(&s->file)) == 0 ? TW_OK : folder_error(s, errno, err);
}

uint64_t spill_end(const spill *s) { return atomic_load(&s->end); }

/* ---- calls that may be interrupted, cut short, or fail for a moment ---- */

typedef struct transfer {
    uint8_t *to;         /* or NULL: writing */
    const uint8_t *from;
    size_t bytes;
    uint64_t offset;
} transfer;

static tw_status transfer_all(spill *s, transfer t, tw_error *err) {
    int file = atomic_load(&s->file);
    unsigned errors = 0;
    while (t.bytes) {
        size_t want = t.bytes < call_bytes_max ? t.bytes : call_bytes_max;
        ssize_t done = t.to ? s->calls->pread(file, t.to, want, (off_t)t.offset)
                            : s->calls->pwrite(file, t.from, want, (off_t)t.offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            int error = done < 0 ? errno : EIO;
            if (error != EIO || errors++ == errors_in_a_row_max) return folder_error(s, error, err);
            nanosleep(&(struct timespec){.tv_nsec = 1000000l << (2 * errors)}, NULL);
            continue;
        }
        errors = 0;
        if (t.to) t.to += done;
        else t.from += done;
        t.bytes -= (size_t)done;
        t.offset += (size_t)done;
    }
    return TW_OK;
}

/* ---- frames ---- */

uint64_t frame_layout_fingerprint(const row_layout *l) {
    uint64_t hash = hash_int(l->n_keys);
    for (uint32_t i = 0; i < l->n; i++) {
        uint64_t word = 0;
        unsigned depth = 0;
        for (const type *t = l->fields[i].type; t && depth < 12; depth++) {
            word = hash_add(word + 1, (uint64_t)t->kind << 32 | t->width);
            t = t->kind == TYPE_LIST ? t->item : NULL;
        }
        hash = hash_add(hash, word);
    }
    return hash;
}

bool frame_header_is_valid(const frame_header *h, const row_layout *l, uint64_t bytes) {
    uint64_t rows_bytes, sum;
    return h->magic == FRAME_MAGIC && h->version == FRAME_VERSION && h->stride == l->stride &&
           h->layout == frame_layout_fingerprint(l) && h->rows > 0 && h->rows <= UINT32_MAX &&
           !__builtin_mul_overflow(h->rows, (uint64_t)h->stride, &rows_bytes) &&
           !__builtin_add_overflow(rows_bytes, h->heap_bytes, &sum) &&
           !__builtin_add_overflow(sum, sizeof *h, &sum) && sum == bytes;
}

/* Gathers a frame and writes it in large pieces. */
typedef struct frame_writer {
    spill *spill;
    uint8_t *scratch;
    size_t capacity, used;
    uint64_t begin, offset;
    frame_header header;
    XXH3_state_t checksum;
} frame_writer;

static tw_status writer_flush(frame_writer *w, tw_error *err) {
    XXH3_64bits_update(&w->checksum, w->scratch, w->used);
    transfer t = {.from = w->scratch, .bytes = w->used, .offset = w->offset};
    TRY(transfer_all(w->spill, t, err));
    w->offset += w->used;
    w->used = 0;
    return TW_OK;
}

static tw_status writer_put(frame_writer *w, const uint8_t *data, size_t bytes, tw_error *err) {
    while (bytes) {
        if (w->used == w->capacity) TRY(writer_flush(w, err));
        size_t some = w->capacity - w->used;
        if (some > bytes) some = bytes;
        memcpy(w->scratch + w->used, data, some);
        w->used += some;
        data += some;
        bytes -= some;
    }
    return TW_OK;
}

/* Rows whole, so that their views can be turned into places where they stand. */
static tw_status writer_put_rows(frame_writer *w, const row_layout *l, const row_block *b,
                                 uint64_t heap_base, tw_error *err) {
    const uint8_t *heap = b->heap ? b->heap->data : NULL;
    for (uint32_t done = 0; done < b->n;) {
        if (w->capacity - w->used < l->stride) TRY(writer_flush(w, err));
        size_t some = (w->capacity - w->used) / l->stride;
        if (some > b->n - done) some = b->n - done;
        uint8_t *to = w->scratch + w->used;
        memcpy(to, b->rows->data + (size_t)done * l->stride, some * l->stride);
        if (!rows_unplace(l, to, (uint32_t)some, heap, b->heap_used, heap_base)) {
            return error_set(err, TW_ERR_INTERNAL, "a row points out of its block");
        }
        w->used += some * l->stride;
        done += (uint32_t)some;
    }
    return TW_OK;
}

/* The checksum stands in front of what it covers: in the scratch still, or by a write of its own. */
static tw_status writer_end(frame_writer *w, tw_error *err) {
    if (w->offset == w->begin) {
        w->header.checksum = XXH3_64bits(w->scratch, w->used);
        memcpy(w->scratch, &w->header, sizeof w->header);
        transfer t = {.from = w->scratch, .bytes = w->used, .offset = w->begin};
        return transfer_all(w->spill, t, err);
    }
    TRY(writer_flush(w, err));
    w->header.checksum = XXH3_64bits_digest(&w->checksum);
    transfer t = {.from = (uint8_t *)&w->header, .bytes = sizeof w->header, .offset = w->begin};
    return transfer_all(w->spill, t, err);
}

static tw_status write_frame(frame_writer *w, const row_layout *l, const row_block *const *blocks,
                             uint32_t n, tw_error *err) {
    XXH3_64bits_reset(&w->checksum);
    TRY(writer_put(w, (const uint8_t *)&w->header, sizeof w->header, err));
    uint64_t heap_base = 0;
    for (uint32_t i = 0; i < n; i++) {
        TRY(writer_put_rows(w, l, blocks[i], heap_base, err));
        heap_base += blocks[i]->heap_used;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!blocks[i]->heap) continue;
        TRY(writer_put(w, blocks[i]->heap->data, blocks[i]->heap_used, err));
    }
    return writer_end(w, err);
}

static uint64_t round_to_pages(uint64_t bytes) {
    return (bytes + page_bytes - 1) & ~(uint64_t)(page_bytes - 1);
}

tw_status spill_write_blocks(spill *s, const row_layout *l, const row_block *const *blocks, uint32_t n,
                             frame_place *out, tw_error *err) {
    TRY(spill_open(s, err));
    frame_writer w = {.spill = s, .header = {.magic = FRAME_MAGIC,
                                             .version = FRAME_VERSION,
                                             .stride = l->stride,
                                             .layout = frame_layout_fingerprint(l)}};
    for (uint32_t i = 0; i < n; i++) {
        w.header.rows += blocks[i]->n;
        w.header.heap_bytes += blocks[i]->heap_used;
    }
    uint64_t bytes = sizeof w.header + w.header.rows * l->stride + w.header.heap_bytes;
    if (!frame_header_is_valid(&w.header, l, bytes)) {
        return error_set(err, TW_ERR_INTERNAL, "blocks that make no frame");
    }
    w.capacity = bytes < scratch_bytes ? bytes : scratch_bytes;
    if (w.capacity < l->stride + sizeof w.header) w.capacity = l->stride + sizeof w.header;
    w.scratch = malloc(w.capacity);
    if (!w.scratch) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    w.begin = w.offset = atomic_fetch_add(&s->end, round_to_pages(bytes));
    tw_status status = write_frame(&w, l, blocks, n, err);
    free(w.scratch);
    *out = (frame_place){.offset = w.begin, .bytes = bytes};
    if (status == TW_OK) atomic_fetch_add(&s->written, bytes);
    else spill_forget(s, *out); /* a full disk gets back what it has taken */
    return status;
}

tw_status spill_write_block(spill *s, const row_layout *l, const row_block *b, frame_place *out,
                            tw_error *err) {
    return spill_write_blocks(s, l, &b, 1, out, err);
}

/* ---- reading ---- */

static tw_status damaged(const spill *s, tw_error *err) {
    return error_set(err, TW_ERR_DATA, "%s %s: what was written there came back damaged",
                     s->named ? "checkpoint file" : "spill folder", s->folder);
}

static uint64_t frame_checksum(frame_header h, const row_block *b) {
    XXH3_state_t state;
    h.checksum = 0;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, &h, sizeof h);
    XXH3_64bits_update(&state, b->rows->data, b->rows->size);
    if (b->heap) XXH3_64bits_update(&state, b->heap->data, b->heap->size);
    return XXH3_64bits_digest(&state);
}

static tw_status read_block(spill *s, const row_layout *l, const frame_header *h, uint64_t offset,
                            row_block *b, tw_error *err) {
    transfer t = {.to = b->rows->data, .bytes = b->rows->size, .offset = offset + sizeof *h};
    TRY(transfer_all(s, t, err));
    if (b->heap) {
        t = (transfer){.to = b->heap->data, .bytes = b->heap->size, .offset = t.offset + t.bytes};
        TRY(transfer_all(s, t, err));
    }
    if (frame_checksum(*h, b) != h->checksum) return damaged(s, err);
    b->n = b->capacity;
    b->heap_used = b->heap ? b->heap->size : 0;
    const uint8_t *heap = b->heap ? b->heap->data : NULL;
    return rows_place(l, b->rows->data, b->n, heap, b->heap_used) ? TW_OK : damaged(s, err);
}

tw_status spill_read_block(spill *s, memory *m, memory_use use, const row_layout *l, frame_place place,
                           row_block **out, tw_error *err) {
    frame_header h;
    transfer t = {.to = (uint8_t *)&h, .bytes = sizeof h, .offset = place.offset};
    TRY(transfer_all(s, t, err));
    if (!frame_header_is_valid(&h, l, place.bytes)) return damaged(s, err);
    TRY(row_block_new(m, use, l, (uint32_t)h.rows, h.heap_bytes, out, err));
    tw_status status = read_block(s, l, &h, place.offset, *out, err);
    if (status != TW_OK) {
        row_block_free(*out);
        *out = NULL;
    }
    return status;
}

tw_status spill_check_frame(spill *s, frame_place place, tw_error *err) {
    frame_header h;
    transfer t = {.to = (uint8_t *)&h, .bytes = sizeof h, .offset = place.offset};
    if (place.bytes < sizeof h) return damaged(s, err);
    TRY(transfer_all(s, t, err));
    uint8_t *scratch = malloc(scratch_bytes);
    if (!scratch) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    frame_header zeroed = h;
    zeroed.checksum = 0;
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, &zeroed, sizeof zeroed);
    tw_status status = h.magic == FRAME_MAGIC ? TW_OK : damaged(s, err);
    for (uint64_t done = sizeof h; done < place.bytes && status == TW_OK;) {
        size_t some = place.bytes - done < scratch_bytes ? (size_t)(place.bytes - done) : scratch_bytes;
        status = transfer_all(s, (transfer){.to = scratch, .bytes = some, .offset = place.offset + done}, err);
        if (status == TW_OK) XXH3_64bits_update(&state, scratch, some);
        done += some;
    }
    free(scratch);
    if (status == TW_OK && XXH3_64bits_digest(&state) != h.checksum) status = damaged(s, err);
    return status;
}

void spill_forget(spill *s, frame_place place) {
#ifdef FALLOC_FL_PUNCH_HOLE
    int file = atomic_load(&s->file);
    if (file < 0) return;
    /* Only saves space: where it is not supported nothing is lost. */
    int ignored = fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)place.offset,
                            (off_t)round_to_pages(place.bytes));
    (void)ignored;
#endif
}
