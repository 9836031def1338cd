/* words_command.c: `list`, `help` and `version`. */
#include <string.h>

#include "bench/grid.h"
#include "cli/cli.h"

static bool takes_nothing(const char *command, int argc, char **argv) {
    arguments a = {.command = command};
    return arguments_read(&a, argc, argv);
}

int command_version(int argc, char **argv) {
    if (!takes_nothing("version", argc, argv)) return EXIT_WRONG;
    struct text t = {0};
    text_printf(&t, "thalweg %s\n", tw_version());
    int status = print_out(text_string(&t));
    text_free(&t);
    return status;
}

static const struct {
    tw_kind kind;
    const char *title;
} groups[] = {
    {TW_STEP, "Steps"},     {TW_SOURCE, "Sources"},       {TW_SINK, "Sinks"},
    {TW_FORMAT, "Formats"}, {TW_GENERATOR, "Generators"}, {TW_SECTION, "Settings"},
};

int command_list(int argc, char **argv) {
    if (!takes_nothing("list", argc, argv)) return EXIT_WRONG;
    bool styled = is_styled(stdout);
    struct text t = {0};
    const char *name, *summary;
    size_t width = 0;
    for (size_t k = 0; k < sizeof groups / sizeof *groups; k++)
        for (size_t i = 0; tw_list(groups[k].kind, i, &name, &summary); i++)
            if (strlen(name) > width) width = strlen(name);
    for (size_t k = 0; k < sizeof groups / sizeof *groups; k++) {
        text_printf(&t, "%s%s%s%s\n", k ? "\n" : "", styled ? "\033[1m" : "", groups[k].title, styled ? "\033[0m" : "");
        for (size_t i = 0; tw_list(groups[k].kind, i, &name, &summary); i++)
            text_printf(&t, "  %-*s  %s\n", (int)width, name, summary);
    }
    text_append_string(&t, "\n'thalweg help NAME' tells more.\n");
    int status = print_out(text_string(&t));
    text_free(&t);
    return status;
}

/* The words that `thalweg help WORD` may also get. */
static bool is_command(const char *name) {
    static const char *const names[] = {"check", "explain", "help", "list", "version"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

int command_help(int argc, char **argv) {
    const char *name;
    bool markdown = false;
    const flag flags[] = {{"--markdown", .on = &markdown}};
    arguments a = {.command = "help", .flags = flags, .n_flags = 1, .words = &name, .words_most = 1, .what = "one name"};
    if (!arguments_read(&a, argc, argv)) return EXIT_WRONG;
    if (!markdown && (a.n_words == 0 || is_command(name))) return print_out(usage);
    struct text grids = {0};
    if (!markdown && strcmp(name, "capacity") == 0) {
        int printed = grid_help(&grids) == TW_OK ? print_out(text_string(&grids)) : EXIT_FAILED;
        text_free(&grids);
        return printed;
    }
    char *text;
    tw_error err = {0};
    tw_status status = markdown ? tw_reference(&text, &err) : tw_help(name, &text, &err);
    if (status != TW_OK) {
        say_tw_error(&err);
        return status == TW_ERR_JOB ? EXIT_WRONG : EXIT_FAILED;
    }
    int printed = print_out(text);
    tw_free(text);
    if (markdown && printed == EXIT_DONE) printed = grid_reference(&grids) == TW_OK ? print_out(text_string(&grids)) : EXIT_FAILED;
    text_free(&grids);
    return printed;
}
