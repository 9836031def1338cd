/* bench_command.c: `bench capacity GRID.yaml`; and the processes that it starts. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/capacity.h"
#include "bench/receiver.h"
#include "bench/sender.h"
#include "cli/cli.h"

typedef struct capacity_arguments {
    const char *grid, *page;
    bool json, quiet;
} capacity_arguments;

static bool is_stopped(void) { return signals_came() > 0; }
static void say_nothing(const char *line) { (void)line; }
static void say_line(const char *line) { fprintf(stderr, "%s\n", line); }

static void say_errors(error_list *errors) {
    error_list_sort(errors);
    for (size_t i = 0; i < errors->n; i++) {
        const listed_error *e = &errors->items[i];
        tw_error one = {.code = TW_ERR_JOB, .line = e->line, .column = e->column};
        snprintf(one.file, sizeof one.file, "%s", e->file);
        snprintf(one.message, sizeof one.message, "%s", e->message);
        say_tw_error(&one);
    }
}

static int write_page(const capacity *c, const char *path) {
    struct text t = {0};
    bool good = capacity_page(c, &t) == TW_OK;
    FILE *f = good ? fopen(path, "we") : NULL;
    good = f && fwrite(t.bytes, 1, t.length, f) == t.length;
    int e = errno;
    if (f && fclose(f)) good = false, e = errno;
    if (!good) say_error("cannot write '%s': %s", path, strerror(e));
    text_free(&t);
    return good ? EXIT_DONE : EXIT_FAILED;
}

static int show(const capacity_arguments *a, const capacity *c) {
    struct text t = {0};
    int status = EXIT_FAILED;
    if ((a->json ? capacity_json(c, &t) : capacity_table(c, &t)) == TW_OK) status = print_out(text_string(&t));
    text_free(&t);
    if (a->page && write_page(c, a->page) != EXIT_DONE) status = EXIT_FAILED;
    return status;
}

static int measure(const capacity_arguments *a, const grid *g) {
    capacity c;
    tw_error err = {0};
    capacity_watcher watcher = {is_stopped, a->quiet ? say_nothing : say_line};
    signals_note(1);
    tw_status status = capacity_run(g, &watcher, &c, &err);
    int shown = c.n ? show(a, &c) : EXIT_DONE;
    capacity_free(&c);
    if (status == TW_OK) return shown;
    if (status == TW_ERR_CANCELLED) fputs("thalweg: interrupted\n", stderr);
    else say_tw_error(&err);
    return status == TW_ERR_CANCELLED ? EXIT_INTERRUPTED : EXIT_FAILED;
}

static int bench_capacity(int argc, char **argv) {
    capacity_arguments a = {0};
    const flag flags[] = {{"--json", .on = &a.json}, {"--quiet", "-q", .on = &a.quiet}, {"--output", "-o", .value = &a.page}};
    arguments words = {.command = "bench capacity", .flags = flags, .n_flags = 3, .words = &a.grid, .words_least = 1, .words_most = 1,
                       .what = "one grid file"};
    struct text t = {0};
    if (!arguments_read(&words, argc, argv)) return EXIT_WRONG;
    if (!read_whole(a.grid, &t)) {
        text_free(&t);
        return EXIT_WRONG;
    }
    grid *g = NULL;
    error_list *errors = calloc(1, sizeof *errors);
    tw_status status = errors ? grid_parse(text_string(&t), t.length, a.grid, errors, &g) : TW_ERR_MEMORY;
    text_free(&t);
    int exit_status = EXIT_WRONG;
    if (status == TW_OK) exit_status = measure(&a, g);
    else if (status == TW_ERR_JOB) say_errors(errors);
    else say_error("out of memory"), exit_status = EXIT_FAILED;
    grid_free(g);
    if (errors) error_list_free(errors);
    free(errors);
    return exit_status;
}

/* ---- processes of a measurement ---- */

static int end(tw_status status, const tw_error *err) {
    if (status == TW_OK) return EXIT_DONE;
    say_tw_error(err);
    return status == TW_ERR_JOB ? EXIT_WRONG : EXIT_FAILED;
}

static int bench_sender(int argc, char **argv) {
    const char *words[SENDER_WORDS];
    arguments a = {.command = "bench sender", .words = words, .words_least = SENDER_WORDS, .words_most = SENDER_WORDS, .what = "its seven words"};
    sender_options o;
    tw_error err = {0};
    if (!arguments_read(&a, argc, argv)) return EXIT_WRONG;
    tw_status status = sender_read_words(words, &o, &err);
    return end(status == TW_OK ? sender_run(&o, &err) : status, &err);
}

static int bench_receiver(int argc, char **argv) {
    const char *words[3];
    arguments a = {.command = "bench receiver", .words = words, .words_least = 3, .words_most = 3, .what = "FEED RESULTS CPU_NANOSECONDS"};
    tw_error err = {0};
    if (!arguments_read(&a, argc, argv)) return EXIT_WRONG;
    return end(receiver_run(words[0], words[1], strtoull(words[2], NULL, 10), &err), &err);
}

int command_bench(int argc, char **argv) {
    const char *what = argc ? argv[0] : "";
    if (strcmp(what, "capacity") == 0) return bench_capacity(argc - 1, argv + 1);
    if (strcmp(what, "sender") == 0) return bench_sender(argc - 1, argv + 1);
    if (strcmp(what, "receiver") == 0) return bench_receiver(argc - 1, argv + 1);
    say_error(*what ? "thalweg bench has no '%.60s': it has capacity" : "thalweg bench needs a word: capacity", what);
    return EXIT_WRONG;
}
