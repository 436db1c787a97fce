/* Values of headers with parameters (RFC 9110, section 5.6.6), and the headers of one part of
 * multipart/form-data (RFC 7578, section 4.2; file names also as in RFC 8187). */
#ifndef HTTP_DISPOSITION_H
#define HTTP_DISPOSITION_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the value, without its parameters, is this one, whatever the case; false for NULL. */
bool header_value_is(const char *value, const char *expected);

/* Copies a parameter's value, unquoted, NUL-terminated and cut to text_size - 1 bytes; returns its
 * whole length, 0 when it is absent, empty, or not properly quoted. */
size_t header_parameter(const char *value, const char *name, char *text, size_t text_size);

struct disposition {
    const char *name;         /* the field */
    const char *filename;     /* the last part of the path as sent, "" when that is none; or NULL */
    const char *content_type; /* or NULL */
};

/* Reads a part's headers, CRLF lines with an empty one at the end, in place: the texts borrow from
 * them. Returns 0, or -1 when there is no form-data disposition with a name, or a line is no
 * header.
 */
int disposition_read(char *headers, struct disposition *out);

#endif
