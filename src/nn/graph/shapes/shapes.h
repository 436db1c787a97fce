/* What shape inference learns beside shapes. Private to nn/graph; graph.h has the public part. */
#ifndef NN_SHAPES_H
#define NN_SHAPES_H

#include "nn/graph/graph.h"

enum { CONTENTS_MAX = 2 * SHAPE_RANK_MAX };

/* The elements of a small integer tensor, as far as they are known before a run: exporters compute
 * the target of a Reshape by chains of Shape, Gather and Concat. An element that depends on the
 * batch is CONTENTS_OPEN. */
struct contents {
    bool known;
    int count;
    int64_t items[CONTENTS_MAX];
};

#define CONTENTS_OPEN INT64_MIN

/* No tensor has more elements than this (an open batch counting as 1): it keeps products of
 * dimensions far from overflow. */
#define SHAPE_ELEMENTS_MAX ((int64_t)1 << 40)

/* One node's part of an inference: reads shapes (and contents, by value index) of its inputs. */
int shapes_infer_node(const struct graph *graph, const struct node *node,
                      const struct contents *contents, struct shape *out, struct error *err);
/* Convolutions and pools (shapes_window.c), part of the above. */
int shapes_infer_conv(const struct graph *graph, const struct node *node, struct shape *out,
                      struct error *err);
int shapes_infer_pool(const struct graph *graph, const struct node *node, struct shape *out,
                      struct error *err);
/* The reshaping family (shapes_layout.c), part of the above. */
int shapes_infer_layout(const struct graph *graph, const struct node *node,
                        const struct contents *contents, struct shape *out, struct error *err);

/* What is known of a node's output elements, its shape being `shape`. */
void contents_infer(const struct graph *graph, const struct node *node, const struct shape *shape,
                    struct contents *all);
void contents_of_constant(const struct tensor *tensor, struct contents *out);

/* The numpy broadcast of two shapes; false when they do not fit. An open dimension fits all. */
bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *out);
/* Adds the rank to a negative axis; -1 when it then lies outside 0 .. rank-1. */
int axis_normalise(int64_t axis, int rank);

#endif
