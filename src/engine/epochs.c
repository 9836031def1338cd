/* epochs.c: cuts endless flows into epochs, and saves what they must not forget (Carbone et al., "Lightweight
 * Asynchronous Snapshots for Distributed Dataflows", 2015, with counting in place of marks in the data: see
 * frontier.h). Sources are cut between two openings; the cut passes the pipelines as the splits before it end; a sink
 * saves what it holds when it has come on every input. When it has come to all sinks, this thread makes the
 * checkpoint durable, while the workers are in the next epoch; then outputs of the epoch become visible. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/checkpoint.h"
#include "engine/run_internal.h"

#define EPOCH_NS_DEFAULT 10000000000ull
#define SHAPE_MAX 1024

void epochs_moved(run *r) { pthread_cond_broadcast(&r->epochs_moved); }

/* ---- who is who ---- */

/* "main/group#0": flow, step, and which of those that have the same. Queues are no steps and stand for themselves. */
static char *id_of(const run *r, int step, const char *name, unsigned ordinal) {
    const char *flow = step >= 0 ? r->plan->steps[step]->flow : "";
    char *id;
    return asprintf(&id, "%s/%s#%u", flow, name, ordinal) < 0 ? NULL : id;
}

static char *sink_id(const run *r, uint32_t at) {
    const sink *k = r->sinks[at].sink;
    const char *flow = k->step >= 0 ? r->plan->steps[k->step]->flow : "";
    unsigned ordinal = 0;
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) { /* a source comes first: from files to files */
        const pipeline *p = r->pipelines[i].pipeline;
        if (!is_root(&r->pipelines[i]) || p->source_step < 0) continue;
        ordinal += strcmp(r->plan->steps[p->source_step]->flow, flow) == 0 && strcmp(p->source->name, k->name) == 0;
    }
    for (uint32_t i = 0; i < at; i++) {
        const sink *other = r->sinks[i].sink;
        const char *its_flow = other->step >= 0 ? r->plan->steps[other->step]->flow : "";
        ordinal += other->endless && strcmp(its_flow, flow) == 0 && strcmp(other->name, k->name) == 0;
    }
    return id_of(r, k->step, k->name, ordinal);
}

static tw_status name_parts(run *r, tw_error *err) {
    bool named = true;
    for (uint32_t i = 0; i < r->plan->n_sinks; i++)
        if (r->sinks[i].sink->endless) named &= (r->sinks[i].id = sink_id(r, i)) != NULL;
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) {
        pipeline_state *p = &r->pipelines[i];
        /* A flow has one source. */
        if (is_root(p)) named &= (p->id = id_of(r, p->pipeline->source_step, p->pipeline->source->name, 0)) != NULL;
    }
    return named ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory for a run");
}

static void sink_shape(const sink *k, char *out) {
    out[0] = 0;
    if (k->class->shape) k->class->shape(k, out, SHAPE_MAX);
}

static void source_shape(const source *s, char *out) {
    out[0] = 0;
    if (s->class->shape) s->class->shape(s, out, SHAPE_MAX);
}

/* ---- saving ---- */

/* The checkpoint of this epoch, or NULL; it stays until let_go. */
static checkpoint *hold(run *r) {
    pthread_mutex_lock(&r->lock);
    checkpoint *c = r->saving;
    r->savers += c != NULL;
    pthread_mutex_unlock(&r->lock);
    return c;
}

static void let_go(run *r) {
    pthread_mutex_lock(&r->lock);
    r->savers--;
    epochs_moved(r);
    pthread_mutex_unlock(&r->lock);
}

tw_status epochs_save_source(run *r, pipeline_state *p, tw_error *err) {
    source *s = p->pipeline->source;
    char shape[SHAPE_MAX];
    saved_part *part;
    if (!s) return TW_OK;
    if (s->class->cut) TRY(s->class->cut(s, r->epoch, err));
    checkpoint *c = s->class->save ? hold(r) : NULL;
    if (!c) return TW_OK;
    source_shape(s, shape);
    tw_status status = checkpoint_add(c, p->id, shape, &part, err);
    if (status == TW_OK) status = s->class->save(s, r->epoch, part, err);
    let_go(r);
    return status;
}

tw_status epochs_save_sink(run *r, sink_state *k, tw_error *err) {
    char shape[SHAPE_MAX];
    saved_part *part;
    checkpoint *c = k->sink->class->save ? hold(r) : NULL;
    if (!c) return TW_OK;
    sink_shape(k->sink, shape);
    tw_status status = checkpoint_add(c, k->id, shape, &part, err);
    if (status == TW_OK) status = k->sink->class->save(k->sink, part, err);
    let_go(r);
    return status;
}

/* ---- going on ---- */

static tw_status other_shape(const run *r, const saved_part *p, const char *now, tw_error *err) {
    return error_set(err, TW_ERR_JOB,
                     "the job has changed and cannot go on from checkpoint %s: '%s' was \"%s\" and is \"%s\" now; change it back, "
                     "or start anew by deleting the checkpoints", r->options.checkpoint_folder, part_id(p), part_shape(p), now);
}

static tw_status missing_part(const run *r, const char *id, bool from_checkpoint, tw_error *err) {
    return error_set(err, TW_ERR_JOB, "the job has changed and cannot go on from checkpoint %s: %s '%s'%s; change it back, or start "
                     "anew by deleting the checkpoints", r->options.checkpoint_folder,
                     from_checkpoint ? "it has the state of" : "there is no state of", id,
                     from_checkpoint ? ", which is gone" : ", which is new");
}

static tw_status load_sink(run *r, sink_state *k, const checkpoint *c, uint32_t *used, tw_error *err) {
    char shape[SHAPE_MAX];
    if (!k->sink->endless || !k->sink->class->load) return TW_OK;
    const saved_part *p = checkpoint_find(c, k->id);
    if (!p) return missing_part(r, k->id, false, err);
    sink_shape(k->sink, shape);
    if (strcmp(shape, part_shape(p)) != 0) return other_shape(r, p, shape, err);
    ++*used;
    return k->sink->class->load(k->sink, p, err);
}

static tw_status load_source(run *r, pipeline_state *line, const checkpoint *c, uint32_t *used, tw_error *err) {
    char shape[SHAPE_MAX];
    source *s = line->pipeline->source;
    if (!is_root(line) || !s->class->load) return TW_OK;
    const saved_part *p = checkpoint_find(c, line->id);
    if (!p) return missing_part(r, line->id, false, err);
    source_shape(s, shape);
    if (strcmp(shape, part_shape(p)) != 0) return other_shape(r, p, shape, err);
    ++*used;
    return s->class->load(s, p, err);
}

static tw_status load_parts(run *r, const checkpoint *c, tw_error *err) {
    uint32_t used = 0;
    for (uint32_t i = 0; i < r->plan->n_sinks; i++) TRY(load_sink(r, &r->sinks[i], c, &used, err));
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) TRY(load_source(r, &r->pipelines[i], c, &used, err));
    for (uint32_t i = 0; used < checkpoint_parts(c) && i < checkpoint_parts(c); i++) {
        const saved_part *p = checkpoint_part(c, i);
        bool found = false;
        for (uint32_t k = 0; k < r->plan->n_sinks; k++) found |= r->sinks[k].id && strcmp(r->sinks[k].id, part_id(p)) == 0;
        for (uint32_t k = 0; k < r->plan->n_pipelines; k++)
            found |= r->pipelines[k].id && strcmp(r->pipelines[k].id, part_id(p)) == 0;
        if (!found) return missing_part(r, part_id(p), true, err);
    }
    return TW_OK;
}

/* That of the last transaction; "" if there was none that moved a source. */
static tw_status find_note(const run *r, struct text *out, tw_error *err) {
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) {
        source *s = r->plan->pipelines[i]->source;
        if (is_root(&r->pipelines[i]) && s->class->note && !out->length) TRY(s->class->note(s, out, err));
    }
    return TW_OK;
}

/* Whether sources have moved until checkpoint `number`: then the transaction of its epoch left a note. */
static tw_status leaves_note(const run *r, uint64_t number, bool *out, tw_error *err) {
    const char *key, *value;
    checkpoint *c;
    TRY(checkpoint_load(r->options.checkpoint_folder, number, &c, err));
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) {
        const saved_part *p = r->pipelines[i].id ? checkpoint_find(c, r->pipelines[i].id) : NULL;
        *out |= p && part_value(p, 0, &key, &value);
    }
    checkpoint_free(c);
    return TW_OK;
}

/* No transaction has moved a source: the newest checkpoint counts only if it need not have done so either. */
static tw_status find_before_notes(const run *r, uint64_t *number, uint32_t *n, tw_error *err) {
    bool moved = false;
    TRY(leaves_note(r, *number, &moved, err));
    if (!moved) return TW_OK;
    if (--*number == 0) {
        *n = 0; /* the first one's transaction did not come about: from the start */
        return TW_OK;
    }
    moved = false;
    TRY(leaves_note(r, *number, &moved, err));
    if (!moved) return TW_OK;
    return error_set(err, TW_ERR_DATA, "the positions that were committed with checkpoint %llu or the next one in %s are gone, so "
                     "that it is unknown which of the two holds: start anew by deleting the checkpoints",
                     (unsigned long long)*number, r->options.checkpoint_folder);
}

/* The one that the sources' committed positions belong to, or else the newest; one that is damaged is not passed over:
 * what became visible with it would come twice. */
static tw_status find_number(const run *r, const char *folder, uint64_t *number, uint32_t *n, tw_error *err) {
    struct text note = {0};
    TRY(checkpoint_list(folder, number, 1, n, err));
    if (!*n || !r->plan->transacts) return TW_OK;
    tw_status status = find_note(r, &note, err);
    bool found = note.length > 0;
    if (found) *number = strtoull(text_string(&note), NULL, 10);
    text_free(&note);
    TRY(status);
    return found ? TW_OK : find_before_notes(r, number, n, err);
}

tw_status epochs_load(run *r, tw_error *err) {
    const char *folder = r->options.checkpoint_folder;
    uint64_t number;
    uint32_t n;
    if (!r->plan->endless || !folder) return TW_OK;
    TRY(checkpoint_lock(folder, &r->checkpoint_lock, err));
    TRY(find_number(r, folder, &number, &n, err));
    if (!n) return TW_OK;
    checkpoint *c;
    TRY(checkpoint_load(folder, number, &c, err));
    r->checkpoint_number = number;
    tw_status status = load_parts(r, c, err);
    checkpoint_free(c);
    return status;
}

tw_status epochs_prepare(run *r, tw_error *err) {
    if (!r->plan->endless) return TW_OK;
    TRY(name_parts(r, err));
    for (uint32_t i = 0; i < r->plan->n_sinks && r->plan->transacts; i++) {
        sink *k = r->sinks[i].sink;
        struct text id = {0};
        if (!k->endless || !k->class->transact) continue;
        text_printf(&id, "%s/%s", r->plan->name, r->sinks[i].id);
        tw_status status = id.failed ? error_set(err, TW_ERR_MEMORY, "out of memory for a run")
                                     : k->class->transact(k, text_string(&id), err);
        text_free(&id);
        TRY(status);
    }
    return TW_OK;
}

/* ---- the thread ---- */

static bool over(const run *r) { return atomic_load(&r->stop) || !r->threads_left || r->ended == r->plan->n_pipelines; }

/* Whether the last cut has come everywhere. */
static bool epoch_is_complete(const run *r) {
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) {
        const pipeline_state *p = &r->pipelines[i];
        if (is_root(p) && p->phase != PHASE_ENDED && p->epoch < r->epoch) return false;
    }
    for (uint32_t i = 0; i < r->plan->n_sinks; i++) {
        const sink_state *k = &r->sinks[i];
        if (k->sink->endless && k->inputs_left && atomic_load(&k->gate.epoch) < r->epoch) return false;
    }
    return true;
}

static bool roots_have_started(const run *r) {
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++)
        if (is_root(&r->pipelines[i]) && r->pipelines[i].phase < PHASE_RUNNING) return false;
    return true;
}

/* Sources were told to end, and give nothing any more. */
static bool roots_are_dry(const run *r) {
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++)
        if (is_root(&r->pipelines[i]) && r->pipelines[i].phase <= PHASE_RUNNING) return false;
    return true;
}

/* The transaction first: what is renamed can be renamed again, but not taken back. */
static tw_status publish_all(run *r, const epoch_end *e, tw_error *err) {
    for (unsigned turn = 0; turn < 2; turn++) {
        for (uint32_t i = 0; i < r->plan->n_sinks; i++) {
            sink *k = r->sinks[i].sink;
            bool first = r->plan->transacts && k->class->transact;
            if (k->endless && k->class->publish && first == (turn == 0)) TRY(k->class->publish(k, e, err));
        }
    }
    /* Without checkpoints, what states hold is lost with the run: their rows are not committed. */
    if (!r->options.checkpoint_folder && r->plan->keeps_state) return TW_OK;
    for (uint32_t i = 0; i < e->n_sources; i++)
        if (e->sources[i]->class->committed) TRY(e->sources[i]->class->committed(e->sources[i], e, err));
    return TW_OK;
}

/* Sources that were not cut for it have ended before. */
static tw_status end_epoch(run *r, tw_error *err) {
    char note[32] = "";
    source **sources = calloc(r->plan->n_pipelines + 1, sizeof *sources);
    if (!sources) return error_set(err, TW_ERR_MEMORY, "out of memory for a run");
    epoch_end e = {.epoch = r->epoch, .note = note, .sources = sources, .transacted = r->plan->transacts};
    if (r->options.checkpoint_folder) snprintf(note, sizeof note, "%020llu", (unsigned long long)r->checkpoint_number + 1);
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) {
        source *s = r->pipelines[i].pipeline->source;
        if (is_root(&r->pipelines[i]) && s && r->pipelines[i].epoch == r->epoch && s->class->committed) sources[e.n_sources++] = s;
    }
    pthread_mutex_unlock(&r->lock);
    tw_status status = publish_all(r, &e, err);
    free(sources);
    return status;
}

tw_status epochs_settle(run *r, tw_error *err) {
    epoch_end e = {.epoch = (uint64_t)r->epoch + 1, .note = ""};
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) {
        source *s = r->plan->pipelines[i]->source;
        if (!s || !s->class->committed || !r->pipelines[i].started_ns) continue;
        if (s->class->cut) TRY(s->class->cut(s, e.epoch, err));
        TRY(s->class->committed(s, &e, err));
    }
    return TW_OK;
}

/* Keeps the one before. */
static void delete_old(const run *r) {
    uint64_t numbers[16];
    uint32_t n;
    if (checkpoint_list(r->options.checkpoint_folder, numbers, 16, &n, NULL) != TW_OK) return;
    for (uint32_t i = 2; i < n; i++) checkpoint_delete(r->options.checkpoint_folder, numbers[i], NULL);
}

/* One epoch from its cut to its effects. The lock is held, and let go meanwhile. */
static tw_status pass_epoch(run *r, tw_error *err) {
    checkpoint *c = NULL;
    const char *folder = r->options.checkpoint_folder;
    pthread_mutex_unlock(&r->lock);
    tw_status status = folder ? checkpoint_begin(folder, r->checkpoint_number + 1, r->plan->name, &c, err) : TW_OK;
    pthread_mutex_lock(&r->lock);
    if (status != TW_OK) return status;
    r->saving = c;
    r->epoch++;
    run_rouse(r, UINT32_MAX);
    while (!over(r) && !epoch_is_complete(r)) pthread_cond_wait(&r->epochs_moved, &r->lock);
    bool complete = !over(r);
    r->saving = NULL;
    while (r->savers) pthread_cond_wait(&r->epochs_moved, &r->lock); /* a run that fails may be in the middle */
    pthread_mutex_unlock(&r->lock);
    if (complete && c) status = checkpoint_finish(c, err);
    if (complete && status == TW_OK) status = end_epoch(r, err);
    if (complete && status == TW_OK && folder) {
        r->checkpoint_number++;
        delete_old(r);
    }
    checkpoint_free(c);
    pthread_mutex_lock(&r->lock);
    return status;
}

/* What was saved goes on in another run: nothing that is inside is flushed now. */
static void suspend(run *r) {
    r->suspended = true;
    for (uint32_t i = 0; i < r->plan->n_sinks; i++)
        if (r->sinks[i].sink->endless && !r->sinks[i].sink->class->commit) atomic_store(&r->sinks[i].gate.unwanted, true);
    run_rouse(r, UINT32_MAX);
}

static void wait_until(run *r, uint64_t until_ns) {
    struct timespec t = {(time_t)(until_ns / 1000000000u), (long)(until_ns % 1000000000u)};
    pthread_cond_timedwait(&r->epochs_moved, &r->lock, &t);
}

static void *epochs_run(void *argument) {
    run *r = argument;
    tw_error err = {0};
    uint64_t every = r->options.checkpoint_every_us ? r->options.checkpoint_every_us * 1000 : EPOCH_NS_DEFAULT;
    pthread_mutex_lock(&r->lock);
    for (uint64_t next = clock_ns() + every; !over(r) && !r->suspended;) {
        bool last = r->holding && roots_are_dry(r);
        if (!last && (r->holding || clock_ns() < next || !roots_have_started(r))) {
            wait_until(r, r->holding ? clock_ns() + every : next > clock_ns() ? next : clock_ns() + every);
            continue;
        }
        tw_status status = pass_epoch(r, &err);
        if (status != TW_OK) run_fail(r, status, &err);
        else if (last && !over(r)) suspend(r);
        next = clock_ns() + every;
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

tw_status epochs_start(run *r, tw_error *err) {
    if (!r->plan->endless) return TW_OK;
    int e = pthread_create(&r->epochs_thread, NULL, epochs_run, r);
    r->has_epochs = e == 0;
    return e ? error_io(err, e, "cannot start a thread") : TW_OK;
}

void epochs_join(run *r) {
    if (!r->has_epochs) return;
    pthread_join(r->epochs_thread, NULL);
    r->has_epochs = false;
}
