/* Points and a linear function: rows of numbers.
 *
 * Values lie on a decimal grid (a millionth; y a thousandth of that, so that it is exact), computed
 * as integers: an integer below 2^53 divided by a power of ten is the very double that its decimal
 * text reads back as, and short text is quick to write and to read. */
#include "data/generate_internal.h"

/* A fused multiply-add rounds once instead of twice: it would change the bytes. (clang heeds this
 * unless it is run with -ffp-contract=fast; a unit test would fail.) */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#define MICRO INT64_C(1000000)
#define NANO INT64_C(1000000000)
#define CENTER_MICRO (10 * MICRO)
#define COEFFICIENT_MILLI 5000

/* ---- normal deviates: the inverse of the distribution, by rational functions ----
 * Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", 1988 (PPND16). */

/* ln(x) of a positive normal double, by the series of the inverse hyperbolic tangent. */
static double natural_logarithm(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t exponent = (int64_t)(bits >> 52) - 1023;
    bits = (bits & UINT64_C(0xfffffffffffff)) | UINT64_C(0x3ff0000000000000);
    double mantissa;
    memcpy(&mantissa, &bits, sizeof mantissa);
    if (mantissa > 1.4142135623730951) {
        mantissa = mantissa * 0.5;
        exponent++;
    }
    double s = (mantissa - 1.0) / (mantissa + 1.0), square = s * s, sum = 1.0 / 23.0;
    for (int odd = 21; odd >= 1; odd -= 2) sum = sum * square + 1.0 / odd;
    return 2.0 * s * sum + (double)exponent * 0.6931471805599453;
}

static inline double ratio(double x, const double numerator[8], const double denominator[8]) {
    double above = numerator[7], below = denominator[7];
    for (int i = 6; i >= 0; i--) {
        above = above * x + numerator[i];
        below = below * x + denominator[i];
    }
    return above / below;
}

/* sqrt is exact to the last bit in IEEE 754, so the compiler's is everyone's. */
static double normal_tail(double q, double p) {
    static const double near_above[8] = {
        1.42343711074968357734e0,  4.63033784615654529590e0,  5.76949722146069140550e0,
        3.64784832476320460504e0,  1.27045825245236838258e0,  2.41780725177450611770e-1,
        2.27238449892691845833e-2, 7.74545014278341407640e-4,
    };
    static const double near_below[8] = {
        1.0,
        2.05319162663775882187e0,
        1.67638483018380384940e0,
        6.89767334985100004550e-1,
        1.48103976427480074590e-1,
        1.51986665636164571966e-2,
        5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    };
    static const double far_above[8] = {
        6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
        2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
        2.71155556874348757815e-5, 2.01033439929228813265e-7,
    };
    static const double far_below[8] = {
        1.0,
        5.99832206555887937690e-1,
        1.36929880922735805310e-1,
        1.48753612908506148525e-2,
        7.86869131145613259100e-4,
        1.84631831751005468180e-5,
        1.42151175831644588870e-7,
        2.04426310338993978564e-15,
    };
    double r = __builtin_sqrt(-natural_logarithm(q < 0.0 ? p : 1.0 - p));
    double z = r <= 5.0 ? ratio(r - 1.6, near_above, near_below)
                        : ratio(r - 5.0, far_above, far_below);
    return q < 0.0 ? -z : z;
}

/* The nearest integer, halves away from zero; |x| below 2^52. */
static inline int64_t rounded(double x) {
    return x < 0.0 ? -(int64_t)(0.5 - x) : (int64_t)(x + 0.5);
}

/* Where q = p - 1/2 is in the middle 85 %. */
#define CENTRAL 0.425

static inline double normal_central(double q) {
    static const double above[8] = {
        3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
        1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
        3.3430575583588128105e4, 2.5090809287301226727e3,
    };
    static const double below[8] = {
        1.0,
        4.2313330701600911252e1,
        6.8718700749205790830e2,
        5.3941960214247511077e3,
        2.1213794301586595867e4,
        3.9307895800092710610e4,
        2.8729085735721942674e4,
        5.2264952788528545610e3,
    };
    return q * ratio(0.180625 - q * q, above, below);
}

/* p - 1/2 of an even p in (0, 1) that is an odd multiple of 2^-53; every operation is exact. */
static inline double centered(uint64_t random) {
    uint64_t bits = random >> 12 | UINT64_C(0x3ff0000000000000);
    double one_to_two;
    memcpy(&one_to_two, &bits, sizeof one_to_two);
    return (one_to_two - 1.5) + 0x1p-53;
}

double normal_deviate(uint64_t random) {
    double q = centered(random);
    return q <= CENTRAL && q >= -CENTRAL ? normal_central(q) : normal_tail(q, q + 0.5);
}

/* Many at a time: the middle without a branch, so that the compiler makes vectors of it, then the
 * tails. */
#define NORMALS_BLOCK 64

static void normals_micro(uint64_t key, uint64_t first, size_t count, int64_t micro[]) {
    double q[NORMALS_BLOCK], z[NORMALS_BLOCK];
    for (size_t i = 0; i < count; i++) q[i] = centered(random_at(key, first + i));
    for (size_t i = 0; i < count; i++) z[i] = normal_central(q[i]);
    for (size_t i = 0; i < count; i++)
        if (q[i] > CENTRAL || q[i] < -CENTRAL) z[i] = normal_tail(q[i], q[i] + 0.5);
    for (size_t i = 0; i < count; i++) micro[i] = rounded(z[i] * 1e6);
}

/* ---- points ---- */

enum { POINTS_STREAM_CLUSTER, POINTS_STREAM_CENTER, POINTS_STREAM_VALUE };

uint64_t generate_cluster(const generate *g, uint64_t row) {
    if (g->kind != GENERATE_KIND_POINTS) return 0;
    return random_below(random_at(random_stream(g->key, POINTS_STREAM_CLUSTER), row),
                        (uint64_t)g->options.values[POINTS_CLUSTERS].integer);
}

static inline int64_t center_micro(uint64_t center_key, uint64_t column) {
    return (int64_t)random_below(random_at(center_key, column), 2 * CENTER_MICRO + 1) - CENTER_MICRO;
}

static uint64_t center_key(const generate *g, uint64_t cluster) {
    return random_at(random_stream(g->key, POINTS_STREAM_CENTER), cluster);
}

double generate_center(const generate *g, uint64_t cluster, size_t column) {
    if (g->kind != GENERATE_KIND_POINTS) return 0.0;
    return (double)center_micro(center_key(g, cluster), column) / 1e6;
}

/* What a row's values are drawn from. */
typedef struct point_row {
    uint64_t center_key, value_key;
} point_row;

static inline point_row point_row_at(const generate *g, uint64_t row) {
    return (point_row){center_key(g, generate_cluster(g, row)),
                       random_at(random_stream(g->key, POINTS_STREAM_VALUE), row)};
}

/* Columns first to first + count of a row, count up to NORMALS_BLOCK. */
static void point_micro(point_row row, uint64_t first, size_t count, int64_t micro[]) {
    normals_micro(row.value_key, first, count, micro);
    for (size_t i = 0; i < count; i++) micro[i] += center_micro(row.center_key, first + i);
}

static inline size_t block_of(size_t columns, size_t first) {
    return columns - first < NORMALS_BLOCK ? columns - first : NORMALS_BLOCK;
}

size_t points_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out) {
    uint8_t *at = out;
    int64_t micro[NORMALS_BLOCK];
    for (uint64_t i = first; i < first + count; i++) {
        point_row row = point_row_at(g, i);
        for (size_t c = 0, n; c < g->columns; c += n) {
            n = block_of(g->columns, c);
            point_micro(row, c, n, micro);
            for (size_t j = 0; j < n; j++) {
                at = put_decimal(at, micro[j], 6, MICRO);
                *at++ = ',';
            }
        }
        at[-1] = '\n';
    }
    return (size_t)(at - out);
}

void points_values(const generate *g, uint64_t first, size_t count, void *const *columns) {
    int64_t micro[NORMALS_BLOCK];
    for (size_t i = 0; i < count; i++) {
        point_row row = point_row_at(g, first + i);
        for (size_t c = 0, n; c < g->columns; c += n) {
            n = block_of(g->columns, c);
            point_micro(row, c, n, micro);
            for (size_t j = 0; j < n; j++)
                if (columns[c + j]) ((double *)columns[c + j])[i] = (double)micro[j] / 1e6;
        }
    }
}

/* ---- a linear function ---- */

enum { LINEAR_STREAM_COEFFICIENT, LINEAR_STREAM_VALUE, LINEAR_STREAM_NOISE };

void linear_prepare(generate *g) {
    uint64_t key = random_stream(g->key, LINEAR_STREAM_COEFFICIENT);
    for (size_t i = 0; i < g->columns; i++) /* an intercept and a coefficient for every x */
        g->coefficients_milli[i] =
            (int64_t)random_below(random_at(key, i), 2 * COEFFICIENT_MILLI + 1) - COEFFICIENT_MILLI;
}

double generate_coefficient(const generate *g, size_t term) {
    if (g->kind != GENERATE_KIND_LINEAR || term >= g->columns) return 0.0;
    return (double)g->coefficients_milli[term] / 1e3;
}

static inline uint64_t linear_row_key(const generate *g, uint64_t row) {
    return random_at(random_stream(g->key, LINEAR_STREAM_VALUE), row);
}

/* y without what the x add: intercept and noise. */
static inline int64_t linear_base_nano(const generate *g, uint64_t row) {
    uint64_t random = random_at(random_stream(g->key, LINEAR_STREAM_NOISE), row);
    double noise = g->options.values[LINEAR_NOISE].number * normal_deviate(random);
    return g->coefficients_milli[0] * MICRO + rounded(noise * 1e9);
}

/* Adds the share of x first to first + count (from 1) to y, and gives the x. */
static int64_t linear_block(const generate *g, uint64_t row_key, size_t first, size_t count,
                            int64_t x_micro[]) {
    int64_t y_nano = 0;
    normals_micro(row_key, first, count, x_micro);
    for (size_t j = 0; j < count; j++) y_nano += g->coefficients_milli[first + j] * x_micro[j];
    return y_nano;
}

/* nano / 10^9: one digit after the point, then up to eight more. */
static uint8_t *put_nano(uint8_t *out, int64_t nano) {
    *out = '-';
    out += nano < 0;
    uint64_t magnitude = nano < 0 ? 0 - (uint64_t)nano : (uint64_t)nano;
    uint64_t fraction = magnitude % NANO, rest = fraction % (NANO / 10);
    out = put_unsigned(out, magnitude / NANO);
    *out++ = '.';
    *out++ = (uint8_t)('0' + fraction / (NANO / 10));
    return rest == 0 ? out : put_fraction(out, rest, 8);
}

size_t linear_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out) {
    uint8_t *at = out;
    int64_t x_micro[NORMALS_BLOCK];
    for (uint64_t i = first; i < first + count; i++) {
        /* y comes first but is known last: the x are written where it cannot reach, then moved. */
        uint64_t row_key = linear_row_key(g, i);
        int64_t y_nano = linear_base_nano(g, i);
        uint8_t *x = at + LINEAR_Y_BYTES, *x_end = x;
        for (size_t c = 1, n; c < g->columns; c += n) {
            n = block_of(g->columns, c);
            y_nano += linear_block(g, row_key, c, n, x_micro);
            for (size_t j = 0; j < n; j++) {
                *x_end++ = ',';
                x_end = put_decimal(x_end, x_micro[j], 6, MICRO);
            }
        }
        *x_end++ = '\n';
        at = put_nano(at, y_nano);
        memmove(at, x, (size_t)(x_end - x));
        at += x_end - x;
    }
    return (size_t)(at - out);
}

void linear_values(const generate *g, uint64_t first, size_t count, void *const *columns) {
    int64_t x_micro[NORMALS_BLOCK];
    for (size_t i = 0; i < count; i++) {
        uint64_t row_key = linear_row_key(g, first + i);
        int64_t y_nano = linear_base_nano(g, first + i);
        for (size_t c = 1, n; c < g->columns; c += n) {
            n = block_of(g->columns, c);
            y_nano += linear_block(g, row_key, c, n, x_micro);
            for (size_t j = 0; j < n; j++)
                if (columns[c + j]) ((double *)columns[c + j])[i] = (double)x_micro[j] / 1e6;
        }
        if (columns[0]) ((double *)columns[0])[i] = (double)y_nano / 1e9;
    }
}
