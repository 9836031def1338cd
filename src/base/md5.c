#include "base/md5.h"

#include <string.h>

enum { BLOCK_BYTES = 64 };

static const uint32_t sines[64] = { /* floor(2^32 * |sin(i + 1)|) */
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1,
    0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453,
    0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942,
    0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05,
    0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d,
    0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

static inline uint32_t rotate(uint32_t x, unsigned n) { return x << n | x >> (32 - n); }

static inline uint32_t word(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

#define STEP(f, a, b, c, d, k, s, i) a = b + rotate(a + (f) + x[k] + sines[i], s)
#define FOUR(f, k, by, s0, s1, s2, s3, i)                                                              \
    STEP(f(b, c, d), a, b, c, d, (k) & 15, s0, i);                                                     \
    STEP(f(a, b, c), d, a, b, c, ((k) + (by)) & 15, s1, (i) + 1);                                      \
    STEP(f(d, a, b), c, d, a, b, ((k) + 2 * (by)) & 15, s2, (i) + 2);                                  \
    STEP(f(c, d, a), b, c, d, a, ((k) + 3 * (by)) & 15, s3, (i) + 3)
#define ROUND(f, k, by, s0, s1, s2, s3, i)                                                             \
    FOUR(f, k, by, s0, s1, s2, s3, i);                                                                 \
    FOUR(f, (k) + 4 * (by), by, s0, s1, s2, s3, (i) + 4);                                              \
    FOUR(f, (k) + 8 * (by), by, s0, s1, s2, s3, (i) + 8);                                              \
    FOUR(f, (k) + 12 * (by), by, s0, s1, s2, s3, (i) + 12)
#define F(x, y, z) (((x) & (y)) | (~(x) & (z)))
#define G(x, y, z) (((x) & (z)) | ((y) & ~(z)))
#define H(x, y, z) ((x) ^ (y) ^ (z))
#define I(x, y, z) ((y) ^ ((x) | ~(z)))

static void blocks(uint32_t state[4], const uint8_t *p, size_t n) {
    for (; n; n--, p += BLOCK_BYTES) {
        uint32_t x[16], a = state[0], b = state[1], c = state[2], d = state[3];
        for (int i = 0; i < 16; i++) x[i] = word(p + 4 * i);
        ROUND(F, 0, 1, 7, 12, 17, 22, 0);
        ROUND(G, 1, 5, 5, 9, 14, 20, 16);
        ROUND(H, 5, 3, 4, 11, 16, 23, 32);
        ROUND(I, 0, 7, 6, 10, 15, 21, 48);
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    }
}

void md5(const void *data, size_t n, uint8_t out[MD5_BYTES]) {
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    uint8_t end[2 * BLOCK_BYTES] = {0};
    size_t rest = n % BLOCK_BYTES, last = rest < BLOCK_BYTES - 8 ? 1 : 2;
    blocks(state, data, n / BLOCK_BYTES);
    if (rest) memcpy(end, (const uint8_t *)data + n - rest, rest);
    end[rest] = 0x80;
    for (int i = 0; i < 8; i++) end[last * BLOCK_BYTES - 8 + (size_t)i] = (uint8_t)((uint64_t)n * 8 >> 8 * i);
    blocks(state, end, last);
    for (int i = 0; i < MD5_BYTES; i++) out[i] = (uint8_t)(state[i / 4] >> 8 * (i % 4));
}
