#include <stdio.h>

#include "engine/plan_internal.h"

/* What a lane may hold at once, beyond states: a reader's block and the batches in its operators. */
#define LANE_BYTES ((size_t)2 << 20)

static void print_bytes(struct text *out, size_t bytes) {
    if (bytes >= (size_t)1 << 30) text_printf(out, "%.1f GiB", (double)bytes / (1 << 30));
    else if (bytes >= (size_t)1 << 20) text_printf(out, "%.1f MiB", (double)bytes / (1 << 20));
    else text_printf(out, "%zu KiB", (bytes + 1023) >> 10);
}

static void detail(struct text *out, const char *name, const char *text) {
    text_append_string(out, name);
    if (text[0]) text_printf(out, " (%s)", text);
}

static int stage_of_feeder(const plan *p, const sink *k) {
    for (uint32_t i = 0; i < p->n_pipelines; i++)
        if (p->pipelines[i]->sink == k) return (int)i + 1;
    return 0;
}

static void explain_waits(const plan *p, const pipeline *line, struct text *out) {
    const char *word = "   after stage";
    for (uint32_t i = 0; i < p->n_pipelines; i++) {
        bool awaited = false;
        for (uint32_t k = 0; k < line->n_after; k++) awaited |= p->pipelines[i]->sink == line->after[k];
        for (uint32_t k = 0; k < line->n_also_after; k++) awaited |= line->also_after[k] == p->pipelines[i];
        if (!awaited) continue;
        text_printf(out, "%s %u", word, i + 1);
        word = ",";
    }
    if (line->source->live) text_printf(out, "   beside stage %d", stage_of_feeder(p, line->feeder));
    text_append_char(out, '\n');
}

static void explain_pipeline(const plan *p, const pipeline *line, uint32_t workers, struct text *out) {
    char words[256];
    text_printf(out, "stage %u   %u worker%s", line->id + 1, workers, workers == 1 ? "" : "s");
    explain_waits(p, line, out);
    words[0] = 0;
    if (line->source->class->describe) line->source->class->describe(line->source, words, sizeof words);
    text_append_string(out, line->feeder ? "    rows of " : "    read ");
    detail(out, line->source->name, words);
    text_append_char(out, '\n');
    for (uint32_t i = 0; i < line->n_operators; i++) {
        operator_plan *o = line->operators[i];
        words[0] = 0;
        if (o->class->describe) o->class->describe(o, words, sizeof words);
        text_append_string(out, "    fused ");
        detail(out, o->name, words);
        text_append_char(out, '\n');
    }
    words[0] = 0;
    if (line->sink->class->describe) line->sink->class->describe(line->sink, words, sizeof words);
    text_append_string(out, line->sink->class->commit ? "    write " : "    move into ");
    detail(out, line->sink->name, words);
    if (line->sink->may_spill) text_append_string(out, ", spills");
    text_append_char(out, '\n');
}

tw_status plan_explain(const plan *p, uint32_t parallelism, size_t memory_bytes, struct text *out) {
    text_printf(out, "%s: %u stage%s\n", p->name, p->n_pipelines, p->n_pipelines == 1 ? "" : "s");
    if (p->endless) {
        static const char *const names[] = {"at most once", "at least once", "exactly once"};
        text_printf(out, "each row takes effect %s%s%s%s\n", names[p->guarantee], p->weakest ? " (because of " : "",
                    p->weakest ? p->weakest : "", p->weakest ? ")" : "");
    }
    bool spills = false, remembers = false;
    size_t states = 0, flowing = 0;
    for (uint32_t i = 0; i < p->n_pipelines; i++) {
        uint32_t workers = pipeline_lanes_max(p->pipelines[i], parallelism, memory_bytes);
        explain_pipeline(p, p->pipelines[i], workers, out);
        flowing += workers * LANE_BYTES;
    }
    for (uint32_t i = 0; i < p->n_sinks; i++) {
        spills |= p->sinks[i]->may_spill;
        remembers |= p->sinks[i]->keeps_state && !p->sinks[i]->may_spill;
        states += p->sinks[i]->state_bytes_min;
    }
    size_t worst = spills || remembers ? memory_bytes : states + flowing;
    if (worst > memory_bytes) worst = memory_bytes;
    text_append_string(out, "memory at worst ");
    print_bytes(out, worst);
    text_append_string(out, " of ");
    print_bytes(out, memory_bytes);
    text_append_string(out, remembers ? "; what a step remembers must fit" : spills ? "; what does not fit goes to disk" : "; nothing collects rows");
    if (remembers && spills) text_append_string(out, ", what else does not goes to disk");
    text_append_string(out, "\n");
    return out->failed ? TW_ERR_MEMORY : TW_OK;
}
