/* Rows are sorted by words: the highest bits in which the numbers of a span of rows differ, and below
 * them the row's place in the span. Rows whose words have the same bits are a span again, which goes by
 * the next bits, then by the next bytes of long strings, at last by the positions: a radix sort from the
 * top with as many bits to a digit as there is room for. McIlroy, Bostic and McIlroy, "Engineering radix
 * sort", 1993. */
#include "step/sort_rows.h"

#include <stdlib.h>

#include "step/sort_vqsort.h"

enum {
    span_small = 12,    /* sorted by insertion */
    depth_max = 40,     /* then by comparing: long strings that part one after the other */
    cancel_rows = 65536,
    scratch_row_bytes = 40,
};

typedef struct sorting {
    const sort_order *o;
    const atomic_bool *cancelled;
    sort_number *numbers; /* by id; for the code of the span that is being sorted */
    uint64_t *words;
    const uint8_t **rows; /* by id */
    uint32_t *ids, *spare;
} sorting;

size_t sort_rows_scratch_bytes(uint64_t n) {
    if (n >= UINT32_MAX) return SIZE_MAX;
    return (size_t)(n + 1) * scratch_row_bytes + 4 * 64;
}

static uint64_t position_of(const sorting *s, uint32_t id) { return row_header(s->rows[id]); }

/* Keys before the code's first, and the bytes that it leaves out, are known to be equal. */
static bool stands_before(const sorting *s, const sort_code *code, uint32_t a, uint32_t b) {
    if (s->numbers[a] != s->numbers[b]) return s->numbers[a] < s->numbers[b];
    if (code && !sort_code_is_whole(code, s->numbers[a])) {
        int order = sort_compare(s->o->keys, s->o->n_keys, code->pieces[0].key, &s->o->rows, s->rows[a],
                                 &s->o->rows, s->rows[b]);
        if (order) return order < 0;
    }
    return position_of(s, a) < position_of(s, b);
}

static void sort_by_insertion(sorting *s, uint32_t begin, uint32_t n, const sort_code *code) {
    uint32_t *ids = s->ids + begin;
    for (uint32_t i = 1; i < n; i++) {
        uint32_t id = ids[i], at = i;
        for (; at > 0 && stands_before(s, code, id, ids[at - 1]); at--) ids[at] = ids[at - 1];
        ids[at] = id;
    }
}

/* Merge sort: no worse on any input. */
static void sort_by_comparing(sorting *s, uint32_t begin, uint32_t n, const sort_code *code) {
    if (n <= span_small) {
        sort_by_insertion(s, begin, n, code);
        return;
    }
    uint32_t half = n / 2, *ids = s->ids + begin, *left = s->spare + begin;
    sort_by_comparing(s, begin, half, code);
    sort_by_comparing(s, begin + half, n - half, code);
    memcpy(left, ids, half * sizeof *left);
    for (uint32_t i = 0, k = half, at = 0; i < half; at++) {
        if (k < n && stands_before(s, code, ids[k], left[i])) ids[at] = ids[k++];
        else ids[at] = left[i++];
    }
}

/* ---- spans ---- */

/* Bits in which the numbers of the span differ. */
static sort_number differences(const sorting *s, uint32_t begin, uint32_t n) {
    sort_number first = s->numbers[s->ids[begin]], all = 0;
    for (uint32_t i = 1; i < n; i++) all |= s->numbers[s->ids[begin + i]] ^ first;
    return all;
}

static void number_by_position(sorting *s, uint32_t begin, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = s->ids[begin + i];
        s->numbers[id] = position_of(s, id);
    }
}

static void number_by_code(sorting *s, uint32_t begin, uint32_t n, const sort_code *code) {
    sort_values values[SORT_KEYS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = s->ids[begin + i];
        sort_values_of_rows(&s->o->rows, s->o->n_keys, s->rows[id], values);
        sort_code_encode(code, values, 1, &s->numbers[id]);
    }
}

static unsigned leading_zeros(sort_number x) { /* not of 0 */
    uint64_t high = (uint64_t)(x >> 64);
    return (unsigned)(high ? __builtin_clzll(high) : 64 + __builtin_clzll((uint64_t)x));
}

/* Sorts ids by the highest bits that differ; words[i] >> *place_bits are then those bits, in order. */
static void sort_by_words(sorting *s, uint32_t begin, uint32_t n, sort_number differ,
                          unsigned *place_bits) {
    uint32_t *ids = s->ids + begin, *spare = s->spare + begin;
    uint64_t *words = s->words + begin;
    unsigned bits = 32 - (unsigned)__builtin_clz(n - 1), left = leading_zeros(differ);
    uint64_t place_mask = ((uint64_t)1 << bits) - 1;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t top = (uint64_t)(s->numbers[ids[i]] << left >> 64);
        words[i] = (top & ~place_mask) | i;
    }
    vqsort_words(words, n);
    for (uint32_t i = 0; i < n; i++) spare[i] = ids[words[i] & place_mask];
    memcpy(ids, spare, n * sizeof *ids);
    *place_bits = bits;
}

static void sort_span(sorting *s, uint32_t begin, uint32_t n, const sort_code *code, unsigned depth);

static void sort_runs(sorting *s, uint32_t begin, uint32_t n, const sort_code *code, unsigned place_bits,
                      unsigned depth) {
    const uint64_t *words = s->words + begin;
    for (uint32_t i = 0, end; i < n; i = end) {
        uint64_t bits = words[i] >> place_bits;
        for (end = i + 1; end < n && words[end] >> place_bits == bits;) end++;
        if (end - i > 1) sort_span(s, begin + i, end - i, code, depth + 1);
    }
}

/* code: what the numbers are; NULL: positions. */
static void sort_span(sorting *s, uint32_t begin, uint32_t n, const sort_code *code, unsigned depth) {
    sort_code next;
    while (n > 1) {
        if (n > cancel_rows && atomic_load_explicit(s->cancelled, memory_order_relaxed)) return;
        if (n <= span_small || depth > depth_max) {
            sort_by_comparing(s, begin, n, code);
            return;
        }
        sort_number differ = differences(s, begin, n);
        if (differ) {
            unsigned place_bits;
            sort_by_words(s, begin, n, differ, &place_bits);
            sort_runs(s, begin, n, code, place_bits, depth);
            return;
        }
        if (!code) return; /* no two rows have one position */
        sort_number number = s->numbers[s->ids[begin]];
        if (sort_code_is_whole(code, number)) {
            number_by_position(s, begin, n);
            code = NULL;
        } else {
            uint32_t key, offset;
            sort_code_rest(code, number, &key, &offset);
            sort_code_make(s->o->keys, s->o->n_keys, key, offset, &next);
            number_by_code(s, begin, n, &next);
            code = &next;
        }
    }
}

/* ---- all ---- */

static void *carve(uint8_t **scratch, size_t bytes) {
    void *at = *scratch;
    *scratch += (bytes + 63) & ~(size_t)63;
    return at;
}

void sort_rows(const sort_order *o, row_block *const *blocks, size_t n_blocks, uint8_t *scratch,
               const atomic_bool *cancelled, const uint8_t *const **out) {
    sorting s = {.o = o, .cancelled = cancelled};
    uint32_t n = 0, stride = o->rows.layout->stride;
    for (size_t b = 0; b < n_blocks; b++) n += blocks[b]->n;
    s.numbers = carve(&scratch, n * sizeof *s.numbers);
    s.words = carve(&scratch, n * sizeof *s.words);
    s.rows = carve(&scratch, n * sizeof *s.rows);
    s.ids = carve(&scratch, n * sizeof *s.ids);
    s.spare = carve(&scratch, n * sizeof *s.spare);
    uint32_t id = 0;
    for (size_t b = 0; b < n_blocks; b++) {
        const uint8_t *rows = blocks[b]->rows->data;
        sort_values values[SORT_KEYS_MAX];
        sort_values_of_rows(&o->rows, o->n_keys, rows, values);
        sort_code_encode(&o->code, values, blocks[b]->n, s.numbers + id);
        for (uint32_t i = 0; i < blocks[b]->n; i++, id++) {
            s.rows[id] = rows + (size_t)i * stride;
            s.ids[id] = id;
        }
    }
    sort_span(&s, 0, n, &o->code, 0);
    const uint8_t **sorted = (const uint8_t **)(void *)s.words;
    for (uint32_t i = 0; i < n; i++) sorted[i] = s.rows[s.ids[i]];
    *out = (const uint8_t *const *)sorted;
}
