#include "base/histogram.h"

#include <math.h>

static unsigned bucket_of(uint64_t value) {
    if (value < HISTOGRAM_PARTS) return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_PART_BITS;
    return (shift + 1) * HISTOGRAM_PARTS + (unsigned)(value >> shift & (HISTOGRAM_PARTS - 1));
}

/* The greatest value that falls into it. */
static uint64_t end_of(unsigned bucket) {
    if (bucket < HISTOGRAM_PARTS) return bucket;
    unsigned shift = bucket / HISTOGRAM_PARTS - 1;
    uint64_t first = (uint64_t)(HISTOGRAM_PARTS + bucket % HISTOGRAM_PARTS) << shift;
    return first + (((uint64_t)1 << shift) - 1);
}

void histogram_add(histogram *h, uint64_t value, uint64_t times) {
    if (!times) return;
    h->n += times;
    if (value > h->most) h->most = value;
    h->counts[bucket_of(value)] += times;
}

uint64_t histogram_quantile(const histogram *h, double share) {
    uint64_t wanted = (uint64_t)ceil(share * (double)h->n), seen = 0;
    if (wanted < 1) wanted = 1;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen >= wanted) return end_of(i) < h->most ? end_of(i) : h->most;
    }
    return h->most;
}
