#include "engine/sequencer.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct item_node {
    void *item;
    size_t bytes;
    struct item_node *next;
} item_node;

/* A split that has pushed or ended and is not yet passed. */
typedef struct split_node {
    uint32_t input;
    uint64_t split;
    bool ended;
    item_node *first, **last;
    struct split_node *next; /* of the same hash bucket */
} split_node;

struct sequencer {
    pthread_mutex_t lock;
    run_context *run;
    sequencer_callbacks callbacks;
    size_t pending_bytes, pending_bytes_max;
    bool refused; /* somebody was told to wait */
    row_order order;
    uint32_t head_input, n_inputs;
    uint64_t *head_splits; /* of each input */
    uint64_t *n_splits; /* of each input; UINT64_MAX: not known yet */
    split_node **buckets;
    size_t n_buckets, n_nodes;
};

tw_status sequencer_create(run_context *run, uint32_t n_inputs, row_order order, size_t pending_bytes_max,
                           sequencer_callbacks callbacks, sequencer **out, tw_error *err) {
    sequencer *s = calloc(1, sizeof *s);
    if (s) {
        s->n_buckets = 64;
        s->buckets = calloc(s->n_buckets, sizeof *s->buckets);
        s->n_splits = malloc(n_inputs * sizeof *s->n_splits);
        s->head_splits = calloc(n_inputs, sizeof *s->head_splits);
    }
    if (!s || !s->buckets || !s->n_splits || !s->head_splits) {
        if (s) free(s->buckets), free(s->n_splits), free(s->head_splits);
        free(s);
        return error_set(err, TW_ERR_MEMORY, "out of memory for a sequencer");
    }
    pthread_mutex_init(&s->lock, NULL);
    s->run = run;
    s->order = order;
    s->callbacks = callbacks;
    s->pending_bytes_max = pending_bytes_max;
    s->n_inputs = n_inputs;
    for (uint32_t i = 0; i < n_inputs; i++) s->n_splits[i] = UINT64_MAX;
    *out = s;
    return TW_OK;
}

static void split_free(sequencer *s, split_node *n) {
    while (n->first) {
        item_node *i = n->first;
        n->first = i->next;
        s->callbacks.drop(s->callbacks.context, i->item);
        free(i);
    }
    free(n);
}

void sequencer_free(sequencer *s) {
    if (!s) return;
    for (size_t b = 0; b < s->n_buckets; b++)
        while (s->buckets[b]) {
            split_node *n = s->buckets[b];
            s->buckets[b] = n->next;
            split_free(s, n);
        }
    free(s->buckets);
    free(s->n_splits);
    free(s->head_splits);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static split_node **bucket_of(sequencer *s, uint32_t input, uint64_t split) {
    return &s->buckets[(split + input * 7919u) & (s->n_buckets - 1)];
}

static split_node *split_find(sequencer *s, uint32_t input, uint64_t split) {
    for (split_node *n = *bucket_of(s, input, split); n; n = n->next)
        if (n->split == split && n->input == input) return n;
    return NULL;
}

static void buckets_grow(sequencer *s) {
    size_t n = s->n_buckets * 4;
    split_node **fresh = calloc(n, sizeof *fresh);
    if (!fresh) return; /* longer chains, still right */
    split_node **old = s->buckets;
    size_t n_old = s->n_buckets;
    s->buckets = fresh;
    s->n_buckets = n;
    for (size_t b = 0; b < n_old; b++)
        while (old[b]) {
            split_node *node = old[b];
            old[b] = node->next;
            split_node **to = bucket_of(s, node->input, node->split);
            node->next = *to;
            *to = node;
        }
    free(old);
}

static split_node *split_need(sequencer *s, uint32_t input, uint64_t split) {
    split_node *n = split_find(s, input, split);
    if (n) return n;
    n = calloc(1, sizeof *n);
    if (!n) return NULL;
    if (++s->n_nodes > s->n_buckets * 2) buckets_grow(s);
    n->input = input;
    n->split = split;
    n->last = &n->first;
    split_node **b = bucket_of(s, input, split);
    n->next = *b;
    *b = n;
    return n;
}

static void split_remove(sequencer *s, split_node *n) {
    split_node **b = bucket_of(s, n->input, n->split);
    while (*b != n) b = &(*b)->next;
    *b = n->next;
    s->n_nodes--;
    free(n);
}

static bool is_head(const sequencer *s, const batch_order *order) {
    return (s->order == ROW_ORDER_INPUTS || order->input == s->head_input) && order->split == s->head_splits[order->input];
}

bool sequencer_ready(sequencer *s, const batch_order *order) {
    if (s->order == ROW_ORDER_NONE) return true;
    pthread_mutex_lock(&s->lock);
    bool ready = s->pending_bytes < s->pending_bytes_max || is_head(s, order);
    if (!ready) s->refused = true;
    pthread_mutex_unlock(&s->lock);
    return ready;
}

/* Gives the items of the head split their places. Without `work` they are the callback's from here on;
 * else they are added to the list of those that are to be worked on. */
static tw_status place_items(sequencer *s, split_node *n, item_node ***placed_last, tw_error *err) {
    while (n->first) {
        item_node *i = n->first;
        TRY(s->callbacks.place(s->callbacks.context, i->item, err));
        n->first = i->next;
        if (!n->first) n->last = &n->first;
        s->pending_bytes -= i->bytes;
        if (!s->callbacks.work) {
            free(i);
            continue;
        }
        i->next = NULL;
        **placed_last = i;
        *placed_last = &i->next;
    }
    return TW_OK;
}

/* Moves an input's head over what is complete, and places its items. False: not all splits have passed. */
static bool pass(sequencer *s, uint32_t input, item_node ***placed_last, bool *moved, tw_status *status, tw_error *err) {
    uint64_t *head = &s->head_splits[input];
    while (*head < s->n_splits[input]) {
        split_node *n = split_find(s, input, *head);
        if (!n) return false;
        *status = place_items(s, n, placed_last, err);
        if (*status != TW_OK || !n->ended) return false;
        split_remove(s, n);
        ++*head;
        *moved = true;
    }
    return true;
}

/* Moves the heads over what is complete, places the items, then works on them outside the lock.
 * Called with the lock held; returns without it. */
static tw_status deliver(sequencer *s, uint32_t input, tw_error *err) {
    item_node *placed = NULL, **placed_last = &placed;
    tw_status status = TW_OK;
    bool moved = false;
    if (s->order == ROW_ORDER_INPUTS) pass(s, input, &placed_last, &moved, &status, err);
    for (; s->order == ROW_ORDER_ALL && s->head_input < s->n_inputs; s->head_input++, moved = true)
        if (!pass(s, s->head_input, &placed_last, &moved, &status, err)) break;
    bool wakes = moved && s->refused;
    if (wakes) s->refused = false;
    pthread_mutex_unlock(&s->lock);
    if (wakes) run_wake(s->run);
    while (placed) {
        item_node *i = placed;
        placed = i->next;
        if (status == TW_OK) status = s->callbacks.work(s->callbacks.context, i->item, err);
        else s->callbacks.drop(s->callbacks.context, i->item);
        free(i);
    }
    /* The items are taken: a caller that pushed again would double them. */
    return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status;
}

/* As it comes. */
static tw_status pass_at_once(sequencer *s, void *item, tw_error *err) {
    pthread_mutex_lock(&s->lock);
    tw_status status = s->callbacks.place(s->callbacks.context, item, err);
    pthread_mutex_unlock(&s->lock);
    if (status != TW_OK) s->callbacks.drop(s->callbacks.context, item);
    else if (s->callbacks.work) status = s->callbacks.work(s->callbacks.context, item, err);
    return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status;
}

tw_status sequencer_push(sequencer *s, const batch_order *order, void *item, size_t bytes, tw_error *err) {
    if (s->order == ROW_ORDER_NONE) return pass_at_once(s, item, err);
    item_node *i = malloc(sizeof *i);
    pthread_mutex_lock(&s->lock);
    split_node *n = i ? split_need(s, order->input, order->split) : NULL;
    if (!n) {
        pthread_mutex_unlock(&s->lock);
        free(i);
        s->callbacks.drop(s->callbacks.context, item);
        return error_set(err, TW_ERR_MEMORY, "out of memory for a sequencer");
    }
    *i = (item_node){.item = item, .bytes = bytes};
    *n->last = i;
    n->last = &i->next;
    s->pending_bytes += bytes;
    if (!is_head(s, order)) {
        pthread_mutex_unlock(&s->lock);
        return TW_OK;
    }
    return deliver(s, order->input, err);
}

tw_status sequencer_end_split(sequencer *s, const batch_order *order, tw_error *err) {
    if (s->order == ROW_ORDER_NONE) return TW_OK;
    pthread_mutex_lock(&s->lock);
    split_node *n = split_need(s, order->input, order->split);
    if (!n) {
        pthread_mutex_unlock(&s->lock);
        return error_set(err, TW_ERR_MEMORY, "out of memory for a sequencer");
    }
    n->ended = true;
    return deliver(s, order->input, err);
}

tw_status sequencer_end_input(sequencer *s, uint32_t input, uint64_t n_splits, tw_error *err) {
    if (s->order == ROW_ORDER_NONE) return TW_OK;
    pthread_mutex_lock(&s->lock);
    s->n_splits[input] = n_splits;
    return deliver(s, input, err);
}
