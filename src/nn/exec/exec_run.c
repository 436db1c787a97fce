/* Running a plan: memory objects tied to an arena, and the steps one after another. */
#include <omp.h>
#include <stdlib.h>

#include "nn/exec/exec_binding.h"
#include "nn/graph/reference.h"

void *exec_tensor_data(const struct exec_binding *binding, int tensor)
{
    int root = binding->plan->tensors[tensor].root;

    /* The input is never written: lowering_is_last_use is false for it. */
    if (root == binding->plan->input)
        return (void *)(uintptr_t)binding->input;
    return binding->arena + binding->plan->tensors[root].offset;
}

static int bind_memories(struct exec_binding *binding, struct error *err)
{
    const struct exec_plan *plan = binding->plan;

    for (int i = 0; i < plan->tensor_count; i++) {
        const struct exec_tensor *tensor = &plan->tensors[i];
        bool from_outside = tensor->root == plan->input;
        int status;
        if (!tensor->has_desc)
            continue;
        status =
            onednn_check(dnnl_memory_create(
                             &binding->memories[i], ONEDNN_REF(tensor->desc), plan->source->engine,
                             from_outside ? DNNL_MEMORY_NONE : exec_tensor_data(binding, i)),
                         "memory", err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static void bind_arguments(struct exec_binding *binding)
{
    const struct exec_plan *plan = binding->plan;
    int next = 0;

    for (int s = 0; s < plan->step_count; s++) {
        const struct step *step = &plan->steps[s];
        binding->first_argument[s] = next;
        if (step->kind != STEP_PRIMITIVE)
            continue;
        for (int a = 0; a < step->argument_count; a++) {
            const struct step_argument *argument = &step->arguments[a];
            binding->arguments[next++] = (dnnl_exec_arg_t){
                argument->role,
                argument->tensor >= 0 ? binding->memories[argument->tensor] : argument->memory};
        }
    }
}

static void count_arguments(const struct exec_plan *plan, size_t *all, size_t *most)
{
    *all = 1;
    *most = 1;
    for (int s = 0; s < plan->step_count; s++) {
        const struct step *step = &plan->steps[s];
        size_t count = (size_t)step->argument_count;
        *all += count;
        if (step->kind == STEP_REFERENCE && count < (size_t)step->node->input_count)
            count = (size_t)step->node->input_count;
        *most = count > *most ? count : *most;
    }
}

int exec_bind(const struct exec_plan *plan, uint8_t *arena, struct exec_binding **out,
              struct error *err)
{
    struct exec_binding *binding = calloc(1, sizeof *binding);
    size_t all, most;
    int status;

    if (binding == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a session");
    count_arguments(plan, &all, &most);
    binding->plan = plan;
    binding->arena = arena;
    binding->memories = calloc((size_t)plan->tensor_count + 1, sizeof *binding->memories);
    binding->arguments = calloc(all, sizeof *binding->arguments);
    binding->first_argument = calloc((size_t)plan->step_count + 1, sizeof(int));
    binding->wrappers = calloc(most, sizeof *binding->wrappers);
    binding->wrapped = calloc(most, sizeof *binding->wrapped);
    if (binding->memories == NULL || binding->arguments == NULL ||
        binding->first_argument == NULL || binding->wrappers == NULL || binding->wrapped == NULL)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for a session");
    else
        status = bind_memories(binding, err);
    if (status != STATUS_OK) {
        exec_binding_free(binding);
        return status;
    }
    bind_arguments(binding);
    *out = binding;
    return STATUS_OK;
}

void exec_binding_free(struct exec_binding *binding)
{
    if (binding == NULL)
        return;
    for (int i = 0; binding->memories != NULL && i < binding->plan->tensor_count; i++) {
        if (binding->memories[i] != NULL)
            dnnl_memory_destroy(binding->memories[i]);
    }
    free(binding->memories);
    free(binding->arguments);
    free(binding->first_argument);
    free(binding->wrappers);
    free(binding->wrapped);
    free(binding);
}

static int run_reference(struct exec_binding *binding, const struct step *step, struct error *err)
{
    const struct exec_plan *plan = binding->plan;
    int inputs = step->argument_count - 1; /* the destination is last */
    const struct exec_tensor *target = &plan->tensors[step->arguments[inputs].tensor];
    struct tensor *result = NULL;
    int status;

    for (int i = 0; i < step->node->input_count; i++)
        binding->wrapped[i] = NULL;
    for (int a = 0; a < inputs; a++) {
        const struct step_argument *argument = &step->arguments[a];
        if (argument->tensor < 0) {
            binding->wrapped[argument->role] = argument->data;
            continue;
        }
        const struct exec_tensor *t = &plan->tensors[argument->tensor];
        binding->wrappers[a] = (struct tensor){.dtype = t->dtype,
                                               .shape = t->shape,
                                               .data = exec_tensor_data(binding, argument->tensor),
                                               .size = t->size};
        binding->wrapped[argument->role] = &binding->wrappers[a];
    }
    status = reference_node(step->node, binding->wrapped, &result, err);
    if (status != STATUS_OK)
        return status;
    if (result->dtype == target->dtype && shape_equal(&result->shape, &target->shape))
        memcpy(exec_tensor_data(binding, step->arguments[inputs].tensor), result->data,
               target->size);
    else
        status = error_set(err, STATUS_INTERNAL, "%s '%s' gave another shape than was inferred",
                           step->operator_name, step->node->name);
    tensor_free(result);
    return status;
}

static int run_step(struct exec_binding *binding, dnnl_stream_t stream, int index,
                    struct error *err)
{
    const struct step *step = &binding->plan->steps[index];

    switch (step->kind) {
    case STEP_PRIMITIVE:
        return onednn_check(
            dnnl_primitive_execute(step->primitive, stream, step->argument_count,
                                   &binding->arguments[binding->first_argument[index]]),
            step->operator_name, err);
    case STEP_SWISH:
        exec_swish(binding, step);
        break;
    case STEP_MEAN:
        exec_mean(binding, step);
        break;
    case STEP_SCALE:
        exec_scale(binding, step);
        break;
    case STEP_DENSE:
        exec_dense(binding, step);
        break;
    case STEP_PACK:
        exec_pack(binding, step);
        break;
    case STEP_SOFTMAX:
        exec_softmax(binding, step);
        break;
    case STEP_REFERENCE:
        return run_reference(binding, step, err);
    }
    return STATUS_OK;
}

static int tie_input(struct exec_binding *binding, const float *input, struct error *err)
{
    const struct exec_plan *plan = binding->plan;

    binding->input = input;
    for (int i = 0; i < plan->tensor_count; i++) {
        int status;
        if (plan->tensors[i].root != plan->input)
            continue;
        status = onednn_check(
            dnnl_memory_set_data_handle(binding->memories[i], (void *)(uintptr_t)input),
            "the input", err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

int exec_run(struct exec_binding *binding, dnnl_stream_t stream, const float *input, float *output,
             struct error *err)
{
    const struct exec_plan *plan = binding->plan;
    int threads_before = omp_get_max_threads();
    int status = tie_input(binding, input, err);

    omp_set_num_threads(plan->threads);
    for (int s = 0; s < plan->step_count && status == STATUS_OK; s++)
        status = run_step(binding, stream, s, err);
    omp_set_num_threads(threads_before);
    if (status == STATUS_OK)
        memcpy(output, exec_tensor_data(binding, plan->output), plan->tensors[plan->output].size);
    return status;
}
