/* The messages of an ONNX file that this program reads, as windows over the file's bytes, and the
 * field numbers and codes that reader and writer share.
 *
 * FORMAT (onnx.ai, "Open Neural Network Exchange Intermediate Representation"; IR versions 3 to
 * 11). A file is one ModelProto in the wire format of wire.h; numbers are field numbers, * repeats:
 *
 *   ModelProto      ir_version 1, producer_name 2, graph 7, opset_import* 8
 *   OperatorSetId   domain 1 ("" or "ai.onnx" is the standard set), version 2
 *   GraphProto      node* 1, name 2, initializer* 5, doc_string 10, input* 11, output* 12,
 *                   sparse_initializer* 15
 *   NodeProto       input* 1, output* 2, name 3, op_type 4, attribute* 5, domain 7
 *   AttributeProto  name 1, f 2, i 3, s 4, t 5, floats* 7, ints* 8, type 20
 *   TensorProto     dims* 1, data_type 2, float_data* 4, int32_data* 5, int64_data* 7, name 8,
 *                   raw_data 9, double_data* 10, data_location 14
 *   ValueInfo       name 1, type 2 > tensor_type 1 > (elem_type 1, shape 2 > dim* 1 >
 *                   (dim_value 1, dim_param 2))
 *
 * VALID. A graph's nodes are in topological order and every name is written once: by an input, an
 * initializer (which may double as an input) or one node's output; "" stands for an omitted
 * optional input or output. A tensor's elements are in raw_data (little endian, dense, row-major),
 * or, if that is absent, in the typed field of its type: float in float_data, double in
 * double_data, int64 in int64_data, and int32, the narrower integers, bool, and the bits of float16
 * and bfloat16 in int32_data; either way there are exactly as many as the dims multiply to.
 *
 * The structs point into the file and are valid as long as its bytes are. */
#ifndef NN_ONNX_PROTO_H
#define NN_ONNX_PROTO_H

#include <stdbool.h>
#include <stdint.h>

#include "nn/graph/tensor.h"
#include "nn/onnx/wire.h"

enum {
    MODEL_IR_VERSION = 1,
    MODEL_PRODUCER_NAME = 2,
    MODEL_GRAPH = 7,
    MODEL_OPSET_IMPORT = 8,

    OPSET_DOMAIN = 1,
    OPSET_VERSION = 2,

    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_DOC_STRING = 10,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    GRAPH_SPARSE_INITIALIZER = 15,

    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_OP_TYPE = 4,
    NODE_ATTRIBUTE = 5,
    NODE_DOMAIN = 7,

    ATTRIBUTE_NAME = 1,
    ATTRIBUTE_F = 2,
    ATTRIBUTE_I = 3,
    ATTRIBUTE_S = 4,
    ATTRIBUTE_T = 5,
    ATTRIBUTE_FLOATS = 7,
    ATTRIBUTE_INTS = 8,
    ATTRIBUTE_TYPE = 20,

    TENSOR_DIMS = 1,
    TENSOR_DATA_TYPE = 2,
    TENSOR_FLOAT_DATA = 4,
    TENSOR_INT32_DATA = 5,
    TENSOR_INT64_DATA = 7,
    TENSOR_NAME = 8,
    TENSOR_RAW_DATA = 9,
    TENSOR_DOUBLE_DATA = 10,
    TENSOR_DATA_LOCATION = 14,

    VALUE_INFO_NAME = 1,
    VALUE_INFO_TYPE = 2,
    TYPE_TENSOR = 1,
    TENSOR_TYPE_ELEM_TYPE = 1,
    TENSOR_TYPE_SHAPE = 2,
    SHAPE_DIM = 1,
    DIM_VALUE = 1,
    DIM_PARAM = 2,
};

/* AttributeProto.type */
enum attribute_type {
    ATTRIBUTE_TYPE_FLOAT = 1,
    ATTRIBUTE_TYPE_INT = 2,
    ATTRIBUTE_TYPE_STRING = 3,
    ATTRIBUTE_TYPE_TENSOR = 4,
    ATTRIBUTE_TYPE_FLOATS = 6,
    ATTRIBUTE_TYPE_INTS = 7,
};

/* X(name in TensorProto.DataType, its code, our type) for the types that are read. */
#define ELEMENT_TYPE_MAP(X)                                                                        \
    X(FLOAT, 1, DTYPE_F32)                                                                         \
    X(UINT8, 2, DTYPE_U8)                                                                          \
    X(INT8, 3, DTYPE_I8)                                                                           \
    X(INT32, 6, DTYPE_I32)                                                                         \
    X(INT64, 7, DTYPE_I64)                                                                         \
    X(BOOL, 9, DTYPE_BOOL)                                                                         \
    X(FLOAT16, 10, DTYPE_F16)                                                                      \
    X(DOUBLE, 11, DTYPE_F64)                                                                       \
    X(BFLOAT16, 16, DTYPE_BF16)

/* Our type for a code of TensorProto.DataType; STATUS_UNSUPPORTED for strings, complex numbers and
 * so on. */
int element_type_read(int64_t code, enum dtype *dtype, struct error *err);
int64_t element_type_code(enum dtype dtype);

struct proto_model {
    struct wire graph;
    int64_t opset; /* version of the standard operators */
};

struct proto_attribute {
    struct wire_text name;
    int64_t type; /* enum attribute_type, or one that is not read */
    float f;
    int64_t i;
    struct wire_text s;
    struct wire t;    /* TensorProto */
    struct wire body; /* the whole attribute, where floats and ints are found */
};

struct proto_node {
    struct wire_text name, op_type, domain;
    struct wire_text *inputs, *outputs; /* owned, as are the attributes */
    int input_count, output_count;
    struct proto_attribute *attributes;
    int attribute_count;
};

struct proto_value_info {
    struct wire_text name;
    int64_t element_type;
    struct shape shape; /* symbolic dimensions are DIM_ANY; rank -1 when none is given */
};

/* Each parses one message. STATUS_CORRUPT when malformed; the caller owns nothing but the node. */
int proto_model_read(struct wire message, struct proto_model *model, struct error *err);
int proto_value_info_read(struct wire message, struct proto_value_info *info, struct error *err);
int proto_node_read(struct wire message, struct proto_node *node, struct error *err);
void proto_node_free(struct proto_node *node);

/* A tensor as it stands in the file, its own type kept, name apart. The caller owns *out. */
int proto_tensor_name(struct wire message, struct wire_text *name, struct error *err);
int proto_tensor_read(struct wire message, struct tensor **out, struct error *err);

/* Attributes by name: NULL where the node has none; the getters then give `otherwise`. An
 * attribute of another type is STATUS_CORRUPT. */
const struct proto_attribute *proto_attribute_find(const struct proto_node *node, const char *name);
int proto_attribute_int(const struct proto_node *node, const char *name, int64_t otherwise,
                        int64_t *value, struct error *err);
int proto_attribute_float(const struct proto_node *node, const char *name, float otherwise,
                          float *value, struct error *err);
int proto_attribute_text(const struct proto_node *node, const char *name, const char *otherwise,
                         struct wire_text *value, struct error *err);
/* At most `max` integers; *count is -1 when the attribute is absent. */
int proto_attribute_ints(const struct proto_node *node, const char *name, int64_t *values, int max,
                         int *count, struct error *err);
/* The value of a Constant node's attribute, whichever of its forms it takes. */
int proto_constant_read(const struct proto_node *node, struct tensor **out, struct error *err);

#endif
