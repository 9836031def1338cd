/* Splits, compression, patterns and files that change: the source as a whole. */
#include <isa-l/igzip_lib.h>
#include <linux/capability.h>
#include <lz4frame.h>
#include <sys/syscall.h>
#include <zstd.h>

#include "unit/io/collect.h"

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators" (2016). */
static uint64_t seed = 88172645463325252u;
static uint64_t random_number(void) {
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * 0x2545f4914f6cdd1dULL;
}

/* Root reads everything: this thread, and those that it starts, from here on do not. */
static void drop_privileges(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    assert_int_equal(syscall(SYS_capget, &header, data), 0);
    data[0].effective &= ~(1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH);
    assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

static const uint32_t batch_sizes[] = {0, 1, 7, 1000};

static void expect_text(const char *options, const collect_options *o, const struct text *expected) {
    tw_error err;
    if (collect(options, o, &err) != TW_OK)
        fail_msg("%s: %s (%s, record %llu)", options, err.message, err.file, (unsigned long long)err.record);
    const char *got = rows_text();
    if (strcmp(got, text_string(expected)) == 0) return;
    size_t at = 0;
    while (got[at] && got[at] == text_string(expected)[at]) at++;
    fail_msg("%s: differs at byte %zu of %zu: '%.60s' instead of '%.60s'", options, at, expected->length, got + at,
             text_string(expected) + at);
}

static void test_lines_in_parts(void **state) {
    struct text file = {0}, expected = {0};
    while (file.length < 5000000) {
        size_t n = random_number() % 16 ? random_number() % 200 : random_number() % 100000;
        for (size_t i = 0; i < n; i++) text_append_char(&file, (char)('a' + (i + file.length) % 26));
        text_append_char(&file, '\n');
    }
    /* A line that ends exactly at a part's end, and one that begins there. */
    file.bytes[(1 << 20) - 1] = '\n';
    file.bytes[(2 << 20) - 1] = 'x';
    file.bytes[(2 << 20)] = '\n';
    text_append(&expected, file.bytes, file.length);
    write_bytes("big.txt", file.bytes, file.length);
    for (size_t b = 0; b < 4; b++) {
        collect_options o = collect_default;
        o.batch_rows = batch_sizes[b];
        o.parallelism = 1 + (uint32_t)b;
        collect_shuffled = b == 2;
        expect_text("path: big.txt", &o, &expected);
        if (o.batch_rows) assert_true(collected.largest_batch <= o.batch_rows);
        assert_int_equal(collect_figures.rows_in, collected.n);
        assert_int_equal(collect_figures.bytes_in, file.length);
    }
    collect_shuffled = false;
    text_free(&file);
    text_free(&expected);
}

/* Quoted fields that hold whole lines which look like rows, some longer than a part. */
static void make_quoted(struct text *file, struct text *expected, size_t bytes) {
    text_append_string(file, "n,t\n");
    for (unsigned n = 0; file->length < bytes; n++) {
        text_printf(file, "%u,", n);
        text_printf(expected, "%u|", n);
        size_t pieces = random_number() % 300 ? random_number() % 30 : random_number() % 60000;
        bool quoted = pieces > 0;
        if (quoted) text_append_char(file, '"');
        for (size_t i = 0; i < pieces; i++) {
            static const char *const inside[] = {"1,fake row\n", "\"\"", "plain, ", "\n\n", "x"};
            static const char *const means[] = {"1,fake row\n", "\"", "plain, ", "\n\n", "x"};
            size_t k = random_number() % 5;
            text_append_string(file, inside[k]);
            text_append_string(expected, means[k]);
        }
        if (quoted) text_append_char(file, '"');
        else text_append_char(expected, '~');
        text_append_char(file, '\n');
        text_append_char(expected, '\n');
    }
}

static void test_csv_in_parts(void **state) {
    struct text file = {0}, expected = {0};
    make_quoted(&file, &expected, 9000000);
    write_bytes("big.csv", file.bytes, file.length);
    for (size_t b = 0; b < 4; b++) {
        collect_options o = collect_default;
        o.batch_rows = batch_sizes[b];
        o.parallelism = b == 3 ? 8 : 1 + (uint32_t)b;
        collect_shuffled = b != 0;
        expect_text("path: big.csv, columns: {n: int64, t: string}", &o, &expected);
    }
    collect_shuffled = false;
    text_free(&file);
    text_free(&expected);
}

static void test_types_in_parts(void **state) {
    struct text file = {0}, expected = {0};
    text_append_string(&file, "a,b,c\n");
    for (int i = 0; i < 200000; i++) {
        text_printf(&file, "%d,%d.25,\"t%d\"\n", i, i, i % 100);
        text_printf(&expected, "%d|%d.25|t%d\n", i, i, i % 100);
    }
    write_bytes("t.csv", file.bytes, file.length);
    expect_text("path: t.csv", &collect_default, &expected);
    write_file("u.csv", "c,b,a\n");
    FILE *f = fopen("u.csv", "a"); /* the same columns in another order, large enough for parts */
    expected.length = 0;
    for (int i = 0; i < 150000; i++) {
        fprintf(f, "t%d,%d.5,%d\n", i % 100, i, i);
        text_printf(&expected, "%d|%d.5|t%d\n", i, i, i % 100);
    }
    fclose(f);
    write_file("s.csv", "a,b,c\n7,7,seven\n");
    struct text all = {0};
    text_append_string(&all, "7|7|seven\n");
    text_append(&all, expected.bytes, expected.length);
    expect_text("path: [s.csv, u.csv], columns: {b: float64}", &collect_default, &all);
    text_free(&all);
    text_free(&file);
    text_free(&expected);
}

static void test_record_numbers_in_parts(void **state) {
    struct text file = {0};
    text_append_string(&file, "n,t\n");
    for (int i = 1; i <= 300000; i++) text_printf(&file, "%d,\"%s\"\n", i == 222222 ? -i : i, i % 3 ? "x" : "two\nlines");
    size_t at = (size_t)(strstr(file.bytes, "\n-222222") - file.bytes);
    file.bytes[at + 2] = 'x';
    write_bytes("n.csv", file.bytes, file.length);
    expect_failure("path: n.csv, columns: {n: int64, t: string}", TW_ERR_DATA, "column 'n': '-x22222' is no int64", 222222);
    collect_options o = collect_default;
    o.parallelism = 4;
    o.policy = BAD_SKIP;
    tw_error err;
    assert_int_equal(collect("path: n.csv, columns: {n: int64, t: string}", &o, &err), TW_OK);
    assert_int_equal(collected.n, 299999);
    file.length = 0;
    for (int i = 1; i <= 300000; i++) text_printf(&file, "line %d%s\n", i, i == 250000 ? "\xff" : "");
    write_bytes("n.txt", file.bytes, file.length);
    expect_failure("path: n.txt", TW_ERR_DATA, "UTF-8", 250000);
    text_free(&file);
}

static void test_records_in_parts(void **state) {
    struct text file = {0}, expected = {0};
    for (int i = 0; i < 400000; i++) {
        text_printf(&file, "%06d", i);
        text_printf(&expected, "%06d\n", i);
    }
    write_bytes("r.dat", file.bytes, file.length);
    expect_text("path: r.dat, format: records, length: 6", &collect_default, &expected);
    assert_int_equal(collect_figures.bytes_in, file.length);
    text_append_string(&file, "odd");
    write_bytes("r.dat", file.bytes, file.length);
    expect_failure("path: r.dat, format: records, length: 6", TW_ERR_DATA, "3 of 6 bytes", 400001);
    text_free(&file);
    text_free(&expected);
}

static void test_small_files(void **state) {
    struct text expected = {0};
    mkdir("small", 0777);
    for (int i = 0; i < 500; i++) {
        char path[64], line[4000];
        snprintf(path, sizeof path, "small/%04d.txt", i);
        memset(line, 'a' + i % 26, sizeof line);
        size_t n = random_number() % 3000;
        snprintf(line + n, sizeof line - n, "%d", i);
        write_file(path, i % 7 ? line : "");
        if (i % 7) text_printf(&expected, "%s\n", line);
    }
    expect_text("path: 'small/*'", &collect_default, &expected);
    write_file("small/0300.txt", "good\n\xff\n");
    expect_failure("path: 'small/*'", TW_ERR_DATA, "UTF-8", 2);
    tw_error err;
    collect("path: 'small/*'", &collect_default, &err);
    assert_string_equal(err.file, "small/0300.txt");
    text_free(&expected);
}

static void test_patterns(void **state) {
    static const char *const names[] = {"p/a/z.txt", "p/a/b/c.txt", "p/a-b/x.txt", "p/A/y.txt", "p/a/b.txt",
                                        "p/a/no.log", "p/.hidden/h.txt", "p/a/.h.txt", "p/x[1].txt"};
    assert_int_equal(system("mkdir -p p/a/b p/a-b p/A p/.hidden; ln -s . p/loop"), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) write_file(names[i], names[i]);
    expect_rows("path: 'p/**/*.txt'", "p/A/y.txt\np/a-b/x.txt\np/a/b.txt\np/a/b/c.txt\np/a/z.txt\np/x[1].txt\n");
    expect_rows("path: 'p/*/*.txt'", "p/A/y.txt\np/a-b/x.txt\np/a/b.txt\np/a/z.txt\np/x[1].txt\n");
    expect_rows("path: 'p/**'", "p/A/y.txt\np/a-b/x.txt\np/a/b.txt\np/a/b/c.txt\np/a/no.log\np/a/z.txt\np/x[1].txt\n");
    expect_rows("path: 'p/x[1].txt'", "p/x[1].txt\n");
    expect_rows("path: ['p/a/[b-z].txt', 'p/a/z.txt', 'p/A/?.txt']", "p/A/y.txt\np/a/b.txt\np/a/z.txt\n");
    expect_failure("path: 'p/**/*.csv'", TW_ERR_JOB, "no file matches", 0);
    drop_privileges();
    chmod("p/A", 0);
    expect_failure("path: 'p/**/*.txt'", TW_ERR_JOB, "p/A", 0);
    chmod("p/A", 0700);
}

/* ---- compression ---- */

static size_t gzip_to(uint8_t *to, size_t room, const void *from, size_t n) {
    struct isal_zstream s;
    isal_deflate_stateless_init(&s);
    s.gzip_flag = IGZIP_GZIP;
    s.end_of_stream = 1;
    s.next_in = (uint8_t *)(uintptr_t)from;
    s.avail_in = (uint32_t)n;
    s.next_out = to;
    s.avail_out = (uint32_t)room;
    assert_int_equal(isal_deflate_stateless(&s), COMP_OK);
    return room - s.avail_out;
}

static size_t zstd_to(uint8_t *to, size_t room, const void *from, size_t n) {
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    size_t made = ZSTD_compress2(c, to, room, from, n);
    ZSTD_freeCCtx(c);
    return made;
}
static size_t lz4_to(uint8_t *to, size_t room, const void *from, size_t n) {
    LZ4F_preferences_t how = {.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled};
    return LZ4F_compressFrame(to, room, from, n, &how);
}

static void test_compressed(void **state) {
    size_t (*const ways[])(uint8_t *, size_t, const void *, size_t) = {gzip_to, zstd_to, lz4_to};
    static const char *const what[] = {"gzip", "zstd", "lz4"};
    struct text file = {0}, expected = {0};
    text_append_string(&file, "n,t\n");
    for (int i = 0; i < 300000; i++) {
        unsigned long long noise = random_number();
        text_printf(&file, "%d,\"t%llx\ny\"\n", i, noise);
        text_printf(&expected, "%d|t%llx\ny\n", i, noise);
    }
    size_t room = file.length * 2 + 100000;
    uint8_t *packed = malloc(room);
    for (size_t w = 0; w < 3; w++) {
        /* Several members, one of them empty. */
        size_t cuts[] = {0, 3, 3, file.length / 3, file.length / 2, file.length}, size = 0;
        for (size_t i = 0; i + 1 < sizeof cuts / sizeof *cuts; i++)
            size += ways[w](packed + size, room - size, file.bytes + cuts[i], cuts[i + 1] - cuts[i]);
        write_bytes("in.csv", packed, size);
        expect_text("path: in.csv", &collect_default, &expected);
        /* Torn, and with a byte changed. */
        write_bytes("in.csv", packed, size - 5);
        expect_failure("path: in.csv, columns: {n: int64, t: string}", TW_ERR_DATA, "torn", 0);
        for (size_t k = 0; k < 20; k++) {
            size_t at = size / 2 + random_number() % (size / 2 - 20);
            packed[at] ^= 0x10;
            write_bytes("in.csv", packed, size);
            packed[at] ^= 0x10;
            tw_error err;
            tw_status status = collect("path: in.csv, columns: {n: int64, t: string}", &collect_default, &err);
            if (status != TW_ERR_DATA) fail_msg("%s: damage at %zu was not seen", what[w], at);
            assert_string_equal(err.file, "in.csv");
        }
        write_bytes("in.csv", packed, size);
        write_bytes("in2.csv", packed, size);
        tw_error err;
        assert_int_equal(collect("path: [in.csv, in2.csv]", &collect_default, &err), TW_OK);
        assert_int_equal(collected.n, 600000);
    }
    free(packed);
    text_free(&file);
    text_free(&expected);
}

static void test_gzip_padding(void **state) {
    uint8_t packed[1000] = {0};
    size_t n = gzip_to(packed, 500, "a\nb\n", 4);
    write_bytes("z.gz", packed, n + 100);
    expect_rows("path: z.gz", "a\nb\n");
    packed[n + 50] = 'x';
    write_bytes("z.gz", packed, n + 100);
    expect_failure("path: z.gz", TW_ERR_DATA, "something else follows", 0);
}

/* ---- memory ---- */

static void test_long_records(void **state) {
    struct text file = {0};
    text_append_string(&file, "first\n");
    text_append_repeated(&file, 'x', 9 << 20);
    text_append_string(&file, "\nlast\n");
    write_bytes("long.txt", file.bytes, file.length);
    collect_options o = collect_default;
    tw_error err;
    assert_int_equal(collect("path: long.txt", &o, &err), TW_OK);
    assert_int_equal(collected.n, 3);
    assert_int_equal(strlen(collected.rows[1].text), 9 << 20);
    o.memory_bytes = 33u << 20;
    assert_int_equal(collect("path: long.txt", &o, &err), TW_ERR_DATA);
    assert_non_null(strstr(err.message, "longer than"));
    assert_int_equal(err.record, 2);
    o.policy = BAD_SKIP;
    assert_int_equal(collect("path: long.txt", &o, &err), TW_OK);
    assert_string_equal(rows_text(), "first\nlast\n");
    uint8_t *packed = malloc(1 << 20);
    size_t n = gzip_to(packed, 1 << 20, file.bytes, file.length);
    write_bytes("long.gz", packed, n);
    assert_int_equal(collect("path: long.gz", &o, &err), TW_OK);
    assert_string_equal(rows_text(), "first\nlast\n");
    o.policy = BAD_FAIL;
    assert_int_equal(collect("path: long.gz", &o, &err), TW_ERR_DATA);
    assert_int_equal(err.record, 2);
    free(packed);
    text_free(&file);
}

static void test_standard_input(void **state) {
    int saved = dup(0);
    struct text file = {0}, expected = {0};
    text_append_string(&file, "a,b\n");
    for (int i = 0; i < 400000; i++) {
        text_printf(&file, "%d,x\n", i);
        text_printf(&expected, "%d|x\n", i);
    }
    write_bytes("in", file.bytes, file.length);
    for (int round = 0; round < 2; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            close(ends[0]);
            for (size_t at = 0; at < file.length;) {
                size_t n = file.length - at < 10007 ? file.length - at : 10007;
                ssize_t done = write(ends[1], file.bytes + at, n);
                if (done <= 0) _exit(1);
                at += (size_t)done;
            }
            _exit(0);
        }
        close(ends[1]);
        dup2(ends[0], 0);
        close(ends[0]);
        expect_text(round ? "path: '-', format: csv, columns: {a: int64, b: string}" : "path: '-', format: csv",
                    &collect_default, &expected);
    }
    dup2(saved, 0);
    close(saved);
    text_free(&file);
    text_free(&expected);
}

static void cut_file(void) { assert_int_equal(truncate("cut.txt", 3000000), 0); }
static void replace_file(void) {
    write_file("other.txt", "something else\n");
    rename("other.txt", "cut.txt");
}

static void test_files_that_change(void **state) {
    struct text file = {0};
    for (int i = 0; i < 1000000; i++) text_printf(&file, "line %d\n", i);
    collect_options o = collect_default;
    o.parallelism = 1;
    tw_error err;
    static void (*const changes[])(void) = {cut_file, replace_file};
    static const char *const messages[] = {"was cut while it was read", "was replaced while it was read"};
    for (size_t i = 0; i < 2; i++) {
        write_bytes("cut.txt", file.bytes, file.length);
        collect_on_push = changes[i];
        assert_int_equal(collect("path: cut.txt", &o, &err), TW_ERR_DATA);
        assert_non_null(strstr(err.message, messages[i]));
        assert_string_equal(err.file, "cut.txt");
        write_bytes("cut.txt", file.bytes, file.length);
        assert_int_equal(collect("path: cut.txt, format: binary", &o, &err), TW_OK);
    }
    collect_on_push = NULL;
    drop_privileges();
    chmod("cut.txt", 0);
    expect_failure("path: cut.txt", TW_ERR_IO, "cut.txt", 0);
    text_free(&file);
}

static void test_wide(void **state) {
    struct text file = {0};
    for (int i = 0; i < 5000; i++) text_printf(&file, "%sc%d", i ? "," : "", i);
    text_append_char(&file, '\n');
    for (int r = 0; r < 40; r++) {
        for (int i = 0; i < 5000; i++) text_printf(&file, "%s%d", i ? "," : "", i + r);
        text_append_char(&file, '\n');
    }
    text_append_repeated(&file, ',', 100000);
    text_append_string(&file, "\n");
    write_bytes("w.csv", file.bytes, file.length);
    expect_failure("path: w.csv", TW_ERR_DATA, "100001 fields instead of 5000", 41);
    collect_options o = collect_default;
    o.policy = BAD_SKIP;
    tw_error err;
    assert_int_equal(collect("path: w.csv", &o, &err), TW_OK);
    assert_int_equal(collected.n, 40);
    assert_int_equal(strncmp(collected.rows[39].text, "39|40|41|", 9), 0);
    text_free(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_in_parts),   cmocka_unit_test(test_csv_in_parts),
        cmocka_unit_test(test_types_in_parts),   cmocka_unit_test(test_record_numbers_in_parts),
        cmocka_unit_test(test_records_in_parts), cmocka_unit_test(test_small_files),
        cmocka_unit_test(test_patterns),         cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_gzip_padding),     cmocka_unit_test(test_long_records),
        cmocka_unit_test(test_standard_input),   cmocka_unit_test(test_wide),
        cmocka_unit_test(test_files_that_change),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
