/* The platform itself: health, models, topics, events, metrics, the live feed. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/query.h"
#include "base/clock.h"
#include "flow/message.h"

enum { LIVE_PENDING_MAX = 256 * 1024, BROWSE_MAX = 1000 };

/* --- Probes and health
 * --------------------------------------------------------------------------------------- */

static void handle_root(struct request *request, struct response *response, void *context)
{
    (void)request;
    (void)context;
    response_json(response, 200,
                  json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:s, s:s}}", "name", "ocelli", "version",
                            OCELLI_VERSION, "links", "docs", "/docs", "openapi", "/openapi.json",
                            "health", "/health", "statistics", "/stats/models", "metrics",
                            "/metrics"));
}

/* Says only that the process runs: it depends on nothing. */
static void handle_livez(struct request *request, struct response *response, void *context)
{
    (void)request;
    (void)context;
    response_text(response, 200, "text/plain; charset=utf-8", "ok\n");
}

static void handle_readyz(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;

    (void)request;
    if (atomic_load(&api->ready))
        response_text(response, 200, "text/plain; charset=utf-8", "ready\n");
    else
        response_text(response, 503, "text/plain; charset=utf-8", "starting or stopping\n");
}

static json_t *part_as_json(int status, const char *engine, const struct error *err)
{
    return status == STATUS_OK ? json_pack("{s:s, s:s}", "status", "ok", "engine", engine)
                               : json_pack("{s:s, s:s, s:s}", "status", "failed", "engine", engine,
                                           "detail", err->message);
}

/* Whether images are given to the model: a moment after it is loaded. */
static bool has_lane(const json_t *lanes, const struct model_package *package)
{
    const json_t *lane;
    size_t i;

    json_array_foreach (lanes, i, lane) {
        const char *name = json_string_value(json_object_get(lane, "model"));
        const char *version = json_string_value(json_object_get(lane, "version"));
        if (name != NULL && version != NULL && strcmp(name, package->name) == 0 &&
            strcmp(version, package->version) == 0)
            return true;
    }
    return false;
}

static json_t *model_as_json(const struct model *model, const json_t *lanes)
{
    const struct model_package *package = model_package(model);
    const struct engine *engine = model_engine(model);
    enum model_state state = model_state(model);
    if (state == MODEL_ACTIVE && !has_lane(lanes, package))
        state = MODEL_LOADING;
    json_t *object = json_pack("{s:s, s:s?}", "state", model_state_name(state), "failure",
                               model_failure(model)[0] ? model_failure(model) : NULL);

    if (package != NULL) {
        json_object_set_new(object, "name", json_string(package->name));
        json_object_set_new(object, "version", json_string(package->version));
        json_object_set_new(object, "architecture", json_string(package->architecture));
        json_object_set_new(object, "classes", json_integer(package->label_count));
    }
    if (engine != NULL) {
        json_object_set_new(object, "precision",
                            json_string(precision_name(engine_precision(engine))));
        json_object_set_new(object, "precision_note", json_string(model_precision_note(model)));
        json_object_set_new(object, "weight_bytes",
                            json_integer((json_int_t)engine_memory(engine)));
    }
    return object;
}

static json_t *lanes_as_json(const struct api *api)
{
    return api->classify != NULL ? classify_describe(api->classify) : json_array();
}

static json_t *models_as_json(const struct api *api)
{
    json_t *list = json_array();
    struct model **models;
    int count;

    if (api->models == NULL || model_set_list(api->models, &models, &count, NULL) != STATUS_OK)
        return list;
    json_t *lanes = lanes_as_json(api);
    for (int i = 0; i < count; i++) {
        json_array_append_new(list, model_as_json(models[i], lanes));
        model_release(models[i]);
    }
    json_decref(lanes);
    free(models);
    return list;
}

static void handle_health(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct error sql_err = {0}, objects_err = {0};

    (void)request;
    const int sql_status = sql_health(api->sql, &sql_err);
    const int objects_status = objects_health(api->objects, &objects_err);
    const bool ready = atomic_load(&api->ready);
    const bool well = sql_status == STATUS_OK && objects_status == STATUS_OK && ready;
    json_t *body =
        json_pack("{s:s, s:s, s:f, s:{s:o, s:o, s:{s:s, s:s, s:I}, s:{s:s, s:s}}, s:o, s:o}",
                  "status", well ? "healthy" : "degraded", "version", OCELLI_VERSION,
                  "uptime_seconds", (double)(clock_utc_us() - api->started_us) * 1e-6, "parts",
                  "database", part_as_json(sql_status, sql_engine(api->sql), &sql_err), "objects",
                  part_as_json(objects_status, objects_engine(api->objects), &objects_err), "bus",
                  "status", "ok", "engine", bus_engine(api->bus), "backlog",
                  (json_int_t)bus_backlog(api->bus, api->config->topic_images), "cache", "status",
                  "ok", "engine", cache_engine(api->cache), "models", models_as_json(api), "lanes",
                  lanes_as_json(api));
    response_json(response, well ? 200 : 503, body);
}

static void handle_metrics(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct buffer text = {0};
    size_t size;

    (void)request;
    metrics_render(api->metrics, &text);
    char *bytes = buffer_take(&text, &size);
    if (bytes != NULL)
        response_bytes(response, 200, "text/plain; version=0.0.4; charset=utf-8", bytes, size);
    else
        response_status(response, 500);
}

/* --- Models
 * --------------------------------------------------------------------------------------------------
 */

static void handle_models(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;

    (void)request;
    response_json(response, 200, json_pack("{s:o}", "models", models_as_json(api)));
}

static void change_model(struct request *request, struct response *response, const struct api *api,
                         int (*change)(struct model_set *set, const char *name, struct error *err))
{
    struct error err = {0};
    int status;

    if (api->models == NULL)
        status = error_set(&err, STATUS_UNAVAILABLE, "this process serves no models");
    else
        status = change(api->models, request_param(request, "name"), &err);
    if (status == STATUS_OK)
        handle_models(request, response, (void *)api);
    else
        response_error(response, &err);
}

static void handle_model_load(struct request *request, struct response *response, void *context)
{
    change_model(request, response, context, model_set_load);
}

static void handle_model_unload(struct request *request, struct response *response, void *context)
{
    change_model(request, response, context, model_set_unload);
}

/* --- Topics and events
 * --------------------------------------------------------------------------------------- */

static void handle_topics(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct error err = {0};
    json_t *topics;

    (void)request;
    if (bus_describe(api->bus, &topics, &err) == STATUS_OK)
        response_json(response, 200, json_pack("{s:o}", "topics", topics));
    else
        response_error(response, &err);
}

/* A message's value is JSON by rule; what is not is shown as the text it is. */
static json_t *json_or_text(const char *text)
{
    if (text == NULL)
        return json_null();
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    if (value == NULL)
        value = json_string(text);
    char *copy = value == NULL ? strdup(text) : NULL;
    if (copy != NULL) {
        text_clean(copy); /* not even UTF-8 */
        value = json_string(copy);
        free(copy);
    }
    return value != NULL ? value : json_null();
}

static json_t *message_as_json(const struct bus_message *message)
{
    char timestamp[TIMESTAMP_TEXT_MAX];
    return json_pack("{s:i, s:I, s:s, s:s?, s:o, s:o}", "partition", message->partition, "offset",
                     (json_int_t)message->offset, "timestamp",
                     timestamp_format(message->timestamp_us, timestamp), "key", message->key,
                     "value", json_or_text(message->value), "headers",
                     json_or_text(message->headers));
}

static void handle_messages(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    int64_t from = -20, limit = 100;
    struct bus_batch batch;
    struct error err = {0};

    int status = request_query_integer(request, "from", INT64_MIN, INT64_MAX, &from, &err);
    if (status == STATUS_OK)
        status = request_query_integer(request, "limit", 1, BROWSE_MAX, &limit, &err);
    if (status == STATUS_OK)
        status =
            bus_browse(api->bus, request_param(request, "topic"), from, (int)limit, &batch, &err);
    if (status != STATUS_OK) {
        response_error(response, &err);
        return;
    }
    json_t *messages = json_array();
    for (int i = 0; i < batch.count; i++)
        json_array_append_new(messages, message_as_json(&batch.messages[i]));
    bus_batch_free(&batch);
    response_json(response, 200, json_pack("{s:o}", "messages", messages));
}

static void handle_replay(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    int64_t from = 0, to = INT64_MAX, count = 0;
    struct error err = {0};

    int status = request_query_integer(request, "from", 0, INT64_MAX, &from, &err);
    if (status == STATUS_OK)
        status = request_query_integer(request, "to", 0, INT64_MAX, &to, &err);
    if (status == STATUS_OK)
        status = bus_replay(api->bus, request_param(request, "topic"), from, to, &count, &err);
    if (status == STATUS_OK)
        response_json(response, 200, json_pack("{s:I}", "replayed", (json_int_t)count));
    else
        response_error(response, &err);
}

static void handle_events(struct request *request, struct response *response, void *context)
{
    static const char text[] = "SELECT event_type, event_data AS event_data_json, severity, "
                               "created_at, service_name FROM system_events "
                               "ORDER BY created_at DESC, event_id DESC LIMIT $1";
    const struct api *api = context;
    int64_t limit = 100;
    struct error err = {0};
    json_t *events;

    int status = request_query_integer(request, "limit", 1, BROWSE_MAX, &limit, &err);
    if (status == STATUS_OK)
        status = query_json(api->sql, text, SQL_PARAMS(sql_integer(limit)), &events, &err);
    if (status == STATUS_OK)
        response_json(response, 200, json_pack("{s:o}", "events", events));
    else
        response_error(response, &err);
}

/* --- The live feed
 * ------------------------------------------------------------------------------------------- */

/* One client. The stream closes on an event thread, which ends the subscription. */
struct live_client {
    struct live *live;
    struct live_subscription *subscription;
    struct event_stream *stream;
};

static void deliver(void *context, const struct live_event *event)
{
    const struct live_client *client = context;
    char id[24];

    snprintf(id, sizeof id, "%lld", (long long)event->id);
    /* A client that is too slow is closed by the server; its browser comes back with Last-Event-ID.
     */
    event_stream_send(client->stream, live_kind_name(event->kind), id, event->json);
}

static void live_closed(struct event_stream *stream, void *context)
{
    struct live_client *client = context;

    (void)stream;
    if (client->subscription != NULL)
        live_unsubscribe(client->live, client->subscription);
    free(client);
}

static int64_t last_event_id(const struct request *request)
{
    const char *text = request_header(request, "Last-Event-ID");
    return text != NULL ? strtoll(text, NULL, 10) : 0;
}

static void handle_live(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;
    struct live_client *client = calloc(1, sizeof *client);
    struct error err = {0};

    if (client == NULL) {
        error_set(&err, STATUS_NO_MEMORY, "no memory for a subscription");
        response_error(response, &err);
        return;
    }
    client->live = api->live;
    if (response_event_stream(response, LIVE_PENDING_MAX, live_closed, client, &client->stream,
                              &err) != STATUS_OK) {
        free(client);
        response_error(response, &err);
        return;
    }
    if (live_subscribe(api->live, last_event_id(request), deliver, client, &client->subscription,
                       &err) != STATUS_OK)
        event_stream_close(client->stream);
}

static void handle_openapi(struct request *request, struct response *response, void *context)
{
    const struct api *api = context;

    (void)request;
    response_json(response, 200, json_incref(api->openapi));
}

/* --- The table
 * -----------------------------------------------------------------------------------------------
 */

#define PLAIN  "text/plain"
#define JSON   "application/json"
#define TEXT   "{\"type\":\"string\"}"
#define OBJECT "{\"type\":\"object\"}"

static const struct route_answer text_answers[] = {
    {200, PLAIN, TEXT, "it is so"}, {503, PLAIN, TEXT, "not now"}, {0}};
static const struct route_answer metrics_answers[] = {
    {200, PLAIN, TEXT, "Prometheus text exposition format 0.0.4"}, {0}};
static const struct route_answer object_answers[] = {{200, JSON, OBJECT, "as described"}, {0}};
static const struct route_answer health_answers[] = {
    {200, JSON, "#/components/schemas/Health", "every part works"},
    {503, JSON, "#/components/schemas/Health", "a part does not"},
    {0}};
static const struct route_answer live_answers[] = {
    {200, "text/event-stream", TEXT,
     "events `prediction` and `comparison`, each with one JSON object; resumes after "
     "Last-Event-ID"},
    {0}};

static const struct route_parameter name_parameters[] = {
    {"name", "path", TEXT, true, "the model's name"}, {NULL}};
static const struct route_parameter messages_parameters[] = {
    {"topic", "path", TEXT, true, "the topic's name"},
    {"from", "query", "{\"type\":\"integer\",\"default\":-20}", false,
     "first offset; negative: that many from the end"},
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000,\"default\":100}",
     false, "most messages"},
    {NULL}};
static const struct route_parameter replay_parameters[] = {
    {"topic", "path", TEXT, true, "the topic whose dead letters are meant"},
    {"from", "query", "{\"type\":\"integer\",\"minimum\":0}", false, "first dead letter's offset"},
    {"to", "query", "{\"type\":\"integer\",\"minimum\":0}", false, "last dead letter's offset"},
    {NULL}};
static const struct route_parameter events_parameters[] = {
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000,\"default\":100}",
     false, "most events"},
    {NULL}};

const struct route api_system_routes[] = {
    {"GET", "/", handle_root, SCOPE_READ, 0, 0, "system", "What this is and where to go", NULL,
     NULL, object_answers},
    {"GET", "/health", handle_health, SCOPE_READ, ROUTE_OPEN, 0, "system", "Every part's state",
     NULL, NULL, health_answers},
    {"GET", "/livez", handle_livez, SCOPE_READ, ROUTE_OPEN, 0, "system", "The process runs", NULL,
     NULL, text_answers},
    {"GET", "/readyz", handle_readyz, SCOPE_READ, ROUTE_OPEN, 0, "system",
     "The process takes requests", NULL, NULL, text_answers},
    {"GET", "/metrics", handle_metrics, SCOPE_READ, 0, 0, "system", "Metrics for Prometheus", NULL,
     NULL, metrics_answers},
    {"GET", "/openapi.json", handle_openapi, SCOPE_READ, ROUTE_OPEN, 0, "system", "This document",
     NULL, NULL, object_answers},
    {"GET", "/models", handle_models, SCOPE_READ, 0, 0, "models", "The models and their states",
     NULL, NULL, object_answers},
    {"POST", "/models/{name}/load", handle_model_load, SCOPE_ADMIN, 0, 1024, "models",
     "Look at the model's folder and serve it", NULL, name_parameters, object_answers},
    {"POST", "/models/{name}/unload", handle_model_unload, SCOPE_ADMIN, 0, 1024, "models",
     "Finish the model's images and stop serving it", NULL, name_parameters, object_answers},
    {"GET", "/topics", handle_topics, SCOPE_READ, 0, 0, "topics",
     "Topics with offsets, groups and lag", NULL, NULL, object_answers},
    {"GET", "/topics/{topic}/messages", handle_messages, SCOPE_READ, 0, 0, "topics",
     "Messages of a topic", NULL, messages_parameters, object_answers},
    {"POST", "/topics/{topic}/replay", handle_replay, SCOPE_ADMIN, 0, 1024, "topics",
     "Publish dead letters again", NULL, replay_parameters, object_answers},
    {"GET", "/events", handle_events, SCOPE_READ, 0, 0, "system", "What happened, newest first",
     NULL, events_parameters, object_answers},
    {"GET", "/live", handle_live, SCOPE_READ, 0, 0, "predictions",
     "Predictions and comparisons as they happen", NULL, NULL, live_answers},
    {NULL},
};
