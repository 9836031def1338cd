/* run_log.c: what a run tells while it goes on, without flooding whoever listens. */
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "engine/run_internal.h"

#define BURST_LINES 20u
#define LINE_NS 1000000000u

void run_log(run_context *c, tw_log_level level, const char *format, ...) {
    char message[600];
    va_list arguments;
    if (!c->log) return;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    c->log(c->engine, level, message);
}

/* A bucket of lines that fills by one a second (the lines left are kept as the time when it would be full). */
void run_tell(void *engine, tw_log_level level, const char *message) {
    run *r = engine;
    char more[700];
    uint64_t now = clock_ns(), window = (uint64_t)BURST_LINES * LINE_NS;
    pthread_mutex_lock(&r->log_lock);
    r->warnings += level == TW_LOG_WARNING;
    if (r->log_full_ns < now) r->log_full_ns = now;
    if (!r->options.log || r->log_full_ns + LINE_NS > now + window) {
        r->lines_left_out++;
    } else {
        r->log_full_ns += LINE_NS;
        if (r->lines_left_out) {
            snprintf(more, sizeof more, "%s (%llu lines before it were left out)", message, (unsigned long long)r->lines_left_out);
            message = more;
        }
        r->lines_left_out = 0;
        r->options.log(r->options.log_context, level, message);
    }
    pthread_mutex_unlock(&r->log_lock);
}
