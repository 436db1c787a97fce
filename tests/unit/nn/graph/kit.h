/* Short ways to make graphs and tensors in tests; each fails the running test when it cannot. */
#ifndef TEST_GRAPH_KIT_H
#define TEST_GRAPH_KIT_H

#include "nn/graph/graph.h"

#define SHAPE(...)                                                                                 \
    ((struct shape){sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {__VA_ARGS__}})

void succeed(int status, const struct error *err);

struct graph *kit_graph(void);
int kit_input(struct graph *graph, struct shape shape);
/* Constants: of the values given, or (NULL) zeros. */
int kit_f32(struct graph *graph, struct shape shape, const float *values);
int kit_i64(struct graph *graph, struct shape shape, const int64_t *values);
struct tensor *kit_tensor(struct shape shape, const float *values);
/* A node over the values given; -1 omits one. `value` is its output. */
struct node *kit_node(struct graph *graph, enum op op, int *value, int count, const int *inputs);
#define KIT_NODE(graph, op, value, ...)                                                            \
    kit_node(graph, op, value, sizeof((int[]){__VA_ARGS__}) / sizeof(int), (int[]){__VA_ARGS__})
/* A convolution of a square kernel with random weights, and its bias if wanted. */
struct node *kit_conv(struct graph *graph, int *value, int x, int channels, int filters, int kernel,
                      bool bias);
struct window kit_window(int kernel, int stride, int pad);
void kit_output(struct graph *graph, int value);

#endif
