/* Time: text forms, calendar, and what is no time at all. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <string.h>

#include "base/clock.h"

static void test_known_moments(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {1705314600500000, "2024-01-15T10:30:00.500000Z"},
        {951782400000000, "2000-02-29T00:00:00.000000Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
        {4107542399999999, "2100-02-28T23:59:59.999999Z"},
        {4107542400000000, "2100-03-01T00:00:00.000000Z"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[TIMESTAMP_TEXT_MAX];
        int64_t back = 7;
        assert_string_equal(timestamp_format(cases[i].us, text), cases[i].text);
        assert_int_equal(timestamp_parse(cases[i].text, &back), 0);
        assert_true(back == cases[i].us);
    }
}

static void test_every_day_round_trips(void **state)
{
    (void)state;
    for (int64_t day = -719000; day < 2900000; day += 13) {
        char text[TIMESTAMP_TEXT_MAX];
        int64_t back = 0;
        const int64_t us = day * 86400000000 + 45296123456;
        timestamp_format(us, text);
        if (timestamp_parse(text, &back) != 0 || back != us)
            fail_msg("%s did not come back", text);
    }
}

static void test_reads_offsets_and_fractions(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"2024-01-15T10:30:00Z", 1705314600000000},
        {"2024-01-15T12:30:00+02:00", 1705314600000000},
        {"2024-01-15T05:00:00-05:30", 1705314600000000},
        {"2024-01-15t10:30:00.5z", 1705314600500000},
        {"2024-01-15 10:30:00.1234567891Z", 1705314600123456},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t us = 0;
        assert_int_equal(timestamp_parse(cases[i].text, &us), 0);
        assert_true(us == cases[i].us);
    }
}

static void test_refuses_what_is_no_time(void **state)
{
    static const char *const cases[] = {
        "",
        "2024",
        "2024-13-01T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-01-15T24:00:00Z",
        "2024-01-15T10:60:00Z",
        "2024-01-15T10:30:00",
        "2024-01-15T10:30:00.Z",
        "2024-01-15T10:30:00Zjunk",
        "2024-01-15T10:30:00+2:00",
        "2024-01-15T10:30:00+02:60",
        "-024-01-15T10:30:00Z",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t us = 7;
        if (timestamp_parse(cases[i], &us) != -1)
            fail_msg("'%s' was taken", cases[i]);
        assert_true(us == 7);
    }
}

static void test_monotonic_never_goes_back(void **state)
{
    int64_t last = clock_monotonic_ns();
    (void)state;
    for (int i = 0; i < 1000; i++) {
        const int64_t now = clock_monotonic_ns();
        assert_true(now >= last);
        last = now;
    }
    clock_sleep_ms(2);
    assert_true(clock_monotonic_ns() - last >= 2000000);
    assert_true(clock_utc_us() > 1700000000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_moments),
        cmocka_unit_test(test_every_day_round_trips),
        cmocka_unit_test(test_reads_offsets_and_fractions),
        cmocka_unit_test(test_refuses_what_is_no_time),
        cmocka_unit_test(test_monotonic_never_goes_back),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
