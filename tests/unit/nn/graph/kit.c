/* See kit.h. */
#include "kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

void succeed(int status, const struct error *err)
{
    if (status < 0)
        fail_msg("%s", err->message);
}

struct graph *kit_graph(void)
{
    struct error err;
    struct graph *graph = NULL;

    succeed(graph_create(&graph, &err), &err);
    return graph;
}

int kit_input(struct graph *graph, struct shape shape)
{
    struct error err;
    const int value = graph_add_input(graph, "x", &shape, &err);

    succeed(value, &err);
    return value;
}

static struct tensor *make(enum dtype dtype, struct shape shape, const void *values)
{
    struct error err;
    struct tensor *tensor = NULL;

    succeed(tensor_create(dtype, &shape, &tensor, &err), &err);
    if (values != NULL)
        memcpy(tensor->data, values, tensor->size);
    return tensor;
}

struct tensor *kit_tensor(struct shape shape, const float *values)
{
    return make(DTYPE_F32, shape, values);
}

static int add(struct graph *graph, struct tensor *tensor)
{
    struct error err;
    const int value = graph_add_value(graph, NULL, tensor, &err);

    succeed(value, &err);
    return value;
}

int kit_f32(struct graph *graph, struct shape shape, const float *values)
{
    return add(graph, make(DTYPE_F32, shape, values));
}

int kit_i64(struct graph *graph, struct shape shape, const int64_t *values)
{
    return add(graph, make(DTYPE_I64, shape, values));
}

struct node *kit_node(struct graph *graph, enum op op, int *value, int count, const int *inputs)
{
    struct error err;

    *value = graph_add_node(graph, op, NULL, inputs, count, &err);
    succeed(*value, &err);
    return &graph->nodes[graph->node_count - 1];
}

struct window kit_window(int kernel, int stride, int pad)
{
    return (struct window){{kernel, kernel}, {stride, stride}, {1, 1}, {pad, pad, pad, pad}};
}

struct node *kit_conv(struct graph *graph, int *value, int x, int channels, int filters, int kernel,
                      bool bias)
{
    const int weights = kit_f32(graph, SHAPE(filters, channels, kernel, kernel), NULL);
    const int shift = bias ? kit_f32(graph, SHAPE(filters), NULL) : -1;
    float *w = graph->values[weights].constant->data;

    for (int i = 0; i < filters * channels * kernel * kernel; i++)
        w[i] = (float)((i * 7919) % 101) / 50 - 1;
    for (int i = 0; bias && i < filters; i++)
        ((float *)graph->values[shift].constant->data)[i] = (float)i / 4 - 0.5f;
    const int inputs[3] = {x, weights, shift};
    struct node *node = kit_node(graph, OP_CONV, value, bias ? 3 : 2, inputs);
    node->u.conv.window = kit_window(kernel, 1, kernel / 2);
    node->u.conv.groups = 1;
    return node;
}

void kit_output(struct graph *graph, int value)
{
    struct error err;

    succeed(graph_add_output(graph, value, &err), &err);
}
