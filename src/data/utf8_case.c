/* utf8_case.c: Unicode's default case conversion in full (The Unicode Standard, section 3.13): the
 * simple mappings from utf8proc, those to several letters from a table, and the final sigma. */
#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

#include "data/utf8.h"
#include "data/utf8_internal.h"

#define HIGH_BITS UINT64_C(0x8080808080808080)
#define SIGMA 0x3a3
#define SMALL_SIGMA 0x3c3
#define FINAL_SIGMA 0x3c2
#define CAPITAL_I_DOT 0x130
#define DOT_ABOVE 0x307

/* Letters whose upper case is several, unused places 0: SpecialCasing.txt, the part without
 * conditions, by code point. */
typedef struct upper_expansion {
    uint16_t from;
    uint16_t to[3];
} upper_expansion;

static const upper_expansion EXPANSIONS[] = {
    {0x00df, {0x0053, 0x0053}}, {0x0149, {0x02bc, 0x004e}}, {0x01f0, {0x004a, 0x030c}},
    {0x0390, {0x0399, 0x0308, 0x0301}}, {0x03b0, {0x03a5, 0x0308, 0x0301}},
    {0x0587, {0x0535, 0x0552}}, {0x1e96, {0x0048, 0x0331}}, {0x1e97, {0x0054, 0x0308}},
    {0x1e98, {0x0057, 0x030a}}, {0x1e99, {0x0059, 0x030a}}, {0x1e9a, {0x0041, 0x02be}},
    {0x1f50, {0x03a5, 0x0313}}, {0x1f52, {0x03a5, 0x0313, 0x0300}},
    {0x1f54, {0x03a5, 0x0313, 0x0301}}, {0x1f56, {0x03a5, 0x0313, 0x0342}},
    {0x1f80, {0x1f08, 0x0399}}, {0x1f81, {0x1f09, 0x0399}}, {0x1f82, {0x1f0a, 0x0399}},
    {0x1f83, {0x1f0b, 0x0399}}, {0x1f84, {0x1f0c, 0x0399}}, {0x1f85, {0x1f0d, 0x0399}},
    {0x1f86, {0x1f0e, 0x0399}}, {0x1f87, {0x1f0f, 0x0399}}, {0x1f88, {0x1f08, 0x0399}},
    {0x1f89, {0x1f09, 0x0399}}, {0x1f8a, {0x1f0a, 0x0399}}, {0x1f8b, {0x1f0b, 0x0399}},
    {0x1f8c, {0x1f0c, 0x0399}}, {0x1f8d, {0x1f0d, 0x0399}}, {0x1f8e, {0x1f0e, 0x0399}},
    {0x1f8f, {0x1f0f, 0x0399}}, {0x1f90, {0x1f28, 0x0399}}, {0x1f91, {0x1f29, 0x0399}},
    {0x1f92, {0x1f2a, 0x0399}}, {0x1f93, {0x1f2b, 0x0399}}, {0x1f94, {0x1f2c, 0x0399}},
    {0x1f95, {0x1f2d, 0x0399}}, {0x1f96, {0x1f2e, 0x0399}}, {0x1f97, {0x1f2f, 0x0399}},
    {0x1f98, {0x1f28, 0x0399}}, {0x1f99, {0x1f29, 0x0399}}, {0x1f9a, {0x1f2a, 0x0399}},
    {0x1f9b, {0x1f2b, 0x0399}}, {0x1f9c, {0x1f2c, 0x0399}}, {0x1f9d, {0x1f2d, 0x0399}},
    {0x1f9e, {0x1f2e, 0x0399}}, {0x1f9f, {0x1f2f, 0x0399}}, {0x1fa0, {0x1f68, 0x0399}},
    {0x1fa1, {0x1f69, 0x0399}}, {0x1fa2, {0x1f6a, 0x0399}}, {0x1fa3, {0x1f6b, 0x0399}},
    {0x1fa4, {0x1f6c, 0x0399}}, {0x1fa5, {0x1f6d, 0x0399}}, {0x1fa6, {0x1f6e, 0x0399}},
    {0x1fa7, {0x1f6f, 0x0399}}, {0x1fa8, {0x1f68, 0x0399}}, {0x1fa9, {0x1f69, 0x0399}},
    {0x1faa, {0x1f6a, 0x0399}}, {0x1fab, {0x1f6b, 0x0399}}, {0x1fac, {0x1f6c, 0x0399}},
    {0x1fad, {0x1f6d, 0x0399}}, {0x1fae, {0x1f6e, 0x0399}}, {0x1faf, {0x1f6f, 0x0399}},
    {0x1fb2, {0x1fba, 0x0399}}, {0x1fb3, {0x0391, 0x0399}}, {0x1fb4, {0x0386, 0x0399}},
    {0x1fb6, {0x0391, 0x0342}}, {0x1fb7, {0x0391, 0x0342, 0x0399}}, {0x1fbc, {0x0391, 0x0399}},
    {0x1fc2, {0x1fca, 0x0399}}, {0x1fc3, {0x0397, 0x0399}}, {0x1fc4, {0x0389, 0x0399}},
    {0x1fc6, {0x0397, 0x0342}}, {0x1fc7, {0x0397, 0x0342, 0x0399}}, {0x1fcc, {0x0397, 0x0399}},
    {0x1fd2, {0x0399, 0x0308, 0x0300}}, {0x1fd3, {0x0399, 0x0308, 0x0301}},
    {0x1fd6, {0x0399, 0x0342}}, {0x1fd7, {0x0399, 0x0308, 0x0342}},
    {0x1fe2, {0x03a5, 0x0308, 0x0300}}, {0x1fe3, {0x03a5, 0x0308, 0x0301}},
    {0x1fe4, {0x03a1, 0x0313}}, {0x1fe6, {0x03a5, 0x0342}}, {0x1fe7, {0x03a5, 0x0308, 0x0342}},
    {0x1ff2, {0x1ffa, 0x0399}}, {0x1ff3, {0x03a9, 0x0399}}, {0x1ff4, {0x038f, 0x0399}},
    {0x1ff6, {0x03a9, 0x0342}}, {0x1ff7, {0x03a9, 0x0342, 0x0399}}, {0x1ffc, {0x03a9, 0x0399}},
    {0xfb00, {0x0046, 0x0046}}, {0xfb01, {0x0046, 0x0049}}, {0xfb02, {0x0046, 0x004c}},
    {0xfb03, {0x0046, 0x0046, 0x0049}}, {0xfb04, {0x0046, 0x0046, 0x004c}},
    {0xfb05, {0x0053, 0x0054}}, {0xfb06, {0x0053, 0x0054}}, {0xfb13, {0x0544, 0x0546}},
    {0xfb14, {0x0544, 0x0535}}, {0xfb15, {0x0544, 0x053b}}, {0xfb16, {0x054e, 0x0546}},
    {0xfb17, {0x0544, 0x053d}},
};

static const upper_expansion *find_expansion(utf8proc_int32_t code) {
    size_t low = 0, high = sizeof EXPANSIONS / sizeof EXPANSIONS[0];
    /* Most letters lie in the gaps of the table. */
    if (code < 0xdf || (code > 0x3b0 && code < 0x587) || (code > 0x587 && code < 0x1e96) ||
        code > 0xfb17) {
        return NULL;
    }
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (EXPANSIONS[middle].from < code) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < sizeof EXPANSIONS / sizeof EXPANSIONS[0] && EXPANSIONS[low].from == code;
    return found ? &EXPANSIONS[low] : NULL;
}

/* The scripts of East Asia, from radicals to Vai and the Hangul syllables, and all past plane 1. */
static inline bool has_no_case(utf8proc_int32_t code) {
    return (code >= 0x2e80 && code < 0xa640) || (code >= 0xac00 && code < 0xd800) ||
           code >= 0x20000;
}

/* The growing result; `size` goes on past `capacity`. */
typedef struct case_output {
    char *to;
    size_t capacity;
    size_t size;
} case_output;

static inline void put_bytes(case_output *out, const char *p, size_t n) {
    if (out->size <= out->capacity && n <= out->capacity - out->size) {
        memcpy(out->to + out->size, p, n);
    }
    out->size += n;
}

static void put_code(case_output *out, utf8proc_int32_t code) {
    char bytes[4];
    if (code < 0x80) {
        bytes[0] = (char)code;
        put_bytes(out, bytes, 1);
    } else if (code < 0x800) {
        bytes[0] = (char)(0xc0 | code >> 6);
        bytes[1] = (char)(0x80 | (code & 0x3f));
        put_bytes(out, bytes, 2);
    } else if (code < 0x10000) {
        bytes[0] = (char)(0xe0 | code >> 12);
        bytes[1] = (char)(0x80 | (code >> 6 & 0x3f));
        bytes[2] = (char)(0x80 | (code & 0x3f));
        put_bytes(out, bytes, 3);
    } else {
        bytes[0] = (char)(0xf0 | code >> 18);
        bytes[1] = (char)(0x80 | (code >> 12 & 0x3f));
        bytes[2] = (char)(0x80 | (code >> 6 & 0x3f));
        bytes[3] = (char)(0x80 | (code & 0x3f));
        put_bytes(out, bytes, 4);
    }
}

/* Decodes at p; a byte that is not UTF-8 has length 1 and code -1. */
static inline size_t decode(const char *p, size_t n, utf8proc_int32_t *code) {
    const uint8_t *byte = (const uint8_t *)p;
    size_t length = utf8_sequence_length(p, n);
    switch (length) {
    case 1:
        *code = byte[0];
        return 1;
    case 2:
        *code = (byte[0] & 0x1f) << 6 | (byte[1] & 0x3f);
        return 2;
    case 3:
        *code = (byte[0] & 0x0f) << 12 | (byte[1] & 0x3f) << 6 | (byte[2] & 0x3f);
        return 3;
    case 4:
        *code = (byte[0] & 0x07) << 18 | (byte[1] & 0x3f) << 12 | (byte[2] & 0x3f) << 6 |
                (byte[3] & 0x3f);
        return 4;
    default:
        *code = -1;
        return 1;
    }
}

/* Steps back over the code point that ends at `end` > 0. */
static size_t decode_before(const char *p, size_t end, utf8proc_int32_t *code) {
    size_t begin = end - 1;
    while (begin > 0 && end - begin < 4 && ((uint8_t)p[begin] & 0xc0) == 0x80) begin--;
    if (decode(p + begin, end - begin, code) != end - begin) {
        *code = -1;
        begin = end - 1;
    }
    return begin;
}

/* Case_Ignorable: marks, formats, modifiers, and the punctuation that stands within words. */
static bool is_case_ignorable(utf8proc_int32_t code) {
    switch (code) {
    case 0x27: case 0x2e: case 0x3a: case 0xb7: case 0x387: case 0x55f: case 0x5f4: case 0x2018:
    case 0x2019: case 0x2024: case 0x2027: case 0xfe13: case 0xfe52: case 0xfe55: case 0xff07:
    case 0xff0e: case 0xff1a:
        return true;
    default:
        break;
    }
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_ME: case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM: case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return false;
    }
}

/* Cased: letters with case, and the few others that Unicode lists (Other_Uppercase and
 * Other_Lowercase that are not ignorable as well). */
static bool is_cased(utf8proc_int32_t code) {
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT:
        return true;
    default:
        return code == 0xaa || code == 0xba || (code >= 0x2160 && code <= 0x217f) ||
               (code >= 0x24b6 && code <= 0x24e9) || (code >= 0x1f130 && code <= 0x1f149) ||
               (code >= 0x1f150 && code <= 0x1f169) || (code >= 0x1f170 && code <= 0x1f189);
    }
}

/* A sigma at [begin, end) is final when a cased letter comes before it and none after it, looking
 * past what is ignorable. Each look stops at the next sigma, so that text of many stays linear. */
static bool is_final_sigma(const char *p, size_t n, size_t begin, size_t end) {
    utf8proc_int32_t code = -1;
    bool cased_before = false;
    while (begin > 0) {
        begin = decode_before(p, begin, &code);
        if (code < 0) break;
        if (is_case_ignorable(code)) continue;
        cased_before = is_cased(code);
        break;
    }
    if (!cased_before) return false;
    while (end < n) {
        end += decode(p + end, n - end, &code);
        if (code < 0) return true;
        if (!is_case_ignorable(code)) return !is_cased(code);
    }
    return true;
}

static inline uint64_t load8(const char *p) {
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

/* Eight ASCII bytes; bit 7 of each byte of the sums says `>= first` and `> last`. */
static inline uint64_t change_case8(uint64_t x, uint8_t first) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t from = x + ones * (uint64_t)(128 - first);
    uint64_t past = x + ones * (uint64_t)(128 - first - 26);
    return x ^ (((from & ~past) & HIGH_BITS) >> 2);
}

/* Changes the ASCII that begins at p, eight bytes at a time; returns how many bytes. */
static size_t change_ascii(const char *p, size_t n, uint8_t first, case_output *out) {
    if (out->size > out->capacity) return 0;
    size_t room = out->capacity - out->size, i = 0;
    if (room > n) room = n;
    if (room < 8) return 0;
    char *to = out->to + out->size;
    for (; i + 8 <= room; i += 8) {
        uint64_t x = load8(p + i);
        if ((x & HIGH_BITS) != 0) break;
        x = change_case8(x, first);
        memcpy(to + i, &x, 8);
    }
    out->size += i;
    return i;
}

size_t utf8_upper(const char *p, size_t n, char *to, size_t capacity) {
    case_output out = {to, capacity, 0};
    size_t i = 0;
    while (i < n) {
        i += change_ascii(p + i, n - i, 'a', &out);
        /* A stretch of other letters, then look for ASCII again. */
        for (size_t stop = n - i < 8 ? n : i + 8; i < stop;) {
            utf8proc_int32_t code;
            size_t length = decode(p + i, n - i, &code);
            const upper_expansion *expansion;
            if (code < 0 || has_no_case(code)) {
                put_bytes(&out, p + i, length);
            } else if (code < 0x80) {
                char c = (char)(code - (code >= 'a' && code <= 'z' ? 32 : 0));
                put_bytes(&out, &c, 1);
            } else if ((expansion = find_expansion(code)) != NULL) {
                for (size_t k = 0; k < 3 && expansion->to[k] != 0; k++) {
                    put_code(&out, expansion->to[k]);
                }
            } else {
                put_code(&out, utf8proc_toupper(code));
            }
            i += length;
        }
    }
    return out.size;
}

size_t utf8_lower(const char *p, size_t n, char *to, size_t capacity) {
    case_output out = {to, capacity, 0};
    size_t i = 0;
    while (i < n) {
        i += change_ascii(p + i, n - i, 'A', &out);
        for (size_t stop = n - i < 8 ? n : i + 8; i < stop;) {
            utf8proc_int32_t code;
            size_t length = decode(p + i, n - i, &code);
            if (code < 0 || has_no_case(code)) {
                put_bytes(&out, p + i, length);
            } else if (code < 0x80) {
                char c = (char)(code + (code >= 'A' && code <= 'Z' ? 32 : 0));
                put_bytes(&out, &c, 1);
            } else if (code == SIGMA) {
                put_code(&out, is_final_sigma(p, n, i, i + length) ? FINAL_SIGMA : SMALL_SIGMA);
            } else if (code == CAPITAL_I_DOT) {
                put_code(&out, 'i');
                put_code(&out, DOT_ABOVE);
            } else {
                put_code(&out, utf8proc_tolower(code));
            }
            i += length;
        }
    }
    return out.size;
}
