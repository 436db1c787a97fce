/* Windows of convolutions and pools as ONNX states them: see reader_operators.h. */
#include "nn/onnx/reader_operators.h"

/* Far above any real window; keeps every later sum inside an int. */
enum { WINDOW_MAX = 1 << 16 };

/* Reads `count` numbers of at least `least` into out; absent, out keeps its values. */
static int window_numbers(const struct operation *operation, const char *name, int count,
                          int64_t least, int *out, bool *present, struct error *err)
{
    int64_t values[2 * SHAPE_RANK_MAX];
    int found;

    const int status =
        proto_attribute_ints(operation->proto, name, values, 2 * SHAPE_RANK_MAX, &found, err);
    *present = found >= 0;
    if (status != STATUS_OK || found < 0)
        return status;
    if (found != count)
        return error_set(err, STATUS_UNSUPPORTED,
                         "attribute '%s' has %d numbers; windows have two dimensions here", name,
                         found);
    for (int i = 0; i < count; i++) {
        if (values[i] < least || values[i] > WINDOW_MAX)
            return error_set(err, STATUS_UNSUPPORTED, "attribute '%s' holds %lld", name,
                             (long long)values[i]);
        out[i] = (int)values[i];
    }
    return STATUS_OK;
}

static int kernel_of_weights(const struct operation *operation, int weights, struct window *window,
                             struct error *err)
{
    const struct value *value;

    if (weights < 0)
        return error_set(err, STATUS_CORRUPT, "attribute 'kernel_shape' is missing");
    const int status = reader_value(operation->reader, weights, &value, err);
    if (status != STATUS_OK)
        return status;
    if (value->shape.rank != 4)
        return error_set(err, STATUS_UNSUPPORTED,
                         "its weights have rank %d; only images are convolved here",
                         value->shape.rank);
    for (int i = 0; i < 2; i++) {
        if (value->shape.dims[2 + i] < 1 || value->shape.dims[2 + i] > WINDOW_MAX)
            return error_set(err, STATUS_UNSUPPORTED, "its weights have an odd kernel");
        window->kernel[i] = (int)value->shape.dims[2 + i];
    }
    return STATUS_OK;
}

/* The padding that makes ceil(size / stride) windows along one side. With a stride of 1 the size
 * does not matter, so that no shapes are needed for most convolutions. */
static int same_padding(const struct operation *operation, const struct window *window, int side,
                        int *total, struct error *err)
{
    const int64_t reach = (int64_t)window->dilation[side] * (window->kernel[side] - 1) + 1;
    const int64_t stride = window->stride[side];
    const struct value *x;

    if (stride == 1) {
        *total = (int)(reach - 1 < INT32_MAX ? reach - 1 : INT32_MAX);
        return STATUS_OK;
    }
    const int status = reader_value(operation->reader, operation->inputs[0], &x, err);
    if (status != STATUS_OK)
        return status;
    if (x->shape.rank != 4 || x->shape.dims[2 + side] < 1)
        return error_set(err, STATUS_UNSUPPORTED,
                         "its auto_pad needs an input of known height and width");
    const int64_t size = x->shape.dims[2 + side];
    const int64_t spread = ((size + stride - 1) / stride - 1) * stride + reach - size;
    *total = spread < 0 ? 0 : (int)(spread < INT32_MAX ? spread : INT32_MAX);
    return STATUS_OK;
}

static int resolve_auto_pad(const struct operation *operation, struct window *window,
                            struct error *err)
{
    struct wire_text mode;
    int total;

    int status = proto_attribute_text(operation->proto, "auto_pad", "NOTSET", &mode, err);
    if (status != STATUS_OK || wire_text_is(mode, "NOTSET") || wire_text_is(mode, ""))
        return status;
    const bool upper = wire_text_is(mode, "SAME_UPPER");
    if (!upper && !wire_text_is(mode, "SAME_LOWER") && !wire_text_is(mode, "VALID"))
        return error_set(err, STATUS_CORRUPT, "its auto_pad is none that ONNX knows");
    for (int side = 0; side < 2; side++) {
        total = 0;
        if (!wire_text_is(mode, "VALID"))
            status = same_padding(operation, window, side, &total, err);
        if (status != STATUS_OK)
            return status;
        window->pad[side] = upper ? total / 2 : total - total / 2;
        window->pad[2 + side] = total - window->pad[side];
    }
    return STATUS_OK;
}

int reader_window(const struct operation *operation, int weights, struct window *window,
                  struct error *err)
{
    bool present;

    *window = (struct window){.stride = {1, 1}, .dilation = {1, 1}};
    int status = window_numbers(operation, "kernel_shape", 2, 1, window->kernel, &present, err);
    if (status == STATUS_OK && !present)
        status = kernel_of_weights(operation, weights, window, err);
    if (status == STATUS_OK)
        status = window_numbers(operation, "strides", 2, 1, window->stride, &present, err);
    if (status == STATUS_OK)
        status = window_numbers(operation, "dilations", 2, 1, window->dilation, &present, err);
    if (status == STATUS_OK)
        status = window_numbers(operation, "pads", 4, 0, window->pad, &present, err);
    if (status == STATUS_OK)
        status = resolve_auto_pad(operation, window, err);
    return status;
}
