/* SQLite behind sql.h: one connection and its statements. See sql_sqlite.h.
 *
 * Statements are prepared once a connection and found again by their text; of the many texts that
 * built queries may make, only the most recently used stay. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "data/sql_sqlite.h"

enum { PROGRESS_STEPS = 10000 }; /* of SQLite's machine, between looks at the deadline */

/* --- errors --- */

static enum status status_of(sqlite3 *handle, int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
        return STATUS_NO_SPACE;
    case SQLITE_NOMEM:
        return STATUS_NO_MEMORY;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return STATUS_BUSY;
    case SQLITE_CONSTRAINT:
        return code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY
                   ? STATUS_EXISTS
                   : STATUS_INVALID;
    case SQLITE_TOOBIG:
        return STATUS_TOO_LARGE;
    case SQLITE_INTERRUPT:
        return STATUS_TIMEOUT;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return STATUS_CORRUPT;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return STATUS_DENIED;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: {
        /* Quotas and file size limits are full disks by other names. */
        const int reason = handle == NULL ? 0 : sqlite3_system_errno(handle);
        return reason == ENOSPC || reason == EDQUOT || reason == EFBIG ? STATUS_NO_SPACE
                                                                       : STATUS_IO;
    }
    default:
        return STATUS_INTERNAL;
    }
}

int sqlite_failed(struct sqlite_connection *connection, int code, const char *doing,
                  struct error *err)
{
    sqlite3 *handle = connection->handle;
    const int extended = handle == NULL ? code : sqlite3_extended_errcode(handle);
    /* The handle's code is the fuller one, when it speaks of the same failure. */
    const int full_code = (extended & 0xff) == (code & 0xff) ? extended : code;

    if (full_code == SQLITE_IOERR_FSYNC || full_code == SQLITE_IOERR_DIR_FSYNC)
        connection->sync_failed = true;
    error_set(&connection->failure, status_of(handle, full_code), "database: %.200s: %s", doing,
              handle == NULL ? sqlite3_errstr(code) : sqlite3_errmsg(handle));
    if (err != NULL)
        *err = connection->failure;
    return connection->failure.code;
}

/* --- connections --- */

static int deadline_passed(void *context)
{
    const struct sqlite_connection *connection = context;
    return connection->deadline_ns != 0 && clock_monotonic_ns() > connection->deadline_ns;
}

static void statement_free(struct sqlite_statement *statement)
{
    sqlite3_finalize(statement->handle);
    free(statement);
}

void sqlite_disconnect(struct sqlite_connection *connection)
{
    if (connection == NULL)
        return;
    for (int i = 0; i < connection->statement_count; i++)
        statement_free(connection->statements[i]);
    sqlite3_close(connection->handle);
    free(connection);
}

int sqlite_connect(const char *path, bool read_only, struct sqlite_connection **out,
                   struct error *err)
{
    const int flags = read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    struct sqlite_connection *connection = calloc(1, sizeof *connection);

    if (connection == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a connection to '%s'", path);
    int code = sqlite3_open_v2(path, &connection->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
    /* Only the writer moves the log into the database file, and it says when. */
    if (code == SQLITE_OK)
        code = sqlite3_db_config(connection->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (code != SQLITE_OK) {
        const int status = sqlite_failed(connection, code, path, err);
        sqlite_disconnect(connection);
        return status;
    }
    sqlite3_extended_result_codes(connection->handle, 1);
    sqlite3_busy_timeout(connection->handle, SQLITE_BUSY_WAIT_MS);
    sqlite3_progress_handler(connection->handle, PROGRESS_STEPS, deadline_passed, connection);
    *out = connection;
    return STATUS_OK;
}

/* --- statements --- */

/* "$12" gives 12; 0 for anything else. */
static int parameter_number(const char *name)
{
    int number = 0;

    if (name == NULL || name[0] != '$' || name[1] == '\0')
        return 0;
    for (const char *at = name + 1; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || number > SQLITE_PARAMETERS_MAX)
            return 0;
        number = number * 10 + (*at - '0');
    }
    return number <= SQLITE_PARAMETERS_MAX ? number : 0;
}

/* SQLite numbers parameters in the order it meets them; ours are numbered by name. */
static int map_parameters(struct sqlite_statement *statement, const char *text, struct error *err)
{
    const int count = sqlite3_bind_parameter_count(statement->handle);

    if (count > SQLITE_PARAMETERS_MAX)
        return error_set(err, STATUS_INTERNAL, "the statement '%.80s' has over %d parameters", text,
                         SQLITE_PARAMETERS_MAX);
    for (int i = 0; i < count; i++) {
        const int number = parameter_number(sqlite3_bind_parameter_name(statement->handle, i + 1));
        if (number == 0)
            return error_set(err, STATUS_INTERNAL,
                             "the statement '%.80s' has a parameter that is not $1 to $%d", text,
                             SQLITE_PARAMETERS_MAX);
        statement->parameter_of[i] = (uint8_t)number;
        if (number > statement->parameter_count)
            statement->parameter_count = number;
    }
    return STATUS_OK;
}

static int statement_prepare(struct sqlite_connection *connection, const char *text,
                             struct sqlite_statement **out, struct error *err)
{
    const char *rest = "";
    int status;
    struct sqlite_statement *statement = calloc(1, sizeof *statement);

    if (statement == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the statement '%.80s'", text);
    statement->rows.driver = &sqlite_driver;
    statement->text_seen = text;
    statement->hash = fnv1a(text, strlen(text));
    const int code = sqlite3_prepare_v3(connection->handle, text, -1, SQLITE_PREPARE_PERSISTENT,
                                        &statement->handle, &rest);
    if (code != SQLITE_OK)
        status = sqlite_failed(connection, code, text, err);
    else if (statement->handle == NULL || rest[strspn(rest, " \t\r\n;")] != '\0')
        status = error_set(err, STATUS_INTERNAL, "'%.80s' is not exactly one statement", text);
    else
        status = map_parameters(statement, text, err);
    if (status != STATUS_OK) {
        statement_free(statement);
        return status;
    }
    *out = statement;
    return STATUS_OK;
}

/* A place for one more statement: a free one, or that of the idle statement not used longest. -1
 * when all are in use. */
static int statement_place(struct sqlite_connection *connection)
{
    int oldest = -1;

    if (connection->statement_count < SQLITE_STATEMENTS_KEPT)
        return connection->statement_count;
    for (int i = 0; i < connection->statement_count; i++) {
        const struct sqlite_statement *statement = connection->statements[i];
        if (statement->tx == NULL &&
            (oldest < 0 || statement->used_at < connection->statements[oldest]->used_at))
            oldest = i;
    }
    return oldest;
}

/* The kept statement of that text, or NULL. Nearly all texts are literals, so the place a text was
 * last seen at finds it; the text decides. */
static struct sqlite_statement *statement_kept(const struct sqlite_connection *connection,
                                               const char *text)
{
    for (int i = 0; i < connection->statement_count; i++) {
        struct sqlite_statement *statement = connection->statements[i];
        if (statement->text_seen == text && strcmp(sqlite3_sql(statement->handle), text) == 0)
            return statement;
    }
    const uint64_t hash = fnv1a(text, strlen(text));
    for (int i = 0; i < connection->statement_count; i++) {
        struct sqlite_statement *statement = connection->statements[i];
        if (statement->hash == hash && strcmp(sqlite3_sql(statement->handle), text) == 0)
            return statement;
    }
    return NULL;
}

/* The idle prepared statement of that text. */
static int statement_find(struct sqlite_connection *connection, const char *text,
                          struct sqlite_statement **out, struct error *err)
{
    struct sqlite_statement *statement = statement_kept(connection, text);

    if (statement != NULL) {
        if (statement->tx != NULL)
            return error_set(err, STATUS_INTERNAL,
                             "the rows of '%.80s' must be dropped before it is run again", text);
        statement->text_seen = text;
        statement->used_at = ++connection->uses;
        *out = statement;
        return STATUS_OK;
    }
    const int place = statement_place(connection);
    if (place < 0)
        return error_set(err, STATUS_INTERNAL, "%d statements are open at once",
                         SQLITE_STATEMENTS_KEPT);
    const int status = statement_prepare(connection, text, &statement, err);
    if (status != STATUS_OK)
        return status;
    if (place < connection->statement_count)
        statement_free(connection->statements[place]);
    else
        connection->statement_count++;
    connection->statements[place] = statement;
    statement->used_at = ++connection->uses;
    *out = statement;
    return STATUS_OK;
}

static void statement_reset(struct sqlite_statement *statement)
{
    sqlite3_reset(statement->handle);
    sqlite3_clear_bindings(statement->handle);
    statement->tx = NULL;
    statement->at_end = false;
}

/* `lifetime` is SQLITE_STATIC or SQLITE_TRANSIENT: whether the bytes outlive the statement's run.
 */
static int bind_value(sqlite3_stmt *handle, int index, const struct sql_value *value,
                      sqlite3_destructor_type lifetime)
{
    switch (value->type) {
    case SQL_INTEGER:
        return sqlite3_bind_int64(handle, index, value->integer);
    case SQL_REAL:
        return sqlite3_bind_double(handle, index, value->real);
    case SQL_TEXT:
        return sqlite3_bind_text64(handle, index, value->size == 0 ? "" : value->bytes, value->size,
                                   lifetime, SQLITE_UTF8);
    case SQL_BLOB:
        if (value->size == 0)
            return sqlite3_bind_zeroblob(handle, index, 0);
        return sqlite3_bind_blob64(handle, index, value->bytes, value->size, lifetime);
    case SQL_NULL:
        break;
    }
    return sqlite3_bind_null(handle, index);
}

static int statement_bind(struct sqlite_connection *connection, struct sqlite_statement *statement,
                          const struct sql_value *params, int param_count,
                          sqlite3_destructor_type lifetime, struct error *err)
{
    const char *text = sqlite3_sql(statement->handle);
    const int count = sqlite3_bind_parameter_count(statement->handle);

    if (param_count != statement->parameter_count)
        return error_set(err, STATUS_INTERNAL, "'%.80s' takes %d parameters and got %d", text,
                         statement->parameter_count, param_count);
    for (int i = 0; i < count; i++) {
        const struct sql_value *value = &params[statement->parameter_of[i] - 1];
        const int code = bind_value(statement->handle, i + 1, value, lifetime);
        if (code != SQLITE_OK)
            return sqlite_failed(connection, code, text, err);
    }
    return STATUS_OK;
}

int sqlite_control(struct sqlite_connection *connection, const char *text, struct error *err)
{
    struct sqlite_statement *statement;
    int status = statement_find(connection, text, &statement, err);

    if (status != STATUS_OK)
        return status;
    int code;
    while ((code = sqlite3_step(statement->handle)) == SQLITE_ROW)
        ;
    if (code != SQLITE_DONE)
        status = sqlite_failed(connection, code, text, err);
    statement_reset(statement);
    return status;
}

/* --- transactions --- */

void sqlite_tx_init(struct sqlite_tx *tx, struct sqlite_connection *connection, bool writes)
{
    *tx = (struct sqlite_tx){
        .base.driver = &sqlite_driver, .connection = connection, .writes = writes};
    tx->hooks_end = &tx->hooks;
    arena_init(&tx->memory, 0);
}

void sqlite_tx_free(struct sqlite_tx *tx)
{
    arena_free(&tx->memory);
}

void *sqlite_alloc(struct sql_tx *base, size_t size)
{
    return arena_alloc(&((struct sqlite_tx *)base)->memory, size);
}

int sqlite_on_commit(struct sql_tx *base, void (*run)(void *context), void *context,
                     struct error *err)
{
    struct sqlite_tx *tx = (struct sqlite_tx *)base;

    assert(tx->writes);
    struct sqlite_hook *hook = arena_alloc(&tx->memory, sizeof *hook);
    if (hook == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a hook on commit");
    *hook = (struct sqlite_hook){.run = run, .context = context};
    *tx->hooks_end = hook;
    tx->hooks_end = &hook->next;
    return STATUS_OK;
}

/* After some failures (a full disk, no memory) SQLite rolls the whole transaction back by itself;
 * a statement run then would be a transaction of its own. */
static int require_transaction(const struct sqlite_tx *tx, struct error *err)
{
    if (!sqlite3_get_autocommit(tx->connection->handle))
        return STATUS_OK;
    if (err != NULL)
        *err = tx->connection->failure;
    return tx->connection->failure.code;
}

static int statement_open(struct sqlite_tx *tx, const char *text, const struct sql_value *params,
                          int param_count, sqlite3_destructor_type lifetime,
                          struct sqlite_statement **out, struct error *err)
{
    struct sqlite_statement *statement;
    int status = require_transaction(tx, err);

    if (status != STATUS_OK)
        return status;
    status = statement_find(tx->connection, text, &statement, err);
    if (status != STATUS_OK)
        return status;
    status = statement_bind(tx->connection, statement, params, param_count, lifetime, err);
    if (status != STATUS_OK) {
        statement_reset(statement);
        return status;
    }
    statement->tx = tx;
    *out = statement;
    return STATUS_OK;
}

int sqlite_exec(struct sql_tx *base, const char *text, const struct sql_value *params,
                int param_count, int64_t *changes, struct error *err)
{
    struct sqlite_tx *tx = (struct sqlite_tx *)base;
    struct sqlite_statement *statement;
    int status = statement_open(tx, text, params, param_count, SQLITE_STATIC, &statement, err);

    if (status != STATUS_OK)
        return status;
    int code;
    while ((code = sqlite3_step(statement->handle)) == SQLITE_ROW)
        ;
    if (code != SQLITE_DONE)
        status = sqlite_failed(tx->connection, code, text, err);
    else if (changes != NULL)
        *changes = sqlite3_changes64(tx->connection->handle);
    statement_reset(statement);
    return status;
}

int sqlite_script(struct sql_tx *base, const char *text, struct error *err)
{
    struct sqlite_tx *tx = (struct sqlite_tx *)base;
    int status = require_transaction(tx, err);

    if (status != STATUS_OK)
        return status;
    const int code = sqlite3_exec(tx->connection->handle, text, NULL, NULL, NULL);
    return code == SQLITE_OK ? STATUS_OK : sqlite_failed(tx->connection, code, text, err);
}

int sqlite_table_exists(struct sql_tx *tx, const char *table, bool *exists, struct error *err)
{
    struct sql_rows *rows;
    int status = sqlite_query(tx, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
                              SQL_PARAMS(sql_text(table)), &rows, err);

    if (status != STATUS_OK)
        return status;
    status = sqlite_rows_next(rows, err);
    sqlite_rows_free(rows);
    *exists = status == 1;
    return status < 0 ? status : STATUS_OK;
}

/* --- rows --- */

/* The caller's values need not outlive the call, so SQLite copies them. */
int sqlite_query(struct sql_tx *base, const char *text, const struct sql_value *params,
                 int param_count, struct sql_rows **out, struct error *err)
{
    struct sqlite_tx *tx = (struct sqlite_tx *)base;
    struct sqlite_statement *statement;
    const int status =
        statement_open(tx, text, params, param_count, SQLITE_TRANSIENT, &statement, err);

    if (status != STATUS_OK)
        return status;
    tx->rows_open++;
    *out = &statement->rows;
    return STATUS_OK;
}

static struct sqlite_statement *statement_of(const struct sql_rows *rows)
{
    return (struct sqlite_statement *)rows;
}

int sqlite_rows_next(struct sql_rows *rows, struct error *err)
{
    struct sqlite_statement *statement = statement_of(rows);
    struct sqlite_connection *connection = statement->tx->connection;

    /* SQLite looks at the deadline inside a long step; this is for many short ones. */
    if (deadline_passed(connection))
        return error_set(err, STATUS_TIMEOUT, "a read took longer than allowed");
    /* A step past the end would start over. */
    if (statement->at_end)
        return 0;
    const int code = sqlite3_step(statement->handle);
    if (code == SQLITE_ROW)
        return 1;
    statement->at_end = true;
    if (code == SQLITE_DONE)
        return 0;
    return sqlite_failed(connection, code, sqlite3_sql(statement->handle), err);
}

void sqlite_rows_free(struct sql_rows *rows)
{
    struct sqlite_statement *statement = statement_of(rows);

    statement->tx->rows_open--;
    statement_reset(statement);
}

int sqlite_rows_columns(const struct sql_rows *rows)
{
    return sqlite3_column_count(statement_of(rows)->handle);
}

const char *sqlite_rows_name(const struct sql_rows *rows, int column)
{
    const char *name = sqlite3_column_name(statement_of(rows)->handle, column);
    return name == NULL ? "" : name;
}

enum sql_type sqlite_rows_type(const struct sql_rows *rows, int column)
{
    switch (sqlite3_column_type(statement_of(rows)->handle, column)) {
    case SQLITE_INTEGER:
        return SQL_INTEGER;
    case SQLITE_FLOAT:
        return SQL_REAL;
    case SQLITE_TEXT:
        return SQL_TEXT;
    case SQLITE_BLOB:
        return SQL_BLOB;
    default:
        return SQL_NULL;
    }
}

bool sqlite_rows_null(const struct sql_rows *rows, int column)
{
    return sqlite3_column_type(statement_of(rows)->handle, column) == SQLITE_NULL;
}

int64_t sqlite_rows_integer(const struct sql_rows *rows, int column)
{
    return sqlite3_column_int64(statement_of(rows)->handle, column);
}

double sqlite_rows_real(const struct sql_rows *rows, int column)
{
    return sqlite3_column_double(statement_of(rows)->handle, column);
}

const char *sqlite_rows_text(const struct sql_rows *rows, int column)
{
    const unsigned char *text = sqlite3_column_text(statement_of(rows)->handle, column);
    return text == NULL ? "" : (const char *)text;
}

const void *sqlite_rows_blob(const struct sql_rows *rows, int column, size_t *size)
{
    /* The order matters: the bytes are counted after the conversion that _blob may make. */
    const void *bytes = sqlite3_column_blob(statement_of(rows)->handle, column);
    *size = (size_t)sqlite3_column_bytes(statement_of(rows)->handle, column);
    return bytes == NULL ? "" : bytes;
}
