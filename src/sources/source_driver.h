/* What a kind of source provides; private to this folder. */
#ifndef SOURCES_SOURCE_DRIVER_H
#define SOURCES_SOURCE_DRIVER_H

#include "sources/source.h"

struct source_driver {
    const char *kind;
    /* As source_next; *image is empty and is dropped by the caller when this fails. */
    int (*next)(struct source *source, struct source_image *image, struct error *err);
    void (*close)(struct source *source);
};

/* The first member of each kind's own struct. */
struct source {
    const struct source_driver *driver;
    int64_t count;
};

/* 0, 1, ... count-1, or shuffled by `seed` when it is not 0: malloc'd, the caller frees; NULL when
 * memory is out. */
uint32_t *source_order(uint32_t count, uint64_t seed);

#endif
