/* Models for the tests, put together field by field, so that every form an exporter may use can be
 * written, the outdated and the broken ones too. All failures are assertions. */
#ifndef TESTS_ONNX_MODELS_H
#define TESTS_ONNX_MODELS_H

#include "nn/graph/graph.h"
#include "nn/onnx/proto.h"
#include "nn/onnx/wire.h"

struct model {
    struct wire_writer out;
    size_t graph; /* where the open graph message begins */
};

/* Opens a model; model_close ends it and model_free drops it. */
void model_open(struct model *model, int64_t opset);
void model_close(struct model *model);
void model_free(struct model *model);

/* Shapes and lists are texts: "? 3 8 8" ("?" is a named dimension), "x w - b" ("-" is omitted). */
void model_input(struct model *model, const char *name, const char *shape);
void model_output(struct model *model, const char *name);
size_t model_node(struct model *model, const char *op, const char *inputs, const char *outputs);
void model_node_end(struct model *model, size_t node);
/* A node without attributes. */
void model_plain(struct model *model, const char *op, const char *inputs, const char *outputs);

/* Attributes of the open node. */
void model_int(struct model *model, const char *name, int64_t value);
void model_float(struct model *model, const char *name, float value);
void model_text(struct model *model, const char *name, const char *value);
void model_ints(struct model *model, const char *name, const char *values);

/* Weights: f32 of small reproducible numbers; given numbers; raw bytes of any element type. */
void model_weights(struct model *model, const char *name, const char *shape);
void model_floats(struct model *model, const char *name, const char *shape, const float *values);
void model_integers(struct model *model, const char *name, const char *values);
void model_scalar(struct model *model, const char *name, float value);
void model_raw(struct model *model, uint32_t field, const char *name, int64_t type,
               const char *shape, const void *bytes, size_t size);

/* Reads the closed model, which must succeed; the caller frees the graph. */
struct graph *model_read(const struct model *model);
/* Reads it, which must fail with that status and a message holding `text`. */
void model_refused(const struct model *model, int status, const char *text);
/* The graph's output for an input of n images of reproducible numbers; the caller frees it. */
struct tensor *graph_run(const struct graph *graph, int64_t n);
/* That input. */
struct tensor *graph_sample(const struct graph *graph, int64_t n);
/* Of the same shape, and no element further apart than `tolerance` times the largest of `a`. */
void assert_tensors_near(const struct tensor *a, const struct tensor *b, float tolerance);
int count_op(const struct graph *graph, enum op op);

#endif
