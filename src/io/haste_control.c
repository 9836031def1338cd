#include "io/haste_control.h"

#include <errno.h>
#include <http_parser.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "data/number_text.h"
#include "io/dict_text.h"

#define PATIENCE_NS UINT64_C(5000000000) /* for a whole request */
#define PERIOD_MAX_S 31536000.0
enum { BODY_MAX = 4096, LOOK_MS = 100, MESSAGE_BYTES_MIN = 37, CPU_MS_MAX = 999999 };

struct haste_control {
    run_context *run;
    size_t bytes_max;
    endpoint *endpoint;
    int listener;
    pthread_t thread;
    bool has_thread;
    atomic_bool quits;
    pthread_mutex_t lock; /* of what follows */
    haste_settings asked;
    bool is_new;
};

/* ---- settings ---- */

const char *haste_settings_read(const char *text, size_t n, size_t bytes_max, haste_settings *out) {
    dict_text d = dict_text_of(text, n);
    dict_entry e;
    dict_status status;
    *out = (haste_settings){0};
    while ((status = dict_text_next(&d, &e)) == DICT_ENTRY) {
        bool cpu = dict_key_is(&e, "cpu_pause_ms"), bytes = dict_key_is(&e, "message_bytes"), period = dict_key_is(&e, "period_sec");
        double value;
        if (!cpu && !bytes && !period) continue;
        if (e.text || parse_float64(e.value, e.value_bytes, &value) != PARSE_OK) return "a value is no number";
        if (cpu && !(value >= 0 && value <= CPU_MS_MAX)) return "cpu_pause_ms is not from 0 to 999999";
        if (bytes && !(value >= MESSAGE_BYTES_MIN && value <= (double)bytes_max)) return "message_bytes is less than the header, or too large";
        if (period && !(value > 1e-9 && value <= PERIOD_MAX_S)) return "period_sec is not above 0";
        if (cpu) out->has_cpu = true, out->cpu_ms = (int64_t)value;
        if (bytes) out->has_bytes = true, out->bytes = (size_t)value;
        if (period) out->has_period = true, out->period_s = value;
    }
    return status == DICT_END ? NULL : "it is no JSON object";
}

bool haste_control_take(haste_control *c, haste_settings *out) {
    pthread_mutex_lock(&c->lock);
    bool is_new = c->is_new;
    *out = c->asked;
    c->asked = (haste_settings){0};
    c->is_new = false;
    pthread_mutex_unlock(&c->lock);
    return is_new;
}

static void ask(haste_control *c, const haste_settings *s) {
    pthread_mutex_lock(&c->lock);
    if (s->has_cpu) c->asked.has_cpu = true, c->asked.cpu_ms = s->cpu_ms;
    if (s->has_bytes) c->asked.has_bytes = true, c->asked.bytes = s->bytes;
    if (s->has_period) c->asked.has_period = true, c->asked.period_s = s->period_s;
    c->is_new = true;
    pthread_mutex_unlock(&c->lock);
    run_wake(c->run);
}

/* ---- requests: one after the other, each in its time ---- */

typedef struct request {
    bool whole, refused;
    char body[BODY_MAX];
    size_t bytes;
} request;

static int on_body(http_parser *p, const char *at, size_t n) {
    request *r = p->data;
    if (n > sizeof r->body - r->bytes) {
        r->refused = true;
        return -1;
    }
    memcpy(r->body + r->bytes, at, n);
    r->bytes += n;
    return 0;
}

static int on_complete(http_parser *p) {
    ((request *)p->data)->whole = true;
    http_parser_pause(p, 1);
    return 0;
}

static bool await(const haste_control *c, int fd, short events, uint64_t until) {
    while (!atomic_load(&c->quits) && clock_ns() < until) {
        struct pollfd w = {.fd = fd, .events = events};
        if (poll(&w, 1, LOOK_MS) > 0) return true;
    }
    return false;
}

/* The answers are as HASTE's, text/html and quotes included; it had none for what is wrong. */
static void answer(int fd, int code, const char *body) {
    char text[512];
    int n = snprintf(text, sizeof text, "HTTP/1.0 %d %s\r\nContent-type: text/html\r\nContent-Length: %zu\r\n\r\n%s", code,
                     http_status_str((enum http_status)code), strlen(body), body);
    if (send(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return; /* it has gone */
}

static void serve(haste_control *c, int fd) {
    static const http_parser_settings settings = {.on_body = on_body, .on_message_complete = on_complete};
    uint64_t until = clock_ns() + PATIENCE_NS;
    request r = {0};
    http_parser p;
    http_parser_init(&p, HTTP_REQUEST);
    p.data = &r;
    while (!r.whole) {
        char bytes[4096];
        if (!await(c, fd, POLLIN, until)) return answer(fd, 408, "");
        ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) continue;
        if (n <= 0) return;
        http_parser_execute(&p, &settings, bytes, (size_t)n);
        enum http_errno wrong = HTTP_PARSER_ERRNO(&p);
        if (r.refused || p.upgrade || (wrong != HPE_OK && wrong != HPE_PAUSED)) return answer(fd, r.refused ? 413 : 400, "");
    }
    if (p.method == HTTP_GET) return answer(fd, 200, "");
    if (p.method != HTTP_POST) return answer(fd, 405, "");
    haste_settings s;
    char body[256];
    const char *wrong = haste_settings_read(r.body, r.bytes, c->bytes_max, &s);
    snprintf(body, sizeof body, "{'result':'%s.'}", wrong ? wrong : "new config applied");
    if (!wrong) ask(c, &s);
    answer(fd, wrong ? 400 : 200, body);
}

/* Until the client has read the answer: what it still sends would break it off. */
static void see_off(const haste_control *c, int fd) {
    char rest[4096];
    uint64_t until = clock_ns() + PATIENCE_NS;
    if (shutdown(fd, SHUT_WR) != 0) return;
    for (int i = 0; i < 256 && await(c, fd, POLLIN, until); i++)
        if (recv(fd, rest, sizeof rest, MSG_DONTWAIT) <= 0) return;
}

static void *attend(void *argument) {
    haste_control *c = argument;
    char name[SOCKET_NAME_MAX];
    while (!atomic_load(&c->quits)) {
        if (!await(c, c->listener, POLLIN, UINT64_MAX)) continue;
        int fd = socket_accept(c->listener, name);
        if (fd < 0) { /* perhaps for want of descriptors */
            poll(NULL, 0, LOOK_MS);
            continue;
        }
        serve(c, fd);
        see_off(c, fd);
        close(fd);
    }
    return NULL;
}

tw_status haste_control_start(endpoint *e, run_context *run, size_t bytes_max, haste_control **out, tw_error *err) {
    haste_control *c = calloc(1, sizeof *c);
    if (!c) return error_set(err, TW_ERR_MEMORY, "out of memory for a source");
    *out = c;
    *c = (haste_control){.run = run, .bytes_max = bytes_max, .endpoint = e, .listener = -1};
    pthread_mutex_init(&c->lock, NULL);
    TRY(socket_listen(e, &c->listener, err));
    int failed = pthread_create(&c->thread, NULL, attend, c);
    if (failed) return error_io(err, failed, "cannot start a thread");
    c->has_thread = true;
    return TW_OK;
}

void haste_control_free(haste_control *c) {
    if (!c) return;
    atomic_store(&c->quits, true);
    if (c->has_thread) pthread_join(c->thread, NULL);
    socket_close_listener(c->endpoint, c->listener);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
