/* A plan for people: one line a step. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/exec/exec_plan.h"

static const char *layout_text(const struct exec_plan *plan, const struct exec_tensor *tensor)
{
    switch (tensor->layout) {
    case LAYOUT_PLAIN:
        return tensor->dtype == DTYPE_F32 ? "plain f32" : "plain";
    case LAYOUT_BLOCKED:
        return plan->source->lanes == 16 ? "nChw16c f32" : "nChw8c f32";
    case LAYOUT_NHWC:
        return "nhwc f32";
    case LAYOUT_NHWC_BF16:
        return "nhwc bf16";
    default:
        return "bytes";
    }
}

/* The tensor a step writes: its DST, which every kind has. */
static const struct exec_tensor *written(const struct exec_plan *plan, const struct step *step)
{
    const struct step_argument *last = &step->arguments[step->argument_count - 1];

    for (int a = 0; a < step->argument_count; a++) {
        if (step->arguments[a].role == DNNL_ARG_DST && step->kind != STEP_REFERENCE)
            last = &step->arguments[a];
    }
    return &plan->tensors[last->tensor];
}

static void print_step(FILE *out, const struct exec_plan *plan, const struct step *step)
{
    char shape[128], operator_text[64];
    const struct exec_tensor *tensor = written(plan, step);
    const struct exec_tensor *root = &plan->tensors[tensor->root];

    snprintf(operator_text, sizeof operator_text, "%s%s", step->operator_name, step->fused);
    fprintf(out, "%-26s %-32s %-22s %-11s %-32s %8zu KiB @%zu\n", operator_text, step->node->name,
            shape_text(&tensor->shape, shape, sizeof shape), layout_text(plan, tensor),
            step->implementation, (tensor->size + 1023) / 1024, root->offset);
}

char *exec_plan_text(const struct exec_plan *plan)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    bool failed;

    if (out == NULL)
        return NULL;
    fprintf(out, "batch %d, %d thread%s, %s, %d steps, activations %zu KiB\n", plan->batch,
            plan->threads, plan->threads == 1 ? "" : "s", precision_name(plan->source->precision),
            plan->step_count, (plan->arena_size + 1023) / 1024);
    for (int s = 0; s < plan->step_count; s++)
        print_step(out, plan, &plan->steps[s]);
    failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
