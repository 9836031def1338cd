/* Events: a time that advances by `interval`, an even key, a value of [0, 1000) in thousandths. A
 * fraction of them is late: their time is set back by up to `delay`. */
#include "data/generate_internal.h"

#define EVENTS_EPOCH_US INT64_C(1767225600000000) /* 2026-01-01T00:00:00Z */
#define EVENTS_END_US INT64_C(253402300800000000) /* 10000-01-01T00:00:00Z */
#define DAY_US INT64_C(86400000000)

enum { EVENTS_STREAM_KEY, EVENTS_STREAM_VALUE, EVENTS_STREAM_LATE, EVENTS_STREAM_DELAY };

uint64_t events_rows_max(int64_t interval_us) {
    int64_t rows = (EVENTS_END_US - EVENTS_EPOCH_US) / interval_us;
    return (uint64_t)(rows < GENERATE_ROWS_MAX ? rows : GENERATE_ROWS_MAX);
}

typedef struct event_streams {
    uint64_t key, value, late, delay;
    uint64_t late_below; /* of 53 random bits */
    int64_t interval_us;
    uint64_t delay_us, keys;
} event_streams;

static event_streams event_streams_of(const generate *g) {
    const generate_value *values = g->options.values;
    return (event_streams){
        .key = random_stream(g->key, EVENTS_STREAM_KEY),
        .value = random_stream(g->key, EVENTS_STREAM_VALUE),
        .late = random_stream(g->key, EVENTS_STREAM_LATE),
        .delay = random_stream(g->key, EVENTS_STREAM_DELAY),
        .late_below = (uint64_t)(values[EVENTS_OUT_OF_ORDER].number * 0x1p53),
        .interval_us = values[EVENTS_INTERVAL].integer,
        .delay_us = (uint64_t)values[EVENTS_DELAY].integer,
        .keys = (uint64_t)values[EVENTS_KEYS].integer,
    };
}

static inline int64_t event_time(const event_streams *streams, uint64_t row) {
    int64_t time = EVENTS_EPOCH_US + (int64_t)row * streams->interval_us;
    if (random_at(streams->late, row) >> 11 < streams->late_below)
        time -= 1 + (int64_t)random_below(random_at(streams->delay, row), streams->delay_us);
    return time;
}

static inline uint64_t event_key(const event_streams *streams, uint64_t row) {
    return random_below(random_at(streams->key, row), streams->keys);
}

static inline int64_t event_value_milli(const event_streams *streams, uint64_t row) {
    return (int64_t)random_below(random_at(streams->value, row), 1000000);
}

/* The date of a day since 1970, as 2026-01-31, for years 1970 to 9999. Days are counted in years
 * that begin in March, so that a leap day is the last (Richards, "Mapping Time", 1998). */
static void put_date(uint8_t out[10], int64_t day) {
    uint64_t since = (uint64_t)(day + 719468), era = since / 146097, in_era = since % 146097;
    uint64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    uint64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    uint64_t march_month = (5 * in_year + 2) / 153;
    uint64_t in_month = in_year - (153 * march_month + 2) / 5 + 1;
    uint64_t month = march_month < 10 ? march_month + 3 : march_month - 9;
    year += era * 400 + (month <= 2);
    put_padded(out, year, 4);
    out[4] = '-';
    put_padded(out + 5, month, 2);
    out[7] = '-';
    put_padded(out + 8, in_month, 2);
}

size_t events_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out) {
    event_streams streams = event_streams_of(g);
    uint8_t *at = out, date[10];
    int64_t date_day = -1;
    for (uint64_t row = first; row < first + count; row++) {
        int64_t time = event_time(&streams, row), day = time / DAY_US;
        if (day != date_day) put_date(date, day);
        date_day = day;
        uint64_t in_day = (uint64_t)(time % DAY_US), second = in_day / 1000000;
        memcpy(at, date, 10);
        at[10] = 'T';
        put_padded(at + 11, second / 3600, 2);
        at[13] = ':';
        put_padded(at + 14, second / 60 % 60, 2);
        at[16] = ':';
        put_padded(at + 17, second % 60, 2);
        at += 19;
        if (in_day % 1000000 != 0) {
            *at++ = '.';
            at = put_fraction(at, in_day % 1000000, 6);
        }
        *at++ = 'Z';
        *at++ = ',';
        at = put_unsigned(at, event_key(&streams, row));
        *at++ = ',';
        at = put_decimal(at, event_value_milli(&streams, row), 3, 1000);
        *at++ = '\n';
    }
    return (size_t)(at - out);
}

void events_values(const generate *g, uint64_t first, size_t count, void *const *columns) {
    event_streams streams = event_streams_of(g);
    int64_t *times = columns[0], *keys = columns[1];
    double *values = columns[2];
    for (size_t i = 0; i < count; i++) {
        uint64_t row = first + i;
        if (times) times[i] = event_time(&streams, row);
        if (keys) keys[i] = (int64_t)event_key(&streams, row);
        if (values) values[i] = (double)event_value_milli(&streams, row) / 1e3;
    }
}
