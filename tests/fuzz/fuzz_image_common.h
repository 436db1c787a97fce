/* What the image fuzz targets share: decode one input in every way, and check what image.h promises
 * of the results. */
#ifndef FUZZ_IMAGE_COMMON_H
#define FUZZ_IMAGE_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "image/image.h"
#include "image/preprocess.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* assert() that stays in release builds. */
static inline void must(bool holds)
{
    if (!holds)
        abort();
}

static inline void must_decode(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                               const struct image_info *info, const struct image_target *target)
{
    static float tensor[3 * 32 * 32];
    struct preprocess preprocess;
    struct image *image = NULL;
    struct error err = {0};

    const int status = image_decode(bytes, size, limits, target, &image, &err);
    must(status == err.code && (status == STATUS_OK) == (image != NULL));
    if (image == NULL)
        return;
    if (target == NULL)
        must(image->width == info->width && image->height == info->height);
    must(image->width <= info->width && image->height <= info->height);
    must(preprocess_preset("cifar10", &preprocess, NULL) == STATUS_OK);
    must(preprocess_run(&preprocess, image, tensor, NULL) == STATUS_OK);
    image_release(image);
}

static inline void fuzz_image(const uint8_t *bytes, size_t size)
{
    /* Small, so that a run has time for many inputs. */
    const struct image_limits limits = {.bytes_max = 1 << 20, .pixels_max = 1 << 18};
    const struct image_target target = {8, 8};
    struct image *image = NULL;
    struct image_info info;
    struct error err = {0};

    const int status = image_probe(bytes, size, &limits, &info, &err);
    must(status == err.code);
    if (status != STATUS_OK) {
        must(image_decode(bytes, size, &limits, NULL, &image, NULL) == status);
        return;
    }
    must(info.width >= 1 && info.height >= 1 && info.orientation >= 1 && info.orientation <= 8);
    must((int64_t)info.width * info.height <= limits.pixels_max);
    must_decode(bytes, size, &limits, &info, NULL);
    must_decode(bytes, size, &limits, &info, &target);
}

#endif
