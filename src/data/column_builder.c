#include <stdlib.h>

#include "data/batch.h"

enum { CAPACITY_MIN = 64, FIRST_BYTES = 65536, CHUNK_MIN = 4096, CHUNK_MAX = 1 << 20 };

struct column_builder {
    memory *memory;
    const type *type;
    size_t bytes; /* of one value */
    bool nested;
    uint32_t rows, capacity, first_capacity;
    buffer *values, *valid; /* valid: NULL as long as nothing is null */
    /* What long views point into: buffers that never move. Own chunks are filled one after the other,
     * the open one last appended to; given heaps stand among them. */
    buffer **heaps;
    size_t n_heaps, heaps_capacity;
    buffer *open;
    size_t open_used, next_chunk, heap_bytes;
    column_builder *children[2];
    unsigned n_children;
};

static tw_status no_system_memory(tw_error *err) {
    return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
}

static tw_status wrong_type(const column_builder *b, const char *what, tw_error *err) {
    char name[64];
    return error_set(err, TW_ERR_INTERNAL, "%s appended to a column of type %s", what,
                     type_name(b->type, name, sizeof name));
}

/* The next column will be about as long as the last one; the first few rows of wide values are few. */
static void expect_rows(column_builder *b, uint32_t rows) {
    size_t few = FIRST_BYTES / b->bytes;
    uint32_t least = few < 1 ? 1 : few < CAPACITY_MIN ? (uint32_t)few : CAPACITY_MIN;
    b->first_capacity = rows < least ? least : rows < BATCH_ROWS_MAX ? rows : BATCH_ROWS_MAX;
}

static void expect_heap(column_builder *b) {
    size_t bytes = b->heap_bytes + b->heap_bytes / 8;
    b->next_chunk = bytes < CHUNK_MIN ? CHUNK_MIN : bytes < CHUNK_MAX ? bytes : CHUNK_MAX;
}

static void release_buffers(column_builder *b) {
    buffer_unref(b->values);
    buffer_unref(b->valid);
    for (size_t i = 0; i < b->n_heaps; i++) buffer_unref(b->heaps[i]);
    b->values = b->valid = b->open = NULL;
    b->n_heaps = 0;
    b->rows = b->capacity = 0;
    b->open_used = b->heap_bytes = 0;
}

tw_status column_builder_new(memory *m, const type *t, column_builder **out, tw_error *err) {
    column_builder *b = calloc(1, sizeof *b);
    *out = NULL;
    if (!b) return no_system_memory(err);
    b->memory = m;
    b->type = t;
    b->bytes = type_bytes(t);
    b->nested = type_is_nested(t);
    expect_rows(b, 0);
    expect_heap(b);
    b->n_children = !b->nested ? 0 : t->kind == TYPE_LIST ? 1 : 2;
    for (unsigned i = 0; i < b->n_children; i++) {
        const type *item = t->kind == TYPE_LIST ? t->item : type_of(i ? TYPE_FLOAT32 : TYPE_INT32);
        tw_status status = column_builder_new(m, item, &b->children[i], err);
        if (status != TW_OK) {
            column_builder_free(b);
            return status;
        }
    }
    *out = b;
    return TW_OK;
}

void column_builder_free(column_builder *b) {
    if (!b) return;
    for (unsigned i = 0; i < b->n_children; i++) column_builder_free(b->children[i]);
    release_buffers(b);
    free(b->heaps);
    free(b);
}

/* ---- room for the next row ---- */

static tw_status grow_buffer(memory *m, buffer **b, size_t used, size_t bytes, tw_error *err) {
    buffer *larger;
    TRY(buffer_new(m, MEMORY_FLOW, bytes, &larger, err));
    if (*b) memcpy(larger->data, (*b)->data, used);
    buffer_unref(*b);
    *b = larger;
    return TW_OK;
}

static tw_status grow_valid(column_builder *b, uint32_t capacity, tw_error *err) {
    size_t used = b->valid ? b->valid->size : 0, bytes = ((size_t)capacity + 63) / 64 * 8;
    if (bytes <= used) return TW_OK;
    TRY(grow_buffer(b->memory, &b->valid, used, bytes, err));
    memset(b->valid->data + used, 0xff, bytes - used);
    return TW_OK;
}

static tw_status grow(column_builder *b, tw_error *err) {
    if (b->rows == UINT32_MAX - 1)
        return error_set(err, TW_ERR_MEMORY, "a column has more than 4,294,967,294 values");
    uint32_t capacity = b->capacity == 0               ? b->first_capacity
                        : b->capacity > UINT32_MAX / 2 ? UINT32_MAX - 1
                                                       : b->capacity * 2;
    if (b->valid) TRY(grow_valid(b, capacity, err));
    bool first = !b->values;
    TRY(grow_buffer(b->memory, &b->values, ((size_t)b->rows + b->nested) * b->bytes,
                    ((size_t)capacity + b->nested) * b->bytes, err));
    if (b->nested && first) memset(b->values->data, 0, b->bytes);
    b->capacity = capacity;
    return TW_OK;
}

static inline tw_status need_row(column_builder *b, tw_error *err) {
    return b->rows < b->capacity ? TW_OK : grow(b, err);
}

static void *row_at(const column_builder *b, uint32_t row) { return b->values->data + row * b->bytes; }

static void set_valid(column_builder *b, uint32_t row, bool valid) {
    uint64_t *word = (uint64_t *)(void *)b->valid->data + row / 64, bit = 1ull << row % 64;
    *word = valid ? *word | bit : *word & ~bit;
}

static void end_row(column_builder *b) {
    if (b->valid) set_valid(b, b->rows, true);
    b->rows++;
}

/* ---- heaps ---- */

static tw_status keep_heap(column_builder *b, buffer *heap, tw_error *err) {
    if (b->n_heaps == b->heaps_capacity) {
        size_t capacity = b->heaps_capacity ? b->heaps_capacity * 2 : 4;
        buffer **larger = realloc(b->heaps, capacity * sizeof *larger);
        if (!larger) return no_system_memory(err);
        b->heaps = larger;
        b->heaps_capacity = capacity;
    }
    b->heaps[b->n_heaps++] = heap;
    return TW_OK;
}

/* `size` bytes that do not move. A long one gets a chunk of its own, and the open one stays open. */
static tw_status heap_take(column_builder *b, uint32_t size, uint8_t **out, tw_error *err) {
    b->heap_bytes += size;
    if (b->open && size <= b->open->size - b->open_used) {
        *out = b->open->data + b->open_used;
        b->open_used += size;
        return TW_OK;
    }
    bool alone = size > b->next_chunk / 4;
    buffer *chunk;
    TRY(buffer_new(b->memory, MEMORY_FLOW, alone ? size : b->next_chunk, &chunk, err));
    tw_status status = keep_heap(b, chunk, err);
    if (status != TW_OK) {
        buffer_unref(chunk);
        return status;
    }
    *out = chunk->data;
    if (b->next_chunk < CHUNK_MAX) b->next_chunk *= 2;
    if (alone) return TW_OK;
    if (b->open) b->open->size = b->open_used;
    b->open = chunk;
    b->open_used = size;
    return TW_OK;
}

/* ---- values ---- */

tw_status column_builder_null(column_builder *b, tw_error *err) {
    TRY(need_row(b, err));
    if (!b->valid) TRY(grow_valid(b, b->capacity, err));
    if (b->nested) {
        column_builder_rewind(b, b->rows);
        memcpy(row_at(b, b->rows + 1), row_at(b, b->rows), b->bytes);
    } else {
        memset(row_at(b, b->rows), 0, b->bytes);
    }
    set_valid(b, b->rows++, false);
    return TW_OK;
}

tw_status column_builder_int(column_builder *b, int64_t value, tw_error *err) {
    TRY(need_row(b, err));
    void *at = row_at(b, b->rows);
    switch (b->type->kind) {
    case TYPE_BOOL: *(uint8_t *)at = value != 0; break;
    case TYPE_INT32:
    case TYPE_DATE:
        if (value < INT32_MIN || value > INT32_MAX)
            return error_set(err, TW_ERR_DATA, "%lld does not fit %s", (long long)value,
                             b->type->kind == TYPE_DATE ? "a date" : "an int32");
        *(int32_t *)at = (int32_t)value;
        break;
    case TYPE_INT64:
    case TYPE_TIMESTAMP: *(int64_t *)at = value; break;
    case TYPE_FLOAT32: *(float *)at = (float)value; break;
    case TYPE_FLOAT64: *(double *)at = (double)value; break;
    default: return wrong_type(b, "an integer", err);
    }
    end_row(b);
    return TW_OK;
}

tw_status column_builder_float(column_builder *b, double value, tw_error *err) {
    TRY(need_row(b, err));
    void *at = row_at(b, b->rows);
    switch (b->type->kind) {
    case TYPE_FLOAT32: *(float *)at = (float)value; break;
    case TYPE_FLOAT64: *(double *)at = value; break;
    default: return wrong_type(b, "a float", err);
    }
    end_row(b);
    return TW_OK;
}

static void append_view(column_builder *b, view value) {
    memcpy(row_at(b, b->rows), &value, sizeof value);
    end_row(b);
}

tw_status column_builder_bytes(column_builder *b, const void *data, uint32_t size, tw_error *err) {
    if (!type_is_view(b->type)) return wrong_type(b, "bytes", err);
    TRY(need_row(b, err));
    if (size > VIEW_SMALL_MAX) {
        uint8_t *copy;
        TRY(heap_take(b, size, &copy, err));
        data = memcpy(copy, data, size);
    }
    append_view(b, view_make(data, size));
    return TW_OK;
}

tw_status column_builder_view(column_builder *b, view value, buffer *heap, tw_error *err) {
    if (!type_is_view(b->type)) return wrong_type(b, "a view", err);
    TRY(need_row(b, err));
    if (value.size > VIEW_SMALL_MAX && heap && !(b->n_heaps && b->heaps[b->n_heaps - 1] == heap)) {
        TRY(keep_heap(b, heap, err));
        buffer_ref(heap);
    }
    append_view(b, value);
    return TW_OK;
}

tw_status column_builder_vector(column_builder *b, const float *values, tw_error *err) {
    if (b->type->kind != TYPE_VECTOR) return wrong_type(b, "a vector", err);
    TRY(need_row(b, err));
    memcpy(row_at(b, b->rows), values, b->bytes);
    end_row(b);
    return TW_OK;
}

column_builder *column_builder_child(column_builder *b, unsigned index) {
    return index < b->n_children ? b->children[index] : NULL;
}

tw_status column_builder_end_list(column_builder *b, tw_error *err) {
    if (!b->nested) return wrong_type(b, "a list", err);
    uint32_t items = b->children[0]->rows;
    if (b->n_children == 2 && b->children[1]->rows != items)
        return error_set(err, TW_ERR_INTERNAL, "a sparse value with %u indices and %u values", items,
                         b->children[1]->rows);
    TRY(need_row(b, err));
    memcpy(row_at(b, b->rows + 1), &items, sizeof items);
    end_row(b);
    return TW_OK;
}

uint32_t column_builder_rows(const column_builder *b) { return b->rows; }

void column_builder_rewind(column_builder *b, uint32_t rows) {
    if (rows < b->rows) b->rows = rows;
    uint32_t items = 0;
    if (b->nested && b->values) memcpy(&items, row_at(b, b->rows), sizeof items);
    for (unsigned i = 0; i < b->n_children; i++) column_builder_rewind(b->children[i], items);
}

/* ---- handing over ---- */

/* Whether any of the rows is null: a rewind may have dropped the nulls. Sets the bits behind them. */
static bool tidy_valid(column_builder *b) {
    if (!b->valid) return false;
    uint64_t *words = (uint64_t *)(void *)b->valid->data, all = ~0ull;
    size_t n = ((size_t)b->rows + 63) / 64;
    if (b->rows % 64) words[n - 1] |= ~0ull << b->rows % 64;
    for (size_t i = 0; i < n; i++) all &= words[i];
    b->valid->size = n * 8;
    return all != ~0ull;
}

static tw_status finish(column_builder *b, column *out, tw_error *err) {
    if (!b->values) TRY(grow(b, err)); /* no rows still have values, and a first offset */
    TRY(column_new_children(b->type, out, err));
    for (unsigned i = 0; i < b->n_children; i++) {
        column_clear(&out->children[i]);
        TRY(column_builder_finish(b->children[i], &out->children[i], err));
    }
    if (b->open) b->open->size = b->open_used;
    b->open = NULL;
    TRY(buffer_join(b->heaps, b->n_heaps, &out->heap, err));
    out->rows = b->rows;
    if (tidy_valid(b)) {
        out->valid_buffer = buffer_ref(b->valid);
        out->valid = (uint64_t *)(void *)b->valid->data;
    }
    b->values->size = ((size_t)b->rows + b->nested) * b->bytes;
    out->values_buffer = buffer_ref(b->values);
    out->values = b->values->data;
    return TW_OK;
}

tw_status column_builder_finish(column_builder *b, column *out, tw_error *err) {
    memset(out, 0, sizeof *out);
    column_builder_rewind(b, b->rows);
    tw_status status = finish(b, out, err);
    expect_rows(b, b->rows);
    expect_heap(b);
    if (status != TW_OK) {
        column_clear(out);
        column_builder_rewind(b, 0); /* children too */
    }
    release_buffers(b);
    return status;
}
