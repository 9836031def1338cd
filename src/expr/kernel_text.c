/* Kernels over texts: comparing, finding, cutting, joining. A view is followed only in rows that are
 * evaluated and not null; elsewhere it may be anything. */
#include <string.h>

#include "data/hash.h"
#include "data/utf8.h"
#include "expr/expr_internal.h"

static const char text_too_long[] = "the text would be longer than 256 MiB";

static void set_bit(uint64_t *bits, uint32_t row, bool one) {
    bits[row >> 6] |= (uint64_t)one << (row & 63);
}

static bool is_utf8(const node *x) { return x->type->kind == TYPE_STRING; }

static tw_status bad_text(call *c, uint32_t row, const char *reason) {
    ((view *)c->out)[row] = (view){0};
    return call_bad_row(c, row, reason);
}

/* ---- comparing ---- */
static const view every_byte = {.size = UINT32_MAX,
                                .small = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}};
static const view first_eight_bytes = {.size = UINT32_MAX, .small = {255, 255, 255, 255}};

static void invert(uint64_t *bits, uint32_t words) {
    for (uint32_t w = 0; w < words; w++) bits[w] = ~bits[w];
}

tw_status call_equal_text(call *c) {
    const view *b = c->args[1].values;
    uint64_t *out = c->out;
    if (c->args[0].constant) return call_compare_text(c);
    bool is_long = b->size > VIEW_SMALL_MAX;
    c->r->kernels->views_equal(c->args[0].values, b, is_long ? &first_eight_bytes : &every_byte, out, c->n);
    for (uint32_t w = 0; is_long && w < c->words; w++) { /* size and prefix are equal: look further */
        uint64_t same = 0;
        for (uint64_t maybe = out[w] & c->active[w]; maybe; maybe &= maybe - 1) {
            const view *a = call_view(c, 0, w * 64 + (uint32_t)__builtin_ctzll(maybe));
            if (memcmp(a->data, b->data, b->size) == 0) same |= maybe & -maybe;
        }
        out[w] = same;
    }
    if (c->x->operation == COMPARE_NOT_EQUAL) invert(out, c->words);
    return TW_OK;
}

tw_status call_compare_text(call *c) {
    uint64_t *out = c->out;
    const compare_kind k = (compare_kind)c->x->operation;
    memset(out, 0, c->words * sizeof *out);
    if (k == COMPARE_EQUAL || k == COMPARE_NOT_EQUAL) {
        FOR_ACTIVE(c, row) set_bit(out, row, view_equal(call_view(c, 0, row), call_view(c, 1, row)));
        if (k == COMPARE_NOT_EQUAL) invert(out, c->words);
        return TW_OK;
    }
    /* a >= b is not a < b, a <= b is not a > b: texts are all comparable */
    const bool less = k == COMPARE_LESS || k == COMPARE_GREATER_EQUAL;
    FOR_ACTIVE(c, row) {
        int order = view_compare(call_view(c, 0, row), call_view(c, 1, row));
        set_bit(out, row, less ? order < 0 : order > 0);
    }
    if (k == COMPARE_LESS_EQUAL || k == COMPARE_GREATER_EQUAL) invert(out, c->words);
    return TW_OK;
}

tw_status call_least_text(call *c) {
    const bool least = c->x->operation == ARITH_LEAST;
    FOR_ACTIVE(c, row) {
        const view *a = call_view(c, 0, row), *b = call_view(c, 1, row);
        int order = view_compare(a, b);
        ((view *)c->out)[row] = (least ? order <= 0 : order >= 0) ? *a : *b;
    }
    return TW_OK;
}

/* ---- in (...) ---- */
const text_set *text_set_new(arena *a, node *const *items, uint32_t n) {
    uint32_t size = 16;
    while (size < n * 2) size *= 2;
    text_set *set = arena_new(a, sizeof *set);
    view *values = arena_new(a, size * sizeof *values);
    uint8_t *used = arena_new(a, size);
    if (!set || !values || !used) return NULL;
    for (uint32_t i = 0; i < n; i++) {
        const view *v = &items[i]->value.text;
        uint32_t at = (uint32_t)hash_view(v) & (size - 1);
        while (used[at] && !view_equal(&values[at], v)) at = (at + 1) & (size - 1);
        used[at] = 1;
        values[at] = *v;
    }
    *set = (text_set){size - 1, values, used};
    return set;
}

tw_status call_in_texts(call *c) {
    const text_set *set = c->x->info;
    uint64_t *out = c->out;
    memset(out, 0, c->words * sizeof *out);
    FOR_ACTIVE(c, row) {
        const view *v = call_view(c, 0, row);
        bool found = false;
        for (uint32_t at = (uint32_t)hash_view(v) & set->mask; set->used[at] && !found;
             at = (at + 1) & set->mask) {
            found = view_equal(&set->values[at], v);
        }
        set_bit(out, row, found);
    }
    return TW_OK;
}

/* ---- finding ---- */
static bool finds(const call *c, const view *text, const view *part) {
    if (part->size > text->size) return false;
    const uint8_t *p = view_data(text), *q = view_data(part);
    switch ((find_kind)c->x->operation) {
    case FIND_START: return memcmp(p, q, part->size) == 0;
    case FIND_END: return memcmp(p + text->size - part->size, q, part->size) == 0;
    default: return c->r->kernels->find_bytes(p, text->size, q, part->size) != NULL;
    }
}

/* A start of up to four bytes, none of them 0, stands in the view itself whatever its size. */
static bool find_short_start(call *c) {
    const view *part = c->args[1].values;
    if (c->x->operation != FIND_START || !c->args[1].constant || c->args[0].constant) return false;
    if (part->size > 4 || memchr(part->small, 0, part->size)) return false;
    view mask = {0};
    memset(mask.small, 255, part->size);
    c->r->kernels->views_equal(c->args[0].values, part, &mask, c->out, c->n);
    return true;
}

tw_status call_find(call *c) {
    uint64_t *out = c->out;
    if (find_short_start(c)) return TW_OK;
    memset(out, 0, c->words * sizeof *out);
    FOR_ACTIVE(c, row) {
        set_bit(out, row, finds(c, call_view(c, 0, row), call_view(c, 1, row)));
    }
    return TW_OK;
}

/* ---- measuring and cutting ---- */
tw_status call_length(call *c) {
    int64_t *out = c->out;
    if (!is_utf8(c->x->children[0])) {
        FOR_ACTIVE(c, row) out[row] = call_view(c, 0, row)->size;
        return TW_OK;
    }
    FOR_ACTIVE(c, row) {
        const view *v = call_view(c, 0, row);
        out[row] = c->r->kernels->count_points(view_data(v), v->size);
    }
    return TW_OK;
}

static bool is_space(uint8_t b) { return b == ' ' || (b >= '\t' && b <= '\r'); }

/* Part of a view; its bytes stay where they are when it is still long. */
static view view_part(const view *v, uint32_t from, uint32_t size) {
    return view_make(view_data(v) + from, size);
}

tw_status call_trim(call *c) {
    view *out = c->out;
    FOR_ACTIVE(c, row) {
        const view *v = call_view(c, 0, row);
        const uint8_t *p = view_data(v);
        uint32_t from = 0, end = v->size;
        while (from < end && is_space(p[from])) from++;
        while (end > from && is_space(p[end - 1])) end--;
        out[row] = end - from == v->size ? *v : view_part(v, from, end - from);
    }
    return TW_OK;
}

/* Whether up to the end of the part every character is a byte. */
static bool ascii_front(const kernel_set *k, const view *v, uint64_t skip, uint64_t take) {
    uint64_t end = take > v->size - skip ? v->size : skip + take; /* skip < size */
    return k->all_ascii(view_data(v), (uint32_t)end);
}

/* The characters [from, from + n) of [1, length], counted from 1. */
static view cut(const kernel_set *k, const view *v, bool utf8, int64_t from, int64_t n) {
    int64_t end;
    if (n <= 0) return (view){0};
    if (__builtin_add_overflow(from, n, &end)) end = INT64_MAX;
    if (from < 1) from = 1;
    if (end <= from || from > (int64_t)v->size) return (view){0};
    const char *p = (const char *)view_data(v);
    uint64_t skip = (uint64_t)from - 1, take = (uint64_t)(end - from);
    if (utf8 && !ascii_front(k, v, skip, take)) {
        skip = utf8_offset(p, v->size, skip);
        take = utf8_offset(p + skip, v->size - skip, take);
    } else if (take > v->size - skip) {
        take = v->size - skip;
    }
    return skip == 0 && take == v->size ? *v : view_part(v, (uint32_t)skip, (uint32_t)take);
}

tw_status call_substr(call *c) {
    view *out = c->out;
    const bool utf8 = is_utf8(c->x);
    FOR_ACTIVE(c, row) {
        int64_t n = c->n_args > 2 ? call_int64(c, 2, row) : INT64_MAX;
        out[row] = cut(c->r->kernels, call_view(c, 0, row), utf8, call_int64(c, 1, row), n);
    }
    return TW_OK;
}

/* ---- making ---- */
/* A view of `size` bytes to be written to *to: into the view itself or the store of texts. */
static tw_status text_begin(call *c, uint8_t small[VIEW_SMALL_MAX], uint64_t size, uint8_t **to) {
    *to = small;
    return size <= VIEW_SMALL_MAX ? TW_OK : call_text(c, size, to);
}

static void text_end(call *c, uint32_t row, const uint8_t *made, uint32_t size) {
    ((view *)c->out)[row] = view_make(made, size);
    if (size > VIEW_SMALL_MAX) call_text_done(c, size);
}

tw_status call_concat(call *c) {
    FOR_ACTIVE(c, row) {
        uint8_t small[VIEW_SMALL_MAX], *to;
        uint64_t size = 0;
        for (uint32_t i = 0; i < c->n_args; i++) size += call_view(c, i, row)->size;
        if (size > TEXT_VALUE_MAX) {
            TRY(bad_text(c, row, text_too_long));
            continue;
        }
        TRY(text_begin(c, small, size, &to));
        uint8_t *at = to;
        for (uint32_t i = 0; i < c->n_args; i++) {
            const view *v = call_view(c, i, row);
            if (v->size) memcpy(at, view_data(v), v->size);
            at += v->size;
        }
        text_end(c, row, to, (uint32_t)size);
    }
    return TW_OK;
}

static uint64_t count_parts(const kernel_set *k, const uint8_t *p, const uint8_t *end, const view *what) {
    uint64_t found = 0;
    while ((p = k->find_bytes(p, (size_t)(end - p), view_data(what), what->size))) {
        found++;
        p += what->size;
    }
    return found;
}

static void write_replaced(const kernel_set *k, const uint8_t *p, const uint8_t *end, const view *what,
                           const view *by, uint8_t *to) {
    const uint8_t *hit;
    while ((hit = k->find_bytes(p, (size_t)(end - p), view_data(what), what->size))) {
        memcpy(to, p, (size_t)(hit - p));
        to += hit - p;
        memcpy(to, view_data(by), by->size);
        to += by->size;
        p = hit + what->size;
    }
    memcpy(to, p, (size_t)(end - p));
}

tw_status call_replace(call *c) {
    FOR_ACTIVE(c, row) {
        const view *v = call_view(c, 0, row), *what = call_view(c, 1, row), *by = call_view(c, 2, row);
        const uint8_t *p = view_data(v), *end = p + v->size;
        uint64_t found = what->size && what->size <= v->size ? count_parts(c->r->kernels, p, end, what) : 0;
        if (!found) {
            ((view *)c->out)[row] = *v;
            continue;
        }
        uint8_t small[VIEW_SMALL_MAX], *to;
        uint64_t size = v->size - found * what->size + found * by->size;
        if (size > TEXT_VALUE_MAX) {
            TRY(bad_text(c, row, text_too_long));
            continue;
        }
        TRY(text_begin(c, small, size, &to));
        write_replaced(c->r->kernels, p, end, what, by, to);
        text_end(c, row, to, (uint32_t)size);
    }
    return TW_OK;
}

/* ---- case ---- */
static tw_status unicode_case(call *c, uint32_t row, const view *v) {
    const bool upper = c->x->operation;
    const char *p = (const char *)view_data(v);
    uint64_t room = (uint64_t)v->size * UTF8_CASE_GROWTH;
    uint8_t *to;
    if (room > TEXT_VALUE_MAX) return bad_text(c, row, text_too_long);
    TRY(call_text(c, room, &to));
    size_t size = upper ? utf8_upper(p, v->size, (char *)to, room) : utf8_lower(p, v->size, (char *)to, room);
    text_end(c, row, to, (uint32_t)size);
    return TW_OK;
}

tw_status call_change_case(call *c) {
    const bool upper = c->x->operation;
    FOR_ACTIVE(c, row) {
        const view *v = call_view(c, 0, row);
        uint8_t small[16], *to = small;
        bool changed;
        if (v->size > VIEW_SMALL_MAX) TRY(call_text(c, v->size, &to));
        if (!c->r->kernels->ascii_case(view_data(v), v->size, upper, to, &changed)) {
            TRY(unicode_case(c, row, v));
        } else if (changed) {
            text_end(c, row, to, v->size);
        } else {
            ((view *)c->out)[row] = *v;
        }
    }
    return TW_OK;
}
