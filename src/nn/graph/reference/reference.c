/* The plain executor: see reference.h. This file checks, dispatches and runs whole graphs; the
 * operators are in reference_compute.c (those that sum) and reference_layout.c (those that move).
 *
 * A node is checked by shape inference itself, over a small graph made of the node and its inputs
 * alone, so both agree on what is allowed. */
#include "nn/graph/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/graph/reference/reference_ops.h"
#include "nn/graph/shapes/attributes.h"
#include "nn/graph/shapes/shapes.h"

/* One node alone: its inputs are the values 0, 1, ... of a graph that owns nothing. */
struct frame {
    struct node node;
    struct graph graph;
    struct contents *contents;
};

static int frame_create(const struct node *node, const struct tensor *const *inputs,
                        struct frame *frame, struct error *err)
{
    const size_t room = (size_t)node->input_count + 1;

    *frame = (struct frame){.node = *node};
    frame->node.inputs = calloc(room, sizeof *frame->node.inputs);
    frame->graph.values = calloc(room, sizeof *frame->graph.values);
    frame->contents = calloc(room, sizeof *frame->contents);
    if (frame->node.inputs == NULL || frame->graph.values == NULL || frame->contents == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to run a node");
    frame->graph.value_count = node->input_count;
    for (int i = 0; i < node->input_count; i++) {
        frame->node.inputs[i] = inputs[i] == NULL ? -1 : i;
        if (inputs[i] == NULL)
            continue;
        frame->graph.values[i] = (struct value){
            .name = "input",
            .dtype = inputs[i]->dtype,
            .shape = inputs[i]->shape,
            .producer = -1,
            .constant = (struct tensor *)inputs[i], /* only read */
        };
        contents_of_constant(inputs[i], &frame->contents[i]);
    }
    if (node->fused.residual >= 0)
        frame->node.fused.residual = node->input_count - 1;
    return STATUS_OK;
}

static void frame_drop(struct frame *frame)
{
    free(frame->node.inputs);
    free(frame->graph.values);
    free(frame->contents);
}

float reference_activation(enum activation activation, float a, float b, float x)
{
    switch (activation) {
    case ACTIVATION_RELU:
        return x > 0 ? x : 0;
    case ACTIVATION_CLIP:
        return fminf(fmaxf(x, a), b);
    case ACTIVATION_SWISH:
        return x / (1 + expf(-x));
    case ACTIVATION_SIGMOID:
        return 1 / (1 + expf(-x));
    case ACTIVATION_HARD_SWISH:
        return x * fmaxf(0, fminf(1, x / 6 + 0.5f));
    case ACTIVATION_HARD_SIGMOID:
        return fmaxf(0, fminf(1, a * x + b));
    case ACTIVATION_LEAKY_RELU:
        return x >= 0 ? x : a * x;
    case ACTIVATION_NONE:
        break;
    }
    return x;
}

static void apply_activation(enum activation activation, float a, float b,
                             const struct tensor *input, struct tensor *output)
{
    const float *x = input->data;
    float *y = output->data;

    for (size_t i = 0; i < output->size / sizeof *y; i++)
        y[i] = reference_activation(activation, a, b, x[i]);
}

static void apply_tanh(const struct tensor *input, struct tensor *output)
{
    const float *x = input->data;
    float *y = output->data;

    for (size_t i = 0; i < output->size / sizeof *y; i++)
        y[i] = tanhf(x[i]);
}

static void apply_fused(const struct node *node, const struct tensor *const *inputs,
                        struct tensor *output)
{
    const struct fused *fused = &node->fused;
    const struct tensor *residual = fused->residual >= 0 ? inputs[node->input_count - 1] : NULL;
    float *y = output->data;

    for (size_t i = 0; i < output->size / sizeof *y; i++) {
        const float add = residual != NULL ? ((const float *)residual->data)[i] : 0;
        if (fused->residual_after)
            y[i] = reference_activation(fused->activation, fused->a, fused->b, y[i]) + add;
        else
            y[i] = reference_activation(fused->activation, fused->a, fused->b, y[i] + add);
    }
}

static void write_shape(const struct tensor *input, struct tensor *output)
{
    for (int i = 0; i < input->shape.rank; i++)
        ((int64_t *)output->data)[i] = input->shape.dims[i];
}

/* Whether an operator only moves elements, and so takes any type. */
static bool takes_any_type(enum op op)
{
    switch (op) {
    case OP_FLATTEN:
    case OP_RESHAPE:
    case OP_SQUEEZE:
    case OP_UNSQUEEZE:
    case OP_TRANSPOSE:
    case OP_CONCAT:
    case OP_DROPOUT:
    case OP_IDENTITY:
    case OP_SHAPE:
    case OP_GATHER:
    case OP_CAST:
        return true;
    default:
        return false;
    }
}

static int check_types(const struct node *node, const struct tensor *const *inputs,
                       struct error *err)
{
    const bool arithmetic =
        node->op == OP_ADD || node->op == OP_SUB || node->op == OP_MUL || node->op == OP_DIV;

    for (int i = 0; i < node->input_count; i++) {
        if (inputs[i] == NULL)
            continue;
        const enum dtype dtype = inputs[i]->dtype;
        const bool fits = takes_any_type(node->op) || dtype == DTYPE_F32 ||
                          (arithmetic && dtype == DTYPE_I64 && dtype == inputs[0]->dtype);
        const bool same = node->op != OP_CONCAT || dtype == inputs[0]->dtype;
        if (!fits || !same)
            return error_set(err, STATUS_UNSUPPORTED, "input %d is %s", i, dtype_name(dtype));
    }
    if (node->op == OP_GATHER && inputs[1]->dtype != DTYPE_I64 && inputs[1]->dtype != DTYPE_I32)
        return error_set(err, STATUS_INVALID, "its indices are %s", dtype_name(inputs[1]->dtype));
    return STATUS_OK;
}

static int evaluate(const struct node *node, const struct tensor *const *inputs,
                    struct tensor *output, struct error *err)
{
    switch (node->op) {
    case OP_CONV:
        reference_conv(node, inputs, output);
        return STATUS_OK;
    case OP_BATCH_NORM:
        reference_batch_norm(node, inputs, output);
        return STATUS_OK;
    case OP_RELU:
        apply_activation(ACTIVATION_RELU, 0, 0, inputs[0], output);
        return STATUS_OK;
    case OP_LEAKY_RELU:
        apply_activation(ACTIVATION_LEAKY_RELU, node->u.scalar.alpha, 0, inputs[0], output);
        return STATUS_OK;
    case OP_CLIP:
        apply_activation(ACTIVATION_CLIP, node->u.clip.low, node->u.clip.high, inputs[0], output);
        return STATUS_OK;
    case OP_SIGMOID:
        apply_activation(ACTIVATION_SIGMOID, 0, 0, inputs[0], output);
        return STATUS_OK;
    case OP_HARD_SIGMOID:
        apply_activation(ACTIVATION_HARD_SIGMOID, node->u.scalar.alpha, node->u.scalar.beta,
                         inputs[0], output);
        return STATUS_OK;
    case OP_HARD_SWISH:
        apply_activation(ACTIVATION_HARD_SWISH, 0, 0, inputs[0], output);
        return STATUS_OK;
    case OP_SWISH:
        apply_activation(ACTIVATION_SWISH, 0, 0, inputs[0], output);
        return STATUS_OK;
    case OP_TANH:
        apply_tanh(inputs[0], output);
        return STATUS_OK;
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_DIV:
        reference_arithmetic(node, inputs, output);
        return STATUS_OK;
    case OP_MAX_POOL:
    case OP_AVERAGE_POOL:
        reference_pool(node, inputs, output);
        return STATUS_OK;
    case OP_GLOBAL_AVERAGE_POOL:
    case OP_REDUCE_MEAN:
        reference_mean(node, inputs, output);
        return STATUS_OK;
    case OP_GEMM:
        reference_gemm(node, inputs, output);
        return STATUS_OK;
    case OP_MATMUL:
        reference_matmul(inputs, output);
        return STATUS_OK;
    case OP_SOFTMAX:
        reference_softmax(node, inputs, output);
        return STATUS_OK;
    case OP_TRANSPOSE:
        reference_transpose(node, inputs, output);
        return STATUS_OK;
    case OP_CONCAT:
        reference_concat(node, inputs, output);
        return STATUS_OK;
    case OP_PAD:
        reference_pad(node, inputs, output);
        return STATUS_OK;
    case OP_GATHER:
        return reference_gather(node, inputs, output, err);
    case OP_SHAPE:
        write_shape(inputs[0], output);
        return STATUS_OK;
    case OP_FLATTEN: /* the elements stay, only their shape changes */
    case OP_RESHAPE:
    case OP_SQUEEZE:
    case OP_UNSQUEEZE:
    case OP_DROPOUT:
    case OP_IDENTITY:
        memcpy(output->data, inputs[0]->data, output->size);
        return STATUS_OK;
    default:
        return error_set(err, STATUS_UNSUPPORTED, "the reference executor has no such operator");
    }
}

static int run_checked(struct frame *frame, const struct tensor *const *inputs,
                       struct tensor **output, struct error *err)
{
    struct shape shape;
    struct tensor *result;

    int status = attributes_absorb(&frame->graph, &frame->node, err);
    if (status == STATUS_OK)
        status = shapes_infer_node(&frame->graph, &frame->node, frame->contents, &shape, err);
    if (status == STATUS_OK)
        status = check_types(&frame->node, inputs, err);
    if (status != STATUS_OK)
        return status;
    if (frame->node.op == OP_CAST)
        return tensor_convert(inputs[0], frame->node.u.cast.to, output, err);

    const enum dtype dtype = frame->node.op == OP_SHAPE ? DTYPE_I64 : inputs[0]->dtype;
    status = tensor_create(dtype, &shape, &result, err);
    if (status != STATUS_OK)
        return status;
    status = evaluate(&frame->node, inputs, result, err);
    if (status != STATUS_OK) {
        tensor_free(result);
        return status;
    }
    if (frame->node.fused.activation != ACTIVATION_NONE || frame->node.fused.residual >= 0)
        apply_fused(&frame->node, inputs, result);
    *output = result;
    return STATUS_OK;
}

int reference_node(const struct node *node, const struct tensor *const *inputs,
                   struct tensor **output, struct error *err)
{
    struct frame frame;

    int status = frame_create(node, inputs, &frame, err);
    if (status == STATUS_OK) {
        status = run_checked(&frame, inputs, output, err);
        if (status != STATUS_OK)
            error_wrap(err, "node '%s' (%s)", node->name != NULL ? node->name : "",
                       op_name(node->op));
    }
    frame_drop(&frame);
    return status;
}

/* A graph being run: each value's tensor, and the last node that reads it. */
struct run {
    const struct graph *graph;
    struct tensor **tensors; /* by value; only computed ones, which the run owns */
    int *last_readers;
    const struct tensor **inputs; /* of the node at hand */
};

static int run_create(const struct graph *graph, struct run *run, struct error *err)
{
    const size_t values = (size_t)graph->value_count + 1;
    int widest = 0;

    for (int i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].input_count > widest)
            widest = graph->nodes[i].input_count;
    *run = (struct run){.graph = graph};
    run->tensors = calloc(values, sizeof *run->tensors);
    run->last_readers = calloc(values, sizeof *run->last_readers);
    run->inputs = calloc((size_t)widest + 1, sizeof *run->inputs);
    if (run->tensors == NULL || run->last_readers == NULL || run->inputs == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to run a graph");
    for (int i = 0; i < graph->node_count; i++)
        for (int j = 0; j < graph->nodes[i].input_count; j++)
            if (graph->nodes[i].inputs[j] >= 0)
                run->last_readers[graph->nodes[i].inputs[j]] = i;
    for (int i = 0; i < graph->output_count; i++)
        run->last_readers[graph->outputs[i]] = graph->node_count;
    return STATUS_OK;
}

static void run_drop(struct run *run)
{
    for (int i = 0; run->tensors != NULL && i < run->graph->value_count; i++)
        tensor_free(run->tensors[i]);
    free(run->tensors);
    free(run->last_readers);
    free(run->inputs);
}

static int run_node(struct run *run, int index, const struct tensor *graph_input, struct error *err)
{
    const struct node *node = &run->graph->nodes[index];

    for (int i = 0; i < node->input_count; i++) {
        const int input = node->inputs[i];
        if (input < 0)
            run->inputs[i] = NULL;
        else if (run->graph->values[input].constant != NULL)
            run->inputs[i] = run->graph->values[input].constant;
        else
            run->inputs[i] = input == run->graph->inputs[0] ? graph_input : run->tensors[input];
        if (input >= 0 && run->inputs[i] == NULL)
            return error_set(err, STATUS_CORRUPT,
                             "node '%s' (%s) reads '%s', which nothing before it computes",
                             node->name, op_name(node->op), run->graph->values[input].name);
    }
    const int status = reference_node(node, run->inputs, &run->tensors[node->outputs[0]], err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < node->input_count; i++) {
        const int input = node->inputs[i];
        if (input >= 0 && run->last_readers[input] == index) {
            tensor_free(run->tensors[input]);
            run->tensors[input] = NULL;
        }
    }
    return STATUS_OK;
}

int reference_run(const struct graph *graph, const struct tensor *input, struct tensor **output,
                  struct error *err)
{
    struct run run;

    if (graph->input_count != 1 || graph->output_count != 1)
        return error_set(err, STATUS_UNSUPPORTED, "a classifier has one input and one output");
    int status = run_create(graph, &run, err);
    for (int i = 0; status == STATUS_OK && i < graph->node_count; i++)
        if (graph->nodes[i].output_count > 0)
            status = run_node(&run, i, input, err);
    if (status == STATUS_OK) {
        const int result = graph->outputs[0];
        if (run.tensors[result] == NULL) { /* an input or a constant is the output itself */
            const struct tensor *constant = graph->values[result].constant;
            status = tensor_clone(constant != NULL ? constant : input, output, err);
        } else {
            *output = run.tensors[result];
            run.tensors[result] = NULL;
        }
    }
    run_drop(&run);
    return status;
}
