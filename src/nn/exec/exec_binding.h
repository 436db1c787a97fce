/* A plan tied to an arena, as the running of its steps sees it. */
#ifndef NN_EXEC_BINDING_H
#define NN_EXEC_BINDING_H

#include "nn/exec/exec_plan.h"

struct exec_binding {
    const struct exec_plan *plan;
    uint8_t *arena;
    const float *input; /* of the run in progress */
    dnnl_memory_t *memories;
    dnnl_exec_arg_t *arguments; /* of all primitive steps, one after another */
    int *first_argument;        /* per step */
    struct tensor *wrappers;    /* for the reference steps: as many as the most inputs */
    const struct tensor **wrapped;
};

/* The bytes of a tensor; those of the input are only ever read. */
void *exec_tensor_data(const struct exec_binding *binding, int tensor);

/* Each runs a step of its kind. */
void exec_swish(const struct exec_binding *binding, const struct step *step);
void exec_mean(const struct exec_binding *binding, const struct step *step);
void exec_scale(const struct exec_binding *binding, const struct step *step);
void exec_dense(const struct exec_binding *binding, const struct step *step);
void exec_pack(const struct exec_binding *binding, const struct step *step);
void exec_softmax(const struct exec_binding *binding, const struct step *step);

#endif
