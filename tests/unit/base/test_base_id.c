/* Identifiers and hashes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/id.h"

static void test_ids_are_version_7_of_now(void **state)
{
    char id[ID_TEXT_SIZE], digits[13] = {0};
    (void)state;
    const int64_t before_ms = clock_utc_us() / 1000;
    id_make(id);
    const int64_t after_ms = clock_utc_us() / 1000;
    assert_true(id_valid(id));
    assert_int_equal(id[14], '7');
    assert_non_null(strchr("89ab", id[19]));
    memcpy(digits, id, 8);
    memcpy(digits + 8, id + 9, 4);
    const int64_t made_ms = strtoll(digits, NULL, 16);
    assert_true(made_ms >= before_ms && made_ms <= after_ms + 1);
}

enum { THREADS = 4, IDS_EACH = 5000 };
static char ids[THREADS * IDS_EACH][ID_TEXT_SIZE];

static void *make_ids(void *context)
{
    char(*mine)[ID_TEXT_SIZE] = context;
    for (int i = 0; i < IDS_EACH; i++)
        id_make(mine[i]);
    return NULL;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, ID_TEXT_SIZE);
}

static void test_ids_rise_and_never_repeat(void **state)
{
    pthread_t threads[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_ids, ids[i * IDS_EACH]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int t = 0; t < THREADS; t++)
        for (int i = 1; i < IDS_EACH; i++)
            assert_true(strcmp(ids[t * IDS_EACH + i - 1], ids[t * IDS_EACH + i]) < 0);
    qsort(ids, THREADS * IDS_EACH, ID_TEXT_SIZE, compare_ids);
    for (int i = 1; i < THREADS * IDS_EACH; i++)
        assert_true(strcmp(ids[i - 1], ids[i]) < 0);
}

static void test_validity(void **state)
{
    (void)state;
    assert_true(id_valid("018d0b3e-7c1a-7def-8123-0123456789ab"));
    assert_true(id_valid("018D0B3E-7C1A-4DEF-8123-0123456789AB"));
    assert_false(id_valid(""));
    assert_false(id_valid("018d0b3e-7c1a-7def-8123-0123456789a"));
    assert_false(id_valid("018d0b3e-7c1a-7def-8123-0123456789abc"));
    assert_false(id_valid("018d0b3e07c1a-7def-8123-0123456789ab"));
    assert_false(id_valid("018d0b3g-7c1a-7def-8123-0123456789ab"));
    assert_false(id_valid("{18d0b3e-7c1a-7def-8123-0123456789a}"));
}

static void test_random_bytes_fill_everything(void **state)
{
    unsigned char bytes[1024];
    int counts[256] = {0}, missing = 0;
    (void)state;
    memset(bytes, 0, sizeof bytes);
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        counts[bytes[i]]++;
    for (int i = 0; i < 256; i++)
        missing += counts[i] == 0;
    assert_true(missing < 30); /* about 4.7 are expected */
}

/* FIPS 180-4 example values, and the FNV authors' test vectors. */
static void test_hashes_of_known_texts(void **state)
{
    char text[SHA256_TEXT_SIZE];
    (void)state;
    assert_string_equal(sha256_text("abc", 3, text),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(sha256_text("", 0, text),
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_true(fnv1a("", 0) == 0xcbf29ce484222325u);
    assert_true(fnv1a("a", 1) == 0xaf63dc4c8601ec8cu);
    assert_true(fnv1a("foobar", 6) == 0x85944171f73967e8u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_are_version_7_of_now),
        cmocka_unit_test(test_ids_rise_and_never_repeat),
        cmocka_unit_test(test_validity),
        cmocka_unit_test(test_random_bytes_fill_everything),
        cmocka_unit_test(test_hashes_of_known_texts),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
