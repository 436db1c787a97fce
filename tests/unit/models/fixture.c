/* Packages of tiny networks: see fixture.h. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <limits.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "fixture.h"
#include "nn/onnx/onnx.h"

const struct tiny tiny_colours = {
    .name = "colours",
    .classes = 4,
    .weights = {{9, 0, 0}, {0, 9, 0}, {0, 0, 9}, {0, 0, 0}},
    .bias = {0, 0, 0, 2},
};

static void check(int status, const struct error *err)
{
    if (status < 0)
        fail_msg("%s", err->message);
}

static int add_constant(struct graph *graph, const char *name, const struct shape *shape,
                        const float *values, struct error *err)
{
    struct tensor *tensor = NULL;
    check(tensor_create(DTYPE_F32, shape, &tensor, err), err);
    memcpy(tensor->data, values, tensor->size);
    const int value = graph_add_value(graph, name, tensor, err);
    check(value, err);
    return value;
}

void fixture_network(const char *path, const struct tiny *tiny)
{
    const struct shape input = {4, {DIM_ANY, 3, 8, 8}};
    const struct shape weights = {4, {tiny->classes, 3, 1, 1}};
    const struct shape bias = {1, {tiny->classes}};
    struct graph *graph = NULL;
    struct error err = {0};

    check(graph_create(&graph, &err), &err);
    int x = graph_add_input(graph, "image", &input, &err);
    check(x, &err);
    const int w = add_constant(graph, "weights", &weights, &tiny->weights[0][0], &err);
    const int b = add_constant(graph, "bias", &bias, tiny->bias, &err);
    x = graph_add_node(graph, OP_CONV, "colour", (int[]){x, w, b}, 3, &err);
    check(x, &err);
    struct node *node = &graph->nodes[graph->node_count - 1];
    node->u.conv.groups = 1;
    node->u.conv.window = (struct window){{1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}};
    x = graph_add_node(graph, OP_GLOBAL_AVERAGE_POOL, "mean", &x, 1, &err);
    check(x, &err);
    x = graph_add_node(graph, OP_FLATTEN, "flat", &x, 1, &err);
    check(x, &err);
    graph->nodes[graph->node_count - 1].u.axis.axis = 1;
    check(graph_add_output(graph, x, &err), &err);
    check(graph_infer_shapes(graph, DIM_ANY, &err), &err);
    check(onnx_save(graph, path, &(struct onnx_write_options){.weights = DTYPE_F32}, &err), &err);
    graph_free(graph);
}

void fixture_write(const char *path, const char *text)
{
    struct error err = {0};
    check(file_write_atomic(path, text, strlen(text), false, &err), &err);
}

void fixture_package(const char *folder, const struct tiny *tiny)
{
    static const char *const labels[] = {"[red]", "[red, green]", "[red, green, blue]",
                                         "[red, green, blue, none]"};
    struct error err = {0};
    char text[1024];

    check(folder_make(folder, false, &err), &err);
    fixture_network(fixture_path(folder, "model.onnx"), tiny);
    snprintf(
        text, sizeof text,
        "name: %s\nversion: '%s'\nlabels: %s\npreprocess: {preset: raw01, width: 8, height: 8}\n"
        "%s",
        tiny->name, tiny->version != NULL ? tiny->version : "1", labels[tiny->classes - 1],
        tiny->extra != NULL ? tiny->extra : "");
    fixture_write(fixture_path(folder, "model.yaml"), text);
}

void fixture_png(const char *path, int r, int g, int b)
{
    enum { SIDE = 12 };
    uint8_t pixels[SIDE * SIDE * 3];
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = SIDE, .height = SIDE, .format = PNG_FORMAT_RGB};

    for (int i = 0; i < SIDE * SIDE; i++) {
        pixels[3 * i] = (uint8_t)r;
        pixels[3 * i + 1] = (uint8_t)g;
        pixels[3 * i + 2] = (uint8_t)b;
    }
    assert_true(png_image_write_to_file(&image, path, 0, pixels, 0, NULL));
}

const char *fixture_path(const char *folder, const char *name)
{
    static char buffers[8][PATH_MAX];
    static unsigned next;
    char *buffer = buffers[next++ % 8];
    snprintf(buffer, PATH_MAX, "%s/%s", folder, name);
    return buffer;
}

char *fixture_folder(void)
{
    char *folder = strdup("/tmp/ocelli-test-models-XXXXXX");
    assert_non_null(folder);
    assert_non_null(mkdtemp(folder));
    return folder;
}
