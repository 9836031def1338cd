#include "step/join_pair.h"

#include <stdlib.h>

enum { bytes_now_min = 64 << 10, scan_bytes_max = 4 << 20 };

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a join"); }

/* ---- life ---- */

static void free_chunk(join_pair *p) {
    while (p->chunk) {
        row_block *b = p->chunk;
        p->chunk = b->next;
        row_block_free(b);
    }
    buffer_unref(p->slots);
    buffer_unref(p->heap);
    p->slots = p->heap = NULL;
}

void join_pair_free(join_pair *p) {
    if (!p) return;
    free_chunk(p);
    row_block_free(p->block);
    pair_forget_kept(p);
    pair_level_free(&p->into);
    for (; p->depth > 0; p->depth--) pair_level_free(&p->levels[p->depth]);
    pair_rows_clear(&p->output);
    free(p);
}

static tw_status create(join *j, join_pair **out, tw_error *err) {
    join_pair *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    p->join = j;
    p->run = j->run;
    tw_status status = pair_rows_init(&p->output, j, err);
    if (status == TW_OK) *out = p;
    else join_pair_free(p);
    return status;
}

tw_status join_pair_create(join *j, uint32_t partition, size_t bytes_max, join_pair **out, tw_error *err) {
    TRY(create(j, out, err));
    join_pair *p = *out;
    p->bytes_now = bytes_max;
    p->levels[0] = (pair_level){.rows = {j->sides[LEFT].rows, j->sides[RIGHT].rows},
                                .next = partition,
                                .n = partition + 1,
                                .parent_rows = {UINT64_MAX, UINT64_MAX}};
    return TW_OK;
}

tw_status join_pair_create_unmatched(join *j, uint32_t partition, join_pair **out, tw_error *err) {
    TRY(create(j, out, err));
    join_pair *p = *out;
    p->stage = PAIR_AFTER;
    p->role = (pair_role){.hashed = RIGHT, .whole = true, .table_unmatched = true};
    p->table = j->tables[partition];
    tw_status status = join_heaps(&j->blocks[partition], 1, &p->heap, err);
    if (status != TW_OK) {
        join_pair_free(p);
        return status;
    }
    p->chunk = j->blocks[partition];
    j->blocks[partition] = NULL;
    return TW_OK;
}

/* ---- the plan ---- */

/* What a table over a side takes. */
static size_t cost_of(const join_pair *p, unsigned side) {
    size_t bytes = pair_bytes_of(p, side);
    uint64_t rows = pair_rows_of(p, side);
    return rows > ROW_TABLE_ROWS_MAX ? SIZE_MAX : bytes + bytes / 4 + 2 * sizeof(uint64_t) * rows;
}

static bool gives_rows(const join *j, uint64_t left, uint64_t right) {
    if (left && right) return true;
    return (left && (join_keeps_left(j) || j->kind == JOIN_ANTI)) || (right && join_keeps_right(j));
}

/* As long as a side gets smaller by it. */
static bool can_split(const join_pair *p) {
    const pair_level *l = &p->levels[p->depth];
    bool in_vain = true;
    for (unsigned side = 0; side < 2; side++) in_vain &= pair_rows_of(p, side) > l->parent_rows[side] / 4 * 3;
    return !in_vain && p->depth + 1 < PAIR_LEVELS_MAX;
}

/* Whether a row has a match is known after a scan when its partners were all there: always for rows of
 * the table, for scanned ones if the table is whole. */
static void set_role(join_pair *p, unsigned hashed, bool whole) {
    const join *j = p->join;
    pair_role *r = &p->role;
    bool left_unmatched = join_keeps_left(j) || j->kind == JOIN_ANTI, semi = j->kind == JOIN_SEMI;
    *r = (pair_role){.hashed = (uint8_t)hashed, .whole = whole, .pairs = !join_filters(j) && !p->second_pass};
    r->table_unmatched = hashed == RIGHT ? join_keeps_right(j) : left_unmatched;
    r->table_matched = hashed == LEFT && semi;
    r->scan_unmatched = whole && (hashed == RIGHT ? left_unmatched : join_keeps_right(j));
    r->scan_matched = whole && hashed == RIGHT && semi;
    r->listed[!hashed] = !whole;
    r->listed[hashed] = !whole && j->kind == JOIN_FULL;
}

/* By chunks. A full join goes over both sides twice, so that no bit per row is kept: first rows of the
 * left side with their partners, or without; then rows of the right side without. */
static void set_role_by_chunks(join_pair *p, unsigned smaller) {
    switch (p->join->kind) {
    case JOIN_INNER: set_role(p, smaller, false); break;
    case JOIN_RIGHT: set_role(p, RIGHT, false); break;
    case JOIN_FULL: set_role(p, p->second_pass ? RIGHT : LEFT, false); break;
    default: set_role(p, LEFT, false);
    }
}

static void choose(join_pair *p) {
    pair_level *l = &p->levels[p->depth];
    if (l->next == l->n) {
        if (p->depth == 0) {
            p->stage = PAIR_DONE;
            return;
        }
        pair_level_free(l);
        p->depth--;
        return;
    }
    p->partition = l->next++;
    p->hashed_ended = p->second_pass = false;
    if (!gives_rows(p->join, pair_rows_of(p, LEFT), pair_rows_of(p, RIGHT))) return;
    size_t left = cost_of(p, LEFT), right = cost_of(p, RIGHT);
    unsigned smaller = right <= left ? RIGHT : LEFT;
    if ((smaller == RIGHT ? right : left) <= p->bytes_now) {
        set_role(p, smaller, true);
        p->stage = PAIR_LOAD;
    } else if (can_split(p)) {
        p->role = (pair_role){0};
        p->stage = PAIR_SPLIT;
    } else {
        set_role_by_chunks(p, smaller);
        p->stage = PAIR_KEEP;
    }
}

static tw_status split(join_pair *p, tw_error *err) {
    TRY(pair_split(p, err));
    p->levels[++p->depth] = p->into;
    p->into = (pair_level){0};
    p->stage = PAIR_CHOOSE;
    return TW_OK;
}

static tw_status keep(join_pair *p, tw_error *err) {
    for (unsigned side = 0; side < 2; side++)
        if (p->role.listed[side]) TRY(pair_keep(p, side, err));
    p->stage = PAIR_LOAD;
    return TW_OK;
}

/* ---- the table ---- */

static void unread_block(join_pair *p) {
    row_block *b = p->chunk;
    p->chunk = b->next;
    b->next = NULL;
    p->hashed_ended = false;
    if (p->role.listed[p->role.hashed]) {
        p->kept[p->role.hashed].next--;
        row_block_free(b);
    } else {
        exchange_give_back(p->levels[p->depth].rows[p->role.hashed], p->partition, b);
    }
}

static tw_status read_chunk(join_pair *p, uint64_t *rows, tw_error *err) {
    size_t bytes = 0;
    for (row_block *b = p->chunk; b; b = b->next) { /* an earlier call was refused later on */
        *rows += b->n;
        bytes += row_block_bytes(b) + 2 * sizeof(uint64_t) * b->n;
    }
    while (!p->hashed_ended && (p->role.whole || bytes < p->bytes_now)) {
        row_block *b;
        if (run_cancelled(p->run)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        tw_status status = pair_input_next(p, p->role.hashed, &b, err);
        if (status == TW_END) p->hashed_ended = true;
        else if (status == TW_ERR_MEMORY && !p->role.whole && p->chunk) break;
        else TRY(status);
        if (status == TW_END) break;
        b->next = p->chunk;
        p->chunk = b;
        *rows += b->n;
        bytes += row_block_bytes(b) + 2 * sizeof(uint64_t) * b->n;
    }
    return TW_OK;
}

/* For the slots, and for the blocks of the other side one by one. */
static tw_status reserve(join_pair *p, uint64_t rows, tw_error *err) {
    memory *m = p->run->memory;
    size_t block_bytes = memory_limit(m) / 64;
    TRY(join_slots(m, row_table_capacity(rows, UINT64_MAX), &p->slots, err));
    tw_status status = memory_make_room(m, block_bytes < scan_bytes_max ? block_bytes : scan_bytes_max, err);
    if (status == TW_OK) return TW_OK;
    buffer_unref(p->slots);
    p->slots = NULL;
    return status;
}

/* At the cost of rows that wait for the next chunk. */
static tw_status reserve_slots(join_pair *p, uint64_t rows, tw_error *err) {
    for (;;) {
        tw_status status = reserve(p, rows, err);
        if (status != TW_ERR_MEMORY || p->role.whole || !p->chunk || !p->chunk->next) return status;
        rows -= p->chunk->n;
        unread_block(p);
    }
}

static void end_pass(join_pair *p);

static tw_status load_chunk(join_pair *p, tw_error *err) {
    uint64_t rows = 0;
    TRY(read_chunk(p, &rows, err));
    if (!rows && !p->role.whole) {
        end_pass(p);
        return TW_OK;
    }
    TRY(reserve_slots(p, rows, err));
    rows = 0;
    for (row_block *b = p->chunk; b; b = b->next) rows += b->n;
    tw_status status = join_heaps(&p->chunk, 1, &p->heap, err);
    if (status != TW_OK) {
        buffer_unref(p->slots);
        p->slots = NULL;
        return status;
    }
    row_table_init(&p->table, (uint64_t *)(void *)p->slots->data, (uint32_t)row_table_capacity(rows, UINT64_MAX));
    for (const row_block *b = p->chunk; b; b = b->next) row_table_insert(&p->table, p->join->sides[p->role.hashed].layout, b);
    p->stage = PAIR_SCAN;
    return TW_OK;
}

static void end_pass(join_pair *p) {
    p->stage = PAIR_CHOOSE;
    if (p->role.whole) return;
    if (p->join->kind == JOIN_FULL && !p->second_pass) {
        p->second_pass = true;
        p->hashed_ended = false;
        set_role_by_chunks(p, RIGHT);
        p->kept[LEFT].next = p->kept[RIGHT].next = 0;
        p->stage = PAIR_LOAD;
    } else {
        pair_forget_kept(p);
    }
}

/* Memory that is refused is tried with half as much at a time. */
static tw_status load(join_pair *p, tw_error *err) {
    if (!p->role.whole && p->hashed_ended) {
        end_pass(p);
        return TW_OK;
    }
    tw_status status = load_chunk(p, err);
    if (status != TW_ERR_MEMORY || !p->role.whole) return status;
    while (p->chunk) unread_block(p);
    p->levels[p->depth].next--;
    p->hashed_ended = false;
    p->stage = PAIR_CHOOSE;
    if (p->bytes_now < 2 * bytes_now_min) return status;
    p->bytes_now /= 2;
    return TW_OK;
}

static void end_chunk(join_pair *p) {
    free_chunk(p);
    p->kept[!p->role.hashed].next = 0;
    p->stage = PAIR_LOAD;
    if (p->role.whole) end_pass(p);
}

/* ---- output ---- */

static tw_status flush(join_pair *p, batch **out, tw_error *err) {
    return p->output.n ? pair_rows_batch(&p->output, p->join, out, err) : TW_OK;
}

static void find_window(join_pair *p) {
    const row_layout *l = p->join->sides[!p->role.hashed].layout;
    const uint8_t *rows[PAIR_WINDOW_ROWS] = {0};
    uint32_t left = p->block->n - p->row, n = left < PAIR_WINDOW_ROWS ? left : PAIR_WINDOW_ROWS;
    for (uint32_t i = 0; i < n; i++) rows[i] = p->block->rows->data + (size_t)(p->row + i) * l->stride;
    row_table_find(&p->table, l, rows, n, p->heads);
    p->window = p->row;
    p->window_end = p->row + n;
    if (!p->role.table_matched && !p->role.table_unmatched) return;
    for (uint32_t i = 0; i < n; i++)
        if (p->heads[i]) row_set_matched(p->heads[i]);
}

/* Adds rows until the output or the block is at its end. */
static void scan_rows(join_pair *p) {
    const pair_role *r = &p->role;
    unsigned side = !r->hashed;
    uint32_t room = p->join->batch_rows, stride = p->join->sides[side].layout->stride;
    while (p->output.n < room && p->row < p->block->n) {
        if (p->row == p->window_end) find_window(p);
        const uint8_t *row = p->block->rows->data + (size_t)p->row * stride;
        const uint8_t *head = p->heads[p->row - p->window];
        if (head ? r->scan_matched : r->scan_unmatched) pair_rows_add(&p->output, p->join, side, row, NULL);
        if (head && r->pairs) {
            const uint8_t *at = p->next ? p->next : head;
            for (; at && p->output.n < room; at = row_chain_next(at)) pair_rows_add(&p->output, p->join, side, row, at);
            p->next = at;
            if (at) return;
        }
        p->row++;
    }
}

static tw_status scan(join_pair *p, batch **out, tw_error *err) {
    unsigned side = !p->role.hashed;
    if (!p->block) {
        tw_status status = pair_input_next(p, side, &p->block, err);
        p->row = p->window = p->window_end = 0;
        if (status != TW_END) return status;
        p->stage = PAIR_AFTER;
        p->slot = 0;
        return TW_OK;
    }
    p->output.heap[side] = p->block->heap;
    p->output.heap[!side] = p->heap;
    if (!p->output.n) scan_rows(p);
    TRY(flush(p, out, err));
    if (p->row < p->block->n) return TW_OK;
    row_block_free(p->block);
    p->block = NULL;
    return TW_OK;
}

/* Chains of the table that had a match, or had none. */
static void add_chains(join_pair *p) {
    const pair_role *r = &p->role;
    uint32_t room = p->join->batch_rows;
    for (; p->output.n < room && p->slot < p->table.capacity; p->slot += !p->next) {
        const uint8_t *head = slot_row(p->table.slots[p->slot]), *at = p->next ? p->next : head;
        if (!head || !(row_is_matched(head) ? r->table_matched : r->table_unmatched)) continue;
        for (; at && p->output.n < room; at = row_chain_next(at)) pair_rows_add(&p->output, p->join, r->hashed, at, NULL);
        p->next = at;
    }
}

static tw_status after(join_pair *p, batch **out, tw_error *err) {
    p->output.heap[p->role.hashed] = p->heap;
    p->output.heap[!p->role.hashed] = NULL;
    if (!p->output.n && (p->role.table_matched || p->role.table_unmatched)) add_chains(p);
    if (!p->output.n) end_chunk(p);
    return flush(p, out, err);
}

tw_status join_pair_next(join_pair *p, batch **out, tw_error *err) {
    *out = NULL;
    while (!*out) {
        if (p->failure.code) {
            if (err) *err = p->failure;
            return p->failure.code;
        }
        if (run_cancelled(p->run)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        switch (p->stage) {
        case PAIR_CHOOSE: choose(p); break;
        case PAIR_SPLIT: TRY(split(p, err)); break;
        case PAIR_KEEP: TRY(keep(p, err)); break;
        case PAIR_LOAD: TRY(load(p, err)); break;
        case PAIR_SCAN: TRY(scan(p, out, err)); break;
        case PAIR_AFTER: TRY(after(p, out, err)); break;
        case PAIR_DONE: return TW_END;
        }
    }
    return TW_OK;
}
