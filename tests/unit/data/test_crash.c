/* kill -9 in the middle of work, twenty times over the same folder: what was answered with success
 * is there, whole, and nothing is there in part.
 *
 * A child stores images as ingest does (object, then row and message in one transaction), reads
 * them back from the topic and marks each done in the transaction that commits its offset. It tells
 * the parent through a pipe what it has been promised. The parent kills it at a moment of chance,
 * opens the folder itself and checks. */
#include "data_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rng.h"
#include "data/bus.h"
#include "data/objects.h"
#include "data/schema.h"

enum { ROUNDS = 20, STORERS = 4, STORED_MAX = 20000, CONTENT_SIZE = 3000 };

static struct fixture fixture;

struct store {
    struct sql *sql;
    struct bus *bus;
    struct objects *objects;
};

static int store_open(struct store *store, struct error *err)
{
    int status = objects_open_folder(fixture.config, fixture.metrics, &store->objects, err);
    if (status == STATUS_OK)
        status = sql_open_sqlite(fixture.config, fixture.metrics, NULL, &store->sql, err);
    if (status == STATUS_OK)
        status = schema_migrate(store->sql, err);
    if (status == STATUS_OK)
        status = bus_open_sql(fixture.config, store->sql, fixture.metrics, &store->bus, err);
    return status;
}

static void store_close(struct store *store)
{
    bus_close(store->bus);
    sql_close(store->sql);
    objects_close(store->objects);
}

/* --- the child --- */

struct child {
    struct store store;
    int round, pipe;
};

struct image {
    struct child *child;
    char id[32], key[64];
};

static void image_content(const char *id, char content[CONTENT_SIZE])
{
    for (size_t i = 0; i < CONTENT_SIZE; i++)
        content[i] = id[i % strlen(id)];
}

static int announce(struct sql_tx *tx, void *context, struct error *err)
{
    const struct image *image = context;
    const int status = sql_exec(
        tx,
        "INSERT INTO images (image_id, minio_path, upload_timestamp, file_size_bytes, width, "
        "height, format, source) VALUES ($1, $2, 'now', $3, 1, 1, 'PNG', 'test')",
        SQL_PARAMS(sql_text(image->id), sql_text(image->key), sql_integer(CONTENT_SIZE)), NULL,
        err);
    return status != STATUS_OK ? status
                               : bus_publish_in(image->child->store.bus, tx, "images", image->id,
                                                image->key, NULL, err);
}

static void storing_thread(int number, void *context)
{
    struct image image = {.child = context};
    struct child *child = context;
    char content[CONTENT_SIZE];

    for (int i = 0;; i++) {
        struct error err = {0};
        snprintf(image.id, sizeof image.id, "%d-%d-%d", child->round, number, i);
        snprintf(image.key, sizeof image.key, "raw-images/round-%d/%s", child->round, image.id);
        image_content(image.id, content);
        if (objects_put(child->store.objects, image.key, content, sizeof content, &err) != 0 ||
            sql_write(child->store.sql, announce, &image, &err) != STATUS_OK)
            _exit(2);
        /* One line in one write, shorter than PIPE_BUF: it arrives whole. */
        char line[40];
        const int length = snprintf(line, sizeof line, "%s\n", image.id);
        if (write(child->pipe, line, (size_t)length) != length)
            _exit(3);
    }
}

struct work {
    struct bus_consumer *consumer;
    const struct bus_batch *batch;
};

static int mark_done(struct sql_tx *tx, void *context, struct error *err)
{
    const struct work *work = context;
    int64_t next = 0;

    for (int i = 0; i < work->batch->count; i++) {
        const struct bus_message *message = &work->batch->messages[i];
        const int status = sql_exec(
            tx,
            "INSERT INTO predictions (image_id, model_name, model_version, prediction_class, "
            "confidence, inference_time_ms, created_at) VALUES ($1, 'm', '1', 'cat', 1, 1, 'now') "
            "ON CONFLICT (image_id, model_name, model_version) DO NOTHING",
            SQL_PARAMS(sql_text(message->key)), NULL, err);
        if (status != STATUS_OK)
            return status;
        next = message->offset + 1;
    }
    return bus_commit_in(work->consumer, tx, next, err);
}

static void working_thread(struct child *child)
{
    struct error err = {0};
    struct bus_batch batch;
    struct work work = {.batch = &batch};

    if (bus_subscribe(child->store.bus, "g", "images", BUS_FROM_OLDEST, &work.consumer, &err) != 0)
        _exit(4);
    for (;;) {
        if (bus_poll(work.consumer, 50, 1000, &batch, &err) != STATUS_OK)
            _exit(5);
        if (batch.count > 0 && sql_write(child->store.sql, mark_done, &work, &err) != STATUS_OK)
            _exit(6);
        bus_batch_free(&batch);
    }
}

static void child_thread(int number, void *context)
{
    if (number < STORERS)
        storing_thread(number, context);
    else
        working_thread(context);
}

static void child_run(int round, int pipe)
{
    struct child child = {.round = round, .pipe = pipe};
    struct error err = {0};
    if (store_open(&child.store, &err) != STATUS_OK)
        _exit(1);
    run_threads(STORERS + 1, child_thread, &child);
}

/* --- the parent --- */

static char promised[STORED_MAX][32];
static int promised_count;

/* Reads promises for `ms`, kills the child, and reads what is left. */
static void let_live(pid_t child, int pipe, int64_t ms)
{
    FILE *lines = fdopen(pipe, "r");
    char line[64];
    int outcome;

    assert_non_null(lines);
    /* The time counts from the first promise, so that slow machines are killed at work too. */
    for (int64_t deadline = 0; fgets(line, sizeof line, lines) != NULL;) {
        line[strcspn(line, "\n")] = '\0';
        assert_true(promised_count < STORED_MAX);
        snprintf(promised[promised_count++], sizeof promised[0], "%.31s", line);
        if (deadline == 0)
            deadline = clock_monotonic_ns() + ms * 1000000;
        if (clock_monotonic_ns() > deadline)
            kill(child, SIGKILL);
    }
    fclose(lines);
    assert_int_equal(waitpid(child, &outcome, 0), child);
    assert_true(WIFSIGNALED(outcome) && WTERMSIG(outcome) == SIGKILL);
}

struct query {
    const char *text, *parameter;
    int64_t value;
};

static int query_work(struct sql_tx *tx, void *context, struct error *err)
{
    struct query *query = context;
    struct sql_rows *rows;
    const struct sql_value parameter = sql_text(query->parameter);
    int status = sql_query(tx, query->text, &parameter, query->parameter != NULL, &rows, err);
    if (status != STATUS_OK)
        return status;
    status = sql_rows_next(rows, err);
    query->value = status == 1 ? sql_rows_integer(rows, 0) : -1;
    sql_rows_free(rows);
    return status < 0 ? status : STATUS_OK;
}

static int64_t ask(struct store *store, const char *text, const char *parameter)
{
    struct error err = {0};
    struct query query = {.text = text, .parameter = parameter};
    assert_ok(sql_read(store->sql, query_work, &query, &err), &err);
    return query.value;
}

static int check_object(const char *key, uint64_t size, int64_t modified_us, void *context)
{
    (void)modified_us;
    assert_int_equal(size, CONTENT_SIZE); /* promised or not, no object is there in part */
    *(int *)context += key[0] != '\0';
    return 0;
}

static void check_promises(struct store *store)
{
    char key[64], content[CONTENT_SIZE];
    for (int i = 0; i < promised_count; i++) {
        struct error err = {0};
        uint8_t *bytes = NULL;
        size_t size = 0;
        snprintf(key, sizeof key, "raw-images/round-%d/%.31s", (int)strtol(promised[i], NULL, 10),
                 promised[i]);
        assert_ok(objects_get(store->objects, key, CONTENT_SIZE, &bytes, &size, &err), &err);
        image_content(promised[i], content);
        assert_int_equal(size, CONTENT_SIZE);
        assert_memory_equal(bytes, content, CONTENT_SIZE);
        free(bytes);
        assert_int_equal(ask(store, "SELECT COUNT(*) FROM images WHERE image_id = $1", promised[i]),
                         1);
    }
}

static void check(struct store *store)
{
    struct error err = {0};
    int objects = 0;

    check_promises(store);
    /* Row and message stand or fall together, and offsets have no holes. */
    const int64_t rows = ask(store, "SELECT COUNT(*) FROM images", NULL);
    assert_true(rows >= promised_count);
    assert_int_equal(ask(store, "SELECT COUNT(*) FROM bus_messages", NULL), rows);
    assert_int_equal(ask(store, "SELECT messages FROM bus_topics", NULL), rows);
    assert_int_equal(ask(store, "SELECT next_offset FROM bus_topics", NULL), rows);
    assert_int_equal(ask(store, "SELECT MAX(message_offset) + 1 FROM bus_messages", NULL), rows);
    assert_int_equal(ask(store,
                         "SELECT COUNT(*) FROM bus_messages m JOIN images i ON i.image_id = m.key "
                         "AND i.minio_path = m.value",
                         NULL),
                     rows);
    /* What the group has committed is exactly what is marked done. */
    const int64_t committed =
        ask(store, "SELECT COALESCE(MAX(next_offset), 0) FROM bus_offsets", NULL);
    assert_int_equal(ask(store, "SELECT COUNT(*) FROM predictions", NULL), committed);
    assert_ok(objects_visit(store->objects, "", check_object, &objects, &err), &err);
    assert_true(objects >= rows);
    assert_int_equal(ask(store,
                         "SELECT COUNT(*) FROM pragma_integrity_check WHERE "
                         "integrity_check <> 'ok'",
                         NULL),
                     0);
}

static void test_kill_at_any_moment(void **state)
{
    struct rng rng;
    (void)state;
    rng_seed(&rng, 20240115);
    for (int round = 0; round < ROUNDS; round++) {
        struct store store;
        struct error err = {0};
        int ends[2];

        assert_int_equal(pipe(ends), 0);
        fflush(NULL);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            child_run(round, ends[1]);
            _exit(0);
        }
        close(ends[1]);
        let_live(child, ends[0], (int64_t)(rng_next(&rng) % 120));
        assert_ok(store_open(&store, &err), &err);
        check(&store);
        store_close(&store);
    }
    assert_true(promised_count >= ROUNDS);
    print_message("# %d promises kept over %d kills\n", promised_count, ROUNDS);
}

static int setup(void **state)
{
    (void)state;
    fixture_make(&fixture);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_drop(&fixture);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill_at_any_moment, setup, teardown),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
