/* Convolutions and matrix products into steps.
 *
 * Which layout and algorithm runs a convolution best was measured per layer on AVX-512 machines
 * (docs/performance.md): fp32 blocked, by Winograd for 3x3 at stride 1 on maps larger than 7x7
 * (below, its transformed weights cost more to stream than it saves); bf16 in NHWC. The first
 * convolution reads the picture's planes as they come. Candidates are tried in that order, the
 * first for which the library has an optimised implementation is taken, and where there is none the
 * node is declined.
 *
 * A swish is applied by our own kernel in a step after the convolution, which costs less than the
 * library's post-op. The residual is summed in place: source of the sum and destination are one. */
#include <stdio.h>

#include "nn/exec/lowering.h"

enum {
    /* Inputs of so few channels are read as planes: padding them to a block would be waste. */
    PLANES_CHANNELS_MAX = 4,
    WINOGRAD_EDGE_MIN = 8,
    /* Weights of a 1x1 convolution on a 1x1 map, up to which our own kernel beats the library's
     * inner product, whose call costs more than the arithmetic. */
    DENSE_WEIGHTS_MAX = 1 << 18,
};

struct candidate {
    enum layout source, destination;
    dnnl_alg_kind_t algorithm;
};

/* A convolution as oneDNN sees it. */
struct convolution {
    const struct node *node;
    int x, weights, bias, y; /* values; bias -1 when there is none */
    bool swish_after;        /* by our own kernel */
    struct onednn_window window;
    int weights_rank; /* 4, or 5 when grouped */
    dnnl_dims_t weights_dims, weights_strides;
};

static bool has_residual(const struct node *node)
{
    return node->fused.residual >= 0;
}

/* Inputs are x, weights, (bias), (residual). */
static int bias_of(const struct node *node)
{
    int own = node->input_count - (has_residual(node) ? 1 : 0);

    return own > 2 ? node->inputs[2] : -1;
}

static void row_major(const dnnl_dims_t dims, int rank, dnnl_dims_t strides)
{
    dnnl_dim_t stride = 1;

    for (int d = rank - 1; d >= 0; d--) {
        strides[d] = stride;
        stride *= dims[d];
    }
}

static void describe_weights(struct convolution *c, const struct shape *weights, int groups)
{
    c->weights_rank = 0;
    if (groups > 1)
        c->weights_dims[c->weights_rank++] = groups;
    c->weights_dims[c->weights_rank++] = weights->dims[0] / groups;
    for (int d = 1; d < 4; d++)
        c->weights_dims[c->weights_rank++] = weights->dims[d];
    row_major(c->weights_dims, c->weights_rank, c->weights_strides);
}

static void describe_window(struct onednn_window *out, const struct window *window)
{
    for (int d = 0; d < 2; d++) {
        out->kernel[d] = window->kernel[d];
        out->stride[d] = window->stride[d];
        out->dilation[d] = window->dilation[d] - 1;
        out->pad_before[d] = window->pad[d];
        out->pad_after[d] = window->pad[d + 2];
    }
}

static bool fits_winograd(const struct lowering *l, const struct convolution *c)
{
    const struct window *window = &c->node->u.conv.window;
    const struct shape *y = lowering_shape(l, c->y);

    return c->node->u.conv.groups == 1 && window->kernel[0] == 3 && window->kernel[1] == 3 &&
           window->stride[0] == 1 && window->stride[1] == 1 && window->dilation[0] == 1 &&
           window->dilation[1] == 1 && y->dims[2] >= WINOGRAD_EDGE_MIN &&
           y->dims[3] >= WINOGRAD_EDGE_MIN;
}

static int list_candidates(const struct lowering *l, const struct convolution *c,
                           struct candidate out[LAYOUT_COUNT + 2])
{
    enum layout layouts[LAYOUT_COUNT];
    int layout_count = lowering_layouts(l, layouts);
    int count = 0;

    for (int i = 0; i < layout_count; i++) {
        enum layout layout = layouts[i];
        bool planes = layout == LAYOUT_BLOCKED && c->node->u.conv.groups == 1 &&
                      lowering_shape(l, c->x)->dims[1] <= PLANES_CHANNELS_MAX;
        if (layout == LAYOUT_BLOCKED && !planes && fits_winograd(l, c))
            out[count++] = (struct candidate){layout, layout, dnnl_convolution_winograd};
        out[count++] =
            (struct candidate){planes ? LAYOUT_PLAIN : layout, layout, dnnl_convolution_direct};
    }
    return count;
}

/* The node's fused parts as attributes. With `sum`, the residual of type `type` is added in place.
 */
static dnnl_status_t fused_attributes(const struct node *node, enum activation activation,
                                      dnnl_data_type_t type, dnnl_primitive_attr_t *out)
{
    const struct fused *fused = &node->fused;
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_post_ops_create(&ops);

    if (status == dnnl_success && has_residual(node) && !fused->residual_after)
        status = onednn_append_sum(ops, type);
    if (status == dnnl_success)
        status = lowering_append_activation(ops, activation, fused->a, fused->b);
    if (status == dnnl_success && has_residual(node) && fused->residual_after)
        status = onednn_append_sum(ops, type);
    if (status == dnnl_success)
        status = lowering_attributes(ops, out);
    if (ops != NULL)
        dnnl_post_ops_destroy(ops);
    return status;
}

/* Bias stays f32 in every precision. */
static int describe_bias(const struct lowering *l, int bias, onednn_desc *out)
{
    int64_t count = shape_elements(lowering_shape(l, bias));
    struct shape flat = {.rank = 1, .dims = {count}};

    return lowering_desc(l, LAYOUT_PLAIN, &flat, out);
}

static dnnl_data_type_t layout_type(enum layout layout)
{
    return layout == LAYOUT_NHWC_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* *out stays NULL where the library has no optimised implementation of the candidate. */
static int try_candidate(struct lowering *l, const struct convolution *c,
                         const struct candidate *candidate, dnnl_primitive_desc_t *out)
{
    onednn_desc source, weights, bias, destination;
    dnnl_data_type_t type = layout_type(candidate->destination);
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    enum activation activation = c->swish_after ? ACTIVATION_NONE : c->node->fused.activation;
    int status;

    onednn_desc_clear(&source);
    onednn_desc_clear(&weights);
    onednn_desc_clear(&bias);
    onednn_desc_clear(&destination);
    status = lowering_desc(l, candidate->source, lowering_shape(l, c->x), &source);
    if (status == STATUS_OK)
        status = lowering_desc(l, candidate->destination, lowering_shape(l, c->y), &destination);
    if (status == STATUS_OK && c->bias >= 0)
        status = describe_bias(l, c->bias, &bias);
    if (status == STATUS_OK)
        status = onednn_check(
            onednn_desc_tag(&weights, c->weights_rank, c->weights_dims, type, dnnl_format_tag_any),
            "a descriptor", l->err);
    if (status == STATUS_OK)
        status =
            onednn_check(fused_attributes(c->node, activation, type, &attr), "attributes", l->err);
    if (status != STATUS_OK)
        goto done;
    if (onednn_convolution(&pd, l->source->engine, candidate->algorithm, ONEDNN_REF(source),
                           ONEDNN_REF(weights), c->bias >= 0 ? ONEDNN_REF(bias) : NULL,
                           ONEDNN_REF(destination), &c->window, attr) == dnnl_success)
        *out = lowering_optimised(pd);
done:
    if (attr != NULL)
        dnnl_primitive_attr_destroy(attr);
    onednn_desc_free(&source);
    onednn_desc_free(&weights);
    onednn_desc_free(&bias);
    onednn_desc_free(&destination);
    return status;
}

static void note_fused(struct step *step, const struct node *node, bool swish_after)
{
    const struct fused *fused = &node->fused;
    const char *activation = fused->activation == ACTIVATION_NONE || swish_after
                                 ? ""
                                 : activation_name(fused->activation);
    const char *residual = has_residual(node) ? "+residual" : "";
    const char *plus = *activation != '\0' ? "+" : "";

    if (fused->residual_after)
        snprintf(step->fused, sizeof step->fused, "%s%s%s", plus, activation, residual);
    else
        snprintf(step->fused, sizeof step->fused, "%s%s%s", residual, plus, activation);
}

/* The constants, from the store in the layouts that the primitive chose. */
static int add_constants(struct lowering *l, const struct convolution *c,
                         onednn_desc_ref weights_wanted, int step)
{
    onednn_desc plain, bias;
    dnnl_memory_t memory;
    int status = onednn_check(
        onednn_desc_strided(&plain, c->weights_rank, c->weights_dims, dnnl_f32, c->weights_strides),
        "a descriptor", l->err);

    if (status != STATUS_OK)
        return status;
    status = weights_memory(l->source->weights, c->weights, ONEDNN_REF(plain), weights_wanted,
                            &memory, l->err);
    onednn_desc_free(&plain);
    if (status == STATUS_OK)
        status = lowering_argument_memory(l, step, DNNL_ARG_WEIGHTS, memory);
    if (status != STATUS_OK || c->bias < 0)
        return status;
    status = describe_bias(l, c->bias, &bias);
    if (status != STATUS_OK)
        return status;
    status = weights_memory(l->source->weights, c->bias, ONEDNN_REF(bias), ONEDNN_REF(bias),
                            &memory, l->err);
    onednn_desc_free(&bias);
    return status == STATUS_OK ? lowering_argument_memory(l, step, DNNL_ARG_BIAS, memory) : status;
}

/* Where the convolution writes: over its residual, or somewhere new. */
static int choose_destination(struct lowering *l, const struct convolution *c, enum layout layout,
                              int source)
{
    const struct node *node = c->node;
    int tensor;

    if (!has_residual(node))
        return lowering_tensor(l, layout, DTYPE_F32, lowering_shape(l, c->y));
    tensor = lowering_obtain_writable(l, node->fused.residual, layout);
    if (tensor < 0 || l->plan->tensors[tensor].root != l->plan->tensors[source].root)
        return tensor;
    return lowering_copy(l, tensor);
}

static int add_convolution(struct lowering *l, const struct convolution *c,
                           const struct candidate *candidate, dnnl_primitive_desc_t pd)
{
    int source = lowering_obtain(l, c->x, candidate->source);
    int destination =
        source < 0 ? source : choose_destination(l, c, candidate->destination, source);
    int step = destination < 0 ? destination : lowering_primitive(l, pd, op_name(c->node->op));
    int status = step < 0 ? step : lowering_argument(l, step, DNNL_ARG_SRC, source);

    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_DST, destination);
    if (status == STATUS_OK)
        status =
            add_constants(l, c, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), step);
    if (status != STATUS_OK)
        return status;
    note_fused(&l->plan->steps[step], c->node, c->swish_after);
    lowering_define(l, c->y, destination);
    return c->swish_after ? lowering_swish(l, destination) : STATUS_OK;
}

/* A 1x1 map through a 1x1 convolution is a dense layer; squeeze-and-excite is made of them. */
static bool is_dense(const struct lowering *l, const struct node *node)
{
    const struct shape *x = lowering_shape(l, node->inputs[0]);
    const struct window *window = &node->u.conv.window;

    return x->dims[2] == 1 && x->dims[3] == 1 && window->kernel[0] == 1 && window->kernel[1] == 1 &&
           window->pad[0] + window->pad[1] + window->pad[2] + window->pad[3] == 0 &&
           node->u.conv.groups == 1 && !has_residual(node);
}

/* The weights as [inputs][outputs], which the kernel wants, and the bias (NULL when there is none).
 */
static int dense_constants(struct lowering *l, const struct node *node, const void **weights,
                           const void **bias)
{
    const struct shape *shape = lowering_shape(l, node->inputs[1]);
    dnnl_dims_t dims = {shape->dims[0], shape->dims[1]};
    dnnl_dims_t plain_strides = {shape->dims[1], 1}, strides = {1, shape->dims[0]};
    onednn_desc plain, transposed;
    const struct tensor *tensor;
    dnnl_memory_t memory = NULL;
    void *handle = NULL;
    int status;

    onednn_desc_clear(&plain);
    onednn_desc_clear(&transposed);
    status = onednn_check(onednn_desc_strided(&plain, 2, dims, dnnl_f32, plain_strides),
                          "a descriptor", l->err);
    if (status == STATUS_OK)
        status = onednn_check(onednn_desc_strided(&transposed, 2, dims, dnnl_f32, strides),
                              "a descriptor", l->err);
    if (status == STATUS_OK)
        status = weights_memory(l->source->weights, node->inputs[1], ONEDNN_REF(plain),
                                ONEDNN_REF(transposed), &memory, l->err);
    if (status == STATUS_OK)
        status = onednn_check(dnnl_memory_get_data_handle(memory, &handle), "a handle", l->err);
    onednn_desc_free(&plain);
    onednn_desc_free(&transposed);
    *weights = handle;
    *bias = NULL;
    if (status == STATUS_OK && bias_of(node) >= 0) {
        status = weights_tensor(l->source->weights, bias_of(node), &tensor, l->err);
        if (status == STATUS_OK)
            *bias = tensor->data;
    }
    return status;
}

static int lower_small_dense(struct lowering *l, const struct node *node)
{
    const void *weights, *bias;
    int step, source, destination;
    int status = dense_constants(l, node, &weights, &bias);

    if (status != STATUS_OK)
        return status;
    source = lowering_obtain(l, node->inputs[0], LAYOUT_PLAIN);
    if (source < 0)
        return source;
    destination = lowering_tensor(l, LAYOUT_PLAIN, DTYPE_F32, lowering_shape(l, node->outputs[0]));
    if (destination < 0)
        return destination;
    step = lowering_step(l, STEP_DENSE, "dense");
    status = step < 0 ? step : lowering_argument(l, step, DNNL_ARG_SRC, source);
    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_DST, destination);
    if (status == STATUS_OK)
        status = lowering_argument_data(l, step, DNNL_ARG_WEIGHTS, weights);
    if (status == STATUS_OK && bias != NULL)
        status = lowering_argument_data(l, step, DNNL_ARG_BIAS, bias);
    if (status != STATUS_OK)
        return status;
    l->plan->steps[step].activation = node->fused.activation;
    l->plan->steps[step].a = node->fused.a;
    l->plan->steps[step].b = node->fused.b;
    lowering_note_activation(l, step, node->fused.activation);
    lowering_define(l, node->outputs[0], destination);
    return STATUS_OK;
}

int lower_convolution(struct lowering *l, const struct node *node)
{
    struct convolution c = {.node = node,
                            .x = node->inputs[0],
                            .weights = node->inputs[1],
                            .bias = bias_of(node),
                            .y = node->outputs[0]};
    struct candidate candidates[LAYOUT_COUNT + 2];
    int count;

    if (!lowering_is_f32(l, c.x) || lowering_shape(l, c.x)->rank != 4 ||
        !lowering_is_constant(l, c.weights) || (c.bias >= 0 && !lowering_is_constant(l, c.bias)) ||
        (has_residual(node) && !lowering_is_f32(l, node->fused.residual)))
        return LOWER_DECLINED;
    if (is_dense(l, node))
        return shape_elements(lowering_shape(l, c.weights)) <= DENSE_WEIGHTS_MAX
                   ? lower_small_dense(l, node)
                   : lower_map_product(l, node, c.bias);
    describe_weights(&c, lowering_shape(l, c.weights), node->u.conv.groups);
    describe_window(&c.window, &node->u.conv.window);
    c.swish_after = node->fused.activation == ACTIVATION_SWISH && lowering_own_swish(l) &&
                    !(has_residual(node) && node->fused.residual_after);
    count = list_candidates(l, &c, candidates);
    for (int i = 0; i < count; i++) {
        dnnl_primitive_desc_t pd = NULL;
        int status = try_candidate(l, &c, &candidates[i], &pd);
        if (status != STATUS_OK)
            return status;
        if (pd == NULL)
            continue;
        status = add_convolution(l, &c, &candidates[i], pd);
        dnnl_primitive_desc_destroy(pd);
        return status;
    }
    return LOWER_DECLINED;
}
