/* Time: intervals from the monotonic clock, moments from the wall clock in UTC. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

enum { TIMESTAMP_TEXT_MAX = 32 };

int64_t clock_monotonic_ns(void);
/* Microseconds since 1970-01-01T00:00:00Z: how moments are kept everywhere inside. */
int64_t clock_utc_us(void);
void clock_sleep_ms(int64_t ms); /* the whole time, whatever signals arrive */

/* "2024-01-15T10:30:00.500000Z" (six digits, so that text order is time order). Returns text. */
const char *timestamp_format(int64_t utc_us, char text[TIMESTAMP_TEXT_MAX]);
/* Reads RFC 3339 with any fraction and a Z or +hh:mm offset. Returns 0, or -1 for anything else. */
int timestamp_parse(const char *text, int64_t *utc_us);
/* The UTC calendar day of a moment: year, month 1..12, day 1..31. */
void timestamp_day(int64_t utc_us, int *year, int *month, int *day);

#endif
