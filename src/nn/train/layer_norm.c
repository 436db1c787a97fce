/* Batch norm with the residual addition and the activation behind it (Ioffe and Szegedy, "Batch
 * Normalization", 2015).
 *
 * With u = (x - mean)*d, d = 1/sqrt(variance + epsilon), z = gamma*u + beta and m rows, the
 * gradient of x is gamma*d*(dz - sum(dz)/m - u*sum(dz*u)/m). The passes keep x and dz only, so it
 * is written as slope*dz + curve*x + offset, with S = sum(dz*(x - mean)):
 *   slope = gamma*d,  curve = -slope*d*d*S/m,  offset = -slope*sum(dz)/m - curve*mean. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/train/tape.h"

/* Rows whose sums are kept in fp32 before they are added up in double. */
enum { CHUNK_ROWS = 256 };

struct norm {
    const struct parameter *gamma, *beta, *mean, *variance;
    float epsilon, momentum;
    struct norm_pass pass;
    float *memory; /* one allocation, cut into the arrays below, each [c] */
    float *batch_mean, *batch_variance, *inverse, *scale, *shift, *slope, *curve, *offset, *pivot;
    float *chunk; /* [threads][2][c] */
    double *sums; /* [threads][2][c] */
};

/* Calls for each chunk of a thread's rows, and adds the two sums it stores to that thread's. */
typedef void chunk_sums(const struct tape *tape, const struct layer *layer, int64_t begin,
                        int64_t end, float *first, float *second);

static void sum_rows(const struct tape *tape, const struct layer *layer, chunk_sums *sums)
{
    const struct norm *norm = layer->state;
    int channels = layer->output->c;
    int64_t rows = flow_rows(layer->output), chunks = (rows + CHUNK_ROWS - 1) / CHUNK_ROWS;

#pragma omp parallel for num_threads(tape->threads) if (tape->threads > 1) schedule(static)
    for (int t = 0; t < tape->threads; t++) {
        float *chunk = norm->chunk + (size_t)t * 2 * (size_t)channels;
        double *total = norm->sums + (size_t)t * 2 * (size_t)channels;
        struct span span = span_of(chunks, t, tape->threads);
        memset(total, 0, 2 * (size_t)channels * sizeof *total);
        for (int64_t i = span.begin; i < span.end; i++) {
            int64_t end = (i + 1) * CHUNK_ROWS;
            sums(tape, layer, i * CHUNK_ROWS, end < rows ? end : rows, chunk, chunk + channels);
            for (int c = 0; c < 2 * channels; c++)
                total[c] += chunk[c];
        }
    }
    for (int t = 1; t < tape->threads; t++)
        for (int c = 0; c < 2 * channels; c++)
            norm->sums[c] += norm->sums[(size_t)t * 2 * (size_t)channels + (size_t)c];
}

typedef void rows_pass(const struct norm_pass *pass, int64_t begin, int64_t end);

static void each_row(const struct tape *tape, const struct layer *layer, rows_pass *pass)
{
    const struct norm *norm = layer->state;
    int64_t rows = flow_rows(layer->output);
#pragma omp parallel for num_threads(tape->threads) if (tape->threads > 1) schedule(static)
    for (int t = 0; t < tape->threads; t++) {
        struct span span = span_of(rows, t, tape->threads);
        pass(&norm->pass, span.begin, span.end);
    }
}

static void sum_statistics(const struct tape *tape, const struct layer *layer, int64_t begin,
                           int64_t end, float *first, float *second)
{
    const struct norm *norm = layer->state;
    const struct flow *x = layer->inputs[0];
    const char *data =
        (const char *)x->data + (size_t)begin * (size_t)x->c * tape->kernels->element_size;
    tape->kernels->norm_statistics(data, end - begin, x->c, norm->pivot, first, second);
}

static void use_batch_statistics(struct tape *tape, struct layer *layer)
{
    struct norm *norm = layer->state;
    const struct flow *x = layer->inputs[0];
    double rows = (double)flow_rows(x);

    /* Sums about the first row's values: close to the mean, so that the variance, a difference of
     * two sums, loses nothing. */
    tape->kernels->to_planes(x->data, norm->pivot, 1, x->c);
    sum_rows(tape, layer, sum_statistics);
    for (int c = 0; c < x->c; c++) {
        double mean = norm->sums[c] / rows;
        double variance = norm->sums[x->c + c] / rows - mean * mean;
        norm->batch_mean[c] = (float)(norm->pivot[c] + mean);
        norm->batch_variance[c] = (float)(variance < 0 ? 0 : variance);
    }
}

static void use_running_statistics(struct tape *tape, struct layer *layer)
{
    struct norm *norm = layer->state;
    size_t size = (size_t)layer->output->c * sizeof(float);
    memcpy(norm->batch_mean, tape->weights + norm->mean->offset, size);
    memcpy(norm->batch_variance, tape->weights + norm->variance->offset, size);
}

static int norm_forward(struct tape *tape, struct layer *layer, struct error *err)
{
    struct norm *norm = layer->state;
    const float *gamma = tape->weights + norm->gamma->offset;
    const float *beta = tape->weights + norm->beta->offset;
    (void)err;

    if (tape->training)
        use_batch_statistics(tape, layer);
    else
        use_running_statistics(tape, layer);
    for (int c = 0; c < layer->output->c; c++) {
        norm->inverse[c] = 1.0f / sqrtf(norm->batch_variance[c] + norm->epsilon);
        norm->scale[c] = gamma[c] * norm->inverse[c];
        norm->shift[c] = beta[c] - norm->batch_mean[c] * norm->scale[c];
    }
    each_row(tape, layer, tape->kernels->norm_forward);
    return STATUS_OK;
}

static void sum_gradients(const struct tape *tape, const struct layer *layer, int64_t begin,
                          int64_t end, float *first, float *second)
{
    const struct norm *norm = layer->state;
    tape->kernels->norm_reduce(&norm->pass, begin, end, first, second);
}

static int norm_backward(struct tape *tape, struct layer *layer, struct error *err)
{
    struct norm *norm = layer->state;
    struct flow *x = layer->inputs[0], *residual = layer->inputs[1], *y = layer->output;
    double rows = (double)flow_rows(x);
    float *gamma_gradient = tape->store->gradient + norm->gamma->offset;
    float *beta_gradient = tape->store->gradient + norm->beta->offset;
    (void)err;

    sum_rows(tape, layer, sum_gradients);
    for (int c = 0; c < x->c; c++) {
        double inverse = norm->inverse[c], slope = norm->scale[c];
        double sum = norm->sums[c], sum_x = norm->sums[x->c + c];
        double curve = -slope * inverse * inverse * sum_x / rows;
        gamma_gradient[c] = (float)(sum_x * inverse);
        beta_gradient[c] = (float)sum;
        norm->slope[c] = (float)slope;
        norm->curve[c] = (float)curve;
        norm->offset[c] = (float)(-slope * sum / rows - curve * norm->batch_mean[c]);
    }
    if (residual != NULL && residual->needs_gradient && residual->gradient != y->gradient)
        tape->kernels->copy(y->gradient, residual->gradient, flow_rows(y) * y->c,
                            layer->accumulate[1]);
    if (x->needs_gradient)
        each_row(tape, layer, tape->kernels->norm_backward);
    return STATUS_OK;
}

static void norm_commit(struct tape *tape, struct layer *layer)
{
    const struct norm *norm = layer->state;
    float *mean = tape->store->weight + norm->mean->offset;
    float *variance = tape->store->weight + norm->variance->offset;
    float keep = norm->momentum, take = 1 - keep;
    double rows = (double)flow_rows(layer->output);
    float unbiased = (float)(rows > 1 ? rows / (rows - 1) : 1);

    for (int c = 0; c < layer->output->c; c++) {
        mean[c] = keep * mean[c] + take * norm->batch_mean[c];
        variance[c] = keep * variance[c] + take * norm->batch_variance[c] * unbiased;
    }
}

static int norm_bind(struct tape *tape, struct layer *layer, struct error *err)
{
    struct norm *norm = layer->state;
    size_t channels = (size_t)layer->output->c, threads = (size_t)tape->threads;
    float **arrays[] = {&norm->batch_mean, &norm->batch_variance, &norm->inverse,
                        &norm->scale,      &norm->shift,          &norm->slope,
                        &norm->curve,      &norm->offset,         &norm->pivot};
    size_t count = sizeof arrays / sizeof *arrays;
    void *memory, *sums;
    int status = memory_create((count + 2 * threads) * channels * sizeof(float), &memory, err);
    if (status != STATUS_OK)
        return status;
    norm->memory = memory;
    status = memory_create(2 * threads * channels * sizeof(double), &sums, err);
    if (status != STATUS_OK)
        return status;
    norm->sums = sums;
    for (size_t i = 0; i < count; i++)
        *arrays[i] = norm->memory + i * channels;
    norm->chunk = norm->memory + count * channels;

    struct norm_pass *pass = &norm->pass;
    pass->x = layer->inputs[0]->data;
    pass->residual = layer->inputs[1] != NULL ? layer->inputs[1]->data : NULL;
    pass->y = layer->output->data;
    pass->dy = layer->output->gradient;
    pass->dx = layer->inputs[0]->gradient;
    pass->accumulate = layer->accumulate[0];
    pass->channels = layer->output->c;
    pass->scale = norm->scale;
    pass->shift = norm->shift;
    pass->mean = norm->batch_mean;
    pass->slope = norm->slope;
    pass->curve = norm->curve;
    pass->offset = norm->offset;
    return STATUS_OK;
}

static void norm_describe(const struct layer *layer, char *text, size_t size)
{
    const struct norm *norm = layer->state;
    snprintf(text, size, "own%s%s%s", layer->inputs[1] != NULL ? " + residual" : "",
             norm->pass.activation != ACTIVATION_NONE ? " + " : "",
             norm->pass.activation != ACTIVATION_NONE ? activation_name(norm->pass.activation)
                                                      : "");
}

static void norm_release(struct layer *layer)
{
    struct norm *norm = layer->state;
    free(norm->memory);
    free(norm->sums);
}

static const struct layer_kind norm_kind = {
    .name = "norm",
    .in_place = true,
    .shares_second = true,
    .bind = norm_bind,
    .forward = norm_forward,
    .backward = norm_backward,
    .commit = norm_commit,
    .describe = norm_describe,
    .release = norm_release,
};

int layer_norm_add(struct tape *tape, const struct node *node, const struct node *activation,
                   struct flow *x, struct flow *residual, struct flow *y, struct error *err)
{
    struct layer *layer;
    int status = tape_add_layer(tape, &norm_kind, node->name, x, residual, y, sizeof(struct norm),
                                &layer, err);
    if (status != STATUS_OK)
        return status;
    struct norm *norm = layer->state;
    norm->gamma = store_find(tape->store, node->inputs[1]);
    norm->beta = store_find(tape->store, node->inputs[2]);
    norm->mean = store_find(tape->store, node->inputs[3]);
    norm->variance = store_find(tape->store, node->inputs[4]);
    norm->epsilon = node->u.batch_norm.epsilon;
    norm->momentum = node->u.batch_norm.momentum;
    if (activation != NULL)
        norm->pass.activation = node_activation(activation, &norm->pass.low, &norm->pass.high);
    return STATUS_OK;
}
