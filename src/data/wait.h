/* Condition variables that wait on the monotonic clock, so that a step of the wall clock neither
 * wakes nor holds anyone. Private to src/data. */
#ifndef DATA_WAIT_H
#define DATA_WAIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Cannot fail: the attributes asked for are always there on Linux. */
void condition_init(pthread_cond_t *condition);

/* Waits until signalled or until clock_monotonic_ns() reaches deadline_ns (negative: for ever).
 * false when the deadline has passed. Wakes may be spurious. */
bool condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t deadline_ns);

/* The moment `timeout_ms` from now; -1, for ever, when it is negative. */
int64_t deadline_after_ms(int64_t timeout_ms);

#endif
