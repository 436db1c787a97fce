/* Comparing classifiers: pure functions on counts and vectors, no I/O, no state. Each names its
 * source. */
#ifndef STATS_COMPARE_H
#define STATS_COMPARE_H

#include <stdint.h>

#include "base/error.h"
#include "stats/distribution.h"

struct interval {
    double low, high;
};

/* Wilson score interval (Wilson 1927) of `successes` out of n at confidence 0 < c < 1; [0, 1] when
 * n is 0. */
struct interval wilson_interval(int64_t successes, int64_t n, double confidence);

/* McNemar's test on the discordant counts: b (only the first right), c (only the second right).
 * Exact binomial, two-sided, when b + c < 25; else the chi-square with continuity correction
 * (Edwards 1948). */
struct mcnemar {
    double statistic; /* NaN when exact */
    double p;
    int exact;
};
struct mcnemar mcnemar_test(int64_t b, int64_t c);

/* Cochran's Q (Cochran 1950) over k classifiers on n images: correct[i*k + j] is 0 or 1. Returns p;
 * *q the statistic. NaN when k < 2 or nothing differs. */
double cochran_q(const uint8_t *correct, int64_t n, int k, double *q);
/* Holm's step-down adjustment (Holm 1979) of m p-values, in place, order kept. */
int holm_adjust(double *p, int m, struct error *err);

/* Percentile bootstrap (Efron 1979) of mean(a) - mean(b), resampling images (pairs), `draws` >=
 * 100, fixed seed. a and b of n values each. */
int bootstrap_difference(const double *a, const double *b, int64_t n, int draws, uint64_t seed,
                         double confidence, struct interval *out, struct error *err);

/* Cohen's kappa (1960) of two raters from the k*k table of counts, and Fleiss' (1971) from n items
 * * k categories of counts with `raters` each. NaN when undefined (all in one category). */
double cohen_kappa(const int64_t *table, int k);
double fleiss_kappa(const int32_t *counts, int64_t n, int k, int raters);

#endif
