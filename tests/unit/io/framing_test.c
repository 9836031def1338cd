/* Cutting streams: whatever the pieces in which bytes come, the messages are the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/framing.h"
#include "io/socket.h"

static size_t add_frame(uint8_t *to, const char *text) {
    uint32_t n = (uint32_t)strlen(text);
    length_write(to, n);
    memcpy(to + LENGTH_BYTES, text, n);
    return LENGTH_BYTES + n;
}

static const char *const texts[] = {"", "a", "hello", "", "a longer message\nwith a line", "z"};
enum { TEXTS = sizeof texts / sizeof *texts };

static size_t all_frames(uint8_t *to) {
    size_t n = 0;
    for (size_t i = 0; i < TEXTS; i++) n += add_frame(to + n, texts[i]);
    return n;
}

static void lengths_at_every_cut(void **state) {
    uint8_t bytes[256];
    size_t size = all_frames(bytes);
    for (size_t n = 0; n <= size; n++) {
        uint32_t ends[16];
        length_cut c = cut_lengths(bytes, n, 1000, ends, 16);
        size_t at = 0, whole = 0;
        while (whole < TEXTS && at + LENGTH_BYTES + strlen(texts[whole]) <= n) {
            at += LENGTH_BYTES + strlen(texts[whole]);
            assert_int_equal(ends[whole], at);
            whole++;
        }
        assert_int_equal(c.n, whole);
        assert_int_equal(c.bytes, at);
        assert_int_equal(c.announced, n - at >= LENGTH_BYTES);
        if (c.announced) assert_int_equal(c.next, strlen(texts[whole]));
    }
}

static void lengths_have_bounds(void **state) {
    uint8_t bytes[256];
    uint32_t ends[16];
    size_t size = all_frames(bytes);
    length_cut c = cut_lengths(bytes, size, 5, ends, 16); /* the fifth is too long */
    assert_int_equal(c.n, 4);
    assert_true(c.announced);
    assert_int_equal(c.next, strlen(texts[4]));
    c = cut_lengths(bytes, size, 1000, ends, 2);
    assert_int_equal(c.n, 2);
    assert_false(c.announced);
    memset(bytes, 0xff, 8);
    c = cut_lengths(bytes, 8, 1000, ends, 16);
    assert_int_equal(c.n, 0);
    assert_int_equal(c.next, 0xffffffffu);
}

/* Feeds text in two pieces cut at every byte, as a source does, and joins what is cut off. */
static void lines_at_every_cut(void **state) {
    static const char text[] = "one\n\n\"two\nlines\",x\nthree\r\n\"a \"\"quoted\"\" \nfield\"\nrest";
    size_t size = sizeof text - 1;
    for (int quotes = 0; quotes < 2; quotes++) {
        uint8_t quote = quotes ? '"' : 0;
        bool quoted = false;
        size_t whole = cut_lines((const uint8_t *)text, size, 0, quote, &quoted);
        assert_int_equal(whole, size - 4);
        for (size_t first = 0; first <= size; first++) {
            quoted = false;
            size_t cut = cut_lines((const uint8_t *)text, first, 0, quote, &quoted);
            assert_true(cut == 0 || text[cut - 1] == '\n');
            size_t more = cut_lines((const uint8_t *)text + cut, size - cut, first - cut, quote, &quoted);
            assert_int_equal(cut + more, first > whole ? cut + more : whole);
            if (first <= whole) assert_int_equal(cut + more, whole);
        }
    }
    bool quoted = false;
    assert_int_equal(cut_lines((const uint8_t *)"\"a\nb", 4, 0, '"', &quoted), 0);
    assert_true(quoted);
    quoted = false;
    assert_int_equal(cut_lines((const uint8_t *)"\"a\nb", 4, 0, 0, &quoted), 3);
}

static void frames_become_lines(void **state) {
    uint8_t bytes[256];
    uint32_t ends[16];
    size_t size = all_frames(bytes);
    length_cut c = cut_lengths(bytes, size, 1000, ends, 16);
    size_t n = lines_of_frames(bytes, ends, c.n, NULL, true);
    static const char lines[] = "\na\nhello\n\na longer message\nwith a line\nz\n";
    assert_int_equal(n, sizeof lines - 1);
    assert_memory_equal(bytes, lines, n);
    all_frames(bytes);
    static const bool keep[TEXTS] = {false, true, true, false, false, true};
    n = lines_of_frames(bytes, ends, c.n, keep, false);
    assert_int_equal(n, 7);
    assert_memory_equal(bytes, "ahelloz", 7);
}

static void addresses(void **state) {
    static const struct {
        const char *text, *host, *port;
    } good[] = {{"localhost:80", "localhost", "80"}, {":7000", "127.0.0.1", "7000"}, {"7000", "127.0.0.1", "7000"},
                {"[::1]:9", "::1", "9"},             {"0.0.0.0:65535", "0.0.0.0", "65535"}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        endpoint e;
        assert_int_equal(endpoint_of_tcp(good[i].text, &e, NULL), TW_OK);
        assert_string_equal(e.host, good[i].host);
        assert_string_equal(e.port, good[i].port);
        endpoint_free(&e);
    }
    static const char *const bad[] = {"", "localhost", "localhost:", "a:0", "a:65536", "a:x", "::1:80", "[::1]80", "[]:1", "a:1x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        endpoint e;
        tw_error err;
        if (endpoint_of_tcp(bad[i], &e, &err) != TW_ERR_JOB) fail_msg("'%s' was taken", bad[i]);
    }
    char longest[200];
    endpoint e;
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(endpoint_of_unix(longest, &e, NULL), TW_ERR_JOB);
    assert_int_equal(endpoint_of_unix("", &e, NULL), TW_ERR_JOB);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_at_every_cut), cmocka_unit_test(lengths_have_bounds),
        cmocka_unit_test(lines_at_every_cut),   cmocka_unit_test(frames_become_lines),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
