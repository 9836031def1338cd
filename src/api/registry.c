#include "api/registry.h"

#include "io/connectors.h"
#include "step/steps.h"

static const step_descriptor *const steps[] = {
    &step_select, &step_derive, &step_rename, &step_drop, &step_filter, &step_split_words, &step_explode,
    &step_parse, &step_group, &step_distinct, &step_dedupe, &step_sort, &step_limit, &step_sample, &step_window, &step_join,
    &step_union, &step_busy, NULL};

static const source_descriptor *const sources[] = {&source_file, &source_generate, &source_tcp, &source_unix, &source_http, &source_kafka, &source_harmonicio, NULL};

static const sink_descriptor *const sinks[] = {&sink_file, &sink_stdout, &sink_discard, &sink_tcp, &sink_unix, &sink_http, &sink_kafka, &sink_harmonicio, NULL};

const registry built_in = {.steps = steps, .sources = sources, .sinks = sinks};
