/* WebP through libwebp: lossy, lossless, and alpha, which is laid over white. Animations are
 * refused: a classifier has one answer for a file. */
#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>

#include "image/codec.h"
#include "image/exif.h"

enum {
    RIFF_HEADER_SIZE = 12, /* "RIFF", size of what follows, "WEBP" */
    CHUNK_HEADER_SIZE = 8, /* type, size */
};

bool webp_recognise(const uint8_t *bytes, size_t size)
{
    return size >= RIFF_HEADER_SIZE && memcmp(bytes, "RIFF", 4) == 0 &&
           memcmp(bytes + 8, "WEBP", 4) == 0;
}

/* Looks through the RIFF chunks for EXIF, which comes after the pixels. */
static int find_orientation(const uint8_t *bytes, size_t size)
{
    size_t offset = RIFF_HEADER_SIZE;

    while (size - offset >= CHUNK_HEADER_SIZE) {
        const size_t length = read_le32(bytes + offset + 4);
        const size_t left = size - offset - CHUNK_HEADER_SIZE;
        if (length > left)
            break;
        if (memcmp(bytes + offset, "EXIF", 4) == 0)
            return exif_orientation(bytes + offset + CHUNK_HEADER_SIZE, length);
        const size_t padded = length + (length & 1);
        if (padded > left)
            break;
        offset += CHUNK_HEADER_SIZE + padded;
    }
    return 1;
}

int webp_probe(const uint8_t *bytes, size_t size, struct image_info *info, struct error *err)
{
    WebPBitstreamFeatures features;

    /* The size counts what follows it. */
    if (read_le32(bytes + 4) > size - CHUNK_HEADER_SIZE)
        return error_set(err, STATUS_CORRUPT, "the WebP file ends too early");
    if (WebPGetFeatures(bytes, size, &features) != VP8_STATUS_OK)
        return error_set(err, STATUS_CORRUPT, "the WebP header is broken");
    if (features.has_animation)
        return error_set(err, STATUS_UNSUPPORTED,
                         "animated WebP is not classified; send a still image");
    info->width = features.width;
    info->height = features.height;
    info->channels = features.has_alpha ? 4 : 3;
    info->bit_depth = 8;
    info->orientation = find_orientation(bytes, size);
    return STATUS_OK;
}

static enum status status_of_code(VP8StatusCode code)
{
    switch (code) {
    case VP8_STATUS_OK:
        return STATUS_OK;
    case VP8_STATUS_OUT_OF_MEMORY:
        return STATUS_NO_MEMORY;
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return STATUS_UNSUPPORTED;
    default:
        return STATUS_CORRUPT;
    }
}

/* Decodes to `stride` bytes a row, in RGB or RGBA. */
static int decode_into(const uint8_t *bytes, size_t size, WEBP_CSP_MODE mode, uint8_t *pixels,
                       size_t stride, int height, struct error *err)
{
    WebPDecoderConfig config;

    if (!WebPInitDecoderConfig(&config))
        return error_set(err, STATUS_INTERNAL, "libwebp is of another version than its header");
    config.output.colorspace = mode;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = pixels;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = stride * (size_t)height;
    const VP8StatusCode code = WebPDecode(bytes, size, &config);
    WebPFreeDecBuffer(&config.output);
    if (code != VP8_STATUS_OK)
        return error_set(err, status_of_code(code), "the WebP data is damaged or ends too early");
    return STATUS_OK;
}

static void lay_over_white(const uint8_t *rgba, uint8_t *rgb, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, rgba += 4, rgb += 3) {
        const int alpha = rgba[3];
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)((rgba[c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
}

static int decode_alpha(const uint8_t *bytes, size_t size, struct image *image, struct error *err)
{
    const size_t stride = (size_t)image->width * 4;
    uint8_t *rgba = malloc(stride * (size_t)image->height);

    if (rgba == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to decode a WebP with alpha");
    const int status = decode_into(bytes, size, MODE_RGBA, rgba, stride, image->height, err);
    if (status == STATUS_OK)
        lay_over_white(rgba, image->pixels, (size_t)image->width * (size_t)image->height);
    free(rgba);
    return status;
}

int webp_decode(const uint8_t *bytes, size_t size, const struct image_info *info,
                const struct image_target *target, struct image **out, struct error *err)
{
    struct image *image;

    (void)target; /* libwebp can only shrink after decoding, which resizing does better */
    int status = image_create(info->width, info->height, &image, err);
    if (status != STATUS_OK)
        return status;
    if (info->channels == 4)
        status = decode_alpha(bytes, size, image, err);
    else
        status =
            decode_into(bytes, size, MODE_RGB, image->pixels, image->stride, image->height, err);
    if (status == STATUS_OK)
        *out = image;
    else
        image_release(image);
    return status;
}
