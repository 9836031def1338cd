#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/descriptor.h"

static const char *const how_names[] = {"inner", "left", "right", NULL};
static const option late_options[] = {{"dead_letter", OPTION_PATH, OPTION_REQUIRED, "a file"}};
static const descriptor late_section = {"all.late", "late rows", late_options, COUNT_OF(late_options)};
static const option slide_options[] = {
    {"size", OPTION_DURATION, OPTION_REQUIRED, "length of a window"},
    {"every", OPTION_DURATION, 0, "distance of two", .default_text = "1s"},
};
static const descriptor slide_section = {"all.sliding", "windows", slide_options, COUNT_OF(slide_options)};
static const char *const late_names[] = {"drop", NULL};

static const option all_options[] = {
    {"flag", OPTION_BOOL, 0, "a switch", .default_text = "true"},
    {"count", OPTION_INT, 0, "some number", .default_text = "5", .min = 1, .max = 10},
    {"any_count", OPTION_INT, 0, "any number"},
    {"ratio", OPTION_FLOAT, 0, "a share", .default_text = "0.5", .float_max = 1},
    {"room", OPTION_SIZE, 0, "a size", .default_text = "64MiB", .min = 1024, .max = INT64_MAX},
    {"pause", OPTION_DURATION, 0, "a time", .min = 1000, .max = 3000000},
    {"speed", OPTION_RATE, 0, "a rate"},
    {"word", OPTION_STRING, 0, "a text", .default_text = ""},
    {"how", OPTION_ENUM, 0, "which rows", .default_text = "inner", .values = how_names},
    {"path", OPTION_PATH, 0, "a path"},
    {"test", OPTION_EXPRESSION, 0, "a condition"},
    {"from", OPTION_COLUMN, 0, "a column", .default_text = "line"},
    {"kind", OPTION_TYPE, 0, "a type", .default_text = "int64"},
    {"texts", OPTION_STRINGS, 0, "texts"},
    {"by", OPTION_COLUMNS, OPTION_OR_ONE, "keys", .default_text = "a, b"},
    {"on", OPTION_COLUMNS, OPTION_OR_MAP, "pairs"},
    {"labels", OPTION_STRING_MAP, 0, "labels"},
    {"workers", OPTION_INT_MAP, 0, "workers", .min = 1, .max = 8},
    {"weights", OPTION_FLOAT_MAP, 0, "weights"},
    {"columns", OPTION_TYPE_MAP, 0, "types"},
    {"make", OPTION_EXPRESSION_MAP, OPTION_OR_LIST, "new columns"},
    {"sliding", OPTION_SECTION, 0, "windows", .section = &slide_section},
    {"late", OPTION_ENUM, 0, "late rows", .default_text = "drop", .values = late_names, .section = &late_section},
    {"raw", OPTION_ANY, 0, "whatever"},
};
static const descriptor all = {"all", "has every type", all_options, COUNT_OF(all_options)};

static const option limit_options[] = {
    {"rows", OPTION_INT, OPTION_REQUIRED, "how many rows to keep", .max = INT64_MAX}};
static const descriptor limit = {"limit", "keeps the first rows", limit_options, 1, .shorthand = "rows",
                                 .example = "limit: 10"};
static const option sort_options[] = {
    {"by", OPTION_COLUMNS, OPTION_REQUIRED | OPTION_OR_ONE, "the columns"},
    {"limit", OPTION_INT, 0, "rows to keep", .max = INT64_MAX, .default_note = "all | of them"}};
static const descriptor sort = {"sort", "orders rows", sort_options, 2, .shorthand = "by",
                                .details = "The order is stable.\n\nNulls come last, whatever else may be said "
                                           "about the order of the rows in this place."};
static const option select_options[] = {
    {"columns", OPTION_EXPRESSION_MAP, OPTION_REQUIRED | OPTION_OR_LIST, "new columns"}};
static const descriptor selects = {"select", "computes columns", select_options, 1, .shorthand = "columns",
                                   .free_map = true};
static const descriptor bare = {"bare", "has no options", NULL, 0};

typedef struct bound {
    document *d;
    error_list errors;
    args *a;
    tw_status status;
} bound;

static bound bind_parts(const descriptor *const *parts, size_t n, const char *source) {
    bound b = {0};
    assert_int_equal(document_parse(source, strlen(source), "j", NULL, &b.errors, &b.d), TW_OK);
    b.status = args_bind_all(parts, n, document_root(b.d), (struct place){"j", 7, 9}, &b.errors, &b.a);
    error_list_sort(&b.errors);
    return b;
}

static bound bind(const descriptor *d, const char *source) { return bind_parts(&d, 1, source); }

static void done(bound *b) {
    args_free(b->a);
    document_free(b->d);
    error_list_free(&b->errors);
}

/* Binding gives just this one error. */
static void refuse(const descriptor *d, const char *source, uint32_t line, uint32_t column, const char *message) {
    bound b = bind(d, source);
    assert_int_equal(b.status, TW_ERR_JOB);
    assert_null(b.a);
    assert_int_equal(b.errors.total, 1);
    assert_string_equal(b.errors.items[0].message, message);
    assert_int_equal(b.errors.items[0].line, line);
    assert_int_equal(b.errors.items[0].column, column);
    done(&b);
}

static void scalars(void **state) {
    bound b = bind(&all, "{flag: false, count: '10', any_count: -9223372036854775808, ratio: 1e-1, room: 1.5KiB, pause: 3s, "
                   "speed: 1000/s, word: 'x y', how: left, path: a/b, test: x > 1, from: null_x, kind: float32, "
                   "raw: [1], late: {dead_letter: f}}");
    assert_int_equal(b.status, TW_OK);
    assert_int_equal(b.errors.total, 0);
    assert_false(args_bool(b.a, "flag"));
    assert_int_equal(args_int(b.a, "count"), 10);
    assert_true(args_int(b.a, "any_count") == INT64_MIN);
    assert_true(args_float(b.a, "ratio") == 0.1);
    assert_int_equal(args_int(b.a, "room"), 1536);
    assert_int_equal(args_int(b.a, "pause"), 3000000);
    assert_true(args_float(b.a, "speed") == 1000);
    assert_string_equal(args_string(b.a, "word"), "x y");
    assert_int_equal(args_enum(b.a, "how"), 1);
    assert_string_equal(args_string(b.a, "how"), "left");
    assert_string_equal(args_string(b.a, "path"), "a/b");
    assert_string_equal(args_string(b.a, "test"), "x > 1");
    assert_string_equal(args_string(b.a, "from"), "null_x");
    assert_ptr_equal(args_type(b.a, "kind"), type_parse("float32"));
    assert_int_equal(args_node(b.a, "raw")->kind, NODE_LIST);
    assert_int_equal(args_enum(b.a, "late"), -1);
    assert_string_equal(args_string(args_section(b.a, "late"), "dead_letter"), "f");
    assert_true(args_given(b.a, "word"));
    assert_int_equal(args_place(b.a, "word").column, 120);
    done(&b);
}

static void defaults(void **state) {
    bound b = bind(&all, "{word: null, count: }");
    assert_int_equal(b.status, TW_OK);
    assert_true(args_bool(b.a, "flag"));
    assert_int_equal(args_int(b.a, "count"), 5);
    assert_int_equal(args_int(b.a, "any_count"), 0);
    assert_true(args_float(b.a, "ratio") == 0.5);
    assert_int_equal(args_int(b.a, "room"), 64 << 20);
    assert_string_equal(args_string(b.a, "word"), "");
    assert_int_equal(args_enum(b.a, "how"), 0);
    assert_string_equal(args_string(b.a, "how"), "inner");
    assert_int_equal(args_enum(b.a, "late"), 0);
    assert_null(args_section(b.a, "late"));
    assert_null(args_section(b.a, "sliding"));
    assert_null(args_string(b.a, "path"));
    assert_null(args_node(b.a, "raw"));
    assert_ptr_equal(args_type(b.a, "kind"), type_parse("int64"));
    size_t n;
    const arg_item *by = args_items(b.a, "by", &n);
    assert_int_equal(n, 2);
    assert_string_equal(by[0].text, "a");
    assert_string_equal(by[1].text, "b");
    assert_null(args_items(b.a, "on", &n));
    assert_int_equal(n, 0);
    assert_false(args_given(b.a, "word"));
    assert_false(args_given(b.a, "by"));
    assert_int_equal(args_place(b.a, "path").line, 7);
    done(&b);
    args *a;
    error_list errors = {0};
    assert_int_equal(args_bind(&all, NULL, (struct place){0}, &errors, &a), TW_OK);
    assert_int_equal(args_int(a, "count"), 5);
    args_free(a);
}

static void lists_and_maps(void **state) {
    bound b = bind(&all, "texts: [a, '']\nby: x\non: {l: r, k: k}\nlabels: {}\nworkers: {sort: 3}\nweights: {a: -1.5}\n"
                         "columns: {n: int32}\nmake: {z: a + b, a: null, f: 1}\nsliding: {size: 10s}\n");
    assert_int_equal(b.status, TW_OK);
    size_t n;
    assert_string_equal(args_items(b.a, "texts", &n)[1].text, "");
    assert_int_equal(n, 2);
    assert_string_equal(args_items(b.a, "by", &n)[0].name, "x");
    assert_int_equal(n, 1);
    const arg_item *on = args_items(b.a, "on", &n);
    assert_int_equal(n, 2);
    assert_string_equal(on[0].name, "l");
    assert_string_equal(on[0].text, "r");
    assert_int_equal(on[0].name_at.column, 6);
    assert_int_equal(on[0].at.column, 9);
    args_items(b.a, "labels", &n);
    assert_int_equal(n, 0);
    assert_true(args_given(b.a, "labels"));
    assert_int_equal(args_items(b.a, "workers", &n)->integer, 3);
    assert_true(args_items(b.a, "weights", &n)->number == -1.5);
    assert_ptr_equal(args_items(b.a, "columns", &n)->type, type_parse("int32"));
    const arg_item *make = args_items(b.a, "make", &n);
    assert_int_equal(n, 3);
    assert_string_equal(make[0].name, "z");
    assert_string_equal(make[0].text, "a + b");
    assert_string_equal(make[1].text, "null");
    const args *sliding = args_section(b.a, "sliding");
    assert_int_equal(args_int(sliding, "size"), 10000000);
    assert_int_equal(args_int(sliding, "every"), 1000000);
    done(&b);
}

static void refusals(void **state) {
    refuse(&all, "\nflags: 1", 2, 1, "unknown option 'flags' of all; did you mean 'flag'?");
    refuse(&sort, "{by: x, order: 1}", 1, 9, "unknown option 'order' of sort; it has by, limit");
    refuse(&bare, "{x: 1}", 1, 2, "unknown option 'x'; bare has no options");
    refuse(&bare, "1", 1, 1, "bare has no options, but there is '1'");
    refuse(&all, "flag: yes", 1, 7, "option 'flag' of all must be true or false, not 'yes'");
    refuse(&all, "count: 11", 1, 8, "option 'count' of all must be a whole number from 1 to 10, not '11': it is too large");
    refuse(&all, "count: 0", 1, 8, "option 'count' of all must be a whole number from 1 to 10, not '0': it is too small");
    refuse(&all, "count: 1.0", 1, 8, "option 'count' of all must be a whole number from 1 to 10, not '1.0'");
    refuse(&all, "any_count: 9223372036854775808", 1, 12,
           "option 'any_count' of all must be a whole number, not '9223372036854775808': it is out of range");
    refuse(&all, "ratio: 1.5", 1, 8, "option 'ratio' of all must be a number from 0 to 1, not '1.5': it is too large");
    refuse(&all, "ratio: nan", 1, 8, "option 'ratio' of all must be a number from 0 to 1, not 'nan'");
    refuse(&all, "ratio: inf", 1, 8, "option 'ratio' of all must be a number from 0 to 1, not 'inf': it is out of range");
    refuse(&all, "room: 1KB", 1, 7, "option 'room' of all must be a size such as 64MiB of at least 1KiB, not '1KB': it is too small");
    refuse(&all, "room: 12XB", 1, 7,
           "option 'room' of all must be a size such as 64MiB of at least 1KiB, not '12XB': unknown unit (known: B, "
           "KB, MB, GB, TB, KiB, MiB, GiB, TiB)");
    refuse(&all, "pause: 10", 1, 8, "option 'pause' of all must be a time such as 10ms from 1ms to 3s, not '10': no unit (us, ms, s, m, h, d)");
    refuse(&all, "speed: 10", 1, 8, "option 'speed' of all must be a rate such as 1000/s, not '10': it is written as 1000/s");
    refuse(&all, "how: lefft", 1, 6, "option 'how' of all must be one of inner, left, right, not 'lefft': did you mean 'left'?");
    refuse(&all, "how: {a: b}", 1, 6, "option 'how' of all must be one of inner, left, right, not a map");
    refuse(&all, "late: dorp", 1, 7, "option 'late' of all must be one of drop, or a map with 'dead_letter', not 'dorp': did you mean 'drop'?");
    refuse(&all, "late: {dead_letter: }", 1, 7, "all.late needs the option 'dead_letter' (a path)");
    refuse(&all, "path: ' '", 1, 7, "option 'path' of all must be a path, not ' ': it is empty");
    refuse(&all, "test: [x]", 1, 7, "option 'test' of all must be an expression, not a list");
    refuse(&all, "kind: int46", 1, 7, "option 'kind' of all must be a type such as int64, not 'int46': did you mean 'int64'?");
    refuse(&all, "texts: x", 1, 8, "option 'texts' of all must be a list of texts, not 'x'");
    refuse(&all, "by: [a, {}]", 1, 9, "option 'by[1]' of all must be a column, not a map");
    refuse(&all, "by: [null]", 1, 6, "option 'by[0]' of all must be a column, not nothing");
    refuse(&all, "by: {a: b}", 1, 5, "option 'by' of all must be a list of columns, or one of them, not a map");
    refuse(&all, "workers: {a: 9}", 1, 14, "option 'workers.a' of all must be a whole number from 1 to 8, not '9': it is too large");
    refuse(&all, "columns: {a: list<int>}", 1, 14, "option 'columns.a' of all must be a type such as int64, not 'list<int>'");
    refuse(&all, "make: {a: }", 1, 11, "option 'make.a' of all must be an expression, not nothing");
    refuse(&all, "sliding: 10s", 1, 10, "option 'sliding' of all must be a map, not '10s'");
    refuse(&all, "sliding: {}", 1, 10, "all.sliding needs the option 'size' (a time such as 10ms)");
    refuse(&all, "[1]", 1, 1, "the options of all are a map, such as 'flag: ...', not a list");
    refuse(&limit, "", 7, 9, "limit needs the option 'rows' (a whole number of at least 0)");
    refuse(&limit, "-1", 1, 1, "option 'rows' of limit must be a whole number of at least 0, not '-1': it is too small");
    refuse(&limit, "[1]", 1, 1, "option 'rows' of limit must be a whole number of at least 0, not a list");
    refuse(&selects, "{a: [1]}", 1, 5, "option 'columns.a' of select must be an expression, not a list");
}

static void several_at_once(void **state) {
    bound b = bind(&all, "count: x\nflug: 1\nsliding: {size: 1, evry: 2s}\nby: [[], {}]\nnope_at_all: 1\n");
    assert_int_equal(b.status, TW_ERR_JOB);
    assert_int_equal(b.errors.total, 7);
    static const uint32_t lines[] = {1, 2, 3, 3, 4, 4, 5};
    for (size_t i = 0; i < 7; i++) assert_int_equal(b.errors.items[i].line, lines[i]);
    done(&b);
}

/* What is known to be faulty is not complained of again, but does not bind either. */
static void faulty(void **state) {
    static const char *const sources[] = {"count: ${NO_SUCH_VARIABLE_1}", "by: [a, '${NO_SUCH_VARIABLE_1}']", "sliding: *no",
                                          "'${NO_SUCH_VARIABLE_1}'", "late: *no"};
    for (size_t i = 0; i < COUNT_OF(sources); i++) {
        bound b = bind(&all, sources[i]);
        assert_int_equal(b.errors.total, 1);
        assert_int_equal(b.status, TW_ERR_JOB);
        done(&b);
    }
}

static void shorthands(void **state) {
    size_t n;
    bound b = bind(&limit, "10");
    assert_int_equal(args_int(b.a, "rows"), 10);
    done(&b);
    b = bind(&limit, "{rows: 11}");
    assert_int_equal(args_int(b.a, "rows"), 11);
    done(&b);
    b = bind(&sort, "[-n, word]");
    assert_string_equal(args_items(b.a, "by", &n)[0].text, "-n");
    assert_int_equal(n, 2);
    done(&b);
    b = bind(&sort, "-n");
    assert_int_equal(b.status, TW_OK);
    done(&b);
    b = bind(&selects, "{columns: a, b: 2}");
    assert_string_equal(args_items(b.a, "columns", &n)[0].name, "columns");
    assert_int_equal(n, 2);
    done(&b);
    b = bind(&selects, "[a, b]");
    assert_string_equal(args_items(b.a, "columns", &n)[1].name, "b");
    assert_string_equal(args_items(b.a, "columns", &n)[1].text, "b");
    done(&b);
    b = bind(&bare, "");
    assert_int_equal(b.status, TW_OK);
    done(&b);
}

static void several_parts(void **state) {
    const descriptor *const parts[] = {&sort, &limit};
    bound b = bind_parts(parts, 2, "{by: a, rows: 3, limit: 4}");
    assert_int_equal(b.status, TW_OK);
    assert_int_equal(args_int(b.a, "rows"), 3);
    assert_int_equal(args_int(b.a, "limit"), 4);
    error_list errors = {0};
    assert_int_equal(args_error(b.a, "rows", &errors, "%d is odd", 3), TW_ERR_JOB);
    assert_string_equal(errors.items[0].message, "option 'rows' of sort: 3 is odd");
    assert_int_equal(errors.items[0].column, 15);
    error_list_free(&errors);
    done(&b);
    b = bind_parts(parts, 2, "{by: a, rows: 3, row: 4}");
    assert_string_equal(b.errors.items[0].message, "unknown option 'row' of sort; did you mean 'rows'?");
    done(&b);
}

static void shared_option(void **state) {
    const descriptor *const parts[] = {&sort, &sort};
    bound b = bind_parts(parts, 2, "{by: a}");
    assert_int_equal(b.status, TW_OK);
    done(&b);
}

static void tables(void **state) {
    static const descriptor *const good[] = {&all, &limit, &sort, &selects, &bare};
    tw_error err = {0};
    for (size_t i = 0; i < COUNT_OF(good); i++) assert_int_equal(descriptor_check(good[i], &err), TW_OK);
    static const option wrong[] = {
        {"x", OPTION_INT, 0, "h", .default_text = "y"},
        {"x", OPTION_INT, OPTION_REQUIRED, "h", .default_text = "1"},
        {"x", OPTION_ENUM, 0, "h"},
        {"x", OPTION_STRING, 0, "h", .values = how_names},
        {"x", OPTION_SECTION, 0, "h"},
        {"x", OPTION_STRING, 0, "h", .section = &late_section},
        {"x", OPTION_INT, 0},
        {NULL, OPTION_INT, 0, "h"},
        {"x", OPTION_ENUM, 0, "h", .values = how_names, .default_text = "outer"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        const descriptor d = {"d", "s", &wrong[i], 1};
        if (descriptor_check(&d, &err) != TW_ERR_INTERNAL) fail_msg("table %zu passed", i);
    }
    const descriptor no_such = {"d", "s", limit_options, 1, .shorthand = "by"};
    assert_int_equal(descriptor_check(&no_such, &err), TW_ERR_INTERNAL);
    const descriptor free_map = {"d", "s", limit_options, 1, .free_map = true};
    assert_int_equal(descriptor_check(&free_map, &err), TW_ERR_INTERNAL);
    const option twice[] = {{"x", OPTION_INT, 0, "h"}, {"x", OPTION_INT, 0, "h"}};
    const descriptor repeated = {"d", "s", twice, 2};
    assert_int_equal(descriptor_check(&repeated, &err), TW_ERR_INTERNAL);
}

static void help(void **state) {
    struct text t = {0};
    assert_int_equal(descriptor_help(&sort, &t), TW_OK);
    assert_string_equal(text_string(&t),
                        "sort: orders rows\n"
                        "\n"
                        "  by     the columns (a list of columns, or one of them; required)\n"
                        "  limit  rows to keep (a whole number of at least 0; default: all | of them)\n"
                        "\n"
                        "A value in place of the map gives 'by'.\n"
                        "\n"
                        "The order is stable.\n"
                        "\n"
                        "Nulls come last, whatever else may be said about the order of the rows in this\n"
                        "place.\n");
    text_truncate(&t, 0);
    assert_int_equal(descriptor_help(&all, &t), TW_OK);
    for (const char *line = text_string(&t); *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
    assert_non_null(strstr(text_string(&t), "\n  sliding    windows (a map)\n             size   length of a window"));
    text_truncate(&t, 0);
    assert_int_equal(descriptor_markdown(&sort, &t), TW_OK);
    assert_non_null(strstr(text_string(&t), "## sort\n\nOrders rows.\n\n| option | value | default | meaning |\n"));
    assert_non_null(strstr(text_string(&t), "| `limit` | a whole number of at least 0 | all \\| of them | rows to keep |\n"));
    text_truncate(&t, 0);
    assert_int_equal(descriptor_markdown(&all, &t), TW_OK);
    assert_non_null(strstr(text_string(&t), "| `sliding.every` | a time such as 10ms | `1s` | distance of two |\n"));
    text_truncate(&t, 0);
    assert_int_equal(descriptor_markdown(&limit, &t), TW_OK);
    assert_non_null(strstr(text_string(&t), "```yaml\nlimit: 10\n```\n"));
    text_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars),     cmocka_unit_test(defaults),   cmocka_unit_test(lists_and_maps),
        cmocka_unit_test(refusals),    cmocka_unit_test(several_at_once), cmocka_unit_test(faulty),
        cmocka_unit_test(shorthands),  cmocka_unit_test(several_parts), cmocka_unit_test(shared_option), cmocka_unit_test(tables),
        cmocka_unit_test(help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
