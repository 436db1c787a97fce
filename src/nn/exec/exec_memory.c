/* Where every tensor lies in the arena.
 *
 * A root lives from the first step that touches it to the last. The largest are placed first, each
 * at the lowest offset where it meets nobody whose life overlaps its own: for the chains and short
 * branches of image classifiers that comes within a few percent of the largest pair of neighbours,
 * and keeps what is hot close together. */
#include <stdlib.h>

#include "nn/exec/exec_plan.h"

enum { ALIGNMENT = 64 };

static void find_lives(struct exec_plan *plan)
{
    for (int s = 0; s < plan->step_count; s++) {
        for (int a = 0; a < plan->steps[s].argument_count; a++) {
            int tensor = plan->steps[s].arguments[a].tensor;
            if (tensor < 0)
                continue;
            struct exec_tensor *root = &plan->tensors[plan->tensors[tensor].root];
            if (root->first < 0)
                root->first = s;
            root->last = s;
        }
    }
    plan->tensors[plan->tensors[plan->output].root].last = plan->step_count;
}

static bool meet_in_time(const struct exec_tensor *a, const struct exec_tensor *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset free of all that were placed before. Each conflict moves it up, and starts
 * over: quadratic at worst, over a few hundred tensors. */
static size_t lowest_offset(const struct exec_plan *plan, const int *placed, int placed_count,
                            const struct exec_tensor *tensor)
{
    size_t offset = 0;

    for (int i = 0; i < placed_count; i++) {
        const struct exec_tensor *other = &plan->tensors[placed[i]];
        if (meet_in_time(tensor, other) && offset < other->offset + other->size &&
            other->offset < offset + tensor->size) {
            offset = (other->offset + other->size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            i = -1;
        }
    }
    return offset;
}

/* The largest root that is not placed yet, or -1. */
static int next_largest(const struct exec_plan *plan, const bool *done)
{
    int best = -1;

    for (int i = 0; i < plan->tensor_count; i++) {
        const struct exec_tensor *tensor = &plan->tensors[i];
        if (tensor->root != i || i == plan->input || tensor->first < 0 || done[i])
            continue;
        if (best < 0 || tensor->size > plan->tensors[best].size)
            best = i;
    }
    return best;
}

int exec_plan_place(struct exec_plan *plan, struct error *err)
{
    bool *done = calloc((size_t)plan->tensor_count, sizeof *done);
    int *placed = calloc((size_t)plan->tensor_count, sizeof *placed);
    int placed_count = 0, status = STATUS_OK;

    if (done == NULL || placed == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory for a plan");
        goto done;
    }
    find_lives(plan);
    for (int i = next_largest(plan, done); i >= 0; i = next_largest(plan, done)) {
        struct exec_tensor *tensor = &plan->tensors[i];
        tensor->offset = lowest_offset(plan, placed, placed_count, tensor);
        if (tensor->offset + tensor->size > plan->arena_size)
            plan->arena_size = tensor->offset + tensor->size;
        placed[placed_count++] = i;
        done[i] = true;
    }
done:
    free(done);
    free(placed);
    return status;
}

size_t exec_plan_widest(const struct exec_plan *plan)
{
    size_t widest = 0;

    for (int s = 0; s < plan->step_count; s++) {
        size_t size = 0;
        for (int a = 0; a < plan->steps[s].argument_count; a++) {
            int tensor = plan->steps[s].arguments[a].tensor;
            if (tensor >= 0 && plan->tensors[tensor].layout != LAYOUT_SCRATCH)
                size += plan->tensors[tensor].size;
        }
        widest = size > widest ? size : widest;
    }
    return widest;
}
