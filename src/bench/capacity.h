/* capacity.h: the largest rate that each engine sustains in each cell of a grid, and what bounds it. */
#ifndef BENCH_CAPACITY_H
#define BENCH_CAPACITY_H

#include "bench/grid.h"

typedef struct cell {
    const grid_engine *engine;
    double size, cost;      /* bytes; seconds of CPU */
    double rate;            /* messages a second, sustained; 0: none was */
    bool generator_bound;   /* more was not offered: the engine's own limit lies higher */
    trial_report report;    /* of the trial at that rate */
    double engine_cpu;      /* processors that it used in it */
    double others_cpu;      /* and what else ran, the most in any trial of the cell */
    double network_bound;   /* raw framed rate at this size */
    double cpu_bound;       /* what the processors less the generator's share allow; infinite without a cost */
    double fraction;        /* rate of the lesser of both */
    unsigned trials;
    char why[256];          /* what ended the next higher trial, or why there is no rate */
} cell;

typedef struct capacity {
    const grid *grid;
    unsigned processors;
    cell *cells;            /* by size, cost, engine */
    size_t n;               /* measured so far */
} capacity;

typedef struct capacity_watcher {
    bool (*stopped)(void);
    void (*said)(const char *line); /* how far it is */
} capacity_watcher;

/* TW_ERR_CANCELLED: stopped; what was measured is there. An engine that does not work leaves cells without a rate. */
tw_status capacity_run(const grid *g, const capacity_watcher *w, capacity *out, tw_error *err);
void capacity_free(capacity *c);

/* For people, one line a cell. */
tw_status capacity_table(const capacity *c, struct text *out);
/* One object. */
tw_status capacity_json(const capacity *c, struct text *out);
/* A page by itself: plots and table. */
tw_status capacity_page(const capacity *c, struct text *out);

/* "10 kB", "1.25 k", "10 ms", for table and page. */
void append_quantity(struct text *t, double value, const char *unit);
void append_seconds(struct text *t, double seconds);

#endif
