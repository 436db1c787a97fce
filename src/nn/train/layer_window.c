/* Pooling: windows, and the mean of a whole plane. */
#include <stdlib.h>

#include "nn/train/tape.h"

struct pool {
    struct pool_pass pass;
    uint8_t *index; /* of the largest, per output element; NULL for averages */
};

static const void *image_at(const struct tape *tape, const struct flow *flow, const void *data,
                            int64_t image)
{
    size_t size = (size_t)flow->h * (size_t)flow->w * (size_t)flow->c * tape->kernels->element_size;
    return (const char *)data + (size_t)image * size;
}

static void *image_to(const struct tape *tape, const struct flow *flow, void *data, int64_t image)
{
    return (void *)(uintptr_t)image_at(tape, flow, data, image);
}

static uint8_t *index_at(const struct layer *layer, int64_t image)
{
    const struct pool *pool = layer->state;
    const struct flow *y = layer->output;
    return pool->index != NULL ? pool->index + image * y->h * y->w * y->c : NULL;
}

static int pool_forward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct pool *pool = layer->state;
    const struct flow *x = layer->inputs[0], *y = layer->output;
    (void)err;
#pragma omp parallel for num_threads(tape->threads) if (tape->threads > 1) schedule(static)
    for (int64_t i = 0; i < x->n; i++)
        tape->kernels->pool(&pool->pass, image_at(tape, x, x->data, i),
                            image_to(tape, y, y->data, i), index_at(layer, i));
    return STATUS_OK;
}

static int pool_backward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct pool *pool = layer->state;
    const struct flow *x = layer->inputs[0], *y = layer->output;
    (void)err;
    if (!x->needs_gradient)
        return STATUS_OK;
#pragma omp parallel for num_threads(tape->threads) if (tape->threads > 1) schedule(static)
    for (int64_t i = 0; i < x->n; i++)
        tape->kernels->pool_backward(&pool->pass, image_at(tape, y, y->gradient, i),
                                     index_at(layer, i), image_to(tape, x, x->gradient, i),
                                     layer->accumulate[0]);
    return STATUS_OK;
}

static int pool_bind(struct tape *tape, struct layer *layer, struct error *err)
{
    struct pool *pool = layer->state;
    void *memory;
    (void)tape;
    if (!pool->pass.maximum)
        return STATUS_OK;
    int status =
        memory_create((size_t)flow_rows(layer->output) * (size_t)layer->output->c, &memory, err);
    if (status == STATUS_OK)
        pool->index = memory;
    return status;
}

static void pool_release(struct layer *layer)
{
    struct pool *pool = layer->state;
    free(pool->index);
}

static const struct layer_kind pool_kind = {
    .name = "pool",
    .bind = pool_bind,
    .forward = pool_forward,
    .backward = pool_backward,
    .release = pool_release,
};

int layer_pool_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                   struct error *err)
{
    const struct window *window = &node->u.pool.window;
    struct layer *layer;

    if ((window->dilation[0] > 1 || window->dilation[1] > 1) ||
        window->kernel[0] * window->kernel[1] > 256 ||
        (node->op == OP_AVERAGE_POOL && node->u.pool.ceil_mode && node->u.pool.count_include_pad))
        return error_set(err, STATUS_UNSUPPORTED,
                         "cannot train node '%s': pooling with this window", node->name);
    int status =
        tape_add_layer(tape, &pool_kind, node->name, x, NULL, y, sizeof(struct pool), &layer, err);
    if (status != STATUS_OK)
        return status;
    struct pool *pool = layer->state;
    pool->pass = (struct pool_pass){
        .channels = x->c,
        .input = {x->h, x->w},
        .output = {y->h, y->w},
        .kernel = {window->kernel[0], window->kernel[1]},
        .stride = {window->stride[0], window->stride[1]},
        .pad = {window->pad[0], window->pad[1]},
        .maximum = node->op == OP_MAX_POOL,
        .count_include_pad = node->u.pool.count_include_pad,
    };
    return STATUS_OK;
}

static int mean_forward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct flow *x = layer->inputs[0], *y = layer->output;
    (void)err;
#pragma omp parallel for num_threads(tape->threads) if (tape->threads > 1) schedule(static)
    for (int64_t i = 0; i < x->n; i++)
        tape->kernels->mean(image_at(tape, x, x->data, i), image_to(tape, y, y->data, i),
                            (int64_t)x->h * x->w, x->c);
    return STATUS_OK;
}

static int mean_backward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct flow *x = layer->inputs[0], *y = layer->output;
    (void)err;
    if (!x->needs_gradient)
        return STATUS_OK;
#pragma omp parallel for num_threads(tape->threads) if (tape->threads > 1) schedule(static)
    for (int64_t i = 0; i < x->n; i++)
        tape->kernels->mean_backward(image_at(tape, y, y->gradient, i),
                                     image_to(tape, x, x->gradient, i), (int64_t)x->h * x->w, x->c,
                                     layer->accumulate[0]);
    return STATUS_OK;
}

static const struct layer_kind mean_kind = {
    .name = "mean",
    .forward = mean_forward,
    .backward = mean_backward,
};

int layer_mean_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                   struct error *err)
{
    struct layer *layer;
    return tape_add_layer(tape, &mean_kind, node->name, x, NULL, y, 0, &layer, err);
}
