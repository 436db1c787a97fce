/* What an implementation provides to be a `struct cache`: one table of functions, each as its
 * namesake in cache.h. Private to src/data. */
#ifndef DATA_CACHE_DRIVER_H
#define DATA_CACHE_DRIVER_H

#include "data/cache.h"

struct cache_driver {
    const char *engine;
    void (*close)(struct cache *cache);
    int (*set)(struct cache *cache, const char *key, const void *bytes, size_t size,
               int64_t time_to_live_ms, struct error *err);
    int (*get)(struct cache *cache, const char *key, void **bytes, size_t *size, struct error *err);
    void (*remove)(struct cache *cache, const char *key);
    int (*increment)(struct cache *cache, const char *key, int64_t amount, int64_t time_to_live_ms,
                     int64_t *value, struct error *err);
};

/* An implementation's own struct begins with this. */
struct cache {
    const struct cache_driver *driver;
};

#endif
