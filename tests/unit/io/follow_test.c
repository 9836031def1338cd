/* What a followed folder rests on: patterns, and the map of paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/folder_watch.h"
#include "io/glob.h"
#include "io/path_map.h"

static const char *const paths[] = {"w/a.csv", "w/b.txt", "w/x/a.csv", "w/x/y/a.csv", "w/x/y/b.txt", "w/xx/y/c.csv", "w/.h/a.csv"};

static void test_patterns(void **state) {
    const struct {
        const char *pattern;
        unsigned taken; /* bit i: paths[i] */
    } cases[] = {{"w/*.csv", 0x01},   {"w/**/*.csv", 0x2d},       {"w/**", 0x3f},        {"w/x/*.csv", 0x04}, {"w/*/*/*", 0x38},
                 {"w/**/y/*", 0x38},  {"w/x*/**/[ac].csv", 0x2c}, {"w/**/**/a.*", 0x0d}, {"**/*.txt", 0x12},  {"w/?/a.csv", 0x04},
                 {"w/\\.h/*", 0x40}, {"w/*", 0x03},              {"w/.*/a.csv", 0x40},  {"w/.h/*", 0x40}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        path_list found;
        size_t wrong;
        tw_error err;
        if (glob_paths(&cases[i].pattern, 1, &found, &wrong, &err) != TW_OK) fail_msg("%s: %s", cases[i].pattern, err.message);
        unsigned taken = 0;
        for (size_t n = 0; n < found.n; n++)
            for (size_t k = 0; k < sizeof paths / sizeof *paths; k++)
                if (!strcmp(found.paths[n], paths[k])) taken |= 1u << k;
        if (taken != cases[i].taken) fail_msg("'%s' takes %x", cases[i].pattern, taken);
        path_list_free(&found);
    }
}

static void test_what_can_be_followed(void **state) {
    const char *const cases[] = {"w", "w/", "w/x/*", "**", "", "nothing", "nothing/*", "w/a.csv", "w/a.csv/*"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        folder_watch *w = NULL;
        size_t wrong;
        tw_error err;
        tw_status status = folder_watch_new(&cases[i], 1, 0, &w, &wrong, &err);
        if (status != (i < 4 ? TW_OK : TW_ERR_JOB)) fail_msg("'%s': %d", cases[i], status);
        folder_watch_free(w);
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
        cmocka_unit_test(test_what_can_be_followed),
        cmocka_unit_test(test_map),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
