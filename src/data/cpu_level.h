/* cpu_level.h: which vector instructions this processor has, for choosing a kernel at run time.
 * Costs two loads; safe from any thread. */
#ifndef DATA_CPU_LEVEL_H
#define DATA_CPU_LEVEL_H

typedef enum cpu_level {
    CPU_PLAIN = 0, /* whatever the compiler's baseline is */
    CPU_AVX2 = 1,  /* AVX2, BMI1, BMI2, POPCNT, PCLMUL: Haswell, Zen and later */
    CPU_AVX512 = 2 /* and AVX-512 F, BW, DQ, VL, VBMI, VBMI2: Ice Lake, Zen 4 and later */
} cpu_level;

#define CPU_LEVELS 3

#if defined(__x86_64__)
#define TARGET_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt,pclmul")))
#define TARGET_AVX512                                                                              \
    __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt,pclmul,avx512f,avx512bw,avx512dq,avx512vl,"  \
                          "avx512vbmi,avx512vbmi2")))
#endif

static inline cpu_level cpu_level_here(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("pclmul") &&
        __builtin_cpu_supports("bmi2")) {
        return CPU_AVX512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
        __builtin_cpu_supports("pclmul")) {
        return CPU_AVX2;
    }
#endif
    return CPU_PLAIN;
}

#endif
