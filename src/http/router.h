/* The router: finds the row of the route tables that answers a method and a path. */
#ifndef HTTP_ROUTER_H
#define HTTP_ROUTER_H

#include "base/arena.h"
#include "http/route.h"
#include "http/uri.h"

enum { ROUTE_PARAMETERS_MAX = 8 };

struct router;

/* What was found; `params` are in the request's arena. */
struct route_match {
    const struct route *route;
    void *context; /* the table's */
    int number; /* 0 .. router_size-1: the row over all tables, for those who keep a record each */
    struct pair params[ROUTE_PARAMETERS_MAX];
    int param_count;
    const char
        *allow; /* every method of the path, "GET, HEAD, OPTIONS"; set when the path exists */
};

/* The tables must outlive the router. STATUS_EXISTS for two rows of the same method and path,
 * STATUS_INVALID for a path that is none. */
int router_create(const struct route_table *tables, int table_count, struct router **out,
                  struct error *err);
void router_free(struct router *router);
int router_size(const struct router *router);
/* The row of a number. */
const struct route *router_route(const struct router *router, int number);

/* STATUS_NOT_FOUND for a path nobody has, STATUS_UNSUPPORTED (with match->allow) for a path without
 * this method. HEAD finds GET's rows. Thread-safe. */
int router_find(const struct router *router, struct arena *arena, const char *method,
                const struct uri *uri, struct route_match *match, struct error *err);

#endif
