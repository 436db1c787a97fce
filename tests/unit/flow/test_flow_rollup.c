/* The roll-ups against a recount: after random predictions, redeliveries, labels that come with the
 * image, are set, changed and removed, and clearings, every roll-up equals what plain SQL counts
 * from the predictions and the images. */
#include "flow_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "flow/record.h"
#include "stats/calibration.h"
#include "stats/histogram.h"

enum { IMAGES = 12, MODELS = 4, CLASSES = 3, VALUES = 8, STEPS = 60, SEEDS = 6 };

static const char *const classes[CLASSES] = {"bird", "cat", "dog"};
/* Names and versions whose order as key differs from their order as pair of columns. */
static const char *const models[MODELS][2] = {{"a", "1"}, {"a", "2"}, {"a-b", "1"}, {"B", "10"}};
static const double confidences[VALUES] = {0.0, 0.066667, 0.2, 0.333333, 0.5, 0.75, 0.999999, 1.0};
static const double times_ms[VALUES] = {0.0, 0.001, 0.5, 1.0, 3.25, 100.0, 5000.0, 86400000.0};

/* Each roll-up, and the same rows counted from scratch. Rows that a removed label left at zero say
 * nothing and are not compared. */
static const struct {
    const char *name, *kept, *recounted;
} rollups[] = {
    {"model_totals",
     "SELECT model_name, model_version, predictions, round(sum_confidence, 6), "
     "round(sum_time_ms, 3), min_time_ms, max_time_ms, labelled, correct FROM model_totals "
     "ORDER BY 1, 2",
     "SELECT model_name, model_version, count(*), round(sum(confidence), 6), "
     "round(sum(inference_time_ms), 3), min(inference_time_ms), max(inference_time_ms), "
     "sum(label IS NOT NULL), sum(coalesce(label = prediction_class, 0)) FROM labelled "
     "GROUP BY 1, 2 ORDER BY 1, 2"},
    {"model_classes",
     "SELECT model_name, model_version, prediction_class, count FROM model_classes "
     "WHERE count <> 0 ORDER BY 1, 2, 3",
     "SELECT model_name, model_version, prediction_class, count(*) FROM labelled "
     "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"},
    {"model_hours",
     "SELECT hour, model_name, count, round(sum_confidence, 6), round(sum_time_ms, 3) "
     "FROM model_hours ORDER BY 1, 2",
     "SELECT substr(created_at, 1, 13) || ':00:00.000000Z', model_name, count(*), "
     "round(sum(confidence), 6), round(sum(inference_time_ms), 3) FROM labelled GROUP BY 1, 2 "
     "ORDER BY 1, 2"},
    {"model_times",
     "SELECT model_name, model_version, bucket, count FROM model_times ORDER BY 1, 2, 3",
     "SELECT model_name, model_version, bucket, count(*) FROM labelled "
     "JOIN known_times ON time_ms = inference_time_ms GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"},
    {"model_confusion",
     "SELECT model_name, model_version, label, prediction_class, count FROM model_confusion "
     "WHERE count <> 0 ORDER BY 1, 2, 3, 4",
     "SELECT model_name, model_version, label, prediction_class, count(*) FROM labelled "
     "WHERE label IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"},
    {"model_calibration",
     "SELECT model_name, model_version, bin, count, correct, round(abs(sum_confidence), 6) "
     "FROM model_calibration WHERE count <> 0 ORDER BY 1, 2, 3",
     "SELECT model_name, model_version, bin, count(*), sum(label = prediction_class), "
     "round(sum(confidence), 6) FROM labelled JOIN known_confidences "
     "ON known_confidences.value = confidence WHERE label IS NOT NULL GROUP BY 1, 2, 3 "
     "ORDER BY 1, 2, 3"},
    {"model_pairs",
     "SELECT model_a, model_b, both_answered, agree, labelled, both_right, a_right_only, "
     "b_right_only, both_wrong FROM model_pairs ORDER BY 1, 2",
     "SELECT a.key, b.key, count(*), sum(a.prediction_class = b.prediction_class), "
     "sum(a.label IS NOT NULL), "
     "sum(coalesce(a.prediction_class = a.label AND b.prediction_class = a.label, 0)), "
     "sum(coalesce(a.prediction_class = a.label AND b.prediction_class <> a.label, 0)), "
     "sum(coalesce(a.prediction_class <> a.label AND b.prediction_class = a.label, 0)), "
     "sum(coalesce(a.prediction_class <> a.label AND b.prediction_class <> a.label, 0)) "
     "FROM labelled a JOIN labelled b ON a.image_id = b.image_id AND a.key < b.key "
     "GROUP BY 1, 2 ORDER BY 1, 2"},
    {"model_pair_classes",
     "SELECT model_a, model_b, class_a, class_b, count FROM model_pair_classes "
     "ORDER BY 1, 2, 3, 4",
     "SELECT a.key, b.key, a.prediction_class, b.prediction_class, count(*) "
     "FROM labelled a JOIN labelled b ON a.image_id = b.image_id AND a.key < b.key "
     "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"},
};

/* What the recount joins with: predictions with their labels, and which bucket and bin the values
 * that this test uses fall into. */
static void prepare(struct store *store)
{
    char text[256];

    store_exec(store, "INSERT INTO models (name, version, state, labels) "
                      "VALUES ('a', '1', 'active', '[\"bird\",\"cat\",\"dog\"]')");
    store_exec(store, "CREATE VIEW labelled AS SELECT p.*, i.label, "
                      "p.model_name || '@' || p.model_version AS key "
                      "FROM predictions p JOIN images i ON i.image_id = p.image_id");
    store_exec(store, "CREATE TABLE known_times (time_ms REAL, bucket INTEGER)");
    store_exec(store, "CREATE TABLE known_confidences (value REAL, bin INTEGER)");
    for (int i = 0; i < VALUES; i++) {
        snprintf(text, sizeof text, "INSERT INTO known_times VALUES (%.3f, %d)", times_ms[i],
                 histogram_bucket((int64_t)(times_ms[i] * 1000.0)));
        store_exec(store, text);
        snprintf(text, sizeof text, "INSERT INTO known_confidences VALUES (%.6f, %d)",
                 confidences[i], calibration_bin(confidences[i]));
        store_exec(store, text);
    }
}

static void compare_all(struct store *store, int seed, int step)
{
    struct buffer kept = {0}, recounted = {0};

    for (size_t i = 0; i < sizeof rollups / sizeof *rollups; i++) {
        store_dump(store, rollups[i].kept, &kept);
        store_dump(store, rollups[i].recounted, &recounted);
        if (strcmp(kept.data != NULL ? kept.data : "",
                   recounted.data != NULL ? recounted.data : "") != 0)
            fail_msg("seed %d, step %d: %s is\n%s but a recount gives\n%s", seed, step,
                     rollups[i].name, kept.data, recounted.data);
    }
    buffer_free(&kept);
    buffer_free(&recounted);
}

/* --- Random steps */

static void publish_answer(struct store *store, unsigned *seed, char ids[][ID_TEXT_SIZE])
{
    const char *const *model = models[rand_r(seed) % MODELS];
    struct prediction_message message = {
        .confidence = confidences[rand_r(seed) % VALUES],
        .inference_time_ms = times_ms[rand_r(seed) % VALUES],
        .batch_size = 1,
        .timestamp_us = 1705314600000000 + (int64_t)(rand_r(seed) % 10000) * 1000000,
        .image = {.path = "raw-images/x.jpg", .source = "upload", .format = "JPEG"},
    };
    memcpy(message.image_id, ids[rand_r(seed) % IMAGES], ID_TEXT_SIZE);
    snprintf(message.model_name, sizeof message.model_name, "%s", model[0]);
    snprintf(message.model_version, sizeof message.model_version, "%s", model[1]);
    snprintf(message.prediction_class, sizeof message.prediction_class, "%s",
             classes[rand_r(seed) % CLASSES]);
    if (rand_r(seed) % 2 == 0)
        snprintf(message.image.label, sizeof message.image.label, "%s",
                 classes[rand_r(seed) % CLASSES]);
    for (int copies = rand_r(seed) % 5 == 0 ? 2 : 1; copies > 0; copies--)
        store_publish_prediction(store, &message);
}

static void change_label(struct store *store, unsigned *seed, char ids[][ID_TEXT_SIZE])
{
    const int pick = rand_r(seed) % (CLASSES + 1);
    struct error err = {0};
    const int status = record_label(store->sql, ids[rand_r(seed) % IMAGES],
                                    pick < CLASSES ? classes[pick] : NULL, &err);
    assert_true(status == STATUS_OK || status == STATUS_NOT_FOUND);
}

static bool is_read(void *context)
{
    const struct store *store = context;
    return bus_backlog(store->bus, store->files.config->topic_predictions) == 0;
}

static void random_sequences(void **state)
{
    struct store *store = *state;
    struct error err = {0};
    int64_t count;

    prepare(store);
    for (int number = 1; number <= SEEDS; number++) {
        unsigned seed = (unsigned)number;
        char ids[IMAGES][ID_TEXT_SIZE];
        struct record *record;
        for (int i = 0; i < IMAGES; i++)
            id_make(ids[i]);
        assert_ok(record_clear(store->sql, &count, &err), &err);
        assert_ok(record_start(store->files.config, store->sql, store->bus, store->files.metrics,
                               &record, &err),
                  &err);
        for (int step = 0; step < STEPS; step++) {
            const int what = rand_r(&seed) % 20;
            for (int i = rand_r(&seed) % 6; what < 12 && i > 0; i--)
                publish_answer(store, &seed, ids);
            if (what >= 12 && what < 18) /* with the record stage still at it */
                change_label(store, &seed, ids);
            if (what == 19 && rand_r(&seed) % 4 == 0) {
                wait_until(is_read, store);
                assert_ok(record_clear(store->sql, &count, &err), &err);
            }
            if (step % 10 == 9) {
                wait_until(is_read, store);
                compare_all(store, number, step);
            }
        }
        record_stop(record);
    }
    store_expect(store, "SELECT count(*) > 20 FROM labelled WHERE label IS NOT NULL", "1\n");
}

/* The test's own eyes: it notices one count too many. */
static void a_wrong_count_is_noticed(void **state)
{
    struct store *store = *state;
    struct buffer kept = {0}, recounted = {0};

    prepare(store);
    for (size_t i = 0; i < sizeof rollups / sizeof *rollups; i++) {
        char text[128];
        snprintf(text, sizeof text, "DELETE FROM %s", rollups[i].name);
        store_exec(store, text);
    }
    store_exec(store,
               "INSERT INTO images (image_id, minio_path, upload_timestamp, file_size_bytes, "
               "width, height, format, source, label) VALUES ('x', 'p', 't', 1, 1, 1, "
               "'PNG', 'upload', 'cat')");
    store_exec(store, "INSERT INTO predictions (image_id, model_name, model_version, "
                      "prediction_class, confidence, inference_time_ms, created_at) VALUES "
                      "('x', 'a', '1', 'cat', 0.5, 1.0, '2024-01-15T10:30:00.000000Z'), "
                      "('x', 'b', '1', 'dog', 0.5, 1.0, '2024-01-15T10:30:00.000000Z')");
    for (size_t i = 0; i < sizeof rollups / sizeof *rollups; i++) {
        store_dump(store, rollups[i].kept, &kept);
        store_dump(store, rollups[i].recounted, &recounted);
        assert_string_not_equal(kept.data != NULL ? kept.data : "",
                                recounted.data != NULL ? recounted.data : "");
    }
    buffer_free(&kept);
    buffer_free(&recounted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_sequences, store_setup, store_teardown),
        cmocka_unit_test_setup_teardown(a_wrong_count_is_noticed, store_setup, store_teardown),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
