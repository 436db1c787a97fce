/* Every operator's backward pass against finite differences of the plain reference's forward pass,
 * over random shapes. An operator stands between a convolution, through whose weights its input's
 * gradient shows, and a classifier. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../graph/kit.h"
#include "../graph/random_graph.h"
#include "gradient_check.h"

enum { ROUNDS = 4 };

/* A graph being built: x is the last value, of c channels and a square of side s. */
struct bench {
    struct graph *graph;
    struct rng rng;
    int x, c, s;
};

static int between(struct bench *bench, int low, int high)
{
    return low + (int)rng_below(&bench->rng, (uint32_t)(high - low + 1));
}

static int constant(struct bench *bench, struct shape shape, double low, double high)
{
    struct error err = {0};
    struct tensor *tensor = random_tensor(&bench->rng, &shape, low, high);
    int value = graph_add_value(bench->graph, NULL, tensor, &err);
    succeed(value < 0 ? value : STATUS_OK, &err);
    return value;
}

static void conv(struct bench *bench, int filters, int kernel, int stride, int groups, bool bias)
{
    int weights = constant(bench, SHAPE(filters, bench->c / groups, kernel, kernel), -0.5, 0.5);
    int b = bias ? constant(bench, SHAPE(filters), -0.5, 0.5) : -1;
    struct node *node = bias ? KIT_NODE(bench->graph, OP_CONV, &bench->x, bench->x, weights, b)
                             : KIT_NODE(bench->graph, OP_CONV, &bench->x, bench->x, weights);
    node->u.conv.window = kit_window(kernel, stride, kernel / 2);
    node->u.conv.groups = groups;
    bench->c = filters;
    bench->s = (bench->s + 2 * (kernel / 2) - kernel) / stride + 1;
}

static void norm(struct bench *bench)
{
    int scale = constant(bench, SHAPE(bench->c), 0.5, 1.5);
    int bias = constant(bench, SHAPE(bench->c), -0.5, 0.5);
    int mean = constant(bench, SHAPE(bench->c), -0.5, 0.5);
    int variance = constant(bench, SHAPE(bench->c), 0.5, 1.5);
    struct node *node =
        KIT_NODE(bench->graph, OP_BATCH_NORM, &bench->x, bench->x, scale, bias, mean, variance);
    node->u.batch_norm.epsilon = 1e-3f;
    node->u.batch_norm.momentum = 0.9f;
}

static void one(struct bench *bench, enum op op)
{
    struct node *node = KIT_NODE(bench->graph, op, &bench->x, bench->x);
    if (op == OP_CLIP) {
        node->u.clip.low = 0;
        node->u.clip.high = 1;
    }
}

static void two(struct bench *bench, enum op op, int other)
{
    KIT_NODE(bench->graph, op, &bench->x, bench->x, other);
}

static void start(struct bench *bench, uint64_t seed)
{
    rng_seed(&bench->rng, seed);
    bench->graph = kit_graph();
    bench->c = between(bench, 1, 3);
    bench->s = between(bench, 4, 8);
    bench->x = kit_input(bench->graph, SHAPE(DIM_ANY, bench->c, bench->s, bench->s));
    conv(bench, between(bench, 2, 40), 3, 1, 1, false);
}

/* A classifier of what there is, flattened whole or averaged; checked and freed. */
static void finish(struct bench *bench, bool average)
{
    struct error err = {0};
    int features = bench->c * (average ? 1 : bench->s * bench->s), classes = between(bench, 2, 7);
    bool transposed = between(bench, 0, 1) == 1;

    if (average)
        one(bench, OP_GLOBAL_AVERAGE_POOL);
    KIT_NODE(bench->graph, OP_FLATTEN, &bench->x, bench->x)->u.axis.axis = 1;
    int weights = constant(bench, transposed ? SHAPE(classes, features) : SHAPE(features, classes),
                           -0.5, 0.5);
    int bias = constant(bench, SHAPE(classes), -0.5, 0.5);
    struct node *node = KIT_NODE(bench->graph, OP_GEMM, &bench->x, bench->x, weights, bias);
    node->u.gemm = (struct gemm_attributes){1, 1, false, transposed};
    kit_output(bench->graph, bench->x);
    succeed(graph_infer_shapes(bench->graph, DIM_ANY, &err), &err);
    check_gradients(bench->graph, between(bench, 2, 5), &bench->rng);
    graph_free(bench->graph);
}

static void test_convolutions(void **state)
{
    static const int kernels[] = {1, 3, 5};
    (void)state;
    for (int round = 0; round < 3 * ROUNDS; round++) {
        struct bench bench;
        start(&bench, 100 + (uint64_t)round);
        int kernel = kernels[round % 3], stride = between(&bench, 1, 2);
        int groups = bench.c % 2 == 0 ? between(&bench, 1, 2) : 1;
        one(&bench, OP_SIGMOID);
        conv(&bench, groups * between(&bench, 1, 20), kernel, stride, groups, round % 2 == 0);
        finish(&bench, true);
    }
}

static void test_depthwise_convolutions(void **state)
{
    static const int kernels[] = {3, 5};
    (void)state;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        struct bench bench;
        start(&bench, 200 + (uint64_t)round);
        one(&bench, OP_SIGMOID);
        conv(&bench, bench.c, kernels[round % 2], between(&bench, 1, 2), bench.c, false);
        finish(&bench, true);
    }
}

static void test_activations(void **state)
{
    static const enum op ops[] = {OP_RELU, OP_CLIP, OP_SWISH, OP_SIGMOID};
    (void)state;
    for (int round = 0; round < 4 * ROUNDS; round++) {
        struct bench bench;
        start(&bench, 300 + (uint64_t)round);
        one(&bench, ops[round % 4]);
        finish(&bench, true);
    }
}

static void test_batch_norms_with_each_activation(void **state)
{
    static const enum op ops[] = {OP_RELU, OP_CLIP, OP_SWISH, OP_SIGMOID, OP_IDENTITY};
    (void)state;
    for (int round = 0; round < 5 * ROUNDS; round++) {
        struct bench bench;
        start(&bench, 400 + (uint64_t)round);
        norm(&bench);
        if (ops[round % 5] != OP_IDENTITY)
            one(&bench, ops[round % 5]);
        finish(&bench, false);
    }
}

/* relu(bn(conv(x)) + x), with the addition's inputs in either order, and both sides normed. */
static void test_residuals(void **state)
{
    static const enum op ops[] = {OP_RELU, OP_CLIP, OP_IDENTITY, OP_SWISH};
    (void)state;
    for (int round = 0; round < 8 * ROUNDS; round++) {
        struct bench bench;
        start(&bench, 500 + (uint64_t)round);
        norm(&bench);
        one(&bench, OP_SIGMOID);
        int trunk = bench.x;
        conv(&bench, bench.c, 3, 1, 1, false);
        norm(&bench);
        int branch = bench.x;
        if (round % 4 == 3) { /* the shortcut is normed too */
            bench.x = trunk;
            conv(&bench, bench.c, 1, 1, 1, false);
            norm(&bench);
            trunk = bench.x;
        }
        bench.x = round % 2 == 0 ? branch : trunk;
        two(&bench, OP_ADD, round % 2 == 0 ? trunk : branch);
        if (ops[round / 4 % 4] != OP_IDENTITY)
            one(&bench, ops[round / 4 % 4]);
        finish(&bench, false);
    }
}

static void test_sums_and_products(void **state)
{
    (void)state;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        struct bench bench;
        start(&bench, 600 + (uint64_t)round);
        int first = bench.x, channels = bench.c;
        one(&bench, OP_SWISH);
        conv(&bench, channels, 1, 1, 1, true);
        int second = bench.x;
        two(&bench, round % 2 == 0 ? OP_ADD : OP_MUL, first);
        two(&bench, OP_ADD, second);
        finish(&bench, true);
    }
}

static void test_squeeze_and_excite(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct bench bench;
        start(&bench, 700 + (uint64_t)round);
        norm(&bench);
        one(&bench, OP_SWISH);
        int map = bench.x, channels = bench.c, side = bench.s;
        one(&bench, OP_GLOBAL_AVERAGE_POOL);
        bench.s = 1;
        conv(&bench, between(&bench, 1, 9), 1, 1, 1, true);
        one(&bench, OP_SWISH);
        conv(&bench, channels, 1, 1, 1, true);
        one(&bench, OP_SIGMOID);
        int gate = bench.x;
        bench.x = round % 2 == 0 ? map : gate;
        two(&bench, OP_MUL, round % 2 == 0 ? gate : map);
        bench.s = side;
        conv(&bench, between(&bench, 1, 9), 1, 1, 1, false);
        finish(&bench, true);
    }
}

static void test_pools(void **state)
{
    (void)state;
    for (int round = 0; round < 6 * ROUNDS; round++) {
        struct bench bench;
        start(&bench, 800 + (uint64_t)round);
        int kernel = between(&bench, 2, 3), stride = between(&bench, 1, 2);
        int pad = between(&bench, 0, 1);
        bool maximum = round % 2 == 0;
        one(&bench, OP_SIGMOID);
        struct node *node =
            KIT_NODE(bench.graph, maximum ? OP_MAX_POOL : OP_AVERAGE_POOL, &bench.x, bench.x);
        node->u.pool.window = kit_window(kernel, stride, pad);
        node->u.pool.count_include_pad = !maximum && round % 3 == 0;
        bench.s = (bench.s + 2 * pad - kernel) / stride + 1;
        finish(&bench, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolutions),
        cmocka_unit_test(test_depthwise_convolutions),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_batch_norms_with_each_activation),
        cmocka_unit_test(test_residuals),
        cmocka_unit_test(test_sums_and_products),
        cmocka_unit_test(test_squeeze_and_excite),
        cmocka_unit_test(test_pools),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
