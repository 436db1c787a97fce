/* Numbers, flags, UTF-8 and distances of words: see text.h. */
#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The number a text begins with; `rest` is what follows it. strtoll would also take blanks and a
 * plus in front. */
static int read_leading_integer(const char *text, int64_t *number, const char **rest)
{
    const char *digits = *text == '-' ? text + 1 : text;
    char *end;

    if (*digits < '0' || *digits > '9')
        return -1;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (errno != 0)
        return -1;
    *number = value;
    *rest = end;
    return 0;
}

int text_read_integer(const char *text, int64_t *out)
{
    int64_t number;
    const char *rest;

    if (read_leading_integer(text, &number, &rest) != 0 || *rest != '\0')
        return -1;
    *out = number;
    return 0;
}

int text_read_real(const char *text, double *out)
{
    char *end;

    /* strtod also reads blanks, hexadecimal, "inf" and "nan": none of them is a setting. */
    if (*text == '\0' || strspn(text, "0123456789.eE+-") != strlen(text))
        return -1;
    const double number = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(number))
        return -1;
    *out = number;
    return 0;
}

int text_read_flag(const char *text, bool *out)
{
    static const struct {
        const char *text;
        bool value;
    } words[] = {{"true", true}, {"false", false}, {"yes", true},
                 {"no", false},  {"1", true},      {"0", false}};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(text, words[i].text) == 0) {
            *out = words[i].value;
            return 0;
        }
    }
    return -1;
}

int text_read_bytes(const char *text, int64_t *out)
{
    static const char prefixes[] = "kMGT";
    int64_t number, scale = 1;
    const char *rest;

    if (read_leading_integer(text, &number, &rest) != 0)
        return -1;
    for (int i = 0; *rest != '\0' && prefixes[i] != '\0'; i++) {
        if (*rest != prefixes[i] && !(i == 0 && *rest == 'K'))
            continue;
        scale = (int64_t)1 << 10 * (i + 1);
        rest += rest[1] == 'i' ? 2 : 1;
        break;
    }
    if (*rest == 'B')
        rest++;
    if (*rest != '\0' || __builtin_mul_overflow(number, scale, &number))
        return -1;
    *out = number;
    return 0;
}

int text_read_duration(const char *text, int64_t unit_seconds, int64_t *out)
{
    static const struct {
        const char *suffix;
        int64_t seconds;
    } units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    int64_t number;
    const char *rest;

    if (read_leading_integer(text, &number, &rest) != 0)
        return -1;
    if (*rest == '\0') {
        *out = number;
        return 0;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(rest, units[i].suffix) != 0)
            continue;
        if (__builtin_mul_overflow(number, units[i].seconds, &number) || number % unit_seconds != 0)
            return -1;
        *out = number / unit_seconds;
        return 0;
    }
    return -1;
}

/* The length of the well-formed sequence at `at`, 0 when there is none; the bounds of the second
 * byte (Unicode, table 3-7) are what excludes overlong forms, surrogates and what is past U+10FFFF.
 */
static size_t utf8_sequence(const unsigned char *at, size_t left)
{
    const unsigned char lead = at[0];
    unsigned char low = 0x80, high = 0xbf;
    size_t length;

    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (left < length || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

bool text_is_utf8(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;

    for (size_t i = 0; i < length;) {
        const size_t step = utf8_sequence(bytes + i, length - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment (Damerau, "A Technique for Computer Detection and Correction of Spelling
 * Errors", 1964, restricted to no second edit of a swapped pair), three rows at a time. */
size_t text_distance(const char *a, const char *b)
{
    enum { LENGTH_MAX = 63 };
    const size_t rows = strlen(a), columns = strlen(b);
    size_t table[3][LENGTH_MAX + 1];

    if (rows > LENGTH_MAX || columns > LENGTH_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= columns; j++)
        table[0][j] = j;
    for (size_t i = 1; i <= rows; i++) {
        size_t *row = table[i % 3];
        const size_t *above = table[(i + 2) % 3], *two_above = table[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= columns; j++) {
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], two_above[j - 2] + 1);
        }
    }
    return table[rows % 3][columns];
}

bool text_resembles(const char *given, const char *candidate)
{
    return text_distance(given, candidate) <= (strlen(given) + 2) / 3;
}
