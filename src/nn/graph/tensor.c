/* Shapes and tensors: see tensor.h. Conversion between any two types goes element by element
 * through double or int64_t, except the pairs that whole models are made of (f32 with f16 and
 * bf16), which half.c does in bulk. */
#include "nn/graph/tensor.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/graph/half.h"

enum { TENSOR_ALIGNMENT = 64 };

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [DTYPE_F32] = {"f32", 4}, [DTYPE_F16] = {"f16", 2},   [DTYPE_BF16] = {"bf16", 2},
    [DTYPE_I64] = {"i64", 8}, [DTYPE_I32] = {"i32", 4},   [DTYPE_I8] = {"i8", 1},
    [DTYPE_U8] = {"u8", 1},   [DTYPE_BOOL] = {"bool", 1}, [DTYPE_F64] = {"f64", 8},
};

size_t dtype_size(enum dtype dtype)
{
    assert((size_t)dtype < sizeof dtypes / sizeof *dtypes);
    return dtypes[dtype].size;
}

const char *dtype_name(enum dtype dtype)
{
    return (size_t)dtype < sizeof dtypes / sizeof *dtypes ? dtypes[dtype].name : "unknown";
}

static bool dtype_is_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype == DTYPE_F64;
}

int64_t shape_elements(const struct shape *shape)
{
    int64_t count = 1;

    for (int i = 0; i < shape->rank; i++)
        if (shape->dims[i] < 0 || __builtin_mul_overflow(count, shape->dims[i], &count))
            return -1;
    return shape->rank < 0 ? -1 : count;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i])
            return false;
    return true;
}

const char *shape_text(const struct shape *shape, char *text, size_t text_size)
{
    size_t used = 0;

    if (text_size == 0)
        return text;
    if (shape->rank < 0) {
        snprintf(text, text_size, "unknown");
        return text;
    }
    text[0] = '\0';
    for (int i = 0; i <= shape->rank && used < text_size; i++) {
        const char *lead = i == 0 ? "[" : i < shape->rank ? ", " : "";
        int length;
        if (i == shape->rank)
            length = snprintf(text + used, text_size - used, "%s]", lead);
        else if (shape->dims[i] == DIM_ANY)
            length = snprintf(text + used, text_size - used, "%s?", lead);
        else
            length = snprintf(text + used, text_size - used, "%s%" PRId64, lead, shape->dims[i]);
        used += length > 0 ? (size_t)length : 0;
    }
    return text;
}

/* Its elements are not yet set, only the padding after them. */
static int tensor_allocate(enum dtype dtype, const struct shape *shape, struct tensor **out,
                           struct error *err)
{
    char text[128];
    const int64_t count = shape_elements(shape);
    size_t size;

    if (shape->rank > SHAPE_RANK_MAX || count < 0 ||
        __builtin_mul_overflow((size_t)count, dtype_size(dtype), &size) ||
        size > SIZE_MAX - 2 * TENSOR_ALIGNMENT)
        return error_set(err, STATUS_INVALID, "no tensor can have the shape %s",
                         shape_text(shape, text, sizeof text));

    struct tensor *tensor = malloc(sizeof *tensor);
    if (tensor == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a tensor");
    /* aligned_alloc wants whole multiples, and an empty tensor still has an address. */
    const size_t room = (size / TENSOR_ALIGNMENT + 1) * TENSOR_ALIGNMENT;
    tensor->dtype = dtype;
    tensor->shape = *shape;
    tensor->size = size;
    tensor->data = aligned_alloc(TENSOR_ALIGNMENT, room);
    if (tensor->data == NULL) {
        free(tensor);
        return error_set(err, STATUS_NO_MEMORY, "no memory for a tensor of %zu bytes", size);
    }
    memset((uint8_t *)tensor->data + size, 0, room - size);
    *out = tensor;
    return STATUS_OK;
}

int tensor_create(enum dtype dtype, const struct shape *shape, struct tensor **out,
                  struct error *err)
{
    const int status = tensor_allocate(dtype, shape, out, err);

    if (status == STATUS_OK)
        memset((*out)->data, 0, (*out)->size);
    return status;
}

int tensor_clone(const struct tensor *source, struct tensor **out, struct error *err)
{
    const int status = tensor_allocate(source->dtype, &source->shape, out, err);

    if (status == STATUS_OK)
        memcpy((*out)->data, source->data, source->size);
    return status;
}

static double float_read(const struct tensor *tensor, size_t i)
{
    switch (tensor->dtype) {
    case DTYPE_F16:
        return f16_to_f32(((const uint16_t *)tensor->data)[i]);
    case DTYPE_BF16:
        return bf16_to_f32(((const uint16_t *)tensor->data)[i]);
    case DTYPE_F64:
        return ((const double *)tensor->data)[i];
    default:
        return ((const float *)tensor->data)[i];
    }
}

/* The nearest f32 towards odd: a second rounding from it to 16 bits then gives what a single one
 * would have given (Boldo and Melquiond, "When double rounding is odd", 2005). */
static float float_round_odd(double value)
{
    float nearest = (float)value;
    uint32_t bits;

    if (!isfinite(value) || (double)nearest == value || isinf(nearest))
        return nearest;
    if (fabs((double)nearest) > fabs(value))
        nearest = nextafterf(nearest, 0.0f);
    memcpy(&bits, &nearest, sizeof bits);
    bits |= 1u;
    memcpy(&nearest, &bits, sizeof bits);
    return nearest;
}

static void float_write(struct tensor *tensor, size_t i, double value)
{
    switch (tensor->dtype) {
    case DTYPE_F16:
        ((uint16_t *)tensor->data)[i] = f32_to_f16(float_round_odd(value));
        break;
    case DTYPE_BF16:
        ((uint16_t *)tensor->data)[i] = f32_to_bf16(float_round_odd(value));
        break;
    case DTYPE_F64:
        ((double *)tensor->data)[i] = value;
        break;
    default:
        ((float *)tensor->data)[i] = (float)value;
        break;
    }
}

static int64_t integer_read(const struct tensor *tensor, size_t i)
{
    switch (tensor->dtype) {
    case DTYPE_I64:
        return ((const int64_t *)tensor->data)[i];
    case DTYPE_I32:
        return ((const int32_t *)tensor->data)[i];
    case DTYPE_I8:
        return ((const int8_t *)tensor->data)[i];
    default:
        return ((const uint8_t *)tensor->data)[i];
    }
}

/* False when the value does not fit. */
static bool integer_write(struct tensor *tensor, size_t i, int64_t value)
{
    switch (tensor->dtype) {
    case DTYPE_I64:
        ((int64_t *)tensor->data)[i] = value;
        return true;
    case DTYPE_I32:
        ((int32_t *)tensor->data)[i] = (int32_t)value;
        return value >= INT32_MIN && value <= INT32_MAX;
    case DTYPE_I8:
        ((int8_t *)tensor->data)[i] = (int8_t)value;
        return value >= INT8_MIN && value <= INT8_MAX;
    case DTYPE_BOOL:
        ((uint8_t *)tensor->data)[i] = value != 0;
        return true;
    default:
        ((uint8_t *)tensor->data)[i] = (uint8_t)value;
        return value >= 0 && value <= UINT8_MAX;
    }
}

static void convert_floats(const struct tensor *source, struct tensor *target, size_t count)
{
    if (source->dtype == DTYPE_F16 && target->dtype == DTYPE_F32)
        f16_to_f32_array(source->data, target->data, count);
    else if (source->dtype == DTYPE_F32 && target->dtype == DTYPE_F16)
        f32_to_f16_array(source->data, target->data, count);
    else if (source->dtype == DTYPE_BF16 && target->dtype == DTYPE_F32)
        bf16_to_f32_array(source->data, target->data, count);
    else if (source->dtype == DTYPE_F32 && target->dtype == DTYPE_BF16)
        f32_to_bf16_array(source->data, target->data, count);
    else
        for (size_t i = 0; i < count; i++)
            float_write(target, i, float_read(source, i));
}

static int convert_integers(const struct tensor *source, struct tensor *target, size_t count,
                            struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        const int64_t value = integer_read(source, i);
        if (!integer_write(target, i, value))
            return error_set(err, STATUS_INVALID, "the value %" PRId64 " does not fit into %s",
                             value, dtype_name(target->dtype));
    }
    return STATUS_OK;
}

int tensor_convert(const struct tensor *source, enum dtype dtype, struct tensor **out,
                   struct error *err)
{
    const size_t count = source->size / dtype_size(source->dtype);
    struct tensor *target = NULL;

    if (dtype == source->dtype)
        return tensor_clone(source, out, err);
    if (dtype_is_float(source->dtype) != dtype_is_float(dtype))
        return error_set(err, STATUS_UNSUPPORTED, "a tensor of %s does not convert to %s",
                         dtype_name(source->dtype), dtype_name(dtype));
    int status = tensor_allocate(dtype, &source->shape, &target, err);
    if (status != STATUS_OK)
        return status;
    if (dtype_is_float(dtype))
        convert_floats(source, target, count);
    else
        status = convert_integers(source, target, count, err);
    if (status != STATUS_OK) {
        tensor_free(target);
        return status;
    }
    *out = target;
    return STATUS_OK;
}

void tensor_free(struct tensor *tensor)
{
    if (tensor == NULL)
        return;
    free(tensor->data);
    free(tensor);
}
