/* Blocks of architectures: see builder.h. Weights are drawn in the order of construction from one
 * generator, so a seed fixes them: convolutions He normal over their fan-out (He et al., "Delving
 * Deep into Rectifiers", 2015), the classifier N(0, 0.01), batch norms scale 1, bias 0. */
#include "nn/arch/builder.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

static bool failed(const struct builder *builder)
{
    return builder->status < 0;
}

/* Keeps the first failure; passes an index on. */
static int keep(struct builder *builder, int index_or_status)
{
    if (index_or_status < 0 && !failed(builder))
        builder->status = index_or_status;
    return index_or_status;
}

static const char *full_name(const struct builder *builder, const char *leaf, const char *part,
                             char *text, size_t size)
{
    snprintf(text, size, "%s%s%s%s%s", builder->scope, builder->scope[0] == '\0' ? "" : ".", leaf,
             part[0] == '\0' ? "" : ".", part);
    return text;
}

struct feature builder_start(struct builder *builder, const struct arch_options *options,
                             struct error *err)
{
    const struct shape shape = {4, {DIM_ANY, 3, options->input, options->input}};
    struct feature input = {.value = -1, .channels = 3};

    *builder = (struct builder){
        .options = options,
        .small = options->input < BUILDER_SMALL_INPUT,
        .bn_epsilon = 1e-5f,
        .bn_momentum = 0.9f,
        .err = err,
    };
    rng_seed(&builder->rng, options->seed);
    keep(builder, graph_create(&builder->graph, err));
    if (!failed(builder))
        input.value = keep(builder, graph_add_input(builder->graph, "input", &shape, err));
    return input;
}

void builder_scope(struct builder *builder, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(builder->scope, sizeof builder->scope, format, arguments);
    va_end(arguments);
}

/* A constant of N(mean, deviation); deviation 0 fills it with the mean and draws nothing. */
static int add_weights(struct builder *builder, const char *name, const char *part,
                       const struct shape *shape, double mean, double deviation)
{
    char text[128];
    struct tensor *tensor;

    if (failed(builder) ||
        keep(builder, tensor_create(DTYPE_F32, shape, &tensor, builder->err)) < 0)
        return -1;
    float *weights = tensor->data;
    const int64_t count = shape_elements(shape);
    for (int64_t i = 0; i < count; i++)
        weights[i] = (float)(deviation > 0 ? mean + deviation * rng_normal(&builder->rng) : mean);
    return keep(builder,
                graph_add_value(builder->graph, full_name(builder, name, part, text, sizeof text),
                                tensor, builder->err));
}

static int add_vector(struct builder *builder, const char *name, const char *part, int count,
                      double fill)
{
    const struct shape shape = {1, {count}};
    return add_weights(builder, name, part, &shape, fill, 0);
}

/* Appends a node and returns it for its attributes; NULL after a failure. Its output is x->value
 * then. */
static struct node *add_node(struct builder *builder, enum op op, const char *name,
                             const char *part, const int *inputs, int input_count,
                             struct feature *x)
{
    char text[128];

    if (failed(builder))
        return NULL;
    x->value = keep(builder, graph_add_node(builder->graph, op,
                                            full_name(builder, name, part, text, sizeof text),
                                            inputs, input_count, builder->err));
    return failed(builder) ? NULL : &builder->graph->nodes[builder->graph->node_count - 1];
}

static struct window square_window(int kernel, int stride)
{
    const int pad = (kernel - 1) / 2;
    return (struct window){{kernel, kernel}, {stride, stride}, {1, 1}, {pad, pad, pad, pad}};
}

static struct feature add_conv(struct builder *builder, struct feature x,
                               const struct conv_unit *unit, const char *part, bool bias)
{
    const int groups = unit->groups > 0 ? unit->groups : 1;
    const struct shape shape = {4,
                                {unit->filters, x.channels / groups, unit->kernel, unit->kernel}};
    const double fan_out = (double)unit->kernel * unit->kernel * unit->filters / groups;
    int inputs[3] = {x.value};

    inputs[1] = add_weights(builder, unit->name, "weight", &shape, 0, sqrt(2.0 / fan_out));
    if (bias)
        inputs[2] = add_vector(builder, unit->name, "bias", unit->filters, 0);
    struct node *node = add_node(builder, OP_CONV, unit->name, part, inputs, bias ? 3 : 2, &x);
    if (node != NULL) {
        node->u.conv.window = square_window(unit->kernel, unit->stride);
        node->u.conv.groups = groups;
    }
    x.channels = unit->filters;
    return x;
}

static struct feature add_batch_norm(struct builder *builder, struct feature x, const char *name,
                                     double scale)
{
    const int inputs[5] = {
        x.value,
        add_vector(builder, name, "bn.scale", x.channels, scale),
        add_vector(builder, name, "bn.bias", x.channels, 0),
        add_vector(builder, name, "bn.mean", x.channels, 0),
        add_vector(builder, name, "bn.variance", x.channels, 1),
    };
    struct node *node = add_node(builder, OP_BATCH_NORM, name, "bn", inputs, 5, &x);

    if (node != NULL) {
        node->u.batch_norm.epsilon = builder->bn_epsilon;
        node->u.batch_norm.momentum = builder->bn_momentum;
    }
    return x;
}

struct feature builder_activation(struct builder *builder, struct feature x, const char *name,
                                  enum op activation)
{
    if (activation == OP_IDENTITY)
        return x;
    struct node *node = add_node(builder, activation, name, "act", &x.value, 1, &x);
    if (node != NULL && activation == OP_CLIP) {
        node->u.clip.low = 0;
        node->u.clip.high = 6;
    }
    return x;
}

struct feature builder_conv(struct builder *builder, struct feature x, const struct conv_unit *unit)
{
    x = add_conv(builder, x, unit, "conv", false);
    x = add_batch_norm(builder, x, unit->name, unit->zero_scale ? 0 : 1);
    return builder_activation(builder, x, unit->name, unit->activation);
}

struct feature builder_max_pool(struct builder *builder, struct feature x, const char *name,
                                int kernel, int stride)
{
    struct node *node = add_node(builder, OP_MAX_POOL, name, "", &x.value, 1, &x);

    if (node != NULL)
        node->u.pool.window = square_window(kernel, stride);
    return x;
}

struct feature builder_add(struct builder *builder, struct feature a, struct feature b)
{
    const int inputs[2] = {a.value, b.value};

    add_node(builder, OP_ADD, "add", "", inputs, 2, &a);
    return a;
}

struct feature builder_squeeze_excite(struct builder *builder, struct feature x, int squeezed)
{
    const struct conv_unit reduce = {"se.reduce", squeezed, 1, 1};
    const struct conv_unit expand = {"se.expand", x.channels, 1, 1};
    struct feature gate = x;

    add_node(builder, OP_GLOBAL_AVERAGE_POOL, "se.pool", "", &x.value, 1, &gate);
    gate = add_conv(builder, gate, &reduce, "", true);
    gate = builder_activation(builder, gate, "se.reduce", OP_SWISH);
    gate = add_conv(builder, gate, &expand, "", true);
    gate = builder_activation(builder, gate, "se.expand", OP_SIGMOID);
    const int inputs[2] = {x.value, gate.value};
    add_node(builder, OP_MUL, "se.scale", "", inputs, 2, &x);
    return x;
}

static struct feature add_classifier(struct builder *builder, struct feature x)
{
    const int classes = builder->options->classes;
    const struct shape shape = {2, {classes, x.channels}};
    const int inputs[3] = {
        x.value,
        add_weights(builder, "classifier", "weight", &shape, 0, 0.01),
        add_vector(builder, "classifier", "bias", classes, 0),
    };
    struct node *node = add_node(builder, OP_GEMM, "classifier", "", inputs, 3, &x);

    if (node != NULL) {
        node->u.gemm = (struct gemm_attributes){.alpha = 1, .beta = 1, .transpose_b = true};
        keep(builder, graph_rename_value(builder->graph, x.value, "logits", builder->err));
    }
    return x;
}

int builder_finish(struct builder *builder, struct feature x, float dropout, struct graph **out)
{
    builder_scope(builder, "%s", "");
    add_node(builder, OP_GLOBAL_AVERAGE_POOL, "pool", "", &x.value, 1, &x);
    struct node *node = add_node(builder, OP_FLATTEN, "flatten", "", &x.value, 1, &x);
    if (node != NULL)
        node->u.axis.axis = 1;
    if (dropout > 0) {
        node = add_node(builder, OP_DROPOUT, "dropout", "", &x.value, 1, &x);
        if (node != NULL)
            node->u.dropout.ratio = dropout;
    }
    x = add_classifier(builder, x);
    if (!failed(builder))
        keep(builder, graph_add_output(builder->graph, x.value, builder->err));
    if (!failed(builder))
        keep(builder, graph_infer_shapes(builder->graph, DIM_ANY, builder->err));
    if (failed(builder)) {
        graph_free(builder->graph);
        return builder->status;
    }
    *out = builder->graph;
    return STATUS_OK;
}
