/* Shapes of operators that rearrange, join or cut, and of means over axes. */
#include <inttypes.h>

#include "nn/graph/shapes/shapes.h"

static int bad_axis(int64_t axis, int rank, struct error *err)
{
    return error_set(err, STATUS_INVALID, "axis %" PRId64 " lies outside rank %d", axis, rank);
}

/* Product of dims[from .. to), DIM_ANY when one of them is open. */
static int64_t dims_product(const struct shape *shape, int from, int to)
{
    int64_t product = 1;

    for (int i = from; i < to; i++) {
        if (shape->dims[i] == DIM_ANY)
            return DIM_ANY;
        product *= shape->dims[i];
    }
    return product;
}

/* Marks the axes a node lists; all of them when it lists none. */
static int mark_axes(const struct node *node, int rank, bool marked[SHAPE_RANK_MAX],
                     struct error *err)
{
    for (int i = 0; i < SHAPE_RANK_MAX; i++)
        marked[i] = node->u.axes.count == 0;
    for (int i = 0; i < node->u.axes.count; i++) {
        const int axis = axis_normalise(node->u.axes.axes[i], rank);
        if (axis < 0)
            return bad_axis(node->u.axes.axes[i], rank, err);
        if (marked[axis])
            return error_set(err, STATUS_INVALID, "it lists axis %d twice", axis);
        marked[axis] = true;
    }
    return STATUS_OK;
}

static int infer_reduce(const struct shape *x, const struct node *node, struct shape *out,
                        struct error *err)
{
    bool marked[SHAPE_RANK_MAX];
    const int status = mark_axes(node, x->rank, marked, err);

    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < x->rank; i++) {
        if (!marked[i])
            out->dims[out->rank++] = x->dims[i];
        else if (node->u.axes.keep_dims)
            out->dims[out->rank++] = 1;
    }
    return STATUS_OK;
}

static int infer_squeeze(const struct shape *x, const struct node *node, struct shape *out,
                         struct error *err)
{
    bool marked[SHAPE_RANK_MAX];
    const int status = mark_axes(node, x->rank, marked, err);

    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < x->rank; i++) {
        if (!marked[i] || (node->u.axes.count == 0 && x->dims[i] != 1))
            out->dims[out->rank++] = x->dims[i];
        else if (x->dims[i] != 1)
            return error_set(err, STATUS_INVALID, "it removes axis %d, which is not 1", i);
    }
    return STATUS_OK;
}

static int infer_unsqueeze(const struct shape *x, const struct node *node, struct shape *out,
                           struct error *err)
{
    bool marked[SHAPE_RANK_MAX];
    const int rank = x->rank + node->u.axes.count;

    if (node->u.axes.count == 0 || rank > SHAPE_RANK_MAX)
        return error_set(err, STATUS_INVALID, "it adds %d axes to rank %d", node->u.axes.count,
                         x->rank);
    const int status = mark_axes(node, rank, marked, err);
    if (status != STATUS_OK)
        return status;
    out->rank = rank;
    for (int i = 0, from = 0; i < rank; i++)
        out->dims[i] = marked[i] ? 1 : x->dims[from++];
    return STATUS_OK;
}

static int infer_transpose(const struct shape *x, const struct node *node, struct shape *out,
                           struct error *err)
{
    bool marked[SHAPE_RANK_MAX];

    if (node->u.axes.count != 0 && node->u.axes.count != x->rank)
        return error_set(err, STATUS_INVALID, "it permutes %d axes of a rank of %d",
                         node->u.axes.count, x->rank);
    const int status = mark_axes(node, x->rank, marked, err);
    if (status != STATUS_OK)
        return status;
    out->rank = x->rank;
    for (int i = 0; i < x->rank; i++) {
        const int from = node->u.axes.count == 0 ? x->rank - 1 - i
                                                 : axis_normalise(node->u.axes.axes[i], x->rank);
        out->dims[i] = x->dims[from];
    }
    return STATUS_OK;
}

static int infer_flatten(const struct shape *x, const struct node *node, struct shape *out,
                         struct error *err)
{
    /* Unlike elsewhere, axis == rank is meaningful: everything goes into the first dimension. */
    const int axis =
        node->u.axis.axis == x->rank ? x->rank : axis_normalise(node->u.axis.axis, x->rank);
    if (axis < 0)
        return bad_axis(node->u.axis.axis, x->rank, err);
    out->rank = 2;
    out->dims[0] = dims_product(x, 0, axis);
    out->dims[1] = dims_product(x, axis, x->rank);
    return STATUS_OK;
}

static int infer_concat(const struct graph *graph, const struct node *node, struct shape *out,
                        struct error *err)
{
    *out = graph->values[node->inputs[0]].shape;
    const int axis = axis_normalise(node->u.axis.axis, out->rank);
    if (axis < 0)
        return bad_axis(node->u.axis.axis, out->rank, err);
    for (int i = 1; i < node->input_count; i++) {
        const struct shape *next = &graph->values[node->inputs[i]].shape;
        bool fits = next->rank == out->rank;
        for (int d = 0; fits && d < out->rank; d++) {
            if (d == axis || next->dims[d] == DIM_ANY)
                continue;
            fits = out->dims[d] == DIM_ANY || out->dims[d] == next->dims[d];
            out->dims[d] = next->dims[d];
        }
        if (!fits)
            return error_set(err, STATUS_INVALID, "its input '%s' does not fit the first",
                             graph->values[node->inputs[i]].name);
        if (out->dims[axis] == DIM_ANY || next->dims[axis] == DIM_ANY)
            out->dims[axis] = DIM_ANY;
        else
            out->dims[axis] += next->dims[axis];
    }
    return STATUS_OK;
}

static int infer_pad(const struct shape *x, const struct node *node, struct shape *out,
                     struct error *err)
{
    *out = *x;
    for (int i = 0; i < x->rank; i++) {
        int64_t extra;
        if (__builtin_add_overflow(node->u.pad.before[i], node->u.pad.after[i], &extra) ||
            extra > SHAPE_ELEMENTS_MAX || extra < -SHAPE_ELEMENTS_MAX)
            return error_set(err, STATUS_INVALID, "it pads dimension %d beyond reason", i);
        if (x->dims[i] == DIM_ANY) {
            if (extra != 0)
                return error_set(err, STATUS_UNSUPPORTED, "it pads the open dimension %d", i);
            continue;
        }
        out->dims[i] = x->dims[i] + extra;
        if (out->dims[i] < 1)
            return error_set(err, STATUS_INVALID, "it cuts dimension %d to nothing", i);
    }
    return STATUS_OK;
}

static int infer_gather(const struct graph *graph, const struct node *node, struct shape *out,
                        struct error *err)
{
    const struct shape *x = &graph->values[node->inputs[0]].shape;
    const struct shape *indices = &graph->values[node->inputs[1]].shape;
    const int axis = axis_normalise(node->u.axis.axis, x->rank);

    if (axis < 0)
        return bad_axis(node->u.axis.axis, x->rank, err);
    if (x->rank - 1 + indices->rank > SHAPE_RANK_MAX)
        return error_set(err, STATUS_UNSUPPORTED, "its output has too many dimensions");
    for (int i = 0; i < axis; i++)
        out->dims[out->rank++] = x->dims[i];
    for (int i = 0; i < indices->rank; i++)
        out->dims[out->rank++] = indices->dims[i];
    for (int i = axis + 1; i < x->rank; i++)
        out->dims[out->rank++] = x->dims[i];
    return STATUS_OK;
}

/* Dimensions of a shape by kind: how many are open, and the product of those that are not; -1 when
 * that is more than any tensor has. */
static int64_t known_product(const struct shape *shape, int *open)
{
    int64_t product = 1;

    *open = 0;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dims[i] == DIM_ANY)
            (*open)++;
        else if (product >= 0 && (__builtin_mul_overflow(product, shape->dims[i], &product) ||
                                  product > SHAPE_ELEMENTS_MAX))
            product = -1;
    }
    return product;
}

/* Reads the target of a Reshape: 0 copies the input's dimension, an element that depends on the
 * batch is open, and one -1 (its place goes into *rest, else -1) takes what is left. */
static int reshape_target(const struct shape *x, const struct contents *target, struct shape *out,
                          int *rest, struct error *err)
{
    *rest = -1;
    out->rank = target->count;
    for (int i = 0; i < target->count; i++) {
        const int64_t item = target->items[i];
        if (item == CONTENTS_OPEN) {
            out->dims[i] = DIM_ANY;
        } else if (item == -1 && *rest < 0) {
            *rest = i;
            out->dims[i] = 1; /* until the others are known */
        } else if (item == 0 && i < x->rank) {
            out->dims[i] = x->dims[i];
        } else if (item > 0) {
            out->dims[i] = item;
        } else {
            return error_set(err, STATUS_INVALID, "element %d of its target is %" PRId64, i, item);
        }
    }
    return STATUS_OK;
}

static int infer_reshape(const struct graph *graph, const struct node *node,
                         const struct contents *contents, struct shape *out, struct error *err)
{
    const struct shape *x = &graph->values[node->inputs[0]].shape;
    const struct contents *target = contents == NULL ? NULL : &contents[node->inputs[1]];
    char from[128], to[128];
    int rest, open_in, open_out;

    if (target == NULL || !target->known || target->count > SHAPE_RANK_MAX)
        return error_set(err, STATUS_UNSUPPORTED, "its target shape is not known before the run");
    const int status = reshape_target(x, target, out, &rest, err);
    if (status != STATUS_OK)
        return status;
    const int64_t known_in = known_product(x, &open_in);
    const int64_t known_out = known_product(out, &open_out);
    /* A model exported at batch 1 writes that 1 into the target; it stands for the batch. */
    if (open_in == 1 && open_out == 0 && x->dims[0] == DIM_ANY && out->rank > 1 &&
        out->dims[0] == 1 && rest != 0) {
        out->dims[0] = DIM_ANY;
        open_out = 1;
    }
    bool fits = open_in == open_out && known_in == known_out && known_in >= 0;
    if (rest >= 0 && open_in >= open_out) {
        fits = known_out > 0 && known_in >= 0 && known_in % known_out == 0;
        if (fits) /* the -1 takes the batch, unless that has its own place already */
            out->dims[rest] = open_in > open_out ? DIM_ANY : known_in / known_out;
    }
    if (!fits)
        return error_set(err, STATUS_INVALID, "%s does not reshape to %s",
                         shape_text(x, from, sizeof from), shape_text(out, to, sizeof to));
    return STATUS_OK;
}

int shapes_infer_layout(const struct graph *graph, const struct node *node,
                        const struct contents *contents, struct shape *out, struct error *err)
{
    const struct shape *x = &graph->values[node->inputs[0]].shape;

    switch (node->op) {
    case OP_REDUCE_MEAN:
        return infer_reduce(x, node, out, err);
    case OP_FLATTEN:
        return infer_flatten(x, node, out, err);
    case OP_SQUEEZE:
        return infer_squeeze(x, node, out, err);
    case OP_UNSQUEEZE:
        return infer_unsqueeze(x, node, out, err);
    case OP_TRANSPOSE:
        return infer_transpose(x, node, out, err);
    case OP_CONCAT:
        return infer_concat(graph, node, out, err);
    case OP_PAD:
        return infer_pad(x, node, out, err);
    case OP_GATHER:
        return infer_gather(graph, node, out, err);
    case OP_RESHAPE:
        return infer_reshape(graph, node, contents, out, err);
    default: /* OP_SHAPE: as many integers as dimensions */
        out->rank = 1;
        out->dims[0] = x->rank;
        return STATUS_OK;
    }
}
