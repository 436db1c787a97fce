/* Answering: see http.h. */
#include "http/response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "http/events.h"
#include "http/request.h"

void response_clear(struct response *response)
{
    if (response->kind == BODY_OWNED)
        free(response->bytes);
    if (response->kind == BODY_EVENTS)
        event_stream_finish(response->stream);
    response->status = 0;
    response->kind = BODY_NONE;
    response->bytes = NULL;
    response->static_bytes = NULL;
    response->size = 0;
    response->stream = NULL;
    response->headers = NULL;
}

static struct header *find_header(const struct response *response, const char *name)
{
    struct header *header = response->headers;
    while (header != NULL && strcasecmp(header->name, name) != 0)
        header = header->next;
    return header;
}

const char *response_find_header(const struct response *response, const char *name)
{
    const struct header *header = find_header(response, name);
    return header != NULL ? header->value : NULL;
}

void response_header(struct response *response, const char *name, const char *value)
{
    struct arena *arena = &response->request->arena;
    const char *copy = arena_copy_text(arena, value, strlen(value));
    struct header *header =
        strcasecmp(name, "Set-Cookie") == 0 ? NULL : find_header(response, name);

    if (header == NULL) {
        header = arena_alloc(arena, sizeof *header);
        const char *name_copy = arena_copy_text(arena, name, strlen(name));
        if (header == NULL || name_copy == NULL)
            return;
        *header = (struct header){.next = response->headers, .name = name_copy, .value = ""};
        response->headers = header;
    }
    if (copy != NULL)
        header->value = copy;
}

/* --- Whole answers */

/* Headers set before stay: a handler may add them first. */
static void set_body(struct response *response, int http_status, enum body_kind kind,
                     const char *content_type)
{
    struct header *headers = response->headers;

    response_clear(response);
    response->headers = headers;
    response->status = http_status;
    response->kind = kind;
    if (content_type != NULL)
        response_header(response, "Content-Type", content_type);
}

void response_status(struct response *response, int http_status)
{
    set_body(response, http_status, BODY_NONE, NULL);
}

void response_bytes(struct response *response, int http_status, const char *content_type,
                    void *bytes, size_t size)
{
    set_body(response, http_status, BODY_OWNED, content_type);
    response->bytes = bytes;
    response->size = size;
}

static void out_of_memory(struct response *response)
{
    static const char text[] =
        "{\"type\":\"about:blank\",\"title\":\"Internal Server Error\",\"status\":500,"
        "\"detail\":\"no memory for the answer\"}";
    set_body(response, 500, BODY_STATIC, "application/problem+json");
    response->static_bytes = text;
    response->size = sizeof text - 1;
}

void response_text(struct response *response, int http_status, const char *content_type,
                   const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        out_of_memory(response);
    else
        response_bytes(response, http_status, content_type, copy, strlen(copy));
}

static void set_json(struct response *response, int http_status, const char *content_type,
                     json_t *body)
{
    struct buffer text = {0};
    size_t size;

    const int status = body != NULL ? json_write(body, &text, NULL) : STATUS_NO_MEMORY;
    json_decref(body);
    char *bytes = buffer_take(&text, &size);
    if (status != STATUS_OK || bytes == NULL) {
        free(bytes);
        out_of_memory(response);
        return;
    }
    response_bytes(response, http_status, content_type, bytes, size);
}

void response_json(struct response *response, int http_status, json_t *body)
{
    set_json(response, http_status, "application/json", body);
}

void response_static(struct response *response, const char *content_type, const char *encoding,
                     const void *bytes, size_t size)
{
    set_body(response, 200, BODY_STATIC, content_type);
    response->static_bytes = bytes;
    response->size = size;
    if (encoding != NULL) {
        response_header(response, "Content-Encoding", encoding);
        response_header(response, "Vary", "Accept-Encoding");
    }
}

int response_event_stream(struct response *response, size_t pending_max,
                          void (*on_close)(struct event_stream *stream, void *context),
                          void *context, struct event_stream **out, struct error *err)
{
    struct event_stream *stream = NULL;
    const int status =
        event_stream_create(response->events, pending_max, on_close, context, &stream, err);

    if (status != STATUS_OK)
        return status;
    set_body(response, 200, BODY_EVENTS, "text/event-stream");
    response->stream = stream;
    response_header(response, "X-Accel-Buffering", "no"); /* proxies must pass events on at once */
    *out = stream;
    return STATUS_OK;
}

/* --- Errors */

static const struct {
    int status;
    const char *title;
} titles[] = {
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {507, "Insufficient Storage"},
};

static const char *title_of(int http_status)
{
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++)
        if (titles[i].status == http_status)
            return titles[i].title;
    return "Error";
}

void response_problem(struct response *response, int http_status, const struct error *err)
{
    const char *path = response->request->uri.path;
    json_t *body = json_pack("{s:s, s:s, s:i}", "type", "about:blank", "title",
                             title_of(http_status), "status", http_status);

    /* A long message may have been cut in the middle of a character. */
    size_t length = strlen(err->message);
    while (!text_is_utf8(err->message, length))
        length--;
    json_object_set_new(body, "detail", json_stringn(err->message, length));
    if (path != NULL)
        json_object_set_new(body, "instance", json_string(path));
    set_json(response, http_status, "application/problem+json", body);
}

static int http_status_of(int code)
{
    switch (code) {
    case STATUS_INVALID:
        return 400;
    case STATUS_DENIED:
        return 403;
    case STATUS_NOT_FOUND:
        return 404;
    case STATUS_EXISTS:
        return 409;
    case STATUS_TOO_LARGE:
        return 413;
    case STATUS_UNSUPPORTED:
        return 415;
    case STATUS_CORRUPT:
        return 422;
    case STATUS_BUSY:
    case STATUS_UNAVAILABLE:
    case STATUS_CLOSED:
        return 503;
    case STATUS_TIMEOUT:
        return 504;
    case STATUS_NO_SPACE:
        return 507;
    default:
        return 500;
    }
}

void response_error(struct response *response, const struct error *err)
{
    const int http_status = http_status_of(err->code);

    response_problem(response, http_status, err);
    if (http_status == 503)
        response_header(response, "Retry-After", "1");
}
