/* Every allocation on the way from a job text to bound options fails once: TW_ERR_MEMORY must come out,
 * and nothing may be left behind. The sanitizers bring their own malloc, so this runs without them. */
#include "unit/failing_malloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/job.h"

#ifdef NO_FAILING_MALLOC
int main(void) { return 0; }
#else

static const char *get_variable(void *context, const char *name) { return "a value"; }

static const option join_options[] = {
    {"on", OPTION_COLUMNS, OPTION_REQUIRED, "the keys"},
    {"with", OPTION_FLOW, OPTION_REQUIRED, "the other"},
    {"types", OPTION_TYPE_MAP, 0, "types"},
    {"keys", OPTION_COLUMNS, 0, "keys", .default_text = "a, b"},
};
static const descriptor join = {"join", "joins", join_options, COUNT_OF(join_options)};

static tw_status run_once(const char *source, const char *const *sets, size_t n_sets) {
    static const struct variables variables = {get_variable, NULL};
    error_list errors = {0};
    job *j = NULL;
    args *a = NULL;
    struct text help = {0};
    job_source s = {source, strlen(source), "job.yaml", sets, n_sets, &variables, 0};
    tw_status status = job_parse(&s, &errors, &j);
    if (status == TW_ERR_MEMORY) assert_null(j);
    if (j && status == TW_OK)
        status = args_bind(&join, j->flows[0].steps[0].arguments, j->flows[0].steps[0].at, &errors, &a);
    if (status == TW_OK) status = descriptor_help(&join, &help);
    if (status == TW_OK) status = descriptor_markdown(&join, &help);
    if (errors.no_memory) status = TW_ERR_MEMORY;
    args_free(a);
    job_free(j);
    error_list_free(&errors);
    text_free(&help);
    return status;
}

/* Fails each allocation in turn, until a run needs no more of them. */
static void fail_each(const char *source, const char *const *sets, size_t n_sets, tw_status expected) {
    for (long k = 0; k < 100000; k++) {
        long before = live_blocks;
        call_failed = false;
        calls_left = k;
        tw_status status = run_once(source, sets, n_sets);
        calls_left = -1;
        if (live_blocks != before) fail_msg("%ld blocks left when allocation %ld fails", live_blocks - before, k);
        if (!call_failed) {
            assert_int_equal(status, expected);
            assert_true(k > 20);
            return;
        }
        if (status != TW_ERR_MEMORY) fail_msg("allocation %ld fails, yet %s", k, tw_status_name(status));
    }
    fail_msg("no end");
}

static void right_job(void **state) {
    static const char *const sets[] = {"run.memory=1GiB", "flows.b.steps[0].sort.limit=${X}"};
    fail_each("name: ${X}\nx-d: &d {how: left}\n"
              "flows:\n"
              "  a: {source: x, steps: [{join: {with: c, on: [k, l], types: {a: int64}}}], sink: y}\n"
              "  b: {source: {flow: a}, steps: [sort, {limit: {<<: *d, n: \"${X}\"}}], sink: z}\n"
              "  c: {source: '${X:-y}'}\n"
              "run: {workers: {sort: 1}, on_bad_record: {dead_letter: \"\\u00e9\"}}\n",
              sets, 2, TW_OK);
}

static void wrong_job(void **state) {
    static const char *const sets[] = {"run.memory=1", "nonsense"};
    fail_each("{\"name\": \"\\ud83d\\ude00\", \"name\": 1, \"a\": \"${}\", \"b\": !x 1, \"c\": *c,\n"
              "\"flows\": {\"a\": {\"source\": {\"flow\": \"a\"}, \"stepz\": [],\n"
              "\"steps\": [[], {\"join\": {\"wiht\": 1, \"on\": {}, \"types\": {\"a\": \"intt\"}}}]}}}\n",
              sets, 2, TW_ERR_JOB);
}

static void wrong_options(void **state) {
    fail_each("source: x\nsteps: [join: {wiht: 1, on: {}, types: {a: intt}}]\nsink: y\n", NULL, 0, TW_ERR_JOB);
}

static void wrong_syntax(void **state) { fail_each("a: {b: [1, 2\nc: ]\n", NULL, 0, TW_ERR_JOB); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_job),
        cmocka_unit_test(wrong_job),
        cmocka_unit_test(wrong_options),
        cmocka_unit_test(wrong_syntax),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
