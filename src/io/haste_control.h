/* haste_control.h: the control interface of HASTE's streaming source: POSTs, to any path, of a JSON object with any of
 * cpu_pause_ms, message_bytes and period_sec; what is missing stays as it was. */
#ifndef IO_HASTE_CONTROL_H
#define IO_HASTE_CONTROL_H

#include "engine/pipeline.h"
#include "io/socket.h"

typedef struct haste_settings {
    bool has_cpu, has_bytes, has_period;
    int64_t cpu_ms;   /* 0 to 999999 */
    size_t bytes;     /* of a message: from 37, which its header takes */
    double period_s;  /* between two, above 0 */
} haste_settings;

/* NULL, or what is wrong with it. */
const char *haste_settings_read(const char *text, size_t n, size_t bytes_max, haste_settings *out);

typedef struct haste_control haste_control;

/* Listens, with a thread of its own; the endpoint outlives it. `bytes_max`: of a message. */
tw_status haste_control_start(endpoint *e, run_context *run, size_t bytes_max, haste_control **out, tw_error *err);
void haste_control_free(haste_control *c); /* NULL is allowed */
/* What was asked for since the last call; run_wake is called when there is something. Any thread. */
bool haste_control_take(haste_control *c, haste_settings *out);

#endif
