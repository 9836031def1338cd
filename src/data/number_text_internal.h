/* number_text_internal.h: the parsers by level of instructions, so that tests can hold them against
 * each other. The processor must have `level`; one that this build lacks is plain. */
#ifndef DATA_NUMBER_TEXT_INTERNAL_H
#define DATA_NUMBER_TEXT_INTERNAL_H

#include "data/cpu_level.h"
#include "data/number_text.h"

#ifdef __cplusplus
extern "C" {
#endif

parse_status parse_int64_at(cpu_level level, const char *p, size_t n, int64_t *out);
parse_status parse_float32_at(cpu_level level, const char *p, size_t n, float *out);
parse_status parse_float64_at(cpu_level level, const char *p, size_t n, double *out);

#ifdef __cplusplus
}
#endif
#endif
