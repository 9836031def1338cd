/* `matches`: PCRE2 with its compiler to machine code. A compiled pattern is shared by threads; what a
 * match writes to belongs to the scratch. Work per match is bounded, so that no pattern hangs. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "expr/expr_internal.h"

#define REGEX_STEPS_MAX 2000000u /* of one match: some ten milliseconds */
#define REGEX_HEAP_KIB_MAX 16384u
#define REGEX_STACK_BYTES_MIN (32u << 10)
#define REGEX_STACK_BYTES_MAX (1u << 20)

struct regex {
    pcre2_code *code;
};

struct regex_state {
    pcre2_match_data *data;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack;
};

tw_status regex_compile(expr *e, const uint8_t *pattern, uint32_t size, bool utf8, uint32_t at,
                        uint32_t *index, tw_error *err) {
    regex *grown = realloc(e->regexes, (e->n_regexes + 1) * sizeof *grown);
    if (!grown) return expr_no_memory(err);
    e->regexes = grown;
    int code;
    PCRE2_SIZE offset;
    /* Texts from outside may be broken UTF-8: such bytes match nothing. */
    uint32_t options = PCRE2_NEVER_BACKSLASH_C;
    if (utf8) options |= PCRE2_UTF | PCRE2_MATCH_INVALID_UTF;
    pcre2_code *compiled = pcre2_compile(pattern, size, options, &code, &offset, NULL);
    if (!compiled) {
        char reason[200];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
        return expr_error(err, at, "this regular expression is wrong at its character %zu: %s",
                          (size_t)offset + 1, reason);
    }
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* where it fails, the interpreter serves */
    *index = e->n_regexes;
    e->regexes[e->n_regexes++].code = compiled;
    return TW_OK;
}

void regex_free_all(expr *e) {
    for (uint32_t i = 0; i < e->n_regexes; i++) pcre2_code_free(e->regexes[i].code);
    free(e->regexes);
}

tw_status regex_states_new(const expr *e, expr_scratch *s, tw_error *err) {
    if (!e->n_regexes) return TW_OK;
    s->regex_states = calloc(e->n_regexes, sizeof *s->regex_states);
    if (!s->regex_states) return expr_no_memory(err);
    s->n_regexes = e->n_regexes;
    for (uint32_t i = 0; i < e->n_regexes; i++) {
        struct regex_state *state = &s->regex_states[i];
        state->data = pcre2_match_data_create(1, NULL);
        state->limits = pcre2_match_context_create(NULL);
        state->stack = pcre2_jit_stack_create(REGEX_STACK_BYTES_MIN, REGEX_STACK_BYTES_MAX, NULL);
        if (!state->data || !state->limits || !state->stack) return expr_no_memory(err);
        pcre2_set_match_limit(state->limits, REGEX_STEPS_MAX);
        pcre2_set_depth_limit(state->limits, REGEX_STEPS_MAX);
        pcre2_set_heap_limit(state->limits, REGEX_HEAP_KIB_MAX);
        pcre2_jit_stack_assign(state->limits, NULL, state->stack);
    }
    return TW_OK;
}

void regex_states_free(expr_scratch *s) {
    for (uint32_t i = 0; i < s->n_regexes; i++) {
        struct regex_state *state = &s->regex_states[i];
        pcre2_match_data_free(state->data);
        pcre2_match_context_free(state->limits);
        pcre2_jit_stack_free(state->stack);
    }
    free(s->regex_states);
}

tw_status call_matches(call *c) {
    const pcre2_code *code = c->r->e->regexes[c->x->column].code;
    struct regex_state *state = &c->r->s->regex_states[c->x->column];
    uint64_t *out = c->out;
    memset(out, 0, c->words * sizeof *out);
    FOR_ACTIVE(c, row) {
        const view *v = call_view(c, 0, row);
        int found = pcre2_match(code, view_data(v), v->size, 0, 0, state->data, state->limits);
        if (found >= 0) {
            out[row >> 6] |= 1ull << (row & 63);
        } else if (found == PCRE2_ERROR_NOMEMORY) {
            return expr_no_memory(c->r->err);
        } else if (found != PCRE2_ERROR_NOMATCH) {
            TRY(call_bad_row(c, row, "the regular expression takes too long on this text"));
        }
    }
    return TW_OK;
}
