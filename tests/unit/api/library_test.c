/* The library as a C program sees it: the public headers alone. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "thalweg/thalweg.h"

static char folder[] = "/tmp/thalweg-library-XXXXXX";

static void path_of(char *out, const char *name) { snprintf(out, 200, "%s/%s", folder, name); }

static char *read_file(const char *name) {
    char path[200];
    path_of(path, name);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    size_t n = fread(text, 1, (1 << 20) - 1, file);
    text[n] = 0;
    fclose(file);
    return text;
}

static void write_file(const char *name, const char *text) {
    char path[200];
    path_of(path, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Counts the values of a column of in.csv into the file `out`. */
static void counting_job(char *text, size_t size, const char *out) {
    snprintf(text, size,
             "name: counting\n"
             "source: { file: { path: %s/in.csv } }\n"
             "steps:\n"
             "  - group: { by: [a], aggregate: { n: count } }\n"
             "  - sort: [a]\n"
             "sink: { file: { path: %s/%s } }\n"
             "run: { parallelism: 2, memory: 64MiB }\n",
             folder, folder, out);
}

static const char endless[] =
    "source: { generate: { kind: records, rows: 1000000000 } }\n"
    "steps: [ { busy: { for: 1ms } } ]\n"
    "sink: { discard: {} }\n"
    "run: { parallelism: 2, memory: 64MiB }\n";

static void one_call(void **state) {
    (void)state;
    char text[600];
    counting_job(text, sizeof text, "one.csv");
    tw_error error = {0};
    assert_int_equal(tw_run_text(text, &error), TW_OK);
    char *out = read_file("one.csv");
    assert_string_equal(out, "a,n\nx,2\ny,1\n");
    free(out);
    assert_int_equal(tw_run_text("source: 1\n", NULL), TW_ERR_JOB);
    assert_int_equal(tw_run_text("nonsense: {}\n", &error), TW_ERR_JOB);
    assert_int_equal(error.code, TW_ERR_JOB);
    assert_true(error.line == 1 && error.column >= 1);
    assert_non_null(strstr(error.message, "nonsense"));
}

static void every_error_is_told(void **state) {
    (void)state;
    static const char text[] = "nam: x\nsource: { fil: {} }\nsteps: [ { grup: {} } ]\nsink: { stdot: {} }\n";
    tw_job *job = NULL;
    tw_error error = {0};
    tw_job_parse(text, strlen(text), "bad.yaml", &job, &error);
    assert_non_null(job);
    assert_int_equal(tw_job_check(job, &error), TW_ERR_JOB);
    assert_true(tw_job_errors(job) >= 3);
    uint64_t line = 0;
    for (size_t i = 0; i < tw_job_errors(job); i++) {
        const tw_error *e = tw_job_error(job, i);
        assert_string_equal(e->file, "bad.yaml");
        assert_true(e->line >= line && e->column >= 1 && e->message[0]);
        line = e->line;
    }
    assert_true(line >= 3);
    assert_int_equal(tw_job_start(job, &error), TW_ERR_JOB);
    assert_null(tw_job_summary(job));
    tw_job_free(job);
    tw_job_free(NULL);
}

static void step_by_step(void **state) {
    (void)state;
    char text[600];
    counting_job(text, sizeof text, "steps.csv");
    tw_job *job = NULL;
    tw_error error = {0};
    assert_int_equal(tw_job_parse(text, strlen(text), "job.yaml", &job, &error), TW_OK);
    assert_int_equal(tw_job_set(job, "steps[1].sort=[-a]", &error), TW_OK);
    assert_int_equal(tw_job_set(job, "steps[7].sort=[-a]", &error), TW_ERR_JOB);
    assert_non_null(strstr(error.message, "7"));
    tw_job_free(job);
    assert_int_equal(tw_job_parse(text, strlen(text), "job.yaml", &job, &error), TW_OK);
    assert_int_equal(tw_job_set(job, "steps[1].sort=[-a]", &error), TW_OK);
    assert_int_equal(tw_job_check(job, &error), TW_OK);
    assert_int_equal(tw_job_errors(job), 0);
    assert_false(tw_job_prints(job, NULL));
    char *plan = NULL;
    assert_int_equal(tw_job_explain(job, &plan, &error), TW_OK);
    assert_non_null(strstr(plan, "group"));
    tw_free(plan);
    assert_null(read_file("steps.csv"));
    assert_int_equal(tw_job_start(job, &error), TW_OK);
    assert_true(tw_job_wait(job, -1));
    assert_true(tw_job_wait(job, 0));
    assert_int_equal(tw_job_result(job, &error), TW_OK);
    const tw_summary *s = tw_job_summary(job);
    assert_non_null(s);
    assert_string_equal(s->status, "done");
    assert_string_equal(s->name, "counting");
    assert_string_equal(s->error, "");
    assert_true(s->rows_in == 3 && s->rows_out == 2 && s->n_steps >= 2);
    char *json = NULL;
    assert_int_equal(tw_job_summary_json(job, &json, &error), TW_OK);
    assert_true(json[0] == '{' && strstr(json, "\"rows_out\": 2"));
    tw_free(json);
    tw_job_free(job);
    char *out = read_file("steps.csv");
    assert_string_equal(out, "a,n\ny,1\nx,2\n");
    free(out);
}

static void a_failed_run_says_where(void **state) {
    (void)state;
    char text[600];
    snprintf(text, sizeof text,
             "source: { file: { path: %s/in.csv, columns: { a: int64, b: int64 } } }\n"
             "sink: { file: { path: %s/failed.csv } }\n",
             folder, folder);
    tw_error error = {0};
    assert_int_equal(tw_run_text(text, &error), TW_ERR_DATA);
    assert_int_equal(error.record, 1);
    assert_non_null(strstr(error.file, "in.csv"));
    assert_null(read_file("failed.csv"));
}

static void *cancel_soon(void *job) {
    usleep(100000);
    tw_job_cancel(job);
    return NULL;
}

static void cancelling(void **state) {
    (void)state;
    tw_job *job = NULL;
    tw_error error = {0};
    assert_int_equal(tw_job_parse(endless, strlen(endless), "job.yaml", &job, &error), TW_OK);
    assert_int_equal(tw_job_start(job, &error), TW_OK);
    assert_false(tw_job_wait(job, 0));
    pthread_t thread;
    double start = now();
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, job), 0);
    tw_progress progress;
    tw_job_progress(job, &progress);
    assert_true(tw_job_wait(job, 10000));
    assert_true(now() - start < 1.5);
    pthread_join(thread, NULL);
    assert_int_equal(tw_job_result(job, &error), TW_ERR_CANCELLED);
    assert_string_equal(tw_job_summary(job)->status, "interrupted");
    tw_job_cancel(job);
    tw_job_free(job);
}

static void freed_while_it_runs(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        tw_job *job = NULL;
        tw_error error = {0};
        assert_int_equal(tw_job_parse(endless, strlen(endless), "job.yaml", &job, &error), TW_OK);
        assert_int_equal(tw_job_start(job, &error), TW_OK);
        usleep((useconds_t)i * 3000);
        tw_job_free(job);
    }
}

static void *run_several(void *number) {
    char text[600], name[40];
    snprintf(name, sizeof name, "several-%d.csv", *(int *)number);
    counting_job(text, sizeof text, name);
    for (int i = 0; i < 10; i++) {
        tw_error error = {0};
        if (tw_run_text(text, &error) != TW_OK) return "a job failed";
        char *out = read_file(name);
        bool right = out && strcmp(out, "a,n\nx,2\ny,1\n") == 0;
        free(out);
        if (!right) return "another result";
    }
    return NULL;
}

static void several_jobs_at_a_time(void **state) {
    (void)state;
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, run_several, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        if (wrong) fail_msg("%s", (const char *)wrong);
    }
}

static void lists_and_help(void **state) {
    (void)state;
    const char *name, *summary;
    bool group = false;
    for (size_t i = 0; tw_list(TW_STEP, i, &name, &summary); i++) {
        assert_true(name[0] && summary[0]);
        group |= strcmp(name, "group") == 0;
        char *help = NULL;
        assert_int_equal(tw_help(name, &help, NULL), TW_OK);
        assert_non_null(strstr(help, name));
        tw_free(help);
    }
    assert_true(group);
    char *help = NULL;
    tw_error error = {0};
    assert_int_equal(tw_help("grup", &help, &error), TW_ERR_JOB);
    assert_non_null(strstr(error.message, "group"));
}

typedef struct collected {
    unsigned char bytes[20000];
    size_t size;
} collected;

static int collect(void *context, const void *bytes, size_t size) {
    collected *c = context;
    if (size > sizeof c->bytes - c->size) return 1;
    memcpy(c->bytes + c->size, bytes, size);
    c->size += size;
    return 0;
}

static int refuse(void *context, const void *bytes, size_t size) {
    (void)context, (void)bytes, (void)size;
    return 1;
}

static void generated_data(void **state) {
    (void)state;
    static collected first, second;
    const char *options[] = {"rows=100"};
    tw_error error = {0};
    assert_int_equal(tw_generate("records", options, 1, 7, 1, collect, &first, &error), TW_OK);
    assert_int_equal(tw_generate("records", options, 1, 7, 4, collect, &second, &error), TW_OK);
    assert_int_equal(first.size, 10000);
    assert_memory_equal(first.bytes, second.bytes, sizeof first.bytes);
    assert_int_equal(tw_generate("records", options, 1, 7, 2, refuse, NULL, &error), TW_ERR_IO);
    assert_int_equal(tw_generate("recrods", options, 1, 7, 1, collect, &first, &error), TW_ERR_JOB);
}

static int begin(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    write_file("in.csv", "a,b\nx,1\ny,2\nx,3\n");
    return 0;
}

static int end(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_call),
        cmocka_unit_test(every_error_is_told),
        cmocka_unit_test(step_by_step),
        cmocka_unit_test(a_failed_run_says_where),
        cmocka_unit_test(cancelling),
        cmocka_unit_test(freed_while_it_runs),
        cmocka_unit_test(several_jobs_at_a_time),
        cmocka_unit_test(lists_and_help),
        cmocka_unit_test(generated_data),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
