#include "base/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* RFC 4648, section 10. */
static void the_standards_examples(void **state) {
    static const char *const texts[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t n = 0; n < sizeof texts / sizeof *texts; n++) {
        uint8_t text[8], bytes[6];
        size_t made;
        assert_int_equal(base64_size(n), strlen(texts[n]));
        assert_ptr_equal(base64_encode((const uint8_t *)"foobar", n, text), text + base64_size(n));
        assert_memory_equal(text, texts[n], strlen(texts[n]));
        assert_true(base64_decode(text, base64_size(n), bytes, &made));
        assert_int_equal(made, n);
        assert_memory_equal(bytes, "foobar", n);
        assert_true(base64_decode(text, base64_size(n), NULL, &made));
        assert_int_equal(made, n);
    }
}

static void every_byte_comes_back(void **state) {
    uint8_t bytes[768], text[1024], back[768];
    size_t made;
    for (unsigned i = 0; i < 256; i++)
        for (unsigned k = 0; k < 3; k++) bytes[3 * i + k] = (uint8_t)(i * (2 * k + 1) + k);
    base64_encode(bytes, sizeof bytes, text);
    assert_true(base64_decode(text, sizeof text, back, &made));
    assert_int_equal(made, sizeof bytes);
    assert_memory_equal(back, bytes, sizeof bytes);
}

static void what_is_no_base64(void **state) {
    static const char *const texts[] = {"Z", "Zg", "Zg=", "Zg=a", "=g==", "Z===", "====", "Zm9v=", "Zh==", "Zm9=", "Zg==Zg==",
                                        "Zm8 ", "Zm-_", "Zm9v\nZm8", "Zm\xc3\xa9"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t made;
        assert_false(base64_decode((const uint8_t *)texts[i], strlen(texts[i]), NULL, &made));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_standards_examples),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(what_is_no_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
