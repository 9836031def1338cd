#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "data/generate.h"
#include "io/connectors.h"

static void tables_make_sense(void **state) {
    const descriptor *all[] = {&sink_file.descriptor, &sink_stdout.descriptor, &sink_discard.descriptor, &sink_kafka.descriptor,
                               &source_kafka.descriptor, &source_harmonicio.descriptor, &sink_harmonicio.descriptor,
                               &source_generate.descriptor, &source_file.descriptor};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        tw_error err = {0};
        if (descriptor_check(all[i], &err) != TW_OK) fail_msg("%s: %s", all[i]->name, err.message);
    }
}

/* The source takes every option of every kind, and every kind, and nothing that no kind has. */
static void generate_knows_all_kinds(void **state) {
    const descriptor *d = &source_generate.descriptor;
    const option *kind = descriptor_option(d, "kind");
    size_t n;
    const generate_kind *kinds = generate_kinds(&n);
    for (size_t k = 0; k < n; k++) {
        assert_string_equal(kind->values[k], kinds[k].name);
        for (size_t i = 0; i < kinds[k].option_count; i++)
            if (!descriptor_option(d, kinds[k].options[i].name))
                fail_msg("no option '%s' of %s", kinds[k].options[i].name, kinds[k].name);
    }
    assert_null(kind->values[n]);
    for (size_t i = 0; i < d->n_options; i++) {
        const char *name = d->options[i].name;
        bool found = strcmp(name, "kind") == 0 || strcmp(name, "rate") == 0 || strcmp(name, "ordered") == 0 || strcmp(name, "overflow") == 0 ||
                     strcmp(name, "control") == 0;
        for (size_t k = 0; k < n; k++)
            for (size_t o = 0; o < kinds[k].option_count; o++) found |= strcmp(name, kinds[k].options[o].name) == 0;
        if (!found) fail_msg("no kind takes '%s'", name);
    }
}

/* What help says the default is must be the one that is used. */
static void generate_tells_the_defaults(void **state) {
    const descriptor *d = &source_generate.descriptor;
    size_t n;
    const generate_kind *kinds = generate_kinds(&n);
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < kinds[k].option_count; i++) {
            const generate_option *o = &kinds[k].options[i];
            const char *note = descriptor_option(d, o->name)->default_note;
            if (!note || !strstr(note, o->default_text))
                fail_msg("%s of %s is %s, told as '%s'", o->name, kinds[k].name, o->default_text, note ? note : "");
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_make_sense),
        cmocka_unit_test(generate_knows_all_kinds),
        cmocka_unit_test(generate_tells_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
