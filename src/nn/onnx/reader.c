/* Reading ONNX models: see onnx.h.
 *
 * The graph message is gone through once for each kind of field, since fields come in any order:
 * initialisers become constants, inputs that are no initialisers become inputs, nodes are added in
 * the order of the file (which ONNX demands to be topological), outputs are marked. Then what
 * nothing needs is dropped, shapes are inferred, and passes_canonicalise brings exporters' habits
 * to one form, which makes the targets of Reshape that were computed from shapes constant.
 *
 * Everything computes in f32: weights in f16, bf16 or f64 are converted, casts among the float
 * types vanish. */
#include "nn/onnx/reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "nn/graph/passes.h"
#include "nn/onnx/onnx.h"

enum {
    INFERENCES_MAX = 1000, /* before the end; a file that needs more is made to waste time */
};

/* protobuf's own bound on a message. */
static const size_t file_size_max = INT32_MAX;

int reader_add_constant(struct reader *reader, const char *name, struct tensor *tensor,
                        struct error *err)
{
    struct tensor *converted;

    if (tensor->dtype == DTYPE_F16 || tensor->dtype == DTYPE_BF16 || tensor->dtype == DTYPE_F64) {
        const int status = tensor_convert(tensor, DTYPE_F32, &converted, err);
        tensor_free(tensor);
        if (status != STATUS_OK)
            return status;
        tensor = converted;
    }
    return graph_add_value(reader->graph, name, tensor, err);
}

/* The file's names are unique, so a value that has the name already has it made up, by
 * graph_add_node for a node that became several: the two exchange names. */
int reader_name_value(struct reader *reader, int value, struct wire_text name, struct error *err)
{
    struct value *values = reader->graph->values;
    int status = STATUS_OK;

    char *copy = wire_text_copy(name);
    if (copy == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the names of a model");
    const int holder = graph_find_value(reader->graph, copy);
    if (holder < 0) {
        status = graph_rename_value(reader->graph, value, copy, err);
    } else {
        char *own = values[value].name;
        values[value].name = values[holder].name;
        values[holder].name = own;
    }
    free(copy);
    return status;
}

int reader_value(struct reader *reader, int value, const struct value **out, struct error *err)
{
    if (reader->graph->values[value].shape.rank < 0) {
        if (reader->inferences++ == INFERENCES_MAX)
            return error_set(err, STATUS_TOO_LARGE, "too many nodes depend on shapes");
        const int status = graph_infer_shapes(reader->graph, DIM_ANY, err);
        if (status != STATUS_OK)
            return status;
    }
    *out = &reader->graph->values[value];
    return STATUS_OK;
}

/* What to do with one field of the graph message. */
typedef int (*field_reader)(struct reader *reader, struct wire message, struct error *err);

/* Calls `read` for each field of that number. */
static int read_fields(struct reader *reader, struct wire graph, uint32_t number, field_reader read,
                       struct error *err)
{
    struct wire_field field;
    struct wire message;
    int status = STATUS_OK;

    while (status == STATUS_OK && wire_more(&graph)) {
        status = wire_next(&graph, &field, err);
        if (status != STATUS_OK || field.number != number)
            continue;
        status = wire_get_message(&field, &message, err);
        if (status == STATUS_OK)
            status = read(reader, message, err);
    }
    return status;
}

static int read_sparse_initializer(struct reader *reader, struct wire message, struct error *err)
{
    (void)reader;
    (void)message;
    return error_set(err, STATUS_UNSUPPORTED, "the model has sparse weights");
}

/* Adds a value under its name in the file, which no other may have. */
static int bind_name(struct reader *reader, struct wire_text name, int value, struct error *err)
{
    if (name.size == 0)
        return error_set(err, STATUS_CORRUPT, "a weight or an input has no name");
    const int status = name_table_add(&reader->values, name, value, err);
    if (status != STATUS_OK)
        return status;
    return reader_name_value(reader, value, name, err);
}

static int read_initializer(struct reader *reader, struct wire message, struct error *err)
{
    struct wire_text name = {0};
    struct tensor *tensor;

    int status = proto_tensor_name(message, &name, err);
    if (status == STATUS_OK)
        status = proto_tensor_read(message, &tensor, err);
    if (status != STATUS_OK)
        goto done;
    status = reader_add_constant(reader, NULL, tensor, err);
    if (status >= 0)
        status = bind_name(reader, name, status, err);

done:
    if (status < 0)
        error_wrap(err, "weight '%.*s'", WIRE_TEXT_PRINT(name));
    return status;
}

/* f16 inputs and the like are given as f32. */
static int check_input_type(const struct proto_value_info *info, struct error *err)
{
    enum dtype dtype;

    const int status = element_type_read(info->element_type, &dtype, err);
    if (status != STATUS_OK)
        return status;
    if (dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_BF16 && dtype != DTYPE_F64)
        return error_set(err, STATUS_UNSUPPORTED, "inputs of type %s are not handled",
                         dtype_name(dtype));
    if (info->shape.rank < 0)
        return error_set(err, STATUS_UNSUPPORTED, "the input has no shape");
    return STATUS_OK;
}

static int read_input(struct reader *reader, struct wire message, struct error *err)
{
    struct proto_value_info info;
    int status = proto_value_info_read(message, &info, err);

    /* Before IR version 4 every initialiser was listed among the inputs. */
    if (status != STATUS_OK || name_table_find(&reader->values, info.name) != NULL)
        return status;
    status = check_input_type(&info, err);
    if (status == STATUS_OK)
        status = graph_add_input(reader->graph, NULL, &info.shape, err);
    if (status >= 0)
        status = bind_name(reader, info.name, status, err);
    if (status < 0)
        error_wrap(err, "input '%.*s'", WIRE_TEXT_PRINT(info.name));
    return status;
}

static int read_node(struct reader *reader, struct wire message, struct error *err)
{
    struct proto_node node;

    int status = proto_node_read(message, &node, err);
    if (status != STATUS_OK)
        return status;
    status = reader_add_node(reader, &node, err);
    proto_node_free(&node);
    return status;
}

static int read_output(struct reader *reader, struct wire message, struct error *err)
{
    struct proto_value_info info;

    int status = proto_value_info_read(message, &info, err);
    if (status != STATUS_OK)
        return status;
    const struct name_entry *entry = name_table_find(&reader->values, info.name);
    if (entry == NULL || entry->item < 0)
        return error_set(err, entry == NULL ? STATUS_CORRUPT : STATUS_UNSUPPORTED,
                         "the output '%.*s' is computed by no node", WIRE_TEXT_PRINT(info.name));
    status = graph_add_output(reader->graph, entry->item, err);
    if (status < 0)
        return status;
    if (reader->graph->values[entry->item].producer < 0)
        return STATUS_OK;
    return reader_name_value(reader, entry->item, info.name, err);
}

static int read_graph(struct reader *reader, struct wire graph, struct error *err)
{
    static const struct {
        uint32_t number;
        field_reader read;
    } kinds[] = {
        {GRAPH_SPARSE_INITIALIZER, read_sparse_initializer},
        {GRAPH_INITIALIZER, read_initializer},
        {GRAPH_INPUT, read_input},
        {GRAPH_NODE, read_node},
        {GRAPH_OUTPUT, read_output},
    };
    int status = STATUS_OK;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && status == STATUS_OK; i++)
        status = read_fields(reader, graph, kinds[i].number, kinds[i].read, err);
    if (status == STATUS_OK &&
        (reader->graph->input_count == 0 || reader->graph->output_count == 0))
        return error_set(err, STATUS_CORRUPT, "the model has no %s",
                         reader->graph->input_count == 0 ? "input" : "output");
    return status;
}

static int finish(struct graph *graph, struct error *err)
{
    int status = graph_compact(graph, err);
    if (status == STATUS_OK)
        status = graph_infer_shapes(graph, DIM_ANY, err);
    if (status == STATUS_OK)
        status = passes_canonicalise(graph, err);
    if (status == STATUS_OK)
        status = graph_compact(graph, err);
    if (status == STATUS_OK)
        status = graph_infer_shapes(graph, DIM_ANY, err);
    return status;
}

static int check_opset(const struct proto_model *model, struct error *err)
{
    if (model->opset < OPSET_MIN || model->opset > OPSET_MAX)
        return error_set(err, STATUS_UNSUPPORTED,
                         "the model uses operator set %lld; %d to %d are handled",
                         (long long)model->opset, OPSET_MIN, OPSET_MAX);
    return STATUS_OK;
}

int onnx_read(const uint8_t *bytes, size_t size, struct graph **out, struct error *err)
{
    struct reader reader = {0};
    struct proto_model model;

    int status = proto_model_read(wire_open(bytes, size), &model, err);
    if (status == STATUS_OK)
        status = check_opset(&model, err);
    if (status == STATUS_OK)
        status = graph_create(&reader.graph, err);
    if (status != STATUS_OK)
        goto done;
    reader.opset = model.opset;
    status = read_graph(&reader, model.graph, err);
    if (status == STATUS_OK)
        status = finish(reader.graph, err);

done:
    name_table_free(&reader.values);
    name_table_free(&reader.nodes);
    if (status != STATUS_OK) {
        graph_free(reader.graph);
        /* The graph calls a broken rule invalid, and a name given twice existing; in a file both
         * are damage. */
        if (status == STATUS_INVALID || status == STATUS_EXISTS)
            status = STATUS_CORRUPT;
        if (err != NULL)
            err->code = status;
        return status;
    }
    *out = reader.graph;
    return STATUS_OK;
}

int onnx_load(const char *path, struct graph **out, struct error *err)
{
    uint8_t *bytes;
    size_t size;

    int status = file_read(path, file_size_max, &bytes, &size, err);
    if (status != STATUS_OK)
        return status;
    status = onnx_read(bytes, size, out, err);
    free(bytes);
    if (status != STATUS_OK)
        error_wrap(err, "reading '%s'", path);
    return status;
}
