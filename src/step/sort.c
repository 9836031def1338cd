/* sort: rows in the order of some columns. See step/sort_internal.h for how. */
#include <stdlib.h>

#include "step/sort_internal.h"
#include "step/steps.h"

static tw_status sort_key_of(stream *s, const args *a, const arg_item *item, sort_key *out) {
    const char *name = item->name;
    bool descending = *name == '-';
    int index = plan_column(s, a, "by", item, name + descending);
    if (index < 0) return TW_ERR_JOB;
    const type *t = s->schema->fields[index].type;
    char text[64];
    if (!sort_key_allowed(t))
        return error_list_add(plan_errors(s->builder), item->at, "column '%s' is %s, which has no order",
                              name + descending, type_name(t, text, sizeof text));
    *out = (sort_key){.type = t, .column = (uint32_t)index, .descending = descending};
    return TW_OK;
}

static tw_status sort_build(stream *s, const args *a, tw_error *err) {
    size_t n;
    const arg_item *items = args_items(a, "by", &n);
    if (!n) return args_error(a, "by", plan_errors(s->builder), "at least one column is wanted");
    if (n > SORT_KEYS_MAX)
        return args_error(a, "by", plan_errors(s->builder), "no more than %d columns", SORT_KEYS_MAX);
    sort_key *keys = calloc(n, sizeof *keys);
    if (!keys) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    tw_status status = TW_OK;
    for (size_t i = 0; i < n; i++) {
        tw_status one = sort_key_of(s, a, &items[i], &keys[i]);
        if (status == TW_OK) status = one;
    }
    uint64_t limit = args_given(a, "limit") ? (uint64_t)args_int(a, "limit") : UINT64_MAX;
    if (status != TW_OK) {
        free(keys);
        return status;
    }
    sink *k;
    source *from;
    TRY(sort_create(s->schema, keys, (uint32_t)n, limit, &k, &from, err));
    schema *same = schema_ref(s->schema);
    status = stream_break(s, k, from, same, err);
    schema_unref(same);
    return status;
}

static const option sort_options[] = {
    {"by", OPTION_COLUMNS, OPTION_REQUIRED | OPTION_OR_ONE,
     "the columns, the first decides; -column is descending"},
    {"limit", OPTION_INT, 0, "how many rows to keep", .default_note = "all", .max = INT64_MAX},
};

const step_descriptor step_sort = {
    .descriptor = {.name = "sort",
                   .summary = "puts the rows in order",
                   .options = sort_options,
                   .n_options = COUNT_OF(sort_options),
                   .shorthand = "by",
                   .details =
                       "Stable: rows with equal keys stay in row order. Nulls come last, also when "
                       "descending; before them NaN, after all numbers, also when descending; -0.0 and "
                       "0.0 are equal. Strings and binaries compare byte by byte, false comes before true. "
                       "Vectors, lists and sparse columns cannot be sorted by, but go along.\n\n"
                       "What does not fit run.memory goes to the spill folder. With a limit only rows that "
                       "may be among the first are kept.",
                   .example = "- sort: [country, -population]"},
    .build = sort_build,
    .columns = COLUMNS_KEPT,
    .by_name = true,
};
