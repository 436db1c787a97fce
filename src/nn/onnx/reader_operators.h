/* How single operators are read: what the files behind the table in reader_nodes.c share. Private
 * to nn/onnx. */
#ifndef NN_ONNX_READER_OPERATORS_H
#define NN_ONNX_READER_OPERATORS_H

#include "nn/onnx/reader.h"

struct operation;

/* Adds the node (or nodes) of one operation. Returns the value of its first output, which may be
 * one that was there before, or a negative status. */
typedef int (*operator_reader)(const struct operation *operation, struct error *err);

struct operator_row {
    const char *name;
    enum op op;
    int inputs_min, inputs_max; /* those that must be there; those that may */
    operator_reader read;
};

/* One node on its way into the graph. */
struct operation {
    struct reader *reader;
    const struct proto_node *proto;
    const struct operator_row *row;
    const int *inputs; /* values of the graph, -1 where omitted; none at the end are omitted */
    int input_count;
    const char *name; /* for the node; not NULL */
};

/* Adds the row's operator with all inputs, its attributes zero: an operator_reader too. */
int operation_add(const struct operation *operation, struct error *err);
/* The node added last, for its attributes. */
struct node *operation_node(const struct operation *operation);
/* The integer attribute `name`, which must fit an int. */
int operation_int(const struct operation *operation, const char *name, int64_t otherwise, int *out,
                  struct error *err);

/* Reads kernel_shape, strides, dilations, pads and auto_pad; `weights` is the value whose last two
 * dimensions are the kernel when kernel_shape is absent, -1 when there is none. */
int reader_window(const struct operation *operation, int weights, struct window *window,
                  struct error *err);

int layout_read_softmax(const struct operation *operation, struct error *err);
int layout_read_axes(const struct operation *operation, struct error *err);
int layout_read_pad(const struct operation *operation, struct error *err);
int layout_read_slice(const struct operation *operation, struct error *err);
int layout_read_reshape(const struct operation *operation, struct error *err);

#endif
