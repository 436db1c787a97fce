/* Shapes of operators that slide a window over the image. */
#include <inttypes.h>

#include "nn/graph/shapes/shapes.h"

static int check_window(const struct window *window, struct error *err)
{
    static const char *const sides[] = {"vertical", "horizontal"};

    for (int i = 0; i < 2; i++) {
        if (window->kernel[i] < 1)
            return error_set(err, STATUS_INVALID, "its %s kernel is %d", sides[i],
                             window->kernel[i]);
        if (window->stride[i] < 1)
            return error_set(err, STATUS_INVALID, "its %s stride is %d", sides[i],
                             window->stride[i]);
        if (window->dilation[i] < 1)
            return error_set(err, STATUS_INVALID, "its %s dilation is %d", sides[i],
                             window->dilation[i]);
        if (window->pad[i] < 0 || window->pad[i + 2] < 0)
            return error_set(err, STATUS_UNSUPPORTED, "it has negative padding");
    }
    return STATUS_OK;
}

/* The number of window positions along one side, or 0 when the window does not fit once. With
 * ceil_mode a last window may hang over the end, but must start inside the image or its leading
 * padding (ONNX opset 19's wording of what the frameworks do). */
static int64_t window_positions(const struct window *window, int side, int64_t size, bool ceil_mode)
{
    const int64_t stride = window->stride[side];
    const int64_t reach = (int64_t)window->dilation[side] * (window->kernel[side] - 1) + 1;
    const int64_t room = size + window->pad[side] + window->pad[side + 2] - reach;

    if (room < 0)
        return 0;
    int64_t positions = room / stride + 1;
    if (ceil_mode && room % stride != 0 && positions * stride < size + window->pad[side])
        positions++;
    return positions;
}

static int infer_window(const struct shape *x, const struct window *window, bool ceil_mode,
                        struct shape *out, struct error *err)
{
    const int status = check_window(window, err);

    if (status != STATUS_OK)
        return status;
    out->rank = 4;
    out->dims[0] = x->dims[0];
    for (int i = 0; i < 2; i++) {
        out->dims[2 + i] = DIM_ANY;
        if (x->dims[2 + i] == DIM_ANY)
            continue;
        out->dims[2 + i] = window_positions(window, i, x->dims[2 + i], ceil_mode);
        if (out->dims[2 + i] < 1)
            return error_set(err, STATUS_INVALID,
                             "its %dx%d window does not fit into %" PRId64 "x%" PRId64,
                             window->kernel[0], window->kernel[1], x->dims[2], x->dims[3]);
    }
    return STATUS_OK;
}

int shapes_infer_conv(const struct graph *graph, const struct node *node, struct shape *out,
                      struct error *err)
{
    const struct shape *x = &graph->values[node->inputs[0]].shape;
    const struct shape *w = &graph->values[node->inputs[1]].shape;
    const struct window *window = &node->u.conv.window;
    const int groups = node->u.conv.groups;
    const int own = node->input_count - (node->fused.residual >= 0 ? 1 : 0);

    if (x->rank != 4 || w->rank != 4)
        return error_set(err, STATUS_UNSUPPORTED,
                         "only images are convolved here, but its ranks are %d and %d", x->rank,
                         w->rank);
    if (groups < 1 || w->dims[0] % groups != 0)
        return error_set(err, STATUS_INVALID, "%d groups do not divide %" PRId64 " filters", groups,
                         w->dims[0]);
    if (x->dims[1] % groups != 0 || x->dims[1] / groups != w->dims[1])
        return error_set(err, STATUS_INVALID,
                         "its filters take %" PRId64 " channels in each of %d groups, its input "
                         "has %" PRId64,
                         w->dims[1], groups, x->dims[1]);
    if (w->dims[2] != window->kernel[0] || w->dims[3] != window->kernel[1])
        return error_set(err, STATUS_INVALID,
                         "its kernel is %dx%d, its filters are %" PRId64 "x%" PRId64,
                         window->kernel[0], window->kernel[1], w->dims[2], w->dims[3]);
    if (own > 2 && node->inputs[2] >= 0) {
        const struct shape *bias = &graph->values[node->inputs[2]].shape;
        if (bias->rank != 1 || bias->dims[0] != w->dims[0])
            return error_set(err, STATUS_INVALID, "its bias is not one number a filter");
    }
    const int status = infer_window(x, window, false, out, err);
    out->dims[1] = w->dims[0];
    return status;
}

int shapes_infer_pool(const struct graph *graph, const struct node *node, struct shape *out,
                      struct error *err)
{
    const struct shape *x = &graph->values[node->inputs[0]].shape;
    const struct window *window = &node->u.pool.window;

    if (x->rank != 4)
        return error_set(err, STATUS_UNSUPPORTED, "only images are pooled here, but its rank is %d",
                         x->rank);
    const int status = infer_window(x, window, node->u.pool.ceil_mode, out, err);
    if (status != STATUS_OK)
        return status;
    /* A window wholly inside the padding would be the maximum, or the mean, of nothing. */
    for (int i = 0; i < 2; i++) {
        const int64_t reach = (int64_t)window->dilation[i] * (window->kernel[i] - 1) + 1;
        if (window->pad[i] >= reach || window->pad[i + 2] >= reach)
            return error_set(err, STATUS_INVALID, "its padding is as large as its kernel");
    }
    out->dims[1] = x->dims[1];
    return STATUS_OK;
}
