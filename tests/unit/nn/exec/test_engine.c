/* The engine as its callers see it: random networks, batches, options, plans, threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "kit.h"
#include "nn/arch/arch.h"
#include "nn/graph/reference.h"
#include "random_graph.h"

static void check_random_networks(void **state)
{
    struct rng rng;

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        char what[32];
        struct graph *graph;
        rng_seed(&rng, seed);
        graph = random_graph(&rng);
        snprintf(what, sizeof what, "network %d", (int)seed);
        check_engine(graph, &rng, 1 + (int)seed % 5, what);
        graph_free(graph);
    }
}

static struct graph *small_network(void)
{
    struct error err;
    struct graph *graph = NULL;

    succeed(arch_build("efficientnet_b0", &(struct arch_options){10, 16, 5}, &graph, &err), &err);
    return graph;
}

/* Threads of this process, by what the kernel lists. */
static int count_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    int count = 0;

    assert_non_null(folder);
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder))
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

/* Parallel over images and models outside means that inside nothing may start threads. Runs first:
 * once there is a team, it stays. */
static void check_one_thread_is_one(void **state)
{
    struct error err;
    struct graph *graph = small_network();
    struct engine *engine = make_engine(graph, PRECISION_AUTO, 4);
    struct engine_session *session = make_session(engine, 1);
    static float x[4 * 3 * 16 * 16], y[4 * 10];
    int before = omp_get_max_threads();

    (void)state;
    omp_set_num_threads(3);
    succeed(engine_run(session, 4, x, y, &err), &err);
    assert_int_equal(omp_get_max_threads(), 3);
    omp_set_num_threads(before);
    assert_int_equal(count_threads(), 1);
    engine_session_free(session);
    engine_free(engine);
    graph_free(graph);
}

static void check_two_threads(struct graph *graph, struct rng *rng, double fp32, double bf16)
{
    assert_true(engine_difference(graph, rng, PRECISION_FP32, 3, 2) <= fp32);
    assert_true(engine_difference(graph, rng, PRECISION_BF16, 3, 2) <= bf16);
    graph_free(graph);
}

static void check_threads_within(void **state)
{
    struct error err;
    struct rng rng;
    struct graph *graph = NULL;

    (void)state;
#if defined(__SANITIZE_THREAD__)
    print_message("# libgomp is not instrumented: its teams look like races\n");
    skip();
#endif
    for (uint64_t seed = 100; seed < 110; seed++) {
        rng_seed(&rng, seed);
        check_two_threads(random_graph(&rng), &rng, TOLERANCE_FP32, TOLERANCE_BF16);
    }
    /* Large enough that our own kernels are split, too. */
    succeed(arch_build("efficientnet_b0", &(struct arch_options){10, 64, 5}, &graph, &err), &err);
    randomise_batch_norms(&rng, graph);
    check_two_threads(graph, &rng, 1e-4, 0.15);
}

/* A batch gives what its images give one by one, wherever it is cut. */
static void check_batches(void **state)
{
    struct error err;
    struct rng rng;
    struct graph *graph = small_network();
    struct engine *engine = make_engine(graph, PRECISION_FP32, 11);
    struct engine_session *session = make_session(engine, 1);
    const int image = 3 * 16 * 16;
    struct tensor *input = random_input((rng_seed(&rng, 3), &rng), graph, 11);
    const float *images = input->data;
    float *alone = calloc(11 * 10, sizeof *alone), *together = calloc(11 * 10, sizeof *together);

    (void)state;
    assert_non_null(alone);
    assert_non_null(together);
    for (int i = 0; i < 11; i++)
        succeed(engine_run(session, 1, images + i * image, alone + 10 * i, &err), &err);
    for (int n = 1; n <= 11; n++) {
        memset(together, 0, 11 * 10 * sizeof *together);
        succeed(engine_run(session, n, images, together, &err), &err);
        for (int i = 0; i < 10 * n; i++)
            assert_true(fabsf(together[i] - alone[i]) <= 1e-5f * (1e-6f + fabsf(alone[i])) + 1e-9f);
        for (int i = 10 * n; i < 110; i++)
            assert_true(together[i] == 0.0f);
    }
    free(alone);
    free(together);
    tensor_free(input);
    engine_session_free(session);
    engine_free(engine);
    graph_free(graph);
}

/* A network whose reshape says that the batch is 1. */
static void check_fixed_batch(void **state)
{
    static const int64_t target[] = {1, 48};
    struct error err;
    struct rng rng;
    struct graph *graph = kit_graph();
    int x = kit_input(graph, SHAPE(1, 3, 4, 4)), y;
    struct engine *engine;
    struct engine_session *session;
    struct tensor *images;
    float output[3 * 48];

    (void)state;
    (void)KIT_NODE(graph, OP_RELU, &y, x);
    (void)KIT_NODE(graph, OP_RESHAPE, &y, y, kit_i64(graph, SHAPE(2), target));
    kit_output(graph, y);
    engine = make_engine(graph, PRECISION_FP32, 8);
    session = make_session(engine, 1);
    rng_seed(&rng, 4);
    images = random_tensor(&rng, &SHAPE(3, 3, 4, 4), -1.0, 1.0);
    succeed(engine_run(session, 3, images->data, output, &err), &err);
    for (int i = 0; i < 3 * 48; i++)
        assert_true(output[i] == fmaxf(((const float *)images->data)[i], 0.0f));
    tensor_free(images);
    engine_session_free(session);
    engine_free(engine);
    graph_free(graph);
}

struct worker {
    struct engine *engine;
    const struct tensor *input, *expected;
    int rounds;
    double worst;
};

static void *work(void *opaque)
{
    struct worker *worker = opaque;
    int outputs = engine_outputs(worker->engine), total = (int)worker->input->shape.dims[0];
    struct engine_session *session = NULL;
    float *output = calloc((size_t)(total * outputs), sizeof *output);

    worker->worst = HUGE_VAL;
    if (output == NULL || engine_session_create(worker->engine, 1, &session, NULL) != STATUS_OK)
        goto done;
    worker->worst = 0.0;
    for (int round = 0; round < worker->rounds; round++) {
        int n = 1 + round % total;
        if (engine_run(session, n, worker->input->data, output, NULL) != STATUS_OK)
            worker->worst = HUGE_VAL;
        for (int i = 0; i < n * outputs; i++)
            worker->worst = fmax(worker->worst, fabs((double)output[i] -
                                                     ((const float *)worker->expected->data)[i]));
    }
done:
    engine_session_free(session);
    free(output);
    return NULL;
}

/* Several threads on one engine, making its plans while others run them. */
static void check_sessions_at_once(void **state)
{
    enum { WORKERS = 4 };
    static const enum precision precisions[] = {PRECISION_FP32, PRECISION_BF16};
    struct error err;
    struct rng rng;
    struct graph *graph = small_network();
    struct tensor *input, *expected = NULL;
    double magnitude = 0.0;

    (void)state;
    rng_seed(&rng, 9);
    succeed(graph_infer_shapes(graph, DIM_ANY, &err), &err);
    input = random_input(&rng, graph, 6);
    succeed(reference_run(graph, input, &expected, &err), &err);
    for (int i = 0; i < 60; i++)
        magnitude = fmax(magnitude, fabs((double)((const float *)expected->data)[i]));
    for (size_t p = 0; p < 2; p++) {
        struct engine *engine = make_engine(graph, precisions[p], 6);
        struct worker workers[WORKERS];
        pthread_t threads[WORKERS];
        for (int i = 0; i < WORKERS; i++) {
            workers[i] = (struct worker){engine, input, expected, 12, 0.0};
            assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
        }
        for (int i = 0; i < WORKERS; i++) {
            pthread_join(threads[i], NULL);
            assert_true(workers[i].worst <= (p == 0 ? 1e-4 : 6e-2) * magnitude);
        }
        engine_free(engine);
    }
    tensor_free(input);
    tensor_free(expected);
    graph_free(graph);
}

static void check_options(void **state)
{
    struct error err = {0};
    struct graph *graph = small_network();
    struct engine *engine = NULL;
    struct engine_session *session = NULL;
    struct shape shape;
    float x[3 * 16 * 16] = {0}, y[10];

    (void)state;
    assert_int_equal(
        engine_create(graph, &(struct engine_options){PRECISION_FP32, 0}, &engine, &err),
        STATUS_INVALID);
    assert_int_equal(
        engine_create(graph, &(struct engine_options){PRECISION_FP32, 257}, &engine, &err),
        STATUS_INVALID);
    engine = make_engine(graph, PRECISION_AUTO, 2);
    assert_int_equal(engine_precision(engine),
                     precision_bf16_native() ? PRECISION_BF16 : PRECISION_FP32);
    engine_input_shape(engine, &shape);
    assert_true(shape_equal(&shape, &SHAPE(3, 16, 16)));
    assert_int_equal(engine_outputs(engine), 10);
    assert_true(engine_memory(engine) > 1000000);
    assert_int_equal(engine_session_create(engine, 0, &session, &err), STATUS_INVALID);
    session = make_session(engine, 1);
    assert_int_equal(engine_run(session, 3, x, y, &err), STATUS_INVALID);
    assert_int_equal(engine_run(session, 0, x, y, &err), STATUS_INVALID);
    engine_session_free(session);
    engine_free(engine);
    graph_free(graph);
}

static void check_precision_names(void **state)
{
    struct error err;
    enum precision precision;

    (void)state;
    succeed(precision_parse("bf16", &precision, &err), &err);
    assert_int_equal(precision, PRECISION_BF16);
    succeed(precision_parse(precision_name(PRECISION_AUTO), &precision, &err), &err);
    assert_int_equal(precision, PRECISION_AUTO);
    assert_int_equal(precision_parse("fp17", &precision, &err), STATUS_INVALID);
}

/* Two outputs are refused in words; so is an input whose size is open. */
static void check_refusals(void **state)
{
    struct error err = {0};
    struct engine *engine = NULL;
    struct graph *graph = kit_graph();
    int x = kit_input(graph, SHAPE(DIM_ANY, 3, 4, 4)), y;

    (void)state;
    (void)KIT_NODE(graph, OP_RELU, &y, x);
    kit_output(graph, y);
    kit_output(graph, x);
    assert_int_equal(
        engine_create(graph, &(struct engine_options){PRECISION_FP32, 1}, &engine, &err),
        STATUS_UNSUPPORTED);
    assert_true(strlen(err.message) > 0);
    graph_free(graph);
}

static void check_softmax(void **state)
{
    float x[] = {1.0f, 2.0f, 3.0f, 1000.0f, 1000.0f, -1000.0f};

    (void)state;
    softmax_rows(x, 2, 3);
    assert_true(fabsf(x[0] - 0.09003057f) < 1e-6f);
    assert_true(fabsf(x[1] - 0.24472847f) < 1e-6f);
    assert_true(fabsf(x[2] - 0.66524096f) < 1e-6f);
    assert_true(fabsf(x[3] - 0.5f) < 1e-6f);
    assert_true(x[5] == 0.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_one_thread_is_one), cmocka_unit_test(check_random_networks),
        cmocka_unit_test(check_threads_within),    cmocka_unit_test(check_batches),
        cmocka_unit_test(check_fixed_batch),       cmocka_unit_test(check_sessions_at_once),
        cmocka_unit_test(check_options),           cmocka_unit_test(check_precision_names),
        cmocka_unit_test(check_refusals),          cmocka_unit_test(check_softmax),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
