/* The oneDNN calls that only training makes, for 2.6 and 3.x; nn/exec/onednn.h has the shared ones.
 */
#ifndef NN_ONEDNN_TRAIN_H
#define NN_ONEDNN_TRAIN_H

#include "nn/exec/onednn.h"

/* One convolution's descriptors; with `any` layouts for weights, oneDNN picks them. */
struct onednn_train_conv {
    onednn_desc_ref source, weights, bias /* or NULL */, destination;
    const struct onednn_window *window;
};

static inline dnnl_status_t onednn_train_forward(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                                 const struct onednn_train_conv *conv)
{
    const struct onednn_window *window = conv->window;
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_forward_primitive_desc_create(
        out, engine, dnnl_forward_training, dnnl_convolution_direct, conv->source, conv->weights,
        conv->bias, conv->destination, window->stride, window->dilation, window->pad_before,
        window->pad_after, NULL);
#else
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_training, dnnl_convolution_direct, conv->source, conv->weights,
        conv->bias, conv->destination, window->stride, window->dilation, window->pad_before,
        window->pad_after);
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(out, &desc, NULL, engine, NULL);
#endif
}

static inline dnnl_status_t onednn_train_backward_data(dnnl_primitive_desc_t *out,
                                                       dnnl_engine_t engine,
                                                       const struct onednn_train_conv *conv,
                                                       const_dnnl_primitive_desc_t forward)
{
    const struct onednn_window *window = conv->window;
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_backward_data_primitive_desc_create(
        out, engine, dnnl_convolution_direct, conv->source, conv->weights, conv->destination,
        window->stride, window->dilation, window->pad_before, window->pad_after, forward, NULL);
#else
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_dilated_convolution_backward_data_desc_init(
        &desc, dnnl_convolution_direct, conv->source, conv->weights, conv->destination,
        window->stride, window->dilation, window->pad_before, window->pad_after);
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(out, &desc, NULL, engine, forward);
#endif
}

static inline dnnl_status_t onednn_train_backward_weights(dnnl_primitive_desc_t *out,
                                                          dnnl_engine_t engine,
                                                          const struct onednn_train_conv *conv,
                                                          const_dnnl_primitive_desc_t forward)
{
    const struct onednn_window *window = conv->window;
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_backward_weights_primitive_desc_create(
        out, engine, dnnl_convolution_direct, conv->source, conv->weights, conv->bias,
        conv->destination, window->stride, window->dilation, window->pad_before, window->pad_after,
        forward, NULL);
#else
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_dilated_convolution_backward_weights_desc_init(
        &desc, dnnl_convolution_direct, conv->source, conv->weights, conv->bias, conv->destination,
        window->stride, window->dilation, window->pad_before, window->pad_after);
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(out, &desc, NULL, engine, forward);
#endif
}

/* Both descriptors lie on `engine`. */
static inline dnnl_status_t onednn_train_reorder(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                                 onednn_desc_ref from, onednn_desc_ref to)
{
    return dnnl_reorder_primitive_desc_create(out, from, engine, to, engine, NULL);
}

/* The descriptor a primitive settled on; it lives as long as `desc`. */
static inline onednn_desc_ref onednn_train_query(const_dnnl_primitive_desc_t desc,
                                                 dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(desc, what, 0);
}

static inline const char *onednn_train_implementation(const_dnnl_primitive_desc_t desc)
{
    const char *text = "";
    dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &text);
    return text;
}

#endif
