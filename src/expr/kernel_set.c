/* The loops for any processor, and the choice among the sets. */
#include "expr/kernel_set.h"

#include <string.h>

#define KERNELS_NAME kernel_set_plain
#define KERNELS_TEXT "plain"
#include "expr/kernel_set_body.h"

const kernel_set *kernel_set_of(cpu_level level) {
#if defined(__x86_64__)
    if (level == CPU_AVX512) return &kernel_set_avx512;
    if (level == CPU_AVX2) return &kernel_set_avx2;
#endif
    return &kernel_set_plain;
}
