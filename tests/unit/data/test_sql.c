/* The database: values, statements, transactions that share a commit, snapshots, and its files. */
#include "data_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/sql_sqlite.h"

static struct fixture fixture;
static struct sql *database;

static void open_database(void)
{
    struct error err = {0};
    assert_ok(sql_open_sqlite(fixture.config, fixture.metrics, NULL, &database, &err), &err);
}

static int run_script(struct sql_tx *tx, void *context, struct error *err)
{
    return sql_exec(tx, context, SQL_NO_PARAMS, NULL, err);
}

static void write_text(const char *text)
{
    struct error err = {0};
    assert_ok(sql_write(database, run_script, (void *)text, &err), &err);
}

static int read_number(struct sql_tx *tx, const char *text, int64_t *out, struct error *err)
{
    struct sql_rows *rows;
    int status = sql_query(tx, text, SQL_NO_PARAMS, &rows, err);
    if (status != STATUS_OK)
        return status;
    status = sql_rows_next(rows, err);
    if (status == 1)
        *out = sql_rows_integer(rows, 0);
    sql_rows_free(rows);
    return status == 1 ? STATUS_OK : error_set(err, STATUS_NOT_FOUND, "no row");
}

struct number {
    const char *text;
    int64_t value;
};

static int number_work(struct sql_tx *tx, void *context, struct error *err)
{
    struct number *number = context;
    return read_number(tx, number->text, &number->value, err);
}

static int64_t number_of(const char *text)
{
    struct error err = {0};
    struct number number = {.text = text};
    assert_ok(sql_read(database, number_work, &number, &err), &err);
    return number.value;
}

static int setup(void **state)
{
    (void)state;
    fixture_make(&fixture);
    open_database();
    write_text("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, "
               "size INTEGER CHECK (size >= 0), extra BLOB)");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sql_close(database);
    fixture_drop(&fixture);
    return 0;
}

/* --- values and statements --- */

static int values_work(struct sql_tx *tx, void *context, struct error *err)
{
    struct sql_rows *rows;
    size_t size;
    char time[32];

    (void)context;
    /* Numbered parameters in any order, one of them twice. */
    int status =
        sql_query(tx, "SELECT $2 AS second, $1, $3, $4, $5, $6, $1, $7",
                  SQL_PARAMS(sql_integer(INT64_MIN), sql_text("two"), sql_real(0.25), sql_null(),
                             sql_blob("a\0b", 3), sql_text(NULL), sql_timestamp(1500000, time)),
                  &rows, err);
    if (status != STATUS_OK)
        return status;
    status = sql_rows_next(rows, err);
    assert_int_equal(status, 1);
    assert_int_equal(sql_rows_columns(rows), 8);
    assert_string_equal(sql_rows_name(rows, 0), "second");
    assert_string_equal(sql_rows_text(rows, 0), "two");
    assert_int_equal(sql_rows_type(rows, 0), SQL_TEXT);
    assert_true(sql_rows_integer(rows, 1) == INT64_MIN);
    assert_int_equal(sql_rows_type(rows, 1), SQL_INTEGER);
    assert_true(sql_rows_real(rows, 2) == 0.25);
    assert_int_equal(sql_rows_type(rows, 2), SQL_REAL);
    assert_true(sql_rows_null(rows, 3));
    assert_string_equal(sql_rows_text(rows, 3), "");
    assert_memory_equal(sql_rows_blob(rows, 4, &size), "a\0b", 3);
    assert_int_equal(size, 3);
    assert_int_equal(sql_rows_type(rows, 4), SQL_BLOB);
    assert_int_equal(sql_rows_type(rows, 5), SQL_NULL);
    assert_true(sql_rows_integer(rows, 6) == INT64_MIN);
    assert_string_equal(sql_rows_text(rows, 7), "1970-01-01T00:00:01.500000Z");
    assert_int_equal(sql_rows_next(rows, err), 0);
    assert_int_equal(sql_rows_next(rows, err), 0); /* and does not start over */
    sql_rows_free(rows);
    return STATUS_OK;
}

static void test_values(void **state)
{
    struct error err = {0};
    (void)state;
    assert_ok(sql_read(database, values_work, NULL, &err), &err);
    assert_ok(sql_write(database, values_work, NULL, &err), &err);
}

struct attempt {
    const char *text;
    int param_count;
    int status;
};

static int attempt_work(struct sql_tx *tx, void *context, struct error *err)
{
    const struct attempt *attempt = context;
    const struct sql_value params[] = {sql_integer(1), sql_integer(2)};
    return sql_exec(tx, attempt->text, params, attempt->param_count, NULL, err);
}

static void test_mistakes_have_sentences(void **state)
{
    static const struct attempt attempts[] = {
        {"SELECT $1, $2", 1, STATUS_INTERNAL},
        {"SELECT $1", 2, STATUS_INTERNAL},
        {"SELECT ?", 1, STATUS_INTERNAL},
        {"SELECT :name", 1, STATUS_INTERNAL},
        {"SELECT $1000", 1, STATUS_INTERNAL},
        {"SELECT 1; SELECT 2", 0, STATUS_INTERNAL},
        {"", 0, STATUS_INTERNAL},
        {"SELEKT", 0, STATUS_INTERNAL},
        {"SELECT * FROM nothing", 0, STATUS_INTERNAL},
        {"INSERT INTO things (id, name) VALUES ($1, 'x'), ($1, 'y')", 1, STATUS_EXISTS},
        {"INSERT INTO things (id, name) VALUES ($1, 'x'), ($2, 'x')", 2, STATUS_EXISTS},
        {"INSERT INTO things (size) VALUES (-$1)", 1, STATUS_INVALID},
        {"SELECT 1 ;  \n", 0, STATUS_OK},
    };
    (void)state;
    for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
        struct error err = {0};
        const int status = sql_write(database, attempt_work, (void *)&attempts[i], &err);
        if (status != attempts[i].status)
            fail_msg("'%s' gave %s (%s)", attempts[i].text, status_name(status), err.message);
        assert_int_equal(err.code, status);
        assert_int_equal(status != STATUS_OK, err.message[0] != '\0');
    }
    assert_int_equal(number_of("SELECT COUNT(*) FROM things"), 0);
}

static int busy_statement_work(struct sql_tx *tx, void *context, struct error *err)
{
    struct sql_rows *rows, *again;
    (void)context;
    assert_int_equal(sql_query(tx, "SELECT 1", SQL_NO_PARAMS, &rows, err), STATUS_OK);
    const int status = sql_query(tx, "SELECT 1", SQL_NO_PARAMS, &again, err);
    sql_rows_free(rows);
    return status;
}

static void test_a_statement_in_use_is_not_run_again(void **state)
{
    struct error err = {0};
    (void)state;
    assert_int_equal(sql_read(database, busy_statement_work, NULL, &err), STATUS_INTERNAL);
}

static int many_statements_work(struct sql_tx *tx, void *context, struct error *err)
{
    char text[64];
    int64_t value;
    (void)context;
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "SELECT %d", i % 300);
        const int status = read_number(tx, text, &value, err);
        if (status != STATUS_OK)
            return status;
        assert_int_equal(value, i % 300);
    }
    return STATUS_OK;
}

static void test_more_statements_than_are_kept(void **state)
{
    struct error err = {0};
    (void)state;
    assert_ok(sql_read(database, many_statements_work, NULL, &err), &err);
    assert_ok(sql_write(database, many_statements_work, NULL, &err), &err);
}

static void test_readers_cannot_write(void **state)
{
    struct error err = {0};
    (void)state;
    assert_int_equal(
        sql_read(database, run_script, (void *)"INSERT INTO things (name) VALUES ('x')", &err),
        STATUS_DENIED);
    assert_int_equal(number_of("SELECT COUNT(*) FROM things"), 0);
}

static void test_null_error_is_fine(void **state)
{
    (void)state;
    assert_int_equal(sql_write(database, run_script, (void *)"SELEKT", NULL), STATUS_INTERNAL);
}

/* --- transactions --- */

enum { WRITERS = 16, WRITES = 60 };

struct mixed {
    atomic_int kept, refused, wrong;
};

struct mixed_write {
    int writer, number;
};

/* Two rows; every third work then fails in one way or another. */
static int mixed_work(struct sql_tx *tx, void *context, struct error *err)
{
    const struct mixed_write *write = context;
    const char *text = "INSERT INTO things (id, name, size) VALUES ($1, $2, $3)";
    char name[32];

    for (int half = 0; half < 2; half++) {
        const int64_t id = (write->writer * WRITES + write->number) * 2 + half;
        snprintf(name, sizeof name, "%d", (int)id);
        const int status = sql_exec(
            tx, text, SQL_PARAMS(sql_integer(id), sql_text(name), sql_integer(1)), NULL, err);
        if (status != STATUS_OK)
            return status;
    }
    if (write->number % 6 == 2)
        return error_set(err, STATUS_INVALID, "this one gives up");
    if (write->number % 6 == 5)
        return sql_exec(tx, text, SQL_PARAMS(sql_integer(-1), sql_null(), sql_integer(-1)), NULL,
                        err);
    return STATUS_OK;
}

static void mixed_thread(int number, void *context)
{
    struct mixed *mixed = context;
    for (int i = 0; i < WRITES; i++) {
        struct error err = {0};
        struct mixed_write write = {number, i};
        const int status = sql_write(database, mixed_work, &write, &err);
        if (status == STATUS_OK)
            atomic_fetch_add(&mixed->kept, 1);
        else if (status == STATUS_INVALID && err.message[0] != '\0')
            atomic_fetch_add(&mixed->refused, 1);
        if ((status == STATUS_OK) != (i % 3 != 2))
            atomic_fetch_add(&mixed->wrong, 1);
    }
}

static void test_a_failing_work_is_alone(void **state)
{
    struct mixed mixed = {0};
    (void)state;
    run_threads(WRITERS, mixed_thread, &mixed);
    assert_int_equal(mixed.wrong, 0);
    assert_int_equal(mixed.kept, WRITERS * WRITES * 2 / 3);
    assert_int_equal(mixed.refused, WRITERS * WRITES / 3);
    assert_int_equal(number_of("SELECT COUNT(*) FROM things"), 2 * mixed.kept);
    assert_int_equal(number_of("SELECT COUNT(*) FROM things WHERE id / 2 % 3 = 2"), 0);
    /* With sixteen waiting, transactions were shared. */
    const double commits = metric_read(fixture.metrics, "ocelli_sql_commits_total");
    assert_true(commits >= 1 && commits < WRITERS * WRITES);
}

struct hooks {
    struct sql_tx *tx;
    int order[4], count;
    bool fail;
};

struct hook_note {
    struct hooks *hooks;
    int number;
};

static void note_hook(void *context)
{
    struct hook_note *note = context;
    if (note->hooks->count < 4)
        note->hooks->order[note->hooks->count++] = note->number;
}

static int hooks_work(struct sql_tx *tx, void *context, struct error *err)
{
    struct hooks *hooks = context;
    for (int i = 1; i <= 2; i++) {
        struct hook_note *note = sql_alloc(tx, sizeof *note);
        assert_non_null(note);
        assert_null(note->hooks);
        *note = (struct hook_note){hooks, i};
        assert_int_equal(sql_on_commit(tx, note_hook, note, err), STATUS_OK);
    }
    assert_int_equal(hooks->count, 0);
    return hooks->fail ? error_set(err, STATUS_BUSY, "no") : STATUS_OK;
}

static void test_hooks_run_once_after_success_only(void **state)
{
    struct error err = {0};
    struct hooks hooks = {.fail = true};
    (void)state;
    assert_int_equal(sql_write(database, hooks_work, &hooks, &err), STATUS_BUSY);
    assert_int_equal(hooks.count, 0);
    hooks.fail = false;
    assert_ok(sql_write(database, hooks_work, &hooks, &err), &err);
    assert_int_equal(hooks.count, 2);
    assert_int_equal(hooks.order[0], 1);
    assert_int_equal(hooks.order[1], 2);
}

static int snapshot_work(struct sql_tx *tx, void *context, struct error *err)
{
    struct error inner = {0};
    int64_t before = -1, after = -1;
    int status = read_number(tx, "SELECT COUNT(*) FROM things", &before, err);
    (void)context;
    if (status != STATUS_OK)
        return status;
    status =
        sql_write(database, run_script, (void *)"INSERT INTO things (name) VALUES ('new')", &inner);
    assert_int_equal(status, STATUS_OK);
    status = read_number(tx, "SELECT COUNT(*) FROM things", &after, err);
    assert_int_equal(before, after);
    return status;
}

static void test_a_read_is_one_snapshot(void **state)
{
    struct error err = {0};
    (void)state;
    assert_ok(sql_read(database, snapshot_work, NULL, &err), &err);
    assert_int_equal(number_of("SELECT COUNT(*) FROM things"), 1);
}

static void reading_thread(int number, void *context)
{
    atomic_int *wrong = context;
    for (int i = 0; i < 100; i++) {
        struct error err = {0};
        if (number % 4 == 0) {
            if (sql_write(database, run_script,
                          (void *)"INSERT INTO things (size) VALUES (1), (1), (1)", &err) != 0)
                atomic_fetch_add(wrong, 1);
            continue;
        }
        struct number rows = {.text = "SELECT COUNT(*) FROM things"};
        if (sql_read(database, number_work, &rows, &err) != STATUS_OK || rows.value % 3 != 0)
            atomic_fetch_add(wrong, 1);
    }
}

static void test_more_readers_than_connections(void **state)
{
    atomic_int wrong = 0;
    (void)state;
    run_threads(16, reading_thread, &wrong);
    assert_int_equal(wrong, 0);
    assert_int_equal(number_of("SELECT COUNT(*) FROM things"), 4 * 100 * 3);
}

/* A read that takes too long would keep the log from being started over. */
static void test_a_read_ends_at_its_deadline(void **state)
{
    static const char endless[] = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                                  "SELECT COUNT(*) FROM n";
    struct sqlite_connection *connection;
    struct sql_rows *rows;
    struct sqlite_tx tx;
    struct error err = {0};
    char path[128];
    (void)state;
    snprintf(path, sizeof path, "%s/ocelli.db", fixture.folder);
    assert_ok(sqlite_connect(path, true, &connection, &err), &err);
    assert_ok(sqlite_control(connection, "BEGIN", &err), &err);
    sqlite_tx_init(&tx, connection, false);
    connection->deadline_ns = clock_monotonic_ns() + 20000000;
    assert_int_equal(sqlite_exec(&tx.base, endless, SQL_NO_PARAMS, NULL, &err), STATUS_TIMEOUT);
    /* Also when each step is short. */
    connection->deadline_ns = 0;
    assert_ok(sqlite_query(&tx.base, "SELECT 1 UNION ALL SELECT 2", SQL_NO_PARAMS, &rows, &err),
              &err);
    assert_int_equal(sqlite_rows_next(rows, &err), 1);
    connection->deadline_ns = 1;
    assert_int_equal(sqlite_rows_next(rows, &err), STATUS_TIMEOUT);
    sqlite_rows_free(rows);
    sqlite_tx_free(&tx);
    sqlite_disconnect(connection);
}

/* --- files --- */

static void test_reopening(void **state)
{
    char path[128];
    (void)state;
    write_text("INSERT INTO things (name) VALUES ('kept')");
    sql_close(database);
    snprintf(path, sizeof path, "%s/ocelli.db-wal", fixture.folder);
    assert_false(file_exists(path)); /* all of it is in the one file */
    open_database();
    assert_int_equal(number_of("SELECT COUNT(*) FROM things WHERE name = 'kept'"), 1);
}

static void test_one_process_a_folder(void **state)
{
    struct error err = {0};
    struct sql *second;
    (void)state;
    assert_int_equal(sql_open_sqlite(fixture.config, fixture.metrics, NULL, &second, &err),
                     STATUS_BUSY);
    assert_non_null(strstr(err.message, fixture.folder));
}

static int large_work(struct sql_tx *tx, void *context, struct error *err)
{
    (void)context;
    return sql_exec(tx, "INSERT INTO things (extra) VALUES (zeroblob($1))",
                    SQL_PARAMS(sql_integer(1 << 20)), NULL, err);
}

static void test_the_log_is_bounded(void **state)
{
    char path[128];
    struct stat info;
    (void)state;
    snprintf(path, sizeof path, "%s/ocelli.db-wal", fixture.folder);
    for (int i = 0; i < 64; i++) {
        struct error err = {0};
        assert_ok(sql_write(database, large_work, NULL, &err), &err);
        assert_int_equal(stat(path, &info), 0);
        assert_true(info.st_size < 16 << 20);
    }
}

static void test_engine_and_health(void **state)
{
    struct error err = {0};
    (void)state;
    assert_int_equal(strncmp(sql_engine(database), "sqlite 3.", 9), 0);
    assert_ok(sql_health(database, &err), &err);
}

static void test_a_damaged_file_is_refused(void **state)
{
    struct error err = {0};
    char path[128];
    (void)state;
    sql_close(database);
    snprintf(path, sizeof path, "%s/ocelli.db", fixture.folder);
    assert_ok(file_write_atomic(path, "this is no database, and long enough", 36, false, &err),
              &err);
    assert_int_equal(sql_open_sqlite(fixture.config, fixture.metrics, NULL, &database, &err),
                     STATUS_CORRUPT);
    database = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mistakes_have_sentences, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_statement_in_use_is_not_run_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_statements_than_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readers_cannot_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_null_error_is_fine, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_failing_work_is_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hooks_run_once_after_success_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_read_is_one_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_readers_than_connections, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_read_ends_at_its_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reopening, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_process_a_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_log_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_and_health, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_file_is_refused, setup, teardown),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
