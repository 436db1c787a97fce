/* Shape inference: one walk over the nodes in order, each computing its output's shape from its
 * inputs', as ONNX defines the operator. The rules of windows are in shapes_window.c, those of
 * operators that only rearrange in shapes_layout.c, and what is known of integer tensors' elements
 * in contents.c. */
#include "nn/graph/shapes/shapes.h"

#include <inttypes.h>
#include <stdlib.h>

#include "nn/graph/shapes/attributes.h"

int axis_normalise(int64_t axis, int rank)
{
    if (axis < 0)
        axis += rank;
    return axis >= 0 && axis < rank ? (int)axis : -1;
}

bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *out)
{
    struct shape result = {.rank = a->rank > b->rank ? a->rank : b->rank};

    for (int i = 0; i < result.rank; i++) {
        const int in_a = i - (result.rank - a->rank), in_b = i - (result.rank - b->rank);
        const int64_t dim_a = in_a < 0 ? 1 : a->dims[in_a];
        const int64_t dim_b = in_b < 0 ? 1 : b->dims[in_b];
        if (dim_a == dim_b || dim_b == 1)
            result.dims[i] = dim_a;
        else if (dim_a == 1 || dim_a == DIM_ANY)
            result.dims[i] = dim_b;
        else if (dim_b == DIM_ANY)
            result.dims[i] = dim_a;
        else
            return false;
    }
    *out = result;
    return true;
}

static int infer_elementwise(const struct graph *graph, const struct node *node, struct shape *out,
                             struct error *err)
{
    const struct shape *a = &graph->values[node->inputs[0]].shape;
    const struct shape *b = &graph->values[node->inputs[1]].shape;
    char text_a[128], text_b[128];

    if (!shape_broadcast(a, b, out))
        return error_set(err, STATUS_INVALID, "the shapes %s and %s do not broadcast",
                         shape_text(a, text_a, sizeof text_a),
                         shape_text(b, text_b, sizeof text_b));
    return STATUS_OK;
}

static int infer_batch_norm(const struct graph *graph, const struct node *node, struct shape *out,
                            struct error *err)
{
    static const char *const names[] = {"", "scale", "bias", "mean", "variance"};
    const struct shape *x = &graph->values[node->inputs[0]].shape;

    if (x->rank < 2)
        return error_set(err, STATUS_INVALID, "its input has no channels");
    for (int i = 1; i < 5; i++) {
        const struct shape *shape = &graph->values[node->inputs[i]].shape;
        if (shape->rank != 1 || shape->dims[0] != x->dims[1])
            return error_set(err, STATUS_INVALID, "its %s must be one number a channel, %" PRId64,
                             names[i], x->dims[1]);
    }
    *out = *x;
    return STATUS_OK;
}

static int infer_gemm(const struct graph *graph, const struct node *node, struct shape *out,
                      struct error *err)
{
    const struct gemm_attributes *gemm = &node->u.gemm;
    const struct shape *a = &graph->values[node->inputs[0]].shape;
    const struct shape *b = &graph->values[node->inputs[1]].shape;
    const bool has_c = node->input_count > 2 && node->inputs[2] >= 0;
    struct shape joined;

    if (a->rank != 2 || b->rank != 2)
        return error_set(err, STATUS_INVALID, "it multiplies matrices, but has ranks %d and %d",
                         a->rank, b->rank);
    const int64_t inner_a = a->dims[gemm->transpose_a ? 0 : 1];
    const int64_t inner_b = b->dims[gemm->transpose_b ? 1 : 0];
    if (inner_a != inner_b && inner_a != DIM_ANY && inner_b != DIM_ANY)
        return error_set(err, STATUS_INVALID,
                         "the inner dimensions %" PRId64 " and %" PRId64 " differ", inner_a,
                         inner_b);
    out->rank = 2;
    out->dims[0] = a->dims[gemm->transpose_a ? 1 : 0];
    out->dims[1] = b->dims[gemm->transpose_b ? 0 : 1];
    if (has_c && (!shape_broadcast(out, &graph->values[node->inputs[2]].shape, &joined) ||
                  !shape_equal(out, &joined)))
        return error_set(err, STATUS_INVALID, "its bias does not fit its output");
    return STATUS_OK;
}

static int infer_matmul(const struct graph *graph, const struct node *node, struct shape *out,
                        struct error *err)
{
    struct shape a = graph->values[node->inputs[0]].shape;
    struct shape b = graph->values[node->inputs[1]].shape;

    if (a.rank < 2 || b.rank < 2)
        return error_set(err, STATUS_UNSUPPORTED, "products with a vector are not supported");
    const int64_t rows = a.dims[a.rank - 2], columns = b.dims[b.rank - 1];
    const int64_t inner_a = a.dims[a.rank - 1], inner_b = b.dims[b.rank - 2];
    if (inner_a != inner_b && inner_a != DIM_ANY && inner_b != DIM_ANY)
        return error_set(err, STATUS_INVALID,
                         "the inner dimensions %" PRId64 " and %" PRId64 " differ", inner_a,
                         inner_b);
    a.rank -= 2;
    b.rank -= 2;
    if (!shape_broadcast(&a, &b, out))
        return error_set(err, STATUS_INVALID, "the leading dimensions do not broadcast");
    out->dims[out->rank++] = rows;
    out->dims[out->rank++] = columns;
    return STATUS_OK;
}

static int infer_global_pool(const struct graph *graph, const struct node *node, struct shape *out,
                             struct error *err)
{
    *out = graph->values[node->inputs[0]].shape;
    if (out->rank < 3)
        return error_set(err, STATUS_INVALID, "its input has no spatial dimensions");
    for (int i = 2; i < out->rank; i++)
        out->dims[i] = 1;
    return STATUS_OK;
}

static int infer_softmax(const struct graph *graph, const struct node *node, struct shape *out,
                         struct error *err)
{
    *out = graph->values[node->inputs[0]].shape;
    if (axis_normalise(node->u.axis.axis, out->rank) < 0)
        return error_set(err, STATUS_INVALID, "axis %d lies outside its input of rank %d",
                         node->u.axis.axis, out->rank);
    return STATUS_OK;
}

/* How many inputs an operator must have, not counting a fused residual; the maximum includes the
 * optional ones. */
static void input_limits(enum op op, int *least, int *most)
{
    *least = *most = 1;
    switch (op) {
    case OP_CONV:
    case OP_GEMM:
        *least = 2, *most = 3;
        break;
    case OP_BATCH_NORM:
        *least = *most = 5;
        break;
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_DIV:
    case OP_MATMUL:
    case OP_RESHAPE:
    case OP_GATHER:
        *least = *most = 2;
        break;
    case OP_CONCAT:
        *most = INT32_MAX;
        break;
    default:
        break;
    }
}

static int check_inputs(const struct graph *graph, const struct node *node, struct error *err)
{
    int least, most;
    const int own = node->input_count - (node->fused.residual >= 0 ? 1 : 0);

    input_limits(node->op, &least, &most);
    if (own < least || own > most)
        return error_set(err, STATUS_INVALID, "it has %d inputs", own);
    if (node->fused.residual >= 0 && node->inputs[own] != node->fused.residual)
        return error_set(err, STATUS_INTERNAL, "its residual is not its last input");
    for (int i = 0; i < node->input_count; i++) {
        const int input = node->inputs[i];
        if (input < 0 && (i < least || node->op == OP_CONCAT))
            return error_set(err, STATUS_INVALID, "it lacks input %d", i);
        if (input >= graph->value_count)
            return error_set(err, STATUS_INTERNAL, "input %d is no value of the graph", i);
        if (input >= 0 && graph->values[input].shape.rank < 0)
            return error_set(err, STATUS_CORRUPT, "its input '%s' is computed by nothing before it",
                             graph->values[input].name);
    }
    return STATUS_OK;
}

static int check_residual(const struct graph *graph, const struct node *node,
                          const struct shape *out, struct error *err)
{
    char residual[128], own[128];

    if (node->fused.residual < 0)
        return STATUS_OK;
    const struct shape *shape = &graph->values[node->fused.residual].shape;
    if (shape_equal(shape, out))
        return STATUS_OK;
    return error_set(err, STATUS_INVALID, "its residual %s has not its output's shape %s",
                     shape_text(shape, residual, sizeof residual),
                     shape_text(out, own, sizeof own));
}

static int infer_by_op(const struct graph *graph, const struct node *node,
                       const struct contents *contents, struct shape *out, struct error *err)
{
    switch (node->op) {
    case OP_CONV:
        return shapes_infer_conv(graph, node, out, err);
    case OP_MAX_POOL:
    case OP_AVERAGE_POOL:
        return shapes_infer_pool(graph, node, out, err);
    case OP_BATCH_NORM:
        return infer_batch_norm(graph, node, out, err);
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_DIV:
        return infer_elementwise(graph, node, out, err);
    case OP_GEMM:
        return infer_gemm(graph, node, out, err);
    case OP_MATMUL:
        return infer_matmul(graph, node, out, err);
    case OP_GLOBAL_AVERAGE_POOL:
        return infer_global_pool(graph, node, out, err);
    case OP_SOFTMAX:
        return infer_softmax(graph, node, out, err);
    case OP_REDUCE_MEAN:
    case OP_FLATTEN:
    case OP_RESHAPE:
    case OP_SQUEEZE:
    case OP_UNSQUEEZE:
    case OP_TRANSPOSE:
    case OP_CONCAT:
    case OP_PAD:
    case OP_SHAPE:
    case OP_GATHER:
        return shapes_infer_layout(graph, node, contents, out, err);
    case OP_RELU:
    case OP_LEAKY_RELU:
    case OP_CLIP:
    case OP_SIGMOID:
    case OP_HARD_SIGMOID:
    case OP_HARD_SWISH:
    case OP_SWISH:
    case OP_TANH:
    case OP_DROPOUT:
    case OP_IDENTITY:
    case OP_CAST:
        *out = graph->values[node->inputs[0]].shape;
        return STATUS_OK;
    case OP_CONSTANT:
    case OP_COUNT:
        break;
    }
    return error_set(err, STATUS_UNSUPPORTED, "this operator has no shape rule here");
}

int shapes_infer_node(const struct graph *graph, const struct node *node,
                      const struct contents *contents, struct shape *out, struct error *err)
{
    struct shape shape = {0};

    int status = check_inputs(graph, node, err);
    if (status == STATUS_OK)
        status = infer_by_op(graph, node, contents, &shape, err);
    if (status == STATUS_OK)
        status = check_residual(graph, node, &shape, err);
    if (status == STATUS_OK)
        *out = shape;
    return status;
}

static enum dtype infer_dtype(const struct graph *graph, const struct node *node)
{
    if (node->op == OP_SHAPE)
        return DTYPE_I64;
    if (node->op == OP_CAST)
        return node->u.cast.to;
    return graph->values[node->inputs[0]].dtype;
}

static int check_size(const struct shape *shape, struct error *err)
{
    struct shape closed = *shape;
    char text[128];

    for (int i = 0; i < closed.rank; i++)
        if (closed.dims[i] == DIM_ANY)
            closed.dims[i] = 1;
    const int64_t count = shape_elements(&closed);
    if (count < 0 || count > SHAPE_ELEMENTS_MAX)
        return error_set(err, STATUS_TOO_LARGE, "the shape %s is beyond all bounds",
                         shape_text(shape, text, sizeof text));
    return STATUS_OK;
}

/* Forgets what was inferred before, sets the inputs' batch. */
static int start(struct graph *graph, int64_t batch, struct contents *contents, struct error *err)
{
    for (int i = 0; i < graph->value_count; i++) {
        struct value *value = &graph->values[i];
        if (value->constant != NULL)
            contents_of_constant(value->constant, &contents[i]);
        else if (value->producer >= 0)
            value->shape.rank = -1;
    }
    for (int i = 0; i < graph->input_count; i++) {
        struct value *value = &graph->values[graph->inputs[i]];
        if (value->shape.rank < 1)
            return error_set(err, STATUS_INVALID, "the input '%s' has no batch dimension",
                             value->name);
        value->shape.dims[0] = batch;
        const int status = check_size(&value->shape, err);
        if (status != STATUS_OK) {
            error_wrap(err, "input '%s'", value->name);
            return status;
        }
    }
    return STATUS_OK;
}

static int infer_one(struct graph *graph, struct node *node, struct contents *contents,
                     struct error *err)
{
    struct shape shape;

    int status = attributes_absorb(graph, node, err);
    if (status == STATUS_OK)
        status = shapes_infer_node(graph, node, contents, &shape, err);
    if (status == STATUS_OK)
        status = check_size(&shape, err);
    if (status != STATUS_OK)
        return status;
    struct value *value = &graph->values[node->outputs[0]];
    value->shape = shape;
    value->dtype = infer_dtype(graph, node);
    contents_infer(graph, node, &shape, contents);
    return STATUS_OK;
}

int graph_infer_shapes(struct graph *graph, int64_t batch, struct error *err)
{
    if (batch < 1 && batch != DIM_ANY)
        return error_set(err, STATUS_INVALID, "a batch of %" PRId64 " images", batch);
    struct contents *contents = calloc((size_t)graph->value_count + 1, sizeof *contents);
    if (contents == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to infer shapes");
    int status = start(graph, batch, contents, err);
    for (int i = 0; status == STATUS_OK && i < graph->node_count; i++) {
        struct node *node = &graph->nodes[i];
        if (node->output_count == 0)
            continue;
        status = infer_one(graph, node, contents, err);
        if (status != STATUS_OK)
            error_wrap(err, "node '%s' (%s)", node->name, op_name(node->op));
    }
    free(contents);
    return status;
}
