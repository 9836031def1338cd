#include "data/generate_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct kind_functions {
    size_t (*bytes)(const generate *, uint64_t first, size_t count, uint8_t *out);
    void (*values)(const generate *, uint64_t first, size_t count, void *const *columns);
} kind_functions;

/* `text` is made by chunks of bytes, not by rows. */
static const kind_functions functions[GENERATE_KIND_COUNT] = {
    [GENERATE_KIND_RECORDS] = {records_bytes, NULL},
    [GENERATE_KIND_POINTS] = {points_bytes, points_values},
    [GENERATE_KIND_LINEAR] = {linear_bytes, linear_values},
    [GENERATE_KIND_GRAPH] = {graph_bytes, graph_values},
    [GENERATE_KIND_MESSAGES] = {messages_bytes, NULL},
    [GENERATE_KIND_EVENTS] = {events_bytes, events_values},
};

/* ---- creation ---- */

/* Rows, columns and the most bytes of a row, from the options. */
static tw_status set_shape(generate *g, tw_error *err) {
    const generate_value *values = g->options.values;
    switch (g->kind) {
    case GENERATE_KIND_TEXT:
        g->seed = (uint64_t)values[TEXT_SEED].integer;
        g->bytes = (uint64_t)values[TEXT_BYTES].integer;
        g->rows = UINT64_MAX;
        g->columns = 1;
        break;
    case GENERATE_KIND_RECORDS:
        g->seed = (uint64_t)values[RECORDS_SEED].integer;
        g->rows = (uint64_t)values[RECORDS_ROWS].integer;
        g->columns = 2;
        g->row_bytes_max = RECORD_BYTES;
        break;
    case GENERATE_KIND_POINTS:
        g->seed = (uint64_t)values[POINTS_SEED].integer;
        g->rows = (uint64_t)values[POINTS_ROWS].integer;
        g->columns = (size_t)values[POINTS_COLUMNS].integer;
        g->row_bytes_max = g->columns * POINT_BYTES;
        break;
    case GENERATE_KIND_LINEAR:
        g->seed = (uint64_t)values[LINEAR_SEED].integer;
        g->rows = (uint64_t)values[LINEAR_ROWS].integer;
        g->columns = (size_t)values[LINEAR_COLUMNS].integer + 1;
        g->row_bytes_max = LINEAR_Y_BYTES + g->columns * POINT_BYTES;
        break;
    case GENERATE_KIND_GRAPH:
        g->seed = (uint64_t)values[GRAPH_SEED].integer;
        g->rows = (uint64_t)values[GRAPH_EDGE_FACTOR].integer << values[GRAPH_SCALE].integer;
        g->columns = 2;
        g->row_bytes_max = EDGE_BYTES;
        break;
    case GENERATE_KIND_MESSAGES:
        g->seed = (uint64_t)values[MESSAGES_SEED].integer;
        g->rows = (uint64_t)values[MESSAGES_ROWS].integer;
        g->columns = 1;
        g->row_bytes_max = (size_t)values[MESSAGES_SIZE].integer + 1;
        if (values[MESSAGES_CPU].integer % 1000 != 0)
            return error_set(err, TW_ERR_JOB,
                             "option 'cpu' of generate messages must be whole milliseconds, not "
                             "%" PRId64 " us",
                             values[MESSAGES_CPU].integer);
        break;
    case GENERATE_KIND_EVENTS:
        g->seed = (uint64_t)values[EVENTS_SEED].integer;
        g->rows = (uint64_t)values[EVENTS_ROWS].integer;
        g->columns = 3;
        g->row_bytes_max = EVENT_BYTES;
        if (g->rows > events_rows_max(values[EVENTS_INTERVAL].integer))
            return error_set(err, TW_ERR_JOB,
                             "%" PRIu64 " events at this 'interval' go past the year 9999", g->rows);
        break;
    }
    return TW_OK;
}

static void set_chunks(generate *g) {
    uint64_t units = g->rows, units_per_chunk = 1;
    if (g->kind == GENERATE_KIND_TEXT) {
        units = g->bytes;
        units_per_chunk = GENERATE_CHUNK_BYTES;
        g->chunk_bytes_max = GENERATE_CHUNK_BYTES;
    } else {
        if (g->row_bytes_max < GENERATE_CHUNK_BYTES)
            units_per_chunk = GENERATE_CHUNK_BYTES / g->row_bytes_max;
        g->rows_per_chunk = units_per_chunk;
        g->chunk_bytes_max = units_per_chunk * g->row_bytes_max + GENERATE_STORE_SLACK;
    }
    g->chunks = units / units_per_chunk + (units % units_per_chunk != 0);
}

tw_status generate_create(const generate_options *options, generate **out, tw_error *err) {
    size_t count;
    unsigned kind = (unsigned)(options->kind - generate_kinds(&count));
    size_t coefficients = 0;
    if (kind == GENERATE_KIND_LINEAR)
        coefficients = (size_t)options->values[LINEAR_COLUMNS].integer + 1;
    generate *g = calloc(1, sizeof *g + coefficients * sizeof *g->coefficients_milli);
    if (!g)
        return error_set(err, TW_ERR_MEMORY, "no memory for generate %s", options->kind->name);
    g->options = *options;
    g->kind = kind;
    g->kernel = text_kernel_avx512() ? text_kernel_avx512() : &text_kernel_plain;
    tw_status status = set_shape(g, err);
    if (status != TW_OK) {
        free(g);
        return status;
    }
    g->key = random_stream(g->seed, kind);
    set_chunks(g);
    if (kind == GENERATE_KIND_LINEAR) linear_prepare(g);
    if (kind == GENERATE_KIND_GRAPH) graph_prepare(g);
    if (kind == GENERATE_KIND_MESSAGES) messages_prepare(g);
    *out = g;
    return TW_OK;
}

void generate_free(generate *g) { free(g); }

/* ---- shape ---- */

size_t generate_columns(const generate *g) { return g->columns; }

generate_column generate_column_at(const generate *g, size_t index) {
    static const generate_column named[GENERATE_KIND_COUNT][3] = {
        [GENERATE_KIND_TEXT] = {{"line", GENERATE_COLUMN_STRING}},
        [GENERATE_KIND_RECORDS] = {{"key", GENERATE_COLUMN_BINARY},
                                   {"rest", GENERATE_COLUMN_BINARY}},
        [GENERATE_KIND_GRAPH] = {{"from", GENERATE_COLUMN_INT64}, {"to", GENERATE_COLUMN_INT64}},
        [GENERATE_KIND_MESSAGES] = {{"content", GENERATE_COLUMN_BINARY}},
        [GENERATE_KIND_EVENTS] = {{"ts", GENERATE_COLUMN_TIMESTAMP},
                                  {"key", GENERATE_COLUMN_INT64},
                                  {"value", GENERATE_COLUMN_FLOAT64}},
    };
    if (g->kind != GENERATE_KIND_POINTS && g->kind != GENERATE_KIND_LINEAR)
        return named[g->kind][index];
    generate_column column = {"y", GENERATE_COLUMN_FLOAT64};
    size_t first_x = g->kind == GENERATE_KIND_LINEAR;
    if (index >= first_x) snprintf(column.name, sizeof column.name, "x%zu", index - first_x);
    return column;
}

tw_status generate_header(const generate *g, char **header, size_t *size, tw_error *err) {
    *header = NULL;
    *size = 0;
    if (strcmp(g->options.kind->format, "csv") != 0) return TW_OK;
    char *text = malloc(g->columns * sizeof(generate_column));
    if (!text) return error_set(err, TW_ERR_MEMORY, "no memory for a CSV header");
    size_t length = 0;
    for (size_t i = 0; i < g->columns; i++) {
        generate_column column = generate_column_at(g, i);
        size_t name_length = strlen(column.name);
        memcpy(text + length, column.name, name_length);
        length += name_length;
        text[length++] = i + 1 < g->columns ? ',' : '\n';
    }
    *header = text;
    *size = length;
    return TW_OK;
}

uint64_t generate_rows_total(const generate *g) { return g->rows; }

uint64_t generate_bytes_total(const generate *g) {
    switch (g->kind) {
    case GENERATE_KIND_TEXT: return g->bytes;
    case GENERATE_KIND_RECORDS: return g->rows * RECORD_BYTES;
    case GENERATE_KIND_MESSAGES: {
        uint64_t bytes;
        return __builtin_mul_overflow(g->rows, g->row_bytes_max, &bytes) ? UINT64_MAX : bytes;
    }
    default: return UINT64_MAX;
    }
}

uint64_t generate_chunks(const generate *g) { return g->chunks; }

size_t generate_chunk_bytes_max(const generate *g) { return g->chunk_bytes_max; }

void generate_chunk_range(const generate *g, uint64_t chunk, uint64_t *first, size_t *count) {
    *first = 0;
    *count = 0;
    if (g->kind == GENERATE_KIND_TEXT || chunk >= g->chunks) return;
    *first = chunk * g->rows_per_chunk;
    uint64_t left = g->rows - *first;
    *count = (size_t)(left < g->rows_per_chunk ? left : g->rows_per_chunk);
}

/* ---- bytes and values ---- */

tw_status generate_chunk_bytes(const generate *g, uint64_t chunk, uint8_t *out, size_t capacity,
                               size_t *size, tw_error *err) {
    if (chunk >= g->chunks)
        return error_set(err, TW_ERR_INTERNAL, "generate: chunk %" PRIu64 " of %" PRIu64, chunk,
                         g->chunks);
    if (capacity < g->chunk_bytes_max)
        return error_set(err, TW_ERR_INTERNAL, "generate: %zu bytes for a chunk of up to %zu",
                         capacity, g->chunk_bytes_max);
    if (g->kind == GENERATE_KIND_TEXT) {
        uint64_t left = g->bytes - chunk * GENERATE_CHUNK_BYTES;
        *size = text_chunk(g, g->kernel, chunk, out,
                           left < GENERATE_CHUNK_BYTES ? (size_t)left : GENERATE_CHUNK_BYTES);
        return TW_OK;
    }
    uint64_t first;
    size_t count;
    generate_chunk_range(g, chunk, &first, &count);
    *size = functions[g->kind].bytes(g, first, count, out);
    return TW_OK;
}

tw_status generate_values(const generate *g, uint64_t first, size_t count, void *const *columns,
                          tw_error *err) {
    if (!functions[g->kind].values)
        return error_set(err, TW_ERR_INTERNAL, "generate %s has no values, only bytes",
                         g->options.kind->name);
    if (first > g->rows || count > g->rows - first)
        return error_set(err, TW_ERR_INTERNAL,
                         "generate: rows %" PRIu64 " to %" PRIu64 " of %" PRIu64, first,
                         first + count, g->rows);
    functions[g->kind].values(g, first, count, columns);
    return TW_OK;
}

static size_t line_slices(const uint8_t *chunk, size_t size, size_t *position,
                          generate_slice *slices, size_t slices_max) {
    size_t n = 0;
    for (; n < slices_max && *position < size; n++) {
        const uint8_t *end = memchr(chunk + *position, '\n', size - *position);
        size_t length = end ? (size_t)(end - chunk) - *position : size - *position;
        slices[n] = (generate_slice){(uint32_t)*position, (uint32_t)length};
        *position += length + (end != NULL);
    }
    return n;
}

tw_status generate_slices(const generate *g, size_t column, const uint8_t *chunk, size_t size,
                          size_t *position, generate_slice *slices, size_t slices_max,
                          size_t *count, tw_error *err) {
    *count = 0;
    if (functions[g->kind].values || column >= g->columns || *position > size)
        return error_set(err, TW_ERR_INTERNAL, "generate %s: no slices of column %zu at %zu",
                         g->options.kind->name, column, *position);
    if (g->kind == GENERATE_KIND_TEXT) {
        *count = line_slices(chunk, size, position, slices, slices_max);
        return TW_OK;
    }
    size_t row_bytes = g->row_bytes_max, offset = 0, length = row_bytes - 1;
    if (g->kind == GENERATE_KIND_RECORDS) {
        offset = column == 0 ? 0 : RECORD_KEY_BYTES;
        length = column == 0 ? RECORD_KEY_BYTES : RECORD_BYTES - RECORD_KEY_BYTES;
    }
    size_t n = (size - *position) / row_bytes;
    if (n > slices_max) n = slices_max;
    for (size_t i = 0; i < n; i++, *position += row_bytes)
        slices[i] = (generate_slice){(uint32_t)(*position + offset), (uint32_t)length};
    *count = n;
    return TW_OK;
}
