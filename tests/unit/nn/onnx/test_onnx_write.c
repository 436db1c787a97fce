/* Writing and reading back: what comes back computes the same, keeps names and weights, and has no
 * more in it than went out. */
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

#include "base/rng.h"
#include "nn/arch/arch.h"
#include "nn/graph/passes.h"
#include "nn/onnx/onnx.h"
#include "nn/onnx/writer.h"
#include "onnx_models.h"

static const struct onnx_write_options as_f32 = {.weights = DTYPE_F32};
static const struct onnx_write_options as_f16 = {.weights = DTYPE_F16};

static struct graph *through_onnx(const struct graph *graph,
                                  const struct onnx_write_options *options)
{
    struct model model = {0};
    struct error err;

    if (onnx_encode(graph, options, &model.out, &err) != STATUS_OK)
        fail_msg("%s: %s", status_name(err.code), err.message);
    struct graph *back = model_read(&model);
    model_free(&model);
    return back;
}

static void assert_same_function(const struct graph *a, const struct graph *b, float tolerance)
{
    struct tensor *output_a = graph_run(a, 2), *output_b = graph_run(b, 2);
    assert_tensors_near(output_a, output_b, tolerance);
    tensor_free(output_a);
    tensor_free(output_b);
}

/* Weights as they come back from f16: rounded when they have more than one dimension. */
static void assert_same_weights(const struct graph *graph, const struct graph *back, bool half)
{
    int compared = 0;

    for (int i = 0; i < graph->value_count; i++) {
        const struct tensor *weights = graph->values[i].constant;
        if (weights == NULL || weights->dtype != DTYPE_F32)
            continue;
        const int other = graph_find_value(back, graph->values[i].name);
        if (other < 0)
            fail_msg("'%s' is lost", graph->values[i].name);
        const struct tensor *read = back->values[other].constant;
        assert_non_null(read);
        assert_true(shape_equal(&weights->shape, &read->shape));
        for (size_t j = 0; j < weights->size / sizeof(float); j++) {
            const float w = ((const float *)weights->data)[j];
            const float expected = half && weights->shape.rank > 1 ? f16_to_f32(f32_to_f16(w)) : w;
            assert_memory_equal(&expected, &((const float *)read->data)[j], sizeof expected);
        }
        compared++;
    }
    assert_true(compared > 50);
}

/* Batch norms as after training, so that folding them changes weights. */
static void unsettle_batch_norms(struct graph *graph)
{
    struct rng rng;

    rng_seed(&rng, 11);
    for (int i = 0; i < graph->node_count; i++) {
        if (graph->nodes[i].op != OP_BATCH_NORM)
            continue;
        for (int j = 1; j < 5; j++) {
            const struct tensor *tensor = graph->values[graph->nodes[i].inputs[j]].constant;
            for (size_t k = 0; k < tensor->size / sizeof(float); k++)
                ((float *)tensor->data)[k] += (float)(0.2 * rng_uniform(&rng));
        }
    }
}

static void test_architecture(const char *name)
{
    const struct arch_options options = {.classes = 10, .input = 16, .seed = 3};
    struct graph *graph, *fused;
    struct error err;

    if (arch_build(name, &options, &graph, &err) != STATUS_OK)
        fail_msg("%s: %s", status_name(err.code), err.message);
    unsettle_batch_norms(graph);

    struct graph *back = through_onnx(graph, &as_f32);
    assert_int_equal(back->node_count, graph->node_count);
    assert_string_equal(back->values[back->inputs[0]].name, graph->values[graph->inputs[0]].name);
    assert_string_equal(back->values[back->outputs[0]].name, graph->values[graph->outputs[0]].name);
    assert_same_weights(graph, back, false);
    assert_same_function(graph, back, 1e-5f);
    graph_free(back);

    back = through_onnx(graph, &as_f16);
    assert_int_equal(back->node_count, graph->node_count);
    assert_same_weights(graph, back, true);
    graph_free(back);

    assert_int_equal(graph_clone(graph, &fused, NULL), STATUS_OK);
    assert_int_equal(passes_optimise(fused, NULL), STATUS_OK);
    back = through_onnx(fused, &as_f32);
    assert_true(back->node_count > fused->node_count); /* fused parts are spelt out again */
    assert_same_function(fused, back, 1e-5f);
    graph_free(back);
    graph_free(fused);
    graph_free(graph);
}

static void test_resnet50(void **state)
{
    (void)state;
    test_architecture("resnet50");
}

static void test_mobilenetv2(void **state)
{
    (void)state;
    test_architecture("mobilenetv2");
}

static void test_efficientnet_b0(void **state)
{
    (void)state;
    test_architecture("efficientnet_b0");
}

/* A random network in the making; `x` is its last value, of that many channels and pixels. */
struct growth {
    struct graph *graph;
    struct rng rng;
    int x;
    int channels, height, width;
};

static struct node *last_node(const struct growth *growth)
{
    return &growth->graph->nodes[growth->graph->node_count - 1];
}

static int pick(struct growth *growth, int least, int most)
{
    return least + (int)rng_below(&growth->rng, (uint32_t)(most - least + 1));
}

static int add_constant(struct growth *growth, int rank, const int64_t *dims, double from,
                        double to)
{
    struct shape shape = {.rank = rank};
    struct tensor *tensor;

    for (int i = 0; i < rank; i++)
        shape.dims[i] = dims[i];
    assert_int_equal(tensor_create(DTYPE_F32, &shape, &tensor, NULL), STATUS_OK);
    for (size_t i = 0; i < tensor->size / sizeof(float); i++)
        ((float *)tensor->data)[i] = (float)(from + (to - from) * rng_uniform(&growth->rng));
    return graph_add_value(growth->graph, NULL, tensor, NULL);
}

/* Fuses a random activation, and a residual of the node's output shape when one is given. */
static void fuse(struct growth *growth, struct node *node, int residual)
{
    static const enum activation choices[] = {
        ACTIVATION_NONE,    ACTIVATION_RELU,       ACTIVATION_CLIP,         ACTIVATION_SWISH,
        ACTIVATION_SIGMOID, ACTIVATION_HARD_SWISH, ACTIVATION_HARD_SIGMOID, ACTIVATION_LEAKY_RELU,
    };

    node->fused.activation = choices[pick(growth, 0, 7)];
    node->fused.a = node->fused.activation == ACTIVATION_CLIP ? -0.5f : 0.25f;
    node->fused.b = node->fused.activation == ACTIVATION_CLIP ? 2 : 0.5f;
    if (residual < 0)
        return;
    node->inputs = realloc(node->inputs, (size_t)(node->input_count + 1) * sizeof *node->inputs);
    assert_non_null(node->inputs);
    node->inputs[node->input_count++] = residual;
    node->fused.residual = residual;
    node->fused.residual_after = pick(growth, 0, 1);
}

static void grow_conv(struct growth *growth)
{
    const int groups = growth->channels % 2 == 0 ? pick(growth, 1, 2) : 1;
    const bool keep = pick(growth, 0, 1); /* the shape, so that a residual fits */
    const int filters = keep ? growth->channels : groups * pick(growth, 1, 3);
    const int64_t shape[] = {filters, growth->channels / groups, 3, 3};
    const int64_t bias[] = {filters};
    const int residual = keep && pick(growth, 0, 1) ? growth->x : -1;
    int inputs[3] = {growth->x, add_constant(growth, 4, shape, -0.5, 0.5)};

    inputs[2] = add_constant(growth, 1, bias, -1, 1);
    growth->x = graph_add_node(growth->graph, OP_CONV, NULL, inputs, pick(growth, 2, 3), NULL);
    struct node *node = last_node(growth);
    node->u.conv.window = (struct window){
        .kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {1, 1, 1, 1}};
    if (!keep) {
        node->u.conv.window.dilation[0] = 2;
        node->u.conv.window.pad[0] = node->u.conv.window.pad[2] = 2;
        node->u.conv.window.stride[1] = 2;
        growth->width = (growth->width + 1) / 2;
    }
    node->u.conv.groups = groups;
    growth->channels = filters;
    if (pick(growth, 0, 1))
        fuse(growth, node, residual);
}

static void grow_batch_norm(struct growth *growth)
{
    const int64_t shape[] = {growth->channels};
    int inputs[5] = {growth->x};

    for (int i = 1; i < 5; i++)
        inputs[i] = add_constant(growth, 1, shape, 0.5, 1.5);
    growth->x = graph_add_node(growth->graph, OP_BATCH_NORM, NULL, inputs, 5, NULL);
    last_node(growth)->u.batch_norm.epsilon = 1e-3f;
    last_node(growth)->u.batch_norm.momentum = 0.9f;
}

static void grow_activation(struct growth *growth)
{
    static const enum op choices[] = {OP_RELU,    OP_LEAKY_RELU, OP_CLIP,
                                      OP_SIGMOID, OP_TANH,       OP_HARD_SWISH,
                                      OP_SWISH,   OP_DROPOUT,    OP_HARD_SIGMOID};
    const enum op op = choices[pick(growth, 0, 8)];

    growth->x = graph_add_node(growth->graph, op, NULL, &growth->x, 1, NULL);
    if (op == OP_CLIP) {
        last_node(growth)->u.clip.low = pick(growth, 0, 1) ? 0 : -INFINITY;
        last_node(growth)->u.clip.high = pick(growth, 0, 1) ? 6 : INFINITY;
    } else if (op == OP_DROPOUT) {
        last_node(growth)->u.dropout.ratio = 0.3f;
    } else if (op == OP_LEAKY_RELU || op == OP_HARD_SIGMOID) {
        last_node(growth)->u.scalar.alpha = 0.3f;
        last_node(growth)->u.scalar.beta = 0.4f;
    }
}

static void grow_pool(struct growth *growth)
{
    const enum op op = pick(growth, 0, 1) ? OP_MAX_POOL : OP_AVERAGE_POOL;

    growth->x = graph_add_node(growth->graph, op, NULL, &growth->x, 1, NULL);
    struct node *node = last_node(growth);
    node->u.pool.window = (struct window){
        .kernel = {3, 2}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {1, 1, 1, 0}};
    node->u.pool.count_include_pad = op == OP_AVERAGE_POOL && pick(growth, 0, 1);
    node->u.pool.ceil_mode = pick(growth, 0, 1);
}

/* An operation of two values of the same shape, or of the value and one number a channel. */
static void grow_arithmetic(struct growth *growth)
{
    static const enum op choices[] = {OP_ADD, OP_SUB, OP_MUL, OP_DIV};
    const int64_t shape[] = {growth->channels, 1, 1};
    int inputs[2] = {growth->x, growth->x};
    const enum op op = choices[pick(growth, 0, 3)];

    if (op == OP_DIV || pick(growth, 0, 1))
        inputs[1] = add_constant(growth, 3, shape, 0.5, 1.5);
    growth->x = graph_add_node(growth->graph, op, NULL, inputs, 2, NULL);
}

static void grow_concat(struct growth *growth)
{
    const int inputs[] = {growth->x, growth->x};
    growth->x = graph_add_node(growth->graph, OP_CONCAT, NULL, inputs, 2, NULL);
    last_node(growth)->u.axis.axis = 1;
    growth->channels *= 2;
}

static void grow_pad(struct growth *growth)
{
    growth->x = graph_add_node(growth->graph, OP_PAD, NULL, &growth->x, 1, NULL);
    struct node *node = last_node(growth);
    node->u.pad.before[2] = 1;
    node->u.pad.after[3] = 2;
    node->u.pad.value = 0.5f;
    growth->height += 1;
    growth->width += 2;
}

static void grow_transpose(struct growth *growth)
{
    static const int64_t turned[] = {0, 1, 3, 2};
    growth->x = graph_add_node(growth->graph, OP_TRANSPOSE, NULL, &growth->x, 1, NULL);
    memcpy(last_node(growth)->u.axes.axes, turned, sizeof turned);
    last_node(growth)->u.axes.count = 4;
    const int height = growth->height;
    growth->height = growth->width;
    growth->width = height;
}

static void add_axes(struct growth *growth, enum op op, bool keep_dims)
{
    growth->x = graph_add_node(growth->graph, op, NULL, &growth->x, 1, NULL);
    struct node *node = last_node(growth);
    node->u.axes.axes[0] = 2;
    node->u.axes.axes[1] = 3;
    node->u.axes.count = 2;
    node->u.axes.keep_dims = keep_dims;
}

static void add_reshape(struct growth *growth)
{
    const struct shape vector = {.rank = 1, .dims = {2}};
    struct tensor *target;

    assert_int_equal(tensor_create(DTYPE_I64, &vector, &target, NULL), STATUS_OK);
    ((int64_t *)target->data)[0] = -1;
    ((int64_t *)target->data)[1] = growth->channels;
    const int inputs[] = {growth->x, graph_add_value(growth->graph, NULL, target, NULL)};
    growth->x = graph_add_node(growth->graph, OP_RESHAPE, NULL, inputs, 2, NULL);
}

/* From [n, c, h, w] to [n, c] in one of the ways networks do it. */
static void grow_neck(struct growth *growth)
{
    switch (pick(growth, 0, 3)) {
    case 0:
        growth->x =
            graph_add_node(growth->graph, OP_GLOBAL_AVERAGE_POOL, NULL, &growth->x, 1, NULL);
        growth->x = graph_add_node(growth->graph, OP_FLATTEN, NULL, &growth->x, 1, NULL);
        last_node(growth)->u.axis.axis = 1;
        break;
    case 1:
        add_axes(growth, OP_REDUCE_MEAN, false);
        break;
    case 2:
        add_axes(growth, OP_REDUCE_MEAN, true);
        add_axes(growth, OP_SQUEEZE, false);
        break;
    default:
        add_axes(growth, OP_REDUCE_MEAN, true);
        add_reshape(growth);
        break;
    }
}

static void grow_head(struct growth *growth)
{
    const bool turned = pick(growth, 0, 1);
    const int64_t shape[] = {turned ? 5 : growth->channels, turned ? growth->channels : 5};
    const int64_t bias[] = {5};
    int inputs[3] = {growth->x, add_constant(growth, 2, shape, -0.5, 0.5)};

    inputs[2] = add_constant(growth, 1, bias, -1, 1);
    growth->x = graph_add_node(growth->graph, OP_GEMM, NULL, inputs, 3, NULL);
    struct node *node = last_node(growth);
    node->u.gemm = (struct gemm_attributes){.alpha = 1.5f, .beta = 0.5f, .transpose_b = turned};
    if (pick(growth, 0, 1))
        fuse(growth, node, -1);
    if (pick(growth, 0, 1)) {
        growth->x = graph_add_node(growth->graph, OP_SOFTMAX, NULL, &growth->x, 1, NULL);
        last_node(growth)->u.axis.axis = -1;
    }
}

static struct graph *random_graph(uint64_t seed)
{
    static void (*const growers[])(struct growth *) = {
        grow_conv,       grow_batch_norm, grow_activation, grow_pool,
        grow_arithmetic, grow_concat,     grow_pad,        grow_transpose,
    };
    struct growth growth = {.channels = 3, .height = 6, .width = 6};
    const struct shape input = {.rank = 4, .dims = {DIM_ANY, 3, 6, 6}};
    struct error err;

    rng_seed(&growth.rng, seed);
    assert_int_equal(graph_create(&growth.graph, NULL), STATUS_OK);
    growth.x = graph_add_input(growth.graph, "input", &input, NULL);
    for (int steps = pick(&growth, 3, 9); steps > 0; steps--) {
        const int choice = growth.channels > 12 ? pick(&growth, 0, 4) : pick(&growth, 0, 7);
        growers[choice](&growth);
    }
    grow_neck(&growth);
    grow_head(&growth);
    assert_int_equal(graph_add_output(growth.graph, growth.x, NULL) < 0, 0);
    if (graph_infer_shapes(growth.graph, DIM_ANY, &err) != STATUS_OK)
        fail_msg("seed %llu: %s", (unsigned long long)seed, err.message);
    return growth.graph;
}

static void test_random_graphs(void **state)
{
    (void)state;

    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct graph *graph = random_graph(seed);
        struct graph *back = through_onnx(graph, &as_f32);
        assert_same_function(graph, back, 2e-5f);
        struct graph *again = through_onnx(back, &as_f32);
        assert_int_equal(again->node_count, back->node_count);
        assert_same_function(back, again, 2e-5f);
        graph_free(again);
        graph_free(back);
        graph_free(graph);
    }
}

/* A weight too large for f16 would come back infinite, so its tensor stays f32. */
static void test_large_weights_stay_f32(void **state)
{
    static const float weights[] = {1e6f, 1, 0.1f, 2};
    struct model model;
    (void)state;

    model_open(&model, 17);
    model_input(&model, "x", "? 2");
    model_floats(&model, "w", "2 2", weights);
    model_plain(&model, "MatMul", "x w", "y");
    model_output(&model, "y");
    model_close(&model);
    struct graph *graph = model_read(&model);
    struct graph *back = through_onnx(graph, &as_f16);
    assert_same_function(graph, back, 0);
    graph_free(back);
    graph_free(graph);
    model_free(&model);
}

static void test_save_and_load(void **state)
{
    char path[] = "/tmp/ocelli_test_onnx_XXXXXX";
    struct graph *graph = random_graph(5), *back;
    const struct onnx_write_options named = {.weights = DTYPE_F32, .name = "n", .doc = "d"};
    const struct onnx_write_options wrong = {.weights = DTYPE_I8};
    struct error err;
    (void)state;

    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(onnx_save(graph, path, &named, NULL), STATUS_OK);
    assert_int_equal(onnx_load(path, &back, NULL), STATUS_OK);
    assert_same_function(graph, back, 1e-5f);
    graph_free(back);
    assert_int_equal(onnx_save(graph, path, &wrong, NULL), STATUS_INVALID);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(onnx_load(path, &back, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, path));
    graph_free(graph);
}

/* Whatever batch the shapes were inferred for, the file is open for any. */
static void test_batch_stays_open(void **state)
{
    struct graph *graph = random_graph(8);
    (void)state;

    assert_int_equal(graph_infer_shapes(graph, 16, NULL), STATUS_OK);
    struct graph *back = through_onnx(graph, &as_f32);
    assert_int_equal(back->values[back->inputs[0]].shape.dims[0], DIM_ANY);
    assert_same_function(graph, back, 1e-5f);
    graph_free(back);
    graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs),   cmocka_unit_test(test_large_weights_stay_f32),
        cmocka_unit_test(test_save_and_load),   cmocka_unit_test(test_batch_stays_open),
        cmocka_unit_test(test_resnet50),        cmocka_unit_test(test_mobilenetv2),
        cmocka_unit_test(test_efficientnet_b0),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
