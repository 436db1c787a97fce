/* Operators that work element by element or channel by channel: activations that stand alone,
 * arithmetic of two activations, squeeze-and-excite's scaling, batch norms that nothing absorbed.
 */
#include <math.h>
#include <stdio.h>

#include "nn/exec/lowering.h"

bool lowering_own_swish(const struct lowering *l)
{
    return l->source->precision == PRECISION_BF16 ? l->source->kernels.fast_bf16
                                                  : l->source->kernels.fast_f32;
}

int lowering_swish(struct lowering *l, int tensor)
{
    int step = lowering_step(l, STEP_SWISH, "swish");

    return step < 0 ? step : lowering_argument(l, step, DNNL_ARG_DST, tensor);
}

/* The library's name of an activation that stands alone; hard sigmoid and tanh have special cases.
 */
static bool eltwise_of(const struct node *node, dnnl_alg_kind_t *kind, float *alpha, float *beta)
{
    *alpha = 0.0f;
    *beta = 0.0f;
    switch (node->op) {
    case OP_RELU:
        *kind = dnnl_eltwise_relu;
        return true;
    case OP_LEAKY_RELU:
        *kind = dnnl_eltwise_relu;
        *alpha = node->u.scalar.alpha;
        return true;
    case OP_CLIP:
        *kind = dnnl_eltwise_clip;
        *alpha = node->u.clip.low;
        *beta = node->u.clip.high;
        return true;
    case OP_SIGMOID:
        *kind = dnnl_eltwise_logistic;
        return true;
    case OP_TANH:
        *kind = dnnl_eltwise_tanh;
        return true;
    case OP_SWISH:
        *kind = dnnl_eltwise_swish;
        *alpha = 1.0f;
        return true;
    case OP_HARD_SWISH:
        *kind = dnnl_eltwise_hardswish;
        *alpha = 1.0f / 6.0f;
        *beta = 0.5f;
        return true;
    default:
        return false;
    }
}

/* Pictures may be in any layout; everything else is row-major. */
static int layouts_for(const struct lowering *l, int value, enum layout out[LAYOUT_COUNT])
{
    if (lowering_shape(l, value)->rank == 4)
        return lowering_layouts_of(l, value, out);
    out[0] = LAYOUT_PLAIN;
    return 1;
}

static int try_eltwise(struct lowering *l, const struct node *node, enum layout layout,
                       dnnl_primitive_desc_t *out)
{
    onednn_desc desc;
    dnnl_alg_kind_t kind;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    float alpha, beta;
    int status;

    if (!eltwise_of(node, &kind, &alpha, &beta))
        return STATUS_OK;
    status = lowering_desc(l, layout, lowering_shape(l, node->inputs[0]), &desc);
    if (status != STATUS_OK)
        return status;
    status = onednn_check(lowering_attributes(NULL, &attr), "attributes", l->err);
    if (status == STATUS_OK && onednn_eltwise(&pd, l->source->engine, kind, ONEDNN_REF(desc), alpha,
                                              beta, attr) == dnnl_success)
        *out = lowering_optimised(pd);
    if (attr != NULL)
        dnnl_primitive_attr_destroy(attr);
    onednn_desc_free(&desc);
    return status;
}

/* Runs in place where nobody else reads the input, else over a copy. */
static int add_eltwise(struct lowering *l, const struct node *node, enum layout layout,
                       dnnl_primitive_desc_t pd)
{
    int tensor = lowering_obtain_writable(l, node->inputs[0], layout);
    int step = tensor < 0 ? tensor : lowering_primitive(l, pd, op_name(node->op));
    int status = step < 0 ? step : lowering_argument(l, step, DNNL_ARG_SRC, tensor);

    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_DST, tensor);
    if (status == STATUS_OK)
        lowering_define(l, node->outputs[0], tensor);
    return status;
}

int lower_activation(struct lowering *l, const struct node *node)
{
    enum layout layouts[LAYOUT_COUNT];
    int count;

    if (!lowering_is_f32(l, node->inputs[0]))
        return LOWER_DECLINED;
    count = layouts_for(l, node->inputs[0], layouts);
    if (node->op == OP_SWISH && lowering_own_swish(l)) {
        int tensor = lowering_obtain_writable(l, node->inputs[0], layouts[0]);
        if (tensor < 0)
            return tensor;
        lowering_define(l, node->outputs[0], tensor);
        return lowering_swish(l, tensor);
    }
    return lowering_first_of(l, node, layouts, count, try_eltwise, add_eltwise);
}

/* [n, c, 1, 1] against [n, c, h, w] */
static bool is_channel_vector(const struct shape *vector, const struct shape *x)
{
    return x->rank == 4 && vector->rank == 4 && vector->dims[0] == x->dims[0] &&
           vector->dims[1] == x->dims[1] && vector->dims[2] == 1 && vector->dims[3] == 1;
}

/* Squeeze-and-excite: every channel of every image by a factor of its own, in place. */
static int lower_excite(struct lowering *l, const struct node *node, int x, int factors)
{
    enum layout layouts[LAYOUT_COUNT];
    int tensor, vector, step, status;

    (void)lowering_layouts_of(l, x, layouts);
    tensor = lowering_obtain_writable(l, x, layouts[0]);
    vector = tensor < 0 ? tensor : lowering_obtain(l, factors, LAYOUT_PLAIN);
    step = vector < 0 ? vector : lowering_step(l, STEP_SCALE, "scale");
    status = step < 0 ? step : lowering_argument(l, step, DNNL_ARG_SRC, tensor);
    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_WEIGHTS, vector);
    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_DST, tensor);
    if (status == STATUS_OK)
        lowering_define(l, node->outputs[0], tensor);
    return status;
}

static int try_binary(struct lowering *l, const struct node *node, enum layout layout,
                      dnnl_primitive_desc_t *out)
{
    static const dnnl_alg_kind_t kinds[] = {[OP_ADD] = dnnl_binary_add,
                                            [OP_SUB] = dnnl_binary_sub,
                                            [OP_MUL] = dnnl_binary_mul,
                                            [OP_DIV] = dnnl_binary_div};
    onednn_desc desc;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    int status = lowering_desc(l, layout, lowering_shape(l, node->inputs[0]), &desc);

    if (status != STATUS_OK)
        return status;
    status = onednn_check(lowering_attributes(NULL, &attr), "attributes", l->err);
    if (status == STATUS_OK &&
        onednn_binary(&pd, l->source->engine, kinds[node->op], ONEDNN_REF(desc), ONEDNN_REF(desc),
                      ONEDNN_REF(desc), attr) == dnnl_success)
        *out = lowering_optimised(pd);
    if (attr != NULL)
        dnnl_primitive_attr_destroy(attr);
    onednn_desc_free(&desc);
    return status;
}

static int add_binary(struct lowering *l, const struct node *node, enum layout layout,
                      dnnl_primitive_desc_t pd)
{
    int right = lowering_obtain(l, node->inputs[1], layout);
    int left = right < 0 ? right : lowering_obtain_writable(l, node->inputs[0], layout);
    int step = left < 0 ? left : lowering_primitive(l, pd, op_name(node->op));
    int status = step < 0 ? step : lowering_argument(l, step, DNNL_ARG_SRC_0, left);

    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_SRC_1, right);
    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_DST, left);
    if (status == STATUS_OK)
        lowering_define(l, node->outputs[0], left);
    return status;
}

int lower_binary(struct lowering *l, const struct node *node)
{
    int left = node->inputs[0], right = node->inputs[1];
    enum layout layouts[LAYOUT_COUNT];
    int count;

    if (!lowering_is_f32(l, left) || !lowering_is_f32(l, right))
        return LOWER_DECLINED;
    if (!shape_equal(lowering_shape(l, left), lowering_shape(l, right))) {
        if (node->op == OP_MUL &&
            is_channel_vector(lowering_shape(l, right), lowering_shape(l, left)))
            return lower_excite(l, node, left, right);
        if (node->op == OP_MUL &&
            is_channel_vector(lowering_shape(l, left), lowering_shape(l, right)))
            return lower_excite(l, node, right, left);
        return LOWER_DECLINED;
    }
    count = layouts_for(l, left, layouts);
    return lowering_first_of(l, node, layouts, count, try_binary, add_binary);
}

/* Scale and shift per channel, repeated for every image, so that the kernel's vectors are always
 * [n, c]. */
static int norm_vectors(struct lowering *l, const struct node *node, float **scale, float **shift)
{
    const struct tensor *parts[4]; /* scale, bias, mean, variance */
    int64_t images = lowering_shape(l, node->inputs[0])->dims[0];
    int64_t channels = lowering_shape(l, node->inputs[0])->dims[1];

    for (int i = 0; i < 4; i++) {
        int status = weights_tensor(l->source->weights, node->inputs[i + 1], &parts[i], l->err);
        if (status != STATUS_OK)
            return status;
    }
    *scale = lowering_floats(l, (size_t)(images * channels));
    *shift = lowering_floats(l, (size_t)(images * channels));
    if (*scale == NULL || *shift == NULL)
        return error_set(l->err, STATUS_NO_MEMORY, "no memory for a batch norm");
    for (int64_t i = 0; i < images * channels; i++) {
        int64_t c = i % channels;
        float factor = ((const float *)parts[0]->data)[c] /
                       sqrtf(((const float *)parts[3]->data)[c] + node->u.batch_norm.epsilon);
        (*scale)[i] = factor;
        (*shift)[i] =
            ((const float *)parts[1]->data)[c] - factor * ((const float *)parts[2]->data)[c];
    }
    return STATUS_OK;
}

int lower_batch_norm(struct lowering *l, const struct node *node)
{
    enum layout layouts[LAYOUT_COUNT];
    float *scale, *shift;
    int step, tensor, status;

    if (!lowering_is_f32(l, node->inputs[0]) || lowering_shape(l, node->inputs[0])->rank != 4)
        return LOWER_DECLINED;
    for (int i = 1; i < 5; i++) {
        if (!lowering_is_constant(l, node->inputs[i]))
            return LOWER_DECLINED;
    }
    status = norm_vectors(l, node, &scale, &shift);
    if (status != STATUS_OK)
        return status;
    (void)lowering_layouts_of(l, node->inputs[0], layouts);
    tensor = lowering_obtain_writable(l, node->inputs[0], layouts[0]);
    if (tensor < 0)
        return tensor;
    step = lowering_step(l, STEP_SCALE, op_name(node->op));
    status = step < 0 ? step : lowering_argument(l, step, DNNL_ARG_SRC, tensor);
    if (status == STATUS_OK)
        status = lowering_argument_data(l, step, DNNL_ARG_WEIGHTS, scale);
    if (status == STATUS_OK)
        status = lowering_argument_data(l, step, DNNL_ARG_BIAS, shift);
    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_DST, tensor);
    if (status == STATUS_OK)
        lowering_define(l, node->outputs[0], tensor);
    return status;
}
