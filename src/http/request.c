/* Reading a request: see http.h. */
#include "http/request.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "http/disposition.h"

const char *request_method(const struct request *request)
{
    return request->method;
}

const char *request_path(const struct request *request)
{
    return request->uri.path;
}

struct arena *request_arena(struct request *request)
{
    return &request->arena;
}

const char *request_client(const struct request *request)
{
    return request->client;
}

const char *request_param(const struct request *request, const char *name)
{
    for (int i = 0; i < request->param_count; i++)
        if (strcmp(request->params[i].name, name) == 0)
            return request->params[i].value;
    return NULL;
}

const char *request_query(const struct request *request, const char *name)
{
    for (int i = 0; i < request->uri.query_count; i++)
        if (strcmp(request->uri.query[i].name, name) == 0)
            return request->uri.query[i].value;
    return NULL;
}

int request_query_integer(const struct request *request, const char *name, int64_t low,
                          int64_t high, int64_t *out, struct error *err)
{
    const char *text = request_query(request, name);
    int64_t number;

    if (text == NULL)
        return STATUS_OK;
    if (text_read_integer(text, &number) != 0 || number < low || number > high)
        return error_set(err, STATUS_INVALID,
                         "'%s' cannot be '%.64s': it takes a whole number from %" PRId64
                         " to %" PRId64,
                         name, text, low, high);
    *out = number;
    return STATUS_OK;
}

int request_query_real(const struct request *request, const char *name, double low, double high,
                       double *out, struct error *err)
{
    const char *text = request_query(request, name);
    double number;

    if (text == NULL)
        return STATUS_OK;
    if (text_read_real(text, &number) != 0 || number < low || number > high)
        return error_set(err, STATUS_INVALID,
                         "'%s' cannot be '%.64s': it takes a number from %.15g to %.15g", name,
                         text, low, high);
    *out = number;
    return STATUS_OK;
}

const char *request_header(const struct request *request, const char *name)
{
    for (int i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return request->headers[i].value;
    return NULL;
}

void request_body(const struct request *request, const uint8_t **bytes, size_t *size)
{
    *bytes = request->body;
    *size = request->body_size;
}

/* application/json and everything built on it (application/merge-patch+json). */
static bool is_json(const char *content_type)
{
    const size_t length = strcspn(content_type, "; \t");
    return header_value_is(content_type, "application/json") ||
           (length > 5 && strncasecmp(content_type + length - 5, "+json", 5) == 0);
}

int request_json(const struct request *request, json_t **out, struct error *err)
{
    const char *content_type = request_header(request, "Content-Type");

    /* Besides being wrong, other types are what a browser sends across sites without asking. */
    if (content_type != NULL && !is_json(content_type))
        return error_set(err, STATUS_UNSUPPORTED, "the body must be application/json, not '%.100s'",
                         content_type);
    if (request->body_size == 0)
        return error_set(err, STATUS_INVALID, "the body is empty; it must be JSON");
    return json_read((const char *)request->body, request->body_size, out, err);
}

void request_free(struct request *request)
{
    parts_free(request->parts);
    body_pipe_free(request->pipe);
    free(request->body);
    arena_free(&request->arena);
}
