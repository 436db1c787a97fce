/* The kernels themselves, in the names and element type the including file defines:
 *   NAME(x)         the prefix of this instance
 *   KERNELS_BF16    1 when elements are bf16, 0 when they are f32
 *   KERNELS_AVX512  1 when AVX-512 intrinsics may be used
 *
 * Rows are walked in tiles of eight, so that per-channel values are loaded once for eight uses and
 * memory is read in eight sequential streams. Channels are walked in vectors; a last
 * part shorter than that goes through the masked loads. */
#include "nn/train/kernels_vector.h"

#ifndef NN_TRAIN_KERNELS_TILE
#define NN_TRAIN_KERNELS_TILE
enum { TILE = 8 };

INLINE vec vec_load_part_f32(const float *from, int lanes)
{
#if KERNELS_AVX512
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << lanes) - 1), from);
#else
    float whole[LANES] = {0};
    memcpy(whole, from, (size_t)lanes * sizeof *from);
    return vec_load_f32(whole);
#endif
}

INLINE void vec_store_part_f32(float *to, vec value, int lanes)
{
#if KERNELS_AVX512
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << lanes) - 1), (__m512)value);
#else
    memcpy(to, &value, (size_t)lanes * sizeof *to);
#endif
}

INLINE vec channels_load(const float *from, int lanes)
{
    return lanes == LANES ? vec_load_f32(from) : vec_load_part_f32(from, lanes);
}

INLINE void channels_store(float *to, vec value, int lanes)
{
    if (lanes == LANES)
        vec_store_f32(to, value);
    else
        vec_store_part_f32(to, value, lanes);
}

INLINE int tile_at(int64_t row, int64_t end)
{
    return end - row < TILE ? (int)(end - row) : TILE;
}

INLINE int lanes_at(int channel, int channels)
{
    return channels - channel < LANES ? channels - channel : LANES;
}

/* A NaN must come through, so that the loss shows it: vec_min and vec_max return their second
 * argument for one. */
INLINE vec act(vec z, enum activation activation, float low, float high)
{
    switch (activation) {
    case ACTIVATION_RELU:
        return vec_max(vec_of(0.0f), z);
    case ACTIVATION_CLIP:
        return vec_min(vec_of(high), vec_max(vec_of(low), z));
    case ACTIVATION_SWISH:
        return z * vec_sigmoid(z);
    case ACTIVATION_SIGMOID:
        return vec_sigmoid(z);
    default:
        return z;
    }
}

/* dz from dy, at the point z. For RELU and CLIP, y may stand in for z. */
INLINE vec act_backward(vec z, vec dy, enum activation activation, float low, float high)
{
    switch (activation) {
    case ACTIVATION_RELU:
        return vec_select(z > vec_of(0.0f), dy, vec_of(0.0f));
    case ACTIVATION_CLIP:
        return vec_select((z > vec_of(low)) & (z < vec_of(high)), dy, vec_of(0.0f));
    case ACTIVATION_SWISH: {
        vec s = vec_sigmoid(z);
        return dy * (s + z * s * (1.0f - s));
    }
    case ACTIVATION_SIGMOID: {
        vec s = vec_sigmoid(z);
        return dy * s * (1.0f - s);
    }
    default:
        return dy;
    }
}

/* Calls `call(activation constant)` so that each activation gets a loop of its own. */
#define WITH_ACTIVATION(activation, call)                                                          \
    switch (activation) {                                                                          \
    case ACTIVATION_RELU:                                                                          \
        call(ACTIVATION_RELU);                                                                     \
        break;                                                                                     \
    case ACTIVATION_CLIP:                                                                          \
        call(ACTIVATION_CLIP);                                                                     \
        break;                                                                                     \
    case ACTIVATION_SWISH:                                                                         \
        call(ACTIVATION_SWISH);                                                                    \
        break;                                                                                     \
    case ACTIVATION_SIGMOID:                                                                       \
        call(ACTIVATION_SIGMOID);                                                                  \
        break;                                                                                     \
    default:                                                                                       \
        call(ACTIVATION_NONE);                                                                     \
        break;                                                                                     \
    }
#endif

INLINE vec NAME(get)(const NAME(element) * from, int lanes)
{
    return lanes == LANES ? NAME(load)(from) : NAME(load_part)(from, lanes);
}

INLINE void NAME(put)(NAME(element) * to, vec value, int lanes)
{
    if (lanes == LANES)
        NAME(store)(to, value);
    else
        NAME(store_part)(to, value, lanes);
}

INLINE void NAME(put_or_add)(NAME(element) * to, vec value, int lanes, bool accumulate)
{
    NAME(put)(to, accumulate ? NAME(get)(to, lanes) + value : value, lanes);
}

/* ---- batch norm ---------------------------------------------------------------------------- */

INLINE void NAME(statistics_block)(const NAME(element) * x, int rows, int channels,
                                   const float *pivot, float *sum, float *square, int c, int lanes)
{
    vec shift = channels_load(pivot + c, lanes);
    vec total = channels_load(sum + c, lanes), total_square = channels_load(square + c, lanes);
    for (int r = 0; r < rows; r++) {
        vec value = NAME(get)(x + (int64_t)r * channels + c, lanes) - shift;
        total += value;
        total_square += value * value;
    }
    channels_store(sum + c, total, lanes);
    channels_store(square + c, total_square, lanes);
}

INLINE void NAME(statistics_tile)(const NAME(element) * x, int rows, int channels,
                                  const float *pivot, float *sum, float *square)
{
    int c = 0;
    for (; c + LANES <= channels; c += LANES)
        NAME(statistics_block)(x, rows, channels, pivot, sum, square, c, LANES);
    if (c < channels)
        NAME(statistics_block)(x, rows, channels, pivot, sum, square, c, channels - c);
}

KERNEL void NAME(norm_statistics)(const void *data, int64_t rows, int channels, const float *pivot,
                                  float *sum, float *square)
{
    const NAME(element) *x = data;
    memset(sum, 0, (size_t)channels * sizeof *sum);
    memset(square, 0, (size_t)channels * sizeof *square);
    for (int64_t r = 0; r < rows; r += TILE)
        NAME(statistics_tile)(x + r * channels, tile_at(r, rows), channels, pivot, sum, square);
}

INLINE void NAME(norm_forward_block)(const struct norm_pass *pass, int64_t row, int rows,
                                     enum activation activation, bool residual, int c, int lanes)
{
    int channels = pass->channels;
    const NAME(element) *x = (const NAME(element) *)pass->x + row * channels;
    const NAME(element) *add =
        (const NAME(element) *)pass->residual + (residual ? row * channels : 0);
    NAME(element) *y = (NAME(element) *)pass->y + row * channels;
    vec scale = channels_load(pass->scale + c, lanes);
    vec shift = channels_load(pass->shift + c, lanes);
    for (int r = 0; r < rows; r++) {
        int64_t at = (int64_t)r * channels + c;
        vec z = NAME(get)(x + at, lanes) * scale + shift;
        if (residual)
            z += NAME(get)(add + at, lanes);
        NAME(put)(y + at, act(z, activation, pass->low, pass->high), lanes);
    }
}

INLINE void NAME(norm_forward_tile)(const struct norm_pass *pass, int64_t row, int rows,
                                    enum activation activation, bool residual)
{
    int c = 0;
    for (; c + LANES <= pass->channels; c += LANES)
        NAME(norm_forward_block)(pass, row, rows, activation, residual, c, LANES);
    if (c < pass->channels)
        NAME(norm_forward_block)(pass, row, rows, activation, residual, c, pass->channels - c);
}

KERNEL void NAME(norm_forward)(const struct norm_pass *pass, int64_t begin, int64_t end)
{
#define CALL(activation)                                                                           \
    do {                                                                                           \
        int64_t r = begin;                                                                         \
        if (pass->residual != NULL) {                                                              \
            for (; r < end; r += TILE)                                                             \
                NAME(norm_forward_tile)(pass, r, tile_at(r, end), activation, true);               \
        } else {                                                                                   \
            for (; r < end; r += TILE)                                                             \
                NAME(norm_forward_tile)(pass, r, tile_at(r, end), activation, false);              \
        }                                                                                          \
    } while (0)
    WITH_ACTIVATION(pass->activation, CALL)
#undef CALL
}

/* With a residual the point z is not x*scale + shift, but RELU and CLIP can be undone from y; dz
 * then replaces dy, where it is at once the residual's gradient and what norm_backward reads. */
INLINE void NAME(norm_reduce_block)(const struct norm_pass *pass, int64_t row, int rows,
                                    enum activation activation, bool residual, float *sum_dz,
                                    float *sum_dz_x, int c, int lanes)
{
    int channels = pass->channels;
    const NAME(element) *x = (const NAME(element) *)pass->x + row * channels;
    const NAME(element) *y = (const NAME(element) *)pass->y + row * channels;
    NAME(element) *dy = (NAME(element) *)pass->dy + row * channels;
    vec scale = channels_load(pass->scale + c, lanes);
    vec shift = channels_load(pass->shift + c, lanes);
    vec mean = channels_load(pass->mean + c, lanes);
    vec total = channels_load(sum_dz + c, lanes), total_x = channels_load(sum_dz_x + c, lanes);
    for (int r = 0; r < rows; r++) {
        int64_t at = (int64_t)r * channels + c;
        vec value = NAME(get)(x + at, lanes);
        vec dz = NAME(get)(dy + at, lanes);
        if (activation != ACTIVATION_NONE) {
            vec z = residual ? NAME(get)(y + at, lanes) : value * scale + shift;
            dz = act_backward(z, dz, activation, pass->low, pass->high);
            if (residual)
                NAME(put)(dy + at, dz, lanes);
        }
        total += dz;
        total_x += dz * (value - mean);
    }
    channels_store(sum_dz + c, total, lanes);
    channels_store(sum_dz_x + c, total_x, lanes);
}

INLINE void NAME(norm_reduce_tile)(const struct norm_pass *pass, int64_t row, int rows,
                                   enum activation activation, bool residual, float *sum_dz,
                                   float *sum_dz_x)
{
    int c = 0;
    for (; c + LANES <= pass->channels; c += LANES)
        NAME(norm_reduce_block)(pass, row, rows, activation, residual, sum_dz, sum_dz_x, c, LANES);
    if (c < pass->channels)
        NAME(norm_reduce_block)
    (pass, row, rows, activation, residual, sum_dz, sum_dz_x, c, pass->channels - c);
}

KERNEL void NAME(norm_reduce)(const struct norm_pass *pass, int64_t begin, int64_t end,
                              float *sum_dz, float *sum_dz_x)
{
    memset(sum_dz, 0, (size_t)pass->channels * sizeof *sum_dz);
    memset(sum_dz_x, 0, (size_t)pass->channels * sizeof *sum_dz_x);
#define CALL(activation)                                                                           \
    do {                                                                                           \
        int64_t r = begin;                                                                         \
        if (pass->residual != NULL) {                                                              \
            for (; r < end; r += TILE)                                                             \
                NAME(norm_reduce_tile)                                                             \
            (pass, r, tile_at(r, end), activation, true, sum_dz, sum_dz_x);                        \
        } else {                                                                                   \
            for (; r < end; r += TILE)                                                             \
                NAME(norm_reduce_tile)                                                             \
            (pass, r, tile_at(r, end), activation, false, sum_dz, sum_dz_x);                       \
        }                                                                                          \
    } while (0)
    WITH_ACTIVATION(pass->activation, CALL)
#undef CALL
}

INLINE void NAME(norm_backward_block)(const struct norm_pass *pass, int64_t row, int rows,
                                      enum activation activation, int c, int lanes)
{
    int channels = pass->channels;
    const NAME(element) *x = (const NAME(element) *)pass->x + row * channels;
    const NAME(element) *dy = (const NAME(element) *)pass->dy + row * channels;
    NAME(element) *dx = (NAME(element) *)pass->dx + row * channels;
    vec scale = channels_load(pass->scale + c, lanes);
    vec shift = channels_load(pass->shift + c, lanes);
    vec slope = channels_load(pass->slope + c, lanes);
    vec curve = channels_load(pass->curve + c, lanes);
    vec offset = channels_load(pass->offset + c, lanes);
    for (int r = 0; r < rows; r++) {
        int64_t at = (int64_t)r * channels + c;
        vec value = NAME(get)(x + at, lanes);
        vec dz = act_backward(value * scale + shift, NAME(get)(dy + at, lanes), activation,
                              pass->low, pass->high);
        NAME(put_or_add)
        (dx + at, slope * dz + (curve * value + offset), lanes, pass->accumulate);
    }
}

INLINE void NAME(norm_backward_tile)(const struct norm_pass *pass, int64_t row, int rows,
                                     enum activation activation)
{
    int c = 0;
    for (; c + LANES <= pass->channels; c += LANES)
        NAME(norm_backward_block)(pass, row, rows, activation, c, LANES);
    if (c < pass->channels)
        NAME(norm_backward_block)(pass, row, rows, activation, c, pass->channels - c);
}

KERNEL void NAME(norm_backward)(const struct norm_pass *pass, int64_t begin, int64_t end)
{
    enum activation left = pass->residual != NULL ? ACTIVATION_NONE : pass->activation;
#define CALL(activation)                                                                           \
    do {                                                                                           \
        int64_t r = begin;                                                                         \
        for (; r < end; r += TILE)                                                                 \
            NAME(norm_backward_tile)(pass, r, tile_at(r, end), activation);                        \
    } while (0)
    WITH_ACTIVATION(left, CALL)
#undef CALL
}

/* ---- elementwise --------------------------------------------------------------------------- */

/* for each vector of a flat array: `at`, `lanes` */
#define EACH_VECTOR(count)                                                                         \
    for (int64_t at = 0, lanes_; at < (count); at += LANES)                                        \
        for (int lanes = (lanes_ = (count)-at) < LANES ? (int)lanes_ : LANES; lanes > 0; lanes = 0)

KERNEL void NAME(activate)(const void *from, void *to, int64_t count, enum activation activation,
                           float low, float high)
{
    const NAME(element) *x = from;
    NAME(element) *y = to;
#define CALL(activation)                                                                           \
    EACH_VECTOR(count)                                                                             \
    NAME(put)(y + at, act(NAME(get)(x + at, lanes), activation, low, high), lanes)
    WITH_ACTIVATION(activation, CALL)
#undef CALL
}

KERNEL void NAME(activate_backward)(const void *from, const void *gradient, void *to, int64_t count,
                                    enum activation activation, float low, float high,
                                    bool accumulate)
{
    const NAME(element) *x = from, *dy = gradient;
    NAME(element) *dx = to;
#define CALL(activation)                                                                           \
    EACH_VECTOR(count)                                                                             \
    NAME(put_or_add)                                                                               \
    (dx + at,                                                                                      \
     act_backward(NAME(get)(x + at, lanes), NAME(get)(dy + at, lanes), activation, low, high),     \
     lanes, accumulate)
    WITH_ACTIVATION(activation, CALL)
#undef CALL
}

KERNEL void NAME(add)(const void *left, const void *right, void *to, int64_t count)
{
    const NAME(element) *a = left, *b = right;
    NAME(element) *y = to;
    EACH_VECTOR(count)
    NAME(put)(y + at, NAME(get)(a + at, lanes) + NAME(get)(b + at, lanes), lanes);
}

KERNEL void NAME(multiply)(const void *left, const void *right, void *to, int64_t count,
                           bool accumulate)
{
    const NAME(element) *a = left, *b = right;
    NAME(element) *y = to;
    EACH_VECTOR(count)
    NAME(put_or_add)
    (y + at, NAME(get)(a + at, lanes) * NAME(get)(b + at, lanes), lanes, accumulate);
}

KERNEL void NAME(copy)(const void *from, void *to, int64_t count, bool accumulate)
{
    const NAME(element) *x = from;
    NAME(element) *y = to;
    if (!accumulate) {
        memcpy(y, x, (size_t)count * sizeof *y);
        return;
    }
    EACH_VECTOR(count)
    NAME(put)(y + at, NAME(get)(y + at, lanes) + NAME(get)(x + at, lanes), lanes);
}

KERNEL void NAME(mask)(const void *from, const uint8_t *keep, float factor, void *to, int64_t count,
                       bool accumulate)
{
    const NAME(element) *x = from;
    NAME(element) *y = to;
    EACH_VECTOR(count)
    {
        vec kept = {0};
        for (int i = 0; i < lanes; i++)
            kept[i] = keep[at + i] ? factor : 0.0f;
        NAME(put_or_add)(y + at, NAME(get)(x + at, lanes) * kept, lanes, accumulate);
    }
}

/* ---- one image's rows against one row ------------------------------------------------------ */

KERNEL void NAME(scale)(const void *from, const void *factors, void *to, int64_t rows, int channels,
                        bool accumulate)
{
    const NAME(element) *x = from, *s = factors;
    NAME(element) *y = to;
    for (int64_t r = 0; r < rows; r += TILE) {
        int tile = rows - r < TILE ? (int)(rows - r) : TILE;
        for (int c = 0; c < channels; c += LANES) {
            int lanes = lanes_at(c, channels);
            vec factor = NAME(get)(s + c, lanes);
            for (int i = 0; i < tile; i++) {
                int64_t at = (r + i) * channels + c;
                NAME(put_or_add)(y + at, NAME(get)(x + at, lanes) * factor, lanes, accumulate);
            }
        }
    }
}

KERNEL void NAME(scale_reduce)(const void *from, const void *gradient, void *to, int64_t rows,
                               int channels, bool accumulate)
{
    const NAME(element) *x = from, *dy = gradient;
    NAME(element) *ds = to;
    for (int c = 0; c < channels; c += LANES) {
        int lanes = lanes_at(c, channels);
        vec total = {0};
        for (int64_t r = 0; r < rows; r++)
            total +=
                NAME(get)(x + r * channels + c, lanes) * NAME(get)(dy + r * channels + c, lanes);
        NAME(put_or_add)(ds + c, total, lanes, accumulate);
    }
}

KERNEL void NAME(mean)(const void *from, void *to, int64_t rows, int channels)
{
    const NAME(element) *x = from;
    NAME(element) *y = to;
    float inverse = 1.0f / (float)rows;
    for (int c = 0; c < channels; c += LANES) {
        int lanes = lanes_at(c, channels);
        vec total = {0};
        for (int64_t r = 0; r < rows; r++)
            total += NAME(get)(x + r * channels + c, lanes);
        NAME(put)(y + c, total * inverse, lanes);
    }
}

KERNEL void NAME(mean_backward)(const void *gradient, void *to, int64_t rows, int channels,
                                bool accumulate)
{
    const NAME(element) *dy = gradient;
    NAME(element) *dx = to;
    float inverse = 1.0f / (float)rows;
    for (int64_t r = 0; r < rows; r++)
        for (int c = 0; c < channels; c += LANES) {
            int lanes = lanes_at(c, channels);
            NAME(put_or_add)
            (dx + r * channels + c, NAME(get)(dy + c, lanes) * inverse, lanes, accumulate);
        }
}

/* ---- in and out ---------------------------------------------------------------------------- */

KERNEL void NAME(from_planes)(const float *planes, void *to, int64_t pixels, int channels)
{
    NAME(element) *y = to;
    for (int c = 0; c < channels; c++)
        EACH_VECTOR(pixels)
        {
            NAME(element) part[LANES];
            NAME(store)(part, channels_load(planes + c * pixels + at, lanes));
            for (int i = 0; i < lanes; i++)
                y[(at + i) * channels + c] = part[i];
        }
}

KERNEL void NAME(to_planes)(const void *from, float *planes, int64_t pixels, int channels)
{
    const NAME(element) *x = from;
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < channels; c += LANES) {
            int lanes = lanes_at(c, channels);
            vec part = NAME(get)(x + p * channels + c, lanes);
            for (int i = 0; i < lanes; i++)
                planes[(c + i) * pixels + p] = part[i];
        }
}

/* ---- optimiser ----------------------------------------------------------------------------- */

KERNEL void NAME(sgd)(const struct sgd_pass *pass, float *weight, const float *gradient,
                      float *velocity, float *average, int64_t count)
{
    float take = 1.0f - pass->average_keep;
    EACH_VECTOR(count)
    {
        vec w = channels_load(weight + at, lanes);
        vec g = channels_load(gradient + at, lanes) + pass->weight_decay * w;
        vec v = pass->momentum * channels_load(velocity + at, lanes) + g;
        w -= pass->learning_rate * (g + pass->momentum * v);
        channels_store(weight + at, w, lanes);
        channels_store(velocity + at, v, lanes);
        if (average != NULL) {
            vec mean = channels_load(average + at, lanes);
            channels_store(average + at, mean + take * (w - mean), lanes);
        }
    }
}

#include "nn/train/kernels_window.h"

static const struct kernels NAME(table) = {
    .name = KERNELS_AVX512 ? "avx512" : "plain",
    .element_size = sizeof(NAME(element)),
    .norm_statistics = NAME(norm_statistics),
    .norm_forward = NAME(norm_forward),
    .norm_reduce = NAME(norm_reduce),
    .norm_backward = NAME(norm_backward),
    .activate = NAME(activate),
    .activate_backward = NAME(activate_backward),
    .add = NAME(add),
    .multiply = NAME(multiply),
    .copy = NAME(copy),
    .mask = NAME(mask),
    .scale = NAME(scale),
    .scale_reduce = NAME(scale_reduce),
    .mean = NAME(mean),
    .mean_backward = NAME(mean_backward),
    .pool = NAME(pool),
    .pool_backward = NAME(pool_backward),
    .depthwise_weights = NAME(depthwise_weights),
    .columns = NAME(columns),
    .columns_backward = NAME(columns_backward),
    .from_planes = NAME(from_planes),
    .to_planes = NAME(to_planes),
    .sgd = NAME(sgd),
};
#undef EACH_VECTOR
