/* Every loop of every instruction set against plain code, value by value. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "expr/kernel_set.h"

enum { rows_max = 300 };
static const uint32_t sizes[] = {1, 7, 8, 15, 16, 31, 63, 64, 65, 127, 128, 129, 300};
enum { n_sizes = sizeof sizes / sizeof *sizes };

static uint64_t random_state = 42;
static uint64_t next_random(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dULL;
}

static size_t width_of(number_kind k) { return k == NUMBER_I32 || k == NUMBER_F32 ? 4 : 8; }

static void put(number_kind k, void *at, uint32_t i, int64_t whole, double real) {
    switch (k) {
    case NUMBER_I32: ((int32_t *)at)[i] = (int32_t)whole; break;
    case NUMBER_I64: ((int64_t *)at)[i] = whole; break;
    case NUMBER_F32: ((float *)at)[i] = (float)real; break;
    case NUMBER_F64: ((double *)at)[i] = real; break;
    }
}

/* `wild` 0: small numbers, no zero; 1: also the extremes. */
static void fill(number_kind k, void *values, uint32_t n, int wild) {
    static const int64_t whole[] = {0, 1, -1, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 1ll << 53, -(1ll << 53) - 1};
    static const double real[] = {0, -0.0, 0.5, -0.5, 2.5, 1e30, -1e30, 1e300, 0.49999999999999994, 9.3e18, 2147483647.5};
    for (uint32_t i = 0; i < n; i++) {
        int64_t small = (int64_t)(next_random() % 2000) - 1000;
        if (!small) small = 1;
        if (wild && next_random() % 8 == 0) put(k, values, i, whole[next_random() % 9], real[next_random() % 11]);
        else if (wild && next_random() % 20 == 0) put(k, values, i, (int64_t)next_random(), next_random() % 2 ? NAN : INFINITY);
        else put(k, values, i, small, (double)small / 8);
    }
}

typedef struct number {
    bool is_float;
    __int128 i;
    double f;
} number;

static number get(number_kind k, const void *at, uint32_t i) {
    switch (k) {
    case NUMBER_I32: return (number){false, ((const int32_t *)at)[i], 0};
    case NUMBER_I64: return (number){false, ((const int64_t *)at)[i], 0};
    case NUMBER_F32: return (number){true, 0, (double)((const float *)at)[i]};
    default: return (number){true, 0, ((const double *)at)[i]};
    }
}

static bool fits(number_kind k, __int128 v) {
    return k == NUMBER_I32 ? v >= INT32_MIN && v <= INT32_MAX : v >= INT64_MIN && v <= INT64_MAX;
}

/* Whether the operation fails; else the result. */
static bool reference(arith_kind op, number_kind k, number a, number b, number *out) {
    *out = a;
    if (!a.is_float) {
        if ((op == ARITH_DIVIDE_WHOLE || op == ARITH_REMAINDER) && b.i == 0) return true;
        switch (op) {
        case ARITH_ADD: out->i = a.i + b.i; break;
        case ARITH_SUBTRACT: out->i = a.i - b.i; break;
        case ARITH_MULTIPLY: out->i = a.i * b.i; break;
        case ARITH_DIVIDE_WHOLE: out->i = a.i / b.i; break;
        case ARITH_REMAINDER: out->i = a.i % b.i; break;
        case ARITH_LEAST: out->i = a.i < b.i ? a.i : b.i; break;
        default: out->i = a.i > b.i ? a.i : b.i; break;
        }
        return !fits(k, out->i);
    }
    const bool narrow = k == NUMBER_F32;
    switch (op) {
    case ARITH_ADD: out->f = a.f + b.f; break;
    case ARITH_SUBTRACT: out->f = a.f - b.f; break;
    case ARITH_MULTIPLY: out->f = a.f * b.f; break;
    case ARITH_DIVIDE: out->f = a.f / b.f; break;
    case ARITH_DIVIDE_WHOLE: out->f = trunc(narrow ? (double)((float)a.f / (float)b.f) : a.f / b.f); break;
    case ARITH_REMAINDER: out->f = fmod(a.f, b.f); break;
    case ARITH_LEAST: out->f = isnan(a.f) || b.f < a.f ? b.f : a.f; break;
    default: out->f = isnan(b.f) || (b.f > a.f && !isnan(a.f)) ? b.f : a.f; break;
    }
    if (narrow) out->f = (double)(float)out->f;
    return (op == ARITH_DIVIDE || op == ARITH_DIVIDE_WHOLE || op == ARITH_REMAINDER) && b.f == 0;
}

static bool same(number a, number b) {
    return a.is_float ? a.f == b.f || (isnan(a.f) && isnan(b.f)) : a.i == b.i;
}

static const kernel_set *set_of(int level) {
    return (int)cpu_level_here() < level ? NULL : kernel_set_of((cpu_level)level);
}

static void check_arith(const kernel_set *k, arith_kind op, number_kind kind, operand_shape shape, uint32_t n, int wild) {
    _Alignas(64) uint8_t a[rows_max * 8], b[rows_max * 8], out[rows_max * 8 + 8];
    fill(kind, a, n, wild);
    fill(kind, b, n, wild);
    memset(out, 0xa5, sizeof out);
    arith_function f = k->arith[op][kind][shape];
    if (!f) {
        assert_true(op == ARITH_DIVIDE && (kind == NUMBER_I32 || kind == NUMBER_I64));
        return;
    }
    bool failed = f(a, b, out, n), any = false;
    bool division = op == ARITH_DIVIDE_WHOLE || op == ARITH_REMAINDER;
    for (uint32_t i = 0; i < n; i++) {
        number x = get(kind, a, shape == SHAPE_CONSTANT_RUN ? 0 : i), y = get(kind, b, shape == SHAPE_RUN_CONSTANT ? 0 : i);
        number wanted;
        bool bad = reference(op, kind, x, y, &wanted);
        any |= bad;
        if (bad || (failed && division && !x.is_float)) continue;
        number got = get(kind, out, i);
        if (!same(got, wanted)) fail_msg("%s: operation %d kind %d shape %d row %u", k->name, (int)op, (int)kind, (int)shape, i);
    }
    if (any) assert_true(failed);
    for (size_t i = n * width_of(kind); i < sizeof out; i++) assert_int_equal(out[i], 0xa5);
}

static void arithmetic(void **state) {
    for (int level = 0; level < CPU_LEVELS; level++) {
        const kernel_set *k = set_of(level);
        for (int op = 0; k && op < ARITH_KINDS; op++)
            for (int kind = 0; kind < NUMBER_KINDS; kind++)
                for (int shape = 0; shape < OPERAND_SHAPES; shape++)
                    for (int s = 0; s < n_sizes * 2; s++)
                        check_arith(k, (arith_kind)op, (number_kind)kind, (operand_shape)shape, sizes[s / 2], s % 2);
    }
}

/* Where nothing fails and nothing is large, only the set without vectors for it may say otherwise. */
static void no_false_alarms(void **state) {
    for (int level = 0; level < CPU_LEVELS; level++) {
        const kernel_set *k = set_of(level);
        for (int op = 0; k && op < ARITH_KINDS; op++) {
            for (int kind = 0; kind < NUMBER_KINDS; kind++) {
                uint8_t a[rows_max * 8], b[rows_max * 8], out[rows_max * 8];
                bool division = op == ARITH_DIVIDE_WHOLE || op == ARITH_REMAINDER;
                if (!k->arith[op][kind][0] || (division && kind == NUMBER_I64 && level < CPU_AVX512)) continue;
                fill((number_kind)kind, a, rows_max, 0);
                fill((number_kind)kind, b, rows_max, 0);
                assert_false(k->arith[op][kind][0](a, b, out, rows_max));
            }
        }
    }
}

static bool holds(compare_kind k, number a, number b) {
    bool less = a.is_float ? a.f < b.f : a.i < b.i, equal = a.is_float ? a.f == b.f : a.i == b.i;
    bool greater = a.is_float ? a.f > b.f : a.i > b.i;
    switch (k) {
    case COMPARE_EQUAL: return equal;
    case COMPARE_NOT_EQUAL: return !equal;
    case COMPARE_LESS: return less;
    case COMPARE_LESS_EQUAL: return less || equal;
    case COMPARE_GREATER: return greater;
    default: return greater || equal;
    }
}

static void comparisons(void **state) {
    for (int level = 0; level < CPU_LEVELS; level++) {
        const kernel_set *k = set_of(level);
        for (int turn = 0; k && turn < COMPARE_KINDS * NUMBER_KINDS * 2 * n_sizes; turn++) {
            compare_kind c = (compare_kind)(turn % COMPARE_KINDS);
            number_kind kind = (number_kind)(turn / COMPARE_KINDS % NUMBER_KINDS);
            int constant = turn / (COMPARE_KINDS * NUMBER_KINDS) % 2;
            uint32_t n = sizes[turn / (COMPARE_KINDS * NUMBER_KINDS * 2)];
            uint8_t a[rows_max * 8], b[rows_max * 8];
            uint64_t bits[rows_max / 64 + 2];
            fill(kind, a, n, 1);
            fill(kind, b, n, 1);
            memset(bits, 0xff, sizeof bits);
            k->compare[c][kind][constant](a, b, bits, n);
            for (uint32_t i = 0; i < (n + 63) / 64 * 64; i++) {
                bool wanted = i < n && holds(c, get(kind, a, i), get(kind, b, constant ? 0 : i));
                assert_int_equal(bits[i / 64] >> (i % 64) & 1, wanted);
            }
            assert_true(bits[(n + 63) / 64] == UINT64_MAX);
        }
    }
}

static void conversions(void **state) {
    for (int level = 0; level < CPU_LEVELS; level++) {
        const kernel_set *k = set_of(level);
        for (int turn = 0; k && turn < NUMBER_KINDS * NUMBER_KINDS * n_sizes * 2; turn++) {
            number_kind from = (number_kind)(turn % NUMBER_KINDS), to = (number_kind)(turn / NUMBER_KINDS % NUMBER_KINDS);
            uint32_t n = sizes[turn / (NUMBER_KINDS * NUMBER_KINDS) / 2];
            if (from == to) continue;
            uint8_t a[rows_max * 8], out[rows_max * 8];
            fill(from, a, n, turn & 1 ? 1 : (int)(next_random() % 2));
            bool failed = k->convert[from][to](a, out, n), any = false;
            for (uint32_t i = 0; i < n; i++) {
                number x = get(from, a, i), got = get(to, out, i), wanted = {got.is_float, 0, 0};
                bool bad = false;
                if (got.is_float) {
                    wanted.f = x.is_float ? x.f : (double)(int64_t)x.i;
                    if (to == NUMBER_F32) {
                        float f = x.is_float ? (float)x.f : (float)(int64_t)x.i;
                        bad = isinf(f) && isfinite(wanted.f);
                        wanted.f = (double)f;
                    }
                } else if (x.is_float) {
                    bad = !(fabs(x.f) < 1e25) || !fits(to, (__int128)x.f);
                    wanted.i = bad ? 0 : (__int128)x.f;
                } else {
                    bad = !fits(to, x.i);
                    wanted.i = x.i;
                }
                any |= bad;
                if (!bad) assert_true(same(got, wanted));
            }
            assert_int_equal(failed, any);
        }
    }
}

static void one_operand(void **state) {
    for (int level = 0; level < CPU_LEVELS; level++) {
        const kernel_set *k = set_of(level);
        for (int turn = 0; k && turn < UNARY_KINDS * NUMBER_KINDS * n_sizes * 2; turn++) {
            unary_kind op = (unary_kind)(turn % UNARY_KINDS);
            number_kind kind = (number_kind)(turn / UNARY_KINDS % NUMBER_KINDS);
            uint32_t n = sizes[turn / (UNARY_KINDS * NUMBER_KINDS) / 2];
            unary_function f = k->unary[op][kind];
            if (!f) continue;
            uint8_t a[rows_max * 8], out[rows_max * 8 + 8];
            fill(kind, a, n, 1);
            memset(out, 0xa5, sizeof out);
            bool failed = f(a, out, n), any = false;
            for (uint32_t i = 0; i < n; i++) {
                number x = get(kind, a, i), got = get(kind, out, i), wanted = x;
                switch (op) {
                case UNARY_NEGATE: wanted.i = -x.i, wanted.f = -x.f; break;
                case UNARY_ABS: wanted.i = x.i < 0 ? -x.i : x.i, wanted.f = fabs(x.f); break;
                case UNARY_FLOOR: wanted.f = floor(x.f); break;
                case UNARY_CEIL: wanted.f = ceil(x.f); break;
                case UNARY_ROUND: wanted.f = round(x.f); break;
                case UNARY_SQRT: wanted.f = kind == NUMBER_F32 ? (double)sqrtf((float)x.f) : sqrt(x.f); break;
                }
                bool bad = !x.is_float && !fits(kind, wanted.i);
                any |= bad;
                if (!bad) assert_true(same(got, wanted));
            }
            assert_int_equal(failed, any);
            for (size_t i = n * width_of(kind); i < sizeof out; i++) assert_int_equal(out[i], 0xa5);
        }
    }
}

static void bitmaps(void **state) {
    for (int level = 0; level < CPU_LEVELS; level++) {
        const kernel_set *k = set_of(level);
        for (int turn = 0; k && turn < n_sizes * 20; turn++) {
            uint32_t n = sizes[turn / 20], wanted = 0;
            uint64_t bits[rows_max / 64 + 1], again[rows_max / 64 + 1];
            uint8_t bytes[rows_max + 1];
            uint32_t *rows = malloc(n * sizeof *rows); /* exactly: writing past it is seen */
            assert_non_null(rows);
            for (size_t i = 0; i < rows_max / 64 + 1; i++) {
                bits[i] = next_random();
                if (turn % 3 == 0) bits[i] &= next_random() & next_random() & next_random();
                if (turn % 20 == 1) bits[i] = 0;
                if (turn % 20 == 2) bits[i] = UINT64_MAX;
            }
            uint32_t found = k->rows_from_bits(bits, n, 1000, rows);
            bytes[n] = 77;
            k->bytes_from_bits(bits, bytes, n);
            assert_int_equal(bytes[n], 77);
            for (uint32_t i = 0; i < n; i++) {
                bool one = bits[i / 64] >> (i % 64) & 1;
                assert_int_equal(bytes[i], one);
                if (one) assert_int_equal(rows[wanted++], 1000 + i);
                if (one && i % 2) bytes[i] = 200; /* any byte but 0 is true */
            }
            assert_int_equal(found, wanted);
            k->bits_from_bytes(bytes, again, n);
            for (uint32_t i = 0; i < (n + 63) / 64 * 64; i++) {
                assert_int_equal(again[i / 64] >> (i % 64) & 1, i < n && (bits[i / 64] >> (i % 64) & 1));
            }
            free(rows);
        }
    }
}

static void blending(void **state) {
    for (int level = 0; level < CPU_LEVELS; level++) {
        const kernel_set *k = set_of(level);
        for (int turn = 0; k && turn < n_sizes * 12; turn++) {
            uint32_t n = sizes[turn / 12], width = 4u << (turn % 3);
            bool a_constant = turn / 3 % 2, b_constant = turn / 6 % 2;
            uint64_t pick[rows_max / 64 + 1];
            _Alignas(16) uint8_t a[rows_max * 16], b[rows_max * 16], out[rows_max * 16];
            for (size_t i = 0; i < sizeof a; i++) a[i] = (uint8_t)next_random(), b[i] = (uint8_t)next_random();
            for (size_t i = 0; i < rows_max / 64 + 1; i++) pick[i] = next_random();
            void *to = turn % 4 == 0 && !a_constant ? a : out; /* in place too */
            uint8_t a_before[sizeof a];
            memcpy(a_before, a, sizeof a);
            k->blend[turn % 3](pick, a, a_constant, b, b_constant, to, n);
            for (uint32_t i = 0; i < n; i++) {
                const uint8_t *wanted = pick[i / 64] >> (i % 64) & 1 ? a_before + (a_constant ? 0 : i * width)
                                                                     : b + (b_constant ? 0 : i * width);
                assert_memory_equal((uint8_t *)to + i * width, wanted, width);
            }
        }
    }
}

static void views(void **state) {
    static const char *const texts[] = {"", "a", "abcd", "abce", "abcdefghijkl", "abcdefghijkm", "abcdefghijklm", "abcdxxxxxxxxx"};
    const view whole = {.size = UINT32_MAX, .small = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}};
    const view start = {.small = {255, 255}};
    for (int level = 0; level < CPU_LEVELS; level++) {
        const kernel_set *k = set_of(level);
        for (int turn = 0; k && turn < n_sizes * 8; turn++) {
            uint32_t n = sizes[turn / 8];
            const char *wanted = texts[turn % 8];
            view v[rows_max], constant = view_make((const uint8_t *)wanted, (uint32_t)strlen(wanted));
            const char *text[rows_max];
            uint64_t bits[rows_max / 64 + 1];
            bool any_long = false;
            for (uint32_t i = 0; i < n; i++) {
                text[i] = texts[next_random() % 8];
                v[i] = view_make((const uint8_t *)text[i], (uint32_t)strlen(text[i]));
                any_long |= v[i].size > VIEW_SMALL_MAX;
            }
            assert_int_equal(k->views_any_long(v, n), any_long);
            k->views_equal(v, &constant, &whole, bits, n);
            for (uint32_t i = 0; i < (n + 63) / 64 * 64; i++) {
                assert_int_equal(bits[i / 64] >> (i % 64) & 1, i < n && strcmp(text[i], wanted) == 0);
            }
            if (strlen(wanted) < 2) continue;
            k->views_equal(v, &constant, &start, bits, n);
            for (uint32_t i = 0; i < n; i++) {
                assert_int_equal(bits[i / 64] >> (i % 64) & 1, strncmp(text[i], wanted, 2) == 0);
            }
        }
    }
}

/* Texts of letters, other ASCII and two-byte letters. */
static void bytes_of_texts(void **state) {
    for (int level = 0; level < CPU_LEVELS; level++) {
        const kernel_set *k = set_of(level);
        for (int turn = 0; k && turn < 4000; turn++) {
            static const uint8_t alphabet[] = "abzAZ@[`{a ";
            uint32_t n = (uint32_t)(next_random() % 200), points = 0;
            uint8_t *p = malloc(n + 1), *to = malloc(n + 1); /* no byte more than needed */
            assert_non_null(p);
            assert_non_null(to);
            bool ascii = true, changed, upper = turn & 1, any = false;
            for (uint32_t i = 0; i < n; i++) {
                p[i] = alphabet[next_random() % (turn % 3 ? 2 : 11)];
                if (turn % 4 == 0 && i + 1 < n && next_random() % 32 == 0) {
                    p[i++] = 0xc3;
                    p[i] = 0xa9;
                    ascii = false;
                }
                points++;
            }
            assert_int_equal(k->count_points(p, n), points);
            assert_int_equal(k->all_ascii(p, n), ascii);
            assert_int_equal(k->ascii_case(p, n, upper, to, &changed), ascii);
            for (uint32_t i = 0; i < n && ascii; i++) {
                bool letter = upper ? p[i] >= 'a' && p[i] <= 'z' : p[i] >= 'A' && p[i] <= 'Z';
                any |= letter;
                assert_int_equal(to[i], letter ? p[i] ^ 0x20 : p[i]);
            }
            if (ascii) assert_int_equal(changed, any);
            uint32_t m = (uint32_t)(next_random() % 12), at = n ? (uint32_t)(next_random() % n) : 0;
            uint8_t part[12];
            for (uint32_t i = 0; i < m; i++) part[i] = alphabet[next_random() % 2];
            if (turn % 2 && at + m <= n) memcpy(part, p + at, m);
            const uint8_t *wanted = NULL;
            for (uint32_t i = 0; i + m <= n && !wanted; i++) {
                if (memcmp(p + i, part, m) == 0) wanted = p + i;
            }
            assert_ptr_equal(k->find_bytes(p, n, part, m), wanted);
            free(p);
            free(to);
        }
        /* candidates that keep failing must not cost n * m */
        enum { large = 1 << 22, half = 1 << 16 };
        uint8_t *text = k ? malloc(large) : NULL, *part = text ? malloc(half) : NULL;
        if (!part) continue;
        memset(text, 'a', large);
        memset(part, 'a', half);
        part[half / 2] = 'b';
        assert_null(k->find_bytes(text, large, part, half));
        memcpy(text + large - half, part, half);
        assert_ptr_equal(k->find_bytes(text, large, part, half), text + large - half);
        free(text);
        free(part);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic),  cmocka_unit_test(no_false_alarms), cmocka_unit_test(comparisons),
        cmocka_unit_test(conversions), cmocka_unit_test(one_operand),     cmocka_unit_test(bitmaps),
        cmocka_unit_test(blending),    cmocka_unit_test(views),
        cmocka_unit_test(bytes_of_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
