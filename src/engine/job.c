/* job.c: the shape of a job. */
#include "engine/job.h"

#include <stdlib.h>
#include <string.h>

#include "engine/job_internal.h"

static const char *const job_keys[] = {"name", "source", "steps", "sink", "flows", "run"};
static const char *const flow_keys[] = {"source", "steps", "sink"};

typedef struct reader {
    job *j;
    error_list *errors;
    bool wrong;
    bool partial; /* a part could not be read: who knows what it would have named */
} reader;

/* An error does not end the reading, want of memory does. */
static tw_status go_on(reader *r, tw_status status) {
    if (status == TW_ERR_JOB) r->wrong = true;
    return status == TW_ERR_JOB ? TW_OK : status;
}

#define COMPLAIN(r, at, ...) go_on((r), error_list_add((r)->errors, (at), __VA_ARGS__))

static bool is_absent(const node *n) { return !n || (n->kind == NODE_NULL && !n->faulty); }

/* Keys that start with "x-" are the user's own, to hang anchors on. */
static tw_status check_keys(reader *r, const node *n, const char *const *known, size_t n_known,
                            const char *what) {
    for (uint32_t i = 0; i < n->n; i++) {
        const node_entry *e = &n->entries[i];
        bool found = strncmp(e->key, "x-", 2) == 0;
        for (size_t k = 0; k < n_known && !found; k++) found = strcmp(e->key, known[k]) == 0;
        if (found) continue;
        const char *near = nearest_name(e->key, known, n_known);
        TRY(COMPLAIN(r, e->at, "unknown key '%.60s' of %s%s%s%s", e->key, what,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : ""));
    }
    return TW_OK;
}

/* `name: arguments` or a bare name; `kind` is "step", "source" or "sink". */
static tw_status read_part(reader *r, const node *n, const char *kind, job_part *out) {
    char shown[64];
    *out = (job_part){.at = n->at};
    if (!n->faulty && n->kind == NODE_SCALAR && *n->text) {
        out->name = n->text;
        return TW_OK;
    }
    if (n->faulty || n->kind != NODE_MAP || n->n != 1) r->partial = true;
    if (n->faulty) return go_on(r, TW_ERR_JOB);
    if (n->kind != NODE_MAP || n->n == 0)
        return COMPLAIN(r, n->at, "a %s is 'name: options' or just a name, not %s", kind,
                        n->kind == NODE_MAP ? "an empty map" : node_describe(n, shown));
    const node_entry *e = n->entries;
    out->name = e[0].key;
    out->arguments = e[0].value;
    out->at = e[0].at;
    if (n->n == 1) return TW_OK;
    bool hanging = e[0].value->kind == NODE_NULL;
    return COMPLAIN(r, e[1].at,
                    hanging ? "a %s has one name, '%.60s', but '%.60s' stands beside it: indent it more to "
                              "make it an option"
                            : "a %s has one name, '%.60s', but '%.60s' stands beside it",
                    kind, e[0].key, e[1].key);
}

static tw_status read_source(reader *r, const node *n, job_flow *f) {
    TRY(read_part(r, n, "source", &f->source));
    if (!f->source.name || strcmp(f->source.name, "flow") != 0) return TW_OK;
    const node *flow = f->source.arguments;
    f->source.name = NULL;
    if (flow && flow->faulty) return go_on(r, TW_ERR_JOB);
    if (!flow || flow->kind != NODE_SCALAR || !*flow->text)
        return COMPLAIN(r, flow ? flow->at : f->source.at, "'flow' takes the name of a flow");
    f->source_flow = flow->text;
    f->source_flow_at = flow->at;
    return TW_OK;
}

static tw_status read_steps(reader *r, const node *n, job_flow *f) {
    char shown[64];
    if (is_absent(n)) return TW_OK;
    if (n->faulty) return go_on(r, TW_ERR_JOB);
    if (n->kind != NODE_LIST)
        return COMPLAIN(r, n->at, "'steps' is a list ('- name: options' each), not %s",
                        node_describe(n, shown));
    if (n->n > JOB_STEPS_MAX)
        return COMPLAIN(r, n->at, "a flow has at most %d steps", JOB_STEPS_MAX);
    f->steps = arena_array(&r->j->memory->arena, n->n, sizeof *f->steps);
    if (!f->steps) return TW_ERR_MEMORY;
    for (uint32_t i = 0; i < n->n; i++) {
        job_part *step = &f->steps[f->n_steps];
        TRY(read_part(r, n->items[i], "step", step));
        if (step->name) f->n_steps++;
    }
    return TW_OK;
}

static tw_status read_flow(reader *r, const node *n, const char *name, struct place at) {
    job_flow *f = &r->j->flows[r->j->n_flows++];
    f->name = name;
    f->at = at;
    const node *source = node_get(n, "source"), *sink = node_get(n, "sink");
    if (!is_absent(source)) TRY(read_source(r, source, f));
    else if (r->j->memory->has_flows) TRY(COMPLAIN(r, at, "flow '%.60s' has no source", name));
    else TRY(COMPLAIN(r, at, "the job has no source"));
    TRY(read_steps(r, node_get(n, "steps"), f));
    if (!is_absent(sink)) TRY(read_part(r, sink, "sink", &f->sink));
    return TW_OK;
}

static tw_status read_flows(reader *r, const node *n) {
    char shown[64];
    if (n->faulty) return go_on(r, TW_ERR_JOB);
    if (n->kind != NODE_MAP || n->n == 0)
        return COMPLAIN(r, n->at, "'flows' is a map of flows by name, not %s",
                        n->kind == NODE_MAP ? "an empty one" : node_describe(n, shown));
    if (n->n > JOB_FLOWS_MAX) return COMPLAIN(r, n->at, "a job has at most %d flows", JOB_FLOWS_MAX);
    r->j->flows = arena_array(&r->j->memory->arena, n->n, sizeof *r->j->flows);
    if (!r->j->flows) return TW_ERR_MEMORY;
    for (uint32_t i = 0; i < n->n; i++) {
        const node_entry *e = &n->entries[i];
        if (e->value->faulty) {
            r->wrong = true;
        } else if (e->value->kind != NODE_MAP) {
            TRY(COMPLAIN(r, e->value->at, "flow '%.60s' is a map of source, steps and sink, not %s", e->key,
                         node_describe(e->value, shown)));
        } else {
            TRY(check_keys(r, e->value, flow_keys, COUNT_OF(flow_keys), "a flow"));
            TRY(read_flow(r, e->value, e->key, e->at));
        }
    }
    return TW_OK;
}

/* The file's name without folder and ending. */
static const char *name_of_file(job *j, const char *file) {
    const char *slash = strrchr(file, '/');
    const char *start = slash ? slash + 1 : file;
    const char *dot = strrchr(start, '.');
    size_t length = dot && dot > start ? (size_t)(dot - start) : strlen(start);
    return length ? arena_copy(&j->memory->arena, start, length) : "job";
}

static tw_status read_name(reader *r, const node *n, const char *file) {
    char shown[64];
    r->j->name = n && n->kind == NODE_SCALAR ? n->text : name_of_file(r->j, file);
    if (!r->j->name) return TW_ERR_MEMORY;
    if (n && n->faulty) r->wrong = true;
    else if (n && n->kind > NODE_SCALAR)
        return COMPLAIN(r, n->at, "'name' is a text, not %s", node_describe(n, shown));
    return TW_OK;
}

/* A job of one flow has its parts at the top. */
static tw_status read_one_flow(reader *r, const node *root) {
    r->j->flows = arena_array(&r->j->memory->arena, 1, sizeof *r->j->flows);
    if (!r->j->flows) return TW_ERR_MEMORY;
    const node_entry *source = node_entry_of(root, "source");
    return read_flow(r, root, "main", source ? source->at : root->at);
}

static tw_status read_job(reader *r, const node *root, const job_source *source) {
    char shown[64];
    if (root->faulty) return go_on(r, TW_ERR_JOB);
    if (root->kind == NODE_NULL) return COMPLAIN(r, root->at, "the job is empty");
    if (root->kind != NODE_MAP)
        return COMPLAIN(r, root->at, "a job is a map of source, steps and sink (or flows), not %s",
                        node_describe(root, shown));
    TRY(check_keys(r, root, job_keys, COUNT_OF(job_keys), "the job"));
    TRY(read_name(r, node_get(root, "name"), source->file));
    const node_entry *flows = node_entry_of(root, "flows");
    for (size_t i = 0; flows && i < COUNT_OF(flow_keys); i++) {
        const node_entry *other = node_entry_of(root, flow_keys[i]);
        if (other) TRY(COMPLAIN(r, other->at, "a job has 'flows' or '%s', not both", flow_keys[i]));
    }
    r->j->memory->has_flows = flows != NULL;
    TRY(flows ? read_flows(r, flows->value) : read_one_flow(r, root));
    const node_entry *run = node_entry_of(root, "run");
    TRY(go_on(r, job_read_run(r->j, run ? run->value : NULL, run ? run->at : root->at, r->errors)));
    unsigned flags = source->flags | (r->partial ? JOB_OPEN_SINKS : 0);
    return go_on(r, job_check_flows(r->j, flags, r->errors));
}

static tw_status job_new(job **out) {
    job *j = *out = calloc(1, sizeof *j);
    if (j) j->memory = calloc(1, sizeof *j->memory);
    return j && j->memory ? TW_OK : TW_ERR_MEMORY;
}

static tw_status read_document(reader *r, const job_source *source) {
    document **d = &r->j->memory->document;
    TRY(document_parse(source->text, source->length, source->file, source->variables, r->errors, d));
    for (size_t i = 0; i < source->n_sets; i++)
        TRY(go_on(r, document_set(*d, source->sets[i], source->variables, r->errors)));
    return read_job(r, document_root(*d), source);
}

tw_status job_parse(const job_source *source, error_list *errors, job **out) {
    *out = NULL;
    size_t known = errors->total;
    reader r = {.errors = errors};
    tw_status status = job_new(&r.j);
    if (status == TW_OK) status = read_document(&r, source);
    if (errors->no_memory) status = TW_ERR_MEMORY;
    if (status == TW_OK && (r.wrong || errors->total > known)) status = TW_ERR_JOB;
    error_list_sort(errors);
    bool readable = r.j && r.j->n_flows > 0 && r.j->name;
    if (status == TW_OK || (status == TW_ERR_JOB && readable)) *out = r.j;
    else job_free(r.j);
    return status;
}

void job_free(job *j) {
    if (!j) return;
    if (j->memory) {
        args_free(j->memory->run);
        document_free(j->memory->document);
        arena_free(&j->memory->arena);
    }
    free(j->memory);
    free(j);
}
