/* Normal, chi-square and binomial, each to about 14 digits.
 *
 * The last two are the incomplete gamma and beta functions, computed by their power series and
 * continued fractions (Abramowitz and Stegun 6.5.29, 6.5.31, 26.5.8), the fractions by the modified
 * Lentz method (Thompson and Barnett 1986). */
#include "stats/distribution.h"

#include <assert.h>
#include <float.h>
#include <math.h>

/* c[0] + c[1] x + ... + c[7] x^7 */
static double polynomial(const double c[8], double x)
{
    double sum = c[7];
    for (int i = 6; i >= 0; i--)
        sum = sum * x + c[i];
    return sum;
}

double normal_quantile(double p)
{
    static const double centre_top[8] = {3.3871328727963666080e0, 1.3314166789178437745e2,
                                         1.9715909503065514427e3, 1.3731693765509461125e4,
                                         4.5921953931549871457e4, 6.7265770927008700853e4,
                                         3.3430575583588128105e4, 2.5090809287301226727e3};
    static const double centre_bottom[8] = {1.0,
                                            4.2313330701600911252e1,
                                            6.8718700749205790830e2,
                                            5.3941960214247511077e3,
                                            2.1213794301586595867e4,
                                            3.9307895800092710610e4,
                                            2.8729085735721942674e4,
                                            5.2264952788528545610e3};
    static const double near_top[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                                       5.76949722146069140550e0,  3.64784832476320460504e0,
                                       1.27045825245236838258e0,  2.41780725177450611770e-1,
                                       2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double near_bottom[8] = {1.0,
                                          2.05319162663775882187e0,
                                          1.67638483018380384940e0,
                                          6.89767334985100004550e-1,
                                          1.48103976427480074590e-1,
                                          1.51986665636164571966e-2,
                                          5.47593808499534494600e-4,
                                          1.05075007164441684324e-9};
    static const double far_top[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                                      1.78482653991729133580e0,  2.96560571828504891230e-1,
                                      2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                      2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double far_bottom[8] = {1.0,
                                         5.99832206555887937690e-1,
                                         1.36929880922735805310e-1,
                                         1.48753612908506148525e-2,
                                         7.86869131145613259100e-4,
                                         1.84631831751005468180e-5,
                                         1.42151175831644588870e-7,
                                         2.04426310338993978564e-15};
    assert(p > 0 && p < 1);
    double q = p - 0.5;
    if (fabs(q) <= 0.425) {
        double r = 0.180625 - q * q;
        return q * polynomial(centre_top, r) / polynomial(centre_bottom, r);
    }
    double r = sqrt(-log(q < 0 ? p : 1 - p));
    double x = r <= 5 ? polynomial(near_top, r - 1.6) / polynomial(near_bottom, r - 1.6)
                      : polynomial(far_top, r - 5) / polynomial(far_bottom, r - 5);
    return q < 0 ? -x : x;
}

/* log of the gamma function; unlike lgamma() it writes no global, so threads may share it. */
static double log_gamma(double x)
{
    int sign;
    return lgamma_r(x, &sign);
}

/* Q(a, x) = 1 - P(a, x) by the series of P, which converges quickly for x < a + 1. */
static double gamma_tail_series(double a, double x)
{
    double term = 1 / a, sum = term;
    for (double n = a + 1; term > sum * DBL_EPSILON; n += 1) {
        term *= x / n;
        sum += term;
    }
    return 1 - sum * exp(a * log(x) - x - log_gamma(a));
}

/* A denominator of Lentz's method that happens to be zero is moved by an invisible amount. */
static double not_zero(double x)
{
    return fabs(x) < DBL_MIN / DBL_EPSILON ? DBL_MIN / DBL_EPSILON : x;
}

/* Q(a, x) by its continued fraction, which converges quickly for x >= a + 1. */
static double gamma_tail_fraction(double a, double x)
{
    double b = x + 1 - a;
    double c = DBL_EPSILON / DBL_MIN;
    double d = 1 / not_zero(b);
    double fraction = d;
    for (int i = 1; i < 100000; i++) {
        double numerator = -i * (i - a);
        b += 2;
        d = 1 / not_zero(numerator * d + b);
        c = not_zero(b + numerator / c);
        fraction *= c * d;
        if (fabs(c * d - 1) < DBL_EPSILON)
            break;
    }
    return fraction * exp(a * log(x) - x - log_gamma(a));
}

double chi_square_tail(double x, int degrees)
{
    assert(degrees >= 1);
    if (isnan(x))
        return x;
    if (x <= 0)
        return 1;
    if (isinf(x))
        return 0;
    double a = degrees / 2.0, half = x / 2;
    return half < a + 1 ? gamma_tail_series(a, half) : gamma_tail_fraction(a, half);
}

/* The continued fraction of the incomplete beta function I_x(a, b); for x < (a + 1) / (a + b + 2)
 * it needs about sqrt(max(a, b)) steps. */
static double beta_fraction(double a, double b, double x)
{
    double c = 1;
    double d = 1 / not_zero(1 - (a + b) * x / (a + 1));
    double fraction = d;
    for (int m = 1; m < 1000000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1 / not_zero(1 + even * d);
        c = not_zero(1 + even / c);
        fraction *= c * d;
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / not_zero(1 + odd * d);
        c = not_zero(1 + odd / c);
        fraction *= c * d;
        if (fabs(c * d - 1) < 4 * DBL_EPSILON)
            break;
    }
    return fraction;
}

/* I_x(a, b); `y` is 1 - x, given apart so that nothing is lost to rounding. */
static double beta_regularised(double a, double b, double x, double y)
{
    double front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log(y));
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, y) / b;
}

double binomial_below(int64_t k, int64_t n, double p)
{
    assert(n >= 0 && p >= 0 && p <= 1);
    if (k < 0)
        return 0;
    if (k >= n || p == 0)
        return 1;
    if (p == 1)
        return 0;
    return beta_regularised((double)(n - k), (double)k + 1, 1 - p, p);
}
