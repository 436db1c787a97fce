/* A plan: the graph compiled for one batch size and one number of threads.
 *
 * It is a list of steps over tensors. A step is a oneDNN primitive, one of the kernels of
 * pointwise.h, or (for what neither covers) the reference executor. A tensor is a value in one
 * layout, with a place in the arena that all activations share; tensors whose lives do not overlap
 * share bytes, and what runs in place shares its source's. A plan is immutable once made and may be
 * run by many threads, each through a binding of its own, which owns an arena.
 *
 * Reading order: this file, plan.c (the graph walked, node by node), lower_*.c (how each operator
 * becomes steps), plan_memory.c (who lies where), exec_run.c, exec_plan_text.c. */
#ifndef NN_EXEC_PLAN_H
#define NN_EXEC_PLAN_H

#include <stdint.h>

#include "nn/exec/engine.h"
#include "nn/exec/onednn.h"
#include "nn/exec/pointwise.h"
#include "nn/exec/weights.h"

enum layout {
    LAYOUT_PLAIN,     /* row-major, the value's own type */
    LAYOUT_BLOCKED,   /* f32 [n][c/lanes][h][w][lanes]; the channels' padding holds zeros */
    LAYOUT_NHWC,      /* f32 [n][h][w][c] */
    LAYOUT_NHWC_BF16, /* bf16 [n][h][w][c]; of rank 2: row-major */
    LAYOUT_SCRATCH,   /* bytes a primitive works in */
    LAYOUT_COUNT
};

struct exec_tensor {
    enum layout layout;
    enum dtype dtype;
    struct shape shape;
    onednn_desc desc; /* unless the type or the rank is one oneDNN has not */
    bool has_desc;
    size_t size;     /* bytes, padding included */
    int root;        /* the tensor whose bytes these are; its own index when it has its own */
    size_t offset;   /* in the arena; of roots */
    int first, last; /* steps of a root's life */
};

enum step_kind {
    STEP_PRIMITIVE, /* arguments by oneDNN's roles */
    STEP_SWISH,     /* DST in place; DST_1, when there: channel means [n, c] of the result */
    STEP_MEAN,      /* SRC -> DST: channel means [n, c] */
    STEP_SCALE,     /* SRC * WEIGHTS (+ BIAS) -> DST, per channel */
    STEP_DENSE,     /* SRC [n, i] by WEIGHTS [i][o] (+ BIAS) -> DST [n, o], then an activation */
    STEP_PACK,      /* SRC plain f32 -> DST NHWC bf16, for few channels */
    STEP_SOFTMAX,   /* DST in place, over its last dimension */
    STEP_REFERENCE, /* the node's inputs in order -> DST, all plain */
};

struct step_argument {
    int role;             /* DNNL_ARG_*; of a reference step, the input's index */
    int tensor;           /* or -1: a constant */
    dnnl_memory_t memory; /* a primitive's constant */
    const void *data;     /* a kernel's constant; a reference step's struct tensor */
};

struct step {
    enum step_kind kind;
    const struct node *node; /* for what it was made */
    const char *operator_name;
    struct step_argument *arguments; /* owned */
    int argument_count;
    dnnl_primitive_t primitive; /* owned */
    char implementation[48];
    char fused[64];             /* for people: what else the step does */
    enum activation activation; /* STEP_DENSE: with a and b */
    float a, b;
};

/* What plans are made from; the engine's, and outlives them. */
struct exec_source {
    struct graph *graph;
    struct weights *weights;
    dnnl_engine_t engine;
    enum precision precision; /* PRECISION_FP32 or PRECISION_BF16 */
    struct pointwise kernels;
    int lanes; /* of the blocked layout: 16 with AVX-512, else 8 */
    bool nhwc; /* whether f32 NHWC may be used: oneDNN 2.6's SSE4.1 kernels crash on odd channels */
};

struct exec_plan {
    const struct exec_source *source;
    int batch, threads;
    struct exec_tensor *tensors;
    int tensor_count, tensor_capacity;
    struct step *steps;
    int step_count, step_capacity;
    float **owned; /* constants that this plan computed */
    int owned_count;
    int input, output; /* tensors; both plain f32 */
    size_t arena_size;
};

/* Infers the graph's shapes for `batch`, so the caller holds the engine's lock. Owns *out. */
int exec_plan_create(const struct exec_source *source, int batch, int threads,
                     struct exec_plan **out, struct error *err);
void exec_plan_free(struct exec_plan *plan);

/* Gives every tensor its place, by liveness, and sets arena_size. */
int exec_plan_place(struct exec_plan *plan, struct error *err);

/* Bytes of activations that the widest step reads and writes. */
size_t exec_plan_widest(const struct exec_plan *plan);

/* One line a step; malloc'd, NULL when out of memory. */
char *exec_plan_text(const struct exec_plan *plan);

/* A plan tied to an arena (at least arena_size bytes, 64-aligned, the caller's, outliving it). One
 * thread at a time. */
struct exec_binding;
int exec_bind(const struct exec_plan *plan, uint8_t *arena, struct exec_binding **out,
              struct error *err);
void exec_binding_free(struct exec_binding *binding);

/* Reads `input` ([batch, ...] f32 row-major), writes the graph's output. */
int exec_run(struct exec_binding *binding, dnnl_stream_t stream, const float *input, float *output,
             struct error *err);

#endif
