/* Times as a histogram with a bounded relative error, in the manner of HdrHistogram (Tene): 1
 * microsecond to 1 hour, at most 0.8 % error, about 14 kB. Zero-initialised is empty. Not
 * thread-safe. */
#ifndef STATS_HISTOGRAM_H
#define STATS_HISTOGRAM_H

#include <stdint.h>

#include "stats/compare.h"

enum { HISTOGRAM_SUB_BITS = 7, HISTOGRAM_BUCKETS = 27 << HISTOGRAM_SUB_BITS };

struct histogram {
    int64_t total;
    int64_t min_us, max_us;
    double sum_us;
    uint32_t counts[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *histogram);
void histogram_add(struct histogram *histogram, int64_t us); /* clamped into range */
/* The bucket a time falls into, 0 .. HISTOGRAM_BUCKETS-1: how times are counted in a database. */
int histogram_bucket(int64_t us);
/* Adds `count` times of one bucket, as read back; each stands for its bucket's upper end. */
void histogram_add_bucket(struct histogram *histogram, int bucket, int64_t count);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value below which a share q (0..1) of the values lies, in microseconds (a bucket's upper end,
 * never above max); 0 when empty. */
double histogram_quantile(const struct histogram *histogram, double q);
/* Distribution-free interval of that quantile by order statistics (binomial; David and Nagaraja,
 * "Order Statistics", 7.1). Where there are too few values to bound an end at this confidence
 * (below 368 for the upper end of p99 at 95 %), that end is the smallest or largest value seen:
 * show n beside it. [0, 0] when empty. */
struct interval histogram_quantile_interval(const struct histogram *histogram, double q,
                                            double confidence);
double histogram_mean(const struct histogram *histogram); /* microseconds; 0 when empty */

#endif
