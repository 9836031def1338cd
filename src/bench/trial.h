/* trial.h: one trial: what is offered, what was seen, and what that says. Plain values. */
#ifndef BENCH_TRIAL_H
#define BENCH_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

typedef enum load_mode {
    LOAD_OPEN,   /* evenly by the clock, whatever the engine does */
    LOAD_BURST,  /* by the clock, `burst` messages at a time */
    LOAD_CLOSED, /* the next when a result is back: `in_flight` at a time */
    LOAD_FLOOD   /* as fast as the connection takes them: for the network bound */
} load_mode;

typedef struct trial {
    load_mode mode;
    double rate;          /* messages a second: open, burst */
    uint32_t burst, in_flight;
    uint64_t warmup_ns, measured_ns;
    uint64_t give_up_ns;  /* a message that is so late ends the trial */
    uint64_t work_ns;     /* processor time that the generator burns for each message */
} trial;

/* One line, without its end. */
void trial_write(const trial *t, struct text *out);
bool trial_read(const char *line, trial *out);

/* Times in seconds. Latencies run from the intended time of sending to the result, over messages that were to be sent in the
 * measured time; lag is how far the generator was behind its own schedule. Only one message in some is marked and comes
 * back when rates are high; all of `sent`, `offered`, `delivered` count messages. */
#define TRIAL_REPORT_TABLE(X)                                                                             \
    X(wall)         /* from the first message to the end of the measured time, or until it gave up */      \
    X(measured)     /* of that, after the warm-up */                                                       \
    X(offered)      /* messages a second, by the schedule (flood, closed: sent) */                         \
    X(delivered)    /* results a second that came in the measured time; if it gave up, in all of it */     \
    X(marks)        /* marked messages that were to be sent in the measured time, and were */              \
    X(missing)      /* of these, those that did not come back */                                           \
    X(p50) X(p99) X(p999) X(most)                                                                         \
    X(growth)       /* how much the latency grew over the measured time: least squares */                  \
    X(lag)          /* at the end, of the slowest connection */                                           \
    X(lag_growth)   /* of that, in the measured time */                                                   \
    X(blocked)      /* time in which that connection's peer took nothing, since it was last on time */     \
    X(waited)       /* time in which its thread was ready to run but had no processor */                   \
    X(busy)         /* share of the wall time in which its thread had a processor */                       \
    X(cpu)          /* processors that the generator used: CPU time over wall time */                      \
    X(gave_up)      /* 1: ended early, as messages were later than give_up_ns */                         \
    X(drained)      /* 1: all marks came back, so that another trial may follow */

typedef struct trial_report {
#define X(name) double name;
    TRIAL_REPORT_TABLE(X)
#undef X
} trial_report;

void trial_report_write(const trial_report *r, struct text *out);
bool trial_report_read(const char *line, trial_report *out);

/* What counts as sustained. */
typedef struct trial_limits {
    double latency;      /* seconds: for the 99th percentile */
    double keep;         /* of the offered rate that must be kept up with, such as 0.98 */
} trial_limits;

typedef enum verdict {
    VERDICT_SUSTAINED,
    VERDICT_GENERATOR,     /* the generator was behind for reasons of its own: says nothing about the engine */
    VERDICT_ENGINE_NARROW, /* the engine fell behind, by little */
    VERDICT_ENGINE
} verdict;

/* `why` gets some words for people. For modes with a schedule. */
verdict trial_judge(const trial_report *r, const trial_limits *limits, char why[128]);

#endif
