#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/registry.h"
#include "api/summary.h"
#include "engine/plan_internal.h"
#include "engine/run.h"
#include "thalweg/thalweg.h"

struct tw_job {
    char *text, *file;
    size_t length;
    char **sets;
    size_t n_sets;
    error_list errors;
    tw_error *shown; /* the errors as tw_error, made when asked for */
    job *job;
    plan *plan;
    run *run;
    run_options options;
    bool checked, resulted, summarized;
    tw_status outcome;
    tw_error outcome_error;
    summary summary;
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory"); }

const char *tw_version(void) { return THALWEG_VERSION; }
void tw_free(void *text) { free(text); }

tw_status tw_job_parse(const char *text, size_t length, const char *file, tw_job **out, tw_error *err) {
    tw_job *j = calloc(1, sizeof *j);
    if (!j) return no_memory(err);
    j->text = malloc(length + 1);
    j->file = strdup(file ? file : "job");
    if (!j->text || !j->file) {
        tw_job_free(j);
        return no_memory(err);
    }
    memcpy(j->text, text, length);
    j->text[length] = 0;
    j->length = length;
    *out = j;
    return TW_OK;
}

void tw_job_free(tw_job *j) {
    if (!j) return;
    run_free(j->run);
    plan_free(j->plan);
    job_free(j->job);
    summary_free(&j->summary);
    error_list_free(&j->errors);
    for (size_t i = 0; i < j->n_sets; i++) free(j->sets[i]);
    free(j->sets);
    free(j->shown);
    free(j->text);
    free(j->file);
    free(j);
}

/* Whether the last of the assignments can be applied after the others; the job is read anew by
 * tw_job_check, so what is wrong with its text is not said here. */
static tw_status try_assignments(const tw_job *j, tw_error *err) {
    error_list unsaid = {0}, errors = {0};
    document *d = NULL;
    tw_status status = document_parse(j->text, j->length, j->file, NULL, &unsaid, &d);
    for (size_t i = 0; status == TW_OK && i < j->n_sets; i++)
        status = document_set(d, j->sets[i], NULL, i + 1 < j->n_sets ? &unsaid : &errors);
    if (status == TW_ERR_MEMORY) error_set(err, status, "out of memory");
    else status = error_list_status(&errors, err);
    document_free(d);
    error_list_free(&unsaid);
    error_list_free(&errors);
    return status;
}

tw_status tw_job_set(tw_job *j, const char *assignment, tw_error *err) {
    if (j->checked) return error_set(err, TW_ERR_JOB, "the job is checked already");
    char **more = realloc(j->sets, (j->n_sets + 1) * sizeof *more);
    if (!more) return no_memory(err);
    j->sets = more;
    j->sets[j->n_sets] = strdup(assignment);
    if (!j->sets[j->n_sets]) return no_memory(err);
    j->n_sets++;
    tw_status status = try_assignments(j, err);
    if (status == TW_ERR_MEMORY) free(j->sets[--j->n_sets]);
    return status;
}

static uint32_t processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : (uint32_t)n;
}

/* Half of what is available, a container's limit included. */
static size_t available_memory(void) {
    unsigned long long kib = 0, limit = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1) break;
    if (f) fclose(f);
    size_t bytes = kib ? (size_t)kib * 1024 : (size_t)1 << 30;
    f = fopen("/sys/fs/cgroup/memory.max", "re");
    if (f && fscanf(f, "%llu", &limit) == 1 && limit && limit < bytes) bytes = limit;
    if (f) fclose(f);
    return bytes;
}

static void choose_options(tw_job *j) {
    tw_log log = j->options.log;
    void *log_context = j->options.log_context;
    const job_run *r = &j->job->run;
    size_t least = (size_t)32 << 20, half = available_memory() / 2;
    j->options = (run_options){
        .parallelism = r->parallelism ? r->parallelism : processors(),
        .memory_bytes = r->memory_bytes ? (size_t)r->memory_bytes : half > least ? half : least,
        .batch_rows = r->batch_rows,
        .spill = r->spill,
        .bad_policy = r->on_bad_record == JOB_BAD_SKIP          ? BAD_SKIP
                      : r->on_bad_record == JOB_BAD_DEAD_LETTER ? BAD_DEAD_LETTER
                                                                : BAD_FAIL,
        .dead_letter = r->dead_letter,
        .checkpoint_folder = r->checkpoint_folder,
        .checkpoint_every_us = r->checkpoint_every_us,
        .latency_ns = r->latency_us * 1000,
        .log = log,
        .log_context = log_context,
    };
}

tw_status tw_job_check(tw_job *j, tw_error *err) {
    if (j->plan) return TW_OK;
    if (j->checked) return error_list_status(&j->errors, err);
    j->checked = true;
    job_source source = {.text = j->text,
                         .length = j->length,
                         .file = j->file,
                         .sets = (const char *const *)j->sets,
                         .n_sets = j->n_sets};
    tw_status status = job_parse(&source, &j->errors, &j->job);
    if (status == TW_ERR_MEMORY) return no_memory(err);
    if (j->job) {
        tw_status planned = plan_build(j->job, &built_in, &j->errors, &j->plan, err);
        if (planned != TW_OK && planned != TW_ERR_JOB) return planned;
    }
    if (j->errors.total) {
        plan_free(j->plan);
        j->plan = NULL;
        error_list_sort(&j->errors);
        return error_list_status(&j->errors, err);
    }
    if (status != TW_OK) return error_set(err, status, "the job is wrong");
    choose_options(j);
    return TW_OK;
}

size_t tw_job_errors(const tw_job *j) { return j->errors.n; }

const tw_error *tw_job_error(const tw_job *job, size_t i) {
    tw_job *j = (tw_job *)job;
    if (i >= j->errors.n) return NULL;
    if (!j->shown) {
        j->shown = calloc(j->errors.n, sizeof *j->shown);
        if (!j->shown) return NULL;
        for (size_t k = 0; k < j->errors.n; k++) {
            const listed_error *e = &j->errors.items[k];
            error_set(&j->shown[k], TW_ERR_JOB, "%s", e->message);
            error_in_job(&j->shown[k], e->file, e->line, e->column);
        }
    }
    return &j->shown[i];
}

tw_status tw_job_explain(tw_job *j, char **out, tw_error *err) {
    TRY(tw_job_check(j, err));
    struct text t = {0};
    tw_status status = plan_explain(j->plan, j->options.parallelism, j->options.memory_bytes, &t);
    if (status == TW_OK && (*out = text_take(&t))) return TW_OK;
    text_free(&t);
    return no_memory(err);
}

bool tw_job_prints(const tw_job *j, tw_error *place) {
    for (uint32_t i = 0; j->job && i < j->job->n_flows; i++) {
        const job_part *k = &j->job->flows[i].sink;
        if (!k->name || strcmp(k->name, "stdout") != 0) continue;
        if (place) *place = (tw_error){0};
        error_in_job(place, k->at.file, k->at.line, k->at.column);
        return true;
    }
    return false;
}

tw_status tw_job_start(tw_job *j, tw_error *err) {
    TRY(tw_job_check(j, err));
    if (j->run || j->resulted) return error_set(err, TW_ERR_JOB, "a job runs once");
    tw_status status = run_start(j->plan, &j->options, &j->run, &j->outcome_error);
    if (status == TW_OK) return TW_OK;
    /* A run that could not begin has failed, and has a summary. */
    j->outcome = status;
    j->resulted = true;
    run_figures none = {.parallelism = j->options.parallelism};
    j->summarized = summary_make(&j->summary, j->plan, &none, status, &j->outcome_error) == TW_OK;
    if (err) *err = j->outcome_error;
    return status;
}

void tw_job_set_log(tw_job *j, tw_log log, void *context) {
    j->options.log = log;
    j->options.log_context = context;
}

bool tw_job_wait(tw_job *j, int timeout_ms) { return !j->run || run_wait(j->run, timeout_ms); }

void tw_job_cancel(tw_job *j) {
    if (j->run) run_cancel(j->run);
}

bool tw_job_endless(const tw_job *j) { return j->plan && j->plan->endless; }

void tw_job_stop(tw_job *j) {
    if (j->run) run_stop(j->run);
}

void tw_job_progress(tw_job *j, tw_progress *out) {
    *out = (tw_progress){0};
    if (!j->run) return;
    run_progress p;
    run_get_progress(j->run, &p);
    *out = (tw_progress){.rows_in = p.rows_in,
                         .rows_out = p.rows_out,
                         .bytes_in = p.bytes_in,
                         .bytes_total = p.bytes_total,
                         .seconds = p.seconds};
}

tw_status tw_job_result(tw_job *j, tw_error *err) {
    if (!j->run && !j->resulted) return error_set(err, TW_ERR_JOB, "the job was not started");
    if (!j->resulted) {
        run_wait(j->run, -1);
        j->outcome = run_result(j->run, &j->outcome_error);
        j->resulted = true;
        run_figures f;
        run_get_figures(j->run, &f);
        /* Outputs are visible by now: whether there is memory for figures changes nothing. */
        j->summarized = summary_make(&j->summary, j->plan, &f, j->outcome, &j->outcome_error) == TW_OK;
    }
    if (err && j->outcome != TW_OK) *err = j->outcome_error;
    return j->outcome;
}

const tw_summary *tw_job_summary(const tw_job *j) { return j->summarized ? &j->summary.shown : NULL; }

tw_status tw_job_summary_json(const tw_job *j, char **out, tw_error *err) {
    if (!j->resulted) return error_set(err, TW_ERR_JOB, "the job has not ended");
    if (!j->summarized) return no_memory(err);
    *out = summary_json(&j->summary.shown);
    return *out ? TW_OK : no_memory(err);
}

tw_status tw_run_text(const char *text, tw_error *err) {
    tw_job *j;
    TRY(tw_job_parse(text, strlen(text), "job", &j, err));
    tw_status status = tw_job_start(j, err);
    if (status == TW_OK) status = tw_job_result(j, err);
    tw_job_free(j);
    return status;
}
