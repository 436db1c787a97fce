/* The cache in memory: content, expiry, counters, eviction in order of use, threads. */
#include "data_test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "data/cache.h"

static struct fixture fixture;
static struct cache *cache;

static int setup(void **state)
{
    struct error err = {0};
    (void)state;
    fixture_make(&fixture);
    assert_ok(config_set(fixture.config, "cache_bytes_max", "65536", CONFIG_FLAG, &err), &err);
    assert_ok(cache_open_memory(fixture.config, fixture.metrics, &cache, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cache_close(cache);
    fixture_drop(&fixture);
    return 0;
}

static void set(const char *key, const void *bytes, size_t size, int64_t time_to_live_ms)
{
    struct error err = {0};
    assert_ok(cache_set(cache, key, bytes, size, time_to_live_ms, &err), &err);
}

static bool has(const char *key)
{
    struct error err = {0};
    void *bytes;
    size_t size;
    const int status = cache_get(cache, key, &bytes, &size, &err);
    if (status == STATUS_OK)
        free(bytes);
    else
        assert_int_equal(status, STATUS_NOT_FOUND);
    return status == STATUS_OK;
}

static void expect(const char *key, const void *content, size_t content_size)
{
    struct error err = {0};
    void *bytes;
    size_t size;
    assert_ok(cache_get(cache, key, &bytes, &size, &err), &err);
    assert_int_equal(size, content_size);
    assert_memory_equal(bytes, content, size);
    free(bytes);
}

static void test_content(void **state)
{
    (void)state;
    assert_false(has("a"));
    set("a", "x\0y", 3, 60000);
    set("b", NULL, 0, 0);
    expect("a", "x\0y", 3);
    expect("b", "", 0);
    set("a", "other", 5, 60000);
    expect("a", "other", 5);
    cache_delete(cache, "a");
    cache_delete(cache, "a");
    assert_false(has("a"));
    assert_true(has("b"));
    assert_string_equal(cache_engine(cache), "memory");
}

static void test_expiry(void **state)
{
    (void)state;
    set("soon", "x", 1, 1);
    set("later", "x", 1, 3600000);
    set("never", "x", 1, 0);
    clock_sleep_ms(5);
    assert_false(has("soon"));
    assert_true(has("later"));
    assert_true(has("never"));
}

static void test_counters(void **state)
{
    struct error err = {0};
    int64_t value = 0;
    (void)state;
    assert_ok(cache_increment(cache, "n", 5, 3600000, &value, &err), &err);
    assert_int_equal(value, 5);
    assert_ok(cache_increment(cache, "n", -7, 1, &value, &err), &err);
    assert_int_equal(value, -2);
    clock_sleep_ms(5); /* the time to live is that of the first increment */
    expect("n", "-2", 2);
    assert_ok(cache_increment(cache, "short", 1, 1, &value, &err), &err);
    clock_sleep_ms(5);
    assert_ok(cache_increment(cache, "short", 1, 1000, &value, &err), &err);
    assert_int_equal(value, 1);
    set("text", "cat", 3, 0);
    assert_int_equal(cache_increment(cache, "text", 1, 0, &value, &err), STATUS_INVALID);
    expect("text", "cat", 3);
    assert_ok(cache_increment(cache, "n", INT64_MAX, 0, &value, &err), &err);
    assert_int_equal(cache_increment(cache, "n", INT64_MAX, 0, &value, &err), STATUS_TOO_LARGE);
}

static void test_the_least_recently_used_goes(void **state)
{
    static char bytes[6000];
    char key[8];
    (void)state;
    for (int i = 0; i < 10; i++) { /* ten of these fit */
        snprintf(key, sizeof key, "%d", i);
        set(key, bytes, sizeof bytes, 0);
    }
    assert_true(has("0")); /* and is now the most recently used */
    set("10", bytes, sizeof bytes, 0);
    assert_true(has("0"));
    assert_false(has("1"));
    assert_true(has("2"));
    assert_int_equal(metric_read(fixture.metrics, "ocelli_cache_evictions_total"), 1);
}

static void test_memory_is_bounded(void **state)
{
    struct error err = {0};
    static char bytes[70000];
    char key[32];
    (void)state;
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "key %d", i);
        set(key, bytes, (size_t)(i % 300), 0);
    }
    assert_true(metric_read(fixture.metrics, "ocelli_cache_bytes") <= 65536);
    assert_true(has("key 19999"));
    assert_false(has("key 0"));
    set("small", "x", 1, 0);
    assert_int_equal(cache_set(cache, "small", bytes, sizeof bytes, 0, &err), STATUS_TOO_LARGE);
    assert_false(has("small")); /* what was there is out of date */
    assert_int_equal(cache_set(cache, "huge", bytes, SIZE_MAX, 0, &err), STATUS_TOO_LARGE);
}

enum { THREADS = 8, ROUNDS = 2000 };

static void mixing_thread(int number, void *context)
{
    char key[32], content[64];
    for (int i = 0; i < ROUNDS; i++) {
        struct error err = {0};
        void *bytes;
        size_t size;
        int64_t value;
        snprintf(key, sizeof key, "%d", (number * 31 + i) % 700);
        const int length = snprintf(content, sizeof content, "content of %s", key);
        cache_set(cache, key, content, (size_t)length, i % 5 == 0 ? 1 : 0, &err);
        if (cache_get(cache, key, &bytes, &size, &err) == STATUS_OK) {
            if (size != (size_t)length || memcmp(bytes, content, size) != 0)
                atomic_fetch_add((atomic_int *)context, 1);
            free(bytes);
        }
        if (i % 7 == 0)
            cache_delete(cache, key);
        if (cache_increment(cache, "total", 1, 0, &value, &err) != STATUS_OK)
            atomic_fetch_add((atomic_int *)context, 1);
    }
}

static void test_threads(void **state)
{
    struct error err = {0};
    atomic_int wrong = 0;
    int64_t value = 0;
    (void)state;
    run_threads(THREADS, mixing_thread, &wrong);
    assert_int_equal(wrong, 0);
    assert_ok(cache_increment(cache, "total", 0, 0, &value, &err), &err);
    assert_int_equal(value, THREADS * ROUNDS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_content),           TEST(test_expiry),
        TEST(test_counters),          TEST(test_the_least_recently_used_goes),
        TEST(test_memory_is_bounded), TEST(test_threads),
    };
#undef TEST
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
