/* Images: their bytes and their labels. */
#include <string.h>

#include "api/api.h"
#include "api/query.h"
#include "api/views.h"
#include "flow/record.h"
#include "image/image.h"

static void handle_image(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct error err = {0};
    json_t *body = NULL;

    if (view_image(api->sql, request_param(request, "image_id"), &body, &err) == STATUS_OK)
        response_json(response, 200, body);
    else
        response_error(response, &err);
}

/* --- Bytes
 * ---------------------------------------------------------------------------------------------------
 */

static const char *mime_of(const char *format)
{
    for (int i = 0; i < IMAGE_FORMAT_COUNT; i++)
        if (strcmp(image_format_name((enum image_format)i), format) == 0)
            return image_format_mime((enum image_format)i);
    return "application/octet-stream";
}

static const char *text_member(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static int read_content(const struct api *api, const char *image_id, json_t **row, uint8_t **bytes,
                        size_t *size, struct error *err)
{
    static const char text[] = "SELECT minio_path, format, sha256 FROM images WHERE image_id = $1";

    const int status = query_json_one(api->sql, text, SQL_PARAMS(sql_text(image_id)),
                                      "there is no such image", row, err);
    return status != STATUS_OK
               ? status
               : objects_get(api->objects, text_member(*row, "minio_path"),
                             (size_t)api->config->upload_bytes_max, bytes, size, err);
}

static void handle_content(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct error err = {0};
    uint8_t *bytes = NULL;
    json_t *row = NULL;
    size_t size;

    const int status =
        read_content(api, request_param(request, "image_id"), &row, &bytes, &size, &err);
    if (status == STATUS_OK)
        response_content(response, request, mime_of(text_member(row, "format")),
                         text_member(row, "sha256"), true, bytes, size);
    else
        response_error(response, &err);
    json_decref(row);
}

/* --- Labels
 * --------------------------------------------------------------------------------------------------
 */

static int read_label(const struct request *request, json_t **body, const char **label,
                      struct error *err)
{
    const int status = request_json(request, body, err);
    if (status != STATUS_OK)
        return status;
    const json_t *value = json_object_get(*body, "label");
    if (value == NULL || !(json_is_string(value) || json_is_null(value)))
        return error_set(err, STATUS_INVALID,
                         "the body must be {\"label\": \"CLASS\"}, or null to remove it");
    *label = json_string_value(value);
    return STATUS_OK;
}

static void handle_label(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    const char *image_id = request_param(request, "image_id"), *label = NULL;
    struct error err = {0};
    json_t *body = NULL, *image = NULL;

    int status = read_label(request, &body, &label, &err);
    if (status == STATUS_OK)
        status = record_label(api->sql, image_id, label, &err);
    if (status == STATUS_OK)
        status = view_image(api->sql, image_id, &image, &err);
    if (status == STATUS_OK)
        response_json(response, 200, image);
    else
        response_error(response, &err);
    json_decref(body);
}

/* --- The table
 * -----------------------------------------------------------------------------------------------
 */

static const struct route_parameter image_parameters[] = {
    {"image_id", "path", "{\"type\":\"string\",\"format\":\"uuid\"}", true, "the image's id"},
    {NULL},
};
static const struct route_answer image_answers[] = {
    {200, "application/json", "#/components/schemas/Image", "the image and its predictions"},
    {404, "application/problem+json", "#/components/schemas/Problem", "no such image"},
    {0},
};
static const struct route_answer content_answers[] = {
    {200, "image/*", "{\"type\":\"string\",\"contentMediaType\":\"image/*\"}",
     "the bytes as they were uploaded; the ETag is their SHA-256"},
    {206, "image/*", "{\"type\":\"string\",\"contentMediaType\":\"image/*\"}",
     "the range asked for"},
    {304, NULL, NULL, "not changed"},
    {404, "application/problem+json", "#/components/schemas/Problem", "no such image"},
    {416, "application/problem+json", "#/components/schemas/Problem", "not within the image"},
    {0},
};

const struct route api_images_routes[] = {
    {"GET", "/images/{image_id}", handle_image, SCOPE_READ, 0, 0, "images",
     "An image with what every model said", NULL, image_parameters, image_answers},
    {"GET", "/images/{image_id}/content", handle_content, SCOPE_READ, 0, 0, "images",
     "An image's bytes", NULL, image_parameters, content_answers},
    {"PUT", "/images/{image_id}/label", handle_label, SCOPE_WRITE, 0, 4096, "images",
     "Set or remove the true class; every model's accuracy follows",
     "{\"type\":\"object\",\"required\":[\"label\"],\"properties\":{\"label\":{\"type\":["
     "\"string\","
     "\"null\"]}}}",
     image_parameters, image_answers},
    {NULL},
};
