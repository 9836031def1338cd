#include "engine/frontier.h"

#include <stdlib.h>

typedef struct frontier_split {
    mark after;
    bool ended;
} frontier_split;

void frontier_init(frontier *f) { *f = (frontier){.now = {.watermark = WATERMARK_NONE}}; }
void frontier_free(frontier *f) { free(f->splits); }

static frontier_split *at(frontier *f, uint64_t split) { return &f->splits[split & (f->capacity - 1)]; }

static tw_status grow(frontier *f, tw_error *err) {
    frontier bigger = *f;
    bigger.capacity = f->capacity ? 2 * f->capacity : 16;
    bigger.splits = malloc(bigger.capacity * sizeof *bigger.splits);
    if (!bigger.splits) return error_set(err, TW_ERR_MEMORY, "out of memory for a run");
    for (uint32_t i = 0; i < f->n; i++) *at(&bigger, f->first + i) = *at(f, f->first + i);
    free(f->splits);
    *f = bigger;
    return TW_OK;
}

tw_status frontier_open(frontier *f, uint64_t split, mark after, tw_error *err) {
    if (f->n == f->capacity) TRY(grow(f, err));
    if (!f->n) {
        f->first = split;
        f->now.epoch = after.epoch;
    }
    f->next_epoch = after.epoch;
    *at(f, split) = (frontier_split){.after = after};
    f->n++;
    return TW_OK;
}

void frontier_cut(frontier *f, uint32_t epoch) {
    f->next_epoch = epoch;
    if (!f->n) f->now.epoch = epoch;
}

void frontier_end(frontier *f, uint64_t split) {
    at(f, split)->ended = true;
    for (; f->n && at(f, f->first)->ended; f->first++, f->n--) {
        int64_t watermark = at(f, f->first)->after.watermark;
        if (watermark > f->now.watermark) f->now.watermark = watermark;
        f->now.epoch = f->n > 1 ? at(f, f->first + 1)->after.epoch : f->next_epoch;
    }
}
