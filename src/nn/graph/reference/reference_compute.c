/* The plain executor's operators that sum: convolutions, pools, products, means. Sums are kept in
 * double, so that an order of summation does not show. */
#include <math.h>
#include <string.h>

#include "nn/graph/reference/reference_ops.h"
#include "nn/graph/shapes/shapes.h"

/* sum over c, ky, kx of image[c, iy, ix] * filter[c, ky, kx], where iy = oy * stride - pad + ky *
 * dilation, and the image is zero outside. */
static double convolve_at(const struct window *window, const float *image, const int64_t *x_dims,
                          const float *filter, const int64_t *w_dims, int64_t oy, int64_t ox)
{
    double sum = 0;

    for (int64_t c = 0; c < w_dims[1]; c++)
        for (int64_t ky = 0; ky < w_dims[2]; ky++) {
            const int64_t iy = oy * window->stride[0] - window->pad[0] + ky * window->dilation[0];
            if (iy < 0 || iy >= x_dims[2])
                continue;
            const float *x_row = image + (c * x_dims[2] + iy) * x_dims[3];
            const float *w_row = filter + (c * w_dims[2] + ky) * w_dims[3];
            for (int64_t kx = 0; kx < w_dims[3]; kx++) {
                const int64_t ix =
                    ox * window->stride[1] - window->pad[1] + kx * window->dilation[1];
                if (ix >= 0 && ix < x_dims[3])
                    sum += (double)x_row[ix] * w_row[kx];
            }
        }
    return sum;
}

/* Each output channel sees the input channels of its group only. */
void reference_conv(const struct node *node, const struct tensor *const *inputs,
                    struct tensor *output)
{
    const int64_t *x_dims = inputs[0]->shape.dims, *w_dims = inputs[1]->shape.dims;
    const int64_t *y_dims = output->shape.dims;
    const int own = node->input_count - (node->fused.residual >= 0 ? 1 : 0);
    const float *bias = own > 2 && inputs[2] != NULL ? inputs[2]->data : NULL;
    const int64_t filters_per_group = w_dims[0] / node->u.conv.groups;
    float *y = output->data;

    for (int64_t i = 0; i < y_dims[0] * y_dims[1]; i++) {
        const int64_t n = i / y_dims[1], o = i % y_dims[1];
        const int64_t first = o / filters_per_group * w_dims[1];
        const float *image =
            (const float *)inputs[0]->data + (n * x_dims[1] + first) * x_dims[2] * x_dims[3];
        const float *filter =
            (const float *)inputs[1]->data + o * w_dims[1] * w_dims[2] * w_dims[3];
        for (int64_t oy = 0; oy < y_dims[2]; oy++)
            for (int64_t ox = 0; ox < y_dims[3]; ox++) {
                const double sum =
                    convolve_at(&node->u.conv.window, image, x_dims, filter, w_dims, oy, ox);
                *y++ = (float)(sum + (bias != NULL ? bias[o] : 0));
            }
    }
}

void reference_batch_norm(const struct node *node, const struct tensor *const *inputs,
                          struct tensor *output)
{
    const struct shape *shape = &output->shape;
    const float *x = inputs[0]->data, *scale = inputs[1]->data, *bias = inputs[2]->data;
    const float *mean = inputs[3]->data, *variance = inputs[4]->data;
    const int64_t channels = shape->dims[1];
    int64_t area = 1;
    float *y = output->data;

    for (int i = 2; i < shape->rank; i++)
        area *= shape->dims[i];
    for (int64_t i = 0; i < shape->dims[0] * channels; i++) {
        const int64_t c = i % channels;
        const double factor = scale[c] / sqrt((double)variance[c] + node->u.batch_norm.epsilon);
        for (int64_t j = i * area; j < (i + 1) * area; j++)
            y[j] = (float)((x[j] - (double)mean[c]) * factor + bias[c]);
    }
}

/* The maximum, or the mean, of one window. Of positions outside the image, the mean counts those in
 * the padding when the node says so, never those that ceil_mode adds beyond it. */
static float pool_window(const struct node *node, const float *image, const int64_t *dims,
                         int64_t oy, int64_t ox)
{
    const struct window *window = &node->u.pool.window;
    double sum = 0;
    float largest = -INFINITY;
    int64_t count = 0;

    for (int ky = 0; ky < window->kernel[0]; ky++)
        for (int kx = 0; kx < window->kernel[1]; kx++) {
            const int64_t iy =
                oy * window->stride[0] - window->pad[0] + (int64_t)ky * window->dilation[0];
            const int64_t ix =
                ox * window->stride[1] - window->pad[1] + (int64_t)kx * window->dilation[1];
            const bool inside = iy >= 0 && iy < dims[2] && ix >= 0 && ix < dims[3];
            const bool padding = iy < dims[2] + window->pad[2] && ix < dims[3] + window->pad[3];
            if (inside) {
                sum += image[iy * dims[3] + ix];
                largest = fmaxf(largest, image[iy * dims[3] + ix]);
            }
            count += inside || (node->u.pool.count_include_pad && padding);
        }
    if (node->op == OP_MAX_POOL)
        return largest;
    return count > 0 ? (float)(sum / (double)count) : 0;
}

void reference_pool(const struct node *node, const struct tensor *const *inputs,
                    struct tensor *output)
{
    const int64_t *x_dims = inputs[0]->shape.dims, *y_dims = output->shape.dims;
    float *y = output->data;

    for (int64_t plane = 0; plane < y_dims[0] * y_dims[1]; plane++) {
        const float *image = (const float *)inputs[0]->data + plane * x_dims[2] * x_dims[3];
        for (int64_t oy = 0; oy < y_dims[2]; oy++)
            for (int64_t ox = 0; ox < y_dims[3]; ox++)
                *y++ = pool_window(node, image, x_dims, oy, ox);
    }
}

/* Element [i, j] of a bias that broadcasts to [rows, columns]. */
static float broadcast_at(const struct tensor *bias, int64_t i, int64_t j)
{
    const struct shape *shape = &bias->shape;
    const int64_t columns = shape->rank >= 1 ? shape->dims[shape->rank - 1] : 1;
    const int64_t rows = shape->rank >= 2 ? shape->dims[shape->rank - 2] : 1;

    return ((const float *)bias->data)[(rows == 1 ? 0 : i * columns) + (columns == 1 ? 0 : j)];
}

void reference_gemm(const struct node *node, const struct tensor *const *inputs,
                    struct tensor *output)
{
    const struct gemm_attributes *gemm = &node->u.gemm;
    const int64_t *a_dims = inputs[0]->shape.dims, *b_dims = inputs[1]->shape.dims;
    const int own = node->input_count - (node->fused.residual >= 0 ? 1 : 0);
    const struct tensor *bias = own > 2 ? inputs[2] : NULL;
    const float *a = inputs[0]->data, *b = inputs[1]->data;
    const int64_t inner = a_dims[gemm->transpose_a ? 0 : 1];
    float *y = output->data;

    for (int64_t i = 0; i < output->shape.dims[0]; i++)
        for (int64_t j = 0; j < output->shape.dims[1]; j++) {
            double sum = 0;
            for (int64_t k = 0; k < inner; k++)
                sum += (double)a[gemm->transpose_a ? k * a_dims[1] + i : i * a_dims[1] + k] *
                       b[gemm->transpose_b ? j * b_dims[1] + k : k * b_dims[1] + j];
            sum *= gemm->alpha;
            if (bias != NULL)
                sum += (double)gemm->beta * broadcast_at(bias, i, j);
            *y++ = (float)sum;
        }
}

/* Where the matrix of `tensor` starts that belongs to a position in the output's leading
 * dimensions, which its own broadcast to. */
static const float *matrix_at(const struct tensor *tensor, const struct shape *leading,
                              const int64_t index[SHAPE_RANK_MAX])
{
    const struct shape *shape = &tensor->shape;
    const int skipped = leading->rank - (shape->rank - 2);
    int64_t matrix = 0;

    for (int i = 0; i < shape->rank - 2; i++)
        matrix = matrix * shape->dims[i] + (shape->dims[i] == 1 ? 0 : index[i + skipped]);
    return (const float *)tensor->data +
           matrix * shape->dims[shape->rank - 2] * shape->dims[shape->rank - 1];
}

void reference_matmul(const struct tensor *const *inputs, struct tensor *output)
{
    struct shape leading = output->shape;
    const int64_t rows = leading.dims[leading.rank - 2];
    const int64_t columns = leading.dims[leading.rank - 1];
    const int64_t inner = inputs[0]->shape.dims[inputs[0]->shape.rank - 1];
    int64_t index[SHAPE_RANK_MAX] = {0};
    float *y = output->data;

    if (output->size == 0)
        return;
    leading.rank -= 2;
    do {
        const float *a = matrix_at(inputs[0], &leading, index);
        const float *b = matrix_at(inputs[1], &leading, index);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++) {
                double sum = 0;
                for (int64_t k = 0; k < inner; k++)
                    sum += (double)a[i * inner + k] * b[k * columns + j];
                *y++ = (float)sum;
            }
    } while (index_next(&leading, index));
}

/* ReduceMean, and GlobalAveragePool as the mean over all but the first two axes. */
void reference_mean(const struct node *node, const struct tensor *const *inputs,
                    struct tensor *output)
{
    const struct shape *shape = &inputs[0]->shape;
    const float *x = inputs[0]->data;
    bool averaged[SHAPE_RANK_MAX] = {false};
    float *y = output->data;

    for (int i = 0; i < shape->rank; i++)
        averaged[i] = node->op == OP_GLOBAL_AVERAGE_POOL ? i >= 2 : node->u.axes.count == 0;
    for (int i = 0; node->op == OP_REDUCE_MEAN && i < node->u.axes.count; i++)
        averaged[axis_normalise(node->u.axes.axes[i], shape->rank)] = true;

    /* For each output element, walk the elements it averages. */
    struct shape kept = *shape, gone = *shape;
    int64_t strides[SHAPE_RANK_MAX], outer[SHAPE_RANK_MAX] = {0};
    shape_strides(shape, strides);
    for (int i = 0; i < shape->rank; i++)
        (averaged[i] ? &kept : &gone)->dims[i] = 1;
    const double count = (double)shape_elements(&gone);
    if (output->size == 0 || count == 0)
        return;
    do {
        int64_t inner[SHAPE_RANK_MAX] = {0};
        double sum = 0;
        do {
            int64_t offset = 0;
            for (int i = 0; i < shape->rank; i++)
                offset += (outer[i] + inner[i]) * strides[i];
            sum += x[offset];
        } while (index_next(&gone, inner));
        *y++ = (float)(sum / count);
    } while (index_next(&kept, outer));
}

void reference_softmax(const struct node *node, const struct tensor *const *inputs,
                       struct tensor *output)
{
    const struct shape *shape = &output->shape;
    const int axis = axis_normalise(node->u.axis.axis, shape->rank);
    const int64_t length = shape->dims[axis];
    int64_t strides[SHAPE_RANK_MAX], lines;

    shape_strides(shape, strides);
    const int64_t step = strides[axis];
    lines = length > 0 ? shape_elements(shape) / length : 0;
    for (int64_t line = 0; line < lines; line++) {
        const int64_t first = line / step * step * length + line % step;
        const float *x = (const float *)inputs[0]->data + first;
        float *y = (float *)output->data + first;
        float largest = -INFINITY;
        double sum = 0;
        for (int64_t i = 0; i < length; i++)
            largest = fmaxf(largest, x[i * step]);
        for (int64_t i = 0; i < length; i++)
            sum += exp((double)x[i * step] - largest);
        for (int64_t i = 0; i < length; i++)
            y[i * step] = (float)(exp((double)x[i * step] - largest) / sum);
    }
}
