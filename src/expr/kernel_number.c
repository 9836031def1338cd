/* The loops over numbers for any processor, and the choice among the sets. */
#include "expr/kernel_number.h"

#include <string.h>

#define KERNELS_NAME number_kernels_plain
#define KERNELS_TEXT "plain"
#include "expr/kernel_number_body.h"

const number_kernels *number_kernels_of(cpu_level level) {
#if defined(__x86_64__)
    if (level == CPU_AVX512) return &number_kernels_avx512;
    if (level == CPU_AVX2) return &number_kernels_avx2;
#endif
    return &number_kernels_plain;
}
