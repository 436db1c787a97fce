/* Which memory each gradient lives in: a walk through the backward pass before there is one. A
 * gradient of memory just read is warm in the cache, so that writing the next one over it, or into
 * the block released last, saves more than space. */
#include <stdlib.h>

#include "nn/train/tape.h"

static int new_block(struct tape *tape, size_t size, int *out, struct error *err)
{
    if (tape->block_count == tape->block_capacity) {
        int capacity = tape->block_capacity * 2 + 16;
        struct block *blocks = realloc(tape->blocks, (size_t)capacity * sizeof *blocks);
        if (blocks == NULL)
            return error_set(err, STATUS_NO_MEMORY, "no memory for a training tape");
        tape->blocks = blocks;
        tape->block_capacity = capacity;
    }
    tape->blocks[tape->block_count] = (struct block){.size = size};
    *out = tape->block_count++;
    return STATUS_OK;
}

/* The smallest free block that fits without wasting three quarters of it, or a new one. */
static int take_block(struct tape *tape, size_t size, int *out, struct error *err)
{
    int best = -1;
    for (int i = 0; i < tape->block_count; i++) {
        const struct block *block = &tape->blocks[i];
        if (block->holders == 0 && block->size >= size && block->size / 4 <= size &&
            (best < 0 || block->size < tape->blocks[best].size))
            best = i;
    }
    int status = best < 0 ? new_block(tape, size, &best, err) : STATUS_OK;
    if (status == STATUS_OK) {
        tape->blocks[best].holders++;
        *out = best;
    }
    return status;
}

/* An input whose gradient has a block already was written by a layer after this one. */
static int place_input(struct tape *tape, struct layer *layer, int input, struct error *err)
{
    struct flow *flow = layer->inputs[input];
    struct block *over = &tape->blocks[layer->output->block];

    if (flow == NULL || !flow->needs_gradient)
        return STATUS_OK;
    if (flow->block >= 0) {
        layer->accumulate[input] = true;
        return STATUS_OK;
    }
    bool share = input == 1 ? layer->kind->shares_second
                            : layer->kind->in_place && over->holders == 1 &&
                                  over->size >= flow_size(tape, flow);
    if (!share)
        return take_block(tape, flow_size(tape, flow), &flow->block, err);
    flow->block = layer->output->block;
    over->holders++;
    return STATUS_OK;
}

static int place_layer(struct tape *tape, struct layer *layer, struct error *err)
{
    int status;
    if (!layer->output->needs_gradient)
        return STATUS_OK;
    if (layer->output->block < 0)
        return error_set(err, STATUS_UNSUPPORTED, "cannot train node '%s': nothing uses its output",
                         layer->name);
    /* The second first: what it shares, the first must not overwrite. */
    status = place_input(tape, layer, 1, err);
    if (status == STATUS_OK)
        status = place_input(tape, layer, 0, err);
    size_t scratch = layer->scratch_size;
    if (layer->accumulate[0] && scratch < flow_size(tape, layer->inputs[0]))
        scratch = flow_size(tape, layer->inputs[0]);
    if (status == STATUS_OK && scratch > 0) {
        status = take_block(tape, scratch, &layer->scratch_block, err);
        if (status == STATUS_OK)
            tape->blocks[layer->scratch_block].holders--;
    }
    tape->blocks[layer->output->block].holders--;
    return status;
}

int tape_gradients(struct tape *tape, struct error *err)
{
    int status = take_block(tape, flow_size(tape, tape->logits), &tape->logits->block, err);
    for (int i = tape->layer_count - 1; i >= 0 && status == STATUS_OK; i--)
        status = place_layer(tape, &tape->layers[i], err);
    for (int i = 0; i < tape->block_count && status == STATUS_OK; i++)
        status = memory_create(tape->blocks[i].size, &tape->blocks[i].memory, err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < tape->flow_count; i++)
        if (tape->flows[i].block >= 0)
            tape->flows[i].gradient = tape->blocks[tape->flows[i].block].memory;
    for (int i = 0; i < tape->layer_count; i++)
        if (tape->layers[i].scratch_block >= 0)
            tape->layers[i].scratch = tape->blocks[tape->layers[i].scratch_block].memory;
    return STATUS_OK;
}
