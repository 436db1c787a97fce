/* Shape inference: each operator's rule, open batches, exporters' integer chains, and errors that
 * name node and operator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "kit.h"

static const struct window plain = {{1, 1}, {1, 1}, {1, 1}, {0}};

static void expect_shape(struct graph *graph, int value, int64_t batch, const char *wanted)
{
    struct error err;
    char text[128];

    succeed(graph_infer_shapes(graph, batch, &err), &err);
    assert_string_equal(shape_text(&graph->values[value].shape, text, sizeof text), wanted);
}

static void expect_error(struct graph *graph, int status, const char *words)
{
    struct error err = {0};

    assert_int_equal(graph_infer_shapes(graph, DIM_ANY, &err), status);
    assert_int_equal(err.code, status);
    if (strstr(err.message, words) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, words);
}

static void test_windows(void **state)
{
    static const struct {
        int size, kernel, stride, dilation, before, after;
        bool ceil_mode;
        int wanted;
    } cases[] = {
        {224, 7, 2, 1, 3, 3, false, 112},
        {112, 3, 2, 1, 1, 1, false, 56},
        {7, 3, 1, 1, 0, 0, false, 5},
        {7, 3, 1, 2, 2, 2, false, 7},
        {6, 3, 2, 1, 0, 1, false, 3},
        {6, 2, 2, 1, 0, 0, true, 3},
        {6, 3, 2, 1, 0, 0, true, 3},
        {6, 3, 2, 1, 0, 0, false, 2},
        {5, 1, 2, 1, 0, 0, true, 3},
        /* The last window of the rounded-up count would start beyond the image. */
        {4, 2, 3, 1, 0, 0, true, 2},
        {3, 2, 3, 1, 0, 0, true, 1},
        {3, 2, 2, 1, 1, 1, true, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = kit_graph();
        char wanted[64];
        int y;
        const int x = kit_input(graph, SHAPE(DIM_ANY, 4, cases[i].size, cases[i].size));
        struct node *pool = KIT_NODE(graph, OP_MAX_POOL, &y, x);
        pool->u.pool.window =
            (struct window){{cases[i].kernel, cases[i].kernel},
                            {cases[i].stride, cases[i].stride},
                            {cases[i].dilation, cases[i].dilation},
                            {cases[i].before, cases[i].before, cases[i].after, cases[i].after}};
        pool->u.pool.ceil_mode = cases[i].ceil_mode;
        const struct shape shape = SHAPE(DIM_ANY, 4, cases[i].wanted, cases[i].wanted);
        expect_shape(graph, y, DIM_ANY, shape_text(&shape, wanted, sizeof wanted));
        graph_free(graph);
    }
}

static void test_convolutions(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 6, 8, 9));
    int y;

    (void)state;
    struct node *conv = kit_conv(graph, &y, x, 3, 4, 3, true);
    expect_error(graph, STATUS_INVALID, "its filters take 3 channels in each of 1 groups");
    conv->u.conv.groups = 2;
    expect_shape(graph, y, DIM_ANY, "[?, 4, 8, 9]");
    expect_shape(graph, y, 5, "[5, 4, 8, 9]");
    conv->u.conv.groups = 3;
    expect_error(graph, STATUS_INVALID, "node 'Conv' (Conv): 3 groups do not divide 4 filters");
    conv->u.conv.groups = 2;
    conv->u.conv.window.stride[0] = 0;
    expect_error(graph, STATUS_INVALID, "vertical stride is 0");
    conv->u.conv.window.stride[0] = 3;
    expect_shape(graph, y, DIM_ANY, "[?, 4, 3, 9]");
    conv->u.conv.window.kernel[1] = 5;
    expect_error(graph, STATUS_INVALID, "its kernel is 3x5, its filters are 3x3");
    conv->u.conv.window.kernel[1] = 3;
    conv->u.conv.window.dilation[0] = 9;
    expect_error(graph, STATUS_INVALID, "does not fit into 8x9");
    conv->u.conv.window.dilation[0] = 1;
    conv->inputs[2] = kit_f32(graph, SHAPE(3), NULL);
    expect_error(graph, STATUS_INVALID, "its bias is not one number a filter");
    graph_free(graph);
}

static void test_residuals_have_the_outputs_shape(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 2, 4, 4));
    int y;

    (void)state;
    const int inputs[] = {x, kit_f32(graph, SHAPE(2, 2, 1, 1), NULL), -1, x};
    struct node *conv = kit_node(graph, OP_CONV, &y, 4, inputs);
    conv->u.conv.window = plain;
    conv->u.conv.groups = 1;
    conv->fused.residual = x;
    expect_shape(graph, y, DIM_ANY, "[?, 2, 4, 4]");
    conv->u.conv.window.stride[0] = 2;
    expect_error(graph, STATUS_INVALID, "its residual [?, 2, 4, 4] has not its output's shape");
    graph_free(graph);
}

static void test_broadcasting(void **state)
{
    static const struct {
        struct shape other;
        const char *wanted; /* NULL: does not broadcast */
    } cases[] = {
        {{1, {4}}, "[?, 3, 1, 4]"},
        {{3, {3, 5, 1}}, "[?, 3, 5, 4]"},
        {{0, {0}}, "[?, 3, 1, 4]"},
        {{5, {2, 1, 1, 1, 1}}, "[2, ?, 3, 1, 4]"},
        {{4, {7, 3, 1, 4}}, "[7, 3, 1, 4]"},
        {{1, {3}}, NULL},
        {{2, {2, 3}}, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = kit_graph();
        const int x = kit_input(graph, SHAPE(DIM_ANY, 3, 1, 4));
        int y;
        KIT_NODE(graph, OP_MUL, &y, kit_f32(graph, cases[i].other, NULL), x);
        if (cases[i].wanted != NULL)
            expect_shape(graph, y, DIM_ANY, cases[i].wanted);
        else
            expect_error(graph, STATUS_INVALID, "do not broadcast");
        graph_free(graph);
    }
}

static void test_products(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 6));
    int y, z;

    (void)state;
    KIT_NODE(graph, OP_MATMUL, &y, x, kit_f32(graph, SHAPE(6, 5), NULL));
    struct node *gemm = KIT_NODE(graph, OP_GEMM, &z, y, kit_f32(graph, SHAPE(3, 5), NULL),
                                 kit_f32(graph, SHAPE(3), NULL));
    expect_error(graph, STATUS_INVALID, "inner dimensions 5 and 3 differ");
    gemm->u.gemm.transpose_b = true;
    expect_shape(graph, z, DIM_ANY, "[?, 3]");
    gemm->inputs[2] = kit_f32(graph, SHAPE(2, 3), NULL);
    expect_error(graph, STATUS_INVALID, "its bias does not fit");
    graph_free(graph);

    graph = kit_graph();
    const int batched = kit_input(graph, SHAPE(DIM_ANY, 2, 3, 4));
    KIT_NODE(graph, OP_MATMUL, &y, batched, kit_f32(graph, SHAPE(2, 4, 7), NULL));
    expect_shape(graph, y, DIM_ANY, "[?, 2, 3, 7]");
    graph_free(graph);
}

/* Operators with one input [?, 2, 3, 4] and axes. */
static void test_axes(void **state)
{
    static const struct {
        enum op op;
        int count;
        int64_t axes[4];
        bool keep_dims;
        const char *wanted; /* NULL: refused */
    } cases[] = {
        {OP_REDUCE_MEAN, 2, {2, 3}, true, "[?, 2, 1, 1]"},
        {OP_REDUCE_MEAN, 2, {-1, -2}, false, "[?, 2]"},
        {OP_REDUCE_MEAN, 0, {0}, false, "[]"},
        {OP_REDUCE_MEAN, 1, {4}, false, NULL},
        {OP_REDUCE_MEAN, 2, {1, -3}, false, NULL}, /* the same axis twice */
        {OP_SQUEEZE, 1, {1}, false, NULL},
        {OP_SQUEEZE, 0, {0}, false, "[?, 2, 3, 4]"},
        {OP_UNSQUEEZE, 2, {0, -1}, false, "[1, ?, 2, 3, 4, 1]"},
        {OP_UNSQUEEZE, 0, {0}, false, NULL},
        {OP_TRANSPOSE, 4, {0, 2, 3, 1}, false, "[?, 3, 4, 2]"},
        {OP_TRANSPOSE, 0, {0}, false, "[4, 3, 2, ?]"},
        {OP_TRANSPOSE, 3, {0, 1, 2}, false, NULL},
        {OP_TRANSPOSE, 4, {0, 1, 2, 2}, false, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = kit_graph();
        int y;
        struct node *node =
            KIT_NODE(graph, cases[i].op, &y, kit_input(graph, SHAPE(DIM_ANY, 2, 3, 4)));
        node->u.axes.count = cases[i].count;
        memcpy(node->u.axes.axes, cases[i].axes, sizeof cases[i].axes);
        node->u.axes.keep_dims = cases[i].keep_dims;
        if (cases[i].wanted != NULL)
            expect_shape(graph, y, DIM_ANY, cases[i].wanted);
        else
            expect_error(graph, STATUS_INVALID, op_name(cases[i].op));
        graph_free(graph);
    }
}

static void test_flatten_concat_pad_softmax(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 2, 3, 4));
    int y;

    (void)state;
    struct node *flatten = KIT_NODE(graph, OP_FLATTEN, &y, x);
    flatten->u.axis.axis = 1;
    expect_shape(graph, y, DIM_ANY, "[?, 24]");
    flatten->u.axis.axis = -1;
    expect_shape(graph, y, 5, "[30, 4]");
    flatten->u.axis.axis = 4;
    expect_shape(graph, y, 5, "[120, 1]");
    flatten->u.axis.axis = 0;
    expect_shape(graph, y, DIM_ANY, "[1, ?]");
    flatten->u.axis.axis = 5;
    expect_error(graph, STATUS_INVALID, "axis 5 lies outside rank 4");
    flatten->u.axis.axis = 1;

    struct node *concat = KIT_NODE(graph, OP_CONCAT, &y, x, x, x);
    concat->u.axis.axis = -3;
    expect_shape(graph, y, DIM_ANY, "[?, 6, 3, 4]");
    concat->inputs[1] = kit_f32(graph, SHAPE(1, 2, 3, 5), NULL);
    expect_error(graph, STATUS_INVALID, "does not fit the first");
    concat->inputs[1] = x;

    struct node *pad = KIT_NODE(graph, OP_PAD, &y, x);
    pad->u.pad.before[2] = 1;
    pad->u.pad.after[3] = -1;
    expect_shape(graph, y, DIM_ANY, "[?, 2, 4, 3]");
    pad->u.pad.before[0] = 1;
    expect_error(graph, STATUS_UNSUPPORTED, "pads the open dimension 0");
    pad->u.pad.before[0] = 0;
    pad->u.pad.after[3] = -4;
    expect_error(graph, STATUS_INVALID, "cuts dimension 3 to nothing");
    pad->u.pad.after[3] = pad->u.pad.before[3] = INT64_MAX;
    expect_error(graph, STATUS_INVALID, "beyond reason");
    pad->u.pad.after[3] = pad->u.pad.before[3] = 0;

    struct node *softmax = KIT_NODE(graph, OP_SOFTMAX, &y, x);
    softmax->u.axis.axis = -5;
    expect_error(graph, STATUS_INVALID, "(Softmax): axis -5");
    graph_free(graph);
}

static void test_reshape(void **state)
{
    static const struct {
        int count;
        int64_t target[4];
        const char *wanted; /* NULL: refused */
    } cases[] = {
        {2, {0, -1}, "[?, 24]"},
        {2, {-1, 24}, "[?, 24]"},
        {3, {0, 0, 12}, "[?, 2, 12]"},
        {4, {-1, 4, 3, 2}, "[?, 4, 3, 2]"},
        {2, {1, -1}, "[?, 24]"},
        {2, {1, 24}, "[?, 24]"},
        {2, {-1, 12}, "[?, 12]"},
        {1, {-1}, "[?]"},
        {2, {0, 23}, NULL},
        {2, {-1, 7}, NULL},
        {2, {-1, -1}, NULL},
        {2, {3, 8}, NULL},
        {2, {0, -2}, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = kit_graph();
        int y;
        KIT_NODE(graph, OP_RESHAPE, &y, kit_input(graph, SHAPE(DIM_ANY, 2, 3, 4)),
                 kit_i64(graph, SHAPE(cases[i].count), cases[i].target));
        if (cases[i].wanted != NULL)
            expect_shape(graph, y, DIM_ANY, cases[i].wanted);
        else
            expect_error(graph, STATUS_INVALID, "node 'Reshape' (Reshape)");
        graph_free(graph);
    }
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 4));
    int y;
    KIT_NODE(graph, OP_RESHAPE, &y, x, x);
    expect_error(graph, STATUS_UNSUPPORTED, "target shape is not known");
    graph_free(graph);
}

/* x.view(x.size(0), -1) as PyTorch traces it: Shape, Gather, Unsqueeze, Concat, Reshape. */
static void test_exported_chain(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 2, 3, 4));
    int shape, batch, list, target, y;

    (void)state;
    KIT_NODE(graph, OP_SHAPE, &shape, x);
    KIT_NODE(graph, OP_GATHER, &batch, shape, kit_i64(graph, (struct shape){0}, (int64_t[]){0}));
    KIT_NODE(graph, OP_UNSQUEEZE, &list, batch, kit_i64(graph, SHAPE(1), (int64_t[]){0}));
    KIT_NODE(graph, OP_CONCAT, &target, list, kit_i64(graph, SHAPE(1), (int64_t[]){-1}));
    KIT_NODE(graph, OP_RESHAPE, &y, x, target);
    expect_shape(graph, y, DIM_ANY, "[?, 24]");
    expect_shape(graph, y, 7, "[7, 24]");
    assert_int_equal(graph->nodes[2].u.axes.count, 1); /* the axes were absorbed */
    assert_int_equal(graph->nodes[2].input_count, 1);
    assert_int_equal(graph->values[target].dtype, DTYPE_I64);
    graph_free(graph);

    /* And one that computes the last dimension: c * h * w. */
    graph = kit_graph();
    const int image = kit_input(graph, SHAPE(DIM_ANY, 2, 3, 4));
    int dims, product;
    KIT_NODE(graph, OP_SHAPE, &shape, image);
    KIT_NODE(graph, OP_GATHER, &dims, shape, kit_i64(graph, SHAPE(1), (int64_t[]){-1}));
    KIT_NODE(graph, OP_MUL, &product, dims, kit_i64(graph, SHAPE(1), (int64_t[]){6}));
    KIT_NODE(graph, OP_CONCAT, &target, kit_i64(graph, SHAPE(1), (int64_t[]){-1}), product);
    KIT_NODE(graph, OP_RESHAPE, &y, image, target);
    expect_shape(graph, y, DIM_ANY, "[?, 24]");
    graph_free(graph);
}

static void test_gather(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 5, 4));
    int y;

    (void)state;
    struct node *gather = KIT_NODE(graph, OP_GATHER, &y, x, kit_i64(graph, SHAPE(2, 3), NULL));
    gather->u.axis.axis = 1;
    expect_shape(graph, y, DIM_ANY, "[?, 2, 3, 4]");
    gather->u.axis.axis = 3;
    expect_error(graph, STATUS_INVALID, "axis 3 lies outside rank 3");
    graph_free(graph);
}

static void test_attributes_given_as_inputs(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 2, 3, 4));
    const int axes = kit_i64(graph, SHAPE(2), (int64_t[]){2, 3});
    const int amounts = kit_i64(graph, SHAPE(8), (int64_t[]){0, 0, 1, 2, 0, 0, 3, 4});
    int clip, mean, pad, y;

    (void)state;
    KIT_NODE(graph, OP_CLIP, &clip, x, -1, kit_f32(graph, (struct shape){0}, (float[]){6}));
    KIT_NODE(graph, OP_PAD, &pad, clip, amounts, kit_f32(graph, (struct shape){0}, (float[]){9}));
    KIT_NODE(graph, OP_REDUCE_MEAN, &mean, pad, axes)->u.axes.keep_dims = true;
    KIT_NODE(graph, OP_DROPOUT, &y, mean, kit_f32(graph, (struct shape){0}, (float[]){0.5f}));
    expect_shape(graph, pad, DIM_ANY, "[?, 2, 7, 10]");
    expect_shape(graph, y, DIM_ANY, "[?, 2, 1, 1]"); /* inferring again changes nothing */
    assert_true(graph->nodes[0].u.clip.high == 6);
    assert_true(graph->nodes[0].u.clip.low < -1e38f);
    assert_true(graph->nodes[1].u.pad.value == 9);
    assert_true(graph->nodes[3].u.dropout.ratio == 0.5f);
    KIT_NODE(graph, OP_CLIP, &y, x, mean);
    expect_error(graph, STATUS_UNSUPPORTED, "(Clip): its lower bound");
    graph_free(graph);
}

static void test_malformed_graphs(void **state)
{
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 3, 4, 4));
    int y;

    (void)state;
    struct node *add = KIT_NODE(graph, OP_ADD, &y, x, x);
    add->input_count = 1;
    expect_error(graph, STATUS_INVALID, "node 'Add' (Add): it has 1 inputs");
    add->input_count = 2;
    add->inputs[1] = -1;
    expect_error(graph, STATUS_INVALID, "it lacks input 1");
    add->inputs[1] = graph_add_value(graph, "orphan", NULL, NULL);
    expect_error(graph, STATUS_CORRUPT, "'orphan' is computed by nothing before it");
    add = &graph->nodes[0];
    add->op = OP_CONSTANT;
    add->inputs[1] = x;
    expect_error(graph, STATUS_INVALID, "(Constant)");
    add->op = OP_BATCH_NORM;
    expect_error(graph, STATUS_INVALID, "(BatchNormalization): it has 2 inputs");
    add->op = OP_ADD;
    struct error err;
    assert_int_equal(graph_infer_shapes(graph, 0, &err), STATUS_INVALID);
    assert_int_equal(graph_infer_shapes(graph, INT64_MAX / 8, &err), STATUS_TOO_LARGE);
    graph_free(graph);

    graph = kit_graph();
    KIT_NODE(graph, OP_BATCH_NORM, &y, kit_input(graph, SHAPE(DIM_ANY, 3, 4, 4)),
             kit_f32(graph, SHAPE(3), NULL), kit_f32(graph, SHAPE(3), NULL),
             kit_f32(graph, SHAPE(4), NULL), kit_f32(graph, SHAPE(3), NULL));
    expect_error(graph, STATUS_INVALID, "its mean must be one number a channel, 3");
    graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_convolutions),
        cmocka_unit_test(test_residuals_have_the_outputs_shape),
        cmocka_unit_test(test_broadcasting),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_axes),
        cmocka_unit_test(test_flatten_concat_pad_softmax),
        cmocka_unit_test(test_reshape),
        cmocka_unit_test(test_exported_chain),
        cmocka_unit_test(test_gather),
        cmocka_unit_test(test_attributes_given_as_inputs),
        cmocka_unit_test(test_malformed_graphs),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
