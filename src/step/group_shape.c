#include <stdlib.h>

#include "step/group_table.h"

void group_shape_free(group_shape *s) {
    if (!s) return;
    row_layout_free(s->layout);
    row_layout_free(s->key_layout);
    free(s->aggregates);
    free(s);
}

static tw_status make_layouts(group_shape *s, const type *const *keys, tw_error *err) {
    const type **types = malloc((s->n_keys + s->n_aggregates + 1) * sizeof *types);
    if (!types) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    uint32_t n = 0, extra = 0, view_at = s->n_keys;
    for (; n < s->n_keys; n++) types[n] = keys[n];
    for (uint32_t i = 0; i < s->n_aggregates; i++) {
        if (s->aggregates[i].has_view) types[n++] = type_of(TYPE_BINARY);
        extra += s->aggregates[i].bytes;
    }
    tw_status status = row_layout_new(types, n, s->n_keys, extra, &s->layout, err);
    if (status == TW_OK) status = row_layout_new(types, s->n_keys, s->n_keys, 0, &s->key_layout, err);
    free(types);
    TRY(status);
    extra = s->layout->extra_offset;
    for (uint32_t i = 0; i < s->n_aggregates; i++) {
        aggregate *a = &s->aggregates[i];
        a->offset = extra;
        if (a->kind == AGGREGATE_COUNT_ROWS && !s->count_offset) s->count_offset = a->offset;
        extra += a->bytes;
        if (a->has_view) a->view_offset = s->layout->fields[view_at++].offset;
    }
    for (uint32_t i = 0; i < s->n_keys; i++) {
        row_form form = s->layout->fields[i].form;
        s->keys_need_heap |= form == ROW_NESTED || form == ROW_WIDE;
        if (s->layout->fields[i].offset != s->key_layout->fields[i].offset || s->layout->key_end != s->key_layout->key_end)
            return error_set(err, TW_ERR_INTERNAL, "keys have no place of their own in the layout");
    }
    return TW_OK;
}

tw_status group_shape_new(const type *const *keys, uint32_t n_keys, aggregate *aggregates, uint32_t n_aggregates,
                          group_shape **out, tw_error *err) {
    group_shape *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    s->n_keys = n_keys;
    s->aggregates = aggregates;
    s->n_aggregates = n_aggregates;
    tw_status status = make_layouts(s, keys, err);
    if (status != TW_OK) {
        s->aggregates = NULL;
        group_shape_free(s);
        return status;
    }
    *out = s;
    return TW_OK;
}
