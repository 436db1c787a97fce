/* Random numbers: the published sequence, and the shape of each distribution. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <math.h>

#include "base/rng.h"

/* splitmix64 of seed 0 begins with these two (the reference values of Vigna's splitmix64.c). */
static void test_seeding_is_splitmix64(void **state)
{
    struct rng rng;
    (void)state;
    rng_seed(&rng, 0);
    assert_true(rng.state[0] == 0xe220a8397b1dcdafu);
    assert_true(rng.state[1] == 0x6e789e6aa1b965f4u);
}

/* The first outputs of xoshiro256** for the state {1, 2, 3, 4}, worked out from the paper. */
static void test_sequence_is_xoshiro256(void **state)
{
    struct rng rng = {.state = {1, 2, 3, 4}};
    (void)state;
    assert_true(rng_next(&rng) == 11520);
    assert_true(rng_next(&rng) == 0);
    assert_true(rng_next(&rng) == 1509978240);
    assert_true(rng_next(&rng) == 1215971899390074240);
}

static void test_same_seed_same_numbers(void **state)
{
    struct rng a, b, c;
    int different = 0;
    (void)state;
    rng_seed(&a, 42);
    rng_seed(&b, 42);
    rng_seed(&c, 43);
    for (int i = 0; i < 1000; i++) {
        const uint64_t number = rng_next(&a);
        assert_true(number == rng_next(&b));
        different += number != rng_next(&c);
    }
    assert_true(different > 990);
}

static void test_below_is_uniform_and_bounded(void **state)
{
    struct rng rng;
    int counts[7] = {0};
    (void)state;
    rng_seed(&rng, 1);
    for (int i = 0; i < 70000; i++) {
        const uint32_t number = rng_below(&rng, 7);
        assert_in_range(number, 0, 6);
        counts[number]++;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(counts[i], 9600, 10400);
    assert_int_equal(rng_below(&rng, 1), 0);
}

static void test_uniform_and_normal_moments(void **state)
{
    enum { COUNT = 200000 };
    struct rng rng;
    double sum = 0, normal_sum = 0, normal_squares = 0;
    (void)state;
    rng_seed(&rng, 2);
    for (int i = 0; i < COUNT; i++) {
        const double uniform = rng_uniform(&rng), normal = rng_normal(&rng);
        assert_true(uniform >= 0 && uniform < 1);
        sum += uniform;
        normal_sum += normal;
        normal_squares += normal * normal;
    }
    assert_true(fabs(sum / COUNT - 0.5) < 0.005);
    assert_true(fabs(normal_sum / COUNT) < 0.01);
    assert_true(fabs(normal_squares / COUNT - 1) < 0.02);
}

static void test_shuffle_is_a_permutation(void **state)
{
    struct rng rng;
    uint32_t items[100];
    int seen[100] = {0}, moved = 0;
    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        items[i] = i;
    rng_seed(&rng, 3);
    rng_shuffle(&rng, items, 100);
    for (uint32_t i = 0; i < 100; i++) {
        seen[items[i]]++;
        moved += items[i] != i;
    }
    for (int i = 0; i < 100; i++)
        assert_int_equal(seen[i], 1);
    assert_true(moved > 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeding_is_splitmix64),
        cmocka_unit_test(test_sequence_is_xoshiro256),
        cmocka_unit_test(test_same_seed_same_numbers),
        cmocka_unit_test(test_below_is_uniform_and_bounded),
        cmocka_unit_test(test_uniform_and_normal_moments),
        cmocka_unit_test(test_shuffle_is_a_permutation),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
