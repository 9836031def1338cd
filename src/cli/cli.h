/* cli.h: what the commands share. The command stands on the public API alone. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>

#include "base/text.h"
#include "thalweg/thalweg.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_WRONG = 2, EXIT_INTERRUPTED = 130 };

/* ---- arguments ---- */

/* An option of a command. Exactly one of flag, value and call is set. */
typedef struct flag {
    const char *name;   /* "--json" */
    const char *letter; /* "-o" or NULL */
    bool *on;
    const char **value;
    bool (*call)(void *context, const char *value); /* for each one given; false: refused, and said why */
} flag;

/* Reads argv[0..argc): options from `flags` and up to `most` other words, which go into words[]. With
 * `other` not NULL, an option that is not in the table and its value go there. Says what is wrong on
 * standard error; false: exit with EXIT_WRONG. */
typedef struct arguments {
    const char *command;
    const flag *flags;
    size_t n_flags;
    void *context;
    const char **words;
    size_t n_words, words_least, words_most;
    const char *what;  /* the words: "a job file" */
    bool (*other)(void *context, const char *name, const char *value);
} arguments;
bool arguments_read(arguments *a, int argc, char **argv);

/* All of a file, or of standard input where it is "-"; says why not. */
bool read_whole(const char *file, struct text *out);

/* ---- saying things ---- */

/* "thalweg: error: ..." on standard error. */
void say_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* With its place: "job.yaml:3:5: error: ...", or "thalweg: error: in.csv: record 7: ...". */
void say_tw_error(const tw_error *err);
/* Writes a text to standard output; EXIT_DONE, or EXIT_FAILED after saying why not. */
int print_out(const char *text);

/* Whether a stream is a terminal that understands styles. */
bool is_styled(FILE *stream);
/* "12,345,678" */
void append_count(struct text *t, uint64_t n);
/* "1.42 GB" */
void append_bytes(struct text *t, double bytes);

/* ---- signals ---- */

/* SIGINT and SIGTERM end the process at once until signals_note was called; then `most` of them are noted, and
 * one more ends the process. A pipe whose reader is gone, and a limit of file size, are errors of the call. */
void signals_begin(void);
void signals_note(unsigned most);
unsigned signals_came(void); /* how many were noted */

/* ---- summary ---- */

void print_summary(const tw_summary *s);
/* A line that is written over the last one on a terminal; in a file at most one a second. */
void print_progress(const tw_job *job, bool last);

/* ---- commands: argv without the command's name ---- */

int command_run(int argc, char **argv);
int command_check(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_list(int argc, char **argv);
int command_help(int argc, char **argv);
int command_generate(int argc, char **argv);
int command_checkpoint(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_version(int argc, char **argv);
/* The usage, as `thalweg help` prints it. */
extern const char usage[];

#endif
