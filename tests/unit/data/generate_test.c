/* The generators: golden bytes, bytes against values, and the distributions they promise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/generate_internal.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- helpers ---- */

/* A generator of `kind` with options as "name value name value". */
static generate *make(const char *kind, const char *settings) {
    generate_options options;
    tw_error err = {0};
    if (generate_options_default(kind, &options, &err) != TW_OK) fail_msg("%s", err.message);
    char copy[512], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", settings);
    for (char *name = strtok_r(copy, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
        char *value = strtok_r(NULL, " ", &rest);
        if (generate_options_set(&options, name, value, &err) != TW_OK) fail_msg("%s", err.message);
    }
    generate *g = NULL;
    if (generate_create(&options, &g, &err) != TW_OK) fail_msg("%s", err.message);
    return g;
}

typedef struct bytes {
    uint8_t *data;
    size_t size, capacity;
} bytes;

static void bytes_append(bytes *b, const void *data, size_t size) {
    if (b->size + size + 1 > b->capacity) {
        b->capacity = 2 * (b->size + size + 1);
        b->data = realloc(b->data, b->capacity);
        assert_non_null(b->data);
    }
    if (size > 0) memcpy(b->data + b->size, data, size);
    b->size += size;
    b->data[b->size] = 0;
}

/* Header and chunks, chunks made in a buffer of exactly the size asked for. */
static bytes all_bytes(const generate *g) {
    bytes b = {0};
    char *header;
    size_t size;
    assert_int_equal(generate_header(g, &header, &size, NULL), TW_OK);
    bytes_append(&b, header, size);
    free(header);
    size_t capacity = generate_chunk_bytes_max(g);
    uint8_t *out = malloc(capacity);
    for (uint64_t chunk = 0; chunk < generate_chunks(g); chunk++) {
        assert_int_equal(generate_chunk_bytes(g, chunk, out, capacity, &size, NULL), TW_OK);
        assert_true(size <= capacity);
        bytes_append(&b, out, size);
    }
    free(out);
    return b;
}

static bytes written_bytes(const generate *g, unsigned threads) {
    char path[] = "/tmp/generate_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    uint64_t count = 0;
    assert_int_equal(generate_write(g, fd, threads, NULL, &count, NULL), TW_OK);
    bytes b = {malloc(count + 1), count, count + 1};
    assert_int_equal(pread(fd, b.data, count + 1, 0), (ssize_t)count);
    close(fd);
    return b;
}

static void check_near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.9g is not %.9g within %.3g", value, expected, tolerance);
}

/* ---- the promise: the same bytes everywhere ---- */

static const struct {
    const char *kind, *settings;
    uint64_t xxh3;
} golden[] = {
    {"text", "bytes 600000 vocabulary 1000000", UINT64_C(0x6c997909ddaa30ba)},
    {"text", "bytes 1000 vocabulary 2147483648 seed 7", UINT64_C(0x5636b4d755c36bee)},
    {"text", "bytes 300001 vocabulary 3 seed 1", UINT64_C(0x4318232e0e8495a2)},
    {"records", "rows 6000", UINT64_C(0x08380cc6aa84c6e1)},
    {"records", "rows 6000 seed 7", UINT64_C(0xffd0ca17f34f8de1)},
    {"points", "rows 9000 columns 5 clusters 4", UINT64_C(0x3e33f36797a9c53f)},
    {"points", "rows 70 columns 130 clusters 1000 seed 7", UINT64_C(0x83a36ad48b0f1e75)},
    {"linear", "rows 9000 columns 4 noise 0.5", UINT64_C(0xd10410fb2008832b)},
    {"linear", "rows 70 columns 130 noise 0 seed 7", UINT64_C(0xfe0d9ec6d5b018f6)},
    {"graph", "scale 10 edge_factor 16", UINT64_C(0x09c7ddd837da385d)},
    {"graph", "scale 40 edge_factor 1024 seed 7", UINT64_C(0x52109d611e555d89)},
    {"messages", "rows 3000 size 200 cpu 20ms", UINT64_C(0x56fc0dbbd240f9d1)},
    {"messages", "rows 3 size 300000 cpu 999999 seed 7", UINT64_C(0x614522a1955b4107)},
    {"events", "rows 9000 keys 100 out_of_order 0.1", UINT64_C(0xfc921a6f3f83cad4)},
    {"events",
     "rows 9000 keys 9223372036854775807 interval 1d delay 10s out_of_order 1 seed 7",
     UINT64_C(0xbd862ee6a4d60649)},
};

static void golden_bytes(void **state) {
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        generate *g = make(golden[i].kind, golden[i].settings);
        /* A graph of 2^50 edges is hashed by two of its chunks. */
        bytes b = {0};
        if (generate_chunks(g) > 100) {
            b.data = malloc(2 * generate_chunk_bytes_max(g));
            uint64_t last = generate_chunks(g) - 1;
            size_t size;
            assert_int_equal(generate_chunk_bytes(g, 0, b.data, generate_chunk_bytes_max(g),
                                                  &b.size, NULL), TW_OK);
            assert_int_equal(generate_chunk_bytes(g, last, b.data + b.size,
                                                  generate_chunk_bytes_max(g), &size, NULL), TW_OK);
            b.size += size;
        } else {
            b = all_bytes(g);
        }
        uint64_t hash = XXH3_64bits(b.data, b.size);
        if (hash != golden[i].xxh3) {
            print_error("%s %s: 0x%016llx\n", golden[i].kind, golden[i].settings,
                        (unsigned long long)hash);
            wrong++;
        }
        free(b.data);
        generate_free(g);
    }
    assert_int_equal(wrong, 0);
}

static void any_number_of_threads(void **state) {
    static const char *const settings[][2] = {
        {"text", "bytes 1500000"},          {"records", "rows 12345"},
        {"points", "rows 12345 columns 3"}, {"linear", "rows 12345 columns 3"},
        {"graph", "scale 12"},              {"messages", "rows 5000"},
        {"events", "rows 12345"},           {"text", "bytes 0"},
        {"points", "rows 0"},               {"messages", "rows 5 size 400000"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        generate *g = make(settings[i][0], settings[i][1]);
        bytes whole = all_bytes(g);
        for (unsigned threads = 0; threads <= 4; threads += 2) {
            bytes written = written_bytes(g, threads);
            assert_int_equal(written.size, whole.size);
            if (whole.size > 0) assert_memory_equal(written.data, whole.data, whole.size);
            free(written.data);
        }
        if (generate_bytes_total(g) != UINT64_MAX)
            assert_int_equal(generate_bytes_total(g), whole.size);
        free(whole.data);
        generate_free(g);
    }
}

static void write_failures(void **state) {
    generate *g = make("records", "rows 100000");
    tw_error err = {0};
    int fd = open("/dev/full", O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(generate_write(g, fd, 3, NULL, NULL, &err), TW_ERR_IO);
    assert_non_null(strstr(err.message, "No space left"));
    atomic_bool cancel = true;
    assert_int_equal(generate_write(g, fd, 3, &cancel, NULL, &err), TW_ERR_CANCELLED);
    close(fd);
    uint8_t small[10];
    size_t size;
    assert_int_equal(generate_chunk_bytes(g, 0, small, sizeof small, &size, &err), TW_ERR_INTERNAL);
    uint8_t *out = malloc(generate_chunk_bytes_max(g));
    assert_int_equal(generate_chunk_bytes(g, generate_chunks(g), out, generate_chunk_bytes_max(g),
                                          &size, &err), TW_ERR_INTERNAL);
    free(out);
    generate_free(g);
}

/* ---- text ---- */

static void text_sizes(void **state) {
    static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 8, 17, 62, 63, 64, 65, 66, 79, 1000, 262143,
                                   262144, 262145, 262207, 262208, 524288, 1000003};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (unsigned seed = 0; seed < 5; seed++) {
            char settings[100];
            snprintf(settings, sizeof settings, "bytes %zu vocabulary %u seed %u", sizes[i],
                     seed == 4 ? 1 : 50000, seed);
            generate *g = make("text", settings);
            bytes b = all_bytes(g);
            assert_int_equal(b.size, sizes[i]);
            if (b.size > 0) assert_int_equal(b.data[b.size - 1], '\n');
            for (size_t c = 0; c < b.size; c++)
                assert_true((b.data[c] >= 'a' && b.data[c] <= 'z') || b.data[c] == ' ' ||
                            b.data[c] == '\n');
            free(b.data);
            generate_free(g);
        }
}

typedef struct ranked {
    char word[GENERATE_WORD_MAX + 1];
    uint32_t rank;
} ranked;

static int compare_ranked(const void *a, const void *b) {
    return strcmp(((const ranked *)a)->word, ((const ranked *)b)->word);
}

static ranked *vocabulary_of(uint32_t first, size_t count) {
    ranked *words = calloc(count, sizeof *words);
    assert_non_null(words);
    for (size_t i = 0; i < count; i++) {
        words[i].rank = first + (uint32_t)i;
        size_t length = generate_word(words[i].rank, words[i].word);
        assert_in_range(length, 3, GENERATE_WORD_MAX);
        assert_int_equal(strspn(words[i].word, "abcdefghijklmnopqrstuvwxyz"), length);
    }
    qsort(words, count, sizeof *words, compare_ranked);
    return words;
}

static void words_are_distinct(void **state) {
    /* Low ranks densely; each later power of two is where lengths and masks change. */
    static const struct { uint32_t first; size_t count; } ranges[] = {
        {1, 600000}, {(1u << 24) - 50000, 100000}, {(1u << 28) - 50000, 100000},
        {(1u << 31) - 100000, 100001}};
    size_t total = 0;
    ranked *all = NULL;
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
        ranked *words = vocabulary_of(ranges[r].first, ranges[r].count);
        all = realloc(all, (total + ranges[r].count) * sizeof *all);
        assert_non_null(all);
        memcpy(all + total, words, ranges[r].count * sizeof *words);
        total += ranges[r].count;
        free(words);
    }
    qsort(all, total, sizeof *all, compare_ranked);
    for (size_t i = 1; i < total; i++)
        if (strcmp(all[i - 1].word, all[i].word) == 0)
            fail_msg("ranks %u and %u are both %s", all[i - 1].rank, all[i].rank, all[i].word);
    free(all);
}

/* Counts words by rank; fails at a word that is not in the vocabulary. */
static uint64_t *count_words(bytes b, uint32_t vocabulary, uint64_t *total, size_t *short_lines) {
    ranked *words = vocabulary_of(1, vocabulary);
    uint64_t *counts = calloc(vocabulary + 1, sizeof *counts);
    size_t in_line = 0;
    *total = *short_lines = 0;
    for (size_t i = 0; i < b.size;) {
        ranked key = {"", 0};
        size_t length = 0;
        while (b.data[i + length] >= 'a') length++;
        if (length > 0) {
            assert_in_range(length, 3, GENERATE_WORD_MAX);
            memcpy(key.word, b.data + i, length);
            ranked *found = bsearch(&key, words, vocabulary, sizeof *words, compare_ranked);
            if (!found) fail_msg("%s is not in the vocabulary", key.word);
            counts[found->rank]++;
            ++*total;
            in_line++;
        }
        i += length;
        if (b.data[i++] == '\n') {
            assert_in_range(in_line, 0, 14);
            *short_lines += in_line < 10;
            in_line = 0;
        }
    }
    free(words);
    return counts;
}

static void text_follows_zipf(void **state) {
    static const uint32_t vocabularies[] = {1, 2, 3, 7, 100, 1000, 1023, 1025};
    for (size_t v = 0; v < sizeof vocabularies / sizeof *vocabularies; v++) {
        uint32_t vocabulary = vocabularies[v];
        char settings[100];
        snprintf(settings, sizeof settings, "bytes 4MB vocabulary %u seed %zu", vocabulary, v);
        generate *g = make("text", settings);
        bytes b = all_bytes(g);
        uint64_t total;
        size_t short_lines;
        uint64_t *counts = count_words(b, vocabulary, &total, &short_lines);
        assert_true(short_lines <= generate_chunks(g)); /* only where a chunk ends */
        double harmonic = 0, chi_square = 0;
        for (uint32_t r = 1; r <= vocabulary; r++) harmonic += 1.0 / r;
        for (uint32_t r = 1; r <= vocabulary; r++) {
            double expected = (double)total / harmonic / r;
            chi_square += ((double)counts[r] - expected) * ((double)counts[r] - expected) / expected;
        }
        /* Mean n - 1, deviation sqrt(2 (n - 1)); the seeds are fixed, so this is no gamble. */
        double freedom = vocabulary - 1;
        if (chi_square > freedom + 4 * sqrt(2 * freedom) + 1e-9)
            fail_msg("vocabulary %u: chi square %.1f", vocabulary, chi_square);
        free(counts);
        free(b.data);
        generate_free(g);
    }
}

static void text_is_as_dense_as_said(void **state) {
    generate *g = make("text", "bytes 4MB vocabulary 1000000");
    bytes b = all_bytes(g);
    size_t words = 0, lines = 0;
    for (size_t i = 0; i < b.size; i++) {
        words += b.data[i] < 'a' && i > 0 && b.data[i - 1] >= 'a';
        lines += b.data[i] == '\n';
    }
    check_near((double)b.size / (double)words, 6.9, 0.05);
    check_near((double)words / (double)lines, 12.0, 0.05);
    free(b.data);
    generate_free(g);
}

/* Every kernel that this processor can run gives the same bytes, also where a chunk ends in the middle of a vector. */
static void text_kernels_agree(void **state) {
    static const struct {
        const char *settings;
        uint64_t xxh3; /* of three chunks */
    } texts[] = {
        {"vocabulary 1", 0xb4dd7963d9e8bb0cull},
        {"vocabulary 17", 0x956a00b4731fabc0ull},
        {"vocabulary 65536", 0xf7a1e5e4b1ed1f91ull},
        {"vocabulary 1000000", 0xe23f7755ee770865ull},
        {"vocabulary 2147483648", 0x7c258ebfa70db5fdull},
    };
    const text_kernel *const kernels[] = {&text_kernel_plain, text_kernel_avx512()};
    uint8_t *out = malloc(GENERATE_CHUNK_BYTES);
    for (size_t i = 0; i < 2 * sizeof texts / sizeof *texts; i++) {
        if (!kernels[i % 2]) continue; /* the plain one always runs */
        uint64_t hash = 0;
        generate *g = make("text", texts[i / 2].settings);
        for (uint64_t chunk = 0; chunk < 3; chunk++) {
            size_t size = GENERATE_CHUNK_BYTES - 7 * chunk;
            text_chunk(g, kernels[i % 2], chunk, out, size);
            hash = XXH3_64bits_withSeed(out, size, hash);
        }
        if (hash != texts[i / 2].xxh3) print_error("kernel %zu, %s: 0x%016llx\n", i % 2, texts[i / 2].settings, (unsigned long long)hash);
        assert_int_equal(hash, texts[i / 2].xxh3);
        generate_free(g);
    }
    free(out);
}

static void text_slices(void **state) {
    generate *g = make("text", "bytes 30000");
    bytes b = all_bytes(g);
    generate_slice slices[7];
    size_t position = 0, count, next = 0;
    do {
        assert_int_equal(generate_slices(g, 0, b.data, b.size, &position, slices, 7, &count, NULL),
                         TW_OK);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(slices[i].offset, next);
            assert_null(memchr(b.data + next, '\n', slices[i].length));
            next += slices[i].length + 1;
            assert_int_equal(b.data[next - 1], '\n');
        }
    } while (count > 0);
    assert_int_equal(next, b.size);
    free(b.data);
    generate_free(g);
}

/* ---- records, messages ---- */

static void records_are_gensorts(void **state) {
    generate *g = make("records", "rows 6000");
    bytes b = all_bytes(g);
    assert_int_equal(b.size, 600000);
    generate_uint128 random = 0;
    generate_uint128 a = (generate_uint128)UINT64_C(0x2360ed051fc65da4) << 64 |
                         UINT64_C(0x4385df649fccf645);
    generate_uint128 c = (generate_uint128)UINT64_C(0x4a696d4772617952) << 64 |
                         UINT64_C(0x4950202020202001);
    for (unsigned row = 0; row < 6000; row++) {
        random = random * a + c;
        uint8_t expected[101];
        for (unsigned i = 0; i < 10; i++) expected[i] = (uint8_t)(random >> (120 - 8 * i));
        memcpy(expected + 10, "\x00\x11", 2);
        snprintf((char *)expected + 12, 33, "%032X", row);
        memcpy(expected + 44, "\x88\x99\xaa\xbb", 4);
        for (unsigned i = 0; i < 48; i++)
            expected[48 + i] = (uint8_t)"0123456789ABCDEF"[random >> (44 - 4 * (i / 4)) & 15];
        memcpy(expected + 96, "\xcc\xdd\xee\xff", 4);
        assert_memory_equal(b.data + 100 * row, expected, 100);
    }
    assert_memory_equal(b.data, "JimGrayRIP", 10); /* as everyone's gensort begins */
    generate_slice keys[3], rests[3];
    size_t position = 200, count;
    assert_int_equal(generate_slices(g, 0, b.data, 500, &position, keys, 3, &count, NULL), TW_OK);
    assert_int_equal(count, 3);
    assert_int_equal(position, 500);
    assert_int_equal(keys[1].offset, 300);
    assert_int_equal(keys[1].length, 10);
    position = 200;
    assert_int_equal(generate_slices(g, 1, b.data, 500, &position, rests, 2, &count, NULL), TW_OK);
    assert_int_equal(count, 2);
    assert_int_equal(rests[1].offset, 310);
    assert_int_equal(rests[1].length, 90);
    free(b.data);
    generate_free(g);
}

static void messages_have_the_header(void **state) {
    static const size_t sizes[] = {37, 38, 200, 1036, 1037, 1038, 5000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        char settings[100];
        snprintf(settings, sizeof settings, "rows 2500 size %zu cpu 1s", sizes[s]);
        generate *g = make("messages", settings);
        bytes b = all_bytes(g);
        assert_int_equal(b.size, 2500 * (sizes[s] + 1));
        for (size_t row = 0; row < 2500; row++) {
            const char *message = (const char *)b.data + row * (sizes[s] + 1);
            assert_memory_equal(message, "C001000-F", 9);
            char sequence[20];
            snprintf(sequence, sizeof sequence, "_%08zu-", row);
            assert_memory_equal(message + 27, sequence, 10);
            check_near(strtod(message + 9, NULL), 1546300800 + (double)row / 1000, 1e-6);
            for (size_t i = 37; i < sizes[s]; i++)
                assert_true((message[i] >= '0' && message[i] <= '9') ||
                            (message[i] >= 'A' && message[i] <= 'Z') ||
                            (message[i] >= 'a' && message[i] <= 'z'));
            assert_int_equal(message[sizes[s]], '\n');
        }
        free(b.data);
        generate_free(g);
    }
}

/* ---- numbers ---- */

static double **values_of(const generate *g, uint64_t first, size_t count) {
    double **columns = calloc(generate_columns(g), sizeof *columns);
    for (size_t c = 0; c < generate_columns(g); c++) columns[c] = calloc(count, sizeof **columns);
    assert_int_equal(generate_values(g, first, count, (void *const *)columns, NULL), TW_OK);
    return columns;
}

static void values_free(const generate *g, double **columns) {
    for (size_t c = 0; c < generate_columns(g); c++) free(columns[c]);
    free(columns);
}

/* A CSV of floats reads back as the values, bit for bit. */
static void check_csv(const char *kind, const char *settings) {
    generate *g = make(kind, settings);
    bytes b = all_bytes(g);
    size_t rows = (size_t)generate_rows_total(g), columns = generate_columns(g);
    double **values = values_of(g, 0, rows);
    char *at = strchr((char *)b.data, '\n') + 1;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            char *end;
            double read = strtod(at, &end);
            assert_int_equal(*end, c + 1 < columns ? ',' : '\n');
            if (memcmp(&read, &values[c][r], sizeof read) != 0 && !(read == 0 && values[c][r] == 0))
                fail_msg("%s row %zu column %zu: %.20g, not %.20g", kind, r, c, read, values[c][r]);
            at = end + 1;
        }
    assert_ptr_equal(at, b.data + b.size);
    /* Rows out of the middle, only the last column. */
    double *last = calloc(rows, sizeof *last);
    void **wanted = calloc(columns, sizeof *wanted);
    wanted[columns - 1] = last;
    size_t first = rows / 3;
    assert_int_equal(generate_values(g, first, rows / 2, wanted, NULL), TW_OK);
    assert_memory_equal(last, values[columns - 1] + first, rows / 2 * sizeof *last);
    assert_int_equal(generate_values(g, rows, 1, wanted, NULL), TW_ERR_INTERNAL);
    assert_int_equal(generate_values(g, 1, rows, wanted, NULL), TW_ERR_INTERNAL);
    free(last);
    free(wanted);
    values_free(g, values);
    free(b.data);
    generate_free(g);
}

static void csv_reads_back(void **state) {
    check_csv("points", "rows 20000 columns 3 clusters 5");
    check_csv("points", "rows 100 columns 200");
    check_csv("linear", "rows 20000 columns 3");
    check_csv("linear", "rows 100 columns 200 noise 100000");
    check_csv("linear", "rows 1000 columns 1 noise 0 seed 3");
}

static void headers_and_columns(void **state) {
    static const char *const expected[][3] = {
        {"points", "columns 3", "x0,x1,x2\n"},
        {"linear", "columns 2", "y,x0,x1\n"},
        {"events", "", "ts,key,value\n"},
        {"text", "", ""},
    };
    for (size_t i = 0; i < 4; i++) {
        generate *g = make(expected[i][0], expected[i][1]);
        char *header;
        size_t size;
        assert_int_equal(generate_header(g, &header, &size, NULL), TW_OK);
        assert_int_equal(size, strlen(expected[i][2]));
        if (size > 0) assert_memory_equal(header, expected[i][2], size);
        free(header);
        generate_free(g);
    }
    generate *g = make("linear", "columns 65536");
    assert_string_equal(generate_column_at(g, 65536).name, "x65535");
    assert_int_equal(generate_column_at(g, 0).type, GENERATE_COLUMN_FLOAT64);
    bytes b = {malloc(generate_chunk_bytes_max(g)), 0, 0};
    assert_int_equal(generate_chunk_bytes(g, 0, b.data, generate_chunk_bytes_max(g), &b.size, NULL),
                     TW_OK);
    free(b.data);
    generate_free(g);
}

/* Mean, variance, kurtosis and tails of what should be standard normal. */
static void check_normal(const double *values, size_t count) {
    double sum = 0, squares = 0, fourth = 0;
    size_t over[4] = {0};
    for (size_t i = 0; i < count; i++) {
        double z = values[i];
        sum += z;
        squares += z * z;
        fourth += z * z * z * z;
        for (int k = 1; k < 4; k++) over[k] += fabs(z) > k;
    }
    double n = (double)count;
    check_near(sum / n, 0, 4 / sqrt(n));
    check_near(squares / n, 1, 4 * sqrt(2 / n));
    check_near(fourth / n, 3, 4 * sqrt(96 / n));
    for (int k = 1; k < 4; k++) {
        double p = erfc(k / sqrt(2));
        check_near((double)over[k] / n, p, 4 * sqrt(p / n));
    }
}

/* Quantiles from Python's statistics.NormalDist: the middle, both tail formulas, both signs. */
static void normal_quantiles(void **state) {
    static const struct {
        double p, z;
    } known[] = {
        {0x1.0000000000000p-53, -8.209536151601386},
        {0x1.8000000000000p-52, -8.076571004130123},
        {0x1.81cc000000000p-39, -6.892487701380117},
        {0x1.0000200000000p-34, -6.443934237214045},
        {0x1.0000000200000p-22, -5.035405969374734},
        {0x1.0000000000800p-12, -3.487104104114309},
        {0x1.0000000000008p-4, -1.5341205443525452},
        {0x1.0000000000004p-3, -1.1503493803760076},
        {0x1.0000000000002p-2, -0.6744897501960814},
        {0x1.ffc0000000002p-2, -0.0006119698318086424},
        {0x1.4000000000004p-3, -1.0099901692495818},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        /* p is (k + 1/2) / 2^52. */
        uint64_t k = (uint64_t)(known[i].p * 0x1p52);
        check_near(normal_deviate(k << 12) / known[i].z, 1, 4e-15);
        check_near(normal_deviate((UINT64_C(0xfffffffffffff) - k) << 12) / -known[i].z, 1, 4e-15);
    }
    /* To the last bit: a build that fuses multiply and add would fail here. */
    uint64_t hash = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        double z = normal_deviate(i < 50000 ? random_at(1, i) : random_at(1, i) >> (i % 50));
        hash = XXH3_64bits_withSeed(&z, sizeof z, hash);
    }
    if (hash != UINT64_C(0xc2b52038873c0eb8)) fail_msg("0x%016llx", (unsigned long long)hash);
}

static void points_lie_about_centers(void **state) {
    generate *g = make("points", "rows 100000 columns 2 clusters 3");
    double **values = values_of(g, 0, 100000);
    size_t sizes[3] = {0};
    for (size_t r = 0; r < 100000; r++) {
        uint64_t cluster = generate_cluster(g, r);
        assert_in_range(cluster, 0, 2);
        sizes[cluster]++;
        for (size_t c = 0; c < 2; c++) values[c][r] -= generate_center(g, cluster, c);
    }
    for (size_t c = 0; c < 2; c++) check_normal(values[c], 100000);
    for (size_t k = 0; k < 3; k++) check_near((double)sizes[k], 100000 / 3.0, 600);
    assert_true(generate_center(g, 0, 0) != generate_center(g, 1, 0));
    assert_true(generate_center(g, 0, 0) != generate_center(g, 0, 1));
    values_free(g, values);
    generate_free(g);
}

static void linear_is_linear(void **state) {
    static const double noises[] = {0, 0.25};
    for (size_t t = 0; t < 2; t++) {
        char settings[100];
        snprintf(settings, sizeof settings, "rows 50000 columns 4 noise %g", noises[t]);
        generate *g = make("linear", settings);
        double **values = values_of(g, 0, 50000);
        for (size_t r = 0; r < 50000; r++) {
            double y = generate_coefficient(g, 0);
            for (size_t c = 1; c < 5; c++) y += generate_coefficient(g, c) * values[c][r];
            values[0][r] -= y;
            if (noises[t] == 0) check_near(values[0][r], 0, 1e-12);
            values[0][r] /= 0.25;
        }
        for (size_t c = t == 0; c < 5; c++) check_normal(values[c], 50000);
        values_free(g, values);
        generate_free(g);
    }
}

/* ---- graph ---- */

static int compare_descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static void graph_is_kronecker(void **state) {
    enum { SCALE = 4, VERTICES = 16, EDGES = 1024 * VERTICES };
    generate *g = make("graph", "scale 4 edge_factor 1024");
    int64_t *from = calloc(EDGES, sizeof *from), *to = calloc(EDGES, sizeof *to);
    void *columns[2] = {from, to};
    assert_int_equal(generate_rows_total(g), EDGES);
    assert_int_equal(generate_values(g, 0, EDGES, columns, NULL), TW_OK);
    bytes b = all_bytes(g);
    char *at = (char *)b.data;
    double seen[VERTICES * VERTICES] = {0}, expected[VERTICES * VERTICES];
    for (size_t i = 0; i < EDGES; i++) {
        assert_int_equal(strtoll(at, &at, 10), from[i]);
        assert_int_equal(*at++, ' ');
        assert_int_equal(strtoll(at, &at, 10), to[i]);
        assert_int_equal(*at++, '\n');
        assert_in_range(from[i], 0, VERTICES - 1);
        assert_in_range(to[i], 0, VERTICES - 1);
        seen[from[i] * VERTICES + to[i]]++;
    }
    assert_ptr_equal(at, b.data + b.size);
    /* Labels are permuted, so the sorted frequencies of pairs are compared. */
    static const double quadrant[2][2] = {{0.57, 0.19}, {0.19, 0.05}};
    for (unsigned f = 0; f < VERTICES; f++)
        for (unsigned t = 0; t < VERTICES; t++) {
            double p = EDGES;
            for (unsigned level = 0; level < SCALE; level++)
                p *= quadrant[f >> level & 1][t >> level & 1];
            expected[f * VERTICES + t] = p;
        }
    qsort(seen, VERTICES * VERTICES, sizeof *seen, compare_descending);
    qsort(expected, VERTICES * VERTICES, sizeof *expected, compare_descending);
    /* Sums over equal expectations do not depend on how chance ordered them. */
    for (size_t i = 0, n; i < VERTICES * VERTICES && expected[i] > 30; i += n) {
        double seen_sum = 0, expected_sum = 0;
        for (n = 0; expected[i + n] > expected[i] * 0.999; n++) {
            seen_sum += seen[i + n];
            expected_sum += expected[i + n];
        }
        check_near(seen_sum, expected_sum, 4 * sqrt(expected_sum) + 0.02 * expected_sum);
    }
    free(b.data);
    free(from);
    free(to);
    generate_free(g);
}

static void graph_labels_are_a_permutation(void **state) {
    for (int scale = 1; scale <= 6; scale++) {
        char settings[100];
        snprintf(settings, sizeof settings, "scale %d edge_factor 1024 seed 5", scale);
        generate *g = make("graph", settings);
        size_t edges = (size_t)generate_rows_total(g), distinct = 0;
        int64_t *from = calloc(edges, sizeof *from);
        void *columns[2] = {from, NULL};
        assert_int_equal(generate_values(g, 0, edges, columns, NULL), TW_OK);
        bool seen[64] = {false};
        for (size_t i = 0; i < edges; i++) {
            assert_in_range(from[i], 0, (1 << scale) - 1);
            distinct += !seen[from[i]];
            seen[from[i]] = true;
        }
        assert_int_equal(distinct, 1 << scale);
        free(from);
        generate_free(g);
    }
}

/* ---- events ---- */

static void check_events(const char *settings, double late_fraction, int64_t interval,
                         int64_t delay, int64_t keys) {
    generate *g = make("events", settings);
    size_t rows = (size_t)generate_rows_total(g), late = 0;
    int64_t *times = calloc(rows, 8), *key = calloc(rows, 8);
    double *value = calloc(rows, 8);
    void *columns[3] = {times, key, value};
    assert_int_equal(generate_values(g, 0, rows, columns, NULL), TW_OK);
    bytes b = all_bytes(g);
    char *at = strchr((char *)b.data, '\n') + 1;
    int64_t start = INT64_C(1767225600000000), last = INT64_MIN;
    for (size_t i = 0; i < rows; i++) {
        int64_t behind = start + (int64_t)i * interval - times[i];
        assert_true(behind >= 0 && behind <= delay);
        late += behind > 0;
        if (late_fraction == 0) assert_true(times[i] > last);
        last = times[i];
        assert_true(key[i] >= 0 && key[i] < keys);
        assert_true(value[i] >= 0 && value[i] < 1000);
        /* The text: date and time as the C library sees them, then the rest. */
        struct tm tm = {0};
        char text[100];
        time_t seconds = times[i] / 1000000;
        gmtime_r(&seconds, &tm);
        size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
        assert_memory_equal(at, text, n);
        at += n;
        double fraction = *at == '.' ? strtod(at, &at) : 0;
        assert_int_equal(llround(fraction * 1e6), times[i] % 1000000);
        assert_memory_equal(at, "Z,", 2);
        assert_int_equal(strtoll(at + 2, &at, 10), key[i]);
        assert_int_equal(*at++, ',');
        assert_true(strtod(at, &at) == value[i]);
        assert_int_equal(*at++, '\n');
    }
    check_near((double)late / (double)rows, late_fraction, 4 * sqrt(late_fraction / (double)rows));
    free(b.data);
    free(times);
    free(key);
    free(value);
    generate_free(g);
}

static void events_in_and_out_of_order(void **state) {
    check_events("rows 20000 keys 7", 0, 10, 0, 7);
    check_events("rows 20000 out_of_order 0.25 interval 1ms delay 3s", 0.25, 1000, 3000000, 1000);
    check_events("rows 5000 keys 1 out-of-order 1 delay 1us", 1, 10, 1, 1);
    /* Every day for 500 years, with centuries that do and do not leap. */
    check_events("rows 183000 keys 9223372036854775807 interval 1d", 0, INT64_C(86400000000), 0,
                 INT64_MAX);
}

/* ---- limits ---- */

/* Every kind as large as it goes: first and last chunk, and values of the last rows. */
static void extremes(void **state) {
    static const char *const settings[][2] = {
        {"text", "vocabulary 2147483648 seed 9223372036854775807"},
        {"records", "seed 9223372036854775807"},
        {"points", "columns 65536 clusters 2147483648"},
        {"linear", "columns 65536 noise 100000"},
        {"graph", "scale 40 edge_factor 1024"},
        {"messages", "size 1MiB cpu 999999"},
        {"events", "interval 1d delay 1d out_of_order 1 keys 9223372036854775807"},
        {"events", "interval 1us"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        generate *g = make(settings[i][0], settings[i][1]);
        generate_options options = g->options;
        generate_free(g);
        tw_status endless = generate_options_endless(&options, NULL);
        assert_int_equal(endless, strcmp(settings[i][0], "graph") == 0 ? TW_ERR_JOB : TW_OK);
        assert_int_equal(generate_create(&options, &g, NULL), TW_OK);
        size_t capacity = generate_chunk_bytes_max(g), size;
        uint8_t *out = malloc(capacity);
        uint64_t last = generate_chunks(g) - 1, first_row;
        size_t rows;
        assert_true(last > 100);
        assert_int_equal(generate_chunk_bytes(g, 0, out, capacity, &size, NULL), TW_OK);
        assert_true(size <= capacity);
        assert_int_equal(generate_chunk_bytes(g, last, out, capacity, &size, NULL), TW_OK);
        assert_true(size <= capacity);
        generate_chunk_range(g, last, &first_row, &rows);
        if (rows > 0) assert_int_equal(first_row + rows, generate_rows_total(g));
        generate_bytes_total(g);
        if (strcmp(settings[i][0], "text") != 0 && strcmp(settings[i][0], "records") != 0 &&
            strcmp(settings[i][0], "messages") != 0)
            values_free(g, values_of(g, generate_rows_total(g) - 2, 2));
        free(out);
        generate_free(g);
    }
    generate *g = make("messages", "size 1GiB");
    assert_int_equal(generate_chunk_bytes_max(g), (1u << 30) + 1 + GENERATE_STORE_SLACK);
    generate_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_bytes),
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(write_failures),
        cmocka_unit_test(text_sizes),
        cmocka_unit_test(words_are_distinct),
        cmocka_unit_test(text_follows_zipf),
        cmocka_unit_test(text_is_as_dense_as_said),
        cmocka_unit_test(text_kernels_agree),
        cmocka_unit_test(text_slices),
        cmocka_unit_test(records_are_gensorts),
        cmocka_unit_test(messages_have_the_header),
        cmocka_unit_test(csv_reads_back),
        cmocka_unit_test(headers_and_columns),
        cmocka_unit_test(normal_quantiles),
        cmocka_unit_test(points_lie_about_centers),
        cmocka_unit_test(linear_is_linear),
        cmocka_unit_test(graph_is_kronecker),
        cmocka_unit_test(graph_labels_are_a_permutation),
        cmocka_unit_test(events_in_and_out_of_order),
        cmocka_unit_test(extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
