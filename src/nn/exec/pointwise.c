/* The plain kernels, written to be read, and the choice of the fastest that this CPU runs. */
#include "nn/exec/pointwise.h"

#include <math.h>
#include <stddef.h>

#include "nn/graph/tensor.h"

static float sigmoid_of(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static void swish_f32_plain(float *x, int64_t rows, int64_t columns, int64_t stride, float *sums)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++) {
            float *value = &x[r * stride + c];
            *value *= sigmoid_of(*value);
            if (sums != NULL)
                sums[c] += *value;
        }
    }
}

static void swish_bf16_plain(uint16_t *x, int64_t rows, int64_t columns, int64_t stride,
                             float *sums)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++) {
            float value = bf16_to_f32(x[r * stride + c]);
            value *= sigmoid_of(value);
            x[r * stride + c] = f32_to_bf16(value);
            if (sums != NULL)
                sums[c] += value;
        }
    }
}

static void sum_f32_plain(const float *x, int64_t rows, int64_t columns, int64_t stride,
                          float *sums)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++)
            sums[c] += x[r * stride + c];
    }
}

static void sum_bf16_plain(const uint16_t *x, int64_t rows, int64_t columns, int64_t stride,
                           float *sums)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++)
            sums[c] += bf16_to_f32(x[r * stride + c]);
    }
}

static void scale_f32_plain(const float *x, float *y, int64_t rows, int64_t columns, int64_t stride,
                            const float *scale, const float *shift)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++)
            y[r * stride + c] = x[r * stride + c] * scale[c] + (shift != NULL ? shift[c] : 0.0f);
    }
}

static void scale_bf16_plain(const uint16_t *x, uint16_t *y, int64_t rows, int64_t columns,
                             int64_t stride, const float *scale, const float *shift)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++) {
            float value = bf16_to_f32(x[r * stride + c]) * scale[c];
            y[r * stride + c] = f32_to_bf16(value + (shift != NULL ? shift[c] : 0.0f));
        }
    }
}

static void dense_plain(const float *x, int64_t inputs, const float *weights, const float *bias,
                        float *y, int64_t outputs)
{
    for (int64_t o = 0; o < outputs; o++)
        y[o] = bias != NULL ? bias[o] : 0.0f;
    for (int64_t i = 0; i < inputs; i++) {
        for (int64_t o = 0; o < outputs; o++)
            y[o] += x[i] * weights[i * outputs + o];
    }
}

static void sigmoid_plain(float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = sigmoid_of(x[i]);
}

static void pack_bf16_plain(const float *x, int64_t channels, int64_t pixels, uint16_t *y)
{
    for (int64_t p = 0; p < pixels; p++) {
        for (int64_t c = 0; c < channels; c++)
            y[p * channels + c] = f32_to_bf16(x[c * pixels + p]);
    }
}

void pointwise_plain(struct pointwise *out)
{
    *out = (struct pointwise){
        .name = "plain",
        .swish_f32 = swish_f32_plain,
        .swish_bf16 = swish_bf16_plain,
        .sum_f32 = sum_f32_plain,
        .sum_bf16 = sum_bf16_plain,
        .scale_f32 = scale_f32_plain,
        .scale_bf16 = scale_bf16_plain,
        .dense = dense_plain,
        .sigmoid = sigmoid_plain,
        .pack_bf16 = pack_bf16_plain,
    };
}

void pointwise_best(struct pointwise *out)
{
    pointwise_plain(out);
    pointwise_take_avx512(out);
}
