/* What an implementation provides to be a `struct objects`: one table of functions, each as its
 * namesake in objects.h. Keys have been checked before they get here. Private to src/data. */
#ifndef DATA_OBJECTS_DRIVER_H
#define DATA_OBJECTS_DRIVER_H

#include "data/objects.h"

struct objects_driver {
    const char *engine;
    void (*close)(struct objects *objects);
    int (*put)(struct objects *objects, const char *key, const void *bytes, size_t size,
               struct error *err);
    int (*get)(struct objects *objects, const char *key, size_t size_max, uint8_t **bytes,
               size_t *size, struct error *err);
    int (*remove)(struct objects *objects, const char *key, struct error *err);
    int (*visit)(struct objects *objects, const char *prefix,
                 int (*visit)(const char *key, uint64_t size, int64_t modified_us, void *context),
                 void *context, struct error *err);
    int (*health)(struct objects *objects, struct error *err);
};

/* An implementation's own struct begins with this. */
struct objects {
    const struct objects_driver *driver;
};

#endif
