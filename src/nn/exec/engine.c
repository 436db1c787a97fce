/* Engines: the graph optimised, weights laid out, and plans shared by all sessions. */
#include "nn/exec/engine.h"

#include <math.h>
#include <stdlib.h>

#include "nn/exec/engine_plans.h"
#include "nn/graph/passes.h"

enum {
    BATCH_LIMIT = 256,
    CHUNK_ACTIVATIONS_MAX = 16 << 20, /* bytes; half the cache of the machines measured */
};

const char *precision_name(enum precision precision)
{
    switch (precision) {
    case PRECISION_AUTO:
        return "auto";
    case PRECISION_FP32:
        return "fp32";
    case PRECISION_BF16:
        return "bf16";
    }
    return "unknown";
}

int precision_parse(const char *text, enum precision *out, struct error *err)
{
    static const enum precision all[] = {PRECISION_AUTO, PRECISION_FP32, PRECISION_BF16};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(text, precision_name(all[i])) == 0) {
            *out = all[i];
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_INVALID, "precision '%s' is none of auto, fp32, bf16", text);
}

/* What the library may use, which ONEDNN_MAX_CPU_ISA can hold below what the CPU has. Names of
 * instruction sets are sets of bits: one that includes another has its bits. */
static bool isa_includes(dnnl_cpu_isa_t wanted)
{
    return ((int)dnnl_get_effective_cpu_isa() & (int)wanted) == (int)wanted;
}

bool precision_bf16_native(void)
{
    return isa_includes(dnnl_cpu_isa_avx512_core_bf16);
}

static int blocked_lanes(void)
{
    return isa_includes(dnnl_cpu_isa_avx512_core) ? 16 : 8;
}

static int check_graph(const struct graph *graph, struct error *err)
{
    if (graph->input_count != 1 || graph->output_count != 1)
        return error_set(err, STATUS_UNSUPPORTED,
                         "a network of %d inputs and %d outputs; one of each is needed",
                         graph->input_count, graph->output_count);
    return STATUS_OK;
}

/* The sizes of one image in and out, from the shapes at batch 1. */
static int measure_graph(struct engine *engine, struct error *err)
{
    const struct graph *graph = engine->source.graph;
    const struct shape *input = &graph->values[graph->inputs[0]].shape;
    int64_t outputs = shape_elements(&graph->values[graph->outputs[0]].shape);

    if (input->rank < 2 || shape_elements(input) <= 0)
        return error_set(err, STATUS_UNSUPPORTED, "the network's input has no fixed size");
    if (outputs <= 0 || outputs > INT32_MAX)
        return error_set(err, STATUS_UNSUPPORTED, "the network's output has no fixed size");
    engine->input.rank = input->rank - 1;
    for (int d = 1; d < input->rank; d++)
        engine->input.dims[d - 1] = input->dims[d];
    engine->outputs = (int)outputs;
    return STATUS_OK;
}

static int prepare_graph(struct engine *engine, const struct graph *graph, struct error *err)
{
    int status = graph_clone(graph, &engine->source.graph, err);

    if (status == STATUS_OK)
        status = graph_infer_shapes(engine->source.graph, DIM_ANY, err);
    if (status == STATUS_OK)
        status = passes_optimise(engine->source.graph, err);
    if (status == STATUS_OK)
        status = graph_infer_shapes(engine->source.graph, 1, err);
    return status == STATUS_OK ? measure_graph(engine, err) : status;
}

/* Some networks were exported with the batch written into a reshape: they run one image at a time.
 */
static bool takes_batches(struct engine *engine)
{
    struct graph *graph = engine->source.graph;
    const struct shape *output = &graph->values[graph->outputs[0]].shape;

    return graph_infer_shapes(graph, 2, NULL) == STATUS_OK && output->rank >= 1 &&
           output->dims[0] == 2 && shape_elements(output) == 2 * (int64_t)engine->outputs;
}

static int find_plan_set(struct engine *engine, int threads, struct plan_set **out,
                         struct error *err)
{
    struct plan_set *set = engine->plan_sets;

    while (set != NULL && set->threads != threads)
        set = set->next;
    if (set == NULL) {
        set = calloc(1, sizeof *set);
        if (set == NULL)
            return error_set(err, STATUS_NO_MEMORY, "no memory for a plan");
        set->threads = threads;
        set->next = engine->plan_sets;
        engine->plan_sets = set;
    }
    *out = set;
    return STATUS_OK;
}

int engine_plan(struct engine *engine, int log2, int threads, const struct exec_plan **out,
                struct error *err)
{
    struct plan_set *set = NULL;
    int status;

    pthread_mutex_lock(&engine->lock);
    status = find_plan_set(engine, threads, &set, err);
    if (status == STATUS_OK && set->plans[log2] == NULL) {
        status = exec_plan_create(&engine->source, 1 << log2, threads, &set->plans[log2], err);
        weights_trim(engine->source.weights);
    }
    if (status == STATUS_OK)
        *out = set->plans[log2];
    pthread_mutex_unlock(&engine->lock);
    return status;
}

static void limit_chunks(struct engine *engine, size_t widest)
{
    int log2 = 0;

    while (log2 < CHUNK_LOG2_MAX && 2 << log2 <= engine->batch_max &&
           widest << (log2 + 1) <= CHUNK_ACTIVATIONS_MAX && (log2 > 0 || takes_batches(engine)))
        log2++;
    engine->chunk_log2_max = log2;
}

int engine_create(const struct graph *graph, const struct engine_options *options,
                  struct engine **out, struct error *err)
{
    struct engine *engine;
    const struct exec_plan *plan;
    int status;

    if (options->batch_max < 1 || options->batch_max > BATCH_LIMIT)
        return error_set(err, STATUS_INVALID, "batch_max %d is not within 1 .. %d",
                         options->batch_max, BATCH_LIMIT);
    status = check_graph(graph, err);
    if (status != STATUS_OK)
        return status;
    engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for an engine");
    engine->batch_max = options->batch_max;
    engine->source.lanes = blocked_lanes();
    engine->source.nhwc = isa_includes(dnnl_cpu_isa_avx2);
    engine->source.precision = options->precision;
    if (options->precision == PRECISION_AUTO)
        engine->source.precision = precision_bf16_native() ? PRECISION_BF16 : PRECISION_FP32;
    pointwise_best(&engine->source.kernels);
    if (pthread_mutex_init(&engine->lock, NULL) != 0) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory for an engine");
        goto failed;
    }
    engine->lock_made = true;
    status = onednn_check(dnnl_engine_create(&engine->source.engine, dnnl_cpu, 0),
                          "an engine on the CPU", err);
    if (status == STATUS_OK)
        status = prepare_graph(engine, graph, err);
    if (status == STATUS_OK)
        status = weights_create(engine->source.graph, engine->source.engine,
                                &engine->source.weights, err);
    /* Made now, so that a network that cannot run is refused here, and weights are held once. */
    if (status == STATUS_OK)
        status = engine_plan(engine, 0, 1, &plan, err);
    if (status != STATUS_OK)
        goto failed;
    limit_chunks(engine, exec_plan_widest(plan));
    *out = engine;
    return STATUS_OK;
failed:
    engine_free(engine);
    return status;
}

void engine_free(struct engine *engine)
{
    if (engine == NULL)
        return;
    while (engine->plan_sets != NULL) {
        struct plan_set *next = engine->plan_sets->next;
        for (int i = 0; i <= CHUNK_LOG2_MAX; i++)
            exec_plan_free(engine->plan_sets->plans[i]);
        free(engine->plan_sets);
        engine->plan_sets = next;
    }
    weights_free(engine->source.weights);
    graph_free(engine->source.graph);
    if (engine->source.engine != NULL)
        dnnl_engine_destroy(engine->source.engine);
    if (engine->lock_made)
        pthread_mutex_destroy(&engine->lock);
    free(engine);
}

void engine_input_shape(const struct engine *engine, struct shape *out)
{
    *out = engine->input;
}

int engine_outputs(const struct engine *engine)
{
    return engine->outputs;
}

enum precision engine_precision(const struct engine *engine)
{
    return engine->source.precision;
}

size_t engine_memory(const struct engine *engine)
{
    struct engine *shared = (struct engine *)(uintptr_t)engine;
    size_t size;

    pthread_mutex_lock(&shared->lock);
    size = weights_size(engine->source.weights);
    pthread_mutex_unlock(&shared->lock);
    return size;
}

void softmax_rows(float *x, int n, int classes)
{
    for (int row = 0; row < n; row++) {
        float *p = x + (int64_t)row * classes;
        float most = p[0], sum = 0.0f;
        for (int c = 1; c < classes; c++)
            most = fmaxf(most, p[c]);
        for (int c = 0; c < classes; c++) {
            p[c] = expf(p[c] - most);
            sum += p[c];
        }
        for (int c = 0; c < classes; c++)
            p[c] /= sum;
    }
}
