/* hidden_file.h: a file on its way to a name that it gets only when it is whole.
 *
 * It has no name at all (O_TMPFILE), so that kill -9 leaves nothing of it; where the file system has no such
 * files, a hidden one beside the target. That is locked while its process lives: what is not locked was left
 * by one that was killed, and the next file for the same target removes it. */
#ifndef BASE_HIDDEN_FILE_H
#define BASE_HIDDEN_FILE_H

#include <stdbool.h>

typedef struct hidden_file {
    int fd;     /* for reading and writing; -1: none, also before it was opened */
    char *name; /* NULL: it has none */
} hidden_file;

/* In the target's folder, which must be there. `named`: as where no nameless files are. 0 or an errno. */
int hidden_file_open(const char *target, bool named, hidden_file *out);
/* Gives it the target's name, in one step: who looks sees the old file or the new one. `replaces`: a file that is
 * there gives way, else that is EEXIST. The file stays open. 0 or an errno. */
int hidden_file_publish(hidden_file *f, const char *target, bool replaces);
/* Closes it, and removes it unless it was published. */
void hidden_file_close(hidden_file *f);

/* The part of a path before its last '/', "." or "/" if that is empty; to be freed. NULL: no memory. */
char *path_folder(const char *path);
/* Makes the names in a folder durable; 0 or an errno. */
int folder_sync(const char *folder);

#endif
