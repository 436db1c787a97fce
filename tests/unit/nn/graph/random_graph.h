/* Random small networks, for tests that compare two ways of running one. */
#ifndef TEST_RANDOM_GRAPH_H
#define TEST_RANDOM_GRAPH_H

#include "base/rng.h"
#include "nn/graph/graph.h"

/* An input [?, c, s, s] of few channels and pixels, 3 to 14 operators of those classifiers use
 * (convolutions of all kinds, batch norms, every activation, residuals, gates, pools, pads, affine
 * constants), and a head ending in [?, classes]. Every constant is random. */
struct graph *random_graph(struct rng *rng);
struct tensor *random_tensor(struct rng *rng, const struct shape *shape, double low, double high);
/* Random images for a graph's input. */
struct tensor *random_input(struct rng *rng, const struct graph *graph, int batch);
/* Overwrites the constants of all batch norms, which freshly built networks have at 0 and 1. */
void randomise_batch_norms(struct rng *rng, struct graph *graph);
/* The largest difference, relative to the largest magnitude of `a`. */
double relative_difference(const struct tensor *a, const struct tensor *b);

#endif
