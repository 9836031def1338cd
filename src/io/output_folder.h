/* output_folder.h: a folder of parts, part-00000.csv and so on, that appear together.
 *
 * Parts are written in a hidden folder beside it. Publishing is one rename if the folder is new, or one
 * exchange if it holds nothing but earlier parts; a folder with other files gets the parts one by one, and
 * the other files stay. Hidden folders of processes that were killed are removed by the next run. */
#ifndef IO_OUTPUT_FOLDER_H
#define IO_OUTPUT_FOLDER_H

#include "io/output_file.h"

typedef struct output_folder output_folder;

/* `path` ends in '/' or not. OUTPUT_FAIL: a folder that is there must be empty. OUTPUT_APPEND: parts are
 * numbered behind those that are there. */
tw_status output_folder_open(const char *path, output_mode mode, output_folder **out, tw_error *err);
/* Removes what was not published. NULL is allowed. */
void output_folder_free(output_folder *f);
/* The next part, open for writing; the caller closes it. One thread at a time. */
tw_status output_folder_add(output_folder *f, const char *ending, int *fd, tw_error *err);
uint32_t output_folder_parts(const output_folder *f);
tw_status output_folder_publish(output_folder *f, bool sync, tw_error *err);

#endif
