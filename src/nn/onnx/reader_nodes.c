/* The table of operators and how each becomes a node of the graph: see
 * reader_operators.h.
 *
 * What later opsets moved from attributes to inputs (Clip's bounds; the axes of Squeeze, Unsqueeze
 * and ReduceMean; Pad's amounts; Dropout's ratio) is left among the inputs when it is there:
 * graph_infer_shapes takes constants from there into the attributes. So a handler reads the older
 * form, and the newer one needs no code.
 *
 * Nodes that only hand a value on (Identity, a cast between float types) become another name for
 * it, and Slice becomes Gather. */
#include "nn/onnx/reader_operators.h"

#include <float.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int operation_add(const struct operation *operation, struct error *err)
{
    return graph_add_node(operation->reader->graph, operation->row->op, operation->name,
                          operation->inputs, operation->input_count, err);
}

struct node *operation_node(const struct operation *operation)
{
    struct graph *graph = operation->reader->graph;
    return &graph->nodes[graph->node_count - 1];
}

int operation_int(const struct operation *operation, const char *name, int64_t otherwise, int *out,
                  struct error *err)
{
    int64_t value = 0;

    const int status = proto_attribute_int(operation->proto, name, otherwise, &value, err);
    if (status != STATUS_OK)
        return status;
    if (value < INT_MIN || value > INT_MAX)
        return error_set(err, STATUS_CORRUPT, "attribute '%s' is %lld", name, (long long)value);
    *out = (int)value;
    return STATUS_OK;
}

static int read_conv(const struct operation *operation, struct error *err)
{
    struct window window;
    int groups;

    int status = reader_window(operation, operation->inputs[1], &window, err);
    if (status == STATUS_OK)
        status = operation_int(operation, "group", 1, &groups, err);
    if (status != STATUS_OK)
        return status;
    const int value = operation_add(operation, err);
    if (value < 0)
        return value;
    operation_node(operation)->u.conv.window = window;
    operation_node(operation)->u.conv.groups = groups;
    return value;
}

static int read_batch_norm(const struct operation *operation, struct error *err)
{
    float epsilon, momentum;
    int spatial, training;

    int status = proto_attribute_float(operation->proto, "epsilon", 1e-5f, &epsilon, err);
    if (status == STATUS_OK)
        status = proto_attribute_float(operation->proto, "momentum", 0.9f, &momentum, err);
    if (status == STATUS_OK)
        status = operation_int(operation, "spatial", 1, &spatial, err);
    if (status == STATUS_OK)
        status = operation_int(operation, "training_mode", 0, &training, err);
    if (status != STATUS_OK)
        return status;
    if (spatial != 1)
        return error_set(err, STATUS_UNSUPPORTED, "it normalises each pixel by itself");
    if (training != 0)
        return error_set(err, STATUS_UNSUPPORTED,
                         "it is in training mode; export the model for inference");
    const int value = operation_add(operation, err);
    if (value < 0)
        return value;
    operation_node(operation)->u.batch_norm.epsilon = epsilon;
    operation_node(operation)->u.batch_norm.momentum = momentum;
    return value;
}

static int read_clip(const struct operation *operation, struct error *err)
{
    float low, high;

    int status = proto_attribute_float(operation->proto, "min", -FLT_MAX, &low, err);
    if (status == STATUS_OK)
        status = proto_attribute_float(operation->proto, "max", FLT_MAX, &high, err);
    if (status != STATUS_OK)
        return status;
    const int value = operation_add(operation, err);
    if (value < 0)
        return value;
    operation_node(operation)->u.clip.low = low;
    operation_node(operation)->u.clip.high = high;
    return value;
}

/* LeakyRelu and HardSigmoid. */
static int read_scalar(const struct operation *operation, struct error *err)
{
    const bool leaky = operation->row->op == OP_LEAKY_RELU;
    float alpha, beta;

    int status =
        proto_attribute_float(operation->proto, "alpha", leaky ? 0.01f : 0.2f, &alpha, err);
    if (status == STATUS_OK)
        status = proto_attribute_float(operation->proto, "beta", 0.5f, &beta, err);
    if (status != STATUS_OK)
        return status;
    const int value = operation_add(operation, err);
    if (value < 0)
        return value;
    operation_node(operation)->u.scalar.alpha = alpha;
    operation_node(operation)->u.scalar.beta = leaky ? 0 : beta;
    return value;
}

static int read_pool(const struct operation *operation, struct error *err)
{
    struct window window;
    int include_pad, ceil_mode;

    int status = reader_window(operation, -1, &window, err);
    if (status == STATUS_OK)
        status = operation_int(operation, "count_include_pad", 0, &include_pad, err);
    if (status == STATUS_OK)
        status = operation_int(operation, "ceil_mode", 0, &ceil_mode, err);
    if (status != STATUS_OK)
        return status;
    const int value = operation_add(operation, err);
    if (value < 0)
        return value;
    operation_node(operation)->u.pool.window = window;
    operation_node(operation)->u.pool.count_include_pad = include_pad != 0;
    operation_node(operation)->u.pool.ceil_mode = ceil_mode != 0;
    return value;
}

static int read_gemm(const struct operation *operation, struct error *err)
{
    struct gemm_attributes gemm;
    int transpose_a, transpose_b;

    int status = proto_attribute_float(operation->proto, "alpha", 1, &gemm.alpha, err);
    if (status == STATUS_OK)
        status = proto_attribute_float(operation->proto, "beta", 1, &gemm.beta, err);
    if (status == STATUS_OK)
        status = operation_int(operation, "transA", 0, &transpose_a, err);
    if (status == STATUS_OK)
        status = operation_int(operation, "transB", 0, &transpose_b, err);
    if (status != STATUS_OK)
        return status;
    const int value = operation_add(operation, err);
    if (value < 0)
        return value;
    gemm.transpose_a = transpose_a != 0;
    gemm.transpose_b = transpose_b != 0;
    operation_node(operation)->u.gemm = gemm;
    return value;
}

/* Flatten, Concat and Gather. */
static int read_axis(const struct operation *operation, struct error *err)
{
    const enum op op = operation->row->op;
    int axis;

    if (op == OP_CONCAT && proto_attribute_find(operation->proto, "axis") == NULL)
        return error_set(err, STATUS_CORRUPT, "attribute 'axis' is missing");
    const int status = operation_int(operation, "axis", op == OP_FLATTEN ? 1 : 0, &axis, err);
    if (status != STATUS_OK)
        return status;
    const int value = operation_add(operation, err);
    if (value >= 0)
        operation_node(operation)->u.axis.axis = axis;
    return value;
}

static int read_dropout(const struct operation *operation, struct error *err)
{
    float ratio;

    const int status = proto_attribute_float(operation->proto, "ratio", 0.5f, &ratio, err);
    if (status != STATUS_OK)
        return status;
    const int value = operation_add(operation, err);
    if (value >= 0)
        operation_node(operation)->u.dropout.ratio = ratio;
    return value;
}

static int read_identity(const struct operation *operation, struct error *err)
{
    (void)err;
    return operation->inputs[0];
}

static bool dtype_is_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype == DTYPE_F64;
}

/* Every float type is f32 here, so casts among them say nothing. */
static int read_cast(const struct operation *operation, struct error *err)
{
    const struct value *x;
    int64_t code;
    enum dtype to;

    int status = proto_attribute_int(operation->proto, "to", 0, &code, err);
    if (status == STATUS_OK)
        status = element_type_read(code, &to, err);
    if (status != STATUS_OK)
        return status;
    if (dtype_is_float(to)) {
        status = reader_value(operation->reader, operation->inputs[0], &x, err);
        if (status != STATUS_OK)
            return status;
        if (dtype_is_float(x->dtype))
            return operation->inputs[0];
        to = DTYPE_F32;
    }
    const int value = operation_add(operation, err);
    if (value >= 0)
        operation_node(operation)->u.cast.to = to;
    return value;
}

static int read_sum(const struct operation *operation, struct error *err)
{
    int sum = operation->inputs[0];

    for (int i = 1; i < operation->input_count && sum >= 0; i++) {
        const int inputs[] = {sum, operation->inputs[i]};
        if (inputs[1] < 0)
            return error_set(err, STATUS_CORRUPT, "it lacks input %d", i);
        sum = graph_add_node(operation->reader->graph, OP_ADD, operation->name, inputs, 2, err);
    }
    return sum;
}

/* Since opset 15 Shape may be of some dimensions only. */
static int read_shape(const struct operation *operation, struct error *err)
{
    if (proto_attribute_find(operation->proto, "start") != NULL ||
        proto_attribute_find(operation->proto, "end") != NULL)
        return error_set(err, STATUS_UNSUPPORTED, "only whole shapes are taken");
    return operation_add(operation, err);
}

static int read_constant(const struct operation *operation, struct error *err)
{
    struct tensor *tensor;

    const int status = proto_constant_read(operation->proto, &tensor, err);
    return status != STATUS_OK ? status : reader_add_constant(operation->reader, NULL, tensor, err);
}

static const struct operator_row operators[] = {
    {"Add", OP_ADD, 2, 2, operation_add},
    {"AveragePool", OP_AVERAGE_POOL, 1, 1, read_pool},
    {"BatchNormalization", OP_BATCH_NORM, 5, 5, read_batch_norm},
    {"Cast", OP_CAST, 1, 1, read_cast},
    {"Clip", OP_CLIP, 1, 3, read_clip},
    {"Concat", OP_CONCAT, 1, INT_MAX, read_axis},
    {"Constant", OP_CONSTANT, 0, 0, read_constant},
    {"Conv", OP_CONV, 2, 3, read_conv},
    {"Div", OP_DIV, 2, 2, operation_add},
    {"Dropout", OP_DROPOUT, 1, 3, read_dropout},
    {"Flatten", OP_FLATTEN, 1, 1, read_axis},
    {"Gather", OP_GATHER, 2, 2, read_axis},
    {"Gemm", OP_GEMM, 2, 3, read_gemm},
    {"GlobalAveragePool", OP_GLOBAL_AVERAGE_POOL, 1, 1, operation_add},
    {"HardSigmoid", OP_HARD_SIGMOID, 1, 1, read_scalar},
    {"HardSwish", OP_HARD_SWISH, 1, 1, operation_add},
    {"Identity", OP_IDENTITY, 1, 1, read_identity},
    {"LeakyRelu", OP_LEAKY_RELU, 1, 1, read_scalar},
    {"MatMul", OP_MATMUL, 2, 2, operation_add},
    {"MaxPool", OP_MAX_POOL, 1, 1, read_pool},
    {"Mul", OP_MUL, 2, 2, operation_add},
    {"Pad", OP_PAD, 1, 4, layout_read_pad},
    {"ReduceMean", OP_REDUCE_MEAN, 1, 2, layout_read_axes},
    {"Relu", OP_RELU, 1, 1, operation_add},
    {"Reshape", OP_RESHAPE, 2, 2, layout_read_reshape},
    {"Shape", OP_SHAPE, 1, 1, read_shape},
    {"Sigmoid", OP_SIGMOID, 1, 1, operation_add},
    {"Slice", OP_GATHER, 1, 5, layout_read_slice},
    {"Softmax", OP_SOFTMAX, 1, 1, layout_read_softmax},
    {"Squeeze", OP_SQUEEZE, 1, 2, layout_read_axes},
    {"Sub", OP_SUB, 2, 2, operation_add},
    {"Sum", OP_ADD, 1, INT_MAX, read_sum},
    {"Tanh", OP_TANH, 1, 1, operation_add},
    {"Transpose", OP_TRANSPOSE, 1, 1, layout_read_axes},
    {"Unsqueeze", OP_UNSQUEEZE, 1, 2, layout_read_axes},
};

static const struct operator_row *operator_find(struct wire_text name)
{
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
        if (wire_text_is(name, operators[i].name))
            return &operators[i];
    return NULL;
}

/* Names of inputs become values; omitted ones at the end are dropped. */
static int resolve_inputs(const struct reader *reader, const struct proto_node *proto,
                          const struct operator_row *row, int *inputs, int *count,
                          struct error *err)
{
    *count = 0;
    for (int i = 0; i < proto->input_count; i++) {
        const struct name_entry *entry = name_table_find(&reader->values, proto->inputs[i]);
        inputs[i] = -1;
        if (proto->inputs[i].size == 0)
            continue;
        if (entry == NULL)
            return error_set(err, STATUS_CORRUPT, "its input '%.*s' is given by nothing before it",
                             WIRE_TEXT_PRINT(proto->inputs[i]));
        if (entry->item == VALUE_NOT_COMPUTED)
            return error_set(err, STATUS_UNSUPPORTED, "its input '%.*s' is an output not computed",
                             WIRE_TEXT_PRINT(proto->inputs[i]));
        inputs[i] = entry->item;
        *count = i + 1;
    }
    if (*count > row->inputs_max)
        return error_set(err, STATUS_CORRUPT, "it has %d inputs", *count);
    for (int i = 0; i < row->inputs_min; i++)
        if (i >= *count || inputs[i] < 0)
            return error_set(err, STATUS_CORRUPT, "it lacks input %d", i);
    return STATUS_OK;
}

/* Gives the first output its value and the value its name; others are not computed. */
static int bind_outputs(struct reader *reader, const struct proto_node *proto, int value,
                        bool fresh, struct error *err)
{
    int status = STATUS_OK;

    for (int i = 0; i < proto->output_count && status == STATUS_OK; i++)
        if (proto->outputs[i].size > 0)
            status = name_table_add(&reader->values, proto->outputs[i],
                                    i == 0 ? value : VALUE_NOT_COMPUTED, err);
    if (status != STATUS_OK)
        return status == STATUS_EXISTS ? STATUS_CORRUPT : status;
    if (!fresh && reader->graph->values[value].constant == NULL)
        return STATUS_OK;
    return reader_name_value(reader, value, proto->outputs[0], err);
}

static int add_operation(struct reader *reader, const struct proto_node *proto,
                         const struct operator_row *row, int *inputs, struct error *err)
{
    struct operation operation = {.reader = reader, .proto = proto, .row = row, .inputs = inputs};
    const int value_count = reader->graph->value_count;

    const bool named =
        proto->name.size > 0 && name_table_add(&reader->nodes, proto->name, 0, NULL) == STATUS_OK;
    char *name = wire_text_copy(named ? proto->name : proto->outputs[0]);
    if (name == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read a node");
    operation.name = name;
    int status = resolve_inputs(reader, proto, row, inputs, &operation.input_count, err);
    if (status == STATUS_OK)
        status = row->read(&operation, err);
    free(name);
    return status < 0 ? status : bind_outputs(reader, proto, status, status >= value_count, err);
}

int reader_add_node(struct reader *reader, const struct proto_node *proto, struct error *err)
{
    const bool standard = proto->domain.size == 0 || wire_text_is(proto->domain, "ai.onnx");
    const struct operator_row *row = standard ? operator_find(proto->op_type) : NULL;
    int status;

    int *inputs = calloc((size_t)proto->input_count + 1, sizeof *inputs);
    if (inputs == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read a node");
    if (row == NULL)
        status = error_set(err, STATUS_UNSUPPORTED, "this operator is not handled");
    else if (proto->output_count == 0 || proto->outputs[0].size == 0)
        status = error_set(err, STATUS_CORRUPT, "it has no output");
    else
        status = add_operation(reader, proto, row, inputs, err);
    free(inputs);
    if (status != STATUS_OK) {
        const struct wire_text name =
            proto->name.size > 0 || proto->output_count == 0 ? proto->name : proto->outputs[0];
        error_wrap(err, "node '%.*s' (%.*s%s%.*s)", WIRE_TEXT_PRINT(name),
                   WIRE_TEXT_PRINT(proto->domain), standard ? "" : ".",
                   WIRE_TEXT_PRINT(proto->op_type));
    }
    return status;
}
