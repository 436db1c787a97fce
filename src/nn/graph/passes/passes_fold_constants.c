/* What can be computed before the run is, and what does nothing when inferring goes: constant
 * expressions, Shape of a known shape, Identity, Dropout, Cast between floats, and explicit Pad
 * before an operator that can pad itself. */
#include <math.h>
#include <stdlib.h>

#include "nn/graph/passes.h"
#include "nn/graph/passes/edit.h"
#include "nn/graph/reference.h"

static bool is_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype == DTYPE_F64;
}

static bool all_constant(const struct graph *graph, const struct node *node)
{
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] >= 0 && graph->values[node->inputs[i]].constant == NULL)
            return false;
    return node->input_count > 0;
}

static void become_constant(struct graph *graph, int index, struct tensor *tensor)
{
    struct value *value = &graph->values[graph->nodes[index].outputs[0]];

    value->constant = tensor;
    value->dtype = tensor->dtype;
    value->shape = tensor->shape;
    edit_remove_node(graph, index);
}

static int evaluate(struct graph *graph, int index, struct error *err)
{
    const struct node *node = &graph->nodes[index];
    struct tensor *result;

    const struct tensor **inputs = calloc((size_t)node->input_count, sizeof *inputs);
    if (inputs == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to fold constants");
    for (int i = 0; i < node->input_count; i++)
        inputs[i] = node->inputs[i] < 0 ? NULL : graph->values[node->inputs[i]].constant;
    struct error reason;
    int status = reference_node(node, inputs, &result, &reason);
    free(inputs);
    if (status == STATUS_OK)
        become_constant(graph, index, result);
    else if (status == STATUS_UNSUPPORTED) /* an odd type, say; it may not matter */
        status = STATUS_OK;
    else
        error_set(err, (enum status)status, "%s", reason.message);
    return status;
}

static int fold_shape(struct graph *graph, int index, struct error *err)
{
    const struct shape *shape = &graph->values[graph->nodes[index].inputs[0]].shape;
    const struct shape result_shape = {1, {shape->rank}};
    struct tensor *result;

    if (shape_elements(shape) < 0)
        return STATUS_OK;
    const int status = tensor_create(DTYPE_I64, &result_shape, &result, err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < shape->rank; i++)
        ((int64_t *)result->data)[i] = shape->dims[i];
    become_constant(graph, index, result);
    return STATUS_OK;
}

static bool does_nothing(const struct graph *graph, const struct node *node)
{
    if (node->op == OP_CAST)
        return is_float(node->u.cast.to) && is_float(graph->values[node->inputs[0]].dtype);
    return node->op == OP_IDENTITY || node->op == OP_DROPOUT;
}

/* Whether a Pad adds to height and width only, and no more than an int holds. */
static bool pads_image(const struct graph *graph, const struct node *pad)
{
    if (graph->values[pad->inputs[0]].shape.rank != 4)
        return false;
    for (int i = 0; i < 4; i++) {
        const int64_t before = pad->u.pad.before[i], after = pad->u.pad.after[i];
        const int64_t limit = i < 2 ? 0 : 1 << 16;
        if (before < 0 || after < 0 || before > limit || after > limit)
            return false;
    }
    return true;
}

static bool never_negative(const struct graph *graph, int value)
{
    const int producer = graph->values[value].producer;

    if (producer < 0)
        return false;
    const struct node *node = &graph->nodes[producer];
    return node->op == OP_RELU || node->op == OP_SIGMOID ||
           (node->op == OP_CLIP && node->u.clip.low >= 0);
}

/* Whether padding by the consumer itself would have the same effect. */
static bool can_pad_itself(const struct graph *graph, const struct node *pad,
                           const struct node *consumer)
{
    const float value = pad->u.pad.value;
    const struct window *window = &consumer->u.pool.window;

    if (consumer->op == OP_CONV)
        return value == 0;
    for (int i = 0; i < 2; i++) {
        const int64_t reach = (int64_t)window->dilation[i] * (window->kernel[i] - 1) + 1;
        if (window->pad[i] + pad->u.pad.before[2 + i] >= reach ||
            window->pad[i + 2] + pad->u.pad.after[2 + i] >= reach)
            return false;
    }
    /* Where a window hanging over the end may start depends on who pads. */
    if (consumer->u.pool.ceil_mode)
        return false;
    if (consumer->op == OP_MAX_POOL)
        return (isinf(value) && value < 0) || (value == 0 && never_negative(graph, pad->inputs[0]));
    const bool unpadded =
        window->pad[0] == 0 && window->pad[1] == 0 && window->pad[2] == 0 && window->pad[3] == 0;
    return value == 0 && (unpadded || consumer->u.pool.count_include_pad);
}

static void merge_pad(struct graph *graph, struct node *consumer)
{
    const int index = edit_producer(graph, consumer->inputs[0], OP_PAD);

    if (index < 0)
        return;
    const struct node *pad = &graph->nodes[index];
    if (!pads_image(graph, pad) || !can_pad_itself(graph, pad, consumer))
        return;
    struct window *window =
        consumer->op == OP_CONV ? &consumer->u.conv.window : &consumer->u.pool.window;
    for (int i = 0; i < 2; i++) {
        window->pad[i] += (int)pad->u.pad.before[2 + i];
        window->pad[i + 2] += (int)pad->u.pad.after[2 + i];
    }
    if (consumer->op == OP_AVERAGE_POOL)
        consumer->u.pool.count_include_pad = true;
    consumer->inputs[0] = pad->inputs[0];
}

static int fold(struct graph *graph, int index, struct error *err)
{
    struct node *node = &graph->nodes[index];

    if (does_nothing(graph, node)) {
        edit_bypass(graph, index);
        return STATUS_OK;
    }
    if (all_constant(graph, node))
        return evaluate(graph, index, err);
    if (node->op == OP_SHAPE)
        return fold_shape(graph, index, err);
    if (node->op == OP_CONV || node->op == OP_MAX_POOL || node->op == OP_AVERAGE_POOL)
        merge_pad(graph, node);
    return STATUS_OK;
}

int passes_fold_constants(struct graph *graph, struct error *err)
{
    int status = STATUS_OK;

    for (int i = 0; status == STATUS_OK && i < graph->node_count; i++)
        if (graph->nodes[i].output_count > 0)
            status = fold(graph, i, err);
    return status != STATUS_OK ? status : graph_compact(graph, err);
}
