/* SQLite behind sql.h: opening and closing the database, and its readers. See sql_sqlite.h.
 *
 * A data folder belongs to one process at a time, by a lock on <data_dir>/ocelli.lock: versions of
 * SQLite before 3.51.3 can damage the log when a second connection writes or checkpoints. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/sql_sqlite.h"
#include "data/wait.h"

enum {
    READER_WAIT_MS = 10000, /* for a free reader */
    READ_MS_MAX = 60000,    /* a snapshot held longer would keep the log from being started over */
};

/* --- readers --- */

static int reader_take(struct sqlite_database *database, struct sqlite_connection **out,
                       struct error *err)
{
    const int64_t deadline = deadline_after_ms(READER_WAIT_MS);
    int status = STATUS_OK;
    bool in_time = true;

    pthread_mutex_lock(&database->readers_lock);
    while (database->readers == NULL && !database->readers_closing && in_time)
        in_time =
            condition_wait_until(&database->reader_returned, &database->readers_lock, deadline);
    if (database->readers_closing) {
        status = error_set(err, STATUS_CLOSED, "the database is being closed");
    } else if (database->readers == NULL) {
        metric_add(database->refused_readers, 1);
        status = error_set(err, STATUS_BUSY,
                           "all %d readers of the database have been busy for %d s; try again, or "
                           "raise sql_readers",
                           database->reader_count, READER_WAIT_MS / 1000);
    } else {
        *out = database->readers;
        database->readers = (*out)->next;
        database->readers_idle--;
    }
    pthread_mutex_unlock(&database->readers_lock);
    return status;
}

static void reader_return(struct sqlite_database *database, struct sqlite_connection *reader)
{
    pthread_mutex_lock(&database->readers_lock);
    reader->next = database->readers;
    database->readers = reader;
    database->readers_idle++;
    /* Closing waits for the last one, others for any one. */
    pthread_cond_broadcast(&database->reader_returned);
    pthread_mutex_unlock(&database->readers_lock);
}

static int sqlite_read(struct sql *sql, sql_work work, void *context, struct error *err)
{
    struct sqlite_database *database = (struct sqlite_database *)sql;
    struct sqlite_connection *reader = NULL;
    struct sqlite_tx tx;
    int status = reader_take(database, &reader, err);

    if (status != STATUS_OK)
        return status;
    status = sqlite_control(reader, "BEGIN", err);
    if (status == STATUS_OK) {
        reader->deadline_ns = deadline_after_ms(READ_MS_MAX);
        sqlite_tx_init(&tx, reader, false);
        status = work(&tx.base, context, err);
        assert(tx.rows_open == 0);
        sqlite_tx_free(&tx);
        reader->deadline_ns = 0;
        /* Nothing was written; this only lets go of the snapshot. It may be gone after a failure.
         */
        if (!sqlite3_get_autocommit(reader->handle))
            (void)sqlite_control(reader, "ROLLBACK", NULL);
    }
    reader_return(database, reader);
    return status;
}

static int open_readers(struct sqlite_database *database, int64_t count, struct error *err)
{
    for (int64_t i = 0; i < count; i++) {
        struct sqlite_connection *reader;
        int status = sqlite_connect(database->path, true, &reader, err);
        if (status != STATUS_OK)
            return status;
        status = sqlite_control(reader, "PRAGMA query_only = ON", err);
        if (status != STATUS_OK) {
            sqlite_disconnect(reader);
            return status;
        }
        reader->next = database->readers;
        database->readers = reader;
        database->reader_count++;
        database->readers_idle++;
    }
    return STATUS_OK;
}

static void close_readers(struct sqlite_database *database)
{
    pthread_mutex_lock(&database->readers_lock);
    database->readers_closing = true;
    pthread_cond_broadcast(&database->reader_returned);
    while (database->readers_idle < database->reader_count)
        pthread_cond_wait(&database->reader_returned, &database->readers_lock);
    pthread_mutex_unlock(&database->readers_lock);
    for (struct sqlite_connection *reader = database->readers, *next; reader != NULL;
         reader = next) {
        next = reader->next;
        sqlite_disconnect(reader);
    }
}

/* --- opening --- */

static int lock_folder(struct sqlite_database *database, const char *folder, struct error *err)
{
    char path[PATH_MAX];

    const int length = snprintf(path, sizeof path, "%s/ocelli.lock", folder);
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set(err, STATUS_INVALID, "the path of the data folder is too long");
    database->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (database->lock_fd < 0)
        return error_set_errno(err, errno, "cannot open '%s'", path);
    if (flock(database->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return error_set(err, STATUS_BUSY,
                             "the data folder '%s' is in use by another ocelli; stop it, or choose "
                             "another folder with --data-dir",
                             folder);
        return error_set_errno(err, errno, "cannot lock '%s'", path);
    }
    return STATUS_OK;
}

static int open_writer(struct sqlite_database *database, struct error *err)
{
    static const char *const settings[] = {
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL", /* the log is synced at every commit */
        "PRAGMA wal_autocheckpoint = 0",
        "PRAGMA journal_size_limit = 67108864", /* the log's file shrinks to this when started over
                                                 */
        "PRAGMA cache_size = -16384",           /* KiB */
    };
    int status = sqlite_connect(database->path, false, &database->writer, err);

    for (size_t i = 0; status == STATUS_OK && i < sizeof settings / sizeof settings[0]; i++)
        status = sqlite_control(database->writer, settings[i], err);
    return status;
}

static void look_up_metrics(struct sqlite_database *database, struct metrics *metrics)
{
    const char *refused_help = "Calls to the database refused, by reason";
    database->commits = metrics_get(metrics, METRIC_COUNTER, "ocelli_sql_commits_total",
                                    "Transactions made durable", "");
    database->commit_seconds =
        metrics_get(metrics, METRIC_HISTOGRAM, "ocelli_sql_commit_duration_seconds",
                    "Time of a transaction from its beginning to durable", "");
    database->works =
        metrics_get(metrics, METRIC_COUNTER, "ocelli_sql_writes_total",
                    "Writes answered, several in a transaction", "outcome=\"durable\"");
    database->works_failed =
        metrics_get(metrics, METRIC_COUNTER, "ocelli_sql_writes_total",
                    "Writes answered, several in a transaction", "outcome=\"failed\"");
    database->wal_bytes = metrics_get(metrics, METRIC_GAUGE, "ocelli_sql_log_bytes",
                                      "Bytes in the write-ahead log", "");
    database->checkpoints = metrics_get(metrics, METRIC_COUNTER, "ocelli_sql_checkpoints_total",
                                        "Times the log was copied into the database file", "");
    database->refused_queue = metrics_get(metrics, METRIC_COUNTER, "ocelli_sql_refused_total",
                                          refused_help, "reason=\"writers_waiting\"");
    database->refused_readers = metrics_get(metrics, METRIC_COUNTER, "ocelli_sql_refused_total",
                                            refused_help, "reason=\"readers_busy\"");
}

static struct sqlite_database *database_new(const struct config *config,
                                            const struct sql_events *events)
{
    struct sqlite_database *database = calloc(1, sizeof *database);

    if (database == NULL)
        return NULL;
    database->base.driver = &sqlite_driver;
    database->lock_fd = -1;
    database->free_bytes_min = config->disk_free_bytes_min;
    if (events != NULL)
        database->events = *events;
    snprintf(database->engine, sizeof database->engine, "sqlite %s", sqlite3_libversion());
    pthread_mutex_init(&database->queue_lock, NULL);
    condition_init(&database->queue_grown);
    database->queue_end = &database->queue;
    pthread_mutex_init(&database->readers_lock, NULL);
    condition_init(&database->reader_returned);
    return database;
}

static void sqlite_close_database(struct sql *sql)
{
    struct sqlite_database *database = (struct sqlite_database *)sql;

    close_readers(database);
    writer_stop(database);
    sqlite_disconnect(database->writer);
    if (database->lock_fd >= 0)
        close(database->lock_fd); /* and with it the lock */
    pthread_cond_destroy(&database->queue_grown);
    pthread_mutex_destroy(&database->queue_lock);
    pthread_cond_destroy(&database->reader_returned);
    pthread_mutex_destroy(&database->readers_lock);
    free(database->path);
    free(database);
}

static void stop_counting_memory(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* Memory is not counted, which would take a lock for every piece. Refused, and harmless, when
 * somebody has used SQLite before. */
static void configure_sqlite(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, stop_counting_memory);
}

int sql_open_sqlite(const struct config *config, struct metrics *metrics,
                    const struct sql_events *events, struct sql **out, struct error *err)
{
    struct sqlite_database *database = database_new(config, events);
    int status;

    if (database == NULL || asprintf(&database->path, "%s/ocelli.db", config->data_dir) < 0) {
        free(database);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the database");
    }
    configure_sqlite();
    look_up_metrics(database, metrics);
    status = folder_make(config->data_dir, true, err);
    if (status == STATUS_OK)
        status = lock_folder(database, config->data_dir, err);
    if (status == STATUS_OK)
        status = open_writer(database, err);
    /* The file's own entry in the folder has to last as well. */
    if (status == STATUS_OK)
        status = folder_sync(config->data_dir, err);
    if (status == STATUS_OK)
        status = open_readers(database, config->sql_readers, err);
    if (status == STATUS_OK)
        status = writer_start(database, err);
    if (status != STATUS_OK) {
        sqlite_close_database(&database->base);
        return status;
    }
    *out = &database->base;
    return STATUS_OK;
}

/* --- state --- */

static bool disk_is_full(const struct sqlite_database *database)
{
    struct statvfs disk;

    if (statvfs(database->path, &disk) != 0)
        return false;
    const uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    return free_bytes == 0 || free_bytes < (uint64_t)database->free_bytes_min;
}

/* After a full disk, writes are taken again as soon as there is room: what was refused then says
 * nothing about now. */
static int sqlite_health(struct sql *sql, struct error *err)
{
    struct sqlite_database *database = (struct sqlite_database *)sql;
    int status = STATUS_OK;

    pthread_mutex_lock(&database->queue_lock);
    if (database->refusing)
        status = error_set(err, STATUS_CLOSED, "the database takes no more writes: %s",
                           database->fatal.message);
    pthread_mutex_unlock(&database->queue_lock);
    if (status == STATUS_OK && atomic_load(&database->full) && disk_is_full(database))
        status = error_set(err, STATUS_NO_SPACE,
                           "the disk of '%s' is full; free some space and writing goes on",
                           database->path);
    return status;
}

static const char *sqlite_engine(const struct sql *sql)
{
    return ((const struct sqlite_database *)sql)->engine;
}

const struct sql_driver sqlite_driver = {
    .dialect = SQL_DIALECT_SQLITE,
    .close = sqlite_close_database,
    .write = writer_write,
    .read = sqlite_read,
    .health = sqlite_health,
    .engine = sqlite_engine,
    .on_commit = sqlite_on_commit,
    .alloc = sqlite_alloc,
    .exec = sqlite_exec,
    .query = sqlite_query,
    .script = sqlite_script,
    .table_exists = sqlite_table_exists,
    .rows_next = sqlite_rows_next,
    .rows_free = sqlite_rows_free,
    .rows_columns = sqlite_rows_columns,
    .rows_name = sqlite_rows_name,
    .rows_type = sqlite_rows_type,
    .rows_null = sqlite_rows_null,
    .rows_integer = sqlite_rows_integer,
    .rows_real = sqlite_rows_real,
    .rows_text = sqlite_rows_text,
    .rows_blob = sqlite_rows_blob,
};
