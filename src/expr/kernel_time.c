/* Dates and timestamps. */
#include "data/time_text.h"
#include "expr/expr_internal.h"

static void date_parts(time_part part, const int32_t *days, int64_t *out, uint32_t n) {
    switch (part) {
    case PART_YEAR:
        for (uint32_t i = 0; i < n; i++) out[i] = date_year(days[i]);
        break;
    case PART_MONTH:
        for (uint32_t i = 0; i < n; i++) out[i] = date_month(days[i]);
        break;
    case PART_DAY:
        for (uint32_t i = 0; i < n; i++) out[i] = date_day(days[i]);
        break;
    case PART_HOUR:
        for (uint32_t i = 0; i < n; i++) out[i] = 0;
        break;
    }
}

/* Never constant arguments: a cast or FILL made a run of them. */
tw_status call_time_part(call *c) {
    const time_part part = (time_part)c->x->operation;
    int64_t *out = c->out;
    if (c->x->from == NUMBER_I32) {
        date_parts(part, c->args[0].values, out, c->n);
        return TW_OK;
    }
    const int64_t *us = c->args[0].values;
    if (part == PART_HOUR) {
        for (uint32_t i = 0; i < c->n; i++) out[i] = timestamp_hour(us[i]);
        return TW_OK;
    }
    int32_t days[CHUNK_ROWS];
    for (uint32_t i = 0; i < c->n; i++) days[i] = date_from_timestamp(us[i]);
    date_parts(part, days, out, c->n);
    return TW_OK;
}

tw_status call_date_to_timestamp(call *c) {
    const int32_t *days = c->args[0].values;
    int64_t *out = c->out;
    const int32_t most = (int32_t)(INT64_MAX / DAY_US);
    uint32_t failed = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        out[i] = (int64_t)((uint64_t)(int64_t)days[i] * (uint64_t)DAY_US);
        failed |= (uint32_t)(days[i] > most) | (uint32_t)(days[i] < -most);
    }
    if (!failed) return TW_OK;
    FOR_ACTIVE(c, row) {
        int64_t us;
        if (!timestamp_from_date(days[row], &us)) {
            TRY(call_bad_row(c, row, "the value does not fit timestamp"));
        }
    }
    return TW_OK;
}

tw_status call_timestamp_to_date(call *c) {
    const int64_t *us = c->args[0].values;
    int32_t *out = c->out;
    for (uint32_t i = 0; i < c->n; i++) out[i] = date_from_timestamp(us[i]);
    return TW_OK;
}
