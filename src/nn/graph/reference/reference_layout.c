/* The plain executor's operators that move elements, and arithmetic with broadcasting, which is
 * mostly a question of where elements are. */
#include <inttypes.h>
#include <string.h>

#include "nn/graph/reference/reference_ops.h"
#include "nn/graph/shapes/shapes.h"

void shape_strides(const struct shape *shape, int64_t strides[SHAPE_RANK_MAX])
{
    int64_t step = 1;

    for (int i = shape->rank - 1; i >= 0; i--) {
        strides[i] = step;
        step *= shape->dims[i];
    }
}

bool index_next(const struct shape *shape, int64_t index[SHAPE_RANK_MAX])
{
    for (int i = shape->rank - 1; i >= 0; i--) {
        if (++index[i] < shape->dims[i])
            return true;
        index[i] = 0;
    }
    return false;
}

/* Where the element of `shape` is that broadcasts to a position in an output of `rank`. */
static int64_t broadcast_offset(const struct shape *shape, int rank,
                                const int64_t index[SHAPE_RANK_MAX])
{
    int64_t offset = 0;

    for (int i = 0; i < shape->rank; i++) {
        const int64_t at = shape->dims[i] == 1 ? 0 : index[i + rank - shape->rank];
        offset = offset * shape->dims[i] + at;
    }
    return offset;
}

static float arithmetic_f32(enum op op, float a, float b)
{
    switch (op) {
    case OP_ADD:
        return a + b;
    case OP_SUB:
        return a - b;
    case OP_MUL:
        return a * b;
    default:
        return a / b;
    }
}

/* Wraps around, and a division that has no answer gives 0: these are shapes, checked where used. */
static int64_t arithmetic_i64(enum op op, int64_t a, int64_t b)
{
    switch (op) {
    case OP_ADD:
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case OP_SUB:
        return (int64_t)((uint64_t)a - (uint64_t)b);
    case OP_MUL:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    default:
        return b == 0 || (a == INT64_MIN && b == -1) ? 0 : a / b;
    }
}

void reference_arithmetic(const struct node *node, const struct tensor *const *inputs,
                          struct tensor *output)
{
    const struct shape *shape = &output->shape;
    int64_t index[SHAPE_RANK_MAX] = {0};
    int64_t i = 0;

    if (output->size == 0)
        return;
    do {
        const int64_t a = broadcast_offset(&inputs[0]->shape, shape->rank, index);
        const int64_t b = broadcast_offset(&inputs[1]->shape, shape->rank, index);
        if (output->dtype == DTYPE_I64)
            ((int64_t *)output->data)[i++] = arithmetic_i64(
                node->op, ((int64_t *)inputs[0]->data)[a], ((int64_t *)inputs[1]->data)[b]);
        else
            ((float *)output->data)[i++] = arithmetic_f32(node->op, ((float *)inputs[0]->data)[a],
                                                          ((float *)inputs[1]->data)[b]);
    } while (index_next(shape, index));
}

void reference_transpose(const struct node *node, const struct tensor *const *inputs,
                         struct tensor *output)
{
    const size_t element = dtype_size(output->dtype);
    const int rank = output->shape.rank;
    int64_t strides[SHAPE_RANK_MAX], index[SHAPE_RANK_MAX] = {0};
    char *y = output->data;

    if (output->size == 0)
        return;
    shape_strides(&inputs[0]->shape, strides);
    do {
        int64_t offset = 0;
        for (int i = 0; i < rank; i++) {
            const int from =
                node->u.axes.count == 0 ? rank - 1 - i : axis_normalise(node->u.axes.axes[i], rank);
            offset += index[i] * strides[from];
        }
        memcpy(y, (const char *)inputs[0]->data + (size_t)offset * element, element);
        y += element;
    } while (index_next(&output->shape, index));
}

/* Bytes of everything from `axis` on. */
static size_t bytes_from(const struct tensor *tensor, int axis)
{
    size_t bytes = dtype_size(tensor->dtype);

    for (int i = axis; i < tensor->shape.rank; i++)
        bytes *= (size_t)tensor->shape.dims[i];
    return bytes;
}

void reference_concat(const struct node *node, const struct tensor *const *inputs,
                      struct tensor *output)
{
    const int axis = axis_normalise(node->u.axis.axis, output->shape.rank);
    int64_t outer = 1;
    char *y = output->data;

    for (int i = 0; i < axis; i++)
        outer *= output->shape.dims[i];
    for (int64_t o = 0; o < outer; o++)
        for (int i = 0; i < node->input_count; i++) {
            const size_t bytes = bytes_from(inputs[i], axis);
            memcpy(y, (const char *)inputs[i]->data + (size_t)o * bytes, bytes);
            y += bytes;
        }
}

/* Negative amounts cut. */
void reference_pad(const struct node *node, const struct tensor *const *inputs,
                   struct tensor *output)
{
    const struct shape *x = &inputs[0]->shape;
    int64_t strides[SHAPE_RANK_MAX], index[SHAPE_RANK_MAX] = {0};
    float *y = output->data;

    if (output->size == 0)
        return;
    shape_strides(x, strides);
    do {
        int64_t offset = 0;
        bool inside = true;
        for (int i = 0; i < x->rank; i++) {
            const int64_t at = index[i] - node->u.pad.before[i];
            inside = inside && at >= 0 && at < x->dims[i];
            offset += at * strides[i];
        }
        *y++ = inside ? ((const float *)inputs[0]->data)[offset] : node->u.pad.value;
    } while (index_next(&output->shape, index));
}

int reference_gather(const struct node *node, const struct tensor *const *inputs,
                     struct tensor *output, struct error *err)
{
    const struct shape *x = &inputs[0]->shape;
    const int axis = axis_normalise(node->u.axis.axis, x->rank);
    const size_t slice = bytes_from(inputs[0], axis + 1);
    const int64_t picks = shape_elements(&inputs[1]->shape);
    int64_t outer = 1;
    char *y = output->data;

    for (int i = 0; i < axis; i++)
        outer *= x->dims[i];
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < picks; i++) {
            int64_t pick = inputs[1]->dtype == DTYPE_I64 ? ((const int64_t *)inputs[1]->data)[i]
                                                         : ((const int32_t *)inputs[1]->data)[i];
            if (pick < 0)
                pick += x->dims[axis];
            if (pick < 0 || pick >= x->dims[axis])
                return error_set(err, STATUS_INVALID, "index %" PRId64 " of %" PRId64, pick,
                                 x->dims[axis]);
            memcpy(y, (const char *)inputs[0]->data + (size_t)(o * x->dims[axis] + pick) * slice,
                   slice);
            y += slice;
        }
    return STATUS_OK;
}
