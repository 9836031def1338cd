/* Typed nodes: equal nodes are one, so that a common subexpression is computed once, and what has
 * constant arguments is computed while compiling, by the kernels that would compute it later. */
#include <string.h>

#include "expr/expr_internal.h"

#define FOLDED_TEXT_MAX 65536u             /* longer results are computed when they are needed */
#define FOLDING_MEMORY_BYTES (32u << 20)

/* ---- equal nodes are one ---- */
static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t constant_hash(const node *x) {
    if (!type_is_view(x->type)) return (uint64_t)x->value.int64;
    uint64_t hash = x->value.text.size;
    const uint8_t *bytes = view_data(&x->value.text);
    for (uint32_t i = 0; i < x->value.text.size; i++) hash = mix(hash, bytes[i]);
    return hash;
}

static uint64_t node_hash(const node *x) {
    uint64_t hash = mix(mix(x->kind, (uint64_t)(uintptr_t)x->type), x->column);
    hash = mix(hash, (uint64_t)(uintptr_t)x->kernel);
    hash = mix(hash, (uint64_t)x->operation << 16 | (uint64_t)x->number << 8 | x->from);
    hash = mix(hash, (uint64_t)(uintptr_t)x->info);
    for (uint32_t i = 0; i < x->n; i++) hash = mix(hash, (uint64_t)(uintptr_t)x->children[i]);
    if (x->kind == NODE_CONSTANT && x->type && !x->is_null) hash = mix(hash, constant_hash(x));
    return hash;
}

static bool nodes_equal(const node *a, const node *b) {
    if (a->kind != b->kind || a->type != b->type || a->column != b->column ||
        a->kernel != b->kernel || a->operation != b->operation || a->number != b->number ||
        a->from != b->from || a->info != b->info || a->n != b->n ||
        a->true_or_null != b->true_or_null) {
        return false;
    }
    for (uint32_t i = 0; i < a->n; i++) {
        if (a->children[i] != b->children[i]) return false;
    }
    if (a->kind != NODE_CONSTANT) return true;
    if (a->is_null != b->is_null || a->from_text != b->from_text || a->literal != b->literal) return false;
    if (!a->type || a->is_null) return true;
    if (type_is_view(a->type)) return view_equal(&a->value.text, &b->value.text);
    return a->value.int64 == b->value.int64;
}

static tw_status table_grow(typer *t) {
    uint32_t size = t->table_size ? t->table_size * 2 : 256;
    node **table = arena_new(&t->e->memory, size * sizeof *table);
    if (!table) return expr_no_memory(t->err);
    for (uint32_t i = 0; i < t->table_size; i++) {
        if (!t->table[i]) continue;
        uint32_t at = (uint32_t)node_hash(t->table[i]) & (size - 1);
        while (table[at]) at = (at + 1) & (size - 1);
        table[at] = t->table[i];
    }
    t->table = table;
    t->table_size = size;
    return TW_OK;
}

static tw_status intern(typer *t, node *x, node **out) {
    *out = x;
    if (x->keep_apart) return TW_OK;
    if (t->nodes * 2 >= t->table_size) TRY(table_grow(t));
    uint32_t at = (uint32_t)node_hash(x) & (t->table_size - 1);
    for (; t->table[at]; at = (at + 1) & (t->table_size - 1)) {
        if (nodes_equal(t->table[at], x)) {
            *out = t->table[at];
            return TW_OK;
        }
    }
    t->table[at] = x;
    t->nodes++;
    return TW_OK;
}

/* ---- folding ---- */
static const uint64_t word_of_zeros, word_of_ones = ~UINT64_C(0);

static vec constant_vec(const node *x) {
    vec v = {&x->value, x->is_null ? &word_of_zeros : NULL, true};
    if (node_is_bool(x)) {
        v.values = x->value.boolean ? &word_of_ones : &word_of_zeros;
        v.constant = false;
    }
    return v;
}

/* Leaves *out NULL when the result is a bad record or too large: then it is left to the run. */
static tw_status fold_result(typer *t, run *r, const node *x, const vec *v, node **out) {
    bool is_null = v->valid && !(*v->valid & 1);
    if (r->any_bad) return TW_OK;
    constant value;
    memset(&value, 0, sizeof value);
    if (is_null) {
        *out = node_null(t, x->type, x->at);
    } else if (node_is_bool(x)) {
        *out = node_bool(t, x->at, *(const uint64_t *)v->values & 1);
    } else if (type_is_view(x->type)) {
        const view *text = v->values;
        if (text->size > FOLDED_TEXT_MAX) return TW_OK;
        *out = node_text(t, x->type, x->at, view_data(text), text->size);
    } else {
        memcpy(&value, v->values, type_bytes(x->type));
        *out = node_constant(t, x->type, x->at, value);
    }
    return *out ? TW_OK : expr_no_memory(t->err);
}

static tw_status fold(typer *t, const node *x, node **out) {
    *out = NULL;
    for (uint32_t i = 0; i < x->n; i++) {
        if (!node_is_constant(x->children[i])) return TW_OK;
    }
    if (!t->folding) TRY(memory_create(FOLDING_MEMORY_BYTES, &t->folding, t->err));
    expr_scratch s = {.memory = t->folding};
    tw_error ignored;
    run r = {.e = t->e, .s = &s, .kernels = t->e->kernels, .n = 1, .words = 1, .err = &ignored};
    r.all[0] = 1;
    vec args[EXPR_ARGUMENTS_MAX], result;
    for (uint32_t i = 0; i < x->n; i++) args[i] = constant_vec(x->children[i]);
    _Alignas(64) uint8_t values[64];
    uint64_t valid[CHUNK_WORDS], active[CHUNK_WORDS];
    tw_status status = TW_OK;
    /* A kernel of numbers wants one run among its operands: one value is a run of one. */
    if (x->n && !type_is_view(x->children[0]->type)) args[0].constant = false;
    status = expr_run_call(&r, x, args, NULL, values, valid, active, &result);
    if (status == TW_OK) status = fold_result(t, &r, x, &result, out);
    else status = TW_OK; /* too large: left to the run */
    text_store_clear(&s.kept);
    text_store_clear(&s.passing);
    buffer_unref(s.bad_buffer);
    return status;
}

/* ---- making nodes ---- */
node *node_new(typer *t, node_kind kind, const type *of, uint32_t at, node *const *children,
               uint32_t n) {
    node *x = arena_new(&t->e->memory, sizeof *x);
    if (!x) return NULL;
    x->kind = kind;
    x->type = of;
    x->at = at;
    x->n = n;
    if (n) {
        x->children = arena_new(&t->e->memory, n * sizeof *x->children);
        if (!x->children) return NULL;
        memcpy(x->children, children, n * sizeof *x->children);
    }
    return x;
}

tw_status node_finish(typer *t, node *x, node **out) {
    if (!x) return expr_no_memory(t->err);
    if (x->kind == NODE_CALL && !x->keep_apart) {
        node *folded;
        TRY(fold(t, x, &folded));
        if (folded) return intern(t, folded, out);
    }
    if (x->kind == NODE_CALL && x->n && node_is_constant(x->children[0])) {
        bool all_constant = true;
        for (uint32_t i = 0; i < x->n; i++) all_constant &= node_is_constant(x->children[i]);
        const node *first = x->children[0];
        if (all_constant && !type_is_view(first->type) && !node_is_bool(first)) {
            node *fill = node_new(t, NODE_FILL, first->type, first->at, &x->children[0], 1);
            if (!fill) return expr_no_memory(t->err);
            TRY(intern(t, fill, &x->children[0]));
        }
    }
    return intern(t, x, out);
}

tw_status node_call(typer *t, tw_status (*kernel)(call *), const type *of, uint32_t at,
                    node *const *children, uint32_t n, node **out) {
    node *x = node_new(t, NODE_CALL, of, at, children, n);
    if (!x) return expr_no_memory(t->err);
    x->kernel = kernel;
    return node_finish(t, x, out);
}

node *node_constant(typer *t, const type *of, uint32_t at, constant value) {
    node *x = node_new(t, NODE_CONSTANT, of, at, NULL, 0);
    if (x) x->value = value;
    return x;
}

node *node_null(typer *t, const type *of, uint32_t at) {
    node *x = node_new(t, NODE_CONSTANT, of, at, NULL, 0);
    if (x) x->is_null = true;
    return x;
}

node *node_bool(typer *t, uint32_t at, bool value) {
    node *x = node_new(t, NODE_CONSTANT, type_of(TYPE_BOOL), at, NULL, 0);
    if (x) x->value.boolean = value;
    return x;
}

node *node_text(typer *t, const type *of, uint32_t at, const uint8_t *text, uint32_t size) {
    node *x = node_new(t, NODE_CONSTANT, of, at, NULL, 0);
    uint8_t *copy = x ? arena_new(&t->e->memory, (size_t)size + 1) : NULL;
    if (!copy) return NULL;
    if (size) memcpy(copy, text, size);
    x->value.text = view_make(copy, size);
    return x;
}
