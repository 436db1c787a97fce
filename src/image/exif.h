/* The one thing this program wants from EXIF: which way up the picture is. Private to this folder.
 */
#ifndef IMAGE_EXIF_H
#define IMAGE_EXIF_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"

/* Reads the orientation, 1..8, from EXIF data: a TIFF header and its directories, with or without
 * the "Exif\0\0" that JPEG puts before it. Anything malformed or missing counts as upright, 1: no
 * picture is refused for its metadata. */
int exif_orientation(const uint8_t *bytes, size_t size);

/* Makes *image upright: replaces it by a turned or mirrored copy and releases the old one;
 * orientation 1 leaves it. On failure (STATUS_NO_MEMORY) *image is untouched. */
int exif_apply(int orientation, struct image **image, struct error *err);

#endif
