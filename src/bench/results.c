/* results.c: what was measured, as a table and as JSON. */
#include <math.h>
#include <string.h>

#include "bench/capacity.h"

void append_quantity(struct text *t, double value, const char *unit) {
    static const char *const prefixes[] = {"", "k", "M", "G", "T"};
    size_t i = 0;
    while (value >= 999.5 && i + 1 < sizeof prefixes / sizeof *prefixes) value /= 1000, i++;
    text_printf(t, "%.3g %s%s", value, prefixes[i], unit);
    if (!*prefixes[i] && !*unit) text_truncate(t, t->length - 1);
}

void append_seconds(struct text *t, double seconds) {
    if (seconds == 0) text_append_string(t, "0");
    else if (seconds < 0.9995e-3) text_printf(t, "%.3g us", seconds * 1e6);
    else if (seconds < 0.9995) text_printf(t, "%.3g ms", seconds * 1e3);
    else text_printf(t, "%.3g s", seconds);
}

/* ---- the table ---- */

enum { COLUMNS = 11 };
static const char *const heads[COLUMNS] = {"size", "cpu", "engine", "rate", "of bound", "bound", "p50", "p99", "generator", "others", "held back by"};

static void append_field(const cell *c, unsigned column, struct text *t) {
    bool cpu_bound = c->cpu_bound < c->network_bound;
    switch (column) {
    case 0: append_quantity(t, c->size, "B"); break;
    case 1: append_seconds(t, c->cost); break;
    case 2: text_append_string(t, c->engine->name); break;
    case 3:
        append_quantity(t, c->rate, "");
        text_append_string(t, "/s");
        break;
    case 4: text_printf(t, "%.0f %%", c->fraction * 100); break;
    case 5:
        append_quantity(t, fmin(c->cpu_bound, c->network_bound), "");
        text_append_string(t, cpu_bound ? "/s cpu" : "/s network");
        break;
    case 6: append_seconds(t, c->report.p50); break;
    case 7: append_seconds(t, c->report.p99); break;
    case 8: text_printf(t, "%.2f CPU", c->report.cpu); break;
    case 9: text_printf(t, "%.2f CPU", c->others_cpu); break;
    default: text_printf(t, "%s%s", c->generator_bound ? "GENERATOR: " : "", c->why);
    }
}

tw_status capacity_table(const capacity *c, struct text *out) {
    size_t widths[COLUMNS];
    for (unsigned k = 0; k < COLUMNS; k++) {
        widths[k] = strlen(heads[k]);
        for (size_t i = 0; i < c->n; i++) {
            struct text field = {0};
            append_field(&c->cells[i], k, &field);
            if (field.length > widths[k]) widths[k] = field.length;
            text_free(&field);
        }
    }
    for (size_t i = 0; i <= c->n; i++) {
        for (unsigned k = 0; k < COLUMNS; k++) {
            struct text field = {0};
            if (i == 0) text_append_string(&field, heads[k]);
            else append_field(&c->cells[i - 1], k, &field);
            text_printf(out, "%s%s", k ? "  " : "", text_string(&field));
            if (k + 1 < COLUMNS) text_append_repeated(out, ' ', widths[k] - field.length);
            text_free(&field);
        }
        text_append_char(out, '\n');
    }
    return text_append(out, "", 0);
}

/* ---- JSON ---- */

static void append_number(struct text *t, const char *name, double value) {
    if (isfinite(value)) text_printf(t, ", \"%s\": %.6g", name, value);
    else text_printf(t, ", \"%s\": null", name);
}

static void append_text(struct text *t, const char *name, const char *value) {
    text_printf(t, "\"%s\": \"", name);
    for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
        if (*p == '"' || *p == '\\') text_printf(t, "\\%c", *p);
        else if (*p < 0x20) text_printf(t, "\\u%04x", *p);
        else text_append_char(t, (char)*p);
    }
    text_append_char(t, '"');
}

tw_status capacity_json(const capacity *c, struct text *t) {
    static const char *const modes[] = {"open", "burst", "closed"};
    text_printf(t, "{\"mode\": \"%s\", \"processors\": %u, \"parallelism\": %u, \"network\": ", modes[c->grid->mode], c->processors,
                c->grid->parallelism);
    text_printf(t, c->grid->network_rate ? "\"%s\"" : "null", c->grid->network_rate);
    text_append_string(t, ", \"cells\": [");
    for (size_t i = 0; i < c->n; i++) {
        const cell *at = &c->cells[i];
        text_append_string(t, i ? ",\n  {" : "\n  {");
        append_text(t, "engine", at->engine->name);
        append_number(t, "size", at->size);
        append_number(t, "cpu", at->cost);
        append_number(t, "rate", at->rate);
        append_number(t, "network_bound", at->network_bound);
        append_number(t, "cpu_bound", at->cpu_bound);
        append_number(t, "fraction", at->fraction);
        text_printf(t, ", \"generator_bound\": %s", at->generator_bound ? "true" : "false");
        append_number(t, "engine_cpu", at->engine_cpu);
        append_number(t, "others_cpu", at->others_cpu);
        append_number(t, "trials", at->trials);
        text_append_string(t, ", ");
        append_text(t, "why", at->why);
        text_append_string(t, ", \"trial\": {\"at\": ");
        text_printf(t, "%.6g", at->rate);
#define X(name) append_number(t, #name, at->report.name);
        TRIAL_REPORT_TABLE(X)
#undef X
        text_append_string(t, "}}");
    }
    return text_append_string(t, "\n]}\n");
}
