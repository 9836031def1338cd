#include "io/harmonicio_pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/backoff.h"

#define LOOK_NS 500000000u      /* how often the queue's length is looked at */
#define WITHDRAW_NS 5000000000u /* so long at most, in the end */
enum { OTHERS_MAX = 256 };      /* PEs of others that are met while we withdraw */

struct pool {
    pool_options options;
    live_source *source;
    unsigned port;
    void (*set_up)(connection *c, void *reply);
    harmonicio_client client;
    pthread_t thread;
    bool has_thread;
    atomic_bool quits;
    pthread_mutex_t lock;   /* of all below */
    pthread_cond_t bell;
    uint32_t registered, busy;
    bool polling, early;    /* asking; a connection came before the answer that we are registered */
    bool stopping, over;
    tw_error error;
    client_reply reply;     /* the thread's */
};

static void ring(pool *p) { pthread_cond_signal(&p->bell); }

void pool_begins(pool *p) {
    pthread_mutex_lock(&p->lock);
    if (p->registered) p->registered--;
    else if (p->polling) p->early = true;
    p->busy++;
    pthread_mutex_unlock(&p->lock);
}

void pool_ends(pool *p) {
    pthread_mutex_lock(&p->lock);
    p->busy--;
    ring(p);
    pthread_mutex_unlock(&p->lock);
}

tw_status pool_look(pool *p, bool stopping, tw_error *err) {
    pthread_mutex_lock(&p->lock);
    if (stopping && !p->stopping) {
        p->stopping = true;
        ring(p);
    }
    tw_status status = p->error.code;
    if (status != TW_OK && err) *err = p->error;
    if (status == TW_OK && !p->over) status = stopping ? STATUS_WAIT : TW_OK;
    pthread_mutex_unlock(&p->lock);
    return status;
}

/* ---- the thread ---- */

static bool stops(pool *p) {
    pthread_mutex_lock(&p->lock);
    bool stopping = p->stopping;
    pthread_mutex_unlock(&p->lock);
    return stopping || atomic_load(&p->quits);
}

/* The message in the answer is our own to work on; takes over the connection. */
static tw_status adopt(pool *p, int fd, tw_error *err) {
    pthread_mutex_lock(&p->lock);
    p->busy++;
    pthread_mutex_unlock(&p->lock);
    return live_source_add(p->source, fd, p->options.master->text, POOL_REPLY_PORT, p->set_up, &p->reply, err);
}

static tw_status refused(const pool *p, tw_error *err) {
    return error_set(err, TW_ERR_IO, "harmonicio: the master '%.120s' answers %d to a PE", p->options.master->text, p->reply.code);
}

/* Asks for work as one of us that is free. */
static tw_status poll_once(pool *p, tw_error *err) {
    int fd;
    pthread_mutex_lock(&p->lock);
    p->polling = true;
    p->early = false;
    pthread_mutex_unlock(&p->lock);
    tw_status status = client_poll(&p->client, p->options.host, p->port, true, &p->reply, &fd, err);
    pthread_mutex_lock(&p->lock);
    p->polling = false;
    if (status == TW_OK && p->reply.code == 200 && !p->early) p->registered++;
    pthread_mutex_unlock(&p->lock);
    if (status != TW_OK) return status;
    if (p->reply.code == 203) return adopt(p, fd, err);
    close(fd);
    return p->reply.code == 200 ? TW_OK : refused(p, err);
}

static tw_status look_at_queue(pool *p, tw_error *err) {
    TRY(client_ask(&p->client, "GET", "/messagesQuery?token=None&command=queueLength", &p->reply, NULL, err));
    bool waits = p->reply.code == 200 && harmonicio_length_read(p->reply.text, p->reply.bytes, p->options.name) > 0;
    return waits ? poll_once(p, err) : TW_OK;
}

/* A PE of somebody else's that the master has named to us goes back to it. If there is a message for it by now, it is
 * taken by us: nobody else would come for it. */
static tw_status give_back(pool *p, const harmonicio_place *at, tw_error *err) {
    int fd;
    TRY(client_poll(&p->client, at->host, at->port, true, &p->reply, &fd, err));
    if (p->reply.code != 203) {
        close(fd);
        return TW_OK;
    }
    TRY(adopt(p, fd, err));
    TRY(client_poll(&p->client, at->host, at->port, false, &p->reply, &fd, err));
    close(fd);
    return TW_OK;
}

/* Asks for places until those that are ours have been named: a master forgets what it names. */
static void withdraw(pool *p) {
    uint8_t digest[MD5_BYTES];
    tw_error err;
    harmonicio_place at;
    md5("", 0, digest);
    uint64_t until = clock_ns() + WITHDRAW_NS;
    for (int others = 0; others < OTHERS_MAX && clock_ns() < until && !atomic_load(&p->quits);) {
        pthread_mutex_lock(&p->lock);
        bool any = p->registered > 0;
        pthread_mutex_unlock(&p->lock);
        if (!any || client_ask_place(&p->client, digest, &p->reply, &at, &err) != TW_OK || p->reply.code != 200) return;
        if (at.role != ROLE_WORKER) return;
        if (at.port == p->port && strcmp(at.host, p->options.host) == 0) {
            pthread_mutex_lock(&p->lock);
            if (p->registered) p->registered--;
            pthread_mutex_unlock(&p->lock);
        } else {
            others++;
            if (give_back(p, &at, &err) != TW_OK) return;
        }
    }
}

static void sleep_until(pool *p, uint64_t at_ns) {
    struct timespec t = {(time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u)};
    pthread_cond_timedwait(&p->bell, &p->lock, &t);
}

static void give_up(pool *p, const tw_error *why) {
    pthread_mutex_lock(&p->lock);
    p->error = *why;
    pthread_mutex_unlock(&p->lock);
}

static void *attend(void *argument) {
    pool *p = argument;
    uint64_t failed_ns = 0, again_ns = 0, looked_ns = clock_ns(), random = clock_ns() | 1;
    unsigned attempts = 0;
    while (!stops(p)) {
        uint64_t now = clock_ns();
        pthread_mutex_lock(&p->lock);
        bool due = p->registered + p->busy < p->options.workers, waits = now < again_ns;
        bool looks = !due && p->registered && now - looked_ns >= LOOK_NS;
        if (waits || (!due && !looks)) {
            if (!p->stopping && !atomic_load(&p->quits)) sleep_until(p, waits ? again_ns : now + LOOK_NS);
            pthread_mutex_unlock(&p->lock);
            continue;
        }
        pthread_mutex_unlock(&p->lock);
        tw_error err = {0};
        tw_status status = due ? poll_once(p, &err) : look_at_queue(p, &err);
        if (looks) looked_ns = clock_ns();
        if (status == TW_OK) {
            failed_ns = again_ns = attempts = 0;
            continue;
        }
        now = clock_ns();
        if (!failed_ns) failed_ns = now;
        if (status != TW_ERR_IO || now - failed_ns > p->options.retry_ns) {
            if (status != TW_ERR_CANCELLED) give_up(p, &err);
            break;
        }
        again_ns = now + backoff_ns(attempts++, &random);
    }
    if (!atomic_load(&p->quits)) withdraw(p);
    pthread_mutex_lock(&p->lock);
    p->over = true;
    pthread_mutex_unlock(&p->lock);
    run_wake(p->source->run);
    return NULL;
}

tw_status pool_start(const pool_options *o, live_source *s, unsigned port, void (*set_up)(connection *c, void *reply), pool **out,
                     tw_error *err) {
    pool *p = calloc(1, sizeof *p);
    if (!p) return error_set(err, TW_ERR_MEMORY, "out of memory for a source");
    *out = p;
    p->options = *o;
    p->source = s;
    p->port = port;
    p->set_up = set_up;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->bell, &monotonic);
    pthread_condattr_destroy(&monotonic);
    p->client = (harmonicio_client){.master = o->master, .name = o->name, .timeout_ns = s->options.timeout_ns, .run = s->run, .quits = &p->quits};
    TRY(endpoint_resolve(o->master, err));
    int failed = pthread_create(&p->thread, NULL, attend, p);
    if (failed) return error_io(err, failed, "harmonicio: cannot start a thread");
    p->has_thread = true;
    return TW_OK;
}

void pool_quit(pool *p) {
    atomic_store(&p->quits, true);
    if (!p->has_thread) return;
    pthread_mutex_lock(&p->lock);
    ring(p);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    p->has_thread = false;
}

void pool_free(pool *p) {
    if (!p) return;
    pthread_cond_destroy(&p->bell);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
