#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *tw_status_name(tw_status status) {
    switch (status) {
    case TW_OK: return "TW_OK";
    case TW_END: return "TW_END";
    case TW_ERR_JOB: return "TW_ERR_JOB";
    case TW_ERR_DATA: return "TW_ERR_DATA";
    case TW_ERR_IO: return "TW_ERR_IO";
    case TW_ERR_MEMORY: return "TW_ERR_MEMORY";
    case TW_ERR_CANCELLED: return "TW_ERR_CANCELLED";
    case TW_ERR_INTERNAL: return "TW_ERR_INTERNAL";
    }
    return "TW_ERR_UNKNOWN";
}

static void error_format(tw_error *err, tw_status code, const char *format, va_list arguments) {
    err->code = code;
    err->line = err->column = err->record = 0;
    err->file[0] = 0;
    vsnprintf(err->message, sizeof err->message, format, arguments);
}

tw_status error_set(tw_error *err, tw_status code, const char *format, ...) {
    if (!err) return code;
    va_list arguments;
    va_start(arguments, format);
    error_format(err, code, format, arguments);
    va_end(arguments);
    return code;
}

tw_status error_io(tw_error *err, int errno_value, const char *format, ...) {
    if (!err) return TW_ERR_IO;
    va_list arguments;
    va_start(arguments, format);
    error_format(err, TW_ERR_IO, format, arguments);
    va_end(arguments);
    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof err->message - used, ": %s", strerror(errno_value));
    return TW_ERR_IO;
}

static void copy_cut(char *to, size_t capacity, const char *from) {
    snprintf(to, capacity, "%s", from ? from : "");
}

void error_in_job(tw_error *err, const char *file, uint64_t line, uint64_t column) {
    if (!err) return;
    copy_cut(err->file, sizeof err->file, file);
    err->line = line;
    err->column = column;
}

void error_in_data(tw_error *err, const char *file, uint64_t record) {
    if (!err) return;
    copy_cut(err->file, sizeof err->file, file);
    err->record = record;
}

void error_prefix(tw_error *err, const char *format, ...) {
    if (!err) return;
    char message[sizeof err->message];
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (used < 0 || (size_t)used >= sizeof message) return;
    if (snprintf(message + used, sizeof message - (size_t)used, ": %s", err->message) < 0) return;
    memcpy(err->message, message, sizeof message);
}
