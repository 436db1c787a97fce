/* Roll-ups: see rollup.h. Each table and what a row of it counts:
 *
 *   model_totals        (model_name, model_version): predictions, their confidence and time;
 *                       labelled ones and how many were right
 *   model_classes       (model_name, model_version, prediction_class): predictions
 *   model_hours         (hour, model_name): predictions, their confidence and time
 *   model_times         (model_name, model_version, bucket): times by histogram.h's bucket
 *   model_confusion     (model_name, model_version, label, prediction_class): labelled predictions
 *   model_calibration   (model_name, model_version, bin): labelled predictions by confidence,
 *                       calibration.h's bins
 *   model_pairs         (model_a, model_b as name@version, a < b): images both answered; of the
 *                       labelled, who was right
 *   model_pair_classes  (model_a, model_b, class_a, class_b): images both answered, by answers
 */
#include "flow/rollup.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "stats/calibration.h"
#include "stats/histogram.h"

enum { KEYS_MAX = 4, SUMS_MAX = 7, BUCKETS = 256 };

/* The statements in the order they are run: a row of model_totals is there before its labelled
 * predictions are counted. */
enum table {
    TABLE_TOTALS,
    TABLE_LABELLED,
    TABLE_CLASSES,
    TABLE_HOURS,
    TABLE_TIMES,
    TABLE_CONFUSION,
    TABLE_CALIBRATION,
    TABLE_PAIRS,
    TABLE_PAIR_CLASSES,
    TABLE_COUNT,
};

/* Parameters are the keys that are texts, then the one that is a number when there is one, then the
 * sums: 'i' an integer and 'r' a real to add, 'm' the least and 'M' the greatest of reals. */
static const struct {
    const char *text;
    int keys;
    bool has_number;
    const char *sums;
} tables[TABLE_COUNT] = {
    [TABLE_TOTALS] =
        {"INSERT INTO model_totals (model_name, model_version, predictions, sum_confidence, "
         "sum_time_ms, min_time_ms, max_time_ms, labelled, correct) "
         "VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0) "
         "ON CONFLICT (model_name, model_version) DO UPDATE SET "
         "predictions = model_totals.predictions + excluded.predictions, "
         "sum_confidence = model_totals.sum_confidence + excluded.sum_confidence, "
         "sum_time_ms = model_totals.sum_time_ms + excluded.sum_time_ms, "
         "min_time_ms = CASE WHEN excluded.min_time_ms < model_totals.min_time_ms "
         "THEN excluded.min_time_ms ELSE model_totals.min_time_ms END, "
         "max_time_ms = CASE WHEN excluded.max_time_ms > model_totals.max_time_ms "
         "THEN excluded.max_time_ms ELSE model_totals.max_time_ms END",
         2, false, "irrmM"},
    [TABLE_LABELLED] = {"UPDATE model_totals SET labelled = labelled + $3, correct = correct + $4 "
                        "WHERE model_name = $1 AND model_version = $2",
                        2, false, "ii"},
    [TABLE_CLASSES] =
        {"INSERT INTO model_classes (model_name, model_version, prediction_class, count) "
         "VALUES ($1, $2, $3, $4) ON CONFLICT (model_name, model_version, prediction_class) "
         "DO UPDATE SET count = model_classes.count + excluded.count",
         3, false, "i"},
    [TABLE_HOURS] =
        {"INSERT INTO model_hours (hour, model_name, count, sum_confidence, sum_time_ms) "
         "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (hour, model_name) DO UPDATE SET "
         "count = model_hours.count + excluded.count, "
         "sum_confidence = model_hours.sum_confidence + excluded.sum_confidence, "
         "sum_time_ms = model_hours.sum_time_ms + excluded.sum_time_ms",
         2, false, "irr"},
    [TABLE_TIMES] = {"INSERT INTO model_times (model_name, model_version, bucket, count) "
                     "VALUES ($1, $2, $3, $4) ON CONFLICT (model_name, model_version, bucket) "
                     "DO UPDATE SET count = model_times.count + excluded.count",
                     2, true, "i"},
    [TABLE_CONFUSION] =
        {"INSERT INTO model_confusion (model_name, model_version, label, prediction_class, count) "
         "VALUES ($1, $2, $3, $4, $5) "
         "ON CONFLICT (model_name, model_version, label, prediction_class) "
         "DO UPDATE SET count = model_confusion.count + excluded.count",
         4, false, "i"},
    [TABLE_CALIBRATION] =
        {"INSERT INTO model_calibration (model_name, model_version, bin, count, correct, "
         "sum_confidence) VALUES ($1, $2, $3, $4, $5, $6) "
         "ON CONFLICT (model_name, model_version, bin) DO UPDATE SET "
         "count = model_calibration.count + excluded.count, "
         "correct = model_calibration.correct + excluded.correct, "
         "sum_confidence = model_calibration.sum_confidence + excluded.sum_confidence",
         2, true, "iir"},
    [TABLE_PAIRS] =
        {"INSERT INTO model_pairs (model_a, model_b, both_answered, agree, labelled, both_right, "
         "a_right_only, b_right_only, both_wrong) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
         "ON CONFLICT (model_a, model_b) DO UPDATE SET "
         "both_answered = model_pairs.both_answered + excluded.both_answered, "
         "agree = model_pairs.agree + excluded.agree, "
         "labelled = model_pairs.labelled + excluded.labelled, "
         "both_right = model_pairs.both_right + excluded.both_right, "
         "a_right_only = model_pairs.a_right_only + excluded.a_right_only, "
         "b_right_only = model_pairs.b_right_only + excluded.b_right_only, "
         "both_wrong = model_pairs.both_wrong + excluded.both_wrong",
         2, false, "iiiiiii"},
    [TABLE_PAIR_CLASSES] =
        {"INSERT INTO model_pair_classes (model_a, model_b, class_a, class_b, count) "
         "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (model_a, model_b, class_a, class_b) "
         "DO UPDATE SET count = model_pair_classes.count + excluded.count",
         4, false, "i"},
};

/* One row of a table and what is to be added to it. */
struct row {
    struct row *chain; /* in its bucket */
    struct row *next;  /* of its table */
    uint64_t hash;
    enum table table;
    const char *keys[KEYS_MAX];
    int64_t number;
    double sums[SUMS_MAX];
};

struct rollups {
    struct sql_tx *tx;
    bool failed; /* memory ran out; rollups_write says so */
    struct row *rows[TABLE_COUNT];
    struct row *buckets[BUCKETS];
};

struct rollups *rollups_begin(struct sql_tx *tx)
{
    struct rollups *rollups = sql_alloc(tx, sizeof *rollups);
    if (rollups != NULL)
        rollups->tx = tx;
    return rollups;
}

/* --- Rows
 * ------------------------------------------------------------------------------------------------
 */

static bool is_row(const struct row *row, uint64_t hash, enum table table, const char *const *keys,
                   int64_t number)
{
    if (row->hash != hash || row->table != table || row->number != number)
        return false;
    for (int i = 0; i < tables[table].keys; i++)
        if (strcmp(row->keys[i], keys[i]) != 0)
            return false;
    return true;
}

static struct row *make_row(struct rollups *rollups, enum table table, const char *const *keys,
                            int64_t number)
{
    struct row *row = sql_alloc(rollups->tx, sizeof *row);
    if (row == NULL)
        return NULL;
    row->table = table;
    row->number = number;
    for (int i = 0; i < tables[table].keys; i++) {
        const size_t size = strlen(keys[i]) + 1;
        char *copy = sql_alloc(rollups->tx, size);
        if (copy == NULL)
            return NULL;
        row->keys[i] = memcpy(copy, keys[i], size);
    }
    return row;
}

/* The row with these keys, all zeros when it is new; NULL when memory is out. */
static struct row *find_row(struct rollups *rollups, enum table table, const char *const *keys,
                            int64_t number, bool *is_new)
{
    uint64_t hash = (uint64_t)table * 31 + (uint64_t)number;

    for (int i = 0; i < tables[table].keys; i++)
        hash = hash * 31 + fnv1a(keys[i], strlen(keys[i]));
    struct row **bucket = &rollups->buckets[hash % BUCKETS];
    struct row *row = *bucket;
    while (row != NULL && !is_row(row, hash, table, keys, number))
        row = row->chain;
    *is_new = row == NULL;
    if (row == NULL && (row = make_row(rollups, table, keys, number)) != NULL) {
        row->hash = hash;
        row->chain = *bucket;
        *bucket = row;
        row->next = rollups->rows[table];
        rollups->rows[table] = row;
    }
    return row;
}

static void add(struct rollups *rollups, enum table table, const char *const *keys, int64_t number,
                const double *sums)
{
    bool is_new;
    struct row *row = find_row(rollups, table, keys, number, &is_new);

    if (row == NULL) {
        rollups->failed = true;
        return;
    }
    for (int i = 0; tables[table].sums[i] != '\0'; i++) {
        const char kind = tables[table].sums[i];
        if (kind == 'i' || kind == 'r')
            row->sums[i] += sums[i];
        else if (is_new || (kind == 'm' ? sums[i] < row->sums[i] : sums[i] > row->sums[i]))
            row->sums[i] = sums[i];
    }
}

#define KEYS(...) ((const char *const[]){__VA_ARGS__})
#define SUMS(...) ((const double[]){__VA_ARGS__})

static int write_row(struct sql_tx *tx, const struct row *row, struct error *err)
{
    struct sql_value values[KEYS_MAX + 1 + SUMS_MAX];
    const char *sums = tables[row->table].sums;
    int count = 0;

    while (count < tables[row->table].keys) {
        values[count] = sql_text(row->keys[count]);
        count++;
    }
    if (tables[row->table].has_number)
        values[count++] = sql_integer(row->number);
    for (int i = 0; sums[i] != '\0'; i++)
        values[count++] =
            sums[i] == 'i' ? sql_integer((int64_t)row->sums[i]) : sql_real(row->sums[i]);
    return sql_exec(tx, tables[row->table].text, values, count, NULL, err);
}

int rollups_write(struct rollups *rollups, struct error *err)
{
    int status = STATUS_OK;

    if (rollups->failed)
        return error_set(err, STATUS_NO_MEMORY, "no memory to count predictions");
    for (int table = 0; table < TABLE_COUNT; table++)
        for (const struct row *row = rollups->rows[table]; row != NULL && status == STATUS_OK;
             row = row->next)
            status = write_row(rollups->tx, row, err);
    return status;
}

/* --- One model
 * -----------------------------------------------------------------------------------------------
 */

void rollups_prediction(struct rollups *rollups, const struct rollup_prediction *p)
{
    const int64_t hour_us = 3600000000;
    const int64_t time_us = (int64_t)(p->time_ms * 1000.0);
    char text[TIMESTAMP_TEXT_MAX];
    const char *hour = timestamp_format(p->timestamp_us - p->timestamp_us % hour_us, text);

    add(rollups, TABLE_TOTALS, KEYS(p->model_name, p->model_version), 0,
        SUMS(1, p->confidence, p->time_ms, p->time_ms, p->time_ms));
    add(rollups, TABLE_CLASSES, KEYS(p->model_name, p->model_version, p->prediction_class), 0,
        SUMS(1));
    add(rollups, TABLE_HOURS, KEYS(hour, p->model_name), 0, SUMS(1, p->confidence, p->time_ms));
    add(rollups, TABLE_TIMES, KEYS(p->model_name, p->model_version), histogram_bucket(time_us),
        SUMS(1));
}

void rollups_label(struct rollups *rollups, const struct rollup_prediction *p, const char *label,
                   int sign)
{
    if (label == NULL)
        return;
    const int correct = strcmp(p->prediction_class, label) == 0;
    add(rollups, TABLE_LABELLED, KEYS(p->model_name, p->model_version), 0,
        SUMS(sign, sign * correct));
    add(rollups, TABLE_CONFUSION, KEYS(p->model_name, p->model_version, label, p->prediction_class),
        0, SUMS(sign));
    add(rollups, TABLE_CALIBRATION, KEYS(p->model_name, p->model_version),
        calibration_bin(p->confidence), SUMS(sign, sign * correct, sign * p->confidence));
}

/* --- Pairs
 * ---------------------------------------------------------------------------------------------------
 */

enum { MODEL_KEY_SIZE = 2 * NAME_SIZE + 1 };

/* Two answers to one image, in the order of their models' keys. */
struct pair {
    char a[MODEL_KEY_SIZE], b[MODEL_KEY_SIZE];
    const char *class_a, *class_b;
};

static void pair_order(struct pair *pair, const struct rollup_prediction *one,
                       const struct rollup_prediction *other)
{
    char key[MODEL_KEY_SIZE], other_key[MODEL_KEY_SIZE];

    snprintf(key, sizeof key, "%s@%s", one->model_name, one->model_version);
    snprintf(other_key, sizeof other_key, "%s@%s", other->model_name, other->model_version);
    const bool one_first = strcmp(key, other_key) < 0;
    memcpy(pair->a, one_first ? key : other_key, sizeof pair->a);
    memcpy(pair->b, one_first ? other_key : key, sizeof pair->b);
    pair->class_a = (one_first ? one : other)->prediction_class;
    pair->class_b = (one_first ? other : one)->prediction_class;
}

void rollups_pair(struct rollups *rollups, const struct rollup_prediction *one,
                  const struct rollup_prediction *other)
{
    struct pair pair;

    pair_order(&pair, one, other);
    const int agree = strcmp(pair.class_a, pair.class_b) == 0;
    add(rollups, TABLE_PAIRS, KEYS(pair.a, pair.b), 0, SUMS(1, agree, 0, 0, 0, 0, 0));
    add(rollups, TABLE_PAIR_CLASSES, KEYS(pair.a, pair.b, pair.class_a, pair.class_b), 0, SUMS(1));
}

void rollups_pair_label(struct rollups *rollups, const struct rollup_prediction *one,
                        const struct rollup_prediction *other, const char *label, int sign)
{
    struct pair pair;

    if (label == NULL)
        return;
    pair_order(&pair, one, other);
    const bool a_right = strcmp(pair.class_a, label) == 0;
    const bool b_right = strcmp(pair.class_b, label) == 0;
    add(rollups, TABLE_PAIRS, KEYS(pair.a, pair.b), 0,
        SUMS(0, 0, sign, sign * (a_right && b_right), sign * (a_right && !b_right),
             sign * (!a_right && b_right), sign * (!a_right && !b_right)));
}

/* --- A label's change
 * ---------------------------------------------------------------------------------------- */

/* An image's predictions, with the statement's rows still open: their texts are copied. */
struct known_prediction {
    struct known_prediction *next;
    struct rollup_prediction prediction;
};

static const char *copy_text(struct sql_tx *tx, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = sql_alloc(tx, size);
    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

static int keep_prediction(struct sql_tx *tx, const struct sql_rows *rows,
                           struct known_prediction **list, struct error *err)
{
    struct known_prediction *known = sql_alloc(tx, sizeof *known);
    if (known == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for an image's predictions");
    struct rollup_prediction *p = &known->prediction;
    p->model_name = copy_text(tx, sql_rows_text(rows, 0));
    p->model_version = copy_text(tx, sql_rows_text(rows, 1));
    p->prediction_class = copy_text(tx, sql_rows_text(rows, 2));
    p->confidence = sql_rows_real(rows, 3);
    if (p->model_name == NULL || p->model_version == NULL || p->prediction_class == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for an image's predictions");
    known->next = *list;
    *list = known;
    return STATUS_OK;
}

static int read_predictions(struct sql_tx *tx, const char *image_id, struct known_prediction **list,
                            struct error *err)
{
    static const char text[] = "SELECT model_name, model_version, prediction_class, confidence "
                               "FROM predictions WHERE image_id = $1";
    struct sql_rows *rows = NULL;

    int status = sql_query(tx, text, SQL_PARAMS(sql_text(image_id)), &rows, err);
    if (status != STATUS_OK)
        return status;
    while ((status = sql_rows_next(rows, err)) == 1)
        if ((status = keep_prediction(tx, rows, list, err)) != STATUS_OK)
            break;
    sql_rows_free(rows);
    return status;
}

int rollup_relabel(struct sql_tx *tx, const char *image_id, const char *label_before,
                   const char *label_after, struct error *err)
{
    struct rollups *rollups = rollups_begin(tx);
    struct known_prediction *list = NULL;

    if (rollups == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to count predictions");
    const int status = read_predictions(tx, image_id, &list, err);
    if (status != STATUS_OK)
        return status;
    for (const struct known_prediction *one = list; one != NULL; one = one->next) {
        rollups_label(rollups, &one->prediction, label_before, -1);
        rollups_label(rollups, &one->prediction, label_after, 1);
        for (const struct known_prediction *other = one->next; other != NULL; other = other->next) {
            rollups_pair_label(rollups, &one->prediction, &other->prediction, label_before, -1);
            rollups_pair_label(rollups, &one->prediction, &other->prediction, label_after, 1);
        }
    }
    return rollups_write(rollups, err);
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
