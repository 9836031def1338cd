/* sender.h: the generator, as the process that `thalweg bench sender` is: it is told trials on standard input and
 * tells reports on standard output, a line each.
 *
 * A thread for each connection sends what is due by the clock: it sleeps until then, and sends together what became due
 * meanwhile. A message's latency runs from when it was to be sent, whether or not it was (Tene, "How NOT to measure
 * latency", 2013: no coordinated omission), to when its result has come back to a thread that takes lines from whoever
 * connects. Below 4,000 messages a second all are marked to come back, above it as many in a second.
 *
 *   (starts)            -> listening                    results are taken now
 *   open SECONDS        -> opened | error WORDS         connects to the engine, trying for so long
 *   await SECONDS       -> awaited | error WORDS        sends one message until its result is back
 *   trial (trial.h)     -> report (trial.h) | error WORDS
 *   end of input        ends the process */
#ifndef BENCH_SENDER_H
#define BENCH_SENDER_H

#include "bench/grid.h"

typedef struct sender_options {
    connector connector;
    const char *feed;    /* HOST:PORT, path or folder */
    const char *results; /* HOST:PORT or path to listen at */
    bool newline;        /* framing; else length */
    uint32_t size, cpu_ms, connections;
} sender_options;

/* The words of the command line, and back. */
enum { SENDER_WORDS = 7 };
tw_status sender_read_words(const char *const words[SENDER_WORDS], sender_options *out, tw_error *err);
/* Until standard input ends. */
tw_status sender_run(const sender_options *o, tw_error *err);

#endif
