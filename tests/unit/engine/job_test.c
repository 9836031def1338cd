#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/job.h"

typedef struct parsed {
    job *j;
    error_list errors;
    tw_status status;
} parsed;

static const char *no_variable(void *context, const char *name) { return NULL; }
static const struct variables no_variables = {no_variable, NULL};

static parsed parse_with(const char *source, const char *const *sets, size_t n_sets, unsigned flags) {
    parsed p = {0};
    job_source s = {source, strlen(source), "dir/my.job.yaml", sets, n_sets, &no_variables, flags};
    p.status = job_parse(&s, &p.errors, &p.j);
    return p;
}

static parsed parse(const char *source) { return parse_with(source, NULL, 0, 0); }

static void done(parsed *p) {
    job_free(p->j);
    error_list_free(&p->errors);
}

/* The text gives just these errors, "LINE:COLUMN: message\n" each. */
static void refuse(const char *source, const char *messages) {
    parsed p = parse(source);
    struct text got = {0};
    for (size_t i = 0; i < p.errors.n; i++)
        text_printf(&got, "%u:%u: %s\n", p.errors.items[i].line, p.errors.items[i].column, p.errors.items[i].message);
    assert_string_equal(text_string(&got), messages);
    assert_int_equal(p.status, TW_ERR_JOB);
    text_free(&got);
    done(&p);
}

static void one_flow(void **state) {
    parsed p = parse("name: wordcount\n"
                     "source: { file: { path: a.txt } }\n"
                     "steps:\n"
                     "  - split_words: { from: line }\n"
                     "  - sort: [-n, word]\n"
                     "  - distinct\n"
                     "  - limit:\n"
                     "sink: stdout\n");
    assert_int_equal(p.status, TW_OK);
    assert_string_equal(p.j->name, "wordcount");
    assert_int_equal(p.j->n_flows, 1);
    const job_flow *f = p.j->flows;
    assert_string_equal(f->name, "main");
    assert_string_equal(f->source.name, "file");
    assert_int_equal(f->source.at.line, 2);
    assert_int_equal(f->source.at.column, 11);
    assert_string_equal(node_get(f->source.arguments, "path")->text, "a.txt");
    assert_null(f->source_flow);
    assert_int_equal(f->n_steps, 4);
    assert_string_equal(f->steps[0].name, "split_words");
    assert_int_equal(f->steps[1].arguments->n, 2);
    assert_string_equal(f->steps[2].name, "distinct");
    assert_null(f->steps[2].arguments);
    assert_int_equal(f->steps[2].at.line, 6);
    assert_int_equal(f->steps[3].arguments->kind, NODE_NULL);
    assert_string_equal(f->sink.name, "stdout");
    done(&p);
}

static void several_flows(void **state) {
    parsed p = parse("flows:\n"
                     "  users:  { source: { file: users.csv } }\n"
                     "  clicks:\n"
                     "    source: { kafka: { topic: clicks } }\n"
                     "    steps: [ { join: { with: users, on: [id] } } ]\n"
                     "  more: { source: { flow: clicks }, steps: [{union: [extra]}], sink: discard }\n"
                     "  extra: { source: generate }\n");
    assert_int_equal(p.status, TW_OK);
    assert_string_equal(p.j->name, "my.job");
    assert_int_equal(p.j->n_flows, 4);
    assert_int_equal(job_flow_index(p.j, "more"), 2);
    assert_int_equal(job_flow_index(p.j, "none"), -1);
    const job_flow *more = &p.j->flows[2];
    assert_null(more->source.name);
    assert_string_equal(more->source_flow, "clicks");
    assert_int_equal(more->source_flow_at.column, 27);
    assert_null(p.j->flows[0].sink.name);
    done(&p);
}

static void shapes(void **state) {
    refuse("", "1:1: the job is empty\n");
    refuse("- a", "1:1: a job is a map of source, steps and sink (or flows), not a list\n");
    refuse("a: [", "1:5: YAML: did not find expected node content while parsing a flow node\n");
    refuse("sources: x\nsource: f\nsinc: y\nsink: z\nx-mine: 1\n",
           "1:1: unknown key 'sources' of the job; did you mean 'source'?\n"
           "3:1: unknown key 'sinc' of the job; did you mean 'sink'?\n");
    refuse("steps: []\nsink: x\n", "1:1: the job has no source\n");
    refuse("source: x\nsteps: {a: 1}\nsink: []\n",
           "2:8: 'steps' is a list ('- name: options' each), not a map\n"
           "3:7: a sink is 'name: options' or just a name, not a list\n");
    refuse("source: x\nsteps:\n- sort:\n  by: [a]\n- a: 1\n  b: 2\n- {}\n- ~\n- [x]\nsink: x\n",
           "4:3: a step has one name, 'sort', but 'by' stands beside it: indent it more to make it an option\n"
           "6:3: a step has one name, 'a', but 'b' stands beside it\n"
           "7:3: a step is 'name: options' or just a name, not an empty map\n"
           "8:3: a step is 'name: options' or just a name, not nothing\n"
           "9:3: a step is 'name: options' or just a name, not a list\n");
    refuse("name: [x]\nsource: {flow: [x]}\nsink: s\n",
           "1:7: 'name' is a text, not a list\n2:16: 'flow' takes the name of a flow\n");
    refuse("flows: {a: {source: x, sink: y, stepz: []}, b: 1}\nsource: x\nsink: y\n",
           "1:33: unknown key 'stepz' of a flow; did you mean 'steps'?\n"
           "1:48: flow 'b' is a map of source, steps and sink, not '1'\n"
           "2:1: a job has 'flows' or 'source', not both\n3:1: a job has 'flows' or 'sink', not both\n");
    refuse("flows: {}\n", "1:8: 'flows' is a map of flows by name, not an empty one\n");
    refuse("flows: x\n", "1:8: 'flows' is a map of flows by name, not 'x'\n");
    refuse("flows: {a: {sink: y}}\n", "1:9: flow 'a' has no source\n");
    refuse("source: *no\nsteps: *no\nsink: *no\nrun: *no\nname: *no\n",
           "1:9: there is no anchor &no before this alias\n2:8: there is no anchor &no before this alias\n"
           "3:7: there is no anchor &no before this alias\n4:6: there is no anchor &no before this alias\n"
           "5:7: there is no anchor &no before this alias\n");
    refuse("source: x\nsteps: [\"${NO}\"]\nsink: x\n",
           "2:9: the environment variable NO is not set, and ${NO} gives no default\n");
}

static void dead_ends(void **state) {
    refuse("source: x\n", "1:1: the job has no sink\n");
    refuse("flows:\n  a: {source: x}\n  b: {source: y, sink: z}\n", "2:3: flow 'a' has no sink, and no flow reads it\n");
    parsed p = parse_with("source: x\n", NULL, 0, JOB_OPEN_SINKS);
    assert_int_equal(p.status, TW_OK);
    done(&p);
    /* a step that can't be read might have named it */
    refuse("flows:\n  a: {source: x}\n  b: {source: y, steps: [[a]], sink: z}\n",
           "3:26: a step is 'name: options' or just a name, not a list\n");
}

static void rings(void **state) {
    refuse("flows:\n  a: {source: {flow: b}}\n  b: {source: {flow: a}, sink: s}\n",
           "3:22: flow 'b' reads 'a', which in the end reads it\n");
    refuse("flows:\n  a: {source: {flow: a}, sink: s}\n", "2:22: flow 'a' reads 'a', which in the end reads it\n");
    refuse("flows:\n  a: {source: x, steps: [{join: {with: b}}], sink: s}\n"
           "  b: {source: x, steps: [{union: {with: [c]}}]}\n  c: {source: {flow: a}}\n",
           "4:22: flow 'c' reads 'a', which in the end reads it\n");
    /* two ways to one flow are no ring */
    parsed p = parse("flows:\n  a: {source: x}\n  b: {source: {flow: a}}\n"
                     "  c: {source: {flow: a}, steps: [{join: {with: b}}, {join: {with: a}}], sink: s}\n");
    assert_int_equal(p.status, TW_OK);
    done(&p);
}

static void run_settings(void **state) {
    parsed p = parse("source: x\nsteps: [sort, limit: 1]\nsink: y\n"
                     "run: {parallelism: 4, memory: 1GiB, batch_rows: 100, spill: /s, "
                     "on_bad_record: {dead_letter: bad.txt}, workers: {sort: 2}}\n");
    assert_int_equal(p.status, TW_OK);
    const job_run *r = &p.j->run;
    assert_int_equal(r->parallelism, 4);
    assert_int_equal(r->memory_bytes, 1 << 30);
    assert_int_equal(r->batch_rows, 100);
    assert_string_equal(r->spill, "/s");
    assert_int_equal(r->on_bad_record, JOB_BAD_DEAD_LETTER);
    assert_string_equal(r->dead_letter, "bad.txt");
    assert_int_equal(r->n_workers, 1);
    assert_string_equal(r->workers[0].step, "sort");
    assert_int_equal(r->workers[0].workers, 2);
    done(&p);
    p = parse("source: x\nsink: y\nrun:\n");
    assert_int_equal(p.status, TW_OK);
    assert_int_equal(p.j->run.parallelism, 0);
    assert_int_equal(p.j->run.memory_bytes, 0);
    assert_int_equal(p.j->run.batch_rows, 0);
    assert_null(p.j->run.spill);
    assert_int_equal(p.j->run.on_bad_record, JOB_BAD_FAIL);
    done(&p);
    p = parse("source: x\nsink: y\nrun: {on_bad_record: skip, memory: 32MiB}\n");
    assert_int_equal(p.j->run.on_bad_record, JOB_BAD_SKIP);
    assert_int_equal(p.j->run.memory_bytes, 32 << 20);
    done(&p);
    tw_error err;
    assert_int_equal(descriptor_check(&run_descriptor, &err), TW_OK);
}

static void run_refusals(void **state) {
#define PARTS "source: x\nsteps: [sort]\nsink: y\n"
    refuse(PARTS "run: {memory: 33MB}\n",
           "4:15: option 'memory' of run must be a size such as 64MiB of at least 32MiB, not '33MB': it is too small\n");
    refuse(PARTS "run: {paralelism: 0, batch_rows: 65537}\n",
           "4:7: unknown option 'paralelism' of run; did you mean 'parallelism'?\n"
           "4:34: option 'batch_rows' of run must be a whole number from 0 to 65536, not '65537': it is too large\n");
    refuse(PARTS "run: {on_bad_record: {dead_leter: x}}\n",
           "4:22: run.on_bad_record needs the option 'dead_letter' (a path)\n"
           "4:23: unknown option 'dead_leter' of run.on_bad_record; did you mean 'dead_letter'?\n");
    refuse(PARTS "run: {workers: {srt: 2, x: 1}}\n",
           "4:17: this job has no step 'srt'; did you mean 'sort'?\n4:25: this job has no step 'x'\n");
    refuse(PARTS "run: {checkpoint: {dir: d}, guarantee: exactly_once, trace: t}\n",
           "4:61: option 'trace' of run: it is for reports, which this version does not have\n");
}

static void overrides(void **state) {
    static const char *const sets[] = {"run.memory=1GiB", "steps[0].sort.limit=10", "name=other"};
    parsed p = parse_with("source: x\nsteps:\n  - sort\nsink: y\n", sets, 3, 0);
    assert_int_equal(p.status, TW_OK);
    assert_int_equal(p.j->run.memory_bytes, 1 << 30);
    assert_string_equal(node_get(p.j->flows[0].steps[0].arguments, "limit")->text, "10");
    assert_string_equal(p.j->name, "other");
    done(&p);
    static const char *const wrong[] = {"run.memory=1", "steps[1]=x", "run.memry=1GiB"};
    p = parse_with("source: x\nsteps:\n  - sort\nsink: y\n", wrong, 3, 0);
    assert_int_equal(p.status, TW_ERR_JOB);
    assert_int_equal(p.errors.total, 3);
    assert_string_equal(p.errors.items[0].file, "--set run.memory");
    assert_string_equal(p.errors.items[1].file, "--set run.memry");
    assert_string_equal(p.errors.items[2].file, "--set steps[1]");
    done(&p);
}

/* What can be read is handed on, so that the planner finds its errors too. */
static void faulty_jobs(void **state) {
    parsed p = parse("source: x\nsteps: [sort, [], {limit: 1}]\nsink: y\nrun: {memory: 1}\n");
    assert_int_equal(p.status, TW_ERR_JOB);
    assert_int_equal(p.errors.total, 2);
    assert_int_equal(p.j->flows[0].n_steps, 2);
    done(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_flow),     cmocka_unit_test(several_flows), cmocka_unit_test(shapes),
        cmocka_unit_test(dead_ends),    cmocka_unit_test(rings),         cmocka_unit_test(run_settings),
        cmocka_unit_test(run_refusals), cmocka_unit_test(overrides),     cmocka_unit_test(faulty_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
