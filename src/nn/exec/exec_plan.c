/* The graph walked node by node into steps, and a plan's life. */
#include "nn/exec/exec_plan.h"

#include <omp.h>
#include <stdlib.h>

#include "nn/exec/lowering.h"

static int lower_node(struct lowering *l, const struct node *node)
{
    switch (node->op) {
    case OP_CONV:
        return lower_convolution(l, node);
    case OP_GEMM:
    case OP_MATMUL:
        return lower_gemm(l, node);
    case OP_RELU:
    case OP_LEAKY_RELU:
    case OP_CLIP:
    case OP_SIGMOID:
    case OP_HARD_SIGMOID:
    case OP_HARD_SWISH:
    case OP_SWISH:
    case OP_TANH:
        return lower_activation(l, node);
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_DIV:
        return lower_binary(l, node);
    case OP_BATCH_NORM:
        return lower_batch_norm(l, node);
    case OP_MAX_POOL:
    case OP_AVERAGE_POOL:
        return lower_pool(l, node);
    case OP_GLOBAL_AVERAGE_POOL:
        return lower_global_average_pool(l, node);
    case OP_FLATTEN:
    case OP_RESHAPE:
    case OP_SQUEEZE:
    case OP_UNSQUEEZE:
    case OP_IDENTITY:
    case OP_DROPOUT:
        return lower_view(l, node);
    case OP_CONCAT:
        return lower_concat(l, node);
    case OP_SOFTMAX:
        return lower_softmax(l, node);
    default:
        return LOWER_DECLINED;
    }
}

static int lower_graph(struct lowering *l)
{
    for (int i = 0; i < l->graph->node_count; i++) {
        const struct node *node = &l->graph->nodes[i];
        int status;
        l->node = node;
        status = lower_node(l, node);
        if (status == LOWER_DECLINED)
            status = lower_reference(l, node);
        if (status != STATUS_OK)
            return error_wrap(l->err, "compiling %s '%s'", op_name(node->op), node->name);
        for (int k = 0; k < node->input_count; k++) {
            if (node->inputs[k] >= 0)
                l->values[node->inputs[k]].uses--;
        }
    }
    return STATUS_OK;
}

static int define_input(struct lowering *l)
{
    int value = l->graph->inputs[0];

    if (!lowering_is_f32(l, value))
        return error_set(l->err, STATUS_UNSUPPORTED, "the input '%s' is not a float32 tensor",
                         l->graph->values[value].name);
    l->plan->input = lowering_tensor(l, LAYOUT_PLAIN, DTYPE_F32, lowering_shape(l, value));
    if (l->plan->input < 0)
        return l->plan->input;
    lowering_define(l, value, l->plan->input);
    return STATUS_OK;
}

static int define_output(struct lowering *l)
{
    int value = l->graph->outputs[0];

    if (!lowering_is_f32(l, value))
        return error_set(l->err, STATUS_UNSUPPORTED,
                         "the output '%s' is not a float32 tensor computed from the input",
                         l->graph->values[value].name);
    l->plan->output = lowering_obtain(l, value, LAYOUT_PLAIN);
    return l->plan->output < 0 ? l->plan->output : STATUS_OK;
}

static int count_uses(struct lowering *l)
{
    l->values = calloc((size_t)l->graph->value_count + 1, sizeof *l->values);
    if (l->values == NULL)
        return error_set(l->err, STATUS_NO_MEMORY, "no memory for a plan");
    for (int v = 0; v < l->graph->value_count; v++) {
        for (int layout = 0; layout < LAYOUT_COUNT; layout++)
            l->values[v].tensors[layout] = -1;
    }
    for (int i = 0; i < l->graph->node_count; i++) {
        const struct node *node = &l->graph->nodes[i];
        for (int k = 0; k < node->input_count; k++) {
            if (node->inputs[k] >= 0)
                l->values[node->inputs[k]].uses++;
        }
    }
    l->values[l->graph->outputs[0]].uses++;
    return STATUS_OK;
}

static int build(struct lowering *l)
{
    int status = graph_infer_shapes(l->graph, l->plan->batch, l->err);

    if (status == STATUS_OK)
        status = count_uses(l);
    if (status == STATUS_OK)
        status = define_input(l);
    if (status == STATUS_OK)
        status = lower_graph(l);
    if (status == STATUS_OK)
        status = define_output(l);
    if (status == STATUS_OK)
        status = exec_plan_place(l->plan, l->err);
    free(l->values);
    return status;
}

int exec_plan_create(const struct exec_source *source, int batch, int threads,
                     struct exec_plan **out, struct error *err)
{
    struct error unheard = {0};
    struct exec_plan *plan = calloc(1, sizeof *plan);
    struct lowering lowering = {.source = source,
                                .graph = source->graph,
                                .plan = plan,
                                .err = err != NULL ? err : &unheard};
    int status, threads_before;

    if (plan == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a plan");
    plan->source = source;
    plan->batch = batch;
    plan->threads = threads;
    /* A primitive is made for the number of threads OpenMP would use now. */
    threads_before = omp_get_max_threads();
    omp_set_num_threads(threads);
    status = build(&lowering);
    omp_set_num_threads(threads_before);
    if (status != STATUS_OK) {
        exec_plan_free(plan);
        return status;
    }
    *out = plan;
    return STATUS_OK;
}

void exec_plan_free(struct exec_plan *plan)
{
    if (plan == NULL)
        return;
    for (int i = 0; i < plan->step_count; i++) {
        if (plan->steps[i].primitive != NULL)
            dnnl_primitive_destroy(plan->steps[i].primitive);
        free(plan->steps[i].arguments);
    }
    for (int i = 0; i < plan->tensor_count; i++)
        onednn_desc_free(&plan->tensors[i].desc);
    for (int i = 0; i < plan->owned_count; i++)
        free(plan->owned[i]);
    free(plan->owned);
    free(plan->steps);
    free(plan->tensors);
    free(plan);
}
