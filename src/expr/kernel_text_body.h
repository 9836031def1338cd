/* kernel_text_body.h: the loops over the bytes of one text, included by kernel_set_body.h. */
#ifndef EXPR_KERNEL_TEXT_BODY_H
#define EXPR_KERNEL_TEXT_BODY_H

#ifdef KERNELS_AVX512
static uint32_t count_points(const uint8_t *p, uint32_t n) {
    const __m512i continuing = _mm512_set1_epi8(-64); /* bytes 10xxxxxx are below, as signed ones */
    uint32_t points = n;
    for (uint32_t i = 0; i < n; i += 64) {
        const uint64_t here = low_bits(n - i);
        const __m512i x = _mm512_maskz_loadu_epi8(here, p + i);
        points -= (uint32_t)__builtin_popcountll(_mm512_mask_cmplt_epi8_mask(here, x, continuing));
    }
    return points;
}

static bool all_ascii(const uint8_t *p, uint32_t n) {
    uint64_t high = 0;
    for (uint32_t i = 0; i < n && !high; i += 64) {
        high = _mm512_movepi8_mask(_mm512_maskz_loadu_epi8(low_bits(n - i), p + i));
    }
    return !high;
}

static bool ascii_case(const uint8_t *p, uint32_t n, bool upper, uint8_t *to, bool *changed) {
    const __m512i first = _mm512_set1_epi8(upper ? 'a' : 'A'), flip = _mm512_set1_epi8(0x20);
    uint64_t any = 0;
    for (uint32_t i = 0; i < n; i += 64) {
        const uint64_t here = low_bits(n - i);
        const __m512i x = _mm512_maskz_loadu_epi8(here, p + i);
        if (_mm512_movepi8_mask(x)) return false;
        const uint64_t letters = _mm512_cmplt_epu8_mask(_mm512_sub_epi8(x, first), _mm512_set1_epi8(26));
        any |= letters;
        _mm512_mask_storeu_epi8(to + i, here, _mm512_mask_blend_epi8(letters, x, _mm512_xor_si512(x, flip)));
    }
    *changed = any != 0;
    return true;
}

/* Candidates are where first and last byte fit: Wojciech Mula, "SIMD-friendly algorithms for substring
 * searching", 2016. When candidates keep failing, the rest is left to the C library's linear search. */
static const uint8_t *find_bytes(const uint8_t *p, size_t n, const uint8_t *part, size_t m) {
    if (m == 0) return p;
    if (m > n) return NULL;
    const __m512i first = _mm512_set1_epi8((char)part[0]), last = _mm512_set1_epi8((char)part[m - 1]);
    const size_t places = n - m + 1;
    size_t spent = 0;
    for (size_t i = 0; i < places; i += 64) {
        const uint64_t here = places - i >= 64 ? ~UINT64_C(0) : low_bits((uint32_t)(places - i));
        const __m512i a = _mm512_maskz_loadu_epi8(here, p + i);
        const __m512i b = _mm512_maskz_loadu_epi8(here, p + i + m - 1);
        uint64_t hits = _mm512_mask_cmpeq_epi8_mask(_mm512_mask_cmpeq_epi8_mask(here, a, first), b, last);
        for (; hits; hits &= hits - 1) {
            const uint8_t *at = p + i + __builtin_ctzll(hits);
            if (m <= 2 || memcmp(at + 1, part + 1, m - 2) == 0) return at;
            spent += m;
            if (spent > 4096 + 4 * n) return memmem(at, (size_t)(p + n - at), part, m);
        }
    }
    return NULL;
}
#else
static uint32_t count_points(const uint8_t *p, uint32_t n) {
    uint32_t points = 0;
    for (uint32_t i = 0; i < n; i++) points += (p[i] & 0xc0) != 0x80;
    return points;
}

static bool all_ascii(const uint8_t *p, uint32_t n) {
    uint8_t any = 0;
    for (uint32_t i = 0; i < n; i++) any |= p[i];
    return any < 0x80;
}

#define HIGH_BITS UINT64_C(0x8080808080808080)
#define EACH_BYTE UINT64_C(0x0101010101010101)

/* Flips the letters from `first` to `last` among eight ASCII bytes. */
static inline uint64_t flip_case(uint64_t x, uint8_t first, uint8_t last) {
    uint64_t at_least = x + EACH_BYTE * (uint64_t)(0x80 - first); /* 0x80 where byte >= first */
    uint64_t beyond = x + EACH_BYTE * (uint64_t)(0x7f - last);
    return x ^ (at_least & ~beyond & HIGH_BITS) >> 2; /* 0x20 */
}

static bool ascii_case(const uint8_t *p, uint32_t n, bool upper, uint8_t *to, bool *changed) {
    const uint8_t first = upper ? 'a' : 'A', last = upper ? 'z' : 'Z';
    uint64_t any = 0, x, y;
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(&x, p + i, 8);
        if (x & HIGH_BITS) return false;
        y = flip_case(x, first, last);
        any |= x ^ y;
        memcpy(to + i, &y, 8);
    }
    if (i < n) {
        x = 0;
        memcpy(&x, p + i, n - i);
        if (x & HIGH_BITS) return false;
        y = flip_case(x, first, last);
        any |= x ^ y;
        memcpy(to + i, &y, n - i);
    }
    *changed = any != 0;
    return true;
}

static const uint8_t *find_bytes(const uint8_t *p, size_t n, const uint8_t *part, size_t m) {
    return memmem(p, n, part, m);
}
#endif

#endif
