/* Training: one graph, differentiated, stepped by SGD with Nesterov momentum.
 *
 * The trainer owns fp32 master weights, their momentum and an exponential moving average; it
 * computes in bf16 where the CPU has it (fp32 accumulation, fp32 batch-norm statistics), else in
 * fp32. Same seed, same threads, same data order: same weights. */
#ifndef NN_TRAINER_H
#define NN_TRAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "nn/exec/engine.h"
#include "nn/graph/graph.h"

struct trainer_options {
    int batch;                /* images a step; fixed */
    int threads;              /* OpenMP threads inside oneDNN */
    enum precision precision; /* of activations and gradients */
    float momentum;           /* 0.9 */
    float weight_decay;       /* 5e-4; not on batch-norm scale and bias, nor on biases */
    float label_smoothing;    /* 0.1 */
    float ema_decay;          /* of the averaged weights that are exported; 0 turns averaging off */
    uint64_t seed;            /* of dropout; with the number of the step it fixes what is dropped */
};

struct trainer;

struct trainer_step_result {
    double loss; /* mean over the batch */
    int correct; /* top-1 */
};

/* Takes the graph (one input [n,c,h,w], logits out, batch norms unfolded), copies what it needs. */
int trainer_create(const struct graph *graph, const struct trainer_options *options,
                   struct trainer **out, struct error *err);
void trainer_free(struct trainer *trainer);

/* One step on `batch` images, input [batch, c, h, w] f32, labels in 0 .. classes-1. STATUS_CORRUPT
 * when the loss is not finite (the weights are then unchanged). */
int trainer_step(struct trainer *trainer, const float *input, const int32_t *labels,
                 float learning_rate, struct trainer_step_result *result, struct error *err);

/* Scores n images (1 .. batch) with the running statistics and, when `averaged`, the averaged
 * weights: logits [n, classes]. Nothing of the training state changes. */
int trainer_evaluate(struct trainer *trainer, bool averaged, const float *input, int n,
                     float *logits, struct error *err);

/* From now on inputs are [batch, c, height, width]; the weights stay. For training at a smaller
 * size first; the network must be convolutional up to its global pooling. What was planned for a
 * size is kept until trainer_free. */
int trainer_resize(struct trainer *trainer, int height, int width, struct error *err);

int trainer_classes(const struct trainer *trainer);
uint64_t trainer_steps(const struct trainer *trainer); /* taken so far, over all sessions */
bool trainer_bf16(const struct trainer *trainer);      /* what PRECISION_AUTO became */
/* One line a layer: kind, name, output, what computes it. malloc'd, the caller frees; NULL when out
 * of memory. */
char *trainer_text(const struct trainer *trainer);

/* The current weights (averaged ones when ema_decay > 0 and `averaged`), with running statistics,
 * as a graph the caller owns. */
int trainer_graph(const struct trainer *trainer, bool averaged, struct graph **out,
                  struct error *err);

/* The whole state (weights, momentum, averages, running statistics, step count), byte for byte, to
 * and from a file; loading requires the same architecture. Saved through a temporary file and a
 * rename, with a checksum. */
int trainer_save(const struct trainer *trainer, const char *path, struct error *err);
int trainer_load(struct trainer *trainer, const char *path, struct error *err);

#endif
