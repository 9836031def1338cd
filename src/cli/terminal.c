/* terminal.c: messages, and texts for people. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* A message is one line, whatever is in it; it needs no memory, as there may be none. */
static void put_line(const char *words) {
    char line[2048];
    size_t n = 0;
    for (; words[n] && n < sizeof line - 1; n++)
        line[n] = (unsigned char)words[n] < 0x20 || words[n] == 0x7f ? '?' : words[n];
    line[n] = 0;
    fprintf(stderr, "%s\n", line);
}

void say_error(const char *format, ...) {
    char line[2048] = "thalweg: error: ";
    size_t n = strlen(line);
    va_list list;
    va_start(list, format);
    vsnprintf(line + n, sizeof line - n, format, list);
    va_end(list);
    put_line(line);
}

void say_tw_error(const tw_error *err) {
    if (err->line) {
        char line[2048];
        snprintf(line, sizeof line, "%s:%llu:%llu: error: %s", err->file, (unsigned long long)err->line,
                 (unsigned long long)err->column, err->message);
        put_line(line);
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
