/* Compaction: what no output needs goes, the rest is put into topological order (depth first from
 * each node in its present order, so that a graph already sorted keeps its order) and numbered
 * anew. */
#include <stdlib.h>
#include <string.h>

#include "nn/graph/graph.h"

enum visit { VISIT_NOT_NEEDED, VISIT_NEEDED, VISIT_OPEN, VISIT_DONE };

struct compaction {
    struct graph *graph;
    enum visit *visits; /* by node */
    int *next_input;    /* by node: where its visit goes on */
    int *stack;         /* nodes whose visit is under way, or that are to be marked */
    int *order;         /* nodes, sorted */
    int order_count;
    int *value_index; /* old value -> new, or -1 */
};

static int compaction_create(struct graph *graph, struct compaction *out, struct error *err)
{
    const size_t nodes = (size_t)graph->node_count + 1, values = (size_t)graph->value_count + 1;

    *out = (struct compaction){.graph = graph};
    out->visits = calloc(nodes, sizeof *out->visits);
    out->next_input = calloc(nodes, sizeof *out->next_input);
    out->stack = calloc(nodes, sizeof *out->stack);
    out->order = calloc(nodes, sizeof *out->order);
    out->value_index = calloc(values, sizeof *out->value_index);
    if (out->visits == NULL || out->next_input == NULL || out->stack == NULL ||
        out->order == NULL || out->value_index == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to compact a graph");
    return STATUS_OK;
}

static void compaction_drop(struct compaction *work)
{
    free(work->visits);
    free(work->next_input);
    free(work->stack);
    free(work->order);
    free(work->value_index);
}

/* Sets every value's producer from the nodes' output lists, which are what passes edit. */
static int find_producers(struct graph *graph, struct error *err)
{
    for (int i = 0; i < graph->value_count; i++)
        graph->values[i].producer = -1;
    for (int i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        for (int j = 0; j < node->output_count; j++) {
            struct value *value = &graph->values[node->outputs[j]];
            if (value->producer >= 0 || value->constant != NULL)
                return error_set(err, STATUS_CORRUPT, "the value '%s' is computed twice",
                                 value->name);
            value->producer = i;
        }
    }
    return STATUS_OK;
}

static void need_value(struct compaction *work, int value, int *depth)
{
    const int producer = value < 0 ? -1 : work->graph->values[value].producer;

    if (producer < 0 || work->visits[producer] != VISIT_NOT_NEEDED)
        return;
    work->visits[producer] = VISIT_NEEDED;
    work->stack[(*depth)++] = producer;
}

static void mark_needed(struct compaction *work)
{
    const struct graph *graph = work->graph;
    int depth = 0;

    for (int i = 0; i < graph->output_count; i++)
        need_value(work, graph->outputs[i], &depth);
    while (depth > 0) {
        const struct node *node = &graph->nodes[work->stack[--depth]];
        for (int i = 0; i < node->input_count; i++)
            need_value(work, node->inputs[i], &depth);
    }
}

/* Visits a node after the producers of its inputs, without recursion. */
static int visit(struct compaction *work, int first, struct error *err)
{
    const struct graph *graph = work->graph;
    int depth = 0;

    work->stack[depth++] = first;
    work->visits[first] = VISIT_OPEN;
    while (depth > 0) {
        const int current = work->stack[depth - 1];
        const struct node *node = &graph->nodes[current];
        if (work->next_input[current] == node->input_count) {
            work->visits[current] = VISIT_DONE;
            work->order[work->order_count++] = current;
            depth--;
            continue;
        }
        const int value = node->inputs[work->next_input[current]++];
        const int producer = value < 0 ? -1 : graph->values[value].producer;
        if (producer < 0 || work->visits[producer] == VISIT_DONE)
            continue;
        if (work->visits[producer] == VISIT_OPEN)
            return error_set(err, STATUS_CORRUPT, "node '%s' (%s) depends on its own output",
                             node->name, op_name(node->op));
        work->visits[producer] = VISIT_OPEN;
        work->stack[depth++] = producer;
    }
    return STATUS_OK;
}

static int sort_nodes(struct compaction *work, struct error *err)
{
    int status = STATUS_OK;

    mark_needed(work);
    for (int i = 0; status == STATUS_OK && i < work->graph->node_count; i++)
        if (work->visits[i] == VISIT_NEEDED)
            status = visit(work, i, err);
    return status;
}

static void renumber(const struct compaction *work, int *indices, int count)
{
    for (int i = 0; i < count; i++)
        if (indices[i] >= 0)
            indices[i] = work->value_index[indices[i]];
}

/* Numbers the values that are kept, in their present order, and drops the others. */
static void keep_values(struct compaction *work)
{
    struct graph *graph = work->graph;
    int kept = 0;

    memset(work->value_index, 0, (size_t)graph->value_count * sizeof *work->value_index);
    for (int i = 0; i < graph->input_count; i++)
        work->value_index[graph->inputs[i]] = 1;
    for (int i = 0; i < graph->output_count; i++)
        work->value_index[graph->outputs[i]] = 1;
    for (int i = 0; i < work->order_count; i++) {
        const struct node *node = &graph->nodes[work->order[i]];
        for (int j = 0; j < node->input_count; j++)
            if (node->inputs[j] >= 0)
                work->value_index[node->inputs[j]] = 1;
        for (int j = 0; j < node->output_count; j++)
            work->value_index[node->outputs[j]] = 1;
    }
    for (int i = 0; i < graph->value_count; i++) {
        if (work->value_index[i] == 0) {
            free(graph->values[i].name);
            tensor_free(graph->values[i].constant);
            work->value_index[i] = -1;
            continue;
        }
        work->value_index[i] = kept;
        graph->values[kept++] = graph->values[i];
    }
    graph->value_count = kept;
}

static void keep_nodes(struct compaction *work, struct node *sorted)
{
    struct graph *graph = work->graph;

    for (int i = 0; i < work->order_count; i++) {
        struct node *node = &sorted[i];
        *node = graph->nodes[work->order[i]];
        renumber(work, node->inputs, node->input_count);
        renumber(work, node->outputs, node->output_count);
        renumber(work, &node->fused.residual, 1);
        for (int j = 0; j < node->output_count; j++)
            graph->values[node->outputs[j]].producer = i;
    }
    for (int i = 0; i < graph->node_count; i++) {
        if (work->visits[i] == VISIT_DONE)
            continue;
        free(graph->nodes[i].name);
        free(graph->nodes[i].inputs);
        free(graph->nodes[i].outputs);
    }
    free(graph->nodes);
    graph->nodes = sorted;
    graph->node_count = work->order_count;
}

int graph_compact(struct graph *graph, struct error *err)
{
    struct compaction work;
    const int capacity = graph->node_count + 1;
    struct node *sorted = calloc((size_t)capacity, sizeof *sorted);

    int status = compaction_create(graph, &work, err);
    if (status == STATUS_OK && sorted == NULL)
        status = error_set(err, STATUS_NO_MEMORY, "no memory to compact a graph");
    if (status == STATUS_OK)
        status = find_producers(graph, err);
    if (status == STATUS_OK)
        status = sort_nodes(&work, err);
    if (status != STATUS_OK) {
        free(sorted);
        goto done;
    }
    keep_values(&work);
    keep_nodes(&work, sorted);
    graph->node_capacity = capacity;
    renumber(&work, graph->inputs, graph->input_count);
    renumber(&work, graph->outputs, graph->output_count);

done:
    compaction_drop(&work);
    return status;
}
