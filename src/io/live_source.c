/* live_source.c: connections: made, watched, handed to readers, given up. */
#include "io/live_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/backoff.h"
#include "io/block_reader.h"
#include "io/live_reader.h"

#define LATER_NS 5000000u
#define ACCEPT_LATER_NS 100000000u /* no descriptor is free */
#define LOOKS_PER_TIMEOUT 4
#define LOOK_MIN_NS 10000000u
#define PATIENCE_NS 1000000000u
#define VISIT_NS 100000000u
#define PASSED_OVER_MAX ((size_t)4 << 20)
#define DESCRIPTORS_KEPT 16
enum { ACCEPTS_AT_ONCE = 64, ACCEPTS_AT_END = 64 };

static live_source *of(source *s) { return (live_source *)s; }
static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

/* ---- time; with the lock held ---- */

/* The timer rings at `at_ns`, or before. */
static void ring_at(live_source *s, uint64_t at_ns) {
    if (s->timer_at_ns && s->timer_at_ns <= at_ns) return;
    struct itimerspec t = {.it_value = {(time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u)}};
    if (timerfd_settime(s->timer, TFD_TIMER_ABSTIME, &t, NULL) == 0) s->timer_at_ns = at_ns;
}

static uint64_t look_ns(const live_source *s) {
    uint64_t step = s->options.timeout_ns / LOOKS_PER_TIMEOUT;
    return step < LOOK_MIN_NS ? LOOK_MIN_NS : step;
}

/* ---- the list of connections with something; with the lock held ---- */

static void push_ready(live_source *s, connection *c) {
    c->state = CONNECTION_READY;
    if (s->class->turn_away) {
        c->ready_ns = clock_ns();
        ring_at(s, c->ready_ns + PATIENCE_NS);
    }
    c->next = NULL;
    *s->ready_last = c;
    s->ready_last = &c->next;
}

static connection *pop_ready(live_source *s) {
    connection *c = s->ready;
    if (!c) return NULL;
    s->ready = c->next;
    if (!s->ready) s->ready_last = &s->ready;
    c->state = CONNECTION_HELD;
    return c;
}

/* ---- what the poller tells ---- */

/* Those who would wait for too long are told; as a list. With the lock held. */
static connection *turn_away(live_source *s) {
    uint64_t now = clock_ns();
    connection *away = NULL, **link = &s->ready;
    for (connection *c; (c = *link);) {
        if (c->gone || now - c->ready_ns < PATIENCE_NS) {
            if (!c->gone) ring_at(s, c->ready_ns + PATIENCE_NS);
            link = &c->next;
            continue;
        }
        *link = c->next;
        s->class->turn_away(c);
        c->state = CONNECTION_AWAY;
        c->next = away;
        away = c;
    }
    s->ready_last = link;
    return away;
}

static void watch_again(live_source *s, const connection *c) {
    tw_error err;
    (void)poller_rearm(s->run->poller, c->watch, EPOLLIN, &err);
}

/* Whether more may come from one that was turned away. */
static bool pass_over(connection *c) {
    char bytes[16384];
    ssize_t n = 0;
    for (int i = 0; i < 16 && c->passed_over < PASSED_OVER_MAX && (n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0; i++)
        c->passed_over += (size_t)n;
    return n > 0 ? c->passed_over < PASSED_OVER_MAX : n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

static void on_connection(void *context, uint32_t events) {
    connection *c = context;
    live_source *s = c->source;
    pthread_mutex_lock(&s->lock);
    bool wanted = c->state == CONNECTION_WATCHED, away = c->state == CONNECTION_AWAY;
    if (away && !pass_over(c)) {
        away = false;
        wanted = c->gone = true;
    }
    if (wanted) push_ready(s, c);
    pthread_mutex_unlock(&s->lock);
    if (away) watch_again(s, c);
    if (wanted) run_wake(s->run);
}

static void destroy(live_source *s, connection *c);

static void link_connection(live_source *s, connection *c) {
    c->all_link = &s->all;
    c->all_next = s->all;
    if (s->all) s->all->all_link = &c->all_next;
    s->all = c;
}

static void unlink_connection(connection *c) {
    *c->all_link = c->all_next;
    if (c->all_next) c->all_next->all_link = c->all_link;
}

/* No worker has had time to accept: who came is told, without a watch of its own. With the lock held. */
static void turn_visitors_away(live_source *s) {
    uint64_t now = clock_ns();
    char peer[SOCKET_NAME_MAX];
    for (connection *c = s->all, *next; c; c = next) {
        next = c->all_next;
        if (c->state != CONNECTION_AWAY || c->watch) continue;
        if (pass_over(c) && now - c->ready_ns < PATIENCE_NS) {
            ring_at(s, now + VISIT_NS);
            continue;
        }
        unlink_connection(c);
        destroy(s, c);
    }
    for (uint32_t k = 0; k < s->n_listeners; k++) {
        const live_listener *l = &s->listeners[k];
        if (!l->ready || l->fd < 0 || now - l->ready_ns < PATIENCE_NS) continue;
        for (int i = 0, fd; i < ACCEPTS_AT_ONCE && (fd = socket_accept(l->fd, peer)) >= 0; i++) {
            connection *c = calloc(1, s->class->bytes);
            if (!c) {
                close(fd);
                return;
            }
            *c = (connection){.source = s, .fd = fd, .state = CONNECTION_AWAY, .ready_ns = now, .port = k};
            link_connection(s, c);
            s->class->turn_away(c);
        }
        ring_at(s, now + VISIT_NS);
    }
}

static void on_listener(void *context, uint32_t events) {
    live_listener *l = context;
    live_source *s = l->source;
    pthread_mutex_lock(&s->lock);
    l->ready = true;
    if (s->class->turn_away) {
        l->ready_ns = clock_ns();
        ring_at(s, l->ready_ns + PATIENCE_NS);
    }
    pthread_mutex_unlock(&s->lock);
    run_wake(s->run);
}

static void on_timer(void *context, uint32_t events) {
    live_source *s = context;
    tw_error err;
    uint64_t times;
    pthread_mutex_lock(&s->lock);
    if (read(s->timer, &times, sizeof times) == sizeof times) s->timer_at_ns = 0; /* else it was set anew */
    connection *away = s->class->turn_away ? turn_away(s) : NULL;
    if (s->class->turn_away) turn_visitors_away(s);
    pthread_mutex_unlock(&s->lock);
    for (connection *next; away; away = next) {
        next = away->next;
        watch_again(s, away);
    }
    (void)poller_rearm(s->run->poller, s->timer_watch, EPOLLIN, &err);
    atomic_store(&s->ticked, true);
    run_wake(s->run);
}

/* ---- connections come and go ---- */

/* The lowest are used first: who counts by partition has few. With the lock held. */
static bool take_partition(live_source *s, uint32_t *out) {
    if (!s->n_free) {
        uint32_t *more = realloc(s->free_partitions, (s->n_partitions + 1) * sizeof *more);
        if (!more) return false;
        s->free_partitions = more;
        s->free_partitions[s->n_free++] = s->n_partitions++;
    }
    *out = s->free_partitions[--s->n_free];
    return true;
}

typedef struct origin_of {
    const char *peer;
    uint32_t port;
    bool calling;
    void (*set_up)(connection *c, void *context); /* may be NULL */
    void *context;
} origin_of;

static tw_status connection_new(live_source *s, int fd, const origin_of *from, tw_error *err) {
    const char *peer = from->peer;
    bool calling = from->calling;
    connection *c = calloc(1, s->class->bytes);
    if (!c) {
        close(fd);
        return no_memory(err);
    }
    c->source = s;
    c->fd = fd;
    c->port = from->port;
    c->state = CONNECTION_WATCHED;
    c->calling = calling;
    c->events = EPOLLIN;
    if (from->set_up) from->set_up(c, from->context);
    pthread_mutex_lock(&s->lock);
    if (!take_partition(s, &c->partition)) {
        pthread_mutex_unlock(&s->lock);
        if (s->class->free) s->class->free(c);
        close(fd);
        free(c);
        return no_memory(err);
    }
    c->number = ++s->n_ever;
    if (s->class->times_idle && s->options.timeout_ns) {
        c->since_ns = clock_ns();
        ring_at(s, c->since_ns + look_ns(s));
    }
    link_connection(s, c);
    pthread_mutex_unlock(&s->lock);
    if (*peer) snprintf(c->name, sizeof c->name, "%s %s", s->options.kind, peer);
    else snprintf(c->name, sizeof c->name, "%s %.80s #%u", s->options.kind, s->options.endpoint.text, c->number);
    tw_status status = poller_add(s->run->poller, fd, calling ? EPOLLOUT : EPOLLIN, on_connection, c, &c->watch, err);
    if (status != TW_OK) live_source_close(s, c);
    return status;
}

tw_status live_source_add(live_source *s, int fd, const char *peer, uint32_t port,
                          void (*set_up)(connection *c, void *context), void *context, tw_error *err) {
    return connection_new(s, fd, &(origin_of){.peer = peer, .port = port, .set_up = set_up, .context = context}, err);
}

/* Nobody else knows of it any more. */
static void destroy(live_source *s, connection *c) {
    if (s->run) poller_remove(s->run->poller, c->watch);
    if (s->class->free) s->class->free(c);
    close(c->fd);
    free(c->layout);
    free(c);
}

static void call_later(live_source *s, int failed) {
    uint64_t now = clock_ns();
    if (!s->lost_at_ns) s->lost_at_ns = now;
    s->calls = true;
    if (failed) s->last_errno = failed;
    s->call_at_ns = now + backoff_ns(s->attempts++, &s->random);
    ring_at(s, s->call_at_ns);
}

void live_source_close(live_source *s, connection *c) {
    connection_let_go(c, c->held_bytes);
    pthread_mutex_lock(&s->lock);
    unlink_connection(c);
    s->free_partitions[s->n_free++] = c->partition;
    if (!s->options.listens && !atomic_load(&s->stopping)) call_later(s, 0);
    bool last = s->draining && !s->all;
    pthread_mutex_unlock(&s->lock);
    destroy(s, c);
    if (last) run_wake(s->run);
}

/* What had come when the source was told to end. */
static void begin_drain(connection *c) {
    int there = 0;
    if (c->draining) return;
    c->draining = true;
    c->drain_bytes = ioctl(c->fd, FIONREAD, &there) == 0 && there > 0 ? (size_t)there : 0;
}

void live_source_watch(live_source *s, connection *c) {
    tw_error err;
    pthread_mutex_lock(&s->lock);
    bool drains = s->draining && !c->owed, first = drains && !c->draining;
    watch_id watch = c->watch; /* once the lock is let go, somebody may have it, and close it */
    uint32_t events = c->events;
    if (first) {
        begin_drain(c);
        push_ready(s, c);
    } else if (!drains) {
        c->state = CONNECTION_WATCHED;
        if (c->since_ns && s->options.timeout_ns) ring_at(s, clock_ns() + look_ns(s));
    }
    pthread_mutex_unlock(&s->lock);
    if (first) run_wake(s->run);
    else if (drains) live_source_close(s, c);
    else (void)poller_rearm(s->run->poller, watch, events, &err); /* a descriptor that is there, or was */
}

void live_source_hand_back(live_source *s, connection *c) {
    pthread_mutex_lock(&s->lock);
    if (s->draining && !c->owed) begin_drain(c);
    push_ready(s, c);
    pthread_mutex_unlock(&s->lock);
    run_wake(s->run);
}

void live_source_later(live_source *s, connection *c) {
    pthread_mutex_lock(&s->lock);
    c->state = CONNECTION_LATER;
    ring_at(s, clock_ns() + LATER_NS);
    pthread_mutex_unlock(&s->lock);
}

void live_source_take_reader(live_source *s, live_reader *r) {
    pthread_mutex_lock(&s->lock);
    r->next = s->readers;
    s->readers = r;
    pthread_mutex_unlock(&s->lock);
}

/* ---- what open does before it looks for a connection ---- */

static tw_status accept_later(live_source *s, live_listener *l) {
    pthread_mutex_lock(&s->lock);
    l->ready = false;
    ring_at(s, clock_ns() + ACCEPT_LATER_NS);
    pthread_mutex_unlock(&s->lock);
    return TW_OK;
}

/* The last ones are for the files that sinks and checkpoints open: a run does not end because of who connects. */
static bool descriptors_left(int next) {
    struct rlimit most;
    return next >= 0 && (getrlimit(RLIMIT_NOFILE, &most) != 0 || (rlim_t)next + DESCRIPTORS_KEPT < most.rlim_cur);
}

static tw_status accept_some(live_source *s, live_listener *l, tw_error *err) {
    char peer[SOCKET_NAME_MAX];
    int next = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);
    if (next >= 0) close(next);
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        if (!descriptors_left(next)) return accept_later(s, l);
        int fd = socket_accept(l->fd, peer);
        if (fd >= 0) {
            TRY(connection_new(s, fd, &(origin_of){.peer = peer, .port = (uint32_t)(l - s->listeners)}, err));
            next = fd + 1; /* or higher: the lowest that is free is given */
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            pthread_mutex_lock(&s->lock);
            l->ready = false;
            pthread_mutex_unlock(&s->lock);
            return poller_rearm(s->run->poller, l->watch, EPOLLIN, err);
        }
        return accept_later(s, l); /* no descriptor, no memory of the system's: others go on */
    }
    run_wake(s->run); /* there may be more: no watch tells, it is not armed */
    return TW_OK;
}

static tw_status no_answer(const live_source *s, int failed, tw_error *err) {
    const live_options *o = &s->options;
    char words[256];
    snprintf(words, sizeof words, "%s: no connection to '%.120s' within %g s", o->kind, o->endpoint.text,
             (double)o->retry_ns * 1e-9);
    return failed ? error_io(err, failed, "%s", words) : error_set(err, TW_ERR_IO, "%s", words);
}

/* An outage is told when all addresses have failed, and its end. */
static void tell_outage(live_source *s, int failed) {
    const live_options *o = &s->options;
    pthread_mutex_lock(&s->lock);
    bool changes = s->told != (failed != 0) && (!failed || s->attempts > o->endpoint.n);
    if (changes) s->told = !s->told;
    pthread_mutex_unlock(&s->lock);
    if (changes) socket_tell_outage(s->run, o->kind, &o->endpoint, failed, o->retry_ns);
}

/* There is no connection to the peer: calls it when it is time to. */
static tw_status call(live_source *s, tw_error *err) {
    uint64_t now = clock_ns();
    pthread_mutex_lock(&s->lock);
    bool given_up = s->lost_at_ns && now - s->lost_at_ns > s->options.retry_ns, due = now >= s->call_at_ns;
    unsigned attempt = s->attempts;
    int failed = s->last_errno;
    if (due && !given_up) s->calls = false;
    pthread_mutex_unlock(&s->lock);
    if (given_up) return no_answer(s, failed, err);
    if (!due) return TW_OK;
    int fd = socket_connect(&s->options.endpoint, attempt);
    if (fd >= 0) return connection_new(s, fd, &(origin_of){.peer = s->options.endpoint.text, .calling = true}, err);
    failed = errno;
    pthread_mutex_lock(&s->lock);
    call_later(s, failed);
    pthread_mutex_unlock(&s->lock);
    tell_outage(s, failed);
    return TW_OK;
}

/* Whether the call was answered, and the connection can be read. */
static bool is_connected(live_source *s, connection *c) {
    int failed = socket_result(c->fd);
    c->calling = false;
    pthread_mutex_lock(&s->lock);
    s->last_errno = failed;
    if (!failed) s->lost_at_ns = s->attempts = 0;
    pthread_mutex_unlock(&s->lock);
    if (failed) live_source_close(s, c);
    tell_outage(s, failed);
    return !failed;
}

static void look_at_times(live_source *s) {
    uint64_t now = clock_ns();
    pthread_mutex_lock(&s->lock);
    bool standing = false;
    for (connection *c = s->all; c; c = c->all_next) {
        if (c->state == CONNECTION_LATER) push_ready(s, c);
        if (c->state != CONNECTION_WATCHED || !c->since_ns || !s->options.timeout_ns) continue;
        if (now - c->since_ns >= s->options.timeout_ns) {
            c->expired = true;
            push_ready(s, c);
        } else {
            standing = true;
        }
    }
    if (standing) ring_at(s, now + look_ns(s));
    for (live_listener *l = s->listeners; l < s->listeners + s->n_listeners && !s->draining; l++) {
        if (l->fd < 0 || l->ready) continue;
        l->ready = true; /* there may be descriptors again */
        l->ready_ns = now;
    }
    if (s->calls) ring_at(s, s->call_at_ns > now ? s->call_at_ns : now + LOOK_MIN_NS);
    pthread_mutex_unlock(&s->lock);
}

static tw_status accept_rest(live_source *s, live_listener *l, tw_error *err) {
    tw_status status = TW_OK;
    l->ready = true;
    for (unsigned i = 0; i < ACCEPTS_AT_END && l->ready && status == TW_OK; i++) status = accept_some(s, l, err);
    poller_remove(s->run->poller, l->watch);
    pthread_mutex_lock(&s->lock);
    int listener = l->fd;
    l->watch = 0;
    l->fd = -1;
    l->ready = false;
    pthread_mutex_unlock(&s->lock);
    socket_close_listener(l->endpoint, listener);
    return status;
}

/* The end: nobody comes any more; what has come from those that are there is read. */
static tw_status drain(live_source *s, tw_error *err) {
    for (uint32_t i = 0; i < s->n_listeners; i++)
        if (s->listeners[i].fd >= 0) TRY(accept_rest(s, &s->listeners[i], err));
    pthread_mutex_lock(&s->lock);
    s->draining = true;
    s->calls = false;
    for (connection *c = s->all; c; c = c->all_next) {
        if (c->state == CONNECTION_HELD) continue; /* its reader sees it */
        if (c->owed && c->state == CONNECTION_WATCHED) continue;
        if (c->state == CONNECTION_AWAY && !c->watch) continue; /* the timer's */
        c->gone |= c->state == CONNECTION_AWAY;
        if (!c->owed) begin_drain(c);
        if (c->state != CONNECTION_READY) push_ready(s, c);
    }
    pthread_mutex_unlock(&s->lock);
    return TW_OK;
}

static tw_status look_around(live_source *s, tw_error *err) {
    bool stopping = atomic_load_explicit(&s->stopping, memory_order_relaxed);
    tw_status status = s->class->look ? s->class->look(s, stopping, err) : TW_OK;
    if (status != TW_OK && status != STATUS_WAIT) return status;
    if (stopping && status == TW_OK && !s->draining) TRY(drain(s, err));
    if (atomic_exchange(&s->ticked, false)) look_at_times(s);
    bool accepts[LISTENERS_MAX];
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->n_listeners; i++) accepts[i] = s->listeners[i].ready;
    bool calls = s->calls;
    pthread_mutex_unlock(&s->lock);
    if (calls) TRY(call(s, err));
    for (uint32_t i = 0; i < s->n_listeners; i++)
        if (accepts[i]) TRY(accept_some(s, &s->listeners[i], err));
    return TW_OK;
}

static tw_status live_open(source *self, uint64_t split, reader **out, tw_error *err) {
    live_source *s = of(self);
    TRY(look_around(s, err));
    for (;;) {
        pthread_mutex_lock(&s->lock);
        connection *c = pop_ready(s);
        bool over = s->draining && !s->all;
        pthread_mutex_unlock(&s->lock);
        if (!c) return over ? TW_END : STATUS_WAIT;
        if (c->calling && !is_connected(s, c)) continue;
        if (c->gone) {
            live_source_close(s, c);
            continue;
        }
        live_reader *r;
        tw_status status = live_reader_open(s, c, split, &r, err);
        if (status == TW_OK) *out = &r->base;
        else live_source_hand_back(s, c);
        return status;
    }
}

/* ---- the source ---- */

static tw_status watch_timer(live_source *s, tw_error *err) {
    s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (s->timer < 0) return error_io(err, errno, "cannot make a timer");
    return poller_add(s->run->poller, s->timer, EPOLLIN, on_timer, s, &s->timer_watch, err);
}

static tw_status listen_at(live_source *s, endpoint *e, tw_error *err) {
    live_listener *l = &s->listeners[s->n_listeners];
    *l = (live_listener){.source = s, .endpoint = e, .fd = -1};
    TRY(endpoint_resolve(e, err));
    TRY(socket_listen(e, &l->fd, err));
    s->n_listeners++;
    return poller_add(s->run->poller, l->fd, EPOLLIN, on_listener, l, &l->watch, err);
}

static tw_status live_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    live_source *s = of(self);
    s->run = run;
    size_t most = record_bytes_max(run->memory);
    if (s->options.message_max > most) s->options.message_max = most;
    s->held_max = memory_limit(run->memory) / 8 * 3;
    *n_splits = UINT64_MAX;
    TRY(watch_timer(s, err));
    if (s->options.listens) {
        TRY(listen_at(s, &s->options.endpoint, err));
        for (uint32_t i = 0; i < s->options.n_more; i++) TRY(listen_at(s, &s->options.more[i], err));
    } else {
        TRY(endpoint_resolve(&s->options.endpoint, err));
        s->calls = true;
        s->lost_at_ns = clock_ns();
        s->random = s->lost_at_ns | 1;
    }
    return s->class->begin ? s->class->begin(s, err) : TW_OK;
}

static void live_stop(source *self) { atomic_store(&of(self)->stopping, true); }

static void live_prune(source *self, const bool *needed) {
    live_source *s = of(self);
    uint32_t n = s->options.format.schema->n;
    if (!s->needed) s->needed = malloc(n + 1);
    if (s->needed) memcpy(s->needed, needed, n);
}

static void live_describe(const source *self, char *out, size_t capacity) {
    const live_options *o = &((const live_source *)self)->options;
    snprintf(out, capacity, "%s %s%s%s, %s by %s, endless", o->listens ? "listens on" : "connects to",
             o->endpoint.text, o->path ? " for " : "", o->path ? o->path : "",
             o->messages ? "messages" : format_names[o->format.kind], stream_framing_names[o->framing]);
}

void live_options_free(live_options *o) {
    endpoint_free(&o->endpoint);
    for (uint32_t i = 0; i < o->n_more; i++) endpoint_free(&o->more[i]);
    format_free(&o->format);
    if (o->free_context) o->free_context(o->context);
    free(o->path);
}

static void live_free(source *self) {
    live_source *s = of(self);
    if (s->class->end) s->class->end(s);
    if (s->run) {
        for (uint32_t i = 0; i < s->n_listeners; i++) poller_remove(s->run->poller, s->listeners[i].watch);
        poller_remove(s->run->poller, s->timer_watch);
    }
    for (connection *c = s->all, *next; c; c = next) {
        next = c->all_next;
        destroy(s, c);
    }
    if (s->timer >= 0) close(s->timer);
    for (uint32_t i = 0; i < s->n_listeners; i++) socket_close_listener(s->listeners[i].endpoint, s->listeners[i].fd);
    for (live_reader *r = s->readers, *next; r; r = next) {
        next = r->next;
        live_reader_destroy(r);
    }
    pthread_mutex_destroy(&s->lock);
    live_options_free(&s->options);
    free(s->needed);
    free(s->free_partitions);
    free(s);
}

static const source_class live_class = {
    .start = live_start,
    .open = live_open,
    .prune = live_prune,
    .stop = live_stop,
    .describe = live_describe,
    .free = live_free,
};

tw_status live_source_new(const live_options *o, const connection_class *class, source **out, schema **out_schema,
                          tw_error *err) {
    live_source *s = calloc(1, sizeof *s);
    if (!s) {
        live_options rest = *o;
        live_options_free(&rest);
        return no_memory(err);
    }
    s->base = (source){.class = &live_class, .name = o->kind, .endless = true};
    s->class = class;
    s->options = *o;
    s->timer = -1;
    s->ready_last = &s->ready;
    atomic_init(&s->work_ns, 0);
    pthread_mutex_init(&s->lock, NULL);
    *out = &s->base;
    *out_schema = schema_ref(o->format.schema);
    return TW_OK;
}

/* ---- for connection classes ---- */

tw_status connection_receive(connection *c, void *to, size_t n, void *spare, size_t spare_bytes, size_t *got) {
    struct iovec parts[2] = {{to, n}, {spare, spare_bytes}};
    for (;;) {
        ssize_t r = spare ? readv(c->fd, parts, 2) : read(c->fd, to, n);
        if (r >= 0) {
            *got = (size_t)r;
            c->drain_bytes -= c->drain_bytes < *got ? c->drain_bytes : *got;
            atomic_fetch_add_explicit(&c->source->run->bytes_in, *got, memory_order_relaxed);
            return TW_OK;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) return STATUS_WAIT;
        if (errno != EINTR) return TW_ERR_DATA;
    }
}

tw_status connection_hold(connection *c, size_t old, size_t bytes, buffer **out, tw_error *err) {
    live_source *s = c->source;
    pthread_mutex_lock(&s->lock);
    bool fits = s->held_bytes - old + bytes <= s->held_max;
    if (fits) s->held_bytes += bytes - old;
    pthread_mutex_unlock(&s->lock);
    if (!fits) return error_set(err, TW_ERR_MEMORY, "messages that are not whole have their share of the memory");
    tw_status status = buffer_new(s->run->memory, MEMORY_FLOW, bytes, out, err);
    c->held_bytes += bytes - old;
    if (status != TW_OK) connection_let_go(c, bytes - old);
    return status;
}

void connection_take(connection *c, size_t bytes) {
    live_source *s = c->source;
    pthread_mutex_lock(&s->lock);
    s->held_bytes += bytes;
    pthread_mutex_unlock(&s->lock);
    c->held_bytes += bytes;
}

void connection_let_go(connection *c, size_t bytes) {
    live_source *s = c->source;
    if (!bytes) return;
    pthread_mutex_lock(&s->lock);
    s->held_bytes -= bytes;
    pthread_mutex_unlock(&s->lock);
    c->held_bytes -= bytes;
}

tw_status connection_bad(connection *c, const uint8_t *raw, size_t n, const char *reason, tw_error *err) {
    return bad_record(c->source->run, c->name, c->records + 1, raw, n, reason, err);
}

tw_status connection_read_header(connection *c, const piece *p, tw_error *err) {
    const format *f = &c->source->options.format;
    if (f->kind != FORMAT_CSV || !f->header) return TW_OK;
    tw_error why = {0};
    free(c->layout);
    c->layout = NULL;
    tw_status status = csv_layout_from_header(f, p->bytes, p->size, &c->layout, &why);
    if (status == TW_ERR_DATA) {
        status = connection_bad(c, p->bytes, csv_header_size(f, p->bytes, p->size), why.message, err);
        return status == TW_OK ? TW_END : status;
    }
    if (status != TW_OK && err) *err = why;
    return status;
}
