/* blast.c: messages over TCP as fast as it goes, or by the clock, for measuring what receives them.
 *
 *   blast send HOST:PORT newline|length BYTES MUCH [connections]   256 KiB a write
 *   blast receive PORT newline|length                              counts frames, parsed in place
 *   blast raw newline|length BYTES MUCH                            both, two threads: the bound of the machine
 *   blast zmq BYTES MUCH                                           ZeroMQ, a thread to a thread over TCP
 *   blast latency HOST:PORT PORT BYTES RATE SECONDS   sends to HOST:PORT by the clock, receives on PORT what comes
 *                                                     back, from the time at which it should have been sent
 *   blast echo PORT HOST:PORT                         passes bytes on: the floor of what latency shows
 * MUCH is how many seconds or, with an n behind it, how many messages (for send and raw about so many, for each
 * connection). Prints one line of JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_ZMQ
#include <zmq.h>
#endif

enum { WRITE_BYTES = 256 << 10, READ_BYTES = 256 << 10 };

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}
static void die(const char *what) {
    perror(what);
    exit(1);
}
static void *must(void *p) {
    if (!p) die("malloc");
    return p;
}

static int call(const char *where) {
    char host[128];
    const char *colon = strrchr(where, ':');
    if (!colon) die("HOST:PORT");
    snprintf(host, sizeof host, "%.*s", (int)(colon - where), where);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    if (inet_pton(AF_INET, *host ? host : "127.0.0.1", &a.sin_addr) != 1) die("address");
    for (int i = 0; i < 500; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            return fd;
        }
        close(fd);
        usleep(10000);
    }
    die("connect");
    return -1;
}

static int listen_at(int port, int *real_port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 64)) die("listen");
    getsockname(fd, (struct sockaddr *)&a, &n);
    if (real_port) *real_port = ntohs(a.sin_port);
    return fd;
}

/* How much to send: until a time, or so many messages. */
typedef struct amount {
    uint64_t end_ns, messages;
} amount;

static amount amount_of(const char *text) {
    size_t n = strlen(text);
    bool counted = n && text[n - 1] == 'n';
    return (amount){counted ? UINT64_MAX : now_ns() + (uint64_t)(atof(text) * 1e9), counted ? strtoull(text, NULL, 10) : UINT64_MAX};
}
static bool is_over(const amount *a, uint64_t sent) {
    return sent >= a->messages || (a->end_ns != UINT64_MAX && now_ns() >= a->end_ns);
}

/* ---- messages ---- */

/* As many whole frames as WRITE_BYTES hold, at least one. */
static uint8_t *frames(bool newline, size_t bytes, size_t *total, size_t *n) {
    size_t each = bytes + (newline ? 1 : 4);
    *n = WRITE_BYTES / each ? WRITE_BYTES / each : 1;
    *total = *n * each;
    uint8_t *p = must(malloc(*total));
    for (size_t i = 0; i < *n; i++) {
        uint8_t *m = p + i * each;
        if (!newline) *m++ = (uint8_t)(bytes >> 24), *m++ = (uint8_t)(bytes >> 16), *m++ = (uint8_t)(bytes >> 8), *m++ = (uint8_t)bytes;
        for (size_t k = 0; k < bytes; k++) m[k] = (uint8_t)('a' + (i + k) % 26);
        if (newline) m[bytes] = '\n';
    }
    return p;
}

static bool send_all(int fd, const uint8_t *p, size_t n) {
    while (n) {
        ssize_t r = send(fd, p, n, MSG_NOSIGNAL);
        if (r <= 0) return false;
        p += r;
        n -= (size_t)r;
    }
    return true;
}

typedef struct sending {
    int fd;
    bool newline;
    size_t bytes;
    const char *much;
    uint64_t sent;
} sending;

static void *send_some(void *argument) {
    sending *s = argument;
    size_t total, n;
    uint8_t *p = frames(s->newline, s->bytes, &total, &n);
    amount much = amount_of(s->much);
    while (!is_over(&much, s->sent) && send_all(s->fd, p, total)) s->sent += n;
    shutdown(s->fd, SHUT_WR);
    free(p);
    return NULL;
}

static int send_command(const char *where, bool newline, size_t bytes, const char *much, int connections) {
    sending *s = must(calloc((size_t)connections, sizeof *s));
    pthread_t *threads = must(calloc((size_t)connections, sizeof *threads));
    for (int i = 0; i < connections; i++) s[i] = (sending){call(where), newline, bytes, much, 0};
    uint64_t begin = now_ns(), sent = 0;
    for (int i = 0; i < connections; i++) pthread_create(&threads[i], NULL, send_some, &s[i]);
    for (int i = 0; i < connections; i++) pthread_join(threads[i], NULL);
    char rest[256];
    for (int i = 0; i < connections; i++) { /* until the other side has read all */
        while (read(s[i].fd, rest, sizeof rest) > 0) {}
        sent += s[i].sent;
    }
    double wall = (double)(now_ns() - begin) * 1e-9;
    printf("{\"sent\": %llu, \"measured_seconds\": %.4f, \"per_second\": %.0f, \"cpu_seconds\": %.3f}\n", (unsigned long long)sent,
           wall, (double)sent / wall, cpu_seconds());
    return 0;
}

/* ---- receiving ---- */

/* Frames of a stream, parsed where they were received; a long one's bytes are passed over as they come. */
static uint64_t receive_all(int fd, bool newline, uint64_t *bytes_out) {
    uint8_t *p = must(malloc(READ_BYTES));
    size_t filled = 0, skip = 0;
    uint64_t n = 0, bytes = 0;
    for (;;) {
        ssize_t r = read(fd, p + filled, READ_BYTES - filled);
        if (r <= 0) break;
        bytes += (uint64_t)r;
        filled += (size_t)r;
        size_t at = skip < filled ? skip : filled;
        skip -= at;
        while (newline && at < filled) {
            uint8_t *end = memchr(p + at, '\n', filled - at);
            if (!end) break;
            at = (size_t)(end - p) + 1;
            n++;
        }
        while (!newline && !skip && filled - at >= 4) {
            size_t length = (size_t)p[at] << 24 | (size_t)p[at + 1] << 16 | (size_t)p[at + 2] << 8 | p[at + 3];
            size_t there = filled - at - 4;
            n++;
            at += 4 + (length < there ? length : there);
            skip = length - (length < there ? length : there);
        }
        if (newline && at == 0 && filled == READ_BYTES) at = filled; /* within a long line */
        memmove(p, p + at, filled - at);
        filled -= at;
    }
    free(p);
    *bytes_out = bytes;
    return n;
}

static void print_received(uint64_t n, uint64_t bytes, double wall) {
    printf("{\"received\": %llu, \"measured_seconds\": %.4f, \"per_second\": %.0f, \"bytes_per_second\": %.0f}\n",
           (unsigned long long)n, wall, (double)n / wall, (double)bytes / wall);
}

static int receive_command(int port, bool newline) {
    int l = listen_at(port, NULL), fd = accept(l, NULL, NULL);
    uint64_t begin = now_ns(), bytes, n = receive_all(fd, newline, &bytes);
    print_received(n, bytes, (double)(now_ns() - begin) * 1e-9);
    return 0;
}

static int raw_command(bool newline, size_t bytes, const char *much) {
    int port, l = listen_at(0, &port);
    char where[32];
    snprintf(where, sizeof where, "127.0.0.1:%d", port);
    sending s = {call(where), newline, bytes, much, 0};
    int fd = accept(l, NULL, NULL);
    pthread_t thread;
    uint64_t begin = now_ns(), came;
    pthread_create(&thread, NULL, send_some, &s);
    uint64_t n = receive_all(fd, newline, &came);
    double wall = (double)(now_ns() - begin) * 1e-9;
    pthread_join(thread, NULL);
    print_received(n, came, wall);
    return 0;
}

/* ---- ZeroMQ ---- */

#ifdef HAVE_ZMQ
typedef struct zmq_sending {
    void *context;
    const char *where;
    size_t bytes;
    const char *much;
    uint64_t sent;
} zmq_sending;

static void *zmq_send_some(void *argument) {
    zmq_sending *s = argument;
    void *push = zmq_socket(s->context, ZMQ_PUSH);
    zmq_connect(push, s->where);
    char *p = must(malloc(s->bytes + 1));
    memset(p, 120, s->bytes); /* real pages, as a producer has them */
    amount much = amount_of(s->much);
    for (;; s->sent++) {
        bool looks = (s->sent & 63) == 0 || s->bytes >= 10000;
        if (s->sent == much.messages || (looks && is_over(&much, s->sent))) break;
        zmq_msg_t m;
        if (s->bytes >= 65536) zmq_msg_init_data(&m, p, s->bytes, NULL, NULL); /* without a copy */
        else {
            zmq_msg_init_size(&m, s->bytes);
            memcpy(zmq_msg_data(&m), p, s->bytes);
        }
        if (zmq_msg_send(&m, push, 0) < 0) break;
    }
    zmq_send(push, "", 0, 0);
    zmq_close(push);
    return NULL;
}

static int zmq_command(size_t bytes, const char *much) {
    void *context = zmq_ctx_new(), *pull = zmq_socket(context, ZMQ_PULL);
    char where[256];
    size_t n = sizeof where;
    zmq_bind(pull, "tcp://127.0.0.1:*");
    zmq_getsockopt(pull, ZMQ_LAST_ENDPOINT, where, &n);
    zmq_sending s = {zmq_ctx_new(), where, bytes, much, 0};
    pthread_t thread;
    pthread_create(&thread, NULL, zmq_send_some, &s);
    uint64_t begin = 0, received = 0;
    for (;;) {
        zmq_msg_t m;
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, pull, 0) < 0) break;
        bool last = zmq_msg_size(&m) == 0;
        if (!begin) begin = now_ns();
        zmq_msg_close(&m);
        if (last) break;
        received++;
    }
    print_received(received, received * bytes, (double)(now_ns() - begin) * 1e-9);
    pthread_join(thread, NULL);
    zmq_close(pull);
    zmq_ctx_term(s.context);
    zmq_ctx_term(context);
    return 0;
}
#endif

/* ---- latency ---- */

typedef struct pacing {
    int fd;
    size_t bytes;
    double rate;
    uint64_t begin_ns, n;
} pacing;

/* Messages of a length frame; the first 8 bytes are when it should leave. */
static void *send_by_clock(void *argument) {
    pacing *p = argument;
    uint8_t *m = must(malloc(4 + p->bytes));
    memset(m, 'x', 4 + p->bytes);
    m[0] = (uint8_t)(p->bytes >> 24), m[1] = (uint8_t)(p->bytes >> 16), m[2] = (uint8_t)(p->bytes >> 8), m[3] = (uint8_t)p->bytes;
    for (uint64_t i = 0; i < p->n; i++) {
        uint64_t due = p->begin_ns + (uint64_t)((double)i * 1e9 / p->rate), now;
        while ((now = now_ns()) < due) {
            if (due - now < 60000) continue; /* spins: a sleep comes too late */
            struct timespec t = {.tv_nsec = (long)(due - now - 55000)};
            nanosleep(&t, NULL);
        }
        memcpy(m + 4, &due, 8);
        if (!send_all(p->fd, m, 4 + p->bytes)) break;
    }
    shutdown(p->fd, SHUT_WR);
    free(m);
    return NULL;
}

static int compare_times(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int latency_command(const char *where, int port, size_t bytes, double rate, double seconds) {
    int l = listen_at(port, NULL);
    int out = call(where), in = accept(l, NULL, NULL);
    pacing p = {out, bytes, rate, now_ns() + 50000000u, (uint64_t)(rate * seconds)};
    uint64_t *times = must(calloc(p.n, sizeof *times)), n = 0;
    size_t each = 4 + bytes, filled = 0;
    uint8_t *buffer = must(malloc(READ_BYTES + each));
    pthread_t thread;
    pthread_create(&thread, NULL, send_by_clock, &p);
    while (n < p.n) {
        ssize_t r = read(in, buffer + filled, READ_BYTES);
        if (r <= 0) break;
        uint64_t now = now_ns();
        size_t at = 0;
        for (filled += (size_t)r; filled - at >= each && n < p.n; at += each) {
            uint64_t due;
            memcpy(&due, buffer + at + 4, 8);
            times[n++] = now - due;
        }
        memmove(buffer, buffer + at, filled -= at);
    }
    pthread_join(thread, NULL);
    qsort(times, n, sizeof *times, compare_times);
    if (!n) return 1;
    printf("{\"received\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, "
           "\"cpu_seconds\": %.3f}\n", (unsigned long long)n, (double)times[n / 2] / 1e3, (double)times[n - n / 100 - 1] / 1e3,
           (double)times[n - n / 1000 - 1] / 1e3, (double)times[n - 1] / 1e3, cpu_seconds());
    return 0;
}

static int echo_command(int port, const char *where) {
    int l = listen_at(port, NULL), in = accept(l, NULL, NULL), out = call(where);
    uint8_t *p = must(malloc(READ_BYTES));
    for (ssize_t r; (r = read(in, p, READ_BYTES)) > 0;)
        if (!send_all(out, p, (size_t)r)) break;
    return 0;
}

int main(int n, char **a) {
    const char *what = n > 1 ? a[1] : "";
    if (!strcmp(what, "send") && n >= 6)
        return send_command(a[2], !strcmp(a[3], "newline"), strtoull(a[4], 0, 10), a[5], n > 6 ? atoi(a[6]) : 1);
    if (!strcmp(what, "receive") && n >= 4) return receive_command(atoi(a[2]), !strcmp(a[3], "newline"));
    if (!strcmp(what, "raw") && n >= 5) return raw_command(!strcmp(a[2], "newline"), strtoull(a[3], 0, 10), a[4]);
#ifdef HAVE_ZMQ
    if (!strcmp(what, "zmq") && n >= 4) return zmq_command(strtoull(a[2], 0, 10), a[3]);
#endif
    if (!strcmp(what, "latency") && n >= 7)
        return latency_command(a[2], atoi(a[3]), strtoull(a[4], 0, 10), atof(a[5]), atof(a[6]));
    if (!strcmp(what, "echo") && n >= 4) return echo_command(atoi(a[2]), a[3]);
    fprintf(stderr, "usage: see the head of blast.c\n");
    return 2;
}
