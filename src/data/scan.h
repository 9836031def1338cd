/* scan.h: finding bytes in blocks of text, at the speed of memory.
 *
 * Every function reads [p, p + n) only, works at any alignment, keeps nothing between calls and may
 * be called from any thread. The processor's best kernel is chosen at run time. A bitmap has one
 * bit for each byte, bit i % 64 of word i / 64 for byte i, in SCAN_WORDS(n) words; the bits past n
 * in the last word are 0. */
#ifndef DATA_SCAN_H
#define DATA_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SCAN_WORDS(n) (((size_t)(n) + 63) / 64)

/* One to four byte values; fewer are filled up by repeating the first. */
typedef struct scan_set {
    uint8_t bytes[4];
} scan_set;

/* `count` is 1 to 4; more are ignored, none is the set of byte 0. */
scan_set scan_set_make(const void *bytes, size_t count);

/* Marks the bytes that are in `set`. */
void scan_bitmap(const uint8_t *p, size_t n, scan_set set, uint64_t *bits);

/* Marks ASCII white space: blank, \t, \n, \v, \f, \r. */
void scan_space_bitmap(const uint8_t *p, size_t n, uint64_t *bits);

/* How many bytes equal `byte`. */
size_t count_byte(const uint8_t *p, size_t n, uint8_t byte);

/* Index of the first or last byte that equals `byte`; n when there is none. The C library has
 * vector versions of these. */
static inline size_t find_byte(const uint8_t *p, size_t n, uint8_t byte) {
    const uint8_t *at = n == 0 ? NULL : (const uint8_t *)memchr(p, byte, n);
    return at == NULL ? n : (size_t)(at - p);
}
static inline size_t find_last_byte(const uint8_t *p, size_t n, uint8_t byte) {
    const uint8_t *at = n == 0 ? NULL : (const uint8_t *)memrchr(p, byte, n);
    return at == NULL ? n : (size_t)(at - p);
}

/* Copies n bytes with A-Z made a-z; other bytes stay. `to` may be `from`, but not overlap it
 * otherwise. */
void ascii_lower_copy(uint8_t *to, const uint8_t *from, size_t n);

/* What a call of scan_csv did. */
typedef struct scan_csv_result {
    size_t scanned; /* bytes taken: n, or a multiple of 64 when the room for positions ran out */
    size_t count;   /* positions written */
    size_t quotes;  /* quote bytes seen; 0 means that no field of this stretch is quoted */
} scan_csv_result;

/* Room that scan_csv wants beyond the positions it keeps: it writes ahead in vectors. */
#define SCAN_CSV_SLACK 64

/* Lists the delimiters and line feeds of CSV text that stand outside quotes, as offsets from `p` in
 * rising order; the byte at an offset tells which it is. A doubled quote leaves and enters again,
 * so it needs no case of its own. A quote counts wherever it stands; a reader that is to refuse one
 * inside an unquoted field looks at `quote_bits` when `quotes` is not 0.
 *   quote       0 turns quoting off.
 *   in_quote    0 before the first byte of a file; carried from call to call (0 or all ones).
 *   positions   room for `capacity` offsets, at least SCAN_CSV_SLACK; it is never overrun. The call
 *               stops early when fewer than 64 are free; n + SCAN_CSV_SLACK never stops early.
 *   quote_bits  NULL, or a bitmap of the quote bytes, SCAN_WORDS(n) words.
 * Takes at most 4 GiB - 64 a call. After Geoff Langdale and Daniel Lemire, "Parsing Gigabytes of
 * JSON per Second", 2019: quotes to a bitmap, a prefix XOR by carry-less multiplication. */
scan_csv_result scan_csv(const uint8_t *p, size_t n, uint8_t delimiter, uint8_t quote,
                         uint64_t *in_quote, uint32_t *positions, size_t capacity,
                         uint64_t *quote_bits);

#ifdef __cplusplus
}
#endif
#endif
