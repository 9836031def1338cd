/* What a followed folder rests on: patterns matched folder by folder, and the map of paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/glob.h"
#include "io/path_map.h"
#include "io/path_pattern.h"

/* Whether the pattern takes "a/b/c", walked name by name. */
static bool takes(const char *pattern, const char *path) {
    path_pattern p;
    tw_error err;
    assert_int_equal(path_pattern_read(pattern, &p, &err), TW_OK);
    uint64_t states = path_pattern_begin(&p);
    char name[64];
    bool below = !strncmp(path, p.base, strlen(p.base));
    if (below) path += strlen(p.base);
    else states = 0;
    for (size_t n; path[n = strcspn(path, "/")]; path += n + 1) {
        snprintf(name, sizeof name, "%.*s", (int)n, path);
        states = path_pattern_enter(&p, states, name, true);
    }
    bool found = states && path_pattern_takes(&p, states, path);
    path_pattern_free(&p);
    return found;
}

static const char *const paths[] = {"w/a.csv", "w/b.txt", "w/x/a.csv", "w/x/y/a.csv", "w/x/y/b.txt", "w/xx/y/c.csv", "w/.h/a.csv"};

/* As glob_paths takes them. */
static void test_patterns(void **state) {
    const char *const patterns[] = {"w/*.csv", "w/**/*.csv", "w/**", "w/x/*.csv", "w/*/*/*", "w/**/y/*", "w/x*/**/[ac].csv",
                                    "w/**/**/a.*", "**/*.txt", "w/?/a.csv", "w/\\.h/*"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        path_list found;
        size_t wrong;
        tw_error err;
        if (glob_paths(&patterns[i], 1, &found, &wrong, &err) != TW_OK) fail_msg("%s: %s", patterns[i], err.message);
        for (size_t k = 0; k < sizeof paths / sizeof *paths; k++) {
            bool expected = false;
            for (size_t n = 0; n < found.n; n++) expected |= !strcmp(found.paths[n], paths[k]);
            if (takes(patterns[i], paths[k]) != expected) fail_msg("'%s' and '%s'", patterns[i], paths[k]);
        }
        path_list_free(&found);
    }
}

static void test_folders_and_names(void **state) {
    assert_true(takes("w", "w/a.csv"));
    assert_true(takes("w/", "w/a.csv"));
    assert_false(takes("w", "w/x/a.csv"));
    assert_false(takes("w/*", "w/.a"));
    assert_false(takes("w/.*", "w/.a"));
    assert_false(takes("w/*", "w/a.tmp"));
    assert_false(takes("w/*", "w/a.part"));
    const char *const wrong[] = {"", "nothing", "nothing/*", "w/a.csv", "w/a.csv/*"};
    for (size_t i = 0; i < 5; i++) {
        path_pattern p;
        tw_error err;
        if (path_pattern_read(wrong[i], &p, &err) != TW_ERR_JOB) fail_msg("'%s' was taken", wrong[i]);
    }
}

/* Against an array: keys that collide, removals in the middle of runs. */
static void test_map(void **state) {
    enum { KEYS = 300, ROUNDS = 20000 };
    path_map m = {0};
    uint64_t identity[KEYS] = {0}, seed = 1;
    uint32_t n = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t k = (uint32_t)(seed >> 33) % KEYS;
        uint64_t key = (uint64_t)(k / 4 + 1) + ((uint64_t)(k % 4) << 40); /* four with one home */
        path_entry *e = path_map_find(&m, key);
        assert_int_equal(e ? e->identity : 0, identity[k]);
        if (seed >> 62) {
            assert_int_equal(path_map_get(&m, key, &e, NULL), TW_OK);
            n += !identity[k];
            e->identity = identity[k] = i + 1;
        } else {
            path_map_remove(&m, key);
            n -= identity[k] != 0;
            identity[k] = 0;
        }
        assert_int_equal(m.n, n);
    }
    path_map_free(&m);
}

static int enter_folder(void **state) {
    char folder[] = "/tmp/follow_test_XXXXXX";
    if (!mkdtemp(folder) || chdir(folder) != 0) return -1;
    const char *const folders[] = {"w", "w/x", "w/x/y", "w/xx", "w/xx/y", "w/.h"};
    for (size_t i = 0; i < 6; i++)
        if (mkdir(folders[i], 0700) != 0) return -1;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        FILE *f = fopen(paths[i], "w");
        if (!f) return -1;
        fclose(f);
    }
    *state = strdup(folder);
    return *state ? 0 : -1;
}

static int leave_folder(void **state) {
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    free(*state);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_folders_and_names),
        cmocka_unit_test(test_map),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
