/* A bounded queue of pointers between threads: many producers, many consumers, first in first out.
 */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct queue;

int queue_create(size_t capacity, struct queue **out, struct error *err);
/* Nobody may be using it; items left are not freed. */
void queue_free(struct queue *queue);

/* Waits up to timeout_ms (0: not at all, -1: for ever) for a place. STATUS_BUSY when full,
 * STATUS_CLOSED when closed; the item then stays the caller's. */
int queue_push(struct queue *queue, void *item, int64_t timeout_ms);
/* Waits likewise for an item. STATUS_TIMEOUT when none came; STATUS_CLOSED when closed and empty.
 */
int queue_pop(struct queue *queue, void **item, int64_t timeout_ms);
/* No more pushes; pops go on until it is empty. Wakes everyone. */
void queue_close(struct queue *queue);
size_t queue_size(struct queue *queue);

#endif
