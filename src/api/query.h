/* Rows as JSON: what the read handlers share. */
#ifndef API_QUERY_H
#define API_QUERY_H

#include "base/json.h"
#include "data/sql.h"

/* Runs one query on a snapshot of its own and returns its rows as an array of objects named by the
 * columns. A column named x_json holds a JSON text and becomes the value x; one named x_bool holds
 * 0 or 1 and becomes x. The caller json_decref()s *out. */
int query_json(struct sql *sql, const char *text, const struct sql_value *params, int param_count,
               json_t **out, struct error *err);

/* As query_json, for one row: STATUS_NOT_FOUND with `missing` as the sentence when there is none.
 */
int query_json_one(struct sql *sql, const char *text, const struct sql_value *params,
                   int param_count, const char *missing, json_t **out, struct error *err);

#endif
