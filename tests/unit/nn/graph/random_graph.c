/* See random_graph.h. A failure of the library here ends the test program with its message. */
#include "random_graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct maker {
    struct rng *rng;
    struct graph *graph;
    struct error err;
    int value;    /* the end of the chain so far */
    int channels; /* of it */
    int size;     /* its height and width */
};

static int check(struct maker *maker, int status)
{
    if (status < 0) {
        fprintf(stderr, "random graph: %s\n", maker->err.message);
        abort();
    }
    return status;
}

static int pick(struct maker *maker, int low, int high)
{
    return low + (int)rng_below(maker->rng, (uint32_t)(high - low + 1));
}

struct tensor *random_tensor(struct rng *rng, const struct shape *shape, double low, double high)
{
    struct error err;
    struct tensor *tensor;

    if (tensor_create(DTYPE_F32, shape, &tensor, &err) != STATUS_OK) {
        fprintf(stderr, "random tensor: %s\n", err.message);
        abort();
    }
    for (int64_t i = 0; i < shape_elements(shape); i++)
        ((float *)tensor->data)[i] = (float)(low + (high - low) * rng_uniform(rng));
    return tensor;
}

static int add_constant(struct maker *maker, struct shape shape, double low, double high)
{
    struct tensor *tensor = random_tensor(maker->rng, &shape, low, high);

    return check(maker, graph_add_value(maker->graph, NULL, tensor, &maker->err));
}

static struct node *add_node(struct maker *maker, enum op op, const int *inputs, int count)
{
    maker->value = check(maker, graph_add_node(maker->graph, op, NULL, inputs, count, &maker->err));
    return &maker->graph->nodes[maker->graph->node_count - 1];
}

static int conv_size(int size, int kernel, int stride, int pads)
{
    return (size + pads - kernel) / stride + 1;
}

static void add_conv(struct maker *maker, int filters, int kernel, int stride, bool depthwise)
{
    const int groups = depthwise ? maker->channels : 1;
    const int before = pick(maker, 0, kernel / 2), after = pick(maker, 0, kernel / 2);
    const int depth = depthwise ? 1 : maker->channels;
    const double spread = 2.0 / sqrt((double)kernel * kernel * depth);
    const int outputs = depthwise ? maker->channels : filters;

    if (conv_size(maker->size, kernel, stride, before + after) < 1 || kernel > maker->size)
        return;
    const int inputs[3] = {
        maker->value,
        add_constant(maker, (struct shape){4, {outputs, depth, kernel, kernel}}, -spread, spread),
        add_constant(maker, (struct shape){1, {outputs}}, -0.5, 0.5),
    };
    struct node *node = add_node(maker, OP_CONV, inputs, pick(maker, 2, 3));
    node->u.conv.groups = groups;
    node->u.conv.window =
        (struct window){{kernel, kernel}, {stride, stride}, {1, 1}, {before, before, after, after}};
    maker->size = conv_size(maker->size, kernel, stride, before + after);
    maker->channels = outputs;
}

static void add_batch_norm(struct maker *maker)
{
    const struct shape shape = {1, {maker->channels}};
    const int inputs[5] = {
        maker->value,
        add_constant(maker, shape, 0.5, 1.5),
        add_constant(maker, shape, -0.5, 0.5),
        add_constant(maker, shape, -0.5, 0.5),
        add_constant(maker, shape, 0.5, 1.5),
    };
    add_node(maker, OP_BATCH_NORM, inputs, 5)->u.batch_norm.epsilon = 1e-5f;
}

static void add_activation(struct maker *maker)
{
    static const enum op ops[] = {OP_RELU,         OP_LEAKY_RELU, OP_CLIP,  OP_SIGMOID,
                                  OP_HARD_SIGMOID, OP_HARD_SWISH, OP_SWISH, OP_TANH};
    const enum op op = ops[pick(maker, 0, sizeof ops / sizeof *ops - 1)];
    struct node *node = add_node(maker, op, &maker->value, 1);

    if (op == OP_CLIP) {
        node->u.clip.low = pick(maker, 0, 1) ? 0 : -0.5f;
        node->u.clip.high = pick(maker, 0, 1) ? 6 : 1;
    } else if (op == OP_LEAKY_RELU || op == OP_HARD_SIGMOID) {
        node->u.scalar.alpha = 0.2f;
        node->u.scalar.beta = 0.5f;
    }
}

/* x * sigmoid(x) as exporters write it. */
static void add_written_swish(struct maker *maker)
{
    int inputs[2] = {maker->value};

    add_node(maker, OP_SIGMOID, &maker->value, 1);
    inputs[1] = maker->value;
    add_node(maker, OP_MUL, inputs, 2);
}

static void add_gate(struct maker *maker)
{
    const int x = maker->value, channels = maker->channels, size = maker->size;

    add_node(maker, OP_GLOBAL_AVERAGE_POOL, &maker->value, 1);
    maker->size = 1;
    add_conv(maker, 2, 1, 1, false);
    add_node(maker, OP_SWISH, &maker->value, 1);
    add_conv(maker, channels, 1, 1, false);
    add_node(maker, OP_SIGMOID, &maker->value, 1);
    add_node(maker, OP_MUL, (int[]){x, maker->value}, 2);
    maker->size = size;
}

/* A branch that keeps its shape, added to what it came from, which may be another branch. */
static void add_residual(struct maker *maker)
{
    const int x = maker->value;

    add_conv(maker, maker->channels, 1, 1, false);
    if (pick(maker, 0, 1))
        add_batch_norm(maker);
    if (pick(maker, 0, 1))
        add_activation(maker);
    const int branch = maker->value;
    maker->value = x;
    if (pick(maker, 0, 1))
        add_conv(maker, maker->channels, 1, 1, true);
    const bool left = pick(maker, 0, 1);
    add_node(maker, OP_ADD, (int[]){left ? branch : maker->value, left ? maker->value : branch}, 2);
    if (pick(maker, 0, 1))
        add_activation(maker);
}

static void add_affine_constant(struct maker *maker)
{
    static const enum op ops[] = {OP_ADD, OP_SUB, OP_MUL, OP_DIV};
    const struct shape shapes[] = {
        {3, {maker->channels, 1, 1}}, {4, {1, maker->channels, 1, 1}}, {1, {1}}, {0, {0}}};
    const int inputs[2] = {maker->value, add_constant(maker, shapes[pick(maker, 0, 3)], 0.5, 1.5)};

    add_node(maker, ops[pick(maker, 0, 3)], inputs, 2);
}

static void add_pool(struct maker *maker)
{
    const int kernel = pick(maker, 2, 3), pad = pick(maker, 0, 1), stride = pick(maker, 1, 2);

    if (kernel > maker->size)
        return;
    struct node *node =
        add_node(maker, pick(maker, 0, 1) ? OP_MAX_POOL : OP_AVERAGE_POOL, &maker->value, 1);
    node->u.pool.window =
        (struct window){{kernel, kernel}, {stride, stride}, {1, 1}, {pad, pad, pad, pad}};
    node->u.pool.count_include_pad = pick(maker, 0, 1);
    maker->size = conv_size(maker->size, kernel, stride, 2 * pad);
}

static void add_pad(struct maker *maker)
{
    struct node *node = add_node(maker, OP_PAD, &maker->value, 1);

    node->u.pad.before[2] = node->u.pad.before[3] = 1;
    node->u.pad.after[2] = node->u.pad.after[3] = 1;
    maker->size += 2;
    if (pick(maker, 0, 1))
        add_conv(maker, pick(maker, 2, 6), 3, pick(maker, 1, 2), false);
    else
        add_pool(maker);
}

static void add_something(struct maker *maker)
{
    switch (pick(maker, 0, 12)) {
    case 0:
    case 1:
        add_conv(maker, pick(maker, 2, 6), 1 + 2 * pick(maker, 0, 2), pick(maker, 1, 2), false);
        break;
    case 2: /* keeps its size and channels, so that a residual fits */
        add_conv(maker, maker->channels, 1, 1, pick(maker, 0, 1));
        break;
    case 3:
        add_conv(maker, 0, 3, 1, true);
        break;
    case 4:
    case 5:
        add_batch_norm(maker);
        break;
    case 6:
    case 7:
        add_activation(maker);
        break;
    case 8:
        add_residual(maker);
        break;
    case 9:
        if (pick(maker, 0, 1))
            add_written_swish(maker);
        else
            add_gate(maker);
        break;
    case 10:
        add_affine_constant(maker);
        break;
    case 11:
        if (pick(maker, 0, 1))
            add_pool(maker);
        else
            add_pad(maker);
        break;
    default:
        add_node(maker, pick(maker, 0, 1) ? OP_IDENTITY : OP_DROPOUT, &maker->value, 1);
        break;
    }
}

static void add_head(struct maker *maker)
{
    const int classes = pick(maker, 2, 5);
    const bool transpose = pick(maker, 0, 1);
    struct shape weights = {2, {maker->channels, classes}};

    if (pick(maker, 0, 1)) {
        add_node(maker, OP_GLOBAL_AVERAGE_POOL, &maker->value, 1);
    } else {
        struct node *mean = add_node(maker, OP_REDUCE_MEAN, &maker->value, 1);
        mean->u.axes.count = 2;
        mean->u.axes.axes[0] = -1;
        mean->u.axes.axes[1] = 2;
        mean->u.axes.keep_dims = pick(maker, 0, 1);
    }
    add_node(maker, OP_FLATTEN, &maker->value, 1)->u.axis.axis = 1;
    if (transpose)
        weights = (struct shape){2, {classes, maker->channels}};
    const int inputs[3] = {maker->value, add_constant(maker, weights, -1, 1),
                           add_constant(maker, (struct shape){1, {classes}}, -1, 1)};
    if (!transpose && pick(maker, 0, 1)) { /* MatMul and Add, as Keras writes it */
        add_node(maker, OP_MATMUL, inputs, 2);
        add_node(maker, OP_ADD, (int[]){maker->value, inputs[2]}, 2);
    } else {
        struct node *gemm = add_node(maker, OP_GEMM, inputs, 3);
        gemm->u.gemm = (struct gemm_attributes){.alpha = 0.5f, .beta = 2, .transpose_b = transpose};
    }
    maker->channels = classes;
    if (pick(maker, 0, 1))
        add_batch_norm(maker);
    if (pick(maker, 0, 1))
        add_activation(maker);
    if (pick(maker, 0, 1))
        add_node(maker, OP_SOFTMAX, &maker->value, 1)->u.axis.axis = -1;
}

struct graph *random_graph(struct rng *rng)
{
    struct maker maker = {.rng = rng};

    check(&maker, graph_create(&maker.graph, &maker.err));
    maker.channels = pick(&maker, 1, 4);
    maker.size = pick(&maker, 4, 9);
    const struct shape input = {4, {DIM_ANY, maker.channels, maker.size, maker.size}};
    maker.value = check(&maker, graph_add_input(maker.graph, "input", &input, &maker.err));
    for (int i = pick(&maker, 3, 14); i > 0; i--)
        add_something(&maker);
    add_head(&maker);
    check(&maker, graph_add_output(maker.graph, maker.value, &maker.err));
    check(&maker, graph_infer_shapes(maker.graph, DIM_ANY, &maker.err));
    return maker.graph;
}

struct tensor *random_input(struct rng *rng, const struct graph *graph, int batch)
{
    struct shape shape = graph->values[graph->inputs[0]].shape;

    shape.dims[0] = batch;
    return random_tensor(rng, &shape, -1, 1);
}

static void randomise(struct rng *rng, struct graph *graph, int value, double low, double high)
{
    struct tensor *tensor = graph->values[value].constant;

    for (int64_t i = 0; i < shape_elements(&tensor->shape); i++)
        ((float *)tensor->data)[i] = (float)(low + (high - low) * rng_uniform(rng));
}

void randomise_batch_norms(struct rng *rng, struct graph *graph)
{
    for (int i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        if (node->op != OP_BATCH_NORM)
            continue;
        randomise(rng, graph, node->inputs[1], 0.5, 1.5);
        randomise(rng, graph, node->inputs[2], -0.5, 0.5);
        randomise(rng, graph, node->inputs[3], -0.5, 0.5);
        randomise(rng, graph, node->inputs[4], 0.5, 1.5);
    }
}

double relative_difference(const struct tensor *a, const struct tensor *b)
{
    double largest = 0, difference = 0;

    if (!shape_equal(&a->shape, &b->shape))
        return INFINITY;
    for (int64_t i = 0; i < shape_elements(&a->shape); i++) {
        const double x = ((const float *)a->data)[i], y = ((const float *)b->data)[i];
        if (!isfinite(x) || !isfinite(y))
            return INFINITY;
        largest = fmax(largest, fabs(x));
        difference = fmax(difference, fabs(x - y));
    }
    return largest > 0 ? difference / largest : difference;
}
