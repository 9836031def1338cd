/* group_find.h: the loop that finds groups, once for each form of keys. For group_table.c alone. */
#ifndef STEP_GROUP_FIND_H
#define STEP_GROUP_FIND_H

#include "step/group_table.h"

#define POINTER_MASK 0x0000ffffffffffffull

enum {
    slots_ahead = 32, /* rows between the fetch of a slot and its use, */
    rows_ahead = 16,  /* and between that of the row it points to and its use */
};
_Static_assert(slots_ahead <= GROUP_HASHES_AHEAD, "hashes are read so far ahead");

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
    const uint64_t *hashes;     /* n, and GROUP_HASHES_AHEAD more */
    uint32_t n;
} group_find;

static inline uint64_t *slots_of(const group_table *t) { return (uint64_t *)(void *)t->slots->data; }
static inline uint64_t tag_of(uint64_t hash) { return hash << 16 & ~POINTER_MASK; } /* bits 32..47 */

static inline uint64_t word_at(const uint8_t *from) {
    uint64_t word;
    memcpy(&word, from, 8);
    return word;
}

/* Room was reserved. */
uint8_t *group_table_new_group(group_table *t, const group_find *f, uint32_t i);

/* The key words of row i, from the first on. */
static inline const uint8_t *find_key(const group_find *f, key_form form, uint32_t i) {
    if (form == KEY_ENCODED) return f->rows[i] + sizeof(uint64_t);
    return f->keys + (size_t)i * (form == KEY_VIEW ? sizeof(view) : sizeof(uint64_t));
}

/* `whole` words, then what the tail mask leaves of one more; of unencoded keys that is validity alone. */
static inline __attribute__((always_inline)) bool find_equal(const row_layout *l, key_form form, uint32_t whole,
                                                             const uint8_t *row, const uint8_t *key) {
    const uint8_t *mine = row + sizeof(uint64_t);
    uint64_t different = 0;
    for (uint32_t k = 0; k < whole; k++) different |= word_at(mine + 8 * k) ^ word_at(key + 8 * k);
    uint64_t tail = form == KEY_ENCODED ? word_at(key + 8 * whole) : word_at(l->blank + sizeof(uint64_t) + 8 * whole);
    different |= (word_at(mine + 8 * whole) ^ tail) & l->key_tail_mask;
    if (!different) return true;
    if (form == KEY_VIEW) {
        if (word_at(mine) != word_at(key)) return false;
        view a, b;
        memcpy(&a, mine, sizeof a);
        memcpy(&b, key, sizeof b);
        return a.size > VIEW_SMALL_MAX && memcmp(a.data, b.data, a.size) == 0;
    }
    return form == KEY_ENCODED && l->keys_have_views && rows_keys_equal(l, row, key - sizeof(uint64_t));
}

/* `form` and `whole` are constants at each call. */
static inline __attribute__((always_inline)) void find_loop(group_table *t, const group_find *f, key_form form,
                                                            uint32_t whole, uint8_t **groups) {
    const row_layout *l = t->shape->layout;
    uint64_t *slots = slots_of(t), mask = t->mask;
    const uint64_t *hashes = f->hashes;
    uint32_t last = l->stride <= 64 ? l->stride - 1 : 64, far = l->stride <= 128 ? 0 : l->stride - 1;
    for (uint32_t i = 0; i < f->n; i++) {
        __builtin_prefetch(&slots[hashes[i + slots_ahead] & mask]);
        uint64_t coming = slots[hashes[i + rows_ahead] & mask] & POINTER_MASK;
        const uint8_t *line = coming ? (const uint8_t *)(uintptr_t)coming : (const uint8_t *)slots;
        __builtin_prefetch(line);
        __builtin_prefetch(line + last);
        if (far) __builtin_prefetch(line + far);

        uint64_t hash = hashes[i], tag = tag_of(hash), at = hash & mask;
        const uint8_t *key = find_key(f, form, i);
        for (;; at = (at + 1) & mask) {
            uint64_t slot = slots[at];
            if (!slot) {
                groups[i] = group_table_new_group(t, f, i);
                slots[at] = tag | (uint64_t)(uintptr_t)groups[i];
                break;
            }
            uint8_t *row = (uint8_t *)(uintptr_t)(slot & POINTER_MASK);
            if ((slot & ~POINTER_MASK) == tag && find_equal(l, form, whole, row, key)) {
                groups[i] = row;
                break;
            }
        }
    }
}

#endif
