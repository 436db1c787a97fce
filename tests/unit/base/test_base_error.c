/* Errors: codes, names, and sentences. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"

static void test_set_fills_code_and_sentence(void **state)
{
    struct error err = {0};
    (void)state;
    assert_int_equal(error_set(&err, STATUS_TOO_LARGE, "%d bytes", 7), STATUS_TOO_LARGE);
    assert_int_equal(err.code, STATUS_TOO_LARGE);
    assert_string_equal(err.message, "7 bytes");
    assert_int_equal(error_set(NULL, STATUS_INVALID, "nobody asks"), STATUS_INVALID);
}

static void test_long_sentences_are_cut(void **state)
{
    struct error err;
    char text[ERROR_MESSAGE_MAX * 2];
    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    error_set(&err, STATUS_INVALID, "%s", text);
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_MAX - 1);
    assert_int_equal(error_set_errno(&err, ENOENT, "%s", text), STATUS_NOT_FOUND);
    assert_int_equal(error_wrap(&err, "%s", text), STATUS_NOT_FOUND);
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_MAX - 1);
}

static void test_errno_chooses_the_code(void **state)
{
    static const struct {
        int reason, code;
    } cases[] = {{ENOSPC, STATUS_NO_SPACE},  {ENOENT, STATUS_NOT_FOUND}, {EEXIST, STATUS_EXISTS},
                 {ENOMEM, STATUS_NO_MEMORY}, {EACCES, STATUS_DENIED},    {EPIPE, STATUS_IO}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {0};
        assert_int_equal(error_set_errno(&err, cases[i].reason, "opening 'a'"), cases[i].code);
        assert_int_equal(err.code, cases[i].code);
        assert_non_null(strstr(err.message, "opening 'a': "));
    }
}

static void test_wrap_puts_context_before(void **state)
{
    struct error err = {0};
    (void)state;
    error_set(&err, STATUS_CORRUPT, "bad byte");
    assert_int_equal(error_wrap(&err, "loading '%s'", "m"), STATUS_CORRUPT);
    assert_string_equal(err.message, "loading 'm': bad byte");
    assert_int_equal(error_wrap(NULL, "nothing"), STATUS_INTERNAL);
}

static void test_every_status_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(status_name(STATUS_OK), "ok");
    assert_string_equal(status_name(STATUS_TOO_LARGE), "too_large");
    assert_string_equal(status_name(-1000), "unknown");
    for (int code = STATUS_INTERNAL; code <= STATUS_OK; code++) {
        assert_string_not_equal(status_name(code), "unknown");
        assert_true(strlen(status_meaning(code)) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_fills_code_and_sentence),
        cmocka_unit_test(test_long_sentences_are_cut),
        cmocka_unit_test(test_errno_chooses_the_code),
        cmocka_unit_test(test_wrap_puts_context_before),
        cmocka_unit_test(test_every_status_has_a_name),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
