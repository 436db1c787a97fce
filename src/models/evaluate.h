/* Measuring models on labelled images: what `ocelli evaluate` and the pipelines call. */
#ifndef MODELS_EVALUATE_H
#define MODELS_EVALUATE_H

#include <stdint.h>

#include "base/json.h"
#include "models/model_set.h"

struct evaluate_options {
    const char
        *data;     /* a folder with one folder a class; class names must be labels of the model */
    int threads;   /* images are spread over this many one-thread sessions */
    int64_t limit; /* 0: all images */
    void (*progress)(void *context, int64_t done, int64_t total, double images_per_second);
    void *context;
};

/* Runs the models over the data set, decoding each image once, and reports as JSON: per model n,
 * correct, accuracy with its Wilson 95 % interval, per-class precision/recall/count, confusion
 * matrix [true][predicted], ECE, images/s, time percentiles; per pair McNemar and the paired
 * bootstrap interval of the difference. Images that cannot be read are counted and named, not
 * fatal. The caller json_decref()s. */
int evaluate_models(struct model *const *models, int model_count,
                    const struct evaluate_options *options, json_t **report, struct error *err);

#endif
