/* The three architectures with random batch norms: the engine against the reference at 32x32, one
 * at 224x224, and what their plans must and must not contain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "kit.h"
#include "nn/arch/arch.h"
#include "nn/graph/reference.h"
#include "random_graph.h"

static struct graph *build(const char *name, int input)
{
    struct error err;
    struct rng rng;
    struct graph *graph = NULL;

    succeed(arch_build(name, &(struct arch_options){10, input, 11}, &graph, &err), &err);
    rng_seed(&rng, 12);
    randomise_batch_norms(&rng, graph);
    return graph;
}

/* Rounding to bf16 at each of fifty layers and more adds up: the tolerance is wider than a single
 * operator's, and says that nothing is wrong, not that answers agree (models/ checks that). */
static double tolerance_of(enum precision precision)
{
    return precision == PRECISION_FP32 ? 1e-4 : 0.15;
}

/* All images at once, and the first alone, against the reference's one run of all. */
static void check_network(const char *name, int size, int batch)
{
    static const enum precision precisions[] = {PRECISION_FP32, PRECISION_BF16};
    struct error err;
    struct rng rng;
    struct graph *graph = build(name, size);
    struct tensor *images, first_image, *expected = NULL, first_expected;

    rng_seed(&rng, 13);
    succeed(graph_infer_shapes(graph, DIM_ANY, &err), &err);
    images = random_input(&rng, graph, batch);
    succeed(reference_run(graph, images, &expected, &err), &err);
    first_image = *images;
    first_image.shape.dims[0] = 1;
    first_expected = *expected;
    first_expected.shape.dims[0] = 1;
    for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++) {
        struct engine *engine = make_engine(graph, precisions[p], batch);
        struct engine_session *session = make_session(engine, 1);
        double all = session_difference(session, images, expected);
        double alone = session_difference(session, &first_image, &first_expected);
        if (!(all <= tolerance_of(precisions[p])) || !(alone <= tolerance_of(precisions[p])))
            fail_msg("%s at %d in %s: %d images differ by %g, one by %g", name, size,
                     precision_name(precisions[p]), batch, all, alone);
        engine_session_free(session);
        engine_free(engine);
    }
    tensor_free(images);
    tensor_free(expected);
    graph_free(graph);
}

static void check_small_images(void **state)
{
    (void)state;
    for (int i = 0; arch_name(i) != NULL; i++)
        check_network(arch_name(i), 32, 3);
}

static void check_full_size(void **state)
{
    (void)state;
    check_network("mobilenetv2", 224, 1);
}

/* Nothing of the library's reference code, nothing of ours. */
static void check_plan(const char *name, int input, enum precision precision)
{
    struct graph *graph = build(name, input);
    struct engine *engine = make_engine(graph, precision, 4);
    struct engine_session *session = make_session(engine, 1);
    struct error err;

    for (int n = 1; n <= 4; n *= 4) {
        char *text = engine_plan_text(session, n, &err);
        assert_non_null(text);
        assert_non_null(strstr(text, precision_name(precision)));
        assert_non_null(strstr(text, "conv"));
        if (strstr(text, "ref:") != NULL || strstr(text, "plain loops") != NULL)
            fail_msg("%s at %d runs reference code:\n%s", name, input, text);
        free(text);
    }
    engine_session_free(session);
    engine_free(engine);
    graph_free(graph);
}

static void check_plans(void **state)
{
    (void)state;
    for (int i = 0; arch_name(i) != NULL; i++) {
        check_plan(arch_name(i), 32, PRECISION_FP32);
        check_plan(arch_name(i), 224, PRECISION_FP32);
        if (precision_bf16_native()) {
            check_plan(arch_name(i), 32, PRECISION_BF16);
            check_plan(arch_name(i), 224, PRECISION_BF16);
        }
    }
}

/* The weights are held once: in bf16 that is about two bytes a parameter. */
static void check_memory(void **state)
{
    struct graph *graph = build("efficientnet_b0", 32);
    int64_t parameters = graph_parameters(graph);
    struct engine *engine;

    (void)state;
    if (precision_bf16_native()) {
        engine = make_engine(graph, PRECISION_BF16, 1);
        assert_true(engine_memory(engine) < (size_t)parameters * 4);
        engine_free(engine);
    }
    engine = make_engine(graph, PRECISION_FP32, 1);
    assert_true(engine_memory(engine) < (size_t)parameters * 6);
    engine_free(engine);
    graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_small_images),
        cmocka_unit_test(check_full_size),
        cmocka_unit_test(check_plans),
        cmocka_unit_test(check_memory),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
