/* See weights.h. A layout is found again by comparing descriptors; there are few per constant. */
#include "nn/exec/weights.h"

#include <assert.h>
#include <stdlib.h>

/* One constant in one layout. */
struct laid_out {
    int value;
    onednn_desc desc;
    onednn_desc plain; /* the row-major descriptor it was made from */
    dnnl_memory_t memory;
    void *data; /* owned; NULL where the memory is the graph's tensor itself */
    size_t size;
    bool reversible; /* whether a reorder gives the constant back (Winograd's layout cannot) */
    struct laid_out *next;
};

struct weights {
    struct graph *graph;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct laid_out *layouts;
    bool *pinned; /* per value: a plan reads the row-major tensor */
};

int weights_create(struct graph *graph, dnnl_engine_t engine, struct weights **out,
                   struct error *err)
{
    int status;
    struct weights *weights = calloc(1, sizeof *weights);

    if (weights == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the weights");
    weights->graph = graph;
    weights->engine = engine;
    weights->pinned = calloc((size_t)graph->value_count + 1, sizeof *weights->pinned);
    if (weights->pinned == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the weights");
        goto failed;
    }
    status = onednn_check(dnnl_stream_create(&weights->stream, engine, dnnl_stream_default_flags),
                          "a stream", err);
    if (status != STATUS_OK)
        goto failed;
    *out = weights;
    return STATUS_OK;
failed:
    weights_free(weights);
    return status;
}

static void laid_out_free(struct laid_out *layout)
{
    if (layout->memory != NULL)
        dnnl_memory_destroy(layout->memory);
    onednn_desc_free(&layout->desc);
    onednn_desc_free(&layout->plain);
    free(layout->data);
    free(layout);
}

void weights_free(struct weights *weights)
{
    if (weights == NULL)
        return;
    while (weights->layouts != NULL) {
        struct laid_out *next = weights->layouts->next;
        laid_out_free(weights->layouts);
        weights->layouts = next;
    }
    if (weights->stream != NULL)
        dnnl_stream_destroy(weights->stream);
    free(weights->pinned);
    free(weights);
}

static int reorder(struct weights *weights, dnnl_memory_t source, onednn_desc_ref source_desc,
                   dnnl_memory_t target, onednn_desc_ref target_desc, struct error *err)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, target}};
    int status =
        onednn_check(dnnl_reorder_primitive_desc_create(&pd, source_desc, weights->engine,
                                                        target_desc, weights->engine, NULL),
                     "a reorder of weights", err);

    if (status == STATUS_OK)
        status = onednn_check(dnnl_primitive_create(&primitive, pd), "a reorder of weights", err);
    if (status == STATUS_OK)
        status = onednn_check(dnnl_primitive_execute(primitive, weights->stream, 2, arguments),
                              "reordering weights", err);
    if (status == STATUS_OK)
        status = onednn_check(dnnl_stream_wait(weights->stream), "reordering weights", err);
    if (primitive != NULL)
        dnnl_primitive_destroy(primitive);
    if (pd != NULL)
        dnnl_primitive_desc_destroy(pd);
    return status;
}

/* Fills a trimmed tensor again from a layout that is held. */
static int restore(struct weights *weights, int value, struct error *err)
{
    struct tensor *tensor = weights->graph->values[value].constant;
    struct laid_out *from = weights->layouts;
    dnnl_memory_t memory = NULL;
    int status;

    while (from != NULL && (from->value != value || !from->reversible))
        from = from->next;
    if (from == NULL)
        return error_set(err, STATUS_INTERNAL, "constant '%s' is gone",
                         weights->graph->values[value].name);
    tensor->size = (size_t)shape_elements(&tensor->shape) * dtype_size(tensor->dtype);
    tensor->data = aligned_alloc(64, (tensor->size + 63) / 64 * 64);
    if (tensor->data == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for constant '%s'",
                         weights->graph->values[value].name);
    status = onednn_check(
        dnnl_memory_create(&memory, ONEDNN_REF(from->plain), weights->engine, tensor->data),
        "memory", err);
    if (status != STATUS_OK)
        return status;
    status = reorder(weights, from->memory, ONEDNN_REF(from->desc), memory, ONEDNN_REF(from->plain),
                     err);
    dnnl_memory_destroy(memory);
    return status;
}

int weights_tensor(struct weights *weights, int value, const struct tensor **out, struct error *err)
{
    struct tensor *tensor = weights->graph->values[value].constant;

    assert(tensor != NULL);
    if (tensor->data == NULL) {
        int status = restore(weights, value, err);
        if (status != STATUS_OK)
            return status;
    }
    weights->pinned[value] = true;
    *out = tensor;
    return STATUS_OK;
}

/* Whether the library can turn the layout back: it refuses for the ones it keeps to itself. */
static bool can_reverse(const struct weights *weights, onednn_desc_ref desc, onednn_desc_ref plain)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = dnnl_reorder_primitive_desc_create(&pd, desc, weights->engine, plain,
                                                              weights->engine, NULL);

    if (status == dnnl_success)
        dnnl_primitive_desc_destroy(pd);
    return status == dnnl_success;
}

/* Makes layout->memory, in memory of its own unless it is the tensor as it stands. */
static int lay_out(struct weights *weights, struct laid_out *layout, struct error *err)
{
    const struct tensor *tensor;
    dnnl_memory_t source = NULL;
    bool was_pinned = weights->pinned[layout->value];
    int status = weights_tensor(weights, layout->value, &tensor, err);

    if (status != STATUS_OK)
        return status;
    if (dnnl_memory_desc_equal(ONEDNN_REF(layout->plain), ONEDNN_REF(layout->desc)))
        return onednn_check(dnnl_memory_create(&layout->memory, ONEDNN_REF(layout->desc),
                                               weights->engine, tensor->data),
                            "memory", err);
    weights->pinned[layout->value] = was_pinned;
    layout->size = dnnl_memory_desc_get_size(ONEDNN_REF(layout->desc));
    layout->data = aligned_alloc(64, (layout->size + 63) / 64 * 64);
    if (layout->data == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for laid out weights");
    memset(layout->data, 0, layout->size);
    status = onednn_check(dnnl_memory_create(&layout->memory, ONEDNN_REF(layout->desc),
                                             weights->engine, layout->data),
                          "memory", err);
    if (status == STATUS_OK)
        status = onednn_check(
            dnnl_memory_create(&source, ONEDNN_REF(layout->plain), weights->engine, tensor->data),
            "memory", err);
    if (status == STATUS_OK)
        status = reorder(weights, source, ONEDNN_REF(layout->plain), layout->memory,
                         ONEDNN_REF(layout->desc), err);
    if (source != NULL)
        dnnl_memory_destroy(source);
    layout->reversible = can_reverse(weights, ONEDNN_REF(layout->desc), ONEDNN_REF(layout->plain));
    return status;
}

int weights_memory(struct weights *weights, int value, onednn_desc_ref plain,
                   onednn_desc_ref target, dnnl_memory_t *out, struct error *err)
{
    struct laid_out *layout = weights->layouts;
    int status;

    while (layout != NULL &&
           (layout->value != value || !dnnl_memory_desc_equal(ONEDNN_REF(layout->desc), target)))
        layout = layout->next;
    if (layout != NULL) {
        *out = layout->memory;
        return STATUS_OK;
    }
    layout = calloc(1, sizeof *layout);
    if (layout == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for laid out weights");
    layout->value = value;
    status = onednn_check(onednn_desc_copy(&layout->desc, target), "a descriptor", err);
    if (status == STATUS_OK)
        status = onednn_check(onednn_desc_copy(&layout->plain, plain), "a descriptor", err);
    if (status == STATUS_OK)
        status = lay_out(weights, layout, err);
    if (status != STATUS_OK) {
        laid_out_free(layout);
        return status;
    }
    layout->next = weights->layouts;
    weights->layouts = layout;
    *out = layout->memory;
    return STATUS_OK;
}

void weights_trim(struct weights *weights)
{
    for (struct laid_out *layout = weights->layouts; layout != NULL; layout = layout->next) {
        struct tensor *tensor = weights->graph->values[layout->value].constant;
        if (!layout->reversible || weights->pinned[layout->value])
            continue;
        free(tensor->data);
        tensor->data = NULL;
        tensor->size = 0;
    }
}

size_t weights_size(const struct weights *weights)
{
    size_t size = 0;

    for (int v = 0; v < weights->graph->value_count; v++) {
        if (weights->graph->values[v].constant != NULL)
            size += weights->graph->values[v].constant->size;
    }
    for (const struct laid_out *layout = weights->layouts; layout != NULL; layout = layout->next)
        size += layout->size;
    return size;
}
