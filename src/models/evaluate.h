/* Measuring models on labelled images: what `ocelli evaluate` and the pipelines call. */
#ifndef MODELS_EVALUATE_H
#define MODELS_EVALUATE_H

#include <stdint.h>

#include "base/json.h"
#include "models/model_set.h"

struct evaluate_options {
    const char *data; /* a folder with one folder a class, named by labels of the models */
    int threads;      /* images are spread over this many one-thread sessions */
    int64_t limit;    /* 0: all images */
    /* (optional) Called about ten times a second, one call at a time. */
    void (*progress)(void *context, int64_t done, int64_t total, double images_per_second);
    void *context;
};

/* Runs the models over the data set, decoding each image once, and reports as JSON:
 *
 *   data, images (those that counted), unreadable {count, files: the first few with their errors}
 *   threads, batch, seconds, images_per_second (of all models, decoding included)
 *   confidence (0.95, of every interval), classes (names, in order)
 *   models [{name, version, precision, precision_note, n, correct, accuracy, accuracy_low and
 *     accuracy_high (Wilson), ece, images_per_second (of the model alone, on all threads),
 *     time_ms (an image's share of its batch) {n, mean, p50, p50_low, p50_high, p90, p99, ...},
 *     classes [{label, count, correct, precision, recall, other (answers that are no class)}],
 *     confusion [true][answered]}]
 *   pairs [{first, second, both, only_first, only_second, neither (how many were right),
 *     agreement, kappa, mcnemar {exact, statistic, p, p_holm},
 *     difference {accuracy, low, high, draws}}]
 *   cochran {q, degrees, p}, from three models on
 *
 * What is undefined is null; so are classes and confusion above 1000 classes. Images that cannot be
 * read are counted and named, not fatal. With a limit, images are drawn by a fixed seed. The models
 * must be active, and otherwise idle while they are timed. The caller json_decref()s. */
int evaluate_models(struct model *const *models, int model_count,
                    const struct evaluate_options *options, json_t **report, struct error *err);

#endif
