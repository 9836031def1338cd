/* sort_vqsort.h: Highway's vectorised quicksort behind a C header. Neither allocates nor fails; any
 * thread. Wassenberg, Blacher, Giesen and Sanders, "Vectorized and performance-portable Quicksort", 2022. */
#ifndef STEP_SORT_VQSORT_H
#define STEP_SORT_VQSORT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void vqsort_words(uint64_t *words, size_t n); /* ascending */

#ifdef __cplusplus
}
#endif
#endif
