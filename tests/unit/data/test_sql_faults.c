/* The database on a disk that is full or breaking: what is answered with success is synced, a full
 * disk costs the write and nothing else, a failed sync ends writing. */
#include "data_test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/sql.h"
#include "faulty_vfs.h"

static struct fixture fixture;
static struct sql *database;
static atomic_int fatal_calls;

static void on_fatal(void *context, const struct error *why)
{
    (void)context;
    atomic_fetch_add(&fatal_calls, why->message[0] != '\0');
}

static void open_database(void)
{
    struct error err = {0};
    const struct sql_events events = {.on_fatal = on_fatal};
    assert_ok(sql_open_sqlite(fixture.config, fixture.metrics, &events, &database, &err), &err);
}

static int exec_work(struct sql_tx *tx, void *context, struct error *err)
{
    return sql_exec(tx, context, SQL_NO_PARAMS, NULL, err);
}

static int write_text(const char *text, struct error *err)
{
    return sql_write(database, exec_work, (void *)text, err);
}

static int insert(struct error *err)
{
    return write_text("INSERT INTO things (extra) VALUES (zeroblob(2000))", err);
}

static int count_work(struct sql_tx *tx, void *context, struct error *err)
{
    struct sql_rows *rows;
    int status = sql_query(tx, "SELECT COUNT(*) FROM things", SQL_NO_PARAMS, &rows, err);
    if (status != STATUS_OK)
        return status;
    status = sql_rows_next(rows, err);
    *(int64_t *)context = sql_rows_integer(rows, 0);
    sql_rows_free(rows);
    return status < 0 ? status : STATUS_OK;
}

static int64_t count(void)
{
    struct error err = {0};
    int64_t value = -1;
    assert_ok(sql_read(database, count_work, &value, &err), &err);
    return value;
}

static int setup(void **state)
{
    struct error err = {0};
    (void)state;
    memset(&faulty, 0, sizeof faulty);
    atomic_store(&fatal_calls, 0);
    fixture_make(&fixture);
    open_database();
    assert_ok(write_text("CREATE TABLE things (id INTEGER PRIMARY KEY, extra BLOB)", &err), &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sql_close(database);
    fixture_drop(&fixture);
    return 0;
}

/* --- syncs --- */

static void test_an_answer_follows_a_sync(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct error err = {0};
        const int before = atomic_load(&faulty.log_syncs);
        assert_ok(insert(&err), &err);
        assert_true(atomic_load(&faulty.log_syncs) > before);
    }
}

static void sharing_thread(int number, void *context)
{
    (void)number;
    for (int i = 0; i < 50; i++) {
        struct error err = {0};
        if (insert(&err) != STATUS_OK)
            atomic_fetch_add((atomic_int *)context, 1);
    }
}

static void test_concurrent_writes_share_syncs(void **state)
{
    atomic_int wrong = 0;
    (void)state;
    const int before = atomic_load(&faulty.log_syncs);
    run_threads(16, sharing_thread, &wrong);
    assert_int_equal(wrong, 0);
    assert_int_equal(count(), 16 * 50);
    assert_true(atomic_load(&faulty.log_syncs) - before < 16 * 50);
}

static void expect_closed(void)
{
    struct error err = {0};
    /* The writer refuses once it has answered those it failed: the next may still be in that
     * moment, but it fails all the same. */
    assert_int_not_equal(insert(&err), STATUS_OK);
    for (int i = 0; i < 1000 && insert(&err) != STATUS_CLOSED; i++)
        clock_sleep_ms(1);
    assert_int_equal(insert(&err), STATUS_CLOSED);
    assert_int_equal(sql_health(database, &err), STATUS_CLOSED);
    for (int i = 0; i < 1000 && atomic_load(&fatal_calls) == 0; i++)
        clock_sleep_ms(1);
    assert_int_equal(atomic_load(&fatal_calls), 1);
}

static void test_a_failed_sync_ends_writing(void **state)
{
    struct error err = {0};
    (void)state;
    assert_ok(insert(&err), &err);
    atomic_store(&faulty.log_sync_fails, 1);
    assert_int_equal(insert(&err), STATUS_IO);
    atomic_store(&faulty.log_sync_fails, 0); /* a second attempt would succeed, and is not made */
    expect_closed();
    assert_int_equal(count(), 1); /* reads go on */
    sql_close(database);
    open_database();
    const int64_t found = count(); /* the unanswered one may or may not be there */
    assert_true(found == 1 || found == 2);
    assert_ok(insert(&err), &err);
    assert_int_equal(count(), found + 1);
}

static void test_a_failed_sync_while_copying_the_log(void **state)
{
    struct error err = {0};
    (void)state;
    atomic_store(&faulty.database_sync_fails, 1);
    assert_ok(insert(&err), &err); /* the log holds it */
    for (int i = 0; i < 5000 && sql_health(database, NULL) == STATUS_OK; i++)
        clock_sleep_ms(1); /* the idle writer begins to copy */
    expect_closed();
    atomic_store(&faulty.database_sync_fails, 0);
    sql_close(database);
    open_database();
    assert_int_equal(count(), 1);
}

/* --- a full disk --- */

static void full_thread(int number, void *context)
{
    atomic_int *wrong = context;
    (void)number;
    for (int i = 0; i < 10; i++) {
        struct error err = {0};
        if (insert(&err) != STATUS_NO_SPACE || err.message[0] == '\0')
            atomic_fetch_add(wrong, 1);
    }
}

static void test_a_full_disk_and_recovery(void **state)
{
    struct error err = {0};
    atomic_int wrong = 0;
    (void)state;
    assert_ok(insert(&err), &err);
    atomic_store(&faulty.full, 1);
    run_threads(8, full_thread, &wrong);
    assert_int_equal(wrong, 0);
    assert_int_equal(count(), 1); /* reads go on, and nothing was kept */
    atomic_store(&faulty.full, 0);
    assert_ok(insert(&err), &err);
    assert_int_equal(count(), 2);
    assert_ok(sql_health(database, &err), &err);
    assert_int_equal(atomic_load(&fatal_calls), 0);
}

/* The same on a real small file system, where room comes back by deleting a file. */
static void test_a_full_file_system(void **state)
{
    struct error err = {0};
    char ballast[128];
    static char bytes[2 << 20];
    int64_t written = 0;
    int status;
    (void)state;

    sql_close(database);
    database = NULL;
    if (mount_small(fixture.folder, "8m") != 0) {
        print_message("# no right to mount a small file system\n");
        open_database();
        skip();
    }
    snprintf(ballast, sizeof ballast, "%s/ballast", fixture.folder);
    assert_ok(file_write_atomic(ballast, bytes, sizeof bytes, false, &err), &err);
    open_database();
    assert_ok(write_text("CREATE TABLE things (id INTEGER PRIMARY KEY, extra BLOB)", &err), &err);
    while ((status = insert(&err)) == STATUS_OK && written < 10000)
        written++;
    assert_int_equal(status, STATUS_NO_SPACE);
    assert_true(written > 100);
    assert_int_equal(count(), written);
    assert_int_equal(insert(&err), STATUS_NO_SPACE);
    assert_int_equal(remove(ballast), 0);
    assert_ok(sql_health(database, &err), &err);
    assert_ok(insert(&err), &err);
    sql_close(database);
    open_database();
    assert_int_equal(count(), written + 1);
    sql_close(database);
    unmount_small(fixture.folder);
    open_database();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_an_answer_follows_a_sync),   TEST(test_concurrent_writes_share_syncs),
        TEST(test_a_failed_sync_ends_writing), TEST(test_a_failed_sync_while_copying_the_log),
        TEST(test_a_full_disk_and_recovery),   TEST(test_a_full_file_system),
    };
#undef TEST
    faulty_vfs_install();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
