/* SQLite behind sql.h: the thread that owns all writes. See sql_sqlite.h.
 *
 * Callers of sql_write put a request into a bounded queue and sleep. The writer opens a
 * transaction, runs the first request's work and then everything that has arrived meanwhile, and
 * commits once: one sync of the log makes them all durable (group commit, as in Gray and Reuter,
 * "Transaction Processing", 1993, section 9.4). A savepoint around each work lets one fail alone.
 *
 * Nobody else writes or checkpoints. The log (WAL) is copied into the database file when it has
 * grown by a few megabytes or when nothing has been written for a moment. Readers may keep it from
 * being started over; past a bound the writer waits for them.
 *
 * A sync that failed leaves unknown what is on disk, and a second attempt may succeed without
 * having written anything (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX
 * ATC 2020). So the writer then refuses everything, and the process must go down: recovery from the
 * log is what knows. A full disk is different: the transaction is rolled back and later ones may
 * succeed. */
#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

#include "base/clock.h"
#include "data/sql_sqlite.h"
#include "data/wait.h"

enum {
    WRITERS_WAITING_MAX = 4096,  /* sql_write answers STATUS_BUSY past this */
    WORKS_A_COMMIT_MAX = 512,    /* so that the first of them does not wait for ever */
    WAL_PAGES_CHECKPOINT = 2000, /* 8 MB */
    WAL_PAGES_MAX = 16000,       /* 64 MB: from here a checkpoint waits for readers to finish */
    CHECKPOINT_WAIT_MS = 1000,   /* at most this long */
    CHECKPOINT_IDLE_MS = 500,    /* without a write, before the log is copied */
};

/* Lives on the stack of the thread that waits for it. */
struct write_request {
    struct write_request *next;
    sql_work work;
    void *context;
    struct sqlite_tx tx;
    int status;
    struct error error;
    sem_t answered;
};

/* --- the callers' side --- */

static int enqueue(struct sqlite_database *database, struct write_request *request,
                   struct error *err)
{
    int status = STATUS_OK;

    pthread_mutex_lock(&database->queue_lock);
    if (database->refusing) {
        status = error_set(err, STATUS_CLOSED, "the database takes no more writes: %s",
                           database->fatal.message);
    } else if (database->closing) {
        status = error_set(err, STATUS_CLOSED, "the database is being closed");
    } else if (database->queue_size >= WRITERS_WAITING_MAX) {
        metric_add(database->refused_queue, 1);
        status = error_set(err, STATUS_BUSY, "%d writes are waiting for the database; try again",
                           database->queue_size);
    } else {
        *database->queue_end = request;
        database->queue_end = &request->next;
        database->queue_size++;
        pthread_cond_signal(&database->queue_grown);
    }
    pthread_mutex_unlock(&database->queue_lock);
    return status;
}

int writer_write(struct sql *sql, sql_work work, void *context, struct error *err)
{
    struct sqlite_database *database = (struct sqlite_database *)sql;
    struct write_request request = {.work = work, .context = context};

    /* A work that waited for another would wait for itself. */
    assert(!pthread_equal(pthread_self(), database->writer_thread));
    sem_init(&request.answered, 0, 0);
    int status = enqueue(database, &request, err);
    if (status == STATUS_OK) {
        while (sem_wait(&request.answered) != 0)
            assert(errno == EINTR);
        status = request.status;
        if (status != STATUS_OK && err != NULL)
            *err = request.error;
    }
    sem_destroy(&request.answered);
    return status;
}

/* --- checkpoints --- */

static int wal_grew(void *context, sqlite3 *handle, const char *schema, int pages)
{
    struct sqlite_database *database = context;

    (void)handle;
    (void)schema;
    database->wal_pages = pages;
    database->wal_dirty = true;
    return SQLITE_OK;
}

/* Copies what readers allow. A full disk leaves the rest in the log for later. */
static void checkpoint(struct sqlite_database *database)
{
    sqlite3 *handle = database->writer->handle;
    const bool insist = database->wal_pages >= WAL_PAGES_MAX;
    int pages = 0, copied = 0;

    if (insist)
        sqlite3_busy_timeout(handle, CHECKPOINT_WAIT_MS);
    const int code = sqlite3_wal_checkpoint_v2(
        handle, NULL, insist ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE, &pages,
        &copied);
    if (insist)
        sqlite3_busy_timeout(handle, SQLITE_BUSY_WAIT_MS);
    metric_add(database->checkpoints, 1);
    if (code != SQLITE_OK && code != SQLITE_BUSY)
        sqlite_failed(database->writer, code, "copying the log into the database file", NULL);
    /* What could not be copied is tried again when the log has grown by as much again. */
    const bool complete = code == SQLITE_OK && copied == pages;
    database->wal_dirty = false;
    if (complete)
        database->wal_pages = 0; /* the next commit starts it over */
    database->wal_pages_checkpoint = database->wal_pages + WAL_PAGES_CHECKPOINT;
}

/* --- one transaction --- */

/* The next request, or NULL: at once when not `waiting`; otherwise when closing and nothing is
 * left. Uses an idle moment for a checkpoint. */
static struct write_request *take(struct sqlite_database *database, bool waiting)
{
    struct write_request *request;

    pthread_mutex_lock(&database->queue_lock);
    while (waiting && database->queue == NULL && !database->closing) {
        const int64_t deadline =
            database->wal_dirty && !database->refusing ? deadline_after_ms(CHECKPOINT_IDLE_MS) : -1;
        if (!condition_wait_until(&database->queue_grown, &database->queue_lock, deadline) &&
            database->queue == NULL)
            break;
    }
    request = database->queue;
    if (request != NULL) {
        database->queue = request->next;
        database->queue_size--;
        if (database->queue == NULL)
            database->queue_end = &database->queue;
        request->next = NULL;
    }
    pthread_mutex_unlock(&database->queue_lock);
    return request;
}

static void undo_work(struct sqlite_database *database)
{
    /* When these fail the transaction is gone as a whole, which the caller finds out. */
    (void)sqlite_control(database->writer, "ROLLBACK TO work", NULL);
    (void)sqlite_control(database->writer, "RELEASE work", NULL);
}

/* Runs one work inside the open transaction. Non-zero when the whole transaction is lost; a work's
 * own failure is only in its request. */
static int run_request(struct sqlite_database *database, struct write_request *request,
                       struct error *err)
{
    struct sqlite_connection *writer = database->writer;

    sqlite_tx_init(&request->tx, writer, true);
    const int status = sqlite_control(writer, "SAVEPOINT work", err);
    if (status != STATUS_OK)
        return status;
    request->error.code = STATUS_OK;
    request->status = request->work(&request->tx.base, request->context, &request->error);
    assert(request->tx.rows_open == 0);
    if (sqlite3_get_autocommit(writer->handle)) {
        /* SQLite gave up the transaction; a work that ignored it has not succeeded either. */
        *err = writer->failure;
        return writer->failure.code;
    }
    if (request->status != STATUS_OK) {
        request->tx.hooks = NULL;
        undo_work(database);
        return STATUS_OK;
    }
    return sqlite_control(writer, "RELEASE work", err);
}

/* Opens a transaction, runs `first` and what arrives meanwhile, and commits. The requests taken are
 * left in *batch, whatever the outcome. */
static int run_transaction(struct sqlite_database *database, struct write_request *first,
                           struct write_request **batch, struct error *err)
{
    struct write_request *request = first, **end = batch;
    int taken = 0;
    int status = sqlite_control(database->writer, "BEGIN IMMEDIATE", err);

    while (request != NULL) {
        *end = request;
        end = &request->next;
        taken++;
        if (status != STATUS_OK)
            break;
        status = run_request(database, request, err);
        request = status == STATUS_OK && taken < WORKS_A_COMMIT_MAX ? take(database, false) : NULL;
    }
    return status != STATUS_OK ? status : sqlite_control(database->writer, "COMMIT", err);
}

static void run_hooks(struct write_request *batch)
{
    for (struct write_request *request = batch; request != NULL; request = request->next)
        for (struct sqlite_hook *hook = request->tx.hooks; hook != NULL; hook = hook->next)
            hook->run(hook->context);
}

static void answer(struct sqlite_database *database, struct write_request *batch)
{
    bool full = false;

    for (const struct write_request *request = batch; request != NULL; request = request->next)
        full = full || request->status == STATUS_NO_SPACE;
    atomic_store(&database->full, full);
    for (struct write_request *request = batch, *next; request != NULL; request = next) {
        next = request->next; /* once answered, the request is gone */
        metric_add(request->status == STATUS_OK ? database->works : database->works_failed, 1);
        sqlite_tx_free(&request->tx);
        sem_post(&request->answered);
    }
}

static void fail_batch(struct write_request *batch, int status, const struct error *why)
{
    for (struct write_request *request = batch; request != NULL; request = request->next) {
        if (request->status != STATUS_OK)
            continue; /* it failed by itself, for its own reason */
        request->status = status;
        request->error = *why;
    }
}

/* After a failed sync: nobody may believe what has been written since. */
static void refuse_from_now(struct sqlite_database *database, const struct error *why)
{
    pthread_mutex_lock(&database->queue_lock);
    database->refusing = true;
    database->fatal = *why;
    pthread_mutex_unlock(&database->queue_lock);
    if (database->events.on_fatal != NULL)
        database->events.on_fatal(database->events.context, why);
}

static void run_batch(struct sqlite_database *database, struct write_request *first)
{
    struct write_request *batch = NULL;
    struct error error = {0};
    const int64_t begin = clock_monotonic_ns();

    const int status = run_transaction(database, first, &batch, &error);
    if (status == STATUS_OK) {
        run_hooks(batch);
    } else {
        if (!sqlite3_get_autocommit(database->writer->handle))
            (void)sqlite_control(database->writer, "ROLLBACK", NULL);
        fail_batch(batch, status, &error);
    }
    metric_add(database->commits, status == STATUS_OK);
    metric_observe(database->commit_seconds, (double)(clock_monotonic_ns() - begin) * 1e-9);
    metric_set(database->wal_bytes, database->wal_pages * 4096.0);
    answer(database, batch);
}

static void refuse_batch(struct sqlite_database *database, struct write_request *request)
{
    request->next = NULL;
    sqlite_tx_init(&request->tx, database->writer, true);
    request->status = error_set(&request->error, STATUS_CLOSED,
                                "the database takes no more writes: %s", database->fatal.message);
    answer(database, request);
}

static bool finished(struct sqlite_database *database)
{
    pthread_mutex_lock(&database->queue_lock);
    const bool is = database->closing && database->queue == NULL;
    pthread_mutex_unlock(&database->queue_lock);
    return is;
}

static void *writer_main(void *argument)
{
    struct sqlite_database *database = argument;

    while (!finished(database)) {
        struct write_request *request = take(database, true);
        if (request != NULL && database->refusing)
            refuse_batch(database, request);
        else if (request != NULL)
            run_batch(database, request);
        if (database->refusing)
            continue;
        if (request == NULL || database->wal_pages >= database->wal_pages_checkpoint)
            checkpoint(database);
        if (database->writer->sync_failed)
            refuse_from_now(database, &database->writer->failure);
    }
    return NULL;
}

/* --- starting and stopping --- */

int writer_start(struct sqlite_database *database, struct error *err)
{
    sqlite3_wal_hook(database->writer->handle, wal_grew, database);
    database->wal_pages_checkpoint = WAL_PAGES_CHECKPOINT;
    const int failed = pthread_create(&database->writer_thread, NULL, writer_main, database);
    if (failed)
        return error_set_errno(err, failed, "cannot start the database's writer");
    database->writer_started = true;
    return STATUS_OK;
}

void writer_stop(struct sqlite_database *database)
{
    if (!database->writer_started)
        return;
    pthread_mutex_lock(&database->queue_lock);
    database->closing = true;
    pthread_cond_broadcast(&database->queue_grown);
    pthread_mutex_unlock(&database->queue_lock);
    pthread_join(database->writer_thread, NULL);
    /* Being the last connection, it copies the log and removes it when it is closed. */
    if (!database->refusing)
        (void)sqlite3_db_config(database->writer->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0,
                                NULL);
}
