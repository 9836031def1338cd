/* decode_edges.c: `edges`: two vertices and perhaps a weight a line, white space between; a line that
 * begins with `#` is a comment. */
#include <stdio.h>

#include "data/number_text.h"
#include "data/utf8.h"
#include "io/line_rows.h"

enum { EDGE_FIELDS = 3 };

typedef struct edges_decoder {
    decoder base;
    line_rows lines;
    column columns[EDGE_FIELDS]; /* with room for a whole batch */
    uint32_t n;
    bool long_views[EDGE_FIELDS];
    bool simple; /* two int64 that are both wanted */
} edges_decoder;

static void drop_columns(edges_decoder *d) {
    for (int i = 0; i < EDGE_FIELDS; i++) column_clear(&d->columns[i]);
}

static tw_status edges_reset(decoder *base, tw_error *err) {
    edges_decoder *d = (edges_decoder *)base;
    const schema *s = base->format->schema;
    drop_columns(d);
    d->n = 0;
    for (uint32_t c = 0; c < s->n; c++) {
        d->long_views[c] = false;
        if (!decoder_needs(base, c)) continue;
        TRY(column_new(base->run->memory, s->fields[c].type, base->run->batch_rows, &d->columns[c], err));
    }
    d->simple = s->n == 2;
    for (uint32_t c = 0; c < 2; c++)
        d->simple &= s->fields[c].type->kind == TYPE_INT64 && d->columns[c].values;
    return TW_OK;
}

typedef struct token {
    const uint8_t *p;
    size_t n;
} token;

static inline bool is_space(uint8_t c) { return c == ' ' || (uint8_t)(c - '\t') < 5; }

/* At most one more than an edge has. */
static unsigned split_tokens(const uint8_t *p, size_t n, token out[EDGE_FIELDS + 1]) {
    const uint8_t *end = p + n;
    for (unsigned count = 0;; count++) {
        while (p < end && is_space(*p)) p++;
        if (p == end || count > EDGE_FIELDS) return count;
        const uint8_t *begin = p;
        while (p < end && !is_space(*p)) p++;
        out[count < EDGE_FIELDS ? count : EDGE_FIELDS] = (token){begin, (size_t)(p - begin)};
    }
}

/* false: the value does not fit. */
static bool read_vertex(const type *t, token text, column *c, uint32_t row, bool *is_long, parse_status *status) {
    if (t->kind == TYPE_INT64) {
        int64_t value = 0;
        *status = parse_int64((const char *)text.p, text.n, &value);
        if (c->values) ((int64_t *)c->values)[row] = value;
    } else if (t->kind == TYPE_INT32) {
        int32_t value = 0;
        *status = parse_int32((const char *)text.p, text.n, &value);
        if (c->values) ((int32_t *)c->values)[row] = value;
    } else {
        bool valid = t->kind == TYPE_BINARY || utf8_valid((const char *)text.p, text.n);
        *status = valid ? PARSE_OK : PARSE_MALFORMED;
        if (c->values && valid) ((view *)c->values)[row] = view_of(text.p, (uint32_t)text.n);
        *is_long |= text.n > VIEW_SMALL_MAX;
    }
    return *status == PARSE_OK;
}

static bool read_weight(const type *t, token text, column *c, uint32_t row, parse_status *status) {
    double value = 0;
    float narrow = 0;
    if (t->kind == TYPE_FLOAT32) *status = parse_float32((const char *)text.p, text.n, &narrow);
    else *status = parse_float64((const char *)text.p, text.n, &value);
    if (c->values && t->kind == TYPE_FLOAT32) ((float *)c->values)[row] = narrow;
    else if (c->values) ((double *)c->values)[row] = value;
    return *status == PARSE_OK;
}

static tw_status no_weight(edges_decoder *d, tw_error *err) {
    column *c = &d->columns[2];
    if (!c->values) return TW_OK;
    TRY(column_need_valid(d->base.run->memory, c, err));
    column_set_null(c, d->n);
    if (c->type->kind == TYPE_FLOAT32) ((float *)c->values)[d->n] = 0;
    else ((double *)c->values)[d->n] = 0;
    return TW_OK;
}

static void describe_misfit(const edges_decoder *d, uint32_t c, token text, parse_status status, char *reason) {
    char shown[SHOWN_MAX];
    shown_text(text.p, text.n, shown);
    misfit_reason(d->base.format, c, shown, status == PARSE_RANGE, reason, REASON_MAX);
}

/* One to seven digits at `p`, of which 8 bytes can be read: how many, 0 if there are none or more. */
static inline unsigned read_digits(const uint8_t *p, int64_t *out) {
    uint64_t x;
    memcpy(&x, p, 8);
    x ^= UINT64_C(0x3030303030303030);
    uint64_t others = ((x + UINT64_C(0x7676767676767676)) | x) & UINT64_C(0x8080808080808080); /* lowest is right */
    if (!others) return 0;
    unsigned n = (unsigned)__builtin_ctzll(others) / 8;
    if (n == 0) return 0;
    x <<= 8 * (8 - n);
    x = x * 10 + (x >> 8);
    const uint64_t mask = UINT64_C(0x000000ff000000ff);
    x = ((x & mask) * UINT64_C(0x000f424000000064) + ((x >> 16) & mask) * UINT64_C(0x0000271000000001)) >> 32;
    *out = (int64_t)x;
    return n;
}

/* What nearly all lines are: two short numbers and one blank between. */
static inline bool read_simple(edges_decoder *d, const uint8_t *p, size_t n) {
    int64_t from, to;
    unsigned first = read_digits(p, &from);
    if (!first || first + 1 >= n || !is_space(p[first])) return false;
    unsigned second = read_digits(p + first + 1, &to);
    if (!second || first + 1 + second != n) return false;
    ((int64_t *)d->columns[0].values)[d->n] = from;
    ((int64_t *)d->columns[1].values)[d->n++] = to;
    return true;
}

static tw_status edges_line(decoder *base, const uint8_t *p, size_t n, line_verdict *out, char reason[REASON_MAX],
                            tw_error *err) {
    edges_decoder *d = (edges_decoder *)base;
    const schema *s = base->format->schema;
    token tokens[EDGE_FIELDS + 1];
    *out = LINE_TAKEN;
    if (d->simple && read_simple(d, p, n)) return TW_OK;
    *out = LINE_BLANK;
    unsigned count = split_tokens(p, n, tokens);
    if (count == 0 || tokens[0].p[0] == '#') return TW_OK;
    *out = LINE_BAD;
    if (count < 2 || count > s->n) {
        snprintf(reason, REASON_MAX, count < 2 ? "an edge has two vertices" : "the line has more than %u fields",
                 s->n);
        return TW_OK;
    }
    parse_status status = PARSE_OK;
    for (uint32_t c = 0; c < 2; c++) {
        if (read_vertex(s->fields[c].type, tokens[c], &d->columns[c], d->n, &d->long_views[c], &status)) continue;
        describe_misfit(d, c, tokens[c], status, reason);
        return TW_OK;
    }
    if (count > 2 && !read_weight(s->fields[2].type, tokens[2], &d->columns[2], d->n, &status)) {
        describe_misfit(d, 2, tokens[2], status, reason);
        return TW_OK;
    }
    if (s->n > 2 && count == 2) TRY(no_weight(d, err));
    d->n++;
    *out = LINE_TAKEN;
    return TW_OK;
}

static tw_status edges_finish(decoder *base, batch *b, tw_error *err) {
    edges_decoder *d = (edges_decoder *)base;
    for (uint32_t c = 0; c < base->format->schema->n; c++) {
        if (!d->columns[c].values) continue;
        b->columns[c] = d->columns[c];
        b->columns[c].rows = d->n;
        if (d->long_views[c]) b->columns[c].heap = buffer_ref(base->span.owner);
        d->columns[c] = (column){0};
    }
    return TW_OK;
}

static const line_rows_class edges_lines = {edges_line, edges_finish, edges_reset};

static void edges_begin(decoder *base) {
    edges_decoder *d = (edges_decoder *)base;
    line_rows_begin(base, &d->lines);
}

static tw_status edges_next(decoder *base, batch **out, tw_error *err) {
    edges_decoder *d = (edges_decoder *)base;
    d->lines.dirty = true; /* columns are made anew for each batch */
    return line_rows_next(base, &d->lines, &edges_lines, out, err);
}

static void edges_free(decoder *base) {
    edges_decoder *d = (edges_decoder *)base;
    drop_columns(d);
    line_rows_free(&d->lines);
}

static const decoder_class edges_class = {edges_begin, edges_next, edges_free};

tw_status edges_decoder_new(const format *f, run_context *run, decoder **out, tw_error *err) {
    return decoder_allocate(sizeof(edges_decoder), &edges_class, out, err);
}
