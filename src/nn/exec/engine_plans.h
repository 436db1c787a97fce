/* What an engine shares with its sessions. */
#ifndef NN_ENGINE_PLANS_H
#define NN_ENGINE_PLANS_H

#include <pthread.h>

#include "nn/exec/engine.h"
#include "nn/exec/exec_plan.h"

enum { CHUNK_LOG2_MAX = 5 };

/* The plans for one number of threads, by the base-two logarithm of their batch. */
struct plan_set {
    int threads;
    struct exec_plan *plans[CHUNK_LOG2_MAX + 1];
    struct plan_set *next;
};

struct engine {
    struct exec_source source;
    struct shape input; /* of one image */
    int outputs;
    int batch_max;
    int chunk_log2_max;   /* of the largest batch worth running at once */
    pthread_mutex_t lock; /* over plan_sets, the weights' store and the graph's shapes */
    bool lock_made;
    struct plan_set *plan_sets;
};

/* The shared plan for a batch of 2^log2, made on first use; valid as long as the engine. */
int engine_plan(struct engine *engine, int log2, int threads, const struct exec_plan **out,
                struct error *err);

#endif
