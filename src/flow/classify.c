/* Classify: see classify.h. This file: lanes come and go with the models, and their fetchers read.
 *
 * Threads: a fetcher a lane (asleep in bus_poll), `compute_threads` that run batches
 * (classify_run.c), one publisher (classify_publish.c). One mutex; nothing slow happens under it.
 *
 * Adding and removing a model keeps SYSTEM's promise exact. Ingest writes, in an image's own
 * transaction, which models are active. A lane subscribes before its model becomes 'active' in the
 * database, so no image that expects the model is missed; a model becomes 'draining' in the
 * database first, so what was accepted before is finished and nothing after expects it. */
#include "flow/classify.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "flow/classify_private.h"

/* How long a fetcher sleeps at a time when nothing comes; being woken does not wait for it. */
enum { POLL_MS = 60000 };

/* Messages a lane holds: enough to fill every thread's batch twice. */
static int lane_window(const struct classify *classify)
{
    return (int)classify->config->batch_max * 2 * (classify->compute_count + 1);
}

/* --- The models table
 * ---------------------------------------------------------------------------------------- */

struct registration {
    const struct model_package *package;
    const char *state;
    const char *failure;
};

static int write_registration(struct sql_tx *tx, void *context, struct error *err)
{
    static const char upsert[] =
        "INSERT INTO models (name, version, state, architecture, labels, failure, loaded_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name, version) DO UPDATE SET "
        "state = excluded.state, architecture = excluded.architecture, labels = excluded.labels, "
        "failure = excluded.failure, loaded_at = excluded.loaded_at";
    const struct registration *registration = context;
    const struct model_package *package = registration->package;
    struct buffer labels = {0};
    char now[TIMESTAMP_TEXT_MAX];

    buffer_text(&labels, "[");
    for (int i = 0; i < package->label_count; i++) {
        buffer_text(&labels, i == 0 ? "" : ",");
        json_quote(&labels, package->labels[i]);
    }
    buffer_text(&labels, "]");
    const int status =
        !buffer_ok(&labels)
            ? error_set(err, STATUS_NO_MEMORY, "no memory to register a model")
            : sql_exec(tx, upsert,
                       SQL_PARAMS(sql_text(package->name), sql_text(package->version),
                                  sql_text(registration->state), sql_text(package->architecture),
                                  sql_text(labels.data), sql_text(registration->failure),
                                  sql_timestamp(clock_utc_us(), now)),
                       NULL, err);
    buffer_free(&labels);
    return status;
}

static int register_model(struct classify *classify, const struct model *model, const char *state,
                          struct error *err)
{
    struct registration registration = {
        .package = model_package(model),
        .state = state,
        .failure = model_failure(model)[0] != '\0' ? model_failure(model) : NULL,
    };
    return sql_write(classify->sql, write_registration, &registration, err);
}

/* Rows that an earlier process left 'active' and that this one does not serve would be expected for
 * ever. */
static int retire_all(struct sql_tx *tx, void *context, struct error *err)
{
    (void)context;
    return sql_exec(tx, "UPDATE models SET state = 'removed' WHERE state <> 'removed'",
                    SQL_NO_PARAMS, NULL, err);
}

/* --- Reading
 * -------------------------------------------------------------------------------------------------
 */

/* A message nobody can read: its outcome is a dead letter, and no prediction. */
static void bury(struct classify *classify, struct lane *lane, struct item *item,
                 const struct error *why)
{
    struct work *work = work_create(lane, &item, 1);
    if (work == NULL)
        return; /* stays waiting; is tried, fails to load, and is buried then */
    work->outcomes[0].dead_reason = classify_dead_reason(why);
    work->outcomes[0].failed = true;
    item->attempts = 1;
    item->state = ITEM_RUNNING;
    lane->running++;
    *classify->works_end = work;
    classify->works_end = &work->next;
    pthread_cond_signal(&classify->works_ready);
}

/* Puts a batch of messages into the lane. Returns whether one of them is newer than the drain. */
static bool append_batch(struct classify *classify, struct lane *lane,
                         const struct bus_batch *batch)
{
    bool past_drain = false;

    pthread_mutex_lock(&classify->lock);
    for (int i = 0; i < batch->count; i++) {
        const struct bus_message *message = &batch->messages[i];
        struct item *item = NULL;
        struct error why = {0};
        if (lane->draining && message->timestamp_us > lane->drain_us) {
            past_drain = true;
            break;
        }
        const int status = lane_append(lane, message, &item, &why);
        if (item != NULL && status != STATUS_OK)
            bury(classify, lane, item, &why);
    }
    pthread_cond_broadcast(&classify->items_ready);
    pthread_mutex_unlock(&classify->lock);
    return past_drain;
}

/* Waits for room in the window; returns how many messages to ask for, 0 when stopping. */
static int wait_for_room(struct classify *classify, const struct lane *lane)
{
    pthread_mutex_lock(&classify->lock);
    while (!classify->stopping && lane->count >= lane_window(classify))
        pthread_cond_wait(&classify->room, &classify->lock);
    const int room = classify->stopping ? 0 : lane_window(classify) - lane->count;
    pthread_mutex_unlock(&classify->lock);
    return room;
}

/* Reads until the process stops (false) or the lane has drained (true). */
static bool fetch(struct classify *classify, struct lane *lane)
{
    for (int room; (room = wait_for_room(classify, lane)) > 0;) {
        struct bus_batch batch;
        struct error err = {0};

        pthread_mutex_lock(&classify->lock);
        const bool draining = lane->draining;
        pthread_mutex_unlock(&classify->lock);
        const int status = bus_poll(lane->consumer, room, draining ? 0 : POLL_MS, &batch, &err);
        if (status == STATUS_CLOSED)
            continue; /* woken: to stop, or to begin to drain */
        if (status != STATUS_OK) {
            log_error("classify", "reading for %s failed, again in a second: %s", lane->group,
                      err.message);
            clock_sleep_ms(1000);
            continue;
        }
        const bool past_drain = append_batch(classify, lane, &batch);
        const bool nothing_left = draining && batch.count == 0;
        bus_batch_free(&batch);
        if (past_drain || nothing_left)
            return true;
    }
    return false;
}

/* --- A lane's end
 * -------------------------------------------------------------------------------------------- */

static void unlink_lane(struct classify *classify, const struct lane *lane)
{
    struct lane **link = &classify->lanes;
    while (*link != lane)
        link = &(*link)->next;
    *link = lane->next;
    classify->lanes_generation++;
}

/* The different preprocesses of all lanes, told to the tensor store. Wants the lock. */
static void update_wanted(struct classify *classify)
{
    enum { LANES_MAX = 256 };
    struct preprocess list[LANES_MAX];
    struct error err;
    int count = 0;

    for (const struct lane *lane = classify->lanes; lane != NULL && count < LANES_MAX;
         lane = lane->next) {
        const struct preprocess *own = &model_package(lane->model)->preprocess;
        int i = 0;
        while (i < count && !preprocess_equal(&list[i], own))
            i++;
        if (i == count)
            list[count++] = *own;
    }
    if (tensors_wanted(classify->tensors, list, count, &err) != STATUS_OK)
        log_warning("classify", "images are decoded more than once: %s", err.message);
}

/* A drained lane leaves once its last items are in the database. Its thread is joined by
 * classify_stop. */
static void leave(struct classify *classify, struct lane *lane)
{
    struct error err = {0};

    pthread_mutex_lock(&classify->lock);
    while (lane->count > 0 && !classify->stopping)
        pthread_cond_wait(&classify->room, &classify->lock);
    const bool drained = lane->count == 0;
    if (drained) {
        unlink_lane(classify, lane);
        lane->next = classify->departed;
        classify->departed = lane;
        update_wanted(classify);
        pthread_cond_broadcast(&classify->items_ready);
    }
    pthread_mutex_unlock(&classify->lock);
    if (!drained)
        return; /* stopping: what is left is read again at the next start */
    bus_consumer_close(lane->consumer);
    lane->consumer = NULL;
    if (bus_group_remove(classify->bus, lane->group, &err) != STATUS_OK ||
        register_model(classify, lane->model, "removed", &err) != STATUS_OK)
        log_error("classify", "removing %s: %s", lane->group, err.message);
    log_info("classify", "%s has finished its images and is gone", lane->group);
    model_drained(classify->models, lane->model);
    model_release(lane->model);
    lane->model = NULL;
}

struct fetcher {
    struct classify *classify;
    struct lane *lane;
};

static void *fetcher_thread(void *argument)
{
    const struct fetcher fetcher = *(struct fetcher *)argument;

    free(argument);
    if (fetch(fetcher.classify, fetcher.lane))
        leave(fetcher.classify, fetcher.lane);
    return NULL;
}

/* --- Following the set of models
 * ----------------------------------------------------------------------------- */

static struct lane *find_lane(const struct classify *classify, const struct model *model)
{
    struct lane *lane = classify->lanes;
    while (lane != NULL && lane->model != model)
        lane = lane->next;
    return lane;
}

static int start_fetcher(struct classify *classify, struct lane *lane, struct error *err)
{
    struct fetcher *fetcher = malloc(sizeof *fetcher);
    if (fetcher == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a thread");
    *fetcher = (struct fetcher){classify, lane};
    if (pthread_create(&lane->fetcher, NULL, fetcher_thread, fetcher) != 0) {
        free(fetcher);
        return error_set(err, STATUS_INTERNAL, "cannot start the thread of %s", lane->group);
    }
    return STATUS_OK;
}

static int add_lane(struct classify *classify, struct model *model, struct error *err)
{
    struct lane *lane = lane_create(model, err);
    if (lane == NULL)
        return STATUS_NO_MEMORY;
    int status = bus_subscribe(classify->bus, lane->group, classify->config->topic_images,
                               BUS_FROM_NEWEST, &lane->consumer, err);
    if (status != STATUS_OK)
        goto failed;
    status = register_model(classify, model, "active", err);
    if (status != STATUS_OK)
        goto failed;
    pthread_mutex_lock(&classify->lock);
    lane->next = classify->lanes;
    classify->lanes = lane;
    classify->lanes_generation++;
    update_wanted(classify);
    status = start_fetcher(classify, lane, err);
    if (status != STATUS_OK)
        unlink_lane(classify, lane);
    pthread_mutex_unlock(&classify->lock);
    if (status != STATUS_OK)
        goto failed;
    log_info("classify", "%s@%s is active (%s)", model_package(model)->name,
             model_package(model)->version, precision_name(engine_precision(model_engine(model))));
    return STATUS_OK;
failed:
    if (lane->consumer != NULL)
        bus_consumer_close(lane->consumer);
    lane_free(lane);
    return status;
}

static int drain_lane(struct classify *classify, struct model *model, struct error *err)
{
    const int status = register_model(classify, model, "draining", err);

    pthread_mutex_lock(&classify->lock);
    struct lane *lane = find_lane(classify, model);
    if (lane != NULL && !lane->draining) {
        lane->draining = true;
        lane->drain_us = clock_utc_us();
        bus_consumer_wake(lane->consumer);
    }
    pthread_mutex_unlock(&classify->lock);
    if (lane == NULL)
        model_drained(classify->models, model);
    return status;
}

static void model_changed(void *context, struct model *model)
{
    struct classify *classify = context;
    const struct model_package *package = model_package(model);
    struct error err = {0};
    int status = STATUS_OK;

    switch (model_state(model)) {
    case MODEL_ACTIVE:
        pthread_mutex_lock(&classify->lock);
        const bool is_served = find_lane(classify, model) != NULL;
        pthread_mutex_unlock(&classify->lock);
        if (!is_served)
            status = add_lane(classify, model, &err);
        break;
    case MODEL_DRAINING:
        status = drain_lane(classify, model, &err);
        break;
    case MODEL_FAILED:
        log_warning("classify", "a model cannot be served: %s", model_failure(model));
        if (package != NULL)
            status = register_model(classify, model, "failed", &err);
        break;
    case MODEL_LOADING:
        break;
    }
    if (status != STATUS_OK)
        log_error("classify", "following a change of %s: %s",
                  package != NULL ? package->name : "a model", err.message);
}

/* --- Life
 * ----------------------------------------------------------------------------------------------------
 */

static int adopt_models(struct classify *classify, struct error *err)
{
    struct model **list;
    int count;

    int status = sql_write(classify->sql, retire_all, NULL, err);
    if (status == STATUS_OK)
        status = model_set_list(classify->models, &list, &count, err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < count; i++) {
        model_changed(classify, list[i]);
        model_release(list[i]);
    }
    free(list);
    return classify_forget_absent(classify, err);
}

static int start_threads(struct classify *classify, struct error *err)
{
    classify->compute = calloc((size_t)classify->compute_count, sizeof *classify->compute);
    if (classify->compute == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the compute threads");
    if (pthread_create(&classify->publisher, NULL, classify_publish_thread, classify) != 0)
        return error_set(err, STATUS_INTERNAL, "cannot start the publisher's thread");
    classify->publisher_started = true;
    for (; classify->compute_started < classify->compute_count; classify->compute_started++)
        if (pthread_create(&classify->compute[classify->compute_started], NULL,
                           classify_compute_thread, classify) != 0)
            return error_set(err, STATUS_INTERNAL, "cannot start %d compute threads",
                             classify->compute_count);
    return STATUS_OK;
}

int classify_start(const struct config *config, struct sql *sql, struct bus *bus,
                   struct objects *objects, struct model_set *models, struct metrics *metrics,
                   struct classify **out, struct error *err)
{
    struct classify *classify = calloc(1, sizeof *classify);
    pthread_condattr_t monotonic;

    if (classify == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the classify stage");
    classify->config = config;
    classify->sql = sql;
    classify->bus = bus;
    classify->models = models;
    classify->metrics = metrics;
    classify->works_end = &classify->works;
    classify->compute_count = config->compute_threads > 0 ? (int)config->compute_threads
                                                          : (int)sysconf(_SC_NPROCESSORS_ONLN);
    pthread_mutex_init(&classify->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&classify->items_ready, &monotonic);
    pthread_cond_init(&classify->room, NULL);
    pthread_cond_init(&classify->works_ready, NULL);
    pthread_condattr_destroy(&monotonic);
    int status = tensors_create(config, objects, metrics, &classify->tensors, err);
    if (status == STATUS_OK)
        status = start_threads(classify, err);
    if (status == STATUS_OK) {
        model_set_on_change(models, model_changed, classify);
        status = adopt_models(classify, err);
    }
    if (status != STATUS_OK) {
        classify_stop(classify);
        return status;
    }
    *out = classify;
    return STATUS_OK;
}

static void stop_fetchers(struct classify *classify)
{
    pthread_mutex_lock(&classify->lock);
    classify->stopping = true;
    for (struct lane *lane = classify->lanes; lane != NULL; lane = lane->next)
        bus_consumer_wake(lane->consumer);
    pthread_cond_broadcast(&classify->room);
    pthread_cond_broadcast(&classify->items_ready);
    pthread_mutex_unlock(&classify->lock);
}

static void stop_threads(struct classify *classify)
{
    for (int i = 0; i < classify->compute_started; i++)
        pthread_join(classify->compute[i], NULL);
    pthread_mutex_lock(&classify->lock);
    classify->draining_done = true;
    pthread_cond_signal(&classify->works_ready);
    pthread_mutex_unlock(&classify->lock);
    if (classify->publisher_started)
        pthread_join(classify->publisher, NULL);
}

static void free_lanes(struct lane *lanes)
{
    for (struct lane *lane = lanes, *next; lane != NULL; lane = next) {
        next = lane->next;
        pthread_join(lane->fetcher, NULL);
        if (lane->consumer != NULL)
            bus_consumer_close(lane->consumer);
        lane_free(lane);
    }
}

void classify_stop(struct classify *classify)
{
    if (classify == NULL)
        return;
    model_set_on_change(classify->models, NULL, NULL);
    stop_fetchers(classify);
    stop_threads(classify);
    free_lanes(classify->lanes);
    free_lanes(classify->departed);
    tensors_free(classify->tensors);
    pthread_cond_destroy(&classify->works_ready);
    pthread_cond_destroy(&classify->room);
    pthread_cond_destroy(&classify->items_ready);
    pthread_mutex_destroy(&classify->lock);
    free(classify->compute);
    free(classify);
}

json_t *classify_describe(struct classify *classify)
{
    json_t *list = json_array();

    pthread_mutex_lock(&classify->lock);
    for (const struct lane *lane = classify->lanes; lane != NULL; lane = lane->next) {
        const struct model_package *package = model_package(lane->model);
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:i, s:i, s:I, s:I, s:b}", "model", package->name,
                            "version", package->version, "waiting", lane->count - lane->running,
                            "running", lane->running, "done", (json_int_t)lane->done, "failed",
                            (json_int_t)lane->failed, "draining", lane->draining));
    }
    pthread_mutex_unlock(&classify->lock);
    return list;
}
