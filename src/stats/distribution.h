/* The three distributions that tests and intervals need: normal, chi-square, binomial. */
#ifndef STATS_DISTRIBUTION_H
#define STATS_DISTRIBUTION_H

#include <stdint.h>

/* The standard normal's quantile (Wichura 1988, AS 241), 0 < p < 1. */
double normal_quantile(double p);

/* Chi-square upper tail with `degrees` >= 1 of freedom. */
double chi_square_tail(double x, int degrees);

/* P(X <= k) of X successes in n >= 0 trials, each with probability 0 <= p <= 1. Any n: the work
 * grows with the square root of n. */
double binomial_below(int64_t k, int64_t n, double p);

#endif
