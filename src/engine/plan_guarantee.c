/* plan_guarantee.c: what an endless flow can promise from end to end: no more than its weakest part. */
#include "engine/plan_internal.h"

static bool is_root(const pipeline *p) { return p->endless && !p->feeder; }

/* The first source that forgets, or a setting that is missing; NULL: every row comes again until its effects are out. */
static const char *who_forgets(const plan *p, const job *j) {
    for (uint32_t i = 0; i < p->n_pipelines; i++)
        if (is_root(p->pipelines[i]) && !p->pipelines[i]->source->replays) return p->pipelines[i]->source->name;
    for (uint32_t i = 0; i < p->n_sinks; i++) /* behind a limit there are no epochs */
        if (!p->sinks[i]->endless && p->sinks[i]->class->commit) return p->sinks[i]->name;
    return j->run.checkpoint_folder ? NULL : "run.checkpoint, which is not set";
}

/* One sink may write in transactions that hold the positions of all sources: two would not be one transaction, and
 * a source that does not keep them there could not tell which checkpoint they belong to. */
static bool can_transact(const plan *p) {
    unsigned n = 0;
    for (uint32_t i = 0; i < p->n_pipelines; i++)
        if (is_root(p->pipelines[i]) && !p->pipelines[i]->source->class->note) return false;
    for (uint32_t i = 0; i < p->n_sinks; i++) n += p->sinks[i]->endless && p->sinks[i]->class->transact;
    return n == 1;
}

/* The first source that each run reads again from its start, or sink that may write a row twice. */
static const char *who_repeats(const plan *p, bool with_transactions) {
    for (uint32_t i = 0; i < p->n_pipelines; i++)
        if (!p->pipelines[i]->endless && p->pipelines[i]->sink->endless) return p->pipelines[i]->source->name;
    for (uint32_t i = 0; i < p->n_sinks; i++) {
        const sink *k = p->sinks[i];
        if (!k->endless || !k->class->commit || k->publishes) continue;
        if (!with_transactions || !k->class->transact) return k->name;
    }
    return NULL;
}

static const char *const names[] = {"at_most_once", "at_least_once", "exactly_once"};

tw_status plan_guarantee(plan *p, const job *j, error_list *errors) {
    guarantee wanted = j->run.guarantee, best = EXACTLY_ONCE;
    if (!p->endless) return TW_OK;
    for (uint32_t i = 0; i < p->n_sinks; i++) p->keeps_state |= p->sinks[i]->endless && p->sinks[i]->keeps_state;
    const char *forgets = who_forgets(p, j), *repeats = who_repeats(p, wanted == EXACTLY_ONCE && can_transact(p));
    if (repeats) best = AT_LEAST_ONCE, p->weakest = repeats;
    if (forgets) best = AT_MOST_ONCE, p->weakest = forgets;
    if (wanted > best)
        return error_list_add(errors, j->run.guarantee_at, "this job can hold %s, not %s: because of %s", names[best], names[wanted],
                              p->weakest);
    p->guarantee = wanted == GUARANTEE_BEST ? best : wanted;
    p->transacts = wanted == EXACTLY_ONCE && who_repeats(p, false) != NULL;
    return TW_OK;
}
