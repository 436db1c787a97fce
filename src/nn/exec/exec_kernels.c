/* The steps that run our own kernels: which part of a tensor each call gets, and on which thread.
 */
#include <math.h>
#include <string.h>

#include "nn/exec/exec_binding.h"

enum {
    /* Work of fewer elements is not worth a fork and a join. */
    SPLIT_ELEMENTS_MIN = 16384,
    /* Channels of one share in NHWC when several threads want their part: whole cache lines. */
    SHARE_CHANNELS = 32,
};

/* A picture in the arena as the kernels see it: `shares` matrices of rows by columns. */
struct picture {
    enum layout layout;
    int64_t images, channels, pixels;
    int64_t width;  /* columns of one share: lanes when blocked */
    int64_t groups; /* shares of one image */
    int64_t stride;
};

static struct picture describe_picture(const struct exec_plan *plan, int tensor, int64_t width)
{
    const struct exec_tensor *t = &plan->tensors[tensor];
    struct picture picture = {.layout = t->layout,
                              .images = t->shape.dims[0],
                              .channels = t->shape.dims[1],
                              .pixels = t->shape.dims[2] * t->shape.dims[3]};

    switch (t->layout) {
    case LAYOUT_BLOCKED:
        picture.width = plan->source->lanes;
        picture.stride = picture.width;
        break;
    case LAYOUT_PLAIN: /* a channel is a row: see share_at */
        picture.width = 1;
        picture.stride = 1;
        break;
    default:
        picture.width = width < picture.channels ? width : picture.channels;
        picture.stride = picture.channels;
        break;
    }
    picture.groups = (picture.channels + picture.width - 1) / picture.width;
    return picture;
}

static int64_t shares_of(const struct picture *picture)
{
    return picture->images * picture->groups;
}

/* The columns that hold channels; the last block's rest is padding. */
static int64_t columns_of(const struct picture *picture, int64_t share)
{
    int64_t from = share % picture->groups * picture->width;
    int64_t left = picture->channels - from;

    return left < picture->width ? left : picture->width;
}

/* Index of the first element of a share, and of its first channel among all images' channels. */
static int64_t share_at(const struct picture *picture, int64_t share)
{
    int64_t image = share / picture->groups, group = share % picture->groups;

    if (picture->layout == LAYOUT_BLOCKED || picture->layout == LAYOUT_PLAIN)
        return share * picture->pixels * picture->width;
    return image * picture->pixels * picture->channels + group * picture->width;
}

static int64_t channel_at(const struct picture *picture, int64_t share)
{
    return share / picture->groups * picture->channels + share % picture->groups * picture->width;
}

/* A kernel's job: what every share needs. */
struct job {
    const struct pointwise *kernels;
    struct picture picture;
    const void *source;
    void *destination;
    const float *scale, *shift;
    float *means;  /* [images, channels] */
    int64_t count; /* of a flat job */
};

typedef void (*job_share)(const struct job *job, int64_t share);

static void run_shares(const struct job *job, job_share run, int64_t shares, int threads,
                       int64_t elements)
{
    if (threads > 1 && elements >= SPLIT_ELEMENTS_MIN && shares > 1) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t share = 0; share < shares; share++)
            run(job, share);
        return;
    }
    for (int64_t share = 0; share < shares; share++)
        run(job, share);
}

static void finish_means(const struct job *job, int64_t share, float *means)
{
    int64_t columns = columns_of(&job->picture, share);

    for (int64_t c = 0; c < columns; c++)
        means[c] /= (float)job->picture.pixels;
}

static void swish_mean_share(const struct job *job, int64_t share)
{
    const struct picture *p = &job->picture;
    int64_t columns = columns_of(p, share), at = share_at(p, share);
    float *means = job->means + channel_at(p, share);

    memset(means, 0, (size_t)columns * sizeof *means);
    if (p->layout == LAYOUT_NHWC_BF16)
        job->kernels->swish_bf16((uint16_t *)job->destination + at, p->pixels, columns, p->stride,
                                 means);
    else
        job->kernels->swish_f32((float *)job->destination + at, p->pixels, columns, p->stride,
                                means);
    finish_means(job, share, means);
}

static void mean_share(const struct job *job, int64_t share)
{
    const struct picture *p = &job->picture;
    int64_t columns = columns_of(p, share), at = share_at(p, share);
    float *means = job->means + channel_at(p, share);

    memset(means, 0, (size_t)columns * sizeof *means);
    if (p->layout == LAYOUT_NHWC_BF16)
        job->kernels->sum_bf16((const uint16_t *)job->source + at, p->pixels, columns, p->stride,
                               means);
    else
        job->kernels->sum_f32((const float *)job->source + at, p->pixels, columns, p->stride,
                              means);
    finish_means(job, share, means);
}

static void scale_share(const struct job *job, int64_t share)
{
    const struct picture *p = &job->picture;
    int64_t columns = columns_of(p, share), at = share_at(p, share);
    int64_t channel = channel_at(p, share);
    const float *scale = job->scale + channel;
    const float *shift = job->shift != NULL ? job->shift + channel : NULL;

    if (p->layout == LAYOUT_NHWC_BF16)
        job->kernels->scale_bf16((const uint16_t *)job->source + at,
                                 (uint16_t *)job->destination + at, p->pixels, columns, p->stride,
                                 scale, shift);
    else
        job->kernels->scale_f32((const float *)job->source + at, (float *)job->destination + at,
                                p->pixels, columns, p->stride, scale, shift);
}

/* Swish without a mean does not care where channels lie: a flat piece of the whole. */
static void swish_flat_share(const struct job *job, int64_t share)
{
    int64_t from = share * SPLIT_ELEMENTS_MIN;
    int64_t count = job->count - from < SPLIT_ELEMENTS_MIN ? job->count - from : SPLIT_ELEMENTS_MIN;

    if (job->picture.layout == LAYOUT_NHWC_BF16)
        job->kernels->swish_bf16((uint16_t *)job->destination + from, 1, count, count, NULL);
    else
        job->kernels->swish_f32((float *)job->destination + from, 1, count, count, NULL);
}

static const void *argument_data(const struct exec_binding *binding, const struct step *step,
                                 int role)
{
    for (int a = 0; a < step->argument_count; a++) {
        if (step->arguments[a].role == role)
            return step->arguments[a].tensor >= 0
                       ? exec_tensor_data(binding, step->arguments[a].tensor)
                       : step->arguments[a].data;
    }
    return NULL;
}

static int argument_tensor(const struct step *step, int role)
{
    for (int a = 0; a < step->argument_count; a++) {
        if (step->arguments[a].role == role)
            return step->arguments[a].tensor;
    }
    return -1;
}

static void *argument_target(const struct exec_binding *binding, const struct step *step, int role)
{
    int tensor = argument_tensor(step, role);

    return tensor < 0 ? NULL : exec_tensor_data(binding, tensor);
}

void exec_swish(const struct exec_binding *binding, const struct step *step)
{
    const struct exec_plan *plan = binding->plan;
    int tensor = argument_tensor(step, DNNL_ARG_DST);
    const struct exec_tensor *t = &plan->tensors[tensor];
    size_t element = t->layout == LAYOUT_NHWC_BF16 ? sizeof(uint16_t) : sizeof(float);
    struct job job = {.kernels = &plan->source->kernels,
                      .destination = exec_tensor_data(binding, tensor),
                      .means = argument_target(binding, step, DNNL_ARG_DST_1),
                      .count = (int64_t)(t->size / element)};

    if (job.means != NULL) {
        /* One share an image unless several threads want their part. */
        job.picture =
            describe_picture(plan, tensor, plan->threads > 1 ? SHARE_CHANNELS : INT64_MAX);
        run_shares(&job, swish_mean_share, shares_of(&job.picture), plan->threads, job.count);
        return;
    }
    job.picture.layout = t->layout;
    run_shares(&job, swish_flat_share, (job.count + SPLIT_ELEMENTS_MIN - 1) / SPLIT_ELEMENTS_MIN,
               plan->threads, job.count);
}

void exec_mean(const struct exec_binding *binding, const struct step *step)
{
    const struct exec_plan *plan = binding->plan;
    int tensor = argument_tensor(step, DNNL_ARG_SRC);
    struct job job = {.kernels = &plan->source->kernels,
                      .picture = describe_picture(plan, tensor, SHARE_CHANNELS),
                      .source = exec_tensor_data(binding, tensor),
                      .means = argument_target(binding, step, DNNL_ARG_DST)};

    run_shares(&job, mean_share, shares_of(&job.picture), plan->threads,
               shape_elements(&plan->tensors[tensor].shape));
}

void exec_scale(const struct exec_binding *binding, const struct step *step)
{
    const struct exec_plan *plan = binding->plan;
    int tensor = argument_tensor(step, DNNL_ARG_SRC);
    struct job job = {
        .kernels = &plan->source->kernels,
        .picture = describe_picture(plan, tensor, plan->threads > 1 ? SHARE_CHANNELS : INT64_MAX),
        .source = exec_tensor_data(binding, tensor),
        .destination = argument_target(binding, step, DNNL_ARG_DST),
        .scale = argument_data(binding, step, DNNL_ARG_WEIGHTS),
        .shift = argument_data(binding, step, DNNL_ARG_BIAS)};

    run_shares(&job, scale_share, shares_of(&job.picture), plan->threads,
               shape_elements(&plan->tensors[tensor].shape));
}

/* A row's activation; dense layers are small, so only the two that take an exponential are quick.
 */
static void activate(const struct pointwise *kernels, const struct step *step, float *x,
                     int64_t count)
{
    switch (step->activation) {
    case ACTIVATION_NONE:
        break;
    case ACTIVATION_SIGMOID:
        kernels->sigmoid(x, count);
        break;
    case ACTIVATION_SWISH:
        kernels->swish_f32(x, 1, count, count, NULL);
        break;
    case ACTIVATION_RELU:
        for (int64_t i = 0; i < count; i++)
            x[i] = fmaxf(x[i], 0.0f);
        break;
    case ACTIVATION_CLIP:
        for (int64_t i = 0; i < count; i++)
            x[i] = fminf(fmaxf(x[i], step->a), step->b);
        break;
    case ACTIVATION_LEAKY_RELU:
        for (int64_t i = 0; i < count; i++)
            x[i] = x[i] < 0.0f ? x[i] * step->a : x[i];
        break;
    case ACTIVATION_HARD_SIGMOID:
        for (int64_t i = 0; i < count; i++)
            x[i] = fminf(fmaxf(step->a * x[i] + step->b, 0.0f), 1.0f);
        break;
    case ACTIVATION_HARD_SWISH:
        for (int64_t i = 0; i < count; i++)
            x[i] *= fminf(fmaxf(x[i] / 6.0f + 0.5f, 0.0f), 1.0f);
        break;
    }
}

void exec_dense(const struct exec_binding *binding, const struct step *step)
{
    const struct exec_plan *plan = binding->plan;
    const struct pointwise *kernels = &plan->source->kernels;
    const struct shape *x = &plan->tensors[argument_tensor(step, DNNL_ARG_SRC)].shape;
    const struct shape *y = &plan->tensors[argument_tensor(step, DNNL_ARG_DST)].shape;
    const float *source = argument_data(binding, step, DNNL_ARG_SRC);
    float *destination = argument_target(binding, step, DNNL_ARG_DST);
    int64_t inputs = x->dims[1], outputs = y->dims[1];

    for (int64_t row = 0; row < x->dims[0]; row++)
        kernels->dense(
            source + row * inputs, inputs, argument_data(binding, step, DNNL_ARG_WEIGHTS),
            argument_data(binding, step, DNNL_ARG_BIAS), destination + row * outputs, outputs);
    activate(kernels, step, destination, x->dims[0] * outputs);
}

void exec_pack(const struct exec_binding *binding, const struct step *step)
{
    const struct exec_plan *plan = binding->plan;
    const struct shape *x = &plan->tensors[argument_tensor(step, DNNL_ARG_SRC)].shape;
    const float *source = argument_data(binding, step, DNNL_ARG_SRC);
    uint16_t *destination = argument_target(binding, step, DNNL_ARG_DST);
    int64_t channels = x->dims[1], pixels = x->dims[2] * x->dims[3];

    for (int64_t image = 0; image < x->dims[0]; image++)
        plan->source->kernels.pack_bf16(source + image * channels * pixels, channels, pixels,
                                        destination + image * channels * pixels);
}

void exec_softmax(const struct exec_binding *binding, const struct step *step)
{
    const struct shape *x = &binding->plan->tensors[argument_tensor(step, DNNL_ARG_DST)].shape;
    int classes = (int)x->dims[x->rank - 1];

    softmax_rows(argument_target(binding, step, DNNL_ARG_DST), (int)(shape_elements(x) / classes),
                 classes);
}
