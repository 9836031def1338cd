/* decode_json.c: `json`: an object a line, columns by their path in it. */
#include <stdio.h>
#include <stdlib.h>

#include "io/json_values.h"
#include "io/line_rows.h"

typedef struct json_decoder {
    decoder base;
    line_rows lines;
    json_reader reader;
    json_node *tree;
    column_builder **builders; /* NULL: not needed */
    uint32_t *slots;
} json_decoder;

static void free_builders(json_decoder *d) {
    for (uint32_t c = 0; d->builders && c < d->base.format->schema->n; c++) column_builder_free(d->builders[c]);
    free(d->builders);
    d->builders = NULL;
}

static tw_status json_reset(decoder *base, tw_error *err) {
    json_decoder *d = (json_decoder *)base;
    const schema *s = base->format->schema;
    free_builders(d);
    d->builders = calloc(s->n + 1, sizeof *d->builders);
    if (!d->builders) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    for (uint32_t c = 0; c < s->n; c++)
        if (decoder_needs(base, c))
            TRY(column_builder_new(base->run->memory, s->fields[c].type, &d->builders[c], err));
    return TW_OK;
}

static bool is_blank(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r') return false;
    return true;
}

static tw_status append_row(json_decoder *d, const uint64_t *tape, const uint8_t *strings, tw_error *err) {
    const schema *s = d->base.format->schema;
    for (uint32_t c = 0; c < s->n; c++) {
        if (!d->builders[c]) continue;
        if (d->slots[c]) TRY(json_append(d->builders[c], s->fields[c].type, tape, strings, d->slots[c], err));
        else TRY(column_builder_null(d->builders[c], err));
    }
    return TW_OK;
}

static tw_status json_line(decoder *base, const uint8_t *p, size_t n, line_verdict *out, char reason[REASON_MAX],
                           tw_error *err) {
    json_decoder *d = (json_decoder *)base;
    const schema *s = base->format->schema;
    *out = LINE_BLANK;
    if (is_blank(p, n)) return TW_OK;
    const uint64_t *tape;
    const char *why = "";
    TRY(json_read(&d->reader, p, n, &tape, &why, err));
    *out = LINE_BAD;
    if (!tape || tape_kind(tape[1]) != '{') {
        snprintf(reason, REASON_MAX, tape ? "the line is no JSON object" : "malformed JSON: %s", why);
        return TW_OK;
    }
    const uint8_t *strings = json_strings(d->reader.parser);
    memset(d->slots, 0, s->n * sizeof *d->slots);
    json_find(d->tree, tape, strings, 1, d->slots);
    for (uint32_t c = 0; c < s->n; c++) {
        if (!d->builders[c] || !d->slots[c]) continue;
        json_fit fit = json_value_fits(s->fields[c].type, tape, strings, d->slots[c]);
        if (fit == JSON_FITS) continue;
        char shown[SHOWN_MAX];
        json_show(tape, strings, d->slots[c], shown);
        misfit_reason(base->format, c, shown, fit == JSON_RANGE, reason, REASON_MAX);
        return TW_OK;
    }
    *out = LINE_TAKEN;
    return append_row(d, tape, strings, err);
}

static tw_status json_finish(decoder *base, batch *b, tw_error *err) {
    json_decoder *d = (json_decoder *)base;
    for (uint32_t c = 0; c < base->format->schema->n; c++)
        if (d->builders[c]) TRY(column_builder_finish(d->builders[c], &b->columns[c], err));
    return TW_OK;
}

static const line_rows_class json_lines = {json_line, json_finish, json_reset};

static void json_begin(decoder *base) { line_rows_begin(base, &((json_decoder *)base)->lines); }

static tw_status json_next(decoder *base, batch **out, tw_error *err) {
    json_decoder *d = (json_decoder *)base;
    if (!d->tree) {
        d->tree = json_tree_new(base->format->schema);
        if (!d->tree) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
        d->lines.dirty = true; /* makes the builders */
    }
    return line_rows_next(base, &d->lines, &json_lines, out, err);
}

static void json_free(decoder *base) {
    json_decoder *d = (json_decoder *)base;
    free_builders(d);
    json_reader_close(&d->reader);
    json_tree_free(d->tree);
    line_rows_free(&d->lines);
    free(d->slots);
}

static const decoder_class json_class = {json_begin, json_next, json_free};

tw_status json_decoder_new(const format *f, run_context *run, decoder **out, tw_error *err) {
    uint32_t *slots = malloc((f->schema->n + 1) * sizeof *slots);
    if (!slots) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    tw_status status = decoder_allocate(sizeof(json_decoder), &json_class, out, err);
    if (status != TW_OK) {
        free(slots);
        return status;
    }
    json_decoder *d = (json_decoder *)*out;
    d->reader.memory = run->memory;
    d->slots = slots;
    return TW_OK;
}
