/* What an engine provides to be a `struct sql`: one table of functions. sql.h calls through it, so
 * callers never know which engine they have. Private to src/data. */
#ifndef DATA_SQL_DRIVER_H
#define DATA_SQL_DRIVER_H

#include "data/sql.h"

/* The spelling of types and of the few functions that engines disagree on (migrations.h). */
enum sql_dialect { SQL_DIALECT_SQLITE, SQL_DIALECT_POSTGRES, SQL_DIALECT_COUNT };

struct sql_driver {
    enum sql_dialect dialect;

    /* The database. Each is as its namesake in sql.h. */
    void (*close)(struct sql *sql);
    int (*write)(struct sql *sql, sql_work work, void *context, struct error *err);
    int (*read)(struct sql *sql, sql_work work, void *context, struct error *err);
    int (*health)(struct sql *sql, struct error *err);
    const char *(*engine)(const struct sql *sql);

    /* A transaction. */
    int (*on_commit)(struct sql_tx *tx, void (*hook)(void *context), void *context,
                     struct error *err);
    void *(*alloc)(struct sql_tx *tx, size_t size);
    int (*exec)(struct sql_tx *tx, const char *text, const struct sql_value *params,
                int param_count, int64_t *changes, struct error *err);
    int (*query)(struct sql_tx *tx, const char *text, const struct sql_value *params,
                 int param_count, struct sql_rows **out, struct error *err);
    /* Several statements separated by semicolons, without parameters, not kept prepared. */
    int (*script)(struct sql_tx *tx, const char *text, struct error *err);
    int (*table_exists)(struct sql_tx *tx, const char *table, bool *exists, struct error *err);

    /* The rows of a query. */
    int (*rows_next)(struct sql_rows *rows, struct error *err);
    void (*rows_free)(struct sql_rows *rows);
    int (*rows_columns)(const struct sql_rows *rows);
    const char *(*rows_name)(const struct sql_rows *rows, int column);
    enum sql_type (*rows_type)(const struct sql_rows *rows, int column);
    bool (*rows_null)(const struct sql_rows *rows, int column);
    int64_t (*rows_integer)(const struct sql_rows *rows, int column);
    double (*rows_real)(const struct sql_rows *rows, int column);
    const char *(*rows_text)(const struct sql_rows *rows, int column);
    const void *(*rows_blob)(const struct sql_rows *rows, int column, size_t *size);
};

/* An engine's own structs begin with these. */
struct sql {
    const struct sql_driver *driver;
};
struct sql_tx {
    const struct sql_driver *driver;
};
struct sql_rows {
    const struct sql_driver *driver;
};

#endif
