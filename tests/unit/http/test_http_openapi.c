/* The OpenAPI document of a small table. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <string.h>

#include "http/route.h"

static const struct route_parameter upload_fields[] = {
    {"file", "form", "{\"type\":\"string\",\"format\":\"binary\"}", true, "the image"},
    {"label", "form", "{\"type\":\"string\"}", false, "its true class"},
    {"wait", "query", "{\"type\":\"integer\",\"minimum\":0}", false, "seconds to wait"},
    {.name = NULL}};
static const struct route_parameter id_parameter[] = {
    {"image_id", "path", "{\"type\":\"string\",\"format\":\"uuid\"}", true, "the image"},
    {.name = NULL}};
static const struct route_answer answers[] = {
    {200, "application/json", "#/components/schemas/Image", "the image"},
    {204, NULL, NULL, "nothing to say"},
    {.status = 0}};

static const struct route routes[] = {
    {.method = "POST",
     .path = "/upload",
     .tag = "images",
     .summary = "Takes an image",
     .parameters = upload_fields,
     .answers = answers},
    {.method = "GET", .path = "/images/{image_id}", .parameters = id_parameter},
    {.method = "PUT", .path = "/images/{image_id}", .body_schema = "#/components/schemas/Image"},
    {.method = "GET", .path = "/assets/{rest...}", .flags = ROUTE_OPEN},
    {.method = "GET", .path = "/hidden", .flags = ROUTE_HIDDEN},
    {.method = NULL}};

static const char components[] = "{\"Image\":{\"type\":\"object\"}}";

/* The member at a path of keys, ended by NULL. */
static json_t *at(json_t *json, ...)
{
    va_list keys;
    va_start(keys, json);
    for (const char *key; (key = va_arg(keys, const char *)) != NULL;) {
        json = json_object_get(json, key);
        if (json == NULL)
            fail_msg("no '%s'", key);
    }
    va_end(keys);
    return json;
}

static void assert_text(const json_t *json, const char *expected)
{
    assert_true(json_is_string(json));
    assert_string_equal(json_string_value(json), expected);
}

static void test_document(void **state)
{
    const struct route_table table = {routes, NULL};
    json_t *document = NULL;
    struct error err = {0};
    (void)state;
    if (openapi_document(&table, 1, components, "1.2.3", &document, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_text(at(document, "openapi", NULL), "3.1.0");
    assert_text(at(document, "info", "version", NULL), "1.2.3");
    assert_int_equal(json_object_size(at(document, "paths", NULL)), 3);
    at(document, "components", "schemas", "Image", NULL);
    at(document, "components", "schemas", "Problem", NULL);

    json_t *upload = at(document, "paths", "/upload", "post", NULL);
    assert_text(at(upload, "operationId", NULL), "post_upload");
    assert_text(at(upload, "summary", NULL), "Takes an image");
    json_t *form = at(upload, "requestBody", "content", "multipart/form-data", "schema", NULL);
    assert_text(at(form, "properties", "file", "format", NULL), "binary");
    assert_text(at(form, "properties", "label", "description", NULL), "its true class");
    assert_int_equal(json_array_size(at(form, "required", NULL)), 1);
    assert_int_equal(json_array_size(at(upload, "parameters", NULL)), 1);
    assert_text(
        at(upload, "responses", "200", "content", "application/json", "schema", "$ref", NULL),
        "#/components/schemas/Image");
    assert_null(json_object_get(at(upload, "responses", "204", NULL), "content"));
    assert_text(at(upload, "responses", "default", "content", "application/problem+json", "schema",
                   "$ref", NULL),
                "#/components/schemas/Problem");

    json_t *image = at(document, "paths", "/images/{image_id}", NULL);
    assert_text(at(image, "get", "operationId", NULL), "get_images_image_id");
    assert_text(
        at(json_array_get(at(image, "get", "parameters", NULL), 0), "schema", "format", NULL),
        "uuid");
    assert_int_equal(json_array_size(at(image, "get", "parameters", NULL)), 1);
    at(image, "put", "requestBody", "content", "application/json", NULL);
    /* A parameter of the path that the row says nothing about is still there. */
    const json_t *named = json_array_get(at(image, "put", "parameters", NULL), 0);
    assert_text(json_object_get(named, "name"), "image_id");

    json_t *asset = at(document, "paths", "/assets/{rest}", "get", NULL);
    assert_text(json_object_get(json_array_get(at(asset, "parameters", NULL), 0), "name"), "rest");
    assert_int_equal(json_array_size(at(asset, "security", NULL)), 0);
    assert_int_equal(json_array_size(at(document, "security", NULL)), 2);
    json_decref(document);
}

static void test_broken_schemas_name_their_route(void **state)
{
    static const struct route_answer broken_answer[] = {{200, "application/json", "{\"type\":", ""},
                                                        {.status = 0}};
    static const struct route broken[] = {
        {.method = "GET", .path = "/broken", .answers = broken_answer}, {.method = NULL}};
    const struct route_table table = {broken, NULL};
    json_t *document = NULL;
    struct error err = {0};
    (void)state;
    assert_int_equal(openapi_document(&table, 1, NULL, "1", &document, &err), STATUS_INTERNAL);
    assert_non_null(strstr(err.message, "GET /broken"));
    assert_int_equal(openapi_document(&table, 1, "{", "1", &document, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "components"));
    assert_null(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_broken_schemas_name_their_route),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
