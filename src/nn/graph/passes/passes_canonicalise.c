/* One vocabulary: exporters write the same thing in several ways, and after this pass there is one.
 *
 *   Identity, Cast between floats      -> nothing (activations are f32, whatever a file calls them)
 *   Reshape to a computed shape        -> to a constant one, with -1 for the batch
 *   clip(x + 3, 0, 6) / 6              -> HardSigmoid
 *   x * sigmoid(x), x * hardsigmoid(x) -> Swish, HardSwish
 *   x * clip(x + 3, 0, 6) / 6          -> HardSwish
 *   mean over height and width         -> GlobalAveragePool (and Flatten)
 *   MatMul by a constant matrix        -> Gemm
 *
 * Attributes that came as constant inputs are absorbed by shape inference. */
#include <math.h>

#include "nn/graph/passes.h"
#include "nn/graph/passes/edit.h"

static bool is_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype == DTYPE_F64;
}

static int drop_cast(struct graph *graph, int index, struct error *err)
{
    const struct node *node = &graph->nodes[index];
    struct value *input = &graph->values[node->inputs[0]];
    struct value *output = &graph->values[node->outputs[0]];

    if (input->constant != NULL) {
        if (is_float(input->constant->dtype) != is_float(node->u.cast.to))
            return STATUS_OK;
        const int status = tensor_convert(input->constant, node->u.cast.to, &output->constant, err);
        if (status != STATUS_OK)
            return status;
        output->dtype = output->constant->dtype;
        output->shape = output->constant->shape;
        edit_remove_node(graph, index);
    } else if (is_float(input->dtype) && is_float(node->u.cast.to)) {
        edit_bypass(graph, index);
    }
    return STATUS_OK;
}

static int drop_copies(struct graph *graph, struct error *err)
{
    int status = STATUS_OK;

    for (int i = 0; status == STATUS_OK && i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        if (node->output_count == 0 || node->input_count == 0 || node->inputs[0] < 0)
            continue;
        if (node->op == OP_IDENTITY)
            edit_bypass(graph, i);
        else if (node->op == OP_CAST)
            status = drop_cast(graph, i, err);
    }
    return status;
}

/* The inferred output shape says what the target means; at most one dimension may be open. */
static int fix_reshape_target(struct graph *graph, int index, struct error *err)
{
    const struct node *node = &graph->nodes[index];
    const struct shape *shape = &graph->values[node->outputs[0]].shape;
    const struct shape target_shape = {1, {shape->rank}};
    struct tensor *target;
    int open = 0;

    for (int i = 0; i < shape->rank; i++)
        open += shape->dims[i] == DIM_ANY;
    if (open > 1)
        return STATUS_OK;
    const int status = tensor_create(DTYPE_I64, &target_shape, &target, err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < shape->rank; i++)
        ((int64_t *)target->data)[i] = shape->dims[i] == DIM_ANY ? -1 : shape->dims[i];
    return edit_set_constant(graph, index, 1, "shape", target, err);
}

static bool near(float value, float wanted)
{
    return fabsf(value - wanted) <= 1e-4f * fabsf(wanted);
}

/* The other input of a two-input node when one is a constant number near `wanted`, else -1. */
static int other_than_scalar(const struct graph *graph, const struct node *node, float wanted)
{
    float number;

    for (int i = 0; i < 2; i++)
        if (edit_scalar(graph, node->inputs[i], &number) && near(number, wanted))
            return node->inputs[1 - i];
    return -1;
}

/* x when `value` is clip(x + 3, 0, 6) and has one reader, else -1. */
static int hard_gate(const struct graph *graph, int value)
{
    const int clip = edit_producer(graph, value, OP_CLIP);

    if (clip < 0 || edit_use_count(graph, value) != 1 || graph->nodes[clip].u.clip.low != 0 ||
        graph->nodes[clip].u.clip.high != 6)
        return -1;
    const int add = edit_producer(graph, graph->nodes[clip].inputs[0], OP_ADD);
    return add < 0 ? -1 : other_than_scalar(graph, &graph->nodes[add], 3);
}

/* What is divided by six: Div by 6, or Mul by 1/6. -1 when the node does neither. */
static int sixth_of(const struct graph *graph, const struct node *node)
{
    float number;

    if (node->op == OP_DIV && edit_scalar(graph, node->inputs[1], &number) && near(number, 6))
        return node->inputs[0];
    return node->op == OP_MUL ? other_than_scalar(graph, node, 1.0f / 6) : -1;
}

static void become_unary(struct node *node, enum op op, int x)
{
    node->op = op;
    node->inputs[0] = x;
    node->input_count = 1;
}

/* x * sigmoid(x) and x * hardsigmoid(x), either way round. */
static bool multiply_by_gate(struct graph *graph, struct node *node)
{
    for (int side = 0; node->op == OP_MUL && side < 2; side++) {
        const int gate = node->inputs[side], x = node->inputs[1 - side];
        const int sigmoid = edit_producer(graph, gate, OP_SIGMOID);
        const int hard = edit_producer(graph, gate, OP_HARD_SIGMOID);
        if (edit_use_count(graph, gate) != 1)
            continue;
        if (sigmoid >= 0 && graph->nodes[sigmoid].inputs[0] == x) {
            become_unary(node, OP_SWISH, x);
            return true;
        }
        if (hard >= 0 && graph->nodes[hard].inputs[0] == x &&
            near(graph->nodes[hard].u.scalar.alpha, 1.0f / 6) &&
            near(graph->nodes[hard].u.scalar.beta, 0.5f)) {
            become_unary(node, OP_HARD_SWISH, x);
            return true;
        }
    }
    return false;
}

/* x * clip(x + 3, 0, 6) / 6, and the same without the leading x. */
static void divide_gate(struct graph *graph, struct node *node)
{
    const int inner = sixth_of(graph, node);
    const int product = inner < 0 ? -1 : edit_producer(graph, inner, OP_MUL);

    if (inner < 0)
        return;
    if (hard_gate(graph, inner) >= 0) {
        become_unary(node, OP_HARD_SIGMOID, hard_gate(graph, inner));
        node->u.scalar.alpha = 1.0f / 6;
        node->u.scalar.beta = 0.5f;
        return;
    }
    if (product < 0 || edit_use_count(graph, inner) != 1)
        return;
    for (int side = 0; side < 2; side++) {
        const int x = graph->nodes[product].inputs[1 - side];
        if (hard_gate(graph, graph->nodes[product].inputs[side]) == x) {
            become_unary(node, OP_HARD_SWISH, x);
            return;
        }
    }
}

/* Whether a ReduceMean averages exactly height and width. */
static bool averages_image(const struct graph *graph, const struct node *node)
{
    const int rank = graph->values[node->inputs[0]].shape.rank;
    bool seen[2] = {false, false};

    if (rank != 4 || node->u.axes.count != 2)
        return false;
    for (int i = 0; i < 2; i++) {
        const int64_t axis = node->u.axes.axes[i] + (node->u.axes.axes[i] < 0 ? rank : 0);
        if (axis < 2 || axis > 3)
            return false;
        seen[axis - 2] = true;
    }
    return seen[0] && seen[1];
}

static int pool_mean(struct graph *graph, int index, struct error *err)
{
    struct node *node = &graph->nodes[index];

    if (!averages_image(graph, node))
        return STATUS_OK;
    const bool keep_dims = node->u.axes.keep_dims;
    node->op = OP_GLOBAL_AVERAGE_POOL;
    if (keep_dims)
        return STATUS_OK;
    /* The pool keeps four dimensions; a Flatten behind it takes over the node's output. */
    const int output = node->outputs[0];
    const int pooled = graph_add_node(graph, OP_FLATTEN, NULL, &output, 1, err);
    if (pooled < 0)
        return pooled;
    const int last = graph->node_count - 1;
    graph->nodes[last].u.axis.axis = 1;
    graph->nodes[last].inputs[0] = pooled;
    graph->nodes[last].outputs[0] = output;
    graph->nodes[index].outputs[0] = pooled;
    graph->values[output].producer = last;
    graph->values[pooled].producer = index;
    graph->values[pooled].dtype = graph->values[output].dtype;
    return STATUS_OK;
}

/* An AveragePool whose one window is the whole image. */
static void pool_whole_image(const struct graph *graph, struct node *node)
{
    const struct shape *x = &graph->values[node->inputs[0]].shape;
    const struct window *window = &node->u.pool.window;

    for (int i = 0; i < 2; i++)
        if (window->kernel[i] != x->dims[2 + i] || window->dilation[i] != 1 ||
            window->pad[i] != 0 || window->pad[i + 2] != 0)
            return;
    node->op = OP_GLOBAL_AVERAGE_POOL;
}

static void multiply_by_weights(const struct graph *graph, struct node *node)
{
    const struct shape *a = &graph->values[node->inputs[0]].shape;
    const struct shape *b = &graph->values[node->inputs[1]].shape;

    if (a->rank != 2 || b->rank != 2 || edit_constant(graph, node->inputs[1]) == NULL)
        return;
    node->op = OP_GEMM;
    node->u.gemm = (struct gemm_attributes){.alpha = 1, .beta = 1};
}

static int rewrite(struct graph *graph, int index, struct error *err)
{
    struct node *node = &graph->nodes[index];

    switch (node->op) {
    case OP_RESHAPE:
        return fix_reshape_target(graph, index, err);
    case OP_MUL:
    case OP_DIV:
        if (!multiply_by_gate(graph, node))
            divide_gate(graph, node);
        return STATUS_OK;
    case OP_REDUCE_MEAN:
        return pool_mean(graph, index, err);
    case OP_AVERAGE_POOL:
        pool_whole_image(graph, node);
        return STATUS_OK;
    case OP_MATMUL:
        multiply_by_weights(graph, node);
        return STATUS_OK;
    default:
        return STATUS_OK;
    }
}

int passes_canonicalise(struct graph *graph, struct error *err)
{
    int status = drop_copies(graph, err);

    if (status == STATUS_OK)
        status = graph_infer_shapes(graph, DIM_ANY, err);
    for (int i = 0; status == STATUS_OK && i < graph->node_count; i++)
        if (graph->nodes[i].output_count > 0)
            status = rewrite(graph, i, err);
    if (status == STATUS_OK)
        status = graph_compact(graph, err);
    if (status == STATUS_OK)
        status = graph_infer_shapes(graph, DIM_ANY, err);
    return status;
}
