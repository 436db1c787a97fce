/* One request and its answer on a connection.
 *
 * The event thread collects headers and body, then suspends the connection and hands the exchange
 * to a worker; the worker runs the handler and resumes the connection, and the event thread, called
 * again, queues the answer. A route that streams its body is handed over after the headers when the
 * body is large: the connection stays suspended until the handler reads, so an upload that is
 * refused at once is never sent, and then fills the body's pipe while the handler empties it. Such
 * a handler waits for its client, so that no more than three quarters of the workers may do that;
 * and a smaller body is collected first, so that slow clients cost memory (bounded) but no worker.
 *
 * An exchange is held by its connection until the library says it is complete, and by the worker
 * while the handler runs; the last one frees it. A suspended connection cannot complete, so only a
 * streaming handler can outlive its connection. */
#include "http/exchange.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    PIPE_SIZE = 256 * 1024,
    STREAM_FROM = 4 * 1024 * 1024, /* bodies above this, or of unknown length, are streamed */
    BODY_FIRST_SIZE = 16 * 1024,
    /* A refused body up to this size is read and dropped, so that the connection can go on. */
    DISCARD_TO_KEEP = 64 * 1024,
    /* Dropped at most of a body whose size was not said; then the connection is closed. */
    DISCARD_MAX = 64 * 1024 * 1024
};

/* --- Coming and going */

static void count_refusal(struct server *server, const char *reason)
{
    metric_add(metrics_labelled(server->metrics, METRIC_COUNTER, "ocelli_http_refused_total",
                                "Requests the server itself refused or lost, by reason.", "reason",
                                reason, NULL, NULL),
               1);
}

static void link_exchange(struct server *server, struct exchange *exchange)
{
    pthread_mutex_lock(&server->mutex);
    exchange->next = server->exchanges;
    if (server->exchanges != NULL)
        server->exchanges->previous = exchange;
    server->exchanges = exchange;
    server->active++;
    pthread_mutex_unlock(&server->mutex);
}

static void unlink_exchange(struct server *server, struct exchange *exchange)
{
    pthread_mutex_lock(&server->mutex);
    if (exchange->previous != NULL)
        exchange->previous->next = exchange->next;
    else
        server->exchanges = exchange->next;
    if (exchange->next != NULL)
        exchange->next->previous = exchange->previous;
    if (--server->active == 0)
        pthread_cond_broadcast(&server->idle);
    pthread_mutex_unlock(&server->mutex);
}

/* Called with the request line, before the headers. */
void *exchange_begin(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct server *server = context;
    struct exchange *exchange = calloc(1, sizeof *exchange);

    if (exchange == NULL)
        return NULL;
    exchange->server = server;
    exchange->connection = connection;
    exchange->started_ns = clock_monotonic_ns();
    exchange->holders = 1;
    exchange->body_length = -1;
    pthread_mutex_init(&exchange->mutex, NULL);
    arena_init(&exchange->request.arena, 0);
    exchange->response.request = &exchange->request;
    exchange->response.events = server->events;
    exchange->target = arena_copy_text(&exchange->request.arena, uri, strlen(uri));
    return exchange;
}

static void drop_body(struct exchange *exchange)
{
    atomic_fetch_sub(&exchange->server->bodies_size, exchange->body_capacity);
    free(exchange->request.body);
    exchange->request.body = NULL;
    exchange->request.body_size = exchange->body_capacity = 0;
}

static void let_go(struct exchange *exchange)
{
    struct server *server = exchange->server;

    if (atomic_fetch_sub(&exchange->holders, 1) > 1)
        return;
    if (exchange->stage != STAGE_HEADERS)
        unlink_exchange(server, exchange);
    if (exchange->reply != NULL)
        MHD_destroy_response(exchange->reply);
    response_clear(&exchange->response);
    drop_body(exchange);
    request_free(&exchange->request);
    pthread_mutex_destroy(&exchange->mutex);
    free(exchange);
}

void exchange_complete(void *context, struct MHD_Connection *connection, void **handle,
                       enum MHD_RequestTerminationCode reason)
{
    struct exchange *exchange = *handle;

    (void)context;
    (void)connection;
    if (exchange == NULL)
        return;
    *handle = NULL;
    if (!exchange->queued && exchange->stage != STAGE_HEADERS)
        count_refusal(exchange->server,
                      reason == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED ? "timeout" : "aborted");
    if (exchange->request.pipe != NULL)
        body_pipe_break(exchange->request.pipe, STATUS_CORRUPT,
                        "the client went away in the middle of the body");
    /* A stream must not outlive its connection, even while the worker still holds the exchange. */
    if (exchange->queued) {
        exchange->client->stream = NULL;
        response_clear(&exchange->response);
    }
    let_go(exchange);
}

/* --- Answers */

void exchange_settle(struct exchange *exchange)
{
    exchange->reply = reply_build(&exchange->response, &exchange->request, exchange->id,
                                  atomic_load(&exchange->server->stopping));
    exchange->answered = true;
}

void exchange_refuse(struct exchange *exchange, int http_status, const struct error *err,
                     const char *reason)
{
    response_problem(&exchange->response, http_status, err);
    if (http_status == 503)
        response_header(&exchange->response, "Retry-After", "1");
    if (reason != NULL)
        count_refusal(exchange->server, reason);
    drop_body(exchange);
    exchange_settle(exchange);
}

static void observe(const struct exchange *exchange)
{
    struct server *server = exchange->server;
    const struct route *route = exchange->match.route;
    const double seconds = (double)(clock_monotonic_ns() - exchange->started_ns) * 1e-9;
    const char *path = route != NULL ? route->path : "other";
    const char *method = route != NULL ? route->method : "other";
    char labels[512];

    snprintf(labels, sizeof labels, "route=\"%s\",method=\"%s\",status=\"%d\"", path, method,
             exchange->response.status);
    metric_add(metrics_get(server->metrics, METRIC_COUNTER, "ocelli_http_requests_total",
                           "Requests answered.", labels),
               1);
    if (route != NULL)
        metric_observe(server->durations[exchange->match.number], seconds);
    log_debug("http", "%s %s %s %d in %.1f ms, %s", exchange->request.client,
              exchange->request.method, exchange->request.uri.path, exchange->response.status,
              seconds * 1e3, exchange->id);
}

static void attach_stream(struct exchange *exchange)
{
    struct connection *client = exchange->client;

    client->stream = exchange->response.stream;
    event_stream_attach(client->stream, exchange->connection, client->watched.fd);
    if (client->watched.ended) /* while the handler ran */
        event_stream_hang_up(client->stream);
}

/* Hands the answer to the library; MHD_NO closes the connection. */
static enum MHD_Result queue_reply(struct exchange *exchange)
{
    struct MHD_Response *reply = exchange->reply;

    if (exchange->queued)
        return MHD_YES;
    exchange->queued = true;
    if (reply == NULL)
        return MHD_NO;
    if (exchange->response.kind == BODY_EVENTS)
        attach_stream(exchange);
    observe(exchange);
    const enum MHD_Result result =
        MHD_queue_response(exchange->connection, (unsigned)exchange->response.status, reply);
    MHD_destroy_response(reply); /* our hold on it; the connection has its own */
    exchange->reply = NULL;
    return result;
}

/* Answers before the body is read: the library closes the connection after that. */
static enum MHD_Result queue_reply_early(struct exchange *exchange)
{
    exchange->client->linger = true;
    return queue_reply(exchange);
}

/* With the exchange's lock. */
static void suspend(struct exchange *exchange, enum suspension why)
{
    exchange->suspension = why;
    MHD_suspend_connection(exchange->connection);
}

static void resume(struct exchange *exchange)
{
    exchange->suspension = RUNNING;
    loop_resume(exchange->server->loop, exchange->connection);
}

/* The pipe's reader has made room. On the worker. */
static void release_writer(void *context)
{
    struct exchange *exchange = context;

    pthread_mutex_lock(&exchange->mutex);
    if (exchange->suspension == WAITING_FOR_ROOM)
        resume(exchange);
    pthread_mutex_unlock(&exchange->mutex);
}

/* --- On the worker */

static void answer(struct exchange *exchange)
{
    struct error err = {0};

    pthread_mutex_lock(&exchange->mutex);
    if (exchange->overrun) {
        error_set(&err, STATUS_TOO_LARGE, "the body is over %zu bytes",
                  exchange->match.route->body_max);
        response_problem(&exchange->response, 413, &err);
    }
    exchange_settle(exchange);
    if (exchange->suspension != RUNNING)
        resume(exchange);
    pthread_mutex_unlock(&exchange->mutex);
}

void exchange_run(struct exchange *exchange)
{
    const struct route *route = exchange->match.route;
    struct error err = {0};

    if (atomic_load(&exchange->server->aborting)) {
        error_set(&err, STATUS_CLOSED, "the server is shutting down");
        response_error(&exchange->response, &err);
    } else {
        route->handler(&exchange->request, &exchange->response, exchange->match.context);
    }
    if (exchange->response.status == 0) {
        log_error("http", "the handler of %s %s gave no answer", route->method, route->path);
        error_set(&err, STATUS_INTERNAL, "the request was not answered");
        response_problem(&exchange->response, 500, &err);
    }
    if (exchange->request.pipe != NULL)
        atomic_fetch_sub(&exchange->server->streaming, 1);
    answer(exchange);
    let_go(exchange);
}

/* Suspends the connection and puts the exchange into the workers' queue, or refuses. Under the
 * lock, which keeps a quick worker from resuming a connection that is not suspended yet. */
static void dispatch(struct exchange *exchange, enum suspension why)
{
    struct error err = {0};

    atomic_fetch_add(&exchange->holders, 1);
    const int status = queue_push(exchange->server->work, exchange, 0);
    if (status == STATUS_OK) {
        suspend(exchange, why);
        return;
    }
    atomic_fetch_sub(&exchange->holders, 1);
    error_set(&err, (enum status)status,
              status == STATUS_CLOSED ? "the server is shutting down"
                                      : "too many requests are waiting; try again soon");
    exchange_refuse(exchange, 503, &err, status == STATUS_CLOSED ? "stopping" : "queue_full");
}

/* --- Headers */

static bool is_streamed(const struct exchange *exchange)
{
    return exchange->has_body && (exchange->match.route->flags & ROUTE_STREAMS_BODY) &&
           (exchange->body_length < 0 || exchange->body_length > STREAM_FROM);
}

/* Takes one of the places for handlers that wait for their client. */
static bool take_stream(struct server *server)
{
    const int most = server->worker_count - server->worker_count / 4;

    if (atomic_fetch_add(&server->streaming, 1) < most)
        return true;
    atomic_fetch_sub(&server->streaming, 1);
    return false;
}

static bool start_streaming(struct exchange *exchange)
{
    struct error err = {0};

    if (!take_stream(exchange->server)) {
        error_set(&err, STATUS_BUSY, "too many large uploads are being received; try again soon");
        exchange_refuse(exchange, 503, &err, "streams");
        return false;
    }
    if (body_pipe_create(PIPE_SIZE, release_writer, exchange, &exchange->request.pipe, &err) !=
        STATUS_OK) {
        atomic_fetch_sub(&exchange->server->streaming, 1);
        exchange_refuse(exchange, 503, &err, "memory");
        return false;
    }
    pthread_mutex_lock(&exchange->mutex);
    dispatch(exchange, WAITING_FOR_ROOM);
    const bool started = exchange->suspension != RUNNING;
    if (started)
        exchange->stage = STAGE_HELD;
    else
        atomic_fetch_sub(&exchange->server->streaming, 1);
    pthread_mutex_unlock(&exchange->mutex);
    return started;
}

/* The library's first call: the headers are there. */
static enum MHD_Result handle_headers(struct exchange *exchange, const char *method)
{
    exchange->stage = STAGE_BODY;
    link_exchange(exchange->server, exchange);
    exchange->client =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
            ->socket_context;
    if (!exchange_read_headers(exchange, method))
        return MHD_NO;
    if (exchange_admit(exchange) && is_streamed(exchange) && start_streaming(exchange))
        return MHD_YES;
    if (!exchange->answered || !exchange->has_body)
        return MHD_YES;
    /* Refused: a small body is let through and dropped, so that the connection can be used again;
     * one that is large, or that the client sends only when told to go on, is not. */
    if (exchange->body_length < 0 || exchange->body_length > DISCARD_TO_KEEP ||
        request_header(&exchange->request, "Expect") != NULL)
        return queue_reply_early(exchange);
    return MHD_YES;
}

/* A streaming handler began to read, or answered without reading. */
static enum MHD_Result handle_held(struct exchange *exchange)
{
    exchange->stage = STAGE_BODY;
    pthread_mutex_lock(&exchange->mutex);
    const bool answered = exchange->answered;
    pthread_mutex_unlock(&exchange->mutex);
    return answered ? queue_reply_early(exchange) : MHD_YES;
}

/* --- Body */

/* Makes room for `size` more bytes of a body held in memory. The sum over all requests is bounded:
 * one slow client after the other must not fill the machine. */
static bool reserve_body(struct exchange *exchange, size_t size)
{
    struct server *server = exchange->server;
    struct request *request = &exchange->request;
    const size_t needed = request->body_size + size;
    size_t capacity = exchange->body_capacity * 2;

    if (needed <= exchange->body_capacity)
        return true;
    if (capacity < BODY_FIRST_SIZE)
        capacity = BODY_FIRST_SIZE;
    if (capacity < needed)
        capacity = needed;
    if (exchange->body_length > 0 && capacity > (size_t)exchange->body_length)
        capacity = (size_t)exchange->body_length;
    const size_t growth = capacity - exchange->body_capacity;
    if (atomic_fetch_add(&server->bodies_size, growth) + growth >
        (size_t)server->config->bodies_bytes_max) {
        atomic_fetch_sub(&server->bodies_size, growth);
        return false;
    }
    uint8_t *body = realloc(request->body, capacity);
    if (body == NULL) {
        atomic_fetch_sub(&server->bodies_size, growth);
        return false;
    }
    request->body = body;
    exchange->body_capacity = capacity;
    return true;
}

static void keep(struct exchange *exchange, const char *bytes, size_t size)
{
    struct request *request = &exchange->request;
    struct error err = {0};

    if (!reserve_body(exchange, size)) {
        error_set(&err, STATUS_BUSY, "too many bodies are being received; try again soon");
        exchange_refuse(exchange, 503, &err, "memory");
        return;
    }
    memcpy(request->body + request->body_size, bytes, size);
    request->body_size += size;
}

/* Puts what fits into the pipe and, if that is not all, holds the connection back. */
static void pass_on(struct exchange *exchange, const char *bytes, size_t *size)
{
    pthread_mutex_lock(&exchange->mutex);
    if (exchange->answered || exchange->overrun) {
        *size = 0; /* the handler is done, or will be refused: the rest is dropped */
    } else {
        *size -= body_pipe_write(exchange->request.pipe, bytes, *size);
        if (*size > 0)
            suspend(exchange, WAITING_FOR_ROOM);
    }
    pthread_mutex_unlock(&exchange->mutex);
}

static void note_overrun(struct exchange *exchange)
{
    struct error err = {0};

    if (exchange->request.pipe != NULL) {
        pthread_mutex_lock(&exchange->mutex);
        const bool first = !exchange->overrun;
        exchange->overrun = true;
        pthread_mutex_unlock(&exchange->mutex);
        body_pipe_break(exchange->request.pipe, STATUS_CORRUPT,
                        "the body is longer than is allowed here");
        if (first)
            count_refusal(exchange->server, "too_large");
    } else if (!exchange->answered) {
        error_set(&err, STATUS_TOO_LARGE, "the body is over %zu bytes",
                  exchange->match.route->body_max);
        exchange_refuse(exchange, 413, &err, "too_large");
    }
}

static enum MHD_Result handle_upload(struct exchange *exchange, const char *bytes, size_t *size)
{
    const size_t body_max = exchange->match.route != NULL ? exchange->match.route->body_max : 0;
    const size_t offered = *size;

    if (*size > SIZE_MAX - exchange->received || exchange->received + *size > body_max)
        note_overrun(exchange);
    if (exchange->received > body_max && exchange->received - body_max > DISCARD_MAX)
        return MHD_NO;
    if (exchange->request.pipe != NULL) {
        pass_on(exchange, bytes, size);
    } else {
        if (!exchange->answered)
            keep(exchange, bytes, *size);
        *size = 0;
    }
    exchange->received += offered - *size;
    return MHD_YES;
}

/* The library's last call, repeated when the connection is resumed: the whole request is there. */
static enum MHD_Result handle_end(struct exchange *exchange)
{
    exchange->stage = STAGE_COMPLETE;
    if (exchange->request.pipe != NULL)
        body_pipe_end(exchange->request.pipe);
    pthread_mutex_lock(&exchange->mutex);
    if (!exchange->answered && exchange->request.pipe != NULL)
        suspend(exchange, WAITING_FOR_ANSWER);
    else if (!exchange->answered)
        dispatch(exchange, WAITING_FOR_ANSWER);
    const bool ready = exchange->suspension == RUNNING;
    pthread_mutex_unlock(&exchange->mutex);
    return ready ? queue_reply(exchange) : MHD_YES;
}

enum MHD_Result exchange_handle(void *context, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *upload_size, void **handle)
{
    struct exchange *exchange = *handle;

    (void)context;
    (void)connection;
    (void)url;
    (void)version;
    if (exchange == NULL)
        return MHD_NO;
    if (exchange->stage == STAGE_HEADERS)
        return handle_headers(exchange, method);
    if (exchange->stage == STAGE_HELD)
        return handle_held(exchange);
    if (*upload_size > 0)
        return handle_upload(exchange, upload, upload_size);
    return handle_end(exchange);
}

void exchange_abort_all(struct server *server)
{
    pthread_mutex_lock(&server->mutex);
    for (struct exchange *exchange = server->exchanges; exchange != NULL; exchange = exchange->next)
        if (exchange->request.pipe != NULL)
            body_pipe_break(exchange->request.pipe, STATUS_CLOSED, "the server is shutting down");
    pthread_mutex_unlock(&server->mutex);
}
