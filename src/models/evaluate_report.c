/* The report of an evaluation: answers into counts, counts into statistics, statistics into JSON.
 */
#include "models/evaluate_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/calibration.h"
#include "stats/compare.h"

enum { TABLE_CLASSES_MAX = 1000, BOOTSTRAP_DRAWS = 2000, BOOTSTRAP_SEED = 1 };
static const double CONFIDENCE = 0.95;

/* JSON has no NaN; what is undefined is null. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *share(int64_t part, int64_t whole)
{
    return number(whole > 0 ? (double)part / (double)whole : NAN);
}

static int class_at(const struct measurement *measurement, int64_t image)
{
    return measurement->images.files[image].class_index;
}

static int no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, "no memory for the report");
}

/* --- One model */

/* counts[true * (classes + 1) + answered]; the last column is for labels that are no class. */
static int64_t *count_answers(const struct measurement *measurement, const struct tally *tally)
{
    const size_t classes = (size_t)measurement->images.class_count;
    int64_t *counts = calloc(classes * (classes + 1), sizeof *counts);

    for (int64_t i = 0; counts != NULL && i < measurement->images.count; i++)
        if (tally->answers[i] != ANSWER_NONE)
            counts[(size_t)class_at(measurement, i) * (classes + 1) + (size_t)tally->answers[i]]++;
    return counts;
}

static json_t *class_rows(const struct measurement *measurement, const int64_t *counts)
{
    const int classes = measurement->images.class_count;
    json_t *rows = json_array();

    for (int c = 0; c < classes; c++) {
        int64_t count = 0, answered = 0;
        for (int other = 0; other <= classes; other++)
            count += counts[c * (classes + 1) + other];
        for (int other = 0; other < classes; other++)
            answered += counts[other * (classes + 1) + c];
        const int64_t correct = counts[c * (classes + 1) + c];
        json_array_append_new(rows,
                              json_pack("{s:s, s:I, s:I, s:o, s:o, s:I}", "label",
                                        measurement->images.classes[c], "count", (json_int_t)count,
                                        "correct", (json_int_t)correct, "precision",
                                        share(correct, answered), "recall", share(correct, count),
                                        "other", (json_int_t)counts[c * (classes + 1) + classes]));
    }
    return rows;
}

static json_t *confusion_rows(const struct measurement *measurement, const int64_t *counts)
{
    const int classes = measurement->images.class_count;
    json_t *rows = json_array();

    for (int c = 0; c < classes; c++) {
        json_t *row = json_array();
        for (int other = 0; other < classes; other++)
            json_array_append_new(row, json_integer(counts[c * (classes + 1) + other]));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *times_object(const struct histogram *times)
{
    const struct interval p50 = histogram_quantile_interval(times, 0.5, CONFIDENCE);
    const struct interval p99 = histogram_quantile_interval(times, 0.99, CONFIDENCE);

    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "n", (json_int_t)times->total,
                     "mean", histogram_mean(times) / 1000, "p50",
                     histogram_quantile(times, 0.5) / 1000, "p50_low", p50.low / 1000, "p50_high",
                     p50.high / 1000, "p90", histogram_quantile(times, 0.9) / 1000, "p99",
                     histogram_quantile(times, 0.99) / 1000, "p99_low", p99.low / 1000, "p99_high",
                     p99.high / 1000);
}

static int64_t count_right(const struct measurement *measurement, const struct tally *tally,
                           struct calibration *calibration)
{
    int64_t correct = 0;

    for (int64_t i = 0; i < measurement->images.count; i++) {
        if (tally->answers[i] == ANSWER_NONE)
            continue;
        const int right = tally->answers[i] == class_at(measurement, i);
        correct += right;
        calibration_add(calibration, (double)tally->confidences[i], right);
    }
    return correct;
}

static json_t *model_object(const struct measurement *measurement, int m)
{
    const struct model *model = measurement->models[m];
    const struct tally *tally = &measurement->tallies[m];
    const int64_t n = measurement->images.count - measurement->unreadable_count;
    struct calibration calibration = {0};

    const int64_t correct = count_right(measurement, tally, &calibration);
    const struct interval interval = wilson_interval(correct, n, CONFIDENCE);
    int64_t *counts = measurement->images.class_count <= TABLE_CLASSES_MAX
                          ? count_answers(measurement, tally)
                          : NULL;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:f, s:f, s:o, s:o, s:o, s:o, s:o}", "name",
        model_package(model)->name, "version", model_package(model)->version, "precision",
        precision_name(engine_precision(model_engine(model))), "precision_note",
        model_precision_note(model), "n", (json_int_t)n, "correct", (json_int_t)correct, "accuracy",
        share(correct, n), "accuracy_low", interval.low, "accuracy_high", interval.high, "ece",
        number(calibration_ece(&calibration)), "images_per_second",
        number(tally->busy_seconds > 0 ? (double)n * measurement->threads / tally->busy_seconds
                                       : NAN),
        "time_ms", times_object(tally->times), "classes",
        counts != NULL ? class_rows(measurement, counts) : json_null(), "confusion",
        counts != NULL ? confusion_rows(measurement, counts) : json_null());
    free(counts);
    return object;
}

/* --- Two models */

/* How often each was right, and the two lists of 0 and 1 that the bootstrap resamples. */
struct pairing {
    int64_t both, only_first, only_second, neither, agreed, n;
    double *first, *second;
};

static void pair_up(const struct measurement *measurement, const struct tally *first,
                    const struct tally *second, struct pairing *pairing)
{
    for (int64_t i = 0; i < measurement->images.count; i++) {
        if (first->answers[i] == ANSWER_NONE)
            continue;
        const int truth = class_at(measurement, i);
        const bool a = first->answers[i] == truth, b = second->answers[i] == truth;
        pairing->both += a && b;
        pairing->only_first += a && !b;
        pairing->only_second += !a && b;
        pairing->neither += !a && !b;
        pairing->agreed += first->answers[i] == second->answers[i];
        pairing->first[pairing->n] = a;
        pairing->second[pairing->n++] = b;
    }
}

/* Cohen's kappa of the two models' answers; labels that are no class of the data count as one. */
static double kappa_of(const struct measurement *measurement, const struct tally *first,
                       const struct tally *second)
{
    const size_t categories = (size_t)measurement->images.class_count + 1;

    if (categories > TABLE_CLASSES_MAX + 1)
        return NAN;
    int64_t *table = calloc(categories * categories, sizeof *table);
    if (table == NULL)
        return NAN;
    for (int64_t i = 0; i < measurement->images.count; i++)
        if (first->answers[i] != ANSWER_NONE)
            table[(size_t)first->answers[i] * categories + (size_t)second->answers[i]]++;
    const double kappa = cohen_kappa(table, (int)categories);
    free(table);
    return kappa;
}

static int pair_object(const struct measurement *measurement, int a, int b, json_t **out, double *p,
                       struct error *err)
{
    const struct tally *first = &measurement->tallies[a], *second = &measurement->tallies[b];
    struct pairing pairing = {0};
    struct interval interval = {NAN, NAN};
    int status = STATUS_OK;

    pairing.first = calloc((size_t)measurement->images.count, sizeof(double));
    pairing.second = calloc((size_t)measurement->images.count, sizeof(double));
    if (pairing.first == NULL || pairing.second == NULL) {
        status = no_memory(err);
        goto done;
    }
    pair_up(measurement, first, second, &pairing);
    const struct mcnemar test = mcnemar_test(pairing.only_first, pairing.only_second);
    if (pairing.n > 0)
        status = bootstrap_difference(pairing.first, pairing.second, pairing.n, BOOTSTRAP_DRAWS,
                                      BOOTSTRAP_SEED, CONFIDENCE, &interval, err);
    if (status != STATUS_OK)
        goto done;
    *p = test.p;
    *out = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:{s:b, s:o, s:f}, s:{s:o, s:o, s:o, s:i}}",
        "first", model_package(measurement->models[a])->name, "second",
        model_package(measurement->models[b])->name, "both", (json_int_t)pairing.both, "only_first",
        (json_int_t)pairing.only_first, "only_second", (json_int_t)pairing.only_second, "neither",
        (json_int_t)pairing.neither, "agreement", share(pairing.agreed, pairing.n), "kappa",
        number(kappa_of(measurement, first, second)), "mcnemar", "exact", test.exact, "statistic",
        number(test.statistic), "p", test.p, "difference", "accuracy",
        share(pairing.only_first - pairing.only_second, pairing.n), "low", number(interval.low),
        "high", number(interval.high), "draws", BOOTSTRAP_DRAWS);
    status = *out != NULL ? STATUS_OK : no_memory(err);
done:
    free(pairing.first);
    free(pairing.second);
    return status;
}

/* All pairs, each with its p-value and, beside it, adjusted for how many there are. */
static int pair_rows(const struct measurement *measurement, json_t *rows, struct error *err)
{
    const int models = measurement->model_count;
    int count = 0, status = STATUS_OK;
    double *p = calloc((size_t)models * (size_t)models + 1, sizeof *p);

    if (p == NULL)
        return no_memory(err);
    for (int a = 0; a < models; a++)
        for (int b = a + 1; b < models && status == STATUS_OK; b++) {
            json_t *row = NULL;
            status = pair_object(measurement, a, b, &row, &p[count], err);
            if (status == STATUS_OK && json_array_append_new(rows, row) != 0)
                status = no_memory(err);
            count++;
        }
    if (status == STATUS_OK)
        status = holm_adjust(p, count, err);
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        json_t *test = json_object_get(json_array_get(rows, (size_t)i), "mcnemar");
        if (json_object_set_new(test, "p_holm", json_real(p[i])) != 0)
            status = no_memory(err);
    }
    free(p);
    return status;
}

/* --- All models */

/* Cochran's Q over all models; null when there are fewer than three. */
static json_t *cochran_object(const struct measurement *measurement)
{
    const int models = measurement->model_count;
    int64_t n = 0;
    double q;

    if (models < 3)
        return json_null();
    uint8_t *correct = calloc((size_t)measurement->images.count * (size_t)models, 1);
    if (correct == NULL)
        return NULL;
    for (int64_t i = 0; i < measurement->images.count; i++) {
        if (measurement->tallies[0].answers[i] == ANSWER_NONE)
            continue;
        for (int m = 0; m < models; m++)
            correct[n * models + m] =
                measurement->tallies[m].answers[i] == class_at(measurement, i);
        n++;
    }
    const double p = cochran_q(correct, n, models, &q);
    free(correct);
    return json_pack("{s:o, s:i, s:o}", "q", number(q), "degrees", models - 1, "p", number(p));
}

static json_t *class_names(const struct measurement *measurement)
{
    json_t *names = json_array();
    for (int c = 0; c < measurement->images.class_count; c++)
        json_array_append_new(names, json_string(measurement->images.classes[c]));
    return names;
}

int evaluate_report(const struct measurement *measurement, json_t **report, struct error *err)
{
    json_t *models = json_array(), *pairs = json_array();
    const int64_t n = measurement->images.count - measurement->unreadable_count;

    int status = models != NULL && pairs != NULL ? STATUS_OK : no_memory(err);
    for (int m = 0; m < measurement->model_count && status == STATUS_OK; m++)
        if (json_array_append_new(models, model_object(measurement, m)) != 0)
            status = no_memory(err);
    if (status == STATUS_OK)
        status = pair_rows(measurement, pairs, err);
    if (status != STATUS_OK) {
        json_decref(models);
        json_decref(pairs);
        return status;
    }
    *report = json_pack("{s:s, s:I, s:{s:I, s:O}, s:i, s:i, s:f, s:o, s:f, s:o, s:o, s:o, s:o}",
                        "data", measurement->options->data, "images", (json_int_t)n, "unreadable",
                        "count", (json_int_t)measurement->unreadable_count, "files",
                        measurement->unreadable, "threads", measurement->threads, "batch",
                        measurement->batch, "seconds", measurement->seconds, "images_per_second",
                        number(measurement->seconds > 0 ? (double)n / measurement->seconds : NAN),
                        "confidence", CONFIDENCE, "classes", class_names(measurement), "models",
                        models, "pairs", pairs, "cochran", cochran_object(measurement));
    return *report != NULL ? STATUS_OK : no_memory(err);
}
