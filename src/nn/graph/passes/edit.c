/* Edits: see edit.h. Queries scan the whole graph; networks have hundreds of nodes. */
#include "nn/graph/passes/edit.h"

#include <stdio.h>
#include <stdlib.h>

int edit_use_count(const struct graph *graph, int value)
{
    int count = 0;

    for (int i = 0; i < graph->node_count; i++)
        for (int j = 0; j < graph->nodes[i].input_count; j++)
            count += graph->nodes[i].inputs[j] == value;
    for (int i = 0; i < graph->output_count; i++)
        count += graph->outputs[i] == value;
    return count;
}

int edit_sole_consumer(const struct graph *graph, int value)
{
    int consumer = -1;

    if (edit_use_count(graph, value) != 1)
        return -1;
    for (int i = 0; i < graph->node_count; i++)
        for (int j = 0; j < graph->nodes[i].input_count; j++)
            if (graph->nodes[i].inputs[j] == value)
                consumer = i;
    return consumer;
}

int edit_producer(const struct graph *graph, int value, enum op op)
{
    const int producer = value < 0 ? -1 : graph->values[value].producer;

    return producer >= 0 && graph->nodes[producer].op == op ? producer : -1;
}

bool edit_scalar(const struct graph *graph, int value, float *out)
{
    const struct tensor *tensor = edit_constant(graph, value);

    if (tensor == NULL || shape_elements(&tensor->shape) != 1)
        return false;
    *out = *(const float *)tensor->data;
    return true;
}

const struct tensor *edit_constant(const struct graph *graph, int value)
{
    const struct tensor *tensor = value < 0 ? NULL : graph->values[value].constant;

    return tensor != NULL && tensor->dtype == DTYPE_F32 ? tensor : NULL;
}

void edit_replace(struct graph *graph, int from, int to)
{
    bool output = false, output_already = false;

    for (int i = 0; i < graph->node_count; i++) {
        struct node *node = &graph->nodes[i];
        for (int j = 0; j < node->input_count; j++)
            if (node->inputs[j] == from)
                node->inputs[j] = to;
        if (node->fused.residual == from)
            node->fused.residual = to;
    }
    for (int i = 0; i < graph->output_count; i++) {
        output_already = output_already || graph->outputs[i] == to;
        if (graph->outputs[i] == from) {
            graph->outputs[i] = to;
            output = true;
        }
    }
    /* Callers know outputs by name; inputs too, so those keep theirs. */
    if (output && !output_already && graph->values[to].producer >= 0) {
        char *name = graph->values[from].name;
        graph->values[from].name = graph->values[to].name;
        graph->values[to].name = name;
    }
}

void edit_remove_node(struct graph *graph, int node)
{
    struct node *gone = &graph->nodes[node];

    for (int i = 0; i < gone->output_count; i++)
        if (graph->values[gone->outputs[i]].producer == node)
            graph->values[gone->outputs[i]].producer = -1;
    gone->op = OP_IDENTITY;
    gone->input_count = 0;
    gone->output_count = 0;
    gone->fused = (struct fused){.residual = -1};
}

void edit_bypass(struct graph *graph, int node)
{
    const int from = graph->nodes[node].outputs[0], to = graph->nodes[node].inputs[0];

    edit_remove_node(graph, node);
    edit_replace(graph, from, to);
}

void edit_absorb(struct graph *graph, int kept, int last)
{
    const struct node absorbed = graph->nodes[last];
    const int inner = graph->nodes[kept].outputs[0];

    graph->nodes[last] = graph->nodes[kept];
    graph->nodes[last].outputs[0] = absorbed.outputs[0];
    graph->values[absorbed.outputs[0]].producer = last;
    graph->nodes[kept] = absorbed;
    graph->nodes[kept].outputs[0] = inner;
    graph->values[inner].producer = kept;
    edit_remove_node(graph, kept);
}

static int add_constant(struct graph *graph, const char *stem, const char *part,
                        struct tensor *tensor, struct error *err)
{
    char name[256];

    snprintf(name, sizeof name, "%s.%s", stem, part);
    return graph_add_value(graph, graph_find_value(graph, name) < 0 ? name : NULL, tensor, err);
}

int edit_reserve_inputs(struct node *node, int count, struct error *err)
{
    if (node->input_count >= count)
        return STATUS_OK;
    int *grown = realloc(node->inputs, (size_t)count * sizeof *grown);
    if (grown == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to rewrite a node");
    node->inputs = grown;
    while (node->input_count < count)
        grown[node->input_count++] = -1;
    return STATUS_OK;
}

int edit_set_constant(struct graph *graph, int node, int index, const char *part,
                      struct tensor *tensor, struct error *err)
{
    struct node *user = &graph->nodes[node];

    const int status = edit_reserve_inputs(user, index + 1, err);
    if (status != STATUS_OK) {
        tensor_free(tensor);
        return status;
    }
    const int present = user->inputs[index];
    if (present >= 0 && graph->values[present].constant != NULL &&
        edit_use_count(graph, present) == 1) {
        struct value *value = &graph->values[present];
        tensor_free(value->constant);
        value->constant = tensor;
        value->dtype = tensor->dtype;
        value->shape = tensor->shape;
        return STATUS_OK;
    }
    const int added = add_constant(graph, user->name, part, tensor, err);
    if (added < 0)
        return added;
    user->inputs[index] = added;
    return STATUS_OK;
}
