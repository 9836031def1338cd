/* A queue with a log on disk behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "engine/bad_records.h"
#include "engine/queue.h"
#include "engine/spill_internal.h"
#include "unit/engine/fakes.h"

/* ---- a disk that fails as told ---- */

static atomic_llong disk_left; /* bytes, then ENOSPC */
static atomic_bool flips;      /* a bit of what is read */

static ssize_t limited_write(int file, const void *data, size_t bytes, off_t offset) {
    if (atomic_fetch_sub(&disk_left, (long long)bytes) < (long long)bytes) {
        errno = ENOSPC;
        return -1;
    }
    return pwrite(file, data, bytes, offset);
}
static ssize_t flipping_read(int file, void *data, size_t bytes, off_t offset) {
    ssize_t done = pread(file, data, bytes, offset);
    if (atomic_load(&flips) && done > 64) ((uint8_t *)data)[done / 2] ^= 4;
    return done;
}
static const spill_calls disk = {limited_write, flipping_read};

/* ---- the queue ---- */

typedef struct world {
    run_context run;
    atomic_bool cancelled;
    atomic_uint wakes, lines;
    char line[600];
    sink *sink;
    source *source;
    sink_writer *writer;
    schema *schema;
} world;

static void woken(void *engine) { atomic_fetch_add(&((world *)engine)->wakes, 1); }
static void told(void *engine, tw_log_level level, const char *message) {
    world *w = engine;
    snprintf(w->line, sizeof w->line, "%s", message);
    atomic_fetch_add(&w->lines, 1);
}

static void set_up(world *w, row_order order, bool keeps_raw) {
    *w = (world){.run = {.batch_rows = 1000, .parallelism = 2, .wake = woken, .log = told}};
    w->run.engine = w;
    w->run.cancelled = &w->cancelled;
    atomic_store(&disk_left, INT64_MAX);
    atomic_store(&flips, false);
    MUST(memory_create((size_t)32 << 20, &w->run.memory, NULL));
    MUST(spill_create_with(NULL, &disk, &w->run.spill, NULL));
    MUST(bad_records_create(keeps_raw ? BAD_DEAD_LETTER : BAD_FAIL, "/dev/null", &w->run.bad, NULL));
    MUST(row_schema(&w->schema, NULL));
    queue_options o = {.name = "overflow", .rows_max = UINT64_MAX, .logs = w->schema};
    MUST(queue_create(o, 3, &w->sink, &w->source, NULL));
    w->sink->order = order;
    MUST(w->sink->class->start(w->sink, &w->run, 1, NULL));
    uint64_t n;
    MUST(w->source->class->start(w->source, &w->run, &n, NULL));
    MUST(w->sink->class->open(w->sink, &w->writer, NULL));
}

static void tear_down(world *w) {
    w->sink->class->drop(w->writer);
    if (w->source) w->source->class->free(w->source);
    w->sink->class->free(w->sink);
    schema_unref(w->schema);
    bad_records_free(w->run.bad);
    spill_free(w->run.spill);
    memory_destroy(w->run.memory);
}

/* Rows from records that follow each other, the first of which is `first`, of a file named by the partition. */
static batch *rows_of(world *w, uint64_t first, uint32_t n, size_t pad, uint32_t partition) {
    batch *b;
    char name[64];
    MUST(make_rows(w->run.memory, w->schema, (bool[]){1, 1, 1}, 0, first, n, pad, &b, NULL));
    snprintf(name, sizeof name, "a connection with a name: %u", partition);
    if (partition % 4 == 3) return b; /* from nowhere */
    MUST(origin_new(name, first + 1, &b->origin, NULL));
    if (!bad_records_keep_raw(w->run.bad)) return b;
    const column *text = &b->columns[1];
    MUST(buffer_new(w->run.memory, MEMORY_FLOW, n * sizeof(view), &b->origin->raw_buffer, NULL));
    memcpy(b->origin->raw_buffer->data, text->values, n * sizeof(view));
    b->origin->raw_heap = buffer_ref(text->heap);
    return b;
}

static bool is_ready(world *w) { return w->sink->class->ready(w->sink, &(batch_order){0, 0, 0}); }

static void push(world *w, uint64_t first, uint32_t n, size_t pad, uint32_t partition) {
    batch *b = rows_of(w, first, n, pad, partition);
    MUST(w->sink->class->push(w->writer, &(batch_order){.partition = partition}, b, NULL));
    batch_unref(b);
}

/* The next batch, whole and from where it was; NULL: none now. */
static batch *pop(world *w, reader *out) {
    reader *r;
    batch *b = NULL;
    tw_status status = w->source->class->open(w->source, 0, &r, NULL);
    if (status == STATUS_WAIT || status == TW_END) return NULL;
    MUST(status);
    *out = *r;
    tw_status got = r->class->next(r, &b, NULL);
    HOLDS(got == TW_OK || got == TW_END);
    r->class->free(r);
    for (uint32_t i = 0; b && i < b->rows; i++) {
        char text[PAD_MAX + 32];
        int64_t id = ((int64_t *)b->columns[0].values)[i];
        const view *v = (const view *)b->columns[1].values + i;
        tw_error place = {0};
        HOLDS(((int64_t *)b->columns[2].values)[i] == twin_of(id));
        int size = text_of(id, text, v->size > 12 ? PAD_MAX : 0);
        HOLDS(v->size <= (uint32_t)size && memcmp(view_data(v), text, v->size) == 0);
        batch_place(b, i, &place);
        if (out->partition % 4 == 3) {
            HOLDS(!b->origin);
            continue;
        }
        HOLDS(place.record == (uint64_t)id + 1 && strstr(place.file, "a connection with a name: "));
        HOLDS(atoi(place.file + strlen("a connection with a name: ")) == (int)out->partition);
        if (!bad_records_keep_raw(w->run.bad)) continue;
        uint32_t at = b->origin_rows ? ((const uint32_t *)(const void *)b->origin_rows->data)[i] : i;
        HOLDS(view_equal((const view *)(const void *)b->origin->raw_buffer->data + at, v));
    }
    return b;
}

/* Bursts and pauses; epochs end in between; all comes out in order, in the epoch and from the partition that it came from. */
static void test_random_bursts(void **state) {
    for (uint64_t seed = 1; seed <= 6; seed++) {
        world w;
        uint64_t s = seed, in = 0, out = 0;
        uint32_t epoch = 0, seen = 0;
        set_up(&w, seed % 2 ? ROW_ORDER_NONE : ROW_ORDER_INPUTS, seed % 3 == 0);
        static uint8_t partitions[1 << 20], epochs[1 << 20];
        bool fills = true;
        for (unsigned turn = 0; turn < 3000 || out < in; turn++) {
            if (draw_below(&s, 60) == 0) fills = !fills;
            if (turn < 3000 && draw_below(&s, 200) == 0)
                MUST(w.sink->class->advance(w.sink, (mark){WATERMARK_NONE, ++epoch}, NULL));
            uint32_t n = 1 + (draw_below(&s, 4) ? 0 : draw_below(&s, 200)), partition = draw_below(&s, 8);
            if (turn < 3000 && draw_below(&s, 10) < (fills ? 9u : 2u) && is_ready(&w)) { /* pieces that marks cut short stay in memory */
                memset(partitions + in, (int)partition, n);
                memset(epochs + in, (int)epoch, n);
                push(&w, in, n, draw_below(&s, 10) ? 20 : PAD_MAX, partition);
                in += n;
                continue;
            }
            reader r;
            batch *b = pop(&w, &r);
            if (!b) continue;
            assert_int_equal(r.position, out);
            assert_true(r.after.epoch >= seen);
            seen = r.after.epoch;
            for (uint32_t i = 0; i < b->rows; i++, out++) {
                assert_int_equal(((int64_t *)b->columns[0].values)[i], out);
                assert_int_equal(partitions[out], r.partition);
                assert_int_equal(epochs[out], r.after.epoch);
            }
            batch_unref(b);
        }
        assert_int_equal(out, in);
        if (spill_bytes(w.run.spill) == 0) fail_msg("nothing was written with seed %llu", (unsigned long long)seed);
        assert_int_equal(w.lines, 0);
        tear_down(&w);
    }
}

/* What is quick enough never sees the disk. */
static void test_light_load(void **state) {
    world w;
    set_up(&w, ROW_ORDER_INPUTS, false);
    for (uint64_t first = 0; first < 50000; first += 100) {
        reader r;
        push(&w, first, 100, 100, 0);
        batch *b = pop(&w, &r);
        assert_int_equal(b->rows, 100);
        batch_unref(b);
    }
    assert_int_equal(spill_bytes(w.run.spill), 0);
    tear_down(&w);
}

/* A full disk slows down the source, is told once, and nothing is lost; when what is there was read, the log goes on. */
static void test_full_disk(void **state) {
    world w;
    reader r;
    uint64_t in = 0, out = 0;
    set_up(&w, ROW_ORDER_INPUTS, false);
    for (int round = 0; round < 2; round++) {
        atomic_store(&disk_left, (long long)5 << 20);
        for (; is_ready(&w); in += 100) {
            push(&w, in, 100, 1000, 0);
            assert_true(in < 1000000);
        }
        assert_int_equal(w.lines, round + 1);
        assert_non_null(strstr(w.line, "No space left on device"));
        assert_true(spill_bytes(w.run.spill) > 0);
        unsigned wakes = w.wakes;
        for (batch *b; (b = pop(&w, &r)); batch_unref(b))
            for (uint32_t i = 0; i < b->rows; i++, out++) assert_int_equal(((int64_t *)b->columns[0].values)[i], out);
        assert_int_equal(in, out);
        assert_true(w.wakes > wakes);
    }
    assert_true(is_ready(&w));
    tear_down(&w);
}

static void test_damage_is_seen(void **state) {
    world w;
    reader *r = NULL;
    batch *b;
    tw_error err = {0};
    set_up(&w, ROW_ORDER_INPUTS, false);
    for (uint64_t in = 0; spill_bytes(w.run.spill) < (4 << 20); in += 100) push(&w, in, 100, 1000, 0);
    atomic_store(&flips, true);
    tw_status status;
    while ((status = w.source->class->open(w.source, 0, &r, &err)) == TW_OK) {
        MUST(r->class->next(r, &b, NULL));
        batch_unref(b);
        r->class->free(r);
    }
    assert_int_equal(status, TW_ERR_DATA);
    assert_non_null(strstr(err.message, "came back damaged"));
    tear_down(&w);
}

/* What cannot be read back for want of memory is read later. */
static void test_memory_is_awaited(void **state) {
    world w;
    reader *r, got;
    batch *b;
    uint64_t in = 0, out = 0;
    buffer *hog[64] = {0};
    set_up(&w, ROW_ORDER_INPUTS, false);
    for (; spill_bytes(w.run.spill) < (4 << 20); in += 100) push(&w, in, 100, 1000, 0);
    unsigned n = 0;
    for (size_t bytes = (size_t)4 << 20; bytes >= 65536; bytes /= 2)
        while (n < 64 && buffer_new(w.run.memory, MEMORY_FLOW, bytes, &hog[n], NULL) == TW_OK) n++;
    tw_status status;
    while ((status = w.source->class->open(w.source, 0, &r, NULL)) == TW_OK) {
        MUST(r->class->next(r, &b, NULL));
        out += b->rows;
        r->class->free(r);
        buffer *more;
        batch_unref(b);
        if (n < 64 && buffer_new(w.run.memory, MEMORY_FLOW, 65536, &more, NULL) == TW_OK) hog[n++] = more;
    }
    assert_int_equal(status, TW_ERR_MEMORY);
    for (unsigned i = 0; i < n; i++) buffer_unref(hog[i]);
    for (; (b = pop(&w, &got)); batch_unref(b)) {
        assert_int_equal(((int64_t *)b->columns[0].values)[0], out);
        out += b->rows;
    }
    assert_int_equal(in, out);
    tear_down(&w);
}

/* ---- threads on both ends ---- */

enum { THREADS = 3, SPLITS = 300, ROWS = 200 };

typedef struct crowd {
    world w;
    atomic_uint next_split, splits_left;
    atomic_ullong popped;
    atomic_bool over;
} crowd;

static void *fill(void *context) {
    crowd *c = context;
    sink *k = c->w.sink;
    sink_writer *w;
    MUST(k->class->open(k, &w, NULL));
    for (unsigned s; (s = atomic_fetch_add(&c->next_split, 1)) < SPLITS;) {
        batch_order order = {.split = s};
        for (uint64_t first = (uint64_t)s * ROWS; first < (uint64_t)(s + 1) * ROWS; first += ROWS / 4) {
            batch *b = rows_of(&c->w, first, ROWS / 4, 1000, 0);
            while (!k->class->ready(k, &order) && !k->class->satisfied(k)) sched_yield();
            MUST(k->class->push(w, &order, b, NULL));
            batch_unref(b);
        }
        MUST(k->class->end_split(w, &order, NULL));
        if (atomic_fetch_sub(&c->splits_left, 1) == 1) {
            MUST(k->class->end_input(k, 0, SPLITS, NULL));
            MUST(k->class->finish(k, NULL));
        }
    }
    MUST(k->class->close(w, NULL));
    return NULL;
}

static void *drain(void *context) {
    crowd *c = context;
    for (uint64_t n = 0; n < (uint64_t)SPLITS * ROWS && !atomic_load(&c->over);) {
        reader r;
        batch *b = pop(&c->w, &r);
        if (!b) {
            sched_yield();
            continue;
        }
        for (uint32_t i = 0; i < b->rows; i++) HOLDS(((int64_t *)b->columns[0].values)[i] == (int64_t)n++);
        atomic_store(&c->popped, n);
        batch_unref(b);
    }
    return NULL;
}

static void run_crowd(crowd *c, void (*then)(crowd *)) {
    memset(c, 0, sizeof *c);
    set_up(&c->w, ROW_ORDER_INPUTS, false);
    c->splits_left = SPLITS;
    pthread_t threads[THREADS + 1];
    for (int i = 0; i <= THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, i < THREADS ? fill : drain, c), 0);
    if (then) then(c);
    for (int i = THREADS; i >= 0; i--) {
        pthread_join(threads[i], NULL);
        if (i == THREADS && then) { /* nobody reads any more: what is on its way is dropped */
            c->w.source->class->free(c->w.source);
            c->w.source = NULL;
        }
    }
}

static void give_up_half_way(crowd *c) {
    while (atomic_load(&c->popped) < (uint64_t)SPLITS * ROWS / 2) sched_yield();
    atomic_store(&c->over, true);
}

static void test_many_threads(void **state) {
    static crowd c;
    run_crowd(&c, NULL);
    assert_int_equal(c.popped, SPLITS * ROWS);
    tear_down(&c.w);
    run_crowd(&c, give_up_half_way);
    assert_true(c.w.sink->class->satisfied(c.w.sink));
    tear_down(&c.w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_bursts), cmocka_unit_test(test_light_load),        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_damage_is_seen), cmocka_unit_test(test_memory_is_awaited), cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
