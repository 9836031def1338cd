/* terminal.c: messages, and texts for people. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* A message is one line, whatever is in it. */
static void put_line(struct text *t) {
    for (size_t i = 0; i < t->length; i++)
        if ((unsigned char)t->bytes[i] < 0x20 || t->bytes[i] == 0x7f) t->bytes[i] = '?';
    fprintf(stderr, "%s\n", text_string(t));
}

void say_error(const char *format, ...) {
    struct text t = {0};
    va_list list;
    va_start(list, format);
    text_append_string(&t, "thalweg: error: ");
    text_vprintf(&t, format, list);
    va_end(list);
    put_line(&t);
    text_free(&t);
}

void say_tw_error(const tw_error *err) {
    struct text t = {0};
    if (err->line) {
        text_printf(&t, "%s:%llu:%llu: error: %s", err->file, (unsigned long long)err->line,
                    (unsigned long long)err->column, err->message);
        put_line(&t);
        text_free(&t);
    } else if (err->file[0] && err->record) {
        say_error("%s: record %llu: %s", err->file, (unsigned long long)err->record, err->message);
    } else if (err->file[0]) {
        say_error("%s: %s", err->file, err->message);
    } else {
        say_error("%s", err->message[0] ? err->message : tw_status_name(err->code));
    }
}

int print_out(const char *text) {
    if (fputs(text, stdout) >= 0 && fflush(stdout) == 0) return EXIT_DONE;
    if (errno != EPIPE) say_error("cannot write standard output: %s", strerror(errno));
    return EXIT_FAILED;
}

bool is_styled(FILE *stream) {
    const char *term = getenv("TERM"), *none = getenv("NO_COLOR");
    return isatty(fileno(stream)) && term && strcmp(term, "dumb") != 0 && !(none && *none);
}

void append_count(struct text *t, uint64_t n) {
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) text_append_char(t, ',');
        text_append_char(t, digits[i]);
    }
}

void append_bytes(struct text *t, double bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;
    while (bytes >= 999.5 && unit + 1 < sizeof units / sizeof *units) bytes /= 1000, unit++;
    text_printf(t, unit == 0 || bytes >= 99.5 ? "%.0f %s" : bytes >= 9.95 ? "%.1f %s" : "%.2f %s", bytes, units[unit]);
}
