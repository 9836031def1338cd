/* Bytes of an HTTP client, over a pair of sockets: the first byte chooses the framing of bodies, the second the size of
 * the pieces in which the rest comes. Nothing may crash or hang, every piece must be readable, and the same requests
 * are taken whatever the pieces. */
#include "fuzz/connection_fuzz.h"
#include "io/http_source.h"

enum { BYTES_MAX = 16384, MESSAGE_MAX = 4096 };

static memory *all;

static uint64_t take(connection *c, piece *p, const uint32_t *ends, uint64_t sum) {
    for (size_t i = 0; i < p->size; i++) sum = sum * 31 + p->bytes[i] + 1;
    for (uint32_t i = 0; p->frames && i < p->n; i++)
        if (ends[i] > p->size) abort();
    buffer_unref(p->owner);
    c->source->class->delivered(c);
    return sum * 31 + 7;
}

static uint64_t pass_over_answers(int fd, uint64_t sum) {
    char bytes[4096];
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {}
    return sum;
}

static const served how = {.take = take, .hear = pass_over_answers, .waits_to_answer = true};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > BYTES_MAX) return 0;
    if (!all && memory_create((size_t)64 << 20, &all, NULL) != TW_OK) abort();
    static atomic_bool never;
    run_context run = {.memory = all, .cancelled = &never, .batch_rows = 1024};
    if (bad_records_create(BAD_SKIP, NULL, &run.bad, NULL) != TW_OK) abort();
    live_source s = {.class = &http_connection_class, .run = &run, .held_max = (size_t)16 << 20};
    s.options = (live_options){.kind = "http", .listens = true, .framing = data[0] % STREAM_FRAMINGS,
                               .messages = data[0] & 8, .message_max = MESSAGE_MAX, .path = "/"};
    s.options.format.kind = FORMAT_LINES;
    pthread_mutex_init(&s.lock, NULL);
    uint64_t whole = serve(&s, &how, data + 2, size - 2, size), pieces = serve(&s, &how, data + 2, size - 2, data[1] % 100 + 1);
    if (whole != pieces) abort();
    if (s.held_bytes) abort();
    pthread_mutex_destroy(&s.lock);
    bad_records_free(run.bad);
    return 0;
}
