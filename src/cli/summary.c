/* summary.c: the figures of a run for people, on standard error. */
#include <string.h>

#include "base/clock.h"
#include "cli/cli.h"

static void append_seconds(struct text *t, double seconds) {
    if (seconds < 0.0995) text_printf(t, "%.1f ms", seconds * 1e3);
    else if (seconds < 99.95) text_printf(t, "%.2f s", seconds);
    else if (seconds < 3600) text_printf(t, "%d min %d s", (int)(seconds / 60), (int)seconds % 60);
    else text_printf(t, "%d h %d min", (int)(seconds / 3600), (int)(seconds / 60) % 60);
}

static void append_memory(struct text *t, uint64_t bytes) {
    if (bytes < (uint64_t)10 << 30) text_printf(t, "%.0f MiB", (double)bytes / (1 << 20));
    else text_printf(t, "%.1f GiB", (double)bytes / (1 << 30));
}

/* 1234567.8 rows a second: "1.23 M rows/s". */
static void append_rate(struct text *t, double rows) {
    if (rows >= 1e9) text_printf(t, "%.2f G rows/s", rows / 1e9);
    else if (rows >= 1e6) text_printf(t, "%.2f M rows/s", rows / 1e6);
    else if (rows >= 1e3) text_printf(t, "%.1f k rows/s", rows / 1e3);
    else text_printf(t, "%.0f rows/s", rows);
}

static void append_flow(struct text *t, const char *what, uint64_t rows, uint64_t bytes, double seconds) {
    text_printf(t, "  %s", what);
    append_count(t, rows);
    text_append_string(t, rows == 1 ? " row" : " rows");
    if (bytes) {
        text_append_string(t, ", ");
        append_bytes(t, (double)bytes);
    }
    if (seconds > 0 && rows) {
        text_append_string(t, "  (");
        append_rate(t, (double)rows / seconds);
        if (bytes) {
            text_append_string(t, ", ");
            append_bytes(t, (double)bytes / seconds);
            text_append_string(t, "/s");
        }
        text_append_char(t, ')');
    }
    text_append_char(t, '\n');
}

static void append_records(struct text *t, const char *kind, uint64_t n) {
    if (!n) return;
    text_printf(t, "  %s     ", kind);
    append_count(t, n);
    text_append_string(t, n == 1 ? " record\n" : " records\n");
}

static void append_resources(struct text *t, const tw_summary *s) {
    double share = s->wall_seconds > 0 && s->parallelism ? s->cpu_seconds / (s->wall_seconds * s->parallelism) : 0;
    text_append_string(t, "  cpu      ");
    append_seconds(t, s->cpu_seconds);
    text_printf(t, ", %.0f %% of %u worker%s\n", share * 100, s->parallelism, s->parallelism == 1 ? "" : "s");
    text_append_string(t, "  memory   ");
    append_memory(t, s->peak_rss_bytes);
    text_append_string(t, " at most");
    if (s->spilled_bytes) {
        text_append_string(t, ", ");
        append_bytes(t, (double)s->spilled_bytes);
        text_append_string(t, " spilled");
    }
    text_append_char(t, '\n');
    if (s->latency_rows) {
        text_append_string(t, "  latency  ");
        append_seconds(t, s->latency_p50_seconds);
        text_append_string(t, " (median), ");
        append_seconds(t, s->latency_p99_seconds);
        text_append_string(t, " (99 %), the goal is ");
        append_seconds(t, s->latency_goal_seconds);
        text_append_char(t, '\n');
    }
    append_records(t, "bad ", s->bad_records);
    append_records(t, "late", s->late_records);
    text_printf(t, "  limit    %s, busy %.0f %% of the time\n", s->bottleneck, s->bottleneck_utilization * 100);
}

/* ---- the table of steps ---- */

enum { COLUMNS = 6 };

typedef struct table_row {
    struct text cells[COLUMNS];
} table_row;

static void fill_row(table_row *r, const tw_step_summary *s, bool flows) {
    if (flows) text_printf(&r->cells[0], "%s: %s", s->flow, s->step);
    else text_append_string(&r->cells[0], s->step);
    if (s->rows_in) append_count(&r->cells[1], s->rows_in);
    else text_append_char(&r->cells[1], '-');
    if (s->rows_out) append_count(&r->cells[2], s->rows_out);
    else text_append_char(&r->cells[2], '-');
    append_seconds(&r->cells[3], s->busy_seconds);
    append_seconds(&r->cells[4], s->blocked_seconds);
    append_seconds(&r->cells[5], s->idle_seconds);
}

static size_t width_of(const tw_summary *s, bool flows, int column) {
    static const char *const names[COLUMNS] = {"step", "rows in", "rows out", "busy", "blocked", "idle"};
    size_t width = strlen(names[column]);
    for (size_t i = 0; i < s->n_steps; i++) {
        table_row r = {0};
        fill_row(&r, &s->steps[i], flows);
        if (r.cells[column].length > width) width = r.cells[column].length;
        for (int c = 0; c < COLUMNS; c++) text_free(&r.cells[c]);
    }
    return width;
}

static void append_cells(struct text *t, const table_row *r, const size_t *widths) {
    text_append_string(t, "  ");
    for (int c = 0; c < COLUMNS; c++) {
        size_t blanks = widths[c] - (r->cells[c].length < widths[c] ? r->cells[c].length : widths[c]);
        if (c) text_append_repeated(t, ' ', 2 + blanks);
        text_append_string(t, text_string(&r->cells[c]));
        if (!c) text_append_repeated(t, ' ', blanks);
    }
    text_append_char(t, '\n');
}

static void append_steps(struct text *t, const tw_summary *s, bool styled) {
    static const char *const names[COLUMNS] = {"step", "rows in", "rows out", "busy", "blocked", "idle"};
    bool flows = false;
    size_t widths[COLUMNS];
    for (size_t i = 1; i < s->n_steps; i++) flows |= strcmp(s->steps[i].flow, s->steps[0].flow) != 0;
    for (int c = 0; c < COLUMNS; c++) widths[c] = width_of(s, flows, c);
    table_row head = {0};
    for (int c = 0; c < COLUMNS; c++) text_append_string(&head.cells[c], names[c]);
    if (styled) text_append_string(t, "\033[2m");
    append_cells(t, &head, widths);
    if (styled) text_append_string(t, "\033[0m");
    for (int c = 0; c < COLUMNS; c++) text_free(&head.cells[c]);
    for (size_t i = 0; i < s->n_steps; i++) {
        table_row r = {0};
        fill_row(&r, &s->steps[i], flows);
        append_cells(t, &r, widths);
        for (int c = 0; c < COLUMNS; c++) text_free(&r.cells[c]);
    }
}

void print_summary(const tw_summary *s) {
    struct text t = {0};
    bool styled = is_styled(stderr), good = strcmp(s->status, "done") == 0;
    text_printf(&t, "%s%s%s: %s%s%s", styled ? "\033[1m" : "", s->name, styled ? "\033[0m" : "",
                !styled ? "" : good ? "\033[32m" : "\033[31m", s->status, styled ? "\033[0m" : "");
    text_append_string(&t, good ? " in " : " after ");
    append_seconds(&t, s->wall_seconds);
    text_append_char(&t, '\n');
    append_flow(&t, "read     ", s->rows_in, s->bytes_in, s->wall_seconds);
    append_flow(&t, "wrote    ", s->rows_out, s->bytes_out, 0);
    append_resources(&t, s);
    text_append_char(&t, '\n');
    append_steps(&t, s, styled);
    fputs(text_string(&t), stderr);
    text_free(&t);
}

void print_progress(const tw_job *job, bool last) {
    static uint64_t said_ns;
    bool terminal = is_styled(stderr);
    uint64_t now = clock_ns();
    if (!last && now - said_ns < (terminal ? 100000000u : 1000000000u)) return;
    said_ns = now;
    if (last) {
        if (terminal) fputs("\r\033[K", stderr);
        return;
    }
    tw_progress p;
    tw_job_progress((tw_job *)job, &p);
    struct text t = {0};
    if (terminal) text_append_string(&t, "\r\033[K");
    append_count(&t, p.rows_in);
    text_append_string(&t, " rows, ");
    append_bytes(&t, (double)p.bytes_in);
    if (p.bytes_total) {
        text_append_string(&t, " of ");
        append_bytes(&t, (double)p.bytes_total);
        double share = (double)p.bytes_in / (double)p.bytes_total;
        text_printf(&t, " (%.0f %%)", share < 1 ? share * 100 : 100);
    }
    if (p.seconds > 0) {
        text_append_string(&t, ", ");
        append_bytes(&t, (double)p.bytes_in / p.seconds);
        text_append_string(&t, "/s");
    }
    text_append_string(&t, ", ");
    append_count(&t, p.rows_out);
    text_append_string(&t, " out, ");
    append_seconds(&t, p.seconds);
    if (!terminal) text_append_char(&t, '\n');
    fputs(text_string(&t), stderr);
    fflush(stderr);
    text_free(&t);
}
