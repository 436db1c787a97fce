/* Fusion: an activation, or the addition of a residual, that follows a convolution or a Gemm is
 * done while its output is still in the cache (struct fused). One walk in order does it all: at
 * each activation or Add, the producer of its input may absorb it and moves to its place, where a
 * later one may be absorbed in turn:
 *
 *   conv, act         act(conv)
 *   conv, Add, act    act(conv + residual)
 *   conv, act, Add    act(conv) + residual
 *
 * Only a producer whose output nothing else reads can absorb. */
#include "nn/graph/passes.h"
#include "nn/graph/passes/edit.h"

/* The inputs of a fused node are x, weights, bias or -1, residual. */
enum { RESIDUAL_INPUT = 3 };

static enum activation activation_of(const struct node *node, float *a, float *b)
{
    *a = *b = 0;
    switch (node->op) {
    case OP_RELU:
        return ACTIVATION_RELU;
    case OP_CLIP:
        *a = node->u.clip.low;
        *b = node->u.clip.high;
        return ACTIVATION_CLIP;
    case OP_SWISH:
        return ACTIVATION_SWISH;
    case OP_SIGMOID:
        return ACTIVATION_SIGMOID;
    case OP_HARD_SWISH:
        return ACTIVATION_HARD_SWISH;
    case OP_HARD_SIGMOID:
        *a = node->u.scalar.alpha;
        *b = node->u.scalar.beta;
        return ACTIVATION_HARD_SIGMOID;
    case OP_LEAKY_RELU:
        *a = node->u.scalar.alpha;
        return ACTIVATION_LEAKY_RELU;
    default:
        return ACTIVATION_NONE;
    }
}

/* The convolution or Gemm that computes a value nothing else reads, or -1. */
static int sole_producer(const struct graph *graph, int value)
{
    const int producer = graph->values[value].producer;

    if (producer < 0 || edit_use_count(graph, value) != 1)
        return -1;
    const enum op op = graph->nodes[producer].op;
    return op == OP_CONV || op == OP_GEMM ? producer : -1;
}

static void fuse_activation(struct graph *graph, int index)
{
    float a, b;
    const enum activation activation = activation_of(&graph->nodes[index], &a, &b);

    if (activation == ACTIVATION_NONE)
        return;
    const int producer = sole_producer(graph, graph->nodes[index].inputs[0]);
    if (producer < 0)
        return;
    struct fused *fused = &graph->nodes[producer].fused;
    if (fused->activation != ACTIVATION_NONE || fused->residual_after)
        return;
    fused->activation = activation;
    fused->a = a;
    fused->b = b;
    edit_absorb(graph, producer, index);
}

/* The producer of one side of an Add if it can absorb it, or -1. */
static int residual_candidate(const struct graph *graph, const struct node *add, int side)
{
    const struct value *value = &graph->values[add->inputs[side]];
    const struct value *residual = &graph->values[add->inputs[1 - side]];
    const int producer = sole_producer(graph, add->inputs[side]);

    if (producer < 0 || residual->constant != NULL || !shape_equal(&value->shape, &residual->shape))
        return -1;
    return graph->nodes[producer].fused.residual < 0 ? producer : -1;
}

static int fuse_residual(struct graph *graph, int index, struct error *err)
{
    const struct node *add = &graph->nodes[index];

    if (add->op != OP_ADD)
        return STATUS_OK;
    const int left = residual_candidate(graph, add, 0);
    const int right = residual_candidate(graph, add, 1);
    if (left < 0 && right < 0)
        return STATUS_OK;
    /* The one computed later: the other's result is then there already. */
    const int producer = left > right ? left : right;
    const int residual = add->inputs[left > right ? 1 : 0];
    struct node *node = &graph->nodes[producer];
    const int status = edit_reserve_inputs(node, RESIDUAL_INPUT + 1, err);
    if (status != STATUS_OK)
        return status;
    node->inputs[RESIDUAL_INPUT] = residual;
    node->fused.residual = residual;
    node->fused.residual_after = node->fused.activation != ACTIVATION_NONE;
    edit_absorb(graph, producer, index);
    return STATUS_OK;
}

int passes_fuse(struct graph *graph, struct error *err)
{
    int status = STATUS_OK;

    for (int i = 0; status == STATUS_OK && i < graph->node_count; i++) {
        if (graph->nodes[i].output_count == 0)
            continue;
        fuse_activation(graph, i);
        status = fuse_residual(graph, i, err);
    }
    return status != STATUS_OK ? status : graph_compact(graph, err);
}
