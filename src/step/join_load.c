/* Which partitions of the right side stay in memory, and their tables.
 *
 * The first worker that has a batch of the left side plans, and all that come load partitions until none
 * is left. Loaded rows can't be spilled any more, so a part of the room stays for others, and what does
 * not fit stays in the exchange, which can. */
#include <stdlib.h>

#include "step/join_internal.h"

enum { plan_rounds_max = 5, slots_block_bytes = 8 << 10 };

/* What a partition would take. */
typedef struct claim {
    uint32_t partition;
    bool spilled;
    uint64_t rows, slots;
    size_t bytes;
} claim;

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a join"); }

tw_status join_slots(memory *m, uint64_t slots, buffer **out, tw_error *err) {
    size_t bytes = slots ? slots * sizeof(uint64_t) : sizeof(uint64_t);
    return buffer_new(m, MEMORY_STATE, bytes, out, err);
}

tw_status join_heaps(row_block *const *lists, uint32_t n_lists, buffer **out, tw_error *err) {
    size_t n = 0;
    for (uint32_t i = 0; i < n_lists; i++)
        for (const row_block *b = lists[i]; b; b = b->next) n += b->heap != NULL;
    buffer **parts = malloc((n + 1) * sizeof *parts);
    if (!parts) return no_memory(err);
    n = 0;
    for (uint32_t i = 0; i < n_lists; i++)
        for (const row_block *b = lists[i]; b; b = b->next)
            if (b->heap) parts[n++] = b->heap;
    tw_status status = buffer_join(parts, n, out, err);
    free(parts);
    return status;
}

static void free_blocks(row_block **list) {
    while (*list) {
        row_block *b = *list;
        *list = b->next;
        row_block_free(b);
    }
}

void join_unload_tables(join *j) {
    for (uint32_t p = 0; j->blocks && p < j->n_partitions; p++) free_blocks(&j->blocks[p]);
    buffer_unref(j->slots);
    buffer_unref(j->heap);
    j->slots = j->heap = NULL;
}

void join_unload(join *j) {
    join_unload_tables(j);
    for (unsigned side = 0; side < 2; side++) {
        exchange_free(j->sides[side].rows);
        j->sides[side].rows = NULL;
    }
    free(j->blocks);
    free(j->tables);
    free(j->later);
    free(j->chosen);
    j->blocks = NULL;
    j->tables = NULL;
    j->later = NULL;
    j->chosen = NULL;
}

/* ---- the plan ---- */

/* Those in memory first, small ones first: so most of them fit. */
static int by_worth(const void *a, const void *b) {
    const claim *x = a, *y = b;
    if (x->spilled != y->spilled) return x->spilled - y->spilled;
    if (x->bytes != y->bytes) return (x->bytes > y->bytes) - (x->bytes < y->bytes);
    return (x->partition > y->partition) - (x->partition < y->partition);
}

static void measure(join *j, claim *claims, size_t *in_memory) {
    exchange *x = j->sides[RIGHT].rows;
    for (uint32_t p = 0; p < j->n_partitions; p++) {
        size_t bytes = exchange_partition_bytes(x, p), spilled = exchange_partition_spilled(x, p);
        *in_memory += bytes > spilled ? bytes - spilled : 0;
        j->short_of_memory |= spilled > 0;
        claims[p] = (claim){.partition = p, .rows = exchange_rows(x, p), .spilled = spilled > 0};
        /* Blocks are a little larger than what is in them. */
        if (claims[p].rows) claims[p].bytes = bytes + bytes / 4 + slots_block_bytes + 16 * claims[p].rows;
    }
    qsort(claims, j->n_partitions, sizeof *claims, by_worth);
}

/* How many of the claims fit, and the slots of each. */
static uint32_t choose(const join *j, claim *claims, size_t budget, uint64_t *slots) {
    uint32_t n = 0;
    uint64_t rows = 0;
    size_t sum = 0;
    *slots = 0;
    for (; n < j->n_partitions; n++) {
        if (claims[n].rows > ROW_TABLE_ROWS_MAX || claims[n].bytes > budget - sum) break;
        sum += claims[n].bytes;
        rows += claims[n].rows;
    }
    for (uint32_t i = 0; i < n; i++) *slots += claims[i].slots = row_table_capacity(claims[i].rows, rows);
    return n;
}

static void set_tables(join *j, const claim *claims, uint32_t n) {
    uint64_t *slots = (uint64_t *)(void *)j->slots->data;
    memset(j->later, 1, j->n_partitions);
    for (uint32_t p = 0; p < j->n_partitions; p++) row_table_init(&j->tables[p], NULL, 0);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t p = claims[i].partition, capacity = (uint32_t)claims[i].slots;
        j->later[p] = 0;
        if (!capacity) continue;
        /* Zeroed by who loads it. */
        j->tables[p] = (row_table){.slots = slots, .capacity = capacity};
        slots += capacity;
        j->chosen[j->n_chosen++] = p;
    }
}

static tw_status plan_tables(join *j, tw_error *err) {
    memory *m = j->run->memory;
    uint32_t n = j->n_partitions;
    claim *claims = malloc(n * sizeof *claims);
    j->tables = calloc(n, sizeof *j->tables);
    j->later = malloc(n);
    j->chosen = malloc(n * sizeof *j->chosen);
    j->blocks = calloc(n, sizeof *j->blocks);
    if (!claims || !j->tables || !j->later || !j->chosen || !j->blocks) {
        free(claims);
        return no_memory(err);
    }
    size_t in_memory = 0;
    measure(j, claims, &in_memory);
    size_t budget = (memory_state_left(m) + in_memory) / 3 * 2;
    tw_status status = TW_ERR_MEMORY;
    uint32_t fit = 0;
    for (unsigned round = 0; round < plan_rounds_max && status == TW_ERR_MEMORY; round++, budget /= 2) {
        uint64_t slots;
        if (round + 1 == plan_rounds_max) budget = 0;
        fit = choose(j, claims, budget, &slots);
        status = join_slots(m, slots, &j->slots, err);
        j->budget = budget;
        atomic_store(&j->held, 8 * slots);
    }
    if (status == TW_OK) set_tables(j, claims, fit);
    free(claims);
    return status;
}

/* ---- loading ---- */

static tw_status cancelled(tw_error *err) { return error_set(err, TW_ERR_CANCELLED, "interrupted"); }

static void give_back(join *j, uint32_t p, row_block **list) {
    while (*list) {
        row_block *b = *list;
        *list = b->next;
        b->next = NULL;
        atomic_fetch_sub(&j->held, row_block_bytes(b));
        exchange_give_back(j->sides[RIGHT].rows, p, b);
    }
}

/* All of a partition's blocks, or none. */
static tw_status take_blocks(join *j, uint32_t p, row_block **list, tw_error *err) {
    exchange *x = j->sides[RIGHT].rows;
    for (;;) {
        row_block *b;
        tw_status status = run_cancelled(j->run) ? cancelled(err) : exchange_take(x, p, &b, err);
        if (status == TW_END) return TW_OK;
        if (status == TW_OK) {
            b->next = *list;
            *list = b;
            size_t bytes = row_block_bytes(b), held = atomic_fetch_add(&j->held, bytes) + bytes;
            if (held <= j->budget) continue;
            status = TW_ERR_MEMORY;
        }
        give_back(j, p, list);
        return status;
    }
}

/* Puts blocks that are scattered over the memory into one, so that what was between them, and is spilled
 * by now, can be used for anything. */
static tw_status compact(join *j, row_block **list, tw_error *err) {
    const row_layout *l = j->sides[RIGHT].layout;
    uint64_t rows = 0;
    size_t heap_bytes = 0;
    for (const row_block *b = *list; b; b = b->next) rows += b->n, heap_bytes += b->heap_used;
    if (!rows) return TW_OK;
    row_block *all = row_block_try(j->run->memory, l, (uint32_t)rows, heap_bytes);
    if (!all) return error_set(err, TW_ERR_MEMORY, "run.memory is too small for a join");
    uint8_t *to = all->rows->data, *heap = all->heap ? all->heap->data : NULL;
    while (*list) {
        row_block *b = *list;
        for (uint32_t i = 0; i < b->n; i++, to += l->stride)
            rows_copy(l, b->rows->data + (size_t)i * l->stride, to, &heap);
        *list = b->next;
        row_block_free(b);
    }
    all->n = (uint32_t)rows;
    all->heap_used = heap_bytes;
    *list = all;
    return TW_OK;
}

/* A partition that is refused its memory, or takes more than was thought, is left for later. */
static tw_status load_partition(join *j, uint32_t p, tw_error *err) {
    row_table *t = &j->tables[p];
    tw_status status = take_blocks(j, p, &j->blocks[p], err);
    if (status == TW_OK && j->short_of_memory) status = compact(j, &j->blocks[p], err);
    if (status == TW_ERR_MEMORY) give_back(j, p, &j->blocks[p]);
    if (status == TW_ERR_MEMORY) {
        row_table_init(t, NULL, 0);
        j->later[p] = 1;
        return TW_OK;
    }
    TRY(status);
    row_table_init(t, t->slots, t->capacity);
    for (const row_block *b = j->blocks[p]; b; b = b->next) {
        if (run_cancelled(j->run)) return cancelled(err);
        row_table_insert(t, j->sides[RIGHT].layout, b);
    }
    return TW_OK;
}

/* When all partitions are loaded, and nobody works on one. */
static tw_status complete(join *j, tw_error *err) {
    for (uint32_t p = 0; p < j->n_partitions; p++) {
        j->any_later |= j->later[p];
        j->any_rows |= j->tables[p].capacity > 0;
        j->has_duplicates |= j->tables[p].has_duplicates;
    }
    if (j->sides[RIGHT].layout->has_heap) TRY(join_heaps(j->blocks, j->n_partitions, &j->heap, err));
    if (j->any_later && j->live)
        return error_set(err, TW_ERR_MEMORY, "run.memory is too small: the right side of a join must fit in memory when the left "
                         "one never ends");
    if (!j->any_later) return TW_OK;
    return exchange_create(j->run->memory, j->run->spill, j->sides[LEFT].layout, j->n_partitions, 0,
                           &j->sides[LEFT].rows, err);
}

/* With the lock held. */
static void enter(join *j, join_phase phase, const tw_error *failure) {
    if (atomic_load(&j->phase) == JOIN_FAILED) return;
    if (phase == JOIN_FAILED) j->failure = *failure;
    atomic_store(&j->phase, phase);
    pthread_cond_broadcast(&j->changed);
}

static void load_some(join *j) {
    while (atomic_load(&j->phase) == JOIN_LOADS && j->next < j->n_chosen) {
        uint32_t p = j->chosen[j->n_chosen - 1 - j->next++]; /* the largest first */
        pthread_mutex_unlock(&j->lock);
        tw_error failure = {0};
        tw_status status = load_partition(j, p, &failure);
        pthread_mutex_lock(&j->lock);
        j->loaded++;
        if (status != TW_OK) enter(j, JOIN_FAILED, &failure);
    }
    if (atomic_load(&j->phase) != JOIN_LOADS || j->loaded < j->n_chosen) return;
    tw_error failure = {0};
    tw_status status = complete(j, &failure);
    enter(j, status == TW_OK ? JOIN_READY : JOIN_FAILED, &failure);
}

tw_status join_load(join *j, tw_error *err) {
    tw_error failure = {0};
    pthread_mutex_lock(&j->lock);
    if (atomic_load(&j->phase) == JOIN_COLLECTS) {
        enter(j, JOIN_PLANS, NULL);
        pthread_mutex_unlock(&j->lock); /* room is made: it may take a while */
        tw_status status = plan_tables(j, &failure);
        pthread_mutex_lock(&j->lock);
        enter(j, status == TW_OK ? JOIN_LOADS : JOIN_FAILED, &failure);
    }
    while (atomic_load(&j->phase) == JOIN_PLANS) pthread_cond_wait(&j->changed, &j->lock);
    load_some(j);
    while (atomic_load(&j->phase) == JOIN_LOADS) pthread_cond_wait(&j->changed, &j->lock);
    bool failed = atomic_load(&j->phase) == JOIN_FAILED;
    if (failed && err) *err = j->failure;
    tw_status status = failed ? j->failure.code : TW_OK;
    pthread_mutex_unlock(&j->lock);
    return status;
}
