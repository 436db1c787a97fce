/* A request's body on its way from the event thread, which must not wait, to a handler, which may:
 * a ring of bytes with one writer and one reader. */
#ifndef HTTP_BODY_PIPE_H
#define HTTP_BODY_PIPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct body_pipe;

/* `release` is called by the reader when a writer that found no room may go on, and at the reader's
 * first wait: until then the writer is taken to be held back. It is called without locks. */
int body_pipe_create(size_t capacity, void (*release)(void *context), void *context,
                     struct body_pipe **out, struct error *err);
void body_pipe_free(struct body_pipe *pipe);

/* Takes what there is room for and returns how much; if not all, the reader will call `release`. */
size_t body_pipe_write(struct body_pipe *pipe, const void *bytes, size_t size);
/* No more will come: after the last byte the reader sees the end, or else this failure. The first
 * call counts. `why` must be static. */
void body_pipe_end(struct body_pipe *pipe);
void body_pipe_break(struct body_pipe *pipe, enum status status, const char *why);

/* Waits for bytes and shows them, valid until body_pipe_consume. Returns 1 with bytes, 0 at the
 * end, or the failure. */
int body_pipe_peek(struct body_pipe *pipe, const uint8_t **bytes, size_t *size, struct error *err);
void body_pipe_consume(struct body_pipe *pipe, size_t size);

#endif
