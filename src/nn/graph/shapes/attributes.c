/* Attributes given as inputs: see attributes.h. */
#include "nn/graph/shapes/attributes.h"

#include <float.h>
#include <math.h>

/* The tensor of input `index`: NULL in *out when the node has no such input. */
static int constant_input(const struct graph *graph, const struct node *node, int index,
                          const char *what, const struct tensor **out, struct error *err)
{
    *out = NULL;
    if (index >= node->input_count || node->inputs[index] < 0)
        return STATUS_OK;
    const struct value *value = &graph->values[node->inputs[index]];
    if (value->constant == NULL)
        return error_set(err, STATUS_UNSUPPORTED, "its %s ('%s') must be constant", what,
                         value->name);
    *out = value->constant;
    return STATUS_OK;
}

static int absorb_number(const struct graph *graph, const struct node *node, int index,
                         const char *what, float *out, struct error *err)
{
    const struct tensor *tensor;
    struct tensor *number;

    int status = constant_input(graph, node, index, what, &tensor, err);
    if (status != STATUS_OK || tensor == NULL)
        return status;
    if (shape_elements(&tensor->shape) != 1)
        return error_set(err, STATUS_INVALID, "its %s is not one number", what);
    status = tensor_convert(tensor, DTYPE_F32, &number, err);
    if (status != STATUS_OK)
        return status;
    *out = *(const float *)number->data;
    tensor_free(number);
    return STATUS_OK;
}

/* Reads at most items_max integers; *count stays as it is when the node has no such input. */
static int absorb_integers(const struct graph *graph, const struct node *node, int index,
                           const char *what, int64_t *items, int items_max, int *count,
                           struct error *err)
{
    const struct tensor *tensor;
    struct tensor *integers;

    int status = constant_input(graph, node, index, what, &tensor, err);
    if (status != STATUS_OK || tensor == NULL)
        return status;
    if (shape_elements(&tensor->shape) > items_max)
        return error_set(err, STATUS_INVALID, "its %s are more than %d numbers", what, items_max);
    status = tensor_convert(tensor, DTYPE_I64, &integers, err);
    if (status != STATUS_OK)
        return status;
    *count = (int)shape_elements(&tensor->shape);
    for (int i = 0; i < *count; i++)
        items[i] = ((const int64_t *)integers->data)[i];
    tensor_free(integers);
    return STATUS_OK;
}

static int absorb_clip(const struct graph *graph, struct node *node, struct error *err)
{
    if (node->input_count <= 1)
        return STATUS_OK;
    float low = -FLT_MAX, high = FLT_MAX;
    int status = absorb_number(graph, node, 1, "lower bound", &low, err);
    if (status == STATUS_OK)
        status = absorb_number(graph, node, 2, "upper bound", &high, err);
    if (status != STATUS_OK)
        return status;
    node->u.clip.low = low;
    node->u.clip.high = high;
    node->input_count = 1;
    return STATUS_OK;
}

static int absorb_axes(const struct graph *graph, struct node *node, struct error *err)
{
    const int status = absorb_integers(graph, node, 1, "axes", node->u.axes.axes, SHAPE_RANK_MAX,
                                       &node->u.axes.count, err);
    if (status == STATUS_OK)
        node->input_count = 1;
    return status;
}

/* Pad: x, amounts [before..., after...], (value), (axes the amounts are for). */
static int absorb_pad(const struct graph *graph, struct node *node, struct error *err)
{
    int64_t amounts[2 * SHAPE_RANK_MAX], axes[SHAPE_RANK_MAX];
    int count = -1, axes_count = -1;

    if (node->input_count <= 1)
        return STATUS_OK;
    int status =
        absorb_integers(graph, node, 1, "amounts", amounts, 2 * SHAPE_RANK_MAX, &count, err);
    if (status == STATUS_OK)
        status = absorb_number(graph, node, 2, "value", &node->u.pad.value, err);
    if (status == STATUS_OK)
        status = absorb_integers(graph, node, 3, "axes", axes, SHAPE_RANK_MAX, &axes_count, err);
    if (status != STATUS_OK)
        return status;
    const int rank = graph->values[node->inputs[0]].shape.rank;
    const int half = count / 2;
    if (count % 2 != 0 || (axes_count >= 0 && axes_count != half))
        return error_set(err, STATUS_INVALID, "it has %d amounts", count);
    for (int i = 0; i < SHAPE_RANK_MAX; i++)
        node->u.pad.before[i] = node->u.pad.after[i] = 0;
    for (int i = 0; i < half; i++) {
        int64_t axis = axes_count >= 0 ? axes[i] : i;
        if (axis < 0)
            axis += rank;
        if (axis < 0 || axis >= SHAPE_RANK_MAX)
            return error_set(err, STATUS_INVALID, "it pads an axis its input does not have");
        node->u.pad.before[axis] = amounts[i];
        node->u.pad.after[axis] = amounts[half + i];
    }
    node->input_count = 1;
    return STATUS_OK;
}

int attributes_absorb(const struct graph *graph, struct node *node, struct error *err)
{
    int status = STATUS_OK;

    switch (node->op) {
    case OP_CLIP:
        return absorb_clip(graph, node, err);
    case OP_REDUCE_MEAN:
    case OP_SQUEEZE:
    case OP_UNSQUEEZE:
        return absorb_axes(graph, node, err);
    case OP_PAD:
        return absorb_pad(graph, node, err);
    case OP_DROPOUT: /* x, (ratio), (whether training, which a classifier is not) */
        status = absorb_number(graph, node, 1, "ratio", &node->u.dropout.ratio, err);
        node->input_count = status == STATUS_OK && node->input_count > 1 ? 1 : node->input_count;
        return status;
    default:
        return STATUS_OK;
    }
}
