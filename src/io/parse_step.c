/* parse: takes a text column apart into columns: JSON, CSV, or the groups of a regular expression. */
#include "io/parse_step.h"

#include <stdlib.h>

#include "data/scan.h"
#include "io/connectors.h"

typedef struct parse_state {
    operator operator;
    run_context *run;
    run_context quiet;       /* a decoder's world: bad records are counted, not told; we tell them */
    bad_records *skipped;
    decoder *decoder;
    regex_scratch *regex;
} parse_state;

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for parse"); }

static void parse_close(operator *self) {
    parse_state *s = (parse_state *)self;
    decoder_free(s->decoder);
    regex_scratch_free(s->regex);
    bad_records_free(s->skipped);
    free(s);
}

static tw_status parse_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    const parse_plan *p = (const parse_plan *)plan;
    parse_state *s = calloc(1, sizeof *s);
    if (!s) return no_memory(err);
    s->operator = (operator){.class = plan->class, .plan = plan};
    s->run = run;
    tw_status status = bad_records_create(BAD_SKIP, NULL, &s->skipped, err);
    if (status == TW_OK && p->pattern) status = regex_scratch_new(p, &s->regex, err);
    if (status == TW_OK && !p->pattern) {
        s->quiet.memory = run->memory;
        s->quiet.spill = run->spill;
        s->quiet.cancelled = run->cancelled;
        s->quiet.parallelism = 1;
        s->quiet.batch_rows = BATCH_ROWS_MAX; /* what comes out must match what went in */
        s->quiet.batch_bytes = SIZE_MAX;
        s->quiet.bad = s->skipped;
        status = decoder_new(&p->format, &s->quiet, p->needed, &s->decoder, err);
    }
    if (status != TW_OK) parse_close(&s->operator);
    else *out = &s->operator;
    return status;
}

/* ---- the texts of a batch ---- */

static void texts_free(parse_texts *t) {
    buffer_unref(t->buffer);
    free(t->rows);
    *t = (parse_texts){0};
}

/* Those of rows[0..n) that are not null (rows NULL: all). */
static tw_status texts_of(memory *m, const column *c, const uint32_t *rows, uint32_t n, parse_texts *out, tw_error *err) {
    const view *v = c->values;
    parse_texts t = {0};
    t.rows = malloc((2 * (size_t)n + 1) * sizeof *t.rows);
    if (!t.rows) return no_memory(err);
    t.begins = t.rows + n;
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = rows ? rows[i] : i;
        if (!column_is_valid(c, row)) continue;
        t.rows[t.n++] = row;
        bytes += (size_t)v[row].size + 1;
    }
    tw_status status = bytes >= 1u << 30 ? error_set(err, TW_ERR_DATA, "parse: the texts of one batch are too long")
                                         : buffer_new(m, MEMORY_FLOW, bytes, &t.buffer, err);
    if (status != TW_OK) {
        texts_free(&t);
        return status;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < t.n; i++) {
        const view *text = &v[t.rows[i]];
        t.begins[i] = at;
        memcpy(t.buffer->data + at, view_data(text), text->size);
        at += text->size;
        t.buffer->data[at++] = '\n';
    }
    t.begins[t.n] = at;
    *out = t;
    return TW_OK;
}

/* ---- decoding ---- */

/* Decodes bytes [begin, end) of the texts. *out: NULL, or the one batch that they give; *rows how many
 * they should be. */
static tw_status decode(parse_state *s, const parse_texts *t, uint32_t begin, uint32_t end, batch **out, tw_error *err) {
    span bytes = {.owner = t->buffer, .bytes = t->buffer->data + begin, .size = end - begin};
    span_place place = {.file = "parse", .first_record = 1};
    *out = NULL;
    decoder_feed(s->decoder, &bytes, &place);
    batch *b = NULL;
    tw_status status;
    while ((status = decoder_next(s->decoder, &b, err)) == TW_OK) {
        if (*out) { /* more than fit one batch: the caller goes one by one */
            batch_unref(b);
            batch_unref(*out);
            *out = NULL;
            break;
        }
        *out = b;
    }
    decoder_drop(s->decoder);
    return status == TW_END ? TW_OK : status;
}

/* A line feed would end a JSON text too early; between values it is a blank, in a string it is wrong. */
static void join_json_lines(const parse_texts *t) {
    for (uint32_t i = 0; i < t->n; i++)
        for (uint32_t k = t->begins[i]; k + 1 < t->begins[i + 1]; k++)
            if (t->buffer->data[k] == '\n') t->buffer->data[k] = ' ';
}

/* Finds out text by text which are bad; what is left can be decoded as a whole. */
static tw_status find_bad(parse_state *s, const parse_texts *t, const char **bad, tw_error *err) {
    const parse_plan *p = (const parse_plan *)s->operator.plan;
    for (uint32_t i = 0; i < t->n; i++) {
        batch *b;
        TRY(decode(s, t, t->begins[i], t->begins[i + 1], &b, err));
        if (!b || b->rows != 1)
            bad[i] = p->format.kind == FORMAT_JSON ? "the text is no JSON object of these columns"
                                                   : "the text is no CSV record of these columns";
        batch_unref(b);
    }
    return TW_OK;
}

/* Columns for all texts, if each gives one row, and *whole; else bad[] is set for those that do not. With
 * line feeds inside, texts that give none and two could make up for each other, so they are looked at first. */
static tw_status decode_texts(parse_state *s, const parse_texts *t, bool checked, column *out, const char **bad, bool *whole,
                              tw_error *err) {
    const parse_plan *p = (const parse_plan *)s->operator.plan;
    *whole = false;
    batch *b = NULL;
    if (p->format.kind == FORMAT_JSON) join_json_lines(t);
    if (t->n == 0) { /* nulls alone */
        for (uint32_t c = 0; c < p->format.schema->n; c++)
            TRY(column_new(s->run->memory, p->format.schema->fields[c].type, 0, &out[c], err));
        *whole = true;
        return TW_OK;
    }
    if (checked || count_byte(t->buffer->data, t->begins[t->n], '\n') == t->n)
        TRY(decode(s, t, 0, t->begins[t->n], &b, err));
    if (b && b->rows == t->n) {
        for (uint32_t c = 0; c < b->schema->n; c++) column_share(&b->columns[c], &out[c]);
        *whole = true;
    }
    batch_unref(b);
    if (*whole) return TW_OK;
    return checked ? error_set(err, TW_ERR_INTERNAL, "parse: texts that are right one by one are not so together")
                   : find_bad(s, t, bad, err);
}

static tw_status read_texts(parse_state *s, const parse_texts *t, column *out, const char **bad, bool *whole, tw_error *err) {
    const parse_plan *p = (const parse_plan *)s->operator.plan;
    *whole = true;
    if (p->pattern) return parse_regex(p, s->regex, s->run->memory, t, out, bad, err);
    return decode_texts(s, t, false, out, bad, whole, err);
}

/* Tells the bad texts; the rows of the others, with those of null texts, into kept[]. */
static tw_status tell_bad(parse_state *s, const batch *in, const parse_texts *t, const char *const *bad, uint32_t *kept,
                          uint32_t *n_kept, tw_error *err) {
    uint32_t next = 0;
    *n_kept = 0;
    for (uint32_t row = 0; row < in->rows; row++) {
        bool is_text = next < t->n && t->rows[next] == row;
        const char *reason = is_text ? bad[next] : NULL;
        next += is_text;
        if (reason) TRY(bad_row(s->run, in, row, "parse", reason, err));
        else kept[(*n_kept)++] = row;
    }
    return TW_OK;
}

/* Puts input rows and parsed columns together. `parsed` has a row for each valid text of the kept rows. */
static tw_status assemble(parse_state *s, batch *in, const uint32_t *kept, buffer *kept_buffer, uint32_t n, const parse_texts *t,
                          const column *parsed, batch **out, tw_error *err) {
    const parse_plan *p = (const parse_plan *)s->operator.plan;
    memory *m = s->run->memory;
    buffer *index;
    TRY(buffer_new(m, MEMORY_FLOW, (size_t)n * sizeof(uint32_t), &index, err));
    uint32_t *at = (uint32_t *)(void *)index->data, next = 0;
    for (uint32_t i = 0; i < n; i++) {
        while (next < t->n && t->rows[next] < kept[i]) next++;
        at[i] = next < t->n && t->rows[next] == kept[i] ? next : UINT32_MAX;
    }
    batch *b;
    tw_status status = batch_new(p->plan.out, n, &b, err);
    for (uint32_t c = 0; c < p->plan.out->n && status == TW_OK; c++) {
        if (c >= p->n_before) status = column_pick(m, &parsed[c - p->n_before], at, n, &b->columns[c], err);
        else if (n == in->rows) column_share(&in->columns[c], &b->columns[c]);
        else status = column_pick(m, &in->columns[c], kept, n, &b->columns[c], err);
    }
    buffer_unref(index);
    if (status == TW_OK) {
        b->position = in->position;
        status = batch_inherit_origin(m, in, kept, kept_buffer, b, err);
        if (status == TW_OK) *out = b;
        else batch_unref(b);
    }
    return status;
}

static tw_status parse_batch(parse_state *s, batch *in, parse_texts *t, column *parsed, const char **bad, buffer *kept_buffer,
                             batch **out, tw_error *err) {
    const parse_plan *p = (const parse_plan *)s->operator.plan;
    uint32_t *kept = (uint32_t *)(void *)kept_buffer->data, n = 0;
    bool whole;
    TRY(texts_of(s->run->memory, &in->columns[p->from], NULL, in->rows, t, err));
    TRY(read_texts(s, t, parsed, bad, &whole, err));
    TRY(tell_bad(s, in, t, bad, kept, &n, err));
    if (n == 0) return TW_OK;
    if (!whole) { /* the good ones, again */
        texts_free(t);
        TRY(texts_of(s->run->memory, &in->columns[p->from], kept, n, t, err));
        TRY(decode_texts(s, t, true, parsed, bad, &whole, err));
    }
    return assemble(s, in, kept, kept_buffer, n, t, parsed, out, err);
}

static tw_status parse_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    parse_state *s = (parse_state *)self;
    const parse_plan *p = (const parse_plan *)self->plan;
    uint32_t n_new = p->format.schema->n;
    parse_texts t = {0};
    column *parsed = calloc(n_new + 1, sizeof *parsed);
    const char **bad = calloc(in->rows, sizeof *bad);
    buffer *kept = NULL;
    tw_status status = parsed && bad ? buffer_new(s->run->memory, MEMORY_FLOW, in->rows * sizeof(uint32_t), &kept, err)
                                     : no_memory(err);
    if (status == TW_OK) status = parse_batch(s, in, &t, parsed, bad, kept, out, err);
    for (uint32_t c = 0; parsed && c < n_new; c++) column_clear(&parsed[c]);
    texts_free(&t);
    buffer_unref(kept);
    free(parsed);
    free(bad);
    return status;
}

static void parse_needs(operator_plan *plan, const bool *needed_out, bool *needed_in) {
    parse_plan *p = (parse_plan *)plan;
    for (uint32_t i = 0; i < p->n_before; i++) needed_in[i] = needed_out[i] || i == p->from;
}

static void parse_free(operator_plan *plan) {
    parse_plan *p = (parse_plan *)plan;
    parse_regex_plan_free(p);
    free(p->needed);
    format_free(&p->format);
    free(p);
}

static const operator_class parse_class = {
    .open = parse_open,
    .process = parse_process,
    .close = parse_close,
    .needs = parse_needs,
    .free = parse_free,
};

/* ---- planning ---- */

static tw_status one_byte(const args *a, const char *name, error_list *errors, uint8_t *out) {
    if (!args_given(a, name)) return TW_OK;
    const char *text = args_string(a, name);
    if (strlen(text) != 1) return args_error(a, name, errors, "it must be one byte");
    *out = (uint8_t)text[0];
    return TW_OK;
}

static tw_status columns_plan(parse_plan *p, const args *a, error_list *errors, tw_error *err) {
    size_t n;
    const arg_item *items = args_items(a, "columns", &n);
    if (n == 0) return args_error(a, "columns", errors, "this format needs columns: {name: type, ...}");
    const char **names = calloc(n, sizeof *names);
    const type **types = calloc(n, sizeof *types);
    tw_status status = names && types ? TW_OK : no_memory(err);
    for (size_t i = 0; i < n && status == TW_OK; i++) {
        names[i] = items[i].name;
        types[i] = items[i].type;
        char name[64];
        if (!format_can_read(p->format.kind, items[i].type))
            status = error_list_add(errors, items[i].at, "column '%s': %s cannot be read as %s", items[i].name,
                                    format_names[p->format.kind], type_name(items[i].type, name, sizeof name));
    }
    if (status == TW_OK) status = schema_new(names, types, (uint32_t)n, &p->format.schema, err);
    free(names);
    free(types);
    if (status == TW_OK) status = one_byte(a, "delimiter", errors, &p->format.delimiter);
    if (status == TW_OK) status = one_byte(a, "quote", errors, &p->format.quote);
    return status;
}

/* The columns there are, then the new ones. */
static tw_status output_schema(const schema *before, const schema *added, const args *a, error_list *errors, schema **out,
                               tw_error *err) {
    *out = schema_ref((schema *)(uintptr_t)before);
    for (uint32_t i = 0; i < added->n; i++) {
        const field *f = &added->fields[i];
        tw_status status = schema_find(*out, f->name) < 0
                               ? TW_OK
                               : args_error(a, "columns", errors, "there is a column '%s' already", f->name);
        schema *wider = NULL;
        if (status == TW_OK) status = schema_add(*out, f->name, f->type, &wider, err);
        schema_unref(*out);
        if (status != TW_OK) return status;
        *out = wider;
    }
    return TW_OK;
}

enum { PARSE_JSON, PARSE_CSV, PARSE_REGEX };

static tw_status parse_build(stream *s, const args *a, tw_error *err) {
    error_list *errors = plan_errors(s->builder);
    int from = plan_column(s, a, "from", NULL, args_string(a, "from"));
    if (from < 0) return TW_ERR_JOB;
    if (!type_is_view(s->schema->fields[from].type))
        return args_error(a, "from", errors, "column '%s' is no text", args_string(a, "from"));
    parse_plan *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    p->plan = (operator_plan){.class = &parse_class, .name = "parse", .rejects = true};
    p->from = (uint32_t)from;
    p->n_before = s->schema->n;
    p->format.kind = args_enum(a, "format") == PARSE_CSV ? FORMAT_CSV : FORMAT_JSON;
    p->format.delimiter = ',';
    p->format.quote = '"';
    tw_status status = args_enum(a, "format") == PARSE_REGEX ? parse_regex_plan(p, a, errors, err) : columns_plan(p, a, errors, err);
    schema *out = NULL;
    if (status == TW_OK) status = output_schema(s->schema, p->format.schema, a, errors, &out, err);
    if (status == TW_OK) {
        p->needed = malloc(p->format.schema->n + 1);
        p->format.inferred = calloc(p->format.schema->n + 1, sizeof *p->format.inferred);
        if (!p->needed || !p->format.inferred) status = no_memory(err);
        else memset(p->needed, 1, p->format.schema->n);
    }
    if (status != TW_OK) {
        if (out) schema_unref(out);
        parse_free(&p->plan);
        return status;
    }
    status = stream_add_operator(s, &p->plan, out, err);
    schema_unref(out);
    return status;
}

static const char *const parse_formats[] = {"json", "csv", "regex", NULL};
static const option parse_options[] = {
    {"from", OPTION_COLUMN, OPTION_REQUIRED, "the text column"},
    {"format", OPTION_ENUM, OPTION_REQUIRED, "how the texts are written", .values = parse_formats},
    {"columns", OPTION_TYPE_MAP, 0, "names and types; json: nested values by path; regex: types of named groups"},
    {"pattern", OPTION_STRING, 0, "regex: each named group such as (?<name>...) is a column"},
    {"delimiter", OPTION_STRING, 0, "csv: one byte between fields", .default_note = "','"},
    {"quote", OPTION_STRING, 0, "csv: one byte", .default_note = "'\"'"},
};
const step_descriptor step_parse = {
    .descriptor = {.name = "parse",
                   .summary = "takes a text column apart into columns",
                   .options = parse_options,
                   .n_options = COUNT_OF(parse_options),
                   .details = "The new columns are added to those there are. A null text gives nulls; a text that does "
                              "not fit is a bad record. regex searches anywhere in the text: use ^ and $ for all of it.",
                   .example = "- parse: {from: line, format: regex, pattern: '^(?<ip>\\S+) (?<ms>\\d+)', columns: {ms: int64}}"},
    .build = parse_build,
};
