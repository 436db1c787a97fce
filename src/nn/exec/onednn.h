/* Everything that differs between oneDNN 2.6 and 3.x, and the shorthand the plan is built with.
 *
 * In 2.x a memory descriptor is a plain struct; in 3.x it is an object to be destroyed. Here it is
 * held by value as `onednn_desc`, passed as ONEDNN_REF(desc), and dropped with onednn_desc_free,
 * which does nothing in 2.x. Operation descriptors, which 3.x has no more, do not leave this file.
 * 3.x has no Winograd convolution on x86-64: asking for it fails, and the caller takes the direct
 * one, as it does for any shape Winograd does not fit. */
#ifndef NN_ONEDNN_H
#define NN_ONEDNN_H

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"

typedef dnnl_memory_desc_t onednn_desc;

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t onednn_desc_ref;
#define ONEDNN_REF(desc) (desc)
#else
typedef const dnnl_memory_desc_t *onednn_desc_ref;
#define ONEDNN_REF(desc) (&(desc))
#endif

/* STATUS_OK, or STATUS_NO_MEMORY or STATUS_INTERNAL with what failed. */
static inline int onednn_check(dnnl_status_t status, const char *what, struct error *err)
{
    if (status == dnnl_success)
        return STATUS_OK;
    if (status == dnnl_out_of_memory)
        return error_set(err, STATUS_NO_MEMORY, "out of memory in oneDNN: %s", what);
    return error_set(err, STATUS_INTERNAL, "oneDNN refused: %s (status %d)", what, (int)status);
}

static inline dnnl_status_t onednn_desc_strided(onednn_desc *out, int rank, const dnnl_dims_t dims,
                                                dnnl_data_type_t type, const dnnl_dims_t strides)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_strides(out, rank, dims, type, strides);
#else
    return dnnl_memory_desc_init_by_strides(out, rank, dims, type, strides);
#endif
}

static inline dnnl_status_t onednn_desc_tag(onednn_desc *out, int rank, const dnnl_dims_t dims,
                                            dnnl_data_type_t type, dnnl_format_tag_t tag)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_tag(out, rank, dims, type, tag);
#else
    return dnnl_memory_desc_init_by_tag(out, rank, dims, type, tag);
#endif
}

static inline dnnl_status_t onednn_desc_copy(onednn_desc *out, onednn_desc_ref source)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_clone(out, source);
#else
    *out = *source;
    return dnnl_success;
#endif
}

/* Descriptors start as ONEDNN_DESC_NONE where they may be freed before they are made. */
static inline void onednn_desc_clear(onednn_desc *desc)
{
    memset(desc, 0, sizeof *desc);
}

static inline void onednn_desc_free(onednn_desc *desc)
{
#if DNNL_VERSION_MAJOR >= 3
    if (*desc != NULL)
        dnnl_memory_desc_destroy(*desc);
#endif
    onednn_desc_clear(desc);
}

static inline dnnl_status_t onednn_append_sum(dnnl_post_ops_t ops, dnnl_data_type_t type)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, type);
#else
    return dnnl_post_ops_append_sum_v2(ops, 1.0f, type);
#endif
}

static inline dnnl_status_t onednn_append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind,
                                                  float alpha, float beta)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_eltwise(ops, kind, alpha, beta);
#else
    return dnnl_post_ops_append_eltwise(ops, 1.0f, kind, alpha, beta);
#endif
}

/* hard swish is x*clip(x/6 + 1/2, 0, 1); 2.x has the constants built in. */
static inline dnnl_status_t onednn_append_hard_swish(dnnl_post_ops_t ops)
{
    return onednn_append_eltwise(ops, dnnl_eltwise_hardswish, 1.0f / 6.0f, 0.5f);
}

/* The windows of convolutions and pools; dilation 0 is a dense window. */
struct onednn_window {
    dnnl_dims_t stride, dilation, pad_before, pad_after, kernel;
};

static inline dnnl_status_t onednn_convolution(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                               dnnl_alg_kind_t algorithm, onednn_desc_ref source,
                                               onednn_desc_ref weights, onednn_desc_ref bias,
                                               onednn_desc_ref destination,
                                               const struct onednn_window *window,
                                               const_dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_forward_primitive_desc_create(
        out, engine, dnnl_forward_inference, algorithm, source, weights, bias, destination,
        window->stride, window->dilation, window->pad_before, window->pad_after, attr);
#else
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_inference, algorithm, source, weights, bias, destination,
        window->stride, window->dilation, window->pad_before, window->pad_after);
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(out, &desc, attr, engine, NULL);
#endif
}

static inline dnnl_status_t onednn_pool(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                        dnnl_alg_kind_t algorithm, onednn_desc_ref source,
                                        onednn_desc_ref destination,
                                        const struct onednn_window *window,
                                        const_dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_pooling_forward_primitive_desc_create(
        out, engine, dnnl_forward_inference, algorithm, source, destination, window->stride,
        window->kernel, window->dilation, window->pad_before, window->pad_after, attr);
#else
    dnnl_pooling_v2_desc_t desc;
    dnnl_status_t status = dnnl_pooling_v2_forward_desc_init(
        &desc, dnnl_forward_inference, algorithm, source, destination, window->stride,
        window->kernel, window->dilation, window->pad_before, window->pad_after);
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(out, &desc, attr, engine, NULL);
#endif
}

static inline dnnl_status_t onednn_inner_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                                 onednn_desc_ref source, onednn_desc_ref weights,
                                                 onednn_desc_ref bias, onednn_desc_ref destination,
                                                 const_dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_inner_product_forward_primitive_desc_create(
        out, engine, dnnl_forward_inference, source, weights, bias, destination, attr);
#else
    dnnl_inner_product_desc_t desc;
    dnnl_status_t status = dnnl_inner_product_forward_desc_init(&desc, dnnl_forward_inference,
                                                                source, weights, bias, destination);
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(out, &desc, attr, engine, NULL);
#endif
}

/* Source and destination have one layout, so that it can run in place. */
static inline dnnl_status_t onednn_eltwise(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                           dnnl_alg_kind_t kind, onednn_desc_ref data, float alpha,
                                           float beta, const_dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_eltwise_forward_primitive_desc_create(out, engine, dnnl_forward_inference, kind,
                                                      data, data, alpha, beta, attr);
#else
    dnnl_eltwise_desc_t desc;
    dnnl_status_t status =
        dnnl_eltwise_forward_desc_init(&desc, dnnl_forward_inference, kind, data, alpha, beta);
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(out, &desc, attr, engine, NULL);
#endif
}

static inline dnnl_status_t onednn_binary(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                          dnnl_alg_kind_t kind, onednn_desc_ref left,
                                          onednn_desc_ref right, onednn_desc_ref destination,
                                          const_dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_binary_primitive_desc_create(out, engine, kind, left, right, destination, attr);
#else
    dnnl_binary_desc_t desc;
    dnnl_status_t status = dnnl_binary_desc_init(&desc, kind, left, right, destination);
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(out, &desc, attr, engine, NULL);
#endif
}

static inline dnnl_status_t onednn_concat(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                          onednn_desc_ref destination, int count, int axis,
                                          const onednn_desc *sources,
                                          const_dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_concat_primitive_desc_create(out, engine, destination, count, axis,
                                             (const_dnnl_memory_desc_t const *)sources, attr);
#else
    return dnnl_concat_primitive_desc_create(out, destination, count, axis, sources, attr, engine);
#endif
}

#endif
