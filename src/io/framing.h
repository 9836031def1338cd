/* framing.h: cutting a stream of bytes into messages. Functions over bytes that have come, without state. */
#ifndef IO_FRAMING_H
#define IO_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How messages are told apart on a connection. */
#define STREAM_FRAMING_TABLE(X)                                                                        \
    X(STREAM_NEWLINE, "newline")       /* each ends at LF */                                           \
    X(STREAM_LENGTH, "length")         /* before each its length, 4 bytes big-endian */                \
    X(STREAM_CONNECTION, "connection") /* all that comes until the peer closes is one */

typedef enum stream_framing {
#define X(kind, name) kind,
    STREAM_FRAMING_TABLE(X)
#undef X
        STREAM_FRAMINGS
} stream_framing;

extern const char *const stream_framing_names[STREAM_FRAMINGS + 1]; /* NULL at the end, for OPTION_ENUM */

enum { LENGTH_BYTES = 4 };

static inline uint32_t length_read(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void length_write(uint8_t *p, uint32_t n) {
    p[0] = (uint8_t)(n >> 24), p[1] = (uint8_t)(n >> 16), p[2] = (uint8_t)(n >> 8), p[3] = (uint8_t)n;
}

typedef struct length_cut {
    uint32_t n;      /* whole frames */
    size_t bytes;    /* that they take, lengths included */
    size_t next;     /* the length that the frame after them announces, when `announced` */
    bool announced;
} length_cut;

/* Finds the whole frames at the front of p[0, n): ends[i] is where the payload of frame i ends; that of
 * frame i + 1 begins LENGTH_BYTES behind it. Stops at `capacity` frames and before one of more than
 * message_max bytes. n is below 2^32. */
length_cut cut_lengths(const uint8_t *p, size_t n, size_t message_max, uint32_t *ends, uint32_t capacity);

/* Bytes of the whole lines at the front of p[0, n), none of which ends before `scanned` (what was looked at
 * before). With a quote byte (not 0), line feeds between quotes end no line; *quoted says whether the byte at
 * `scanned` stands between quotes, and then the same of byte n. */
size_t cut_lines(const uint8_t *p, size_t n, size_t scanned, uint8_t quote, bool *quoted);

/* Turns whole frames in place into text of lines: the lengths go, a line feed stands behind each message
 * that does not end with one. `keep[i]` false leaves message i out (NULL: all stay); `ended` false: nothing is
 * put between. Returns the bytes that are left. */
size_t lines_of_frames(uint8_t *p, const uint32_t *ends, uint32_t n, const bool *keep, bool ended);

#endif
