/* Reading what exporters write: each test builds the same network in the forms that operator sets 7
 * to 21 give it, and checks what it computes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include "onnx_models.h"

/* Reads and runs the model on `n` images, checks the output's shape and drops the model. */
static struct tensor *run(struct model *model, int64_t n, const char *shape)
{
    char text[128];

    model_close(model);
    struct graph *graph = model_read(model);
    struct tensor *output = graph_run(graph, n);
    assert_string_equal(graph->values[graph->outputs[0]].name, "y");
    assert_string_equal(shape_text(&output->shape, text, sizeof text), shape);
    graph_free(graph);
    model_free(model);
    return output;
}

/* The input a model with that input shape is run on. */
static struct tensor *sample(const char *shape, int64_t n)
{
    struct model model;

    model_open(&model, 17);
    model_input(&model, "x", shape);
    model_plain(&model, "Relu", "x", "y");
    model_output(&model, "y");
    model_close(&model);
    struct graph *graph = model_read(&model);
    struct tensor *input = graph_sample(graph, n);
    graph_free(graph);
    model_free(&model);
    return input;
}

static void open_with_input(struct model *model, int64_t opset, const char *shape)
{
    model_open(model, opset);
    model_input(model, "x", shape);
    model_output(model, "y");
}

static void assert_clipped(struct model *model, float low, float high)
{
    struct tensor *expected = sample("? 3 4 4", 2);
    struct tensor *output = run(model, 2, "[2, 3, 4, 4]");

    for (size_t i = 0; i < expected->size / sizeof(float); i++) {
        float *x = &((float *)expected->data)[i];
        *x = fminf(fmaxf(*x, low), high);
    }
    assert_tensors_near(expected, output, 0);
    tensor_free(expected);
    tensor_free(output);
}

static void test_clip(void **state)
{
    static const uint16_t six_f16 = 0x4600;
    struct model model;
    size_t node;
    (void)state;

    open_with_input(&model, 10, "? 3 4 4"); /* attributes */
    node = model_node(&model, "Clip", "x", "y");
    model_float(&model, "min", 0);
    model_float(&model, "max", 1.5f);
    model_node_end(&model, node);
    assert_clipped(&model, 0, 1.5f);

    open_with_input(&model, 13, "? 3 4 4"); /* inputs, the lower one omitted */
    model_scalar(&model, "high", 1);
    model_plain(&model, "Clip", "x - high", "y");
    assert_clipped(&model, -FLT_MAX, 1);

    open_with_input(&model, 13, "? 3 4 4"); /* an input through a cast, as half-precision exports */
    model_scalar(&model, "low", -0.5f);
    model_raw(&model, GRAPH_INITIALIZER, "six", element_type_code(DTYPE_F16), "", &six_f16, 2);
    node = model_node(&model, "Cast", "six", "high");
    model_int(&model, "to", element_type_code(DTYPE_F32));
    model_node_end(&model, node);
    model_plain(&model, "Clip", "x low high", "y");
    assert_clipped(&model, -0.5f, 6);

    open_with_input(&model, 13, "? 3 4 4"); /* no bounds at all */
    model_plain(&model, "Clip", "x", "y");
    assert_clipped(&model, -FLT_MAX, FLT_MAX);
}

/* axes as an attribute or as an input, for any of the operators that have them */
static struct tensor *run_axes(const char *op, int64_t opset, bool as_input, const char *shape)
{
    struct model model;

    open_with_input(&model, opset, "? 3 1 5");
    if (as_input)
        model_integers(&model, "axes", "2");
    const size_t node = model_node(&model, op, as_input ? "x axes" : "x", "y");
    if (!as_input)
        model_ints(&model, "axes", "2");
    if (strcmp(op, "ReduceMean") == 0)
        model_int(&model, "keepdims", 0);
    model_node_end(&model, node);
    return run(&model, 2, shape);
}

static void test_axes(void **state)
{
    static const struct {
        const char *op, *shape;
        int64_t opset_input; /* the first to have axes as an input */
    } cases[] = {
        {"Squeeze", "[2, 3, 5]", 13},
        {"Unsqueeze", "[2, 3, 1, 1, 5]", 13},
        {"ReduceMean", "[2, 3, 5]", 18},
    };
    struct model model;
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tensor *expected = sample("? 3 1 5", 2);
        struct tensor *old = run_axes(cases[i].op, 11, false, cases[i].shape);
        struct tensor *new = run_axes(cases[i].op, cases[i].opset_input, true, cases[i].shape);
        assert_memory_equal(old->data, expected->data, expected->size);
        assert_memory_equal(new->data, expected->data, expected->size);
        tensor_free(expected);
        tensor_free(old);
        tensor_free(new);
    }
    /* Squeeze without axes must leave a batch of one alone. */
    open_with_input(&model, 13, "? 3 1 5");
    model_plain(&model, "Squeeze", "x", "y");
    tensor_free(run(&model, 1, "[1, 3, 5]"));
}

static void test_dropout(void **state)
{
    struct model model;
    size_t node;
    (void)state;

    for (int as_input = 0; as_input < 2; as_input++) {
        open_with_input(&model, as_input ? 12 : 7, "? 6");
        model_scalar(&model, "ratio", 0.25f);
        node = model_node(&model, "Dropout", as_input ? "x ratio" : "x", "y mask");
        if (!as_input)
            model_float(&model, "ratio", 0.25f);
        model_node_end(&model, node);
        model_close(&model);
        struct graph *graph = model_read(&model);
        assert_int_equal(count_op(graph, OP_DROPOUT), 1);
        assert_true(graph->nodes[0].u.dropout.ratio == 0.25f);
        graph_free(graph);
        model_free(&model);
    }
    open_with_input(&model, 12, "? 6");
    model_plain(&model, "Dropout", "x", "z mask");
    model_plain(&model, "Relu", "mask", "y");
    model_close(&model);
    model_refused(&model, STATUS_UNSUPPORTED, "mask");
    model_free(&model);
}

static void put_batch_norm(struct model *model, const char *outputs, int training)
{
    static const float scale[] = {1, 2, 3}, bias[] = {0, 1, 0}, mean[] = {0, 0, 1};
    static const float variance[] = {1, 4, 1};

    model_floats(model, "scale", "3", scale);
    model_floats(model, "bias", "3", bias);
    model_floats(model, "mean", "3", mean);
    model_floats(model, "variance", "3", variance);
    const size_t node =
        model_node(model, "BatchNormalization", "x scale bias mean variance", outputs);
    model_float(model, "epsilon", 0);
    if (training)
        model_int(model, "training_mode", 1);
    model_node_end(model, node);
}

static void test_batch_norm(void **state)
{
    struct model model;
    struct tensor *expected = sample("? 3 2 2", 1);
    float *x = expected->data;
    (void)state;

    for (int i = 0; i < 4; i++) {
        x[4 + i] = x[4 + i] + 1; /* 2 * x / sqrt(4) + 1 */
        x[8 + i] = 3 * (x[8 + i] - 1);
    }
    open_with_input(&model, 9, "? 3 2 2"); /* training outputs named but unused, or empty */
    put_batch_norm(&model, "y - - saved_mean saved_variance", 0);
    struct tensor *output = run(&model, 1, "[1, 3, 2, 2]");
    assert_tensors_near(expected, output, 1e-6f);
    tensor_free(expected);
    tensor_free(output);

    open_with_input(&model, 15, "? 3 2 2");
    put_batch_norm(&model, "y", 1);
    model_close(&model);
    model_refused(&model, STATUS_UNSUPPORTED, "training");
    model_free(&model);
}

static struct tensor *run_softmax(int64_t opset, int axis, const char *input, const char *shape)
{
    struct model model;

    open_with_input(&model, opset, input);
    const size_t node = model_node(&model, "Softmax", "x", "y");
    if (axis != 0)
        model_int(&model, "axis", axis);
    model_node_end(&model, node);
    return run(&model, 2, shape);
}

/* Sum of `count` elements, `stride` apart. */
static float sum_of(const struct tensor *tensor, int from, int count, int stride)
{
    float sum = 0;
    for (int i = 0; i < count; i++)
        sum += ((const float *)tensor->data)[from + i * stride];
    return sum;
}

static void test_softmax_axis(void **state)
{
    struct tensor *output;
    (void)state;

    output = run_softmax(11, 0, "? 2 3", "[2, 2, 3]"); /* flattens from axis 1 on */
    assert_true(fabsf(sum_of(output, 0, 6, 1) - 1) < 1e-5f);
    assert_true(fabsf(sum_of(output, 0, 3, 1) - 1) > 1e-3f);
    tensor_free(output);
    output = run_softmax(13, 0, "? 2 3", "[2, 2, 3]"); /* the last axis */
    assert_true(fabsf(sum_of(output, 0, 3, 1) - 1) < 1e-5f);
    tensor_free(output);
    output = run_softmax(13, 1, "? 2 3", "[2, 2, 3]"); /* one axis only */
    assert_true(fabsf(sum_of(output, 0, 2, 3) - 1) < 1e-5f);
    tensor_free(output);
    output = run_softmax(9, 1, "? 5 1 1", "[2, 5, 1, 1]");
    assert_true(fabsf(sum_of(output, 5, 5, 1) - 1) < 1e-5f);
    tensor_free(output);
}

static void test_constant_nodes(void **state)
{
    static const float two = 2;
    struct model model;
    size_t node;
    (void)state;

    open_with_input(&model, 17, "? 2 3");
    node = model_node(&model, "Constant", "", "two");
    const size_t attribute = wire_begin(&model.out, NODE_ATTRIBUTE);
    wire_put_text(&model.out, ATTRIBUTE_NAME, "value");
    wire_put_int(&model.out, ATTRIBUTE_TYPE, ATTRIBUTE_TYPE_TENSOR);
    model_raw(&model, ATTRIBUTE_T, "", element_type_code(DTYPE_F32), "1", &two, sizeof two);
    wire_end(&model.out, attribute);
    model_node_end(&model, node);
    node = model_node(&model, "Constant", "", "half");
    model_float(&model, "value_float", 0.5f);
    model_node_end(&model, node);
    node = model_node(&model, "Constant", "", "target");
    model_ints(&model, "value_ints", "-1 6");
    model_node_end(&model, node);
    model_plain(&model, "Mul", "x two", "a");
    model_plain(&model, "Mul", "a half", "b");
    model_plain(&model, "Reshape", "b target", "y");
    struct tensor *expected = sample("? 2 3", 3);
    struct tensor *output = run(&model, 3, "[3, 6]");
    assert_memory_equal(output->data, expected->data, expected->size);
    tensor_free(expected);
    tensor_free(output);
}

static void test_auto_pad(void **state)
{
    static const struct {
        const char *mode, *input, *strides;
        int pads[4]; /* of a 3x2 kernel */
    } cases[] = {
        {"SAME_UPPER", "? 1 7 8", "2 2", {1, 0, 1, 0}},
        {"SAME_UPPER", "? 1 8 7", "2 2", {0, 0, 1, 1}},
        {"SAME_LOWER", "? 1 8 7", "2 2", {1, 1, 0, 0}},
        {"SAME_UPPER", "? 1 5 5", "1 1", {1, 0, 1, 1}},
        {"SAME_LOWER", "? 1 5 5", "1 1", {1, 1, 1, 0}},
        {"VALID", "? 1 8 8", "2 2", {0, 0, 0, 0}},
        {"NOTSET", "? 1 8 8", "1 1", {0, 0, 0, 0}},
    };
    struct model model;
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int pool = 0; pool < 2; pool++) {
            open_with_input(&model, 13, cases[i].input);
            model_weights(&model, "w", "1 1 3 2");
            model_plain(&model, "Relu", "x", "a"); /* so that the shape has to be inferred */
            const size_t node =
                model_node(&model, pool ? "MaxPool" : "Conv", pool ? "a" : "a w", "y");
            if (pool)
                model_ints(&model, "kernel_shape", "3 2");
            model_ints(&model, "strides", cases[i].strides);
            model_text(&model, "auto_pad", cases[i].mode);
            model_node_end(&model, node);
            model_close(&model);
            struct graph *graph = model_read(&model);
            const struct node *last = &graph->nodes[graph->node_count - 1];
            const struct window *window = pool ? &last->u.pool.window : &last->u.conv.window;
            assert_memory_equal(window->pad, cases[i].pads, sizeof window->pad);
            assert_int_equal(window->kernel[0], 3);
            assert_int_equal(window->kernel[1], 2);
            graph_free(graph);
            model_free(&model);
        }
    }
}

static void test_gemm(void **state)
{
    static const float w[] = {1, 2, 3, 4, 5, 6}, c[] = {10, 20};
    struct model model;
    struct tensor *x = sample("? 3", 1);
    const float *v = x->data;
    (void)state;

    open_with_input(&model, 13, "? 3");
    model_floats(&model, "w", "2 3", w);
    model_floats(&model, "c", "2", c);
    const size_t node = model_node(&model, "Gemm", "x w c", "y");
    model_float(&model, "alpha", 2);
    model_float(&model, "beta", 0.5f);
    model_int(&model, "transB", 1);
    model_node_end(&model, node);
    struct tensor *y = run(&model, 1, "[1, 2]");
    assert_true(fabsf(((float *)y->data)[0] - (2 * (v[0] + 2 * v[1] + 3 * v[2]) + 5)) < 1e-4f);
    assert_true(fabsf(((float *)y->data)[1] - (2 * (4 * v[0] + 5 * v[1] + 6 * v[2]) + 10)) < 1e-4f);
    tensor_free(x);
    tensor_free(y);
}

/* Adds a tensor of 4 elements 1, 2, -3, 0.5 in the given field, each `width` bytes or a varint. */
static void put_typed(struct model *model, int64_t type, uint32_t field, bool packed,
                      const uint64_t elements[4], size_t width)
{
    const size_t tensor = wire_begin(&model->out, GRAPH_INITIALIZER);
    wire_put_int(&model->out, TENSOR_DIMS, 4);
    wire_put_int(&model->out, TENSOR_DATA_TYPE, type);
    wire_put_text(&model->out, TENSOR_NAME, "w");
    const size_t payload = packed ? wire_begin(&model->out, field) : 0;
    for (int i = 0; i < 4; i++) {
        if (!packed)
            wire_append_varint(&model->out, (uint64_t)field << 3 | (width == 4   ? WIRE_FIXED32
                                                                    : width == 8 ? WIRE_FIXED64
                                                                                 : WIRE_VARINT));
        if (width == 0)
            wire_append_varint(&model->out, elements[i]);
        else
            wire_append_bytes(&model->out, &elements[i], width);
    }
    if (packed)
        wire_end(&model->out, payload);
    wire_end(&model->out, tensor);
}

static void test_typed_weights(void **state)
{
    static const struct {
        enum dtype dtype;
        uint32_t field;
        size_t width;
        uint64_t elements[4];
    } cases[] = {
        {DTYPE_F32, TENSOR_FLOAT_DATA, 4, {0x3f800000, 0x40000000, 0xc0400000, 0x3f000000}},
        {DTYPE_F64,
         TENSOR_DOUBLE_DATA,
         8,
         {0x3ff0000000000000, 0x4000000000000000, 0xc008000000000000, 0x3fe0000000000000}},
        {DTYPE_F16, TENSOR_INT32_DATA, 0, {0x3c00, 0x4000, 0xc200, 0x3800}},
        {DTYPE_BF16, TENSOR_INT32_DATA, 0, {0x3f80, 0x4000, 0xc040, 0x3f00}},
    };
    static const float expected[] = {1, 2, -3, 0.5f};
    (void)state;

    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        const size_t which = i / 2;
        struct model model;
        open_with_input(&model, 13, "? 4");
        put_typed(&model, element_type_code(cases[which].dtype), cases[which].field, i % 2 == 0,
                  cases[which].elements, cases[which].width);
        model_plain(&model, "Add", "x w", "y");
        model_close(&model);
        struct graph *graph = model_read(&model);
        const int w = graph_find_value(graph, "w");
        assert_true(w >= 0);
        assert_int_equal(graph->values[w].constant->dtype, DTYPE_F32);
        assert_memory_equal(graph->values[w].constant->data, expected, sizeof expected);
        graph_free(graph);
        model_free(&model);
    }
}

static void test_integer_targets(void **state)
{
    /* int64_data, packed, with a negative number */
    static const uint64_t target[4] = {(uint64_t)-1, 1, 2, 3};
    struct model model;
    (void)state;

    open_with_input(&model, 13, "? 6");
    put_typed(&model, element_type_code(DTYPE_I64), TENSOR_INT64_DATA, true, target, 0);
    model_plain(&model, "Reshape", "x w", "y");
    tensor_free(run(&model, 2, "[2, 1, 2, 3]"));
}

static void test_half_weights_with_cast(void **state)
{
    static const uint16_t half[] = {0x3c00, 0x4000};
    struct model model;
    (void)state;

    open_with_input(&model, 13, "? 2");
    model_raw(&model, GRAPH_INITIALIZER, "w_half", element_type_code(DTYPE_F16), "2", half, 4);
    const size_t node = model_node(&model, "Cast", "w_half", "w");
    model_int(&model, "to", element_type_code(DTYPE_F32));
    model_node_end(&model, node);
    model_plain(&model, "Mul", "x w", "y");
    model_close(&model);
    struct graph *graph = model_read(&model);
    assert_int_equal(graph->node_count, 1);
    const int w = graph_find_value(graph, "w");
    assert_true(w >= 0);
    assert_int_equal(graph->values[w].dtype, DTYPE_F32);
    assert_true(((float *)graph->values[w].constant->data)[1] == 2);
    graph_free(graph);
    model_free(&model);
}

static void test_old_and_symbolic_inputs(void **state)
{
    struct model model;
    (void)state;

    /* Before IR version 4 initialisers were inputs as well; a fixed batch is opened. */
    model_open(&model, 8);
    model_input(&model, "x", "1 3");
    model_input(&model, "w", "3");
    model_weights(&model, "w", "3");
    model_plain(&model, "Add", "x w", "z");
    model_plain(&model, "Identity", "z", "y");
    model_output(&model, "y");
    model_close(&model);
    struct graph *graph = model_read(&model);
    assert_int_equal(graph->input_count, 1);
    assert_string_equal(graph->values[graph->inputs[0]].name, "x");
    assert_string_equal(graph->values[graph->outputs[0]].name, "y");
    assert_int_equal(graph->values[graph->inputs[0]].shape.dims[0], DIM_ANY);
    assert_int_equal(graph->values[graph->outputs[0]].shape.dims[0], DIM_ANY);
    assert_int_equal(graph->node_count, 1);
    graph_free(graph);
    model_free(&model);
}

/* x.view(x.size(0), -1) as PyTorch exports it, the size taken by Gather or by Slice. */
static void test_flatten_by_shape(void **state)
{
    (void)state;

    for (int slice = 0; slice < 2; slice++) {
        for (int64_t n = 1; n <= 3; n += 2) {
            struct model model;
            open_with_input(&model, 13, "? 2 3 1");
            model_plain(&model, "Shape", "x", "shape");
            model_integers(&model, "rest", "-1");
            model_integers(&model, "zero_vector", "0");
            if (slice) {
                model_integers(&model, "one_vector", "1");
                model_plain(&model, "Slice", "shape zero_vector one_vector zero_vector", "batch");
            } else {
                static const int64_t zero = 0;
                model_raw(&model, GRAPH_INITIALIZER, "zero", element_type_code(DTYPE_I64), "",
                          &zero, sizeof zero);
                model_plain(&model, "Gather", "shape zero", "size");
                model_plain(&model, "Unsqueeze", "size zero_vector", "batch");
            }
            const size_t node = model_node(&model, "Concat", "batch rest", "target");
            model_int(&model, "axis", 0);
            model_node_end(&model, node);
            model_plain(&model, "Reshape", "x target", "y");
            model_close(&model);
            struct graph *graph = model_read(&model);
            assert_int_equal(graph->node_count, 1);
            struct tensor *output = graph_run(graph, n);
            assert_int_equal(output->shape.rank, 2);
            assert_int_equal(output->shape.dims[0], n);
            assert_int_equal(output->shape.dims[1], 6);
            tensor_free(output);
            graph_free(graph);
            model_free(&model);
        }
    }
}

static void test_pad(void **state)
{
    struct tensor *outputs[3];
    (void)state;

    for (int form = 0; form < 3; form++) {
        static const int64_t opsets[] = {10, 13, 18};
        static const char *const inputs[] = {"x", "x pads fill", "x pads fill axes"};
        struct model model;
        open_with_input(&model, opsets[form], "? 2 4 4");
        model_integers(&model, "pads", form == 1 ? "0 0 1 0 0 0 2 1" : "1 0 2 1");
        model_integers(&model, "axes", "2 -1");
        model_scalar(&model, "fill", -3);
        size_t node = model_node(&model, "Pad", inputs[form], "padded");
        model_text(&model, "mode", "constant");
        if (form == 0) {
            model_ints(&model, "pads", "0 0 1 0 0 0 2 1");
            model_float(&model, "value", -3);
        }
        model_node_end(&model, node);
        node = model_node(&model, "MaxPool", "padded", "y");
        model_ints(&model, "kernel_shape", "2 2");
        model_ints(&model, "strides", "2 2");
        model_int(&model, "ceil_mode", 1);
        model_node_end(&model, node);
        outputs[form] = run(&model, 2, "[2, 2, 4, 3]");
    }
    assert_tensors_near(outputs[0], outputs[1], 0);
    assert_tensors_near(outputs[0], outputs[2], 0);
    for (int form = 0; form < 3; form++)
        tensor_free(outputs[form]);
}

static void test_sum_and_activations(void **state)
{
    struct model model;
    struct tensor *x = sample("? 2 2 2", 1);
    (void)state;

    open_with_input(&model, 13, "? 2 2 2"); /* hardswish spelt out, plus x and x again */
    model_scalar(&model, "three", 3);
    model_scalar(&model, "zero", 0);
    model_scalar(&model, "six", 6);
    model_plain(&model, "Add", "x three", "a");
    model_plain(&model, "Clip", "a zero six", "b");
    model_plain(&model, "Mul", "x b", "c");
    model_plain(&model, "Div", "c six", "d");
    model_plain(&model, "Sum", "d x x", "y");
    struct tensor *y = run(&model, 1, "[1, 2, 2, 2]");
    for (size_t i = 0; i < x->size / sizeof(float); i++) {
        float *v = &((float *)x->data)[i];
        *v = *v * fminf(fmaxf(*v + 3, 0), 6) / 6 + *v + *v;
    }
    assert_tensors_near(x, y, 1e-5f);
    tensor_free(x);
    tensor_free(y);
}

static void test_grouped_dilated_conv(void **state)
{
    struct model model;
    (void)state;

    open_with_input(&model, 13, "? 4 9 9");
    model_weights(&model, "w", "6 2 3 3");
    model_weights(&model, "b", "6");
    const size_t node = model_node(&model, "Conv", "x w b", "y");
    model_ints(&model, "dilations", "2 1");
    model_ints(&model, "strides", "1 2");
    model_ints(&model, "pads", "2 1 2 1");
    model_int(&model, "group", 2);
    model_node_end(&model, node);
    tensor_free(run(&model, 2, "[2, 6, 9, 5]"));
}

/* Wholly described refusals: an operator alone between x [?, 3, 4, 4] and y. */
static void test_refused_nodes(void **state)
{
    static const struct {
        const char *op, *inputs;
        int status;
        const char *text;
    } cases[] = {
        {"LSTM", "x", STATUS_UNSUPPORTED, "node 'y' (LSTM)"},
        {"", "x", STATUS_UNSUPPORTED, "node 'y' ()"},
        {"Relu", "", STATUS_CORRUPT, "lacks input 0"},
        {"Relu", "x x", STATUS_CORRUPT, "has 2 inputs"},
        {"Relu", "z", STATUS_CORRUPT, "'z' is given by nothing before it"},
        {"Add", "x -", STATUS_CORRUPT, "lacks input 1"},
        {"MaxPool", "x", STATUS_CORRUPT, "kernel_shape"},
        {"Concat", "x x", STATUS_CORRUPT, "axis"},
        {"Conv", "x", STATUS_CORRUPT, "node 'y' (Conv): it lacks input 1"},
        {"Reshape", "x x", STATUS_UNSUPPORTED, "target shape"},
        {"Pad", "x", STATUS_CORRUPT, "how much"},
        {"Constant", "", STATUS_UNSUPPORTED, "constant of strings"},
        {"Slice", "x x x", STATUS_UNSUPPORTED, "must be constant"},
        {"Cast", "x", STATUS_UNSUPPORTED, "element type 0"},
    };
    struct model model;
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        open_with_input(&model, 13, "? 3 4 4");
        model_plain(&model, cases[i].op, cases[i].inputs, "y");
        model_close(&model);
        model_refused(&model, cases[i].status, cases[i].text);
        model_free(&model);
    }
}

static void test_refused_attributes(void **state)
{
    struct model model;
    size_t node;
    (void)state;

    open_with_input(&model, 13, "? 3 4 4"); /* a float where an integer belongs */
    node = model_node(&model, "Flatten", "x", "y");
    model_float(&model, "axis", 1);
    model_node_end(&model, node);
    model_close(&model);
    model_refused(&model, STATUS_CORRUPT, "'axis'");
    model_free(&model);

    open_with_input(&model, 13, "? 3 4 4"); /* one-dimensional pooling */
    node = model_node(&model, "MaxPool", "x", "y");
    model_ints(&model, "kernel_shape", "2");
    model_node_end(&model, node);
    model_close(&model);
    model_refused(&model, STATUS_UNSUPPORTED, "kernel_shape");
    model_free(&model);

    open_with_input(&model, 13, "? 3 4 4"); /* reflected padding */
    node = model_node(&model, "Pad", "x", "y");
    model_text(&model, "mode", "reflect");
    model_node_end(&model, node);
    model_close(&model);
    model_refused(&model, STATUS_UNSUPPORTED, "padding with a constant");
    model_free(&model);

    open_with_input(&model, 13, "? 3 4 4"); /* another vendor's operator */
    node = model_node(&model, "Relu", "x", "y");
    wire_put_text(&model.out, NODE_DOMAIN, "com.example");
    model_node_end(&model, node);
    model_close(&model);
    model_refused(&model, STATUS_UNSUPPORTED, "com.example.Relu");
    model_free(&model);
}

static void test_refused_models(void **state)
{
    static const int64_t opsets[] = {1, 6, 22};
    struct model model;
    (void)state;

    for (size_t i = 0; i < sizeof opsets / sizeof opsets[0]; i++) {
        open_with_input(&model, opsets[i], "? 3");
        model_plain(&model, "Relu", "x", "y");
        model_close(&model);
        model_refused(&model, STATUS_UNSUPPORTED, "operator set");
        model_free(&model);
    }
    model = (struct model){0};
    model_refused(&model, STATUS_CORRUPT, "no graph");

    open_with_input(&model, 13, "? 3"); /* an output nothing computes */
    model_plain(&model, "Relu", "x", "z");
    model_close(&model);
    model_refused(&model, STATUS_CORRUPT, "'y'");
    model_free(&model);

    open_with_input(&model, 13, "? 3"); /* a name computed twice */
    model_plain(&model, "Relu", "x", "y");
    model_plain(&model, "Relu", "x", "y");
    model_close(&model);
    model_refused(&model, STATUS_CORRUPT, "'y' is given twice");
    model_free(&model);

    open_with_input(&model, 13, "? 3"); /* a cycle */
    model_plain(&model, "Add", "x y", "z");
    model_plain(&model, "Relu", "z", "y");
    model_close(&model);
    model_refused(&model, STATUS_CORRUPT, "'y' is given by nothing before it");
    model_free(&model);

    open_with_input(&model, 13, "? 3"); /* fewer bytes than dimensions */
    model_raw(&model, GRAPH_INITIALIZER, "w", element_type_code(DTYPE_F32), "4", "12345678", 8);
    model_plain(&model, "Add", "x w", "y");
    model_close(&model);
    model_refused(&model, STATUS_CORRUPT, "weight 'w'");
    model_free(&model);

    open_with_input(&model, 13, "? 3"); /* dimensions beyond all memory */
    model_raw(&model, GRAPH_INITIALIZER, "w", element_type_code(DTYPE_F32),
              "1000000000 1000000000 1000000000", "", 0);
    model_plain(&model, "Add", "x w", "y");
    model_close(&model);
    model_refused(&model, STATUS_CORRUPT, "weight 'w'");
    model_free(&model);

    open_with_input(&model, 13, "? 3"); /* data in another file */
    const size_t tensor = wire_begin(&model.out, GRAPH_INITIALIZER);
    wire_put_int(&model.out, TENSOR_DIMS, 3);
    wire_put_int(&model.out, TENSOR_DATA_TYPE, element_type_code(DTYPE_F32));
    wire_put_text(&model.out, TENSOR_NAME, "w");
    wire_put_int(&model.out, TENSOR_DATA_LOCATION, 1);
    wire_end(&model.out, tensor);
    model_plain(&model, "Add", "x w", "y");
    model_close(&model);
    model_refused(&model, STATUS_UNSUPPORTED, "another file");
    model_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_axes),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_batch_norm),
        cmocka_unit_test(test_softmax_axis),
        cmocka_unit_test(test_constant_nodes),
        cmocka_unit_test(test_auto_pad),
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_typed_weights),
        cmocka_unit_test(test_integer_targets),
        cmocka_unit_test(test_half_weights_with_cast),
        cmocka_unit_test(test_old_and_symbolic_inputs),
        cmocka_unit_test(test_flatten_by_shape),
        cmocka_unit_test(test_pad),
        cmocka_unit_test(test_sum_and_activations),
        cmocka_unit_test(test_grouped_dilated_conv),
        cmocka_unit_test(test_refused_nodes),
        cmocka_unit_test(test_refused_attributes),
        cmocka_unit_test(test_refused_models),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
