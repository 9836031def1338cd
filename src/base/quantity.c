#include "base/quantity.h"

#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct unit {
    const char *name;
    int64_t factor;
} unit;

static const unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"KB", 1000},
    {"kB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000},
    {"KiB", 1 << 10},
    {"MiB", 1 << 20},
    {"GiB", 1 << 30},
    {"TiB", INT64_C(1) << 40},
    {NULL, 0},
};

static const unit time_units[] = {
    {"us", 1},
    {"ms", 1000},
    {"s", 1000000},
    {"m", 60 * 1000000},
    {"h", INT64_C(3600) * 1000000},
    {"d", INT64_C(86400) * 1000000},
    {NULL, 0},
};

static const unit *unit_find(const unit *units, const char *name) {
    for (; units->name; units++)
        if (strcmp(units->name, name) == 0) return units;
    return NULL;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* The end of a decimal number without sign at `at`, or NULL. */
static const char *skip_number(const char *at, bool with_exponent) {
    const char *start = at;
    size_t digits = 0;
    for (; is_digit(*at); at++) digits++;
    if (*at == '.')
        for (at++; is_digit(*at); at++) digits++;
    if (!digits) return NULL;
    if (with_exponent && at > start && (*at == 'e' || *at == 'E')) {
        at++;
        if (*at == '-' || *at == '+') at++;
        if (!is_digit(*at)) return NULL;
        while (is_digit(*at)) at++;
    }
    return at;
}

/* strtod in the C locale, whatever locale the process has chosen. */
static tw_status to_double(const char *string, double *out, tw_error *err) {
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!plain) return error_set(err, TW_ERR_MEMORY, "out of memory");
    double value = strtod_l(string, NULL, plain);
    freelocale(plain);
    if (!isfinite(value)) return error_set(err, TW_ERR_JOB, "out of range");
    *out = value;
    return TW_OK;
}

/* digits [. digits] [blank] unit, computed exactly and rounded down. */
static tw_status parse_with_unit(const char *string, const unit *units, const char *unit_names,
                                 int64_t *out, tw_error *err) {
    const char *end = skip_number(string, false);
    if (!end) return error_set(err, TW_ERR_JOB, "it does not start with a number");
    const char *name = *end == ' ' && end[1] ? end + 1 : end;
    const unit *found = unit_find(units, name);
    if (!found)
        return error_set(err, TW_ERR_JOB, *name ? "unknown unit (known: %s)" : "no unit (%s)",
                         unit_names);
    __int128 limit = INT64_MAX, whole = 0, fraction = 0, scale = 1;
    const char *at = string;
    for (; is_digit(*at); at++) {
        whole = whole * 10 + (*at - '0');
        if (whole * found->factor > limit) return error_set(err, TW_ERR_JOB, "out of range");
    }
    if (*at == '.') at++;
    /* Beyond 15 digits no unit makes a whole byte or microsecond of them. */
    for (; is_digit(*at) && scale < INT64_C(1000000000000000); at++) {
        fraction = fraction * 10 + (*at - '0');
        scale *= 10;
    }
    __int128 value = whole * found->factor + fraction * found->factor / scale;
    if (value > limit) return error_set(err, TW_ERR_JOB, "out of range");
    *out = (int64_t)value;
    return TW_OK;
}

tw_status parse_size_bytes(const char *string, int64_t *out, tw_error *err) {
    return parse_with_unit(string, size_units, "B, KB, MB, GB, TB, KiB, MiB, GiB, TiB", out, err);
}

tw_status parse_duration_us(const char *string, int64_t *out, tw_error *err) {
    return parse_with_unit(string, time_units, "us, ms, s, m, h, d", out, err);
}

tw_status parse_rate(const char *string, double *out, tw_error *err) {
    const char *slash = skip_number(string, true);
    if (!slash || *slash != '/') return error_set(err, TW_ERR_JOB, "it is written as 1000/s");
    const unit *per = unit_find(time_units, slash + 1);
    if (!per) return error_set(err, TW_ERR_JOB, "unknown unit (known: us, ms, s, m, h, d)");
    double count = 0;
    TRY(to_double(string, &count, err));
    count = count * 1e6 / (double)per->factor;
    if (!(count > 0) || !isfinite(count)) return error_set(err, TW_ERR_JOB, "out of range");
    *out = count;
    return TW_OK;
}
