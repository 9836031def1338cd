/* catalog.c: what there is: steps, connectors, formats and generators, and their help, all from descriptors. */
#include <stdlib.h>
#include <string.h>

#include "api/registry.h"
#include "data/generate.h"
#include "engine/job.h"
#include "io/format.h"
#include "thalweg/thalweg.h"

typedef struct format_note {
    format_kind kind;
    const char *summary;
    const char *details;
} format_note;

static const format_note formats[] = {
    {FORMAT_LINES, "one text 'line' a row",
     "Reading drops a CR before the LF. Writing takes the column 'line', or the only one there is. It is what a file "
     "is taken for whose ending says nothing else."},
    {FORMAT_CSV, "comma-separated values after RFC 4180, with a header",
     "Types are inferred from the first 65536 rows unless 'columns' says them: int64, float64, bool, date, timestamp, "
     "string. An unquoted empty field is null, \"\" an empty string. Options: header, delimiter, quote, columns."},
    {FORMAT_JSON, "one JSON object a line",
     "Nested values are read by their path, a.b.c. Types come from the first rows (up to 65536) unless 'columns' says "
     "them; a missing field is null, a new one ignored. Written names stay flat. "
     "Read and written alike: binary as base64 text, sparse as {\"indices\": [...], \"values\": [...]}, vectors and "
     "lists as arrays. NaN and the infinities are written as null, which within a vector is read as NaN."},
    {FORMAT_RECORDS, "records of fixed length",
     "Reading needs length: BYTES and columns: {name: [offset, length]}, which are binary. Writing puts the columns "
     "one after the other, nothing between."},
    {FORMAT_BINARY, "a whole file a row: 'content', and its 'path'",
     "Writing takes the column 'content', or the only one there is."},
    {FORMAT_LIBSVM, "a label and index:value pairs a line",
     "Reading gives 'label' and 'features', a sparse<float32>. Writing takes a label and one sparse or vector column, "
     "or numbers, counted from 1."},
    {FORMAT_EDGES, "the edges of a graph: 'from', 'to' and perhaps 'weight' a line",
     "Separated by white space; a line that begins with # is a comment."},
};

/* ---- lists ---- */

static const descriptor *descriptor_at(tw_kind kind, size_t i) {
    const void *array = kind == TW_STEP ? (const void *)built_in.steps
                        : kind == TW_SOURCE ? (const void *)built_in.sources : (const void *)built_in.sinks;
    const descriptor *const *d = array; /* embedding structs begin with theirs */
    for (size_t k = 0; k < i; k++)
        if (!d[k]) return NULL;
    return d[i];
}

bool tw_list(tw_kind kind, size_t i, const char **name, const char **summary) {
    size_t n;
    const generate_kind *kinds = generate_kinds(&n);
    const descriptor *d = NULL;
    switch (kind) {
    case TW_STEP:
    case TW_SOURCE:
    case TW_SINK: d = descriptor_at(kind, i); break;
    case TW_SECTION: d = i == 0 ? &run_descriptor : NULL; break;
    case TW_GENERATOR:
        if (i >= n) return false;
        *name = kinds[i].name;
        *summary = kinds[i].help;
        return true;
    case TW_FORMAT:
        if (i >= COUNT_OF(formats)) return false;
        *name = format_names[formats[i].kind];
        *summary = formats[i].summary;
        return true;
    }
    if (!d) return false;
    *name = d->name;
    *summary = d->summary;
    return true;
}

/* ---- help ---- */

static const struct {
    tw_kind kind;
    const char *one, *many;
} kinds_shown[] = {
    {TW_STEP, "step", "Steps"},       {TW_SOURCE, "source", "Sources"},       {TW_SINK, "sink", "Sinks"},
    {TW_FORMAT, "format", "Formats"}, {TW_GENERATOR, "generator", "Generators"}, {TW_SECTION, "section", "Settings"},
};

static void generator_help(const generate_kind *k, struct text *out) {
    text_printf(out, "%s: %s\n\n", k->name, k->help);
    size_t width = 0;
    for (size_t i = 0; i < k->option_count; i++)
        if (strlen(k->options[i].name) > width) width = strlen(k->options[i].name);
    for (size_t i = 0; i < k->option_count; i++)
        text_printf(out, "  %-*s  %s (default: %s)\n", (int)width, k->options[i].name, k->options[i].help,
                    k->options[i].default_text);
    text_printf(out, "\nColumns: %s. As a file: %s.\n", k->columns, k->format);
}

/* Words wrapped at 80 columns. */
static void append_paragraph(struct text *out, const char *words) {
    size_t used = 0;
    while (*words) {
        size_t n = strcspn(words, " ");
        if (used && used + 1 + n > 80) {
            text_append_char(out, '\n');
            used = 0;
        } else if (used) {
            text_append_char(out, ' ');
            used++;
        }
        text_append(out, words, n);
        used += n;
        words += n + (words[n] == ' ');
    }
    text_append_char(out, '\n');
}

static void one_help(tw_kind kind, size_t i, struct text *out) {
    size_t n;
    switch (kind) {
    case TW_GENERATOR: generator_help(&generate_kinds(&n)[i], out); break;
    case TW_FORMAT:
        text_printf(out, "%s: %s\n\n", format_names[formats[i].kind], formats[i].summary);
        append_paragraph(out, formats[i].details);
        break;
    case TW_SECTION: descriptor_help(&run_descriptor, out); break;
    default: descriptor_help(descriptor_at(kind, i), out);
    }
}

tw_status tw_help(const char *name, char **out, tw_error *err) {
    struct text t = {0};
    struct nearest near = {name};
    unsigned found = 0;
    for (size_t k = 0; k < COUNT_OF(kinds_shown); k++) {
        const char *known, *summary;
        for (size_t i = 0; tw_list(kinds_shown[k].kind, i, &known, &summary); i++) {
            nearest_try(&near, known);
            if (strcmp(known, name) != 0) continue;
            text_printf(&t, "%s%s ", found++ ? "\n" : "", kinds_shown[k].one);
            one_help(kinds_shown[k].kind, i, &t);
        }
    }
    if (found && (*out = text_take(&t))) return TW_OK;
    text_free(&t);
    if (found) return error_set(err, TW_ERR_MEMORY, "out of memory");
    if (near.best) return error_set(err, TW_ERR_JOB, "nothing is called '%.60s'; did you mean '%s'?", name, near.best);
    return error_set(err, TW_ERR_JOB, "nothing is called '%.60s'", name);
}

static void reference_of_formats(struct text *t) {
    for (size_t i = 0; i < COUNT_OF(formats); i++)
        text_printf(t, "## %s\n\n%s. %s\n\n", format_names[formats[i].kind], formats[i].summary, formats[i].details);
}

static void reference_of_generators(struct text *t) {
    size_t n;
    const generate_kind *kinds = generate_kinds(&n);
    for (size_t i = 0; i < n; i++) {
        text_printf(t, "## %s\n\n%s. Columns: %s; as a file: %s.\n\n| option | default | meaning |\n|---|---|---|\n",
                    kinds[i].name, kinds[i].help, kinds[i].columns, kinds[i].format);
        for (size_t k = 0; k < kinds[i].option_count; k++)
            text_printf(t, "| `%s` | `%s` | %s |\n", kinds[i].options[k].name, kinds[i].options[k].default_text,
                        kinds[i].options[k].help);
        text_append_char(t, '\n');
    }
}

tw_status tw_reference(char **out, tw_error *err) {
    struct text t = {0};
    for (size_t k = 0; k < COUNT_OF(kinds_shown); k++) {
        tw_kind kind = kinds_shown[k].kind;
        text_printf(&t, "# %s\n\n", kinds_shown[k].many);
        if (kind == TW_FORMAT) reference_of_formats(&t);
        else if (kind == TW_GENERATOR) reference_of_generators(&t);
        else if (kind == TW_SECTION) descriptor_markdown(&run_descriptor, &t);
        else
            for (size_t i = 0; descriptor_at(kind, i); i++) descriptor_markdown(descriptor_at(kind, i), &t);
    }
    *out = text_take(&t);
    return *out ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory");
}
