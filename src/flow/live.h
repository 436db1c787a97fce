/* The live feed: what has just been predicted and compared, to whoever watches (dashboard, SSE,
 * GraphQL subscriptions) and to those who wait for one image. It tails the predictions and
 * comparisons topics, so every api process has its own and none costs the stages anything. */
#ifndef FLOW_LIVE_H
#define FLOW_LIVE_H

#include <stdint.h>

#include "base/config.h"
#include "base/metrics.h"
#include "data/bus.h"

struct live;
struct live_subscription;
struct live_waiter;

enum live_kind { LIVE_PREDICTION, LIVE_COMPARISON };
const char *
live_kind_name(enum live_kind kind); /* "prediction", "comparison": the SSE event's name */

struct live_event {
    enum live_kind kind;
    int64_t id;       /* 1, 2, 3, ... since this process started */
    const char *json; /* the message's text */
};

/* `bus` is borrowed and must outlive it. */
int live_start(const struct config *config, struct bus *bus, struct metrics *metrics,
               struct live **out, struct error *err);
void live_stop(struct live *live); /* all subscriptions and waiters must be gone */

/* Calls `deliver` for each event from now on, in order, on the feed's threads with its lock held:
 * it must be quick and must not call back into the feed. With after_id > 0, first those events
 * after it that are still remembered (the last 1,024). */
int live_subscribe(struct live *live, int64_t after_id,
                   void (*deliver)(void *context, const struct live_event *event), void *context,
                   struct live_subscription **out, struct error *err);
/* After it returns `deliver` is not called any more. */
void live_unsubscribe(struct live *live, struct live_subscription *subscription);

/* To wait for an image's finished comparison: expect it before it is submitted, wait, forget. */
int live_expect(struct live *live, const char *image_id, struct live_waiter **out,
                struct error *err);
/* STATUS_TIMEOUT when it was not finished within timeout_ms; STATUS_CLOSED when stopping. */
int live_wait(struct live *live, struct live_waiter *waiter, int64_t timeout_ms, struct error *err);
void live_forget(struct live *live, struct live_waiter *waiter); /* NULL is fine */
/* Makes every live_wait return STATUS_CLOSED, now and from now on. */
void live_wake(struct live *live);

#endif
