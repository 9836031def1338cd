/* job_flows.c: which flow reads which; rings and dead ends. */
#include <stdlib.h>
#include <string.h>

#include "engine/job_internal.h"

/* The options of steps that name flows. A step that has one as its shorthand names them itself. */
static const char *const flow_options[] = {"with", "personalize"};
static const char *const flow_steps[] = {"join", "union"};

typedef struct reading {
    uint32_t to;
    struct place at; /* where the name stands */
} reading;

/* All readings, ordered by the flow that reads: those of flow i are first[i] to first[i + 1]. */
typedef struct flow_graph {
    const job *j;
    reading *list;
    size_t n, capacity;
    uint32_t *first;
    bool *is_read;
} flow_graph;

int job_flow_index(const job *j, const char *name) {
    for (uint32_t i = 0; i < j->n_flows; i++)
        if (strcmp(j->flows[i].name, name) == 0) return (int)i;
    return -1;
}

static tw_status add_reading(flow_graph *g, const char *name, struct place at) {
    int to = job_flow_index(g->j, name);
    if (to < 0) return TW_OK; /* the planner says so, with the option it stands in */
    if (g->n == g->capacity) {
        size_t capacity = g->capacity ? g->capacity * 2 : 64;
        reading *list = realloc(g->list, capacity * sizeof *list);
        if (!list) return TW_ERR_MEMORY;
        g->list = list;
        g->capacity = capacity;
    }
    g->list[g->n++] = (reading){(uint32_t)to, at};
    g->is_read[to] = true;
    return TW_OK;
}

static tw_status add_names(flow_graph *g, const node *n) {
    if (!n) return TW_OK;
    if (n->kind == NODE_SCALAR) return add_reading(g, n->text, n->at);
    for (uint32_t i = 0; n->kind == NODE_LIST && i < n->n; i++)
        if (n->items[i]->kind == NODE_SCALAR) TRY(add_reading(g, n->items[i]->text, n->items[i]->at));
    return TW_OK;
}

static tw_status add_step(flow_graph *g, const job_part *step) {
    const node *n = step->arguments;
    if (!n) return TW_OK;
    for (size_t i = 0; n->kind == NODE_MAP && i < COUNT_OF(flow_options); i++)
        TRY(add_names(g, node_get(n, flow_options[i])));
    for (size_t i = 0; n->kind != NODE_MAP && i < COUNT_OF(flow_steps); i++)
        if (strcmp(step->name, flow_steps[i]) == 0) TRY(add_names(g, n));
    return TW_OK;
}

static tw_status graph_fill(flow_graph *g) {
    g->first = calloc((size_t)g->j->n_flows + 1, sizeof *g->first);
    g->is_read = calloc(g->j->n_flows, sizeof *g->is_read);
    if (!g->first || !g->is_read) return TW_ERR_MEMORY;
    for (uint32_t i = 0; i < g->j->n_flows; i++) {
        const job_flow *f = &g->j->flows[i];
        if (f->source_flow) TRY(add_reading(g, f->source_flow, f->source_flow_at));
        for (uint32_t k = 0; k < f->n_steps; k++) TRY(add_step(g, &f->steps[k]));
        g->first[i + 1] = (uint32_t)g->n;
    }
    return TW_OK;
}

static void graph_free(flow_graph *g) {
    free(g->list);
    free(g->first);
    free(g->is_read);
}

/* Depth first, with a stack of its own: a reading of a flow that is still on the stack closes a ring. */
static tw_status find_rings(const flow_graph *g, error_list *errors) {
    enum { new, open, closed };
    uint32_t n = g->j->n_flows;
    unsigned char *state = calloc(n, 1);
    uint32_t *stack = calloc(n, sizeof *stack), *next = calloc(n, sizeof *next);
    tw_status status = state && stack && next ? TW_OK : TW_ERR_MEMORY;
    for (uint32_t start = 0; status != TW_ERR_MEMORY && start < n; start++) {
        uint32_t depth = 0;
        if (state[start] != new) continue;
        stack[depth++] = start;
        state[start] = open;
        next[start] = g->first[start];
        while (depth) {
            uint32_t flow = stack[depth - 1];
            if (next[flow] == g->first[flow + 1]) {
                state[flow] = closed;
                depth--;
                continue;
            }
            const reading *r = &g->list[next[flow]++];
            if (state[r->to] == open) {
                status = error_list_add(errors, r->at, "flow '%.60s' reads '%.60s', which in the end reads it",
                                        g->j->flows[flow].name, g->j->flows[r->to].name);
            } else if (state[r->to] == new) {
                stack[depth++] = r->to;
                state[r->to] = open;
                next[r->to] = g->first[r->to];
            }
        }
    }
    free(state);
    free(stack);
    free(next);
    return status;
}

tw_status job_check_flows(const job *j, unsigned flags, error_list *errors) {
    flow_graph g = {.j = j};
    tw_status status = graph_fill(&g);
    if (status == TW_OK) status = find_rings(&g, errors);
    for (uint32_t i = 0; status != TW_ERR_MEMORY && !(flags & JOB_OPEN_SINKS) && i < j->n_flows; i++) {
        if (j->flows[i].sink.name || g.is_read[i]) continue;
        if (j->n_flows == 1)
            status = error_list_add(errors, j->flows[i].at, "the job has no sink");
        else
            status = error_list_add(errors, j->flows[i].at, "flow '%.60s' has no sink, and no flow reads it",
                                    j->flows[i].name);
    }
    graph_free(&g);
    return status;
}
