/* The small kernels the engine does itself, because the library is slow at them or has none: swish,
 * channel sums for global pooling, channel scaling (squeeze-and-excite), small dense layers.
 *
 * Each exists twice, plainly and for AVX-512, with one signature; one test compares the two. A
 * matrix is `rows` pixels by `columns` channels, `stride` elements from one row to the next, so
 * that one kernel serves NHWC (stride = channels) and the blocked layout (stride = columns =
 * lanes). All pointers need only their element's alignment. bf16 is stored as uint16_t. */
#ifndef NN_POINTWISE_H
#define NN_POINTWISE_H

#include <stdbool.h>
#include <stdint.h>

struct pointwise {
    const char *name;         /* "plain", "avx512" or "avx512_bf16", as plans show it */
    bool fast_f32, fast_bf16; /* whether the kernels of that type are vectorised */
    /* x = x * sigmoid(x) in place; when `sums` is not NULL, adds each column's new values to it. */
    void (*swish_f32)(float *x, int64_t rows, int64_t columns, int64_t stride, float *sums);
    void (*swish_bf16)(uint16_t *x, int64_t rows, int64_t columns, int64_t stride, float *sums);
    /* sums[c] += x[r][c] */
    void (*sum_f32)(const float *x, int64_t rows, int64_t columns, int64_t stride, float *sums);
    void (*sum_bf16)(const uint16_t *x, int64_t rows, int64_t columns, int64_t stride, float *sums);
    /* y[r][c] = x[r][c] * scale[c] + shift[c]; shift may be NULL, y may be x. */
    void (*scale_f32)(const float *x, float *y, int64_t rows, int64_t columns, int64_t stride,
                      const float *scale, const float *shift);
    void (*scale_bf16)(const uint16_t *x, uint16_t *y, int64_t rows, int64_t columns,
                       int64_t stride, const float *scale, const float *shift);
    /* y[o] = bias[o] + sum over i of x[i] * weights[i][o]; bias may be NULL. */
    void (*dense)(const float *x, int64_t inputs, const float *weights, const float *bias, float *y,
                  int64_t outputs);
    /* x = 1 / (1 + exp(-x)) in place */
    void (*sigmoid)(float *x, int64_t count);
    /* [channels][pixels] f32 -> [pixels][channels] bf16, for the few channels of a picture */
    void (*pack_bf16)(const float *x, int64_t channels, int64_t pixels, uint16_t *y);
};

/* Each fills the whole table: the plain kernels, or for each the fastest that this CPU runs. */
void pointwise_plain(struct pointwise *out);
void pointwise_best(struct pointwise *out);
/* Replaces the kernels for which this CPU has AVX-512 (F, BW, DQ, VL; for bf16 also BF16). */
void pointwise_take_avx512(struct pointwise *kernels);

#endif
