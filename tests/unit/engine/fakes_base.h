/* fakes_base.h: what the fakes share: their rows, where sinks put them, and somebody outside who wakes runs. */
#ifndef TESTS_ENGINE_FAKES_BASE_H
#define TESTS_ENGINE_FAKES_BASE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "engine/plan_internal.h"
#include "engine/run.h"
#include "engine/sequencer.h"
#include "step/steps.h"
#include "unit/holds.h"

/* SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
static inline uint64_t mix64(uint64_t z) {
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}
static inline uint64_t draw(uint64_t *seed) { return mix64(*seed += 0x632be59bd9b4e019ull); }
static inline uint32_t draw_below(uint64_t *seed, uint32_t n) { return (uint32_t)(draw(seed) % n); }

static inline void sleep_us(uint64_t us) {
    nanosleep(&(struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000}, NULL);
}

#define MUST(call) HOLDS((call) == TW_OK)

/* What the fakes need for themselves; a test whose malloc fails has another one for them. */
#ifndef FAKE_CALLOC
#define FAKE_CALLOC calloc
#define FAKE_REALLOC realloc
#define FAKE_FREE free
#endif

/* ---- what is alive, and where sinks put what they got ---- */

enum { SLOTS = 40 };

typedef struct slot {
    pthread_mutex_t lock;
    int64_t *ids;
    size_t n, capacity;
    uint64_t next_position;  /* rows of an ordered sink may not stand before it */
    atomic_uint finished, committed, most_lanes, pushes;
    atomic_uint reads;       /* batches that sources with this slot gave */
    atomic_bool met;         /* as many lanes as `meet` waits for were there at once */
} slot;

static slot slots[SLOTS];
static atomic_int live; /* sources, readers, operators, plans of operators, sinks, writers */

static inline void slots_clear(void) {
    for (int i = 0; i < SLOTS; i++) {
        FAKE_FREE(slots[i].ids);
        slots[i] = (slot){.lock = PTHREAD_MUTEX_INITIALIZER};
    }
}

static inline void slot_add(slot *s, int64_t id) {
    if (s->n == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 256;
        s->ids = FAKE_REALLOC(s->ids, s->capacity * sizeof *s->ids);
        HOLDS(s->ids);
    }
    s->ids[s->n++] = id;
}

static inline void *make(size_t bytes) {
    void *p = FAKE_CALLOC(1, bytes);
    HOLDS(p);
    live++;
    return p;
}
static inline void unmake(void *p) {
    live--;
    FAKE_FREE(p);
}

/* ---- somebody outside who opens a door some time after one has knocked ---- */

typedef struct doorman {
    run_context *run;
    pthread_t thread;
    atomic_bool started, over;
    atomic_uint knocks, opened;
} doorman;

static inline void *doorman_work(void *context) {
    doorman *d = context;
    uint64_t seed = clock_ns();
    bool hasty = draw(&seed) & 1; /* may be there before who knocked has lain down */
    while (!atomic_load(&d->over)) {
        if (atomic_load(&d->knocks) == 0) {
            if (hasty) sched_yield();
            else sleep_us(draw_below(&seed, 40));
            continue;
        }
        if (!hasty && draw_below(&seed, 3) == 0) sleep_us(draw_below(&seed, 100));
        atomic_store(&d->knocks, 0);
        atomic_fetch_add(&d->opened, 1);
        run_wake(d->run);
    }
    return NULL;
}
static inline void doorman_start(doorman *d, run_context *run) {
    d->run = run;
    HOLDS(pthread_create(&d->thread, NULL, doorman_work, d) == 0);
    d->started = true;
}
/* True once for each time it was opened. */
static inline bool doorman_lets_in(doorman *d) {
    unsigned n = atomic_load(&d->opened);
    while (n > 0)
        if (atomic_compare_exchange_weak(&d->opened, &n, n - 1)) return true;
    atomic_fetch_add(&d->knocks, 1);
    return false;
}
static inline void doorman_stop(doorman *d) {
    if (!d->started) return;
    d->over = true;
    pthread_join(d->thread, NULL);
}

/* ---- rows ---- */

static inline int64_t row_id(unsigned tag, uint64_t n) { return (int64_t)tag << 32 | (int64_t)n; }
static inline int64_t twin_of(int64_t id) { return (int64_t)mix64((uint64_t)id); }
static inline int text_of(int64_t id, char *out, size_t pad) {
    int n = sprintf(out, "%lld", (long long)id);
    for (size_t i = 0; i < pad && id % 3; i++) out[n++] = (char)('a' + (id + (int64_t)i) % 26);
    out[n] = 0;
    return n;
}

static inline tw_status row_schema(schema **out, tw_error *err) {
    return schema_new((const char *const[]){"id", "text", "twin"},
                      (const type *const[]){type_of(TYPE_INT64), type_of(TYPE_STRING), type_of(TYPE_INT64)}, 3, out, err);
}

enum { PAD_MAX = 4096 };

/* A batch of rows first, first + 1, ...; columns not needed stay absent. */
static inline tw_status make_rows(memory *m, schema *s, const bool *needed, unsigned tag, uint64_t first, uint32_t n,
                                  size_t pad, batch **out, tw_error *err) {
    batch *b;
    TRY(batch_new(s, n, &b, err));
    for (uint32_t i = 0; i < 3; i++) b->columns[i] = (column){.type = s->fields[i].type, .rows = n};
    tw_status status = TW_OK;
    for (uint32_t c = 0; c < 3 && status == TW_OK; c++) {
        column_builder *builder;
        if (!needed[c]) continue;
        status = column_builder_new(m, s->fields[c].type, &builder, err);
        if (status != TW_OK) break;
        for (uint32_t i = 0; i < n && status == TW_OK; i++) {
            int64_t id = row_id(tag, first + i);
            char text[PAD_MAX + 32];
            if (c == 1) status = column_builder_bytes(builder, text, (uint32_t)text_of(id, text, pad), err);
            else status = column_builder_int(builder, c == 0 ? id : twin_of(id), err);
        }
        if (status == TW_OK) status = column_builder_finish(builder, &b->columns[c], err);
        column_builder_free(builder);
    }
    if (status != TW_OK) batch_unref(b);
    else *out = b;
    return status;
}

#endif
