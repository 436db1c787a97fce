/* The router: see router.h. A tree with a level a segment; below a node are its static children, at
 * most one child for any parameter, and at most one for a rest. The search tries them in that order
 * and steps back where a branch ends without an answer, so "/images/recent" wins over
 * "/images/{id}" and "/images/{id}/label" is still found for the image "recent". */
#include "http/router.h"

#include <stdlib.h>
#include <string.h>

struct endpoint {
    struct endpoint *next;
    const struct route *route;
    void *context;
    int number;
};

struct node {
    struct node *next; /* among its parent's static children */
    struct node *statics, *parameter, *rest;
    struct endpoint *endpoints;
    char text[]; /* a static segment */
};

struct router {
    struct node *root;
    const struct route **routes; /* by number */
    int count, capacity;
};

/* --- Building */

static struct node *make_node(const char *text, size_t length)
{
    struct node *node = calloc(1, sizeof *node + length + 1);
    if (node != NULL)
        memcpy(node->text, text, length);
    return node;
}

static void free_node(struct node *node)
{
    if (node == NULL)
        return;
    for (struct node *child = node->statics, *next; child != NULL; child = next) {
        next = child->next;
        free_node(child);
    }
    free_node(node->parameter);
    free_node(node->rest);
    for (struct endpoint *endpoint = node->endpoints, *next; endpoint != NULL; endpoint = next) {
        next = endpoint->next;
        free(endpoint);
    }
    free(node);
}

static bool is_parameter(const char *segment, size_t length)
{
    return length > 2 && segment[0] == '{' && segment[length - 1] == '}';
}

static bool is_rest(const char *segment, size_t length)
{
    return length > 5 && is_parameter(segment, length) &&
           memcmp(segment + length - 4, "...}", 4) == 0;
}

/* The place where the child for this segment of a route's path is, or is to be. */
static struct node **find_child(struct node *parent, const char *segment, size_t length)
{
    if (is_rest(segment, length))
        return &parent->rest;
    if (is_parameter(segment, length))
        return &parent->parameter;
    struct node **at = &parent->statics;
    while (*at != NULL &&
           (strlen((*at)->text) != length || memcmp((*at)->text, segment, length) != 0))
        at = &(*at)->next;
    return at;
}

static int find_or_make_leaf(struct router *router, const struct route *route, struct node **out,
                             struct error *err)
{
    struct node *node = router->root;
    int parameters = 0;
    const char *at = route->path;

    if (*at != '/')
        return error_set(err, STATUS_INVALID, "the route '%s' does not begin with '/'", at);
    while (*at == '/') {
        const char *segment = at + 1;
        const size_t length = strcspn(segment, "/");
        at = segment + length;
        parameters += is_parameter(segment, length);
        if (parameters > ROUTE_PARAMETERS_MAX || (is_rest(segment, length) && *at != '\0'))
            return error_set(err, STATUS_INVALID,
                             "the route '%s' has too many parameters or more after its rest",
                             route->path);
        struct node **child = find_child(node, segment, length);
        if (*child == NULL)
            *child = make_node(segment, length);
        if (*child == NULL)
            return error_set(err, STATUS_NO_MEMORY, "no memory for the routes");
        node = *child;
    }
    *out = node;
    return STATUS_OK;
}

static int remember_route(struct router *router, const struct route *route, struct error *err)
{
    if (router->count == router->capacity) {
        const int capacity = router->capacity == 0 ? 64 : router->capacity * 2;
        const struct route **routes = realloc(router->routes, (size_t)capacity * sizeof *routes);
        if (routes == NULL)
            return error_set(err, STATUS_NO_MEMORY, "no memory for the routes");
        router->routes = routes;
        router->capacity = capacity;
    }
    router->routes[router->count++] = route;
    return STATUS_OK;
}

static int add_route(struct router *router, const struct route *route, void *context,
                     struct error *err)
{
    struct node *leaf = NULL;
    int status = find_or_make_leaf(router, route, &leaf, err);

    if (status != STATUS_OK)
        return status;
    for (const struct endpoint *other = leaf->endpoints; other != NULL; other = other->next)
        if (strcmp(other->route->method, route->method) == 0)
            return error_set(err, STATUS_EXISTS, "the route %s %s is there twice", route->method,
                             route->path);
    struct endpoint *endpoint = calloc(1, sizeof *endpoint);
    if (endpoint == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the routes");
    *endpoint = (struct endpoint){
        .next = leaf->endpoints, .route = route, .context = context, .number = router->count};
    leaf->endpoints = endpoint;
    return remember_route(router, route, err);
}

int router_create(const struct route_table *tables, int table_count, struct router **out,
                  struct error *err)
{
    struct router *router = calloc(1, sizeof *router);
    int status = STATUS_OK;

    if (router != NULL)
        router->root = make_node("", 0);
    if (router == NULL || router->root == NULL) {
        free(router);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the routes");
    }
    for (int i = 0; i < table_count; i++)
        for (const struct route *route = tables[i].routes;
             status == STATUS_OK && route->method != NULL; route++)
            status = add_route(router, route, tables[i].context, err);
    if (status != STATUS_OK) {
        router_free(router);
        return status;
    }
    *out = router;
    return STATUS_OK;
}

void router_free(struct router *router)
{
    if (router == NULL)
        return;
    free_node(router->root);
    free(router->routes);
    free(router);
}

int router_size(const struct router *router)
{
    return router->count;
}

const struct route *router_route(const struct router *router, int number)
{
    return router->routes[number];
}

/* --- Finding */

static const char *const known_methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
enum { KNOWN_METHODS = sizeof known_methods / sizeof known_methods[0] };

struct search {
    const struct uri *uri;
    const char *method; /* GET for HEAD */
    const struct endpoint *found;
    unsigned allowed; /* bits of known_methods seen at any node the path leads to */
};

static unsigned method_bit(const char *method)
{
    for (unsigned i = 0; i < KNOWN_METHODS; i++)
        if (strcmp(method, known_methods[i]) == 0)
            return 1u << i;
    return 0;
}

static bool search_endpoints(struct search *search, const struct node *node)
{
    for (const struct endpoint *endpoint = node->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        search->allowed |= method_bit(endpoint->route->method);
        if (search->found == NULL && strcmp(endpoint->route->method, search->method) == 0)
            search->found = endpoint;
    }
    return search->found != NULL;
}

/* Recursion is as deep as the tree, which the tables bound. */
static bool search_below(struct search *search, const struct node *node, int depth)
{
    if (depth == search->uri->segment_count)
        return search_endpoints(search, node);

    const char *segment = search->uri->segments[depth];
    for (const struct node *child = node->statics; child != NULL; child = child->next)
        if (strcmp(child->text, segment) == 0 && search_below(search, child, depth + 1))
            return true;
    if (node->parameter != NULL && *segment != '\0' &&
        search_below(search, node->parameter, depth + 1))
        return true;
    return node->rest != NULL && search_endpoints(search, node->rest);
}

static const char *join_rest(struct arena *arena, const struct uri *uri, int first)
{
    size_t length = 0;
    for (int i = first; i < uri->segment_count; i++)
        length += strlen(uri->segments[i]) + 1;
    char *text = arena_alloc(arena, length + 1);
    if (text == NULL)
        return NULL;
    char *at = text;
    for (int i = first; i < uri->segment_count; i++) {
        const size_t segment_length = strlen(uri->segments[i]);
        if (i > first)
            *at++ = '/';
        memcpy(at, uri->segments[i], segment_length);
        at += segment_length;
    }
    return text;
}

/* Walks the route's own path beside the request's, so that each route names its parameters. */
static int bind_parameters(struct arena *arena, const struct uri *uri, struct route_match *match,
                           struct error *err)
{
    const char *at = match->route->path;

    for (int depth = 0; *at == '/'; depth++) {
        const char *segment = at + 1;
        const size_t length = strcspn(segment, "/");
        at = segment + length;
        if (!is_parameter(segment, length))
            continue;
        const bool rest = is_rest(segment, length);
        struct pair *pair = &match->params[match->param_count++];
        pair->name = arena_copy_text(arena, segment + 1, length - (rest ? 5 : 2));
        pair->value = rest ? join_rest(arena, uri, depth) : uri->segments[depth];
        if (pair->name == NULL || pair->value == NULL)
            return error_set(err, STATUS_NO_MEMORY, "no memory for the request's parameters");
    }
    return STATUS_OK;
}

static const char *list_methods(struct arena *arena, unsigned allowed)
{
    const char *text = "";

    if (allowed & method_bit("GET"))
        allowed |= method_bit("HEAD");
    for (unsigned i = 0; i < KNOWN_METHODS && text != NULL; i++)
        if (allowed & 1u << i)
            text = arena_print(arena, "%s%s, ", text, known_methods[i]);
    return text == NULL ? "OPTIONS" : arena_print(arena, "%sOPTIONS", text);
}

int router_find(const struct router *router, struct arena *arena, const char *method,
                const struct uri *uri, struct route_match *match, struct error *err)
{
    struct search search = {.uri = uri, .method = strcmp(method, "HEAD") == 0 ? "GET" : method};

    *match = (struct route_match){.number = -1};
    search_below(&search, router->root, 0);
    if (search.found == NULL && search.allowed == 0)
        return error_set(err, STATUS_NOT_FOUND, "there is nothing at '%.200s'", uri->path);
    if (search.found == NULL) {
        match->allow = list_methods(arena, search.allowed);
        return error_set(err, STATUS_UNSUPPORTED, "'%.200s' takes %s, not %.32s", uri->path,
                         match->allow != NULL ? match->allow : "other methods", method);
    }
    match->route = search.found->route;
    match->context = search.found->context;
    match->number = search.found->number;
    return bind_parameters(arena, uri, match, err);
}
