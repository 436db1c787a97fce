/* The database: one interface, two engines (SQLite built in; PostgreSQL when users outgrow one
 * machine).
 *
 * All work happens in functions the caller passes in. A write function runs inside one transaction
 * with others that wait at the same moment (group commit): sql_write returns when its changes are
 * durable, or reports why they are not; it may be run again from the start, so it must have no
 * effect but through `tx`. A read function sees one snapshot. Statements are written once in the
 * form both engines take: $1 parameters, ON CONFLICT, RETURNING. */
#ifndef DATA_SQL_H
#define DATA_SQL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "base/metrics.h"

struct sql;    /* a database, shared by all threads */
struct sql_tx; /* a transaction or snapshot, valid inside the function it was given to */
struct sql_rows;

enum sql_type { SQL_NULL, SQL_INTEGER, SQL_REAL, SQL_TEXT, SQL_BLOB };

struct sql_value {
    enum sql_type type;
    int64_t integer;
    double real;
    const void *bytes; /* TEXT or BLOB; borrowed until the statement has been stepped to its end */
    size_t size;
};

/* Parameters: sql_exec(tx, "... $1 ... $2", SQL_PARAMS(sql_text(id), sql_integer(5)), &changes,
 * err) */
#define SQL_PARAMS(...)                                                                            \
    (const struct sql_value[]){__VA_ARGS__},                                                       \
        (int)(sizeof((const struct sql_value[]){__VA_ARGS__}) / sizeof(struct sql_value))
#define SQL_NO_PARAMS NULL, 0
struct sql_value sql_null(void);
struct sql_value sql_integer(int64_t integer);
struct sql_value sql_real(double real);
struct sql_value sql_text(const char *text); /* NULL gives SQL_NULL */
struct sql_value sql_text_n(const char *text, size_t size);
struct sql_value sql_blob(const void *bytes, size_t size);
/* A moment, kept as RFC 3339 text in SQLite and TIMESTAMPTZ in PostgreSQL. The value holds its own
 * text. */
struct sql_value sql_timestamp(int64_t utc_us, char text[32]);

typedef int (*sql_work)(struct sql_tx *tx, void *context, struct error *err);

/* The embedded database: <data_dir>/ocelli.db. WAL, synchronous=FULL, one connection that owns all
 * writes and checkpoints, `sql_readers` query-only connections. On a failed sync the database
 * refuses all further writes (STATUS_CLOSED) and calls on_fatal, after which the process must go
 * down. */
struct sql_events {
    void (*on_fatal)(void *context, const struct error *why);
    void *context;
};
int sql_open_sqlite(const struct config *config, struct metrics *metrics,
                    const struct sql_events *events, struct sql **out, struct error *err);
void sql_close(struct sql *sql); /* waits for running work, checkpoints */

/* Runs `work` in a write transaction and waits until it is durable. When `work` returns non-zero
 * only its own changes are rolled back and that status is returned. STATUS_NO_SPACE: the disk is
 * full (nothing of it was kept; try later); STATUS_BUSY: the queue of waiting writers is full. */
int sql_write(struct sql *sql, sql_work work, void *context, struct error *err);
/* Runs `work` on a read-only snapshot; waits for a free reader for at most 10 s (STATUS_BUSY). */
int sql_read(struct sql *sql, sql_work work, void *context, struct error *err);

/* Inside a write: `hook` runs once after the transaction is durable, on the writer's thread; must
 * be quick and must not write. Not run when the work fails. */
int sql_on_commit(struct sql_tx *tx, void (*hook)(void *context), void *context, struct error *err);
/* Zeroed memory of the transaction, for what a hook needs: dropped after the hooks have run, or
 * with the work that failed. NULL when memory runs out. */
void *sql_alloc(struct sql_tx *tx, size_t size);

/* A statement without rows; *changes (may be NULL) is the number of rows touched. Statements are
 * prepared once a connection and kept. After a failed statement the work must return: what else it
 * would do cannot be kept on every engine. */
int sql_exec(struct sql_tx *tx, const char *text, const struct sql_value *params, int param_count,
             int64_t *changes, struct error *err);
/* A statement with rows. The caller steps and then drops it with sql_rows_free before the next one
 * of the same text. */
int sql_query(struct sql_tx *tx, const char *text, const struct sql_value *params, int param_count,
              struct sql_rows **out, struct error *err);
/* 1 with a row, 0 after the last, or a negative status. */
int sql_rows_next(struct sql_rows *rows, struct error *err);
void sql_rows_free(struct sql_rows *rows); /* NULL is fine */
int sql_rows_columns(const struct sql_rows *rows);
const char *sql_rows_name(const struct sql_rows *rows, int column);
/* Of the present row. Texts and blobs are valid until the next step; text is "" for NULL. */
enum sql_type sql_rows_type(const struct sql_rows *rows, int column);
bool sql_rows_null(const struct sql_rows *rows, int column);
int64_t sql_rows_integer(const struct sql_rows *rows, int column);
double sql_rows_real(const struct sql_rows *rows, int column);
const char *sql_rows_text(const struct sql_rows *rows, int column);
const void *sql_rows_blob(const struct sql_rows *rows, int column, size_t *size);

/* Whether writes are taken now, and the sentence when not (for /health). */
int sql_health(struct sql *sql, struct error *err);
const char *sql_engine(const struct sql *sql); /* "sqlite 3.40.1" */

#endif
