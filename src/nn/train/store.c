/* See store.h. */
#include "nn/train/store.h"

#include <stdlib.h>
#include <string.h>

#include "nn/train/tape.h"

/* Which inputs of a node are parameters, and of which kind. */
static bool input_kind(const struct node *node, int input, enum parameter_kind *kind)
{
    switch (node->op) {
    case OP_CONV:
    case OP_GEMM:
        *kind = input == 1 ? PARAMETER_DECAYED : PARAMETER_PLAIN;
        return input > 0;
    case OP_BATCH_NORM:
        *kind = input < 3 ? PARAMETER_PLAIN : PARAMETER_STATISTIC;
        return input > 0;
    default:
        return false;
    }
}

static void set_order(struct parameter *item, const struct node *node, const struct shape *shape)
{
    bool window = node->op == OP_CONV && item->kind == PARAMETER_DECAYED && shape->rank == 4;
    item->inner = window ? shape->dims[1] : 1;
    item->outer = window ? shape->dims[2] * shape->dims[3] : 1;
}

/* [n][a][b] -> [n][b][a] */
static void transpose(const float *from, float *to, int64_t count, int64_t a, int64_t b)
{
    if (a == 1 || b == 1) {
        memcpy(to, from, (size_t)count * sizeof *to);
        return;
    }
    for (int64_t n = 0; n < count; n += a * b)
        for (int64_t j = 0; j < b; j++)
            for (int64_t i = 0; i < a; i++)
                to[n + j * a + i] = from[n + i * b + j];
}

/* Appends the parameters of one kind, in graph order. */
static int collect(struct store *store, const struct graph *graph, enum parameter_kind wanted,
                   struct error *err)
{
    for (int n = 0; n < graph->node_count; n++) {
        const struct node *node = &graph->nodes[n];
        for (int i = 0; i < node->input_count; i++) {
            enum parameter_kind kind;
            int value = node->inputs[i];
            if (value < 0 || !input_kind(node, i, &kind) || kind != wanted ||
                store->of_value[value] >= 0)
                continue;
            const struct tensor *constant = graph->values[value].constant;
            if (constant == NULL || constant->dtype != DTYPE_F32)
                return error_set(err, STATUS_UNSUPPORTED,
                                 "cannot train node '%s': input %d is not a constant of type f32",
                                 node->name, i);
            int64_t offset = store->end[wanted];
            store->of_value[value] = store->count;
            store->items[store->count++] = (struct parameter){
                .value = value,
                .kind = kind,
                .offset = offset,
                .count = shape_elements(&constant->shape),
            };
            set_order(&store->items[store->count - 1], node, &constant->shape);
            store->end[wanted] += store->items[store->count - 1].count;
        }
    }
    return STATUS_OK;
}

static int allocate(struct store *store, const struct graph *graph, struct error *err)
{
    size_t size = (size_t)store->end[PARAMETER_STATISTIC] * sizeof(float);
    float **arrays[] = {&store->weight, &store->velocity, &store->average, &store->gradient};

    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        void *memory;
        int status = memory_create(size, &memory, err);
        if (status != STATUS_OK)
            return status;
        *arrays[i] = memory;
    }
    for (int i = 0; i < store->count; i++) {
        const struct parameter *item = &store->items[i];
        transpose(graph->values[item->value].constant->data, store->weight + item->offset,
                  item->count, item->inner, item->outer);
    }
    memcpy(store->average, store->weight, size);
    return STATUS_OK;
}

int store_create(const struct graph *graph, struct store **out, struct error *err)
{
    struct store *store = calloc(1, sizeof *store);
    size_t values = (size_t)graph->value_count;
    int status = STATUS_OK;

    if (store != NULL) {
        store->items = calloc(values, sizeof *store->items);
        store->of_value = malloc(values * sizeof *store->of_value);
    }
    if (store == NULL || store->items == NULL || store->of_value == NULL) {
        store_free(store);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the parameters of %zu values",
                         values);
    }
    memset(store->of_value, -1, values * sizeof *store->of_value);
    for (int kind = 0; kind < PARAMETER_KIND_COUNT && status == STATUS_OK; kind++) {
        store->end[kind] = kind > 0 ? store->end[kind - 1] : 0;
        status = collect(store, graph, (enum parameter_kind)kind, err);
    }
    if (status == STATUS_OK)
        status = allocate(store, graph, err);
    if (status != STATUS_OK) {
        store_free(store);
        return status;
    }
    *out = store;
    return STATUS_OK;
}

void store_free(struct store *store)
{
    if (store == NULL)
        return;
    free(store->items);
    free(store->of_value);
    free(store->weight);
    free(store->velocity);
    free(store->average);
    free(store->gradient);
    free(store);
}

const struct parameter *store_find(const struct store *store, int value)
{
    return value >= 0 && store->of_value[value] >= 0 ? &store->items[store->of_value[value]] : NULL;
}

/* FNV-1a. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    return hash;
}

uint64_t store_signature(const struct store *store, const struct graph *graph)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < store->count; i++) {
        const struct parameter *item = &store->items[i];
        const char *name = graph->values[item->value].name;
        int32_t kind = item->kind;
        hash = hash_bytes(hash, name, strlen(name) + 1);
        hash = hash_bytes(hash, &kind, sizeof kind);
        hash = hash_bytes(hash, &item->count, sizeof item->count);
    }
    return hash;
}

void store_export(const struct store *store, bool averaged, struct graph *graph)
{
    const float *from = averaged ? store->average : store->weight;
    for (int i = 0; i < store->count; i++) {
        const struct parameter *item = &store->items[i];
        transpose(from + item->offset, graph->values[item->value].constant->data, item->count,
                  item->outer, item->inner);
    }
}
