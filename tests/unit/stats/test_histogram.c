/* Tests of stats/histogram: every quantile against the sorted values themselves, and of
 * stats/calibration against sums made by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "stats/calibration.h"
#include "stats/histogram.h"

static int compare_values(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Log-normal times around 5 ms: what latencies look like. */
static void random_times(struct rng *rng, int64_t *values, int count)
{
    for (int i = 0; i < count; i++)
        values[i] = (int64_t)(5000 * exp(1.5 * rng_normal(rng))) + 1;
}

static void test_quantiles_are_within_a_bucket(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static int64_t values[COUNT];
    struct rng rng;
    rng_seed(&rng, 11);
    random_times(&rng, values, COUNT);
    struct histogram histogram;
    histogram_init(&histogram);
    double sum = 0;
    for (int i = 0; i < COUNT; i++) {
        histogram_add(&histogram, values[i]);
        sum += (double)values[i];
    }
    qsort(values, COUNT, sizeof values[0], compare_values);
    double before = 0;
    for (int percent = 0; percent <= 1000; percent++) {
        double q = percent / 1000.0;
        int rank = (int)ceil(q * COUNT);
        double exact = (double)values[rank < 1 ? 0 : rank - 1];
        double quantile = histogram_quantile(&histogram, q);
        assert_true(quantile >= exact && quantile <= exact * (1 + 1.0 / 128) + 1e-9);
        assert_true(quantile >= before);
        before = quantile;
    }
    assert_true(histogram_quantile(&histogram, 1) == (double)values[COUNT - 1]);
    assert_int_equal(histogram.min_us, values[0]);
    assert_true(fabs(histogram_mean(&histogram) - sum / COUNT) < 1e-6);
}

static void test_every_value_is_in_its_bucket(void **state)
{
    (void)state;
    static struct histogram histogram;
    for (int64_t value = 1; value < 3600LL * 1000 * 1000; value += 1 + value / 500) {
        histogram_init(&histogram);
        histogram_add(&histogram, value);
        assert_true(histogram_quantile(&histogram, 0.5) == (double)value);
        histogram_add(&histogram, 3600LL * 1000 * 1000); /* so that max no longer caps it */
        double high = histogram_quantile(&histogram, 0.5);
        assert_true(high >= (double)value && high <= (double)value * (1 + 1.0 / 128));
    }
}

static void test_values_are_clamped(void **state)
{
    (void)state;
    struct histogram histogram;
    histogram_init(&histogram);
    histogram_add(&histogram, -5);
    histogram_add(&histogram, INT64_MAX);
    assert_int_equal(histogram.min_us, 1);
    assert_int_equal(histogram.max_us, 3600LL * 1000 * 1000);
    assert_true(histogram_quantile(&histogram, 0) == 1);
    assert_true(histogram_quantile(&histogram, 1) == 3600e6);
}

static void test_empty(void **state)
{
    (void)state;
    struct histogram histogram;
    histogram_init(&histogram);
    assert_true(histogram_quantile(&histogram, 0.5) == 0);
    assert_true(histogram_mean(&histogram) == 0);
    struct interval interval = histogram_quantile_interval(&histogram, 0.5, 0.95);
    assert_true(interval.low == 0 && interval.high == 0);
}

static void test_merging_is_adding_all(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static int64_t values[COUNT];
    struct rng rng;
    rng_seed(&rng, 12);
    random_times(&rng, values, COUNT);
    static struct histogram parts[3], all, merged;
    histogram_init(&all);
    histogram_init(&merged);
    memset(parts, 0, sizeof parts);
    for (int i = 0; i < COUNT; i++) {
        histogram_add(&all, values[i]);
        histogram_add(&parts[i % 2], values[i]); /* the third stays empty */
    }
    for (int i = 0; i < 3; i++)
        histogram_merge(&merged, &parts[i]);
    assert_true(fabs(merged.sum_us - all.sum_us) < 1e-3);
    merged.sum_us = all.sum_us;
    assert_memory_equal(&merged, &all, sizeof all);
}

/* Ranks by exact summation of the binomial (Python's fractions). The first is the interval of the
 * median of 20 values that tables of order statistics give: the 6th to the 15th, 95.9 %. The values
 * grow by 1.6 %, so that each has a bucket of its own from which its rank is read back. */
static void test_interval_takes_the_right_order_statistics(void **state)
{
    (void)state;
    static const struct {
        int n;
        double q;
        int lower, upper;
    } cases[] = {
        {20, 0.5, 6, 15},      {100, 0.5, 40, 61},     {100, 0.9, 84, 96},
        {1000, 0.9, 881, 919}, {1000, 0.99, 983, 997}, {368, 0.99, 360, 368},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct histogram histogram;
        histogram_init(&histogram);
        double start = cases[i].n > 500 ? 200 : 20000;
        for (int k = 1; k <= cases[i].n; k++)
            histogram_add(&histogram, (int64_t)(start * pow(1.016, k)));
        struct interval interval = histogram_quantile_interval(&histogram, cases[i].q, 0.95);
        assert_int_equal(ceil(log(interval.low / start) / log(1.016) - 0.1), cases[i].lower);
        assert_int_equal(floor(log(interval.high / start) / log(1.016) + 0.1), cases[i].upper);
    }
}

static void test_interval_covers_the_quantile(void **state)
{
    (void)state;
    enum { REPEATS = 2000, COUNT = 200 };
    struct rng rng;
    rng_seed(&rng, 13);
    int covered = 0;
    static int64_t values[COUNT];
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        random_times(&rng, values, COUNT);
        struct histogram histogram;
        histogram_init(&histogram);
        for (int i = 0; i < COUNT; i++)
            histogram_add(&histogram, values[i]);
        struct interval interval = histogram_quantile_interval(&histogram, 0.5, 0.95);
        covered += interval.low <= 5001 && interval.high >= 5001;
    }
    /* At least 95 %; buckets only widen it. Three standard deviations of chance below. */
    assert_in_range(covered, 1871, 1990);
}

static void test_small_n_ends_at_the_extremes(void **state)
{
    (void)state;
    struct histogram histogram;
    histogram_init(&histogram);
    for (int i = 1; i <= 100; i++)
        histogram_add(&histogram, i);
    struct interval interval = histogram_quantile_interval(&histogram, 0.99, 0.95);
    assert_true(interval.high == 100);
    interval = histogram_quantile_interval(&histogram, 0.01, 0.95);
    assert_true(interval.low == 1);
}

static void test_calibration_error(void **state)
{
    (void)state;
    struct calibration calibration = {0};
    assert_true(isnan(calibration_ece(&calibration)));
    /* Ten answers at 0.95, nine right; ten at 0.55, two right: (10 * 0.05 + 10 * 0.35) / 20. */
    for (int i = 0; i < 10; i++) {
        calibration_add(&calibration, 0.95, i < 9);
        calibration_add(&calibration, 0.55, i < 2);
    }
    assert_true(fabs(calibration_ece(&calibration) - 0.2) < 1e-12);
    assert_int_equal(calibration.count[14], 10);
    assert_int_equal(calibration.correct[14], 9);
    assert_int_equal(calibration.count[8], 10);
}

static void test_calibration_bins_are_closed_above(void **state)
{
    (void)state;
    struct calibration calibration = {0};
    calibration_add(&calibration, 1.0 / 5, 1);   /* the upper end of the third bin */
    calibration_add(&calibration, 0, 0);         /* the lowest there is */
    calibration_add(&calibration, 1.0000001, 1); /* rounding */
    calibration_add(&calibration, NAN, 0);
    assert_int_equal(calibration.count[2], 1);
    assert_int_equal(calibration.count[0], 2);
    assert_int_equal(calibration.count[14], 1);
    assert_true(calibration.confidence[14] == 1);
}

static void test_calibration_merging_is_adding_all(void **state)
{
    (void)state;
    struct calibration all = {0}, parts[2] = {{{0}}}, merged = {0};
    struct rng rng;
    rng_seed(&rng, 14);
    for (int i = 0; i < 1000; i++) {
        double confidence = rng_uniform(&rng);
        int correct = rng_uniform(&rng) < confidence;
        calibration_add(&all, confidence, correct);
        calibration_add(&parts[i % 2], confidence, correct);
    }
    calibration_merge(&merged, &parts[0]);
    calibration_merge(&merged, &parts[1]);
    assert_memory_equal(merged.count, all.count, sizeof all.count);
    assert_memory_equal(merged.correct, all.correct, sizeof all.correct);
    assert_true(fabs(calibration_ece(&merged) - calibration_ece(&all)) < 1e-12);
    /* Answers that are right as often as they say. */
    assert_true(calibration_ece(&all) < 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles_are_within_a_bucket),
        cmocka_unit_test(test_every_value_is_in_its_bucket),
        cmocka_unit_test(test_values_are_clamped),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_merging_is_adding_all),
        cmocka_unit_test(test_interval_takes_the_right_order_statistics),
        cmocka_unit_test(test_interval_covers_the_quantile),
        cmocka_unit_test(test_small_n_ends_at_the_extremes),
        cmocka_unit_test(test_calibration_error),
        cmocka_unit_test(test_calibration_bins_are_closed_above),
        cmocka_unit_test(test_calibration_merging_is_adding_all),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
