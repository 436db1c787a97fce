/* The kernels that slide a window: pooling, depthwise weight gradients, and convolutions laid out
 * as columns. Included by kernels_body.h, whose conventions hold here too. */

/* ---- pooling ------------------------------------------------------------------------------- */

/* The part of a window that lies inside the input: [*first, *last) of 0 .. kernel. */
INLINE void NAME(clip_window)(int output, int stride, int pad, int kernel, int input, int *first,
                              int *last)
{
    int start = output * stride - pad;
    *first = start < 0 ? -start : 0;
    *last = input - start < kernel ? input - start : kernel;
}

INLINE int NAME(pool_divisor)(const struct pool_pass *pass, int y, int x)
{
    int top, bottom, left, right;
    if (pass->count_include_pad)
        return pass->kernel[0] * pass->kernel[1];
    NAME(clip_window)
    (y, pass->stride[0], pass->pad[0], pass->kernel[0], pass->input[0], &top, &bottom);
    NAME(clip_window)
    (x, pass->stride[1], pass->pad[1], pass->kernel[1], pass->input[1], &left, &right);
    return (bottom - top) * (right - left);
}

INLINE void NAME(pool_at)(const struct pool_pass *pass, const NAME(element) * x, int oy, int ox,
                          NAME(element) * y, uint8_t *index)
{
    int top, bottom, left, right, channels = pass->channels;
    NAME(clip_window)
    (oy, pass->stride[0], pass->pad[0], pass->kernel[0], pass->input[0], &top, &bottom);
    NAME(clip_window)
    (ox, pass->stride[1], pass->pad[1], pass->kernel[1], pass->input[1], &left, &right);
    float inverse = 1.0f / (float)NAME(pool_divisor)(pass, oy, ox);
    for (int c = 0; c < channels; c += LANES) {
        int lanes = lanes_at(c, channels);
        vec result = pass->maximum ? vec_of(-3.4e38f) : vec_of(0.0f);
        ivec where = {0};
        for (int ky = top; ky < bottom; ky++)
            for (int kx = left; kx < right; kx++) {
                int64_t row = (int64_t)(oy * pass->stride[0] - pass->pad[0] + ky) * pass->input[1] +
                              (ox * pass->stride[1] - pass->pad[1] + kx);
                vec value = NAME(get)(x + row * channels + c, lanes);
                ivec larger = value > result;
                where = (where & ~larger) | ((ky * pass->kernel[1] + kx) & larger);
                result = pass->maximum ? vec_select(larger, value, result) : result + value;
            }
        NAME(put)(y + c, pass->maximum ? result : result * inverse, lanes);
        if (index != NULL) {
            byte_vec bytes = __builtin_convertvector(where, byte_vec);
            memcpy(index + c, &bytes, (size_t)lanes);
        }
    }
}

KERNEL void NAME(pool)(const struct pool_pass *pass, const void *from, void *to, uint8_t *index)
{
    for (int oy = 0; oy < pass->output[0]; oy++)
        for (int ox = 0; ox < pass->output[1]; ox++) {
            int64_t at = ((int64_t)oy * pass->output[1] + ox) * pass->channels;
            NAME(pool_at)
            (pass, from, oy, ox, (NAME(element) *)to + at, index != NULL ? index + at : NULL);
        }
}

/* Gathers: an input pixel adds up, in fp32, what every window over it sends back. */
INLINE void NAME(pool_backward_at)(const struct pool_pass *pass, const NAME(element) * dy,
                                   const uint8_t *index, int iy, int ix, NAME(element) * dx,
                                   bool accumulate)
{
    int channels = pass->channels;
    for (int c = 0; c < channels; c += LANES) {
        int lanes = lanes_at(c, channels);
        vec total = {0};
        for (int ky = 0; ky < pass->kernel[0]; ky++) {
            int oy = iy + pass->pad[0] - ky;
            if (oy < 0 || oy % pass->stride[0] != 0 || oy / pass->stride[0] >= pass->output[0])
                continue;
            oy /= pass->stride[0];
            for (int kx = 0; kx < pass->kernel[1]; kx++) {
                int ox = ix + pass->pad[1] - kx;
                if (ox < 0 || ox % pass->stride[1] != 0 || ox / pass->stride[1] >= pass->output[1])
                    continue;
                ox /= pass->stride[1];
                int64_t at = ((int64_t)oy * pass->output[1] + ox) * channels + c;
                vec sent = NAME(get)(dy + at, lanes);
                if (pass->maximum) {
                    byte_vec bytes = {0};
                    memcpy(&bytes, index + at, (size_t)lanes);
                    ivec where = __builtin_convertvector(bytes, ivec);
                    total += vec_select(where == ky * pass->kernel[1] + kx, sent, vec_of(0.0f));
                } else {
                    total += sent * (1.0f / (float)NAME(pool_divisor)(pass, oy, ox));
                }
            }
        }
        NAME(put_or_add)(dx + c, total, lanes, accumulate);
    }
}

KERNEL void NAME(pool_backward)(const struct pool_pass *pass, const void *dy, const uint8_t *index,
                                void *to, bool accumulate)
{
    for (int iy = 0; iy < pass->input[0]; iy++)
        for (int ix = 0; ix < pass->input[1]; ix++)
            NAME(pool_backward_at)
    (pass, dy, index, iy, ix,
     (NAME(element) *)to + ((int64_t)iy * pass->input[1] + ix) * pass->channels, accumulate);
}

/* ---- depthwise weight gradients ------------------------------------------------------------ */

/* One output row against one input row, for one kernel row of `width` weights whose sums stay in
 * registers. */
INLINE void NAME(depthwise_row)(const struct window_pass *pass, const NAME(element) * x,
                                const NAME(element) * dy, int width, int lanes, vec *sums)
{
    int channels = pass->channels, stride = pass->stride[1], pad = pass->pad[1];
    for (int ox = 0; ox < pass->output[1]; ox++) {
        vec sent = NAME(get)(dy + (int64_t)ox * channels, lanes);
        int start = ox * stride - pad;
        const NAME(element) *at = x + (int64_t)start * channels;
        if (start >= 0 && start + width <= pass->input[1]) {
#pragma GCC unroll 7
            for (int kx = 0; kx < width; kx++)
                sums[kx] += sent * NAME(get)(at + (int64_t)kx * channels, lanes);
        } else {
#pragma GCC unroll 7
            for (int kx = 0; kx < width; kx++)
                if (start + kx >= 0 && start + kx < pass->input[1])
                    sums[kx] += sent * NAME(get)(at + (int64_t)kx * channels, lanes);
        }
    }
}

INLINE void NAME(depthwise_kernel_row)(const struct window_pass *pass, const NAME(element) * x,
                                       const NAME(element) * dy, int ky, int width, int lanes,
                                       float *gradient)
{
    vec sums[7] = {{0}};
    int channels = pass->channels;
    for (int oy = 0; oy < pass->output[0]; oy++) {
        int iy = oy * pass->stride[0] - pass->pad[0] + ky;
        if (iy < 0 || iy >= pass->input[0])
            continue;
        NAME(depthwise_row)
        (pass, x + (int64_t)iy * pass->input[1] * channels,
         dy + (int64_t)oy * pass->output[1] * channels, width, lanes, sums);
    }
#pragma GCC unroll 7
    for (int kx = 0; kx < width; kx++) {
        float *to = gradient + (int64_t)(ky * pass->kernel[1] + kx) * channels;
        channels_store(to, channels_load(to, lanes) + sums[kx], lanes);
    }
}

KERNEL void NAME(depthwise_weights)(const struct window_pass *pass, const void *from,
                                    const void *gradient_from, float *gradient)
{
    const NAME(element) *x = from, *dy = gradient_from;
    for (int c = 0; c < pass->channels; c += LANES) {
        int lanes = lanes_at(c, pass->channels);
        for (int ky = 0; ky < pass->kernel[0]; ky++) {
            if (pass->kernel[1] == 3 && lanes == LANES)
                NAME(depthwise_kernel_row)(pass, x + c, dy + c, ky, 3, LANES, gradient + c);
            else if (pass->kernel[1] == 5 && lanes == LANES)
                NAME(depthwise_kernel_row)(pass, x + c, dy + c, ky, 5, LANES, gradient + c);
            else
                NAME(depthwise_kernel_row)
            (pass, x + c, dy + c, ky, pass->kernel[1], lanes, gradient + c);
        }
    }
}

/* ---- convolutions as products of matrices -------------------------------------------------- */

KERNEL void NAME(columns)(const struct window_pass *pass, const void *from, void *to)
{
    const NAME(element) *x = from;
    NAME(element) *y = to;
    const size_t row = (size_t)pass->channels;
    for (int oy = 0; oy < pass->output[0]; oy++)
        for (int ox = 0; ox < pass->output[1]; ox++)
            for (int ky = 0; ky < pass->kernel[0]; ky++)
                for (int kx = 0; kx < pass->kernel[1]; kx++, y += row) {
                    int iy = oy * pass->stride[0] - pass->pad[0] + ky;
                    int ix = ox * pass->stride[1] - pass->pad[1] + kx;
                    if (iy < 0 || iy >= pass->input[0] || ix < 0 || ix >= pass->input[1])
                        memset(y, 0, row * sizeof *y);
                    else
                        memcpy(y, x + ((size_t)iy * (size_t)pass->input[1] + (size_t)ix) * row,
                               row * sizeof *y);
                }
}

/* Which output saw input `at` through kernel position `k`; -1 when none did. */
INLINE int NAME(output_of)(int at, int k, int pad, int stride, int count)
{
    int start = at + pad - k;
    return start < 0 || start % stride != 0 || start / stride >= count ? -1 : start / stride;
}

INLINE void NAME(columns_backward_at)(const struct window_pass *pass, const NAME(element) * dy,
                                      int iy, int ix, NAME(element) * dx, bool accumulate)
{
    const int height = pass->kernel[0], width = pass->kernel[1], channels = pass->channels;
    const NAME(element) * rows[64];
    int count = 0;

    for (int ky = 0; ky < height; ky++)
        for (int kx = 0; kx < width; kx++) {
            int oy = NAME(output_of)(iy, ky, pass->pad[0], pass->stride[0], pass->output[0]);
            int ox = NAME(output_of)(ix, kx, pass->pad[1], pass->stride[1], pass->output[1]);
            if (oy >= 0 && ox >= 0)
                rows[count++] =
                    dy + (((int64_t)oy * pass->output[1] + ox) * height * width + ky * width + kx) *
                             channels;
        }
    for (int c = 0; c < channels; c += LANES) {
        int lanes = lanes_at(c, channels);
        vec total = {0};
        for (int i = 0; i < count; i++)
            total += NAME(get)(rows[i] + c, lanes);
        NAME(put_or_add)(dx + c, total, lanes, accumulate);
    }
}

KERNEL void NAME(columns_backward)(const struct window_pass *pass, const void *dy, void *to,
                                   bool accumulate)
{
    NAME(element) *dx = to;
    for (int iy = 0; iy < pass->input[0]; iy++)
        for (int ix = 0; ix < pass->input[1]; ix++, dx += pass->channels)
            NAME(columns_backward_at)(pass, dy, iy, ix, dx, accumulate);
}
