/* Time: see clock.h. The calendar arithmetic is Hinnant's days_from_civil ("chrono-Compatible
 * Low-Level Date Algorithms"), which needs neither time zones nor libc's tables. */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static int64_t read_clock_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_monotonic_ns(void)
{
    return read_clock_ns(CLOCK_MONOTONIC);
}

int64_t clock_utc_us(void)
{
    return read_clock_ns(CLOCK_REALTIME) / 1000;
}

void clock_sleep_ms(int64_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t days_from_civil(int64_t year, int month, int day)
{
    year -= month <= 2;
    const int64_t era = floor_divide(year, 400);
    const int64_t year_of_era = year - era * 400;
    const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    const int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

void timestamp_day(int64_t utc_us, int *year, int *month, int *day)
{
    const int64_t days = floor_divide(utc_us, 86400000000) + 719468;
    const int64_t era = floor_divide(days, 146097);
    const int64_t day_of_era = days - era * 146097;
    const int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const int64_t month_shifted = (5 * day_of_year + 2) / 153;

    *day = (int)(day_of_year - (153 * month_shifted + 2) / 5 + 1);
    *month = (int)(month_shifted < 10 ? month_shifted + 3 : month_shifted - 9);
    *year = (int)(year_of_era + era * 400 + (*month <= 2));
}

const char *timestamp_format(int64_t utc_us, char text[TIMESTAMP_TEXT_MAX])
{
    int year, month, day;
    timestamp_day(utc_us, &year, &month, &day);
    const int64_t us_of_day = utc_us - floor_divide(utc_us, 86400000000) * 86400000000;
    const int seconds = (int)(us_of_day / 1000000);
    snprintf(text, TIMESTAMP_TEXT_MAX, "%04d-%02u-%02uT%02u:%02u:%02u.%06uZ", year,
             (unsigned)month % 100, (unsigned)day % 100, (unsigned)(seconds / 3600) % 100,
             (unsigned)(seconds / 60) % 60, (unsigned)seconds % 60,
             (unsigned)(us_of_day % 1000000));
    return text;
}

/* Reads exactly `digits` decimal digits; -1 when one is missing. */
static int read_digits(const char **at, int digits)
{
    int number = 0;
    for (int i = 0; i < digits; i++) {
        if (**at < '0' || **at > '9')
            return -1;
        number = number * 10 + (*(*at)++ - '0');
    }
    return number;
}

static int read_fraction_us(const char **at)
{
    int us = 0, scale = 100000;
    if (**at < '0' || **at > '9')
        return -1;
    for (; **at >= '0' && **at <= '9'; (*at)++, scale /= 10)
        us += (**at - '0') * scale;
    return us;
}

static int read_offset_minutes(const char **at, int *minutes)
{
    const char sign = *(*at)++;
    *minutes = 0;
    if (sign == 'Z' || sign == 'z')
        return 0;
    if (sign != '+' && sign != '-')
        return -1;
    const int hour = read_digits(at, 2);
    if (hour < 0 || hour > 23 || *(*at)++ != ':')
        return -1;
    const int minute = read_digits(at, 2);
    if (minute < 0 || minute > 59)
        return -1;
    *minutes = (sign == '-' ? -1 : 1) * (hour * 60 + minute);
    return 0;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

int timestamp_parse(const char *text, int64_t *utc_us)
{
    const char *at = text;
    int fraction = 0, offset;

    const int year = read_digits(&at, 4);
    if (year < 0 || *at++ != '-')
        return -1;
    const int month = read_digits(&at, 2);
    if (month < 1 || month > 12 || *at++ != '-')
        return -1;
    const int day = read_digits(&at, 2);
    if (day < 1 || day > days_in_month(year, month) || (*at != 'T' && *at != 't' && *at != ' '))
        return -1;
    at++;
    const int hour = read_digits(&at, 2);
    if (hour < 0 || hour > 23 || *at++ != ':')
        return -1;
    const int minute = read_digits(&at, 2);
    if (minute < 0 || minute > 59 || *at++ != ':')
        return -1;
    const int second = read_digits(&at, 2);
    if (second < 0 || second > 60)
        return -1;
    if (*at == '.') {
        at++;
        fraction = read_fraction_us(&at);
        if (fraction < 0)
            return -1;
    }
    if (read_offset_minutes(&at, &offset) != 0 || *at != '\0')
        return -1;
    const int64_t seconds =
        days_from_civil(year, month, day) * 86400 + hour * 3600 + (minute - offset) * 60 + second;
    *utc_us = seconds * 1000000 + fraction;
    return 0;
}
