#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/bad_records.h"
#include "engine/dead_letters.h"

static char folder[] = "/tmp/thalweg-bad-XXXXXX";
static char path[64];

static int make_folder(void **state) {
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/dead.json", folder);
    return 0;
}
static int remove_folder(void **state) {
    unlink(path);
    return rmdir(folder); /* fails when something was left in it */
}

static unsigned files(void) {
    unsigned n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

static char *read_file(void) {
    static char text[1 << 16];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

static tw_status give(run_context *run, const char *file, uint64_t record, const char *raw, size_t n, const char *reason,
                      tw_error *err) {
    return bad_record(run, file, record, (const uint8_t *)raw, n, reason, err);
}

static void test_fail_says_where(void **state) {
    run_context run = {0};
    tw_error err = {0};
    assert_int_equal(bad_records_create(BAD_FAIL, NULL, &run.bad, &err), TW_OK);
    assert_int_equal(give(&run, "a.csv", 17, "x,y", 3, "too few fields, 100% sure", &err), TW_ERR_DATA);
    assert_int_equal(err.code, TW_ERR_DATA);
    assert_string_equal(err.file, "a.csv");
    assert_int_equal(err.record, 17);
    assert_string_equal(err.message, "too few fields, 100% sure");
    assert_int_equal(give(&run, NULL, 0, NULL, 0, "no place", &err), TW_ERR_DATA);
    assert_string_equal(err.file, "");
    assert_false(bad_records_keep_raw(run.bad));
    bad_records_free(run.bad);
}

static void test_skip_counts(void **state) {
    run_context run = {0};
    assert_int_equal(bad_records_create(BAD_SKIP, NULL, &run.bad, NULL), TW_OK);
    for (int i = 0; i < 5; i++) assert_int_equal(give(&run, "a.csv", 1, "x", 1, "bad", NULL), TW_OK);
    assert_int_equal(bad_records_count(run.bad), 5);
    assert_int_equal(bad_records_commit(run.bad, NULL), TW_OK);
    bad_records_free(run.bad);
    assert_int_equal(bad_records_count(NULL), 0);
}

static void test_dead_letters_hold_the_record_as_it_came(void **state) {
    run_context run = {0};
    assert_int_equal(bad_records_create(BAD_DEAD_LETTER, path, &run.bad, NULL), TW_OK);
    assert_true(bad_records_keep_raw(run.bad));
    assert_int_equal(give(&run, "a.csv", 1, "x,\"y\\\n\t\r\x01\xc3\xa9", 11, "no number 'y'", NULL), TW_OK);
    assert_int_equal(give(&run, NULL, 0, NULL, 0, "made \"inside\"", NULL), TW_OK);
    assert_int_equal(give(&run, "b", 18446744073709551615u, "", 0, "empty", NULL), TW_OK);
    assert_int_equal(give(&run, "c\xff.csv", 2, "\xff", 1, "one \xff", NULL), TW_OK);
    assert_int_equal(give(&run, "c", 3, "\xff\x00", 2, "two", NULL), TW_OK);
    assert_int_equal(give(&run, "c", 4, "a\xff\xfe", 3, "three", NULL), TW_OK);
    assert_int_equal(access(path, F_OK), -1); /* not visible yet */
    assert_int_equal(bad_records_commit(run.bad, NULL), TW_OK);
    assert_string_equal(read_file(),
                        "{\"file\": \"a.csv\", \"record\": 1, \"reason\": \"no number 'y'\", \"data\": "
                        "\"x,\\\"y\\\\\\n\\t\\r\\u0001\xc3\xa9\"}\n"
                        "{\"file\": null, \"record\": 0, \"reason\": \"made \\\"inside\\\"\", \"data\": null}\n"
                        "{\"file\": \"b\", \"record\": 18446744073709551615, \"reason\": \"empty\", \"data\": \"\"}\n"
                        "{\"file\": \"c\\ufffd.csv\", \"record\": 2, \"reason\": \"one \\ufffd\", \"data_base64\": \"/w==\"}\n"
                        "{\"file\": \"c\", \"record\": 3, \"reason\": \"two\", \"data_base64\": \"/wA=\"}\n"
                        "{\"file\": \"c\", \"record\": 4, \"reason\": \"three\", \"data_base64\": \"Yf/+\"}\n");
    bad_records_free(run.bad);
    assert_int_equal(files(), 1);
    unlink(path);
}

static void test_what_is_not_committed_goes(void **state) {
    run_context run = {0};
    FILE *old = fopen(path, "w");
    fputs("of the run before\n", old);
    fclose(old);
    assert_int_equal(bad_records_create(BAD_DEAD_LETTER, path, &run.bad, NULL), TW_OK);
    assert_int_equal(give(&run, "a", 1, "x", 1, "bad", NULL), TW_OK);
    assert_in_range(files(), 1, 2); /* one has no name, where the file system can do that */
    bad_records_free(run.bad);
    assert_int_equal(files(), 1);
    assert_string_equal(read_file(), "of the run before\n");
    unlink(path);
}

static void test_two_runs_with_one_path(void **state) {
    run_context a = {0}, b = {0};
    assert_int_equal(bad_records_create(BAD_DEAD_LETTER, path, &a.bad, NULL), TW_OK);
    assert_int_equal(bad_records_create(BAD_DEAD_LETTER, path, &b.bad, NULL), TW_OK);
    assert_int_equal(give(&a, "a", 1, "x", 1, "of a", NULL), TW_OK);
    assert_int_equal(give(&b, "b", 1, "x", 1, "of b", NULL), TW_OK);
    assert_int_equal(bad_records_commit(a.bad, NULL), TW_OK);
    assert_non_null(strstr(read_file(), "of a"));
    bad_records_free(a.bad);
    assert_int_equal(bad_records_commit(b.bad, NULL), TW_OK);
    assert_non_null(strstr(read_file(), "of b"));
    assert_null(strstr(read_file(), "of a"));
    bad_records_free(b.bad);
    unlink(path);
}

static void test_paths_that_cannot_be(void **state) {
    run_context run = {0};
    tw_error err = {0};
    assert_int_equal(bad_records_create(BAD_DEAD_LETTER, "/tmp/no/such/folder/x", &run.bad, &err), TW_ERR_IO);
    assert_non_null(strstr(err.message, "/tmp/no/such/folder/x"));
    assert_int_equal(bad_records_create(BAD_DEAD_LETTER, folder, &run.bad, &err), TW_ERR_IO);
    assert_non_null(strstr(err.message, "directory"));
    assert_int_equal(bad_records_create(BAD_DEAD_LETTER, "/dev/null", &run.bad, &err), TW_OK);
    assert_int_equal(give(&run, "a", 1, "x", 1, "bad", NULL), TW_OK);
    assert_int_equal(bad_records_commit(run.bad, &err), TW_OK);
    bad_records_free(run.bad);
    assert_int_not_equal(access("/dev/null", W_OK), -1);
    assert_int_equal(files(), 0);
}

/* A row of a batch: its record, as the origin tells. */
static void test_rows_of_batches(void **state) {
    run_context run = {0};
    memory *m;
    schema *s;
    batch *b;
    view raw[3] = {view_make((const uint8_t *)"one", 3), view_make((const uint8_t *)"two", 3),
                   view_make((const uint8_t *)"a third record", 14)};
    uint32_t records[4] = {2, 0, UINT32_MAX, 1};
    assert_int_equal(memory_create(1 << 20, &m, NULL), TW_OK);
    assert_int_equal(schema_new(NULL, NULL, 0, &s, NULL), TW_OK);
    assert_int_equal(batch_new(s, 4, &b, NULL), TW_OK);
    assert_int_equal(origin_new("in.csv", 100, &b->origin, NULL), TW_OK);
    assert_int_equal(buffer_wrap(raw, sizeof raw, NULL, NULL, &b->origin->raw_buffer, NULL), TW_OK);
    assert_int_equal(buffer_wrap(records, sizeof records, NULL, NULL, &b->origin_rows, NULL), TW_OK);
    assert_int_equal(bad_records_create(BAD_DEAD_LETTER, path, &run.bad, NULL), TW_OK);
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(bad_row(&run, b, i, "derive", "no", NULL), TW_OK);
    assert_int_equal(bad_records_commit(run.bad, NULL), TW_OK);
    assert_string_equal(
        read_file(),
        "{\"file\": \"in.csv\", \"record\": 102, \"reason\": \"derive: no\", \"data\": \"a third record\"}\n"
        "{\"file\": \"in.csv\", \"record\": 100, \"reason\": \"derive: no\", \"data\": \"one\"}\n"
        "{\"file\": null, \"record\": 0, \"reason\": \"derive: no\", \"data\": null}\n"
        "{\"file\": \"in.csv\", \"record\": 101, \"reason\": \"derive: no\", \"data\": \"two\"}\n");
    bad_records_free(run.bad);
    tw_error err = {0};
    assert_int_equal(bad_records_create(BAD_FAIL, NULL, &run.bad, NULL), TW_OK);
    assert_int_equal(bad_row(&run, b, 0, "derive", "division by zero", &err), TW_ERR_DATA);
    assert_string_equal(err.message, "derive: division by zero");
    assert_string_equal(err.file, "in.csv");
    assert_int_equal(err.record, 102);
    bad_records_free(run.bad);
    batch_unref(b);
    schema_unref(s);
    memory_destroy(m);
    unlink(path);
}

enum { THREADS = 4, EACH = 500 };

static void *give_many(void *context) {
    char raw[600];
    for (int i = 0; i < EACH; i++) {
        memset(raw, 'a' + i % 26, sizeof raw);
        if (give(context, "f", (uint64_t)i, raw, (size_t)i % sizeof raw, "bad", NULL) != TW_OK) abort();
    }
    return NULL;
}

static void test_lines_stay_whole(void **state) {
    run_context run = {0};
    pthread_t threads[THREADS];
    assert_int_equal(bad_records_create(BAD_DEAD_LETTER, path, &run.bad, NULL), TW_OK);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, give_many, &run), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(bad_records_count(run.bad), THREADS * EACH);
    assert_int_equal(bad_records_commit(run.bad, NULL), TW_OK);
    bad_records_free(run.bad);
    FILE *f = fopen(path, "r");
    char line[2000];
    unsigned n = 0;
    for (; fgets(line, sizeof line, f); n++) {
        unsigned record;
        char data[1000] = "";
        assert_true(sscanf(line, "{\"file\": \"f\", \"record\": %u, \"reason\": \"bad\", \"data\": \"%999[a-z]", &record, data) >= 1);
        assert_int_equal(strlen(data), record % 600);
        for (size_t i = 0; i < strlen(data); i++) assert_int_equal(data[i], 'a' + record % 26);
    }
    fclose(f);
    assert_int_equal(n, THREADS * EACH);
    unlink(path);
}

static void put(dead_letters *d, const char *reason) { assert_int_equal(dead_letters_put(d, "a", 1, NULL, 0, reason, NULL), TW_OK); }

static unsigned lines(void) {
    unsigned n = 0;
    for (const char *p = read_file(); (p = strchr(p, '\n')); p++) n++;
    return n;
}

/* What came after the last save comes again when a run goes on, and is there once. */
static void test_letters_of_an_endless_flow(void **state) {
    dead_letters *d;
    int64_t first, second, third;
    FILE *f = fopen(path, "w");
    fputs("of another run\n", f);
    fclose(f);
    assert_int_equal(dead_letters_open(path, &d, NULL), TW_OK);
    put(d, "one");
    assert_string_equal(read_file(), "of another run\n");
    assert_int_equal(dead_letters_append(d, &first, NULL), TW_OK);
    assert_int_equal(lines(), 1);
    put(d, "two");
    put(d, "three");
    assert_int_equal(lines(), 1);
    assert_int_equal(dead_letters_append(d, &second, NULL), TW_OK);
    assert_int_equal(lines(), 3);
    assert_int_equal(second, 3 * first + 2);

    dead_letters *other;
    assert_int_equal(dead_letters_open(path, &other, NULL), TW_OK);
    assert_int_equal(dead_letters_append(other, &third, NULL), TW_ERR_IO);
    dead_letters_free(other);
    put(d, "is lost");
    dead_letters_free(d);
    assert_int_equal(lines(), 3);

    assert_int_equal(dead_letters_open(path, &d, NULL), TW_OK);
    dead_letters_resume(d, first);
    put(d, "two");
    assert_int_equal(dead_letters_append(d, &third, NULL), TW_OK);
    assert_int_equal(lines(), 2);
    assert_int_equal(third, 2 * first);
    assert_int_equal(unlink(path), 0);
    dead_letters_free(d);

    assert_int_equal(dead_letters_open(path, &d, NULL), TW_OK);
    dead_letters_resume(d, third);
    put(d, "three");
    assert_int_equal(dead_letters_append(d, &third, NULL), TW_OK);
    assert_int_equal(lines(), 1);
    dead_letters_free(d);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail_says_where),
        cmocka_unit_test(test_skip_counts),
        cmocka_unit_test(test_letters_of_an_endless_flow),
        cmocka_unit_test(test_dead_letters_hold_the_record_as_it_came),
        cmocka_unit_test(test_what_is_not_committed_goes),
        cmocka_unit_test(test_two_runs_with_one_path),
        cmocka_unit_test(test_paths_that_cannot_be),
        cmocka_unit_test(test_rows_of_batches),
        cmocka_unit_test(test_lines_stay_whole),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
