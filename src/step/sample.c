/* sample: a random part of the rows, the same for a seed whatever the parallelism and batch size. */
#include <stdlib.h>

#include "step/steps.h"

typedef struct sample_plan {
    operator_plan plan;
    uint64_t threshold; /* a row whose random number is below it is kept */
    uint64_t seed;
    bool all;
} sample_plan;

typedef struct sample_state {
    operator operator;
    run_context *run;
    uint64_t position; /* of the next row in row order, which never depends on how a job is run */
} sample_state;

static tw_status sample_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    sample_state *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for sample");
    s->operator = (operator){.class = plan->class, .plan = plan};
    s->run = run;
    *out = &s->operator;
    return TW_OK;
}

static void sample_close(operator *self) { free(self); }

static void sample_begin_split(operator *self, const reader *split) { ((sample_state *)self)->position = split->position; }

/* Sebastiano Vigna's splitmix64 (2015) as a hash of seed and position. */
static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static tw_status sample_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    sample_state *s = (sample_state *)self;
    const sample_plan *p = (const sample_plan *)self->plan;
    buffer *rows;
    TRY(buffer_new(s->run->memory, MEMORY_FLOW, in->rows * sizeof(uint32_t), &rows, err));
    uint32_t *kept = (uint32_t *)(void *)rows->data, n = 0;
    uint64_t key = mix(p->seed);
    for (uint32_t i = 0; i < in->rows; i++) {
        kept[n] = i;
        n += p->all || mix(key ^ mix(s->position + i)) < p->threshold;
    }
    tw_status status = n ? batch_pick(s->run->memory, in, kept, rows, n, out, err) : TW_OK;
    buffer_unref(rows);
    if (status == TW_OK) s->position += in->rows;
    return status;
}

static void sample_needs(operator_plan *plan, const bool *needed_out, bool *needed_in) {
    for (uint32_t i = 0; i < plan->out->n; i++) needed_in[i] = needed_out[i];
}

static void sample_free(operator_plan *plan) { free(plan); }

static const operator_class sample_class = {
    .open = sample_open,
    .process = sample_process,
    .begin_split = sample_begin_split,
    .close = sample_close,
    .needs = sample_needs,
    .free = sample_free,
};

static tw_status sample_build(stream *s, const args *a, tw_error *err) {
    sample_plan *p = calloc(1, sizeof *p);
    if (!p) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    double fraction = args_float(a, "fraction");
    p->plan = (operator_plan){.class = &sample_class, .name = "sample"};
    p->all = fraction >= 1;
    p->threshold = p->all ? UINT64_MAX : (uint64_t)(fraction * 18446744073709551616.0);
    p->seed = (uint64_t)args_int(a, "seed");
    return stream_add_operator(s, &p->plan, s->schema, err);
}

static const option sample_options[] = {
    {"fraction", OPTION_FLOAT, OPTION_REQUIRED, "how much of the rows to keep, 0 to 1", .float_min = 0, .float_max = 1},
    {"seed", OPTION_INT, 0, "another seed gives another sample", .default_text = "0", .min = INT64_MIN, .max = INT64_MAX},
};
const step_descriptor step_sample = {
    .descriptor = {.name = "sample",
                   .summary = "keeps a random part of the rows",
                   .options = sample_options,
                   .n_options = COUNT_OF(sample_options),
                   .shorthand = "fraction",
                   .details = "Each row is kept with the probability `fraction`, for itself. The same input and "
                              "seed give the same rows.",
                   .example = "- sample: {fraction: 0.01, seed: 7}"},
    .build = sample_build,
    .columns = COLUMNS_KEPT,
    .by_name = true,
};
