/* ONNX files (onnx.ai), the part that image classifiers use: opsets 7 to 21 are read, opset 17 at
 * IR version 8 is written. The protobuf wire format is handled here directly: wire.h has the
 * format, proto.h the messages, reader.h and writer.h lead into the two directions. */
#ifndef NN_ONNX_H
#define NN_ONNX_H

#include <stddef.h>
#include <stdint.h>

#include "nn/graph/graph.h"

/* Reads a model from memory or a file. f16 and bf16 weights become f32. External data files are
 * refused. Runs passes_canonicalise and graph_infer_shapes(DIM_ANY) on the result. A missing
 * operator or attribute is STATUS_UNSUPPORTED, naming node and operator; anything malformed is
 * STATUS_CORRUPT; never reads past `bytes`. The caller owns *out. */
int onnx_read(const uint8_t *bytes, size_t size, struct graph **out, struct error *err);
int onnx_load(const char *path, struct graph **out, struct error *err);

struct onnx_write_options {
    enum dtype weights; /* DTYPE_F32, or DTYPE_F16: stored as f16 with a Cast to f32 per weight */
    const char *name;   /* the graph's name; NULL for "ocelli" */
    const char *doc;    /* doc_string; may be NULL */
};

/* Writes the graph (unfused or fused: fused parts are expanded into ONNX operators) at opset 17
 * through a temporary file and a rename. Other runtimes load it and agree. */
int onnx_save(const struct graph *graph, const char *path, const struct onnx_write_options *options,
              struct error *err);

#endif
