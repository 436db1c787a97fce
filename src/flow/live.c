/* The live feed: see live.h. One thread a topic, a ring of recent events, a list of subscribers, a
 * list of waiters; one mutex. */
#include "flow/live.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "flow/message.h"

enum { RING_SIZE = 1024, POLL_MS = 60000, POLL_MAX = 256 };

struct live_subscription {
    struct live_subscription *next;
    void (*deliver)(void *context, const struct live_event *event);
    void *context;
};

struct live_waiter {
    struct live_waiter *next;
    char image_id[ID_TEXT_SIZE];
    bool finished;
};

struct tail {
    struct live *live;
    enum live_kind kind;
    struct bus_consumer *consumer;
    pthread_t thread;
    bool started;
};

struct live {
    pthread_mutex_t lock;
    pthread_cond_t finished; /* a waiter's image is done, or closing */
    struct live_event ring[RING_SIZE];
    int64_t last_id;
    struct live_subscription *subscriptions;
    struct live_waiter *waiters;
    bool closing;
    struct tail tails[2];
    struct metric *subscribers;
};

const char *live_kind_name(enum live_kind kind)
{
    return kind == LIVE_PREDICTION ? "prediction" : "comparison";
}

/* --- Tailing
 * -------------------------------------------------------------------------------------------------
 */

static void notify_waiters(struct live *live, const char *image_id)
{
    if (image_id == NULL)
        return;
    for (struct live_waiter *waiter = live->waiters; waiter != NULL; waiter = waiter->next)
        if (strcmp(waiter->image_id, image_id) == 0) {
            waiter->finished = true;
            pthread_cond_broadcast(&live->finished);
        }
}

static void deliver_message(struct live *live, enum live_kind kind,
                            const struct bus_message *message)
{
    char *json = strndup(message->value, message->value_size);

    pthread_mutex_lock(&live->lock);
    if (kind == LIVE_COMPARISON)
        notify_waiters(live, message->key);
    if (json != NULL) {
        struct live_event *event = &live->ring[++live->last_id % RING_SIZE];
        free((char *)event->json);
        *event = (struct live_event){.kind = kind, .id = live->last_id, .json = json};
        for (struct live_subscription *subscription = live->subscriptions; subscription != NULL;
             subscription = subscription->next)
            subscription->deliver(subscription->context, event);
    }
    pthread_mutex_unlock(&live->lock);
}

static bool is_closing(struct live *live)
{
    pthread_mutex_lock(&live->lock);
    const bool closing = live->closing;
    pthread_mutex_unlock(&live->lock);
    return closing;
}

static void *tail_thread(void *argument)
{
    struct tail *tail = argument;

    while (!is_closing(tail->live)) {
        struct bus_batch batch;
        struct error err = {0};
        const int status = bus_poll(tail->consumer, POLL_MAX, POLL_MS, &batch, &err);
        if (status == STATUS_CLOSED)
            continue;
        if (status != STATUS_OK) {
            log_error("live", "the feed of %ss pauses: %s", live_kind_name(tail->kind),
                      err.message);
            clock_sleep_ms(1000);
            continue;
        }
        for (int i = 0; i < batch.count; i++)
            deliver_message(tail->live, tail->kind, &batch.messages[i]);
        bus_batch_free(&batch);
    }
    return NULL;
}

/* --- Life
 * ----------------------------------------------------------------------------------------------------
 */

static int tail_start(struct live *live, enum live_kind kind, struct bus *bus, const char *topic,
                      struct error *err)
{
    struct tail *tail = &live->tails[kind];

    tail->live = live;
    tail->kind = kind;
    const int status = bus_subscribe(bus, NULL, topic, BUS_FROM_NEWEST, &tail->consumer, err);
    if (status != STATUS_OK)
        return status;
    if (pthread_create(&tail->thread, NULL, tail_thread, tail) != 0)
        return error_set(err, STATUS_INTERNAL, "cannot start the live feed's thread");
    tail->started = true;
    return STATUS_OK;
}

int live_start(const struct config *config, struct bus *bus, struct metrics *metrics,
               struct live **out, struct error *err)
{
    struct live *live = calloc(1, sizeof *live);
    pthread_condattr_t monotonic;

    if (live == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the live feed");
    pthread_mutex_init(&live->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&live->finished, &monotonic);
    pthread_condattr_destroy(&monotonic);
    live->subscribers = metrics_get(metrics, METRIC_GAUGE, "ocelli_live_subscribers",
                                    "Clients that follow the live feed", "");
    int status = tail_start(live, LIVE_PREDICTION, bus, config->topic_predictions, err);
    if (status == STATUS_OK)
        status = tail_start(live, LIVE_COMPARISON, bus, TOPIC_COMPARISONS, err);
    if (status != STATUS_OK) {
        live_stop(live);
        return status;
    }
    *out = live;
    return STATUS_OK;
}

void live_wake(struct live *live)
{
    pthread_mutex_lock(&live->lock);
    live->closing = true;
    pthread_cond_broadcast(&live->finished);
    pthread_mutex_unlock(&live->lock);
}

void live_stop(struct live *live)
{
    if (live == NULL)
        return;
    live_wake(live);
    for (int i = 0; i < 2; i++) {
        if (live->tails[i].consumer == NULL)
            continue;
        bus_consumer_wake(live->tails[i].consumer);
        if (live->tails[i].started)
            pthread_join(live->tails[i].thread, NULL);
        bus_consumer_close(live->tails[i].consumer);
    }
    for (int i = 0; i < RING_SIZE; i++)
        free((char *)live->ring[i].json);
    pthread_cond_destroy(&live->finished);
    pthread_mutex_destroy(&live->lock);
    free(live);
}

/* --- Subscribing
 * --------------------------------------------------------------------------------------------- */

int live_subscribe(struct live *live, int64_t after_id,
                   void (*deliver)(void *context, const struct live_event *event), void *context,
                   struct live_subscription **out, struct error *err)
{
    struct live_subscription *subscription = calloc(1, sizeof *subscription);
    if (subscription == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a subscription");
    subscription->deliver = deliver;
    subscription->context = context;
    pthread_mutex_lock(&live->lock);
    const int64_t oldest = live->last_id < RING_SIZE ? 1 : live->last_id - RING_SIZE + 1;
    /* An id past the newest is of an earlier process, or made up. */
    if (after_id > 0 && after_id < live->last_id)
        for (int64_t id = after_id < oldest ? oldest : after_id + 1; id <= live->last_id; id++)
            deliver(context, &live->ring[id % RING_SIZE]);
    subscription->next = live->subscriptions;
    live->subscriptions = subscription;
    pthread_mutex_unlock(&live->lock);
    metric_add(live->subscribers, 1);
    *out = subscription;
    return STATUS_OK;
}

void live_unsubscribe(struct live *live, struct live_subscription *subscription)
{
    pthread_mutex_lock(&live->lock);
    struct live_subscription **link = &live->subscriptions;
    while (*link != subscription)
        link = &(*link)->next;
    *link = subscription->next;
    pthread_mutex_unlock(&live->lock);
    metric_add(live->subscribers, -1);
    free(subscription);
}

/* --- Waiting
 * -------------------------------------------------------------------------------------------------
 */

int live_expect(struct live *live, const char *image_id, struct live_waiter **out,
                struct error *err)
{
    struct live_waiter *waiter = calloc(1, sizeof *waiter);
    if (waiter == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to wait for an image");
    strncpy(waiter->image_id, image_id, sizeof waiter->image_id - 1);
    pthread_mutex_lock(&live->lock);
    waiter->next = live->waiters;
    live->waiters = waiter;
    pthread_mutex_unlock(&live->lock);
    *out = waiter;
    return STATUS_OK;
}

int live_wait(struct live *live, struct live_waiter *waiter, int64_t timeout_ms, struct error *err)
{
    const int64_t until_ns = clock_monotonic_ns() + timeout_ms * 1000000;
    const struct timespec until = {.tv_sec = until_ns / 1000000000,
                                   .tv_nsec = until_ns % 1000000000};
    int timed_out = 0;

    pthread_mutex_lock(&live->lock);
    while (!waiter->finished && !live->closing && timed_out == 0)
        timed_out = pthread_cond_timedwait(&live->finished, &live->lock, &until);
    const bool finished = waiter->finished, closing = live->closing;
    pthread_mutex_unlock(&live->lock);
    if (finished)
        return STATUS_OK;
    if (closing)
        return error_set(err, STATUS_CLOSED, "the server is stopping");
    return error_set(err, STATUS_TIMEOUT, "the image was not finished within %.1f s",
                     (double)timeout_ms / 1000.0);
}

void live_forget(struct live *live, struct live_waiter *waiter)
{
    if (waiter == NULL)
        return;
    pthread_mutex_lock(&live->lock);
    struct live_waiter **link = &live->waiters;
    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
    pthread_mutex_unlock(&live->lock);
    free(waiter);
}
