/* Whole jobs from generated data to files: what comes out is what the generator writes by itself, whatever
 * the number of workers, and the runtime's threads meet in the sinks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "thalweg/thalweg.h"

static char folder[64];

static int setup(void **state) {
    snprintf(folder, sizeof folder, "/tmp/thalweg-sinks-XXXXXX");
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}
static int teardown(void **state) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("/") != 0 || system(command) != 0;
}

static int keep(void *context, const void *bytes, size_t size) { return text_append(context, bytes, size) != TW_OK; }

/* The bytes of 20000 records. */
static struct text records(void) {
    struct text t = {0};
    const char *rows = "rows=20000";
    assert_int_equal(tw_generate("records", &rows, 1, 7, 2, keep, &t, NULL), TW_OK);
    return t;
}

static void append_file(struct text *t, const char *command) {
    char bytes[65536];
    FILE *f = popen(command, "r");
    assert_non_null(f);
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, f)) > 0;) text_append(t, bytes, n);
    assert_int_equal(pclose(f), 0);
}

static void run(tw_status expected, const char *words, const char *format, ...) {
    char job[2048];
    tw_error err = {0};
    va_list list;
    va_start(list, format);
    vsnprintf(job, sizeof job, format, list);
    va_end(list);
    tw_status status = tw_run_text(job, &err);
    if (status != expected || (words && !strstr(err.message, words)))
        fail_msg("%s: %s '%s'\n%s", tw_status_name(status), err.file, err.message, job);
}

#define RECORDS "source: {generate: {kind: records, rows: 20000, seed: 7}}\n"

static void every_setting_gives_the_same_file(void **state) {
    static const int workers[] = {1, 2, 8}, batches[] = {7, 1000, 65536};
    static const char *const memory[] = {"32MiB", "256MiB"};
    static const char *const shown[][2] = {
        {"out", "cat out"}, {"out.gz", "gzip -dc out.gz"}, {"out.zst", "zstd -dqc out.zst"},
        {"parts/", "cat parts/*"}, {"parts.lz4/", "cat parts.lz4/* | lz4 -dqc"}};
    struct text expected = records();
    for (int i = 0; i < 18; i++)
        for (size_t k = 0; k < sizeof shown / sizeof *shown; k++) {
            run(TW_OK, NULL, RECORDS "sink: {file: {path: %s, format: records}}\n"
                "run: {parallelism: %d, batch_rows: %d, memory: %s}\n",
                shown[k][0], workers[i % 3], batches[i / 3 % 3], memory[i / 9]);
            struct text got = {0};
            append_file(&got, shown[k][1]);
            assert_int_equal(got.length, expected.length);
            assert_memory_equal(got.bytes, expected.bytes, got.length);
            text_free(&got);
        }
    text_free(&expected);
}

static void inputs_of_a_union_keep_their_order(void **state) {
    struct text expected = records(), got = {0};
    run(TW_OK, NULL,
        "flows:\n"
        "  a: {source: {generate: {kind: records, rows: 20000, seed: 7}}}\n"
        "  b: {source: {generate: {kind: records, rows: 20000, seed: 7}}, steps: [{union: {with: [a]}}],\n"
        "      sink: {file: {path: out, format: records}}}\n"
        "run: {parallelism: 4, batch_rows: 100}\n");
    append_file(&got, "cat out");
    assert_int_equal(got.length, expected.length * 2);
    assert_memory_equal(got.bytes, expected.bytes, expected.length);
    assert_memory_equal(got.bytes + expected.length, expected.bytes, expected.length);
    text_free(&got);
    text_free(&expected);
}

static void no_rows_still_make_the_file(void **state) {
    static const char *const cases[][3] = {{"out.csv", "cat out.csv", "ts,key,value\n"},
                                           {"out.csv.gz", "gzip -dc out.csv.gz", "ts,key,value\n"},
                                           {"out.json", "cat out.json", ""},
                                           {"out.json.zst", "zstd -dqc out.json.zst", ""},
                                           {"parts.csv/", "cat parts.csv/*", "ts,key,value\n"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text got = {0};
        run(TW_OK, NULL, "source: {generate: {kind: events, rows: 0}}\nsink: {file: {path: %s}}\n", cases[i][0]);
        append_file(&got, cases[i][1]);
        assert_string_equal(text_string(&got), cases[i][2]);
        text_free(&got);
    }
}

static void a_failed_run_leaves_nothing(void **state) {
    static const char *const paths[] = {"out.csv", "a/b/out.csv", "parts/", "a/parts.csv.gz/"};
    for (size_t i = 0; i < 4; i++) {
        run(TW_ERR_DATA, "select",
            "source: {generate: {kind: events, rows: 50000}}\n"
            "steps: [{select: {x: \"1 // (key - 999)\"}}]\n"
            "sink: {file: {path: %s}}\nrun: {parallelism: 2}\n", paths[i]);
        DIR *d = opendir(".");
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d));)
            if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) fail_msg("'%s' is left", e->d_name);
        closedir(d);
    }
}

static void places_that_cannot_be_written(void **state) {
    assert_int_equal(mkdir("d", 0777), 0);
    run(TW_ERR_IO, "'d'", RECORDS "sink: {file: {path: d, format: records}}\n");
    run(TW_ERR_JOB, NULL, RECORDS "sink: {file: {path: out, format: csv, delimiter: '\"'}}\n");
    run(TW_ERR_JOB, "column 'x' of type int64",
        "source: {generate: {kind: events, rows: 1}}\nsteps: [{select: {x: key, y: key}}]\n"
        "sink: {file: {path: out, format: records}}\n");
    run(TW_ERR_IO, "/dev/full", RECORDS "sink: {file: {path: /dev/full, format: records}}\n");
    run(TW_OK, NULL, RECORDS "sink: {file: {path: /dev/null, format: records}}\n");
    run(TW_OK, NULL, RECORDS "sink: {discard: {}}\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_setting_gives_the_same_file), TEST(inputs_of_a_union_keep_their_order),
        TEST(no_rows_still_make_the_file), TEST(a_failed_run_leaves_nothing), TEST(places_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
