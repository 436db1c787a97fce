/* Statistics as the faces show them: read from the roll-ups, finished with src/stats. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/query.h"
#include "api/views.h"
#include "stats/calibration.h"
#include "stats/compare.h"
#include "stats/histogram.h"

#define CONFIDENCE_LEVEL 0.95
/* Below this many samples a 99th percentile says little. */
enum { P99_SAMPLES_MIN = 1000, CLASSES_MAX = 1024 };

static json_t *real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *interval_as_json(struct interval interval)
{
    return json_pack("[o, o]", real_or_null(interval.low), real_or_null(interval.high));
}

/* --- One model
 * -----------------------------------------------------------------------------------------------
 */

static void set_percentile(json_t *model, const struct histogram *histogram, const char *name,
                           double q)
{
    char member[32];
    const struct interval interval = histogram_quantile_interval(histogram, q, CONFIDENCE_LEVEL);

    snprintf(member, sizeof member, "%s_time_ms", name);
    json_object_set_new(model, member, json_real(histogram_quantile(histogram, q) / 1000.0));
    snprintf(member, sizeof member, "%s_time_ms_interval", name);
    json_object_set_new(
        model, member,
        interval_as_json((struct interval){interval.low / 1000.0, interval.high / 1000.0}));
}

static int add_times(struct sql *sql, json_t *model, struct error *err)
{
    static const char text[] = "SELECT bucket, count FROM model_times "
                               "WHERE model_name = $1 AND model_version = $2";
    struct histogram *histogram = malloc(sizeof *histogram);
    const char *name = json_string_value(json_object_get(model, "model_name"));
    const char *version = json_string_value(json_object_get(model, "model_version"));
    json_t *rows, *row;
    size_t i;

    if (histogram == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for statistics");
    const int status =
        query_json(sql, text, SQL_PARAMS(sql_text(name), sql_text(version)), &rows, err);
    if (status == STATUS_OK) {
        histogram_init(histogram);
        json_array_foreach (rows, i, row) {
            const json_int_t bucket = json_integer_value(json_object_get(row, "bucket"));
            if (bucket >= 0 && bucket < HISTOGRAM_BUCKETS)
                histogram_add_bucket(histogram, (int)bucket,
                                     json_integer_value(json_object_get(row, "count")));
        }
        json_decref(rows);
        set_percentile(model, histogram, "p50", 0.50);
        set_percentile(model, histogram, "p90", 0.90);
        set_percentile(model, histogram, "p95", 0.95);
        set_percentile(model, histogram, "p99", 0.99);
        json_object_set_new(model, "p99_reliable",
                            json_boolean(histogram->total >= P99_SAMPLES_MIN));
    }
    free(histogram);
    return status;
}

static int add_calibration(struct sql *sql, json_t *model, struct error *err)
{
    static const char text[] = "SELECT bin, count, correct, sum_confidence FROM model_calibration "
                               "WHERE model_name = $1 AND model_version = $2";
    struct calibration calibration = {0};
    const char *name = json_string_value(json_object_get(model, "model_name"));
    const char *version = json_string_value(json_object_get(model, "model_version"));
    json_t *rows, *row;
    size_t i;

    const int status =
        query_json(sql, text, SQL_PARAMS(sql_text(name), sql_text(version)), &rows, err);
    if (status != STATUS_OK)
        return status;
    json_array_foreach (rows, i, row) {
        const json_int_t bin = json_integer_value(json_object_get(row, "bin"));
        if (bin < 0 || bin >= CALIBRATION_BINS)
            continue;
        calibration.count[bin] = json_integer_value(json_object_get(row, "count"));
        calibration.correct[bin] = json_integer_value(json_object_get(row, "correct"));
        calibration.confidence[bin] = json_number_value(json_object_get(row, "sum_confidence"));
    }
    json_decref(rows);
    json_object_set_new(model, "calibration_error", real_or_null(calibration_ece(&calibration)));
    return STATUS_OK;
}

static void add_accuracy(json_t *model)
{
    const json_int_t labelled = json_integer_value(json_object_get(model, "labelled"));
    const json_int_t correct = json_integer_value(json_object_get(model, "correct"));

    json_object_set_new(model, "accuracy",
                        labelled > 0 ? json_real((double)correct / (double)labelled) : json_null());
    json_object_set_new(model, "accuracy_interval",
                        labelled > 0
                            ? interval_as_json(wilson_interval(correct, labelled, CONFIDENCE_LEVEL))
                            : json_null());
}

static int complete_models(struct sql *sql, json_t *models, struct error *err)
{
    json_t *model;
    size_t i;

    json_array_foreach (models, i, model) {
        int status = add_times(sql, model, err);
        if (status == STATUS_OK)
            status = add_calibration(sql, model, err);
        if (status != STATUS_OK)
            return status;
        add_accuracy(model);
    }
    return STATUS_OK;
}

/* --- A pair
 * --------------------------------------------------------------------------------------------------
 */

/* The classes of a pair's table, numbered as they are met. */
struct class_list {
    const char *names[CLASSES_MAX];
    int count;
};

static int class_index(struct class_list *list, const char *name)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->names[i], name) == 0)
            return i;
    if (list->count == CLASSES_MAX)
        return -1;
    list->names[list->count] = name;
    return list->count++;
}

/* Cohen's kappa over the rows class_a, class_b, count; NaN when undefined or there are too many
 * classes. */
static double kappa_of_rows(json_t *rows)
{
    struct class_list *classes = calloc(1, sizeof *classes);
    int64_t *table = NULL;
    double kappa = NAN;
    json_t *row;
    size_t i;
    bool fits = classes != NULL;

    if (fits)
        json_array_foreach (rows, i, row)
            fits &= class_index(classes, json_string_value(json_object_get(row, "class_a"))) >= 0 &&
                    class_index(classes, json_string_value(json_object_get(row, "class_b"))) >= 0;
    if (fits && classes->count > 0)
        table = calloc((size_t)classes->count * (size_t)classes->count, sizeof *table);
    if (table != NULL) {
        json_array_foreach (rows, i, row) {
            const int a = class_index(classes, json_string_value(json_object_get(row, "class_a")));
            const int b = class_index(classes, json_string_value(json_object_get(row, "class_b")));
            table[a * classes->count + b] += json_integer_value(json_object_get(row, "count"));
        }
        kappa = cohen_kappa(table, classes->count);
    }
    free(table);
    free(classes);
    return kappa;
}

static int add_kappa(struct sql *sql, json_t *pair, struct error *err)
{
    static const char text[] = "SELECT class_a, class_b, count FROM model_pair_classes "
                               "WHERE model_a = $1 AND model_b = $2";
    const char *a = json_string_value(json_object_get(pair, "model_a"));
    const char *b = json_string_value(json_object_get(pair, "model_b"));
    json_t *rows;

    const int status = query_json(sql, text, SQL_PARAMS(sql_text(a), sql_text(b)), &rows, err);
    if (status != STATUS_OK)
        return status;
    json_object_set_new(pair, "kappa", real_or_null(kappa_of_rows(rows)));
    json_decref(rows);
    return STATUS_OK;
}

static void add_agreement(json_t *pair)
{
    const json_int_t both = json_integer_value(json_object_get(pair, "both_answered"));
    const json_int_t agree = json_integer_value(json_object_get(pair, "agree"));

    json_object_set_new(pair, "agreement",
                        both > 0 ? json_real((double)agree / (double)both) : json_null());
    json_object_set_new(pair, "agreement_interval",
                        both > 0 ? interval_as_json(wilson_interval(agree, both, CONFIDENCE_LEVEL))
                                 : json_null());
}

/* Looking again and again at a running p-value finds differences that are not there; the answer
 * says so. */
static void add_mcnemar(json_t *pair)
{
    const json_int_t b = json_integer_value(json_object_get(pair, "a_right_only"));
    const json_int_t c = json_integer_value(json_object_get(pair, "b_right_only"));

    if (json_integer_value(json_object_get(pair, "labelled")) == 0) {
        json_object_set_new(pair, "mcnemar", json_null());
        return;
    }
    const struct mcnemar test = mcnemar_test(b, c);
    json_object_set_new(pair, "mcnemar",
                        json_pack("{s:b, s:o, s:o, s:s}", "exact", test.exact, "statistic",
                                  real_or_null(test.statistic), "p", real_or_null(test.p), "note",
                                  "for one look at a fixed number of images; repeated looks at a "
                                  "growing sample make small p-values too common"));
}

static int complete_pairs(struct sql *sql, json_t *pairs, struct error *err)
{
    json_t *pair;
    size_t i;

    json_array_foreach (pairs, i, pair) {
        const int status = add_kappa(sql, pair, err);
        if (status != STATUS_OK)
            return status;
        add_agreement(pair);
        add_mcnemar(pair);
    }
    return STATUS_OK;
}

int view_model_stats(struct sql *sql, json_t **out, struct error *err)
{
    static const char models_text[] =
        "SELECT t.model_name, t.model_version, t.predictions AS total_predictions, "
        "t.sum_confidence / t.predictions AS avg_confidence, "
        "t.sum_time_ms / t.predictions AS avg_time_ms, t.min_time_ms, t.max_time_ms, "
        "(SELECT count(*) FROM model_classes c WHERE c.model_name = t.model_name "
        "AND c.model_version = t.model_version) AS unique_classes, "
        "t.labelled, t.correct, m.state FROM model_totals t LEFT JOIN models m "
        "ON m.name = t.model_name AND m.version = t.model_version "
        "ORDER BY t.model_name, t.model_version";
    static const char pairs_text[] =
        "SELECT model_a, model_b, both_answered, agree, labelled, both_right, a_right_only, "
        "b_right_only, both_wrong FROM model_pairs ORDER BY model_a, model_b";
    json_t *models = NULL, *pairs = NULL;

    int status = query_json(sql, models_text, SQL_NO_PARAMS, &models, err);
    if (status == STATUS_OK)
        status = query_json(sql, pairs_text, SQL_NO_PARAMS, &pairs, err);
    if (status == STATUS_OK)
        status = complete_models(sql, models, err);
    if (status == STATUS_OK)
        status = complete_pairs(sql, pairs, err);
    if (status != STATUS_OK) {
        json_decref(models);
        json_decref(pairs);
        return status;
    }
    *out = json_pack("{s:f, s:o, s:o}", "confidence_level", CONFIDENCE_LEVEL, "models", models,
                     "pairs", pairs);
    return STATUS_OK;
}
