#include "expr/expr.h"
#include "expr/expr_internal.h"

/* Kernels that have a result for every row. */
static tw_status (*const safe[])(call *) = {
    call_compare, call_compare_bool, call_least_bool, call_function, call_in_numbers, call_number_to_bool,
    call_bool_to_number, call_hash, call_compare_text, call_equal_text, call_least_text, call_in_texts,
    call_length, call_trim, call_substr, call_find, call_change_case, call_like, call_format, call_same,
    call_time_part, call_timestamp_to_date,
};

static bool may_fail(const node *x) {
    bool fails = x->kind == NODE_CALL;
    for (size_t i = 0; fails && i < sizeof safe / sizeof *safe; i++) fails = x->kernel != safe[i];
    for (uint32_t i = 0; i < x->n && !fails; i++) fails = may_fail(x->children[i]);
    return fails;
}

bool expr_may_fail(const expr *e) { return may_fail(e->root); }
