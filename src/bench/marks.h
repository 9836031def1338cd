/* marks.h: the receiving half of the generator: results that come back, and their latencies.
 *
 * One thread of its own; the others read the counts. A result is a line that begins with the head of a marked message:
 * C, 6 digits, -M, and in 19 digits when it was to be sent (clock_ns). */
#ifndef BENCH_MARKS_H
#define BENCH_MARKS_H

#include <pthread.h>
#include <stdatomic.h>

#include "bench/grid.h"
#include "base/histogram.h"
#include "io/socket.h"

enum { MARK_AT = 8, MARK_DIGITS_AT = 9, MARK_DIGITS = 19 };

typedef struct marks {
    endpoint endpoint;
    int listener, wake[2];
    pthread_t thread;
    bool running;
    atomic_uint_fast64_t back;    /* since marks_begin */
    atomic_uint_fast64_t newest;  /* the latest intended time of what is back */
    pthread_mutex_t lock;         /* of what is below, and of `came` */
    pthread_cond_t came;          /* signalled for each batch of results while someone `waits` */
    bool waits;
    uint64_t from_ns, until_ns;   /* the measured time */
    uint64_t in_time;             /* came back within it */
    uint64_t measured;            /* were to be sent within it */
    double sum_x, sum_y, sum_xx, sum_xy;
    histogram latencies;
} marks;

tw_status marks_open(marks *m, const char *results, tw_error *err);
void marks_close(marks *m);
/* Forgets what came; counts for a measured time from now on. */
void marks_begin(marks *m, uint64_t from_ns, uint64_t until_ns);
/* How much the latency grew over the measured time, in seconds, by least squares. Under the lock. */
double marks_growth(const marks *m);

#endif
