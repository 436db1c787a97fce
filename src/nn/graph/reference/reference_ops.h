/* The plain executor's operators by family. Private to nn/graph; reference.h has the public part.
 *
 * Each takes a node whose inputs' shapes have been checked and an output tensor of the inferred
 * shape, zeroed; inputs are f32 unless said otherwise. */
#ifndef NN_REFERENCE_OPS_H
#define NN_REFERENCE_OPS_H

#include "nn/graph/graph.h"

/* One element through an activation; a and b as in struct fused. */
float reference_activation(enum activation activation, float a, float b, float x);

/* reference_compute.c */
void reference_conv(const struct node *node, const struct tensor *const *inputs,
                    struct tensor *output);
void reference_batch_norm(const struct node *node, const struct tensor *const *inputs,
                          struct tensor *output);
void reference_pool(const struct node *node, const struct tensor *const *inputs,
                    struct tensor *output);
void reference_gemm(const struct node *node, const struct tensor *const *inputs,
                    struct tensor *output);
void reference_matmul(const struct tensor *const *inputs, struct tensor *output);
void reference_mean(const struct node *node, const struct tensor *const *inputs,
                    struct tensor *output);
void reference_softmax(const struct node *node, const struct tensor *const *inputs,
                       struct tensor *output);

/* reference_layout.c: any type, except arithmetic, which takes f32 or i64 */
void reference_arithmetic(const struct node *node, const struct tensor *const *inputs,
                          struct tensor *output);
void reference_transpose(const struct node *node, const struct tensor *const *inputs,
                         struct tensor *output);
void reference_concat(const struct node *node, const struct tensor *const *inputs,
                      struct tensor *output);
void reference_pad(const struct node *node, const struct tensor *const *inputs,
                   struct tensor *output);
int reference_gather(const struct node *node, const struct tensor *const *inputs,
                     struct tensor *output, struct error *err);

/* The distance in elements from one index to the next along each dimension. */
void shape_strides(const struct shape *shape, int64_t strides[SHAPE_RANK_MAX]);
/* Steps a multi-index through a shape in row-major order; false after the last. */
bool index_next(const struct shape *shape, int64_t index[SHAPE_RANK_MAX]);

#endif
