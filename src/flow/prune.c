/* Pruning: see prune.h. */
#include "flow/prune.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

enum { PERIOD_MS = 60000, MESSAGES_A_STEP = 10000 };

struct prune {
    struct bus *bus;
    struct metric *pruned;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;
};

/* Returns true when stopping. */
static bool rest(struct prune *prune, int64_t ms)
{
    const int64_t until_ns = clock_monotonic_ns() + ms * 1000000;
    const struct timespec until = {.tv_sec = until_ns / 1000000000,
                                   .tv_nsec = until_ns % 1000000000};
    int timed_out = 0;

    pthread_mutex_lock(&prune->lock);
    while (!prune->stopping && timed_out == 0)
        timed_out = pthread_cond_timedwait(&prune->wake, &prune->lock, &until);
    const bool stopping = prune->stopping;
    pthread_mutex_unlock(&prune->lock);
    return stopping;
}

static void *prune_thread(void *argument)
{
    struct prune *prune = argument;
    int64_t count = 0;

    while (!rest(prune, count == MESSAGES_A_STEP ? 1 : PERIOD_MS)) {
        struct error err = {0};
        if (bus_prune(prune->bus, MESSAGES_A_STEP, &count, &err) != STATUS_OK) {
            log_warning("prune", "old messages stay for now: %s", err.message);
            count = 0;
        }
        metric_add(prune->pruned, (double)count);
    }
    return NULL;
}

int prune_start(struct bus *bus, struct metrics *metrics, struct prune **out, struct error *err)
{
    struct prune *prune = calloc(1, sizeof *prune);
    pthread_condattr_t monotonic;

    if (prune == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for pruning");
    prune->bus = bus;
    prune->pruned = metrics_get(metrics, METRIC_COUNTER, "ocelli_bus_pruned_messages_total",
                                "Messages deleted after their retention", "");
    pthread_mutex_init(&prune->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&prune->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&prune->thread, NULL, prune_thread, prune) != 0) {
        pthread_cond_destroy(&prune->wake);
        pthread_mutex_destroy(&prune->lock);
        free(prune);
        return error_set(err, STATUS_INTERNAL, "cannot start the pruning thread");
    }
    *out = prune;
    return STATUS_OK;
}

void prune_stop(struct prune *prune)
{
    if (prune == NULL)
        return;
    pthread_mutex_lock(&prune->lock);
    prune->stopping = true;
    pthread_cond_signal(&prune->wake);
    pthread_mutex_unlock(&prune->lock);
    pthread_join(prune->thread, NULL);
    pthread_cond_destroy(&prune->wake);
    pthread_mutex_destroy(&prune->lock);
    free(prune);
}
