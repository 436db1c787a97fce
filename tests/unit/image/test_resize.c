/* Resizing against Pillow's results, and the plain passes against the AVX2 ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "golden.h"
#include "image/exif.h"
#include "image/resize.h"
#include "image/resize_pass.h"

static const struct {
    enum resize_kernel kernel;
    const char *name;
} kernels[] = {{RESIZE_KERNEL_BILINEAR, "bilinear"}, {RESIZE_KERNEL_BICUBIC, "bicubic"}};

static struct image *resized(const struct image *source, int width, int height,
                             enum resize_kernel kernel, bool antialias,
                             const struct resize_window *window)
{
    struct image *image = NULL;
    struct error err = {0};

    if (image_resize(source, width, height, kernel, antialias, window, &image, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return image;
}

/* The interface promises one level; these integers are in fact the same. */
static void check_golden(const struct image *source, int width, int height, int kernel,
                         const char *name)
{
    struct image *expected = golden_picture(name);
    struct image *actual = resized(source, width, height, kernels[kernel].kernel, true, NULL);

    golden_assert_same(actual, expected, 0, name);
    image_release(actual);
    image_release(expected);
}

static void test_agrees_with_pillow(void **state)
{
    static const int sizes[][2] = {{32, 32}, {20, 15}, {61, 20}, {9, 47}, {97, 80}, {7, 5}, {1, 1}};
    struct image *small = golden_noise(61, 47), *large = golden_noise(641, 427);
    char name[64];

    (void)state;
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            snprintf(name, sizeof name, "resize-%s-%dx%d.ppm", kernels[k].name, sizes[i][0],
                     sizes[i][1]);
            check_golden(small, sizes[i][0], sizes[i][1], k, name);
        }
        snprintf(name, sizeof name, "resize-%s-large.ppm", kernels[k].name);
        check_golden(large, 48, 32, k, name);
    }
    image_release(small);
    image_release(large);
}

static void test_same_size_changes_nothing(void **state)
{
    struct image *source = golden_noise(37, 23);

    (void)state;
    for (int k = 0; k < 2; k++) {
        struct image *same = resized(source, 37, 23, kernels[k].kernel, true, NULL);
        golden_assert_same(same, source, 0, "same size");
        image_release(same);
    }
    image_release(source);
}

/* Without antialiasing, halving takes the means of the two middle samples of each four. */
static void test_without_antialiasing_pixels_are_skipped(void **state)
{
    struct image *source = golden_noise(40, 4);
    struct image *half = resized(source, 10, 1, RESIZE_KERNEL_BILINEAR, false, NULL);

    (void)state;
    for (int x = 0; x < 10; x++) {
        for (int c = 0; c < 3; c++) {
            int sum = 0;
            for (int i = 0; i < 4; i++)
                sum += source->pixels[(size_t)(1 + i / 2) * source->stride +
                                      (size_t)(3 * (4 * x + 1 + i % 2) + c)];
            assert_in_range(half->pixels[3 * x + c] * 4 + 4, sum, sum + 8);
        }
    }
    image_release(half);
    image_release(source);
}

static void test_a_window_is_a_crop(void **state)
{
    struct image *source = golden_noise(83, 59);
    struct rng rng;

    (void)state;
    rng_seed(&rng, 3);
    for (int round = 0; round < 200; round++) {
        const int width = 1 + (int)rng_below(&rng, 120), height = 1 + (int)rng_below(&rng, 120);
        struct resize_window window = {.width = 1 + (int)rng_below(&rng, (uint32_t)width),
                                       .height = 1 + (int)rng_below(&rng, (uint32_t)height)};
        window.x = (int)rng_below(&rng, (uint32_t)(width - window.width + 1));
        window.y = (int)rng_below(&rng, (uint32_t)(height - window.height + 1));
        const enum resize_kernel kernel = kernels[round % 2].kernel;
        struct image *whole = resized(source, width, height, kernel, round % 3 != 0, NULL);
        struct image *part = resized(source, width, height, kernel, round % 3 != 0, &window);
        for (int y = 0; y < window.height; y++)
            assert_memory_equal(part->pixels + (size_t)y * part->stride,
                                whole->pixels + (size_t)(window.y + y) * whole->stride +
                                    3 * (size_t)window.x,
                                part->stride);
        image_release(part);
        image_release(whole);
    }
    image_release(source);
}

/* odd.jpg decoded to a quarter, as each orientation turns it: its sides end within a pixel, which
 * lies at any side after turning. */
static void check_reduced(struct golden_file *file, uint8_t *orientation_byte, int orientation)
{
    const struct image_target target = {16, 16};
    struct image *expected = golden_picture("odd-reduced.ppm"), *reduced = NULL;
    char name[32];

    *orientation_byte = (uint8_t)orientation;
    snprintf(name, sizeof name, "orientation %d", orientation);
    assert_int_equal(exif_apply(orientation, &expected, NULL), STATUS_OK);
    assert_int_equal(image_decode(file->bytes, file->size, NULL, &target, &reduced, NULL),
                     STATUS_OK);
    assert_int_equal(reduced->width, orientation < 5 ? 76 : 51);
    struct image *actual =
        resized(reduced, expected->width, expected->height, RESIZE_KERNEL_BICUBIC, true, NULL);
    golden_assert_same(actual, expected, 1, name);
    image_release(actual);
    image_release(reduced);
    image_release(expected);
}

static void test_reduced_pictures_keep_their_place(void **state)
{
    static const uint8_t entry[] = {0x12, 0x01, 3, 0, 1, 0, 0, 0, 1};
    struct golden_file file = golden_read("odd.jpg");
    uint8_t *found = memmem(file.bytes, file.size, entry, sizeof entry);

    (void)state;
    assert_non_null(found);
    for (int orientation = 1; orientation <= 8; orientation++)
        check_reduced(&file, found + sizeof entry - 1, orientation);
    golden_free(&file);
}

static void test_bad_requests_are_refused(void **state)
{
    static const struct resize_window windows[] = {
        {-1, 0, 2, 2}, {0, -1, 2, 2}, {0, 0, 0, 2},         {0, 0, 2, 0},
        {7, 0, 2, 2},  {0, 7, 2, 2},  {INT32_MAX, 0, 1, 1},
    };
    struct image *source = golden_noise(5, 5), *image = NULL;

    (void)state;
    assert_int_equal(image_resize(source, 0, 8, RESIZE_KERNEL_BICUBIC, true, NULL, &image, NULL),
                     STATUS_INVALID);
    assert_int_equal(image_resize(source, 8, -8, RESIZE_KERNEL_BICUBIC, true, NULL, &image, NULL),
                     STATUS_INVALID);
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++)
        assert_int_equal(
            image_resize(source, 8, 8, RESIZE_KERNEL_BICUBIC, true, &windows[i], &image, NULL),
            STATUS_INVALID);
    assert_null(image);
    image_release(source);
}

#if IMAGE_HAS_AVX2

enum { AXIS_SIZE_MAX = 64, AXIS_TAPS_MAX = 40 };

/* An axis of random supports over `source_size` samples, with coefficients whose sums overshoot 0
 * and 255 both. */
struct random_axis {
    struct resize_axis axis;
    int32_t starts[AXIS_SIZE_MAX], counts[AXIS_SIZE_MAX];
    int32_t coefficients[AXIS_SIZE_MAX * AXIS_TAPS_MAX];
};

static void fill_axis(struct random_axis *random, struct rng *rng, int source_size)
{
    const int size = 1 + (int)rng_below(rng, AXIS_SIZE_MAX);
    const int taps = 2 + 2 * (int)rng_below(rng, AXIS_TAPS_MAX / 2);

    memset(random, 0, sizeof *random);
    random->axis =
        (struct resize_axis){size, taps, random->starts, random->counts, random->coefficients};
    for (int i = 0; i < size; i++) {
        const int most = taps < source_size ? taps : source_size;
        const int count = 1 + (int)rng_below(rng, (uint32_t)most);
        const int32_t range = 3 * (1 << RESIZE_FRACTION_BITS) / (count + 1);
        random->counts[i] = count;
        random->starts[i] = (int32_t)rng_below(rng, (uint32_t)(source_size - count + 1));
        for (int k = 0; k < count; k++)
            random->coefficients[i * taps + k] =
                (int32_t)rng_below(rng, (uint32_t)range) - range / 3;
    }
}

static void compare_rows(struct random_axis *random, const struct image *source)
{
    struct image *plain = NULL, *fast = NULL;

    assert_int_equal(image_create(random->axis.size, source->height, &plain, NULL), STATUS_OK);
    assert_int_equal(image_create(random->axis.size, source->height, &fast, NULL), STATUS_OK);
    resize_rows_plain(&random->axis, source->pixels, source->stride, plain->pixels, plain->stride,
                      source->height);
    resize_rows_avx2(&random->axis, source->pixels, source->stride, fast->pixels, fast->stride,
                     source->height);
    golden_assert_same(fast, plain, 0, "rows");
    image_release(plain);
    image_release(fast);
}

static void compare_columns(struct random_axis *random, const struct image *source)
{
    struct image *plain = NULL, *fast = NULL;

    assert_int_equal(image_create(source->width, random->axis.size, &plain, NULL), STATUS_OK);
    assert_int_equal(image_create(source->width, random->axis.size, &fast, NULL), STATUS_OK);
    for (int y = 0; y < random->axis.size; y++) {
        resize_column_plain(&random->axis, y, source->pixels, source->stride,
                            plain->pixels + (size_t)y * plain->stride, plain->stride);
        resize_column_avx2(&random->axis, y, source->pixels, source->stride,
                           fast->pixels + (size_t)y * fast->stride, fast->stride);
    }
    golden_assert_same(fast, plain, 0, "columns");
    image_release(plain);
    image_release(fast);
}

static void test_avx2_equals_plain(void **state)
{
    struct random_axis *random = malloc(sizeof *random);
    struct rng rng;

    (void)state;
    if (!cpu_runs_avx2()) {
        free(random);
        print_message("this CPU has no AVX2\n");
        skip();
    }
    assert_non_null(random);
    rng_seed(&rng, 4);
    for (int round = 0; round < 300; round++) {
        struct image *source =
            golden_noise(1 + (int)rng_below(&rng, 70), 1 + (int)rng_below(&rng, 50));
        fill_axis(random, &rng, source->width);
        compare_rows(random, source);
        fill_axis(random, &rng, source->height);
        compare_columns(random, source);
        image_release(source);
    }
    free(random);
}

#else

static void test_avx2_equals_plain(void **state)
{
    (void)state;
    print_message("this is not an x86 program\n");
    skip();
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees_with_pillow),
        cmocka_unit_test(test_same_size_changes_nothing),
        cmocka_unit_test(test_without_antialiasing_pixels_are_skipped),
        cmocka_unit_test(test_a_window_is_a_crop),
        cmocka_unit_test(test_reduced_pictures_keep_their_place),
        cmocka_unit_test(test_bad_requests_are_refused),
        cmocka_unit_test(test_avx2_equals_plain),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
