#include "step/event_clock.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/checkpoint.h"

struct event_clock {
    uint32_t time;       /* column */
    int64_t lateness;
    int64_t *watermarks; /* of each partition seen */
    uint32_t n, capacity;
    int64_t passed;      /* the watermark of all: never falls, whatever partitions come */
};

tw_status event_clock_new(uint32_t time, int64_t lateness, event_clock **out, tw_error *err) {
    event_clock *c = calloc(1, sizeof *c);
    if (!c) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    c->time = time;
    c->lateness = lateness;
    c->passed = WATERMARK_NONE;
    *out = c;
    return TW_OK;
}

static int64_t greatest_time(const column *c) {
    const int64_t *times = c->values;
    int64_t most = INT64_MIN;
    for (uint32_t i = 0; i < c->rows; i++)
        if ((!c->valid || column_is_valid(c, i)) && times[i] > most) most = times[i];
    return most;
}

int64_t event_clock_less(int64_t time, int64_t lateness) {
    return time < WATERMARK_NONE + lateness ? WATERMARK_NONE : time - lateness;
}

int64_t event_clock_advance(const event_clock *c, int64_t watermark, int64_t time) {
    int64_t after = event_clock_less(time, c->lateness);
    return after > watermark ? after : watermark;
}

/* Without memory for one more partition it shares the first's place: then watermarks come early, never late. */
static uint32_t place_of(event_clock *c, uint32_t partition) {
    if (partition >= c->capacity) {
        uint32_t capacity = partition + 1 < 16 ? 16 : 2 * partition + 1;
        int64_t *bigger = realloc(c->watermarks, capacity * sizeof *bigger);
        if (!bigger) return 0;
        c->watermarks = bigger;
        c->capacity = capacity;
    }
    while (c->n <= partition) c->watermarks[c->n++] = WATERMARK_END; /* not seen */
    if (c->watermarks[partition] == WATERMARK_END) c->watermarks[partition] = WATERMARK_NONE;
    return partition;
}

int64_t event_clock_stamp(void *context, const batch *b, uint32_t partition, int64_t *own, int64_t *others) {
    event_clock *c = context;
    uint32_t at = place_of(c, partition);
    *others = WATERMARK_END;
    for (uint32_t i = 0; i < c->n; i++)
        if (i != at && c->watermarks[i] < *others) *others = c->watermarks[i];
    if (*others < c->passed) *others = c->passed;
    *own = c->watermarks[at] < c->passed ? c->passed : c->watermarks[at];
    c->watermarks[at] = event_clock_advance(c, *own, greatest_time(&b->columns[c->time]));
    c->passed = c->watermarks[at] < *others ? c->watermarks[at] : *others;
    return c->passed;
}

/* The k-th partition's watermark, for those that were seen. */
tw_status event_clock_save(void *context, saved_part *to, tw_error *err) {
    const event_clock *c = context;
    for (uint32_t i = 0; i < c->n; i++) {
        char key[32];
        snprintf(key, sizeof key, "watermark %u", i);
        if (c->watermarks[i] != WATERMARK_END) TRY(part_put_int(to, key, c->watermarks[i], err));
    }
    TRY(part_put_int(to, "watermark", c->passed, err));
    return part_put_int(to, "partitions", c->n, err);
}

tw_status event_clock_load(void *context, run_context *run, const saved_part *from, int64_t *watermark, tw_error *err) {
    event_clock *c = context;
    int64_t n = part_get_int(from, "partitions", 0);
    for (uint32_t i = 0; i < n; i++) {
        char key[32];
        snprintf(key, sizeof key, "watermark %u", i);
        if (!part_get(from, key)) continue;
        if (place_of(c, i) != i) return error_set(err, TW_ERR_MEMORY, "out of memory for a clock");
        /* The next run may number partitions in another way: none of them is taken for further than it was. */
        c->watermarks[i] = part_get_int(from, "watermark", WATERMARK_NONE);
    }
    *watermark = c->passed = part_get_int(from, "watermark", WATERMARK_NONE);
    return TW_OK;
}

void event_clock_shape(const void *context, char *out, size_t capacity) {
    snprintf(out, capacity, "lateness %.6g s", (double)((const event_clock *)context)->lateness * 1e-6);
}

void event_clock_free(void *context) {
    free(((event_clock *)context)->watermarks);
    free(context);
}

static void clock_needs(void *context, bool *needed) { needed[((event_clock *)context)->time] = true; }

tw_status stream_clock(stream *s, const char *name, uint32_t time, int64_t lateness, tw_error *err) {
    event_clock *c = NULL;
    TRY(event_clock_new(time, lateness, &c, err));
    queue_options options = {.name = name, .rows_max = UINT64_MAX, .stamp = event_clock_stamp, .context = c,
                             .free = event_clock_free, .save = event_clock_save, .load = event_clock_load,
                             .shape = event_clock_shape, .needs = clock_needs};
    return stream_queue(s, options, err);
}
