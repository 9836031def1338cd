/* Faults by seed, in whole jobs within one process each: rows come twice and out of order; a child dies at any call that
 * writes a checkpoint or an output (with or without what was not synced), is refused it, reads and writes in pieces, sees
 * clocks jump; it is started again until it is done. What comes out is what comes out without any fault, and nothing
 * else is ever visible meanwhile.
 */
#include <dirent.h>
#include <sys/wait.h>

#include "unit/sim/replay.h"
#include "unit/sim/seeds.h"

#if defined(__SANITIZE_THREAD__)
enum { SEEDS = 40 };
#elif defined(__SANITIZE_ADDRESS__)
enum { SEEDS = 100 };
#else
enum { SEEDS = 600 };
#endif
enum { DEATHS_MAX = 4, SECONDS_MAX = 60, TRIES_MAX = 20 };

static char folder[64];

/* ---- the jobs ---- */

#define DISORDER 40 /* rows; each is a millisecond */
typedef struct job_kind {
    const char *steps;
    bool repeats; /* rows may come twice */
    bool late;    /* some are, and are kept */
    bool joined;  /* with a flow of the same source */
} job_kind;

static const job_kind kinds[] = {
    {"[]", false},
    {"[{dedupe: {on: [id], within: 10s, time: ts, lateness: 41ms}}]", true},
    {"[{window: {time: ts, tumbling: 50ms, lateness: 41ms}}, {group: {by: [k], aggregate: {n: count, s: 'sum(v)'}}}]", false},
    {"[{window: {time: ts, sliding: {size: 60ms, every: 20ms}, lateness: 41ms}}, {group: {by: [k], aggregate: {d: "
     "'count_distinct(v)', s: 'sum(v)', n: count}}}]", false},
    {"[{window: {time: ts, tumbling: 20ms, lateness: 5ms, late: {dead_letter: late.json}}}, {group: {by: [k], aggregate: {n: count, "
     "s: 'sum(v)'}}}]", false, true},
    {"[{window: {time: ts, session: {gap: 8ms}, lateness: 41ms}}, {group: {by: [k], aggregate: {n: count, s: 'sum(v)', d: "
     "'count_distinct(v)'}}}]", false},
    {"[{join: {with: right, on: [k], within: 2ms, lateness: 41ms, time: {ts: rts}}}]", false, false, true},
    {"[{join: {with: right, on: [v], how: full, within: {before: 3ms, after: 30ms}, lateness: 41ms, time: {ts: rts}}}]", false, false, true},
    {"[{window: {time: ts, tumbling: 70ms, lateness: 41ms}}, {distinct: [k]}, {select: [k, window_start]}]", false},
    {"[{dedupe: {on: [id], within: 10s, time: ts, lateness: 41ms}}, {window: {time: ts, tumbling: 30ms, lateness: 41ms}}, {group: "
     "{by: [k], aggregate: {n: count, s: 'sum(v)'}}}]", true},
};

typedef struct plan_of_seed {
    const job_kind *kind;
    bool ledger, files; /* where rows go: one of them, or a flow to each */
    bool ordered, logs, faulty;
    uint32_t parallelism, batch_rows;
    uint64_t every_us;
    uint32_t n;
} plan_of_seed;


typedef struct placed {
    uint32_t row, at;
} placed;
static int by_place(const void *a, const void *b) {
    const placed *x = a, *y = b;
    return x->at != y->at ? (x->at > y->at) - (x->at < y->at) : (x->row > y->row) - (x->row < y->row);
}

static void make_stream(const plan_of_seed *p, bool faulty) {
    static placed all[STREAM_MAX];
    uint32_t n = 0;
    given.last = p->n;
    for (uint32_t row = 0; row < p->n; row++) {
        all[n++] = (placed){row, row + (faulty ? pick(DISORDER) : 0)};
        while (faulty && p->kind->repeats && pick(4) == 0) all[n++] = (placed){row, row + pick(DISORDER)};
    }
    qsort(all, n, sizeof *all, by_place);
    for (uint32_t i = 0; i < n; i++) given.rows[i] = all[i].row;
    given.rows[n++] = given.last;
    given.n = n;
    given.split_rows_max = 1 + pick(40);
    given.pause_us_max = faulty ? 1 + pick(200) : 0;
}

static void print_flow(struct text *t, const plan_of_seed *p, const char *name, const char *steps, const char *sink) {
    text_printf(t, "  %s: {source: {replay: {ordered: %s, overflow: %s}}, steps: %s%s%s}\n", name, p->ordered ? "all" : "none",
                p->logs ? "disk" : "block", steps, sink ? ", sink: " : "", sink ? sink : "");
}

static char *print_job(const plan_of_seed *p) {
    struct text t = {0};
    char file[128];
    snprintf(file, sizeof file, "{file: {path: '%s/out.json/'}}", folder);
    text_printf(&t, "name: sim\nrun: {guarantee: exactly_once, checkpoint: {dir: '%s/state', every: 1ms}}\nflows:\n", folder);
    if (p->kind->joined) print_flow(&t, p, "right", "[{rename: {ts: rts, id: rid}}, {select: [rts, rid, k, v]}]", NULL);
    if (p->files) print_flow(&t, p, "a", p->kind->steps, file);
    if (p->ledger) print_flow(&t, p, "b", p->kind->steps, "ledger");
    return text_take(&t);
}

/* ---- a child ---- */

static int run_job(const plan_of_seed *p) {
    char *text = print_job(p), state[80];
    error_list errors = {0};
    job *j = NULL;
    plan *planned = NULL;
    run *r;
    tw_error err = {0};
    job_source source = {.text = text, .length = strlen(text), .file = "job"};
    if (job_parse(&source, &errors, &j) != TW_OK || plan_build(j, &sim_registry, &errors, &planned, &err) != TW_OK || errors.total) {
        fprintf(stderr, "%s\n%s\n", text, errors.total ? errors.items[0].message : err.message);
        return 2;
    }
    snprintf(state, sizeof state, "%s/state", folder);
    run_options o = {.parallelism = p->parallelism, .memory_bytes = (size_t)32 << 20, .batch_rows = p->batch_rows,
                     .checkpoint_folder = state, .checkpoint_every_us = p->every_us};
    tw_status status = run_start(planned, &o, &r, &err);
    if (status == TW_OK) {
        while (!run_wait(r, 1))
            if (!atomic_load(&replays_left)) break;
        run_stop(r);
        run_wait(r, -1);
        status = run_result(r, &err);
        run_free(r);
    }
    snprintf(world->message, sizeof world->message, "%s", status == TW_OK ? "" : err.message);
    plan_free(planned);
    job_free(j);
    error_list_free(&errors);
    free(text);
    return status == TW_OK ? 0 : 1;
}

/* Its exit status. One that hangs ends the test. */
static int in_child(const plan_of_seed *p, long die_at, long refuse_at) {
    atomic_store(&world->calls, 0);
    fflush(NULL);
    pid_t child = fork();
    HOLDS(child >= 0);
    if (child == 0) {
        alarm(SECONDS_MAX);
        faults.calls = &world->calls;
        faults.seed = seed_state;
        faults.die_at = die_at;
        faults.refuse_at = refuse_at;
        faults.on = p->faulty;
        int status = run_job(p);
        fflush(NULL);
        leave_at_once(status);
    }
    int status;
    HOLDS(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    fprintf(stderr, "a child ended by signal %d\n", WTERMSIG(status));
    return -1;
}

/* ---- what is visible ---- */

typedef struct lines {
    char *bytes;
    char **lines;
    size_t n;
} lines;

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void append_file(struct text *t, int at, const char *name) {
    char bytes[65536];
    int fd = openat(at, name, O_RDONLY | O_CLOEXEC);
    HOLDS(fd >= 0);
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;) text_append(t, bytes, (size_t)n);
    close(fd);
}

/* Late rows too, if wanted: what is in their file is for sure only once a run has ended. */
static lines visible(bool late) {
    struct text t = {0};
    lines l = {0};
    char path[96];
    snprintf(path, sizeof path, "%s/out.json", folder);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') append_file(&t, dirfd(d), e->d_name);
    if (d) closedir(d);
    if (late && access("late.json", F_OK) == 0) append_file(&t, AT_FDCWD, "late.json");
    text_append(&t, world->rows, world->states[atomic_load(&world->committed)].bytes);
    size_t length = t.length;
    l.bytes = text_take(&t);
    l.lines = calloc(length + 1, sizeof *l.lines);
    HOLDS(l.bytes && l.lines);
    for (char *at = l.bytes, *end; (end = strchr(at, '\n')); at = end + 1) {
        *end = 0;
        l.lines[l.n++] = at;
    }
    qsort(l.lines, l.n, sizeof *l.lines, by_text);
    return l;
}

static void lines_free(lines *l) {
    free(l->lines);
    free(l->bytes);
}

/* Whether all of `some` stands in `whole`, as often; and the other way round if `equal`. */
static bool is_within(const lines *some, const lines *whole, bool equal) {
    size_t at = 0;
    for (size_t i = 0; i < some->n; i++, at++) {
        while (at < whole->n && strcmp(whole->lines[at], some->lines[i]) < 0) at++;
        if (at == whole->n || strcmp(whole->lines[at], some->lines[i]) != 0) {
            fprintf(stderr, "too much: %s\n", some->lines[i]);
            return false;
        }
    }
    if (!equal || some->n == whole->n) return true;
    fprintf(stderr, "%zu rows of %zu\n", some->n, whole->n);
    return false;
}

static void start_anew(void) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'/*", folder);
    HOLDS(system(command) == 0);
    atomic_store(&world->committed, 0);
    memset(world->states, 0, sizeof world->states);
}

/* ---- a seed ---- */

static const char *fault_of_seed(const plan_of_seed *p, const lines *expected) {
    long calls = 0;
    unsigned deaths = pick(DEATHS_MAX + 1);
    for (unsigned turn = 0; turn < TRIES_MAX; turn++) {
        bool last = turn >= deaths;
        long at = last ? 0 : 1 + pick(calls ? (uint32_t)calls : 200);
        bool refuses = pick(3) == 0;
        faults.power = pick(2);
        faults.shortens = pick(2) && !p->kind->late;
        faults.clocks = pick(2) ? 1 + pick(64) : 0;
        faults.refuse_on = pick(2);
        int ended = in_child(p, refuses ? 0 : at, refuses ? at : 0);
        if (atomic_load(&world->calls) > calls) calls = atomic_load(&world->calls);
        if (ended != 0 && ended != DIED && ended != 1) return "a child crashed or hung";
        if (ended == 1 && (last || !refuses)) return "a run failed without a reason";
        if (ended == DIED && last) return "a child died by itself";
        lines found = visible(p->kind->late && last);
        bool right = is_within(&found, expected, last && ended == 0);
        lines_free(&found);
        if (!right) return last ? "the output is another" : "what is visible is wrong";
        if (last) return NULL;
    }
    return NULL;
}

static bool try_seed(uint64_t seed) {
    seed_begin(seed);
    plan_of_seed p = {.kind = &kinds[pick(COUNT_OF(kinds))], .ordered = pick(2), .logs = pick(3) == 0};
    p.logs &= p.ordered; /* else rows overtake each other in it, and are late for windows */
    uint32_t where = pick(3);
    if (p.kind->late || p.kind->joined) where %= 2; /* one flow has the file, or reads the other */
    p.ledger = where != 0;
    p.files = where != 1;
    p.n = 100 + pick(900);
    p.parallelism = 1 + pick(4);
    p.batch_rows = pick(2) ? 1 + pick(20) : 0;
    p.every_us = 200 + pick(2000);
    start_anew();
    uint64_t stream_seed = seed_state;
    make_stream(&p, p.kind->late);
    const char *wrong = in_child(&p, 0, 0) == 0 ? NULL : "the run without faults failed";
    lines expected = visible(p.kind->late);
    start_anew();
    if (p.kind->late) seed_state = stream_seed; /* the same rows are late */
    make_stream(&p, true);
    p.faulty = true;
    if (!wrong) wrong = fault_of_seed(&p, &expected);
    size_t rows = expected.n;
    lines_free(&expected);
    if (!wrong && rows) return true;
    char *text = print_job(&p);
    fprintf(stderr, "FAULT_SEED=%llu: %s (%s); %u rows, %zu expected, parallelism %u, batches of %u, every %llu us\n%s",
            (unsigned long long)seed, wrong ? wrong : "nothing comes out", world->message, p.n, rows, p.parallelism, p.batch_rows,
            (unsigned long long)p.every_us, text);
    free(text);
    return false;
}

static void test_seeds(void **state) { try_seeds(try_seed, SEEDS); }

int main(void) {
    snprintf(folder, sizeof folder, "%s/thalweg-faults-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    HOLDS(mkdtemp(folder) && chdir(folder) == 0);
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    HOLDS(world != MAP_FAILED);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeds)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    start_anew();
    rmdir(folder);
    return failed;
}
