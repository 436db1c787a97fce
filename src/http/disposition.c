/* Headers of parts: see disposition.h. */
#include "http/disposition.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

static const char *skip_blanks(const char *at)
{
    return at + strspn(at, " \t");
}

bool header_value_is(const char *value, const char *expected)
{
    if (value == NULL)
        return false;
    value = skip_blanks(value);
    const size_t length = strlen(expected);
    return strncasecmp(value, expected, length) == 0 &&
           (*skip_blanks(value + length) == '\0' || *skip_blanks(value + length) == ';');
}

/* --- Parameters */

/* A parameter's value where it stands: what is between the quotes, or the token. */
struct span {
    const char *start;
    size_t length;
    bool quoted;
};

/* Reads "name=value" at *at, up to and over the next ';'. Returns 1, 0 at the end, -1 when broken.
 */
static int next_parameter(const char **at, struct span *name, struct span *value)
{
    const char *start = skip_blanks(*at);

    if (*start == '\0')
        return 0;
    *name = (struct span){.start = start, .length = strcspn(start, "=; \t")};
    start = skip_blanks(start + name->length);
    if (*start != '=')
        return -1;
    start = skip_blanks(start + 1);
    if (*start == '"') {
        const char *end = start + 1;
        while (*end != '"' && *end != '\0')
            end += *end == '\\' && end[1] == '"' ? 2 : 1;
        if (*end == '\0')
            return -1;
        *value = (struct span){start + 1, (size_t)(end - start - 1), true};
        start = end + 1;
    } else {
        *value = (struct span){start, strcspn(start, "; \t"), false};
        start += value->length;
    }
    start = skip_blanks(start);
    if (*start != ';' && *start != '\0')
        return -1;
    *at = *start == ';' ? start + 1 : start;
    return 1;
}

/* Finds a parameter behind the value's first ';'. -1 when the parameters are broken before it. */
static int find_parameter(const char *value, const char *name, struct span *found)
{
    const char *at = strchr(value, ';');
    struct span parameter;
    int got = 0;

    if (at == NULL)
        return 0;
    at++;
    while ((got = next_parameter(&at, &parameter, found)) == 1)
        if (parameter.length == strlen(name) &&
            strncasecmp(parameter.start, name, parameter.length) == 0)
            return 1;
    return got;
}

/* Copies a span without the backslashes that escape quotes. Others stay: old browsers send
 * "C:\folder\file" as it is. Safe in place, since it only shortens. */
static size_t copy_unescaped(const struct span *span, char *text, size_t text_size)
{
    size_t length = 0;

    for (size_t i = 0; i < span->length; i++) {
        if (span->quoted && span->start[i] == '\\' && i + 1 < span->length &&
            span->start[i + 1] == '"')
            i++;
        if (length + 1 < text_size)
            text[length] = span->start[i];
        length++;
    }
    if (text_size > 0)
        text[length < text_size ? length : text_size - 1] = '\0';
    return length;
}

size_t header_parameter(const char *value, const char *name, char *text, size_t text_size)
{
    struct span span;

    if (value == NULL || find_parameter(value, name, &span) != 1)
        return 0;
    return copy_unescaped(&span, text, text_size);
}

/* --- File names */

static int hexadecimal_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "UTF-8''na%C3%AFve.png" (RFC 8187, section 3.2) decoded in place, only shortening. Other
 * character sets and broken escapes give NULL: then the plain filename is used. */
static char *decode_extended(char *text)
{
    char *language = strchr(text, '\'');
    char *encoded = language != NULL ? strchr(language + 1, '\'') : NULL;

    if (encoded == NULL || language - text != 5 || strncasecmp(text, "UTF-8", 5) != 0)
        return NULL;
    char *out = ++encoded;
    for (const char *at = encoded; *at != '\0'; at++) {
        if (*at != '%') {
            *out++ = *at;
            continue;
        }
        const int high = hexadecimal_digit(at[1]);
        const int low = high < 0 ? -1 : hexadecimal_digit(at[2]);
        if (low < 0 || (high | low) == 0)
            return NULL;
        *out++ = (char)(high * 16 + low);
        at += 2;
    }
    *out = '\0';
    return encoded;
}

/* Browsers write a quote in a name as %22 (the HTML standard's form encoding). */
static void decode_quotes(char *text)
{
    char *out = text;
    for (const char *at = text; *at != '\0'; at++) {
        const bool quote = strncmp(at, "%22", 3) == 0;
        *out++ = quote ? '"' : *at;
        at += quote ? 2 : 0;
    }
    *out = '\0';
}

/* Control characters, and all beyond ASCII when it is not UTF-8, become '_'. */
static void make_printable(char *text)
{
    const bool utf8 = text_is_utf8(text, strlen(text));
    for (char *at = text; *at != '\0'; at++) {
        const unsigned char byte = (unsigned char)*at;
        if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !utf8))
            *at = '_';
    }
}

static const char *without_folders(const char *path)
{
    for (const char *at = path; *at != '\0'; at++)
        if (*at == '/' || *at == '\\')
            path = at + 1;
    return strcmp(path, ".") == 0 || strcmp(path, "..") == 0 ? "" : path;
}

/* --- A part's headers */

/* Cuts a span off the header it stands in, and returns it as a text of its own. */
static char *cut_out(const struct span *span, char *header)
{
    char *text = header + (span->start - header);
    copy_unescaped(span, text, span->length + 1);
    return text;
}

static int read_disposition(char *value, struct disposition *out)
{
    struct span name, filename, extended;

    if (!header_value_is(value, "form-data"))
        return -1;
    /* All are found before any is cut out, since cutting puts NULs into the value. */
    const int has_name = find_parameter(value, "name", &name);
    const int has_filename = find_parameter(value, "filename", &filename);
    const int has_extended = find_parameter(value, "filename*", &extended);
    if (has_name != 1 || has_filename < 0 || has_extended < 0)
        return -1;

    char *text = cut_out(&name, value);
    decode_quotes(text);
    make_printable(text);
    out->name = text;
    char *decoded = has_extended == 1 ? decode_extended(cut_out(&extended, value)) : NULL;
    if (decoded == NULL && has_filename == 1) {
        decoded = cut_out(&filename, value);
        decode_quotes(decoded);
    }
    if (decoded != NULL) {
        make_printable(decoded);
        out->filename = without_folders(decoded);
    }
    return 0;
}

/* The value of a header line that has this name, else NULL. */
static char *value_of(char *line, const char *name)
{
    const size_t length = strlen(name);
    if (strncasecmp(line, name, length) != 0 || line[length] != ':')
        return NULL;
    char *value = line + length + 1;
    return value + strspn(value, " \t");
}

int disposition_read(char *headers, struct disposition *out)
{
    *out = (struct disposition){0};
    for (char *line = headers, *next; *line != '\0'; line = next) {
        char *end = strstr(line, "\r\n");
        if (end == NULL)
            return -1;
        *end = '\0';
        next = end + 2;
        if (*line == '\0')
            break;
        if (strchr(line, ':') == NULL)
            return -1;
        char *value = value_of(line, "Content-Disposition");
        if (value != NULL && (out->name != NULL || read_disposition(value, out) != 0))
            return -1;
        value = value_of(line, "Content-Type");
        if (value != NULL) {
            make_printable(value);
            out->content_type = value;
        }
    }
    return out->name != NULL ? 0 : -1;
}
