/* Comparing classifiers: the tests, intervals and agreement measures that compare.h names. */
#include "stats/compare.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"

/* Below this many discordant pairs the chi-square of McNemar's test is not to be trusted. */
enum { MCNEMAR_EXACT_BELOW = 25 };

struct interval wilson_interval(int64_t successes, int64_t n, double confidence)
{
    assert(successes >= 0 && successes <= n && confidence > 0 && confidence < 1);
    if (n == 0)
        return (struct interval){0, 1};
    double z = normal_quantile(0.5 + confidence / 2);
    double count = (double)n, share = (double)successes / count;
    double scale = 1 / (1 + z * z / count);
    double centre = scale * (share + z * z / (2 * count));
    double half = scale * z * sqrt(share * (1 - share) / count + z * z / (4 * count * count));
    /* The two ends that are exact would otherwise miss by a rounding. */
    return (struct interval){.low = successes == 0 ? 0 : centre - half,
                             .high = successes == n ? 1 : centre + half};
}

struct mcnemar mcnemar_test(int64_t b, int64_t c)
{
    assert(b >= 0 && c >= 0);
    int64_t discordant = b + c;
    if (discordant < MCNEMAR_EXACT_BELOW) {
        double p = 2 * binomial_below(b < c ? b : c, discordant, 0.5);
        return (struct mcnemar){.statistic = NAN, .p = fmin(p, 1), .exact = 1};
    }
    double excess = fmax(fabs((double)(b - c)) - 1, 0);
    double statistic = excess * excess / (double)discordant;
    return (struct mcnemar){.statistic = statistic, .p = chi_square_tail(statistic, 1)};
}

double cochran_q(const uint8_t *correct, int64_t n, int k, double *q)
{
    *q = NAN;
    if (k < 2)
        return NAN;
    double total = 0, columns_squared = 0, rows_squared = 0;
    for (int j = 0; j < k; j++) {
        double column = 0;
        for (int64_t i = 0; i < n; i++)
            column += correct[i * k + j];
        total += column;
        columns_squared += column * column;
    }
    for (int64_t i = 0; i < n; i++) {
        double row = 0;
        for (int j = 0; j < k; j++)
            row += correct[i * k + j];
        rows_squared += row * row;
    }
    /* Zero exactly when every image is right for all or wrong for all. */
    double spread = k * total - rows_squared;
    if (spread <= 0)
        return NAN;
    *q = (k - 1) * (k * columns_squared - total * total) / spread;
    return chi_square_tail(*q, k - 1);
}

struct ranked {
    double p;
    int index;
};

static int compare_ranked(const void *a, const void *b)
{
    double x = ((const struct ranked *)a)->p, y = ((const struct ranked *)b)->p;
    return (x > y) - (x < y);
}

int holm_adjust(double *p, int m, struct error *err)
{
    if (m <= 0)
        return STATUS_OK;
    struct ranked *order = malloc((size_t)m * sizeof *order);
    if (!order)
        return error_set(err, STATUS_NO_MEMORY, "no memory to adjust %d p-values", m);
    for (int i = 0; i < m; i++)
        order[i] = (struct ranked){p[i], i};
    qsort(order, (size_t)m, sizeof *order, compare_ranked);
    double largest = 0;
    for (int rank = 0; rank < m; rank++) {
        largest = fmax(largest, fmin((m - rank) * order[rank].p, 1));
        p[order[rank].index] = largest;
    }
    free(order);
    return STATUS_OK;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The q-quantile of sorted values, between neighbours in proportion (Hyndman and Fan 1996, their
 * definition 7). */
static double sorted_quantile(const double *sorted, int count, double q)
{
    double position = q * (count - 1);
    int below = (int)floor(position);
    int above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (position - below) * (sorted[above] - sorted[below]);
}

int bootstrap_difference(const double *a, const double *b, int64_t n, int draws, uint64_t seed,
                         double confidence, struct interval *out, struct error *err)
{
    if (n < 1 || n > UINT32_MAX)
        return error_set(err, STATUS_INVALID,
                         "a bootstrap needs 1 to 4294967295 pairs, not %" PRId64, n);
    if (draws < 100 || !(confidence > 0 && confidence < 1))
        return error_set(err, STATUS_INVALID,
                         "a bootstrap needs at least 100 draws and a confidence between 0 and 1");
    int status = STATUS_OK;
    double *differences = malloc((size_t)n * sizeof *differences);
    double *means = malloc((size_t)draws * sizeof *means);
    if (!differences || !means) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory to resample %" PRId64 " pairs", n);
        goto done;
    }
    for (int64_t i = 0; i < n; i++)
        differences[i] = a[i] - b[i];
    struct rng rng;
    rng_seed(&rng, seed);
    for (int draw = 0; draw < draws; draw++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += differences[rng_below(&rng, (uint32_t)n)];
        means[draw] = sum / (double)n;
    }
    qsort(means, (size_t)draws, sizeof *means, compare_doubles);
    out->low = sorted_quantile(means, draws, (1 - confidence) / 2);
    out->high = sorted_quantile(means, draws, (1 + confidence) / 2);
done:
    free(differences);
    free(means);
    return status;
}

/* Agreement beyond chance; nothing is left to agree on beyond chance when chance is certain. */
static double kappa(double observed, double by_chance)
{
    return by_chance < 1 ? (observed - by_chance) / (1 - by_chance) : NAN;
}

double cohen_kappa(const int64_t *table, int k)
{
    double total = 0, agreed = 0, chance = 0;
    for (int i = 0; i < k * k; i++)
        total += (double)table[i];
    if (total <= 0)
        return NAN;
    for (int i = 0; i < k; i++) {
        double row = 0, column = 0;
        for (int j = 0; j < k; j++) {
            row += (double)table[i * k + j];
            column += (double)table[j * k + i];
        }
        agreed += (double)table[i * k + i];
        chance += row / total * (column / total);
    }
    return kappa(agreed / total, chance);
}

double fleiss_kappa(const int32_t *counts, int64_t n, int k, int raters)
{
    if (n < 1 || raters < 2)
        return NAN;
    double observed = 0, chance = 0;
    double ratings = (double)n * raters;
    for (int j = 0; j < k; j++) {
        double column = 0;
        for (int64_t i = 0; i < n; i++) {
            double count = counts[i * k + j];
            column += count;
            observed += count * (count - 1);
        }
        chance += column / ratings * (column / ratings);
    }
    return kappa(observed / (ratings * (raters - 1)), chance);
}
