/* What image.c asks of each file format; private to this folder.
 *
 * A probe gets bytes that begin with its format's signature and fills `info`, width and height as
 * stored; image.c turns them as the orientation says and checks the bounds. A decoder gets bytes
 * that passed its probe, with the info as stored, and returns a picture not yet turned. */
#ifndef IMAGE_CODEC_H
#define IMAGE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"

bool jpeg_recognise(const uint8_t *bytes, size_t size);
int jpeg_probe(const uint8_t *bytes, size_t size, struct image_info *info, struct error *err);
int jpeg_decode(const uint8_t *bytes, size_t size, const struct image_info *info,
                const struct image_target *target, struct image **out, struct error *err);

bool png_recognise(const uint8_t *bytes, size_t size);
int png_probe(const uint8_t *bytes, size_t size, struct image_info *info, struct error *err);
int png_decode(const uint8_t *bytes, size_t size, const struct image_info *info,
               const struct image_target *target, struct image **out, struct error *err);

bool webp_recognise(const uint8_t *bytes, size_t size);
int webp_probe(const uint8_t *bytes, size_t size, struct image_info *info, struct error *err);
int webp_decode(const uint8_t *bytes, size_t size, const struct image_info *info,
                const struct image_target *target, struct image **out, struct error *err);

static inline uint32_t read_be16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

static inline uint32_t read_be32(const uint8_t *bytes)
{
    return read_be16(bytes) << 16 | read_be16(bytes + 2);
}

static inline uint32_t read_le16(const uint8_t *bytes)
{
    return (uint32_t)bytes[1] << 8 | bytes[0];
}

static inline uint32_t read_le32(const uint8_t *bytes)
{
    return read_le16(bytes + 2) << 16 | read_le16(bytes);
}

#endif
