/* From a graph to layers; see tape.h. */
#include "nn/train/tape.h"

#include <stdlib.h>
#include <string.h>

#include "nn/train/onednn_train.h"

int memory_create(size_t size, void **out, struct error *err)
{
    size_t whole = (size / 64 + 1) * 64;
    void *memory = aligned_alloc(64, whole);
    if (memory == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %zu bytes of training state", size);
    memset(memory, 0, whole);
    *out = memory;
    return STATUS_OK;
}

struct span span_of(int64_t total, int index, int count)
{
    return (struct span){total * index / count, total * (index + 1) / count};
}

int64_t flow_rows(const struct flow *flow)
{
    return flow->n * flow->h * flow->w;
}

size_t flow_size(const struct tape *tape, const struct flow *flow)
{
    return (size_t)(flow_rows(flow) * flow->c) * tape->kernels->element_size;
}

int tape_add_layer(struct tape *tape, const struct layer_kind *kind, const char *name,
                   struct flow *first, struct flow *second, struct flow *output, size_t state_size,
                   struct layer **out, struct error *err)
{
    struct layer *layer = &tape->layers[tape->layer_count];
    void *state;
    int status = memory_create(state_size, &state, err);
    if (status != STATUS_OK)
        return status;
    *layer = (struct layer){
        .kind = kind,
        .name = name,
        .inputs = {first, second},
        .output = output,
        .scratch_block = -1,
        .state = state,
    };
    tape->layer_count++;
    *out = layer;
    return STATUS_OK;
}

/* ---- what follows a batch norm ---- */

/* Everything the lowering knows of the graph beside the graph itself. */
struct lowering {
    struct tape *tape;
    const struct graph *graph;
    int *uses;     /* value -> nodes and graph outputs that read it */
    int *consumer; /* value -> the last node that reads it */
    int *deferred; /* node -> the batch norm it completes, or -1 */
    bool *taken;   /* node -> another layer does its work */
};

/* The node that alone reads `value`, or NULL. */
static const struct node *sole_consumer(const struct lowering *lowering, int value)
{
    return lowering->uses[value] == 1 && lowering->consumer[value] >= 0
               ? &lowering->graph->nodes[lowering->consumer[value]]
               : NULL;
}

static int node_index(const struct lowering *lowering, const struct node *node)
{
    return (int)(node - lowering->graph->nodes);
}

static const struct node *fusable_activation(const struct lowering *lowering, int value,
                                             bool residual)
{
    const struct node *next = sole_consumer(lowering, value);
    float low, high;
    if (next == NULL)
        return NULL;
    enum activation activation = node_activation(next, &low, &high);
    if (activation == ACTIVATION_NONE ||
        (residual && activation != ACTIVATION_RELU && activation != ACTIVATION_CLIP))
        return NULL;
    return next;
}

/* Whether the only reader of this batch norm adds something of the same shape to it. */
static const struct node *fusable_addition(const struct lowering *lowering, int value)
{
    const struct node *next = sole_consumer(lowering, value);
    const struct value *values = lowering->graph->values;
    if (next == NULL || next->op != OP_ADD || lowering->deferred[node_index(lowering, next)] >= 0)
        return NULL;
    int a = next->inputs[0], b = next->inputs[1];
    return a != b && values[a].constant == NULL && values[b].constant == NULL &&
                   shape_equal(&values[a].shape, &values[b].shape)
               ? next
               : NULL;
}

/* ---- values to flows ---- */

/* [n, c, h, w] or [n, c]. */
static int add_flow(struct lowering *lowering, int value, bool needs_gradient, struct flow **out,
                    struct error *err)
{
    struct tape *tape = lowering->tape;
    const struct value *from = &lowering->graph->values[value];
    const int64_t *dims = from->shape.dims;
    char text[128];

    if ((from->shape.rank != 4 && from->shape.rank != 2) || shape_elements(&from->shape) <= 0)
        return error_set(err, STATUS_UNSUPPORTED, "cannot train value '%s' of shape %s", from->name,
                         shape_text(&from->shape, text, sizeof text));
    struct flow *flow = &tape->flows[tape->flow_count];
    bool plane = from->shape.rank == 4;
    *flow = (struct flow){
        .n = dims[0],
        .c = (int)dims[1],
        .h = plane ? (int)dims[2] : 1,
        .w = plane ? (int)dims[3] : 1,
        .needs_gradient = needs_gradient,
        .block = -1,
    };
    tape->flow_of[value] = tape->flow_count++;
    *out = flow;
    return memory_create(flow_size(tape, flow), &flow->data, err);
}

static int find_flow(const struct lowering *lowering, const struct node *node, int input,
                     struct flow **out, struct error *err)
{
    struct tape *tape = lowering->tape;
    int value = input < node->input_count ? node->inputs[input] : -1;
    if (value < 0 || tape->flow_of[value] < 0)
        return error_set(err, STATUS_UNSUPPORTED,
                         "cannot train node '%s' (%s): its input %d is not an activation",
                         node->name, op_name(node->op), input);
    *out = &tape->flows[tape->flow_of[value]];
    return STATUS_OK;
}

/* ---- nodes to layers ---- */

/* A batch norm, by itself or at the place of the addition that completes it. */
static int lower_norm(struct lowering *lowering, const struct node *norm, const struct node *add,
                      struct error *err)
{
    struct flow *x = NULL, *residual = NULL, *y = NULL;
    int value = add != NULL ? add->outputs[0] : norm->outputs[0];
    const struct node *activation = fusable_activation(lowering, value, add != NULL);
    int status = find_flow(lowering, norm, 0, &x, err);

    if (status == STATUS_OK && add != NULL)
        status =
            find_flow(lowering, add, add->inputs[0] == norm->outputs[0] ? 1 : 0, &residual, err);
    if (status != STATUS_OK)
        return status;
    if (activation != NULL) {
        lowering->taken[node_index(lowering, activation)] = true;
        value = activation->outputs[0];
    }
    status = add_flow(lowering, value, true, &y, err);
    return status != STATUS_OK
               ? status
               : layer_norm_add(lowering->tape, norm, activation, x, residual, y, err);
}

static int lower_two(struct lowering *lowering, const struct node *node, struct error *err)
{
    struct tape *tape = lowering->tape;
    struct flow *a = NULL, *b = NULL, *y = NULL;
    int status = find_flow(lowering, node, 0, &a, err);
    if (status == STATUS_OK)
        status = find_flow(lowering, node, 1, &b, err);
    if (status == STATUS_OK)
        status =
            add_flow(lowering, node->outputs[0], a->needs_gradient || b->needs_gradient, &y, err);
    if (status != STATUS_OK)
        return status;
    if (node->op == OP_MUL)
        return layer_product_add(tape, node, a, b, y, err);
    if (flow_rows(a) != flow_rows(b) || a->c != b->c)
        return error_set(err, STATUS_UNSUPPORTED, "cannot train node '%s': a sum that broadcasts",
                         node->name);
    return layer_sum_add(tape, node, a, b, y, err);
}

static int lower_one(struct lowering *lowering, const struct node *node, struct error *err)
{
    struct tape *tape = lowering->tape;
    struct flow *x = NULL, *y = NULL;
    bool trained = node->op == OP_CONV || node->op == OP_GEMM;
    int status = find_flow(lowering, node, 0, &x, err);
    if (status == STATUS_OK)
        status = add_flow(lowering, node->outputs[0], trained || x->needs_gradient, &y, err);
    if (status != STATUS_OK)
        return status;
    switch (node->op) {
    case OP_CONV:
        return layer_conv_add(tape, node, x, y, err);
    case OP_GEMM:
        return layer_gemm_add(tape, node, x, y, err);
    case OP_RELU:
    case OP_CLIP:
    case OP_SWISH:
    case OP_SIGMOID:
        return layer_activation_add(tape, node, x, y, err);
    case OP_MAX_POOL:
    case OP_AVERAGE_POOL:
        return layer_pool_add(tape, node, x, y, err);
    case OP_GLOBAL_AVERAGE_POOL:
        return layer_mean_add(tape, node, x, y, err);
    case OP_FLATTEN:
        return layer_flatten_add(tape, node, x, y, err);
    case OP_DROPOUT:
        return layer_dropout_add(tape, node, x, y, err);
    default:
        return error_set(err, STATUS_UNSUPPORTED, "cannot train node '%s': no gradient for %s",
                         node->name, op_name(node->op));
    }
}

static int lower_node(struct lowering *lowering, int index, struct error *err)
{
    const struct graph *graph = lowering->graph;
    const struct node *node = &graph->nodes[index];

    if (lowering->taken[index])
        return STATUS_OK;
    if (node->op == OP_BATCH_NORM) {
        const struct node *add = fusable_addition(lowering, node->outputs[0]);
        if (add == NULL)
            return lower_norm(lowering, node, NULL, err);
        lowering->deferred[node_index(lowering, add)] = index;
        return STATUS_OK;
    }
    if (lowering->deferred[index] >= 0)
        return lower_norm(lowering, &graph->nodes[lowering->deferred[index]], node, err);
    if (node->op == OP_ADD || node->op == OP_MUL)
        return lower_two(lowering, node, err);
    return lower_one(lowering, node, err);
}

static void count_uses(struct lowering *lowering)
{
    const struct graph *graph = lowering->graph;
    for (int i = 0; i < graph->node_count; i++) {
        lowering->deferred[i] = -1;
        for (int j = 0; j < graph->nodes[i].input_count; j++) {
            int value = graph->nodes[i].inputs[j];
            if (value < 0)
                continue;
            lowering->uses[value]++;
            lowering->consumer[value] = i;
        }
    }
    for (int i = 0; i < graph->output_count; i++)
        lowering->uses[graph->outputs[i]]++;
}

static int lower(struct tape *tape, struct error *err)
{
    const struct graph *graph = tape->graph;
    size_t nodes = (size_t)graph->node_count + 1, values = (size_t)graph->value_count + 1;
    struct lowering lowering = {
        .tape = tape,
        .graph = graph,
        .uses = calloc(values, sizeof(int)),
        .consumer = calloc(values, sizeof(int)),
        .deferred = calloc(nodes, sizeof(int)),
        .taken = calloc(nodes, sizeof(bool)),
    };
    int status = STATUS_OK;

    if (lowering.uses == NULL || lowering.consumer == NULL || lowering.deferred == NULL ||
        lowering.taken == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory to tape %zu nodes", nodes);
        goto done;
    }
    count_uses(&lowering);
    status = add_flow(&lowering, graph->inputs[0], false, &tape->input, err);
    for (int i = 0; i < graph->node_count && status == STATUS_OK; i++)
        status = lower_node(&lowering, i, err);
    if (status != STATUS_OK)
        goto done;
    int logits = tape->flow_of[graph->outputs[0]];
    if (logits < 0 || tape->flows[logits].h * tape->flows[logits].w != 1 ||
        !tape->flows[logits].needs_gradient)
        status = error_set(err, STATUS_UNSUPPORTED, "the graph's output is not trained logits");
    else
        tape->logits = &tape->flows[logits];
done:
    free(lowering.uses);
    free(lowering.consumer);
    free(lowering.deferred);
    free(lowering.taken);
    return status;
}

/* ---- the tape ---- */

static int bind_layers(struct tape *tape, struct error *err)
{
    for (int i = 0; i < tape->layer_count; i++) {
        struct layer *layer = &tape->layers[i];
        int status = layer->kind->bind != NULL ? layer->kind->bind(tape, layer, err) : STATUS_OK;
        if (status != STATUS_OK)
            return error_wrap(err, "node '%s'", layer->name);
    }
    return STATUS_OK;
}

static int open_engine(struct tape *tape, struct error *err)
{
    int status = onednn_check(dnnl_engine_create(&tape->engine, dnnl_cpu, 0), "engine", err);
    if (status == STATUS_OK)
        status =
            onednn_check(dnnl_stream_create(&tape->stream, tape->engine, dnnl_stream_default_flags),
                         "stream", err);
    return status;
}

int tape_create(const struct graph *graph, struct store *store,
                const struct trainer_options *options, bool bf16, struct tape **out,
                struct error *err)
{
    struct tape *tape = calloc(1, sizeof *tape);
    int status;

    if (tape == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a training tape");
    tape->graph = graph;
    tape->store = store;
    tape->options = options;
    tape->bf16 = bf16;
    tape->kernels = kernels_for(bf16);
    tape->threads = options->threads;
    tape->weights = store->weight;
    tape->flow_capacity = graph->value_count + 1;
    tape->layer_capacity = graph->node_count + 1;
    tape->flows = calloc((size_t)tape->flow_capacity, sizeof *tape->flows);
    tape->layers = calloc((size_t)tape->layer_capacity, sizeof *tape->layers);
    tape->flow_of = malloc((size_t)tape->flow_capacity * sizeof *tape->flow_of);
    if (tape->flows == NULL || tape->layers == NULL || tape->flow_of == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory for a training tape");
        goto fail;
    }
    memset(tape->flow_of, -1, (size_t)tape->flow_capacity * sizeof *tape->flow_of);
    status = open_engine(tape, err);
    if (status == STATUS_OK)
        status = lower(tape, err);
    if (status == STATUS_OK)
        status = tape_gradients(tape, err);
    if (status == STATUS_OK)
        status = bind_layers(tape, err);
    if (status == STATUS_OK) {
        *out = tape;
        return STATUS_OK;
    }
fail:
    tape_free(tape);
    return status;
}

void tape_free(struct tape *tape)
{
    if (tape == NULL)
        return;
    for (int i = 0; i < tape->layer_count; i++) {
        if (tape->layers[i].kind->release != NULL)
            tape->layers[i].kind->release(&tape->layers[i]);
        free(tape->layers[i].state);
    }
    for (int i = 0; i < tape->flow_count; i++)
        free(tape->flows[i].data);
    for (int i = 0; i < tape->block_count; i++)
        free(tape->blocks[i].memory);
    free(tape->blocks);
    free(tape->layers);
    free(tape->flows);
    free(tape->flow_of);
    if (tape->stream != NULL)
        dnnl_stream_destroy(tape->stream);
    if (tape->engine != NULL)
        dnnl_engine_destroy(tape->engine);
    free(tape);
}

int tape_refresh(struct tape *tape, bool averaged, struct error *err)
{
    int status = STATUS_OK;
    tape->weights = averaged ? tape->store->average : tape->store->weight;
    for (int i = 0; i < tape->layer_count && status == STATUS_OK; i++)
        if (tape->layers[i].kind->refresh != NULL)
            status = tape->layers[i].kind->refresh(tape, &tape->layers[i], err);
    return status;
}

int tape_forward(struct tape *tape, const float *input, bool training, struct error *err)
{
    const struct flow *x = tape->input;
    int64_t pixels = (int64_t)x->h * x->w;
    size_t size = flow_size(tape, x) / (size_t)x->n;
    int status = STATUS_OK;

    tape->training = training;
    for (int64_t i = 0; i < x->n; i++)
        tape->kernels->from_planes(input + i * pixels * x->c, (char *)x->data + (size_t)i * size,
                                   pixels, x->c);
    for (int i = 0; i < tape->layer_count && status == STATUS_OK; i++)
        status = tape->layers[i].kind->forward(tape, &tape->layers[i], err);
    return status;
}

int tape_backward(struct tape *tape, struct error *err)
{
    int status = STATUS_OK;
    for (int i = tape->layer_count - 1; i >= 0 && status == STATUS_OK; i--)
        if (tape->layers[i].output->needs_gradient)
            status = tape->layers[i].kind->backward(tape, &tape->layers[i], err);
    return status;
}

void tape_commit(struct tape *tape)
{
    for (int i = 0; i < tape->layer_count; i++)
        if (tape->layers[i].kind->commit != NULL)
            tape->layers[i].kind->commit(tape, &tape->layers[i]);
}
