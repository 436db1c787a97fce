/* Layers that work element by element, or image by image on one row of factors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "nn/train/tape.h"

static int64_t flow_count(const struct flow *flow)
{
    return flow_rows(flow) * flow->c;
}

/* ---- activations that no batch norm took in ---- */

struct pointwise {
    enum activation activation;
    float low, high;
};

enum activation node_activation(const struct node *node, float *low, float *high)
{
    *low = 0;
    *high = 0;
    switch (node->op) {
    case OP_RELU:
        return ACTIVATION_RELU;
    case OP_CLIP:
        *low = node->u.clip.low;
        *high = node->u.clip.high;
        return ACTIVATION_CLIP;
    case OP_SWISH:
        return ACTIVATION_SWISH;
    case OP_SIGMOID:
        return ACTIVATION_SIGMOID;
    default:
        return ACTIVATION_NONE;
    }
}

static int activation_forward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct pointwise *own = layer->state;
    (void)err;
    tape->kernels->activate(layer->inputs[0]->data, layer->output->data, flow_count(layer->output),
                            own->activation, own->low, own->high);
    return STATUS_OK;
}

static int activation_backward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct pointwise *own = layer->state;
    struct flow *x = layer->inputs[0];
    (void)err;
    if (x->needs_gradient)
        tape->kernels->activate_backward(x->data, layer->output->gradient, x->gradient,
                                         flow_count(x), own->activation, own->low, own->high,
                                         layer->accumulate[0]);
    return STATUS_OK;
}

static const struct layer_kind activation_kind = {
    .name = "activation",
    .in_place = true,
    .forward = activation_forward,
    .backward = activation_backward,
};

int layer_activation_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                         struct error *err)
{
    struct layer *layer;
    int status = tape_add_layer(tape, &activation_kind, node->name, x, NULL, y,
                                sizeof(struct pointwise), &layer, err);
    if (status != STATUS_OK)
        return status;
    struct pointwise *own = layer->state;
    own->activation = node_activation(node, &own->low, &own->high);
    return STATUS_OK;
}

/* ---- sums ---- */

static int sum_forward(struct tape *tape, struct layer *layer, struct error *err)
{
    (void)err;
    tape->kernels->add(layer->inputs[0]->data, layer->inputs[1]->data, layer->output->data,
                       flow_count(layer->output));
    return STATUS_OK;
}

static int sum_backward(struct tape *tape, struct layer *layer, struct error *err)
{
    const void *sent = layer->output->gradient;
    (void)err;
    for (int i = 0; i < 2; i++) {
        struct flow *x = layer->inputs[i];
        if (x->needs_gradient && x->gradient != sent)
            tape->kernels->copy(sent, x->gradient, flow_count(x), layer->accumulate[i]);
    }
    return STATUS_OK;
}

static const struct layer_kind sum_kind = {
    .name = "sum",
    .in_place = true,
    .shares_second = true,
    .forward = sum_forward,
    .backward = sum_backward,
};

int layer_sum_add(struct tape *tape, const struct node *node, struct flow *a, struct flow *b,
                  struct flow *y, struct error *err)
{
    struct layer *layer;
    if (a == b)
        return error_set(err, STATUS_UNSUPPORTED, "cannot train node '%s': a value plus itself",
                         node->name);
    return tape_add_layer(tape, &sum_kind, node->name, a, b, y, 0, &layer, err);
}

/* ---- products: elementwise, or of every image with one row of factors ---- */

struct product_image {
    const void *x, *dy;
    void *y, *dx;
    const void *s;
    void *ds;
};

static char *advance(void *data, size_t size, int64_t image)
{
    return data != NULL ? (char *)data + size * (size_t)image : NULL;
}

static struct product_image product_image(const struct tape *tape, const struct layer *layer,
                                          int64_t image)
{
    const struct flow *x = layer->inputs[0], *s = layer->inputs[1], *y = layer->output;
    size_t size = flow_size(tape, x) / (size_t)x->n, s_size = flow_size(tape, s) / (size_t)s->n;
    return (struct product_image){
        .x = advance(x->data, size, image),
        .dy = advance(y->gradient, size, image),
        .y = advance(y->data, size, image),
        .dx = advance(x->gradient, size, image),
        .s = advance(s->data, s_size, image),
        .ds = advance(s->gradient, s_size, image),
    };
}

static bool is_scaling(const struct layer *layer)
{
    return flow_rows(layer->inputs[1]) != flow_rows(layer->inputs[0]);
}

static int product_forward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct flow *x = layer->inputs[0], *s = layer->inputs[1];
    (void)err;
    if (!is_scaling(layer)) {
        tape->kernels->multiply(x->data, s->data, layer->output->data, flow_count(x), false);
        return STATUS_OK;
    }
#pragma omp parallel for num_threads(tape->threads) if (tape->threads > 1) schedule(static)
    for (int64_t i = 0; i < x->n; i++) {
        struct product_image at = product_image(tape, layer, i);
        tape->kernels->scale(at.x, at.s, at.y, (int64_t)x->h * x->w, x->c, false);
    }
    return STATUS_OK;
}

/* The factors' gradient first: the other may be written over the output's. */
static int product_backward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct flow *x = layer->inputs[0], *s = layer->inputs[1], *y = layer->output;
    (void)err;
    if (!is_scaling(layer)) {
        if (s->needs_gradient)
            tape->kernels->multiply(y->gradient, x->data, s->gradient, flow_count(x),
                                    layer->accumulate[1]);
        if (x->needs_gradient)
            tape->kernels->multiply(y->gradient, s->data, x->gradient, flow_count(x),
                                    layer->accumulate[0]);
        return STATUS_OK;
    }
#pragma omp parallel for num_threads(tape->threads) if (tape->threads > 1) schedule(static)
    for (int64_t i = 0; i < x->n; i++) {
        struct product_image at = product_image(tape, layer, i);
        int64_t rows = (int64_t)x->h * x->w;
        if (s->needs_gradient)
            tape->kernels->scale_reduce(at.x, at.dy, at.ds, rows, x->c, layer->accumulate[1]);
        if (x->needs_gradient)
            tape->kernels->scale(at.dy, at.s, at.dx, rows, x->c, layer->accumulate[0]);
    }
    return STATUS_OK;
}

static const struct layer_kind product_kind = {
    .name = "product",
    .in_place = true,
    .forward = product_forward,
    .backward = product_backward,
};

int layer_product_add(struct tape *tape, const struct node *node, struct flow *a, struct flow *b,
                      struct flow *y, struct error *err)
{
    struct layer *layer;
    bool swap = flow_rows(a) < flow_rows(b);
    struct flow *x = swap ? b : a, *s = swap ? a : b;
    if (x == s || x->n != s->n || x->c != s->c ||
        (flow_rows(s) != s->n && flow_rows(s) != flow_rows(x)))
        return error_set(err, STATUS_UNSUPPORTED,
                         "cannot train node '%s': a product broadcast other than per channel",
                         node->name);
    return tape_add_layer(tape, &product_kind, node->name, x, s, y, 0, &layer, err);
}

/* ---- flatten: [n, c, h, w] -> [n, c*h*w], which is a transposition when there are pixels ---- */

struct flatten {
    float *planes; /* one image, f32; NULL when the memory is already in order */
};

static int flatten_bind(struct tape *tape, struct layer *layer, struct error *err)
{
    struct flatten *flatten = layer->state;
    const struct flow *x = layer->inputs[0];
    void *memory;
    (void)tape;
    if (x->h * x->w == 1)
        return STATUS_OK;
    int status = memory_create((size_t)layer->output->c * sizeof(float), &memory, err);
    if (status == STATUS_OK)
        flatten->planes = memory;
    return status;
}

static int flatten_forward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct flatten *flatten = layer->state;
    const struct flow *x = layer->inputs[0], *y = layer->output;
    size_t size = flow_size(tape, x) / (size_t)x->n;
    (void)err;
    if (flatten->planes == NULL) {
        memcpy(y->data, x->data, flow_size(tape, x));
        return STATUS_OK;
    }
    for (int64_t i = 0; i < x->n; i++) {
        tape->kernels->to_planes(advance(x->data, size, i), flatten->planes, (int64_t)x->h * x->w,
                                 x->c);
        tape->kernels->from_planes(flatten->planes, advance(y->data, size, i), 1, y->c);
    }
    return STATUS_OK;
}

static int flatten_backward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct flatten *flatten = layer->state;
    const struct flow *x = layer->inputs[0], *y = layer->output;
    size_t size = flow_size(tape, x) / (size_t)x->n;

    if (!x->needs_gradient)
        return STATUS_OK;
    if (flatten->planes == NULL) {
        tape->kernels->copy(y->gradient, x->gradient, flow_count(x), layer->accumulate[0]);
        return STATUS_OK;
    }
    if (layer->accumulate[0])
        return error_set(err, STATUS_UNSUPPORTED,
                         "cannot train node '%s': what it flattens is used elsewhere too",
                         layer->name);
    for (int64_t i = 0; i < x->n; i++) {
        tape->kernels->to_planes(advance(y->gradient, size, i), flatten->planes, 1, y->c);
        tape->kernels->from_planes(flatten->planes, advance(x->gradient, size, i),
                                   (int64_t)x->h * x->w, x->c);
    }
    return STATUS_OK;
}

static void flatten_release(struct layer *layer)
{
    struct flatten *flatten = layer->state;
    free(flatten->planes);
}

static const struct layer_kind flatten_kind = {
    .name = "flatten",
    .bind = flatten_bind,
    .forward = flatten_forward,
    .backward = flatten_backward,
    .release = flatten_release,
};

int layer_flatten_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                      struct error *err)
{
    struct layer *layer;
    return tape_add_layer(tape, &flatten_kind, node->name, x, NULL, y, sizeof(struct flatten),
                          &layer, err);
}

/* ---- dropout (Srivastava et al., 2014), scaled while training ---- */

struct dropout {
    float ratio;
    uint64_t number; /* of this layer, so that two draw differently */
    uint8_t *keep;
};

static int dropout_bind(struct tape *tape, struct layer *layer, struct error *err)
{
    struct dropout *dropout = layer->state;
    void *memory;
    (void)tape;
    int status = memory_create((size_t)flow_count(layer->output), &memory, err);
    if (status == STATUS_OK)
        dropout->keep = memory;
    return status;
}

static int dropout_forward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct dropout *dropout = layer->state;
    const struct flow *x = layer->inputs[0];
    int64_t count = flow_count(x);
    struct rng rng;
    (void)err;

    if (!tape->training) {
        memcpy(layer->output->data, x->data, flow_size(tape, x));
        return STATUS_OK;
    }
    rng_seed(&rng, tape->seed * 1000003u + dropout->number);
    for (int64_t i = 0; i < count; i++)
        dropout->keep[i] = rng_uniform(&rng) >= dropout->ratio;
    tape->kernels->mask(x->data, dropout->keep, 1.0f / (1.0f - dropout->ratio), layer->output->data,
                        count, false);
    return STATUS_OK;
}

static int dropout_backward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct dropout *dropout = layer->state;
    const struct flow *x = layer->inputs[0];
    (void)err;
    if (x->needs_gradient)
        tape->kernels->mask(layer->output->gradient, dropout->keep, 1.0f / (1.0f - dropout->ratio),
                            x->gradient, flow_count(x), layer->accumulate[0]);
    return STATUS_OK;
}

static void dropout_release(struct layer *layer)
{
    struct dropout *dropout = layer->state;
    free(dropout->keep);
}

static const struct layer_kind dropout_kind = {
    .name = "dropout",
    .in_place = true,
    .bind = dropout_bind,
    .forward = dropout_forward,
    .backward = dropout_backward,
    .release = dropout_release,
};

int layer_dropout_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                      struct error *err)
{
    struct layer *layer;
    if (!(node->u.dropout.ratio >= 0 && node->u.dropout.ratio < 1))
        return error_set(err, STATUS_INVALID, "node '%s': a dropout ratio of %g", node->name,
                         (double)node->u.dropout.ratio);
    int status = tape_add_layer(tape, &dropout_kind, node->name, x, NULL, y, sizeof(struct dropout),
                                &layer, err);
    if (status != STATUS_OK)
        return status;
    struct dropout *dropout = layer->state;
    dropout->ratio = node->u.dropout.ratio;
    dropout->number = (uint64_t)tape->layer_count;
    return STATUS_OK;
}
