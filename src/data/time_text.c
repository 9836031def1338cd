/* time_text.c: ISO 8601 dates and timestamps. Fixed places are read eight characters at a time and
 * checked within a register. */
#include "data/time_text.h"

#include <string.h>

static inline uint64_t load8(const char *p) {
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

/* Takes `pattern` off the eight characters: digits become 0 to 9 where it has '0', separators 0
 * where it has them. `slack` holds 0x76 for a digit and 0x7f for a separator, so that a sum below
 * 0x80 means the byte was right. False if one was not. */
static inline bool match8(const char *p, const char *pattern, uint64_t slack, uint64_t *values) {
    uint64_t x = load8(p) ^ load8(pattern);
    *values = x;
    return (((x + slack) | x) & UINT64_C(0x8080808080808080)) == 0;
}

/* Byte i becomes ten times itself plus byte i + 1: two digits as a number. */
static inline uint64_t pair_up(uint64_t x) { return x * 10 + (x >> 8); }

static inline int32_t byte_of(uint64_t x, unsigned i) { return (int32_t)(x >> (8 * i) & 0xff); }

static int32_t days_in_month(int32_t year, int32_t month) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap_year(year));
}

/* The first ten characters. */
static parse_status read_date(const char *p, int32_t *days) {
    uint64_t head, tail;
    if (!match8(p, "0000-00-", UINT64_C(0x7f76767f76767676), &head)) return PARSE_MALFORMED;
    if (!match8(p + 2, "00-00-00", UINT64_C(0x76767f76767f7676), &tail)) return PARSE_MALFORMED;
    head = pair_up(head);
    int32_t year = byte_of(head, 0) * 100 + byte_of(head, 2);
    int32_t month = byte_of(head, 5), day = byte_of(pair_up(tail), 6);
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month)) {
        return PARSE_MALFORMED;
    }
    if (year == 0) return PARSE_RANGE;
    *days = days_from_civil(year, month, day);
    return PARSE_OK;
}

parse_status parse_date(const char *p, size_t n, int32_t *days) {
    return n == 10 ? read_date(p, days) : PARSE_MALFORMED;
}

/* Two digits below `limit`; -1 otherwise. */
static int32_t read_pair(const char *p, int32_t limit) {
    uint32_t tens = (uint32_t)(uint8_t)p[0] - '0', ones = (uint32_t)(uint8_t)p[1] - '0';
    if (tens > 9 || ones > 9) return -1;
    int32_t value = (int32_t)(tens * 10 + ones);
    return value < limit ? value : -1;
}

/* `Z`, an offset or nothing: what is to be taken off for UTC. */
static bool read_zone(const char *p, size_t n, int64_t *offset_us) {
    *offset_us = 0;
    if (n == 0 || (n == 1 && *p == 'Z')) return true;
    if ((*p != '+' && *p != '-') || (n != 3 && n != 5 && n != 6)) return false;
    if (n == 6 && p[3] != ':') return false;
    int32_t hours = read_pair(p + 1, 24), minutes = n == 3 ? 0 : read_pair(p + n - 2, 60);
    if (hours < 0 || minutes < 0) return false;
    int64_t seconds = hours * 3600 + minutes * 60;
    *offset_us = (*p == '-' ? -seconds : seconds) * 1000000;
    return true;
}

/* The digits of a fraction; returns how many there are. */
static size_t read_fraction(const char *p, size_t n, int64_t *us) {
    static const int32_t unit[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
    size_t used = 0, counted = 0;
    int64_t value = 0;
    for (; used < n; used++) {
        uint32_t digit = (uint32_t)(uint8_t)p[used] - '0';
        if (digit > 9) break;
        if (used < 6) {
            value = value * 10 + digit;
            counted++;
        }
    }
    *us = value * unit[counted];
    return used;
}

parse_status parse_timestamp(const char *p, size_t n, int64_t *us) {
    int32_t days = 0, second = 0;
    if (n < 10) return PARSE_MALFORMED;
    parse_status status = read_date(p, &days);
    if (status == PARSE_MALFORMED) return status;
    if (n == 10) {
        if (status == PARSE_OK) *us = days * DAY_US;
        return status;
    }
    if (n < 16 || (p[10] != 'T' && p[10] != ' ') || p[13] != ':') return PARSE_MALFORMED;
    int32_t hour = read_pair(p + 11, 24), minute = read_pair(p + 14, 60);
    if (hour < 0 || minute < 0) return PARSE_MALFORMED;
    const char *end = p + n;
    const char *at = p + 16;
    int64_t fraction = 0, offset;
    if (end - at >= 3 && *at == ':') {
        second = read_pair(at + 1, 60);
        if (second < 0) return PARSE_MALFORMED;
        at += 3;
        if (at < end && (*at == '.' || *at == ',')) {
            size_t used = read_fraction(at + 1, (size_t)(end - at - 1), &fraction);
            if (used == 0) return PARSE_MALFORMED;
            at += used + 1;
        }
    }
    if (!read_zone(at, (size_t)(end - at), &offset)) return PARSE_MALFORMED;
    if (status != PARSE_OK) return status;
    int64_t of_day = INT64_C(1000000) * (hour * 3600 + minute * 60 + second) + fraction;
    int64_t value = days * DAY_US + of_day - offset;
    if (value < TIMESTAMP_MIN || value > TIMESTAMP_MAX) return PARSE_RANGE;
    *us = value;
    return PARSE_OK;
}

/* ---- text ---- */

/* Two digits each, without a branch or a division that the compiler keeps. */
static inline char *write_pair(char *to, uint32_t value) {
    to[0] = (char)('0' + value / 10);
    to[1] = (char)('0' + value % 10);
    return to + 2;
}

static char *write_date(char *to, int32_t days) {
    civil_date date = civil_from_days(days);
    uint32_t year = (uint32_t)(date.year < 0 ? -date.year : date.year);
    if (date.year < 1 || date.year > 9999) {
        if (date.year != 0) *to++ = date.year < 0 ? '-' : '+';
        if (year > 9999) to += format_int64(year / 10000, to);
    }
    to = write_pair(to, year / 100 % 100);
    to = write_pair(to, year % 100);
    *to++ = '-';
    to = write_pair(to, (uint32_t)date.month);
    *to++ = '-';
    return write_pair(to, (uint32_t)date.day);
}

size_t format_date(int32_t days, char *to) { return (size_t)(write_date(to, days) - to); }

size_t format_timestamp(int64_t us, char *to) {
    int32_t days = date_from_timestamp(us);
    int64_t rest = us % DAY_US;
    uint64_t of_day = (uint64_t)(rest < 0 ? rest + DAY_US : rest);
    uint32_t second = (uint32_t)(of_day / 1000000), fraction = (uint32_t)(of_day % 1000000);
    char *at = write_date(to, days);
    *at++ = 'T';
    at = write_pair(at, second / 3600);
    *at++ = ':';
    at = write_pair(at, second / 60 % 60);
    *at++ = ':';
    at = write_pair(at, second % 60);
    if (fraction != 0) {
        *at = '.';
        write_pair(at + 1, fraction / 10000);
        write_pair(at + 3, fraction / 100 % 100);
        at = write_pair(at + 5, fraction % 100);
        while (at[-1] == '0') at--;
    }
    *at++ = 'Z';
    return (size_t)(at - to);
}
