/* Classify's publisher: one thread that writes what the compute threads have finished. All batches
 * that wait go into one transaction, answers, dead letters and the lanes' new offsets together, so
 * that a redelivery after a crash repeats whole messages or none. When the database refuses (disk
 * full), it tries again until it is taken: nothing is lost, the windows fill and reading stops. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "flow/classify_private.h"

struct work *work_create(struct lane *lane, struct item *const *items, int count)
{
    struct work *work = calloc(1, sizeof *work);
    if (work == NULL)
        return NULL;
    work->items = malloc((size_t)count * sizeof *work->items);
    work->outcomes = calloc((size_t)count, sizeof *work->outcomes);
    if (work->items == NULL || work->outcomes == NULL) {
        work_free(work);
        return NULL;
    }
    memcpy(work->items, items, (size_t)count * sizeof *items);
    work->lane = lane;
    work->count = count;
    return work;
}

void work_free(struct work *work)
{
    for (int i = 0; work->outcomes != NULL && i < work->count; i++) {
        free(work->outcomes[i].text);
        free(work->outcomes[i].dead_reason);
    }
    free(work->outcomes);
    free(work->items);
    free(work);
}

char *classify_dead_reason(const struct error *why)
{
    char *reason = strdup(why->message);
    if (reason != NULL)
        text_clean(reason);
    return reason;
}

void classify_publish(struct classify *classify, struct work *work)
{
    pthread_mutex_lock(&classify->lock);
    *classify->works_end = work;
    classify->works_end = &work->next;
    pthread_cond_signal(&classify->works_ready);
    pthread_mutex_unlock(&classify->lock);
}

/* --- Writing
 * -------------------------------------------------------------------------------------------------
 */

/* What one transaction writes: works, and for each lane among them the offset it may commit. */
struct publication {
    struct classify *classify;
    struct work *works;
    struct commit {
        struct lane *lane;
        int64_t offset;
        struct commit *next;
    } * commits;
};

static int write_outcome(struct publication *publication, struct sql_tx *tx,
                         const struct work *work, int i, struct error *err)
{
    struct classify *classify = publication->classify;
    const struct outcome *outcome = &work->outcomes[i];
    const struct item *item = work->items[i];
    int status = STATUS_OK;

    if (outcome->text != NULL)
        status = bus_publish_in(classify->bus, tx, classify->config->topic_predictions,
                                item->image.image_id, outcome->text, NULL, err);
    if (status != STATUS_OK || outcome->dead_reason == NULL)
        return status;
    const struct bus_message message = {
        .topic = classify->config->topic_images,
        .partition = item->partition,
        .offset = item->offset,
        .key = item->image.image_id[0] != '\0' ? item->image.image_id : NULL,
        .value = item->value,
        .value_size = strlen(item->value),
    };
    return bus_dead_letter_in(classify->bus, tx, &message, work->lane->group, item->attempts,
                              outcome->dead_reason, err);
}

static int write_publication(struct sql_tx *tx, void *context, struct error *err)
{
    struct publication *publication = context;

    for (const struct work *work = publication->works; work != NULL; work = work->next)
        for (int i = 0; i < work->count; i++) {
            const int status = write_outcome(publication, tx, work, i, err);
            if (status != STATUS_OK)
                return status;
        }
    for (const struct commit *commit = publication->commits; commit != NULL;
         commit = commit->next) {
        const int status = bus_commit_in(commit->lane->consumer, tx, commit->offset, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* --- Offsets
 * -------------------------------------------------------------------------------------------------
 */

/* The finished items of one lane over all works; the caller frees. NULL when memory is out. */
static struct item **finished_items(const struct work *works, const struct lane *lane, int *count)
{
    int most = 0;
    *count = 0;
    for (const struct work *work = works; work != NULL; work = work->next)
        most += work->lane == lane ? work->count : 0;
    struct item **items = malloc((size_t)most * sizeof *items);
    if (items == NULL)
        return NULL;
    for (const struct work *work = works; work != NULL; work = work->next)
        for (int i = 0; work->lane == lane && i < work->count; i++)
            if (!work->outcomes[i].again)
                items[(*count)++] = work->items[i];
    return items;
}

static bool has_commit(const struct publication *publication, const struct lane *lane)
{
    for (const struct commit *commit = publication->commits; commit != NULL; commit = commit->next)
        if (commit->lane == lane)
            return true;
    return false;
}

/* A lane without a commit (memory is out) is only read again after a crash; nothing is lost. */
static void plan_commits(struct publication *publication)
{
    pthread_mutex_lock(&publication->classify->lock);
    for (const struct work *work = publication->works; work != NULL; work = work->next) {
        int count;
        if (has_commit(publication, work->lane))
            continue;
        struct item **items = finished_items(publication->works, work->lane, &count);
        struct commit *commit = malloc(sizeof *commit);
        if (items == NULL || commit == NULL) {
            free(items);
            free(commit);
            continue;
        }
        *commit = (struct commit){
            .lane = work->lane,
            .offset = lane_commit_offset(work->lane, items, count),
            .next = publication->commits,
        };
        publication->commits = commit;
        free(items);
    }
    pthread_mutex_unlock(&publication->classify->lock);
}

/* --- After the write
 * ----------------------------------------------------------------------------------------- */

static void count_outcomes(struct classify *classify, const struct work *work, int done, int failed)
{
    static const char help[] = "Images a model has finished, by result";
    const char *name = model_package(work->lane->model)->name;

    work->lane->done += done;
    work->lane->failed += failed;
    metric_add(metrics_labelled(classify->metrics, METRIC_COUNTER, "ocelli_classified_total", help,
                                "model", name, "result", "answered"),
               done);
    metric_add(metrics_labelled(classify->metrics, METRIC_COUNTER, "ocelli_classified_total", help,
                                "model", name, "result", "failed"),
               failed);
}

static void settle_work(struct classify *classify, const struct work *work)
{
    int done = 0, failed = 0;

    pthread_mutex_lock(&classify->lock);
    for (int i = 0; i < work->count; i++) {
        const struct outcome *outcome = &work->outcomes[i];
        if (outcome->again) {
            work->items[i]->state = ITEM_WAITING;
            work->items[i]->not_before_ns = outcome->retry_at_ns;
            work->lane->running--;
        } else {
            done += !outcome->failed;
            failed += outcome->failed;
            lane_finish(work->lane, work->items[i]);
        }
    }
    count_outcomes(classify, work, done, failed);
    pthread_cond_broadcast(&classify->items_ready);
    pthread_cond_broadcast(&classify->room);
    pthread_mutex_unlock(&classify->lock);
}

/* --- The thread
 * ---------------------------------------------------------------------------------------------- */

/* All works that wait; NULL when there are none and there will be none. */
static struct work *take_works(struct classify *classify)
{
    pthread_mutex_lock(&classify->lock);
    while (classify->works == NULL && !classify->draining_done)
        pthread_cond_wait(&classify->works_ready, &classify->lock);
    struct work *works = classify->works;
    classify->works = NULL;
    classify->works_end = &classify->works;
    pthread_mutex_unlock(&classify->lock);
    return works;
}

/* Writes until it is taken, or the process stops: then the images are read again at the next start.
 */
static bool write_until_taken(struct publication *publication)
{
    for (int64_t wait_ms = 50;; wait_ms = wait_ms < 2000 ? wait_ms * 2 : 2000) {
        struct error err = {0};
        const int status =
            sql_write(publication->classify->sql, write_publication, publication, &err);
        if (status == STATUS_OK)
            return true;
        pthread_mutex_lock(&publication->classify->lock);
        const bool stopping = publication->classify->stopping;
        pthread_mutex_unlock(&publication->classify->lock);
        if (stopping || status == STATUS_CLOSED)
            return false;
        log_warning("classify", "answers wait for the database: %s", err.message);
        clock_sleep_ms(wait_ms);
    }
}

void *classify_publish_thread(void *argument)
{
    struct classify *classify = argument;

    for (struct work *works; (works = take_works(classify)) != NULL;) {
        struct publication publication = {.classify = classify, .works = works};
        plan_commits(&publication);
        const bool taken = write_until_taken(&publication);
        for (struct commit *commit = publication.commits, *next; commit != NULL; commit = next) {
            next = commit->next;
            free(commit);
        }
        for (struct work *work = works, *next; work != NULL; work = next) {
            next = work->next;
            if (taken)
                settle_work(classify, work);
            work_free(work);
        }
    }
    return NULL;
}
