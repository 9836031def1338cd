/* run_command.c: `run`, `check` and `explain`. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))
#define WAIT_MS 20
#define JOB_BYTES_MAX ((size_t)64 << 20)

typedef struct job_arguments {
    const char *file;
    const char **sets;
    size_t n_sets;
    bool json, quiet, progress;
    const char *trace;
} job_arguments;

/* ---- from the command line to a job ---- */

static bool add_set(void *context, const char *value) {
    job_arguments *j = context;
    const char *equals = strchr(value, '=');
    if (!equals || equals == value) {
        say_error("option --set needs PATH=VALUE, not '%.100s'", value);
        return false;
    }
    const char **more = realloc(j->sets, (j->n_sets + 1) * sizeof *more);
    if (!more) {
        say_error("out of memory");
        return false;
    }
    j->sets = more;
    j->sets[j->n_sets++] = value;
    return true;
}

static bool read_all(int fd, struct text *out) {
    char bytes[16384];
    for (;;) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n == 0) return true;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        if (out->length > JOB_BYTES_MAX) {
            errno = EFBIG;
            return false;
        }
        if (text_append(out, bytes, (size_t)n) != TW_OK) {
            errno = ENOMEM;
            return false;
        }
    }
}

bool read_whole(const char *file, struct text *out) {
    bool from_input = strcmp(file, "-") == 0;
    int fd = from_input ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    bool read = fd >= 0 && read_all(fd, out);
    int e = errno;
    if (fd >= 0 && !from_input) close(fd);
    if (!read) say_error("cannot read '%s': %s", from_input ? "standard input" : file, strerror(e));
    return read;
}

/* Parses, applies --set, checks. An exit status; the job is the caller's even when it is wrong. */
static int load_job(const job_arguments *a, tw_job **out) {
    struct text t = {0};
    if (!read_whole(a->file, &t)) {
        text_free(&t);
        return EXIT_WRONG;
    }
    tw_error err = {0};
    tw_status status = tw_job_parse(text_string(&t), t.length, a->file, out, &err);
    text_free(&t);
    for (size_t i = 0; i < a->n_sets && status == TW_OK; i++) {
        status = tw_job_set(*out, a->sets[i], &err);
        if (status == TW_ERR_JOB) status = TW_OK; /* told with all the others */
    }
    if (status == TW_OK) status = tw_job_check(*out, &err);
    if (status == TW_OK) return EXIT_DONE;
    size_t n = *out ? tw_job_errors(*out) : 0;
    for (size_t i = 0; i < n; i++) say_tw_error(tw_job_error(*out, i));
    if (n == 0) say_tw_error(&err);
    return status == TW_ERR_JOB ? EXIT_WRONG : EXIT_FAILED;
}

static bool read_arguments(job_arguments *j, const char *command, bool runs, int argc, char **argv) {
    const flag flags[] = {
        {"--set", .call = add_set},
        {"--json", .on = &j->json},
        {"--quiet", "-q", .on = &j->quiet},
        {"--progress", .on = &j->progress},
        {"--trace", .value = &j->trace},
    };
    arguments a = {.command = command, .flags = flags, .n_flags = runs ? COUNT_OF(flags) : 1, .context = j,
                   .words = &j->file, .words_least = 1, .words_most = 1, .what = "one job file"};
    if (!arguments_read(&a, argc, argv)) return false;
    if (!j->trace) return true;
    say_error("option --trace: this version records no trace");
    return false;
}

/* ---- check, explain ---- */

static int examine(const char *command, int argc, char **argv, int (*then)(const job_arguments *, tw_job *)) {
    job_arguments a = {0};
    tw_job *job = NULL;
    int status = read_arguments(&a, command, false, argc, argv) ? load_job(&a, &job) : EXIT_WRONG;
    if (status == EXIT_DONE) status = then(&a, job);
    tw_job_free(job);
    free(a.sets);
    return status;
}

static int say_good(const job_arguments *a, tw_job *job) {
    struct text t = {0};
    text_printf(&t, "%s: ok\n", a->file);
    int status = print_out(text_string(&t));
    text_free(&t);
    return status;
}

static int say_plan(const job_arguments *a, tw_job *job) {
    char *text;
    tw_error err = {0};
    if (tw_job_explain(job, &text, &err) != TW_OK) {
        say_tw_error(&err);
        return EXIT_FAILED;
    }
    int status = print_out(text);
    tw_free(text);
    return status;
}

int command_check(int argc, char **argv) { return examine("check", argc, argv, say_good); }
int command_explain(int argc, char **argv) { return examine("explain", argc, argv, say_plan); }

/* ---- run ---- */

/* A reader that went away is no news to whoever has sent it away. */
static bool output_is_broken(void) {
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&out, 1, 0) > 0 && (out.revents & POLLERR);
}

static bool may_print_json(const job_arguments *a, tw_job *job) {
    tw_error place;
    if (!a->json || !tw_job_prints(job, &place)) return true;
    place.code = TW_ERR_JOB;
    snprintf(place.message, sizeof place.message, "--json and a stdout sink would write to the same place");
    say_tw_error(&place);
    return false;
}

static void wait_for(tw_job *job, bool progress) {
    unsigned last = tw_job_endless(job) ? 2 : 1;
    while (!tw_job_wait(job, WAIT_MS)) {
        unsigned came = signals_came();
        if (came == last) tw_job_cancel(job);
        else if (came) tw_job_stop(job);
        if (progress) print_progress(job, false);
    }
    if (progress) print_progress(job, true);
}

static int print_json(tw_job *job) {
    struct text t = {0};
    char *json;
    tw_error err = {0};
    if (tw_job_summary_json(job, &json, &err) != TW_OK) {
        say_tw_error(&err);
        return EXIT_FAILED;
    }
    text_printf(&t, "%s\n", json);
    tw_free(json);
    int status = print_out(text_string(&t));
    text_free(&t);
    return status;
}

static int end_status(tw_status outcome) {
    return outcome == TW_OK ? EXIT_DONE : outcome == TW_ERR_CANCELLED ? EXIT_INTERRUPTED
           : outcome == TW_ERR_JOB ? EXIT_WRONG : EXIT_FAILED;
}

static void say_line(void *context, tw_log_level level, const char *message) {
    fprintf(stderr, "thalweg: %s%s\n", level == TW_LOG_WARNING ? "warning: " : "", message);
}

static int run_job(const job_arguments *a, tw_job *job) {
    tw_error err = {0};
    if (!may_print_json(a, job)) return EXIT_WRONG;
    signals_note(tw_job_endless(job) ? 2 : 1);
    if (!a->quiet) tw_job_set_log(job, say_line, NULL);
    tw_status outcome = tw_job_start(job, &err);
    if (outcome == TW_OK) {
        wait_for(job, a->progress);
        outcome = tw_job_result(job, &err);
    }
    bool silent = outcome == TW_ERR_IO && output_is_broken();
    if (outcome == TW_ERR_CANCELLED) fputs("thalweg: interrupted\n", stderr);
    else if (outcome != TW_OK && !silent) say_tw_error(&err);
    const tw_summary *summary = tw_job_summary(job);
    int status = end_status(outcome);
    if (a->json && summary && print_json(job) != EXIT_DONE) return status ? status : EXIT_FAILED;
    if (!a->json && !a->quiet && !silent && summary) print_summary(summary);
    return status;
}

int command_run(int argc, char **argv) {
    job_arguments a = {0};
    tw_job *job = NULL;
    int status = read_arguments(&a, "run", true, argc, argv) ? load_job(&a, &job) : EXIT_WRONG;
    if (status == EXIT_DONE) status = run_job(&a, job);
    tw_job_free(job);
    free(a.sets);
    return status;
}
