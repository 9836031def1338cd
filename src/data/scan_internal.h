/* scan_internal.h: the kernels behind scan.h, one table for each level of instructions, so that
 * tests can hold them against each other. */
#ifndef DATA_SCAN_INTERNAL_H
#define DATA_SCAN_INTERNAL_H

#include "data/cpu_level.h"
#include "data/scan.h"

typedef struct scan_kernels {
    void (*bitmap)(const uint8_t *p, size_t n, scan_set set, uint64_t *bits);
    void (*space_bitmap)(const uint8_t *p, size_t n, uint64_t *bits);
    size_t (*count)(const uint8_t *p, size_t n, uint8_t byte);
    void (*lower)(uint8_t *to, const uint8_t *from, size_t n);
} scan_kernels;

typedef scan_csv_result scan_csv_kernel(const uint8_t *p, size_t n, uint8_t delimiter,
                                        uint8_t quote, uint64_t *in_quote, uint32_t *positions,
                                        size_t capacity, uint64_t *quote_bits);

/* Never NULL; a level that this build does not have gives the plain one. The caller sees to it that
 * the processor has `level`. */
const scan_kernels *scan_kernels_at(cpu_level level);
scan_csv_kernel *scan_csv_kernel_at(cpu_level level);

/* Little-endian eight bytes: bit i of the result is set where byte i of `x` is zero. */
static inline uint64_t zero_bytes_to_bits(uint64_t x) {
    const uint64_t low7 = 0x7f7f7f7f7f7f7f7fU;
    uint64_t zero = ~(((x & low7) + low7) | x | low7); /* 0x80 in exactly the zero bytes */
    return ((zero >> 7) * 0x0102040810204080U) >> 56;
}

#define REPEAT8(byte) (0x0101010101010101U * (uint64_t)(uint8_t)(byte))

#endif
