/* Condition variables on the monotonic clock: see wait.h. */
#include "data/wait.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "base/clock.h"

void condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    int failed = pthread_condattr_init(&attributes);

    failed |= pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    failed |= pthread_cond_init(condition, &attributes);
    assert(!failed);
    (void)failed;
    pthread_condattr_destroy(&attributes);
}

bool condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t deadline_ns)
{
    if (deadline_ns < 0) {
        pthread_cond_wait(condition, mutex);
        return true;
    }
    const struct timespec until = {.tv_sec = deadline_ns / 1000000000,
                                   .tv_nsec = deadline_ns % 1000000000};
    return pthread_cond_timedwait(condition, mutex, &until) != ETIMEDOUT;
}

int64_t deadline_after_ms(int64_t timeout_ms)
{
    /* A timeout of centuries is for ever; it must not overflow into the past. */
    if (timeout_ms < 0 || timeout_ms > INT64_MAX / 2000000)
        return -1;
    return clock_monotonic_ns() + timeout_ms * 1000000;
}
