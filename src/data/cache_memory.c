/* The cache in memory: a hash table with chains, and a list of all entries by their last use. See
 * cache.h.
 *
 * One lock guards it: what is done under it is a few pointers and a copy. Expired entries go when
 * they are looked at, or when they have become the least recently used. A counter is an entry whose
 * bytes are its value in decimal, as Redis keeps it. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "data/cache_driver.h"

enum { BUCKETS_MIN = 256, COUNTER_TEXT_SIZE = 24 };

struct entry {
    struct entry *chain;         /* the next in its bucket */
    struct entry *newer, *older; /* by last use */
    uint64_t hash;
    int64_t expires_ns; /* of the monotonic clock; 0 for never */
    size_t key_size;    /* with its NUL */
    size_t size;
    char data[]; /* the key, then the bytes */
};

struct memory_cache {
    struct cache base;
    size_t bytes_max;
    struct metric *hits, *misses, *evictions, *bytes_used;
    pthread_mutex_t lock; /* guards all below */
    struct entry **buckets;
    size_t bucket_count; /* a power of two */
    size_t count, bytes; /* of entries, with their keys and bookkeeping */
    struct entry *newest, *oldest;
};

/* --- entries, with the lock held --- */

static size_t entry_bytes(size_t key_size, size_t size)
{
    return sizeof(struct entry) + key_size + size;
}

static void list_remove(struct memory_cache *cache, struct entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &cache->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &cache->oldest) = entry->newer;
}

static void list_add_newest(struct memory_cache *cache, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = cache->newest;
    *(cache->newest != NULL ? &cache->newest->newer : &cache->oldest) = entry;
    cache->newest = entry;
}

static struct entry **bucket_of(struct memory_cache *cache, uint64_t hash)
{
    return &cache->buckets[hash & (cache->bucket_count - 1)];
}

static void entry_drop(struct memory_cache *cache, struct entry *entry)
{
    struct entry **link = bucket_of(cache, entry->hash);

    while (*link != entry)
        link = &(*link)->chain;
    *link = entry->chain;
    list_remove(cache, entry);
    cache->count--;
    cache->bytes -= entry_bytes(entry->key_size, entry->size);
    free(entry);
}

static bool expired(const struct entry *entry)
{
    return entry->expires_ns != 0 && clock_monotonic_ns() >= entry->expires_ns;
}

/* The live entry of that key, now the most recently used; NULL when there is none. */
static struct entry *entry_find(struct memory_cache *cache, const char *key)
{
    const size_t key_size = strlen(key) + 1;
    const uint64_t hash = fnv1a(key, key_size);
    struct entry *entry = *bucket_of(cache, hash);

    while (entry != NULL && (entry->hash != hash || entry->key_size != key_size ||
                             memcmp(entry->data, key, key_size) != 0))
        entry = entry->chain;
    if (entry == NULL)
        return NULL;
    if (expired(entry)) {
        entry_drop(cache, entry);
        return NULL;
    }
    list_remove(cache, entry);
    list_add_newest(cache, entry);
    return entry;
}

/* Twice as many buckets, when there are more entries than buckets. Without memory for them the
 * chains get longer, no more. */
static void grow(struct memory_cache *cache)
{
    if (cache->count < cache->bucket_count)
        return;
    struct entry **buckets = calloc(cache->bucket_count * 2, sizeof(struct entry *));
    if (buckets == NULL)
        return;
    free(cache->buckets);
    cache->buckets = buckets;
    cache->bucket_count *= 2;
    for (struct entry *entry = cache->newest; entry != NULL; entry = entry->older) {
        struct entry **bucket = bucket_of(cache, entry->hash);
        entry->chain = *bucket;
        *bucket = entry;
    }
}

/* Replaces the entry of that key. */
static int entry_put(struct memory_cache *cache, const char *key, const void *bytes, size_t size,
                     int64_t expires_ns, struct error *err)
{
    const size_t key_size = strlen(key) + 1;
    struct entry *before = entry_find(cache, key);

    if (before != NULL)
        entry_drop(cache, before);
    if (size > cache->bytes_max || entry_bytes(key_size, size) > cache->bytes_max)
        return error_set(err, STATUS_TOO_LARGE, "%zu bytes do not fit a cache of %zu", size,
                         cache->bytes_max);
    struct entry *entry = malloc(entry_bytes(key_size, size));
    if (entry == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to cache %zu bytes", size);
    entry->hash = fnv1a(key, key_size);
    entry->expires_ns = expires_ns;
    entry->key_size = key_size;
    entry->size = size;
    memcpy(entry->data, key, key_size);
    if (size > 0)
        memcpy(entry->data + key_size, bytes, size);
    cache->count++;
    cache->bytes += entry_bytes(key_size, size);
    grow(cache);
    struct entry **bucket = bucket_of(cache, entry->hash);
    entry->chain = *bucket;
    *bucket = entry;
    list_add_newest(cache, entry);
    while (cache->bytes > cache->bytes_max) {
        entry_drop(cache, cache->oldest);
        metric_add(cache->evictions, 1);
    }
    metric_set(cache->bytes_used, (double)cache->bytes);
    return STATUS_OK;
}

static int64_t expiry(int64_t time_to_live_ms)
{
    return time_to_live_ms > 0 ? clock_monotonic_ns() + time_to_live_ms * 1000000 : 0;
}

/* --- the table of functions --- */

static int memory_set(struct cache *base, const char *key, const void *bytes, size_t size,
                      int64_t time_to_live_ms, struct error *err)
{
    struct memory_cache *cache = (struct memory_cache *)base;

    pthread_mutex_lock(&cache->lock);
    const int status = entry_put(cache, key, bytes, size, expiry(time_to_live_ms), err);
    pthread_mutex_unlock(&cache->lock);
    return status;
}

static int memory_get(struct cache *base, const char *key, void **bytes, size_t *size,
                      struct error *err)
{
    struct memory_cache *cache = (struct memory_cache *)base;
    int status = STATUS_OK;

    pthread_mutex_lock(&cache->lock);
    const struct entry *entry = entry_find(cache, key);
    if (entry == NULL) {
        status = error_set(err, STATUS_NOT_FOUND, "'%.80s' is not in the cache", key);
    } else {
        /* A NUL follows, for those who keep text. */
        char *copy = malloc(entry->size + 1);
        if (copy == NULL) {
            status = error_set(err, STATUS_NO_MEMORY, "no memory for %zu bytes of the cache",
                               entry->size);
        } else {
            memcpy(copy, entry->data + entry->key_size, entry->size);
            copy[entry->size] = '\0';
            *bytes = copy;
            *size = entry->size;
        }
    }
    metric_add(entry != NULL ? cache->hits : cache->misses, 1);
    pthread_mutex_unlock(&cache->lock);
    return status;
}

static void memory_delete(struct cache *base, const char *key)
{
    struct memory_cache *cache = (struct memory_cache *)base;

    pthread_mutex_lock(&cache->lock);
    struct entry *entry = entry_find(cache, key);
    if (entry != NULL)
        entry_drop(cache, entry);
    metric_set(cache->bytes_used, (double)cache->bytes);
    pthread_mutex_unlock(&cache->lock);
}

/* The number an entry's bytes spell; 0 when they spell none. */
static bool entry_number(const struct entry *entry, int64_t *out)
{
    char text[COUNTER_TEXT_SIZE];
    char *end;

    if (entry->size == 0 || entry->size >= sizeof text)
        return false;
    memcpy(text, entry->data + entry->key_size, entry->size);
    text[entry->size] = '\0';
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static int memory_increment(struct cache *base, const char *key, int64_t amount,
                            int64_t time_to_live_ms, int64_t *value, struct error *err)
{
    struct memory_cache *cache = (struct memory_cache *)base;
    char text[COUNTER_TEXT_SIZE];
    int64_t sum = 0;
    int status = STATUS_OK;

    pthread_mutex_lock(&cache->lock);
    const struct entry *entry = entry_find(cache, key);
    const int64_t expires_ns = entry != NULL ? entry->expires_ns : expiry(time_to_live_ms);
    if (entry != NULL && !entry_number(entry, &sum))
        status = error_set(err, STATUS_INVALID, "'%.80s' in the cache is no counter", key);
    else if (__builtin_add_overflow(sum, amount, &sum))
        status = error_set(err, STATUS_TOO_LARGE, "the counter '%.80s' overflows", key);
    if (status == STATUS_OK) {
        const int length = snprintf(text, sizeof text, "%" PRId64, sum);
        status = entry_put(cache, key, text, (size_t)length, expires_ns, err);
    }
    pthread_mutex_unlock(&cache->lock);
    if (status == STATUS_OK)
        *value = sum;
    return status;
}

static void memory_close(struct cache *base)
{
    struct memory_cache *cache = (struct memory_cache *)base;

    for (struct entry *entry = cache->newest, *older; entry != NULL; entry = older) {
        older = entry->older;
        free(entry);
    }
    pthread_mutex_destroy(&cache->lock);
    free(cache->buckets);
    free(cache);
}

static const struct cache_driver memory_driver = {
    .engine = "memory",
    .close = memory_close,
    .set = memory_set,
    .get = memory_get,
    .remove = memory_delete,
    .increment = memory_increment,
};

int cache_open_memory(const struct config *config, struct metrics *metrics, struct cache **out,
                      struct error *err)
{
    const char *reads_help = "Reads of the cache, by result";
    struct memory_cache *cache = calloc(1, sizeof *cache);

    if (cache != NULL)
        cache->buckets = calloc(BUCKETS_MIN, sizeof(struct entry *));
    if (cache == NULL || cache->buckets == NULL) {
        free(cache);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the cache");
    }
    cache->base.driver = &memory_driver;
    cache->bucket_count = BUCKETS_MIN;
    cache->bytes_max = (size_t)config->cache_bytes_max;
    pthread_mutex_init(&cache->lock, NULL);
    cache->hits = metrics_get(metrics, METRIC_COUNTER, "ocelli_cache_reads_total", reads_help,
                              "result=\"hit\"");
    cache->misses = metrics_get(metrics, METRIC_COUNTER, "ocelli_cache_reads_total", reads_help,
                                "result=\"miss\"");
    cache->evictions = metrics_get(metrics, METRIC_COUNTER, "ocelli_cache_evictions_total",
                                   "Entries dropped for others", "");
    cache->bytes_used =
        metrics_get(metrics, METRIC_GAUGE, "ocelli_cache_bytes", "Bytes in the cache", "");
    *out = &cache->base;
    return STATUS_OK;
}
