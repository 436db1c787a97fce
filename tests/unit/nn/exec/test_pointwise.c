/* Every vectorised kernel against the plain one, over random matrices with gaps between rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "nn/exec/pointwise.h"
#include "nn/graph/tensor.h"

enum { ROUNDS = 200, ROWS_MAX = 40, COLUMNS_MAX = 150, GAP_MAX = 20 };
enum { SIZE_MAX_ELEMENTS = ROWS_MAX * (COLUMNS_MAX + GAP_MAX) };

/* One random matrix, in both types, twice: for the plain kernel and for the fast one. */
struct matrices {
    int64_t rows, columns, stride;
    float f32[2][SIZE_MAX_ELEMENTS];
    uint16_t bf16[2][SIZE_MAX_ELEMENTS];
    float sums[2][COLUMNS_MAX], scale[COLUMNS_MAX], shift[COLUMNS_MAX];
};

struct state {
    struct rng rng;
    struct pointwise kernels[2]; /* plain, fast */
    struct matrices m;
};

static void draw(struct state *state)
{
    struct matrices *m = &state->m;

    m->rows = 1 + rng_below(&state->rng, ROWS_MAX);
    m->columns = 1 + rng_below(&state->rng, COLUMNS_MAX);
    m->stride = m->columns + rng_below(&state->rng, GAP_MAX);
    for (int i = 0; i < SIZE_MAX_ELEMENTS; i++) {
        float value = (float)(rng_normal(&state->rng) * 6.0);
        m->f32[0][i] = m->f32[1][i] = value;
        m->bf16[0][i] = m->bf16[1][i] = f32_to_bf16(value);
    }
    for (int c = 0; c < COLUMNS_MAX; c++) {
        m->sums[0][c] = m->sums[1][c] = (float)rng_normal(&state->rng);
        m->scale[c] = (float)rng_normal(&state->rng);
        m->shift[c] = (float)rng_normal(&state->rng);
    }
}

static void check_close(const float *expected, const float *got, int64_t count, double relative,
                        double absolute)
{
    for (int64_t i = 0; i < count; i++) {
        double allowed = absolute + relative * fabs(expected[i]);
        if (!(fabs((double)expected[i] - got[i]) <= allowed))
            fail_msg("element %d: %.9g is not %.9g", (int)i, got[i], expected[i]);
    }
}

/* Within one step of bf16, where the two ways of rounding may part. */
static void check_close_bf16(const struct state *state)
{
    for (int i = 0; i < SIZE_MAX_ELEMENTS; i++) {
        double expected = bf16_to_f32(state->m.bf16[0][i]), got = bf16_to_f32(state->m.bf16[1][i]);
        if (!(fabs(expected - got) <= fabs(expected) / 128.0 + 1e-6))
            fail_msg("element %d: %.9g is not %.9g", i, got, expected);
    }
}

static void check_swish(void **opaque)
{
    struct state *state = *opaque;
    struct matrices *m = &state->m;

    for (int round = 0; round < ROUNDS; round++) {
        bool with_sums = round % 2 == 0;
        draw(state);
        for (int k = 0; k < 2; k++)
            state->kernels[k].swish_f32(m->f32[k], m->rows, m->columns, m->stride,
                                        with_sums ? m->sums[k] : NULL);
        check_close(m->f32[0], m->f32[1], SIZE_MAX_ELEMENTS, 1e-6, 1e-9);
        check_close(m->sums[0], m->sums[1], COLUMNS_MAX, 1e-5, 1e-4);
        for (int k = 0; k < 2; k++)
            state->kernels[k].swish_bf16(m->bf16[k], m->rows, m->columns, m->stride,
                                         with_sums ? m->sums[k] : NULL);
        check_close_bf16(state);
        check_close(m->sums[0], m->sums[1], COLUMNS_MAX, 1e-3, 1e-2);
    }
}

static void check_extremes(void **opaque)
{
    struct state *state = *opaque;
    static const float given[] = {0.0f,     -0.0f, 1e-30f, 88.0f,  -88.0f, 1000.0f,
                                  -1000.0f, 3e38f, -3e38f, -87.4f, 20.0f,  -20.0f};
    float x[sizeof given / sizeof *given];
    const int count = (int)(sizeof given / sizeof *given);

    memcpy(x, given, sizeof x);
    state->kernels[1].swish_f32(x, 1, count, count, NULL);
    for (int i = 0; i < count; i++) {
        double expected = given[i] / (1.0 + exp(-(double)given[i]));
        if (!(fabs(x[i] - expected) <= 1e-6 * fabs(expected) + 1e-30) && given[i] > -1e30f)
            fail_msg("swish of %g gave %g", given[i], x[i]);
        assert_true(isfinite(x[i]));
    }
    memcpy(x, given, sizeof x);
    state->kernels[1].sigmoid(x, count);
    for (int i = 0; i < count; i++)
        assert_true(fabs(x[i] - 1.0 / (1.0 + exp(-(double)given[i]))) <= 1e-6);
}

static void check_sums(void **opaque)
{
    struct state *state = *opaque;
    struct matrices *m = &state->m;

    for (int round = 0; round < ROUNDS; round++) {
        draw(state);
        for (int k = 0; k < 2; k++) {
            state->kernels[k].sum_f32(m->f32[k], m->rows, m->columns, m->stride, m->sums[k]);
            state->kernels[k].sum_bf16(m->bf16[k], m->rows, m->columns, m->stride, m->sums[k]);
        }
        check_close(m->sums[0], m->sums[1], COLUMNS_MAX, 1e-5, 1e-3);
    }
}

static void check_scale(void **opaque)
{
    struct state *state = *opaque;
    struct matrices *m = &state->m;

    for (int round = 0; round < ROUNDS; round++) {
        const float *shift = round % 2 == 0 ? m->shift : NULL;
        draw(state);
        for (int k = 0; k < 2; k++) {
            state->kernels[k].scale_f32(m->f32[k], m->f32[k], m->rows, m->columns, m->stride,
                                        m->scale, shift);
            state->kernels[k].scale_bf16(m->bf16[k], m->bf16[k], m->rows, m->columns, m->stride,
                                         m->scale, shift);
        }
        check_close(m->f32[0], m->f32[1], SIZE_MAX_ELEMENTS, 1e-6, 2e-6);
        check_close_bf16(state);
    }
}

static void check_dense(void **opaque)
{
    struct state *state = *opaque;
    struct matrices *m = &state->m;

    for (int round = 0; round < ROUNDS; round++) {
        const float *bias = round % 2 == 0 ? m->shift : NULL;
        float y[2][COLUMNS_MAX];
        draw(state);
        /* The scale is the input, the matrix the weights [rows][columns]. */
        for (int k = 0; k < 2; k++)
            state->kernels[k].dense(m->scale, m->rows, m->f32[k], bias, y[k], m->columns);
        check_close(y[0], y[1], m->columns, 1e-5, 1e-4);
    }
}

static void check_sigmoid(void **opaque)
{
    struct state *state = *opaque;
    struct matrices *m = &state->m;

    for (int round = 0; round < ROUNDS; round++) {
        draw(state);
        for (int k = 0; k < 2; k++)
            state->kernels[k].sigmoid(m->f32[k], m->columns);
        check_close(m->f32[0], m->f32[1], SIZE_MAX_ELEMENTS, 1e-6, 1e-9);
    }
}

static void check_pack(void **opaque)
{
    struct state *state = *opaque;
    struct matrices *m = &state->m;

    for (int round = 0; round < ROUNDS; round++) {
        int64_t channels = 1 + round % 4;
        draw(state);
        for (int k = 0; k < 2; k++)
            state->kernels[k].pack_bf16(m->f32[k], channels, m->rows * m->columns / 4, m->bf16[k]);
        assert_memory_equal(m->bf16[0], m->bf16[1], sizeof m->bf16[0]);
    }
}

static int set_up(void **opaque)
{
    struct state *state = calloc(1, sizeof *state);

    if (state == NULL)
        return -1;
    rng_seed(&state->rng, 20240115);
    pointwise_plain(&state->kernels[0]);
    pointwise_best(&state->kernels[1]);
    print_message("# the fast kernels here are %s\n", state->kernels[1].name);
    *opaque = state;
    return 0;
}

static int tear_down(void **opaque)
{
    free(*opaque);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_swish), cmocka_unit_test(check_extremes),
        cmocka_unit_test(check_sums),  cmocka_unit_test(check_scale),
        cmocka_unit_test(check_dense), cmocka_unit_test(check_sigmoid),
        cmocka_unit_test(check_pack),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
