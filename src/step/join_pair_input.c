/* Where the rows of a pair come from: partitions of exchanges, or frames that are read several times. */
#include <stdlib.h>

#include "data/hash.h"
#include "step/join_pair.h"

enum { fan_out_min = 4, fan_out_max = 64, block_bytes_min = 4 << 10, block_bytes_max = 64 << 10 };

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a join"); }

static exchange *rows_of(const join_pair *p, unsigned side) { return p->levels[p->depth].rows[side]; }

/* A partition that only the right side has is one of rows with null keys. */
static bool has_partition(const join_pair *p, unsigned side) {
    return rows_of(p, side) && !(p->depth == 0 && side == LEFT && p->partition == p->join->n_partitions);
}

uint64_t pair_rows_of(const join_pair *p, unsigned side) {
    return has_partition(p, side) ? exchange_rows(rows_of(p, side), p->partition) : 0;
}

size_t pair_bytes_of(const join_pair *p, unsigned side) {
    return has_partition(p, side) ? exchange_partition_bytes(rows_of(p, side), p->partition) : 0;
}

/* ---- frames that are kept ---- */

static tw_status read_kept(join_pair *p, unsigned side, row_block **out, tw_error *err) {
    kept_rows *k = &p->kept[side];
    if (k->next == k->n) return TW_END;
    frame_place place = k->places[k->next];
    TRY(spill_read_block(p->run->spill, p->run->memory, MEMORY_STATE, p->join->sides[side].layout, place, out, err));
    k->next++;
    return TW_OK;
}

static bool reserve_kept(kept_rows *k) {
    if (k->n < k->capacity) return true;
    uint32_t capacity = k->capacity ? 2 * k->capacity : 64;
    frame_place *places = realloc(k->places, capacity * sizeof *places);
    if (!places) return false;
    k->places = places;
    k->capacity = capacity;
    return true;
}

tw_status pair_keep(join_pair *p, unsigned side, tw_error *err) {
    kept_rows *k = &p->kept[side];
    for (;;) {
        row_block *b;
        if (run_cancelled(p->run)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
        if (!reserve_kept(k)) return no_memory(err);
        tw_status status = exchange_take(rows_of(p, side), p->partition, &b, err);
        if (status == TW_END) return TW_OK;
        TRY(status);
        status = spill_write_block(p->run->spill, p->join->sides[side].layout, b, &k->places[k->n], err);
        if (status != TW_OK) {
            exchange_give_back(rows_of(p, side), p->partition, b);
            return status;
        }
        k->n++;
        row_block_free(b);
    }
}

void pair_forget_kept(join_pair *p) {
    for (unsigned side = 0; side < 2; side++) {
        kept_rows *k = &p->kept[side];
        for (uint32_t i = 0; i < k->n; i++) spill_forget(p->run->spill, k->places[i]);
        free(k->places);
        *k = (kept_rows){0};
    }
}

tw_status pair_input_next(join_pair *p, unsigned side, row_block **out, tw_error *err) {
    if (p->role.listed[side]) return read_kept(p, side, out, err);
    return has_partition(p, side) ? exchange_take(rows_of(p, side), p->partition, out, err) : TW_END;
}

/* ---- splitting ---- */

void pair_level_free(pair_level *l) {
    exchange_free(l->rows[LEFT]);
    exchange_free(l->rows[RIGHT]);
    *l = (pair_level){0};
}

/* Each level hashes the hash anew. */
static void route(const join_pair *p, const uint8_t *const *rows, uint32_t n, uint32_t fan_out, uint32_t *to) {
    uint64_t seed = hash_int(p->depth);
    for (uint32_t i = 0; i < n; i++)
        to[i] = (uint32_t)((__uint128_t)hash_finish(hash_add(seed, row_header(rows[i]))) * fan_out >> 64);
}

static tw_status move_block(join_pair *p, unsigned side, const row_block *b, tw_error *err) {
    enum { some_rows = 1024 };
    const uint8_t *rows[some_rows];
    uint32_t to[some_rows], stride = p->join->sides[side].layout->stride;
    for (uint32_t done = 0; done < b->n;) {
        uint32_t n = b->n - done < some_rows ? b->n - done : some_rows;
        for (uint32_t i = 0; i < n; i++) rows[i] = b->rows->data + (size_t)(done + i) * stride;
        route(p, rows, n, p->into.n, to);
        TRY(exchange_append_rows(p->into.rows[side], rows, n, to, err));
        done += n;
    }
    return TW_OK;
}

/* So many that one of them should fit, if there is memory for their blocks. */
static uint32_t choose_fan_out(const join_pair *p) {
    size_t left = pair_bytes_of(p, LEFT), right = pair_bytes_of(p, RIGHT), least = left < right ? left : right;
    size_t state = memory_limit(p->run->memory) / 4 * 3;
    uint32_t n = fan_out_min;
    while (n < fan_out_max && (size_t)n * p->bytes_now < 4 * least && (size_t)n * block_bytes_min * 32 <= state) n *= 2;
    return n;
}

/* Open blocks of both sides, of a few levels, of all workers. */
static size_t block_bytes(const join_pair *p) {
    size_t bytes = memory_limit(p->run->memory) / 128 / p->into.n;
    return bytes < block_bytes_min ? block_bytes_min : bytes > block_bytes_max ? block_bytes_max : bytes;
}

tw_status pair_split(join_pair *p, tw_error *err) {
    pair_level *into = &p->into;
    if (!into->n) {
        into->n = choose_fan_out(p);
        for (unsigned side = 0; side < 2; side++) into->parent_rows[side] = pair_rows_of(p, side);
    }
    for (unsigned side = 0; side < 2; side++) {
        if (into->rows[side]) continue;
        TRY(exchange_create(p->run->memory, p->run->spill, p->join->sides[side].layout, into->n, block_bytes(p),
                            &into->rows[side], err));
    }
    for (unsigned side = 0; side < 2; side++) {
        for (;;) {
            row_block *b;
            if (run_cancelled(p->run)) return error_set(err, TW_ERR_CANCELLED, "interrupted");
            tw_status status = pair_input_next(p, side, &b, err);
            if (status == TW_END) break;
            TRY(status);
            status = move_block(p, side, b, &p->failure);
            row_block_free(b);
            if (status == TW_OK) continue;
            if (err) *err = p->failure;
            return status;
        }
    }
    exchange_seal(into->rows[LEFT]);
    exchange_seal(into->rows[RIGHT]);
    return TW_OK;
}
