/* The ONNX reader on any bytes; what it takes must be writable and be taken again. For a corpus,
 * small models: `ocelli models new` with few classes, cut down, or any exporter's. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "nn/onnx/onnx.h"
#include "nn/onnx/writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* assert() that stays in release builds. */
static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const struct onnx_write_options options = {.weights = DTYPE_F16};
    struct wire_writer written = {0};
    struct graph *graph = NULL, *again = NULL;
    struct error err = {0};

    const int status = onnx_read(bytes, size, &graph, &err);
    must(status == err.code && (status == STATUS_OK) == (graph != NULL));
    if (status != STATUS_OK)
        return 0;
    if (onnx_encode(graph, &options, &written, &err) == STATUS_OK) {
        must(onnx_read(written.bytes, written.size, &again, &err) == STATUS_OK);
        must(again->input_count == graph->input_count);
        must(again->output_count == graph->output_count);
    }
    wire_writer_free(&written);
    graph_free(again);
    graph_free(graph);
    return 0;
}
