/* What trainer.c and checkpoint.c share. */
#ifndef NN_TRAINER_PRIVATE_H
#define NN_TRAINER_PRIVATE_H

#include "nn/train/tape.h"

enum { TAPES_MAX = 8 };

/* A graph with one input size, and its tape. */
struct sized_tape {
    int height, width;
    struct graph *graph;
    struct tape *tape;
};

struct trainer {
    struct trainer_options options;
    bool bf16;
    struct graph *graph; /* as given; its constants are the shapes that trainer_graph fills */
    struct store *store;
    struct sized_tape tapes[TAPES_MAX];
    int tape_count;
    struct tape *tape; /* the one in use */
    /* Whether the working copies in the tape are those of the trained, or the averaged, weights. */
    bool fresh, averaged_fresh;
    float *logits, *logits_gradient; /* [batch, classes] */
    float *padded;                   /* one batch of input, for evaluating fewer; grown on demand */
    size_t padded_count;
};

#endif
