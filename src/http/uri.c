/* The target of a request: see uri.h. */
#include "http/uri.h"

#include <string.h>

#include "base/text.h"

static int hexadecimal_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* One decoded byte, and how far to step; -1 for a broken escape. */
static int decode_byte(const char *at, size_t left, bool plus_is_space, size_t *step)
{
    *step = 1;
    if (*at == '+' && plus_is_space)
        return ' ';
    if (*at != '%')
        return (unsigned char)*at;
    if (left < 3)
        return -1;
    const int high = hexadecimal_digit(at[1]), low = hexadecimal_digit(at[2]);
    if (high < 0 || low < 0)
        return -1;
    *step = 3;
    return high * 16 + low;
}

int uri_decode(struct arena *arena, const char *text, size_t length, bool plus_is_space,
               const char **out, struct error *err)
{
    char *decoded = arena_alloc(arena, length + 1);
    size_t size = 0, step;

    if (decoded == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the request's address");
    for (size_t i = 0; i < length; i += step) {
        const int byte = decode_byte(text + i, length - i, plus_is_space, &step);
        if (byte < 0)
            return error_set(err, STATUS_INVALID,
                             "a '%%' in the address is not followed by two hexadecimal digits");
        if (byte < 0x20 || byte == 0x7f)
            return error_set(err, STATUS_INVALID, "the address holds a control character");
        decoded[size++] = (char)byte;
    }
    if (!text_is_utf8(decoded, size))
        return error_set(err, STATUS_INVALID, "the address is not valid UTF-8");
    *out = decoded;
    return STATUS_OK;
}

/* Whether any part of the segment, split at slashes that were escaped, is "." or "..". */
static bool climbs(const char *segment)
{
    for (;;) {
        const size_t length = strcspn(segment, "/");
        if ((length == 1 || length == 2) && memcmp(segment, "..", length) == 0)
            return true;
        if (segment[length] == '\0')
            return false;
        segment += length + 1;
    }
}

static int split_path(struct arena *arena, const char *path, size_t length, struct uri *uri,
                      struct error *err)
{
    uri->segments = arena_alloc(arena, URI_SEGMENTS_MAX * sizeof *uri->segments);
    if (uri->segments == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the request's address");
    for (size_t start = 1; start <= length;) {
        const char *slash = memchr(path + start, '/', length - start);
        const size_t end = slash != NULL ? (size_t)(slash - path) : length;
        if (uri->segment_count == URI_SEGMENTS_MAX)
            return error_set(err, STATUS_INVALID, "the address has more than %d segments",
                             URI_SEGMENTS_MAX);
        const char **segment = &uri->segments[uri->segment_count++];
        const int status = uri_decode(arena, path + start, end - start, false, segment, err);
        if (status != STATUS_OK)
            return status;
        if (climbs(*segment))
            return error_set(err, STATUS_INVALID, "the address holds '.' or '..'");
        start = end + 1;
    }
    return STATUS_OK;
}

static int split_query(struct arena *arena, const char *query, struct uri *uri, struct error *err)
{
    uri->query = arena_alloc(arena, URI_QUERY_MAX * sizeof *uri->query);
    if (uri->query == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the request's address");
    while (*query != '\0') {
        const size_t length = strcspn(query, "&");
        const char *equals = memchr(query, '=', length);
        const size_t name_length = equals != NULL ? (size_t)(equals - query) : length;
        if (uri->query_count == URI_QUERY_MAX)
            return error_set(err, STATUS_INVALID, "the address has more than %d query parameters",
                             URI_QUERY_MAX);
        if (length > 0) {
            struct pair *pair = &uri->query[uri->query_count++];
            int status = uri_decode(arena, query, name_length, true, &pair->name, err);
            if (status != STATUS_OK)
                return status;
            pair->value = "";
            if (equals != NULL)
                status = uri_decode(arena, equals + 1, length - name_length - 1, true, &pair->value,
                                    err);
            if (status != STATUS_OK)
                return status;
        }
        query += length + (query[length] == '&');
    }
    return STATUS_OK;
}

int uri_parse(struct arena *arena, const char *target, struct uri *uri, struct error *err)
{
    *uri = (struct uri){.path = "/"};
    /* A client behind a proxy's configuration sends the whole "http://host/path". */
    if (strncmp(target, "http://", 7) == 0 || strncmp(target, "https://", 8) == 0) {
        target = strchr(target, ':') + 3;
        target += strcspn(target, "/?#");
    }
    const size_t length = strcspn(target, "?#");
    if (length > 0 && target[0] != '/')
        return error_set(err, STATUS_INVALID, "the address must begin with '/'");

    const char *path = length == 0 ? "/" : target;
    const size_t path_length = length == 0 ? 1 : length;
    int status = split_path(arena, path, path_length, uri, err);
    if (status == STATUS_OK)
        status = uri_decode(arena, path, path_length, false, &uri->path, err);
    if (status != STATUS_OK || target[length] != '?')
        return status;
    const char *query = target + length + 1;
    const char *copy = arena_copy_text(arena, query, strcspn(query, "#"));
    if (copy == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the request's address");
    return split_query(arena, copy, uri, err);
}
