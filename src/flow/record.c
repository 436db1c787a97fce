/* Record: see record.h. One thread; each poll's messages become one transaction. The work function
 * may be run again, so all it knows comes from the batch, and all it does goes through the
 * transaction. */
#include "flow/record.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "flow/comparison.h"
#include "flow/message.h"
#include "flow/rollup.h"

enum { POLL_MAX = 192, POLL_MS = 60000 };

#define RECORD_GROUP "record"

struct record {
    const struct config *config;
    struct sql *sql;
    struct bus *bus;
    struct bus_consumer *consumer;
    pthread_t thread;
    atomic_bool stopping;
    struct metric *recorded, *repeated, *rejected, *duration;
};

/* One message of a batch, read. */
struct told {
    int status; /* why it cannot be read, else STATUS_OK */
    struct error why;
    struct prediction_message message;
    struct told *next; /* of the same image, among those that changed something */
};

/* An image about which something new was told. */
struct touched {
    const char *image_id;
    struct told *told;
};

/* One transaction's input, and what it found and counted (set anew by each run of it). */
struct batch_work {
    struct record *record;
    const struct bus_batch *batch;
    struct told *told;       /* one a message */
    struct touched *touched; /* room for one a message */
    int touched_count;
    struct comparison *comparison; /* of the image in hand */
    struct rollups *rollups;
    int recorded, repeated, rejected;
};

/* --- One message
 * --------------------------------------------------------------------------------------------- */

/* An image that came over the bus from another producer has no row yet. */
static int ensure_image(struct sql_tx *tx, const struct prediction_message *message,
                        int64_t *inserted, struct error *err)
{
    static const char text[] =
        "INSERT INTO images (image_id, minio_path, upload_timestamp, file_size_bytes, width, "
        "height, format, source, processing_status, metadata, label, expected_models) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'processing', '{}', $9, "
        "(SELECT coalesce(json_group_array(name || '@' || version), '[]') FROM models "
        "WHERE state = 'active')) ON CONFLICT (image_id) DO NOTHING";
    const struct image_message *image = &message->image;
    char timestamp[TIMESTAMP_TEXT_MAX];

    return sql_exec(tx, text,
                    SQL_PARAMS(sql_text(message->image_id), sql_text(image->path),
                               sql_timestamp(message->timestamp_us, timestamp),
                               sql_integer(image->size), sql_integer(image->width),
                               sql_integer(image->height), sql_text(image->format),
                               sql_text(image->source),
                               sql_text(image->label[0] != '\0' ? image->label : NULL)),
                    inserted, err);
}

static void write_top(const struct prediction_message *message, struct buffer *out)
{
    buffer_text(out, "[");
    for (int i = 0; i < message->top_count; i++) {
        buffer_text(out, i == 0 ? "{\"class\":" : ",{\"class\":");
        json_quote(out, message->top[i].label);
        buffer_print(out, ",\"confidence\":%.6f}", message->top[i].confidence);
    }
    buffer_text(out, "]");
}

static int insert_prediction(struct sql_tx *tx, const struct prediction_message *message,
                             int64_t *inserted, struct error *err)
{
    static const char text[] =
        "INSERT INTO predictions (image_id, image_path, model_name, model_version, "
        "prediction_class, confidence, inference_time_ms, batch_size, top_k, created_at, "
        "image_size_bytes, image_width, image_height) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) "
        "ON CONFLICT (image_id, model_name, model_version) DO NOTHING";
    const struct image_message *image = &message->image;
    struct buffer top = {0};
    char timestamp[TIMESTAMP_TEXT_MAX];

    write_top(message, &top);
    const int status =
        !buffer_ok(&top)
            ? error_set(err, STATUS_NO_MEMORY, "no memory for a prediction")
            : sql_exec(
                  tx, text,
                  SQL_PARAMS(sql_text(message->image_id), sql_text(image->path),
                             sql_text(message->model_name), sql_text(message->model_version),
                             sql_text(message->prediction_class), sql_real(message->confidence),
                             sql_real(message->inference_time_ms), sql_integer(message->batch_size),
                             sql_text(top.data), sql_timestamp(message->timestamp_us, timestamp),
                             sql_integer(image->size), sql_integer(image->width),
                             sql_integer(image->height)),
                  inserted, err);
    buffer_free(&top);
    return status;
}

static int record_failure(struct sql_tx *tx, const struct prediction_message *message,
                          int64_t *inserted, struct error *err)
{
    static const char insert[] =
        "INSERT INTO prediction_failures (image_id, model_name, model_version, reason, created_at) "
        "VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (image_id, model_name, model_version) DO NOTHING";
    char timestamp[TIMESTAMP_TEXT_MAX];

    const int status =
        sql_exec(tx, insert,
                 SQL_PARAMS(sql_text(message->image_id), sql_text(message->model_name),
                            sql_text(message->model_version), sql_text(message->error),
                            sql_timestamp(message->timestamp_us, timestamp)),
                 inserted, err);
    if (status != STATUS_OK || !message->image_unreadable)
        return status;
    return sql_exec(tx, "UPDATE images SET failure_reason = $2 WHERE image_id = $1",
                    SQL_PARAMS(sql_text(message->image_id), sql_text(message->error)), NULL, err);
}

static void touch(struct batch_work *work, struct told *told)
{
    int i = work->touched_count;

    while (i-- > 0)
        if (strcmp(work->touched[i].image_id, told->message.image_id) == 0)
            break;
    if (i < 0) {
        i = work->touched_count++;
        work->touched[i] = (struct touched){.image_id = told->message.image_id};
    }
    told->next = work->touched[i].told;
    work->touched[i].told = told;
}

static int reject(struct sql_tx *tx, struct batch_work *work, const struct bus_message *message,
                  const struct told *told, struct error *err)
{
    char reason[ERROR_MESSAGE_MAX];

    work->rejected++;
    memcpy(reason, told->why.message, sizeof reason);
    text_clean(reason); /* it may quote a message that is not UTF-8 */
    return bus_dead_letter_in(work->record->bus, tx, message, RECORD_GROUP, 1, reason, err);
}

/* Keeps what one message says; what is there already changes nothing. */
static int record_message(struct sql_tx *tx, struct batch_work *work,
                          const struct bus_message *message, struct told *told, struct error *err)
{
    const bool is_failure = told->message.error[0] != '\0';
    int64_t images = 0, answers = 0;
    int status = STATUS_OK;

    if (told->status != STATUS_OK)
        return reject(tx, work, message, told, err);
    if (is_failure) /* which may mark the image's row */
        status = ensure_image(tx, &told->message, &images, err);
    if (status == STATUS_OK)
        status = is_failure ? record_failure(tx, &told->message, &answers, err)
                            : insert_prediction(tx, &told->message, &answers, err);
    if (status != STATUS_OK)
        return status;
    work->recorded += !is_failure && answers > 0;
    work->repeated += !is_failure && answers == 0;
    if (images + answers > 0)
        touch(work, told);
    return STATUS_OK;
}

/* --- One image
 * -----------------------------------------------------------------------------------------------
 */

static bool is_told(const struct touched *touched, const struct answer *answer)
{
    for (const struct told *told = touched->told; told != NULL; told = told->next)
        if (told->message.error[0] == '\0' &&
            strcmp(told->message.model_name, answer->model_name) == 0 &&
            strcmp(told->message.model_version, answer->model_version) == 0)
            return true;
    return false;
}

static void count_prediction(struct rollups *rollups, const struct prediction_message *message,
                             const char *label)
{
    const struct rollup_prediction prediction = {
        .model_name = message->model_name,
        .model_version = message->model_version,
        .prediction_class = message->prediction_class,
        .confidence = message->confidence,
        .time_ms = message->inference_time_ms,
        .timestamp_us = message->timestamp_us,
    };
    rollups_prediction(rollups, &prediction);
    rollups_label(rollups, &prediction, label, 1);
}

static void count_pair(struct rollups *rollups, const struct answer *a, const struct answer *b,
                       const char *label)
{
    const struct rollup_prediction one = {.model_name = a->model_name,
                                          .model_version = a->model_version,
                                          .prediction_class = a->prediction_class};
    const struct rollup_prediction other = {.model_name = b->model_name,
                                            .model_version = b->model_version,
                                            .prediction_class = b->prediction_class};
    rollups_pair(rollups, &one, &other);
    rollups_pair_label(rollups, &one, &other, label, 1);
}

/* Counts the new predictions, and the pairs that have a new one in them. The label is the
 * database's: it may have been set after the message was written. */
static void count_image(const struct batch_work *work, const struct touched *touched)
{
    const struct comparison *comparison = work->comparison;
    const char *label = comparison->image.label[0] != '\0' ? comparison->image.label : NULL;

    for (const struct told *told = touched->told; told != NULL; told = told->next)
        if (told->message.error[0] == '\0')
            count_prediction(work->rollups, &told->message, label);
    for (int i = 0; i < comparison->answer_count; i++)
        for (int j = i + 1; j < comparison->answer_count; j++)
            if (is_told(touched, &comparison->answers[i]) ||
                is_told(touched, &comparison->answers[j]))
                count_pair(work->rollups, &comparison->answers[i], &comparison->answers[j], label);
}

static int record_image(struct sql_tx *tx, struct batch_work *work, const struct touched *touched,
                        struct error *err)
{
    int status = comparison_read(tx, touched->image_id, work->comparison, err);
    if (status == STATUS_NOT_FOUND) {
        int64_t inserted;
        status = ensure_image(tx, &touched->told->message, &inserted, err);
        if (status == STATUS_OK)
            status = comparison_read(tx, touched->image_id, work->comparison, err);
    }
    if (status != STATUS_OK)
        return status;
    count_image(work, touched);
    return comparison_write(tx, work->record->bus, work->comparison, err);
}

/* --- A batch
 * -------------------------------------------------------------------------------------------------
 */

static int write_batch(struct sql_tx *tx, void *context, struct error *err)
{
    struct batch_work *work = context;
    const struct bus_batch *batch = work->batch;
    int status = STATUS_OK;

    work->touched_count = work->recorded = work->repeated = work->rejected = 0;
    work->rollups = rollups_begin(tx);
    if (work->rollups == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to count predictions");
    for (int i = 0; status == STATUS_OK && i < batch->count; i++)
        status = record_message(tx, work, &batch->messages[i], &work->told[i], err);
    for (int i = 0; status == STATUS_OK && i < work->touched_count; i++)
        status = record_image(tx, work, &work->touched[i], err);
    if (status == STATUS_OK)
        status = rollups_write(work->rollups, err);
    if (status == STATUS_OK)
        status = bus_commit_in(work->record->consumer, tx,
                               batch->messages[batch->count - 1].offset + 1, err);
    return status;
}

/* Before the transaction, which others wait for. */
static void read_batch(struct batch_work *work)
{
    for (int i = 0; i < work->batch->count; i++) {
        const struct bus_message *message = &work->batch->messages[i];
        struct told *told = &work->told[i];
        told->why = (struct error){0};
        told->status = prediction_message_read(message->value, message->value_size, &told->message,
                                               &told->why);
    }
}

/* Tries until the database takes it, or the process stops. */
static void write_until_taken(struct record *record, struct batch_work *work)
{
    for (int64_t wait_ms = 50; !atomic_load(&record->stopping);
         wait_ms = wait_ms < 2000 ? wait_ms * 2 : 2000) {
        const int64_t began_ns = clock_monotonic_ns();
        struct error err = {0};
        const int status = sql_write(record->sql, write_batch, work, &err);
        if (status == STATUS_OK) {
            metric_add(record->recorded, work->recorded);
            metric_add(record->repeated, work->repeated);
            metric_add(record->rejected, work->rejected);
            metric_observe(record->duration, (double)(clock_monotonic_ns() - began_ns) * 1e-9);
            return;
        }
        if (status == STATUS_CLOSED)
            return;
        log_warning("record", "predictions wait for the database: %s", err.message);
        clock_sleep_ms(wait_ms);
    }
}

static void run(struct record *record, struct batch_work *work)
{
    while (!atomic_load(&record->stopping)) {
        struct bus_batch batch;
        struct error err = {0};
        const int status = bus_poll(record->consumer, POLL_MAX, POLL_MS, &batch, &err);
        if (status == STATUS_CLOSED)
            continue;
        if (status != STATUS_OK) {
            log_error("record", "reading predictions failed, again in a second: %s", err.message);
            clock_sleep_ms(1000);
            continue;
        }
        work->batch = &batch;
        read_batch(work);
        if (batch.count > 0)
            write_until_taken(record, work);
        bus_batch_free(&batch);
    }
}

static void *record_thread(void *argument)
{
    struct record *record = argument;
    struct batch_work work = {
        .record = record,
        .told = calloc(POLL_MAX, sizeof *work.told),
        .touched = calloc(POLL_MAX, sizeof *work.touched),
        .comparison = calloc(1, sizeof *work.comparison),
    };

    if (work.told != NULL && work.touched != NULL && work.comparison != NULL)
        run(record, &work);
    else
        log_error("record", "no memory to record predictions; restart when there is some");
    free(work.told);
    free(work.touched);
    free(work.comparison);
    return NULL;
}

/* --- Life
 * ----------------------------------------------------------------------------------------------------
 */

int record_start(const struct config *config, struct sql *sql, struct bus *bus,
                 struct metrics *metrics, struct record **out, struct error *err)
{
    static const char name[] = "ocelli_predictions_recorded_total";
    static const char help[] = "Messages of the predictions topic, by what became of them";
    struct record *record = calloc(1, sizeof *record);

    if (record == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the record stage");
    *record = (struct record){
        .config = config,
        .sql = sql,
        .bus = bus,
        .recorded =
            metrics_labelled(metrics, METRIC_COUNTER, name, help, "result", "new", NULL, NULL),
        .repeated =
            metrics_labelled(metrics, METRIC_COUNTER, name, help, "result", "repeated", NULL, NULL),
        .rejected =
            metrics_labelled(metrics, METRIC_COUNTER, name, help, "result", "rejected", NULL, NULL),
        .duration = metrics_get(metrics, METRIC_HISTOGRAM, "ocelli_record_duration_seconds",
                                "Time of one transaction of the record stage", ""),
    };
    int status = bus_subscribe(bus, RECORD_GROUP, config->topic_predictions, BUS_FROM_OLDEST,
                               &record->consumer, err);
    if (status == STATUS_OK && pthread_create(&record->thread, NULL, record_thread, record) != 0) {
        bus_consumer_close(record->consumer);
        status = error_set(err, STATUS_INTERNAL, "cannot start the record stage's thread");
    }
    if (status != STATUS_OK) {
        free(record);
        return status;
    }
    *out = record;
    return STATUS_OK;
}

void record_stop(struct record *record)
{
    if (record == NULL)
        return;
    atomic_store(&record->stopping, true);
    bus_consumer_wake(record->consumer);
    pthread_join(record->thread, NULL);
    bus_consumer_close(record->consumer);
    free(record);
}

/* --- Labels and clearing
 * ------------------------------------------------------------------------------------- */

struct label_work {
    const char *image_id;
    const char *label; /* NULL removes it */
};

static int read_label(struct sql_tx *tx, const char *image_id, char label[LABEL_SIZE],
                      struct error *err)
{
    struct sql_rows *rows = NULL;

    label[0] = '\0';
    const int status = sql_query(tx, "SELECT label FROM images WHERE image_id = $1",
                                 SQL_PARAMS(sql_text(image_id)), &rows, err);
    if (status != STATUS_OK)
        return status;
    const int got = sql_rows_next(rows, err);
    if (got == 1)
        strncpy(label, sql_rows_text(rows, 0), LABEL_SIZE - 1);
    label[LABEL_SIZE - 1] = '\0';
    sql_rows_free(rows);
    return got < 0 ? got : STATUS_OK;
}

/* A label must be a class that some model that serves can answer. */
static int check_label(struct sql_tx *tx, const char *label, struct error *err)
{
    static const char text[] = "SELECT 1 FROM models, json_each(models.labels) AS label "
                               "WHERE models.state <> 'removed' AND label.value = $1 LIMIT 1";
    struct sql_rows *rows = NULL;

    if (label == NULL)
        return STATUS_OK;
    const int status = sql_query(tx, text, SQL_PARAMS(sql_text(label)), &rows, err);
    if (status != STATUS_OK)
        return status;
    const int got = sql_rows_next(rows, err);
    sql_rows_free(rows);
    if (got == 0)
        return error_set(err, STATUS_INVALID, "no model knows the class '%s'", label);
    return got < 0 ? got : STATUS_OK;
}

static int write_label(struct sql_tx *tx, void *context, struct error *err)
{
    const struct label_work *work = context;
    char before[LABEL_SIZE];
    int64_t changed = 0;

    int status = check_label(tx, work->label, err);
    if (status == STATUS_OK)
        status = read_label(tx, work->image_id, before, err);
    if (status == STATUS_OK)
        status =
            sql_exec(tx, "UPDATE images SET label = $2 WHERE image_id = $1",
                     SQL_PARAMS(sql_text(work->image_id), sql_text(work->label)), &changed, err);
    if (status != STATUS_OK)
        return status;
    if (changed == 0)
        return error_set(err, STATUS_NOT_FOUND, "there is no image '%s'", work->image_id);
    return rollup_relabel(tx, work->image_id, before[0] != '\0' ? before : NULL, work->label, err);
}

int record_label(struct sql *sql, const char *image_id, const char *label, struct error *err)
{
    struct label_work work = {image_id, label};
    return sql_write(sql, write_label, &work, err);
}

static int write_clear(struct sql_tx *tx, void *context, struct error *err)
{
    int status = sql_exec(tx, "DELETE FROM predictions", SQL_NO_PARAMS, context, err);
    if (status == STATUS_OK)
        status = sql_exec(tx, "DELETE FROM prediction_failures", SQL_NO_PARAMS, NULL, err);
    if (status == STATUS_OK)
        status = sql_exec(tx, "DELETE FROM model_comparisons", SQL_NO_PARAMS, NULL, err);
    return status == STATUS_OK ? rollup_clear(tx, err) : status;
}

int record_clear(struct sql *sql, int64_t *count, struct error *err)
{
    *count = 0;
    return sql_write(sql, write_clear, count, err);
}
