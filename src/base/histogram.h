/* histogram.h: counts of latencies with a bounded relative error, so that percentiles cost no sorting.
 *
 * Buckets grow as in Tene's HdrHistogram (2012): each power of two is cut into HISTOGRAM_PARTS equal ones, so a
 * value is known to 1 / HISTOGRAM_PARTS of itself; below HISTOGRAM_PARTS exactly. Used by one thread at a time. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_PART_BITS = 7, HISTOGRAM_PARTS = 1 << HISTOGRAM_PART_BITS };
enum { HISTOGRAM_BUCKETS = (64 - HISTOGRAM_PART_BITS + 1) * HISTOGRAM_PARTS };

/* Start with `histogram h = {0};` */
typedef struct histogram {
    uint64_t n, most;
    uint64_t counts[HISTOGRAM_BUCKETS];
} histogram;

void histogram_add(histogram *h, uint64_t value, uint64_t times);
/* The least value that at least this share (0..1) of all values does not exceed, rounded up to the end of its bucket but
 * not beyond the greatest value; 0 when empty. */
uint64_t histogram_quantile(const histogram *h, double share);

#endif
