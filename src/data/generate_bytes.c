/* Records of the sort benchmark and HASTE's messages: rows of one length, whose columns are slices.
 *
 * Records are gensort's binary ones (Nyberg, sortbenchmark.org): a key of 10 random bytes, 00 11, the
 * row's number as 32 hexadecimal digits, 88 99 AA BB, 48 bytes of filler, CC DD EE FF. Seed 0 gives
 * gensort's own bytes, another seed starts its random sequence elsewhere.
 *
 * Messages begin as those of HASTE's benchmarking tools: C, 6 digits of CPU milliseconds, -F, a
 * time, _, 8 digits of sequence number, -; then 1000 random letters and digits, repeated. The time
 * is made up, a message each millisecond. */
#include "data/generate_internal.h"

/* ---- records ---- */

static const uint8_t hexadecimal[16] = "0123456789ABCDEF";

/* x -> multiplier * x + addend mod 2^128 (L'Ecuyer 1999). */
typedef struct linear_step {
    generate_uint128 multiplier, addend;
} linear_step;

static generate_uint128 uint128(uint64_t high, uint64_t low) {
    return (generate_uint128)high << 64 | low;
}

static linear_step gensort_step(void) {
    return (linear_step){uint128(UINT64_C(0x2360ed051fc65da4), UINT64_C(0x4385df649fccf645)),
                         uint128(UINT64_C(0x4a696d4772617952), UINT64_C(0x4950202020202001))};
}

/* State after `steps` steps, by squaring. */
static generate_uint128 gensort_skip(generate_uint128 state, uint64_t steps) {
    linear_step power = gensort_step();
    for (; steps > 0; steps >>= 1) {
        if (steps & 1) state = state * power.multiplier + power.addend;
        power.addend *= power.multiplier + 1;
        power.multiplier *= power.multiplier;
    }
    return state;
}

/* The 16 hexadecimal digits of a number. */
static inline void put_hexadecimal(uint8_t *out, uint64_t value) {
    for (unsigned i = 0; i < 16; i++) out[i] = hexadecimal[value >> (60 - 4 * i) & 15];
}

size_t records_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out) {
    linear_step step = gensort_step();
    generate_uint128 state = 0;
    if (g->seed != 0) state = uint128(random_at(g->key, 0), random_at(g->key, 1));
    state = gensort_skip(state, first);
    for (size_t i = 0; i < count; i++, out += RECORD_BYTES) {
        state = state * step.multiplier + step.addend;
        uint64_t high = (uint64_t)(state >> 64), low = (uint64_t)state;
        store_uint64_big(out, high);
        out[8] = (uint8_t)(low >> 56);
        out[9] = (uint8_t)(low >> 48);
        out[10] = 0x00;
        out[11] = 0x11;
        memset(out + 12, '0', 16);
        put_hexadecimal(out + 28, first + i);
        memcpy(out + 44, "\x88\x99\xaa\xbb", 4);
        for (unsigned digit = 0; digit < 12; digit++)
            store_uint32_little(out + 48 + 4 * digit,
                                hexadecimal[low >> (44 - 4 * digit) & 15] * UINT32_C(0x01010101));
        memcpy(out + 96, "\xcc\xdd\xee\xff", 4);
    }
    return count * RECORD_BYTES;
}

/* ---- messages ---- */

#define MESSAGE_EPOCH_S UINT64_C(1546300800) /* 2019-01-01 */
#define MESSAGE_SPAN_S UINT64_C(8000000000)  /* keeps the time within ten digits */

void messages_prepare(generate *g) {
    static const char alphanumeric[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < MESSAGE_BLOCK_BYTES; i++)
        g->block[i] = (uint8_t)alphanumeric[random_below(random_at(g->key, i), 62)];
}

size_t messages_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out) {
    size_t size = (size_t)g->options.values[MESSAGES_SIZE].integer;
    uint64_t cpu_ms = (uint64_t)g->options.values[MESSAGES_CPU].integer / 1000;
    uint8_t *at = out;
    for (uint64_t row = first; row < first + count; row++) {
        uint8_t *end = at + size;
        *at++ = 'C';
        at = put_padded(at, cpu_ms, 6);
        *at++ = '-';
        *at++ = 'F';
        at = put_padded(at, MESSAGE_EPOCH_S + row / 1000 % MESSAGE_SPAN_S, 10);
        *at++ = '.';
        at = put_padded(at, row % 1000 * 10000, 7);
        *at++ = '_';
        at = put_padded(at, row % 100000000, 8);
        *at++ = '-';
        while (at < end) {
            size_t part = (size_t)(end - at) < MESSAGE_BLOCK_BYTES ? (size_t)(end - at)
                                                                   : MESSAGE_BLOCK_BYTES;
            memcpy(at, g->block, part);
            at += part;
        }
        *at++ = '\n';
    }
    return (size_t)(at - out);
}
