/* job_run.c: the section `run` of a job. */
#include <string.h>

#include "engine/job_internal.h"

static const option dead_letter_options[] = {
    {"dead_letter", OPTION_PATH, OPTION_REQUIRED, "the file that gets the bad records"},
};
static const descriptor dead_letter_section = {
    "run.on_bad_record", "where bad records go", dead_letter_options, COUNT_OF(dead_letter_options)};

static const option checkpoint_options[] = {
    {"dir", OPTION_PATH, OPTION_REQUIRED, "the folder of the checkpoints"},
    {"every", OPTION_DURATION, 0, "the time between two", .default_text = "10s", .min = 1, .max = INT64_MAX},
};
static const descriptor checkpoint_section = {
    "run.checkpoint", "when and where state is saved", checkpoint_options, COUNT_OF(checkpoint_options)};

static const char *const bad_record_names[] = {"fail", "skip", NULL};
static const char *const guarantee_names[] = {"at_most_once", "at_least_once", "exactly_once", NULL};

static const option run_options[] = {
    {"parallelism", OPTION_INT, 0, "worker threads", .default_note = "the processors this process may use",
     .min = 1, .max = 1024},
    {"workers", OPTION_INT_MAP, 0, "how many workers a step may have at most: {STEP: N}", .min = 1,
     .max = 1024},
    {"memory", OPTION_SIZE, 0, "ceiling for everything the run holds",
     .default_note = "half of what is available", .min = 32 << 20, .max = INT64_MAX},
    {"spill", OPTION_PATH, 0, "folder for what does not fit in memory",
     .default_note = "the system's temporary folder"},
    {"on_bad_record", OPTION_ENUM, 0, "what happens to a record that can't be used",
     .default_text = "fail", .values = bad_record_names, .section = &dead_letter_section},
    {"checkpoint", OPTION_SECTION, 0, "saves the state of the run", .section = &checkpoint_section},
    {"guarantee", OPTION_ENUM, 0, "how often a record may take effect when a run is resumed",
     .values = guarantee_names},
    {"latency", OPTION_DURATION, 0, "the goal for the time a record of an endless flow takes: batches are cut to it", .min = 1,
     .max = 3600000000ll},
    {"trace", OPTION_PATH, 0, "file for `thalweg report`"},
    {"batch_rows", OPTION_INT, 0, "rows in a batch", .default_text = "0",
     .default_note = "chosen by the engine", .min = 0, .max = 65536},
};

const descriptor run_descriptor = {"run", "settings of the whole job", run_options, COUNT_OF(run_options)};

/* Settings that this version knows, but can't keep yet: taking one off this list is all it needs. */
static const struct { const char *setting, *needed_by; } unavailable[] = {
    {"trace", "reports"},
};

static tw_status refuse_unavailable(const args *a, error_list *errors) {
    tw_status status = TW_OK;
    for (size_t i = 0; i < COUNT_OF(unavailable); i++) {
        if (!args_given(a, unavailable[i].setting)) continue;
        status = args_error(a, unavailable[i].setting, errors, "it is for %s, which this version does not have",
                            unavailable[i].needed_by);
    }
    return status;
}

static bool has_step(const job *j, const char *name, struct nearest *near) {
    for (uint32_t i = 0; i < j->n_flows; i++)
        for (uint32_t k = 0; k < j->flows[i].n_steps; k++) {
            if (strcmp(j->flows[i].steps[k].name, name) == 0) return true;
            nearest_try(near, j->flows[i].steps[k].name);
        }
    return false;
}

static tw_status read_workers(job *j, const args *a, error_list *errors) {
    size_t n;
    const arg_item *items = args_items(a, "workers", &n);
    tw_status status = TW_OK;
    j->run.workers = arena_array(&j->memory->arena, n, sizeof *j->run.workers);
    if (!j->run.workers) return TW_ERR_MEMORY;
    for (size_t i = 0; i < n; i++) {
        struct nearest near = {items[i].name};
        j->run.workers[j->run.n_workers++] = (job_workers){items[i].name, (uint32_t)items[i].integer};
        if (errors->n == ERROR_LIST_MAX || has_step(j, items[i].name, &near)) continue;
        status = error_list_add(errors, items[i].name_at, "this job has no step '%.60s'%s%s%s", items[i].name,
                                near.best ? "; did you mean '" : "", near.best ? near.best : "",
                                near.best ? "'?" : "");
    }
    return status;
}

tw_status job_read_run(job *j, const node *n, struct place at, error_list *errors) {
    args *a;
    TRY(args_bind(&run_descriptor, n, at, errors, &a));
    j->memory->run = a;
    job_run *r = &j->run;
    r->parallelism = (uint32_t)args_int(a, "parallelism");
    r->memory_bytes = args_int(a, "memory");
    r->batch_rows = (uint32_t)args_int(a, "batch_rows");
    r->spill = args_string(a, "spill");
    const args *dead_letter = args_section(a, "on_bad_record");
    r->on_bad_record = args_enum(a, "on_bad_record") == 1 ? JOB_BAD_SKIP : JOB_BAD_FAIL;
    if (dead_letter) {
        r->on_bad_record = JOB_BAD_DEAD_LETTER;
        r->dead_letter = args_string(dead_letter, "dead_letter");
    }
    r->guarantee = (guarantee)args_enum(a, "guarantee");
    if (args_given(a, "guarantee")) r->guarantee_at = args_place(a, "guarantee");
    r->latency_us = (uint64_t)args_int(a, "latency");
    if (r->latency_us) r->latency_at = args_place(a, "latency");
    const args *checkpoint = args_section(a, "checkpoint");
    if (checkpoint) {
        r->checkpoint_folder = args_string(checkpoint, "dir");
        r->checkpoint_every_us = (uint64_t)args_int(checkpoint, "every");
    }
    tw_status refused = refuse_unavailable(a, errors);
    tw_status status = read_workers(j, a, errors);
    return status == TW_OK ? refused : status;
}
