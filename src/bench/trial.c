#include "bench/trial.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* What a machine does beside, which must not decide. */
#define NOISE_SECONDS 0.010
#define CPU_BOUND 0.97 /* a thread that had a processor for so much of the time */
#define NARROW 3       /* times the limit: what is beyond it is no accident */

void trial_write(const trial *t, struct text *out) {
    text_printf(out, "%d %.17g %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, (int)t->mode, t->rate,
                t->burst, t->in_flight, t->warmup_ns, t->measured_ns, t->give_up_ns, t->work_ns);
}

bool trial_read(const char *line, trial *out) {
    int mode;
    bool whole = sscanf(line, "%d %lg %" SCNu32 " %" SCNu32 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &mode, &out->rate,
                        &out->burst, &out->in_flight, &out->warmup_ns, &out->measured_ns, &out->give_up_ns, &out->work_ns) == 8;
    if (!whole || mode < LOAD_OPEN || mode > LOAD_FLOOD) return false;
    out->mode = (load_mode)mode;
    return out->measured_ns > 0 && (mode == LOAD_FLOOD || (mode == LOAD_CLOSED ? out->in_flight > 0 : out->rate > 0)) &&
           (mode != LOAD_BURST || out->burst > 0);
}

void trial_report_write(const trial_report *r, struct text *out) {
#define X(name) text_printf(out, "%.9g ", r->name);
    TRIAL_REPORT_TABLE(X)
#undef X
}

bool trial_report_read(const char *line, trial_report *out) {
    char *end = (char *)line;
#define X(name)                                                                                                                  \
    line = end;                                                                                                                  \
    out->name = strtod(line, &end);                                                                                              \
    if (end == line) return false;
    TRIAL_REPORT_TABLE(X)
#undef X
    return true;
}

verdict trial_judge(const trial_report *r, const trial_limits *limits, char why[128]) {
    double room = fmax(NOISE_SECONDS, (1 - limits->keep) * r->measured);
    /* What its peer did not take for a while explains as much lag, and no more. */
    if (r->lag - r->blocked > room || (r->busy > CPU_BOUND && r->lag > room)) {
        snprintf(why, 128, "the generator fell %.3g s behind by itself (%.0f %% of a processor, waited %.3g s for one)", r->lag,
                 r->busy * 100, r->waited);
        return VERDICT_GENERATOR;
    }
    if (r->gave_up > 0) {
        snprintf(why, 128, "messages came too late to go on");
        return VERDICT_ENGINE;
    }
    double growth = fmax(r->growth, r->lag_growth);
    if (r->missing > 0) {
        snprintf(why, 128, "%.3g of %.3g results did not come in time", r->missing, r->marks);
        return r->missing > 0.1 * r->marks ? VERDICT_ENGINE : VERDICT_ENGINE_NARROW;
    }
    if (growth > room) {
        snprintf(why, 128, "it fell behind by %.3g s in %.3g s", growth, r->measured);
        return growth > NARROW * room ? VERDICT_ENGINE : VERDICT_ENGINE_NARROW;
    }
    if (r->p99 > limits->latency) {
        snprintf(why, 128, "the latency was %.3g s (p99)", r->p99);
        return VERDICT_ENGINE_NARROW;
    }
    snprintf(why, 128, "sustained");
    return VERDICT_SUSTAINED;
}
