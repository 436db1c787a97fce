/* Each operator spelt out in ONNX at opset 17: see writer.h.
 *
 * One node of ours becomes one of ONNX's and, where it has fused parts or is a swish, a few more:
 *
 *   conv(x) + residual, activated   ->  Conv, Add, <activation>
 *   activated conv(x), + residual   ->  Conv, <activation>, Add
 *   swish                           ->  Sigmoid, Mul
 *
 * The last of them has the name of our value; those before it are named after it. */
#include "nn/onnx/writer.h"

#include <float.h>
#include <stdlib.h>

#include "nn/onnx/proto.h"

static int out_of_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, "no memory to write a model");
}

static size_t begin_attribute(struct writer *writer, const char *name, enum attribute_type type)
{
    const size_t begin = wire_begin(writer->out, NODE_ATTRIBUTE);
    wire_put_text(writer->out, ATTRIBUTE_NAME, name);
    wire_put_int(writer->out, ATTRIBUTE_TYPE, type);
    return begin;
}

static void put_int(struct writer *writer, const char *name, int64_t value)
{
    const size_t begin = begin_attribute(writer, name, ATTRIBUTE_TYPE_INT);
    wire_put_int(writer->out, ATTRIBUTE_I, value);
    wire_end(writer->out, begin);
}

static void put_float(struct writer *writer, const char *name, float value)
{
    const size_t begin = begin_attribute(writer, name, ATTRIBUTE_TYPE_FLOAT);
    wire_put_float(writer->out, ATTRIBUTE_F, value);
    wire_end(writer->out, begin);
}

static void put_ints(struct writer *writer, const char *name, const int64_t *values, int count)
{
    const size_t begin = begin_attribute(writer, name, ATTRIBUTE_TYPE_INTS);
    for (int i = 0; i < count; i++)
        wire_put_int(writer->out, ATTRIBUTE_INTS, values[i]);
    wire_end(writer->out, begin);
}

static void put_int_pair(struct writer *writer, const char *name, const int pair[2])
{
    const int64_t values[] = {pair[0], pair[1]};
    put_ints(writer, name, values, 2);
}

static void put_window(struct writer *writer, const struct window *window, bool dilations)
{
    const int64_t pads[] = {window->pad[0], window->pad[1], window->pad[2], window->pad[3]};

    put_int_pair(writer, "kernel_shape", window->kernel);
    put_int_pair(writer, "strides", window->stride);
    put_ints(writer, "pads", pads, 4);
    if (dilations)
        put_int_pair(writer, "dilations", window->dilation);
}

/* Opens a node; attributes may follow until wire_end. NULL ends the inputs early. */
static size_t begin_node(struct writer *writer, const char *operator_name, const char *name,
                         const char *const *inputs, int input_count, const char *output)
{
    const size_t begin = wire_begin(writer->out, GRAPH_NODE);

    for (int i = 0; i < input_count && inputs[i] != NULL; i++)
        wire_put_text(writer->out, NODE_INPUT, inputs[i]);
    wire_put_text(writer->out, NODE_OUTPUT, output);
    wire_put_text(writer->out, NODE_NAME, name);
    wire_put_text(writer->out, NODE_OP_TYPE, operator_name);
    return begin;
}

void writer_put_node(struct writer *writer, const char *operator_name, const char *name,
                     const char *a, const char *b, const char *output)
{
    const char *const inputs[] = {a, b};
    wire_end(writer->out, begin_node(writer, operator_name, name, inputs, 2, output));
}

void writer_put_cast(struct writer *writer, const char *input, const char *output, enum dtype dtype)
{
    const size_t begin = begin_node(writer, "Cast", output, &input, 1, output);
    put_int(writer, "to", element_type_code(dtype));
    wire_end(writer->out, begin);
}

/* x * sigmoid(x) */
static int put_swish(struct writer *writer, const char *name, const char *x, const char *output,
                     struct error *err)
{
    char *gate = writer_name(writer, output, "/sigmoid");
    char *gate_node = writer_name(writer, name, "/sigmoid");
    const bool named = gate != NULL && gate_node != NULL;

    if (named) {
        writer_put_node(writer, "Sigmoid", gate_node, x, NULL, gate);
        writer_put_node(writer, "Mul", name, x, gate, output);
    }
    free(gate);
    free(gate_node);
    return named ? STATUS_OK : out_of_memory(err);
}

/* Bounds are inputs since opset 11; one at the edge of all floats is left out. */
static int put_clip(struct writer *writer, const char *name, const char *x, float low, float high,
                    const char *output, struct error *err)
{
    char *low_name = writer_name(writer, output, "/low");
    char *high_name = writer_name(writer, output, "/high");
    const bool named = low_name != NULL && high_name != NULL;

    if (named) {
        const bool has_low = low > -FLT_MAX, has_high = high < FLT_MAX;
        const char *const inputs[] = {x,
                                      has_low    ? low_name
                                      : has_high ? ""
                                                 : NULL,
                                      has_high ? high_name : NULL};
        if (has_low)
            writer_put_number(writer, low_name, low);
        if (has_high)
            writer_put_number(writer, high_name, high);
        wire_end(writer->out, begin_node(writer, "Clip", name, inputs, 3, output));
    }
    free(low_name);
    free(high_name);
    return named ? STATUS_OK : out_of_memory(err);
}

static int put_activation(struct writer *writer, const struct fused *fused, const char *name,
                          const char *x, const char *output, struct error *err)
{
    size_t begin;

    switch (fused->activation) {
    case ACTIVATION_NONE:
        break;
    case ACTIVATION_RELU:
        writer_put_node(writer, "Relu", name, x, NULL, output);
        break;
    case ACTIVATION_CLIP:
        return put_clip(writer, name, x, fused->a, fused->b, output, err);
    case ACTIVATION_SWISH:
        return put_swish(writer, name, x, output, err);
    case ACTIVATION_SIGMOID:
        writer_put_node(writer, "Sigmoid", name, x, NULL, output);
        break;
    case ACTIVATION_HARD_SWISH:
        writer_put_node(writer, "HardSwish", name, x, NULL, output);
        break;
    case ACTIVATION_HARD_SIGMOID:
        begin = begin_node(writer, "HardSigmoid", name, &x, 1, output);
        put_float(writer, "alpha", fused->a);
        put_float(writer, "beta", fused->b);
        wire_end(writer->out, begin);
        break;
    case ACTIVATION_LEAKY_RELU:
        begin = begin_node(writer, "LeakyRelu", name, &x, 1, output);
        put_float(writer, "alpha", fused->a);
        wire_end(writer->out, begin);
        break;
    }
    return STATUS_OK;
}

/* The activation and the addition that were folded into a node, in their order. `bare` is what the
 * node itself computes; there is at least one of the two. */
static int put_fused(struct writer *writer, const struct node *node, const char *bare,
                     const char *output, struct error *err)
{
    const struct fused *fused = &node->fused;
    const bool activated = fused->activation != ACTIVATION_NONE;
    char *between = writer_name(writer, output, "/between");
    char *activation_node = writer_name(writer, node->name, "/activation");
    char *sum_node = writer_name(writer, node->name, "/residual");
    int status = STATUS_OK;

    if (between == NULL || activation_node == NULL || sum_node == NULL) {
        status = out_of_memory(err);
    } else if (fused->residual < 0) {
        status = put_activation(writer, fused, activation_node, bare, output, err);
    } else {
        const char *residual = writer->graph->values[fused->residual].name;
        const bool after = activated && fused->residual_after;
        if (after)
            status = put_activation(writer, fused, activation_node, bare, between, err);
        writer_put_node(writer, "Add", sum_node, after ? between : bare, residual,
                        activated && !after ? between : output);
        if (activated && !after)
            status = put_activation(writer, fused, activation_node, between, output, err);
    }
    free(between);
    free(activation_node);
    free(sum_node);
    return status;
}

static void put_attributes(struct writer *writer, const struct node *node)
{
    switch (node->op) {
    case OP_CONV:
        put_window(writer, &node->u.conv.window, true);
        put_int(writer, "group", node->u.conv.groups);
        break;
    case OP_BATCH_NORM:
        put_float(writer, "epsilon", node->u.batch_norm.epsilon);
        put_float(writer, "momentum", node->u.batch_norm.momentum);
        break;
    case OP_HARD_SIGMOID:
        put_float(writer, "beta", node->u.scalar.beta);
        put_float(writer, "alpha", node->u.scalar.alpha);
        break;
    case OP_LEAKY_RELU:
        put_float(writer, "alpha", node->u.scalar.alpha);
        break;
    case OP_MAX_POOL:
        put_window(writer, &node->u.pool.window, true);
        put_int(writer, "ceil_mode", node->u.pool.ceil_mode);
        break;
    case OP_AVERAGE_POOL:
        put_window(writer, &node->u.pool.window, false);
        put_int(writer, "ceil_mode", node->u.pool.ceil_mode);
        put_int(writer, "count_include_pad", node->u.pool.count_include_pad);
        break;
    case OP_GEMM:
        put_float(writer, "alpha", node->u.gemm.alpha);
        put_float(writer, "beta", node->u.gemm.beta);
        put_int(writer, "transA", node->u.gemm.transpose_a);
        put_int(writer, "transB", node->u.gemm.transpose_b);
        break;
    case OP_FLATTEN:
    case OP_CONCAT:
    case OP_SOFTMAX:
    case OP_GATHER:
        put_int(writer, "axis", node->u.axis.axis);
        break;
    case OP_REDUCE_MEAN:
        put_int(writer, "keepdims", node->u.axes.keep_dims);
        if (node->u.axes.count > 0)
            put_ints(writer, "axes", node->u.axes.axes, node->u.axes.count);
        break;
    case OP_TRANSPOSE:
        if (node->u.axes.count > 0)
            put_ints(writer, "perm", node->u.axes.axes, node->u.axes.count);
        break;
    case OP_CAST:
        put_int(writer, "to", element_type_code(node->u.cast.to));
        break;
    default:
        break;
    }
}

/* The operator itself, with its own inputs (not a fused residual) and attributes. */
static int put_plain(struct writer *writer, const struct node *node, const char *output,
                     struct error *err)
{
    const int count = node->input_count - (node->fused.residual >= 0 ? 1 : 0);
    const char **inputs = calloc((size_t)count + 1, sizeof *inputs);

    if (inputs == NULL)
        return out_of_memory(err);
    for (int i = 0; i < count; i++)
        inputs[i] = node->inputs[i] < 0 ? "" : writer->graph->values[node->inputs[i]].name;
    const size_t begin = begin_node(writer, op_name(node->op), node->name, inputs, count, output);
    put_attributes(writer, node);
    wire_end(writer->out, begin);
    free(inputs);
    return STATUS_OK;
}

/* Squeeze and Unsqueeze take their axes as an input since opset 13. */
static int put_axes(struct writer *writer, const struct node *node, const char *x,
                    const char *output, struct error *err)
{
    char *axes = writer_name(writer, output, "/axes");

    if (axes == NULL)
        return out_of_memory(err);
    if (node->u.axes.count > 0)
        writer_put_integers(writer, axes, node->u.axes.axes, node->u.axes.count);
    writer_put_node(writer, op_name(node->op), node->name, x, node->u.axes.count > 0 ? axes : NULL,
                    output);
    free(axes);
    return STATUS_OK;
}

static int put_pad(struct writer *writer, const struct node *node, const struct value *x,
                   const char *output, struct error *err)
{
    char *amounts = writer_name(writer, output, "/pads");
    char *fill = writer_name(writer, output, "/value");
    const bool named = amounts != NULL && fill != NULL;
    const int rank = x->shape.rank;
    int64_t values[2 * SHAPE_RANK_MAX];

    if (named) {
        for (int i = 0; i < rank; i++) {
            values[i] = node->u.pad.before[i];
            values[rank + i] = node->u.pad.after[i];
        }
        const char *const inputs[] = {x->name, amounts, fill};
        writer_put_integers(writer, amounts, values, 2 * rank);
        writer_put_number(writer, fill, node->u.pad.value);
        wire_end(writer->out, begin_node(writer, "Pad", node->name, inputs, 3, output));
    }
    free(amounts);
    free(fill);
    return named ? STATUS_OK : out_of_memory(err);
}

static int put_dropout(struct writer *writer, const struct node *node, const char *x,
                       const char *output, struct error *err)
{
    char *ratio = writer_name(writer, output, "/ratio");

    if (ratio == NULL)
        return out_of_memory(err);
    writer_put_number(writer, ratio, node->u.dropout.ratio);
    writer_put_node(writer, "Dropout", node->name, x, ratio, output);
    free(ratio);
    return STATUS_OK;
}

/* Operators whose attributes became inputs are written out by hand, the others alike. */
static int put_operator(struct writer *writer, const struct node *node, const char *output,
                        struct error *err)
{
    const struct value *x = node->input_count > 0 && node->inputs[0] >= 0
                                ? &writer->graph->values[node->inputs[0]]
                                : NULL;
    const int *dilation = node->u.pool.window.dilation;

    if (x == NULL || node->op == OP_CONSTANT)
        return error_set(err, STATUS_INTERNAL, "node '%s' (%s) has no input", node->name,
                         op_name(node->op));
    switch (node->op) {
    case OP_SWISH:
        return put_swish(writer, node->name, x->name, output, err);
    case OP_CLIP:
        return put_clip(writer, node->name, x->name, node->u.clip.low, node->u.clip.high, output,
                        err);
    case OP_SQUEEZE:
    case OP_UNSQUEEZE:
        return put_axes(writer, node, x->name, output, err);
    case OP_PAD:
        return put_pad(writer, node, x, output, err);
    case OP_DROPOUT:
        return put_dropout(writer, node, x->name, output, err);
    case OP_AVERAGE_POOL:
        if (dilation[0] != 1 || dilation[1] != 1)
            return error_set(err, STATUS_UNSUPPORTED,
                             "node '%s' (AveragePool): opset 17 has no dilation", node->name);
        return put_plain(writer, node, output, err);
    default:
        return put_plain(writer, node, output, err);
    }
}

static int put_node(struct writer *writer, const struct node *node, struct error *err)
{
    const char *output = writer->graph->values[node->outputs[0]].name;

    if (node->fused.activation == ACTIVATION_NONE && node->fused.residual < 0)
        return put_operator(writer, node, output, err);
    char *bare = writer_name(writer, output, "/bare");
    if (bare == NULL)
        return out_of_memory(err);
    int status = put_operator(writer, node, bare, err);
    if (status == STATUS_OK)
        status = put_fused(writer, node, bare, output, err);
    free(bare);
    return status;
}

int writer_put_nodes(struct writer *writer, struct error *err)
{
    int status = STATUS_OK;

    for (int i = 0; i < writer->graph->node_count && status == STATUS_OK; i++)
        status = put_node(writer, &writer->graph->nodes[i], err);
    return status;
}
