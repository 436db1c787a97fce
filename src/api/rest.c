/* REST: the paths of the fixed interface (upload, predictions, comparisons, statistics). Handlers
 * first by topic, the table of routes last. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/query.h"
#include "api/views.h"
#include "base/clock.h"
#include "flow/record.h"
#include "image/image.h"

enum { FORM_FIELD_MAX = 4096, RECENT_MAX = 1000 };

/* --- Uploading
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

static int submit(const struct api *api, const struct part *part,
                  const struct upload_fields *fields, const char *image_id,
                  struct image_message *accepted, struct error *err)
{
    const struct ingest_image image = {
        .bytes = part->bytes,
        .size = part->size,
        .image_id = image_id,
        .filename = part->filename,
        .source = fields->source != NULL ? fields->source : "upload",
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

/* Submits one image and, when asked, waits for its comparison; *finished is then the image with its
 * predictions. */
static int submit_and_wait(const struct api *api, const struct part *part,
                           const struct upload_fields *fields, double wait_seconds,
                           struct image_message *accepted, json_t **finished, struct error *err)
{
    struct live_waiter *waiter = NULL;
    char image_id[ID_TEXT_SIZE];

    *finished = NULL;
    id_make(image_id);
    int status = wait_seconds > 0.0 ? live_expect(api->live, image_id, &waiter, err) : STATUS_OK;
    if (status == STATUS_OK)
        status = submit(api, part, fields, image_id, accepted, err);
    if (status == STATUS_OK && waiter != NULL &&
        live_wait(api->live, waiter, (int64_t)(wait_seconds * 1000.0), NULL) == STATUS_OK)
        status = view_image(api->sql, image_id, finished, err);
    live_forget(api->live, waiter);
    return status;
}

static void handle_upload(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
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

static void handle_upload_batch(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct upload_fields fields = {.label = request_query(request, "label"),
                                   .source = request_query(request, "source")};
    json_t *accepted_list = json_array(), *refused_list = json_array();
    struct error err = {0};
    struct part part;
    int got;

    while ((got = next_file(request, "files", (size_t)api->config->upload_bytes_max, &fields, &part,
                            &err)) != 0) {
        struct image_message accepted;
        if (got == STATUS_TOO_LARGE) {
            json_array_append_new(refused_list, refusal_as_json(part.filename, &err));
            continue;
        }
        if (got < 0)
            break;
        if (submit(api, &part, &fields, NULL, &accepted, &err) == STATUS_OK)
            json_array_append_new(accepted_list, accepted_as_json(&accepted, part.filename));
        else
            json_array_append_new(refused_list, refusal_as_json(part.filename, &err));
    }
    const size_t accepted_count = json_array_size(accepted_list);
    const size_t refused_count = json_array_size(refused_list);
    if (got == 0 && accepted_count + refused_count == 0)
        got = error_set(&err, STATUS_INVALID, "the form has no field 'files' with images");
    json_t *body = json_pack("{s:I, s:I, s:o, s:o}", "accepted_count", (json_int_t)accepted_count,
                             "refused_count", (json_int_t)refused_count, "accepted", accepted_list,
                             "refused", refused_list);
    if (got < 0 && accepted_count == 0) {
        response_error(response, &err);
        json_decref(body);
        return;
    }
    if (got < 0) /* what was accepted before the form broke stays, and the client must hear of it */
        json_object_set_new(body, "interrupted", json_string(err.message));
    response_json(response, 200, body);
}

/* --- Predictions and comparisons
 * ----------------------------------------------------------------------------- */

static void answer(struct response *response, int status, json_t *body, const struct error *err)
{
    if (status == STATUS_OK)
        response_json(response, 200, body);
    else
        response_error(response, err);
}

static void handle_predictions(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct error err = {0};
    json_t *body = NULL;

    const int status = view_image(api->sql, request_param(request, "image_id"), &body, &err);
    answer(response, status, body, &err);
}

static int path_limit(const struct request *request, int64_t *limit, struct error *err)
{
    const char *text = request_param(request, "limit");
    char *end;

    const long long number = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || number < 1 || number > RECENT_MAX)
        return error_set(err, STATUS_INVALID, "the limit must be from 1 to %d, not '%.32s'",
                         RECENT_MAX, text);
    *limit = number;
    return STATUS_OK;
}

static void handle_recent(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct error err = {0};
    json_t *body = NULL;
    int64_t limit = 0;

    int status = path_limit(request, &limit, &err);
    if (status == STATUS_OK)
        status = view_recent_predictions(api->sql, limit, &body, &err);
    answer(response, status, body, &err);
}

static void handle_comparison(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct error err = {0};
    json_t *body = NULL;

    const int status = view_comparison(api->sql, request_param(request, "image_id"), &body, &err);
    answer(response, status, body, &err);
}

/* --- Statistics
 * ---------------------------------------------------------------------------------------------- */

static void handle_stats_models(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct error err = {0};
    json_t *body = NULL;

    (void)request;
    const int status = view_model_stats(api->sql, &body, &err);
    answer(response, status, body, &err);
}

static void handle_stats_performance(struct request *request, struct response *response,
                                     void *context)
{
    const struct api *api = context;
    struct error err = {0};
    json_t *body = NULL;
    int64_t hours = 24;

    int status = request_query_integer(request, "hours", 1, 24 * 366, &hours, &err);
    if (status == STATUS_OK)
        status = view_performance(api->sql, hours, &body, &err);
    answer(response, status, body, &err);
}

static void handle_clear(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct error err = {0};
    int64_t count;

    (void)request;
    const int status = record_clear(api->sql, &count, &err);
    answer(response, status,
           status == STATUS_OK ? json_pack("{s:I}", "deleted_predictions", (json_int_t)count)
                               : NULL,
           &err);
}

/* --- The table
 * -----------------------------------------------------------------------------------------------
 */

#define UPLOAD_BODY_MAX ((size_t)1 << 40) /* the handlers bound each part by upload_bytes_max */
#define BINARY          "{\"type\":\"string\",\"contentMediaType\":\"application/octet-stream\"}"
#define TEXT            "{\"type\":\"string\"}"

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
static const struct route_parameter image_parameters[] = {
    {"image_id", "path", "{\"type\":\"string\",\"format\":\"uuid\"}", true, "the image's id"},
    {NULL},
};
static const struct route_parameter recent_parameters[] = {
    {"limit", "path", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000}", true, "how many"},
    {NULL},
};
static const struct route_parameter performance_parameters[] = {
    {"hours", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":8784,\"default\":24}",
     false, "how far back"},
    {NULL},
};

#define JSON "application/json"
#define NOT_FOUND                                                                                  \
    {                                                                                              \
        404, "application/problem+json", "#/components/schemas/Problem", "no such image"           \
    }

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
    {0},
};
static const struct route_answer image_answers[] = {
    {200, JSON, "#/components/schemas/Image", "the image and its predictions"}, NOT_FOUND, {0}};
static const struct route_answer recent_answers[] = {
    {200, JSON, "#/components/schemas/Predictions", "newest first"}, {0}};
static const struct route_answer comparison_answers[] = {
    {200, JSON, "#/components/schemas/Comparison", "the models side by side"}, NOT_FOUND, {0}};
static const struct route_answer stats_answers[] = {
    {200, JSON, "#/components/schemas/ModelStats", "a row a model, and a row a pair of models"},
    {0}};
static const struct route_answer performance_answers[] = {
    {200, JSON, "#/components/schemas/Performance", "a row an hour and model"}, {0}};
static const struct route_answer clear_answers[] = {
    {200, JSON, "#/components/schemas/Cleared", "how many were deleted"}, {0}};

const struct route api_rest_routes[] = {
    {"POST", "/upload", handle_upload, SCOPE_WRITE, ROUTE_STREAMS_BODY, UPLOAD_BODY_MAX, "images",
     "Store and classify one image", NULL, upload_parameters, upload_answers},
    {"POST", "/upload/batch", handle_upload_batch, SCOPE_WRITE, ROUTE_STREAMS_BODY, UPLOAD_BODY_MAX,
     "images", "Store and classify many images", NULL, batch_parameters, batch_answers},
    {"GET", "/predictions/recent/{limit}", handle_recent, SCOPE_READ, 0, 0, "predictions",
     "The newest predictions", NULL, recent_parameters, recent_answers},
    {"GET", "/predictions/{image_id}", handle_predictions, SCOPE_READ, 0, 0, "predictions",
     "An image with what every model said", NULL, image_parameters, image_answers},
    {"GET", "/comparisons/{image_id}", handle_comparison, SCOPE_READ, 0, 0, "predictions",
     "The models side by side on one image", NULL, image_parameters, comparison_answers},
    {"GET", "/stats/models", handle_stats_models, SCOPE_READ, 0, 0, "statistics",
     "Every model's counts, times and accuracy, and how pairs of models agree", NULL, NULL,
     stats_answers},
    {"GET", "/stats/performance", handle_stats_performance, SCOPE_READ, 0, 0, "statistics",
     "Every model's confidence and time, hour by hour", NULL, performance_parameters,
     performance_answers},
    {"POST", "/admin/clear-predictions", handle_clear, SCOPE_ADMIN, 0, 1024, "administration",
     "Delete all predictions, comparisons and statistics; images stay", NULL, NULL, clear_answers},
    {NULL},
};
