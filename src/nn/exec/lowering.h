/* What lowering.c offers the lowerings (lower_*.c) while a plan is being made.
 *
 * A lowering turns one node into steps, or returns LOWER_DECLINED before adding any, and the node
 * goes to the reference executor. A value may exist in several layouts at once; asking for one it
 * does not have adds a reorder. */
#ifndef NN_LOWERING_H
#define NN_LOWERING_H

#include "nn/exec/exec_plan.h"

enum { LOWER_DECLINED = 1 };

struct value_state {
    int tensors[LAYOUT_COUNT]; /* index, or -1 */
    int uses;                  /* reads not yet lowered; the graph's output counts as one */
};

struct lowering {
    const struct exec_source *source;
    struct graph *graph;
    struct exec_plan *plan;
    struct value_state *values;
    const struct node *node; /* being lowered */
    struct error *err;
};

const struct shape *lowering_shape(const struct lowering *l, int value);
bool lowering_is_constant(const struct lowering *l, int value);
/* Whether value is an f32 activation that oneDNN can describe. */
bool lowering_is_f32(const struct lowering *l, int value);

/* Describes a value of this shape in a layout; onednn_desc_free is due on success. */
int lowering_desc(const struct lowering *l, enum layout layout, const struct shape *shape,
                  onednn_desc *out);
/* The layouts to try for a picture, best first; returns how many. */
int lowering_layouts(const struct lowering *l, enum layout out[LAYOUT_COUNT]);
/* As above, with those that the value already has in front. */
int lowering_layouts_of(const struct lowering *l, int value, enum layout out[LAYOUT_COUNT]);

/* A fresh tensor, or one that shares the bytes of `root`. Returns its index or a negative status.
 */
int lowering_tensor(struct lowering *l, enum layout layout, enum dtype dtype,
                    const struct shape *shape);
int lowering_view(struct lowering *l, int root, enum layout layout, const struct shape *shape);
/* The value in a layout, reordered when it is not there yet. Index or negative status. */
int lowering_obtain(struct lowering *l, int value, enum layout layout);
/* As lowering_obtain, in memory that this node may overwrite: its own when the node is the last to
 * read it, else a copy. */
int lowering_obtain_writable(struct lowering *l, int value, enum layout layout);
/* The tensor's content in a fresh tensor of the same layout. Index or negative status. */
int lowering_copy(struct lowering *l, int tensor);
int lowering_reorder(struct lowering *l, int from, int to);
/* Whether nothing after this node reads the bytes of `tensor`, nor does anybody outside. */
bool lowering_is_last_use(const struct lowering *l, int tensor);
void lowering_define(struct lowering *l, int value, int tensor);

/* A new last step for the node being lowered. Index or negative status. */
int lowering_step(struct lowering *l, enum step_kind kind, const char *operator_name);
int lowering_argument(struct lowering *l, int step, int role, int tensor);
int lowering_argument_memory(struct lowering *l, int step, int role, dnnl_memory_t memory);
int lowering_argument_data(struct lowering *l, int step, int role, const void *data);
/* A step of a primitive with its scratchpad; `pd` stays the caller's. */
int lowering_primitive(struct lowering *l, dnnl_primitive_desc_t pd, const char *operator_name);
/* Says in the plan's text that the step ends in an activation. */
void lowering_note_activation(struct lowering *l, int step, enum activation activation);
/* Memory that the plan owns, zeroed; NULL when there is none. */
float *lowering_floats(struct lowering *l, size_t count);

/* The name oneDNN gives an implementation. */
const char *onednn_implementation(dnnl_primitive_desc_t pd);
/* `pd`, unless the implementation is one of the library's reference ones, two orders of magnitude
 * slower: that is destroyed, and NULL returned. */
dnnl_primitive_desc_t lowering_optimised(dnnl_primitive_desc_t pd);
/* Appends an activation as post-ops. dnnl_unimplemented for one it has not. */
dnnl_status_t lowering_append_activation(dnnl_post_ops_t ops, enum activation activation, float a,
                                         float b);
/* Describes a node's primitive in a layout; *out stays NULL where the library has no optimised one.
 */
typedef int (*lowering_attempt)(struct lowering *l, const struct node *node, enum layout layout,
                                dnnl_primitive_desc_t *out);
/* Appends the step once its primitive is described. */
typedef int (*lowering_addition)(struct lowering *l, const struct node *node, enum layout layout,
                                 dnnl_primitive_desc_t pd);
/* Adds the node in the first layout that the library has an optimised implementation for. */
int lowering_first_of(struct lowering *l, const struct node *node, const enum layout *layouts,
                      int count, lowering_attempt attempt, lowering_addition add);
/* Attributes with a scratchpad of the caller's; post-ops taken as they are when not NULL. */
dnnl_status_t lowering_attributes(const_dnnl_post_ops_t ops, dnnl_primitive_attr_t *out);
/* Whether our own swish, a step in place after the operator, beats the library's post-op here. */
bool lowering_own_swish(const struct lowering *l);
/* Appends the step that applies swish to `tensor` in place. */
int lowering_swish(struct lowering *l, int tensor);

/* Lowerings, by operator. STATUS_OK, LOWER_DECLINED, or a failure. */
int lower_convolution(struct lowering *l, const struct node *node);
int lower_gemm(struct lowering *l, const struct node *node);
/* A 1x1 convolution of a 1x1 map, as a product; bias is a value or -1. */
int lower_map_product(struct lowering *l, const struct node *node, int bias);
int lower_activation(struct lowering *l, const struct node *node);
int lower_binary(struct lowering *l, const struct node *node);
int lower_batch_norm(struct lowering *l, const struct node *node);
int lower_pool(struct lowering *l, const struct node *node);
int lower_global_average_pool(struct lowering *l, const struct node *node);
int lower_view(struct lowering *l, const struct node *node);
int lower_concat(struct lowering *l, const struct node *node);
int lower_softmax(struct lowering *l, const struct node *node);
int lower_reference(struct lowering *l, const struct node *node);

#endif
