/* A training from a folder of pictures to a model: what `ocelli train` and the retraining pipeline
 * run.
 *
 * The learning rate follows one cycle (Smith and Topin, "Super-Convergence", 2018): up in a line,
 * down in a half cosine to nearly zero. After each epoch the averaged weights are scored on
 * pictures held out of training; the best so far are exported. In the output folder:
 *   checkpoint.bin  the trainer's whole state, after each epoch and every few minutes
 *   training.json   the job, the machine, and a line for each epoch
 *   model.onnx      the best averaged weights, in f16 */
#ifndef MODELS_TRAIN_JOB_H
#define MODELS_TRAIN_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "nn/exec/engine.h"

struct train_progress {
    int epoch, epochs;            /* from 1 */
    int64_t step, steps;          /* of the whole training */
    double learning_rate;         /* of this step */
    double loss, accuracy;        /* means of this epoch so far; accuracy in 0..1 */
    double validation;            /* accuracy on held-out pictures; -1 except at an epoch's end */
    double best;                  /* of those so far; -1 before the first */
    double images_per_second;     /* recently */
    double seconds, seconds_left; /* spent, over all sessions; and expected */
};

struct train_job {
    const char *architecture; /* see nn/arch/arch.h; not needed with `init` */
    const char *data;         /* has a folder `train` of class folders, or is one */
    const char *out;          /* made when absent */
    const char *init;         /* an ONNX model to start from, or NULL for fresh weights */
    const char *preset;       /* of image/preprocess.h, for range and fit: "cifar10" */
    int input;                /* height and width; 32 */
    int small_input; /* the size cropped to at first, which is faster; 0 for `input` throughout */
    double small_share; /* of the training at `small_input`; 0.5 */
    int epochs;
    double minutes; /* when above 0, the schedule follows the clock and ends after this long, or
                       after `epochs` if that is sooner */
    int batch;
    double learning_rate; /* the highest */
    double warmup;        /* share of the training in which it rises; 0.2 */
    double momentum, weight_decay, label_smoothing, average_decay;
    int cutout, pad;    /* see image/augment.h */
    int64_t validation; /* pictures held out */
    uint64_t seed;
    int threads;
    enum precision precision;
    bool resume;         /* go on from `out`'s checkpoint if it has one */
    const char *command; /* recorded in training.json; may be NULL */
    /* (optional) About once a second and after each epoch; false stops the training, resumably. */
    bool (*progress)(void *context, const struct train_progress *progress);
    void *context;
};

/* The settings that trained the models that ship, but for architecture and folders. */
extern const struct train_job train_job_default;

/* Runs to the end. STATUS_CLOSED when `progress` stopped it. *best (may be NULL) is the exported
 * model's accuracy on the held-out pictures. */
int train_job_run(const struct train_job *job, double *best, struct error *err);

#endif
