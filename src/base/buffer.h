/* A growing run of bytes, for building text and messages. Errors stick: after a failed allocation
 * every append is a no-op and buffer_ok is false, so a builder checks once at its end.
 * Zero-initialised is empty and valid. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct buffer {
    char *data; /* owned; always followed by a NUL once anything was appended; NULL while empty */
    size_t size;
    size_t capacity;
    bool failed;
};

void buffer_append(struct buffer *buffer, const void *bytes, size_t size);
void buffer_text(struct buffer *buffer, const char *text);
void buffer_print(struct buffer *buffer, const char *format, ...) PRINTF_LIKE(2, 3);
bool buffer_ok(const struct buffer *buffer);
void buffer_clear(struct buffer *buffer); /* keeps the memory */
void buffer_free(struct buffer *buffer);  /* and is empty again */
/* Hands the bytes to the caller (NUL-terminated, free()); the buffer is empty again. NULL when it
 * failed. */
char *buffer_take(struct buffer *buffer, size_t *size);

#endif
