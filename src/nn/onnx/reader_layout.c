/* Operators that rearrange, cut and pad, and Softmax, whose old form did too: the part of the table
 * in reader_nodes.c whose reading takes more than a few attributes. */
#include "nn/onnx/reader_operators.h"

#include <string.h>

static int add_axis_node(const struct operation *operation, enum op op, int x, int axis,
                         struct error *err)
{
    const int value = graph_add_node(operation->reader->graph, op, operation->name, &x, 1, err);
    if (value >= 0)
        operation_node(operation)->u.axis.axis = axis;
    return value;
}

/* Reshapes x to a fixed shape; the first dimension is copied from x when it is open. */
static int add_reshape(const struct operation *operation, int x, const struct shape *shape,
                       struct error *err)
{
    const struct shape vector = {.rank = 1, .dims = {shape->rank}};
    struct tensor *target;

    const int status = tensor_create(DTYPE_I64, &vector, &target, err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < shape->rank; i++)
        ((int64_t *)target->data)[i] = shape->dims[i] == DIM_ANY ? 0 : shape->dims[i];
    const int constant = graph_add_value(operation->reader->graph, NULL, target, err);
    if (constant < 0)
        return constant;
    const int inputs[] = {x, constant};
    return graph_add_node(operation->reader->graph, OP_RESHAPE, operation->name, inputs, 2, err);
}

/* Softmax before opset 13 flattened its input to two dimensions at `axis` (default 1) and took the
 * softmax of each row. That is today's softmax along one axis when all dimensions behind are 1;
 * otherwise the flattening is spelt out. */
static int read_softmax_flattened(const struct operation *operation, int axis, struct error *err)
{
    const struct value *x;

    const int status = reader_value(operation->reader, operation->inputs[0], &x, err);
    if (status != STATUS_OK)
        return status;
    const struct shape shape = x->shape;
    axis += axis < 0 ? shape.rank : 0;
    if (axis < 0 || axis >= shape.rank)
        return error_set(err, STATUS_CORRUPT, "its axis lies outside its input");
    bool flat = true;
    for (int i = axis + 1; i < shape.rank; i++)
        flat = flat && shape.dims[i] == 1;
    if (flat)
        return add_axis_node(operation, OP_SOFTMAX, operation->inputs[0], axis, err);
    for (int i = 1; i < shape.rank; i++)
        if (shape.dims[i] == DIM_ANY)
            return error_set(err, STATUS_UNSUPPORTED, "it flattens an input of open shape");
    int value = add_axis_node(operation, OP_FLATTEN, operation->inputs[0], axis, err);
    if (value >= 0)
        value = add_axis_node(operation, OP_SOFTMAX, value, 1, err);
    return value < 0 ? value : add_reshape(operation, value, &shape, err);
}

int layout_read_softmax(const struct operation *operation, struct error *err)
{
    const bool flattens = operation->reader->opset < 13;
    int axis;

    const int status = operation_int(operation, "axis", flattens ? 1 : -1, &axis, err);
    if (status != STATUS_OK)
        return status;
    if (flattens)
        return read_softmax_flattened(operation, axis, err);
    return add_axis_node(operation, OP_SOFTMAX, operation->inputs[0], axis, err);
}

/* Squeeze without axes drops every dimension of 1; that must not be the batch of the day. */
static int axes_of_ones(const struct operation *operation, int64_t axes[SHAPE_RANK_MAX], int *count,
                        struct error *err)
{
    const struct value *x;

    const int status = reader_value(operation->reader, operation->inputs[0], &x, err);
    if (status != STATUS_OK)
        return status;
    *count = 0;
    for (int i = 0; i < x->shape.rank; i++)
        if (x->shape.dims[i] == 1)
            axes[(*count)++] = i;
    return STATUS_OK;
}

/* Squeeze, Unsqueeze, ReduceMean, and Transpose with its permutation. */
int layout_read_axes(const struct operation *operation, struct error *err)
{
    const enum op op = operation->row->op;
    int64_t axes[SHAPE_RANK_MAX];
    int count, keep_dims, keep_empty;

    int status = proto_attribute_ints(operation->proto, op == OP_TRANSPOSE ? "perm" : "axes", axes,
                                      SHAPE_RANK_MAX, &count, err);
    if (status == STATUS_OK)
        status = operation_int(operation, "keepdims", 1, &keep_dims, err);
    if (status == STATUS_OK)
        status = operation_int(operation, "noop_with_empty_axes", 0, &keep_empty, err);
    const bool given = count >= 0 || operation->input_count > 1;
    if (status == STATUS_OK && op == OP_SQUEEZE && !given)
        status = axes_of_ones(operation, axes, &count, err);
    if (status != STATUS_OK)
        return status;
    if ((op == OP_REDUCE_MEAN && !given && keep_empty) || (op == OP_SQUEEZE && count == 0))
        return operation->inputs[0];
    const int value = operation_add(operation, err);
    if (value < 0)
        return value;
    struct node *node = operation_node(operation);
    node->u.axes.keep_dims = keep_dims != 0;
    node->u.axes.count = count < 0 ? 0 : count;
    memcpy(node->u.axes.axes, axes, (size_t)node->u.axes.count * sizeof axes[0]);
    return value;
}

int layout_read_pad(const struct operation *operation, struct error *err)
{
    int64_t pads[2 * SHAPE_RANK_MAX];
    struct wire_text mode;
    float value;
    int count;

    int status = proto_attribute_text(operation->proto, "mode", "constant", &mode, err);
    if (status == STATUS_OK && !wire_text_is(mode, "constant"))
        return error_set(err, STATUS_UNSUPPORTED, "only padding with a constant is handled");
    if (status == STATUS_OK)
        status = proto_attribute_float(operation->proto, "value", 0, &value, err);
    if (status == STATUS_OK)
        status =
            proto_attribute_ints(operation->proto, "pads", pads, 2 * SHAPE_RANK_MAX, &count, err);
    if (status != STATUS_OK)
        return status;
    if (count % 2 != 0 && count >= 0)
        return error_set(err, STATUS_CORRUPT, "attribute 'pads' has %d numbers", count);
    if (count < 0 && operation->input_count < 2)
        return error_set(err, STATUS_CORRUPT, "it does not say how much to pad");
    const int output = operation_add(operation, err);
    if (output < 0)
        return output;
    struct node *node = operation_node(operation);
    node->u.pad.value = value;
    for (int i = 0; i < count / 2; i++) {
        node->u.pad.before[i] = pads[i];
        node->u.pad.after[i] = pads[count / 2 + i];
    }
    return output;
}

/* Integers of a Slice: an input since opset 10, an attribute before. *count is -1 when absent. */
static int slice_numbers(const struct operation *operation, int input, const char *attribute,
                         int64_t values[SHAPE_RANK_MAX], int *count, struct error *err)
{
    struct tensor *integers;

    if (input >= operation->input_count || operation->inputs[input] < 0)
        return proto_attribute_ints(operation->proto, attribute, values, SHAPE_RANK_MAX, count,
                                    err);
    const struct tensor *constant =
        operation->reader->graph->values[operation->inputs[input]].constant;
    if (constant == NULL)
        return error_set(err, STATUS_UNSUPPORTED, "its %s must be constant", attribute);
    const int64_t elements = shape_elements(&constant->shape);
    if (elements > SHAPE_RANK_MAX)
        return error_set(err, STATUS_CORRUPT, "it has more %s than dimensions", attribute);
    const int status = tensor_convert(constant, DTYPE_I64, &integers, err);
    if (status != STATUS_OK)
        return status;
    *count = (int)elements;
    if (elements > 0)
        memcpy(values, integers->data, (size_t)elements * sizeof values[0]);
    tensor_free(integers);
    return STATUS_OK;
}

/* Where a slice begins or ends along a dimension of `size`: negative counts from the end, and what
 * lies outside is brought to the edge. */
static int64_t slice_edge(int64_t place, int64_t size)
{
    if (place < 0)
        place = place < -size ? 0 : place + size;
    return place > size ? size : place;
}

/* A dimension may be claimed without data behind it, so the indices of a slice need a bound. */
enum { SLICE_MAX = 1 << 16 };

/* Takes start .. end-1 of one axis, as a Gather. */
static int slice_axis(const struct operation *operation, int x, int64_t axis, int64_t start,
                      int64_t end, struct error *err)
{
    const struct value *value;
    struct tensor *indices;

    int status = reader_value(operation->reader, x, &value, err);
    if (status != STATUS_OK)
        return status;
    axis += axis < 0 ? value->shape.rank : 0;
    if (axis < 0 || axis >= value->shape.rank)
        return error_set(err, STATUS_CORRUPT, "it slices an axis its input does not have");
    const int64_t size = value->shape.dims[axis];
    if (size == DIM_ANY)
        return error_set(err, STATUS_UNSUPPORTED, "it slices the open axis %lld", (long long)axis);
    const int64_t first = slice_edge(start, size), past = slice_edge(end, size);
    if (first >= past)
        return error_set(err, STATUS_UNSUPPORTED, "it slices nothing");
    if (past - first > SLICE_MAX)
        return error_set(err, STATUS_UNSUPPORTED, "it slices more than %d", SLICE_MAX);
    const struct shape vector = {.rank = 1, .dims = {past - first}};
    status = tensor_create(DTYPE_I64, &vector, &indices, err);
    if (status != STATUS_OK)
        return status;
    for (int64_t i = first; i < past; i++)
        ((int64_t *)indices->data)[i - first] = i;
    const int constant = graph_add_value(operation->reader->graph, NULL, indices, err);
    if (constant < 0)
        return constant;
    const int inputs[] = {x, constant};
    const int output =
        graph_add_node(operation->reader->graph, OP_GATHER, operation->name, inputs, 2, err);
    if (output >= 0)
        operation_node(operation)->u.axis.axis = (int)axis;
    return output;
}

int layout_read_slice(const struct operation *operation, struct error *err)
{
    int64_t starts[SHAPE_RANK_MAX], ends[SHAPE_RANK_MAX], axes[SHAPE_RANK_MAX];
    int64_t steps[SHAPE_RANK_MAX];
    int count, end_count, axis_count, step_count;

    int status = slice_numbers(operation, 1, "starts", starts, &count, err);
    if (status == STATUS_OK)
        status = slice_numbers(operation, 2, "ends", ends, &end_count, err);
    if (status == STATUS_OK)
        status = slice_numbers(operation, 3, "axes", axes, &axis_count, err);
    if (status == STATUS_OK)
        status = slice_numbers(operation, 4, "steps", steps, &step_count, err);
    if (status != STATUS_OK)
        return status;
    if (count < 1 || end_count != count || (axis_count >= 0 && axis_count != count) ||
        (step_count >= 0 && step_count != count))
        return error_set(err, STATUS_CORRUPT, "its starts, ends, axes and steps do not match");
    int value = operation->inputs[0];
    for (int i = 0; i < count && value >= 0; i++) {
        if (step_count >= 0 && steps[i] != 1)
            return error_set(err, STATUS_UNSUPPORTED, "it slices with a step");
        value =
            slice_axis(operation, value, axis_count >= 0 ? axes[i] : i, starts[i], ends[i], err);
    }
    return value;
}

int layout_read_reshape(const struct operation *operation, struct error *err)
{
    int allow_zero;

    const int status = operation_int(operation, "allowzero", 0, &allow_zero, err);
    if (status != STATUS_OK)
        return status;
    const struct tensor *target = operation->reader->graph->values[operation->inputs[1]].constant;
    for (int64_t i = 0; allow_zero && target != NULL && target->dtype == DTYPE_I64 &&
                        i < shape_elements(&target->shape);
         i++)
        if (((const int64_t *)target->data)[i] == 0)
            return error_set(err, STATUS_UNSUPPORTED, "it makes an empty tensor");
    return operation_add(operation, err);
}
