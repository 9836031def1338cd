/* search.h: which rate is tried next: growth until a bottleneck, then bisection.
 *
 * After the algorithm of Blamey, Hellander, Toor, "Apache Spark Streaming, Kafka and HarmonicIO: A Performance
 * Benchmark and Architecture Comparison for Enterprise and Scientific Computing" (2019), Listing 1, in factors instead of
 * differences, as rates span seven decades. What failed narrowly is tried once more before it counts: a moment in which
 * something else ran is not the engine's limit. No I/O, no clock. */
#ifndef BENCH_SEARCH_H
#define BENCH_SEARCH_H

#include <stdbool.h>

enum { SEARCH_TRIALS_MAX = 40 };

typedef struct search {
    double precision;       /* ends when what failed is at most this share above what was sustained */
    double least;           /* rates below are given up */
    double sustained;       /* the largest so far; 0: none */
    double failed;          /* the least so far; 0: none */
    double rate;            /* to be tried now */
    unsigned trials;
    bool again;             /* `rate` failed narrowly once */
} search;

typedef enum search_told {
    SEARCH_SUSTAINED,
    SEARCH_FAILED_NARROWLY, /* worth another try */
    SEARCH_FAILED
} search_told;

/* The first rate is s->rate. */
search search_from(double rate, double precision);
/* What became of s->rate, and how much was delivered at it (0: not known), near which it goes on when nothing was sustained
 * yet. True: try the new s->rate; false: s->sustained is the answer. */
bool search_tell(search *s, search_told told, double delivered);

#endif
