/* See compare.h. */
#include "compare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "kit.h"
#include "nn/graph/reference.h"
#include "random_graph.h"

struct engine *make_engine(const struct graph *graph, enum precision precision, int batch_max)
{
    struct error err;
    struct engine *engine = NULL;

    succeed(engine_create(graph, &(struct engine_options){precision, batch_max}, &engine, &err),
            &err);
    return engine;
}

struct engine_session *make_session(struct engine *engine, int threads)
{
    struct error err;
    struct engine_session *session = NULL;

    succeed(engine_session_create(engine, threads, &session, &err), &err);
    return session;
}

double session_difference(struct engine_session *session, const struct tensor *input,
                          const struct tensor *expected)
{
    struct error err;
    struct tensor *output;
    double difference;

    succeed(tensor_create(DTYPE_F32, &expected->shape, &output, &err), &err);
    succeed(engine_run(session, (int)input->shape.dims[0], input->data, output->data, &err), &err);
    difference = relative_difference(expected, output);
    tensor_free(output);
    return difference;
}

static void show_plan(struct engine_session *session, int batch)
{
    char *text = engine_plan_text(session, batch, NULL);

    if (text != NULL)
        print_error("%s\n", text);
    free(text);
}

double engine_difference(struct graph *graph, struct rng *rng, enum precision precision, int batch,
                         int threads)
{
    struct error err;
    struct engine *engine = make_engine(graph, precision, batch);
    struct engine_session *session = make_session(engine, threads);
    struct tensor *input, *expected = NULL;
    double difference;

    succeed(graph_infer_shapes(graph, DIM_ANY, &err), &err);
    input = random_input(rng, graph, batch);
    succeed(reference_run(graph, input, &expected, &err), &err);
    difference = session_difference(session, input, expected);
    if (difference > (precision == PRECISION_FP32 ? TOLERANCE_FP32 : TOLERANCE_BF16))
        show_plan(session, batch);
    tensor_free(input);
    tensor_free(expected);
    engine_session_free(session);
    engine_free(engine);
    return difference;
}

void check_engine(struct graph *graph, struct rng *rng, int batch, const char *what)
{
    double fp32 = engine_difference(graph, rng, PRECISION_FP32, batch, 1);
    double bf16 = engine_difference(graph, rng, PRECISION_BF16, batch, 1);

    /* Written so that a NaN fails. */
    if (!(fp32 <= TOLERANCE_FP32) || !(bf16 <= TOLERANCE_BF16))
        fail_msg("%s, batch %d: differs by %g in fp32, by %g in bf16", what, batch, fp32, bf16);
}
