/* The cache: the calls handed on to the implementation. See cache.h. */
#include "data/cache.h"

#include "data/cache_driver.h"

void cache_close(struct cache *cache)
{
    if (cache != NULL)
        cache->driver->close(cache);
}

int cache_set(struct cache *cache, const char *key, const void *bytes, size_t size,
              int64_t time_to_live_ms, struct error *err)
{
    return cache->driver->set(cache, key, bytes, size, time_to_live_ms, err);
}

int cache_get(struct cache *cache, const char *key, void **bytes, size_t *size, struct error *err)
{
    return cache->driver->get(cache, key, bytes, size, err);
}

void cache_delete(struct cache *cache, const char *key)
{
    cache->driver->remove(cache, key);
}

int cache_increment(struct cache *cache, const char *key, int64_t amount, int64_t time_to_live_ms,
                    int64_t *value, struct error *err)
{
    return cache->driver->increment(cache, key, amount, time_to_live_ms, value, err);
}

const char *cache_engine(const struct cache *cache)
{
    return cache->driver->engine;
}
