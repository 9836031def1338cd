/* timed_rows.h: the rows of a flow that a step can take by their event time: those without one are bad records, and in an
 * endless flow those that are late are counted and dropped. */
#ifndef STEP_TIMED_ROWS_H
#define STEP_TIMED_ROWS_H

#include "engine/plan.h"

#define NOTHING_LATE INT64_MIN

/* Appends that to the stream, for the step of this name (static). time: a column, a timestamp. lateness: that of the
 * clock that the rows come from (step/event_clock.h), before whose watermark a row is late; or NOTHING_LATE. */
tw_status stream_timed_rows(stream *s, const char *step, uint32_t time, int64_t lateness, tw_error *err);

#endif
