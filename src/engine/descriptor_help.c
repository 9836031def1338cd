/* descriptor_help.c: help and reference pages from descriptors. */
#include <string.h>

#include "engine/descriptor_internal.h"

enum { width = 80, name_width_max = 24 };

/* Appends words, wrapped at `width`, each line but the first after `indent` blanks. `column` is where
 * the line stands; a blank line in `words` stays one. */
static void append_wrapped(struct text *out, const char *words, size_t indent, size_t column) {
    bool first = true;
    while (*words) {
        size_t blanks = strspn(words, " \n");
        bool paragraph = !first && memchr(words, '\n', blanks) && strncmp(words, "\n\n", 2) == 0;
        words += blanks;
        size_t length = strcspn(words, " \n");
        if (!length) break;
        if (paragraph) {
            text_append_string(out, "\n\n");
            text_append_repeated(out, ' ', indent);
            column = indent;
        } else if (!first && column + 1 + length > width) {
            text_append_char(out, '\n');
            text_append_repeated(out, ' ', indent);
            column = indent;
        } else if (!first) {
            text_append_char(out, ' ');
            column++;
        }
        text_append(out, words, length);
        column += length;
        words += length;
        first = false;
    }
}

/* "one of a, b; default a" and the like, after the help's line. */
static void append_facts(const option *o, struct text *out) {
    text_append_string(out, o->help);
    text_append_string(out, " (");
    option_describe(o, o->type, out);
    if (o->flags & OPTION_REQUIRED) text_append_string(out, "; required");
    const char *shown = o->default_note ? o->default_note : o->default_text;
    if (shown) text_printf(out, "; default: %s", *shown ? shown : "empty");
    text_append_char(out, ')');
}

static void append_options(const descriptor *d, size_t indent, struct text *out) {
    size_t names = 0;
    for (size_t i = 0; i < d->n_options; i++) {
        size_t length = strlen(d->options[i].name);
        if (length > names) names = length;
    }
    if (names > name_width_max) names = name_width_max;
    for (size_t i = 0; i < d->n_options; i++) {
        const option *o = &d->options[i];
        size_t length = strlen(o->name), column = indent + names + 2;
        text_append_repeated(out, ' ', indent);
        text_append_string(out, o->name);
        if (length > names) {
            text_append_char(out, '\n');
            text_append_repeated(out, ' ', column);
        } else {
            text_append_repeated(out, ' ', names - length + 2);
        }
        struct text facts = {0};
        append_facts(o, &facts);
        append_wrapped(out, text_string(&facts), column, column);
        if (facts.failed) out->failed = true;
        text_free(&facts);
        text_append_char(out, '\n');
        if (o->section) append_options(o->section, column, out);
    }
}

static void append_indented(struct text *out, const char *lines, size_t indent) {
    while (*lines) {
        size_t length = strcspn(lines, "\n");
        if (length) text_append_repeated(out, ' ', indent);
        text_append(out, lines, length);
        text_append_char(out, '\n');
        lines += length + (lines[length] == '\n');
    }
}

static const char *how_short(const descriptor *d) {
    return d->free_map ? "What stands after the name is the value of" : "A value in place of the map gives";
}

tw_status descriptor_help(const descriptor *d, struct text *out) {
    size_t start = out->length;
    text_printf(out, "%s: ", d->name);
    append_wrapped(out, d->summary, 4, out->length - start);
    text_append_char(out, '\n');
    if (d->n_options) {
        text_append_char(out, '\n');
        append_options(d, 2, out);
    }
    if (d->shorthand) text_printf(out, "\n%s '%s'.\n", how_short(d), d->shorthand);
    if (d->details) {
        text_append_char(out, '\n');
        append_wrapped(out, d->details, 0, 0);
        text_append_char(out, '\n');
    }
    if (d->example) {
        text_append_string(out, "\nExample:\n\n");
        append_indented(out, d->example, 4);
    }
    return text_append(out, "", 0);
}

/* In a cell of a table '|' ends it and '<' starts a tag. */
static void append_cell(struct text *out, const char *cell) {
    for (; *cell; cell++) {
        if (*cell == '|' || *cell == '<' || *cell == '*' || *cell == '_') text_append_char(out, '\\');
        text_append_char(out, *cell == '\n' ? ' ' : *cell);
    }
}

static void append_rows(const descriptor *d, const char *prefix, struct text *out) {
    for (size_t i = 0; i < d->n_options; i++) {
        const option *o = &d->options[i];
        struct text what = {0};
        option_describe(o, o->type, &what);
        text_printf(out, "| `%s%s` | ", prefix, o->name);
        append_cell(out, text_string(&what));
        text_append_string(out, " | ");
        if (o->flags & OPTION_REQUIRED) text_append_string(out, "required");
        else if (o->default_note) append_cell(out, o->default_note);
        else if (o->default_text) text_printf(out, "`%s`", o->default_text);
        text_append_string(out, " | ");
        append_cell(out, o->help);
        text_append_string(out, " |\n");
        if (o->section && !what.failed) {
            text_truncate(&what, 0);
            text_printf(&what, "%s%s.", prefix, o->name);
            append_rows(o->section, text_string(&what), out);
        }
        if (what.failed) out->failed = true;
        text_free(&what);
    }
}

tw_status descriptor_markdown(const descriptor *d, struct text *out) {
    text_printf(out, "## %s\n\n", d->name);
    char first = d->summary[0];
    if (first >= 'a' && first <= 'z') first = (char)(first - ('a' - 'A'));
    if (first) text_printf(out, "%c%s.\n", first, d->summary + 1);
    if (d->n_options) {
        text_append_string(out, "\n| option | value | default | meaning |\n|---|---|---|---|\n");
        append_rows(d, "", out);
    }
    if (d->shorthand) text_printf(out, "\n%s `%s`.\n", how_short(d), d->shorthand);
    if (d->details) text_printf(out, "\n%s\n", d->details);
    if (d->example) {
        size_t length = strlen(d->example);
        bool ended = length && d->example[length - 1] == '\n';
        text_printf(out, "\n```yaml\n%s%s```\n", d->example, ended ? "" : "\n");
    }
    return text_append_char(out, '\n');
}
