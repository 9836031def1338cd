/* utf8_internal.h: the versions behind utf8.h that tests hold against each other. */
#ifndef DATA_UTF8_INTERNAL_H
#define DATA_UTF8_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/cpu_level.h"

#ifdef __cplusplus
extern "C" {
#endif

bool utf8_valid_plain(const char *p, size_t n);

/* simdjson's, by its own choice of kernel; best for long text. */
bool utf8_valid_vectors(const char *p, size_t n);

/* simdjson's kernel number `index` of those this processor can run; false in `*there` past the
 * last. Only for tests. */
bool utf8_valid_kernel(size_t index, const char *p, size_t n, bool *there);

/* Kernels for a level that the processor must have; a level that this build lacks is plain. */
size_t utf8_length_at(cpu_level level, const char *p, size_t n);
size_t utf8_offset_at(cpu_level level, const char *p, size_t n, size_t index);

#ifdef __cplusplus
}
#endif
#endif
