/* Matrix products with a constant right side into inner products: y = x * B + c.
 *
 * Weights are held in the engine's precision, which halves what a classifier's last layer has to
 * stream; the result is always f32. */
#include "nn/exec/lowering.h"

/* A product as oneDNN's inner product sees it: weights of dimensions [outputs, inputs]. */
struct product {
    const struct node *node;
    int x, weights, bias, y;
    int64_t rows, inputs, outputs;
    bool transposed; /* the constant is [outputs, inputs] as it stands */
};

static bool describe_gemm(const struct lowering *l, const struct node *node, struct product *p)
{
    int own = node->input_count - (node->fused.residual >= 0 ? 1 : 0);
    const struct shape *weights = lowering_shape(l, node->inputs[1]);

    p->node = node;
    p->x = node->inputs[0];
    p->weights = node->inputs[1];
    p->bias = own > 2 ? node->inputs[2] : -1;
    p->y = node->outputs[0];
    p->transposed = node->op == OP_GEMM && node->u.gemm.transpose_b;
    if (node->fused.residual >= 0 || !lowering_is_f32(l, p->x) ||
        lowering_shape(l, p->x)->rank != 2 || !lowering_is_constant(l, p->weights) ||
        weights->rank != 2)
        return false;
    if (node->op == OP_GEMM && (node->u.gemm.transpose_a || node->u.gemm.alpha != 1.0f ||
                                (p->bias >= 0 && node->u.gemm.beta != 1.0f)))
        return false;
    p->rows = lowering_shape(l, p->x)->dims[0];
    p->outputs = weights->dims[p->transposed ? 0 : 1];
    p->inputs = weights->dims[p->transposed ? 1 : 0];
    return p->bias < 0 || (lowering_is_constant(l, p->bias) &&
                           shape_elements(lowering_shape(l, p->bias)) == p->outputs);
}

/* A 1x1 convolution on a 1x1 map, seen as a product. */
static void describe_map(const struct lowering *l, const struct node *node, int bias,
                         struct product *p)
{
    const struct shape *weights = lowering_shape(l, node->inputs[1]);

    *p = (struct product){.node = node,
                          .x = node->inputs[0],
                          .weights = node->inputs[1],
                          .bias = bias,
                          .y = node->outputs[0],
                          .rows = lowering_shape(l, node->inputs[0])->dims[0],
                          .outputs = weights->dims[0],
                          .inputs = weights->dims[1],
                          .transposed = true};
}

static int describe_flat(const struct lowering *l, enum layout layout, int64_t rows,
                         int64_t columns, onednn_desc *out)
{
    struct shape shape = {.rank = 2, .dims = {rows, columns}};

    return lowering_desc(l, layout, &shape, out);
}

static enum layout source_layout(const struct lowering *l)
{
    return l->source->precision == PRECISION_BF16 ? LAYOUT_NHWC_BF16 : LAYOUT_PLAIN;
}

/* *out stays NULL where the library has no optimised implementation. */
static int try_product(struct lowering *l, const struct product *p, enum layout layout,
                       dnnl_primitive_desc_t *out)
{
    onednn_desc source, weights, bias, destination;
    dnnl_dims_t dims = {p->outputs, p->inputs};
    struct shape bias_shape = {.rank = 1, .dims = {p->outputs}};
    dnnl_post_ops_t ops = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    int status;

    onednn_desc_clear(&source);
    onednn_desc_clear(&weights);
    onednn_desc_clear(&bias);
    onednn_desc_clear(&destination);
    status = describe_flat(l, layout, p->rows, p->inputs, &source);
    if (status == STATUS_OK)
        status = describe_flat(l, LAYOUT_PLAIN, p->rows, p->outputs, &destination);
    if (status == STATUS_OK && p->bias >= 0)
        status = lowering_desc(l, LAYOUT_PLAIN, &bias_shape, &bias);
    if (status == STATUS_OK)
        status = onednn_check(onednn_desc_tag(&weights, 2, dims,
                                              layout == LAYOUT_NHWC_BF16 ? dnnl_bf16 : dnnl_f32,
                                              dnnl_format_tag_any),
                              "a descriptor", l->err);
    if (status == STATUS_OK)
        status = onednn_check(dnnl_post_ops_create(&ops), "post-ops", l->err);
    if (status == STATUS_OK)
        status = onednn_check(lowering_append_activation(ops, p->node->fused.activation,
                                                         p->node->fused.a, p->node->fused.b),
                              "an activation", l->err);
    if (status == STATUS_OK)
        status = onednn_check(lowering_attributes(ops, &attr), "attributes", l->err);
    if (status == STATUS_OK &&
        onednn_inner_product(&pd, l->source->engine, ONEDNN_REF(source), ONEDNN_REF(weights),
                             p->bias >= 0 ? ONEDNN_REF(bias) : NULL, ONEDNN_REF(destination),
                             attr) == dnnl_success)
        *out = lowering_optimised(pd);
    if (attr != NULL)
        dnnl_primitive_attr_destroy(attr);
    if (ops != NULL)
        dnnl_post_ops_destroy(ops);
    onednn_desc_free(&source);
    onednn_desc_free(&weights);
    onednn_desc_free(&bias);
    onednn_desc_free(&destination);
    return status;
}

static int add_constants(struct lowering *l, const struct product *p, onednn_desc_ref wanted,
                         int step)
{
    dnnl_dims_t dims = {p->outputs, p->inputs};
    dnnl_dims_t strides = {p->transposed ? p->inputs : 1, p->transposed ? 1 : p->outputs};
    struct shape bias_shape = {.rank = 1, .dims = {p->outputs}};
    onednn_desc plain, bias;
    dnnl_memory_t memory;
    int status = onednn_check(onednn_desc_strided(&plain, 2, dims, dnnl_f32, strides),
                              "a descriptor", l->err);

    if (status != STATUS_OK)
        return status;
    status =
        weights_memory(l->source->weights, p->weights, ONEDNN_REF(plain), wanted, &memory, l->err);
    onednn_desc_free(&plain);
    if (status == STATUS_OK)
        status = lowering_argument_memory(l, step, DNNL_ARG_WEIGHTS, memory);
    if (status != STATUS_OK || p->bias < 0)
        return status;
    status = lowering_desc(l, LAYOUT_PLAIN, &bias_shape, &bias);
    if (status != STATUS_OK)
        return status;
    status = weights_memory(l->source->weights, p->bias, ONEDNN_REF(bias), ONEDNN_REF(bias),
                            &memory, l->err);
    onednn_desc_free(&bias);
    return status == STATUS_OK ? lowering_argument_memory(l, step, DNNL_ARG_BIAS, memory) : status;
}

/* The source as [rows, inputs] in the layout: a 1x1 map is looked at flat first. */
static int obtain_flat(struct lowering *l, const struct product *p, enum layout layout)
{
    struct shape flat = {.rank = 2, .dims = {p->rows, p->inputs}};
    int plain, view, target;

    if (lowering_shape(l, p->x)->rank == 2)
        return lowering_obtain(l, p->x, layout);
    plain = lowering_obtain(l, p->x, LAYOUT_PLAIN);
    if (plain < 0)
        return plain;
    view = lowering_view(l, plain, LAYOUT_PLAIN, &flat);
    if (view < 0 || layout == LAYOUT_PLAIN)
        return view;
    target = lowering_tensor(l, layout, DTYPE_F32, &flat);
    if (target >= 0) {
        int status = lowering_reorder(l, view, target);
        if (status != STATUS_OK)
            return status;
    }
    return target;
}

static int add_product(struct lowering *l, const struct product *p, enum layout layout,
                       dnnl_primitive_desc_t pd)
{
    struct shape flat = {.rank = 2, .dims = {p->rows, p->outputs}};
    int source = obtain_flat(l, p, layout);
    int destination = source < 0 ? source : lowering_tensor(l, LAYOUT_PLAIN, DTYPE_F32, &flat);
    int step = destination < 0 ? destination : lowering_primitive(l, pd, op_name(p->node->op));
    int status = step < 0 ? step : lowering_argument(l, step, DNNL_ARG_SRC, source);

    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_DST, destination);
    if (status == STATUS_OK)
        status =
            add_constants(l, p, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), step);
    if (status != STATUS_OK)
        return status;
    lowering_note_activation(l, step, p->node->fused.activation);
    if (lowering_shape(l, p->y)->rank != 2) {
        destination = lowering_view(l, destination, LAYOUT_PLAIN, lowering_shape(l, p->y));
        if (destination < 0)
            return destination;
    }
    lowering_define(l, p->y, destination);
    return STATUS_OK;
}

static int lower_product(struct lowering *l, const struct product *p)
{
    enum layout layouts[] = {source_layout(l), LAYOUT_PLAIN};

    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        dnnl_primitive_desc_t pd = NULL;
        int status = try_product(l, p, layouts[i], &pd);
        if (status != STATUS_OK)
            return status;
        if (pd == NULL)
            continue;
        status = add_product(l, p, layouts[i], pd);
        dnnl_primitive_desc_destroy(pd);
        return status;
    }
    return LOWER_DECLINED;
}

int lower_gemm(struct lowering *l, const struct node *node)
{
    struct product p;

    return describe_gemm(l, node, &p) ? lower_product(l, &p) : LOWER_DECLINED;
}

int lower_map_product(struct lowering *l, const struct node *node, int bias)
{
    struct product p;

    describe_map(l, node, bias, &p);
    return lower_product(l, &p);
}
