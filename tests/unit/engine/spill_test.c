#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/spill_internal.h"
#include "unit/data/random_columns.h"

/* ---- calls that fail as told ---- */

static struct {
    int file;              /* the last one used */
    unsigned interrupts;   /* EINTR so many times */
    unsigned errors;       /* EIO so many times, one by one */
    uint64_t bytes_left;   /* then ENOSPC */
    size_t at_most;        /* bytes a call; 0: all */
    bool flip;             /* one bit of each write past the header */
} fault;

static bool fails(int file) {
    fault.file = file;
    if (fault.interrupts) {
        fault.interrupts--;
        errno = EINTR;
        return true;
    }
    if (fault.errors) {
        fault.errors--;
        errno = EIO;
        return true;
    }
    return false;
}
static size_t cut(size_t bytes) { return fault.at_most && bytes > fault.at_most ? fault.at_most : bytes; }

static ssize_t faulty_write(int file, const void *data, size_t bytes, off_t offset) {
    if (fails(file)) return -1;
    bytes = cut(bytes);
    if (bytes > fault.bytes_left) {
        errno = ENOSPC;
        return -1;
    }
    fault.bytes_left -= bytes;
    ssize_t done = pwrite(file, data, bytes, offset);
    if (fault.flip && done > 64) {
        uint8_t byte = (uint8_t)(((const uint8_t *)data)[done - 1] ^ 1);
        assert_int_equal(pwrite(file, &byte, 1, offset + done - 1), 1);
    }
    return done;
}
static ssize_t faulty_read(int file, void *data, size_t bytes, off_t offset) {
    if (fails(file)) return -1;
    return pread(file, data, cut(bytes), offset);
}
static const spill_calls faulty = {.pwrite = faulty_write, .pread = faulty_read};

/* ---- a block of random rows ---- */

typedef struct fixture {
    memory *m;
    spill *s;
    row_layout *l;
    row_block *blocks[3];
} fixture;

static row_block *random_block(fixture *f, uint64_t *seed, const type *const *types, uint32_t n_types,
                               uint32_t n) {
    column columns[8];
    row_block *b;
    for (uint32_t k = 0; k < n_types; k++) random_column(f->m, seed, types[k], n, &columns[k]);
    size_t heap_bytes = rows_heap_bytes(f->l, columns, NULL, n, NULL);
    MUST(row_block_new(f->m, MEMORY_STATE, f->l, n + 5, heap_bytes ? heap_bytes + 100 : 0, &b, NULL));
    uint8_t **to = malloc(n * sizeof *to), *heap = b->heap ? b->heap->data : NULL;
    for (uint32_t i = 0; i < n; i++) to[i] = b->rows->data + (size_t)i * f->l->stride;
    rows_encode(f->l, columns, NULL, n, to, &heap);
    for (uint32_t i = 0; i < n; i++) row_set_header(to[i], hash_row_keys(f->l, to[i]));
    b->n = n;
    b->heap_used = heap_bytes;
    free(to);
    for (uint32_t k = 0; k < n_types; k++) column_clear(&columns[k]);
    return b;
}

static void set_up(fixture *f, uint64_t seed, uint32_t rows) {
    const type *types[8];
    uint32_t n = 1 + draw_below(&seed, 8);
    memset(&fault, 0, sizeof fault);
    fault.bytes_left = UINT64_MAX;
    MUST(memory_create(64 << 20, &f->m, NULL));
    MUST(spill_create_with(NULL, &faulty, &f->s, NULL));
    for (uint32_t k = 0; k < n; k++) types[k] = random_type(&seed);
    MUST(row_layout_new(types, n, n, 0, &f->l, NULL));
    for (int i = 0; i < 3; i++) {
        f->blocks[i] = random_block(f, &seed, types, n, 1 + draw_below(&seed, rows));
    }
}

static void tear_down(fixture *f) {
    for (int i = 0; i < 3; i++) row_block_free(f->blocks[i]);
    row_layout_free(f->l);
    spill_free(f->s);
    memory_destroy(f->m);
}

static const uint8_t *row_of(const fixture *f, const row_block *b, uint32_t i) {
    return b->rows->data + (size_t)i * f->l->stride;
}

/* `b` holds the rows of blocks [0, n), one after the other, and nothing of their memory. */
static void check_same(const fixture *f, const row_block *b, unsigned n) {
    uint32_t at = 0;
    for (unsigned k = 0; k < n; k++) {
        for (uint32_t i = 0; i < f->blocks[k]->n; i++, at++) {
            assert_true(at < b->n);
            assert_true(rows_keys_equal(f->l, row_of(f, b, at), row_of(f, f->blocks[k], i)));
            assert_int_equal(row_header(row_of(f, b, at)), hash_row_keys(f->l, row_of(f, b, at)));
        }
    }
    assert_int_equal(at, b->n);
}

static void read_and_check(fixture *f, frame_place place, unsigned n) {
    row_block *b;
    MUST(spill_read_block(f->s, f->m, MEMORY_FLOW, f->l, place, &b, NULL));
    check_same(f, b, n);
    row_block_free(b);
}

static void test_there_and_back(void **state) {
    for (uint64_t seed = 0; seed < 60; seed++) {
        fixture f;
        frame_place one, all;
        set_up(&f, seed, seed % 10 ? 50 : 3000);
        assert_int_equal(spill_bytes(f.s), 0);
        MUST(spill_write_blocks(f.s, f.l, (const row_block *const *)f.blocks, 3, &all, NULL));
        MUST(spill_write_block(f.s, f.l, f.blocks[0], &one, NULL));
        assert_int_equal(spill_bytes(f.s), one.bytes + all.bytes);
        read_and_check(&f, one, 1);
        read_and_check(&f, all, 3);
        read_and_check(&f, all, 3);
        tear_down(&f);
    }
}

static void test_interrupted_and_cut_short(void **state) {
    for (uint64_t seed = 0; seed < 10; seed++) {
        fixture f;
        frame_place place;
        set_up(&f, seed, 50);
        fault.at_most = 777;
        fault.interrupts = 5;
        MUST(spill_write_blocks(f.s, f.l, (const row_block *const *)f.blocks, 3, &place, NULL));
        fault.interrupts = 7;
        read_and_check(&f, place, 3);
        tear_down(&f);
    }
}

static void test_disk_errors(void **state) {
    fixture f;
    frame_place place;
    row_block *b;
    tw_error err;
    set_up(&f, 1, 2000);
    fault.bytes_left = 1000;
    assert_int_equal(spill_write_block(f.s, f.l, f.blocks[0], &place, &err), TW_ERR_IO);
    assert_non_null(strstr(err.message, "spill folder "));
    assert_non_null(strstr(err.message, ": No space left on device"));
    assert_int_equal(spill_bytes(f.s), 0);
    fault.bytes_left = UINT64_MAX;
    fault.errors = 3;
    MUST(spill_write_block(f.s, f.l, f.blocks[0], &place, &err));
    fault.errors = 3;
    read_and_check(&f, place, 1);
    fault.errors = 4;
    assert_int_equal(spill_write_block(f.s, f.l, f.blocks[0], &place, &err), TW_ERR_IO);
    MUST(spill_write_block(f.s, f.l, f.blocks[0], &place, &err));
    fault.errors = 4;
    assert_int_equal(spill_read_block(f.s, f.m, MEMORY_STATE, f.l, place, &b, &err), TW_ERR_IO);
    assert_null(strstr(err.message, "No space"));
    read_and_check(&f, place, 1);
    tear_down(&f);
}

static void test_damage_is_seen(void **state) {
    for (uint64_t seed = 0; seed < 20; seed++) {
        fixture f;
        frame_place place;
        row_block *b;
        tw_error err;
        set_up(&f, seed, 40);
        fault.flip = true;
        MUST(spill_write_block(f.s, f.l, f.blocks[0], &place, NULL));
        assert_int_equal(spill_read_block(f.s, f.m, MEMORY_STATE, f.l, place, &b, &err), TW_ERR_DATA);
        fault.flip = false;
        MUST(spill_write_block(f.s, f.l, f.blocks[0], &place, NULL));
        uint64_t at = place.offset + draw_below(&seed, (uint32_t)place.bytes);
        uint8_t byte;
        assert_int_equal(pread(fault.file, &byte, 1, (off_t)at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fault.file, &byte, 1, (off_t)at), 1);
        assert_int_equal(spill_read_block(f.s, f.m, MEMORY_STATE, f.l, place, &b, &err), TW_ERR_DATA);
        tear_down(&f);
    }
}

static void test_wrong_headers(void **state) {
    const type *types[] = {type_of(TYPE_INT64)}, *others[] = {type_of(TYPE_FLOAT64)};
    row_layout *l, *other;
    MUST(row_layout_new(types, 1, 1, 0, &l, NULL));
    MUST(row_layout_new(others, 1, 1, 0, &other, NULL));
    assert_int_equal(l->stride, other->stride);
    frame_header good = {.magic = FRAME_MAGIC, .version = FRAME_VERSION, .stride = l->stride, .rows = 2,
                         .heap_bytes = 10, .layout = frame_layout_fingerprint(l)};
    uint64_t bytes = 64 + 2 * l->stride + 10;
    assert_true(frame_header_is_valid(&good, l, bytes));
    assert_false(frame_header_is_valid(&good, other, bytes));
    assert_false(frame_header_is_valid(&good, l, bytes - 1));
    frame_header bad = good;
    bad.magic++;
    assert_false(frame_header_is_valid(&bad, l, bytes));
    bad = good;
    bad.version = 2;
    assert_false(frame_header_is_valid(&bad, l, bytes));
    bad = good;
    bad.rows = 0;
    assert_false(frame_header_is_valid(&bad, l, 64 + 10));
    bad.rows = UINT64_MAX / l->stride + 1;
    assert_false(frame_header_is_valid(&bad, l, 64 + bad.rows * l->stride + 10));
    bad = good;
    bad.heap_bytes = UINT64_MAX - 63 - 2 * l->stride;
    assert_false(frame_header_is_valid(&bad, l, 0));
    row_layout_free(l);
    row_layout_free(other);
}

static unsigned files_in(const char *folder) {
    unsigned n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void test_folders(void **state) {
    char folder[] = "/tmp/thalweg-spill-test-XXXXXX";
    fixture f;
    frame_place place;
    tw_error err;
    assert_non_null(mkdtemp(folder));
    set_up(&f, 3, 10);
    spill_free(f.s);
    MUST(spill_create(folder, &f.s, NULL));
    MUST(spill_write_block(f.s, f.l, f.blocks[0], &place, NULL));
    assert_int_equal(files_in(folder), 0);
    read_and_check(&f, place, 1);
    spill_free(f.s);
    assert_int_equal(rmdir(folder), 0);
    MUST(spill_create(folder, &f.s, NULL)); /* a wrong folder is an error when it is first needed */
    assert_int_equal(spill_write_block(f.s, f.l, f.blocks[0], &place, &err), TW_ERR_IO);
    assert_non_null(strstr(err.message, folder));
    assert_non_null(strstr(err.message, "No such file"));
    tear_down(&f);
}

static void test_forgotten_space(void **state) {
    fixture f;
    frame_place places[20];
    struct stat before, after;
    set_up(&f, 8, 3000);
    for (int i = 0; i < 20; i++) {
        MUST(spill_write_blocks(f.s, f.l, (const row_block *const *)f.blocks, 3, &places[i], NULL));
    }
    assert_int_equal(fstat(fault.file, &before), 0);
    for (int i = 0; i < 20; i++) {
        if (i != 7) spill_forget(f.s, places[i]);
    }
    assert_int_equal(fstat(fault.file, &after), 0);
    if (after.st_blocks == before.st_blocks) print_message("no holes on this file system\n");
    else assert_true(after.st_blocks <= before.st_blocks / 10);
    read_and_check(&f, places[7], 3);
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),  cmocka_unit_test(test_interrupted_and_cut_short),
        cmocka_unit_test(test_disk_errors),     cmocka_unit_test(test_damage_is_seen),
        cmocka_unit_test(test_wrong_headers),   cmocka_unit_test(test_folders),
        cmocka_unit_test(test_forgotten_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
