#include "step/join_table.h"

#include <assert.h>

enum { group_rows = 64 }; /* whose slots are on their way from memory at a time */

static const uint64_t no_slot;

void row_table_init(row_table *t, uint64_t *slots, uint32_t capacity) {
    *t = (row_table){.slots = capacity ? slots : (uint64_t *)(uintptr_t)&no_slot, .capacity = capacity};
    if (capacity) memset(slots, 0, capacity * sizeof *slots);
}

static void insert_row(row_table *t, const row_layout *l, uint8_t *row, uint64_t hash) {
    uint64_t entry = row_tag(hash) | (uint64_t)(uintptr_t)row;
    uint64_t *slot = row_table_slot(t, hash);
    row_set_header(row, 0);
    while (*slot) {
        uint8_t *other = slot_row(*slot);
        if ((*slot ^ entry) >> 48 == 0 && rows_keys_equal(l, other, row)) {
            row_set_header(row, (uint64_t)(uintptr_t)other);
            t->has_duplicates = true;
            break;
        }
        slot = row_table_next_slot(t, slot);
    }
    *slot = entry;
}

void row_table_insert(row_table *t, const row_layout *l, const row_block *b) {
    uint8_t *row = b->rows->data;
    assert(((uintptr_t)row + b->rows->size) >> 48 == 0);
    for (uint32_t done = 0; done < b->n;) {
        uint32_t n = b->n - done < group_rows ? b->n - done : group_rows;
        for (uint32_t i = 0; i < n; i++) {
            __builtin_prefetch(row_table_slot(t, row_header(row + (size_t)i * l->stride)), 1);
        }
        for (uint32_t i = 0; i < n; i++, row += l->stride) insert_row(t, l, row, row_header(row));
        done += n;
    }
}

static uint8_t *find_row(const row_table *t, const row_layout *l, const uint8_t *row) {
    uint64_t hash = row_header(row), *slot = row_table_slot(t, hash);
    for (;;) {
        slot = row_table_candidate(t, slot, hash);
        uint8_t *found = slot_row(*slot);
        if (!found || rows_keys_equal(l, found, row)) return found;
        slot = row_table_next_slot(t, slot);
    }
}

void row_table_find(const row_table *t, const row_layout *l, const uint8_t *const *rows, uint32_t n,
                    uint8_t **out) {
    for (uint32_t done = 0; done < n;) {
        uint32_t end = n - done < group_rows ? n : done + group_rows;
        for (uint32_t i = done; i < end; i++) __builtin_prefetch(row_table_slot(t, row_header(rows[i])));
        for (; done < end; done++) out[done] = find_row(t, l, rows[done]);
    }
}
