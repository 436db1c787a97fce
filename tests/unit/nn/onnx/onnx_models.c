/* Models for the tests: see onnx_models.h. */
#include "onnx_models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "nn/graph/reference.h"
#include "nn/onnx/onnx.h"

enum { WORD_MAX = 64 };

/* Takes the next word of a list; false at its end. */
static bool next_word(const char **list, char word[WORD_MAX])
{
    *list += strspn(*list, " ");
    const size_t size = strcspn(*list, " ");
    assert_true(size < WORD_MAX);
    memcpy(word, *list, size);
    word[size] = '\0';
    *list += size;
    return size > 0;
}

void model_open(struct model *model, int64_t opset)
{
    *model = (struct model){0};
    wire_put_int(&model->out, MODEL_IR_VERSION, 8);
    const size_t import = wire_begin(&model->out, MODEL_OPSET_IMPORT);
    wire_put_text(&model->out, OPSET_DOMAIN, "");
    wire_put_int(&model->out, OPSET_VERSION, opset);
    wire_end(&model->out, import);
    model->graph = wire_begin(&model->out, MODEL_GRAPH);
}

void model_close(struct model *model)
{
    wire_end(&model->out, model->graph);
    assert_false(model->out.failed);
}

void model_free(struct model *model)
{
    wire_writer_free(&model->out);
}

void model_input(struct model *model, const char *name, const char *shape)
{
    char word[WORD_MAX];
    const size_t info = wire_begin(&model->out, GRAPH_INPUT);

    wire_put_text(&model->out, VALUE_INFO_NAME, name);
    const size_t type = wire_begin(&model->out, VALUE_INFO_TYPE);
    const size_t tensor = wire_begin(&model->out, TYPE_TENSOR);
    wire_put_int(&model->out, TENSOR_TYPE_ELEM_TYPE, element_type_code(DTYPE_F32));
    const size_t dims = wire_begin(&model->out, TENSOR_TYPE_SHAPE);
    while (next_word(&shape, word)) {
        const size_t dim = wire_begin(&model->out, SHAPE_DIM);
        if (word[0] == '?')
            wire_put_text(&model->out, DIM_PARAM, "anything");
        else
            wire_put_int(&model->out, DIM_VALUE, strtoll(word, NULL, 10));
        wire_end(&model->out, dim);
    }
    wire_end(&model->out, dims);
    wire_end(&model->out, tensor);
    wire_end(&model->out, type);
    wire_end(&model->out, info);
}

void model_output(struct model *model, const char *name)
{
    const size_t info = wire_begin(&model->out, GRAPH_OUTPUT);
    wire_put_text(&model->out, VALUE_INFO_NAME, name);
    wire_end(&model->out, info);
}

static void put_names(struct model *model, uint32_t field, const char *names)
{
    char word[WORD_MAX];
    while (next_word(&names, word))
        wire_put_text(&model->out, field, strcmp(word, "-") == 0 ? "" : word);
}

size_t model_node(struct model *model, const char *op, const char *inputs, const char *outputs)
{
    const size_t node = wire_begin(&model->out, GRAPH_NODE);
    put_names(model, NODE_INPUT, inputs);
    put_names(model, NODE_OUTPUT, outputs);
    wire_put_text(&model->out, NODE_OP_TYPE, op);
    return node;
}

void model_node_end(struct model *model, size_t node)
{
    wire_end(&model->out, node);
}

void model_plain(struct model *model, const char *op, const char *inputs, const char *outputs)
{
    model_node_end(model, model_node(model, op, inputs, outputs));
}

static size_t begin_attribute(struct model *model, const char *name, enum attribute_type type)
{
    const size_t attribute = wire_begin(&model->out, NODE_ATTRIBUTE);
    wire_put_text(&model->out, ATTRIBUTE_NAME, name);
    wire_put_int(&model->out, ATTRIBUTE_TYPE, type);
    return attribute;
}

void model_int(struct model *model, const char *name, int64_t value)
{
    const size_t attribute = begin_attribute(model, name, ATTRIBUTE_TYPE_INT);
    wire_put_int(&model->out, ATTRIBUTE_I, value);
    wire_end(&model->out, attribute);
}

void model_float(struct model *model, const char *name, float value)
{
    const size_t attribute = begin_attribute(model, name, ATTRIBUTE_TYPE_FLOAT);
    wire_put_float(&model->out, ATTRIBUTE_F, value);
    wire_end(&model->out, attribute);
}

void model_text(struct model *model, const char *name, const char *value)
{
    const size_t attribute = begin_attribute(model, name, ATTRIBUTE_TYPE_STRING);
    wire_put_text(&model->out, ATTRIBUTE_S, value);
    wire_end(&model->out, attribute);
}

void model_ints(struct model *model, const char *name, const char *values)
{
    char word[WORD_MAX];
    const size_t attribute = begin_attribute(model, name, ATTRIBUTE_TYPE_INTS);
    while (next_word(&values, word))
        wire_put_int(&model->out, ATTRIBUTE_INTS, strtoll(word, NULL, 10));
    wire_end(&model->out, attribute);
}

void model_raw(struct model *model, uint32_t field, const char *name, int64_t type,
               const char *shape, const void *bytes, size_t size)
{
    char word[WORD_MAX];
    const size_t tensor = wire_begin(&model->out, field);
    while (next_word(&shape, word))
        wire_put_int(&model->out, TENSOR_DIMS, strtoll(word, NULL, 10));
    wire_put_int(&model->out, TENSOR_DATA_TYPE, type);
    wire_put_text(&model->out, TENSOR_NAME, name);
    wire_put_bytes(&model->out, TENSOR_RAW_DATA, bytes, size);
    wire_end(&model->out, tensor);
}

static size_t count_elements(const char *shape)
{
    char word[WORD_MAX];
    size_t elements = 1;
    while (next_word(&shape, word))
        elements *= strtoul(word, NULL, 10);
    return elements;
}

void model_floats(struct model *model, const char *name, const char *shape, const float *values)
{
    model_raw(model, GRAPH_INITIALIZER, name, element_type_code(DTYPE_F32), shape, values,
              count_elements(shape) * sizeof *values);
}

void model_weights(struct model *model, const char *name, const char *shape)
{
    const size_t count = count_elements(shape);
    float *values = calloc(count, sizeof *values);
    struct rng rng;

    assert_non_null(values);
    rng_seed(&rng, count);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(0.1 + 0.4 * rng_uniform(&rng));
    model_floats(model, name, shape, values);
    free(values);
}

void model_integers(struct model *model, const char *name, const char *values)
{
    int64_t numbers[16];
    char word[WORD_MAX], shape[WORD_MAX];
    size_t count = 0;

    for (; next_word(&values, word); count++) {
        assert_true(count < 16);
        numbers[count] = strtoll(word, NULL, 10);
    }
    snprintf(shape, sizeof shape, "%zu", count);
    model_raw(model, GRAPH_INITIALIZER, name, element_type_code(DTYPE_I64), shape, numbers,
              count * sizeof numbers[0]);
}

void model_scalar(struct model *model, const char *name, float value)
{
    model_floats(model, name, "", &value);
}

struct graph *model_read(const struct model *model)
{
    struct graph *graph;
    struct error err;

    if (onnx_read(model->out.bytes, model->out.size, &graph, &err) != STATUS_OK)
        fail_msg("%s: %s", status_name(err.code), err.message);
    return graph;
}

void model_refused(const struct model *model, int status, const char *text)
{
    struct graph *graph;
    struct error err = {0};

    const int got = onnx_read(model->out.bytes, model->out.size, &graph, &err);
    if (got == STATUS_OK)
        graph_free(graph);
    if (got != status || err.code != status || strstr(err.message, text) == NULL)
        fail_msg("%s instead of %s; '%s' should mention '%s'", status_name(got),
                 status_name(status), err.message, text);
}

struct tensor *graph_sample(const struct graph *graph, int64_t n)
{
    struct shape shape = graph->values[graph->inputs[0]].shape;
    struct tensor *input;
    struct rng rng;

    shape.dims[0] = n;
    assert_int_equal(tensor_create(DTYPE_F32, &shape, &input, NULL), STATUS_OK);
    rng_seed(&rng, 7);
    for (size_t i = 0; i < input->size / sizeof(float); i++)
        ((float *)input->data)[i] = (float)(2 * rng_normal(&rng));
    return input;
}

struct tensor *graph_run(const struct graph *graph, int64_t n)
{
    struct tensor *input = graph_sample(graph, n);
    struct tensor *output;
    struct error err;

    if (reference_run(graph, input, &output, &err) != STATUS_OK)
        fail_msg("%s: %s", status_name(err.code), err.message);
    tensor_free(input);
    return output;
}

void assert_tensors_near(const struct tensor *a, const struct tensor *b, float tolerance)
{
    char text_a[128], text_b[128];

    if (!shape_equal(&a->shape, &b->shape))
        fail_msg("%s is not %s", shape_text(&a->shape, text_a, sizeof text_a),
                 shape_text(&b->shape, text_b, sizeof text_b));
    const float *x = a->data, *y = b->data;
    const size_t count = a->size / sizeof *x;
    float largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(x[i] - y[i]) <= tolerance * largest))
            fail_msg("element %zu: %g is not %g", i, (double)y[i], (double)x[i]);
}

int count_op(const struct graph *graph, enum op op)
{
    int count = 0;
    for (int i = 0; i < graph->node_count; i++)
        count += graph->nodes[i].op == op;
    return count;
}
