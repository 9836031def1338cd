/* time_text.h: dates and timestamps as ISO 8601 text, and the calendar behind them.
 *
 * A date is an int32 of days since 1970-01-01, a timestamp an int64 of microseconds since
 * 1970-01-01T00:00:00Z; the calendar is the proleptic Gregorian one. Functions read and write
 * nothing outside what they are given and keep no state: any thread may call. */
#ifndef DATA_TIME_TEXT_H
#define DATA_TIME_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/number_text.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DAY_US INT64_C(86400000000)
#define DATE_MIN (-719162) /* 0001-01-01 */
#define DATE_MAX 2932896   /* 9999-12-31 */
#define TIMESTAMP_MIN (DATE_MIN * DAY_US)
#define TIMESTAMP_MAX ((DATE_MAX + 1) * DAY_US - 1)

/* `2026-01-31`, and nothing else: ten characters, years 0001 to 9999, days that exist. */
parse_status parse_date(const char *p, size_t n, int32_t *days);

/* `2026-01-31T05:00:00Z`. Instead of `T` a blank may stand. Seconds may be missing, or have a
 * fraction after `.` or `,` of any length; what is finer than a microsecond is cut off. Then `Z`,
 * `+02:00`, `+0200`, `+02` (or with `-`; hours to 23), or nothing, which means UTC. A date alone is
 * its midnight. Hour 24 and second 60 are malformed; what leaves the years 0001 to 9999 in UTC is
 * PARSE_RANGE. */
parse_status parse_timestamp(const char *p, size_t n, int64_t *us);

/* Room that any value needs. The formatters write no NUL and return the length. */
#define FORMAT_TIME_MAX 40

/* `2026-01-31` and `2026-01-31T05:00:00Z`, the latter with as many digits of a fraction as it needs
 * and none if it has none. Years outside 0001 to 9999 get a sign and as many digits as they need,
 * at least four (`-0001`, `+10000`); such text is not read back. */
size_t format_date(int32_t days, char *to);
size_t format_timestamp(int64_t us, char *to);

/* The calendar. `month` is 1 to 12, `day` 1 to 31. */
typedef struct civil_date {
    int32_t year;
    int32_t month;
    int32_t day;
} civil_date;

static inline bool is_leap_year(int32_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 16 == 0);
}

/* After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013. The year begins in
 * March here, so that a leap day ends it. For every year that an int32 of days reaches; `day` is
 * not checked. */
static inline int32_t days_from_civil(int32_t year, int32_t month, int32_t day) {
    const uint32_t eras = 14700; /* of 400 years: keeps the division below unsigned */
    uint32_t shifted = (uint32_t)(year - (month <= 2)) + eras * 400;
    uint32_t era = shifted / 400, of_era = shifted % 400;
    uint32_t of_year = (153 * (uint32_t)(month + (month > 2 ? -3 : 9)) + 2) / 5 + (uint32_t)day - 1;
    uint32_t day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    return (int32_t)(era * 146097 + day_of_era - eras * 146097 - 719468);
}

/* The same backwards, for every int32; no branches, so loops over it become vectors. */
static inline civil_date civil_from_days(int32_t days) {
    const uint32_t eras = 14700;
    uint64_t shifted = (uint64_t)((int64_t)days + 719468 + (int64_t)eras * 146097);
    uint32_t era = (uint32_t)(shifted / 146097), day_of_era = (uint32_t)(shifted % 146097);
    uint32_t of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t of_year = day_of_era - (365 * of_era + of_era / 4 - of_era / 100);
    uint32_t march_month = (5 * of_year + 2) / 153;
    uint32_t month = march_month < 10 ? march_month + 3 : march_month - 9;
    civil_date date = {(int32_t)(of_era + era * 400 + (month <= 2)) - (int32_t)(eras * 400),
                       (int32_t)month, (int32_t)(of_year - (153 * march_month + 2) / 5) + 1};
    return date;
}

static inline int32_t date_year(int32_t days) { return civil_from_days(days).year; }
static inline int32_t date_month(int32_t days) { return civil_from_days(days).month; }
static inline int32_t date_day(int32_t days) { return civil_from_days(days).day; }

/* The day a timestamp is in; every int64 has one. */
static inline int32_t date_from_timestamp(int64_t us) {
    return (int32_t)(us / DAY_US - (us % DAY_US < 0));
}

/* Midnight of a day; false when an int64 cannot hold it. */
static inline bool timestamp_from_date(int32_t days, int64_t *us) {
    return !__builtin_mul_overflow((int64_t)days, DAY_US, us);
}

static inline int32_t timestamp_year(int64_t us) { return date_year(date_from_timestamp(us)); }
static inline int32_t timestamp_month(int64_t us) { return date_month(date_from_timestamp(us)); }
static inline int32_t timestamp_day(int64_t us) { return date_day(date_from_timestamp(us)); }
static inline int32_t timestamp_hour(int64_t us) {
    int64_t of_day = us % DAY_US;
    return (int32_t)((of_day < 0 ? of_day + DAY_US : of_day) / INT64_C(3600000000));
}

#ifdef __cplusplus
}
#endif
#endif
