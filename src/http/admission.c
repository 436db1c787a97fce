/* Admission: whether a request may go on to its handler, decided by its headers alone. What is
 * refused here has its answer set; what comes of its body is no concern of this file. */
#include "http/exchange.h"

#include <string.h>

#include "base/id.h"
#include "base/text.h"

/* --- Headers */

enum {
    HEADERS_MAX = 128,
    PLAIN_FIELDS_MAX = 64 /* of a form, besides its files */
};

struct header_copy {
    struct exchange *exchange;
    bool failed;
};

static enum MHD_Result copy_header(void *context, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    struct header_copy *copy = context;
    struct request *request = &copy->exchange->request;

    (void)kind;
    if (value == NULL)
        value = "";
    if (request->header_count == HEADERS_MAX)
        return MHD_NO;
    struct pair *pair = &request->headers[request->header_count++];
    pair->name = arena_copy_text(&request->arena, name, strlen(name));
    pair->value = arena_copy_text(&request->arena, value, strlen(value));
    copy->failed = pair->name == NULL || pair->value == NULL;
    return copy->failed ? MHD_NO : MHD_YES;
}

static bool copy_headers(struct exchange *exchange)
{
    struct request *request = &exchange->request;
    struct header_copy copy = {.exchange = exchange};

    request->headers = arena_alloc(&request->arena, HEADERS_MAX * sizeof *request->headers);
    if (request->headers == NULL)
        return false;
    MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, copy_header, &copy);
    return !copy.failed;
}

/* The client's own id when it sent one that is fit for headers and logs, else a new one. */
static void choose_id(struct exchange *exchange)
{
    const char *given = request_header(&exchange->request, "X-Request-Id");
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const size_t length = given != NULL ? strlen(given) : 0;

    if (length > 0 && length <= REQUEST_ID_MAX && strspn(given, allowed) == length)
        memcpy(exchange->id, given, length + 1);
    else
        id_make(exchange->id);
}

static void read_body_headers(struct exchange *exchange)
{
    const char *length = request_header(&exchange->request, "Content-Length");

    if (request_header(&exchange->request, "Transfer-Encoding") != NULL) {
        exchange->has_body = true;
    } else if (length != NULL && text_read_integer(length, &exchange->body_length) == 0) {
        exchange->has_body = exchange->body_length > 0;
    }
}

bool exchange_read_headers(struct exchange *exchange, const char *method)
{
    struct request *request = &exchange->request;

    request->method = arena_copy_text(&request->arena, method, strlen(method));
    if (exchange->client == NULL || exchange->target == NULL || request->method == NULL ||
        !copy_headers(exchange))
        return false;
    request->client = exchange->client->client;
    request->part_count_max = (int)exchange->server->config->batch_files_max + PLAIN_FIELDS_MAX;
    choose_id(exchange);
    read_body_headers(exchange);
    return true;
}

/* --- Admission */

static bool admit_headers(struct exchange *exchange)
{
    struct error err = {0};

    /* The place that stays free tells that none was left out. */
    if (exchange->request.header_count < HEADERS_MAX)
        return true;
    error_set(&err, STATUS_TOO_LARGE, "the request has more than %d headers", HEADERS_MAX - 1);
    exchange_refuse(exchange, 431, &err, "bad_request");
    return false;
}

/* What to answer when there is no route for the request; `status` is the search's. */
static void refuse_route(struct exchange *exchange, int status, const struct error *err)
{
    if (status == STATUS_UNSUPPORTED && strcmp(exchange->request.method, "OPTIONS") == 0) {
        response_status(&exchange->response, 204);
        response_header(&exchange->response, "Allow", exchange->match.allow);
        exchange_settle(exchange);
    } else if (status == STATUS_UNSUPPORTED) {
        response_header(&exchange->response, "Allow", exchange->match.allow);
        exchange_refuse(exchange, 405, err, NULL);
    } else if (status == STATUS_INVALID) {
        exchange_refuse(exchange, 400, err, "bad_request");
    } else {
        exchange_refuse(exchange, status == STATUS_NOT_FOUND ? 404 : 500, err, NULL);
    }
}

static int find_route(struct exchange *exchange, struct error *err)
{
    struct request *request = &exchange->request;

    int status = uri_parse(&request->arena, exchange->target, &request->uri, err);
    if (status != STATUS_OK) {
        request->uri = (struct uri){0};
        return status;
    }
    status = router_find(exchange->server->router, &request->arena, request->method, &request->uri,
                         &exchange->match, err);
    request->params = exchange->match.params;
    request->param_count = exchange->match.param_count;
    return status;
}

static bool admit_client(struct exchange *exchange)
{
    struct error err = {0};
    int retry_after = 1;
    char seconds[16];

    switch (access_check(exchange->server->access, &exchange->request, exchange->match.route,
                         exchange->started_ns, &retry_after, &err)) {
    case ACCESS_GRANTED:
        return true;
    case ACCESS_NO_KEY:
        response_header(&exchange->response, "WWW-Authenticate", "Bearer realm=\"ocelli\"");
        exchange_refuse(exchange, 401, &err, "unauthorized");
        return false;
    case ACCESS_CROSS_SITE:
        exchange_refuse(exchange, 403, &err, "cross_site");
        return false;
    case ACCESS_TOO_MANY:
        break;
    }
    snprintf(seconds, sizeof seconds, "%d", retry_after);
    response_header(&exchange->response, "Retry-After", seconds);
    exchange_refuse(exchange, 429, &err, "rate_limit");
    return false;
}

static bool admit_body(struct exchange *exchange)
{
    const size_t body_max = exchange->match.route->body_max;
    struct error err = {0};

    if (!exchange->has_body || (body_max > 0 && (exchange->body_length < 0 ||
                                                 (uint64_t)exchange->body_length <= body_max)))
        return true;
    if (body_max == 0)
        error_set(&err, STATUS_TOO_LARGE, "this address takes no body");
    else
        error_set(&err, STATUS_TOO_LARGE, "the body is %lld bytes; at most %zu are allowed",
                  (long long)exchange->body_length, body_max);
    exchange_refuse(exchange, 413, &err, "too_large");
    return false;
}

/* The rate counts before a missing route does: asking for what is not there is no way around it. */
bool exchange_admit(struct exchange *exchange)
{
    struct error err = {0};

    if (!admit_headers(exchange))
        return false;
    const int status = find_route(exchange, &err);
    if (!admit_client(exchange))
        return false;
    if (status != STATUS_OK) {
        refuse_route(exchange, status, &err);
        return false;
    }
    return admit_body(exchange);
}
