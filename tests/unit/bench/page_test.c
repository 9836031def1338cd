/* Grids are read, and what comes of them is drawn: tags match, quotes close, no point lies outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bench/capacity.h"
#include "bench/plot.h"

/* Every tag that opens is closed, in order; attributes are in quotes; & begins a name. HTML's meta and br stand alone. */
static void assert_well_formed(const char *p) {
    char open[64][16];
    int depth = 0;
    for (; *p; p++) {
        if (*p == '&') assert_non_null(strchr(p + 1, ';'));
        if (*p == '&') assert_true(strspn(p + 1, "abcdefghijklmnopqrstuvwxyz") > 0 && p[1 + strspn(p + 1, "abcdefghijklmnopqrstuvwxyz")] == ';');
        assert_true(*p != '>');
        if (*p != '<') continue;
        if (p[1] == '!') {
            p = strchr(p, '>');
            continue;
        }
        bool closes = *++p == '/';
        p += closes;
        char name[16];
        size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz123456");
        assert_true(n > 0 && n < sizeof name);
        memcpy(name, p, n);
        name[n] = 0;
        bool quoted = false;
        for (p += n; quoted || *p != '>'; p++) {
            assert_true(*p != 0 && *p != '<');
            if (*p == '"') quoted = !quoted;
        }
        if (closes) {
            assert_true(depth > 0);
            assert_string_equal(open[--depth], name);
        } else if (p[-1] != '/' && strcmp(name, "meta") != 0 && strcmp(name, "br") != 0) {
            assert_true(depth < 64);
            memcpy(open[depth++], name, sizeof name);
        }
        if (strcmp(name, "style") == 0 && !closes) p = strstr(p, "</style>") - 1;
    }
    assert_int_equal(depth, 0);
}

static unsigned count(const char *text, const char *part) {
    unsigned n = 0;
    while ((text = strstr(text, part))) n++, text++;
    return n;
}

static void plots_hold_any_values(void **state) {
    const double x[] = {100, 1e4, 1e7}, y[] = {1e7, 0, NAN}, z[] = {INFINITY, -1, 3.5e-3};
    const plot_line lines[] = {{"a <b> & \"c\"", "#123456", false, x, y, 3}, {"bound", "#654321", true, x, z, 3}};
    const plot all = {"t & t", "size", "rate <s>", "B", lines, 2}, none = {"nothing", "", "", "", NULL, 0};
    struct text t = {0};
    assert_int_equal(plot_write(&all, &t), TW_OK);
    assert_well_formed(text_string(&t));
    assert_int_equal(count(text_string(&t), "<circle"), 1);
    assert_null(strstr(text_string(&t), "nan"));
    assert_null(strstr(text_string(&t), "inf"));
    text_truncate(&t, 0);
    assert_int_equal(plot_write(&none, &t), TW_OK);
    assert_well_formed(text_string(&t));
    text_free(&t);
}

static grid *parse(const char *text, error_list *errors) {
    grid *g = NULL;
    tw_status status = grid_parse(text, strlen(text), "g.yaml", errors, &g);
    assert_int_equal(status, errors->total ? TW_ERR_JOB : TW_OK);
    return g;
}

static void a_page_is_whole(void **state) {
    error_list errors = {0};
    grid *g = parse("sizes: [100, 10kB]\ncpu: [0, 1ms]\nengines: {tcp: {}, '<x>&\"': {command: [a, b], ready: r}}\nnetwork: 1.4Gbit", &errors);
    assert_non_null(g);
    assert_int_equal(g->n_engines, 2);
    assert_string_equal(g->network_rate, "1.4Gbit");
    cell cells[8];
    for (int i = 0; i < 8; i++)
        cells[i] = (cell){.engine = &g->engines[i % 2], .size = g->sizes[i / 4], .cost = g->costs[i / 2 % 2], .rate = i * 1000, .network_bound = 9000,
                          .cpu_bound = i / 2 % 2 ? 2000 : INFINITY, .fraction = 0.5, .generator_bound = i == 3, .why = "\"late\" < & >\n"};
    struct text t = {0};
    for (size_t n = 0; n <= 8; n++) { /* also of a run that was interrupted */
        const capacity c = {.grid = g, .processors = 2, .cells = cells, .n = n};
        text_truncate(&t, 0);
        assert_int_equal(capacity_page(&c, &t), TW_OK);
        assert_well_formed(text_string(&t));
        assert_int_equal(count(text_string(&t), "<svg"), 2);
        assert_null(strstr(text_string(&t), "src="));
        text_truncate(&t, 0);
        assert_int_equal(capacity_json(&c, &t), TW_OK);
        document *d;
        assert_int_equal(document_parse(t.bytes, t.length, "json", NULL, &errors, &d), TW_OK);
        const node *all = node_get(document_root(d), "cells");
        assert_int_equal(all->n, n);
        if (n == 8) assert_string_equal(node_get(all->items[3], "generator_bound")->text, "true");
        document_free(d);
        text_truncate(&t, 0);
        assert_int_equal(capacity_table(&c, &t), TW_OK);
        assert_int_equal(count(text_string(&t), "\n"), n + 1 + n); /* a reason with a line feed */
    }
    text_free(&t);
    grid_free(g);
    error_list_free(&errors);
}

static void errors_have_places(void **state) {
    static const struct {
        const char *text, *message;
        uint32_t line, column;
    } wrong[] = {
        {"sizes: [100, 5]", "option 'sizes': a message has at least 32 bytes", 1, 14},
        {"sizes: 100\ncpu: [0, 1xs]", "option 'cpu': unknown unit", 2, 10},
        {"sizes: 100\nenginez: [tcp]", "did you mean 'engines'", 2, 1},
        {"sizes: 100\nengines: [tcp, htp]", "did you mean 'http'", 2, 16},
        {"sizes: 100\nengines:\n  mine: {ready: x}", "neither 'command' nor 'connector'", 3, 3},
        {"sizes: 100\nengines:\n  mine: {comand: x}", "did you mean 'command'", 3, 10},
        {"sizes: 100\nengines: [[tcp]]", "an engine is a name", 2, 11},
        {"sizes: 100\nengines: {raw: {framing: newline}}", "raw is fed by", 2, 11},
        {"sizes: 100\nengines: [unix]\nnetwork: {rate: 1Gbit}", "no network is between", 3, 17},
        {"sizes: 100\nengines: {kafka: {}}", "'brokers' goes with connector kafka", 2, 11},
        {"sizes: 100\nengines: {tcp: {brokers: x}}", "'brokers' goes with connector kafka", 2, 11},
        {"sizes: 100\nmode: opn", "mode", 2, 7},
        {"sizes: []", "there is none", 1, 8},
        {"cpu: 0", "sizes", 1, 1},
        {"sizes: 100\ntrial: {measured: 1us}", "too small", 2, 19},
        {"[", "", 1, 2},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        error_list errors = {0};
        assert_null(parse(wrong[i].text, &errors));
        assert_true(errors.n > 0);
        assert_non_null(strstr(errors.items[0].message, wrong[i].message));
        assert_string_equal(errors.items[0].file, "g.yaml");
        assert_int_equal(errors.items[0].line, wrong[i].line);
        assert_int_equal(errors.items[0].column, wrong[i].column);
        error_list_free(&errors);
    }
}

static void sections_make_sense(void **state) {
    for (size_t i = 0; grid_section(i); i++) {
        tw_error err = {0};
        if (descriptor_check(grid_section(i), &err) != TW_OK) print_error("%s\n", err.message);
        assert_int_equal(err.code, TW_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(plots_hold_any_values), cmocka_unit_test(a_page_is_whole),
                                       cmocka_unit_test(errors_have_places), cmocka_unit_test(sections_make_sense)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
