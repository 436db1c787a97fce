/* Probing and decoding: every format and variant against the pixels that must come out, the bounds,
 * and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "image/image.h"

/* Lossless data must come out exactly; over white, two roundings may differ; lossy decoders of
 * other versions may round differently. */
enum { EXACT = 0, BLENDED = 1, LOSSY = 2 };

static const struct variant {
    const char *file, *expected;
    enum image_format format;
    int channels, bit_depth, orientation, tolerance;
} variants[] = {
    {"jpeg-444.jpg", "jpeg-444.ppm", IMAGE_FORMAT_JPEG, 3, 8, 1, LOSSY},
    {"jpeg-422.jpg", "jpeg-422.ppm", IMAGE_FORMAT_JPEG, 3, 8, 1, LOSSY},
    {"jpeg-420.jpg", "jpeg-420.ppm", IMAGE_FORMAT_JPEG, 3, 8, 1, LOSSY},
    {"jpeg-progressive.jpg", "jpeg-progressive.ppm", IMAGE_FORMAT_JPEG, 3, 8, 1, LOSSY},
    {"jpeg-grey.jpg", "jpeg-grey.ppm", IMAGE_FORMAT_JPEG, 1, 8, 1, LOSSY},
    {"jpeg-cmyk.jpg", "jpeg-cmyk.ppm", IMAGE_FORMAT_JPEG, 4, 8, 1, LOSSY},
    {"jpeg-ycck.jpg", "jpeg-ycck.ppm", IMAGE_FORMAT_JPEG, 4, 8, 1, LOSSY},
    {"jpeg-exif1.jpg", "jpeg-exif1.ppm", IMAGE_FORMAT_JPEG, 3, 8, 1, LOSSY},
    {"jpeg-exif2.jpg", "jpeg-exif2.ppm", IMAGE_FORMAT_JPEG, 3, 8, 2, LOSSY},
    {"jpeg-exif3.jpg", "jpeg-exif3.ppm", IMAGE_FORMAT_JPEG, 3, 8, 3, LOSSY},
    {"jpeg-exif4.jpg", "jpeg-exif4.ppm", IMAGE_FORMAT_JPEG, 3, 8, 4, LOSSY},
    {"jpeg-exif5.jpg", "jpeg-exif5.ppm", IMAGE_FORMAT_JPEG, 3, 8, 5, LOSSY},
    {"jpeg-exif6.jpg", "jpeg-exif6.ppm", IMAGE_FORMAT_JPEG, 3, 8, 6, LOSSY},
    {"jpeg-exif7.jpg", "jpeg-exif7.ppm", IMAGE_FORMAT_JPEG, 3, 8, 7, LOSSY},
    {"jpeg-exif8.jpg", "jpeg-exif8.ppm", IMAGE_FORMAT_JPEG, 3, 8, 8, LOSSY},
    {"png-rgb8.png", "png-rgb8.ppm", IMAGE_FORMAT_PNG, 3, 8, 1, EXACT},
    {"png-rgb8-interlaced.png", "png-rgb8.ppm", IMAGE_FORMAT_PNG, 3, 8, 1, EXACT},
    {"png-rgb8-key.png", "png-rgb8-key.ppm", IMAGE_FORMAT_PNG, 3, 8, 1, EXACT},
    {"png-rgb16.png", "png-rgb16.ppm", IMAGE_FORMAT_PNG, 3, 16, 1, EXACT},
    {"png-rgba8.png", "png-rgba8.ppm", IMAGE_FORMAT_PNG, 4, 8, 1, BLENDED},
    {"png-rgba8-interlaced.png", "png-rgba8.ppm", IMAGE_FORMAT_PNG, 4, 8, 1, BLENDED},
    {"png-rgba16.png", "png-rgba16.ppm", IMAGE_FORMAT_PNG, 4, 16, 1, BLENDED},
    {"png-rgba16-interlaced.png", "png-rgba16.ppm", IMAGE_FORMAT_PNG, 4, 16, 1, BLENDED},
    {"png-grey1.png", "png-grey1.ppm", IMAGE_FORMAT_PNG, 1, 1, 1, EXACT},
    {"png-grey1-interlaced.png", "png-grey1.ppm", IMAGE_FORMAT_PNG, 1, 1, 1, EXACT},
    {"png-grey2.png", "png-grey2.ppm", IMAGE_FORMAT_PNG, 1, 2, 1, EXACT},
    {"png-grey4.png", "png-grey4.ppm", IMAGE_FORMAT_PNG, 1, 4, 1, EXACT},
    {"png-grey4-key.png", "png-grey4-key.ppm", IMAGE_FORMAT_PNG, 1, 4, 1, EXACT},
    {"png-grey8.png", "png-grey8.ppm", IMAGE_FORMAT_PNG, 1, 8, 1, EXACT},
    {"png-grey16.png", "png-grey16.ppm", IMAGE_FORMAT_PNG, 1, 16, 1, EXACT},
    {"png-greyalpha8.png", "png-greyalpha8.ppm", IMAGE_FORMAT_PNG, 2, 8, 1, BLENDED},
    {"png-greyalpha16.png", "png-greyalpha16.ppm", IMAGE_FORMAT_PNG, 2, 16, 1, BLENDED},
    {"png-palette1.png", "png-palette1.ppm", IMAGE_FORMAT_PNG, 3, 1, 1, EXACT},
    {"png-palette2.png", "png-palette2.ppm", IMAGE_FORMAT_PNG, 3, 2, 1, EXACT},
    {"png-palette2-alpha.png", "png-palette2-alpha.ppm", IMAGE_FORMAT_PNG, 3, 2, 1, BLENDED},
    {"png-palette4.png", "png-palette4.ppm", IMAGE_FORMAT_PNG, 3, 4, 1, EXACT},
    {"png-palette8.png", "png-palette8.ppm", IMAGE_FORMAT_PNG, 3, 8, 1, EXACT},
    {"png-palette8-alpha.png", "png-palette8-alpha.ppm", IMAGE_FORMAT_PNG, 3, 8, 1, BLENDED},
    {"png-metadata.png", "png-rgb8.ppm", IMAGE_FORMAT_PNG, 3, 8, 1, EXACT},
    {"png-exif6.png", "png-exif6.ppm", IMAGE_FORMAT_PNG, 3, 8, 6, EXACT},
    {"webp-lossy.webp", "webp-lossy.ppm", IMAGE_FORMAT_WEBP, 3, 8, 1, LOSSY},
    {"webp-lossless.webp", "webp-lossless.ppm", IMAGE_FORMAT_WEBP, 3, 8, 1, EXACT},
    {"webp-lossy-alpha.webp", "webp-lossy-alpha.ppm", IMAGE_FORMAT_WEBP, 4, 8, 1, LOSSY},
    {"webp-lossless-alpha.webp", "webp-lossless-alpha.ppm", IMAGE_FORMAT_WEBP, 4, 8, 1, BLENDED},
    {"webp-exif8.webp", "webp-exif8.ppm", IMAGE_FORMAT_WEBP, 3, 8, 8, EXACT},
};

enum { VARIANT_COUNT = sizeof variants / sizeof variants[0] };

static void check_variant(const struct variant *variant)
{
    struct golden_file file = golden_read(variant->file);
    struct image *expected = golden_picture(variant->expected), *actual = NULL;
    struct image_info info;
    struct error err = {0};

    if (image_probe(file.bytes, file.size, NULL, &info, &err) != STATUS_OK)
        fail_msg("%s: %s", variant->file, err.message);
    assert_int_equal(info.format, variant->format);
    assert_int_equal(info.width, expected->width);
    assert_int_equal(info.height, expected->height);
    assert_int_equal(info.channels, variant->channels);
    assert_int_equal(info.bit_depth, variant->bit_depth);
    assert_int_equal(info.orientation, variant->orientation);
    if (image_decode(file.bytes, file.size, NULL, NULL, &actual, &err) != STATUS_OK)
        fail_msg("%s: %s", variant->file, err.message);
    golden_assert_same(actual, expected, variant->tolerance, variant->file);
    image_release(actual);
    image_release(expected);
    golden_free(&file);
}

static void test_variants(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANT_COUNT; i++)
        check_variant(&variants[i]);
}

/* The status of probing, after making sure that decoding says the same. */
static int status_of(const uint8_t *bytes, size_t size, const struct image_limits *limits)
{
    struct image *image = NULL;
    struct image_info info;
    struct error err = {0};

    const int status = image_probe(bytes, size, limits, &info, &err);
    assert_int_equal(err.code, status);
    assert_true(status == STATUS_OK || err.message[0] != '\0');
    if (status != STATUS_OK) {
        assert_int_equal(image_decode(bytes, size, limits, NULL, &image, NULL), status);
        assert_null(image);
    }
    return status;
}

static int status_of_file(const char *name, const struct image_limits *limits)
{
    struct golden_file file = golden_read(name);
    const int status = status_of(file.bytes, file.size, limits);
    golden_free(&file);
    return status;
}

static void test_other_types_are_refused(void **state)
{
    static const char *const others[] = {
        "GIF89a\1\0\1\0\200\0\0",
        "BM: a bitmap of some size",
        "%PDF-1.7",
        "<svg></svg>",
        "x",
        "RIFF....WAVEfmt ",
        "P6 1 1 255\n123",
        "\x89PNG",
        "\xff\xd8",
        "II*\0....",
    };

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(status_of((const uint8_t *)others[i], strlen(others[i]), NULL),
                         STATUS_UNSUPPORTED);
    assert_int_equal(status_of((const uint8_t *)"", 0, NULL), STATUS_INVALID);
    assert_int_equal(status_of(NULL, 0, NULL), STATUS_INVALID);
}

static void test_variants_out_of_scope_are_refused(void **state)
{
    struct golden_file file = golden_read("jpeg-444.jpg");
    uint8_t *frame = NULL;

    (void)state;
    assert_int_equal(status_of_file("webp-animated.webp", NULL), STATUS_UNSUPPORTED);
    for (size_t i = 0; i + 8 < file.size && frame == NULL; i++) {
        if (file.bytes[i] == 0xFF && file.bytes[i + 1] == 0xC0)
            frame = file.bytes + i;
    }
    assert_non_null(frame);
    frame[1] = 0xC3; /* lossless */
    assert_int_equal(status_of(file.bytes, file.size, NULL), STATUS_UNSUPPORTED);
    frame[1] = 0xC1;
    frame[4] = 12; /* bits a sample */
    assert_int_equal(status_of(file.bytes, file.size, NULL), STATUS_UNSUPPORTED);
    frame[4] = 8;
    frame[9] = 2; /* components */
    assert_int_equal(status_of(file.bytes, file.size, NULL), STATUS_UNSUPPORTED);
    golden_free(&file);
}

static void test_bombs_are_refused_by_their_header(void **state)
{
    const struct image_limits huge = {.bytes_max = SIZE_MAX, .pixels_max = INT64_MAX};

    (void)state;
    assert_int_equal(status_of_file("bomb.png", NULL), STATUS_TOO_LARGE);
    assert_int_equal(status_of_file("bomb.jpg", NULL), STATUS_TOO_LARGE);
    assert_int_equal(status_of_file("bomb.webp", NULL), STATUS_TOO_LARGE);
    /* The probe has nothing against it when asked so. */
    assert_int_equal(status_of_file("bomb.png", &huge), STATUS_OK);
}

static void test_limits_are_inclusive(void **state)
{
    struct golden_file file = golden_read("png-rgb8.png");
    struct image_limits limits = {.bytes_max = file.size, .pixels_max = 29 * 21};

    (void)state;
    assert_int_equal(status_of(file.bytes, file.size, &limits), STATUS_OK);
    limits.bytes_max--;
    assert_int_equal(status_of(file.bytes, file.size, &limits), STATUS_TOO_LARGE);
    limits.bytes_max++;
    limits.pixels_max--;
    assert_int_equal(status_of(file.bytes, file.size, &limits), STATUS_TOO_LARGE);
    golden_free(&file);
}

static uint32_t crc32_of(const uint8_t *bytes, size_t size)
{
    uint32_t crc = 0xFFFFFFFF;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
    }
    return ~crc;
}

/* Sets one byte of a PNG's header chunk and its checksum, and probes. */
static int status_with_header_byte(struct golden_file *file, int at, uint8_t value)
{
    uint8_t *header = file->bytes + 12, *checksum = header + 17;
    const uint8_t before = header[4 + at];

    header[4 + at] = value;
    const uint32_t crc = crc32_of(header, 17);
    for (int i = 0; i < 4; i++)
        checksum[i] = (uint8_t)(crc >> (24 - 8 * i));
    const int status = status_of(file->bytes, file->size, NULL);
    header[4 + at] = before;
    return status;
}

static void test_png_header_rules(void **state)
{
    struct golden_file file = golden_read("png-rgb8.png");

    (void)state;
    assert_int_equal(status_with_header_byte(&file, 3, 29), STATUS_OK);
    assert_int_equal(status_with_header_byte(&file, 3, 0), STATUS_CORRUPT);      /* width 0 */
    assert_int_equal(status_with_header_byte(&file, 0, 0x80), STATUS_CORRUPT);   /* width 2^31 */
    assert_int_equal(status_with_header_byte(&file, 1, 0x01), STATUS_TOO_LARGE); /* width 65565 */
    assert_int_equal(status_with_header_byte(&file, 8, 4), STATUS_CORRUPT);      /* RGB of 4 bits */
    assert_int_equal(status_with_header_byte(&file, 8, 33), STATUS_CORRUPT);
    assert_int_equal(status_with_header_byte(&file, 9, 5), STATUS_CORRUPT); /* colour type */
    assert_int_equal(status_with_header_byte(&file, 9, 255), STATUS_CORRUPT);
    assert_int_equal(status_with_header_byte(&file, 10, 1), STATUS_CORRUPT); /* compression */
    assert_int_equal(status_with_header_byte(&file, 11, 1), STATUS_CORRUPT); /* filter */
    assert_int_equal(status_with_header_byte(&file, 12, 2), STATUS_CORRUPT); /* interlacing */
    file.bytes[12 + 4 + 3] ^= 1; /* and a wrong checksum */
    assert_int_equal(status_of(file.bytes, file.size, NULL), STATUS_CORRUPT);
    golden_free(&file);
}

/* photo.jpg is stored as 640 x 480 and displayed as 480 x 640. */
static void test_targets_reduce_jpeg(void **state)
{
    static const struct {
        struct image_target target;
        int width, height;
    } cases[] = {
        {{1, 1}, 60, 80},     {{20, 26}, 60, 80},     {{21, 26}, 120, 160},
        {{20, 27}, 120, 160}, {{41, 40}, 240, 320},   {{80, 106}, 240, 320},
        {{81, 1}, 480, 640},  {{480, 640}, 480, 640}, {{1, 100000}, 480, 640},
    };
    struct golden_file file = golden_read("photo.jpg");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct image *image = NULL;
        assert_int_equal(image_decode(file.bytes, file.size, NULL, &cases[i].target, &image, NULL),
                         STATUS_OK);
        assert_int_equal(image->width, cases[i].width);
        assert_int_equal(image->height, cases[i].height);
        image_release(image);
    }
    golden_free(&file);
}

static void test_targets_leave_other_formats_whole(void **state)
{
    static const char *const names[] = {"png-rgb8.png", "webp-lossy.webp"};
    const struct image_target target = {1, 1};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct golden_file file = golden_read(names[i]);
        struct image *image = NULL;
        assert_int_equal(image_decode(file.bytes, file.size, NULL, &target, &image, NULL),
                         STATUS_OK);
        assert_int_equal(image->width, 29);
        assert_int_equal(image->height, 21);
        image_release(image);
        golden_free(&file);
    }
}

static void test_format_texts(void **state)
{
    (void)state;
    assert_string_equal(image_format_name(IMAGE_FORMAT_JPEG), "JPEG");
    assert_string_equal(image_format_mime(IMAGE_FORMAT_PNG), "image/png");
    assert_string_equal(image_format_extension(IMAGE_FORMAT_WEBP), "webp");
    assert_string_equal(image_format_name(IMAGE_FORMAT_COUNT), "");
    assert_string_equal(image_format_mime((enum image_format) - 1), "");
}

static void test_images_are_counted(void **state)
{
    struct image *image = NULL;

    (void)state;
    assert_int_equal(image_create(0, 5, &image, NULL), STATUS_INVALID);
    assert_int_equal(image_create(5, -1, &image, NULL), STATUS_INVALID);
    assert_int_equal(image_create(IMAGE_SIDE_MAX + 1, 1, &image, NULL), STATUS_INVALID);
    assert_int_equal(image_create(1, INT32_MAX, &image, NULL), STATUS_INVALID);
    assert_null(image);
    assert_int_equal(image_create(3, 2, &image, NULL), STATUS_OK);
    assert_int_equal(image->stride, 9);
    assert_ptr_equal(image_retain(image), image);
    image_release(image);
    image->pixels[17 + IMAGE_PADDING] = 1; /* still ours, to the last byte */
    image_release(image);
    image_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_other_types_are_refused),
        cmocka_unit_test(test_variants_out_of_scope_are_refused),
        cmocka_unit_test(test_bombs_are_refused_by_their_header),
        cmocka_unit_test(test_limits_are_inclusive),
        cmocka_unit_test(test_png_header_rules),
        cmocka_unit_test(test_targets_reduce_jpeg),
        cmocka_unit_test(test_targets_leave_other_formats_whole),
        cmocka_unit_test(test_format_texts),
        cmocka_unit_test(test_images_are_counted),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
