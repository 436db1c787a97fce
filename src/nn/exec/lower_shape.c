/* Pools, joins, views, softmax, and the way out for everything else: the reference executor. */
#include <stdlib.h>

#include "nn/exec/lowering.h"

/* The padding after, that makes the library's arithmetic give the graph's output size; less than
 * the node's own when a stride leaves a rest, more with ceil_mode. */
static void describe_window(const struct lowering *l, const struct node *node,
                            struct onednn_window *out)
{
    const struct window *window = &node->u.pool.window;
    const struct shape *x = lowering_shape(l, node->inputs[0]);
    const struct shape *y = lowering_shape(l, node->outputs[0]);

    for (int d = 0; d < 2; d++) {
        out->kernel[d] = window->kernel[d];
        out->stride[d] = window->stride[d];
        out->dilation[d] = window->dilation[d] - 1;
        out->pad_before[d] = window->pad[d];
        out->pad_after[d] = (y->dims[d + 2] - 1) * window->stride[d] +
                            (window->kernel[d] - 1) * window->dilation[d] + 1 - x->dims[d + 2] -
                            window->pad[d];
    }
}

/* Whether a window of the pool can reach beyond the node's own padding: then the two sides count
 * different elements, or take a maximum over none. */
static bool is_plain_window(const struct node *node, const struct onednn_window *window)
{
    for (int d = 0; d < 2; d++) {
        if (window->pad_after[d] > node->u.pool.window.pad[d + 2] || window->dilation[d] != 0 ||
            window->pad_before[d] >= window->kernel[d] || window->pad_after[d] >= window->kernel[d])
            return false;
    }
    return true;
}

static int try_pool(struct lowering *l, const struct node *node, enum layout layout,
                    dnnl_primitive_desc_t *out)
{
    struct onednn_window window;
    dnnl_alg_kind_t algorithm = dnnl_pooling_max;
    onednn_desc source, destination;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    int status = lowering_desc(l, layout, lowering_shape(l, node->inputs[0]), &source);

    if (status != STATUS_OK)
        return status;
    status = lowering_desc(l, layout, lowering_shape(l, node->outputs[0]), &destination);
    if (status != STATUS_OK) {
        onednn_desc_free(&source);
        return status;
    }
    describe_window(l, node, &window);
    if (node->op == OP_AVERAGE_POOL)
        algorithm = node->u.pool.count_include_pad ? dnnl_pooling_avg_include_padding
                                                   : dnnl_pooling_avg_exclude_padding;
    status = onednn_check(lowering_attributes(NULL, &attr), "attributes", l->err);
    if (status == STATUS_OK && onednn_pool(&pd, l->source->engine, algorithm, ONEDNN_REF(source),
                                           ONEDNN_REF(destination), &window, attr) == dnnl_success)
        *out = lowering_optimised(pd);
    if (attr != NULL)
        dnnl_primitive_attr_destroy(attr);
    onednn_desc_free(&source);
    onednn_desc_free(&destination);
    return status;
}

static int add_pool(struct lowering *l, const struct node *node, enum layout layout,
                    dnnl_primitive_desc_t pd)
{
    int source = lowering_obtain(l, node->inputs[0], layout);
    int destination =
        source < 0 ? source
                   : lowering_tensor(l, layout, DTYPE_F32, lowering_shape(l, node->outputs[0]));
    int step = destination < 0 ? destination : lowering_primitive(l, pd, op_name(node->op));
    int status = step < 0 ? step : lowering_argument(l, step, DNNL_ARG_SRC, source);

    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_DST, destination);
    if (status == STATUS_OK)
        lowering_define(l, node->outputs[0], destination);
    return status;
}

int lower_pool(struct lowering *l, const struct node *node)
{
    struct onednn_window window;
    enum layout layouts[LAYOUT_COUNT];
    int count;

    if (!lowering_is_f32(l, node->inputs[0]) || lowering_shape(l, node->inputs[0])->rank != 4)
        return LOWER_DECLINED;
    describe_window(l, node, &window);
    if (!is_plain_window(node, &window))
        return LOWER_DECLINED;
    count = lowering_layouts_of(l, node->inputs[0], layouts);
    return lowering_first_of(l, node, layouts, count, try_pool, add_pool);
}

/* Whether the last step is the swish that made the tensor: the pool then joins its pass. */
static bool is_swish_of(const struct step *last, int tensor)
{
    return last->kind == STEP_SWISH && last->argument_count == 1 &&
           last->arguments[0].tensor == tensor;
}

int lower_global_average_pool(struct lowering *l, const struct node *node)
{
    enum layout layouts[LAYOUT_COUNT];
    int step, source, destination, status;

    if (!lowering_is_f32(l, node->inputs[0]) || lowering_shape(l, node->inputs[0])->rank != 4)
        return LOWER_DECLINED;
    (void)lowering_layouts_of(l, node->inputs[0], layouts);
    source = lowering_obtain(l, node->inputs[0], layouts[0]);
    if (source < 0)
        return source;
    destination = lowering_tensor(l, LAYOUT_PLAIN, DTYPE_F32, lowering_shape(l, node->outputs[0]));
    if (destination < 0)
        return destination;
    lowering_define(l, node->outputs[0], destination);
    step = l->plan->step_count - 1;
    if (step >= 0 && is_swish_of(&l->plan->steps[step], source)) {
        l->plan->steps[step].operator_name = "swish+mean";
        return lowering_argument(l, step, DNNL_ARG_DST_1, destination);
    }
    step = lowering_step(l, STEP_MEAN, op_name(node->op));
    status = step < 0 ? step : lowering_argument(l, step, DNNL_ARG_SRC, source);
    return status == STATUS_OK ? lowering_argument(l, step, DNNL_ARG_DST, destination) : status;
}

/* Another shape over the same row-major bytes costs nothing. */
int lower_view(struct lowering *l, const struct node *node)
{
    int value = node->inputs[0], source, view;

    if (!lowering_is_f32(l, value))
        return LOWER_DECLINED;
    if (shape_equal(lowering_shape(l, value), lowering_shape(l, node->outputs[0]))) {
        l->values[node->outputs[0]] =
            (struct value_state){.uses = l->values[node->outputs[0]].uses};
        memcpy(l->values[node->outputs[0]].tensors, l->values[value].tensors,
               sizeof l->values[value].tensors);
        return STATUS_OK;
    }
    source = lowering_obtain(l, value, LAYOUT_PLAIN);
    if (source < 0)
        return source;
    view = lowering_view(l, source, LAYOUT_PLAIN, lowering_shape(l, node->outputs[0]));
    if (view < 0)
        return view;
    lowering_define(l, node->outputs[0], view);
    return STATUS_OK;
}

/* Channel joins in the layout of the first part, where the library has a fast one. */
static int try_concat(struct lowering *l, const struct node *node, enum layout layout,
                      dnnl_primitive_desc_t *out)
{
    onednn_desc *parts = calloc((size_t)node->input_count, sizeof *parts);
    onednn_desc whole;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    int status = STATUS_OK;

    if (parts == NULL)
        return error_set(l->err, STATUS_NO_MEMORY, "no memory for a plan");
    onednn_desc_clear(&whole);
    for (int i = 0; i < node->input_count && status == STATUS_OK; i++)
        status = lowering_desc(l, layout, lowering_shape(l, node->inputs[i]), &parts[i]);
    if (status == STATUS_OK)
        status = lowering_desc(l, layout, lowering_shape(l, node->outputs[0]), &whole);
    if (status == STATUS_OK)
        status = onednn_check(lowering_attributes(NULL, &attr), "attributes", l->err);
    if (status == STATUS_OK && onednn_concat(&pd, l->source->engine, ONEDNN_REF(whole),
                                             node->input_count, 1, parts, attr) == dnnl_success)
        *out = lowering_optimised(pd);
    if (attr != NULL)
        dnnl_primitive_attr_destroy(attr);
    for (int i = 0; i < node->input_count; i++)
        onednn_desc_free(&parts[i]);
    onednn_desc_free(&whole);
    free(parts);
    return status;
}

/* All parts are there before the step that reads them is. */
static int add_concat(struct lowering *l, const struct node *node, enum layout layout,
                      dnnl_primitive_desc_t pd)
{
    int step, destination, status = STATUS_OK;

    for (int i = 0; i < node->input_count && status >= 0; i++)
        status = lowering_obtain(l, node->inputs[i], layout);
    if (status < 0)
        return status;
    destination = lowering_tensor(l, layout, DTYPE_F32, lowering_shape(l, node->outputs[0]));
    step = destination < 0 ? destination : lowering_primitive(l, pd, op_name(node->op));
    status = step < 0 ? step : STATUS_OK;
    for (int i = 0; i < node->input_count && status == STATUS_OK; i++)
        status = lowering_argument(l, step, DNNL_ARG_MULTIPLE_SRC + i,
                                   lowering_obtain(l, node->inputs[i], layout));
    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_DST, destination);
    if (status == STATUS_OK)
        lowering_define(l, node->outputs[0], destination);
    return status;
}

int lower_concat(struct lowering *l, const struct node *node)
{
    enum layout layouts[LAYOUT_COUNT];
    int count;

    for (int i = 0; i < node->input_count; i++) {
        if (!lowering_is_f32(l, node->inputs[i]) || lowering_shape(l, node->inputs[i])->rank != 4)
            return LOWER_DECLINED;
    }
    if (node->u.axis.axis != 1 && node->u.axis.axis != -3)
        return LOWER_DECLINED;
    count = lowering_layouts_of(l, node->inputs[0], layouts);
    return lowering_first_of(l, node, layouts, count, try_concat, add_concat);
}

int lower_softmax(struct lowering *l, const struct node *node)
{
    const struct shape *shape = lowering_shape(l, node->inputs[0]);
    int tensor, step;

    if (!lowering_is_f32(l, node->inputs[0]) ||
        (node->u.axis.axis != -1 && node->u.axis.axis != shape->rank - 1))
        return LOWER_DECLINED;
    tensor = lowering_obtain_writable(l, node->inputs[0], LAYOUT_PLAIN);
    if (tensor < 0)
        return tensor;
    step = lowering_step(l, STEP_SOFTMAX, op_name(node->op));
    if (step < 0)
        return step;
    lowering_define(l, node->outputs[0], tensor);
    return lowering_argument(l, step, DNNL_ARG_DST, tensor);
}

/* The constant an input is, for a reference step; STATUS_OK with NULL for what flows. */
static int constant_of(struct lowering *l, int value, const struct tensor **out)
{
    *out = NULL;
    return lowering_is_constant(l, value) ? weights_tensor(l->source->weights, value, out, l->err)
                                          : STATUS_OK;
}

int lower_reference(struct lowering *l, const struct node *node)
{
    int y = node->outputs[0], step, destination, status = STATUS_OK;

    /* All inputs are there before the step that reads them is. */
    for (int i = 0; i < node->input_count && status >= 0; i++) {
        if (node->inputs[i] >= 0 && !lowering_is_constant(l, node->inputs[i]))
            status = lowering_obtain(l, node->inputs[i], LAYOUT_PLAIN);
    }
    if (status < 0)
        return status;
    destination = lowering_tensor(l, LAYOUT_PLAIN, l->graph->values[y].dtype, lowering_shape(l, y));
    step = destination < 0 ? destination : lowering_step(l, STEP_REFERENCE, op_name(node->op));
    status = step < 0 ? step : STATUS_OK;
    for (int i = 0; i < node->input_count && status == STATUS_OK; i++) {
        const struct tensor *constant;
        if (node->inputs[i] < 0)
            continue;
        status = constant_of(l, node->inputs[i], &constant);
        if (status == STATUS_OK)
            status = constant != NULL
                         ? lowering_argument_data(l, step, i, constant)
                         : lowering_argument(l, step, i,
                                             lowering_obtain(l, node->inputs[i], LAYOUT_PLAIN));
    }
    if (status == STATUS_OK)
        status = lowering_argument(l, step, DNNL_ARG_DST, destination);
    if (status == STATUS_OK)
        lowering_define(l, y, destination);
    return status;
}
