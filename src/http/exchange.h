/* What is behind `struct exchange`, for the two files that make it: exchange.c and admission.c. */
#ifndef HTTP_EXCHANGE_H
#define HTTP_EXCHANGE_H

#include "http/server_state.h"

enum { REQUEST_ID_MAX = 128 };

enum stage {
    STAGE_HEADERS, /* the first call of the library is still to come */
    STAGE_HELD,    /* the handler decides whether the body is read */
    STAGE_BODY,
    STAGE_COMPLETE
};

enum suspension { RUNNING, WAITING_FOR_ROOM, WAITING_FOR_ANSWER };

struct exchange {
    struct request request;
    struct response response;
    struct server *server;
    struct exchange *next, *previous; /* of the server's */
    struct connection *client;
    struct MHD_Connection *connection;
    struct route_match match;
    const char *target; /* as sent */
    char id[REQUEST_ID_MAX + 1];
    int64_t started_ns;
    atomic_int holders;

    /* The event thread's own */
    enum stage stage;
    bool has_body;
    int64_t body_length; /* as declared; -1 when not */
    size_t received, body_capacity;
    bool queued; /* the answer is with the library */

    pthread_mutex_t mutex; /* guards all below */
    enum suspension suspension;
    bool overrun;  /* the body was longer than the route allows */
    bool answered; /* `reply` and the response's status are final */
    struct MHD_Response *reply;
};

/* Makes the response final and ready to be queued. Once a handler has the exchange, under the lock.
 */
void exchange_settle(struct exchange *exchange);
/* The server's own answer, on the event thread, before any handler has the exchange. `reason`
 * counts it among the refused; NULL for an answer that is not worth it. */
void exchange_refuse(struct exchange *exchange, int http_status, const struct error *err,
                     const char *reason);

/* Copies what the request's headers say into the exchange. False without memory. */
bool exchange_read_headers(struct exchange *exchange, const char *method);
/* Whether the handler may have it; if not, the answer is set. */
bool exchange_admit(struct exchange *exchange);

#endif
