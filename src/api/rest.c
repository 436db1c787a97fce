/* REST: the paths of the fixed interface that read and clear (predictions, comparisons,
 * statistics); uploading is in upload.c. Handlers first by topic, the table of routes last. */
#include <stdlib.h>

#include "api/api.h"
#include "api/views.h"
#include "flow/record.h"

enum { RECENT_MAX = 1000 };

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
