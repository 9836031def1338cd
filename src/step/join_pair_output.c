/* Batches of joined rows. */
#include <stdlib.h>

#include "step/join_pair.h"

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a join"); }

tw_status pair_rows_init(pair_rows *o, const join *j, tw_error *err) {
    for (unsigned side = 0; side < 2; side++) {
        o->rows[side] = malloc(j->batch_rows * sizeof *o->rows[side]);
        if (!o->rows[side]) return no_memory(err);
    }
    o->keys = malloc(j->batch_rows * sizeof *o->keys);
    return o->keys ? TW_OK : no_memory(err);
}

void pair_rows_clear(pair_rows *o) {
    free(o->rows[LEFT]);
    free(o->rows[RIGHT]);
    free(o->keys);
}

/* Where the keys of the batch are: on the left, but for rows without one. */
typedef struct key_source {
    const uint8_t *const *rows;
    const row_layout *layout; /* keys stand at the same place in both */
    buffer *heap;             /* owned */
} key_source;

static tw_status find_keys(pair_rows *o, const join *j, key_source *out, tw_error *err) {
    unsigned side = o->n_absent[LEFT] == o->n ? RIGHT : LEFT;
    *out = (key_source){o->rows[side], j->sides[side].layout, buffer_ref(o->heap[side])};
    if (o->n_absent[LEFT] == 0 || side == RIGHT) return TW_OK;
    for (uint32_t i = 0; i < o->n; i++) {
        bool absent = o->rows[LEFT][i] == j->sides[LEFT].null_row;
        o->keys[i] = o->rows[absent ? RIGHT : LEFT][i];
    }
    out->rows = o->keys;
    buffer_unref(out->heap);
    out->heap = NULL;
    return buffer_join(o->heap, 2, &out->heap, err);
}

static tw_status make_column(pair_rows *o, const join *j, const join_column *c, const type *t, const key_source *keys,
                             column *out, tw_error *err) {
    memory *m = j->run->memory;
    if (!c->needed) {
        *out = (column){.type = t, .rows = o->n};
        return TW_OK;
    }
    if (c->is_key) return rows_decode(m, keys->layout, keys->rows, o->n, c->field, 1, keys->heap, out, err);
    return rows_decode(m, j->sides[c->side].layout, o->rows[c->side], o->n, c->field, 1, o->heap[c->side], out,
                       err);
}

tw_status pair_rows_batch(pair_rows *o, const join *j, batch **out, tw_error *err) {
    batch *b;
    TRY(batch_new(j->out, o->n, &b, err));
    key_source keys;
    tw_status status = find_keys(o, j, &keys, err);
    for (uint32_t i = 0; i < j->out->n && status == TW_OK; i++)
        status = make_column(o, j, &j->columns[i], j->out->fields[i].type, &keys, &b->columns[i], err);
    buffer_unref(keys.heap);
    if (status != TW_OK) {
        batch_unref(b);
        return status;
    }
    *out = b;
    o->n = o->n_absent[LEFT] = o->n_absent[RIGHT] = 0;
    return TW_OK;
}
