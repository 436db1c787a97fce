/* The architectures that are built in, as graphs with freshly initialised weights.
 *
 *   resnet50         He et al., "Deep Residual Learning for Image Recognition", 2015 (v1.5: the
 * stride of a down-sampling bottleneck is on its 3x3 convolution, as common implementations have
 * it) mobilenetv2      Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
 * 2018 efficientnet_b0  Tan and Le, "EfficientNet: Rethinking Model Scaling for CNNs", 2019
 *
 * With input 64 and above they are exactly as published at 224. Below that the small-image variant
 * is built: same blocks, widths and depths, but less down-sampling (documented in each file). */
#ifndef NN_ARCH_H
#define NN_ARCH_H

#include <stdint.h>

#include "nn/graph/graph.h"

struct arch_options {
    int classes; /* 1 .. 100000 */
    int input;   /* height and width of the input, 8 .. 1024 */
    uint64_t
        seed; /* of the weights: He normal (fan out) for convolutions, as the papers' code does */
};

/* Builds `name` ("resnet50", ...) as a training graph: batch norms in place, output logits [n,
 * classes]. The caller owns *out. STATUS_NOT_FOUND for an unknown name, listing the known ones. */
int arch_build(const char *name, const struct arch_options *options, struct graph **out,
               struct error *err);

/* The index-th known name, NULL past the end. */
const char *arch_name(int index);

#endif
