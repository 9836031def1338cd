#include "step/event_clock.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/checkpoint.h"

typedef struct clock_partition {
    int64_t watermark;
    uint64_t seen_ns; /* when a row came last */
    bool counts;      /* seen, and not silent for too long */
} clock_partition;

struct event_clock {
    uint32_t time;     /* column */
    int64_t lateness;
    uint64_t idle_ns;
    clock_partition *partitions;
    uint32_t n, capacity;
    uint32_t last;     /* that gave rows last: it counts always */
    int64_t passed;    /* the watermark of all: never falls, whatever partitions come */
};

tw_status event_clock_new(uint32_t time, int64_t lateness, int64_t idle_us, event_clock **out, tw_error *err) {
    enum { AT_FIRST = 16 };
    event_clock *c = calloc(1, sizeof *c);
    clock_partition *places = calloc(AT_FIRST, sizeof *places);
    if (!c || !places) {
        free(c);
        free(places);
        return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    }
    c->partitions = places;
    c->capacity = AT_FIRST;
    c->partitions[c->n++].watermark = WATERMARK_NONE; /* there is always a first one to share, which need not count */
    c->time = time;
    c->lateness = lateness;
    c->idle_ns = (uint64_t)idle_us * 1000;
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
static uint32_t place_of(event_clock *c, uint32_t partition, uint64_t now_ns) {
    if (partition >= c->capacity) {
        uint32_t capacity = 2 * partition + 1;
        clock_partition *bigger = realloc(c->partitions, capacity * sizeof *bigger);
        if (bigger) {
            c->partitions = bigger;
            c->capacity = capacity;
        } else {
            partition = 0;
        }
    }
    while (c->n <= partition) c->partitions[c->n++] = (clock_partition){.watermark = WATERMARK_NONE};
    c->partitions[partition].counts = true;
    c->partitions[partition].seen_ns = now_ns;
    return partition;
}

/* The least watermark but that of `but`, of those that count. */
static int64_t least_watermark(event_clock *c, uint32_t but, uint64_t now_ns) {
    int64_t least = WATERMARK_END;
    for (uint32_t i = 0; i < c->n; i++) {
        clock_partition *p = &c->partitions[i];
        p->counts &= i == c->last || now_ns < p->seen_ns + c->idle_ns;
        if (i != but && p->counts && p->watermark < least) least = p->watermark;
    }
    return least;
}

int64_t event_clock_stamp(void *context, const batch *b, uint32_t partition, int64_t *own, int64_t *others) {
    event_clock *c = context;
    uint64_t now_ns = clock_ns();
    uint32_t at = c->last = place_of(c, partition, now_ns);
    clock_partition *p = &c->partitions[at];
    *others = least_watermark(c, at, now_ns);
    if (*others < c->passed) *others = c->passed;
    *own = p->watermark < c->passed ? c->passed : p->watermark;
    p->watermark = event_clock_advance(c, *own, greatest_time(&b->columns[c->time]));
    c->passed = p->watermark < *others ? p->watermark : *others;
    return c->passed;
}

int64_t event_clock_tick(void *context, uint64_t now_ns) {
    event_clock *c = context;
    int64_t least = least_watermark(c, UINT32_MAX, now_ns);
    if (least != WATERMARK_END && least > c->passed) c->passed = least;
    return c->passed;
}

/* The k-th partition's watermark, for those that count. */
tw_status event_clock_save(void *context, saved_part *to, tw_error *err) {
    const event_clock *c = context;
    for (uint32_t i = 0; i < c->n; i++) {
        char key[32];
        snprintf(key, sizeof key, "watermark %u", i);
        if (c->partitions[i].counts) TRY(part_put_int(to, key, c->partitions[i].watermark, err));
    }
    TRY(part_put_int(to, "watermark", c->passed, err));
    return part_put_int(to, "partitions", c->n, err);
}

tw_status event_clock_load(void *context, run_context *run, const saved_part *from, int64_t *watermark, tw_error *err) {
    event_clock *c = context;
    uint64_t now_ns = clock_ns();
    int64_t n = part_get_int(from, "partitions", 0);
    for (uint32_t i = 0; i < n; i++) {
        char key[32];
        snprintf(key, sizeof key, "watermark %u", i);
        if (!part_get(from, key)) continue;
        if (place_of(c, i, now_ns) != i) return error_set(err, TW_ERR_MEMORY, "out of memory for a clock");
        /* The next run may number partitions in another way: none of them is taken for further than it was. */
        c->last = i;
        c->partitions[i].watermark = part_get_int(from, "watermark", WATERMARK_NONE);
    }
    *watermark = c->passed = part_get_int(from, "watermark", WATERMARK_NONE);
    return TW_OK;
}

void event_clock_shape(const void *context, char *out, size_t capacity) {
    snprintf(out, capacity, "lateness %.6g s", (double)((const event_clock *)context)->lateness * 1e-6);
}

void event_clock_free(void *context) {
    free(((event_clock *)context)->partitions);
    free(context);
}

static void clock_needs(void *context, bool *needed) { needed[((event_clock *)context)->time] = true; }

tw_status stream_clock(stream *s, const char *name, uint32_t time, int64_t lateness, tw_error *err) {
    event_clock *c = NULL;
    TRY(event_clock_new(time, lateness, EVENT_CLOCK_IDLE_US, &c, err));
    queue_options options = {.name = name, .rows_max = UINT64_MAX, .stamp = event_clock_stamp, .tick = event_clock_tick,
                             .tick_ns = event_clock_tick_ns(EVENT_CLOCK_IDLE_US), .context = c,
                             .free = event_clock_free, .save = event_clock_save, .load = event_clock_load,
                             .shape = event_clock_shape, .needs = clock_needs};
    return stream_queue(s, options, err);
}
