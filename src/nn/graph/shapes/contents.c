/* Knowing integer tensors before the run: see shapes.h. Only what exporters put between a Shape and
 * a Reshape is followed; everything else is simply not known. */
#include "nn/graph/shapes/shapes.h"

void contents_of_constant(const struct tensor *tensor, struct contents *out)
{
    const int64_t count = shape_elements(&tensor->shape);

    out->known = (tensor->dtype == DTYPE_I64 || tensor->dtype == DTYPE_I32) &&
                 tensor->shape.rank <= 1 && count <= CONTENTS_MAX;
    if (!out->known)
        return;
    out->count = (int)count;
    for (int i = 0; i < out->count; i++)
        out->items[i] = tensor->dtype == DTYPE_I64 ? ((const int64_t *)tensor->data)[i]
                                                   : ((const int32_t *)tensor->data)[i];
}

static void contents_of_shape(const struct shape *shape, struct contents *out)
{
    out->known = true;
    out->count = shape->rank;
    for (int i = 0; i < shape->rank; i++)
        out->items[i] = shape->dims[i] == DIM_ANY ? CONTENTS_OPEN : shape->dims[i];
}

static void contents_of_gather(const struct contents *x, const struct contents *indices,
                               struct contents *out)
{
    struct contents result = {.known = x->known && indices->known, .count = indices->count};

    for (int i = 0; result.known && i < indices->count; i++) {
        const int index = axis_normalise(indices->items[i], x->count);
        result.known = index >= 0;
        if (result.known)
            result.items[i] = x->items[index];
    }
    *out = result;
}

static void contents_of_concat(const struct node *node, const struct contents *all,
                               struct contents *out)
{
    struct contents result = {.known = true};

    for (int i = 0; result.known && i < node->input_count; i++) {
        const struct contents *part = &all[node->inputs[i]];
        result.known = part->known && result.count + part->count <= CONTENTS_MAX;
        for (int j = 0; result.known && j < part->count; j++)
            result.items[result.count++] = part->items[j];
    }
    *out = result;
}

static int64_t arithmetic(enum op op, int64_t a, int64_t b)
{
    int64_t result = CONTENTS_OPEN;

    if (a == CONTENTS_OPEN || b == CONTENTS_OPEN)
        return CONTENTS_OPEN;
    if (op == OP_ADD)
        return __builtin_add_overflow(a, b, &result) ? CONTENTS_OPEN : result;
    if (op == OP_SUB)
        return __builtin_sub_overflow(a, b, &result) ? CONTENTS_OPEN : result;
    if (op == OP_MUL)
        return __builtin_mul_overflow(a, b, &result) ? CONTENTS_OPEN : result;
    return b == 0 || b == -1 ? CONTENTS_OPEN : a / b;
}

static void contents_of_arithmetic(enum op op, const struct contents *a, const struct contents *b,
                                   struct contents *out)
{
    struct contents result = {.known = a->known && b->known &&
                                       (a->count == b->count || a->count == 1 || b->count == 1)};

    result.count = a->count > b->count ? a->count : b->count;
    for (int i = 0; result.known && i < result.count; i++)
        result.items[i] =
            arithmetic(op, a->items[a->count == 1 ? 0 : i], b->items[b->count == 1 ? 0 : i]);
    *out = result;
}

void contents_infer(const struct graph *graph, const struct node *node, const struct shape *shape,
                    struct contents *all)
{
    struct contents *out = &all[node->outputs[0]];
    const struct contents *x = &all[node->inputs[0]];

    *out = (struct contents){.known = false};
    if (shape->rank > 1)
        return;
    switch (node->op) {
    case OP_SHAPE:
        contents_of_shape(&graph->values[node->inputs[0]].shape, out);
        break;
    case OP_GATHER:
        contents_of_gather(x, &all[node->inputs[1]], out);
        break;
    case OP_CONCAT:
        contents_of_concat(node, all, out);
        break;
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_DIV:
        contents_of_arithmetic(node->op, x, &all[node->inputs[1]], out);
        break;
    case OP_SQUEEZE: /* between a scalar and one element: the elements stay */
    case OP_UNSQUEEZE:
    case OP_IDENTITY:
    case OP_CAST:
        *out = *x;
        break;
    default:
        break;
    }
}
