/* The trainer as a whole: it learns, repeats itself, goes on where it stopped, and says no. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../graph/kit.h"
#include "../graph/random_graph.h"
#include "base/file.h"
#include "gradient_check.h"
#include "nn/arch/arch.h"
#include "nn/graph/reference.h"

enum { BATCH = 8, SIDE = 8, CLASSES = 4 };

/* A convolution, a residual block with squeeze-and-excite, dropout, a classifier. */
static struct graph *small_network(uint64_t seed, float dropout)
{
    struct graph *graph = kit_graph();
    struct rng rng;
    struct error err = {0};
    int x = kit_input(graph, SHAPE(DIM_ANY, 3, SIDE, SIDE));

    rng_seed(&rng, seed);
    kit_conv(graph, &x, x, 3, 16, 3, false);
    int scale = kit_f32(graph, SHAPE(16), NULL), bias = kit_f32(graph, SHAPE(16), NULL);
    int mean = kit_f32(graph, SHAPE(16), NULL), variance = kit_f32(graph, SHAPE(16), NULL);
    struct node *node = KIT_NODE(graph, OP_BATCH_NORM, &x, x, scale, bias, mean, variance);
    node->u.batch_norm.epsilon = 1e-3f;
    node->u.batch_norm.momentum = 0.9f;
    KIT_NODE(graph, OP_SWISH, &x, x);
    int trunk = x, gate;
    KIT_NODE(graph, OP_GLOBAL_AVERAGE_POOL, &gate, x);
    kit_conv(graph, &gate, gate, 16, 16, 1, true);
    KIT_NODE(graph, OP_SIGMOID, &gate, gate);
    KIT_NODE(graph, OP_MUL, &x, x, gate);
    kit_conv(graph, &x, x, 16, 16, 3, false);
    KIT_NODE(graph, OP_ADD, &x, x, trunk);
    KIT_NODE(graph, OP_RELU, &x, x);
    KIT_NODE(graph, OP_GLOBAL_AVERAGE_POOL, &x, x);
    KIT_NODE(graph, OP_FLATTEN, &x, x)->u.axis.axis = 1;
    KIT_NODE(graph, OP_DROPOUT, &x, x)->u.dropout.ratio = dropout;
    int weights = kit_f32(graph, SHAPE(CLASSES, 16), NULL);
    int offsets = kit_f32(graph, SHAPE(CLASSES), NULL);
    node = KIT_NODE(graph, OP_GEMM, &x, x, weights, offsets);
    node->u.gemm = (struct gemm_attributes){1, 1, false, true};
    kit_output(graph, x);
    randomise_batch_norms(&rng, graph);
    float *classifier = graph->values[weights].constant->data;
    for (int i = 0; i < CLASSES * 16; i++)
        classifier[i] = (float)(0.1 * rng_normal(&rng));
    succeed(graph_infer_shapes(graph, DIM_ANY, &err), &err);
    return graph;
}

struct set {
    float input[BATCH * 3 * SIDE * SIDE];
    int32_t labels[BATCH];
};

static void make_set(struct set *set, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < sizeof set->input / sizeof *set->input; i++)
        set->input[i] = (float)rng_normal(&rng);
    for (int i = 0; i < BATCH; i++)
        set->labels[i] = (int32_t)rng_below(&rng, CLASSES);
}

static struct trainer_options usual_options(enum precision precision)
{
    return (struct trainer_options){
        .batch = BATCH,
        .threads = 1,
        .precision = precision,
        .momentum = 0.9f,
        .weight_decay = 5e-4f,
        .ema_decay = 0.9f,
        .seed = 5,
    };
}

static struct trainer *make_trainer(const struct graph *graph,
                                    const struct trainer_options *options)
{
    struct trainer *trainer;
    struct error err = {0};
    succeed(trainer_create(graph, options, &trainer, &err), &err);
    return trainer;
}

static double steps(struct trainer *trainer, int first, int count)
{
    struct trainer_step_result result = {0};
    struct error err = {0};
    for (int i = first; i < first + count; i++) {
        struct set set;
        make_set(&set, (uint64_t)i % 2);
        succeed(trainer_step(trainer, set.input, set.labels, 0.05f, &result, &err), &err);
    }
    return result.loss;
}

/* ---- learning ---- */

static void overfits(enum precision precision)
{
    const struct trainer_options options = usual_options(precision);
    struct graph *graph = small_network(1, 0);
    struct trainer *trainer = make_trainer(graph, &options);
    struct trainer_step_result result = {0};
    struct error err = {0};
    struct set set;
    float logits[BATCH * CLASSES];
    int correct = 0;

    make_set(&set, 3);
    for (int i = 0; i < 150; i++)
        succeed(trainer_step(trainer, set.input, set.labels, 0.05f, &result, &err), &err);
    assert_int_equal(result.correct, BATCH);
    assert_true(result.loss < 0.05);
    succeed(trainer_evaluate(trainer, true, set.input, BATCH, logits, &err), &err);
    for (int i = 0; i < BATCH; i++) {
        int best = 0;
        for (int c = 1; c < CLASSES; c++)
            if (logits[i * CLASSES + c] > logits[i * CLASSES + best])
                best = c;
        correct += best == set.labels[i];
    }
    assert_int_equal(correct, BATCH);
    trainer_free(trainer);
    graph_free(graph);
}

static void test_overfits_a_small_set(void **state)
{
    (void)state;
    overfits(PRECISION_FP32);
}

static void test_overfits_in_bf16(void **state)
{
    (void)state;
    if (!precision_bf16_native())
        skip();
    overfits(PRECISION_BF16);
}

static void test_bf16_gradients_are_near_those_of_fp32(void **state)
{
    struct graph *graph = small_network(2, 0), *gradients[2];
    struct error err = {0};
    struct set set;
    struct tensor *input;
    const struct shape shape = SHAPE(BATCH, 3, SIDE, SIDE);
    (void)state;

    if (!precision_bf16_native()) {
        graph_free(graph);
        skip();
    }
    make_set(&set, 4);
    succeed(tensor_create(DTYPE_F32, &shape, &input, &err), &err);
    memcpy(input->data, set.input, sizeof set.input);
    for (int i = 0; i < 2; i++) {
        struct trainer_options options =
            plain_options(BATCH, i == 0 ? PRECISION_FP32 : PRECISION_BF16);
        gradients[i] = step_gradients(graph, &options, input, set.labels, NULL);
    }
    for (int v = 0; v < graph->value_count; v++) {
        const struct tensor *a = gradients[0]->values[v].constant;
        const struct tensor *b = gradients[1]->values[v].constant;
        double dot = 0, aa = 0, bb = 0;
        if (a == NULL || graph->values[v].shape.rank == 1)
            continue;
        for (int64_t i = 0; i < shape_elements(&a->shape); i++) {
            double x = ((const float *)a->data)[i], y = ((const float *)b->data)[i];
            dot += x * y;
            aa += x * x;
            bb += y * y;
        }
        if (dot < 0.99 * sqrt(aa * bb))
            fail_msg("gradients of %s: cosine %g", graph->values[v].name, dot / sqrt(aa * bb));
    }
    graph_free(gradients[0]);
    graph_free(gradients[1]);
    tensor_free(input);
    graph_free(graph);
}

/* ---- repeating, and going on ---- */

static void same_weights(const struct trainer *a, const struct trainer *b)
{
    struct error err = {0};
    for (int averaged = 0; averaged < 2; averaged++) {
        struct graph *graphs[2];
        succeed(trainer_graph(a, averaged == 1, &graphs[0], &err), &err);
        succeed(trainer_graph(b, averaged == 1, &graphs[1], &err), &err);
        for (int v = 0; v < graphs[0]->value_count; v++) {
            const struct tensor *x = graphs[0]->values[v].constant;
            if (x != NULL)
                assert_memory_equal(x->data, graphs[1]->values[v].constant->data, x->size);
        }
        graph_free(graphs[0]);
        graph_free(graphs[1]);
    }
}

static void test_same_seed_same_weights(void **state)
{
    struct trainer_options options = usual_options(PRECISION_AUTO);
    struct graph *graph = small_network(3, 0.5f);
    struct trainer *a = make_trainer(graph, &options), *b = make_trainer(graph, &options);
    (void)state;

    steps(a, 0, 6);
    steps(b, 0, 6);
    same_weights(a, b);
    trainer_free(b);
    options.seed++;
    b = make_trainer(graph, &options);
    assert_true(steps(a, 6, 1) != steps(b, 0, 7)); /* something else was dropped */
    trainer_free(a);
    trainer_free(b);
    graph_free(graph);
}

static void temporary_path(char path[64])
{
    snprintf(path, 64, "/tmp/ocelli-trainer-%ld.bin", (long)getpid());
}

static void test_resumes_bit_for_bit(void **state)
{
    const struct trainer_options options = usual_options(PRECISION_AUTO);
    struct graph *graph = small_network(4, 0.5f), *other = small_network(5, 0.5f);
    struct trainer *straight = make_trainer(graph, &options);
    struct trainer *resumed = make_trainer(other, &options);
    struct error err = {0};
    char path[64];
    (void)state;

    temporary_path(path);
    steps(straight, 0, 3);
    succeed(trainer_save(straight, path, &err), &err);
    steps(straight, 3, 4);
    steps(resumed, 0, 1); /* to be forgotten */
    succeed(trainer_load(resumed, path, &err), &err);
    assert_int_equal(trainer_steps(resumed), 3);
    steps(resumed, 3, 4);
    same_weights(straight, resumed);
    unlink(path);
    trainer_free(straight);
    trainer_free(resumed);
    graph_free(graph);
    graph_free(other);
}

static void test_refuses_damaged_checkpoints(void **state)
{
    const struct trainer_options options = usual_options(PRECISION_FP32);
    const struct arch_options arch = {.classes = 4, .input = 32, .seed = 1};
    struct graph *graph = small_network(4, 0), *large;
    struct trainer *trainer = make_trainer(graph, &options), *different;
    struct error err = {0};
    char path[64];
    uint8_t *bytes;
    size_t size;
    (void)state;

    temporary_path(path);
    succeed(trainer_save(trainer, path, &err), &err);
    succeed(arch_build("mobilenetv2", &arch, &large, &err), &err);
    different = make_trainer(large, &options);
    assert_int_equal(trainer_load(different, path, &err), STATUS_INVALID);
    succeed(file_read(path, 1 << 24, &bytes, &size, &err), &err);
    succeed(file_write_atomic(path, bytes, size - 4, false, &err), &err);
    assert_int_equal(trainer_load(trainer, path, &err), STATUS_CORRUPT);
    for (size_t at = 0; at < size; at += size / 40) {
        bytes[at] ^= 0x20;
        succeed(file_write_atomic(path, bytes, size, false, &err), &err);
        assert_int_not_equal(trainer_load(trainer, path, &err), STATUS_OK);
        bytes[at] ^= 0x20;
    }
    succeed(file_write_atomic(path, bytes, size, false, &err), &err);
    succeed(trainer_load(trainer, path, &err), &err);
    free(bytes);
    unlink(path);
    trainer_free(trainer);
    trainer_free(different);
    graph_free(graph);
    graph_free(large);
}

/* ---- scoring ---- */

static void test_evaluates_as_the_reference_runs(void **state)
{
    const struct trainer_options options = usual_options(PRECISION_FP32);
    struct graph *graph = small_network(6, 0.5f);
    struct trainer *trainer = make_trainer(graph, &options);
    struct error err = {0};
    struct set set;
    float logits[BATCH * CLASSES];
    (void)state;

    make_set(&set, 9);
    for (int round = 0; round < 4; round++) {
        bool averaged = round % 2 == 1;
        int n = round < 2 ? BATCH : 3; /* a part of a batch, too */
        const struct shape shape = SHAPE(n, 3, SIDE, SIDE);
        struct tensor *input, *expected;
        struct graph *trained;

        steps(trainer, 0, 2);
        succeed(trainer_graph(trainer, averaged, &trained, &err), &err);
        succeed(tensor_create(DTYPE_F32, &shape, &input, &err), &err);
        memcpy(input->data, set.input, input->size);
        succeed(reference_run(trained, input, &expected, &err), &err);
        succeed(trainer_evaluate(trainer, averaged, set.input, n, logits, &err), &err);
        for (int i = 0; i < n * CLASSES; i++)
            assert_float_equal(logits[i], ((const float *)expected->data)[i], 1e-3);
        tensor_free(input);
        tensor_free(expected);
        graph_free(trained);
    }
    trainer_free(trainer);
    graph_free(graph);
}

static void test_resizes(void **state)
{
    const struct trainer_options options = usual_options(PRECISION_FP32);
    struct graph *graph = small_network(7, 0);
    struct trainer *trainer = make_trainer(graph, &options);
    struct trainer_step_result result;
    struct error err = {0};
    struct set set;
    (void)state;

    make_set(&set, 1);
    succeed(trainer_resize(trainer, 6, 6, &err), &err);
    succeed(trainer_step(trainer, set.input, set.labels, 0.01f, &result, &err), &err);
    succeed(trainer_resize(trainer, SIDE, SIDE, &err), &err);
    succeed(trainer_step(trainer, set.input, set.labels, 0.01f, &result, &err), &err);
    assert_int_equal(trainer_steps(trainer), 2);
    trainer_free(trainer);
    graph_free(graph);
}

/* ---- refusing ---- */

static void test_a_loss_that_is_not_finite_changes_nothing(void **state)
{
    const struct trainer_options options = usual_options(PRECISION_FP32);
    struct graph *graph = small_network(8, 0);
    struct trainer *trainer = make_trainer(graph, &options);
    struct trainer *untouched = make_trainer(graph, &options);
    struct trainer_step_result result;
    struct error err = {0};
    struct set set;
    (void)state;

    make_set(&set, 1);
    set.input[5] = INFINITY;
    assert_int_equal(trainer_step(trainer, set.input, set.labels, 0.1f, &result, &err),
                     STATUS_CORRUPT);
    same_weights(trainer, untouched);
    set.input[5] = 0;
    set.labels[2] = CLASSES;
    assert_int_equal(trainer_step(trainer, set.input, set.labels, 0.1f, &result, &err),
                     STATUS_INVALID);
    trainer_free(trainer);
    trainer_free(untouched);
    graph_free(graph);
}

static void test_names_what_it_cannot_train(void **state)
{
    const struct trainer_options options = usual_options(PRECISION_FP32);
    struct graph *graph = kit_graph();
    struct trainer *trainer;
    struct error err = {0};
    int x = kit_input(graph, SHAPE(DIM_ANY, 3, SIDE, SIDE));
    (void)state;

    kit_conv(graph, &x, x, 3, 4, 3, false);
    KIT_NODE(graph, OP_TANH, &x, x);
    kit_output(graph, x);
    succeed(graph_infer_shapes(graph, DIM_ANY, &err), &err);
    assert_int_equal(trainer_create(graph, &options, &trainer, &err), STATUS_UNSUPPORTED);
    assert_non_null(strstr(err.message, "Tanh"));
    graph_free(graph);
}

/* Threads change the order of sums, nothing else. */
static void test_two_threads_find_the_same(void **state)
{
#if defined(__SANITIZE_THREAD__)
    (void)state;
    print_message("# libgomp is not instrumented: its teams look like races\n");
    skip();
#endif
    struct trainer_options options = usual_options(PRECISION_FP32);
    struct graph *graph = small_network(9, 0);
    struct trainer *one = make_trainer(graph, &options);
    options.threads = 2;
    struct trainer *two = make_trainer(graph, &options);
    (void)state;

    for (int i = 0; i < 3; i++)
        assert_float_equal(steps(one, i, 1), steps(two, i, 1), 1e-3);
    trainer_free(one);
    trainer_free(two);
    graph_free(graph);
}

/* Where the CPU computes in bf16, no layer of the three networks falls to oneDNN's slow path. */
static void test_no_layer_is_computed_by_a_slow_path(void **state)
{
    (void)state;
    if (!precision_bf16_native())
        skip();
    for (int i = 0; arch_name(i) != NULL; i++) {
        const struct arch_options arch = {.classes = 10, .input = 32, .seed = 1};
        struct trainer_options options = usual_options(PRECISION_BF16);
        struct graph *graph;
        struct error err = {0};
        succeed(arch_build(arch_name(i), &arch, &graph, &err), &err);
        struct trainer *trainer = make_trainer(graph, &options);
        char *text = trainer_text(trainer);
        assert_non_null(text);
        if (strstr(text, "ref:") != NULL || strstr(text, "gemm:") != NULL)
            fail_msg("%s:\n%s", arch_name(i), text);
        free(text);
        trainer_free(trainer);
        graph_free(graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overfits_a_small_set),
        cmocka_unit_test(test_overfits_in_bf16),
        cmocka_unit_test(test_bf16_gradients_are_near_those_of_fp32),
        cmocka_unit_test(test_same_seed_same_weights),
        cmocka_unit_test(test_resumes_bit_for_bit),
        cmocka_unit_test(test_refuses_damaged_checkpoints),
        cmocka_unit_test(test_evaluates_as_the_reference_runs),
        cmocka_unit_test(test_resizes),
        cmocka_unit_test(test_a_loss_that_is_not_finite_changes_nothing),
        cmocka_unit_test(test_names_what_it_cannot_train),
        cmocka_unit_test(test_two_threads_find_the_same),
        cmocka_unit_test(test_no_layer_is_computed_by_a_slow_path),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
