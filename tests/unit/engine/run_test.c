#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/run_internal.h"
#include "unit/engine/fakes.h"

enum { FLOWS_MAX = 6, PARTS_MAX = 16, ROWS_MAX = 4000 };

/* ---- random jobs, and what must come of them ---- */

typedef struct part_model {
    const char *step;
    uint64_t rows_in, rows_out;
} part_model;

typedef struct flow_model {
    int64_t *ids;
    size_t n;
    part_model parts[PARTS_MAX];
    uint32_t n_parts;
    bool is_read, ordered;
    int slot; /* of its sink; -1: none */
} flow_model;

typedef struct job_model {
    uint64_t seed;
    struct text text;
    flow_model flows[FLOWS_MAX];
    uint32_t n_flows;
    uint32_t batch_rows;
    bool limits;  /* what parts count is not known then */
    bool stutters;
} job_model;

static void add_part(flow_model *f, const char *step, uint64_t rows_in, uint64_t rows_out) {
    f->parts[f->n_parts++] = (part_model){step, rows_in, rows_out};
}

static void append_ids(flow_model *f, const int64_t *ids, size_t n) {
    f->ids = realloc(f->ids, (f->n + n + 1) * sizeof *f->ids);
    if (n) memcpy(f->ids + f->n, ids, n * sizeof *ids);
    f->n += n;
}

static void make_source(job_model *m, uint32_t index) {
    flow_model *f = &m->flows[index];
    uint64_t *seed = &m->seed;
    if (index > 0 && draw_below(seed, 3) == 0) {
        uint32_t from = draw_below(seed, index);
        text_printf(&m->text, "{flow: f%u}, steps: [", from);
        m->flows[from].is_read = true;
        append_ids(f, m->flows[from].ids, m->flows[from].n);
        return;
    }
    uint32_t rows = 1 + draw_below(seed, m->batch_rows < 40 ? m->batch_rows : 40);
    uint32_t splits = draw_below(seed, 12), batches = draw_below(seed, 5);
    text_printf(&m->text, "{numbers: {tag: %u, splits: %u, batches: %u, rows: %u, pad: %u", index, splits, batches, rows,
                draw_below(seed, 2) ? 20 : draw_below(seed, 300));
    if (draw_below(seed, 3) == 0) text_append_string(&m->text, ", counts: true");
    if (draw_below(seed, 5) == 0) text_append_string(&m->text, ", waits: true");
    if (m->stutters && draw_below(seed, 4) == 0) text_printf(&m->text, ", io_failures: %u", 1 + draw_below(seed, 2));
    text_append_string(&m->text, "}}, steps: [");
    for (uint64_t i = 0; i < (uint64_t)rows * splits * batches; i++) append_ids(f, &(int64_t){row_id(index, i)}, 1);
    add_part(f, "numbers", 0, f->n);
}

static void make_alter(job_model *m, flow_model *f) {
    uint64_t *seed = &m->seed;
    uint32_t every = draw_below(seed, 2) ? 1 : 1 + draw_below(seed, 7), times = 1;
    const char *step = draw_below(seed, 3) ? "alter" : "bound";
    size_t n = 0, before = f->n;
    for (size_t i = 0; i < before; i++) n += f->ids[i] % every == 0;
    if (draw_below(seed, 2) && n * 5 < ROWS_MAX) times = 1 + draw_below(seed, 5);
    int64_t *out = malloc((n * times + 1) * sizeof *out);
    n = 0;
    for (size_t i = 0; i < before; i++)
        for (uint32_t k = 0; k < times && f->ids[i] % every == 0; k++) out[n++] = f->ids[i];
    free(f->ids);
    f->ids = out;
    f->n = n;
    add_part(f, step, before, n);
    text_printf(&m->text, "{%s: {every: %u, times: %u", step, every, times);
    if (m->stutters && draw_below(seed, 3) == 0) text_append_string(&m->text, ", memory_failures: 1");
    if (draw_below(seed, 4) == 0) text_printf(&m->text, ", costly: true, rows_max: %u", draw_below(seed, 4) * 5);
    text_append_string(&m->text, "}}");
}

static void make_step(job_model *m, uint32_t index) {
    flow_model *f = &m->flows[index];
    uint64_t *seed = &m->seed;
    uint32_t other = index ? draw_below(seed, index) : 0, kind = draw_below(seed, 8);
    flow_model *o = &m->flows[other];
    if (kind == 0) {
        uint32_t rows = draw_below(seed, (uint32_t)f->n + 10);
        text_printf(&m->text, "{limit: %u}", rows);
        if (rows < f->n) f->n = rows;
        m->limits = true;
        add_part(f, "limit", 0, 0);
    } else if (kind == 1 && index && f->n + o->n < ROWS_MAX) {
        text_printf(&m->text, "{union: [f%u]}", other);
        o->is_read = true;
        append_ids(f, o->ids, o->n);
        add_part(f, "union", 0, 0);
    } else if (kind == 2 && index) {
        uint64_t rest = draw_below(seed, 2) ? 1 + draw_below(seed, m->batch_rows < 9 ? m->batch_rows : 9) : 0;
        text_printf(&m->text, "{beside: {with: f%u, rest: %u}}", other, (unsigned)rest);
        o->is_read = true;
        add_part(f, "beside", f->n + o->n, f->n + rest);
        for (uint64_t i = 0; i < rest; i++) append_ids(f, &(int64_t){row_id(99, i)}, 1);
    } else if (kind == 3) {
        text_printf(&m->text, "{gather: {shuffled: %s}}", draw_below(seed, 2) ? "true" : "false");
        add_part(f, "gather", f->n, f->n);
    } else {
        make_alter(m, f);
    }
}

static void make_job(job_model *m, uint64_t seed) {
    *m = (job_model){.seed = seed};
    static const uint32_t batch_rows[] = {1, 2, 7, 64, 1000, 8192};
    m->batch_rows = batch_rows[draw_below(&m->seed, 6)];
    m->n_flows = 1 + draw_below(&m->seed, FLOWS_MAX);
    m->stutters = draw_below(&m->seed, 8) == 0;
    text_append_string(&m->text, "flows:\n");
    for (uint32_t i = 0; i < m->n_flows; i++) {
        flow_model *f = &m->flows[i];
        text_printf(&m->text, "  f%u: {source: ", i);
        make_source(m, i);
        for (uint32_t n = draw_below(&m->seed, 5), k = 0; k < n; k++) {
            if (k) text_append_string(&m->text, ", ");
            make_step(m, i);
        }
        text_append_string(&m->text, "]");
        f->slot = -1;
        /* Only the last flow is certain to have no reader to come. */
        if (i == m->n_flows - 1 || draw_below(&m->seed, 3) == 0) f->slot = (int)i;
        text_printf(&m->text, "@%u}\n", i);
    }
}

/* Sinks for the flows that need one, now that it is known who is read. */
static char *job_text(job_model *m) {
    struct text t = {0};
    for (const char *p = text_string(&m->text); *p; p++) {
        if (*p != '@') {
            text_append_char(&t, *p);
            continue;
        }
        uint32_t i = (uint32_t)(*++p - '0');
        flow_model *f = &m->flows[i];
        if (!f->is_read) f->slot = (int)i;
        if (f->slot < 0) continue;
        f->ordered = draw_below(&m->seed, 3) > 0;
        text_printf(&t, ", sink: {record: {slot: %u", i);
        if (!f->ordered) text_append_string(&t, ", unordered: true");
        if (draw_below(&m->seed, 2)) text_append_string(&t, ", all: true");
        if (draw_below(&m->seed, 5) == 0) text_append_string(&t, ", refuses: true");
        if (m->stutters && draw_below(&m->seed, 5) == 0) text_append_string(&t, ", memory_failures: 1");
        text_append_string(&t, "}}");
        add_part(f, "record", f->n, 0);
    }
    static const char *const bounded[] = {"bound", "beside", "gather", "alter"};
    const char *step = bounded[draw_below(&m->seed, 4)];
    if (strstr(text_string(&t), step) && draw_below(&m->seed, 2))
        text_printf(&t, "run: {workers: {%s: %u}}\n", step, 1 + draw_below(&m->seed, 2));
    text_free(&m->text);
    return text_take(&t);
}

static void free_job(job_model *m) {
    for (uint32_t i = 0; i < m->n_flows; i++) free(m->flows[i].ids);
}

static int compare_ids(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool check_rows(const job_model *m) {
    bool right = true;
    for (uint32_t i = 0; i < m->n_flows; i++) {
        const flow_model *f = &m->flows[i];
        if (f->slot < 0) continue;
        slot *s = &slots[f->slot];
        if (!f->ordered) {
            if (s->n) qsort(s->ids, s->n, sizeof *s->ids, compare_ids);
            if (f->n) qsort(f->ids, f->n, sizeof *f->ids, compare_ids);
        }
        if (s->n == f->n && (f->n == 0 || memcmp(s->ids, f->ids, f->n * sizeof *f->ids) == 0) && s->committed == 1) continue;
        fprintf(stderr, "flow f%u gave %zu rows, not these %zu\n", i, s->n, f->n);
        for (size_t k = 0; k < s->n && k < f->n; k++)
            if (s->ids[k] != f->ids[k]) {
                fprintf(stderr, "row %zu is %llx, not %llx\n", k, (long long)s->ids[k], (long long)f->ids[k]);
                break;
            }
        right = false;
    }
    return right;
}

static bool check_statistics(const job_model *m, const plan *p) {
    bool right = true;
    for (uint32_t i = 0; i < m->n_flows && !m->limits; i++) {
        char name[16];
        uint32_t k = 0;
        sprintf(name, "f%u", i);
        for (uint32_t s = 0; s < p->n_steps; s++) {
            const step_statistics *t = p->steps[s];
            if (strcmp(t->flow, name)) continue;
            const part_model *e = &m->flows[i].parts[k++];
            if (k <= m->flows[i].n_parts && strcmp(e->step, t->step) == 0 && t->rows_in == e->rows_in &&
                t->rows_out == e->rows_out) continue;
            fprintf(stderr, "%s %s: %llu in, %llu out; not %s %llu, %llu\n", name, t->step, (unsigned long long)t->rows_in,
                    (unsigned long long)t->rows_out, e->step, (unsigned long long)e->rows_in, (unsigned long long)e->rows_out);
            right = false;
        }
        right &= k == m->flows[i].n_parts;
    }
    return right;
}

static run_options random_options(uint64_t *seed, uint32_t batch_rows) {
    static const uint32_t parallelism[] = {1, 2, 3, 8};
    return (run_options){.parallelism = parallelism[draw_below(seed, 4)],
                         .latency_ns = draw_below(seed, 2) ? 0 : 1 + draw_below(seed, 4000000),
                         .memory_bytes = (size_t)128 << 20,
                         .batch_rows = batch_rows};
}

static void run_random_job(uint64_t seed) {
    slots_clear();
    job_model m;
    make_job(&m, seed);
    char *text = job_text(&m);
    run_options o = random_options(&m.seed, m.batch_rows);
    int before = live;
    fake_run f;
    fake_start(&f, text, &o);
    tw_status status = fake_wait(&f, text);
    bool right = status == TW_OK && check_rows(&m) && check_statistics(&m, f.plan);
    if (!right) {
        fprintf(stderr, "seed %llu, parallelism %u, batches of %u: %s\n%s\n", (unsigned long long)seed, o.parallelism,
                m.batch_rows, f.error.message, text);
        abort();
    }
    fake_end(&f);
    HOLDS(live == before);
    free(text);
    free_job(&m);
}

static uint64_t seeds(uint64_t fallback) {
    const char *s = getenv("THALWEG_TEST_SEEDS");
    return s ? strtoull(s, NULL, 10) : fallback;
}

static void test_random_jobs(void **state) {
    const char *one = getenv("THALWEG_TEST_SEED");
    if (one) {
        run_random_job(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= seeds(400); seed++) run_random_job(seed);
}

/* ---- limits ---- */

static const run_options two = {.parallelism = 2, .memory_bytes = (size_t)64 << 20, .batch_rows = 10};
static const run_options eight = {.parallelism = 8, .memory_bytes = (size_t)256 << 20, .batch_rows = 10};

static void test_limit_stops_what_feeds_it(void **state) {
    static const char *const steps[] = {
        "[{limit: 25}]",
        "[{alter: {times: 3}}, {limit: 25}]",
        "[{limit: 5000}, {limit: 25}]",
        "[{alter: {costly: true, rows_max: 3}}, {limit: 25}]",
        "[{alter: {costly: true, rows_max: 3}}, {alter: {costly: true}}, {limit: 25}]",
        "[{alter: {costly: true}}, {limit: 90}, {alter: {costly: true, rows_max: 1}}, {limit: 25}, {alter: {}}]",
    };
    for (size_t i = 0; i < COUNT_OF(steps); i++)
        for (uint32_t parallelism = 1; parallelism <= 3; parallelism++) {
            slots_clear();
            char text[512];
            snprintf(text, sizeof text,
                     "source: {numbers: {splits: 1000000, batches: 100, rows: 10, pad: 4000, slot: 1}}\n"
                     "steps: %s\nsink: {record: {all: true}}\n", steps[i]);
            run_options o = two;
            o.parallelism = parallelism;
            MUST(fake_job(text, &o, NULL));
            assert_int_equal(slots[0].n, 25);
            for (int k = 0; k < 25; k++) assert_int_equal(slots[0].ids[k], i == 1 ? k / 3 : k);
            assert_true(slots[1].reads < 5000);
        }
}

static void test_limit_of_nothing_reads_nothing(void **state) {
    slots_clear();
    MUST(fake_job("source: {numbers: {splits: 1000, rows: 10, slot: 1}}\n"
                  "steps: [gather, {limit: 0}]\nsink: {record: {}}\n", &two, NULL));
    assert_int_equal(slots[0].n, 0);
    assert_int_equal(slots[0].committed, 1);
    assert_int_equal(slots[1].reads, 0);
}

/* The second input is not read once the first has given enough: not even what feeds it. */
static void test_limit_over_union(void **state) {
    slots_clear();
    MUST(fake_job("flows:\n"
                  "  b: {source: {numbers: {splits: 100000000, rows: 10, slot: 1, tag: 2}}, steps: [gather]}\n"
                  "  a: {source: {numbers: {splits: 100, rows: 10, tag: 1}},\n"
                  "      steps: [{union: [b]}, {limit: 30}], sink: {record: {}}}\n", &two, NULL));
    assert_int_equal(slots[0].n, 30);
    for (int k = 0; k < 30; k++) assert_int_equal(slots[0].ids[k], row_id(1, (uint64_t)k));
}

/* What is never read may still be filled when that becomes known. */
static void test_what_is_skipped_lives_as_long_as_who_fills_it(void **state) {
    for (int i = 0; i < 20; i++) {
        slots_clear();
        /* one worker fills what `b` gathers, the other finds that `a` has enough */
        MUST(fake_job("flows:\n  b: {source: {numbers: {splits: 50, rows: 10, tag: 7}}, steps: [{bound: {slow_us: 200}}, gather]}\n"
                      "  a: {source: {numbers: {splits: 10, rows: 10}}, steps: [{union: [b]}, {limit: 30}],\n"
                      "      sink: {record: {slot: 1}}}\nrun: {workers: {bound: 1}}\n", &two, NULL));
        assert_int_equal(slots[1].n, 30);
        /* `b` is filled after it is known that nobody wants what it leaves over */
        MUST(fake_job("flows:\n  b: {source: {numbers: {splits: 5, rows: 10}}}\n"
                      "  a: {source: {numbers: {splits: 10, rows: 10}}, steps: [{beside: {with: b, rest: 5}}, {limit: 0}],\n"
                      "      sink: {record: {}}}\n", &two, NULL));
    }
}

/* ---- failures ---- */

typedef struct failing {
    const char *text;
    tw_status status;
    const char *message;
} failing;

static const failing failures[] = {
    {"source: {numbers: {splits: 50, rows: 10, fails_start: true}}\nsink: {record: {}}\n", TW_ERR_IO, "cannot start"},
    {"source: {numbers: {splits: 50, rows: 10, fails_io: true}}\nsink: {record: {}}\n", TW_ERR_IO, "the disk is gone"},
    {"source: {numbers: {splits: 50, rows: 10, io_failures: 9}}\nsink: {record: {}}\n", TW_ERR_IO, "the disk stutters"},
    {"source: {numbers: {splits: 50, rows: 10, fail_at: 333}}\nsink: {record: {}}\n", TW_ERR_DATA, "row 333 is bad"},
    {"source: {numbers: {splits: 50, rows: 10, fail_at: 333, waits: true}}\nsink: {record: {refuses: true}}\n", TW_ERR_DATA,
     "row 333 is bad"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsteps: [{alter: {fails: true}}]\nsink: {record: {}}\n", TW_ERR_DATA,
     "cannot alter"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsteps: [{alter: {ends: true}}]\nsink: {record: {}}\n", TW_ERR_INTERNAL,
     "ended before its input"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsteps: [{alter: {fails_open: true}}]\nsink: {record: {}}\n", TW_ERR_IO,
     "cannot open"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsteps: [gather, {alter: {fails: true, costly: true}}]\nsink: {record: {}}\n",
     TW_ERR_DATA, "cannot alter"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsteps: [{alter: {endless_memory_failure: true}}]\nsink: {record: {}}\n",
     TW_ERR_MEMORY, "no memory at all"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsink: {record: {fails: start}}\n", TW_ERR_IO, "record fails in start"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsink: {record: {fails: open}}\n", TW_ERR_IO, "record fails in open"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsink: {record: {fails: push}}\n", TW_ERR_IO, "record fails in push"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsink: {record: {fails: memory}}\n", TW_ERR_MEMORY, "record has no memory"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsink: {record: {fails: end_split}}\n", TW_ERR_IO, "record fails in end_split"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsink: {record: {fails: close}}\n", TW_ERR_IO, "record fails in close"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsink: {record: {fails: finish}}\n", TW_ERR_IO, "record fails in finish"},
    {"source: {numbers: {splits: 50, rows: 10}}\nsink: {record: {fails: commit}}\n", TW_ERR_IO, "record fails in commit"},
    {"flows:\n  a: {source: {numbers: {splits: 50, rows: 10}}, sink: {record: {slot: 1, refuses: true}}}\n"
     "  b: {source: {flow: a}, steps: [{alter: {costly: true}}], sink: {record: {fails: finish}}}\n", TW_ERR_IO,
     "record fails in finish"},
};

static void test_one_failure_is_told(void **state) {
    for (size_t i = 0; i < COUNT_OF(failures); i++)
        for (uint32_t parallelism = 1; parallelism <= 8; parallelism *= 2) {
            slots_clear();
            run_options o = two;
            o.parallelism = parallelism;
            tw_error err = {0};
            tw_status status = fake_job(failures[i].text, &o, &err);
            if (status != failures[i].status || !strstr(err.message, failures[i].message) || err.code != status) {
                fprintf(stderr, "%s: status %d, %s\n", failures[i].text, status, err.message);
                abort();
            }
            assert_int_equal(slots[0].committed, 0);
            if (status == TW_ERR_DATA && strstr(failures[i].message, "row")) assert_int_equal(err.record, 333);
        }
}

/* What passes does not end the run, and nothing comes twice. */
static void test_passing_trouble(void **state) {
    for (uint32_t parallelism = 1; parallelism <= 8; parallelism *= 2) {
        slots_clear();
        run_options o = two;
        o.parallelism = parallelism;
        MUST(fake_job("source: {numbers: {splits: 3, batches: 2, rows: 5, io_failures: 2}}\n"
                      "steps: [{alter: {memory_failures: 3, times: 4}}]\n"
                      "sink: {record: {memory_failures: 5}}\n", &o, NULL));
        assert_int_equal(slots[0].n, 120);
        for (int i = 0; i < 120; i++) assert_int_equal(slots[0].ids[i], i / 4);
    }
}

/* A lane that is short of memory does not keep its worker from the lane that holds it. */
static void test_other_lanes_run_while_one_waits_for_memory(void **state) {
    slots_clear();
    run_options o = two;
    o.parallelism = 1;
    uint64_t begin = clock_ns();
    MUST(fake_job("flows:\n"
                  "  a: {source: {numbers: {splits: 1, batches: 10, rows: 1}}, steps: [{alter: {memory_failures: 10}}],\n"
                  "      sink: {record: {slot: 0}}}\n"
                  "  b: {source: {numbers: {splits: 1, batches: 10, rows: 1, slow_us: 10000}}, sink: {record: {slot: 1}}}\n",
                  &o, NULL));
    assert_int_equal(slots[0].n + slots[1].n, 20);
    /* 100 ms each, but not one after the other */
    assert_true(clock_ns() - begin < 1000000000ull);
}

static void test_statistics_of_a_failed_run(void **state) {
    slots_clear();
    fake_run f;
    const char *text = "source: {numbers: {splits: 1, batches: 9, rows: 10, fail_at: 55}}\nsink: {record: {}}\n";
    run_options o = two;
    o.parallelism = 1;
    fake_start(&f, text, &o);
    assert_int_equal(fake_wait(&f, text), TW_ERR_DATA);
    assert_int_equal(f.plan->steps[0]->rows_out, 50);
    assert_int_equal(f.plan->steps[1]->rows_in, 50);
    fake_end(&f);
}

/* ---- cancelling ---- */

static const char *const endless_jobs[] = {
    "source: {numbers: {splits: 100000000, batches: 3, rows: 10}}\nsteps: [{alter: {times: 3}}, {alter: {costly: true}}]\n"
    "sink: {record: {refuses: true}}\n",
    "source: {numbers: {splits: 100000000, rows: 10, waits: true, counts: true}}\nsink: {record: {refuses: true}}\n",
    "source: {numbers: {splits: 100000000, rows: 10, io_failures: 3}}\nsink: {record: {unordered: true}}\n",
    "source: {numbers: {splits: 100000000, rows: 10}}\nsteps: [{alter: {memory_failures: 100}}, gather]\nsink: {record: {}}\n",
    "flows:\n  a: {source: {numbers: {splits: 1000, rows: 10}}, sink: {record: {slot: 1}}}\n"
    "  b: {source: {numbers: {splits: 10000000, rows: 1}}, steps: [{beside: {with: a, rest: 5}}, {alter: {costly: true}}],\n"
    "      sink: {record: {slow_us: 500}}}\n",
};

static void test_cancel_ends_soon(void **state) {
    uint64_t seed = 7;
    for (int i = 0; i < 40; i++) {
        slots_clear();
        const char *text = endless_jobs[draw_below(&seed, COUNT_OF(endless_jobs))];
        run_options o = random_options(&seed, 10);
        int before = live;
        fake_run f;
        fake_start(&f, text, &o);
        sleep_us(draw_below(&seed, 8000));
        uint64_t begin = clock_ns();
        if (draw_below(&seed, 4) == 0) { /* free cancels by itself */
            fake_end(&f);
        } else {
            run_cancel(f.run);
            run_cancel(f.run);
            assert_true(run_wait(f.run, 10000));
            assert_int_equal(run_result(f.run, &f.error), TW_ERR_CANCELLED);
            assert_int_equal(slots[0].committed, 0);
            fake_end(&f);
        }
        uint64_t took = clock_ns() - begin;
        if (took > 1000000000ull) {
            fprintf(stderr, "cancelling took %llu ms:\n%s\n", (unsigned long long)took / 1000000, text);
            abort();
        }
        HOLDS(live == before);
    }
}

/* A cancel that comes too late changes nothing that was committed. */
static void test_cancel_after_the_end(void **state) {
    slots_clear();
    fake_run f;
    const char *text = "source: {numbers: {splits: 2, rows: 10}}\nsink: {record: {}}\n";
    fake_start(&f, text, &two);
    assert_true(run_wait(f.run, -1));
    run_cancel(f.run);
    assert_int_equal(run_result(f.run, &f.error), TW_OK);
    assert_int_equal(run_result(f.run, &f.error), TW_OK);
    assert_int_equal(slots[0].committed, 1);
    fake_end(&f);
}

static void test_wait_with_a_limit(void **state) {
    slots_clear();
    fake_run f;
    fake_start(&f, endless_jobs[0], &two);
    uint64_t begin = clock_ns();
    assert_false(run_wait(f.run, 0));
    assert_false(run_wait(f.run, 20));
    assert_true(clock_ns() - begin > 19000000);
    fake_end(&f);
}

/* ---- who works when ---- */

/* As many lanes as there are workers must be there at once; the fake waits 3 s for that. */
static void expect_meeting(const char *text, const run_options *o) {
    slots_clear();
    MUST(fake_job(text, o, NULL));
    if (slots[2].met) return;
    fprintf(stderr, "idle workers, only %u at work:\n%s\n", slots[2].most_lanes, text);
    abort();
}

static void test_all_workers_are_busy(void **state) {
    static const char *const texts[] = {
        "source: {numbers: {splits: 20, rows: 10}}\nsteps: [{alter: {meet: 8, slot: 2}}]\nsink: {record: {}}\n",
        /* one split, single rows */
        "source: {numbers: {splits: 1, batches: 10, rows: 10}}\nsteps: [{alter: {meet: 8, slot: 2, costly: true, rows_max: 1}}]\n"
        "sink: {record: {}}\n",
        /* a source that does not know its splits */
        "source: {numbers: {splits: 20, rows: 10, counts: true}}\nsteps: [{alter: {meet: 8, slot: 2}}]\nsink: {record: {}}\n",
        "source: {numbers: {splits: 20, rows: 10, counts: true, waits: true}}\nsteps: [{alter: {meet: 8, slot: 2}}]\n"
        "sink: {record: {}}\n",
        /* after a stage that one worker had for itself */
        "source: {numbers: {splits: 1, batches: 20, rows: 10, slow_us: 500}}\nsteps: [gather, {alter: {meet: 8, slot: 2}}]\n"
        "sink: {record: {}}\n",
        /* beside one that only one may work on */
        "flows:\n  a: {source: {numbers: {splits: 9, rows: 1, slow_us: 3000}}, steps: [{bound: {}}], sink: {record: {slot: 1}}}\n"
        "  b: {source: {numbers: {splits: 9, rows: 1}}, steps: [gather, {alter: {meet: 7, slot: 2}}], sink: {record: {}}}\n"
        "run: {workers: {bound: 1}}\n",
        /* after one that only one may work on, which hands single batches over */
        "source: {numbers: {splits: 1, batches: 20, rows: 10}}\nsteps: [{bound: {}}, {alter: {meet: 8, slot: 2}}]\n"
        "sink: {record: {}}\nrun: {workers: {bound: 1}}\n",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) expect_meeting(texts[i], &eight);
}

static void test_bounds_of_workers_are_kept(void **state) {
    for (unsigned most = 1; most <= 3; most++) {
        slots_clear();
        char text[512];
        snprintf(text, sizeof text,
                 "flows:\n  a: {source: {numbers: {splits: 40, batches: 2, rows: 5}}, steps: [{alter: {}}]}\n"
                 "  b: {source: {numbers: {splits: 40, batches: 2, rows: 5}},\n"
                 "      steps: [{union: [a]}, {bound: {slow_us: 100, slot: 2}}, {alter: {slow_us: 100, slot: 3}}],\n"
                 "      sink: {record: {}}}\nrun: {workers: {bound: %u}}\n", most);
        MUST(fake_job(text, &eight, NULL));
        assert_int_equal(slots[0].n, 800);
        assert_true(slots[2].most_lanes >= 1 && slots[2].most_lanes <= most);
    }
}

/* ---- many small runs ---- */

static void test_no_wake_up_is_lost(void **state) {
    uint64_t n = seeds(600);
    static const char *const texts[] = {
        "source: {numbers: {splits: 3, batches: 2, rows: 1, counts: true, waits: true}}\n"
        "steps: [{alter: {costly: true}}]\nsink: {record: {refuses: true}}\n",
        "source: {numbers: {splits: 3, batches: 2, rows: 1}}\nsteps: [{alter: {costly: true}}, gather, {limit: 4}]\n"
        "sink: {record: {refuses: true}}\n",
        "source: {numbers: {splits: 0}}\nsteps: [gather, {alter: {costly: true}}, gather]\nsink: {record: {}}\n",
        "source: {numbers: {splits: 4, rows: 2, waits: true}}\nsink: {record: {}}\n",
        "source: {numbers: {splits: 0, counts: true}}\nsink: {record: {}}\n",
    };
    static const unsigned rows[] = {6, 4, 0, 8, 0};
    uint64_t seed = 3;
    for (uint64_t i = 0; i < n; i++) {
        slots_clear();
        uint32_t k = draw_below(&seed, COUNT_OF(texts));
        run_options o = random_options(&seed, 10);
        MUST(fake_job(texts[k], &o, NULL));
        assert_int_equal(slots[0].n, rows[k]);
    }
}

/* The only worker has found `b` without a split, looks at `a`, which waits for `b`, and would sleep: a wake
 * that comes in between must not be lost. */
static void test_a_wake_between_looking_and_sleeping(void **state) {
    slots_clear();
    run_options o = two;
    o.parallelism = 1;
    MUST(fake_job("flows:\n"
                  "  a: {source: {numbers: {splits: 2, rows: 5}}, steps: [{beside: {with: b}}], sink: {record: {gate: 5}}}\n"
                  "  b: {source: {numbers: {splits: 2, rows: 5, counts: true, gate: 5}}}\n", &o, NULL));
    assert_int_equal(slots[0].n, 10);
}

static void *run_many(void *context) {
    int number = (int)(intptr_t)context;
    char text[512];
    snprintf(text, sizeof text,
             "source: {numbers: {splits: 7, batches: 2, rows: 3, tag: %d}}\nsteps: [{alter: {costly: true}}, gather]\n"
             "sink: {record: {slot: %d, refuses: true}}\n", number, number);
    for (int i = 0; i < 30; i++) {
        fake_run f;
        fake_start(&f, text, &two);
        MUST(fake_wait(&f, text));
        fake_end(&f);
        HOLDS(slots[number].n == 42);
        FAKE_FREE(slots[number].ids);
        slots[number] = (slot){.lock = PTHREAD_MUTEX_INITIALIZER};
    }
    return NULL;
}

static void test_several_runs_in_one_process(void **state) {
    slots_clear();
    pthread_t threads[4];
    for (intptr_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, run_many, (void *)i), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_int_equal(live, 0);
}

static void test_progress_grows(void **state) {
    slots_clear();
    fake_run f;
    const char *text = "source: {numbers: {splits: 20, batches: 5, rows: 10, slow_us: 300}}\n"
                       "steps: [{alter: {costly: true}}, gather]\nsink: {record: {slow_us: 100}}\n";
    fake_start(&f, text, &two);
    run_progress last = {0}, now;
    bool over = false, total_seen = false;
    while (!over) {
        over = run_wait(f.run, 1);
        run_get_progress(f.run, &now);
        assert_true(now.rows_in >= last.rows_in && now.rows_out >= last.rows_out && now.seconds >= last.seconds);
        assert_true(now.bytes_total >= last.bytes_total);
        total_seen |= now.bytes_total == 20 * 5 * 10 * 8;
        last = now;
    }
    assert_true(total_seen);
    assert_int_equal(last.rows_in, 1000);
    assert_int_equal(last.rows_out, 1000);
    MUST(run_result(f.run, NULL));
    run_figures figures;
    run_get_figures(f.run, &figures);
    assert_int_equal(figures.rows_in, 1000);
    assert_true(figures.wall_seconds > 0 && figures.wall_seconds < 60);
    fake_end(&f);
}

/* A union of many inputs keeps the order of rows all the way, also through what numbers them anew. */
static void test_wide_unions(void **state) {
    slots_clear();
    struct text t = {0};
    enum { WIDE = 300 };
    text_append_string(&t, "flows:\n");
    for (int i = 1; i < WIDE; i++)
        text_printf(&t, "  f%d: {source: {numbers: {splits: 2, rows: 2, tag: %d}}}\n", i, i);
    text_append_string(&t, "  f0: {source: {numbers: {splits: 2, rows: 2}}, steps: [{union: [");
    for (int i = 1; i < WIDE; i++) text_printf(&t, "%sf%d", i > 1 ? ", " : "", i);
    text_append_string(&t, "]}, gather, {union: [g]}, {alter: {costly: true, times: 3, rows_max: 1}}, {union: [g]}, gather], "
                           "sink: {record: {}}}\n"
                           "  g: {source: {numbers: {splits: 3, rows: 1, tag: 1000}}}\n");
    MUST(fake_job(text_string(&t), &eight, NULL));
    text_free(&t);
    assert_int_equal(slots[0].n, (WIDE * 4 + 3) * 3 + 3);
    for (int i = 0; i < WIDE * 12; i++) assert_int_equal(slots[0].ids[i], row_id((unsigned)i / 12, (unsigned)i / 3 % 4));
    for (int i = 0; i < 9; i++) assert_int_equal(slots[0].ids[WIDE * 12 + i], row_id(1000, (unsigned)i / 3));
}

/* With a goal for latency rows go through in pieces of a fourth of it, as many at a time as that takes; however quick
 * they are, all of them do. A step that is quick enough soon has its batches whole. */
static void test_pieces_fit_the_goal(void **state) {
    static const char slow[] = "source: {numbers: {splits: 4, batches: 5, rows: 100}}\n"
                               "steps: [{alter: {row_us: 50}}, {alter: {}}]\nsink: {record: {}}\n";
    static const char quick[] = "source: {numbers: {splits: 4, batches: 50, rows: 100}}\nsteps: [{alter: {}}]\nsink: {record: {}}\n";
    const struct { const char *job; uint64_t goal_ms; unsigned rows, least, most; } cases[] = {
        {slow, 0, 2000, 20, 20},       /* as they come */
        {slow, 4, 2000, 100, 2000},    /* 1 ms: 20 rows at most */
        {slow, 1, 2000, 400, 2000},    /* 250 us: 5 rows at most */
        {quick, 3600000, 20000, 200, 200 + 2 * 4}, /* 1, 4, 16, 64, and then 100 */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        run_options o = {.parallelism = 2, .memory_bytes = 64 << 20, .batch_rows = 100, .latency_ns = cases[i].goal_ms * 1000000};
        slots_clear();
        MUST(fake_job(cases[i].job, &o, NULL));
        assert_int_equal(slots[0].n, cases[i].rows);
        for (unsigned k = 0; k < cases[i].rows; k++) assert_int_equal(slots[0].ids[k], row_id(0, k));
        assert_in_range(slots[0].pushes, cases[i].least, cases[i].most);
    }
}

static void count_line(void *context, tw_log_level level, const char *message) {
    assert_int_equal(level, TW_LOG_WARNING);
    assert_non_null(strstr(message, "trouble number"));
    ++*(unsigned *)context;
}

/* Whoever listens is not flooded, and all is counted. */
static void test_a_log_has_a_bound(void **state) {
    enum { TIMES = 1000 };
    static const char text[] = "source: {numbers: {}}\nsink: {record: {}}\n";
    fake_run f;
    unsigned lines = 0;
    run_figures figures;
    run_options o = two;
    o.log = count_line;
    o.log_context = &lines;
    slots_clear();
    uint64_t begin = clock_ns();
    fake_start(&f, text, &o);
    for (unsigned i = 0; i < TIMES; i++) run_tell(f.run, TW_LOG_WARNING, "trouble number N");
    assert_in_range(lines, 20, 21 + (clock_ns() - begin) / 1000000000u);
    MUST(fake_wait(&f, text));
    run_get_figures(f.run, &figures);
    assert_int_equal(figures.warnings, TIMES);
    fake_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_jobs),
        cmocka_unit_test(test_a_log_has_a_bound),
        cmocka_unit_test(test_pieces_fit_the_goal),
        cmocka_unit_test(test_limit_stops_what_feeds_it),
        cmocka_unit_test(test_limit_of_nothing_reads_nothing),
        cmocka_unit_test(test_limit_over_union),
        cmocka_unit_test(test_what_is_skipped_lives_as_long_as_who_fills_it),
        cmocka_unit_test(test_one_failure_is_told),
        cmocka_unit_test(test_passing_trouble),
        cmocka_unit_test(test_other_lanes_run_while_one_waits_for_memory),
        cmocka_unit_test(test_statistics_of_a_failed_run),
        cmocka_unit_test(test_cancel_ends_soon),
        cmocka_unit_test(test_cancel_after_the_end),
        cmocka_unit_test(test_wait_with_a_limit),
        cmocka_unit_test(test_all_workers_are_busy),
        cmocka_unit_test(test_bounds_of_workers_are_kept),
        cmocka_unit_test(test_no_wake_up_is_lost),
        cmocka_unit_test(test_a_wake_between_looking_and_sleeping),
        cmocka_unit_test(test_several_runs_in_one_process),
        cmocka_unit_test(test_progress_grows),
        cmocka_unit_test(test_wide_unions),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    slots_clear();
    return failed;
}
