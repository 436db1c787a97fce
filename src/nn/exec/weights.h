/* The constants of an engine, in every layout its plans ask for.
 *
 * A layout is made once, by a reorder from the graph's own row-major tensor, and shared by all
 * plans and sessions. Tensors that have been laid out can then be dropped (weights_trim), so that
 * an engine holds its weights once; should a later plan want another layout, it is made from one
 * that is held. Not thread-safe: the engine calls under its lock. What is returned stays valid
 * until the store is freed and may be read by any thread. */
#ifndef NN_WEIGHTS_H
#define NN_WEIGHTS_H

#include <stddef.h>

#include "nn/exec/onednn.h"
#include "nn/graph/graph.h"

struct weights;

/* `graph` stays the caller's and must outlive the store, which may drop its constants' data. */
int weights_create(struct graph *graph, dnnl_engine_t engine, struct weights **out,
                   struct error *err);
void weights_free(struct weights *weights);

/* The constant `value` as the graph had it, row-major. Keeps it from being trimmed. */
int weights_tensor(struct weights *weights, int value, const struct tensor **out,
                   struct error *err);

/* The constant in the layout `target`. `plain` describes the row-major f32 constant with the
 * dimensions the target has (a grouped convolution's weights have one more than the graph's). */
int weights_memory(struct weights *weights, int value, onednn_desc_ref plain,
                   onednn_desc_ref target, dnnl_memory_t *out, struct error *err);

/* Frees the row-major data that no plan reads and that a held layout can give back. */
void weights_trim(struct weights *weights);

/* Bytes held in all layouts, row-major tensors included. */
size_t weights_size(const struct weights *weights);

#endif
