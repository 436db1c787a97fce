/* What passes do to graphs. Private to nn/graph.
 *
 * While a pass edits, indices stay what they are: a node that goes is left empty (no inputs, no
 * outputs), a node that is added comes last. graph_compact at the end of the pass puts all right.
 */
#ifndef NN_EDIT_H
#define NN_EDIT_H

#include "nn/graph/graph.h"

/* How many node inputs and graph outputs read a value. */
int edit_use_count(const struct graph *graph, int value);
/* The node that alone reads a value, which is then no output of the graph; -1 when there is none.
 */
int edit_sole_consumer(const struct graph *graph, int value);
/* The node of operator `op` that computes a value; -1 when another does. */
int edit_producer(const struct graph *graph, int value, enum op op);
/* Whether a value is one constant number (of whatever float type and rank). */
bool edit_scalar(const struct graph *graph, int value, float *out);
/* The f32 constant of a value, NULL when it is none. */
const struct tensor *edit_constant(const struct graph *graph, int value);

/* Everything that read `from` reads `to`. An output of the graph keeps its name. */
void edit_replace(struct graph *graph, int from, int to);
void edit_remove_node(struct graph *graph, int node);
/* Removes a node that passes its first input on unchanged. */
void edit_bypass(struct graph *graph, int node);
/* Node `kept`, whose output `last` alone reads, takes over the place and the output of `last`,
 * which goes. Order holds: all that `last` read comes before its place. */
void edit_absorb(struct graph *graph, int kept, int last);
/* Gives input `index` of a node the constant `tensor`, which is owned from here on: in place of the
 * constant it had when nothing else reads that, else as a new value named "node.part". */
int edit_set_constant(struct graph *graph, int node, int index, const char *part,
                      struct tensor *tensor, struct error *err);
/* Makes a node's input list at least `count` long, with -1 for what is omitted. */
int edit_reserve_inputs(struct node *node, int count, struct error *err);

#endif
