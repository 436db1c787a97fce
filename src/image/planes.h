/* Interleaved 8-bit pixels to planes of floats; private to this folder and its tests. */
#ifndef IMAGE_PLANES_H
#define IMAGE_PLANES_H

#include <stddef.h>
#include <stdint.h>

#include "image/cpu.h"

/* out[plane] = pixel[channel[plane]] * factor[plane] + offset[plane], as two rounded steps. */
struct planes_map {
    int channel[3]; /* a permutation of 0, 1, 2 */
    float factor[3];
    float offset[3];
};

/* Converts width x height pixels, `stride` bytes a row, to out[3, height, width]. The pixels lie in
 * an image, so that IMAGE_PADDING bytes after the last may be read. */
typedef void planes_function(const struct planes_map *map, const uint8_t *pixels, size_t stride,
                             int width, int height, float *out);

planes_function planes_plain;
#if IMAGE_HAS_AVX2
planes_function planes_avx2;
#endif

#endif
