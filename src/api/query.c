/* Rows as JSON: see query.h. */
#include "api/query.h"

#include <string.h>

struct query {
    const char *text;
    const struct sql_value *params;
    int param_count;
    json_t *rows;
};

/* Whether the column's name ends so; *length is then that of the rest. */
static bool has_suffix(const char *name, const char *suffix, size_t *length)
{
    const size_t whole = strlen(name), tail = strlen(suffix);
    *length = whole > tail ? whole - tail : 0;
    return whole > tail && strcmp(name + whole - tail, suffix) == 0;
}

static json_t *plain_value(const struct sql_rows *rows, int column)
{
    switch (sql_rows_type(rows, column)) {
    case SQL_INTEGER:
        return json_integer((json_int_t)sql_rows_integer(rows, column));
    case SQL_REAL:
        return json_real(sql_rows_real(rows, column));
    case SQL_TEXT:
        return json_string(sql_rows_text(rows, column));
    case SQL_NULL:
    case SQL_BLOB:
        break;
    }
    return json_null();
}

static json_t *row_as_json(const struct sql_rows *rows)
{
    json_t *object = json_object();

    for (int column = 0; object != NULL && column < sql_rows_columns(rows); column++) {
        const char *name = sql_rows_name(rows, column);
        size_t length;
        json_t *value;
        if (has_suffix(name, "_json", &length)) {
            value = json_loads(sql_rows_text(rows, column), JSON_DECODE_ANY, NULL);
        } else if (has_suffix(name, "_bool", &length)) {
            value = sql_rows_null(rows, column) ? json_null()
                                                : json_boolean(sql_rows_integer(rows, column) != 0);
        } else {
            length = strlen(name);
            value = plain_value(rows, column);
        }
        json_object_setn_new(object, name, length, value != NULL ? value : json_null());
    }
    return object;
}

static int collect(struct sql_tx *tx, void *context, struct error *err)
{
    struct query *query = context;
    struct sql_rows *rows = NULL;
    int more;

    json_array_clear(query->rows);
    const int status = sql_query(tx, query->text, query->params, query->param_count, &rows, err);
    if (status != STATUS_OK)
        return status;
    while ((more = sql_rows_next(rows, err)) == 1)
        if (json_array_append_new(query->rows, row_as_json(rows)) != 0) {
            more = error_set(err, STATUS_NO_MEMORY, "no memory for the answer");
            break;
        }
    sql_rows_free(rows);
    return more;
}

int query_json(struct sql *sql, const char *text, const struct sql_value *params, int param_count,
               json_t **out, struct error *err)
{
    struct query query = {text, params, param_count, json_array()};

    if (query.rows == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the answer");
    const int status = sql_read(sql, collect, &query, err);
    if (status != STATUS_OK) {
        json_decref(query.rows);
        return status;
    }
    *out = query.rows;
    return STATUS_OK;
}

int query_json_one(struct sql *sql, const char *text, const struct sql_value *params,
                   int param_count, const char *missing, json_t **out, struct error *err)
{
    json_t *rows;

    const int status = query_json(sql, text, params, param_count, &rows, err);
    if (status != STATUS_OK)
        return status;
    if (json_array_size(rows) == 0) {
        json_decref(rows);
        return error_set(err, STATUS_NOT_FOUND, "%s", missing);
    }
    *out = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    return STATUS_OK;
}
