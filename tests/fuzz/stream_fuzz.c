/* Streams that are cut into messages: the first byte chooses how, the second the size of the pieces in which the
 * rest comes. Whatever the pieces, the same messages come out as from all bytes at once. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/framing.h"

enum { FRAMES = 4096, MESSAGE_MAX = 1000 };

/* A sum over the messages, and how many bytes belong to none. */
typedef struct outcome {
    uint64_t sum;
    size_t rest;
} outcome;

static void take(outcome *o, const uint8_t *p, size_t n) {
    o->sum = o->sum * 31 + n + 1;
    for (size_t i = 0; i < n; i++) o->sum = o->sum * 31 + p[i];
}

static outcome cut_all(const uint8_t *data, size_t size, size_t step, int how) {
    static uint32_t ends[FRAMES];
    outcome o = {0};
    uint8_t *held = malloc(size + 1);
    size_t filled = 0, scanned = 0;
    bool quoted = false, over = false;
    for (size_t at = 0; at < size && !over; at += step) {
        size_t n = size - at < step ? size - at : step;
        memcpy(held + filled, data + at, n);
        filled += n;
        size_t cut = 0;
        if (how == 0) {
            length_cut c = cut_lengths(held, filled, MESSAGE_MAX, ends, FRAMES);
            for (uint32_t i = 0, from = 0; i < c.n; from = ends[i++]) take(&o, held + from, ends[i] - from);
            over = c.announced && c.next > MESSAGE_MAX;
            cut = c.bytes;
            size_t lines = c.n ? lines_of_frames(held, ends, c.n, NULL, true) : 0;
            if (lines > c.bytes) abort();
        } else {
            cut = cut_lines(held, filled, scanned, how == 2 ? '"' : 0, &quoted);
            if (cut && held[cut - 1] != '\n') abort();
            if (cut > filled) abort();
            bool inside = false;
            for (size_t i = 0, from = 0; i < cut; i++) { /* whole lines, one by one */
                if (how == 2 && held[i] == '"') inside = !inside;
                if (held[i] != '\n' || inside) continue;
                take(&o, held + from, i + 1 - from);
                from = i + 1;
            }
        }
        memmove(held, held + cut, filled - cut);
        filled -= cut;
        scanned = filled;
    }
    o.rest = over ? 0 : filled;
    free(held);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > FRAMES) return 0;
    int how = data[0] % 3;
    size_t step = data[1] % 64 + 1;
    outcome all = cut_all(data + 2, size - 2, size, how), pieces = cut_all(data + 2, size - 2, step, how);
    if (all.sum != pieces.sum || all.rest != pieces.rest) abort();
    return 0;
}
