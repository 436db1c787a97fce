/* Conditional and partial answers: response_content of http.h. Preconditions as RFC 9110, section
 * 13; one byte range as section 14. Several ranges at once are answered with the whole, as the
 * standard allows. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "http/request.h"
#include "http/response.h"

/* Whether a list of entity tags ("*", or "a", W/"b") holds this one, compared weakly. */
static bool lists_tag(const char *list, const char *quoted)
{
    const size_t length = strlen(quoted);

    for (const char *at = list + strspn(list, " \t,"); *at != '\0'; at += strspn(at, " \t,")) {
        if (*at == '*')
            return true;
        if (strncmp(at, "W/", 2) == 0)
            at += 2;
        if (strncmp(at, quoted, length) == 0)
            return true;
        if (*at != '"')
            return false;
        at += 1 + strcspn(at + 1, "\"");
        at += *at == '"';
    }
    return false;
}

void response_apply_conditions(struct response *response, const struct request *request)
{
    const char *known = request_header(request, "If-None-Match");
    const char *tag = response_find_header(response, "ETag");

    if (response->status == 200 && known != NULL && tag != NULL && lists_tag(known, tag))
        response_status(response, 304);
}

enum range { RANGE_WHOLE, RANGE_PART, RANGE_OUTSIDE };

/* Reads "bytes=first-last", "bytes=first-" or "bytes=-count". What is malformed is ignored. */
static enum range read_range(const char *text, size_t size, size_t *first, size_t *count)
{
    char digits[32];
    int64_t start = -1, end = INT64_MAX;

    if (strncmp(text, "bytes=", 6) != 0 || strlen(text) - 6 >= sizeof digits)
        return RANGE_WHOLE;
    memcpy(digits, text + 6, strlen(text) - 5);
    char *dash = strchr(digits, '-');
    if (dash == NULL)
        return RANGE_WHOLE;
    *dash = '\0';
    if (*digits != '\0' && text_read_integer(digits, &start) != 0)
        return RANGE_WHOLE;
    if (dash[1] != '\0' && (text_read_integer(dash + 1, &end) != 0 || end < 0))
        return RANGE_WHOLE;
    if (start < 0) { /* the last so many bytes */
        if (dash[1] == '\0')
            return RANGE_WHOLE;
        if (end == 0 || size == 0)
            return RANGE_OUTSIDE;
        *count = (uint64_t)end < size ? (size_t)end : size;
        *first = size - *count;
        return RANGE_PART;
    }
    if (end < start)
        return RANGE_WHOLE;
    if ((uint64_t)start >= size)
        return RANGE_OUTSIDE;
    *first = (size_t)start;
    *count =
        (uint64_t)end - (uint64_t)start < size - *first ? (size_t)(end - start) + 1 : size - *first;
    return RANGE_PART;
}

/* Answers with the part or the refusal that a Range header asks for; false when with the whole. */
static bool answer_range(struct response *response, const struct request *request,
                         const char *content_type, const char *quoted, uint8_t *bytes, size_t size)
{
    const char *range = request_header(request, "Range");
    const char *condition = request_header(request, "If-Range");
    struct arena *arena = &response->request->arena;
    size_t first = 0, count = 0;

    if (range == NULL || (condition != NULL && strcmp(condition, quoted) != 0))
        return false;
    switch (read_range(range, size, &first, &count)) {
    case RANGE_WHOLE:
        return false;
    case RANGE_OUTSIDE: {
        struct error err = {0};
        free(bytes);
        error_set(&err, STATUS_INVALID, "the range '%.64s' is outside of the %zu bytes", range,
                  size);
        response_problem(response, 416, &err);
        const char *text = arena_print(arena, "bytes */%zu", size);
        response_header(response, "Content-Range", text != NULL ? text : "bytes */*");
        return true;
    }
    case RANGE_PART:
        break;
    }
    memmove(bytes, bytes + first, count);
    response_bytes(response, 206, content_type, bytes, count);
    const char *text = arena_print(arena, "bytes %zu-%zu/%zu", first, first + count - 1, size);
    if (text != NULL)
        response_header(response, "Content-Range", text);
    return true;
}

void response_content(struct response *response, const struct request *request,
                      const char *content_type, const char *etag, bool immutable, void *bytes,
                      size_t size)
{
    const char *quoted = arena_print(&response->request->arena, "\"%s\"", etag);
    const char *known = request_header(request, "If-None-Match");

    if (quoted == NULL)
        quoted = "\"\"";
    if (known != NULL && lists_tag(known, quoted)) {
        free(bytes);
        response_status(response, 304);
    } else if (!answer_range(response, request, content_type, quoted, bytes, size)) {
        response_bytes(response, 200, content_type, bytes, size);
    }
    response_header(response, "ETag", quoted);
    response_header(response, "Accept-Ranges", "bytes");
    response_header(response, "Cache-Control",
                    immutable ? "private, max-age=31536000, immutable" : "private, no-cache");
}
