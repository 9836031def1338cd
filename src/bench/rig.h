/* rig.h: the processes of a cell: an engine and the generator that feeds it, each started anew when what is under way can't
 * be waited for. Used by one thread. */
#ifndef BENCH_RIG_H
#define BENCH_RIG_H

#include <stdio.h>
#include <sys/types.h>

#include "bench/grid.h"
#include "bench/network.h"

typedef struct rig {
    const grid *grid;
    const grid_engine *engine;
    const network *network;     /* NULL: loopback */
    char program[512];          /* Thalweg itself */
    char folder[128];           /* of this rig, removed with it */
    double size, cost;
    bool (*stopped)(void);      /* whether the user wants an end; asked now and then */
    char feed[256], results[192];
    pid_t engine_pid, sender_pid;
    FILE *orders;               /* to the generator */
    int reports;                /* from it */
    char said[1024];            /* of which a part of a line is here */
    size_t n_said;
    double engine_cpu;          /* processors that the engine used in the last trial */
    double others_cpu;          /* and all that has nothing to do with it */
} rig;

/* Makes a folder below `parent`; no process is started. */
tw_status rig_open(const grid *g, const grid_engine *e, double size, double cost, const network *n, const char *parent,
                   bool (*stopped)(void), rig *out, tw_error *err);
/* Starts what does not run, and tries. TW_ERR_CANCELLED: the user wants an end. TW_ERR_IO with what the engine said. */
tw_status rig_trial(rig *r, const trial *t, trial_report *report, tw_error *err);
/* Ends the processes at once. */
void rig_close(rig *r);

#endif
