/* Batch norm when inferring is y = x * factor + shift, one pair a channel; so are Add, Sub, Mul and
 * Div by a constant a channel. Behind a convolution or a Gemm they are folded into its weights:
 * conv(x) * f + s = conv'(x) with w' = w * f and b' = b * f + s. */
#include <math.h>
#include <stdlib.h>

#include "nn/graph/passes.h"
#include "nn/graph/passes/edit.h"

struct affine {
    double *factor, *shift;
    int64_t channels;
};

static int affine_create(int64_t channels, struct affine *out, struct error *err)
{
    *out = (struct affine){.channels = channels};
    out->factor = calloc((size_t)channels + 1, sizeof *out->factor);
    out->shift = calloc((size_t)channels + 1, sizeof *out->shift);
    if (out->factor == NULL || out->shift == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to fold a batch norm");
    return STATUS_OK;
}

static void affine_drop(struct affine *affine)
{
    free(affine->factor);
    free(affine->shift);
}

/* Whether a constant, broadcast against `shape`, holds one number or one a channel (axis 1). */
static bool is_per_channel(const struct tensor *constant, const struct shape *shape)
{
    const int lead = shape->rank - constant->shape.rank;

    if (lead < 0)
        return false;
    for (int i = 0; i < constant->shape.rank; i++)
        if (constant->shape.dims[i] != 1 &&
            (i + lead != 1 || constant->shape.dims[i] != shape->dims[1]))
            return false;
    return true;
}

static bool batch_norm_affine(const struct graph *graph, const struct node *node,
                              struct affine *affine)
{
    const float *parts[4];

    for (int i = 0; i < 4; i++) {
        const struct tensor *tensor = edit_constant(graph, node->inputs[i + 1]);
        if (tensor == NULL || shape_elements(&tensor->shape) != affine->channels)
            return false;
        parts[i] = tensor->data;
    }
    for (int64_t c = 0; c < affine->channels; c++) {
        affine->factor[c] = parts[0][c] / sqrt((double)parts[3][c] + node->u.batch_norm.epsilon);
        affine->shift[c] = parts[1][c] - parts[2][c] * affine->factor[c];
    }
    return true;
}

static bool arithmetic_affine(const struct graph *graph, const struct node *node, int x,
                              struct affine *affine)
{
    const int side = node->inputs[0] == x ? 1 : 0; /* where the constant is */
    const struct tensor *constant = edit_constant(graph, node->inputs[side]);
    const struct shape *shape = &graph->values[x].shape;

    if (constant == NULL || !is_per_channel(constant, shape) ||
        (side == 0 && (node->op == OP_SUB || node->op == OP_DIV)))
        return false;
    const bool single = shape_elements(&constant->shape) == 1;
    for (int64_t c = 0; c < affine->channels; c++) {
        const double number = ((const float *)constant->data)[single ? 0 : c];
        affine->factor[c] = 1;
        if (node->op == OP_ADD)
            affine->shift[c] = number;
        else if (node->op == OP_SUB)
            affine->shift[c] = -number;
        else
            affine->factor[c] = node->op == OP_MUL ? number : 1 / number;
    }
    return true;
}

/* What `node` does to its input x, if it is of this kind. */
static bool read_affine(const struct graph *graph, const struct node *node, int x,
                        struct affine *affine)
{
    switch (node->op) {
    case OP_BATCH_NORM:
        return node->inputs[0] == x && batch_norm_affine(graph, node, affine);
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_DIV:
        return arithmetic_affine(graph, node, x, affine);
    default:
        return false;
    }
}

/* The channel of each weight is its place along this axis. */
static int channel_axis(const struct node *node)
{
    return node->op == OP_GEMM && !node->u.gemm.transpose_b ? 1 : 0;
}

static void scale_weights(const struct node *node, const struct affine *affine,
                          struct tensor *weights)
{
    int64_t step = 1;

    for (int i = channel_axis(node) + 1; i < weights->shape.rank; i++)
        step *= weights->shape.dims[i];
    const int64_t rows = step == 0 ? 0 : shape_elements(&weights->shape) / step;
    float *w = weights->data;
    for (int64_t row = 0; row < rows; row++, w += step) {
        const double factor = affine->factor[row % affine->channels];
        for (int64_t i = 0; i < step; i++)
            w[i] = (float)(w[i] * factor);
    }
}

/* In place, unless others read the same weights. */
static int fold_weights(struct graph *graph, int index, const struct affine *affine,
                        struct error *err)
{
    const struct node *node = &graph->nodes[index];
    struct tensor *weights = graph->values[node->inputs[1]].constant;
    const bool shared = edit_use_count(graph, node->inputs[1]) > 1;
    int status = STATUS_OK;

    if (shared)
        status = tensor_clone(weights, &weights, err);
    if (status != STATUS_OK)
        return status;
    scale_weights(node, affine, weights);
    return shared ? edit_set_constant(graph, index, 1, "weight", weights, err) : STATUS_OK;
}

/* Gemm multiplies its bias by beta; the new bias has that inside. */
static int scaled_bias(const struct node *node, const struct tensor *bias,
                       const struct affine *affine, struct tensor **out, struct error *err)
{
    const struct shape shape = {1, {affine->channels}};
    const double beta = node->op == OP_GEMM ? node->u.gemm.beta : 1;
    const bool single = bias != NULL && shape_elements(&bias->shape) == 1;

    const int status = tensor_create(DTYPE_F32, &shape, out, err);
    if (status != STATUS_OK)
        return status;
    float *b = (*out)->data;
    for (int64_t c = 0; c < affine->channels; c++) {
        const double old = bias != NULL ? ((const float *)bias->data)[single ? 0 : c] : 0;
        b[c] = (float)(old * beta * affine->factor[c] + affine->shift[c]);
    }
    return STATUS_OK;
}

static int fold_into(struct graph *graph, int index, const struct affine *affine, struct error *err)
{
    struct node *node = &graph->nodes[index];
    const struct tensor *bias =
        node->input_count > 2 ? edit_constant(graph, node->inputs[2]) : NULL;
    struct tensor *new_bias;

    int status = scaled_bias(node, bias, affine, &new_bias, err);
    if (status != STATUS_OK)
        return status;
    if (node->op == OP_GEMM)
        node->u.gemm.beta = 1;
    status = fold_weights(graph, index, affine, err);
    if (status != STATUS_OK) {
        tensor_free(new_bias);
        return status;
    }
    return edit_set_constant(graph, index, 2, "bias", new_bias, err);
}

/* Whether weights and bias are constants laid out a channel, and nothing is fused yet. */
static bool is_foldable(const struct graph *graph, const struct node *node)
{
    const struct shape *shape = &graph->values[node->outputs[0]].shape;

    if ((node->op != OP_CONV && node->op != OP_GEMM) || node->fused.activation != ACTIVATION_NONE ||
        node->fused.residual >= 0 || edit_constant(graph, node->inputs[1]) == NULL)
        return false;
    if (node->input_count < 3 || node->inputs[2] < 0)
        return true;
    const struct tensor *bias = edit_constant(graph, node->inputs[2]);
    /* A convolution's bias is one number a filter; a Gemm's broadcasts from the right. */
    return bias != NULL && (node->op == OP_CONV || is_per_channel(bias, shape));
}

/* Folds what follows the node, as long as something does. */
static int fold_followers(struct graph *graph, int index, struct error *err)
{
    int status = STATUS_OK;

    while (status == STATUS_OK && is_foldable(graph, &graph->nodes[index])) {
        const int x = graph->nodes[index].outputs[0];
        const int next = edit_sole_consumer(graph, x);
        struct affine affine;
        if (next < 0)
            break;
        status = affine_create(graph->values[x].shape.dims[1], &affine, err);
        const bool folds = status == STATUS_OK &&
                           read_affine(graph, &graph->nodes[next], x, &affine) &&
                           shape_equal(&graph->values[x].shape,
                                       &graph->values[graph->nodes[next].outputs[0]].shape);
        if (folds)
            status = fold_into(graph, index, &affine, err);
        affine_drop(&affine);
        if (!folds || status != STATUS_OK)
            break;
        edit_absorb(graph, index, next);
        index = next;
    }
    return status;
}

int passes_fold_batch_norm(struct graph *graph, struct error *err)
{
    int status = STATUS_OK;

    for (int i = 0; status == STATUS_OK && i < graph->node_count; i++)
        if (graph->nodes[i].output_count > 0)
            status = fold_followers(graph, i, err);
    return status != STATUS_OK ? status : graph_compact(graph, err);
}
