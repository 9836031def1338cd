/* union: the rows of other flows behind those of this one. Columns are matched by name. */
#include <stdlib.h>

#include "step/steps.h"

static tw_status add_flow(stream *s, const args *a, const arg_item *item, tw_error *err) {
    error_list *errors = plan_errors(s->builder);
    stream *other;
    TRY(stream_of_flow(s, a, "with", item->text, &other, err));
    tw_status status = TW_OK;
    uint32_t n = s->schema->n;
    const char **names = calloc(n + 1, sizeof *names);
    const type **types = calloc(n + 1, sizeof *types);
    if (!names || !types) status = error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    for (uint32_t i = 0; i < other->schema->n && status == TW_OK; i++)
        if (schema_find(s->schema, other->schema->fields[i].name) < 0)
            status = args_error(a, "with", errors, "flow '%s' has a column '%s' that this one lacks", item->text,
                                other->schema->fields[i].name);
    for (uint32_t i = 0; i < n && status == TW_OK; i++) {
        names[i] = s->schema->fields[i].name;
        int at = schema_find(other->schema, names[i]);
        if (at < 0) {
            status = args_error(a, "with", errors, "flow '%s' lacks the column '%s'", item->text, names[i]);
            break;
        }
        types[i] = type_meeting(s->schema->fields[i].type, other->schema->fields[at].type);
        char mine[64], theirs[64];
        if (!types[i])
            status = args_error(a, "with", errors, "column '%s' is %s here and %s in flow '%s'", names[i],
                                type_name(s->schema->fields[i].type, mine, sizeof mine),
                                type_name(other->schema->fields[at].type, theirs, sizeof theirs), item->text);
    }
    schema *both = NULL;
    if (status == TW_OK) status = schema_new(names, types, n, &both, err);
    if (status == TW_OK) status = stream_convert(s, both, err);
    if (status == TW_OK) status = stream_convert(other, both, err);
    if (status == TW_OK) status = stream_append(s, other, err);
    schema_unref(both);
    free(names);
    free(types);
    stream_free(other);
    return status;
}

static tw_status union_build(stream *s, const args *a, tw_error *err) {
    size_t n;
    const arg_item *items = args_items(a, "with", &n);
    tw_status status = TW_OK;
    for (size_t i = 0; i < n; i++) {
        tw_status one = add_flow(s, a, &items[i], err);
        if (one != TW_OK) status = one;
        if (one != TW_OK && one != TW_ERR_JOB) break;
    }
    return status;
}

static const option union_options[] = {
    {"with", OPTION_FLOWS, OPTION_REQUIRED | OPTION_OR_ONE, "the flows whose rows are added"},
};
const step_descriptor step_union = {
    .descriptor = {.name = "union",
                   .summary = "adds the rows of other flows behind those of this one",
                   .options = union_options,
                   .n_options = COUNT_OF(union_options),
                   .shorthand = "with",
                   .details = "All must have the same columns, matched by name; integers widen to floats.",
                   .example = "- union: [last_year, this_year]"},
    .build = union_build,
};
