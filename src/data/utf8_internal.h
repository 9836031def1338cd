/* utf8_internal.h: the versions behind utf8.h that tests hold against each other. */
#ifndef DATA_UTF8_INTERNAL_H
#define DATA_UTF8_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/cpu_level.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The bytes of the code point at p, of which `n` > 0 are there; 0 when it is not well formed
 * (Unicode, table 3-7). */
static inline size_t utf8_sequence_length(const char *p, size_t n) {
    uint8_t lead = (uint8_t)p[0];
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (n < length) return 0;
    uint8_t second = (uint8_t)p[1], low = 0x80, high = 0xbf;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
    if (second < low || second > high) return 0;
    for (size_t i = 2; i < length; i++) {
        if (((uint8_t)p[i] & 0xc0) != 0x80) return 0;
    }
    return length;
}

bool utf8_valid_plain(const char *p, size_t n);

/* simdjson's, by its own choice of kernel; best for long text. */
bool utf8_valid_vectors(const char *p, size_t n);

/* simdjson's kernel number `index` of those this processor can run; false in `*there` past the
 * last. Only for tests. */
bool utf8_valid_kernel(size_t index, const char *p, size_t n, bool *there);

/* Kernels for a level that the processor must have; a level that this build lacks is plain. */
size_t utf8_length_at(cpu_level level, const char *p, size_t n);
size_t utf8_offset_at(cpu_level level, const char *p, size_t n, size_t index);

#ifdef __cplusplus
}
#endif
#endif
