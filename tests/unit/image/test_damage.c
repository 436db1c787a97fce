/* Damaged files: every kind cut off at every length is an error, and random damage is an error or a
 * picture of the claimed size, never a crash. Reads past the end show under the address sanitizer:
 * each attempt gets a buffer of exactly its size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "base/rng.h"
#include "golden.h"
#include "image/exif.h"
#include "image/image.h"

static const char *const names[] = {
    "jpeg-420.jpg",           "jpeg-progressive.jpg",
    "jpeg-grey.jpg",          "jpeg-cmyk.jpg",
    "jpeg-ycck.jpg",          "jpeg-exif6.jpg",
    "png-rgb8.png",           "png-rgba16-interlaced.png",
    "png-palette8-alpha.png", "png-grey1.png",
    "png-exif6.png",          "png-metadata.png",
    "webp-lossy.webp",        "webp-lossless.webp",
    "webp-lossy-alpha.webp",  "webp-lossless-alpha.webp",
    "webp-exif8.webp",        "webp-animated.webp",
};

enum { NAME_COUNT = sizeof names / sizeof names[0] };

/* Decodes a copy that ends where the allocation does. */
static int decode_exactly(const uint8_t *bytes, size_t size, struct image **out)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    struct error err = {0};

    assert_non_null(copy);
    memcpy(copy, bytes, size);
    const int status = image_decode(copy, size, NULL, NULL, out, &err);
    assert_int_equal(err.code, status);
    assert_true(status == STATUS_OK || err.message[0] != '\0');
    free(copy);
    return status;
}

static void test_every_truncation_is_an_error(void **state)
{
    (void)state;
    for (size_t n = 0; n < NAME_COUNT; n++) {
        struct golden_file file = golden_read(names[n]);
        for (size_t size = 0; size < file.size; size++) {
            struct image *image = NULL;
            const int status = decode_exactly(file.bytes, size, &image);
            if (status == STATUS_OK)
                fail_msg("%s: the first %zu of %zu bytes were taken for the whole picture",
                         names[n], size, file.size);
            assert_null(image);
            /* Once the type is clear, the sentence is about damage. */
            if (size >= 16 && strcmp(names[n], "webp-animated.webp") != 0)
                assert_int_equal(status, STATUS_CORRUPT);
        }
        golden_free(&file);
    }
}

/* What libjpeg would fill with grey: data that stops, followed by a proper end. */
static void test_missing_jpeg_data_is_an_error(void **state)
{
    static const char *const jpegs[] = {"jpeg-420.jpg", "jpeg-grey.jpg", "jpeg-cmyk.jpg"};

    (void)state;
    for (size_t n = 0; n < 3; n++) {
        struct golden_file file = golden_read(jpegs[n]);
        struct image *image = NULL;
        const size_t cut = file.size - 60;
        memmove(file.bytes + cut, file.bytes + file.size - 2, 2);
        assert_int_equal(decode_exactly(file.bytes, cut + 2, &image), STATUS_CORRUPT);
        assert_null(image);
        golden_free(&file);
    }
}

static void test_random_damage_never_crashes(void **state)
{
    enum { ROUNDS = 300 };
    struct rng rng;
    int refused = 0;

    (void)state;
    rng_seed(&rng, 20);
    for (size_t n = 0; n < NAME_COUNT; n++) {
        struct golden_file file = golden_read(names[n]);
        uint8_t *damaged = malloc(file.size);
        assert_non_null(damaged);
        for (int round = 0; round < ROUNDS; round++) {
            struct image *image = NULL;
            memcpy(damaged, file.bytes, file.size);
            for (uint32_t hits = 1 + rng_below(&rng, 4); hits > 0; hits--)
                damaged[rng_below(&rng, (uint32_t)file.size)] = (uint8_t)rng_next(&rng);
            if (decode_exactly(damaged, file.size, &image) != STATUS_OK)
                refused++;
            image_release(image);
        }
        free(damaged);
        golden_free(&file);
    }
    /* JPEG and lossy WebP have no checksums, so some damage passes; most must not. */
    assert_true(refused > ROUNDS * (int)NAME_COUNT / 2);
}

static void test_garbage_after_the_end_is_ignored(void **state)
{
    static const char *const padded[] = {"jpeg-420.jpg", "png-rgb8.png", "webp-lossy.webp"};

    (void)state;
    for (size_t n = 0; n < 3; n++) {
        struct golden_file file = golden_read(padded[n]);
        uint8_t *longer = calloc(1, file.size + 100);
        struct image *image = NULL;
        assert_non_null(longer);
        memcpy(longer, file.bytes, file.size);
        assert_int_equal(image_decode(longer, file.size + 100, NULL, NULL, &image, NULL),
                         STATUS_OK);
        image_release(image);
        free(longer);
        golden_free(&file);
    }
}

/* A picture as a progressive JPEG with a scan for each coefficient of each component: 190 of them.
 */
static struct golden_file encode_many_scans(void)
{
    enum { SCANS = 1 + 3 * 63 };
    static jpeg_scan_info scans[SCANS] = {{3, {0, 1, 2}, 0, 0, 0, 0}};
    struct jpeg_compress_struct compress;
    struct jpeg_error_mgr errors;
    struct image *image = golden_noise(29, 21);
    struct golden_file file = {0};
    unsigned long size = 0;

    for (int i = 0; i < SCANS - 1; i++)
        scans[1 + i] = (jpeg_scan_info){1, {i / 63}, 1 + i % 63, 1 + i % 63, 0, 0};
    compress.err = jpeg_std_error(&errors);
    jpeg_create_compress(&compress);
    jpeg_mem_dest(&compress, &file.bytes, &size);
    compress.image_width = (JDIMENSION)image->width;
    compress.image_height = (JDIMENSION)image->height;
    compress.input_components = 3;
    compress.in_color_space = JCS_RGB;
    jpeg_set_defaults(&compress);
    compress.scan_info = scans;
    compress.num_scans = SCANS;
    jpeg_start_compress(&compress, TRUE);
    while (compress.next_scanline < compress.image_height) {
        JSAMPROW row = image->pixels + compress.next_scanline * image->stride;
        jpeg_write_scanlines(&compress, &row, 1);
    }
    jpeg_finish_compress(&compress);
    jpeg_destroy_compress(&compress);
    image_release(image);
    file.size = size;
    return file;
}

static void test_too_many_scans_are_refused(void **state)
{
    struct golden_file file = encode_many_scans();
    struct error err = {0};
    struct image *image = NULL;

    (void)state;
    assert_int_equal(image_decode(file.bytes, file.size, NULL, NULL, &image, &err),
                     STATUS_TOO_LARGE);
    assert_non_null(strstr(err.message, "scans"));
    assert_null(image);
    golden_free(&file);
}

static void test_exif_is_read_within_bounds(void **state)
{
    static const uint8_t good[] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0,
                                   3,   0,   0, 0,  1, 0, 6, 0, 0, 0, 0, 0,    0};
    struct rng rng;

    (void)state;
    assert_int_equal(exif_orientation(good, sizeof good), 6);
    assert_int_equal(exif_orientation(NULL, 0), 1);
    rng_seed(&rng, 21);
    for (int round = 0; round < 20000; round++) {
        const size_t size = rng_below(&rng, sizeof good + 1);
        uint8_t *bytes = malloc(size + 1);
        assert_non_null(bytes);
        /* At the end of the allocation, so that one byte too far is seen. */
        memcpy(bytes + 1, good, size);
        if (size > 0 && round % 4 != 0)
            bytes[1 + rng_below(&rng, (uint32_t)size)] = (uint8_t)rng_next(&rng);
        const int orientation = exif_orientation(bytes + 1, size);
        assert_in_range(orientation, 1, 8);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_truncation_is_an_error),
        cmocka_unit_test(test_missing_jpeg_data_is_an_error),
        cmocka_unit_test(test_random_damage_never_crashes),
        cmocka_unit_test(test_garbage_after_the_end_is_ignored),
        cmocka_unit_test(test_too_many_scans_are_refused),
        cmocka_unit_test(test_exif_is_read_within_bounds),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
