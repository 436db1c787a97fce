/* The cache: bytes by key with a time to live, and counters for rate limits. Two implementations:
 * memory and Redis. Losing it makes things slower, never wrong. */
#ifndef DATA_CACHE_H
#define DATA_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "base/metrics.h"

struct cache;

/* Least recently used entries go first past cache_bytes_max. */
int cache_open_memory(const struct config *config, struct metrics *metrics, struct cache **out,
                      struct error *err);
void cache_close(struct cache *cache);

/* A time to live of 0 is none: the entry stays until others need its place. STATUS_TOO_LARGE when
 * it does not fit the cache; what was there under the key is gone then as well. */
int cache_set(struct cache *cache, const char *key, const void *bytes, size_t size,
              int64_t time_to_live_ms, struct error *err);
/* The caller frees *bytes, which a NUL follows. STATUS_NOT_FOUND when absent or expired. */
int cache_get(struct cache *cache, const char *key, void **bytes, size_t *size, struct error *err);
void cache_delete(struct cache *cache, const char *key);
/* Adds to a counter that expires time_to_live_ms after its first increment; *value is the sum.
 * STATUS_INVALID when the key holds something else than a decimal number. */
int cache_increment(struct cache *cache, const char *key, int64_t amount, int64_t time_to_live_ms,
                    int64_t *value, struct error *err);
const char *cache_engine(const struct cache *cache);

#endif
