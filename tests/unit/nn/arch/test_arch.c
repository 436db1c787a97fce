/* The built-in architectures: sizes as published, the small-image variants, initial weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn/arch/arch.h"

static struct graph *build(const char *name, int classes, int input, uint64_t seed)
{
    const struct arch_options options = {.classes = classes, .input = input, .seed = seed};
    struct error err = {0};
    struct graph *graph = NULL;

    if (arch_build(name, &options, &graph, &err) != STATUS_OK)
        fail_msg("%s: %s", name, err.message);
    return graph;
}

/* Everything but the running statistics of the batch norms. */
static int64_t trained_parameters(const struct graph *graph)
{
    int64_t count = graph_parameters(graph);

    for (int i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        if (node->op == OP_BATCH_NORM)
            count -= shape_elements(&graph->values[node->inputs[3]].shape) +
                     shape_elements(&graph->values[node->inputs[4]].shape);
    }
    return count;
}

static const struct {
    const char *name;
    int64_t parameters;
    double macs_min, macs_max;             /* at 224, in units of 10^9 */
    double small_macs_min, small_macs_max; /* at 32 */
    int small_size;                        /* of the last feature map at 32 */
} published[] = {
    {"resnet50", 25557032, 4.0885, 4.0895, 0.32, 0.345, 2},
    {"mobilenetv2", 3504872, 0.3005, 0.3015, 0.085, 0.095, 4},
    {"efficientnet_b0", 5288548, 0.385, 0.391, 0.11, 0.14, 4},
};

enum { PUBLISHED_COUNT = sizeof published / sizeof *published };

static void test_sizes_are_as_published(void **state)
{
    (void)state;
    for (int i = 0; i < PUBLISHED_COUNT; i++) {
        struct graph *graph = build(published[i].name, 1000, 224, 1);
        const double macs = (double)graph_macs(graph) / 1e9;
        char text[64];
        print_message("# %s at 224: %" PRId64 " parameters, %.4f GMAC\n", published[i].name,
                      trained_parameters(graph), macs);
        assert_int_equal(trained_parameters(graph), published[i].parameters);
        assert_true(macs > published[i].macs_min && macs < published[i].macs_max);
        assert_int_equal(graph->output_count, 1);
        assert_string_equal(shape_text(&graph->values[graph->outputs[0]].shape, text, sizeof text),
                            "[?, 1000]");
        graph_free(graph);
    }
}

/* The input of the last global pool: the final feature map. */
static const struct shape *final_features(const struct graph *graph)
{
    const struct shape *shape = NULL;

    for (int i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op == OP_GLOBAL_AVERAGE_POOL)
            shape = &graph->values[graph->nodes[i].inputs[0]].shape;
    return shape;
}

static void test_small_variants(void **state)
{
    (void)state;
    for (int i = 0; i < PUBLISHED_COUNT; i++) {
        struct graph *graph = build(published[i].name, 10, 32, 1);
        const double macs = (double)graph_macs(graph) / 1e9;
        print_message("# %s at 32: %" PRId64 " parameters, %.4f GMAC\n", published[i].name,
                      trained_parameters(graph), macs);
        assert_true(macs > published[i].small_macs_min && macs < published[i].small_macs_max);
        assert_int_equal(final_features(graph)->dims[2], published[i].small_size);
        assert_int_equal(final_features(graph)->dims[3], published[i].small_size);
        graph_free(graph);
    }
}

static void test_published_form_begins_at_64(void **state)
{
    (void)state;
    for (int i = 0; i < PUBLISHED_COUNT; i++) {
        struct graph *graph = build(published[i].name, 10, 64, 1);
        assert_int_equal(final_features(graph)->dims[2], 2);
        graph_free(graph);
        graph = build(published[i].name, 10, 8, 1);
        assert_int_equal(final_features(graph)->dims[2], 1);
        graph_free(graph);
    }
}

static void test_weights_follow_the_seed(void **state)
{
    (void)state;
    for (int i = 0; i < PUBLISHED_COUNT; i++) {
        struct graph *a = build(published[i].name, 10, 32, 7);
        struct graph *b = build(published[i].name, 10, 32, 7);
        struct graph *c = build(published[i].name, 10, 32, 8);
        int differing = 0;
        assert_int_equal(a->value_count, b->value_count);
        for (int j = 0; j < a->value_count; j++) {
            const struct tensor *tensor = a->values[j].constant;
            if (tensor == NULL)
                continue;
            assert_memory_equal(tensor->data, b->values[j].constant->data, tensor->size);
            differing += memcmp(tensor->data, c->values[j].constant->data, tensor->size) != 0;
        }
        assert_true(differing > 50);
        graph_free(a);
        graph_free(b);
        graph_free(c);
    }
}

static double deviation(const struct tensor *tensor)
{
    const int64_t count = shape_elements(&tensor->shape);
    const float *data = tensor->data;
    double sum = 0, squares = 0;

    for (int64_t i = 0; i < count; i++) {
        sum += data[i];
        squares += (double)data[i] * data[i];
    }
    return sqrt(squares / (double)count - pow(sum / (double)count, 2));
}

static void test_weights_have_the_right_spread(void **state)
{
    (void)state;
    for (int i = 0; i < PUBLISHED_COUNT; i++) {
        struct graph *graph = build(published[i].name, 100, 32, 3);
        for (int j = 0; j < graph->node_count; j++) {
            const struct node *node = &graph->nodes[j];
            if (node->op != OP_CONV && node->op != OP_GEMM)
                continue;
            const struct tensor *w = graph->values[node->inputs[1]].constant;
            const double count = (double)shape_elements(&w->shape);
            const int64_t *dims = w->shape.dims;
            const double wanted =
                node->op == OP_GEMM
                    ? 0.01
                    : sqrt(2.0 * node->u.conv.groups / (double)(dims[0] * dims[2] * dims[3]));
            /* The relative error of a sample deviation is about 1/sqrt(2 count); 6 of these. */
            if (fabs(deviation(w) / wanted - 1) > 6 / sqrt(2 * count))
                fail_msg("%s: deviation %g, not %g", node->name, deviation(w), wanted);
        }
        graph_free(graph);
    }
}

static void test_residual_branches_start_at_zero(void **state)
{
    (void)state;
    static const int inputs[] = {32, 224};
    for (int i = 0; i < 2; i++) {
        struct graph *graph = build("resnet50", 10, inputs[i], 3);
        int zeros = 0;
        for (int j = 0; j < graph->node_count; j++) {
            const struct node *node = &graph->nodes[j];
            if (node->op != OP_BATCH_NORM)
                continue;
            const float scale = *(float *)graph->values[node->inputs[1]].constant->data;
            assert_true(scale == (strstr(node->name, "expand") != NULL ? 0.0f : 1.0f));
            zeros += scale == 0.0f;
        }
        assert_int_equal(zeros, 16);
        graph_free(graph);
    }
}

static void test_batch_norm_constants(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int input;
        float epsilon, momentum;
    } wanted[] = {
        {"resnet50", 224, 1e-5f, 0.9f},
        {"mobilenetv2", 32, 1e-5f, 0.9f},
        {"efficientnet_b0", 224, 1e-3f, 0.99f},
        {"efficientnet_b0", 32, 1e-3f, 0.9f},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct graph *graph = build(wanted[i].name, 10, wanted[i].input, 3);
        for (int j = 0; j < graph->node_count; j++) {
            if (graph->nodes[j].op != OP_BATCH_NORM)
                continue;
            assert_true(graph->nodes[j].u.batch_norm.epsilon == wanted[i].epsilon);
            assert_true(graph->nodes[j].u.batch_norm.momentum == wanted[i].momentum);
        }
        graph_free(graph);
    }
}

static void test_bad_requests_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct arch_options options;
        int status;
    } bad[] = {
        {"vgg16", {10, 32, 1}, STATUS_NOT_FOUND},       {"resnet50", {0, 32, 1}, STATUS_INVALID},
        {"resnet50", {100001, 32, 1}, STATUS_INVALID},  {"mobilenetv2", {10, 7, 1}, STATUS_INVALID},
        {"mobilenetv2", {10, 1025, 1}, STATUS_INVALID},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        struct graph *graph;
        assert_int_equal(arch_build(bad[i].name, &bad[i].options, &graph, &err), bad[i].status);
        assert_int_equal(err.code, bad[i].status);
    }
    struct error err = {0};
    struct graph *graph;
    arch_build("vgg16", &bad[0].options, &graph, &err);
    for (int i = 0; arch_name(i) != NULL; i++)
        assert_non_null(strstr(err.message, arch_name(i)));
    assert_null(arch_name(-1));
    assert_null(arch_name(PUBLISHED_COUNT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_are_as_published),
        cmocka_unit_test(test_small_variants),
        cmocka_unit_test(test_published_form_begins_at_64),
        cmocka_unit_test(test_weights_follow_the_seed),
        cmocka_unit_test(test_weights_have_the_right_spread),
        cmocka_unit_test(test_residual_branches_start_at_zero),
        cmocka_unit_test(test_batch_norm_constants),
        cmocka_unit_test(test_bad_requests_are_refused),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
