/* Reading an ONNX graph into ours: what the parts of the reader share. Private to nn/onnx.
 * reader.c goes through the file; reader_nodes.c has the table of operators, and reader_operators.h
 * what stands behind it. */
#ifndef NN_ONNX_READER_H
#define NN_ONNX_READER_H

#include "nn/graph/graph.h"
#include "nn/onnx/names.h"
#include "nn/onnx/proto.h"

enum { OPSET_MIN = 7, OPSET_MAX = 21 };

/* Stands in `values` for outputs that are not computed here, such as the mask of Dropout. */
enum { VALUE_NOT_COMPUTED = -2 };

struct reader {
    struct graph *graph;      /* as far as read: a valid graph without outputs */
    int64_t opset;            /* OPSET_MIN .. OPSET_MAX */
    struct name_table values; /* ONNX value name -> value of the graph, or VALUE_NOT_COMPUTED */
    struct name_table nodes;  /* node names taken */
    int inferences;           /* how often shapes were wanted before the end; bounded */
};

/* Adds one node and binds its outputs. The error names node and operator. */
int reader_add_node(struct reader *reader, const struct proto_node *proto, struct error *err);

/* Adds a constant, of f32 where it was of another float type. Takes ownership of `tensor`. Returns
 * its value or a negative status; `name` may be NULL. */
int reader_add_constant(struct reader *reader, const char *name, struct tensor *tensor,
                        struct error *err);
/* Names a value as the file does. */
int reader_name_value(struct reader *reader, int value, struct wire_text name, struct error *err);

/* The shape and type of a value, inferring as far as the graph goes when they are not known yet. */
int reader_value(struct reader *reader, int value, const struct value **out, struct error *err);

#endif
