/* plot.h: one plot on log axes as SVG: lines with points, a frame, decades, words. */
#ifndef BENCH_PLOT_H
#define BENCH_PLOT_H

#include "base/text.h"

typedef struct plot_line {
    const char *name, *color;
    bool dashed;          /* a bound: without points */
    const double *x, *y;  /* what is not finite or not above 0 is left out */
    size_t n;
} plot_line;

typedef struct plot {
    const char *title, *x_title, *y_title, *x_unit;
    const plot_line *lines;
    size_t n_lines;
} plot;

tw_status plot_write(const plot *p, struct text *out);
/* Text with what HTML and SVG would take for their own replaced. */
void append_escaped(struct text *out, const char *words);

#endif
