/* event_clock.h: the watermark of an endless flow, made where rows pass in order: per partition the greatest time so
 * far less the lateness, the least of them for all. What queue.h calls; one thread at a time. */
#ifndef STEP_EVENT_CLOCK_H
#define STEP_EVENT_CLOCK_H

#include "engine/queue.h"

typedef struct event_clock event_clock;

#define EVENT_CLOCK_IDLE_US ((int64_t)60 * 1000000) /* unless somebody says otherwise */
/* How often silence is to be looked for. */
static inline uint64_t event_clock_tick_ns(int64_t idle_us) { return (uint64_t)idle_us * 1000 / 4; }

/* time: the column, a timestamp. A partition from which nothing came for idle_us does not count, unless nothing came from
 * others since. */
tw_status event_clock_new(uint32_t time, int64_t lateness, int64_t idle_us, event_clock **out, tw_error *err);
void event_clock_free(void *clock);

/* As queue_stamp, and the other callbacks of queue_options. */
int64_t event_clock_stamp(void *clock, const batch *b, uint32_t partition, int64_t *own, int64_t *others);
int64_t event_clock_tick(void *clock, uint64_t now_ns);
tw_status event_clock_save(void *clock, struct saved_part *to, tw_error *err);
tw_status event_clock_load(void *clock, run_context *run, const struct saved_part *from, int64_t *watermark, tw_error *err);
void event_clock_shape(const void *clock, char *out, size_t capacity);

/* Puts such a clock where the stream is now, in a queue of this name (static). */
tw_status stream_clock(stream *s, const char *name, uint32_t time, int64_t lateness, tw_error *err);

/* What the watermark of a partition is after a row of this time. */
int64_t event_clock_advance(const event_clock *c, int64_t watermark, int64_t time);

/* A time less a length; WATERMARK_NONE at least. */
int64_t event_clock_less(int64_t time, int64_t length);

#endif
