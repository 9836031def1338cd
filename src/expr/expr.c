#include "expr/expr.h"

#include <stdlib.h>
#include <string.h>

#include "expr/expr_internal.h"

/* ---- compiling ---- */
static tw_status compile(typer *t, const char *text) {
    ast *tree;
    expr *e = t->e;
    TRY(expr_parse(&e->memory, text, &tree, t->err));
    TRY(expr_type_tree(t, tree, &e->root));
    TRY(node_settle_null(t, &e->root, type_of(TYPE_STRING)));
    return expr_plan(e, t->err);
}

tw_status expr_compile(const char *text, const schema *s, expr **out, tw_error *err) {
    expr *e = calloc(1, sizeof *e);
    if (!e) return expr_no_memory(err);
    tw_error unwanted; /* so that callers without a place for errors need no care below */
    typer t = {.e = e, .schema = s, .err = err ? err : &unwanted};
    e->kernels = kernel_set_of(cpu_level_here());
    tw_status status = compile(&t, text);
    memory_destroy(t.folding);
    if (status == TW_OK) *out = e;
    else expr_free(e);
    return status;
}

void expr_free(expr *e) {
    if (!e) return;
    regex_free_all(e);
    buffer_unref(e->constant_text);
    arena_free(&e->memory);
    free(e);
}

const type *expr_type(const expr *e) { return e->root->type; }

void expr_columns(const expr *e, void (*f)(void *context, uint32_t column), void *context) {
    for (uint32_t i = 0; i < e->n_columns; i++) f(context, e->columns[i]);
}

int expr_is_column(const expr *e) { return e->root->kind == NODE_COLUMN ? (int)e->root->column : -1; }

/* ---- scratch ---- */
tw_status expr_scratch_new(const expr *e, memory *m, expr_scratch **out, tw_error *err) {
    expr_scratch *s = calloc(1, sizeof *s);
    if (!s) return expr_no_memory(err);
    s->memory = m;
    tw_status status = buffer_new(m, MEMORY_FLOW, e->scratch_bytes, &s->area, err);
    if (status == TW_OK) {
        memset(s->area->data, 0, e->scratch_bytes);
        status = regex_states_new(e, s, err);
    }
    if (status == TW_OK) *out = s;
    else expr_scratch_free(s);
    return status;
}

void expr_scratch_free(expr_scratch *s) {
    if (!s) return;
    buffer_unref(s->area);
    buffer_unref(s->bad_buffer);
    text_store_clear(&s->kept);
    text_store_clear(&s->passing);
    regex_states_free(s);
    free(s);
}

/* ---- running ---- */
static void run_begin(run *r, const expr *e, expr_scratch *s, const batch *in, tw_error *err) {
    r->e = e;
    r->s = s;
    r->in = in;
    r->kernels = e->kernels;
    r->root_values = NULL;
    r->err = err;
    s->n_bad = 0;
}

static void chunk_begin(run *r, uint32_t first) {
    r->first = first;
    r->n = r->in->rows - first < CHUNK_ROWS ? r->in->rows - first : CHUNK_ROWS;
    r->words = (r->n + 63) / 64;
    r->bad_before = r->s->n_bad;
    r->any_bad = false;
    memset(r->bad, 0, r->words * sizeof *r->bad);
    memset(r->all, 0xff, r->words * sizeof *r->all);
    if (r->n % 64) r->all[r->words - 1] = (1ull << r->n % 64) - 1;
    r->s->serial++;
    text_store_rewind(&r->s->passing);
}

static int compare_bad_rows(const void *a, const void *b) {
    uint32_t x = ((const expr_bad_row *)a)->row, y = ((const expr_bad_row *)b)->row;
    return (x > y) - (x < y);
}

static expr_bad_row *bad_rows(const expr_scratch *s) {
    return s->bad_buffer ? (expr_bad_row *)(void *)s->bad_buffer->data : NULL;
}

/* Operators add theirs one after the other; a row is there once. */
static void chunk_end(run *r) {
    uint32_t added = r->s->n_bad - r->bad_before;
    if (added > 1) qsort(bad_rows(r->s) + r->bad_before, added, sizeof(expr_bad_row), compare_bad_rows);
}

/* What is null becomes zero bytes, so that a view there leads nowhere. */
static void clear_null_views(const run *r, view *views, const uint64_t *valid) {
    for (uint32_t w = 0; w < r->words; w++) {
        for (uint64_t nulls = ~valid[w] & r->all[w]; nulls; nulls &= nulls - 1) {
            views[w * 64 + (uint32_t)__builtin_ctzll(nulls)] = (view){0};
        }
    }
}

/* The bitmap of the chunk's result; NULL when nothing is null. */
static const uint64_t *chunk_valid(const run *r, const vec *v, uint64_t *to) {
    if (!v->valid && !r->any_bad) return NULL;
    uint64_t nulls = 0;
    for (uint32_t w = 0; w < r->words; w++) {
        to[w] = ((v->valid ? v->valid[w] : ~0ull) & ~r->bad[w]) | ~r->all[w];
        nulls |= ~to[w];
    }
    return nulls ? to : NULL;
}

static void put_values(const run *r, const vec *v, uint8_t *to, size_t width) {
    if (node_is_bool(r->e->root)) {
        r->kernels->bytes_from_bits(v->values, to, r->n);
    } else if (v->constant) {
        for (uint32_t i = 0; i < r->n; i++) memcpy(to + i * width, v->values, width);
    } else if (v->values != to) {
        memcpy(to, v->values, r->n * width);
    }
}

static tw_status evaluate_chunk(run *r, uint32_t first, column *out, bool *any_long) {
    vec v;
    uint64_t bits[CHUNK_WORDS];
    const size_t width = type_bytes(out->type);
    uint8_t *to = (uint8_t *)out->values + first * width;
    chunk_begin(r, first);
    r->root_values = to;
    TRY(expr_run(r, r->e->root, NULL, &v));
    put_values(r, &v, to, width);
    const uint64_t *valid = chunk_valid(r, &v, bits);
    if (valid) {
        TRY(column_need_valid(r->s->memory, out, r->err));
        memcpy(out->valid + first / 64, valid, r->words * sizeof *valid);
    }
    if (type_is_view(out->type)) {
        if (valid) clear_null_views(r, (view *)(void *)to, valid);
        *any_long = *any_long || r->kernels->views_any_long((const view *)(const void *)to, r->n);
    }
    chunk_end(r);
    return TW_OK;
}

/* One handle on all that long views in the result may point to. */
static tw_status join_heap(run *r, column *out) {
    const expr *e = r->e;
    const text_store *kept = &r->s->kept;
    size_t n = 0;
    buffer **parts = malloc((kept->n + e->n_heap_columns + 1) * sizeof *parts);
    if (!parts) return expr_no_memory(r->err);
    for (uint32_t i = 0; i < kept->n; i++) parts[n++] = kept->blocks[i];
    for (uint32_t i = 0; i < e->n_heap_columns; i++) parts[n++] = r->in->columns[e->heap_columns[i]].heap;
    parts[n++] = e->constant_text;
    tw_status status = buffer_join(parts, n, &out->heap, r->err);
    free(parts);
    return status;
}

static tw_status evaluate(run *r, column *out) {
    bool any_long = false;
    uint32_t guess = r->in->rows * 16; /* the first block of texts */
    r->s->kept.block_bytes = guess < 1024 ? 1024 : guess > (64u << 10) ? 64u << 10 : guess;
    for (uint32_t first = 0; first < r->in->rows; first += CHUNK_ROWS) {
        TRY(evaluate_chunk(r, first, out, &any_long));
    }
    return any_long ? join_heap(r, out) : TW_OK;
}

tw_status expr_evaluate(const expr *e, expr_scratch *s, const batch *in, column *out, expr_bad *bad,
                        tw_error *err) {
    run r;
    run_begin(&r, e, s, in, err);
    *bad = (expr_bad){0};
    if (e->root->kind == NODE_COLUMN) {
        column_share(&in->columns[e->root->column], out);
        return TW_OK;
    }
    TRY(column_new(s->memory, e->root->type, in->rows, out, err));
    tw_status status = evaluate(&r, out);
    text_store_clear(&s->kept);
    if (status != TW_OK) {
        column_clear(out);
        return status;
    }
    *bad = (expr_bad){bad_rows(s), s->n_bad};
    return TW_OK;
}

tw_status expr_select(const expr *e, expr_scratch *s, const batch *in, uint32_t *rows, uint32_t *n,
                      expr_bad *bad, tw_error *err) {
    run r;
    run_begin(&r, e, s, in, err);
    *n = 0;
    *bad = (expr_bad){0};
    if (!node_is_bool(e->root)) return error_set(err, TW_ERR_INTERNAL, "a condition that is not bool");
    for (uint32_t first = 0; first < in->rows; first += CHUNK_ROWS) {
        vec v;
        uint64_t picked[CHUNK_WORDS];
        chunk_begin(&r, first);
        TRY(expr_run(&r, e->root, NULL, &v));
        const uint64_t *bits = v.values;
        for (uint32_t w = 0; w < r.words; w++) {
            picked[w] = bits[w] & r.all[w] & ~r.bad[w] & (v.valid ? v.valid[w] : ~0ull);
        }
        *n += r.kernels->rows_from_bits(picked, r.n, first, rows + *n);
        chunk_end(&r);
    }
    *bad = (expr_bad){bad_rows(s), s->n_bad};
    return TW_OK;
}
