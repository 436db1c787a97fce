/* The database: parameter values, and the calls handed on to the engine. See sql.h. */
#include "data/sql.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "data/sql_driver.h"

struct sql_value sql_null(void)
{
    return (struct sql_value){.type = SQL_NULL};
}

struct sql_value sql_integer(int64_t integer)
{
    return (struct sql_value){.type = SQL_INTEGER, .integer = integer};
}

struct sql_value sql_real(double real)
{
    return (struct sql_value){.type = SQL_REAL, .real = real};
}

struct sql_value sql_text(const char *text)
{
    return text == NULL ? sql_null() : sql_text_n(text, strlen(text));
}

struct sql_value sql_text_n(const char *text, size_t size)
{
    return (struct sql_value){.type = SQL_TEXT, .bytes = text, .size = size};
}

struct sql_value sql_blob(const void *bytes, size_t size)
{
    return (struct sql_value){.type = SQL_BLOB, .bytes = bytes, .size = size};
}

struct sql_value sql_timestamp(int64_t utc_us, char text[32])
{
    static_assert(TIMESTAMP_TEXT_MAX == 32, "sql.h and clock.h must agree on a timestamp's size");
    return sql_text(timestamp_format(utc_us, text));
}

void sql_close(struct sql *sql)
{
    if (sql != NULL)
        sql->driver->close(sql);
}

int sql_write(struct sql *sql, sql_work work, void *context, struct error *err)
{
    return sql->driver->write(sql, work, context, err);
}

int sql_read(struct sql *sql, sql_work work, void *context, struct error *err)
{
    return sql->driver->read(sql, work, context, err);
}

int sql_on_commit(struct sql_tx *tx, void (*hook)(void *context), void *context, struct error *err)
{
    return tx->driver->on_commit(tx, hook, context, err);
}

void *sql_alloc(struct sql_tx *tx, size_t size)
{
    return tx->driver->alloc(tx, size);
}

int sql_exec(struct sql_tx *tx, const char *text, const struct sql_value *params, int param_count,
             int64_t *changes, struct error *err)
{
    return tx->driver->exec(tx, text, params, param_count, changes, err);
}

int sql_query(struct sql_tx *tx, const char *text, const struct sql_value *params, int param_count,
              struct sql_rows **out, struct error *err)
{
    return tx->driver->query(tx, text, params, param_count, out, err);
}

int sql_rows_next(struct sql_rows *rows, struct error *err)
{
    return rows->driver->rows_next(rows, err);
}

void sql_rows_free(struct sql_rows *rows)
{
    if (rows != NULL)
        rows->driver->rows_free(rows);
}

int sql_rows_columns(const struct sql_rows *rows)
{
    return rows->driver->rows_columns(rows);
}

const char *sql_rows_name(const struct sql_rows *rows, int column)
{
    return rows->driver->rows_name(rows, column);
}

enum sql_type sql_rows_type(const struct sql_rows *rows, int column)
{
    return rows->driver->rows_type(rows, column);
}

bool sql_rows_null(const struct sql_rows *rows, int column)
{
    return rows->driver->rows_null(rows, column);
}

int64_t sql_rows_integer(const struct sql_rows *rows, int column)
{
    return rows->driver->rows_integer(rows, column);
}

double sql_rows_real(const struct sql_rows *rows, int column)
{
    return rows->driver->rows_real(rows, column);
}

const char *sql_rows_text(const struct sql_rows *rows, int column)
{
    return rows->driver->rows_text(rows, column);
}

const void *sql_rows_blob(const struct sql_rows *rows, int column, size_t *size)
{
    return rows->driver->rows_blob(rows, column, size);
}

int sql_health(struct sql *sql, struct error *err)
{
    return sql->driver->health(sql, err);
}

const char *sql_engine(const struct sql *sql)
{
    return sql->driver->engine(sql);
}
