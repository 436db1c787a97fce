/* The plain executor against values worked out by hand, and against other ways of saying the same.
 * It is the yardstick of the fast executors, so the cases here are those where definitions bite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "kit.h"
#include "nn/graph/reference.h"
#include "random_graph.h"

/* Runs a graph whose input is `x`; the shape and the values must be as given. */
static void expect_output(struct graph *graph, int value, struct shape shape, const float *x,
                          struct shape wanted_shape, const float *wanted)
{
    struct error err;
    struct tensor *input = kit_tensor(shape, x), *output = NULL;
    char text[64];

    kit_output(graph, value);
    succeed(graph_infer_shapes(graph, shape.dims[0], &err), &err);
    assert_string_equal(shape_text(&graph->values[value].shape, text, sizeof text),
                        shape_text(&wanted_shape, (char[64]){0}, 64));
    succeed(reference_run(graph, input, &output, &err), &err);
    assert_true(shape_equal(&output->shape, &wanted_shape));
    for (int64_t i = 0; i < shape_elements(&wanted_shape); i++) {
        const float got = ((float *)output->data)[i];
        if (!(fabsf(got - wanted[i]) <= 1e-6f * (1 + fabsf(wanted[i]))))
            fail_msg("element %d is %.9g, not %.9g", (int)i, (double)got, (double)wanted[i]);
    }
    tensor_free(input);
    tensor_free(output);
    graph_free(graph);
}

static const float nine[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

static void test_convolution(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(1, 1, 3, 3));
    int y;

    (void)state;
    /* Stride 2, padding above and left only: windows at (-1,-1), (-1,1), (1,-1), (1,1). */
    struct node *conv = KIT_NODE(graph, OP_CONV, &y, x,
                                 kit_f32(graph, SHAPE(1, 1, 2, 2), (float[]){1, 10, 100, 1000}),
                                 kit_f32(graph, SHAPE(1), (float[]){0.5f}));
    conv->u.conv.window = (struct window){{2, 2}, {2, 2}, {1, 1}, {1, 1, 0, 0}};
    conv->u.conv.groups = 1;
    expect_output(graph, y, SHAPE(1, 1, 3, 3), nine, SHAPE(1, 1, 2, 2),
                  (float[]){1000.5f, 3200.5f, 7040.5f, 9865.5f});

    /* Dilation 2: the corners alone. */
    graph = kit_graph();
    const int z = kit_input(graph, SHAPE(1, 1, 3, 3));
    conv = KIT_NODE(graph, OP_CONV, &y, z,
                    kit_f32(graph, SHAPE(1, 1, 2, 2), (float[]){1, 10, 100, 1000}));
    conv->u.conv.window = (struct window){{2, 2}, {1, 1}, {2, 2}, {0}};
    conv->u.conv.groups = 1;
    expect_output(graph, y, SHAPE(1, 1, 3, 3), nine, SHAPE(1, 1, 1, 1), (float[]){9731});
}

static void test_grouped_convolution(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(1, 4, 1, 1));
    int y;

    (void)state;
    /* Two groups of two channels and two filters each. */
    struct node *conv =
        KIT_NODE(graph, OP_CONV, &y, x,
                 kit_f32(graph, SHAPE(4, 2, 1, 1), (float[]){1, 2, 3, 4, 5, 6, 7, 8}));
    conv->u.conv.window = kit_window(1, 1, 0);
    conv->u.conv.groups = 2;
    expect_output(graph, y, SHAPE(1, 4, 1, 1), (float[]){1, 10, 100, 1000}, SHAPE(1, 4, 1, 1),
                  (float[]){21, 43, 6500, 8700});
}

static void test_fused_parts(void **state)
{
    static const struct {
        enum activation activation;
        bool residual, after;
        float wanted[2];
    } cases[] = {
        {ACTIVATION_NONE, true, false, {-3, 6}},    {ACTIVATION_RELU, false, false, {0, 4}},
        {ACTIVATION_RELU, true, false, {0, 6}},     {ACTIVATION_RELU, true, true, {-1, 6}},
        {ACTIVATION_CLIP, true, false, {-0.5f, 5}}, {ACTIVATION_CLIP, true, true, {-1.5f, 6}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = kit_graph();
        const int x = kit_input(graph, SHAPE(1, 2, 1, 1));
        int y;
        const int weights = kit_f32(graph, SHAPE(2, 1, 1, 1), (float[]){2, 2});
        const int inputs[] = {x, weights, -1, x};
        struct node *conv = kit_node(graph, OP_CONV, &y, cases[i].residual ? 4 : 2, inputs);
        conv->u.conv.window = kit_window(1, 1, 0);
        conv->u.conv.groups = 2;
        conv->fused = (struct fused){cases[i].activation, -0.5f, 5, cases[i].residual ? x : -1,
                                     cases[i].after};
        expect_output(graph, y, SHAPE(1, 2, 1, 1), (float[]){-1, 2}, SHAPE(1, 2, 1, 1),
                      cases[i].wanted);
    }
}

static void test_pools(void **state)
{
    static const struct {
        enum op op;
        struct window window;
        bool include, ceil_mode;
        int size;
        float wanted[9];
    } cases[] = {
        {OP_MAX_POOL, {{2, 2}, {1, 1}, {1, 1}, {0}}, false, false, 2, {5, 6, 8, 9}},
        {OP_MAX_POOL, {{2, 2}, {2, 2}, {1, 1}, {0}}, false, true, 2, {5, 6, 8, 9}},
        {OP_MAX_POOL, {{2, 2}, {2, 2}, {1, 1}, {1, 1, 0, 0}}, false, false, 2, {1, 3, 7, 9}},
        {OP_AVERAGE_POOL,
         {{2, 2}, {2, 2}, {1, 1}, {1, 1, 0, 0}},
         false,
         false,
         2,
         {1, 2.5f, 5.5f, 7}},
        {OP_AVERAGE_POOL,
         {{2, 2}, {2, 2}, {1, 1}, {1, 1, 0, 0}},
         true,
         false,
         2,
         {0.25f, 1.25f, 2.75f, 7}},
        /* What ceil_mode adds beyond the padding is counted by neither. */
        {OP_AVERAGE_POOL, {{2, 2}, {2, 2}, {1, 1}, {0}}, true, true, 2, {3, 4.5f, 7.5f, 9}},
        {OP_AVERAGE_POOL, {{2, 2}, {1, 1}, {2, 2}, {0}}, false, false, 1, {5}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = kit_graph();
        int y;
        struct node *pool = KIT_NODE(graph, cases[i].op, &y, kit_input(graph, SHAPE(1, 1, 3, 3)));
        pool->u.pool.window = cases[i].window;
        pool->u.pool.count_include_pad = cases[i].include;
        pool->u.pool.ceil_mode = cases[i].ceil_mode;
        expect_output(graph, y, SHAPE(1, 1, 3, 3), nine, SHAPE(1, 1, cases[i].size, cases[i].size),
                      cases[i].wanted);
    }
    /* All values negative: padding must not win. */
    struct graph *graph = kit_graph();
    int y;
    KIT_NODE(graph, OP_MAX_POOL, &y, kit_input(graph, SHAPE(1, 1, 1, 2)))->u.pool.window =
        kit_window(3, 1, 1);
    expect_output(graph, y, SHAPE(1, 1, 1, 2), (float[]){-5, -3}, SHAPE(1, 1, 1, 2),
                  (float[]){-3, -3});
}

static void test_activations(void **state)
{
    static const struct {
        enum op op;
        float wanted[5];
    } cases[] = {
        {OP_RELU, {0, 0, 0, 1, 8}},
        {OP_LEAKY_RELU, {-0.8f, -0.1f, 0, 1, 8}},
        {OP_CLIP, {0, 0, 0, 1, 6}},
        {OP_SIGMOID, {0.000335350130f, 0.268941421f, 0.5f, 0.731058579f, 0.999664650f}},
        {OP_HARD_SIGMOID, {0, 0.4f, 0.5f, 0.6f, 1}},
        {OP_HARD_SWISH, {0, -0.333333333f, 0, 0.666666667f, 8}},
        {OP_SWISH, {-0.00268280104f, -0.268941421f, 0, 0.731058579f, 7.99731720f}},
        {OP_TANH, {-0.999999775f, -0.761594156f, 0, 0.761594156f, 0.999999775f}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = kit_graph();
        int y;
        struct node *node = KIT_NODE(graph, cases[i].op, &y, kit_input(graph, SHAPE(1, 5)));
        if (cases[i].op == OP_CLIP) {
            node->u.clip.high = 6;
        } else {
            node->u.scalar.alpha = 0.1f;
            node->u.scalar.beta = 0.5f;
        }
        expect_output(graph, y, SHAPE(1, 5), (float[]){-8, -1, 0, 1, 8}, SHAPE(1, 5),
                      cases[i].wanted);
    }
}

static void test_batch_norm(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(1, 2, 1, 2));
    int y;

    (void)state;
    struct node *node = KIT_NODE(
        graph, OP_BATCH_NORM, &y, x, kit_f32(graph, SHAPE(2), (float[]){2, 3}),
        kit_f32(graph, SHAPE(2), (float[]){10, 20}), kit_f32(graph, SHAPE(2), (float[]){1, -1}),
        kit_f32(graph, SHAPE(2), (float[]){3, 8}));
    node->u.batch_norm.epsilon = 1;
    expect_output(graph, y, SHAPE(1, 2, 1, 2), (float[]){1, 5, -1, 2}, SHAPE(1, 2, 1, 2),
                  (float[]){10, 14, 20, 23});
}

static void test_gemm_and_matmul(void **state)
{
    static const float a[6] = {1, 2, 3, 4, 5, 6};

    (void)state;
    for (int transpose = 0; transpose < 2; transpose++) {
        struct graph *graph = kit_graph();
        const int x = kit_input(graph, SHAPE(2, 3));
        int y;
        const int b = transpose ? kit_f32(graph, SHAPE(2, 3), (float[]){1, 0, 2, 0, 1, 3})
                                : kit_f32(graph, SHAPE(3, 2), (float[]){1, 0, 0, 1, 2, 3});
        struct node *gemm =
            KIT_NODE(graph, OP_GEMM, &y, x, b, kit_f32(graph, SHAPE(2), (float[]){10, 20}));
        gemm->u.gemm = (struct gemm_attributes){2, 0.5f, false, transpose == 1};
        expect_output(graph, y, SHAPE(2, 3), a, SHAPE(2, 2), (float[]){19, 32, 37, 56});
    }
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(3, 2));
    int y;
    struct node *gemm =
        KIT_NODE(graph, OP_GEMM, &y, x, kit_f32(graph, SHAPE(3, 1), (float[]){1, 10, 100}),
                 kit_f32(graph, SHAPE(2, 1), (float[]){0.5f, 0.25f}));
    gemm->u.gemm = (struct gemm_attributes){1, 1, true, false};
    expect_output(graph, y, SHAPE(3, 2), a, SHAPE(2, 1), (float[]){531.5f, 642.25f});

    /* One matrix against two: the left one broadcasts. */
    graph = kit_graph();
    const int row = kit_input(graph, SHAPE(1, 1, 2));
    KIT_NODE(graph, OP_MATMUL, &y, row,
             kit_f32(graph, SHAPE(2, 2, 1), (float[]){1, 10, 100, 1000}));
    expect_output(graph, y, SHAPE(1, 1, 2), (float[]){3, 4}, SHAPE(2, 1, 1), (float[]){43, 4300});
}

static void test_means_and_softmax(void **state)
{
    static const float x[8] = {1, 2, 3, 4, 10, 20, 30, 40};
    struct graph *graph = kit_graph();
    int y;

    (void)state;
    KIT_NODE(graph, OP_GLOBAL_AVERAGE_POOL, &y, kit_input(graph, SHAPE(1, 2, 2, 2)));
    expect_output(graph, y, SHAPE(1, 2, 2, 2), x, SHAPE(1, 2, 1, 1), (float[]){2.5f, 25});

    graph = kit_graph();
    struct node *mean = KIT_NODE(graph, OP_REDUCE_MEAN, &y, kit_input(graph, SHAPE(1, 2, 2, 2)));
    mean->u.axes.count = 2;
    mean->u.axes.axes[0] = 1;
    mean->u.axes.axes[1] = -1;
    expect_output(graph, y, SHAPE(1, 2, 2, 2), x, SHAPE(1, 2), (float[]){8.25f, 19.25f});

    graph = kit_graph();
    KIT_NODE(graph, OP_SOFTMAX, &y, kit_input(graph, SHAPE(2, 2)))->u.axis.axis = 0;
    expect_output(graph, y, SHAPE(2, 2), (float[]){1000, 0, 1000, logf(3)}, SHAPE(2, 2),
                  (float[]){0.5f, 0.25f, 0.5f, 0.75f});
}

static void test_arithmetic_broadcasts(void **state)
{
    static const enum op ops[] = {OP_ADD, OP_SUB, OP_MUL, OP_DIV};
    static const float wanted[4][4] = {
        {11, 22, 13, 24}, {-9, -18, -7, -16}, {10, 40, 30, 80}, {0.1f, 0.1f, 0.3f, 0.2f}};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct graph *graph = kit_graph();
        const int x = kit_input(graph, SHAPE(1, 2, 2));
        int y;
        KIT_NODE(graph, ops[i], &y, x, kit_f32(graph, SHAPE(2), (float[]){10, 20}));
        expect_output(graph, y, SHAPE(1, 2, 2), nine, SHAPE(1, 2, 2), wanted[i]);
    }
}

static void test_layout(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(1, 2, 3));
    int y;

    (void)state;
    struct node *node = KIT_NODE(graph, OP_TRANSPOSE, &y, x);
    node->u.axes.count = 3;
    memcpy(node->u.axes.axes, (int64_t[]){2, 0, 1}, 3 * sizeof(int64_t));
    expect_output(graph, y, SHAPE(1, 2, 3), nine, SHAPE(3, 1, 2), (float[]){1, 4, 2, 5, 3, 6});

    graph = kit_graph();
    const int a = kit_input(graph, SHAPE(1, 2, 2));
    KIT_NODE(graph, OP_CONCAT, &y, a, kit_f32(graph, SHAPE(1, 2, 1), (float[]){8, 9}), a)
        ->u.axis.axis = 2;
    expect_output(graph, y, SHAPE(1, 2, 2), nine, SHAPE(1, 2, 5),
                  (float[]){1, 2, 8, 1, 2, 3, 4, 9, 3, 4});

    graph = kit_graph();
    node = KIT_NODE(graph, OP_PAD, &y, kit_input(graph, SHAPE(1, 3)));
    node->u.pad.before[1] = 2;
    node->u.pad.after[1] = -1;
    node->u.pad.value = -7;
    expect_output(graph, y, SHAPE(1, 3), nine, SHAPE(1, 4), (float[]){-7, -7, 1, 2});

    graph = kit_graph();
    const int rows = kit_input(graph, SHAPE(3, 2));
    KIT_NODE(graph, OP_GATHER, &y, rows, kit_i64(graph, SHAPE(2), (int64_t[]){-1, 0}))
        ->u.axis.axis = 1;
    expect_output(graph, y, SHAPE(3, 2), nine, SHAPE(3, 2), (float[]){2, 1, 4, 3, 6, 5});
}

/* A Reshape fed by Shape, Gather and Concat at run time. */
static void test_integer_chain_runs(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 2, 2));
    int shape, batch, target, y;

    (void)state;
    KIT_NODE(graph, OP_SHAPE, &shape, x);
    KIT_NODE(graph, OP_GATHER, &batch, shape, kit_i64(graph, SHAPE(1), (int64_t[]){0}));
    KIT_NODE(graph, OP_CONCAT, &target, batch, kit_i64(graph, SHAPE(1), (int64_t[]){-1}));
    KIT_NODE(graph, OP_RESHAPE, &y, x, target);
    expect_output(graph, y, SHAPE(2, 2, 2), (float[]){1, 2, 3, 4, 5, 6, 7, 8}, SHAPE(2, 4),
                  (float[]){1, 2, 3, 4, 5, 6, 7, 8});
}

static void test_errors_name_the_node(void **state)
{
    struct error err = {0};
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(1, 3));
    struct tensor *input = kit_tensor(SHAPE(1, 3), nine), *output = NULL;
    int y;

    (void)state;
    KIT_NODE(graph, OP_GATHER, &y, x, kit_i64(graph, SHAPE(1), (int64_t[]){3}))->u.axis.axis = 1;
    kit_output(graph, y);
    assert_int_equal(reference_run(graph, input, &output, &err), STATUS_INVALID);
    assert_string_equal(err.message, "node 'Gather' (Gather): index 3 of 3");
    graph->nodes[0].inputs[1] = kit_f32(graph, SHAPE(1), NULL);
    assert_int_equal(reference_run(graph, input, &output, &err), STATUS_INVALID);
    graph->nodes[0].op = OP_MATMUL;
    graph->nodes[0].inputs[1] = kit_i64(graph, SHAPE(3, 1), NULL);
    assert_int_equal(reference_run(graph, input, &output, &err), STATUS_UNSUPPORTED);
    assert_string_equal(err.message, "node 'Gather' (MatMul): input 1 is i64");
    assert_int_equal(reference_run(graph, input, &output, NULL), STATUS_UNSUPPORTED);
    graph->nodes[0].inputs[1] = graph_add_value(graph, "orphan", NULL, &err);
    assert_int_equal(reference_run(graph, input, &output, &err), STATUS_CORRUPT);
    assert_null(output);
    graph_free(graph);
    tensor_free(input);
}

/* Images do not see each other: a batch gives what its images give alone. */
static void test_batches_are_independent(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct error err;
        struct rng rng;
        rng_seed(&rng, seed);
        struct graph *graph = random_graph(&rng);
        struct tensor *batch = random_input(&rng, graph, 3), *all = NULL, *one = NULL;
        succeed(reference_run(graph, batch, &all, &err), &err);
        struct tensor image = *batch;
        image.shape.dims[0] = 1;
        image.size /= 3;
        image.data = (char *)batch->data + 2 * image.size;
        succeed(reference_run(graph, &image, &one, &err), &err);
        assert_int_equal(one->size, all->size / 3);
        assert_memory_equal(one->data, (char *)all->data + 2 * one->size, one->size);
        tensor_free(batch);
        tensor_free(all);
        tensor_free(one);
        graph_free(graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolution),
        cmocka_unit_test(test_grouped_convolution),
        cmocka_unit_test(test_fused_parts),
        cmocka_unit_test(test_pools),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_batch_norm),
        cmocka_unit_test(test_gemm_and_matmul),
        cmocka_unit_test(test_means_and_softmax),
        cmocka_unit_test(test_arithmetic_broadcasts),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_integer_chain_runs),
        cmocka_unit_test(test_errors_name_the_node),
        cmocka_unit_test(test_batches_are_independent),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
