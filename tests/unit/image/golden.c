/* Reading the golden files: see golden.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "golden.h"

struct golden_file golden_read(const char *name)
{
    struct golden_file file = {0};
    struct error err = {0};
    char path[1024];

    snprintf(path, sizeof path, "%s/%s", GOLDENS, name);
    if (file_read(path, 1 << 20, &file.bytes, &file.size, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return file;
}

void golden_free(struct golden_file *file)
{
    free(file->bytes);
}

struct image *golden_picture(const char *name)
{
    struct golden_file file = golden_read(name);
    struct image *image = NULL;
    int width = 0, height = 0, header = 0;

    if (sscanf((const char *)file.bytes, "P6 %d %d 255%n", &width, &height, &header) != 2 ||
        header == 0)
        fail_msg("%s is not a PPM as the script writes it", name);
    header++; /* the newline */
    assert_int_equal(image_create(width, height, &image, NULL), STATUS_OK);
    assert_int_equal(file.size - (size_t)header, image->stride * (size_t)height);
    memcpy(image->pixels, file.bytes + header, file.size - (size_t)header);
    golden_free(&file);
    return image;
}

void golden_assert_same(const struct image *actual, const struct image *expected, int tolerance,
                        const char *name)
{
    if (actual->width != expected->width || actual->height != expected->height)
        fail_msg("%s: %d x %d pixels instead of %d x %d", name, actual->width, actual->height,
                 expected->width, expected->height);
    for (size_t i = 0; i < expected->stride * (size_t)expected->height; i++) {
        if (abs(actual->pixels[i] - expected->pixels[i]) > tolerance)
            fail_msg("%s: channel %d at %d, %d is %d instead of %d", name, (int)(i % 3),
                     (int)(i % expected->stride / 3), (int)(i / expected->stride),
                     actual->pixels[i], expected->pixels[i]);
    }
}

static uint32_t mix(uint32_t x, uint32_t y, uint32_t c)
{
    uint32_t h = x * 0x9E3779B1 ^ y * 0x85EBCA77 ^ c * 0xC2B2AE3D;
    h = (h ^ h >> 15) * 0x2C1B3C6D;
    return h ^ h >> 13;
}

struct image *golden_noise(int width, int height)
{
    struct image *image = NULL;

    assert_int_equal(image_create(width, height, &image, NULL), STATUS_OK);
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            for (int c = 0; c < 3; c++)
                image->pixels[(size_t)y * image->stride + (size_t)(3 * x + c)] =
                    (uint8_t)mix((uint32_t)x, (uint32_t)y, (uint32_t)c);
        }
    }
    return image;
}
