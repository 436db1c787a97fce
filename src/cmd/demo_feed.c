/* The demo's photographs on their way in: see demo_feed.h. */
#include "cmd/demo_feed.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cmd/terminal.h"

enum { NS_A_SECOND = 1000000000, BUSY_WAIT_NS = NS_A_SECOND / 2 };

struct feed {
    const struct api *api;
    struct source *source; /* the thread's */
    double rate;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;  /* stopping */
    bool stopping;
    struct feed_counts counts;
};

/* False when stopping. */
static bool wait_until(struct feed *feed, int64_t moment_ns)
{
    const struct timespec until = {.tv_sec = moment_ns / NS_A_SECOND,
                                   .tv_nsec = moment_ns % NS_A_SECOND};

    pthread_mutex_lock(&feed->lock);
    while (!feed->stopping && clock_monotonic_ns() < moment_ns)
        pthread_cond_timedwait(&feed->wake, &feed->lock, &until);
    const bool go_on = !feed->stopping;
    pthread_mutex_unlock(&feed->lock);
    return go_on;
}

/* A folder's name is a class only when some model says so: else every answer would be wrong. */
static bool is_class(const struct api *api, const char *label)
{
    struct model **models;
    int count;
    bool known = false;

    if (api->models == NULL || label[0] == '\0' ||
        model_set_list(api->models, &models, &count, NULL) != STATUS_OK)
        return false;
    for (int i = 0; i < count; i++) {
        const struct model_package *package = model_package(models[i]);
        if (model_state(models[i]) == MODEL_ACTIVE)
            for (int j = 0; j < package->label_count; j++)
                known |= strcmp(package->labels[j], label) == 0;
        model_release(models[i]);
    }
    free(models);
    return known;
}

static void count_refusal(struct feed *feed, const char *name, const struct error *why)
{
    pthread_mutex_lock(&feed->lock);
    if (feed->counts.refused++ == 0) {
        text_printable(name, feed->counts.refused_name, sizeof feed->counts.refused_name);
        feed->counts.refusal = *why;
    }
    pthread_mutex_unlock(&feed->lock);
}

static bool is_the_images_fault(int status)
{
    return status == STATUS_INVALID || status == STATUS_UNSUPPORTED || status == STATUS_CORRUPT ||
           status == STATUS_TOO_LARGE;
}

/* Submits one image, again while the platform is busy; false to end. */
static bool submit(struct feed *feed, const struct source_image *image)
{
    const struct ingest_image form = {
        .bytes = image->bytes,
        .size = image->size,
        .filename = image->name,
        .source = DEMO_SOURCE,
        .label = is_class(feed->api, image->label) ? image->label : NULL,
    };
    struct image_message accepted;
    struct error err = {0};
    int status;

    while ((status = ingest_submit(feed->api->ingest, &form, &accepted, &err)) == STATUS_BUSY)
        if (!wait_until(feed, clock_monotonic_ns() + BUSY_WAIT_NS))
            return false;
    if (is_the_images_fault(status)) {
        count_refusal(feed, image->name, &err);
        return true;
    }
    pthread_mutex_lock(&feed->lock);
    if (status == STATUS_OK)
        feed->counts.submitted++;
    else
        feed->counts.fatal = err;
    pthread_mutex_unlock(&feed->lock);
    return status == STATUS_OK;
}

static void *run_feed(void *context)
{
    struct feed *feed = context;
    const int64_t began_ns = clock_monotonic_ns();
    bool go_on = true;

    for (int64_t i = 0; go_on && i < feed->counts.total; i++) {
        struct source_image image;
        struct error err = {0};
        if (feed->rate > 0.0)
            go_on = wait_until(feed, began_ns + (int64_t)((double)(i * NS_A_SECOND) / feed->rate));
        const int got = go_on ? source_next(feed->source, &image, &err) : 0;
        if (got == 0)
            break;
        if (got < 0) {
            count_refusal(feed, "", &err);
            continue;
        }
        go_on = submit(feed, &image) && wait_until(feed, 0);
        source_image_free(&image);
    }
    pthread_mutex_lock(&feed->lock);
    feed->counts.over = true;
    pthread_mutex_unlock(&feed->lock);
    return NULL;
}

static void init_lock(struct feed *feed)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&feed->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&feed->wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void drop(struct feed *feed)
{
    pthread_cond_destroy(&feed->wake);
    pthread_mutex_destroy(&feed->lock);
    source_close(feed->source);
    free(feed);
}

int feed_start(const struct api *api, struct source *source, int64_t limit, double rate,
               struct feed **out, struct error *err)
{
    struct feed *feed = calloc(1, sizeof *feed);

    if (feed == NULL) {
        source_close(source);
        return error_set(err, STATUS_NO_MEMORY, "no memory to feed the demo");
    }
    feed->api = api;
    feed->source = source;
    feed->rate = rate;
    feed->counts.total = source_count(source);
    if (limit >= 0 && limit < feed->counts.total)
        feed->counts.total = limit;
    init_lock(feed);
    const int failure = pthread_create(&feed->thread, NULL, run_feed, feed);
    if (failure != 0) {
        drop(feed);
        return error_set_errno(err, failure, "cannot start a thread");
    }
    *out = feed;
    return STATUS_OK;
}

struct feed_counts feed_look(struct feed *feed)
{
    pthread_mutex_lock(&feed->lock);
    const struct feed_counts counts = feed->counts;
    pthread_mutex_unlock(&feed->lock);
    return counts;
}

void feed_stop(struct feed *feed)
{
    if (feed == NULL)
        return;
    pthread_mutex_lock(&feed->lock);
    feed->stopping = true;
    pthread_cond_broadcast(&feed->wake);
    pthread_mutex_unlock(&feed->lock);
    pthread_join(feed->thread, NULL);
    drop(feed);
}
