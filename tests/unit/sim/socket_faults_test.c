/* Faults of sockets by seed, in whole jobs: a child that serves or calls this process receives and sends in pieces, is
 * interrupted, told to come again, loses connections, cannot accept; clients send in pieces, interleaved, and vanish
 * half-way. Without losses every message comes out once and in order; with them what comes out of a connection is its
 * first messages, whole and once each. What http has taken is there, however often it was sent.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/text.h"
#include "thalweg/thalweg.h"
#include "unit/holds.h"
#include "unit/sim/seeds.h"

#if defined(__SANITIZE_THREAD__)
enum { SEEDS = 40 };
#elif defined(__SANITIZE_ADDRESS__)
enum { SEEDS = 80 };
#else
enum { SEEDS = 500 };
#endif
enum { CONNECTIONS_MAX = 5, MESSAGES_MAX = 120, SECONDS_MAX = 60, ATTEMPTS_MAX = 300, BYTES_MAX = 1 << 16 };

typedef enum wire { UNIX_LINES, UNIX_LENGTHS, TCP_LINES, TCP_LENGTHS, HTTP, WIRES } wire;

static const char *const connector_of[WIRES] = {"unix", "unix", "tcp", "tcp", "http"};
static const char *const framing_of[WIRES] = {"newline", "length", "newline", "length", "newline"};

typedef struct seed_plan {
    wire wire;
    bool sink, losses, ordered;
    unsigned connections, messages, parallelism, batch_rows;
} seed_plan;

static struct {
    atomic_long calls;
    atomic_int stop;
    uint64_t bad_records;
    char message[1200];
} *shared;

static char folder[64];
static int port;

/* ---- messages ---- */

/* "3 17 abcabc": of which connection, which one, and letters that follow from both. */
static size_t write_message(unsigned c, unsigned i, char *out) {
    uint64_t r = fault_mix(c * 1000003ull + i);
    size_t n = (size_t)sprintf(out, "%u %u ", c, i), more = r % 16 == 0 ? r % 700 : r % 20;
    for (size_t k = 0; k < more; k++) out[n++] = (char)('a' + (r >> k % 50) % 26);
    out[n] = 0;
    return n;
}

/* false: it is none of ours, or half of one. */
static bool read_message(const char *line, size_t n, unsigned *c, unsigned *i) {
    char whole[1024];
    if (n >= sizeof whole || sscanf(line, "%u %u ", c, i) != 2) return false;
    return write_message(*c, *i, whole) == n && memcmp(whole, line, n) == 0;
}

static size_t print_wire(wire w, unsigned c, unsigned i, bool last, char *out) {
    char text[1024], head[128];
    size_t n = write_message(c, i, text), before = 0;
    if (w == HTTP) before = (size_t)sprintf(head, "POST /in HTTP/1.1\r\nContent-Length: %zu\r\n\r\n", n);
    if (w == UNIX_LENGTHS || w == TCP_LENGTHS) {
        uint32_t length = htonl((uint32_t)n);
        memcpy(head, &length, before = 4);
    }
    memcpy(out, head, before);
    memcpy(out + before, text, n);
    n += before;
    bool line = w == UNIX_LINES || w == TCP_LINES;
    if (line && !(last && i % 2)) out[n++] = '\n'; /* the end is an end, too */
    return n;
}

/* ---- how often each came ---- */

typedef struct tally {
    unsigned times[CONNECTIONS_MAX][MESSAGES_MAX];
    int last[CONNECTIONS_MAX]; /* that came of each connection */
    bool in_order;
    const char *wrong;
} tally;

static void count_line(tally *t, const char *line, size_t n) {
    unsigned c, i;
    if (!read_message(line, n, &c, &i) || c >= CONNECTIONS_MAX || i >= MESSAGES_MAX) {
        fprintf(stderr, "no message: %.*s\n", (int)(n < 200 ? n : 200), line);
        t->wrong = "what came out was never sent";
        return;
    }
    t->times[c][i]++;
    if ((int)i < t->last[c]) t->in_order = false;
    t->last[c] = (int)i;
}

static void tally_begin(tally *t) {
    *t = (tally){.in_order = true};
    for (unsigned c = 0; c < CONNECTIONS_MAX; c++) t->last[c] = -1;
}

static int part_names(const struct dirent *e) { return e->d_name[0] != '.'; }

static void count_files(tally *t) {
    char path[400];
    struct dirent **names;
    snprintf(path, sizeof path, "%s/out.txt", folder);
    int n = scandir(path, &names, part_names, alphasort);
    for (int i = 0; i < n; i++) {
        char *line = NULL;
        size_t room = 0;
        snprintf(path, sizeof path, "%s/out.txt/%s", folder, names[i]->d_name);
        FILE *f = fopen(path, "r");
        for (ssize_t size; f && (size = getline(&line, &room, f)) > 0;) count_line(t, line, (size_t)size - (line[size - 1] == '\n'));
        if (f) fclose(f);
        free(line);
        free(names[i]);
    }
    if (n >= 0) free(names);
}

/* ---- a child ---- */

static char *print_job(const seed_plan *p) {
    struct text t = {0}, where = {0};
    if (strcmp(connector_of[p->wire], "unix") == 0) text_printf(&where, "'%s/s'", folder);
    else text_printf(&where, "'127.0.0.1:%d'", port);
    const char *run = "on_bad_record: skip, memory: 64MiB";
    if (p->sink)
        text_printf(&t, "source: {file: {path: '%s/in.txt', format: lines}}\nsink: {%s: {connect: %s, format: lines, %s%s}}\n", folder,
                    connector_of[p->wire], text_string(&where), p->wire == HTTP ? "path: " : "framing: ",
                    p->wire == HTTP ? "/in" : framing_of[p->wire]);
    else
        text_printf(&t, "source: {%s: {listen: %s, %sformat: lines, framing: %s, ordered: %s, timeout: 10s}}\nsink: {file: {path: "
                    "'%s/out.txt/'}}\n", connector_of[p->wire], text_string(&where), p->wire == HTTP ? "path: /in, " : "", framing_of[p->wire],
                    p->ordered ? "key" : "none", folder);
    text_printf(&t, "run: {parallelism: %u, %s%s", p->parallelism, run, p->batch_rows ? "" : "}\n");
    if (p->batch_rows) text_printf(&t, ", batch_rows: %u}\n", p->batch_rows);
    text_free(&where);
    return text_take(&t);
}

static int run_job(const char *text) {
    tw_error err = {0};
    tw_job *job = NULL;
    tw_status status = tw_job_parse(text, strlen(text), "job", &job, &err);
    if (status == TW_OK) status = tw_job_start(job, &err);
    bool stopped = false;
    while (status == TW_OK && !tw_job_wait(job, 1)) {
        if (!stopped && atomic_load(&shared->stop)) tw_job_stop(job), stopped = true;
    }
    if (status == TW_OK) status = tw_job_result(job, &err);
    const tw_summary *s = job ? tw_job_summary(job) : NULL;
    shared->bad_records = s ? s->bad_records : 0;
    snprintf(shared->message, sizeof shared->message, "%s", err.message);
    tw_job_free(job);
    return status == TW_OK ? 0 : 1;
}

static pid_t start_child(const seed_plan *p, const char *text) {
    atomic_store(&shared->stop, 0);
    fflush(NULL);
    pid_t child = fork();
    HOLDS(child >= 0);
    if (child) return child;
    alarm(SECONDS_MAX);
    faults.calls = &shared->calls;
    faults.seed = seed_state;
    faults.shortens = pick(2);
    faults.nets = pick(4) ? pick(p->sink ? 256 : 160) : 0;
    faults.resets = p->losses ? 20 + pick(p->sink ? 8000 : p->wire == HTTP ? 200 : 1500) : 0;
    faults.clocks = pick(2) ? 1 + pick(64) : 0;
    faults.on = true;
    leave_at_once(run_job(text));
    return 0;
}

static const char *end_child(pid_t child) {
    int status;
    HOLDS(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status)) return "the child crashed or hung";
    return WEXITSTATUS(status) ? "the run failed" : NULL;
}

/* ---- sockets of this side ---- */

static int socket_to_bind_or_call(const seed_plan *p, bool bound) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in internet = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    bool is_local = strcmp(connector_of[p->wire], "unix") == 0;
    snprintf(local.sun_path, sizeof local.sun_path, "%s/s", folder);
    const struct sockaddr *a = is_local ? (struct sockaddr *)&local : (struct sockaddr *)&internet;
    socklen_t n = is_local ? sizeof local : sizeof internet;
    int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    struct timeval most = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bound ? bind(fd, a, n) == 0 && listen(fd, 64) == 0 : connect(fd, a, n) == 0) return fd;
    close(fd);
    return -1;
}

/* As soon as the child listens. */
static int call(const seed_plan *p) {
    for (int tries = 0; tries < 20000; tries++) {
        int fd = socket_to_bind_or_call(p, false);
        if (fd >= 0) return fd;
        usleep(500);
    }
    return -1;
}

static void choose_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    HOLDS(fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 && getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    port = ntohs(a.sin_port);
    close(fd);
}

static void vanish(int fd) {
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
}

/* ---- clients ---- */

typedef struct client {
    int fd;
    char *bytes;
    size_t n, sent, vanish_at; /* SIZE_MAX: it stays */
    bool lost;
} client;

static void send_some(client *c) {
    size_t left = c->n - c->sent, some = 1 + pick(pick(4) ? 40 : 4000);
    if (some > left) some = left;
    ssize_t n = send(c->fd, c->bytes + c->sent, some, MSG_NOSIGNAL);
    if (n < 0) c->lost = true;
    else c->sent += (size_t)n;
    if (c->sent >= c->vanish_at) {
        vanish(c->fd);
        c->fd = -1;
        c->lost = true;
    }
}

static const char *send_streams(const seed_plan *p, client *clients) {
    for (unsigned c = 0; c < p->connections; c++) {
        client *k = &clients[c];
        *k = (client){.fd = call(p), .bytes = malloc(BYTES_MAX), .vanish_at = SIZE_MAX};
        HOLDS(k->bytes);
        if (k->fd < 0) return "nobody listens";
        for (unsigned i = 0; i < p->messages; i++) k->n += print_wire(p->wire, c, i, i + 1 == p->messages, k->bytes + k->n);
        HOLDS(k->n <= BYTES_MAX);
        /* Who goes away from a Unix socket within a line has ended it. */
        if (p->losses && p->wire != UNIX_LINES && pick(3) == 0) k->vanish_at = pick((uint32_t)k->n);
    }
    for (bool any = true; any;) {
        any = false;
        for (unsigned c = 0; c < p->connections; c++) {
            client *k = &clients[c];
            if (k->lost || k->sent == k->n) continue;
            if (pick(3)) send_some(k);
            any = true;
        }
        if (pick(8) == 0) usleep(pick(300));
    }
    for (unsigned c = 0; c < p->connections; c++)
        if (clients[c].fd >= 0) close(clients[c].fd);
    return NULL;
}

static const char *check_streams(const seed_plan *p, const client *clients, const tally *t) {
    for (unsigned c = 0; c < p->connections; c++) {
        unsigned first = 0;
        while (first < p->messages && t->times[c][first] == 1) first++;
        for (unsigned i = first; i < p->messages; i++)
            if (t->times[c][i]) return t->times[c][i] > 1 ? "a message came twice" : "one is missing before another";
        if (!p->losses && first < p->messages) return "a message is missing";
    }
    return p->ordered && !t->in_order ? "the order is another" : NULL;
}

static const char *try_streams(const seed_plan *p, const char *text) {
    client clients[CONNECTIONS_MAX] = {0};
    pid_t child = start_child(p, text);
    const char *wrong = send_streams(p, clients);
    atomic_store(&shared->stop, 1);
    const char *ended = end_child(child);
    tally t;
    tally_begin(&t);
    count_files(&t);
    if (!wrong) wrong = ended ? ended : t.wrong ? t.wrong : check_streams(p, clients, &t);
    if (!wrong && !p->losses && shared->bad_records) wrong = "a bad record without a reason";
    for (unsigned c = 0; c < p->connections; c++) free(clients[c].bytes);
    return wrong;
}

/* ---- http ---- */

/* The code of an answer; 0: the connection is gone. */
static int read_answer(int fd) {
    char bytes[2048];
    size_t n = 0;
    while (n + 1 < sizeof bytes) {
        ssize_t some = recv(fd, bytes + n, 1, 0);
        if (some <= 0) return 0;
        n += (size_t)some;
        bytes[n] = 0;
        if (n >= 4 && memcmp(bytes + n - 4, "\r\n\r\n", 4) == 0) break;
    }
    int code = 0;
    return sscanf(bytes, "HTTP/1.1 %d", &code) == 1 ? code : 0;
}

static bool post(int fd, const char *request, size_t n) {
    for (size_t sent = 0, some; sent < n; sent += some) {
        some = 1 + pick(200);
        if (some > n - sent) some = n - sent;
        ssize_t done = send(fd, request + sent, some, MSG_NOSIGNAL);
        if (done < 0) return false;
        some = (size_t)done;
    }
    return true;
}

static const char *post_all(const seed_plan *p, unsigned attempts[CONNECTIONS_MAX][MESSAGES_MAX]) {
    for (unsigned c = 0; c < p->connections; c++) {
        int fd = -1;
        for (unsigned i = 0; i < p->messages;) {
            char request[2048];
            size_t n = print_wire(p->wire, c, i, false, request);
            if (fd < 0) fd = call(p);
            if (fd < 0) return "nobody listens";
            if (attempts[c][i]++ == ATTEMPTS_MAX) return "a request is never taken";
            bool cut = p->losses && pick(30) == 0;
            int code = post(fd, request, cut ? pick((uint32_t)n) : n) && !cut ? read_answer(fd) : 0;
            if (code && code != 202) return "an answer that was not due";
            i += code == 202;
            if (code == 202) continue;
            vanish(fd);
            fd = -1;
        }
        if (fd >= 0) close(fd);
    }
    return NULL;
}

static const char *try_requests(const seed_plan *p, const char *text) {
    static unsigned attempts[CONNECTIONS_MAX][MESSAGES_MAX];
    memset(attempts, 0, sizeof attempts);
    pid_t child = start_child(p, text);
    const char *wrong = post_all(p, attempts);
    atomic_store(&shared->stop, 1);
    const char *ended = end_child(child);
    tally t;
    tally_begin(&t);
    count_files(&t);
    if (wrong || ended || t.wrong) return wrong ? wrong : ended ? ended : t.wrong;
    for (unsigned c = 0; c < p->connections; c++)
        for (unsigned i = 0; i < p->messages; i++) {
            if (!t.times[c][i]) return "what was taken is not there";
            if (t.times[c][i] > attempts[c][i]) return "a request came more often than it was sent";
        }
    return shared->bad_records ? "a bad record without a reason" : NULL;
}

/* ---- the job calls us ---- */

typedef struct caller {
    int fd;
    struct text got;
} caller;

/* The messages that are whole; http gets an answer for each request. */
static void take_messages(const seed_plan *p, caller *k, tally *t) {
    size_t at = 0;
    const char *bytes = k->got.bytes;
    for (size_t left; (left = k->got.length - at) > 0;) {
        const char *m = bytes + at;
        size_t begin = 0, size, end;
        if (p->wire == UNIX_LENGTHS || p->wire == TCP_LENGTHS) {
            uint32_t length;
            if (left < 4) break;
            memcpy(&length, m, 4);
            begin = 4, size = ntohl(length), end = begin + size;
        } else if (p->wire == HTTP) {
            char *body = memmem(m, left, "\r\n\r\n", 4), *length = memmem(m, left, "Content-Length: ", 16);
            if (!body || !length) break;
            begin = (size_t)(body - m) + 4, size = strtoul(length + 16, NULL, 10), end = begin + size;
        } else {
            const char *feed = memchr(m, '\n', left);
            if (!feed) break;
            size = (size_t)(feed - m), end = size + 1;
        }
        if (end > left) break;
        for (size_t from = begin; from < begin + size;) { /* of http's there may be several */
            const char *feed = memchr(m + from, '\n', begin + size - from);
            size_t n = feed ? (size_t)(feed - m) - from : begin + size - from;
            count_line(t, m + from, n);
            from += n + 1;
        }
        at += end;
        static const char fine[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        if (p->wire == HTTP) (void)!send(k->fd, fine, sizeof fine - 1, MSG_NOSIGNAL);
    }
    if (!at) return;
    memmove(k->got.bytes, k->got.bytes + at, k->got.length - at);
    k->got.length -= at;
}

/* Until the child has ended and all it sent is read. */
static const char *serve(const seed_plan *p, int listener, pid_t child, tally *t) {
    enum { CALLERS_MAX = 4000 };
    static caller callers[CALLERS_MAX];
    static struct pollfd polled[CALLERS_MAX + 1];
    unsigned n = 0;
    const char *ended = NULL;
    char bytes[4096];
    for (bool over = false, left = true; !over || left;) {
        int status;
        if (!over && waitpid(child, &status, WNOHANG) == child) {
            over = true;
            if (!WIFEXITED(status)) ended = "the child crashed or hung";
            else if (WEXITSTATUS(status)) ended = "the run failed";
        }
        left = false;
        polled[0] = (struct pollfd){.fd = listener, .events = POLLIN};
        for (unsigned i = 0; i < n; i++) polled[i + 1] = (struct pollfd){.fd = callers[i].fd, .events = POLLIN};
        poll(polled, n + 1, over ? 0 : 5);
        for (unsigned i = 0; i < n; i++) {
            if (!polled[i + 1].revents) continue;
            ssize_t some = recv(callers[i].fd, bytes, 1 + pick(sizeof bytes), 0);
            left = true;
            if (some > 0) {
                text_append(&callers[i].got, bytes, (size_t)some);
                take_messages(p, &callers[i], t);
            } else {
                close(callers[i].fd);
                callers[i].fd = -1;
            }
        }
        if (polled[0].revents && n < CALLERS_MAX) {
            int fd = accept(listener, NULL, NULL);
            if (fd >= 0) callers[n++] = (caller){.fd = fd};
            left = true;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (callers[i].fd >= 0) close(callers[i].fd);
        text_free(&callers[i].got);
    }
    return ended;
}

static const char *try_sink(const seed_plan *p, const char *text) {
    char path[96], line[1024];
    snprintf(path, sizeof path, "%s/in.txt", folder);
    FILE *f = fopen(path, "w");
    HOLDS(f);
    for (unsigned c = 0; c < p->connections; c++)
        for (unsigned i = 0; i < p->messages; i++) {
            write_message(c, i, line);
            fprintf(f, "%s\n", line);
        }
    fclose(f);
    int listener = socket_to_bind_or_call(p, true);
    if (listener < 0) return NULL; /* somebody else has the port by now */
    tally t;
    tally_begin(&t);
    pid_t child = start_child(p, text);
    const char *ended = serve(p, listener, child, &t);
    close(listener);
    if (ended || t.wrong) return ended ? ended : t.wrong;
    for (unsigned c = 0; c < p->connections; c++)
        for (unsigned i = 0; i < p->messages; i++) {
            if (t.times[c][i] > 1 && (p->wire != HTTP || !p->losses)) return "a message came twice";
            if (!t.times[c][i] && (p->wire == HTTP || !p->losses)) return "a message is missing";
        }
    return p->wire == HTTP || t.in_order ? NULL : "the order is another";
}

/* ---- seeds ---- */

static void start_anew(void) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'/*", folder);
    HOLDS(system(command) == 0);
}

static bool try_seed(uint64_t seed) {
    seed_begin(seed);
    seed_plan p = {.wire = (wire)pick(WIRES), .sink = pick(2), .losses = pick(2), .ordered = pick(2)};
    p.connections = 1 + pick(CONNECTIONS_MAX);
    p.messages = 1 + pick(p.wire == HTTP ? 20 : MESSAGES_MAX);
    p.parallelism = 1 + pick(4);
    p.batch_rows = pick(2) ? 1 + pick(20) : 0;
    start_anew();
    choose_port();
    char *text = print_job(&p);
    const char *wrong = p.sink ? try_sink(&p, text) : p.wire == HTTP ? try_requests(&p, text) : try_streams(&p, text);
    if (wrong)
        fprintf(stderr, "FAULT_SEED=%llu: %s (%s); %u connections, %u messages each%s\n%s", (unsigned long long)seed, wrong,
                shared->message, p.connections, p.messages, p.losses ? ", with losses" : "", text);
    free(text);
    return !wrong;
}

static void test_seeds(void **state) { try_seeds(try_seed, SEEDS); }

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/thalweg-sockets-XXXXXX");
    HOLDS(mkdtemp(folder));
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    HOLDS(shared != MAP_FAILED);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeds)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    start_anew();
    rmdir(folder);
    return failed;
}
