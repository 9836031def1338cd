/* kernel_set_body.h: the loops of kernel_set.h, included once per instruction set by a file that
 * defines KERNELS_NAME, KERNELS_TEXT and, for intrinsics, KERNELS_AVX512. Plain loops that the compiler
 * turns into vectors; by hand only what makes or reads bitmaps. */
#ifndef EXPR_KERNEL_SET_BODY_H
#define EXPR_KERNEL_SET_BODY_H

#define RESTRICT __restrict__

/* ---- arithmetic ----
 * F(name, type, expression of x and y giving r, expression that sets `failed`) in three shapes. */
#define ARITH_SHAPE(NAME, TYPE, A, B, FLAG, BODY)                                                  \
    static bool NAME(const void *av, const void *bv, void *outv, uint32_t n) {                     \
        const TYPE *RESTRICT a = av, *RESTRICT b = bv;                                             \
        TYPE *RESTRICT out = outv;                                                                 \
        FLAG failed = 0;                                                                           \
        const TYPE a0 = *a, b0 = *b;                                                               \
        (void)a0, (void)b0;                                                                        \
        for (uint32_t i = 0; i < n; i++) {                                                         \
            const TYPE x = A, y = B;                                                               \
            TYPE r;                                                                                \
            BODY;                                                                                  \
            out[i] = r;                                                                            \
        }                                                                                          \
        return failed != 0;                                                                        \
    }
#define ARITH(NAME, TYPE, FLAG, BODY)                                                              \
    ARITH_SHAPE(NAME##_runs, TYPE, a[i], b[i], FLAG, BODY)                                         \
    ARITH_SHAPE(NAME##_constant, TYPE, a[i], b0, FLAG, BODY)                                       \
    ARITH_SHAPE(NAME##_of_constant, TYPE, a0, b[i], FLAG, BODY)

/* The sign of (x ^ r) & (y ^ r) says that a sum overflowed. */
ARITH(add_i32, int32_t, uint32_t,
      r = (int32_t)((uint32_t)x + (uint32_t)y);
      failed |= (uint32_t)((x ^ r) & (y ^ r)) >> 31)
ARITH(add_i64, int64_t, uint64_t,
      r = (int64_t)((uint64_t)x + (uint64_t)y);
      failed |= (uint64_t)((x ^ r) & (y ^ r)) >> 63)
ARITH(subtract_i32, int32_t, uint32_t,
      r = (int32_t)((uint32_t)x - (uint32_t)y);
      failed |= (uint32_t)((x ^ y) & (x ^ r)) >> 31)
ARITH(subtract_i64, int64_t, uint64_t,
      r = (int64_t)((uint64_t)x - (uint64_t)y);
      failed |= (uint64_t)((x ^ y) & (x ^ r)) >> 63)
ARITH(multiply_i32, int32_t, uint64_t,
      int64_t wide = (int64_t)x * y;
      r = (int32_t)(uint32_t)wide;
      failed |= (uint64_t)(wide != r))
/* A product below 9.2e18 in double is certainly below 2^63: both factors and the product are off by
 * at most three parts in 2^53. */
ARITH(multiply_i64, int64_t, uint64_t,
      r = (int64_t)((uint64_t)x * (uint64_t)y);
      failed |= (uint64_t)!(__builtin_fabs((double)x * (double)y) < 9.2e18))

ARITH(add_f32, float, int, r = x + y)
ARITH(add_f64, double, int, r = x + y)
ARITH(subtract_f32, float, int, r = x - y)
ARITH(subtract_f64, double, int, r = x - y)
ARITH(multiply_f32, float, int, r = x * y)
ARITH(multiply_f64, double, int, r = x * y)
ARITH(divide_f32, float, uint32_t, r = x / y; failed |= (uint32_t)(y == 0))
ARITH(divide_f64, double, uint64_t, r = x / y; failed |= (uint64_t)(y == 0))

/* int32 division goes through double exactly. */
ARITH(divide_whole_i32, int32_t, uint64_t,
      uint64_t bad = (uint64_t)(y == 0) | ((uint64_t)(y == -1) & (uint64_t)(x == INT32_MIN));
      failed |= bad;
      r = (int32_t)(bad ? 0.0 : (double)x / (double)y))
ARITH(remainder_i32, int32_t, uint64_t,
      uint64_t bad = (uint64_t)(y == 0) | ((uint64_t)(y == -1) & (uint64_t)(x == INT32_MIN));
      failed |= bad;
      int32_t q = (int32_t)(bad ? 0.0 : (double)x / (double)y);
      r = (int32_t)((uint32_t)x - (uint32_t)q * (uint32_t)y))
/* A quotient of integers up to 2^53, rounded to the nearest double, is not rounded up past a whole
 * number: it is at least 1/y below it, which is more than half a unit in the last place. */
#ifdef KERNELS_AVX512
ARITH(divide_whole_i64, int64_t, uint64_t,
      uint64_t bad = (uint64_t)(y == 0) |
                     ((uint64_t)((uint64_t)x + (UINT64_C(1) << 53)) > (UINT64_C(1) << 54)) |
                     ((uint64_t)((uint64_t)y + (UINT64_C(1) << 53)) > (UINT64_C(1) << 54));
      failed |= bad;
      r = (int64_t)(bad ? 0.0 : (double)x / (double)y))
ARITH(remainder_i64, int64_t, uint64_t,
      uint64_t bad = (uint64_t)(y == 0) |
                     ((uint64_t)((uint64_t)x + (UINT64_C(1) << 53)) > (UINT64_C(1) << 54)) |
                     ((uint64_t)((uint64_t)y + (UINT64_C(1) << 53)) > (UINT64_C(1) << 54));
      failed |= bad;
      int64_t q = (int64_t)(bad ? 0.0 : (double)x / (double)y);
      r = (int64_t)((uint64_t)x - (uint64_t)q * (uint64_t)y))
#else /* no vectors between int64 and double: left to the exact code */
ARITH(divide_whole_i64, int64_t, uint64_t, r = 0; failed = (uint64_t)(x == x) | (uint64_t)y)
ARITH(remainder_i64, int64_t, uint64_t, r = 0; failed = (uint64_t)(x == x) | (uint64_t)y)
#endif
ARITH(divide_whole_f32, float, uint32_t, r = __builtin_truncf(x / y); failed |= (uint32_t)(y == 0))
ARITH(divide_whole_f64, double, uint64_t, r = __builtin_trunc(x / y); failed |= (uint64_t)(y == 0))
ARITH(remainder_f32, float, uint32_t, r = __builtin_fmodf(x, y); failed |= (uint32_t)(y == 0))
ARITH(remainder_f64, double, uint64_t, r = __builtin_fmod(x, y); failed |= (uint64_t)(y == 0))

ARITH(least_i32, int32_t, int, r = x < y ? x : y)
ARITH(least_i64, int64_t, int, r = x < y ? x : y)
ARITH(greatest_i32, int32_t, int, r = x > y ? x : y)
ARITH(greatest_i64, int64_t, int, r = x > y ? x : y)
/* NaN is the greatest. */
ARITH(least_f32, float, int, r = ((x < y) | (y != y)) ? x : y)
ARITH(least_f64, double, int, r = ((x < y) | (y != y)) ? x : y)
ARITH(greatest_f32, float, int, r = ((x > y) | (x != x)) ? x : y)
ARITH(greatest_f64, double, int, r = ((x > y) | (x != x)) ? x : y)

/* ---- one operand ---- */
#define UNARY(NAME, FROM, TO, FLAG, BODY)                                                          \
    static bool NAME(const void *av, void *outv, uint32_t n) {                                     \
        const FROM *RESTRICT a = av;                                                               \
        TO *RESTRICT out = outv;                                                                   \
        FLAG failed = 0;                                                                           \
        for (uint32_t i = 0; i < n; i++) {                                                         \
            const FROM x = a[i];                                                                   \
            TO r;                                                                                  \
            BODY;                                                                                  \
            out[i] = r;                                                                            \
        }                                                                                          \
        return failed != 0;                                                                        \
    }

UNARY(negate_i32, int32_t, int32_t, uint32_t,
      r = (int32_t)(0 - (uint32_t)x); failed |= (uint32_t)(x == INT32_MIN))
UNARY(negate_i64, int64_t, int64_t, uint64_t,
      r = (int64_t)(0 - (uint64_t)x); failed |= (uint64_t)(x == INT64_MIN))
UNARY(negate_f32, float, float, int, r = -x)
UNARY(negate_f64, double, double, int, r = -x)
UNARY(abs_i32, int32_t, int32_t, uint32_t,
      r = x < 0 ? (int32_t)(0 - (uint32_t)x) : x; failed |= (uint32_t)(x == INT32_MIN))
UNARY(abs_i64, int64_t, int64_t, uint64_t,
      r = x < 0 ? (int64_t)(0 - (uint64_t)x) : x; failed |= (uint64_t)(x == INT64_MIN))
UNARY(abs_f32, float, float, int, r = __builtin_fabsf(x))
UNARY(abs_f64, double, double, int, r = __builtin_fabs(x))

#ifdef KERNELS_AVX512
/* The compiler leaves these alone, for the sake of errno and exceptions. */
#define UNARY_VECTOR(NAME, TYPE, LANES, LOAD, STORE, MASK, EXPRESSION)                             \
    static bool NAME(const void *av, void *outv, uint32_t n) {                                     \
        const TYPE *a = av;                                                                        \
        TYPE *out = outv;                                                                          \
        for (uint32_t i = 0; i < n; i += LANES) {                                                  \
            const MASK m = n - i >= LANES ? (MASK)-1 : (MASK)((1u << (n - i)) - 1);                \
            const __auto_type x = LOAD(m, a + i);                                                  \
            STORE(out + i, m, EXPRESSION);                                                         \
        }                                                                                          \
        return false;                                                                              \
    }
#define ROUND_WAY(how) ((how) | _MM_FROUND_NO_EXC)
/* Half away from zero: trunc(x + just under a half, with x's sign). */
#define JUST_UNDER_HALF_F64                                                                        \
    _mm512_or_pd(_mm512_and_pd(x, _mm512_set1_pd(-0.0)), _mm512_set1_pd(0x1.fffffffffffffp-2))
#define JUST_UNDER_HALF_F32                                                                        \
    _mm512_or_ps(_mm512_and_ps(x, _mm512_set1_ps(-0.0f)), _mm512_set1_ps(0x1.fffffep-2f))
#define UNARY_F64(NAME, EXPRESSION)                                                                \
    UNARY_VECTOR(NAME, double, 8, _mm512_maskz_loadu_pd, _mm512_mask_storeu_pd, __mmask8, EXPRESSION)
#define UNARY_F32(NAME, EXPRESSION)                                                                \
    UNARY_VECTOR(NAME, float, 16, _mm512_maskz_loadu_ps, _mm512_mask_storeu_ps, __mmask16, EXPRESSION)
UNARY_F64(floor_f64, _mm512_roundscale_pd(x, ROUND_WAY(_MM_FROUND_TO_NEG_INF)))
UNARY_F32(floor_f32, _mm512_roundscale_ps(x, ROUND_WAY(_MM_FROUND_TO_NEG_INF)))
UNARY_F64(ceil_f64, _mm512_roundscale_pd(x, ROUND_WAY(_MM_FROUND_TO_POS_INF)))
UNARY_F32(ceil_f32, _mm512_roundscale_ps(x, ROUND_WAY(_MM_FROUND_TO_POS_INF)))
UNARY_F64(round_f64, _mm512_roundscale_pd(_mm512_add_pd(x, JUST_UNDER_HALF_F64), ROUND_WAY(_MM_FROUND_TO_ZERO)))
UNARY_F32(round_f32, _mm512_roundscale_ps(_mm512_add_ps(x, JUST_UNDER_HALF_F32), ROUND_WAY(_MM_FROUND_TO_ZERO)))
UNARY_F64(sqrt_f64, _mm512_sqrt_pd(x))
UNARY_F32(sqrt_f32, _mm512_sqrt_ps(x))
#else
UNARY(floor_f32, float, float, int, r = __builtin_floorf(x))
UNARY(floor_f64, double, double, int, r = __builtin_floor(x))
UNARY(ceil_f32, float, float, int, r = __builtin_ceilf(x))
UNARY(ceil_f64, double, double, int, r = __builtin_ceil(x))
UNARY(round_f32, float, float, int, r = __builtin_roundf(x))
UNARY(round_f64, double, double, int, r = __builtin_round(x))
UNARY(sqrt_f32, float, float, int, r = __builtin_sqrtf(x))
UNARY(sqrt_f64, double, double, int, r = __builtin_sqrt(x))
#endif

/* ---- from one kind of number to another ---- */
UNARY(i32_to_i64, int32_t, int64_t, int, r = x)
UNARY(i32_to_f32, int32_t, float, int, r = (float)x)
UNARY(i32_to_f64, int32_t, double, int, r = (double)x)
UNARY(i64_to_i32, int64_t, int32_t, uint64_t, r = (int32_t)(uint32_t)(uint64_t)x; failed |= (uint64_t)(r != x))
UNARY(i64_to_f32, int64_t, float, int, r = (float)x)
UNARY(i64_to_f64, int64_t, double, int, r = (double)x)
#define FITS_I32_F64(v) ((v) > -2147483649.0 && (v) < 2147483648.0)
#define FITS_I32_F32(v) ((v) >= -2147483648.0f && (v) < 2147483648.0f)
#define FITS_I64(v) ((v) >= -0x1p63 && (v) < 0x1p63)
UNARY(f32_to_i32, float, int32_t, uint32_t,
      bool fits = FITS_I32_F32(x); r = (int32_t)(fits ? x : 0.0f); failed |= (uint32_t)!fits)
UNARY(f32_to_i64, float, int64_t, uint32_t,
      bool fits = FITS_I64(x); r = (int64_t)(fits ? x : 0.0f); failed |= (uint32_t)!fits)
UNARY(f32_to_f64, float, double, int, r = (double)x)
UNARY(f64_to_i32, double, int32_t, uint64_t,
      bool fits = FITS_I32_F64(x); r = (int32_t)(fits ? x : 0.0); failed |= (uint64_t)!fits)
UNARY(f64_to_i64, double, int64_t, uint64_t,
      bool fits = FITS_I64(x); r = (int64_t)(fits ? x : 0.0); failed |= (uint64_t)!fits)
UNARY(f64_to_f32, double, float, uint64_t,
      r = (float)x; failed |= (uint64_t)(__builtin_fabsf(r) > 0x1.fffffep127f) & (uint64_t)(__builtin_fabs(x) < __builtin_inf()))

/* ---- comparisons ---- */
#ifdef KERNELS_AVX512
/* 64 rows make one word of the bitmap, from 8 or 4 compare masks. */
#define COMPARE_SHAPE(NAME, TYPE, LANES, LOAD, MASKZ_LOAD, MASK, CMP, PREDICATE, BLOAD, MASKZ_BLOAD)  \
    static void NAME(const void *av, const void *bv, uint64_t *bits, uint32_t n) {                 \
        const TYPE *a = av, *b = bv;                                                               \
        const __auto_type constant = SET1_##TYPE(*b);                                              \
        (void)constant;                                                                            \
        uint32_t i = 0;                                                                            \
        for (; i + 64 <= n; i += 64) {                                                             \
            uint64_t word = 0;                                                                     \
            for (uint32_t k = 0; k < 64; k += LANES) {                                             \
                word |= (uint64_t)CMP(LOAD(a + i + k), BLOAD(b + i + k), PREDICATE) << k;          \
            }                                                                                      \
            bits[i >> 6] = word;                                                                   \
        }                                                                                          \
        if (i == n) return;                                                                        \
        uint64_t word = 0;                                                                         \
        for (uint32_t k = 0; i + k < n; k += LANES) {                                              \
            const uint32_t left = n - i - k;                                                       \
            const MASK m = left >= LANES ? (MASK)-1 : (MASK)((1u << left) - 1);                    \
            word |= (uint64_t)(m & CMP(MASKZ_LOAD(m, a + i + k), MASKZ_BLOAD(m, b + i + k), PREDICATE)) << k; \
        }                                                                                          \
        bits[i >> 6] = word;                                                                       \
    }
#define SET1_int32_t _mm512_set1_epi32
#define SET1_int64_t(v) _mm512_set1_epi64((long long)(v))
#define SET1_float _mm512_set1_ps
#define SET1_double _mm512_set1_pd
#define CONSTANT_LOAD(p) constant
#define CONSTANT_MASKZ_LOAD(m, p) constant
#define COMPARE(NAME, TYPE, LANES, LOAD, MASKZ_LOAD, MASK, CMP, PREDICATE)                         \
    COMPARE_SHAPE(NAME##_runs, TYPE, LANES, LOAD, MASKZ_LOAD, MASK, CMP, PREDICATE, LOAD, MASKZ_LOAD) \
    COMPARE_SHAPE(NAME##_constant, TYPE, LANES, LOAD, MASKZ_LOAD, MASK, CMP, PREDICATE, CONSTANT_LOAD, CONSTANT_MASKZ_LOAD)
#define COMPARE_INTEGERS(NAME, P)                                                                  \
    COMPARE(NAME##_i32, int32_t, 16, _mm512_loadu_si512, _mm512_maskz_loadu_epi32, __mmask16, _mm512_cmp_epi32_mask, P) \
    COMPARE(NAME##_i64, int64_t, 8, _mm512_loadu_si512, _mm512_maskz_loadu_epi64, __mmask8, _mm512_cmp_epi64_mask, P)
#define COMPARE_FLOATS(NAME, P)                                                                    \
    COMPARE(NAME##_f32, float, 16, _mm512_loadu_ps, _mm512_maskz_loadu_ps, __mmask16, _mm512_cmp_ps_mask, P) \
    COMPARE(NAME##_f64, double, 8, _mm512_loadu_pd, _mm512_maskz_loadu_pd, __mmask8, _mm512_cmp_pd_mask, P)
COMPARE_INTEGERS(equal, _MM_CMPINT_EQ)
COMPARE_INTEGERS(not_equal, _MM_CMPINT_NE)
COMPARE_INTEGERS(less, _MM_CMPINT_LT)
COMPARE_INTEGERS(less_equal, _MM_CMPINT_LE)
COMPARE_INTEGERS(greater, _MM_CMPINT_NLE)
COMPARE_INTEGERS(greater_equal, _MM_CMPINT_NLT)
COMPARE_FLOATS(equal, _CMP_EQ_OQ)
COMPARE_FLOATS(not_equal, _CMP_NEQ_UQ)
COMPARE_FLOATS(less, _CMP_LT_OQ)
COMPARE_FLOATS(less_equal, _CMP_LE_OQ)
COMPARE_FLOATS(greater, _CMP_GT_OQ)
COMPARE_FLOATS(greater_equal, _CMP_GE_OQ)
#else
/* 64 bytes of 0 and 1 make a word: eight times a multiplication that gathers eight low bits. */
static inline uint64_t word_of_bytes(const uint8_t *bytes) {
    uint64_t word = 0;
    for (uint32_t k = 0; k < 8; k++) {
        uint64_t eight = 0; /* byte by byte, for either byte order; one load where it is little */
        for (uint32_t j = 0; j < 8; j++) eight |= (uint64_t)bytes[k * 8 + j] << (j * 8);
        word |= (eight * UINT64_C(0x0102040810204080) >> 56) << (k * 8);
    }
    return word;
}
#define COMPARE_SHAPE(NAME, TYPE, Y, OPERATOR)                                                     \
    static void NAME(const void *av, const void *bv, uint64_t *bits, uint32_t n) {                 \
        const TYPE *RESTRICT a = av, *RESTRICT b = bv;                                             \
        const TYPE b0 = *b;                                                                        \
        (void)b0;                                                                                  \
        uint8_t bytes[64] = {0};                                                                   \
        uint32_t first = 0;                                                                        \
        for (; first + 64 <= n; first += 64) {                                                     \
            for (uint32_t i = 0; i < 64; i++) bytes[i] = a[first + i] OPERATOR Y;                  \
            bits[first >> 6] = word_of_bytes(bytes);                                               \
        }                                                                                          \
        if (first == n) return;                                                                    \
        memset(bytes, 0, sizeof bytes);                                                            \
        for (uint32_t i = 0; first + i < n; i++) bytes[i] = a[first + i] OPERATOR Y;               \
        bits[first >> 6] = word_of_bytes(bytes);                                                   \
    }
#define COMPARE(NAME, TYPE, OPERATOR)                                                              \
    COMPARE_SHAPE(NAME##_runs, TYPE, b[first + i], OPERATOR)                                       \
    COMPARE_SHAPE(NAME##_constant, TYPE, b0, OPERATOR)
#define COMPARE_NUMBERS(NAME, OPERATOR)                                                            \
    COMPARE(NAME##_i32, int32_t, OPERATOR)                                                         \
    COMPARE(NAME##_i64, int64_t, OPERATOR)                                                         \
    COMPARE(NAME##_f32, float, OPERATOR)                                                           \
    COMPARE(NAME##_f64, double, OPERATOR)
COMPARE_NUMBERS(equal, ==)
COMPARE_NUMBERS(not_equal, !=)
COMPARE_NUMBERS(less, <)
COMPARE_NUMBERS(less_equal, <=)
COMPARE_NUMBERS(greater, >)
COMPARE_NUMBERS(greater_equal, >=)
#endif

/* ---- bitmaps ---- */
static inline uint64_t low_bits(uint32_t n) { return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1; }

#ifdef KERNELS_AVX512
static void bits_from_bytes(const uint8_t *bytes, uint64_t *bits, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 64) {
        const __m512i x = _mm512_maskz_loadu_epi8(low_bits(n - i), bytes + i);
        bits[i >> 6] = _mm512_test_epi8_mask(x, x);
    }
}

static void bytes_from_bits(const uint64_t *bits, uint8_t *bytes, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 64) {
        _mm512_mask_storeu_epi8(bytes + i, low_bits(n - i),
                                _mm512_maskz_set1_epi8(bits[i >> 6], 1));
    }
}

static uint32_t rows_from_bits(const uint64_t *bits, uint32_t n, uint32_t first, uint32_t *rows) {
    const __m512i sixteen = _mm512_set1_epi32(16);
    __m512i row = _mm512_add_epi32(
        _mm512_set1_epi32((int)first),
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    uint32_t found = 0, i = 0;
    for (; i + 64 <= n; i += 64) {
        uint64_t word = bits[i >> 6];
        if (word == 0) { /* rare rows: most words are empty */
            row = _mm512_add_epi32(row, _mm512_set1_epi32(64));
            continue;
        }
        for (uint32_t k = 0; k < 64; k += 16, word >>= 16) {
            /* whole vectors: what is past the rows found so far is not past row i + k + 15 */
            _mm512_storeu_si512(rows + found, _mm512_maskz_compress_epi32((__mmask16)word, row));
            found += (uint32_t)__builtin_popcount((uint32_t)word & 0xffff);
            row = _mm512_add_epi32(row, sixteen);
        }
    }
    if (i < n) {
        for (uint64_t word = bits[i >> 6] & low_bits(n - i); word; word &= word - 1) {
            rows[found++] = first + i + (uint32_t)__builtin_ctzll(word);
        }
    }
    return found;
}

#define BLEND(NAME, TYPE, LANES, MASK, SET1, LOAD, STORE, MIX)                                     \
    static void NAME(const uint64_t *pick, const void *av, bool a_constant, const void *bv,        \
                     bool b_constant, void *outv, uint32_t n) {                                    \
        const TYPE *a = av, *b = bv;                                                               \
        TYPE *out = outv;                                                                          \
        const __m512i a0 = SET1(*a), b0 = SET1(*b);                                                \
        for (uint32_t i = 0; i < n; i += LANES) {                                                  \
            const MASK m = n - i >= LANES ? (MASK)-1 : (MASK)((1u << (n - i)) - 1);                \
            const MASK p = (MASK)(pick[i >> 6] >> (i & 63));                                       \
            const __m512i x = a_constant ? a0 : LOAD(m & p, a + i);                                \
            const __m512i y = b_constant ? b0 : LOAD(m & ~p, b + i);                               \
            STORE(out + i, m, MIX(p, y, x));                                                       \
        }                                                                                          \
    }
#define SET1_I64(v) _mm512_set1_epi64((long long)(v))
BLEND(blend_4, uint32_t, 16, __mmask16, _mm512_set1_epi32, _mm512_maskz_loadu_epi32,
      _mm512_mask_storeu_epi32, _mm512_mask_blend_epi32)
BLEND(blend_8, uint64_t, 8, __mmask8, SET1_I64, _mm512_maskz_loadu_epi64, _mm512_mask_storeu_epi64,
      _mm512_mask_blend_epi64)

static void views_equal(const view *a, const view *b, const view *mask, uint64_t *bits, uint32_t n) {
    const __m512i want = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)b));
    const __m512i keep = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)mask));
    for (uint32_t w = 0; w * 64 < n; w++) {
        uint64_t word = 0;
        const uint32_t left = n - w * 64 < 64 ? n - w * 64 : 64;
        for (uint32_t k = 0; k < left; k += 4) { /* a view is two lanes: differ if either does */
            const __mmask8 m = left - k >= 4 ? 0xff : (__mmask8)((1u << ((left - k) * 2)) - 1);
            const __m512i x = _mm512_maskz_loadu_epi64(m, a + w * 64 + k);
            const uint32_t same = m & (uint32_t)~_mm512_test_epi64_mask(_mm512_xor_si512(x, want), keep);
            word |= (uint64_t)_pext_u32(same & same >> 1, 0x55) << k;
        }
        bits[w] = word;
    }
}
#else
static void bits_from_bytes(const uint8_t *bytes, uint64_t *bits, uint32_t n) {
    for (uint32_t w = 0; w * 64 < n; w++) {
        uint8_t ones[64] = {0};
        const uint32_t left = n - w * 64 < 64 ? n - w * 64 : 64;
        for (uint32_t i = 0; i < left; i++) ones[i] = bytes[w * 64 + i] != 0;
        bits[w] = word_of_bytes(ones);
    }
}

static void bytes_from_bits(const uint64_t *bits, uint8_t *bytes, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) bytes[i] = (uint8_t)(bits[i >> 6] >> (i & 63) & 1);
}

static uint32_t rows_from_bits(const uint64_t *bits, uint32_t n, uint32_t first, uint32_t *rows) {
    uint32_t found = 0;
    for (uint32_t w = 0; w * 64 < n; w++) {
        for (uint64_t word = bits[w] & low_bits(n - w * 64); word; word &= word - 1) {
            rows[found++] = first + w * 64 + (uint32_t)__builtin_ctzll(word);
        }
    }
    return found;
}

#define BLEND(NAME, TYPE)                                                                          \
    static void NAME(const uint64_t *pick, const void *av, bool a_constant, const void *bv,        \
                     bool b_constant, void *outv, uint32_t n) {                                    \
        const TYPE *a = av, *b = bv;                                                               \
        TYPE *out = outv;                                                                          \
        for (uint32_t i = 0; i < n; i++) {                                                         \
            out[i] = pick[i >> 6] >> (i & 63) & 1 ? a[a_constant ? 0 : i] : b[b_constant ? 0 : i]; \
        }                                                                                          \
    }
BLEND(blend_4, uint32_t)
BLEND(blend_8, uint64_t)

static void views_equal(const view *a, const view *b, const view *mask, uint64_t *bits, uint32_t n) {
    uint64_t want[2], keep[2];
    memcpy(want, b, 16);
    memcpy(keep, mask, 16);
    for (uint32_t w = 0; w * 64 < n; w++) {
        uint64_t word = 0;
        const uint32_t left = n - w * 64 < 64 ? n - w * 64 : 64;
        for (uint32_t k = 0; k < left; k++) {
            uint64_t x[2];
            memcpy(x, a + w * 64 + k, 16);
            word |= (uint64_t)((((x[0] ^ want[0]) & keep[0]) | ((x[1] ^ want[1]) & keep[1])) == 0) << k;
        }
        bits[w] = word;
    }
}
#endif

static void blend_16(const uint64_t *pick, const void *av, bool a_constant, const void *bv,
                     bool b_constant, void *outv, uint32_t n) {
    const view *a = av, *b = bv;
    view *out = outv;
    for (uint32_t i = 0; i < n; i++) {
        const view *x = a + (a_constant ? 0 : i), *y = b + (b_constant ? 0 : i);
        out[i] = pick[i >> 6] >> (i & 63) & 1 ? *x : *y;
    }
}

static bool views_any_long(const view *views, uint32_t n) {
    uint32_t any = 0;
    for (uint32_t i = 0; i < n; i++) any |= (uint32_t)(views[i].size > VIEW_SMALL_MAX);
    return any != 0;
}

#include "expr/kernel_text_body.h"

/* ---- the table ---- */
#define SHAPES(NAME) {NAME##_runs, NAME##_constant, NAME##_of_constant}
#define ALL_NUMBERS(NAME) {SHAPES(NAME##_i32), SHAPES(NAME##_i64), SHAPES(NAME##_f32), SHAPES(NAME##_f64)}
#define COMPARES(NAME)                                                                             \
    {{NAME##_i32_runs, NAME##_i32_constant}, {NAME##_i64_runs, NAME##_i64_constant},               \
     {NAME##_f32_runs, NAME##_f32_constant}, {NAME##_f64_runs, NAME##_f64_constant}}

const kernel_set KERNELS_NAME = {
    .name = KERNELS_TEXT,
    .arith =
        {
            [ARITH_ADD] = ALL_NUMBERS(add),
            [ARITH_SUBTRACT] = ALL_NUMBERS(subtract),
            [ARITH_MULTIPLY] = ALL_NUMBERS(multiply),
            [ARITH_DIVIDE] = {[NUMBER_F32] = SHAPES(divide_f32), [NUMBER_F64] = SHAPES(divide_f64)},
            [ARITH_DIVIDE_WHOLE] = ALL_NUMBERS(divide_whole),
            [ARITH_REMAINDER] = ALL_NUMBERS(remainder),
            [ARITH_LEAST] = ALL_NUMBERS(least),
            [ARITH_GREATEST] = ALL_NUMBERS(greatest),
        },
    .compare =
        {
            [COMPARE_EQUAL] = COMPARES(equal),
            [COMPARE_NOT_EQUAL] = COMPARES(not_equal),
            [COMPARE_LESS] = COMPARES(less),
            [COMPARE_LESS_EQUAL] = COMPARES(less_equal),
            [COMPARE_GREATER] = COMPARES(greater),
            [COMPARE_GREATER_EQUAL] = COMPARES(greater_equal),
        },
    .convert =
        {
            [NUMBER_I32] = {NULL, i32_to_i64, i32_to_f32, i32_to_f64},
            [NUMBER_I64] = {i64_to_i32, NULL, i64_to_f32, i64_to_f64},
            [NUMBER_F32] = {f32_to_i32, f32_to_i64, NULL, f32_to_f64},
            [NUMBER_F64] = {f64_to_i32, f64_to_i64, f64_to_f32, NULL},
        },
    .unary =
        {
            [UNARY_NEGATE] = {negate_i32, negate_i64, negate_f32, negate_f64},
            [UNARY_ABS] = {abs_i32, abs_i64, abs_f32, abs_f64},
            [UNARY_FLOOR] = {NULL, NULL, floor_f32, floor_f64},
            [UNARY_CEIL] = {NULL, NULL, ceil_f32, ceil_f64},
            [UNARY_ROUND] = {NULL, NULL, round_f32, round_f64},
            [UNARY_SQRT] = {NULL, NULL, sqrt_f32, sqrt_f64},
        },
    .blend = {blend_4, blend_8, blend_16},
    .bits_from_bytes = bits_from_bytes,
    .bytes_from_bits = bytes_from_bits,
    .rows_from_bits = rows_from_bits,
    .views_equal = views_equal,
    .views_any_long = views_any_long,
    .count_points = count_points,
    .all_ascii = all_ascii,
    .ascii_case = ascii_case,
    .find_bytes = find_bytes,
};

#endif
