/* The inner loops of generate_text.c for AVX-512: eight words at a time. */
#include "data/cpu_level.h"
#include "data/generate_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi")))

AVX512 static inline __m512i mix_lanes(__m512i z) {
    z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 30));
    z = _mm512_mullo_epi64(z, _mm512_set1_epi64((long long)UINT64_C(0xbf58476d1ce4e5b9)));
    z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 27));
    z = _mm512_mullo_epi64(z, _mm512_set1_epi64((long long)UINT64_C(0x94d049bb133111eb)));
    return _mm512_xor_si512(z, _mm512_srli_epi64(z, 31));
}

AVX512 static size_t draw_avx512(uint64_t position, uint32_t octaves, uint32_t vocabulary,
                                 uint32_t *ranks) {
    const __m512i one = _mm512_set1_epi64(1), low = _mm512_set1_epi64(0xffffffff);
    const __m512i octave_count = _mm512_set1_epi64(octaves), most = _mm512_set1_epi64(vocabulary);
    const __m512i step = _mm512_set1_epi64((long long)(TEXT_LANES * RANDOM_STEP));
    __m512i index = _mm512_set_epi64(8, 7, 6, 5, 4, 3, 2, 1);
    __m512i at = _mm512_add_epi64(_mm512_set1_epi64((long long)position),
                                  _mm512_mullo_epi64(index, _mm512_set1_epi64((long long)RANDOM_STEP)));
    size_t n = 0;
    for (size_t i = 0; i < TEXT_BATCH; i += TEXT_LANES, at = _mm512_add_epi64(at, step)) {
        __m512i random = mix_lanes(at);
        __m512i scaled = _mm512_mul_epu32(_mm512_srli_epi64(random, 32), octave_count);
        __m512i least = _mm512_sllv_epi64(one, _mm512_srli_epi64(scaled, 32));
        __m512i coin = _mm512_and_si512(scaled, low);
        __m512i rank = _mm512_add_epi64(least,
                                        _mm512_and_si512(random, _mm512_sub_epi64(least, one)));
        __mmask8 kept = _mm512_cmplt_epu64_mask(_mm512_mul_epu32(coin, rank),
                                                _mm512_slli_epi64(least, 32)) &
                        _mm512_cmple_epu64_mask(rank, most);
        __m512i packed = _mm512_maskz_compress_epi64(kept, rank);
        _mm256_storeu_si256((__m256i *)&ranks[n], _mm512_cvtepi64_epi32(packed));
        n += (size_t)__builtin_popcount(kept);
    }
    return n;
}

/* 16 bytes for each of four words, from their bits twice side by side: the syllable of every letter
 * by a shift, its first or second letter by a table of 128. */
AVX512 static inline __m512i letters_of(__m512i bits, const __m512i first[2],
                                        const __m512i second[2]) {
    const __m512i shifts = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 0, 7, 7, 14, 14, 21, 21, 28, 28, 35, 35, 35, 35, 35, 35));
    __m512i index = _mm512_multishift_epi64_epi8(shifts, bits);
    index = _mm512_and_si512(index, _mm512_set1_epi8(127));
    __m512i firsts = _mm512_permutex2var_epi8(first[0], index, first[1]);
    __m512i seconds = _mm512_permutex2var_epi8(second[0], index, second[1]);
    return _mm512_mask_blend_epi8(UINT64_C(0xaaaaaaaaaaaaaaaa), firsts, seconds);
}

AVX512 static void spell_avx512(const uint32_t *ranks, size_t count,
                                uint8_t (*letters)[TEXT_WORD_BYTES], uint8_t *lengths) {
    /* The syllables' first letters apart from their second ones. */
    uint8_t apart[2][128] __attribute__((aligned(64)));
    for (size_t i = 0; i < 128; i++) {
        apart[0][i] = (uint8_t)text_syllables[i][0];
        apart[1][i] = (uint8_t)text_syllables[i][1];
    }
    const __m512i first[2] = {_mm512_load_si512(apart[0]), _mm512_load_si512(apart[0] + 64)};
    const __m512i second[2] = {_mm512_load_si512(apart[1]), _mm512_load_si512(apart[1] + 64)};
    const __m512i spelled[2] = {_mm512_loadu_si512(text_spelled),
                                _mm512_loadu_si512(text_spelled + 8)};
    const __m512i lower = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
    const __m512i upper = _mm512_set_epi64(7, 7, 6, 6, 5, 5, 4, 4);
    const __m512i one = _mm512_set1_epi64(1);
    for (size_t i = 0; i < count; i += TEXT_LANES) {
        __m512i rank = _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)&ranks[i]));
        __m512i octave = _mm512_sub_epi64(_mm512_set1_epi64(63), _mm512_lzcnt_epi64(rank));
        __m512i hash = _mm512_mullo_epi64(rank, _mm512_set1_epi64((long long)RANDOM_STEP));
        __m512i more = _mm512_add_epi64(_mm512_srli_epi64(hash, 63),
                                        _mm512_and_si512(_mm512_srli_epi64(hash, 62), one));
        __m512i length = _mm512_add_epi64(
            _mm512_add_epi64(more, _mm512_set1_epi64(3)), _mm512_srli_epi64(octave, 2));
        __m512i entry = _mm512_permutex2var_epi64(spelled[0], length, spelled[1]);
        __m512i mask = _mm512_and_si512(entry, _mm512_set1_epi64((long long)TEXT_SPELLED_MASK));
        __m512i bits = _mm512_and_si512(hash, mask);
        bits = _mm512_xor_si512(bits, _mm512_srlv_epi64(bits, _mm512_srli_epi64(entry, 56)));
        bits = _mm512_mullo_epi64(bits, _mm512_set1_epi64((long long)TEXT_SCRAMBLE));
        bits = _mm512_ternarylogic_epi64(mask, bits, hash, 0xca); /* mask ? bits : hash */
        __m512i low = letters_of(_mm512_permutexvar_epi64(lower, bits), first, second);
        __m512i high = letters_of(_mm512_permutexvar_epi64(upper, bits), first, second);
        _mm512_storeu_si512(letters[i], low);
        _mm512_storeu_si512(letters[i + 4], high);
        _mm_storel_epi64((__m128i *)&lengths[i], _mm512_cvtepi64_epi8(length));
    }
}

const text_kernel *text_kernel_avx512(void) {
    static const text_kernel kernel = {draw_avx512, spell_avx512};
    bool here = cpu_level_here() == CPU_AVX512 && __builtin_cpu_supports("avx512cd");
    return here ? &kernel : NULL;
}

#else

const text_kernel *text_kernel_avx512(void) { return NULL; }

#endif
