#include "step/sort_vqsort.h"

#include <hwy/contrib/sort/vqsort.h>

void vqsort_words(uint64_t *words, size_t n) { hwy::Sorter()(words, n, hwy::SortAscending()); }
