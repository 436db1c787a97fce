/* Roll-ups: see rollup.h. Each table and what a row of it counts:
 *
 *   model_totals      (model_name, model_version): predictions, their confidence and time; labelled
 * ones and how many were right model_classes     (model_name, model_version, prediction_class):
 * predictions model_hours       (hour, model_name): predictions, their confidence and time
 *   model_times       (model_name, model_version, bucket): inference times by histogram.h's bucket
 *   model_confusion   (model_name, model_version, label, prediction_class): labelled predictions
 *   model_calibration (model_name, model_version, bin): labelled predictions by confidence,
 * calibration.h's bins model_pairs       (model_a, model_b as name@version, a < b): images both
 * answered; of the labelled, who was right model_pair_classes (model_a, model_b, class_a, class_b):
 * images both answered, by their answers
 */
#include "flow/rollup.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "stats/calibration.h"
#include "stats/histogram.h"

/* --- One model
 * -----------------------------------------------------------------------------------------------
 */

static int add_totals(struct sql_tx *tx, const struct rollup_prediction *p, struct error *err)
{
    static const char text[] =
        "INSERT INTO model_totals (model_name, model_version, predictions, sum_confidence, "
        "sum_time_ms, min_time_ms, max_time_ms, labelled, correct) "
        "VALUES ($1, $2, 1, $3, $4, $4, $4, 0, 0) "
        "ON CONFLICT (model_name, model_version) DO UPDATE SET "
        "predictions = model_totals.predictions + 1, "
        "sum_confidence = model_totals.sum_confidence + excluded.sum_confidence, "
        "sum_time_ms = model_totals.sum_time_ms + excluded.sum_time_ms, "
        "min_time_ms = CASE WHEN excluded.min_time_ms < model_totals.min_time_ms "
        "THEN excluded.min_time_ms ELSE model_totals.min_time_ms END, "
        "max_time_ms = CASE WHEN excluded.max_time_ms > model_totals.max_time_ms "
        "THEN excluded.max_time_ms ELSE model_totals.max_time_ms END";
    return sql_exec(tx, text,
                    SQL_PARAMS(sql_text(p->model_name), sql_text(p->model_version),
                               sql_real(p->confidence), sql_real(p->time_ms)),
                    NULL, err);
}

static int add_class(struct sql_tx *tx, const struct rollup_prediction *p, struct error *err)
{
    static const char text[] =
        "INSERT INTO model_classes (model_name, model_version, prediction_class, count) "
        "VALUES ($1, $2, $3, 1) ON CONFLICT (model_name, model_version, prediction_class) "
        "DO UPDATE SET count = model_classes.count + 1";
    return sql_exec(tx, text,
                    SQL_PARAMS(sql_text(p->model_name), sql_text(p->model_version),
                               sql_text(p->prediction_class)),
                    NULL, err);
}

static int add_hour(struct sql_tx *tx, const struct rollup_prediction *p, struct error *err)
{
    static const char text[] =
        "INSERT INTO model_hours (hour, model_name, count, sum_confidence, sum_time_ms) "
        "VALUES ($1, $2, 1, $3, $4) ON CONFLICT (hour, model_name) DO UPDATE SET "
        "count = model_hours.count + 1, "
        "sum_confidence = model_hours.sum_confidence + excluded.sum_confidence, "
        "sum_time_ms = model_hours.sum_time_ms + excluded.sum_time_ms";
    const int64_t hour_us = 3600000000;
    char hour[TIMESTAMP_TEXT_MAX];
    return sql_exec(tx, text,
                    SQL_PARAMS(sql_timestamp(p->timestamp_us - p->timestamp_us % hour_us, hour),
                               sql_text(p->model_name), sql_real(p->confidence),
                               sql_real(p->time_ms)),
                    NULL, err);
}

static int add_time(struct sql_tx *tx, const struct rollup_prediction *p, struct error *err)
{
    static const char text[] =
        "INSERT INTO model_times (model_name, model_version, bucket, count) "
        "VALUES ($1, $2, $3, 1) ON CONFLICT (model_name, model_version, bucket) "
        "DO UPDATE SET count = model_times.count + 1";
    return sql_exec(tx, text,
                    SQL_PARAMS(sql_text(p->model_name), sql_text(p->model_version),
                               sql_integer(histogram_bucket((int64_t)(p->time_ms * 1000.0)))),
                    NULL, err);
}

/* --- What a label says; `sign` is +1 to count it, -1 to take it back
 * ------------------------------------------ */

static int label_totals(struct sql_tx *tx, const struct rollup_prediction *p, int correct, int sign,
                        struct error *err)
{
    static const char text[] = "UPDATE model_totals SET labelled = labelled + $3, "
                               "correct = correct + $4 "
                               "WHERE model_name = $1 AND model_version = $2";
    return sql_exec(tx, text,
                    SQL_PARAMS(sql_text(p->model_name), sql_text(p->model_version),
                               sql_integer(sign), sql_integer(sign * correct)),
                    NULL, err);
}

static int label_confusion(struct sql_tx *tx, const struct rollup_prediction *p, const char *label,
                           int sign, struct error *err)
{
    static const char text[] =
        "INSERT INTO model_confusion (model_name, model_version, label, prediction_class, count) "
        "VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (model_name, model_version, label, prediction_class) "
        "DO UPDATE SET count = model_confusion.count + excluded.count";
    return sql_exec(tx, text,
                    SQL_PARAMS(sql_text(p->model_name), sql_text(p->model_version), sql_text(label),
                               sql_text(p->prediction_class), sql_integer(sign)),
                    NULL, err);
}

static int label_calibration(struct sql_tx *tx, const struct rollup_prediction *p, int correct,
                             int sign, struct error *err)
{
    static const char text[] =
        "INSERT INTO model_calibration (model_name, model_version, bin, count, correct, "
        "sum_confidence) VALUES ($1, $2, $3, $4, $5, $6) "
        "ON CONFLICT (model_name, model_version, bin) DO UPDATE SET "
        "count = model_calibration.count + excluded.count, "
        "correct = model_calibration.correct + excluded.correct, "
        "sum_confidence = model_calibration.sum_confidence + excluded.sum_confidence";
    return sql_exec(tx, text,
                    SQL_PARAMS(sql_text(p->model_name), sql_text(p->model_version),
                               sql_integer(calibration_bin(p->confidence)), sql_integer(sign),
                               sql_integer(sign * correct), sql_real(sign * p->confidence)),
                    NULL, err);
}

static int count_label(struct sql_tx *tx, const struct rollup_prediction *p, const char *label,
                       int sign, struct error *err)
{
    if (label == NULL)
        return STATUS_OK;
    const int correct = strcmp(p->prediction_class, label) == 0;
    int status = label_totals(tx, p, correct, sign, err);
    if (status == STATUS_OK)
        status = label_confusion(tx, p, label, sign, err);
    if (status == STATUS_OK)
        status = label_calibration(tx, p, correct, sign, err);
    return status;
}

/* --- Pairs
 * ---------------------------------------------------------------------------------------------------
 */

enum { MODEL_KEY_SIZE = 2 * NAME_SIZE + 1 };

/* Two answers to one image, in the order of their keys. */
struct pair {
    char a[MODEL_KEY_SIZE], b[MODEL_KEY_SIZE];
    const char *class_a, *class_b;
};

static void pair_order(struct pair *pair, const char *key, const char *class_of_key,
                       const char *other, const char *class_of_other)
{
    const bool key_first = strcmp(key, other) < 0;
    snprintf(pair->a, sizeof pair->a, "%s", key_first ? key : other);
    snprintf(pair->b, sizeof pair->b, "%s", key_first ? other : key);
    pair->class_a = key_first ? class_of_key : class_of_other;
    pair->class_b = key_first ? class_of_other : class_of_key;
}

/* Adds `both` images (0 or 1) to the pair, and `sign` labelled ones when there is a label. */
static int pair_count(struct sql_tx *tx, const struct pair *pair, int both, const char *label,
                      int sign, struct error *err)
{
    static const char text[] =
        "INSERT INTO model_pairs (model_a, model_b, both_answered, agree, labelled, both_right, "
        "a_right_only, b_right_only, both_wrong) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
        "ON CONFLICT (model_a, model_b) DO UPDATE SET "
        "both_answered = model_pairs.both_answered + excluded.both_answered, "
        "agree = model_pairs.agree + excluded.agree, "
        "labelled = model_pairs.labelled + excluded.labelled, "
        "both_right = model_pairs.both_right + excluded.both_right, "
        "a_right_only = model_pairs.a_right_only + excluded.a_right_only, "
        "b_right_only = model_pairs.b_right_only + excluded.b_right_only, "
        "both_wrong = model_pairs.both_wrong + excluded.both_wrong";
    const int agree = both != 0 && strcmp(pair->class_a, pair->class_b) == 0;
    const int labelled = label != NULL ? sign : 0;
    const bool a_right = label != NULL && strcmp(pair->class_a, label) == 0;
    const bool b_right = label != NULL && strcmp(pair->class_b, label) == 0;

    return sql_exec(tx, text,
                    SQL_PARAMS(sql_text(pair->a), sql_text(pair->b), sql_integer(both),
                               sql_integer(agree), sql_integer(labelled),
                               sql_integer(a_right && b_right ? labelled : 0),
                               sql_integer(a_right && !b_right ? labelled : 0),
                               sql_integer(!a_right && b_right ? labelled : 0),
                               sql_integer(!a_right && !b_right ? labelled : 0)),
                    NULL, err);
}

static int pair_count_classes(struct sql_tx *tx, const struct pair *pair, struct error *err)
{
    static const char text[] =
        "INSERT INTO model_pair_classes (model_a, model_b, class_a, class_b, count) "
        "VALUES ($1, $2, $3, $4, 1) ON CONFLICT (model_a, model_b, class_a, class_b) "
        "DO UPDATE SET count = model_pair_classes.count + 1";
    return sql_exec(tx, text,
                    SQL_PARAMS(sql_text(pair->a), sql_text(pair->b), sql_text(pair->class_a),
                               sql_text(pair->class_b)),
                    NULL, err);
}

static int add_pairs(struct sql_tx *tx, const struct rollup_prediction *p, const char *label,
                     struct error *err)
{
    static const char others[] =
        "SELECT model_name || '@' || model_version, prediction_class FROM predictions "
        "WHERE image_id = $1 AND NOT (model_name = $2 AND model_version = $3)";
    struct sql_rows *rows = NULL;
    char key[MODEL_KEY_SIZE];
    int more;

    snprintf(key, sizeof key, "%s@%s", p->model_name, p->model_version);
    int status = sql_query(
        tx, others,
        SQL_PARAMS(sql_text(p->image_id), sql_text(p->model_name), sql_text(p->model_version)),
        &rows, err);
    if (status != STATUS_OK)
        return status;
    while (status == STATUS_OK && (more = sql_rows_next(rows, err)) != 0) {
        if (more < 0) {
            status = more;
            break;
        }
        struct pair pair;
        pair_order(&pair, key, p->prediction_class, sql_rows_text(rows, 0), sql_rows_text(rows, 1));
        status = pair_count(tx, &pair, 1, label, 1, err);
        if (status == STATUS_OK)
            status = pair_count_classes(tx, &pair, err);
    }
    sql_rows_free(rows);
    return status;
}

int rollup_add(struct sql_tx *tx, const struct rollup_prediction *prediction, const char *label,
               struct error *err)
{
    int status;

    if ((status = add_totals(tx, prediction, err)) != STATUS_OK ||
        (status = add_class(tx, prediction, err)) != STATUS_OK ||
        (status = add_hour(tx, prediction, err)) != STATUS_OK ||
        (status = add_time(tx, prediction, err)) != STATUS_OK ||
        (status = count_label(tx, prediction, label, 1, err)) != STATUS_OK)
        return status;
    return add_pairs(tx, prediction, label, err);
}

/* --- A label's change
 * ---------------------------------------------------------------------------------------- */

static int relabel_predictions(struct sql_tx *tx, const char *image_id, const char *before,
                               const char *after, struct error *err)
{
    static const char text[] = "SELECT model_name, model_version, prediction_class, confidence "
                               "FROM predictions WHERE image_id = $1";
    struct sql_rows *rows = NULL;
    int more;

    int status = sql_query(tx, text, SQL_PARAMS(sql_text(image_id)), &rows, err);
    if (status != STATUS_OK)
        return status;
    while (status == STATUS_OK && (more = sql_rows_next(rows, err)) != 0) {
        if (more < 0) {
            status = more;
            break;
        }
        const struct rollup_prediction p = {
            .image_id = image_id,
            .model_name = sql_rows_text(rows, 0),
            .model_version = sql_rows_text(rows, 1),
            .prediction_class = sql_rows_text(rows, 2),
            .confidence = sql_rows_real(rows, 3),
        };
        status = count_label(tx, &p, before, -1, err);
        if (status == STATUS_OK)
            status = count_label(tx, &p, after, 1, err);
    }
    sql_rows_free(rows);
    return status;
}

static int relabel_pairs(struct sql_tx *tx, const char *image_id, const char *before,
                         const char *after, struct error *err)
{
    static const char text[] =
        "SELECT a.model_name || '@' || a.model_version, a.prediction_class, "
        "b.model_name || '@' || b.model_version, b.prediction_class "
        "FROM predictions a JOIN predictions b ON b.image_id = a.image_id "
        "AND a.model_name || '@' || a.model_version < b.model_name || '@' || b.model_version "
        "WHERE a.image_id = $1";
    struct sql_rows *rows = NULL;
    int more;

    int status = sql_query(tx, text, SQL_PARAMS(sql_text(image_id)), &rows, err);
    if (status != STATUS_OK)
        return status;
    while (status == STATUS_OK && (more = sql_rows_next(rows, err)) != 0) {
        if (more < 0) {
            status = more;
            break;
        }
        struct pair pair;
        pair_order(&pair, sql_rows_text(rows, 0), sql_rows_text(rows, 1), sql_rows_text(rows, 2),
                   sql_rows_text(rows, 3));
        status = pair_count(tx, &pair, 0, before, -1, err);
        if (status == STATUS_OK)
            status = pair_count(tx, &pair, 0, after, 1, err);
    }
    sql_rows_free(rows);
    return status;
}

int rollup_relabel(struct sql_tx *tx, const char *image_id, const char *label_before,
                   const char *label_after, struct error *err)
{
    const int status = relabel_predictions(tx, image_id, label_before, label_after, err);
    return status != STATUS_OK ? status
                               : relabel_pairs(tx, image_id, label_before, label_after, err);
}

int rollup_clear(struct sql_tx *tx, struct error *err)
{
    static const char *const statements[] = {
        "DELETE FROM model_totals",    "DELETE FROM model_classes",
        "DELETE FROM model_hours",     "DELETE FROM model_times",
        "DELETE FROM model_confusion", "DELETE FROM model_calibration",
        "DELETE FROM model_pairs",     "DELETE FROM model_pair_classes",
    };
    int status = STATUS_OK;

    for (size_t i = 0; status == STATUS_OK && i < sizeof statements / sizeof *statements; i++)
        status = sql_exec(tx, statements[i], SQL_NO_PARAMS, NULL, err);
    return status;
}
