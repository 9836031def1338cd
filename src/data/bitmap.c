#include "data/bitmap.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

void bitmap_copy(const uint64_t *in, size_t from, uint64_t *out, size_t to, size_t n) {
    while (n) {
        unsigned shift = to & 63, have = 64 - (from & 63);
        size_t take = 64 - shift;
        if (take > n) take = n;
        uint64_t bits = in[from >> 6] >> (from & 63);
        if (take > have) bits |= in[(from >> 6) + 1] << have;
        uint64_t mask = (take == 64 ? ~0ull : (1ull << take) - 1) << shift;
        out[to >> 6] = (out[to >> 6] & ~mask) | (bits << shift & mask);
        from += take;
        to += take;
        n -= take;
    }
}

/* Words of up to 64 rows. */
static uint64_t gather_word(const uint64_t *in, const uint32_t *rows, unsigned n) {
    uint64_t word = 0;
    if (!in) {
        for (unsigned j = 0; j < n; j++) word |= (uint64_t)(rows[j] != UINT32_MAX) << j;
        return word;
    }
    for (unsigned j = 0; j < n; j++)
        if (rows[j] != UINT32_MAX) word |= (in[rows[j] >> 6] >> (rows[j] & 63) & 1) << j;
    return word;
}

static bool gather_plain(const uint64_t *in, const uint32_t *rows, size_t n, uint64_t *out) {
    uint64_t all = ~0ull;
    for (size_t i = 0; i < n; i += 64) {
        unsigned some = n - i < 64 ? (unsigned)(n - i) : 64;
        uint64_t word = gather_word(in, rows + i, some);
        if (some < 64) word |= ~0ull << some;
        out[i / 64] = word;
        all &= word;
    }
    return all != ~0ull;
}

#if defined(__x86_64__)
TARGET_AVX512 static bool gather_avx512(const uint64_t *in, const uint32_t *rows, size_t n, uint64_t *out) {
    const __m512i none = _mm512_set1_epi32(-1), one = _mm512_set1_epi32(1), low = _mm512_set1_epi32(31);
    uint64_t all = ~0ull;
    size_t whole = n / 64 * 64;
    for (size_t i = 0; i < whole; i += 64) {
        uint64_t word = 0;
        for (unsigned j = 0; j < 64; j += 16) {
            __m512i row = _mm512_loadu_si512(rows + i + j);
            __mmask16 some = _mm512_cmpneq_epi32_mask(row, none);
            if (in) {
                __m512i bits = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), some,
                                                           _mm512_srli_epi32(row, 5), in, 4);
                some = _mm512_test_epi32_mask(bits, _mm512_sllv_epi32(one, _mm512_and_si512(row, low)));
            }
            word |= (uint64_t)some << j;
        }
        out[i / 64] = word;
        all &= word;
    }
    bool rest = gather_plain(in, rows + whole, n - whole, out + whole / 64);
    return all != ~0ull || rest;
}
#endif

bool bitmap_gather_level(cpu_level level, const uint64_t *in, const uint32_t *rows, size_t n, uint64_t *out) {
#if defined(__x86_64__)
    if (level == CPU_AVX512) return gather_avx512(in, rows, n, out);
#endif
    return gather_plain(in, rows, n, out);
}

bool bitmap_gather(const uint64_t *in, const uint32_t *rows, size_t n, uint64_t *out) {
    return bitmap_gather_level(cpu_level_here(), in, rows, n, out);
}
