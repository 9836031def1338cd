#include "base/memory_internal.h"

#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory_map.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define POOLED 0 /* a malloc for each buffer, so that AddressSanitizer knows its bounds */
#else
#define POOLED 1
#endif
#if !POOLED || defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define ASSERT_NO_LEAKS 1
#else
#define ASSERT_NO_LEAKS 0
#endif

/* Size classes: 64, 128, then 2^k and 1.5 * 2^k up to 64 KiB in slabs; above that eight to the
 * octave. A class is named by its payload; padding (and in slabs the header) comes on top, so that
 * sizes which are powers of two waste next to nothing. */
enum {
    SMALL_CLASSES = 20,
    SMALL_MAX = 65536,
    STEPS = 8,
    SHARD_CLASSES = SMALL_CLASSES + 5 * STEPS, /* up to 2 MiB */
    CLASSES = SMALL_CLASSES + 30 * STEPS,      /* up to 2^46 */
    SHARDS_MAX = 64,
    SLOT_HEADER = 128, /* the buffer struct, apart from its neighbours' cache lines */
    SLAB_HEADER = 64,
    SLAB_BYTES_MIN = 4096,
    SLAB_BYTES_MAX = 65536,
    SLABS_MIN = 256, /* that the budget has place for */
    SHARD_KEEP_MAX = 64, /* buffers of a class */
    SHARD_KEEP_BYTES_MIN = 64 << 10,
    SHARD_KEEP_BYTES_MAX = 8 << 20,
    ROUNDS_MAX = 256,
    BARREN_ROUNDS_MAX = 4,
};
#define LIMIT_MAX ((size_t)1 << 46)
_Static_assert(sizeof(buffer) <= SLOT_HEADER, "the header of a slot holds a buffer");

typedef struct slab {
    struct slab *next, *previous;
    buffer *free;
    size_t mapped; /* bytes */
    unsigned n, n_carved, n_free;
} slab;
_Static_assert(sizeof(slab) <= SLAB_HEADER, "the header of a slab holds it");

/* Free memory of one class that all threads share. */
typedef struct pool {
    _Alignas(64) pthread_mutex_t lock;
    buffer *free; /* large classes, linked by next_free */
    slab *partial, *empty;
} pool;

/* Free buffers close to one processor; taken and put without meeting other threads. */
typedef struct shard {
    _Alignas(64) pthread_mutex_t lock;
    size_t live;        /* taken less given back here, modulo 2^64 */
    atomic_size_t idle; /* bytes of large buffers below */
    struct {
        buffer *free;
        unsigned n;
    } classes[SHARD_CLASSES];
    map_region region; /* threads that fill what shares a page table are in each other's way */
} shard;

struct memory {
    size_t limit, state_limit, idle_max, page, slab_bytes;
    _Alignas(64) atomic_size_t used;
    atomic_size_t peak, idle; /* idle: bytes of free large buffers and empty slabs in pools */
    _Alignas(64) atomic_size_t state;
    atomic_size_t state_freed; /* only grows */
    /* Locks are taken in this order: reclaim, shard, pool. Held while memory is unmapped, so that who
     * looks for memory to reclaim never misses what is on its way out. */
    pthread_mutex_t reclaim;
    pthread_mutex_t spill_lock;
    pthread_cond_t spill_done;
    memory_spiller *spillers;
    shard *shards;
    unsigned n_shards; /* a power of two */
    unsigned keep[SHARD_CLASSES];
    pool pools[CLASSES];
};

/* ---- size classes ---- */

static unsigned class_of(size_t bytes) {
    if (bytes <= 64) return 0;
    unsigned k = 63 - (unsigned)__builtin_clzll(bytes - 1); /* 2^k < bytes <= 2^(k+1) */
    if (bytes <= SMALL_MAX) return k == 6 ? 1 : 2 + (k - 7) * 2 + (bytes > (size_t)3 << (k - 1));
    return SMALL_CLASSES + (k - 16) * STEPS + (unsigned)((bytes - 1 - ((size_t)1 << k)) >> (k - 3));
}

static size_t class_payload(unsigned c) {
    if (c < 2) return (size_t)64 << c;
    if (c < SMALL_CLASSES) return (c & 1) ? (size_t)128 << (c - 1) / 2 : (size_t)192 << (c - 2) / 2;
    unsigned octave = (c - SMALL_CLASSES) / STEPS, step = (c - SMALL_CLASSES) % STEPS;
    return (size_t)(STEPS + 1 + step) << (octave + 13);
}

static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

/* What a buffer of the class is charged with. */
static size_t class_capacity(const memory *m, unsigned c) {
    if (c < SMALL_CLASSES) return SLOT_HEADER + class_payload(c) + BUFFER_PADDING;
    return round_up(class_payload(c) + BUFFER_PADDING, m->page);
}

/* A small budget has small slabs, or one buffer left in each class would hold all of it. */
static unsigned slab_slots(const memory *m, unsigned c) {
    size_t n = (m->slab_bytes - SLAB_HEADER) / class_capacity(m, c);
    size_t least = m->slab_bytes == SLAB_BYTES_MAX ? 4 : 1;
    return n < least ? (unsigned)least : (unsigned)n;
}

static size_t slab_bytes(const memory *m, unsigned c) {
    return round_up(SLAB_HEADER + slab_slots(m, c) * class_capacity(m, c), m->page);
}

static size_t request_capacity(const memory *m, size_t bytes) {
    return POOLED ? class_capacity(m, class_of(bytes)) : bytes + BUFFER_PADDING;
}

/* What must be mapped when nothing free can be used. */
static size_t request_mapped(const memory *m, size_t bytes) {
    unsigned c = class_of(bytes);
    return POOLED && c < SMALL_CLASSES ? slab_bytes(m, c) : request_capacity(m, bytes);
}

/* ---- the budget ---- */

static bool charge_below(atomic_size_t *counter, size_t bytes, size_t limit, size_t *after) {
    size_t now = atomic_load_explicit(counter, memory_order_relaxed);
    do {
        if (bytes > limit || now > limit - bytes) return false;
    } while (!atomic_compare_exchange_weak(counter, &now, now + bytes));
    *after = now + bytes;
    return true;
}

static bool charge(memory *m, size_t bytes) {
    size_t now, peak = atomic_load_explicit(&m->peak, memory_order_relaxed);
    if (!charge_below(&m->used, bytes, m->limit, &now)) return false;
    while (now > peak && !atomic_compare_exchange_weak(&m->peak, &peak, now)) {}
    return true;
}

static void uncharge(memory *m, size_t bytes) { atomic_fetch_sub(&m->used, bytes); }

static size_t minus(size_t a, size_t b) { return a > b ? a - b : 0; }

/* Bytes that could be mapped now, after giving all that is free back. */
static size_t room(const memory *m) {
    size_t idle = atomic_load(&m->idle);
    for (unsigned i = 0; i < m->n_shards; i++) idle += atomic_load(&m->shards[i].idle);
    return minus(m->limit + idle, atomic_load(&m->used));
}

size_t memory_limit(const memory *m) { return m->limit; }
size_t memory_used(const memory *m) { return atomic_load(&m->used); }
size_t memory_peak(const memory *m) { return atomic_load(&m->peak); }

size_t memory_state_left(const memory *m) {
    size_t share = minus(m->state_limit, atomic_load(&m->state)), total = room(m);
    return share < total ? share : total;
}

/* ---- lists ---- */

/* Free buffers are linked through `parts`, which is NULL while in use. */
static buffer *next_free(const buffer *b) { return (buffer *)(void *)b->parts; }
static void push_free(buffer **list, buffer *b) {
    b->parts = (buffer **)(void *)*list;
    *list = b;
}
static buffer *pop_free(buffer **list) {
    buffer *b = *list;
    if (b) *list = next_free(b);
    return b;
}

static void slab_link(slab **list, slab *s) {
    s->previous = NULL;
    s->next = *list;
    if (s->next) s->next->previous = s;
    *list = s;
}
static void slab_unlink(slab **list, slab *s) {
    if (s->next) s->next->previous = s->previous;
    if (s->previous) s->previous->next = s->next;
    else *list = s->next;
}

/* ---- pools: with the pool's lock held ---- */

static buffer *slab_take(memory *m, slab *s, unsigned c) {
    s->n_free--;
    buffer *b = pop_free(&s->free);
    if (b) return b;
    b = (buffer *)(void *)((uint8_t *)s + SLAB_HEADER + s->n_carved++ * class_capacity(m, c));
    memset(b, 0, sizeof *b);
    b->data = (uint8_t *)b + SLOT_HEADER;
    b->context = s;
    return b;
}

static buffer *pool_take(memory *m, unsigned c) {
    pool *p = &m->pools[c];
    if (c >= SMALL_CLASSES) {
        buffer *b = pop_free(&p->free);
        if (b) atomic_fetch_sub(&m->idle, b->capacity);
        return b;
    }
    slab *s = p->partial;
    if (!s) {
        s = p->empty;
        if (!s) return NULL;
        slab_unlink(&p->empty, s);
        slab_link(&p->partial, s);
        atomic_fetch_sub(&m->idle, s->mapped);
    }
    buffer *b = slab_take(m, s, c);
    if (!s->n_free) slab_unlink(&p->partial, s);
    return b;
}

static void pool_put(memory *m, unsigned c, buffer *b) {
    pool *p = &m->pools[c];
    if (c >= SMALL_CLASSES) {
        push_free(&p->free, b);
        atomic_fetch_add(&m->idle, b->capacity);
        return;
    }
    slab *s = b->context;
    push_free(&s->free, b);
    if (++s->n_free == 1) slab_link(&p->partial, s);
    if (s->n_free == s->n) {
        slab_unlink(&p->partial, s);
        slab_link(&p->empty, s);
        atomic_fetch_add(&m->idle, s->mapped);
    }
}

/* ---- giving free memory back to the system: with `reclaim` held ---- */

static size_t pool_reclaim_large(memory *m, unsigned c, size_t bytes, unmapping *u) {
    pool *p = &m->pools[c];
    size_t freed = 0;
    while (freed < bytes) {
        pthread_mutex_lock(&p->lock);
        buffer *b = pool_take(m, c);
        pthread_mutex_unlock(&p->lock);
        if (!b) break;
        freed += b->capacity;
        unmap_later(u, b->data, b->capacity);
        free(b);
    }
    return freed;
}

static size_t pool_reclaim_slabs(memory *m, unsigned c, size_t bytes, unmapping *u) {
    pool *p = &m->pools[c];
    size_t freed = 0;
    while (freed < bytes) {
        pthread_mutex_lock(&p->lock);
        slab *s = p->empty;
        if (s) {
            slab_unlink(&p->empty, s);
            atomic_fetch_sub(&m->idle, s->mapped);
        }
        pthread_mutex_unlock(&p->lock);
        if (!s) break;
        freed += s->mapped;
        unmap_later(u, s, s->mapped);
    }
    return freed;
}

/* The largest first: the fewest calls, and the fewest pages to fault in again. */
static size_t reclaim_pools(memory *m, size_t bytes) {
    size_t freed = 0;
    unmapping u = {0};
    for (unsigned c = CLASSES; c-- > SMALL_CLASSES && freed < bytes;)
        freed += pool_reclaim_large(m, c, bytes - freed, &u);
    for (unsigned c = SMALL_CLASSES; c-- > 0 && freed < bytes;)
        freed += pool_reclaim_slabs(m, c, bytes - freed, &u);
    unmap_now(&u);
    uncharge(m, freed);
    return freed;
}

/* Moves buffers from the shard, whose lock is held, to the pool until `keep` are left. */
static void shard_drain(memory *m, shard *s, unsigned c, unsigned keep) {
    pthread_mutex_lock(&m->pools[c].lock);
    while (s->classes[c].n > keep) {
        buffer *b = pop_free(&s->classes[c].free);
        s->classes[c].n--;
        pool_put(m, c, b);
        if (c >= SMALL_CLASSES) atomic_fetch_sub(&s->idle, b->capacity);
    }
    pthread_mutex_unlock(&m->pools[c].lock);
}

static void drain_shards(memory *m) {
    for (unsigned i = 0; i < m->n_shards; i++) {
        shard *s = &m->shards[i];
        pthread_mutex_lock(&s->lock);
        for (unsigned c = 0; c < SHARD_CLASSES; c++)
            if (s->classes[c].n) shard_drain(m, s, c, 0);
        pthread_mutex_unlock(&s->lock);
    }
}

static size_t reclaim_all(memory *m, size_t bytes) {
    size_t freed = reclaim_pools(m, bytes);
    if (freed >= bytes) return freed;
    drain_shards(m);
    return freed + reclaim_pools(m, bytes - freed);
}

static bool charge_or_reclaim(memory *m, size_t bytes) {
    if (charge(m, bytes)) return true;
    if (bytes > m->limit) return false;
    pthread_mutex_lock(&m->reclaim);
    bool charged = charge(m, bytes);
    while (!charged) {
        size_t missing = minus(atomic_load(&m->used) + bytes, m->limit);
        if (missing && !reclaim_all(m, missing)) {
            charged = charge(m, bytes);
            break;
        }
        charged = charge(m, bytes);
    }
    pthread_mutex_unlock(&m->reclaim);
    return charged;
}

static void trim(memory *m) {
    if (pthread_mutex_trylock(&m->reclaim) != 0) return; /* others are at it */
    size_t idle = atomic_load(&m->idle);
    if (idle > m->idle_max) reclaim_pools(m, idle - m->idle_max / 4 * 3);
    pthread_mutex_unlock(&m->reclaim);
}

/* ---- taking and putting buffers ---- */

typedef enum answer { TAKEN, NO_ROOM, NO_SYSTEM_MEMORY } answer;

static shard *shard_here(memory *m) {
    int cpu = sched_getcpu();
    return &m->shards[cpu < 0 ? 0 : (unsigned)cpu & (m->n_shards - 1)];
}

static void count_live(memory *m, int by) {
    shard *s = shard_here(m);
    pthread_mutex_lock(&s->lock);
    s->live += (size_t)(ptrdiff_t)by;
    pthread_mutex_unlock(&s->lock);
}

static buffer *shard_take(memory *m, unsigned c) {
    shard *s = shard_here(m);
    buffer *b = NULL;
    pthread_mutex_lock(&s->lock);
    s->live++;
    if (c < SHARD_CLASSES && (b = pop_free(&s->classes[c].free))) {
        s->classes[c].n--;
        if (c >= SMALL_CLASSES) atomic_fetch_sub_explicit(&s->idle, b->capacity, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s->lock);
    return b;
}

static answer map_slab(memory *m, memory_use use, unsigned c, buffer **out) {
    size_t bytes = slab_bytes(m, c);
    if (!charge_or_reclaim(m, bytes)) return NO_ROOM;
    slab *s = map_bytes(&shard_here(m)->region, bytes, use == MEMORY_STATE);
    if (!s) {
        uncharge(m, bytes);
        return NO_SYSTEM_MEMORY;
    }
    s->mapped = bytes; /* the rest is zero */
    s->n = s->n_free = slab_slots(m, c);
    *out = slab_take(m, s, c);
    if (!s->n_free) return TAKEN;
    pthread_mutex_lock(&m->pools[c].lock);
    slab_link(&m->pools[c].partial, s);
    pthread_mutex_unlock(&m->pools[c].lock);
    return TAKEN;
}

static answer map_large(memory *m, memory_use use, unsigned c, buffer **out) {
    size_t bytes = class_capacity(m, c);
    if (!charge_or_reclaim(m, bytes)) return NO_ROOM;
    buffer *b = calloc(1, sizeof *b);
    if (b) b->data = map_bytes(&shard_here(m)->region, bytes, use == MEMORY_STATE);
    if (!b || !b->data) {
        free(b);
        uncharge(m, bytes);
        return NO_SYSTEM_MEMORY;
    }
    *out = b;
    return TAKEN;
}

static answer take_pooled(memory *m, memory_use use, size_t bytes, buffer **out) {
    unsigned c = class_of(bytes);
    buffer *b = shard_take(m, c);
    if (!b) {
        pthread_mutex_lock(&m->pools[c].lock);
        b = pool_take(m, c);
        pthread_mutex_unlock(&m->pools[c].lock);
    }
    if (!b) {
        answer a = c < SMALL_CLASSES ? map_slab(m, use, c, &b) : map_large(m, use, c, &b);
        if (a != TAKEN) {
            count_live(m, -1);
            return a;
        }
    }
    b->size_class = c;
    b->capacity = class_capacity(m, c);
    *out = b;
    return TAKEN;
}

enum { PADDING_MARK = 0xa5 };

static answer take_exact(memory *m, size_t bytes, buffer **out) {
    size_t capacity = bytes + BUFFER_PADDING;
    if (!charge_or_reclaim(m, capacity)) return NO_ROOM;
    buffer *b = calloc(1, sizeof *b);
    void *data = NULL;
    if (!b || posix_memalign(&data, 64, capacity) != 0) {
        free(b);
        uncharge(m, capacity);
        return NO_SYSTEM_MEMORY;
    }
    b->data = data;
    memset(b->data + bytes, PADDING_MARK, BUFFER_PADDING);
    b->capacity = capacity;
    count_live(m, 1);
    *out = b;
    return TAKEN;
}

static answer take(memory *m, memory_use use, size_t bytes, buffer **out) {
    size_t capacity = bytes < m->limit ? request_capacity(m, bytes) : SIZE_MAX, after;
    if (capacity > m->limit) return NO_ROOM;
    if (use == MEMORY_STATE && !charge_below(&m->state, capacity, m->state_limit, &after)) return NO_ROOM;
    answer a = POOLED ? take_pooled(m, use, bytes, out) : take_exact(m, bytes, out);
    if (a != TAKEN) {
        if (use == MEMORY_STATE) atomic_fetch_sub(&m->state, capacity);
        return a;
    }
    buffer *b = *out;
    b->size = bytes;
    b->use = use;
    b->owner = m;
    b->parts = NULL;
    atomic_init(&b->references, 1);
    return TAKEN;
}

static void put_pooled(memory *m, buffer *b) {
    unsigned c = b->size_class;
    shard *s = shard_here(m);
    pthread_mutex_lock(&s->lock);
    s->live--;
    if (c < SHARD_CLASSES && m->keep[c]) {
        push_free(&s->classes[c].free, b);
        if (c >= SMALL_CLASSES) atomic_fetch_add_explicit(&s->idle, b->capacity, memory_order_relaxed);
        if (++s->classes[c].n > m->keep[c]) shard_drain(m, s, c, m->keep[c] / 2);
    } else {
        pthread_mutex_lock(&m->pools[c].lock);
        pool_put(m, c, b);
        pthread_mutex_unlock(&m->pools[c].lock);
    }
    pthread_mutex_unlock(&s->lock);
    if (atomic_load_explicit(&m->idle, memory_order_relaxed) > m->idle_max) trim(m);
}

static void put_exact(memory *m, buffer *b) {
    for (size_t i = b->capacity - BUFFER_PADDING; i < b->capacity; i++)
        assert(b->data[i] == PADDING_MARK && "a buffer was written past its size");
    free(b->data);
    uncharge(m, b->capacity);
    free(b);
    count_live(m, -1);
}

/* ---- buffers ---- */

buffer *buffer_try(memory *m, size_t bytes) {
    buffer *b;
    return take(m, MEMORY_STATE, bytes, &b) == TAKEN ? b : NULL;
}

void memory_take_back(buffer *b) {
    memory *m = b->owner;
    if (b->use == MEMORY_STATE) {
        atomic_fetch_sub(&m->state, b->capacity);
        atomic_fetch_add(&m->state_freed, b->capacity);
    }
    if (POOLED) put_pooled(m, b);
    else put_exact(m, b);
}

/* ---- spilling ---- */

static void format_bytes(size_t bytes, char out[32]) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    unsigned u = 0;
    double value = (double)bytes;
    for (; value >= 1024 && u < 4; u++) value /= 1024;
    bool whole = value == (double)(size_t)value;
    snprintf(out, 32, whole ? "%.0f %s" : "%.1f %s", value, units[u]);
}

static tw_status too_small(const memory *m, memory_use use, size_t bytes, tw_error *err) {
    char limit[32], want[32], left[32];
    size_t have = use == MEMORY_STATE ? memory_state_left(m) : room(m);
    format_bytes(m->limit, limit);
    format_bytes(bytes, want);
    format_bytes(have, left);
    return error_set(err, TW_ERR_MEMORY, "run.memory of %s is too small: %s %s wanted, %s left, and nothing "
                     "more can be written to disk", limit, want,
                     use == MEMORY_STATE ? "for a step's state" : "for rows on their way", left);
}

/* Whether a slot is free in a slab that has others in use; of no use to larger requests. */
static bool slot_free(memory *m, size_t bytes) {
    unsigned c = class_of(bytes);
    if (!POOLED || c >= SMALL_CLASSES) return false;
    pthread_mutex_lock(&m->pools[c].lock);
    bool found = m->pools[c].partial != NULL;
    pthread_mutex_unlock(&m->pools[c].lock);
    return found;
}

static bool has_room(memory *m, memory_use use, size_t bytes) {
    if (bytes >= m->limit) return false;
    if (use == MEMORY_STATE && minus(m->state_limit, atomic_load(&m->state)) < request_capacity(m, bytes))
        return false;
    pthread_mutex_lock(&m->reclaim); /* what is on its way out counts once it is out */
    size_t left = room(m);
    pthread_mutex_unlock(&m->reclaim);
    return left >= request_mapped(m, bytes) || slot_free(m, bytes);
}

void memory_register(memory *m, memory_spiller *s) {
    s->calls = 0;
    s->leaving = s->spilling = false;
    s->previous = NULL;
    pthread_mutex_lock(&m->spill_lock);
    s->next = m->spillers;
    if (s->next) s->next->previous = s;
    m->spillers = s;
    pthread_mutex_unlock(&m->spill_lock);
}

void memory_unregister(memory *m, memory_spiller *s) {
    pthread_mutex_lock(&m->spill_lock);
    s->leaving = true;
    while (s->calls) pthread_cond_wait(&m->spill_done, &m->spill_lock);
    if (s->next) s->next->previous = s->previous;
    if (s->previous) s->previous->next = s->next;
    else m->spillers = s->next;
    s->next = s->previous = NULL;
    pthread_mutex_unlock(&m->spill_lock);
}

/* A spiller with calls stays linked, so that a walk can let go of the lock at it. */
static void unpin(memory *m, memory_spiller *s) {
    if (s && --s->calls == 0) pthread_cond_broadcast(&m->spill_done);
}

/* The idle spiller with most to give, pinned, or NULL; with spill_lock held, let go between. */
static memory_spiller *largest_spiller(memory *m, size_t *most, bool *others_spill) {
    memory_spiller *best = NULL;
    *most = 0;
    *others_spill = false;
    for (memory_spiller *s = m->spillers, *next; s; s = next) {
        size_t bytes = 0;
        s->calls++;
        if (!s->leaving && !s->spilling) {
            pthread_mutex_unlock(&m->spill_lock);
            bytes = s->spillable_bytes(s->self);
            pthread_mutex_lock(&m->spill_lock);
        }
        next = s->next;
        bool better = bytes > *most && !s->leaving && !s->spilling;
        *others_spill |= s->spilling;
        if (better) *most = bytes;
        unpin(m, better ? best : s);
        if (better) best = s;
    }
    if (best && (best->spilling || best->leaving)) {
        *others_spill = true; /* changed behind us: look again */
        unpin(m, best);
        best = NULL;
    }
    return best;
}

static bool spills_here(const memory *m) {
    for (const memory_spiller *s = m->spillers; s; s = s->next)
        if (s->spilling && pthread_equal(s->thread, pthread_self())) return true;
    return false;
}

/* With spill_lock held: until some spill is over, if one is running. */
static void wait_for_spill(memory *m) {
    for (const memory_spiller *s = m->spillers; s; s = s->next) {
        if (!s->spilling) continue;
        pthread_cond_wait(&m->spill_done, &m->spill_lock);
        return;
    }
}

/* One call of one spiller, or a wait for that of another thread. */
static tw_status spill_once(memory *m, size_t bytes, bool *progress, tw_error *err) {
    size_t most;
    *progress = false;
    pthread_mutex_lock(&m->spill_lock);
    memory_spiller *s = spills_here(m) ? NULL : largest_spiller(m, &most, progress);
    if (!s) {
        if (*progress) wait_for_spill(m);
        pthread_mutex_unlock(&m->spill_lock);
        return TW_OK;
    }
    s->spilling = true;
    s->thread = pthread_self();
    pthread_mutex_unlock(&m->spill_lock);

    size_t freed = atomic_load(&m->state_freed);
    tw_status status = s->spill(s->self, bytes, err);
    *progress = atomic_load(&m->state_freed) != freed || s->spillable_bytes(s->self) < most;

    pthread_mutex_lock(&m->spill_lock);
    s->spilling = false;
    s->calls--;
    pthread_cond_broadcast(&m->spill_done);
    pthread_mutex_unlock(&m->spill_lock);
    return status;
}

static tw_status make_room(memory *m, memory_use use, size_t bytes, tw_error *err) {
    unsigned barren = 0;
    if (bytes >= m->limit || request_mapped(m, bytes) > m->limit ||
        (use == MEMORY_STATE && request_capacity(m, bytes) > m->state_limit))
        return too_small(m, use, bytes, err);
    while (!has_room(m, use, bytes)) {
        drain_shards(m);
        if (has_room(m, use, bytes)) break;
        bool progress;
        TRY(spill_once(m, bytes, &progress, err));
        barren = progress ? 0 : barren + 1;
        if (barren == BARREN_ROUNDS_MAX) return too_small(m, use, bytes, err);
    }
    return TW_OK;
}

tw_status memory_make_room(memory *m, size_t bytes, tw_error *err) {
    return make_room(m, MEMORY_STATE, bytes, err);
}

tw_status buffer_new(memory *m, memory_use use, size_t bytes, buffer **out, tw_error *err) {
    *out = NULL;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        switch (take(m, use, bytes, out)) {
        case TAKEN: return TW_OK;
        case NO_SYSTEM_MEMORY: return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
        case NO_ROOM: break;
        }
        TRY(make_room(m, use, bytes, err)); /* others may be quicker to use it */
    }
    return too_small(m, use, bytes, err);
}

/* ---- the budget's own life ---- */

tw_status memory_create(size_t limit_bytes, memory **out, tw_error *err) {
    long processors = sysconf(_SC_NPROCESSORS_CONF);
    unsigned n_shards = 1;
    while (n_shards < SHARDS_MAX && (long)n_shards < processors) n_shards *= 2;

    memory *m = aligned_alloc(64, sizeof *m);
    shard *shards = aligned_alloc(64, n_shards * sizeof *shards);
    *out = m;
    if (!m || !shards) {
        free(m);
        free(shards);
        *out = NULL;
        return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    }
    memset(m, 0, sizeof *m);
    memset(shards, 0, n_shards * sizeof *shards);
    m->limit = limit_bytes < LIMIT_MAX ? limit_bytes : LIMIT_MAX;
    m->state_limit = m->limit / 4 * 3;
    m->idle_max = m->limit / 4;
    m->page = (size_t)sysconf(_SC_PAGESIZE);
    m->slab_bytes = m->limit / SLABS_MIN;
    if (m->slab_bytes < SLAB_BYTES_MIN) m->slab_bytes = SLAB_BYTES_MIN;
    if (m->slab_bytes > SLAB_BYTES_MAX) m->slab_bytes = SLAB_BYTES_MAX;
    m->shards = shards;
    m->n_shards = n_shards;
    size_t keep_bytes = m->limit / (64 * n_shards);
    if (keep_bytes < SHARD_KEEP_BYTES_MIN) keep_bytes = SHARD_KEEP_BYTES_MIN;
    if (keep_bytes > SHARD_KEEP_BYTES_MAX) keep_bytes = SHARD_KEEP_BYTES_MAX;
    for (unsigned c = 0; c < SHARD_CLASSES; c++) {
        size_t n = keep_bytes / class_capacity(m, c);
        m->keep[c] = n < SHARD_KEEP_MAX ? (unsigned)n : SHARD_KEEP_MAX;
    }
    pthread_mutex_init(&m->reclaim, NULL);
    pthread_mutex_init(&m->spill_lock, NULL);
    pthread_cond_init(&m->spill_done, NULL);
    for (unsigned i = 0; i < n_shards; i++) {
        pthread_mutex_init(&shards[i].lock, NULL);
        map_region_init(&shards[i].region);
    }
    for (unsigned c = 0; c < CLASSES; c++) pthread_mutex_init(&m->pools[c].lock, NULL);
    return TW_OK;
}

void memory_destroy(memory *m) {
    if (!m) return;
    size_t live = 0;
    for (unsigned i = 0; i < m->n_shards; i++) {
        pthread_mutex_lock(&m->shards[i].lock);
        live += m->shards[i].live;
        pthread_mutex_unlock(&m->shards[i].lock);
    }
    assert((!ASSERT_NO_LEAKS || !live) && "every buffer is released before its memory");
    pthread_mutex_lock(&m->reclaim);
    reclaim_all(m, SIZE_MAX);
    pthread_mutex_unlock(&m->reclaim);
    if (live) return; /* whoever holds a buffer still finds its owner */

    for (unsigned c = 0; c < CLASSES; c++) pthread_mutex_destroy(&m->pools[c].lock);
    for (unsigned i = 0; i < m->n_shards; i++) {
        map_region_destroy(&m->shards[i].region);
        pthread_mutex_destroy(&m->shards[i].lock);
    }
    pthread_cond_destroy(&m->spill_done);
    pthread_mutex_destroy(&m->spill_lock);
    pthread_mutex_destroy(&m->reclaim);
    free(m->shards);
    free(m);
}
