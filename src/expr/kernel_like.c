/* `like`: a pattern is cut at its `%` into pieces. The first piece holds at the start, the last at the
 * end, and those between are found one after the other, each as early as possible: no backtracking. */
#include <string.h>

#include "expr/expr_internal.h"

typedef struct piece {
    const uint8_t *bytes;
    uint32_t size;
    bool has_any; /* a `_` */
} piece;

struct like_pattern {
    uint32_t n; /* pieces; 1: no `%` */
    piece pieces[];
};

/* Pieces of a pattern into `to` (NULL: only counted). */
static uint32_t cut_pattern(const uint8_t *pattern, uint32_t size, piece *to) {
    uint32_t n = 0, from = 0;
    for (uint32_t i = 0; i <= size; i++) {
        if (i < size && pattern[i] != '%') continue;
        bool at_edge = n == 0 || i == size;
        if (at_edge || i > from) { /* %% is % */
            if (to) to[n] = (piece){pattern + from, i - from, memchr(pattern + from, '_', i - from) != NULL};
            n++;
        }
        from = i + 1;
    }
    return n;
}

const like_pattern *like_compile(arena *a, const uint8_t *pattern, uint32_t size) {
    uint8_t *copy = arena_new(a, (size_t)size + 1);
    if (!copy) return NULL;
    if (size) memcpy(copy, pattern, size);
    uint32_t n = cut_pattern(copy, size, NULL);
    like_pattern *l = arena_new(a, sizeof *l + n * sizeof(piece));
    if (!l) return NULL;
    l->n = cut_pattern(copy, size, l->pieces);
    return l;
}

static bool continues(uint8_t b, bool utf8) { return utf8 && (b & 0xc0) == 0x80; }

/* Where the text goes on after `p` has matched at p; NULL when it does not. */
static const uint8_t *match_at(const piece *x, const uint8_t *p, const uint8_t *end, bool utf8) {
    if (!x->has_any) {
        bool equal = (size_t)(end - p) >= x->size && memcmp(p, x->bytes, x->size) == 0;
        return equal ? p + x->size : NULL;
    }
    for (uint32_t i = 0; i < x->size; i++) {
        if (p == end) return NULL;
        if (x->bytes[i] == '_') {
            p++;
            while (p < end && continues(*p, utf8)) p++;
        } else if (*p++ != x->bytes[i]) {
            return NULL;
        }
    }
    return p;
}

/* The same backwards from `end`: where the match begins. */
static const uint8_t *match_before(const piece *x, const uint8_t *p, const uint8_t *end, bool utf8) {
    if (!x->has_any) {
        bool equal = (size_t)(end - p) >= x->size && memcmp(end - x->size, x->bytes, x->size) == 0;
        return equal ? end - x->size : NULL;
    }
    for (uint32_t i = x->size; i-- > 0;) {
        if (p == end) return NULL;
        end--;
        if (x->bytes[i] == '_') {
            while (end > p && continues(*end, utf8)) end--;
        } else if (*end != x->bytes[i]) {
            return NULL;
        }
    }
    return end;
}

static const uint8_t *find_piece(const kernel_set *k, const piece *x, const uint8_t *p, const uint8_t *end,
                                 bool utf8) {
    if (!x->has_any) {
        const uint8_t *hit = k->find_bytes(p, (size_t)(end - p), x->bytes, x->size);
        return hit ? hit + x->size : NULL;
    }
    for (;;) {
        const uint8_t *after = match_at(x, p, end, utf8);
        if (after || p == end) return after;
        p++;
        while (p < end && continues(*p, utf8)) p++;
    }
}

static bool like_matches(const kernel_set *k, const like_pattern *l, const view *text, bool utf8) {
    const uint8_t *p = view_data(text), *end = p + text->size;
    p = match_at(&l->pieces[0], p, end, utf8);
    if (l->n == 1) return p == end;
    if (p) end = match_before(&l->pieces[l->n - 1], p, end, utf8);
    for (uint32_t i = 1; p && end && i + 1 < l->n; i++) p = find_piece(k, &l->pieces[i], p, end, utf8);
    return p && end;
}

tw_status call_like(call *c) {
    const like_pattern *fixed = c->x->info;
    const bool utf8 = c->x->operation;
    uint64_t *out = c->out;
    memset(out, 0, c->words * sizeof *out);
    arena passing = {0};
    FOR_ACTIVE(c, row) {
        const like_pattern *l = fixed;
        if (!l) { /* a pattern of its own for every row */
            const view *pattern = call_view(c, 1, row);
            arena_free(&passing);
            l = like_compile(&passing, view_data(pattern), pattern->size);
            if (!l) {
                arena_free(&passing);
                return expr_no_memory(c->r->err);
            }
        }
        out[row >> 6] |= (uint64_t)like_matches(c->r->kernels, l, call_view(c, 0, row), utf8) << (row & 63);
    }
    arena_free(&passing);
    return TW_OK;
}
