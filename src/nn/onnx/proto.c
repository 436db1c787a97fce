/* Parsing of ONNX messages other than tensors: see proto.h. Every parser is a loop over a message's
 * fields that keeps the known ones and leaves the others alone. */
#include "nn/onnx/proto.h"

#include <stdlib.h>
#include <string.h>

enum {
    NODE_ARGUMENTS_MAX = 4096, /* inputs, outputs or attributes of one node */
};

static const struct {
    int64_t code;
    enum dtype dtype;
} element_types[] = {
#define ELEMENT_TYPE_ROW(name, code, dtype) {code, dtype},
    ELEMENT_TYPE_MAP(ELEMENT_TYPE_ROW)
#undef ELEMENT_TYPE_ROW
};

enum { ELEMENT_TYPES = sizeof element_types / sizeof element_types[0] };

int element_type_read(int64_t code, enum dtype *dtype, struct error *err)
{
    for (int i = 0; i < ELEMENT_TYPES; i++) {
        if (element_types[i].code == code) {
            *dtype = element_types[i].dtype;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_UNSUPPORTED, "tensors of ONNX element type %lld are not handled",
                     (long long)code);
}

int64_t element_type_code(enum dtype dtype)
{
    for (int i = 0; i < ELEMENT_TYPES; i++)
        if (element_types[i].dtype == dtype)
            return element_types[i].code;
    return 0;
}

static int opset_read(struct wire message, struct proto_model *model, struct error *err)
{
    struct wire_field field;
    struct wire_text domain = {0};
    int64_t version = 0;
    int status = STATUS_OK;

    while (status == STATUS_OK && wire_more(&message)) {
        status = wire_next(&message, &field, err);
        if (status != STATUS_OK)
            return status;
        if (field.number == OPSET_DOMAIN)
            status = wire_get_text(&field, &domain, err);
        else if (field.number == OPSET_VERSION)
            status = wire_get_int(&field, &version, err);
    }
    if (wire_text_is(domain, "") || wire_text_is(domain, "ai.onnx"))
        model->opset = version;
    return status;
}

int proto_model_read(struct wire message, struct proto_model *model, struct error *err)
{
    struct wire_field field;
    struct wire opset;
    bool has_graph = false;
    int status = STATUS_OK;

    *model = (struct proto_model){0};
    while (status == STATUS_OK && wire_more(&message)) {
        status = wire_next(&message, &field, err);
        if (status != STATUS_OK)
            return status;
        if (field.number == MODEL_GRAPH) {
            status = wire_get_message(&field, &model->graph, err);
            has_graph = true;
        } else if (field.number == MODEL_OPSET_IMPORT) {
            status = wire_get_message(&field, &opset, err);
            if (status == STATUS_OK)
                status = opset_read(opset, model, err);
        }
    }
    if (status != STATUS_OK)
        return status;
    if (!has_graph || model->opset == 0)
        return error_set(err, STATUS_CORRUPT, "this is not an ONNX model: it has no %s",
                         has_graph ? "operator set version" : "graph");
    return STATUS_OK;
}

static int dim_read(struct wire message, int64_t *dim, struct error *err)
{
    struct wire_field field;

    *dim = DIM_ANY;
    while (wire_more(&message)) {
        int status = wire_next(&message, &field, err);
        if (status == STATUS_OK && field.number == DIM_VALUE)
            status = wire_get_int(&field, dim, err);
        if (status != STATUS_OK)
            return status;
    }
    /* Exporters write an unknown dimension as a name, as nothing, as 0 or as -1. */
    if (*dim < DIM_ANY)
        return error_set(err, STATUS_CORRUPT, "a dimension of %lld", (long long)*dim);
    if (*dim == 0)
        *dim = DIM_ANY;
    return STATUS_OK;
}

static int shape_read(struct wire message, struct shape *shape, struct error *err)
{
    struct wire_field field;
    struct wire dim;

    shape->rank = 0;
    while (wire_more(&message)) {
        int status = wire_next(&message, &field, err);
        if (status != STATUS_OK)
            return status;
        if (field.number != SHAPE_DIM)
            continue;
        if (shape->rank == SHAPE_RANK_MAX)
            return error_set(err, STATUS_UNSUPPORTED, "a shape of more than %d dimensions",
                             SHAPE_RANK_MAX);
        status = wire_get_message(&field, &dim, err);
        if (status == STATUS_OK)
            status = dim_read(dim, &shape->dims[shape->rank++], err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static int tensor_type_read(struct wire message, struct proto_value_info *info, struct error *err)
{
    struct wire_field field;
    struct wire shape;
    int status = STATUS_OK;

    while (status == STATUS_OK && wire_more(&message)) {
        status = wire_next(&message, &field, err);
        if (status != STATUS_OK)
            return status;
        if (field.number == TENSOR_TYPE_ELEM_TYPE) {
            status = wire_get_int(&field, &info->element_type, err);
        } else if (field.number == TENSOR_TYPE_SHAPE) {
            status = wire_get_message(&field, &shape, err);
            if (status == STATUS_OK)
                status = shape_read(shape, &info->shape, err);
        }
    }
    return status;
}

static int type_read(struct wire message, struct proto_value_info *info, struct error *err)
{
    struct wire_field field;
    struct wire tensor_type;
    int status = STATUS_OK;

    while (status == STATUS_OK && wire_more(&message)) {
        status = wire_next(&message, &field, err);
        if (status != STATUS_OK || field.number != TYPE_TENSOR)
            continue;
        status = wire_get_message(&field, &tensor_type, err);
        if (status == STATUS_OK)
            status = tensor_type_read(tensor_type, info, err);
    }
    return status;
}

int proto_value_info_read(struct wire message, struct proto_value_info *info, struct error *err)
{
    struct wire_field field;
    struct wire type;
    int status = STATUS_OK;

    *info = (struct proto_value_info){.shape.rank = -1};
    while (status == STATUS_OK && wire_more(&message)) {
        status = wire_next(&message, &field, err);
        if (status != STATUS_OK)
            return status;
        if (field.number == VALUE_INFO_NAME) {
            status = wire_get_text(&field, &info->name, err);
        } else if (field.number == VALUE_INFO_TYPE) {
            status = wire_get_message(&field, &type, err);
            if (status == STATUS_OK)
                status = type_read(type, info, err);
        }
    }
    return status;
}

static int attribute_read(struct wire message, struct proto_attribute *attribute, struct error *err)
{
    struct wire_field field;
    int status = STATUS_OK;

    *attribute = (struct proto_attribute){.body = message};
    while (status == STATUS_OK && wire_more(&message)) {
        status = wire_next(&message, &field, err);
        if (status != STATUS_OK)
            return status;
        switch (field.number) {
        case ATTRIBUTE_NAME:
            status = wire_get_text(&field, &attribute->name, err);
            break;
        case ATTRIBUTE_F:
            status = wire_get_float(&field, &attribute->f, err);
            break;
        case ATTRIBUTE_I:
            status = wire_get_int(&field, &attribute->i, err);
            break;
        case ATTRIBUTE_S:
            status = wire_get_text(&field, &attribute->s, err);
            break;
        case ATTRIBUTE_T:
            status = wire_get_message(&field, &attribute->t, err);
            break;
        case ATTRIBUTE_TYPE:
            status = wire_get_int(&field, &attribute->type, err);
            break;
        }
    }
    return status;
}

/* How many inputs, outputs and attributes the node has, so that their arrays can be made. */
static int node_measure(struct wire message, struct proto_node *node, struct error *err)
{
    struct wire_field field;

    while (wire_more(&message)) {
        const int status = wire_next(&message, &field, err);
        if (status != STATUS_OK)
            return status;
        node->input_count += field.number == NODE_INPUT;
        node->output_count += field.number == NODE_OUTPUT;
        node->attribute_count += field.number == NODE_ATTRIBUTE;
        if (node->input_count > NODE_ARGUMENTS_MAX || node->output_count > NODE_ARGUMENTS_MAX ||
            node->attribute_count > NODE_ARGUMENTS_MAX)
            return error_set(err, STATUS_UNSUPPORTED, "a node of more than %d inputs or outputs",
                             NODE_ARGUMENTS_MAX);
    }
    return STATUS_OK;
}

static int node_field_read(const struct wire_field *field, struct proto_node *node,
                           struct error *err)
{
    struct wire attribute;
    int status = STATUS_OK;

    switch (field->number) {
    case NODE_INPUT:
        return wire_get_text(field, &node->inputs[node->input_count++], err);
    case NODE_OUTPUT:
        return wire_get_text(field, &node->outputs[node->output_count++], err);
    case NODE_NAME:
        return wire_get_text(field, &node->name, err);
    case NODE_OP_TYPE:
        return wire_get_text(field, &node->op_type, err);
    case NODE_DOMAIN:
        return wire_get_text(field, &node->domain, err);
    case NODE_ATTRIBUTE:
        status = wire_get_message(field, &attribute, err);
        if (status == STATUS_OK)
            status = attribute_read(attribute, &node->attributes[node->attribute_count++], err);
        return status;
    }
    return status;
}

int proto_node_read(struct wire message, struct proto_node *node, struct error *err)
{
    struct wire_field field;

    *node = (struct proto_node){0};
    int status = node_measure(message, node, err);
    if (status != STATUS_OK)
        return status;
    node->inputs = calloc((size_t)node->input_count + 1, sizeof *node->inputs);
    node->outputs = calloc((size_t)node->output_count + 1, sizeof *node->outputs);
    node->attributes = calloc((size_t)node->attribute_count + 1, sizeof *node->attributes);
    node->input_count = node->output_count = node->attribute_count = 0;
    if (node->inputs == NULL || node->outputs == NULL || node->attributes == NULL) {
        proto_node_free(node);
        return error_set(err, STATUS_NO_MEMORY, "no memory to read a node");
    }
    while (status == STATUS_OK && wire_more(&message)) {
        status = wire_next(&message, &field, err);
        if (status == STATUS_OK)
            status = node_field_read(&field, node, err);
    }
    if (status != STATUS_OK)
        proto_node_free(node);
    return status;
}

void proto_node_free(struct proto_node *node)
{
    free(node->inputs);
    free(node->outputs);
    free(node->attributes);
    *node = (struct proto_node){0};
}

const struct proto_attribute *proto_attribute_find(const struct proto_node *node, const char *name)
{
    for (int i = 0; i < node->attribute_count; i++)
        if (wire_text_is(node->attributes[i].name, name))
            return &node->attributes[i];
    return NULL;
}

/* Finds an attribute that must have the given type; *found is NULL where the node has none. Files
 * older than the type field (type 0) are taken at their word. */
static int attribute_require(const struct proto_node *node, const char *name,
                             enum attribute_type type, const struct proto_attribute **found,
                             struct error *err)
{
    *found = proto_attribute_find(node, name);
    if (*found != NULL && (*found)->type != 0 && (*found)->type != (int64_t)type)
        return error_set(err, STATUS_CORRUPT, "attribute '%s' has type %lld instead of %d", name,
                         (long long)(*found)->type, (int)type);
    return STATUS_OK;
}

int proto_attribute_int(const struct proto_node *node, const char *name, int64_t otherwise,
                        int64_t *value, struct error *err)
{
    const struct proto_attribute *found;
    const int status = attribute_require(node, name, ATTRIBUTE_TYPE_INT, &found, err);
    if (status == STATUS_OK)
        *value = found == NULL ? otherwise : found->i;
    return status;
}

int proto_attribute_float(const struct proto_node *node, const char *name, float otherwise,
                          float *value, struct error *err)
{
    const struct proto_attribute *found;
    const int status = attribute_require(node, name, ATTRIBUTE_TYPE_FLOAT, &found, err);
    if (status == STATUS_OK)
        *value = found == NULL ? otherwise : found->f;
    return status;
}

int proto_attribute_text(const struct proto_node *node, const char *name, const char *otherwise,
                         struct wire_text *value, struct error *err)
{
    const struct proto_attribute *found;
    const int status = attribute_require(node, name, ATTRIBUTE_TYPE_STRING, &found, err);
    if (status == STATUS_OK)
        *value = found == NULL ? (struct wire_text){otherwise, strlen(otherwise)} : found->s;
    return status;
}

/* Adds the integers of one field, packed or single, to values. */
static int ints_append(const struct wire_field *field, int64_t *values, int max, int *count,
                       struct error *err)
{
    struct wire payload = field->payload;
    uint64_t bits = field->bits;

    if (field->type != WIRE_LENGTH && field->type != WIRE_VARINT)
        return error_set(err, STATUS_CORRUPT, "an attribute's list of integers is not one");
    for (bool single = field->type == WIRE_VARINT; single || wire_more(&payload); single = false) {
        const int status = single ? STATUS_OK : wire_take_varint(&payload, &bits, err);
        if (status != STATUS_OK)
            return status;
        if (*count == max)
            return error_set(err, STATUS_UNSUPPORTED, "an attribute of more than %d integers", max);
        values[(*count)++] = (int64_t)bits;
    }
    return STATUS_OK;
}

int proto_attribute_ints(const struct proto_node *node, const char *name, int64_t *values, int max,
                         int *count, struct error *err)
{
    const struct proto_attribute *found;
    struct wire_field field;

    *count = -1;
    int status = attribute_require(node, name, ATTRIBUTE_TYPE_INTS, &found, err);
    if (status != STATUS_OK || found == NULL)
        return status;
    *count = 0;
    for (struct wire body = found->body; status == STATUS_OK && wire_more(&body);) {
        status = wire_next(&body, &field, err);
        if (status == STATUS_OK && field.number == ATTRIBUTE_INTS)
            status = ints_append(&field, values, max, count, err);
    }
    return status;
}
