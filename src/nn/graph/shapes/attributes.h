/* Later ONNX opsets pass attributes as inputs; here they are attributes again. Private to
 * nn/graph. */
#ifndef NN_ATTRIBUTES_H
#define NN_ATTRIBUTES_H

#include "nn/graph/graph.h"

/* Takes the inputs of a node that are attributes in our vocabulary (Clip's bounds, the axes of
 * Squeeze, Unsqueeze and ReduceMean, Pad's amounts and value, Dropout's ratio) into its attributes
 * and off its input list. STATUS_UNSUPPORTED when one is not a constant. */
int attributes_absorb(const struct graph *graph, struct node *node, struct error *err);

#endif
