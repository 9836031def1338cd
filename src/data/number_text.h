/* number_text.h: numbers as text, both ways, as CSV and JSON hold them.
 *
 * A parser takes the whole field [p, p + n), reads nothing outside it, allows no white space and
 * does not look at the locale. On anything but PARSE_OK `*out` is untouched. Nothing here allocates
 * or keeps state: any thread may call. */
#ifndef DATA_NUMBER_TEXT_H
#define DATA_NUMBER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum parse_status {
    PARSE_OK = 0,
    PARSE_MALFORMED = 1, /* not such a value at all */
    PARSE_RANGE = 2      /* well formed, but the type cannot hold it */
} parse_status;

/* An optional `+` or `-`, then decimal digits; leading zeros are allowed. */
parse_status parse_int32(const char *p, size_t n, int32_t *out);
parse_status parse_int64(const char *p, size_t n, int64_t *out);

/* Decimal with an optional sign, point and exponent, at least one digit before the exponent (`5.`
 * and `.5` are numbers), or `inf`, `infinity`, `nan` in any case with an optional sign. Correctly
 * rounded, ties to even. What is too large is PARSE_RANGE, what is too small becomes zero. */
parse_status parse_float32(const char *p, size_t n, float *out);
parse_status parse_float64(const char *p, size_t n, double *out);

/* `true` or `false`, exactly. */
parse_status parse_bool(const char *p, size_t n, bool *out);

/* Room that any number needs. The formatters write no NUL and return the length, at most
 * FORMAT_NUMBER_MAX, which is how much of `to` they may touch. */
#define FORMAT_NUMBER_MAX 32

size_t format_int64(int64_t value, char *to);

/* The shortest text that reads back as the same number of the same type, as std::to_chars defines
 * it: 1 is `1`, not `1.0`; of plain and exponent notation the shorter, plain when equal (10000,
 * 1e+05, 123456, 0.001, 1e-04); `-0`, `inf`, `-inf`, `nan`. */
size_t format_float32(float value, char *to);
size_t format_float64(double value, char *to);

#ifdef __cplusplus
}
#endif
#endif
