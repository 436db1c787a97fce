/* The OpenAPI 3.1 document of the route tables: openapi_document of route.h. What every operation
 * has in common (the problem answer, the key) is added here; the rows say the rest. */
#include <ctype.h>
#include <string.h>

#include "base/buffer.h"
#include "http/route.h"

static const char problem_schema[] =
    "{\"type\":\"object\",\"description\":\"RFC 9457 problem details\",\"properties\":{"
    "\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},"
    "\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},"
    "\"instance\":{\"type\":\"string\"}},\"required\":[\"type\",\"title\",\"status\"]}";

/* --- Schemas */

/* A schema of a row: a reference or JSON text; NULL stands for anything. */
static int read_schema(const struct route *route, const char *schema, json_t **out,
                       struct error *err)
{
    struct error why = {0};

    if (schema == NULL) {
        *out = json_object();
    } else if (schema[0] == '#') {
        *out = json_pack("{s:s}", "$ref", schema);
    } else if (json_read(schema, strlen(schema), out, &why) != STATUS_OK) {
        return error_set(err, STATUS_INTERNAL, "a schema of %s %s is %s", route->method,
                         route->path, why.message);
    }
    return *out != NULL ? STATUS_OK
                        : error_set(err, STATUS_NO_MEMORY, "no memory for the OpenAPI document");
}

static int content_of(const struct route *route, const char *content_type, const char *schema,
                      json_t **out, struct error *err)
{
    json_t *json = NULL;
    const int status = read_schema(route, schema, &json, err);

    if (status == STATUS_OK)
        *out = json_pack("{s:{s:o}}", content_type, "schema", json);
    return status;
}

/* --- Parameters and bodies */

static bool is_form_field(const struct route_parameter *parameter)
{
    return strcmp(parameter->in, "form") == 0;
}

static int add_parameter(const struct route *route, const struct route_parameter *parameter,
                         json_t *parameters, struct error *err)
{
    json_t *schema = NULL;
    const int status = read_schema(route, parameter->schema, &schema, err);

    if (status == STATUS_OK)
        json_array_append_new(parameters,
                              json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", parameter->name, "in",
                                        parameter->in, "required", parameter->required,
                                        "description", parameter->help, "schema", schema));
    return status;
}

static bool is_described(const struct route *route, const char *name, size_t length)
{
    const struct route_parameter *parameter = route->parameters;

    for (; parameter != NULL && parameter->name != NULL; parameter++)
        if (strcmp(parameter->in, "path") == 0 && strlen(parameter->name) == length &&
            memcmp(parameter->name, name, length) == 0)
            return true;
    return false;
}

/* OpenAPI wants every parameter of the path described; a row need not say that an id is a string.
 */
static void add_undescribed(const struct route *route, json_t *parameters)
{
    for (const char *at = strchr(route->path, '{'); at != NULL; at = strchr(at, '{')) {
        const char *name = ++at;
        const size_t length = strcspn(name, ".}");
        if (!is_described(route, name, length))
            json_array_append_new(parameters,
                                  json_pack("{s:s%, s:s, s:b, s:{s:s}}", "name", name, length, "in",
                                            "path", "required", 1, "schema", "type", "string"));
    }
}

static int add_parameters(const struct route *route, json_t *operation, struct error *err)
{
    json_t *parameters = json_array();
    const struct route_parameter *parameter = route->parameters;
    int status = STATUS_OK;

    for (; status == STATUS_OK && parameter != NULL && parameter->name != NULL; parameter++)
        if (!is_form_field(parameter))
            status = add_parameter(route, parameter, parameters, err);
    add_undescribed(route, parameters);
    if (json_array_size(parameters) > 0)
        json_object_set(operation, "parameters", parameters);
    json_decref(parameters);
    return status;
}

/* The form's fields as one object; *out stays NULL when the row has none. */
static int make_form(const struct route *route, json_t **out, struct error *err)
{
    json_t *properties = json_object(), *required = json_array();
    const struct route_parameter *parameter = route->parameters;
    int status = STATUS_OK;

    for (; status == STATUS_OK && parameter != NULL && parameter->name != NULL; parameter++) {
        json_t *schema = NULL;
        if (!is_form_field(parameter))
            continue;
        status = read_schema(route, parameter->schema, &schema, err);
        if (status != STATUS_OK)
            break;
        if (parameter->help != NULL)
            json_object_set_new(schema, "description", json_string(parameter->help));
        json_object_set_new(properties, parameter->name, schema);
        if (parameter->required)
            json_array_append_new(required, json_string(parameter->name));
    }
    if (status == STATUS_OK && json_object_size(properties) > 0) {
        *out = json_pack("{s:s, s:O}", "type", "object", "properties", properties);
        if (json_array_size(required) > 0)
            json_object_set(*out, "required", required);
    }
    json_decref(properties);
    json_decref(required);
    return status;
}

static int add_body(const struct route *route, json_t *operation, struct error *err)
{
    json_t *form = NULL, *content = NULL;
    int status = make_form(route, &form, err);

    if (status == STATUS_OK && form != NULL)
        content = json_pack("{s:{s:o}}", "multipart/form-data", "schema", form);
    else if (status == STATUS_OK && route->body_schema != NULL)
        status = content_of(route, "application/json", route->body_schema, &content, err);
    if (content != NULL)
        json_object_set_new(operation, "requestBody",
                            json_pack("{s:b, s:o}", "required", 1, "content", content));
    return status;
}

/* --- Answers */

static int add_answer(const struct route *route, const struct route_answer *answer,
                      json_t *responses, struct error *err)
{
    char status_text[16];
    json_t *content = NULL;
    int status = STATUS_OK;

    if (answer->content_type != NULL)
        status = content_of(route, answer->content_type, answer->schema, &content, err);
    if (status != STATUS_OK)
        return status;
    json_t *response = json_pack("{s:s}", "description", answer->help != NULL ? answer->help : "");
    if (content != NULL)
        json_object_set_new(response, "content", content);
    snprintf(status_text, sizeof status_text, "%d", answer->status);
    json_object_set_new(responses, status_text, response);
    return STATUS_OK;
}

static int add_answers(const struct route *route, json_t *operation, struct error *err)
{
    json_t *responses = json_object();
    const struct route_answer *answer = route->answers;
    int status = STATUS_OK;

    for (; status == STATUS_OK && answer != NULL && answer->status != 0; answer++)
        status = add_answer(route, answer, responses, err);
    json_object_set_new(responses, "default",
                        json_pack("{s:s, s:{s:{s:{s:s}}}}", "description", "a problem", "content",
                                  "application/problem+json", "schema", "$ref",
                                  "#/components/schemas/Problem"));
    json_object_set_new(operation, "responses", responses);
    return status;
}

/* --- Operations */

/* "GET /predictions/{image_id}" is get_predictions_image_id: unique, as method and path are. */
static json_t *operation_id(const struct route *route)
{
    struct buffer text = {0};

    for (const char *at = route->method; *at != '\0'; at++)
        buffer_print(&text, "%c", tolower((unsigned char)*at));
    for (const char *at = route->path; *at != '\0'; at++) {
        const bool word = isalnum((unsigned char)*at) || *at == '_';
        if (word && at > route->path && !isalnum((unsigned char)at[-1]) && at[-1] != '_')
            buffer_text(&text, "_");
        if (word)
            buffer_append(&text, at, 1);
    }
    json_t *id = buffer_ok(&text) ? json_stringn(text.data, text.size) : NULL;
    buffer_free(&text);
    return id;
}

static int make_operation(const struct route *route, json_t **out, struct error *err)
{
    json_t *operation = json_pack("{s:o}", "operationId", operation_id(route));

    if (operation == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the OpenAPI document");
    if (route->summary != NULL)
        json_object_set_new(operation, "summary", json_string(route->summary));
    if (route->tag != NULL)
        json_object_set_new(operation, "tags", json_pack("[s]", route->tag));
    int status = add_parameters(route, operation, err);
    if (status == STATUS_OK)
        status = add_body(route, operation, err);
    if (status == STATUS_OK)
        status = add_answers(route, operation, err);
    if (route->flags & ROUTE_OPEN)
        json_object_set_new(operation, "security", json_array());
    *out = operation;
    return status;
}

/* "/assets/{rest...}" is "/assets/{rest}" in OpenAPI, which has no word for a rest. */
static json_t *path_item(json_t *paths, const char *path)
{
    struct buffer key = {0};

    for (const char *at = path; *at != '\0'; at++)
        if (strncmp(at, "...}", 4) != 0 || (at += 2) == NULL)
            buffer_append(&key, at, 1);
    json_t *item = buffer_ok(&key) ? json_object_get(paths, key.data) : NULL;
    if (item == NULL && buffer_ok(&key)) {
        item = json_object();
        json_object_set_new(paths, key.data, item);
    }
    buffer_free(&key);
    return item;
}

static int add_route(const struct route *route, json_t *paths, struct error *err)
{
    json_t *operation = NULL;
    char method[16] = "";

    for (size_t i = 0; route->method[i] != '\0' && i + 1 < sizeof method; i++)
        method[i] = (char)tolower((unsigned char)route->method[i]);
    const int status = make_operation(route, &operation, err);
    if (status == STATUS_OK)
        json_object_set(path_item(paths, route->path), method, operation);
    json_decref(operation);
    return status;
}

/* --- The document */

static int make_components(const char *schemas, json_t **out, struct error *err)
{
    json_t *given = NULL, *problem = NULL;
    int status = STATUS_OK;

    if (schemas != NULL)
        status = json_read(schemas, strlen(schemas), &given, err);
    if (status == STATUS_OK)
        status = json_read(problem_schema, sizeof problem_schema - 1, &problem, err);
    if (status != STATUS_OK) {
        json_decref(given);
        return error_wrap(err, "the components of the OpenAPI document");
    }
    if (given == NULL)
        given = json_object();
    if (json_object_get(given, "Problem") == NULL)
        json_object_set(given, "Problem", problem);
    json_decref(problem);
    *out = json_pack("{s:o, s:{s:{s:s, s:s}}}", "schemas", given, "securitySchemes", "key", "type",
                     "http", "scheme", "bearer");
    return STATUS_OK;
}

int openapi_document(const struct route_table *tables, int table_count, const char *components,
                     const char *version, json_t **out, struct error *err)
{
    json_t *paths = json_object(), *made = NULL;
    int status = make_components(components, &made, err);

    for (int i = 0; i < table_count; i++)
        for (const struct route *route = tables[i].routes;
             status == STATUS_OK && route->method != NULL; route++)
            if (!(route->flags & ROUTE_HIDDEN))
                status = add_route(route, paths, err);
    if (status == STATUS_OK) {
        /* The empty requirement says that a server without a key asks for none. */
        *out = json_pack("{s:s, s:{s:s, s:s}, s:[{s:s}], s:O, s:O, s:[{}, {s:[]}]}", "openapi",
                         "3.1.0", "info", "title", "ocelli", "version", version, "servers", "url",
                         "/", "paths", paths, "components", made, "security", "key");
        if (*out == NULL)
            status = error_set(err, STATUS_NO_MEMORY, "no memory for the OpenAPI document");
    }
    json_decref(paths);
    json_decref(made);
    return status;
}
