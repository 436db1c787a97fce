/* Ingest: see ingest.h. The order is what makes the promise hold: the object first, synced; then
 * one transaction with the row and the message. A crash in between leaves an object nobody knows,
 * never a row without its object. */
#include "flow/ingest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"

struct ingest {
    const struct config *config;
    struct sql *sql;
    struct bus *bus;
    struct objects *objects;
    struct metrics *metrics;
    struct metric *accepted;
    struct metric *accepted_bytes;
    struct metric *duration;
};

int ingest_create(const struct config *config, struct sql *sql, struct bus *bus,
                  struct objects *objects, struct metrics *metrics, struct ingest **out,
                  struct error *err)
{
    struct ingest *ingest = calloc(1, sizeof *ingest);
    if (ingest == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the ingest stage");
    *ingest = (struct ingest){
        .config = config,
        .sql = sql,
        .bus = bus,
        .objects = objects,
        .metrics = metrics,
        .accepted = metrics_get(metrics, METRIC_COUNTER, "ocelli_images_accepted_total",
                                "Images that are durable and announced", ""),
        .accepted_bytes = metrics_get(metrics, METRIC_COUNTER, "ocelli_images_accepted_bytes_total",
                                      "Bytes of accepted images", ""),
        .duration = metrics_get(metrics, METRIC_HISTOGRAM, "ocelli_ingest_duration_seconds",
                                "From an image's arrival until it is durable", ""),
    };
    *out = ingest;
    return STATUS_OK;
}

void ingest_free(struct ingest *ingest)
{
    free(ingest);
}

static int refuse(struct ingest *ingest, int status)
{
    metric_add(metrics_labelled(ingest->metrics, METRIC_COUNTER, "ocelli_images_refused_total",
                                "Images that were not taken, by reason", "reason",
                                status_name(status), NULL, NULL),
               1);
    return status;
}

static int copy_field(char *field, size_t field_size, const char *text, const char *what,
                      struct error *err)
{
    const size_t length = text == NULL ? 0 : strlen(text);
    if (length >= field_size)
        return error_set(err, STATUS_INVALID, "the %s has %zu bytes; at most %zu are allowed", what,
                         length, field_size - 1);
    if (text != NULL && !text_is_utf8(text, length))
        return error_set(err, STATUS_INVALID, "the %s is not UTF-8", what);
    memcpy(field, text == NULL ? "" : text, length + 1);
    return STATUS_OK;
}

/* Checks what came and fills the message from it. */
static int describe(const struct ingest *ingest, const struct ingest_image *image,
                    struct image_message *message, struct error *err)
{
    const struct image_limits limits = {
        .bytes_max = (size_t)ingest->config->upload_bytes_max,
        .pixels_max = ingest->config->upload_pixels_max,
    };
    struct image_info info;
    int status = image_probe(image->bytes, image->size, &limits, &info, err);
    if (status != STATUS_OK)
        return status;

    memset(message, 0, sizeof *message);
    if (image->image_id == NULL)
        id_make(message->image_id);
    else if ((status = copy_field(message->image_id, sizeof message->image_id, image->image_id,
                                  "image id", err)) != STATUS_OK)
        return status;
    if ((status = copy_field(message->source, sizeof message->source, image->source, "source",
                             err)) != STATUS_OK ||
        (status = copy_field(message->label, sizeof message->label, image->label, "label", err)) !=
            STATUS_OK ||
        (status = copy_field(message->format, sizeof message->format,
                             image_format_name(info.format), "format", err)) != STATUS_OK)
        return status;
    message->timestamp_us = clock_utc_us();
    message->width = info.width;
    message->height = info.height;
    message->size = (int64_t)image->size;
    return objects_key(message->path, sizeof message->path, message->timestamp_us,
                       message->image_id, image_format_extension(info.format), err);
}

struct announcement {
    const struct ingest *ingest;
    const struct ingest_image *image;
    const struct image_message *message;
    const char *sha256;
    const char *text; /* the message as JSON */
};

/* The row and its message, in one transaction. The models that are active now, in the same
 * snapshot, are the ones this image owes an answer from. */
static int announce(struct sql_tx *tx, void *context, struct error *err)
{
    static const char insert[] =
        "INSERT INTO images (image_id, original_filename, minio_path, upload_timestamp, "
        "file_size_bytes, width, height, format, source, processing_status, metadata, label, "
        "sha256, expected_models) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending', $10, $11, "
        "$12, (SELECT coalesce(json_group_array(name || '@' || version), '[]') FROM models "
        "WHERE state = 'active'))";
    const struct announcement *announcement = context;
    const struct image_message *message = announcement->message;
    const struct ingest_image *image = announcement->image;
    char timestamp[TIMESTAMP_TEXT_MAX];

    const int status = sql_exec(
        tx, insert,
        SQL_PARAMS(sql_text(message->image_id), sql_text(image->filename), sql_text(message->path),
                   sql_timestamp(message->timestamp_us, timestamp), sql_integer(message->size),
                   sql_integer(message->width), sql_integer(message->height),
                   sql_text(message->format), sql_text(message->source),
                   sql_text(image->metadata != NULL ? image->metadata : "{}"),
                   sql_text(message->label[0] != '\0' ? message->label : NULL),
                   sql_text(announcement->sha256)),
        NULL, err);
    if (status != STATUS_OK)
        return status;
    return bus_publish_in(announcement->ingest->bus, tx, announcement->ingest->config->topic_images,
                          message->image_id, announcement->text, NULL, err);
}

static int store(struct ingest *ingest, const struct ingest_image *image,
                 const struct image_message *message, struct error *err)
{
    char digest[SHA256_TEXT_SIZE];
    struct buffer text = {0};

    image_message_write(message, &text);
    if (!buffer_ok(&text))
        return error_set(err, STATUS_NO_MEMORY, "no memory to announce an image");
    int status = objects_put(ingest->objects, message->path, image->bytes, image->size, err);
    if (status != STATUS_OK)
        goto done;
    struct announcement announcement = {
        .ingest = ingest,
        .image = image,
        .message = message,
        .sha256 = sha256_text(image->bytes, image->size, digest),
        .text = text.data,
    };
    status = sql_write(ingest->sql, announce, &announcement, err);
    /* After a failed sync the row may be there at the next start, so its object must be too. */
    if (status != STATUS_OK && status != STATUS_IO && status != STATUS_CLOSED)
        objects_delete(ingest->objects, message->path, NULL);
done:
    buffer_free(&text);
    return status;
}

int ingest_submit(struct ingest *ingest, const struct ingest_image *image,
                  struct image_message *accepted, struct error *err)
{
    const int64_t began_ns = clock_monotonic_ns();

    if (bus_backlog(ingest->bus, ingest->config->topic_images) >= ingest->config->backlog_max)
        return refuse(ingest, error_set(err, STATUS_BUSY,
                                        "%lld images are waiting to be classified, as many as are "
                                        "allowed; try again in a few seconds",
                                        (long long)ingest->config->backlog_max));
    int status = describe(ingest, image, accepted, err);
    if (status == STATUS_OK)
        status = store(ingest, image, accepted, err);
    if (status != STATUS_OK)
        return refuse(ingest, status);
    metric_add(ingest->accepted, 1);
    metric_add(ingest->accepted_bytes, (double)image->size);
    metric_observe(ingest->duration, (double)(clock_monotonic_ns() - began_ns) * 1e-9);
    return STATUS_OK;
}

/* --- Many
 * ----------------------------------------------------------------------------------------------------
 */

enum { SUBMITTERS_MAX = 12 };

struct submission {
    struct ingest *ingest;
    struct ingest_item *items;
    int count;
    atomic_int next;
};

static void *submit_items(void *argument)
{
    struct submission *submission = argument;

    for (int i; (i = atomic_fetch_add(&submission->next, 1)) < submission->count;) {
        struct ingest_item *item = &submission->items[i];
        item->status =
            ingest_submit(submission->ingest, &item->image, &item->accepted, &item->error);
    }
    return NULL;
}

/* An image spends its time waiting for syncs, and those who wait together share one: so a thread
 * each, of which the caller is one and the others are optional. */
void ingest_submit_many(struct ingest *ingest, struct ingest_item *items, int count)
{
    struct submission submission = {.ingest = ingest, .items = items, .count = count};
    pthread_t threads[SUBMITTERS_MAX];
    int started = 0;

    while (started < SUBMITTERS_MAX - 1 && started + 1 < count &&
           pthread_create(&threads[started], NULL, submit_items, &submission) == 0)
        started++;
    submit_items(&submission);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}
