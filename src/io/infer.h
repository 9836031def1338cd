/* infer.h: the schema of a format from its first rows: up to INFER_ROWS of them in INFER_BYTES. */
#ifndef IO_INFER_H
#define IO_INFER_H

#include "io/format.h"

enum { INFER_ROWS = 65536, INFER_BYTES = 16 << 20 };

typedef struct inference inference;

/* For a format without a schema. `f` must outlive it. */
tw_status inference_new(format *f, memory *m, inference **out, tw_error *err);
/* Looks at one more span of whole records of `file`. *enough: no more is wanted. Bad records are passed
 * over: they show when the data is read. */
tw_status inference_add(inference *n, const span *s, const char *file, bool file_start, bool *enough,
                        tw_error *err);
/* Sets f->schema. TW_ERR_DATA when there is nothing to make it from. */
tw_status inference_finish(inference *n, tw_error *err);
void inference_free(inference *n); /* NULL is allowed */

#endif
