/* The event streams of a server: the part of them that the server drives. What handlers and senders
 * see is in http.h. */
#ifndef HTTP_EVENTS_H
#define HTTP_EVENTS_H

#include <microhttpd.h>
#include <stdint.h>

#include "http/http.h"
#include "http/loop.h"

struct events;

/* `loop` resumes the streams' connections. */
int events_create(struct loop *loop, struct events **out, struct error *err);
void events_free(struct events *events); /* all streams must be finished */
int events_count(struct events *events);

/* STATUS_CLOSED once events_close_all was called. */
int event_stream_create(struct events *events, size_t pending_max,
                        void (*on_close)(struct event_stream *stream, void *context), void *context,
                        struct event_stream **out, struct error *err);
/* Tells the stream its connection, just before its response is queued. */
void event_stream_attach(struct event_stream *stream, struct MHD_Connection *connection,
                         int socket_fd);
/* The content reader of its response. */
ssize_t event_stream_read(void *stream, uint64_t position, char *bytes, size_t size_max);
/* Its connection is done with it: runs on_close and frees it. */
void event_stream_finish(struct event_stream *stream);

/* Its client is gone: the connection is to end. */
void event_stream_hang_up(struct event_stream *stream);

/* Sends a comment on every stream silent for 15 s. */
void events_tick(struct events *events, int64_t now_ns);
/* No more streams; those there are end once they have sent what is pending. */
void events_close_all(struct events *events);

#endif
