/* generate_command.c: `generate KIND -o FILE`. The file appears when it is whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

typedef struct generate_arguments {
    const char *kind, *output, *seed;
    char **options; /* "name=value" */
    size_t n_options;
} generate_arguments;

typedef struct destination {
    int fd;
    char *hidden; /* becomes the file at the end; NULL: written directly */
    int error;
} destination;

static bool add_option(void *context, const char *name, const char *value) {
    generate_arguments *g = context;
    struct text t = {0};
    text_printf(&t, "%s=%s", name, value);
    char *option = text_take(&t), **more = realloc(g->options, (g->n_options + 1) * sizeof *more);
    if (more) g->options = more;
    if (!more || !option) {
        free(option);
        say_error("out of memory");
        return false;
    }
    g->options[g->n_options++] = option;
    return true;
}

static int write_bytes(void *context, const void *bytes, size_t size) {
    destination *d = context;
    const char *at = bytes;
    while (size) {
        if (signals_came()) return 1;
        ssize_t n = write(d->fd, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            d->error = n < 0 ? errno : EIO;
            return 1;
        }
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

/* A file that is there and is no plain one (a device, a pipe) is written as it is. */
static bool open_destination(const char *output, destination *d) {
    struct stat info;
    bool to_stdout = !output || strcmp(output, "-") == 0;
    if (to_stdout && isatty(STDOUT_FILENO)) {
        say_error("thalweg generate needs -o FILE when standard output is a terminal");
        return false;
    }
    if (to_stdout) {
        d->fd = STDOUT_FILENO;
        return true;
    }
    bool there = stat(output, &info) == 0;
    if (there && !S_ISREG(info.st_mode)) {
        d->fd = open(output, O_WRONLY | O_CLOEXEC);
    } else {
        const char *slash = strrchr(output, '/'), *name = slash ? slash + 1 : output;
        struct text t = {0};
        text_append(&t, output, (size_t)(name - output));
        text_printf(&t, ".%.200s.thalweg-%ld", name, (long)getpid());
        d->hidden = text_take(&t);
        d->fd = d->hidden ? open(d->hidden, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666) : -1;
    }
    if (d->fd >= 0) return true;
    say_error("cannot write '%s': %s", output, strerror(errno));
    free(d->hidden);
    d->hidden = NULL;
    return false;
}

static int close_destination(const generate_arguments *g, destination *d, tw_status status, const tw_error *err) {
    bool good = status == TW_OK;
    if (d->fd != STDOUT_FILENO && close(d->fd) != 0 && good) d->error = errno, good = false;
    if (good && d->hidden && rename(d->hidden, g->output) != 0) d->error = errno, good = false;
    if (!good && d->hidden) unlink(d->hidden);
    free(d->hidden);
    if (good) return EXIT_DONE;
    if (signals_came()) {
        fputs("thalweg: interrupted\n", stderr);
        return EXIT_INTERRUPTED;
    }
    if (d->error == EPIPE) return EXIT_FAILED;
    if (d->error) say_error("cannot write '%s': %s", g->output ? g->output : "standard output", strerror(d->error));
    else say_tw_error(err);
    return status == TW_ERR_JOB ? EXIT_WRONG : EXIT_FAILED;
}

static bool read_seed(const char *text, uint64_t *out) {
    char *end = NULL;
    errno = 0;
    *out = 0;
    if (!text) return true;
    *out = strtoull(text, &end, 10);
    if (!errno && *text >= '0' && *text <= '9' && *end == 0) return true;
    say_error("option --seed needs a whole number, not '%.60s'", text);
    return false;
}

static int generate(const generate_arguments *g) {
    uint64_t seed;
    if (!read_seed(g->seed, &seed)) return EXIT_WRONG;
    destination d = {.fd = -1};
    if (!open_destination(g->output, &d)) return EXIT_WRONG;
    signals_note(1);
    tw_error err = {0};
    const char *const *options = (const char *const *)g->options;
    tw_status status = tw_generate(g->kind, options, g->n_options, seed, 0, write_bytes, &d, &err);
    return close_destination(g, &d, status, &err);
}

int command_generate(int argc, char **argv) {
    generate_arguments g = {0};
    const flag flags[] = {{"--output", "-o", .value = &g.output}, {"--seed", .value = &g.seed}};
    arguments a = {.command = "generate", .flags = flags, .n_flags = 2, .context = &g, .words = &g.kind,
                   .words_least = 1, .words_most = 1, .what = "a kind of data", .other = add_option};
    int status = arguments_read(&a, argc, argv) ? generate(&g) : EXIT_WRONG;
    for (size_t i = 0; i < g.n_options; i++) free(g.options[i]);
    free(g.options);
    return status;
}
