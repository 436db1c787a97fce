/* What all kinds of sources share: see source.h and source_driver.h. */
#include <stdlib.h>

#include "base/rng.h"
#include "sources/source_driver.h"

int source_next(struct source *source, struct source_image *image, struct error *err)
{
    *image = (struct source_image){0};
    const int got = source->driver->next(source, image, err);
    if (got != 1)
        source_image_free(image);
    return got;
}

void source_image_free(struct source_image *image)
{
    free(image->bytes);
    *image = (struct source_image){0};
}

int64_t source_count(const struct source *source)
{
    return source->count;
}

const char *source_kind(const struct source *source)
{
    return source->driver->kind;
}

void source_close(struct source *source)
{
    if (source != NULL)
        source->driver->close(source);
}

uint32_t *source_order(uint32_t count, uint64_t seed)
{
    uint32_t *order = malloc(((size_t)count + 1) * sizeof *order);

    if (order == NULL)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    if (seed != 0) {
        struct rng rng;
        rng_seed(&rng, seed);
        rng_shuffle(&rng, order, count);
    }
    return order;
}
