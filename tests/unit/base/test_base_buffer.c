/* Growing bytes, and arenas. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buffer.h"

static void test_appends_keep_a_nul(void **state)
{
    struct buffer buffer = {0};
    (void)state;
    assert_true(buffer_ok(&buffer));
    buffer_append(&buffer, "", 0);
    assert_string_equal(buffer.data, "");
    for (int i = 0; i < 10000; i++) {
        buffer_print(&buffer, "%d,", i);
        assert_int_equal(buffer.data[buffer.size], '\0');
    }
    assert_int_equal(buffer.size, 10 * 2 + 90 * 3 + 900 * 4 + 9000 * 5);
    buffer_clear(&buffer);
    assert_int_equal(buffer.size, 0);
    buffer_text(&buffer, "again");
    assert_string_equal(buffer.data, "again");
    buffer_free(&buffer);
    assert_null(buffer.data);
}

static void test_long_prints_fit(void **state)
{
    struct buffer buffer = {0};
    char text[5001];
    (void)state;
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    buffer_text(&buffer, "<");
    buffer_print(&buffer, "%s>", text);
    assert_int_equal(buffer.size, 5002);
    assert_int_equal(buffer.data[5001], '>');
    buffer_free(&buffer);
}

static void test_take_hands_over(void **state)
{
    struct buffer buffer = {0};
    size_t size = 99;
    (void)state;
    char *empty = buffer_take(&buffer, &size);
    assert_string_equal(empty, "");
    assert_int_equal(size, 0);
    free(empty);
    buffer_append(&buffer, "a\0b", 3);
    char *bytes = buffer_take(&buffer, &size);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "a\0b", 4);
    assert_null(buffer.data);
    free(bytes);
}

static void test_failure_sticks(void **state)
{
    struct buffer buffer = {0};
    (void)state;
    buffer_text(&buffer, "kept");
    buffer_append(&buffer, "x", SIZE_MAX / 2 + 2); /* more than can be: refused, never copied */
    assert_false(buffer_ok(&buffer));
    buffer_text(&buffer, "ignored");
    assert_int_equal(buffer.size, 4);
    assert_null(buffer_take(&buffer, NULL));
    assert_true(buffer_ok(&buffer));
}

static void test_arena_pieces_are_aligned_zeroed_apart(void **state)
{
    struct arena arena;
    unsigned char *pieces[500];
    (void)state;
    arena_init(&arena, 0);
    for (int i = 0; i < 500; i++) {
        const size_t size = (size_t)(i * 37 % 5000);
        pieces[i] = arena_alloc(&arena, size);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t j = 0; j < size; j++)
            assert_int_equal(pieces[i][j], 0);
        memset(pieces[i], i & 0xff, size);
    }
    for (int i = 0; i < 500; i++)
        for (size_t j = 0; j < (size_t)(i * 37 % 5000); j++)
            assert_int_equal(pieces[i][j], i & 0xff);
    arena_free(&arena);
    assert_int_equal(arena.used, 0);
    assert_non_null(arena_alloc(&arena, 1));
    arena_free(&arena);
}

static void test_arena_keeps_its_limit(void **state)
{
    struct arena arena;
    (void)state;
    arena_init(&arena, 1000);
    assert_null(arena_alloc(&arena, 1001));
    assert_non_null(arena_alloc(&arena, 900));
    assert_null(arena_alloc(&arena, 200));
    assert_non_null(arena_alloc(&arena, 60));
    assert_null(arena_alloc(&arena, SIZE_MAX));
    arena_free(&arena);
}

static void test_arena_texts(void **state)
{
    struct arena arena;
    (void)state;
    arena_init(&arena, 0);
    assert_string_equal(arena_copy_text(&arena, "abcdef", 3), "abc");
    assert_string_equal(arena_copy_text(&arena, "", 0), "");
    assert_string_equal(arena_print(&arena, "%s-%05d", "x", 42), "x-00042");
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends_keep_a_nul),
        cmocka_unit_test(test_long_prints_fit),
        cmocka_unit_test(test_take_hands_over),
        cmocka_unit_test(test_failure_sticks),
        cmocka_unit_test(test_arena_pieces_are_aligned_zeroed_apart),
        cmocka_unit_test(test_arena_keeps_its_limit),
        cmocka_unit_test(test_arena_texts),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
