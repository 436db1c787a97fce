/* The files in goldens/ (see make_goldens.py), for the tests of src/image/. All of these fail the
 * running test instead of returning an error. */
#ifndef TEST_IMAGE_GOLDEN_H
#define TEST_IMAGE_GOLDEN_H

#include <stddef.h>
#include <stdint.h>

#include "image/image.h"

struct golden_file {
    uint8_t *bytes;
    size_t size;
};

/* Reads goldens/<name>; release with golden_free. */
struct golden_file golden_read(const char *name);
void golden_free(struct golden_file *file);

/* A binary PPM as an image, owned by the caller. */
struct image *golden_picture(const char *name);

/* Fails unless the sizes are equal and no sample differs by more than `tolerance`. */
void golden_assert_same(const struct image *actual, const struct image *expected, int tolerance,
                        const char *name);

/* Pixels of a 32-bit hash of their place, as make_goldens.py makes them. */
struct image *golden_noise(int width, int height);

#endif
