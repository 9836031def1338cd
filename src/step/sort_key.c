#include "step/sort_key.h"

#include "data/nested.h"

enum {
    number_bits = 128,
    count_bits = 4,
    count_more = 15,
    string_bytes_max = 14,
    string_bytes_min = 6, /* so many at least before the keys that follow get a share */
    class_bits = 2,
    class_before = 0,     /* the common bytes */
    class_common = 1,
    class_behind = 2,
    rows_ahead = 24,      /* fetched: a sorted range was written long ago */
};

bool sort_key_allowed(const type *t) { return t->kind != TYPE_VECTOR && !type_is_nested(t); }

/* ---- making codes ---- */

static uint32_t fixed_bits(const type *t) {
    return t->kind == TYPE_BOOL ? 1 : 8 * (uint32_t)type_bytes(t);
}

/* How many bytes of the string key `first`: what the keys behind it leave, if that is enough, so that
 * short strings and what follows them make a whole number; several strings share alike. */
static uint32_t string_share(const sort_key *keys, uint32_t n_keys, uint32_t first, uint32_t bits_left) {
    uint32_t n_strings = 0, others = 0;
    for (uint32_t k = first; k < n_keys && others < number_bits; k++) {
        if (type_is_view(keys[k].type)) n_strings++, others += 1 + count_bits;
        else others += 1 + fixed_bits(keys[k].type);
    }
    uint32_t most = (bits_left - 1 - count_bits) / 8;
    uint32_t share = others < bits_left ? (bits_left - others) / 8 / n_strings : 0;
    if (share < string_bytes_min) share = string_bytes_min;
    if (first + 1 == n_keys || share > most) share = most;
    return share < string_bytes_max ? share : string_bytes_max;
}

static void make(const sort_key *keys, uint32_t n_keys, uint32_t first_key, uint32_t offset,
                 uint32_t common, sort_code *out) {
    uint32_t left = number_bits, k = first_key;
    out->keys = keys;
    out->n_keys = n_keys;
    out->n = 0;
    for (; k < n_keys && out->n < SORT_PIECES_MAX; k++) {
        sort_piece p = {.key = k, .has_null_bit = true};
        if (type_is_view(keys[k].type)) {
            if (k == first_key) {
                p.has_null_bit = !offset;
                p.offset = offset;
                p.common = common;
            }
            uint32_t extra = p.common ? class_bits : 0;
            if (left < 1 + extra + count_bits + 8) break;
            p.bytes = string_share(keys, n_keys, k, left - extra);
            p.bits = 1 + extra + count_bits + 8 * p.bytes;
        } else {
            p.bits = 1 + fixed_bits(keys[k].type);
            if (left < p.bits) break;
        }
        left -= p.bits;
        p.shift = left;
        out->pieces[out->n++] = p;
    }
    out->next_key = k;
}

void sort_code_make(const sort_key *keys, uint32_t n_keys, uint32_t first_key, uint32_t offset,
                    sort_code *out) {
    make(keys, n_keys, first_key, offset, 0, out);
}

void sort_code_make_common(const sort_key *keys, uint32_t n_keys, const uint8_t *common, uint32_t size,
                           sort_code *out) {
    memcpy(out->common, common, size);
    make(keys, n_keys, 0, 0, size, out);
}

bool sort_code_is_fixed(const sort_code *c) {
    for (uint32_t k = 0; k < c->n_keys; k++)
        if (type_is_view(c->keys[k].type)) return false;
    return c->next_key == c->n_keys;
}

/* The piece of a string that goes on after it; NULL: all strings ended. */
static const sort_piece *piece_with_more(const sort_code *c, sort_number number) {
    for (uint32_t i = 0; i < c->n; i++) {
        const sort_piece *p = &c->pieces[i];
        if (!p->bytes || (number >> (p->shift + p->bits - 1) & 1)) continue;
        uint32_t count = (uint32_t)(number >> p->shift) & count_more;
        if (c->keys[p->key].descending) count ^= count_more;
        if (count == count_more) return p;
    }
    return NULL;
}

bool sort_code_is_whole(const sort_code *c, sort_number number) {
    return c->next_key == c->n_keys && !piece_with_more(c, number);
}

void sort_code_rest(const sort_code *c, sort_number number, uint32_t *key, uint32_t *offset) {
    const sort_piece *p = piece_with_more(c, number);
    *key = p ? p->key : c->next_key;
    *offset = p ? p->offset + p->bytes : 0;
    if (!p || !p->common) return;
    uint32_t class = (uint32_t)(number >> (p->shift + p->bits - 1 - class_bits)) & 3;
    if (c->keys[p->key].descending) class ^= 3;
    if (class == class_common) *offset += p->common;
}

/* ---- values as numbers ---- */

static inline uint32_t load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t load_big64(const uint8_t *p) {
    uint64_t v = load64(p);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

/* NaN becomes the greatest value whichever the direction: no number inverts to all ones. */
static inline uint32_t order_float32(const uint8_t *p, bool descending) {
    uint32_t bits = float32_normal_bits(load32(p));
    if ((bits & 0x7fffffffu) > 0x7f800000u) return UINT32_MAX;
    bits ^= (uint32_t)((int32_t)bits >> 31) | 0x80000000u;
    return descending ? ~bits : bits;
}
static inline uint64_t order_float64(const uint8_t *p, bool descending) {
    uint64_t bits = float64_normal_bits(load64(p));
    if ((bits & 0x7fffffffffffffffu) > 0x7ff0000000000000u) return UINT64_MAX;
    bits ^= (uint64_t)((int64_t)bits >> 63) | 0x8000000000000000u;
    return descending ? ~bits : bits;
}
static inline uint64_t order_fixed(const type *t, const uint8_t *p, bool descending) {
    switch (t->kind) {
    case TYPE_BOOL: return (*p != 0) ^ descending;
    case TYPE_INT32:
    case TYPE_DATE: return load32(p) ^ (descending ? 0x7fffffffu : 0x80000000u);
    case TYPE_FLOAT32: return order_float32(p, descending);
    case TYPE_FLOAT64: return order_float64(p, descending);
    default: return load64(p) ^ (descending ? 0x7fffffffffffffffu : 0x8000000000000000u);
    }
}

/* The first 14 bytes at the top, zeros behind the string's end. */
static inline sort_number first_bytes(const uint8_t *data, uint32_t size) {
    uint64_t high, low = 0;
    if (size >= 16) {
        high = load_big64(data);
        low = load_big64(data + 8);
    } else if (size >= 8) {
        high = load_big64(data);
        if (size > 8) low = load_big64(data + size - 8) << 8 * (16 - size);
    } else {
        uint8_t some[8] = {0};
        memcpy(some, data, size);
        high = load_big64(some);
    }
    return (sort_number)high << 64 | low;
}

static inline sort_number string_number(sort_number bytes, uint32_t size, uint32_t n_bytes,
                                        bool descending) {
    uint32_t count = size > n_bytes ? (uint32_t)count_more : size;
    sort_number value = bytes >> (number_bits - 8 * n_bytes) << count_bits | count;
    if (descending) value ^= ((sort_number)1 << (8 * n_bytes + count_bits)) - 1;
    return value;
}

/* Small views have their bytes, and zeros behind them, in themselves. */
static inline sort_number order_view(const uint8_t *at, uint32_t n_bytes, bool descending) {
    uint32_t size = load32(at);
    sort_number bytes;
    if (size <= VIEW_SMALL_MAX) {
        bytes = (sort_number)load_big64(at + 4) << 64 | load_big64(at + 8) << 32;
    } else {
        const uint8_t *data;
        memcpy(&data, at + 8, sizeof data);
        bytes = first_bytes(data, size);
    }
    return string_number(bytes, size, n_bytes, descending);
}

static sort_number order_view_from(const uint8_t *at, const sort_piece *p, bool descending) {
    view v;
    memcpy(&v, at, sizeof v);
    uint32_t left = v.size > p->offset ? v.size - p->offset : 0;
    sort_number bytes = left ? first_bytes(view_data(&v) + p->offset, left) : 0;
    return string_number(bytes, left, p->bytes, descending);
}

/* By its first bytes, or those behind what most have in common. */
static sort_number order_view_common(const uint8_t *at, const sort_piece *p, const uint8_t *common,
                                     bool descending) {
    view v;
    memcpy(&v, at, sizeof v);
    const uint8_t *data = view_data(&v);
    uint32_t size = v.size;
    int order = memcmp(data, common, size < p->common ? size : p->common);
    sort_number class = order > 0 ? class_behind : order < 0 || size < p->common ? class_before : class_common;
    if (class == class_common) data += p->common, size -= p->common;
    sort_number value = string_number(first_bytes(data, size), size, p->bytes, descending);
    if (descending) class ^= 3;
    return class << (8 * p->bytes + count_bits) | value;
}

static inline bool value_is_valid(const sort_values *v, size_t i) {
    if (v->bitmap) return v->bitmap[i >> 6] >> (i & 63) & 1;
    return !v->valid_byte || (v->valid_byte[i * v->step] >> v->valid_shift & 1);
}

#define ENCODE_LOOP(expression)                                                                    \
    for (uint32_t i = 0; i < n; i++) {                                                             \
        const uint8_t *at = v->values + i * v->step;                                               \
        __builtin_prefetch(at + rows_ahead * v->step);                                             \
        sort_number value = (expression);                                                          \
        if (nullable && !value_is_valid(v, i)) value = null;                                       \
        out[i] |= value << p->shift;                                                               \
    }

static inline __attribute__((always_inline)) void encode_piece(const sort_code *c,
                                                               const sort_piece *p,
                                                               const sort_values *v, bool nullable,
                                                               uint32_t n, sort_number *out) {
    const type *t = c->keys[p->key].type;
    bool descending = c->keys[p->key].descending;
    sort_number null = p->has_null_bit ? (sort_number)1 << (p->bits - 1) : 0;
    if (p->common) {
        ENCODE_LOOP(order_view_common(at, p, c->common, descending))
    } else if (p->offset) {
        ENCODE_LOOP(order_view_from(at, p, descending))
    } else if (p->bytes) {
        ENCODE_LOOP(order_view(at, p->bytes, descending))
    } else if (t->kind == TYPE_INT64 || t->kind == TYPE_TIMESTAMP) {
        ENCODE_LOOP(order_fixed(&(type){.kind = TYPE_INT64}, at, descending))
    } else {
        ENCODE_LOOP(order_fixed(t, at, descending))
    }
}

/* What stands behind a string that goes on must not be looked at before its rest. */
static void clear_after_more(const sort_code *c, uint32_t n, sort_number *out) {
    bool any = false;
    for (uint32_t i = 0; i + 1 < c->n; i++) any |= c->pieces[i].bytes != 0;
    if (!any) return;
    for (uint32_t i = 0; i < n; i++) {
        const sort_piece *p = piece_with_more(c, out[i]);
        if (p) out[i] = out[i] >> p->shift << p->shift;
    }
}

void sort_code_encode(const sort_code *c, const sort_values *values, uint32_t n, sort_number *out) {
    memset(out, 0, n * sizeof *out);
    for (uint32_t k = 0; k < c->n; k++) {
        const sort_piece *p = &c->pieces[k];
        const sort_values *v = &values[p->key];
        if (v->bitmap || v->valid_byte) encode_piece(c, p, v, true, n, out);
        else encode_piece(c, p, v, false, n, out);
    }
    clear_after_more(c, n, out);
}

void sort_values_of_columns(const sort_key *keys, uint32_t n_keys, const column *columns,
                            sort_values *values) {
    for (uint32_t k = 0; k < n_keys; k++) {
        const column *c = &columns[keys[k].column];
        values[k] = (sort_values){.values = c->values, .step = type_bytes(c->type), .bitmap = c->valid};
    }
}

void sort_values_of_rows(const sort_place *place, uint32_t n_keys, const uint8_t *rows,
                         sort_values *values) {
    for (uint32_t k = 0; k < n_keys; k++) {
        const row_field *f = &place->layout->fields[place->fields[k]];
        values[k] = (sort_values){
            .values = rows + f->offset,
            .step = place->layout->stride,
            .valid_byte = rows + (f->valid_bit >> 3),
            .valid_shift = f->valid_bit & 7,
        };
    }
}

/* ---- full comparison ---- */

static int compare_views(const uint8_t *a, const uint8_t *b) {
    view x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return view_compare(&x, &y);
}

int sort_compare(const sort_key *keys, uint32_t n_keys, uint32_t first_key, const sort_place *place_a,
                 const uint8_t *a, const sort_place *place_b, const uint8_t *b) {
    for (uint32_t k = first_key; k < n_keys; k++) {
        uint32_t in_a = place_a->fields[k], in_b = place_b->fields[k];
        bool valid = row_is_valid(place_a->layout, a, in_a);
        if (valid != row_is_valid(place_b->layout, b, in_b)) return valid ? -1 : 1;
        if (!valid) continue;
        const uint8_t *x = a + place_a->layout->fields[in_a].offset;
        const uint8_t *y = b + place_b->layout->fields[in_b].offset;
        if (type_is_view(keys[k].type)) {
            int order = compare_views(x, y);
            if (order) return (order < 0) != keys[k].descending ? -1 : 1;
        } else {
            uint64_t left = order_fixed(keys[k].type, x, keys[k].descending);
            uint64_t right = order_fixed(keys[k].type, y, keys[k].descending);
            if (left != right) return left < right ? -1 : 1;
        }
    }
    return 0;
}
