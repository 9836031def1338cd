#include "api/summary.h"

#include <math.h>
#include <stdlib.h>

#define SECONDS(ns) ((double)(ns) * 1e-9)

static void write_place(struct text *t, const tw_error *e) {
    if (e->file[0] && e->record) text_printf(t, "%s: record %llu: ", e->file, (unsigned long long)e->record);
    else if (e->file[0] && e->line)
        text_printf(t, "%s:%llu:%llu: ", e->file, (unsigned long long)e->line, (unsigned long long)e->column);
    else if (e->file[0]) text_printf(t, "%s: ", e->file);
    text_append_string(t, e->message);
}

/* The processor if it was busy nine tenths of the time; else the step that kept its workers waiting
 * longest or, when nobody waited on a sink, the source that they waited for. */
static void find_bottleneck(tw_summary *s) {
    double processors = s->wall_seconds * s->parallelism;
    double cpu = processors > 0 ? fmin(1, s->cpu_seconds / processors) : 0;
    double most_blocked = 0, source_busy = 0;
    s->bottleneck = "cpu";
    s->bottleneck_utilization = cpu;
    for (size_t i = 0; i < s->n_steps && processors > 0; i++) {
        const tw_step_summary *step = &s->steps[i];
        if (step->rows_in == 0) source_busy += step->busy_seconds;
        if (step->blocked_seconds > most_blocked) most_blocked = step->blocked_seconds;
    }
    if (cpu < 0.9 && processors > 0) {
        double waiting = processors - s->cpu_seconds;
        if (most_blocked > waiting / 2) {
            s->bottleneck = "sink";
            s->bottleneck_utilization = fmin(1, most_blocked / processors);
        } else if (source_busy > processors / 2) {
            s->bottleneck = "source";
            s->bottleneck_utilization = fmin(1, source_busy / processors);
        }
    }
    /* What the bottleneck allows: the rate at which it would be busy all the time. */
    double rate = s->wall_seconds > 0 ? (double)s->rows_in / s->wall_seconds : 0;
    s->bound_fraction = s->bottleneck_utilization;
    s->bound_rows_per_second = s->bound_fraction > 0 ? rate / s->bound_fraction : 0;
}

tw_status summary_make(summary *s, const plan *p, const run_figures *f, tw_status outcome, const tw_error *err) {
    *s = (summary){0};
    struct text message = {0};
    if (outcome != TW_OK) write_place(&message, err);
    s->error = strdup(text_string(&message));
    text_free(&message);
    s->steps = calloc(p->n_steps + 1, sizeof *s->steps);
    if (!s->error || !s->steps) {
        summary_free(s);
        return TW_ERR_MEMORY;
    }
    for (uint32_t i = 0; i < p->n_steps; i++) {
        step_statistics *t = p->steps[i];
        double busy = SECONDS(atomic_load(&t->busy_ns)), blocked = SECONDS(atomic_load(&t->blocked_ns));
        s->steps[i] = (tw_step_summary){
            .flow = t->flow,
            .step = t->step,
            .rows_in = atomic_load(&t->rows_in),
            .rows_out = atomic_load(&t->rows_out),
            .busy_seconds = busy,
            .blocked_seconds = blocked,
            .idle_seconds = fmax(0, SECONDS(atomic_load(&t->active_ns)) - busy - blocked),
        };
    }
    s->shown = (tw_summary){
        .name = p->name,
        .status = outcome == TW_OK ? "done" : outcome == TW_ERR_CANCELLED ? "interrupted" : "failed",
        .error = s->error,
        .wall_seconds = f->wall_seconds,
        .cpu_seconds = f->cpu_seconds,
        .peak_rss_bytes = f->peak_rss_bytes,
        .rows_in = f->rows_in,
        .rows_out = f->rows_out,
        .bytes_in = f->bytes_in,
        .bytes_out = f->bytes_out,
        .bad_records = f->bad_records,
        .late_records = f->late_records,
        .spilled_bytes = f->spilled_bytes,
        .warnings = f->warnings,
        .latency_goal_seconds = f->latency_goal,
        .latency_rows = f->latency_rows,
        .latency_p50_seconds = f->latency_p50,
        .latency_p99_seconds = f->latency_p99,
        .parallelism = f->parallelism,
        .n_steps = p->n_steps,
        .steps = s->steps,
    };
    find_bottleneck(&s->shown);
    return TW_OK;
}

void summary_free(summary *s) {
    free(s->steps);
    free(s->error);
    *s = (summary){0};
}

static void json_string(struct text *t, const char *name, const char *value) {
    text_printf(t, "\"%s\": \"", name);
    for (const char *c = value; *c; c++) {
        if (*c == '"' || *c == '\\') text_printf(t, "\\%c", *c);
        else if ((unsigned char)*c < 0x20) text_printf(t, "\\u%04x", (unsigned)*c);
        else text_append_char(t, *c);
    }
    text_append_char(t, '"');
}

static void json_count(struct text *t, const char *name, uint64_t value) {
    text_printf(t, ", \"%s\": %llu", name, (unsigned long long)value);
}

static void json_number(struct text *t, const char *name, double value) {
    text_printf(t, ", \"%s\": %.6g", name, isfinite(value) ? value : 0);
}

char *summary_json(const tw_summary *s) {
    struct text t = {0};
    text_append_char(&t, '{');
    json_string(&t, "name", s->name);
    text_append_string(&t, ", ");
    json_string(&t, "status", s->status);
    text_append_string(&t, ", ");
    if (s->error[0]) json_string(&t, "error", s->error);
    else text_append_string(&t, "\"error\": null");
    json_number(&t, "wall_seconds", s->wall_seconds);
    json_number(&t, "cpu_seconds", s->cpu_seconds);
    json_count(&t, "peak_rss_bytes", s->peak_rss_bytes);
    json_count(&t, "rows_in", s->rows_in);
    json_count(&t, "rows_out", s->rows_out);
    json_count(&t, "bytes_in", s->bytes_in);
    json_count(&t, "bytes_out", s->bytes_out);
    json_count(&t, "bad_records", s->bad_records);
    json_count(&t, "late_records", s->late_records);
    json_count(&t, "spilled_bytes", s->spilled_bytes);
    text_append_string(&t, ", \"bottleneck\": {");
    json_string(&t, "resource", s->bottleneck);
    json_number(&t, "utilization", s->bottleneck_utilization);
    text_append_string(&t, "}, \"bound\": {\"rows_per_second\": ");
    text_printf(&t, "%.6g", s->bound_rows_per_second);
    json_number(&t, "fraction", s->bound_fraction);
    text_append_string(&t, "}, \"steps\": [");
    for (size_t i = 0; i < s->n_steps; i++) {
        text_append_string(&t, i ? ", {" : "{");
        json_string(&t, "flow", s->steps[i].flow);
        text_append_string(&t, ", ");
        json_string(&t, "step", s->steps[i].step);
        json_count(&t, "rows_in", s->steps[i].rows_in);
        json_count(&t, "rows_out", s->steps[i].rows_out);
        json_number(&t, "busy_seconds", s->steps[i].busy_seconds);
        json_number(&t, "blocked_seconds", s->steps[i].blocked_seconds);
        json_number(&t, "idle_seconds", s->steps[i].idle_seconds);
        text_append_char(&t, '}');
    }
    text_append_char(&t, ']');
    json_count(&t, "warnings", s->warnings);
    if (s->latency_goal_seconds > 0) {
        text_printf(&t, ", \"latency\": {\"goal_seconds\": %.6g", s->latency_goal_seconds);
        json_count(&t, "rows", s->latency_rows);
        json_number(&t, "p50_seconds", s->latency_p50_seconds);
        json_number(&t, "p99_seconds", s->latency_p99_seconds);
        text_append_char(&t, '}');
    }
    text_append_char(&t, '}');
    return text_take(&t);
}
