/* What can be said about a graph: names, counts, and the listing people read. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/graph/graph.h"

static const char *const op_names[] = {
#define OP_TEXT(name, text) [OP_##name] = text,
    OP_MAP(OP_TEXT)
#undef OP_TEXT
};

static const char *const activation_names[] = {
    [ACTIVATION_NONE] = "none",
    [ACTIVATION_RELU] = "relu",
    [ACTIVATION_CLIP] = "clip",
    [ACTIVATION_SWISH] = "swish",
    [ACTIVATION_SIGMOID] = "sigmoid",
    [ACTIVATION_HARD_SWISH] = "hard_swish",
    [ACTIVATION_HARD_SIGMOID] = "hard_sigmoid",
    [ACTIVATION_LEAKY_RELU] = "leaky_relu",
};

const char *op_name(enum op op)
{
    return (size_t)op < OP_COUNT ? op_names[op] : "unknown";
}

const char *activation_name(enum activation activation)
{
    const size_t count = sizeof activation_names / sizeof *activation_names;
    return (size_t)activation < count ? activation_names[activation] : "unknown";
}

/* Elements of one image's share of a value: all dimensions but the first. */
static int64_t elements_per_image(const struct shape *shape)
{
    int64_t count = 1;

    for (int i = 1; i < shape->rank; i++)
        count *= shape->dims[i] > 0 ? shape->dims[i] : 0;
    return count;
}

/* How many products each output element of a convolution or matrix product sums. */
static int64_t terms(const struct graph *graph, const struct node *node)
{
    const struct shape *a = &graph->values[node->inputs[0]].shape;
    const struct shape *b = &graph->values[node->inputs[1]].shape;

    switch (node->op) {
    case OP_CONV:
        return elements_per_image(b); /* [i/g, kh, kw] */
    case OP_GEMM:
        return b->dims[node->u.gemm.transpose_b ? 1 : 0];
    case OP_MATMUL:
        return a->dims[a->rank - 1];
    default:
        return 0;
    }
}

int64_t graph_macs(const struct graph *graph)
{
    int64_t total = 0, macs;

    for (int i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        if (node->op != OP_CONV && node->op != OP_GEMM && node->op != OP_MATMUL)
            continue;
        const struct shape *output = &graph->values[node->outputs[0]].shape;
        if (__builtin_mul_overflow(elements_per_image(output), terms(graph, node), &macs) ||
            __builtin_add_overflow(total, macs, &total))
            return INT64_MAX; /* no real network; an absurd file */
    }
    return total;
}

int64_t graph_parameters(const struct graph *graph)
{
    int64_t count = 0;

    for (int i = 0; i < graph->value_count; i++) {
        const struct tensor *constant = graph->values[i].constant;
        if (constant != NULL && (constant->dtype == DTYPE_F32 || constant->dtype == DTYPE_F16 ||
                                 constant->dtype == DTYPE_BF16 || constant->dtype == DTYPE_F64))
            count += shape_elements(&constant->shape);
    }
    return count;
}

static void print_window(FILE *stream, const struct window *window)
{
    fprintf(stream, " %dx%d", window->kernel[0], window->kernel[1]);
    if (window->stride[0] != 1 || window->stride[1] != 1)
        fprintf(stream, "/%dx%d", window->stride[0], window->stride[1]);
}

static void print_node(FILE *stream, const struct graph *graph, const struct node *node)
{
    char shape[128];

    fprintf(stream, "%-20s %-32s", op_name(node->op), node->name);
    if (node->output_count > 0)
        fprintf(stream, " %s",
                shape_text(&graph->values[node->outputs[0]].shape, shape, sizeof shape));
    if (node->op == OP_CONV) {
        print_window(stream, &node->u.conv.window);
        if (node->u.conv.groups > 1)
            fprintf(stream, " groups %d", node->u.conv.groups);
    } else if (node->op == OP_MAX_POOL || node->op == OP_AVERAGE_POOL) {
        print_window(stream, &node->u.pool.window);
    }
    if (node->fused.residual >= 0 && !node->fused.residual_after)
        fprintf(stream, " + %s", graph->values[node->fused.residual].name);
    if (node->fused.activation != ACTIVATION_NONE)
        fprintf(stream, " %s", activation_name(node->fused.activation));
    if (node->fused.residual >= 0 && node->fused.residual_after)
        fprintf(stream, " + %s", graph->values[node->fused.residual].name);
    fputc('\n', stream);
}

char *graph_text(const struct graph *graph)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    if (stream == NULL)
        return NULL;
    for (int i = 0; i < graph->node_count; i++)
        print_node(stream, graph, &graph->nodes[i]);
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
