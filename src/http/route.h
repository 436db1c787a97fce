/* The one table of routes: it serves the router, OpenAPI, the docs page, the metrics' labels and
 * the tests. */
#ifndef HTTP_ROUTE_H
#define HTTP_ROUTE_H

#include "http/http.h"

typedef void (*route_handler)(struct request *request, struct response *response, void *context);

enum route_flags {
    ROUTE_STREAMS_BODY = 1, /* the handler pulls parts; of a large body while it is received */
    ROUTE_OPEN = 2,         /* needs no key: probes, assets */
    ROUTE_HIDDEN = 4,       /* not in OpenAPI */
};

enum route_scope { SCOPE_READ, SCOPE_WRITE, SCOPE_ADMIN };

/* One parameter of a path or query, or one field of a multipart body. */
struct route_parameter {
    const char *name;
    const char *in;     /* "path", "query", "header" or "form" */
    const char *schema; /* JSON Schema as text: "{\"type\":\"integer\",\"minimum\":1}" */
    bool required;
    const char *help;
};

/* One possible answer. */
struct route_answer {
    int status;
    const char *content_type; /* NULL for no body */
    const char *schema;       /* JSON Schema as text, or "#/components/schemas/Name" */
    const char *help;
};

struct route {
    const char
        *method; /* "GET", ... ; HEAD and OPTIONS are answered by the server from GET's rows */
    const char
        *path; /* "/predictions/{image_id}"; a last segment "{rest...}" takes all that follows */
    route_handler handler;
    enum route_scope scope;
    unsigned flags;
    size_t body_max;                          /* bytes; 0 refuses any body */
    const char *tag;                          /* groups operations on the docs page */
    const char *summary;                      /* one line */
    const char *body_schema;                  /* JSON body; NULL for none or multipart */
    const struct route_parameter *parameters; /* ended by a NULL name; NULL for none */
    const struct route_answer *answers;       /* ended by status 0 */
};

/* A face's routes with their handlers' context. Static segments win over parameters. */
struct route_table {
    const struct route *routes; /* ended by a NULL method */
    void *context;
};

/* The OpenAPI 3.1 document of the tables; `components` is the JSON text of components.schemas. The
 * caller json_decref()s. */
int openapi_document(const struct route_table *tables, int table_count, const char *components,
                     const char *version, json_t **out, struct error *err);

#endif
