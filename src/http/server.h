/* The HTTP server: listeners, event threads, workers, limits, access by key, and what every answer
 * carries. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "base/config.h"
#include "base/metrics.h"
#include "http/route.h"

struct server;

/* Binds and starts to serve. Refuses a non-loopback address without an API key unless
 * insecure_listen is set (STATUS_DENIED). The tables, config and metrics must outlive the server.
 * Metrics: ocelli_http_requests_total {route,method,status},
 * ocelli_http_request_duration_seconds{route}, ocelli_http_refused_total{reason},
 * ocelli_http_connections. */
int server_start(const struct config *config, struct metrics *metrics,
                 const struct route_table *tables, int table_count, struct server **out,
                 struct error *err);
int server_port(const struct server *server); /* the real one when port 0 was asked for */
/* Stops accepting, lets running requests finish for at most `grace_ms`, closes event streams,
 * joins, frees. */
void server_stop(struct server *server, int64_t grace_ms);

#endif
