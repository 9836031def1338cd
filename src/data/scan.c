/* scan.c: bitmaps of byte sets, counting and lower case: plain, AVX2 and AVX-512. */
#include "data/scan_internal.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

scan_set scan_set_make(const void *bytes, size_t count) {
    const uint8_t *values = bytes;
    scan_set set = {{0, 0, 0, 0}};
    for (size_t i = 0; i < 4 && count > 0; i++) set.bytes[i] = values[i < count ? i : 0];
    return set;
}

/* Plain: eight bytes at a time in a register, little-endian as every machine we build for. */

static inline uint64_t load8(const uint8_t *p) {
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

static void bitmap_plain(const uint8_t *p, size_t n, scan_set set, uint64_t *bits) {
    const uint64_t a = REPEAT8(set.bytes[0]), b = REPEAT8(set.bytes[1]);
    const uint64_t c = REPEAT8(set.bytes[2]), d = REPEAT8(set.bytes[3]);
    memset(bits, 0, SCAN_WORDS(n) * sizeof *bits);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t x = load8(p + i);
        uint64_t hit = zero_bytes_to_bits(x ^ a) | zero_bytes_to_bits(x ^ b) |
                       zero_bytes_to_bits(x ^ c) | zero_bytes_to_bits(x ^ d);
        bits[i / 64] |= hit << (i % 64);
    }
    for (; i < n; i++) {
        uint64_t hit = p[i] == set.bytes[0] || p[i] == set.bytes[1] || p[i] == set.bytes[2] ||
                       p[i] == set.bytes[3];
        bits[i / 64] |= hit << (i % 64);
    }
}

static void space_bitmap_plain(const uint8_t *p, size_t n, uint64_t *bits) {
    for (size_t word = 0; word < SCAN_WORDS(n); word++) {
        const uint8_t *block = p + word * 64;
        size_t length = n - word * 64 < 64 ? n - word * 64 : 64;
        uint64_t hits = 0;
        for (size_t i = 0; i < length; i++) {
            uint64_t hit = (block[i] == ' ') | ((uint8_t)(block[i] - '\t') < 5);
            hits |= hit << i;
        }
        bits[word] = hits;
    }
}

static size_t count_plain(const uint8_t *p, size_t n, uint8_t byte) {
    size_t total = 0;
    while (n > 0) {
        size_t length = n < 192 ? n : 192; /* so that a byte can count it, in vectors */
        uint8_t count = 0;
        for (size_t i = 0; i < length; i++) count += p[i] == byte;
        total += count;
        p += length;
        n -= length;
    }
    return total;
}

static void lower_plain(uint8_t *to, const uint8_t *from, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint8_t c = from[i];
        to[i] = (uint8_t)(c + ((uint8_t)(c - 'A') < 26 ? 32 : 0));
    }
}

#if defined(__x86_64__)

/* AVX2: two registers make one word of 64 bits; what is left over goes through a copy. */

TARGET_AVX2 static inline uint64_t mask64_avx2(__m256i low, __m256i high) {
    return (uint32_t)_mm256_movemask_epi8(low) |
           (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

typedef struct set_avx2 {
    __m256i a, b, c, d;
} set_avx2;

TARGET_AVX2 static inline __m256i in_set_avx2(__m256i x, const set_avx2 *s) {
    return _mm256_or_si256(
        _mm256_or_si256(_mm256_cmpeq_epi8(x, s->a), _mm256_cmpeq_epi8(x, s->b)),
        _mm256_or_si256(_mm256_cmpeq_epi8(x, s->c), _mm256_cmpeq_epi8(x, s->d)));
}

TARGET_AVX2 static inline uint64_t set_word_avx2(const uint8_t *p, const set_avx2 *s) {
    return mask64_avx2(in_set_avx2(_mm256_loadu_si256((const __m256i *)p), s),
                       in_set_avx2(_mm256_loadu_si256((const __m256i *)(p + 32)), s));
}

TARGET_AVX2 static void bitmap_avx2(const uint8_t *p, size_t n, scan_set set, uint64_t *bits) {
    const set_avx2 s = {
        _mm256_set1_epi8((char)set.bytes[0]), _mm256_set1_epi8((char)set.bytes[1]),
        _mm256_set1_epi8((char)set.bytes[2]), _mm256_set1_epi8((char)set.bytes[3])};
    size_t i = 0;
    for (; i + 64 <= n; i += 64) bits[i / 64] = set_word_avx2(p + i, &s);
    if (i < n) {
        uint8_t rest[64] = {0};
        memcpy(rest, p + i, n - i);
        bits[i / 64] = _bzhi_u64(set_word_avx2(rest, &s), (unsigned)(n - i));
    }
}

TARGET_AVX2 static inline __m256i spaces_avx2(__m256i x) {
    /* Looked up by the low four bits: the only space with those bits; a byte above 127 gives 0. */
    const __m256i table = _mm256_setr_epi8(' ', -1, -1, -1, -1, -1, -1, -1, -1, '\t', '\n', '\v',
                                           '\f', '\r', -1, -1, ' ', -1, -1, -1, -1, -1, -1, -1, -1,
                                           '\t', '\n', '\v', '\f', '\r', -1, -1);
    return _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, x), x);
}

TARGET_AVX2 static inline uint64_t space_word_avx2(const uint8_t *p) {
    return mask64_avx2(spaces_avx2(_mm256_loadu_si256((const __m256i *)p)),
                       spaces_avx2(_mm256_loadu_si256((const __m256i *)(p + 32))));
}

TARGET_AVX2 static void space_bitmap_avx2(const uint8_t *p, size_t n, uint64_t *bits) {
    size_t i = 0;
    for (; i + 64 <= n; i += 64) bits[i / 64] = space_word_avx2(p + i);
    if (i < n) {
        uint8_t rest[64] = {0};
        memcpy(rest, p + i, n - i);
        bits[i / 64] = _bzhi_u64(space_word_avx2(rest), (unsigned)(n - i));
    }
}

TARGET_AVX2 static size_t count_avx2(const uint8_t *p, size_t n, uint8_t byte) {
    const __m256i wanted = _mm256_set1_epi8((char)byte);
    size_t i = 0, total = 0;
    for (; i + 64 <= n; i += 64) {
        __m256i low = _mm256_loadu_si256((const __m256i *)(p + i));
        __m256i high = _mm256_loadu_si256((const __m256i *)(p + i + 32));
        total += (size_t)_mm_popcnt_u64(
            mask64_avx2(_mm256_cmpeq_epi8(low, wanted), _mm256_cmpeq_epi8(high, wanted)));
    }
    for (; i < n; i++) total += p[i] == byte;
    return total;
}

TARGET_AVX2 static void lower_avx2(uint8_t *to, const uint8_t *from, size_t n) {
    const __m256i before_a = _mm256_set1_epi8('A' - 1), after_z = _mm256_set1_epi8('Z' + 1);
    const __m256i bit = _mm256_set1_epi8(32);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(from + i));
        __m256i upper =
            _mm256_and_si256(_mm256_cmpgt_epi8(x, before_a), _mm256_cmpgt_epi8(after_z, x));
        x = _mm256_or_si256(x, _mm256_and_si256(upper, bit));
        _mm256_storeu_si256((__m256i *)(to + i), x);
    }
    lower_plain(to + i, from + i, n - i);
}

/* AVX-512: a register is a word of 64 bits; masked loads read nothing past the end. */

TARGET_AVX512 static inline __mmask64 mask_below(size_t n) {
    return n >= 64 ? ~(uint64_t)0 : _bzhi_u64(~(uint64_t)0, (unsigned)n);
}

TARGET_AVX512 static void bitmap_avx512(const uint8_t *p, size_t n, scan_set set, uint64_t *bits) {
    const __m512i a = _mm512_set1_epi8((char)set.bytes[0]);
    const __m512i b = _mm512_set1_epi8((char)set.bytes[1]);
    const __m512i c = _mm512_set1_epi8((char)set.bytes[2]);
    const __m512i d = _mm512_set1_epi8((char)set.bytes[3]);
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 valid = mask_below(n - i);
        __m512i x = _mm512_maskz_loadu_epi8(valid, p + i);
        bits[i / 64] = valid & (_mm512_cmpeq_epi8_mask(x, a) | _mm512_cmpeq_epi8_mask(x, b) |
                                _mm512_cmpeq_epi8_mask(x, c) | _mm512_cmpeq_epi8_mask(x, d));
    }
}

TARGET_AVX512 static void space_bitmap_avx512(const uint8_t *p, size_t n, uint64_t *bits) {
    const __m512i tab = _mm512_set1_epi8('\t'), five = _mm512_set1_epi8(5);
    const __m512i blank = _mm512_set1_epi8(' ');
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 valid = mask_below(n - i);
        __m512i x = _mm512_maskz_loadu_epi8(valid, p + i); /* a zero byte is no space */
        bits[i / 64] = _mm512_cmplt_epu8_mask(_mm512_sub_epi8(x, tab), five) |
                       _mm512_cmpeq_epi8_mask(x, blank);
    }
}

TARGET_AVX512 static size_t count_avx512(const uint8_t *p, size_t n, uint8_t byte) {
    const __m512i wanted = _mm512_set1_epi8((char)byte);
    size_t total = 0;
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 valid = mask_below(n - i);
        __m512i x = _mm512_maskz_loadu_epi8(valid, p + i);
        total += (size_t)_mm_popcnt_u64(_mm512_mask_cmpeq_epi8_mask(valid, x, wanted));
    }
    return total;
}

TARGET_AVX512 static void lower_avx512(uint8_t *to, const uint8_t *from, size_t n) {
    const __m512i a = _mm512_set1_epi8('A'), letters = _mm512_set1_epi8(26);
    const __m512i bit = _mm512_set1_epi8(32);
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 valid = mask_below(n - i);
        __m512i x = _mm512_maskz_loadu_epi8(valid, from + i);
        __mmask64 upper = _mm512_cmplt_epu8_mask(_mm512_sub_epi8(x, a), letters);
        _mm512_mask_storeu_epi8(to + i, valid, _mm512_mask_add_epi8(x, upper, x, bit));
    }
}
#endif

const scan_kernels *scan_kernels_at(cpu_level level) {
    static const scan_kernels plain = {bitmap_plain, space_bitmap_plain, count_plain, lower_plain};
#if defined(__x86_64__)
    static const scan_kernels avx2 = {bitmap_avx2, space_bitmap_avx2, count_avx2, lower_avx2};
    static const scan_kernels avx512 = {bitmap_avx512, space_bitmap_avx512, count_avx512,
                                        lower_avx512};
    if (level == CPU_AVX512) return &avx512;
    if (level == CPU_AVX2) return &avx2;
#endif
    (void)level;
    return &plain;
}

void scan_bitmap(const uint8_t *p, size_t n, scan_set set, uint64_t *bits) {
    scan_kernels_at(cpu_level_here())->bitmap(p, n, set, bits);
}

void scan_space_bitmap(const uint8_t *p, size_t n, uint64_t *bits) {
    scan_kernels_at(cpu_level_here())->space_bitmap(p, n, bits);
}

size_t count_byte(const uint8_t *p, size_t n, uint8_t byte) {
    return scan_kernels_at(cpu_level_here())->count(p, n, byte);
}

void ascii_lower_copy(uint8_t *to, const uint8_t *from, size_t n) {
    scan_kernels_at(cpu_level_here())->lower(to, from, n);
}
