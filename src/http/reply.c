/* From the handler's answer to the HTTP library's response, with what every answer carries. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/server_state.h"

enum { EVENTS_BLOCK_SIZE = 4096 };

static struct MHD_Response *make_body(struct response *response)
{
    struct MHD_Response *reply = NULL;

    switch (response->kind) {
    case BODY_NONE:
        return MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    case BODY_STATIC:
        return MHD_create_response_from_buffer(response->size, (void *)response->static_bytes,
                                               MHD_RESPMEM_PERSISTENT);
    case BODY_OWNED:
        reply = MHD_create_response_from_buffer_with_free_callback(response->size, response->bytes,
                                                                   free);
        if (reply != NULL)
            response->kind = BODY_NONE; /* the bytes are the reply's now */
        return reply;
    case BODY_EVENTS:
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EVENTS_BLOCK_SIZE,
                                                 event_stream_read, response->stream, NULL);
    }
    return reply;
}

static bool is_json(const char *content_type)
{
    return content_type != NULL && (strncasecmp(content_type, "application/json", 16) == 0 ||
                                    strncasecmp(content_type, "application/problem+json", 24) == 0);
}

/* Answers of JSON are of this moment, and so are events; whoever knows better says so. */
static void add_defaults(struct response *response, const char *request_id, bool close_after)
{
    response_header(response, "X-Request-Id", request_id);
    response_header(response, "X-Content-Type-Options", "nosniff");
    if (response_find_header(response, "Cache-Control") == NULL &&
        (response->kind == BODY_EVENTS || is_json(response_find_header(response, "Content-Type"))))
        response_header(response, "Cache-Control", "no-store");
    if (close_after)
        response_header(response, "Connection", "close");
}

struct MHD_Response *reply_build(struct response *response, const struct request *request,
                                 const char *request_id, bool close_after)
{
    response_apply_conditions(response, request);
    add_defaults(response, request_id, close_after);
    struct MHD_Response *reply = make_body(response);
    if (reply == NULL)
        return NULL;
    for (const struct header *header = response->headers; header != NULL; header = header->next)
        MHD_add_response_header(reply, header->name, header->value);
    return reply;
}
