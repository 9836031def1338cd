/* harmonicio_pes.c: a master for PEs alone: their polls wait until there is a message.
 *
 * A PE that polls is free. Its request is answered when there is something for it, so it never registers: no message can
 * pass it by while it waits, a PE that has gone is known by its connection, and the answer says how long the message is.
 * A message is done when the PE has closed the connection, which it does when it has read the answer. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/harmonicio.h"
#include "io/harmonicio_outbox.h"

enum { PES_MAX = 1024, LOOK_MS = 100, ANSWER_MAX = 2048 };

typedef enum pe_state {
    PE_ASKING, /* its request comes */
    PE_FREE,   /* waits for a message */
    PE_ANSWERED, /* the answer is on its way */
    PE_READING, /* has been sent everything: closes when it has read it */
    PE_GONE
} pe_state;

typedef struct pe {
    pe_state state;
    int fd;
    uint64_t since_ns;      /* something moved */
    uint64_t turn;          /* free ones: who came first */
    char head[ANSWER_MAX];
    size_t head_bytes, sent;
    parcel *message;        /* its own until it has read it; NULL: the answer is the head */
    master_exchange exchange;
} pe;

struct pe_server {
    outbox *outbox;
    const char *name;
    endpoint *endpoint;
    uint64_t timeout_ns, turns;
    int listener;
    pthread_t thread;
    bool has_thread;
    atomic_bool quits;
    pe *pes[PES_MAX];
    unsigned n;
    struct pollfd watched[PES_MAX + 2];
};

/* ---- one PE ---- */

static void send_some(pe_server *s, pe *p) {
    size_t data = p->message ? p->message->data_bytes : 0;
    while (p->sent < p->head_bytes + data) {
        struct iovec parts[2];
        int n = 0;
        size_t past = p->sent > p->head_bytes ? p->sent - p->head_bytes : 0;
        if (p->sent < p->head_bytes) parts[n++] = (struct iovec){p->head + p->sent, p->head_bytes - p->sent};
        if (data > past) parts[n++] = (struct iovec){(void *)(p->message->data + past), data - past};
        struct msghdr m = {.msg_iov = parts, .msg_iovlen = (size_t)n};
        ssize_t sent = sendmsg(p->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) p->state = PE_GONE;
        if (sent < 0) return;
        atomic_fetch_add(&s->outbox->run->bytes_out, (uint64_t)sent);
        p->sent += (size_t)sent;
        p->since_ns = clock_ns();
    }
    p->state = shutdown(p->fd, SHUT_WR) == 0 ? PE_READING : PE_GONE;
}

static void say(pe_server *s, pe *p, int code, const char *body) {
    p->head_bytes = master_answer(code, body, p->head, sizeof p->head);
    p->state = PE_ANSWERED;
    send_some(s, p);
}

static void answer(pe_server *s, pe *p) {
    master_request r;
    char body[64 + 2 * HARMONICIO_NAME_MAX];
    master_request_read(&p->exchange, &r);
    bool ours = r.name_bytes == strlen(s->name) && memcmp(r.name, s->name, r.name_bytes) == 0;
    switch (r.action) {
    case MASTER_POLLED:
        if (!ours) return say(s, p, 406, "There are messages for another image only.");
        if (!r.available) return say(s, p, 200, "No item in queue");
        p->state = PE_FREE;
        p->turn = s->turns++;
        return;
    case MASTER_LENGTHS:
        snprintf(body, sizeof body, strpbrk(s->name, "'\\") ? "{}" : "{'%s': %zu}", s->name, outbox_waiting(s->outbox));
        return say(s, p, 200, body);
    case MASTER_STATUS:
        p->head_bytes = master_answer_status(s->endpoint->host, p->head, sizeof p->head);
        p->state = PE_ANSWERED;
        return send_some(s, p);
    case MASTER_HEARS: return say(s, p, 200, "Okay");
    case MASTER_TELLS: return say(s, p, 200, "{'WORKERS': {}, 'CONTAINERS': {}, 'TUPLES': {}, 'MSG': {}}");
    case MASTER_SENDS: return say(s, p, 406, "Messages come from this job alone.");
    default: return say(s, p, r.code, r.words);
    }
}

/* What it says, or that it has gone. */
static void receive_some(pe_server *s, pe *p) {
    char bytes[4096];
    ssize_t n = recv(p->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    if (n == 0 && p->state == PE_READING && p->message) {
        outbox_done(s->outbox, p->message);
        p->message = NULL;
    }
    if (n <= 0) p->state = PE_GONE;
    if (n <= 0 || p->state != PE_ASKING) return; /* what it says besides is passed over */
    p->since_ns = clock_ns();
    if (master_exchange_feed(&p->exchange, bytes, (size_t)n)) answer(s, p);
}

static void hand(pe_server *s, pe *p, parcel *message) {
    p->message = message;
    p->since_ns = clock_ns();
    p->head_bytes = master_answer_head(203, "Bytes", message->data_bytes, p->head);
    p->state = PE_ANSWERED;
    send_some(s, p);
}

/* ---- all of them ---- */

static void accept_some(pe_server *s) {
    char name[SOCKET_NAME_MAX];
    while (s->n < PES_MAX) {
        int fd = socket_accept(s->listener, name);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) poll(NULL, 0, LOOK_MS);
        if (fd < 0) return;
        pe *p = calloc(1, sizeof *p);
        if (!p) {
            close(fd);
            return;
        }
        p->fd = fd;
        p->since_ns = clock_ns();
        s->pes[s->n++] = p;
    }
}

static void let_go(pe_server *s, unsigned i) {
    pe *p = s->pes[i];
    if (p->message) outbox_give_back(s->outbox, p->message);
    close(p->fd);
    free(p);
    s->pes[i] = s->pes[--s->n];
}

static void sweep(pe_server *s) {
    uint64_t now = clock_ns();
    for (unsigned i = s->n; i-- > 0;) {
        const pe *p = s->pes[i];
        if (p->state == PE_GONE || (p->state != PE_FREE && s->timeout_ns && now - p->since_ns > s->timeout_ns)) let_go(s, i);
    }
}

/* Messages go to those who have waited longest. */
static void hand_out(pe_server *s) {
    for (;;) {
        pe *first = NULL;
        for (unsigned i = 0; i < s->n; i++)
            if (s->pes[i]->state == PE_FREE && (!first || s->pes[i]->turn < first->turn)) first = s->pes[i];
        parcel *message = first ? outbox_take(s->outbox, 0) : NULL;
        if (!message) return;
        hand(s, first, message);
    }
}

static void *attend(void *argument) {
    pe_server *s = argument;
    while (!atomic_load(&s->quits)) {
        unsigned n = s->n;
        s->watched[0] = (struct pollfd){.fd = s->outbox->bell, .events = POLLIN};
        s->watched[1] = (struct pollfd){.fd = n < PES_MAX ? s->listener : -1, .events = POLLIN};
        for (unsigned i = 0; i < n; i++)
            s->watched[i + 2] = (struct pollfd){.fd = s->pes[i]->fd, .events = s->pes[i]->state == PE_ANSWERED ? POLLOUT : POLLIN};
        uint64_t rung;
        if (poll(s->watched, n + 2, LOOK_MS) > 0 && s->watched[0].revents && read(s->outbox->bell, &rung, sizeof rung) < 0) continue;
        for (unsigned i = 0; i < n; i++) {
            if (!s->watched[i + 2].revents) continue;
            if (s->pes[i]->state == PE_ANSWERED) send_some(s, s->pes[i]);
            else receive_some(s, s->pes[i]);
        }
        if (s->watched[1].revents) accept_some(s);
        sweep(s);
        hand_out(s);
    }
    for (unsigned i = 0; i < s->n; i++) /* they try again, and find nobody */
        if (s->pes[i]->state == PE_FREE) say(s, s->pes[i], 503, "The run has ended.");
    while (s->n) let_go(s, s->n - 1);
    return NULL;
}

tw_status pe_server_start(outbox *o, endpoint *e, const char *name, uint64_t timeout_ns, pe_server **out, tw_error *err) {
    pe_server *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for a sink");
    *out = s;
    s->outbox = o;
    s->name = name;
    s->endpoint = e;
    s->timeout_ns = timeout_ns;
    s->listener = -1;
    TRY(socket_listen(e, &s->listener, err));
    int failed = pthread_create(&s->thread, NULL, attend, s);
    if (failed) return error_io(err, failed, "harmonicio: cannot start a thread");
    s->has_thread = true;
    return TW_OK;
}

void pe_server_free(pe_server *s) {
    if (!s) return;
    atomic_store(&s->quits, true);
    if (s->has_thread) pthread_join(s->thread, NULL);
    socket_close_listener(s->endpoint, s->listener);
    free(s);
}
