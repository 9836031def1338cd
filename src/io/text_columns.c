/* text_columns.c: a loop for each type. */
#include "io/text_columns.h"

#include <stdlib.h>

#include "data/cpu_level.h"
#include "data/number_text.h"
#include "data/scan.h"
#include "data/time_text.h"
#include "data/utf8.h"
#include "io/decode_internal.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static tw_status add_misfit(misfits *bad, misfit one, tw_error *err) {
    if (bad->n == bad->capacity) {
        uint32_t capacity = bad->capacity ? bad->capacity * 2 : 16;
        misfit *more = realloc(bad->items, capacity * sizeof *more);
        if (!more) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
        bad->items = more;
        bad->capacity = capacity;
    }
    bad->items[bad->n++] = one;
    return TW_OK;
}

typedef struct extent {
    uint32_t begin, end;
    bool quoted;
} extent;

/* The fields of one column. Copied into a local variable, so that stores into the column do not make
 * the compiler load it again; and loops over it are compiled twice, once for fields that are neither
 * quoted nor last (`plain`), which leaves nothing to look at. */
typedef struct fields {
    const uint8_t *text;
    const uint32_t *ends, *first;
    uint32_t n;
    uint8_t quote;
    bool last;
} fields;

static inline fields fields_of(const text_rows *rows, const text_column *what) {
    return (fields){rows->text, rows->ends + what->field, rows->first, rows->n, rows->quote, what->last};
}

static inline __attribute__((always_inline)) extent field_at(const fields *f, uint32_t row, bool plain) {
    const uint32_t *ends = f->ends + f->first[row];
    extent e = {ends[-1] + 1, ends[0], false};
    if (plain) return e;
    if (f->last && e.end > e.begin && f->text[e.end - 1] == '\r') e.end--;
    if (f->quote && e.end > e.begin && f->text[e.begin] == f->quote) {
        e.begin++;
        e.end--;
        e.quoted = true;
    }
    return e;
}

static __attribute__((noinline)) tw_status set_null(memory *m, column *c, uint32_t row, tw_error *err) {
    if (!c->valid) TRY(column_need_valid(m, c, err));
    column_set_null(c, row);
    return TW_OK;
}

/* Rows read at once by a vector kernel, from `row` on; 0: look at the next ones singly. */
#define NO_LEAP(f, row, to) 0

/* One loop over the rows: reads each field by `parse` into an array of C type `ctype`. Where no field is quoted or last,
 * `leap` may read eight rows at once; when it can't, the next LEAP_PAUSE are read singly. */
#define LEAP_PAUSE 64u
#define VALUE_LOOP(name, ctype, parse, leap)                                                           \
    static inline __attribute__((always_inline)) tw_status name##_loop(                                \
        memory *m, const fields f, const text_column *what, column *out, misfits *bad, bool plain,     \
        tw_error *err) {                                                                               \
        ctype *to = out->values;                                                                       \
        uint32_t leap_from = 0;                                                                        \
        for (uint32_t r = 0; r < f.n; r++) {                                                           \
            if (plain && r >= leap_from) {                                                             \
                r += leap(&f, r, to);                                                                  \
                if (r == f.n) break;                                                                   \
                leap_from = r + LEAP_PAUSE;                                                            \
            }                                                                                          \
            extent e = field_at(&f, r, plain);                                                         \
            ctype value = 0;                                                                           \
            parse_status status = PARSE_OK;                                                            \
            if (e.begin == e.end && !e.quoted) TRY(set_null(m, out, r, err));                          \
            else status = parse((const char *)f.text + e.begin, e.end - e.begin, &value);              \
            to[r] = value;                                                                             \
            if (status == PARSE_OK) continue;                                                          \
            misfit one = {r, what->column, e.begin, e.end, status == PARSE_RANGE, false};              \
            TRY(add_misfit(bad, one, err));                                                            \
        }                                                                                              \
        return TW_OK;                                                                                  \
    }                                                                                                  \
    static tw_status name(memory *m, const text_rows *rows, const text_column *what, column *out,      \
                          misfits *bad, tw_error *err) {                                               \
        fields f = fields_of(rows, what);                                                              \
        if (!f.quote && !f.last) return name##_loop(m, f, what, out, bad, true, err);                  \
        return name##_loop(m, f, what, out, bad, false, err);                                          \
    }

static inline parse_status parse_bool_byte(const char *p, size_t n, uint8_t *out) {
    bool value;
    parse_status status = parse_bool(p, n, &value);
    if (status == PARSE_OK) *out = value;
    return status;
}

/* Up to eight digits without a call, most whole numbers; the rest by parse_int64. Reads past the end. */
static inline parse_status parse_int64_here(const char *p, size_t n, int64_t *out) {
    if (n - 1 < 8) {
        uint64_t x;
        memcpy(&x, p, 8);
        unsigned shift = (unsigned)(8 * (8 - n));
        x = (x << shift) ^ (UINT64_C(0x3030303030303030) << shift);
        if ((((x + UINT64_C(0x7676767676767676)) | x) & UINT64_C(0x8080808080808080)) == 0) {
            x = x * 10 + (x >> 8);
            const uint64_t mask = UINT64_C(0x000000ff000000ff);
            x = (((x & mask) * UINT64_C(0x000f424000000064)) +
                 (((x >> 16) & mask) * UINT64_C(0x0000271000000001))) >> 32;
            *out = (int64_t)x;
            return PARSE_OK;
        }
    }
    return parse_int64(p, n, out);
}

static inline parse_status parse_int32_here(const char *p, size_t n, int32_t *out) {
    int64_t wide;
    parse_status status = parse_int64_here(p, n, &wide);
    if (status != PARSE_OK) return status;
    if (wide < INT32_MIN || wide > INT32_MAX) return PARSE_RANGE;
    *out = (int32_t)wide;
    return PARSE_OK;
}

#if defined(__x86_64__)
/* Eight whole numbers of one to eight digits at a time, as parse_int64_here does one; stops at eight rows among which there
 * is another field. */
TARGET_AVX512 static uint32_t leap_avx512(const fields *f, uint32_t row, int64_t *to) {
    const __m512i zeros = _mm512_set1_epi8('0'), nine = _mm512_set1_epi8(9), bits = _mm512_set1_epi64(64);
    const __m512i tens = _mm512_set1_epi16(0x010a), hundreds = _mm512_set1_epi32(0x00010064), ten_thousand = _mm512_set1_epi64(10000);
    uint32_t r = row;
    for (; f->n - r >= 8; r += 8) {
        __m256i at = _mm256_loadu_si256((const __m256i *)(const void *)(f->first + r));
        __m512i ends = _mm512_i32gather_epi64(at, f->ends - 1, 4); /* of the field before, and of this one */
        __m512i begin = _mm512_and_si512(_mm512_add_epi32(ends, _mm512_set1_epi32(1)), _mm512_set1_epi64(0xffffffff));
        __m512i digits = _mm512_sub_epi64(_mm512_srli_epi64(ends, 32), begin);
        if (_mm512_cmpge_epu64_mask(_mm512_sub_epi64(digits, _mm512_set1_epi64(1)), _mm512_set1_epi64(8))) break;
        __m512i shift = _mm512_sub_epi64(bits, _mm512_slli_epi64(digits, 3));
        __m512i x = _mm512_xor_si512(_mm512_i64gather_epi64(begin, f->text, 1), zeros);
        x = _mm512_sllv_epi64(x, shift);
        if (_mm512_cmpgt_epu8_mask(x, nine)) break;
        x = _mm512_madd_epi16(_mm512_maddubs_epi16(x, tens), hundreds);
        _mm512_storeu_si512(to + r, _mm512_add_epi64(_mm512_mul_epu32(x, ten_thousand), _mm512_srli_epi64(x, 32)));
    }
    return r - row;
}
#endif

static inline uint32_t leap_int64s(const fields *f, uint32_t row, int64_t *to) {
#if defined(__x86_64__)
    if (cpu_level_here() == CPU_AVX512) return leap_avx512(f, row, to);
#endif
    return 0;
}

VALUE_LOOP(read_bools, uint8_t, parse_bool_byte, NO_LEAP)
VALUE_LOOP(read_int32s, int32_t, parse_int32_here, NO_LEAP)
VALUE_LOOP(read_int64s, int64_t, parse_int64_here, leap_int64s)
VALUE_LOOP(read_float32s, float, parse_float32, NO_LEAP)
VALUE_LOOP(read_float64s, double, parse_float64, NO_LEAP)
VALUE_LOOP(read_dates, int32_t, parse_date, NO_LEAP)
VALUE_LOOP(read_timestamps, int64_t, parse_timestamp, NO_LEAP)

/* ---- strings: views into the text, but where a quote stands twice ---- */

typedef struct string_loop {
    memory *m;
    fields fields;
    const text_column *what;
    column *out;
    misfits *bad;
    bool long_views;   /* some point into the text */
    buffer *escaped;   /* uint32 rows with doubled quotes */
    uint32_t n_escaped;
    size_t escaped_bytes;
} string_loop;

static tw_status note_escaped(string_loop *l, uint32_t row, extent e, tw_error *err) {
    if (!l->escaped) TRY(buffer_new(l->m, MEMORY_FLOW, l->fields.n * sizeof(uint32_t), &l->escaped, err));
    ((uint32_t *)(void *)l->escaped->data)[l->n_escaped++] = row;
    l->escaped_bytes += e.end - e.begin;
    return TW_OK;
}

/* Fields that are neither quoted nor last, of text that is valid. */
static tw_status read_plain_views(string_loop *l, tw_error *err) {
    const fields f = l->fields;
    view *to = l->out->values;
    uint32_t longest = 0;
    for (uint32_t r = 0; r < f.n; r++) {
        extent e = field_at(&f, r, true);
        uint32_t n = e.end - e.begin;
        to[r] = view_of(f.text + e.begin, n);
        longest = n > longest ? n : longest;
        if (n == 0) TRY(set_null(l->m, l->out, r, err));
    }
    l->long_views = longest > VIEW_SMALL_MAX;
    return TW_OK;
}

static tw_status read_any_views(string_loop *l, bool check, tw_error *err) {
    const fields f = l->fields;
    view *to = l->out->values;
    uint32_t longest = 0;
    for (uint32_t r = 0; r < f.n; r++) {
        extent e = field_at(&f, r, false);
        uint32_t n = e.end - e.begin;
        const uint8_t *p = f.text + e.begin;
        if (check && !utf8_valid((const char *)p, n)) {
            misfit one = {r, l->what->column, e.begin, e.end, false, true};
            TRY(add_misfit(l->bad, one, err));
        }
        if (e.quoted && find_byte(p, n, f.quote) != n) {
            TRY(note_escaped(l, r, e, err));
            continue;
        }
        to[r] = view_of(p, n);
        longest = n > longest ? n : longest;
        if (n == 0 && !e.quoted) TRY(set_null(l->m, l->out, r, err));
    }
    l->long_views = longest > VIEW_SMALL_MAX;
    return TW_OK;
}

static uint32_t unescape(const uint8_t *from, uint32_t n, uint8_t quote, uint8_t *to) {
    uint32_t made = 0;
    for (uint32_t i = 0; i < n; i++) {
        to[made++] = from[i];
        i += from[i] == quote;
    }
    return made;
}

static tw_status read_escaped(string_loop *l, buffer **heap, tw_error *err) {
    TRY(buffer_new(l->m, MEMORY_FLOW, l->escaped_bytes, heap, err));
    const uint32_t *list = (const uint32_t *)(const void *)l->escaped->data;
    uint8_t *to = (*heap)->data;
    for (uint32_t i = 0; i < l->n_escaped; i++) {
        extent e = field_at(&l->fields, list[i], false);
        uint32_t n = unescape(l->fields.text + e.begin, e.end - e.begin, l->fields.quote, to);
        ((view *)l->out->values)[list[i]] = view_make(to, n);
        to += n;
    }
    return TW_OK;
}

static tw_status read_strings(string_loop *l, buffer *owner, tw_error *err) {
    bool check = !l->what->valid_text && l->what->type->kind == TYPE_STRING;
    bool plain = !check && !l->fields.quote && !l->fields.last;
    TRY(plain ? read_plain_views(l, err) : read_any_views(l, check, err));
    buffer *heaps[2] = {l->long_views ? owner : NULL, NULL};
    tw_status status = l->escaped ? read_escaped(l, &heaps[1], err) : TW_OK;
    if (status == TW_OK) status = buffer_join(heaps, 2, &l->out->heap, err);
    buffer_unref(heaps[1]);
    return status;
}

bool text_column_can_read(const type *t) { return t->kind <= TYPE_BINARY; }

tw_status text_column_read(memory *m, const text_rows *rows, const text_column *what, buffer *owner,
                           column *out, misfits *bad, tw_error *err) {
    TRY(column_new(m, what->type, rows->n, out, err));
    switch (what->type->kind) {
    case TYPE_BOOL: return read_bools(m, rows, what, out, bad, err);
    case TYPE_INT32: return read_int32s(m, rows, what, out, bad, err);
    case TYPE_INT64: return read_int64s(m, rows, what, out, bad, err);
    case TYPE_FLOAT32: return read_float32s(m, rows, what, out, bad, err);
    case TYPE_FLOAT64: return read_float64s(m, rows, what, out, bad, err);
    case TYPE_DATE: return read_dates(m, rows, what, out, bad, err);
    case TYPE_TIMESTAMP: return read_timestamps(m, rows, what, out, bad, err);
    case TYPE_STRING:
    case TYPE_BINARY: {
        string_loop l = {.m = m, .fields = fields_of(rows, what), .what = what, .out = out, .bad = bad};
        tw_status status = read_strings(&l, owner, err);
        buffer_unref(l.escaped);
        return status;
    }
    default: return error_set(err, TW_ERR_INTERNAL, "no text is read into this type");
    }
}
