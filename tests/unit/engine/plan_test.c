#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "unit/engine/fakes.h"

/* ---- errors: all at once, each at its place ---- */

typedef struct wrong {
    const char *text;
    const char *errors; /* "LINE:COLUMN message", one a line, from the start of the message */
} wrong;

/* Reads other flows through an option that the check of the job's shape does not know. */
static tw_status ring_build(stream *s, const args *a, tw_error *err) {
    stream *other;
    TRY(stream_of_flow(s, a, "around", args_string(a, "around"), &other, err));
    tw_status status = stream_append(s, other, err);
    stream_free(other);
    return status;
}
static const option ring_options[] = {{"around", OPTION_FLOW, OPTION_REQUIRED, "for tests"}};
static const step_descriptor ring = {
    .descriptor = {.name = "ring", .summary = "for tests", .options = ring_options, .n_options = 1}, .build = ring_build};

/* Names a column and an expression. */
static tw_status names_build(stream *s, const args *a, tw_error *err) {
    size_t n;
    const arg_item *items = args_items(a, "columns", &n);
    tw_status status = TW_OK;
    for (size_t i = 0; i < n; i++)
        if (plan_column(s, a, "columns", &items[i], items[i].text) < 0) status = TW_ERR_JOB;
    expr *e = NULL;
    if (args_given(a, "expression") && plan_expression(s, a, "expression", NULL, &e) != TW_OK) status = TW_ERR_JOB;
    expr_free(e);
    return status;
}
static const option names_options[] = {{"columns", OPTION_COLUMNS, 0, "for tests"},
                                       {"expression", OPTION_EXPRESSION, 0, "for tests"}};
static const step_descriptor names = {
    .descriptor = {.name = "names", .summary = "for tests", .options = names_options, .n_options = 2}, .build = names_build};

static const step_descriptor *const steps[] = {&fake_alter, &fake_bound, &fake_gather, &fake_beside,
                                               &step_limit, &step_union, &ring, &names, NULL};
static const registry parts = {steps, fake_sources, fake_sinks};

static const wrong wrongs[] = {
    {"source: {number: {}}\nsink: {record: {}}\n", "1:10 unknown source 'number'; did you mean 'numbers'?\n"},
    {"source: {numbers: {}}\nsink: {recrd: {}}\n", "2:8 unknown sink 'recrd'; did you mean 'record'?\n"},
    {"source: {numbers: {}}\nsteps: [altr]\nsink: {record: {}}\n", "2:9 unknown step 'altr'; did you mean 'alter'?\n"},
    {"source: {number: {}}\nsteps:\n  - altr\n  - alter: {tims: 1}\n  - limit: x\nsink: {recrd: {}}\nrun: {workers: {}, nope: 1}\n",
     "1:10 unknown source\n3:5 unknown step\n4:13 \n5:12 \n6:8 unknown sink\n7:20 \n"},
    {"source: {numbers: {splits: x}}\nsteps: [{alter: {every: y}}]\nsink: {record: {slot: z}}\n", "1:28 \n2:25 \n3:23 \n"},
    /* columns and expressions */
    {"source: {numbers: {}}\nsteps: [{names: {columns: [id, txt, twin, x]}}]\nsink: {record: {}}\n",
     "2:32 unknown column 'txt'; did you mean 'text'?\n2:43 unknown column 'x'\n"},
    {"source: {numbers: {}}\nsteps: [{names: {expression: \"id + 1 + nope\"}}]\nsink: {record: {}}\n", "2:40 \n"},
    {"source: {numbers: {}}\nsteps:\n  - names: {columns: [a], expression: \"id +\"}\nsink: {record: {slot: z}}\n",
     "3:23 unknown column 'a'\n3:44 \n4:23 \n"},
    /* flows */
    {"flows:\n  main: {source: {flow: user}, sink: {record: {}}}\n  users: {source: {numbers: {}}, sink: {record: {slot: 1}}}\n",
     "2:25 unknown flow 'user'; did you mean 'users'?\n"},
    {"flows:\n  a: {source: {numbers: {}}, steps: [{union: [b, usrs]}], sink: {record: {}}}\n"
     "  users: {source: {numbers: {}}, sink: {record: {slot: 1}}}\n"
     "  b: {source: {numbers: {}}}\n",
     "2:50 unknown flow 'usrs'; did you mean 'users'?\n"},
    {"flows:\n  a: {source: {numbers: {}}, steps: [{beside: {with: nope}}, {beside: {with: nada}}], sink: {record: {}}}\n",
     "2:54 unknown flow 'nope'\n2:78 unknown flow 'nada'\n"},
    /* flows that only a wrong one reads */
    {"flows:\n  a: {source: {numbrs: {}}, steps: [{beside: {with: b}}], sink: {record: {}}}\n"
     "  b: {source: {numbers: {}}, steps: [{alter: {tims: 1}}]}\n",
     "2:16 unknown source\n3:47 \n"},
    /* rings: told once */
    {"flows:\n  a: {source: {flow: b}}\n  b: {source: {flow: a}, sink: {record: {}}}\n",
     "3:22 flow 'b' reads 'a', which in the end reads it\n"},
    {"flows:\n  a: {source: {numbers: {}}, steps: [{beside: {with: a}}], sink: {record: {}}}\n",
     "2:54 flow 'a' reads 'a', which in the end reads it\n"},
    {"flows:\n  a: {source: {numbers: {}}, steps: [{union: [b]}]}\n"
     "  b: {source: {numbers: {}}, steps: [{union: [a]}], sink: {record: {}}}\n",
     "3:47 flow 'b' reads 'a', which in the end reads it\n"},
    {"flows:\n  a: {source: {numbers: {}}, steps: [{ring: {around: a}}], sink: {record: {}}}\n", "2:3 flow 'a' reads itself\n"},
};

static void check_errors(const wrong *w) {
    fake_run f = {0};
    int before = live;
    job_source from = {.text = w->text, .length = strlen(w->text), .file = "job"};
    tw_status status = job_parse(&from, &f.errors, &f.job);
    if (f.job) {
        tw_status planned = plan_build(f.job, &parts, &f.errors, &f.plan, &f.error);
        assert_int_equal(planned, TW_ERR_JOB);
        assert_null(f.plan);
    } else {
        assert_int_equal(status, TW_ERR_JOB);
    }
    const char *expected = w->errors;
    bool right = true;
    for (size_t i = 0; i < f.errors.n; i++) {
        char place[32];
        int n = sprintf(place, "%u:%u ", f.errors.items[i].line, f.errors.items[i].column);
        size_t end = strcspn(expected, "\n");
        right &= strncmp(expected, place, (size_t)n) == 0 && end >= (size_t)n &&
                 strncmp(expected + n, f.errors.items[i].message, end - (size_t)n) == 0;
        expected += end + (expected[end] == '\n');
    }
    if (!right || *expected) {
        fprintf(stderr, "%s\nexpected\n%sgot\n", w->text, w->errors);
        for (size_t i = 0; i < f.errors.n; i++)
            fprintf(stderr, "%u:%u %s\n", f.errors.items[i].line, f.errors.items[i].column, f.errors.items[i].message);
        fail();
    }
    fake_end(&f);
    assert_int_equal(live, before);
}

static void test_errors(void **state) {
    for (size_t i = 0; i < COUNT_OF(wrongs); i++) check_errors(&wrongs[i]);
}

/* ---- the shape of plans ---- */

static fake_run plan_of(const char *text) {
    fake_run f;
    if (fake_plan(&f, text) != TW_OK) {
        fprintf(stderr, "%s\n%s\n", f.errors.n ? f.errors.items[0].message : f.error.message, text);
        fail();
    }
    return f;
}

static const pipeline *feeds(const plan *p, const sink *k, uint32_t input) {
    for (uint32_t i = 0; i < p->n_pipelines; i++)
        if (p->pipelines[i]->sink == k && p->pipelines[i]->input == input) return p->pipelines[i];
    return NULL;
}

static void test_stateless_steps_are_fused(void **state) {
    fake_run f = plan_of("source: {numbers: {}}\nsteps: [{alter: {}}, {alter: {}}, {alter: {}}]\nsink: {record: {}}\n");
    assert_int_equal(f.plan->n_pipelines, 1);
    assert_int_equal(f.plan->pipelines[0]->n_operators, 3);
    assert_int_equal(f.plan->n_steps, 5);
    fake_end(&f);
}

static void test_unions_lead_all_inputs_into_one_sink(void **state) {
    fake_run f = plan_of("flows:\n  a: {source: {numbers: {tag: 1}}}\n  b: {source: {numbers: {tag: 2}}}\n"
                         "  c: {source: {numbers: {tag: 3}}, steps: [{union: [a, b]}, {alter: {}}], sink: {record: {}}}\n");
    assert_int_equal(f.plan->n_pipelines, 3);
    assert_int_equal(f.plan->n_sinks, 1);
    for (uint32_t i = 0; i < 3; i++) {
        const pipeline *p = feeds(f.plan, f.plan->sinks[0], i);
        assert_non_null(p);
        assert_int_equal(((numbers *)p->source)->tag, i == 0 ? 3 : i);
        assert_int_equal(p->n_operators, 1);
    }
    fake_end(&f);
}

static void test_bounded_steps_stand_alone(void **state) {
    fake_run f = plan_of("source: {numbers: {}}\nsteps: [{alter: {}}, {bound: {}}, {alter: {}}]\nsink: {record: {}}\n"
                         "run: {workers: {bound: 2}}\n");
    assert_int_equal(f.plan->n_pipelines, 3);
    assert_int_equal(f.plan->pipelines[0]->lanes_max, 0);
    assert_int_equal(f.plan->pipelines[1]->lanes_max, 2);
    assert_int_equal(f.plan->pipelines[2]->lanes_max, 0);
    assert_true(f.plan->pipelines[1]->source->live);
    fake_end(&f);
    /* the rows of a bounded breaker too are handed over to whoever is idle */
    f = plan_of("source: {numbers: {}}\nsteps: [gather, {alter: {}}]\nsink: {record: {}}\nrun: {workers: {gather: 1}}\n");
    const pipeline *last = f.plan->pipelines[f.plan->n_pipelines - 1];
    assert_int_equal(last->lanes_max, 0);
    assert_int_equal(last->n_operators, 1);
    fake_end(&f);
}

static void test_flows_read_twice_are_kept(void **state) {
    fake_run f = plan_of("flows:\n  a: {source: {numbers: {}}}\n  b: {source: {flow: a}, sink: {record: {slot: 1}}}\n"
                         "  c: {source: {flow: a}, sink: {record: {slot: 2}}}\n");
    assert_int_equal(f.plan->n_pipelines, 3);
    assert_string_equal(f.plan->pipelines[0]->sink->name, "store");
    for (uint32_t i = 1; i < 3; i++) {
        assert_ptr_equal(f.plan->pipelines[i]->feeder, f.plan->pipelines[0]->sink);
        assert_int_equal(f.plan->pipelines[i]->n_after, 1);
    }
    fake_end(&f);
    f = plan_of("flows:\n  a: {source: {numbers: {}}}\n  b: {source: {flow: a}, sink: {record: {slot: 1}}}\n");
    assert_int_equal(f.plan->n_pipelines, 1); /* read once: nothing is collected */
    fake_end(&f);
}

/* What the last sink reads is asked for all the way up, and no more. */
static void expect_needed(const char *text, bool id, bool words, bool twin) {
    fake_run f = plan_of(text);
    for (uint32_t i = 0; i < f.plan->n_pipelines; i++) {
        const source *s = f.plan->pipelines[i]->source;
        if (s->class != &numbers_class || ((const numbers *)s)->tag) continue;
        const bool *needed = ((const numbers *)s)->needed;
        if (needed[0] != id || needed[1] != words || needed[2] != twin) {
            fprintf(stderr, "needed %d %d %d in\n%s\n", needed[0], needed[1], needed[2], text);
            fail();
        }
    }
    fake_end(&f);
}

static void test_columns_that_nobody_reads_are_not_made(void **state) {
    expect_needed("source: {numbers: {}}\nsink: {record: {}}\n", 1, 0, 0);
    expect_needed("source: {numbers: {}}\nsink: {record: {all: true}}\n", 1, 1, 1);
    expect_needed("source: {numbers: {}}\nsteps: [{alter: {costly: true}}, {limit: 3}]\nsink: {record: {}}\n", 1, 0, 0);
    expect_needed("source: {numbers: {}}\nsteps: [{limit: 3}, gather]\nsink: {record: {}}\n", 1, 1, 1);
    expect_needed("flows:\n  a: {source: {numbers: {}}}\n  b: {source: {flow: a}, sink: {record: {slot: 1}}}\n"
                  "  c: {source: {flow: a}, sink: {record: {slot: 2}}}\n", 1, 0, 0);
    expect_needed("flows:\n  a: {source: {numbers: {}}}\n  b: {source: {flow: a}, sink: {record: {slot: 1}}}\n"
                  "  c: {source: {flow: a}, sink: {record: {slot: 2, all: true}}}\n", 1, 1, 1);
    expect_needed("flows:\n  a: {source: {numbers: {}}, steps: [{alter: {}}]}\n"
                  "  b: {source: {numbers: {tag: 1}}, steps: [{union: [a]}, {alter: {costly: true}}], sink: {record: {slot: 1}}}\n"
                  "  c: {source: {flow: a}, steps: [{limit: 4}], sink: {record: {slot: 2}}}\n", 1, 0, 0);
}

static void test_explain(void **state) {
    fake_run f = plan_of("name: t\nflows:\n  a: {source: {numbers: {}}}\n"
                         "  b: {source: {numbers: {}}, steps: [{alter: {}}, {beside: {with: a, rest: 2}}, {bound: {}}, gather], "
                         "sink: {record: {}}}\nrun: {workers: {bound: 3}}\n");
    struct text t = {0};
    MUST(plan_explain(f.plan, 8, (size_t)1 << 30, &t));
    const char *s = text_string(&t);
    assert_non_null(strstr(s, "fused alter"));
    assert_non_null(strstr(s, "fused beside"));
    assert_non_null(strstr(s, "write record"));
    assert_non_null(strstr(s, "3 workers"));
    assert_non_null(strstr(s, "8 workers"));
    assert_non_null(strstr(s, "move into gather"));
    assert_non_null(strstr(s, "memory at worst"));
    text_free(&t);
    /* 16 MiB of the budget a worker, as the run has it. */
    MUST(plan_explain(f.plan, 8, (size_t)95 << 20, &t));
    assert_non_null(strstr(text_string(&t), "5 workers"));
    assert_non_null(strstr(text_string(&t), "3 workers"));
    assert_null(strstr(text_string(&t), "8 workers"));
    text_free(&t);
    MUST(plan_explain(f.plan, 8, (size_t)8 << 20, &t));
    assert_non_null(strstr(text_string(&t), "1 worker"));
    assert_null(strstr(text_string(&t), " workers"));
    text_free(&t);
    fake_end(&f);
}

/* A long way of flows, each read by the next, and steps without end. */
static void test_big_jobs(void **state) {
    struct text t = {0};
    text_append_string(&t, "flows:\n  f0: {source: {numbers: {splits: 2, rows: 3}}}\n");
    for (int i = 1; i < JOB_FLOWS_MAX; i++)
        text_printf(&t, "  f%d: {source: {flow: f%d}%s}\n", i, i - 1, i == JOB_FLOWS_MAX - 1 ? ", sink: {record: {}}" : "");
    fake_run f = plan_of(text_string(&t));
    assert_int_equal(f.plan->n_pipelines, 1);
    fake_end(&f);
    text_free(&t);
    text_append_string(&t, "source: {numbers: {splits: 2, rows: 3}}\nsteps:\n");
    for (int i = 0; i < JOB_STEPS_MAX; i++) text_append_string(&t, i % 3 ? "  - alter: {}\n" : "  - gather\n");
    text_append_string(&t, "sink: {record: {}}\n");
    slots_clear();
    run_options o = {.parallelism = 4, .memory_bytes = (size_t)64 << 20};
    MUST(fake_job(text_string(&t), &o, NULL));
    assert_int_equal(slots[0].n, 6);
    for (int i = 0; i < 6; i++) assert_int_equal(slots[0].ids[i], i);
    text_free(&t);
}

/* A plan that never runs gives all back. */
static void test_plans_that_do_not_run(void **state) {
    int before = live;
    fake_run f = plan_of("flows:\n  a: {source: {numbers: {}}, steps: [gather, {alter: {costly: true}}]}\n"
                         "  b: {source: {flow: a}, steps: [{beside: {with: a, rest: 2}}, {limit: 3}], sink: {record: {}}}\n");
    fake_end(&f);
    assert_int_equal(live, before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_stateless_steps_are_fused),
        cmocka_unit_test(test_unions_lead_all_inputs_into_one_sink),
        cmocka_unit_test(test_bounded_steps_stand_alone),
        cmocka_unit_test(test_flows_read_twice_are_kept),
        cmocka_unit_test(test_columns_that_nobody_reads_are_not_made),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_big_jobs),
        cmocka_unit_test(test_plans_that_do_not_run),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    slots_clear();
    return failed;
}
