/* What measuring (evaluate.c) hands to reporting (evaluate_report.c). */
#ifndef MODELS_EVALUATE_PRIVATE_H
#define MODELS_EVALUATE_PRIVATE_H

#include "models/evaluate.h"
#include "models/image_files.h"
#include "stats/histogram.h"

/* Marks an image that could not be read; it counts for no model. */
enum { ANSWER_NONE = -1, UNREADABLE_NAMED_MAX = 20 };

/* What one model did. */
struct tally {
    int32_t *answers;        /* an image: index of the class; class_count for a label that is no
                                class of the data; ANSWER_NONE */
    float *confidences;      /* an image */
    struct histogram *times; /* an image's share of its batch's time */
    double busy_seconds;     /* of all threads */
};

struct measurement {
    struct model *const *models;
    int model_count;
    const struct evaluate_options *options;
    struct image_files images; /* those with a class, in the order they were taken */
    struct tally *tallies;     /* a model */
    int64_t unreadable_count;
    json_t *unreadable; /* [{"file","error"}], the first few */
    int threads, batch;
    double seconds;
};

int evaluate_report(const struct measurement *measurement, json_t **report, struct error *err);

#endif
