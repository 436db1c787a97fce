/* What augmentation may change, and what it may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "image/augment.h"

enum { HEIGHT = 7, WIDTH = 9 };

/* Every pixel tells where it is: red its row, green its column, blue 200. */
static void make_picture(uint8_t pixels[HEIGHT * WIDTH * 3])
{
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            uint8_t *at = pixels + (y * WIDTH + x) * 3;
            at[0] = (uint8_t)y;
            at[1] = (uint8_t)x;
            at[2] = 200;
        }
}

static struct augment plain(void)
{
    return (struct augment){.scale = 1, .std = {1, 1, 1}};
}

static void test_without_chance_only_the_range_changes(void **state)
{
    struct augment augment = {.pad = 3, .flip = true, .cutout = 4, .scale = 0.5f};
    uint8_t pixels[HEIGHT * WIDTH * 3];
    float out[3 * HEIGHT * WIDTH];
    (void)state;

    for (int c = 0; c < 3; c++) {
        augment.mean[c] = 1.0f + (float)c;
        augment.std[c] = 2.0f + (float)c;
    }
    make_picture(pixels);
    augment_run(&augment, pixels, HEIGHT, WIDTH, NULL, out);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < HEIGHT * WIDTH; i++)
            assert_float_equal(out[c * HEIGHT * WIDTH + i],
                               (0.5 * pixels[3 * i + c] - (1.0 + c)) / (2.0 + c), 1e-5);
}

static void test_without_chance_the_centre_is_cropped(void **state)
{
    struct augment augment = plain();
    uint8_t pixels[HEIGHT * WIDTH * 3];
    float out[3 * 5 * 5];
    (void)state;

    augment.size = 5;
    make_picture(pixels);
    augment_run(&augment, pixels, HEIGHT, WIDTH, NULL, out);
    assert_float_equal(out[0], 1, 0);
    assert_float_equal(out[25], 2, 0);
    assert_float_equal(out[24], 5, 0);
}

/* A crop is the picture moved, mirrored at its edges, perhaps flipped: all rows alike, all columns
 * alike, neighbours one apart. */
static void test_crops_and_flips(void **state)
{
    struct augment augment = plain();
    uint8_t pixels[HEIGHT * WIDTH * 3];
    struct rng rng;
    int flips = 0, moved = 0;
    (void)state;

    augment.pad = 3;
    augment.flip = true;
    make_picture(pixels);
    rng_seed(&rng, 1);
    for (int round = 0; round < 200; round++) {
        float out[3 * HEIGHT * WIDTH];
        const float *rows = out, *columns = out + HEIGHT * WIDTH;
        augment_run(&augment, pixels, HEIGHT, WIDTH, &rng, out);
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++) {
                assert_float_equal(rows[y * WIDTH + x], rows[y * WIDTH], 0);
                assert_float_equal(columns[y * WIDTH + x], columns[x], 0);
                assert_float_equal(out[2 * HEIGHT * WIDTH + y * WIDTH + x], 200, 0);
                assert_in_range((int)rows[y * WIDTH + x], 0, HEIGHT - 1);
                assert_in_range((int)columns[y * WIDTH + x], 0, WIDTH - 1);
            }
        flips += columns[WIDTH / 2] > columns[WIDTH / 2 + 1];
        moved += rows[HEIGHT / 2 * WIDTH] != (float)(HEIGHT / 2);
    }
    assert_in_range(flips, 60, 140);
    assert_in_range(moved, 120, 199);
}

static void test_cutout_blanks_one_square(void **state)
{
    struct augment augment = plain();
    uint8_t pixels[HEIGHT * WIDTH * 3];
    struct rng rng;
    int whole = 0;
    (void)state;

    augment.cutout = 3;
    augment.mean[0] = augment.mean[1] = augment.mean[2] = -1; /* so that only the square is 0 */
    make_picture(pixels);
    rng_seed(&rng, 2);
    for (int round = 0; round < 100; round++) {
        float out[3 * HEIGHT * WIDTH];
        int top = HEIGHT, bottom = -1, left = WIDTH, right = -1, blank = 0;
        augment_run(&augment, pixels, HEIGHT, WIDTH, &rng, out);
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++) {
                bool zero = out[y * WIDTH + x] == 0;
                assert_int_equal(zero, out[2 * HEIGHT * WIDTH + y * WIDTH + x] == 0);
                if (!zero)
                    continue;
                blank++;
                top = y < top ? y : top;
                bottom = y;
                left = x < left ? x : left;
                right = x > right ? x : right;
            }
        assert_in_range(blank, 1, 9);
        assert_int_equal(blank, (bottom - top + 1) * (right - left + 1));
        whole += blank == 9;
    }
    assert_in_range(whole, 30, 99);
}

static void test_same_seed_same_picture(void **state)
{
    struct augment augment = plain();
    uint8_t pixels[HEIGHT * WIDTH * 3];
    float a[3 * HEIGHT * WIDTH], b[3 * HEIGHT * WIDTH];
    (void)state;

    augment.pad = 2;
    augment.flip = true;
    augment.cutout = 3;
    make_picture(pixels);
    for (int round = 0; round < 10; round++) {
        struct rng first, second;
        rng_seed(&first, (uint64_t)round);
        rng_seed(&second, (uint64_t)round);
        augment_run(&augment, pixels, HEIGHT, WIDTH, &first, a);
        augment_run(&augment, pixels, HEIGHT, WIDTH, &second, b);
        assert_memory_equal(a, b, sizeof a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_chance_only_the_range_changes),
        cmocka_unit_test(test_without_chance_the_centre_is_cropped),
        cmocka_unit_test(test_crops_and_flips),
        cmocka_unit_test(test_cutout_blanks_one_square),
        cmocka_unit_test(test_same_seed_same_picture),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
