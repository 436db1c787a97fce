/* Glue around jansson: reading with sentences for what is wrong, writing into a buffer. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

/* Parses one JSON text of at most 64 nesting levels; STATUS_INVALID with line and column. Caller
 * json_decref()s. */
int json_read(const char *text, size_t size, json_t **out, struct error *err);
/* Compact text appended to the buffer, keys in insertion order; non-ASCII as UTF-8. */
int json_write(const json_t *json, struct buffer *out, struct error *err);

/* Members of an object. A missing required member or one of the wrong type is STATUS_INVALID naming
 * it. Strings are borrowed from the object. Optional ones leave *out as it was when absent or null.
 */
int json_get_text(const json_t *object, const char *name, bool required, const char **out,
                  struct error *err);
int json_get_real(const json_t *object, const char *name, bool required, double *out,
                  struct error *err);
int json_get_integer(const json_t *object, const char *name, bool required, int64_t *out,
                     struct error *err);

#endif
