/* See gradient_check.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gradient_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../graph/kit.h"
#include "../graph/random_graph.h"
#include "nn/graph/reference.h"

enum { ELEMENTS_PER_PARAMETER = 5 };
#define SMOOTHING 0.1f

struct trainer_options plain_options(int batch, enum precision precision)
{
    return (struct trainer_options){
        .batch = batch,
        .threads = 1,
        .precision = precision,
        .label_smoothing = SMOOTHING,
    };
}

/* ---- the forward pass ---- */

/* Mean and variance of each channel of x [n, c, h, w]. */
static void batch_statistics(const struct tensor *x, float *mean, float *variance)
{
    const int64_t n = x->shape.dims[0], c = x->shape.dims[1];
    const int64_t pixels = x->shape.dims[2] * x->shape.dims[3];
    const float *data = x->data;

    for (int64_t k = 0; k < c; k++) {
        double sum = 0, square = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t p = 0; p < pixels; p++)
                sum += data[(i * c + k) * pixels + p];
        sum /= (double)(n * pixels);
        for (int64_t i = 0; i < n; i++)
            for (int64_t p = 0; p < pixels; p++)
                square += pow(data[(i * c + k) * pixels + p] - sum, 2);
        mean[k] = (float)sum;
        variance[k] = (float)(square / (double)(n * pixels));
    }
}

static struct tensor *run_node(const struct graph *graph, const struct node *node,
                               struct tensor *const *values)
{
    const struct tensor *inputs[8];
    struct tensor *mean = NULL, *variance = NULL, *output;
    struct error err = {0};

    for (int i = 0; i < node->input_count; i++) {
        int value = node->inputs[i];
        inputs[i] = value < 0               ? NULL
                    : values[value] != NULL ? values[value]
                                            : graph->values[value].constant;
    }
    if (node->op == OP_BATCH_NORM) {
        succeed(tensor_clone(inputs[3], &mean, &err), &err);
        succeed(tensor_clone(inputs[4], &variance, &err), &err);
        batch_statistics(inputs[0], mean->data, variance->data);
        inputs[3] = mean;
        inputs[4] = variance;
    }
    succeed(reference_node(node, inputs, &output, &err), &err);
    tensor_free(mean);
    tensor_free(variance);
    return output;
}

struct tensor *training_logits(const struct graph *graph, const struct tensor *input)
{
    struct tensor **values = calloc((size_t)graph->value_count, sizeof *values);
    struct error err = {0};

    assert_non_null(values);
    succeed(tensor_clone(input, &values[graph->inputs[0]], &err), &err);
    for (int i = 0; i < graph->node_count; i++)
        values[graph->nodes[i].outputs[0]] = run_node(graph, &graph->nodes[i], values);
    struct tensor *logits = values[graph->outputs[0]];
    values[graph->outputs[0]] = NULL;
    for (int i = 0; i < graph->value_count; i++)
        tensor_free(values[i]);
    free(values);
    return logits;
}

static double reference_loss(const struct graph *graph, const struct tensor *input,
                             const int32_t *labels, double smoothing)
{
    struct tensor *logits = training_logits(graph, input);
    const int64_t n = logits->shape.dims[0], classes = logits->shape.dims[1];
    double loss = 0;

    for (int64_t i = 0; i < n; i++) {
        const float *row = (const float *)logits->data + i * classes;
        double total = 0;
        for (int64_t c = 0; c < classes; c++)
            total += exp(row[c]);
        for (int64_t c = 0; c < classes; c++) {
            double target = smoothing / (double)classes + (c == labels[i] ? 1 - smoothing : 0);
            loss += target * (log(total) - row[c]) / (double)n;
        }
    }
    tensor_free(logits);
    return loss;
}

/* ---- the backward pass ---- */

struct graph *step_gradients(const struct graph *graph, const struct trainer_options *options,
                             const struct tensor *input, const int32_t *labels, double *loss)
{
    struct trainer *trainer;
    struct trainer_step_result result;
    struct graph *after;
    struct error err = {0};

    succeed(trainer_create(graph, options, &trainer, &err), &err);
    succeed(trainer_step(trainer, input->data, labels, 1.0f, &result, &err), &err);
    succeed(trainer_graph(trainer, false, &after, &err), &err);
    trainer_free(trainer);
    for (int i = 0; i < graph->value_count; i++) {
        const struct tensor *before = graph->values[i].constant;
        if (before == NULL || before->dtype != DTYPE_F32)
            continue;
        float *moved = after->values[i].constant->data;
        for (int64_t j = 0; j < shape_elements(&before->shape); j++)
            moved[j] = ((const float *)before->data)[j] - moved[j];
    }
    if (loss != NULL)
        *loss = result.loss;
    return after;
}

static bool is_trained(const struct graph *graph, int value)
{
    for (int i = 0; i < graph->node_count; i++)
        for (int j = 1; j < graph->nodes[i].input_count; j++)
            if (graph->nodes[i].inputs[j] == value)
                return graph->values[value].constant != NULL &&
                       !(graph->nodes[i].op == OP_BATCH_NORM && j > 2);
    return false;
}

/* The slopes to either side of a weight: they differ where a kink lies between. */
struct slopes {
    double below, above;
};

static struct slopes slopes_at(const struct graph *graph, float *weight, double middle,
                               const struct tensor *input, const int32_t *labels)
{
    const float before = *weight, step = 1e-3f;
    *weight = before + step;
    double up = reference_loss(graph, input, labels, SMOOTHING);
    *weight = before - step;
    double down = reference_loss(graph, input, labels, SMOOTHING);
    *weight = before;
    return (struct slopes){(middle - down) / step, (up - middle) / step};
}

void check_gradients(struct graph *graph, int batch, struct rng *rng)
{
    const struct trainer_options options = plain_options(batch, PRECISION_FP32);
    struct tensor *input = random_input(rng, graph, batch);
    const int classes = (int)graph->values[graph->outputs[0]].shape.dims[1];
    int32_t *labels = calloc((size_t)batch, sizeof *labels);
    double loss;
    int checked = 0, kinks = 0;

    for (int i = 0; i < batch; i++)
        labels[i] = (int32_t)rng_below(rng, (uint32_t)classes);
    struct graph *gradients = step_gradients(graph, &options, input, labels, &loss);
    double expected_loss = reference_loss(graph, input, labels, SMOOTHING);
    if (fabs(loss - expected_loss) > 1e-4 * (1 + expected_loss))
        fail_msg("loss %g, by the reference %g", loss, expected_loss);
    for (int v = 0; v < graph->value_count; v++) {
        if (!is_trained(graph, v))
            continue;
        struct tensor *constant = graph->values[v].constant;
        for (int k = 0; k < ELEMENTS_PER_PARAMETER; k++) {
            uint32_t at = rng_below(rng, (uint32_t)shape_elements(&constant->shape));
            float *weight = (float *)constant->data + at;
            double found = ((const float *)gradients->values[v].constant->data)[at];
            struct slopes slopes = slopes_at(graph, weight, expected_loss, input, labels);
            double low = fmin(slopes.below, slopes.above), high = fmax(slopes.below, slopes.above);
            double tolerance = 4e-3 + 0.02 * fabs(found);
            if (found < low - tolerance || found > high + tolerance)
                fail_msg("gradient of %s[%u]: %g, by differences %g to %g", graph->values[v].name,
                         at, found, low, high);
            checked++;
            kinks += high - low > tolerance;
        }
    }
    assert_true(checked > 2 * kinks);
    graph_free(gradients);
    tensor_free(input);
    free(labels);
}
