/* The words of HarmonicIO, byte by byte, and the table of announced messages. Whole exchanges: tests/job/test_harmonicio.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "unit/holds.h"
#include "io/harmonicio.h"
#include "io/harmonicio_expected.h"
#include "io/haste_control.h"

static void expect_md5(const void *data, size_t n, const char *hex) {
    uint8_t digest[MD5_BYTES];
    char text[2 * MD5_BYTES + 1];
    md5(data, n, digest);
    for (int i = 0; i < MD5_BYTES; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(text, hex);
}

/* The test suite of RFC 1321, and lengths around those of a block, as md5sum has them. */
static void md5_is_md5(void **state) {
    expect_md5("", 0, "d41d8cd98f00b204e9800998ecf8427e");
    expect_md5("abc", 3, "900150983cd24fb0d6963f7d28e17f72");
    expect_md5("message digest", 14, "f96b697d7cb7938d525a2f31aaf161d0");
    expect_md5("12345678901234567890123456789012345678901234567890123456789012345678901234567890", 80, "57edf4a22be3c955ac49da2e2107b67a");
    static const struct { size_t n; const char *hex; } lengths[] = {
        {55, "ef1772b6dff9a122358552954ad0df65"}, {56, "3b0c8ac703f828b04c6c197006d17218"}, {63, "b06521f39153d618550606be297466d5"},
        {64, "014842d480b571495a4a0363793f7367"}, {65, "c743a45e0d2e6a95cb859adae0248435"}, {119, "8a7bd0732ed6a28ce75f6dabc90e1613"},
        {120, "5f61c0ccad4cac44c75ff505e1f1e537"}, {1000, "cabe45dcc9ae5b66ba86600cca6b8ba8"}};
    char text[1000];
    memset(text, 'a', sizeof text);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) expect_md5(text, lengths[i].n, lengths[i].hex);
}

static master_request request_of(const char *line) {
    static master_exchange e;
    memset(&e, 0, sizeof e);
    char text[16384];
    int n = snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: a\r\n\r\n", line);
    for (int i = 0; i < n; i++) {
        bool whole = master_exchange_feed(&e, text + i, 1);
        assert_int_equal(whole, i == n - 1 || e.refusal);
    }
    master_request r;
    master_request_read(&e, &r);
    return r;
}

#define DIGEST "900150983CD24fb0d6963f7d28e17f72"

static void requests_are_read(void **state) {
    master_request r = request_of("GET /streamRequest?token=None&c_name=namn/%C3%A5%c3%a4+%C3%B6%20&c_os=ubuntu&priority=0&source=s&digest=" DIGEST);
    assert_int_equal(r.action, MASTER_SENDS);
    assert_string_equal(r.name, "namn/åä ö");
    assert_true(r.digested);
    assert_int_equal(r.digest[0], 0x90);
    assert_int_equal(r.digest[15], 0x72);
    r = request_of("GET /streamRequest?c_name=a&token=&token=x&c_os=b&source=c&digest=12");
    assert_int_equal(r.action, MASTER_SENDS);
    assert_false(r.digested);
    r = request_of("POST /streamRequest?token=None&batch_addr=h&batch_port=9000&batch_status=00&c_name=a%zz");
    assert_int_equal(r.action, MASTER_POLLED);
    assert_string_equal(r.name, "a%zz");
    assert_true(r.available);
    assert_false(request_of("POST /streamRequest?token=None&batch_addr=h&batch_port=9000&batch_status=1&c_name=a").available);
    assert_int_equal(request_of("PUT /status?token=None").action, MASTER_HEARS);
    assert_int_equal(request_of("GET /messagesQuery?token=None&command=queueLength").action, MASTER_LENGTHS);
    assert_int_equal(request_of("GET /messagesQuery?token=None&command=verbose").action, MASTER_TELLS);
}

static void requests_are_refused(void **state) {
    static const struct { const char *line; int code; } cases[] = {
        {"GET /", 404}, {"GET /streamRequests?token=None", 404}, {"DELETE /status?token=None", 405}, {"PUT /streamRequest?token=None", 405},
        {"GET /status", 401}, {"GET /status?token=none", 401}, {"GET /streamRequest?token=None&c_os=a", 401},
        {"GET /streamRequest?token=None&c_name=%20&c_os=a&source=b&digest=" DIGEST, 406},
        {"GET /streamRequest?token=None&c_name=a%00b&c_os=a&source=b&digest=" DIGEST, 406},
        {"GET /streamRequest?token=None&c_name=%ff&c_os=a&source=b&digest=" DIGEST, 406},
        {"POST /streamRequest?token=None&batch_addr=h&batch_port=-1&batch_status=0&c_name=a", 406},
        {"POST /streamRequest?token=None&batch_addr=h&batch_status=0&c_name=a", 406}, {"GET /messagesQuery?token=None", 406}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        master_request r = request_of(cases[i].line);
        if (r.action != MASTER_REFUSES || r.code != cases[i].code) fail_msg("%s: %d", cases[i].line, r.code);
    }
}

/* 999 bytes are a name, 1000 are none; a target has its bound. */
static void lengths_have_bounds(void **state) {
    char line[HARMONICIO_TARGET_MAX + 100], name[HARMONICIO_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    for (size_t n = HARMONICIO_NAME_MAX; n <= HARMONICIO_NAME_MAX + 1; n++) {
        snprintf(line, sizeof line, "GET /streamRequest?token=None&c_name=%.*s&c_os=a&source=b&digest=" DIGEST, (int)n, name);
        assert_int_equal(request_of(line).action, n == HARMONICIO_NAME_MAX ? MASTER_SENDS : MASTER_REFUSES);
    }
    memcpy(line, "GET /", 5);
    memset(line + 5, 'x', sizeof line - 6);
    line[sizeof line - 1] = 0;
    assert_int_equal(request_of(line).code, 414);
    char target[HARMONICIO_TARGET_MAX];
    uint8_t digest[MD5_BYTES] = {0};
    name[HARMONICIO_NAME_MAX + 1] = 0;
    assert_false(harmonicio_target_send(name, digest, target));
    memset(name, '%', HARMONICIO_NAME_MAX);
    name[HARMONICIO_NAME_MAX] = 0;
    assert_true(harmonicio_target_send(name, digest, target));
    snprintf(line, sizeof line, "GET %s", target);
    assert_string_equal(request_of(line).name, name);
}

static void places_are_read(void **state) {
    harmonicio_place p;
#define READ(text) harmonicio_place_read(text, strlen(text), &p)
    assert_true(READ("{'node_addr': '127.0.0.1', 'node_port': 9000, 'node_role': 2, 'm_cmd': []}"));
    assert_string_equal(p.host, "127.0.0.1");
    assert_int_equal(p.port, 9000);
    assert_int_equal(p.role, ROLE_WORKER);
    assert_true(READ(" {\"m_cmd\": [{'a': ']'}, (1, 2)], \"node_role\":4 , \"node_port\":1,\"node_addr\":\"::1\"} "));
    assert_int_equal(p.role, ROLE_QUEUE);
    static const char *const wrong[] = {"", "{", "{}", "[]", "{'node_addr': 'a', 'node_port': 0, 'node_role': 2}",
        "{'node_addr': 'a', 'node_port': 65536, 'node_role': 2}", "{'node_addr': 'a', 'node_port': 1, 'node_role': 3}",
        "{'node_addr': '', 'node_port': 1, 'node_role': 2}", "{'node_addr': 'a, 'node_port': 1, 'node_role': 2}",
        "{'node_addr': 'a', 'node_port': 1, 'node_role': 2", "{'node_addr': 'a', 'node_port': 9999999999999, 'node_role': 2}", "{'a\\"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (READ(wrong[i])) fail_msg("%s", wrong[i]);
#undef READ
    const char *lengths = "{'a': 3, 'b/c:d': 12}";
    assert_int_equal(harmonicio_length_read(lengths, strlen(lengths), "b/c:d"), 12);
    assert_int_equal(harmonicio_length_read(lengths, strlen(lengths), "b"), 0);
    assert_int_equal(harmonicio_length_read(lengths, 5, "a"), 0);
    assert_int_equal(harmonicio_length_read("{'a': '3'}", 10, "a"), 0);
}

static void headers_are_read(void **state) {
    size_t n;
    assert_null(harmonicio_header_read((const uint8_t *)"003abc", 6, &n));
    assert_int_equal(n, 3);
    static const char *const wrong[] = {"", "00", "003", "003ab", "abcname", "000x", "-01a", " 1a", "001\xff"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (!harmonicio_header_read((const uint8_t *)wrong[i], strlen(wrong[i]), &n)) fail_msg("'%s'", wrong[i]);
}

static void haste_settings_are_read(void **state) {
    haste_settings s;
#define READ(text) haste_settings_read(text, strlen(text), 1000, &s)
    assert_null(READ("{ \"cpu_pause_ms\": 100,\n\"message_bytes\" :20.5e1 , \"other\": [{\"a\": \"}\"}, 1], \"period_sec\":0.2}"));
    assert_true(s.has_cpu && s.has_bytes && s.has_period);
    assert_int_equal(s.cpu_ms, 100);
    assert_int_equal(s.bytes, 205);
    assert_true(s.period_s == 0.2);
    assert_null(READ("{}"));
    assert_false(s.has_cpu || s.has_bytes || s.has_period);
    static const char *const wrong[] = {"", "[]", "{} x", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"message_bytes\": 36}", "{\"message_bytes\": 1001}",
        "{\"message_bytes\": nan}", "{\"message_bytes\": \"100\"}", "{\"cpu_pause_ms\": -1}", "{\"cpu_pause_ms\": 1000000}",
        "{\"period_sec\": 0}", "{\"period_sec\": inf}", "{\"period_sec\": 1", "{\"period_sec\": ]}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (!READ(wrong[i])) fail_msg("%s", wrong[i]);
#undef READ
}

static bool take(expected *e, const char *digest, const char *name) {
    uint8_t bytes[MD5_BYTES];
    md5(digest, strlen(digest), bytes);
    buffer *found = expected_take(e, bytes, name, name ? strlen(name) : 0);
    buffer_unref(found);
    return found;
}

static bool add(expected *e, const char *digest, const char *name, uint64_t patience_ns) {
    uint8_t bytes[MD5_BYTES];
    md5(digest, strlen(digest), bytes);
    return expected_add(e, bytes, name, strlen(name), patience_ns);
}

static void what_is_announced_comes_once(void **state) {
    expected *e;
    HOLDS(expected_create(1 << 20, &e, NULL) == TW_OK);
    assert_true(add(e, "a", "x", 0) && add(e, "a", "x", 0) && add(e, "a", "y", 0) && add(e, "b", "x", 0));
    assert_false(take(e, "c", NULL));
    assert_false(take(e, "b", "y"));
    assert_true(take(e, "a", "y"));
    assert_false(take(e, "a", "y"));
    assert_true(take(e, "a", NULL) && take(e, "a", "x"));
    assert_false(take(e, "a", NULL));
    assert_true(take(e, "b", "x"));
    expected_free(e);
}

static void announcing_has_a_bound(void **state) {
    expected *e;
    HOLDS(expected_create(10000, &e, NULL) == TW_OK);
    char digest[16];
    int n = 0;
    for (; snprintf(digest, sizeof digest, "%d", n), add(e, digest, "name", UINT64_MAX); n++) assert_true(n < 1000);
    assert_true(n > 10);
    assert_true(add(e, "new", "name", 0)); /* the oldest have waited for long enough */
    assert_true(take(e, "new", NULL));
    assert_false(take(e, "0", NULL));
    snprintf(digest, sizeof digest, "%d", n - 1);
    assert_true(take(e, digest, NULL));
    expected_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(md5_is_md5),
        cmocka_unit_test(requests_are_read),
        cmocka_unit_test(requests_are_refused),
        cmocka_unit_test(lengths_have_bounds),
        cmocka_unit_test(places_are_read),
        cmocka_unit_test(headers_are_read),
        cmocka_unit_test(haste_settings_are_read),
        cmocka_unit_test(what_is_announced_comes_once),
        cmocka_unit_test(announcing_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
