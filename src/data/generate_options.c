/* The table of kinds and options, and reading an option's text. */
#include "base/quantity.h"
#include "data/generate_internal.h"
#include "data/number_text.h"

#include <inttypes.h>

#define OPTION_ROW(id, name_, type_, default_, least_, greatest_, bare_, help_)                    \
    {name_, type_, default_, least_, greatest_, bare_, help_},
static const generate_option text_options[] = {TEXT_OPTIONS(OPTION_ROW)};
static const generate_option records_options[] = {RECORDS_OPTIONS(OPTION_ROW)};
static const generate_option points_options[] = {POINTS_OPTIONS(OPTION_ROW)};
static const generate_option linear_options[] = {LINEAR_OPTIONS(OPTION_ROW)};
static const generate_option graph_options[] = {GRAPH_OPTIONS(OPTION_ROW)};
static const generate_option messages_options[] = {MESSAGES_OPTIONS(OPTION_ROW)};
static const generate_option events_options[] = {EVENTS_OPTIONS(OPTION_ROW)};
#undef OPTION_ROW

#define KIND_ROW(id, name_, format_, columns_, help_)                                              \
    {#name_, format_, columns_, help_, name_##_options,                                            \
     sizeof name_##_options / sizeof *name_##_options},
static const generate_kind kinds[] = {GENERATE_KINDS(KIND_ROW)};
#undef KIND_ROW

#define KIND_FITS(id, name_, ...)                                                                  \
    _Static_assert(sizeof name_##_options / sizeof *name_##_options <= GENERATE_OPTIONS_MAX,       \
                   "GENERATE_OPTIONS_MAX is too small");
GENERATE_KINDS(KIND_FITS)
#undef KIND_FITS

const generate_kind *generate_kinds(size_t *count) {
    *count = GENERATE_KIND_COUNT;
    return kinds;
}

const generate_kind *generate_kind_find(const char *name) {
    for (size_t i = 0; i < GENERATE_KIND_COUNT; i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    return NULL;
}

/* ---- one option ---- */

static const char *type_takes(generate_option_type type) {
    switch (type) {
    case GENERATE_INTEGER: return "a whole number";
    case GENERATE_NUMBER: return "a number";
    case GENERATE_SIZE: return "a size such as 64MiB";
    case GENERATE_DURATION: return "a time such as 10ms";
    }
    return "";
}

/* The value that `text` says, whatever the range. `err` gets the reason alone, or "". */
static tw_status read_value(const generate_option *option, const char *text, generate_value *value,
                            tw_error *err) {
    size_t length = strlen(text);
    parse_status parsed = PARSE_MALFORMED;
    int64_t count;
    switch (option->type) {
    case GENERATE_SIZE: return parse_size_bytes(text, &value->integer, err);
    case GENERATE_DURATION:
        if (option->bare_unit == 0 || parse_int64(text, length, &count) != PARSE_OK)
            return parse_duration_us(text, &value->integer, err);
        if (!__builtin_mul_overflow(count, option->bare_unit, &value->integer)) return TW_OK;
        return error_set(err, TW_ERR_JOB, "out of range");
    case GENERATE_NUMBER: parsed = parse_float64(text, length, &value->number); break;
    case GENERATE_INTEGER: parsed = parse_int64(text, length, &value->integer); break;
    }
    if (parsed == PARSE_OK) return TW_OK;
    return error_set(err, TW_ERR_JOB, parsed == PARSE_RANGE ? "out of range" : "");
}

/* Written so that a NaN is outside. */
static bool in_range(const generate_option *option, generate_value value) {
    if (option->type == GENERATE_NUMBER)
        return value.number >= (double)option->least && value.number <= (double)option->greatest;
    return value.integer >= option->least && value.integer <= option->greatest;
}

static tw_status out_of_range(const generate_kind *kind, const generate_option *option,
                              tw_error *err) {
    const char *unit = option->type == GENERATE_SIZE       ? " bytes"
                       : option->type == GENERATE_DURATION ? " us"
                                                           : "";
    return error_set(err, TW_ERR_JOB,
                     "option '%s' of generate %s must be %" PRId64 " to %" PRId64 "%s", option->name,
                     kind->name, option->least, option->greatest, unit);
}

static bool same_name(const char *name, const char *given) {
    for (; *name && *given; name++, given++)
        if (*name != *given && !(*name == '_' && *given == '-')) return false;
    return *name == 0 && *given == 0;
}

static tw_status find_option(const generate_kind *kind, const char *name, size_t *index,
                             tw_error *err) {
    for (*index = 0; *index < kind->option_count; ++*index)
        if (same_name(kind->options[*index].name, name)) return TW_OK;
    return error_set(err, TW_ERR_JOB, "generate %s has no option '%s'", kind->name, name);
}

tw_status generate_options_set_value(generate_options *options, const char *name,
                                     generate_value value, tw_error *err) {
    size_t index;
    TRY(find_option(options->kind, name, &index, err));
    const generate_option *option = &options->kind->options[index];
    if (!in_range(option, value)) return out_of_range(options->kind, option, err);
    options->values[index] = value;
    return TW_OK;
}

tw_status generate_options_set(generate_options *options, const char *name, const char *text,
                               tw_error *err) {
    size_t index;
    TRY(find_option(options->kind, name, &index, err));
    const generate_option *option = &options->kind->options[index];
    generate_value value = {0};
    tw_error reason = {0};
    if (read_value(option, text, &value, &reason) != TW_OK)
        return error_set(err, TW_ERR_JOB, "option '%s' of generate %s must be %s, not '%s'%s%s",
                         option->name, options->kind->name, type_takes(option->type), text,
                         reason.message[0] ? ": " : "", reason.message);
    return generate_options_set_value(options, name, value, err);
}

tw_status generate_options_default(const char *kind, generate_options *options, tw_error *err) {
    memset(options, 0, sizeof *options);
    options->kind = generate_kind_find(kind);
    if (!options->kind) {
        char names[256] = "";
        for (size_t i = 0; i < GENERATE_KIND_COUNT; i++) {
            if (i > 0) strcat(names, ", ");
            strcat(names, kinds[i].name);
        }
        return error_set(err, TW_ERR_JOB, "no kind '%s' of generated data (known: %s)", kind,
                         names);
    }
    for (size_t i = 0; i < options->kind->option_count; i++) {
        const generate_option *option = &options->kind->options[i];
        TRY(generate_options_set(options, option->name, option->default_text, err));
    }
    return TW_OK;
}

tw_status generate_options_endless(generate_options *options, tw_error *err) {
    switch (options->kind - kinds) {
    case GENERATE_KIND_TEXT:
        options->values[TEXT_BYTES].integer = GENERATE_BYTES_MAX;
        return TW_OK;
    case GENERATE_KIND_RECORDS:
        options->values[RECORDS_ROWS].integer = GENERATE_ROWS_MAX;
        return TW_OK;
    case GENERATE_KIND_POINTS:
        options->values[POINTS_ROWS].integer = GENERATE_ROWS_MAX;
        return TW_OK;
    case GENERATE_KIND_LINEAR:
        options->values[LINEAR_ROWS].integer = GENERATE_ROWS_MAX;
        return TW_OK;
    case GENERATE_KIND_MESSAGES:
        options->values[MESSAGES_ROWS].integer = GENERATE_ROWS_MAX;
        return TW_OK;
    case GENERATE_KIND_EVENTS:
        options->values[EVENTS_ROWS].integer =
            (int64_t)events_rows_max(options->values[EVENTS_INTERVAL].integer);
        return TW_OK;
    }
    return error_set(err, TW_ERR_JOB, "generate %s cannot be endless: 'scale' sets its size",
                     options->kind->name);
}
