/* The walk over the typed tree for one chunk: who is evaluated for which rows. */
#include <stdlib.h>
#include <string.h>

#include "expr/expr_internal.h"

static const uint64_t all_zeros[CHUNK_WORDS];
static const uint64_t all_ones[CHUNK_WORDS] = {
#define EIGHT ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull
    EIGHT, EIGHT, EIGHT, EIGHT,
#undef EIGHT
};
_Static_assert(CHUNK_WORDS == 32, "as many words as written above");

static void *area(const run *r, size_t at) { return r->s->area->data + at; }
static uint64_t *bits_of(const run *r, const node *x) { return area(r, x->bits_at); }
static uint64_t *valid_of(const run *r, const node *x) { return area(r, x->valid_at); }
static uint64_t *mask_of(const run *r, const node *x, uint32_t i) {
    return (uint64_t *)area(r, x->mask_at) + (size_t)i * CHUNK_WORDS;
}
static void *values_of(const run *r, const node *x) {
    if (node_is_bool(x)) return bits_of(r, x);
    if (x == r->e->root) return r->root_values;
    return area(r, x->values_at);
}
/* Rows that are looked at, as words. */
static const uint64_t *live_rows(const run *r, const uint64_t *mask) { return mask ? mask : r->all; }

/* ---- bad rows and texts ---- */
static tw_status bad_grow(run *r) {
    expr_scratch *s = r->s;
    size_t room = s->bad_buffer ? s->bad_buffer->size / sizeof(expr_bad_row) : 0;
    if (s->n_bad < room) return TW_OK;
    buffer *grown;
    TRY(buffer_new(s->memory, MEMORY_FLOW, (room ? room * 2 : 64) * sizeof(expr_bad_row), &grown, r->err));
    if (s->n_bad) memcpy(grown->data, s->bad_buffer->data, s->n_bad * sizeof(expr_bad_row));
    buffer_unref(s->bad_buffer);
    s->bad_buffer = grown;
    return TW_OK;
}

tw_status call_bad(call *c, uint32_t word, uint64_t bits, const char *reason) {
    run *r = c->r;
    bits &= c->active[word] & ~r->bad[word]; /* the first reason stays */
    if (!bits) return TW_OK;
    r->any_bad = true;
    r->bad[word] |= bits;
    for (; bits; bits &= bits - 1) {
        TRY(bad_grow(r));
        uint32_t row = r->first + word * 64 + (uint32_t)__builtin_ctzll(bits);
        ((expr_bad_row *)(void *)r->s->bad_buffer->data)[r->s->n_bad++] = (expr_bad_row){row, reason};
    }
    return TW_OK;
}

#define TEXT_BLOCK_MAX (1u << 20)
#define TEXT_BLOCK_MIN 1024u

tw_status call_text(call *c, size_t bytes, uint8_t **out) {
    text_store *s = c->x->escapes ? &c->r->s->kept : &c->r->s->passing;
    if (s->n && s->blocks[s->n - 1]->size - s->used >= bytes) {
        *out = s->blocks[s->n - 1]->data + s->used;
        return TW_OK;
    }
    if (s->n == s->capacity) {
        uint32_t capacity = s->capacity ? s->capacity * 2 : 8;
        buffer **blocks = realloc(s->blocks, capacity * sizeof *blocks);
        if (!blocks) return expr_no_memory(c->r->err);
        s->blocks = blocks;
        s->capacity = capacity;
    }
    if (s->block_bytes < TEXT_BLOCK_MIN) s->block_bytes = TEXT_BLOCK_MIN;
    TRY(buffer_new(c->r->s->memory, MEMORY_FLOW, bytes > s->block_bytes ? bytes : s->block_bytes,
                   &s->blocks[s->n], c->r->err));
    if (s->block_bytes < TEXT_BLOCK_MAX) s->block_bytes *= 2;
    *out = s->blocks[s->n++]->data;
    s->used = 0;
    return TW_OK;
}

void call_text_done(call *c, size_t bytes) {
    text_store *s = c->x->escapes ? &c->r->s->kept : &c->r->s->passing;
    s->used += bytes;
}

void text_store_rewind(text_store *s) {
    while (s->n > 1) {
        buffer_unref(s->blocks[0]);
        s->blocks[0] = s->blocks[--s->n]; /* the last block is the largest, but for odd ones */
    }
    s->used = 0;
}

void text_store_clear(text_store *s) {
    for (uint32_t i = 0; i < s->n; i++) buffer_unref(s->blocks[i]);
    free(s->blocks);
    *s = (text_store){0};
}

/* ---- leaves ---- */
static void run_constant(const node *x, vec *out) {
    out->values = &x->value;
    out->constant = true;
    if (node_is_bool(x)) {
        out->values = x->value.boolean ? all_ones : all_zeros;
        out->constant = false;
    }
    out->valid = x->is_null ? all_zeros : NULL;
}

static void run_column(run *r, const node *x, vec *out) {
    const column *c = &r->in->columns[x->column];
    out->constant = false;
    out->valid = c->valid ? c->valid + r->first / 64 : NULL;
    out->values = (const uint8_t *)c->values + (size_t)r->first * type_bytes(x->type);
    if (!node_is_bool(x)) return;
    r->kernels->bits_from_bytes(out->values, bits_of(r, x), r->n);
    out->values = bits_of(r, x);
}

static void run_fill(run *r, const node *x, vec *out) {
    const node *child = x->children[0];
    run_constant(child, out);
    if (!out->constant) return; /* a bool is a run already */
    uint8_t *to = values_of(r, x);
    size_t width = type_bytes(x->type);
    for (uint32_t i = 0; i < r->n; i++) memcpy(to + i * width, &child->value, width);
    out->values = to;
    out->constant = false;
}

/* ---- calls ---- */
tw_status expr_run_call(run *r, const node *x, const vec *args, const uint64_t *mask, void *values,
                        uint64_t *valid, uint64_t *active, vec *out) {
    const uint64_t *merged = NULL;
    for (uint32_t i = 0; i < x->n; i++) {
        if (!args[i].valid || args[i].valid == merged) continue;
        if (merged) {
            for (uint32_t w = 0; w < r->words; w++) valid[w] = merged[w] & args[i].valid[w];
        }
        merged = merged ? valid : args[i].valid;
    }
    const uint64_t *live = live_rows(r, mask);
    if (merged) {
        for (uint32_t w = 0; w < r->words; w++) active[w] = live[w] & merged[w];
        live = active;
    }
    if (x->kernel == call_same) {
        *out = args[0];
        return TW_OK;
    }
    call c = {.r = r, .x = x, .args = args, .n_args = x->n, .n = r->n, .words = r->words,
              .active = live, .out = values};
    TRY(x->kernel(&c));
    if (x->true_or_null) {
        const uint64_t *bits = values;
        for (uint32_t w = 0; w < r->words; w++) valid[w] = bits[w] & (merged ? merged[w] : ~0ull);
        merged = valid;
    }
    *out = (vec){values, merged, false};
    return TW_OK;
}

static tw_status run_call(run *r, const node *x, const uint64_t *mask, vec *out) {
    vec args[EXPR_ARGUMENTS_MAX];
    for (uint32_t i = 0; i < x->n; i++) TRY(expr_run(r, x->children[i], mask, &args[i]));
    return expr_run_call(r, x, args, mask, values_of(r, x), valid_of(r, x), mask_of(r, x, 0), out);
}

/* ---- logic ---- */
/* Three-valued; an item is evaluated for the rows that the items before it have not decided. */
static tw_status run_and_or(run *r, const node *x, const uint64_t *mask, vec *out) {
    const bool is_and = x->kind == NODE_AND;
    uint64_t *active = mask_of(r, x, 0), *decided = mask_of(r, x, 1), *nulls = mask_of(r, x, 2);
    const uint64_t *live = live_rows(r, mask);
    uint64_t any_null = 0;
    memset(decided, 0, r->words * sizeof *decided);
    memset(nulls, 0, r->words * sizeof *nulls);
    for (uint32_t i = 0; i < x->n; i++) {
        vec item;
        uint64_t any = 0;
        for (uint32_t w = 0; w < r->words; w++) any |= active[w] = live[w] & ~decided[w];
        if (!any) break;
        TRY(expr_run(r, x->children[i], i ? active : mask, &item));
        const uint64_t *bits = item.values;
        for (uint32_t w = 0; w < r->words; w++) {
            uint64_t valid = item.valid ? item.valid[w] : ~0ull;
            decided[w] |= active[w] & valid & (is_and ? ~bits[w] : bits[w]);
            any_null |= nulls[w] |= active[w] & ~valid;
        }
    }
    uint64_t *bits = bits_of(r, x), *valid = valid_of(r, x);
    for (uint32_t w = 0; w < r->words; w++) {
        bits[w] = is_and ? ~decided[w] : decided[w];
        valid[w] = ~nulls[w] | decided[w];
    }
    *out = (vec){bits, any_null ? valid : NULL, false};
    return TW_OK;
}

static tw_status run_not(run *r, const node *x, const uint64_t *mask, vec *out) {
    TRY(expr_run(r, x->children[0], mask, out));
    const uint64_t *bits = out->values;
    uint64_t *to = bits_of(r, x);
    for (uint32_t w = 0; w < r->words; w++) to[w] = ~bits[w];
    out->values = to;
    return TW_OK;
}

static tw_status run_is_null(run *r, const node *x, const uint64_t *mask, vec *out) {
    TRY(expr_run(r, x->children[0], mask, out));
    uint64_t *to = bits_of(r, x);
    for (uint32_t w = 0; w < r->words; w++) to[w] = out->valid ? ~out->valid[w] : 0;
    *out = (vec){to, NULL, false};
    return TW_OK;
}

/* ---- choices ---- */
/* Values of a where `pick` has a 1, of b elsewhere. */
static const void *blend(run *r, const node *x, const uint64_t *pick, const vec *a, const vec *b) {
    void *to = values_of(r, x);
    if (node_is_bool(x)) {
        const uint64_t *p = a->values, *q = b->values;
        uint64_t *bits = to;
        for (uint32_t w = 0; w < r->words; w++) bits[w] = (pick[w] & p[w]) | (~pick[w] & q[w]);
    } else {
        size_t width = type_bytes(x->type);
        r->kernels->blend[width == 4 ? 0 : width == 8 ? 1 : 2](pick, a->values, a->constant, b->values,
                                                              b->constant, to, r->n);
    }
    return to;
}

static tw_status run_if(run *r, const node *x, const uint64_t *mask, vec *out) {
    uint64_t *yes = mask_of(r, x, 0), *no = mask_of(r, x, 1), *valid = valid_of(r, x);
    const uint64_t *live = live_rows(r, mask);
    uint64_t any_yes = 0, any_no = 0;
    vec condition, a, b;
    TRY(expr_run(r, x->children[0], mask, &condition));
    const uint64_t *bits = condition.values;
    for (uint32_t w = 0; w < r->words; w++) {
        any_yes |= yes[w] = live[w] & bits[w] & (condition.valid ? condition.valid[w] : ~0ull);
        any_no |= no[w] = live[w] & ~yes[w];
    }
    if (any_yes) TRY(expr_run(r, x->children[1], yes, &a));
    if (any_no || !any_yes) TRY(expr_run(r, x->children[2], no, &b));
    if (!any_yes) a = b;
    else if (!any_no) b = a;
    out->values = blend(r, x, yes, &a, &b);
    out->valid = NULL;
    out->constant = false;
    if (!a.valid && !b.valid) return TW_OK;
    for (uint32_t w = 0; w < r->words; w++) {
        valid[w] = (yes[w] & (a.valid ? a.valid[w] : ~0ull)) | (~yes[w] & (b.valid ? b.valid[w] : ~0ull));
    }
    out->valid = valid;
    return TW_OK;
}

static tw_status run_coalesce(run *r, const node *x, const uint64_t *mask, vec *out) {
    uint64_t *missing = mask_of(r, x, 0), *known = valid_of(r, x);
    const uint64_t *live = live_rows(r, mask);
    vec so_far, next;
    TRY(expr_run(r, x->children[0], mask, &so_far));
    for (uint32_t w = 0; w < r->words; w++) known[w] = so_far.valid ? so_far.valid[w] : ~0ull;
    bool blended = false;
    for (uint32_t i = 1; i < x->n; i++) {
        uint64_t any = 0;
        for (uint32_t w = 0; w < r->words; w++) any |= missing[w] = live[w] & ~known[w];
        if (!any) break;
        TRY(expr_run(r, x->children[i], missing, &next));
        so_far = (vec){blend(r, x, known, &so_far, &next), known, false};
        blended = true;
        for (uint32_t w = 0; w < r->words; w++) {
            known[w] |= missing[w] & (next.valid ? next.valid[w] : ~0ull);
        }
    }
    if (!blended) so_far.values = blend(r, x, known, &so_far, &so_far);
    *out = (vec){so_far.values, known, false};
    return TW_OK;
}

/* ---- nodes that several others read ---- */
/* Whether the last values serve these rows too. If not, m->mask gets them in addition: a reader may
 * still hold the values for the rows before, which are computed again, to the same. */
static bool memo_serves(const run *r, memo *m, const uint64_t *mask) {
    const uint64_t *live = live_rows(r, mask);
    if (m->serial != r->s->serial) {
        memcpy(m->mask, live, r->words * sizeof *live);
        return false;
    }
    uint64_t lacking = 0;
    for (uint32_t w = 0; w < r->words; w++) {
        lacking |= live[w] & ~m->mask[w];
        m->mask[w] |= live[w];
    }
    return !lacking;
}

static tw_status run_node(run *r, const node *x, const uint64_t *mask, vec *out) {
    switch (x->kind) {
    case NODE_CONSTANT: run_constant(x, out); return TW_OK;
    case NODE_COLUMN: run_column(r, x, out); return TW_OK;
    case NODE_FILL: run_fill(r, x, out); return TW_OK;
    case NODE_CALL: return run_call(r, x, mask, out);
    case NODE_AND:
    case NODE_OR: return run_and_or(r, x, mask, out);
    case NODE_NOT: return run_not(r, x, mask, out);
    case NODE_IS_NULL: return run_is_null(r, x, mask, out);
    case NODE_IF: return run_if(r, x, mask, out);
    case NODE_COALESCE: return run_coalesce(r, x, mask, out);
    }
    return error_set(r->err, TW_ERR_INTERNAL, "an expression has a node of no kind");
}

tw_status expr_run(run *r, const node *x, const uint64_t *mask, vec *out) {
    if (!x->shared) return run_node(r, x, mask, out);
    memo *m = area(r, x->memo_at);
    if (memo_serves(r, m, mask)) {
        *out = m->values;
        return TW_OK;
    }
    TRY(run_node(r, x, m->mask, out));
    m->serial = r->s->serial;
    m->values = *out;
    return TW_OK;
}
