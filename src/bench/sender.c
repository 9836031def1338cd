#include "bench/sender.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "bench/feed.h"
#include "bench/marks.h"
#include "io/framing.h"

#define MARKS_PER_SECOND 4000.0
#define FLOOD_MARK_BYTES 131072 /* sent between two marks */
#define START_NS 5000000u       /* until all threads are there */
#define WORK_AT_ONCE_NS 500000u
#define FILES_KEPT 4000

typedef struct sender sender;

/* One connection and its thread. Its message i is number i * connections + index of all. */
typedef struct line {
    sender *sender;
    unsigned index;
    feed feed;
    uint8_t *batch;      /* framed messages, all alike but for marks */
    uint32_t batch_most; /* messages */
    pthread_t thread;
    uint64_t sent, marks, marks_measured; /* in this trial */
    double lag, lag_before, blocked, waited, busy;
    bool gave_up;
    tw_status status;
    tw_error err;
} line;

struct sender {
    sender_options options;
    size_t framed;       /* bytes of a message with its frame */
    marks marks;
    line *lines;
    trial trial;
    uint64_t begin_ns, from_ns, until_ns;
    uint64_t every;      /* one of so many is marked */
    atomic_uint_fast64_t marks_sent;
};

/* ---- the schedule ---- */

/* When message i of a line is to be sent. */
static uint64_t due_ns(const line *l, uint64_t i) {
    const sender *s = l->sender;
    double number = (double)i * s->options.connections + l->index;
    if (s->trial.mode == LOAD_BURST) number = floor(number / s->trial.burst) * s->trial.burst;
    return s->begin_ns + (uint64_t)(number * 1e9 / s->trial.rate);
}

/* How many messages of a line are due by now. */
static uint64_t due_by(const line *l, uint64_t now) {
    const sender *s = l->sender;
    if (now < s->begin_ns) return 0;
    double number = (double)(now - s->begin_ns) * 1e-9 * s->trial.rate + 1;
    if (s->trial.mode == LOAD_BURST) number = (floor((number - 1) / s->trial.burst) + 1) * s->trial.burst;
    return (uint64_t)((fmax(0, floor(number) - l->index) + s->options.connections - 1) / s->options.connections);
}

static bool has_schedule(const trial *t) { return t->mode == LOAD_OPEN || t->mode == LOAD_BURST; }

static struct timespec time_of(uint64_t ns) { return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)}; }

/* Closed loop: how much this line may send, of which it takes its share alone: results belong to no line. */
static uint64_t wait_for_room(line *l) {
    sender *s = l->sender;
    const trial *t = &s->trial;
    int64_t share = t->in_flight / s->options.connections + (l->index < t->in_flight % s->options.connections), room;
    struct timespec end = time_of(s->until_ns);
    pthread_mutex_lock(&s->marks.lock);
    s->marks.waits = true;
    while ((room = t->in_flight + (int64_t)atomic_load(&s->marks.back) - (int64_t)atomic_load(&s->marks_sent)) <= 0 &&
           clock_ns() < s->until_ns)
        pthread_cond_timedwait(&s->marks.came, &s->marks.lock, &end);
    pthread_mutex_unlock(&s->marks.lock);
    if (clock_ns() >= s->until_ns) return 0;
    return (uint64_t)(room < share ? room : share);
}

/* What may be sent now; waits until that is something. 0: the trial is over. */
static uint64_t wait_for_due(line *l) {
    sender *s = l->sender;
    if (s->trial.mode == LOAD_CLOSED) return wait_for_room(l);
    for (;;) {
        uint64_t now = clock_ns();
        if (now >= s->until_ns) return 0;
        if (s->trial.mode == LOAD_FLOOD) return l->batch_most;
        uint64_t due = due_by(l, now);
        if (due > l->sent) return due - l->sent;
        l->feed.blocked_ns = 0; /* it is on time: what was, explains nothing later */
        uint64_t at = due_ns(l, l->sent);
        struct timespec t = time_of(at < s->until_ns ? at : s->until_ns);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    }
}

/* ---- messages ---- */

static uint8_t *head_in_batch(const line *l, uint64_t j) {
    return l->batch + j * l->sender->framed + (l->sender->options.newline ? 0 : LENGTH_BYTES);
}

static tw_status make_batch(line *l, tw_error *err) {
    const sender_options *o = &l->sender->options;
    size_t framed = l->sender->framed;
    l->batch_most = (uint32_t)(feed_batch_bytes(o->connector) / framed);
    if (!l->batch_most) l->batch_most = 1;
    l->batch = malloc(l->batch_most * framed);
    if (!l->batch) return error_set(err, TW_ERR_MEMORY, "out of memory");
    for (uint32_t j = 0; j < l->batch_most; j++) {
        uint8_t *m = head_in_batch(l, j);
        if (!o->newline) length_write(m - LENGTH_BYTES, o->size);
        char head[MESSAGE_HEAD + 1];
        snprintf(head, sizeof head, "C%06u-F%019d-", o->cpu_ms % 1000000, 0);
        memcpy(m, head, MESSAGE_HEAD);
        for (size_t k = MESSAGE_HEAD; k < o->size; k++) m[k] = (uint8_t)('a' + (j + k) % 26);
        if (o->newline) m[o->size] = '\n';
    }
    return TW_OK;
}

/* Marks those of the next n messages that are to come back, or takes the marks off again. */
static void mark(line *l, uint64_t n, bool on, uint64_t now) {
    sender *s = l->sender;
    uint64_t every = s->every, first = (l->sent + every - 1) / every * every;
    for (uint64_t i = first; i < l->sent + n; i += every) {
        uint8_t *m = head_in_batch(l, i - l->sent);
        m[MARK_AT] = on ? 'M' : 'F';
        if (!on) continue;
        uint64_t due = has_schedule(&s->trial) ? due_ns(l, i) : now;
        l->marks++;
        if (due >= s->from_ns && due < s->until_ns) l->marks_measured++;
        for (int digit = MARK_DIGITS - 1; digit >= 0; digit--, due /= 10) m[MARK_DIGITS_AT + digit] = (uint8_t)('0' + due % 10);
    }
}

static void burn(uint64_t ns) {
    uint64_t end = clock_of(CLOCK_THREAD_CPUTIME_ID) + ns;
    while (clock_of(CLOCK_THREAD_CPUTIME_ID) < end) {}
}

/* ---- one trial ---- */

/* Seconds that this thread was ready to run and had no processor. */
static double waited_seconds(void) {
    unsigned long long ran = 0, waited = 0;
    FILE *f = fopen("/proc/thread-self/schedstat", "re");
    if (f && fscanf(f, "%llu %llu", &ran, &waited) != 2) waited = 0;
    if (f) fclose(f);
    return (double)waited * 1e-9;
}

static double lag_of(const line *l, uint64_t now) {
    if (!has_schedule(&l->sender->trial)) return 0;
    uint64_t due = due_ns(l, l->sent);
    return due < now ? (double)(now - due) * 1e-9 : 0;
}

/* Whether messages, or results, are later than it makes sense to wait for. */
static bool too_late(const line *l, uint64_t now) {
    sender *s = l->sender;
    if (!has_schedule(&s->trial)) return false;
    if (lag_of(l, now) * 1e9 > (double)s->trial.give_up_ns) return true;
    if (atomic_load(&s->marks_sent) <= atomic_load(&s->marks.back)) return false;
    uint64_t newest = atomic_load(&s->marks.newest), between_marks = (uint64_t)(1e9 * (double)s->every / s->trial.rate);
    if (newest < s->begin_ns) newest = s->begin_ns;
    return newest + between_marks + s->trial.give_up_ns < now;
}

static void *send_messages(void *argument) {
    line *l = argument;
    sender *s = l->sender;
    double waited = waited_seconds();
    uint64_t cpu = clock_of(CLOCK_THREAD_CPUTIME_ID), n, now;
    bool before = true;
    while ((n = wait_for_due(l))) {
        if (n > l->batch_most) n = l->batch_most;
        if (s->trial.work_ns && n > WORK_AT_ONCE_NS / s->trial.work_ns + 1) n = WORK_AT_ONCE_NS / s->trial.work_ns + 1;
        now = clock_ns();
        if (before && now >= s->from_ns) {
            before = false;
            l->lag_before = lag_of(l, now);
        }
        if ((l->gave_up = too_late(l, now))) break;
        uint64_t marks_before = l->marks;
        mark(l, n, true, now);
        atomic_fetch_add(&s->marks_sent, l->marks - marks_before);
        /* What is cut within a message ends the connection, so the last one gets its time. */
        uint64_t until = (has_schedule(&s->trial) ? due_ns(l, l->sent) : s->until_ns) + s->trial.give_up_ns;
        l->status = feed_send(&l->feed, l->batch, n * s->framed, until, &l->err);
        mark(l, n, false, 0);
        if (l->status != TW_OK) break;
        l->sent += n;
        if (s->trial.work_ns) burn(n * s->trial.work_ns);
        if (l->feed.kind == CONNECTOR_FOLLOW) feed_clean(&l->feed, FILES_KEPT);
    }
    now = clock_ns();
    if (l->status == TW_END) {
        l->gave_up = true;
        l->status = TW_OK;
    }
    uint64_t end = now < s->until_ns ? now : s->until_ns;
    l->lag = lag_of(l, end);
    l->blocked = (double)l->feed.blocked_ns * 1e-9;
    l->waited = waited_seconds() - waited;
    l->busy = (double)(clock_of(CLOCK_THREAD_CPUTIME_ID) - cpu) / (double)(now - s->begin_ns + 1);
    return NULL;
}

/* Waits for what is under way. */
static bool drain(sender *s) {
    uint64_t sent = 0, end = clock_ns() + s->trial.give_up_ns;
    bool broken = false;
    for (uint32_t i = 0; i < s->options.connections; i++) {
        sent += s->lines[i].marks;
        broken |= s->lines[i].feed.broken;
    }
    struct timespec until = time_of(end);
    pthread_mutex_lock(&s->marks.lock);
    s->marks.waits = true;
    while (!broken && atomic_load(&s->marks.back) < sent && clock_ns() < end)
        pthread_cond_timedwait(&s->marks.came, &s->marks.lock, &until);
    s->marks.waits = false;
    bool all = atomic_load(&s->marks.back) >= sent;
    pthread_mutex_unlock(&s->marks.lock);
    return all && !broken;
}

static void sum_up(sender *s, double cpu, bool drained, trial_report *r) {
    uint64_t sent = 0, measured = 0, now = clock_ns(), back = atomic_load(&s->marks.back);
    const line *slowest = &s->lines[0];
    bool gave_up = false;
    for (uint32_t i = 0; i < s->options.connections; i++) {
        const line *l = &s->lines[i];
        sent += l->sent;
        measured += l->marks_measured;
        gave_up |= l->gave_up;
        if (l->lag > slowest->lag) slowest = l;
    }
    uint64_t end = now < s->until_ns ? now : s->until_ns;
    marks *m = &s->marks;
    double length = (double)(s->until_ns - s->from_ns) * 1e-9, wall = (double)(end - s->begin_ns) * 1e-9;
    pthread_mutex_lock(&m->lock);
    *r = (trial_report){
        .wall = wall,
        .measured = length,
        .offered = has_schedule(&s->trial) ? s->trial.rate : (double)sent / wall,
        .delivered = gave_up ? (double)back * (double)s->every / wall : (double)m->in_time * (double)s->every / length,
        .marks = (double)measured,
        .missing = measured > m->measured ? (double)(measured - m->measured) : 0,
        .p50 = (double)histogram_quantile(&m->latencies, 0.5) * 1e-9,
        .p99 = (double)histogram_quantile(&m->latencies, 0.99) * 1e-9,
        .p999 = (double)histogram_quantile(&m->latencies, 0.999) * 1e-9,
        .most = (double)m->latencies.most * 1e-9,
        .growth = marks_growth(m),
        .lag = slowest->lag,
        .lag_growth = fmax(0, slowest->lag - slowest->lag_before),
        .blocked = slowest->blocked,
        .waited = slowest->waited,
        .busy = slowest->busy,
        .cpu = cpu,
        .gave_up = gave_up,
        .drained = drained,
    };
    pthread_mutex_unlock(&m->lock);
}

static tw_status run_trial(sender *s, const trial *t, trial_report *r, tw_error *err) {
    s->trial = *t;
    double every = t->mode == LOAD_CLOSED ? 1 : t->rate / MARKS_PER_SECOND;
    if (t->mode == LOAD_FLOOD) every = (double)FLOOD_MARK_BYTES / s->options.size;
    s->every = every > 1 ? (uint64_t)ceil(every) : 1;
    s->begin_ns = clock_ns() + START_NS;
    s->from_ns = s->begin_ns + t->warmup_ns;
    s->until_ns = s->from_ns + t->measured_ns;
    atomic_store(&s->marks_sent, 0);
    marks_begin(&s->marks, s->from_ns, s->until_ns);
    uint64_t cpu = clock_process_cpu_ns(), begin = clock_ns();
    uint32_t n = 0;
    int failed = 0;
    for (; n < s->options.connections && !failed; n++) {
        line *l = &s->lines[n];
        l->sent = l->marks = l->marks_measured = l->feed.blocked_ns = 0;
        l->lag = l->lag_before = 0;
        l->gave_up = false;
        failed = pthread_create(&l->thread, NULL, send_messages, l);
    }
    if (failed) s->until_ns = 0, n--;
    for (uint32_t i = 0; i < n; i++) pthread_join(s->lines[i].thread, NULL);
    if (failed) return error_io(err, failed, "cannot start a thread");
    double used = (double)(clock_process_cpu_ns() - cpu) / (double)(clock_ns() - begin);
    for (uint32_t i = 0; i < n; i++)
        if (s->lines[i].status != TW_OK) {
            if (err) *err = s->lines[i].err;
            return s->lines[i].status;
        }
    bool drained = drain(s);
    for (uint32_t i = 0; i < n && drained; i++) feed_clean(&s->lines[i].feed, 0);
    sum_up(s, used, drained, r);
    return TW_OK;
}

/* ---- the process ---- */

static tw_status open_lines(sender *s, double seconds, tw_error *err) {
    uint64_t until = clock_ns() + (uint64_t)(seconds * 1e9);
    for (uint32_t i = 0; i < s->options.connections; i++) {
        line *l = &s->lines[i];
        TRY(feed_open(s->options.connector, s->options.feed, i, until, &l->feed, err));
        if (!l->batch) TRY(make_batch(l, err));
    }
    return TW_OK;
}

/* One message that comes back. */
static tw_status await_engine(sender *s, double seconds, tw_error *err) {
    trial one = {.mode = LOAD_CLOSED, .in_flight = 1, .measured_ns = 1000000u, .give_up_ns = (uint64_t)(seconds * 1e9)};
    trial_report report;
    TRY(run_trial(s, &one, &report, err));
    return report.drained ? TW_OK : error_set(err, TW_ERR_IO, "the engine sent no result to %s in %.0f s", s->options.results, seconds);
}

static void answer(const char *word, const char *rest) {
    printf("%s %s\n", word, rest);
    fflush(stdout);
}

static void obey(sender *s, const char *line) {
    tw_error err = {0};
    struct text t = {0};
    trial asked;
    trial_report report;
    tw_status status;
    const char *word = "opened";
    if (strncmp(line, "open ", 5) == 0) {
        status = open_lines(s, atof(line + 5), &err);
    } else if (strncmp(line, "await ", 6) == 0) {
        word = "awaited";
        status = await_engine(s, atof(line + 6), &err);
    } else if (strncmp(line, "trial ", 6) == 0 && trial_read(line + 6, &asked)) {
        word = "report";
        status = run_trial(s, &asked, &report, &err);
        if (status == TW_OK) trial_report_write(&report, &t);
    } else {
        status = error_set(&err, TW_ERR_JOB, "this is no order");
    }
    answer(status == TW_OK ? word : "error", status == TW_OK ? text_string(&t) : err.message);
    text_free(&t);
}

tw_status sender_read_words(const char *const words[SENDER_WORDS], sender_options *out, tw_error *err) {
    *out = (sender_options){.feed = words[1], .results = words[2], .newline = strcmp(words[3], "newline") == 0,
                            .size = (uint32_t)strtoul(words[4], NULL, 10), .cpu_ms = (uint32_t)strtoul(words[5], NULL, 10),
                            .connections = (uint32_t)strtoul(words[6], NULL, 10)};
    int kind = 0;
    while (kind < CONNECTORS && strcmp(words[0], connector_names[kind]) != 0) kind++;
    out->connector = (connector)kind;
    if (kind < CONNECTORS && out->size >= MESSAGE_BYTES_MIN && out->connections > 0) return TW_OK;
    return error_set(err, TW_ERR_JOB, "sender takes CONNECTOR FEED RESULTS newline|length SIZE CPU_MS CONNECTIONS");
}

tw_status sender_run(const sender_options *o, tw_error *err) {
    sender s = {.options = *o, .framed = o->size + (size_t)(o->newline ? 1 : LENGTH_BYTES)};
    s.lines = calloc(o->connections, sizeof *s.lines);
    if (!s.lines) return error_set(err, TW_ERR_MEMORY, "out of memory");
    for (uint32_t i = 0; i < o->connections; i++) s.lines[i] = (line){.sender = &s, .index = i, .feed.fd = -1};
    /* Who measures comes first, as far as it may: sleeps end when they should, and no worker keeps it waiting. */
    prctl(PR_SET_TIMERSLACK, 1UL);
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) - 10);
    tw_status status = marks_open(&s.marks, o->results, err);
    char order[512];
    if (status == TW_OK) {
        answer("listening", "");
        while (fgets(order, sizeof order, stdin)) obey(&s, order);
    }
    marks_close(&s.marks);
    for (uint32_t i = 0; i < o->connections; i++) {
        feed_close(&s.lines[i].feed);
        free(s.lines[i].batch);
    }
    free(s.lines);
    return status;
}
