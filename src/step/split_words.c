/* split_words: one row for each word of a text column, which the words replace; the other columns are
 * repeated. Words are views into the text: nothing is copied. */
#include <stdlib.h>

#include "data/cpu_level.h"
#include "data/scan.h"
#include "data/utf8.h"
#include "step/steps.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Neighbouring lines are scanned together, as they lie in the file, up to this many bytes. */
#define REGION_BYTES_MAX 32768
#define REGION_WORDS_MAX (REGION_BYTES_MAX / 2 + 64)

typedef struct split_plan {
    operator_plan plan;
    uint32_t from;
    bool lowercase;
    bool others; /* other columns are read downstream */
    bool *needed;
} split_plan;

typedef struct split_state {
    operator operator;
    run_context *run;
    batch *in;           /* the batch that `column` and the cursor belong to; NULL between batches */
    column text;         /* its text, lowered if asked for */
    uint32_t row;        /* first row not yet in a region */
    const uint8_t *region;
    uint32_t n_words, next_word, region_rows_begin;
    uint32_t long_at;    /* bytes done of a text longer than a region */
    uint64_t bits[REGION_BYTES_MAX / 64 + 1];
    uint16_t starts[REGION_WORDS_MAX], ends[REGION_WORDS_MAX];
    uint8_t small[VIEW_SMALL_MAX];
    void (*make_views)(const uint8_t *region, const uint16_t *starts, const uint16_t *ends, uint32_t n,
                       view *out);
    void (*flatten)(const uint64_t *bits, uint32_t n, uint16_t *starts, uint16_t *ends, uint32_t *n_words);
} split_state;

/* ---- kernels ---- */

static void make_views_plain(const uint8_t *region, const uint16_t *starts, const uint16_t *ends,
                             uint32_t n, view *out) {
    for (uint32_t i = 0; i < n; i++)
        out[i] = view_make(region + starts[i], (uint32_t)ends[i] - starts[i]);
}

/* Bits of a region of n bytes, 1 = white space -> where words start, and where they end (exclusive). */
static void flatten_plain(const uint64_t *bits, uint32_t n, uint16_t *starts, uint16_t *ends,
                          uint32_t *n_words) {
    uint64_t carry = 0; /* bit 0: the byte before is part of a word */
    uint32_t n_starts = 0, n_ends = 0;
    for (uint32_t base = 0; base < n; base += 64) {
        uint64_t word = ~bits[base / 64];
        if (n - base < 64) word &= (1ull << (n - base)) - 1;
        uint64_t before = word << 1 | carry;
        carry = word >> 63;
        for (uint64_t s = word & ~before; s; s &= s - 1)
            starts[n_starts++] = (uint16_t)(base + (uint32_t)__builtin_ctzll(s));
        for (uint64_t e = ~word & before; e; e &= e - 1)
            ends[n_ends++] = (uint16_t)(base + (uint32_t)__builtin_ctzll(e));
    }
    if (n_ends < n_starts) ends[n_ends] = (uint16_t)n;
    *n_words = n_starts;
}

#if defined(__x86_64__)
/* A masked load sets size, bytes and zero padding of a short view at once. */
TARGET_AVX512 static void make_views_avx512(const uint8_t *region, const uint16_t *starts,
                                            const uint16_t *ends, uint32_t n, view *out) {
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *p = region + starts[i];
        uint32_t size = (uint32_t)ends[i] - starts[i];
        uint32_t kept = size <= VIEW_SMALL_MAX ? size : 4;
        __m128i v = _mm_maskz_loadu_epi8((__mmask16)(((1u << kept) - 1) << 4), p - 4);
        v = _mm_insert_epi32(v, (int)size, 0);
        if (size > VIEW_SMALL_MAX) v = _mm_insert_epi64(v, (long long)(uintptr_t)p, 1);
        _mm_storeu_si128((__m128i *)(void *)(out + i), v);
    }
}

/* At most 32 words start, and 32 end, in 64 bytes: one compress and one widening store each. */
TARGET_AVX512 static void flatten_avx512(const uint64_t *bits, uint32_t n, uint16_t *starts,
                                         uint16_t *ends, uint32_t *n_words) {
    uint8_t numbers[64];
    for (int i = 0; i < 64; i++) numbers[i] = (uint8_t)i;
    __m512i iota = _mm512_loadu_si512(numbers);
    uint64_t carry = 0;
    uint32_t n_starts = 0, n_ends = 0;
    for (uint32_t base = 0; base < n; base += 64) {
        uint64_t word = ~bits[base / 64];
        if (n - base < 64) word &= (1ull << (n - base)) - 1;
        uint64_t before = word << 1 | carry;
        carry = word >> 63;
        __m512i at = _mm512_set1_epi16((short)base);
        __m512i s = _mm512_maskz_compress_epi8(word & ~before, iota);
        __m512i e = _mm512_maskz_compress_epi8(~word & before, iota);
        _mm512_storeu_si512(starts + n_starts,
                            _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_castsi512_si256(s)), at));
        _mm512_storeu_si512(ends + n_ends,
                            _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_castsi512_si256(e)), at));
        n_starts += (uint32_t)_mm_popcnt_u64(word & ~before);
        n_ends += (uint32_t)_mm_popcnt_u64(~word & before);
    }
    if (n_ends < n_starts) ends[n_ends] = (uint16_t)n;
    *n_words = n_starts;
}
#endif

/* ---- the operator ---- */

static tw_status split_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    split_state *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for split_words");
    s->operator = (operator){.class = plan->class, .plan = plan};
    s->run = run;
    s->make_views = make_views_plain;
    s->flatten = flatten_plain;
#if defined(__x86_64__)
    if (cpu_level_here() == CPU_AVX512) {
        s->make_views = make_views_avx512;
        s->flatten = flatten_avx512;
    }
#endif
    *out = &s->operator;
    return TW_OK;
}

static void forget(split_state *s) {
    column_clear(&s->text);
    s->in = NULL;
    s->row = s->n_words = s->next_word = s->long_at = 0;
}

static void split_close(operator *self) {
    column_clear(&((split_state *)self)->text);
    free(self);
}

/* A copy of the text column in lower case. */
static tw_status lower_column(memory *m, const column *in, column *out, tw_error *err) {
    const view *v = in->values;
    size_t bytes = 1;
    for (uint32_t i = 0; i < in->rows; i++)
        if (column_is_valid(in, i)) bytes += (size_t)v[i].size * UTF8_CASE_GROWTH;
    column c;
    TRY(column_new(m, in->type, in->rows, &c, err));
    tw_status status = buffer_new(m, MEMORY_FLOW, bytes, &c.heap, err);
    if (status != TW_OK) {
        column_clear(&c);
        return status;
    }
    uint8_t *to = c.heap->data;
    view *lowered = c.values;
    for (uint32_t i = 0; i < in->rows; i++) {
        uint32_t size = column_is_valid(in, i) ? v[i].size : 0;
        size_t n = utf8_lower((const char *)view_data(&v[i]), size, (char *)to, (size_t)size * UTF8_CASE_GROWTH);
        lowered[i] = view_make(to, (uint32_t)n);
        to += n;
    }
    *out = c;
    return TW_OK;
}

/* Whether `next` lies behind `end` with nothing but a line's end between, so that both can be scanned as
 * one stretch of memory. The views of one batch are of one heap or of several; the one or two bytes
 * between are readable either way, as buffers are padded. */
static bool follows(const uint8_t *end, const uint8_t *next) {
    if (next == end + 1) return *end == '\n';
    return next == end + 2 && end[0] == '\r' && end[1] == '\n';
}

/* Scans the next region: words of row s->row and of those that follow it in memory. False: no rows left. */
static bool next_region(split_state *s) {
    const view *v = s->text.values;
    uint32_t rows = s->in->rows;
    while (s->row < rows && (!column_is_valid(&s->text, s->row) || v[s->row].size == 0)) s->row++;
    if (s->row == rows) return false;
    const view *first = &v[s->row];
    uint32_t size = first->size;
    s->region_rows_begin = s->row;
    s->row++;
    if (size <= VIEW_SMALL_MAX) {
        memcpy(s->small, first->small, VIEW_SMALL_MAX);
        s->region = s->small;
    } else {
        s->region = first->data;
        while (s->row < rows && column_is_valid(&s->text, s->row) && v[s->row].size > VIEW_SMALL_MAX &&
               follows(s->region + size, v[s->row].data) &&
               (size_t)(v[s->row].data - s->region) + v[s->row].size <= REGION_BYTES_MAX) {
            size = (uint32_t)(v[s->row].data - s->region) + v[s->row].size;
            s->row++;
        }
    }
    scan_space_bitmap(s->region, size, s->bits);
    s->flatten(s->bits, size, s->starts, s->ends, &s->n_words);
    s->next_word = 0;
    return true;
}

/* A text that is longer than a region: its words one by one, without the arrays. */
static bool is_long(const split_state *s) {
    const view *v = (const view *)s->text.values + s->row;
    return s->row < s->in->rows && column_is_valid(&s->text, s->row) && v->size > REGION_BYTES_MAX;
}

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static uint32_t split_long(split_state *s, view *out, uint32_t room) {
    const view *v = (const view *)s->text.values + s->row;
    uint32_t n = 0, at = s->long_at;
    while (n < room) {
        while (at < v->size && is_space(v->data[at])) at++;
        if (at == v->size) break;
        uint32_t begin = at;
        while (at < v->size && !is_space(v->data[at])) at++;
        out[n++] = view_make(v->data + begin, at - begin);
    }
    s->long_at = at;
    if (n < room) {
        s->row++;
        s->long_at = 0;
    }
    return n;
}

/* Which input row each of n new words came from. */
static void note_rows(const split_state *s, const view *texts, uint32_t n, uint32_t *rows) {
    uint32_t row = s->region_rows_begin;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *p = s->region + s->starts[s->next_word + i];
        while (s->region != s->small && p >= texts[row].data + texts[row].size) row++;
        rows[i] = row;
    }
}

/* The next up to `room` words into out, and with `rows` where they came from. *left: there may be more. */
static uint32_t next_words(split_state *s, view *out, uint32_t *rows, uint32_t room, bool *left) {
    uint32_t n = 0;
    *left = true;
    while (n < room && *left) {
        if (s->next_word < s->n_words) {
            uint32_t take = s->n_words - s->next_word < room - n ? s->n_words - s->next_word : room - n;
            s->make_views(s->region, s->starts + s->next_word, s->ends + s->next_word, take, out + n);
            if (rows) note_rows(s, s->text.values, take, rows + n);
            s->next_word += take;
            n += take;
        } else if (is_long(s)) {
            uint32_t row = s->row, made = split_long(s, out + n, room - n);
            for (uint32_t i = 0; rows && i < made; i++) rows[n + i] = row;
            n += made;
        } else {
            *left = next_region(s);
        }
    }
    return n;
}

/* The columns beside the words. */
static tw_status add_others(memory *m, const split_plan *p, const batch *in, const uint32_t *rows,
                            buffer *rows_buffer, batch *out, tw_error *err) {
    for (uint32_t c = 0; c < p->plan.out->n && p->others; c++)
        if (c != p->from && p->needed[c])
            TRY(column_pick(m, &in->columns[c], rows, out->rows, &out->columns[c], err));
    return p->plan.origin_wanted ? batch_inherit_origin(m, in, rows, rows_buffer, out, err) : TW_OK;
}

static tw_status make_batch(split_state *s, const split_plan *p, batch *in, batch **out, bool *left,
                            tw_error *err) {
    memory *m = s->run->memory;
    uint32_t room = s->run->batch_rows;
    bool rows_wanted = p->others || (p->plan.origin_wanted && in->origin);
    column words;
    TRY(column_new(m, p->plan.out->fields[p->from].type, room, &words, err));
    buffer *rows = NULL;
    tw_status status = rows_wanted ? buffer_new(m, MEMORY_FLOW, room * sizeof(uint32_t), &rows, err) : TW_OK;
    uint32_t *row_of = rows ? (uint32_t *)(void *)rows->data : NULL;
    batch *b = NULL;
    if (status == TW_OK) status = batch_new(p->plan.out, room, &b, err);
    uint32_t n = status == TW_OK ? next_words(s, words.values, row_of, room, left) : 0;
    if (n) {
        b->rows = n;
        for (uint32_t c = 0; c < b->schema->n; c++) {
            b->columns[c].type = b->schema->fields[c].type;
            b->columns[c].rows = n; /* absent unless somebody reads it */
        }
        words.rows = n;
        words.heap = buffer_ref(s->text.heap);
        b->columns[p->from] = words;
        b->position = in->position;
        if (rows) status = add_others(m, p, in, row_of, rows, b, err);
        /* The words are taken: a second call would not give them again. */
        if (status == TW_ERR_MEMORY) status = TW_ERR_INTERNAL;
    } else {
        column_clear(&words);
    }
    buffer_unref(rows);
    if (status == TW_OK && n) *out = b;
    else batch_unref(b);
    return status;
}

static tw_status split_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    split_state *s = (split_state *)self;
    const split_plan *p = (const split_plan *)self->plan;
    if (s->in != in) {
        forget(s);
        if (p->lowercase) TRY(lower_column(s->run->memory, &in->columns[p->from], &s->text, err));
        else column_share(&in->columns[p->from], &s->text);
        s->in = in;
    }
    bool left = true;
    tw_status status = make_batch(s, p, in, out, &left, err);
    if (status == TW_OK && !left) forget(s);
    *more = left;
    return status;
}

static void split_needs(operator_plan *plan, const bool *needed_out, bool *needed_in) {
    split_plan *p = (split_plan *)plan;
    for (uint32_t i = 0; i < plan->out->n; i++) {
        needed_in[i] = needed_out[i] || i == p->from;
        p->needed[i] |= needed_in[i];
        p->others |= i != p->from && needed_out[i];
    }
}

static void split_free(operator_plan *plan) {
    free(((split_plan *)plan)->needed);
    free(plan);
}

static const operator_class split_class = {
    .open = split_open,
    .process = split_process,
    .close = split_close,
    .needs = split_needs,
    .free = split_free,
};

static tw_status split_build(stream *s, const args *a, tw_error *err) {
    plan_builder *b = s->builder;
    int from = plan_column(s, a, "from", NULL, args_string(a, "from"));
    if (from < 0) return TW_ERR_JOB;
    const type *t = s->schema->fields[from].type;
    if (t->kind != TYPE_STRING) {
        char name[64];
        return args_error(a, "from", plan_errors(b), "column '%s' is %s, not string", args_string(a, "from"),
                          type_name(t, name, sizeof name));
    }
    int taken = schema_find(s->schema, args_string(a, "into"));
    if (taken >= 0 && taken != from)
        return args_error(a, "into", plan_errors(b), "there is a column '%s' already", args_string(a, "into"));
    schema *out;
    TRY(schema_replace(s->schema, (uint32_t)from, args_string(a, "into"), t, &out, err));
    split_plan *p = calloc(1, sizeof *p);
    bool *needed = calloc(out->n, sizeof *needed);
    if (!p || !needed) {
        free(p);
        free(needed);
        schema_unref(out);
        return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    }
    p->plan = (operator_plan){.class = &split_class, .name = "split_words"};
    p->from = (uint32_t)from;
    p->needed = needed;
    p->lowercase = args_bool(a, "lowercase");
    tw_status status = stream_add_operator(s, &p->plan, out, err);
    schema_unref(out);
    return status;
}

static const option split_options[] = {
    {"from", OPTION_COLUMN, 0, "the string column to split", .default_text = "line"},
    {"into", OPTION_STRING, 0, "the name of the column of words", .default_text = "word"},
    {"lowercase", OPTION_BOOL, 0, "turn the words to lower case first", .default_text = "false"},
};

const step_descriptor step_split_words = {
    .descriptor = {.name = "split_words",
                   .summary = "one row for each word of a text",
                   .options = split_options,
                   .n_options = COUNT_OF(split_options),
                   .details = "Splits at ASCII white space and drops empty words. The words take the text's "
                              "place; the other columns are repeated.",
                   .example = "- split_words: {from: line, into: word}"},
    .build = split_build,
};
