/* Passes keep the function and leave the nodes they should: random small networks and the three
 * architectures, run plainly before and after; each pattern alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kit.h"
#include "nn/arch/arch.h"
#include "nn/graph/passes.h"
#include "nn/graph/reference.h"
#include "random_graph.h"

static struct tensor *run(const struct graph *graph, const struct tensor *input)
{
    struct error err;
    struct tensor *output = NULL;

    succeed(reference_run(graph, input, &output, &err), &err);
    return output;
}

static int count(const struct graph *graph, enum op op)
{
    int found = 0;

    for (int i = 0; i < graph->node_count; i++)
        found += graph->nodes[i].op == op;
    return found;
}

static void check_order(const struct graph *graph)
{
    for (int i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        assert_true(node->output_count > 0);
        assert_int_equal(graph->values[node->outputs[0]].producer, i);
        for (int j = 0; j < node->input_count; j++)
            if (node->inputs[j] >= 0)
                assert_true(graph->values[node->inputs[j]].producer < i);
        if (node->fused.residual >= 0)
            assert_int_equal(node->fused.residual, node->inputs[node->input_count - 1]);
    }
}

typedef int (*pass)(struct graph *, struct error *);

static void check_same_function(struct graph *graph, pass rewrite, uint64_t seed)
{
    struct error err;
    struct rng rng;
    struct graph *rewritten;

    rng_seed(&rng, seed);
    struct tensor *input = random_input(&rng, graph, 2);
    struct tensor *before = run(graph, input);
    succeed(graph_clone(graph, &rewritten, &err), &err);
    succeed(rewrite(rewritten, &err), &err);
    check_order(rewritten);
    succeed(graph_infer_shapes(rewritten, 2, &err), &err);
    struct tensor *after = run(rewritten, input);
    const double difference = relative_difference(before, after);
    if (!(difference <= 1e-4)) {
        print_message("# before:\n%s# after:\n%s", graph_text(graph), graph_text(rewritten));
        fail_msg("seed %d: relative difference %g", (int)seed, difference);
    }
    tensor_free(input);
    tensor_free(before);
    tensor_free(after);
    graph_free(rewritten);
}

/* How often each rewrite happened, so that a pass that does nothing does not pass. */
struct tally {
    int graphs, activations, residuals, residuals_after;
    int batch_norms_before, batch_norms_after, pads_before, pads_after, gates;
};

static void tally_optimised(struct graph *graph, struct tally *tally)
{
    struct error err;

    tally->graphs++;
    tally->batch_norms_before += count(graph, OP_BATCH_NORM);
    tally->pads_before += count(graph, OP_PAD);
    tally->gates -= count(graph, OP_SWISH);
    succeed(passes_canonicalise(graph, &err), &err);
    tally->gates += count(graph, OP_SWISH);
    succeed(passes_optimise(graph, &err), &err);
    tally->batch_norms_after += count(graph, OP_BATCH_NORM);
    tally->pads_after += count(graph, OP_PAD);
    assert_int_equal(count(graph, OP_IDENTITY) + count(graph, OP_DROPOUT), 0);
    assert_int_equal(count(graph, OP_MATMUL) + count(graph, OP_REDUCE_MEAN), 0);
    for (int i = 0; i < graph->node_count; i++) {
        const struct fused *fused = &graph->nodes[i].fused;
        tally->activations += fused->activation != ACTIVATION_NONE;
        tally->residuals += fused->residual >= 0;
        tally->residuals_after += fused->residual_after;
    }
}

static void test_random_graphs_keep_their_function(void **state)
{
    static const pass passes[] = {passes_canonicalise, passes_fold_constants,
                                  passes_fold_batch_norm, passes_fuse, passes_optimise};
    struct tally tally = {0};

    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct graph *graph = random_graph(&rng);
        for (size_t i = 0; i < sizeof passes / sizeof *passes; i++)
            check_same_function(graph, passes[i], seed);
        tally_optimised(graph, &tally);
        graph_free(graph);
    }
    print_message("# %d graphs: %d activations, %d residuals (%d after), %d gates fused; %d of %d "
                  "batch norms and %d of %d pads are left\n",
                  tally.graphs, tally.activations, tally.residuals, tally.residuals_after,
                  tally.gates, tally.batch_norms_after, tally.batch_norms_before, tally.pads_after,
                  tally.pads_before);
    assert_true(tally.activations > tally.graphs / 2);
    assert_true(tally.residuals_after > 0 && tally.residuals > 2 * tally.residuals_after);
    assert_true(tally.gates > 10);
    assert_true(tally.batch_norms_after < tally.batch_norms_before);
    assert_true(tally.pads_after < tally.pads_before);
}

static void test_architectures_keep_their_function(void **state)
{
    /* Convolutions, additions fused, nodes in all. */
    static const struct {
        const char *name;
        int convolutions, residuals, multiplications, nodes;
    } wanted[] = {
        {"resnet50", 53, 16, 0, 57}, /* and max-pool, mean, flatten, classifier */
        {"mobilenetv2", 52, 10, 0, 55},
        {"efficientnet_b0", 49 + 32, 9, 16, 81 + 16 + 16 + 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const struct arch_options options = {.classes = 10, .input = 16, .seed = 5};
        struct error err;
        struct graph *graph;
        struct rng rng;
        succeed(arch_build(wanted[i].name, &options, &graph, &err), &err);
        rng_seed(&rng, 11);
        randomise_batch_norms(&rng, graph);
        check_same_function(graph, passes_optimise, 12);
        succeed(passes_optimise(graph, &err), &err);
        int residuals = 0;
        for (int j = 0; j < graph->node_count; j++)
            residuals += graph->nodes[j].fused.residual >= 0;
        assert_int_equal(count(graph, OP_CONV), wanted[i].convolutions);
        assert_int_equal(count(graph, OP_MUL), wanted[i].multiplications);
        assert_int_equal(count(graph, OP_BATCH_NORM), 0);
        assert_int_equal(residuals, wanted[i].residuals);
        assert_int_equal(graph->node_count, wanted[i].nodes);
        assert_string_equal(graph->values[graph->outputs[0]].name, "logits");
        graph_free(graph);
    }
}

/* A graph x [?, 2, 5, 5] for one pattern: ends it at `value`, runs it before and after `rewrite`,
 * and leaves it rewritten. */
static void rewrite_pattern(struct graph *graph, int value, pass rewrite)
{
    struct error err;

    kit_output(graph, value);
    succeed(graph_infer_shapes(graph, DIM_ANY, &err), &err);
    check_same_function(graph, rewrite, 21);
    succeed(rewrite(graph, &err), &err);
    check_order(graph);
}

static struct graph *start_pattern(int *x)
{
    struct graph *graph = kit_graph();

    *x = kit_input(graph, SHAPE(DIM_ANY, 2, 5, 5));
    return graph;
}

static int scalar(struct graph *graph, float value)
{
    return kit_f32(graph, (struct shape){0}, &value);
}

static void expect_ops(struct graph *graph, int wanted, enum op only)
{
    assert_int_equal(graph->node_count, wanted);
    assert_int_equal(count(graph, only), wanted);
    graph_free(graph);
}

static void test_gates_become_swish(void **state)
{
    int x, y, gate;

    (void)state;
    for (int side = 0; side < 2; side++) {
        struct graph *graph = start_pattern(&x);
        KIT_NODE(graph, OP_SIGMOID, &gate, x);
        KIT_NODE(graph, OP_MUL, &y, side ? x : gate, side ? gate : x);
        rewrite_pattern(graph, y, passes_canonicalise);
        expect_ops(graph, 1, OP_SWISH);

        graph = start_pattern(&x);
        struct node *hard = KIT_NODE(graph, OP_HARD_SIGMOID, &gate, x);
        hard->u.scalar.alpha = 1.0f / 6;
        hard->u.scalar.beta = 0.5f;
        KIT_NODE(graph, OP_MUL, &y, side ? x : gate, side ? gate : x);
        rewrite_pattern(graph, y, passes_canonicalise);
        expect_ops(graph, 1, OP_HARD_SWISH);
    }
    /* A gate of something else, or with other constants, stays. */
    struct graph *graph = start_pattern(&x);
    KIT_NODE(graph, OP_TANH, &y, x);
    KIT_NODE(graph, OP_SIGMOID, &gate, x);
    KIT_NODE(graph, OP_MUL, &y, y, gate);
    rewrite_pattern(graph, y, passes_canonicalise);
    assert_int_equal(count(graph, OP_SWISH), 0);
    graph_free(graph);
    graph = start_pattern(&x);
    KIT_NODE(graph, OP_HARD_SIGMOID, &gate, x)->u.scalar.alpha = 0.2f;
    KIT_NODE(graph, OP_MUL, &y, x, gate);
    rewrite_pattern(graph, y, passes_canonicalise);
    assert_int_equal(count(graph, OP_HARD_SWISH), 0);
    graph_free(graph);
}

/* clip(x + 3, 0, 6) / 6 and its product with x, divided before or after, or times 1/6. */
static void test_written_hard_swish(void **state)
{
    int x, y;

    (void)state;
    for (int form = 0; form < 6; form++) {
        const bool product = form < 4, divide_first = form % 2, by_division = form / 2 % 2;
        struct graph *graph = start_pattern(&x);
        KIT_NODE(graph, OP_ADD, &y, x, scalar(graph, 3));
        KIT_NODE(graph, OP_CLIP, &y, y, scalar(graph, 0), scalar(graph, 6));
        if (product && !divide_first)
            KIT_NODE(graph, OP_MUL, &y, x, y);
        if (by_division)
            KIT_NODE(graph, OP_DIV, &y, y, scalar(graph, 6));
        else
            KIT_NODE(graph, OP_MUL, &y, scalar(graph, 1.0f / 6), y);
        if (product && divide_first)
            KIT_NODE(graph, OP_MUL, &y, y, x);
        rewrite_pattern(graph, y, passes_canonicalise);
        expect_ops(graph, 1, product ? OP_HARD_SWISH : OP_HARD_SIGMOID);
    }
}

static void test_means_become_pools(void **state)
{
    int x, y;

    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        struct graph *graph = start_pattern(&x);
        struct node *mean =
            KIT_NODE(graph, OP_REDUCE_MEAN, &y, x, kit_i64(graph, SHAPE(2), (int64_t[]){-1, -2}));
        mean->u.axes.keep_dims = keep;
        rewrite_pattern(graph, y, passes_canonicalise);
        assert_int_equal(count(graph, OP_GLOBAL_AVERAGE_POOL), 1);
        assert_int_equal(count(graph, OP_FLATTEN), !keep);
        assert_string_equal(graph->values[graph->outputs[0]].name, "ReduceMean");
        graph_free(graph);
    }
    struct graph *graph = start_pattern(&x);
    KIT_NODE(graph, OP_AVERAGE_POOL, &y, x)->u.pool.window = kit_window(5, 1, 0);
    rewrite_pattern(graph, y, passes_canonicalise);
    expect_ops(graph, 1, OP_GLOBAL_AVERAGE_POOL);
}

/* Exported at batch 1: [1, 50] stands for [?, 50], and runs at any batch after. */
static void test_reshape_targets_take_any_batch(void **state)
{
    struct error err;
    struct rng rng;
    int x, y;
    struct graph *graph = start_pattern(&x);

    (void)state;
    KIT_NODE(graph, OP_RESHAPE, &y, x, kit_i64(graph, SHAPE(2), (int64_t[]){1, 50}));
    kit_output(graph, y);
    succeed(passes_canonicalise(graph, &err), &err);
    rng_seed(&rng, 1);
    struct tensor *input = random_input(&rng, graph, 3), *output = run(graph, input);
    assert_true(shape_equal(&output->shape, &SHAPE(3, 50)));
    assert_memory_equal(output->data, input->data, input->size);
    tensor_free(input);
    tensor_free(output);
    graph_free(graph);

    /* A chain of Shape, Gather and Concat is gone once its target is a constant. */
    int shape, batch, target;
    graph = start_pattern(&x);
    KIT_NODE(graph, OP_SHAPE, &shape, x);
    KIT_NODE(graph, OP_GATHER, &batch, shape, kit_i64(graph, SHAPE(1), (int64_t[]){0}));
    KIT_NODE(graph, OP_CONCAT, &target, batch, kit_i64(graph, SHAPE(1), (int64_t[]){-1}));
    KIT_NODE(graph, OP_RESHAPE, &y, x, target);
    rewrite_pattern(graph, y, passes_canonicalise);
    expect_ops(graph, 1, OP_RESHAPE);
}

static void test_constants_fold(void **state)
{
    int x, y, z;
    struct graph *graph = start_pattern(&x);

    (void)state;
    KIT_NODE(graph, OP_MUL, &y, scalar(graph, 2), scalar(graph, 3));
    KIT_NODE(graph, OP_RELU, &y, y);
    KIT_NODE(graph, OP_ADD, &z, x, y);
    KIT_NODE(graph, OP_DROPOUT, &z, z);
    KIT_NODE(graph, OP_IDENTITY, &z, z);
    KIT_NODE(graph, OP_CAST, &z, z)->u.cast.to = DTYPE_F32;
    rewrite_pattern(graph, z, passes_fold_constants);
    assert_true(*(float *)graph->values[graph->nodes[0].inputs[1]].constant->data == 6);
    assert_string_equal(graph->values[graph->outputs[0]].name, "Cast");
    expect_ops(graph, 1, OP_ADD);
}

/* f16 weights behind a Cast to f32, as the writer stores them. */
static void test_casts_of_constants_fold(void **state)
{
    struct error err;
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 3));
    struct tensor *weights = kit_tensor(SHAPE(3), (float[]){1, 2, 0.1f}), *half = NULL;
    int y;

    (void)state;
    succeed(tensor_convert(weights, DTYPE_F16, &half, &err), &err);
    const int stored = graph_add_value(graph, "weights", half, &err);
    KIT_NODE(graph, OP_CAST, &y, stored)->u.cast.to = DTYPE_F32;
    KIT_NODE(graph, OP_MUL, &y, x, y);
    kit_output(graph, y);
    succeed(passes_canonicalise(graph, &err), &err);
    const struct tensor *wide = graph->values[graph->nodes[0].inputs[1]].constant;
    assert_non_null(wide);
    assert_int_equal(wide->dtype, DTYPE_F32);
    assert_true(((float *)wide->data)[2] == f16_to_f32(f32_to_f16(0.1f)));
    expect_ops(graph, 1, OP_MUL);
    tensor_free(weights);
}

static void test_pads_merge(void **state)
{
    static const struct {
        enum op consumer;
        float value;
        bool relu_before, include, merges;
    } cases[] = {
        {OP_CONV, 0, false, false, true},
        {OP_CONV, 1, false, false, false},
        {OP_MAX_POOL, -INFINITY, false, false, true},
        {OP_MAX_POOL, 0, false, false, false},
        {OP_MAX_POOL, 0, true, false, true},
        {OP_AVERAGE_POOL, 0, false, true, true},
        {OP_AVERAGE_POOL, 0, false, false, true},
        {OP_AVERAGE_POOL, 1, false, true, false},
    };
    int x, y;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = start_pattern(&x);
        if (cases[i].relu_before)
            KIT_NODE(graph, OP_RELU, &x, x);
        struct node *pad = KIT_NODE(graph, OP_PAD, &y, x);
        pad->u.pad.before[2] = 1;
        pad->u.pad.before[3] = 2;
        pad->u.pad.after[3] = 1;
        pad->u.pad.value = cases[i].value;
        if (cases[i].consumer == OP_CONV) {
            kit_conv(graph, &y, y, 2, 3, 3, false);
        } else {
            struct node *pool = KIT_NODE(graph, cases[i].consumer, &y, y);
            pool->u.pool.window = kit_window(3, 2, 0);
            pool->u.pool.count_include_pad = cases[i].include;
        }
        rewrite_pattern(graph, y, passes_fold_constants);
        assert_int_equal(count(graph, OP_PAD), !cases[i].merges);
        graph_free(graph);
    }
}

static void add_norm(struct graph *graph, int *value, int channels)
{
    static const float parts[4][4] = {
        {0.5f, 2, -1, 3}, {1, -1, 0.5f, 0}, {0.3f, -0.2f, 0, 1}, {1, 0.5f, 2, 0.1f}};
    const struct shape shape = {1, {channels}};
    int inputs[5] = {*value};

    for (int i = 0; i < 4; i++)
        inputs[i + 1] = kit_f32(graph, shape, parts[i]);
    kit_node(graph, OP_BATCH_NORM, value, 5, inputs)->u.batch_norm.epsilon = 1e-3f;
}

static void test_batch_norms_fold(void **state)
{
    int x, y;

    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        struct graph *graph = start_pattern(&x);
        kit_conv(graph, &y, x, 2, 4, 3, bias);
        add_norm(graph, &y, 4);
        rewrite_pattern(graph, y, passes_fold_batch_norm);
        expect_ops(graph, 1, OP_CONV);

        graph = start_pattern(&x); /* depthwise, and a chain of affine constants */
        kit_conv(graph, &y, x, 1, 2, 3, bias)->u.conv.groups = 2;
        add_norm(graph, &y, 2);
        KIT_NODE(graph, OP_DIV, &y, y, scalar(graph, 4));
        KIT_NODE(graph, OP_SUB, &y, y, kit_f32(graph, SHAPE(2, 1, 1), (float[]){1, 2}));
        KIT_NODE(graph, OP_MUL, &y, kit_f32(graph, SHAPE(1, 2, 1, 1), (float[]){3, 5}), y);
        rewrite_pattern(graph, y, passes_fold_batch_norm);
        expect_ops(graph, 1, OP_CONV);
    }
    /* Not a channel's constant, not the first operand, and an output that others read. */
    for (int form = 0; form < 3; form++) {
        struct graph *graph = start_pattern(&x);
        int conv;
        kit_conv(graph, &conv, x, 2, 2, 3, true);
        if (form == 0)
            KIT_NODE(graph, OP_MUL, &y, conv, kit_f32(graph, SHAPE(5), (float[]){1, 2, 3, 4, 5}));
        else if (form == 1)
            KIT_NODE(graph, OP_SUB, &y, scalar(graph, 1), conv);
        else
            KIT_NODE(graph, OP_MUL, &y, conv, scalar(graph, 2));
        if (form == 2)
            KIT_NODE(graph, OP_ADD, &y, y, conv);
        rewrite_pattern(graph, y, passes_fold_batch_norm);
        assert_int_equal(graph->node_count, form == 2 ? 3 : 2);
        graph_free(graph);
    }
}

/* Two convolutions of one weight tensor, only one of them followed by a batch norm. */
static void test_shared_weights_are_not_spoilt(void **state)
{
    int x, a, b, y;
    struct graph *graph = start_pattern(&x);

    (void)state;
    kit_conv(graph, &a, x, 2, 2, 3, true);
    kit_conv(graph, &b, x, 2, 2, 3, true);
    graph->nodes[1].inputs[1] = graph->nodes[0].inputs[1];
    graph->nodes[1].inputs[2] = graph->nodes[0].inputs[2];
    add_norm(graph, &a, 2);
    KIT_NODE(graph, OP_ADD, &y, a, b);
    rewrite_pattern(graph, y, passes_fold_batch_norm);
    assert_int_equal(count(graph, OP_BATCH_NORM), 0);
    graph_free(graph);
}

static void test_residuals_fuse(void **state)
{
    int x, a, b, y;
    struct graph *graph = start_pattern(&x);

    (void)state;
    /* Of two convolutions the later takes the sum, and then the activation. */
    kit_conv(graph, &a, x, 2, 2, 3, true);
    kit_conv(graph, &b, x, 2, 2, 1, true);
    KIT_NODE(graph, OP_ADD, &y, b, a);
    KIT_NODE(graph, OP_RELU, &y, y);
    rewrite_pattern(graph, y, passes_fuse);
    assert_int_equal(graph->nodes[0].u.conv.window.kernel[0], 3);
    assert_int_equal(graph->nodes[1].u.conv.window.kernel[0], 1);
    assert_int_equal(graph->nodes[1].fused.residual, graph->nodes[0].outputs[0]);
    assert_int_equal(graph->nodes[1].input_count, 4);
    assert_int_equal(graph->nodes[1].fused.activation, ACTIVATION_RELU);
    assert_false(graph->nodes[1].fused.residual_after);
    expect_ops(graph, 2, OP_CONV);

    /* The residual is computed after the convolution: it must still come first. */
    graph = start_pattern(&x);
    kit_conv(graph, &a, x, 2, 2, 3, false);
    KIT_NODE(graph, OP_TANH, &b, x);
    KIT_NODE(graph, OP_ADD, &y, a, b);
    rewrite_pattern(graph, y, passes_fuse);
    assert_int_equal(graph->nodes[1].inputs[2], -1);
    assert_int_equal(graph->nodes[1].fused.residual, graph->nodes[0].outputs[0]);
    assert_int_equal(graph->nodes[1].op, OP_CONV);
    assert_int_equal(graph->node_count, 2);
    graph_free(graph);

    /* Activation first: added after it, and nothing more can be fused behind. */
    graph = start_pattern(&x);
    kit_conv(graph, &a, x, 2, 2, 3, true);
    KIT_NODE(graph, OP_SWISH, &a, a);
    KIT_NODE(graph, OP_ADD, &y, x, a);
    KIT_NODE(graph, OP_RELU, &y, y);
    rewrite_pattern(graph, y, passes_fuse);
    assert_true(graph->nodes[0].fused.residual_after);
    assert_int_equal(graph->nodes[0].fused.activation, ACTIVATION_SWISH);
    assert_int_equal(graph->nodes[1].op, OP_RELU);
    assert_int_equal(graph->node_count, 2);
    graph_free(graph);
}

static void test_what_must_not_fuse(void **state)
{
    int x, a, y;
    struct graph *graph = start_pattern(&x);

    (void)state;
    kit_conv(graph, &a, x, 2, 2, 3, true); /* read twice by one Add */
    KIT_NODE(graph, OP_ADD, &y, a, a);
    rewrite_pattern(graph, y, passes_fuse);
    assert_int_equal(graph->node_count, 2);
    graph_free(graph);

    graph = start_pattern(&x); /* read by another node */
    kit_conv(graph, &a, x, 2, 2, 3, true);
    KIT_NODE(graph, OP_RELU, &y, a);
    KIT_NODE(graph, OP_MUL, &y, y, a);
    rewrite_pattern(graph, y, passes_fuse);
    assert_int_equal(graph->node_count, 3);
    graph_free(graph);

    graph = start_pattern(&x); /* a residual that broadcasts */
    kit_conv(graph, &a, x, 2, 2, 3, true);
    KIT_NODE(graph, OP_GLOBAL_AVERAGE_POOL, &y, x);
    KIT_NODE(graph, OP_ADD, &y, a, y);
    rewrite_pattern(graph, y, passes_fuse);
    assert_int_equal(graph->node_count, 3);
    graph_free(graph);

    struct error err;
    graph = start_pattern(&x); /* an output of the graph */
    kit_conv(graph, &a, x, 2, 2, 3, true);
    KIT_NODE(graph, OP_RELU, &y, a);
    kit_output(graph, a);
    kit_output(graph, y);
    succeed(graph_infer_shapes(graph, DIM_ANY, &err), &err);
    succeed(passes_fuse(graph, &err), &err);
    assert_int_equal(graph->node_count, 2);
    graph_free(graph);
}

static void test_every_activation_fuses(void **state)
{
    static const enum op ops[] = {OP_RELU,         OP_LEAKY_RELU, OP_CLIP, OP_SIGMOID,
                                  OP_HARD_SIGMOID, OP_HARD_SWISH, OP_SWISH};
    int x, y;

    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        struct graph *graph = start_pattern(&x);
        kit_conv(graph, &y, x, 2, 2, 3, true);
        struct node *node = KIT_NODE(graph, ops[i], &y, y);
        if (ops[i] == OP_CLIP) {
            node->u.clip.low = -0.25f;
            node->u.clip.high = 0.5f;
        } else {
            node->u.scalar.alpha = 0.3f;
            node->u.scalar.beta = 0.4f;
        }
        rewrite_pattern(graph, y, passes_fuse);
        assert_int_not_equal(graph->nodes[0].fused.activation, ACTIVATION_NONE);
        expect_ops(graph, 1, OP_CONV);
    }
}

/* MatMul, Add, batch norm, activation behind a classifier: one Gemm. */
static void test_gemm_takes_all(void **state)
{
    struct graph *graph = kit_graph();
    int y = kit_input(graph, SHAPE(DIM_ANY, 3));
    static const float weights[12] = {1, -2, 3, 4, 0.5f, 6, -7, 8, 9, 1, 2, 3};

    (void)state;
    KIT_NODE(graph, OP_MATMUL, &y, y, kit_f32(graph, SHAPE(3, 4), weights));
    KIT_NODE(graph, OP_ADD, &y, y, kit_f32(graph, SHAPE(4), weights));
    add_norm(graph, &y, 4);
    KIT_NODE(graph, OP_RELU, &y, y);
    rewrite_pattern(graph, y, passes_optimise);
    assert_int_equal(graph->nodes[0].fused.activation, ACTIVATION_RELU);
    expect_ops(graph, 1, OP_GEMM);
}

static void test_optimising_twice_changes_nothing(void **state)
{
    struct error err;

    (void)state;
    for (uint64_t seed = 500; seed < 550; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct graph *graph = random_graph(&rng);
        succeed(passes_optimise(graph, &err), &err);
        char *once = graph_text(graph);
        succeed(passes_optimise(graph, &err), &err);
        char *twice = graph_text(graph);
        assert_string_equal(once, twice);
        free(once);
        free(twice);
        graph_free(graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs_keep_their_function),
        cmocka_unit_test(test_architectures_keep_their_function),
        cmocka_unit_test(test_gates_become_swish),
        cmocka_unit_test(test_written_hard_swish),
        cmocka_unit_test(test_means_become_pools),
        cmocka_unit_test(test_reshape_targets_take_any_batch),
        cmocka_unit_test(test_constants_fold),
        cmocka_unit_test(test_casts_of_constants_fold),
        cmocka_unit_test(test_pads_merge),
        cmocka_unit_test(test_batch_norms_fold),
        cmocka_unit_test(test_shared_weights_are_not_spoilt),
        cmocka_unit_test(test_residuals_fuse),
        cmocka_unit_test(test_what_must_not_fuse),
        cmocka_unit_test(test_every_activation_fuses),
        cmocka_unit_test(test_gemm_takes_all),
        cmocka_unit_test(test_optimising_twice_changes_nothing),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
