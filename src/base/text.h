/* Reading numbers and flags from text, the whole text or not at all; and how far two words are
 * apart. Every reader returns 0, or -1 and leaves *out as it was. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int text_read_integer(const char *text, int64_t *out); /* decimal, "-12" */
int text_read_real(const char *text, double *out);     /* decimal, finite, "1e-3" */
int text_read_flag(const char *text, bool *out);       /* true/false, yes/no, 1/0 */
/* A size: "65536", or in powers of 1024 "64k", "10MB", "2GiB", "1T". */
int text_read_bytes(const char *text, int64_t *out);
/* A span of time in units of `unit_seconds`: "30" is 30 of them; "30s", "5m", "2h" and "7d" are
 * converted when they are a whole number of them. */
int text_read_duration(const char *text, int64_t unit_seconds, int64_t *out);

/* Whether the bytes are well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates). */
bool text_is_utf8(const char *text, size_t length);

/* How many letters must be put in, left out, changed or swapped with their neighbour to make one
 * word of the other; words over 63 bytes are SIZE_MAX apart. */
size_t text_distance(const char *a, const char *b);
/* Whether `candidate` is near enough to `given` to be what was meant: at most a third of it off. */
bool text_resembles(const char *given, const char *candidate);

#endif
