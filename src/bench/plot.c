#include "bench/plot.h"

#include <math.h>

#include "bench/capacity.h"

enum { WIDTH = 460, HEIGHT = 330, LEFT = 62, RIGHT = 26, TOP = 30, BOTTOM = 46 };

typedef struct axis {
    double from, to; /* decades */
    double at, length;
} axis;

static bool is_shown(double v) { return isfinite(v) && v > 0; }

static double place(const axis *a, double value) { return a->at + (log10(value) - a->from) / (a->to - a->from) * a->length; }

static void widen(axis *a, double value) {
    if (!is_shown(value)) return;
    a->from = fmin(a->from, floor(log10(value) + 1e-9));
    a->to = fmax(a->to, ceil(log10(value) - 1e-9));
}

static void find_axes(const plot *p, axis *x, axis *y) {
    *x = *y = (axis){.from = INFINITY, .to = -INFINITY};
    for (size_t i = 0; i < p->n_lines; i++)
        for (size_t k = 0; k < p->lines[i].n; k++)
            if (is_shown(p->lines[i].y[k])) widen(x, p->lines[i].x[k]), widen(y, p->lines[i].y[k]);
    for (int i = 0; i < 2; i++) {
        axis *a = i ? y : x;
        if (!isfinite(a->from)) a->from = 0, a->to = 1;
        if (a->to <= a->from) a->to = a->from + 1;
    }
    x->at = LEFT, x->length = WIDTH - LEFT - RIGHT;
    y->at = HEIGHT - BOTTOM, y->length = -(HEIGHT - TOP - BOTTOM);
}

void append_escaped(struct text *out, const char *words) {
    for (; *words; words++) {
        switch (*words) {
        case '&': text_append_string(out, "&amp;"); break;
        case '<': text_append_string(out, "&lt;"); break;
        case '>': text_append_string(out, "&gt;"); break;
        case '"': text_append_string(out, "&quot;"); break;
        default: text_append_char(out, (unsigned char)*words < 0x20 ? ' ' : *words);
        }
    }
}

static void write_words(struct text *out, double x, double y, const char *class, const char *words) {
    text_printf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
    append_escaped(out, words);
    text_append_string(out, "</text>\n");
}

static void write_axis(const axis *a, bool upright, const char *unit, struct text *out) {
    for (int decade = (int)a->from; decade <= (int)a->to; decade++) {
        double value = pow(10, decade), at = place(a, value);
        struct text words = {0};
        append_quantity(&words, value, unit);
        if (upright) {
            text_printf(out, "<path d=\"M%d %.1fH%d\" class=\"grid\"/>\n", LEFT, at, WIDTH - RIGHT);
            write_words(out, LEFT - 6, at + 4, "end", text_string(&words));
        } else {
            text_printf(out, "<path d=\"M%.1f %dV%d\" class=\"grid\"/>\n", at, TOP, HEIGHT - BOTTOM);
            write_words(out, at, HEIGHT - BOTTOM + 16, "middle", text_string(&words));
        }
        text_free(&words);
    }
}

static void write_line(const plot_line *l, const axis *x, const axis *y, struct text *out) {
    text_printf(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s d=\"", l->color, l->dashed ? " stroke-dasharray=\"5 4\"" : "");
    bool drawn = false;
    for (size_t i = 0; i < l->n; i++) {
        if (!is_shown(l->y[i])) continue;
        text_printf(out, "%c%.1f %.1f", drawn ? 'L' : 'M', place(x, l->x[i]), place(y, l->y[i]));
        drawn = true;
    }
    text_append_string(out, "\"/>\n");
    for (size_t i = 0; i < l->n && !l->dashed; i++) {
        if (!is_shown(l->y[i])) continue;
        text_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"><title>", place(x, l->x[i]), place(y, l->y[i]), l->color);
        append_escaped(out, l->name);
        text_append_string(out, ": ");
        append_quantity(out, l->y[i], "");
        text_append_string(out, "/s</title></circle>\n");
    }
}

tw_status plot_write(const plot *p, struct text *out) {
    axis x, y;
    find_axes(p, &x, &y);
    text_printf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n", WIDTH,
                HEIGHT, WIDTH, HEIGHT);
    write_words(out, LEFT, 18, "title", p->title);
    write_axis(&x, false, p->x_unit, out);
    write_axis(&y, true, "", out);
    write_words(out, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8, "middle", p->x_title);
    text_printf(out, "<text transform=\"translate(14 %d) rotate(-90)\" class=\"middle\">", (TOP + HEIGHT - BOTTOM) / 2);
    append_escaped(out, p->y_title);
    text_append_string(out, "</text>\n");
    for (size_t i = 0; i < p->n_lines; i++) write_line(&p->lines[i], &x, &y, out);
    return text_append_string(out, "</svg>\n");
}
