/* What each format makes of small files. */
#include "unit/io/collect.h"

static void test_lines(void **state) {
    write_file("a.txt", "one\ntwo\r\n\nlast line without an end");
    expect_rows("path: a.txt", "one\ntwo\n\nlast line without an end\n");
    assert_string_equal(text_string(&collected.header), "line string");
    expect_rows("path: a.txt, columns: {text: binary}", "one\ntwo\n\nlast line without an end\n");
    assert_string_equal(text_string(&collected.header), "text binary");
    write_file("empty.txt", "");
    expect_rows("path: empty.txt", "");
    write_file("bad.txt", "good\nb\xff" "d\nfine\n");
    expect_failure("path: bad.txt", TW_ERR_DATA, "UTF-8", 2);
    collect_options skip = collect_default;
    skip.policy = BAD_SKIP;
    tw_error err;
    assert_int_equal(collect("path: bad.txt", &skip, &err), TW_OK);
    assert_string_equal(rows_text(), "good\nfine\n");
    assert_int_equal(collect_figures.bad_records, 1);
    expect_rows("path: bad.txt, columns: {line: binary}", "good\nb\xff" "d\nfine\n");
}

static void test_csv(void **state) {
    write_file("a.csv", "i,f,b,d,t,s\n1,1.5,true,2026-01-31,2026-01-31T05:00:00Z,x\n"
                        ",2,false,2026-02-01,2026-02-01 06:00:00.5+01:00,\"\"\r\n3,,,,,\n");
    expect_rows("path: a.csv", "1|1.5|true|2026-01-31|2026-01-31T05:00:00Z|x\n"
                               "~|2|false|2026-02-01|2026-02-01T05:00:00.5Z|\n3|~|~|~|~|~\n");
    assert_string_equal(text_string(&collected.header),
                        "i int64,f float64,b bool,d date,t timestamp,s string");
    expect_rows("path: a.csv, columns: {i: string, f: float32}",
                "1|1.5|true|2026-01-31|2026-01-31T05:00:00Z|x\n"
                "~|2|false|2026-02-01|2026-02-01T05:00:00.5Z|\n3|~|~|~|~|~\n");
    assert_string_equal(text_string(&collected.header),
                        "i string,f float32,b bool,d date,t timestamp,s string");
}

static void test_csv_quotes(void **state) {
    write_file("q.csv", "a,b\n\"x,\"\"y\"\"\",\"two\nlines\"\n\"12\",\"a long text with \"\"quotes\"\" in it\"\n");
    expect_rows("path: q.csv", "x,\"y\"|two\nlines\n12|a long text with \"quotes\" in it\n");
    write_file("n.csv", "a,b\n\"12\",1\n13,\"2\"\n");
    expect_rows("path: n.csv", "12|1\n13|2\n");
    assert_string_equal(text_string(&collected.header), "a int64,b int64");
    write_file("t.csv", "a\tb\n'x\ty'\t1\n");
    expect_rows("path: t.csv, delimiter: \"\\t\", quote: \"'\"", "x\ty|1\n");
    expect_rows("path: t.csv, delimiter: '\\t', quote: \"'\"", "x\ty|1\n");
    write_file("none.csv", "a;b\n\"x;1\n");
    expect_rows("path: none.csv, delimiter: ;, quote: ''", "\"x|1\n");
}

static void test_csv_bad_records(void **state) {
    static const struct {
        const char *content, *message;
        unsigned record;
    } bad[] = {
        {"a,b\n1,2\n3\n", "1 field instead of 2", 2},
        {"a,b\n1,2\n3,4,5\n", "3 fields instead of 2", 2},
        {"a,b\n1,2\n3,x\"y\"\n", "field 2: a quote inside", 2},
        {"a,b\n1,2\n\"3\"x,\"\"\n", "field 1: a quote inside", 2},
        {"a,b\n1,2\n3,\"x\n4,5\n", "never closed", 2},
        {"a,b\n1,2\n\n3,\"x\"\"\"\"y\"\n3\n", "1 field instead", 4},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file("bad.csv", bad[i].content);
        expect_failure("path: bad.csv, columns: {a: string, b: string}", TW_ERR_DATA, bad[i].message, bad[i].record);
    }
    write_file("type.csv", "a,price\n1,2\nx,abc\n2,3\n1e3,5\n2147483648,1\n");
    expect_failure("path: type.csv, columns: {a: string, price: int64}", TW_ERR_DATA, "column 'price': 'abc' is no int64", 2);
    expect_failure("path: type.csv, columns: {a: float64, price: string}", TW_ERR_DATA, "column 'a': 'x' is no float64", 2);
    collect_options skip = collect_default;
    skip.policy = BAD_SKIP;
    tw_error err;
    assert_int_equal(collect("path: type.csv, columns: {a: int32, price: int64}", &skip, &err), TW_OK);
    assert_string_equal(rows_text(), "1|2\n2|3\n");
    assert_int_equal(collect_figures.bad_records, 3);
}

static void test_csv_dead_letters(void **state) {
    write_file("in.csv", "a,b\n1,2\nbad\r\nx,\"y\"\n5,6\n");
    collect_options dead = collect_default;
    dead.policy = BAD_DEAD_LETTER;
    dead.dead_letter = "dead.json";
    tw_error err;
    assert_int_equal(collect("path: in.csv, columns: {a: int64, b: string}", &dead, &err), TW_OK);
    assert_string_equal(rows_text(), "1|2\n5|6\n");
    char text[1000] = "";
    FILE *f = fopen("dead.json", "r");
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    assert_string_equal(text,
        "{\"file\": \"in.csv\", \"record\": 2, \"reason\": \"the row has 1 field instead of 2\", \"data\": \"bad\"}\n"
        "{\"file\": \"in.csv\", \"record\": 3, \"reason\": \"column 'a': 'x' is no int64\", \"data\": \"x,\\\"y\\\"\"}\n");
}

static void test_csv_headers(void **state) {
    write_file("a.csv", "\xef\xbb\xbf" "x,y\n1,a\n");
    write_file("b.csv", "y,x\nb,2\n");
    expect_rows("path: [b.csv, a.csv]", "1|a\n2|b\n");
    write_file("c.csv", "x,z\n3,c\n");
    expect_failure("path: [a.csv, c.csv]", TW_ERR_DATA, "a column 'z' that a.csv has not", 0);
    write_file("c.csv", "x\n3\n");
    expect_failure("path: [a.csv, c.csv]", TW_ERR_DATA, "no column 'y' (a.csv has it)", 0);
    expect_failure("path: a.csv, columns: {yy: string}", TW_ERR_DATA, "did you mean 'y'", 0);
    write_file("twice.csv", "a,a,,a_2,a\n1,2,3,4,5\n");
    expect_rows("path: twice.csv", "1|2|3|4|5\n");
    assert_string_equal(text_string(&collected.header), "a int64,a_2 int64,c2 int64,a_2_2 int64,a_3 int64");
    write_file("none.csv", "1,a\n2,b\n");
    expect_rows("path: none.csv, header: false", "1|a\n2|b\n");
    assert_string_equal(text_string(&collected.header), "c0 int64,c1 string");
    write_file("empty.csv", "");
    expect_failure("path: empty.csv", TW_ERR_DATA, "no header", 0);
    expect_rows("path: empty.csv, columns: {a: int64}", "");
    write_file("one.csv", "a\n1\n\n2\n");
    expect_rows("path: one.csv", "1\n~\n2\n");
    write_file("blank.csv", "a,b\n\n1,2\n\r\n3,4\n\n");
    expect_rows("path: blank.csv", "1|2\n3|4\n");
}

static void test_json(void **state) {
    write_file("a.json", "{\"a\": 1, \"b\": \"x\", \"c\": {\"d\": [1, 2], \"e\": true}, \"t\": \"2026-01-31T05:00:00Z\"}\n"
                         "\n{\"b\": \"a text that is long\", \"a\": 18446744073709551616, \"new\": null}\r\n"
                         "{\"c\": {\"e\": null, \"d\": [null, 3.5]}, \"x\": [{\"y\": 1}]}\n");
    expect_rows("path: a.json", "1|x|[1,2]|true|2026-01-31T05:00:00Z|~\n"
                                "18446744073709551616|a text that is long|~|~|~|~\n~|~|[~,3.5]|~|~|~\n");
    assert_string_equal(text_string(&collected.header),
                        "a float64,b string,c.d list<float64>,c.e bool,t timestamp,new string");
    expect_rows("path: a.json, columns: {c.e: bool, b: string}", "true|x\n~|a text that is long\n~|~\n");
    write_file("dots.json", "{\"a.b\": 1, \"a\": {\"c\": 2}}\n{\"a\": {\"b\": 3}}\n");
    expect_rows("path: dots.json", "1|2\n3|~\n");
    write_file("bad.json", "{\"a\": 1}\n{\"a\": \"x\"}\n{\"a\": \n[1]\n{\"a\": 3.5}\n{\"a\": 4.0}\n");
    expect_failure("path: bad.json, columns: {a: int64}", TW_ERR_DATA, "column 'a': 'x' is no int64", 2);
    collect_options skip = collect_default;
    skip.policy = BAD_SKIP;
    tw_error err;
    assert_int_equal(collect("path: bad.json, columns: {a: int64}", &skip, &err), TW_OK);
    assert_string_equal(rows_text(), "1\n4\n");
    assert_int_equal(collect_figures.bad_records, 4);
    expect_failure("path: bad.json, columns: {a: string}", TW_ERR_DATA, "column 'a': '1' is no string", 1);
    write_file("late.json", "{\"a\": 1}\n{\"a\" 2}\n");
    expect_failure("path: late.json", TW_ERR_DATA, "malformed JSON", 2);
}

static void test_records(void **state) {
    write_file("r.dat", "AAbbbbCCAAccccDD");
    expect_rows("path: r.dat, format: records, length: 8, columns: {c: [6, 2], b: [2, 4]}", "CC|bbbb\nDD|cccc\n");
    expect_rows("path: r.dat, format: records, length: 16", "AAbbbbCCAAccccDD\n");
    expect_failure("path: r.dat, format: records, length: 7", TW_ERR_DATA, "2 of 7 bytes", 3);
    expect_failure("path: r.dat, format: records, length: 7, columns: {a: [5, 3]}", TW_ERR_JOB, "within the 7 bytes", 0);
    expect_failure("path: r.dat, format: records", TW_ERR_JOB, "length", 0);
}

static void test_binary(void **state) {
    write_file("x.bin", "some bytes that are long");
    write_file("empty.bin", "");
    expect_rows("path: '*.bin', format: binary", "|empty.bin\nsome bytes that are long|x.bin\n");
}

static void test_libsvm(void **state) {
    write_file("a.libsvm", "+1 1:0.5 3:2 # note\n-1 2:1\n\n# all note\n1\n");
    expect_rows("path: a.libsvm", "1|[1:0.5,3:2]\n-1|[2:1]\n1|[]\n");
    write_file("b.libsvm", "1 3:1 2:1\n");
    expect_failure("path: b.libsvm", TW_ERR_DATA, "indices must rise", 1);
    write_file("b.libsvm", "1 3:1\nx 2:1\n");
    expect_failure("path: b.libsvm", TW_ERR_DATA, "the label 'x'", 2);
    write_file("b.libsvm", "1 3:\n");
    expect_failure("path: b.libsvm", TW_ERR_DATA, "'3:' is no index:value", 1);
}

static void test_edges(void **state) {
    write_file("e.txt", "# from to\n1 2\n\t3\t 4 \r\n\n5 -6");
    expect_rows("path: e.txt, format: edges", "1|2\n3|4\n5|-6\n");
    write_file("w.txt", "a b 0.5\nb a vertex with more\n");
    expect_failure("path: w.txt, format: edges", TW_ERR_DATA, "more than 3 fields", 2);
    write_file("w.txt", "a bb 0.5\na_vertex_of_some_length c\n");
    expect_rows("path: w.txt, format: edges", "a|bb|0.5\na_vertex_of_some_length|c|~\n");
    expect_failure("path: w.txt, format: edges, columns: {from: int64, to: int64, weight: float32}", TW_ERR_DATA,
                   "column 'from': 'a' is no int64", 1);
    write_file("w.txt", "1\n");
    expect_failure("path: w.txt, format: edges", TW_ERR_DATA, "two vertices", 1);
}

static void test_options(void **state) {
    write_file("a.csv", "a\n1\n");
    write_file("a.txt", "a\n1\n");
    expect_failure("path: a.csv, follow: true", TW_ERR_JOB, "no folder and no pattern", 0);
    expect_failure("path: a.csv, format: parquet", TW_ERR_JOB, "parquet", 0);
    expect_failure("path: [a.csv, a.txt]", TW_ERR_JOB, "set format", 0);
    expect_failure("path: a.csv, delimiter: ab", TW_ERR_JOB, "one ASCII character", 0);
    expect_failure("path: a.csv, quote: ','", TW_ERR_JOB, "the same", 0);
    expect_failure("path: a.txt, delimiter: ','", TW_ERR_JOB, "is for csv", 0);
    expect_failure("path: a.csv, columns: {a: integer}", TW_ERR_JOB, "is no type", 0);
    expect_failure("path: a.csv, columns: {a: list<int64>}", TW_ERR_JOB, "cannot be read as", 0);
    expect_failure("path: nothing.csv", TW_ERR_JOB, "nothing.csv", 0);
    expect_failure("path: 'zz*.csv'", TW_ERR_JOB, "no file matches 'zz*.csv'", 0);
    expect_failure("path: .", TW_ERR_JOB, "is a folder", 0);
    expect_failure("path: []", TW_ERR_JOB, "path", 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_csv_quotes),   cmocka_unit_test(test_csv_bad_records),
        cmocka_unit_test(test_csv_dead_letters), cmocka_unit_test(test_csv_headers),
        cmocka_unit_test(test_json),         cmocka_unit_test(test_records),
        cmocka_unit_test(test_binary),       cmocka_unit_test(test_libsvm),
        cmocka_unit_test(test_edges),        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
