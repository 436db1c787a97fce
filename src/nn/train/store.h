/* The numbers that training changes: one flat fp32 array per role, holding every parameter at the
 * same offset. Those that weight decay touches come first, then the other trained ones, then the
 * running statistics of batch norms, which are averaged but not trained. */
#ifndef NN_TRAIN_STORE_H
#define NN_TRAIN_STORE_H

#include "nn/graph/graph.h"

enum parameter_kind {
    PARAMETER_DECAYED,   /* convolution and gemm weights */
    PARAMETER_PLAIN,     /* biases, batch-norm scale and bias */
    PARAMETER_STATISTIC, /* running mean and variance */
    PARAMETER_KIND_COUNT,
};

struct parameter {
    int value; /* the graph's constant it comes from, row-major there */
    enum parameter_kind kind;
    int64_t offset, count;
    /* Convolution weights [o, i, kh, kw] are kept as [o, kh, kw, i]: `inner` is i and `outer`
     * kh*kw. Both 1 for all else, which is kept as it is. */
    int64_t inner, outer;
};

struct store {
    struct parameter *items;
    int count;
    int *of_value;                     /* graph value -> item, or -1 */
    int64_t end[PARAMETER_KIND_COUNT]; /* where each kind's range ends; they follow each other */
    float *weight, *velocity, *average, *gradient; /* each end[PARAMETER_STATISTIC] long */
    uint64_t steps;
};

/* Collects the constants of `graph` and copies their content. The caller owns *out. */
int store_create(const struct graph *graph, struct store **out, struct error *err);
void store_free(struct store *store);

/* The item of a graph value, or NULL. */
const struct parameter *store_find(const struct store *store, int value);
/* A hash of names, kinds and sizes: two stores with the same one can exchange their content. */
uint64_t store_signature(const struct store *store, const struct graph *graph);
/* Writes weights (or averages) into the constants of a graph like the one given to store_create. */
void store_export(const struct store *store, bool averaged, struct graph *graph);

#endif
