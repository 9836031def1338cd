/* join_table.h: a hash table over rows that stand in blocks: linear probing over distinct keys, equal
 * keys in a chain, so that one key that is half of the rows costs no more than any other (Raasveldt,
 * Mühleisen et al., DuckDB, 2024). A slot is 0, or 16 bits of the hash above the 48 bits of the address
 * of a row; who looks for what is not there rarely touches a row. The chain runs through the headers of
 * the rows, which held their hashes. One thread inserts; then any number may look. */
#ifndef STEP_JOIN_TABLE_H
#define STEP_JOIN_TABLE_H

#include "data/rows.h"

typedef struct row_table {
    uint64_t *slots;
    uint32_t capacity; /* 0: no rows; `slots` is one empty slot all the same */
    bool has_duplicates;
} row_table;

#define ROW_ADDRESS ((1ull << 48) - 1)
#define ROW_MATCHED (1ull << 63) /* in the header of the first row of a chain */

typedef uint64_t __attribute__((may_alias)) row_word;

/* For a table over `rows` of which the cache holds all slots or not: at least half of them stay empty,
 * and more where that costs no miss. */
static inline uint64_t row_table_capacity(uint64_t rows, uint64_t rows_of_all) {
    return rows ? (rows_of_all <= 8192 ? 8 : rows_of_all <= 32768 ? 4 : 2) * rows + 2 : 0;
}
/* Rows whose table can be no larger than its numbers. */
#define ROW_TABLE_ROWS_MAX (1u << 30)

/* Over `capacity` slots, which it zeroes. */
void row_table_init(row_table *t, uint64_t *slots, uint32_t capacity);
/* All rows of a block, whose headers are their hashes. */
void row_table_insert(row_table *t, const row_layout *l, const row_block *b);

static inline uint64_t row_tag(uint64_t hash) { return hash >> 32 << 48; }
static inline uint64_t *row_table_slot(const row_table *t, uint64_t hash) {
    return t->slots + ((uint64_t)(uint32_t)hash * t->capacity >> 32);
}
static inline uint64_t *row_table_next_slot(const row_table *t, uint64_t *slot) {
    return slot + 1 < t->slots + t->capacity ? slot + 1 : t->slots;
}
/* From `slot` on, the slot of a row with the tag of this hash, or an empty one. */
static inline uint64_t *row_table_candidate(const row_table *t, uint64_t *slot, uint64_t hash) {
    uint64_t tag = row_tag(hash);
    while ((*slot != 0) & ((*slot ^ tag) >> 48 != 0)) slot = row_table_next_slot(t, slot);
    return slot;
}
static inline uint8_t *slot_row(uint64_t entry) { return (uint8_t *)(uintptr_t)(entry & ROW_ADDRESS); }

/* The chain of rows[i], whose header is its hash, or NULL, for i < n. The rows may be of another layout
 * with the same keys. */
void row_table_find(const row_table *t, const row_layout *l, const uint8_t *const *rows, uint32_t n,
                    uint8_t **out);

/* The next row with the same key, or NULL. */
static inline uint8_t *row_chain_next(const uint8_t *row) {
    return slot_row(__atomic_load_n((const row_word *)(const void *)row, __ATOMIC_RELAXED));
}
static inline bool row_is_matched(const uint8_t *row) {
    return __atomic_load_n((const row_word *)(const void *)row, __ATOMIC_RELAXED) & ROW_MATCHED;
}
/* Any number of threads at a time. */
static inline void row_set_matched(uint8_t *row) {
    row_word *header = (row_word *)(void *)row;
    uint64_t before = __atomic_load_n(header, __ATOMIC_RELAXED);
    if (!(before & ROW_MATCHED)) __atomic_store_n(header, before | ROW_MATCHED, __ATOMIC_RELAXED);
}

#endif
