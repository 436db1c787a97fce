/* From picture to tensor: the presets against Pillow's pixels, the fits and orders against plain
 * arithmetic, and the rules of descriptions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "image/planes.h"
#include "image/preprocess.h"

static struct preprocess preset(const char *name)
{
    struct preprocess preprocess;

    assert_int_equal(preprocess_preset(name, &preprocess, NULL), STATUS_OK);
    return preprocess;
}

static float *tensor_of(const struct preprocess *preprocess, const struct image *image)
{
    float *tensor = malloc(preprocess_count(preprocess) * sizeof *tensor);
    struct error err = {0};

    assert_non_null(tensor);
    if (preprocess_run(preprocess, image, tensor, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return tensor;
}

/* One value of a picture through the description's arithmetic. */
static float expected_value(const struct preprocess *preprocess, const struct image *image, int x,
                            int y, int plane)
{
    const int channel = preprocess->order == PREPROCESS_ORDER_BGR ? 2 - plane : plane;
    const uint8_t sample = image->pixels[(size_t)y * image->stride + (size_t)(3 * x + channel)];

    return ((float)sample * preprocess->scale - preprocess->mean[plane]) / preprocess->std[plane];
}

static void test_presets_agree_with_pillow(void **state)
{
    enum { STEP = 61 }; /* the goldens hold every 61st value */
    struct image *image = golden_noise(641, 427);
    const char *name;

    (void)state;
    for (size_t i = 0; (name = preprocess_preset_name(i)) != NULL; i++) {
        const struct preprocess preprocess = preset(name);
        char file_name[64];
        snprintf(file_name, sizeof file_name, "tensor-%s.f32", name);
        struct golden_file file = golden_read(file_name);
        const float *expected = (const float *)(const void *)file.bytes;
        float *actual = tensor_of(&preprocess, image);
        const size_t count = (preprocess_count(&preprocess) + STEP - 1) / STEP;
        assert_int_equal(file.size, count * sizeof *expected);
        for (size_t k = 0; k < count; k++)
            assert_float_equal(actual[k * STEP], expected[k], 2e-6f);
        free(actual);
        golden_free(&file);
    }
    image_release(image);
}

static void test_presets_are_sound(void **state)
{
    struct preprocess other;
    struct error err = {0};
    size_t count = 0;

    (void)state;
    for (const char *name; (name = preprocess_preset_name(count)) != NULL; count++) {
        const struct preprocess preprocess = preset(name);
        assert_int_equal(preprocess_check(&preprocess, NULL), STATUS_OK);
        /* The error for an unknown name names them all. */
        assert_int_equal(preprocess_preset("imagenet21k", &other, &err), STATUS_NOT_FOUND);
        assert_non_null(strstr(err.message, name));
    }
    assert_int_equal(count, 4);
}

/* What a test varies in the cifar10 preset, and the place in the picture its crop must begin at. */
static void check_crop(int width, int height, int x, int y)
{
    struct preprocess preprocess = preset("cifar10");
    struct image *image = golden_noise(width, height);

    preprocess.fit = PREPROCESS_FIT_NONE;
    preprocess.order = PREPROCESS_ORDER_BGR;
    preprocess.width = 30;
    float *tensor = tensor_of(&preprocess, image);
    for (int i = 0; i < (int)preprocess_count(&preprocess); i++)
        assert_float_equal(
            tensor[i], expected_value(&preprocess, image, x + i % 30, y + i / 30 % 32, i / 30 / 32),
            2e-6f);
    free(tensor);
    image_release(image);
}

static void test_crops_are_centred_as_python_rounds(void **state)
{
    (void)state;
    check_crop(30, 32, 0, 0);
    check_crop(31, 33, 0, 0); /* half a pixel rounds to the even side, 0 ... */
    check_crop(33, 35, 2, 2); /* ... and one and a half to 2 */
    check_crop(40, 40, 5, 4);
}

static void test_too_small_a_picture_is_refused(void **state)
{
    struct preprocess preprocess = preset("cifar10");
    struct image *image = golden_noise(100, 31);
    float *tensor = malloc(preprocess_count(&preprocess) * sizeof *tensor);
    struct error err = {0};

    (void)state;
    assert_non_null(tensor);
    preprocess.fit = PREPROCESS_FIT_NONE;
    assert_int_equal(preprocess_run(&preprocess, image, tensor, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "100 x 31"));
    free(tensor);
    image_release(image);
}

/* A picture may be as elongated as a file can be. */
static void test_one_pixel_wide(void **state)
{
    struct preprocess preprocess = preset("imagenet");
    struct image *image = golden_noise(1, IMAGE_SIDE_MAX);
    float *tensor = tensor_of(&preprocess, image);

    (void)state;
    for (size_t i = 0; i < preprocess_count(&preprocess); i++)
        assert_true(isfinite(tensor[i]));
    free(tensor);
    image_release(image);
}

/* The same picture by way of a reduced JPEG: close, though not equal. */
static void test_reduced_decoding_is_close(void **state)
{
    const struct preprocess preprocess = preset("cifar10");
    struct golden_file file = golden_read("photo.jpg");
    struct image_target target = {1, 1};
    struct image *full = NULL, *reduced = NULL;

    (void)state;
    preprocess_widen_target(&preprocess, &target);
    assert_int_equal(image_decode(file.bytes, file.size, NULL, NULL, &full, NULL), STATUS_OK);
    assert_int_equal(image_decode(file.bytes, file.size, NULL, &target, &reduced, NULL), STATUS_OK);
    assert_int_equal(reduced->width, full->width / 4);
    float *expected = tensor_of(&preprocess, full), *actual = tensor_of(&preprocess, reduced);
    for (size_t i = 0; i < preprocess_count(&preprocess); i++)
        assert_float_equal(actual[i], expected[i], 3.0f / 255.0f / 0.24f); /* three levels */
    free(expected);
    free(actual);
    image_release(full);
    image_release(reduced);
    golden_free(&file);
}

static void test_targets_grow_to_what_all_need(void **state)
{
    struct preprocess preprocess = preset("cifar10");
    struct image_target target = {1, 1};

    (void)state;
    preprocess_widen_target(&preprocess, &target);
    assert_int_equal(target.width, 32);
    assert_int_equal(target.height, 32);
    preprocess.fit = PREPROCESS_FIT_STRETCH;
    preprocess.width = 100;
    preprocess_widen_target(&preprocess, &target);
    assert_int_equal(target.width, 100);
    assert_int_equal(target.height, 32);
    preprocess.antialias = false;
    preprocess_widen_target(&preprocess, &target);
    assert_int_equal(target.width, INT_MAX);
    assert_int_equal(target.height, INT_MAX);
}

static void test_equal_descriptions(void **state)
{
    struct preprocess a = preset("imagenet"), b = a;

    (void)state;
    assert_true(preprocess_equal(&a, &b));
    assert_int_equal(preprocess_hash(&a), preprocess_hash(&b));
    b.kernel = RESIZE_KERNEL_BILINEAR;
    assert_false(preprocess_equal(&a, &b));
    assert_true(preprocess_hash(&a) != preprocess_hash(&b));
    a.fit = b.fit = PREPROCESS_FIT_NONE; /* now the kernel and the side play no part */
    b.shorter_side = 7;
    b.antialias = false;
    assert_true(preprocess_equal(&a, &b));
    assert_int_equal(preprocess_hash(&a), preprocess_hash(&b));
    a.mean[1] = 0.0f;
    b.mean[1] = -0.0f;
    assert_true(preprocess_equal(&a, &b));
    b.std[2] = 0.5f;
    assert_false(preprocess_equal(&a, &b));
    b = a;
    b.order = PREPROCESS_ORDER_BGR;
    assert_false(preprocess_equal(&a, &b));
}

static void assert_refused(const struct preprocess *preprocess)
{
    struct error err = {0};

    assert_int_equal(preprocess_check(preprocess, &err), STATUS_INVALID);
    assert_true(err.message[0] != '\0');
}

static void test_senseless_descriptions_are_refused(void **state)
{
    const struct preprocess good = preset("imagenet");

    (void)state;
#define ASSERT_REFUSED_WITH(change)                                                                \
    do {                                                                                           \
        struct preprocess bad = good;                                                              \
        bad.change;                                                                                \
        assert_refused(&bad);                                                                      \
    } while (0)
    ASSERT_REFUSED_WITH(width = 0);
    ASSERT_REFUSED_WITH(height = PREPROCESS_SIDE_MAX + 1);
    ASSERT_REFUSED_WITH(shorter_side = 223);
    ASSERT_REFUSED_WITH(scale = 0.0f);
    ASSERT_REFUSED_WITH(scale = INFINITY);
    ASSERT_REFUSED_WITH(mean[0] = NAN);
    ASSERT_REFUSED_WITH(std[1] = 0.0f);
    ASSERT_REFUSED_WITH(std[2] = INFINITY);
    ASSERT_REFUSED_WITH(fit = 3);
    ASSERT_REFUSED_WITH(kernel = -1);
    ASSERT_REFUSED_WITH(order = 2);
#undef ASSERT_REFUSED_WITH
}

#if IMAGE_HAS_AVX2

static void compare_planes(int width, int height, const struct planes_map *map)
{
    struct image *image = golden_noise(width, height);
    const size_t count = (size_t)3 * (size_t)width * (size_t)height;
    float *plain = malloc(count * sizeof *plain), *fast = malloc(count * sizeof *fast);

    assert_true(plain != NULL && fast != NULL);
    planes_plain(map, image->pixels, image->stride, width, height, plain);
    planes_avx2(map, image->pixels, image->stride, width, height, fast);
    assert_memory_equal(plain, fast, count * sizeof *plain);
    free(plain);
    free(fast);
    image_release(image);
}

static void test_avx2_equals_plain(void **state)
{
    struct planes_map map = {{0, 1, 2}, {0.0171247f, 0.01750f, -3.0f}, {-2.1179f, 2.0357f, 0.1f}};

    (void)state;
    if (!cpu_runs_avx2()) {
        print_message("this CPU has no AVX2\n");
        skip();
    }
    for (int width = 1; width < 40; width++) {
        compare_planes(width, 3, &map);
        map.channel[0] = 2 - map.channel[0];
        map.channel[2] = 2 - map.channel[2];
    }
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
        cmocka_unit_test(test_presets_agree_with_pillow),
        cmocka_unit_test(test_presets_are_sound),
        cmocka_unit_test(test_crops_are_centred_as_python_rounds),
        cmocka_unit_test(test_too_small_a_picture_is_refused),
        cmocka_unit_test(test_one_pixel_wide),
        cmocka_unit_test(test_reduced_decoding_is_close),
        cmocka_unit_test(test_targets_grow_to_what_all_need),
        cmocka_unit_test(test_equal_descriptions),
        cmocka_unit_test(test_senseless_descriptions_are_refused),
        cmocka_unit_test(test_avx2_equals_plain),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
