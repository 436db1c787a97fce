/* Uploading: see upload.h. Each connection has a thread that takes the next image, waits until it
 * is due, and sends it until the server has taken or refused it. */
#include "cmd/upload.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cmd/client.h"
#include "cmd/terminal.h"

enum {
    NS_A_SECOND = 1000000000,
    PATIENCE_S = 60, /* with a server that was there and is gone */
};

struct upload {
    struct upload_options options;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;  /* stopping */
    struct source *source;
    int64_t taken;      /* images handed to threads */
    int64_t due_ns;     /* of the next image, when there is a rate */
    int64_t started_ns; /* on the monotonic clock, as all of these */
    int64_t ended_ns;
    int64_t answered_ns; /* when a server last answered; 0 while none has */
    bool stopping;
    int running; /* threads */
    struct upload_counts counts;
    struct error fatal; /* why it could not go on; the code is STATUS_OK otherwise */
    pthread_t *threads;
    int thread_count;
};

/* --- Waiting ---------------------------------------------------------------------------------- */

static struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / NS_A_SECOND, .tv_nsec = ns % NS_A_SECOND};
}

/* Waits, with the lock held, until a moment; false when stopping. */
static bool wait_until(struct upload *upload, int64_t moment_ns)
{
    const struct timespec until = timespec_of(moment_ns);

    while (!upload->stopping && clock_monotonic_ns() < moment_ns)
        pthread_cond_timedwait(&upload->wake, &upload->lock, &until);
    return !upload->stopping;
}

/* When the next image is due. A server that was slow is caught up with, but for a second at most.
 */
static int64_t take_turn(struct upload *upload)
{
    const int64_t now_ns = clock_monotonic_ns();

    if (upload->options.rate <= 0.0)
        return now_ns;
    if (upload->due_ns < now_ns - NS_A_SECOND)
        upload->due_ns = now_ns - NS_A_SECOND;
    const int64_t due_ns = upload->due_ns;
    upload->due_ns += (int64_t)((double)NS_A_SECOND / upload->options.rate);
    return due_ns;
}

/* --- Taking images ---------------------------------------------------------------------------- */

static void note_problem(struct upload *upload, const char *name, const char *message)
{
    struct upload_counts *counts = &upload->counts;

    if (counts->problem_count == UPLOAD_PROBLEMS_MAX)
        return;
    struct upload_problem *problem = &counts->problems[counts->problem_count++];
    text_printable(name, problem->name, sizeof problem->name);
    text_printable(message, problem->message, sizeof problem->message);
}

static void give_up(struct upload *upload, const struct error *why)
{
    if (upload->fatal.code == STATUS_OK)
        upload->fatal = *why;
    upload->stopping = true;
    pthread_cond_broadcast(&upload->wake);
}

/* 1 with an image, 0 when there is none any more, as source_next. */
static int next_of_source(struct upload *upload, struct source_image *image, struct error *err)
{
    int got = source_next(upload->source, image, err);

    if (got == 0 && upload->options.loop) {
        source_close(upload->source);
        upload->source = NULL;
        const int status = upload->options.open(upload->options.context, &upload->source, err);
        if (status != STATUS_OK) {
            give_up(upload, err);
            return 0;
        }
        got = source_next(upload->source, image, err);
    }
    return got;
}

/* Takes the next image that can be read, when it is due. */
static bool take(struct upload *upload, struct source_image *image)
{
    struct error err = {0};
    bool taken = false;

    pthread_mutex_lock(&upload->lock);
    while (!taken && !upload->stopping && upload->source != NULL &&
           (upload->options.limit < 0 || upload->taken < upload->options.limit)) {
        const int got = next_of_source(upload, image, &err);
        if (got == 0)
            break;
        upload->taken++;
        taken = got == 1;
        if (!taken) {
            upload->counts.unreadable++;
            note_problem(upload, "", err.message);
        }
    }
    if (taken && !wait_until(upload, take_turn(upload))) {
        source_image_free(image);
        taken = false;
    }
    pthread_mutex_unlock(&upload->lock);
    return taken;
}

/* --- Sending ---------------------------------------------------------------------------------- */

enum verdict { VERDICT_DONE, VERDICT_AGAIN, VERDICT_FATAL };

/* What one answer means; `wait_s` is how long to wait before the same image is sent again. */
static enum verdict judge(struct upload *upload, const struct client *client,
                          const struct source_image *image, int status, int64_t *wait_s,
                          const struct error *err)
{
    struct upload_counts *counts = &upload->counts;
    const int64_t now_ns = clock_monotonic_ns();

    if (status != STATUS_OK && client_never_connected(client)) {
        const int64_t silence_ns = now_ns - upload->answered_ns;
        *wait_s = 1;
        return upload->answered_ns == 0 || silence_ns > (int64_t)PATIENCE_S * NS_A_SECOND
                   ? VERDICT_FATAL
                   : VERDICT_AGAIN;
    }
    upload->answered_ns = now_ns;
    switch (status) {
    case STATUS_OK:
        counts->accepted++;
        counts->bytes += (int64_t)image->size;
        return VERDICT_DONE;
    case STATUS_BUSY:
    case STATUS_NO_SPACE:
        counts->waits++;
        return VERDICT_AGAIN;
    case STATUS_DENIED:
    case STATUS_NOT_FOUND: /* of the path: no server of ours */
        return VERDICT_FATAL;
    case STATUS_INVALID:
    case STATUS_CORRUPT:
    case STATUS_UNSUPPORTED:
    case STATUS_TOO_LARGE:
        counts->refused++;
        break;
    default:
        counts->failed++;
        break;
    }
    note_problem(upload, image->name, err->message);
    return VERDICT_DONE;
}

/* Waits before the same image is sent again; false when stopping: it is then left out, as those
 * that were not begun. */
static bool wait_to_repeat(struct upload *upload, int64_t wait_s)
{
    upload->counts.waiting++;
    const bool go_on = wait_until(upload, clock_monotonic_ns() + wait_s * NS_A_SECOND);
    upload->counts.waiting--;
    return go_on;
}

static void send_image(struct upload *upload, struct client *client,
                       const struct source_image *image)
{
    const struct client_image form = {.bytes = image->bytes,
                                      .size = image->size,
                                      .name = image->name,
                                      .source = upload->options.source_name,
                                      .label = image->label};
    enum verdict verdict;

    do {
        struct error err = {0};
        int64_t wait_s = 1;
        const int64_t began_ns = clock_monotonic_ns();
        const int status = client_upload(client, &form, &wait_s, &err);
        const int64_t took_us = (clock_monotonic_ns() - began_ns) / 1000;

        pthread_mutex_lock(&upload->lock);
        verdict = judge(upload, client, image, status, &wait_s, &err);
        if (status == STATUS_OK)
            histogram_add(&upload->counts.times, took_us);
        if (verdict == VERDICT_FATAL)
            give_up(upload, &err);
        if (verdict == VERDICT_AGAIN && !wait_to_repeat(upload, wait_s))
            verdict = VERDICT_DONE;
        pthread_mutex_unlock(&upload->lock);
    } while (verdict == VERDICT_AGAIN);
}

static void *run_connection(void *context)
{
    struct upload *upload = context;
    struct client *client = NULL;
    struct source_image image;
    struct error err = {0};

    const int status = client_open(upload->options.config, upload->options.url, &client, &err);
    if (status == STATUS_OK)
        while (take(upload, &image)) {
            send_image(upload, client, &image);
            source_image_free(&image);
        }
    client_close(client);
    pthread_mutex_lock(&upload->lock);
    if (status != STATUS_OK)
        give_up(upload, &err);
    upload->running--;
    upload->ended_ns = clock_monotonic_ns();
    pthread_mutex_unlock(&upload->lock);
    return NULL;
}

/* --- Starting and ending ---------------------------------------------------------------------- */

static void init_lock(struct upload *upload)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&upload->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&upload->wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

static int64_t total_of(const struct upload *upload)
{
    const int64_t there = source_count(upload->source), limit = upload->options.limit;

    if (upload->options.loop)
        return limit;
    return limit >= 0 && limit < there ? limit : there;
}

static int start_threads(struct upload *upload, struct error *err)
{
    const int count = upload->options.concurrency;

    upload->threads = calloc((size_t)count, sizeof *upload->threads);
    if (upload->threads == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %d connections", count);
    pthread_mutex_lock(&upload->lock);
    int failure = 0;
    while (failure == 0 && upload->thread_count < count) {
        pthread_t *thread = &upload->threads[upload->thread_count];
        failure = pthread_create(thread, NULL, run_connection, upload);
        if (failure == 0) {
            upload->thread_count++;
            upload->running++;
        }
    }
    pthread_mutex_unlock(&upload->lock);
    return upload->thread_count > 0 ? STATUS_OK
                                    : error_set_errno(err, failure, "cannot start a thread");
}

int upload_start(const struct upload_options *options, struct upload **out, struct error *err)
{
    struct upload *upload = calloc(1, sizeof *upload);

    if (upload == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to upload");
    upload->options = *options;
    init_lock(upload);
    histogram_init(&upload->counts.times);
    upload->started_ns = upload->due_ns = upload->ended_ns = clock_monotonic_ns();
    int status = options->open(options->context, &upload->source, err);
    if (status == STATUS_OK) {
        upload->counts.total = total_of(upload);
        upload->started_ns = upload->due_ns = clock_monotonic_ns();
        status = start_threads(upload, err);
    }
    if (status != STATUS_OK) {
        upload_finish(upload, NULL, NULL);
        return status;
    }
    *out = upload;
    return STATUS_OK;
}

bool upload_look(struct upload *upload, struct upload_counts *counts)
{
    pthread_mutex_lock(&upload->lock);
    const bool goes_on = upload->running > 0;
    const int64_t until_ns = goes_on ? clock_monotonic_ns() : upload->ended_ns;
    *counts = upload->counts;
    counts->seconds = (double)(until_ns - upload->started_ns) / NS_A_SECOND;
    pthread_mutex_unlock(&upload->lock);
    return goes_on;
}

void upload_stop(struct upload *upload)
{
    pthread_mutex_lock(&upload->lock);
    upload->stopping = true;
    pthread_cond_broadcast(&upload->wake);
    pthread_mutex_unlock(&upload->lock);
}

int upload_finish(struct upload *upload, struct upload_counts *counts, struct error *err)
{
    for (int i = 0; i < upload->thread_count; i++)
        pthread_join(upload->threads[i], NULL);
    if (counts != NULL)
        upload_look(upload, counts);
    const struct error fatal = upload->fatal;
    source_close(upload->source);
    pthread_cond_destroy(&upload->wake);
    pthread_mutex_destroy(&upload->lock);
    free(upload->threads);
    free(upload);
    if (fatal.code != STATUS_OK && err != NULL)
        *err = fatal;
    return fatal.code;
}
