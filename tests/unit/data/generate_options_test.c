/* The generators' options: what their text may be, and what is said when it may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/generate_internal.h"

static void kinds_describe_themselves(void **state) {
    static const char *const names[] = {"text",  "records",  "points", "linear",
                                        "graph", "messages", "events"};
    size_t count;
    const generate_kind *kinds = generate_kinds(&count);
    assert_int_equal(count, 7);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(kinds[i].name, names[i]);
        assert_ptr_equal(generate_kind_find(names[i]), &kinds[i]);
        generate_options options;
        assert_int_equal(generate_options_default(names[i], &options, NULL), TW_OK);
        assert_string_equal(kinds[i].options[kinds[i].option_count - 1].name, "seed");
        generate *g;
        assert_int_equal(generate_create(&options, &g, NULL), TW_OK);
        generate_free(g);
    }
    generate_free(NULL);
}

static void wrong_options(void **state) {
    static const char *const wrong[][4] = {
        {"text", "rows", "1", "generate text has no option 'rows'"},
        {"text", "vocabulary", "0", "option 'vocabulary' of generate text must be 1 to 2147483648"},
        {"text", "vocabulary", "2147483649",
         "option 'vocabulary' of generate text must be 1 to 2147483648"},
        {"text", "vocabulary", "10KB",
         "option 'vocabulary' of generate text must be a whole number, not '10KB'"},
        {"text", "vocabulary", "",
         "option 'vocabulary' of generate text must be a whole number, not ''"},
        {"text", "bytes", "1Gb",
         "option 'bytes' of generate text must be a size such as 64MiB, not '1Gb': unknown unit "
         "(known: B, KB, MB, GB, TB, KiB, MiB, GiB, TiB)"},
        {"text", "bytes", "2000000TB",
         "option 'bytes' of generate text must be 0 to 1152921504606846976 bytes"},
        {"text", "bytes", "99999999999999999999",
         "option 'bytes' of generate text must be a size such as 64MiB, not "
         "'99999999999999999999': out of range"},
        {"text", "seed", "-1", "option 'seed' of generate text must be 0 to 9223372036854775807"},
        {"text", "seed", "9223372036854775808",
         "option 'seed' of generate text must be a whole number, not '9223372036854775808': out of "
         "range"},
        {"records", "rows", "1125899906842625",
         "option 'rows' of generate records must be 0 to 1125899906842624"},
        {"graph", "scale", "0", "option 'scale' of generate graph must be 1 to 40"},
        {"graph", "scale", "41", "option 'scale' of generate graph must be 1 to 40"},
        {"graph", "edge-factor", "x",
         "option 'edge_factor' of generate graph must be a whole number, not 'x'"},
        {"messages", "size", "36",
         "option 'size' of generate messages must be 37 to 1073741824 bytes"},
        {"messages", "cpu", "1000s",
         "option 'cpu' of generate messages must be 0 to 999999000 us"},
        {"messages", "cpu", "9223372036854775807",
         "option 'cpu' of generate messages must be a time such as 10ms, not "
         "'9223372036854775807': out of range"},
        {"points", "columns", "65537", "option 'columns' of generate points must be 1 to 65536"},
        {"linear", "noise", "-0.5", "option 'noise' of generate linear must be 0 to 100000"},
        {"linear", "noise", "nan", "option 'noise' of generate linear must be 0 to 100000"},
        {"linear", "noise", "1.2.3",
         "option 'noise' of generate linear must be a number, not '1.2.3'"},
        {"events", "out_of_order", "1.01",
         "option 'out_of_order' of generate events must be 0 to 1"},
        {"events", "interval", "10",
         "option 'interval' of generate events must be a time such as 10ms, not '10': no unit (us, "
         "ms, s, m, h, d)"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        generate_options options;
        tw_error err = {0};
        assert_int_equal(generate_options_default(wrong[i][0], &options, &err), TW_OK);
        assert_int_equal(generate_options_set(&options, wrong[i][1], wrong[i][2], &err), TW_ERR_JOB);
        assert_string_equal(err.message, wrong[i][3]);
    }
    generate_options options;
    tw_error err = {0};
    assert_int_equal(generate_options_default("texts", &options, &err), TW_ERR_JOB);
    assert_string_equal(err.message, "no kind 'texts' of generated data (known: text, records, "
                                     "points, linear, graph, messages, events)");
}

static void options_that_do_not_go_together(void **state) {
    generate_options options;
    generate *g;
    tw_error err = {0};
    assert_int_equal(generate_options_default("messages", &options, &err), TW_OK);
    assert_int_equal(generate_options_set(&options, "cpu", "1500us", &err), TW_OK);
    assert_int_equal(generate_create(&options, &g, &err), TW_ERR_JOB);
    assert_string_equal(err.message, "option 'cpu' of generate messages must be whole "
                                     "milliseconds, not 1500 us");
    assert_int_equal(generate_options_default("events", &options, &err), TW_OK);
    assert_int_equal(generate_options_set(&options, "interval", "1d", &err), TW_OK);
    assert_int_equal(generate_options_set(&options, "rows", "1000000000", &err), TW_OK);
    assert_int_equal(generate_create(&options, &g, &err), TW_ERR_JOB);
    assert_string_equal(err.message, "1000000000 events at this 'interval' go past the year 9999");
}

static int64_t integer_of(const char *kind, const char *name, const char *text) {
    generate_options options;
    assert_int_equal(generate_options_default(kind, &options, NULL), TW_OK);
    assert_int_equal(generate_options_set(&options, name, text, NULL), TW_OK);
    for (size_t i = 0; i < options.kind->option_count; i++)
        if (strcmp(options.kind->options[i].name, name) == 0) return options.values[i].integer;
    return -1;
}

static void units(void **state) {
    assert_int_equal(integer_of("text", "bytes", "12"), 12);
    assert_int_equal(integer_of("text", "bytes", "3KB"), 3000);
    assert_int_equal(integer_of("text", "bytes", "2GiB"), INT64_C(2147483648));
    assert_int_equal(integer_of("text", "bytes", "1TB"), INT64_C(1000000000000));
    assert_int_equal(integer_of("messages", "cpu", "30"), 30000);
    assert_int_equal(integer_of("messages", "cpu", "2s"), 2000000);
    assert_int_equal(integer_of("events", "interval", "1h"), INT64_C(3600000000));
    assert_int_equal(integer_of("text", "seed", "9223372036854775807"), INT64_MAX);
    generate_options options;
    assert_int_equal(generate_options_default("linear", &options, NULL), TW_OK);
    assert_int_equal(generate_options_set(&options, "noise", "12.375", NULL), TW_OK);
    assert_true(options.values[LINEAR_NOISE].number == 12.375);
    assert_int_equal(generate_options_set(&options, "noise", "0.1", NULL), TW_OK);
    assert_true(options.values[LINEAR_NOISE].number == 0.1);
    generate_value two = {.number = 2}, one_row = {.integer = 1}, no_rows = {.integer = -1};
    assert_int_equal(generate_options_set_value(&options, "noise", two, NULL), TW_OK);
    assert_true(options.values[LINEAR_NOISE].number == 2);
    assert_int_equal(generate_options_set_value(&options, "rows", no_rows, NULL), TW_ERR_JOB);
    assert_int_equal(generate_options_set_value(&options, "row", one_row, NULL), TW_ERR_JOB);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_describe_themselves),
        cmocka_unit_test(wrong_options),
        cmocka_unit_test(options_that_do_not_go_together),
        cmocka_unit_test(units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
