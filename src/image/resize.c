/* Resizing: the coefficients of both directions, and the order of the passes.
 *
 * An output sample i lies at (i + 0.5) * scale in input samples, scale being input size / output
 * size (the size of the picture's content, which can end within a sample). It is the sum of the
 * input samples within the kernel's support around there, weighted by the kernel and normalised
 * to 1. When reducing, the kernel is stretched by the scale, so that every input sample counts
 * (antialiasing). The support's bounds, the roundings and the 8-bit picture between the passes are
 * Pillow's, so that a model sees what it was trained on. */
#include "image/resize.h"

#include <math.h>
#include <stdlib.h>

#include "image/resize_pass.h"

static double kernel_support(enum resize_kernel kernel)
{
    return kernel == RESIZE_KERNEL_BILINEAR ? 1.0 : 2.0;
}

static double kernel_value(enum resize_kernel kernel, double x)
{
    static const double a = -0.5;

    x = fabs(x);
    if (kernel == RESIZE_KERNEL_BILINEAR)
        return x < 1.0 ? 1.0 - x : 0.0;
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0)
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

/* A direction of the resize: from `source_size` samples, of which the content is resized, to
 * `target_size` samples, of which `size` from `first` on are wanted. */
struct axis_request {
    int source_size;
    double content_start, content_size;
    int target_size;
    int first, size;
    enum resize_kernel kernel;
    bool antialias;
};

static void axis_free(struct resize_axis *axis)
{
    free(axis->starts);
    free(axis->counts);
    free(axis->coefficients);
}

/* Fills output sample i, whose centre in input samples is given; `stretch` widens the kernel.
 * `weights` has room for axis->taps. */
static void fill_sample(struct resize_axis *axis, int i, const struct axis_request *request,
                        double centre, double stretch, double *weights)
{
    const double support = kernel_support(request->kernel) * stretch;
    const int low = (int)(centre - support + 0.5), high = (int)(centre + support + 0.5);
    const int start = low < 0 ? 0 : low;
    const int end = high > request->source_size ? request->source_size : high;
    int32_t *coefficients = axis->coefficients + (size_t)i * (size_t)axis->taps;
    double sum = 0.0;

    axis->starts[i] = start;
    axis->counts[i] = end - start;
    for (int k = 0; k < end - start; k++) {
        weights[k] = kernel_value(request->kernel, (start + k - centre + 0.5) / stretch);
        sum += weights[k];
    }
    for (int k = 0; k < end - start; k++) {
        const double weight = sum == 0.0 ? 0.0 : weights[k] / sum;
        coefficients[k] = (int32_t)round(weight * (1 << RESIZE_FRACTION_BITS));
    }
}

/* The caller frees `axis` on success and on failure. */
static int axis_create(const struct axis_request *request, struct resize_axis *axis,
                       struct error *err)
{
    const double scale = request->content_size / request->target_size;
    const double stretch = request->antialias && scale > 1.0 ? scale : 1.0;
    /* The support on both sides and the sample under the centre; one more makes it even. */
    const int taps = (int)ceil(kernel_support(request->kernel) * stretch) * 2 + 2;
    const size_t size = (size_t)request->size;
    double *weights = calloc((size_t)taps, sizeof *weights);

    *axis = (struct resize_axis){
        .size = request->size,
        .taps = taps,
        .starts = calloc(size, sizeof *axis->starts),
        .counts = calloc(size, sizeof *axis->counts),
        .coefficients = calloc(size * (size_t)taps, sizeof *axis->coefficients),
    };
    if (weights == NULL || axis->starts == NULL || axis->counts == NULL ||
        axis->coefficients == NULL) {
        free(weights);
        return error_set(err, STATUS_NO_MEMORY, "no memory to resize from %d to %d pixels",
                         request->source_size, request->target_size);
    }
    for (int i = 0; i < request->size; i++)
        fill_sample(axis, i, request, request->content_start + (request->first + i + 0.5) * scale,
                    stretch, weights);
    free(weights);
    return STATUS_OK;
}

static void filter_rows(const struct resize_axis *axis, const uint8_t *source, size_t stride,
                        struct image *target)
{
#if IMAGE_HAS_AVX2
    if (cpu_runs_avx2()) {
        resize_rows_avx2(axis, source, stride, target->pixels, target->stride, target->height);
        return;
    }
#endif
    resize_rows_plain(axis, source, stride, target->pixels, target->stride, target->height);
}

static void filter_columns(const struct resize_axis *axis, const struct image *source,
                           struct image *target)
{
    resize_column_function *filter = resize_column_plain;

#if IMAGE_HAS_AVX2
    if (cpu_runs_avx2())
        filter = resize_column_avx2;
#endif
    for (int y = 0; y < target->height; y++)
        filter(axis, y, source->pixels, source->stride, target->pixels + (size_t)y * target->stride,
               target->stride);
}

/* The columns first, of only those rows that the second pass will read; `vertical` is moved to
 * count from the first of them. */
static int resize_both(const struct image *source, const struct resize_axis *horizontal,
                       struct resize_axis *vertical, struct image **out, struct error *err)
{
    const int last = vertical->size - 1;
    const int first_row = vertical->starts[0];
    const int rows = vertical->starts[last] + vertical->counts[last] - first_row;
    struct image *between = NULL, *target = NULL;

    int status = image_create(horizontal->size, rows, &between, err);
    if (status == STATUS_OK)
        status = image_create(horizontal->size, vertical->size, &target, err);
    if (status == STATUS_OK) {
        filter_rows(horizontal, source->pixels + (size_t)first_row * source->stride, source->stride,
                    between);
        for (int i = 0; i < vertical->size; i++)
            vertical->starts[i] -= first_row;
        filter_columns(vertical, between, target);
        *out = target;
    }
    image_release(between);
    return status;
}

int image_resize(const struct image *source, int width, int height, enum resize_kernel kernel,
                 bool antialias, const struct resize_window *window, struct image **out,
                 struct error *err)
{
    const struct resize_window all = {.width = width, .height = height};
    struct resize_axis horizontal = {0}, vertical = {0};

    if (window == NULL)
        window = &all;
    if (width < 1 || height < 1 || window->x < 0 || window->y < 0 || window->width < 1 ||
        window->height < 1 || window->width > width - window->x ||
        window->height > height - window->y)
        return error_set(err, STATUS_INVALID,
                         "cannot take %d x %d pixels at %d, %d from a picture resized to %d x %d",
                         window->width, window->height, window->x, window->y, width, height);
    const struct axis_request columns = {source->width, source->content.x, source->content.width,
                                         width,         window->x,         window->width,
                                         kernel,        antialias};
    const struct axis_request rows = {source->height, source->content.y, source->content.height,
                                      height,         window->y,         window->height,
                                      kernel,         antialias};
    int status = axis_create(&columns, &horizontal, err);
    if (status == STATUS_OK)
        status = axis_create(&rows, &vertical, err);
    if (status == STATUS_OK)
        status = resize_both(source, &horizontal, &vertical, out, err);
    axis_free(&vertical);
    axis_free(&horizontal);
    return status;
}
