#include "base/hidden_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], target[128];

static int enter(void **state) {
    snprintf(folder, sizeof folder, "/tmp/hidden_file_test.XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(target, sizeof target, "%s/out", folder);
    return 0;
}

static int leave(void **state) {
    unlink(target);
    return rmdir(folder);
}

static unsigned files(void) {
    DIR *d = opendir(folder);
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(d));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

static void put(hidden_file *f, const char *text) { assert_int_equal(write(f->fd, text, strlen(text)), strlen(text)); }

static void expect(const char *text) {
    char bytes[32] = "";
    int fd = open(target, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, bytes, sizeof bytes - 1), strlen(text));
    close(fd);
    assert_string_equal(bytes, text);
}

static void it_appears_whole(void **state) {
    for (int named = 0; named < 2; named++) {
        hidden_file f;
        for (int round = 0; round < 2; round++) { /* new, then in place of an old one */
            assert_int_equal(hidden_file_open(target, named, &f), 0);
            assert_int_equal(f.name != NULL, named || f.name != NULL);
            put(&f, round ? "second" : "first");
            assert_int_equal(access(target, F_OK) == 0, round);
            assert_int_equal(hidden_file_publish(&f, target, true), 0);
            hidden_file_close(&f);
            expect(round ? "second" : "first");
            assert_int_equal(files(), 1);
        }
        assert_int_equal(hidden_file_open(target, named, &f), 0);
        assert_int_equal(hidden_file_publish(&f, target, false), EEXIST);
        hidden_file_close(&f);
        expect("second");
        unlink(target);
        assert_int_equal(hidden_file_open(target, named, &f), 0);
        assert_int_equal(hidden_file_publish(&f, target, false), 0);
        hidden_file_close(&f);
        assert_int_equal(files(), 1);
        unlink(target);
        assert_int_equal(hidden_file_open(target, named, &f), 0);
        hidden_file_close(&f);
        assert_int_equal(files(), 0);
    }
}

/* Of a killed process the file stays, until the next one comes; of one that lives it is left alone. */
static void what_was_left_is_removed(void **state) {
    hidden_file mine;
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        if (hidden_file_open(target, true, &mine) != 0) _exit(1);
        (void)!write(ready[1], "x", 1);
        pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(hidden_file_open(target, true, &mine), 0);
    assert_int_equal(files(), 2);
    hidden_file_close(&mine);
    assert_int_equal(files(), 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(files(), 1);
    char other[128];
    snprintf(other, sizeof other, "%s/other", folder);
    assert_int_equal(hidden_file_open(other, true, &mine), 0);
    assert_int_equal(files(), 2); /* another target's are none of its business */
    hidden_file_close(&mine);
    assert_int_equal(hidden_file_open(target, true, &mine), 0);
    assert_int_equal(files(), 1);
    hidden_file_close(&mine);
    assert_int_equal(files(), 0);
    close(ready[0]);
    close(ready[1]);
}

static void no_folder(void **state) {
    hidden_file f;
    assert_int_equal(hidden_file_open("/nonexistent/folder/out", false, &f), ENOENT);
    assert_int_equal(f.fd, -1);
    hidden_file_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_appears_whole, enter, leave),
        cmocka_unit_test_setup_teardown(what_was_left_is_removed, enter, leave),
        cmocka_unit_test(no_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
