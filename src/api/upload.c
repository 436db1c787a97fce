/* Uploading: one image, or many in one form. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/views.h"
#include "base/clock.h"
#include "base/text.h"
#include "image/image.h"

enum { FORM_FIELD_MAX = 4096, FORM_OVERHEAD_MAX = 65536 };

/* --- One image
 * -----------------------------------------------------------------------------------------------
 */

/* The text fields of an upload form. Owned by the request's arena. */
struct upload_fields {
    const char *label;
    const char *source;
};

static void keep_field(struct request *request, const struct part *part,
                       struct upload_fields *fields)
{
    char *text = arena_copy_text(request_arena(request), (const char *)part->bytes, part->size);
    if (text == NULL || text[0] == '\0')
        return;
    if (strcmp(part->name, "label") == 0)
        fields->label = text;
    else if (strcmp(part->name, "source") == 0)
        fields->source = text;
}

/* Refuses a body that says of itself that it is too long, before any of it is read. */
static int check_length(const struct request *request, int64_t most, struct error *err)
{
    const char *text = request_header(request, "Content-Length");
    int64_t length;

    if (text == NULL || text_read_integer(text, &length) != 0 || length <= most)
        return STATUS_OK;
    return error_set(err, STATUS_TOO_LARGE,
                     "the upload has %lld bytes; at most %lld are allowed, the form around the "
                     "images included",
                     (long long)length, (long long)most);
}

static json_t *accepted_as_json(const struct image_message *accepted, const char *filename)
{
    char timestamp[TIMESTAMP_TEXT_MAX];
    return json_pack("{s:s, s:s, s:s, s:s?, s:s, s:s, s:{s:i, s:i, s:s, s:I}, s:s?}", "image_id",
                     accepted->image_id, "status", "pending", "minio_path", accepted->path,
                     "original_filename", filename, "source", accepted->source, "timestamp",
                     timestamp_format(accepted->timestamp_us, timestamp), "metadata", "width",
                     accepted->width, "height", accepted->height, "format", accepted->format,
                     "size", (json_int_t)accepted->size, "label",
                     accepted->label[0] != '\0' ? accepted->label : NULL);
}

static const char *source_of(const struct upload_fields *fields)
{
    return fields->source != NULL ? fields->source : "upload";
}

static int submit(const struct api *api, const struct part *part,
                  const struct upload_fields *fields, const char *image_id,
                  struct image_message *accepted, struct error *err)
{
    const struct ingest_image image = {
        .bytes = part->bytes,
        .size = part->size,
        .image_id = image_id,
        .filename = part->filename,
        .source = source_of(fields),
        .label = fields->label,
    };
    return ingest_submit(api->ingest, &image, accepted, err);
}

/* Reads the form up to the file's part. Fields may come before or after it in the form; those after
 * it are too late, so clients put the file last; a label can also be given as ?label=. */
static int next_file(struct request *request, const char *name, size_t file_max,
                     struct upload_fields *fields, struct part *part, struct error *err)
{
    int got;
    while ((got = request_next_part(request, file_max, part, err)) == 1) {
        if (strcmp(part->name, name) == 0)
            return 1;
        if (part->filename == NULL && part->size <= FORM_FIELD_MAX)
            keep_field(request, part, fields);
    }
    return got;
}

/* Who waits keeps a worker from others, so that some workers are never given to that. */
static bool may_wait(struct api *api)
{
    const int most = (int)(api->config->http_threads - api->config->http_threads / 4);

    if (atomic_fetch_add(&api->waiting, 1) < most)
        return true;
    atomic_fetch_sub(&api->waiting, 1);
    return false;
}

/* Submits one image and, when asked, waits for its comparison; *finished is then the image with its
 * predictions. Without waiting, or when it cannot be had, NULL: the image is stored all the same.
 */
static int submit_and_wait(struct api *api, const struct part *part,
                           const struct upload_fields *fields, double wait_seconds,
                           struct image_message *accepted, json_t **finished, struct error *err)
{
    struct live_waiter *waiter = NULL;
    char image_id[ID_TEXT_SIZE];

    *finished = NULL;
    id_make(image_id);
    const bool waits = wait_seconds > 0.0 && may_wait(api);
    int status = waits ? live_expect(api->live, image_id, &waiter, err) : STATUS_OK;
    if (status == STATUS_OK)
        status = submit(api, part, fields, image_id, accepted, err);
    if (status == STATUS_OK && waits &&
        live_wait(api->live, waiter, (int64_t)(wait_seconds * 1000.0), NULL) == STATUS_OK)
        view_image(api->sql, image_id, finished, NULL);
    live_forget(api->live, waiter);
    if (waits)
        atomic_fetch_sub(&api->waiting, 1);
    return status;
}

static void handle_upload(struct request *request, struct response *response, void *context)
{
    struct api *api = context;
    struct upload_fields fields = {.label = request_query(request, "label"),
                                   .source = request_query(request, "source")};
    struct image_message accepted;
    struct error err = {0};
    struct part part;
    double wait_seconds = 0.0;
    json_t *finished = NULL;

    int status = request_query_real(request, "wait", 0.0, (double)api->config->wait_seconds_max,
                                    &wait_seconds, &err);
    if (status == STATUS_OK)
        status = check_length(request, api->config->upload_bytes_max + FORM_OVERHEAD_MAX, &err);
    if (status == STATUS_OK)
        status =
            next_file(request, "file", (size_t)api->config->upload_bytes_max, &fields, &part, &err);
    if (status == 0)
        status = error_set(&err, STATUS_INVALID, "the form has no field 'file' with an image");
    else if (status == 1)
        status = submit_and_wait(api, &part, &fields, wait_seconds, &accepted, &finished, &err);
    if (status != STATUS_OK)
        response_error(response, &err);
    else if (finished != NULL)
        response_json(response, 200, finished);
    else
        response_json(response, wait_seconds > 0.0 ? 202 : 200,
                      accepted_as_json(&accepted, part.filename));
}

static json_t *refusal_as_json(const char *filename, const struct error *err)
{
    return json_pack("{s:s?, s:s, s:s}", "original_filename", filename, "code",
                     status_name(err->code), "detail", err->message);
}

/* --- Many
 * ----------------------------------------------------------------------------------------------------
 */

/* Images of a batch are submitted a group at a time: those of a group share their syncs, and a
 * group is all of a batch that memory holds. */
enum { GROUP_MAX = 64, GROUP_BYTES_MAX = 8 * 1024 * 1024 };

struct batch {
    const struct api *api;
    struct ingest_item items[GROUP_MAX]; /* their bytes and names are copies */
    int count;
    size_t group_bytes;
    int64_t files, bytes; /* read so far */
    json_t *accepted, *refused;
};

static int check_batch(const struct batch *batch, struct error *err)
{
    const struct config *config = batch->api->config;

    if (batch->files > config->batch_files_max)
        return error_set(err, STATUS_TOO_LARGE, "a batch may have at most %lld files",
                         (long long)config->batch_files_max);
    if (batch->bytes > config->batch_bytes_max)
        return error_set(err, STATUS_TOO_LARGE, "the images of a batch may have at most %lld bytes",
                         (long long)config->batch_bytes_max);
    return STATUS_OK;
}

/* Submits the group, notes what became of each image, in their order, and empties it. */
static void submit_group(struct batch *batch)
{
    ingest_submit_many(batch->api->ingest, batch->items, batch->count);
    for (int i = 0; i < batch->count; i++) {
        struct ingest_item *item = &batch->items[i];
        if (item->status == STATUS_OK)
            json_array_append_new(batch->accepted,
                                  accepted_as_json(&item->accepted, item->image.filename));
        else
            json_array_append_new(batch->refused,
                                  refusal_as_json(item->image.filename, &item->error));
        free((void *)item->image.bytes);
        free((void *)item->image.filename);
    }
    batch->count = 0;
    batch->group_bytes = 0;
}

static int add_to_group(struct batch *batch, const struct part *part,
                        const struct upload_fields *fields, struct error *err)
{
    if (batch->count == GROUP_MAX || batch->group_bytes + part->size > GROUP_BYTES_MAX)
        submit_group(batch);
    uint8_t *bytes = malloc(part->size + 1); /* an empty file is refused with its sentence */
    char *filename = part->filename != NULL ? strdup(part->filename) : NULL;
    if (bytes == NULL || (filename == NULL && part->filename != NULL)) {
        free(bytes);
        free(filename);
        return error_set(err, STATUS_NO_MEMORY, "no memory for an image");
    }
    if (part->size > 0)
        memcpy(bytes, part->bytes, part->size);
    struct ingest_item *item = &batch->items[batch->count++];
    *item = (struct ingest_item){.image = {.bytes = bytes,
                                           .size = part->size,
                                           .filename = filename,
                                           .source = source_of(fields),
                                           .label = fields->label}};
    batch->group_bytes += part->size;
    return STATUS_OK;
}

/* Reads the form to its end. Fails when it breaks off or the batch is over its bounds; what was
 * accepted until then stays. */
static int read_batch(struct batch *batch, struct request *request, struct error *err)
{
    struct upload_fields fields = {.label = request_query(request, "label"),
                                   .source = request_query(request, "source")};
    const size_t file_max = (size_t)batch->api->config->upload_bytes_max;
    struct part part;
    int got;

    while ((got = next_file(request, "files", file_max, &fields, &part, err)) != 0) {
        if (got < 0 && got != STATUS_TOO_LARGE)
            return got;
        batch->files++;
        batch->bytes += got == 1 ? (int64_t)part.size : 0;
        int status = check_batch(batch, err);
        if (status != STATUS_OK)
            return status;
        if (got == STATUS_TOO_LARGE)
            json_array_append_new(batch->refused, refusal_as_json(part.filename, err));
        else if ((status = add_to_group(batch, &part, &fields, err)) != STATUS_OK)
            return status;
    }
    return batch->files > 0
               ? STATUS_OK
               : error_set(err, STATUS_INVALID, "the form has no field 'files' with images");
}

static void answer_batch(struct batch *batch, int status, struct error *err,
                         struct response *response)
{
    const size_t accepted_count = json_array_size(batch->accepted);
    json_t *body = json_pack("{s:I, s:I, s:o, s:o}", "accepted_count", (json_int_t)accepted_count,
                             "refused_count", (json_int_t)json_array_size(batch->refused),
                             "accepted", batch->accepted, "refused", batch->refused);

    if (status != STATUS_OK && accepted_count == 0) {
        response_error(response, err);
        json_decref(body);
        return;
    }
    if (status != STATUS_OK) { /* what was accepted stays, and the client must hear of it */
        text_clean(err->message);
        json_object_set_new(body, "interrupted", json_string(err->message));
    }
    response_json(response, 200, body);
}

static void handle_upload_batch(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct batch *batch = calloc(1, sizeof *batch);
    struct error err = {0};

    if (batch == NULL) {
        error_set(&err, STATUS_NO_MEMORY, "no memory for a batch");
        response_error(response, &err);
        return;
    }
    batch->api = api;
    batch->accepted = json_array();
    batch->refused = json_array();
    int status = check_length(request, api->config->batch_bytes_max, &err);
    if (status == STATUS_OK) {
        status = read_batch(batch, request, &err);
        submit_group(batch);
    }
    answer_batch(batch, status, &err, response);
    free(batch);
}

/* --- The table
 * -----------------------------------------------------------------------------------------------
 */

#define UPLOAD_BODY_MAX ((size_t)1 << 40) /* the handlers bound each part by upload_bytes_max */
#define BINARY          "{\"type\":\"string\",\"contentMediaType\":\"application/octet-stream\"}"
#define TEXT            "{\"type\":\"string\"}"

#define JSON "application/json"

static const struct route_parameter upload_parameters[] = {
    {"file", "form", BINARY, true, "the image: JPEG, PNG or WebP"},
    {"label", "form", TEXT, false, "the true class, when it is known (before the file)"},
    {"source", "form", TEXT, false, "where the image comes from; \"upload\" otherwise"},
    {"wait", "query", "{\"type\":\"number\",\"minimum\":0}", false,
     "seconds to wait for all models; the answer is then the finished comparison"},
    {NULL},
};
static const struct route_parameter batch_parameters[] = {
    {"files", "form", "{\"type\":\"array\",\"items\":" BINARY "}", true, "the images"},
    {"label", "form", TEXT, false, "the true class of all of them (before the files)"},
    {"source", "form", TEXT, false, "where the images come from"},
    {NULL},
};
static const struct route_answer upload_answers[] = {
    {200, JSON, "#/components/schemas/Image", "stored for good; with wait, finished"},
    {202, JSON, "#/components/schemas/Image", "stored for good, but not finished within wait"},
    {413, "application/problem+json", "#/components/schemas/Problem", "too many bytes or pixels"},
    {415, "application/problem+json", "#/components/schemas/Problem", "not a JPEG, PNG or WebP"},
    {422, "application/problem+json", "#/components/schemas/Problem", "a broken image"},
    {503, "application/problem+json", "#/components/schemas/Problem", "the backlog is full"},
    {507, "application/problem+json", "#/components/schemas/Problem", "the disk is full"},
    {0},
};

static const struct route_answer batch_answers[] = {
    {200, JSON, "#/components/schemas/Batch", "what was stored and what was refused, file by file"},
    {413, "application/problem+json", "#/components/schemas/Problem", "too many bytes"},
    {0},
};

const struct route api_upload_routes[] = {
    {"POST", "/upload", handle_upload, SCOPE_WRITE, ROUTE_STREAMS_BODY, UPLOAD_BODY_MAX, "images",
     "Store and classify one image", NULL, upload_parameters, upload_answers},
    {"POST", "/upload/batch", handle_upload_batch, SCOPE_WRITE, ROUTE_STREAMS_BODY, UPLOAD_BODY_MAX,
     "images", "Store and classify many images", NULL, batch_parameters, batch_answers},
    {NULL},
};
