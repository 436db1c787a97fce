/* Damaged files and exhausted memory: whatever the bytes, reading ends with a status, without
 * touching a byte outside and without losing memory (the sanitizers watch both). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "nn/onnx/onnx.h"
#include "nn/onnx/writer.h"
#include "onnx_models.h"

/* The linker sends every allocation through here (-Wl,--wrap). The one that brings the count down
 * to zero fails; a negative count never does. */
static long allocations_left = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static bool allocation_fails(void)
{
    return allocations_left >= 0 && allocations_left-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return allocation_fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return allocation_fails() ? NULL : __real_aligned_alloc(alignment, size);
}

/* A small network with every kind of message and most operators in it. */
static void build_model(struct model *model)
{
    size_t node;

    model_open(model, 13);
    model_input(model, "x", "? 3 8 8");
    model_weights(model, "w", "4 3 3 3");
    model_weights(model, "b", "4");
    model_weights(model, "v", "4");
    model_weights(model, "fc", "4 5");
    model_scalar(model, "low", 0);
    model_scalar(model, "high", 6);
    model_integers(model, "zero", "0");
    model_integers(model, "one", "1");
    model_integers(model, "rest", "-1");
    model_integers(model, "pads", "0 0 1 1 0 0 1 1");
    node = model_node(model, "Conv", "x w b", "conv");
    model_ints(model, "strides", "2 2");
    model_text(model, "auto_pad", "SAME_UPPER");
    model_node_end(model, node);
    node = model_node(model, "BatchNormalization", "conv b b b v", "bn");
    model_float(model, "epsilon", 1e-3f);
    model_node_end(model, node);
    model_plain(model, "Clip", "bn low high", "relu6");
    model_plain(model, "Pad", "relu6 pads", "padded");
    node = model_node(model, "MaxPool", "padded", "pool");
    model_ints(model, "kernel_shape", "2 2");
    model_node_end(model, node);
    node = model_node(model, "Concat", "pool pool", "pair");
    model_int(model, "axis", 1);
    model_node_end(model, node);
    model_plain(model, "Slice", "pair zero rest one", "sliced");
    node = model_node(model, "Transpose", "pool", "turned");
    model_ints(model, "perm", "0 1 3 2");
    model_node_end(model, node);
    model_plain(model, "Sum", "pool turned pool", "sum");
    model_plain(model, "GlobalAveragePool", "sum", "mean");
    model_plain(model, "Shape", "mean", "shape");
    model_plain(model, "Slice", "shape zero one", "batch");
    node = model_node(model, "Concat", "batch rest", "target");
    model_int(model, "axis", 0);
    model_node_end(model, node);
    model_plain(model, "Reshape", "mean target", "flat");
    node = model_node(model, "Gemm", "flat fc", "logits");
    model_float(model, "alpha", 0.5f);
    model_node_end(model, node);
    model_plain(model, "Softmax", "logits", "y");
    model_output(model, "y");
    model_close(model);
}

/* Reads a copy that ends exactly where its memory does, so that a read beyond is seen. */
static int read_copy(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    struct graph *graph = NULL;
    struct error err = {0};

    assert_non_null(copy);
    memcpy(copy, bytes, size);
    const int status = onnx_read(copy, size, &graph, &err);
    free(copy);
    if (status == STATUS_OK) {
        assert_true(graph->input_count >= 1 && graph->output_count >= 1);
        graph_free(graph);
    } else {
        assert_int_equal(status, err.code);
        assert_true(err.message[0] != '\0');
        assert_true(status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED ||
                    status == STATUS_TOO_LARGE);
    }
    return status;
}

static void test_whole_model_is_read(void **state)
{
    struct model model;
    (void)state;

    build_model(&model);
    struct graph *graph = model_read(&model);
    tensor_free(graph_run(graph, 2));
    graph_free(graph);
    model_free(&model);
}

static void test_every_prefix(void **state)
{
    struct model model;
    (void)state;

    build_model(&model);
    for (size_t size = 0; size < model.out.size; size++)
        assert_int_equal(read_copy(model.out.bytes, size), STATUS_CORRUPT);
    model_free(&model);
}

static void test_single_bytes(void **state)
{
    static const uint8_t replacements[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    struct model model;
    struct rng rng;
    int refused = 0;
    (void)state;

    build_model(&model);
    rng_seed(&rng, 1);
    for (size_t i = 0; i < model.out.size; i++) {
        const uint8_t good = model.out.bytes[i];
        for (size_t j = 0; j <= sizeof replacements; j++) {
            model.out.bytes[i] = j < sizeof replacements
                                     ? replacements[j]
                                     : (uint8_t)(good ^ (1u << rng_below(&rng, 8)));
            refused += read_copy(model.out.bytes, model.out.size) != STATUS_OK;
        }
        model.out.bytes[i] = good;
    }
    assert_true(refused > (int)model.out.size);
    model_free(&model);
}

/* A few bytes at once, or a part cut out: what comes through has several things wrong. */
static void test_several_bytes(void **state)
{
    struct model model;
    struct rng rng;
    (void)state;

    build_model(&model);
    uint8_t *bytes = malloc(model.out.size);
    assert_non_null(bytes);
    rng_seed(&rng, 2);
    for (int round = 0; round < 5000; round++) {
        size_t size = model.out.size;
        memcpy(bytes, model.out.bytes, size);
        for (uint32_t i = rng_below(&rng, 4); i > 0; i--)
            bytes[rng_below(&rng, (uint32_t)size)] = (uint8_t)rng_below(&rng, 256);
        if (rng_below(&rng, 2) == 0) {
            const size_t from = rng_below(&rng, (uint32_t)size);
            const size_t cut = rng_below(&rng, (uint32_t)(size - from));
            memmove(bytes + from, bytes + from + cut, size - from - cut);
            size -= cut;
        }
        read_copy(bytes, size);
    }
    free(bytes);
    model_free(&model);
}

/* Reads, and writes what was read, with the n-th allocation failing, for every n there is. */
static void test_every_allocation(void **state)
{
    const struct onnx_write_options options = {.weights = DTYPE_F16};
    struct model model;
    long failed = 0;
    int status;
    (void)state;

    build_model(&model);
    do {
        struct graph *graph = NULL;
        struct wire_writer written = {0};
        allocations_left = failed++;
        status = onnx_read(model.out.bytes, model.out.size, &graph, NULL);
        if (status == STATUS_OK)
            status = onnx_encode(graph, &options, &written, NULL);
        allocations_left = -1;
        assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
        wire_writer_free(&written);
        graph_free(graph);
    } while (status != STATUS_OK);
    assert_true(failed > 100);
    model_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_model_is_read), cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_single_bytes),        cmocka_unit_test(test_several_bytes),
        cmocka_unit_test(test_every_allocation),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
