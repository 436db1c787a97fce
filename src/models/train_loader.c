/* See train_loader.h. A few batches go round between two queues: `empty` to the thread, `full`
 * back.
 */
#include "models/train_loader.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/queue.h"

enum { BATCHES = 3 };

struct train_loader {
    const struct dataset *dataset;
    const uint32_t *indices;
    int64_t count;
    struct augment augment;
    int batch;
    uint64_t seed, next;
    int small_size;
    _Atomic uint64_t small_until;
    uint64_t ordered_epoch; /* whose order `order` holds, plus one */
    uint32_t *order;
    struct train_batch batches[BATCHES];
    struct train_batch *lent;
    struct queue *empty, *full;
    pthread_t thread;
    bool running;
};

static void order_epoch(struct train_loader *loader, uint64_t epoch)
{
    struct rng rng;
    if (loader->ordered_epoch == epoch + 1)
        return;
    memcpy(loader->order, loader->indices, (size_t)loader->count * sizeof *loader->order);
    rng_seed(&rng, loader->seed * 1000003u + epoch);
    rng_shuffle(&rng, loader->order, (uint32_t)loader->count);
    loader->ordered_epoch = epoch + 1;
}

static void fill(struct train_loader *loader, uint64_t number, struct train_batch *batch)
{
    const struct dataset *dataset = loader->dataset;
    const uint64_t batches = (uint64_t)(loader->count / loader->batch);
    const uint32_t *from;
    struct augment augment = loader->augment;
    struct rng rng;

    batch->size = number < atomic_load(&loader->small_until) ? loader->small_size : dataset->width;
    augment.size = batch->size;
    size_t image = (size_t)batch->size * (size_t)batch->size * 3;
    order_epoch(loader, number / batches);
    from = loader->order + (number % batches) * (uint64_t)loader->batch;
    rng_seed(&rng, (loader->seed + 1) * 0x9e3779b97f4a7c15u + number);
    for (int i = 0; i < loader->batch; i++) {
        batch->labels[i] = dataset->truth[from[i]];
        augment_run(&augment, dataset_pixels(dataset, from[i]), dataset->height, dataset->width,
                    &rng, batch->input + (size_t)i * image);
    }
}

static void *run(void *context)
{
    struct train_loader *loader = context;
    void *batch;
    while (queue_pop(loader->empty, &batch, -1) == STATUS_OK) {
        fill(loader, loader->next++, batch);
        if (queue_push(loader->full, batch, -1) != STATUS_OK)
            break;
    }
    return NULL;
}

static int start(struct train_loader *loader, struct error *err)
{
    size_t image = (size_t)loader->dataset->height * (size_t)loader->dataset->width * 3;
    int status = queue_create(BATCHES, &loader->empty, err);
    if (status == STATUS_OK)
        status = queue_create(BATCHES, &loader->full, err);
    for (int i = 0; i < BATCHES && status == STATUS_OK; i++) {
        struct train_batch *batch = &loader->batches[i];
        batch->input = malloc((size_t)loader->batch * image * sizeof *batch->input);
        batch->labels = malloc((size_t)loader->batch * sizeof *batch->labels);
        if (batch->input == NULL || batch->labels == NULL)
            return error_set(err, STATUS_NO_MEMORY, "no memory for a batch of %d pictures",
                             loader->batch);
        status = queue_push(loader->empty, batch, -1);
    }
    if (status != STATUS_OK)
        return status;
    int failure = pthread_create(&loader->thread, NULL, run, loader);
    if (failure != 0)
        return error_set_errno(err, failure, "cannot start the thread that loads batches");
    loader->running = true;
    return STATUS_OK;
}

int train_loader_create(const struct dataset *dataset, const uint32_t *indices, int64_t count,
                        const struct augment *augment, int batch, uint64_t seed, uint64_t first,
                        int small_size, uint64_t small_until, struct train_loader **out,
                        struct error *err)
{
    struct train_loader *loader;

    if (batch < 1 || count < batch)
        return error_set(err, STATUS_INVALID, "%lld pictures do not fill one batch of %d",
                         (long long)count, batch);
    loader = calloc(1, sizeof *loader);
    if (loader == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a loader");
    *loader = (struct train_loader){
        .dataset = dataset,
        .indices = indices,
        .count = count,
        .augment = *augment,
        .batch = batch,
        .seed = seed,
        .next = first,
        .small_size = small_size,
        .small_until = small_until,
        .order = malloc((size_t)count * sizeof *loader->order),
    };
    int status = loader->order != NULL
                     ? start(loader, err)
                     : error_set(err, STATUS_NO_MEMORY, "no memory for an epoch's order");
    if (status != STATUS_OK) {
        train_loader_free(loader);
        return status;
    }
    *out = loader;
    return STATUS_OK;
}

void train_loader_end_small(struct train_loader *loader)
{
    atomic_store(&loader->small_until, 0);
}

void train_loader_free(struct train_loader *loader)
{
    if (loader == NULL)
        return;
    if (loader->running) {
        queue_close(loader->empty);
        queue_close(loader->full);
        pthread_join(loader->thread, NULL);
    }
    if (loader->empty != NULL)
        queue_free(loader->empty);
    if (loader->full != NULL)
        queue_free(loader->full);
    for (int i = 0; i < BATCHES; i++) {
        free(loader->batches[i].input);
        free(loader->batches[i].labels);
    }
    free(loader->order);
    free(loader);
}

int train_loader_next(struct train_loader *loader, const struct train_batch **out,
                      struct error *err)
{
    void *batch;
    if (loader->lent != NULL)
        queue_push(loader->empty, loader->lent, -1);
    loader->lent = NULL;
    int status = queue_pop(loader->full, &batch, -1);
    if (status != STATUS_OK)
        return error_set(err, STATUS_CLOSED, "the loader of training pictures has stopped");
    loader->lent = batch;
    *out = batch;
    return STATUS_OK;
}
