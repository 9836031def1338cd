#include "step/rows_kept.h"

#include "engine/bad_records.h"

tw_status report_bad_rows(run_context *run, const batch *in, const expr_bad *bad, const char *step,
                          uint64_t *bad_bits, uint32_t *n_bad, tw_error *err) {
    for (uint32_t i = 0; i < bad->n; i++) {
        uint32_t row = bad->rows[i].row;
        if (bad_bits[row >> 6] >> (row & 63) & 1) continue;
        TRY(bad_row(run, in, row, step, bad->rows[i].reason, err));
        bad_bits[row >> 6] |= 1ull << (row & 63);
        ++*n_bad;
    }
    return TW_OK;
}

tw_status drop_bad_rows(memory *m, batch *b, const uint64_t *bad_bits, uint32_t n_bad, batch **out,
                        tw_error *err) {
    *out = NULL;
    if (n_bad == b->rows) {
        batch_unref(b);
        return TW_OK;
    }
    buffer *rows;
    tw_status status = buffer_new(m, MEMORY_FLOW, b->rows * sizeof(uint32_t), &rows, err);
    if (status == TW_OK) {
        uint32_t *kept = (uint32_t *)(void *)rows->data, n = 0;
        for (uint32_t i = 0; i < b->rows; i++)
            if (!(bad_bits[i >> 6] >> (i & 63) & 1)) kept[n++] = i;
        status = batch_pick(m, b, kept, rows, n, out, err);
        buffer_unref(rows);
    }
    batch_unref(b);
    return status;
}
