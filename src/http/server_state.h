/* What the files of the server share: server.c starts and stops it, exchange.c takes one request
 * through it, reply.c makes the library's response. */
#ifndef HTTP_SERVER_STATE_H
#define HTTP_SERVER_STATE_H

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/queue.h"
#include "http/access.h"
#include "http/events.h"
#include "http/loop.h"
#include "http/request.h"
#include "http/response.h"
#include "http/router.h"
#include "http/server.h"

struct server {
    const struct config *config;
    struct metrics *metrics;
    struct metric *connections;
    struct metric **durations; /* by the route's number */
    struct router *router;
    struct access *access;
    struct events *events;
    struct queue *work; /* of struct exchange */
    struct MHD_Daemon *daemon;
    struct loop *loop;
    int listen_fd, port; /* listen_fd is -1 once the daemon has it */
    pthread_t *workers;
    int worker_count;
    atomic_size_t bodies_size; /* bytes of all bodies held in memory */
    atomic_int streaming;      /* handlers that read their body while it arrives */
    atomic_bool stopping;      /* connections close after their answer */
    atomic_bool aborting;      /* what has not begun is refused */

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t idle;   /* active became 0 */
    int active;            /* exchanges on a connection */
    struct exchange *exchanges;
};

/* What the server keeps of a connection. */
struct connection {
    struct watched watched; /* first, so that it is this struct's address */
    char client[INET6_ADDRSTRLEN];
    struct event_stream *stream; /* while its answer is one */
    bool linger;                 /* it was answered before its request was read */
};

/* --- exchange.c: what the HTTP library calls; `server` is its context */

void *exchange_begin(void *server, const char *uri, struct MHD_Connection *connection);
enum MHD_Result exchange_handle(void *server, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *upload_size, void **exchange);
void exchange_complete(void *server, struct MHD_Connection *connection, void **exchange,
                       enum MHD_RequestTerminationCode reason);

/* Runs the handler of an exchange taken from server->work, on a worker. */
void exchange_run(struct exchange *exchange);
/* Makes handlers that wait for a body give up. */
void exchange_abort_all(struct server *server);

/* --- reply.c */

/* Makes the response ready to be queued, taking its body over. NULL without memory. */
struct MHD_Response *reply_build(struct response *response, const struct request *request,
                                 const char *request_id, bool close_after);

#endif
