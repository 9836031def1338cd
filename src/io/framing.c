#include "io/framing.h"

#include "data/scan.h"

const char *const stream_framing_names[STREAM_FRAMINGS + 1] = {
#define X(kind, name) name,
    STREAM_FRAMING_TABLE(X)
#undef X
        NULL};

length_cut cut_lengths(const uint8_t *p, size_t n, size_t message_max, uint32_t *ends, uint32_t capacity) {
    length_cut c = {0};
    size_t at = 0;
    while (c.n < capacity && n - at >= LENGTH_BYTES) {
        uint32_t length = length_read(p + at);
        if (length > message_max || length > n - at - LENGTH_BYTES) {
            c.next = length;
            c.announced = true;
            break;
        }
        at += LENGTH_BYTES + (size_t)length;
        ends[c.n++] = (uint32_t)at;
    }
    c.bytes = at;
    return c;
}

size_t cut_lines(const uint8_t *p, size_t n, size_t scanned, uint8_t quote, bool *quoted) {
    if (!quote || (!*quoted && find_byte(p + scanned, n - scanned, quote) == n - scanned)) {
        size_t last = find_last_byte(p + scanned, n - scanned, '\n');
        return last == n - scanned ? 0 : scanned + last + 1;
    }
    size_t end = 0;
    bool inside = *quoted;
    for (size_t i = scanned; i < n; i++) {
        if (p[i] == quote) inside = !inside;
        else if (p[i] == '\n' && !inside) end = i + 1;
    }
    *quoted = inside;
    return end;
}

size_t lines_of_frames(uint8_t *p, const uint32_t *ends, uint32_t n, const bool *keep, bool ended) {
    size_t to = 0, from = 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t begin = from + LENGTH_BYTES, size = ends[i] - begin;
        from = ends[i];
        if (keep && !keep[i]) continue;
        memmove(p + to, p + begin, size);
        to += size;
        if (ended && (size == 0 || p[to - 1] != '\n')) p[to++] = '\n';
    }
    return to;
}
