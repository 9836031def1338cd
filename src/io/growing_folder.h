/* growing_folder.h: a folder that gets parts, part-00000.csv and so on, as long as an endless flow runs. A part is
 * written under a hidden name in the folder itself, and gets its own when it is published: whoever looks sees whole
 * parts only. Hidden ones that a killed run left are published or removed by the next, as its checkpoint says. */
#ifndef IO_GROWING_FOLDER_H
#define IO_GROWING_FOLDER_H

#include "io/output_file.h"

typedef struct growing_folder growing_folder;

/* Makes the folder, and keeps other runs out of it. Nothing in it is touched yet. */
tw_status growing_folder_open(const char *path, output_mode mode, growing_folder **out, tw_error *err);
void growing_folder_free(growing_folder *f); /* removes what was not published; NULL is allowed */
/* Before anything else, for a run that goes on: parts below `prepared` are durable and may be published, those from it
 * on were never complete. */
tw_status growing_folder_resume(growing_folder *f, uint32_t prepared, tw_error *err);
/* The next part, open for writing; the caller closes it. One thread at a time. The first one of a run that does not
 * go on does what `mode` says about parts that are there. */
tw_status growing_folder_add(growing_folder *f, const char *ending, int *fd, tw_error *err);
/* All parts so far are complete; with sync, they are on the disk when it returns. *prepared is for resume. */
tw_status growing_folder_prepare(growing_folder *f, bool sync, uint32_t *prepared, tw_error *err);
/* Makes visible what was prepared. */
tw_status growing_folder_publish(growing_folder *f, tw_error *err);

#endif
