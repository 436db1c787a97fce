/* The order of the passes: see passes.h. Each is in a file of its own, passes_*.c; what they do to
 * graphs is in edit.h. */
#include "nn/graph/passes.h"

int passes_optimise(struct graph *graph, struct error *err)
{
    int (*const passes[])(struct graph *, struct error *) = {
        passes_canonicalise,
        passes_fold_constants,
        passes_fold_batch_norm,
        passes_fuse,
    };
    int status = STATUS_OK;

    for (size_t i = 0; status == STATUS_OK && i < sizeof passes / sizeof *passes; i++)
        status = passes[i](graph, err);
    if (status == STATUS_OK)
        status = graph_compact(graph, err);
    if (status == STATUS_OK)
        status = graph_infer_shapes(graph, DIM_ANY, err);
    return status;
}
