/* A labelled set of pictures in memory: a folder with one folder a class, decoded once and kept as
 * 8-bit pixels at the size a network wants. */
#ifndef MODELS_DATASET_H
#define MODELS_DATASET_H

#include <stdint.h>

#include "base/error.h"
#include "image/preprocess.h"

struct dataset {
    int height, width;
    int64_t count;
    uint8_t *pixels; /* [count, height, width, 3], RGB */
    int32_t *truth;  /* [count], index into labels */
    char **labels;
    int label_count;
    int64_t unreadable; /* files left out because they could not be decoded */
};

/* Reads `folder`; the order of the pictures is by path. Classes are numbered as `labels` has them,
 * or, when it is NULL, in the order of their names. Pictures are fitted as `preprocess` says (its
 * size, fit and kernel; the numbers' range is the trainer's business). STATUS_INVALID for a folder
 * of no class, or a class that is not among the labels; STATUS_TOO_LARGE over 8 GiB of pixels. The
 * caller owns *out. */
int dataset_open_folder(const char *folder, const char *const *labels, int label_count,
                        const struct preprocess *preprocess, struct dataset **out,
                        struct error *err);
void dataset_free(struct dataset *dataset); /* NULL is fine */

const uint8_t *dataset_pixels(const struct dataset *dataset, int64_t index);

/* Indices into a data set: what to learn from, and what to choose by. */
struct dataset_split {
    uint32_t *train, *validation; /* owned */
    int64_t train_count, validation_count;
};

/* Cuts about `validation` pictures off, the same share of every class, chosen by the seed alone.
 * Zero-initialise *out; free it also after a failure. */
int dataset_split_make(const struct dataset *dataset, int64_t validation, uint64_t seed,
                       struct dataset_split *out, struct error *err);
void dataset_split_free(struct dataset_split *split);

#endif
