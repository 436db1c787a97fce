/* The schema: migrations from nothing, again, and from the future; the columns that are promised;
 * the plans of the queries that page through tables. */
#include "data_test.h"

#include <stdio.h>
#include <string.h>

#include "data/schema.h"

static struct fixture fixture;
static struct sql *database;

static int setup(void **state)
{
    struct error err = {0};
    (void)state;
    fixture_make(&fixture);
    assert_ok(sql_open_sqlite(fixture.config, fixture.metrics, NULL, &database, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sql_close(database);
    fixture_drop(&fixture);
    return 0;
}

static int exec_work(struct sql_tx *tx, void *context, struct error *err)
{
    return sql_exec(tx, context, SQL_NO_PARAMS, NULL, err);
}

static void write_text(const char *text)
{
    struct error err = {0};
    assert_ok(sql_write(database, exec_work, (void *)text, &err), &err);
}

/* The rows of a query as one text, columns separated by "|" and rows by newlines. */
struct answer {
    const char *query;
    char text[4096];
};

static int answer_work(struct sql_tx *tx, void *context, struct error *err)
{
    struct answer *answer = context;
    struct sql_rows *rows;
    size_t used = 0;
    int status = sql_query(tx, answer->query, SQL_NO_PARAMS, &rows, err);

    if (status != STATUS_OK)
        return status;
    answer->text[0] = '\0';
    while ((status = sql_rows_next(rows, err)) == 1)
        for (int i = 0; i < sql_rows_columns(rows) && used < sizeof answer->text; i++)
            used += (size_t)snprintf(answer->text + used, sizeof answer->text - used, "%s%s",
                                     sql_rows_text(rows, i),
                                     i + 1 < sql_rows_columns(rows) ? "|" : "\n");
    sql_rows_free(rows);
    return status;
}

static const char *answer_to(const char *query)
{
    static struct answer answer;
    struct error err = {0};
    answer.query = query;
    assert_ok(sql_read(database, answer_work, &answer, &err), &err);
    return answer.text;
}

static void migrate(void)
{
    struct error err = {0};
    assert_ok(schema_migrate(database, &err), &err);
}

static void test_from_nothing_and_again(void **state)
{
    struct error err = {0};
    int version = -1;
    (void)state;
    assert_ok(schema_version(database, &version, &err), &err);
    assert_int_equal(version, 0);
    migrate();
    assert_ok(schema_version(database, &version, &err), &err);
    assert_int_equal(version, schema_version_newest());
    assert_true(version >= 1);
    write_text("INSERT INTO model_metrics (model_name, metric_name, metric_value, measured_at) "
               "VALUES ('m', 'n', 1, 't')");
    migrate();
    assert_string_equal(answer_to("SELECT COUNT(*) FROM model_metrics"), "1\n");
}

static void migrating_thread(int number, void *context)
{
    (void)number;
    struct error err = {0};
    if (schema_migrate(database, &err) != STATUS_OK)
        __atomic_add_fetch((int *)context, 1, __ATOMIC_RELAXED);
}

static void test_several_at_once(void **state)
{
    int failed = 0;
    char text[64];
    (void)state;
    run_threads(8, migrating_thread, &failed);
    assert_int_equal(failed, 0);
    snprintf(text, sizeof text, "%d\n", schema_version_newest());
    assert_string_equal(answer_to("SELECT COUNT(*) FROM schema_migrations"), text);
}

static void test_a_newer_database_is_refused(void **state)
{
    struct error err = {0};
    char text[128];
    (void)state;
    migrate();
    snprintf(text, sizeof text,
             "INSERT INTO schema_migrations (version, applied_at) "
             "VALUES (%d, 'later')",
             schema_version_newest() + 1);
    write_text(text);
    assert_int_equal(schema_migrate(database, &err), STATUS_UNSUPPORTED);
    assert_non_null(strstr(err.message, "newer"));
}

static void test_a_failed_migration_leaves_nothing(void **state)
{
    struct error err = {0};
    int version = -1;
    (void)state;
    write_text("CREATE TABLE predictions (in_the_way INTEGER)");
    assert_int_equal(schema_migrate(database, &err), STATUS_INTERNAL);
    assert_non_null(strstr(err.message, "version 1"));
    assert_ok(schema_version(database, &version, &err), &err);
    assert_int_equal(version, 0);
    assert_string_equal(answer_to("SELECT COUNT(*) FROM sqlite_master WHERE name = 'images'"),
                        "0\n");
    write_text("DROP TABLE predictions");
    migrate();
}

static void test_promised_columns(void **state)
{
    static const char *const queries[] = {
        "SELECT image_id, original_filename, minio_path, upload_timestamp, file_size_bytes, width, "
        "height, format, source, processing_status, processed_at, metadata, label, failure_reason, "
        "sha256, expected_models FROM images",
        "SELECT image_id, image_path, model_name, model_version, prediction_class, confidence, "
        "inference_time_ms, top_k, created_at, image_size_bytes, image_width, image_height FROM "
        "predictions",
        "SELECT image_id, models, model_count, agreement, consensus_prediction, fastest_model, "
        "most_confident_model, comparison_timestamp FROM model_comparisons",
        "SELECT model_name, metric_name, metric_value, measured_at, experiment_id, run_id FROM "
        "model_metrics",
        "SELECT event_type, event_data, severity, created_at, service_name FROM system_events",
        "SELECT model_name, total_predictions, avg_confidence, avg_time_ms, min_time_ms, "
        "max_time_ms, unique_classes FROM model_stats",
        "SELECT image_id, original_filename, source, model_name, prediction_class, confidence, "
        "inference_time_ms, created_at FROM recent_predictions",
        "SELECT hour, model_name, avg_confidence, avg_time_ms, prediction_count FROM "
        "model_performance_comparison",
    };
    (void)state;
    migrate();
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++)
        assert_string_equal(answer_to(queries[i]), "");
}

#define IMAGE(id, time)                                                                            \
    "INSERT INTO images (image_id, minio_path, upload_timestamp, file_size_bytes, width, height, " \
    "format, source) VALUES ('" id "', 'p', '" time "', 1, 2, 3, 'PNG', 'upload')"
#define PREDICTION(image, model, version, class, time)                                             \
    "INSERT INTO predictions (image_id, model_name, model_version, prediction_class, confidence, " \
    "inference_time_ms, created_at) VALUES ('" image "', '" model "', '" version                   \
    "', '" class "', 0.5, 2, '" time "')"

static void test_rules(void **state)
{
    struct error err = {0};
    (void)state;
    migrate();
    write_text(IMAGE("a", "1"));
    assert_int_equal(sql_write(database, exec_work, (void *)IMAGE("a", "2"), &err), STATUS_EXISTS);
    write_text(PREDICTION("a", "m", "1", "cat", "1"));
    write_text(PREDICTION("a", "m", "2", "cat", "1"));
    assert_int_equal(
        sql_write(database, exec_work, (void *)PREDICTION("a", "m", "1", "dog", "2"), &err),
        STATUS_EXISTS);
    assert_int_equal(
        sql_write(database, exec_work, (void *)"UPDATE images SET processing_status = 'odd'", &err),
        STATUS_INVALID);
    assert_int_equal(
        sql_write(database, exec_work, (void *)"UPDATE predictions SET confidence = 1.5", &err),
        STATUS_INVALID);
}

static void test_views(void **state)
{
    (void)state;
    migrate();
    write_text("INSERT INTO model_totals VALUES ('m', '1', 2, 1.0, 10.0, 4.0, 6.0, 2, 1), "
               "('m', '2', 2, 2.0, 2.0, 1.0, 1.0, 0, 0), ('empty', '1', 0, 0, 0, 0, 0, 0, 0)");
    write_text("INSERT INTO model_classes VALUES ('m', '1', 'cat', 1), ('m', '1', 'dog', 1), "
               "('m', '2', 'cat', 2), ('m', '2', 'gone', 0)");
    assert_string_equal(answer_to("SELECT * FROM model_stats"), "m|4|0.75|3.0|1.0|6.0|2|2|1\n");
    write_text("INSERT INTO model_hours VALUES ('h', 'm', 4, 3.0, 12.0)");
    assert_string_equal(answer_to("SELECT * FROM model_performance_comparison"),
                        "h|m|0.75|3.0|4\n");
    write_text(IMAGE("a", "1"));
    write_text(PREDICTION("a", "m", "1", "cat", "1"));
    write_text(PREDICTION("a", "n", "1", "dog", "2"));
    assert_string_equal(
        answer_to("SELECT model_name, source, prediction_class FROM recent_predictions"),
        "n|upload|dog\nm|upload|cat\n");
}

/* Paging must follow an index: neither sort nor scan, however many rows there are. */
static void test_paging_uses_indexes(void **state)
{
    static const char *const queries[] = {
        "SELECT * FROM images WHERE (upload_timestamp, image_id) < ('t', 'i') "
        "ORDER BY upload_timestamp DESC, image_id DESC LIMIT 20",
        "SELECT * FROM images WHERE processing_status = 'failed' AND "
        "(upload_timestamp, image_id) < ('t', 'i') "
        "ORDER BY upload_timestamp DESC, image_id DESC LIMIT 20",
        "SELECT * FROM images WHERE source = 'upload' AND (upload_timestamp, image_id) < ('t', 'i')"
        " ORDER BY upload_timestamp DESC, image_id DESC LIMIT 20",
        "SELECT * FROM images WHERE label = 'cat' AND (upload_timestamp, image_id) < ('t', 'i') "
        "ORDER BY upload_timestamp DESC, image_id DESC LIMIT 20",
        "SELECT * FROM predictions WHERE model_name = 'm' AND created_at < 't' "
        "ORDER BY created_at DESC, prediction_id DESC LIMIT 20",
        "SELECT * FROM predictions WHERE image_id = 'i'",
        "SELECT * FROM model_comparisons WHERE agreement = 0 AND comparison_timestamp < 't' "
        "ORDER BY comparison_timestamp DESC, image_id DESC LIMIT 20",
        "SELECT * FROM bus_messages WHERE topic = 't' AND partition = 0 AND message_offset >= 5 "
        "ORDER BY message_offset LIMIT 100",
    };
    char text[512];
    (void)state;
    migrate();
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        snprintf(text, sizeof text, "EXPLAIN QUERY PLAN %s", queries[i]);
        const char *plan = answer_to(text);
        if (strstr(plan, "SEARCH") == NULL || strstr(plan, "SCAN") != NULL ||
            strstr(plan, "TEMP B-TREE") != NULL)
            fail_msg("%s\n%s", queries[i], plan);
    }
    const char *plan = answer_to("EXPLAIN QUERY PLAN SELECT * FROM recent_predictions LIMIT 20");
    if (strstr(plan, "USING INDEX predictions_by_time") == NULL ||
        strstr(plan, "TEMP B-TREE") != NULL)
        fail_msg("%s", plan);
}

static void test_events(void **state)
{
    struct error err = {0};
    (void)state;
    migrate();
    assert_ok(schema_event(database, "started", "info", "ocelli", "{\"port\":1}", &err), &err);
    assert_ok(schema_event(database, "bare", "debug", "ocelli", NULL, &err), &err);
    assert_int_equal(schema_event(database, "odd", "loud", "ocelli", NULL, &err), STATUS_INVALID);
    assert_string_equal(answer_to("SELECT event_type, event_data, severity, service_name FROM "
                                  "system_events ORDER BY event_id"),
                        "started|{\"port\":1}|info|ocelli\nbare||debug|ocelli\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_from_nothing_and_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_several_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_newer_database_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_failed_migration_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_promised_columns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rules, setup, teardown),
        cmocka_unit_test_setup_teardown(test_views, setup, teardown),
        cmocka_unit_test_setup_teardown(test_paging_uses_indexes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
