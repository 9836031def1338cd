#include "data/nested.h"

#include <stdlib.h>

#include "data/hash.h"

/* ---- values to bytes, or to a hash ---- */

typedef struct out {
    uint8_t *to;         /* NULL: into the hash */
    XXH3_state_t *state;
    bool normalise;
} out;

static void put(out *o, const void *data, size_t size) {
    if (!size) return;
    if (o->to) {
        memcpy(o->to, data, size);
        o->to += size;
    } else {
        XXH3_64bits_update(o->state, data, size);
    }
}

static void put_u32(out *o, uint32_t value) { put(o, &value, 4); }

static void put_float32s(out *o, const uint8_t *from, size_t n) {
    uint32_t some[64];
    for (size_t done = 0; done < n;) {
        size_t count = n - done < 64 ? n - done : 64;
        memcpy(some, from + 4 * done, 4 * count);
        for (size_t i = 0; i < count; i++) some[i] = float32_normal_bits(some[i]);
        put(o, some, 4 * count);
        done += count;
    }
}

static void put_float64s(out *o, const uint8_t *from, size_t n) {
    uint64_t some[64];
    for (size_t done = 0; done < n;) {
        size_t count = n - done < 64 ? n - done : 64;
        memcpy(some, from + 8 * done, 8 * count);
        for (size_t i = 0; i < count; i++) some[i] = float64_normal_bits(some[i]);
        put(o, some, 8 * count);
        done += count;
    }
}

static void put_zeros(out *o, size_t n) {
    static const uint8_t zeros[64];
    for (; n > sizeof zeros; n -= sizeof zeros) put(o, zeros, sizeof zeros);
    put(o, zeros, n);
}

static void put_some_fixed(out *o, const column *c, size_t begin, size_t n) {
    size_t bytes = type_bytes(c->type);
    const uint8_t *from = (const uint8_t *)c->values + begin * bytes;
    type_kind kind = c->type->kind;
    if (o->normalise && (kind == TYPE_FLOAT32 || kind == TYPE_VECTOR)) {
        put_float32s(o, from, n * (bytes / 4));
    } else if (o->normalise && kind == TYPE_FLOAT64) {
        put_float64s(o, from, n);
    } else {
        put(o, from, n * bytes);
    }
}

static void put_fixed(out *o, const column *c, uint32_t begin, uint32_t n) {
    if (!c->valid) {
        put_some_fixed(o, c, begin, n);
        return;
    }
    size_t bytes = type_bytes(c->type);
    for (uint32_t i = begin; i < begin + n; i++) {
        if (column_is_valid(c, i)) put_some_fixed(o, c, i, 1);
        else put_zeros(o, bytes);
    }
}

static void put_valid_bits(out *o, const column *c, uint32_t begin, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 8) {
        uint8_t bits = 0;
        for (uint32_t j = i; j < n && j < i + 8; j++) {
            bits |= (uint8_t)(column_is_valid(c, begin + j) << (j & 7));
        }
        put(o, &bits, 1);
    }
}

static void put_value(out *o, const column *c, uint32_t row) {
    const uint32_t *offsets = c->values;
    uint32_t begin = offsets[row], n = offsets[row + 1] - begin;
    const column *items = &c->children[0];
    put_u32(o, n);
    if (!n) return;
    if (c->type->kind == TYPE_SPARSE) {
        put_some_fixed(o, items, begin, n);
        put_some_fixed(o, &c->children[1], begin, n);
        return;
    }
    put_valid_bits(o, items, begin, n);
    if (type_is_nested(items->type)) {
        for (uint32_t i = begin; i < begin + n; i++) {
            if (column_is_valid(items, i)) put_value(o, items, i);
            else put_u32(o, 0);
        }
    } else if (type_is_view(items->type)) {
        const view *views = items->values;
        for (uint32_t i = begin; i < begin + n; i++) {
            uint32_t size = column_is_valid(items, i) ? views[i].size : 0;
            put_u32(o, size);
            if (size) put(o, view_data(&views[i]), size);
        }
    } else {
        put_fixed(o, items, begin, n);
    }
}

uint8_t *nested_encode(const column *c, uint32_t row, bool is_key, uint8_t *to) {
    out o = {.to = to, .normalise = is_key};
    put_value(&o, c, row);
    return o.to;
}

size_t nested_bytes(const column *c, uint32_t row) {
    const uint32_t *offsets = c->values;
    uint32_t begin = offsets[row], n = offsets[row + 1] - begin;
    if (!n) return 4;
    if (c->type->kind == TYPE_SPARSE) return 4 + 8 * (size_t)n;
    const column *items = &c->children[0];
    size_t bytes = 4 + ((size_t)n + 7) / 8;
    if (type_is_nested(items->type)) {
        for (uint32_t i = begin; i < begin + n; i++) {
            bytes += column_is_valid(items, i) ? nested_bytes(items, i) : 4;
        }
    } else if (type_is_view(items->type)) {
        const view *views = items->values;
        for (uint32_t i = begin; i < begin + n; i++) {
            bytes += 4 + (column_is_valid(items, i) ? (size_t)views[i].size : 0);
        }
    } else {
        bytes += n * type_bytes(items->type);
    }
    return bytes;
}

/* As a view of the bytes would hash: up to 12 of them stand in the view. */
uint64_t nested_hash(const column *c, uint32_t row) {
    size_t bytes = nested_bytes(c, row);
    uint8_t some[512];
    if (bytes <= sizeof some) {
        nested_encode(c, row, true, some);
        view v = view_make(some, (uint32_t)bytes);
        return hash_view(&v);
    }
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    out o = {.state = &state, .normalise = true};
    put_value(&o, c, row);
    return XXH3_64bits_digest(&state);
}

/* ---- bytes to values ---- */

typedef struct in {
    const uint8_t *at, *end;
} in;

static inline uint32_t take_u32(in *i) {
    uint32_t value;
    memcpy(&value, i->at, 4);
    i->at += 4;
    return value;
}

static bool skip(in *i, size_t bytes) {
    if ((size_t)(i->end - i->at) < bytes) return false;
    i->at += bytes;
    return true;
}

static bool check_value(in *i, const type *t) {
    if (i->end - i->at < 4) return false;
    uint32_t n = take_u32(i);
    if (!n) return true;
    if (t->kind == TYPE_SPARSE) return skip(i, 8 * (size_t)n);
    if (!skip(i, ((size_t)n + 7) / 8)) return false;
    if (type_is_nested(t->item)) {
        for (uint32_t k = 0; k < n; k++) {
            if (!check_value(i, t->item)) return false;
        }
        return true;
    }
    if (type_is_view(t->item)) {
        for (uint32_t k = 0; k < n; k++) {
            if (i->end - i->at < 4 || !skip(i, take_u32(i))) return false;
        }
        return true;
    }
    return skip(i, n * type_bytes(t->item));
}

bool nested_is_valid(const type *t, const uint8_t *data, size_t size) {
    in i = {data, data + size};
    return check_value(&i, t) && i.at == i.end;
}

/* A list type is a chain: list, its item, the item's item ... and for sparse two leaves beside each
 * other. levels[d] is the column at depth d, filled from the front. */
enum { levels_max = 12 };
typedef struct levels {
    const type *types[levels_max];
    uint64_t rows[levels_max];
    column *columns[levels_max];
    uint32_t filled[levels_max];
} levels;

static void count_value(in *i, levels *l, unsigned depth) {
    const type *t = l->types[depth];
    uint32_t n = take_u32(i);
    l->rows[depth + 1] += n;
    if (!n) return;
    if (t->kind == TYPE_SPARSE) {
        i->at += 8 * (size_t)n;
        return;
    }
    i->at += ((size_t)n + 7) / 8;
    if (type_is_nested(t->item)) {
        for (uint32_t k = 0; k < n; k++) count_value(i, l, depth + 1);
    } else if (type_is_view(t->item)) {
        for (uint32_t k = 0; k < n; k++) i->at += take_u32(i);
    } else {
        i->at += n * type_bytes(t->item);
    }
}

static tw_status fill_nulls(memory *m, column *items, const uint8_t *bits, uint32_t first, uint32_t n,
                            tw_error *err) {
    for (uint32_t k = 0; k < n; k++) {
        if (bits[k >> 3] >> (k & 7) & 1) continue;
        if (!items->valid) TRY(column_need_valid(m, items, err));
        column_set_null(items, first + k);
    }
    return TW_OK;
}

static tw_status fill_value(memory *m, in *i, levels *l, unsigned depth, buffer *heap_owner,
                            tw_error *err);

/* n items at `first` of the column a level further down. */
static tw_status fill_items(memory *m, in *i, levels *l, unsigned depth, uint32_t n, buffer *heap_owner,
                            tw_error *err) {
    column *items = l->columns[depth];
    uint32_t first = l->filled[depth];
    TRY(fill_nulls(m, items, i->at, first, n, err));
    i->at += ((size_t)n + 7) / 8;
    if (type_is_nested(items->type)) {
        for (uint32_t k = 0; k < n; k++) TRY(fill_value(m, i, l, depth, heap_owner, err));
        return TW_OK; /* which moved `filled` on */
    }
    if (type_is_view(items->type)) {
        view *views = items->values;
        for (uint32_t k = 0; k < n; k++) {
            uint32_t size = take_u32(i);
            views[first + k] = view_make(i->at, size);
            if (size > VIEW_SMALL_MAX && !items->heap) items->heap = buffer_ref(heap_owner);
            i->at += size;
        }
    } else {
        size_t bytes = type_bytes(items->type);
        memcpy((uint8_t *)items->values + first * bytes, i->at, n * bytes);
        i->at += n * bytes;
    }
    l->filled[depth] += n;
    return TW_OK;
}

static tw_status fill_value(memory *m, in *i, levels *l, unsigned depth, buffer *heap_owner,
                            tw_error *err) {
    column *c = l->columns[depth];
    uint32_t *offsets = c->values;
    uint32_t row = l->filled[depth]++, n = take_u32(i);
    offsets[row + 1] = l->filled[depth + 1] + n;
    if (!n) return TW_OK;
    if (c->type->kind == TYPE_SPARSE) {
        uint32_t first = l->filled[depth + 1];
        memcpy((int32_t *)c->children[0].values + first, i->at, 4 * (size_t)n);
        memcpy((float *)c->children[1].values + first, i->at + 4 * (size_t)n, 4 * (size_t)n);
        i->at += 8 * (size_t)n;
        l->filled[depth + 1] += n;
        return TW_OK;
    }
    return fill_items(m, i, l, depth + 1, n, heap_owner, err);
}

/* Columns of every level, empty but of the right length. */
static tw_status make_levels(memory *m, levels *l, unsigned depth, column *top, tw_error *err) {
    column *c = top;
    for (unsigned d = 0;; d++) {
        l->columns[d] = c;
        if (d == depth) return TW_OK;
        for (uint32_t k = 0; k < c->n_children; k++) {
            const type *t = c->children[k].type;
            column_clear(&c->children[k]);
            TRY(column_new(m, t, (uint32_t)l->rows[d + 1], &c->children[k], err));
        }
        c = &c->children[0];
    }
}

tw_status nested_decode(memory *m, const type *t, const view *values, uint32_t n, buffer *heap_owner,
                        column *result, tw_error *err) {
    levels l = {.types = {t}, .rows = {n}};
    unsigned depth = 0;
    for (const type *item = t; type_is_nested(item) && depth + 1 < levels_max;) {
        item = item->kind == TYPE_SPARSE ? type_of(TYPE_INT32) : item->item;
        l.types[++depth] = item;
    }
    for (uint32_t row = 0; row < n; row++) {
        if (!values[row].size) continue;
        in i = {view_data(&values[row]), NULL};
        count_value(&i, &l, 0);
    }
    for (unsigned d = 0; d <= depth; d++) {
        if (l.rows[d] >= UINT32_MAX) {
            return error_set(err, TW_ERR_MEMORY, "a batch holds more than 4 G list items");
        }
    }
    TRY(column_new(m, t, n, result, err));
    tw_status status = make_levels(m, &l, depth, result, err);
    uint32_t *offsets = result->values;
    offsets[0] = 0;
    for (uint32_t row = 0; row < n && status == TW_OK; row++) {
        if (!values[row].size) {
            offsets[row + 1] = l.filled[1];
            l.filled[0]++;
            continue;
        }
        in i = {view_data(&values[row]), NULL};
        status = fill_value(m, &i, &l, 0, heap_owner, err);
    }
    if (status != TW_OK) column_clear(result);
    return status;
}
