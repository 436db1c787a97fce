/* The record stage on a real database and bus: every prediction once, whatever is delivered again;
 * comparisons and the states of images; dead letters; labels and clearing. */
#include "flow_test.h"

#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "flow/record.h"

#define IMAGE_A "018f2b6e-aaaa-7222-8333-944444444444"
#define IMAGE_B "018f2b6e-bbbb-7222-8333-944444444444"

static struct record *start(struct store *store)
{
    struct record *record = NULL;
    struct error err = {0};
    assert_ok(record_start(store->files.config, store->sql, store->bus, store->files.metrics,
                           &record, &err),
              &err);
    return record;
}

static bool is_read(void *context)
{
    const struct store *store = context;
    return bus_backlog(store->bus, store->files.config->topic_predictions) == 0;
}

static void finish(struct store *store, struct record *record)
{
    wait_until(is_read, store);
    record_stop(record);
}

/* Starts the stage, lets it read all there is, stops it. */
static void record_all(struct store *store)
{
    finish(store, start(store));
}

static void add_model(struct store *store, const char *name, const char *state)
{
    char text[512];
    snprintf(text, sizeof text,
             "INSERT INTO models (name, version, state, labels) VALUES ('%s', '1', '%s', "
             "'[\"cat\",\"dog\",\"bird\"]')",
             name, state);
    store_exec(store, text);
}

static void add_image(struct store *store, const char *image_id, const char *expected)
{
    char text[1024];
    snprintf(text, sizeof text,
             "INSERT INTO images (image_id, original_filename, minio_path, upload_timestamp, "
             "file_size_bytes, width, height, format, source, processing_status, expected_models) "
             "VALUES ('%s', 'x.jpg', 'raw-images/x.jpg', '2024-01-15T10:00:00.000000Z', 9, 3, 3, "
             "'JPEG', 'upload', 'pending', '%s')",
             image_id, expected);
    store_exec(store, text);
}

static struct prediction_message answer(const char *image_id, const char *model, const char *class,
                                        double confidence, double time_ms)
{
    struct prediction_message message = {
        .confidence = confidence,
        .inference_time_ms = time_ms,
        .batch_size = 1,
        .timestamp_us = 1705314600000000,
        .top_count = 1,
        .top[0].confidence = confidence,
        .image = {.path = "raw-images/x.jpg", .source = "upload", .format = "JPEG", .size = 9},
    };
    snprintf(message.image_id, sizeof message.image_id, "%s", image_id);
    snprintf(message.model_name, sizeof message.model_name, "%s", model);
    snprintf(message.model_version, sizeof message.model_version, "1");
    snprintf(message.prediction_class, sizeof message.prediction_class, "%s", class);
    snprintf(message.top[0].label, sizeof message.top[0].label, "%s", class);
    return message;
}

static void answers(struct store *store, const char *image_id, const char *model, const char *class,
                    double confidence, double time_ms)
{
    const struct prediction_message message = answer(image_id, model, class, confidence, time_ms);
    store_publish_prediction(store, &message);
}

static void fails(struct store *store, const char *image_id, const char *model, bool unreadable)
{
    struct prediction_message message = answer(image_id, model, "", 0.0, 0.0);
    snprintf(message.error, sizeof message.error, "the image ends early");
    message.image_unreadable = unreadable;
    store_publish_prediction(store, &message);
}

#define STATUS_OF_A "SELECT processing_status FROM images WHERE image_id = '" IMAGE_A "'"
#define PUBLISHED   "SELECT count(*) FROM bus_messages WHERE topic = 'comparisons-output-stream'"

/* --- Once */

static void redelivery_changes_nothing(void **state)
{
    static const char totals[] = "SELECT model_name, predictions, sum_confidence, sum_time_ms "
                                 "FROM model_totals ORDER BY 1";
    struct store *store = *state;

    add_model(store, "a", "active");
    add_image(store, IMAGE_A, "[\"a@1\"]");
    for (int i = 0; i < 3; i++)
        answers(store, IMAGE_A, "a", "cat", 0.75, 2.0);
    record_all(store);
    store_expect(store, totals, "a|1|0.75|2\n");
    /* As after a crash before the offset was durable. */
    store_exec(store, "UPDATE bus_offsets SET next_offset = 0 WHERE consumer_group = 'record'");
    store_close(store);
    store_open(store);
    record_all(store);
    store_expect(store, totals, "a|1|0.75|2\n");
    store_expect(store, "SELECT count(*) FROM predictions", "1\n");
    store_expect(store, PUBLISHED, "1\n");
    assert_true(metric_read(store->files.metrics,
                            "ocelli_predictions_recorded_total{result=\"new\"}") == 1);
    assert_true(metric_read(store->files.metrics,
                            "ocelli_predictions_recorded_total{result=\"repeated\"}") == 5);
}

static void goes_on_where_it_stopped(void **state)
{
    struct store *store = *state;

    answers(store, IMAGE_A, "a", "cat", 0.5, 1.0);
    record_all(store);
    answers(store, IMAGE_B, "a", "dog", 0.5, 1.0);
    store_close(store);
    store_open(store);
    record_all(store);
    store_expect(store, "SELECT image_id, prediction_class FROM predictions ORDER BY 1",
                 IMAGE_A "|cat\n" IMAGE_B "|dog\n");
    assert_true(metric_read(store->files.metrics,
                            "ocelli_predictions_recorded_total{result=\"repeated\"}") == 0);
}

/* --- When an image is finished */

static void finished_when_all_expected_have_spoken(void **state)
{
    struct store *store = *state;

    add_model(store, "a", "active");
    add_model(store, "b", "active");
    add_image(store, IMAGE_A, "[\"a@1\",\"b@1\"]");
    answers(store, IMAGE_A, "a", "cat", 0.9, 5.0);
    record_all(store);
    store_expect(store, "SELECT processing_status, processed_at FROM images", "processing|null\n");
    store_expect(store, PUBLISHED, "0\n");
    answers(store, IMAGE_A, "b", "cat", 0.8, 3.0);
    record_all(store);
    store_expect(store, "SELECT processing_status, processed_at IS NOT NULL FROM images",
                 "completed|1\n");
    store_expect(store,
                 "SELECT model_count, agreement, consensus_prediction, fastest_model, "
                 "most_confident_model FROM model_comparisons",
                 "2|1|cat|b|a\n");
    store_expect(store, PUBLISHED, "1\n");
    /* A model that came later adds its answer; nobody is told twice. */
    answers(store, IMAGE_A, "c", "dog", 0.95, 1.0);
    record_all(store);
    store_expect(store,
                 "SELECT model_count, agreement, consensus_prediction, fastest_model, "
                 "most_confident_model FROM model_comparisons",
                 "3|0|cat|c|c\n");
    store_expect(store, STATUS_OF_A, "completed\n");
    store_expect(store, PUBLISHED, "1\n");
}

static void gone_models_are_not_waited_for(void **state)
{
    struct store *store = *state;

    add_model(store, "a", "active");
    add_model(store, "b", "removed");
    add_image(store, IMAGE_A, "[\"a@1\",\"b@1\",\"never@1\"]");
    add_image(store, IMAGE_B, "[\"a@1\"]");
    store_exec(store, "UPDATE models SET state = 'draining' WHERE name = 'a'");
    answers(store, IMAGE_A, "b", "cat", 0.9, 5.0);
    record_all(store);
    store_expect(store, STATUS_OF_A, "processing\n"); /* one that drains still owes its answer */
    answers(store, IMAGE_A, "a", "cat", 0.9, 5.0);
    record_all(store);
    store_expect(store, STATUS_OF_A, "completed\n");
}

static void unreadable_image_fails(void **state)
{
    struct store *store = *state;

    add_model(store, "a", "active");
    add_model(store, "b", "active");
    add_image(store, IMAGE_A, "[\"a@1\",\"b@1\"]");
    fails(store, IMAGE_A, "a", true);
    fails(store, IMAGE_A, "b", true);
    record_all(store);
    store_expect(store, "SELECT processing_status, failure_reason FROM images",
                 "failed|the image ends early\n");
    store_expect(store, "SELECT model_name, reason FROM prediction_failures ORDER BY 1",
                 "a|the image ends early\nb|the image ends early\n");
    store_expect(store, "SELECT count(*) FROM predictions", "0\n");
    store_expect(store, "SELECT count(*) FROM model_totals", "0\n");
    store_expect(store, PUBLISHED, "1\n");
    store_expect(store,
                 "SELECT json_extract(value, '$.status'), json_extract(value, '$.failure_reason'), "
                 "json_array_length(value, '$.failures') > 0 FROM bus_messages "
                 "WHERE topic = 'comparisons-output-stream'",
                 "failed|the image ends early|1\n");
}

static void one_failure_among_answers(void **state)
{
    struct store *store = *state;

    add_model(store, "a", "active");
    add_model(store, "b", "active");
    add_image(store, IMAGE_A, "[\"a@1\",\"b@1\"]");
    answers(store, IMAGE_A, "a", "cat", 0.9, 5.0);
    fails(store, IMAGE_A, "b", false);
    record_all(store);
    store_expect(store, "SELECT processing_status, failure_reason FROM images", "completed|null\n");
    store_expect(store, "SELECT model_count, agreement FROM model_comparisons", "1|1\n");
    /* Replayed, and this time it works: the failure is forgotten. */
    answers(store, IMAGE_A, "b", "cat", 0.9, 5.0);
    record_all(store);
    store_expect(store, "SELECT count(*) FROM prediction_failures", "0\n");
    store_expect(store, "SELECT model_count FROM model_comparisons", "2\n");
}

static void replay_makes_a_failed_image_good(void **state)
{
    struct store *store = *state;

    add_model(store, "a", "active");
    add_image(store, IMAGE_A, "[\"a@1\"]");
    fails(store, IMAGE_A, "a", false);
    record_all(store);
    store_expect(store, STATUS_OF_A, "failed\n");
    answers(store, IMAGE_A, "a", "cat", 0.9, 5.0);
    record_all(store);
    store_expect(store, STATUS_OF_A, "completed\n");
    store_expect(store, PUBLISHED, "2\n");
}

/* Another program's image: its row is made from the prediction, and waits for the models of now. */
static void foreign_image(void **state)
{
    struct store *store = *state;
    struct prediction_message message = answer(IMAGE_A, "a", "cat", 0.5, 1.0);

    add_model(store, "a", "active");
    add_model(store, "b", "active");
    add_model(store, "old", "removed");
    snprintf(message.image.label, sizeof message.image.label, "dog");
    message.image.width = 40;
    store_publish_prediction(store, &message);
    record_all(store);
    store_expect(store,
                 "SELECT image_id, minio_path, source, width, label, processing_status, "
                 "expected_models FROM images",
                 IMAGE_A "|raw-images/x.jpg|upload|40|dog|processing|[\"a@1\",\"b@1\"]\n");
    store_expect(store, "SELECT labelled, correct FROM model_totals", "1|0\n");
    answers(store, IMAGE_A, "b", "dog", 0.5, 1.0);
    record_all(store);
    store_expect(store, STATUS_OF_A, "completed\n");
}

/* --- Consensus */

static void consensus(void **state)
{
    static const struct {
        struct {
            const char *class;
            double confidence;
        } answers[4];
        const char *expected;
        int agreement;
    } cases[] = {
        {{{"cat", 0.5}, {"dog", 0.9}, {"cat", 0.4}}, "cat", 0},
        {{{"cat", 0.6}, {"dog", 0.7}}, "dog", 0},
        {{{"cat", 0.5}, {"dog", 0.9}, {"cat", 0.5}, {"dog", 0.2}}, "dog", 0},
        {{{"cat", 0.6}, {"dog", 0.9}, {"cat", 0.6}, {"dog", 0.2}}, "cat", 0},
        {{{"bird", 0.1}, {"bird", 0.2}, {"bird", 0.3}}, "bird", 1},
        {{{"dog", 0.3}}, "dog", 1},
    };
    struct store *store = *state;
    char id[ID_TEXT_SIZE], query[256], expected[64];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        id_make(id);
        for (int j = 0; j < 4 && cases[i].answers[j].class != NULL; j++)
            answers(store, id, (const char *[]){"m0", "m1", "m2", "m3"}[j],
                    cases[i].answers[j].class, cases[i].answers[j].confidence, 1.0);
        record_all(store);
        snprintf(query, sizeof query,
                 "SELECT consensus_prediction, agreement FROM model_comparisons "
                 "WHERE image_id = '%s'",
                 id);
        snprintf(expected, sizeof expected, "%s|%d\n", cases[i].expected, cases[i].agreement);
        store_expect(store, query, expected);
    }
}

/* --- Poison */

static void poison_goes_to_the_dead_letters(void **state)
{
    static const char *const poison[] = {
        "not json",
        "{\"image_id\":\"x\"}",
        "",
        "\xff\xfe\x80",
        "{\"image_id\":\"\xc3\x28\"}",
        "{\"image_id\":\"" IMAGE_A "\",\"timestamp\":\"ééééééééééééééééééééééééééééééé\"}",
        "{\"image_id\":\"" IMAGE_A "\",\"timestamp\":\"xééééééééééééééééééééééééééééééé\"}",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    };
    struct store *store = *state;
    const char *topic = store->files.config->topic_predictions;
    const size_t count = sizeof poison / sizeof *poison;
    char expected[32];

    for (size_t i = 0; i < count; i++) {
        store_publish(store, topic, NULL, poison[i]);
        answers(store, IMAGE_A, (const char *[]){"a", "b"}[i % 2], "cat", 0.5, 1.0);
    }
    record_all(store);
    snprintf(expected, sizeof expected, "%zu|%zu\n", count, count);
    store_expect(store,
                 "SELECT count(*), sum(json_valid(headers) AND "
                 "length(json_extract(headers, '$.error')) > 0 AND "
                 "json_extract(headers, '$.group') = 'record') FROM bus_messages "
                 "WHERE topic = 'predictions-output-stream.dlq'",
                 expected);
    store_expect(store, "SELECT count(*) FROM predictions", "2\n");
    store_expect(store,
                 "SELECT value FROM bus_messages WHERE topic = 'predictions-output-stream.dlq' "
                 "ORDER BY message_offset LIMIT 1",
                 "not json\n");
}

/* --- Labels and clearing */

static void labels(void **state)
{
    static const char totals[] =
        "SELECT model_name, labelled, correct FROM model_totals ORDER BY 1";
    struct store *store = *state;
    struct error err = {0};

    add_model(store, "a", "active");
    add_model(store, "b", "active");
    add_image(store, IMAGE_A, "[\"a@1\",\"b@1\"]");
    answers(store, IMAGE_A, "a", "cat", 0.5, 1.0);
    record_all(store);
    assert_int_equal(record_label(store->sql, IMAGE_B, "cat", &err), STATUS_NOT_FOUND);
    assert_int_equal(record_label(store->sql, IMAGE_A, "unicorn", &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "unicorn"));
    store_expect(store, totals, "a|0|0\n");

    assert_ok(record_label(store->sql, IMAGE_A, "cat", &err), &err);
    store_expect(store, totals, "a|1|1\n");
    answers(store, IMAGE_A, "b", "dog", 0.5, 1.0); /* after the label */
    record_all(store);
    store_expect(store, totals, "a|1|1\nb|1|0\n");
    store_expect(store,
                 "SELECT labelled, both_right, a_right_only, b_right_only, both_wrong "
                 "FROM model_pairs",
                 "1|0|1|0|0\n");
    assert_ok(record_label(store->sql, IMAGE_A, "cat", &err), &err);
    store_expect(store, totals, "a|1|1\nb|1|0\n"); /* said again, counted once */
    assert_ok(record_label(store->sql, IMAGE_A, "dog", &err), &err);
    store_expect(store, totals, "a|1|0\nb|1|1\n");
    assert_ok(record_label(store->sql, IMAGE_A, NULL, &err), &err);
    store_expect(store, totals, "a|0|0\nb|0|0\n");
    store_expect(store, "SELECT label FROM images", "null\n");
    assert_int_equal(record_label(store->sql, IMAGE_B, NULL, &err), STATUS_NOT_FOUND);
}

static void clearing(void **state)
{
    struct store *store = *state;
    struct error err = {0};
    int64_t count = -1;

    add_model(store, "a", "active");
    add_image(store, IMAGE_A, "[\"a@1\"]");
    answers(store, IMAGE_A, "a", "cat", 0.5, 1.0);
    answers(store, IMAGE_A, "b", "dog", 0.5, 1.0);
    fails(store, IMAGE_A, "c", false);
    record_all(store);
    assert_ok(record_label(store->sql, IMAGE_A, "cat", &err), &err);
    assert_ok(record_clear(store->sql, &count, &err), &err);
    assert_int_equal(count, 2);
    static const char *const emptied[] = {
        "predictions",   "prediction_failures", "model_comparisons", "model_totals",
        "model_classes", "model_hours",         "model_times",       "model_confusion",
        "model_pairs",   "model_calibration",   "model_pair_classes"};
    for (size_t i = 0; i < sizeof emptied / sizeof *emptied; i++) {
        char text[96];
        snprintf(text, sizeof text, "SELECT count(*) FROM %s", emptied[i]);
        store_expect(store, text, "0\n");
    }
    store_expect(store, "SELECT processing_status, label FROM images", "completed|cat\n");
    assert_ok(record_clear(store->sql, &count, &err), &err);
    assert_int_equal(count, 0);
    answers(store, IMAGE_B, "a", "bird", 0.25, 4.0);
    record_all(store);
    store_expect(store, "SELECT predictions, sum_confidence, labelled FROM model_totals",
                 "1|0.25|0\n");
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(redelivery_changes_nothing),
        STORE_TEST(goes_on_where_it_stopped),
        STORE_TEST(finished_when_all_expected_have_spoken),
        STORE_TEST(gone_models_are_not_waited_for),
        STORE_TEST(unreadable_image_fails),
        STORE_TEST(one_failure_among_answers),
        STORE_TEST(replay_makes_a_failed_image_good),
        STORE_TEST(foreign_image),
        STORE_TEST(consensus),
        STORE_TEST(poison_goes_to_the_dead_letters),
        STORE_TEST(labels),
        STORE_TEST(clearing),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
