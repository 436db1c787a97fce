/* Requests and responses as handlers see them.
 *
 * The server (server.h) receives on a few event threads and runs handlers on a bounded pool of
 * workers, so a handler may block on the database. A request owns an arena; everything a handler
 * reads from it is valid until the handler returns. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"

struct request;
struct response;

/* --- Reading
 * ------------------------------------------------------------------------------------------------
 */

const char *request_method(const struct request *request);
const char *request_path(const struct request *request); /* decoded, without the query */
struct arena *request_arena(struct request *request);
/* A path parameter ("image_id" of /predictions/{image_id}), decoded; NULL when the route has none
 * of that name. */
const char *request_param(const struct request *request, const char *name);
/* A query parameter, decoded; NULL when absent, "" when without a value. */
const char *request_query(const struct request *request, const char *name);
/* As request_query, within low..high; *out stays when absent. STATUS_INVALID says what was given
 * and the bounds. */
int request_query_integer(const struct request *request, const char *name, int64_t low,
                          int64_t high, int64_t *out, struct error *err);
int request_query_real(const struct request *request, const char *name, double low, double high,
                       double *out, struct error *err);
const char *request_header(const struct request *request, const char *name); /* NULL when absent */
const char *request_client(const struct request *request);                   /* address in text */

/* The whole body; at most the route's body_max (the server answers 413 before the handler
 * otherwise). */
void request_body(const struct request *request, const uint8_t **bytes, size_t *size);
/* The body as one JSON value the caller json_decref()s. */
int request_json(const struct request *request, json_t **out, struct error *err);

/* One part of multipart/form-data. `bytes` belongs to the request and is valid until the next call.
 */
struct part {
    const char *name;         /* the field; never NULL */
    const char *filename;     /* as sent, without folders, maybe ""; NULL for plain fields */
    const char *content_type; /* NULL when absent */
    const uint8_t *bytes;
    size_t size;
};

/* The next part, read from the network as needed when the route streams (route.h:
 * ROUTE_STREAMS_BODY), so that memory stays that of one part. Returns 1 with a part, 0 after the
 * last, or a negative status: STATUS_TOO_LARGE for a part over part_max (`part` has its names and
 * no bytes; the rest of it is skipped and the next call goes on); all others end the reading and
 * are returned again: STATUS_CORRUPT for a broken or cut body, STATUS_UNSUPPORTED when the body is
 * not multipart/form-data, STATUS_INVALID for a bad boundary, too many parts (batch_files_max and a
 * few fields) or headers over 8 kB. */
int request_next_part(struct request *request, size_t part_max, struct part *part,
                      struct error *err);

/* --- Answering
 * ---------------------------------------------------------------------------------------------- */

/* Each sets the whole answer; the last call wins. */
void response_status(struct response *response, int http_status);             /* no body */
void response_json(struct response *response, int http_status, json_t *body); /* takes `body` */
void response_text(struct response *response, int http_status, const char *content_type,
                   const char *text);
/* Takes `bytes` (malloc'd). */
void response_bytes(struct response *response, int http_status, const char *content_type,
                    void *bytes, size_t size);
/* Bytes that outlive the server (embedded assets); `encoding` "gzip", "br" or NULL. */
void response_static(struct response *response, const char *content_type, const char *encoding,
                     const void *bytes, size_t size);
/* Content with a strong ETag (quoted here), immutable when asked for, honouring If-None-Match (304)
 * and one Range (206, 416). Takes `bytes`. */
void response_content(struct response *response, const struct request *request,
                      const char *content_type, const char *etag, bool immutable, void *bytes,
                      size_t size);
void response_header(struct response *response, const char *name, const char *value);

/* RFC 9457 application/problem+json: type "about:blank", title, status, detail = err->message,
 * instance = path. */
void response_problem(struct response *response, int http_status, const struct error *err);
/* The HTTP status for a status of ours: INVALID 400, DENIED 403, NOT_FOUND 404, EXISTS 409,
 * TOO_LARGE 413, UNSUPPORTED 415, CORRUPT 422, BUSY 503 (with Retry-After), NO_SPACE 507,
 * UNAVAILABLE 503, TIMEOUT 504, others 500. */
void response_error(struct response *response, const struct error *err);

/* --- Server-sent events
 * ------------------------------------------------------------------------------------- */

/* An open event stream. The handler turns its response into one and returns; from then on any
 * thread may send. */
struct event_stream;

/* `on_close` (optional) runs once, on an event thread, when the client is gone or the server stops;
 * after it the stream must not be used. The stream keeps at most `pending_max` bytes unsent: a
 * client slower than that is closed. A comment line is sent every 15 s of silence. */
int response_event_stream(struct response *response, size_t pending_max,
                          void (*on_close)(struct event_stream *stream, void *context),
                          void *context, struct event_stream **out, struct error *err);
/* Queues one event; `event` and `id` may be NULL; data may hold newlines. STATUS_CLOSED or
 * STATUS_BUSY (dropped). */
int event_stream_send(struct event_stream *stream, const char *event, const char *id,
                      const char *data);
void event_stream_close(struct event_stream *stream);

#endif
