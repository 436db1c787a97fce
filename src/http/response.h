/* What is behind `struct response`: the answer as the handler left it, before reply.c makes it one
 * of the HTTP library. */
#ifndef HTTP_RESPONSE_H
#define HTTP_RESPONSE_H

#include "http/http.h"

enum body_kind { BODY_NONE, BODY_OWNED, BODY_STATIC, BODY_EVENTS };

struct header {
    struct header *next;
    const char *name, *value;
};

struct response {
    struct request *request; /* whose arena holds the texts */
    struct events *events;   /* the server's streams */
    int status;              /* 0 until the handler answered */
    enum body_kind kind;
    void *bytes; /* BODY_OWNED: ours to free */
    const void *static_bytes;
    size_t size;
    struct event_stream *stream; /* BODY_EVENTS */
    struct header *headers;
};

/* Drops the answer set so far, with its body and its headers. */
void response_clear(struct response *response);
/* A header that was set, or NULL. */
const char *response_find_header(const struct response *response, const char *name);
/* Makes a 200 with an ETag header a 304 when the request names that tag in If-None-Match. */
void response_apply_conditions(struct response *response, const struct request *request);

#endif
