/* Numbers, flags and distances of words. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static void test_integers(void **state)
{
    static const char *const refused[] = {
        "", "-", "+1", " 1", "1 ", "0x10", "1.0", "99999999999999999999", "abc"};
    int64_t number = 7;
    (void)state;
    assert_int_equal(text_read_integer("-9223372036854775808", &number), 0);
    assert_true(number == INT64_MIN);
    number = 7;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (text_read_integer(refused[i], &number) != -1)
            fail_msg("'%s' was taken", refused[i]);
        assert_int_equal(number, 7);
    }
}

static void test_reals(void **state)
{
    static const char *const refused[] = {"",      "nan",   "inf", "0x1p3", " 1",
                                          "1e999", "1.2.3", "e",   "-"};
    double number = 7;
    (void)state;
    assert_int_equal(text_read_real("-2.5e-1", &number), 0);
    assert_true(number == -0.25);
    number = 7;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (text_read_real(refused[i], &number) != -1)
            fail_msg("'%s' was taken", refused[i]);
        assert_true(number == 7);
    }
}

static void test_bytes(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } cases[] = {{"65536", 65536},      {"64k", 65536},      {"64K", 65536},
                 {"10MB", 10485760},    {"10MiB", 10485760}, {"2G", 2147483648},
                 {"1T", 1099511627776}, {"512B", 512},       {"-3", -3}};
    static const char *const refused[] = {"", "k", "10mb", "10MBs", "1.5M", "10 MB", "99999999T"};
    int64_t bytes;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(text_read_bytes(cases[i].text, &bytes), 0);
        assert_true(bytes == cases[i].bytes);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (text_read_bytes(refused[i], &bytes) != -1)
            fail_msg("'%s' was taken", refused[i]);
}

static void test_durations(void **state)
{
    int64_t number = 7;
    (void)state;
    assert_int_equal(text_read_duration("30", 1, &number), 0);
    assert_int_equal(number, 30);
    assert_int_equal(text_read_duration("30s", 1, &number), 0);
    assert_int_equal(number, 30);
    assert_int_equal(text_read_duration("5m", 1, &number), 0);
    assert_int_equal(number, 300);
    assert_int_equal(text_read_duration("7d", 3600, &number), 0);
    assert_int_equal(number, 168);
    assert_int_equal(text_read_duration("30m", 3600, &number), -1);
    assert_int_equal(text_read_duration("30ms", 1, &number), -1);
    assert_int_equal(text_read_duration("s", 1, &number), -1);
    assert_int_equal(text_read_duration("9223372036854775807d", 1, &number), -1);
}

static void test_flags(void **state)
{
    bool flag = false;
    (void)state;
    assert_int_equal(text_read_flag("Yes", &flag), 0);
    assert_true(flag);
    assert_int_equal(text_read_flag("0", &flag), 0);
    assert_false(flag);
    assert_int_equal(text_read_flag("on", &flag), -1);
    assert_int_equal(text_read_flag("", &flag), -1);
}

static void test_utf8(void **state)
{
    static const char *const good[] = {"",
                                       "plain",
                                       "\xc3\xa9",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x91\x81",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xed\x9f\xbf"};
    static const char *const bad[] = {
        "\xff",         "\x80",         "\xc0\xaf",         "\xc3",
        "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xe2\x82",     "\xe2\x28\xa1"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(text_is_utf8(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(text_is_utf8(bad[i], strlen(bad[i])));
}

static void test_distances(void **state)
{
    char longest[80];
    (void)state;
    assert_int_equal(text_distance("", ""), 0);
    assert_int_equal(text_distance("epochs", "epochs"), 0);
    assert_int_equal(text_distance("epohcs", "epochs"), 1);
    assert_int_equal(text_distance("epoch", "epochs"), 1);
    assert_int_equal(text_distance("kitten", "sitting"), 3);
    assert_int_equal(text_distance("", "abc"), 3);
    for (size_t i = 0; i < 79; i++)
        longest[i] = 'a';
    longest[79] = '\0';
    assert_true(text_distance(longest, "a") == SIZE_MAX);
    assert_true(text_resembles("--epcohs", "--epochs"));
    assert_false(text_resembles("zzz", "epochs"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),  cmocka_unit_test(test_reals),
        cmocka_unit_test(test_bytes),     cmocka_unit_test(test_durations),
        cmocka_unit_test(test_flags),     cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_distances),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
