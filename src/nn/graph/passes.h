/* Rewrites for inference. Each pass keeps the function the graph computes (up to rounding) and
 * leaves a valid graph in topological order. They need shapes inferred at least with an open batch.
 */
#ifndef NN_PASSES_H
#define NN_PASSES_H

#include "nn/graph/graph.h"

/* x*sigmoid(x) -> Swish; x*hardsigmoid(x) -> HardSwish; ReduceMean over h,w -> GlobalAveragePool;
 * Clip from constant inputs -> attributes. Run by the ONNX reader, so that both executors see one
 * vocabulary. */
int passes_canonicalise(struct graph *graph, struct error *err);
/* Evaluates nodes whose inputs are all constants (with the reference executor), drops Identity,
 * Dropout and Cast between float types, merges Pad into the convolution or pool that follows. */
int passes_fold_constants(struct graph *graph, struct error *err);
/* BatchNormalization (and Add/Mul by a per-channel constant) after Conv or Gemm -> into its
 * weights. */
int passes_fold_batch_norm(struct graph *graph, struct error *err);
/* Activations and residual additions after Conv/Gemm -> struct fused. */
int passes_fuse(struct graph *graph, struct error *err);
/* All of the above in order, then graph_compact and graph_infer_shapes(DIM_ANY). */
int passes_optimise(struct graph *graph, struct error *err);

#endif
