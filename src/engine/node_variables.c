/* node_variables.c: ${VAR}, ${VAR:-default} and ${VAR:?message} in the scalars of a job. */
#include <stdlib.h>
#include <string.h>

#include "engine/node_internal.h"

enum { variable_depth_max = 8, variable_name_max = 255 };

typedef struct expansion {
    const struct variables *vars;
    struct place at;
    error_list *errors;
    size_t bytes_max;
    struct text *out;
} expansion;

static bool is_name_byte(char c, bool first) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (!first && c >= '0' && c <= '9');
}

static bool starts_with(const char *at, const char *end, const char *prefix) {
    size_t length = strlen(prefix);
    return (size_t)(end - at) >= length && memcmp(at, prefix, length) == 0;
}

/* The '}' that ends what starts at `at`, variables inside skipped; `end` if there is none. */
static const char *find_close(const char *at, const char *end) {
    size_t open = 1;
    while (at < end) {
        if (starts_with(at, end, "$${")) at += 3;
        else if (starts_with(at, end, "${")) at += 2, open++;
        else if (*at++ == '}' && --open == 0) return at - 1;
    }
    return end;
}

static const char *lookup(const struct variables *vars, const char *name) {
    return vars && vars->get ? vars->get(vars->context, name) : getenv(name);
}

static tw_status expand_range(const expansion *e, const char *at, const char *end, int depth);

/* `at` is behind "${". Gives where to go on: behind the '}'. */
static tw_status expand_one(const expansion *e, const char *at, const char *end, int depth,
                            const char **next) {
    const char *close = find_close(at, end);
    if (close == end)
        return error_list_add(e->errors, e->at,
                              "'${' has no closing '}' (write '$${' for the text '${')");
    *next = close + 1;
    const char *name_end = at;
    while (name_end < close && is_name_byte(*name_end, name_end == at)) name_end++;
    char name[variable_name_max + 1];
    size_t length = (size_t)(name_end - at);
    bool plain = name_end == close;
    bool fallback = starts_with(name_end, close, ":-");
    bool required = starts_with(name_end, close, ":?");
    if (!length || length > variable_name_max || !(plain || fallback || required))
        return error_list_add(e->errors, e->at,
                              "a variable is written ${NAME}, ${NAME:-default} or ${NAME:?message} "
                              "(write '$${' for the text '${')");
    memcpy(name, at, length);
    name[length] = 0;
    const char *value = lookup(e->vars, name);
    if (value && (plain || *value)) {
        size_t bytes = strlen(value), used = e->out->length;
        if (used > e->bytes_max || bytes > e->bytes_max - used)
            return error_list_add(e->errors, e->at,
                                  "with its variables the job has more than %d MiB of text",
                                  NODE_BYTES_MAX >> 20);
        return text_append(e->out, value, bytes);
    }
    if (fallback) return expand_range(e, name_end + 2, close, depth + 1);
    if (required && close - name_end > 2)
        return error_list_add(e->errors, e->at, "%s: %.*s", name, (int)(close - name_end - 2),
                              name_end + 2);
    return error_list_add(e->errors, e->at,
                          "the environment variable %s is not set, and ${%s} gives no default", name,
                          name);
}

static tw_status expand_range(const expansion *e, const char *at, const char *end, int depth) {
    if (depth > variable_depth_max)
        return error_list_add(e->errors, e->at, "variables are nested more than %d deep",
                              variable_depth_max);
    tw_status result = TW_OK;
    while (at < end) {
        const char *dollar = memchr(at, '$', (size_t)(end - at));
        if (!dollar) dollar = end;
        TRY(text_append(e->out, at, (size_t)(dollar - at)));
        at = dollar;
        if (starts_with(at, end, "$${")) {
            TRY(text_append(e->out, "${", 2));
            at += 3;
        } else if (starts_with(at, end, "${")) {
            const char *next = end;
            tw_status status = expand_one(e, at + 2, end, depth, &next);
            if (status == TW_ERR_MEMORY) return status;
            if (status != TW_OK) result = status;
            at = next;
        } else if (at < end) {
            TRY(text_append_char(e->out, *at++));
        }
    }
    return result;
}

tw_status variables_expand(const struct variables *vars, const char *raw, struct place at, size_t bytes_max,
                           error_list *errors, struct text *out) {
    expansion e = {vars, at, errors, bytes_max, out};
    return expand_range(&e, raw, raw + strlen(raw), 0);
}
