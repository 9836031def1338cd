/* A grid of bench capacity from any text; and what the processes of a measurement say to each other. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/grid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int right) {
    if (!right) abort();
}

static void check_grid(const grid *g) {
    check(g->n_sizes > 0 && g->n_costs > 0 && g->n_engines > 0);
    for (size_t i = 0; i < g->n_sizes; i++) check(g->sizes[i] >= MESSAGE_BYTES_MIN && g->sizes[i] <= 64e6);
    for (size_t i = 0; i < g->n_costs; i++) check(g->costs[i] >= 0 && g->costs[i] <= 3600);
    for (size_t i = 0; i < g->n_engines; i++) {
        const grid_engine *e = &g->engines[i];
        check(e->name && e->connector < CONNECTORS && (e->connector == CONNECTOR_KAFKA) == (e->brokers != NULL));
        check(!(e->raw && e->n_command));
    }
    check(g->measured_ns > 0 && g->messages > 0 && g->burst > 0 && g->in_flight > 0 && g->connections > 0 && g->parallelism > 0);
    check(g->precision > 0 && g->limits.keep < 1 && g->limits.latency > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    error_list errors = {0};
    grid *g = NULL;
    tw_status status = grid_parse((const char *)data, size, "grid.yaml", &errors, &g);
    check((status == TW_OK) == (g != NULL) && (status == TW_ERR_JOB) == (errors.total > 0));
    if (g) check_grid(g);
    grid_free(g);
    error_list_free(&errors);

    char *line = malloc(size + 1);
    if (!line) return 0;
    memcpy(line, data, size);
    line[size] = 0;
    trial t;
    trial_report r;
    if (trial_read(line, &t)) check(t.measured_ns > 0 && (t.mode != LOAD_BURST || t.burst > 0));
    if (trial_report_read(line, &r)) {
        char why[128];
        check(trial_judge(&r, &(trial_limits){1, 0.98}, why) <= VERDICT_ENGINE && memchr(why, 0, sizeof why));
    }
    free(line);
    return 0;
}
