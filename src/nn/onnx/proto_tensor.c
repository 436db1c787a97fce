/* Parsing of tensors: see proto.h. The elements are counted against the bytes that hold them before
 * memory is asked for, so a file cannot ask for more than about eight times its own size. */
#include "nn/onnx/proto.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "raw_data is little endian and copied as it stands");

enum { DATA_LOCATION_EXTERNAL = 1 };

struct tensor_header {
    enum dtype dtype;
    struct shape shape;
    struct wire raw;
    bool has_raw;
};

int proto_tensor_name(struct wire message, struct wire_text *name, struct error *err)
{
    struct wire_field field;
    int status = STATUS_OK;

    *name = (struct wire_text){0};
    while (status == STATUS_OK && wire_more(&message)) {
        status = wire_next(&message, &field, err);
        if (status == STATUS_OK && field.number == TENSOR_NAME)
            status = wire_get_text(&field, name, err);
    }
    return status;
}

static int dim_append(struct shape *shape, uint64_t bits, struct error *err)
{
    const int64_t dim = (int64_t)bits;
    if (shape->rank == SHAPE_RANK_MAX)
        return error_set(err, STATUS_UNSUPPORTED, "a tensor of more than %d dimensions",
                         SHAPE_RANK_MAX);
    if (dim < 0)
        return error_set(err, STATUS_CORRUPT, "a tensor with a dimension of %lld", (long long)dim);
    shape->dims[shape->rank++] = dim;
    return STATUS_OK;
}

static int dims_read(const struct wire_field *field, struct shape *shape, struct error *err)
{
    struct wire payload = field->payload;
    uint64_t bits;
    int status = STATUS_OK;

    if (field->type == WIRE_VARINT)
        return dim_append(shape, field->bits, err);
    if (field->type != WIRE_LENGTH)
        return error_set(err, STATUS_CORRUPT, "a tensor's dimensions are not integers");
    while (status == STATUS_OK && wire_more(&payload)) {
        status = wire_take_varint(&payload, &bits, err);
        if (status == STATUS_OK)
            status = dim_append(shape, bits, err);
    }
    return status;
}

static int header_field_read(const struct wire_field *field, struct tensor_header *header,
                             struct error *err)
{
    int64_t number;
    int status = STATUS_OK;

    switch (field->number) {
    case TENSOR_DIMS:
        return dims_read(field, &header->shape, err);
    case TENSOR_DATA_TYPE:
        status = wire_get_int(field, &number, err);
        return status == STATUS_OK ? element_type_read(number, &header->dtype, err) : status;
    case TENSOR_RAW_DATA:
        header->has_raw = true;
        return wire_get_message(field, &header->raw, err);
    case TENSOR_DATA_LOCATION:
        status = wire_get_int(field, &number, err);
        if (status == STATUS_OK && number == DATA_LOCATION_EXTERNAL)
            return error_set(err, STATUS_UNSUPPORTED,
                             "a tensor's data is in another file; save the model as one file");
        return status;
    }
    return status;
}

/* The bytes one element of a typed field takes at least: fixed for floats, one for varints. */
static size_t typed_size_min(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F64 ? dtype_size(dtype) : 1;
}

static int header_read(struct wire message, struct tensor_header *header, struct error *err)
{
    const size_t size = wire_left(&message);
    struct wire_field field;
    bool has_type = false;
    int status = STATUS_OK;

    *header = (struct tensor_header){0};
    while (status == STATUS_OK && wire_more(&message)) {
        status = wire_next(&message, &field, err);
        if (status == STATUS_OK)
            status = header_field_read(&field, header, err);
        has_type = has_type || field.number == TENSOR_DATA_TYPE;
    }
    if (status != STATUS_OK)
        return status;
    if (!has_type)
        return error_set(err, STATUS_CORRUPT, "a tensor without an element type");

    const int64_t elements = shape_elements(&header->shape);
    const size_t held = header->has_raw ? wire_left(&header->raw) / dtype_size(header->dtype)
                                        : size / typed_size_min(header->dtype);
    if (elements < 0 || (uint64_t)elements > held ||
        (header->has_raw &&
         (uint64_t)elements * dtype_size(header->dtype) != wire_left(&header->raw)))
        return error_set(err, STATUS_CORRUPT,
                         "a tensor's dimensions say %lld elements and its data is of %zu bytes",
                         (long long)elements, header->has_raw ? wire_left(&header->raw) : size);
    return STATUS_OK;
}

static uint32_t typed_field(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F32:
        return TENSOR_FLOAT_DATA;
    case DTYPE_F64:
        return TENSOR_DOUBLE_DATA;
    case DTYPE_I64:
        return TENSOR_INT64_DATA;
    case DTYPE_F16:
    case DTYPE_BF16:
    case DTYPE_I32:
    case DTYPE_I8:
    case DTYPE_U8:
    case DTYPE_BOOL:
        return TENSOR_INT32_DATA;
    }
    return TENSOR_INT32_DATA;
}

/* Takes the next element's bits out of a packed payload, by the coding of its field. */
static int typed_take(struct wire *payload, uint32_t number, uint64_t *bits, struct error *err)
{
    uint32_t narrow = 0;
    int status;

    if (number == TENSOR_DOUBLE_DATA)
        return wire_take_fixed64(payload, bits, err);
    if (number != TENSOR_FLOAT_DATA)
        return wire_take_varint(payload, bits, err);
    status = wire_take_fixed32(payload, &narrow, err);
    *bits = narrow;
    return status;
}

static enum wire_type typed_wire_type(uint32_t number)
{
    return number == TENSOR_FLOAT_DATA    ? WIRE_FIXED32
           : number == TENSOR_DOUBLE_DATA ? WIRE_FIXED64
                                          : WIRE_VARINT;
}

/* Adds the elements of one typed field, packed or single. The low bytes of `bits` are the element,
 * whatever its width: integers are two's complement and everything is little endian. */
static int typed_append(const struct wire_field *field, struct tensor *tensor, size_t *filled,
                        struct error *err)
{
    const size_t width = dtype_size(tensor->dtype);
    struct wire payload = field->payload;
    uint64_t bits = field->bits;

    if (field->type != WIRE_LENGTH && field->type != typed_wire_type(field->number))
        return error_set(err, STATUS_CORRUPT, "a tensor's data is not of its type");
    for (bool single = field->type != WIRE_LENGTH; single || wire_more(&payload); single = false) {
        const int status = single ? STATUS_OK : typed_take(&payload, field->number, &bits, err);
        if (status != STATUS_OK)
            return status;
        if (tensor->size - *filled < width)
            return error_set(err, STATUS_CORRUPT, "a tensor has more data than its dimensions say");
        memcpy((uint8_t *)tensor->data + *filled, &bits, width);
        *filled += width;
    }
    return STATUS_OK;
}

static int typed_read(struct wire message, struct tensor *tensor, struct error *err)
{
    const uint32_t number = typed_field(tensor->dtype);
    struct wire_field field;
    size_t filled = 0;
    int status = STATUS_OK;

    while (status == STATUS_OK && wire_more(&message)) {
        status = wire_next(&message, &field, err);
        if (status == STATUS_OK && field.number == number)
            status = typed_append(&field, tensor, &filled, err);
    }
    if (status == STATUS_OK && filled != tensor->size)
        return error_set(err, STATUS_CORRUPT, "a tensor has %zu bytes of data instead of %zu",
                         filled, tensor->size);
    return status;
}

int proto_tensor_read(struct wire message, struct tensor **out, struct error *err)
{
    struct tensor_header header;
    struct tensor *tensor = NULL;

    int status = header_read(message, &header, err);
    if (status != STATUS_OK)
        return status;
    status = tensor_create(header.dtype, &header.shape, &tensor, err);
    if (status != STATUS_OK)
        return status;
    if (!header.has_raw)
        status = typed_read(message, tensor, err);
    else if (tensor->size > 0)
        memcpy(tensor->data, header.raw.at, tensor->size);
    if (status != STATUS_OK) {
        tensor_free(tensor);
        return status;
    }
    *out = tensor;
    return STATUS_OK;
}

static int constant_vector(enum dtype dtype, int count, struct tensor **out, struct error *err)
{
    const struct shape shape = {.rank = 1, .dims = {count}};
    return tensor_create(dtype, &shape, out, err);
}

static int constant_ints(const struct proto_node *node, struct tensor **out, struct error *err)
{
    enum { INTS_MAX = 4096 };
    int64_t values[INTS_MAX];
    int count;

    int status = proto_attribute_ints(node, "value_ints", values, INTS_MAX, &count, err);
    if (status == STATUS_OK)
        status = constant_vector(DTYPE_I64, count, out, err);
    if (status == STATUS_OK && count > 0)
        memcpy((*out)->data, values, (size_t)count * sizeof values[0]);
    return status;
}

/* The floats of an attribute are coded as float_data of a tensor would be. */
static int constant_floats(const struct proto_attribute *attribute, struct tensor **out,
                           struct error *err)
{
    struct wire body = attribute->body;
    struct wire_field field;
    size_t bytes = 0, filled = 0;
    int status = STATUS_OK;

    while (status == STATUS_OK && wire_more(&body)) {
        status = wire_next(&body, &field, err);
        if (status == STATUS_OK && field.number == ATTRIBUTE_FLOATS)
            bytes += field.type == WIRE_LENGTH ? wire_left(&field.payload) : sizeof(float);
    }
    if (status == STATUS_OK && (bytes % sizeof(float) != 0 || bytes > INT32_MAX))
        status = error_set(err, STATUS_CORRUPT, "an attribute's list of floats is not one");
    if (status == STATUS_OK)
        status = constant_vector(DTYPE_F32, (int)(bytes / sizeof(float)), out, err);
    if (status != STATUS_OK)
        return status;
    body = attribute->body;
    while (status == STATUS_OK && wire_more(&body)) {
        status = wire_next(&body, &field, err);
        if (status != STATUS_OK || field.number != ATTRIBUTE_FLOATS)
            continue;
        field.number = TENSOR_FLOAT_DATA;
        status = typed_append(&field, *out, &filled, err);
    }
    if (status != STATUS_OK) {
        tensor_free(*out);
        *out = NULL;
    }
    return status;
}

static int constant_scalar(enum dtype dtype, const void *value, struct tensor **out,
                           struct error *err)
{
    const struct shape scalar = {.rank = 0};
    const int status = tensor_create(dtype, &scalar, out, err);
    if (status == STATUS_OK)
        memcpy((*out)->data, value, dtype_size(dtype));
    return status;
}

int proto_constant_read(const struct proto_node *node, struct tensor **out, struct error *err)
{
    const struct proto_attribute *attribute;

    if ((attribute = proto_attribute_find(node, "value")) != NULL)
        return proto_tensor_read(attribute->t, out, err);
    if ((attribute = proto_attribute_find(node, "value_int")) != NULL)
        return constant_scalar(DTYPE_I64, &attribute->i, out, err);
    if ((attribute = proto_attribute_find(node, "value_float")) != NULL)
        return constant_scalar(DTYPE_F32, &attribute->f, out, err);
    if (proto_attribute_find(node, "value_ints") != NULL)
        return constant_ints(node, out, err);
    if ((attribute = proto_attribute_find(node, "value_floats")) != NULL)
        return constant_floats(attribute, out, err);
    return error_set(err, STATUS_UNSUPPORTED, "a constant of strings or of sparse data");
}
