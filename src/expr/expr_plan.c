/* Where each node writes: pieces of one block of memory per scratch. Runs of values are large, and
 * reused as soon as the parent has read them; bitmaps are small, and each has its own place, so that a
 * bitmap of nulls can be shared up the tree. Also: which texts can reach the result. */
#include <stdlib.h>
#include <string.h>

#include "expr/expr_internal.h"

#define BITMAP_BYTES (CHUNK_WORDS * sizeof(uint64_t))

typedef struct planner {
    expr *e;
    size_t bytes; /* of the scratch, so far */
    size_t *unused[3]; /* pieces for values of 4, 8, 16 bytes that nobody needs now */
    uint32_t n_unused[3], kept_back[3]; /* the first of them are for others */
    uint32_t nodes;
} planner;

static size_t place(planner *p, size_t bytes) {
    size_t at = p->bytes;
    p->bytes += (bytes + 63) & ~(size_t)63;
    return at;
}

static int width_class(const node *x) {
    size_t bytes = type_bytes(x->type);
    return bytes == 4 ? 0 : bytes == 8 ? 1 : 2;
}

static void count_uses(planner *p, node *x) {
    if (x->uses++) return;
    p->nodes++;
    for (uint32_t i = 0; i < x->n; i++) count_uses(p, x->children[i]);
}

/* Views of an escaping node may be in the result: its texts must live as long. */
static void mark_escaping(node *x) {
    if (x->escapes || !x->type || !type_is_view(x->type)) return;
    x->escapes = true;
    bool passes = x->kind == NODE_IF || x->kind == NODE_COALESCE || x->kind == NODE_FILL ||
                  (x->kind == NODE_CALL && x->shares_text);
    for (uint32_t i = 0; i < x->n && passes; i++) mark_escaping(x->children[i]);
}

static bool needs_values(const node *x) {
    return x->kind != NODE_CONSTANT && x->kind != NODE_COLUMN && !node_is_bool(x);
}

/* The mask areas that expr_run.c asks for. */
static uint32_t masks_of(const node *x) {
    switch (x->kind) {
    case NODE_AND:
    case NODE_OR: return 3;
    case NODE_IF: return 2;
    case NODE_COALESCE: return 1;
    case NODE_CALL: return 1;
    default: return 0;
    }
}

static void release_child(planner *p, node *child) {
    if (!child->own_values || child->shared) return;
    int c = width_class(child);
    p->unused[c][p->n_unused[c]++] = child->values_at;
}

static void take_values(planner *p, node *x) {
    if (!needs_values(x) || x == p->e->root) return;
    int c = width_class(x);
    x->own_values = true;
    if (!x->shared && p->n_unused[c] > p->kept_back[c]) x->values_at = p->unused[c][--p->n_unused[c]];
    else x->values_at = place(p, (size_t)CHUNK_ROWS * (4u << c));
}

static void plan_places(planner *p, node *x);

static void plan_node(planner *p, node *x) {
    if (x->planned) return;
    x->planned = true;
    x->shared = x->uses > 1 && x->n > 0;
    if (!x->shared) {
        plan_places(p, x);
        return;
    }
    /* Below a shared node nothing is reused by others: it is computed when the first of its readers
     * is evaluated for some row, which need not be the first that stands in the tree. */
    uint32_t before[3];
    memcpy(before, p->kept_back, sizeof before);
    memcpy(p->kept_back, p->n_unused, sizeof before);
    plan_places(p, x);
    memcpy(p->n_unused, p->kept_back, sizeof before);
    memcpy(p->kept_back, before, sizeof before);
}

static void plan_places(planner *p, node *x) {
    /* coalesce writes its values while children are still to be computed, all others after them */
    if (x->kind == NODE_COALESCE) take_values(p, x);
    for (uint32_t i = 0; i < x->n; i++) plan_node(p, x->children[i]);
    if (node_is_bool(x)) x->bits_at = place(p, BITMAP_BYTES);
    if (x->n) x->valid_at = place(p, BITMAP_BYTES);
    if (masks_of(x)) x->mask_at = place(p, masks_of(x) * BITMAP_BYTES);
    if (x->shared) x->memo_at = place(p, sizeof(memo));
    if (x->kernel == call_same) { /* takes the values over as they are */
        const node *child = x->children[0];
        x->own_values = child->own_values && !child->shared;
        x->values_at = child->values_at;
        return;
    }
    if (x->kind != NODE_COALESCE) take_values(p, x);
    for (uint32_t i = 0; i < x->n; i++) release_child(p, x->children[i]); /* f(x, x): x is shared */
}

typedef struct leaves {
    uint32_t *columns, *heap_columns;
    uint32_t n_columns, n_heap_columns;
    size_t constant_bytes;
} leaves;

static void add_once(uint32_t *list, uint32_t *n, uint32_t value) {
    for (uint32_t i = 0; i < *n; i++) {
        if (list[i] == value) return;
    }
    list[(*n)++] = value;
}

static bool is_long_constant(const node *x) {
    return x->kind == NODE_CONSTANT && x->escapes && !x->is_null &&
           x->value.text.size > VIEW_SMALL_MAX;
}

/* Each node once: `planned` is cleared on the way. */
static void gather(leaves *l, node *x) {
    if (!x->planned) return;
    x->planned = false;
    if (x->kind == NODE_COLUMN) {
        add_once(l->columns, &l->n_columns, x->column);
        if (x->escapes) add_once(l->heap_columns, &l->n_heap_columns, x->column);
    }
    if (is_long_constant(x)) l->constant_bytes += x->value.text.size;
    for (uint32_t i = 0; i < x->n; i++) gather(l, x->children[i]);
}

/* Long constants that can be in a result move to a buffer of their own, which results reference. */
static void move_constants(uint8_t **to, node *x) {
    if (x->planned) return;
    x->planned = true;
    if (is_long_constant(x)) {
        uint32_t size = x->value.text.size;
        memcpy(*to, x->value.text.data, size);
        x->value.text.data = *to;
        *to += size;
    }
    for (uint32_t i = 0; i < x->n; i++) move_constants(to, x->children[i]);
}

tw_status expr_plan(expr *e, tw_error *err) {
    planner p = {.e = e};
    count_uses(&p, e->root);
    mark_escaping(e->root);
    size_t list_bytes = p.nodes * sizeof(size_t);
    for (int i = 0; i < 3; i++) {
        p.unused[i] = arena_new(&e->memory, list_bytes);
        if (!p.unused[i]) return expr_no_memory(err);
    }
    plan_node(&p, e->root);
    e->scratch_bytes = p.bytes ? p.bytes : 64;
    leaves l = {.columns = arena_new(&e->memory, p.nodes * sizeof(uint32_t)),
                .heap_columns = arena_new(&e->memory, p.nodes * sizeof(uint32_t))};
    if (!l.columns || !l.heap_columns) return expr_no_memory(err);
    gather(&l, e->root);
    e->columns = l.columns;
    e->n_columns = l.n_columns;
    e->heap_columns = l.heap_columns;
    e->n_heap_columns = l.n_heap_columns;
    if (!l.constant_bytes) return TW_OK;
    uint8_t *text = malloc(l.constant_bytes), *to = text;
    if (!text) return expr_no_memory(err);
    tw_status status = buffer_wrap(text, l.constant_bytes, free, text, &e->constant_text, err);
    if (status != TW_OK) {
        free(text);
        return status;
    }
    move_constants(&to, e->root);
    return TW_OK;
}
