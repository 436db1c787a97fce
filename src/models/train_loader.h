/* Batches for training, made ready by a thread of their own while the step before computes. Private
 * to this folder.
 *
 * What a batch holds follows from the seed and the batch's number alone: the order of an epoch from
 * (seed, epoch), the random changes from (seed, number). So a training that is resumed at any step
 * sees what it would have seen. */
#ifndef MODELS_TRAIN_LOADER_H
#define MODELS_TRAIN_LOADER_H

#include "image/augment.h"
#include "models/dataset.h"

struct train_batch {
    float *input; /* [batch, 3, size, size] */
    int size;
    int32_t *labels; /* [batch] */
};

struct train_loader;

/* From the batch numbered `first` on; the last, incomplete batch of an epoch is left out. Batches
 * before the one numbered `small_until` are cropped to `small_size`, the others to the data set's
 * own size, which is square. Data set and indices must outlive the loader. */
int train_loader_create(const struct dataset *dataset, const uint32_t *indices, int64_t count,
                        const struct augment *augment, int batch, uint64_t seed, uint64_t first,
                        int small_size, uint64_t small_until, struct train_loader **out,
                        struct error *err);
/* From the next batch that is not yet being made on, they are of the full size. */
void train_loader_end_small(struct train_loader *loader);
void train_loader_free(struct train_loader *loader);
/* Waits for the next batch; it is the caller's until the next call. */
int train_loader_next(struct train_loader *loader, const struct train_batch **out,
                      struct error *err);

#endif
