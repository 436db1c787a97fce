/* The tools that lowerings share: see lowering.h. */
#include "nn/exec/lowering.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* Pictures of so few channels are packed by a kernel of ours; wider ones by the library. */
enum { PACK_CHANNELS_MAX = 4 };

const struct shape *lowering_shape(const struct lowering *l, int value)
{
    return &l->graph->values[value].shape;
}

bool lowering_is_constant(const struct lowering *l, int value)
{
    return l->graph->values[value].constant != NULL;
}

bool lowering_is_f32(const struct lowering *l, int value)
{
    const struct value *v = &l->graph->values[value];

    return v->constant == NULL && v->dtype == DTYPE_F32 && v->shape.rank >= 1 &&
           shape_elements(&v->shape) > 0;
}

static dnnl_format_tag_t layout_tag(const struct lowering *l, enum layout layout)
{
    if (layout == LAYOUT_BLOCKED)
        return l->source->lanes == 16 ? dnnl_nChw16c : dnnl_nChw8c;
    return dnnl_nhwc;
}

int lowering_desc(const struct lowering *l, enum layout layout, const struct shape *shape,
                  onednn_desc *out)
{
    dnnl_dims_t dims, strides;
    dnnl_data_type_t type = layout == LAYOUT_NHWC_BF16 ? dnnl_bf16 : dnnl_f32;
    dnnl_dim_t stride = 1;

    for (int d = shape->rank - 1; d >= 0; d--) {
        dims[d] = shape->dims[d];
        strides[d] = stride;
        stride *= dims[d];
    }
    if (layout == LAYOUT_PLAIN || (layout == LAYOUT_NHWC_BF16 && shape->rank == 2))
        return onednn_check(onednn_desc_strided(out, shape->rank, dims, type, strides),
                            "a row-major descriptor", l->err);
    assert(shape->rank == 4);
    return onednn_check(onednn_desc_tag(out, shape->rank, dims, type, layout_tag(l, layout)),
                        "an activation's descriptor", l->err);
}

int lowering_layouts(const struct lowering *l, enum layout out[LAYOUT_COUNT])
{
    int count = 0;

    if (l->source->precision == PRECISION_BF16)
        out[count++] = LAYOUT_NHWC_BF16;
    out[count++] = LAYOUT_BLOCKED;
    if (l->source->nhwc)
        out[count++] = LAYOUT_NHWC;
    out[count++] = LAYOUT_PLAIN;
    return count;
}

int lowering_layouts_of(const struct lowering *l, int value, enum layout out[LAYOUT_COUNT])
{
    enum layout wanted[LAYOUT_COUNT];
    int wanted_count = lowering_layouts(l, wanted);
    int count = 0;

    for (int there = 1; there >= 0; there--) {
        for (int i = 0; i < wanted_count; i++) {
            if ((l->values[value].tensors[wanted[i]] >= 0) == (there == 1))
                out[count++] = wanted[i];
        }
    }
    return count;
}

static int grow(void **items, int *capacity, int count, size_t size, struct error *err)
{
    void *grown;
    int wanted = *capacity == 0 ? 64 : *capacity * 2;

    if (count < *capacity)
        return STATUS_OK;
    grown = realloc(*items, (size_t)wanted * size);
    if (grown == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a plan");
    *items = grown;
    *capacity = wanted;
    return STATUS_OK;
}

/* Appends a tensor whose descriptor and size the caller sets. */
static int append_tensor(struct lowering *l, enum layout layout, enum dtype dtype,
                         const struct shape *shape)
{
    struct exec_plan *plan = l->plan;
    struct exec_tensor *tensor;
    int status = grow((void **)&plan->tensors, &plan->tensor_capacity, plan->tensor_count,
                      sizeof *plan->tensors, l->err);

    if (status != STATUS_OK)
        return status;
    tensor = &plan->tensors[plan->tensor_count];
    memset(tensor, 0, sizeof *tensor);
    tensor->layout = layout;
    tensor->dtype = dtype;
    tensor->shape = *shape;
    tensor->root = plan->tensor_count;
    tensor->first = -1;
    tensor->last = -1;
    return plan->tensor_count++;
}

int lowering_tensor(struct lowering *l, enum layout layout, enum dtype dtype,
                    const struct shape *shape)
{
    struct exec_tensor *tensor;
    int index = append_tensor(l, layout, dtype, shape);

    if (index < 0)
        return index;
    tensor = &l->plan->tensors[index];
    if (dtype == DTYPE_F32 && shape->rank >= 1 && shape_elements(shape) > 0) {
        int status = lowering_desc(l, layout, shape, &tensor->desc);
        if (status != STATUS_OK)
            return status;
        tensor->has_desc = true;
        tensor->size = dnnl_memory_desc_get_size(ONEDNN_REF(tensor->desc));
    } else {
        tensor->size = (size_t)shape_elements(shape) * dtype_size(dtype);
    }
    return index;
}

int lowering_view(struct lowering *l, int root, enum layout layout, const struct shape *shape)
{
    int index = lowering_tensor(l, layout, l->plan->tensors[root].dtype, shape);

    if (index >= 0)
        l->plan->tensors[index].root = l->plan->tensors[root].root;
    return index;
}

/* The library's reorder as a step; index or negative status. */
static int add_reorder(struct lowering *l, onednn_desc_ref source, onednn_desc_ref target)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr = NULL;
    int step, status = onednn_check(lowering_attributes(NULL, &attr), "attributes", l->err);

    if (status != STATUS_OK)
        return status;
    status = onednn_check(dnnl_reorder_primitive_desc_create(&pd, source, l->source->engine, target,
                                                             l->source->engine, attr),
                          "a reorder", l->err);
    dnnl_primitive_attr_destroy(attr);
    if (status != STATUS_OK)
        return status;
    step = lowering_primitive(l, pd, "reorder");
    dnnl_primitive_desc_destroy(pd);
    return step;
}

int lowering_reorder(struct lowering *l, int from, int to)
{
    const struct exec_tensor *source = &l->plan->tensors[from], *target = &l->plan->tensors[to];
    bool pack = source->layout == LAYOUT_PLAIN && target->layout == LAYOUT_NHWC_BF16 &&
                source->shape.rank == 4 && source->shape.dims[1] <= PACK_CHANNELS_MAX;
    int step = pack ? lowering_step(l, STEP_PACK, "pack")
                    : add_reorder(l, ONEDNN_REF(source->desc), ONEDNN_REF(target->desc));
    int status = step < 0 ? step : lowering_argument(l, step, DNNL_ARG_SRC, from);

    return status == STATUS_OK ? lowering_argument(l, step, DNNL_ARG_DST, to) : status;
}

/* Some layout the value has; every value read has one. */
static int any_tensor(const struct lowering *l, int value)
{
    for (int layout = 0; layout < LAYOUT_COUNT; layout++) {
        if (l->values[value].tensors[layout] >= 0)
            return l->values[value].tensors[layout];
    }
    assert(!"a value is read before it is made");
    return -1;
}

/* The value in a layout it does not have, in memory that only the caller knows of. */
static int reordered(struct lowering *l, int value, enum layout layout)
{
    int from = any_tensor(l, value);
    int to = lowering_tensor(l, layout, DTYPE_F32, lowering_shape(l, value));

    if (to >= 0) {
        int status = lowering_reorder(l, from, to);
        if (status != STATUS_OK)
            return status;
    }
    return to;
}

int lowering_obtain(struct lowering *l, int value, enum layout layout)
{
    int tensor = l->values[value].tensors[layout];

    if (tensor < 0) {
        tensor = reordered(l, value, layout);
        if (tensor >= 0)
            l->values[value].tensors[layout] = tensor;
    }
    return tensor;
}

int lowering_copy(struct lowering *l, int tensor)
{
    struct shape shape = l->plan->tensors[tensor].shape;
    int copy = lowering_tensor(l, l->plan->tensors[tensor].layout, DTYPE_F32, &shape);
    int status = copy < 0 ? copy : lowering_reorder(l, tensor, copy);

    return status == STATUS_OK ? copy : status;
}

int lowering_obtain_writable(struct lowering *l, int value, enum layout layout)
{
    int tensor = l->values[value].tensors[layout];

    if (tensor < 0)
        return reordered(l, value, layout);
    return lowering_is_last_use(l, tensor) ? tensor : lowering_copy(l, tensor);
}

static int reads_of(const struct node *node, int value)
{
    int reads = 0;

    for (int i = 0; i < node->input_count; i++)
        reads += node->inputs[i] == value;
    return reads;
}

bool lowering_is_last_use(const struct lowering *l, int tensor)
{
    int root = l->plan->tensors[tensor].root;

    if (root == l->plan->input)
        return false;
    for (int v = 0; v < l->graph->value_count; v++) {
        for (int layout = 0; layout < LAYOUT_COUNT; layout++) {
            int other = l->values[v].tensors[layout];
            if (other >= 0 && l->plan->tensors[other].root == root &&
                l->values[v].uses > reads_of(l->node, v))
                return false;
        }
    }
    return true;
}

void lowering_define(struct lowering *l, int value, int tensor)
{
    l->values[value].tensors[l->plan->tensors[tensor].layout] = tensor;
}

int lowering_step(struct lowering *l, enum step_kind kind, const char *operator_name)
{
    struct exec_plan *plan = l->plan;
    struct step *step;
    int status = grow((void **)&plan->steps, &plan->step_capacity, plan->step_count,
                      sizeof *plan->steps, l->err);

    if (status != STATUS_OK)
        return status;
    step = &plan->steps[plan->step_count];
    memset(step, 0, sizeof *step);
    step->kind = kind;
    step->node = l->node;
    step->operator_name = operator_name;
    snprintf(step->implementation, sizeof step->implementation, "%s",
             kind == STEP_REFERENCE ? "plain loops" : l->source->kernels.name);
    return plan->step_count++;
}

static int append_argument(struct lowering *l, int step, struct step_argument argument)
{
    struct step *s = &l->plan->steps[step];
    struct step_argument *grown =
        realloc(s->arguments, (size_t)(s->argument_count + 1) * sizeof *grown);

    if (grown == NULL)
        return error_set(l->err, STATUS_NO_MEMORY, "no memory for a plan");
    s->arguments = grown;
    s->arguments[s->argument_count++] = argument;
    return STATUS_OK;
}

int lowering_argument(struct lowering *l, int step, int role, int tensor)
{
    return append_argument(l, step, (struct step_argument){.role = role, .tensor = tensor});
}

int lowering_argument_memory(struct lowering *l, int step, int role, dnnl_memory_t memory)
{
    return append_argument(l, step,
                           (struct step_argument){.role = role, .tensor = -1, .memory = memory});
}

int lowering_argument_data(struct lowering *l, int step, int role, const void *data)
{
    return append_argument(l, step,
                           (struct step_argument){.role = role, .tensor = -1, .data = data});
}

const char *onednn_implementation(dnnl_primitive_desc_t pd)
{
    const char *name = NULL;

    if (dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name) != dnnl_success ||
        name == NULL)
        return "unknown";
    return name;
}

dnnl_primitive_desc_t lowering_optimised(dnnl_primitive_desc_t pd)
{
    if (strncmp(onednn_implementation(pd), "ref", 3) != 0)
        return pd;
    dnnl_primitive_desc_destroy(pd);
    return NULL;
}

int lowering_first_of(struct lowering *l, const struct node *node, const enum layout *layouts,
                      int count, lowering_attempt attempt, lowering_addition add)
{
    for (int i = 0; i < count; i++) {
        dnnl_primitive_desc_t pd = NULL;
        int status = attempt(l, node, layouts[i], &pd);
        if (status != STATUS_OK)
            return status;
        if (pd == NULL)
            continue;
        status = add(l, node, layouts[i], pd);
        dnnl_primitive_desc_destroy(pd);
        return status;
    }
    return LOWER_DECLINED;
}

static int add_scratchpad(struct lowering *l, dnnl_primitive_desc_t pd, int step)
{
    onednn_desc_ref desc = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    size_t size = desc == NULL ? 0 : dnnl_memory_desc_get_size(desc);
    struct shape shape = {.rank = 1, .dims = {(int64_t)size}};
    int tensor, status;

    if (size == 0)
        return STATUS_OK;
    tensor = append_tensor(l, LAYOUT_SCRATCH, DTYPE_U8, &shape);
    if (tensor < 0)
        return tensor;
    status = onednn_check(onednn_desc_copy(&l->plan->tensors[tensor].desc, desc), "a descriptor",
                          l->err);
    if (status != STATUS_OK)
        return status;
    l->plan->tensors[tensor].has_desc = true;
    l->plan->tensors[tensor].size = size;
    return lowering_argument(l, step, DNNL_ARG_SCRATCHPAD, tensor);
}

int lowering_primitive(struct lowering *l, dnnl_primitive_desc_t pd, const char *operator_name)
{
    int step = lowering_step(l, STEP_PRIMITIVE, operator_name);
    int status = step < 0 ? step : STATUS_OK;

    if (status == STATUS_OK) {
        struct step *s = &l->plan->steps[step];
        snprintf(s->implementation, sizeof s->implementation, "%s", onednn_implementation(pd));
        status = onednn_check(dnnl_primitive_create(&s->primitive, pd), operator_name, l->err);
    }
    if (status == STATUS_OK)
        status = add_scratchpad(l, pd, step);
    return status == STATUS_OK ? step : status;
}

void lowering_note_activation(struct lowering *l, int step, enum activation activation)
{
    struct step *s = &l->plan->steps[step];

    if (activation != ACTIVATION_NONE)
        snprintf(s->fused, sizeof s->fused, "+%s", activation_name(activation));
}

float *lowering_floats(struct lowering *l, size_t count)
{
    struct exec_plan *plan = l->plan;
    float **grown = realloc(plan->owned, (size_t)(plan->owned_count + 1) * sizeof *grown);
    float *floats;

    if (grown == NULL)
        return NULL;
    plan->owned = grown;
    floats = calloc(count, sizeof *floats);
    if (floats != NULL)
        plan->owned[plan->owned_count++] = floats;
    return floats;
}

dnnl_status_t lowering_attributes(const_dnnl_post_ops_t ops, dnnl_primitive_attr_t *out)
{
    dnnl_status_t status = dnnl_primitive_attr_create(out);

    if (status != dnnl_success)
        return status;
    status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && ops != NULL)
        status = dnnl_primitive_attr_set_post_ops(*out, ops);
    if (status != dnnl_success)
        dnnl_primitive_attr_destroy(*out);
    return status;
}

dnnl_status_t lowering_append_activation(dnnl_post_ops_t ops, enum activation activation, float a,
                                         float b)
{
    dnnl_status_t status;

    switch (activation) {
    case ACTIVATION_NONE:
        return dnnl_success;
    case ACTIVATION_RELU:
        return onednn_append_eltwise(ops, dnnl_eltwise_relu, 0.0f, 0.0f);
    case ACTIVATION_LEAKY_RELU:
        return onednn_append_eltwise(ops, dnnl_eltwise_relu, a, 0.0f);
    case ACTIVATION_CLIP:
        return onednn_append_eltwise(ops, dnnl_eltwise_clip, a, b);
    case ACTIVATION_SWISH:
        return onednn_append_eltwise(ops, dnnl_eltwise_swish, 1.0f, 0.0f);
    case ACTIVATION_SIGMOID:
        return onednn_append_eltwise(ops, dnnl_eltwise_logistic, 0.0f, 0.0f);
    case ACTIVATION_HARD_SWISH:
        return onednn_append_hard_swish(ops);
    case ACTIVATION_HARD_SIGMOID:
        status = onednn_append_eltwise(ops, dnnl_eltwise_linear, a, b);
        return status != dnnl_success ? status
                                      : onednn_append_eltwise(ops, dnnl_eltwise_clip, 0.0f, 1.0f);
    }
    return dnnl_unimplemented;
}
