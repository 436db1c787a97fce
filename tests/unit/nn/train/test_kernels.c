/* The vectorised kernels against the plain ones, which the gradient tests check in their turn: same
 * results, over random sizes, for f32 and bf16. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "nn/graph/tensor.h"
#include "nn/train/kernels.h"

enum { ROUNDS = 40 };

/* Two tables, and the same random arrays for each. */
struct pair {
    const struct kernels *kernels[2];
    bool bf16;
    struct rng rng;
};

static float *floats(struct rng *rng, size_t count, double low, double high)
{
    float *values = malloc((count + 1) * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(low + (high - low) * rng_uniform(rng));
    return values;
}

/* As elements of the table's type, twice the same. */
static void elements(struct pair *pair, size_t count, void *out[2])
{
    float *values = floats(&pair->rng, count, -3, 3);
    for (int k = 0; k < 2; k++) {
        out[k] = malloc((count + 1) * sizeof(float));
        assert_non_null(out[k]);
        for (size_t i = 0; i < count; i++)
            if (pair->bf16)
                ((uint16_t *)out[k])[i] = f32_to_bf16(values[i]);
            else
                ((float *)out[k])[i] = values[i];
    }
    free(values);
}

static double element_at(const struct pair *pair, const void *data, size_t i)
{
    return pair->bf16 ? (double)bf16_to_f32(((const uint16_t *)data)[i])
                      : (double)((const float *)data)[i];
}

static void same_elements(const struct pair *pair, void *const data[2], size_t count)
{
    double tolerance = pair->bf16 ? 0.01 : 2e-5;
    for (size_t i = 0; i < count; i++) {
        double a = element_at(pair, data[0], i), b = element_at(pair, data[1], i);
        if (!(fabs(a - b) <= tolerance * (1 + fabs(a))))
            fail_msg("element %zu of %zu: %g and %g", i, count, a, b);
    }
}

static void same_floats(const float *a, const float *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= 1e-4 * (1 + fabs((double)a[i]))))
            fail_msg("float %zu of %zu: %g and %g", i, count, (double)a[i], (double)b[i]);
}

static void drop(void *data[2])
{
    free(data[0]);
    free(data[1]);
}

static int between(struct pair *pair, int low, int high)
{
    return low + (int)rng_below(&pair->rng, (uint32_t)(high - low + 1));
}

/* Calls `check` over both element types; skipped where there is nothing to compare with. */
static void over_types(void (*check)(struct pair *pair))
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct pair pair = {.bf16 = bf16 == 1};
        pair.kernels[0] = kernels_plain(pair.bf16);
        pair.kernels[1] = kernels_avx512(pair.bf16);
        if (pair.kernels[1] == NULL)
            skip();
        rng_seed(&pair.rng, 7);
        for (int round = 0; round < ROUNDS; round++)
            check(&pair);
    }
}

/* ---- batch norm ---- */

struct norm_case {
    struct norm_pass pass[2];
    float *channels[7]; /* scale, shift, mean, slope, curve, offset, pivot */
    void *x[2], *residual[2], *y[2], *dy[2], *dx[2];
    int64_t rows;
};

static void make_norm(struct pair *pair, struct norm_case *norm)
{
    static const enum activation activations[] = {ACTIVATION_NONE, ACTIVATION_RELU, ACTIVATION_CLIP,
                                                  ACTIVATION_SWISH, ACTIVATION_SIGMOID};
    int channels = between(pair, 1, 70);
    bool residual = between(pair, 0, 1) == 1, accumulate = between(pair, 0, 1) == 1;
    enum activation activation = activations[between(pair, 0, residual ? 2 : 4)];

    norm->rows = between(pair, 1, 40);
    size_t count = (size_t)norm->rows * (size_t)channels;
    for (int i = 0; i < 7; i++)
        norm->channels[i] = floats(&pair->rng, (size_t)channels, -1, 1);
    elements(pair, count, norm->x);
    elements(pair, count, norm->residual);
    elements(pair, count, norm->y);
    elements(pair, count, norm->dy);
    elements(pair, count, norm->dx);
    for (int k = 0; k < 2; k++)
        norm->pass[k] = (struct norm_pass){
            .x = norm->x[k],
            .residual = residual ? norm->residual[k] : NULL,
            .y = norm->y[k],
            .dy = norm->dy[k],
            .dx = norm->dx[k],
            .accumulate = accumulate,
            .channels = channels,
            .activation = activation,
            .low = 0,
            .high = 1,
            .scale = norm->channels[0],
            .shift = norm->channels[1],
            .mean = norm->channels[2],
            .slope = norm->channels[3],
            .curve = norm->channels[4],
            .offset = norm->channels[5],
        };
}

static void drop_norm(struct norm_case *norm)
{
    for (int i = 0; i < 7; i++)
        free(norm->channels[i]);
    drop(norm->x);
    drop(norm->residual);
    drop(norm->y);
    drop(norm->dy);
    drop(norm->dx);
}

static void check_norm(struct pair *pair)
{
    struct norm_case norm;
    float sums[2][2][128];

    make_norm(pair, &norm);
    int channels = norm.pass[0].channels;
    size_t count = (size_t)norm.rows * (size_t)channels;
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->norm_statistics(norm.x[k], norm.rows, channels, norm.channels[6],
                                          sums[k][0], sums[k][1]);
    same_floats(sums[0][0], sums[1][0], (size_t)channels);
    same_floats(sums[0][1], sums[1][1], (size_t)channels);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->norm_forward(&norm.pass[k], 0, norm.rows);
    same_elements(pair, norm.y, count);
    /* One rounding of y may undo a relu or a clip differently: go on from the same one. */
    memcpy(norm.y[1], norm.y[0], count * pair->kernels[0]->element_size);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->norm_reduce(&norm.pass[k], 0, norm.rows, sums[k][0], sums[k][1]);
    same_floats(sums[0][0], sums[1][0], (size_t)channels);
    same_floats(sums[0][1], sums[1][1], (size_t)channels);
    same_elements(pair, norm.dy, count);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->norm_backward(&norm.pass[k], 0, norm.rows);
    same_elements(pair, norm.dx, count);
    drop_norm(&norm);
}

static void test_batch_norm(void **state)
{
    (void)state;
    over_types(check_norm);
}

/* ---- elementwise ---- */

static void check_elementwise(struct pair *pair)
{
    static const enum activation activations[] = {ACTIVATION_RELU, ACTIVATION_CLIP,
                                                  ACTIVATION_SWISH, ACTIVATION_SIGMOID};
    enum activation activation = activations[between(pair, 0, 3)];
    int64_t count = between(pair, 1, 200);
    bool accumulate = between(pair, 0, 1) == 1;
    void *a[2], *b[2], *y[2];
    uint8_t keep[200];

    elements(pair, (size_t)count, a);
    elements(pair, (size_t)count, b);
    elements(pair, (size_t)count, y);
    for (int64_t i = 0; i < count; i++)
        keep[i] = (uint8_t)rng_below(&pair->rng, 2);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->activate_backward(a[k], b[k], y[k], count, activation, -1, 1, accumulate);
    same_elements(pair, y, (size_t)count);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->multiply(a[k], b[k], y[k], count, accumulate);
    same_elements(pair, y, (size_t)count);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->mask(a[k], keep, 1.25f, y[k], count, accumulate);
    same_elements(pair, y, (size_t)count);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->copy(a[k], y[k], count, accumulate);
    same_elements(pair, y, (size_t)count);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->add(a[k], b[k], y[k], count);
    same_elements(pair, y, (size_t)count);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->activate(a[k], y[k], count, activation, -1, 1);
    same_elements(pair, y, (size_t)count);
    drop(a);
    drop(b);
    drop(y);
}

static void test_elementwise(void **state)
{
    (void)state;
    over_types(check_elementwise);
}

/* ---- images ---- */

static void check_channels(struct pair *pair)
{
    int channels = between(pair, 1, 70), rows = between(pair, 1, 30);
    size_t count = (size_t)rows * (size_t)channels;
    bool accumulate = between(pair, 0, 1) == 1;
    void *x[2], *s[2], *y[2], *ds[2];
    float *planes[2] = {floats(&pair->rng, count, -1, 1), floats(&pair->rng, count, -1, 1)};

    elements(pair, count, x);
    elements(pair, (size_t)channels, s);
    elements(pair, count, y);
    elements(pair, (size_t)channels, ds);
    for (int k = 0; k < 2; k++) {
        pair->kernels[k]->scale(x[k], s[k], y[k], rows, channels, accumulate);
        pair->kernels[k]->scale_reduce(x[k], y[k], ds[k], rows, channels, accumulate);
        pair->kernels[k]->to_planes(x[k], planes[k], rows, channels);
    }
    same_elements(pair, y, count);
    same_elements(pair, ds, (size_t)channels);
    same_floats(planes[0], planes[1], count);
    for (int k = 0; k < 2; k++) {
        pair->kernels[k]->mean(x[k], ds[k], rows, channels);
        pair->kernels[k]->mean_backward(s[k], y[k], rows, channels, accumulate);
    }
    same_elements(pair, y, count);
    same_elements(pair, ds, (size_t)channels);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->from_planes(planes[k], y[k], rows, channels);
    same_elements(pair, y, count);
    same_elements(pair, (void *const[]){x[0], y[1]}, count); /* there and back */
    drop(x);
    drop(s);
    drop(y);
    drop(ds);
    free(planes[0]);
    free(planes[1]);
}

static void test_channels(void **state)
{
    (void)state;
    over_types(check_channels);
}

static int output_side(int input, int kernel, int stride, int pad)
{
    return (input + 2 * pad - kernel) / stride + 1;
}

static void check_pool(struct pair *pair)
{
    struct pool_pass pass = {
        .channels = between(pair, 1, 40),
        .maximum = between(pair, 0, 1) == 1,
        .count_include_pad = between(pair, 0, 1) == 1,
    };
    for (int i = 0; i < 2; i++) {
        pass.input[i] = between(pair, 3, 7);
        pass.kernel[i] = between(pair, 2, 3);
        pass.stride[i] = between(pair, 1, 2);
        pass.pad[i] = between(pair, 0, 1);
        pass.output[i] = output_side(pass.input[i], pass.kernel[i], pass.stride[i], pass.pad[i]);
    }
    size_t from = (size_t)(pass.input[0] * pass.input[1] * pass.channels);
    size_t to = (size_t)(pass.output[0] * pass.output[1] * pass.channels);
    uint8_t *index[2] = {malloc(to), malloc(to)};
    void *x[2], *y[2];

    elements(pair, from, x);
    elements(pair, to, y);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->pool(&pass, x[k], y[k], index[k]);
    same_elements(pair, y, to);
    if (pass.maximum)
        assert_memory_equal(index[0], index[1], to);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->pool_backward(&pass, y[k], index[k], x[k], false);
    same_elements(pair, x, from);
    drop(x);
    drop(y);
    free(index[0]);
    free(index[1]);
}

static void test_pools(void **state)
{
    (void)state;
    over_types(check_pool);
}

static void check_windows(struct pair *pair)
{
    struct window_pass pass = {.channels = between(pair, 1, 40)};
    int kernel = 1 + 2 * between(pair, 0, 2);
    for (int i = 0; i < 2; i++) {
        pass.input[i] = between(pair, 3, 7);
        pass.kernel[i] = kernel;
        pass.stride[i] = between(pair, 1, 2);
        pass.pad[i] = kernel / 2;
        pass.output[i] = output_side(pass.input[i], kernel, pass.stride[i], pass.pad[i]);
    }
    size_t from = (size_t)(pass.input[0] * pass.input[1] * pass.channels);
    size_t to = (size_t)(pass.output[0] * pass.output[1] * pass.channels);
    size_t weights = (size_t)(kernel * kernel * pass.channels);
    size_t columns = to * (size_t)(kernel * kernel);
    float *gradient[2] = {floats(&pair->rng, weights, 0, 0), floats(&pair->rng, weights, 0, 0)};
    void *x[2], *dy[2], *rows[2];

    elements(pair, from, x);
    elements(pair, to, dy);
    elements(pair, columns, rows);
    for (int k = 0; k < 2; k++) {
        pair->kernels[k]->depthwise_weights(&pass, x[k], dy[k], gradient[k]);
        pair->kernels[k]->columns(&pass, x[k], rows[k]);
    }
    same_floats(gradient[0], gradient[1], weights);
    same_elements(pair, rows, columns);
    for (int k = 0; k < 2; k++)
        pair->kernels[k]->columns_backward(&pass, rows[k], x[k], true);
    same_elements(pair, x, from);
    drop(x);
    drop(dy);
    drop(rows);
    free(gradient[0]);
    free(gradient[1]);
}

static void test_windows(void **state)
{
    (void)state;
    over_types(check_windows);
}

/* ---- the optimiser, against its definition ---- */

static void test_sgd_is_nesterovs(void **state)
{
    const struct sgd_pass pass = {0.1f, 0.9f, 0.01f, 0.75f};
    (void)state;
    for (int k = 0; k < 2; k++) {
        const struct kernels *kernels = k == 0 ? kernels_plain(false) : kernels_for(true);
        float weight[19], gradient[19], velocity[19], average[19];
        for (int i = 0; i < 19; i++) {
            weight[i] = 1.0f + (float)i;
            gradient[i] = 0.5f - (float)i;
            velocity[i] = 0.25f * (float)i;
            average[i] = 2.0f;
        }
        kernels->sgd(&pass, weight, gradient, velocity, average, 19);
        for (int i = 0; i < 19; i++) {
            double g = 0.5 - i + 0.01 * (1.0 + i), v = 0.9 * 0.25 * i + g;
            double w = 1.0 + i - 0.1 * (g + 0.9 * v);
            assert_float_equal(velocity[i], v, 1e-4);
            assert_float_equal(weight[i], w, 1e-4);
            assert_float_equal(average[i], 0.75 * 2 + 0.25 * w, 1e-4);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_norm), cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_channels),   cmocka_unit_test(test_pools),
        cmocka_unit_test(test_windows),    cmocka_unit_test(test_sgd_is_nesterovs),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
