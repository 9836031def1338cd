/* explode: one row for each item of a list, which the items replace; other columns are repeated. */
#include <stdlib.h>

#include "step/steps.h"

typedef struct explode_plan {
    operator_plan plan;
    uint32_t from;
    bool *needed;
    bool asked;
} explode_plan;

typedef struct explode_state {
    operator operator;
    run_context *run;
    batch *in;      /* the batch that the cursor belongs to; NULL between batches */
    uint32_t row;   /* the row being taken apart */
    uint32_t item;  /* its next item, as an index into the child; 0 at the batch's start */
    bool begun;     /* `item` is inside `row` */
} explode_state;

static tw_status explode_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    explode_state *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for explode");
    s->operator = (operator){.class = plan->class, .plan = plan};
    s->run = run;
    *out = &s->operator;
    return TW_OK;
}

static void explode_close(operator *self) { free(self); }

/* Fills rows[] and items[] with the next pairs; a cursor of its own, so that nothing moves if what
 * follows fails. */
static uint32_t next_items(explode_state *cursor, const column *list, uint32_t room, uint32_t *rows,
                           uint32_t *items) {
    const uint32_t *offsets = list->values;
    uint32_t n = 0;
    while (n < room && cursor->row < list->rows) {
        uint32_t row = cursor->row;
        if (!cursor->begun) cursor->item = offsets[row];
        cursor->begun = true;
        uint32_t end = column_is_valid(list, row) ? offsets[row + 1] : cursor->item;
        while (n < room && cursor->item < end) {
            rows[n] = row;
            items[n++] = cursor->item++;
        }
        if (cursor->item == end) {
            cursor->row++;
            cursor->begun = false;
        }
    }
    return n;
}

static tw_status make_batch(explode_state *s, const explode_plan *p, const batch *in, buffer *rows_buffer,
                            const uint32_t *rows, const uint32_t *items, uint32_t n, batch **out, tw_error *err) {
    memory *m = s->run->memory;
    batch *b;
    TRY(batch_new(p->plan.out, n, &b, err));
    tw_status status = TW_OK;
    for (uint32_t c = 0; c < in->schema->n && status == TW_OK; c++) {
        if (c == p->from) status = column_pick(m, in->columns[c].children, items, n, &b->columns[c], err);
        else if (!p->asked || p->needed[c]) status = column_pick(m, &in->columns[c], rows, n, &b->columns[c], err);
        else b->columns[c] = (column){.type = in->columns[c].type, .rows = n};
    }
    b->position = in->position;
    if (status == TW_OK) status = batch_inherit_origin(m, in, rows, rows_buffer, b, err);
    if (status != TW_OK) batch_unref(b);
    else *out = b;
    return status;
}

static tw_status explode_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    explode_state *s = (explode_state *)self;
    const explode_plan *p = (const explode_plan *)self->plan;
    explode_state cursor = *s;
    if (cursor.in != in) {
        cursor.in = in;
        cursor.row = cursor.item = 0;
        cursor.begun = false;
    }
    uint32_t room = s->run->batch_rows;
    buffer *rows_buffer, *items_buffer = NULL;
    TRY(buffer_new(s->run->memory, MEMORY_FLOW, room * sizeof(uint32_t), &rows_buffer, err));
    tw_status status = buffer_new(s->run->memory, MEMORY_FLOW, room * sizeof(uint32_t), &items_buffer, err);
    if (status == TW_OK) {
        uint32_t *rows = (uint32_t *)(void *)rows_buffer->data, *items = (uint32_t *)(void *)items_buffer->data;
        uint32_t n = next_items(&cursor, &in->columns[p->from], room, rows, items);
        if (n) status = make_batch(s, p, in, rows_buffer, rows, items, n, out, err);
    }
    buffer_unref(rows_buffer);
    buffer_unref(items_buffer);
    TRY(status);
    *more = cursor.row < in->rows;
    *s = cursor;
    if (!*more) s->in = NULL;
    return TW_OK;
}

static void explode_needs(operator_plan *plan, const bool *needed_out, bool *needed_in) {
    explode_plan *p = (explode_plan *)plan;
    p->asked = true;
    for (uint32_t i = 0; i < plan->out->n; i++) {
        p->needed[i] |= needed_out[i];
        needed_in[i] = needed_out[i] || i == p->from;
    }
}

static void explode_free(operator_plan *plan) {
    free(((explode_plan *)plan)->needed);
    free(plan);
}

static const operator_class explode_class = {
    .open = explode_open,
    .process = explode_process,
    .close = explode_close,
    .needs = explode_needs,
    .free = explode_free,
};

static tw_status explode_build(stream *s, const args *a, tw_error *err) {
    error_list *errors = plan_errors(s->builder);
    const char *name = args_string(a, "from");
    int from = plan_column(s, a, "from", NULL, name);
    if (from < 0) return TW_ERR_JOB;
    const type *t = s->schema->fields[from].type;
    char shown[64];
    if (t->kind != TYPE_LIST)
        return args_error(a, "from", errors, "column '%s' is %s, not a list", name, type_name(t, shown, sizeof shown));
    const char *into = args_given(a, "into") ? args_string(a, "into") : name;
    int taken = schema_find(s->schema, into);
    if (taken >= 0 && taken != from) return args_error(a, "into", errors, "there is a column '%s' already", into);
    schema *out;
    TRY(schema_replace(s->schema, (uint32_t)from, into, t->item, &out, err));
    explode_plan *p = calloc(1, sizeof *p);
    bool *needed = calloc(out->n + 1, sizeof *needed);
    if (!p || !needed) {
        free(p);
        free(needed);
        schema_unref(out);
        return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    }
    p->plan = (operator_plan){.class = &explode_class, .name = "explode"};
    p->from = (uint32_t)from;
    p->needed = needed;
    tw_status status = stream_add_operator(s, &p->plan, out, err);
    schema_unref(out);
    return status;
}

static const option explode_options[] = {
    {"from", OPTION_COLUMN, OPTION_REQUIRED, "the list column"},
    {"into", OPTION_STRING, 0, "the name of the column of items", .default_note = "the list's name"},
};
const step_descriptor step_explode = {
    .descriptor = {.name = "explode",
                   .summary = "one row for each item of a list",
                   .options = explode_options,
                   .n_options = COUNT_OF(explode_options),
                   .shorthand = "from",
                   .details = "The items take the list's place; the other columns are repeated. An empty or null "
                              "list gives no row.",
                   .example = "- explode: {from: tags, into: tag}"},
    .build = explode_build,
};
