/* Tensors as values at rest: weights in a graph, inputs and outputs of a run. Always dense,
 * row-major (NCHW for images, OIHW for convolution weights); the blocked and NHWC layouts that make
 * things fast are private to nn/exec and nn/train. */
#ifndef NN_TENSOR_H
#define NN_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I64,
    DTYPE_I32,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_BOOL,
    DTYPE_F64,
};

enum { SHAPE_RANK_MAX = 8, DIM_ANY = -1 };

/* Dimensions of a tensor; a dimension may be DIM_ANY (the batch, until a run fixes it). Rank 0 is a
 * scalar. */
struct shape {
    int rank;
    int64_t dims[SHAPE_RANK_MAX];
};

struct tensor {
    enum dtype dtype;
    struct shape shape; /* every dimension known, >= 0 */
    void *data;         /* 64-byte aligned, owned by the tensor */
    size_t size;        /* bytes of data */
};

size_t dtype_size(enum dtype dtype);
const char *dtype_name(enum dtype dtype); /* "f32", "bf16", ... */

/* Number of elements, or -1 when a dimension is DIM_ANY or the product overflows int64_t. */
int64_t shape_elements(const struct shape *shape);
bool shape_equal(const struct shape *a, const struct shape *b);
/* Writes "[?, 3, 224, 224]" into text (always terminated) and returns text. */
const char *shape_text(const struct shape *shape, char *text, size_t text_size);

/* Makes a zeroed tensor. The caller owns *out and drops it with tensor_free. */
int tensor_create(enum dtype dtype, const struct shape *shape, struct tensor **out,
                  struct error *err);
int tensor_clone(const struct tensor *source, struct tensor **out, struct error *err);
/* A new tensor of another type: f32, f16, bf16 and f64 convert among each other (round to nearest
 * even), integers among each other when every value fits. */
int tensor_convert(const struct tensor *source, enum dtype dtype, struct tensor **out,
                   struct error *err);
void tensor_free(struct tensor *tensor); /* NULL is fine */

float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value); /* round to nearest even; NaN stays NaN */

#endif
