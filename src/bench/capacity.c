#include "bench/capacity.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/rig.h"
#include "bench/search.h"

#define START_SHARE 0.5       /* of the bounds: the first rate */
#define COSTS_OF_LATENCY 4    /* what a result may take in units of its cost, beside the limit */
#define GIVE_UP 1.25          /* times the limit of the latency */
#define FLOOD_WARMUP_NS 200000000u
#define NS 1e9

typedef struct sweep {
    const grid *grid;
    const capacity_watcher *watcher;
    capacity *out;
    network network;
    bool has_network;
    char folder[128];
    double *bounds; /* of sizes and of tcp, unix; 0: not measured yet */
} sweep;

static trial_limits limits_of(const grid *g, double cost) {
    trial_limits limits = g->limits;
    limits.latency += COSTS_OF_LATENCY * cost;
    return limits;
}

static trial trial_of(const grid *g, double cost, double rate) {
    double measured = fmax((double)g->measured_ns, fmin((double)g->most_ns, g->messages / rate * NS));
    return (trial){.mode = g->mode, .rate = rate, .burst = g->burst, .in_flight = g->in_flight,
                   .warmup_ns = g->warmup_ns + (uint64_t)(2 * cost * NS), .measured_ns = (uint64_t)measured,
                   .give_up_ns = (uint64_t)(limits_of(g, cost).latency * GIVE_UP * NS), .work_ns = g->work_ns};
}

static tw_status open_rig(const sweep *s, const grid *g, const grid_engine *e, double size, double cost, rig *out, tw_error *err) {
    return rig_open(g, e, size, cost, s->has_network ? &s->network : NULL, s->folder, s->watcher->stopped, out, err);
}

/* The raw framed rate: the generator as fast as it can, into the simplest receiver. */
static tw_status network_bound(sweep *s, size_t size_index, connector kind, double *out, tw_error *err) {
    bool local = kind == CONNECTOR_UNIX;
    double *known = &s->bounds[size_index * 2 + local];
    if (*known == 0) {
        grid plain = *s->grid;
        plain.connections = 1;
        grid_engine raw = {.name = "raw", .raw = true, .connector = local ? CONNECTOR_UNIX : CONNECTOR_TCP};
        trial flood = {.mode = LOAD_FLOOD, .warmup_ns = FLOOD_WARMUP_NS, .measured_ns = s->grid->measured_ns, .give_up_ns = 1000000000u};
        trial_report report = {0};
        rig r;
        TRY(open_rig(s, &plain, &raw, s->grid->sizes[size_index], 0, &r, err));
        tw_status status = rig_trial(&r, &flood, &report, err);
        rig_close(&r);
        if (status != TW_OK) return status;
        if (report.delivered <= 0) return error_set(err, TW_ERR_IO, "the raw receiver received nothing");
        *known = report.delivered;
    }
    *out = *known;
    return TW_OK;
}

static void say(const sweep *s, const cell *c, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(const sweep *s, const cell *c, const char *format, ...) {
    struct text t = {0};
    text_printf(&t, "%s, ", c->engine->name);
    append_quantity(&t, c->size, "B");
    text_append_string(&t, ", ");
    append_seconds(&t, c->cost);
    text_append_string(&t, ": ");
    va_list list;
    va_start(list, format);
    text_vprintf(&t, format, list);
    va_end(list);
    s->watcher->said(text_string(&t));
    text_free(&t);
}

static void keep(cell *c, const rig *r, double rate, const trial_report *report) {
    c->rate = rate;
    c->report = *report;
    c->engine_cpu = r->engine_cpu;
}

/* Growth, then bisection. An error of the engine leaves the cell without more. */
static tw_status search_cell(sweep *s, cell *c, rig *r, tw_error *err) {
    const grid *g = s->grid;
    trial_limits limits = limits_of(g, c->cost);
    double lesser = fmin(c->network_bound, c->cost > 0 ? s->out->processors / c->cost : INFINITY);
    search at = search_from(lesser * START_SHARE, g->precision);
    verdict last_failed = VERDICT_ENGINE;
    for (bool more = true; more;) {
        trial_report report;
        char why[128];
        double rate = at.rate;
        trial t = trial_of(g, c->cost, rate);
        TRY(rig_trial(r, &t, &report, err));
        verdict v = trial_judge(&report, &limits, why);
        say(s, c, "%.4g/s %s", rate, why);
        c->others_cpu = fmax(c->others_cpu, r->others_cpu);
        c->trials++;
        if (v == VERDICT_SUSTAINED) keep(c, r, rate, &report);
        double failed = at.failed;
        search_told told = v == VERDICT_SUSTAINED ? SEARCH_SUSTAINED : v == VERDICT_ENGINE ? SEARCH_FAILED : SEARCH_FAILED_NARROWLY;
        more = search_tell(&at, told, report.delivered);
        if (at.failed == failed) continue;
        last_failed = v;
        snprintf(c->why, sizeof c->why, "%s", why);
    }
    c->generator_bound = last_failed == VERDICT_GENERATOR;
    return TW_OK;
}

static tw_status closed_cell(sweep *s, cell *c, rig *r, tw_error *err) {
    trial t = trial_of(s->grid, c->cost, c->cost > 0 ? s->out->processors / c->cost : INFINITY);
    trial_report report;
    TRY(rig_trial(r, &t, &report, err));
    keep(c, r, report.delivered, &report);
    c->others_cpu = r->others_cpu;
    c->trials = 1;
    say(s, c, "%.4g/s with %u under way", c->rate, s->grid->in_flight);
    return TW_OK;
}

static void set_beside_bounds(const sweep *s, cell *c) {
    c->cpu_bound = c->cost > 0 ? fmax(0, s->out->processors - c->report.cpu) / c->cost : INFINITY;
    c->fraction = c->rate / fmin(c->network_bound, c->cpu_bound);
}

static tw_status measure_cell(sweep *s, cell *c, size_t size_index, tw_error *err) {
    TRY(network_bound(s, size_index, c->engine->connector, &c->network_bound, err));
    rig r;
    TRY(open_rig(s, s->grid, c->engine, c->size, c->cost, &r, err));
    tw_error mine = {0};
    tw_status status = s->grid->mode == LOAD_CLOSED ? closed_cell(s, c, &r, &mine) : search_cell(s, c, &r, &mine);
    rig_close(&r);
    set_beside_bounds(s, c);
    if (status == TW_OK) return TW_OK;
    snprintf(c->why, sizeof c->why, "%.250s", mine.message);
    say(s, c, "%s", mine.message);
    if (status != TW_ERR_CANCELLED) return TW_OK; /* the others may work */
    if (err) *err = mine;
    return status;
}

static tw_status measure_all(sweep *s, tw_error *err) {
    const grid *g = s->grid;
    for (size_t i = 0; i < g->n_sizes; i++)
        for (size_t k = 0; k < g->n_costs; k++)
            for (size_t e = 0; e < g->n_engines; e++) {
                cell *c = &s->out->cells[s->out->n];
                *c = (cell){.engine = &g->engines[e], .size = g->sizes[i], .cost = g->costs[k]};
                TRY(measure_cell(s, c, i, err));
                s->out->n++;
            }
    return TW_OK;
}

tw_status capacity_run(const grid *g, const capacity_watcher *w, capacity *out, tw_error *err) {
    cpu_set_t set;
    *out = (capacity){.grid = g, .processors = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1};
    sweep s = {.grid = g, .watcher = w, .out = out};
    out->cells = calloc(g->n_sizes * g->n_costs * g->n_engines, sizeof *out->cells);
    s.bounds = calloc(g->n_sizes * 2, sizeof *s.bounds);
    const char *temporary = getenv("TMPDIR");
    snprintf(s.folder, sizeof s.folder, "%.80s/thalweg-bench-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    tw_status status = out->cells && s.bounds ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory");
    if (status == TW_OK && !mkdtemp(s.folder)) status = error_io(err, errno, "cannot make %s", s.folder);
    else if (status == TW_OK) {
        if (g->network_rate) status = network_make(g->network_rate, g->network_delay_us, &s.network, err);
        s.has_network = status == TW_OK && g->network_rate;
        if (status == TW_OK) status = measure_all(&s, err);
        if (s.has_network) network_remove(&s.network);
        rmdir(s.folder);
    }
    free(s.bounds);
    return status;
}

void capacity_free(capacity *c) { free(c->cells); }
