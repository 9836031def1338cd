#include "bench/rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define OPEN_SECONDS 120  /* that an engine may take to be ready */
#define CLEAN_SECONDS 8    /* and the generator, to clean up */
#define LOOK_MS 50
#define WARMUP_SHARE 0.1  /* of the rate that is tried first */
enum { WORDS_MAX = 64 };

/* ---- where ---- */

static unsigned free_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool found = fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 && getsockname(fd, (struct sockaddr *)&a, &n) == 0;
    if (fd >= 0) close(fd);
    return found ? ntohs(a.sin_port) : 0;
}

static void choose_places(rig *r) {
    const char *engine = r->network ? NETWORK_ENGINE : "127.0.0.1", *sender = r->network ? NETWORK_SENDER : "127.0.0.1";
    switch (r->engine->connector) {
    case CONNECTOR_UNIX: snprintf(r->feed, sizeof r->feed, "%s/feed.sock", r->folder); break;
    case CONNECTOR_KAFKA:
        snprintf(r->feed, sizeof r->feed, "%.120s/thalweg-%ld-%u", r->engine->brokers, (long)getpid(), free_port());
        break;
    case CONNECTOR_FOLLOW: snprintf(r->feed, sizeof r->feed, "%s/feed", r->folder); break;
    default: snprintf(r->feed, sizeof r->feed, "%s:%u", engine, free_port());
    }
    if (r->engine->connector == CONNECTOR_UNIX) snprintf(r->results, sizeof r->results, "%s/results.sock", r->folder);
    else snprintf(r->results, sizeof r->results, "%s:%u", sender, free_port());
}

/* ---- the engine ---- */

/* Thalweg's job: what is marked comes back. */
static tw_status write_job(const rig *r, const char *path, tw_error *err) {
    const grid_engine *e = r->engine;
    const char *framing = e->newline ? "newline" : "length", *column = e->newline ? "line" : "content";
    FILE *f = fopen(path, "we");
    if (!f) return error_io(err, errno, "cannot write %s", path);
    fprintf(f, "name: capacity\nsource:\n");
    if (e->connector == CONNECTOR_FOLLOW) fprintf(f, "  file: {path: '%s/m*', follow: true, format: lines}\n", r->feed);
    else if (e->connector == CONNECTOR_KAFKA)
        fprintf(f, "  kafka: {brokers: '%s', topic: '%s', group: '%s'}\n", e->brokers, strrchr(r->feed, '/') + 1, strrchr(r->feed, '/') + 1);
    else fprintf(f, "  %s: {listen: '%s', framing: %s}\n", connector_names[e->connector], r->feed, framing);
    fprintf(f, "steps:\n");
    if (r->cost > 0) fprintf(f, "  - busy: {for: %.0fus}\n", r->cost * 1e6);
    fprintf(f, "  - filter: \"substr(%s, 9, 1) == 'M'\"\n  - select: {mark: \"substr(%s, 1, %d)\"}\n", column, column, MESSAGE_HEAD);
    fprintf(f, "sink: {%s: {connect: '%s', framing: newline}}\nrun: {parallelism: %u}\n", *r->results == '/' ? "unix" : "tcp", r->results,
            r->grid->parallelism);
    return fclose(f) ? error_io(err, errno, "cannot write %s", path) : TW_OK;
}

/* A word of a command with {names} replaced. */
static char *fill_in(const rig *r, const char *word) {
    char numbers[4][32];
    snprintf(numbers[0], 32, "%.0f", r->size);
    snprintf(numbers[1], 32, "%.9g", r->cost);
    snprintf(numbers[2], 32, "%.9g", r->cost * 1e3);
    snprintf(numbers[3], 32, "%u", r->grid->parallelism);
    const struct {
        const char *name, *value;
    } known[] = {{"{feed}", r->feed},    {"{results}", r->results},  {"{size}", numbers[0]},   {"{cpu}", numbers[1]},
                 {"{cpu_ms}", numbers[2]}, {"{threads}", numbers[3]}, {"{folder}", r->folder}, {"{thalweg}", r->program}};
    struct text t = {0};
    while (*word) {
        size_t k = 0;
        while (k < COUNT_OF(known) && strncmp(word, known[k].name, strlen(known[k].name)) != 0) k++;
        if (k < COUNT_OF(known)) {
            text_append_string(&t, known[k].value);
            word += strlen(known[k].name);
        } else {
            text_append_char(&t, *word++);
        }
    }
    return text_take(&t);
}

/* In the child: `to` in place of one of its streams. */
static void redirect(int to, int stream) {
    if (to < 0 || dup2(to, stream) < 0) _exit(127);
}

/* Starts a program in a group of its own that ends with this process. in, out: -1: nothing. */
static tw_status start(char *const *argv, const char *in_network, int in, int out, int errors, pid_t *pid, tw_error *err) {
    pid_t parent = getpid();
    *pid = fork();
    if (*pid < 0) return error_io(err, errno, "cannot start %s", argv[0]);
    if (*pid) {
        setpgid(*pid, *pid);
        return TW_OK;
    }
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    int nothing = open("/dev/null", O_RDWR);
    redirect(in >= 0 ? in : nothing, 0);
    redirect(out >= 0 ? out : nothing, 1);
    redirect(errors >= 0 ? errors : nothing, 2);
    int failed = in_network ? network_enter(in_network) : 0;
    if (!failed) {
        signal(SIGPIPE, SIG_DFL);
        execvp(argv[0], argv);
        failed = errno;
    }
    dprintf(2, "cannot start %s: %s\n", argv[0], strerror(failed));
    _exit(127);
}

static tw_status start_engine(rig *r, tw_error *err) {
    char job[192], log[192], cost[32], *argv[WORDS_MAX + 1] = {0};
    const grid_engine *e = r->engine;
    tw_status status = TW_OK;
    snprintf(job, sizeof job, "%s/job.yaml", r->folder);
    snprintf(log, sizeof log, "%s/log", r->folder);
    snprintf(cost, sizeof cost, "%.0f", r->cost * 1e9);
    size_t n = 0;
    if (e->n_command) {
        for (; n < e->n_command && n < WORDS_MAX; n++)
            if (!(argv[n] = fill_in(r, e->command[n].text))) status = error_set(err, TW_ERR_MEMORY, "out of memory");
    } else {
        const char *raw[] = {r->program, "bench", "receiver", r->feed, r->results, cost}, *own[] = {r->program, "run", job, "--quiet"};
        for (; n < (e->raw ? COUNT_OF(raw) : COUNT_OF(own)); n++)
            if (!(argv[n] = strdup(e->raw ? raw[n] : own[n]))) status = error_set(err, TW_ERR_MEMORY, "out of memory");
        if (status == TW_OK && !e->raw) status = write_job(r, job, err);
    }
    int fd = status == TW_OK ? open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (status == TW_OK && fd < 0) status = error_io(err, errno, "cannot write %s", log);
    if (status == TW_OK) status = start(argv, r->network ? r->network->engine : NULL, -1, fd, fd, &r->engine_pid, err);
    if (fd >= 0) close(fd);
    for (size_t i = 0; i < n; i++) free(argv[i]);
    return status;
}

/* What the engine printed; its last lines where it is long. */
static size_t read_log(const rig *r, char *out, size_t room) {
    char log[192];
    snprintf(log, sizeof log, "%s/log", r->folder);
    int fd = open(log, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    struct stat info;
    off_t at = fstat(fd, &info) == 0 && info.st_size > (off_t)room - 1 ? info.st_size - (off_t)room + 1 : 0;
    ssize_t n = pread(fd, out, room - 1, at);
    close(fd);
    out[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

static tw_status engine_lost(const rig *r, tw_error *err) {
    char said[600];
    read_log(r, said, sizeof said);
    for (char *c = said; *c; c++)
        if (*c == '\n') *c = c[1] ? '|' : 0;
    return error_set(err, TW_ERR_IO, "engine '%.60s' ended: %s", r->engine->name, said);
}

static bool is_gone(pid_t pid) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

/* CPU seconds of a process so far, if it belongs to the engine. */
static double seconds_of(const rig *r, const char *pid) {
    char path[300], line[1024];
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *f = fopen(path, "re");
    const char *rest = f && fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    if (f) fclose(f);
    int group = 0;
    unsigned long user = 0, system = 0;
    if (!rest || sscanf(rest, ") %*c %*d %d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &group, &user, &system) != 3) return 0;
    return group == r->engine_pid ? (double)(user + system) / (double)sysconf(_SC_CLK_TCK) : 0;
}

/* Of all its processes, which are one group. */
static double engine_seconds(const rig *r) {
    double sum = 0;
    DIR *all = opendir("/proc");
    for (struct dirent *e; all && (e = readdir(all));)
        if (*e->d_name >= '1' && *e->d_name <= '9') sum += seconds_of(r, e->d_name);
    if (all) closedir(all);
    return sum;
}

/* CPU seconds of everything on this machine so far. */
static double machine_seconds(void) {
    unsigned long long user = 0, nice = 0, system = 0, interrupts = 0, soft = 0;
    FILE *f = fopen("/proc/stat", "re");
    if (f && fscanf(f, "cpu %llu %llu %llu %*u %*u %llu %llu", &user, &nice, &system, &interrupts, &soft) != 5) user = 0;
    if (f) fclose(f);
    return (double)(user + nice + system + interrupts + soft) / (double)sysconf(_SC_CLK_TCK);
}

static tw_status wait_until_ready(rig *r, tw_error *err) {
    uint64_t end = clock_ns() + OPEN_SECONDS * 1000000000ull;
    size_t room = 1 << 20;
    char *said = malloc(room);
    if (!said) return error_set(err, TW_ERR_MEMORY, "out of memory");
    tw_status status = TW_OK;
    while (status == TW_OK && r->engine->ready) {
        read_log(r, said, room);
        if (strstr(said, r->engine->ready)) break;
        if (is_gone(r->engine_pid)) status = engine_lost(r, err);
        else if (r->stopped()) status = error_set(err, TW_ERR_CANCELLED, "interrupted");
        else if (clock_ns() > end) status = error_set(err, TW_ERR_IO, "engine '%.60s' did not print '%s'", r->engine->name, r->engine->ready);
        else poll(NULL, 0, LOOK_MS);
    }
    free(said);
    return status;
}

/* ---- the generator ---- */

/* Its next line, into r->said; looks after the engine and the user meanwhile. */
static tw_status read_line(rig *r, char line[1024], tw_error *err) {
    for (;;) {
        char *end = memchr(r->said, '\n', r->n_said);
        if (end) {
            size_t n = (size_t)(end - r->said);
            memcpy(line, r->said, n);
            line[n] = 0;
            r->n_said -= n + 1;
            memmove(r->said, end + 1, r->n_said);
            return TW_OK;
        }
        struct pollfd p = {.fd = r->reports, .events = POLLIN};
        poll(&p, 1, LOOK_MS);
        if (r->stopped()) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        if (p.revents) {
            ssize_t got = read(r->reports, r->said + r->n_said, sizeof r->said - r->n_said);
            if (got <= 0) return error_set(err, TW_ERR_IO, "the generator ended");
            r->n_said += (size_t)got;
        } else if (r->engine_pid && is_gone(r->engine_pid)) {
            return engine_lost(r, err);
        }
    }
}

/* Gives an order and takes the answer, which must begin with `word`; the rest of it goes into line. */
static tw_status order(rig *r, const char *what, const char *word, char line[1024], tw_error *err) {
    if (what && (fprintf(r->orders, "%s\n", what) < 0 || fflush(r->orders))) return error_io(err, errno, "cannot talk to the generator");
    TRY(read_line(r, line, err));
    size_t n = strlen(word);
    if (strncmp(line, word, n) != 0) return error_set(err, TW_ERR_IO, "%s", line + (strncmp(line, "error ", 6) == 0 ? 6 : 0));
    memmove(line, line + n, strlen(line + n) + 1);
    return TW_OK;
}

static tw_status start_sender(rig *r, tw_error *err) {
    char feed[300], size[32], cost[32], connections[32], line[1024];
    /* A partition for each thread: engines that read one with a thread shall have work for all. */
    if (r->engine->connector == CONNECTOR_KAFKA) snprintf(feed, sizeof feed, "%s/%u", r->feed, r->grid->parallelism);
    else snprintf(feed, sizeof feed, "%s", r->feed);
    snprintf(size, sizeof size, "%.0f", r->size);
    snprintf(cost, sizeof cost, "%.0f", r->cost * 1e3);
    snprintf(connections, sizeof connections, "%u", r->grid->connections);
    char *argv[] = {r->program, "bench", "sender", (char *)connector_names[r->engine->connector], feed, r->results,
                    r->engine->newline ? "newline" : "length", size, cost, connections, NULL};
    int orders[2], reports[2];
    if (pipe2(orders, O_CLOEXEC)) return error_io(err, errno, "cannot make a pipe");
    if (pipe2(reports, O_CLOEXEC)) {
        close(orders[0]), close(orders[1]);
        return error_io(err, errno, "cannot make a pipe");
    }
    tw_status status = start(argv, r->network ? r->network->sender : NULL, orders[0], reports[1], STDERR_FILENO, &r->sender_pid, err);
    close(orders[0]), close(reports[1]);
    r->reports = reports[0];
    r->n_said = 0;
    r->orders = fdopen(orders[1], "w");
    if (status == TW_OK && !r->orders) status = error_io(err, errno, "cannot talk to the generator");
    return status == TW_OK ? order(r, NULL, "listening", line, err) : status;
}

/* ---- a rig ---- */

static void end_process(pid_t *pid) {
    if (!*pid) return;
    kill(-*pid, SIGKILL);
    kill(*pid, SIGKILL);
    while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR) {}
    *pid = 0;
}

static void stop_all(rig *r) {
    if (r->orders) fclose(r->orders);
    if (r->reports >= 0) close(r->reports);
    r->orders = NULL;
    r->reports = -1;
    end_process(&r->engine_pid);
    /* It deletes its topic. */
    uint64_t end = clock_ns() + CLEAN_SECONDS * 1000000000ull;
    while (r->engine->connector == CONNECTOR_KAFKA && r->sender_pid && !is_gone(r->sender_pid) && clock_ns() < end) poll(NULL, 0, LOOK_MS);
    end_process(&r->sender_pid);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where) { return remove(path); }

tw_status rig_open(const grid *g, const grid_engine *e, double size, double cost, const network *n, const char *parent,
                   bool (*stopped)(void), rig *out, tw_error *err) {
    *out = (rig){.grid = g, .engine = e, .network = n, .size = size, .cost = cost, .stopped = stopped, .reports = -1};
    if (readlink("/proc/self/exe", out->program, sizeof out->program - 1) < 0) return error_io(err, errno, "cannot find this program");
    snprintf(out->folder, sizeof out->folder, "%s/rig-XXXXXX", parent);
    if (!mkdtemp(out->folder)) return error_io(err, errno, "cannot make a folder in %s", parent);
    return TW_OK;
}

static tw_status start_all(rig *r, double rate, tw_error *err) {
    choose_places(r);
    char line[1024];
    if (r->engine->connector == CONNECTOR_FOLLOW && mkdir(r->feed, 0700) && errno != EEXIST)
        return error_io(err, errno, "cannot make %s", r->feed);
    bool stores = connector_stores(r->engine->connector);
    char open[32], await[32];
    snprintf(open, sizeof open, "open %d", OPEN_SECONDS);
    snprintf(await, sizeof await, "await %d", OPEN_SECONDS);
    TRY(start_sender(r, err));
    if (stores) TRY(order(r, open, "opened", line, err));
    TRY(start_engine(r, err));
    TRY(wait_until_ready(r, err));
    if (!stores) TRY(order(r, open, "opened", line, err));
    TRY(order(r, await, "awaited", line, err));
    if (!r->engine->warmup_ns || rate <= 0) return TW_OK;
    struct text t = {0};
    trial warmup = {.mode = LOAD_OPEN, .rate = rate * WARMUP_SHARE, .measured_ns = r->engine->warmup_ns,
                    .give_up_ns = r->engine->warmup_ns + 10000000000u};
    text_append_string(&t, "trial ");
    trial_write(&warmup, &t);
    tw_status status = order(r, text_string(&t), "report", line, err);
    text_free(&t);
    return status;
}

tw_status rig_trial(rig *r, const trial *t, trial_report *report, tw_error *err) {
    tw_status status = r->engine_pid ? TW_OK : start_all(r, t->rate, err);
    struct text words = {0};
    char line[1024];
    if (status == TW_OK) {
        text_append_string(&words, "trial ");
        trial_write(t, &words);
        double used = engine_seconds(r), all = machine_seconds();
        uint64_t begin = clock_ns();
        status = order(r, text_string(&words), "report", line, err);
        double seconds = (double)(clock_ns() - begin) * 1e-9;
        r->engine_cpu = (engine_seconds(r) - used) / seconds;
        if (status == TW_OK && !trial_report_read(line, report)) status = error_set(err, TW_ERR_INTERNAL, "the generator said '%s'", line);
        else if (status == TW_OK) r->others_cpu = fmax(0, (machine_seconds() - all - report->cpu * report->wall) / seconds - r->engine_cpu);
    }
    text_free(&words);
    if (status != TW_OK || !report->drained) stop_all(r);
    return status;
}

void rig_close(rig *r) {
    stop_all(r);
    if (*r->folder) nftw(r->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    *r->folder = 0;
}
