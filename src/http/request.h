/* What is behind `struct request`: everything a handler reads, copied out of the connection before
 * the handler starts, so that handlers and event threads share nothing but the body's pipe. */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "http/body_pipe.h"
#include "http/http.h"
#include "http/uri.h"

struct parts;

struct request {
    struct arena arena; /* holds all texts below */
    const char *method;
    const char *client;
    struct uri uri;
    struct pair *headers;
    int header_count;
    const struct pair *params; /* of the path */
    int param_count;
    uint8_t *body; /* owned; NULL while empty */
    size_t body_size;
    struct body_pipe *pipe; /* owned; NULL unless the route streams and there is a body */
    struct parts *parts;    /* owned; while a multipart body is being read */
    int part_count_max;
};

/* Frees what the request owns, not itself. */
void request_free(struct request *request);

/* parts.c */
void parts_free(struct parts *parts);

#endif
