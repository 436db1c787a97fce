/* Tests of stats/distribution and stats/compare against published worked examples, and against
 * values computed once with 40 to 60 digits (Python's decimal and fractions: the normal by its
 * Taylor series and Newton's method, the binomial by exact summation, the chi-square by its finite
 * sums for whole degrees of freedom). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "stats/compare.h"

/* cmocka's own float comparison takes no relative tolerance. */
static void assert_near(double value, double expected, double relative)
{
    if (!(fabs(value - expected) <= relative * fmax(fabs(expected), 1e-300)))
        fail_msg("%.17g is not %.17g", value, expected);
}

static void test_normal_quantile(void **state)
{
    (void)state;
    assert_near(normal_quantile(0.975), 1.9599639845400542, 1e-15);
    assert_near(normal_quantile(0.995), 2.5758293035489008, 1e-15);
    assert_near(normal_quantile(0.75), 0.67448975019608174, 1e-15);
    assert_near(normal_quantile(0.5249), 0.062455623785399784, 1e-14);
    assert_near(normal_quantile(0.93), 1.4757910281791707, 1e-15);
    assert_near(normal_quantile(0.001), -3.0902323061678135, 1e-15);
    assert_near(normal_quantile(1e-10), -6.3613409024040562, 1e-15);
    assert_near(normal_quantile(1e-20), -9.2623400897984076, 1e-15);
    assert_true(normal_quantile(0.5) == 0);
}

static void test_normal_quantile_inverts_the_distribution(void **state)
{
    (void)state;
    double before = -INFINITY;
    for (double p = 1e-9; p < 1; p += 1.7e-4) {
        double x = normal_quantile(p);
        assert_true(x > before);
        assert_near(erfc(-x / sqrt(2)) / 2, p, 1e-12);
        before = x;
    }
}

static void test_chi_square_tail(void **state)
{
    (void)state;
    static const struct {
        double x;
        int degrees;
        double tail;
    } cases[] = {
        {3.841458820694124, 1, 0.05000000000000006},
        {0.0001, 1, 0.9920212873707368},
        {50, 1, 1.537459794428035e-12},
        {2.8, 2, 0.2465969639416065},
        {12, 3, 0.007383160505359770},
        {9.5, 4, 0.04974724741794365},
        {25, 5, 0.0001393337911856262},
        {0.01, 6, 0.9999999792446356},
        {1, 10, 0.9998278843700442},
        {40, 10, 0.00001694474393006738},
        {700, 20, 2.213405340424449e-135},
        {300, 200, 0.000005924540335483916},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_near(chi_square_tail(cases[i].x, cases[i].degrees), cases[i].tail, 1e-12);
    assert_true(chi_square_tail(0, 3) == 1);
    assert_true(chi_square_tail(-1, 3) == 1);
    assert_true(chi_square_tail(INFINITY, 3) == 0);
    assert_true(isnan(chi_square_tail(NAN, 3)));
}

static void test_binomial(void **state)
{
    (void)state;
    assert_near(binomial_below(3, 10, 0.25), 0.7758750915527344, 1e-13);
    assert_near(binomial_below(980, 1000, 0.99), 0.003288359787727466, 1e-11);
    assert_near(binomial_below(995, 1000, 0.99), 0.9713136000009953, 1e-12);
    assert_near(binomial_below(480, 1000, 0.5), 0.1087241466020705, 1e-12);
    assert_near(binomial_below(5, 2000, 0.01), 0.00006787349452356077, 1e-11);
    assert_true(binomial_below(-1, 10, 0.3) == 0);
    assert_true(binomial_below(10, 10, 0.3) == 1);
    assert_true(binomial_below(0, 10, 0) == 1);
    assert_true(binomial_below(9, 10, 1) == 0);
    assert_true(binomial_below(0, 0, 0.3) == 1);
}

static void test_binomial_of_large_n_is_nearly_normal(void **state)
{
    (void)state;
    int64_t n = 100000000;
    double deviation = sqrt((double)n * 0.25);
    for (double z = -3; z <= 3; z += 0.5) {
        int64_t k = n / 2 + (int64_t)(z * deviation);
        double normal = erfc(-((double)(k - n / 2) + 0.5) / deviation / sqrt(2)) / 2;
        assert_near(binomial_below(k, n, 0.5), normal, 1e-6);
    }
}

/* Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3,
 * gives four decimals of the first four; the further digits are computed. */
static void test_wilson(void **state)
{
    (void)state;
    static const struct {
        int64_t successes, n;
        double low, high;
    } cases[] = {
        {81, 263, 0.2552885198782742, 0.3662095769828001},
        {15, 148, 0.06238639953073628, 0.1604872417233080},
        {0, 20, 0, 0.1611251580528194},
        {1, 29, 0.006113214292762661, 0.1717552187932029},
        {29, 29, 0.8830302015002592, 1},
        {9123, 10000, 0.9065965642806006, 0.9176867906629395},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct interval interval = wilson_interval(cases[i].successes, cases[i].n, 0.95);
        assert_near(interval.low, cases[i].low, 1e-13);
        assert_near(interval.high, cases[i].high, 1e-13);
    }
    struct interval nothing = wilson_interval(0, 0, 0.95);
    assert_true(nothing.low == 0 && nothing.high == 1);
}

/* 121 and 59 are the discordant pairs of the usual textbook table (101, 121, 59, 33). */
static void test_mcnemar(void **state)
{
    (void)state;
    struct mcnemar large = mcnemar_test(121, 59);
    assert_int_equal(large.exact, 0);
    assert_near(large.statistic, 20.67222222222222, 1e-14);
    assert_near(large.p, 0.000005450094825427120, 1e-12);

    struct mcnemar small = mcnemar_test(6, 16);
    assert_int_equal(small.exact, 1);
    assert_true(isnan(small.statistic));
    assert_near(small.p, 0.05247879028320312, 1e-13);
    assert_near(mcnemar_test(16, 6).p, small.p, 1e-15);
    assert_near(mcnemar_test(0, 5).p, 0.0625, 1e-14);
    assert_near(mcnemar_test(3, 9).p, 0.14599609375, 1e-13);

    /* The rule changes at 25 discordant pairs. */
    assert_int_equal(mcnemar_test(10, 14).exact, 1);
    assert_int_equal(mcnemar_test(10, 15).exact, 0);
    assert_near(mcnemar_test(10, 15).p, 0.4237107971667934, 1e-12);
    assert_true(mcnemar_test(0, 0).p == 1);
    assert_true(mcnemar_test(7, 7).p == 1);
    assert_true(mcnemar_test(50, 50).p == 1);
}

/* Conover, "Practical Nonparametric Statistics": three people predict twelve games. */
static void test_cochran(void **state)
{
    (void)state;
    static const uint8_t games[12 * 3] = {1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1,
                                          1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1};
    double q = 0;
    assert_near(cochran_q(games, 12, 3, &q), 0.2465969639416065, 1e-12);
    assert_near(q, 2.8, 1e-13);
}

/* With two classifiers Q is McNemar's statistic without the continuity correction. */
static void test_cochran_of_two_is_mcnemar(void **state)
{
    (void)state;
    uint8_t correct[60 * 2];
    for (int i = 0; i < 60; i++) {
        correct[i * 2] = i < 40;
        correct[i * 2 + 1] = i < 20 || i >= 50;
    }
    double q = 0;
    cochran_q(correct, 60, 2, &q);
    assert_near(q, (20.0 - 10) * (20 - 10) / 30, 1e-13);
}

static void test_cochran_is_undefined_without_differences(void **state)
{
    (void)state;
    static const uint8_t same[] = {1, 1, 0, 0, 1, 1};
    double q = 0;
    assert_true(isnan(cochran_q(same, 3, 2, &q)) && isnan(q));
    assert_true(isnan(cochran_q(same, 6, 1, &q)));
    assert_true(isnan(cochran_q(same, 0, 2, &q)));
}

static void test_holm(void **state)
{
    (void)state;
    double p[] = {0.01, 0.04, 0.03, 0.005};
    assert_int_equal(holm_adjust(p, 4, NULL), STATUS_OK);
    static const double expected[] = {0.03, 0.06, 0.06, 0.02};
    for (int i = 0; i < 4; i++)
        assert_near(p[i], expected[i], 1e-14);
    double large[] = {0.9, 0.8};
    assert_int_equal(holm_adjust(large, 2, NULL), STATUS_OK);
    assert_true(large[0] == 1 && large[1] == 1);
    assert_int_equal(holm_adjust(NULL, 0, NULL), STATUS_OK);
}

static void test_bootstrap_covers_what_the_normal_covers(void **state)
{
    (void)state;
    enum { N = 2000 };
    double a[N], b[N], mean = 0, squares = 0;
    struct rng rng;
    rng_seed(&rng, 5);
    for (int i = 0; i < N; i++) {
        /* The small share keeps two seeds from giving the same ends by chance. */
        a[i] = (rng_uniform(&rng) < 0.9) + 1e-3 * rng_uniform(&rng);
        b[i] = rng_uniform(&rng) < 0.85;
        mean += (a[i] - b[i]) / N;
        squares += (a[i] - b[i]) * (a[i] - b[i]) / N;
    }
    double half = 1.96 * sqrt((squares - mean * mean) / N);
    struct interval interval;
    assert_int_equal(bootstrap_difference(a, b, N, 4000, 1, 0.95, &interval, NULL), STATUS_OK);
    assert_near(interval.low, mean - half, 0.05);
    assert_near(interval.high, mean + half, 0.05);

    struct interval again, other;
    bootstrap_difference(a, b, N, 4000, 1, 0.95, &again, NULL);
    assert_memory_equal(&interval, &again, sizeof interval);
    bootstrap_difference(a, b, N, 4000, 2, 0.95, &other, NULL);
    assert_true(memcmp(&interval, &other, sizeof interval) != 0);
}

/* Pairs are resampled, not the two lists apart: a constant difference has no spread. */
static void test_bootstrap_keeps_pairs(void **state)
{
    (void)state;
    double a[50], b[50];
    for (int i = 0; i < 50; i++) {
        b[i] = i * i;
        a[i] = b[i] + 3;
    }
    struct interval interval;
    assert_int_equal(bootstrap_difference(a, b, 50, 200, 9, 0.9, &interval, NULL), STATUS_OK);
    assert_true(interval.low == 3 && interval.high == 3);
}

static void test_bootstrap_refuses(void **state)
{
    (void)state;
    double one = 1;
    struct interval interval;
    struct error err = {0};
    assert_int_equal(bootstrap_difference(&one, &one, 0, 2000, 1, 0.95, &interval, &err),
                     STATUS_INVALID);
    assert_int_equal(bootstrap_difference(&one, &one, 1, 99, 1, 0.95, &interval, &err),
                     STATUS_INVALID);
    assert_int_equal(bootstrap_difference(&one, &one, 1, 2000, 1, 1, &interval, &err),
                     STATUS_INVALID);
}

static void test_cohen_kappa(void **state)
{
    (void)state;
    static const int64_t table[] = {20, 5, 10, 15}; /* observed 0.7, by chance 0.5 */
    assert_near(cohen_kappa(table, 2), 0.4, 1e-14);
    static const int64_t perfect[] = {4, 0, 0, 0, 5, 0, 0, 0, 6};
    assert_near(cohen_kappa(perfect, 3), 1, 1e-14);
    static const int64_t one_category[] = {9, 0, 0, 0};
    assert_true(isnan(cohen_kappa(one_category, 2)));
    static const int64_t empty[4] = {0};
    assert_true(isnan(cohen_kappa(empty, 2)));
}

/* The worked example of 14 raters, 10 subjects and 5 categories usual in introductions to Fleiss'
 * kappa (0.210); the further digits by exact fractions. */
static void test_fleiss_kappa(void **state)
{
    (void)state;
    static const int32_t counts[10 * 5] = {0, 0, 0, 0, 14, 0, 2, 6, 4, 2, 0, 0, 3, 5, 6, 0, 3,
                                           9, 2, 0, 2, 2,  8, 1, 1, 7, 7, 0, 0, 0, 3, 2, 6, 3,
                                           0, 2, 5, 3, 2,  2, 6, 5, 2, 1, 0, 0, 2, 2, 3, 7};
    assert_near(fleiss_kappa(counts, 10, 5, 14), 0.20993070442195524, 1e-13);
    static const int32_t unanimous[] = {3, 0, 0, 3, 3, 0};
    assert_near(fleiss_kappa(unanimous, 3, 2, 3), 1, 1e-14);
    static const int32_t one_category[] = {3, 0, 3, 0};
    assert_true(isnan(fleiss_kappa(one_category, 2, 2, 3)));
    assert_true(isnan(fleiss_kappa(unanimous, 3, 2, 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal_quantile),
        cmocka_unit_test(test_normal_quantile_inverts_the_distribution),
        cmocka_unit_test(test_chi_square_tail),
        cmocka_unit_test(test_binomial),
        cmocka_unit_test(test_binomial_of_large_n_is_nearly_normal),
        cmocka_unit_test(test_wilson),
        cmocka_unit_test(test_mcnemar),
        cmocka_unit_test(test_cochran),
        cmocka_unit_test(test_cochran_of_two_is_mcnemar),
        cmocka_unit_test(test_cochran_is_undefined_without_differences),
        cmocka_unit_test(test_holm),
        cmocka_unit_test(test_bootstrap_covers_what_the_normal_covers),
        cmocka_unit_test(test_bootstrap_keeps_pairs),
        cmocka_unit_test(test_bootstrap_refuses),
        cmocka_unit_test(test_cohen_kappa),
        cmocka_unit_test(test_fleiss_kappa),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
