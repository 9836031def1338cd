/* error.h: filling in a tw_error. Thread-safe as long as each thread has its own tw_error. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "thalweg/status.h"

/* Sets code and message (printf-style, cut at the field's size), clears the
 * place, and returns `code`, so that a caller can write `return error_set(...)`.
 * `err` may be NULL. */
tw_status error_set(tw_error *err, tw_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As error_set with TW_ERR_IO; appends ": " and strerror(errno_value). */
tw_status error_io(tw_error *err, int errno_value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds a place to an error that is already set. `file` may be NULL. */
void error_in_job(tw_error *err, const char *file, uint64_t line, uint64_t column);
void error_in_data(tw_error *err, const char *file, uint64_t record);

/* Puts "PREFIX: " before the message. */
void error_prefix(tw_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define TRY(expression)                                                                            \
    do {                                                                                           \
        tw_status try_status_ = (expression);                                                      \
        if (try_status_ != TW_OK) return try_status_;                                              \
    } while (0)

#endif
