/* scan_csv.c: delimiters and line feeds outside quotes, as positions: plain, AVX2 and AVX-512.
 *
 * Each 64 bytes become two bitmaps: quotes, and delimiters with line feeds. The prefix XOR of the
 * quotes is set from an opening quote up to its closing one; what it covers is text. Only that XOR
 * is carried from block to block, so blocks overlap in the processor. */
#include "data/scan_internal.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Offsets are 32 bits wide. */
#define SCAN_CSV_BYTES_MAX ((size_t)UINT32_MAX & ~(size_t)63)

static inline size_t bytes_taken(size_t n) {
    return n < SCAN_CSV_BYTES_MAX ? n : SCAN_CSV_BYTES_MAX;
}

static inline uint64_t prefix_xor_plain(uint64_t bits) {
    for (unsigned shift = 1; shift < 64; shift *= 2) bits ^= bits << shift;
    return bits;
}

static inline uint64_t all_if_last(uint64_t bits) { return (uint64_t)((int64_t)bits >> 63); }

static uint64_t equal_plain(const uint8_t *block, uint8_t byte) {
    uint64_t bits = 0;
    for (unsigned i = 0; i < 64; i += 8) {
        uint64_t x;
        memcpy(&x, block + i, 8);
        bits |= zero_bytes_to_bits(x ^ REPEAT8(byte)) << i;
    }
    return bits;
}

static scan_csv_result scan_csv_plain(const uint8_t *p, size_t n, uint8_t delimiter, uint8_t quote,
                                      uint64_t *in_quote, uint32_t *positions, size_t capacity,
                                      uint64_t *quote_bits) {
    scan_csv_result result = {0, 0, 0};
    size_t end = bytes_taken(n), i = 0;
    for (; i < end && capacity - result.count >= 64; i += 64) {
        uint8_t rest[64];
        const uint8_t *block = p + i;
        uint64_t valid = ~(uint64_t)0;
        if (end - i < 64) {
            memset(rest, 0, sizeof rest);
            memcpy(rest, block, end - i);
            block = rest;
            valid = ((uint64_t)1 << (end - i)) - 1;
        }
        uint64_t quotes = quote == 0 ? 0 : equal_plain(block, quote) & valid;
        uint64_t inside = prefix_xor_plain(quotes) ^ *in_quote;
        *in_quote = all_if_last(inside);
        uint64_t ends = equal_plain(block, delimiter) | equal_plain(block, '\n');
        ends &= valid & ~inside;
        if (quote_bits != NULL) quote_bits[i / 64] = quotes;
        result.quotes += (size_t)__builtin_popcountll(quotes);
        for (; ends != 0; ends &= ends - 1) {
            positions[result.count++] = (uint32_t)(i + (size_t)__builtin_ctzll(ends));
        }
    }
    result.scanned = i < end ? i : end;
    return result;
}

#if defined(__x86_64__)

TARGET_AVX2 static inline uint64_t prefix_xor_clmul(uint64_t bits) {
    __m128i x = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)bits), _mm_set1_epi8(-1), 0);
    return (uint64_t)_mm_cvtsi128_si64(x);
}

TARGET_AVX2 static inline uint64_t equal_avx2(__m256i low, __m256i high, __m256i byte) {
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, byte)) |
           (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, byte)) << 32;
}

/* Writes eight at a time whether they are there or not: most blocks need one round, and a loop
 * that ran once for each bit would mispredict its end. */
TARGET_AVX2 static inline size_t flatten_avx2(uint64_t bits, uint32_t base, uint32_t *to) {
    size_t count = (size_t)_mm_popcnt_u64(bits);
    for (size_t done = 0; done < count; done += 8) {
        for (size_t k = 0; k < 8; k++) {
            to[done + k] = base + (uint32_t)_tzcnt_u64(bits);
            bits = _blsr_u64(bits);
        }
    }
    return count;
}

TARGET_AVX2 static scan_csv_result scan_csv_avx2(const uint8_t *p, size_t n, uint8_t delimiter,
                                                 uint8_t quote, uint64_t *in_quote,
                                                 uint32_t *positions, size_t capacity,
                                                 uint64_t *quote_bits) {
    const __m256i comma = _mm256_set1_epi8((char)delimiter), line = _mm256_set1_epi8('\n');
    const __m256i mark = _mm256_set1_epi8((char)quote);
    const uint64_t quoting = quote == 0 ? 0 : ~(uint64_t)0;
    scan_csv_result result = {0, 0, 0};
    size_t end = bytes_taken(n), i = 0;
    uint64_t carried = *in_quote;
    for (; i < end && capacity - result.count >= 64; i += 64) {
        uint8_t rest[64];
        const uint8_t *block = p + i;
        uint64_t valid = ~(uint64_t)0;
        if (end - i < 64) {
            memset(rest, 0, sizeof rest);
            memcpy(rest, block, end - i);
            block = rest;
            valid = ((uint64_t)1 << (end - i)) - 1;
        }
        __m256i low = _mm256_loadu_si256((const __m256i *)block);
        __m256i high = _mm256_loadu_si256((const __m256i *)(block + 32));
        uint64_t quotes = equal_avx2(low, high, mark) & quoting & valid;
        uint64_t inside = prefix_xor_clmul(quotes) ^ carried;
        carried = all_if_last(inside);
        uint64_t ends = equal_avx2(low, high, comma) | equal_avx2(low, high, line);
        if (quote_bits != NULL) quote_bits[i / 64] = quotes;
        result.quotes += (size_t)_mm_popcnt_u64(quotes);
        result.count +=
            flatten_avx2(ends & valid & ~inside, (uint32_t)i, positions + result.count);
    }
    *in_quote = carried;
    result.scanned = i < end ? i : end;
    return result;
}

/* Bit numbers are packed as bytes, then widened sixteen at a time. */
TARGET_AVX512 static inline size_t flatten_avx512(uint64_t bits, __m512i numbers, uint32_t base,
                                                  uint32_t *to) {
    size_t count = (size_t)_mm_popcnt_u64(bits);
    const __m512i first = _mm512_set1_epi32((int)base);
    __m512i packed = _mm512_maskz_compress_epi8(bits, numbers);
    _mm512_storeu_si512(
        to, _mm512_add_epi32(first, _mm512_cvtepu8_epi32(_mm512_castsi512_si128(packed))));
    if (count > 16) {
        __m128i part = _mm512_extracti32x4_epi32(packed, 1);
        _mm512_storeu_si512(to + 16, _mm512_add_epi32(first, _mm512_cvtepu8_epi32(part)));
    }
    if (count > 32) {
        __m128i part = _mm512_extracti32x4_epi32(packed, 2);
        _mm512_storeu_si512(to + 32, _mm512_add_epi32(first, _mm512_cvtepu8_epi32(part)));
        part = _mm512_extracti32x4_epi32(packed, 3);
        _mm512_storeu_si512(to + 48, _mm512_add_epi32(first, _mm512_cvtepu8_epi32(part)));
    }
    return count;
}

TARGET_AVX512 static scan_csv_result scan_csv_avx512(const uint8_t *p, size_t n, uint8_t delimiter,
                                                     uint8_t quote, uint64_t *in_quote,
                                                     uint32_t *positions, size_t capacity,
                                                     uint64_t *quote_bits) {
    uint8_t number[64];
    for (unsigned k = 0; k < 64; k++) number[k] = (uint8_t)k;
    const __m512i numbers = _mm512_loadu_si512(number);
    const __m512i comma = _mm512_set1_epi8((char)delimiter), line = _mm512_set1_epi8('\n');
    const __m512i mark = _mm512_set1_epi8((char)quote);
    const uint64_t quoting = quote == 0 ? 0 : ~(uint64_t)0;
    scan_csv_result result = {0, 0, 0};
    size_t end = bytes_taken(n), i = 0;
    uint64_t carried = *in_quote;
    for (; i < end && capacity - result.count >= 64; i += 64) {
        __mmask64 valid =
            end - i >= 64 ? ~(uint64_t)0 : _bzhi_u64(~(uint64_t)0, (unsigned)(end - i));
        __m512i x = _mm512_maskz_loadu_epi8(valid, p + i);
        uint64_t quotes = _mm512_cmpeq_epi8_mask(x, mark) & quoting & valid;
        uint64_t inside = prefix_xor_clmul(quotes) ^ carried;
        carried = all_if_last(inside);
        uint64_t ends = _mm512_cmpeq_epi8_mask(x, comma) | _mm512_cmpeq_epi8_mask(x, line);
        if (quote_bits != NULL) quote_bits[i / 64] = quotes;
        result.quotes += (size_t)_mm_popcnt_u64(quotes);
        result.count += flatten_avx512(ends & valid & ~inside, numbers, (uint32_t)i,
                                       positions + result.count);
    }
    *in_quote = carried;
    result.scanned = i < end ? i : end;
    return result;
}
#endif

scan_csv_kernel *scan_csv_kernel_at(cpu_level level) {
#if defined(__x86_64__)
    if (level == CPU_AVX512) return scan_csv_avx512;
    if (level == CPU_AVX2) return scan_csv_avx2;
#endif
    (void)level;
    return scan_csv_plain;
}

scan_csv_result scan_csv(const uint8_t *p, size_t n, uint8_t delimiter, uint8_t quote,
                         uint64_t *in_quote, uint32_t *positions, size_t capacity,
                         uint64_t *quote_bits) {
    return scan_csv_kernel_at(cpu_level_here())(p, n, delimiter, quote, in_quote, positions,
                                                capacity, quote_bits);
}
