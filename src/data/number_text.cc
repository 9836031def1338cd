// number_text.cc: numbers to and from text. Digits are read eight at a time within a register, or
// sixteen with AVX-512, whose masked loads take a field of any length without a branch; floats up
// to 19 digits are rounded exactly with one division or product of 128 bits, the rest by
// std::from_chars; std::to_chars finds the shortest text where no shorter way is known.
#include "data/number_text_internal.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

typedef unsigned __int128 uint128;

// ---- digits ----

inline uint64_t load8(const char *p) {
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

inline uint64_t load4(const char *p) {
    uint32_t x;
    memcpy(&x, p, 4);
    return x;
}

// 1 to 8 bytes, the first one lowest, zeros above; loads that overlap instead of a loop.
inline uint64_t load_upto8(const char *p, size_t n) {
    if (n == 8) return load8(p);
    if (n >= 4) return load4(p) | load4(p + n - 4) << (8 * (n - 4));
    uint64_t first = (uint8_t)p[0], middle = (uint8_t)p[n >> 1], last = (uint8_t)p[n - 1];
    return first | middle << (8 * (n >> 1)) | last << (8 * (n - 1));
}

const uint64_t ZEROS = 0x3030303030303030U;

// Each byte of x is 0 to 9.
inline bool all_digits(uint64_t x) {
    return (((x + 0x7676767676767676U) | x) & 0x8080808080808080U) == 0;
}

// The number whose decimal digits are the bytes of x, the lowest byte first; three multiplications.
inline uint64_t join_digits(uint64_t x) {
    x = x * 10 + (x >> 8);
    const uint64_t mask = 0x000000ff000000ffU;
    return (((x & mask) * 0x000f424000000064U) + (((x >> 16) & mask) * 0x0000271000000001U)) >> 32;
}

// n is 1 to 8; false unless all are digits.
inline bool read_digits(const char *p, size_t n, uint64_t *value) {
    unsigned shift = (unsigned)(8 * (8 - n));
    uint64_t x = (load_upto8(p, n) << shift) ^ (ZEROS << shift); // zeros in front
    *value = join_digits(x);
    return all_digits(x);
}

inline bool is_digit(char c) { return (uint8_t)(c - '0') < 10; }

inline bool read_magnitude(const char *p, size_t n, uint64_t *value) {
    uint64_t high = 0, low = 0;
    if (n <= 8) return read_digits(p, n, value);
    if (n <= 16) {
        bool good = read_digits(p, n - 8, &high) && read_digits(p + n - 8, 8, &low);
        *value = high * 100000000 + low;
        return good;
    }
    uint64_t middle = 0;
    bool good = read_digits(p, n - 16, &high) && read_digits(p + n - 16, 8, &middle) &&
                read_digits(p + n - 8, 8, &low);
    *value = (high * 100000000 + middle) * 100000000 + low;
    return good;
}

// ---- floats from text ----

template <typename F> struct format_of;
template <> struct format_of<double> {
    typedef uint64_t bits;
    static const int MANTISSA = 53, BIAS = 1023, EXPONENT_MAX = 2046, EXACT_POWER = 22;
};
template <> struct format_of<float> {
    typedef uint32_t bits;
    static const int MANTISSA = 24, BIAS = 127, EXPONENT_MAX = 254, EXACT_POWER = 10;
};

const double TEN[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                      1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

const int FIVE_MAX = 27; // 5^27 < 2^64 < 5^28
struct powers_of_five {
    uint64_t at[FIVE_MAX + 1];
    constexpr powers_of_five() : at() {
        at[0] = 1;
        for (int i = 1; i <= FIVE_MAX; i++) at[i] = at[i - 1] * 5;
    }
};
constexpr powers_of_five FIVE;

// high < divisor; x86-64 has this as one instruction, which compilers do not dare to use.
inline uint64_t divide128(uint64_t high, uint64_t low, uint64_t divisor, uint64_t *rest) {
#if defined(__x86_64__)
    uint64_t quotient, remainder;
    __asm__("divq %[divisor]"
            : "=a"(quotient), "=d"(remainder)
            : [divisor] "r"(divisor), "a"(low), "d"(high)
            : "cc");
    *rest = remainder;
    return quotient;
#else
    uint128 whole = (uint128)high << 64 | low;
    *rest = (uint64_t)(whole % divisor);
    return (uint64_t)(whole / divisor);
#endif
}

// digits * 10^power, correctly rounded; digits > 0, |power| <= FIVE_MAX. 10^k is 5^k * 2^k, and
// the product with 5^k fits 128 bits, the quotient by it is wanted to 64 bits and whether anything
// is left. The result is far from subnormal in either format.
template <typename F> parse_status scale(uint64_t digits, int power, F *out) {
    typedef format_of<F> format;
    uint64_t top;  // the leading 64 bits of the result, the highest of them set
    bool inexact;  // something below them is not zero
    int exponent = power; // the value is top * 2^exponent
    int shift = __builtin_clzll(digits);
    digits <<= shift;
    exponent -= shift;
    if (power < 0) {
        uint64_t divisor = FIVE.at[-power];
        int normal = __builtin_clzll(divisor);
        divisor <<= normal;
        unsigned halve = digits >= divisor; // so that the quotient fits
        uint64_t rest;
        top = divide128(digits >> halve, (uint64_t)halve << 63 & digits << 63, divisor, &rest);
        inexact = rest != 0;
        exponent += normal - 64 + (int)halve;
    } else {
        uint128 product = (uint128)digits * FIVE.at[power];
        int spare = (product >> 64) != 0 ? __builtin_clzll((uint64_t)(product >> 64))
                                         : 64; // digits is normal, so 5^0 leaves exactly that
        product <<= spare;
        top = (uint64_t)(product >> 64);
        inexact = (uint64_t)product != 0;
        exponent += 64 - spare;
    }
    const int cut = 64 - format::MANTISSA;
    const uint64_t half = (uint64_t)1 << (cut - 1);
    uint64_t mantissa = top >> cut, below = top & (2 * half - 1);
    // No branch: which way it goes is a toss. What is left over tips a tie up.
    mantissa += (below | (uint64_t)inexact | (mantissa & 1)) > half;
    int biased = exponent + 63 + format::BIAS;
    // A mantissa that was rounded up to the next power of two carries into the exponent.
    uint64_t bits = ((uint64_t)(biased - 1) << (format::MANTISSA - 1)) + mantissa;
    if ((bits >> (format::MANTISSA - 1)) > (uint64_t)format::EXPONENT_MAX) return PARSE_RANGE;
    typename format::bits narrow = (typename format::bits)bits;
    memcpy(out, &narrow, sizeof *out);
    return PARSE_OK;
}

// digits * 10^power for |power| <= FIVE_MAX. Where both factors are exact, so is one operation
// rounded once (William D. Clinger, "How to Read Floating Point Numbers Accurately", 1990).
template <typename F> inline parse_status compose(uint64_t digits, int power, F *out) {
    typedef format_of<F> format;
    if (digits <= (uint64_t)1 << format::MANTISSA && power >= -format::EXACT_POWER &&
        power <= format::EXACT_POWER) {
        F exact = (F)(int64_t)digits, ten = (F)TEN[power < 0 ? -power : power];
        *out = power < 0 ? exact / ten : exact * ten;
        return PARSE_OK;
    }
    if (digits == 0) {
        *out = 0;
        return PARSE_OK;
    }
    return scale(digits, power, out);
}

// 1 to 16 characters that are digits and at most one point: the point is cut out in a register.
inline bool read_short_decimal(const char *p, size_t n, uint64_t *digits, int *power) {
    if (n <= 8) {
        uint64_t x = load_upto8(p, n);
        uint64_t dots = x ^ 0x2e2e2e2e2e2e2e2eU;
        dots = (dots - 0x0101010101010101U) & ~dots & 0x8080808080808080U; // the lowest is right
        size_t used = n;
        *power = 0;
        if (dots != 0) {
            unsigned at = (unsigned)__builtin_ctzll(dots) / 8;
            uint64_t before = ((uint64_t)1 << (8 * at)) - 1;
            x = (x & before) | ((x >> 8) & ~before);
            used = n - 1;
            *power = -(int)(used - at);
        }
        if (used == 0) return false;
        unsigned shift = (unsigned)(8 * (8 - used));
        x = (x << shift) ^ (ZEROS << shift);
        *digits = join_digits(x);
        return all_digits(x);
    }
    uint64_t low = load8(p), high = load8(p + n - 8) >> (8 * (16 - n));
    uint64_t dots_low = low ^ 0x2e2e2e2e2e2e2e2eU, dots_high = high ^ 0x2e2e2e2e2e2e2e2eU;
    dots_low = (dots_low - 0x0101010101010101U) & ~dots_low & 0x8080808080808080U;
    dots_high = (dots_high - 0x0101010101010101U) & ~dots_high & 0x8080808080808080U;
    uint128 x = (uint128)high << 64 | low;
    size_t used = n;
    *power = 0;
    if ((dots_low | dots_high) != 0) {
        unsigned at = dots_low != 0 ? (unsigned)__builtin_ctzll(dots_low) / 8
                                    : 8 + (unsigned)__builtin_ctzll(dots_high) / 8;
        uint128 before = ((uint128)1 << (8 * at)) - 1;
        x = (x & before) | ((x >> 8) & ~before);
        used = n - 1;
        *power = -(int)(used - at);
    }
    unsigned shift = (unsigned)(8 * (16 - used));
    x = (x << shift) ^ ((((uint128)ZEROS) << 64 | ZEROS) << shift);
    uint64_t first = (uint64_t)x, second = (uint64_t)(x >> 64);
    *digits = join_digits(first) * 100000000 + join_digits(second);
    return all_digits(first) && all_digits(second);
}

struct decimal {
    uint64_t digits;  // the significant digits, when there are at most 19
    int64_t power;    // of ten, that `digits` is multiplied by
    size_t count;     // significant digits: leading zeros are not
    int64_t leading;  // 10^leading <= value < 10^(leading + 1), unless the value is zero
};

inline const char *skip_digits(const char *p, const char *end, decimal *d) {
    while (end - p >= 8) {
        uint64_t x = load8(p) ^ ZEROS;
        if (!all_digits(x)) break;
        if (d->digits == 0 && x == 0) {
            p += 8;
            continue;
        }
        // Leading zeros inside count for too much, which only sends them the slow way.
        d->digits = d->digits * 100000000 + join_digits(x);
        d->count += 8;
        p += 8;
    }
    for (; p < end && is_digit(*p); p++) {
        d->digits = d->digits * 10 + (uint64_t)(*p - '0');
        d->count += d->digits != 0 || d->count != 0;
    }
    return p;
}

// Any decimal; false when [p, end) is not one.
bool read_decimal(const char *p, const char *end, decimal *d) {
    d->digits = 0;
    d->count = 0;
    const char *whole = p;
    p = skip_digits(p, end, d);
    ptrdiff_t seen = p - whole;
    const char *first = whole, *point = p;
    int64_t fraction = 0;
    if (p < end && *p == '.') {
        const char *start = ++p;
        p = skip_digits(p, end, d);
        fraction = p - start;
        seen += fraction;
    }
    if (seen == 0) return false;
    const char *last = p;
    int64_t exponent = 0;
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        bool negative = p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+')) p++;
        if (p == end) return false;
        const int64_t ceiling = (int64_t)1 << 56; // beyond any length of text
        for (; p < end && is_digit(*p); p++) {
            if (exponent < ceiling) exponent = exponent * 10 + (*p - '0');
        }
        if (negative) exponent = -exponent;
    }
    if (p != end) return false;
    d->power = exponent - fraction;
    while (first < last && (*first == '0' || *first == '.')) first++;
    d->leading = exponent + (point - first) - (first < point ? 1 : 0);
    return true;
}

template <typename F> parse_status parse_long(const char *p, const char *end, F *out) {
    decimal d;
    if (!read_decimal(p, end, &d)) return PARSE_MALFORMED;
    if (d.count <= 19 && d.power >= -FIVE_MAX && d.power <= FIVE_MAX) {
        return compose(d.digits, (int)d.power, out);
    }
    if (d.count == 0) {
        *out = 0;
        return PARSE_OK;
    }
    if (d.leading > 400) return PARSE_RANGE;
    F value = 0;
    if (d.leading > -400) {
        std::from_chars_result result = std::from_chars(p, end, value, std::chars_format::general);
        if (result.ec == std::errc::result_out_of_range) {
            if (d.leading > 0) return PARSE_RANGE;
            value = 0;
        } else if (result.ec != std::errc() || result.ptr != end) {
            return PARSE_MALFORMED;
        }
        if (std::isinf(value)) return PARSE_RANGE;
    }
    *out = value;
    return PARSE_OK;
}

inline bool same_letters(const char *p, const char *lower, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((p[i] | 0x20) != lower[i]) return false;
    }
    return true;
}

template <typename F> parse_status parse_word(const char *p, size_t n, F *out) {
    if ((n == 3 && same_letters(p, "inf", 3)) || (n == 8 && same_letters(p, "infinity", 8))) {
        *out = std::numeric_limits<F>::infinity();
        return PARSE_OK;
    }
    if (n == 3 && same_letters(p, "nan", 3)) {
        *out = std::numeric_limits<F>::quiet_NaN();
        return PARSE_OK;
    }
    return PARSE_MALFORMED;
}

// What the quick ways do not take, after the sign: exponents, many digits, words, mistakes.
template <typename F> parse_status parse_rest(const char *p, size_t n, F *out) {
    return is_digit(*p) || *p == '.' ? parse_long(p, p + n, out) : parse_word(p, n, out);
}

// Takes the sign off; false when nothing is left.
inline bool take_sign(const char **p, size_t *n, bool *negative) {
    if (*n == 0) return false;
    *negative = **p == '-';
    size_t sign = **p == '-' || **p == '+';
    *p += sign;
    *n -= sign;
    return *n != 0;
}

template <typename F> inline parse_status parse_float_plain(const char *p, size_t n, F *out) {
    bool negative;
    if (!take_sign(&p, &n, &negative)) return PARSE_MALFORMED;
    F value;
    uint64_t digits;
    int power;
    parse_status status = n <= 16 && read_short_decimal(p, n, &digits, &power)
                              ? compose(digits, power, &value)
                              : parse_rest(p, n, &value);
    if (status == PARSE_OK) *out = negative ? -value : value;
    return status;
}

inline parse_status finish_int64(uint64_t size, bool negative, int64_t *out) {
    if (size > (uint64_t)INT64_MAX + negative) return PARSE_RANGE;
    *out = (int64_t)(negative ? 0 - size : size);
    return PARSE_OK;
}

// Any length, after the sign.
parse_status parse_int64_rest(const char *p, size_t n, bool negative, int64_t *out) {
    while (n > 19 && *p == '0') {
        p++;
        n--;
    }
    if (n > 19) {
        for (size_t i = 0; i < n; i++) {
            if (!is_digit(p[i])) return PARSE_MALFORMED;
        }
        return PARSE_RANGE;
    }
    uint64_t size;
    if (!read_magnitude(p, n, &size)) return PARSE_MALFORMED;
    return finish_int64(size, negative, out);
}

inline parse_status parse_int64_plain(const char *p, size_t n, int64_t *out) {
    bool negative;
    if (!take_sign(&p, &n, &negative)) return PARSE_MALFORMED;
    return parse_int64_rest(p, n, negative, out);
}

#if defined(__x86_64__)

// AVX-512: a field is loaded so that it ends where the register ends, '0' in front of it; the mask
// keeps what lies before the field from being read.

TARGET_AVX512 inline __m128i load_right16(const char *p, size_t n) {
    const char *from = (const char *)((uintptr_t)p + n - 16);
    return _mm_mask_loadu_epi8(_mm_set1_epi8('0'), (__mmask16)(0xffffU << (16 - n)), from);
}

// Sixteen values 0 to 9, the first one lowest, as a number: pairs, fours, eights, sixteen.
TARGET_AVX512 inline uint64_t join_digits16(__m128i x) {
    x = _mm_maddubs_epi16(x, _mm_set1_epi16(0x010a));
    x = _mm_madd_epi16(x, _mm_set1_epi32(0x00010064));
    x = _mm_packus_epi32(x, x);
    x = _mm_madd_epi16(x, _mm_set1_epi32(0x00012710));
    uint64_t halves = (uint64_t)_mm_cvtsi128_si64(x);
    return (halves & 0xffffffffU) * 100000000 + (halves >> 32);
}

TARGET_AVX512 parse_status parse_int64_avx512(const char *p, size_t n, int64_t *out) {
    bool negative;
    if (!take_sign(&p, &n, &negative)) return PARSE_MALFORMED;
    if (n > 16) return parse_int64_rest(p, n, negative, out);
    __m128i x = _mm_sub_epi8(load_right16(p, n), _mm_set1_epi8('0'));
    if (_mm_cmpgt_epu8_mask(x, _mm_set1_epi8(9)) != 0) return PARSE_MALFORMED;
    int64_t size = (int64_t)join_digits16(x);
    *out = negative ? -size : size;
    return PARSE_OK;
}

// The point is cut out by moving what stands before it up by one place.
TARGET_AVX512 inline bool read_decimal16(const char *p, size_t n, uint64_t *digits, int *power) {
    __m128i x = load_right16(p, n);
    uint32_t dots = _mm_cmpeq_epi8_mask(x, _mm_set1_epi8('.'));
    __mmask16 upto = (__mmask16)((dots << 1) - (dots != 0));
    __m128i zeros = _mm_set1_epi8('0');
    x = _mm_mask_blend_epi8(upto, x, _mm_alignr_epi8(x, zeros, 15));
    x = _mm_sub_epi8(x, zeros);
    *power = (int)_tzcnt_u32(dots | 0x8000) - 15;
    *digits = join_digits16(x);
    // A second point is no digit; a point alone is no number.
    return _mm_cmpgt_epu8_mask(x, _mm_set1_epi8(9)) == 0 && n > (dots != 0);
}

// The same for 17 to 32 characters that come to at most 19 digits after leading zeros. Two halves
// of 128 bits: wider registers would make the code that follows pay for their upper parts.
TARGET_AVX512 inline bool read_decimal32(const char *p, size_t n, uint64_t *digits, int *power) {
    __m128i high = load_right16(p, n - 16);
    __m128i low = _mm_loadu_si128((const __m128i *)(p + n - 16));
    const __m128i point = _mm_set1_epi8('.'), zeros = _mm_set1_epi8('0'), nine = _mm_set1_epi8(9);
    uint32_t dots = _mm_cmpeq_epi8_mask(high, point) |
                    (uint32_t)_mm_cmpeq_epi8_mask(low, point) << 16;
    uint32_t upto = (uint32_t)(((uint64_t)dots << 1) - (dots != 0));
    low = _mm_mask_blend_epi8((__mmask16)(upto >> 16), low, _mm_alignr_epi8(low, high, 15));
    high = _mm_mask_blend_epi8((__mmask16)upto, high, _mm_alignr_epi8(high, zeros, 15));
    low = _mm_sub_epi8(low, zeros);
    high = _mm_sub_epi8(high, zeros);
    *power = (int)_tzcnt_u32(dots | 0x80000000U) - 31;
    uint64_t leading = join_digits16(high);
    *digits = leading * 10000000000000000U + join_digits16(low);
    return (_mm_cmpgt_epu8_mask(low, nine) | _mm_cmpgt_epu8_mask(high, nine)) == 0 &&
           leading < 1000 && *power >= -FIVE_MAX;
}

template <typename F>
TARGET_AVX512 inline parse_status parse_float_avx512(const char *p, size_t n, F *out) {
    bool negative;
    if (!take_sign(&p, &n, &negative)) return PARSE_MALFORMED;
    F value;
    uint64_t digits;
    int power;
    parse_status status;
    if (n <= 16 && read_decimal16(p, n, &digits, &power)) {
        status = compose(digits, power, &value);
    } else if (n > 16 && n <= 32 && read_decimal32(p, n, &digits, &power) && digits != 0) {
        // Around 17 digits either way of `compose` may be right, which no branch can foresee.
        status = scale(digits, power, &value);
    } else {
        status = parse_rest(p, n, &value);
    }
    if (status == PARSE_OK) *out = negative ? -value : value;
    return status;
}
#endif

// Set when the library is loaded and never again. Before that the plain way is as right.
const cpu_level LEVEL = cpu_level_here();

// ---- text from numbers ----

// The eight digits of value < 10^8 as bytes 0 to 9, the first one lowest: fours, pairs, ones, each
// step a division of all lanes at once by a multiplication that is exact in their range.
inline uint64_t split_digits(uint32_t value) {
    uint64_t x = value / 10000 | (uint64_t)(value % 10000) << 32;
    uint64_t hundreds = ((x * 10486) >> 20) & 0x0000007f0000007fU;
    x = hundreds | (x - 100 * hundreds) << 16;
    uint64_t tens = ((x * 103) >> 10) & 0x000f000f000f000fU;
    return tens | (x - 10 * tens) << 8;
}

inline void store8(char *to, uint64_t x) { memcpy(to, &x, 8); }

// Writes eight bytes, returns how many of them count; no branch depends on that.
inline size_t write_below_1e8(uint32_t value, char *to) {
    uint64_t x = split_digits(value);
    unsigned zeros = (unsigned)__builtin_ctzll(x | (uint64_t)1 << 56) / 8;
    store8(to, (x | ZEROS) >> (8 * zeros));
    return 8 - zeros;
}

// Up to 24 bytes are touched.
inline size_t write_unsigned(uint64_t value, char *to) {
    if (value < 100000000) return write_below_1e8((uint32_t)value, to);
    uint64_t high = value / 100000000;
    uint64_t low = split_digits((uint32_t)(value % 100000000)) | ZEROS;
    size_t length;
    if (high < 100000000) {
        length = write_below_1e8((uint32_t)high, to);
    } else {
        length = write_below_1e8((uint32_t)(high / 100000000), to);
        store8(to + length, split_digits((uint32_t)(high % 100000000)) | ZEROS);
        length += 8;
    }
    store8(to + length, low);
    return length + 8;
}

template <typename F> struct short_decimals;
template <> struct short_decimals<double> {
    static const unsigned PLACES = 6;
    static constexpr double SCALE = 1e6, DIGITS_BELOW = 1e15;
};
template <> struct short_decimals<float> {
    static const unsigned PLACES = 3;
    static constexpr float SCALE = 1e3F, DIGITS_BELOW = 1e6F;
};

// Whole numbers and those with few decimal places, without searching. Two decimals of at most 15
// digits (6 for float32) never read as the same number, so one that does read back, less its
// trailing zeros, is the shortest. 0 when that does not settle it.
template <typename F> size_t format_short(F value, char *to) {
    typedef short_decimals<F> limits;
    F size = std::fabs(value);
    if (size != 0 && !(size >= (F)0.001 && size < limits::DIGITS_BELOW)) return 0;
    char *p = to;
    *p = '-';
    p += std::signbit(value);
    uint64_t whole = (uint64_t)size;
    if ((F)whole == size) {
        if (whole >= 100000 && whole % 10 == 0) return 0; // an exponent may be shorter
        return (size_t)(p - to) + write_unsigned(whole, p);
    }
    F scaled = size * limits::SCALE;
    if (scaled >= limits::DIGITS_BELOW) return 0;
    uint64_t all = (uint64_t)(scaled + (F)0.5);
    if ((F)all / limits::SCALE != size) return 0;
    p += write_unsigned(all / (uint64_t)limits::SCALE, p);
    *p++ = '.';
    uint64_t fraction = split_digits((uint32_t)(all % (uint64_t)limits::SCALE));
    fraction >>= 8 * (8 - limits::PLACES); // not zero, as the value is not whole
    store8(p, fraction | ZEROS);
    return (size_t)(p - to) + 8 - (unsigned)__builtin_clzll(fraction) / 8;
}

template <typename F> size_t format_float(F value, char *to) {
    size_t length = format_short(value, to);
    if (length != 0) return length;
    if (std::isnan(value)) {
        memcpy(to, "nan", 3);
        return 3;
    }
    std::to_chars_result result = std::to_chars(to, to + FORMAT_NUMBER_MAX, value);
    return (size_t)(result.ptr - to);
}

} // namespace

parse_status parse_int64_at(cpu_level level, const char *p, size_t n, int64_t *out) {
#if defined(__x86_64__)
    if (level == CPU_AVX512) return parse_int64_avx512(p, n, out);
#endif
    (void)level;
    return parse_int64_plain(p, n, out);
}

parse_status parse_float32_at(cpu_level level, const char *p, size_t n, float *out) {
#if defined(__x86_64__)
    if (level == CPU_AVX512) return parse_float_avx512(p, n, out);
#endif
    (void)level;
    return parse_float_plain(p, n, out);
}

parse_status parse_float64_at(cpu_level level, const char *p, size_t n, double *out) {
#if defined(__x86_64__)
    if (level == CPU_AVX512) return parse_float_avx512(p, n, out);
#endif
    (void)level;
    return parse_float_plain(p, n, out);
}

parse_status parse_int64(const char *p, size_t n, int64_t *out) {
    return parse_int64_at(LEVEL, p, n, out);
}

parse_status parse_int32(const char *p, size_t n, int32_t *out) {
    int64_t wide;
    parse_status status = parse_int64(p, n, &wide);
    if (status != PARSE_OK) return status;
    if (wide < INT32_MIN || wide > INT32_MAX) return PARSE_RANGE;
    *out = (int32_t)wide;
    return PARSE_OK;
}

parse_status parse_float32(const char *p, size_t n, float *out) {
    return parse_float32_at(LEVEL, p, n, out);
}

parse_status parse_float64(const char *p, size_t n, double *out) {
    return parse_float64_at(LEVEL, p, n, out);
}

parse_status parse_bool(const char *p, size_t n, bool *out) {
    if (n == 4 && memcmp(p, "true", 4) == 0) {
        *out = true;
        return PARSE_OK;
    }
    if (n == 5 && memcmp(p, "false", 5) == 0) {
        *out = false;
        return PARSE_OK;
    }
    return PARSE_MALFORMED;
}

size_t format_int64(int64_t value, char *to) {
    *to = '-';
    size_t sign = value < 0;
    return sign + write_unsigned(value < 0 ? 0 - (uint64_t)value : (uint64_t)value, to + sign);
}

size_t format_float32(float value, char *to) { return format_float(value, to); }

size_t format_float64(double value, char *to) { return format_float(value, to); }
