/* What training should do to a small graph, worked out with the reference executor. */
#ifndef TEST_GRADIENT_CHECK_H
#define TEST_GRADIENT_CHECK_H

#include "base/rng.h"
#include "nn/train/trainer.h"

/* Options of a plain step: with a learning rate of 1 it subtracts the gradient from the weights. */
struct trainer_options plain_options(int batch, enum precision precision);

/* The logits of a forward pass in training: batch norms take their statistics from the batch. The
 * caller frees the tensor. */
struct tensor *training_logits(const struct graph *graph, const struct tensor *input);

/* The gradients a step finds, as a graph whose constants hold them; the caller frees it. `loss`
 * may be NULL. */
struct graph *step_gradients(const struct graph *graph, const struct trainer_options *options,
                             const struct tensor *input, const int32_t *labels, double *loss);

/* Takes one step in fp32 and compares its loss with the reference's, and its gradients with finite
 * differences of the reference at some elements of every parameter. Where a kink (of relu, a clip
 * or a maximum) is near, the gradient must lie between the slopes on its two sides; fails when that
 * is so nearly everywhere. */
void check_gradients(struct graph *graph, int batch, struct rng *rng);

#endif
