/* The pipe for bodies: see body_pipe.h. */
#include "http/body_pipe.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct body_pipe {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    void (*release)(void *context);
    void *context;
    bool held;  /* the writer waits to be released */
    bool ended; /* with `status` and `why` */
    enum status status;
    const char *why;
    size_t capacity, head, count;
    uint8_t bytes[];
};

int body_pipe_create(size_t capacity, void (*release)(void *context), void *context,
                     struct body_pipe **out, struct error *err)
{
    struct body_pipe *pipe = malloc(sizeof *pipe + capacity);

    if (pipe == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to receive a body");
    *pipe = (struct body_pipe){
        .release = release, .context = context, .held = true, .capacity = capacity};
    pthread_mutex_init(&pipe->mutex, NULL);
    pthread_cond_init(&pipe->changed, NULL);
    *out = pipe;
    return STATUS_OK;
}

void body_pipe_free(struct body_pipe *pipe)
{
    if (pipe == NULL)
        return;
    pthread_cond_destroy(&pipe->changed);
    pthread_mutex_destroy(&pipe->mutex);
    free(pipe);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t body_pipe_write(struct body_pipe *pipe, const void *bytes, size_t size)
{
    pthread_mutex_lock(&pipe->mutex);
    const size_t taken = least(size, pipe->capacity - pipe->count);
    const size_t tail = (pipe->head + pipe->count) % pipe->capacity;
    const size_t first = least(taken, pipe->capacity - tail);
    memcpy(pipe->bytes + tail, bytes, first);
    memcpy(pipe->bytes, (const uint8_t *)bytes + first, taken - first);
    pipe->count += taken;
    if (taken < size)
        pipe->held = true;
    if (taken > 0)
        pthread_cond_signal(&pipe->changed);
    pthread_mutex_unlock(&pipe->mutex);
    return taken;
}

void body_pipe_break(struct body_pipe *pipe, enum status status, const char *why)
{
    pthread_mutex_lock(&pipe->mutex);
    if (!pipe->ended) {
        pipe->ended = true;
        pipe->status = status;
        pipe->why = why;
        pthread_cond_signal(&pipe->changed);
    }
    pthread_mutex_unlock(&pipe->mutex);
}

void body_pipe_end(struct body_pipe *pipe)
{
    body_pipe_break(pipe, STATUS_OK, "");
}

/* Called with the lock, which it gives up for the call. Half of the ring must be free, or a writer
 * would be released for every few bytes. */
static void release_writer(struct body_pipe *pipe)
{
    if (!pipe->held || pipe->count > pipe->capacity / 2)
        return;
    pipe->held = false;
    pthread_mutex_unlock(&pipe->mutex);
    pipe->release(pipe->context);
    pthread_mutex_lock(&pipe->mutex);
}

int body_pipe_peek(struct body_pipe *pipe, const uint8_t **bytes, size_t *size, struct error *err)
{
    int result = 1;

    pthread_mutex_lock(&pipe->mutex);
    release_writer(pipe);
    while (pipe->count == 0 && !pipe->ended)
        pthread_cond_wait(&pipe->changed, &pipe->mutex);
    if (pipe->ended && pipe->status != STATUS_OK) {
        result = error_set(err, pipe->status, "%s", pipe->why);
    } else if (pipe->count == 0) {
        result = 0;
    } else {
        *bytes = pipe->bytes + pipe->head;
        *size = least(pipe->count, pipe->capacity - pipe->head);
    }
    pthread_mutex_unlock(&pipe->mutex);
    return result;
}

void body_pipe_consume(struct body_pipe *pipe, size_t size)
{
    pthread_mutex_lock(&pipe->mutex);
    pipe->head = (pipe->head + size) % pipe->capacity;
    pipe->count -= size;
    release_writer(pipe);
    pthread_mutex_unlock(&pipe->mutex);
}
