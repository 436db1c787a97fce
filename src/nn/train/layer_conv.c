/* Convolutions, and gemm as a 1x1 convolution of one pixel, by oneDNN on nhwc activations.
 *
 * oneDNN is free to choose how weights lie; the trained fp32 ones stay row-major, and are reordered
 * (and rounded to bf16) into a copy for the forward and one for the backward pass after each step.
 * On small maps oneDNN computes an image at a time, and passes over all weights for a few pixels.
 * There all windows of the batch are laid out in rows ("columns", Chellapilla et al., "High
 * Performance Convolutional Neural Networks for Document Processing", 2006), and a 1x1 convolution
 * of one long image of them takes its place; a 1x1 convolution needs no copy for that.
 *
 * Where oneDNN has only its slow path for the weight gradient of a depthwise convolution (5x5
 * ones), the kernel of our own does it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/train/onednn_train.h"
#include "nn/train/tape.h"

/* One primitive and the memories it is run with. */
struct call {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    int count;
    dnnl_exec_arg_t arguments[4];
};

enum { MEMORIES_MAX = 14, BUFFERS_MAX = 3 };

struct conv {
    const struct parameter *weights, *bias; /* bias may be NULL */
    int groups;
    int64_t outputs; /* channels */
    onednn_desc source_desc, destination_desc, master_desc, bias_desc;
    struct onednn_window window;
    struct call forward, data, gradient;            /* the three convolutions */
    struct call to_forward, to_data, from_gradient; /* the reorders */
    dnnl_memory_t master, master_gradient;          /* row-major fp32 */
    dnnl_memory_t bias_memory;
    dnnl_memory_t memories[MEMORIES_MAX]; /* all there are, to be destroyed */
    int memory_count;
    void *buffers[BUFFERS_MAX]; /* weights as oneDNN wants them */
    int buffer_count;
    bool own_gradient;           /* kernels->depthwise_weights */
    struct window_pass geometry; /* as in the graph; `window` may be that of what replaces it */
    enum {
        LOWERING_NONE,
        LOWERING_LONG,    /* the batch as one image */
        LOWERING_COLUMNS, /* and its windows as channels */
    } lowering;
    void *columns;  /* of the forward pass, kept for the weights' gradient */
    float *partial; /* [threads][kh*kw][c] */
};

static int memory_at(struct tape *tape, struct conv *conv, onednn_desc_ref desc, void *data,
                     dnnl_memory_t *out, struct error *err)
{
    int status = onednn_check(dnnl_memory_create(out, desc, tape->engine, data),
                              "memory of a convolution", err);
    if (status == STATUS_OK)
        conv->memories[conv->memory_count++] = *out;
    return status;
}

/* A memory with a buffer of its own. */
static int memory_own(struct tape *tape, struct conv *conv, onednn_desc_ref desc,
                      dnnl_memory_t *out, struct error *err)
{
    void *buffer;
    int status = memory_create(dnnl_memory_desc_get_size(desc), &buffer, err);
    if (status != STATUS_OK)
        return status;
    conv->buffers[conv->buffer_count++] = buffer;
    return memory_at(tape, conv, desc, buffer, out, err);
}

static void call_argument(struct call *call, int role, dnnl_memory_t memory)
{
    call->arguments[call->count++] = (dnnl_exec_arg_t){role, memory};
}

static int call_run(const struct tape *tape, const struct call *call, const char *what,
                    struct error *err)
{
    return onednn_check(
        dnnl_primitive_execute(call->primitive, tape->stream, call->count, call->arguments), what,
        err);
}

static void call_release(struct call *call)
{
    if (call->primitive != NULL)
        dnnl_primitive_destroy(call->primitive);
    if (call->desc != NULL)
        dnnl_primitive_desc_destroy(call->desc);
}

static int call_reorder(struct tape *tape, struct call *call, onednn_desc_ref from_desc,
                        dnnl_memory_t from, onednn_desc_ref to_desc, dnnl_memory_t to,
                        struct error *err)
{
    int status = onednn_check(onednn_train_reorder(&call->desc, tape->engine, from_desc, to_desc),
                              "reorder of weights", err);
    if (status == STATUS_OK)
        status = onednn_check(dnnl_primitive_create(&call->primitive, call->desc),
                              "reorder of weights", err);
    call_argument(call, DNNL_ARG_FROM, from);
    call_argument(call, DNNL_ARG_TO, to);
    return status;
}

/* [o, i, h, w], or with groups [g, o/g, i/g, h, w], of `type` in oneDNN's own layout. */
static int weights_any(const struct conv *conv, dnnl_data_type_t type, onednn_desc *out,
                       struct error *err)
{
    const struct onednn_window *window = &conv->window;
    int64_t outputs = conv->outputs;
    int64_t inputs = conv->weights->count / outputs / (window->kernel[0] * window->kernel[1]);
    dnnl_dims_t dims;
    int rank = 0;

    if (conv->groups > 1)
        dims[rank++] = conv->groups;
    dims[rank++] = outputs / conv->groups;
    dims[rank++] = inputs;
    dims[rank++] = window->kernel[0];
    dims[rank++] = window->kernel[1];
    return onednn_check(onednn_desc_tag(out, rank, dims, type, dnnl_format_tag_any),
                        "weights of a convolution", err);
}

static int choose(struct tape *tape, struct layer *layer, struct conv *conv, struct error *err)
{
    onednn_desc any, any_f32;
    int status = weights_any(conv, tape->bf16 ? dnnl_bf16 : dnnl_f32, &any, err);
    if (status != STATUS_OK)
        return status;
    status = weights_any(conv, dnnl_f32, &any_f32, err);
    if (status != STATUS_OK) {
        onednn_desc_free(&any);
        return status;
    }
    struct onednn_train_conv description = {
        .source = ONEDNN_REF(conv->source_desc),
        .weights = ONEDNN_REF(any),
        .bias = conv->bias != NULL ? ONEDNN_REF(conv->bias_desc) : NULL,
        .destination = ONEDNN_REF(conv->destination_desc),
        .window = &conv->window,
    };
    status = onednn_check(onednn_train_forward(&conv->forward.desc, tape->engine, &description),
                          "forward convolution", err);
    if (status == STATUS_OK && layer->inputs[0]->needs_gradient)
        status = onednn_check(onednn_train_backward_data(&conv->data.desc, tape->engine,
                                                         &description, conv->forward.desc),
                              "convolution's data gradient", err);
    description.weights = ONEDNN_REF(any_f32);
    if (status == STATUS_OK)
        status = onednn_check(onednn_train_backward_weights(&conv->gradient.desc, tape->engine,
                                                            &description, conv->forward.desc),
                              "convolution's weight gradient", err);
    onednn_desc_free(&any);
    onednn_desc_free(&any_f32);
    return status == STATUS_OK ? status : error_wrap(err, "node '%s'", layer->name);
}

static bool depthwise_is_slow(const struct conv *conv)
{
    return strncmp(onednn_train_implementation(conv->gradient.desc), "jit_dw", 6) != 0;
}

static void use_own_gradient(const struct layer *layer, struct conv *conv)
{
    const struct flow *x = layer->inputs[0], *y = layer->output;
    const struct onednn_window *window = &conv->window;
    if (conv->groups != x->c || x->c != y->c || conv->bias != NULL || window->kernel[1] > 7 ||
        window->dilation[0] != 0 || window->dilation[1] != 0 || !depthwise_is_slow(conv))
        return;
    conv->own_gradient = true;
}

static int bind_forward(struct tape *tape, struct layer *layer, struct conv *conv,
                        dnnl_memory_t source, struct error *err)
{
    onednn_desc_ref wanted = onednn_train_query(conv->forward.desc, dnnl_query_weights_md);
    dnnl_memory_t weights, destination;
    int status = memory_own(tape, conv, wanted, &weights, err);
    if (status == STATUS_OK)
        status = memory_at(tape, conv, ONEDNN_REF(conv->destination_desc), layer->output->data,
                           &destination, err);
    if (status == STATUS_OK)
        status = call_reorder(tape, &conv->to_forward, ONEDNN_REF(conv->master_desc), conv->master,
                              wanted, weights, err);
    if (status == STATUS_OK)
        status = onednn_check(dnnl_primitive_create(&conv->forward.primitive, conv->forward.desc),
                              "forward convolution", err);
    if (status != STATUS_OK)
        return status;
    call_argument(&conv->forward, DNNL_ARG_SRC, source);
    call_argument(&conv->forward, DNNL_ARG_WEIGHTS, weights);
    call_argument(&conv->forward, DNNL_ARG_DST, destination);
    if (conv->bias != NULL)
        call_argument(&conv->forward, DNNL_ARG_BIAS, conv->bias_memory);
    return STATUS_OK;
}

static int bind_data(struct tape *tape, struct layer *layer, struct conv *conv, dnnl_memory_t sent,
                     struct error *err)
{
    onednn_desc_ref wanted = onednn_train_query(conv->data.desc, dnnl_query_weights_md);
    bool aside = layer->accumulate[0] || conv->lowering == LOWERING_COLUMNS;
    void *to = aside ? layer->scratch : layer->inputs[0]->gradient;
    dnnl_memory_t weights, received;
    int status = memory_own(tape, conv, wanted, &weights, err);
    if (status == STATUS_OK)
        status = memory_at(tape, conv, ONEDNN_REF(conv->source_desc), to, &received, err);
    if (status == STATUS_OK)
        status = call_reorder(tape, &conv->to_data, ONEDNN_REF(conv->master_desc), conv->master,
                              wanted, weights, err);
    if (status == STATUS_OK)
        status = onednn_check(dnnl_primitive_create(&conv->data.primitive, conv->data.desc),
                              "convolution's data gradient", err);
    if (status != STATUS_OK)
        return status;
    call_argument(&conv->data, DNNL_ARG_DIFF_DST, sent);
    call_argument(&conv->data, DNNL_ARG_WEIGHTS, weights);
    call_argument(&conv->data, DNNL_ARG_DIFF_SRC, received);
    return STATUS_OK;
}

static int bind_gradient(struct tape *tape, struct conv *conv, dnnl_memory_t source,
                         dnnl_memory_t sent, struct error *err)
{
    onednn_desc_ref wanted = onednn_train_query(conv->gradient.desc, dnnl_query_diff_weights_md);
    dnnl_memory_t weights, bias;
    int status = memory_own(tape, conv, wanted, &weights, err);
    if (status == STATUS_OK)
        status = call_reorder(tape, &conv->from_gradient, wanted, weights,
                              ONEDNN_REF(conv->master_desc), conv->master_gradient, err);
    if (status == STATUS_OK)
        status = onednn_check(dnnl_primitive_create(&conv->gradient.primitive, conv->gradient.desc),
                              "convolution's weight gradient", err);
    if (status == STATUS_OK && conv->bias != NULL)
        status = memory_at(tape, conv, ONEDNN_REF(conv->bias_desc),
                           tape->store->gradient + conv->bias->offset, &bias, err);
    if (status != STATUS_OK)
        return status;
    call_argument(&conv->gradient, DNNL_ARG_SRC, source);
    call_argument(&conv->gradient, DNNL_ARG_DIFF_DST, sent);
    call_argument(&conv->gradient, DNNL_ARG_DIFF_WEIGHTS, weights);
    if (conv->bias != NULL)
        call_argument(&conv->gradient, DNNL_ARG_DIFF_BIAS, bias);
    return STATUS_OK;
}

static int bind_own_gradient(struct tape *tape, struct conv *conv, struct error *err)
{
    void *memory;
    int status = memory_create((size_t)tape->threads * (size_t)conv->weights->count * sizeof(float),
                               &memory, err);
    if (status == STATUS_OK)
        conv->partial = memory;
    return status;
}

static int bind_columns(struct conv *conv, struct error *err)
{
    if (conv->lowering != LOWERING_COLUMNS)
        return STATUS_OK;
    return memory_create(dnnl_memory_desc_get_size(ONEDNN_REF(conv->source_desc)), &conv->columns,
                         err);
}

static int conv_bind(struct tape *tape, struct layer *layer, struct error *err)
{
    struct conv *conv = layer->state;
    struct store *store = tape->store;
    dnnl_memory_t source, sent;
    onednn_desc_ref master = ONEDNN_REF(conv->master_desc);
    int status = bind_columns(conv, err);

    if (status == STATUS_OK)
        status =
            memory_at(tape, conv, ONEDNN_REF(conv->source_desc),
                      conv->columns != NULL ? conv->columns : layer->inputs[0]->data, &source, err);
    if (status == STATUS_OK)
        status = memory_at(tape, conv, ONEDNN_REF(conv->destination_desc), layer->output->gradient,
                           &sent, err);
    if (status == STATUS_OK)
        status = memory_at(tape, conv, master, store->weight + conv->weights->offset, &conv->master,
                           err);
    if (status == STATUS_OK)
        status = memory_at(tape, conv, master, store->gradient + conv->weights->offset,
                           &conv->master_gradient, err);
    if (status == STATUS_OK && conv->bias != NULL)
        status = memory_at(tape, conv, ONEDNN_REF(conv->bias_desc),
                           store->weight + conv->bias->offset, &conv->bias_memory, err);
    if (status == STATUS_OK)
        status = bind_forward(tape, layer, conv, source, err);
    if (status == STATUS_OK && layer->inputs[0]->needs_gradient)
        status = bind_data(tape, layer, conv, sent, err);
    if (status == STATUS_OK)
        status = conv->own_gradient ? bind_own_gradient(tape, conv, err)
                                    : bind_gradient(tape, conv, source, sent, err);
    return status;
}

static int conv_refresh(struct tape *tape, struct layer *layer, struct error *err)
{
    struct conv *conv = layer->state;
    float *weights = (float *)tape->weights; /* oneDNN only reads it */
    int status = onednn_check(
        dnnl_memory_set_data_handle(conv->master, weights + conv->weights->offset), "weights", err);
    if (status == STATUS_OK && conv->bias != NULL)
        status = onednn_check(
            dnnl_memory_set_data_handle(conv->bias_memory, weights + conv->bias->offset), "bias",
            err);
    if (status == STATUS_OK)
        status = call_run(tape, &conv->to_forward, "reorder of weights", err);
    if (status == STATUS_OK && layer->inputs[0]->needs_gradient)
        status = call_run(tape, &conv->to_data, "reorder of weights", err);
    return status;
}

static void make_columns(struct tape *tape, const struct layer *layer, const struct conv *conv)
{
    const struct flow *x = layer->inputs[0];
    size_t from = flow_size(tape, x) / (size_t)x->n;
    size_t to = dnnl_memory_desc_get_size(ONEDNN_REF(conv->source_desc)) / (size_t)x->n;
#pragma omp parallel for num_threads(tape->threads) if (tape->threads > 1) schedule(static)
    for (int64_t i = 0; i < x->n; i++)
        tape->kernels->columns(&conv->geometry, (const char *)x->data + (size_t)i * from,
                               (char *)conv->columns + (size_t)i * to);
}

static void gather_columns(struct tape *tape, const struct layer *layer, const struct conv *conv)
{
    const struct flow *x = layer->inputs[0];
    size_t to = flow_size(tape, x) / (size_t)x->n;
    size_t from = dnnl_memory_desc_get_size(ONEDNN_REF(conv->source_desc)) / (size_t)x->n;
#pragma omp parallel for num_threads(tape->threads) if (tape->threads > 1) schedule(static)
    for (int64_t i = 0; i < x->n; i++)
        tape->kernels->columns_backward(&conv->geometry,
                                        (const char *)layer->scratch + (size_t)i * from,
                                        (char *)x->gradient + (size_t)i * to, layer->accumulate[0]);
}

static int conv_forward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct conv *conv = layer->state;
    if (conv->lowering == LOWERING_COLUMNS)
        make_columns(tape, layer, conv);
    return call_run(tape, &conv->forward, layer->name, err);
}

/* Every thread sums over its images; then the parts, [kh*kw][c], are added up into [c][kh*kw]. */
static void own_gradient(struct tape *tape, const struct layer *layer, const struct conv *conv)
{
    const struct flow *x = layer->inputs[0], *y = layer->output;
    int64_t count = conv->weights->count, window = count / x->c;
    size_t x_image = flow_size(tape, x) / (size_t)x->n, y_image = flow_size(tape, y) / (size_t)y->n;
    float *gradient = tape->store->gradient + conv->weights->offset;

    memset(conv->partial, 0, (size_t)tape->threads * (size_t)count * sizeof(float));
#pragma omp parallel for num_threads(tape->threads) if (tape->threads > 1) schedule(static)
    for (int t = 0; t < tape->threads; t++) {
        struct span span = span_of(x->n, t, tape->threads);
        for (int64_t i = span.begin; i < span.end; i++)
            tape->kernels->depthwise_weights(
                &conv->geometry, (const char *)x->data + (size_t)i * x_image,
                (const char *)y->gradient + (size_t)i * y_image, conv->partial + t * count);
    }
    for (int64_t c = 0; c < x->c; c++)
        for (int64_t k = 0; k < window; k++) {
            float total = 0;
            for (int t = 0; t < tape->threads; t++)
                total += conv->partial[t * count + k * x->c + c];
            gradient[c * window + k] = total;
        }
}

static int conv_backward(struct tape *tape, struct layer *layer, struct error *err)
{
    const struct conv *conv = layer->state;
    struct flow *x = layer->inputs[0];
    int status = STATUS_OK;

    if (conv->own_gradient) {
        own_gradient(tape, layer, conv);
    } else {
        status = call_run(tape, &conv->gradient, layer->name, err);
        if (status == STATUS_OK)
            status = call_run(tape, &conv->from_gradient, layer->name, err);
    }
    if (status == STATUS_OK && x->needs_gradient)
        status = call_run(tape, &conv->data, layer->name, err);
    if (status != STATUS_OK || !x->needs_gradient)
        return status;
    if (conv->lowering == LOWERING_COLUMNS)
        gather_columns(tape, layer, conv);
    else if (layer->accumulate[0])
        tape->kernels->add(layer->scratch, x->gradient, x->gradient, flow_rows(x) * x->c);
    return status;
}

static void conv_describe(const struct layer *layer, char *text, size_t size)
{
    const struct conv *conv = layer->state;
    static const char *const lowerings[] = {"", "long, ", "columns, "};
    snprintf(text, size, "%s%s, %s, %s", lowerings[conv->lowering],
             onednn_train_implementation(conv->forward.desc),
             conv->data.desc != NULL ? onednn_train_implementation(conv->data.desc) : "-",
             conv->own_gradient ? "own" : onednn_train_implementation(conv->gradient.desc));
}

static void conv_release(struct layer *layer)
{
    struct conv *conv = layer->state;
    struct call *calls[] = {&conv->forward,    &conv->data,    &conv->gradient,
                            &conv->to_forward, &conv->to_data, &conv->from_gradient};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        call_release(calls[i]);
    for (int i = 0; i < conv->memory_count; i++)
        dnnl_memory_destroy(conv->memories[i]);
    for (int i = 0; i < conv->buffer_count; i++)
        free(conv->buffers[i]);
    free(conv->partial);
    free(conv->columns);
    onednn_desc_free(&conv->source_desc);
    onednn_desc_free(&conv->destination_desc);
    onednn_desc_free(&conv->master_desc);
    onednn_desc_free(&conv->bias_desc);
}

static const struct layer_kind conv_kind = {
    .name = "conv",
    .bind = conv_bind,
    .refresh = conv_refresh,
    .forward = conv_forward,
    .backward = conv_backward,
    .describe = conv_describe,
    .release = conv_release,
};

static int flow_desc(const struct tape *tape, const dnnl_dims_t dims, onednn_desc *out,
                     struct error *err)
{
    return onednn_check(onednn_desc_tag(out, 4, dims, tape->bf16 ? dnnl_bf16 : dnnl_f32, dnnl_nhwc),
                        "activations of a convolution", err);
}

static int flow_descs(const struct tape *tape, const struct flow *x, const struct flow *y,
                      struct conv *conv, struct error *err)
{
    const struct window_pass *geometry = &conv->geometry;
    bool whole = conv->lowering != LOWERING_NONE; /* the batch as one image */
    int64_t area =
        conv->lowering == LOWERING_COLUMNS ? geometry->kernel[0] * geometry->kernel[1] : 1;
    const dnnl_dims_t source = {whole ? 1 : x->n, x->c * area, whole ? y->n * y->h : x->h,
                                whole ? y->w : x->w};
    const dnnl_dims_t destination = {whole ? 1 : y->n, y->c, whole ? y->n * y->h : y->h, y->w};
    int status = flow_desc(tape, source, &conv->source_desc, err);
    return status != STATUS_OK ? status
                               : flow_desc(tape, destination, &conv->destination_desc, err);
}

/* Where lowering pays, by measurement: maps of up to 4x4, and 3x3 convolutions of stride 2 that
 * make maps of up to 8x8. */
enum { LOW_PIXELS = 16, LOW_PIXELS_STRIDED = 64 };

static void choose_lowering(const struct layer *layer, struct conv *conv)
{
    const struct flow *y = layer->output;
    const struct window_pass *geometry = &conv->geometry;
    int pixels = y->h * y->w, area = geometry->kernel[0] * geometry->kernel[1];
    bool strided = geometry->stride[0] > 1 || geometry->stride[1] > 1;
    bool padded = layer->inputs[0]->h != y->h || layer->inputs[0]->w != y->w;

    if (conv->groups > 1 || area > 25 || conv->window.dilation[0] > 0 ||
        conv->window.dilation[1] > 0)
        return;
    if (area == 1 && !strided && !padded)
        conv->lowering = pixels <= LOW_PIXELS_STRIDED ? LOWERING_LONG : LOWERING_NONE;
    else if (pixels <= (strided && area > 1 ? LOW_PIXELS_STRIDED : LOW_PIXELS))
        conv->lowering = LOWERING_COLUMNS;
    if (conv->lowering == LOWERING_COLUMNS)
        conv->window = (struct onednn_window){.kernel = {1, 1}, .stride = {1, 1}};
}

/* The trained weights as they lie: [o, kh, kw, i/g] row-major (see store.h), or a gemm's [k, o]. */
static int master_desc(struct conv *conv, bool transposed, struct error *err)
{
    const struct onednn_window *window = &conv->window;
    int64_t area = window->kernel[0] * window->kernel[1];
    int64_t outputs = conv->outputs, groups = conv->groups;
    int64_t inputs = conv->weights->count / outputs / area;
    const dnnl_dims_t dims = {groups, outputs / groups, inputs, window->kernel[0],
                              window->kernel[1]};
    const dnnl_dims_t strides = {outputs / groups * inputs * area, transposed ? 1 : inputs * area,
                                 transposed ? outputs : 1, window->kernel[1] * inputs, inputs};
    int skip = groups > 1 ? 0 : 1;
    return onednn_check(
        onednn_desc_strided(&conv->master_desc, 5 - skip, dims + skip, dnnl_f32, strides + skip),
        "trained weights", err);
}

static void set_geometry(const struct layer *layer, struct conv *conv)
{
    const struct flow *x = layer->inputs[0], *y = layer->output;
    const struct onednn_window *window = &conv->window;
    conv->geometry = (struct window_pass){
        .channels = x->c,
        .input = {x->h, x->w},
        .output = {y->h, y->w},
        .kernel = {(int)window->kernel[0], (int)window->kernel[1]},
        .stride = {(int)window->stride[0], (int)window->stride[1]},
        .pad = {(int)window->pad_before[0], (int)window->pad_before[1]},
    };
}

/* What convolutions and gemms have in common; the window and the groups are set. */
static int layer_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                     const struct conv *like, bool transposed, struct error *err)
{
    struct layer *layer;
    int status =
        tape_add_layer(tape, &conv_kind, node->name, x, NULL, y, sizeof *like, &layer, err);
    if (status != STATUS_OK)
        return status;
    struct conv *conv = layer->state;
    *conv = *like;
    conv->weights = store_find(tape->store, node->inputs[1]);
    conv->bias = node->input_count > 2 ? store_find(tape->store, node->inputs[2]) : NULL;
    conv->outputs = y->c;
    const dnnl_dims_t bias_dims = {y->c};
    set_geometry(layer, conv);
    choose_lowering(layer, conv);
    if (conv->lowering == LOWERING_COLUMNS && x->needs_gradient)
        layer->scratch_size = (size_t)flow_rows(y) * (size_t)(conv->weights->count / y->c) *
                              tape->kernels->element_size;
    status = flow_descs(tape, x, y, conv, err);
    if (status == STATUS_OK)
        status = onednn_check(onednn_desc_tag(&conv->bias_desc, 1, bias_dims, dnnl_f32, dnnl_a),
                              "bias", err);
    if (status == STATUS_OK)
        status = master_desc(conv, transposed, err);
    if (status == STATUS_OK)
        status = choose(tape, layer, conv, err);
    if (status == STATUS_OK)
        use_own_gradient(layer, conv);
    return status;
}

int layer_conv_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                   struct error *err)
{
    const struct window *window = &node->u.conv.window;
    struct conv conv = {.groups = node->u.conv.groups};
    for (int i = 0; i < 2; i++) {
        conv.window.kernel[i] = window->kernel[i];
        conv.window.stride[i] = window->stride[i];
        conv.window.dilation[i] = window->dilation[i] - 1;
        conv.window.pad_before[i] = window->pad[i];
        conv.window.pad_after[i] = window->pad[i + 2];
    }
    return layer_add(tape, node, x, y, &conv, false, err);
}

int layer_gemm_add(struct tape *tape, const struct node *node, struct flow *x, struct flow *y,
                   struct error *err)
{
    const struct gemm_attributes *gemm = &node->u.gemm;
    const struct conv conv = {.groups = 1, .window = {.kernel = {1, 1}, .stride = {1, 1}}};
    if (gemm->alpha != 1 || (gemm->beta != 1 && node->input_count > 2) || gemm->transpose_a)
        return error_set(err, STATUS_UNSUPPORTED,
                         "cannot train node '%s': only a plain Gemm, y = x*B + c", node->name);
    return layer_add(tape, node, x, y, &conv, !gemm->transpose_b, err);
}
