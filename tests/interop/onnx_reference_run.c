/* Our side of onnx_peers.py:
 *
 *   onnx_reference_run new ARCH INPUT CLASSES SEED FILE     writes an untrained architecture
 *   onnx_reference_run convert FROM TO f32|f16 [optimised]  reads a model, writes it again
 *   onnx_reference_run run MODEL BATCH INPUT OUTPUT         runs it with the plain executor; INPUT
 *                                                           and OUTPUT are raw f32
 *
 * Prints the error and exits with 1 when something fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "base/text.h"
#include "nn/arch/arch.h"
#include "nn/graph/passes.h"
#include "nn/graph/reference.h"
#include "nn/onnx/onnx.h"

static int read_number(const char *text, int64_t *number, struct error *err)
{
    if (text_read_integer(text, number) != 0)
        return error_set(err, STATUS_INVALID, "'%s' is no number", text);
    return STATUS_OK;
}

/* Batch norms as training might leave them: as they are built, every one is the identity. */
static void unsettle_batch_norms(struct graph *graph, uint64_t seed)
{
    struct rng rng;

    rng_seed(&rng, seed);
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

static int new_architecture(char **arguments, struct error *err)
{
    const struct onnx_write_options as_f32 = {.weights = DTYPE_F32};
    struct graph *graph = NULL;
    int64_t input, classes, seed;

    int status = read_number(arguments[1], &input, err);
    if (status == STATUS_OK)
        status = read_number(arguments[2], &classes, err);
    if (status == STATUS_OK)
        status = read_number(arguments[3], &seed, err);
    if (status != STATUS_OK)
        return status;
    const struct arch_options options = {
        .classes = (int)classes, .input = (int)input, .seed = (uint64_t)seed};
    status = arch_build(arguments[0], &options, &graph, err);
    if (status != STATUS_OK)
        return status;
    unsettle_batch_norms(graph, options.seed);
    status = onnx_save(graph, arguments[4], &as_f32, err);
    graph_free(graph);
    return status;
}

static int convert(int count, char **arguments, struct error *err)
{
    const struct onnx_write_options options = {
        .weights = strcmp(arguments[2], "f16") == 0 ? DTYPE_F16 : DTYPE_F32};
    struct graph *graph;

    int status = onnx_load(arguments[0], &graph, err);
    if (status != STATUS_OK)
        return status;
    if (count > 3 && strcmp(arguments[3], "optimised") == 0)
        status = passes_optimise(graph, err);
    if (status == STATUS_OK)
        status = onnx_save(graph, arguments[1], &options, err);
    graph_free(graph);
    return status;
}

/* The file's bytes as a batch for the graph's input. */
static int read_input(const struct graph *graph, int64_t batch, const char *path,
                      struct tensor **out, struct error *err)
{
    struct shape shape = graph->values[graph->inputs[0]].shape;
    struct tensor *input = NULL;
    uint8_t *bytes = NULL;
    size_t size;

    shape.dims[0] = batch;
    int status = tensor_create(DTYPE_F32, &shape, &input, err);
    if (status == STATUS_OK)
        status = file_read(path, input->size, &bytes, &size, err);
    if (status == STATUS_OK && size != input->size)
        status = error_set(err, STATUS_INVALID, "'%s' has %zu bytes instead of %zu", path, size,
                           input->size);
    if (status == STATUS_OK)
        memcpy(input->data, bytes, size);
    free(bytes);
    if (status != STATUS_OK) {
        tensor_free(input);
        return status;
    }
    *out = input;
    return STATUS_OK;
}

static int run(char **arguments, struct error *err)
{
    struct graph *graph = NULL;
    struct tensor *input = NULL, *output = NULL;
    int64_t batch;

    int status = read_number(arguments[1], &batch, err);
    if (status == STATUS_OK)
        status = onnx_load(arguments[0], &graph, err);
    if (status == STATUS_OK)
        status = read_input(graph, batch, arguments[2], &input, err);
    if (status == STATUS_OK)
        status = reference_run(graph, input, &output, err);
    if (status == STATUS_OK)
        status = file_write_atomic(arguments[3], output->data, output->size, false, err);
    tensor_free(output);
    tensor_free(input);
    graph_free(graph);
    return status;
}

int main(int count, char **arguments)
{
    struct error err = {0};
    int status;

    if (count == 7 && strcmp(arguments[1], "new") == 0)
        status = new_architecture(arguments + 2, &err);
    else if (count >= 5 && strcmp(arguments[1], "convert") == 0)
        status = convert(count - 2, arguments + 2, &err);
    else if (count == 6 && strcmp(arguments[1], "run") == 0)
        status = run(arguments + 2, &err);
    else
        status = error_set(&err, STATUS_INVALID, "see the top of onnx_reference_run.c");
    if (status != STATUS_OK)
        fprintf(stderr, "onnx_reference_run: %s: %s\n", status_name(status), err.message);
    return status == STATUS_OK ? 0 : 1;
}
