/* The graph: a network as values (tensors that flow) joined by nodes (operators), independent of
 * how it will be run. ONNX files are read into it and written from it, the architectures are built
 * in it, passes rewrite it, nn/exec compiles it for inference and nn/train differentiates it.
 *
 * Values and nodes are named by index. Operators mean what ONNX (opset 13 to 17) says they mean;
 * the few that ONNX lacks (swish, and everything in `struct fused`) are put in by passes and
 * expanded again by the writer. Nodes are kept in topological order: a node comes after the
 * producers of all its inputs. */
#ifndef NN_GRAPH_H
#define NN_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "nn/graph/tensor.h"

/* X(NAME, ONNX operator name or our own, in lower case for plans) */
#define OP_MAP(X)                                                                                  \
    X(CONV, "Conv")                     /* x, w[o,i/g,kh,kw], (b[o]) */                            \
    X(BATCH_NORM, "BatchNormalization") /* x, scale, bias, mean, variance */                       \
    X(RELU, "Relu")                                                                                \
    X(LEAKY_RELU, "LeakyRelu") /* alpha */                                                         \
    X(CLIP, "Clip")            /* clip.low .. clip.high (ReLU6 is 0..6) */                         \
    X(SIGMOID, "Sigmoid")                                                                          \
    X(HARD_SIGMOID, "HardSigmoid") /* max(0, min(1, alpha*x + beta)) */                            \
    X(HARD_SWISH, "HardSwish")                                                                     \
    X(SWISH, "Swish") /* ours: x * sigmoid(x) */                                                   \
    X(TANH, "Tanh")                                                                                \
    X(ADD, "Add") /* with numpy broadcasting */                                                    \
    X(SUB, "Sub")                                                                                  \
    X(MUL, "Mul")                                                                                  \
    X(DIV, "Div")                                                                                  \
    X(MAX_POOL, "MaxPool")                                                                         \
    X(AVERAGE_POOL, "AveragePool")                                                                 \
    X(GLOBAL_AVERAGE_POOL, "GlobalAveragePool") /* [n,c,h,w] -> [n,c,1,1] */                       \
    X(REDUCE_MEAN, "ReduceMean")                                                                   \
    X(GEMM, "Gemm") /* y = alpha*A*B' + beta*C; see struct gemm_attributes */                      \
    X(MATMUL, "MatMul")                                                                            \
    X(FLATTEN, "Flatten")                                                                          \
    X(RESHAPE, "Reshape") /* x, shape (constant i64) */                                            \
    X(SQUEEZE, "Squeeze")                                                                          \
    X(UNSQUEEZE, "Unsqueeze")                                                                      \
    X(TRANSPOSE, "Transpose")                                                                      \
    X(CONCAT, "Concat")                                                                            \
    X(PAD, "Pad")                                                                                  \
    X(SOFTMAX, "Softmax")                                                                          \
    X(DROPOUT, "Dropout") /* the identity when inferring */                                        \
    X(IDENTITY, "Identity")                                                                        \
    X(CAST, "Cast")                                                                                \
    X(CONSTANT, "Constant") /* turned into a constant value when read */                           \
    X(SHAPE, "Shape")                                                                              \
    X(GATHER, "Gather")

enum op {
#define OP_ENUM(name, text) OP_##name,
    OP_MAP(OP_ENUM)
#undef OP_ENUM
        OP_COUNT
};

/* Windows of convolutions and pools: [vertical, horizontal]; pads are top, left, bottom, right, in
 * elements. The reader resolves ONNX's auto_pad into explicit pads once shapes are known. */
struct window {
    int kernel[2];
    int stride[2];
    int dilation[2];
    int pad[4];
};

enum activation {
    ACTIVATION_NONE,
    ACTIVATION_RELU,
    ACTIVATION_CLIP, /* a = low, b = high */
    ACTIVATION_SWISH,
    ACTIVATION_SIGMOID,
    ACTIVATION_HARD_SWISH,
    ACTIVATION_HARD_SIGMOID, /* a = alpha, b = beta */
    ACTIVATION_LEAKY_RELU,   /* a = alpha */
};

/* What the fusion pass folded into a convolution or gemm: y = act(conv(x) + residual), or, with
 * residual_after, y = act(conv(x)) + residual. A node with a residual has four inputs: x, weights,
 * bias or -1, residual. All empty in a graph as built or read. */
struct fused {
    enum activation activation;
    float a, b;
    int residual; /* a value index of the output's shape, or -1; also the node's last input */
    bool residual_after;
};

struct node {
    enum op op;
    char *name;  /* owned; unique in the graph; for people */
    int *inputs; /* value indices, -1 for an omitted optional input; owned */
    int input_count;
    int *outputs; /* value indices; owned */
    int output_count;
    struct fused fused;
    union {
        struct {
            struct window window;
            int groups;
        } conv;
        struct {
            float epsilon;
            float momentum; /* running = momentum*running + (1-momentum)*batch, as ONNX has it (0.9)
                             */
        } batch_norm;
        struct {
            float low, high;
        } clip;
        struct {
            float alpha, beta;
        } scalar; /* LEAKY_RELU (alpha), HARD_SIGMOID */
        struct {
            struct window window;
            bool count_include_pad;
            bool ceil_mode;
        } pool;
        struct gemm_attributes {
            float alpha, beta;
            bool transpose_a, transpose_b;
        } gemm;
        struct {
            int axis;
        } axis; /* FLATTEN, CONCAT, SOFTMAX, GATHER */
        struct {
            int64_t axes[SHAPE_RANK_MAX];
            int count;
            bool keep_dims;
        } axes; /* REDUCE_MEAN, SQUEEZE, UNSQUEEZE; TRANSPOSE's permutation */
        struct {
            int64_t before[SHAPE_RANK_MAX], after[SHAPE_RANK_MAX];
            float value;
        } pad; /* constant mode */
        struct {
            float ratio;
        } dropout;
        struct {
            enum dtype to;
        } cast;
    } u;
};

struct value {
    char *name; /* owned; unique in the graph */
    enum dtype dtype;
    struct shape shape;      /* filled by graph_infer_shapes; rank -1 before */
    int producer;            /* node index, or -1 for graph inputs and constants */
    struct tensor *constant; /* owned; weights and folded constants; NULL for activations */
};

struct graph {
    struct value *values;
    int value_count, value_capacity;
    struct node *nodes;
    int node_count, node_capacity;
    int *inputs; /* value indices; a classifier has one, [n, c, h, w] */
    int input_count;
    int *outputs; /* value indices; a classifier has one, [n, classes] */
    int output_count;
};

int graph_create(struct graph **out, struct error *err);
int graph_clone(const struct graph *source, struct graph **out, struct error *err);
void graph_free(struct graph *graph); /* with all values, nodes and constants; NULL is fine */

/* Each returns the new index (>= 0) or a negative status. `name` is copied; NULL makes one up. A
 * constant value takes ownership of `constant` on success and on failure. */
int graph_add_value(struct graph *graph, const char *name, struct tensor *constant,
                    struct error *err);
/* Gives a value another name; STATUS_EXISTS when another value has it. */
int graph_rename_value(struct graph *graph, int value, const char *name, struct error *err);
/* Appends a node with one fresh output value, and returns the index of that *value* (what builders
 * chain on). The node's name and, after it, the value's are made unique by a number at the end. The
 * node itself is graph->nodes[graph->node_count - 1], where the caller sets its attributes; they
 * start as zero except fused.residual = -1. */
int graph_add_node(struct graph *graph, enum op op, const char *name, const int *inputs,
                   int input_count, struct error *err);
int graph_add_input(struct graph *graph, const char *name, const struct shape *shape,
                    struct error *err);
int graph_add_output(struct graph *graph, int value, struct error *err);
int graph_find_value(const struct graph *graph, const char *name); /* -1 when absent */

/* Computes every value's shape from the inputs' with the first dimension of each input set to
 * `batch` (DIM_ANY keeps it open), checking every operator's rules. The error names node and
 * operator. */
int graph_infer_shapes(struct graph *graph, int64_t batch, struct error *err);
/* Sorts nodes topologically, drops nodes and values nothing uses. Indices change. */
int graph_compact(struct graph *graph, struct error *err);

const char *op_name(enum op op);
const char *activation_name(enum activation activation);

/* Multiply-accumulates of one image through convolutions and gemms; needs inferred shapes. */
int64_t graph_macs(const struct graph *graph);
/* Elements of all floating-point constants. */
int64_t graph_parameters(const struct graph *graph);
/* One line a node: operator, name, output shape. For `ocelli models plan` and debugging; returns a
 * malloc'd string the caller frees, NULL when out of memory. */
char *graph_text(const struct graph *graph);

#endif
