/* memory_internal.h: what buffer.c needs of memory.c. */
#ifndef BASE_MEMORY_INTERNAL_H
#define BASE_MEMORY_INTERNAL_H

#include "base/memory.h"

/* Takes a buffer of a memory back whose last reference is gone. */
void memory_take_back(buffer *b);

#endif
