/* Rewrites for inference. Each pass keeps the function the graph computes (up to rounding) and
 * leaves a valid graph in topological order. They need shapes inferred at least with an open batch.
 */
#ifndef NN_PASSES_H
#define NN_PASSES_H

#include "nn/graph/graph.h"

/* One vocabulary for what exporters write in several ways: attributes given as constant inputs ->
 * attributes; x*sigmoid(x) -> Swish; x*hardsigmoid(x) -> HardSwish (and both from clip(x+3,0,6)/6);
 * mean over h,w -> GlobalAveragePool; MatMul by weights -> Gemm; Reshape targets -> constants;
 * Identity and Cast between floats -> nothing. Run by the ONNX reader, so that both executors see
 * the same. Infers shapes itself, and leaves them inferred, with an open batch. */
int passes_canonicalise(struct graph *graph, struct error *err);
/* Evaluates nodes whose inputs are all constants (with the reference executor), drops Identity,
 * Dropout and Cast between float types, merges Pad into the convolution or pool that follows. */
int passes_fold_constants(struct graph *graph, struct error *err);
/* BatchNormalization (and Add/Sub/Mul/Div by a per-channel constant) after Conv or Gemm -> into its
 * weights. */
int passes_fold_batch_norm(struct graph *graph, struct error *err);
/* Activations and residual additions after Conv/Gemm -> struct fused. */
int passes_fuse(struct graph *graph, struct error *err);
/* All of the above in order, then graph_compact and graph_infer_shapes(DIM_ANY). */
int passes_optimise(struct graph *graph, struct error *err);

#endif
