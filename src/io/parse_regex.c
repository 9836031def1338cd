#define PCRE2_CODE_UNIT_WIDTH 8
#include "io/parse_step.h"

#include <pcre2.h>
#include <stdlib.h>

#include "io/text_columns.h"

#define MATCH_LIMIT 1000000u /* steps of one match: a pattern that explodes is a bad record, not a hang */

struct regex_scratch {
    pcre2_match_data *match;
    pcre2_match_context *context;
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for parse"); }

/* The named groups in the order of their numbers. */
static tw_status read_groups(parse_plan *p, const args *a, error_list *errors, tw_error *err) {
    uint32_t count, entry_size;
    PCRE2_SPTR table;
    pcre2_pattern_info(p->pattern, PCRE2_INFO_NAMECOUNT, &count);
    pcre2_pattern_info(p->pattern, PCRE2_INFO_NAMEENTRYSIZE, &entry_size);
    pcre2_pattern_info(p->pattern, PCRE2_INFO_NAMETABLE, &table);
    if (count == 0)
        return args_error(a, "pattern", errors, "it has no named group such as (?<name>...), so it gives no column");
    const char **names = calloc(count, sizeof *names);
    const type **types = calloc(count, sizeof *types);
    p->groups = calloc(count, sizeof *p->groups);
    tw_status status = names && types && p->groups ? TW_OK : no_memory(err);
    for (uint32_t i = 0; i < count && status == TW_OK; i++) {
        PCRE2_SPTR entry = table + (size_t)i * entry_size;
        uint32_t number = (uint32_t)entry[0] << 8 | entry[1], at = i;
        for (; at > 0 && p->groups[at - 1] > number; at--) {
            p->groups[at] = p->groups[at - 1];
            names[at] = names[at - 1];
        }
        p->groups[at] = number;
        names[at] = (const char *)entry + 2;
    }
    size_t n_given;
    const arg_item *given = args_items(a, "columns", &n_given);
    for (uint32_t i = 0; i < count && status == TW_OK; i++) types[i] = type_of(TYPE_STRING);
    for (size_t k = 0; k < n_given && status == TW_OK; k++) {
        uint32_t i = 0;
        while (i < count && strcmp(names[i], given[k].name) != 0) i++;
        if (i == count)
            status = error_list_add(errors, given[k].name_at, "the pattern has no group '%s'", given[k].name);
        else if (!text_column_can_read(given[k].type))
            status = error_list_add(errors, given[k].at, "a group can't be read as %s", given[k].text);
        else types[i] = given[k].type;
    }
    if (status == TW_OK) status = schema_new(names, types, count, &p->format.schema, err);
    free(names);
    free(types);
    return status;
}

tw_status parse_regex_plan(parse_plan *p, const args *a, error_list *errors, tw_error *err) {
    if (!args_given(a, "pattern")) return args_error(a, "pattern", errors, "the format regex needs a pattern");
    int code;
    size_t at;
    p->pattern = pcre2_compile((PCRE2_SPTR)args_string(a, "pattern"), PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_NO_UTF_CHECK, &code, &at, NULL);
    if (!p->pattern) {
        PCRE2_UCHAR message[160];
        pcre2_get_error_message(code, message, sizeof message);
        return args_error(a, "pattern", errors, "at byte %zu: %s", at + 1, (const char *)message);
    }
    pcre2_jit_compile(p->pattern, PCRE2_JIT_COMPLETE); /* without it matching is slower, not different */
    return read_groups(p, a, errors, err);
}

void parse_regex_plan_free(parse_plan *p) {
    pcre2_code_free(p->pattern);
    free(p->groups);
}

tw_status regex_scratch_new(const parse_plan *p, regex_scratch **out, tw_error *err) {
    regex_scratch *s = calloc(1, sizeof *s);
    if (s) s->match = pcre2_match_data_create_from_pattern(p->pattern, NULL);
    if (s) s->context = pcre2_match_context_create(NULL);
    if (!s || !s->match || !s->context) {
        regex_scratch_free(s);
        return no_memory(err);
    }
    pcre2_set_match_limit(s->context, MATCH_LIMIT);
    *out = s;
    return TW_OK;
}

void regex_scratch_free(regex_scratch *s) {
    if (!s) return;
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->context);
    free(s);
}

static const char *reason_of(int result) {
    return result == PCRE2_ERROR_NOMATCH ? "the text does not match the pattern"
                                         : "matching the pattern takes too many steps";
}

/* Lays the captures of all texts out as fields, so that they are read as those of CSV are. */
static tw_status capture(const parse_plan *p, regex_scratch *s, const parse_texts *texts, uint8_t *to, uint32_t *ends,
                         const char **bad, tw_error *err) {
    uint32_t k = p->format.schema->n, at = 0;
    for (uint32_t i = 0; i < texts->n; i++) {
        const uint8_t *text = texts->buffer->data + texts->begins[i];
        size_t size = texts->begins[i + 1] - texts->begins[i] - 1;
        int result = pcre2_match(p->pattern, text, size, 0, PCRE2_NO_UTF_CHECK, s->match, s->context);
        if (result == PCRE2_ERROR_NOMEMORY) return no_memory(err);
        if (result < 0) bad[i] = reason_of(result);
        const size_t *place = pcre2_get_ovector_pointer(s->match);
        for (uint32_t c = 0; c < k; c++) {
            uint32_t g = p->groups[c];
            if (result > 0 && (uint32_t)result > g && place[2 * g] != PCRE2_UNSET) {
                size_t bytes = place[2 * g + 1] - place[2 * g];
                memcpy(to + at, text + place[2 * g], bytes);
                at += (uint32_t)bytes;
            }
            ends[(size_t)i * k + c] = at;
            to[at++] = 0;
        }
    }
    return TW_OK;
}

static tw_status read_columns(const parse_plan *p, memory *m, const text_rows *rows, buffer *owner, column *out,
                              const char **bad, tw_error *err) {
    misfits wrong = {0};
    tw_status status = TW_OK;
    for (uint32_t c = 0; c < p->format.schema->n && status == TW_OK; c++) {
        const type *t = p->format.schema->fields[c].type;
        text_column what = {.field = c, .column = c, .type = t, .valid_text = true};
        if (p->needed[c]) status = text_column_read(m, rows, &what, owner, &out[c], &wrong, err);
        else out[c] = (column){.type = t, .rows = rows->n};
    }
    for (uint32_t i = 0; i < wrong.n; i++)
        if (!bad[wrong.items[i].row]) bad[wrong.items[i].row] = "a group's text does not fit its type";
    free(wrong.items);
    return status;
}

tw_status parse_regex(const parse_plan *p, regex_scratch *s, memory *m, const parse_texts *texts, column *out,
                      const char **bad, tw_error *err) {
    /* Groups may overlap, so each column can be as long as all texts. */
    uint32_t k = p->format.schema->n, n = texts->n;
    uint64_t bytes = ((uint64_t)texts->begins[n] + n) * k;
    if (bytes > UINT32_MAX) return error_set(err, TW_ERR_DATA, "parse: the texts of one batch are too long");
    buffer *fields, *places;
    TRY(buffer_new(m, MEMORY_FLOW, bytes + 1, &fields, err));
    tw_status status = buffer_new(m, MEMORY_FLOW, ((size_t)n * k + 1 + 2 * (size_t)n) * sizeof(uint32_t), &places, err);
    if (status == TW_OK) {
        uint32_t *ends = (uint32_t *)(void *)places->data + 1, *first = ends + (size_t)n * k, *record = first + n;
        ends[-1] = UINT32_MAX;
        for (uint32_t i = 0; i < n; i++) {
            first[i] = i * k;
            record[i] = i;
        }
        status = capture(p, s, texts, fields->data, ends, bad, err);
        text_rows rows = {.text = fields->data, .ends = ends, .first = first, .record = record, .n = n};
        if (status == TW_OK) status = read_columns(p, m, &rows, fields, out, bad, err);
        buffer_unref(places);
    }
    buffer_unref(fields);
    return status;
}
