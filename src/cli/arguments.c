#include <string.h>

#include "cli/cli.h"

static bool refuse_option(const arguments *a, const char *given) {
    size_t n = strcspn(given, "=");
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), given);
    struct nearest near = {name};
    for (size_t i = 0; i < a->n_flags; i++) nearest_try(&near, a->flags[i].name);
    if (near.best) say_error("thalweg %s has no option '%s'; did you mean '%s'?", a->command, name, near.best);
    else say_error("thalweg %s has no option '%s'", a->command, name);
    return false;
}

/* "--set=K=V" and "-oFILE" hold their value, or the next word is it. NULL: there is none. */
static const char *value_of(const flag *f, const char *given, int *i, int argc, char **argv) {
    size_t n = strlen(f->name);
    if (strncmp(given, f->name, n) == 0 && given[n] == '=') return given + n + 1;
    if (f->letter && given[1] != '-' && given[2]) return given + 2;
    return *i + 1 < argc ? argv[++*i] : NULL;
}

static bool is_flag(const flag *f, const char *given) {
    size_t n = strlen(f->name);
    if (strncmp(given, f->name, n) == 0 && (given[n] == 0 || (given[n] == '=' && !f->on))) return true;
    return f->letter && strncmp(given, f->letter, 2) == 0 && (given[2] == 0 || !f->on);
}

static bool take_flag(arguments *a, const flag *f, int *i, int argc, char **argv) {
    if (f->on) {
        *f->on = true;
        return true;
    }
    const char *value = value_of(f, argv[*i], i, argc, argv);
    if (!value) {
        say_error("option %s needs a value", f->name);
        return false;
    }
    if (f->call) return f->call(a->context, value);
    *f->value = value;
    return true;
}

/* "--rows 10" or "--rows=10". */
static bool take_other(arguments *a, int *i, int argc, char **argv) {
    const char *given = argv[*i], *equals = strchr(given, '=');
    char name[64];
    size_t n = (equals ? (size_t)(equals - given) : strlen(given)) - 2;
    if (strncmp(given, "--", 2) != 0 || n == 0 || n >= sizeof name) return refuse_option(a, given);
    memcpy(name, given + 2, n);
    name[n] = 0;
    const char *value = equals ? equals + 1 : *i + 1 < argc ? argv[++*i] : NULL;
    if (value) return a->other(a->context, name, value);
    say_error("option --%s needs a value", name);
    return false;
}

static bool take_option(arguments *a, int *i, int argc, char **argv) {
    for (size_t k = 0; k < a->n_flags; k++)
        if (is_flag(&a->flags[k], argv[*i])) return take_flag(a, &a->flags[k], i, argc, argv);
    return a->other ? take_other(a, i, argc, argv) : refuse_option(a, argv[*i]);
}

bool arguments_read(arguments *a, int argc, char **argv) {
    bool options_over = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!options_over && strcmp(word, "--") == 0) {
            options_over = true;
        } else if (!options_over && word[0] == '-' && word[1]) {
            if (!take_option(a, &i, argc, argv)) return false;
        } else if (a->n_words == a->words_most) {
            if (a->words_most == 0) say_error("thalweg %s takes no '%.100s'", a->command, word);
            else say_error("thalweg %s takes %s; '%.100s' is one too many", a->command, a->what, word);
            return false;
        } else {
            a->words[a->n_words++] = word;
        }
    }
    if (a->n_words >= a->words_least) return true;
    say_error("thalweg %s needs %s; see 'thalweg help'", a->command, a->what);
    return false;
}
