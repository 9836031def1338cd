/* Writing a generator's bytes in order: threads make chunks, the one whose chunk is due writes it. A
 * thread that is ahead waits for its turn, so there is one buffer for each thread. */
#include "data/generate_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MAX 1024

typedef struct writer {
    const generate *g;
    generate_put put;
    void *context;
    const atomic_bool *cancel;
    atomic_uint_fast64_t next; /* the next chunk nobody has taken */
    pthread_mutex_t lock;      /* of all below */
    pthread_cond_t turn;
    uint64_t due; /* the chunk to be written next */
    uint64_t bytes;
    tw_status status; /* the first failure; nothing is written after it */
    tw_error error;
} writer;

static tw_status write_all(void *context, const uint8_t *data, size_t size, tw_error *err) {
    int fd = *(const int *)context;
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0) {
            if (errno == EINTR) continue;
            return error_io(err, errno, "cannot write generated data");
        }
        data += written;
        size -= (size_t)written;
    }
    return TW_OK;
}

static void writer_fail(writer *w, tw_status status, const tw_error *error) {
    pthread_mutex_lock(&w->lock);
    if (w->status == TW_OK) {
        w->status = status;
        w->error = *error;
    }
    pthread_cond_broadcast(&w->turn);
    pthread_mutex_unlock(&w->lock);
}

/* Waits for the chunk's turn and writes it. */
static tw_status writer_put(writer *w, uint64_t chunk, const uint8_t *data, size_t size,
                            tw_error *err) {
    pthread_mutex_lock(&w->lock);
    while (w->due != chunk && w->status == TW_OK) pthread_cond_wait(&w->turn, &w->lock);
    bool failed = w->status != TW_OK;
    pthread_mutex_unlock(&w->lock);
    if (failed) return TW_ERR_CANCELLED;
    /* Only the thread whose turn it is comes here. */
    TRY(w->put(w->context, data, size, err));
    pthread_mutex_lock(&w->lock);
    w->bytes += size;
    w->due++;
    pthread_cond_broadcast(&w->turn);
    pthread_mutex_unlock(&w->lock);
    return TW_OK;
}

static tw_status writer_chunks(writer *w, uint8_t *buffer, size_t capacity, tw_error *err) {
    for (;;) {
        uint64_t chunk = atomic_fetch_add(&w->next, 1);
        if (chunk >= generate_chunks(w->g)) return TW_OK;
        if (w->cancel && atomic_load(w->cancel))
            return error_set(err, TW_ERR_CANCELLED, "interrupted");
        size_t size;
        TRY(generate_chunk_bytes(w->g, chunk, buffer, capacity, &size, err));
        TRY(writer_put(w, chunk, buffer, size, err));
    }
}

static void *writer_thread(void *argument) {
    writer *w = argument;
    tw_error error = {0};
    size_t capacity = generate_chunk_bytes_max(w->g);
    uint8_t *buffer = malloc(capacity > 0 ? capacity : 1);
    tw_status status = buffer ? writer_chunks(w, buffer, capacity, &error)
                              : error_set(&error, TW_ERR_MEMORY, "no memory for %zu bytes", capacity);
    if (status != TW_OK) writer_fail(w, status, &error);
    free(buffer);
    return NULL;
}

/* Runs in this thread and in up to threads - 1 others; fewer, if the system gives no more. */
static void writer_run(writer *w, unsigned threads) {
    pthread_t others[THREADS_MAX];
    unsigned started = 0;
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    if (threads > generate_chunks(w->g)) threads = (unsigned)generate_chunks(w->g);
    while (started + 1 < threads &&
           pthread_create(&others[started], NULL, writer_thread, w) == 0)
        started++;
    writer_thread(w);
    while (started > 0) pthread_join(others[--started], NULL);
}

tw_status generate_write_to(const generate *g, generate_put put, void *context, unsigned threads,
                            const atomic_bool *cancel, uint64_t *bytes, tw_error *err) {
    if (bytes) *bytes = 0;
    char *header;
    size_t header_size;
    TRY(generate_header(g, &header, &header_size, err));
    tw_status status = TW_OK;
    if (header_size > 0) status = put(context, (const uint8_t *)header, header_size, err);
    free(header);
    if (status != TW_OK) return status;
    writer w = {.g = g, .put = put, .context = context, .cancel = cancel, .bytes = header_size};
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.turn, NULL);
    writer_run(&w, threads);
    pthread_cond_destroy(&w.turn);
    pthread_mutex_destroy(&w.lock);
    if (bytes) *bytes = w.bytes;
    if (w.status != TW_OK && err) *err = w.error;
    return w.status;
}

tw_status generate_write(const generate *g, int fd, unsigned threads, const atomic_bool *cancel,
                         uint64_t *bytes, tw_error *err) {
    return generate_write_to(g, write_all, &fd, threads, cancel, bytes, err);
}
