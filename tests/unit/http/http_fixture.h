/* A server with routes of the tests on a free port, and a client of raw sockets: what goes over the
 * wire is written out, byte for byte. */
#ifndef TEST_HTTP_FIXTURE_H
#define TEST_HTTP_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "http/server.h"

struct fixture {
    struct config *config;
    struct metrics *metrics;
    struct server *server;
};

/* `settings` are name, value, name, value, NULL. Fails the test when the server does not start. */
void fixture_start(struct fixture *fixture, const struct route *routes, void *context,
                   const char *const *settings);
void fixture_stop(struct fixture *fixture);
/* The value of a metric's line, 0 when it is not there. `line` is all before the blank. */
double fixture_metric(struct fixture *fixture, const char *line);
/* Waits up to 10 s for a metric to become this; fails the test otherwise. */
void fixture_await_metric(struct fixture *fixture, const char *line, double value);

int client_connect(const struct fixture *fixture);
/* False when the connection broke. */
bool client_send(int fd, const void *bytes, size_t size);
bool client_send_text(int fd, const char *text);

struct answer {
    int status;
    char *headers; /* with the status line, to the empty line */
    char *body;
    size_t body_size;
    bool closed; /* the server said it would close */
};

/* Reads one answer with a Content-Length, or none at all for `head`; 0, or -1 when the connection
 * ended before. */
int client_read(int fd, bool head, struct answer *answer);
void answer_free(struct answer *answer);
/* The value of a header of the answer, up to the line's end; "" when absent. A buffer a thread. */
const char *answer_header(const struct answer *answer, const char *name);

/* Connects, sends the request, reads the answer, closes. */
void exchange_once(const struct fixture *fixture, const char *request, struct answer *answer);

#endif
