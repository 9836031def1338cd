/* checkpoint_command.c: thalweg checkpoint list | inspect | verify | delete. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <stdint.h>

#include "cli/cli.h"

static int print_and_free(char *text) {
    int status = print_out(text);
    tw_free(text);
    return status;
}

static bool read_number(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (*end == 0 && errno == 0 && *out) return true;
    say_error("'%.60s' is no number of a checkpoint", text);
    return false;
}

int command_checkpoint(int argc, char **argv) {
    const char *words[3] = {0};
    bool all = false;
    const flag flags[] = {{"--all", .on = &all}};
    arguments a = {.command = "checkpoint", .flags = flags, .n_flags = 1, .words = words, .words_least = 2, .words_most = 3,
                   .what = "list, inspect, verify or delete, a folder and perhaps a number"};
    uint64_t number = 0;
    if (!arguments_read(&a, argc, argv) || (words[2] && !read_number(words[2], &number))) return EXIT_WRONG;
    tw_error err = {0};
    char *text = NULL;
    tw_status status;
    if (strcmp(words[0], "list") == 0) {
        status = tw_checkpoint_list(words[1], &text, &err);
    } else if (strcmp(words[0], "inspect") == 0) {
        status = tw_checkpoint_inspect(words[1], number, &text, &err);
    } else if (strcmp(words[0], "verify") == 0) {
        status = tw_checkpoint_verify(words[1], number, &err);
        if (status == TW_OK) return print_out("whole\n");
    } else if (strcmp(words[0], "delete") == 0) {
        if (!number && !all) {
            say_error("delete needs a number, or --all");
            return EXIT_WRONG;
        }
        status = tw_checkpoint_delete(words[1], number, &err);
    } else {
        say_error("thalweg checkpoint has no '%.60s': it has list, inspect, verify and delete", words[0]);
        return EXIT_WRONG;
    }
    if (status == TW_OK) return text ? print_and_free(text) : EXIT_DONE;
    say_tw_error(&err);
    return EXIT_FAILED;
}
