#include "data/rows.h"

#include <stdlib.h>

#include "data/nested.h"

/* ---- layout ---- */

enum {
    inline_floats_max = 16,
    row_bytes_max = 1 << 26,
    chunk_rows = 512, /* rows that are written column by column while they stay in the cache */
};

static row_form form_of(const type *t) {
    switch (t->kind) {
    case TYPE_BOOL: return ROW_BYTE;
    case TYPE_INT32:
    case TYPE_DATE: return ROW_INT32;
    case TYPE_INT64:
    case TYPE_TIMESTAMP: return ROW_INT64;
    case TYPE_FLOAT32: return ROW_FLOAT32;
    case TYPE_FLOAT64: return ROW_FLOAT64;
    case TYPE_VECTOR: return t->width <= inline_floats_max ? ROW_VECTOR : ROW_WIDE;
    case TYPE_SPARSE:
    case TYPE_LIST: return ROW_NESTED;
    default: return ROW_VIEW;
    }
}

static inline bool form_is_view(row_form form) { return form >= ROW_VIEW && form != ROW_VECTOR; }

static uint32_t field_alignment(const row_field *f) {
    return f->bytes == 1 ? 1 : f->bytes % 8 ? 4 : 8;
}

/* Lays the fields of one alignment side by side from `at`. */
static uint64_t place_fields(row_field *fields, uint32_t n, uint32_t alignment, uint64_t at) {
    for (uint32_t i = 0; i < n; i++) {
        if (field_alignment(&fields[i]) != alignment) continue;
        at = (at + alignment - 1) & ~(uint64_t)(alignment - 1);
        fields[i].offset = (uint32_t)at;
        at += fields[i].bytes;
        if (at > row_bytes_max) return row_bytes_max;
    }
    return at;
}

static uint64_t place_valid_bits(row_field *fields, uint32_t n, uint64_t at) {
    for (uint32_t i = 0; i < n; i++) fields[i].valid_bit = (uint32_t)(8 * at) + i;
    return at + (n + 7) / 8;
}

/* From 8: wide keys, narrow keys, validity of keys; validity of the others, narrow others, wide ones:
 * the narrow ones meet in the middle, so that little is lost to alignment. */
static tw_status place_all(row_layout *l, uint32_t extra_bytes, tw_error *err) {
    row_field *keys = l->fields, *others = keys + l->n_keys;
    uint32_t n_others = l->n - l->n_keys;
    uint64_t at = l->key_begin = 8;
    at = place_fields(keys, l->n_keys, 8, at);
    at = place_fields(keys, l->n_keys, 4, at);
    at = place_fields(keys, l->n_keys, 1, at);
    at = place_valid_bits(keys, l->n_keys, at);
    l->key_end = (uint32_t)at;
    at = place_valid_bits(others, n_others, at);
    at = place_fields(others, n_others, 1, at);
    at = place_fields(others, n_others, 4, at);
    at = place_fields(others, n_others, 8, at);
    l->extra_offset = (uint32_t)((at + 7) & ~7ull);
    if (l->extra_offset >= row_bytes_max || extra_bytes > row_bytes_max) {
        return error_set(err, TW_ERR_JOB, "a row of %u columns is too wide", l->n);
    }
    l->extra_bytes = (extra_bytes + 7) & ~7u;
    l->stride = l->extra_offset + l->extra_bytes;
    uint32_t tail = (l->key_end - l->key_begin) % 8;
    l->key_tail_mask = tail ? ~0ull >> (64 - 8 * tail) : 0;
    return TW_OK;
}

/* With all fields placed. */
static tw_status fill_blank(row_layout *l, tw_error *err) {
    uint8_t *covered = calloc(1, l->stride);
    l->blank = calloc(1, l->stride);
    l->blanks = malloc(l->stride / 8 * sizeof *l->blanks);
    if (!covered || !l->blank || !l->blanks) {
        free(covered);
        return error_set(err, TW_ERR_MEMORY, "no memory for the layout of rows");
    }
    for (uint32_t i = 0; i < l->n; i++) {
        const row_field *f = &l->fields[i];
        memset(covered + f->offset, 1, f->bytes);
        l->blank[f->valid_bit >> 3] |= (uint8_t)(1u << (f->valid_bit & 7));
    }
    for (uint32_t at = l->key_begin; at < l->extra_offset; at += 8) {
        if (memchr(covered + at, 0, 8)) l->blanks[l->n_blanks++] = at;
    }
    free(covered);
    return TW_OK;
}

tw_status row_layout_new(const type *const *types, uint32_t n, uint32_t n_keys, uint32_t extra_bytes,
                         row_layout **result, tw_error *err) {
    if (n > row_bytes_max / 8) return error_set(err, TW_ERR_JOB, "a row of %u columns is too wide", n);
    row_layout *l = calloc(1, sizeof *l + n * sizeof l->fields[0]);
    if (l) l->view_fields = malloc((n + 1) * sizeof *l->view_fields);
    if (!l || !l->view_fields) {
        row_layout_free(l);
        return error_set(err, TW_ERR_MEMORY, "no memory for the layout of rows");
    }
    l->n = n;
    l->n_keys = n_keys;
    for (uint32_t i = 0; i < n; i++) {
        row_form form = form_of(types[i]);
        bool is_view = form_is_view(form);
        uint32_t bytes = is_view ? sizeof(view) : (uint32_t)type_bytes(types[i]);
        l->fields[i] = (row_field){.bytes = bytes, .form = form, .type = types[i]};
        if (is_view) l->view_fields[l->n_views++] = i;
        l->has_nested |= form == ROW_NESTED;
        l->keys_have_views |= is_view && i < n_keys;
    }
    l->has_heap = l->n_views > 0;
    tw_status status = place_all(l, extra_bytes, err);
    if (status == TW_OK) status = fill_blank(l, err);
    if (status == TW_OK) *result = l;
    else row_layout_free(l);
    return status;
}

void row_layout_free(row_layout *l) {
    if (!l) return;
    free(l->view_fields);
    free(l->blank);
    free(l->blanks);
    free(l);
}

/* ---- equality ---- */

static inline uint64_t load64(const uint8_t *from) {
    uint64_t word;
    memcpy(&word, from, 8);
    return word;
}

static bool key_words_equal(const row_layout *l, const uint8_t *a, const uint8_t *b) {
    uint32_t at = l->key_begin;
    for (; at + 8 <= l->key_end; at += 8) {
        if (load64(a + at) != load64(b + at)) return false;
    }
    /* The stride is a multiple of 8: the whole word can be read. */
    return !l->key_tail_mask || !((load64(a + at) ^ load64(b + at)) & l->key_tail_mask);
}

bool rows_keys_equal(const row_layout *l, const uint8_t *a, const uint8_t *b) {
    if (key_words_equal(l, a, b)) return true;
    if (!l->keys_have_views) return false;
    for (uint32_t i = 0; i < l->n_keys; i++) {
        const row_field *f = &l->fields[i];
        if (row_is_valid(l, a, i) != row_is_valid(l, b, i)) return false;
        if (form_is_view(f->form)) {
            view x, y;
            memcpy(&x, a + f->offset, sizeof x);
            memcpy(&y, b + f->offset, sizeof y);
            if (!view_equal(&x, &y)) return false;
        } else if (memcmp(a + f->offset, b + f->offset, f->bytes)) {
            return false;
        }
    }
    return true;
}

/* ---- encoding ---- */

/* Bytes of any number, none before or behind them touched: two overlapping runs up to 128. */
static inline __attribute__((always_inline)) void copy_bytes(uint8_t *to, const uint8_t *from, size_t n) {
    if (n > 128) {
        memcpy(to, from, n);
    } else if (n >= 64) {
        uint8_t head[64], tail[64];
        memcpy(head, from, 64);
        memcpy(tail, from + n - 64, 64);
        memcpy(to, head, 64);
        memcpy(to + n - 64, tail, 64);
    } else if (n >= 32) {
        uint8_t head[32], tail[32];
        memcpy(head, from, 32);
        memcpy(tail, from + n - 32, 32);
        memcpy(to, head, 32);
        memcpy(to + n - 32, tail, 32);
    } else if (n >= 16) {
        uint8_t head[16], tail[16];
        memcpy(head, from, 16);
        memcpy(tail, from + n - 16, 16);
        memcpy(to, head, 16);
        memcpy(to + n - 16, tail, 16);
    } else {
        memcpy(to, from, n);
    }
}

/* One column's share of some rows. */
typedef struct encoding {
    const row_field *field;
    const column *column;
    const uint32_t *selection; /* or NULL: rows first, first + 1, ... */
    uint32_t first, n;
    uint8_t *const *to;
    uint8_t **heaps; /* or NULL */
    size_t heap_step; /* 1: a heap for each row; 0: one for all */
    bool is_key;
} encoding;

static inline uint32_t encoding_row(const encoding *e, uint32_t i) {
    return e->selection ? e->selection[i] : e->first + i;
}

/* Whether the row is not null; if it is, takes its bit away. */
static inline bool encode_valid(const encoding *e, uint32_t row, uint8_t *to) {
    bool valid = e->column->valid[row >> 6] >> (row & 63) & 1;
    uint32_t bit = e->field->valid_bit;
    to[bit >> 3] &= (uint8_t)~((unsigned)!valid << (bit & 7));
    return valid;
}

/* A loop per width, with and without nulls; `normalise` as the constant it is at each call. */
#define ENCODE_FIXED(name, word)                                                                    \
    static inline __attribute__((always_inline)) void name(const encoding *e,                       \
                                                           word (*normalise)(word)) {              \
        const word *values = e->column->values;                                                     \
        uint32_t offset = e->field->offset;                                                         \
        if (!e->column->valid && !e->selection) {                                                   \
            for (uint32_t i = 0; i < e->n; i++) {                                                   \
                word value = normalise(values[e->first + i]);                                       \
                memcpy(e->to[i] + offset, &value, sizeof value);                                    \
            }                                                                                       \
        } else if (!e->column->valid) {                                                             \
            for (uint32_t i = 0; i < e->n; i++) {                                                   \
                word value = normalise(values[e->selection[i]]);                                    \
                memcpy(e->to[i] + offset, &value, sizeof value);                                    \
            }                                                                                       \
        } else {                                                                                    \
            for (uint32_t i = 0; i < e->n; i++) {                                                   \
                uint32_t row = encoding_row(e, i);                                                  \
                word value = normalise(values[row]);                                                \
                value = encode_valid(e, row, e->to[i]) ? value : 0;                                 \
                memcpy(e->to[i] + offset, &value, sizeof value);                                    \
            }                                                                                       \
        }                                                                                           \
    }
ENCODE_FIXED(encode_words8, uint8_t)
ENCODE_FIXED(encode_words32, uint32_t)
ENCODE_FIXED(encode_words64, uint64_t)

static inline uint8_t same8(uint8_t v) { return v; }
static inline uint32_t same32(uint32_t v) { return v; }
static inline uint64_t same64(uint64_t v) { return v; }

static void copy_floats(uint8_t *to, const uint8_t *from, uint32_t bytes, bool normalise) {
    if (!normalise) {
        memcpy(to, from, bytes);
        return;
    }
    for (uint32_t at = 0; at < bytes; at += 4) {
        uint32_t value;
        memcpy(&value, from + at, 4);
        value = float32_normal_bits(value);
        memcpy(to + at, &value, 4);
    }
}

static void encode_vectors(const encoding *e) {
    const uint8_t *values = e->column->values;
    uint32_t bytes = e->field->bytes;
    for (uint32_t i = 0; i < e->n; i++) {
        uint32_t row = encoding_row(e, i);
        uint8_t *to = e->to[i] + e->field->offset;
        if (e->column->valid && !encode_valid(e, row, e->to[i])) memset(to, 0, bytes);
        else copy_floats(to, values + (size_t)row * bytes, bytes, e->is_key);
    }
}

/* The halves of a view by themselves: reading back as one what was written as two would stall. */
static inline void put_long_view(uint8_t *to, uint64_t size_and_prefix, const uint8_t *data) {
    memcpy(to, &size_and_prefix, 8);
    memcpy(to + 8, &data, 8);
}
static void put_new_view(uint8_t *to, const uint8_t *data, uint32_t size) {
    uint32_t prefix;
    memcpy(&prefix, data, 4);
    put_long_view(to, (uint64_t)prefix << 32 | size, data);
}

static inline __attribute__((always_inline)) void encode_views_of(const encoding *e, bool nullable) {
    const view *values = e->column->values;
    uint32_t offset = e->field->offset;
    for (uint32_t i = 0; i < e->n; i++) {
        uint32_t row = encoding_row(e, i);
        uint8_t *to = e->to[i] + offset;
        const view *v = &values[row];
        if (nullable && !encode_valid(e, row, e->to[i])) {
            memset(to, 0, sizeof *v);
        } else if (v->size > VIEW_SMALL_MAX && e->heaps) {
            uint8_t **heap = &e->heaps[i * e->heap_step], *begin = *heap;
            copy_bytes(begin, v->data, v->size);
            put_long_view(to, load64((const uint8_t *)v), begin);
            *heap = begin + v->size;
        } else {
            memcpy(to, v, sizeof *v);
        }
    }
}

static void encode_views(const encoding *e) {
    if (e->column->valid) encode_views_of(e, true);
    else encode_views_of(e, false);
}

static void encode_wide(const encoding *e) {
    const uint8_t *values = e->column->values;
    uint32_t bytes = (uint32_t)type_bytes(e->field->type);
    for (uint32_t i = 0; i < e->n; i++) {
        uint32_t row = encoding_row(e, i);
        uint8_t *to = e->to[i] + e->field->offset;
        if (e->column->valid && !encode_valid(e, row, e->to[i])) {
            memset(to, 0, sizeof(view));
            continue;
        }
        const uint8_t *data = values + (size_t)row * bytes;
        if (e->heaps) {
            uint8_t **heap = &e->heaps[i * e->heap_step];
            copy_floats(*heap, data, bytes, e->is_key);
            data = *heap;
            *heap += bytes;
        }
        put_new_view(to, data, bytes);
    }
}

static void encode_nested(const encoding *e) {
    for (uint32_t i = 0; i < e->n; i++) {
        uint32_t row = encoding_row(e, i);
        uint8_t *to = e->to[i] + e->field->offset;
        memset(to, 0, sizeof(view));
        if (e->column->valid && !encode_valid(e, row, e->to[i])) continue;
        size_t bytes = nested_bytes(e->column, row);
        if (bytes <= VIEW_SMALL_MAX) {
            uint32_t size = (uint32_t)bytes;
            memcpy(to, &size, sizeof size);
            nested_encode(e->column, row, e->is_key, to + sizeof size);
        } else {
            uint8_t **heap = &e->heaps[i * e->heap_step], *begin = *heap;
            *heap = nested_encode(e->column, row, e->is_key, begin);
            put_new_view(to, begin, (uint32_t)bytes);
        }
    }
}

static void encode_column(const encoding *e) {
    switch (e->field->form) {
    case ROW_BYTE: encode_words8(e, same8); break;
    case ROW_INT32: encode_words32(e, same32); break;
    case ROW_INT64: encode_words64(e, same64); break;
    case ROW_FLOAT32:
        if (e->is_key) encode_words32(e, float32_normal_bits);
        else encode_words32(e, same32);
        break;
    case ROW_FLOAT64:
        if (e->is_key) encode_words64(e, float64_normal_bits);
        else encode_words64(e, same64);
        break;
    case ROW_VIEW: encode_views(e); break;
    case ROW_VECTOR: encode_vectors(e); break;
    case ROW_WIDE: encode_wide(e); break;
    case ROW_NESTED: encode_nested(e); break;
    }
}

/* Four columns of 8-byte values without nulls at once: a row's line is touched once, not four times. */
enum { words_at_once = 4 };

static bool is_plain_word(const row_layout *l, const column *columns, uint32_t i) {
    row_form form = l->fields[i].form;
    return !columns[i].valid && (form == ROW_INT64 || (form == ROW_FLOAT64 && i >= l->n_keys));
}

static uint32_t plain_words(const row_layout *l, const column *columns, uint32_t first) {
    uint32_t n = 0;
    while (n < words_at_once && first + n < l->n && is_plain_word(l, columns, first + n)) n++;
    return n;
}

static void encode_four(const encoding *e) {
    const uint64_t *values[words_at_once];
    uint32_t offsets[words_at_once];
    for (uint32_t k = 0; k < words_at_once; k++) {
        values[k] = e->column[k].values;
        offsets[k] = e->field[k].offset;
    }
    for (uint32_t i = 0; i < e->n; i++) {
        uint32_t row = encoding_row(e, i);
        uint8_t *to = e->to[i];
        uint64_t words[words_at_once] = {values[0][row], values[1][row], values[2][row], values[3][row]};
        for (uint32_t k = 0; k < words_at_once; k++) memcpy(to + offsets[k], &words[k], 8);
    }
}

static void encode_blanks(const row_layout *l, uint32_t n, uint8_t *const *to) {
    for (uint32_t k = 0; k < l->n_blanks; k++) {
        uint32_t at = l->blanks[k];
        uint64_t word = load64(l->blank + at);
        for (uint32_t i = 0; i < n; i++) memcpy(to[i] + at, &word, 8);
    }
}

static void encode_rows(const row_layout *l, const column *columns, const uint32_t *selection,
                        uint32_t n, uint8_t *const *to, uint8_t **heaps, size_t heap_step) {
    for (uint32_t done = 0; done < n; done += chunk_rows) {
        encoding e = {
            .selection = selection ? selection + done : NULL,
            .first = done,
            .n = n - done < chunk_rows ? n - done : chunk_rows,
            .to = to + done,
            .heaps = heaps ? heaps + done * heap_step : NULL,
            .heap_step = heap_step,
        };
        encode_blanks(l, e.n, e.to);
        for (uint32_t i = 0; i < l->n; i++) {
            e.field = &l->fields[i];
            e.column = &columns[i];
            e.is_key = i < l->n_keys;
            if (plain_words(l, columns, i) == words_at_once) {
                encode_four(&e);
                i += words_at_once - 1;
            } else {
                encode_column(&e);
            }
        }
    }
}

void rows_encode(const row_layout *l, const column *columns, const uint32_t *selection, uint32_t n,
                 uint8_t *const *to, uint8_t **heap) {
    encode_rows(l, columns, selection, n, to, heap, 0);
}

void rows_encode_apart(const row_layout *l, const column *columns, const uint32_t *selection,
                       uint32_t n, uint8_t *const *to, uint8_t **heaps) {
    encode_rows(l, columns, selection, n, to, heaps, 1);
}

/* ---- bytes of heap ---- */

static size_t long_bytes(const row_field *f, const column *c, uint32_t row) {
    if (!column_is_valid(c, row)) return 0;
    if (f->form == ROW_WIDE) return type_bytes(f->type);
    size_t bytes = f->form == ROW_NESTED ? nested_bytes(c, row) : ((const view *)c->values)[row].size;
    return bytes > VIEW_SMALL_MAX ? bytes : 0;
}

static inline void add_size(uint32_t *size, size_t bytes) {
    size_t sum = *size + bytes;
    *size = sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}

static size_t views_heap_bytes(const column *c, const uint32_t *selection, uint32_t n,
                               uint32_t *sizes) {
    const view *values = c->values;
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t size = values[selection ? selection[i] : i].size;
        size = size > VIEW_SMALL_MAX ? size : 0;
        total += size;
        if (sizes) add_size(&sizes[i], size);
    }
    return total;
}

size_t rows_heap_bytes(const row_layout *l, const column *columns, const uint32_t *selection,
                       uint32_t n, uint32_t *sizes) {
    size_t total = 0;
    if (sizes) memset(sizes, 0, n * sizeof *sizes);
    for (uint32_t k = 0; k < l->n_views; k++) {
        const row_field *f = &l->fields[l->view_fields[k]];
        const column *c = &columns[l->view_fields[k]];
        if (f->form == ROW_VIEW && !c->valid) {
            total += views_heap_bytes(c, selection, n, sizes);
            continue;
        }
        for (uint32_t i = 0; i < n; i++) {
            size_t bytes = long_bytes(f, c, selection ? selection[i] : i);
            total += bytes;
            if (sizes) add_size(&sizes[i], bytes);
        }
    }
    return total;
}

/* ---- decoding ---- */

/* Rows [first, first + n) of one column. */
typedef struct decoding {
    const row_field *field;
    const uint8_t *const *from; /* of row `first` */
    uint32_t first, n;
    column *out;
} decoding;

/* The bitmap, 64 rows at a time; made only when the first null is seen. */
static tw_status decode_valid(memory *m, const decoding *d, tw_error *err) {
    uint32_t byte = d->field->valid_bit >> 3, shift = d->field->valid_bit & 7;
    for (uint32_t done = 0; done < d->n; done += 64) {
        uint32_t count = d->n - done < 64 ? d->n - done : 64;
        uint64_t nulls = 0;
        for (uint32_t i = 0; i < count; i++) {
            nulls |= (uint64_t)(~d->from[done + i][byte] >> shift & 1) << i;
        }
        if (!nulls) continue;
        if (!d->out->valid) TRY(column_need_valid(m, d->out, err));
        d->out->valid[(d->first + done) >> 6] &= ~nulls;
    }
    return TW_OK;
}

#define DECODE_FIXED(name, word)                                                                    \
    static void name(const decoding *d) {                                                           \
        word *values = (word *)d->out->values + d->first;                                           \
        uint32_t offset = d->field->offset;                                                         \
        for (uint32_t i = 0; i < d->n; i++) memcpy(&values[i], d->from[i] + offset, sizeof(word));  \
    }
DECODE_FIXED(decode_words8, uint8_t)
DECODE_FIXED(decode_words32, uint32_t)
DECODE_FIXED(decode_words64, uint64_t)

static void decode_views(const decoding *d, buffer *heap_owner) {
    view *values = (view *)d->out->values + d->first;
    uint32_t offset = d->field->offset;
    bool some_long = false;
    for (uint32_t i = 0; i < d->n; i++) {
        memcpy(&values[i], d->from[i] + offset, sizeof *values);
        some_long |= values[i].size > VIEW_SMALL_MAX;
    }
    if (some_long && !d->out->heap) d->out->heap = buffer_ref(heap_owner);
}

static void decode_vectors(const decoding *d) {
    const row_field *f = d->field;
    size_t bytes = type_bytes(f->type);
    uint8_t *values = (uint8_t *)d->out->values + d->first * bytes;
    for (uint32_t i = 0; i < d->n; i++, values += bytes) {
        const uint8_t *data = d->from[i] + f->offset;
        if (f->form == ROW_VECTOR) {
            memcpy(values, data, bytes);
            continue;
        }
        view v;
        memcpy(&v, data, sizeof v);
        if (v.size == bytes) memcpy(values, v.data, bytes);
        else memset(values, 0, bytes); /* null */
    }
}

/* All rows at once. */
static tw_status decode_nested(memory *m, const row_field *f, const uint8_t *const *from, uint32_t n,
                               buffer *heap_owner, column *out, tw_error *err) {
    view *values = malloc(((size_t)n + 1) * sizeof *values);
    if (!values) return error_set(err, TW_ERR_MEMORY, "no memory for %u rows of lists", n);
    for (uint32_t i = 0; i < n; i++) memcpy(&values[i], from[i] + f->offset, sizeof *values);
    tw_status status = nested_decode(m, f->type, values, n, heap_owner, out, err);
    free(values);
    return status;
}

static tw_status decode_some(memory *m, const decoding *d, buffer *heap_owner, tw_error *err) {
    switch (d->field->form) {
    case ROW_BYTE: decode_words8(d); break;
    case ROW_INT32:
    case ROW_FLOAT32: decode_words32(d); break;
    case ROW_INT64:
    case ROW_FLOAT64: decode_words64(d); break;
    case ROW_VIEW: decode_views(d, heap_owner); break;
    case ROW_VECTOR:
    case ROW_WIDE: decode_vectors(d); break;
    case ROW_NESTED: break;
    }
    return decode_valid(m, d, err);
}

/* Some rows at a time through all columns, so that the first brings the lines for the others. */
static tw_status decode_rows(memory *m, const row_layout *l, const row_field *fields, uint32_t n_fields,
                             const uint8_t *const *from, uint32_t n, buffer *heap_owner, column *out, tw_error *err) {
    for (uint32_t i = 0; i < n_fields; i++) {
        if (fields[i].form == ROW_NESTED) TRY(decode_nested(m, &fields[i], from, n, heap_owner, &out[i], err));
        else TRY(column_new(m, fields[i].type, n, &out[i], err));
    }
    for (uint32_t done = 0; done < n; done += chunk_rows) {
        uint32_t some = n - done < chunk_rows ? n - done : chunk_rows;
        for (uint32_t i = 0; i < some; i++) {
            __builtin_prefetch(from[done + i]);
            __builtin_prefetch(from[done + i] + l->stride - 1); /* most rows have two lines */
        }
        for (uint32_t i = 0; i < n_fields; i++) {
            decoding d = {.field = &fields[i], .from = from + done, .first = done, .n = some, .out = &out[i]};
            TRY(decode_some(m, &d, heap_owner, err));
        }
    }
    return TW_OK;
}

tw_status rows_decode(memory *m, const row_layout *l, const uint8_t *const *from, uint32_t n,
                      uint32_t first_field, uint32_t n_fields, buffer *heap_owner, column *out,
                      tw_error *err) {
    memset(out, 0, n_fields * sizeof *out);
    tw_status status = decode_rows(m, l, &l->fields[first_field], n_fields, from, n, heap_owner, out, err);
    if (status == TW_OK) return TW_OK;
    for (uint32_t i = 0; i < n_fields; i++) column_clear(&out[i]);
    return status;
}

/* ---- rows to rows, and to files ---- */

size_t rows_copy_heap_bytes(const row_layout *l, const uint8_t *row) {
    size_t bytes = 0;
    for (uint32_t k = 0; k < l->n_views; k++) {
        uint32_t size;
        memcpy(&size, row + l->fields[l->view_fields[k]].offset, 4);
        bytes += size > VIEW_SMALL_MAX ? size : 0;
    }
    return bytes;
}

void rows_copy(const row_layout *l, const uint8_t *from, uint8_t *to, uint8_t **heap) {
    copy_bytes(to, from, l->stride);
    for (uint32_t k = 0; k < l->n_views; k++) {
        uint32_t at = l->fields[l->view_fields[k]].offset, size;
        memcpy(&size, from + at, sizeof size);
        if (size <= VIEW_SMALL_MAX) continue;
        uint8_t *begin = *heap;
        const uint8_t *data;
        memcpy(&data, from + at + 8, sizeof data);
        copy_bytes(begin, data, size);
        memcpy(to + at + 8, &begin, sizeof begin);
        *heap = begin + size;
    }
}

bool rows_unplace(const row_layout *l, uint8_t *rows, uint32_t n, const uint8_t *heap,
                  size_t heap_bytes, uint64_t base) {
    for (uint32_t k = 0; k < l->n_views; k++) {
        uint8_t *at = rows + l->fields[l->view_fields[k]].offset;
        for (uint32_t i = 0; i < n; i++, at += l->stride) {
            view v;
            memcpy(&v, at, sizeof v);
            if (v.size <= VIEW_SMALL_MAX) continue;
            uintptr_t distance = (uintptr_t)v.data - (uintptr_t)heap;
            if (distance > heap_bytes || v.size > heap_bytes - distance) return false;
            uint64_t place = base + distance;
            memcpy(at + 8, &place, 8);
        }
    }
    return true;
}

static bool place_view(const row_field *f, uint8_t *at, const uint8_t *heap, size_t heap_bytes,
                       bool valid) {
    view v;
    memcpy(&v, at, sizeof v);
    if (!valid) return v.size == 0;
    if (v.size > VIEW_SMALL_MAX) {
        uint64_t place = load64(at + 8);
        if (place > heap_bytes || v.size > heap_bytes - place) return false;
        v.data = heap + place;
        memcpy(at, &v, sizeof v);
    }
    if (f->form == ROW_WIDE) return v.size == type_bytes(f->type);
    return f->form != ROW_NESTED || nested_is_valid(f->type, view_data(&v), v.size);
}

bool rows_place(const row_layout *l, uint8_t *rows, uint32_t n, const uint8_t *heap,
                size_t heap_bytes) {
    for (uint32_t k = 0; k < l->n_views; k++) {
        uint32_t i = l->view_fields[k];
        uint8_t *row = rows;
        for (uint32_t r = 0; r < n; r++, row += l->stride) {
            bool valid = row_is_valid(l, row, i);
            if (!place_view(&l->fields[i], row + l->fields[i].offset, heap, heap_bytes, valid)) {
                return false;
            }
        }
    }
    return true;
}
