/* The HTTP server: see server.h. Starting and stopping; what happens to a request is in exchange.c.
 *
 * Threads: one event thread (loop.h) does all reading and writing; http_threads workers run
 * handlers; the minder (minder.h) watches sockets at rest. Stopping goes the way of the work: no
 * new connections, streams end, running requests finish, workers leave, then the event thread. */
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/server_state.h"

enum { LISTEN_BACKLOG = 1024, QUEUE_PER_WORKER = 16, CONNECTION_MEMORY = 32 * 1024 };

/* --- Listening */

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        return ntohl(four->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
    return IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

static int open_listener(const struct addrinfo *address, const struct config *config, int *out,
                         struct error *err)
{
    const int on = 1, off = 0;
    const int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return error_set_errno(err, errno, "cannot make a socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ai_family == AF_INET6) /* "::" takes IPv4 as well */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        const int reason = errno;
        close(fd);
        if (reason == EADDRINUSE)
            return error_set(err, STATUS_EXISTS,
                             "port %lld of %s is in use; choose another with --port",
                             (long long)config->port, config->listen);
        return error_set_errno(err, reason, "cannot listen on %s, port %lld", config->listen,
                               (long long)config->port);
    }
    *out = fd;
    return STATUS_OK;
}

static int bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return 0;
    if (address.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&address)->sin_port);
    return ntohs(((const struct sockaddr_in6 *)&address)->sin6_port);
}

static int start_listening(struct server *server, struct error *err)
{
    const struct config *config = server->config;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *addresses = NULL;
    char port[16];
    int status;

    snprintf(port, sizeof port, "%lld", (long long)config->port);
    const int failed = getaddrinfo(config->listen, port, &hints, &addresses);
    if (failed)
        return error_set(err, STATUS_INVALID, "'%s' is no address to listen on: %s", config->listen,
                         gai_strerror(failed));
    if (!is_loopback(addresses->ai_addr) && *config->api_key == '\0' && !config->insecure_listen)
        status = error_set(err, STATUS_DENIED,
                           "listening on %s would let anyone in: set an API key, or pass "
                           "--insecure-listen if that is meant",
                           config->listen);
    else
        status = open_listener(addresses, config, &server->listen_fd, err);
    freeaddrinfo(addresses);
    if (status == STATUS_OK)
        server->port = bound_port(server->listen_fd);
    return status;
}

/* --- The library */

static void copy_address(const struct sockaddr *address, char *text, size_t text_size)
{
    text[0] = '\0';
    if (address->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text,
                  (socklen_t)text_size);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
            inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, text, (socklen_t)text_size);
        else
            inet_ntop(AF_INET6, &six->sin6_addr, text, (socklen_t)text_size);
    }
}

static void connection_started(struct server *server, struct MHD_Connection *handle,
                               void **socket_context)
{
    struct connection *connection = calloc(1, sizeof *connection);

    metric_add(server->connections, 1);
    *socket_context = connection;
    if (connection == NULL) /* its requests will be refused */
        return;
    copy_address(MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr,
                 connection->client, sizeof connection->client);
    loop_watch(server->loop, &connection->watched,
               MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
}

static void on_connection(void *context, struct MHD_Connection *handle, void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct server *server = context;
    struct connection *connection = *socket_context;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_started(server, handle, socket_context);
        return;
    }
    metric_add(server->connections, -1);
    if (connection != NULL)
        loop_unwatch(server->loop, &connection->watched, connection->linger);
    free(connection);
    *socket_context = NULL;
}

static void on_hang_up(void *context, struct watched *watched)
{
    struct connection *connection = (struct connection *)watched;

    (void)context;
    if (connection->stream != NULL)
        event_stream_hang_up(connection->stream);
}

static void on_tick(void *context, int64_t now_ns)
{
    events_tick(((struct server *)context)->events, now_ns);
}

static void on_library_log(void *context, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
static void on_library_log(void *context, const char *format, va_list arguments)
{
    char text[256];

    (void)context;
    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = '\0';
    log_debug("http", "%s", text);
}

static int start_library(struct server *server, struct error *err)
{
    const struct config *config = server->config;
    const unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;

    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, exchange_handle, server,                            //
        MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL,                         //
        MHD_OPTION_LISTEN_SOCKET, server->listen_fd,                              //
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)config->connections_max,           //
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)config->request_timeout_seconds, //
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,            //
        MHD_OPTION_STRICT_FOR_CLIENT, 1,                                          //
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,                                     //
        MHD_OPTION_URI_LOG_CALLBACK, exchange_begin, server,                      //
        MHD_OPTION_NOTIFY_COMPLETED, exchange_complete, server,                   //
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,                      //
        MHD_OPTION_END);
    server->listen_fd = -1; /* the library's, also when it failed, and the loop's at the end */
    if (server->daemon == NULL)
        return error_set_errno(err, errno, "cannot start the HTTP server");
    return loop_start(server->loop, server->daemon, err);
}

static void stop_library(struct server *server)
{
    if (server->loop != NULL)
        loop_stop(server->loop);
    if (server->daemon != NULL)
        MHD_stop_daemon(server->daemon);
    loop_free(server->loop);
}

/* --- Workers */

static void *work(void *context)
{
    struct server *server = context;
    void *exchange;

    while (queue_pop(server->work, &exchange, -1) == STATUS_OK)
        exchange_run(exchange);
    return NULL;
}

static int start_workers(struct server *server, struct error *err)
{
    const size_t count = (size_t)server->config->http_threads;

    const int status = queue_create(count * QUEUE_PER_WORKER, &server->work, err);
    if (status != STATUS_OK)
        return status;
    server->workers = calloc(count, sizeof *server->workers);
    if (server->workers == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the HTTP server");
    for (size_t i = 0; i < count; i++) {
        const int reason = pthread_create(&server->workers[i], NULL, work, server);
        if (reason != 0)
            return error_set_errno(err, reason, "cannot start a thread");
        server->worker_count++;
    }
    return STATUS_OK;
}

static void join_workers(struct server *server)
{
    if (server->work != NULL)
        queue_close(server->work);
    for (int i = 0; i < server->worker_count; i++)
        pthread_join(server->workers[i], NULL);
    server->worker_count = 0;
}

/* --- Starting */

static double count_streams(void *context)
{
    return events_count(context);
}

static double count_waiting(void *context)
{
    return (double)queue_size(context);
}

static double read_bodies_size(void *context)
{
    return (double)atomic_load(&((struct server *)context)->bodies_size);
}

static int add_metrics(struct server *server, struct error *err)
{
    struct metrics *metrics = server->metrics;
    const int count = router_size(server->router);

    server->connections =
        metrics_get(metrics, METRIC_GAUGE, "ocelli_http_connections", "Open HTTP connections.", "");
    server->durations = calloc((size_t)count + 1, sizeof *server->durations);
    if (server->durations == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the HTTP server");
    for (int i = 0; i < count; i++)
        server->durations[i] =
            metrics_labelled(metrics, METRIC_HISTOGRAM, "ocelli_http_request_duration_seconds",
                             "Time from the request line to the answer, by route.", "route",
                             router_route(server->router, i)->path, NULL, NULL);
    metrics_gauge_function(metrics, "ocelli_http_event_streams", "Open event streams.", "",
                           count_streams, server->events);
    metrics_gauge_function(metrics, "ocelli_http_queue_requests", "Requests waiting for a worker.",
                           "", count_waiting, server->work);
    metrics_gauge_function(metrics, "ocelli_http_bodies_bytes",
                           "Memory of the request bodies being received.", "", read_bodies_size,
                           server);
    return STATUS_OK;
}

static void remove_metrics(struct server *server)
{
    metrics_gauge_function(server->metrics, "ocelli_http_event_streams", "", "", NULL, NULL);
    metrics_gauge_function(server->metrics, "ocelli_http_queue_requests", "", "", NULL, NULL);
    metrics_gauge_function(server->metrics, "ocelli_http_bodies_bytes", "", "", NULL, NULL);
}

/* All that needs no thread and no client yet; whatever fails, free_server undoes. */
static int set_up(struct server *server, const struct route_table *tables, int table_count,
                  struct error *err)
{
    const struct config *config = server->config;
    const struct loop_calls calls = {on_hang_up, on_tick, server};

    int status = router_create(tables, table_count, &server->router, err);
    if (status == STATUS_OK)
        status =
            access_create(config->api_key, config->rate_limit_per_minute, &server->access, err);
    if (status == STATUS_OK)
        status = loop_create(&calls, &server->loop, err);
    if (status == STATUS_OK)
        status = events_create(server->loop, &server->events, err);
    if (status == STATUS_OK)
        status = start_listening(server, err);
    return status;
}

static void free_server(struct server *server)
{
    stop_library(server);
    join_workers(server);
    remove_metrics(server);
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    events_free(server->events);
    access_free(server->access);
    router_free(server->router);
    queue_free(server->work);
    free(server->workers);
    free(server->durations);
    pthread_cond_destroy(&server->idle);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

static int create_server(const struct config *config, struct metrics *metrics, struct server **out,
                         struct error *err)
{
    struct server *server = calloc(1, sizeof *server);
    pthread_condattr_t attributes;

    if (server == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the HTTP server");
    server->config = config;
    server->metrics = metrics;
    server->listen_fd = -1;
    pthread_mutex_init(&server->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&server->idle, &attributes);
    pthread_condattr_destroy(&attributes);
    *out = server;
    return STATUS_OK;
}

int server_start(const struct config *config, struct metrics *metrics,
                 const struct route_table *tables, int table_count, struct server **out,
                 struct error *err)
{
    struct server *server = NULL;
    int status = create_server(config, metrics, &server, err);

    if (status != STATUS_OK)
        return status;
    status = set_up(server, tables, table_count, err);
    if (status == STATUS_OK)
        status = start_workers(server, err);
    if (status == STATUS_OK)
        status = add_metrics(server, err);
    if (status == STATUS_OK)
        status = start_library(server, err);
    if (status != STATUS_OK) {
        free_server(server);
        return status;
    }
    *out = server;
    return STATUS_OK;
}

int server_port(const struct server *server)
{
    return server->port;
}

/* --- Stopping */

static void wait_until_idle(struct server *server, int64_t wait_ms)
{
    struct timespec deadline;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += wait_ms / 1000;
    deadline.tv_nsec += wait_ms % 1000 * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&server->mutex);
    while (server->active > 0)
        if (pthread_cond_timedwait(&server->idle, &server->mutex, &deadline) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&server->mutex);
}

void server_stop(struct server *server, int64_t grace_ms)
{
    enum { LAST_ANSWERS_MS = 500 };

    if (server == NULL)
        return;
    atomic_store(&server->stopping, true);
    loop_stop_accepting(server->loop);
    events_close_all(server->events);
    wait_until_idle(server, grace_ms);

    /* The time is up for what has not begun and for what waits for its client; a handler that is
     * running cannot be stopped from here, so it is waited for. Once the workers are gone nothing
     * suspends a connection any more, which the library asks for before it stops. */
    atomic_store(&server->aborting, true);
    exchange_abort_all(server);
    join_workers(server);
    wait_until_idle(server, LAST_ANSWERS_MS);
    free_server(server);
}
