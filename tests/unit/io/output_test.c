#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/compress.h"
#include "io/output_folder.h"

static char folder[64];

static int setup(void **state) {
    snprintf(folder, sizeof folder, "/tmp/thalweg-output-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return chdir(folder);
}
static int teardown(void **state) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("/") != 0 || system(command) != 0;
}

static void put(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect(const char *path, const char *text) {
    char got[4096] = "";
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("no file '%s'", path);
    got[fread(got, 1, sizeof got - 1, f)] = 0;
    fclose(f);
    assert_string_equal(got, text);
}

/* Names in a folder, hidden ones too, in order, a blank after each. */
static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static void expect_names(const char *path, const char *names) {
    char *found[64], all[2048] = "";
    size_t n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) && n < 64;)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) found[n++] = strdup(e->d_name);
    closedir(d);
    qsort(found, n, sizeof *found, by_name);
    for (size_t i = 0; i < n; i++) {
        strcat(strcat(all, found[i]), " ");
        free(found[i]);
    }
    assert_string_equal(all, names);
}

static const unsigned ways[] = {0, OUTPUT_NAMED};

static output_file *open_file(const char *path, unsigned mode) {
    output_file *f;
    tw_error err = {0};
    if (output_file_open(path, mode, &f, &err) != TW_OK) fail_msg("%s", err.message);
    return f;
}

/* Writes `text` behind what is kept, and publishes. */
static void write_file(const char *path, unsigned mode, const char *text) {
    output_file *f = open_file(path, mode);
    assert_int_equal(output_file_write(f, text, strlen(text), output_file_kept_bytes(f), NULL), TW_OK);
    assert_int_equal(output_file_finish(f, true, NULL, NULL), TW_OK);
    assert_int_equal(output_file_publish(f, true, NULL), TW_OK);
    output_file_free(f);
}

static void check_refused(const char *path, unsigned mode, const char *words) {
    output_file *f;
    tw_error err = {0};
    assert_int_equal(output_file_open(path, mode, &f, &err), TW_ERR_IO);
    if (!strstr(err.message, words) || !strstr(err.message, path)) fail_msg("'%s' without '%s'", err.message, words);
}

static void a_file_appears_at_the_end(void **state) {
    for (int i = 0; i < 2; i++) {
        output_file *f = open_file("new", ways[i]);
        assert_int_equal(output_file_write(f, "b", 1, 1, NULL), TW_OK);
        assert_int_equal(output_file_write(f, "a", 1, 0, NULL), TW_OK);
        assert_int_equal(access("new", F_OK), -1);
        assert_int_equal(output_file_finish(f, false, NULL, NULL), TW_OK);
        assert_int_equal(access("new", F_OK), -1);
        assert_int_equal(output_file_publish(f, false, NULL), TW_OK);
        output_file_free(f);
        expect("new", "ab");
        expect_names(".", "new ");
        assert_int_equal(unlink("new"), 0);
    }
}

static void one_not_published_leaves_nothing(void **state) {
    for (int i = 0; i < 2; i++) {
        put("old", "old");
        output_file *f = open_file("old", ways[i]);
        assert_int_equal(output_file_write(f, "new", 3, 0, NULL), TW_OK);
        assert_int_equal(output_file_finish(f, false, NULL, NULL), TW_OK);
        output_file_free(f);
        expect("old", "old");
        expect_names(".", "old ");
        output_file_free(open_file("a/b/c", ways[i]));
        expect_names(".", "old "); /* folders made on the way are gone too */
        unlink("old");
    }
}

static void modes(void **state) {
    for (int i = 0; i < 2; i++) {
        write_file("f", OUTPUT_REPLACE | ways[i], "one\n");
        assert_int_equal(chmod("f", 0640), 0);
        write_file("f", OUTPUT_REPLACE | ways[i], "two\n");
        expect("f", "two\n");
        struct stat info;
        assert_int_equal(stat("f", &info), 0);
        assert_int_equal(info.st_mode & 0777, 0640);
        write_file("f", OUTPUT_APPEND | ways[i], "three\n");
        expect("f", "two\nthree\n");
        check_refused("f", OUTPUT_FAIL | ways[i], "exists");
        write_file("fresh", OUTPUT_FAIL | ways[i], "x");
        write_file("appended", OUTPUT_APPEND | ways[i], "y");
        expect("fresh", "x");
        expect("appended", "y");
        expect_names(".", "appended f fresh ");
        unlink("f"), unlink("fresh"), unlink("appended");
    }
}

static void one_that_appears_meanwhile(void **state) {
    for (int i = 0; i < 2; i++) {
        output_file *f = open_file("f", OUTPUT_FAIL | ways[i]);
        put("f", "theirs");
        assert_int_equal(output_file_publish(f, false, NULL), TW_ERR_IO);
        output_file_free(f);
        expect("f", "theirs");
        expect_names(".", "f ");
        unlink("f");
        f = open_file("f", OUTPUT_REPLACE | ways[i]);
        put("f", "theirs");
        assert_int_equal(output_file_write(f, "ours", 4, 0, NULL), TW_OK);
        assert_int_equal(output_file_publish(f, false, NULL), TW_OK);
        output_file_free(f);
        expect("f", "ours");
        unlink("f");
    }
}

static void append_notices_changes(void **state) {
    put("f", "torn");
    output_file *f = open_file("f", OUTPUT_APPEND);
    assert_int_equal(output_file_kept_bytes(f), 4);
    assert_false(output_file_ends_line(f));
    put("f", "torn and more");
    tw_error err;
    assert_int_equal(output_file_finish(f, false, NULL, &err), TW_ERR_IO);
    output_file_free(f);
    expect("f", "torn and more");
}

static void links_are_followed(void **state) {
    assert_int_equal(mkdir("real", 0777), 0);
    put("real/f", "old");
    assert_int_equal(symlink("real/f", "link"), 0);
    write_file("link", OUTPUT_REPLACE, "new");
    expect("real/f", "new");
    struct stat info;
    assert_int_equal(lstat("link", &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    expect_names("real", "f ");
    expect_names(".", "link real ");
}

static void wrong_places(void **state) {
    assert_int_equal(mkdir("d", 0777), 0);
    check_refused("d", OUTPUT_REPLACE, "directory");
    put("plain", "");
    check_refused("plain/x", OUTPUT_REPLACE, "cannot");
    expect_names(".", "d plain ");
}

static void a_limit_of_file_size(void **state) {
    struct rlimit before, small = {1 << 16, 1 << 16};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    char *bytes = calloc(1, 1 << 17);
    for (int i = 0; i < 2; i++) {
        output_file *f = open_file("f", ways[i]);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        tw_error err;
        assert_int_equal(output_file_write(f, bytes, 1 << 17, 0, &err), TW_ERR_IO);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_non_null(strstr(err.message, "cannot write 'f'"));
        output_file_free(f);
        expect_names(".", "");
    }
    free(bytes);
}

/* ---- streams ---- */

static void a_reader_that_is_gone(void **state) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    tw_error err;
    assert_int_equal(write_stream(ends[1], "a pipe", "x", 1, NULL, &err), TW_ERR_IO); /* and no SIGPIPE */
    assert_non_null(strstr(err.message, "pipe"));
    close(ends[1]);
}

static void *cancel_soon(void *flag) {
    usleep(100000);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

static void a_full_pipe_can_be_left(void **state) {
    int ends[2];
    atomic_bool cancelled = false;
    assert_int_equal(pipe(ends), 0); /* blocking */
    char *bytes = calloc(1, 1 << 20);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &cancelled), 0);
    assert_int_equal(write_stream(ends[1], "a pipe", bytes, 1 << 20, &cancelled, NULL), TW_ERR_CANCELLED);
    pthread_join(thread, NULL);
    close(ends[0]);
    close(ends[1]);
    free(bytes);
}

/* ---- folders ---- */

static void write_part(output_folder *f, const char *text) {
    int fd;
    assert_int_equal(output_folder_add(f, ".txt", &fd, NULL), TW_OK);
    assert_int_equal(write_whole(fd, "part", text, strlen(text), 0, NULL), TW_OK);
    close(fd);
}

static void write_folder(const char *path, output_mode mode, const char *first, const char *second) {
    output_folder *f;
    tw_error err;
    if (output_folder_open(path, mode, &f, &err) != TW_OK) fail_msg("%s", err.message);
    write_part(f, first);
    if (second) write_part(f, second);
    assert_int_equal(output_folder_publish(f, true, NULL), TW_OK);
    output_folder_free(f);
}

static void folders(void **state) {
    output_folder *f;
    tw_error err;
    write_folder("a/out/", OUTPUT_REPLACE, "1", "2");
    expect_names("a", "out ");
    expect_names("a/out", "part-00000.txt part-00001.txt ");
    write_folder("a/out", OUTPUT_REPLACE, "3", NULL);
    expect_names("a/out", "part-00000.txt ");
    expect("a/out/part-00000.txt", "3");
    write_folder("a/out/", OUTPUT_APPEND, "4", "5");
    expect_names("a/out", "part-00000.txt part-00001.txt part-00002.txt ");
    expect("a/out/part-00002.txt", "5");
    assert_int_equal(output_folder_open("a/out/", OUTPUT_FAIL, &f, &err), TW_ERR_IO);
    assert_non_null(strstr(err.message, "a/out/"));
    put("a/out/notes", "mine");
    write_folder("a/out/", OUTPUT_REPLACE, "6", NULL);
    expect_names("a/out", "notes part-00000.txt ");
    expect("a/out/part-00000.txt", "6");
    expect_names("a", "out ");
    assert_int_equal(mkdir("empty", 0777), 0);
    write_folder("empty", OUTPUT_FAIL, "7", NULL);
    expect("empty/part-00000.txt", "7");
}

static void a_folder_not_published_leaves_nothing(void **state) {
    output_folder *f;
    assert_int_equal(output_folder_open("b/out/", OUTPUT_REPLACE, &f, NULL), TW_OK);
    write_part(f, "1");
    output_folder_free(f);
    expect_names(".", "");
    put("plain", "");
    tw_error err;
    assert_int_equal(output_folder_open("plain/", OUTPUT_REPLACE, &f, &err), TW_ERR_IO);
    expect_names(".", "plain ");
}

/* What a killed process left is removed by the next run, what a living one has is not. */
static void leftovers(void **state) {
    pid_t child = fork();
    if (child == 0) {
        output_folder *f;
        int fd;
        if (output_folder_open("out/", OUTPUT_REPLACE, &f, NULL) == TW_OK) output_folder_add(f, ".txt", &fd, NULL);
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(access("out", F_OK), -1);
    output_folder *living;
    assert_int_equal(output_folder_open("out/", OUTPUT_REPLACE, &living, NULL), TW_OK);
    write_part(living, "living");
    write_folder("out/", OUTPUT_REPLACE, "1", NULL);
    assert_int_equal(output_folder_publish(living, false, NULL), TW_OK);
    output_folder_free(living);
    expect_names(".", "out ");
    expect("out/part-00000.txt", "living");
}

/* ---- compression ---- */

static void members_stand_for_themselves(void **state) {
    static const struct {
        compression kind;
        const char *path, *command;
    } cases[] = {{COMPRESSION_GZIP, "f.gz", "gzip -dc f.gz > back"},
                 {COMPRESSION_ZSTD, "f.zst", "zstd -dqc f.zst > back"},
                 {COMPRESSION_LZ4, "f.lz4", "lz4 -dqc f.lz4 > back"}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(compression_of_path(cases[i].path), cases[i].kind);
        compressor *c;
        assert_int_equal(compressor_new(cases[i].kind, &c, NULL), TW_OK);
        FILE *f = fopen(cases[i].path, "w"), *plain = fopen("plain", "w");
        uint64_t seed = 1;
        const size_t sizes[] = {100, 0, 1, 300000};
        for (int k = 0; k < 4; k++) {
            size_t room = compressor_bound(c, sizes[k]), made;
            uint8_t *in = malloc(sizes[k] + 1), *out = malloc(room);
            for (size_t b = 0; b < sizes[k]; b++) /* the last one does not shrink */
                in[b] = k == 3 ? (uint8_t)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 56) : 'a';
            assert_int_equal(compressor_run(c, in, sizes[k], out, room, &made, NULL), TW_OK);
            assert_int_equal(fwrite(out, 1, made, f), made);
            fwrite(in, 1, sizes[k], plain);
            free(in);
            free(out);
        }
        fclose(f);
        fclose(plain);
        compressor_free(c);
        assert_int_equal(system(cases[i].command), 0);
        assert_int_equal(system("cmp -s plain back"), 0);
    }
    assert_int_equal(compression_of_path("f.csv"), COMPRESSION_NONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_file_appears_at_the_end), TEST(one_not_published_leaves_nothing), TEST(modes),
        TEST(one_that_appears_meanwhile), TEST(append_notices_changes), TEST(links_are_followed),
        TEST(wrong_places), TEST(a_limit_of_file_size), TEST(a_reader_that_is_gone), TEST(a_full_pipe_can_be_left),
        TEST(folders), TEST(a_folder_not_published_leaves_nothing), TEST(leftovers),
        TEST(members_stand_for_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
