#include "io/sender.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/poller.h"
#include "io/backoff.h"

enum { PARTS_AT_ONCE = 64, INPUT_BYTES = 4096, LOOK_MS = 100, FINISH_LOOK_MS = 5 };
#define QUEUED_BYTES_MAX ((size_t)4 << 20)
#define SEND_BYTES_AT_ONCE ((size_t)1 << 20)

/* A parcel on its way to one peer. */
typedef struct item {
    parcel *parcel;
    size_t sent;
    struct item *next;
} item;

typedef struct peer {
    sender *sender;
    int fd;              /* -1: not connected */
    watch_id watch;
    item *first, **last;
    size_t queued_bytes;
    bool sending;        /* somebody is in send() */
    bool blocked;        /* the socket takes no more, or an answer is awaited */
    bool arming, arm_again; /* somebody arms the watch; is to do so again */
    uint32_t wanted;     /* events */
    bool half_closed;    /* it sends no more */
    bool over;           /* to be closed by the thread */
    int failed;          /* why: an errno, or 0 */
    uint64_t moved_ns;   /* when it last took something */
    uint64_t again_ns;   /* not to be sent to before; 0: at once */
    void *state;
    struct peer *next;
} peer;

struct sender {
    sender_options options;
    run_context *run;
    pthread_mutex_t lock;   /* of all below */
    peer *peers;            /* at least one, be it unconnected */
    size_t queued_bytes_max;
    bool refused;           /* somebody was told to wait for room */
    bool given_up;
    tw_error error;
    parcel *start;          /* what a connection begins with */
    pthread_t thread;
    bool has_thread;
    atomic_bool quits;
    int listener, bell;     /* of the thread */
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

static void ring(sender *s) {
    uint64_t one = 1;
    if (write(s->bell, &one, sizeof one) < 0) { /* it rings already */
    }
}

/* ---- queues; with the lock held ---- */

static bool queue(peer *p, parcel *parcel) {
    item *i = malloc(sizeof *i);
    if (!i) return false;
    *i = (item){.parcel = parcel};
    atomic_fetch_add(&parcel->references, 1);
    if (!p->first) p->moved_ns = clock_ns();
    *p->last = i;
    p->last = &i->next;
    p->queued_bytes += parcel_bytes(parcel);
    return true;
}

static void queue_first(peer *p, parcel *parcel) {
    item *i = malloc(sizeof *i);
    if (!i) return; /* a header less: told apart from rows by none */
    *i = (item){.parcel = parcel, .next = p->first};
    atomic_fetch_add(&parcel->references, 1);
    if (!p->first) p->last = &i->next;
    p->first = i;
    p->queued_bytes += parcel_bytes(parcel);
}

static void pop(peer *p) {
    item *i = p->first;
    p->first = i->next;
    if (!p->first) p->last = &p->first;
    p->queued_bytes -= parcel_bytes(i->parcel);
    parcel_unref(i->parcel);
    free(i);
}

static void give_up(sender *s, const tw_error *why) {
    if (s->given_up) return;
    s->given_up = true;
    s->error = *why;
}

static bool has_room(const sender *s) {
    if (s->given_up) return true; /* to be told so */
    for (const peer *p = s->peers; p; p = p->next)
        if (p->queued_bytes >= s->queued_bytes_max) return false;
    return true;
}

/* ---- sending ---- */

static bool done_with(sender *s, peer *p, item *i) {
    parcel *sent = i->parcel;
    if (!atomic_exchange(&sent->counted, true)) atomic_fetch_add(&s->run->rows_out, sent->rows);
    bool rows = sent->rows > 0;
    pop(p);
    return rows;
}

/* Takes `n` bytes off the front of the queue. */
static void advance(sender *s, peer *p, size_t n) {
    p->moved_ns = clock_ns();
    while (p->first) {
        item *i = p->first;
        size_t left = parcel_bytes(i->parcel) - i->sent, now = n < left ? n : left;
        i->sent += now;
        n -= now;
        if (now < left) return;
        if (s->options.read_answer) {
            p->blocked = true; /* until it is answered */
            return;
        }
        if (done_with(s, p, i) && s->options.connection_each) {
            p->over = true;
            return;
        }
    }
}

static int parts_of(const sender *s, const peer *p, struct iovec parts[PARTS_AT_ONCE]) {
    int n = 0;
    size_t bytes = 0;
    bool single = s->options.read_answer || s->options.connection_each;
    for (const item *i = p->first; i && n + 2 <= PARTS_AT_ONCE && bytes < SEND_BYTES_AT_ONCE; i = i->next) {
        const parcel *q = i->parcel;
        size_t head = i->sent < q->head_bytes ? q->head_bytes - i->sent : 0;
        size_t past = i->sent > q->head_bytes ? i->sent - q->head_bytes : 0;
        if (head) parts[n++] = (struct iovec){(void *)(q->head + i->sent), head};
        if (q->data_bytes > past) parts[n++] = (struct iovec){(void *)(q->data + past), q->data_bytes - past};
        bytes += head + q->data_bytes - past;
        if (single && q->rows) break;
    }
    return n;
}

static bool may_send(const peer *p) { return p->fd >= 0 && !p->sending && !p->blocked && !p->over && p->first; }

/* Sends as long as the socket takes something, `rounds` times at most. With the lock held, which is let go of
 * meanwhile: what others queue until then is sent too. The events to wait for, if the watch is to be armed. */
static uint32_t send_queue(sender *s, peer *p, unsigned rounds) {
    uint32_t events = 0;
    while (may_send(p)) {
        struct iovec parts[PARTS_AT_ONCE];
        if (!rounds--) {
            p->blocked = true;
            events = EPOLLOUT;
            break;
        }
        struct msghdr m = {.msg_iov = parts, .msg_iovlen = (size_t)parts_of(s, p, parts)};
        p->sending = true;
        pthread_mutex_unlock(&s->lock);
        ssize_t n = sendmsg(p->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        int failed = n < 0 ? errno : 0;
        if (n > 0) atomic_fetch_add(&s->run->bytes_out, (uint64_t)n);
        pthread_mutex_lock(&s->lock);
        p->sending = false;
        if (!failed) {
            advance(s, p, (size_t)n);
        } else if (failed == EAGAIN || failed == EWOULDBLOCK) {
            p->blocked = true;
            events = EPOLLOUT;
        } else if (failed != EINTR) {
            p->over = true;
            p->failed = failed;
        }
    }
    if (p->over) ring(s);
    return events;
}

/* Arms the watch: for room if that is awaited, and for input, as a peer's end is seen before something is sent to
 * it in vain. With the lock held, which is let go of meanwhile; whoever comes then leaves it to the first. */
static void arm(sender *s, peer *p, uint32_t events) {
    tw_error err;
    if (p->blocked && !s->options.read_answer) events |= EPOLLOUT;
    if (!p->half_closed) events |= EPOLLIN;
    p->wanted = events;
    p->arm_again = p->arming;
    if (p->arming || !events) return;
    p->arming = true;
    do {
        p->arm_again = false;
        events = p->wanted;
        pthread_mutex_unlock(&s->lock);
        (void)poller_rearm(s->run->poller, p->watch, events, &err);
        pthread_mutex_lock(&s->lock);
    } while (p->arm_again);
    p->arming = false;
}

/* With the lock held. */
static bool wakes(sender *s) {
    if (!s->refused || !has_room(s)) return false;
    s->refused = false;
    return true;
}

/* ---- what the peer sends; with the lock held ---- */

static void take_answer(sender *s, peer *p, const uint8_t *bytes, size_t n) {
    tw_error err = {0};
    uint64_t again_ns = 0;
    switch (s->options.read_answer(p->state, bytes, n, &again_ns, &err)) {
    case ANSWER_NONE: return;
    case ANSWER_TAKEN:
        if (!p->first || p->first->sent < parcel_bytes(p->first->parcel)) break; /* to no question */
        done_with(s, p, p->first);
        p->blocked = false;
        return;
    case ANSWER_LATER:
        if (p->first) p->first->sent = 0;
        p->again_ns = clock_ns() + again_ns;
        ring(s);
        return;
    case ANSWER_REFUSED: give_up(s, &err); return;
    case ANSWER_BROKEN: break;
    }
    p->over = true;
    p->failed = EPROTO;
}

static void read_input(sender *s, peer *p) {
    uint8_t bytes[INPUT_BYTES];
    ssize_t n = recv(p->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) {
        if (s->options.read_answer) take_answer(s, p, bytes, (size_t)n);
    } else if (n == 0 && s->options.listens) {
        p->half_closed = true; /* it may read on */
    } else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        p->failed = n == 0 ? ECONNRESET : errno;
        p->over = true;
    }
    if (p->over) ring(s);
}

static void on_peer(void *context, uint32_t events) {
    peer *p = context;
    sender *s = p->sender;
    pthread_mutex_lock(&s->lock);
    if (p->fd >= 0 && !p->over) {
        /* An answer to what is being sent waits until that is noted: the watch rings again. */
        if (!p->sending && events & (EPOLLIN | EPOLLERR | EPOLLHUP)) read_input(s, p);
        bool waits = s->options.read_answer && (p->again_ns || !p->first || p->first->sent == parcel_bytes(p->first->parcel));
        if (events & EPOLLOUT && !waits) p->blocked = false;
        uint32_t more = send_queue(s, p, 4);
        if (!p->over) arm(s, p, more);
    }
    bool wake = wakes(s) || s->given_up;
    pthread_mutex_unlock(&s->lock);
    if (wake) run_wake(s->run);
}

/* ---- peers come and go: the thread ---- */

static peer *peer_new(sender *s) {
    peer *p = calloc(1, sizeof *p + s->options.state_bytes);
    if (!p) return NULL;
    p->sender = s;
    p->fd = -1;
    p->last = &p->first;
    p->state = p + 1;
    p->next = s->peers;
    s->peers = p;
    return p;
}

/* With the lock held. */
static void peer_clear(peer *p) {
    while (p->first) pop(p);
}

static void peer_connected(sender *s, peer *p, int fd) {
    tw_error err;
    watch_id watch;
    if (poller_add(s->run->poller, fd, 0, on_peer, p, &watch, &err) != TW_OK) {
        close(fd);
        return;
    }
    pthread_mutex_lock(&s->lock);
    p->fd = fd;
    p->watch = watch;
    p->moved_ns = clock_ns();
    p->blocked = p->half_closed = p->over = false;
    p->failed = 0;
    p->again_ns = 0;
    memset(p->state, 0, s->options.state_bytes);
    if (s->start) queue_first(p, s->start);
    uint32_t more = send_queue(s, p, 1);
    if (!p->over) arm(s, p, more);
    bool wake = wakes(s);
    pthread_mutex_unlock(&s->lock);
    if (wake) run_wake(s->run);
}

/* What was taken in part is sent again from the beginning of the message that was cut. */
static void rewind_queue(sender *s, peer *p) {
    while (p->first && !p->first->parcel->rows) pop(p); /* a start */
    item *i = p->first;
    if (!i) return;
    i->sent = s->options.read_answer ? 0 : parcel_message_begin(s->options.format, i->parcel, i->sent);
}

static void disconnect(sender *s, peer *p) {
    poller_remove(s->run->poller, p->watch);
    shutdown(p->fd, SHUT_WR);
    pthread_mutex_lock(&s->lock);
    while (p->sending || p->arming) { /* it will see that the socket is closed */
        pthread_mutex_unlock(&s->lock);
        sched_yield();
        pthread_mutex_lock(&s->lock);
    }
    close(p->fd);
    p->fd = -1;
    p->watch = 0;
    rewind_queue(s, p);
    pthread_mutex_unlock(&s->lock);
}

/* Lets go of peers that are over; of those that connected here the last stays as a place for rows. */
static void sweep(sender *s, bool *lost, int *failed) {
    pthread_mutex_lock(&s->lock);
    uint64_t now = clock_ns();
    for (peer **link = &s->peers, *p; (p = *link);) {
        bool waits = p->fd >= 0 && p->first && !p->again_ns && s->options.timeout_ns;
        if (waits && now - p->moved_ns > s->options.timeout_ns) p->over = true, p->failed = ETIMEDOUT;
        if (!p->over || p->fd < 0) {
            link = &p->next;
            continue;
        }
        *lost = true;
        *failed = p->failed;
        pthread_mutex_unlock(&s->lock);
        disconnect(s, p);
        pthread_mutex_lock(&s->lock);
        now = clock_ns();
        p->over = false;
        bool last = s->peers == p && !p->next;
        if (s->options.listens) peer_clear(p);
        if (!s->options.listens || last) {
            link = &p->next;
            continue;
        }
        for (link = &s->peers; *link != p;) link = &(*link)->next; /* others only come at the front */
        *link = p->next;
        free(p);
    }
    bool wake = wakes(s);
    pthread_mutex_unlock(&s->lock);
    if (wake) run_wake(s->run);
}

static void send_again(sender *s) {
    uint64_t now = clock_ns();
    pthread_mutex_lock(&s->lock);
    for (peer *p = s->peers; p; p = p->next) {
        if (!p->again_ns || p->again_ns > now || p->fd < 0) continue;
        p->again_ns = 0;
        p->blocked = false;
        uint32_t more = send_queue(s, p, 1);
        if (!p->over) arm(s, p, more);
    }
    pthread_mutex_unlock(&s->lock);
}

static void accept_peer(sender *s) {
    char name[SOCKET_NAME_MAX];
    int fd = socket_accept(s->listener, name);
    if (fd < 0) return;
    pthread_mutex_lock(&s->lock);
    peer *p = s->peers && s->peers->fd < 0 && !s->peers->next ? s->peers : peer_new(s);
    pthread_mutex_unlock(&s->lock);
    if (p) peer_connected(s, p, fd);
    else close(fd);
}

/* A connection, or -1; waits until it is made, failed or not wanted any more. */
static int call_peer(sender *s, unsigned attempt, int *failed) {
    int fd = socket_connect(s->options.endpoint, attempt);
    *failed = fd < 0 ? errno : 0;
    if (fd < 0) return -1;
    for (int waited = 0;; waited += LOOK_MS) {
        struct pollfd w = {.fd = fd, .events = POLLOUT};
        int n = poll(&w, 1, LOOK_MS);
        *failed = n > 0 ? socket_result(fd) : ETIMEDOUT;
        if (n > 0 && !*failed) return fd;
        bool over = n > 0 || atomic_load(&s->quits) || (uint64_t)waited * 1000000u > s->options.retry_ns;
        if (over) break;
    }
    close(fd);
    return -1;
}

static void no_answer(sender *s, int failed) {
    tw_error why = {0};
    error_io(&why, failed, "%s: no connection to '%s' within %g s", s->options.kind, s->options.endpoint->text,
             (double)s->options.retry_ns * 1e-9);
    pthread_mutex_lock(&s->lock);
    give_up(s, &why);
    pthread_mutex_unlock(&s->lock);
    run_wake(s->run);
}

static void sleep_until_bell(sender *s, uint64_t ns) {
    struct pollfd bell = {.fd = s->bell, .events = POLLIN};
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    uint64_t rung;
    if (ppoll(&bell, 1, &t, NULL) > 0 && read(s->bell, &rung, sizeof rung) < 0) return;
}

static void keep_connected(sender *s, bool was_lost, int failed) {
    uint64_t random = clock_ns() | 1, since = clock_ns();
    bool told = false;
    for (unsigned attempt = 0; !atomic_load(&s->quits); attempt++) {
        if (attempt || (was_lost && !s->options.connection_each)) sleep_until_bell(s, backoff_ns(attempt, &random));
        if (atomic_load(&s->quits)) return;
        if (attempt && clock_ns() - since > s->options.retry_ns) {
            no_answer(s, failed);
            return;
        }
        int fd = call_peer(s, attempt, &failed);
        if (told != (fd < 0) && (told || attempt >= s->options.endpoint->n) && !atomic_load(&s->quits)) { /* all addresses failed */
            told = !told;
            socket_tell_outage(s->run, s->options.kind, s->options.endpoint, told ? failed : 0, s->options.retry_ns);
        }
        if (fd < 0) continue;
        peer_connected(s, s->peers, fd);
        return;
    }
}

static void *attend(void *argument) {
    sender *s = argument;
    bool lost = false;
    int failed = ECONNREFUSED;
    if (!s->options.listens) keep_connected(s, false, failed);
    while (!atomic_load(&s->quits)) {
        struct pollfd w[2] = {{.fd = s->bell, .events = POLLIN}, {.fd = s->listener, .events = POLLIN}};
        uint64_t rung;
        if (poll(w, 2, LOOK_MS) > 0 && w[0].revents && read(s->bell, &rung, sizeof rung) < 0) continue;
        if (w[1].revents & POLLIN) accept_peer(s);
        sweep(s, &lost, &failed);
        if (s->options.read_answer) send_again(s);
        if (lost && !s->options.listens) keep_connected(s, true, failed ? failed : ECONNRESET);
        lost = false;
    }
    return NULL;
}

/* ---- from outside ---- */

tw_status sender_start(const sender_options *o, run_context *run, sender **out, tw_error *err) {
    sender *s = calloc(1, sizeof *s);
    if (!s) return no_memory(err);
    *out = s;
    s->options = *o;
    s->run = run;
    s->listener = s->bell = -1;
    pthread_mutex_init(&s->lock, NULL);
    size_t most = memory_limit(run->memory) / 16;
    s->queued_bytes_max = most < QUEUED_BYTES_MAX ? most : QUEUED_BYTES_MAX;
    if (!peer_new(s)) return no_memory(err);
    TRY(endpoint_resolve(o->endpoint, err));
    TRY(parcel_of_start(o->format, run->memory, &s->start, err));
    if (o->listens) TRY(socket_listen(o->endpoint, &s->listener, err));
    s->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->bell < 0) return error_io(err, errno, "%s: cannot make a descriptor", o->kind);
    int failed = pthread_create(&s->thread, NULL, attend, s);
    if (failed) return error_io(err, failed, "%s: cannot start a thread", o->kind);
    s->has_thread = true;
    return TW_OK;
}

void sender_free(sender *s) {
    if (!s) return;
    atomic_store(&s->quits, true);
    if (s->has_thread) {
        ring(s);
        pthread_join(s->thread, NULL);
    }
    for (peer *p = s->peers, *next; p; p = next) {
        next = p->next;
        if (p->fd >= 0) disconnect(s, p);
        peer_clear(p);
        free(p);
    }
    socket_close_listener(s->options.endpoint, s->listener);
    if (s->bell >= 0) close(s->bell);
    parcel_unref(s->start);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

bool sender_ready(sender *s) {
    pthread_mutex_lock(&s->lock);
    bool ready = has_room(s);
    if (!ready) s->refused = true;
    pthread_mutex_unlock(&s->lock);
    return ready;
}

void sender_put(sender *s, parcel *list) {
    pthread_mutex_lock(&s->lock);
    bool failed = false;
    for (parcel *q = list; q; q = q->next)
        for (peer *p = s->peers; p; p = p->next) failed |= !queue(p, q);
    if (failed) {
        tw_error why;
        no_memory(&why);
        give_up(s, &why);
    }
    pthread_mutex_unlock(&s->lock);
    parcels_free(list);
}

/* With the lock held. */
static void flush(sender *s) {
    for (peer *p = s->peers; p; p = p->next) {
        if (!may_send(p)) continue;
        uint32_t more = send_queue(s, p, UINT32_MAX);
        if (more && !p->over) arm(s, p, more);
    }
}

tw_status sender_flush(sender *s, tw_error *err) {
    pthread_mutex_lock(&s->lock);
    flush(s);
    bool failed = s->given_up, wake = wakes(s);
    if (failed && err) *err = s->error;
    tw_status status = failed ? s->error.code : TW_OK;
    pthread_mutex_unlock(&s->lock);
    if (wake) run_wake(s->run);
    return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status;
}

static bool is_empty(sender *s) {
    bool empty = true;
    for (const peer *p = s->peers; p; p = p->next) empty &= !p->first;
    return empty;
}

tw_status sender_finish(sender *s, tw_error *err) {
    for (;;) {
        if (run_cancelled(s->run)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        TRY(sender_flush(s, err));
        pthread_mutex_lock(&s->lock);
        bool done = is_empty(s);
        int fd = -1;
        for (const peer *p = s->peers; p; p = p->next)
            if (p->first && p->fd >= 0) fd = dup(p->fd);
        pthread_mutex_unlock(&s->lock);
        if (done) return TW_OK;
        struct pollfd w = {.fd = fd, .events = s->options.read_answer ? POLLIN : POLLOUT};
        poll(&w, 1, FINISH_LOOK_MS);
        poller_wait(s->run->poller, 0); /* this may be the only worker */
        if (fd >= 0) close(fd);
    }
}
