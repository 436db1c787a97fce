/* A histogram of times whose buckets widen with the value.
 *
 * Values below 128 microseconds have a bucket each. From there every doubling is cut into 128
 * buckets of equal width, so a bucket is never wider than 1/128 of the values in it. In the
 * doubling that starts at 128 << shift, a value's bucket is shift * 128 + (value >> shift). */
#include "stats/histogram.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { SUB_BUCKETS = 1 << HISTOGRAM_SUB_BITS };

static const int64_t value_max_us = 3600LL * 1000 * 1000;

static int shift_of(int64_t value)
{
    if (value < SUB_BUCKETS)
        return 0;
    return 63 - __builtin_clzll((unsigned long long)value) - HISTOGRAM_SUB_BITS;
}

static int bucket_of(int64_t value)
{
    int shift = shift_of(value);
    return shift * SUB_BUCKETS + (int)(value >> shift);
}

static int64_t bucket_low(int bucket)
{
    if (bucket < SUB_BUCKETS)
        return bucket;
    int shift = bucket / SUB_BUCKETS - 1;
    return (int64_t)(bucket % SUB_BUCKETS + SUB_BUCKETS) << shift;
}

static int64_t bucket_high(int bucket)
{
    return bucket_low(bucket + 1) - 1;
}

void histogram_init(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

/* Counts stick at their largest value instead of starting over. */
static uint32_t add_saturated(uint32_t a, uint32_t b)
{
    uint32_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT32_MAX : sum;
}

static int64_t clamp_us(int64_t us)
{
    return us < 1 ? 1 : us > value_max_us ? value_max_us : us;
}

int histogram_bucket(int64_t us)
{
    return bucket_of(clamp_us(us));
}

void histogram_add(struct histogram *histogram, int64_t us)
{
    const int64_t value = clamp_us(us);
    if (histogram->total == 0 || value < histogram->min_us)
        histogram->min_us = value;
    if (value > histogram->max_us)
        histogram->max_us = value;
    histogram->total++;
    histogram->sum_us += (double)value;
    int bucket = bucket_of(value);
    histogram->counts[bucket] = add_saturated(histogram->counts[bucket], 1);
}

void histogram_add_bucket(struct histogram *histogram, int bucket, int64_t count)
{
    assert(bucket >= 0 && bucket < HISTOGRAM_BUCKETS && count >= 0);
    if (count == 0)
        return;
    const int64_t low = clamp_us(bucket_low(bucket)), high = clamp_us(bucket_high(bucket));
    if (histogram->total == 0 || low < histogram->min_us)
        histogram->min_us = low;
    if (high > histogram->max_us)
        histogram->max_us = high;
    histogram->total += count;
    histogram->sum_us += (double)high * (double)count;
    const uint32_t bounded = count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
    histogram->counts[bucket] = add_saturated(histogram->counts[bucket], bounded);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    if (from->total == 0)
        return;
    if (into->total == 0 || from->min_us < into->min_us)
        into->min_us = from->min_us;
    if (from->max_us > into->max_us)
        into->max_us = from->max_us;
    into->total += from->total;
    into->sum_us += from->sum_us;
    for (int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
        into->counts[bucket] = add_saturated(into->counts[bucket], from->counts[bucket]);
}

/* The bucket of the rank-th smallest value, ranks from 1. */
static int bucket_at_rank(const struct histogram *histogram, int64_t rank)
{
    int64_t seen = 0;
    for (int bucket = 0; bucket < HISTOGRAM_BUCKETS - 1; bucket++) {
        seen += histogram->counts[bucket];
        if (seen >= rank)
            return bucket;
    }
    return bucket_of(histogram->max_us);
}

static double high_at_rank(const struct histogram *histogram, int64_t rank)
{
    int64_t high = bucket_high(bucket_at_rank(histogram, rank));
    return (double)(high < histogram->max_us ? high : histogram->max_us);
}

static double low_at_rank(const struct histogram *histogram, int64_t rank)
{
    int64_t low = bucket_low(bucket_at_rank(histogram, rank));
    return (double)(low > histogram->min_us ? low : histogram->min_us);
}

double histogram_quantile(const struct histogram *histogram, double q)
{
    assert(q >= 0 && q <= 1);
    if (histogram->total == 0)
        return 0;
    int64_t rank = (int64_t)ceil(q * (double)histogram->total);
    return high_at_rank(histogram, rank < 1 ? 1 : rank);
}

/* The smallest k in 0 .. n with P(X <= k) >= share, X binomial(n, q). */
static int64_t binomial_quantile(int64_t n, double q, double share)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (binomial_below(middle, n, q) >= share)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* How many of n values lie below the q-quantile is binomial(n, q), whatever the distribution. So
 * the r-th smallest is above the quantile with probability P(X < r), and the s-th smallest below it
 * with probability P(X >= s); each is given half of what the confidence leaves. */
struct interval histogram_quantile_interval(const struct histogram *histogram, double q,
                                            double confidence)
{
    assert(q >= 0 && q <= 1 && confidence > 0 && confidence < 1);
    int64_t n = histogram->total;
    if (n == 0)
        return (struct interval){0, 0};
    double miss = (1 - confidence) / 2;
    int64_t lower = binomial_quantile(n, q, miss);
    int64_t upper = binomial_quantile(n, q, 1 - miss) + 1;
    return (struct interval){
        .low = lower >= 1 ? low_at_rank(histogram, lower) : (double)histogram->min_us,
        .high = upper <= n ? high_at_rank(histogram, upper) : (double)histogram->max_us,
    };
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->total > 0 ? histogram->sum_us / (double)histogram->total : 0;
}
