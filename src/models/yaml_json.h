/* YAML as JSON values, there and back, through libyaml. Enough of YAML for files that people write:
 * one document, mappings with text keys, the core schema's null, true, false and numbers. */
#ifndef MODELS_YAML_JSON_H
#define MODELS_YAML_JSON_H

#include "base/buffer.h"
#include "base/json.h"

/* Reads one document of at most 32 nesting levels and 100,000 values (aliases count as often as
 * they are used). Scalars below the top-level members named in `as_text` (ended by NULL) stay text,
 * so that `version: 1.10` is "1.10". STATUS_INVALID with line and column for what is wrong. The
 * caller json_decref()s *out. */
int yaml_read(const char *text, size_t size, const char *const *as_text, json_t **out,
              struct error *err);

/* Appends `json` as a document that yaml_read reads back as the same value. */
int yaml_write(const json_t *json, struct buffer *out, struct error *err);

#endif
