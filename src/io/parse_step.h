/* parse_step.h: how the step `parse` takes one format's texts apart. */
#ifndef IO_PARSE_STEP_H
#define IO_PARSE_STEP_H

#include "engine/plan.h"
#include "io/format.h"

/* The texts of a batch, end to end, each followed by a line feed; only valid rows. */
typedef struct parse_texts {
    buffer *buffer;
    uint32_t n;
    uint32_t *rows;   /* of the batch */
    uint32_t *begins; /* n + 1: where each text begins; the last one: the end */
} parse_texts;

/* Immutable, shared by all lanes. */
typedef struct parse_plan {
    operator_plan plan;
    uint32_t from;
    uint32_t n_before;      /* columns of the input */
    format format;          /* json and csv; its schema has the new columns for regex too */
    bool *needed;           /* of the new columns */
    struct pcre2_real_code_8 *pattern; /* regex */
    uint32_t *groups;       /* regex: the group of each new column */
} parse_plan;

/* What a lane keeps for regex. */
typedef struct regex_scratch regex_scratch;
/* Compiles `pattern`; each named group is a column, string unless `columns` says a type. */
tw_status parse_regex_plan(parse_plan *p, const args *a, error_list *errors, tw_error *err);
void parse_regex_plan_free(parse_plan *p);
tw_status regex_scratch_new(const parse_plan *p, regex_scratch **out, tw_error *err);
void regex_scratch_free(regex_scratch *s);
/* Reads the texts into columns of texts->n rows. bad[i] is set, with a reason, for texts that do not
 * match or whose values do not fit; their values are undefined. */
tw_status parse_regex(const parse_plan *p, regex_scratch *s, memory *m, const parse_texts *texts, column *out,
                      const char **bad, tw_error *err);

#endif
