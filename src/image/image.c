/* Pictures: the table of formats, what all of them share (limits, orientation), and the counted
 * pixel buffer. The formats themselves are in jpeg.c, png.c and webp.c. */
#include "image/image.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "image/codec.h"
#include "image/exif.h"

const struct image_limits image_limits_default = {
    .bytes_max = 10 * 1024 * 1024,
    .pixels_max = 50 * 1000 * 1000,
};

static const struct codec {
    const char *name, *mime, *extension;
    bool (*recognise)(const uint8_t *bytes, size_t size);
    int (*probe)(const uint8_t *bytes, size_t size, struct image_info *info, struct error *err);
    int (*decode)(const uint8_t *bytes, size_t size, const struct image_info *info,
                  const struct image_target *target, struct image **out, struct error *err);
} codecs[IMAGE_FORMAT_COUNT] = {
    [IMAGE_FORMAT_JPEG] = {"JPEG", "image/jpeg", "jpg", jpeg_recognise, jpeg_probe, jpeg_decode},
    [IMAGE_FORMAT_PNG] = {"PNG", "image/png", "png", png_recognise, png_probe, png_decode},
    [IMAGE_FORMAT_WEBP] = {"WEBP", "image/webp", "webp", webp_recognise, webp_probe, webp_decode},
};

static bool is_format(enum image_format format)
{
    return (unsigned)format < IMAGE_FORMAT_COUNT;
}

const char *image_format_name(enum image_format format)
{
    return is_format(format) ? codecs[format].name : "";
}

const char *image_format_mime(enum image_format format)
{
    return is_format(format) ? codecs[format].mime : "";
}

const char *image_format_extension(enum image_format format)
{
    return is_format(format) ? codecs[format].extension : "";
}

int image_create(int width, int height, struct image **out, struct error *err)
{
    struct image *image = NULL;
    size_t stride, pixels_size, size;

    if (width < 1 || height < 1 || width > IMAGE_SIDE_MAX || height > IMAGE_SIDE_MAX)
        return error_set(err, STATUS_INVALID, "a picture cannot be %d x %d pixels", width, height);
    if (!__builtin_mul_overflow((size_t)width, 3, &stride) &&
        !__builtin_mul_overflow(stride, (size_t)height, &pixels_size) &&
        !__builtin_add_overflow(pixels_size, sizeof *image + IMAGE_PADDING, &size))
        image = malloc(size);
    if (image == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a picture of %d x %d pixels", width,
                         height);
    image->width = width;
    image->height = height;
    image->stride = stride;
    image->pixels = (uint8_t *)(image + 1);
    image->content = (struct image_box){.width = width, .height = height};
    atomic_init(&image->references, 1);
    memset(image->pixels + pixels_size, 0, IMAGE_PADDING);
    *out = image;
    return STATUS_OK;
}

struct image *image_retain(struct image *image)
{
    const int before = atomic_fetch_add_explicit(&image->references, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
    return image;
}

void image_release(struct image *image)
{
    if (image == NULL)
        return;
    /* Everyone's use of the pixels happens before the free. */
    const int before = atomic_fetch_sub_explicit(&image->references, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        free(image);
}

static int check_bytes(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                       struct error *err)
{
    if (size == 0 || bytes == NULL)
        return error_set(err, STATUS_INVALID, "the image file is empty");
    if (size > limits->bytes_max)
        return error_set(err, STATUS_TOO_LARGE,
                         "the image file has %zu bytes; at most %zu are allowed", size,
                         limits->bytes_max);
    return STATUS_OK;
}

static int check_pixels(const struct image_info *info, const struct image_limits *limits,
                        struct error *err)
{
    const int64_t pixels = (int64_t)info->width * info->height;

    if (info->width < 1 || info->height < 1)
        return error_set(err, STATUS_CORRUPT, "the %s header claims %d x %d pixels",
                         image_format_name(info->format), info->width, info->height);
    if (info->width > IMAGE_SIDE_MAX || info->height > IMAGE_SIDE_MAX)
        return error_set(err, STATUS_TOO_LARGE,
                         "the image has %d x %d pixels; at most %d in a side are allowed",
                         info->width, info->height, IMAGE_SIDE_MAX);
    if (pixels > limits->pixels_max)
        return error_set(err, STATUS_TOO_LARGE,
                         "the image has %d x %d pixels; at most %" PRId64 " in all are allowed",
                         info->width, info->height, limits->pixels_max);
    return STATUS_OK;
}

/* As image_probe, with width and height as stored. */
static int probe_stored(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                        struct image_info *info, struct error *err)
{
    if (limits == NULL)
        limits = &image_limits_default;
    int status = check_bytes(bytes, size, limits, err);
    if (status != STATUS_OK)
        return status;
    for (int format = 0; format < IMAGE_FORMAT_COUNT; format++) {
        if (!codecs[format].recognise(bytes, size))
            continue;
        *info = (struct image_info){.format = (enum image_format)format, .orientation = 1};
        status = codecs[format].probe(bytes, size, info, err);
        return status == STATUS_OK ? check_pixels(info, limits, err) : status;
    }
    return error_set(err, STATUS_UNSUPPORTED, "the file is not a JPEG, PNG or WebP image");
}

static bool is_turned(const struct image_info *info)
{
    return info->orientation >= 5;
}

int image_probe(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                struct image_info *info, struct error *err)
{
    const int status = probe_stored(bytes, size, limits, info, err);
    if (status == STATUS_OK && is_turned(info)) {
        const int height = info->width;
        info->width = info->height;
        info->height = height;
    }
    return status;
}

int image_decode(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                 const struct image_target *target, struct image **out, struct error *err)
{
    struct image_info info;
    struct image_target stored_target;
    struct image *image = NULL;

    int status = probe_stored(bytes, size, limits, &info, err);
    if (status != STATUS_OK)
        return status;
    if (target != NULL && is_turned(&info)) {
        stored_target = (struct image_target){.width = target->height, .height = target->width};
        target = &stored_target;
    }
    status = codecs[info.format].decode(bytes, size, &info, target, &image, err);
    if (status == STATUS_OK)
        status = exif_apply(info.orientation, &image, err);
    if (status == STATUS_OK)
        *out = image;
    else
        image_release(image);
    return status;
}
