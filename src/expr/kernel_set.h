/* kernel_set.h: the loops over values, bitmaps and bytes, compiled once per instruction set.
 *
 * `n` values each; inputs and output do not overlap. Bitmaps have the lowest bit first, are written in
 * whole words, and have zeros past n. Arithmetic kernels return whether some row may have failed: then
 * the caller goes through the rows with the exact code, and the values of other rows are right (of
 * ARITH_DIVIDE_WHOLE and ARITH_REMAINDER none are). */
#ifndef EXPR_KERNEL_SET_H
#define EXPR_KERNEL_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "data/batch.h"
#include "data/cpu_level.h"

typedef enum number_kind { NUMBER_I32, NUMBER_I64, NUMBER_F32, NUMBER_F64 } number_kind;
#define NUMBER_KINDS 4

typedef enum compare_kind {
    COMPARE_EQUAL,
    COMPARE_NOT_EQUAL,
    COMPARE_LESS,
    COMPARE_LESS_EQUAL,
    COMPARE_GREATER,
    COMPARE_GREATER_EQUAL
} compare_kind;
#define COMPARE_KINDS 6

typedef enum arith_kind {
    ARITH_ADD,
    ARITH_SUBTRACT,
    ARITH_MULTIPLY,
    ARITH_DIVIDE, /* floats only */
    ARITH_DIVIDE_WHOLE,
    ARITH_REMAINDER,
    ARITH_LEAST,
    ARITH_GREATEST
} arith_kind;
#define ARITH_KINDS 8

typedef enum unary_kind {
    UNARY_NEGATE,
    UNARY_ABS,
    UNARY_FLOOR, /* this and the following: floats only */
    UNARY_CEIL,
    UNARY_ROUND,
    UNARY_SQRT
} unary_kind;
#define UNARY_KINDS 6

typedef enum operand_shape { SHAPE_RUNS, SHAPE_RUN_CONSTANT, SHAPE_CONSTANT_RUN } operand_shape;
#define OPERAND_SHAPES 3

typedef bool (*arith_function)(const void *a, const void *b, void *out, uint32_t n);
typedef void (*compare_function)(const void *a, const void *b, uint64_t *bits, uint32_t n);
typedef bool (*unary_function)(const void *a, void *out, uint32_t n);

typedef struct kernel_set {
    const char *name;
    arith_function arith[ARITH_KINDS][NUMBER_KINDS][OPERAND_SHAPES];
    compare_function compare[COMPARE_KINDS][NUMBER_KINDS][2]; /* no SHAPE_CONSTANT_RUN */
    unary_function convert[NUMBER_KINDS][NUMBER_KINDS];        /* [from][to] */
    unary_function unary[UNARY_KINDS][NUMBER_KINDS];
    /* Takes values of a where the bit is 1, of b elsewhere; by the bytes of a value: 4, 8, 16.
     * `pick` has whole words for n; `out` may be `a` or `b`. */
    void (*blend[3])(const uint64_t *pick, const void *a, bool a_constant, const void *b,
                     bool b_constant, void *out, uint32_t n);
    void (*bits_from_bytes)(const uint8_t *bytes, uint64_t *bits, uint32_t n); /* not 0: 1 */
    void (*bytes_from_bits)(const uint64_t *bits, uint8_t *bytes, uint32_t n);
    /* Appends first + i for each bit i that is 1 of the n; returns how many. Room for n. */
    uint32_t (*rows_from_bits)(const uint64_t *bits, uint32_t n, uint32_t first, uint32_t *rows);
    /* Whether each view has the very 16 bytes (`mask` 0) or the same bytes where mask is 1. */
    void (*views_equal)(const view *a, const view *b, const view *mask, uint64_t *bits, uint32_t n);
    bool (*views_any_long)(const view *views, uint32_t n);

    /* The bytes of one text. */
    uint32_t (*count_points)(const uint8_t *p, uint32_t n); /* of UTF-8 */
    bool (*all_ascii)(const uint8_t *p, uint32_t n);
    /* Letters to the other case, n bytes to `to`; false when a byte is not ASCII. */
    bool (*ascii_case)(const uint8_t *p, uint32_t n, bool upper, uint8_t *to, bool *changed);
    /* As memmem. */
    const uint8_t *(*find_bytes)(const uint8_t *p, size_t n, const uint8_t *part, size_t m);
} kernel_set;

typedef union kernel_entry {
    arith_function arith[OPERAND_SHAPES];
    compare_function compare[2];
    unary_function unary;
} kernel_entry;

extern const kernel_set kernel_set_plain;
#if defined(__x86_64__)
extern const kernel_set kernel_set_avx2, kernel_set_avx512;
#endif
const kernel_set *kernel_set_of(cpu_level level);

#endif
