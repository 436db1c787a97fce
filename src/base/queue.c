/* A bounded queue between threads: see queue.h. One mutex, one ring, and a condition for each side;
 * waits are on the monotonic clock, so a step of the wall clock neither shortens nor prolongs them.
 */
#include "base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t has_item, has_room;
    size_t capacity, head, count;
    bool closed;
    void *items[];
};

static int condition_create(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    int failed = pthread_condattr_init(&attributes);
    if (failed)
        return failed;
    failed = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (!failed)
        failed = pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
    return failed;
}

int queue_create(size_t capacity, struct queue **out, struct error *err)
{
    struct queue *queue = NULL;

    if (capacity == 0 || capacity > (SIZE_MAX - sizeof *queue) / sizeof queue->items[0])
        return error_set(err, STATUS_INVALID, "a queue cannot hold %zu items", capacity);
    queue = calloc(1, sizeof *queue + capacity * sizeof queue->items[0]);
    if (queue == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a queue of %zu items", capacity);
    queue->capacity = capacity;
    if (pthread_mutex_init(&queue->mutex, NULL) != 0)
        goto no_mutex;
    if (condition_create(&queue->has_item) != 0)
        goto no_item;
    if (condition_create(&queue->has_room) != 0)
        goto no_room;
    *out = queue;
    return STATUS_OK;
no_room:
    pthread_cond_destroy(&queue->has_item);
no_item:
    pthread_mutex_destroy(&queue->mutex);
no_mutex:
    free(queue);
    return error_set(err, STATUS_NO_MEMORY, "no resources for a queue's locks");
}

void queue_free(struct queue *queue)
{
    if (queue == NULL)
        return;
    pthread_cond_destroy(&queue->has_room);
    pthread_cond_destroy(&queue->has_item);
    pthread_mutex_destroy(&queue->mutex);
    free(queue);
}

static struct timespec deadline_after(int64_t timeout_ms)
{
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += timeout_ms / 1000;
    deadline.tv_nsec += timeout_ms % 1000 * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    return deadline;
}

/* One wait for `condition`; false when the time is up. */
static bool wait_once(struct queue *queue, pthread_cond_t *condition, int64_t timeout_ms,
                      const struct timespec *deadline)
{
    if (timeout_ms == 0)
        return false;
    if (timeout_ms < 0)
        return pthread_cond_wait(condition, &queue->mutex) == 0;
    return pthread_cond_timedwait(condition, &queue->mutex, deadline) != ETIMEDOUT;
}

int queue_push(struct queue *queue, void *item, int64_t timeout_ms)
{
    struct timespec deadline = {0};
    int status = STATUS_OK;

    if (timeout_ms > 0)
        deadline = deadline_after(timeout_ms);
    pthread_mutex_lock(&queue->mutex);
    while (!queue->closed && queue->count == queue->capacity)
        if (!wait_once(queue, &queue->has_room, timeout_ms, &deadline))
            break;
    if (queue->closed) {
        status = STATUS_CLOSED;
    } else if (queue->count == queue->capacity) {
        status = STATUS_BUSY;
    } else {
        queue->items[(queue->head + queue->count++) % queue->capacity] = item;
        pthread_cond_signal(&queue->has_item);
    }
    pthread_mutex_unlock(&queue->mutex);
    return status;
}

int queue_pop(struct queue *queue, void **item, int64_t timeout_ms)
{
    struct timespec deadline = {0};
    int status = STATUS_OK;

    if (timeout_ms > 0)
        deadline = deadline_after(timeout_ms);
    pthread_mutex_lock(&queue->mutex);
    while (!queue->closed && queue->count == 0)
        if (!wait_once(queue, &queue->has_item, timeout_ms, &deadline))
            break;
    if (queue->count > 0) {
        *item = queue->items[queue->head];
        queue->head = (queue->head + 1) % queue->capacity;
        queue->count--;
        pthread_cond_signal(&queue->has_room);
    } else {
        status = queue->closed ? STATUS_CLOSED : STATUS_TIMEOUT;
    }
    pthread_mutex_unlock(&queue->mutex);
    return status;
}

void queue_close(struct queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    queue->closed = true;
    pthread_cond_broadcast(&queue->has_item);
    pthread_cond_broadcast(&queue->has_room);
    pthread_mutex_unlock(&queue->mutex);
}

size_t queue_size(struct queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    const size_t count = queue->count;
    pthread_mutex_unlock(&queue->mutex);
    return count;
}
