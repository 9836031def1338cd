#include <stdlib.h>

#include "engine/plan_internal.h"

/* Whether `p` must be asked before `q`: it reads what q's sink collects, or what q puts aside. */
static bool comes_before(const pipeline *p, const pipeline *q) {
    if (p->feeder == q->sink) return true;
    for (uint32_t i = 0; i < p->n_after; i++)
        if (p->after[i] == q->sink) return true;
    for (uint32_t i = 0; i < p->n_also_after; i++)
        if (p->also_after[i] == q) return true;
    return false;
}

/* From the sink back to the source: which columns of the source are read. */
static tw_status prune_pipeline(pipeline *p, tw_error *err) {
    uint32_t widest = p->first_schema->n;
    for (uint32_t i = 0; i < p->n_operators; i++)
        if (p->operators[i]->out->n > widest) widest = p->operators[i]->out->n;
    bool *needed = malloc(widest + 1), *before = malloc(widest + 1);
    if (!needed || !before) {
        free(needed);
        free(before);
        return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    }
    memset(needed, 1, widest + 1);
    const sink_class *k = p->sink->class;
    if (k->needs || k->needs_of) memset(needed, 0, widest + 1);
    if (k->needs) k->needs(p->sink, needed);
    if (k->needs_of) k->needs_of(p->sink, p->input, needed);
    bool rejects = false;
    for (uint32_t i = p->n_operators; i-- > 0;) {
        operator_plan *o = p->operators[i];
        o->origin_wanted |= rejects;
        rejects |= o->rejects;
        memset(before, o->class->needs ? 0 : 1, widest + 1);
        if (o->class->needs) o->class->needs(o, needed, before);
        bool *swap = needed;
        needed = before;
        before = swap;
    }
    if (p->source->class->prune) p->source->class->prune(p->source, needed);
    free(needed);
    free(before);
    return TW_OK;
}

tw_status plan_prune(plan *p, tw_error *err) {
    bool *done = calloc(p->n_pipelines + 1, sizeof *done);
    if (!done) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    tw_status status = TW_OK;
    /* A pipeline's turn comes when all that read what it gives have had theirs. Plans have no cycles. */
    for (bool progress = true; progress && status == TW_OK;) {
        progress = false;
        for (uint32_t i = p->n_pipelines; i-- > 0 && status == TW_OK;) {
            bool turn = !done[i];
            for (uint32_t k = 0; k < p->n_pipelines && turn; k++)
                turn = done[k] || k == i || !comes_before(p->pipelines[k], p->pipelines[i]);
            if (!turn) continue;
            status = prune_pipeline(p->pipelines[i], err);
            done[i] = progress = true;
        }
    }
    free(done);
    return status;
}
