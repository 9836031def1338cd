/* limit: the first N rows, in row order; what feeds it stops once they are there. */
#include "engine/queue.h"
#include "step/steps.h"

static tw_status limit_build(stream *s, const args *a, tw_error *err) {
    queue_options options = {.name = "limit", .is_step = true, .rows_max = (uint64_t)args_int(a, "rows")};
    return stream_queue(s, options, err);
}

static const option limit_options[] = {
    {"rows", OPTION_INT, OPTION_REQUIRED, "how many rows to keep", .max = INT64_MAX},
};
const step_descriptor step_limit = {
    .descriptor = {.name = "limit",
                   .summary = "keeps the first rows, in row order",
                   .options = limit_options,
                   .n_options = COUNT_OF(limit_options),
                   .shorthand = "rows",
                   .details = "After group, distinct and join rows have no order: put a sort before it.",
                   .example = "- limit: 10"},
    .build = limit_build,
    .columns = COLUMNS_KEPT,
    .by_name = true,
};
