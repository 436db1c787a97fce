/* Server-sent events: see http.h and events.h; the format is the HTML standard's, section 9.2.
 *
 * A stream with nothing to send has its connection suspended, so that it costs memory but no thread
 * and no polling; a sender appends to its pending bytes and resumes the connection. A suspended
 * connection does not notice that its client left; the loop does, and says so.
 *
 * Locks: the list's before a stream's, never the other way round; on_close runs without either. */
#include "http/events.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

static const int64_t silence_max_ns = 15 * (int64_t)1000000000;

struct event_stream {
    struct event_stream *next, *previous;
    struct events *events;
    void (*on_close)(struct event_stream *stream, void *context);
    void *context;
    size_t pending_max;

    pthread_mutex_t mutex; /* guards all below */
    struct buffer pending;
    size_t sent; /* of `pending` */
    int64_t last_sent_ns;
    struct MHD_Connection *connection; /* NULL until attached */
    int socket_fd;
    bool suspended;
    bool closing; /* ends when all is sent */
    bool gone;    /* ends at once */
};

struct events {
    pthread_mutex_t mutex;
    struct event_stream *first;
    int count;
    struct loop *loop;
    bool closed;
};

int events_create(struct loop *loop, struct events **out, struct error *err)
{
    struct events *events = calloc(1, sizeof *events);

    if (events == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for event streams");
    pthread_mutex_init(&events->mutex, NULL);
    events->loop = loop;
    *out = events;
    return STATUS_OK;
}

void events_free(struct events *events)
{
    if (events == NULL)
        return;
    pthread_mutex_destroy(&events->mutex);
    free(events);
}

int events_count(struct events *events)
{
    pthread_mutex_lock(&events->mutex);
    const int count = events->count;
    pthread_mutex_unlock(&events->mutex);
    return count;
}

/* --- A stream's life */

static void link_stream(struct events *events, struct event_stream *stream)
{
    stream->next = events->first;
    if (events->first != NULL)
        events->first->previous = stream;
    events->first = stream;
    events->count++;
}

static void unlink_stream(struct events *events, struct event_stream *stream)
{
    if (stream->previous != NULL)
        stream->previous->next = stream->next;
    else
        events->first = stream->next;
    if (stream->next != NULL)
        stream->next->previous = stream->previous;
    events->count--;
}

int event_stream_create(struct events *events, size_t pending_max,
                        void (*on_close)(struct event_stream *stream, void *context), void *context,
                        struct event_stream **out, struct error *err)
{
    struct event_stream *stream = calloc(1, sizeof *stream);

    if (stream == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for an event stream");
    stream->events = events;
    stream->on_close = on_close;
    stream->context = context;
    stream->pending_max = pending_max;
    stream->socket_fd = -1;
    stream->last_sent_ns = clock_monotonic_ns();
    pthread_mutex_init(&stream->mutex, NULL);

    pthread_mutex_lock(&events->mutex);
    const bool closed = events->closed;
    if (!closed)
        link_stream(events, stream);
    pthread_mutex_unlock(&events->mutex);
    if (closed) {
        pthread_mutex_destroy(&stream->mutex);
        free(stream);
        return error_set(err, STATUS_CLOSED, "the server is shutting down");
    }
    *out = stream;
    return STATUS_OK;
}

void event_stream_attach(struct event_stream *stream, struct MHD_Connection *connection,
                         int socket_fd)
{
    pthread_mutex_lock(&stream->mutex);
    stream->connection = connection;
    stream->socket_fd = socket_fd;
    pthread_mutex_unlock(&stream->mutex);
}

void event_stream_finish(struct event_stream *stream)
{
    struct events *events = stream->events;

    pthread_mutex_lock(&events->mutex);
    unlink_stream(events, stream);
    pthread_mutex_unlock(&events->mutex);
    /* From here on only senders that on_close has not reached yet can know the stream. */
    pthread_mutex_lock(&stream->mutex);
    stream->gone = true;
    stream->socket_fd = -1;
    stream->suspended = false;
    pthread_mutex_unlock(&stream->mutex);

    if (stream->on_close != NULL)
        stream->on_close(stream, stream->context);
    pthread_mutex_destroy(&stream->mutex);
    buffer_free(&stream->pending);
    free(stream);
}

/* --- With the stream's lock held */

static void wake(struct event_stream *stream)
{
    if (!stream->suspended)
        return;
    stream->suspended = false;
    loop_resume(stream->events->loop, stream->connection);
}

/* A connection that waits for room in the socket would not look at `gone` until the client reads.
 */
static void drop(struct event_stream *stream)
{
    stream->gone = true;
    if (!stream->suspended && stream->socket_fd >= 0)
        shutdown(stream->socket_fd, SHUT_RDWR);
    wake(stream);
}

static void compact(struct event_stream *stream)
{
    struct buffer *pending = &stream->pending;

    if (stream->sent == 0 || stream->sent < pending->size / 2)
        return;
    memmove(pending->data, pending->data + stream->sent, pending->size - stream->sent);
    pending->size -= stream->sent;
    stream->sent = 0;
}

/* One field; every line of the value on a line of its own. */
static void append_field(struct buffer *out, const char *name, const char *value, bool one_line)
{
    for (;;) {
        const size_t length = strcspn(value, "\r\n");
        buffer_print(out, "%s: ", name);
        buffer_append(out, value, length);
        buffer_append(out, "\n", 1);
        if (one_line || value[length] == '\0')
            return;
        value += length + (value[length] == '\r' && value[length + 1] == '\n' ? 2 : 1);
    }
}

/* --- For senders */

int event_stream_send(struct event_stream *stream, const char *event, const char *id,
                      const char *data)
{
    int status = STATUS_OK;

    pthread_mutex_lock(&stream->mutex);
    if (stream->gone || stream->closing) {
        status = STATUS_CLOSED;
        goto done;
    }
    compact(stream);
    if (id != NULL)
        append_field(&stream->pending, "id", id, true);
    if (event != NULL)
        append_field(&stream->pending, "event", event, true);
    append_field(&stream->pending, "data", data, false);
    buffer_append(&stream->pending, "\n", 1);
    if (!buffer_ok(&stream->pending) || stream->pending.size - stream->sent > stream->pending_max) {
        status = STATUS_BUSY;
        drop(stream);
    } else {
        wake(stream);
    }
done:
    pthread_mutex_unlock(&stream->mutex);
    return status;
}

void event_stream_close(struct event_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    stream->closing = true;
    wake(stream);
    pthread_mutex_unlock(&stream->mutex);
}

/* --- For the event thread */

ssize_t event_stream_read(void *context, uint64_t position, char *bytes, size_t size_max)
{
    struct event_stream *stream = context;
    ssize_t result = 0;

    (void)position;
    pthread_mutex_lock(&stream->mutex);
    const size_t waiting = stream->pending.size - stream->sent;
    if (stream->gone) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (waiting > 0) {
        const size_t size = waiting < size_max ? waiting : size_max;
        memcpy(bytes, stream->pending.data + stream->sent, size);
        stream->sent += size;
        stream->last_sent_ns = clock_monotonic_ns();
        result = (ssize_t)size;
        if (size == waiting) { /* thousands of idle streams must not keep their largest burst */
            buffer_free(&stream->pending);
            stream->sent = 0;
        }
    } else if (stream->closing) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        stream->suspended = true;
        MHD_suspend_connection(stream->connection);
    }
    pthread_mutex_unlock(&stream->mutex);
    return result;
}

void event_stream_hang_up(struct event_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    drop(stream);
    pthread_mutex_unlock(&stream->mutex);
}

/* --- For the server */

void events_tick(struct events *events, int64_t now_ns)
{
    pthread_mutex_lock(&events->mutex);
    for (struct event_stream *stream = events->first; stream != NULL; stream = stream->next) {
        pthread_mutex_lock(&stream->mutex);
        if (stream->suspended && now_ns - stream->last_sent_ns >= silence_max_ns) {
            buffer_text(&stream->pending, ":\n\n");
            wake(stream);
        }
        pthread_mutex_unlock(&stream->mutex);
    }
    pthread_mutex_unlock(&events->mutex);
}

void events_close_all(struct events *events)
{
    pthread_mutex_lock(&events->mutex);
    events->closed = true;
    for (struct event_stream *stream = events->first; stream != NULL; stream = stream->next)
        event_stream_close(stream);
    pthread_mutex_unlock(&events->mutex);
}
