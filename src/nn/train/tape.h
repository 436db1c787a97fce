/* The tape: a training graph laid out for one input size and batch, played forwards for activations
 * and backwards for gradients.
 *
 * Every activation is nhwc, in bf16 or f32. oneDNN convolves; the rest is kernels.h. Batch norm
 * takes in the residual addition and the activation that follow it, so that a block of a network
 * costs few passes over memory. Activations are all kept until the backward pass has used them.
 * Gradients live briefly, and share blocks of memory: tape_gradients() walks the layers backwards
 * once, when the tape is made, handing out a block when a gradient is first written and taking it
 * back when its layer has consumed it.
 *
 * Reading order: tape.h, tape.c (graph to layers), gradients.c, then a layer_*.c. */
#ifndef NN_TRAIN_TAPE_H
#define NN_TRAIN_TAPE_H

#include <oneapi/dnnl/dnnl.h>

#include "nn/train/kernels.h"
#include "nn/train/store.h"
#include "nn/train/trainer.h"

/* A tensor between layers, [n, h, w, c] in memory. */
struct flow {
    int64_t n;
    int h, w, c;
    void *data;
    bool needs_gradient; /* something trained lies upstream */
    int block;           /* of its gradient: index into tape->blocks, -1 before one is assigned */
    void *gradient;
};

struct tape;
struct layer;

struct layer_kind {
    const char *name;
    /* Whether, in the backward pass, the gradient of inputs[0] may be written over the output's. */
    bool in_place;
    /* Whether inputs[1]'s gradient is the output's gradient (as the layer leaves it), so that they
     * may share a block. */
    bool shares_second;
    /* (optional) After memory is assigned: makes what holds pointers to it. */
    int (*bind)(struct tape *tape, struct layer *layer, struct error *err);
    /* (optional) After weights changed: makes working copies from tape->weights. */
    int (*refresh)(struct tape *tape, struct layer *layer, struct error *err);
    int (*forward)(struct tape *tape, struct layer *layer, struct error *err);
    /* Writes (or adds to, where layer->accumulate says) the gradients of the inputs that need one,
     * and stores those of its parameters. */
    int (*backward)(struct tape *tape, struct layer *layer, struct error *err);
    /* (optional) After a step whose loss was finite: running statistics. */
    void (*commit)(struct tape *tape, struct layer *layer);
    /* (optional) What was chosen, for tape_text. */
    void (*describe)(const struct layer *layer, char *text, size_t size);
    void (*release)(struct layer *layer); /* (optional) frees what state holds; state itself goes
                                             too */
};

enum { LAYER_INPUTS_MAX = 2 };

struct layer {
    const struct layer_kind *kind;
    const char *name; /* of the graph's node; the trainer's graph owns it */
    struct flow *inputs[LAYER_INPUTS_MAX];
    struct flow *output;
    bool accumulate[LAYER_INPUTS_MAX]; /* the input's gradient has been written by a later layer */
    /* Memory for the backward pass: `scratch_size` bytes, and where accumulating at least as much
     * as inputs[0]'s gradient. */
    size_t scratch_size;
    void *scratch;
    int scratch_block;
    void *state; /* the kind's own */
};

struct block {
    size_t size;
    void *memory;
    int holders; /* while planning */
};

struct tape {
    const struct graph *graph;
    struct store *store;
    const struct trainer_options *options;
    const struct kernels *kernels;
    bool bf16;
    int threads;
    dnnl_engine_t engine;
    dnnl_stream_t stream;

    struct flow *flows; /* flow_capacity of them, so that pointers stay valid */
    int flow_count, flow_capacity;
    int *flow_of; /* graph value -> flow, or -1 */
    struct layer *layers;
    int layer_count, layer_capacity;
    struct block *blocks;
    int block_count, block_capacity;
    struct flow *input, *logits;

    /* State of the step at hand. */
    const float *weights; /* store->weight or store->average */
    bool training;        /* batch statistics and dropout, as against running ones and none */
    uint64_t seed;        /* of this step's dropout */
};

/* Lays out `graph` (shapes inferred for the batch wanted) over `store`; both must outlive it. */
int tape_create(const struct graph *graph, struct store *store,
                const struct trainer_options *options, bool bf16, struct tape **out,
                struct error *err);
void tape_free(struct tape *tape);

/* Makes all working copies of weights, from the trained or the averaged ones. */
int tape_refresh(struct tape *tape, bool averaged, struct error *err);
/* input [n, c, h, w] f32 -> tape->logits. */
int tape_forward(struct tape *tape, const float *input, bool training, struct error *err);
/* From tape->logits->gradient to store->gradient. */
int tape_backward(struct tape *tape, struct error *err);
void tape_commit(struct tape *tape);

/* ---- for tape.c and the layers ---- */

/* Decides who writes into which block; see above. */
int tape_gradients(struct tape *tape, struct error *err);

size_t flow_size(const struct tape *tape, const struct flow *flow); /* bytes */
int64_t flow_rows(const struct flow *flow);                         /* n*h*w */
/* 64-byte aligned, zeroed; STATUS_NO_MEMORY. Freed by free(). */
int memory_create(size_t size, void **out, struct error *err);

struct span {
    int64_t begin, end;
};
/* The part of 0 .. total that thread `index` of `count` takes. */
struct span span_of(int64_t total, int index, int count);

/* Appends a layer of `kind` with a zeroed state of `state_size` bytes. `second` may be NULL. */
int tape_add_layer(struct tape *tape, const struct layer_kind *kind, const char *name,
                   struct flow *first, struct flow *second, struct flow *output, size_t state_size,
                   struct layer **out, struct error *err);

/* Each appends the layer for `node` (plus, for batch norm, what it takes in). */
int layer_conv_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                   struct error *err);
int layer_gemm_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                   struct error *err);
/* `residual` may be NULL; `activation` is the absorbed node or NULL. */
int layer_norm_add(struct tape *tape, const struct node *node, const struct node *activation,
                   struct flow *x, struct flow *residual, struct flow *y, struct error *err);
int layer_pool_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                   struct error *err);
int layer_mean_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                   struct error *err);
int layer_activation_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                         struct error *err);
int layer_sum_add(struct tape *tape, const struct node *node, struct flow *a, struct flow *b,
                  struct flow *y, struct error *err);
int layer_product_add(struct tape *tape, const struct node *node, struct flow *a, struct flow *b,
                      struct flow *y, struct error *err);
int layer_flatten_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                      struct error *err);
int layer_dropout_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                      struct error *err);

/* What a node does as an activation: NONE unless it is one of those training knows. */
enum activation node_activation(const struct node *node, float *low, float *high);

#endif
