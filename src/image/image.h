/* Pictures: what a file is, without decoding it, and its pixels as 8-bit RGB.
 *
 * Files come from strangers. image_probe() reads the header alone and checks the bounds, so that
 * nothing is ever allocated because of what a file merely claims; image_decode() probes first. A
 * picture that cannot be decoded whole is an error, never a half-grey image.
 *
 * All functions are thread-safe; an image's pixels are written by whoever made it, before it is
 * shared, and only read afterwards. */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum image_format { IMAGE_FORMAT_JPEG, IMAGE_FORMAT_PNG, IMAGE_FORMAT_WEBP, IMAGE_FORMAT_COUNT };

/* "JPEG", "image/jpeg" and "jpg", and so on; "" for a number that is no format, never NULL. */
const char *image_format_name(enum image_format format);
const char *image_format_mime(enum image_format format);
const char *image_format_extension(enum image_format format);

/* Pixels: rows from the top, each width times R, G, B, without gaps. IMAGE_PADDING bytes past the
 * last row may be read and written too, so that vector code needs no special last pixel. */
enum { IMAGE_PADDING = 32 };

/* No side of a picture is longer; no JPEG's can be. */
enum { IMAGE_SIDE_MAX = 65535 };

/* An area in pixels, with fractions. */
struct image_box {
    double x, y;
    double width, height;
};

struct image {
    atomic_int references; /* use image_retain and image_release */
    int width, height;     /* both at least 1 */
    size_t stride;         /* bytes from a row to the next: 3 * width */
    uint8_t *pixels;       /* [height, width, 3]; goes with the image */
    /* What the picture covers of these pixels: all, but when a JPEG of 477 rows was reduced to a
     * quarter it is 119.25 of 120. Resizing goes by this, or the picture would shift. */
    struct image_box content;
};

/* Makes an image with one reference, owned by the caller; its pixels are not yet set.
 * STATUS_INVALID for a side below 1 or over IMAGE_SIDE_MAX, STATUS_NO_MEMORY. */
int image_create(int width, int height, struct image **out, struct error *err);
/* Adds a reference and returns the same image. */
struct image *image_retain(struct image *image);
/* Gives up one reference; the last one frees the image. NULL is fine. */
void image_release(struct image *image);

struct image_info {
    enum image_format format;
    int width, height; /* as displayed, that is, after the EXIF orientation */
    int orientation;   /* EXIF's 1..8; 1 (upright) when the file says nothing */
    int channels;  /* 1 grey, 2 grey and alpha, 3 colour or palette, 4 CMYK or colour and alpha */
    int bit_depth; /* bits of a sample as stored: 8; in PNG also 1, 2, 4, 16 */
};

struct image_limits {
    size_t bytes_max;   /* of the file */
    int64_t pixels_max; /* width * height, as the header claims */
};

/* 10 MB (10,485,760 bytes) and 50 megapixels. Wherever limits are taken, NULL means these. */
extern const struct image_limits image_limits_default;

/* Tells what the file is from its content alone; allocates nothing. Only the header is read: the
 * pixels may still turn out corrupt.
 * STATUS_INVALID: empty. STATUS_UNSUPPORTED: another type, or a variant that cannot be decoded
 * (lossless or 12-bit JPEG, animated WebP). STATUS_CORRUPT: a broken or truncated header.
 * STATUS_TOO_LARGE: over a limit or IMAGE_SIDE_MAX. On failure *info is not to be used. */
int image_probe(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                struct image_info *info, struct error *err);

/* The largest size at which the picture will be used, as displayed. A decoder that can (JPEG, by
 * scaled inverse DCT: 1/2, 1/4 or 1/8) then delivers a reduced picture, still at least three
 * times the target in both directions, in a fraction of the time. */
struct image_target {
    int width, height; /* at least 1 */
};

/* Decodes to upright RGB: alpha over white, 16 bits rounded to 8, CMYK by the simple conversion,
 * embedded colour profiles ignored. `target` NULL asks for the full size. The caller owns one
 * reference to *out. Fails as image_probe does, with STATUS_CORRUPT for data that is damaged or
 * ends too early, or STATUS_NO_MEMORY; *out is then untouched. */
int image_decode(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                 const struct image_target *target, struct image **out, struct error *err);

#endif
