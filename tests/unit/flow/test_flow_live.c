/* The live feed: order, resuming after an id, letting go, and waiting for one image. */
#include "flow_test.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "flow/live.h"

#define IMAGE_A "018f2b6e-aaaa-7222-8333-944444444444"
#define IMAGE_B "018f2b6e-bbbb-7222-8333-944444444444"

struct live_fixture {
    struct store *store;
    struct live *live;
};

/* What a subscriber got. */
struct log {
    pthread_mutex_t lock;
    int count;
    int64_t ids[4096];
    enum live_kind kinds[4096];
    char last[128];
};

static void keep(void *context, const struct live_event *event)
{
    struct log *log = context;
    pthread_mutex_lock(&log->lock);
    log->ids[log->count] = event->id;
    log->kinds[log->count++] = event->kind;
    snprintf(log->last, sizeof log->last, "%s", event->json);
    pthread_mutex_unlock(&log->lock);
}

static int log_count(struct log *log)
{
    pthread_mutex_lock(&log->lock);
    const int count = log->count;
    pthread_mutex_unlock(&log->lock);
    return count;
}

static int setup(void **state)
{
    struct live_fixture *fixture = test_calloc(1, sizeof *fixture);
    struct error err = {0};
    void *store;

    store_setup(&store);
    fixture->store = store;
    assert_ok(live_start(fixture->store->files.config, fixture->store->bus,
                         fixture->store->files.metrics, &fixture->live, &err),
              &err);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct live_fixture *fixture = *state;
    void *store = fixture->store;
    live_stop(fixture->live);
    store_teardown(&store);
    test_free(fixture);
    return 0;
}

static void predict(struct live_fixture *fixture, int number)
{
    char value[64];
    snprintf(value, sizeof value, "{\"n\":%d}", number);
    store_publish(fixture->store, fixture->store->files.config->topic_predictions, IMAGE_A, value);
}

static void complete(struct live_fixture *fixture, const char *image_id)
{
    store_publish(fixture->store, TOPIC_COMPARISONS, image_id, "{\"status\":\"completed\"}");
}

struct expected {
    struct log *log;
    int count;
};

static bool has_count(void *context)
{
    const struct expected *expected = context;
    return log_count(expected->log) >= expected->count;
}

static void wait_for(struct log *log, int count)
{
    wait_until(has_count, &(struct expected){log, count});
}

static struct live_subscription *subscribe(struct live_fixture *fixture, int64_t after,
                                           struct log *log)
{
    struct live_subscription *subscription = NULL;
    struct error err = {0};
    memset(log, 0, sizeof *log);
    pthread_mutex_init(&log->lock, NULL);
    assert_ok(live_subscribe(fixture->live, after, keep, log, &subscription, &err), &err);
    return subscription;
}

static void delivers_in_order(void **state)
{
    struct live_fixture *fixture = *state;
    static struct log log;

    struct live_subscription *subscription = subscribe(fixture, 0, &log);
    assert_int_equal(log_count(&log), 0);
    for (int i = 0; i < 5; i++)
        predict(fixture, i);
    wait_for(&log, 5);
    complete(fixture, IMAGE_A);
    wait_for(&log, 6);
    assert_string_equal(log.last, "{\"status\":\"completed\"}");
    for (int i = 0; i < 6; i++) {
        assert_int_equal(log.ids[i], i + 1);
        assert_int_equal(log.kinds[i], i < 5 ? LIVE_PREDICTION : LIVE_COMPARISON);
    }
    assert_string_equal(live_kind_name(LIVE_PREDICTION), "prediction");
    assert_string_equal(live_kind_name(LIVE_COMPARISON), "comparison");
    live_unsubscribe(fixture->live, subscription);
}

static void resumes_after_an_id(void **state)
{
    struct live_fixture *fixture = *state;
    static struct log first, second, third, fourth;

    struct live_subscription *all = subscribe(fixture, 0, &first);
    for (int i = 0; i < 8; i++)
        predict(fixture, i);
    wait_for(&first, 8);
    struct live_subscription *some = subscribe(fixture, 5, &second);
    assert_int_equal(log_count(&second), 3); /* already there when it returns */
    assert_int_equal(second.ids[0], 6);
    /* An id of an earlier process is past everything there is: from now on. */
    struct live_subscription *later = subscribe(fixture, 5000, &third);
    assert_int_equal(log_count(&third), 0);
    struct live_subscription *now = subscribe(fixture, 0, &fourth);
    predict(fixture, 8);
    wait_for(&second, 4);
    wait_for(&third, 1);
    wait_for(&fourth, 1);
    assert_int_equal(second.ids[3], 9);
    assert_int_equal(third.ids[0], 9);
    assert_int_equal(fourth.ids[0], 9);
    live_unsubscribe(fixture->live, all);
    live_unsubscribe(fixture->live, some);
    live_unsubscribe(fixture->live, later);
    later = subscribe(fixture, INT64_MAX, &third);
    assert_int_equal(log_count(&third), 0);
    live_unsubscribe(fixture->live, later);
    live_unsubscribe(fixture->live, now);
}

static void remembers_the_last_thousand(void **state)
{
    struct live_fixture *fixture = *state;
    static struct log first, second;

    struct live_subscription *all = subscribe(fixture, 0, &first);
    for (int i = 0; i < 1100; i++)
        predict(fixture, i);
    wait_for(&first, 1100);
    for (int i = 0; i < 1100; i++)
        assert_int_equal(first.ids[i], i + 1);
    struct live_subscription *late = subscribe(fixture, 3, &second);
    assert_int_equal(log_count(&second), 1024);
    assert_int_equal(second.ids[0], 77);
    assert_int_equal(second.ids[1023], 1100);
    assert_string_equal(second.last, "{\"n\":1099}");
    live_unsubscribe(fixture->live, all);
    live_unsubscribe(fixture->live, late);
}

static void unsubscribed_hears_no_more(void **state)
{
    struct live_fixture *fixture = *state;
    static struct log gone, stays;

    struct live_subscription *one = subscribe(fixture, 0, &gone);
    struct live_subscription *two = subscribe(fixture, 0, &stays);
    predict(fixture, 0);
    wait_for(&gone, 1);
    wait_for(&stays, 1);
    assert_true(metric_read(fixture->store->files.metrics, "ocelli_live_subscribers") == 2);
    live_unsubscribe(fixture->live, one);
    predict(fixture, 1);
    wait_for(&stays, 2);
    assert_int_equal(log_count(&gone), 1);
    live_unsubscribe(fixture->live, two);
    assert_true(metric_read(fixture->store->files.metrics, "ocelli_live_subscribers") == 0);
}

/* --- Waiting */

static void waits_for_one_image(void **state)
{
    struct live_fixture *fixture = *state;
    struct live_waiter *a = NULL, *b = NULL;
    struct error err = {0};

    assert_ok(live_expect(fixture->live, IMAGE_A, &a, &err), &err);
    assert_ok(live_expect(fixture->live, IMAGE_B, &b, &err), &err);
    predict(fixture, 1); /* a prediction is no comparison */
    complete(fixture, IMAGE_A);
    assert_ok(live_wait(fixture->live, a, 60000, &err), &err);
    assert_ok(live_wait(fixture->live, a, 0, &err), &err); /* stays so */
    assert_int_equal(live_wait(fixture->live, b, 20, &err), STATUS_TIMEOUT);
    complete(fixture, IMAGE_B);
    assert_ok(live_wait(fixture->live, b, 60000, &err), &err);
    live_forget(fixture->live, a);
    live_forget(fixture->live, b);
    live_forget(fixture->live, NULL);
}

static void *wake_later(void *argument)
{
    clock_sleep_ms(20);
    live_wake(argument);
    return NULL;
}

static void stopping_wakes_who_waits(void **state)
{
    struct live_fixture *fixture = *state;
    struct live_waiter *waiter = NULL;
    struct error err = {0};
    pthread_t thread;

    assert_ok(live_expect(fixture->live, IMAGE_A, &waiter, &err), &err);
    assert_int_equal(pthread_create(&thread, NULL, wake_later, fixture->live), 0);
    assert_int_equal(live_wait(fixture->live, waiter, 60000, &err), STATUS_CLOSED);
    assert_int_equal(live_wait(fixture->live, waiter, 60000, &err), STATUS_CLOSED);
    pthread_join(thread, NULL);
    live_forget(fixture->live, waiter);
}

#define LIVE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIVE_TEST(delivers_in_order),           LIVE_TEST(resumes_after_an_id),
        LIVE_TEST(remembers_the_last_thousand), LIVE_TEST(unsubscribed_hears_no_more),
        LIVE_TEST(waits_for_one_image),         LIVE_TEST(stopping_wakes_who_waits),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
