/* Writing ONNX models: see onnx.h; the format is described in proto.h. The file holds the weights
 * first, each stored as f16 followed by its Cast, then the nodes with the small constants that some
 * of them take as inputs, then inputs and outputs. */
#include "nn/onnx/writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "nn/onnx/proto.h"

enum { IR_VERSION = 8, OPSET_VERSION_WRITTEN = 17 };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "raw_data is little endian and copied as it stands");

char *writer_name(const struct writer *writer, const char *stem, const char *suffix)
{
    char *name = NULL;

    if (asprintf(&name, "%s%s", stem, suffix) < 0)
        return NULL;
    while (graph_find_value(writer->graph, name) >= 0) {
        char *longer = NULL;
        const int size = asprintf(&longer, "%s_", name);
        free(name);
        if (size < 0)
            return NULL;
        name = longer;
    }
    return name;
}

void writer_put_tensor(struct writer *writer, const char *name, const struct tensor *tensor)
{
    const size_t begin = wire_begin(writer->out, GRAPH_INITIALIZER);

    for (int i = 0; i < tensor->shape.rank; i++)
        wire_put_int(writer->out, TENSOR_DIMS, tensor->shape.dims[i]);
    wire_put_int(writer->out, TENSOR_DATA_TYPE, element_type_code(tensor->dtype));
    wire_put_text(writer->out, TENSOR_NAME, name);
    wire_put_bytes(writer->out, TENSOR_RAW_DATA, tensor->data, tensor->size);
    wire_end(writer->out, begin);
}

void writer_put_integers(struct writer *writer, const char *name, const int64_t *values, int count)
{
    struct tensor tensor = {.dtype = DTYPE_I64, .shape = {.rank = 1, .dims = {count}}};

    tensor.data = (void *)(uintptr_t)values; /* only read */
    tensor.size = (size_t)count * sizeof *values;
    writer_put_tensor(writer, name, &tensor);
}

void writer_put_number(struct writer *writer, const char *name, float value)
{
    const struct tensor tensor = {.dtype = DTYPE_F32, .data = &value, .size = sizeof value};
    writer_put_tensor(writer, name, &tensor);
}

/* Whether every finite weight stays finite in f16. */
static bool fits_f16(const struct tensor *tensor)
{
    const float *values = tensor->data;
    const size_t count = tensor->size / sizeof *values;

    for (size_t i = 0; i < count; i++)
        if (isfinite(values[i]) && !isfinite(f16_to_f32(f32_to_f16(values[i]))))
            return false;
    return true;
}

/* Vectors (biases and batch norms) are few and sensitive, so they stay f32. */
static int put_weight(struct writer *writer, const struct value *value, enum dtype dtype,
                      struct error *err)
{
    const struct tensor *tensor = value->constant;
    struct tensor *half;

    if (dtype != DTYPE_F16 || tensor->dtype != DTYPE_F32 || tensor->shape.rank < 2 ||
        !fits_f16(tensor)) {
        writer_put_tensor(writer, value->name, tensor);
        return STATUS_OK;
    }
    const int status = tensor_convert(tensor, DTYPE_F16, &half, err);
    if (status != STATUS_OK)
        return status;
    char *name = writer_name(writer, value->name, "/f16");
    if (name != NULL) {
        writer_put_tensor(writer, name, half);
        writer_put_cast(writer, name, value->name, DTYPE_F32);
    }
    tensor_free(half);
    free(name);
    return name == NULL ? error_set(err, STATUS_NO_MEMORY, "no memory to write a model")
                        : STATUS_OK;
}

/* Marks the values that a node or the caller takes; constants left over by passes are not. */
static bool *mark_used(const struct graph *graph)
{
    bool *used = calloc((size_t)graph->value_count + 1, sizeof *used);

    if (used == NULL)
        return NULL;
    for (int i = 0; i < graph->output_count; i++)
        used[graph->outputs[i]] = true;
    for (int i = 0; i < graph->node_count; i++)
        for (int j = 0; j < graph->nodes[i].input_count; j++)
            if (graph->nodes[i].inputs[j] >= 0)
                used[graph->nodes[i].inputs[j]] = true;
    return used;
}

static int put_weights(struct writer *writer, enum dtype dtype, struct error *err)
{
    const struct graph *graph = writer->graph;
    bool *used = mark_used(graph);
    int status = STATUS_OK;

    if (used == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to write a model");
    for (int i = 0; i < graph->value_count && status == STATUS_OK; i++)
        if (used[i] && graph->values[i].constant != NULL)
            status = put_weight(writer, &graph->values[i], dtype, err);
    free(used);
    return status;
}

/* The first dimension of what goes in and what comes out is the batch, whichever batch the graph's
 * shapes were last inferred for. */
static void put_dim(struct wire_writer *out, int index, int64_t dim, bool batch)
{
    char text[32];
    const size_t begin = wire_begin(out, SHAPE_DIM);

    if (batch) {
        wire_put_text(out, DIM_PARAM, "batch");
    } else if (dim == DIM_ANY) {
        snprintf(text, sizeof text, "dim_%d", index);
        wire_put_text(out, DIM_PARAM, text);
    } else {
        wire_put_int(out, DIM_VALUE, dim);
    }
    wire_end(out, begin);
}

static void put_value_info(struct wire_writer *out, uint32_t number, const struct value *value,
                           int64_t batch)
{
    const struct shape *shape = &value->shape;
    const size_t info = wire_begin(out, number);

    wire_put_text(out, VALUE_INFO_NAME, value->name);
    const size_t type = wire_begin(out, VALUE_INFO_TYPE);
    const size_t tensor = wire_begin(out, TYPE_TENSOR);
    wire_put_int(out, TENSOR_TYPE_ELEM_TYPE, element_type_code(value->dtype));
    const size_t dims = wire_begin(out, TENSOR_TYPE_SHAPE);
    for (int i = 0; i < shape->rank; i++)
        put_dim(out, i, shape->dims[i], i == 0 && shape->dims[0] == batch);
    wire_end(out, dims);
    wire_end(out, tensor);
    wire_end(out, type);
    wire_end(out, info);
}

static void put_inputs_and_outputs(struct writer *writer)
{
    const struct graph *graph = writer->graph;
    const int64_t batch =
        graph->input_count > 0 ? graph->values[graph->inputs[0]].shape.dims[0] : DIM_ANY;

    for (int i = 0; i < graph->input_count; i++)
        put_value_info(writer->out, GRAPH_INPUT, &graph->values[graph->inputs[i]], batch);
    for (int i = 0; i < graph->output_count; i++)
        put_value_info(writer->out, GRAPH_OUTPUT, &graph->values[graph->outputs[i]], batch);
}

static int put_graph(struct writer *writer, const struct onnx_write_options *options,
                     struct error *err)
{
    const size_t begin = wire_begin(writer->out, MODEL_GRAPH);

    wire_put_text(writer->out, GRAPH_NAME, options->name == NULL ? "ocelli" : options->name);
    if (options->doc != NULL)
        wire_put_text(writer->out, GRAPH_DOC_STRING, options->doc);
    int status = put_weights(writer, options->weights, err);
    if (status == STATUS_OK)
        status = writer_put_nodes(writer, err);
    if (status != STATUS_OK)
        return status;
    put_inputs_and_outputs(writer);
    wire_end(writer->out, begin);
    return STATUS_OK;
}

static int put_model(const struct graph *graph, const struct onnx_write_options *options,
                     struct wire_writer *out, struct error *err)
{
    struct writer writer = {.graph = graph, .out = out};

    wire_put_int(out, MODEL_IR_VERSION, IR_VERSION);
    wire_put_text(out, MODEL_PRODUCER_NAME, "ocelli");
    const size_t begin = wire_begin(out, MODEL_OPSET_IMPORT);
    wire_put_text(out, OPSET_DOMAIN, "");
    wire_put_int(out, OPSET_VERSION, OPSET_VERSION_WRITTEN);
    wire_end(out, begin);
    const int status = put_graph(&writer, options, err);
    if (status != STATUS_OK)
        return status;
    if (out->failed)
        return error_set(err, STATUS_NO_MEMORY, "no memory to write a model");
    if (out->size > INT32_MAX)
        return error_set(err, STATUS_TOO_LARGE, "a model of %zu bytes does not fit an ONNX file",
                         out->size);
    return STATUS_OK;
}

static bool shapes_known(const struct graph *graph)
{
    for (int i = 0; i < graph->value_count; i++)
        if (graph->values[i].shape.rank < 0)
            return false;
    return true;
}

int onnx_encode(const struct graph *graph, const struct onnx_write_options *options,
                struct wire_writer *out, struct error *err)
{
    struct graph *inferred = NULL;
    int status = STATUS_OK;

    if (options->weights != DTYPE_F32 && options->weights != DTYPE_F16)
        return error_set(err, STATUS_INVALID, "weights are stored as f32 or f16, not as %s",
                         dtype_name(options->weights));
    if (!shapes_known(graph)) {
        status = graph_clone(graph, &inferred, err);
        if (status == STATUS_OK)
            status = graph_infer_shapes(inferred, DIM_ANY, err);
    }
    if (status == STATUS_OK)
        status = put_model(inferred != NULL ? inferred : graph, options, out, err);
    graph_free(inferred);
    return status;
}

int onnx_save(const struct graph *graph, const char *path, const struct onnx_write_options *options,
              struct error *err)
{
    struct wire_writer out = {0};

    int status = onnx_encode(graph, options, &out, err);
    if (status == STATUS_OK)
        status = file_write_atomic(path, out.bytes, out.size, true, err);
    else
        error_wrap(err, "writing '%s'", path);
    wire_writer_free(&out);
    return status;
}
