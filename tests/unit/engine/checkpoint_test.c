/* checkpoint: what is put in comes out; what was changed on the disk is refused; what was not finished is not there. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/checkpoint.h"

#define MUST(call) assert_int_equal(call, TW_OK)

static char folder[64];

static int make_folder(void **state) {
    strcpy(folder, "/tmp/thalweg-checkpoint-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    uint64_t numbers[64];
    uint32_t n;
    checkpoint_list(folder, numbers, 64, &n, NULL);
    for (uint32_t i = 0; i < n; i++) checkpoint_delete(folder, numbers[i], NULL);
    return rmdir(folder);
}

/* Rows of (int64, text). */
static row_layout *layout(void) {
    const type *types[] = {type_of(TYPE_INT64), type_of(TYPE_STRING)};
    row_layout *l;
    MUST(row_layout_new(types, 2, 1, 0, &l, NULL));
    return l;
}

static row_block *rows(memory *m, const row_layout *l, int64_t first, uint32_t n) {
    enum { most = 100, bytes = 40 };
    int64_t numbers[most];
    char texts[most][bytes];
    view views[most];
    uint8_t *to[most];
    for (uint32_t i = 0; i < n; i++) {
        numbers[i] = first + i;
        int size = snprintf(texts[i], bytes, "a text that is long, number %d", (int)(first + i));
        views[i] = view_make((uint8_t *)texts[i], (uint32_t)size);
    }
    column columns[] = {{.type = type_of(TYPE_INT64), .rows = n, .values = numbers},
                        {.type = type_of(TYPE_STRING), .rows = n, .values = views}};
    row_block *b;
    size_t heap = rows_heap_bytes(l, columns, NULL, n, NULL);
    MUST(row_block_new(m, MEMORY_FLOW, l, n, heap, &b, NULL));
    for (uint32_t i = 0; i < n; i++) {
        to[i] = b->rows->data + (size_t)i * l->stride;
        row_set_header(to[i], (uint64_t)(first + i));
    }
    uint8_t *end = b->heap->data;
    rows_encode(l, columns, NULL, n, to, &end);
    b->n = n;
    b->heap_used = heap;
    return b;
}

static const char odd_text[] = "${HOME} $${x} \"quoted\"\\\n\ttab # comment: é \x7f \xc2\x85 \xe2\x80\xa8 \xff\xfe";

static void write_one(uint64_t number) {
    memory *m;
    row_layout *l = layout();
    checkpoint *c;
    saved_part *a, *b;
    MUST(memory_create(8 << 20, &m, NULL));
    MUST(checkpoint_begin(folder, number, "a job: \"x\"", &c, NULL));
    MUST(checkpoint_add(c, "main/group#0", odd_text, &a, NULL));
    MUST(checkpoint_add(c, "main/file#0", "", &b, NULL));
    MUST(part_put(a, "odd", odd_text, NULL));
    MUST(part_put(a, "empty", "", NULL));
    MUST(part_put_int(a, "least", INT64_MIN, NULL));
    MUST(part_put_int(b, "most", INT64_MAX, NULL));
    for (int64_t tag = -2; tag < 3; tag++) {
        row_block *first = rows(m, l, tag * 1000, 100), *second = rows(m, l, tag * 1000 + 100, 7);
        const row_block *both[] = {first, second};
        MUST(part_put_rows(a, tag, l, both, 2, NULL));
        row_block_free(first);
        row_block_free(second);
    }
    MUST(checkpoint_finish(c, NULL));
    checkpoint_free(c);
    row_layout_free(l);
    memory_destroy(m);
}

static void test_what_is_put_in_comes_out(void **state) {
    write_one(7);
    checkpoint *c;
    MUST(checkpoint_load(folder, 7, &c, NULL));
    assert_int_equal(checkpoint_number(c), 7);
    assert_string_equal(checkpoint_job(c), "a job: \"x\"");
    assert_int_equal(checkpoint_parts(c), 2);
    assert_null(checkpoint_find(c, "main/group#1"));
    const saved_part *a = checkpoint_find(c, "main/group#0"), *b = checkpoint_find(c, "main/file#0");
    assert_non_null(a);
    assert_string_equal(part_shape(a), odd_text);
    assert_string_equal(part_get(a, "odd"), odd_text);
    assert_string_equal(part_get(a, "empty"), "");
    assert_null(part_get(a, "none"));
    assert_int_equal(part_get_int(a, "least", 0), INT64_MIN);
    assert_int_equal(part_get_int(b, "most", 0), INT64_MAX);
    assert_int_equal(part_get_int(b, "none", 5), 5);
    assert_int_equal(part_frames(a), 5);
    memory *m;
    row_layout *l = layout();
    MUST(memory_create(8 << 20, &m, NULL));
    for (uint32_t i = 0; i < 5; i++) {
        row_block *rows;
        assert_int_equal(part_frame_tag(a, i), (int64_t)i - 2);
        MUST(part_read_rows(a, i, m, l, &rows, NULL));
        assert_int_equal(rows->n, 107);
        for (uint32_t k = 0; k < rows->n; k++)
            assert_int_equal(row_header(rows->rows->data + (size_t)k * l->stride), (uint64_t)(((int64_t)i - 2) * 1000 + k));
        row_block_free(rows);
    }
    MUST(checkpoint_verify(c, NULL));
    checkpoint_free(c);
    row_layout_free(l);
    memory_destroy(m);
}

static void test_what_is_not_finished_is_not_there(void **state) {
    checkpoint *c;
    saved_part *p;
    uint64_t number;
    uint32_t n;
    MUST(checkpoint_begin(folder, 3, "job", &c, NULL));
    MUST(checkpoint_add(c, "x", "", &p, NULL));
    MUST(checkpoint_list(folder, &number, 1, &n, NULL));
    assert_int_equal(n, 0);
    checkpoint_free(c);
    MUST(checkpoint_begin(folder, 3, "job", &c, NULL)); /* again, over what may be left */
    MUST(checkpoint_finish(c, NULL));
    checkpoint_free(c);
    MUST(checkpoint_list(folder, &number, 1, &n, NULL));
    assert_int_equal(n, 1);
    assert_int_equal(number, 3);
}

static void test_the_newest_come_first(void **state) {
    for (uint64_t i = 1; i <= 9; i++) write_one(i * 3 % 10);
    uint64_t numbers[4];
    uint32_t n;
    MUST(checkpoint_list(folder, numbers, 4, &n, NULL));
    assert_int_equal(n, 4);
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(numbers[i], 9 - i);
    MUST(checkpoint_list("/nowhere/at/all", numbers, 4, &n, NULL));
    assert_int_equal(n, 0);
}

static size_t size_of(int file) { return (size_t)lseek(file, 0, SEEK_END); }

/* Every bit of the manifest, and every byte of the rows' frames. */
static void test_every_damage_is_seen(void **state) {
    char path[128];
    write_one(1);
    for (unsigned which = 0; which < 2; which++) {
        snprintf(path, sizeof path, "%s/0000000001.%s", folder, which ? "rows" : "json");
        int file = open(path, O_RDWR);
        size_t size = size_of(file), step = which ? 13 : 1;
        for (size_t at = 0; at < size; at += step) {
            uint8_t byte, changed;
            assert_int_equal(pread(file, &byte, 1, (off_t)at), 1);
            changed = byte ^ (uint8_t)(1u << at % 8);
            assert_int_equal(pwrite(file, &changed, 1, (off_t)at), 1);
            checkpoint *c = NULL;
            tw_error err = {0};
            tw_status status = checkpoint_load(folder, 1, &c, &err);
            if (status == TW_OK && which) {
                status = checkpoint_verify(c, &err);
                bool padding = true; /* between frames */
                for (uint32_t i = 0; i < 5; i++) padding &= at < i * 8192 || at >= i * 8192 + part_frame_bytes(checkpoint_find(c, "main/group#0"), i);
                if (padding) status = TW_ERR_DATA;
            }
            checkpoint_free(c);
            if (status != TW_ERR_DATA) printf("%s, byte %zu: %s\n", path, at, err.message);
            assert_int_equal(status, TW_ERR_DATA);
            assert_int_equal(pwrite(file, &byte, 1, (off_t)at), 1);
        }
        close(file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_put_in_comes_out, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_what_is_not_finished_is_not_there, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_the_newest_come_first, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_every_damage_is_seen, make_folder, remove_folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
