/* The two passes of a resize, each in a plain and an AVX2 version with equal results; private to
 * this folder and its tests. */
#ifndef IMAGE_RESIZE_PASS_H
#define IMAGE_RESIZE_PASS_H

#include <stddef.h>
#include <stdint.h>

#include "image/cpu.h"

/* Coefficients are integers with this many fractional bits: 32, less 8 for the sample and 2 so that
 * neither a negative lobe nor a sum a little over 1 overflows. */
enum { RESIZE_FRACTION_BITS = 32 - 8 - 2 };

/* Where each output sample (a column or a row) takes its input from: `taps` coefficients, of which
 * `counts[i]` from input sample `starts[i]` on count and the rest are 0. */
struct resize_axis {
    int size; /* output samples */
    int taps; /* coefficients kept for each; even */
    int32_t *starts;
    int32_t *counts;
    int32_t *coefficients; /* [size, taps] */
};

/* Filters each of `rows` rows of RGB pixels along its length. Both buffers carry IMAGE_PADDING
 * bytes after their last row. */
typedef void resize_rows_function(const struct resize_axis *axis, const uint8_t *source,
                                  size_t source_stride, uint8_t *target, size_t target_stride,
                                  int rows);

/* Makes output row `row` of the axis, `bytes` samples long, from the rows of `source`. */
typedef void resize_column_function(const struct resize_axis *axis, int row, const uint8_t *source,
                                    size_t source_stride, uint8_t *target, size_t bytes);

resize_rows_function resize_rows_plain;
resize_column_function resize_column_plain;
#if IMAGE_HAS_AVX2
resize_rows_function resize_rows_avx2;
resize_column_function resize_column_avx2;
#endif

#endif
