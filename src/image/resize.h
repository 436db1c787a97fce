/* Resizing 8-bit RGB pictures by convolution, as Pillow's Image.resize does it (reducing_gap None):
 * the kernel is stretched by the reduction factor (antialiasing), rows are filtered first and then
 * columns, with an 8-bit picture in between and coefficients of 22 fractional bits. */
#ifndef IMAGE_RESIZE_H
#define IMAGE_RESIZE_H

#include <stdbool.h>

#include "base/error.h"
#include "image/image.h"

enum resize_kernel {
    RESIZE_KERNEL_BILINEAR, /* the triangle, support 1 */
    RESIZE_KERNEL_BICUBIC,  /* Keys (1981) with a = -0.5, support 2 */
};

/* A part of the resized picture, in its pixels. */
struct resize_window {
    int x, y;
    int width, height;
};

/* Without `antialias` the kernel keeps its own width also when reducing, and skips pixels. `window`
 * (NULL for everything) asks for only that part of the width x height result: the same pixels as
 * resizing and cropping, without computing the rest. The caller owns one reference to *out.
 * STATUS_INVALID for sizes below 1 or a window that sticks out, STATUS_NO_MEMORY. */
int image_resize(const struct image *source, int width, int height, enum resize_kernel kernel,
                 bool antialias, const struct resize_window *window, struct image **out,
                 struct error *err);

#endif
