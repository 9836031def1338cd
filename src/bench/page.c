/* page.c: the report page. As the papers' figures: frequency against size for each cost beside the bounds (figure 4 of
 * Blamey et al. 2019), the best engine over the plane of size and cost (figure 3), and a table. Nothing is loaded. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/capacity.h"
#include "bench/plot.h"

/* Okabe and Ito's colors, told apart by those who see fewer (2008). */
static const char *const colors[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c00", "#444444"};
enum { N_COLORS = sizeof colors / sizeof *colors };
#define NETWORK_COLOR "#888888"
#define CPU_COLOR "#b03030"

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Capacity</title>\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>\n"
    "body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222; background: #fff }\n"
    "h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2rem }\n"
    ".plots { display: flex; flex-wrap: wrap; gap: 1rem }\n"
    "svg { max-width: 100%; height: auto } svg text { font: 11px system-ui, sans-serif; fill: #444 }\n"
    "svg .title { font-size: 13px; font-weight: 600; fill: #222 } svg .middle { text-anchor: middle } svg .end { text-anchor: end }\n"
    "svg .grid { stroke: #e4e4e4 }\n"
    "table { border-collapse: collapse; font-variant-numeric: tabular-nums } td, th { padding: .2rem .6rem; text-align: left }\n"
    "th { border-bottom: 2px solid #999; font-weight: 600 } td { border-bottom: 1px solid #e4e4e4 }\n"
    ".wide td { white-space: nowrap } .number { text-align: right } .plane td { color: #fff; text-align: right } .wide { overflow-x: auto }\n"
    ".key span { display: inline-block; margin-right: 1.2rem } .key i { display: inline-block; width: 1.4em; height: .3em; margin: 0 .4em .2em 0 }\n"
    ".note { color: #666 }\n</style>\n</head>\n<body>\n";

static const cell *cell_at(const capacity *c, size_t size, size_t cost, size_t engine) {
    size_t i = (size * c->grid->n_costs + cost) * c->grid->n_engines + engine;
    return i < c->n ? &c->cells[i] : NULL;
}

static const char *color_of(size_t engine) { return colors[engine % N_COLORS]; }

static void write_key(const capacity *c, struct text *t) {
    text_append_string(t, "<p class=\"key\">");
    for (size_t e = 0; e < c->grid->n_engines; e++) {
        text_printf(t, "<span><i style=\"background: %s\"></i>", color_of(e));
        append_escaped(t, c->grid->engines[e].name);
        text_append_string(t, "</span>");
    }
    text_append_string(t, "<span><i style=\"background: " NETWORK_COLOR "\"></i>network bound (raw frames)</span>"
                          "<span><i style=\"background: " CPU_COLOR "\"></i>CPU bound</span></p>\n");
}

/* ---- frequency against size ---- */

/* y: room for three doubles a size and two lines more than engines. */
static tw_status write_plot(const capacity *c, size_t cost, plot_line *lines, double *values, struct text *t) {
    const grid *g = c->grid;
    struct text title = {0};
    for (size_t e = 0; e < g->n_engines + 2; e++) {
        double *y = values + e * g->n_sizes;
        for (size_t i = 0; i < g->n_sizes; i++) {
            const cell *at = cell_at(c, i, cost, e < g->n_engines ? e : 0);
            y[i] = !at ? NAN : e < g->n_engines ? at->rate : e == g->n_engines ? at->network_bound : at->cpu_bound;
        }
        bool bound = e >= g->n_engines;
        lines[e] = (plot_line){.name = bound ? "bound" : g->engines[e].name, .dashed = bound, .x = g->sizes, .y = y, .n = g->n_sizes,
                               .color = !bound ? color_of(e) : e == g->n_engines ? NETWORK_COLOR : CPU_COLOR};
    }
    text_append_string(&title, "CPU cost ");
    append_seconds(&title, g->costs[cost]);
    text_append_string(&title, " a message");
    plot p = {.title = text_string(&title), .x_title = "message size", .y_title = "messages a second", .x_unit = "B", .lines = lines,
              .n_lines = g->n_engines + 2};
    tw_status status = plot_write(&p, t);
    text_free(&title);
    return status;
}

static tw_status write_plots(const capacity *c, struct text *t) {
    size_t n = c->grid->n_engines + 2;
    plot_line *lines = calloc(n, sizeof *lines);
    double *values = calloc(n * c->grid->n_sizes, sizeof *values);
    tw_status status = lines && values ? TW_OK : TW_ERR_MEMORY;
    text_append_string(t, "<div class=\"plots\">\n");
    for (size_t i = 0; i < c->grid->n_costs && status == TW_OK; i++) status = write_plot(c, i, lines, values, t);
    text_append_string(t, "</div>\n");
    free(lines);
    free(values);
    return status;
}

/* ---- the best engine over the plane ---- */

static void write_plane(const capacity *c, struct text *t) {
    const grid *g = c->grid;
    text_append_string(t, "<table class=\"plane\">\n<tr><th>CPU cost</th>");
    for (size_t i = 0; i < g->n_sizes; i++) {
        text_append_string(t, "<th class=\"number\">");
        append_quantity(t, g->sizes[i], "B</th>");
    }
    text_append_string(t, "</tr>\n");
    for (size_t k = g->n_costs; k-- > 0;) {
        text_append_string(t, "<tr><th>");
        append_seconds(t, g->costs[k]);
        text_append_string(t, "</th>");
        for (size_t i = 0; i < g->n_sizes; i++) {
            const cell *best = NULL;
            for (size_t e = 0; e < g->n_engines; e++) {
                const cell *at = cell_at(c, i, k, e);
                if (at && at->rate > 0 && (!best || at->rate > best->rate)) best = at;
            }
            if (!best) {
                text_append_string(t, "<td></td>");
                continue;
            }
            text_printf(t, "<td style=\"background: %s\" title=\"", color_of((size_t)(best->engine - g->engines)));
            append_escaped(t, best->engine->name);
            text_append_string(t, "\">");
            append_quantity(t, best->rate, "");
            text_printf(t, "/s<br>%.0f %%</td>", best->fraction * 100);
        }
        text_append_string(t, "</tr>\n");
    }
    text_append_string(t, "</table>\n");
}

/* ---- the table ---- */

static void write_row(const cell *c, struct text *t) {
    text_append_string(t, "<tr><td class=\"number\">");
    append_quantity(t, c->size, "B");
    text_append_string(t, "</td><td class=\"number\">");
    append_seconds(t, c->cost);
    text_append_string(t, "</td><td>");
    append_escaped(t, c->engine->name);
    const double numbers[] = {c->rate, c->network_bound, c->cpu_bound};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        text_append_string(t, "</td><td class=\"number\">");
        if (isfinite(numbers[i])) append_quantity(t, numbers[i], "");
    }
    text_printf(t, "</td><td class=\"number\">%.0f %%", c->fraction * 100);
    const double times[] = {c->report.p50, c->report.p99, c->report.p999};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        text_append_string(t, "</td><td class=\"number\">");
        append_seconds(t, times[i]);
    }
    text_printf(t, "</td><td class=\"number\">%.2f</td><td class=\"number\">%.2f</td><td class=\"number\">%.2f</td><td>%s", c->report.cpu, c->engine_cpu,
                c->others_cpu, c->generator_bound ? "<b>generator:</b> " : "");
    append_escaped(t, c->why);
    text_append_string(t, "</td></tr>\n");
}

tw_status capacity_page(const capacity *c, struct text *t) {
    static const char *const modes[] = {"messages evenly by the clock", "bursts by the clock", "a closed loop"};
    text_append_string(t, head);
    text_append_string(t, "<h1>Capacity</h1>\n<p class=\"note\">The largest rate that results keep up with: ");
    text_printf(t, "%s, %u processors", modes[c->grid->mode], c->processors);
    if (c->grid->network_rate) {
        text_append_string(t, ", a network of ");
        append_escaped(t, c->grid->network_rate);
    }
    text_append_string(t, ". The CPU bound leaves out what the generator uses. Latencies are from the intended time of sending.</p>\n");
    write_key(c, t);
    TRY(write_plots(c, t));
    text_append_string(t, "<h2>Best engine</h2>\n<p class=\"note\">Messages a second, and the share of the lesser bound.</p>\n<div class=\"wide\">\n");
    write_plane(c, t);
    text_append_string(t, "</div>\n<h2>All cells</h2>\n<div class=\"wide\"><table>\n<tr><th>size</th><th>CPU</th><th>engine</th><th>rate/s</th>"
                          "<th>network bound</th><th>CPU bound</th><th>of bound</th><th>p50</th><th>p99</th><th>p99.9</th>"
                          "<th>generator CPUs</th><th>engine CPUs</th><th>others</th><th>held back by</th></tr>\n");
    for (size_t i = 0; i < c->n; i++) write_row(&c->cells[i], t);
    return text_append_string(t, "</table></div>\n</body>\n</html>\n");
}
