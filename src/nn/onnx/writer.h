/* Writing our graph as an ONNX model: what the parts of the writer share. Private to nn/onnx.
 * writer.c lays out the file, writer_nodes.c spells out each operator. */
#ifndef NN_ONNX_WRITER_H
#define NN_ONNX_WRITER_H

#include "nn/onnx/onnx.h"
#include "nn/onnx/wire.h"

struct writer {
    const struct graph *graph;
    struct wire_writer *out; /* inside the graph message */
};

/* The whole model, as onnx_save writes it, appended to `out`, which the caller frees. */
int onnx_encode(const struct graph *graph, const struct onnx_write_options *options,
                struct wire_writer *out, struct error *err);

/* A tensor as an initialiser of that name. */
void writer_put_tensor(struct writer *writer, const char *name, const struct tensor *tensor);
/* A small one: i64 vector, or f32 scalar. */
void writer_put_integers(struct writer *writer, const char *name, const int64_t *values, int count);
void writer_put_number(struct writer *writer, const char *name, float value);

/* "<stem><suffix>", made different from all values of the graph. The suffix starts with the only
 * slash in it; then two such names are the same only for the same stem and suffix. malloc'd; NULL
 * when out of memory. */
char *writer_name(const struct writer *writer, const char *stem, const char *suffix);

/* A node without attributes, of one or two inputs. */
void writer_put_node(struct writer *writer, const char *operator_name, const char *name,
                     const char *a, const char *b, const char *output);
/* A cast of one weight; the same with its attribute. */
void writer_put_cast(struct writer *writer, const char *input, const char *output,
                     enum dtype dtype);

/* All nodes of the graph. */
int writer_put_nodes(struct writer *writer, struct error *err);

#endif
