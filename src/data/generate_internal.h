/* generate_internal.h: what the files of the generators share; only they include it. */
#ifndef DATA_GENERATE_INTERNAL_H
#define DATA_GENERATE_INTERNAL_H

#include "data/generate.h"

#include "base/error.h"

#include <string.h>

/* ---- options: one line each. X(ID, name, type, default, least, greatest, bare unit, help) ---- */

#define GENERATE_SEED(X)                                                                           \
    X(SEED, "seed", GENERATE_INTEGER, "0", 0, INT64_MAX, 0, "another seed gives other data")
#define GENERATE_ROWS(X, standard)                                                                 \
    X(ROWS, "rows", GENERATE_INTEGER, standard, 0, GENERATE_ROWS_MAX, 0, "number of rows")
#define GENERATE_COLUMNS(X)                                                                        \
    X(COLUMNS, "columns", GENERATE_INTEGER, "20", 1, 65536, 0, "number of columns x0, x1, ...")

#define TEXT_OPTIONS(X)                                                                            \
    X(BYTES, "bytes", GENERATE_SIZE, "100MB", 0, GENERATE_BYTES_MAX, 0,                            \
      "exact size of the text, its last newline included")                                         \
    X(VOCABULARY, "vocabulary", GENERATE_INTEGER, "1000000", 1, INT64_C(1) << 31, 0,               \
      "number of distinct words; the n-th is n times rarer than the first")                        \
    GENERATE_SEED(X)
#define RECORDS_OPTIONS(X)                                                                         \
    GENERATE_ROWS(X, "1000000")                                                                    \
    GENERATE_SEED(X)
#define POINTS_OPTIONS(X)                                                                          \
    GENERATE_ROWS(X, "1000000")                                                                    \
    GENERATE_COLUMNS(X)                                                                            \
    X(CLUSTERS, "clusters", GENERATE_INTEGER, "10", 1, INT64_C(1) << 31, 0,                        \
      "number of centers, in [-10, 10] in every column")                                           \
    GENERATE_SEED(X)
#define LINEAR_OPTIONS(X)                                                                          \
    GENERATE_ROWS(X, "1000000")                                                                    \
    GENERATE_COLUMNS(X)                                                                            \
    X(NOISE, "noise", GENERATE_NUMBER, "0.1", 0, 100000, 0,                                        \
      "standard deviation of what is added to y")                                                  \
    GENERATE_SEED(X)
#define GRAPH_OPTIONS(X)                                                                           \
    X(SCALE, "scale", GENERATE_INTEGER, "16", 1, 40, 0, "2^scale vertices")                        \
    X(EDGE_FACTOR, "edge_factor", GENERATE_INTEGER, "16", 1, 1024, 0, "edges for each vertex")     \
    GENERATE_SEED(X)
#define MESSAGES_OPTIONS(X)                                                                        \
    GENERATE_ROWS(X, "10000")                                                                      \
    X(SIZE, "size", GENERATE_SIZE, "200", MESSAGE_HEADER_BYTES, INT64_C(1) << 30, 0,               \
      "bytes of a message, its 37-byte header included")                                           \
    X(CPU, "cpu", GENERATE_DURATION, "20ms", 0, INT64_C(999999000), 1000,                          \
      "CPU time that the header asks for, in whole milliseconds")                                  \
    GENERATE_SEED(X)
#define EVENTS_OPTIONS(X)                                                                          \
    GENERATE_ROWS(X, "1000000")                                                                    \
    X(KEYS, "keys", GENERATE_INTEGER, "1000", 1, INT64_MAX, 0, "keys are 0 to keys - 1, evenly")   \
    X(OUT_OF_ORDER, "out_of_order", GENERATE_NUMBER, "0", 0, 1, 0,                                 \
      "fraction of events that come late")                                                         \
    X(INTERVAL, "interval", GENERATE_DURATION, "10us", 1, INT64_C(86400000000), 0,                 \
      "event time from one row to the next")                                                       \
    X(DELAY, "delay", GENERATE_DURATION, "1s", 1, INT64_C(86400000000), 0,                         \
      "a late event is late by up to this")                                                        \
    GENERATE_SEED(X)

/* X(ID, name, format, columns, help) */
#define GENERATE_KINDS(X)                                                                          \
    X(TEXT, text, "lines", "line", "lines of words whose frequencies follow Zipf's law")           \
    X(RECORDS, records, "records", "key, rest",                                                    \
      "100-byte records with 10-byte keys, as the sort benchmark")                                 \
    X(POINTS, points, "csv", "x0, x1, ...", "points about random centers, normal in each column")  \
    X(LINEAR, linear, "csv", "y, x0, x1, ...", "a linear function of normal values, with noise")   \
    X(GRAPH, graph, "edges", "from, to", "the edges of a Kronecker graph, as in Graph500")         \
    X(MESSAGES, messages, "lines", "content", "messages with HASTE's header, one on a line")       \
    X(EVENTS, events, "csv", "ts, key, value", "events with a time and a key")

#define KIND_ID(id, ...) GENERATE_KIND_##id,
enum { GENERATE_KINDS(KIND_ID) GENERATE_KIND_COUNT };
#undef KIND_ID

#define OPTION_ID(id, ...) TEXT_##id,
enum { TEXT_OPTIONS(OPTION_ID) };
#undef OPTION_ID
#define OPTION_ID(id, ...) RECORDS_##id,
enum { RECORDS_OPTIONS(OPTION_ID) };
#undef OPTION_ID
#define OPTION_ID(id, ...) POINTS_##id,
enum { POINTS_OPTIONS(OPTION_ID) };
#undef OPTION_ID
#define OPTION_ID(id, ...) LINEAR_##id,
enum { LINEAR_OPTIONS(OPTION_ID) };
#undef OPTION_ID
#define OPTION_ID(id, ...) GRAPH_##id,
enum { GRAPH_OPTIONS(OPTION_ID) };
#undef OPTION_ID
#define OPTION_ID(id, ...) MESSAGES_##id,
enum { MESSAGES_OPTIONS(OPTION_ID) };
#undef OPTION_ID
#define OPTION_ID(id, ...) EVENTS_##id,
enum { EVENTS_OPTIONS(OPTION_ID) };
#undef OPTION_ID

/* ---- a generator ---- */

#define GENERATE_CHUNK_BYTES (256 * 1024)
#define RECORD_BYTES 100
#define RECORD_KEY_BYTES 10
#define POINT_BYTES 12 /* "-18.123456," and one */
#define LINEAR_Y_BYTES 32
#define EDGE_BYTES 28 /* two numbers below 2^40 */
#define EVENT_BYTES 64
#define MESSAGE_HEADER_BYTES 37
#define MESSAGE_BLOCK_BYTES 1000

/* A multiplicative step of the Kronecker labels' permutation. */
typedef struct graph_round {
    uint64_t multiplier, addend;
} graph_round;
#define GRAPH_ROUNDS 3

/* Walker's alias table: outcome `own` where the coin is below `own_below`, else `other`. An outcome
 * is three bits of `from` in its low byte, three of `to` in its high byte. */
typedef struct graph_draw {
    uint32_t own_below;
    uint16_t own, other;
} graph_draw;
#define GRAPH_OUTCOMES 64

/* The two inner loops of text, plain and for AVX-512; all give the same. */
#define TEXT_BATCH 512
#define TEXT_LANES 8
#define TEXT_WORD_BYTES 16
typedef struct text_batch {
    uint32_t ranks[TEXT_BATCH + TEXT_LANES];
    uint8_t letters[TEXT_BATCH][TEXT_WORD_BYTES] __attribute__((aligned(64)));
    uint8_t lengths[TEXT_BATCH];
} text_batch;
typedef struct text_kernel {
    /* Draws TEXT_BATCH candidates with the random numbers behind `position`, of `octaves` octaves;
     * keeps the accepted ranks, in order, and returns how many they are. */
    size_t (*draw)(uint64_t position, uint32_t octaves, uint32_t vocabulary, uint32_t *ranks);
    /* Letters and lengths of ranks[0] to ranks[count - 1]. What stands behind them, up to a multiple
     * of TEXT_LANES, is written too. */
    void (*spell)(const uint32_t *ranks, size_t count, uint8_t (*letters)[TEXT_WORD_BYTES],
                  uint8_t *lengths);
} text_kernel;
extern const text_kernel text_kernel_plain;
/* NULL on a processor without the instructions. */
const text_kernel *text_kernel_avx512(void);

/* A word's spelling: two-letter syllables, and by length (3 to 12, from 16 entries) the bits that its
 * whole syllables spell, with half their number in the upper eight. */
extern const char text_syllables[128][2];
extern const uint64_t text_spelled[16];
#define TEXT_SPELLED_MASK ((UINT64_C(1) << 56) - 1)
#define TEXT_SCRAMBLE UINT64_C(0x94d049bb133111eb)

struct generate {
    generate_options options;
    unsigned kind; /* GENERATE_KIND_... */
    const text_kernel *kernel;
    uint64_t seed;
    uint64_t key; /* of the random numbers, from seed and kind */
    uint64_t rows, rows_per_chunk, chunks;
    uint64_t bytes; /* of a text */
    size_t row_bytes_max, chunk_bytes_max;
    size_t columns;
    graph_round rounds[GRAPH_ROUNDS];    /* graph */
    graph_draw draws[GRAPH_OUTCOMES];    /* graph */
    uint8_t block[MESSAGE_BLOCK_BYTES];  /* messages: their repeated body */
    int64_t coefficients_milli[];        /* linear: intercept, then one for each column */
};

/* Chunk `chunk`, of `size` bytes; returns size. */
size_t text_chunk(const generate *g, const text_kernel *kernel, uint64_t chunk, uint8_t *out,
                  size_t size);

/* The bytes of rows [first, first + count); returns their size. */
size_t records_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out);
size_t messages_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out);
size_t points_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out);
size_t linear_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out);
size_t graph_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out);
size_t events_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out);

void points_values(const generate *g, uint64_t first, size_t count, void *const *columns);
void linear_values(const generate *g, uint64_t first, size_t count, void *const *columns);
void graph_values(const generate *g, uint64_t first, size_t count, void *const *columns);
void events_values(const generate *g, uint64_t first, size_t count, void *const *columns);

/* A standard normal deviate, |z| < 8.3, from the upper 52 of 64 random bits; grows with them. */
double normal_deviate(uint64_t random);

void linear_prepare(generate *g);
void graph_prepare(generate *g);
void messages_prepare(generate *g);
/* The last event's time must stay in the year 9999. */
uint64_t events_rows_max(int64_t interval_us);

/* ---- random numbers that need no state: the i-th of a stream is a hash of i ----
 * Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014. */

#define RANDOM_STEP UINT64_C(0x9e3779b97f4a7c15)

static inline uint64_t random_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint64_t random_at(uint64_t key, uint64_t index) {
    return random_mix(key + (index + 1) * RANDOM_STEP);
}

/* An independent stream of `key`. */
static inline uint64_t random_stream(uint64_t key, uint64_t stream) {
    return random_mix(random_mix(key ^ UINT64_C(0xd6e8feb86659fd93)) + (stream + 1) * RANDOM_STEP);
}

__extension__ typedef unsigned __int128 generate_uint128;

/* 0 to bound - 1, each with a probability within 2^-64 of even. */
static inline uint64_t random_below(uint64_t random, uint64_t bound) {
    return (uint64_t)(((generate_uint128)random * bound) >> 64);
}

/* ---- bytes ---- */

static inline void store_uint64_little(uint8_t *out, uint64_t value) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    memcpy(out, &value, sizeof value);
}

static inline void store_uint64_big(uint8_t *out, uint64_t value) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    memcpy(out, &value, sizeof value);
}

static inline void store_uint32_little(uint8_t *out, uint32_t value) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap32(value);
#endif
    memcpy(out, &value, sizeof value);
}

/* ---- decimal text: stores may run up to GENERATE_STORE_SLACK bytes past what is returned ---- */

#define GENERATE_STORE_SLACK 16

/* The 8 digits of a value below 10^8, one a byte, the first in the lowest byte: halves, then pairs,
 * then single digits are split off side by side. */
static inline uint64_t digits_of_eight(uint64_t value) {
    uint64_t high = value / 10000, pairs = high | (value - high * 10000) << 32;
    uint64_t hundreds = (pairs * 10486) >> 20 & UINT64_C(0x0000007f0000007f);
    uint64_t twos = hundreds | (pairs - hundreds * 100) << 16;
    uint64_t tens = (twos * 103) >> 10 & UINT64_C(0x000f000f000f000f);
    return tens | (twos - tens * 10) << 8;
}

#define ASCII_ZEROS UINT64_C(0x3030303030303030)

/* Exactly `digits` digits of value, with leading zeros. */
static inline uint8_t *put_padded(uint8_t *out, uint64_t value, unsigned digits) {
    for (unsigned i = digits; i-- > 0; value /= 10) out[i] = (uint8_t)('0' + value % 10);
    return out + digits;
}

static inline uint8_t *put_unsigned(uint8_t *out, uint64_t value) {
    if (value >= UINT64_C(100000000)) {
        out = value >= UINT64_C(10000000000000000)
                  ? put_padded(put_unsigned(out, value / UINT64_C(10000000000000000)),
                               value / 100000000 % 100000000, 8)
                  : put_unsigned(out, value / 100000000);
        store_uint64_little(out, digits_of_eight(value % 100000000) + ASCII_ZEROS);
        return out + 8;
    }
    uint64_t digits = digits_of_eight(value);
    unsigned zeros = (unsigned)__builtin_ctzll(digits | UINT64_C(1) << 56) / 8;
    store_uint64_little(out, (digits + ASCII_ZEROS) >> 8 * zeros);
    return out + 8 - zeros;
}

/* A fraction of `decimals` (to 8) digits without trailing zeros, but one digit at least. */
static inline uint8_t *put_fraction(uint8_t *out, uint64_t fraction, unsigned decimals) {
    static const uint32_t scale[9] = {100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1};
    uint64_t digits = digits_of_eight(fraction * scale[decimals]);
    store_uint64_little(out, digits + ASCII_ZEROS);
    return out + 8 - (unsigned)__builtin_clzll(digits | 1) / 8;
}

/* value / 10^decimals; decimals to 8. */
static inline uint8_t *put_decimal(uint8_t *out, int64_t value, unsigned decimals,
                                   uint64_t power_of_ten) {
    *out = '-';
    out += value < 0;
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    uint64_t whole = magnitude / power_of_ten;
    if (whole < 10)
        *out++ = (uint8_t)('0' + whole);
    else
        out = put_unsigned(out, whole);
    *out++ = '.';
    return put_fraction(out, magnitude % power_of_ten, decimals);
}

#endif
