/* The plain executor: every operator as its definition reads, in float, one loop nest each. Slow
 * and obvious; it is what the fast executors are tested against, and what folds constants. */
#ifndef NN_REFERENCE_H
#define NN_REFERENCE_H

#include "nn/graph/graph.h"

/* Evaluates one node. inputs[i] matches node->inputs[i] (NULL where omitted), fused parts included;
 * the caller owns the returned *output. */
int reference_node(const struct node *node, const struct tensor *const *inputs,
                   struct tensor **output, struct error *err);
/* Runs a whole graph of one input and one output, f32. `input` is [n, ...]; caller owns *output. */
int reference_run(const struct graph *graph, const struct tensor *input, struct tensor **output,
                  struct error *err);

#endif
