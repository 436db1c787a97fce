/* Every operator of the vocabulary, over random shapes and attributes, in an engine of its own
 * against the reference, in both precisions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "kit.h"
#include "random_graph.h"

enum { ROUNDS = 12 };

static struct rng rng;

static int pick(int low, int high)
{
    return low + (int)rng_below(&rng, (uint32_t)(high - low + 1));
}

static bool toss(void)
{
    return rng_below(&rng, 2) == 0;
}

/* A constant of normal weights small enough to keep sums over `fan` of them near 1. */
static int constant(struct graph *graph, struct shape shape, int fan)
{
    struct error err;
    double spread = 2.0 / (fan > 4 ? 4.0 + fan / 8.0 : 1.0 + fan);
    struct tensor *tensor = random_tensor(&rng, &shape, -spread, spread);
    int value = graph_add_value(graph, NULL, tensor, &err);

    succeed(value < 0 ? value : 0, &err);
    return value;
}

static void finish(struct graph *graph, int value, const char *what)
{
    kit_output(graph, value);
    check_engine(graph, &rng, pick(1, 5), what);
    graph_free(graph);
}

struct conv_case {
    int channels, filters, groups, height, width;
    struct window window;
    bool bias;
};

static struct conv_case random_conv(void)
{
    struct conv_case c = {.groups = 1, .bias = toss()};
    int kind = pick(0, 4);

    c.channels = pick(1, 40);
    c.filters = pick(1, 40);
    if (kind == 0) { /* depthwise */
        c.filters = c.channels;
        c.groups = c.channels;
    } else if (kind == 1) { /* grouped */
        c.groups = pick(2, 4);
        c.channels *= c.groups;
        c.filters *= c.groups;
    } else if (kind == 2) { /* where Winograd applies */
        c.channels = 16 * pick(1, 4);
        c.filters = 16 * pick(1, 4);
        c.window = kit_window(3, 1, 1);
        c.height = pick(8, 20);
        c.width = pick(8, 20);
        return c;
    }
    for (int d = 0; d < 2; d++) {
        c.window.kernel[d] = pick(1, 5);
        c.window.stride[d] = pick(1, 2);
        c.window.dilation[d] = kind == 3 ? pick(1, 2) : 1;
        c.window.pad[d] = pick(0, c.window.kernel[d] / 2);
        c.window.pad[d + 2] = pick(0, c.window.kernel[d] / 2);
    }
    c.height = pick(9, 18);
    c.width = pick(9, 18);
    return c;
}

static int add_conv(struct graph *graph, const struct conv_case *c, int x)
{
    int depth = c->channels / c->groups, value;
    int fan = depth * c->window.kernel[0] * c->window.kernel[1];
    int weights =
        constant(graph, SHAPE(c->filters, depth, c->window.kernel[0], c->window.kernel[1]), fan);
    int bias = c->bias ? constant(graph, SHAPE(c->filters), 1) : -1;
    struct node *node = c->bias ? KIT_NODE(graph, OP_CONV, &value, x, weights, bias)
                                : KIT_NODE(graph, OP_CONV, &value, x, weights);

    node->u.conv.window = c->window;
    node->u.conv.groups = c->groups;
    return value;
}

static int add_activation(struct graph *graph, enum op op, int x)
{
    int value;
    struct node *node = KIT_NODE(graph, op, &value, x);

    if (op == OP_CLIP) {
        node->u.clip.low = -0.5f;
        node->u.clip.high = 0.75f;
    } else if (op == OP_LEAKY_RELU) {
        node->u.scalar.alpha = 0.1f;
    } else if (op == OP_HARD_SIGMOID) {
        node->u.scalar.alpha = 0.3f;
        node->u.scalar.beta = 0.4f;
    }
    return value;
}

static const enum op activations[] = {OP_RELU,         OP_LEAKY_RELU, OP_CLIP,  OP_SIGMOID,
                                      OP_HARD_SIGMOID, OP_HARD_SWISH, OP_SWISH, OP_TANH};
enum { ACTIVATIONS = sizeof activations / sizeof *activations };

static void check_convolutions(void **state)
{
    (void)state;
    for (int round = 0; round < 5 * ROUNDS; round++) {
        struct conv_case c = random_conv();
        struct graph *graph = kit_graph();
        int x = kit_input(graph, SHAPE(DIM_ANY, c.channels, c.height, c.width));
        finish(graph, add_conv(graph, &c, x), "convolution");
    }
}

static void check_fused_activations(void **state)
{
    (void)state;
    for (int round = 0; round < 3 * ACTIVATIONS; round++) {
        struct conv_case c = random_conv();
        struct graph *graph = kit_graph();
        int x = kit_input(graph, SHAPE(DIM_ANY, c.channels, c.height, c.width));
        int y = add_conv(graph, &c, x);
        finish(graph, add_activation(graph, activations[round % ACTIVATIONS], y),
               op_name(activations[round % ACTIVATIONS]));
    }
}

/* Residuals of every kind: the block's input, which is read twice; the convolution's own source;
 * one that is read again later; before and after the activation. */
static void check_residuals(void **state)
{
    (void)state;
    for (int round = 0; round < 4 * ROUNDS; round++) {
        int channels = pick(1, 3) * 12, kind = round % 4, sum, y;
        enum op op = activations[pick(0, ACTIVATIONS - 1)];
        struct conv_case c = {channels, channels, 1, 10, 10, kit_window(3, 1, 1), true};
        struct graph *graph = kit_graph();
        int x =
            add_activation(graph, OP_RELU,
                           add_conv(graph, &c, kit_input(graph, SHAPE(DIM_ANY, channels, 10, 10))));
        int residual = kind == 1 ? x : add_conv(graph, &c, x);
        y = add_conv(graph, &c, x);
        if (kind >= 2)
            y = add_activation(graph, op, y);
        (void)KIT_NODE(graph, OP_ADD, &sum, y, residual);
        if (kind < 2)
            sum = add_activation(graph, op, sum);
        if (kind == 3)
            (void)KIT_NODE(graph, OP_MUL, &sum, sum, residual);
        finish(graph, sum, "residual");
    }
}

static void check_activations(void **state)
{
    (void)state;
    for (int round = 0; round < 2 * ACTIVATIONS; round++) {
        enum op op = activations[round % ACTIVATIONS];
        struct graph *graph = kit_graph();
        struct shape shape = toss() ? SHAPE(DIM_ANY, pick(1, 20), pick(1, 9), pick(1, 9))
                                    : SHAPE(DIM_ANY, pick(1, 50));
        finish(graph, add_activation(graph, op, kit_input(graph, shape)), op_name(op));
    }
}

static void check_arithmetic(void **state)
{
    static const enum op ops[] = {OP_ADD, OP_SUB, OP_MUL, OP_DIV};

    (void)state;
    for (int round = 0; round < 4 * ROUNDS; round++) {
        int channels = pick(1, 20), kind = round / 4 % 3, left, right, sum;
        struct conv_case c = {channels, channels, 1, 7, 7, kit_window(1, 1, 0), true};
        struct graph *graph = kit_graph();
        int x = kit_input(graph, SHAPE(DIM_ANY, channels, 7, 7));
        left = add_conv(graph, &c, x);
        /* Away from zero, since one may divide by it. */
        right = add_activation(graph, OP_SIGMOID, x);
        if (kind == 1)
            (void)KIT_NODE(graph, OP_GLOBAL_AVERAGE_POOL, &right, right);
        if (kind == 2) {
            static const float two = 2.0f;
            right = kit_f32(graph, SHAPE(1), &two);
        }
        (void)KIT_NODE(graph, ops[round % 4], &sum, left, right);
        finish(graph, sum, op_name(ops[round % 4]));
    }
}

static void check_batch_norms(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        int channels = pick(1, 40), value;
        struct graph *graph = kit_graph();
        int x = kit_input(graph, SHAPE(DIM_ANY, channels, pick(1, 9), pick(1, 9)));
        struct node *node;
        x = add_activation(graph, OP_RELU, x); /* so that nothing absorbs the norm */
        node = KIT_NODE(graph, OP_BATCH_NORM, &value, x, constant(graph, SHAPE(channels), 1),
                        constant(graph, SHAPE(channels), 1), constant(graph, SHAPE(channels), 1),
                        kit_f32(graph, SHAPE(channels), NULL));
        node->u.batch_norm.epsilon = 0.5f;
        randomise_batch_norms(&rng, graph);
        finish(graph, value, "batch norm");
    }
}

static void check_pools(void **state)
{
    (void)state;
    for (int round = 0; round < 4 * ROUNDS; round++) {
        enum op op = toss() ? OP_MAX_POOL : OP_AVERAGE_POOL;
        struct graph *graph = kit_graph();
        int value, x = kit_input(graph, SHAPE(DIM_ANY, pick(1, 40), pick(8, 14), pick(8, 14)));
        struct node *node = KIT_NODE(graph, op, &value, x);
        for (int d = 0; d < 2; d++) {
            node->u.pool.window.kernel[d] = pick(1, 4);
            node->u.pool.window.stride[d] = pick(1, 3);
            node->u.pool.window.dilation[d] = 1;
            node->u.pool.window.pad[d] = pick(0, node->u.pool.window.kernel[d] - 1);
            node->u.pool.window.pad[d + 2] = pick(0, node->u.pool.window.kernel[d] - 1);
        }
        node->u.pool.count_include_pad = toss();
        node->u.pool.ceil_mode = pick(0, 3) == 0;
        finish(graph, value, op_name(op));
    }
}

static void check_squeeze_and_excite(void **state)
{
    (void)state;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        int channels = pick(1, 80), squeezed = pick(1, 60), size = pick(1, 12), x, gate, y;
        struct conv_case stem = {3, channels, 1, size, size, kit_window(1, 1, 0), true};
        struct conv_case first = {channels, squeezed, 1, 1, 1, kit_window(1, 1, 0), true};
        struct conv_case second = {squeezed, channels, 1, 1, 1, kit_window(1, 1, 0), toss()};
        struct graph *graph = kit_graph();
        x = add_conv(graph, &stem, kit_input(graph, SHAPE(DIM_ANY, 3, size, size)));
        x = add_activation(graph, toss() ? OP_SWISH : OP_RELU, x);
        (void)KIT_NODE(graph, OP_GLOBAL_AVERAGE_POOL, &gate, x);
        gate = add_conv(graph, &first, gate);
        gate = add_activation(graph, activations[pick(0, ACTIVATIONS - 1)], gate);
        gate = add_conv(graph, &second, gate);
        gate = add_activation(graph, toss() ? OP_SIGMOID : OP_HARD_SIGMOID, gate);
        if (toss())
            (void)KIT_NODE(graph, OP_MUL, &y, x, gate);
        else
            (void)KIT_NODE(graph, OP_MUL, &y, gate, x);
        finish(graph, y, "squeeze-and-excite");
    }
}

static void check_heads(void **state)
{
    (void)state;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        int channels = pick(1, 700), classes = pick(1, 500), value;
        bool transposed = toss();
        struct graph *graph = kit_graph();
        int x = kit_input(graph, SHAPE(DIM_ANY, channels, 2, 3));
        struct node *node;
        (void)KIT_NODE(graph, OP_GLOBAL_AVERAGE_POOL, &x, x);
        node = KIT_NODE(graph, OP_FLATTEN, &x, x);
        node->u.axis.axis = 1;
        node = KIT_NODE(graph, OP_GEMM, &value, x,
                        constant(graph,
                                 transposed ? SHAPE(classes, channels) : SHAPE(channels, classes),
                                 channels),
                        constant(graph, SHAPE(classes), 1));
        node->u.gemm = (struct gemm_attributes){1.0f, 1.0f, false, transposed};
        if (round % 3 == 0) { /* what the library has no name for */
            node->u.gemm.alpha = 0.5f;
            node->u.gemm.beta = 2.0f;
        }
        if (toss()) {
            node = KIT_NODE(graph, OP_SOFTMAX, &value, value);
            node->u.axis.axis = toss() ? 1 : -1;
        }
        finish(graph, value, "classifier");
    }
}

/* A 1x1 convolution of a 1x1 map too large for the kernel that squeeze-and-excite uses. */
static void check_large_map_product(void **state)
{
    struct conv_case c = {600, 700, 1, 1, 1, kit_window(1, 1, 0), true};
    struct graph *graph = kit_graph();
    int x = kit_input(graph, SHAPE(DIM_ANY, 600, 1, 1));

    (void)state;
    finish(graph, add_activation(graph, OP_SWISH, add_conv(graph, &c, x)), "map product");
}

static void check_joins(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        int parts[3], value, width = toss() ? 16 : pick(1, 20);
        struct graph *graph = kit_graph();
        int x = kit_input(graph, SHAPE(DIM_ANY, width, 6, 5));
        struct node *node;
        for (int i = 0; i < 3; i++) {
            struct conv_case c = {width, width, 1, 6, 5, kit_window(1, 1, 0), true};
            parts[i] = i == 0 ? x : add_conv(graph, &c, x);
        }
        node = kit_node(graph, OP_CONCAT, &value, 3, parts);
        node->u.axis.axis = pick(1, 3);
        finish(graph, value, "join");
    }
}

/* What nothing but the reference runs, in the middle of what the library does. */
static void check_fallbacks(void **state)
{
    static const int64_t swapped[] = {0, 1, 3, 2};
    struct conv_case c = {8, 8, 1, 6, 5, kit_window(3, 1, 1), true};
    struct graph *graph = kit_graph();
    int x = add_conv(graph, &c, kit_input(graph, SHAPE(DIM_ANY, 8, 6, 5)));
    struct node *node = KIT_NODE(graph, OP_TRANSPOSE, &x, x);

    (void)state;
    memcpy(node->u.axes.axes, swapped, sizeof swapped);
    node->u.axes.count = 4;
    node = KIT_NODE(graph, OP_PAD, &x, x);
    node->u.pad.before[2] = 2;
    node->u.pad.after[3] = 1;
    node->u.pad.value = 0.25f;
    x = add_activation(graph, OP_RELU, x);
    node = KIT_NODE(graph, OP_REDUCE_MEAN, &x, x);
    node->u.axes.axes[0] = 1;
    node->u.axes.count = 1;
    node->u.axes.keep_dims = true;
    node = KIT_NODE(graph, OP_SOFTMAX, &x, x);
    node->u.axis.axis = 2;
    finish(graph, x, "fallbacks");
}

static void check_views(void **state)
{
    static const int64_t target[] = {-1, 4, 30};
    struct graph *graph = kit_graph();
    int x = kit_input(graph, SHAPE(DIM_ANY, 8, 5, 3)), y;
    struct node *node;

    (void)state;
    x = add_activation(graph, OP_RELU, x);
    (void)KIT_NODE(graph, OP_RESHAPE, &y, x, kit_i64(graph, SHAPE(3), target));
    y = add_activation(graph, OP_SWISH, y); /* must not write over x, which is read below */
    node = KIT_NODE(graph, OP_FLATTEN, &y, y);
    node->u.axis.axis = 1;
    node = KIT_NODE(graph, OP_FLATTEN, &x, x);
    node->u.axis.axis = 1;
    (void)KIT_NODE(graph, OP_SUB, &y, y, x);
    finish(graph, y, "views");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_convolutions), cmocka_unit_test(check_fused_activations),
        cmocka_unit_test(check_residuals),    cmocka_unit_test(check_activations),
        cmocka_unit_test(check_arithmetic),   cmocka_unit_test(check_batch_norms),
        cmocka_unit_test(check_pools),        cmocka_unit_test(check_squeeze_and_excite),
        cmocka_unit_test(check_heads),        cmocka_unit_test(check_large_map_product),
        cmocka_unit_test(check_joins),        cmocka_unit_test(check_fallbacks),
        cmocka_unit_test(check_views),
    };

    rng_seed(&rng, 7);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
