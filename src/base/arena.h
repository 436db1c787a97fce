/* An arena: memory that is given out piece by piece and dropped whole. A request or a batch of
 * messages owns one. Not thread-safe. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/error.h"

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used;                /* bytes given out */
    size_t limit; /* STATUS_TOO_LARGE in spirit: allocations past it return NULL; 0 is none */
};

void arena_init(struct arena *arena, size_t limit);
/* 16-byte aligned, zeroed; NULL when memory or the limit is exhausted. */
void *arena_alloc(struct arena *arena, size_t size);
char *arena_copy_text(struct arena *arena, const char *text, size_t length); /* NUL-terminated */
char *arena_print(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
void arena_free(struct arena *arena); /* everything; the arena is empty and usable again */

#endif
