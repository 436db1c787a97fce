/* SQLite behind sql.h: what its files share.
 *
 *   sql_sqlite.c            opening and closing, the pool of readers, the driver table
 *   sql_sqlite_writer.c     the thread that owns all writes: group commit, checkpoints
 *   sql_sqlite_statement.c  a connection's statements: preparing, binding, stepping, errors
 *
 * Read them in the order statement, writer, sqlite. Private to src/data. */
#ifndef DATA_SQL_SQLITE_H
#define DATA_SQL_SQLITE_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "data/sql_driver.h"

enum {
    SQLITE_STATEMENTS_KEPT = 128, /* prepared statements a connection keeps */
    SQLITE_PARAMETERS_MAX = 64,   /* $1 .. $64 */
    SQLITE_BUSY_WAIT_MS = 10000,  /* for another program's lock on the file */
};

/* One prepared statement and, while it is in use, its rows. */
struct sqlite_statement {
    struct sql_rows rows; /* first: the sql_rows a query hands out */
    sqlite3_stmt *handle;
    struct sqlite_tx *tx;  /* who steps it; NULL while idle */
    bool at_end;           /* its rows have all been stepped over, or failed */
    const char *text_seen; /* where its text was last given; only to compare with */
    uint64_t hash;         /* of its text */
    uint64_t used_at;      /* the connection's count of uses, for the least recently used */
    int parameter_count;
    uint8_t parameter_of[SQLITE_PARAMETERS_MAX]; /* SQLite's index - 1 -> n of $n */
};

/* One thread uses a connection at a time. */
struct sqlite_connection {
    sqlite3 *handle;
    struct sqlite_statement *statements[SQLITE_STATEMENTS_KEPT];
    int statement_count;
    uint64_t uses;
    int64_t deadline_ns;  /* when what runs now is interrupted; 0 for never */
    bool sync_failed;     /* a sync failed: nothing written since is known to be on disk */
    struct error failure; /* of the last statement that failed */
    struct sqlite_connection *next; /* in the pool of idle readers */
};

struct sqlite_hook {
    struct sqlite_hook *next;
    void (*run)(void *context);
    void *context;
};

/* A work's view of the transaction it shares with others, or of a snapshot. */
struct sqlite_tx {
    struct sql_tx base;
    struct sqlite_connection *connection;
    bool writes;
    int rows_open;
    struct arena memory;
    struct sqlite_hook *hooks, **hooks_end;
};

struct write_request;

struct sqlite_database {
    struct sql base;
    char *path;
    int64_t free_bytes_min;
    int lock_fd; /* flock on <data_dir>/ocelli.lock: one process a data folder */
    struct sql_events events;
    char engine[32];

    /* The writer; the connection is its thread's alone. */
    struct sqlite_connection *writer;
    pthread_t writer_thread;
    bool writer_started;
    int wal_pages;            /* in the log after the last commit */
    int wal_pages_checkpoint; /* when to checkpoint next, however busy */
    bool wal_dirty;           /* something is in the log that is not in the database file */
    pthread_mutex_t queue_lock;
    pthread_cond_t queue_grown;
    struct write_request *queue, **queue_end;
    int queue_size;
    bool closing;
    bool refusing;      /* a sync failed: no more writes in this life */
    struct error fatal; /* why */
    atomic_bool full;   /* the last commit found the disk full */

    /* Idle readers. */
    pthread_mutex_t readers_lock;
    pthread_cond_t reader_returned;
    struct sqlite_connection *readers;
    int reader_count, readers_idle;
    bool readers_closing;

    struct metric *commits, *commit_seconds, *works, *works_failed, *wal_bytes;
    struct metric *refused_queue, *refused_readers, *checkpoints;
};

extern const struct sql_driver sqlite_driver;

/* --- sql_sqlite_statement.c --- */
int sqlite_connect(const char *path, bool read_only, struct sqlite_connection **out,
                   struct error *err);
void sqlite_disconnect(struct sqlite_connection *connection); /* NULL is fine */
/* Runs the program's own BEGIN, COMMIT, PRAGMA ... outside any work. */
int sqlite_control(struct sqlite_connection *connection, const char *text, struct error *err);
/* Fills `err` from SQLite's result code, and notes failed syncs in the connection. */
int sqlite_failed(struct sqlite_connection *connection, int code, const char *doing,
                  struct error *err);

void sqlite_tx_init(struct sqlite_tx *tx, struct sqlite_connection *connection, bool writes);
void sqlite_tx_free(struct sqlite_tx *tx);
void *sqlite_alloc(struct sql_tx *tx, size_t size);
int sqlite_on_commit(struct sql_tx *tx, void (*hook)(void *context), void *context,
                     struct error *err);

int sqlite_exec(struct sql_tx *tx, const char *text, const struct sql_value *params,
                int param_count, int64_t *changes, struct error *err);
int sqlite_query(struct sql_tx *tx, const char *text, const struct sql_value *params,
                 int param_count, struct sql_rows **out, struct error *err);
int sqlite_script(struct sql_tx *tx, const char *text, struct error *err);
int sqlite_table_exists(struct sql_tx *tx, const char *table, bool *exists, struct error *err);
int sqlite_rows_next(struct sql_rows *rows, struct error *err);
void sqlite_rows_free(struct sql_rows *rows);
int sqlite_rows_columns(const struct sql_rows *rows);
const char *sqlite_rows_name(const struct sql_rows *rows, int column);
enum sql_type sqlite_rows_type(const struct sql_rows *rows, int column);
bool sqlite_rows_null(const struct sql_rows *rows, int column);
int64_t sqlite_rows_integer(const struct sql_rows *rows, int column);
double sqlite_rows_real(const struct sql_rows *rows, int column);
const char *sqlite_rows_text(const struct sql_rows *rows, int column);
const void *sqlite_rows_blob(const struct sql_rows *rows, int column, size_t *size);

/* --- sql_sqlite_writer.c --- */
int writer_start(struct sqlite_database *database, struct error *err);
/* Finishes what waits and ends the thread. The readers are closed by then, so that closing the
 * writer's connection moves the log into the database file. */
void writer_stop(struct sqlite_database *database);
int writer_write(struct sql *sql, sql_work work, void *context, struct error *err);

#endif
