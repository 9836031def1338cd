/* utf8.c: validity, code points and offsets. Case is in utf8_case.c. */
#include "data/utf8.h"

#include <stdint.h>
#include <string.h>

#include "data/utf8_internal.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define HIGH_BITS UINT64_C(0x8080808080808080)

static inline uint64_t load8(const char *p) {
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

static inline bool is_continuation(char c) { return ((uint8_t)c & 0xc0) == 0x80; }

bool utf8_valid_plain(const char *p, size_t n) {
    size_t i = 0;
    while (i < n) {
        if (n - i >= 8 && (load8(p + i) & HIGH_BITS) == 0) {
            i += 8;
            continue;
        }
        size_t length = utf8_sequence_length(p + i, n - i);
        if (length == 0) return false;
        i += length;
    }
    return true;
}

/* Short text is mostly ASCII and then needs two loads; the vectors cost a call and a copy of what
 * is less than a block. */
bool utf8_valid(const char *p, size_t n) {
    if (n > 64) return utf8_valid_vectors(p, n);
    uint64_t seen = 0;
    if (n >= 8) {
        for (size_t i = 0; i + 8 <= n; i += 8) seen |= load8(p + i);
        seen |= load8(p + n - 8);
    } else {
        for (size_t i = 0; i < n; i++) seen |= (uint64_t)(uint8_t)p[i];
    }
    return (seen & HIGH_BITS) == 0 || utf8_valid_plain(p, n);
}

/* A code point begins at every byte that is not 10xxxxxx. The lowest bit of each byte of the result
 * says so. */
static inline uint64_t starts8(const char *p) {
    uint64_t x = load8(p);
    return ((~x >> 7) | (x >> 6)) & UINT64_C(0x0101010101010101);
}

static inline size_t count_starts8(const char *p) {
    return (size_t)((starts8(p) * UINT64_C(0x0101010101010101)) >> 56);
}

static size_t length_plain(const char *p, size_t n) {
    size_t count = 0, i = 0;
    for (; i + 8 <= n; i += 8) count += count_starts8(p + i);
    for (; i < n; i++) count += !is_continuation(p[i]);
    return count;
}

static size_t offset_plain(const char *p, size_t n, size_t index) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        size_t starts = count_starts8(p + i);
        if (starts > index) break;
        index -= starts;
    }
    for (; i < n; i++) {
        if (!is_continuation(p[i]) && index-- == 0) return i;
    }
    return n;
}

#if defined(__x86_64__)

TARGET_AVX2 static inline uint64_t starts64_avx2(const char *p) {
    const __m256i last_continuation = _mm256_set1_epi8(-65); /* 0xbf; they are the least bytes */
    __m256i low = _mm256_loadu_si256((const __m256i *)p);
    __m256i high = _mm256_loadu_si256((const __m256i *)(p + 32));
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(low, last_continuation)) |
           (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(high, last_continuation))
               << 32;
}

TARGET_AVX2 static size_t length_avx2(const char *p, size_t n) {
    size_t count = 0, i = 0;
    for (; i + 64 <= n; i += 64) count += (size_t)_mm_popcnt_u64(starts64_avx2(p + i));
    return count + length_plain(p + i, n - i);
}

TARGET_AVX2 static size_t offset_avx2(const char *p, size_t n, size_t index) {
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        size_t starts = (size_t)_mm_popcnt_u64(starts64_avx2(p + i));
        if (starts > index) break;
        index -= starts;
    }
    return i + offset_plain(p + i, n - i, index);
}

TARGET_AVX512 static inline uint64_t starts64_avx512(const char *p, size_t n) {
    __mmask64 valid = n >= 64 ? ~(uint64_t)0 : _bzhi_u64(~(uint64_t)0, (unsigned)n);
    return _mm512_mask_cmpgt_epi8_mask(valid, _mm512_maskz_loadu_epi8(valid, p),
                                       _mm512_set1_epi8(-65));
}

TARGET_AVX512 static size_t length_avx512(const char *p, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i += 64) {
        count += (size_t)_mm_popcnt_u64(starts64_avx512(p + i, n - i));
    }
    return count;
}

TARGET_AVX512 static size_t offset_avx512(const char *p, size_t n, size_t index) {
    for (size_t i = 0; i < n; i += 64) {
        uint64_t bits = starts64_avx512(p + i, n - i);
        size_t starts = (size_t)_mm_popcnt_u64(bits);
        if (starts > index) return i + (size_t)_tzcnt_u64(_pdep_u64((uint64_t)1 << index, bits));
        index -= starts;
    }
    return n;
}
#endif

size_t utf8_length_at(cpu_level level, const char *p, size_t n) {
#if defined(__x86_64__)
    if (level == CPU_AVX512) return length_avx512(p, n);
    if (level == CPU_AVX2) return length_avx2(p, n);
#endif
    (void)level;
    return length_plain(p, n);
}

size_t utf8_offset_at(cpu_level level, const char *p, size_t n, size_t index) {
#if defined(__x86_64__)
    if (level == CPU_AVX512) return offset_avx512(p, n, index);
    if (level == CPU_AVX2) return offset_avx2(p, n, index);
#endif
    (void)level;
    return offset_plain(p, n, index);
}

size_t utf8_length(const char *p, size_t n) { return utf8_length_at(cpu_level_here(), p, n); }

size_t utf8_offset(const char *p, size_t n, size_t index) {
    return utf8_offset_at(cpu_level_here(), p, n, index);
}
