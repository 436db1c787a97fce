/* The loops of training that oneDNN does not do, or does slowly: batch norm fused with its
 * activation and residual, swish, squeeze-and-excite scaling, pooling, depthwise weight gradients,
 * and the optimiser.
 *
 * Every tensor is nhwc: `rows` = n*h*w rows of `channels` elements. The body is written once, over
 * vectors of 16 floats (kernels_body.h), and compiled for each instruction set and element type;
 * kernels_for() picks the table for this machine. Kernels work on the range of rows or images they
 * are given and know nothing of threads. */
#ifndef NN_TRAIN_KERNELS_H
#define NN_TRAIN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nn/graph/graph.h"

/* Batch norm in the form its passes use: z = x*scale + shift (+ residual), y = act(z). */
struct norm_pass {
    const void *x;
    const void *residual; /* NULL when there is none */
    void *y;
    void *dy;        /* gradient of y; with a residual and an activation, replaced by that of z */
    void *dx;        /* may be dy itself */
    bool accumulate; /* add to dx instead of storing */
    int channels;
    enum activation
        activation;  /* NONE, RELU, CLIP, SWISH or SIGMOID; with a residual not the last two */
    float low, high; /* of CLIP */
    const float *scale, *shift; /* per channel */
    const float *mean;
    /* dx = slope*dz + curve*x + offset, per channel; see norm.c for the derivation */
    const float *slope, *curve, *offset;
};

struct pool_pass {
    int channels;
    int input[2], output[2]; /* height, width */
    int kernel[2], stride[2], pad[2];
    bool maximum;
    bool count_include_pad;
};

/* A convolution's geometry, dilation 1. */
struct window_pass {
    int channels;
    int input[2], output[2];
    int kernel[2], stride[2], pad[2];
};

struct sgd_pass {
    float learning_rate, momentum, weight_decay;
    float average_keep; /* average = keep*average + (1-keep)*weight; 0 turns averaging off */
};

struct kernels {
    const char *name;
    size_t element_size;

    /* Sums of (x - pivot) and (x - pivot)^2 per channel, stored (not added). Meant for some hundred
     * rows at a time, so that fp32 sums stay exact enough; the caller adds them up in double. */
    void (*norm_statistics)(const void *x, int64_t rows, int channels, const float *pivot,
                            float *sum, float *square);
    void (*norm_forward)(const struct norm_pass *pass, int64_t begin, int64_t end);
    /* Sums of dz and dz*(x - mean) per channel over the rows, stored; see norm_statistics. */
    void (*norm_reduce)(const struct norm_pass *pass, int64_t begin, int64_t end, float *sum_dz,
                        float *sum_dz_x);
    void (*norm_backward)(const struct norm_pass *pass, int64_t begin, int64_t end);

    /* Elementwise over `count` elements. */
    void (*activate)(const void *x, void *y, int64_t count, enum activation activation, float low,
                     float high);
    void (*activate_backward)(const void *x, const void *dy, void *dx, int64_t count,
                              enum activation activation, float low, float high, bool accumulate);
    void (*add)(const void *a, const void *b, void *y, int64_t count);
    void (*multiply)(const void *a, const void *b, void *y, int64_t count, bool accumulate);
    void (*copy)(const void *x, void *y, int64_t count, bool accumulate);
    /* y = keep[i] ? x*factor : 0 */
    void (*mask)(const void *x, const uint8_t *keep, float factor, void *y, int64_t count,
                 bool accumulate);

    /* One image: y[rows][c] = x[rows][c]*s[c]; its gradients; the mean over rows and its gradient.
     */
    void (*scale)(const void *x, const void *s, void *y, int64_t rows, int channels,
                  bool accumulate);
    void (*scale_reduce)(const void *x, const void *dy, void *ds, int64_t rows, int channels,
                         bool accumulate);
    void (*mean)(const void *x, void *y, int64_t rows, int channels);
    void (*mean_backward)(const void *dy, void *dx, int64_t rows, int channels, bool accumulate);

    /* One image. `index` keeps, per output element, which window position was largest. */
    void (*pool)(const struct pool_pass *pass, const void *x, void *y, uint8_t *index);
    void (*pool_backward)(const struct pool_pass *pass, const void *dy, const uint8_t *index,
                          void *dx, bool accumulate);

    /* One image: adds to gradient[kh*kw][channels], f32. */
    void (*depthwise_weights)(const struct window_pass *pass, const void *x, const void *dy,
                              float *gradient);

    /* One image: x[h][w][c] -> y[oh][ow][kh][kw][c], every output's window in a row, zeros where it
     * sticks out; and back, adding up what each pixel was copied to. */
    void (*columns)(const struct window_pass *pass, const void *x, void *y);
    void (*columns_backward)(const struct window_pass *pass, const void *dy, void *dx,
                             bool accumulate);

    /* f32 [c][pixels] <-> elements [pixels][c], one image. */
    void (*from_planes)(const float *planes, void *y, int64_t pixels, int channels);
    void (*to_planes)(const void *x, float *planes, int64_t pixels, int channels);

    /* Over fp32 arrays: Nesterov momentum, v = momentum*v + g; w -= rate*(g + momentum*v), with
     * weight decay as L2 added to g (Sutskever et al., 2013). */
    void (*sgd)(const struct sgd_pass *pass, float *weight, const float *gradient, float *velocity,
                float *average, int64_t count);
};

/* The fastest table this CPU runs, for f32 or bf16 elements. */
const struct kernels *kernels_for(bool bf16);
/* The table that runs anywhere; what the others are tested against. */
const struct kernels *kernels_plain(bool bf16);
/* NULL unless this CPU has AVX-512 (F, BW, DQ, VL) and AVX512_BF16. */
const struct kernels *kernels_avx512(bool bf16);

#endif
