/* group_find.h: the loop that finds groups, once for each form of keys. For group_table.c alone. */
#ifndef STEP_GROUP_FIND_H
#define STEP_GROUP_FIND_H

#include "step/group_table.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { bucket_size = 8 };

/* A cache line: addresses of rows in 48 bits, and 16 bits of each one's hash; 0: free, and so are those behind.
 * A full bucket goes on in the next. */
typedef struct bucket {
    uint8_t rows[bucket_size][6];
    uint16_t tags[bucket_size];
} bucket;
_Static_assert(sizeof(bucket) == 64, "a bucket is a cache line");

static inline bucket *buckets_of(const group_table *t) { return (bucket *)(void *)t->buckets->data; }
static inline uint16_t tag_of(uint64_t hash) { return (uint16_t)(hash >> 32 | 1); }

static inline uint64_t word_at(const uint8_t *from) {
    uint64_t word;
    memcpy(&word, from, 8);
    return word;
}

/* Two bits for each tag of the bucket that is `tag`. */
static inline uint32_t bucket_match(const bucket *b, uint16_t tag) {
#ifdef __SSE2__
    __m128i tags = _mm_load_si128((const __m128i *)(const void *)b->tags);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi16(tags, _mm_set1_epi16((short)tag)));
#else
    uint32_t match = 0;
    for (uint32_t k = 0; k < bucket_size; k++) match |= (b->tags[k] == tag ? 3u : 0u) << 2 * k;
    return match;
#endif
}
/* The row at the lowest of these bits (not 0). */
static inline uint8_t *bucket_row(const bucket *b, uint32_t match) {
    uint64_t address = word_at(&b->rows[0][0] + 3 * (uint32_t)__builtin_ctz(match)) & 0xffffffffffffull;
    return (uint8_t *)(uintptr_t)address;
}
static inline bool bucket_is_full(const bucket *b) { return b->tags[bucket_size - 1] != 0; }
static inline void bucket_put(bucket *b, uint16_t tag, const uint8_t *row) {
    uint32_t k = (uint32_t)__builtin_ctz(bucket_match(b, 0)) / 2;
    uint64_t address = (uint64_t)(uintptr_t)row;
    uint32_t low = (uint32_t)address;
    uint16_t high = (uint16_t)(address >> 32);
    memcpy(b->rows[k], &low, sizeof low);
    memcpy(b->rows[k] + sizeof low, &high, sizeof high);
    b->tags[k] = tag;
}

enum { find_block = 32 }; /* rows whose buckets, then rows, then keys are looked at together */
_Static_assert(GROUP_STEP % find_block == 0, "steps are whole blocks");

typedef enum key_form {
    KEY_ENCODED, /* any: rows of the key layout */
    KEY_WORD,    /* one column of 8 bytes, nothing null */
    KEY_VIEW,    /* one column of strings or binaries, nothing null */
} key_form;

/* n rows whose groups are wanted. */
typedef struct group_find {
    key_form form;
    const uint8_t *keys;        /* KEY_WORD, KEY_VIEW: values */
    const uint8_t *const *rows; /* KEY_ENCODED */
    const uint64_t *hashes;     /* n, up to GROUP_STEP */
    uint32_t n;
    uint32_t count_offset;      /* not 0: where in a group a count of its rows is kept */
    bool whole;                 /* KEY_ENCODED: the rows are groups, of the table's layout: the first of its key becomes the group */
    uint8_t **groups;           /* out: n; NULL: of a row that became one */
} group_find;

/* The group of row i, looked for without haste and made if there is none; room for a row was reserved. NULL:
 * there is none for the key's bytes. */
uint8_t *group_table_find_or_make(group_table *t, const group_find *f, uint32_t i);
/* Copies what the long keys of a new row point to. False: there is no room. */
bool group_table_keep_keys(group_table *t, uint8_t *row);

/* The key words of row i, from the first on. */
static inline const uint8_t *find_key(const group_find *f, key_form form, uint32_t i) {
    if (form == KEY_ENCODED) return f->rows[i] + sizeof(uint64_t);
    return f->keys + (size_t)i * (form == KEY_VIEW ? sizeof(view) : sizeof(uint64_t));
}

/* A new group, for which room was reserved, in no bucket yet; NULL when there is no room for a long key. */
static inline __attribute__((always_inline)) uint8_t *new_group(group_table *t, const group_find *f, key_form form, const uint8_t *key,
                                                                uint64_t hash) {
    const row_layout *l = t->shape->layout;
    uint8_t *row = arena_rows_new(&t->rows);
    memcpy(row, &hash, 8);
    if (form == KEY_ENCODED && f->whole) {
        for (uint32_t at = 8; at < l->stride; at += 8) memcpy(row + at, key - 8 + at, 8);
        return row;
    }
    if (form != KEY_ENCODED) {
        uint32_t words = form == KEY_VIEW ? 2 : 1;
        memcpy(row + 8, key, 8 * words);
        for (uint32_t at = 8 + 8 * words; at < l->stride; at += 8) memcpy(row + at, l->blank + at, 8);
    } else {
        for (uint32_t at = 8; at < l->stride; at += 8) memcpy(row + at, l->blank + at, 8);
        memcpy(row + l->key_begin, key, l->key_end - l->key_begin);
    }
    if (form == KEY_WORD || !l->keys_have_views || group_table_keep_keys(t, row)) return row;
    arena_rows_drop_last(&t->rows);
    return NULL;
}

/* `whole` words, then what the tail mask leaves of one more. Of keys that are not encoded that word is validity
 * alone; it can differ only where the others are zero, as they are of a null. */
static inline __attribute__((always_inline)) bool find_equal(const row_layout *l, key_form form, uint32_t whole,
                                                             const uint8_t *row, const uint8_t *key) {
    const uint8_t *mine = row + sizeof(uint64_t);
    uint64_t different = 0;
    for (uint32_t k = 0; k < whole; k++) different |= word_at(mine + 8 * k) ^ word_at(key + 8 * k);
    if (form == KEY_ENCODED) {
        different |= (word_at(mine + 8 * whole) ^ word_at(key + 8 * whole)) & l->key_tail_mask;
        return !different || (l->keys_have_views && rows_keys_equal(l, row, key - sizeof(uint64_t)));
    }
    if (!different && word_at(key) == 0)
        return !((word_at(mine + 8 * whole) ^ word_at(l->blank + sizeof(uint64_t) + 8 * whole)) & l->key_tail_mask);
    if (form == KEY_WORD || !different) return !different;
    view a, b;
    memcpy(&a, mine, sizeof a);
    memcpy(&b, key, sizeof b);
    return a.size == b.size && a.size > VIEW_SMALL_MAX && memcmp(a.prefix, b.prefix, 4) == 0 && memcmp(a.data, b.data, a.size) == 0;
}

static inline __attribute__((always_inline)) void fetch_buckets(const group_table *t, const uint64_t *hashes, uint32_t n) {
    const bucket *buckets = buckets_of(t);
    uint64_t mask = t->mask;
    for (uint32_t i = 0; i < n; i++) __builtin_prefetch(&buckets[hashes[i] & mask], 0, 2); /* the second cache has more in flight */
}

/* What probably is the group of each row; `none` when its bucket does not tell. */
static inline __attribute__((always_inline)) void fetch_rows(const group_table *t, const uint64_t *hashes, const uint8_t *none,
                                                             uint32_t n, const uint8_t **rows) {
    const bucket *buckets = buckets_of(t);
    uint64_t mask = t->mask;
    uint32_t stride = t->shape->layout->stride, last = stride <= 64 ? stride - 1 : 64, far = stride <= 128 ? 0 : stride - 1;
    for (uint32_t i = 0; i < n; i++) {
        const bucket *b = &buckets[hashes[i] & mask];
        uint32_t match = bucket_match(b, tag_of(hashes[i]));
        const uint8_t *row = bucket_row(b, match | 1u << 2 * (bucket_size - 1)); /* without a match some word of the bucket */
        rows[i] = row = match ? row : none;
        __builtin_prefetch(row + sizeof(uint64_t)); /* the hash is not looked at */
        __builtin_prefetch(row + last);
        if (far) __builtin_prefetch(row + far);
    }
}

/* Returns how many rows have their group; fewer than n when there was no room. */
static inline __attribute__((always_inline)) uint32_t settle_rows(group_table *t, const group_find *f, key_form form,
                                                                  uint32_t whole, const uint8_t *none, uint32_t first,
                                                                  uint32_t n, const uint8_t *const *rows) {
    const row_layout *l = t->shape->layout;
    bucket *buckets = buckets_of(t);
    uint64_t mask = t->mask;
    const uint64_t *hashes = f->hashes + first;
    const uint8_t *key = form == KEY_ENCODED ? NULL : find_key(f, form, first);
    uint8_t **groups = f->groups + first;
    uint32_t count_offset = f->count_offset;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *row = (uint8_t *)(uintptr_t)rows[i];
        const uint8_t *mine = form == KEY_ENCODED ? find_key(f, form, first + i) : key + i * (form == KEY_VIEW ? sizeof(view) : sizeof(uint64_t));
        if (row == none || !find_equal(l, form, whole, row, mine)) {
            bucket *b = &buckets[hashes[i] & mask];
            uint16_t tag = tag_of(hashes[i]);
            bool is_new = !bucket_match(b, tag) && !bucket_is_full(b);
            uint64_t before = t->rows.n;
            row = is_new ? new_group(t, f, form, mine, hashes[i]) : group_table_find_or_make(t, f, first + i);
            if (!row) return i;
            if (is_new) bucket_put(b, tag, row);
            if (form == KEY_ENCODED && f->whole && t->rows.n != before) row = NULL;
        }
        groups[i] = row;
        if (count_offset) ++*(uint64_t *)(void *)(row + count_offset);
    }
    return n;
}

/* A group for each row, and none of them looked for. Returns how many there was room for. */
static inline __attribute__((always_inline)) uint32_t make_groups(group_table *t, const group_find *f, key_form form) {
    for (uint32_t i = 0; i < f->n; i++) {
        uint8_t *row = new_group(t, f, form, find_key(f, form, i), f->hashes[i]);
        if (!row) return i;
        f->groups[i] = row;
        if (f->count_offset) ++*(uint64_t *)(void *)(row + f->count_offset);
    }
    return f->n;
}

static inline uint32_t block_rows(const group_find *f, uint32_t block) {
    return f->n - block * find_block < find_block ? f->n - block * find_block : find_block;
}

/* Of one block the buckets are fetched, of the one before the rows, of the one before that keys are compared. `form`
 * and `whole` are constants at each call. Returns how many rows have their group. */
static inline __attribute__((always_inline)) uint32_t find_blocks(group_table *t, const group_find *f, key_form form,
                                                                  uint32_t whole) {
    const uint8_t *rows[2][find_block], *none = t->shape->layout->blank;
    uint32_t n_blocks = (f->n + find_block - 1) / find_block;
    for (uint32_t k = 0; k < n_blocks + 2; k++) {
        if (k < n_blocks) fetch_buckets(t, f->hashes + k * find_block, block_rows(f, k));
        if (k >= 1 && k <= n_blocks)
            fetch_rows(t, f->hashes + (k - 1) * find_block, none, block_rows(f, k - 1), rows[(k - 1) % 2]);
        if (k < 2) continue;
        uint32_t n = block_rows(f, k - 2), done = settle_rows(t, f, form, whole, none, (k - 2) * find_block, n, rows[k % 2]);
        if (done < n) return (k - 2) * find_block + done;
    }
    return f->n;
}

#endif
