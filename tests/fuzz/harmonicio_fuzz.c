/* What a HarmonicIO source receives, over a pair of sockets: the first byte chooses the port, the second the size of the
 * pieces in which the rest comes. Nothing may crash or hang, and the same is taken whatever the pieces. The same bytes are
 * read as what a master answers. */
#include <string.h>

#include "fuzz/connection_fuzz.h"
#include "io/harmonicio_source.h"
#include "io/haste_control.h"

enum { BYTES_MAX = 16384, MESSAGE_MAX = 4096 };

static memory *all;

static uint64_t sum_of(uint64_t sum, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) sum = sum * 31 + p[i] + 1;
    return sum * 31 + 7;
}

/* What is answered, but for its date. */
static uint64_t read_answers(int fd, uint64_t sum) {
    uint8_t bytes[4096];
    for (ssize_t n; (n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0;) sum = sum_of(sum, bytes, n < 12 ? (size_t)n : 12);
    return sum;
}

static uint64_t take(connection *c, piece *p, const uint32_t *ends, uint64_t sum) {
    if (p->n != 1 || p->first > ends[0] || ends[0] > p->size) abort();
    sum = sum_of(sum, p->bytes, p->size);
    if (p->named) sum = sum_of(sum, view_data(&p->name), p->name.size);
    buffer_unref(p->owner);
    buffer_unref(p->name_owner);
    return sum;
}

static void read_texts(const uint8_t *data, size_t size) {
    harmonicio_place p;
    if (harmonicio_place_read((const char *)data, size, &p) && (!p.host[0] || !p.port || p.port > 65535)) abort();
    (void)harmonicio_length_read((const char *)data, size, "haste/bench");
    haste_settings s;
    if (!haste_settings_read((const char *)data, size, 1000, &s) && ((s.has_bytes && (s.bytes < 37 || s.bytes > 1000)) || s.cpu_ms > 999999))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > BYTES_MAX) return 0;
    if (!all && memory_create((size_t)64 << 20, &all, NULL) != TW_OK) abort();
    static atomic_bool never;
    run_context run = {.memory = all, .cancelled = &never, .batch_rows = 1024, .parallelism = 2};
    if (bad_records_create(BAD_SKIP, NULL, &run.bad, NULL) != TW_OK) abort();
    harmonicio h = {.kinds = {PORT_REST, PORT_QUEUE, PORT_DATA}};
    if (data[0] & 4 && expected_create(1 << 16, &h.expected, NULL) != TW_OK) abort();
    live_source s = {.class = &harmonicio_class, .run = &run, .held_max = (size_t)16 << 20};
    s.options = (live_options){.kind = "harmonicio", .listens = true, .framing = STREAM_CONNECTION, .messages = true,
                               .message_max = MESSAGE_MAX, .context = &h};
    pthread_mutex_init(&s.lock, NULL);
    const served how = {.take = take, .hear = read_answers, .port = data[0] % 3};
    uint64_t sums[2];
    for (int i = 0; i < 2; i++) {
        uint8_t digest[MD5_BYTES];
        md5("a message", 9, digest);
        if (h.expected && !expected_add(h.expected, digest, "haste/bench", 11, 0)) abort();
        sums[i] = serve(&s, &how, data + 2, size - 2, i ? data[1] % 100 + 1u : size);
        buffer_unref(h.expected ? expected_take(h.expected, digest, NULL, 0) : NULL);
    }
    if (sums[0] != sums[1] || s.held_bytes) abort();
    read_texts(data + 2, size - 2);
    expected_free(h.expected);
    pthread_mutex_destroy(&s.lock);
    bad_records_free(run.bad);
    return 0;
}
