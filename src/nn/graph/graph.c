/* Building, copying and dropping graphs: see graph.h. Beside it, in reading order: tensor.c and
 * half.c are the values, describe.c counts and prints, compact.c sorts and prunes; shapes/ infers
 * shapes, reference/ runs a graph plainly, passes/ rewrites it. */
#include "nn/graph/graph.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Far above any classifier; keeps a hostile file from making the linear name checks expensive. */
enum { GRAPH_VALUES_MAX = 20000, GRAPH_NODES_MAX = 10000 };

static int out_of_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, "no memory for the graph");
}

int graph_create(struct graph **out, struct error *err)
{
    struct graph *graph = calloc(1, sizeof *graph);

    if (graph == NULL)
        return out_of_memory(err);
    *out = graph;
    return STATUS_OK;
}

void graph_free(struct graph *graph)
{
    if (graph == NULL)
        return;
    for (int i = 0; i < graph->value_count; i++) {
        free(graph->values[i].name);
        tensor_free(graph->values[i].constant);
    }
    for (int i = 0; i < graph->node_count; i++) {
        free(graph->nodes[i].name);
        free(graph->nodes[i].inputs);
        free(graph->nodes[i].outputs);
    }
    free(graph->values);
    free(graph->nodes);
    free(graph->inputs);
    free(graph->outputs);
    free(graph);
}

int graph_find_value(const struct graph *graph, const char *name)
{
    for (int i = 0; i < graph->value_count; i++)
        if (strcmp(graph->values[i].name, name) == 0)
            return i;
    return -1;
}

static bool node_name_taken(const struct graph *graph, const char *name)
{
    for (int i = 0; i < graph->node_count; i++)
        if (strcmp(graph->nodes[i].name, name) == 0)
            return true;
    return false;
}

/* `stem` itself when free, else the stem and a number. The first number tried is nearly always
 * free, and doubling it soon leaves behind whatever names a file may have chosen. NULL when out of
 * memory.
 */
static char *unique_name(const struct graph *graph, const char *stem, bool node)
{
    uint64_t number = (uint64_t)(node ? graph->node_count : graph->value_count) + 1;
    char *name = strdup(stem);

    while (name != NULL &&
           (node ? node_name_taken(graph, name) : graph_find_value(graph, name) >= 0)) {
        free(name);
        if (asprintf(&name, "%s_%" PRIu64, stem, number) < 0)
            return NULL;
        number *= 2;
    }
    return name;
}

/* Makes room for one more item in an array that doubles. */
static int reserve(void **items, int count, int *capacity, size_t item_size, struct error *err)
{
    if (count < *capacity)
        return STATUS_OK;
    const int wanted = *capacity == 0 ? 64 : *capacity * 2;
    void *grown = realloc(*items, (size_t)wanted * item_size);
    if (grown == NULL)
        return out_of_memory(err);
    *items = grown;
    *capacity = wanted;
    return STATUS_OK;
}

/* Takes ownership of `name` and `constant` whatever happens. */
static int value_append(struct graph *graph, char *name, struct tensor *constant, struct error *err)
{
    int status = STATUS_OK;

    if (name == NULL)
        status = out_of_memory(err);
    else if (graph->value_count >= GRAPH_VALUES_MAX)
        status =
            error_set(err, STATUS_TOO_LARGE, "a graph has at most %d values", GRAPH_VALUES_MAX);
    else
        status = reserve((void **)&graph->values, graph->value_count, &graph->value_capacity,
                         sizeof *graph->values, err);
    if (status != STATUS_OK) {
        free(name);
        tensor_free(constant);
        return status;
    }
    struct value *value = &graph->values[graph->value_count];
    *value = (struct value){.name = name, .producer = -1, .constant = constant};
    value->shape.rank = -1;
    if (constant != NULL) {
        value->dtype = constant->dtype;
        value->shape = constant->shape;
    }
    return graph->value_count++;
}

int graph_add_value(struct graph *graph, const char *name, struct tensor *constant,
                    struct error *err)
{
    if (name != NULL && graph_find_value(graph, name) >= 0) {
        tensor_free(constant);
        return error_set(err, STATUS_EXISTS, "the graph has a value '%s' already", name);
    }
    char *own = name != NULL ? strdup(name) : unique_name(graph, "value", false);
    return value_append(graph, own, constant, err);
}

int graph_rename_value(struct graph *graph, int value, const char *name, struct error *err)
{
    const int holder = graph_find_value(graph, name);

    if (holder == value)
        return STATUS_OK;
    if (holder >= 0)
        return error_set(err, STATUS_EXISTS, "the graph has a value '%s' already", name);
    char *own = strdup(name);
    if (own == NULL)
        return out_of_memory(err);
    free(graph->values[value].name);
    graph->values[value].name = own;
    return STATUS_OK;
}

static int check_new_node(const struct graph *graph, enum op op, const int *inputs, int input_count,
                          struct error *err)
{
    if (graph->node_count >= GRAPH_NODES_MAX)
        return error_set(err, STATUS_TOO_LARGE, "a graph has at most %d nodes", GRAPH_NODES_MAX);
    for (int i = 0; i < input_count; i++)
        if (inputs[i] < -1 || inputs[i] >= graph->value_count)
            return error_set(err, STATUS_INVALID, "input %d of a new %s is value %d, which is none",
                             i, op_name(op), inputs[i]);
    return STATUS_OK;
}

int graph_add_node(struct graph *graph, enum op op, const char *name, const int *inputs,
                   int input_count, struct error *err)
{
    struct node node = {.op = op, .input_count = input_count, .output_count = 1};

    int status = check_new_node(graph, op, inputs, input_count, err);
    if (status == STATUS_OK)
        status = reserve((void **)&graph->nodes, graph->node_count, &graph->node_capacity,
                         sizeof *graph->nodes, err);
    if (status != STATUS_OK)
        return status;
    node.fused.residual = -1;
    node.name = unique_name(graph, name != NULL ? name : op_name(op), true);
    node.inputs = malloc((size_t)(input_count + 1) * sizeof *node.inputs);
    node.outputs = malloc(sizeof *node.outputs);
    if (node.name == NULL || node.inputs == NULL || node.outputs == NULL) {
        status = out_of_memory(err);
        goto fail;
    }
    if (input_count > 0)
        memcpy(node.inputs, inputs, (size_t)input_count * sizeof *inputs);
    status = value_append(graph, unique_name(graph, node.name, false), NULL, err);
    if (status < 0)
        goto fail;
    node.outputs[0] = status;
    graph->values[status].producer = graph->node_count;
    graph->nodes[graph->node_count++] = node;
    return status;

fail:
    free(node.name);
    free(node.inputs);
    free(node.outputs);
    return status;
}

static int append_index(int **items, int *count, int item, struct error *err)
{
    int *grown = realloc(*items, (size_t)(*count + 1) * sizeof *grown);

    if (grown == NULL)
        return out_of_memory(err);
    *items = grown;
    grown[(*count)++] = item;
    return STATUS_OK;
}

int graph_add_input(struct graph *graph, const char *name, const struct shape *shape,
                    struct error *err)
{
    const int value = graph_add_value(graph, name, NULL, err);

    if (value < 0)
        return value;
    graph->values[value].shape = *shape;
    const int status = append_index(&graph->inputs, &graph->input_count, value, err);
    return status != STATUS_OK ? status : value;
}

int graph_add_output(struct graph *graph, int value, struct error *err)
{
    if (value < 0 || value >= graph->value_count)
        return error_set(err, STATUS_INVALID, "output %d of the graph is value %d, which is none",
                         graph->output_count, value);
    const int status = append_index(&graph->outputs, &graph->output_count, value, err);
    return status != STATUS_OK ? status : value;
}

/* A copy of an index list; one item of room more, so that an empty list is not NULL. */
static int *indices_copy(const int *indices, int count)
{
    int *copy = malloc((size_t)(count + 1) * sizeof *copy);

    if (copy != NULL && count > 0)
        memcpy(copy, indices, (size_t)count * sizeof *copy);
    return copy;
}

static int clone_values(const struct graph *source, struct graph *copy, struct error *err)
{
    copy->values = calloc((size_t)source->value_count + 1, sizeof *copy->values);
    if (copy->values == NULL)
        return out_of_memory(err);
    copy->value_capacity = source->value_count + 1;
    for (int i = 0; i < source->value_count; i++) {
        struct value *value = &copy->values[i];
        *value = source->values[i];
        value->constant = NULL;
        value->name = strdup(source->values[i].name);
        copy->value_count++;
        if (value->name == NULL)
            return out_of_memory(err);
        if (source->values[i].constant != NULL) {
            const int status = tensor_clone(source->values[i].constant, &value->constant, err);
            if (status != STATUS_OK)
                return status;
        }
    }
    return STATUS_OK;
}

static int clone_nodes(const struct graph *source, struct graph *copy, struct error *err)
{
    copy->nodes = calloc((size_t)source->node_count + 1, sizeof *copy->nodes);
    if (copy->nodes == NULL)
        return out_of_memory(err);
    copy->node_capacity = source->node_count + 1;
    for (int i = 0; i < source->node_count; i++) {
        const struct node *original = &source->nodes[i];
        struct node *node = &copy->nodes[i];
        *node = *original;
        node->name = strdup(original->name);
        node->inputs = indices_copy(original->inputs, original->input_count);
        node->outputs = indices_copy(original->outputs, original->output_count);
        copy->node_count++;
        if (node->name == NULL || node->inputs == NULL || node->outputs == NULL)
            return out_of_memory(err);
    }
    return STATUS_OK;
}

int graph_clone(const struct graph *source, struct graph **out, struct error *err)
{
    struct graph *copy = NULL;

    int status = graph_create(&copy, err);
    if (status != STATUS_OK)
        return status;
    status = clone_values(source, copy, err);
    if (status == STATUS_OK)
        status = clone_nodes(source, copy, err);
    if (status != STATUS_OK)
        goto fail;
    copy->inputs = indices_copy(source->inputs, source->input_count);
    copy->outputs = indices_copy(source->outputs, source->output_count);
    if (copy->inputs == NULL || copy->outputs == NULL) {
        status = out_of_memory(err);
        goto fail;
    }
    copy->input_count = source->input_count;
    copy->output_count = source->output_count;
    *out = copy;
    return STATUS_OK;

fail:
    graph_free(copy);
    return status;
}
