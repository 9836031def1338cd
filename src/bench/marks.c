#include "bench/marks.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { RESULT_CONNECTIONS = 64, RESULT_BYTES = 64 << 10 };

/* A connection of an engine. */
typedef struct back {
    char head[MESSAGE_HEAD];
    unsigned filled; /* of the line at hand */
} back;

static void take_mark(marks *m, const char head[MESSAGE_HEAD], uint64_t now) {
    if (head[0] != 'C' || head[MARK_AT] != 'M') return;
    uint64_t due = 0;
    for (int i = 0; i < MARK_DIGITS; i++) {
        unsigned digit = (unsigned)(head[MARK_DIGITS_AT + i] - '0');
        if (digit > 9) return;
        due = due * 10 + digit;
    }
    if (due > now) return; /* not ours */
    atomic_fetch_add(&m->back, 1);
    if (due > atomic_load(&m->newest)) atomic_store(&m->newest, due);
    if (now >= m->from_ns && now < m->until_ns) m->in_time++;
    if (due < m->from_ns || due >= m->until_ns) return;
    double x = (double)(due - m->from_ns) * 1e-9, y = (double)(now - due) * 1e-9;
    m->measured++;
    m->sum_x += x, m->sum_y += y, m->sum_xx += x * x, m->sum_xy += x * y;
    histogram_add(&m->latencies, now - due, 1);
}

static void take_bytes(marks *m, back *b, const char *p, size_t n) {
    uint64_t now = clock_ns();
    const char *end = p + n;
    pthread_mutex_lock(&m->lock);
    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        size_t there = (size_t)((line_end ? line_end : end) - p), room = MESSAGE_HEAD - b->filled;
        size_t taken = there < room ? there : room;
        memcpy(b->head + b->filled, p, taken);
        b->filled += (unsigned)taken;
        if (!line_end) break;
        if (b->filled == MESSAGE_HEAD) take_mark(m, b->head, now);
        b->filled = 0;
        p = line_end + 1;
    }
    if (m->waits) pthread_cond_broadcast(&m->came);
    pthread_mutex_unlock(&m->lock);
}

static void *receive_marks(void *argument) {
    marks *m = argument;
    static _Thread_local char bytes[RESULT_BYTES];
    struct pollfd polled[2 + RESULT_CONNECTIONS] = {{.fd = m->wake[0], .events = POLLIN}, {.fd = m->listener, .events = POLLIN}};
    back backs[2 + RESULT_CONNECTIONS] = {0};
    nfds_t n = 2;
    char name[SOCKET_NAME_MAX];
    for (;;) {
        if (poll(polled, n, -1) < 0 && errno != EINTR) break;
        if (polled[0].revents) break;
        for (nfds_t i = n; i-- > 2;) {
            if (!polled[i].revents) continue;
            ssize_t got = read(polled[i].fd, bytes, sizeof bytes);
            if (got > 0) take_bytes(m, &backs[i], bytes, (size_t)got);
            if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) continue;
            close(polled[i].fd);
            n--;
            polled[i] = polled[n];
            backs[i] = backs[n];
        }
        int fd = polled[1].revents ? socket_accept(m->listener, name) : -1;
        if (fd >= 0 && n == 2 + RESULT_CONNECTIONS) close(fd);
        else if (fd >= 0) {
            polled[n] = (struct pollfd){.fd = fd, .events = POLLIN};
            backs[n++] = (back){0};
        }
    }
    while (n > 2) close(polled[--n].fd);
    return NULL;
}

tw_status marks_open(marks *m, const char *results, tw_error *err) {
    memset(m, 0, sizeof *m);
    m->listener = m->wake[0] = m->wake[1] = -1;
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_t by;
    pthread_condattr_init(&by);
    pthread_condattr_setclock(&by, CLOCK_MONOTONIC);
    pthread_cond_init(&m->came, &by);
    pthread_condattr_destroy(&by);
    TRY(*results == '/' ? endpoint_of_unix(results, &m->endpoint, err) : endpoint_of_tcp(results, &m->endpoint, err));
    TRY(endpoint_resolve(&m->endpoint, err));
    TRY(socket_listen(&m->endpoint, &m->listener, err));
    if (pipe(m->wake)) return error_io(err, errno, "cannot make a pipe");
    int failed = pthread_create(&m->thread, NULL, receive_marks, m);
    if (failed) return error_io(err, failed, "cannot start a thread");
    m->running = true;
    return TW_OK;
}

void marks_close(marks *m) {
    if (m->running) {
        while (write(m->wake[1], "", 1) < 0 && errno == EINTR) {}
        pthread_join(m->thread, NULL);
    }
    if (m->listener >= 0) socket_close_listener(&m->endpoint, m->listener);
    for (int i = 0; i < 2; i++)
        if (m->wake[i] >= 0) close(m->wake[i]);
    endpoint_free(&m->endpoint);
    pthread_cond_destroy(&m->came);
    pthread_mutex_destroy(&m->lock);
}

void marks_begin(marks *m, uint64_t from_ns, uint64_t until_ns) {
    pthread_mutex_lock(&m->lock);
    atomic_store(&m->back, 0);
    atomic_store(&m->newest, 0);
    m->from_ns = from_ns;
    m->until_ns = until_ns;
    m->in_time = m->measured = 0;
    m->sum_x = m->sum_y = m->sum_xx = m->sum_xy = 0;
    memset(&m->latencies, 0, sizeof m->latencies);
    pthread_mutex_unlock(&m->lock);
}

double marks_growth(const marks *m) {
    double n = (double)m->measured, spread = n * m->sum_xx - m->sum_x * m->sum_x;
    if (m->measured < 3 || spread <= 0) return 0;
    return (n * m->sum_xy - m->sum_x * m->sum_y) / spread * (double)(m->until_ns - m->from_ns) * 1e-9;
}
