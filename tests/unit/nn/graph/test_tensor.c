/* Tensors: the 16-bit floats exhaustively, conversions, shapes and their limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kit.h"
#include "nn/graph/half.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* What the format says, with no bit tricks. */
static double f16_by_definition(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double magnitude =
        exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

static void test_every_f16_converts_and_returns(void **state)
{
    (void)state;
    for (uint32_t i = 0; i <= 0xffff; i++) {
        const uint16_t bits = (uint16_t)i;
        const float value = f16_to_f32(bits);
        if ((bits & 0x7c00) != 0x7c00) {
            assert_true((double)value == f16_by_definition(bits));
            assert_int_equal(f32_to_f16(value), bits);
        } else if ((bits & 0x03ff) == 0) {
            assert_true(isinf(value) && (signbit(value) != 0) == (bits >> 15 != 0));
            assert_int_equal(f32_to_f16(value), bits);
        } else {
            assert_true(isnan(value));
            assert_true((f32_to_f16(value) & 0x7fff) > 0x7c00);
        }
    }
}

/* Each pair of neighbours: just below, at, and just above their middle. */
static void test_f16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint16_t low = 0; low < 0x7bff; low++) {
        const uint16_t even = low % 2 == 0 ? low : (uint16_t)(low + 1);
        const float middle = (float)((f16_by_definition(low) + f16_by_definition(low + 1)) / 2);
        assert_int_equal(f32_to_f16(nextafterf(middle, 0)), low);
        assert_int_equal(f32_to_f16(middle), even);
        assert_int_equal(f32_to_f16(-middle), even | 0x8000);
        assert_int_equal(f32_to_f16(nextafterf(middle, INFINITY)), low + 1);
    }
    assert_int_equal(f32_to_f16(65519.99f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(-1e30f), 0xfc00);
}

static void test_bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x7f7f; i++) {
        const uint16_t low = (uint16_t)i, even = (uint16_t)(i + (i & 1));
        const uint32_t middle = i << 16 | 0x8000;
        assert_int_equal(f32_to_bf16(bf16_to_f32(low)), low);
        assert_int_equal(f32_to_bf16(float_of(middle - 1)), low);
        assert_int_equal(f32_to_bf16(float_of(middle)), even);
        assert_int_equal(f32_to_bf16(float_of(middle | 0x80000000u)), even | 0x8000);
        assert_int_equal(f32_to_bf16(float_of(middle + 1)), i + 1);
    }
    assert_int_equal(f32_to_bf16(INFINITY), 0x7f80);
    assert_int_equal(f32_to_bf16(float_of(0x7f7fffff)), 0x7f80);
    assert_true(isnan(bf16_to_f32(f32_to_bf16(float_of(0x7f800001)))));
}

/* The arrays agree with the plain forms to the bit, at every length of tail. */
static void test_arrays_agree_with_plain(void **state)
{
    enum { COUNT = 4096 + 7 };
    static float full[COUNT], back[COUNT];
    static uint16_t half[COUNT];
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    for (int i = 0; i < COUNT; i++)
        full[i] = float_of((uint32_t)rng_next(&rng));
    for (size_t length = COUNT - 8; length <= COUNT; length++) {
        f32_to_f16_array(full, half, length);
        f16_to_f32_array(half, back, length);
        for (size_t i = 0; i < length; i++) {
            assert_int_equal(half[i], f32_to_f16(full[i]));
            assert_int_equal(bits_of(back[i]), bits_of(f16_to_f32(half[i])));
        }
        f32_to_bf16_array(full, half, length);
        bf16_to_f32_array(half, back, length);
        for (size_t i = 0; i < length; i++) {
            assert_int_equal(half[i], f32_to_bf16(full[i]));
            assert_int_equal(bits_of(back[i]), bits_of(bf16_to_f32(half[i])));
        }
    }
}

static struct tensor *convert(const struct tensor *source, enum dtype dtype)
{
    struct error err;
    struct tensor *target = NULL;

    succeed(tensor_convert(source, dtype, &target, &err), &err);
    assert_int_equal(target->dtype, dtype);
    assert_true(shape_equal(&target->shape, &source->shape));
    return target;
}

static void test_floats_convert_among_each_other(void **state)
{
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_F64};
    static const float values[] = {0, -1.5f, 0.25f, 96, INFINITY, -0.0f}; /* exact in each */
    struct tensor *source = kit_tensor(SHAPE(2, 3), values);

    (void)state;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            struct tensor *first = convert(source, types[i]);
            struct tensor *second = convert(first, types[j]);
            struct tensor *last = convert(second, DTYPE_F32);
            assert_memory_equal(last->data, values, sizeof values);
            tensor_free(first);
            tensor_free(second);
            tensor_free(last);
        }
    tensor_free(source);
}

/* 1 + 2^-11 + 2^-40: to f32 first it is 1 + 2^-11, halfway, and would then go to even, down. */
static void test_doubles_round_once(void **state)
{
    struct error err;
    struct shape shape = SHAPE(1);
    struct tensor *source = NULL;

    (void)state;
    succeed(tensor_create(DTYPE_F64, &shape, &source, &err), &err);
    *(double *)source->data = 1 + 0x1p-11 + 0x1p-40;
    struct tensor *half = convert(source, DTYPE_F16);
    assert_int_equal(*(uint16_t *)half->data, 0x3c01);
    *(double *)source->data = -(1 + 0x1p-8 + 0x1p-40);
    struct tensor *brain = convert(source, DTYPE_BF16);
    assert_int_equal(*(uint16_t *)brain->data, 0xbf81);
    tensor_free(half);
    tensor_free(brain);
    tensor_free(source);
}

static void test_integers_convert_when_they_fit(void **state)
{
    static const enum dtype types[] = {DTYPE_I64, DTYPE_I32, DTYPE_I8, DTYPE_U8, DTYPE_BOOL};
    static const int64_t lows[] = {INT64_MIN, INT32_MIN, INT8_MIN, 0, 0};
    static const int64_t highs[] = {INT64_MAX, INT32_MAX, INT8_MAX, UINT8_MAX, 1};
    struct graph *graph = kit_graph();

    (void)state;
    for (int i = 0; i < 4; i++) {
        const int64_t fits[] = {lows[i], highs[i], 7};
        const int value = kit_i64(graph, SHAPE(3), fits);
        struct tensor *narrow = convert(graph->values[value].constant, types[i]);
        struct tensor *wide = convert(narrow, DTYPE_I64);
        assert_memory_equal(wide->data, fits, sizeof fits);
        tensor_free(narrow);
        tensor_free(wide);
        for (int side = 0; i > 0 && side < 2; side++) {
            const int64_t outside = side == 0 ? lows[i] - 1 : highs[i] + 1;
            const struct tensor *source =
                graph->values[kit_i64(graph, SHAPE(1), &outside)].constant;
            struct error err = {0};
            struct tensor *none = NULL;
            assert_int_equal(tensor_convert(source, types[i], &none, &err), STATUS_INVALID);
            assert_null(none);
        }
    }
    const int64_t truths[] = {0, -5};
    struct tensor *booleans =
        convert(graph->values[kit_i64(graph, SHAPE(2), truths)].constant, DTYPE_BOOL);
    assert_memory_equal(booleans->data, ((uint8_t[]){0, 1}), 2);
    struct error err;
    struct tensor *none = NULL;
    assert_int_equal(tensor_convert(booleans, DTYPE_F32, &none, &err), STATUS_UNSUPPORTED);
    tensor_free(booleans);
    graph_free(graph);
}

static void test_shapes(void **state)
{
    char text[64], little[8];
    const struct shape open = SHAPE(DIM_ANY, 3, 224, 224), scalar = {0, {0}};
    const struct shape huge = SHAPE(INT64_MAX, 2), unknown = {.rank = -1};

    (void)state;
    assert_string_equal(shape_text(&open, text, sizeof text), "[?, 3, 224, 224]");
    assert_string_equal(shape_text(&scalar, text, sizeof text), "[]");
    assert_string_equal(shape_text(&open, little, sizeof little), "[?, 3, ");
    assert_string_equal(shape_text(&unknown, text, sizeof text), "unknown");
    assert_int_equal(shape_elements(&open), -1);
    assert_int_equal(shape_elements(&scalar), 1);
    assert_int_equal(shape_elements(&huge), -1);
    assert_int_equal(shape_elements(&(struct shape){2, {5, 0}}), 0);
    assert_true(shape_equal(&open, &open));
    assert_false(shape_equal(&open, &scalar));
    assert_false(shape_equal(&(struct shape){2, {1, 2}}, &(struct shape){2, {1, 3}}));
}

static void test_tensors_are_zeroed_and_bounded(void **state)
{
    struct error err;
    struct tensor *tensor = NULL, *copy = NULL;
    const struct shape shape = SHAPE(3, 5), open = SHAPE(DIM_ANY, 2);
    const struct shape huge = SHAPE(INT64_MAX / 2), empty = {2, {0, 4}};

    (void)state;
    succeed(tensor_create(DTYPE_F64, &shape, &tensor, &err), &err);
    assert_int_equal((uintptr_t)tensor->data % 64, 0);
    assert_int_equal(tensor->size, 15 * 8);
    for (int i = 0; i < 15; i++)
        assert_true(((double *)tensor->data)[i] == 0);
    ((double *)tensor->data)[7] = 3;
    succeed(tensor_clone(tensor, &copy, &err), &err);
    assert_memory_equal(copy->data, tensor->data, tensor->size);
    assert_ptr_not_equal(copy->data, tensor->data);
    tensor_free(tensor);
    tensor_free(copy);
    tensor = NULL;
    assert_int_equal(tensor_create(DTYPE_F32, &open, &tensor, &err), STATUS_INVALID);
    assert_int_equal(tensor_create(DTYPE_F64, &huge, &tensor, &err), STATUS_INVALID);
    assert_null(tensor);
    succeed(tensor_create(DTYPE_U8, &empty, &tensor, &err), &err);
    assert_int_equal(tensor->size, 0);
    tensor_free(tensor);
    tensor_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_f16_converts_and_returns),
        cmocka_unit_test(test_f16_rounds_to_nearest_even),
        cmocka_unit_test(test_bf16_rounds_to_nearest_even),
        cmocka_unit_test(test_arrays_agree_with_plain),
        cmocka_unit_test(test_floats_convert_among_each_other),
        cmocka_unit_test(test_doubles_round_once),
        cmocka_unit_test(test_integers_convert_when_they_fit),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_tensors_are_zeroed_and_bounded),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
