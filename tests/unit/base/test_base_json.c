/* JSON: what is read, what is refused, and how it is written. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/json.h"

static json_t *read_text(const char *text)
{
    json_t *json = NULL;
    struct error err = {0};
    if (json_read(text, strlen(text), &json, &err) != STATUS_OK)
        fail_msg("'%s': %s", text, err.message);
    return json;
}

static void test_round_trip_keeps_order_and_numbers(void **state)
{
    static const char text[] =
        "{\"z\":0.1,\"a\":[1,true,null,\"\xc3\xa9\\n\\\"\"],\"confidence\":0.95,\"n\":-3}";
    struct buffer out = {0};
    struct error err;
    (void)state;
    json_t *json = read_text(text);
    assert_int_equal(json_write(json, &out, &err), 0);
    assert_string_equal(out.data, text);
    json_decref(json);
    buffer_free(&out);
}

static void test_refuses_with_place(void **state)
{
    static const char *const cases[] = {
        "", "{", "{\"a\":1,}", "[1] x", "{\"a\":1,\"a\":2}", "\"\\u0000\"", "\"\xff\"", "nul"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *json = NULL;
        struct error err = {0};
        if (json_read(cases[i], strlen(cases[i]), &json, &err) != STATUS_INVALID)
            fail_msg("'%s' was taken", cases[i]);
        assert_non_null(strstr(err.message, "line "));
        assert_null(json);
    }
}

static void test_depth_is_bounded(void **state)
{
    char text[200];
    struct error err = {0};
    json_t *json = NULL;
    (void)state;
    memset(text, '[', 100);
    memset(text + 100, ']', 100);
    assert_int_equal(json_read(text, 200, &json, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "64"));
    assert_int_equal(json_read(text + 36, 128, &json, &err), 0);
    json_decref(json);
    json = read_text(
        "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[\"]");
    json_decref(json);
}

static void test_members(void **state)
{
    struct error err = {0};
    const char *text = "default";
    double real = 7;
    int64_t integer = 7;
    (void)state;
    json_t *json = read_text("{\"t\":\"x\",\"r\":1.5,\"i\":5000000000,\"n\":null}");
    assert_int_equal(json_get_text(json, "t", true, &text, &err), 0);
    assert_string_equal(text, "x");
    assert_int_equal(json_get_real(json, "r", true, &real, &err), 0);
    assert_true(real == 1.5);
    assert_int_equal(json_get_real(json, "i", true, &real, &err), 0);
    assert_true(real == 5e9);
    assert_int_equal(json_get_integer(json, "i", true, &integer, &err), 0);
    assert_true(integer == 5000000000);

    text = "default";
    assert_int_equal(json_get_text(json, "absent", false, &text, &err), 0);
    assert_int_equal(json_get_text(json, "n", false, &text, &err), 0);
    assert_string_equal(text, "default");
    assert_int_equal(json_get_text(json, "absent", true, &text, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "'absent'"));
    assert_int_equal(json_get_text(json, "i", true, &text, &err), STATUS_INVALID);
    assert_int_equal(json_get_integer(json, "r", true, &integer, &err), STATUS_INVALID);
    assert_int_equal(json_get_real(json, "t", false, &real, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "'t'"));
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip_keeps_order_and_numbers),
        cmocka_unit_test(test_refuses_with_place),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_members),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
